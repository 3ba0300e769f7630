//! The pads between the watchdog and a chain.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use gst::prelude::*;

use super::branch::Branch;
use super::core::Core;
use crate::gstutil::lock;
use crate::watchdog::Cause;

/// Events that are remembered to tell them from the chain's own.
const REMEMBERED: usize = 64;

/// What a chain was told about the stream.
#[derive(Default)]
pub struct Fed {
    pub caps: Option<gst::Caps>,
    pub eos: bool,
    events: VecDeque<gst::Seqnum>,
}

impl Fed {
    /// Notes an event that the chain gets.
    pub fn note(&mut self, event: &gst::Event) {
        match event.view() {
            gst::EventView::Caps(caps) => self.caps = Some(caps.caps_owned()),
            gst::EventView::Eos(_) => self.eos = true,
            gst::EventView::StreamStart(_) => self.eos = false,
            _ => {}
        }
        if self.events.len() == REMEMBERED {
            self.events.pop_front();
        }
        self.events.push_back(event.seqnum());
    }
}

/// The pad that pushes into the chain, and the one that the chain pushes to.
pub fn pads(core: &Arc<Core>, branch: &Arc<Branch>) -> (gst::Pad, gst::Pad) {
    let (up_events, up_queries) = (Arc::clone(core), Arc::clone(core));
    let entry = gst::Pad::builder(gst::PadDirection::Src)
        .name("entry")
        .event_function(move |_, _, event| match event.type_() {
            // Another chain is nothing that upstream has to negotiate about.
            gst::EventType::Reconfigure => true,
            _ => up_events.sink.push_event(event),
        })
        .query_function(move |_, _, query| match query.view_mut() {
            gst::QueryViewMut::Scheduling(q) => {
                q.set(gst::SchedulingFlags::SEQUENTIAL, 1, -1, 0);
                q.add_scheduling_modes([gst::PadMode::Push]);
                true
            }
            _ => up_queries.sink.peer_query(query),
        })
        .build();
    let (buffers, events, queries) = (Arc::clone(core), Arc::clone(core), Arc::clone(core));
    let (of_buffers, of_events, of_queries) = (branch.generation, Arc::clone(branch), Arc::clone(branch));
    let exit = gst::Pad::builder(gst::PadDirection::Sink)
        .name("exit")
        .chain_function(move |_, _, buffer| {
            // Not into the chain's C: that would abort the process.
            catch_unwind(AssertUnwindSafe(|| buffers.arrived(of_buffers, buffer))).unwrap_or(Err(gst::FlowError::Error))
        })
        .event_function(move |_, _, event| take_event(&events, &of_events, event))
        .query_function(move |pad, parent, query| answer(&queries, &of_queries, (pad, parent), query))
        .build();
    (entry, exit)
}

/// The stream's own events have their place in line already; what is left are those that the chain makes.
fn take_event(core: &Core, branch: &Branch, event: gst::Event) -> bool {
    let generation = branch.generation;
    match event.view() {
        gst::EventView::Caps(caps) => {
            let expected = lock(&branch.fed).caps.clone();
            if expected.is_some_and(|expected| !caps.caps().can_intersect(&expected)) {
                core.failed(generation, Cause::Caps, format!("it makes {} of what it is given", caps.caps()));
                return false;
            }
        }
        gst::EventView::Eos(_) if !lock(&branch.fed).eos => core.failed(generation, Cause::Eos, ""),
        gst::EventView::Tag(_) | gst::EventView::CustomDownstream(_) | gst::EventView::CustomDownstreamSticky(_) => {
            let known = lock(&branch.fed).events.contains(&event.seqnum());
            if !known {
                core.own_event(generation, event);
            }
        }
        gst::EventView::CustomDownstreamOob(_) => {
            core.src.push_event(event);
        }
        _ => {}
    }
    true
}

fn answer(core: &Core, branch: &Branch, at: (&gst::Pad, Option<&gst::Object>), query: &mut gst::QueryRef) -> bool {
    let caps = || lock(&branch.fed).caps.clone();
    match query.view_mut() {
        gst::QueryViewMut::Caps(q) => {
            let all = caps().unwrap_or_else(gst::Caps::new_any);
            let filtered = q.filter().map(|filter| filter.intersect_with_mode(&all, gst::CapsIntersectMode::First));
            q.set_result(&filtered.unwrap_or(all));
            true
        }
        gst::QueryViewMut::AcceptCaps(q) => {
            let fits = caps().is_none_or(|expected| q.caps().can_intersect(&expected));
            q.set_result(fits);
            true
        }
        // Downstream is asked by upstream itself. Here the answer might wait for a frame that waits for this chain.
        gst::QueryViewMut::Allocation(_) => false,
        gst::QueryViewMut::Context(_) => core.src.peer_query(query),
        _ => gst::Pad::query_default(at.0, at.1, query),
    }
}
