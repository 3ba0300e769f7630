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

    /// Waits for the next [`Control::release`].
    fn hang(&self) {
        let mut state = self.state();
        let round = state.round;
        state.hanging += 1;
        while state.round == round {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.hanging -= 1;
        drop(state);
        self.changed.notify_all();
    }

    /// Takes a lock of an instance, which the next [`Control::release`] lets everybody have.
    fn lock(&self, instance: usize, number: u8) {
        let mut state = self.state();
        let round = state.round;
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
        self.lock(instance, 0);
        let other = Arc::clone(self);
        let thread = std::thread::spawn(move || {
            other.lock(instance, 1);
            other.lock(instance, 0);
            other.unlock(instance, 1);
        });
        let mut state = self.state();
        while !state.locks.contains(&(instance, 1)) {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.hanging += 1;
        drop(state);
        self.lock(instance, 1);
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

mod imp {
    use super::*;

    /// What an instance knows about its stream.
    #[derive(Default)]
    struct Stream {
        /// The frame that waits to be overtaken.
        held: Option<gst::Buffer>,
        /// Caps were refused, so are frames.
        refused: bool,
        sleep: Option<gst::SingleShotClockId>,
        /// Nobody may go to sleep.
        stopped: bool,
        flushing: bool,
    }

    pub struct Faulty {
        sink: gst::Pad,
        src: gst::Pad,
        control: Mutex<Option<Arc<Control>>>,
        stream: Mutex<Stream>,
        number: usize,
    }

    impl Drop for Faulty {
        fn drop(&mut self) {
            if let Some(control) = self.control() {
                control.instances.fetch_sub(1, Ordering::SeqCst);
            }
        }
    }

    impl Faulty {
        fn control(&self) -> Option<Arc<Control>> {
            self.control.lock().unwrap_or_else(PoisonError::into_inner).clone()
        }

        fn stream(&self) -> MutexGuard<'_, Stream> {
            self.stream.lock().unwrap_or_else(PoisonError::into_inner)
        }

        fn strike(&self, point: Point, frame: u64) -> Option<Fault> {
            self.control()?.strike(point, frame)
        }

        /// What everybody does who calls an element that has a lock: takes it, for a moment.
        fn touch(&self) {
            if let Some(control) = self.control() {
                control.lock(self.number, 0);
                control.unlock(self.number, 0);
            }
        }

        fn chain(&self, buffer: gst::Buffer) -> Result<gst::FlowSuccess, gst::FlowError> {
            self.touch();
            if self.stream().refused {
                return Err(gst::FlowError::NotNegotiated);
            }
            match self.strike(Point::Frame, buffer.offset()) {
                None => self.pass(buffer),
                Some(fault) => self.fail(fault, buffer),
            }
        }

        /// The frame as it leaves where nothing is wrong.
        fn work(mut buffer: gst::Buffer) -> gst::Buffer {
            let mut map = buffer.make_mut().map_writable().unwrap();
            map[0] = !map[0];
            drop(map);
            buffer
        }

        fn rebuild(buffer: &gst::Buffer) -> gst::Buffer {
            let pixels = buffer.map_readable().unwrap().to_vec();
            let mut new = gst::Buffer::from_mut_slice(pixels);
            let fields = new.get_mut().unwrap();
            fields.set_pts(buffer.pts());
            fields.set_duration(buffer.duration());
            new
        }

        fn pass(&self, buffer: gst::Buffer) -> Result<gst::FlowSuccess, gst::FlowError> {
            let held = self.stream().held.take();
            let answer = self.src.push(Self::work(buffer));
            held.map_or(answer, |held| self.src.push(held))
        }

        fn fail(&self, fault: Fault, mut buffer: gst::Buffer) -> Result<gst::FlowSuccess, gst::FlowError> {
            let control = self.control().unwrap();
            match fault {
                Fault::Sleep(time) => self.sleep(time),
                Fault::Hang => control.hang(),
                Fault::Panic => panic!("a panic that a test asked for"),
                Fault::Deadlock => control.deadlock(self.number),
                Fault::LockedObject => self.hang_locked(&control),
                Fault::ErrorMessage => gst::element_imp_error!(self, gst::StreamError::Failed, ["asked for by a test"]),
                Fault::Flow(error) => return Err(error),
                Fault::Swallow => return Ok(gst::FlowSuccess::Ok),
                Fault::Duplicate => {
                    self.pass(buffer.clone())?;
                }
                Fault::Swap => {
                    self.stream().held = Some(Self::work(buffer));
                    return Ok(gst::FlowSuccess::Ok);
                }
                Fault::ShiftTime => {
                    let time = buffer.pts().map(|time| time + gst::ClockTime::SECOND);
                    buffer.make_mut().set_pts(time);
                }
                Fault::ClearTime => buffer.make_mut().set_pts(gst::ClockTime::NONE),
                Fault::ConstantTime => buffer.make_mut().set_pts(gst::ClockTime::ZERO),
                Fault::Rebuild => buffer = Self::rebuild(&buffer),
                Fault::RebuildTwice => {
                    buffer = Self::rebuild(&buffer);
                    self.pass(Self::rebuild(&buffer))?;
                }
                Fault::Eos => {
                    self.src.push_event(gst::event::Eos::new());
                }
                Fault::ChangeCaps => {
                    let mut caps = self.src.current_caps().unwrap();
                    let width: i32 = caps.structure(0).unwrap().get("width").unwrap();
                    caps.make_mut().set("width", width + 1);
                    self.src.push_event(gst::event::Caps::new(&caps));
                }
                _ => unreachable!("no fault of a frame: {fault:?}"),
            }
            self.pass(buffer)
        }

        fn sleep(&self, time: gst::ClockTime) {
            // It comes with PLAYING.
            let clock = loop {
                match self.obj().clock() {
                    Some(clock) => break clock,
                    None if self.stream().stopped => return,
                    None => std::thread::park_timeout(Duration::from_millis(1)),
                }
            };
            let id = clock.new_single_shot_id(clock.time() + time);
            let mut stream = self.stream();
            if stream.stopped || stream.flushing {
                return;
            }
            stream.sleep = Some(id.clone());
            drop(stream);
            let _ = id.wait();
        }

        fn hang_locked(&self, control: &Arc<Control>) {
            let (element, for_thread) = (self.obj().clone(), Arc::clone(control));
            let thread = std::thread::spawn(move || {
                let locked = element.object_lock();
                for_thread.hang();
                drop(locked);
            });
            control.hang();
            let _ = thread.join();
        }

        fn wake(&self) {
            if let Some(sleep) = self.stream().sleep.take() {
                sleep.unschedule();
            }
        }

        fn sink_event(&self, event: gst::Event) -> bool {
            match event.type_() {
                gst::EventType::FlushStart => {
                    if self.strike(Point::Flush, u64::MAX).is_some() {
                        self.control().unwrap().hang();
                    }
                    self.stream().flushing = true;
                    self.wake();
                    return gst::Pad::event_default(&self.sink, Some(&*self.obj()), event);
                }
                gst::EventType::FlushStop => {
                    let mut stream = self.stream();
                    (stream.held, stream.flushing) = (None, false);
                }
                gst::EventType::Caps => {
                    let refused = self.strike(Point::Caps, u64::MAX).is_some();
                    self.stream().refused = refused;
                    if refused {
                        return false;
                    }
                }
                _ => {}
            }
            self.touch();
            let setup = matches!(event.type_(), gst::EventType::StreamStart | gst::EventType::Segment);
            if event.is_serialized() && !setup && self.strike(Point::Event, u64::MAX).is_some() {
                return true;
            }
            let held = if event.type_() == gst::EventType::Eos { self.stream().held.take() } else { None };
            if let Some(held) = held {
                let _ = self.src.push(held);
            }
            gst::Pad::event_default(&self.sink, Some(&*self.obj()), event)
        }

        fn query(&self, pad: &gst::Pad, query: &mut gst::QueryRef) -> bool {
            self.touch();
            gst::Pad::query_default(pad, Some(&*self.obj()), query)
        }
    }

    #[glib::object_subclass]
    impl ObjectSubclass for Faulty {
        const NAME: &'static str = "VigilTestFaulty";
        type Type = super::Faulty;
        type ParentType = gst::Element;

        fn with_class(class: &Self::Class) -> Self {
            static INSTANCES: AtomicUsize = AtomicUsize::new(0);
            let refuse = || Err(gst::FlowError::Error);
            let flags = gst::PadFlags::PROXY_CAPS | gst::PadFlags::PROXY_ALLOCATION;
            let sink = gst::Pad::builder_from_template(&class.pad_template("sink").unwrap())
                .flags(flags)
                .chain_function(move |_, parent, buffer| {
                    Self::catch_panic_pad_function(parent, refuse, |faulty| faulty.chain(buffer))
                })
                .event_function(|_, parent, event| {
                    Self::catch_panic_pad_function(parent, || false, |faulty| faulty.sink_event(event))
                })
                .query_function(|pad, parent, query| {
                    Self::catch_panic_pad_function(parent, || false, |faulty| faulty.query(pad, query))
                })
                .build();
            let src = gst::Pad::builder_from_template(&class.pad_template("src").unwrap())
                .flags(flags)
                .query_function(|pad, parent, query| {
                    Self::catch_panic_pad_function(parent, || false, |faulty| faulty.query(pad, query))
                })
                .build();
            let number = INSTANCES.fetch_add(1, Ordering::SeqCst);
            Self { sink, src, control: Mutex::default(), stream: Mutex::default(), number }
        }
    }

    impl ObjectImpl for Faulty {
        fn constructed(&self) {
            self.parent_constructed();
            self.obj().add_pad(&self.sink).unwrap();
            self.obj().add_pad(&self.src).unwrap();
        }

        fn properties() -> &'static [glib::ParamSpec] {
            static PROPERTIES: LazyLock<Vec<glib::ParamSpec>> =
                LazyLock::new(|| vec![glib::ParamSpecString::builder("control").build()]);
            &PROPERTIES
        }

        fn set_property(&self, _id: usize, value: &glib::Value, _spec: &glib::ParamSpec) {
            let name: Option<String> = value.get().unwrap();
            let control = name.and_then(|name| Control::find(&name));
            if let Some(control) = &control {
                control.instances.fetch_add(1, Ordering::SeqCst);
            }
            let old = std::mem::replace(&mut *self.control.lock().unwrap_or_else(PoisonError::into_inner), control);
            if let Some(old) = old {
                old.instances.fetch_sub(1, Ordering::SeqCst);
            }
        }

        fn property(&self, _id: usize, _spec: &glib::ParamSpec) -> glib::Value {
            self.control().map(|control| control.name.clone()).to_value()
        }
    }

    impl GstObjectImpl for Faulty {}

    impl ElementImpl for Faulty {
        fn metadata() -> Option<&'static gst::subclass::ElementMetadata> {
            static METADATA: LazyLock<gst::subclass::ElementMetadata> = LazyLock::new(|| {
                gst::subclass::ElementMetadata::new("Faulty", "Filter/Video", "Does what a test asks for", "Tests")
            });
            Some(&METADATA)
        }

        fn pad_templates() -> &'static [gst::PadTemplate] {
            static TEMPLATES: LazyLock<Vec<gst::PadTemplate>> = LazyLock::new(|| {
                let any = gst::Caps::new_any();
                let pad = |name, way| gst::PadTemplate::new(name, way, gst::PadPresence::Always, &any).unwrap();
                vec![pad("sink", gst::PadDirection::Sink), pad("src", gst::PadDirection::Src)]
            });
            &TEMPLATES
        }

        fn change_state(&self, change: gst::StateChange) -> Result<gst::StateChangeSuccess, gst::StateChangeError> {
            self.touch();
            let fault = match change {
                gst::StateChange::NullToReady => self.strike(Point::ToReady, u64::MAX),
                gst::StateChange::ReadyToPaused => self.strike(Point::ToPaused, u64::MAX),
                gst::StateChange::PausedToReady => self.strike(Point::FromPaused, u64::MAX),
                _ => None,
            };
            match fault {
                Some(Fault::RefuseReady | Fault::RefusePaused) => return Err(gst::StateChangeError),
                Some(_) => self.control().unwrap().hang(),
                None => {}
            }
            match change {
                gst::StateChange::ReadyToPaused => *self.stream() = Stream::default(),
                gst::StateChange::PausedToReady => {
                    self.stream().stopped = true;
                    self.wake();
                }
                _ => {}
            }
            self.parent_change_state(change)
        }
    }
}
