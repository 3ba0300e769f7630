//! The properties about models that are replaced: what must be signed, what is tried, what is fallen back to.

use std::time::Duration;

use glib::prelude::*;
use gst::glib;

use crate::bundle::TrialLimits;
use crate::gstutil::store;
use crate::model::Isolated;
use crate::swap::{Cause, Order, Terms};

/// Shortest time between two reports of a shadow run.
const OFTEN: Duration = Duration::from_millis(20);

/// What to do where no model can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, glib::Enum)]
#[enum_type(name = "VigilOnUnusable")]
#[repr(i32)]
pub enum OnUnusable {
    #[default]
    #[enum_value(name = "The element does not start: one ERROR says why", nick = "error")]
    Error,
    #[enum_value(name = "Frames pass without analysis until there is a model: one WARNING says why", nick = "pass")]
    Pass,
}

/// What the user has set.
#[derive(Debug, Clone)]
pub struct Trials {
    pub public_keys: Option<String>,
    pub load_timeout: u64,
    pub fallback_model: Option<String>,
    pub fallback_after: u64,
    pub on_unusable: OnUnusable,
    pub shadow_model: Option<String>,
    probation: Limits,
    shadow: Limits,
    shadow_cpu: f32,
    shadow_promote: bool,
    shadow_report: u64,
}

/// Rules of which each may be left to the bundle.
#[derive(Debug, Clone)]
struct Limits {
    time: u64,
    frames: i32,
    min_agreement: f32,
    max_errors: f32,
    max_slowdown: f32,
}

impl Default for Limits {
    fn default() -> Self {
        Self { time: u64::MAX, frames: -1, min_agreement: -1.0, max_errors: -1.0, max_slowdown: -1.0 }
    }
}

impl Limits {
    fn given(&self) -> TrialLimits {
        let part = |value: f32| (value >= 0.0).then_some(value);
        TrialLimits {
            time: (self.time < u64::MAX).then(|| Duration::from_nanos(self.time)),
            frames: u64::try_from(self.frames).ok(),
            min_agreement: part(self.min_agreement),
            max_errors: part(self.max_errors),
            max_slowdown: part(self.max_slowdown),
            ..TrialLimits::default()
        }
    }
}

impl Default for Trials {
    fn default() -> Self {
        Self {
            public_keys: None,
            load_timeout: 120_000_000_000,
            fallback_model: None,
            fallback_after: 10_000_000_000,
            on_unusable: OnUnusable::default(),
            shadow_model: None,
            probation: Limits::default(),
            shadow: Limits::default(),
            shadow_cpu: 0.25,
            shadow_promote: false,
            shadow_report: 10_000_000_000,
        }
    }
}

fn text(value: &Option<String>) -> Option<&str> {
    value.as_deref().filter(|text| !text.is_empty())
}

impl Trials {
    /// How orders are carried out, with `apart` as the limits of the process that proves a model.
    pub fn terms(&self, apart: Isolated) -> Terms {
        let shadow = self.shadow.given();
        Terms {
            load_limit: Duration::from_nanos(self.load_timeout),
            apart,
            probation: self.probation.given(),
            shadow: TrialLimits { samples: shadow.frames, ..shadow },
            shadow_cpu: self.shadow_cpu,
            promote: self.shadow_promote,
            report_every: Duration::from_nanos(self.shadow_report).max(OFTEN),
        }
    }

    /// The model that is to look at frames beside the active one.
    pub fn shadow_order(&self) -> Option<Order> {
        text(&self.shadow_model).map(|model| Order::new(model, Cause::Shadow))
    }

    /// The model for when nothing else works.
    pub fn fallback(&self) -> Option<&str> {
        text(&self.fallback_model)
    }

    /// The longest time for which a model may fail on every frame; `None`: for ever.
    pub fn fallback_after(&self) -> Option<Duration> {
        (self.fallback_after > 0).then(|| Duration::from_nanos(self.fallback_after))
    }

    /// Stores a property's value; `false` if it is none of these or has another type.
    pub fn set(&mut self, name: &str, value: &glib::Value) -> bool {
        match name {
            "public-keys" => store(&mut self.public_keys, value),
            "load-timeout" => store(&mut self.load_timeout, value),
            "fallback-model" => store(&mut self.fallback_model, value),
            "fallback-after" => store(&mut self.fallback_after, value),
            "on-unusable" => store(&mut self.on_unusable, value),
            "probation-time" => store(&mut self.probation.time, value),
            "probation-frames" => store(&mut self.probation.frames, value),
            "probation-min-agreement" => store(&mut self.probation.min_agreement, value),
            "probation-max-errors" => store(&mut self.probation.max_errors, value),
            "probation-max-slowdown" => store(&mut self.probation.max_slowdown, value),
            "shadow-model" => store(&mut self.shadow_model, value),
            "shadow-time" => store(&mut self.shadow.time, value),
            "shadow-samples" => store(&mut self.shadow.frames, value),
            "shadow-min-agreement" => store(&mut self.shadow.min_agreement, value),
            "shadow-max-slowdown" => store(&mut self.shadow.max_slowdown, value),
            "shadow-cpu" => store(&mut self.shadow_cpu, value),
            "shadow-promote" => store(&mut self.shadow_promote, value),
            "shadow-report" => store(&mut self.shadow_report, value),
            _ => false,
        }
    }

    /// A property's value; `None` if it is none of these.
    pub fn get(&self, name: &str) -> Option<glib::Value> {
        Some(match name {
            "public-keys" => self.public_keys.to_value(),
            "load-timeout" => self.load_timeout.to_value(),
            "fallback-model" => self.fallback_model.to_value(),
            "fallback-after" => self.fallback_after.to_value(),
            "on-unusable" => self.on_unusable.to_value(),
            "probation-time" => self.probation.time.to_value(),
            "probation-frames" => self.probation.frames.to_value(),
            "probation-min-agreement" => self.probation.min_agreement.to_value(),
            "probation-max-errors" => self.probation.max_errors.to_value(),
            "probation-max-slowdown" => self.probation.max_slowdown.to_value(),
            "shadow-model" => self.shadow_model.to_value(),
            "shadow-time" => self.shadow.time.to_value(),
            "shadow-samples" => self.shadow.frames.to_value(),
            "shadow-min-agreement" => self.shadow.min_agreement.to_value(),
            "shadow-max-slowdown" => self.shadow.max_slowdown.to_value(),
            "shadow-cpu" => self.shadow_cpu.to_value(),
            "shadow-promote" => self.shadow_promote.to_value(),
            "shadow-report" => self.shadow_report.to_value(),
            _ => return None,
        })
    }
}

/// The properties as GObject wants them.
pub fn specs() -> Vec<glib::ParamSpec> {
    let mut specs = fallback_specs();
    specs.extend(probation_specs());
    specs.extend(shadow_specs());
    specs
}

fn time(name: &str, nick: &str, blurb: &str, default: u64) -> glib::ParamSpec {
    use gst::prelude::GstParamSpecBuilderExt;
    glib::ParamSpecUInt64::builder(name).nick(nick).blurb(blurb).default_value(default).mutable_playing().build()
}

fn number(name: &str, nick: &str, blurb: &str, (least, most): (f32, f32), default: f32) -> glib::ParamSpec {
    use gst::prelude::GstParamSpecBuilderExt;
    let spec = glib::ParamSpecFloat::builder(name).nick(nick).blurb(blurb).minimum(least).maximum(most);
    spec.default_value(default).mutable_playing().build()
}

fn count(name: &str, nick: &str, blurb: &str) -> glib::ParamSpec {
    use gst::prelude::GstParamSpecBuilderExt;
    let spec = glib::ParamSpecInt::builder(name).nick(nick).blurb(blurb).minimum(-1).maximum(1_000_000_000);
    spec.default_value(-1).mutable_playing().build()
}

fn fallback_specs() -> Vec<glib::ParamSpec> {
    use gst::prelude::GstParamSpecBuilderExt;
    let defaults = Trials::default();
    vec![
        glib::ParamSpecString::builder("public-keys")
            .nick("Public keys")
            .blurb("Files with Ed25519 public keys (PEM), separated by commas; a model must be signed with one of them (unset = VIGIL_PUBLIC_KEYS, else the folders for keys; where there is none, unsigned models are taken too)")
            .mutable_ready()
            .build(),
        time(
            "load-timeout",
            "Load timeout",
            "Longest time in nanoseconds for one load of a model that is to take the active one's place",
            defaults.load_timeout,
        ),
        glib::ParamSpecString::builder("fallback-model")
            .nick("Fallback model")
            .blurb("Model to run where the one in model, its other variants and its release before cannot be used or fail (unset = none)")
            .mutable_playing()
            .build(),
        time(
            "fallback-after",
            "Fallback after",
            "Time in nanoseconds for which the model must fail on every frame before the next variant, release or model takes its place (0 = never)",
            defaults.fallback_after,
        ),
        glib::ParamSpecEnum::builder::<OnUnusable>("on-unusable")
            .nick("On unusable")
            .blurb("What to do at the start if no model can be used")
            .mutable_ready()
            .build(),
    ]
}

fn probation_specs() -> Vec<glib::ParamSpec> {
    vec![
        time(
            "probation-time",
            "Probation time",
            "Time in nanoseconds for which a new model is watched before the old one is let go (maximum = the bundle's, else 30 s)",
            u64::MAX,
        ),
        count(
            "probation-frames",
            "Probation frames",
            "Frames that a new model must have answered before the old one is let go (-1 = the bundle's, else 50; 0 with probation-time=0 = no probation)",
        ),
        number(
            "probation-min-agreement",
            "Probation minimum agreement",
            "Agreement of the new model with the old one, 0..1, under which the old one comes back (-1 = the bundle's, else 0.3; 0 = any)",
            (-1.0, 1.0),
            -1.0,
        ),
        number(
            "probation-max-errors",
            "Probation maximum errors",
            "Part of the frames, 0..1, on which the new model may fail before the old one comes back (-1 = the bundle's, else 0.02)",
            (-1.0, 1.0),
            -1.0,
        ),
        number(
            "probation-max-slowdown",
            "Probation maximum slowdown",
            "How many times the old model's median run the new one's may take before the old one comes back (-1 = the bundle's, else 3; 0 = any)",
            (-1.0, 1000.0),
            -1.0,
        ),
    ]
}

fn shadow_specs() -> Vec<glib::ParamSpec> {
    use gst::prelude::GstParamSpecBuilderExt;
    let defaults = Trials::default();
    vec![
        glib::ParamSpecString::builder("shadow-model")
            .nick("Shadow model")
            .blurb("Model that looks at a sample of the frames beside the active one, whose answers are only compared (unset = none)")
            .mutable_playing()
            .build(),
        number(
            "shadow-cpu",
            "Shadow CPU",
            "Most processors that the shadow model may keep busy on average, as a number of cores",
            (0.001, 1024.0),
            defaults.shadow_cpu,
        ),
        time(
            "shadow-time",
            "Shadow time",
            "Time in nanoseconds after which the shadow model is judged (maximum = the bundle's, else 60 s)",
            u64::MAX,
        ),
        count(
            "shadow-samples",
            "Shadow samples",
            "Frames that both models must have looked at before the shadow model is judged (-1 = the bundle's, else 100)",
        ),
        number(
            "shadow-min-agreement",
            "Shadow minimum agreement",
            "Agreement with the active model, 0..1, from which the shadow model is good (-1 = the bundle's, else 0.5)",
            (-1.0, 1.0),
            -1.0,
        ),
        number(
            "shadow-max-slowdown",
            "Shadow maximum slowdown",
            "How many times the active model's median run the shadow model's may take, in a process of its own (-1 = the bundle's, else 3; 0 = any)",
            (-1.0, 1000.0),
            -1.0,
        ),
        glib::ParamSpecBoolean::builder("shadow-promote")
            .nick("Shadow promote")
            .blurb("Whether a shadow model that is good takes the active one's place, with probation")
            .mutable_playing()
            .build(),
        time(
            "shadow-report",
            "Shadow report",
            "Time in nanoseconds between two messages vigil-shadow; 20 ms at least",
            defaults.shadow_report,
        ),
    ]
}
