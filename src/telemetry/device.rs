//! What the machine says of itself: temperature, throttling, processors, memory, drives, network, GPU.
//!
//! All of it comes from `/proc` and `/sys`, and from NVML where NVIDIA's driver is: no process is started and nothing is written. What a
//! machine does not tell is `None` or missing from a list; a file that is missing or makes no sense costs its own reading and no other.

mod cpu;
mod disk;
mod figures;
mod files;
mod gpu;
mod memory;
mod network;
mod thermal;
mod watch;

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use cpu::Cpu;
pub use disk::{Drive, Folder};
pub use gpu::Gpu;
pub use memory::{Memory, Pressure, Pressures};
pub use network::Interface;
pub use thermal::{Cause, Temperature, Throttling};
pub use watch::{Reading, Watch};

use files::Rereader;

/// Where the kernel's files are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Roots {
    /// `/proc`.
    pub proc: PathBuf,
    /// `/sys`.
    pub sys: PathBuf,
}

impl Default for Roots {
    fn default() -> Self {
        Self { proc: "/proc".into(), sys: "/sys".into() }
    }
}

/// One reading of the machine.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Device {
    /// Time since the machine's start, nanoseconds.
    pub uptime_ns: Option<u64>,
    /// The highest of all temperatures, degrees Celsius.
    pub hottest_celsius: Option<f64>,
    /// All temperatures, by name.
    pub temperatures: Vec<Temperature>,
    /// Whether the machine is slowed down.
    pub throttling: Throttling,
    /// The processors.
    pub cpu: Cpu,
    /// The memory.
    pub memory: Memory,
    /// How much work waits for something.
    pub pressure: Pressures,
    /// The folders that were asked about, in that order.
    pub folders: Vec<Folder>,
    /// The drives: disks, memory cards.
    pub drives: Vec<Drive>,
    /// The network interfaces.
    pub interfaces: Vec<Interface>,
    /// The GPUs.
    pub gpus: Vec<Gpu>,
}

/// After this many readings sensors are looked for anew: a driver may have been loaded, a drive plugged in.
const SEARCH: u32 = 60;

/// Reads the machine, again and again: it keeps the files that it found open.
///
/// Shares (of processor time) and causes of throttling are those since this reader's last reading, and its counters never fall. A reading
/// takes some hundred system calls, and a sensor, a GPU or a network drive may be slow to answer, or never answer: it is not for
/// a thread that others wait for, but for a [`Watch`].
#[derive(Debug)]
pub struct Reader {
    roots: Roots,
    uptime: Rereader,
    cpu: cpu::Source,
    memory: memory::Source,
    disk: disk::Source,
    network: network::Source,
    thermal: thermal::Source,
    gpu: gpu::Source,
    until_search: u32,
}

impl Reader {
    /// Finds what there is to read; `folders` are those whose free space is of interest. NVML is asked only where `roots` are the
    /// machine's own.
    pub fn new(roots: Roots, folders: Vec<PathBuf>) -> Self {
        Self {
            uptime: Rereader::new(roots.proc.join("uptime")),
            cpu: cpu::Source::new(&roots),
            memory: memory::Source::new(&roots),
            disk: disk::Source::new(&roots, folders),
            network: network::Source::new(&roots),
            thermal: thermal::Source::new(&roots),
            gpu: gpu::Source::new(&roots),
            until_search: SEARCH,
            roots,
        }
    }

    /// Has the free space of other folders read from now on.
    pub fn set_folders(&mut self, folders: Vec<PathBuf>) {
        self.disk.set_folders(folders);
    }

    /// Reads all of it.
    pub fn read(&mut self) -> Device {
        match self.until_search.checked_sub(1) {
            Some(left) => self.until_search = left,
            None => self.search(),
        }
        let (temperatures, throttling) = self.thermal.read();
        let (memory, pressure) = self.memory.read();
        Device {
            uptime_ns: self.uptime.number::<f64>().and_then(seconds_to_ns),
            hottest_celsius: temperatures.iter().map(|t| t.celsius).max_by(f64::total_cmp),
            temperatures,
            throttling,
            cpu: self.cpu.read(),
            memory,
            pressure,
            folders: self.disk.folders(),
            drives: self.disk.drives(),
            interfaces: self.network.read(),
            gpus: self.gpu.read(),
        }
    }

    /// Looks for sensors anew.
    fn search(&mut self) {
        self.until_search = SEARCH;
        self.cpu.search(&self.roots);
        self.disk.search(&self.roots);
        self.network.search(&self.roots);
        self.thermal.search(&self.roots);
        self.gpu.search(&self.roots);
    }
}

/// Nanoseconds of a plausible number of seconds.
fn seconds_to_ns(seconds: f64) -> Option<u64> {
    (seconds.is_finite() && (0.0..1e9).contains(&seconds)).then_some((seconds * 1e9) as u64)
}

#[cfg(test)]
#[path = "device_tests.rs"]
mod tests;
