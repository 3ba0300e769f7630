//! Small helpers shared by the elements.

pub mod frame;
pub mod time;

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks, also after a panic elsewhere: a poisoned lock must not abort the host from a property setter.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The pads of an element that gives out what it takes in: `sink` and `src`, always there, with the same caps.
pub fn pad_templates(caps: &gst::Caps) -> Vec<gst::PadTemplate> {
    [("sink", gst::PadDirection::Sink), ("src", gst::PadDirection::Src)]
        .into_iter()
        .filter_map(|(name, way)| gst::PadTemplate::new(name, way, gst::PadPresence::Always, caps).ok())
        .collect()
}
