//! Cameras that send an encoded clip in real time, and what becomes of their frames.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use gst::prelude::*;
use gstvigil::result::Freshness;
use gstvigil::telemetry::processor_time;

pub const PERIOD: Duration = Duration::from_millis(40);
const CLIP: u64 = 250;

/// The clip's frames, encoded: 640x360 H.264, 25 frames a second. `None`, with a message, where GStreamer lacks what it takes.
pub fn clip() -> Option<(gst::Caps, Vec<gst::Buffer>)> {
    for element in ["x264enc", "h264parse", "avdec_h264"] {
        if gst::ElementFactory::find(element).is_none() {
            println!("skipped: there is no element {element}");
            return None;
        }
    }
    let line = format!(
        "videotestsrc num-buffers={CLIP} pattern=ball ! video/x-raw,format=I420,width=640,height=360,framerate=25/1 ! \
         x264enc tune=zerolatency speed-preset=veryfast bitrate=1000 key-int-max=25 ! h264parse ! \
         video/x-h264,stream-format=byte-stream,alignment=au ! appsink name=out sync=false"
    );
    let pipeline = gst::parse::launch(&line).unwrap().downcast::<gst::Pipeline>().unwrap();
    let out = pipeline.by_name("out").unwrap().downcast::<gst_app::AppSink>().unwrap();
    pipeline.set_state(gst::State::Playing).unwrap();
    let samples: Vec<_> = std::iter::from_fn(|| out.pull_sample().ok()).collect();
    pipeline.set_state(gst::State::Null).unwrap();
    let caps = samples[0].caps_owned().unwrap();
    Some((caps, samples.iter().map(|sample| sample.buffer_owned().unwrap()).collect()))
}

/// What became of a camera's frames after the warm-up.
#[derive(Default)]
pub struct Seen {
    pub frames: usize,
    pub fresh: usize,
    /// From being sent to leaving the pipeline.
    pub delays: Vec<Duration>,
    /// Age of what each frame's result says, nanoseconds; those without one are left out.
    pub ages: Vec<u64>,
}

/// How the cameras' frames lie, relative to one another.
#[derive(Clone, Copy)]
pub enum Phase {
    Spread,
    Step,
}

/// Runs cameras for `warm` and then for `time`: `count` of them, each with `stage` behind its decoder. Also gives the processor
/// time that the process took in the latter.
pub fn run(
    (caps, clip): &(gst::Caps, Vec<gst::Buffer>),
    (count, stage, phase): (u32, &str, Phase),
    (warm, time): (Duration, Duration),
) -> (Vec<Seen>, Duration) {
    let counting = Arc::new(AtomicBool::new(false));
    let cameras: Vec<_> = (0..count).map(|_| Camera::new(caps, stage, &counting)).collect();
    let start = Instant::now() + Duration::from_millis(200);
    let frames = ((warm + time).as_nanos() / PERIOD.as_nanos()) as u32;
    let cpu = thread::scope(|scope| {
        for (i, camera) in cameras.iter().enumerate() {
            let offset = match phase {
                Phase::Spread => PERIOD * i as u32 / count,
                Phase::Step => Duration::ZERO,
            };
            scope.spawn(move || camera.send(clip, start + offset, frames));
        }
        thread::sleep((start + warm).saturating_duration_since(Instant::now()));
        counting.store(true, Ordering::SeqCst);
        let before = processor_time();
        thread::sleep(time);
        counting.store(false, Ordering::SeqCst);
        processor_time() - before
    });
    (cameras.into_iter().map(Camera::finish).collect(), cpu)
}

struct Camera {
    pipeline: gst::Pipeline,
    source: gst_app::AppSrc,
    sent: Arc<Mutex<Vec<Instant>>>,
    seen: Arc<Mutex<Seen>>,
}

impl Camera {
    fn new(caps: &gst::Caps, stage: &str, counting: &Arc<AtomicBool>) -> Self {
        let line = format!(
            "appsrc name=camera format=time is-live=true ! h264parse ! avdec_h264 max-threads=1 ! {stage} ! \
             fakesink name=out sync=false async=false"
        );
        let pipeline = gst::parse::launch(&line).unwrap().downcast::<gst::Pipeline>().unwrap();
        let source = pipeline.by_name("camera").unwrap().downcast::<gst_app::AppSrc>().unwrap();
        source.set_caps(Some(caps));
        let (sent, seen) = (Arc::new(Mutex::new(Vec::<Instant>::new())), Arc::new(Mutex::new(Seen::default())));
        let (of_sent, of_seen, counting) = (Arc::clone(&sent), Arc::clone(&seen), Arc::clone(counting));
        let out = pipeline.by_name("out").unwrap().static_pad("sink").unwrap();
        out.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
            let Some(buffer) = info.buffer().filter(|_| counting.load(Ordering::SeqCst)) else {
                return gst::PadProbeReturn::Ok;
            };
            let number = buffer.pts().unwrap().mseconds() / 40;
            let delay = of_sent.lock().unwrap()[number as usize].elapsed();
            let mut seen = of_seen.lock().unwrap();
            seen.frames += 1;
            seen.delays.push(delay);
            match gstvigil::meta::get(buffer).map(|result| result.freshness) {
                Some(Freshness::Fresh) => {
                    seen.fresh += 1;
                    seen.ages.push(0);
                }
                Some(Freshness::Held { age_ns }) => seen.ages.push(age_ns),
                _ => {}
            }
            gst::PadProbeReturn::Ok
        });
        pipeline.set_state(gst::State::Playing).unwrap();
        Self { pipeline, source, sent, seen }
    }

    fn send(&self, clip: &[gst::Buffer], start: Instant, frames: u32) {
        for n in 0..frames {
            thread::sleep((start + PERIOD * n).saturating_duration_since(Instant::now()));
            let mut buffer = clip[n as usize % clip.len()].copy();
            let time = gst::ClockTime::from_mseconds(40 * u64::from(n));
            let of = buffer.get_mut().unwrap();
            of.set_pts(time);
            of.set_dts(time);
            self.sent.lock().unwrap().push(Instant::now());
            self.source.push_buffer(buffer).unwrap();
        }
    }

    fn finish(self) -> Seen {
        self.pipeline.set_state(gst::State::Null).unwrap();
        std::mem::take(&mut self.seen.lock().unwrap())
    }
}
