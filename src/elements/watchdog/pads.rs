//! The watchdog's own pads.
//!
//! Everything that upstream sends goes into the line, so that it leaves in the order in which it came. What downstream sends goes
//! straight to upstream: nothing that a chain could hold up.

use std::panic::{AssertUnwindSafe, catch_unwind};

use gst::prelude::*;
use gst::subclass::prelude::*;

use super::branch::Command;
use super::core::Core;
use super::imp::Watchdog;
use crate::gstutil::lock;
use crate::gstutil::report_flow_at_eos;

fn builder(template: Option<gst::PadTemplate>, direction: gst::PadDirection) -> gst::PadBuilder<gst::Pad> {
    match template {
        Some(template) => gst::Pad::builder_from_template(&template),
        None => gst::Pad::builder(direction),
    }
}

/// Takes a pad's link away, whichever way it goes; returns what it was linked to.
pub fn unlink(pad: &gst::Pad) -> Option<gst::Pad> {
    let peer = pad.peer()?;
    let _ = if pad.direction() == gst::PadDirection::Src { pad.unlink(&peer) } else { peer.unlink(pad) };
    Some(peer)
}

/// The sink pad.
pub fn sink(template: Option<gst::PadTemplate>) -> gst::Pad {
    builder(template, gst::PadDirection::Sink)
        .chain_function(|_, parent, buffer| {
            Watchdog::catch_panic_pad_function(
                parent,
                || Err(gst::FlowError::Error),
                |watchdog| watchdog.core().enter(buffer),
            )
        })
        .event_function(|_, parent, event| {
            Watchdog::catch_panic_pad_function(parent, || false, |watchdog| sink_event(watchdog, event))
        })
        .query_function(|_, parent, query| {
            Watchdog::catch_panic_pad_function(parent, || false, |watchdog| sink_query(watchdog, query))
        })
        .build()
}

/// The source pad.
pub fn src(template: Option<gst::PadTemplate>) -> gst::Pad {
    builder(template, gst::PadDirection::Src)
        .activatemode_function(|pad, parent, mode, active| {
            Watchdog::catch_panic_pad_function(
                parent,
                || Err(gst::loggable_error!(super::CAT, "panic")),
                |watchdog| match (mode, active) {
                    (gst::PadMode::Push, true) => start_task(watchdog.core(), pad),
                    (gst::PadMode::Push, false) => {
                        watchdog.core().close(|state| state.stopped = true);
                        pad.stop_task().map_err(|_| gst::loggable_error!(super::CAT, "the task does not stop"))
                    }
                    _ => Err(gst::loggable_error!(super::CAT, "frames can only be pushed")),
                },
            )
        })
        .event_function(|_, parent, event| {
            Watchdog::catch_panic_pad_function(parent, || false, |watchdog| src_event(watchdog, event))
        })
        .query_function(|pad, parent, query| {
            Watchdog::catch_panic_pad_function(parent, || false, |watchdog| src_query(watchdog, pad, query))
        })
        .build()
}

fn start_task(core: &Core, pad: &gst::Pad) -> Result<(), gst::LoggableError> {
    let element = core.element.clone();
    pad.start_task(move || {
        let Some(element) = element.upgrade() else { return };
        // Not into GStreamer's C: that would abort the process.
        if catch_unwind(AssertUnwindSafe(|| element.core().push_next())).is_err() {
            gst::element_error!(element, gst::LibraryError::Failed, ("Panicked: the thread that pushes frames ends"));
            let _ = element.core().src.pause_task();
        }
    })
    .map_err(|_| gst::loggable_error!(super::CAT, "the task does not start"))
}

/// Goes on after downstream said `error`, if that was the last it said.
fn revive(core: &Core, error: gst::FlowError) {
    let mut state = core.lock();
    if state.flow == Some(error) {
        state.flow = None;
    }
}

fn sink_event(watchdog: &Watchdog, event: gst::Event) -> bool {
    let core = watchdog.core();
    match event.view() {
        gst::EventView::FlushStart(_) => {
            let mut branch = None;
            core.close(|state| {
                state.flushing = true;
                branch = state.branch.clone().filter(|b| b.is_ready());
            });
            let forwarded = core.src.push_event(event.clone());
            if let Some(branch) = branch {
                branch.command(Command::FlushStart(event));
            }
            let _task = lock(&core.task);
            // Again: the element may have been started meanwhile, and its task would not come to rest.
            core.close(|state| state.flushing = true);
            let _ = core.src.pause_task();
            return forwarded;
        }
        gst::EventView::FlushStop(_) => {
            let branch = {
                let mut state = core.lock();
                state.sticky.flush();
                state.branch.clone().filter(|b| b.is_flushing())
            };
            if let Some(branch) = branch {
                branch.command(Command::FlushStop(event.clone()));
            }
            let forwarded = core.src.push_event(event);
            let _task = lock(&core.task);
            core.resume();
            if core.src.is_active() {
                let _ = start_task(core, &core.src);
            }
            return forwarded;
        }
        gst::EventView::StreamStart(_) | gst::EventView::Segment(_) => revive(core, gst::FlowError::Eos),
        gst::EventView::Eos(_) => {
            let flow = core.lock().flow;
            report_flow_at_eos(&*watchdog.obj(), flow);
        }
        _ => {}
    }
    if event.is_serialized() {
        core.event(event);
        return true;
    }
    core.src.push_event(event)
}

fn src_event(watchdog: &Watchdog, event: gst::Event) -> bool {
    let core = watchdog.core();
    if event.type_() == gst::EventType::Reconfigure {
        // Downstream has been linked again.
        revive(core, gst::FlowError::NotLinked);
    }
    core.sink.push_event(event)
}

/// What both sides can agree on: what `other` takes, and the chain as far as it has said.
fn caps(core: &Core, other: &gst::Pad, filter: Option<&gst::CapsRef>) -> gst::Caps {
    let owned = filter.map(gst::CapsRef::to_owned);
    let peer = other.peer_query_caps(owned.as_ref());
    let chain = core.lock().chain_caps.clone();
    chain.map_or(peer.clone(), |chain| peer.intersect_with_mode(&chain, gst::CapsIntersectMode::First))
}

fn sink_query(watchdog: &Watchdog, query: &mut gst::QueryRef) -> bool {
    let core = watchdog.core();
    if query.is_serialized() {
        core.drain();
    }
    match query.view_mut() {
        gst::QueryViewMut::Caps(q) => {
            let result = caps(core, &core.src, q.filter());
            q.set_result(&result);
            true
        }
        // What the chain cannot take ends the analysis, not the stream.
        gst::QueryViewMut::AcceptCaps(q) => {
            let fits = core.src.peer_query_accept_caps(&q.caps_owned());
            q.set_result(fits);
            true
        }
        _ => core.src.peer_query(query),
    }
}

fn src_query(watchdog: &Watchdog, pad: &gst::Pad, query: &mut gst::QueryRef) -> bool {
    let core = watchdog.core();
    match query.view_mut() {
        gst::QueryViewMut::Caps(q) => {
            let result = caps(core, &core.sink, q.filter());
            q.set_result(&result);
            true
        }
        gst::QueryViewMut::AcceptCaps(_) => gst::Pad::query_default(pad, Some(&*watchdog.obj()), query),
        gst::QueryViewMut::Scheduling(q) => {
            // Frames are pushed by the element's own task; nobody can pull them.
            q.set(gst::SchedulingFlags::SEQUENTIAL, 1, -1, 0);
            q.add_scheduling_modes([gst::PadMode::Push]);
            true
        }
        _ => {
            if !core.sink.peer_query(query) {
                return false;
            }
            if let gst::QueryViewMut::Latency(q) = query.view_mut() {
                let (live, min, max) = q.result();
                let deadline_ns = {
                    let mut state = core.lock();
                    state.live = live;
                    state.deadline_ns
                };
                let own = gst::ClockTime::from_nseconds(deadline_ns.min(gst::ClockTime::MAX.nseconds()));
                q.set(live, min.saturating_add(own), max.map(|max| max.saturating_add(own)));
            }
            true
        }
    }
}
