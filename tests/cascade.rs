//! `vigilinfer inference-region=objects`: a second model on what a first one found.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may")]

mod common;

use std::sync::Arc;

use common::{caps, init, messages, model, result};
use gst::prelude::*;
use gst_check::Harness;
use gst_video::{VideoFormat, VideoInfo};
use gstvigil::result::{FrameResult, Freshness, Object};

/// Left half red, right half blue.
fn halves(caps: &gst::Caps, n: u64) -> gst::Buffer {
    let info = VideoInfo::from_caps(caps).unwrap();
    let row = info.width() as usize * 3;
    let pixels = (0..info.size()).map(|i| {
        let left = i % row < row / 2;
        if i % 3 == if left { 0 } else { 2 } { 255 } else { 0 }
    });
    let mut buffer = gst::Buffer::from_slice(pixels.collect::<Vec<u8>>());
    buffer.get_mut().unwrap().set_pts(gst::ClockTime::from_mseconds(40 * n));
    buffer
}

/// `red.onnx`, which finds the two halves, with what is behind it; `$1` is the folder of the small models.
fn start(behind: &str) -> (Harness, gst::Bus, gst::Caps) {
    init();
    let folder = model("x").replace("/x.onnx", "");
    let line = format!("vigilinfer name=first model={} ! {}", model("red"), behind.replace("$1", &folder));
    let bin = gst::parse::bin_from_description(&line, true).unwrap();
    let bus = gst::Bus::new();
    bin.set_bus(Some(&bus));
    let mut harness = Harness::with_element(&bin, Some("sink"), Some("src"));
    let caps = caps(VideoFormat::Rgb, 64, 64);
    harness.play();
    harness.set_src_caps(caps.clone());
    (harness, bus, caps)
}

fn next(harness: &mut Harness, caps: &gst::Caps, n: u64) -> Arc<FrameResult> {
    harness.push(halves(caps, n)).unwrap();
    result(&harness.pull().unwrap())
}

fn answers(object: &Object) -> Vec<String> {
    object.attributes.iter().map(|a| format!("{} {}", a.name, a.label)).collect()
}

fn stats(harness: &Harness, element: &str) -> gst::Structure {
    let bin = harness.element().unwrap().downcast::<gst::Bin>().unwrap();
    bin.by_name(element).unwrap().property("stats")
}

#[test]
fn each_object_is_looked_at_by_itself_in_one_batch_where_the_model_allows() {
    for (name, batch) in [("batch", 16u64), ("batch4", 4), ("colors", 1), ("batch_bad", 1)] {
        let (mut harness, bus, caps) =
            start(&format!("vigilinfer name=second inference-region=objects confidence=0.5 model=$1/{name}.onnx"));
        for n in 0..3 {
            let seen = next(&mut harness, &caps, n);
            let [a, b] = seen.objects.as_slice() else { panic!("{:?}", seen.objects) };
            let (red, blue) = if &*a.label == "red" { (a, b) } else { (b, a) };
            // The classes of colors.onnx are red, green, blue.
            assert_eq!(answers(red), [format!("{name} class 0")], "{name}");
            assert_eq!(answers(blue), [format!("{name} class 2")], "{name}");
            assert!(red.attributes[0].confidence > 0.99, "only its own half: {:?}", red.attributes);
            assert_eq!(seen.model.as_ref().unwrap().name, "red");
            assert_eq!(seen.secondary.iter().map(|m| m.name.as_str()).collect::<Vec<_>>(), [name]);
        }
        let stats = stats(&harness, "second");
        assert_eq!(stats.get::<u64>("batch").unwrap(), batch, "{name}");
        assert_eq!(stats.get::<u64>("objects").unwrap(), 6, "without a track every object is looked at: {name}");
        assert_eq!(messages(&bus, gst::MessageType::Error).len(), 0);
    }
}

#[test]
fn tracked_objects_are_looked_at_now_and_then_and_keep_the_answer() {
    let (mut harness, _, caps) = start(
        "vigiltrack ! vigilinfer name=second inference-region=objects reinfer-time=100000000 confidence=0.5 \
         model=$1/batch.onnx",
    );
    for n in 0..10 {
        let seen = next(&mut harness, &caps, n);
        assert_eq!(seen.objects.len(), 2);
        assert!(seen.objects.iter().all(|o| answers(o).len() == 1), "{n}: {:?}", seen.objects);
    }
    // 0, 120, 240, 360 ms.
    assert_eq!(stats(&harness, "second").get::<u64>("objects").unwrap(), 8);
}

#[test]
fn rules_hold_from_the_next_frame_on() {
    let (mut harness, _, caps) =
        start("vigilinfer name=second inference-region=objects object-class=blue confidence=0.5 model=$1/batch.onnx");
    let looked_at = |seen: &FrameResult| {
        let with = seen.objects.iter().filter(|o| !o.attributes.is_empty());
        with.map(|o| o.label.to_string()).collect::<std::collections::BTreeSet<_>>().into_iter().collect::<Vec<_>>()
    };
    assert_eq!(looked_at(&next(&mut harness, &caps, 0)), ["blue"]);
    let bin = harness.element().unwrap().downcast::<gst::Bin>().unwrap();
    let second = bin.by_name("second").unwrap();
    second.set_property("object-class", " red , blue");
    assert_eq!(looked_at(&next(&mut harness, &caps, 1)), ["blue", "red"]);
    second.set_property("object-min-size", 33u32);
    assert_eq!(looked_at(&next(&mut harness, &caps, 2)), [""; 0]);
    second.set_property("object-min-size", 0u32);
    second.set_property("object-max", 1u32);
    assert_eq!(looked_at(&next(&mut harness, &caps, 3)).len(), 1);
    second.set_property("object-max", 8u32);
    second.set_property("object-min-confidence", 0.6f32);
    assert_eq!(looked_at(&next(&mut harness, &caps, 4)), [""; 0], "both have .5");
}

#[test]
fn detections_inside_an_object_are_its_children() {
    let (mut harness, _, caps) =
        start("vigilinfer name=second inference-region=objects object-class=red model=$1/red.onnx");
    let seen = next(&mut harness, &caps, 0);
    let parent = seen.objects.iter().find(|o| &*o.label == "red" && o.parent.is_none()).unwrap();
    let children: Vec<_> = seen.objects.iter().filter(|o| o.parent.is_some()).collect();
    let [child] = children.as_slice() else { panic!("{children:?}") };
    assert_eq!(child.parent, Some(parent.id));
    // The crop of 32 × 64 is letterboxed into 32 × 32: 16 columns in the middle, of which the left half is found. All of
    // it is red, and half of the input is padding of 114.
    let b = child.bbox;
    for (have, want) in [(b.x, 0.0), (b.y, 0.0), (b.w, 0.25), (b.h, 1.0)] {
        assert!((have - want).abs() < 0.01, "{b:?}");
    }
    let ids: std::collections::BTreeSet<u32> = seen.objects.iter().map(|o| o.id).collect();
    assert_eq!(ids.len(), seen.objects.len());
}

#[test]
fn what_a_model_on_objects_needs_is_told_when_it_is_missing() {
    init();
    let element = gst::ElementFactory::make("vigilinfer").property("model", model("batch")).build().unwrap();
    element.set_property_from_str("inference-region", "objects");
    let bus = gst::Bus::new();
    element.set_bus(Some(&bus));
    let mut harness = Harness::with_element(&element, Some("sink"), Some("src"));
    let caps = caps(VideoFormat::Rgb, 64, 64);
    harness.play();
    harness.set_src_caps(caps.clone());
    for n in 0..3 {
        assert!(matches!(next(&mut harness, &caps, n).freshness, Freshness::Absent(_)));
    }
    let texts: Vec<String> = messages(&bus, gst::MessageType::Warning)
        .iter()
        .filter_map(|m| match m.view() {
            gst::MessageView::Warning(w) => Some(w.error().to_string()),
            _ => None,
        })
        .filter(|text| text.contains("no objects to look at"))
        .collect();
    assert_eq!(texts.len(), 1, "once: {texts:?}");
}

#[test]
fn the_mirror_carries_attributes_and_parents() {
    let (mut harness, _, caps) = start(
        "vigilinfer inference-region=objects confidence=0.5 model=$1/batch.onnx ! \
         vigilinfer inference-region=objects object-class=red model=$1/red.onnx",
    );
    harness.push(halves(&caps, 0)).unwrap();
    let buffer = harness.pull().unwrap();
    let seen = result(&buffer);
    let rois: Vec<_> = buffer.iter_meta::<gst_video::VideoRegionOfInterestMeta>().collect();
    assert_eq!(rois.len(), seen.objects.len());
    for (roi, object) in rois.iter().zip(&seen.objects) {
        assert_eq!(roi.id(), object.id as i32);
        if let Some(parent) = object.parent {
            assert_eq!(roi.parent_id(), parent as i32);
            continue;
        }
        let params: Vec<gst::Structure> = roi.params().map(ToOwned::to_owned).collect();
        assert_eq!(params.iter().map(|p| p.name().to_string()).collect::<Vec<_>>(), ["detection", "attribute"]);
        assert_eq!(params[1].get::<&str>("label").unwrap(), &*object.attributes[0].label);
    }
}

/// Has the model of `element` replaced, with frames from `n` on until one is out after the swap.
fn swap(harness: &mut Harness, bus: &gst::Bus, (caps, n): (&gst::Caps, u64), model: &str) -> Vec<Arc<FrameResult>> {
    let bin = harness.element().unwrap().downcast::<gst::Bin>().unwrap();
    let second = bin.by_name("second").unwrap();
    // Objects are looked at once only: there is nothing to watch it by.
    let options =
        gst::Structure::builder("options").field("probation-time", 0u64).field("probation-frames", 0u64).build();
    let request: u64 = second.emit_by_name("swap-model", &[&model, &Some(options)]);
    let (begun, mut results, mut confirmed) = (std::time::Instant::now(), Vec::new(), false);
    while !confirmed {
        for message in messages(bus, gst::MessageType::Element) {
            let Some(said) = message.structure().filter(|s| s.get::<u64>("request-id") == Ok(request)) else {
                continue;
            };
            let phase = said.get::<&str>("phase").unwrap();
            assert!(phase != "rejected" && phase != "rolled-back", "{said}");
            confirmed = phase == "confirmed";
        }
        results.push(next(harness, caps, n + results.len() as u64));
        assert!(begun.elapsed() < std::time::Duration::from_secs(60), "the swap does not end");
    }
    results
}

#[test]
fn a_second_model_that_is_replaced_leaves_nothing_behind() {
    // Each object is looked at once, and keeps the answer.
    let (mut harness, bus, caps) = start(
        "vigiltrack ! vigilinfer name=second inference-region=objects reinfer-time=18446744073709551615 confidence=0.5 \
         model=$1/batch.onnx ! vigiltrack",
    );
    for n in 0..5 {
        let seen = next(&mut harness, &caps, n);
        assert!(seen.objects.iter().all(|o| answers(o).len() == 1), "{n}: {:?}", seen.objects);
    }
    let results = swap(&mut harness, &bus, (&caps, 5), &model("colors"));
    let made_by = |r: &FrameResult| r.secondary[0].name.clone();
    let names: std::collections::BTreeSet<String> = results.iter().map(|r| made_by(r)).collect();
    assert_eq!(names.into_iter().collect::<Vec<_>>(), ["batch", "colors"], "frames of both models");
    for seen in &results {
        let [a, b] = seen.objects.as_slice() else { panic!("{:?}", seen.objects) };
        let mut tracks = [a, b].map(|o| o.track.unwrap().id);
        tracks.sort_unstable();
        assert_eq!(tracks, [1, 2]);
        for object in [a, b] {
            let class = if &*object.label == "red" { 0 } else { 2 };
            assert_eq!(
                answers(object),
                [format!("{} class {class}", made_by(seen))],
                "only what the frame's own model says"
            );
        }
    }
    // Two with each model.
    assert_eq!(stats(&harness, "second").get::<u64>("objects").unwrap(), 4);
}
