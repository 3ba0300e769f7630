//! The frame result on buffers: what stock elements leave of it, and what other languages can read.
#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use std::sync::Arc;

use gst_check::Harness;
use gst_video::{VideoFormat, VideoRegionOfInterestMeta as Roi};
use gstvigil::meta;
use gstvigil::result::{AbsentReason, BBox, FrameClass, FrameResult, Freshness, ModelId, Object, Track, TrackState};

const WIDTH: u32 = 64;
const HEIGHT: u32 = 32;

/// A person in the left half of a frame and a car in its bottom right quarter; the person has the number 7.
fn sample(freshness: Freshness) -> FrameResult {
    let track =
        Track { id: 7, state: TrackState::Confirmed, age_ns: 1_000_000_000, unseen_ns: 0, velocity: (0.1, 0.0) };
    let person = BBox { x: 0.0, y: 0.0, w: 0.5, h: 1.0 };
    let car = BBox { x: 0.5, y: 0.5, w: 0.5, h: 0.5 };
    FrameResult {
        frame: 3,
        pts_ns: Some(120_000_000),
        running_time_ns: Some(130_000_000),
        utc_ns: 1_700_000_000_000_000_000,
        width: WIDTH,
        height: HEIGHT,
        model: Some(Arc::new(ModelId { name: "people".into(), release: "1".into(), digest: "ab".repeat(32) })),
        freshness,
        objects: vec![
            Object { track: Some(track), ..Object::new(0, 3, "Person".into(), 0.75, person) },
            Object::new(1, 22, "Car".into(), 0.5, car),
        ],
        classes: vec![FrameClass { class_id: 4, label: "day".into(), confidence: 0.25 }],
        embedding: None,
        absent_since_ns: None,
        secondary: Vec::new(),
    }
}

/// What is left of `sample` behind `elements`.
fn through(elements: &str) -> gst::Buffer {
    let caps = common::caps(VideoFormat::I420, WIDTH, HEIGHT);
    // A mixer has no pad to link to before something asks for it.
    let mut harness = Harness::new_parse(&format!("identity ! {elements}"));
    harness.play();
    harness.set_src_caps(caps.clone());
    let mut buffer = common::frame(&caps, (200, 30, 30), 0);
    meta::set(buffer.make_mut(), Arc::new(sample(Freshness::Fresh)), true);
    harness.push(buffer).unwrap();
    harness.push_event(gst::event::Eos::new());
    harness.pull().unwrap_or_else(|e| panic!("{elements}: {e}"))
}

/// Label, id, rectangle, and whether it has the param.
type Region = (String, i32, (u32, u32, u32, u32), bool);

/// The regions of interest on a buffer.
fn regions(buffer: &gst::BufferRef) -> Vec<Region> {
    let region =
        |roi: gst::MetaRef<Roi>| (roi.roi_type().to_owned(), roi.id(), roi.rect(), roi.param("detection").is_some());
    buffer.iter_meta::<Roi>().map(region).collect()
}

#[test]
fn stock_elements_keep_the_result_and_some_of_the_mirror() {
    let (person, car) = ((0, 0, 32, 32), (32, 16, 32, 16));
    let both = |person, car, param| vec![("Person".to_owned(), 0, person, param), ("Car".to_owned(), 1, car, param)];
    // As docs/metadata.md has it.
    let cases = [
        ("queue", both(person, car, true)),
        ("tee ! queue", both(person, car, true)),
        ("identity", both(person, car, true)),
        ("videorate", both(person, car, true)),
        ("videoconvert", both(person, car, true)),
        ("videoconvert ! capsfilter caps=video/x-raw,format=RGBA", both(person, car, false)),
        ("videoscale ! capsfilter caps=video/x-raw,width=128,height=64", both((0, 0, 64, 64), (64, 32, 64, 32), false)),
        ("videocrop left=2", vec![]),
        ("videoflip method=horizontal-flip", both(person, car, true)),
    ];
    common::init();
    for (elements, mirror) in cases {
        let buffer = through(elements);
        assert_eq!(meta::get(&buffer).as_deref(), Some(&sample(Freshness::Fresh)), "{elements}");
        assert_eq!(regions(&buffer), mirror, "{elements}");
    }
}

#[test]
fn the_result_survives_encoders_and_decoders() {
    common::init();
    for elements in ["jpegenc", "jpegenc ! jpegdec", "x264enc tune=zerolatency"] {
        assert_eq!(meta::get(&through(elements)).as_deref(), Some(&sample(Freshness::Fresh)), "{elements}");
    }
}

#[test]
fn a_mixer_makes_new_frames_without_a_result() {
    common::init();
    let buffer = through("compositor");
    assert_eq!(meta::get(&buffer), None);
}

#[test]
fn a_second_result_takes_the_place_of_the_first() {
    common::init();
    let mut buffer = gst::Buffer::new();
    let stranger = gst::Structure::new_empty("stranger");
    Roi::add(buffer.make_mut(), "Person", (1, 2, 3, 4)).add_param(stranger);
    // Other people's regions have id 0 where nobody set it; this one differs from ours by its label.
    Roi::add(buffer.make_mut(), "face", (5, 6, 7, 8));
    let mut first = sample(Freshness::Fresh);
    first.objects.remove(0);
    meta::set(buffer.make_mut(), Arc::new(first), true);
    assert_eq!(regions(&buffer).len(), 3);
    let second = Arc::new(sample(Freshness::Held { age_ns: 5 }));
    meta::set(buffer.make_mut(), Arc::clone(&second), false);
    assert_eq!(meta::get(&buffer), Some(second));
    let left: Vec<String> = regions(&buffer).into_iter().map(|r| r.0).collect();
    assert_eq!(left, ["Person", "face"]);
}

#[test]
fn the_mirror_has_what_other_elements_read() {
    common::init();
    let mut buffer = gst::Buffer::new();
    meta::set(buffer.make_mut(), Arc::new(sample(Freshness::Fresh)), true);
    let params: Vec<gst::Structure> =
        buffer.iter_meta::<Roi>().map(|roi| roi.param("detection").unwrap().to_owned()).collect();
    let [person, car] = params.as_slice() else { panic!("{params:?}") };
    assert_eq!(person.get::<&str>("label"), Ok("Person"));
    assert_eq!(person.get::<f64>("confidence"), Ok(0.75));
    assert_eq!(person.get::<i32>("label_id"), Ok(3));
    assert_eq!(person.get::<u64>("object_id"), Ok(7));
    assert!(!car.has_field("object_id"), "the car has no number");
    let sides = ["x_min", "x_max", "y_min", "y_max"].map(|side| car.get::<f64>(side).unwrap());
    assert_eq!(sides, [0.5, 1.0, 0.5, 1.0]);
}

#[test]
fn the_structure_has_the_documented_fields_and_types() {
    common::init();
    let of = |freshness| meta::structure::from_result("vigil-result", &sample(freshness));
    let s = of(Freshness::Fresh);
    for (field, value) in [("frame", 3), ("pts", 120_000_000), ("running-time", 130_000_000)] {
        assert_eq!(s.get::<u64>(field), Ok(value), "{field}");
    }
    assert_eq!((s.get::<u32>("width"), s.get::<u32>("height")), (Ok(WIDTH), Ok(HEIGHT)));
    assert_eq!((s.get::<&str>("model"), s.get::<&str>("release")), (Ok("people"), Ok("1")));
    assert_eq!(s.get::<&str>("digest").unwrap().len(), 64);
    assert_eq!((s.get::<&str>("freshness"), s.has_field("age"), s.has_field("reason")), (Ok("fresh"), false, false));

    let held = of(Freshness::Held { age_ns: 40_000_000 });
    assert_eq!((held.get::<&str>("freshness"), held.get::<u64>("age")), (Ok("held"), Ok(40_000_000)));
    let page = include_str!("../docs/metadata.md");
    for &reason in AbsentReason::ALL {
        let absent = of(Freshness::Absent(reason));
        assert_eq!(
            (absent.get::<&str>("freshness"), absent.get::<&str>("reason")),
            (Ok("absent"), Ok(reason.as_str()))
        );
        assert!(!absent.has_field("since"), "unknown");
        let row = format!("| `{}` |", reason.as_str());
        assert!(page.contains(&row), "docs/metadata.md does not describe {}", reason.as_str());
    }
    let since_ns = 1_699_999_990_000_000_000;
    let starting = Freshness::Absent(AbsentReason::Starting);
    let known = FrameResult { absent_since_ns: Some(since_ns), ..sample(starting) };
    let absent = meta::structure::from_result("vigil-result", &known);
    assert_eq!((absent.get::<&str>("reason"), absent.get::<u64>("since")), (Ok("starting"), Ok(since_ns)));

    let objects = s.get::<gst::List>("objects").unwrap();
    let person = objects.first().unwrap().get::<gst::Structure>().unwrap();
    assert_eq!((person.get::<u32>("id"), person.get::<u32>("class-id")), (Ok(0), Ok(3)));
    assert_eq!((person.get::<&str>("label"), person.get::<f32>("confidence")), (Ok("Person"), Ok(0.75)));
    let sides = ["x", "y", "width", "height"].map(|side| person.get::<f32>(side).unwrap());
    assert_eq!(sides, [0.0, 0.0, 0.5, 1.0]);
    assert_eq!(person.get::<u64>("track"), Ok(7));
    let classes = s.get::<gst::List>("classes").unwrap();
    let day = classes.first().unwrap().get::<gst::Structure>().unwrap();
    assert_eq!((day.get::<&str>("label"), day.get::<u32>("class-id")), (Ok("day"), Ok(4)));
    assert_eq!(day.get::<f32>("confidence"), Ok(0.25));

    for structure in [&s, &held, &absent, &person, &day] {
        for field in structure.fields() {
            assert!(page.contains(&format!("`{field}`")), "docs/metadata.md does not describe {field}");
        }
    }
}
