//! What `GstElement` does without what `GstBin` adds.
//!
//! `GstBin` goes through its children whenever its state, its clock or its contexts change, and takes locks of theirs on the way.
//! A chain that hangs may hold one for ever; so here the chains' keepers pass such things on, and nobody else.

use gst::glib;
use gst::glib::translate::{IntoGlib, ToGlibPtr, TryFromGlib};
use gst::prelude::*;

fn class() -> *const gst::ffi::GstElementClass {
    // SAFETY: the class of a registered type that has an instance (the caller) is loaded, and stays so.
    unsafe { glib::gobject_ffi::g_type_class_peek(gst::Element::static_type().into_glib()).cast() }
}

/// Changes the state of the element alone: activates or deactivates its pads.
///
/// # Errors
/// If a pad refuses.
pub fn change_state(
    element: &gst::Element,
    transition: gst::StateChange,
) -> Result<gst::StateChangeSuccess, gst::StateChangeError> {
    // SAFETY: the class is that of GstElement, whose functions take any element; the pointer is valid during the call.
    unsafe {
        let Some(change) = class().as_ref().and_then(|class| class.change_state) else {
            return Err(gst::StateChangeError);
        };
        gst::StateChangeSuccess::try_from_glib(change(element.to_glib_none().0, transition.into_glib()))
    }
}

/// Keeps a context for the element alone.
pub fn set_context(element: &gst::Element, context: &gst::Context) {
    // SAFETY: as above; the context is borrowed for the call.
    unsafe {
        if let Some(set) = class().as_ref().and_then(|class| class.set_context) {
            set(element.to_glib_none().0, context.to_glib_none().0);
        }
    }
}
