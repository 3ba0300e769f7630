//! Orders from what applications send, and records as they are told.

use gst::glib;
use gst::prelude::*;
use gst::subclass::prelude::*;

use crate::model::Model;
use crate::swap::{Cause, Order, Reason, Record, TrialReport};

/// Whether a swap that ended so says something about the model itself, wherever it runs: not about this machine, its load,
/// or how an element is set up.
pub fn is_of_the_model(reason: Reason) -> bool {
    use Reason::{
        Contract, Digest, Disagreement, Errors, Format, LoadCrashed, LoadFailed, NonFinite, ReferenceMismatch,
    };
    matches!(
        reason,
        Contract | Digest | Disagreement | Errors | Format | LoadCrashed | LoadFailed | NonFinite | ReferenceMismatch
    )
}

/// The delay that live sinks are to be told of for a model, nanoseconds: two runs side by side share the memory's bandwidth,
/// so a run takes longer than alone.
pub fn latency_of(model: &Model) -> u64 {
    u64::try_from(model.run_time().as_nanos()).unwrap_or(u64::MAX).saturating_mul(2)
}

/// An order with the options that a structure has.
pub fn with_options(mut order: Order, options: Option<&gst::StructureRef>) -> Order {
    let Some(options) = options else { return order };
    order.provider = options.get("provider").ok();
    order.shadow |= options.get("shadow").unwrap_or(false);
    order.probation.time = number(options, "probation-time").map(std::time::Duration::from_nanos);
    order.probation.frames = number(options, "probation-frames");
    order
}

/// A number of any integer type: one in a structure's text is an `int` unless it says otherwise.
fn number(options: &gst::StructureRef, name: &str) -> Option<u64> {
    let signed = || options.get::<i64>(name).or_else(|_| options.get::<i32>(name).map(i64::from)).ok();
    let unsigned = options.get::<u64>(name).or_else(|_| options.get::<u32>(name).map(u64::from)).ok();
    unsigned.or_else(|| signed().and_then(|value| u64::try_from(value).ok()))
}

/// Adds the figures of a shadow run, with `prefix` before their names.
pub fn add_report(to: &mut gst::Structure, prefix: &str, report: &TrialReport) {
    let (subject, peer, both) = (&report.subject, &report.peer, &report.agreement);
    let counts = [
        ("frames", subject.frames),
        ("errors", subject.failed),
        ("non-finite", subject.non_finite),
        ("run-median", subject.median_ns),
        ("run-p99", subject.p99_ns),
        ("active-run-median", peer.median_ns),
        ("active-run-p99", peer.p99_ns),
        ("samples", both.frames),
        ("matched", both.matched),
        ("class-changes", both.class_changes),
        ("missed", both.missed),
        ("extra", both.extra),
        ("foreign", both.foreign),
    ];
    for (name, count) in counts {
        to.set(format!("{prefix}{name}"), count);
    }
    to.set(format!("{prefix}agreement"), both.score());
    to.set(format!("{prefix}score-shift"), both.score_shift());
}

pub fn is_custom(kind: gst::EventType) -> bool {
    use gst::EventType::{CustomBoth, CustomBothOob, CustomDownstream, CustomDownstreamOob, CustomUpstream};
    matches!(kind, CustomBoth | CustomBothOob | CustomDownstream | CustomDownstreamOob | CustomUpstream)
}

/// The action signal: the number of the request, 0 if the element does not run; then the model is what it starts with.
pub fn swap_model(args: &[glib::Value]) -> u64 {
    let [element, model, options] = args else { return 0 };
    let (Ok(element), Ok(Some(model))) = (element.get::<super::Infer>(), model.get::<Option<String>>()) else {
        return 0;
    };
    let options = options.get::<Option<gst::Structure>>().ok().flatten();
    let order = with_options(Order::new(model.clone(), Cause::Signal), options.as_deref());
    let number = element.imp().swaps.request(order);
    if number == 0 {
        element.set_property("model", model);
    }
    number
}

/// A record as message and property have it.
pub fn structure(name: &str, record: &Record) -> gst::Structure {
    let nanos = |time: std::time::Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
    let mut s = gst::Structure::builder(name)
        .field("request-id", record.request)
        .field("phase", record.phase.as_str())
        .field("cause", record.cause.as_str())
        .field("text", &record.text)
        .field("new-model", &record.model)
        .field("elapsed", nanos(record.elapsed))
        .field("phase-time", nanos(record.took))
        .field("utc", record.utc_ns)
        .build();
    if let Some(reason) = record.reason {
        s.set("reason", reason.as_str());
    }
    for (side, identity) in [("old", &record.old), ("new", &record.new)] {
        if let Some(identity) = identity {
            s.set(format!("{side}-name"), &identity.name);
            s.set(format!("{side}-release"), &identity.release);
            s.set(format!("{side}-digest"), &identity.digest);
        }
    }
    s
}
