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
//! Locks: `state` is held for bookkeeping only, never over a push, a message, a state change or the end of a buffer; `clock` and
//! the element's `settings` may be taken under it. Messages are posted in order by whoever finds nobody posting.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use gst::glib;
use gst::prelude::*;

use super::CAT;
use super::branch::{self, Branch};
use super::frames::Marker;
use super::message;
use super::sticky::Sticky;
use crate::gstutil::lock;
use crate::watchdog::{Action, Cause, Counters, Line, Policy, Settings};

/// Longest time that the clock is asked to wait for, nanoseconds: an hour.
const LONGEST_WAIT: u64 = 3_600_000_000_000;

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
    /// What describes the stream and was in line when a flush came: it goes on the pad when the flush is over.
    pub carried: Vec<gst::Event>,
    pub deadline_ns: u64,
    pub flushing: bool,
    pub stopped: bool,
    pub playing: bool,
    /// Upstream is live: it waits for nobody.
    pub live: bool,
    /// The task has taken something out of the line, which may not be out yet.
    pub pushing: bool,
    /// What downstream last said to a frame.
    pub flow: Option<gst::FlowError>,
    /// What the chain can take, as far as it has said.
    pub chain_caps: Option<gst::Caps>,
    /// Chains that were let go of and are not gone.
    pub hung: u32,
    /// Why there cannot be a chain.
    pub unusable: Option<String>,
    /// When a frame that waits for room in the chain leaves untouched.
    pub waiting_due: Option<u64>,
    /// When the last frame had to leave, and its PTS, if a frame has waited in vain for room and its source is behind since.
    pub held_up: Option<(u64, u64)>,
    wake: Option<(u64, gst::SingleShotClockId)>,
    outbox: VecDeque<gst::Message>,
    posting: bool,
    /// The stream as far as it is out.
    pub size: (u32, u32),
    pub segment: Option<gst::Segment>,
    /// Wall clock time of the first of the frames without analysis that are out.
    pub off_since: Option<u64>,
}

/// See the module's description.
pub struct Core {
    pub state: Mutex<State>,
    /// There is something for the chain, or its thread is to end.
    pub feed: Condvar,
    /// Something may be able to leave.
    pub out: Condvar,
    /// There may be room for a frame.
    pub room: Condvar,
    /// A start has come to its end.
    pub started: Condvar,
    /// Held while the source pad's task is brought to rest or started, but for a deactivation.
    pub task: Mutex<()>,
    pub counters: Counters,
    clock: Mutex<Option<gst::Clock>>,
    pub marker: Marker,
    pub element: glib::WeakRef<super::Watchdog>,
    pub sink: gst::Pad,
    pub src: gst::Pad,
}

impl Core {
    /// The element is set once there is one.
    pub fn new(sink: gst::Pad, src: gst::Pad) -> Self {
        Self {
            state: Mutex::new(State { stopped: true, ..State::default() }),
            feed: Condvar::new(),
            out: Condvar::new(),
            room: Condvar::new(),
            started: Condvar::new(),
            task: Mutex::default(),
            counters: Counters::default(),
            clock: Mutex::default(),
            marker: Marker::default(),
            element: glib::WeakRef::new(),
            sink,
            src,
        }
    }

    pub fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    pub fn wait<'a>(on: &Condvar, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        on.wait(state).unwrap_or_else(PoisonError::into_inner)
    }

    fn current_clock(&self) -> gst::Clock {
        // Before PLAYING there may be no clock yet.
        lock(&self.clock).clone().unwrap_or_else(gst::SystemClock::obtain)
    }

    /// The element clock, nanoseconds. What is compared with times in the state is read under its lock: the clock may change.
    pub fn now(&self) -> u64 {
        self.current_clock().time().nseconds()
    }

    /// Counts by another clock from now on.
    pub fn set_clock(&self, clock: Option<gst::Clock>) {
        // Under the lock, as all readings are that are compared with what is in there.
        let mut state = self.lock();
        let old = self.now();
        // The end of a clock may take its time.
        let before = std::mem::replace(&mut *lock(&self.clock), clock);
        let new = self.now();
        state.line.rebase(old, new);
        let moved = |due: u64| new.saturating_add(due.saturating_sub(old));
        state.waiting_due = state.waiting_due.map(moved);
        state.held_up = state.held_up.map(|(due, pts)| (moved(due), pts));
        let wake = state.wake.take();
        state.policy.rebase(old, new);
        state.policy.poll(new);
        self.arm(&mut state);
        self.settle(state);
        if let Some((_, id)) = wake {
            id.unschedule();
        }
        drop(before);
    }

    /// Makes sure that the task looks again when the next time is over.
    pub fn arm(&self, state: &mut State) {
        let times = [state.line.next_due(), state.policy.next_wake(), state.waiting_due];
        let Some(mut earliest) = times.into_iter().flatten().min() else { return };
        // A time beyond all times never comes. One in centuries does not either, but GStreamer's system clock would wait for
        // it in a loop, with its lock taken: the task looks again in between.
        if earliest < u64::MAX && earliest > self.now().saturating_add(LONGEST_WAIT) {
            earliest = self.now().saturating_add(LONGEST_WAIT);
        }
        if earliest == u64::MAX || state.stopped || state.wake.as_ref().is_some_and(|(at, _)| *at <= earliest) {
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
                            state.hung += u32::from(branch.count_as_hung());
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
            let change = message.type_() == gst::MessageType::Element;
            let _ = element.post_message(message);
            if change {
                element.notify("mode");
            }
            state = self.lock();
        }
        state.posting = false;
    }

    /// Takes over new settings: those of the policy, the deadline and `force-bypass`.
    pub fn set_settings(&self, read: impl FnOnce() -> (Settings, u64, bool)) {
        let mut state = self.lock();
        let now = self.now();
        // Read under the lock: with two that change settings at a time, the last one here has what both have set.
        let (settings, deadline_ns, forced) = read();
        state.deadline_ns = deadline_ns;
        state.policy.set_settings(now, settings);
        state.policy.force(now, forced);
        self.settle(state);
    }

    /// Calls the policy with the time, and does what it says.
    pub fn decide(&self, what: impl FnOnce(&mut Policy, u64)) {
        let mut state = self.lock();
        let now = self.now();
        what(&mut state.policy, now);
        self.settle(state);
    }

    /// The chain of this generation failed.
    pub fn failed(&self, generation: u64, cause: Cause, detail: impl Into<String>) {
        let detail = detail.into();
        let mut state = self.lock();
        let now = self.now();
        if state.is_current(generation) {
            gst::info!(CAT, "chain {generation} failed, {}: {detail}", cause.as_str());
            state.policy.failed(now, cause, detail);
            self.settle(state);
        }
    }

    /// Waits until everything that came in is out, or a flush.
    pub fn drain(&self) {
        let mut state = self.lock();
        while (!state.line.is_empty() || state.pushing) && !state.flushing && !state.stopped {
            state = Self::wait(&self.room, state);
        }
    }

    /// Drops everything in line; nothing is taken until [`Core::resume`] or a start.
    pub fn close(&self, how: impl FnOnce(&mut State)) {
        let mut state = self.lock();
        how(&mut state);
        let (events, frames) = state.line.flush();
        let fed: Vec<_> = state.feed.drain(..).collect();
        // What describes the stream is true after the flush as well, and nobody will send it again.
        let lasts = |event: &gst::Event| {
            event.is_sticky() && !matches!(event.type_(), gst::EventType::Segment | gst::EventType::Eos)
        };
        let (kept, dropped): (Vec<_>, Vec<_>) =
            fed.into_iter().partition(|feed| matches!(feed, Feed::Event(event) if lasts(event)));
        state.feed.extend(kept);
        for event in events.iter().filter(|event| lasts(event)) {
            state.note(event);
        }
        // Not yet on the pad: a frame that is being pushed right now would take them with it, before their place.
        let lasting = events.iter().filter(|event| lasts(event)).cloned();
        state.carried.extend(lasting);
        (state.waiting_due, state.held_up) = (None, None);
        drop(state);
        drop((frames, dropped));
        self.wake_all();
    }

    /// Takes frames again after a flush.
    pub fn resume(&self) {
        let carried = std::mem::take(&mut self.lock().carried);
        for event in &carried {
            let _ = self.src.store_sticky_event(event);
        }
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

    /// A chain is left to itself at the stop.
    pub fn leave_hanging(&self, branch: &Branch) {
        let mut state = self.lock();
        state.hung += u32::from(branch.count_as_hung());
    }

    /// A chain that was let go of is gone.
    pub fn gone(&self) {
        let mut state = self.lock();
        let now = self.now();
        state.hung = state.hung.saturating_sub(1);
        let hung = state.hung;
        state.policy.hung_changed(now, hung);
        self.settle(state);
    }
}

impl State {
    /// Notes what an event that leaves says about the frames behind it.
    pub fn note(&mut self, event: &gst::Event) {
        match event.view() {
            gst::EventView::Caps(caps) => self.size = size(caps.caps()),
            gst::EventView::Segment(segment) => self.segment = Some(segment.segment().clone()),
            _ => {}
        }
    }

    /// When a frame that comes in now leaves at the latest. A source that was held up in vain hands over late what it made
    /// meanwhile; these frames leave a deadline after their own time, not after they got in.
    pub fn due(&self, now: u64, pts: Option<u64>) -> u64 {
        let due = now.saturating_add(self.deadline_ns);
        match (self.held_up, pts) {
            (Some((before, its_pts)), Some(pts)) => due.min(before.saturating_add(pts.saturating_sub(its_pts))),
            _ => due,
        }
    }

    /// Whether the chain of this generation is in charge.
    pub fn is_current(&self, generation: u64) -> bool {
        self.branch.as_ref().is_some_and(|b| b.generation == generation)
    }

    pub fn has_fed_frame(&self) -> bool {
        self.feed.iter().any(|f| matches!(f, Feed::Frame(..)))
    }
}

/// Width and height of raw video caps.
fn size(caps: &gst::CapsRef) -> (u32, u32) {
    let side = |name| caps.structure(0).and_then(|s| s.get::<i32>(name).ok()).and_then(|n| u32::try_from(n).ok());
    (side("width").unwrap_or(0), side("height").unwrap_or(0))
}
