//! `vigilexport` with receivers over a network: a real broker that goes away and comes back, the spool, the examples that receive.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may")]

#[path = "common/broker.rs"]
mod broker;
mod common;
#[path = "export_network/faults.rs"]
mod faults;
#[cfg(feature = "kafka")]
#[path = "export_network/kafka.rs"]
mod kafka;
#[path = "export_network/live.rs"]
mod live;
#[path = "common/program.rs"]
mod program;
#[path = "export_network/sharing.rs"]
mod sharing;
#[path = "common/web.rs"]
mod web;

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use broker::{Broker, Door, GUARD, Received, Subscriber};
use gst::prelude::*;
use gst_check::Harness;
use gstvigil::meta;
use gstvigil::result::{BBox, FrameResult, Freshness, Object, Track, TrackState};
use program::{Program, python_has};
use serde_json::Value;

/// For how long an element waits for its receiver at the end of the stream, and again when it is stopped.
const LIMIT: Duration = Duration::from_secs(5);

/// One camera: an element between two pads, playing.
struct Camera {
    element: gst::Element,
    harness: Harness,
    bus: gst::Bus,
    frame: u64,
}

impl Camera {
    fn start(name: &str, uri: &str, spool: &Path, more: &[(&str, &str)]) -> Self {
        common::init();
        let element = gst::ElementFactory::make("vigilexport").name(name).build().unwrap();
        element.set_property("uri", uri);
        element.set_property("spool", spool.to_str().unwrap());
        // So that what a test waits for comes soon.
        element.set_property("commit-interval", 50_000_000_u64);
        for (property, value) in more {
            element.set_property_from_str(property, value);
        }
        let bus = gst::Bus::new();
        element.set_bus(Some(&bus));
        let mut harness = Harness::with_element(&element, Some("sink"), Some("src"));
        harness.set_src_caps_str("video/x-raw,format=GRAY8,width=64,height=64,framerate=10/1");
        Self { element, harness, bus, frame: 0 }
    }

    /// Sends frames with one person each through the element.
    fn pass(&mut self, frames: usize) {
        for _ in 0..frames {
            let person = Object::new(0, 0, "Person".into(), 0.75, BBox { x: 0.25, y: 0.5, w: 0.5, h: 0.25 });
            self.pass_with(vec![person]);
        }
    }

    fn pass_with(&mut self, objects: Vec<Object>) {
        let frame = self.frame;
        self.frame += 1;
        let mut buffer = gst::Buffer::from_mut_slice(vec![128; 64 * 64]);
        let b = buffer.get_mut().unwrap();
        b.set_pts(gst::ClockTime::from_mseconds(frame * 100));
        let seen = FrameResult::absent(gstvigil::result::AbsentReason::Skipped, (64, 64));
        let running = Some(frame * 100_000_000);
        let result = FrameResult { frame, running_time_ns: running, freshness: Freshness::Fresh, objects, ..seen };
        meta::set(b, Arc::new(result), false);
        assert_eq!(self.harness.push(buffer), Ok(gst::FlowSuccess::Ok));
        assert!(self.harness.pull().is_ok());
    }

    fn stat(&self, name: &str) -> u64 {
        self.element.property::<gst::Structure>("stats").get(name).unwrap()
    }

    fn wait_for(&self, what: &str, is_so: impl Fn(&Self) -> bool) {
        let begin = Instant::now();
        while !is_so(self) {
            assert!(begin.elapsed() < 2 * GUARD, "{what}: {:?}", self.element.property::<gst::Structure>("stats"));
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// The state of the next `vigil-export` message.
    fn told(&self) -> String {
        let kinds = [gst::MessageType::Element];
        let message = self.bus.timed_pop_filtered(gst::ClockTime::from_seconds(60), &kinds).expect("no message");
        message.structure().unwrap().get("state").unwrap()
    }

    fn stop(self) {
        self.element.set_state(gst::State::Null).unwrap();
    }
}

fn is_record(received: &Received) -> bool {
    !received.topic.ends_with("/status")
}

/// Numbers of the frames that came, each once, in the order in which they came first.
fn frames(heard: &[Received], camera: &str) -> Vec<u64> {
    let mut seen = BTreeSet::new();
    let of_camera = |r: &&Received| is_record(r) && r.topic == format!("vigil/{camera}/frame");
    let values = heard.iter().filter(of_camera).map(|r| serde_json::from_str::<Value>(&r.payload).unwrap());
    values.filter(|v| seen.insert(v["id"].as_str().unwrap().to_owned())).map(|v| v["frame"].as_u64().unwrap()).collect()
}

#[test]
fn records_survive_a_broker_that_goes_away_and_comes_back() {
    let Some(mut broker) = Broker::start("") else { return };
    let folder = tempfile::tempdir().unwrap();
    let uri = broker.uri(Door::Plain, "");
    let mut gate = Camera::start("gate", &uri, folder.path(), &[]);
    let mut yard = Camera::start("yard", &uri, folder.path(), &[]);
    let first = Subscriber::start(&broker, "vigil/#");
    gate.pass(20);
    yard.pass(20);
    first.wait(|heard| frames(heard, "gate").len() == 20 && frames(heard, "yard").len() == 20);
    // Who is told that the records have come, and who hears them, is not the same.
    gate.wait_for("acknowledged", |gate| gate.stat("written") == 40);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().filter(|e| is_spool(&e.as_ref().unwrap().path())).count(), 1);

    broker.stop();
    gate.pass(30);
    yard.pass(30);
    assert_eq!((gate.told(), yard.told()), ("degraded".into(), "degraded".into()));
    gate.pass(30);
    yard.pass(30);
    gate.wait_for("what waits is on disk", |gate| gate.stat("waiting") == 120 && gate.stat("spool-bytes") > 0);
    assert_eq!(gate.stat("dropped"), 0);
    let stats = gate.element.property::<gst::Structure>("stats");
    assert!(!stats.get::<bool>("connected").unwrap(), "{stats}");

    broker.restart();
    let second = Subscriber::start(&broker, "vigil/#");
    gate.pass(10);
    gate.wait_for("all acknowledged", |gate| gate.stat("waiting") == 0);
    assert_eq!((gate.told(), yard.told()), ("recovered".into(), "recovered".into()));
    // The subscriber may have come later than the first of them.
    let heard =
        second.wait(|heard| frames(heard, "gate").last() == Some(&89) && frames(heard, "yard").last() == Some(&79));
    for (camera, end) in [("gate", 90), ("yard", 80)] {
        let got = frames(&heard, camera);
        let begin = *got.first().unwrap();
        assert_eq!(got, (begin..end).collect::<Vec<_>>(), "{camera}");
    }
    assert_eq!((gate.stat("written"), gate.stat("dropped")), (170, 0));
    gate.stop();
    yard.stop();
}

fn is_spool(path: &Path) -> bool {
    path.extension().is_some_and(|ending| ending == "spool")
}

#[test]
fn what_waited_when_the_element_stopped_is_sent_by_the_next_one() {
    let Some(mut broker) = Broker::start("") else { return };
    let folder = tempfile::tempdir().unwrap();
    let uri = broker.uri(Door::Plain, "");
    broker.stop();
    let mut gate = Camera::start("gate", &uri, folder.path(), &[]);
    gate.pass(50);
    gate.stop();
    broker.restart();
    let subscriber = Subscriber::start(&broker, "vigil/#");
    let mut gate = Camera::start("gate", &broker.uri(Door::Plain, "qos=2"), folder.path(), &[]);
    gate.pass(3);
    let heard = subscriber.wait(|heard| frames(heard, "gate").len() == 53);
    assert_eq!(frames(&heard, "gate"), (0..50).chain(0..3).collect::<Vec<_>>());
    gate.stop();
}

#[test]
fn events_overtake_and_frames_are_chosen() {
    let Some(broker) = Broker::start("") else { return };
    let folder = tempfile::tempdir().unwrap();
    let more = [("records", "changes+events"), ("classes", "Person, Car"), ("thumbnail-size", "4000")];
    let mut gate = Camera::start("gate", &broker.uri(Door::Plain, ""), folder.path(), &more);
    let subscriber = Subscriber::start(&broker, "vigil/gate/#");
    let person = |state, label: &str| {
        let mut person = Object::new(0, 0, label.into(), 0.75, BBox { x: 0.25, y: 0.25, w: 0.5, h: 0.5 });
        person.track = Some(Track { id: 7, state, age_ns: 0, unseen_ns: 0, velocity: (0.0, 0.0) });
        person
    };
    gate.pass_with(vec![]);
    gate.pass_with(vec![]);
    gate.pass_with(vec![person(TrackState::Confirmed, "Person")]);
    gate.pass_with(vec![person(TrackState::Predicted, "Person"), person(TrackState::Confirmed, "Dog")]);
    gate.pass_with(vec![]);
    let heard = subscriber.wait(|heard| heard.iter().filter(|r| is_record(r)).count() == 5);
    assert_eq!(frames(&heard, "gate"), [0, 2, 4]);
    let events: Vec<Value> = heard
        .iter()
        .filter(|r| r.topic == "vigil/gate/event")
        .map(|r| serde_json::from_str(&r.payload).unwrap())
        .collect();
    let names: Vec<&str> = events.iter().map(|event| event["event"].as_str().unwrap()).collect();
    assert_eq!(names, ["object-appeared", "object-left"]);
    assert_eq!(events[0]["at"]["frame"], 2);
    let picture = &events[0]["thumbnail"];
    assert!(
        picture["width"].as_u64().unwrap() >= 32 && picture["jpeg"].as_str().unwrap().starts_with("/9j/"),
        "{picture}"
    );
    gate.element.set_property_from_str("records", "frames");
    gate.pass(2);
    subscriber.wait(|heard| frames(heard, "gate") == [0, 2, 4, 5, 6]);
    gate.stop();
}

#[test]
fn elements_that_send_to_the_same_place_must_say_the_same() {
    let Some(broker) = Broker::start("") else { return };
    let folder = tempfile::tempdir().unwrap();
    let gate = Camera::start("gate", &broker.uri(Door::Plain, ""), folder.path(), &[]);
    let other = gst::ElementFactory::make("vigilexport").build().unwrap();
    other.set_property("uri", broker.uri(Door::Plain, "qos=0"));
    other.set_property("spool", folder.path().to_str().unwrap());
    let bus = gst::Bus::new();
    other.set_bus(Some(&bus));
    assert!(other.set_state(gst::State::Paused).is_err());
    let error = bus.timed_pop_filtered(gst::ClockTime::from_seconds(30), &[gst::MessageType::Error]).unwrap();
    let gst::MessageView::Error(error) = error.view() else { panic!() };
    assert!(error.error().to_string().contains("with other options; give both the same uri"), "{}", error.error());
    other.set_state(gst::State::Null).unwrap();
    gate.stop();
}

#[test]
fn another_process_is_told_that_the_spool_is_taken() {
    let folder = tempfile::tempdir().unwrap();
    if common::is_child("another_process_is_told_that_the_spool_is_taken") {
        common::init();
        let element = gst::ElementFactory::make("vigilexport").build().unwrap();
        element.set_property("uri", "http://127.0.0.1:9/records");
        element.set_property("spool", std::env::var("SPOOL_OF_TEST").unwrap());
        let bus = gst::Bus::new();
        element.set_bus(Some(&bus));
        assert!(element.set_state(gst::State::Paused).is_err());
        let error = bus.timed_pop_filtered(gst::ClockTime::from_seconds(30), &[gst::MessageType::Error]).unwrap();
        let gst::MessageView::Error(error) = error.view() else { panic!() };
        println!("said: {}", error.error());
        element.set_state(gst::State::Null).unwrap();
        return;
    }
    let gate = Camera::start("gate", "http://127.0.0.1:9/records", folder.path(), &[]);
    let mut child = common::again("another_process_is_told_that_the_spool_is_taken");
    let (said, _) = common::output(child.env("SPOOL_OF_TEST", folder.path()));
    let line = said.lines().find(|line| line.contains("said: ")).unwrap_or_else(|| panic!("{said}"));
    assert!(line.contains("in use") && line.contains(".spool"), "{line}");
    gate.stop();
}

#[test]
fn the_example_for_mqtt_receives() {
    let Some(mut broker) = Broker::start("") else { return };
    if !python_has("paho.mqtt.client", "python3-paho-mqtt") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut gate = Camera::start("gate", &broker.uri(Door::Plain, ""), folder.path(), &[]);
    let port = broker.port(Door::Plain).to_string();
    let consumer =
        Program::example("consume_mqtt.py", &["127.0.0.1", &port, "vigil", "--client-id", "receiver-1", "--json"]);
    consumer.hear("connected");
    let subscriber = Subscriber::start(&broker, "vigil/#");
    gate.pass(10);
    subscriber.wait(|heard| frames(heard, "gate").len() == 10);
    broker.stop();
    gate.pass(10);
    broker.restart();
    let subscriber = Subscriber::start(&broker, "vigil/#");
    gate.pass(10);
    gate.wait_for("all sent", |gate| gate.stat("waiting") == 0);
    // A broker without persistence has forgotten the example's session: it subscribes again, and may have missed some.
    gate.pass(1);
    subscriber.wait(|heard| frames(heard, "gate").last() == Some(&30));
    gate.stop();
    let said = consumer.end();
    let summary = said.last().unwrap();
    let numbers: Vec<u64> = summary.split(|c: char| !c.is_ascii_digit()).filter_map(|n| n.parse().ok()).collect();
    assert!(summary.contains("records") && numbers[0] >= 11 && numbers[3] == 0, "{summary}");
    let records: Vec<Value> = said.iter().filter_map(|line| serde_json::from_str(line).ok()).collect();
    assert_eq!(records.len() as u64, numbers[0]);
    assert!(records.iter().all(|record| record["schema"] == "vigil/1"), "{said:?}");
}

#[test]
fn the_example_for_http_receives() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("received.jsonl");
    let server = Program::example("consume_http.py", &["0", "--file", out.to_str().unwrap()]);
    let line = server.hear("listening on port");
    let port = line.rsplit(' ').next().unwrap();
    let uri = format!("http://127.0.0.1:{port}/records");
    let mut gate = Camera::start("gate", &uri, &folder.path().join("spool"), &[]);
    gate.pass(100);
    assert!(gate.harness.push_event(gst::event::Eos::new()));
    // The end of the stream has waited for the acknowledgement.
    let text = std::fs::read_to_string(&out).unwrap();
    let frames: Vec<u64> =
        text.lines().map(|l| serde_json::from_str::<Value>(l).unwrap()["frame"].as_u64().unwrap()).collect();
    assert_eq!(frames, (0..100).collect::<Vec<_>>());
    assert_eq!((gate.stat("written"), gate.stat("waiting")), (100, 0));
    gate.stop();
    server.end();
}

/// Runs `vigil spool` with `args`: what it printed, and whether it succeeded.
fn spool(args: &[&str]) -> (String, String, bool) {
    let output = Command::new(env!("CARGO_BIN_EXE_vigil")).arg("spool").args(args).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&output.stdout), text(&output.stderr), output.status.success())
}

#[test]
fn the_command_shows_writes_out_and_removes_what_waits() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().to_str().unwrap();
    let mut gate = Camera::start("gate", "http://127.0.0.1:9/records", folder.path(), &[]);
    let mut yard = Camera::start("yard", "http://127.0.0.1:9/records", folder.path(), &[]);
    gate.pass(5);
    yard.pass(7);
    let (_, shown, _) = spool(&["show", "--folder", place]);
    assert_eq!(shown, "");
    gate.wait_for("on disk", |_| {
        let (shown, _, _) = spool(&["show", "--folder", place, "--json"]);
        serde_json::from_str::<Value>(&shown).unwrap()[0]["waiting"]["frame"] == 12
    });
    let (shown, _, _) = spool(&["show", "--folder", place]);
    assert!(shown.contains("(in use)") && shown.contains("12 of kind frame"), "{shown}");
    let name = shown.split_whitespace().next().unwrap();
    let (written, _, good) = spool(&["export", name, "--folder", place, "--camera", "yard"]);
    let cameras: Vec<Value> = written.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(good && cameras.len() == 7 && cameras.iter().all(|record| record["camera"] == "yard"), "{written}");
    let (_, said, good) = spool(&["purge", name, "--folder", place, "--yes"]);
    assert!(!good && said.contains("in use"), "{said}");
    gate.stop();
    yard.stop();
    let (_, said, good) = spool(&["purge", name, "--folder", place]);
    assert!(!good && said.contains("--yes"), "{said}");
    let (said, _, good) = spool(&["purge", name, "--folder", place, "--yes", "--camera", "gate"]);
    assert!(good && said.contains("5 records removed"), "{said}");
    let (shown, _, _) = spool(&["show", "--folder", place]);
    assert!(shown.contains("(not in use)") && shown.contains("7 of kind frame"), "{shown}");
    let (_, said, good) = spool(&["export", "nope", "--folder", place]);
    assert!(!good && said.contains("no spool \"nope\"; there are: "), "{said}");
    let (_, said, good) = spool(&["export", name, "--folder", place, "--kind", "frames"]);
    assert!(!good && said.contains("alarm, event, frame, telemetry"), "{said}");
}
