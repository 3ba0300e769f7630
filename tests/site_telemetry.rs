//! The records that a site sends about itself.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may")]

mod common;
#[path = "common/test_model.rs"]
mod test_model;

use std::path::Path;
use std::time::{Duration, Instant};

use common::live::{LONG, camera, node, plan, test_camera};
use gstvigil::drift::PeerState;
use gstvigil::site::description::TelemetryTo;
use gstvigil::site::live::Site;
use gstvigil::site::plan::CameraPlan;
use gstvigil::site::status::Event;
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

/// The numbers of records, which are at the ends of their ids.
fn numbers(lines: &[Value]) -> Vec<u64> {
    lines.iter().map(|v| v["id"].as_str().unwrap().rsplit('/').next().unwrap().parse().unwrap()).collect()
}

/// Telemetry to a file, every second.
fn to(path: &Path) -> TelemetryTo {
    TelemetryTo { uri: Some(format!("file:{}", path.display())), interval: Span::from_secs(1), spool: None }
}

#[test]
fn telemetry_and_events_are_sent_until_the_cameras_have_ended() {
    common::init();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("telemetry.jsonl");
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
    assert!(gateway["device_age_ms"].as_u64().is_some() && gateway["interval_ms"] == 1000, "{gateway}");
    assert_eq!(numbers(&seen), (0..seen.len() as u64).collect::<Vec<_>>(), "no number is missing");

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
    told("warning", "telemetry is not sent, waits in memory, and is tried again later");
    let begun = Instant::now();
    while site.camera("gate").unwrap().frames == 0 {
        assert!(begun.elapsed() < LONG, "{:?}", site.cameras());
        std::thread::sleep(Duration::from_millis(10));
    }
    assert!(site.stop(Duration::from_secs(10)));
}

#[test]
fn what_happens_before_the_receiver_can_be_used_is_not_lost() {
    common::init();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("records/t.jsonl");
    // A file in the place of the folder.
    std::fs::write(folder.path().join("records"), "").unwrap();
    let site = Site::new();
    let mut plan = plan([("gate", test_camera(25))]);
    plan.telemetry = to(&path);
    site.apply(plan);
    // Among all events that there were, and those that come.
    let heard = |what: &str, is: &dyn Fn(&Event) -> bool| {
        let (kept, events) = site.events().listen(0);
        let end = Instant::now() + LONG;
        let come = std::iter::from_fn(|| events.recv_timeout(end.saturating_duration_since(Instant::now())).ok());
        assert!(kept.into_iter().chain(come).any(|event| is(&event)), "{what} was not told");
    };
    let says = |event: &Event, text: &str| event.data["text"].as_str().is_some_and(|told| told.contains(text));
    heard("that it waits", &|event| event.kind == "warning" && says(event, "waits in memory"));
    heard("that the camera plays", &|event| event.kind == "camera" && event.data["state"] == "playing");
    std::fs::remove_file(folder.path().join("records")).unwrap();
    // It would be tried again half a minute later; the end comes before that.
    assert!(site.stop(Duration::from_secs(10)));
    let lines = lines(&path);
    assert!(happened(&lines, "gate", "starting") && happened(&lines, "gate", "disabled"), "{lines:#?}");
    assert_eq!(numbers(&lines), (0..lines.len() as u64).collect::<Vec<_>>(), "no number is missing");
    heard("that it is open", &|event| event.kind == "vigil-export" && event.data["state"] == "recovered");
}

/// A camera whose model is so sure after a minute of its stream; 0.8 before that.
fn watched(then: &str) -> CameraPlan {
    CameraPlan {
        profile: "yard".into(),
        guarded: vec![
            node("vigiltestmodel", "model", &[("then", then)]),
            node("vigildrift", "drift", &test_model::DRIFT),
        ],
        ..camera(test_model::SOURCE)
    }
}

/// Whether an event of this name about camera `e` tells this state, and whether it is an alarm.
fn told(lines: &[Value], name: &str, state: &str) -> Option<bool> {
    let is = |v: &&Value| v["name"] == name && v["camera"] == "e" && v["data"]["state"] == state;
    lines.iter().find(is).and_then(|v| v["alarm"].as_bool())
}

#[test]
fn a_model_that_is_no_longer_right_alarms_by_its_past_and_by_its_peers() {
    common::init();
    test_model::register();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("telemetry.jsonl");
    let all = [("a", "0.8"), ("b", "0.8"), ("c", "0.8"), ("d", "0.8"), ("e", "0.5")];
    let mut plan = plan(all.map(|(id, then)| (id, watched(then))));
    plan.telemetry = to(&path);
    let site = Site::new();
    site.apply(plan);
    // From the element's message, or the gateway's comparison, to a record.
    wait_for(&path, "drift", |lines| told(lines, "vigil-drift", "drifting") == Some(true));
    wait_for(&path, "an odd one", |lines| told(lines, "vigil-peers", "odd") == Some(true));
    let lines = wait_for(&path, "a record of it", |lines| {
        lines.iter().any(|v| v["camera"] == "e" && v["predictions"]["peers"]["state"] == "odd")
    });
    let figures = lines.iter().rfind(|v| v["camera"] == "e" && v["about"] == "camera").unwrap();
    assert_eq!(figures["stages"]["drift"]["state"], "drifting", "{figures}");
    assert!(figures["predictions"]["until"].as_str().is_some_and(|until| until.ends_with('Z')), "{figures}");
    let alarms = lines.iter().filter(|v| v["alarm"] == true && v["name"].as_str().is_some_and(|name| name != "camera"));
    assert!(alarms.into_iter().all(|v| v["camera"] == "e"), "{lines:#?}");
    let odd = lines.iter().find(|v| v["name"] == "vigil-peers" && v["data"]["state"] == "odd").unwrap();
    assert_eq!((&odd["data"]["peers"], &odd["data"]["stretch"]), (&4.into(), &"newest".into()), "{odd}");
    assert!(odd["data"]["text"].as_str().is_some_and(|text| text.starts_with("mean confidence 0.5")), "{odd}");
    assert_eq!(site.peers()["e"].state, PeerState::Odd);

    // It is switched off: nothing is left of what it said.
    site.enable("e", false).unwrap();
    wait_for(&path, "that it is not known any more", |lines| told(lines, "vigil-peers", "unknown") == Some(false));
    let end = Instant::now() + LONG;
    while site.peers().contains_key("e") || !site.camera("e").unwrap().stages.is_empty() {
        assert!(Instant::now() < end, "{:?} {:?}", site.peers().get("e"), site.camera("e"));
        std::thread::sleep(Duration::from_millis(10));
    }
    assert!(site.stop(Duration::from_secs(10)));
}
