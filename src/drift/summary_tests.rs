use std::sync::Arc;

use super::*;
use crate::result::{AbsentReason, BBox, FrameClass, ModelId, Object, Track};

fn frame(objects: &[(&str, f32, f32)]) -> FrameResult {
    let mut result = FrameResult::absent(AbsentReason::Skipped, (640, 480));
    result.freshness = Freshness::Fresh;
    result.model = Some(Arc::new(ModelId { name: "m".into(), release: "1".into(), digest: "ab".repeat(32) }));
    for (i, &(label, confidence, side)) in objects.iter().enumerate() {
        let bbox = BBox { x: 0.0, y: 0.0, w: side, h: side };
        result.objects.push(Object::new(i as u32, 0, label.into(), confidence, bbox));
    }
    result
}

#[test]
fn a_frame_is_counted_in_every_aspect() {
    let mut summary = Summary::default();
    assert_eq!((summary.mean_confidence(), summary.share("person"), summary.objects_per_frame()), (None, None, None));
    assert!(summary.add(&frame(&[("person", 0.5, 0.5), ("person", 1.0, 0.25), ("car", 0.75, 0.125)])));
    assert!(summary.add(&frame(&[])));
    assert_eq!((summary.frames(), summary.empty_frames(), summary.objects()), (2, 1, 3));
    assert_eq!(summary.objects_per_frame(), Some(1.5));
    assert_eq!(summary.mean_confidence(), Some(0.75));
    assert_eq!(summary.mean_area_log2(), Some(-4.0), "of -2, -4 and -6");
    assert_eq!(summary.share("person"), Some(2.0 / 3.0));
    assert_eq!(summary.share("dog"), Some(0.0));
    let confidence = summary.histogram(Aspect::Confidence).unwrap();
    assert_eq!((confidence[10], confidence[15], confidence[19]), (1.0 / 3.0, 1.0 / 3.0, 1.0 / 3.0));
    let area = summary.histogram(Aspect::BoxSize).unwrap();
    assert_eq!((area[4], area[8], area[12]), (1.0 / 3.0, 1.0 / 3.0, 1.0 / 3.0));
    let counts = summary.histogram(Aspect::ObjectsPerFrame).unwrap();
    assert_eq!((counts[0], counts[3]), (0.5, 0.5));
    assert_eq!(summary.histogram(Aspect::ClassMix), None);
}

#[test]
fn only_what_the_model_itself_saw_on_this_frame_counts() {
    let mut summary = Summary::default();
    let mut held = frame(&[("person", 0.9, 0.5)]);
    held.freshness = Freshness::Held { age_ns: 1 };
    assert!(!summary.add(&held));
    assert!(!summary.add(&FrameResult::absent(AbsentReason::EngineError, (640, 480))));
    let mut mixed = frame(&[("person", 0.9, 0.5), ("face", 0.9, 0.1), ("person", 0.9, 0.5)]);
    mixed.objects[1].parent = Some(0);
    mixed.objects[2].track =
        Some(Track { id: 1, state: TrackState::Predicted, age_ns: 2, unseen_ns: 1, velocity: (0.0, 0.0) });
    assert!(summary.add(&mixed));
    assert_eq!((summary.frames(), summary.objects(), summary.classified()), (1, 1, 1));
}

#[test]
fn a_classifiers_first_class_counts() {
    let mut summary = Summary::default();
    let mut result = frame(&[]);
    result.classes = [("cat", 0.8), ("dog", 0.2)]
        .map(|(label, confidence)| FrameClass { class_id: 0, label: label.into(), confidence })
        .to_vec();
    assert!(summary.add(&result));
    assert_eq!((summary.share("cat"), summary.objects(), summary.classified()), (Some(1.0), 0, 1));
    assert!((summary.mean_confidence().unwrap() - 0.8).abs() < 1e-6);
}

#[test]
fn impossible_numbers_are_left_out_and_do_no_harm() {
    let mut summary = Summary::default();
    for v in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, -1.0, 1e30, 0.0] {
        summary.add(&frame(&[("person", v, v)]));
    }
    assert_eq!(summary.objects(), 6);
    let json = serde_json::to_string(&summary).unwrap();
    assert_eq!(serde_json::from_str::<Summary>(&json).unwrap(), summary);
    assert!(summary.mean_confidence().unwrap().is_finite() && summary.mean_area_log2().is_none_or(f64::is_finite));
}

#[test]
fn two_halves_add_up_to_the_whole() {
    let frames: Vec<FrameResult> = (0..40)
        .map(|i| {
            let objects: Vec<_> =
                (0..i % 7).map(|k| (["a", "b", "c"][(i + k) % 3], 0.5 + 0.01 * k as f32, 0.3)).collect();
            frame(&objects)
        })
        .collect();
    let (mut whole, mut a, mut b) = (Summary::default(), Summary::default(), Summary::default());
    for (i, frame) in frames.iter().enumerate() {
        whole.add(frame);
        if i < 13 {
            a.add(frame)
        } else {
            b.add(frame)
        };
    }
    a.merge(&b);
    let close = |x: f64, y: f64| (x - y).abs() < 1e-9;
    assert!(close(a.confidence_sum, whole.confidence_sum) && close(a.area_log2_sum, whole.area_log2_sum));
    (a.confidence_sum, a.area_log2_sum) = (whole.confidence_sum, whole.area_log2_sum);
    assert_eq!(a, whole);
}

#[test]
fn memory_is_bounded_whatever_the_labels() {
    let mut summary = Summary::default();
    for i in 0..1000 {
        summary.add(&frame(&[(&format!("label {i}"), 0.5, 0.1)]));
    }
    summary.add(&frame(&[(&"x".repeat(MAX_LABEL + 1), 0.5, 0.1)]));
    assert_eq!((summary.classes().count(), summary.classified()), (MAX_LABELS, 1001));
    let mut other = Summary::default();
    (0..50).for_each(|i| _ = other.add(&frame(&[(&format!("new {i}"), 0.5, 0.1)])));
    summary.merge(&other);
    assert_eq!((summary.classes().count(), summary.classified()), (MAX_LABELS, 1051));
    assert!((summary.other_share().unwrap() - (1051.0 - 64.0) / 1051.0).abs() < 1e-12);
}

#[test]
fn a_strangers_document_cannot_do_harm() {
    let classes = |n: usize| (0..n).map(|i| format!("\"{i}\":1")).collect::<Vec<_>>().join(",");
    let document = |n| format!("{{\"frames\":1,\"classes\":{{{}}}}}", classes(n));
    assert!(serde_json::from_str::<Summary>(&document(64)).is_ok());
    assert!(serde_json::from_str::<Summary>(&document(65)).is_err());
    assert!(serde_json::from_str::<Summary>("{\"confidence\":[1,2]}").is_err(), "other bins");
    let full: Summary = serde_json::from_str(
        "{\"frames\":18446744073709551615,\"objects\":18446744073709551615,\"other\":18446744073709551615,\
         \"confidence_sum\":1e308,\"classes\":{\"a\":18446744073709551615}}",
    )
    .unwrap();
    let mut sum = full.clone();
    sum.merge(&full);
    sum.merge(&full);
    assert_eq!(sum.frames(), u64::MAX);
    assert_eq!(sum.mean_confidence(), None, "no histogram");
    assert!(sum.share("a").unwrap() <= 1.0);
    assert_eq!(serde_json::from_str::<Summary>("{}").unwrap(), Summary::default());
}

#[test]
fn how_many_were_in_view_together() {
    let mut summary = Summary::default();
    assert_eq!(summary.together(0.01), 0);
    (0..99).for_each(|_| _ = summary.add(&frame(&[("a", 0.5, 0.1)])));
    summary.add(&frame(&[("a", 0.5, 0.1); 7]));
    assert_eq!(summary.together(0.01), 6, "the bin of 6 and 7");
    assert_eq!(summary.together(0.02), 1);
}
