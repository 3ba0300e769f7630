use super::*;

use gstvigil::drift::{CameraKey, PeerState, Stretch, Summary};
use gstvigil::export::route::{Stats, Waiting};
use gstvigil::export::spool::SpoolStats;
use gstvigil::result::{AbsentReason, BBox, FrameResult, Freshness, ModelId, Object};
use gstvigil::site::status::{OutputStatus, State};
use gstvigil::telemetry::device::Memory;
use serde_json::{Map, Value, json};

/// What all metrics are to be called, with their types and helps.
const PAGE: &str = include_str!("../../../../../tests/prometheus/page.txt");

/// Counts of latencies, and their sum, as elements tell them.
fn latencies(stats: &mut Map<String, Value>, name: &str, counts: [u64; 13], sum_ns: u64) {
    for (end, ns) in [("median", 1_500_000), ("p95", 2_000_000), ("p99", 2_500_000), ("max", 9_000_000_000_u64)] {
        stats.insert(format!("{name}-{end}"), ns.into());
    }
    stats.insert(format!("{name}-buckets"), json!(counts));
    stats.insert(format!("{name}-sum"), sum_ns.into());
}

fn stats(fields: &str) -> Map<String, Value> {
    fields.split_whitespace().map(|field| (field.to_owned(), Value::from(0))).collect()
}

/// `stats` of a `vigilinfer`: one frame took 1.5 ms, one 3 ms, one 9 s.
fn infer() -> Value {
    let mut infer = stats(
        "frames fresh held absent errors objects in-flight dropped-values dropped-non-finite held-interval held-budget held-busy \
         held-turn swaps swaps-confirmed swaps-rejected swaps-rolled-back engine-restarts engine-users nodes-on-cpu",
    );
    for part in ["pre", "queue", "run", "post", "total"] {
        latencies(&mut infer, part, [0, 1, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 3], 9_004_500_000);
    }
    let named = json!({ "frames": 7, "swaps": 3, "since": 9, "abandoned": 4, "result-age": 80_000_000,
        "model": "people", "release": "2026.11.1", "provider": "cpu", "digest": "ab" });
    infer.extend(named.as_object().unwrap().clone());
    infer.into()
}

fn watchdog() -> Value {
    let mut watchdog = stats("frames-in frames-out analysed bypassed late swallowed duplicates restarts");
    latencies(&mut watchdog, "chain-time", [0; 13], 0);
    let named = json!({ "mode": "bypassing", "exhausted": true, "abandoned": 1, "abandoned-total": 2, "forced": true,
        "time-analysing": 5_500_000_000_u64, "time-bypassing": 250_000_000, "time-recovering": 0 });
    watchdog.extend(named.as_object().unwrap().clone());
    watchdog.into()
}

/// What a model said of three frames: two dogs, something of an unlucky name, nothing.
fn drift() -> Value {
    let object = |label: &str, confidence| Object::new(0, 0, label.into(), confidence, BBox::WHOLE);
    let frames = [vec![object("dog", 0.52), object("dog", 1.0)], vec![object("other", 0.2)], Vec::new()];
    let mut summary = Summary::default();
    for objects in frames {
        let model = Some(std::sync::Arc::new(ModelId { name: "m".into(), release: "1".into(), digest: "ab".into() }));
        let absent = FrameResult::absent(AbsentReason::Skipped, (64, 48));
        assert!(summary.add(&FrameResult { freshness: Freshness::Fresh, model, objects, ..absent }));
    }
    let text = serde_json::to_string(&summary).unwrap();
    json!({ "state": "stable", "score": 0.25, "predictions": text, "recent-predictions": text, "fresh": 3, "objects": 3,
        "recent-until": 1_795_428_900_000_000_000_u64, "samples": 2, "windows": 5, "learned": 0.5 })
}

/// `stats` of a `vigiltrack` and of a `vigilexport`.
fn others() -> [(&'static str, Value); 2] {
    let track = stats("live confirmed lost created established updated predicted untouched");
    let mut export = stats("written dropped errors bytes without-result");
    export.insert("records".into(), 6.into());
    [("track", track.into()), ("export", export.into())]
}

fn camera(id: &str) -> CameraStatus {
    let output = OutputStatus {
        kind: "rtsp".into(),
        target: "/gate".into(),
        active: false,
        frames: 5,
        dropped: 1,
        error: "no".into(),
    };
    CameraStatus {
        id: id.into(),
        state: State::Playing,
        since_ns: 1,
        reason: None,
        text: String::new(),
        uri: "test:ball".into(),
        profile: String::new(),
        size: [640, 360],
        frames: 12,
        fps: 25.0,
        last_frame_age_ns: Some(40_000_000),
        reconnects: 2,
        next_try_in_ns: None,
        stages: [("infer", infer()), ("watchdog", watchdog()), ("drift", drift())]
            .into_iter()
            .chain(others())
            .map(|(name, stats)| (name.to_owned(), stats))
            .collect(),
        outputs: vec![output],
    }
}

fn figures() -> Figures {
    let camera = camera("gate");
    let tile = TileStatus { name: "all".into(), cameras: Vec::new(), size: [1, 1], outputs: camera.outputs.clone() };
    let peer = PeerReport {
        key: CameraKey { gateway: "yard".into(), camera: "gate".into(), profile: String::new() },
        digest: "ab".into(),
        state: PeerState::Odd,
        before: PeerState::Normal,
        score: 1.5,
        peers: 5,
        aspect: None,
        figure: None,
        stretch: Stretch::Newest,
    };
    let account = Account {
        destination: "mqtt://broker:1883".into(),
        stats: Stats { waiting: Some(Waiting { connected: true, ..Waiting::default() }), ..Stats::default() },
        spool: SpoolStats {
            accepted: 30,
            acknowledged: 20,
            waiting_in_memory: [0, 1, 2, 0],
            waiting_on_disk: [0, 0, 5, 0],
            dropped: [0, 0, 1, 0],
            expired: 1,
            oldest_utc_ms: Some(1_000),
            ..SpoolStats::default()
        },
        limit_bytes: 4096,
    };
    let memory = Memory { total_bytes: Some(4096), ..Memory::default() };
    Figures {
        cameras: vec![camera],
        tiles: vec![tile],
        peers: [("gate".to_owned(), peer)].into(),
        exports: vec![account],
        device: Some(Arc::new(Device { memory, ..Device::default() })),
        process: Process::now(),
        abandoned: 4,
        now_ns: 3_500_000_000,
        started: 5.5,
        ready: true,
        reloads: [1, 2],
        taken: false,
        lacks: 2,
    }
}

fn open(figures: Figures) -> String {
    figures.write(Format::OpenMetrics).unwrap()
}

/// A sample: name, labels in an order, value. The order on the page means nothing.
fn sample(line: &str) -> (&str, Vec<&str>, &str) {
    let (series, value) = line.rsplit_once(' ').unwrap_or((line, ""));
    let (name, labels) = series.split_once('{').unwrap_or((series, ""));
    let mut labels: Vec<&str> = labels.trim_end_matches('}').split(',').collect();
    labels.sort_unstable();
    (name, labels, value)
}

#[track_caller]
fn has(page: &str, lines: &[&str]) {
    for line in lines {
        assert!(page.lines().any(|other| sample(other) == sample(line)), "{line} is not in\n{page}");
    }
}

#[test]
fn figures_have_the_names_and_units_that_prometheus_expects() {
    let figures = figures();
    assert!(figures.process.threads > 0 && figures.process.resident_memory_bytes > 0);
    let text = open(figures);
    has(
        &text,
        &[
            "vigil_ready 1.0",
            "vigil_machine_lacks 2.0",
            "vigil_description_readings_total{result=\"refused\"} 2",
            "vigil_camera_up{camera=\"gate\"} 1.0",
            "vigil_camera_state{camera=\"gate\",state=\"lost\"} 0.0",
            "vigil_camera_frames_total{camera=\"gate\"} 12",
            "vigil_camera_reconnects_total{camera=\"gate\"} 2",
            "vigil_camera_last_frame_age_seconds{camera=\"gate\"} 0.04",
            "vigil_output_failing{camera=\"gate\",output=\"0\",kind=\"rtsp\"} 1.0",
            "vigil_output_dropped_frames_total{tile=\"all\",output=\"0\",kind=\"rtsp\"} 1",
            "vigil_stage_frames_total{camera=\"gate\",stage=\"infer\"} 7",
            "vigil_stage_run_p99_seconds{camera=\"gate\",stage=\"infer\"} 0.0025",
            "vigil_stage_swaps_total{camera=\"gate\",stage=\"infer\"} 3",
            "vigil_stage_exhausted{camera=\"gate\",stage=\"watchdog\"} 1.0",
            "vigil_stage_chains_abandoned_total{camera=\"gate\",stage=\"watchdog\"} 2",
            "vigil_stage_abandoned{camera=\"gate\",stage=\"watchdog\"} 1.0",
            "vigil_stage_mode_seconds_total{camera=\"gate\",stage=\"watchdog\",mode=\"analysing\"} 5.5",
            "vigil_stage_mode_seconds_total{camera=\"gate\",stage=\"watchdog\",mode=\"bypassing\"} 0.25",
            "vigil_stage_forced{camera=\"gate\",stage=\"watchdog\"} 1.0",
            "vigil_stage_records_total{camera=\"gate\",stage=\"export\"} 6",
            "vigil_stage_samples_total{camera=\"gate\",stage=\"drift\"} 2",
            "vigil_stage_windows_total{camera=\"gate\",stage=\"drift\"} 5",
            "vigil_stage_learned{camera=\"gate\",stage=\"drift\"} 0.5",
            "vigil_abandoned_runs 4.0",
        ],
    );
    assert_eq!(text.lines().filter(|line| line.starts_with("vigil_stage_abandoned{")).count(), 1, "{text}");
    // What a model looked at is counted once: `vigildrift` has the same again.
    for name in ["vigil_stage_fresh_total{", "vigil_stage_objects_total{"] {
        let lines: Vec<&str> = text.lines().filter(|line| line.starts_with(name)).collect();
        assert!(matches!(lines.as_slice(), [line] if line.contains("stage=\"infer\"")), "{lines:?}");
    }
    assert!(!text.contains("_total_total") && !text.contains("since") && !text.contains("until"), "{text}");
    assert!(text.ends_with("# EOF\n"));
}

#[test]
fn the_way_of_a_frame_through_its_analysis_is_told() {
    let text = open(figures());
    has(
        &text,
        &[
            "vigil_camera_mode{camera=\"gate\",mode=\"analysing\"} 0.0",
            "vigil_camera_mode{camera=\"gate\",mode=\"bypassing\"} 1.0",
            "vigil_camera_result_age_seconds{camera=\"gate\"} 0.08",
            "vigil_latency_seconds_bucket{le=\"0.001\",camera=\"gate\",part=\"run\"} 0",
            "vigil_latency_seconds_bucket{le=\"0.002\",camera=\"gate\",part=\"run\"} 1",
            "vigil_latency_seconds_bucket{le=\"5.0\",camera=\"gate\",part=\"run\"} 2",
            "vigil_latency_seconds_bucket{le=\"+Inf\",camera=\"gate\",part=\"run\"} 3",
            "vigil_latency_seconds_sum{camera=\"gate\",part=\"run\"} 9.0045",
            "vigil_latency_seconds_count{camera=\"gate\",part=\"run\"} 3",
            "vigil_latency_seconds_count{camera=\"gate\",part=\"chain\"} 0",
        ],
    );
    // A second model counts too, and a camera that is away has no result that is newer than its last frame.
    let mut more = figures();
    more.cameras[0].stages.insert("clothes".into(), infer());
    more.cameras[0].last_frame_age_ns = Some(7_000_000_000);
    let text = open(more);
    has(
        &text,
        &[
            "vigil_latency_seconds_count{camera=\"gate\",part=\"run\"} 6",
            "vigil_camera_result_age_seconds{camera=\"gate\"} 7.0",
        ],
    );
    assert_eq!(text.lines().filter(|line| line.starts_with("vigil_model_info{")).count(), 1, "no series twice: {text}");
}

#[test]
fn what_models_find_and_whether_it_is_usual_is_told() {
    let text = open(figures());
    let lines = [
        "vigil_model_info{camera=\"gate\",model=\"people\",release=\"2026.11.1\",provider=\"cpu\"} 1.0",
        "vigil_model_objects_total{camera=\"gate\",label=\"dog\"} 2",
        "vigil_model_objects_total{camera=\"gate\",label=\"other\"} 1",
        "vigil_model_empty_frames_total{camera=\"gate\"} 1",
        "vigil_model_confidence_ratio_bucket{camera=\"gate\",le=\"0.2\"} 0",
        "vigil_model_confidence_ratio_bucket{camera=\"gate\",le=\"0.25\"} 1",
        "vigil_model_confidence_ratio_bucket{camera=\"gate\",le=\"0.55\"} 2",
        "vigil_model_confidence_ratio_bucket{camera=\"gate\",le=\"1.0\"} 3",
        "vigil_model_confidence_ratio_count{camera=\"gate\"} 3",
        "vigil_model_frame_objects_bucket{camera=\"gate\",le=\"0.0\"} 1",
        "vigil_model_frame_objects_bucket{camera=\"gate\",le=\"1.0\"} 2",
        "vigil_model_frame_objects_bucket{camera=\"gate\",le=\"2.0\"} 3",
        "vigil_model_frame_objects_bucket{camera=\"gate\",le=\"64.0\"} 3",
        "vigil_model_frame_objects_sum{camera=\"gate\"} 3.0",
        "vigil_drift_score{camera=\"gate\"} 0.25",
        "vigil_drift_state{camera=\"gate\",state=\"stable\"} 1.0",
        "vigil_drift_state{camera=\"gate\",state=\"drifting\"} 0.0",
        "vigil_peer_score{camera=\"gate\"} 1.5",
        "vigil_peer_state{camera=\"gate\",state=\"odd\"} 1.0",
    ];
    has(&text, &lines);
}

#[test]
fn records_on_their_way_and_the_machine_are_told() {
    let text = open(figures());
    has(
        &text,
        &[
            "vigil_spool_waiting_records{destination=\"mqtt://broker:1883\",kind=\"frame\"} 7.0",
            "vigil_spool_waiting_records{destination=\"mqtt://broker:1883\",kind=\"alarm\"} 0.0",
            "vigil_spool_dropped_records_total{destination=\"mqtt://broker:1883\",kind=\"frame\"} 1",
            "vigil_spool_lost_records_total{destination=\"mqtt://broker:1883\",reason=\"expired\"} 1",
            "vigil_spool_oldest_record_age_seconds{destination=\"mqtt://broker:1883\"} 2.5",
            "vigil_spool_limit_bytes{destination=\"mqtt://broker:1883\"} 4096.0",
            "vigil_spool_accepted_records_total{destination=\"mqtt://broker:1883\"} 30",
            "vigil_receiver_up{destination=\"mqtt://broker:1883\"} 1.0",
            "vigil_device_memory_size_bytes 4096.0",
        ],
    );
    let mut empty = figures();
    empty.exports[0].spool.oldest_utc_ms = None;
    assert!(!open(empty).contains("oldest_record_age"), "what waits is of an age that is not known");
    let mut empty = figures();
    empty.exports[0].spool = SpoolStats::default();
    has(&open(empty), &["vigil_spool_oldest_record_age_seconds{destination=\"mqtt://broker:1883\"} 0.0"]);
}

/// Type and help of all metrics of a page, but for the machine's.
fn metrics(page: &str) -> BTreeMap<&str, (&str, &str)> {
    let mut all = BTreeMap::<_, (&str, &str)>::new();
    for line in page.lines() {
        let told = |what: &str| line.strip_prefix(what).and_then(|rest| rest.split_once(' '));
        if let Some((name, help)) = told("# HELP ") {
            all.entry(name).or_default().1 = help;
        } else if let Some((name, kind)) = told("# TYPE ") {
            all.entry(name).or_default().0 = kind;
        }
    }
    all.retain(|name, _| !name.starts_with("vigil_device_"));
    all
}

#[test]
fn the_page_has_what_the_list_says_and_nothing_else() {
    let page = figures().write(Format::Prometheus).unwrap();
    let mut found = metrics(&page);
    // Chains that were abandoned are a watchdog's own count, which no rule and no panel asks for.
    assert!(found.remove("vigil_stage_chains_abandoned_total").is_some());
    assert_eq!(found, metrics(PAGE));
    assert!(page.lines().all(|line| !line.contains("# EOF") && !line.contains("# UNIT")));
}

#[test]
fn the_format_is_what_the_client_prefers() {
    for (accept, format) in [
        ("", Format::Prometheus),
        ("*/*", Format::Prometheus),
        ("text/plain;version=0.0.4", Format::Prometheus),
        ("text/html, application/json", Format::Prometheus),
        ("application/openmetrics-text; version=1.0.0", Format::OpenMetrics),
        (
            "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3,*/*;q=0.1",
            Format::OpenMetrics,
        ),
        ("text/plain;q=0.9, Application/OpenMetrics-Text;q=0.2", Format::Prometheus),
        ("application/openmetrics-text;q=0", Format::Prometheus),
        ("application/openmetrics-text;q=x", Format::Prometheus),
    ] {
        assert_eq!(Format::wanted(accept), format, "{accept:?}");
    }
}

#[test]
fn what_nobody_tells_is_left_out() {
    let mut bare = figures();
    bare.cameras[0].stages =
        [("odd".to_owned(), json!({ "run-buckets": [1, 2], "run-sum": 3, "predictions": "no JSON" }))].into();
    (bare.peers, bare.exports, bare.device) = (BTreeMap::new(), Vec::new(), None);
    let text = open(bare);
    for name in [
        "vigil_latency",
        "vigil_model",
        "vigil_drift",
        "vigil_peer",
        "vigil_spool",
        "vigil_device",
        "vigil_camera_mode",
    ] {
        assert!(!text.contains(name), "{name} in\n{text}");
    }
    assert!(text.contains("vigil_camera_up"));
}
