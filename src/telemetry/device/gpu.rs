//! GPUs: NVIDIA's by NVML, AMD's and a Jetson's own by what the kernel says.

use std::path::{Path, PathBuf};

use nvml_wrapper::Nvml;
use nvml_wrapper::bitmasks::device::ThrottleReasons;
use nvml_wrapper::enum_wrappers::device::{TemperatureSensor, TemperatureThreshold};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::files::{Rereader, entries, name, word};
use super::{Cause, Roots};

/// A GPU.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Gpu {
    /// What tells it from others: its UUID, or the kernel's name of it.
    pub id: String,
    /// Its model.
    pub name: String,
    /// Share of time in which it worked, 0..1, over the driver's last sample (up to a second).
    pub busy: Option<f64>,
    /// All of its memory, bytes.
    pub memory_total_bytes: Option<u64>,
    /// Its memory in use, bytes.
    pub memory_used_bytes: Option<u64>,
    /// Temperature, degrees Celsius.
    pub celsius: Option<f64>,
    /// Temperature at which it slows down, degrees Celsius.
    pub limit_celsius: Option<f64>,
    /// What it takes, watts.
    pub power_watts: Option<f64>,
    /// Whether it is slowed down by heat or by its supply. To stay within its own power limit is its normal work, and does not count.
    pub throttled: Option<bool>,
    /// Why.
    pub causes: Vec<Cause>,
}

#[derive(Debug)]
pub(super) struct Source {
    /// NVIDIA's library; `None` without its driver.
    nvml: Option<Nvml>,
    /// NVML is about the machine itself: for a made-up tree it is not asked.
    real: bool,
    cards: Vec<Card>,
}

/// A GPU that the kernel tells about.
#[derive(Debug)]
struct Card {
    id: String,
    name: String,
    busy: Rereader,
    /// What `busy` is when the GPU works all the time.
    most: f64,
    memory_total: Rereader,
    memory_used: Rereader,
}

impl Source {
    pub(super) fn new(roots: &Roots) -> Self {
        let mut source = Self { nvml: None, real: *roots == Roots::default(), cards: Vec::new() };
        source.search(roots);
        source
    }

    pub(super) fn search(&mut self, roots: &Roots) {
        if self.real && self.nvml.is_none() {
            self.nvml = Nvml::init().ok();
        }
        let class = roots.sys.join("class");
        let amd = entries(&class.join("drm"), "card").into_iter().filter(|card| !name(card).contains('-'));
        let amd = amd.filter_map(|card| Card::find(&card, "gpu_busy_percent", 100.0));
        // Per mille, NVIDIA's kernel for Jetson.
        let jetson = entries(&class.join("devfreq"), "").into_iter().filter_map(|gpu| Card::find(&gpu, "load", 1000.0));
        self.cards = amd.chain(jetson).collect();
    }

    pub(super) fn read(&mut self) -> Vec<Gpu> {
        let mut gpus = Vec::new();
        if let Some(nvml) = &self.nvml {
            match nvml.device_count() {
                Ok(count) => gpus.extend((0..count).filter_map(|index| nvidia(nvml, index))),
                // The driver was replaced or unloaded; it is looked for again.
                Err(_) => self.nvml = None,
            }
        }
        gpus.extend(self.cards.iter_mut().filter_map(Card::read));
        gpus
    }
}

impl Card {
    fn find(folder: &Path, busy: &str, most: f64) -> Option<Self> {
        let device: PathBuf = folder.join("device");
        let file = |name: &str| Rereader::new(device.join(name));
        let busy = device.join(busy).is_file().then(|| file(busy))?;
        let id = name(folder);
        Some(Self {
            name: word(&device.join("product_name")).unwrap_or_else(|| id.clone()),
            id,
            busy,
            most,
            memory_total: file("mem_info_vram_total"),
            memory_used: file("mem_info_vram_used"),
        })
    }

    fn read(&mut self) -> Option<Gpu> {
        let busy = self.busy.number::<f64>().map(|busy| busy / self.most).filter(|busy| (0.0..=1.0).contains(busy))?;
        Some(Gpu {
            id: self.id.clone(),
            name: self.name.clone(),
            busy: Some(busy),
            memory_total_bytes: self.memory_total.number(),
            memory_used_bytes: self.memory_used.number(),
            ..Gpu::default()
        })
    }
}

/// One GPU; what it does not support is `None`.
fn nvidia(nvml: &Nvml, index: u32) -> Option<Gpu> {
    let device = nvml.device_by_index(index).ok()?;
    let memory = device.memory_info().ok();
    let limit = device.temperature_threshold(TemperatureThreshold::Slowdown).ok();
    let reasons = device.current_throttle_reasons().ok();
    let causes = reasons.map(throttling).unwrap_or_default();
    Some(Gpu {
        id: device.uuid().unwrap_or_else(|_| index.to_string()),
        name: device.name().unwrap_or_default(),
        busy: device.utilization_rates().ok().map(|rates| f64::from(rates.gpu) / 100.0),
        memory_total_bytes: memory.as_ref().map(|memory| memory.total),
        memory_used_bytes: memory.as_ref().map(|memory| memory.used),
        celsius: device.temperature(TemperatureSensor::Gpu).ok().map(f64::from),
        limit_celsius: limit.filter(|limit| *limit > 0).map(f64::from),
        power_watts: device.power_usage().ok().map(|milliwatts| f64::from(milliwatts) / 1000.0),
        throttled: reasons.map(|_| !causes.is_empty()),
        causes,
    })
}

fn throttling(reasons: ThrottleReasons) -> Vec<Cause> {
    let heat = ThrottleReasons::SW_THERMAL_SLOWDOWN | ThrottleReasons::HW_THERMAL_SLOWDOWN;
    let brake = ThrottleReasons::HW_POWER_BRAKE_SLOWDOWN;
    let hot = reasons.intersects(heat);
    // An old driver says only that the hardware slowed down.
    let power = reasons.intersects(brake) || (!hot && reasons.contains(ThrottleReasons::HW_SLOWDOWN));
    let causes = [(hot, Cause::Temperature), (power, Cause::Power)];
    causes.into_iter().filter_map(|(is, cause)| is.then_some(cause)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gpu_that_keeps_to_its_power_limit_is_not_throttled() {
        assert!(throttling(ThrottleReasons::SW_POWER_CAP | ThrottleReasons::GPU_IDLE).is_empty());
        let hot = ThrottleReasons::HW_THERMAL_SLOWDOWN | ThrottleReasons::HW_SLOWDOWN;
        assert_eq!(throttling(hot), [Cause::Temperature]);
        assert_eq!(throttling(ThrottleReasons::HW_SLOWDOWN), [Cause::Power]);
    }
}
