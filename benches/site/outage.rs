//! What a broker that goes away does to cameras and records: sixteen cameras export every frame to a real mosquitto.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use gstvigil::export::destination;
use gstvigil::site::live::Site;
use serde_json::Value;

use super::measure::{Watch, processor_time, spread};
use super::server::Cameras;
use super::{CAMERAS, SETTLE, SPAN, looked, plan, playing};

/// A program that ends with the value.
struct Program(Child);

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn broker(folder: &Path, port: u16) -> Option<Program> {
    let configuration = folder.join("mosquitto.conf");
    // What a subscriber has not taken yet is not thrown away.
    let text = format!("listener {port} 127.0.0.1\nallow_anonymous true\nmax_queued_messages 0\n");
    std::fs::write(&configuration, text).unwrap();
    let path = format!("{}:/usr/sbin", std::env::var("PATH").unwrap_or_default());
    let mut command = Command::new("mosquitto");
    command.arg("-c").arg(&configuration).env("PATH", path).stdout(Stdio::null()).stderr(Stdio::null());
    let program = Program(command.spawn().ok()?);
    let begun = Instant::now();
    while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(begun.elapsed() < Duration::from_secs(30), "mosquitto does not answer");
        std::thread::sleep(Duration::from_millis(20));
    }
    Some(program)
}

fn subscriber(out: &Path, port: u16) -> Program {
    let file = std::fs::File::options().create(true).append(true).open(out).unwrap();
    let arguments = ["-h", "127.0.0.1", "-p", &port.to_string(), "-q", "1", "-t", "vigil/+/frame"].map(str::to_owned);
    let mut command = Command::new("mosquitto_sub");
    Program(command.args(arguments).stdout(file).stderr(Stdio::null()).spawn().unwrap())
}

/// Frames, inferences and processor time of all cameras over a span.
fn span(label: &str, live: &Site) {
    let watch = Watch::of(live);
    let (before, own) = (looked(live), processor_time());
    std::thread::sleep(SPAN);
    let (after, own) = (looked(live), processor_time() - own);
    let runs: Vec<f64> = before.iter().zip(&after).map(|(b, a)| (a - b) as f64 / SPAN.as_secs_f64()).collect();
    let waiting = destination::all().first().and_then(|account| account.stats.waiting).unwrap_or_default();
    println!(
        "  {label}: {} frames a second each; gaps in periods (median, 99 %, longest): {}",
        spread(&watch.rates()),
        watch.gaps()
    );
    println!(
        "    {} inferences a second each; {:.2} processors; {} records wait, {:.1} MiB on disk",
        spread(&runs),
        own / SPAN.as_secs_f64(),
        waiting.records,
        waiting.bytes as f64 / f64::from(1 << 20)
    );
}

fn stats() -> gstvigil::export::route::Stats {
    destination::all().first().map(|account| account.stats).unwrap_or_default()
}

/// Waits until nothing waits any more.
fn delivered() -> Duration {
    let begun = Instant::now();
    while stats().waiting.unwrap_or_default().records > 2 * CAMERAS as u64 {
        assert!(begun.elapsed() < Duration::from_secs(300), "{:?}", stats());
        std::thread::sleep(Duration::from_millis(50));
    }
    begun.elapsed()
}

pub fn outage(model: &str) {
    let folder = tempfile::tempdir().unwrap();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let Some(mut mosquitto) = broker(folder.path(), port) else {
        println!("outage: skipped: mosquitto is not installed");
        return;
    };
    let cameras = Cameras::start(CAMERAS);
    let mut tables = format!(
        "[profile.all]\nstage = [{{ element = \"vigilinfer\", model = \"{model}\" }}, {{ element = \"vigiltrack\" }}, {{ element = \
         \"vigilexport\", uri = \"mqtt://127.0.0.1:{port}/vigil\", spool = \"{}\" }}]\n[defaults]\nprofile = \"all\"\n",
        folder.path().display()
    );
    for camera in 0..CAMERAS {
        tables += &format!("[camera.c{camera:02}]\nuri = \"rtsp://127.0.0.1:{}/{camera}\"\n", cameras.port);
    }
    let out = folder.path().join("received.jsonl");
    let first = subscriber(&out, port);
    std::thread::sleep(Duration::from_secs(1));
    let live = Site::new();
    live.apply(plan(&tables));
    playing(&live, CAMERAS);
    std::thread::sleep(SETTLE);
    println!("outage: {CAMERAS} cameras of 25 frames a second export every frame over MQTT");
    span("the broker is there", &live);
    delivered();
    // Both at a moment when nothing is on its way to the subscriber.
    drop((mosquitto, first));
    span("the broker is away", &live);
    span("it is still away", &live);
    mosquitto = broker(folder.path(), port).unwrap();
    let second = subscriber(&out, port);
    span("it is back, and records are replayed", &live);
    let begun = Instant::now();
    live.stop(Duration::from_secs(10));
    let made = stats();
    println!("  the cameras have ended after {:.1} s; {made:?}", begun.elapsed().as_secs_f64());
    drop((mosquitto, second));
    received(&out);
}

/// What the subscriber has, by camera: each number once, in its order?
fn received(out: &Path) {
    let text = std::fs::read_to_string(out).unwrap();
    let mut cameras: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for line in text.lines() {
        let Ok(record) = serde_json::from_str::<Value>(line) else { continue };
        let (Some(camera), Some(id)) = (record["camera"].as_str(), record["id"].as_str()) else { continue };
        let number = id.rsplit('/').next().and_then(|number| number.parse().ok()).unwrap_or(u64::MAX);
        cameras.entry(camera.to_owned()).or_default().push(number);
    }
    let (mut all, mut doubles, mut missing, mut disorder) = (0, 0, 0, 0);
    for numbers in cameras.values() {
        let mut seen = std::collections::BTreeSet::new();
        let mut last = 0;
        for number in numbers {
            if !seen.insert(*number) {
                doubles += 1;
                continue;
            }
            disorder += usize::from(*number < last);
            last = *number;
        }
        all += seen.len();
        missing += (*seen.last().unwrap_or(&0) + 1) as usize - seen.len();
    }
    println!(
        "  received from {} cameras: {all} records, {missing} missing, {doubles} doubles, {disorder} out of order",
        cameras.len()
    );
}
