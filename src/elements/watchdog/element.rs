//! What `GstElement` does without what `GstBin` adds.
//!
//! `GstBin` goes through its children whenever its state, its clock or its contexts change or it is asked something, and takes locks of theirs on the way.
//! A chain that hangs may hold one for ever; so here the chains' keepers pass such things on, and nobody else.

use gst::glib;
use gst::glib::translate::{IntoGlib, IntoGlibPtr, ToGlibPtr, TryFromGlib};
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

/// Gives the element alone a clock.
pub fn set_clock(element: &gst::Element, clock: Option<&gst::Clock>) -> bool {
    // SAFETY: as above; the clock is borrowed for the call.
    unsafe {
        let set = class().as_ref().and_then(|class| class.set_clock);
        set.is_some_and(|set| set(element.to_glib_none().0, clock.to_glib_none().0) != glib::ffi::GFALSE)
    }
}

/// Sends an event through one of the element's own pads.
pub fn send_event(element: &gst::Element, event: gst::Event) -> bool {
    // SAFETY: as above; the function takes the event over.
    unsafe {
        let send = class().as_ref().and_then(|class| class.send_event);
        send.is_some_and(|send| send(element.to_glib_none().0, event.into_glib_ptr()) != glib::ffi::GFALSE)
    }
}

/// Asks through one of the element's own pads.
pub fn query(element: &gst::Element, query: &mut gst::QueryRef) -> bool {
    // SAFETY: as above; the query is borrowed for the call, and nobody else has it.
    unsafe {
        let ask = class().as_ref().and_then(|class| class.query);
        ask.is_some_and(|ask| ask(element.to_glib_none().0, query.as_mut_ptr()) != glib::ffi::GFALSE)
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
