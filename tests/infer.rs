//! `vigilinfer` on small models.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may")]

mod common;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use common::{caps, data, frame, init, messages, model, result};
use gst::prelude::*;
use gst_check::Harness;
use gst_video::{VideoFormat, VideoInfo};
use gstvigil::gstutil::frame::FORMATS;
use gstvigil::result::{AbsentReason, Freshness};

const RED: (u8, u8, u8) = (255, 0, 0);
const GREEN: (u8, u8, u8) = (0, 255, 0);

/// An element with a model and a bus, started with caps.
fn start(name: &str, caps: &gst::Caps, properties: &[(&str, glib::Value)]) -> (Harness, gst::Bus) {
    init();
    let element = gst::ElementFactory::make("vigilinfer").property("model", model(name)).build().unwrap();
    for (name, value) in properties {
        element.set_property_from_value(name, value);
    }
    let bus = gst::Bus::new();
    element.set_bus(Some(&bus));
    let mut harness = Harness::with_element(&element, Some("sink"), Some("src"));
    harness.play();
    harness.set_src_caps(caps.clone());
    (harness, bus)
}

#[test]
fn every_format_odd_size_and_stride_gives_the_same_result() {
    for format in FORMATS {
        for (width, height) in [(64, 48), (33, 17), (1, 1)] {
            let caps = caps(format, width, height);
            let (mut harness, _) = start("red", &caps, &[]);
            harness.push(frame(&caps, RED, 0)).unwrap();
            let buffer = harness.pull().unwrap();
            let seen = result(&buffer);
            assert_eq!((seen.width, seen.height), (width, height));
            if format == VideoFormat::Gray8 {
                // Grey feeds all channels alike: luma .299 for both classes, under the threshold of .4.
                assert_eq!(seen.freshness, Freshness::Fresh);
                continue;
            }
            let [object] = seen.objects.as_slice() else { panic!("{format:?} {width}x{height}: {:?}", seen.objects) };
            assert_eq!(&*object.label, "red", "{format:?}");
            // The model answers with the mean of red; what the frame does not fill is padding of 114.
            let part = (height as f32 * 32.0 / width as f32).round() / 32.0;
            let mean = part + (1.0 - part) * 114.0 / 255.0;
            assert!((object.confidence - mean).abs() < 0.02, "{format:?} {width}x{height} {}", object.confidence);
        }
    }
}

#[test]
fn letterboxing_is_undone_in_results() {
    let caps = caps(VideoFormat::Rgb, 64, 32);
    let (mut harness, _) = start("red", &caps, &[("confidence", 0.1f32.to_value())]);
    harness.push(frame(&caps, (255, 114, 114), 0)).unwrap();
    let seen = result(&harness.pull().unwrap());
    // 64x32 fills rows 8..24 of the 32x32 input: the box over the left half is cut to the left half of the frame.
    let red = seen.objects.iter().find(|o| &*o.label == "red").unwrap();
    let b = red.bbox;
    for (have, want) in [(b.x, 0.0), (b.y, 0.0), (b.w, 0.5), (b.h, 1.0)] {
        assert!((have - want).abs() < 1e-5, "{b:?}");
    }
    // Half of the input is padding of 114, the other half is 255.
    assert!((red.confidence - (255.0 + 114.0) / 510.0).abs() < 0.01, "{}", red.confidence);
}

#[test]
fn frames_keep_their_order_and_eos_comes_after_the_last() {
    let caps = caps(VideoFormat::I420, 32, 32);
    let (mut harness, _) = start("red", &caps, &[("max-in-flight", 4u32.to_value()), ("threads", 4u32.to_value())]);
    for n in 0..40 {
        harness.push(frame(&caps, RED, n)).unwrap();
    }
    harness.push_event(gst::event::Eos::new());
    assert_eq!(harness.buffers_in_queue(), 40, "EOS was forwarded after all frames");
    for n in 0..40 {
        let buffer = harness.pull().unwrap();
        assert_eq!(buffer.pts(), Some(gst::ClockTime::from_mseconds(40 * n)));
        assert_eq!(result(&buffer).frame, n);
    }
    let events: Vec<_> = std::iter::from_fn(|| harness.try_pull_event()).map(|e| e.type_()).collect();
    assert_eq!(events.last(), Some(&gst::EventType::Eos));
}

#[test]
fn caps_change_while_frames_are_under_way() {
    let first = caps(VideoFormat::I420, 32, 32);
    let second = caps(VideoFormat::Rgb, 640, 480);
    let (mut harness, _) = start("red", &first, &[]);
    for n in 0..3 {
        harness.push(frame(&first, RED, n)).unwrap();
    }
    harness.set_src_caps(second.clone());
    harness.push(frame(&second, RED, 3)).unwrap();
    let sizes: Vec<_> = (0..4).map(|_| result(&harness.pull().unwrap())).map(|r| (r.width, r.height)).collect();
    assert_eq!(sizes, [(32, 32), (32, 32), (32, 32), (640, 480)]);
}

#[test]
fn the_widest_frames_are_read() {
    let caps = caps(VideoFormat::Nv12, 16384, 2);
    let (mut harness, _) = start("red", &caps, &[("confidence", 0.0f32.to_value())]);
    harness.push(frame(&caps, RED, 0)).unwrap();
    assert_eq!(result(&harness.pull().unwrap()).freshness, Freshness::Fresh);
}

#[test]
fn frames_without_pts_and_gaps_pass() {
    let caps = caps(VideoFormat::I420, 32, 32);
    let (mut harness, _) = start("red", &caps, &[]);
    let mut buffer = frame(&caps, RED, 0);
    buffer.get_mut().unwrap().set_pts(gst::ClockTime::NONE);
    harness.push(buffer).unwrap();
    assert!(harness.push_event(gst::event::Gap::builder(gst::ClockTime::from_mseconds(40)).build()));
    let seen = result(&harness.pull().unwrap());
    assert_eq!((seen.pts_ns, seen.running_time_ns, seen.freshness), (None, None, Freshness::Fresh));
    let events: Vec<_> = std::iter::from_fn(|| harness.try_pull_event()).map(|e| e.type_()).collect();
    assert_eq!(events.last(), Some(&gst::EventType::Gap));
}

#[test]
fn a_flush_drops_frames_and_video_goes_on() {
    let caps = caps(VideoFormat::I420, 32, 32);
    let (mut harness, _) = start("red", &caps, &[]);
    for n in 0..3 {
        harness.push(frame(&caps, RED, n)).unwrap();
    }
    assert!(harness.push_event(gst::event::FlushStart::new()));
    assert!(harness.push_event(gst::event::FlushStop::new(true)));
    while harness.try_pull().is_some() {}
    let segment = gst::FormattedSegment::<gst::ClockTime>::new();
    assert!(harness.push_event(gst::event::Segment::new(&segment)));
    harness.push(frame(&caps, RED, 7)).unwrap();
    let buffer = harness.pull().unwrap();
    assert_eq!(buffer.pts(), Some(gst::ClockTime::from_mseconds(280)));
    assert_eq!(result(&buffer).freshness, Freshness::Fresh);
}

#[test]
fn skipped_frames_are_held() {
    let caps = caps(VideoFormat::I420, 32, 32);
    let (mut harness, _) = start("red", &caps, &[("interval", 1u32.to_value())]);
    let seen: Vec<_> = (0..4)
        .map(|n| {
            harness.push(frame(&caps, RED, n)).unwrap();
            let seen = result(&harness.pull().unwrap());
            (seen.freshness, seen.objects.len())
        })
        .collect();
    let held = (Freshness::Held { age_ns: 40_000_000 }, 1);
    assert_eq!(seen, [(Freshness::Fresh, 1), held, (Freshness::Fresh, 1), held]);
}

#[test]
fn a_failing_run_is_one_warning_and_no_lost_frame() {
    let caps = caps(VideoFormat::Rgb, 32, 32);
    let (mut harness, bus) = start("fails", &caps, &[]);
    let colours = [RED, GREEN, GREEN, RED, RED];
    let seen: Vec<_> = colours
        .iter()
        .enumerate()
        .map(|(n, colour)| {
            harness.push(frame(&caps, *colour, n as u64)).unwrap();
            result(&harness.pull().unwrap()).freshness
        })
        .collect();
    let failed = Freshness::Absent(AbsentReason::EngineError);
    assert_eq!(seen, [Freshness::Fresh, failed, failed, Freshness::Fresh, Freshness::Fresh]);
    let told: Vec<_> = std::iter::from_fn(|| bus.pop())
        .filter_map(|message| match message.view() {
            gst::MessageView::Error(_) => Some("error"),
            gst::MessageView::Warning(_) => Some("warning"),
            gst::MessageView::Element(e) if e.structure()?.name() == "vigil-infer" => Some("recovered"),
            _ => None,
        })
        .collect();
    assert_eq!(told, ["warning", "recovered"]);
    let stats = harness.element().unwrap().property::<gst::Structure>("stats");
    assert_eq!(stats.get::<u64>("errors"), Ok(2));
}

#[test]
fn impossible_boxes_are_dropped_and_counted() {
    let caps = caps(VideoFormat::Rgb, 32, 32);
    let (mut harness, _) = start("nan", &caps, &[]);
    harness.push(frame(&caps, RED, 0)).unwrap();
    let seen = result(&harness.pull().unwrap());
    assert_eq!(seen.objects.len(), 1, "{:?}", seen.objects);
    assert_eq!(&*seen.objects[0].label, "red");
    let stats = harness.element().unwrap().property::<gst::Structure>("stats");
    assert_eq!(stats.get::<u64>("dropped-values"), Ok(4));
    assert_eq!(stats.get::<u64>("dropped-non-finite"), Ok(2));
}

#[test]
fn half_precision_and_dynamic_models_work() {
    let caps = caps(VideoFormat::Rgb, 32, 32);
    for name in ["half", "dynamic"] {
        let (mut harness, _) = start(name, &caps, &[]);
        for n in 0..3 {
            // Black frames leave the dynamic output empty.
            let colour = if n == 1 { (0, 0, 0) } else { RED };
            harness.push(frame(&caps, colour, n)).unwrap();
            let seen = result(&harness.pull().unwrap());
            assert_eq!(seen.objects.len(), usize::from(n != 1), "{name} {n}");
        }
    }
}

#[test]
fn classification_gives_classes_of_the_frame() {
    let caps = caps(VideoFormat::Nv12, 32, 32);
    let (mut harness, _) = start("colors", &caps, &[]);
    harness.push(frame(&caps, GREEN, 0)).unwrap();
    let seen = result(&harness.pull().unwrap());
    assert!(seen.objects.is_empty());
    assert_eq!((seen.classes[0].class_id, &*seen.classes[0].label), (1, "class 1"));
    // softmax(0, 8, 0)
    let want = 8f32.exp() / (8f32.exp() + 2.0);
    assert!((seen.classes[0].confidence - want).abs() < 0.02, "{}", seen.classes[0].confidence);
}

#[test]
fn messages_and_signals_are_off_until_asked_for() {
    let caps = caps(VideoFormat::Rgb, 32, 32);
    for on in [false, true] {
        let flags = [("post-messages", on.to_value()), ("emit-signals", on.to_value())];
        let (mut harness, bus) = start("red", &caps, &flags);
        let signals = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&signals);
        harness.element().unwrap().connect("result", false, move |values| {
            kept.lock().unwrap().push(values[1].get::<gst::Structure>().unwrap());
            None
        });
        harness.push(frame(&caps, RED, 0)).unwrap();
        harness.pull().unwrap();
        let posted: Vec<_> = messages(&bus, gst::MessageType::Element);
        assert_eq!((posted.len(), signals.lock().unwrap().len()), (usize::from(on), usize::from(on)));
        if let Some(s) = signals.lock().unwrap().first() {
            assert_eq!(posted[0].structure().unwrap().name(), "vigil-result");
            assert_eq!(s.get::<&str>("freshness"), Ok("fresh"));
            let objects = s.get::<gst::List>("objects").unwrap();
            let object = objects[0].get::<gst::Structure>().unwrap();
            assert_eq!(object.get::<&str>("label"), Ok("red"));
        }
    }
}

#[test]
fn objects_are_mirrored_as_regions_of_interest() {
    let caps = caps(VideoFormat::Rgb, 64, 64);
    for on in [true, false] {
        let (mut harness, _) = start("red", &caps, &[("mirror-roi", on.to_value())]);
        harness.push(frame(&caps, RED, 0)).unwrap();
        let buffer = harness.pull().unwrap();
        let rois: Vec<_> = buffer.iter_meta::<gst_video::VideoRegionOfInterestMeta>().collect();
        assert_eq!(rois.len(), usize::from(on));
        if let Some(roi) = rois.first() {
            assert_eq!((roi.roi_type(), roi.rect()), ("red", (0, 0, 32, 64)));
            let detection = roi.param("detection").unwrap();
            assert_eq!(detection.get::<&str>("label"), Ok("red"));
            assert!(detection.get::<f64>("confidence").unwrap() > 0.9);
        }
    }
}

/// The one error that a start with `model` gives.
fn start_error(set: impl Fn(&gst::Element)) -> String {
    init();
    let element = gst::ElementFactory::make("vigilinfer").build().unwrap();
    set(&element);
    let bus = gst::Bus::new();
    element.set_bus(Some(&bus));
    assert!(element.set_state(gst::State::Paused).is_err());
    let errors = messages(&bus, gst::MessageType::Error);
    element.set_state(gst::State::Null).unwrap();
    assert_eq!(errors.len(), 1);
    match errors[0].view() {
        gst::MessageView::Error(e) => e.error().message().to_owned(),
        _ => unreachable!("filtered"),
    }
}

#[test]
fn what_cannot_start_says_why_once() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, content: &[u8]| {
        let path = folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        path.display().to_string()
    };
    let good = std::fs::read(model("red")).unwrap();
    let cases = [
        ("model", String::new(), "No model is set"),
        ("model", "/nowhere/model.onnx".into(), "/nowhere/model.onnx"),
        ("model", file("empty.onnx", b""), "empty"),
        ("model", file("text.onnx", b"this is no model at all, but a text file"), "text.onnx"),
        ("model", file("cut.onnx", &good[..good.len() / 2]), "cut.onnx"),
        ("model", folder.path().display().to_string(), "bundle.toml"),
        ("model", model("liar"), "hidden"),
        ("model", model("vector"), "vigil bundle new"),
    ];
    for (property, value, expected) in cases {
        let text = start_error(|e| e.set_property(property, &value));
        assert!(text.contains(expected), "{value}: {text}");
    }
    let text = start_error(|e| {
        e.set_property("model", model("red"));
        e.set_property("provider", "cuda");
    });
    assert!(text.contains("cuda") && text.contains("CPUExecutionProvider"), "{text}");
    let text = start_error(|e| {
        e.set_property("model", model("red"));
        e.set_property("provider", "gpu");
    });
    assert!(text.contains("known are auto, cpu"), "{text}");
}

/// The texts of the warnings on a bus.
fn warnings(bus: &gst::Bus) -> Vec<String> {
    let text = |message: gst::Message| match message.view() {
        gst::MessageView::Warning(w) => w.error().message().to_owned(),
        _ => unreachable!("filtered"),
    };
    messages(bus, gst::MessageType::Warning).into_iter().map(text).collect()
}

#[test]
fn what_the_user_should_know_is_one_warning() {
    let wide = caps(VideoFormat::Gray8, 40_000, 1);
    let (mut harness, bus) = start("red", &wide, &[]);
    for n in 0..3 {
        harness.push(frame(&wide, RED, n)).unwrap();
        assert_eq!(result(&harness.pull().unwrap()).freshness, Freshness::Absent(AbsentReason::BadFrame));
    }
    let told = warnings(&bus);
    assert!(told.len() == 1 && told[0].contains("a side is over 32768 pixels"), "{told:?}");

    // The classification model names no classes.
    let (_harness, bus) = start("colors", &caps(VideoFormat::Rgb, 32, 32), &[]);
    let told = warnings(&bus);
    assert!(told.len() == 1 && told[0].contains("class 0, class 1"), "{told:?}");
    let (_harness, bus) = start("red", &caps(VideoFormat::Rgb, 32, 32), &[]);
    assert_eq!(warnings(&bus), [""; 0]);
}

#[test]
fn an_element_starts_again_after_it_failed() {
    init();
    let caps = caps(VideoFormat::Rgb, 32, 32);
    let element = gst::ElementFactory::make("vigilinfer").property("model", "/nowhere").build().unwrap();
    assert!(element.set_state(gst::State::Paused).is_err());
    element.set_state(gst::State::Null).unwrap();
    element.set_property("model", model("red"));
    for _ in 0..3 {
        let mut harness = Harness::with_element(&element, Some("sink"), Some("src"));
        harness.play();
        harness.set_src_caps(caps.clone());
        harness.push(frame(&caps, RED, 0)).unwrap();
        assert_eq!(result(&harness.pull().unwrap()).frame, 0);
        element.set_state(gst::State::Null).unwrap();
    }
}

#[test]
fn a_downstream_that_is_linked_later_gets_frames() {
    init();
    let caps = caps(VideoFormat::Rgb, 32, 32);
    let element = gst::ElementFactory::make("vigilinfer").property("model", model("red")).build().unwrap();
    let mut harness = Harness::with_element(&element, Some("sink"), None);
    harness.play();
    harness.set_src_caps(caps.clone());
    // The answer of downstream comes with a later frame.
    let refused = (0..1000).find_map(|n| harness.push(frame(&caps, RED, n)).err());
    assert_eq!(refused, Some(gst::FlowError::NotLinked));
    harness.add_element_src_pad(&element.static_pad("src").unwrap());
    harness.push(frame(&caps, RED, 1000)).unwrap();
    assert_eq!(harness.pull().unwrap().pts(), Some(gst::ClockTime::from_seconds(40)));
}

#[test]
fn flushes_and_shutdowns_may_cross() {
    init();
    let element = gst::ElementFactory::make("vigilinfer").property("model", model("red")).build().unwrap();
    let harness = Harness::with_element(&element, Some("sink"), Some("src"));
    let stop = Arc::new(AtomicBool::new(false));
    let flusher = {
        let (pad, stop) = (element.static_pad("sink").unwrap(), Arc::clone(&stop));
        std::thread::spawn(move || {
            while !stop.load(Ordering::SeqCst) {
                pad.send_event(gst::event::FlushStart::new());
                pad.send_event(gst::event::FlushStop::new(true));
            }
        })
    };
    // Hung within ten rounds while a flush could start the task of an element that stops.
    for _ in 0..100 {
        element.set_state(gst::State::Playing).unwrap();
        element.set_state(gst::State::Ready).unwrap();
    }
    stop.store(true, Ordering::SeqCst);
    flusher.join().unwrap();
    element.set_state(gst::State::Null).unwrap();
    drop(harness);
}

#[test]
fn latency_is_reported_to_live_sinks() {
    let caps = caps(VideoFormat::Rgb, 32, 32);
    let (mut harness, _) = start("red", &caps, &[]);
    harness.push(frame(&caps, RED, 0)).unwrap();
    harness.pull().unwrap();
    assert!(harness.query_latency().unwrap() > gst::ClockTime::ZERO);
}

#[test]
fn the_red_rectangle_is_found_to_the_pixel() {
    let Some(path) = data("models/red_blob_yolov8.onnx") else { return };
    init();
    let (width, height) = (640u32, 360u32);
    let (x, y, w, h) = (101usize, 47usize, 160usize, 90usize);
    let caps = caps(VideoFormat::Rgb, width, height);
    let element =
        gst::ElementFactory::make("vigilinfer").property("model", path.display().to_string()).build().unwrap();
    let mut harness = Harness::with_element(&element, Some("sink"), Some("src"));
    harness.play();
    harness.set_src_caps(caps.clone());
    let mut buffer = frame(&caps, (0, 0, 0), 0);
    {
        let mut map = buffer.get_mut().unwrap().map_writable().unwrap();
        for row in y..y + h {
            for column in x..x + w {
                map[(row * width as usize + column) * 3] = 255;
            }
        }
    }
    harness.push(buffer).unwrap();
    let seen = result(&harness.pull().unwrap());
    let b = seen.objects.first().unwrap_or_else(|| panic!("one rectangle: {seen:?}")).bbox;
    let edges = [b.x * 640.0, b.y * 360.0, b.x2() * 640.0, b.y2() * 360.0];
    let truth = [x, y, x + w, y + h].map(|v| v as f32);
    assert!(edges.iter().zip(truth).all(|(have, want)| (have - want).abs() <= 1.0), "{edges:?} {truth:?}");
}

/// The corners of the box of `red.onnx`, which lies over the left half of what the model sees.
fn left_half(buffer: &gst::BufferRef) -> [f32; 4] {
    let seen = result(buffer);
    let b = seen.objects.iter().find(|o| &*o.label == "red").unwrap().bbox;
    [b.x, b.y, b.w, b.h].map(|v| (v * 1000.0).round() / 1000.0)
}

#[test]
fn a_turned_stream_is_looked_at_upright_and_results_stay_in_its_coordinates() {
    let caps = caps(VideoFormat::I420, 32, 32);
    let (mut harness, _) = start("red", &caps, &[]);
    let mut next = |tag: Option<&str>, property: &str| {
        if let Some(value) = tag {
            let mut tags = gst::TagList::new();
            tags.get_mut().unwrap().add::<gst::tags::ImageOrientation>(&value, gst::TagMergeMode::Replace);
            assert!(harness.push_event(gst::event::Tag::new(tags)));
        }
        harness.element().unwrap().set_property_from_str("orientation", property);
        harness.push(frame(&caps, RED, 0)).unwrap();
        left_half(&harness.pull().unwrap())
    };
    assert_eq!(next(None, "auto"), [0.0, 0.0, 0.5, 1.0]);
    // Upright after a quarter turn clockwise: its left is the stored bottom.
    assert_eq!(next(Some("rotate-90"), "auto"), [0.0, 0.5, 1.0, 0.5]);
    assert_eq!(next(None, "identity"), [0.0, 0.0, 0.5, 1.0]);
    assert_eq!(next(Some("rotate-180"), "auto"), [0.5, 0.0, 0.5, 1.0]);
    assert_eq!(next(Some("rotate-270"), "auto"), [0.0, 0.0, 1.0, 0.5]);
    assert_eq!(next(Some("rotate-0"), "auto"), [0.0, 0.0, 0.5, 1.0]);
    assert_eq!(next(None, "horiz"), [0.5, 0.0, 0.5, 1.0]);
}

#[test]
fn only_what_the_crop_meta_shows_is_looked_at() {
    let caps = caps(VideoFormat::Nv12, 32, 32);
    let (mut harness, _) = start("red", &caps, &[]);
    // Stored 96 × 64; the shown 32 × 32 at 50, 20 are red, the rest is green.
    let stored = VideoInfo::builder(VideoFormat::Nv12, 96, 64).build().unwrap();
    let mut buffer = frame(&stored.to_caps().unwrap(), GREEN, 0);
    let red = frame(&caps, RED, 0);
    {
        let buffer = buffer.get_mut().unwrap();
        let (from, to) = (red.map_readable().unwrap(), stored.stride()[0] as usize);
        let mut bytes = buffer.map_writable().unwrap();
        for y in 0..32 {
            bytes[(y + 20) * to + 50..][..32].copy_from_slice(&from[y * 32..][..32]);
        }
        for y in 0..16 {
            bytes[96 * 64 + (y + 10) * to + 50..][..32].copy_from_slice(&from[32 * 32 + y * 32..][..32]);
        }
        drop(bytes);
        let flags = gst_video::VideoFrameFlags::empty();
        gst_video::VideoMeta::add(buffer, flags, VideoFormat::Nv12, 96, 64).unwrap();
        gst_video::VideoCropMeta::add(buffer, (50, 20, 32, 32));
    }
    harness.push(buffer).unwrap();
    let buffer = harness.pull().unwrap();
    let seen = result(&buffer);
    assert_eq!((seen.width, seen.height), (32, 32));
    assert!(seen.objects[0].confidence > 0.9, "all of it is red: {:?}", seen.objects);
    assert_eq!(left_half(&buffer), [0.0, 0.0, 0.5, 1.0]);
}
