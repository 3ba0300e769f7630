//! What `vigilwatchdog` costs, and what is seen of a chain that hangs: `cargo bench --bench watchdog`, on the machine's own clock.
//!
//! Cost: processor time per frame, of the whole process, with and without the bin around the same chain. Frames come at a pace
//! at which every thread sleeps between two of them, as it does beside a camera; a burst shows what it costs when nobody waits.
//! Rounds with and without the bin take turns.
//!
//! Hangs: a live source of 30 frames a second, and an element that sleeps for two seconds, whatever it is told, 20 times.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a benchmark may")]

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use gst::prelude::*;
use gstvigil::result::Freshness;
use gstvigil::telemetry::processor_time;

const ROUNDS: usize = 5;
/// Frames before the first that counts.
const WARM: u32 = 50;

const FPS: u32 = 30;
const HANGS: usize = 20;
/// Frames of a healthy chain before each hang.
const HEALTHY: usize = 10;
/// Frames of the run without hangs.
const QUIET: usize = 150;
const DEADLINE: Duration = Duration::from_millis(200);
/// What takes longer than this has not happened.
const GUARD: Duration = Duration::from_secs(60);

fn launch(line: &str) -> gst::Pipeline {
    gst::parse::launch(line).unwrap().downcast::<gst::Pipeline>().unwrap()
}

/// Processor time in microseconds for each of `frames` frames of 1920×1080 NV12 through `element`.
fn round(description: &str, frames: u32, pace: Option<Duration>) -> f64 {
    let pipeline = launch(&format!(
        "appsrc name=in format=time max-buffers=4 block=true caps=video/x-raw,format=NV12,width=1920,height=1080,framerate=30/1 ! \
         {description} ! fakesink name=out sync=false async=false signal-handoffs=true"
    ));
    let source = pipeline.by_name("in").unwrap().downcast::<gst_app::AppSrc>().unwrap();
    pipeline.set_state(gst::State::Playing).unwrap();
    // One memory for all frames: making frames is not what is measured.
    let memory = gst::Memory::with_size(1920 * 1080 * 3 / 2);
    let frame = |n: u32| {
        let mut buffer = gst::Buffer::new();
        let it = buffer.get_mut().unwrap();
        it.append_memory(memory.clone());
        it.set_pts(gst::ClockTime::from_mseconds(u64::from(n)));
        buffer
    };
    let mut start = processor_time();
    let mut next = Instant::now();
    for n in 0..WARM + frames {
        if n == WARM {
            start = processor_time();
        }
        if let Some(pace) = pace {
            next += pace;
            std::thread::sleep(next.saturating_duration_since(Instant::now()));
        }
        source.push_buffer(frame(n)).unwrap();
    }
    source.end_of_stream().unwrap();
    let bus = pipeline.bus().unwrap();
    bus.timed_pop_filtered(gst::ClockTime::from_seconds(60), &[gst::MessageType::Eos]).expect("the stream ends");
    let spent = processor_time() - start;
    pipeline.set_state(gst::State::Null).unwrap();
    spent.as_secs_f64() * 1e6 / f64::from(frames)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn cost(what: &str, chain: &str, frames: u32, pace: Option<Duration>) {
    let with = format!("vigilwatchdog deadline=1000000000 chain=\"{chain}\"");
    let (mut plain, mut bin) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        plain.push(round(chain, frames, pace));
        bin.push(round(&with, frames, pace));
    }
    let (plain, bin) = (median(plain), median(bin));
    let more = bin - plain;
    println!("{what}: {plain:.1} us of processor time per frame without, {bin:.1} with: the bin costs {more:.1} us");
}

/// A frame that has left.
#[derive(Clone, Copy)]
struct Left {
    at: Instant,
    /// Since it came in.
    after: Duration,
    analysed: bool,
}

/// A live source, a watchdog around `identity name=work`, and all frames that have left it.
struct Live {
    pipeline: gst::Pipeline,
    dog: gst::Bin,
    left: Arc<Mutex<Vec<Left>>>,
}

impl Live {
    fn start() -> Self {
        let pipeline = launch(&format!(
            "videotestsrc is-live=true pattern=black ! video/x-raw,format=NV12,width=1920,height=1080,framerate={FPS}/1 ! \
             vigilwatchdog name=dog deadline={} backoff=1000000 backoff-max=1000000 max-abandoned=8 chain=\"identity name=work\" ! \
             fakesink sync=false",
            DEADLINE.as_nanos()
        ));
        let dog = pipeline.by_name("dog").unwrap().downcast::<gst::Bin>().unwrap();
        let (entered, left) = (Arc::new(Mutex::new(HashMap::new())), Arc::new(Mutex::new(Vec::new())));
        let in_line = Arc::clone(&entered);
        probe(&dog, "sink", move |buffer| {
            in_line.lock().unwrap().insert(buffer.pts(), Instant::now());
        });
        let out = Arc::clone(&left);
        probe(&dog, "src", move |buffer| {
            let came = entered.lock().unwrap().remove(&buffer.pts()).expect("a frame leaves once");
            let result = gstvigil::meta::get(buffer);
            let analysed = !result.is_some_and(|result| matches!(result.freshness, Freshness::Absent(_)));
            let at = Instant::now();
            out.lock().unwrap().push(Left { at, after: at - came, analysed });
        });
        pipeline.set_state(gst::State::Playing).unwrap();
        Self { pipeline, dog, left }
    }

    fn left(&self) -> Vec<Left> {
        self.left.lock().unwrap().clone()
    }

    /// Waits until this many more frames have been analysed in a row.
    fn wait_for_analysed(&self, count: usize) {
        let from = self.left().len();
        self.wait(|left| {
            left.get(from..).is_some_and(|new| new.iter().rev().take_while(|f| f.analysed).count() >= count)
        });
    }

    fn wait(&self, done: impl Fn(&[Left]) -> bool) {
        let end = Instant::now() + GUARD;
        while !done(&self.left()) {
            assert!(Instant::now() < end, "waited in vain");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// The next frame does not come back from the chain; waits until it has left. When it came in, by its place.
    fn hang(&self) -> usize {
        let work = self.dog.by_name("work").expect("the chain is there");
        let from = self.left().len();
        work.set_property("sleep-time", 2_000_000u32);
        self.wait(|left| left[from..].iter().any(|frame| !frame.analysed));
        self.left().iter().skip(from).position(|frame| !frame.analysed).unwrap() + from
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        let _ = self.pipeline.set_state(gst::State::Null);
    }
}

fn probe(element: &gst::Bin, pad: &str, what: impl Fn(&gst::BufferRef) + Send + Sync + 'static) {
    element.static_pad(pad).unwrap().add_probe(gst::PadProbeType::BUFFER, move |_, info| {
        what(info.buffer().unwrap());
        gst::PadProbeReturn::Ok
    });
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

fn largest_gap(left: &[Left]) -> f64 {
    let gaps = left.windows(2).map(|pair| milliseconds(pair[1].at - pair[0].at));
    gaps.fold(0.0, f64::max)
}

/// What a viewer sees of a chain that hangs.
fn hangs() {
    let live = Live::start();
    live.wait_for_analysed(HEALTHY);
    let from = live.left().len();
    live.wait(|left| left.len() >= from + QUIET);
    let calm = live.left().split_off(from);
    let longest = calm.iter().map(|frame| milliseconds(frame.after)).fold(0.0, f64::max);
    let period = 1e3 / f64::from(FPS);
    println!(
        "a healthy chain, {} frames, one each {period:.1} ms: the largest gap between two that leave is {:.1} ms, \
         the longest way through the bin {longest:.1} ms; {} were analysed",
        calm.len(),
        largest_gap(&calm),
        calm.iter().filter(|frame| frame.analysed).count()
    );
    let from = live.left().len();
    let firsts: Vec<_> = (0..HANGS)
        .map(|_| {
            let first = live.hang();
            live.wait_for_analysed(HEALTHY);
            first
        })
        .collect();
    let left = live.left();
    let mut after: Vec<_> = firsts.iter().map(|first| milliseconds(left[*first].after)).collect();
    after.sort_by(f64::total_cmp);
    let (deadline, worst) = (milliseconds(DEADLINE), left.iter().map(|f| milliseconds(f.after)).fold(0.0, f64::max));
    println!(
        "{HANGS} hangs, a deadline of {deadline:.0} ms: the frame that hangs leaves {:.1} ms after it came (median; {:.1} at most), \
         no frame later than {worst:.1} ms; the largest gap between two that leave is {:.1} ms, deadline + one period {:.1}; \
         {} frames left, {} of them untouched",
        median(after.clone()),
        after[HANGS - 1],
        largest_gap(&left[from..]),
        deadline + period,
        left.len() - from,
        left[from..].iter().filter(|frame| !frame.analysed).count()
    );
}

fn main() {
    if !std::env::args().any(|a| a == "--bench") {
        return;
    }
    gst::init().unwrap();
    gstvigil::plugin::plugin_register_static().unwrap();
    hangs();
    let identity = "identity ! identity";
    cost("identity, one frame per millisecond", identity, 1000, Some(Duration::from_millis(1)));
    cost("identity, a burst", identity, 1000, None);
    let infer = format!("vigilinfer model={}/tests/models/red.onnx threads=1", env!("CARGO_MANIFEST_DIR"));
    cost("vigilinfer, one frame per 5 milliseconds", &infer, 200, Some(Duration::from_millis(5)));
    cost("vigilinfer, a burst", &infer, 200, None);
}
