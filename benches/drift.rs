//! Figures of drift, peers and their cost on request: `cargo bench --bench drift`, or some of them:
//! `cargo bench --bench drift -- false delay recorded peers cost`.
//!
//! Simulated cameras (`drift/world.rs`), and detections recorded for MOT sequences where ../shared/data is there. Hours and
//! counts do not depend on the machine; the cost is told as a ratio to that of making the record.

#[path = "drift/world.rs"]
mod world;

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use gstvigil::drift::{CameraKey, Config, Fleet, FleetConfig, Monitor, PeerState, State, Summary};
use gstvigil::export::{Context, Record};
use world::{FAULTS, Fault, Recorded, Rng, Scene, World};

const DAY_S: f64 = 86_400.0;
const WINDOW_S: f64 = 300.0;
/// Time between frames where only days matter; what a window says hardly depends on it.
const SPARSE_S: f64 = 10.0;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    // Cargo's test runner asks benches for their tests.
    if !args.iter().any(|a| a == "--bench") {
        return;
    }
    let all = args.len() == 1;
    let wanted = |name: &str| all || args.iter().any(|a| a == name);
    let recorded = world::recorded().map(Arc::new);
    if wanted("false") {
        false_alarms("simulated", 200, &Scene::varied);
    }
    if wanted("delay") {
        delays("one simulated scene, 4 things in view", 200, 0.2, &|_| Scene::ordinary());
        delays("simulated scenes, 0.5 to 8 things in view", 200, 0.2, &Scene::varied);
        delays("one simulated scene, 25 frames a second", 40, 0.04, &|_| Scene::ordinary());
    }
    if wanted("recorded") {
        match &recorded {
            None => println!("recorded detections: left out, ../shared/data/mot is not there"),
            Some(tracks) => {
                println!("recorded detections: {} tracks of the MOT sequences", tracks.len());
                let scene = |seed| replayed(Scene::varied(seed), tracks);
                false_alarms("recorded", 100, &scene);
                delays("recorded, 0.5 to 8 things in view", 200, 0.2, &scene);
            }
        }
    }
    if wanted("peers") {
        peers(100);
    }
    if wanted("cost") {
        cost();
    }
}

fn replayed(mut scene: Scene, tracks: &Arc<Recorded>) -> Scene {
    scene.recorded = Some(tracks.clone());
    // What is smaller than this counts as small for the blur; the recorded boxes' median is a tenth of the frame.
    scene.area_log2.0 = -3.3;
    scene
}

/// The first seed. Constants of the monitor were chosen while looking at seeds below 1000.
const FIRST_SEED: u64 = 10_000;

/// Runs `job` for each of so many seeds, on two threads.
fn each<T: Send>(seeds: u64, job: impl Fn(u64) -> T + Sync) -> Vec<T> {
    std::thread::scope(|scope| {
        let half = |start| {
            let job = &job;
            scope.spawn(move || (start..seeds).step_by(2).map(|seed| FIRST_SEED + seed).map(job).collect::<Vec<T>>())
        };
        [half(0), half(1)].into_iter().flat_map(|thread| thread.join().unwrap_or_default()).collect()
    })
}

/// Alarms over 60 days after one of learning.
fn false_alarms(name: &str, cameras: u64, scene: &(impl Fn(u64) -> Scene + Sync)) {
    let alarms = each(cameras, |seed| {
        let mut world = World::new(scene(seed), seed);
        let mut monitor = Monitor::new(Config::default());
        let mut alarms = 0u32;
        while world.time_s < 61.0 * DAY_S {
            world.step(SPARSE_S);
            if let Some(report) = monitor.observe(&world.result, world.now()) {
                alarms += u32::from(report.is_news() && report.state == State::Drifting);
            }
        }
        alarms
    });
    let with = |least| alarms.iter().filter(|&&n| n >= least).count();
    println!(
        "false alarms, {name}: {} on {cameras} cameras in 60 days, stated are {} at most; {} cameras have one or more, {} more than 2, the worst {}",
        alarms.iter().sum::<u32>(),
        2 * cameras,
        with(1),
        with(3),
        alarms.iter().max().unwrap_or(&0)
    );
}

/// How long it takes until a fault is told that begins at some time of the second or third day.
fn delays(name: &str, seeds: u64, frame_s: f64, scene: &(impl Fn(u64) -> Scene + Sync)) {
    for fault in FAULTS {
        let found = each(seeds, |seed| {
            let mut world = World::new(scene(seed), seed + 1000);
            let mut monitor = Monitor::new(Config::default());
            let start = (1.25 + Rng::new(seed).uniform()) * DAY_S;
            let (mut seen, mut frames) = (0.0, 0u64);
            while world.time_s < start + 2.0 * DAY_S {
                let faulty = world.time_s >= start;
                world.fault = if faulty { fault } else { Fault::None };
                world.step(if faulty { frame_s } else { SPARSE_S });
                if faulty {
                    frames += 1;
                    seen += world.result.objects.len() as f64;
                }
                if let Some(report) = monitor.observe(&world.result, world.now())
                    && faulty
                    && report.state == State::Drifting
                {
                    return Some((frames, seen));
                }
            }
            None
        });
        let mut found_in: Vec<u64> = found.iter().flatten().map(|f| f.0).collect();
        found_in.sort_unstable();
        let at = |share: usize| found_in.get((seeds as usize - 1) * share / 100).copied();
        let text = |frames: Option<u64>| match frames {
            Some(n) => format!(
                "{n} frames ({:.1} h, {:.0} windows)",
                n as f64 * frame_s / 3600.0,
                n as f64 * frame_s / WINDOW_S
            ),
            None => "more than 48 h".into(),
        };
        println!(
            "{name}: {fault:?} found in {} of {seeds}; median {}, 90 % {}, worst {}",
            found_in.len(),
            text(at(50)),
            text(at(90)),
            text(at(100))
        );
    }
}

/// One camera of 16 goes bad at some time of the second day.
fn peers(fleets: u64) {
    for alike in [true, false] {
        let name = if alike { "cameras that see alike" } else { "cameras that see different things" };
        let scene = |seed: u64| if alike { Scene::ordinary() } else { Scene::varied(seed) };
        let clean = each(fleets, |seed| run_fleet(seed, Fault::None, &scene).0);
        println!(
            "peers, {name}: in a day without a fault {} of {} cameras are told odd, in {} of {fleets} fleets",
            clean.iter().sum::<usize>(),
            16 * fleets,
            clean.iter().filter(|&&n| n > 0).count()
        );
        for fault in FAULTS {
            let mut found: Vec<f64> =
                each(fleets, |seed| run_fleet(seed, fault, &scene).1).into_iter().flatten().collect();
            found.sort_by(f64::total_cmp);
            let at = |share: usize| found.get((found.len().max(1) - 1) * share / 100).copied().unwrap_or(f64::NAN);
            println!(
                "peers, {name}: {fault:?} of one of 16 found in {} of {fleets} fleets by the end of the next day; of these in hours median {:.1}, worst {:.1}",
                found.len(),
                at(50),
                at(100)
            );
        }
    }
}

/// Cameras told odd before the fault, and the hours until the bad one is told.
fn run_fleet(seed: u64, fault: Fault, scene: &impl Fn(u64) -> Scene) -> (usize, Option<f64>) {
    let mut worlds: Vec<World> = (0..16).map(|i| World::new(scene(16 * seed + i), 16 * seed + i)).collect();
    let mut hours: Vec<std::collections::VecDeque<Summary>> = vec![Default::default(); 16];
    let mut fleet = Fleet::new(FleetConfig::default());
    let bad = (seed % 16) as usize;
    let start = DAY_S * (0.25 + 0.5 * Rng::new(seed).uniform());
    let mut odd = std::collections::BTreeSet::new();
    let mut time_s = 0.0;
    while time_s < 2.0 * DAY_S {
        time_s += WINDOW_S;
        let faulty = fault != Fault::None && time_s > start;
        if fault == Fault::None && time_s > DAY_S {
            break;
        }
        let now = Duration::from_secs_f64(time_s);
        for (i, (world, hour)) in worlds.iter_mut().zip(&mut hours).enumerate() {
            world.fault = if faulty && i == bad { fault } else { Fault::None };
            let mut summary = Summary::default();
            while world.time_s < time_s {
                world.step(SPARSE_S);
                summary.add(&world.result);
            }
            hour.push_back(summary);
            if hour.len() > 12 {
                hour.pop_front();
            }
            let mut all = Summary::default();
            hour.iter().for_each(|s| all.merge(s));
            let key = CameraKey { gateway: "g".into(), camera: i.to_string(), profile: "p".into() };
            fleet.observe(key, "d", all, now);
        }
        for report in fleet.compare(now).into_iter().filter(|r| r.is_news() && r.state == PeerState::Odd) {
            if !faulty {
                odd.insert(report.key);
            } else if report.key.camera == bad.to_string() {
                return (odd.len(), Some((time_s - start) / 3600.0));
            }
        }
    }
    (odd.len(), None)
}

/// What a frame costs, against what its record costs.
fn cost() {
    for things in [4.0, 40.0] {
        let mut world = World::new(Scene { busy: things, night: 1.0, ..Scene::ordinary() }, 1);
        let context = Context::new("camera", 0);
        (0..5000).for_each(|_| world.step(1.0));
        let mut monitor = Monitor::new(Config::default());
        let mut frames = Vec::new();
        for _ in 0..200 {
            world.step(0.04);
            frames.push(world.result.clone());
        }
        let now = world.now();
        let mut best = [f64::INFINITY; 2];
        for _ in 0..50 {
            let start = Instant::now();
            for frame in &frames {
                black_box(monitor.observe(black_box(frame), now));
            }
            best[0] = best[0].min(start.elapsed().as_nanos() as f64 / frames.len() as f64);
            let start = Instant::now();
            frames
                .iter()
                .for_each(|frame| drop(black_box(Record::new(frame, &context, 1, &Default::default()).to_line())));
            best[1] = best[1].min(start.elapsed().as_nanos() as f64 / frames.len() as f64);
        }
        println!(
            "cost with {:.0} objects: {:.0} ns a frame, {:.3} of making its record ({:.0} ns)",
            frames.iter().map(|f| f.objects.len()).sum::<usize>() as f64 / frames.len() as f64,
            best[0],
            best[0] / best[1],
            best[1]
        );
    }
    end_of_window();
}

/// What the end of a window costs, once and at the end of learning.
fn end_of_window() {
    let mut world = World::new(Scene::ordinary(), 1);
    let mut monitor = Monitor::new(Config::default());
    let (mut learning, mut testing) = (0f64, Vec::new());
    while world.time_s < 1.5 * DAY_S {
        world.step(SPARSE_S);
        let was = monitor.report().state;
        let start = Instant::now();
        let state = monitor.observe(&world.result, world.now()).map(|r| r.state);
        let took = start.elapsed().as_secs_f64() * 1e6;
        match (was, state) {
            (State::Learning, Some(State::Stable)) => learning = took,
            (_, Some(State::Stable)) => testing.push(took),
            _ => {}
        }
    }
    testing.sort_by(f64::total_cmp);
    let saved = monitor.save("").map_or(0, |s| s.len());
    println!(
        "end of a window: {:.0} µs in the median; the one that ends learning {learning:.0} µs; saved {saved} bytes",
        testing.get(testing.len() / 2).copied().unwrap_or(f64::NAN)
    );
}
