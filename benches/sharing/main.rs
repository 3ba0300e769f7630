//! One engine for many cameras: `cargo bench --bench sharing [-- CAMERAS]`, on the machine's own clock.
//!
//! Sixteen cameras send 640x360 H.264 with 25 frames a second in real time; each is decoded on one thread and goes through
//! `vigilinfer` with YOLOX-nano at 320 x 320 pixels (test data), all on one engine. Said are the pace and delay of the video, how
//! evenly the engine is shared, and what it does against the same engine alone, on the processor time that decoding leaves over. In
//! turns: cameras whose frames lie apart and cameras in step, and engine threads of normal and of low priority. Last, what a run
//! of several pictures would gain.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a benchmark may")]

mod cameras;
#[path = "../swap/sizes.rs"]
mod sizes;

use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use cameras::{Phase, Seen};
use gstvigil::model::{Model, Request};
use gstvigil::telemetry::processor_time;

const CAMERAS: u32 = 16;
const WARM: Duration = Duration::from_secs(3);
const TIME: Duration = Duration::from_secs(10);

fn main() {
    // Cargo's test runner asks benches for their tests.
    if !std::env::args().any(|a| a == "--bench") {
        return;
    }
    let data = std::env::var_os("VIGIL_TEST_DATA").map(PathBuf::from);
    let data = data.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data"));
    let Ok(model) = std::fs::read(data.join("models/yolox_nano.onnx")) else {
        println!("skipped: the test data is not here (models/yolox_nano.onnx)");
        return;
    };
    let count = std::env::args().find_map(|a| a.parse().ok()).unwrap_or(CAMERAS);
    gst::init().unwrap();
    gstvigil::plugin::plugin_register_static().unwrap();
    let Some(clip) = cameras::clip() else { return };
    let folder = tempfile::tempdir().unwrap();
    let bundle = sizes::bundle(&model, ("small", 320), "", folder.path()).display().to_string();
    // Kept, so that every pipeline finds the engine loaded.
    let request = Request { model: bundle.clone(), provider: "auto".into(), ..Request::default() };
    let engine = Model::load(&request).unwrap();
    let processors = thread::available_parallelism().map_or(1, std::num::NonZero::get) as f64;

    let (rate, cost) = bare(&engine);
    println!("the engine alone: {rate:.1} runs a second, {:.2} ms of processor time each", cost * 1e3);
    let (seen, cpu) = cameras::run(&clip, (count, "identity", Phase::Spread), (WARM, TIME));
    let decoding = cpu.as_secs_f64() / TIME.as_secs_f64();
    println!("{count} cameras without it: {} in all, {decoding:.2} processors", video(&seen));
    for niceness in [0, 10] {
        for (name, phase) in [("apart", Phase::Spread), ("in step", Phase::Step)] {
            let stage = format!("vigilinfer model={bundle} when-busy=hold engine-niceness={niceness}");
            let (seen, cpu) = cameras::run(&clip, (count, &stage, phase), (WARM, TIME));
            let fresh = seen.iter().map(|seen| seen.fresh).sum::<usize>() as f64 / TIME.as_secs_f64();
            let left = (processors - decoding).max(0.0) / cost;
            println!(
                "{count} cameras {name}, niceness {niceness}: {}\n    {}\n    {fresh:.1} runs a second in all, {:.2} of the {left:.1} that \
                 ({processors} - {decoding:.2} processors) / {:.2} ms are; {:.2} processors",
                video(&seen),
                shares(&seen),
                fresh / left,
                cost * 1e3,
                cpu.as_secs_f64() / TIME.as_secs_f64()
            );
        }
    }
    batches(&data);
}

/// Runs a second of all lanes together, and seconds of processor time that one takes.
fn bare(model: &Model) -> (f64, f64) {
    let (begun, before) = (Instant::now(), processor_time());
    let lanes = model.lanes().engine().lanes();
    let runs: u32 = thread::scope(|scope| {
        let lane = || {
            let mut io = model.io();
            let mut runs = 0;
            while begun.elapsed() < TIME {
                model.lanes().engine().run(&mut io, None).unwrap();
                runs += 1;
            }
            runs
        };
        let lanes: Vec<_> = (0..lanes).map(|_| scope.spawn(lane)).collect();
        lanes.into_iter().map(|lane| lane.join().unwrap()).sum()
    });
    (f64::from(runs) / begun.elapsed().as_secs_f64(), (processor_time() - before).as_secs_f64() / f64::from(runs))
}

fn at<T: Copy + Ord + Default>(values: &mut [T], part: f64) -> T {
    values.sort_unstable();
    values.get(((values.len() as f64 * part) as usize).min(values.len().saturating_sub(1))).copied().unwrap_or_default()
}

fn video(seen: &[Seen]) -> String {
    let slowest = seen.iter().map(|seen| seen.frames).min().unwrap_or(0) as f64 / TIME.as_secs_f64();
    let mut delays: Vec<_> = seen.iter().flat_map(|seen| seen.delays.iter().copied()).collect();
    let ms = |time: Duration| time.as_secs_f64() * 1e3;
    let [half, most] = [0.5, 0.99].map(|part| ms(at(&mut delays, part)));
    format!("the slowest has {slowest:.1} frames a second; delay {half:.1} ms (median), {most:.1} ms (p99)")
}

fn shares(seen: &[Seen]) -> String {
    let rates = seen.iter().map(|seen| seen.fresh as f64 / TIME.as_secs_f64());
    let (least, most) = (rates.clone().fold(f64::INFINITY, f64::min), rates.clone().fold(0.0, f64::max));
    let mean = rates.sum::<f64>() / seen.len() as f64;
    let mut ages: Vec<_> = seen.iter().flat_map(|seen| seen.ages.iter().copied()).collect();
    let [half, most_age] = [0.5, 0.99].map(|part| at(&mut ages, part) as f64 / 1e6);
    format!(
        "looked at {least:.1} to {most:.1} frames a second each, {:.0} % from the mean of {mean:.2} at most; results are {half:.0} ms old \
         (median), {most_age:.0} ms (p99)",
        100.0 * (most - mean).max(mean - least) / mean.max(f64::MIN_POSITIVE)
    )
}

/// Time of one picture in runs of several, where a model's batch is free.
fn batches(data: &Path) {
    for (name, file) in
        [("tests/models/batch.onnx", None), ("person-reidentification", Some("person-reidentification-retail-0288"))]
    {
        let path = match file {
            None => Path::new(env!("CARGO_MANIFEST_DIR")).join(name),
            Some(file) => data.join(format!("models/{file}.onnx")),
        };
        let request = Request {
            model: path.display().to_string(),
            provider: "cpu".into(),
            threads: 1,
            batch: true,
            ..Request::default()
        };
        let Ok(model) = Model::load(&request) else {
            println!("{name}: cannot be loaded by itself");
            continue;
        };
        let mut line = format!("{name}, most pictures of a run {}:", model.batch());
        for batch in [1, 2, 4, 8].into_iter().filter(|batch| *batch <= model.batch()) {
            let mut io = model.io();
            model.resize_io(&mut io, batch);
            let mut times: Vec<_> = (0..50)
                .map(|_| {
                    let begun = Instant::now();
                    model.lanes().engine().run(&mut io, None).unwrap();
                    begun.elapsed()
                })
                .collect();
            line += &format!(" {:.3} ms by {batch},", at(&mut times, 0.5).as_secs_f64() * 1e3 / batch as f64);
        }
        println!("{}", line.trim_end_matches(','));
    }
}
