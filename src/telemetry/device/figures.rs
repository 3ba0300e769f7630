//! A reading as figures for Prometheus.

use super::{Cause, Device, Folder, Gpu, Pressure};
use crate::telemetry::figures::{Figure, Labels};

/// A figure of a GPU.
type Value = fn(&Gpu) -> Option<f64>;

impl Device {
    /// The reading as metrics; those that the machine does not tell have no samples.
    pub fn figures(&self) -> Vec<Figure> {
        let mut figures = Vec::new();
        self.heat(&mut figures);
        self.processors(&mut figures);
        self.memories(&mut figures);
        self.storage(&mut figures);
        self.network(&mut figures);
        self.graphics(&mut figures);
        figures
    }

    fn heat(&self, to: &mut Vec<Figure>) {
        let uptime = self.uptime_ns.map(seconds);
        to.push(Figure::gauge("vigil_device_uptime_seconds", "Time since the machine's start", single(uptime)));
        let sensors = || self.temperatures.iter().map(|t| (vec![("sensor", t.name.clone())], t));
        let celsius = sensors().map(|(labels, t)| (labels, t.celsius));
        to.push(Figure::gauge("vigil_device_temperature_celsius", "Temperature at a sensor", celsius));
        let limits = sensors().filter_map(|(labels, t)| Some((labels, t.limit_celsius?)));
        let help = "Temperature at which the machine is switched off, or the maker's limit";
        to.push(Figure::gauge("vigil_device_temperature_limit_celsius", help, limits));
        let throttling = &self.throttling;
        // A machine that tells nothing of it has no series, so that nobody reads 0 as "it is well".
        let causes = Cause::ALL.into_iter().filter(|_| throttling.throttled.is_some());
        let causes = causes.map(|cause| {
            let labels = vec![("cause", cause.as_str().to_owned())];
            (labels, f64::from(throttling.causes.contains(&cause)))
        });
        let help = "Whether the machine slows itself down (0 or 1), by cause";
        to.push(Figure::gauge("vigil_device_throttled", help, causes));
        let events = single(throttling.events.map(|events| events as f64));
        let help = "How often processor or supply slowed the machine down";
        to.push(Figure::counter("vigil_device_throttle_events", help, events));
    }

    fn processors(&self, to: &mut Vec<Figure>) {
        let cpu = &self.cpu;
        let processors = single((cpu.processors > 0).then_some(f64::from(cpu.processors)));
        to.push(Figure::gauge("vigil_device_processors", "Processors that are switched on", processors));
        let help = "Processors that Vigil may use, by affinity and control groups";
        to.push(Figure::gauge("vigil_device_usable_processors", help, single(cpu.usable)));
        let help = "Time that processors worked, all together";
        to.push(Figure::counter("vigil_device_cpu_busy_seconds", help, single(cpu.busy_ns.map(seconds))));
        let help = "Time that processors had nothing to do, all together";
        to.push(Figure::counter("vigil_device_cpu_idle_seconds", help, single(cpu.idle_ns.map(seconds))));
        let load = cpu.load.map(|[one, ..]| one);
        to.push(Figure::gauge("vigil_device_load1", "Tasks that run or wait, mean over a minute", single(load)));
        let hertz = cpu.frequency_hz.map(|hertz| hertz as f64);
        to.push(Figure::gauge("vigil_device_cpu_frequency_hertz", "Frequency of the processors, mean", single(hertz)));
        let help = "How much of its highest frequency the processor that is held back most may have (0 to 1)";
        to.push(Figure::gauge("vigil_device_cpu_frequency_cap_ratio", help, single(cpu.frequency_cap)));
    }

    fn memories(&self, to: &mut Vec<Figure>) {
        let memory = &self.memory;
        let sizes = [
            ("vigil_device_memory_size_bytes", "Memory of the machine", memory.total_bytes),
            ("vigil_device_memory_available_bytes", "Memory that programs can still have", memory.available_bytes),
            ("vigil_device_swap_size_bytes", "Swap of the machine", memory.swap_total_bytes),
            ("vigil_device_swap_free_bytes", "Swap that is free", memory.swap_free_bytes),
            ("vigil_device_memory_limit_bytes", "Memory that Vigil's control group may have", memory.limit_bytes),
            ("vigil_device_memory_limit_used_bytes", "Memory that Vigil's control group has", memory.limit_used_bytes),
        ];
        to.extend(sizes.map(|(name, help, bytes)| Figure::gauge(name, help, single(bytes.map(|bytes| bytes as f64)))));
        let pressure = &self.pressure;
        let resources = [("cpu", &pressure.cpu), ("memory", &pressure.memory), ("io", &pressure.io)];
        let each = |value: fn(&Pressure) -> u64| {
            let told = resources.into_iter().filter_map(|(name, pressure)| Some((name, pressure.as_ref()?)));
            told.map(move |(name, pressure)| (vec![("resource", name.to_owned())], seconds(value(pressure))))
        };
        let help = "Time in which at least one task waited for the resource";
        to.push(Figure::counter("vigil_device_pressure_waiting_seconds", help, each(|pressure| pressure.some_ns)));
        let help = "Time in which all tasks waited for the resource";
        to.push(Figure::counter("vigil_device_pressure_stalled_seconds", help, each(|pressure| pressure.full_ns)));
    }

    fn storage(&self, to: &mut Vec<Figure>) {
        let folders = |value: fn(&Folder) -> f64| {
            self.folders.iter().map(move |folder| (vec![("path", folder.path.clone())], value(folder)))
        };
        let size = folders(|folder| folder.size_bytes as f64);
        to.push(Figure::gauge("vigil_device_filesystem_size_bytes", "Size of the file system of a folder", size));
        let free = folders(|folder| folder.free_bytes as f64);
        to.push(Figure::gauge("vigil_device_filesystem_free_bytes", "Free space for a folder", free));
        let readonly = folders(|folder| f64::from(folder.read_only));
        let help = "Whether nothing can be written to a folder's file system (0 or 1)";
        to.push(Figure::gauge("vigil_device_filesystem_readonly", help, readonly));
        let drives = || self.drives.iter().map(|drive| (vec![("drive", drive.name.clone())], drive));
        let read = drives().map(|(labels, drive)| (labels, drive.read_bytes as f64));
        to.push(Figure::counter("vigil_device_drive_read_bytes", "Bytes that were read from a drive", read));
        let written = drives().map(|(labels, drive)| (labels, drive.written_bytes as f64));
        to.push(Figure::counter("vigil_device_drive_written_bytes", "Bytes that were written to a drive", written));
        let busy = drives().map(|(labels, drive)| (labels, seconds(drive.busy_ns)));
        to.push(Figure::counter("vigil_device_drive_busy_seconds", "Time in which a drive had something to do", busy));
    }

    fn network(&self, to: &mut Vec<Figure>) {
        let interfaces = || self.interfaces.iter().map(|found| (vec![("interface", found.name.clone())], found));
        let received = interfaces().map(|(labels, found)| (labels, found.received_bytes as f64));
        to.push(Figure::counter("vigil_device_network_receive_bytes", "Bytes that came in", received));
        let sent = interfaces().map(|(labels, found)| (labels, found.sent_bytes as f64));
        to.push(Figure::counter("vigil_device_network_transmit_bytes", "Bytes that went out", sent));
        let errors = interfaces().map(|(labels, found)| (labels, found.errors as f64));
        to.push(Figure::counter("vigil_device_network_errors", "Packets that were damaged or dropped", errors));
    }

    fn graphics(&self, to: &mut Vec<Figure>) {
        let figures: [(_, _, Value); 7] = [
            ("vigil_device_gpu_busy_ratio", "Share of time in which the GPU worked (0 to 1)", |gpu| gpu.busy),
            ("vigil_device_gpu_memory_size_bytes", "Memory of the GPU", |gpu| gpu.memory_total_bytes.map(number)),
            ("vigil_device_gpu_memory_used_bytes", "Memory of the GPU in use", |gpu| gpu.memory_used_bytes.map(number)),
            ("vigil_device_gpu_temperature_celsius", "Temperature of the GPU", |gpu| gpu.celsius),
            ("vigil_device_gpu_temperature_limit_celsius", "Temperature at which the GPU slows down", |g| {
                g.limit_celsius
            }),
            ("vigil_device_gpu_power_watts", "What the GPU takes", |gpu| gpu.power_watts),
            ("vigil_device_gpu_throttled", "Whether heat or supply slows the GPU down (0 or 1)", |gpu| {
                gpu.throttled.map(f64::from)
            }),
        ];
        for (name, help, value) in figures {
            let labels = |gpu: &Gpu| Labels::from([("gpu", gpu.id.clone()), ("model", gpu.name.clone())]);
            let told = self.gpus.iter().filter_map(|gpu| Some((labels(gpu), value(gpu)?)));
            to.push(Figure::gauge(name, help, told));
        }
    }
}

fn number(count: u64) -> f64 {
    count as f64
}

fn seconds(ns: u64) -> f64 {
    ns as f64 / 1e9
}

/// The sample of a metric that there is one of, if there is one.
fn single(value: Option<f64>) -> Option<(Labels, f64)> {
    Some((Labels::new(), value?))
}
