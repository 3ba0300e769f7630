//! Temperatures, and whether the machine slows itself down.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Roots;
use super::files::{Rereader, entries, name, number, word};

/// More sensors than this are not read.
const MOST: usize = 48;
/// What a sensor says outside of these is no temperature, degrees Celsius.
const PLAUSIBLE: std::ops::Range<f64> = -50.0..200.0;
/// Starts of the types of cooling devices that cool by slowing down; the others are fans and the like.
const BRAKES: [&str; 8] =
    ["Processor", "cpu", "thermal-cpu", "thermal-devfreq", "thermal-idle", "devfreq", "intel_powerclamp", "gpu"];

/// A temperature.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Temperature {
    /// The sensor: a thermal zone's type, or chip and label (`nvme/Composite`).
    pub name: String,
    /// The temperature, degrees Celsius.
    pub celsius: f64,
    /// Where the machine switches itself off or the maker's limit is, degrees Celsius; `None` if it does not say.
    pub limit_celsius: Option<f64>,
}

/// Why something is slowed down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Cause {
    /// It is too hot.
    Temperature,
    /// The supply's voltage is too low.
    Voltage,
    /// It takes more current or power than it may.
    Power,
}

impl Cause {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Temperature, Self::Voltage, Self::Power];

    /// The word in metrics and records.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Temperature => "temperature",
            Self::Voltage => "voltage",
            Self::Power => "power",
        }
    }
}

/// Whether the machine slows itself down.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Throttling {
    /// Whether it does so now, or did since the last reading; `None` if nothing of it tells.
    pub throttled: Option<bool>,
    /// Why.
    pub causes: Vec<Cause>,
    /// How often it did since the machine's start, where the processor counts it.
    pub events: Option<u64>,
}

#[derive(Debug)]
pub(super) struct Source {
    sensors: Vec<Sensor>,
    brakes: Vec<Rereader>,
    /// Counters of the processors' own (Intel).
    counters: Vec<Rereader>,
    /// Counters of the supply's (Jetson).
    currents: Vec<Rereader>,
    /// Raspberry Pi: bits of the firmware, and the alarm of its supply.
    firmware: Vec<Rereader>,
    supply: Vec<Rereader>,
    last: (Option<u64>, Option<u64>),
}

#[derive(Debug)]
struct Sensor {
    name: String,
    file: Rereader,
    limit_celsius: Option<f64>,
}

impl Source {
    pub(super) fn new(roots: &Roots) -> Self {
        let mut source = Self {
            sensors: Vec::new(),
            brakes: Vec::new(),
            counters: Vec::new(),
            currents: Vec::new(),
            firmware: Vec::new(),
            supply: Vec::new(),
            last: (None, None),
        };
        source.search(roots);
        source
    }

    pub(super) fn search(&mut self, roots: &Roots) {
        let class = roots.sys.join("class");
        let chips = entries(&class.join("hwmon"), "hwmon");
        let zones = entries(&class.join("thermal"), "thermal_zone");
        let sensors =
            zones.iter().filter_map(|zone| zone_sensor(zone)).chain(chips.iter().flat_map(|c| chip_sensors(c)));
        self.sensors = distinct(sensors.take(MOST));
        let brakes = entries(&class.join("thermal"), "cooling_device").into_iter().filter(|device| {
            word(&device.join("type")).is_some_and(|kind| BRAKES.iter().any(|start| kind.starts_with(start)))
        });
        self.brakes = brakes.map(|device| Rereader::new(device.join("cur_state"))).collect();
        let counted = (self.counters.len(), self.currents.len());
        self.counters = processors_counters(&roots.sys.join("devices/system/cpu"));
        let of_chips = |chip: &str, end: &str| -> Vec<Rereader> {
            let chips = chips.iter().filter(|folder| word(&folder.join("name")).is_some_and(|name| name == chip));
            let files = chips.flat_map(|folder| entries(folder, ""));
            files.filter(|path| name(path).ends_with(end)).map(Rereader::new).collect()
        };
        self.currents = of_chips("soctherm_oc", "_event_cnt");
        self.supply = of_chips("rpi_volt", "_lcrit_alarm");
        let firmware = entries(&roots.sys.join("bus/platform/drivers/raspberrypi-firmware"), "").into_iter();
        let firmware = firmware.map(|device| device.join("get_throttled")).filter(|path| path.is_file());
        self.firmware = firmware.map(Rereader::new).collect();
        if counted != (self.counters.len(), self.currents.len()) {
            // Sums over other counters say nothing about what happened meanwhile.
            self.last = (None, None);
        }
    }

    pub(super) fn read(&mut self) -> (Vec<Temperature>, Throttling) {
        let temperatures = self.sensors.iter_mut().filter_map(|sensor| {
            let celsius = plausible(sensor.file.number()?)?;
            Some(Temperature { name: sensor.name.clone(), celsius, limit_celsius: sensor.limit_celsius })
        });
        (temperatures.collect(), self.throttling())
    }

    fn throttling(&mut self) -> Throttling {
        let mut told = false;
        let mut causes = BTreeSet::new();
        for brake in &mut self.brakes {
            // -1 is a brake that is not in use.
            let Some(state) = brake.number::<i64>() else { continue };
            told = true;
            causes.extend((state > 0).then_some(Cause::Temperature));
        }
        let now = (sum(&mut self.counters), sum(&mut self.currents));
        let last = std::mem::replace(&mut self.last, now);
        let more = |last: Option<u64>, now: Option<u64>| last.zip(now).is_some_and(|(last, now)| now > last);
        causes.extend(more(last.0, now.0).then_some(Cause::Temperature));
        causes.extend(more(last.1, now.1).then_some(Cause::Power));
        told |= now.0.is_some() || now.1.is_some();
        for alarm in &mut self.supply {
            let Some(alarm) = alarm.number::<u8>() else { continue };
            told = true;
            causes.extend((alarm != 0).then_some(Cause::Voltage));
        }
        for bits in &mut self.firmware {
            let Some(bits) = bits.text().and_then(hexadecimal) else { continue };
            told = true;
            causes.extend(firmware_causes(bits));
        }
        let events = match now {
            (None, None) => None,
            (one, other) => Some(one.unwrap_or_default().saturating_add(other.unwrap_or_default())),
        };
        Throttling { throttled: told.then_some(!causes.is_empty()), causes: causes.into_iter().collect(), events }
    }
}

/// Degrees Celsius of thousandths that make sense.
fn plausible(thousandths: f64) -> Option<f64> {
    Some(thousandths / 1000.0).filter(|celsius| PLAUSIBLE.contains(celsius))
}

/// A limit: one that is not set is often zero.
fn limit(path: &Path) -> Option<f64> {
    plausible(number(path)?).filter(|celsius| *celsius > 0.0)
}

fn zone_sensor(zone: &Path) -> Option<Sensor> {
    let trips = entries(zone, "trip_point_").into_iter().filter(|path| name(path).ends_with("_type"));
    let fatal = trips.filter(|path| word(path).is_some_and(|kind| kind == "critical" || kind == "hot"));
    let limits = fatal.filter_map(|path| limit(&path.with_file_name(name(&path).replace("_type", "_temp"))));
    Some(Sensor {
        name: word(&zone.join("type"))?,
        file: Rereader::new(zone.join("temp")),
        limit_celsius: limits.min_by(f64::total_cmp),
    })
}

fn chip_sensors(chip: &Path) -> Vec<Sensor> {
    let device = chip.join("device").canonicalize();
    // The kernel shows thermal zones as chips as well.
    if device.is_ok_and(|device| name(&device).starts_with("thermal_zone")) {
        return Vec::new();
    }
    let Some(of_chip) = word(&chip.join("name")) else { return Vec::new() };
    let inputs = entries(chip, "temp").into_iter().filter(|path| name(path).ends_with("_input"));
    let beside = |path: &PathBuf, what: &str| path.with_file_name(name(path).replace("_input", what));
    let labelled: Vec<(PathBuf, String)> = inputs
        .map(|path| {
            let label = word(&beside(&path, "_label"));
            let label = label.unwrap_or_else(|| name(&path).trim_end_matches("_input").to_owned());
            (path, label)
        })
        .collect();
    // The whole processor is about as hot as its hottest core, and each core that is asked is woken up for it.
    let whole = labelled.iter().any(|(_, label)| label.starts_with("Package id"));
    let wanted = labelled.into_iter().filter(|(_, label)| !(whole && label.starts_with("Core ")));
    wanted
        .map(|(path, label)| Sensor {
            name: format!("{of_chip}/{label}"),
            limit_celsius: limit(&beside(&path, "_crit")).or_else(|| limit(&beside(&path, "_max"))),
            file: Rereader::new(path),
        })
        .collect()
}

/// Gives sensors of the same name numbers.
fn distinct(sensors: impl Iterator<Item = Sensor>) -> Vec<Sensor> {
    let mut taken = BTreeSet::new();
    let mut all: Vec<Sensor> = sensors.collect();
    for sensor in &mut all {
        let names = std::iter::once(sensor.name.clone()).chain((2..).map(|number| format!("{}#{number}", sensor.name)));
        let free = { names }.find(|name| !taken.contains(name));
        sensor.name = free.unwrap_or_default();
        taken.insert(sensor.name.clone());
    }
    all
}

/// How often processors slowed down: each core once and each package once, however many processors the kernel shows of them.
fn processors_counters(folder: &Path) -> Vec<Rereader> {
    let mut seen = BTreeSet::new();
    let mut files = Vec::new();
    for cpu in entries(folder, "cpu") {
        let package = word(&cpu.join("topology/physical_package_id")).unwrap_or_default();
        let core = word(&cpu.join("topology/core_id")).unwrap_or_else(|| name(&cpu));
        let kinds = [("package_throttle_count", String::new()), ("core_throttle_count", core)];
        for (file, core) in kinds {
            let path = cpu.join("thermal_throttle").join(file);
            if path.is_file() && seen.insert((file, package.clone(), core)) {
                files.push(Rereader::new(path));
            }
        }
    }
    files.truncate(2 * MOST);
    files
}

/// The sum of counters; `None` if none can be read.
fn sum(files: &mut [Rereader]) -> Option<u64> {
    files.iter_mut().filter_map(|file| file.number::<u64>()).reduce(u64::saturating_add)
}

fn hexadecimal(text: &str) -> Option<u32> {
    let digits = text.trim();
    u32::from_str_radix(digits.strip_prefix("0x").unwrap_or(digits), 16).ok()
}

/// What the bits of a Raspberry Pi's firmware mean that say how things are now: 0 low voltage, 1 frequency capped, 2 throttled, 3 soft
/// temperature limit. Low voltage brings 1 and 2 as well; without it they are about temperature.
fn firmware_causes(bits: u32) -> impl Iterator<Item = Cause> {
    let low = bits & 0b1 != 0;
    let hot = bits & 0b1000 != 0 || (!low && bits & 0b110 != 0);
    low.then_some(Cause::Voltage).into_iter().chain(hot.then_some(Cause::Temperature))
}
