//! `vigilinfer`: runs a model on every frame.

mod imp;
mod properties;

use glib::prelude::*;

glib::wrapper! {
    /// Runs a model on raw video and attaches what it found to each frame.
    pub struct Infer(ObjectSubclass<imp::Infer>) @extends gst_base::BaseTransform, gst::Element, gst::Object;
}

/// Registers the factory `vigilinfer`.
///
/// # Errors
/// If GStreamer refuses it.
pub fn register(plugin: &gst::Plugin) -> Result<(), glib::BoolError> {
    gst::Element::register(Some(plugin), "vigilinfer", gst::Rank::NONE, Infer::static_type())
}
