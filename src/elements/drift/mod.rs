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
//! A `baseline` that cannot be read, is of another version or another camera, or was learned with another `window`, `learn-time` or `day-parts` is
//! one WARNING, and learning begins anew. A folder for samples that cannot be made, and a `learn-time` of fewer than 48 or more than 4096 windows,
//! are one ERROR on the way to PAUSED.
//!
//! # Baseline
//!
//! What is kept: what is usual for the model and for the one before it, which may come back, and the window under way. Time is the stream's; where
//! it steps back, as when a file begins anew, it goes on from there. The file names the camera, if `camera` does: an element with another name
//! neither takes nor writes it, until `relearn` or until the file is gone. `relearn` forgets all of it, and the file with it, at once.
//!
//! # Samples
//!
//! Only fresh frames are sampled: those that the model looked at. The reason is in the file's name: `low-confidence` (`sample-below`),
//! `disagreement` (`sample-disagreement`) or `drift` (any frame while predictions drift). For disagreement a `vigiltrack` in front must pass on what
//! it predicts: its `coast-time` is 0 unless it is set. What leaves the picture is predicted for that long too, so some of these
//! frames show nothing odd.
//!
//! `blur=objects` hides what the model and the tracker have found. On frames that are sampled for drift or disagreement, and on those without
//! objects, it hides everything, since objects may be missed there. On a doubtful frame somebody whom the model has missed is to be seen all the
//! same: only `blur=frame` hides everybody.
//!
//! # Statistics
//!
//! `stats` has the fields of the message, and:
//!
//! - `learned` (0..1; 1 once there is a baseline), `reference` (it is compared with what the bundle says), `borrowed` (with the whole baseline, for
//!   want of one of this part of the day);
//! - `samples` (written since the start);
//! - `fresh`, `objects` and `predictions` (since the start: frames that the model looked at, what it found on them, and the distribution as JSON);
//! - `recent-predictions`, `recent-digest` and `recent-until`: the same distribution over the newest windows, at most twelve; the model that it is of
//!   (empty before its first window has ended); when the newest of them ended, UTC in nanoseconds (0 before the first). After a swap or a
//!   rollback `digest`, the model of the last report, is another one for up to a window.
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
