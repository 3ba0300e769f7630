#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may")]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;

/// A made-up machine.
struct Machine {
    folder: TempDir,
}

impl Machine {
    fn new(files: &[(&str, &str)]) -> Self {
        let machine = Self { folder: TempDir::new().unwrap() };
        files.iter().for_each(|(path, text)| machine.write(path, text));
        machine
    }

    fn path(&self, path: &str) -> PathBuf {
        self.folder.path().join(path)
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        // Over the old text, as the kernel does: the file stays the same one.
        fs::write(path, text).unwrap();
    }

    fn roots(&self) -> Roots {
        Roots { proc: self.path("proc"), sys: self.path("sys") }
    }

    fn reader(&self) -> Reader {
        Reader::new(self.roots(), Vec::new())
    }
}

const STAT: &str = "cpu  100 0 50 800 50 0 0 0 30 0\ncpu0 50 0 25 400 25 0 0 0\ncpu1 50 0 25 400 25 0 0 0\nintr 5 0\n";
const OWN: &str = "7 (a) b (c)) S 1 7 7 0 -1 0 1 0 0 0 20 10 0 0 20 0 9 0 100 0 0";

fn of_all_kinds() -> Machine {
    let machine = Machine::new(&[
        ("proc/uptime", "12894.87 5338.71\n"),
        ("proc/stat", STAT),
        ("proc/loadavg", "0.14 0.70 1.21 1/90 18545\n"),
        ("proc/self/stat", OWN),
        ("proc/self/status", "Name:\tvigil\nCpus_allowed:\t3\nCpus_allowed_list:\t0-1\n"),
        ("proc/self/cgroup", "0::/system.slice/vigil.service\n"),
        (
            "proc/self/net/dev",
            "Inter-| Receive | Transmit\n face |bytes\n    lo: 5 1 0 0 0 0 0 0 5 1 0 0 0 0 0 0\n  eth0:100 9 1 2 0 0 0 0 200 8 3 4 0 0 0 0\nbr0: 1 1 0 0 0 0 0 0 1 1 0 0 0 0 0 0\n",
        ),
        (
            "proc/meminfo",
            "MemTotal:        8000000 kB\nMemFree: 5 kB\nMemAvailable:    6000000 kB\nSwapTotal: 1000 kB\nSwapFree: 500 kB\n",
        ),
        (
            "proc/pressure/memory",
            "some avg10=1.20 avg60=0.02 avg300=0.83 total=136\nfull avg10=0.50 avg60=0.00 avg300=0.75 total=55\n",
        ),
        ("proc/pressure/cpu", "some avg10=50.00 avg60=1.06 avg300=3.85 total=5862\n"),
        (
            "proc/diskstats",
            " 179 0 mmcblk0 10 0 8 7 20 0 16 9 0 250 16 0 0 0 0\n 179 1 mmcblk0p1 1 0 1 1 1 0 1 1 0 1 1\n   7 0 loop0 1 0 1 1 1 0 1 1 0 1 1\n",
        ),
        ("sys/block/mmcblk0/device/type", "MMC"),
        ("sys/block/mmcblk0boot0/device/type", "MMC"),
        ("sys/block/loop0/size", "0"),
        ("sys/class/net/eth0/device/vendor", "1"),
        ("sys/class/net/lo/mtu", "1"),
        ("sys/fs/cgroup/cgroup.controllers", "cpu memory"),
        ("sys/fs/cgroup/system.slice/cpu.max", "150000 100000\n"),
        ("sys/fs/cgroup/system.slice/memory.max", "2000000000\n"),
        ("sys/fs/cgroup/system.slice/memory.current", "1500000000\n"),
        ("sys/fs/cgroup/system.slice/vigil.service/cpu.max", "max 100000\n"),
        ("sys/fs/cgroup/system.slice/vigil.service/memory.max", "max\n"),
        ("sys/devices/system/cpu/cpufreq/policy0/scaling_cur_freq", "600000\n"),
        ("sys/devices/system/cpu/cpufreq/policy0/scaling_max_freq", "900000\n"),
        ("sys/devices/system/cpu/cpufreq/policy0/cpuinfo_max_freq", "1800000\n"),
        ("sys/devices/system/cpu/cpufreq/policy4/scaling_cur_freq", "1000000\n"),
        ("sys/devices/system/cpu/cpufreq/policy4/scaling_max_freq", "2400000\n"),
        ("sys/devices/system/cpu/cpufreq/policy4/cpuinfo_max_freq", "2400000\n"),
        ("sys/class/thermal/thermal_zone0/type", "cpu-thermal\n"),
        ("sys/class/thermal/thermal_zone0/temp", "71500\n"),
        ("sys/class/thermal/thermal_zone0/trip_point_0_type", "passive\n"),
        ("sys/class/thermal/thermal_zone0/trip_point_0_temp", "80000\n"),
        ("sys/class/thermal/thermal_zone0/trip_point_1_type", "critical\n"),
        ("sys/class/thermal/thermal_zone0/trip_point_1_temp", "110000\n"),
        ("sys/class/thermal/cooling_device0/type", "thermal-cpufreq-0\n"),
        ("sys/class/thermal/cooling_device0/cur_state", "0\n"),
        ("sys/class/thermal/cooling_device1/type", "pwm-fan\n"),
        ("sys/class/thermal/cooling_device1/cur_state", "3\n"),
        ("sys/class/hwmon/hwmon0/name", "cpu_thermal\n"),
        ("sys/class/hwmon/hwmon0/temp1_input", "71500\n"),
        ("sys/class/hwmon/hwmon1/name", "nvme\n"),
        ("sys/class/hwmon/hwmon1/temp1_input", "45850\n"),
        ("sys/class/hwmon/hwmon1/temp1_label", "Composite\n"),
        ("sys/class/hwmon/hwmon1/temp1_crit", "84850\n"),
        ("sys/class/hwmon/hwmon2/name", "nvme\n"),
        ("sys/class/hwmon/hwmon2/temp1_input", "46850\n"),
        ("sys/class/hwmon/hwmon2/temp1_label", "Composite\n"),
        ("sys/class/hwmon/hwmon3/name", "coretemp\n"),
        ("sys/class/hwmon/hwmon3/temp1_input", "65000\n"),
        ("sys/class/hwmon/hwmon3/temp1_label", "Package id 0\n"),
        ("sys/class/hwmon/hwmon3/temp1_crit", "0\n"),
        ("sys/class/hwmon/hwmon3/temp1_max", "100000\n"),
        ("sys/class/hwmon/hwmon3/temp2_input", "66000\n"),
        ("sys/class/hwmon/hwmon3/temp2_label", "Core 0\n"),
        ("sys/class/hwmon/hwmon10/name", "bmp280\n"),
        ("sys/class/hwmon/hwmon10/temp1_input", "-4000\n"),
        ("sys/class/drm/card0/device/gpu_busy_percent", "25\n"),
        ("sys/class/drm/card0/device/mem_info_vram_total", "1000\n"),
        ("sys/class/drm/card0/device/mem_info_vram_used", "400\n"),
        ("sys/class/drm/card0-HDMI-A-1/device/gpu_busy_percent", "25\n"),
        ("sys/class/devfreq/17000000.gpu/device/load", "333\n"),
    ]);
    symlink(machine.path("sys/class/thermal/thermal_zone0"), machine.path("sys/class/hwmon/hwmon0/device")).unwrap();
    machine
}

#[test]
fn a_whole_machine_is_read() {
    let machine = of_all_kinds();
    let device = machine.reader().read();
    assert_eq!(device.uptime_ns, Some(12_894_870_000_000));
    let temperature = |name: &str, celsius, limit_celsius| Temperature { name: name.into(), celsius, limit_celsius };
    let expected = [
        temperature("cpu-thermal", 71.5, Some(110.0)),
        temperature("nvme/Composite", 45.85, Some(84.85)),
        temperature("nvme/Composite#2", 46.85, None),
        temperature("coretemp/Package id 0", 65.0, Some(100.0)),
        temperature("bmp280/temp1", -4.0, None),
    ];
    assert_eq!((device.hottest_celsius, device.temperatures.as_slice()), (Some(71.5), expected.as_slice()));
    assert_eq!(device.throttling, Throttling { throttled: Some(false), causes: vec![], events: None });
    let cpu = Cpu {
        processors: 2,
        usable: Some(1.5),
        busy: None,
        busy_ns: Some(1_500_000_000),
        idle_ns: Some(8_500_000_000),
        process: None,
        load: Some([0.14, 0.70, 1.21]),
        frequency_hz: Some(800_000_000),
        frequency_most_hz: Some(2_400_000_000),
        frequency_cap: Some(0.5),
    };
    assert_eq!(device.cpu, cpu);
    let memory = Memory {
        total_bytes: Some(8_192_000_000),
        available_bytes: Some(6_144_000_000),
        swap_total_bytes: Some(1_024_000),
        swap_free_bytes: Some(512_000),
        limit_bytes: Some(2_000_000_000),
        limit_used_bytes: Some(1_500_000_000),
    };
    assert_eq!(device.memory, memory);
    let pressure = |some, full, some_ns, full_ns| Some(Pressure { some, full, some_ns, full_ns });
    assert_eq!(device.pressure.memory, pressure(0.012, 0.005, 136_000, 55_000));
    assert_eq!((device.pressure.cpu, device.pressure.io), (pressure(0.5, 0.0, 5_862_000, 0), None));
    let drive = Drive { name: "mmcblk0".into(), read_bytes: 4096, written_bytes: 8192, busy_ns: 250_000_000 };
    assert_eq!(device.drives, [drive]);
    let interface = Interface { name: "eth0".into(), received_bytes: 100, sent_bytes: 200, errors: 10 };
    assert_eq!(device.interfaces, [interface]);
    let [amd, jetson] = device.gpus.as_slice() else { panic!("{:?}", device.gpus) };
    assert_eq!((amd.id.as_str(), amd.busy, amd.memory_used_bytes), ("card0", Some(0.25), Some(400)));
    assert_eq!((jetson.id.as_str(), jetson.busy, jetson.memory_used_bytes), ("17000000.gpu", Some(0.333), None));
}

#[test]
fn shares_are_those_since_the_last_reading() {
    let machine = of_all_kinds();
    let mut reader = machine.reader();
    reader.read();
    // 30 of 200 ticks of two processors were busy, 20 of them with this process.
    machine.write("proc/stat", &STAT.replace("100 0 50 800", "120 0 60 970"));
    machine.write("proc/self/stat", &OWN.replace("20 10", "35 15"));
    let cpu = reader.read().cpu;
    assert_eq!((cpu.busy, cpu.process), (Some(0.15), Some(0.2)));
    // Nothing has moved: no share can be told. Idle time that steps back is no reason for nonsense.
    assert_eq!(reader.read().cpu.busy, None);
    machine.write("proc/stat", &STAT.replace("100 0 50 800", "130 0 60 960"));
    assert_eq!(reader.read().cpu.busy, Some(1.0));
    // The process's file is gone: that costs its own share.
    fs::remove_dir_all(machine.path("proc/self")).unwrap();
    machine.write("proc/stat", &STAT.replace("100 0 50 800", "140 0 60 970"));
    let mut reader = machine.reader();
    assert_eq!((reader.read().cpu.process, reader.read().cpu.usable), (None, Some(2.0)));
}

#[test]
fn counters_of_processor_time_never_fall() {
    let machine = of_all_kinds();
    let mut reader = machine.reader();
    let mut read = |times: &str| {
        machine.write("proc/stat", &STAT.replace("100 0 50 800 50", times));
        let cpu = reader.read().cpu;
        (cpu.busy_ns.unwrap() / 10_000_000, cpu.idle_ns.unwrap() / 10_000_000)
    };
    assert_eq!(read("100 0 50 800 50"), (150, 850));
    assert_eq!(read("110 0 50 810 30"), (160, 850), "the time of waiting for drives has stepped back");
    assert_eq!(read("90 0 50 850 40"), (160, 890), "and so may any other");
    // Whose free space is of interest makes no other reader of it.
    reader.set_folders(vec![machine.path("")]);
    machine.write("proc/stat", &STAT.replace("100 0 50 800 50", "200 0 50 800 10"));
    let device = reader.read();
    assert_eq!((device.folders.len(), device.cpu.idle_ns), (1, Some(8_900_000_000)));
    assert_eq!((device.cpu.busy_ns, device.cpu.busy), (Some(2_500_000_000), Some(1.0)));
}

#[test]
fn throttling_of_each_kind_of_machine_is_told() {
    let throttling = |files: &[(&str, &str)], then: &[(&str, &str)]| {
        let machine = Machine::new(files);
        let mut reader = machine.reader();
        let first = reader.read().throttling;
        then.iter().for_each(|(path, text)| machine.write(path, text));
        (first.throttled, reader.read().throttling)
    };
    let told = |causes: &[Cause], events| {
        let throttled = Some(!causes.is_empty());
        Throttling { throttled, causes: causes.to_vec(), events }
    };
    assert_eq!(throttling(&[], &[]), (None, Throttling::default()));
    let brake = ["sys/class/thermal/cooling_device4/type", "sys/class/thermal/cooling_device4/cur_state"];
    let found = throttling(&[(brake[0], "Processor"), (brake[1], "0")], &[(brake[1], "2")]);
    assert_eq!(found, (Some(false), told(&[Cause::Temperature], None)));
    let found = throttling(&[(brake[0], "intel_powerclamp"), (brake[1], "-1")], &[]);
    assert_eq!(found, (Some(false), told(&[], None)));
    // Intel: two threads of one core, and their package, count once each.
    let file = |cpu: u32, name: &str| format!("sys/devices/system/cpu/cpu{cpu}/{name}");
    let mut files = Vec::new();
    for cpu in [0, 1] {
        files.push((file(cpu, "topology/core_id"), "0"));
        files.push((file(cpu, "topology/physical_package_id"), "0"));
        files.push((file(cpu, "thermal_throttle/core_throttle_count"), "3"));
        files.push((file(cpu, "thermal_throttle/package_throttle_count"), "4"));
    }
    let files: Vec<(&str, &str)> = files.iter().map(|(path, text)| (path.as_str(), *text)).collect();
    let package = file(0, "thermal_throttle/package_throttle_count");
    assert_eq!(throttling(&files, &[]), (Some(false), told(&[], Some(7))));
    assert_eq!(throttling(&files, &[(&package, "5")]), (Some(false), told(&[Cause::Temperature], Some(8))));
    let jetson = ["sys/class/hwmon/hwmon2/name", "sys/class/hwmon/hwmon2/oc1_event_cnt"];
    let found = throttling(&[(jetson[0], "soctherm_oc"), (jetson[1], "0")], &[(jetson[1], "1")]);
    assert_eq!(found, (Some(false), told(&[Cause::Power], Some(1))));
    let supply = ["sys/class/hwmon/hwmon1/name", "sys/class/hwmon/hwmon1/in0_lcrit_alarm"];
    let found = throttling(&[(supply[0], "rpi_volt"), (supply[1], "0")], &[(supply[1], "1")]);
    assert_eq!(found, (Some(false), told(&[Cause::Voltage], None)));
    // Raspberry Pi: what was is not what is.
    let pi = "sys/bus/platform/drivers/raspberrypi-firmware/soc:firmware/get_throttled";
    let now = |bits: &str| throttling(&[(pi, "50000")], &[(pi, bits)]).1.causes;
    assert_eq!(now("50005\n"), [Cause::Voltage]);
    assert_eq!(now("e000e"), [Cause::Temperature]);
    assert_eq!(now("0x9"), [Cause::Temperature, Cause::Voltage]);
    assert_eq!(now("20002"), [Cause::Temperature]);
    assert_eq!(throttling(&[(pi, "50000")], &[]), (Some(false), told(&[], None)));
}

#[test]
fn limits_of_the_first_version_of_control_groups_and_of_a_container_hold() {
    let machine = Machine::new(&[
        ("proc/stat", STAT),
        ("proc/self/cgroup", "5:memory:/docker/ab\n4:cpu,cpuacct:/docker/ab\n0::/../else\n"),
        ("proc/meminfo", "MemTotal: 8000000 kB\n"),
        ("sys/fs/cgroup/cpu/cpu.cfs_quota_us", "50000\n"),
        ("sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n"),
        ("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n"),
        ("sys/fs/cgroup/memory/docker/ab/memory.limit_in_bytes", "1000000\n"),
        ("sys/fs/cgroup/memory/docker/ab/memory.usage_in_bytes", "900000\n"),
    ]);
    let device = machine.reader().read();
    assert_eq!(device.cpu.usable, Some(0.5));
    assert_eq!((device.memory.limit_bytes, device.memory.limit_used_bytes), (Some(1_000_000), Some(900_000)));
    // Without a limit, and with a group that is outside of what this process sees.
    machine.write("sys/fs/cgroup/cpu/cpu.cfs_quota_us", "-1\n");
    machine.write("proc/self/cgroup", "4:cpu:/../..\n");
    let device = machine.reader().read();
    assert_eq!((device.cpu.usable, device.memory.limit_bytes), (Some(2.0), None));
}

#[test]
fn folders_are_asked_where_they_are_or_will_be() {
    let machine = Machine::new(&[]);
    let folders = vec![machine.path(""), machine.path("not/yet/there")];
    let found = Reader::new(machine.roots(), folders.clone()).read().folders;
    let [there, later] = found.as_slice() else { panic!("{found:?}") };
    assert_eq!((Path::new(&there.path), Path::new(&later.path)), (folders[0].as_path(), folders[1].as_path()));
    assert!(there.size_bytes > 0 && there.free_bytes <= there.size_bytes && !there.read_only, "{there:?}");
    assert_eq!(there.size_bytes, later.size_bytes);
    let proc = Path::new("/proc");
    if proc.join("self").exists() {
        let found = Reader::new(machine.roots(), vec![proc.into()]).read().folders;
        assert_eq!(found.first().map(|folder| folder.size_bytes), Some(0));
    }
}

#[test]
fn what_fails_costs_itself_and_what_comes_later_is_found() {
    let machine = of_all_kinds();
    let mut reader = machine.reader();
    let all = reader.read();
    // One sensor is gone, another one talks nonsense, a third one is a folder.
    fs::remove_file(machine.path("sys/class/drm/card0/device/gpu_busy_percent")).unwrap();
    machine.write("sys/class/thermal/thermal_zone0/temp", "hot\n");
    machine.write("sys/class/hwmon/hwmon1/temp1_input", "-274000\n");
    fs::remove_file(machine.path("proc/uptime")).unwrap();
    fs::create_dir(machine.path("proc/uptime")).unwrap();
    let mut reader = machine.reader();
    let less = reader.read();
    assert_eq!((less.uptime_ns, less.hottest_celsius, less.temperatures.len()), (None, Some(65.0), 3));
    assert_eq!((less.memory, less.drives, less.gpus.len()), (all.memory, all.drives, 1));
    // A sensor that comes is found after a while.
    machine.write("sys/class/thermal/thermal_zone1/type", "gpu-thermal");
    machine.write("sys/class/thermal/thermal_zone1/temp", "50000");
    let readings = (0..=SEARCH).position(|_| reader.read().temperatures.iter().any(|t| t.name == "gpu-thermal"));
    assert_eq!(readings, Some(SEARCH as usize - 1));
    // And one whose text is mended is read without a search.
    machine.write("sys/class/thermal/thermal_zone0/temp", "60000");
    let mended = reader.read().temperatures;
    assert!(mended.iter().any(|t| t.name == "cpu-thermal" && t.celsius == 60.0), "{mended:?}");
}

/// A sensor whose device is gone fails when it is read; what comes under its name later is another file.
#[test]
fn a_file_that_fails_is_opened_anew() {
    let machine = Machine::new(&[("other", "5\n")]);
    let mut child = std::process::Command::new("sleep").arg("600").spawn().unwrap();
    let link = machine.path("link");
    symlink(format!("/proc/{}/stat", child.id()), &link).unwrap();
    let mut file = files::Rereader::new(link.clone());
    assert_eq!(file.number::<u32>(), Some(child.id()));
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(file.text(), None);
    fs::remove_file(&link).unwrap();
    symlink(machine.path("other"), &link).unwrap();
    assert_eq!(file.number::<u32>(), Some(5));
}

#[test]
fn an_empty_machine_says_nothing() {
    let device = Machine::new(&[]).reader().read();
    assert_eq!(device, Device::default());
}

#[test]
fn readings_are_values_that_come_back_from_json() {
    let machine = of_all_kinds();
    let device = Reader::new(machine.roots(), vec![machine.path("")]).read();
    let text = serde_json::to_value(&device).unwrap();
    assert_eq!(text["temperatures"][0]["limit-celsius"], 110.0);
    assert_eq!(text["cpu"]["frequency-most-hz"], 2_400_000_000u64);
    let schema = serde_json::to_value(schemars::schema_for!(Device)).unwrap();
    assert!(schema["properties"]["hottest-celsius"].is_object(), "{schema}");
    assert_eq!(serde_json::from_value::<Device>(text).unwrap(), device);
}

/// The machine that runs the test: what Linux has everywhere is told, and a second reading tells shares.
#[test]
fn this_machine_is_read() {
    let mut reader = Reader::new(Roots::default(), vec![std::env::temp_dir()]);
    let first = reader.read();
    assert!(first.cpu.processors > 0 && first.cpu.usable.is_some_and(|usable| usable > 0.0), "{first:?}");
    assert!(first.memory.total_bytes > first.memory.available_bytes && first.uptime_ns > Some(0), "{first:?}");
    assert_eq!(first.folders.len(), 1);
    let before = std::time::Instant::now();
    let shares = std::iter::repeat_with(|| {
        // Work for some ticks, so that both the process and the machine have used time.
        let begin = std::time::Instant::now();
        while begin.elapsed().as_millis() < 50 {
            std::hint::black_box((0..1_000_000u64).sum::<u64>());
        }
        reader.read().cpu
    });
    let mut shares = shares.take_while(|_| before.elapsed().as_secs() < 30);
    let told = shares.find(|cpu| [cpu.process, cpu.busy].iter().all(|share| share.is_some_and(|share| share > 0.0)));
    let told = told.unwrap_or_else(|| panic!("this process was never seen to work"));
    assert!(told.busy.is_some_and(|busy| busy <= 1.0), "{told:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever is in the files, each reading ends and nothing panics.
    #[test]
    fn no_text_is_too_bad(text in "[ -~\n]{0,80}", bytes in prop::collection::vec(any::<u8>(), 0..60), which in 0usize..60) {
        let machine = of_all_kinds();
        let mut files: Vec<PathBuf> = files_below(machine.folder.path());
        files.sort();
        let path = files[which % files.len()].clone();
        let mut reader = machine.reader();
        reader.read();
        fs::write(&path, &text).unwrap();
        reader.read();
        fs::write(&path, &bytes).unwrap();
        reader.read();
        let again = machine.reader().read();
        prop_assert!(again.temperatures.iter().all(|t| t.celsius.is_finite()));
        prop_assert!(serde_json::to_string(&again).is_ok());
    }
}

/// All files of a folder and its folders.
fn files_below(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let entries = entries.filter(|path| !path.is_symlink());
    entries.flat_map(|path| if path.is_dir() { files_below(&path) } else { vec![path] }).collect()
}
