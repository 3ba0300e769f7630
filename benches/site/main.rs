//! What a site of many cameras costs, and whether they leave each other alone: `cargo bench --bench site [-- PART…]`.
//!
//! Sixteen H.264 cameras of 640x360, 25 frames a second, from an RTSP server in a process of its own on the loopback, on one
//! detector for all of them (`people` where it is installed, else a small model of the tests). Parts: `share` (frames and
//! inferences of all, against the bare engine), `memory`, `change` (a camera is added and removed), `cycles` (200 times),
//! `start` (64 test pictures), `faults` (one of 16 is gone, silent, corrupt), `outage` (a broker goes away while all export), `telemetry` (all of
//! it, and without). Without a word all of them.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a benchmark may")]

mod measure;
mod outage;
mod server;
mod telemetry;

use std::time::{Duration, Instant};

use gstvigil::model::{Model, Request};
use gstvigil::site::live::Site;
use gstvigil::site::live::introspect::Registry;
use gstvigil::site::plan::Plan;
use gstvigil::site::status::State;
use gstvigil::site::{read, resolve};
use measure::{Watch, processor_time, resident, spread, threads};
use server::Cameras;

const CAMERAS: usize = 16;
const SETTLE: Duration = Duration::from_secs(5);
const SPAN: Duration = Duration::from_secs(20);
const FPS: f64 = 25.0;

/// Measures something with this model.
type Part = fn(&str);

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    // Cargo's test runner asks benches for their tests.
    if !words.iter().any(|word| word == "--bench") {
        return;
    }
    gst::init().unwrap();
    if let Some(at) = words.iter().position(|word| word == server::SERVE) {
        return server::serve(words[at + 1].parse().unwrap());
    }
    gstvigil::plugin::plugin_register_static().unwrap();
    let parts: [(&str, Part); 8] = [
        ("share", share),
        ("memory", memory),
        ("change", change),
        ("cycles", cycles),
        ("start", start),
        ("faults", faults),
        ("outage", outage::outage),
        ("telemetry", telemetry::telemetry),
    ];
    let chosen: Vec<&String> = words.iter().filter(|word| !word.starts_with('-')).collect();
    let model = model();
    println!("model: {model}");
    for (name, part) in parts {
        if chosen.is_empty() || chosen.iter().any(|word| *word == name) {
            part(&model);
        }
    }
}

fn model() -> String {
    let people = gstvigil::paths::bundle_dirs().iter().any(|folder| folder.join("people/bundle.toml").is_file());
    if people { "people".into() } else { concat!(env!("CARGO_MANIFEST_DIR"), "/tests/models/blob.onnx").into() }
}

/// A plan from a description's tables.
fn plan(tables: &str) -> Plan {
    let text = format!("format = 1\nname = \"bench\"\n{tables}");
    let (document, problems) = read::read_text(&text, "bench.toml", std::path::Path::new("/"));
    assert!(!problems.has_errors(), "{problems}");
    resolve::resolve(&document.unwrap(), &Registry::new()).unwrap_or_else(|problems| panic!("{problems}")).0
}

/// `count` cameras of the server, analysed by `model` unless that is empty.
fn site(port: u16, count: usize, model: &str) -> Plan {
    let mut tables = String::new();
    if !model.is_empty() {
        tables += &format!(
            "[profile.all]\nstage = [{{ element = \"vigilinfer\", model = \"{model}\" }}, {{ element = \"vigiltrack\" }}]\n[defaults]\nprofile = \"all\"\n"
        );
    }
    for camera in 0..count {
        tables += &format!("[camera.c{camera:02}]\nuri = \"rtsp://127.0.0.1:{port}/{camera}\"\n");
    }
    plan(&tables)
}

fn playing(site: &Site, count: usize) -> Duration {
    let begun = Instant::now();
    while site.cameras().iter().filter(|camera| camera.state == State::Playing).count() < count {
        assert!(begun.elapsed() < Duration::from_secs(120), "{:#?}", site.cameras());
        std::thread::sleep(Duration::from_millis(20));
    }
    begun.elapsed()
}

/// Runs of a second of the engine by itself, on all of its lanes.
fn bare(model: &str) -> f64 {
    let model = Model::load(&Request { model: model.into(), provider: "auto".into(), ..Request::default() }).unwrap();
    let engine = model.lanes().engine();
    let (begun, limit) = (Instant::now(), Duration::from_secs(5));
    let runs: u32 = std::thread::scope(|scope| {
        let lanes = (0..engine.lanes()).map(|_| {
            let mut io = model.io();
            scope.spawn(move || {
                let mut runs = 0;
                while begun.elapsed() < limit {
                    engine.run(&mut io, None).unwrap();
                    runs += 1;
                }
                runs
            })
        });
        let lanes: Vec<_> = lanes.collect();
        lanes.into_iter().map(|lane| lane.join().unwrap()).sum()
    });
    f64::from(runs) / begun.elapsed().as_secs_f64()
}

/// Frames that the model has looked at, by camera.
fn looked(site: &Site) -> Vec<u64> {
    let fresh = |stats: &serde_json::Value| stats.get("fresh").and_then(serde_json::Value::as_u64).unwrap_or(0);
    site.cameras().iter().map(|camera| camera.stages.get("infer").map_or(0, fresh)).collect()
}

fn share(model: &str) {
    let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get) as f64;
    let alone = bare(model);
    let cameras = Cameras::start(CAMERAS);
    // What decoding takes: this process without analysis, and the server's.
    let run = |model: &str| {
        let live = Site::new();
        live.apply(site(cameras.port, CAMERAS, model));
        playing(&live, CAMERAS);
        std::thread::sleep(SETTLE);
        let watch = Watch::of(&live);
        let (before, own, servers) = (looked(&live), processor_time(), cameras.processor_time());
        std::thread::sleep(SPAN);
        let after = looked(&live);
        let (own, servers) = (processor_time() - own, cameras.processor_time() - servers);
        let seconds = SPAN.as_secs_f64();
        let runs: Vec<f64> = before.iter().zip(&after).map(|(b, a)| (a - b) as f64 / seconds).collect();
        let rates = watch.rates();
        live.stop(Duration::from_secs(10));
        (runs, rates, own / seconds, servers / seconds)
    };
    let (_, rates, decoding, serving) = run("");
    println!(
        "share: {CAMERAS} cameras, not analysed: {} frames a second each; {decoding:.2} processors, the server {serving:.2}",
        spread(&rates)
    );
    let (runs, rates, all, serving_too) = run(model);
    let total: f64 = runs.iter().sum();
    let left = (processors - decoding - serving).max(0.0) / processors;
    println!("  analysed: {} frames a second each; {all:.2} processors, the server {serving_too:.2}", spread(&rates));
    println!("  inferences a second: {total:.1} in all, {} each", spread(&runs));
    println!(
        "  the bare engine: {alone:.1} on {processors} processors; decoding and the server leave {:.0} % of them: {:.1}; ratio {:.3}",
        100.0 * left,
        alone * left,
        total / (alone * left)
    );
}

fn memory(model: &str) {
    let cameras = Cameras::start(CAMERAS);
    let live = Site::new();
    let mut sizes = Vec::new();
    for count in [1, CAMERAS] {
        live.apply(site(cameras.port, count, model));
        playing(&live, count);
        std::thread::sleep(SETTLE * 2);
        sizes.push(resident());
        println!("memory: {count} cameras: {:.1} MiB, {} threads", resident(), threads());
    }
    live.stop(Duration::from_secs(10));
    println!("  {:.1} MiB for each more", (sizes[1] - sizes[0]) / (CAMERAS - 1) as f64);
}

fn change(model: &str) {
    let cameras = Cameras::start(CAMERAS);
    let live = Site::new();
    live.apply(site(cameras.port, CAMERAS - 1, model));
    playing(&live, CAMERAS - 1);
    std::thread::sleep(SETTLE);
    let watch = Watch::of(&live);
    std::thread::sleep(SPAN);
    println!("change: {} cameras left alone: gaps in periods (median, 99 %, longest): {}", CAMERAS - 1, watch.gaps());
    let watch = Watch::of(&live);
    for _ in 0..5 {
        live.apply(site(cameras.port, CAMERAS, model));
        playing(&live, CAMERAS);
        std::thread::sleep(Duration::from_secs(1));
        live.apply(site(cameras.port, CAMERAS - 1, model));
        std::thread::sleep(Duration::from_secs(1));
    }
    println!(
        "  while another one comes and goes five times: gaps in periods (median, 99 %, longest): {}",
        watch.gaps()
    );
    live.stop(Duration::from_secs(10));
}

fn cycles(model: &str) {
    let cameras = Cameras::start(2);
    let live = Site::new();
    live.apply(site(cameras.port, 1, model));
    playing(&live, 1);
    for cycle in 0..=200 {
        if [10, 100, 200].contains(&cycle) {
            std::thread::sleep(SETTLE);
            println!("cycles: after {cycle}: {:.1} MiB, {} threads", resident(), threads());
        }
        live.apply(site(cameras.port, 2, model));
        playing(&live, 2);
        live.apply(site(cameras.port, 1, model));
    }
    live.stop(Duration::from_secs(10));
}

fn start(_: &str) {
    let tables: String = (0..64)
        .map(|n| {
            format!("[camera.c{n}]\nuri = \"test:ball\"\ncaps = \"video/x-raw,width=320,height=180,framerate=5/1\"\n")
        })
        .collect();
    let plan = plan(&tables);
    let live = Site::new();
    let begun = Instant::now();
    live.apply(plan);
    playing(&live, 64);
    println!(
        "start: 64 test pictures, all playing after {:.2} s; {} threads, {:.1} MiB",
        begun.elapsed().as_secs_f64(),
        threads(),
        resident()
    );
    let begun = Instant::now();
    live.stop(Duration::from_secs(30));
    println!("  all ended after {:.2} s", begun.elapsed().as_secs_f64());
}

fn faults(model: &str) {
    for ill in ["silent", "corrupt", "gone"] {
        let mut cameras = Cameras::start(CAMERAS);
        let live = Site::new();
        live.apply(site(cameras.port, CAMERAS, model));
        playing(&live, CAMERAS);
        std::thread::sleep(SETTLE);
        let span = |label: &str| {
            let watch = Watch::but_first(&live);
            std::thread::sleep(SPAN);
            println!(
                "faults: {label}: the other {} get {} frames a second; gaps in periods (median, 99 %, longest): {}",
                CAMERAS - 1,
                spread(&watch.rates()),
                watch.gaps()
            );
        };
        span("all are well");
        cameras.make(ill);
        span(ill);
        let first = live.camera("c00").unwrap();
        println!(
            "  the first one is {:?}, {:?}, after {} reconnections; {} frames a second are wanted",
            first.state, first.reason, first.reconnects, FPS
        );
        live.stop(Duration::from_secs(10));
    }
}
