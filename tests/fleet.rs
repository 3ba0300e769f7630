//! `vigil fleet watch` with a real mosquitto, and gateways that publish what real ones do.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may")]

#[path = "common/broker.rs"]
mod broker;
mod common;
#[path = "common/test_model.rs"]
mod test_model;

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use broker::{Broker, Door, GUARD, Subscriber};
use common::live::{camera, node, plan};
use gstvigil::export::address::Address;
use gstvigil::export::kind::Kind;
use gstvigil::export::mqtt::{Mqtt, MqttOptions};
use gstvigil::export::remote::{Outgoing, Remote};
use gstvigil::site::description::TelemetryTo;
use gstvigil::site::live::Site;
use gstvigil::site::plan::CameraPlan;
use gstvigil::site::units::Span;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

const GATEWAYS: [&str; 3] = ["dock", "gate", "yard"];
const CAMERAS: usize = 8;

macro_rules! broker {
    () => {
        match Broker::start("") {
            Some(broker) => broker,
            None => return,
        }
    };
}

/// What an output has said.
#[derive(Clone, Default)]
struct Lines(Arc<(Mutex<Vec<String>>, Condvar)>);

impl Lines {
    fn read(&self, from: impl Read + Send + 'static) -> JoinHandle<()> {
        let to = self.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(from).lines().map_while(Result::ok) {
                to.0.0.lock().unwrap().push(line);
                to.0.1.notify_all();
            }
        })
    }

    fn all(&self) -> Vec<String> {
        self.0.0.lock().unwrap().clone()
    }

    /// Whether there are `count` lines with this text, within a time.
    fn within(&self, limit: Duration, text: &str, count: usize) -> bool {
        let has = |lines: &Vec<String>| lines.iter().filter(|line| line.contains(text)).count() >= count;
        let lines = self.0.0.lock().unwrap();
        has(&self.0.1.wait_timeout_while(lines, limit, |lines| !has(lines)).unwrap().0)
    }

    fn wait(&self, text: &str, count: usize) {
        assert!(self.within(GUARD, text, count), "\"{text}\" is not said {count} times: {:#?}", self.all());
    }
}

/// A running `vigil fleet watch`; it ends with the value.
struct Watch {
    child: Child,
    out: Lines,
    err: Lines,
    threads: Vec<JoinHandle<()>>,
}

impl Watch {
    fn start(arguments: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_vigil"))
            .args(["fleet", "watch"])
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (out, err) = (Lines::default(), Lines::default());
        let threads = vec![out.read(child.stdout.take().unwrap()), err.read(child.stderr.take().unwrap())];
        Self { child, out, err, threads }
    }

    /// Waits until it has ended and all that it said is there.
    fn end(&mut self) -> ExitStatus {
        let start = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(start.elapsed() < GUARD, "it does not end: {:#?}", self.err.all());
            std::thread::sleep(Duration::from_millis(10));
        };
        self.threads.drain(..).for_each(|thread| thread.join().unwrap());
        status
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Three gateways that publish their telemetry, each under its own prefix.
struct Gateways {
    all: Vec<Mqtt>,
    round: u64,
}

impl Gateways {
    fn start(broker: &Broker) -> Self {
        let remote = |gateway: &&str| {
            let uri = broker.uri(Door::Plain, "").replace('?', &format!("/sites/{gateway}"));
            Mqtt::new(MqttOptions::parse(Address::parse(&uri).unwrap()).unwrap(), gateway)
        };
        Self { all: GATEWAYS.iter().map(remote).collect(), round: 0 }
    }

    /// A round of telemetry; the model of `yard/cam7` is as sure as `last`.
    fn publish(&mut self, last: f64) {
        self.round += 1;
        for (number, gateway) in self.all.iter_mut().enumerate() {
            let camera = |n: usize| {
                let confidence = if (number, n) == (2, 7) { last } else { 0.7 };
                let body = telemetry(GATEWAYS[number], n, self.round, confidence).to_string().into_bytes();
                Outgoing { kind: Kind::Telemetry, camera: Arc::from(format!("cam{n}")), body }
            };
            let records: Vec<Outgoing> = (0..CAMERAS).map(camera).collect();
            // After a restart of the broker a first try may find the old connection.
            let tries = (0..50).find(|_| gateway.send(&records, GUARD).is_ok());
            assert!(tries.is_some(), "{} cannot publish", GATEWAYS[number]);
        }
    }

    /// Publishes rounds until the watch has said it.
    fn publish_until(&mut self, last: f64, watch: &Watch, text: &str) {
        let start = Instant::now();
        while !watch.out.within(Duration::from_millis(150), text, 1) {
            assert!(start.elapsed() < GUARD, "\"{text}\" is not said: {:#?} {:#?}", watch.out.all(), watch.err.all());
            self.publish(last);
        }
    }
}

/// As a gateway's reporter makes it.
fn telemetry(gateway: &str, camera: usize, round: u64, confidence: f64) -> Value {
    let (v, w) = ((camera * 7 % 16) as f64 / 16.0 - 0.5, (camera * 5 % 16) as f64 / 16.0 - 0.5);
    let frames = 7500 + round;
    let objects = (frames as f64 * (4.0 + 2.0 * v)) as u64;
    let bins = |n: usize| (0..n).map(|bin| if bin == n / 2 { objects } else { 0 }).collect::<Vec<_>>();
    json!({
        "schema": "vigil-telemetry/1",
        "id": format!("{gateway}/x/{}", round * 1000 + camera as u64),
        "time": jiff::Timestamp::now().to_string(),
        "site": gateway,
        "interval_ms": 3000,
        "about": "camera",
        "camera": format!("cam{camera}"),
        "profile": "street",
        "state": "playing",
        "predictions": { "digest": "ab12", "summary": {
            "frames": frames,
            "objects": objects,
            "confidence_sum": (confidence + 0.04 * w) * objects as f64,
            "area_log2_sum": (-6.0 + v - w) * objects as f64,
            "classes": { "person": objects },
            "confidence": bins(20),
            "area": bins(24),
        }},
    })
}

/// The events that were published about a fleet.
fn events(subscriber: &Subscriber, topic: &str, count: usize) -> Vec<Value> {
    let on_topic =
        |heard: &[broker::Received]| heard.iter().filter(|it| it.topic == topic).cloned().collect::<Vec<_>>();
    let heard = subscriber.wait(|heard| on_topic(heard).len() >= count);
    on_topic(&heard).iter().map(|it| serde_json::from_str(&it.payload).unwrap()).collect()
}

#[test]
fn the_odd_camera_is_told_and_published_whatever_happens_to_the_broker() {
    let mut broker = broker!();
    let uri = broker.uri(Door::Plain, "keep-alive=5s").replace('?', "/watch?");
    let mut watch = Watch::start(&[&uri, "--topic", "sites/+/+/telemetry", "--every", "100ms"]);
    watch.err.wait("listening to sites/+/+/telemetry and sites/+/+/status", 1);
    let mut gateways = Gateways::start(&broker);
    let subscriber = Subscriber::start(&broker, "watch/fleet/+");
    let garbage = ["nonsense", "{\"schema\":\"other/1\"}"].map(|body| body.as_bytes().to_vec());
    let garbage = garbage.map(|body| Outgoing { kind: Kind::Telemetry, camera: Arc::from("x"), body });
    gateways.all[0].send(&garbage, GUARD).unwrap();
    gateways.publish_until(0.4, &watch, " yard/cam7 (street) odd ");
    let told: Vec<String> = watch.out.all().into_iter().filter(|line| line.contains(" odd ")).collect();
    assert!(told.len() == 1 && told[0].contains("median of 23 others 0.7"), "{told:?}");
    let alarms = events(&subscriber, "watch/fleet/alarm", 1);
    let of = |event: &Value| format!("{} {} {}", event["name"], event["data"]["gateway"], event["camera"]);
    let odd: Vec<&Value> = alarms.iter().filter(|event| event["name"] == "vigil-peers").collect();
    assert_eq!(odd.len(), 1, "{alarms:?}");
    assert_eq!(of(odd[0]), "\"vigil-peers\" \"yard\" \"cam7\"");
    assert_eq!(
        (&odd[0]["schema"], &odd[0]["alarm"], &odd[0]["data"]["state"]),
        (&json!("vigil-event/1"), &json!(true), &json!("odd"))
    );
    drop(subscriber);

    broker.stop();
    watch.err.wait("; it is tried again until it works", 1);
    broker.restart();
    watch.err.wait("listening to", 2);
    let subscriber = Subscriber::start(&broker, "watch/fleet/+");
    gateways.publish_until(0.7, &watch, " yard/cam7 (street) normal ");
    let back = events(&subscriber, "watch/fleet/event", 1);
    let normal: Vec<&Value> = back.iter().filter(|event| event["name"] == "vigil-peers").collect();
    assert_eq!((normal.len(), &normal[0]["data"]["before"]), (1, &json!("odd")), "{back:?}");

    // One says good-bye, one is cut off from its power, one has nothing to say.
    gateways.all[0].close(GUARD);
    gateways.all.truncate(2);
    watch.out.wait("gateway dock is offline: it has said good-bye to the broker", 1);
    watch.out.wait("gateway yard is offline: the broker has lost its connection", 1);
    watch.out.wait("gateway gate is silent since ", 1);
    kill_process(Pid::from_child(&watch.child), Signal::TERM).unwrap();
    let status = watch.end();
    let said = watch.err.all();
    assert_eq!(status.code(), Some(0), "{said:?}");
    let times = |text: &str| said.iter().filter(|line| line.contains(text)).count();
    assert_eq!((times("is no telemetry: "), times("2 messages were no telemetry")), (1, 1), "{said:#?}");
    assert_eq!(times("it is tried again"), 1, "{said:#?}");
}

#[test]
fn once_prints_how_all_stand_and_says_by_its_exit_code_whether_one_is_odd() {
    let broker = broker!();
    let mut gateways = Gateways::start(&broker);
    // Both versions of the protocol, with and without TLS.
    let tls = broker.uri(Door::Tls, "version=3.1.1");
    for (uri, confidence, code) in [(tls, 0.4, 1), (broker.uri(Door::Plain, ""), 0.7, 0)] {
        for json in [true, false] {
            let mut arguments = vec![uri.as_str(), "--topic", "sites/#", "--once", "--for", "4s"];
            arguments.extend(["--json"].iter().filter(|_| json));
            let mut watch = Watch::start(&arguments);
            watch.err.wait("listening to sites/#", 1);
            gateways.publish(confidence);
            assert_eq!(watch.end().code(), Some(code), "{:?} {:?}", watch.out.all(), watch.err.all());
            let lines = watch.out.all();
            if json {
                let all: Vec<Value> = lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
                let odd: Vec<&Value> = all.iter().filter(|it| it["state"] == "odd").collect();
                assert_eq!((all.len(), odd.len()), (24, usize::from(code == 1)), "{lines:?}");
                assert!(odd.iter().all(|it| it["camera"] == "cam7" && it["gateway"] == "yard" && it["peers"] == 23));
            } else {
                assert_eq!(lines.len(), 25, "{lines:?}");
                assert!(lines[0].starts_with("GATEWAY  CAMERA  PROFILE"), "{lines:?}");
                assert_eq!(lines[1].starts_with("yard     cam7    street   odd "), code == 1, "{lines:?}");
            }
        }
    }
}

#[test]
fn cameras_of_a_site_are_compared_by_what_it_sends() {
    let broker = broker!();
    common::init();
    test_model::register();
    let folder = tempfile::tempdir().unwrap();
    let uri = broker.uri(Door::Plain, "").replace('?', "/sites/north?");
    let watched = |sure: &str| CameraPlan {
        profile: "street".into(),
        guarded: vec![
            node("vigiltestmodel", "model", &[("sure", sure), ("then", sure)]),
            node("vigildrift", "drift", &test_model::DRIFT),
        ],
        ..camera(test_model::SOURCE)
    };
    let all = [("a", "0.8"), ("b", "0.8"), ("c", "0.8"), ("d", "0.8"), ("e", "0.5")];
    let mut plan = plan(all.map(|(id, sure)| (id, watched(sure))));
    plan.name = "north".into();
    plan.telemetry =
        TelemetryTo { uri: Some(uri.clone()), interval: Span::from_secs(1), spool: Some(folder.path().into()) };
    let site = Site::new();
    site.apply(plan);
    // Until all have said enough to be compared, in the records that are heard from then on.
    let start = Instant::now();
    let said = |camera: &str| {
        let stats = site.camera(camera).unwrap().stages;
        stats.get("drift").and_then(|stats| stats["fresh"].as_u64()) > Some(500)
    };
    while !all.iter().all(|(id, _)| said(id)) {
        assert!(start.elapsed() < GUARD, "{:#?}", site.cameras());
        std::thread::sleep(Duration::from_millis(20));
    }
    let mut watch = Watch::start(&[&uri, "--once", "--for", "8s", "--json"]);
    watch.err.wait("listening to sites/north/+/telemetry and sites/north/+/status", 1);
    assert_eq!(watch.end().code(), Some(1), "{:?} {:?}", watch.out.all(), watch.err.all());
    let lines: Vec<Value> = watch.out.all().iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 5, "{lines:?}");
    for line in &lines {
        let state = if line["camera"] == "e" { "odd" } else { "normal" };
        assert_eq!((&line["gateway"], &line["profile"]), (&json!("north"), &json!("street")), "{line}");
        assert_eq!((&line["state"], &line["peers"], &line["stretch"]), (&json!(state), &json!(4), &json!("newest")));
    }
    assert!(lines[0]["text"].as_str().unwrap().starts_with("mean confidence 0.5"), "{lines:?}");
    assert!(site.stop(GUARD));
}

#[test]
fn where_nothing_can_be_said_the_command_says_why() {
    let broker = broker!();
    let ends = |uri: &str, more: &[&str]| {
        let mut watch = Watch::start(&[&[uri, "--once", "--for", "1s"], more].concat());
        let code = watch.end().code();
        (code, watch.err.all().join("\n"))
    };
    let (code, said) = ends(&broker.uri(Door::Plain, ""), &[]);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("0 cameras of 0 gateways were heard on vigil/+/telemetry and vigil/+/status"), "{said}");
    let (code, said) = ends(&broker.uri(Door::Password, "").replace("//", "//me:geheim@"), &[]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("password") && !said.contains("geheim"), "{said}");
    let (code, said) = ends("mqtt://127.0.0.1:1/x", &[]);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("127.0.0.1:1 cannot be reached") && said.contains("tried again"), "{said}");
    let (code, said) = ends(&broker.uri(Door::Plain, ""), &["--topic", "a/#/b"]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("nobody can subscribe to a/#/b"), "{said}");
    let (code, said) = ends("https://host/x", &[]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("mqtts://BROKER/PREFIX"), "{said}");
}
