//! The skin of `vigiltrack`.
//!
//! Locks: `settings` and `state` are never held at once, nor over a call into GStreamer that may block.

use std::sync::{Arc, LazyLock, Mutex};

use gst::glib;
use gst::prelude::*;
use gst::subclass::prelude::*;
use gst_base::prelude::*;
use gst_base::subclass::base_transform::BaseTransformMode;
use gst_base::subclass::prelude::*;

use super::properties::{SPECS, Settings, stats};
use crate::gstutil::{lock, pad_templates, time};
use crate::meta;
use crate::result::{AbsentReason, FrameResult, Freshness};
use crate::tracking::{Tracker, TrackerConfig};

static CAT: LazyLock<gst::DebugCategory> =
    LazyLock::new(|| gst::DebugCategory::new("vigiltrack", gst::DebugColorFlags::empty(), Some("Vigil tracking")));

/// Duration of a frame where neither buffer nor caps tell it, nanoseconds.
const USUAL_FRAME_NS: u64 = 40_000_000;

/// Frames by what was done with them.
#[derive(Debug, Clone, Copy, Default)]
pub struct Frames {
    pub updated: u64,
    pub predicted: u64,
    pub untouched: u64,
}

struct State {
    tracker: Tracker,
    frames: Frames,
    /// Running time of the last frame, and its duration as far as is known, nanoseconds.
    last: Option<(u64, u64)>,
    /// Running time of the last fresh result.
    fresh_ns: Option<u64>,
    /// Duration of a frame by the caps.
    nominal_ns: Option<u64>,
}

impl Default for State {
    fn default() -> Self {
        Self {
            tracker: Tracker::new(TrackerConfig::default()),
            frames: Frames::default(),
            last: None,
            fresh_ns: None,
            nominal_ns: None,
        }
    }
}

impl State {
    /// Ends all identities: what comes next is not connected with what was before.
    fn discontinue(&mut self) {
        self.tracker.reset();
        self.last = None;
        self.fresh_ns = None;
    }

    /// Time of a frame: its running time, or else one frame after the last one.
    fn advance(&mut self, running_ns: Option<u64>, duration_ns: Option<u64>) -> u64 {
        let follows = self.last.map_or(0, |(at, duration)| at.saturating_add(duration));
        let now = running_ns.unwrap_or(follows);
        self.last = Some((now, duration_ns.or(self.nominal_ns).unwrap_or(USUAL_FRAME_NS)));
        now
    }

    /// What becomes of `result` at `now`; `None` if it stays as it is.
    fn track(&mut self, now: u64, result: &FrameResult) -> Option<FrameResult> {
        let size = (result.width, result.height);
        match result.freshness {
            Freshness::Fresh => {
                let mut result = result.clone();
                self.fresh_ns = Some(now);
                self.tracker.made_by(result.model.as_ref(), &result.secondary);
                self.tracker.update(now, size, &mut result.objects);
                self.frames.updated += 1;
                Some(result)
            }
            Freshness::Held { .. } | Freshness::Absent(AbsentReason::Skipped) => {
                // Nothing was seen since the start or a flush: there is nothing to predict from.
                let age_ns = now.saturating_sub(self.fresh_ns?);
                // After a long gap all identities have ended: "held" without objects would say that nobody is there.
                if matches!(result.freshness, Freshness::Absent(_)) && age_ns > self.tracker.config().max_lost_ns {
                    return None;
                }
                let mut result = result.clone();
                self.tracker.predict(now, size, &mut result.objects);
                (result.freshness, result.absent_since_ns) = (Freshness::Held { age_ns }, None);
                self.frames.predicted += 1;
                Some(result)
            }
            Freshness::Absent(_) => None,
        }
    }
}

/// See [`super::Track`].
#[derive(Default)]
pub struct Track {
    settings: Mutex<Settings>,
    state: Mutex<State>,
}

#[glib::object_subclass]
impl ObjectSubclass for Track {
    const NAME: &'static str = "VigilTrack";
    type Type = super::Track;
    type ParentType = gst_base::BaseTransform;
}

impl ObjectImpl for Track {
    fn properties() -> &'static [glib::ParamSpec] {
        SPECS.as_slice()
    }

    fn set_property(&self, _id: usize, value: &glib::Value, pspec: &glib::ParamSpec) {
        if !lock(&self.settings).set(pspec.name(), value) {
            gst::warning!(CAT, imp = self, "property {} got a value of another type", pspec.name());
        }
    }

    fn property(&self, _id: usize, pspec: &glib::ParamSpec) -> glib::Value {
        match pspec.name() {
            "stats" => {
                let state = lock(&self.state);
                stats(&state.tracker.counts(), &state.frames).to_value()
            }
            name => lock(&self.settings).get(name).unwrap_or_else(|| glib::Value::from_type(pspec.value_type())),
        }
    }
}

impl GstObjectImpl for Track {}

impl ElementImpl for Track {
    fn metadata() -> Option<&'static gst::subclass::ElementMetadata> {
        static METADATA: LazyLock<gst::subclass::ElementMetadata> = LazyLock::new(|| {
            gst::subclass::ElementMetadata::new(
                "Vigil tracking",
                "Filter/Analyzer/Video",
                "Gives objects identities that last across frames",
                env!("CARGO_PKG_AUTHORS"),
            )
        });
        Some(&METADATA)
    }

    fn pad_templates() -> &'static [gst::PadTemplate] {
        static TEMPLATES: LazyLock<Vec<gst::PadTemplate>> = LazyLock::new(|| pad_templates(&gst::Caps::new_any()));
        TEMPLATES.as_slice()
    }
}

impl BaseTransformImpl for Track {
    const MODE: BaseTransformMode = BaseTransformMode::AlwaysInPlace;
    const PASSTHROUGH_ON_SAME_CAPS: bool = false;
    const TRANSFORM_IP_ON_PASSTHROUGH: bool = false;

    fn start(&self) -> Result<(), gst::ErrorMessage> {
        *lock(&self.state) = State::default();
        Ok(())
    }

    fn set_caps(&self, incaps: &gst::Caps, _outcaps: &gst::Caps) -> Result<(), gst::LoggableError> {
        let rate = incaps.structure(0).and_then(|s| s.get::<gst::Fraction>("framerate").ok());
        let second = gst::ClockTime::SECOND.nseconds();
        lock(&self.state).nominal_ns = rate
            .and_then(|r| Some((u64::try_from(r.numer()).ok()?, u64::try_from(r.denom()).ok()?)))
            .and_then(|(numer, denom)| second.checked_mul(denom)?.checked_div(numer));
        Ok(())
    }

    fn transform_ip(&self, buffer: &mut gst::BufferRef) -> Result<gst::FlowSuccess, gst::FlowError> {
        let running_ns = time::running_time_ns(&self.obj().segment(), buffer.pts());
        let settings = lock(&self.settings).clone();
        let result = meta::get(buffer);
        let tracked = {
            let mut state = lock(&self.state);
            let now = state.advance(running_ns, buffer.duration().map(gst::ClockTime::nseconds));
            state.tracker.set_config(settings.tracker);
            let tracked = result.and_then(|r| state.track(now, &r));
            if tracked.is_none() {
                state.frames.untouched += 1;
            }
            tracked
        };
        if let Some(result) = tracked {
            gst::trace!(CAT, imp = self, "{} objects, {}", result.objects.len(), result.freshness.as_str());
            meta::set(buffer, Arc::new(result), settings.mirror_roi);
        }
        Ok(gst::FlowSuccess::Ok)
    }

    fn sink_event(&self, event: gst::Event) -> bool {
        use gst::EventView;
        match event.view() {
            EventView::FlushStop(_) | EventView::StreamStart(_) => lock(&self.state).discontinue(),
            EventView::Gap(gap) => {
                let (pts, duration) = gap.get();
                let running_ns = time::running_time_ns(&self.obj().segment(), Some(pts));
                lock(&self.state).advance(running_ns, duration.map(gst::ClockTime::nseconds));
            }
            _ => (),
        }
        self.parent_sink_event(event)
    }
}
