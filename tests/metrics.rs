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

/// Names, types and helps that the page is to have.
const PAGE: &str = include_str!("prometheus/page.txt");

/// What the site of this test cannot have, and why.
const ELSEWHERE: [(&str, &str); 1] =
    [("vigil_stage_engine_restarts_total", "engines in processes of their own only (isolation=process)")];

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
             [defaults]\ncaps = \"video/x-raw,format=I420,width=160,height=120,framerate={fps}/1\"\n\
             [profile.people]\nstage = [\n{{ element = \"vigilinfer\", model = \"{}\" }},\n\
             {{ element = \"vigildrift\", window = \"5s\" }},\n\
             {{ element = \"vigilexport\", uri = \"{receiver}\", spool = \"{}\" }},\n]\n{cameras}{output}",
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

/// A share of a processor that telemetry of 16 cameras may take, and how often Prometheus asks by the example's configuration.
const MOST: (f64, f64) = (0.005, 15.0);
const PAGES: u32 = 40;

#[test]
fn a_page_of_sixteen_cameras_costs_little() {
    let yard = Yard::new(16, 2);
    let gateway = yard.start();
    let told =
        |page: &str| (0..16).filter(|n| page.contains(&format!("vigil_drift_score{{camera=\"c{n:02}\"}}"))).count();
    let first = page(&gateway, "all cameras tell", |page| {
        let counts = |n: usize| value(page, &format!("vigil_latency_seconds_count{{camera=\"c{n:02}\",part=\"run\"}}"));
        told(page) == 16 && (0..16).all(|n| counts(n).is_some_and(|count| count > 0.0))
    });
    // Processor time of the whole process with pages, less that of as long a time without: a measurement, nothing waits for it. Each
    // reading is a page of its own, one in either time.
    let used = || value(&page(&gateway, "time", |_| true), "process_cpu_seconds_total").unwrap();
    let (begun, before) = (Instant::now(), used());
    for _ in 0..PAGES {
        assert_eq!(told(&gateway.ask("GET /metrics", "").expect(200).text()), 16);
    }
    let (took, between) = (begun.elapsed(), used());
    std::thread::sleep(took);
    let after = used();
    let each = (2.0 * between - before - after).max(0.0) / f64::from(PAGES);
    let share = each / MOST.1;
    println!(
        "a page of 16 cameras, {} lines: {:.2} ms of processor time, {:.4} % of a processor at a page in {} s",
        first.lines().count(),
        each * 1e3,
        share * 100.0,
        MOST.1
    );
    assert!(share <= MOST.0, "{share} of a processor");
    gateway.stop();
}
