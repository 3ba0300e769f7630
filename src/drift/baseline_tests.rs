use std::sync::Arc;

use super::*;
use crate::result::{AbsentReason, BBox, FrameResult, Freshness, ModelId, Object};

/// splitmix64, 0..1.
fn uniform(n: u64) -> f64 {
    let z = n.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
}

/// Roughly normal, variance 1.
fn normal(n: u64) -> f64 {
    (0..12).map(|i| uniform(12 * n + i)).sum::<f64>() - 6.0
}

/// An AR(1) series of variance 1.
fn correlated(phi: f64, n: usize, seed: u64) -> Vec<f64> {
    let mut x = 0.0;
    let mut next = |i: usize| {
        x = phi * x + (1.0 - phi * phi).sqrt() * normal(seed * 1_000_000 + i as u64);
        x
    };
    (0..n).map(&mut next).collect()
}

/// A window of 100 frames with `n` objects on each.
fn window(slot: usize, n: usize, confidence: f64) -> Window {
    let mut result = FrameResult::absent(AbsentReason::Skipped, (640, 480));
    result.freshness = Freshness::Fresh;
    result.model = Some(Arc::new(ModelId { name: "m".into(), release: "1".into(), digest: "ab".repeat(32) }));
    let bbox = BBox { x: 0.0, y: 0.0, w: 0.1, h: 0.2 };
    result.objects = (0..n).map(|i| Object::new(i as u32, 0, "person".into(), confidence as f32, bbox)).collect();
    let mut summary = Summary::default();
    (0..100).for_each(|_| _ = summary.add(&result));
    Window { summary, slot, from_utc_ns: 1, until_utc_ns: 2 }
}

#[test]
fn correlated_values_count_for_less() {
    let independent = long_run_variance(&correlated(0.0, 4000, 1));
    assert!((0.9..1.4).contains(&independent), "{independent}");
    // In truth (1 + φ) / (1 − φ) = 3; blocks of 8 see 2.5 of it.
    let alike = long_run_variance(&correlated(0.5, 4000, 2));
    assert!((2.0..3.2).contains(&alike), "{alike}");
    assert!((memory(&correlated(0.5, 4000, 2)) - 0.5).abs() < 0.08);
    assert!(memory(&correlated(0.0, 4000, 1)) < 0.08);
    assert_eq!(memory(&correlated(0.99, 4000, 3)), MOST_MEMORY);
    assert_eq!((memory(&[]), long_run_variance(&[])), (0.0, 0.0));
}

#[test]
fn no_bet_gains_on_the_baseline_itself() {
    let mut values = correlated(0.0, 300, 4);
    values[17] = 9.0;
    let scale = fair_scale(1.0, &values);
    assert!(scale > 1.5, "the odd window makes the test less sharp: {scale}");
    for bet in BETS {
        let mean = mean_e_value(bet, values.iter().map(|v| v / scale));
        assert!(mean <= 1.0, "bet {bet}: {mean}");
    }
    assert!(fair_scale(f64::MIN_POSITIVE, &[f64::NAN; 3]).is_finite());
}

#[test]
fn a_baseline_needs_windows_and_objects() {
    let windows = |n: usize, objects| (0..n).map(|i| window(i * 4 / n, objects, 0.7)).collect::<Vec<_>>();
    assert!(Baseline::learn(&windows(10, 3), 4, None).is_none());
    assert!(Baseline::learn(&windows(300, 0), 4, None).is_none());
    let baseline = Baseline::learn(&windows(300, 12), 4, None).unwrap();
    let features: Vec<_> = baseline.features.iter().map(|f| f.feature.clone()).collect();
    assert_eq!(features, Feature::all(&window(0, 1, 0.7).summary));
    for aspect in crate::drift::Aspect::ALL {
        let weight: f64 = baseline.features.iter().filter(|f| f.feature.aspect() == aspect).map(|f| f.weight).sum();
        assert!((weight - 1.0).abs() < 1e-12, "{aspect:?}: {weight}");
    }
}

#[test]
fn a_slot_that_knows_too_little_borrows_from_the_whole() {
    let mut windows: Vec<Window> =
        (0..300).map(|i| window(usize::from(i >= 150), 12, 0.6 + 0.2 * f64::from(i >= 150))).collect();
    windows.extend((0..5).map(|_| window(2, 30, 0.9)));
    let baseline = Baseline::learn(&windows, 4, None).unwrap();
    assert_eq!([0, 1, 2, 3].map(|slot| baseline.borrows(slot)), [false, false, true, true]);
    let confidence = baseline.features.iter().find(|f| f.feature == Feature::Confidence).unwrap();
    let by = |slot, confidence_now| {
        baseline.deviation(confidence, &Sample::of(&window(slot, 12, confidence_now))).unwrap().by
    };
    assert!(by(0, 0.6).abs() < 0.02 && by(1, 0.8).abs() < 0.02, "each slot has its own");
    assert!((by(0, 0.7) - 0.1).abs() < 0.02);
    assert!((by(3, 0.8) - 0.1).abs() < 0.02, "the whole is at 0.7: {}", by(3, 0.8));
    let count = baseline.features.iter().find(|f| f.feature == Feature::Count).unwrap();
    let more = baseline.deviation(count, &Sample::of(&window(2, 30, 0.9))).unwrap().by;
    assert!((more - (30f64.sqrt() - 12f64.sqrt())).abs() < 0.1, "five windows are no baseline of their own: {more}");
}

#[test]
fn the_bundles_distribution_is_the_centre_where_there_is_one() {
    let windows: Vec<Window> = (0..300).map(|i| window(i * 4 / 300, 12, 0.6 + 0.01 * (i % 3) as f64)).collect();
    let reference = window(0, 12, 0.8).summary;
    let baseline = Baseline::learn(&windows, 4, Some(&reference)).unwrap();
    assert!(baseline.is_reference() && !baseline.borrows(0));
    let confidence = baseline.features.iter().find(|f| f.feature == Feature::Confidence).unwrap();
    let deviation = baseline.deviation(confidence, &Sample::of(&window(0, 12, 0.6))).unwrap();
    assert!((deviation.by + 0.2).abs() < 0.01, "{deviation:?}");
}

#[test]
fn quiet_windows_are_joined_until_there_is_enough_to_see() {
    let windows: Vec<Window> = (0..300).map(|i| window(0, 12 + i % 2, 0.7)).collect();
    let baseline = Baseline::learn(&windows, 1, None).unwrap();
    let mut sample = Sample::default();
    let complete: Vec<bool> = (0..16).map(|_| baseline.gather(&mut sample, &window(0, 1, 0.7)).is_some()).collect();
    let first = complete.iter().position(|&c| c).unwrap();
    assert_eq!(first, 12, "12.5 objects are a sample, 1 is in a window: {complete:?}");
    assert!(baseline.gather(&mut Sample::default(), &window(0, 13, 0.7)).is_some());
}
