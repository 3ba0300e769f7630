//! `vigilexport`: writes a record for every frame result.

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
