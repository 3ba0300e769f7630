//! The promises of `gstvigil::drift` on simulated cameras with fixed seeds, and on recorded detections where the test data
//! is there. The figures over many more seeds come from `cargo bench --bench drift`.

#![allow(clippy::unwrap_used, reason = "a test may")]

#[path = "../benches/drift/world.rs"]
mod world;

use std::sync::Arc;
use std::time::Duration;

use gstvigil::drift::{CameraKey, Config, Fleet, FleetConfig, Monitor, PeerState, State, Summary};
use world::{FAULTS, Fault, Scene, World};

const DAY_S: f64 = 86_400.0;
const WINDOW_S: f64 = 300.0;
/// A frame in 20 s, so that days pass quickly.
const SPARSE_S: f64 = 20.0;

fn config() -> Config {
    Config { least_frames: 10, ..Config::default() }
}

/// False alarms in `days` after one of learning.
fn alarms(scene: Scene, seed: u64, days: f64) -> usize {
    let mut world = World::new(scene, seed);
    let mut monitor = Monitor::new(config());
    let mut alarms = 0;
    while world.time_s < (1.0 + days) * DAY_S {
        world.step(SPARSE_S);
        if let Some(report) = monitor.observe(&world.result, world.now()) {
            alarms += usize::from(report.is_news() && report.state == State::Drifting);
            assert_ne!(report.state, State::Unknown);
        }
    }
    alarms
}

/// Windows from the fault, which begins at 14 o'clock on the second day, to the alarm, and its evidence.
fn found_after(scene: Scene, seed: u64, fault: Fault) -> Option<(u32, String)> {
    let mut world = World::new(scene, seed);
    let mut monitor = Monitor::new(config());
    let start = (1.0 + 14.0 / 24.0) * DAY_S;
    while world.time_s < start + DAY_S {
        let faulty = world.time_s >= start;
        world.fault = if faulty { fault } else { Fault::None };
        world.step(SPARSE_S);
        if let Some(report) = monitor.observe(&world.result, world.now())
            && report.state == State::Drifting
        {
            assert!(faulty, "seed {seed} before the fault: {}", report.evidence());
            return Some((((world.time_s - start) / WINDOW_S) as u32, report.evidence()));
        }
    }
    None
}

#[test]
fn false_alarms_are_at_most_as_many_as_stated() {
    let (cameras, days) = (20, 30.0);
    let all: usize = (0..cameras).map(|seed| alarms(Scene::varied(seed), seed, days)).sum();
    assert!(all <= cameras as usize, "{all} on {cameras} cameras in {days} days; stated is one each");
}

#[test]
fn each_fault_is_found_within_the_day() {
    for (fault, median) in FAULTS.into_iter().zip([30, 60, 60]) {
        let mut found: Vec<_> = (0..12)
            .map(|seed| {
                found_after(Scene::ordinary(), seed, fault).unwrap_or_else(|| panic!("{fault:?} {seed}: not found"))
            })
            .collect();
        found.sort();
        assert!(found.iter().all(|f| f.1.contains(" → ")));
        assert!(found[6].0 <= median, "{fault:?}: {found:?}");
    }
}

#[test]
fn recorded_detections_drift_when_they_are_made_to_and_not_before() {
    let Some(tracks) = world::recorded().map(Arc::new) else {
        println!("left out: ../shared/data/mot is not there");
        return;
    };
    assert!(tracks.len() >= 10);
    let scene = |seed| Scene { recorded: Some(tracks.clone()), area_log2: (-3.3, 1.0), ..Scene::varied(seed) };
    let false_alarms: usize = (0..10).map(|seed| alarms(scene(seed), seed, 30.0)).sum();
    assert!(false_alarms <= 10, "{false_alarms}");
    for (fault, least) in [(Fault::Blur, 9), (Fault::LowConfidence, 9)] {
        let found = (0..10).filter_map(|seed| found_after(scene(seed), seed, fault)).count();
        assert!(found >= least, "{fault:?}: {found} of 10");
    }
}

#[test]
fn the_bad_camera_among_sixteen_is_told() {
    for seed in 0..4 {
        let mut worlds: Vec<World> = (0..16).map(|i| World::new(Scene::ordinary(), 100 * seed + i)).collect();
        let mut fleet = Fleet::new(FleetConfig { rounds: 3, ..FleetConfig::default() });
        let bad = (5 * seed as usize + 3) % 16;
        let mut odd = Vec::new();
        // Hours of the afternoon; the fault comes at 14 o'clock. A summary is that of an hour here, without overlap.
        for hour in 11..24u32 {
            for (i, world) in worlds.iter_mut().enumerate() {
                world.fault = if i == bad && hour >= 14 { Fault::Blur } else { Fault::None };
                world.time_s = world.time_s.max(f64::from(hour) * 3600.0 - 3600.0);
                let mut summary = Summary::default();
                while world.time_s < f64::from(hour) * 3600.0 {
                    world.step(SPARSE_S);
                    summary.add(&world.result);
                }
                let key = CameraKey { gateway: "g".into(), camera: i.to_string(), profile: "p".into() };
                assert!(fleet.observe(key, "d", summary, Duration::from_secs(u64::from(hour) * 3600)));
            }
            let reports = fleet.compare(Duration::from_secs(u64::from(hour) * 3600));
            odd.extend(
                reports.iter().filter(|r| r.is_news() && r.state == PeerState::Odd).map(|r| r.key.camera.clone()),
            );
        }
        assert_eq!(odd, [bad.to_string()], "seed {seed}");
    }
}
