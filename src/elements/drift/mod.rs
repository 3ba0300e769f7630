//! `vigildrift`: tells when a model's predictions are no longer what they used to be.
//!
//! Takes any caps and changes no buffer. It counts what the model says (classes, confidence, sizes, objects per frame), learns what is usual
//! at this time of the day, and tests each further window of some minutes against it. It knows no truth: a changed scene alarms as a broken
//! camera or model does. How, and how seldom it is wrong, is told in `docs/telemetry.md`.
//!
//! # Metadata
//!
//! Read: `VigilFrameMeta`. Written: none. Frames that the model did not look at count for nothing.
//!
//! # Messages
//!
//! - Element message `vigil-drift` when the state changes: `state` and `before` (`unknown`, `learning`, `stable`, `drifting`), `score` (0 = as
//!   usual, 1 = alarm), `text` (the evidence), `cause` (the aspect that raised the alarm: `class-mix`, `confidence`, `box-size`,
//!   `objects-per-frame`; empty without one), `digest` (the model), `windows` (how many were tested), `since` (UTC of the evidence's
//!   start in nanoseconds, 0 unless drifting).
//! - WARNING when the baseline's file or a sample cannot be written, once until it can be again.
//!
//! A `baseline` that cannot be read is one WARNING, and learning begins anew; a folder for samples that cannot be made is one ERROR on the way
//! to PAUSED.
//!
//! # Launch lines
//!
//! ```text
//! gst-launch-1.0 -m videotestsrc num-buffers=50 ! vigilinfer model=people ! vigildrift ! fakesink
//! ```
//!
//! A baseline of a week that survives restarts, and a few doubtful frames a day to look at, with people made unrecognisable:
//!
//! ```text
//! gst-launch-1.0 filesrc location=clip.avi ! decodebin ! vigilinfer model=people ! \
//!     vigildrift baseline=drift/gate.json learn-time=604800000000000 samples=samples/gate blur=objects ! fakesink
//! ```

mod imp;
mod properties;

use glib::prelude::*;

glib::wrapper! {
    /// Passes buffers through untouched and compares their frame results with what is usual.
    pub struct Drift(ObjectSubclass<imp::Drift>) @extends gst_base::BaseTransform, gst::Element, gst::Object;
}

/// Registers the factory `vigildrift`.
///
/// # Errors
/// If GStreamer refuses it.
pub fn register(plugin: &gst::Plugin) -> Result<(), glib::BoolError> {
    gst::Element::register(Some(plugin), "vigildrift", gst::Rank::NONE, Drift::static_type())
}
