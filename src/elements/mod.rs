//! GObject skins, one folder per factory.
//!
//! A skin holds properties, pads, caps and messages; what it does lives in a domain module.

pub mod drift;
pub mod export;
pub mod infer;
pub mod overlay;
pub mod site;
pub mod track;
pub mod watchdog;

/// Registers all elements, in the order in which data flows through them.
///
/// # Errors
/// If GStreamer refuses a registration.
pub fn register(plugin: &gst::Plugin) -> Result<(), glib::BoolError> {
    infer::register(plugin)?;
    track::register(plugin)?;
    drift::register(plugin)?;
    overlay::register(plugin)?;
    export::register(plugin)?;
    watchdog::register(plugin)?;
    site::register(plugin)
}
