use std::path::Path;

use serde_json::json;

use super::*;
use crate::drift::PeerState;

/// As `vigildrift` has it unless somebody says otherwise.
const WINDOW: Duration = Duration::from_secs(300);
/// 2026-11-23T10:15:00Z.
const UTC: u64 = 1_795_428_900_000_000_000;

fn at(seconds: u64) -> Now {
    Now { monotonic: Duration::from_secs(seconds), utc_ns: UTC + seconds * 1_000_000_000 }
}

fn camera(id: &str, frames: u64, stages: &[(&str, Value)]) -> CameraStatus {
    CameraStatus {
        id: id.to_owned(),
        state: State::Playing,
        since_ns: UTC,
        reason: None,
        text: String::new(),
        uri: "test:ball".to_owned(),
        profile: "gate".to_owned(),
        size: [640, 360],
        frames,
        fps: 25.0,
        last_frame_age_ns: Some(40_000_000),
        reconnects: 2,
        next_try_in_ns: None,
        stages: stages.iter().map(|(name, stats)| ((*name).to_owned(), stats.clone())).collect(),
        outputs: Vec::new(),
    }
}

fn infer(frames: u64, fresh: u64) -> Value {
    json!({ "frames": frames, "fresh": fresh, "in-flight": 1 })
}

fn reporter() -> Reporter {
    Reporter::new("yard", Duration::from_secs(10), at(0))
}

/// A summary of 500 frames on which one person of this confidence was seen, or nobody at all, as JSON.
fn summary(confidence: Option<f32>) -> String {
    use crate::result::{AbsentReason, BBox, FrameResult, Freshness, ModelId, Object};
    let model = std::sync::Arc::new(ModelId { name: "people".into(), release: "1".into(), digest: "ab".into() });
    let bbox = BBox { x: 0.1, y: 0.1, w: 0.2, h: 0.4 };
    let mut summary = Summary::default();
    for n in 0..500_u16 {
        let person = |confidence| Object::new(0, 0, "person".into(), confidence + f32::from(n % 5) * 0.01, bbox);
        let seen = FrameResult::absent(AbsentReason::Skipped, (640, 360));
        let model = Some(model.clone());
        assert!(summary.add(&FrameResult {
            freshness: Freshness::Fresh,
            model,
            objects: confidence.into_iter().map(person).collect(),
            ..seen
        }));
    }
    serde_json::to_string(&summary).unwrap()
}

/// What a `vigildrift` that does not tell when its window ended says of it.
fn drift(confidence: f32) -> Value {
    let text = summary(Some(confidence));
    json!({ "state": "stable", "digest": "ab", "predictions": text, "recent-predictions": text })
}

/// A camera whose newest window ended at this second.
fn watched(id: &str, confidence: Option<f32>, until: u64) -> CameraStatus {
    let text = summary(confidence);
    let stats = json!({ "state": "stable", "digest": "of the report", "predictions": text, "recent-predictions": text,
        "recent-digest": "ab", "recent-until": at(until).utc_ns });
    camera(id, 0, &[("drift", stats)])
}

/// 16 cameras whose newest window ended at this second. All but the seventh see a person; all say the same in each window.
fn yard(until: u64) -> Vec<CameraStatus> {
    (0..16).map(|i| watched(&format!("cam-{i}"), (i != 7).then_some(0.7), until)).collect()
}

/// Cameras that became odd, or are no longer, with the state before.
fn changes(news: &[PeerReport]) -> Vec<(&str, PeerState, PeerState)> {
    let odd = |it: &&PeerReport| it.before == PeerState::Odd || it.state == PeerState::Odd;
    news.iter().filter(odd).map(|it| (it.key.camera.as_str(), it.before, it.state)).collect()
}

fn values(lines: &[Line]) -> Vec<Value> {
    let schema = jsonschema::validator_for(&serde_json::from_str(&json_schema()).unwrap()).unwrap();
    let valid = |line: &Line| {
        let value: Value = serde_json::from_slice(&line.line).unwrap();
        schema.validate(&value).unwrap_or_else(|e| panic!("{value}: {e}"));
        assert_eq!(line.kind, Kind::Telemetry);
        value
    };
    lines.iter().map(valid).collect()
}

fn round(reporter: &mut Reporter, cameras: &[CameraStatus], now: Now) -> (Vec<Value>, Vec<PeerReport>) {
    let news = reporter.compare(cameras, WINDOW, now);
    (values(&reporter.round(cameras, None, Vec::new(), now)), news)
}

#[test]
fn rates_are_those_since_the_last_round() {
    let mut reporter = reporter();
    let (first, _) = round(&mut reporter, &[camera("gate", 100, &[("infer", infer(100, 50))])], at(0));
    assert_eq!(first[0]["fps"], json!({ "in": 0.0, "inferred": 0.0, "out": 0.0 }));
    assert_eq!((first[0]["about"].as_str(), first[0]["interval_ms"].as_u64()), (Some("camera"), Some(10_000)));
    let (second, _) = round(&mut reporter, &[camera("gate", 350, &[("infer", infer(340, 110))])], at(10));
    assert_eq!(second[0]["fps"], json!({ "in": 24.0, "inferred": 6.0, "out": 25.0 }));
    assert_eq!(second[0]["interval_ms"], 10_000);
    assert_eq!((second[0]["reconnects"].as_u64(), second[0]["last_frame_age_ms"].as_u64()), (Some(2), Some(40)));
    // The pipeline was made anew, and its stages count from 0.
    let (third, _) = round(&mut reporter, &[camera("gate", 600, &[("infer", infer(50, 20))])], at(20));
    assert_eq!(third[0]["fps"], json!({ "in": 5.0, "inferred": 2.0, "out": 25.0 }));
    let ids: Vec<&str> = [&first, &second].iter().flat_map(|r| r.iter()).map(|v| v["id"].as_str().unwrap()).collect();
    let numbers: Vec<&str> = ids.iter().map(|id| id.rsplit('/').next().unwrap()).collect();
    assert_eq!(numbers, ["0", "1", "2", "3"]);
}

#[test]
fn the_gateway_tells_states_and_exports() {
    let mut reporter = reporter();
    let lost = CameraStatus { state: State::Lost, ..camera("b", 0, &[]) };
    let stats = Stats { written: 5, dropped: 1, errors: 0, bytes: 9, waiting: None };
    let exports = vec![Account { destination: "mqtt://broker/x".to_owned(), stats, ..Account::default() }];
    let device = std::sync::Arc::new(Device { uptime_ns: Some(7), ..Device::default() });
    let machine = Some(Reading { device, age: Duration::from_millis(1500) });
    let lines = reporter.round(&[camera("a", 0, &[]), lost], machine, exports, at(1));
    let values = values(&lines);
    let gateway = values.last().unwrap();
    assert_eq!(gateway["about"], "gateway");
    assert_eq!(gateway["cameras"], json!({ "lost": 1, "playing": 1 }));
    assert_eq!(gateway["exports"]["mqtt://broker/x"]["dropped"], 1);
    assert_eq!((&gateway["device"]["uptime-ns"], &gateway["device_age_ms"]), (&json!(7), &json!(1500)));
    let (silent, _) = round(&mut reporter, &[], at(2));
    assert_eq!((&silent[0]["device"]["uptime-ns"], &silent[0]["device_age_ms"]), (&Value::Null, &Value::Null));
    assert_eq!(lines.iter().map(|line| line.camera.as_str()).collect::<Vec<_>>(), ["a", "b", "yard"]);
}

#[test]
fn the_one_camera_that_is_not_as_the_others_is_found() {
    let mut reporter = reporter();
    let mut odd = Vec::new();
    // As many as it must last to be told, and some more.
    for n in 0..15_u16 {
        let of = |i: u16| {
            let confidence = if i == 7 { 0.35 } else { 0.7 + f32::from((i * 7 + n) % 10) * 0.01 };
            camera(&format!("cam-{i}"), 0, &[("drift", drift(confidence - f32::from(n) * 0.001))])
        };
        let cameras: Vec<CameraStatus> = (0..16).map(of).collect();
        let (values, news) = round(&mut reporter, &cameras, at(u64::from(n) * 300));
        odd.extend(news.into_iter().filter(|r| r.state == PeerState::Odd).map(|r| r.key.camera));
        let seventh = values.iter().find(|value| value["camera"] == "cam-7").unwrap();
        assert_eq!(seventh["predictions"]["summary"]["frames"], 500, "{seventh}");
        assert_eq!(seventh["predictions"]["peers"]["peers"], 15, "{seventh}");
        assert!(seventh["stages"]["drift"].get("recent-predictions").is_none(), "{seventh}");
    }
    assert_eq!(odd, ["cam-7"]);
    let standings = reporter.standings();
    assert_eq!((standings.len(), standings["cam-7"].state), (16, PeerState::Odd));
    assert!(standings.iter().all(|(id, report)| id == "cam-7" || report.state == PeerState::Normal));
}

#[test]
fn a_summary_that_is_told_again_counts_once() {
    let mut reporter = reporter();
    let of = |i: u16| camera(&format!("cam-{i}"), 0, &[("drift", drift(if i == 7 { 0.3 } else { 0.7 }))]);
    let cameras: Vec<CameraStatus> = (0..16).map(of).collect();
    for n in 0..20 {
        let (_, news) = round(&mut reporter, &cameras, at(n * 10));
        assert!(news.iter().all(|report| report.state != PeerState::Odd), "round {n}");
    }
}

#[test]
fn a_scene_without_anything_ends_windows_too() {
    let mut reporter = reporter();
    let mut odd = Vec::new();
    for n in 1..=15 {
        let cameras = yard(n * 300);
        // However often it is looked at, a window counts once.
        for second in [1, 10, 60, 299] {
            let now = at(n * 300 + second);
            odd.extend(changes(&reporter.compare(&cameras, WINDOW, now)).iter().map(|it| (n, it.1, it.2)));
        }
    }
    assert_eq!(odd, [(12, PeerState::Normal, PeerState::Odd)], "after its twelfth window");
    let (values, _) = round(&mut reporter, &yard(4500), at(4800));
    let seventh = values.iter().find(|value| value["camera"] == "cam-7").unwrap();
    assert_eq!(seventh["predictions"]["digest"], "ab", "of the summary, not of the report");
    assert_eq!(seventh["predictions"]["until"], "2026-11-23T11:30:00.000Z");
    assert_eq!(seventh["predictions"]["peers"]["state"], "odd", "{seventh}");
}

/// With a camera that is odd, at the second that is told.
fn with_an_odd_one() -> (Reporter, u64) {
    let mut reporter = reporter();
    let news: Vec<PeerReport> = (1..=12).flat_map(|n| reporter.compare(&yard(n * 300), WINDOW, at(n * 300))).collect();
    assert_eq!(changes(&news), [("cam-7", PeerState::Normal, PeerState::Odd)]);
    (reporter, 3600)
}

#[test]
fn a_camera_that_was_odd_and_is_switched_off_is_not_odd_any_more() {
    let (mut reporter, second) = with_an_odd_one();
    let off = |second| {
        let mut cameras = yard(second);
        cameras[7] = CameraStatus { state: State::Disabled, ..camera("cam-7", 0, &[]) };
        cameras
    };
    let news = reporter.compare(&off(second), WINDOW, at(second + 1));
    assert_eq!(changes(&news), [("cam-7", PeerState::Odd, PeerState::Unknown)]);
    assert_eq!((reporter.standings().len(), reporter.standings().get("cam-7")), (15, None));
    assert_eq!(changes(&reporter.compare(&off(second + 300), WINDOW, at(second + 300))), [], "once");
    // It is back, and as it was.
    let news = reporter.compare(&yard(second + 600), WINDOW, at(second + 600));
    assert_eq!(changes(&news), [("cam-7", PeerState::Unknown, PeerState::Odd)]);
    // It is removed.
    let mut cameras = yard(second + 900);
    cameras.remove(7);
    let news = reporter.compare(&cameras, WINDOW, at(second + 900));
    assert_eq!(changes(&news), [("cam-7", PeerState::Odd, PeerState::Unknown)]);
}

#[test]
fn a_camera_whose_windows_do_not_end_any_more_is_forgotten() {
    let (mut reporter, second) = with_an_odd_one();
    let stuck = yard(second).remove(7);
    let mut told = Vec::new();
    for n in 1..=14 {
        let mut cameras = yard(second + n * 300);
        cameras[7] = stuck.clone();
        let news = reporter.compare(&cameras, WINDOW, at(second + n * 300));
        told.extend(changes(&news).iter().map(|it| (n, it.1, it.2)));
    }
    assert_eq!(told, [(13, PeerState::Odd, PeerState::Unknown)], "an hour later");
    assert!(!reporter.standings().contains_key("cam-7"));
    // So is one that remembers from before the start what it said long ago.
    let mut fresh = Reporter::new("yard", Duration::from_secs(10), at(second));
    fresh.compare(&yard(second), WINDOW, at(second + 3601));
    assert_eq!(fresh.standings().len(), 0);
}

#[test]
fn windows_of_hours_are_compared_too() {
    const HOURS: u64 = 2 * 3600;
    let mut reporter = reporter();
    let mut told = Vec::new();
    for n in 1..=13 {
        for minutes in [1, 60, 119] {
            let now = at(n * HOURS + minutes * 60);
            let news = reporter.compare(&yard(n * HOURS), Duration::from_secs(HOURS), now);
            told.extend(changes(&news).iter().map(|it| (n, it.1, it.2)));
        }
    }
    assert_eq!(told, [(12, PeerState::Normal, PeerState::Odd)]);
    // Other windows: nothing that is known compares with what comes.
    let news = reporter.compare(&yard(14 * HOURS), WINDOW, at(14 * HOURS));
    assert_eq!(changes(&news), [("cam-7", PeerState::Odd, PeerState::Unknown)]);
    assert_eq!(reporter.standings()["cam-7"].state, PeerState::Normal);
}

#[test]
fn what_asks_for_somebody_is_an_alarm() {
    let mut reporter = reporter();
    let schema =
        jsonschema::validator_for(&serde_json::from_str(&crate::export::event::json_schema()).unwrap()).unwrap();
    let mut told = |camera: Option<&str>, kind: &str, data: Value| {
        let event =
            SiteEvent { number: 1, time_ns: UTC, camera: camera.map(str::to_owned), kind: kind.to_owned(), data };
        let line = reporter.event(&event);
        let value: Value = serde_json::from_slice(&line.line).unwrap();
        schema.validate(&value).unwrap_or_else(|e| panic!("{value}: {e}"));
        assert_eq!(value["alarm"], line.kind == Kind::Alarm);
        assert_eq!((value["event"].as_str(), value["name"].as_str()), (Some("gateway"), Some(kind)));
        (line.kind, line.camera)
    };
    let gate = Some("gate");
    for (kind, data) in [
        ("camera", json!({ "state": "lost" })),
        ("output", json!({ "state": "failed" })),
        ("vigil-watchdog", json!({ "to": "bypassing" })),
        ("vigil-model", json!({ "phase": "rolled-back" })),
        ("vigil-drift", json!({ "state": "drifting" })),
        ("vigil-peers", json!({ "state": "odd" })),
    ] {
        assert_eq!(told(gate, kind, data), (Kind::Alarm, "gate".to_owned()), "{kind}");
    }
    assert_eq!(told(gate, "camera", json!({ "state": "playing" })).0, Kind::Event);
    assert_eq!(told(gate, "vigil-model", json!({ "phase": "confirmed" })).0, Kind::Event);
    assert_eq!(told(None, "site", json!({ "action": "taken" })), (Kind::Event, "yard".to_owned()));
}

#[test]
fn the_published_schema_is_up_to_date() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/schema/vigil-1.telemetry.json");
    assert_eq!(
        std::fs::read_to_string(path).unwrap_or_default(),
        json_schema(),
        "run: cargo run --bin vigil -- schema telemetry > docs/schema/vigil-1.telemetry.json"
    );
}
