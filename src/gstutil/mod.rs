//! Small helpers shared by the elements.

pub mod frame;
pub mod time;

use std::sync::{Mutex, MutexGuard, PoisonError};

use gst::glib;
use gst::prelude::*;

use crate::telemetry::Latencies;

/// Adds to `stats` what is told of latencies: `NAME-median`, `-p95`, `-p99`, `-max` and `-sum` in nanoseconds, and the array
/// `NAME-buckets`.
pub fn set_latencies(stats: &mut gst::StructureRef, name: &str, told: &Latencies) {
    stats.set(format!("{name}-median"), told.median_ns);
    stats.set(format!("{name}-p95"), told.p95_ns);
    stats.set(format!("{name}-p99"), told.p99_ns);
    stats.set(format!("{name}-max"), told.max_ns);
    stats.set(format!("{name}-sum"), told.sum_ns);
    stats.set(format!("{name}-buckets"), gst::Array::new(told.buckets));
}

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

/// Stores a property's value; `false` if it is of another type, which GObject has checked before.
pub fn store<'a, T: glib::value::FromValue<'a>>(to: &mut T, value: &'a glib::Value) -> bool
where
    <<T as glib::value::FromValue<'a>>::Checker as glib::value::ValueTypeChecker>::Error: std::fmt::Debug,
{
    value.get().map(|v| *to = v).is_ok()
}

/// An error or a warning of an element in one line: its message, and the last line of what it says for developers, where the cause is.
pub fn error_text(error: &glib::Error, debug: Option<&str>) -> String {
    let message = error.message();
    // "../gst/rtsp/gstrtspsrc.c(8059): gst_rtspsrc_retrieve_sdp (): /GstPipeline:p/GstRTSPSrc:source:\nFailed to connect."
    let details = debug.unwrap_or_default().lines().skip(1).map(str::trim);
    match details.filter(|line| !line.is_empty()).last() {
        None => message.to_owned(),
        Some(detail) if detail.starts_with(message) => detail.to_owned(),
        Some(detail) => format!("{message} {detail}"),
    }
}

/// Posts what a source posts when downstream refuses its frames. For an element that pushes from a thread of its own, at the end of the
/// stream: a fatal answer to the last frame finds no frame to travel back with.
pub fn report_flow_at_eos(element: &impl IsA<gst::Element>, flow: Option<gst::FlowError>) {
    if let Some(error @ (gst::FlowError::NotLinked | gst::FlowError::Error | gst::FlowError::NotNegotiated)) = flow {
        gst::element_error!(
            element,
            gst::StreamError::Failed,
            ("Internal data stream error."),
            ["streaming stopped, reason {error:?}"]
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_told_in_one_line_without_saying_it_twice() {
        let error = glib::Error::new(gst::ResourceError::NotFound, "Not Found");
        let told = |debug| error_text(&error, debug);
        assert_eq!(told(None), "Not Found");
        assert_eq!(told(Some("../a.c(1): f (): /source:")), "Not Found");
        assert_eq!(told(Some("../a.c(1): f (): /source:\nNobody there.\n \n")), "Not Found Nobody there.");
        assert_eq!(told(Some("../a.c(1): f (): /source:\nNot Found (404)")), "Not Found (404)");
    }
}
