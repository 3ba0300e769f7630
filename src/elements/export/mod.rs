//! `vigilexport`: sends frame results and events as JSON to a file, a broker or a server.
//!
//! Takes any caps and changes no buffer. Records are made in the streaming thread and written or sent by threads of their own:
//! a sink that is slow or failing costs no frame. Records for a broker or a server wait in a spool on disk until they are acknowledged; those for a
//! file wait in memory. At the end of the stream it waits until they are written or acknowledged, for five seconds at most. What is in a
//! record is described in `docs/records.md`; sinks, the spool and promises in `docs/export.md`.
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
//! To a broker, what happens and no more; with a spool on disk for when the broker is away:
//!
//! ```text
//! gst-launch-1.0 filesrc location=clip.avi ! decodebin ! vigilinfer model=people ! vigiltrack ! \
//!     vigilexport uri=mqtt://127.0.0.1/site records=events camera=gate spool=spool ! fakesink
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
