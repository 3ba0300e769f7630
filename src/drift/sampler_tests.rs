use std::sync::Arc;

use super::*;
use crate::result::{AbsentReason, BBox, ModelId};

fn frame(objects: &[(&str, f32, f32)]) -> FrameResult {
    let mut result = FrameResult::absent(AbsentReason::Skipped, (640, 480));
    result.freshness = Freshness::Fresh;
    result.model = Some(Arc::new(ModelId { name: "m".into(), release: "1".into(), digest: String::new() }));
    for (i, &(label, confidence, x)) in objects.iter().enumerate() {
        let bbox = BBox { x, y: 0.0, w: 0.1, h: 0.1 };
        result.objects.push(Object::new(i as u32, 0, label.into(), confidence, bbox));
    }
    result
}

fn at(seconds: u64) -> Now {
    Now { monotonic: Duration::from_secs(seconds), utc_ns: 0 }
}

fn reason(result: &FrameResult, second: Option<&FrameResult>, state: State) -> Option<SampleReason> {
    Sampler::new(SamplerConfig::default()).want(result, second, state, at(0))
}

#[test]
fn each_reason_has_its_frames() {
    let sure = frame(&[("person", 0.9, 0.0), ("person", 0.35, 0.5)]);
    let unsure = frame(&[("person", 0.45, 0.0), ("person", f32::NAN, 0.5)]);
    assert_eq!(reason(&sure, None, State::Stable), None);
    assert_eq!(reason(&frame(&[]), None, State::Stable), None, "nothing found is no low confidence");
    assert_eq!(reason(&unsure, None, State::Stable), Some(SampleReason::LowConfidence));
    assert_eq!(reason(&frame(&[("person", 0.5, 0.0)]), None, State::Stable), None, "without its end");
    assert_eq!(reason(&frame(&[("person", 0.3, 0.0)]), None, State::Stable), Some(SampleReason::LowConfidence));
    assert_eq!(reason(&sure, None, State::Drifting), Some(SampleReason::Drift));
    assert_eq!(reason(&sure, None, State::Unknown), None);
    let elsewhere = frame(&[("person", 0.9, 0.0), ("person", 0.9, 0.8)]);
    assert_eq!(reason(&sure, Some(&sure), State::Stable), None);
    assert_eq!(reason(&sure, Some(&elsewhere), State::Stable), Some(SampleReason::Disagreement), "half of them");
    let other_class = frame(&[("dog", 0.9, 0.0), ("person", 0.35, 0.5)]);
    assert_eq!(reason(&sure, Some(&other_class), State::Stable), Some(SampleReason::Disagreement));
    let mut held = elsewhere.clone();
    held.freshness = Freshness::Held { age_ns: 1 };
    assert_eq!(reason(&sure, Some(&held), State::Stable), None, "not about the same frame");
    assert_eq!(reason(&held, None, State::Drifting), None);
}

#[test]
fn the_budget_is_kept_and_spread() {
    let unsure = frame(&[("person", 0.4, 0.0)]);
    let mut sampler = Sampler::new(SamplerConfig { per_hour: 12, ..SamplerConfig::default() });
    let taken: Vec<u64> =
        (0..36_000).filter(|&s| sampler.want(&unsure, None, State::Stable, at(s)).is_some()).collect();
    assert_eq!(taken.len(), 120, "12 in each of 10 hours");
    assert!(taken.windows(2).all(|pair| pair[1] - pair[0] == 300));
    let mut none = Sampler::new(SamplerConfig { per_hour: 0, ..SamplerConfig::default() });
    assert_eq!(none.want(&unsure, None, State::Drifting, at(0)), None);
}

#[test]
fn reasons_can_be_switched_off() {
    let off = SamplerConfig { low: None, disagreement: None, drift: false, per_hour: 1000 };
    let mut sampler = Sampler::new(off);
    let unsure = frame(&[("person", 0.4, 0.0)]);
    assert_eq!(sampler.want(&unsure, Some(&frame(&[])), State::Drifting, at(0)), None);
    let mut strict = Sampler::new(SamplerConfig { disagreement: Some(0.0), ..off });
    assert_eq!(strict.want(&unsure, Some(&unsure), State::Stable, at(0)), None, "0 still needs a difference");
}
