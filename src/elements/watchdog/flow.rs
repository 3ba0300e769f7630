//! How frames and events go through the watchdog: in at its sink pad, through the chain, out at its source pad.

use std::sync::{Arc, MutexGuard};

use gst::prelude::*;

use super::branch::Branch;
use super::core::{Core, Feed, State};
use super::{CAT, frames};
use crate::gstutil::time;
use crate::meta;
use crate::result::{AbsentReason, FrameResult, Freshness};
use crate::telemetry::utc_now_ns;
use crate::watchdog::{Arrival, Cause, Left, Mode, Out, Why};

/// Frames that may be ready and wait for downstream before upstream is held up, where it is not live.
const MOST_READY: usize = 2;
/// Frames and events that may be in line: a chain that takes more frames than that before it gives one back is held up.
const MOST_IN_LINE: usize = 256;

impl Core {
    /// A frame comes in; returns when there is room for the next one.
    pub fn enter(&self, mut buffer: gst::Buffer) -> Result<gst::FlowSuccess, gst::FlowError> {
        let pts = buffer.pts().map(gst::ClockTime::nseconds);
        let state = self.lock();
        let called = self.now();
        let due = state.due(called, pts);
        let (mut state, due) = self.wait_for_room(state, due)?;
        let in_vain = state.has_fed_frame();
        let behind = state.held_up.is_some() && due < called.saturating_add(state.deadline_ns);
        let held_up = state.policy.mode() == Mode::Analysing && (in_vain || behind);
        state.held_up = pts.filter(|_| held_up).map(|pts| (due, pts));
        self.counters.entered();
        let feeding = state.policy.feeding() && !state.has_fed_frame();
        if state.policy.mode() == Mode::Analysing {
            let kept = frames::keep(&buffer);
            // Past its time already if the chain had no room for it: the task will count it as late.
            let number = state.line.enter(kept, pts, called, due);
            if feeding {
                self.marker.mark(buffer.make_mut(), number);
                state.feed.push_back(Feed::Frame(number, buffer));
            }
        } else if feeding {
            let number = state.line.bypass(frames::keep(&buffer), pts, called, Why::Bypassed);
            state.line.prove(number, pts, called, due);
            self.marker.mark(buffer.make_mut(), number);
            state.feed.push_back(Feed::Frame(number, buffer));
        } else {
            state.line.bypass(buffer, pts, called, Why::Bypassed);
        }
        let analysing = state.policy.mode() == Mode::Analysing && feeding;
        self.arm(&mut state);
        drop(state);
        if feeding {
            self.feed.notify_all();
        }
        // A frame that is with the chain cannot leave yet; the timer is set.
        if !analysing {
            self.out.notify_all();
        }
        Ok(gst::FlowSuccess::Ok)
    }

    /// Waits until a frame may come in that is to leave at `due`; returns that time, by another clock if it has changed
    /// meanwhile.
    fn wait_for_room<'a>(
        &self,
        mut state: MutexGuard<'a, State>,
        mut due: u64,
    ) -> Result<(MutexGuard<'a, State>, u64), gst::FlowError> {
        loop {
            due = state.waiting_due.take().unwrap_or(due);
            if state.flushing || state.stopped {
                return Err(gst::FlowError::Flushing);
            }
            if let Some(error) = state.flow {
                return Err(error);
            }
            let now = self.now();
            let full = state.is_full(now);
            let in_time = state.policy.mode() == Mode::Analysing && now < due;
            let busy = in_time && state.has_fed_frame();
            if !full && !busy {
                return Ok((state, due));
            }
            if in_time {
                state.waiting_due = Some(due);
                self.arm(&mut state);
            }
            state = Self::wait(&self.room, state);
        }
    }

    /// A serialised event comes in.
    pub fn event(&self, event: gst::Event) {
        let mut state = self.lock();
        if state.flushing || state.stopped {
            return;
        }
        state.sticky.keep(&event);
        if state.branch.as_ref().is_some_and(|b| b.is_ready()) {
            state.feed.push_back(Feed::Event(event.clone()));
        }
        state.line.event(event);
        drop(state);
        self.feed.notify_all();
        self.out.notify_all();
    }

    /// The chain of this generation gives something out.
    pub fn arrived(&self, generation: u64, buffer: gst::Buffer) -> Result<gst::FlowSuccess, gst::FlowError> {
        let number = self.marker.number(&buffer);
        let pts = buffer.pts().map(gst::ClockTime::nseconds);
        let failed =
            meta::get(&buffer).is_some_and(|r| matches!(r.freshness, Freshness::Absent(AbsentReason::EngineError)));
        let mut given = Some(buffer);
        let mut state = self.lock();
        let now = self.now();
        // What comes out while the chain's flush is still under way is of before it.
        let flushing = state.flushing || state.branch.as_ref().is_some_and(|branch| branch.is_flushing());
        if !state.is_current(generation) || flushing || state.stopped {
            drop(state);
            return Err(gst::FlowError::Flushing);
        }
        let arrival = state.line.arrive(number, pts, now, |original| {
            given.take().map_or_else(gst::Buffer::new, |buffer| self.marker.finish(buffer, original))
        });
        match arrival {
            Arrival::InTime { took_ns } | Arrival::Proof { took_ns } => {
                self.counters.chain_time(took_ns);
                // The chain goes on: it holds the source up no longer than a frame takes.
                state.held_up = None;
                state.policy.delivered(now, !failed);
                self.settle(state);
                self.out.notify_all();
            }
            Arrival::Extra => {
                self.counters.duplicate();
                drop(state);
            }
        }
        // The end of a buffer may call far away: not under the lock.
        drop(given);
        Ok(gst::FlowSuccess::Ok)
    }

    /// The chain of this generation gives out an event of its own.
    pub fn own_event(&self, generation: u64, event: gst::Event) {
        let mut state = self.lock();
        if state.is_current(generation) && state.policy.mode() == Mode::Analysing {
            state.line.own_event(event);
        }
    }

    /// One turn of the source pad's task.
    pub fn push_next(&self) {
        let out = {
            let mut state = self.lock();
            if std::mem::replace(&mut state.pushing, false) && state.line.is_empty() {
                // Whoever waits until all is out.
                self.room.notify_all();
            }
            loop {
                if state.stopped || state.flushing {
                    drop(state);
                    let _ = self.src.pause_task();
                    return;
                }
                if self.look_at_the_time(&mut state) {
                    self.settle(state);
                    state = self.lock();
                    continue;
                }
                if let Some(out) = state.line.pop() {
                    state.pushing = true;
                    break self.prepare(&mut state, out);
                }
                self.arm(&mut state);
                state = Self::wait(&self.out, state);
            }
        };
        self.room.notify_all();
        self.deliver(out);
    }

    /// Counts what has passed its time; whether the policy has something to do about it.
    fn look_at_the_time(&self, state: &mut State) -> bool {
        let now = self.now();
        let due = [state.line.next_due(), state.policy.next_wake()].into_iter().flatten().min();
        if due.is_none_or(|due| due > now) {
            return false;
        }
        let expired = state.line.expire(now);
        for _ in expired.late.iter().chain(&expired.proofs) {
            state.policy.missed(now);
        }
        state.policy.poll(now);
        true
    }

    /// Makes what leaves ready to go: a frame without analysis says so.
    fn prepare(&self, state: &mut State, out: Out<gst::Buffer, gst::Event>) -> Out<gst::Buffer, gst::Event> {
        match out {
            Out::Event(event) => {
                state.note(&event);
                Out::Event(event)
            }
            Out::Frame(mut frame) => {
                match frame.untouched {
                    None => {
                        state.off_since = None;
                        self.counters.left(Left::Analysed);
                    }
                    Some(why) => {
                        let (left, reason) = reason(why, state.policy.off().map(|(cause, _)| cause));
                        self.counters.left(left);
                        let utc = utc_now_ns();
                        let since = *state.off_since.get_or_insert(utc);
                        if meta::get(&frame.payload).is_none() {
                            let pts = frame.payload.pts();
                            let result = FrameResult {
                                frame: frame.number,
                                pts_ns: pts.map(gst::ClockTime::nseconds),
                                running_time_ns: state.segment.as_ref().and_then(|s| time::running_time_ns(s, pts)),
                                utc_ns: utc,
                                absent_since_ns: (reason != AbsentReason::Skipped).then_some(since),
                                ..FrameResult::absent(reason, state.size)
                            };
                            meta::set(frame.payload.make_mut(), Arc::new(result), false);
                        }
                    }
                }
                Out::Frame(frame)
            }
        }
    }

    fn deliver(&self, out: Out<gst::Buffer, gst::Event>) {
        let flow = match out {
            Out::Event(event) => {
                self.src.push_event(event);
                return;
            }
            Out::Frame(frame) => {
                for event in frame.before {
                    self.src.push_event(event);
                }
                // Downstream takes no more frames, but what ends or renews the stream must still reach it.
                if self.lock().flow.is_some() {
                    return;
                }
                self.src.push(frame.payload)
            }
        };
        if let Err(error) = flow {
            gst::debug!(CAT, obj = self.src, "downstream said {error:?}");
            let mut state = self.lock();
            state.flow = Some(error);
            state.line.release();
            drop(state);
            self.room.notify_all();
        }
    }

    /// What the chain takes next, for its feeder; `None` when the chain is not in charge any more.
    pub fn next_feed(&self, branch: &Branch) -> Option<Feed> {
        let mut state = self.lock();
        loop {
            if !state.is_current(branch.generation) {
                return None;
            }
            if !branch.is_flushing() {
                match state.feed.pop_front() {
                    // Its time was over before the chain had room for it.
                    Some(Feed::Frame(number, buffer)) if !state.line.is_pending(number) => {
                        drop(state);
                        drop(buffer);
                        state = self.lock();
                        continue;
                    }
                    Some(feed) => {
                        // Under the lock: a flush that begins now waits for it.
                        branch.set_pushing(true);
                        drop(state);
                        self.room.notify_all();
                        return Some(feed);
                    }
                    None => {}
                }
            }
            state = Self::wait(&self.feed, state);
        }
    }
}

impl State {
    /// Whether the next frame has to wait. A live sink holds each frame back for the deadline that it was told, and a live
    /// source waits for nobody: as long as that must the frames find room here.
    fn is_full(&self, now: u64) -> bool {
        let held = || self.line.first_entered().is_some_and(|at| now.saturating_sub(at) < self.deadline_ns);
        self.line.len() >= MOST_IN_LINE || (self.line.ready() >= MOST_READY && !(self.live && held()))
    }
}

/// How a frame that leaves untouched is counted, and what its result says.
fn reason(why: Why, off: Option<Cause>) -> (Left, AbsentReason) {
    match why {
        Why::Late => (Left::Late, AbsentReason::Deadline),
        // The chain left it out, as a chain may.
        Why::Swallowed => (Left::Swallowed, AbsentReason::Skipped),
        Why::Bypassed => {
            let reason = match off {
                Some(Cause::Forced | Cause::Released) => AbsentReason::Maintenance,
                Some(Cause::Start | Cause::Reset) => AbsentReason::Starting,
                Some(Cause::Deadline) => AbsentReason::Deadline,
                Some(Cause::Engine) => AbsentReason::EngineError,
                _ => AbsentReason::ChainError,
            };
            (Left::Bypassed, reason)
        }
    }
}
