//! `vigildrift` as an application meets it, and the command that writes into a bundle what is usual.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may")]

mod common;

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use gst::prelude::*;
use gst_check::Harness;
use gstvigil::drift::Summary;
use gstvigil::export::record::Content;
use gstvigil::export::{Context, Record};
use gstvigil::meta;
use gstvigil::result::{AbsentReason, BBox, FrameResult, Freshness, ModelId, Object};

const DIGEST: &str = "abababababababababababababababababababababababababababababababab";

struct Rig {
    element: gst::Element,
    harness: Harness,
    bus: gst::Bus,
    second: u64,
    noise: u64,
}

impl Rig {
    fn start(properties: &[(&str, &str)]) -> Self {
        common::init();
        let element = gst::ElementFactory::make("vigildrift").name("drift").build().unwrap();
        for (name, value) in properties {
            element.set_property_from_str(name, value);
        }
        let bus = gst::Bus::new();
        element.set_bus(Some(&bus));
        let mut harness = Harness::with_element(&element, Some("sink"), Some("src"));
        harness.set_src_caps_str("video/x-raw,format=RGB,width=64,height=64,framerate=1/1");
        Self { element, harness, bus, second: 0, noise: 1 }
    }

    /// A number of 0..1 that is as good as random.
    fn random(&mut self) -> f32 {
        self.noise = self.noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.noise >> 40) as f32 / (1_u64 << 24) as f32
    }

    /// Passes frames, one a second of the stream, with some persons of about this confidence, and checks that each comes out untouched.
    fn pass(&mut self, frames: u64, confidence: f32) {
        for _ in 0..frames {
            let people = 1 + (self.random() * 4.0) as usize;
            let objects = (0..people)
                .map(|id| {
                    let bbox = BBox { x: self.random() * 0.5, y: 0.3, w: 0.1 + 0.1 * self.random(), h: 0.3 };
                    let confidence = confidence + 0.1 * (self.random() - 0.5);
                    Object::new(id as u32, 0, "person".into(), confidence, bbox)
                })
                .collect();
            let mut buffer = gst::Buffer::from_mut_slice(vec![200; 64 * 64 * 3]);
            let b = buffer.get_mut().unwrap();
            b.set_pts(gst::ClockTime::from_seconds(self.second));
            meta::set(b, Arc::new(result(self.second, objects)), false);
            self.second += 1;
            let address = buffer.as_ptr();
            assert_eq!(self.harness.push(buffer), Ok(gst::FlowSuccess::Ok));
            assert_eq!(self.harness.pull().unwrap().as_ptr(), address);
        }
    }

    /// States that were told since the last call.
    fn told(&self) -> Vec<gst::Structure> {
        let messages = common::messages(&self.bus, gst::MessageType::Element);
        messages.iter().map(|message| message.structure().unwrap().to_owned()).collect()
    }

    fn stats(&self) -> gst::Structure {
        self.element.property("stats")
    }

    fn stop(self) {
        self.element.set_state(gst::State::Null).unwrap();
    }
}

fn result(second: u64, objects: Vec<Object>) -> FrameResult {
    let model = ModelId { name: "people".into(), release: "1".into(), digest: DIGEST.into() };
    FrameResult {
        frame: second,
        running_time_ns: Some(second * 1_000_000_000),
        freshness: Freshness::Fresh,
        model: Some(Arc::new(model)),
        objects,
        ..FrameResult::absent(AbsentReason::Skipped, (64, 64))
    }
}

fn state(structure: &gst::Structure) -> String {
    structure.get("state").unwrap()
}

/// Windows of half a minute, learned from 48 of them.
const QUICK: [(&str, &str); 4] = [
    ("window", "30000000000"),
    ("learn-time", "1440000000000"),
    ("day-parts", "1"),
    ("false-alarm-interval", "360000000000000"),
];

#[test]
fn a_confidence_that_falls_is_told_with_its_evidence_and_a_baseline_outlives_the_element() {
    let folder = tempfile::tempdir().unwrap();
    let baseline = folder.path().join("deep/gate.json");
    let properties = [&QUICK[..], &[("baseline", baseline.to_str().unwrap())]].concat();
    let mut rig = Rig::start(&properties);
    rig.pass(3000, 0.8);
    let states: Vec<String> = rig.told().iter().map(state).collect();
    assert_eq!(states, ["learning", "stable"]);
    assert_eq!(rig.stats().get::<u64>("fresh"), Ok(3000));
    rig.stop();

    // The next element knows what is usual, and needs to learn nothing.
    let mut rig = Rig::start(&properties);
    assert_eq!(state(&rig.stats()), "stable");
    rig.pass(600, 0.8);
    assert!(rig.told().is_empty(), "nothing has changed");
    rig.pass(3000, 0.55);
    let told = rig.told();
    let alarm = told.first().unwrap_or_else(|| panic!("{:?}", rig.stats()));
    assert_eq!((state(alarm).as_str(), alarm.name().as_str()), ("drifting", "vigil-drift"));
    assert_eq!(alarm.get::<String>("cause").unwrap(), "confidence");
    let text: String = alarm.get("text").unwrap();
    assert!(text.contains("mean confidence 0.8") && text.contains("→"), "{text}");
    assert!(alarm.get::<f64>("score").unwrap() >= 1.0);
    assert_eq!(alarm.get::<String>("digest").unwrap(), DIGEST);
    let recent: Summary = serde_json::from_str(&rig.stats().get::<String>("recent-predictions").unwrap()).unwrap();
    assert!(recent.frames() > 0 && recent.mean_confidence().unwrap() < 0.7);

    rig.element.emit_by_name::<()>("relearn", &[]);
    rig.pass(100, 0.55);
    assert_eq!(state(&rig.stats()), "learning");
    rig.stop();
}

#[test]
fn a_baseline_that_cannot_be_read_is_a_warning_and_learned_anew() {
    let folder = tempfile::tempdir().unwrap();
    let baseline = folder.path().join("gate.json");
    std::fs::write(&baseline, "no baseline").unwrap();
    let mut rig = Rig::start(&[("baseline", baseline.to_str().unwrap())]);
    rig.pass(2, 0.8);
    let warnings = common::messages(&rig.bus, gst::MessageType::Warning);
    let gst::MessageView::Warning(warning) = warnings[0].view() else { panic!() };
    assert!(warning.error().to_string().contains("is not used, and learned anew"), "{}", warning.error());
    rig.stop();
}

#[test]
fn doubtful_frames_are_kept_unrecognisable_and_bounded() {
    let folder = tempfile::tempdir().unwrap();
    let samples = folder.path().join("samples");
    let place = samples.to_str().unwrap();
    let more = [("samples", place), ("samples-per-hour", "3600"), ("blur", "frame"), ("samples-size", "1048576")];
    let mut rig = Rig::start(&more);
    rig.pass(3, 0.9);
    rig.pass(3, 0.4);
    let taken: u64 = rig.stats().get("samples").unwrap();
    assert!((1..=3).contains(&taken), "{taken}");
    rig.stop();
    let files: Vec<_> = std::fs::read_dir(&samples).unwrap().map(|e| e.unwrap().path()).collect();
    let of = |ending: &str| files.iter().filter(|f| f.extension().unwrap() == ending).collect::<Vec<_>>();
    // Written at the same millisecond two have one name.
    assert!(!of("jpg").is_empty() && of("jpg").len() == of("json").len() && files.len() <= 6, "{files:?}");
    let name = of("jpg")[0].file_name().unwrap().to_string_lossy().into_owned();
    assert!(name.ends_with("-low-confidence.jpg"), "{name}");
    assert!(std::fs::read(of("jpg")[0]).unwrap().starts_with(&[0xff, 0xd8]));
    let record: Record = serde_json::from_slice(&std::fs::read(of("json")[0]).unwrap()).unwrap();
    assert!(record.objects.iter().all(|object| object.confidence < 0.5));
}

#[test]
fn a_folder_for_samples_that_cannot_be_made_is_an_error() {
    common::init();
    let element = gst::ElementFactory::make("vigildrift").build().unwrap();
    element.set_property("samples", "/proc/nope");
    let bus = gst::Bus::new();
    element.set_bus(Some(&bus));
    assert!(element.set_state(gst::State::Paused).is_err());
    let errors = common::messages(&bus, gst::MessageType::Error);
    let gst::MessageView::Error(error) = errors[0].view() else { panic!() };
    assert!(error.error().to_string().contains("/proc/nope"), "{}", error.error());
    element.set_state(gst::State::Null).unwrap();
}

/// Runs `vigil bundle predictions`: what it said, and whether it succeeded.
fn predictions(bundle: &Path, records: &Path) -> (String, bool) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vigil"));
    let done = command.args(["bundle", "predictions"]).arg(bundle).arg(records).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&done.stdout) + &text(&done.stderr), done.status.success())
}

#[test]
fn a_bundle_learns_from_records_what_its_model_usually_says() {
    let folder = tempfile::tempdir().unwrap();
    let bundle = common::bundles::good("1").folder(folder.path());
    let opened = gstvigil::bundle::Bundle::open(&bundle).unwrap();
    let digest = &opened.variants[0].sha256;
    let records = folder.path().join("records.jsonl");
    let write = |digest: &str, frames: u64| {
        let context = Context::new("gate", 0);
        let line = |n: u64| {
            let person = Object::new(0, 0, "red".into(), 0.75, BBox { x: 0.1, y: 0.1, w: 0.2, h: 0.2 });
            let id = ModelId { name: "m".into(), release: "1".into(), digest: digest.into() };
            let seen = FrameResult { model: Some(Arc::new(id)), ..result(n, vec![person]) };
            Record::new(&seen, &context, n, &Content::default()).to_line()
        };
        std::fs::write(&records, (0..frames).flat_map(line).collect::<Vec<u8>>()).unwrap();
    };
    write(DIGEST, 2000);
    let (said, good) = predictions(&bundle, &records);
    assert!(!good && said.contains("the records hold 0 frames") && said.contains("2000 are of other models"), "{said}");
    write(digest, 999);
    assert!(!predictions(&bundle, &records).1);
    write(digest, 1500);
    let (said, good) = predictions(&bundle, &records);
    assert!(good && said.contains("1500 frames, 1500 objects"), "{said}");
    let usual = gstvigil::bundle::Bundle::open(&bundle).unwrap().predictions.unwrap();
    assert_eq!((usual.frames(), usual.share("red")), (1500, Some(1.0)));
    std::fs::write(bundle.join("predictions.json"), "[]").unwrap();
    let error = gstvigil::bundle::Bundle::open(&bundle).unwrap_err().to_string();
    assert!(error.contains("predictions.json") && error.contains("vigil bundle predictions"), "{error}");
}
