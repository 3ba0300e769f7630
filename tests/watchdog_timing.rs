//! When frames leave a watchdog, to the nanosecond: the times are a test clock's, which moves only when every thread sleeps.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may")]

mod common;
#[path = "common/faulty.rs"]
#[allow(dead_code, reason = "each test binary uses a part")]
mod faulty;

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use common::caps;
use faulty::{Control, Fault, GUARD};
use gst::prelude::*;
use gst_check::TestClock;
use gst_video::VideoFormat;

/// Milliseconds between two frames of the source.
const PERIOD: u64 = 40;
/// The frame with which the chain goes wrong.
const BAD: usize = 10;
/// Milliseconds until a chain is replaced.
const BACK_OFF: u64 = 200;
/// Frames with which a new chain proves itself.
const PROOFS: usize = 5;
/// So that nobody takes a time of the clock for a running time.
const START: u64 = 3_600_000;
const SIZE: usize = 48;

const ONCE: Option<u32> = Some(1);
const ALWAYS: Option<u32> = None;

/// The deadlines that are tried, in milliseconds: shorter than a period, one and a half, five and twenty of them.
const DEADLINES: [u64; 4] = [25, 60, 200, 800];
const MISSES: [u32; 3] = [1, 3, 10];

/// Milliseconds since the start of one frame's stations.
#[derive(Clone, Copy, Default)]
struct Frame {
    /// When the source has it.
    due: u64,
    called: Option<u64>,
    returned: Option<u64>,
    left: Option<u64>,
    analysed: bool,
}

impl std::fmt::Debug for Frame {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let what = if self.analysed { "analysed" } else { "untouched" };
        let text = |time: Option<u64>| time.map_or("-".into(), |time| time.to_string());
        let [called, returned, left] = [self.called, self.returned, self.left].map(text);
        write!(f, "due {} pushed {called} to {returned} left {left} {what}", self.due)
    }
}

#[derive(Default)]
struct Log {
    frames: Vec<Frame>,
    /// Frames that the source may push.
    allowed: usize,
    pushed: usize,
    /// Frames that have left, in order.
    out: Vec<usize>,
    flushed: Vec<(usize, u64)>,
    stop: bool,
}

#[derive(Default)]
struct Shared {
    log: Mutex<Log>,
    changed: Condvar,
}

impl Shared {
    fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn milliseconds(clock: &TestClock) -> u64 {
    clock.time().mseconds() - START
}

/// What a source does: pushes each frame when it may, one after the other.
fn push_frames(shared: &Shared, src: &gst::Pad, clock: &TestClock) {
    loop {
        let mut log = shared.log();
        while log.pushed >= log.allowed && !log.stop {
            log = shared.changed.wait(log).unwrap_or_else(PoisonError::into_inner);
        }
        if log.stop {
            return;
        }
        let number = log.pushed;
        log.frames[number].called = Some(milliseconds(clock));
        drop(log);
        let mut buffer = gst::Buffer::from_mut_slice(vec![0; SIZE]);
        let new = buffer.get_mut().unwrap();
        new.set_offset(number as u64);
        new.set_pts(gst::ClockTime::from_mseconds(PERIOD * number as u64));
        new.set_duration(gst::ClockTime::from_mseconds(PERIOD));
        let answer = src.push(buffer);
        let mut log = shared.log();
        log.frames[number].returned = Some(milliseconds(clock));
        log.pushed += 1;
        assert!(answer.is_ok() || (answer == Err(gst::FlowError::Flushing)), "{answer:?}");
    }
}

/// All threads of this process but this one: whether they sleep, and how often they have been put to sleep.
fn threads() -> Vec<(std::ffi::OsString, bool, String)> {
    let own = std::fs::read_link("/proc/thread-self").unwrap();
    let tasks = std::fs::read_dir("/proc/self/task").unwrap().flatten();
    let others = tasks.filter(|task| Some(task.file_name().as_os_str()) != own.file_name());
    let mut threads: Vec<_> = others
        .filter_map(|task| {
            let status = std::fs::read_to_string(task.path().join("status")).ok()?;
            let line = |name: &str| status.lines().find(|line| line.starts_with(name)).unwrap_or_default().to_owned();
            let sleeps = line("State:").contains("S (");
            Some((task.file_name(), sleeps, line("voluntary_ctxt") + &line("nonvoluntary_ctxt")))
        })
        .collect();
    threads.sort();
    threads
}

/// Waits until nothing happens any more unless the clock moves. One that another has woken but that has no processor yet does
/// not sleep, so this does not depend on how fast the machine is.
#[track_caller]
fn settle() {
    let end = Instant::now() + GUARD;
    let mut before = Vec::new();
    loop {
        let now = threads();
        if now.iter().all(|(_, sleeps, _)| *sleeps) && now == before {
            return;
        }
        before = now;
        assert!(Instant::now() < end, "something goes on without end");
        std::thread::yield_now();
    }
}

/// A test alone: others in this process would not let it settle.
fn alone() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    common::init();
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What is tried.
#[derive(Debug, Clone, Copy)]
struct Case {
    fault: Fault,
    times: Option<u32>,
    /// Milliseconds.
    deadline: u64,
    misses: u32,
    /// A frame each period, or as fast as they are taken.
    live: bool,
}

/// A source, a watchdog around a faulty chain, and a sink.
struct Stage {
    case: Case,
    control: Arc<Control>,
    dog: gst::Element,
    clock: TestClock,
    src: gst::Pad,
    sink: gst::Pad,
    shared: Arc<Shared>,
    source: Option<JoinHandle<()>>,
}

fn sink(shared: &Arc<Shared>, clock: &TestClock) -> gst::Pad {
    let (shared, clock) = (Arc::clone(shared), clock.clone());
    let any = gst::Caps::new_any();
    let template = gst::PadTemplate::new("sink", gst::PadDirection::Sink, gst::PadPresence::Always, &any).unwrap();
    gst::Pad::builder_from_template(&template)
        .chain_function(move |_, _, buffer| {
            let number = (buffer.pts().unwrap().mseconds() / PERIOD) as usize;
            let analysed = buffer.map_readable().unwrap()[0] != 0;
            let mut log = shared.log();
            log.frames[number].left = Some(milliseconds(&clock));
            log.frames[number].analysed = analysed;
            log.out.push(number);
            Ok(gst::FlowSuccess::Ok)
        })
        .event_function(|_, _, _| true)
        .build()
}

impl Stage {
    /// A playing one with `before` in front of the faulty element, before the first frame.
    fn new(case: Case, before: &str) -> Self {
        let (control, shared) = (Control::new(), Arc::new(Shared::default()));
        let clock = TestClock::with_start_time(gst::ClockTime::from_mseconds(START));
        let dog = gst::ElementFactory::make("vigilwatchdog")
            .property("chain", format!("{before} {}", control.line()))
            .property("deadline", case.deadline * 1_000_000)
            .property("max-misses", case.misses)
            .property("backoff", BACK_OFF * 1_000_000)
            .property("recover-frames", PROOFS as u32)
            .build()
            .unwrap();
        let any = gst::Caps::new_any();
        let template = gst::PadTemplate::new("src", gst::PadDirection::Src, gst::PadPresence::Always, &any).unwrap();
        let (src, sink) = (gst::Pad::from_template(&template), sink(&shared, &clock));
        src.link(&dog.static_pad("sink").unwrap()).unwrap();
        dog.static_pad("src").unwrap().link(&sink).unwrap();
        dog.set_clock(Some(&clock)).unwrap();
        dog.set_base_time(clock.time());
        sink.set_active(true).unwrap();
        dog.set_state(gst::State::Playing).unwrap();
        // The first chain is there.
        control.inject(case.fault, BAD as u64, case.times);
        src.set_active(true).unwrap();
        assert!(src.push_event(gst::event::StreamStart::new("stage")));
        assert!(src.push_event(gst::event::Caps::new(&caps(VideoFormat::Rgb, 4, 4))));
        let stage = Self { case, control, dog, clock, src, sink, shared, source: None };
        stage.segment();
        stage
    }

    fn segment(&self) {
        let segment = gst::FormattedSegment::<gst::ClockTime>::new();
        assert!(self.src.push_event(gst::event::Segment::new(&segment)));
    }

    fn now(&self) -> u64 {
        milliseconds(&self.clock)
    }

    /// Moves the clock to the next time at which something happens, and lets it happen.
    fn step(&self) {
        let log = self.shared.log();
        let frame = log.frames.get(log.allowed).map(|frame| frame.due);
        drop(log);
        let wake = self.clock.peek_next_pending_id().map(|id| id.time().mseconds() - START);
        let next = frame.into_iter().chain(wake).min().expect("nothing happens any more");
        self.clock.set_time(gst::ClockTime::from_mseconds(START + next.max(self.now())));
        while self.clock.process_next_clock_id().is_some() {}
        settle();
        let mut log = self.shared.log();
        while log.frames.get(log.allowed).is_some_and(|frame| frame.due <= self.now()) {
            log.allowed += 1;
        }
        drop(log);
        self.shared.changed.notify_all();
        settle();
    }

    /// Lets the source make `count` more frames, and time pass until `done`.
    #[track_caller]
    fn run_until(&mut self, count: usize, done: impl Fn(&Self) -> bool) {
        let mut log = self.shared.log();
        let first = log.frames.len();
        let due = |n: usize| if self.case.live { PERIOD * n as u64 } else { 0 };
        log.frames.extend((first..first + count).map(|n| Frame { due: due(n), ..Frame::default() }));
        drop(log);
        if self.source.is_none() {
            let (shared, src, clock) = (Arc::clone(&self.shared), self.src.clone(), self.clock.clone());
            self.source = Some(std::thread::spawn(move || push_frames(&shared, &src, &clock)));
        }
        while !done(self) {
            self.step();
        }
    }

    /// Lets the source make `count` more frames, and time pass until they are all out.
    #[track_caller]
    fn run(&mut self, count: usize) {
        self.run_until(count, |stage| {
            let log = stage.shared.log();
            log.frames.last().is_none_or(|frame| frame.left.is_some())
        });
    }

    /// Flushes; frames that are on their way are gone.
    fn flush(&self) {
        assert!(self.src.push_event(gst::event::FlushStart::new()));
        settle();
        assert!(self.src.push_event(gst::event::FlushStop::new(true)));
        self.segment();
        settle();
        let now = self.now();
        let mut log = self.shared.log();
        let pushed = log.pushed;
        log.flushed.push((pushed, now));
    }

    fn frames(&self) -> Vec<Frame> {
        self.shared.log().frames.clone()
    }

    fn count(&self, name: &str) -> u64 {
        self.dog.property::<gst::Structure>("stats").get(name).unwrap()
    }

    fn mode(&self) -> String {
        let value = self.dog.property_value("mode");
        glib::EnumValue::from_value(&value).unwrap().1.nick().to_owned()
    }

    /// What holds whatever the chain does; `slow` if a healthy chain takes longer for a frame than the source.
    #[track_caller]
    fn check(&self, slow: bool) {
        let Case { deadline, live, .. } = self.case;
        let log = self.shared.log();
        let (frames, story) = (&log.frames, format!("{:?}\n{:#?}", self.case, log.frames));
        assert!(log.out.is_sorted_by(|a, b| a < b), "each once and in order: {:?}", log.out);
        for (n, frame) in frames.iter().enumerate() {
            let (called, returned) = (frame.called.unwrap(), frame.returned.unwrap());
            assert!(returned <= called + deadline, "frame {n} held its source up for too long\n{story}");
            let Some(left) = frame.left else {
                assert!(log.flushed.iter().any(|(to, _)| n < *to), "frame {n} is lost\n{story}");
                continue;
            };
            assert!(left <= called + deadline, "frame {n} left too late\n{story}");
            // Also where frames before it have held the source up.
            assert!(slow || !live || left <= frame.due + deadline, "frame {n} is later than the latency\n{story}");
        }
        let most = if live { deadline + PERIOD } else { deadline };
        let flushes = log.flushed.iter().map(|(n, at)| (*n, *at));
        let mut times: Vec<_> =
            frames.iter().enumerate().filter_map(|(n, f)| Some((n, f.left?))).chain(flushes).collect();
        times.sort();
        for pair in times.windows(2) {
            let gap = pair[1].1 - pair[0].1;
            assert!(gap <= most, "{gap} ms between frames {} and {}\n{story}", pair[0].0, pair[1].0);
        }
    }

    /// The largest time between two frames that leave.
    fn largest_gap(&self) -> u64 {
        let left: Vec<_> = self.frames().iter().filter_map(|frame| frame.left).collect();
        left.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap()
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.control.clear();
        self.control.release();
        self.shared.log().stop = true;
        self.shared.changed.notify_all();
        if std::thread::panicking() {
            return;
        }
        self.dog.set_state(gst::State::Null).unwrap();
        if let Some(source) = self.source.take() {
            source.join().unwrap();
        }
        self.src.set_active(false).unwrap();
        self.sink.set_active(false).unwrap();
        self.src.unlink(&self.dog.static_pad("sink").unwrap()).unwrap();
        self.dog.static_pad("src").unwrap().unlink(&self.sink).unwrap();
        while self.control.instances() > 1 {
            std::thread::park_timeout(Duration::from_millis(1));
        }
    }
}

/// Frames until the analysis is back after a chain that was given up at the latest, and some more.
fn enough(case: Case) -> usize {
    let time = case.deadline + BACK_OFF;
    BAD + case.misses as usize + time.div_ceil(PERIOD) as usize + PROOFS + 10
}

fn every_case(fault: Fault, times: Option<u32>, live: bool, mut with: impl FnMut(Stage)) {
    let _alone = alone();
    for deadline in DEADLINES {
        for misses in MISSES {
            let case = Case { fault, times, deadline, misses, live };
            eprintln!("{case:?}");
            with(Stage::new(case, ""));
        }
    }
}

#[test]
fn a_live_source_sees_each_frame_of_a_chain_that_hangs_after_the_deadline_exactly() {
    every_case(Fault::Hang, ONCE, true, |mut stage| {
        stage.run(enough(stage.case));
        stage.check(false);
        let Case { deadline, misses, .. } = stage.case;
        let frames = stage.frames();
        for (n, frame) in frames.iter().enumerate() {
            let missed = n >= BAD && n < BAD + misses as usize;
            let (left, due) = (frame.left.unwrap(), frame.due);
            if missed {
                assert_eq!((left, frame.analysed), (due + deadline, false), "frame {n} of {:?}", stage.case);
            }
            assert!(n >= BAD || left == due, "a healthy chain takes no time");
        }
        // The last analysed frame left a period before the one that hangs came.
        assert_eq!(stage.largest_gap(), deadline + PERIOD, "{:?}", stage.case);
        assert_eq!(stage.count("late"), u64::from(misses), "{:?}", stage.case);
        assert!(frames.last().unwrap().analysed && stage.mode() == "analysing", "{:?}\n{frames:#?}", stage.case);
    });
}

#[test]
fn a_live_source_is_never_late_or_interrupted_whatever_hangs_or_takes_long() {
    let long = Fault::Sleep(gst::ClockTime::from_seconds(3));
    let short = Fault::Sleep(gst::ClockTime::from_mseconds(300));
    for (fault, times) in [
        (long, ONCE),
        (long, ALWAYS),
        (short, ONCE),
        (short, ALWAYS),
        (Fault::Deadlock, ONCE),
        (Fault::LockedObject, ONCE),
        (Fault::Swallow, ALWAYS),
    ] {
        every_case(fault, times, true, |mut stage| {
            stage.run(enough(stage.case));
            let Case { deadline, .. } = stage.case;
            stage.check(fault == short && times == ALWAYS && deadline >= 300);
            let frames = stage.frames();
            let in_time = deadline >= 300 && fault == short;
            let first = frames[BAD];
            let left = if in_time { first.due + 300 } else { first.due + deadline };
            assert_eq!((first.left, first.analysed), (Some(left), in_time), "{:?}\n{frames:#?}", stage.case);
            if times == ONCE {
                assert!(frames.last().unwrap().analysed, "{:?}\n{frames:#?}", stage.case);
            }
        });
    }
}

#[test]
fn a_live_source_does_not_notice_that_a_chain_fails_and_is_replaced() {
    let flow = Fault::Flow(gst::FlowError::Error);
    for (fault, times) in [
        (flow, ONCE),
        (flow, ALWAYS),
        (Fault::Flow(gst::FlowError::Eos), ONCE),
        (Fault::ErrorMessage, ONCE),
        (Fault::Panic, ONCE),
        (Fault::Panic, ALWAYS),
        (Fault::Eos, ONCE),
        (Fault::ChangeCaps, ONCE),
        (Fault::Duplicate, ALWAYS),
        (Fault::ShiftTime, ALWAYS),
    ] {
        every_case(fault, times, true, |mut stage| {
            stage.run(enough(stage.case));
            stage.check(false);
            let frames = stage.frames();
            assert!(frames.iter().all(|frame| frame.left == Some(frame.due)), "{:?}\n{frames:#?}", stage.case);
            assert_eq!(stage.largest_gap(), PERIOD);
            let kept = matches!(fault, Fault::Duplicate | Fault::ShiftTime);
            assert_eq!(frames.iter().all(|frame| frame.analysed), kept, "{:?}\n{frames:#?}", stage.case);
            assert!(times == ALWAYS || frames.last().unwrap().analysed, "{:?}\n{frames:#?}", stage.case);
        });
    }
}

#[test]
fn a_live_source_does_not_notice_that_the_old_chain_or_the_new_one_hangs_in_a_state_change() {
    for fault in [Fault::HangStopping, Fault::HangStarting] {
        every_case(fault, ONCE, true, |mut stage| {
            stage.control.inject(Fault::Flow(gst::FlowError::Error), BAD as u64, ONCE);
            stage.run(enough(stage.case));
            assert_eq!((stage.control.hits(), stage.control.hanging()), (2, 1), "{:?}", stage.case);
            stage.check(false);
            let frames = stage.frames();
            assert!(frames.iter().all(|frame| frame.left == Some(frame.due)), "{:?}\n{frames:#?}", stage.case);
            let back = fault == Fault::HangStopping;
            assert_eq!(frames.last().unwrap().analysed, back, "{:?}\n{frames:#?}", stage.case);
        });
    }
}

#[test]
fn a_frame_that_is_left_out_leaves_when_two_have_overtaken_it_or_after_the_deadline() {
    every_case(Fault::Swallow, ONCE, true, |mut stage| {
        stage.run(enough(stage.case));
        stage.check(false);
        let left = stage.frames()[BAD].left.unwrap();
        let Case { deadline, misses, .. } = stage.case;
        assert_eq!(left, stage.frames()[BAD].due + deadline.min(2 * PERIOD));
        // One in time is behind it already, unless the deadline is shorter than a period.
        let given_up = deadline < PERIOD && misses == 1;
        assert_eq!(stage.count("restarts"), u64::from(given_up), "{:?}", stage.case);
    });
}

#[test]
fn a_flush_that_hangs_in_the_chain_holds_frames_up_for_the_deadline_only() {
    every_case(Fault::HangFlush, ONCE, true, |mut stage| {
        stage.run(BAD);
        stage.flush();
        stage.run(enough(stage.case));
        assert_eq!(stage.control.hanging(), 1);
        stage.check(false);
        let (Case { deadline, misses, .. }, frames) = (stage.case, stage.frames());
        for (n, frame) in frames.iter().enumerate().skip(BAD).take(misses as usize) {
            let expected = (Some(frame.due + deadline), false);
            assert_eq!((frame.left, frame.analysed), expected, "frame {n} of {:?}\n{frames:#?}", stage.case);
        }
        assert!(frames.last().unwrap().analysed, "{:?}\n{frames:#?}", stage.case);
    });
}

#[test]
fn a_flush_while_a_frame_hangs_takes_what_was_on_its_way_and_nothing_later() {
    every_case(Fault::Hang, ONCE, true, |mut stage| {
        stage.run_until(BAD + 2, |stage| stage.shared.log().allowed == BAD + 2);
        stage.flush();
        stage.run(enough(stage.case));
        stage.check(false);
        assert!(stage.frames().last().unwrap().analysed, "{:?}\n{:#?}", stage.case, stage.frames());
    });
}

#[test]
fn a_source_that_is_not_live_waits_for_the_deadline_at_most() {
    let long = Fault::Sleep(gst::ClockTime::from_seconds(3));
    for (fault, times, patient) in [
        (Fault::Hang, ONCE, true),
        (long, ALWAYS, true),
        (Fault::Swallow, ALWAYS, true),
        (Fault::Swallow, ONCE, false),
        (Fault::Flow(gst::FlowError::Error), ALWAYS, false),
        (Fault::Panic, ONCE, false),
        (Fault::ErrorMessage, ONCE, false),
    ] {
        every_case(fault, times, false, |mut stage| {
            stage.run(enough(stage.case));
            stage.check(false);
            let (Case { deadline, misses, .. }, frames) = (stage.case, stage.frames());
            let waits = if patient { deadline } else { 0 };
            assert_eq!(stage.largest_gap(), waits, "{:?}\n{frames:#?}", stage.case);
            if fault == Fault::Hang {
                // Those behind it come on at the pace of their times, as from a camera, until the chain is given up.
                for (n, frame) in frames.iter().enumerate().skip(BAD + 2).take(misses.saturating_sub(2) as usize) {
                    let expected = deadline + deadline.min(PERIOD) * (n - BAD - 2) as u64;
                    assert_eq!(frame.left, Some(expected), "frame {n} of {:?}\n{frames:#?}", stage.case);
                }
            }
            if times == ONCE && fault != Fault::Swallow {
                stage.run_until(0, |stage| stage.mode() == "recovering");
                (0..2 * PROOFS).for_each(|_| stage.run(1));
                assert!(stage.frames().last().unwrap().analysed, "{:?}\n{:#?}", stage.case, stage.frames());
            }
        });
    }
}

/// A healthy chain that takes two periods for each frame.
fn slow(live: bool, deadline: u64, before: &str) -> Vec<Frame> {
    let fault = Fault::Sleep(gst::ClockTime::from_mseconds(2 * PERIOD));
    let mut stage = Stage::new(Case { fault, times: ALWAYS, deadline, misses: 1, live }, before);
    stage.run(4 * BAD);
    stage.check(true);
    assert_eq!(stage.count("restarts"), 0, "{:#?}", stage.frames());
    let frames = stage.frames();
    assert!(frames.iter().all(|frame| frame.analysed), "{frames:#?}");
    frames
}

#[test]
fn a_chain_that_is_slower_than_its_source_holds_it_up_and_loses_nothing() {
    let _alone = alone();
    for live in [false, true] {
        // Three frames at once: in the chain, next to it, and in the source's hands.
        for deadline in [6 * PERIOD + 1, 800] {
            let frames = slow(live, deadline, "");
            for pair in frames[BAD..].windows(2) {
                assert_eq!(pair[1].left.unwrap() - pair[0].left.unwrap(), 2 * PERIOD, "{frames:#?}");
            }
            let most = frames.iter().map(|frame| frame.returned.unwrap() - frame.called.unwrap()).max().unwrap();
            assert_eq!(most, 2 * PERIOD, "{frames:#?}");
        }
        // Each place of a queue is another frame that waits.
        let queue = "queue max-size-buffers=3 max-size-bytes=0 max-size-time=0 !";
        slow(live, 800, queue);
    }
}
