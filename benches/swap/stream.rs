//! A paced stream through `vigilinfer`, with what became of each frame.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use gst::prelude::*;
use gstvigil::result::Freshness;

/// What takes longer than this has not happened.
const GUARD: gst::ClockTime = gst::ClockTime::from_seconds(120);
const SIZE: (usize, usize) = (1920, 1080);

/// A frame on its way in.
#[derive(Debug, Clone, Copy)]
pub struct Entered {
    /// Since the frame before, by plan.
    pub late: Duration,
    /// What the streaming thread spent in the element, waits included.
    pub wall: Duration,
    /// The processor time of that.
    pub cpu: Duration,
}

/// A frame that came out.
#[derive(Debug, Clone)]
pub struct Left {
    pub at: Instant,
    pub fresh: bool,
    /// Release of the model that looked at it.
    pub release: String,
}

/// What became of all frames of a run, in order.
#[derive(Debug, Default)]
pub struct Log {
    pub entered: Vec<Entered>,
    pub left: Vec<Left>,
}

/// A pipeline of one `vigilinfer`, fed by the thread that calls [`Stream::push`].
pub struct Stream {
    pipeline: gst::Pipeline,
    pub infer: gst::Element,
    source: gst::Pad,
    memory: gst::Memory,
    sent: AtomicU64,
    left: Arc<Mutex<Vec<Left>>>,
}

impl Stream {
    pub fn start(properties: &str) -> Self {
        let line = format!("vigilinfer name=infer {properties} ! fakesink name=out sync=false async=false");
        let pipeline = gst::parse::launch(&line).unwrap().downcast::<gst::Pipeline>().unwrap();
        let infer = pipeline.by_name("infer").unwrap();
        let source = gst::Pad::builder(gst::PadDirection::Src).name("camera").build();
        source.link(&infer.static_pad("sink").unwrap()).unwrap();
        let left = Arc::new(Mutex::new(Vec::new()));
        let of_probe = Arc::clone(&left);
        let out = pipeline.by_name("out").unwrap().static_pad("sink").unwrap();
        out.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
            let at = Instant::now();
            let result = info.buffer().and_then(|buffer| gstvigil::meta::get(buffer)).unwrap();
            let release = result.model.as_ref().map_or_else(String::new, |model| model.release.clone());
            of_probe.lock().unwrap().push(Left { at, fresh: result.freshness == Freshness::Fresh, release });
            gst::PadProbeReturn::Ok
        });
        pipeline.set_state(gst::State::Playing).unwrap();
        source.set_active(true).unwrap();
        let caps = format!("video/x-raw,format=NV12,width={},height={},framerate=30/1", SIZE.0, SIZE.1);
        let caps: gst::Caps = caps.parse().unwrap();
        let segment = gst::FormattedSegment::<gst::ClockTime>::new();
        let events =
            [gst::event::StreamStart::new("camera"), gst::event::Caps::new(&caps), gst::event::Segment::new(&segment)];
        events.into_iter().for_each(|event| assert!(source.push_event(event)));
        // One memory for all frames: making frames is not what is measured. The picture is a gradient.
        let bytes: Vec<u8> = (0..SIZE.0 * SIZE.1 * 3 / 2).map(|i| (i % SIZE.0 / 8) as u8).collect();
        Self { pipeline, infer, source, memory: gst::Memory::from_slice(bytes), sent: AtomicU64::new(0), left }
    }

    /// Pushes frames, one a `period` or as fast as they are taken, for as long as `goes_on` says; it hears the number of
    /// the next one.
    pub fn push(&self, period: Option<Duration>, mut goes_on: impl FnMut(u64) -> bool) -> Log {
        self.left.lock().unwrap().clear();
        let (begun, mut entered, mut number) = (Instant::now(), Vec::new(), 0);
        while goes_on(number) {
            let due = begun + period.unwrap_or_default() * number as u32;
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            let (start, cpu) = (Instant::now(), thread_time());
            self.source.push(self.frame()).unwrap();
            entered.push(Entered {
                late: start.saturating_duration_since(due),
                wall: start.elapsed(),
                cpu: thread_time() - cpu,
            });
            number += 1;
        }
        // A serialised event waits until the frames before it are out.
        let tag = gst::event::CustomDownstream::new(gst::Structure::new_empty("all-of-them"));
        assert!(self.source.push_event(tag));
        Log { entered, left: std::mem::take(&mut self.left.lock().unwrap()) }
    }

    fn frame(&self) -> gst::Buffer {
        let number = self.sent.fetch_add(1, Ordering::Relaxed);
        let mut buffer = gst::Buffer::new();
        let writable = buffer.get_mut().unwrap();
        writable.append_memory(self.memory.clone());
        writable.set_pts(gst::ClockTime::from_nseconds(number * 1_000_000_000 / 30));
        buffer
    }

    /// Asks for a model; the number of the request.
    pub fn ask(&self, model: &str, options: &str) -> u64 {
        let options: gst::Structure = options.parse().unwrap();
        self.infer.emit_by_name("swap-model", &[&model, &Some(options)])
    }

    /// How the request ended: the structure of its last message.
    pub fn outcome(&self, request: u64) -> gst::Structure {
        let bus = self.pipeline.bus().unwrap();
        loop {
            let kinds = [gst::MessageType::Element, gst::MessageType::Error];
            let message = bus.timed_pop_filtered(GUARD, &kinds).expect("the swap ends");
            if let gst::MessageView::Error(error) = message.view() {
                panic!("{error:?}");
            }
            let said = message.structure().filter(|s| s.name() == "vigil-model");
            let Some(said) = said.filter(|s| s.get::<u64>("request-id") == Ok(request)) else { continue };
            if ["confirmed", "rejected", "rolled-back"].contains(&said.get::<&str>("phase").unwrap()) {
                return said.to_owned();
            }
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let _ = self.source.set_active(false);
        let _ = self.pipeline.set_state(gst::State::Null);
    }
}

/// Processor time of this thread.
fn thread_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the clock exists on every Linux, and `time` is a timespec to write to.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}
