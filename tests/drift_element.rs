//! `vigildrift` as an application meets it, and the command that writes into a bundle what is usual.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may")]

mod common;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::model;
use gst::prelude::*;
use gst_check::Harness;
use gstvigil::drift::Summary;
use gstvigil::export::record::Content;
use gstvigil::export::{Context, Record};
use gstvigil::meta;
use gstvigil::result::{AbsentReason, BBox, FrameResult, Freshness, ModelId, Object, Track, TrackState};
use serde_json::Value;

const DIGEST: &str = "abababababababababababababababababababababababababababababababab";
/// A test that waits for something waits for no longer than this.
const LONG: Duration = Duration::from_secs(30);
/// Width and height of most frames.
const SIDE: usize = 64;

/// Waits until something is there.
#[track_caller]
fn until<T>(what: &str, is: impl Fn() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = is() {
            return found;
        }
        assert!(begun.elapsed() < LONG, "in vain: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Upright stripes, two pixels wide: whoever hides them leaves nothing of them.
fn stripes() -> Vec<u8> {
    (0..SIDE * SIDE).flat_map(|i| [if i % SIDE % 4 < 2 { 0 } else { 255 }; 3]).collect()
}

/// Pixels that JPEG can do nothing with.
fn noise(side: usize) -> Vec<u8> {
    let mut state = 1_u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    (0..side * side * 3).map(|_| next()).collect()
}

/// The grey values of a JPEG file's square picture, read back by GStreamer, which is not our encoder.
fn grey(file: &Path) -> Vec<u8> {
    let line = format!(
        "filesrc location={} ! jpegdec ! videoconvert ! video/x-raw,format=GRAY8 ! appsink name=out sync=false",
        file.display()
    );
    let pipeline = gst::parse::launch(&line).unwrap().downcast::<gst::Pipeline>().unwrap();
    let sink = pipeline.by_name("out").unwrap().downcast::<gst_app::AppSink>().unwrap();
    pipeline.set_state(gst::State::Playing).unwrap();
    let sample = sink.pull_sample().unwrap();
    let video = gst_video::VideoInfo::from_caps(sample.caps().unwrap()).unwrap();
    assert_eq!((video.width(), video.height()), (SIDE as u32, SIDE as u32));
    let pixels = sample.buffer().unwrap().map_readable().unwrap().to_vec();
    pipeline.set_state(gst::State::Null).unwrap();
    pixels
}

/// By how much neighbours differ in these columns and rows of a picture, on average.
fn contrast(grey: &[u8], columns: std::ops::Range<usize>, rows: std::ops::Range<usize>) -> f64 {
    let pairs = rows.flat_map(|y| columns.clone().map(move |x| y * SIDE + x));
    let steps: Vec<f64> = pairs.map(|at| f64::from(grey[at].abs_diff(grey[at + 1]))).collect();
    steps.iter().sum::<f64>() / steps.len() as f64
}

/// Whether the stripes are to be seen there; no guess in between.
#[track_caller]
fn is_seen(grey: &[u8], columns: std::ops::Range<usize>, rows: std::ops::Range<usize>) -> bool {
    let contrast = contrast(grey, columns, rows);
    assert!(!(30.0..90.0).contains(&contrast), "half hidden: {contrast}");
    contrast > 90.0
}

/// Files of a folder that end so, by name.
fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut found: Vec<_> = entries.filter(|path| path.extension().is_some_and(|e| e == ending)).collect();
    found.sort();
    found
}

fn name(path: &Path) -> &str {
    path.file_name().unwrap().to_str().unwrap()
}

fn record(picture: &Path) -> Record<'static> {
    serde_json::from_slice(&std::fs::read(picture.with_extension("json")).unwrap()).unwrap()
}

/// A frame of these pixels with this result.
fn buffer(pixels: &[u8], second: u64, objects: Vec<Object>) -> gst::Buffer {
    let mut buffer = gst::Buffer::from_mut_slice(pixels.to_vec());
    let b = buffer.get_mut().unwrap();
    b.set_pts(gst::ClockTime::from_seconds(second));
    meta::set(b, Arc::new(result(second, objects)), false);
    buffer
}

struct Rig {
    element: gst::Element,
    harness: Harness,
    bus: gst::Bus,
    pixels: Vec<u8>,
    second: u64,
    noise: u64,
}

impl Rig {
    fn start(properties: &[(&str, &str)]) -> Self {
        Self::of(properties, "RGB", stripes())
    }

    /// With square frames of these pixels.
    fn of(properties: &[(&str, &str)], format: &str, pixels: Vec<u8>) -> Self {
        common::init();
        let element = gst::ElementFactory::make("vigildrift").name("drift").build().unwrap();
        for (name, value) in properties {
            element.set_property_from_str(name, value);
        }
        let bus = gst::Bus::new();
        element.set_bus(Some(&bus));
        let harness = Harness::with_element(&element, Some("sink"), Some("src"));
        let mut rig = Self { element, harness, bus, pixels, second: 0, noise: 1 };
        rig.format(format);
        rig
    }

    fn format(&mut self, format: &str) {
        let side = ((self.pixels.len() / 3) as f64).sqrt() as u32;
        self.harness.set_src_caps_str(&format!("video/x-raw,format={format},width={side},height={side},framerate=1/1"));
    }

    /// A number of 0..1 that is as good as random.
    fn random(&mut self) -> f32 {
        self.noise = self.noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.noise >> 40) as f32 / (1_u64 << 24) as f32
    }

    /// Passes frames, one a second of the stream, with some persons of about this confidence.
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
            self.push(objects);
        }
    }

    /// Passes a frame with these objects, and checks that it comes out untouched.
    fn push(&mut self, objects: Vec<Object>) {
        let buffer = buffer(&self.pixels, self.second, objects);
        self.second += 1;
        let address = buffer.as_ptr();
        assert_eq!(self.harness.push(buffer), Ok(gst::FlowSuccess::Ok));
        assert_eq!(self.harness.pull().unwrap().as_ptr(), address);
    }

    /// Waits until so many samples are written.
    #[track_caller]
    fn written(&self, samples: u64) {
        until("samples are written", || (self.stats().get::<u64>("samples").unwrap() >= samples).then_some(()));
    }

    /// States that were told since the last call.
    fn told(&self) -> Vec<gst::Structure> {
        let messages = common::messages(&self.bus, gst::MessageType::Element);
        messages.iter().map(|message| message.structure().unwrap().to_owned()).collect()
    }

    /// The first warning; waits for it.
    fn warning(&self) -> String {
        let message = until("a warning", || self.bus.pop_filtered(&[gst::MessageType::Warning]));
        let gst::MessageView::Warning(warning) = message.view() else { panic!() };
        warning.error().to_string()
    }

    fn stats(&self) -> gst::Structure {
        self.element.property("stats")
    }

    fn stop(self) {
        self.element.set_state(gst::State::Null).unwrap();
    }
}

/// An object in the middle half of the frame.
fn centred(confidence: f32) -> Object {
    Object::new(0, 0, "person".into(), confidence, BBox { x: 0.25, y: 0.25, w: 0.5, h: 0.5 })
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

/// What the file of a baseline says, if it is there and whole.
fn kept(file: &Path) -> Option<Value> {
    serde_json::from_slice(&std::fs::read(file).ok()?).ok()
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
    rig.pass(20, 0.8);
    let recent = |rig: &Rig| {
        (rig.stats().get::<String>("recent-digest").unwrap(), rig.stats().get::<u64>("recent-until").unwrap())
    };
    assert_eq!(recent(&rig), (String::new(), 0), "no window has ended");
    rig.pass(2980, 0.8);
    let (digest, until_ns) = recent(&rig);
    // By the wall clock, whatever the stream's.
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    assert!(digest == DIGEST && now.abs_diff(Duration::from_nanos(until_ns)) < Duration::from_secs(3600), "{until_ns}");
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

    let is_learned = |file: &Value| file["known"]["baseline"].is_object();
    assert!(is_learned(&kept(&baseline).unwrap()));
    rig.element.emit_by_name::<()>("relearn", &[]);
    let last = rig.told().pop().unwrap();
    assert_eq!((state(&rig.stats()).as_str(), state(&last).as_str()), ("learning", "learning"), "told at once");
    until("the file forgets at once", || kept(&baseline).filter(|file| !is_learned(file)));
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
    let warning = rig.warning();
    assert!(warning.contains("is not used, and learned anew"), "{warning}");
    rig.stop();
}

#[test]
fn a_camera_neither_takes_nor_spoils_the_baseline_of_another() {
    let folder = tempfile::tempdir().unwrap();
    let baseline = folder.path().join("usual.json");
    let of = |camera: &str| {
        let more = [("baseline", baseline.to_str().unwrap()), ("camera", camera)];
        Rig::start(&[&QUICK[..], &more].concat())
    };
    let mut gate = of("gate");
    gate.pass(2000, 0.8);
    gate.stop();
    let before = kept(&baseline).unwrap();
    assert_eq!(before["camera"], "gate");

    let mut door = of("door");
    let warning = door.warning();
    for part in
        ["is that of the camera \"gate\"", "if \"door\" has taken that one's place", "`relearn`", "remove the file"]
    {
        assert!(warning.contains(part), "{part} is not in {warning}");
    }
    assert_eq!(state(&door.stats()), "unknown");
    door.pass(100, 0.8);
    door.stop();
    assert_eq!(kept(&baseline).unwrap(), before, "it is the other one's still");

    // It takes the other one's place.
    let mut door = of("door");
    door.pass(10, 0.8);
    door.element.emit_by_name::<()>("relearn", &[]);
    until("the file is taken over", || kept(&baseline).filter(|file| file["camera"] == "door"));
    door.stop();
    // Or somebody removes the file.
    std::fs::write(&baseline, before.to_string()).unwrap();
    let mut door = of("door");
    std::fs::remove_file(&baseline).unwrap();
    door.pass(10, 0.8);
    door.stop();
    assert_eq!(kept(&baseline).unwrap()["camera"], "door");
}

#[test]
fn a_clip_shorter_than_a_window_that_is_rewound_completes_windows() {
    common::init();
    let line = format!(
        "videotestsrc pattern=ball ! video/x-raw,width=64,height=64,framerate=25/1 ! vigilinfer model={} ! \
         vigildrift name=drift window=1000000000 learn-time=48000000000 ! fakesink",
        model("red")
    );
    let pipeline = gst::parse::launch(&line).unwrap().downcast::<gst::Pipeline>().unwrap();
    let (bus, drift) = (pipeline.bus().unwrap(), pipeline.by_name("drift").unwrap());
    let rewind = || {
        let (start, stop) = (gst::ClockTime::ZERO, gst::ClockTime::from_mseconds(800));
        let (flags, set) = (gst::SeekFlags::FLUSH | gst::SeekFlags::ACCURATE, gst::SeekType::Set);
        pipeline.seek(1.0, flags, set, start, set, stop).unwrap();
    };
    pipeline.set_state(gst::State::Paused).unwrap();
    pipeline.state(gst::ClockTime::NONE).0.unwrap();
    rewind();
    pipeline.set_state(gst::State::Playing).unwrap();
    let begun = Instant::now();
    // Two windows at least, of which each takes two rounds.
    let learned = || drift.property::<gst::Structure>("stats").get::<f64>("learned").unwrap();
    while learned() < 2.0 / 48.0 {
        let ends = [gst::MessageType::Eos, gst::MessageType::Error];
        let end = bus.timed_pop_filtered(gst::ClockTime::from_seconds(30), &ends).unwrap();
        assert_eq!(end.type_(), gst::MessageType::Eos, "{end:?}");
        assert!(begun.elapsed() < LONG, "{:?}", drift.property::<gst::Structure>("stats"));
        rewind();
    }
    pipeline.set_state(gst::State::Null).unwrap();
}

#[test]
fn settings_that_cannot_be_kept_to_are_an_error() {
    common::init();
    let element = gst::ElementFactory::make("vigildrift").build().unwrap();
    element.set_property("window", 5_000_000_000_u64);
    let bus = gst::Bus::new();
    element.set_bus(Some(&bus));
    assert!(element.set_state(gst::State::Paused).is_err());
    let errors = common::messages(&bus, gst::MessageType::Error);
    let gst::MessageView::Error(error) = errors[0].view() else { panic!() };
    let text = error.error().to_string();
    assert!(text.contains("`learn-time` is 86400s") && text.contains("240s to 20480s"), "{text}");
    element.set_state(gst::State::Null).unwrap();
}

#[test]
fn doubtful_frames_are_kept_with_their_objects_unrecognisable() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path().join("samples");
    let place = at.to_str().unwrap();
    let sampled = |blur: &str| {
        let _ = std::fs::remove_dir_all(&at);
        let more = [("samples", place), ("samples-per-hour", "1"), ("blur", blur), ("camera", "gate")];
        let mut rig = Rig::start(&more);
        rig.push(vec![centred(0.9)]);
        rig.push(vec![centred(0.2)]);
        rig.written(1);
        // One an hour.
        rig.push(vec![centred(0.2)]);
        rig.stop();
        let pictures = files(&at, "jpg");
        assert_eq!((pictures.len(), files(&at, "json").len()), (1, 1));
        assert!(name(&pictures[0]).ends_with("-low-confidence.jpg"), "{pictures:?}");
        let record = record(&pictures[0]);
        assert_eq!((&*record.camera, record.frame, record.objects.len()), ("gate", 1, 1));
        let grey = grey(&pictures[0]);
        (is_seen(&grey, 20..44, 20..44), is_seen(&grey, 0..14, 0..63))
    };
    assert_eq!(sampled("none"), (true, true), "the object and what is beside it");
    assert_eq!(sampled("objects"), (false, true));
    assert_eq!(sampled("frame"), (false, false));
}

#[test]
fn while_predictions_drift_all_of_a_frame_is_unrecognisable() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().to_str().unwrap();
    let more = [("samples", place), ("samples-per-hour", "3600"), ("sample-below", "0"), ("blur", "objects")];
    let mut rig = Rig::start(&[&QUICK[..], &more].concat());
    rig.pass(3000, 0.8);
    assert_eq!(rig.stats().get::<u64>("samples"), Ok(0));
    while state(&rig.stats()) != "drifting" {
        assert!(rig.second < 6000, "{:?}", rig.stats());
        rig.pass(1, 0.55);
    }
    rig.push(vec![centred(0.55)]);
    rig.written(1);
    rig.stop();
    let pictures = files(folder.path(), "jpg");
    assert!(!pictures.is_empty());
    for picture in pictures {
        assert!(name(&picture).ends_with("-drift.jpg"), "{picture:?}");
        assert!(!is_seen(&grey(&picture), 0..63, 0..63), "who is missed has no box");
    }
}

#[test]
fn frames_on_which_the_model_misses_what_the_tracker_follows_are_kept() {
    common::init();
    let folder = tempfile::tempdir().unwrap();
    let person = |id, x| Object::new(id, 0, "person".into(), 0.9, BBox { x, y: 0.3, w: 0.1, h: 0.3 });
    // What is passed on by a tracker that predicts, by one that does not, and with the reason off; and what is sampled then.
    for (coast, share, sampled) in
        [("5000000000", "0.5", 1), ("0", "0.5", 0), ("5000000000", "0.6", 0), ("5000000000", "0", 0)]
    {
        let at = folder.path().join(format!("{coast}-{share}"));
        let mut harness = Harness::new_parse(&format!(
            "vigiltrack coast-time={coast} ! vigildrift name=drift samples={} sample-below=0 sample-disagreement={share} blur=objects",
            at.display()
        ));
        harness.set_src_caps_str("video/x-raw,format=RGB,width=64,height=64,framerate=1/1");
        let chain = harness.element().unwrap().downcast::<gst::Bin>().unwrap();
        let drift = chain.by_name("drift").unwrap();
        let mut pass = |second, objects| {
            assert_eq!(harness.push(buffer(&stripes(), second, objects)), Ok(gst::FlowSuccess::Ok));
            harness.pull().unwrap();
        };
        (0..4).for_each(|second| pass(second, vec![person(0, 0.1), person(1, 0.7)]));
        pass(4, vec![person(0, 0.1)]);
        let written = || drift.property::<gst::Structure>("stats").get::<u64>("samples").unwrap();
        if sampled > 0 {
            until("the sample is written", || (written() == sampled).then_some(()));
        }
        // Stopped, it has written what it will.
        chain.set_state(gst::State::Null).unwrap();
        let pictures = files(&at, "jpg");
        assert_eq!(pictures.len() as u64, sampled, "{coast} {share}: {pictures:?}");
        for picture in pictures {
            assert!(name(&picture).ends_with("-disagreement.jpg"), "{picture:?}");
            let record = record(&picture);
            assert_eq!((record.frame, record.objects.len()), (4, 2));
            assert!(!is_seen(&grey(&picture), 0..63, 0..63));
        }
    }
}

#[test]
fn made_up_predictions_are_disagreement_too_and_held_frames_none() {
    let folder = tempfile::tempdir().unwrap();
    let mut rig = Rig::start(&[("samples", folder.path().to_str().unwrap()), ("sample-below", "0")]);
    let mut lost = centred(0.9);
    lost.track = Some(Track { id: 1, state: TrackState::Predicted, age_ns: 0, unseen_ns: 0, velocity: (0.0, 0.0) });
    let mut held = gst::Buffer::from_mut_slice(stripes());
    let of_held = FrameResult { freshness: Freshness::Held { age_ns: 1 }, ..result(0, vec![lost.clone()]) };
    meta::set(held.get_mut().unwrap(), Arc::new(of_held), false);
    rig.harness.push(held).unwrap();
    rig.harness.pull().unwrap();
    rig.push(vec![lost, centred(0.9)]);
    rig.written(1);
    rig.stop();
    let pictures = files(folder.path(), "jpg");
    assert!(matches!(&pictures[..], [one] if name(one).ends_with("-disagreement.jpg")), "{pictures:?}");
    assert_eq!(record(&pictures[0]).objects.len(), 2);
}

#[test]
fn samples_keep_to_their_room_and_the_newest_stay() {
    let folder = tempfile::tempdir().unwrap();
    let more =
        [("samples", folder.path().to_str().unwrap()), ("samples-per-hour", "3600"), ("samples-size", "1048576")];
    let mut rig = Rig::of(&more, "RGB", noise(512));
    for n in 1..=8 {
        rig.push(vec![centred(0.4)]);
        rig.written(n);
        let sizes = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().metadata().unwrap().len());
        assert!(sizes.sum::<u64>() <= 1 << 20, "after {n}");
    }
    assert_eq!(rig.stats().get::<u64>("samples"), Ok(8));
    rig.stop();
    let frames: Vec<u64> = files(folder.path(), "jpg").iter().map(|picture| record(picture).frame).collect();
    assert!((1..8).contains(&frames.len()), "the oldest had to go: {frames:?}");
    let newest: Vec<u64> = (8 - frames.len() as u64..8).collect();
    assert_eq!(frames, newest);
}

#[test]
fn a_frame_that_cannot_be_read_costs_no_sample_of_one_that_can() {
    let folder = tempfile::tempdir().unwrap();
    let more = [("samples", folder.path().to_str().unwrap()), ("samples-per-hour", "1")];
    // A format that Vigil reads no pixels of.
    let mut rig = Rig::of(&more, "GBR", stripes());
    rig.push(vec![centred(0.4)]);
    rig.format("RGB");
    rig.push(vec![centred(0.4)]);
    rig.written(1);
    rig.stop();
    let pictures = files(folder.path(), "jpg");
    assert_eq!(pictures.iter().map(|picture| record(picture).frame).collect::<Vec<_>>(), [1]);
}

#[test]
fn a_sample_that_cannot_be_written_is_told_and_does_not_count() {
    let folder = tempfile::tempdir().unwrap();
    let samples = folder.path().join("samples");
    let mut rig = Rig::start(&[("samples", samples.to_str().unwrap()), ("samples-per-hour", "3600")]);
    std::fs::remove_dir(&samples).unwrap();
    std::fs::write(&samples, "in the way").unwrap();
    rig.push(vec![centred(0.4)]);
    let warning = rig.warning();
    assert!(warning.contains("Cannot write a sample"), "{warning}");
    assert_eq!(rig.stats().get::<u64>("samples"), Ok(0));
    // It goes on once there is a place.
    std::fs::remove_file(&samples).unwrap();
    std::fs::create_dir(&samples).unwrap();
    rig.push(vec![centred(0.4)]);
    rig.written(1);
    rig.stop();
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
    assert!(said.contains("records=frames") && said.contains("min-confidence"), "what it takes for granted: {said}");
    let usual = gstvigil::bundle::Bundle::open(&bundle).unwrap().predictions.unwrap();
    assert_eq!((usual.frames(), usual.share("red")), (1500, Some(1.0)));
    std::fs::write(bundle.join("predictions.json"), "[]").unwrap();
    let error = gstvigil::bundle::Bundle::open(&bundle).unwrap_err().to_string();
    assert!(error.contains("predictions.json") && error.contains("vigil bundle predictions"), "{error}");
}
