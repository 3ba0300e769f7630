//! The properties of `vigiltrack`.

use std::sync::LazyLock;

use glib::prelude::*;

use super::imp::Frames;
use crate::tracking::{Counts, TrackerConfig};

/// What the user has set.
#[derive(Debug, Clone)]
pub struct Settings {
    pub tracker: TrackerConfig,
    pub mirror_roi: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self { tracker: TrackerConfig::default(), mirror_roi: true }
    }
}

impl Settings {
    /// Stores a property's value; `false` if the type is not the property's, which GObject has checked before.
    pub fn set(&mut self, name: &str, value: &glib::Value) -> bool {
        let to = &mut self.tracker;
        match name {
            "high-confidence" => value.get().map(|v| to.high_confidence = v).is_ok(),
            "low-confidence" => value.get().map(|v| to.low_confidence = v).is_ok(),
            "min-hits" => value.get().map(|v| to.min_hits = v).is_ok(),
            "max-lost-time" => value.get().map(|v| to.max_lost_ns = v).is_ok(),
            "coast-time" => value.get().map(|v| to.coast_ns = v).is_ok(),
            "class-aware" => value.get().map(|v| to.class_aware = v).is_ok(),
            "confirmed-only" => value.get().map(|v| to.confirmed_only = v).is_ok(),
            "appearance-weight" => value.get().map(|v| to.appearance_weight = v).is_ok(),
            "appearance-threshold" => value.get().map(|v| to.appearance_threshold = v).is_ok(),
            "carry-time" => value.get().map(|v| to.carry_ns = v).is_ok(),
            "mirror-roi" => value.get().map(|v| self.mirror_roi = v).is_ok(),
            _ => false,
        }
    }

    /// A property's value.
    pub fn get(&self, name: &str) -> Option<glib::Value> {
        let from = &self.tracker;
        Some(match name {
            "high-confidence" => from.high_confidence.to_value(),
            "low-confidence" => from.low_confidence.to_value(),
            "min-hits" => from.min_hits.to_value(),
            "max-lost-time" => from.max_lost_ns.to_value(),
            "coast-time" => from.coast_ns.to_value(),
            "class-aware" => from.class_aware.to_value(),
            "confirmed-only" => from.confirmed_only.to_value(),
            "appearance-weight" => from.appearance_weight.to_value(),
            "appearance-threshold" => from.appearance_threshold.to_value(),
            "carry-time" => from.carry_ns.to_value(),
            "mirror-roi" => self.mirror_roi.to_value(),
            _ => return None,
        })
    }
}

/// The properties as GObject wants them; changes take effect with the next frame.
pub static SPECS: LazyLock<Vec<glib::ParamSpec>> = LazyLock::new(|| {
    use gst::prelude::GstParamSpecBuilderExt;
    let defaults = Settings::default();
    let confidence = |name: &str, nick: &str, blurb: &str, default: f32| {
        let spec = glib::ParamSpecFloat::builder(name).nick(nick).blurb(blurb).minimum(0.0).maximum(1.0);
        spec.default_value(default).mutable_playing().build()
    };
    let time = |name: &str, nick: &str, blurb: &str, default: u64| {
        glib::ParamSpecUInt64::builder(name).nick(nick).blurb(blurb).default_value(default).mutable_playing().build()
    };
    let flag = |name: &str, nick: &str, blurb: &str, default: bool| {
        glib::ParamSpecBoolean::builder(name).nick(nick).blurb(blurb).default_value(default).mutable_playing().build()
    };
    let tracker = &defaults.tracker;
    vec![
        confidence(
            "high-confidence",
            "High confidence",
            "Objects from this confidence on, 0..1, are matched first and may start an identity",
            tracker.high_confidence,
        ),
        confidence(
            "low-confidence",
            "Low confidence",
            "Objects from this confidence on, 0..1, may continue an identity but not start one; those below get none",
            tracker.low_confidence,
        ),
        glib::ParamSpecUInt::builder("min-hits")
            .nick("Minimum hits")
            .blurb("Analysed frames in a row that must show an object before it is confirmed; unsure objects take more (1 = at once)")
            .minimum(1)
            .maximum(1000)
            .default_value(tracker.min_hits)
            .mutable_playing()
            .build(),
        time(
            "max-lost-time",
            "Maximum lost time",
            "How long an identity is kept without being seen, in nanoseconds; more than the time between analysed frames",
            tracker.max_lost_ns,
        ),
        time(
            "coast-time",
            "Coast time",
            "How long an identity that analysed frames do not show is still reported as predicted, in nanoseconds (0 = not at all)",
            tracker.coast_ns,
        ),
        flag("class-aware", "Class-aware", "An identity keeps its class", tracker.class_aware),
        flag(
            "confirmed-only",
            "Confirmed only",
            "Remove objects without a confirmed identity: weak ones that match nobody, and those seen too few times",
            tracker.confirmed_only,
        ),
        confidence(
            "appearance-weight",
            "Appearance weight",
            "Part of embeddings beside overlap in the choice of an identity's object, 0..1; above 0, lost identities are also \
             found again by appearance (0 = off)",
            tracker.appearance_weight,
        ),
        confidence(
            "appearance-threshold",
            "Appearance threshold",
            "Cosine of two embeddings from which they are held to be of one object, 0..1; depends on the model",
            tracker.appearance_threshold,
        ),
        time(
            "carry-time",
            "Carry time",
            "How long attributes, keypoints and embedding are put on later objects of the identity that come without, in \
             nanoseconds (0 = not at all)",
            tracker.carry_ns,
        ),
        flag("mirror-roi", "Mirror as ROI", "Attach the objects as GstVideoRegionOfInterestMeta too", defaults.mirror_roi),
        glib::ParamSpecBoxed::builder::<gst::Structure>("stats")
            .nick("Statistics")
            .blurb("Counts of identities held and given out, and of frames by what was done with them, since READY")
            .read_only()
            .build(),
    ]
});

/// The property `stats`.
pub fn stats(counts: &Counts, frames: &Frames) -> gst::Structure {
    gst::Structure::builder("vigil-track-stats")
        .field("live", counts.live as u64)
        .field("confirmed", counts.confirmed as u64)
        .field("lost", counts.lost as u64)
        .field("created", counts.created)
        .field("established", counts.established)
        .field("updated", frames.updated)
        .field("predicted", frames.predicted)
        .field("untouched", frames.untouched)
        .build()
}
