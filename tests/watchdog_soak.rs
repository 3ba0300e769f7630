//! Cameras in one process, each with a watchdog whose chain fails all the time, at random and on the machine's clock: four with
//! an element that does wrong what it is told to, and one with an engine in a process of its own, which is killed and stopped.
//!
//! `make soak` runs it for ten minutes; `VIGIL_SOAK_SECONDS` and `VIGIL_SOAK_SEED` choose another time and the same faults again.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may")]

mod common;
#[path = "common/faulty.rs"]
#[allow(dead_code, reason = "each test binary uses a part")]
mod faulty;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use faulty::{Control, Fault, GUARD};
use gst::prelude::*;
use gst_app::{AppSink, AppSinkCallbacks, AppSrc};
use gst_video::VideoFormat;
use gstvigil::result::Freshness;

const CAMERAS: u64 = 4;
/// And those with an engine.
const ENGINES: u64 = 1;
/// Between two frames of a camera.
const PERIOD: Duration = Duration::from_millis(10);
/// Width and height of a camera's frames, which change now and then; both have the same number of bytes.
const SMALL: [(u32, u32); 2] = [(4, 4), (8, 2)];
const LARGE: [(u32, u32); 2] = [(64, 64), (128, 32)];
/// By how much the process may be larger at the end than after the first third.
const GROWTH: u64 = 16 << 20;
/// Chains of a camera that may hang at once.
const ABANDONED: u32 = 4;
/// Threads that a chain has at most: keeper, feeder, and the other side of a deadlock.
const THREADS_OF_A_CHAIN: u64 = 3;

/// Numbers at random, the same for the same seed (SplitMix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let a = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let b = (a ^ (a >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        b ^ (b >> 31)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }
}

/// What may go wrong, and whether a refused frame has to bring it about.
const FAULTS: &[(Fault, bool)] = &[
    (Fault::Sleep(gst::ClockTime::from_mseconds(200)), false),
    (Fault::Hang, false),
    (Fault::Hang, false),
    (Fault::Panic, false),
    (Fault::Deadlock, false),
    (Fault::LockedObject, false),
    (Fault::ErrorMessage, false),
    (Fault::Flow(gst::FlowError::Flushing), false),
    (Fault::Flow(gst::FlowError::Eos), false),
    (Fault::Flow(gst::FlowError::NotLinked), false),
    (Fault::Flow(gst::FlowError::NotNegotiated), false),
    (Fault::Flow(gst::FlowError::Error), false),
    (Fault::Flow(gst::FlowError::NotSupported), false),
    (Fault::Flow(gst::FlowError::CustomError), false),
    (Fault::Swallow, false),
    (Fault::Duplicate, false),
    (Fault::Swap, false),
    (Fault::ShiftTime, false),
    (Fault::ClearTime, false),
    (Fault::ConstantTime, false),
    (Fault::Rebuild, false),
    (Fault::RebuildTwice, false),
    (Fault::Eos, false),
    (Fault::ChangeCaps, false),
    (Fault::RefuseCaps, true),
    (Fault::RefuseReady, true),
    (Fault::RefusePaused, true),
    (Fault::HangStarting, true),
    (Fault::HangStopping, true),
];

/// What came out of a camera.
#[derive(Default)]
struct Seen {
    /// The chain has an engine, and leaves the pixels alone.
    engine: bool,
    frames: AtomicU64,
    analysed: AtomicU64,
    /// The first thing that must not be.
    wrong: Mutex<Option<String>>,
}

impl Seen {
    fn take(&self, buffer: &gst::BufferRef) {
        let number = self.frames.fetch_add(1, Ordering::SeqCst);
        let map = buffer.map_readable().unwrap();
        let (value, result) = (number as u8, gstvigil::meta::get(buffer));
        let (analysed, told) = if self.engine {
            (result.as_ref().is_some_and(|r| r.freshness == Freshness::Fresh), result.is_some())
        } else {
            let inverted = map[0] == !value;
            (inverted, result.is_some() != inverted)
        };
        self.analysed.fetch_add(u64::from(analysed), Ordering::SeqCst);
        let own = map[0] == value || (analysed && !self.engine);
        let whole = map.len() == size(self.engine) && map[1..].iter().all(|byte| *byte == value);
        let in_order = buffer.offset() == number || buffer.offset() == u64::MAX;
        if buffer.pts() != Some(time(number)) || !own || !whole || !in_order || !told {
            let text =
                format!("frame {number}: {buffer:?}, offset {}, bytes {:?}, {result:?}", buffer.offset(), &map[..2]);
            self.wrong.lock().unwrap().get_or_insert(text);
        }
    }
}

fn sizes(engine: bool) -> [(u32, u32); 2] {
    if engine { LARGE } else { SMALL }
}

/// Bytes of a frame.
fn size(engine: bool) -> usize {
    let [(width, height), _] = sizes(engine);
    (width * height * 3) as usize
}

fn time(number: u64) -> gst::ClockTime {
    gst::ClockTime::from_mseconds(10 * number)
}

fn frame(number: u64, size: usize) -> gst::Buffer {
    let mut buffer = gst::Buffer::from_mut_slice(vec![number as u8; size]);
    let new = buffer.get_mut().unwrap();
    new.set_offset(number);
    new.set_pts(time(number));
    new.set_duration(gst::ClockTime::from_mseconds(10));
    buffer
}

struct Camera {
    pipeline: gst::Pipeline,
    watchdog: gst::Element,
    control: Arc<Control>,
    sent: AtomicU64,
    faults: AtomicU64,
    seen: Arc<Seen>,
}

impl Camera {
    fn new(engine: bool) -> Self {
        common::init();
        let control = Control::new();
        let model = common::model("red");
        let (chain, start_timeout) = if engine {
            let line = "vigilinfer name=infer isolation=process threads=1 engine-timeout=200000000";
            (format!("{line} model={model}"), 30_000_000_000_u64)
        } else {
            (control.line(), 500_000_000)
        };
        let line = format!(
            "appsrc name=in format=time block=true max-buffers=4 ! vigilwatchdog name=watchdog chain=\"{chain}\" \
             deadline=50000000 max-misses=2 backoff=20000000 backoff-max=100000000 recover-frames=3 \
             stable-time=100000000 start-timeout={start_timeout} max-abandoned={ABANDONED} ! appsink name=out sync=false"
        );
        let pipeline = gst::parse::launch(&line).unwrap().downcast::<gst::Pipeline>().unwrap();
        let seen = Arc::new(Seen { engine, ..Seen::default() });
        let for_sink = Arc::clone(&seen);
        let sink: AppSink = pipeline.by_name("out").unwrap().downcast().unwrap();
        let take = move |sink: &AppSink| {
            let sample = sink.pull_sample().map_err(|_| gst::FlowError::Eos)?;
            for_sink.take(sample.buffer().unwrap());
            Ok(gst::FlowSuccess::Ok)
        };
        sink.set_callbacks(AppSinkCallbacks::builder().new_sample(take).build());
        // Nobody reads the rest, and a bus keeps what nobody reads.
        pipeline.bus().unwrap().set_sync_handler(|_, message| match message.type_() {
            gst::MessageType::Eos | gst::MessageType::Error => gst::BusSyncReply::Pass,
            _ => gst::BusSyncReply::Drop,
        });
        let watchdog = pipeline.by_name("watchdog").unwrap();
        pipeline.set_state(gst::State::Playing).unwrap();
        Self { pipeline, watchdog, control, sent: AtomicU64::new(0), faults: AtomicU64::new(0), seen }
    }

    fn is_analysing(&self) -> bool {
        let mode = self.watchdog.property_value("mode");
        glib::EnumValue::from_value(&mode).unwrap().1.nick() == "analysing"
    }

    /// Sends frames until it is told to stop, with other caps now and then, and ends the stream.
    fn film(&self, stop: &AtomicBool, mut random: Random) {
        let source: AppSrc = self.pipeline.by_name("in").unwrap().downcast().unwrap();
        let sizes = sizes(self.seen.engine).map(|(w, h)| common::caps(VideoFormat::Rgb, w, h));
        let mut now = 0;
        for number in 0.. {
            if stop.load(Ordering::SeqCst) {
                break;
            }
            now = (now + usize::from(random.below(200) == 0)) % sizes.len();
            source
                .push_sample(
                    &gst::Sample::builder().caps(&sizes[now]).buffer(&frame(number, size(self.seen.engine))).build(),
                )
                .unwrap();
            self.sent.store(number + 1, Ordering::SeqCst);
            thread::park_timeout(PERIOD);
        }
        source.end_of_stream().unwrap();
    }

    /// One fault after the other, each over before the next.
    fn harm(&self, stop: &AtomicBool, mut random: Random) {
        while !stop.load(Ordering::SeqCst) {
            until("the analysis is back", || self.is_analysing() || stop.load(Ordering::SeqCst), || self.story());
            thread::park_timeout(Duration::from_millis(20 + random.below(150)));
            let (fault, brought_about) = FAULTS[random.below(FAULTS.len() as u64) as usize];
            let before = self.control.hits();
            if brought_about {
                self.control.inject(Fault::Flow(gst::FlowError::Error), 0, Some(1));
            }
            let times = if random.below(2) == 0 { Some(1) } else { None };
            self.control.inject(fault, 0, times);
            // At the end of the stream there may be no frame to hit.
            let hit = || self.control.hits() > before || stop.load(Ordering::SeqCst);
            until("the fault happens", hit, || format!("{fault:?}\n{}", self.story()));
            thread::park_timeout(Duration::from_millis(random.below(300)));
            self.control.clear();
            thread::park_timeout(Duration::from_millis(random.below(100)));
            self.control.release();
            self.faults.fetch_add(1, Ordering::SeqCst);
        }
        self.control.clear();
        self.control.release();
    }

    /// The engine's process, while there is one that takes frames.
    fn engine(&self) -> Option<i32> {
        let infer = self.watchdog.downcast_ref::<gst::Bin>().unwrap().by_name("infer")?;
        let pid = infer.property::<gst::Structure>("stats").get::<u64>("engine-pid").ok()?;
        Some(i32::try_from(pid).unwrap())
    }

    /// Kills or stops the engine's process again and again, each time that another one is there.
    fn kill(&self, stop: &AtomicBool, mut random: Random) {
        let mut last = None;
        while !stop.load(Ordering::SeqCst) {
            let mut next = None;
            let another = || {
                next = self.engine().filter(|pid| Some(*pid) != last);
                next.is_some() || stop.load(Ordering::SeqCst)
            };
            until("another engine", another, || self.story());
            let Some(pid) = next else { break };
            thread::park_timeout(Duration::from_millis(random.below(500)));
            let signal = if random.below(2) == 0 { libc::SIGKILL } else { libc::SIGSTOP };
            if self.engine() != Some(pid) {
                continue;
            }
            // SAFETY: a signal to the process that this camera's engine has started and not let go of.
            if unsafe { libc::kill(pid, signal) } == 0 {
                self.faults.fetch_add(1, Ordering::SeqCst);
            }
            last = next;
        }
    }

    fn story(&self) -> String {
        format!("{}", self.watchdog.property::<gst::Structure>("stats"))
    }

    /// All frames are out, then EOS, and nothing was an error.
    fn check(&self) {
        let bus = self.pipeline.bus().unwrap();
        let ends = [gst::MessageType::Eos, gst::MessageType::Error];
        let end = bus.timed_pop_filtered(gst::ClockTime::from_seconds(60), &ends);
        let end = end.unwrap_or_else(|| panic!("the stream does not end\n{}", self.story()));
        assert_eq!(end.type_(), gst::MessageType::Eos, "{end:?}");
        assert_eq!(*self.seen.wrong.lock().unwrap(), None, "{}", self.story());
        let (sent, seen) = (self.sent.load(Ordering::SeqCst), self.seen.frames.load(Ordering::SeqCst));
        assert_eq!(sent, seen, "frames in and out\n{}", self.story());
    }
}

/// Waits for something that other threads do.
#[track_caller]
fn until(what: &str, mut done: impl FnMut() -> bool, story: impl Fn() -> String) {
    let end = Instant::now() + GUARD;
    while !done() {
        assert!(Instant::now() < end, "waited in vain: {what}\n{}", story());
        thread::park_timeout(Duration::from_millis(2));
    }
}

/// Bytes of this process in memory.
fn resident() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap();
    text.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 4096
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{variable} is no number: {text}")))
}

/// What the machine has to say about the process while the cameras run.
#[derive(Default)]
struct Readings {
    /// Threads before the first fault, and at most.
    threads: (usize, usize),
    /// Bytes in memory after a third of the time, and at the end.
    resident: (u64, u64),
}

/// Lets the cameras run.
fn run(cameras: &[Camera], time: Duration, seed: u64) -> Readings {
    let (stop, mut seeds, mut readings) = (AtomicBool::new(false), Random(seed), Readings::default());
    thread::scope(|scope| {
        let stop = &stop;
        for camera in cameras {
            let film = Random(seeds.next());
            scope.spawn(move || camera.film(stop, film));
            until("the first analysis", || camera.is_analysing(), || camera.story());
        }
        readings.threads.0 = common::threads().len();
        for camera in cameras {
            let random = Random(seeds.next());
            scope.spawn(move || if camera.seen.engine { camera.kill(stop, random) } else { camera.harm(stop, random) });
        }
        let start = Instant::now();
        while start.elapsed() < time {
            thread::park_timeout(Duration::from_millis(100));
            readings.threads.1 = readings.threads.1.max(common::threads().len());
            if readings.resident.0 == 0 && start.elapsed() > time / 3 {
                readings.resident.0 = resident();
            }
        }
        readings.resident.1 = resident();
        stop.store(true, Ordering::SeqCst);
    });
    readings
}

#[test]
fn cameras_lose_no_frame_whatever_their_chains_do() {
    // The first panic with a backtrace would load the debug information, 75 MiB that are none of the element's.
    std::panic::set_hook(Box::new(|panic| eprintln!("{panic}")));
    let time = Duration::from_secs(number("VIGIL_SOAK_SECONDS").unwrap_or(20));
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let seed = number("VIGIL_SOAK_SEED").unwrap_or(now.as_nanos() as u64);
    println!("VIGIL_SOAK_SECONDS={} VIGIL_SOAK_SEED={seed}", time.as_secs());
    let cameras: Vec<_> = (0..CAMERAS + ENGINES).map(|n| Camera::new(n >= CAMERAS)).collect();
    let readings = run(&cameras, time, seed);
    cameras.iter().for_each(Camera::check);
    let sum = |of: fn(&Camera) -> &AtomicU64| cameras.iter().map(|c| of(c).load(Ordering::SeqCst)).sum::<u64>();
    let (sent, faults, analysed) = (sum(|c| &c.sent), sum(|c| &c.faults), sum(|c| &c.seen.analysed));
    let killed: u64 = cameras.iter().filter(|c| c.seen.engine).map(|c| c.faults.load(Ordering::SeqCst)).sum();
    let controls: Vec<_> = cameras.iter().map(|c| Arc::clone(&c.control)).collect();
    for camera in cameras {
        camera.pipeline.set_state(gst::State::Null).unwrap();
    }
    let left = || controls.iter().map(|c| c.instances()).sum::<usize>();
    until("no element is left", || left() == 0, || format!("{} are", left()));
    let (Readings { threads: (calm, most), resident: (warm, end) }, mib) = (readings, f64::from(1 << 20));
    println!(
        "{} cameras, {} s: {faults} faults, {killed} of them kills and stops of an engine; {sent} frames in and out, {analysed} \
         analysed; resident {:.1} MiB after a third, {:.1} MiB at the end; threads: {calm} at the start, {most} at most",
        CAMERAS + ENGINES,
        time.as_secs(),
        warm as f64 / mib,
        end as f64 / mib,
    );
    assert!(faults - killed >= CAMERAS && killed > 0, "there were faults");
    assert!(end < warm + GROWTH, "memory grows");
    // One chain of each camera is in charge, and counted in `calm`.
    let bound = calm + ((CAMERAS + ENGINES) * u64::from(ABANDONED + 1) * THREADS_OF_A_CHAIN) as usize;
    assert!(most <= bound, "{most} threads, not {bound}");
}
