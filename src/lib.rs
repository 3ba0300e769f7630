//! Vigil: GStreamer elements that run, follow, draw and export video analytics beside the camera.

pub mod analysis;
pub mod bundle;
pub mod cancel;
pub mod cascade;
pub mod chance;
pub mod draw;
pub mod drift;
pub mod elements;
pub mod engine;
pub mod export;
pub mod fleet;
pub mod frame;
pub mod gstutil;
pub mod meta;
pub mod model;
pub mod parity;
pub mod paths;
pub mod picture;
pub mod post;
pub mod pre;
pub mod priority;
pub mod result;
pub mod secret;
pub mod site;
pub mod store;
pub mod suggest;
pub mod swap;
pub mod telemetry;
pub mod tracking;
pub mod watchdog;
pub mod whole;

/// The version of the plugin and the command: the crate's, and the commit that it was built from.
pub const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), "-", env!("COMMIT_ID"));

/// The plugin's entry points; an application that links the crate calls `plugin_register_static`.
#[allow(missing_docs)]
pub mod plugin {
    fn plugin_init(plugin: &gst::Plugin) -> Result<(), glib::BoolError> {
        crate::meta::register();
        crate::elements::register(plugin)
    }

    gst::plugin_define!(
        vigil,
        env!("CARGO_PKG_DESCRIPTION"),
        plugin_init,
        concat!(env!("CARGO_PKG_VERSION"), "-", env!("COMMIT_ID")),
        "MIT/X11",
        env!("CARGO_PKG_NAME"),
        env!("CARGO_PKG_NAME"),
        env!("CARGO_PKG_NAME"),
        env!("BUILD_REL_DATE")
    );
}
