use std::sync::Arc;

use super::*;
use crate::result::{AbsentReason, BBox, FrameClass, ModelId, Track};

fn frame(confidences: &[f32]) -> FrameResult {
    let mut result = FrameResult::absent(AbsentReason::Skipped, (640, 480));
    result.freshness = Freshness::Fresh;
    result.model = Some(Arc::new(ModelId { name: "m".into(), release: "1".into(), digest: String::new() }));
    let bbox = BBox { x: 0.0, y: 0.0, w: 0.1, h: 0.1 };
    let object = |(i, &confidence): (usize, &f32)| Object::new(i as u32, 0, "person".into(), confidence, bbox);
    result.objects = confidences.iter().enumerate().map(object).collect();
    result
}

/// A frame of objects with this confidence: `found` by the model, `predicted` by a tracker.
fn tracked(confidence: f32, found: usize, predicted: usize) -> FrameResult {
    let mut result = frame(&vec![confidence; found + predicted]);
    for (i, object) in result.objects.iter_mut().enumerate() {
        let state = if i < found { TrackState::Confirmed } else { TrackState::Predicted };
        object.track = Some(Track { id: 1 + i as u64, state, age_ns: 0, unseen_ns: 0, velocity: (0.0, 0.0) });
    }
    result
}

fn class(confidence: f32) -> FrameResult {
    let mut result = frame(&[]);
    for (label, confidence) in [("good", confidence), ("bad", 1.0 - confidence)] {
        result.classes.push(FrameClass { class_id: 0, label: label.into(), confidence });
    }
    result
}

fn at(seconds: u64) -> Now {
    Now { monotonic: Duration::from_secs(seconds), utc_ns: 0 }
}

fn reason(result: &FrameResult, state: State) -> Option<SampleReason> {
    Sampler::new(SamplerConfig::default()).want(result, state, at(0))
}

#[test]
fn each_reason_has_its_frames() {
    let sure = frame(&[0.9, 0.35]);
    assert_eq!(reason(&sure, State::Stable), None);
    assert_eq!(reason(&frame(&[]), State::Stable), None, "nothing found is no low confidence");
    assert_eq!(reason(&frame(&[0.45, f32::NAN]), State::Stable), Some(SampleReason::LowConfidence));
    assert_eq!(reason(&frame(&[0.5]), State::Stable), None, "without its end");
    assert_eq!(reason(&frame(&[0.02, 0.01]), State::Stable), Some(SampleReason::LowConfidence), "down to nothing");
    assert_eq!(reason(&sure, State::Drifting), Some(SampleReason::Drift));
    assert_eq!(reason(&sure, State::Unknown), None);
    let mut held = tracked(0.4, 1, 1);
    held.freshness = Freshness::Held { age_ns: 1 };
    assert_eq!(reason(&held, State::Drifting), None, "nobody looked");
}

#[test]
fn a_classifier_is_as_sure_as_its_first_class() {
    assert_eq!(reason(&class(0.4), State::Stable), Some(SampleReason::LowConfidence));
    assert_eq!(reason(&class(0.9), State::Stable), None);
    let mut both = class(0.4);
    both.objects = frame(&[0.9]).objects;
    assert_eq!(reason(&both, State::Stable), None, "of a frame with objects they count");
}

#[test]
fn a_model_that_misses_what_the_tracker_follows_disagrees() {
    assert_eq!(reason(&tracked(0.9, 1, 1), State::Stable), Some(SampleReason::Disagreement), "half of them");
    assert_eq!(reason(&tracked(0.9, 0, 1), State::Drifting), Some(SampleReason::Disagreement));
    assert_eq!(reason(&tracked(0.9, 2, 1), State::Stable), None);
    let strict = SamplerConfig { disagreement: 1.0 / 3.0, ..SamplerConfig::default() };
    assert_eq!(Sampler::new(strict).want(&tracked(0.9, 2, 1), State::Stable, at(0)), Some(SampleReason::Disagreement));
    // The confidence of a prediction is an old one.
    let mut mixed = tracked(0.9, 2, 1);
    mixed.objects.iter_mut().take(2).for_each(|object| object.confidence = 0.4);
    assert_eq!(reason(&mixed, State::Stable), Some(SampleReason::LowConfidence));
    // Faces that a second model did not look for on this frame.
    let mut faces = tracked(0.9, 1, 3);
    faces.objects.iter_mut().skip(1).for_each(|face| face.parent = Some(0));
    assert_eq!(reason(&faces, State::Stable), None);
}

#[test]
fn the_budget_is_kept_and_spread() {
    let unsure = frame(&[0.4]);
    let mut sampler = Sampler::new(SamplerConfig::default());
    let mut take = |second| {
        let wanted = sampler.want(&unsure, State::Stable, at(second)).is_some();
        if wanted {
            sampler.took();
        }
        wanted
    };
    let taken: Vec<u64> = (0..36_000).filter(|&second| take(second)).collect();
    assert_eq!(taken.len(), 120, "12 in each of 10 hours");
    assert!(taken.windows(2).all(|pair| pair[1] - pair[0] == 300));
    let mut none = Sampler::new(SamplerConfig { per_hour: 0, ..SamplerConfig::default() });
    assert_eq!(none.want(&unsure, State::Drifting, at(0)), None);
}

#[test]
fn what_was_not_taken_is_no_part_of_the_budget() {
    let unsure = frame(&[0.4]);
    let mut sampler = Sampler::new(SamplerConfig::default());
    assert!((0..10).all(|second| sampler.want(&unsure, State::Stable, at(second)).is_some()));
    sampler.took();
    assert_eq!(sampler.want(&unsure, State::Stable, at(10)), None);
}

#[test]
fn a_file_that_begins_anew_neither_stops_nor_multiplies_samples() {
    let unsure = frame(&[0.4]);
    let mut sampler = Sampler::new(SamplerConfig::default());
    let mut taken = Vec::new();
    // A clip of 11 s, played again and again for an hour and a bit.
    for n in 0..3630 {
        if sampler.want(&unsure, State::Stable, at(n % 11)).is_some() {
            sampler.took();
            taken.push(n);
        }
    }
    // Each return costs the second between its last frame and its first one.
    assert!(taken.windows(2).all(|pair| (300..=330).contains(&(pair[1] - pair[0]))), "{taken:?}");
    assert!((11..=13).contains(&taken.len()), "{taken:?}");
}

#[test]
fn reasons_can_be_switched_off() {
    let off = SamplerConfig { below: 0.0, disagreement: 0.0, drift: false, per_hour: 1000 };
    let mut sampler = Sampler::new(off);
    assert_eq!(sampler.want(&tracked(0.0, 1, 9), State::Drifting, at(0)), None);
}
