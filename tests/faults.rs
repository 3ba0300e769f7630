//! Bad frames, bad numbers, full disks and hasty applications: no frame is lost, no pipeline stops.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may")]

mod common;

use std::path::Path;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use common::{again, caps, descriptors, frame, init, is_child, model, output, result, threads};
use gst::prelude::*;
use gst_app::{AppSink, AppSrc};
use gst_check::Harness;
use gst_video::{VideoFormat, VideoInfo};
use gstvigil::engine::{EngineError, Io, TensorData};
use gstvigil::gstutil::frame::{FORMATS, frame_info};
use gstvigil::model::{Model, Request};
use gstvigil::result::{AbsentReason, BBox, Freshness, Object};

const RED: (u8, u8, u8) = (255, 0, 0);
/// On which the model hang.onnx runs without end.
const WHITE: (u8, u8, u8) = (255, 255, 255);
/// Far longer than anything here takes; a test that waits for it fails.
const LONG: gst::ClockTime = gst::ClockTime::from_seconds(60);

/// All four elements, for a launch line.
fn chain(model_name: &str, records: &str) -> String {
    let model = model(model_name);
    format!("vigilinfer name=infer model={model} ! vigiltrack ! vigiloverlay ! vigilexport name=export uri={records}")
}

fn file_uri(path: &Path) -> String {
    format!("file:{}", path.display())
}

/// The records of a file, each a JSON object.
fn records(path: &Path) -> Vec<serde_json::Value> {
    let text = std::fs::read_to_string(path).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// All four elements between two pads of the test, and their bus.
fn harness(model: &str, records: &str) -> (Harness, gst::Bus) {
    init();
    let bin = gst::parse::bin_from_description(&chain(model, records), true).unwrap();
    let bus = gst::Bus::new();
    bin.set_bus(Some(&bus));
    let mut harness = Harness::with_element(&bin, Some("sink"), Some("src"));
    harness.play();
    (harness, bus)
}

/// Errors and warnings so far.
fn complaints(bus: &gst::Bus) -> Vec<String> {
    let told = std::iter::from_fn(|| bus.pop_filtered(&[gst::MessageType::Error, gst::MessageType::Warning]));
    told.map(|message| match message.view() {
        gst::MessageView::Error(e) => format!("error: {}", e.error().message()),
        gst::MessageView::Warning(w) => format!("warning: {}", w.error().message()),
        _ => unreachable!("filtered"),
    })
    .collect()
}

/// Sends `frames` (caps and buffer) through `elements` in a pipeline, then EOS, and asserts what holds for every fault:
/// each frame comes out exactly once, in order and with its caps, EOS comes after them, and nothing is an error.
/// Frames are numbered in their offset, which no element changes. Gives what came out, and the warnings.
#[track_caller]
fn all_come_out(elements: &str, frames: Vec<(gst::Caps, gst::Buffer)>) -> (Vec<gst::Sample>, Vec<String>) {
    init();
    let line = format!("appsrc name=in format=time max-bytes=0 ! {elements} ! appsink name=out sync=false");
    let pipeline = gst::parse::launch(&line).unwrap().downcast::<gst::Pipeline>().unwrap();
    let source: AppSrc = pipeline.by_name("in").unwrap().downcast().unwrap();
    let sink: AppSink = pipeline.by_name("out").unwrap().downcast().unwrap();
    pipeline.set_state(gst::State::Playing).unwrap();
    let sent: Vec<gst::Caps> = frames.iter().map(|(caps, _)| caps.clone()).collect();
    for (number, (caps, mut buffer)) in frames.into_iter().enumerate() {
        buffer.make_mut().set_offset(number as u64);
        source.push_sample(&gst::Sample::builder().caps(&caps).buffer(&buffer).build()).unwrap();
    }
    source.end_of_stream().unwrap();
    let mut seen = Vec::new();
    while let Some(sample) = sink.try_pull_sample(LONG) {
        seen.push(sample);
    }
    assert!(sink.is_eos(), "{} of {} frames, then nothing", seen.len(), sent.len());
    let numbers: Vec<u64> = seen.iter().map(|sample| sample.buffer().unwrap().offset()).collect();
    assert_eq!(numbers, (0..sent.len() as u64).collect::<Vec<_>>());
    for (sample, caps) in seen.iter().zip(&sent) {
        assert_eq!(sample.caps().unwrap().to_owned(), *caps);
    }
    let complaints = complaints(&pipeline.bus().unwrap());
    assert!(complaints.iter().all(|text| text.starts_with("warning")), "{complaints:?}");
    pipeline.set_state(gst::State::Null).unwrap();
    (seen, complaints)
}

#[test]
fn caps_change_under_load_in_every_format_and_size() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("r.jsonl");
    let mut frames = Vec::new();
    for format in FORMATS {
        for (width, height) in [(64, 48), (1, 1), (33, 17), (16384, 2), (2, 4096)] {
            let caps = caps(format, width, height);
            frames.extend((0..2).map(|_| (caps.clone(), frame(&caps, RED, 0))));
        }
    }
    for (n, (_, buffer)) in frames.iter_mut().enumerate() {
        buffer.make_mut().set_pts(gst::ClockTime::from_mseconds(40 * n as u64));
    }
    let count = frames.len();
    let (seen, warnings) = all_come_out(&chain("red", &file_uri(&file)), frames);
    for sample in &seen {
        let info = VideoInfo::from_caps(sample.caps().unwrap()).unwrap();
        let result = result(sample.buffer().unwrap());
        assert_eq!((result.width, result.height, result.freshness), (info.width(), info.height(), Freshness::Fresh));
    }
    assert!(warnings.is_empty(), "{warnings:?}");
    assert_eq!(records(&file).len(), count);
}

#[test]
fn frames_without_times_and_gaps_pass() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("r.jsonl");
    let (mut harness, bus) = harness("red", &file_uri(&file));
    let caps = caps(VideoFormat::Nv12, 64, 48);
    harness.set_src_caps(caps.clone());
    for n in 0..12 {
        let mut buffer = frame(&caps, RED, n);
        let b = buffer.make_mut();
        b.set_offset(n);
        if n % 3 == 1 {
            b.set_pts(gst::ClockTime::NONE);
            b.set_duration(gst::ClockTime::NONE);
        }
        harness.push(buffer).unwrap();
        if n % 4 == 3 {
            assert!(harness.push_event(gst::event::Gap::builder(gst::ClockTime::from_mseconds(40 * n)).build()));
        }
    }
    assert!(harness.push_event(gst::event::Eos::new()));
    for n in 0..12 {
        let buffer = harness.pull().unwrap();
        assert_eq!((buffer.offset(), buffer.pts().is_none()), (n, n % 3 == 1));
        let result = result(&buffer);
        assert_eq!((result.freshness, result.objects.len()), (Freshness::Fresh, 1));
    }
    let events: Vec<_> = std::iter::from_fn(|| harness.try_pull_event()).map(|event| event.type_()).collect();
    assert_eq!(events.iter().filter(|kind| **kind == gst::EventType::Gap).count(), 3);
    assert_eq!(events.last(), Some(&gst::EventType::Eos));
    assert_eq!(complaints(&bus), [""; 0]);
    let records = records(&file);
    assert_eq!(records.len(), 12);
}

#[test]
fn eos_waits_for_frames_in_flight() {
    let dir = tempfile::tempdir().unwrap();
    let caps = caps(VideoFormat::I420, 320, 240);
    for count in [0, 1, 2, 25] {
        let file = dir.path().join(format!("{count}.jsonl"));
        let frames = (0..count).map(|n| (caps.clone(), frame(&caps, RED, n))).collect();
        let (seen, warnings) = all_come_out(&chain("red", &file_uri(&file)), frames);
        assert!(seen.iter().all(|sample| result(sample.buffer().unwrap()).freshness == Freshness::Fresh));
        assert!(warnings.is_empty(), "{warnings:?}");
        let numbers: Vec<_> = records(&file).iter().map(|record| record["frame"].as_u64()).collect();
        assert_eq!(numbers, (0..count).map(Some).collect::<Vec<_>>());
    }
}

/// A frame whose buffer has only the first `len` bytes.
fn cut(caps: &gst::Caps, n: u64, len: usize) -> gst::Buffer {
    let whole = frame(caps, RED, n);
    let mut buffer = gst::Buffer::from_slice(whole.map_readable().unwrap()[..len].to_vec());
    buffer.get_mut().unwrap().set_pts(whole.pts());
    buffer
}

#[test]
fn buffers_that_are_too_small_pass_as_bad_frames() {
    for format in FORMATS {
        let caps = caps(format, 33, 17);
        let size = VideoInfo::from_caps(&caps).unwrap().size();
        let mut frames = vec![(caps.clone(), frame(&caps, RED, 0))];
        let lengths = [0, 1, size / 2, size - 1];
        frames.extend(lengths.iter().zip(1..).map(|(len, n)| (caps.clone(), cut(&caps, n, *len))));
        frames.push((caps.clone(), frame(&caps, RED, 9)));
        let (seen, _) = all_come_out(&chain("red", "file:/dev/null"), frames);
        let found: Vec<_> = seen.iter().map(|sample| result(sample.buffer().unwrap()).freshness).collect();
        let bad = Freshness::Absent(AbsentReason::BadFrame);
        assert_eq!(found, [Freshness::Fresh, bad, bad, bad, bad, Freshness::Fresh], "{format:?}");
        let sizes: Vec<_> = seen[1..5].iter().map(|sample| sample.buffer().unwrap().size()).collect();
        assert_eq!(sizes, lengths, "untouched");
    }
}

/// The planes of `buffer` in a larger buffer: bytes before each plane, rows `more` bytes longer than packed, and a
/// GstVideoMeta that says so.
fn spread(buffer: &gst::Buffer, info: &VideoInfo, more: usize) -> gst::Buffer {
    let from = buffer.map_readable().unwrap();
    let (mut bytes, mut offsets, mut strides) = (Vec::new(), Vec::new(), Vec::new());
    let planes = info.n_planes() as usize;
    for plane in 0..planes {
        bytes.extend([0xa5; 64]);
        let stride = info.stride()[plane] as usize;
        let end = info.offset().get(plane + 1).filter(|_| plane + 1 < planes).copied().unwrap_or(info.size());
        offsets.push(bytes.len());
        strides.push((stride + more) as i32);
        for row in from[info.offset()[plane]..end].chunks(stride) {
            bytes.extend(row);
            bytes.resize(bytes.len() + stride - row.len() + more, 0x5a);
        }
    }
    let mut spread = gst::Buffer::from_mut_slice(bytes);
    let target = spread.get_mut().unwrap();
    target.set_pts(buffer.pts());
    gst_video::VideoMeta::add_full(
        target,
        gst_video::VideoFrameFlags::empty(),
        info.format(),
        info.width(),
        info.height(),
        &offsets,
        &strides,
    )
    .unwrap();
    spread
}

#[test]
fn padded_strides_and_offsets_change_no_result() {
    for format in FORMATS {
        let caps = caps(format, 34, 18);
        let info = VideoInfo::from_caps(&caps).unwrap();
        let plain = frame(&caps, RED, 0);
        let frames = [0, 1, 30, 4096].map(|more| (caps.clone(), spread(&plain, &info, more)));
        let frames = [vec![(caps.clone(), plain)], frames.into()].concat();
        let (seen, warnings) = all_come_out(&chain("red", "file:/dev/null"), frames);
        assert!(warnings.is_empty(), "{warnings:?}");
        let found: Vec<_> = seen
            .iter()
            .map(|sample| {
                let result = result(sample.buffer().unwrap());
                assert_eq!(result.freshness, Freshness::Fresh, "{format:?}");
                result.objects.iter().map(|o| (o.bbox, o.confidence)).collect::<Vec<_>>()
            })
            .collect();
        assert!(format == VideoFormat::Gray8 || found[0].len() == 1, "{found:?}");
        assert!(found.iter().all(|objects| *objects == found[0]), "{format:?}: {found:?}");
        // The drawing is the same too, and the bytes around the picture are untouched.
        let pixels = |sample: &gst::Sample| {
            let video = gst_video::VideoFrameRef::from_buffer_ref_readable(sample.buffer().unwrap(), &info).unwrap();
            let own = frame_info(&info).unwrap();
            let view = gstvigil::gstutil::frame::view(&video, own).unwrap();
            let rows = |plane: usize| {
                let (data, stride) = view.plane(plane);
                data.chunks(stride).flat_map(|row| row[..own.format.row_bytes(plane, 34)].to_vec()).collect::<Vec<_>>()
            };
            (0..own.format.planes()).map(rows).collect::<Vec<_>>()
        };
        assert!(seen[2..].iter().all(|sample| pixels(sample) == pixels(&seen[1])), "{format:?}");
        let padded = seen[3].buffer().unwrap().map_readable().unwrap();
        assert!(padded[..64].iter().all(|byte| *byte == 0xa5), "{format:?}");
    }
}

#[test]
fn a_video_meta_that_lies_is_a_bad_frame() {
    let caps = caps(VideoFormat::Nv12, 64, 48);
    let lie = |offsets: &[usize], strides: &[i32]| {
        let mut buffer = frame(&caps, RED, 1);
        let flags = gst_video::VideoFrameFlags::empty();
        let target = buffer.get_mut().unwrap();
        // The setter checks what it is told, so a sound meta is changed afterwards, as a faulty element might.
        gst_video::VideoMeta::add_full(target, flags, VideoFormat::Nv12, 64, 48, &[0, 3072], &[64, 64]).unwrap();
        // SAFETY: the meta is the buffer's own, which nobody else has yet.
        unsafe {
            let meta = gst_video::ffi::gst_buffer_get_video_meta(target.as_mut_ptr());
            (&mut (*meta).offset)[..2].copy_from_slice(offsets);
            (&mut (*meta).stride)[..2].copy_from_slice(strides);
        }
        (caps.clone(), buffer)
    };
    let mut short = frame(&caps, RED, 1);
    let target = short.get_mut().unwrap();
    gst_video::VideoMeta::add(target, gst_video::VideoFrameFlags::empty(), VideoFormat::Nv12, 64, 48).unwrap();
    target.set_size(3072 + 100);
    let short = (caps.clone(), short);
    let frames = vec![
        (caps.clone(), frame(&caps, RED, 0)),
        lie(&[0, 4000], &[64, 64]),
        lie(&[0, usize::MAX], &[64, 64]),
        lie(&[0, 1 << 40], &[64, 64]),
        lie(&[0, 3072], &[0, 0]),
        lie(&[0, 3072], &[-64, 64]),
        lie(&[0, 3072], &[i32::MAX, 64]),
        lie(&[0, 3072], &[64, i32::MIN]),
        lie(&[0, 3072], &[32, 64]),
        // Honest, but the buffer ends before the last plane does.
        short.clone(),
        (caps.clone(), frame(&caps, RED, 9)),
    ];
    let (seen, _) = all_come_out(&chain("red", "file:/dev/null"), frames);
    for (n, sample) in seen.iter().enumerate() {
        let good = n == 0 || n == seen.len() - 1;
        let expected = if good { Freshness::Fresh } else { Freshness::Absent(AbsentReason::BadFrame) };
        assert_eq!(result(sample.buffer().unwrap()).freshness, expected, "frame {n}");
    }
}

#[test]
fn impossible_boxes_of_a_model_reach_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("r.jsonl");
    let caps = caps(VideoFormat::Rgb, 64, 64);
    let frames = (0..10).map(|n| (caps.clone(), frame(&caps, RED, n))).collect();
    let (seen, _) = all_come_out(&chain("nan", &file_uri(&file)), frames);
    for sample in &seen {
        let result = result(sample.buffer().unwrap());
        assert_eq!(result.objects.iter().map(|o| &*o.label).collect::<Vec<_>>(), ["red"]);
    }
    for record in records(&file) {
        let objects = record["objects"].as_array().unwrap();
        assert_eq!(objects.len(), 1, "{record}");
        let numbers = objects[0]["box"].as_object().map(|b| b.values().cloned().collect::<Vec<_>>());
        let numbers = numbers.or_else(|| objects[0]["box"].as_array().cloned()).unwrap();
        assert!(numbers.iter().all(|v| v.as_f64().is_some_and(|v| (0.0..=1.0).contains(&v))), "{record}");
    }
}

#[test]
fn impossible_boxes_of_other_elements_stop_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("r.jsonl");
    let (nan, inf) = (f32::NAN, f32::INFINITY);
    let boxes = [
        [nan, 0.5, 0.1, 0.1],
        [0.5, 0.5, nan, nan],
        [inf, 0.5, 0.1, 0.1],
        [-inf, -inf, inf, inf],
        [0.5, 0.5, -0.3, -0.3],
        [0.5, 0.5, 0.0, 0.0],
        [-1e30, -1e30, 2e30, 2e30],
        [f32::MAX, f32::MAX, f32::MAX, f32::MAX],
        [1e-40, 1e-40, 1e-40, 1e-40],
        [0.25, 0.25, 0.5, 0.5],
    ];
    let elements = format!("vigiltrack ! vigiloverlay ! vigilexport uri={}", file_uri(&file));
    for format in FORMATS {
        let caps = caps(format, 64, 48);
        let frames = (0..6).map(|n| {
            let mut buffer = frame(&caps, RED, n);
            let mut result = gstvigil::result::FrameResult {
                frame: n,
                pts_ns: Some(n * 40_000_000),
                running_time_ns: Some(n * 40_000_000),
                utc_ns: 0,
                width: 64,
                height: 48,
                model: None,
                freshness: if n % 3 == 2 { Freshness::Held { age_ns: 1 } } else { Freshness::Fresh },
                objects: Vec::new(),
                classes: Vec::new(),
                embedding: None,
                absent_since_ns: None,
                secondary: Vec::new(),
            };
            for (id, [x, y, w, h]) in (0..).zip(boxes) {
                let confidence = if id % 4 == 3 { nan } else { 0.9 };
                result.objects.push(Object::new(id, id, "hostile".into(), confidence, BBox { x, y, w, h }));
            }
            gstvigil::meta::set(buffer.make_mut(), std::sync::Arc::new(result), false);
            (caps.clone(), buffer)
        });
        all_come_out(&elements, frames.collect());
    }
    assert_eq!(records(&file).len(), 6 * FORMATS.len(), "every record is JSON, which has no NaN");
}

#[test]
fn a_full_disk_costs_records_and_no_frame() {
    let caps = caps(VideoFormat::I420, 64, 48);
    let frames = (0..40).map(|n| (caps.clone(), frame(&caps, RED, n))).collect();
    let (seen, warnings) = all_come_out(&chain("red", "file:/dev/full"), frames);
    assert!(seen.iter().all(|sample| result(sample.buffer().unwrap()).freshness == Freshness::Fresh));
    assert!(!warnings.is_empty() && warnings.iter().all(|text| text.contains("no space left")), "{warnings:?}");
    assert!(warnings.len() <= 2, "once when it begins, once at the end: {warnings:?}");
}

/// A pipeline from a source without end to a sink that takes all; buffers and flushes at the sink come out of the
/// channel (`None`: a flush).
fn endless(records: &str) -> (gst::Pipeline, mpsc::Receiver<Option<gst::ClockTime>>) {
    init();
    let line = format!(
        "videotestsrc ! video/x-raw,format=NV12,width=320,height=240,framerate=25/1 ! {} ! fakesink name=out sync=false",
        chain("red", records)
    );
    let pipeline = gst::parse::launch(&line).unwrap().downcast::<gst::Pipeline>().unwrap();
    let (sender, seen) = mpsc::channel();
    let pad = pipeline.by_name("out").unwrap().static_pad("sink").unwrap();
    pad.add_probe(gst::PadProbeType::BUFFER | gst::PadProbeType::EVENT_FLUSH, move |_, info| {
        let told = match &info.data {
            Some(gst::PadProbeData::Buffer(buffer)) => Some(buffer.pts()),
            Some(gst::PadProbeData::Event(event)) if event.type_() == gst::EventType::FlushStop => Some(None),
            _ => None,
        };
        if let Some(told) = told {
            let _ = sender.send(told);
        }
        gst::PadProbeReturn::Ok
    });
    (pipeline, seen)
}

#[test]
fn flushing_seeks_lose_nothing_after_them() {
    let (pipeline, seen) = endless("file:/dev/null");
    let next = || seen.recv_timeout(Duration::from_secs(60)).expect("frames go on");
    let frame_time = |n: u64| gst::ClockTime::from_mseconds(40 * n);
    pipeline.set_state(gst::State::Playing).unwrap();
    let mut from = 0;
    for to in [100, 7, 7, 2000, 0, 333, 1, 50, 4] {
        for n in from..from + 3 + to % 5 {
            assert_eq!(next(), Some(frame_time(n)));
        }
        pipeline.seek_simple(gst::SeekFlags::FLUSH | gst::SeekFlags::ACCURATE, frame_time(to)).unwrap();
        // Frames that were under way still come in order, then the flush.
        while next().is_some() {}
        from = to;
    }
    for n in from..from + 20 {
        assert_eq!(next(), Some(frame_time(n)));
    }
    pipeline.send_event(gst::event::Eos::new());
    let bus = pipeline.bus().unwrap();
    let end =
        bus.timed_pop_filtered(LONG, &[gst::MessageType::Eos, gst::MessageType::Error, gst::MessageType::Warning]);
    assert_eq!(end.map(|message| message.type_()), Some(gst::MessageType::Eos));
    pipeline.set_state(gst::State::Null).unwrap();
}

#[test]
fn fast_starts_and_stops_leave_nothing() {
    const NAME: &str = "fast_starts_and_stops_leave_nothing";
    if !is_child(NAME) {
        output(again(NAME).env("G_DEBUG", "fatal-criticals"));
        return;
    }
    let cycle = |n: usize| {
        let (pipeline, seen) = endless("file:/dev/null");
        for round in 0..3 {
            let state = if n.is_multiple_of(3) { gst::State::Paused } else { gst::State::Playing };
            pipeline.set_state(state).unwrap();
            // From none to a few frames, so that it stops in every phase of a start.
            for _ in 0..(n + round) % 4 * usize::from(state == gst::State::Playing) {
                seen.recv_timeout(Duration::from_secs(60)).unwrap();
            }
            pipeline.set_state(if round == 1 { gst::State::Ready } else { gst::State::Null }).unwrap();
        }
        pipeline.set_state(gst::State::Null).unwrap();
        assert_eq!(complaints(&pipeline.bus().unwrap()), [""; 0]);
        pipeline.downgrade()
    };
    let first = cycle(1);
    eventually("the pipeline is gone", || first.upgrade().is_none());
    let before = descriptors().len();
    for n in 0..24 {
        let pipeline = cycle(n);
        eventually("the pipeline is gone", || pipeline.upgrade().is_none());
    }
    // The last thread of a pipeline may still be closing the bus.
    eventually("what was opened is closed", || descriptors().len() <= before);
    eventually("the threads end", || !threads().iter().any(|name| name.starts_with("vigil-")));
}

/// Waits for something that another thread does.
#[track_caller]
fn eventually(what: &str, holds: impl Fn() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < Duration::from_secs(20), "{what}: not yet");
        std::thread::yield_now();
    }
}

#[test]
fn a_stopped_element_lets_go_of_its_engine() {
    const NAME: &str = "a_stopped_element_lets_go_of_its_engine";
    if !is_child(NAME) {
        output(&mut again(NAME));
        return;
    }
    // A model that takes a while, so that the element stops while it runs.
    let Some(people) = gstvigil::paths::home().map(|home| home.join("bundles/people")).filter(|path| path.exists())
    else {
        eprintln!("skipped: the set-up has not installed its detector (scripts/setup)");
        return;
    };
    let caps = caps(VideoFormat::I420, 320, 240);
    let element = gst::ElementFactory::make("vigilinfer")
        .property("model", people.display().to_string())
        .property("threads", 2u32)
        .build()
        .unwrap();
    for _ in 0..3 {
        let mut harness = Harness::with_element(&element, Some("sink"), Some("src"));
        harness.play();
        harness.set_src_caps(caps.clone());
        for n in 0..2 {
            harness.push(frame(&caps, RED, n)).unwrap();
        }
        element.set_state(gst::State::Null).unwrap();
        eventually("the engine is gone", || !threads().iter().any(|name| name.starts_with("vigil-lane")));
    }
}

/// An element with the model that hangs, alone between two pads of the test, and its bus.
fn hanging(timeout: Duration) -> (Harness, gst::Bus, gst::Caps) {
    let caps = caps(VideoFormat::Rgb, 32, 32);
    let element = gst::ElementFactory::make("vigilinfer").property("model", model("hang")).build().unwrap();
    element.set_property("engine-timeout", timeout.as_nanos() as u64);
    let bus = gst::Bus::new();
    element.set_bus(Some(&bus));
    let mut harness = Harness::with_element(&element, Some("sink"), Some("src"));
    harness.play();
    harness.set_src_caps(caps.clone());
    (harness, bus, caps)
}

#[test]
fn runs_without_end_cost_their_frames_the_result_and_nothing_else() {
    let (mut harness, bus, caps) = hanging(Duration::ZERO);
    let element = harness.element().unwrap();
    let mut number = 0;
    let mut pass = |harness: &mut Harness, colour| {
        harness.push(frame(&caps, colour, number)).unwrap();
        let buffer = harness.pull().unwrap();
        assert_eq!(buffer.pts(), frame(&caps, colour, number).pts());
        number += 1;
        result(&buffer)
    };
    assert_eq!(pass(&mut harness, RED).freshness, Freshness::Fresh);
    let latency = harness.query_latency();
    // Only the runs without end get a limit that a slow machine may exceed without a fault.
    element.set_property("engine-timeout", 100_000_000u64);
    let white: Vec<_> = (0..4).map(|_| pass(&mut harness, WHITE)).collect();
    for result in &white {
        assert_eq!(result.freshness, Freshness::Absent(AbsentReason::Deadline));
        assert!(result.objects.is_empty());
        assert_eq!(result.absent_since_ns, Some(white[0].utc_ns), "since the first of them");
    }
    assert_eq!(harness.query_latency(), latency, "frames without an answer delay no others");
    element.set_property("engine-timeout", 0u64);
    let red = pass(&mut harness, RED);
    assert_eq!((red.freshness, red.absent_since_ns), (Freshness::Fresh, None));
    assert_eq!(red.objects.len(), 1);
    let told: Vec<_> = std::iter::from_fn(|| bus.pop())
        .filter_map(|message| match message.view() {
            gst::MessageView::Error(e) => Some(format!("error: {}", e.error())),
            gst::MessageView::Warning(w) => Some(w.error().message().to_owned()),
            gst::MessageView::Element(e) => e.structure().map(|s| s.name().to_string()),
            _ => None,
        })
        .collect();
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told[0].contains("frame 1: the run took longer than 100ms and was cut"), "{told:?}");
    assert_eq!(told[1], "vigil-infer");
    let stats = || element.property::<gst::Structure>("stats");
    for (name, count) in [("frames", 6), ("fresh", 2), ("absent", 4), ("errors", 4), ("in-flight", 0)] {
        assert_eq!(stats().get::<u64>(name), Ok(count), "{name}");
    }
    // The runtime heeds the cut: no thread is lost, even where one was given up too soon.
    eventually("no run is abandoned", || stats().get::<u64>("abandoned") == Ok(0));
}

#[test]
fn an_element_that_stops_while_its_model_hangs_leaves_nothing_to_the_next() {
    const NAME: &str = "an_element_that_stops_while_its_model_hangs_leaves_nothing_to_the_next";
    if !is_child(NAME) {
        output(again(NAME).env("G_DEBUG", "fatal-criticals"));
        return;
    }
    // Without a limit, and with one that has not come.
    for timeout in [Duration::ZERO, Duration::from_secs(3600)] {
        let (mut harness, bus, caps) = hanging(timeout);
        let element = harness.element().unwrap();
        harness.push(frame(&caps, WHITE, 0)).unwrap();
        let stats = |name| element.property::<gst::Structure>("stats").get::<u64>(name);
        eventually("the run begins", || stats("queue-max").is_ok_and(|waited| waited > 0));
        assert_eq!(stats("in-flight"), Ok(1));
        element.set_state(gst::State::Null).unwrap();
        assert_eq!((stats("in-flight"), stats("frames")), (Ok(0), Ok(0)));
        eventually("the engine is gone", || !threads().iter().any(|name| name.starts_with("vigil-")));
        assert_eq!(stats("abandoned"), Ok(0));
        assert_eq!(complaints(&bus), [""; 0]);
        drop(harness);
        let (mut harness, _, caps) = hanging(timeout);
        harness.push(frame(&caps, RED, 0)).unwrap();
        assert_eq!(result(&harness.pull().unwrap()).freshness, Freshness::Fresh);
    }
}

#[test]
fn the_runtime_cuts_the_runs_that_are_due_and_no_others() {
    let request = Request { model: model("hang"), provider: "cpu".into(), threads: 2, lanes: 2, ..Request::default() };
    let loaded = Model::load(&request).unwrap();
    let engine = loaded.lanes().engine();
    let picture = |io: &mut Io, value: f32| {
        let TensorData::F32(values) = &mut io.inputs[0].data else { panic!("the model takes 32-bit floats") };
        values.fill(value);
    };
    let mut io = loaded.io();
    picture(&mut io, 0.5);
    // Late before it begins: whoever cuts runs will not look for it again.
    assert!(matches!(engine.run(&mut io, Some(Instant::now())), Err(EngineError::Deadline(_))));
    engine.run(&mut io, None).unwrap();
    let soon = Instant::now() + Duration::from_secs(3600);
    let later = soon + Duration::from_secs(1);
    let mut others = loaded.io();
    for _ in 0..2 {
        picture(&mut io, 1.0);
        picture(&mut others, 1.0);
        std::thread::scope(|scope| {
            let first = scope.spawn(|| engine.run(&mut io, Some(soon)));
            let second = scope.spawn(|| engine.run(&mut others, Some(later)));
            eventually("the first run ends", || {
                engine.cut(soon);
                first.is_finished()
            });
            assert!(matches!(first.join().unwrap(), Err(EngineError::Deadline(_))));
            assert!(!second.is_finished(), "it has time");
            eventually("the second run ends", || {
                engine.cut(later);
                second.is_finished()
            });
            assert!(matches!(second.join().unwrap(), Err(EngineError::Deadline(_))));
        });
        // The same tensors are run again.
        for io in [&mut io, &mut others] {
            picture(io, 0.5);
            engine.run(io, Some(soon)).unwrap();
            let TensorData::F32(values) = &io.outputs[0].data else { panic!("and gives them") };
            assert!((values[4 * 21] - 0.5).abs() < 1e-3, "red of box 0: {}", values[4 * 21]);
        }
    }
}
