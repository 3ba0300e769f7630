//! `vigilexport`: writes a record for every frame result.
//!
//! Takes any caps and changes no buffer. Reads the frame result (`VigilFrameMeta`); a buffer without one is counted and
//! writes nothing. Posts the element message `vigil-export` (`state`: `degraded` or `recovered`, `text`, `written`,
//! `dropped`, `errors`, `bytes`) and, when it becomes degraded, a WARNING. A `uri` that is wrong or cannot be opened is an
//! ERROR on the way to PAUSED. Records and promises are described in `docs/records.md`.
//!
//! `gst-launch-1.0 filesrc location=clip.avi ! decodebin ! vigilinfer model=people ! vigilexport uri=file:out.jsonl !
//! fakesink`

mod imp;

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
