//! The properties of `vigildrift`.

use std::path::PathBuf;
use std::sync::LazyLock;
use std::time::Duration;

use glib::prelude::*;

use crate::drift::{Config, SampleReason, SamplerConfig};

/// What of a sampled frame is made unrecognisable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, glib::Enum)]
#[enum_type(name = "VigilSampleBlur")]
#[repr(i32)]
pub enum Blur {
    #[default]
    #[enum_value(name = "Nothing", nick = "none")]
    None,
    #[enum_value(name = "What lies in objects' boxes; all of it where objects may be missed", nick = "objects")]
    Objects,
    #[enum_value(name = "All of it", nick = "frame")]
    Frame,
}

impl Blur {
    /// Whether all of a frame with so many objects, sampled for this reason, is made unrecognisable.
    pub fn is_of_all(self, reason: SampleReason, objects: usize) -> bool {
        // Who was missed has no box.
        self == Self::Frame || (self == Self::Objects && (reason.is_of_missed_objects() || objects == 0))
    }
}

/// What the user has set.
#[derive(Debug, Clone)]
pub struct Settings {
    pub window: u64,
    pub learn_time: u64,
    pub day_parts: u32,
    pub false_alarm_interval: u64,
    pub baseline: Option<String>,
    pub camera: Option<String>,
    pub samples: Option<String>,
    pub samples_size: u64,
    pub samples_per_hour: u32,
    pub sample_below: f32,
    pub sample_disagreement: f64,
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
            camera: None,
            samples: None,
            samples_size: 100 << 20,
            samples_per_hour: sampler.per_hour,
            sample_below: sampler.below,
            sample_disagreement: sampler.disagreement,
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
        SamplerConfig {
            below: self.sample_below,
            disagreement: self.sample_disagreement,
            per_hour: self.samples_per_hour,
            ..SamplerConfig::default()
        }
    }

    /// The camera's name; `None` where it has none of its own.
    pub fn camera(&self) -> Option<&str> {
        self.camera.as_deref().filter(|camera| !camera.is_empty())
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
            "camera" => value.get().map(|v| self.camera = v).is_ok(),
            "samples" => value.get().map(|v| self.samples = v).is_ok(),
            "samples-size" => value.get().map(|v| self.samples_size = v).is_ok(),
            "samples-per-hour" => value.get().map(|v| self.samples_per_hour = v).is_ok(),
            "sample-below" => value.get().map(|v| self.sample_below = v).is_ok(),
            "sample-disagreement" => value.get().map(|v| self.sample_disagreement = v).is_ok(),
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
            "camera" => self.camera.to_value(),
            "samples" => self.samples.to_value(),
            "samples-size" => self.samples_size.to_value(),
            "samples-per-hour" => self.samples_per_hour.to_value(),
            "sample-below" => self.sample_below.to_value(),
            "sample-disagreement" => self.sample_disagreement.to_value(),
            "blur" => self.blur.to_value(),
            _ => return None,
        })
    }
}

/// The properties as GObject wants them.
pub static SPECS: LazyLock<Vec<glib::ParamSpec>> = LazyLock::new(|| {
    let mut specs = comparison();
    specs.extend(sampling());
    specs.push(
        glib::ParamSpecBoxed::builder::<gst::Structure>("stats")
            .nick("Statistics")
            .blurb("State, score and evidence of the comparison, and what the model has said since the start; see the element's page")
            .read_only()
            .build(),
    );
    specs
});

fn text(name: &str, nick: &str, blurb: &str) -> glib::ParamSpec {
    use gst::prelude::GstParamSpecBuilderExt;
    glib::ParamSpecString::builder(name).nick(nick).blurb(blurb).mutable_ready().build()
}

/// How predictions are compared.
fn comparison() -> Vec<glib::ParamSpec> {
    use gst::prelude::GstParamSpecBuilderExt;
    let defaults = Settings::default();
    let time = |name: &str, nick: &str, blurb: &str, default: u64| {
        let spec = glib::ParamSpecUInt64::builder(name).nick(nick).blurb(blurb).minimum(1_000_000_000);
        spec.default_value(default).mutable_ready().build()
    };
    vec![
        time(
            "window",
            "Window",
            "Time in nanoseconds over which predictions are summed up before they are compared, a day at most; longer than what passes stays",
            defaults.window,
        ),
        time(
            "learn-time",
            "Learning time",
            "Analysed time in nanoseconds from which is learned what is usual: 48 to 4096 windows; a day knows the times of the day",
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
            "File that keeps what is usual over restarts, one for each camera: read at the start, written every hour, at relearn and at the \
             end (not set: not kept)",
        ),
        text(
            "camera",
            "Camera",
            "The camera's name in the records of samples (not set: the element's name) and in the baseline, which no camera of another name takes",
        ),
    ]
}

/// Which frames are kept to be looked at.
fn sampling() -> Vec<glib::ParamSpec> {
    use gst::prelude::GstParamSpecBuilderExt;
    let defaults = Settings::default();
    vec![
        text(
            "samples",
            "Samples",
            "Folder for frames that somebody should look at, as JPEG with their records: fresh frames for the reasons below, and any while \
             predictions drift (not set: none)",
        ),
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
            .blurb(
                "A fresh frame whose surest object has less confidence (0..1) than this is sampled; a frame without objects, if its first \
                 class has (0 = off)",
            )
            .minimum(0.0)
            .maximum(1.0)
            .default_value(defaults.sample_below)
            .mutable_ready()
            .build(),
        glib::ParamSpecDouble::builder("sample-disagreement")
            .nick("Sample disagreement")
            .blurb(
                "A fresh frame is sampled if at least this share (0..1) of its objects is predicted by the tracker and not found by the \
                 model; it takes a vigiltrack with coast-time before (0 = off)",
            )
            .minimum(0.0)
            .maximum(1.0)
            .default_value(defaults.sample_disagreement)
            .mutable_ready()
            .build(),
        glib::ParamSpecEnum::builder_with_default("blur", Blur::default())
            .nick("Blur")
            .blurb(
                "What of sampled frames is made unrecognisable: under objects all of those that are sampled since predictions drift or for \
                 disagreement, or that have no objects",
            )
            .mutable_ready()
            .build(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_may_have_been_missed_is_hidden_with_all_of_the_frame() {
        use SampleReason::{Disagreement, Drift, LowConfidence};
        for reason in [Disagreement, Drift, LowConfidence] {
            assert!(Blur::Frame.is_of_all(reason, 3) && !Blur::None.is_of_all(reason, 0));
        }
        assert!(Blur::Objects.is_of_all(Drift, 3) && Blur::Objects.is_of_all(Disagreement, 3));
        assert!(!Blur::Objects.is_of_all(LowConfidence, 3));
        assert!(Blur::Objects.is_of_all(LowConfidence, 0), "a classifier has no boxes");
    }

    #[test]
    fn what_is_set_is_what_the_sampler_goes_by() {
        let mut settings = Settings::default();
        assert_eq!(settings.sampler(), SamplerConfig::default());
        assert!(settings.set("sample-below", &0.2_f32.to_value()));
        assert!(settings.set("sample-disagreement", &0.25_f64.to_value()));
        assert_eq!((settings.sampler().below, settings.sampler().disagreement), (0.2, 0.25));
    }
}
