//! `vigilwatchdog`: keeps the video going when the analysis cannot.
//!
//! A bin around a chain of elements that gives out the frames that it takes in. Every frame that enters leaves exactly once
//! and in order: as the chain made it if that is back within `deadline`, untouched otherwise. Whatever the chain does (hang,
//! fail, panic, lose frames, double them, change their order or their times, end the stream), the stream goes on.

mod branch;
mod chain;
mod core;
mod exit;
mod frames;
mod imp;
mod message;
mod pads;
mod properties;
mod sticky;

use std::sync::{Arc, LazyLock};

use gst::glib;
use gst::prelude::*;
use gst::subclass::prelude::*;

static CAT: LazyLock<gst::DebugCategory> =
    LazyLock::new(|| gst::DebugCategory::new("vigilwatchdog", gst::DebugColorFlags::empty(), Some("Vigil watchdog")));

glib::wrapper! {
    /// Supervises a chain of elements and lets the frames pass when it fails.
    pub struct Watchdog(ObjectSubclass<imp::Watchdog>) @extends gst::Bin, gst::Element, gst::Object, @implements gst::ChildProxy;
}

impl Watchdog {
    fn core(&self) -> &Arc<core::Core> {
        self.imp().core()
    }
}

/// Registers the factory `vigilwatchdog`.
///
/// # Errors
/// If GStreamer refuses it.
pub fn register(plugin: &gst::Plugin) -> Result<(), glib::BoolError> {
    gst::Element::register(Some(plugin), "vigilwatchdog", gst::Rank::NONE, Watchdog::static_type())
}
