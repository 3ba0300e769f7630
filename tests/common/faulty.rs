//! `vigilfaulty`: an element that does nothing but what a test tells it to do wrong.
//!
//! It passes frames on as an element that draws would: in place, with the first byte inverted, so that a test can tell a
//! frame that went through it from one that did not. Frames are numbered in their offset. What it does wrong is in a
//! [`Control`], found by the name in its property `control`, so that every instance that is built from the same launch line, and
//! every clone of one, is told the same.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use glib::subclass::prelude::*;
use gst::prelude::*;
use gst::subclass::prelude::*;

/// Far longer than anything here takes; what is waited for longer has not happened.
pub const GUARD: Duration = Duration::from_secs(60);

/// Something that an element does wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The frame is late by this much of the element's clock; a flush and going down to READY cut it short, as with `identity`.
    Sleep(gst::ClockTime),
    /// The frame never comes back, whatever happens to the element.
    Hang,
    Panic,
    /// Two threads wait for each other's locks, and whoever else calls the element waits as well.
    Deadlock,
    /// The frame hangs while another thread holds the element's own lock, which even asking for its name takes.
    LockedObject,
    /// An ERROR is posted, and the frame goes on.
    ErrorMessage,
    /// The frame is refused.
    Flow(gst::FlowError),
    Swallow,
    Duplicate,
    /// The frame leaves after the next one.
    Swap,
    /// The frame's time is a second too late.
    ShiftTime,
    ClearTime,
    /// The frame's time is that of the stream's start.
    ConstantTime,
    /// A new frame with a copy of the pixels leaves: no meta, no flag, no offset.
    Rebuild,
    /// The same, twice for one frame.
    RebuildTwice,
    /// The element ends the stream by itself.
    Eos,
    /// The element changes the caps behind it by itself.
    ChangeCaps,
    /// A serialised event does not come out.
    SwallowEvent,
    RefuseCaps,
    /// The element does not go to READY.
    RefuseReady,
    /// The element does not go to PAUSED.
    RefusePaused,
    /// Going to PAUSED never ends.
    HangStarting,
    /// Going down to READY never ends.
    HangStopping,
    /// FLUSH_START never comes back.
    HangFlush,
}

/// Where in the element a fault happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Point {
    Frame,
    Event,
    Caps,
    Flush,
    ToReady,
    ToPaused,
    FromPaused,
}

impl Fault {
    fn point(self) -> Point {
        match self {
            Self::SwallowEvent => Point::Event,
            Self::RefuseCaps => Point::Caps,
            Self::RefuseReady => Point::ToReady,
            Self::RefusePaused | Self::HangStarting => Point::ToPaused,
            Self::HangStopping => Point::FromPaused,
            Self::HangFlush => Point::Flush,
            _ => Point::Frame,
        }
    }
}

#[derive(Debug, Clone, Copy)]
struct Armed {
    fault: Fault,
    /// The first frame that it may hit.
    from: u64,
    /// How often it still happens; `None` for always.
    times: Option<u32>,
}

#[derive(Default)]
struct State {
    armed: Vec<Armed>,
    hits: u64,
    hanging: usize,
    waiting: usize,
    /// Who hangs in an earlier round goes on.
    round: u64,
    /// Locks that are held, by instance and number.
    locks: HashSet<(usize, u8)>,
}

/// What every `vigilfaulty` with one name does wrong.
pub struct Control {
    name: String,
    state: Mutex<State>,
    changed: Condvar,
    instances: AtomicUsize,
}

static CONTROLS: LazyLock<Mutex<HashMap<String, Arc<Control>>>> = LazyLock::new(Mutex::default);

impl Control {
    /// A new one with a name of its own; nothing goes wrong yet.
    pub fn new() -> Arc<Self> {
        register();
        let mut all = CONTROLS.lock().unwrap_or_else(PoisonError::into_inner);
        let control = Arc::new(Self {
            name: format!("control-{}", all.len()),
            state: Mutex::default(),
            changed: Condvar::new(),
            instances: AtomicUsize::new(0),
        });
        all.insert(control.name.clone(), Arc::clone(&control));
        control
    }

    fn find(name: &str) -> Option<Arc<Self>> {
        CONTROLS.lock().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    /// A launch line of one element that this controls.
    pub fn line(&self) -> String {
        format!("vigilfaulty control={}", self.name)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `fault` happens from frame `from` on, `times` or always.
    pub fn inject(&self, fault: Fault, from: u64, times: Option<u32>) {
        self.state().armed.push(Armed { fault, from, times });
    }

    /// Nothing goes wrong any more; what hangs goes on hanging.
    pub fn clear(&self) {
        self.state().armed.clear();
    }

    /// What hangs comes back.
    pub fn release(&self) {
        self.state().round += 1;
        self.changed.notify_all();
    }

    /// Faults that have happened.
    pub fn hits(&self) -> u64 {
        self.state().hits
    }

    /// Threads that hang now.
    pub fn hanging(&self) -> usize {
        self.state().hanging
    }

    /// Threads that wait for a lock now, the two of a deadlock among them.
    pub fn waiting(&self) -> usize {
        self.state().waiting
    }

    /// Elements that are controlled by this and still exist.
    pub fn instances(&self) -> usize {
        self.instances.load(Ordering::SeqCst)
    }

    /// Waits until this many faults have happened.
    #[track_caller]
    pub fn wait_for_hits(&self, hits: u64) {
        let end = Instant::now() + GUARD;
        let mut state = self.state();
        while state.hits < hits {
            let left = end.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "{} faults have happened, not {hits}", state.hits);
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// What goes wrong now, if anything does.
    fn strike(&self, point: Point, frame: u64) -> Option<Fault> {
        let mut state = self.state();
        let hit = |armed: &Armed| armed.fault.point() == point && armed.from <= frame && armed.times != Some(0);
        let at = state.armed.iter().position(hit)?;
        let armed = &mut state.armed[at];
        armed.times = armed.times.map(|left| left - 1);
        let fault = armed.fault;
        state.hits += 1;
        drop(state);
        self.changed.notify_all();
        Some(fault)
    }

    /// Releases so far: what more than one thread takes part in hangs until the next one after this, however late they come.
    fn round(&self) -> u64 {
        self.state().round
    }

    /// Waits for the next [`Control::release`].
    fn hang(&self) {
        self.hang_since(self.round());
    }

    /// Waits for the first [`Control::release`] after `round`.
    fn hang_since(&self, round: u64) {
        let mut state = self.state();
        state.hanging += 1;
        while state.round == round {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.hanging -= 1;
        drop(state);
        self.changed.notify_all();
    }

    /// Takes a lock of an instance, which the first [`Control::release`] after `round` lets everybody have.
    fn lock(&self, instance: usize, number: u8, round: u64) {
        let mut state = self.state();
        state.waiting += 1;
        while state.locks.contains(&(instance, number)) && state.round == round {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.waiting -= 1;
        state.locks.insert((instance, number));
        drop(state);
        self.changed.notify_all();
    }

    fn unlock(&self, instance: usize, number: u8) {
        self.state().locks.remove(&(instance, number));
        self.changed.notify_all();
    }

    /// Two threads that wait for each other: this one has lock 0 and wants 1, the other the other way round.
    fn deadlock(self: &Arc<Self>, instance: usize) {
        let round = self.round();
        self.lock(instance, 0, round);
        let other = Arc::clone(self);
        let thread = std::thread::spawn(move || {
            other.lock(instance, 1, round);
            other.lock(instance, 0, round);
            other.unlock(instance, 1);
        });
        let mut state = self.state();
        while !state.locks.contains(&(instance, 1)) {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.hanging += 1;
        drop(state);
        self.lock(instance, 1, round);
        let _ = thread.join();
        self.state().hanging -= 1;
        self.unlock(instance, 1);
        self.unlock(instance, 0);
    }
}

/// Makes `vigilfaulty` known.
pub fn register() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        crate::common::init();
        gst::Element::register(None, "vigilfaulty", gst::Rank::NONE, Faulty::static_type()).unwrap();
    });
}

glib::wrapper! {
    pub struct Faulty(ObjectSubclass<imp::Faulty>) @extends gst::Element, gst::Object;
}

#[path = "faulty_element.rs"]
mod imp;
