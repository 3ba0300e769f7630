//! The records that a site sends about itself.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may")]

mod common;

use std::path::Path;
use std::time::{Duration, Instant};

use common::live::{LONG, plan, test_camera};
use gstvigil::site::description::TelemetryTo;
use gstvigil::site::live::Site;
use gstvigil::site::units::Span;
use serde_json::Value;

fn lines(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    // The last line may be on its way.
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

fn wait_for(path: &Path, what: &str, is_so: impl Fn(&[Value]) -> bool) -> Vec<Value> {
    let begun = Instant::now();
    loop {
        let lines = lines(path);
        if is_so(&lines) {
            return lines;
        }
        assert!(begun.elapsed() < LONG, "{what}: {lines:#?}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// An event of the gateway of this name about this camera in this state.
fn happened(lines: &[Value], camera: &str, state: &str) -> bool {
    lines.iter().any(|v| {
        v["event"] == "gateway" && v["camera"] == camera && v["name"] == "camera" && v["data"]["state"] == state
    })
}

#[test]
fn telemetry_and_events_are_sent_until_the_cameras_have_ended() {
    common::init();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("telemetry.jsonl");
    let to = |path: &Path| TelemetryTo {
        uri: Some(format!("file:{}", path.display())),
        interval: Span::from_secs(1),
        spool: None,
    };
    let site = Site::new();
    let mut of_two = plan([("gate", test_camera(25)), ("yard", test_camera(25))]);
    of_two.telemetry = to(&path);
    site.apply(of_two.clone());
    let seen = wait_for(&path, "two rounds with frames", |lines| {
        let rates = lines.iter().filter(|v| v["about"] == "camera" && v["fps"]["out"].as_f64() > Some(0.0));
        rates.count() >= 2 && happened(lines, "gate", "playing") && happened(lines, "yard", "playing")
    });
    let gateway = seen.iter().find(|v| v["about"] == "gateway").expect("the gateway tells of itself");
    assert_eq!((gateway["schema"].as_str(), gateway["site"].as_str()), (Some("vigil-telemetry/1"), Some("test")));
    assert!(gateway["device"]["cpu"]["processors"].as_u64() >= Some(1), "{gateway}");
    let numbers: Vec<u64> =
        seen.iter().map(|v| v["id"].as_str().unwrap().rsplit('/').next().unwrap().parse().unwrap()).collect();
    assert_eq!(numbers, (0..numbers.len() as u64).collect::<Vec<_>>(), "no number is missing");

    // Elsewhere: the cameras are not touched.
    let frames = site.camera("gate").unwrap().frames;
    let other = folder.path().join("other.jsonl");
    of_two.telemetry = to(&other);
    site.apply(of_two);
    wait_for(&other, "the other file", |lines| lines.iter().any(|v| v["about"] == "gateway"));
    let gate = site.camera("gate").unwrap();
    assert!(gate.frames >= frames && gate.reconnects == 0, "{gate:?}");
    let count = lines(&path).len();

    assert!(site.stop(Duration::from_secs(10)));
    assert_eq!(lines(&path).len(), count, "nothing goes to the first file any more");
}

#[test]
fn a_receiver_that_cannot_be_used_is_an_event_and_no_camera_s_business() {
    common::init();
    let site = Site::new();
    let (_, events) = site.events().listen(0);
    let mut plan = plan([("gate", test_camera(25))]);
    plan.telemetry = TelemetryTo { uri: Some("file:/proc/nope/t.jsonl".into()), ..TelemetryTo::default() };
    site.apply(plan);
    let told = |kind: &str, text: &str| {
        let begun = Instant::now();
        while begun.elapsed() < LONG {
            let Ok(event) = events.recv_timeout(LONG) else { break };
            if event.kind == kind && event.data.to_string().contains(text) {
                return;
            }
        }
        panic!("{kind}: {text} was not told");
    };
    told("warning", "telemetry is not sent, and tried again later");
    let begun = Instant::now();
    while site.camera("gate").unwrap().frames == 0 {
        assert!(begun.elapsed() < LONG, "{:?}", site.cameras());
        std::thread::sleep(Duration::from_millis(10));
    }
    assert!(site.stop(Duration::from_secs(10)));
}
