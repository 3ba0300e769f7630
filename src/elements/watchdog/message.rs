//! What the watchdog tells the application.

use crate::watchdog::{Cause, Change, Mode};

/// The messages of a change: `vigil-watchdog`, and one WARNING when analysis ends.
pub fn of_change(element: &super::Watchdog, change: &Change, abandoned: u32) -> Vec<gst::Message> {
    let mut content = gst::Structure::builder("vigil-watchdog")
        .field("from", change.from.as_str())
        .field("to", change.to.as_str())
        .field("cause", change.cause.as_str())
        .field("detail", change.detail.as_str())
        .field("time", change.at_ns)
        .field("restarts", change.restarts)
        .field("abandoned", abandoned)
        .field("exhausted", change.exhausted);
    if let Some(wait) = change.back_off_ns {
        content = content.field("back-off", wait);
    }
    let mut messages = vec![gst::message::Element::builder(content.build()).src(element).build()];
    if let Some(text) = warning(change) {
        let error = glib::Error::new(gst::StreamError::Failed, &text);
        messages.push(gst::message::Warning::builder_from_error(error).src(element).build());
    }
    messages
}

/// What a user without an application's eyes should read.
fn warning(change: &Change) -> Option<String> {
    if change.exhausted {
        return Some(format!(
            "Analysis stays off: the chain failed too often ({}). Mend it, then use the action signal reset",
            reason(change)
        ));
    }
    if change.to != Mode::Bypassing || matches!(change.cause, Cause::Forced | Cause::Reset | Cause::Stop) {
        return None;
    }
    let next = match change.back_off_ns {
        Some(ns) if ns < 1_000_000_000 => format!("a new chain is built in {} ms", ns / 1_000_000),
        Some(ns) => format!("a new chain is built in {:.1} s", ns as f64 / 1e9),
        None => "no new chain is built by itself".to_owned(),
    };
    Some(format!("Analysis is off: {}. Video goes on without it; {next}", reason(change)))
}

fn reason(change: &Change) -> String {
    let what = match change.cause {
        Cause::Deadline => "the chain hangs, or is slower than the property deadline allows",
        Cause::Engine => "the engine fails on every frame",
        Cause::Error => "the chain failed",
        Cause::Flow => "the chain refused a frame",
        Cause::Panic => "an element of the chain panicked",
        Cause::Eos => "the chain ended the stream",
        Cause::Caps => "the chain does not keep the caps",
        Cause::Build => "the chain does not start in time",
        Cause::Abandoned => "too many chains hang",
        other => other.as_str(),
    };
    if change.detail.is_empty() { what.to_owned() } else { format!("{what} ({})", change.detail) }
}
