use std::path::Path;

use serde_json::json;

use super::*;

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

/// A summary of 500 frames on which one person of this confidence was seen, as `vigildrift` tells it.
fn drift(confidence: f32) -> Value {
    use crate::result::{AbsentReason, BBox, FrameResult, Freshness, ModelId, Object};
    let model = std::sync::Arc::new(ModelId { name: "people".into(), release: "1".into(), digest: "ab".into() });
    let bbox = BBox { x: 0.1, y: 0.1, w: 0.2, h: 0.4 };
    let mut summary = Summary::default();
    for n in 0..500_u16 {
        let person = Object::new(0, 0, "person".into(), confidence + f32::from(n % 5) * 0.01, bbox);
        let seen = FrameResult::absent(AbsentReason::Skipped, (640, 360));
        let model = Some(model.clone());
        assert!(summary.add(&FrameResult { freshness: Freshness::Fresh, model, objects: vec![person], ..seen }));
    }
    let text = serde_json::to_string(&summary).unwrap();
    json!({ "state": "stable", "digest": "ab", "predictions": text, "recent-predictions": text })
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
    let (lines, news) = reporter.round(cameras, Device::default(), Vec::new(), now);
    (values(&lines), news)
}

#[test]
fn rates_are_those_since_the_last_round() {
    let mut reporter = Reporter::new("yard", at(0));
    let (first, _) = round(&mut reporter, &[camera("gate", 100, &[("infer", infer(100, 50))])], at(0));
    assert_eq!(first[0]["fps"], json!({ "in": 0.0, "inferred": 0.0, "out": 0.0 }));
    assert_eq!((first[0]["about"].as_str(), first[0]["interval_ms"].as_u64()), (Some("camera"), Some(0)));
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
    let mut reporter = Reporter::new("yard", at(0));
    let lost = CameraStatus { state: State::Lost, ..camera("b", 0, &[]) };
    let stats = Stats { written: 5, dropped: 1, errors: 0, bytes: 9, waiting: None };
    let exports = vec![Account { destination: "mqtt://broker/x".to_owned(), stats, ..Account::default() }];
    let (lines, _) = reporter.round(&[camera("a", 0, &[]), lost], Device::default(), exports, at(1));
    let values = values(&lines);
    let gateway = values.last().unwrap();
    assert_eq!(gateway["about"], "gateway");
    assert_eq!(gateway["cameras"], json!({ "lost": 1, "playing": 1 }));
    assert_eq!(gateway["exports"]["mqtt://broker/x"]["dropped"], 1);
    assert_eq!(lines.iter().map(|line| line.camera.as_str()).collect::<Vec<_>>(), ["a", "b", "yard"]);
}

#[test]
fn the_one_camera_that_is_not_as_the_others_is_found() {
    let mut reporter = Reporter::new("yard", at(0));
    let mut odd = Vec::new();
    // As many as it must last to be told, and some more.
    for n in 0..15_u16 {
        let of = |i: u16| {
            let confidence = if i == 7 { 0.35 } else { 0.7 + f32::from((i * 7 + n) % 10) * 0.01 };
            camera(&format!("cam-{i}"), 0, &[("drift", drift(confidence - f32::from(n) * 0.001))])
        };
        let cameras: Vec<CameraStatus> = (0..16).map(of).collect();
        let (values, news) = round(&mut reporter, &cameras, at(u64::from(n) * 300));
        odd.extend(news.into_iter().filter(|r| r.state == crate::drift::PeerState::Odd).map(|r| r.key.camera));
        let seventh = values.iter().find(|value| value["camera"] == "cam-7").unwrap();
        assert_eq!(seventh["predictions"]["summary"]["frames"], 500, "{seventh}");
        assert_eq!(seventh["predictions"]["peers"]["peers"], 15, "{seventh}");
        assert!(seventh["stages"]["drift"].get("recent-predictions").is_none(), "{seventh}");
    }
    assert_eq!(odd, ["cam-7"]);
    let standings = reporter.standings();
    assert_eq!((standings.len(), standings["cam-7"].state), (16, crate::drift::PeerState::Odd));
    assert!(standings.iter().all(|(id, report)| id == "cam-7" || report.state == crate::drift::PeerState::Normal));
}

#[test]
fn a_summary_that_is_told_again_counts_once() {
    let mut reporter = Reporter::new("yard", at(0));
    let of = |i: u16| camera(&format!("cam-{i}"), 0, &[("drift", drift(if i == 7 { 0.3 } else { 0.7 }))]);
    let cameras: Vec<CameraStatus> = (0..16).map(of).collect();
    for n in 0..20 {
        let (_, news) = round(&mut reporter, &cameras, at(n * 10));
        assert!(news.iter().all(|report| report.state != crate::drift::PeerState::Odd), "round {n}");
    }
}

#[test]
fn what_asks_for_somebody_is_an_alarm() {
    let mut reporter = Reporter::new("yard", at(0));
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
