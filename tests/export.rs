//! `vigilexport` as an application meets it.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use gst::prelude::*;
use gst_check::Harness;
use gstvigil::export::Record;
use gstvigil::meta;
use gstvigil::result::{BBox, FrameResult, Freshness, Object};

/// Far longer than anything here takes; a test that waits for it fails.
const LONG: gst::ClockTime = gst::ClockTime::from_seconds(60);

fn element(uri: Option<&str>) -> gst::Element {
    common::init();
    let element = gst::ElementFactory::make("vigilexport").name("gate").build().unwrap();
    element.set_property("uri", uri);
    element
}

/// The element between two pads, playing, and its bus.
fn harness(element: &gst::Element) -> (Harness, gst::Bus) {
    let bus = gst::Bus::new();
    element.set_bus(Some(&bus));
    let mut harness = Harness::with_element(element, Some("sink"), Some("src"));
    harness.set_src_caps_str("video/x-raw,format=GRAY8,width=4,height=4,framerate=10/1");
    (harness, bus)
}

fn buffer(frame: u64) -> gst::Buffer {
    let mut buffer = gst::Buffer::with_size(16).unwrap();
    let b = buffer.get_mut().unwrap();
    b.set_pts(gst::ClockTime::from_mseconds(frame * 100));
    let bbox = BBox { x: 0.25, y: 0.5, w: 0.125, h: 0.25 };
    let result = FrameResult {
        frame,
        pts_ns: Some(frame * 100_000_000),
        running_time_ns: Some(frame * 100_000_000),
        utc_ns: 1_795_428_900_000_000_000 + frame * 100_000_000,
        width: 4,
        height: 4,
        model: None,
        freshness: Freshness::Fresh,
        objects: vec![Object::new(0, 0, "Person".into(), 0.75, bbox)],
        classes: vec![],
        embedding: None,
        absent_since_ns: None,
        secondary: Vec::new(),
    };
    meta::set(b, Arc::new(result), false);
    buffer
}

/// Pushes `frames` and checks that every one comes out untouched, the same memory.
fn pass(harness: &mut Harness, frames: std::ops::Range<u64>) {
    for frame in frames {
        let sent = buffer(frame);
        let address = sent.as_ptr();
        assert_eq!(harness.push(sent), Ok(gst::FlowSuccess::Ok));
        assert_eq!(harness.pull().unwrap().as_ptr(), address);
    }
}

fn records(path: impl AsRef<Path>) -> Vec<Record<'static>> {
    let text = std::fs::read_to_string(path).unwrap();
    assert!(text.is_empty() || text.ends_with('\n'));
    text.lines().map(|l| serde_json::from_str(l).unwrap()).collect()
}

fn stat(element: &gst::Element, name: &str) -> u64 {
    element.property::<gst::Structure>("stats").get(name).unwrap()
}

/// The texts of all ERRORs so far.
fn errors(bus: &gst::Bus) -> Vec<String> {
    std::iter::from_fn(|| bus.pop_filtered(&[gst::MessageType::Error]))
        .map(|m| match m.view() {
            gst::MessageView::Error(e) => e.error().to_string(),
            _ => String::new(),
        })
        .collect()
}

/// The next element message.
fn element_message(bus: &gst::Bus) -> gst::Structure {
    let message = bus.timed_pop_filtered(LONG, &[gst::MessageType::Element]).expect("no element message");
    message.structure().unwrap().to_owned()
}

#[test]
fn every_result_is_a_line_when_eos_comes_out() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("made/for/it/out.jsonl");
    let element = element(Some(&format!("file:{}", path.display())));
    let (mut h, bus) = harness(&element);
    pass(&mut h, 0..50);
    assert!(h.push_event(gst::event::Eos::new()));
    // The element is still playing: the file is whole because the end of the stream has passed.
    let records = records(&path);
    assert_eq!(records.iter().map(|r| r.frame).collect::<Vec<_>>(), (0..50).collect::<Vec<_>>());
    assert_eq!(records.iter().map(|r| r.id.as_str()).collect::<HashSet<_>>().len(), 50);
    let seven = &records[7];
    assert_eq!((&*seven.camera, &*seven.time, seven.pts_ns), ("gate", "2026-11-23T10:15:00.700Z", Some(700_000_000)));
    assert_eq!((&*seven.objects[0].label, seven.objects[0].confidence), ("Person", 0.75));
    assert_eq!((stat(&element, "written"), stat(&element, "dropped"), stat(&element, "errors")), (50, 0, 0));
    assert_eq!(stat(&element, "bytes"), std::fs::metadata(&path).unwrap().len());
    assert!(bus.pop_filtered(&[gst::MessageType::Element, gst::MessageType::Warning]).is_none());
}

#[test]
fn buffers_without_a_result_pass_and_are_counted() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("out.jsonl");
    let element = element(Some(&format!("file:{}", path.display())));
    let (mut h, bus) = harness(&element);
    for _ in 0..3 {
        h.push(gst::Buffer::with_size(16).unwrap()).unwrap();
    }
    assert!(h.push_event(gst::event::Eos::new()));
    assert_eq!(h.buffers_received(), 3);
    assert_eq!((stat(&element, "without-result"), stat(&element, "written")), (3, 0));
    assert_eq!(records(&path).len(), 0);
    let warned = std::iter::from_fn(|| bus.pop_filtered(&[gst::MessageType::Warning])).count();
    assert_eq!(warned, 1, "told once");
}

#[test]
fn a_full_disk_costs_records_but_no_frame() {
    let element = element(Some("file:/dev/full"));
    let (mut h, bus) = harness(&element);
    pass(&mut h, 0..20);
    let message = element_message(&bus);
    assert_eq!(message.name(), "vigil-export");
    assert_eq!(message.get::<&str>("state"), Ok("degraded"));
    assert!(message.get::<&str>("text").unwrap().contains("no space left for /dev/full"), "{message}");
    assert_eq!((message.get::<u64>("written"), message.get::<u64>("errors")), (Ok(0), Ok(1)));
    pass(&mut h, 20..30);
    assert!(h.push_event(gst::event::Eos::new()));
    let passed: Vec<_> = std::iter::from_fn(|| h.try_pull_event()).map(|e| e.type_()).collect();
    assert_eq!(passed.last(), Some(&gst::EventType::Eos));
    assert_eq!(stat(&element, "written"), 0);
    assert!(stat(&element, "errors") >= 2, "the end of the stream is one more attempt");
    drop(h);
    assert_eq!(stat(&element, "dropped"), 30, "all that was never written");
    assert_eq!(errors(&bus), Vec::<String>::new());
}

#[test]
fn trouble_is_one_warning_and_one_message() {
    let element = element(Some("file:/dev/full"));
    let (mut h, bus) = harness(&element);
    pass(&mut h, 0..5);
    assert!(h.push_event(gst::event::Eos::new()));
    drop(h);
    let mut kinds = Vec::new();
    while let Some(m) = bus.pop_filtered(&[gst::MessageType::Warning, gst::MessageType::Element]) {
        if let gst::MessageView::Warning(w) = m.view() {
            assert!(w.error().to_string().contains("Video goes on"), "{}", w.error());
        }
        kinds.push(m.type_());
    }
    assert_eq!(kinds, [gst::MessageType::Warning, gst::MessageType::Element]);
}

#[test]
fn the_uri_sets_rotation() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("out.jsonl");
    let element = element(Some(&format!("file:{}?rotate-size=1B&keep=3", path.display())));
    element.set_property("camera", "north");
    let (mut h, _bus) = harness(&element);
    pass(&mut h, 0..10);
    assert!(h.push_event(gst::event::Eos::new()));
    let mut files: Vec<_> = std::fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().path()).collect();
    files.sort();
    let frames: Vec<(u64, String)> = files.iter().flat_map(records).map(|r| (r.frame, r.camera.into_owned())).collect();
    assert_eq!(frames, (6..10).map(|f| (f, "north".to_string())).collect::<Vec<_>>());
    assert_eq!(files.last(), Some(&path));
}

#[test]
fn what_cannot_work_is_one_error_at_the_start_and_can_be_mended() {
    let dir = tempfile::tempdir().unwrap();
    let folder = format!("file:{}", dir.path().display());
    for (uri, text) in [
        (None, "set the property uri, for example to file:PATH, stdout: or mqtt://HOST/TOPIC"),
        (Some("out.jsonl"), "did you mean file:out.jsonl?"),
        (Some("file:out.jsonl?rotate-size=7"), "rotate-size: `7` is not a size"),
        (Some(folder.as_str()), "is not a file"),
        (Some("file:/dev/null/out.jsonl"), "cannot open /dev/null/out.jsonl"),
    ] {
        let element = element(uri);
        let bus = gst::Bus::new();
        element.set_bus(Some(&bus));
        assert!(element.set_state(gst::State::Paused).is_err(), "{uri:?}");
        let errors = errors(&bus);
        assert!(errors.len() == 1 && errors[0].contains(text), "{uri:?}: {errors:?}");
        element.set_property("uri", format!("file:{}/out.jsonl", dir.path().display()));
        element.set_state(gst::State::Null).unwrap();
        element.set_state(gst::State::Paused).unwrap();
        element.set_state(gst::State::Null).unwrap();
    }
}

#[test]
fn two_exporters_cannot_share_a_file() {
    let dir = tempfile::tempdir().unwrap();
    let uri = format!("file:{}/out.jsonl", dir.path().display());
    let (first, second) = (element(Some(&uri)), element(Some(&uri)));
    let bus = gst::Bus::new();
    second.set_bus(Some(&bus));
    first.set_state(gst::State::Paused).unwrap();
    assert!(second.set_state(gst::State::Paused).is_err());
    assert!(errors(&bus)[0].contains("already being written by another exporter"));
    first.set_state(gst::State::Null).unwrap();
    second.set_state(gst::State::Null).unwrap();
    second.set_state(gst::State::Paused).unwrap();
    second.set_state(gst::State::Null).unwrap();
}

#[test]
fn flushes_and_restarts_lose_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("out.jsonl");
    let element = element(Some(&format!("file:{}", path.display())));
    {
        let (mut h, bus) = harness(&element);
        pass(&mut h, 0..5);
        assert!(h.push_event(gst::event::FlushStart::new()));
        assert!(h.push_event(gst::event::FlushStop::new(true)));
        let segment = gst::FormattedSegment::<gst::ClockTime>::new();
        assert!(h.push_event(gst::event::Segment::new(&segment)));
        pass(&mut h, 5..10);
        // Messages hold the pads; they must not go while the element changes its bus.
        bus.set_flushing(true);
    }
    let (mut h, _bus) = harness(&element);
    // As after a restart of everything, frames count from 0 again.
    pass(&mut h, 0..3);
    drop(h);
    let records = records(&path);
    let frames: Vec<u64> = records.iter().map(|r| r.frame).collect();
    assert_eq!(frames, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1, 2]);
    assert_eq!(records.iter().map(|r| r.id.as_str()).collect::<HashSet<_>>().len(), 13);
}

#[test]
fn properties_hold_what_was_set() {
    let element = element(None);
    assert_eq!(element.property::<Option<String>>("uri"), None);
    assert_eq!(element.property::<u32>("queue-size"), 1000);
    element.set_property("uri", "stdout:");
    element.set_property("camera", "gate 1");
    element.set_property("queue-size", 7u32);
    assert_eq!(element.property::<String>("uri"), "stdout:");
    assert_eq!(element.property::<String>("camera"), "gate 1");
    assert_eq!(element.property::<u32>("queue-size"), 7);
    assert_eq!(stat(&element, "written"), 0);
}
