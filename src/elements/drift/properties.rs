//! The properties of `vigildrift`.

use std::path::PathBuf;
use std::sync::LazyLock;
use std::time::Duration;

use glib::prelude::*;

use crate::drift::{Config, SamplerConfig};

/// What of a sampled frame is made unrecognisable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, glib::Enum)]
#[enum_type(name = "VigilSampleBlur")]
#[repr(i32)]
pub enum Blur {
    #[default]
    #[enum_value(name = "Nothing", nick = "none")]
    None,
    #[enum_value(name = "What lies in objects' boxes", nick = "objects")]
    Objects,
    #[enum_value(name = "All of it", nick = "frame")]
    Frame,
}

/// What the user has set.
#[derive(Debug, Clone)]
pub struct Settings {
    pub window: u64,
    pub learn_time: u64,
    pub day_parts: u32,
    pub false_alarm_interval: u64,
    pub baseline: Option<String>,
    pub samples: Option<String>,
    pub samples_size: u64,
    pub samples_per_hour: u32,
    pub sample_below: f32,
    pub blur: Blur,
}

impl Default for Settings {
    fn default() -> Self {
        let (config, sampler) = (Config::default(), SamplerConfig::default());
        Self {
            window: nanoseconds(config.window),
            learn_time: nanoseconds(config.learn),
            day_parts: config.slots as u32,
            false_alarm_interval: nanoseconds(config.false_alarm_every),
            baseline: None,
            samples: None,
            samples_size: 100 << 20,
            samples_per_hour: sampler.per_hour,
            sample_below: sampler.low.map_or(0.0, |(_, high)| high),
            blur: Blur::default(),
        }
    }
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

fn path(text: Option<&String>) -> Option<PathBuf> {
    text.filter(|text| !text.is_empty()).map(PathBuf::from)
}

impl Settings {
    /// How predictions are compared.
    pub fn config(&self) -> Config {
        Config {
            window: Duration::from_nanos(self.window),
            learn: Duration::from_nanos(self.learn_time),
            slots: self.day_parts as usize,
            false_alarm_every: Duration::from_nanos(self.false_alarm_interval),
            ..Config::default()
        }
    }

    /// Which frames are sampled.
    pub fn sampler(&self) -> SamplerConfig {
        let default = SamplerConfig::default();
        let low = default.low.map_or(0.0, |(low, _)| low).min(self.sample_below);
        SamplerConfig { low: Some((low, self.sample_below)), per_hour: self.samples_per_hour, ..default }
    }

    /// Where the baseline is kept.
    pub fn baseline(&self) -> Option<PathBuf> {
        path(self.baseline.as_ref())
    }

    /// Where samples are kept.
    pub fn samples(&self) -> Option<PathBuf> {
        path(self.samples.as_ref())
    }

    /// Stores a property's value; `false` if the type is not the property's, which GObject has checked before.
    pub fn set(&mut self, name: &str, value: &glib::Value) -> bool {
        match name {
            "window" => value.get().map(|v| self.window = v).is_ok(),
            "learn-time" => value.get().map(|v| self.learn_time = v).is_ok(),
            "day-parts" => value.get().map(|v| self.day_parts = v).is_ok(),
            "false-alarm-interval" => value.get().map(|v| self.false_alarm_interval = v).is_ok(),
            "baseline" => value.get().map(|v| self.baseline = v).is_ok(),
            "samples" => value.get().map(|v| self.samples = v).is_ok(),
            "samples-size" => value.get().map(|v| self.samples_size = v).is_ok(),
            "samples-per-hour" => value.get().map(|v| self.samples_per_hour = v).is_ok(),
            "sample-below" => value.get().map(|v| self.sample_below = v).is_ok(),
            "blur" => value.get().map(|v| self.blur = v).is_ok(),
            _ => false,
        }
    }

    /// A property's value.
    pub fn get(&self, name: &str) -> Option<glib::Value> {
        Some(match name {
            "window" => self.window.to_value(),
            "learn-time" => self.learn_time.to_value(),
            "day-parts" => self.day_parts.to_value(),
            "false-alarm-interval" => self.false_alarm_interval.to_value(),
            "baseline" => self.baseline.to_value(),
            "samples" => self.samples.to_value(),
            "samples-size" => self.samples_size.to_value(),
            "samples-per-hour" => self.samples_per_hour.to_value(),
            "sample-below" => self.sample_below.to_value(),
            "blur" => self.blur.to_value(),
            _ => return None,
        })
    }
}

/// The properties as GObject wants them.
pub static SPECS: LazyLock<Vec<glib::ParamSpec>> = LazyLock::new(|| {
    use gst::prelude::GstParamSpecBuilderExt;
    let defaults = Settings::default();
    let time = |name: &str, nick: &str, blurb: &str, default: u64| {
        let spec = glib::ParamSpecUInt64::builder(name).nick(nick).blurb(blurb).minimum(1_000_000_000);
        spec.default_value(default).mutable_ready().build()
    };
    let text = |name: &str, nick: &str, blurb: &str| {
        glib::ParamSpecString::builder(name).nick(nick).blurb(blurb).mutable_ready().build()
    };
    vec![
        time(
            "window",
            "Window",
            "Time in nanoseconds over which predictions are summed up before they are compared; longer than what passes stays",
            defaults.window,
        ),
        time(
            "learn-time",
            "Learning time",
            "Analysed time in nanoseconds from which is learned what is usual: at least 48 windows; a day knows the times of the day",
            defaults.learn_time,
        ),
        glib::ParamSpecUInt::builder("day-parts")
            .nick("Parts of the day")
            .blurb("Number of equal parts that the day (UTC) is cut into; each is compared with itself")
            .minimum(1)
            .maximum(24)
            .default_value(defaults.day_parts)
            .mutable_ready()
            .build(),
        time(
            "false-alarm-interval",
            "False alarm interval",
            "Mean time in nanoseconds between alarms while nothing changes; shorter is more sensitive",
            defaults.false_alarm_interval,
        ),
        text(
            "baseline",
            "Baseline",
            "File that keeps what is usual over restarts: read at the start, written every hour and at the end (not set: not kept)",
        ),
        text("samples", "Samples", "Folder for frames that somebody should look at, as JPEG with their records (not set: none)"),
        glib::ParamSpecUInt64::builder("samples-size")
            .nick("Size of samples")
            .blurb("Most bytes that samples take; the oldest go first")
            .minimum(1 << 20)
            .default_value(defaults.samples_size)
            .mutable_ready()
            .build(),
        glib::ParamSpecUInt::builder("samples-per-hour")
            .nick("Samples per hour")
            .blurb("Most frames per hour that are sampled, spread over it")
            .maximum(3600)
            .default_value(defaults.samples_per_hour)
            .mutable_ready()
            .build(),
        glib::ParamSpecFloat::builder("sample-below")
            .nick("Sample below")
            .blurb("A frame whose surest object has less confidence (0..1) than this is sampled, and any while predictions drift")
            .minimum(0.0)
            .maximum(1.0)
            .default_value(defaults.sample_below)
            .mutable_ready()
            .build(),
        glib::ParamSpecEnum::builder_with_default("blur", Blur::default())
            .nick("Blur")
            .blurb("What of sampled frames is made unrecognisable")
            .mutable_ready()
            .build(),
        glib::ParamSpecBoxed::builder::<gst::Structure>("stats")
            .nick("Statistics")
            .blurb("State, score and evidence of the comparison, and what the model has said since the start; see the element's page")
            .read_only()
            .build(),
    ]
});
