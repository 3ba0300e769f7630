//! `vigiltrack` in a harness: results go in on buffers, identities come out.

#![allow(clippy::unwrap_used)]

mod common;

use std::sync::Arc;

use gst::prelude::*;
use gst_check::Harness;
use gst_video::VideoRegionOfInterestMeta as Roi;
use gstvigil::meta;
use gstvigil::result::{AbsentReason, Attribute, BBox, FrameResult, Freshness, Keypoint, Object, TrackState};

const CAPS: &str = "video/x-raw,format=GRAY8,width=64,height=32,framerate=25/1";
const FRAME: gst::ClockTime = gst::ClockTime::from_mseconds(40);

fn harness() -> Harness {
    common::init();
    let mut h = Harness::new("vigiltrack");
    h.set_src_caps_str(CAPS);
    h
}

fn objects(xs: &[f32]) -> Vec<Object> {
    let object = |(i, x): (usize, &f32)| {
        let bbox = BBox { x: *x, y: 0.3, w: 0.1, h: 0.4 };
        Object::new(i as u32, 0, "person".into(), 0.9 - 0.01 * i as f32, bbox)
    };
    xs.iter().enumerate().map(object).collect()
}

fn result(freshness: Freshness, objects: Vec<Object>) -> FrameResult {
    FrameResult {
        frame: 0,
        pts_ns: None,
        running_time_ns: None,
        utc_ns: 0,
        width: 64,
        height: 32,
        model: None,
        freshness,
        objects,
        classes: Vec::new(),
        embedding: None,
        absent_since_ns: None,
        secondary: Vec::new(),
    }
}

fn buffer(pts: Option<gst::ClockTime>) -> gst::Buffer {
    let mut buffer = gst::Buffer::from_slice([7u8; 64 * 32]);
    buffer.get_mut().unwrap().set_pts(pts);
    buffer
}

fn run(h: &mut Harness, pts: Option<gst::ClockTime>, result: FrameResult) -> (gst::Buffer, Arc<FrameResult>) {
    let mut buffer = buffer(pts);
    meta::set(buffer.get_mut().unwrap(), Arc::new(result), true);
    let out = h.push_and_pull(buffer).unwrap();
    let result = meta::get(&out).unwrap();
    (out, result)
}

fn fresh(h: &mut Harness, pts: Option<gst::ClockTime>, xs: &[f32]) -> Vec<u64> {
    let (_, result) = run(h, pts, result(Freshness::Fresh, objects(xs)));
    assert_eq!(result.freshness, Freshness::Fresh);
    ids(&result)
}

fn ids(result: &FrameResult) -> Vec<u64> {
    result.objects.iter().map(|o| o.track.map_or(0, |t| t.id)).collect()
}

fn stat(h: &Harness, name: &str) -> u64 {
    h.element().unwrap().property::<gst::Structure>("stats").get(name).unwrap()
}

#[test]
fn identities_last_across_buffers() {
    let mut h = harness();
    for i in 0..20u64 {
        let way = i as f32 * 0.01;
        assert_eq!(fresh(&mut h, Some(FRAME * i), &[0.1 + way, 0.8 - way]), [1, 2], "frame {i}");
    }
    assert_eq!([stat(&h, "created"), stat(&h, "established"), stat(&h, "live")], [2, 2, 2]);
    assert_eq!([stat(&h, "updated"), stat(&h, "predicted"), stat(&h, "untouched")], [20, 0, 0]);
}

#[test]
fn frames_that_were_not_analysed_are_predicted() {
    let mut h = harness();
    // 0.01 frame widths per frame.
    for i in 0..10u64 {
        fresh(&mut h, Some(FRAME * i), &[0.1 + 0.01 * i as f32]);
    }
    let skipped = [Freshness::Held { age_ns: 5 }, Freshness::Absent(AbsentReason::Skipped)];
    for (i, freshness) in (10u64..).zip(skipped) {
        let (_, result) = run(&mut h, Some(FRAME * i), result(freshness, objects(&[0.19])));
        assert_eq!(ids(&result), [1]);
        assert_eq!(result.freshness, Freshness::Held { age_ns: (FRAME * (i - 9)).nseconds() });
        let o = &result.objects[0];
        assert_eq!(o.track.unwrap().state, TrackState::Predicted);
        assert!((o.bbox.x - (0.1 + 0.01 * i as f32)).abs() < 0.003, "{:?} at frame {i}", o.bbox);
    }
    assert_eq!(fresh(&mut h, Some(FRAME * 12), &[0.22]), [1]);
    assert_eq!([stat(&h, "updated"), stat(&h, "predicted")], [11, 2]);
}

#[test]
fn nothing_is_made_up() {
    let mut h = harness();
    let absent = |reason| FrameResult { absent_since_ns: Some(77), ..result(Freshness::Absent(reason), Vec::new()) };
    // Skipped before anything was analysed, and not analysed for any other reason.
    let every = || (0u32..).zip(AbsentReason::ALL);
    for (i, &reason) in every() {
        let (_, after) = run(&mut h, Some(FRAME * u64::from(i)), absent(reason));
        assert_eq!(*after, absent(reason));
    }
    let start = FRAME * 20;
    fresh(&mut h, Some(start), &[0.1]);
    for (i, &reason) in every().filter(|(_, reason)| reason.is_outage()) {
        let (out, after) = run(&mut h, Some(start + FRAME * u64::from(i)), absent(reason));
        assert_eq!(*after, absent(reason), "freshness, reason and time are not the tracker's");
        assert_eq!(out.iter_meta::<Roi>().count(), 0);
    }
    assert_eq!(fresh(&mut h, Some(start + FRAME * 12), &[0.1]), [1]);
    // What the tracker does know about is held, and held results are not absent since any time.
    let (_, held) = run(&mut h, Some(start + FRAME * 13), absent(AbsentReason::Skipped));
    let age_ns = FRAME.nseconds();
    assert_eq!((held.freshness, held.absent_since_ns), (Freshness::Held { age_ns }, None));
}

#[test]
fn identities_outlast_a_short_outage_and_end_in_a_long_one() {
    let restarting = || result(Freshness::Absent(AbsentReason::EngineRestarting), Vec::new());
    // Frames of outage, of 40 ms; identities are kept for 2 s.
    for (frames, ids_after) in [(40, vec![1, 2]), (60, vec![3, 4])] {
        let mut h = harness();
        let mut n = 0..;
        let mut next = || Some(FRAME * n.next().unwrap());
        for _ in 0..5 {
            assert_eq!(fresh(&mut h, next(), &[0.1, 0.6]), [1, 2]);
        }
        for _ in 0..frames {
            let (_, after) = run(&mut h, next(), restarting());
            assert_eq!(*after, restarting(), "no prediction on a frame without analysis");
        }
        // Analysis is back, but skips this frame: predictions only of what may still be there.
        let skipped = result(Freshness::Absent(AbsentReason::Skipped), Vec::new());
        let (_, first) = run(&mut h, next(), skipped.clone());
        if frames == 40 {
            assert_eq!((ids(&first), first.freshness.as_str()), (vec![1, 2], "held"));
        } else {
            assert_eq!(*first, skipped, "held without objects would say that nobody is there");
        }
        assert_eq!(fresh(&mut h, next(), &[0.1, 0.6]), ids_after, "after {frames} frames");
        assert_eq!(stat(&h, "untouched"), if frames == 40 { 40 } else { 61 });
    }
}

#[test]
fn without_result_the_buffer_passes_untouched() {
    let mut h = harness();
    let buffer = buffer(Some(FRAME));
    let memory = buffer.peek_memory(0).as_ptr();
    let out = h.push_and_pull(buffer).unwrap();
    assert!(meta::get(&out).is_none());
    assert_eq!(out.peek_memory(0).as_ptr(), memory);
    assert_eq!(out.pts(), Some(FRAME));
    assert_eq!(stat(&h, "untouched"), 1);
}

#[test]
fn pixels_of_a_shared_buffer_are_not_copied() {
    let mut h = harness();
    let mut buffer = buffer(Some(FRAME));
    meta::set(buffer.get_mut().unwrap(), Arc::new(result(Freshness::Fresh, objects(&[0.1]))), false);
    let other = buffer.clone();
    let out = h.push_and_pull(buffer).unwrap();
    assert_eq!(out.peek_memory(0).as_ptr(), other.peek_memory(0).as_ptr());
    assert_eq!(ids(&meta::get(&out).unwrap()), [1]);
    assert_eq!(ids(&meta::get(&other).unwrap()), [0], "the other owner's result changed");
}

#[test]
fn mirror_follows_the_result() {
    let mut h = harness();
    let rois = |b: &gst::Buffer| {
        let id = |m: gst::MetaRef<Roi>| m.params().next().unwrap().get::<u64>("object_id").ok();
        b.iter_meta::<Roi>().map(id).collect::<Vec<_>>()
    };
    let (out, _) = run(&mut h, Some(FRAME), result(Freshness::Fresh, objects(&[0.1, 0.5])));
    assert_eq!(rois(&out), [Some(1), Some(2)]);
    // A held result of an older frame is replaced, and so is its mirror.
    let (out, _) = run(&mut h, Some(FRAME * 2), result(Freshness::Held { age_ns: 1 }, objects(&[0.1, 0.3, 0.5])));
    assert_eq!(rois(&out), [Some(1), Some(2)]);
    h.element().unwrap().set_property("mirror-roi", false);
    let (out, _) = run(&mut h, Some(FRAME * 3), result(Freshness::Fresh, objects(&[0.1, 0.5])));
    assert_eq!(rois(&out), []);
}

#[test]
fn flush_and_new_stream_end_identities() {
    let mut h = harness();
    assert_eq!(fresh(&mut h, Some(FRAME), &[0.1]), [1]);
    h.push_event(gst::event::FlushStart::new());
    h.push_event(gst::event::FlushStop::new(true));
    h.push_event(gst::event::Segment::new(&gst::FormattedSegment::<gst::ClockTime>::new()));
    let (_, skipped) = run(&mut h, Some(FRAME), result(Freshness::Absent(AbsentReason::Skipped), Vec::new()));
    assert_eq!(skipped.freshness, Freshness::Absent(AbsentReason::Skipped));
    assert_eq!(fresh(&mut h, Some(FRAME * 2), &[0.1]), [2]);
    h.push_event(gst::event::StreamStart::new("another"));
    h.push_event(gst::event::Caps::new(&CAPS.parse::<gst::Caps>().unwrap()));
    h.push_event(gst::event::Segment::new(&gst::FormattedSegment::<gst::ClockTime>::new()));
    assert_eq!(fresh(&mut h, Some(FRAME * 3), &[0.1]), [3]);
}

#[test]
fn time_is_running_time() {
    let mut h = harness();
    assert_eq!(fresh(&mut h, Some(gst::ClockTime::ZERO), &[0.1]), [1]);
    // A segment that begins an hour later in the stream, but follows at once in running time.
    let mut segment = gst::FormattedSegment::<gst::ClockTime>::new();
    segment.set_start(gst::ClockTime::from_seconds(3600));
    segment.set_base(FRAME);
    h.push_event(gst::event::Segment::new(&segment));
    let (_, result) = run(&mut h, Some(gst::ClockTime::from_seconds(3600)), result(Freshness::Fresh, objects(&[0.1])));
    assert_eq!(ids(&result), [1]);
    assert_eq!(result.objects[0].track.unwrap().age_ns, FRAME.nseconds());
}

#[test]
fn frames_without_pts_follow_at_the_frame_rate() {
    let mut h = harness();
    let age = |h: &mut Harness, pts| {
        let (_, result) = run(h, pts, result(Freshness::Fresh, objects(&[0.1])));
        assert_eq!(ids(&result), [1]);
        result.objects[0].track.unwrap().age_ns / FRAME.nseconds()
    };
    assert_eq!(age(&mut h, Some(FRAME)), 0);
    assert_eq!(age(&mut h, None), 1);
    assert_eq!(age(&mut h, None), 2);
    // A gap of a second, then frames go on after it.
    h.push_event(gst::event::Gap::builder(FRAME * 4).duration(FRAME * 25).build());
    assert_eq!(age(&mut h, None), 28);
}

#[test]
fn settings_change_while_playing() {
    let mut h = harness();
    let element = h.element().unwrap();
    fresh(&mut h, Some(FRAME), &[0.1]);
    element.set_property("max-lost-time", FRAME.nseconds());
    assert_eq!(fresh(&mut h, Some(FRAME * 3), &[0.1]), [2]);
    assert_eq!(fresh(&mut h, Some(FRAME * 4), &[0.1]), [2]);
    element.set_property("high-confidence", 0.95f32);
    assert_eq!(fresh(&mut h, Some(FRAME * 5), &[0.1]), [2], "low confidence continues an identity");
    assert_eq!(fresh(&mut h, Some(FRAME * 6), &[0.6]), [0], "low confidence starts none");
    let back: (f32, u64) = (element.property("high-confidence"), element.property("max-lost-time"));
    assert_eq!(back, (0.95, FRAME.nseconds()));
}

#[test]
fn caps_may_be_of_any_kind() {
    let mut h = harness();
    h.set_src_caps_str("video/x-raw(memory:DMABuf),format=DMA_DRM,width=64,height=32,framerate=0/1");
    assert_eq!(fresh(&mut h, Some(FRAME), &[0.1]), [1]);
    assert_eq!(fresh(&mut h, None, &[0.1]), [1]);
}

/// A person at `x` who looks like direction `angle`.
fn person(x: f32, angle: f32) -> Object {
    let mut person = objects(&[x]).remove(0);
    person.embedding = Some([angle.cos(), angle.sin()].into());
    person
}

#[test]
fn appearance_is_used_if_switched_on() {
    // Seen at 0.3, hidden for a second, comes out a box and a half beside, while somebody else stands at 0.3.
    let play = |weight: f32, threshold: f32| {
        let mut h = harness();
        let element = h.element().unwrap();
        assert_eq!(element.property::<f32>("appearance-weight"), 0.0, "on by default");
        let frame =
            |h: &mut Harness, i: u64, objects| ids(&run(h, Some(FRAME * i), result(Freshness::Fresh, objects)).1);
        frame(&mut h, 0, vec![person(0.3, 0.0)]);
        // In playing, from the next frame on.
        element.set_property("appearance-weight", weight);
        element.set_property("appearance-threshold", threshold);
        for i in 1..10 {
            assert_eq!(frame(&mut h, i, vec![person(0.3, 0.0)]), [1]);
        }
        frame(&mut h, 10, vec![]);
        let back: (f32, f32) = (element.property("appearance-weight"), element.property("appearance-threshold"));
        assert_eq!(back, (weight, threshold));
        frame(&mut h, 35, vec![person(0.3, 1.5), person(0.46, 0.1)])
    };
    assert_eq!(play(0.0, 0.7), [1, 2], "by place alone");
    assert_eq!(play(0.8, 0.7), [2, 1]);
    assert_eq!(play(0.8, 1.0), [2, 3], "0.995 is not enough then");
}

#[test]
fn findings_are_carried_for_the_set_time() {
    let mut h = harness();
    h.element().unwrap().set_property("carry-time", (FRAME * 5).nseconds());
    let mut full = person(0.3, 0.0);
    full.attributes = vec![Attribute { name: "color".into(), label: "red".into(), confidence: 0.8 }];
    full.keypoints = vec![Keypoint { x: 0.35, y: 0.4, confidence: 0.9 }];
    run(&mut h, Some(FRAME), result(Freshness::Fresh, vec![full.clone()]));
    let mut later = |i: u64, x: f32, freshness| {
        let (_, result) = run(&mut h, Some(FRAME * i), result(freshness, objects(&[x])));
        result.objects[0].clone()
    };
    let carried = later(2, 0.31, Freshness::Fresh);
    assert_eq!((&carried.attributes, &carried.embedding), (&full.attributes, &full.embedding));
    assert!((carried.keypoints[0].x - 0.36).abs() < 1e-6, "{:?} did not move with the box", carried.keypoints);
    let held = later(3, 0.31, Freshness::Held { age_ns: 1 });
    assert_eq!((&held.attributes, held.keypoints.len()), (&full.attributes, 1));
    assert_eq!(later(6, 0.31, Freshness::Fresh).attributes, full.attributes);
    let old = later(7, 0.31, Freshness::Fresh);
    assert_eq!((old.attributes.len(), old.keypoints.len(), old.embedding), (0, 0, None));
}

#[test]
fn objects_in_objects_point_to_the_right_one() {
    let mut h = harness();
    let family = |ids: [u32; 4]| {
        let [one, two, face_one, face_two] = ids;
        let mut all = objects(&[0.2, 0.6, 0.22, 0.62]);
        all.iter_mut().zip(ids).for_each(|(o, id)| o.id = id);
        for (face, parent) in [(2, one), (3, two)] {
            let face: &mut Object = &mut all[face];
            face.label = "face".into();
            face.parent = Some(parent);
            face.bbox = BBox { w: 0.05, h: 0.1, ..face.bbox };
        }
        assert_eq!((all[2].id, all[3].id), (face_one, face_two));
        all
    };
    let parents = |r: &FrameResult| {
        let owner = |f: &Object| r.objects.iter().find(|o| Some(o.id) == f.parent).map(|o| o.track.unwrap().id);
        let faces = r.objects.iter().filter(|o| &*o.label == "face");
        faces.map(|f| (f.track.unwrap().id, owner(f))).collect::<Vec<_>>()
    };
    let expected = [(3, Some(1)), (4, Some(2))];
    let (_, first) = run(&mut h, Some(FRAME), result(Freshness::Fresh, family([5, 6, 7, 8])));
    assert_eq!(parents(&first), expected);
    // Not analysed: the ids are new.
    let (_, held) = run(&mut h, Some(FRAME * 2), result(Freshness::Held { age_ns: 1 }, Vec::new()));
    assert_eq!(parents(&held), expected);
    let (_, fresh) = run(&mut h, Some(FRAME * 3), result(Freshness::Fresh, family([9, 1, 3, 0])));
    assert_eq!(parents(&fresh), expected);
    // A predicted face in a person that was seen, appended with an id of its own.
    h.element().unwrap().set_property("coast-time", (FRAME * 10).nseconds());
    let mut seen = family([9, 1, 3, 0]);
    seen.remove(2);
    let (_, coasted) = run(&mut h, Some(FRAME * 4), result(Freshness::Fresh, seen));
    let mut found = parents(&coasted);
    found.sort_unstable();
    assert_eq!(found, expected);
    assert_eq!(coasted.objects[3].id, 10);
    // Weak persons are removed, their faces stay without one.
    h.element().unwrap().set_property("confirmed-only", true);
    h.element().unwrap().set_property("coast-time", 0u64);
    let mut weak = family([9, 1, 3, 0]);
    weak[0].confidence = 0.01;
    let (_, left) = run(&mut h, Some(FRAME * 5), result(Freshness::Fresh, weak));
    assert_eq!(left.objects.iter().map(|o| (o.id, o.parent)).collect::<Vec<_>>(), [(1, None), (3, None), (0, Some(1))]);
}

#[test]
fn identities_live_on_when_the_model_before_is_replaced() {
    use common::bundles::{DARK, good, good_other};

    common::init();
    let folder = tempfile::tempdir().unwrap();
    let [one, other] = [good("1"), good_other("2")].map(|bundle| bundle.folder(folder.path()).display().to_string());
    let line = format!("vigilinfer name=infer model={one} probation-time=0 probation-frames=2 ! vigiltrack");
    let bin = gst::parse::bin_from_description(&line, true).unwrap();
    let bus = gst::Bus::new();
    bin.set_bus(Some(&bus));
    let infer = bin.by_name("infer").unwrap();
    let mut h = Harness::with_element(&bin, Some("sink"), Some("src"));
    h.play();
    h.set_src_caps(common::caps(gst_video::VideoFormat::Rgb, DARK.size.0, DARK.size.1));
    let begun = std::time::Instant::now();
    let (mut classes, mut confirmed) = (Vec::new(), false);
    for n in 0.. {
        let mut buffer = gst::Buffer::from_slice(DARK.rgb());
        buffer.get_mut().unwrap().set_pts(FRAME * n);
        let seen = meta::get(&h.push_and_pull(buffer).unwrap()).unwrap();
        assert_eq!(ids(&seen), [1], "frame {n}");
        assert_eq!(seen.objects[0].track.unwrap().state, TrackState::Confirmed);
        classes.push(seen.objects[0].class_id);
        if confirmed {
            break;
        }
        if n == 3 {
            infer.set_property("model", &other);
        }
        for message in common::messages(&bus, gst::MessageType::Element) {
            let phase = message.structure().and_then(|s| s.get::<String>("phase").ok());
            assert!(phase.as_deref() != Some("rejected") && phase.as_deref() != Some("rolled-back"), "{message:?}");
            confirmed |= phase.as_deref() == Some("confirmed");
        }
        assert!(begun.elapsed() < std::time::Duration::from_secs(60), "the swap does not end");
    }
    // Red is class 0 of the one and class 1 of the other.
    classes.dedup();
    assert_eq!(classes, [0, 1]);
}
