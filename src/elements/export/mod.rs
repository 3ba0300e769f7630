//! `vigilexport`: writes a record for every frame result.
//!
//! Takes any caps and changes no buffer. The record is made in the streaming thread and written by a thread of its own:
//! a sink that is slow or failing costs records, and says so, but no frame. At the end of the stream it waits until the
//! records are written, for five seconds at most. Records, sinks and promises are described in `docs/records.md`.
//!
//! # Metadata
//!
//! Read: `VigilFrameMeta`. A buffer without one is counted (`without-result` of `stats`) and writes nothing. Written: none.
//!
//! # Messages
//!
//! - WARNING and element message `vigil-export` when records begin to be kept back or lost: `state` (`degraded`), `text`
//!   (what happened), `written`, `dropped`, `errors`, `bytes` (the counters of `stats`).
//! - Element message `vigil-export` when they are written again: the same, with the `state` `recovered`.
//! - WARNING at the first buffer without a frame result: there is no `vigilinfer` before the element.
//!
//! A `uri` that is wrong or cannot be opened is one ERROR on the way to PAUSED.
//!
//! # Launch lines
//!
//! ```text
//! gst-launch-1.0 videotestsrc num-buffers=50 ! vigilinfer model=people ! vigilexport uri=file:out.jsonl camera=gate ! fakesink
//! ```
//!
//! A new file every hour, and no more than a day of them:
//!
//! ```text
//! gst-launch-1.0 filesrc location=clip.avi ! decodebin ! vigilinfer model=people ! vigiltrack ! \
//!     vigilexport uri="file:records/gate.jsonl?rotate-time=1h&keep=24" ! fakesink
//! ```

mod imp;
mod properties;

use glib::prelude::*;

glib::wrapper! {
    /// Passes buffers through untouched and writes their frame results as records to the sink that `uri` names.
    pub struct Export(ObjectSubclass<imp::Export>) @extends gst_base::BaseTransform, gst::Element, gst::Object;
}

/// Registers the factory `vigilexport`.
///
/// # Errors
/// If GStreamer refuses it.
pub fn register(plugin: &gst::Plugin) -> Result<(), glib::BoolError> {
    gst::Element::register(Some(plugin), "vigilexport", gst::Rank::NONE, Export::static_type())
}
