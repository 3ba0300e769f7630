//! What `isolation=process` costs, on request: `cargo bench --bench isolation`.
//!
//! Frames per second of a pipeline with the engine in its own process and in a process beside it, in turns: the same
//! model, threads and frames, 1280x720 NV12. The model is the installed bundle `people` where there is one, else a small one of
//! the tests. Then how long analysis is off when the process is killed, and the time that one run takes longer, measured with a model that does next to nothing.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a bench may")]

use std::time::Instant;

use gst::prelude::*;
use gstvigil::model::{Isolated, Model, Request};

const ROUNDS: usize = 15;
const FRAMES: u32 = 60;
const RUNS: u32 = 2000;
const KILLS: usize = 50;

fn main() {
    // Cargo's test runner asks benches for their tests.
    if !std::env::args().any(|a| a == "--bench") {
        return;
    }
    gst::init().unwrap();
    gstvigil::plugin::plugin_register_static().unwrap();
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/models");
    let people = gstvigil::paths::bundle_dirs().iter().any(|folder| folder.join("people/bundle.toml").is_file());
    let name = if people { "people".to_owned() } else { format!("{folder}/blob.onnx") };
    let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    for threads in [1, processors] {
        pipelines(&name, threads);
    }
    latency(&format!("{folder}/red.onnx"));
    returns(&name);
}

/// How long analysis is off after the engine's process was killed, fifty times in a row, beside what loading takes.
fn returns(name: &str) {
    let begun = Instant::now();
    let model = Model::load(&request(name, 1, true)).unwrap();
    let load = begun.elapsed().as_secs_f64();
    let (engine, mut io) = (model.lanes().engine(), model.io());
    let mut times: Vec<f64> = (0..KILLS)
        .map(|_| {
            let pid = engine.worker().and_then(|worker| worker.pid).unwrap();
            // SAFETY: a signal to a process that this one has started and not reaped.
            unsafe { libc::kill(pid as i32, libc::SIGKILL) };
            let begun = Instant::now();
            // The first run may still go to the process that dies.
            while engine.run(&mut io, None).is_err() || engine.worker().and_then(|worker| worker.pid) == Some(pid) {
                std::thread::sleep(std::time::Duration::from_millis(1));
            }
            begun.elapsed().as_secs_f64()
        })
        .collect();
    let middle = median(&mut times);
    let most = times.last().copied().unwrap_or_default();
    println!(
        "killed {KILLS} times: back after {middle:.2} s (median), {most:.2} s (longest); the first load took {load:.2} s"
    );
}

fn request(model: &str, threads: usize, isolated: bool) -> Request {
    let isolation = isolated.then(Isolated::default);
    Request { model: model.into(), provider: "auto".into(), threads, isolation, ..Request::default() }
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn pipelines(name: &str, threads: usize) {
    // Loaded once, so that the pipelines find their engine shared.
    let models = [false, true].map(|isolated| Model::load(&request(name, threads, isolated)).unwrap());
    let mut fps = [Vec::new(), Vec::new()];
    let mut ratios = Vec::new();
    for round in 0..ROUNDS {
        let mut of_round = [0.0; 2];
        // Each comes first in half of the rounds.
        for turn in [round % 2, 1 - round % 2] {
            of_round[turn] = turn_fps(name, threads, ["none", "process"][turn]);
            fps[turn].push(of_round[turn]);
        }
        ratios.push(of_round[1] / of_round[0]);
    }
    let [here, there] = fps.each_mut().map(|values| median(values));
    // Other work on the machine makes rounds slower, never faster: the best ones have seen the least of it.
    let [best_here, best_there] = fps.each_ref().map(|values| values.iter().copied().fold(0.0, f64::max));
    println!(
        "{}, {threads} threads, {ROUNDS} rounds: median {here:.1} fps in the process and {there:.1} isolated (median of the \
         ratios {:.3}), best {best_here:.1} and {best_there:.1} (ratio {:.3})",
        models[0].id().name,
        median(&mut ratios),
        best_there / best_here
    );
}

/// Frames per second of one pipeline, from its first frame to its last.
fn turn_fps(name: &str, threads: usize, isolation: &str) -> f64 {
    let line = format!(
        "videotestsrc num-buffers=1 ! video/x-raw,format=NV12,width=1280,height=720 ! imagefreeze num-buffers={FRAMES} ! \
         vigilinfer model={name} threads={threads} isolation={isolation} ! fakesink sync=false"
    );
    let pipeline = gst::parse::launch(&line).unwrap();
    pipeline.set_state(gst::State::Paused).unwrap();
    pipeline.state(gst::ClockTime::NONE).0.unwrap();
    let begun = Instant::now();
    pipeline.set_state(gst::State::Playing).unwrap();
    let end = [gst::MessageType::Eos, gst::MessageType::Error, gst::MessageType::Warning];
    let message = pipeline.bus().unwrap().timed_pop_filtered(gst::ClockTime::NONE, &end).unwrap();
    let seconds = begun.elapsed().as_secs_f64();
    assert_eq!(message.type_(), gst::MessageType::Eos, "{message:?}");
    pipeline.set_state(gst::State::Null).unwrap();
    f64::from(FRAMES) / seconds
}

/// What the way to the other process and back takes.
fn latency(name: &str) {
    let models = [false, true].map(|isolated| Model::load(&request(name, 1, isolated)).unwrap());
    let [here, there] = models.each_ref().map(|model| {
        let mut io = model.io();
        let mut times: Vec<f64> = (0..RUNS)
            .map(|_| {
                let begun = Instant::now();
                model.lanes().engine().run(&mut io, None).unwrap();
                begun.elapsed().as_secs_f64() * 1e6
            })
            .collect();
        median(&mut times)
    });
    println!("one run of red: {here:.1} µs in the process, {there:.1} µs isolated");
}
