//! A watchdog between two pads under a test clock, with what went in and what came out, and the rules that hold for them.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use gst::prelude::*;
use gst_check::TestClock;
use gst_video::VideoFormat;

use crate::common::{caps, init};
use crate::faulty::GUARD;

#[path = "watchdog_traffic.rs"]
mod traffic;

pub use traffic::Frame;
use traffic::{Feed, Item, PERIOD, SIDE, SIZE, Shared, feed, sink, source};

/// One change of mode, as the bus tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    pub from: String,
    pub to: String,
    pub cause: String,
    pub detail: String,
}

/// Where the clock starts, so that nobody takes a time of the clock for a running time.
const START: gst::ClockTime = gst::ClockTime::from_seconds(3600);
/// How long (of the machine's time) the clock stands still for threads to do what they can do now.
const BREATH: Duration = Duration::from_millis(1);

/// How long nothing has to happen for the clock to move on.
const QUIET: Duration = Duration::from_millis(10);

/// A playing watchdog; back in NULL when dropped.
pub struct Rig {
    pub bin: gst::Element,
    pub bus: gst::Bus,
    pub clock: TestClock,
    /// Taken by who works for the clock.
    turn: Arc<Mutex<()>>,
    src: gst::Pad,
    sink: gst::Pad,
    shared: Arc<Shared>,
    feeder: Option<JoinHandle<()>>,
    pump: Option<(JoinHandle<()>, Arc<AtomicBool>)>,
    next: AtomicU64,
    /// Every change of mode so far.
    changes: Mutex<Vec<Change>>,
    /// The texts of ERROR messages.
    errors: Mutex<Vec<String>>,
    /// The chain is one of `vigilfaulty`, whose work can be seen on the pixels.
    marked: bool,
}

/// Lets go of whoever waits for a time that has come: one thread at a time, since the clock calls what is to be called before
/// it crosses it out.
fn let_go(clock: &TestClock, turn: &Mutex<()>) {
    let _turn = turn.lock().unwrap_or_else(PoisonError::into_inner);
    while clock.process_next_clock_id().is_some() {}
}

/// A thread that lets go of whoever waits for a time that has come: GStreamer's test clock does not do it by itself.
fn pump(clock: &TestClock, turn: &Arc<Mutex<()>>) -> (JoinHandle<()>, Arc<AtomicBool>) {
    let (clock, stop) = (clock.clone(), Arc::new(AtomicBool::new(false)));
    let (for_thread, turn) = (Arc::clone(&stop), Arc::clone(turn));
    let thread = std::thread::spawn(move || {
        while !for_thread.load(Ordering::SeqCst) {
            let_go(&clock, &turn);
            std::thread::park_timeout(BREATH);
        }
    });
    (thread, stop)
}

/// Waits for something that other threads do.
#[track_caller]
pub fn until(what: &str, mut done: impl FnMut() -> bool) {
    let end = Instant::now() + GUARD;
    while !done() {
        assert!(Instant::now() < end, "waited in vain: {what}");
        std::thread::park_timeout(BREATH);
    }
}

/// Runs what must end, whatever hangs.
#[track_caller]
pub fn guarded<T: Send + 'static>(what: &str, work: impl FnOnce() -> T + Send + 'static) -> T {
    let (done, ended) = mpsc::channel();
    std::thread::spawn(move || {
        let _ = done.send(work());
    });
    ended.recv_timeout(GUARD).unwrap_or_else(|_| panic!("{what} does not end"))
}

impl Rig {
    /// A watchdog around `chain` (a launch description), in NULL.
    pub fn new(chain: &str) -> Self {
        init();
        Self::with(gst::ElementFactory::make("vigilwatchdog").property("chain", chain).build().unwrap())
    }

    /// The same around a chain without `vigilfaulty`.
    pub fn unmarked(chain: &str) -> Self {
        let mut rig = Self::new(chain);
        rig.marked = false;
        rig
    }

    /// Takes an element with always pads `sink` and `src`, in NULL.
    pub fn with(bin: gst::Element) -> Self {
        init();
        let shared = Arc::new(Shared::default());
        let (src, sink) = (source(&shared), sink(&shared));
        let (bus, clock) = (gst::Bus::new(), TestClock::with_start_time(START));
        bin.set_bus(Some(&bus));
        src.link(&bin.static_pad("sink").unwrap()).unwrap();
        bin.static_pad("src").unwrap().link(&sink).unwrap();
        let (for_feeder, pad) = (Arc::clone(&shared), src.clone());
        let feeder = std::thread::spawn(move || feed(&for_feeder, &pad));
        let turn = Arc::default();
        let pump = pump(&clock, &turn);
        let (next, changes, errors) = (AtomicU64::new(0), Mutex::default(), Mutex::default());
        Self {
            bin,
            bus,
            clock,
            turn,
            src,
            sink,
            shared,
            feeder: Some(feeder),
            pump: Some(pump),
            next,
            changes,
            errors,
            marked: true,
        }
    }

    /// Starts the element, and a stream.
    #[track_caller]
    pub fn play(&self) {
        self.bin.set_clock(Some(&self.clock)).unwrap();
        self.bin.set_base_time(self.clock.time());
        self.sink.set_active(true).unwrap();
        let bin = self.bin.clone();
        guarded("going to PLAYING", move || bin.set_state(gst::State::Playing)).unwrap();
        self.src.set_active(true).unwrap();
        self.event(gst::event::StreamStart::new("rig"));
        self.caps(SIDE);
        self.segment();
    }

    /// Stops the element; what was on its way is gone.
    #[track_caller]
    pub fn stop(&self) {
        self.shared.change(|traffic| traffic.feed.clear());
        let bin = self.bin.clone();
        guarded("going to NULL", move || bin.set_state(gst::State::Null)).unwrap();
        self.src.set_active(false).unwrap();
        self.sink.set_active(false).unwrap();
        self.idle();
        let cut = |items: &mut Vec<Item>| items.push(Item::Flush);
        self.shared.change(|traffic| {
            cut(&mut traffic.sent);
            cut(&mut traffic.out);
            // What a source is told whose pads are taken down.
            traffic.answers.retain(|answer| *answer != gst::FlowError::Flushing);
        });
    }

    /// Waits until the thread that pushes has nothing to do.
    #[track_caller]
    fn idle(&self) {
        self.wait("the source's thread", || {
            let traffic = self.shared.traffic();
            traffic.feed.is_empty() && !traffic.feeding
        });
    }

    /// Sends `event` after what was sent before.
    pub fn event(&self, event: gst::Event) {
        self.shared.change(|traffic| traffic.feed.push_back(Feed::Event(event)));
    }

    /// Frames are `width` pixels wide from here on, and twice as many rows fewer: their size stays.
    pub fn caps(&self, width: u32) {
        self.event(gst::event::Caps::new(&caps(VideoFormat::Rgb, width, SIDE * SIDE / width)));
    }

    pub fn segment(&self) {
        self.event(gst::event::Segment::new(&gst::FormattedSegment::<gst::ClockTime>::new()));
    }

    /// The number of the next frame.
    pub fn next(&self) -> u64 {
        self.next.load(Ordering::SeqCst)
    }

    /// Sends frames, with a gap, a tag or an event of one's own after each.
    pub fn frames(&self, count: u64) {
        for _ in 0..count {
            let number = self.next.fetch_add(1, Ordering::SeqCst);
            let time = gst::ClockTime::from_mseconds(PERIOD * number);
            let mut buffer = gst::Buffer::from_mut_slice(vec![number as u8; SIZE]);
            let new = buffer.get_mut().unwrap();
            new.set_offset(number);
            new.set_pts(time);
            new.set_dts(time);
            new.set_duration(gst::ClockTime::from_mseconds(PERIOD));
            self.shared.change(|traffic| traffic.feed.push_back(Feed::Buffer(buffer)));
            match number % 4 {
                0 => self.event(gst::event::Gap::new(time, None)),
                1 => self.event(gst::event::Tag::new(tags(number))),
                2 => {
                    let own = gst::Structure::builder("rig").field("after", number).build();
                    self.event(gst::event::CustomDownstream::new(own));
                }
                _ => {}
            }
        }
    }

    /// Flushes as a source does that seeks, and starts anew.
    #[track_caller]
    pub fn flush(&self) {
        self.shared.change(|traffic| traffic.feed.clear());
        let src = self.src.clone();
        guarded("FLUSH_START", move || src.push_event(gst::event::FlushStart::new()));
        self.idle();
        let src = self.src.clone();
        guarded("FLUSH_STOP", move || src.push_event(gst::event::FlushStop::new(true)));
        self.shared.change(|traffic| {
            traffic.sent.push(Item::Flush);
            traffic.answers.retain(|answer| *answer != gst::FlowError::Flushing);
        });
        self.segment();
    }

    /// Seeks as a sink does: the seek goes up through the element, the source flushes.
    #[track_caller]
    pub fn seek(&self) {
        let flags = gst::SeekFlags::FLUSH;
        let seek = gst::event::Seek::new(
            1.0,
            flags,
            gst::SeekType::Set,
            gst::ClockTime::ZERO,
            gst::SeekType::None,
            gst::ClockTime::NONE,
        );
        let sink = self.sink.clone();
        assert!(guarded("a seek", move || sink.push_event(seek)), "the seek is taken");
        assert!(self.shared.traffic().upstream.contains(&gst::EventType::Seek), "the seek reaches the source");
        self.flush();
    }

    /// Lets threads run until `done`, without moving the clock.
    #[track_caller]
    pub fn wait(&self, what: &str, mut done: impl FnMut() -> bool) {
        let end = Instant::now() + GUARD;
        while !done() {
            assert!(Instant::now() < end, "waited in vain for {what}\n{}", self.story());
            self.breathe();
        }
    }

    /// Lets threads run for a moment, or until something has come out.
    fn breathe(&self) {
        let traffic = self.shared.traffic();
        drop(self.shared.changed.wait_timeout(traffic, BREATH).unwrap_or_else(PoisonError::into_inner));
    }

    /// Moves the clock to the next time that somebody waits for, or by a little if nobody does.
    pub fn tick(&self) {
        let now = self.clock.time();
        let next = self.clock.peek_next_pending_id().map(|id| id.time());
        self.clock.set_time(next.unwrap_or(now + gst::ClockTime::from_mseconds(50)).max(now));
        let_go(&self.clock, &self.turn);
    }

    /// Moves the clock, from one time that somebody waits for to the next, until `done`. Whatever can go on does so before the
    /// clock moves, as far as a glance can tell.
    #[track_caller]
    pub fn advance(&self, what: &str, mut done: impl FnMut() -> bool) {
        let (mut before, mut since) = ((0, 0), Instant::now());
        self.wait(what, || {
            if done() {
                return true;
            }
            let traffic = self.shared.traffic();
            let now = (traffic.sent.len(), traffic.out.len());
            drop(traffic);
            if now != before {
                (before, since) = (now, Instant::now());
            } else if since.elapsed() >= QUIET {
                self.tick();
                since = Instant::now();
            }
            false
        });
    }

    /// Whether all is out that went in since the last flush: the last of it is.
    pub fn all_out(&self) -> bool {
        let traffic = self.shared.traffic();
        let last = |items: &[Item]| items.last().map(Item::key);
        traffic.feed.is_empty() && !traffic.feeding && last(&traffic.out) == last(&traffic.sent)
    }

    /// The watchdog's mode, by its nick.
    pub fn mode(&self) -> String {
        text(&self.bin.property_value("mode"))
    }

    pub fn stats(&self) -> gst::Structure {
        self.bin.property("stats")
    }

    /// A number of `stats`.
    #[track_caller]
    pub fn stat(&self, name: &str) -> u64 {
        let stats = self.stats();
        let value = stats.value(name).unwrap_or_else(|_| panic!("{name} is not in {stats}"));
        value.get::<u64>().or_else(|_| value.get::<u32>().map(u64::from)).unwrap()
    }

    /// Lets the analysis come back: the clock moves while the watchdog waits, and frames flow while it tries.
    #[track_caller]
    pub fn recover(&self) {
        let mut idle = Instant::now();
        let mut before = String::new();
        self.wait("the analysis to be back", || {
            let mode = self.mode();
            if mode != before {
                idle = Instant::now();
            }
            before.clone_from(&mode);
            match mode.as_str() {
                "analysing" => return true,
                "bypassing" if self.stats().has_field("back-off") => self.tick(),
                // Nothing moves: it may be waiting for a time.
                _ if idle.elapsed() > Duration::from_millis(300) => {
                    self.tick();
                    idle = Instant::now();
                }
                "recovering" if self.all_out() => self.frames(1),
                _ => {}
            }
            false
        });
    }

    /// Sends frames to a healthy chain, and waits for them: each must be analysed.
    #[track_caller]
    pub fn healthy(&self, count: u64) {
        let first = self.next();
        self.frames(count);
        self.wait("frames of a healthy chain", || self.all_out());
        let out = self.out();
        let untouched: Vec<_> = out.iter().filter(|f| f.number >= first && !f.analysed()).collect();
        assert!(untouched.is_empty(), "not analysed: {untouched:?}\n{}", self.story());
    }

    /// Frames that came out.
    pub fn out(&self) -> Vec<Frame> {
        let traffic = self.shared.traffic();
        traffic.out.iter().filter_map(|i| if let Item::Frame(f) = i { Some(f.clone()) } else { None }).collect()
    }

    /// Changes of mode so far.
    pub fn changes(&self) -> Vec<Change> {
        self.read_bus();
        self.changes.lock().unwrap().clone()
    }

    fn read_bus(&self) {
        let mut changes = self.changes.lock().unwrap();
        for message in std::iter::from_fn(|| self.bus.pop()) {
            match message.view() {
                gst::MessageView::Error(e) => {
                    self.errors.lock().unwrap().push(format!("{} ({:?})", e.error(), e.debug()))
                }
                gst::MessageView::Element(e) => {
                    let Some(s) = e.structure().filter(|s| s.name() == "vigil-watchdog") else { continue };
                    let field = |name: &str| s.value(name).map(|v| text(v)).unwrap_or_default();
                    let [from, to, cause, detail] = ["from", "to", "cause", "detail"].map(field);
                    changes.push(Change { from, to, cause, detail });
                }
                _ => {}
            }
        }
    }

    /// What a failed test prints.
    pub fn story(&self) -> String {
        let changes: Vec<_> =
            self.changes().iter().map(|c| format!("{}→{} ({}: {})", c.from, c.to, c.cause, c.detail)).collect();
        let traffic = self.shared.traffic();
        let tail = |items: &[Item]| items.iter().rev().take(12).rev().map(Item::key).collect::<Vec<_>>().join(", ");
        format!(
            "mode {}, {} items sent, {} out\nsent: …{}\nout: …{}\nchanges: {}\nstats: {}\nwaiting to be sent: {}, being sent: {}",
            self.mode(),
            traffic.sent.len(),
            traffic.out.len(),
            tail(&traffic.sent),
            tail(&traffic.out),
            changes.join(", "),
            self.stats(),
            traffic.feed.len(),
            traffic.feeding,
        )
    }

    /// The rules that hold whatever the chain does. Call it when all is out.
    #[track_caller]
    pub fn check(&self) {
        self.read_bus();
        let errors = self.errors.lock().unwrap().clone();
        assert!(errors.is_empty(), "errors on the bus: {errors:?}");
        let story = self.story();
        let traffic = self.shared.traffic();
        assert!(traffic.answers.is_empty(), "upstream was told {:?}\n{story}", traffic.answers);
        traffic::check(&traffic.sent, &traffic.out, self.marked, &story);
    }
}

/// An enum's nick, or the text.
fn text(value: &glib::Value) -> String {
    if let Some((_, value)) = glib::EnumValue::from_value(value) {
        return value.nick().to_owned();
    }
    value.get::<Option<String>>().ok().flatten().unwrap_or_else(|| format!("{value:?}"))
}

fn tags(number: u64) -> gst::TagList {
    let mut tags = gst::TagList::new();
    tags.get_mut().unwrap().add::<gst::tags::TrackNumber>(&(number as u32 + 1), gst::TagMergeMode::Append);
    tags
}

impl Drop for Rig {
    fn drop(&mut self) {
        let bin = self.bin.clone();
        // While a test fails, it has something else to say.
        let failing = std::thread::panicking();
        if !failing {
            guarded("going to NULL", move || bin.set_state(gst::State::Null)).unwrap();
        }
        self.shared.change(|traffic| traffic.stop = true);
        let _ = self.src.set_active(false);
        let _ = self.sink.set_active(false);
        if let Some((thread, stop)) = self.pump.take() {
            stop.store(true, Ordering::SeqCst);
            let _ = thread.join();
        }
        if failing {
            // Nothing is waited for: the process ends with the test.
            std::mem::forget(self.bin.clone());
            return;
        }
        if let Some(feeder) = self.feeder.take() {
            let _ = feeder.join();
        }
        self.bin.set_bus(None);
        let _ = self.src.unlink(&self.bin.static_pad("sink").unwrap());
        let _ = self.bin.static_pad("src").unwrap().unlink(&self.sink);
    }
}
