//! The frame result on a buffer.
//!
//! [`frame`] holds the truth: an untagged custom meta, so that scaling and conversion keep it. [`roi`] mirrors the
//! objects for other people's elements. [`structure`] is the same content for messages and signals.

pub mod frame;
pub mod roi;
pub mod structure;

use std::sync::Arc;

use crate::result::FrameResult;

/// Registers what this module adds to GStreamer. Cheap, and safe to call again.
pub fn register() {
    frame::register();
}

/// The frame result of `buffer`, if a Vigil element has left one.
pub fn get(buffer: &gst::BufferRef) -> Option<Arc<FrameResult>> {
    frame::get(buffer)
}

/// Puts `result` on `buffer` in place of an earlier one; with `mirror`, its objects also as region-of-interest metas.
pub fn set(buffer: &mut gst::BufferRef, result: Arc<FrameResult>, mirror: bool) {
    if let Some(old) = frame::get(buffer) {
        roi::remove(buffer, &old);
    }
    if mirror {
        roi::add(buffer, &result);
    }
    frame::set(buffer, result);
}
