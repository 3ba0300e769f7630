//! `/metrics` of a running gateway: Prometheus's own tool accepts it, all that is promised is there, and it costs little.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may")]

mod common;
#[path = "common/promtool.rs"]
mod prometheus;
#[allow(dead_code, reason = "other tests use it too")]
#[path = "common/gateway_rig.rs"]
mod rig;

use std::collections::{BTreeMap, BTreeSet};
use std::net::TcpListener;
use std::time::{Duration, Instant};

use common::bundles::good;
use prometheus::complaints;
use rig::{Gateway, LONG, Place};
use serde_json::json;

/// Names, types and helps that the page is to have.
const PAGE: &str = include_str!("prometheus/page.txt");

/// What the site of this test cannot have, and why.
const ELSEWHERE: [(&str, &str); 2] = [
    ("vigil_stage_engine_restarts_total", "engines in processes of their own only (isolation=process)"),
    ("vigil_stage_nodes_on_cpu", "providers other than cpu only"),
];

/// Numbers in `stats` that are in no metric of the stage, and why.
const NO_METRIC: [(&str, &str); 21] = [
    ("abandoned", "vigilinfer: vigil_abandoned_runs, since it is the process's"),
    ("fresh", "vigildrift: that of vigilinfer again"),
    ("objects", "vigildrift: vigil_model_objects_total"),
    ("score", "vigil_drift_score"),
    ("psi-class-mix", "evidence, which the event vigil-drift tells"),
    ("psi-confidence", "the same"),
    ("psi-box-size", "the same"),
    ("psi-objects-per-frame", "the same"),
    ("reference", "how the baseline was made, not how things are"),
    ("borrowed", "the same"),
    ("recent-until", "a time of the day"),
    ("since", "a time of the day"),
    ("oldest-waiting", "vigil_spool_oldest_record_age_seconds"),
    ("waiting", "vigil_spool_waiting_records"),
    ("spool-bytes", "vigil_spool_bytes"),
    ("connected", "vigil_receiver_up"),
    ("result-age", "vigil_camera_result_age_seconds"),
    ("lanes", "a property of the engine"),
    ("batch", "a property of the model"),
    ("engine-batch-measured", "the same"),
    ("share", "of the runs of the engine, by which its users can be told apart"),
];
/// What such fields end with, and why.
const NO_METRIC_ENDS: [(&str, &str); 1] = [("-sum", "vigil_latency_seconds_sum")];

/// The file with the site's telemetry.
const RECORDS: &str = "telemetry.jsonl";

/// A site whose cameras look for what is red, compare that with what is usual, and send it to a server that is not there.
struct Yard {
    place: Place,
    receiver: String,
}

impl Yard {
    fn new(cameras: usize, fps: u32) -> Self {
        // A port that was free, and that nobody listens on any more.
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let receiver = format!("http://127.0.0.1:{port}/records");
        let names: Vec<String> = (0..cameras).map(|n| format!("c{n:02}")).collect();
        let cameras: String =
            names.iter().map(|id| format!("[camera.{id}]\nuri = \"test:red\"\nprofile = \"people\"\n")).collect();
        let output = "output = [{ kind = \"snapshot\", path = \"pictures/{camera}.jpg\", every = \"1s\" }]\n";
        let place = Place::new("");
        let model = good("1").folder(place.folder.path());
        std::fs::create_dir(place.folder.path().join("pictures")).unwrap();
        let description = format!(
            "format = 1\nname = \"yard\"\n[api]\nlisten = \"127.0.0.1:0\"\n[telemetry]\ninterval = \"1s\"\n\
             uri = \"file:{}\"\n[defaults]\ncaps = \"video/x-raw,format=I420,width=160,height=120,framerate={fps}/1\"\n\
             [profile.people]\nstage = [\n{{ element = \"vigilinfer\", model = \"{}\" }},\n{{ element = \"vigiltrack\" }},\n\
             {{ element = \"vigildrift\", window = \"5s\", learn-time = \"1h\" }},\n\
             {{ element = \"vigilexport\", uri = \"{receiver}\", spool = \"{}\" }},\n]\n{cameras}{output}",
            place.folder.path().join(RECORDS).display(),
            model.display(),
            place.folder.path().join("spool").display()
        );
        std::fs::write(&place.file, description).unwrap();
        Self { place, receiver }
    }

    fn start(&self) -> Gateway {
        let folder = self.place.folder.path();
        let [store, spool] = ["store", "spools"].map(|name| folder.join(name).display().to_string());
        Gateway::start(
            &self.place.file,
            &[],
            &[("VIGIL_STORE", &store), ("VIGIL_SPOOL", &spool), ("XDG_STATE_HOME", &store)],
        )
    }
}

/// Type and help of all metrics of a page by name.
fn metrics(page: &str) -> BTreeMap<String, (String, String)> {
    let mut all = BTreeMap::<String, (String, String)>::new();
    for line in page.lines() {
        if let Some((name, help)) = line.strip_prefix("# HELP ").and_then(|rest| rest.split_once(' ')) {
            all.entry(name.into()).or_default().1 = help.into();
        } else if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' ')) {
            all.entry(name.into()).or_default().0 = kind.into();
        }
    }
    all
}

fn value(page: &str, series: &str) -> Option<f64> {
    page.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' ')?.parse().ok())
}

/// The page once `is` says so of it.
#[track_caller]
fn page(gateway: &Gateway, what: &str, is: impl Fn(&str) -> bool) -> String {
    let end = Instant::now() + LONG;
    loop {
        let page = gateway.ask("GET /metrics", "").expect(200).text();
        if is(&page) {
            return page;
        }
        assert!(Instant::now() < end, "it did not come to this: {what}\n{page}");
        std::thread::park_timeout(Duration::from_millis(200));
    }
}

#[test]
fn a_running_gateway_tells_all_that_is_promised_and_prometheus_reads_it() {
    let yard = Yard::new(2, 15);
    let gateway = yard.start();
    let promised = metrics(PAGE);
    let elsewhere: BTreeSet<&str> = ELSEWHERE.iter().map(|(name, _)| *name).collect();
    let missing = |page: &str| -> Vec<String> {
        let there = metrics(page);
        let missing = promised.keys().filter(|name| !there.contains_key(*name) && !elsewhere.contains(name.as_str()));
        missing.cloned().collect()
    };
    let text = page(&gateway, "all metrics", |page| {
        let left = missing(page);
        left.is_empty() && value(page, "vigil_peer_state{camera=\"c00\",state=\"alone\"}") == Some(1.0)
    });
    assert_eq!(complaints(&text), "", "{text}");
    let there = metrics(&text);
    for (name, told) in promised.iter().filter(|(name, _)| !elsewhere.contains(name.as_str())) {
        assert_eq!(&there[name], told, "{name}");
    }
    let get = |series: &str| value(&text, series).unwrap_or_else(|| panic!("no {series} in\n{text}"));
    let camera = "camera=\"c01\"";
    assert_eq!(get(&format!("vigil_camera_mode{{{camera},mode=\"analysing\"}}")), 1.0);
    let age = get(&format!("vigil_camera_result_age_seconds{{{camera}}}"));
    assert!((0.0..LONG.as_secs_f64()).contains(&age), "{age}");
    for part in ["pre", "queue", "run", "post", "total", "chain"] {
        let of =
            |end: &str, label: &str| get(&format!("vigil_latency_seconds_{end}{{{camera},part=\"{part}\"{label}}}"));
        let (sum, count) = (of("sum", ""), of("count", ""));
        assert!(count > 0.0 && sum >= 0.0 && of("bucket", ",le=\"+Inf\"") == count, "{part}: {sum} {count}");
        assert!(of("bucket", ",le=\"0.001\"") <= of("bucket", ",le=\"5\""), "{part}");
    }
    // All of the picture is red, and the model is sure of it.
    let found = get(&format!("vigil_model_objects_total{{{camera},label=\"red\"}}"));
    assert!(found > 0.0 && get(&format!("vigil_model_confidence_ratio_count{{{camera}}}")) == found, "{found}");
    assert_eq!(get(&format!("vigil_model_info{{{camera},model=\"reds\",release=\"1\",provider=\"cpu\"}}")), 1.0);
    let destination = format!("destination=\"{}\"", yard.receiver);
    assert_eq!(get(&format!("vigil_receiver_up{{{destination}}}")), 0.0, "nobody is there");
    assert!(get(&format!("vigil_spool_waiting_records{{{destination},kind=\"frame\"}}")) > 0.0);
    assert!(get(&format!("vigil_spool_limit_bytes{{{destination}}}")) >= 4_194_304.0);
    // The same camera in the API.
    let standing = gateway.get("/api/v1/cameras/c00")["peers"].clone();
    let text = "it has too few peers of its profile and model now";
    let alone = json!({ "state": "alone", "score": 0.0, "peers": 1, "stretch": "newest", "text": text });
    assert_eq!(standing, alone);
    assert_eq!(gateway.get("/api/v1/cameras")[0]["peers"], alone);
    // The machine: what any Linux tells.
    assert!(get("vigil_device_memory_size_bytes") > 0.0 && get("vigil_device_processors") >= 1.0);
    let spool = yard.place.folder.path().join("spool").display().to_string();
    assert!(get(&format!("vigil_device_filesystem_free_bytes{{path=\"{spool}\"}}")) > 0.0);

    let ask = |accept: &str| gateway.ask_with("GET /metrics", &[("Accept", accept)], "").expect(200);
    let open = ask("application/openmetrics-text;version=1.0.0;q=0.6,text/plain;version=0.0.4;q=0.3,*/*;q=0.2");
    assert!(open.head.to_ascii_lowercase().contains("content-type: application/openmetrics-text"), "{}", open.head);
    assert!(open.text().ends_with("# EOF\n") && open.text().contains("# TYPE vigil_camera_frames counter\n"));
    let plain = ask("*/*");
    assert!(plain.head.to_ascii_lowercase().contains("content-type: text/plain; version=0.0.4"), "{}", plain.head);
    assert!(plain.text().contains("# TYPE vigil_camera_frames_total counter\n") && !plain.text().contains("# EOF"));
    gateway.stop();
}

#[test]
fn every_number_of_stages_is_in_a_metric_or_has_a_reason_not_to_be() {
    let yard = Yard::new(1, 15);
    let gateway = yard.start();
    let has = |page: &str, name: &str| page.contains(&format!("{name}{{"));
    page(&gateway, "all stages tell", |page| {
        has(page, "vigil_drift_score") && has(page, "vigil_stage_written_total") && has(page, "vigil_stage_live")
    });
    let stages = gateway.get("/api/v1/statistics")["cameras"]["c00"].as_object().unwrap().clone();
    let names: Vec<&str> = stages.keys().map(String::as_str).collect();
    assert_eq!(names, ["drift", "export", "infer", "track", "watchdog"]);
    let text = gateway.ask("GET /metrics", "").expect(200).text();
    let mut lacking = Vec::new();
    for (stage, stats) in &stages {
        let told = |name: String, more: &str| {
            text.contains(&format!("vigil_stage_{name}{{camera=\"c00\",stage=\"{stage}\"{more}}}"))
        };
        let numbers = stats.as_object().unwrap().iter().filter(|(_, value)| value.is_number() || value.is_boolean());
        for (field, _) in numbers {
            let name = field.replace('-', "_");
            let in_mode = field.strip_prefix("time-").map(|mode| format!(",mode=\"{mode}\""));
            let is_told = ["", "_total", "_seconds"].iter().any(|end| told(format!("{name}{end}"), ""))
                || in_mode.is_some_and(|mode| told("mode_seconds_total".to_owned(), &mode))
                || (field == "abandoned-total" && told("chains_abandoned_total".to_owned(), ""));
            let excused = NO_METRIC.iter().any(|(name, _)| name == field)
                || NO_METRIC_ENDS.iter().any(|(end, _)| field.ends_with(end));
            lacking.extend((!is_told && !excused).then(|| format!("{stage}: {field}")));
        }
    }
    assert!(lacking.is_empty(), "neither a metric nor in NO_METRIC: {lacking:?}\n{text}");
    gateway.stop();
}

/// Nanoseconds of processor time of each thread, by its name and number; `None` if the kernel does not count them.
fn processor_times(process: u32) -> Option<BTreeMap<(String, String), u64>> {
    let tasks = std::fs::read_dir(format!("/proc/{process}/task")).unwrap().map(|task| task.unwrap().path());
    let mut times = BTreeMap::new();
    for task in tasks {
        let read = |file: &str| std::fs::read_to_string(task.join(file));
        // It may have ended.
        let Ok(name) = read("comm") else { continue };
        let time = read("schedstat").ok()?.split(' ').next()?.parse().ok()?;
        times.insert((name.trim().to_owned(), task.display().to_string()), time);
    }
    Some(times)
}

/// Whether a thread does nothing but to read figures, to tell them, and to send them.
fn is_of_telemetry(name: &str) -> bool {
    // A camera's own thread gives the figures of its stages; those of the pipeline have other names.
    ["vigil-report", "vigil-device", "vigil-http", "tokio-", "camera-"].iter().any(|start| name.starts_with(start))
}

/// Rounds of telemetry that are measured, and the most that all of it may take of what the rest of the process does: with small pictures, five
/// a second, and with records and a page every second, which is ten times as often as usual. `cargo bench --bench site -- telemetry` says
/// what it takes as usual.
const ROUNDS: usize = 10;
const MOST: f64 = 1.0;

#[test]
fn telemetry_of_sixteen_cameras_costs_less_than_they_do() {
    let yard = Yard::new(16, 5);
    let gateway = yard.start();
    let told =
        |page: &str| (0..16).filter(|n| page.contains(&format!("vigil_drift_score{{camera=\"c{n:02}\"}}"))).count();
    let first = page(&gateway, "all cameras tell", |page| {
        let counts = |n: usize| value(page, &format!("vigil_latency_seconds_count{{camera=\"c{n:02}\",part=\"run\"}}"));
        told(page) == 16 && (0..16).all(|n| counts(n).is_some_and(|count| count > 0.0))
    });
    let records = yard.place.folder.path().join(RECORDS);
    let rounds = || {
        let text = std::fs::read_to_string(&records).unwrap_or_default();
        text.lines().filter(|line| line.contains("\"about\":\"gateway\"")).count()
    };
    let Some(before) = processor_times(gateway.id()) else {
        println!("SKIPPED: the kernel does not count the processor time of threads (/proc/PID/task/TID/schedstat)");
        return gateway.stop();
    };
    let (from, mut seen) = (rounds(), rounds());
    while seen < from + ROUNDS {
        seen = rig::until("another round", || Some(rounds()).filter(|now| *now > seen));
        assert_eq!(told(&gateway.ask("GET /metrics", "").expect(200).text()), 16);
    }
    let after = processor_times(gateway.id()).unwrap_or_default();
    let mut by_name = BTreeMap::<String, u64>::new();
    let [mut of_telemetry, mut of_the_rest] = [0, 0];
    for ((name, task), time) in after {
        let spent = time.saturating_sub(before.get(&(name.clone(), task)).copied().unwrap_or(0));
        *if is_of_telemetry(&name) { &mut of_telemetry } else { &mut of_the_rest } += spent;
        *by_name.entry(name).or_default() += spent;
    }
    let share = of_telemetry as f64 / of_the_rest as f64;
    println!(
        "a page of {} lines and a round of telemetry a second take {:.1} ms each time, {share:.3} of what the rest takes: {by_name:?}",
        first.lines().count(),
        of_telemetry as f64 / 1e6 / ROUNDS as f64,
    );
    assert!(of_telemetry > 0 && share <= MOST, "{share} of the rest: {by_name:?}");
    gateway.stop();
}
