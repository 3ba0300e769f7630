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
//! - WARNING and element message `vigil-export` when records begin to be kept back or lost, and when the reason becomes another one:
//!   `state` (`degraded`), `text` (what happened), `written`, `dropped`, `errors`, `bytes` (the counters of `stats`).
//! - Element message `vigil-export` when they get through again: the same, with the `state` `recovered`. For a broker or a server that is
//!   with the first records that it takes; `text` says how many still wait.
//! - WARNING at the first buffer without a frame result: there is no `vigilinfer` before the element.
//! - WARNING at the start if another element of the process sends to the same place and was first with other `spool-…`, `commit-interval`
//!   or `replay-…`: its options hold for both.
//!
//! A `uri` that is wrong or cannot be opened is one ERROR on the way to PAUSED. So is one whose options differ from those of another
//! element that sends to the same place, unless that one is about to stop, which is waited for: ten seconds at most.
//!
//! # Statistics
//!
//! The structure `stats` counts since the last start. For a broker or a server all but `records` and `without-result` are those of all
//! elements of the process that send there, since the first of them started.
//!
//! | field | type | is |
//! |---|---|---|
//! | `written` | unsigned integer | records that were written, or that the receiver has acknowledged |
//! | `dropped` | unsigned integer | records that were lost: no room, too old, refused by the receiver, damaged on disk |
//! | `errors` | unsigned integer | attempts to write, to send or to use the spool that failed |
//! | `bytes` | unsigned integer | bytes of the records that were written or acknowledged |
//! | `records` | unsigned integer | records that this element has made |
//! | `without-result` | unsigned integer | buffers that carried no frame result |
//! | `waiting` | unsigned integer | records that wait in the spool, in memory and on disk |
//! | `spool-bytes` | unsigned integer | bytes that the spool takes on disk |
//! | `oldest-waiting` | unsigned integer | when the oldest record that waits came, in milliseconds since 1970 UTC; 0 if none waits |
//! | `connected` | boolean | whether the receiver answered when it was last tried; false before the first time |
//!
//! The last four are there only with a spool, that is for a broker or a server.
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
