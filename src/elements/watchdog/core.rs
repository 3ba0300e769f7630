//! The heart of `vigilwatchdog`: the line of frames, the policy, and the threads that meet there.
//!
//! ```text
//! upstream's thread        feeder (one per chain)          source pad's task
//! enter a frame      ──▶   push it into the chain          pop the first of the line,
//!                          the chain's exit: arrived  ──▶  push it downstream
//! ```
//!
//! Upstream's thread and the task never call into the chain, so a chain that hangs hangs its own threads only.
//!
//! Locks: `state` is held for bookkeeping only, never over a push, a message, a state change or the end of a buffer; `clock` may
//! be taken under it. Messages are posted in order by whoever finds nobody posting.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use gst::glib;
use gst::prelude::*;

use super::branch::{self, Branch};
use super::message;
use super::sticky::Sticky;
use super::{CAT, frames};
use crate::gstutil::{lock, time};
use crate::meta;
use crate::result::{AbsentReason, FrameResult, Freshness};
use crate::watchdog::{Action, Arrival, Cause, Counters, Left, Line, Mode, Out, Policy, Settings, Why};

/// Frames that may be ready and wait for downstream before upstream is held up.
const MOST_READY: usize = 2;
/// Frames and events that may be in line: a chain that takes more frames than that before it gives one back is held up.
const MOST_IN_LINE: usize = 256;

/// Something for the chain.
pub enum Feed {
    /// A frame and its number.
    Frame(u64, gst::Buffer),
    /// A serialised event.
    Event(gst::Event),
}

/// What the threads share.
#[derive(Default)]
pub struct State {
    pub line: Line<gst::Buffer, gst::Event>,
    pub policy: Policy,
    /// The chain in charge; its number is the highest.
    pub branch: Option<Arc<Branch>>,
    pub generations: u64,
    /// What the chain has not taken yet.
    pub feed: VecDeque<Feed>,
    /// Events that a new chain must see first.
    pub sticky: Sticky,
    pub deadline_ns: u64,
    pub flushing: bool,
    pub stopped: bool,
    pub playing: bool,
    /// What downstream last said to a frame.
    pub flow: Option<gst::FlowError>,
    /// What the chain can take, as far as it has said.
    pub chain_caps: Option<gst::Caps>,
    /// Chains that were let go of and are not gone.
    pub hung: u32,
    /// Why there cannot be a chain.
    pub unusable: Option<String>,
    /// When a frame that waits for room in the chain leaves untouched.
    waiting_due: Option<u64>,
    wake: Option<(u64, gst::SingleShotClockId)>,
    outbox: VecDeque<gst::Message>,
    posting: bool,
    /// The stream as far as it is out.
    size: (u32, u32),
    segment: Option<gst::Segment>,
    /// Wall clock time of the first of the frames without analysis that are out.
    off_since: Option<u64>,
}

/// See the module's description.
pub struct Core {
    pub state: Mutex<State>,
    /// There is something for the chain, or its thread is to end.
    pub feed: Condvar,
    /// Something may be able to leave.
    out: Condvar,
    /// There may be room for a frame.
    room: Condvar,
    /// A start has come to its end.
    pub started: Condvar,
    pub counters: Counters,
    clock: Mutex<Option<gst::Clock>>,
    /// What this watchdog's marks on buffers are called.
    pub id: String,
    pub element: glib::WeakRef<super::Watchdog>,
    pub sink: gst::Pad,
    pub src: gst::Pad,
}

impl Core {
    pub fn new(element: &super::Watchdog, sink: gst::Pad, src: gst::Pad) -> Self {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        Self {
            state: Mutex::new(State { stopped: true, ..State::default() }),
            feed: Condvar::new(),
            out: Condvar::new(),
            room: Condvar::new(),
            started: Condvar::new(),
            counters: Counters::default(),
            clock: Mutex::default(),
            id: format!("watchdog-{}", COUNT.fetch_add(1, Ordering::Relaxed)),
            element: element.downgrade(),
            sink,
            src,
        }
    }

    pub fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    fn wait<'a>(on: &Condvar, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        on.wait(state).unwrap_or_else(PoisonError::into_inner)
    }

    fn current_clock(&self) -> gst::Clock {
        // Before PLAYING there may be no clock yet.
        lock(&self.clock).clone().unwrap_or_else(gst::SystemClock::obtain)
    }

    /// The element clock, nanoseconds.
    pub fn now(&self) -> u64 {
        self.current_clock().time().nseconds()
    }

    /// Counts by another clock from now on.
    pub fn set_clock(&self, clock: Option<gst::Clock>) {
        let old = self.now();
        *lock(&self.clock) = clock;
        let new = self.now();
        let mut state = self.lock();
        state.line.rebase(old, new);
        state.waiting_due = state.waiting_due.map(|due| new.saturating_add(due.saturating_sub(old)));
        let wake = state.wake.take();
        state.policy.poll(new);
        self.arm(&mut state);
        self.settle(state);
        if let Some((_, id)) = wake {
            id.unschedule();
        }
    }

    /// Makes sure that the task looks again when the next time is over.
    fn arm(&self, state: &mut State) {
        let times = [state.line.next_due(), state.policy.next_wake(), state.waiting_due];
        let Some(earliest) = times.into_iter().flatten().min() else { return };
        if state.stopped || state.wake.as_ref().is_some_and(|(at, _)| *at <= earliest) {
            return;
        }
        let id = self.current_clock().new_single_shot_id(gst::ClockTime::from_nseconds(earliest));
        let element = self.element.clone();
        let armed = id.wait_async(move |_, _, _| {
            if let Some(element) = element.upgrade() {
                element.core().time_is_over(earliest);
            }
        });
        if let Err(error) = armed {
            gst::warning!(CAT, "the clock wakes nobody: {error:?}");
        }
        if let Some((_, later)) = state.wake.replace((earliest, id)) {
            later.unschedule();
        }
    }

    fn time_is_over(&self, at: u64) {
        let mut state = self.lock();
        if state.wake.as_ref().is_some_and(|(armed, _)| *armed == at) {
            state.wake = None;
        }
        drop(state);
        self.out.notify_all();
        self.room.notify_all();
    }

    /// Does what the policy asks for, tells what it has to tell, and lets go of the lock.
    pub fn settle(&self, mut state: MutexGuard<'_, State>) {
        let now = self.now();
        let (mut gone, mut new, mut dropped) = (Vec::new(), Vec::new(), Vec::new());
        loop {
            let actions = state.policy.take_actions();
            if actions.is_empty() {
                break;
            }
            for action in actions {
                match action {
                    Action::Abandon => {
                        dropped.extend(state.feed.drain(..));
                        state.line.release();
                        if let Some(branch) = state.branch.take() {
                            state.hung += 1;
                            branch.count_as_hung();
                            gone.push(branch);
                        }
                    }
                    Action::Build => {
                        state.generations += 1;
                        let (branch, commands) = Branch::new(state.generations);
                        let branch = Arc::new(branch);
                        state.branch = Some(Arc::clone(&branch));
                        new.push((branch, commands));
                    }
                }
            }
            let hung = state.hung;
            state.policy.hung_changed(now, hung);
        }
        let changes = state.policy.take_changes();
        let still = changes.is_empty() && gone.is_empty() && new.is_empty();
        self.arm(&mut state);
        if still {
            return;
        }
        let element = self.element.upgrade();
        for change in changes {
            if let Some(element) = &element {
                let hung = state.hung;
                state.outbox.extend(message::of_change(element, &change, hung));
            }
        }
        drop(state);
        drop(dropped);
        self.wake_all();
        let Some(element) = element else { return };
        for branch in gone {
            branch.let_go(&element);
        }
        for (branch, commands) in new {
            branch::start(&element, branch, commands);
        }
        self.post(&element);
    }

    fn wake_all(&self) {
        for cond in [&self.feed, &self.out, &self.room, &self.started] {
            cond.notify_all();
        }
    }

    fn post(&self, element: &super::Watchdog) {
        let mut state = self.lock();
        if std::mem::replace(&mut state.posting, true) {
            return;
        }
        while let Some(message) = state.outbox.pop_front() {
            drop(state);
            let _ = element.post_message(message);
            element.notify("mode");
            state = self.lock();
        }
        state.posting = false;
    }

    /// Queues a message behind those that are on their way.
    pub fn tell(&self, message: gst::Message) {
        self.lock().outbox.push_back(message);
        if let Some(element) = self.element.upgrade() {
            self.post(&element);
        }
    }

    /// Takes over new settings.
    pub fn set_settings(&self, settings: Settings, deadline_ns: u64) {
        let now = self.now();
        let mut state = self.lock();
        state.policy.set_settings(now, settings);
        state.deadline_ns = deadline_ns;
        self.settle(state);
    }

    /// Calls the policy with the time, and does what it says.
    pub fn decide(&self, what: impl FnOnce(&mut Policy, u64)) {
        let now = self.now();
        let mut state = self.lock();
        what(&mut state.policy, now);
        self.settle(state);
    }

    /// The chain of this generation failed.
    pub fn failed(&self, generation: u64, cause: Cause, detail: impl Into<String>) {
        let (now, detail) = (self.now(), detail.into());
        let mut state = self.lock();
        if state.is_current(generation) {
            gst::info!(CAT, "chain {generation} failed, {}: {detail}", cause.as_str());
            state.policy.failed(now, cause, detail);
            self.settle(state);
        }
    }

    /// A frame comes in; returns when there is room for the next one.
    pub fn enter(&self, mut buffer: gst::Buffer) -> Result<gst::FlowSuccess, gst::FlowError> {
        let called = self.now();
        let pts = buffer.pts().map(gst::ClockTime::nseconds);
        let mut state = self.lock();
        let due = called.saturating_add(state.deadline_ns);
        loop {
            if state.flushing || state.stopped {
                state.waiting_due = None;
                return Err(gst::FlowError::Flushing);
            }
            if let Some(error) = state.flow {
                state.waiting_due = None;
                return Err(error);
            }
            let full = state.line.ready() >= MOST_READY || state.line.len() >= MOST_IN_LINE;
            let in_time = state.policy.mode() == Mode::Analysing && self.now() < due;
            if !full && !(in_time && state.has_fed_frame()) {
                break;
            }
            if in_time {
                state.waiting_due = Some(due);
                self.arm(&mut state);
            }
            state = Self::wait(&self.room, state);
        }
        state.waiting_due = None;
        self.counters.entered();
        let feeding = state.policy.feeding() && !state.has_fed_frame();
        if state.policy.mode() == Mode::Analysing {
            let kept = frames::keep(&buffer);
            // Past its time already if the chain had no room for it: the task will count it as late.
            let number = state.line.enter(kept, pts, called, due);
            if feeding {
                frames::mark(buffer.make_mut(), &self.id, number);
                state.feed.push_back(Feed::Frame(number, buffer));
            }
        } else if feeding {
            let number = state.line.bypass(frames::keep(&buffer), pts, called, Why::Bypassed);
            state.line.prove(number, pts, called, due);
            frames::mark(buffer.make_mut(), &self.id, number);
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
        let now = self.now();
        let number = frames::number(&buffer, &self.id);
        let pts = buffer.pts().map(gst::ClockTime::nseconds);
        let failed =
            meta::get(&buffer).is_some_and(|r| matches!(r.freshness, Freshness::Absent(AbsentReason::EngineError)));
        let mut given = Some(buffer);
        let mut state = self.lock();
        if !state.is_current(generation) || state.flushing || state.stopped {
            drop(state);
            return Err(gst::FlowError::Flushing);
        }
        let arrival = state.line.arrive(number, pts, now, |original| {
            given.take().map_or_else(gst::Buffer::new, |buffer| frames::finish(buffer, original, &self.id))
        });
        match arrival {
            Arrival::InTime { took_ns } | Arrival::Proof { took_ns } => {
                self.counters.chain_time(took_ns);
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
            loop {
                if state.stopped || state.flushing || state.flow.is_some() {
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
                match event.view() {
                    gst::EventView::Caps(caps) => state.size = size(caps.caps()),
                    gst::EventView::Segment(segment) => state.segment = Some(segment.segment().clone()),
                    _ => {}
                }
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
                        let utc = time::utc_now_ns();
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
                self.src.push(frame.payload)
            }
        };
        if let Err(error) = flow {
            gst::debug!(CAT, obj = self.src, "downstream said {error:?}");
            self.lock().flow = Some(error);
            self.room.notify_all();
        }
    }

    /// Waits until everything that came in is out, or a flush.
    pub fn drain(&self) {
        let mut state = self.lock();
        while !state.line.is_empty() && !state.flushing && !state.stopped && state.flow.is_none() {
            state = Self::wait(&self.room, state);
        }
    }

    /// Drops everything in line; nothing is taken until [`Core::resume`] or a start.
    pub fn close(&self, how: impl FnOnce(&mut State)) {
        let mut state = self.lock();
        how(&mut state);
        let dropped = (state.line.flush(), state.feed.drain(..).collect::<Vec<_>>());
        state.waiting_due = None;
        drop(state);
        drop(dropped);
        self.wake_all();
    }

    /// Takes frames again after a flush.
    pub fn resume(&self) {
        let mut state = self.lock();
        state.flushing = false;
        state.flow = None;
        state.off_since = None;
    }

    /// Stops the timer.
    pub fn disarm(&self) {
        let wake = self.lock().wake.take();
        if let Some((_, id)) = wake {
            id.unschedule();
        }
    }

    /// A chain was left to itself at the stop.
    pub fn left_hanging(&self) {
        self.lock().hung += 1;
    }

    /// A chain that was let go of is gone.
    pub fn gone(&self) {
        let now = self.now();
        let mut state = self.lock();
        state.hung = state.hung.saturating_sub(1);
        let hung = state.hung;
        state.policy.hung_changed(now, hung);
        self.settle(state);
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
    /// Whether the chain of this generation is in charge.
    pub fn is_current(&self, generation: u64) -> bool {
        self.branch.as_ref().is_some_and(|b| b.generation == generation)
    }

    fn has_fed_frame(&self) -> bool {
        self.feed.iter().any(|f| matches!(f, Feed::Frame(..)))
    }
}

/// Width and height of raw video caps.
fn size(caps: &gst::CapsRef) -> (u32, u32) {
    let side = |name| caps.structure(0).and_then(|s| s.get::<i32>(name).ok()).and_then(|n| u32::try_from(n).ok());
    (side("width").unwrap_or(0), side("height").unwrap_or(0))
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
