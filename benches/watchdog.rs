//! What `vigilwatchdog` costs: processor time per frame, of the whole process, with and without it around the same chain.
//!
//! `cargo bench --bench watchdog`: frames come one per millisecond, so that every thread sleeps between two of them as it does
//! beside a camera; a burst shows what it costs when nobody waits. Rounds with and without the bin take turns.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a benchmark may")]

use std::time::{Duration, Instant};

use gst::prelude::*;

const FRAMES: u32 = 2000;
const ROUNDS: usize = 5;

fn processor_time() -> Duration {
    // SAFETY: an all-zero rusage is a valid value of that plain C struct, and the pointer is valid for writing.
    let usage = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        libc::getrusage(libc::RUSAGE_SELF, &mut usage);
        usage
    };
    let time = |t: libc::timeval| Duration::new(t.tv_sec as u64, t.tv_usec as u32 * 1000);
    time(usage.ru_utime) + time(usage.ru_stime)
}

/// Processor time for `FRAMES` frames of 1920×1080 NV12 through `element`.
fn round(description: &str, pace: Option<Duration>) -> Duration {
    let line = format!(
        "appsrc name=in format=time max-buffers=4 block=true caps=video/x-raw,format=NV12,width=1920,height=1080,framerate=30/1 ! \
         {description} ! fakesink name=out sync=false async=false signal-handoffs=true"
    );
    let pipeline = gst::parse::launch(&line).unwrap().downcast::<gst::Pipeline>().unwrap();
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
    for n in 0..FRAMES + 100 {
        if n == 100 {
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
    spent
}

fn median(mut times: Vec<Duration>) -> f64 {
    times.sort();
    times[times.len() / 2].as_secs_f64() * 1e6 / f64::from(FRAMES)
}

fn main() {
    if !std::env::args().any(|a| a == "--bench") {
        return;
    }
    gst::init().unwrap();
    gstvigil::plugin::plugin_register_static().unwrap();
    let with = "vigilwatchdog deadline=1000000000 chain=\"identity ! identity\"";
    for (name, pace) in [("one frame per millisecond", Some(Duration::from_millis(1))), ("a burst", None)] {
        let (mut plain, mut bin) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            plain.push(round("identity ! identity", pace));
            bin.push(round(with, pace));
        }
        let (plain, bin) = (median(plain), median(bin));
        println!(
            "{name}: {plain:.1} us of processor time per frame without, {bin:.1} with: the bin costs {:.1} us",
            bin - plain
        );
    }
}
