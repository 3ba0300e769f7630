//! Greedy non-maximum suppression: of boxes that overlap too much, the most confident stays.

use std::cmp::Ordering;

use super::{Candidate, Candidates, Nms, Thresholds};

/// Most candidates that are compared at all, the most confident first; the same cap as Ultralytics' `max_nms`. A
/// broken model may propose every anchor.
pub const MAX_CANDIDATES: usize = 30_000;

/// Most confident first. Equal scores fall back on class and corners, so that the order of a result never depends on
/// the order of the candidates.
fn rank(a: &Candidate, b: &Candidate) -> Ordering {
    b.score
        .total_cmp(&a.score)
        .then(a.class_id.cmp(&b.class_id))
        .then(a.x1.total_cmp(&b.x1))
        .then(a.y1.total_cmp(&b.y1))
        .then(a.x2.total_cmp(&b.x2))
        .then(a.y2.total_cmp(&b.y2))
}

/// Keeps the `max` most confident candidates, most confident first.
pub fn most_confident(candidates: &mut Candidates, max: usize) {
    if max < candidates.len() {
        candidates.select_nth_unstable_by(max, rank);
        candidates.truncate(max);
    }
    candidates.sort_unstable_by(rank);
}

/// Keeps one candidate of each object, as `how` tells them apart, and at most `max-objects` of them; most confident first.
pub fn reduce(candidates: &mut Candidates, how: Nms, thresholds: &Thresholds) {
    let Thresholds { iou, class_agnostic, max_objects, .. } = *thresholds;
    match how {
        Nms::None => most_confident(candidates, max_objects),
        Nms::Upright => suppress(candidates, iou, class_agnostic, max_objects),
        // As Ultralytics has it for turned boxes ("fast NMS"; Bolya et al., *YOLACT*, 2019; `ultralytics/utils/nms.py`).
        Nms::Turned => suppress_by(candidates, Judges::All, class_agnostic, max_objects, |a, b| probiou(a, b) > iou),
    }
}

/// Suppresses what overlaps a more confident candidate by an IoU over `iou`, within a class or, if `class_agnostic`,
/// over all of them, and keeps at most `max`. Leaves the survivors most confident first.
///
/// Needs guarded candidates (finite, not empty). Compares each with the survivors only, so the cost is bounded by
/// [`MAX_CANDIDATES`] × `max`.
pub fn suppress(candidates: &mut Candidates, iou: f32, class_agnostic: bool, max: usize) {
    suppress_by(candidates, Judges::Kept, class_agnostic, max, |a, b| a.bbox().iou(&b.bbox()) > iou);
}

/// Which more confident candidates may suppress another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Judges {
    /// Those that are kept.
    Kept,
    /// All, even those that are suppressed themselves.
    All,
}

fn suppress_by(
    candidates: &mut Candidates,
    judges: Judges,
    class_agnostic: bool,
    max: usize,
    same: impl Fn(&Candidate, &Candidate) -> bool,
) {
    most_confident(candidates, MAX_CANDIDATES);
    // Those that are kept stand first, the others behind them, so that every more confident one is in `..i`.
    let mut kept = 0;
    for i in 0..candidates.len() {
        if kept == max {
            break;
        }
        let candidate = candidates[i];
        let before = if judges == Judges::Kept { kept } else { i };
        let hidden = candidates[..before]
            .iter()
            .any(|k| (class_agnostic || k.class_id == candidate.class_id) && same(k, &candidate));
        if !hidden {
            candidates.swap(kept, i);
            kept += 1;
        }
    }
    candidates.truncate(kept);
}

/// How much two turned boxes agree, 0..1: the Hellinger distance of the Gaussians that they stand for, as Ultralytics
/// suppresses oriented boxes (Llerena et al., *Gaussian Bounding Boxes and Probabilistic Intersection-over-Union*, 2021;
/// `ultralytics/utils/metrics.py`, `batch_probiou`).
fn probiou(a: &Candidate, b: &Candidate) -> f32 {
    const EPS: f32 = 1e-7;
    let covariance = |c: &Candidate| {
        let (w, h) = (c.x2 - c.x1, c.y2 - c.y1);
        let (w, h) = (w * w / 12.0, h * h / 12.0);
        let (sin, cos) = c.angle.sin_cos();
        (w * cos * cos + h * sin * sin, w * sin * sin + h * cos * cos, (w - h) * cos * sin)
    };
    let (dx, dy) = ((a.x1 + a.x2 - b.x1 - b.x2) * 0.5, (a.y1 + a.y2 - b.y1 - b.y2) * 0.5);
    let ((a1, b1, c1), (a2, b2, c2)) = (covariance(a), covariance(b));
    let (sa, sb, sc) = (a1 + a2, b1 + b2, c1 + c2);
    let det = sa * sb - sc * sc;
    let t1 = (sa * dy * dy + sb * dx * dx) / (det + EPS) * 0.25;
    let t2 = -sc * dx * dy / (det + EPS) * 0.5;
    let dets = (a1 * b1 - c1 * c1).max(0.0) * (a2 * b2 - c2 * c2).max(0.0);
    let t3 = (det / (4.0 * dets.sqrt() + EPS) + EPS).ln() * 0.5;
    let bd = (t1 + t2 + t3).clamp(EPS, 100.0);
    1.0 - (1.0 - (-bd).exp() + EPS).sqrt()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn square(x: f32, score: f32, class_id: u32) -> Candidate {
        Candidate { x1: x, y1: 0.0, x2: x + 10.0, y2: 10.0, score, class_id, ..Candidate::default() }
    }

    #[test]
    fn the_more_confident_of_two_overlapping_boxes_stays() {
        // 10 × 10 boxes 2 apart: 80 / 120 = 0.667.
        let boxes = vec![square(0.0, 0.6, 0), square(2.0, 0.9, 0)];
        let mut found = boxes.clone();
        suppress(&mut found, 0.66, false, 10);
        assert_eq!(found, [square(2.0, 0.9, 0)]);
        let mut found = boxes;
        suppress(&mut found, 0.67, false, 10);
        assert_eq!(found, [square(2.0, 0.9, 0), square(0.0, 0.6, 0)]);
    }

    #[test]
    fn a_suppressed_box_suppresses_nothing() {
        // 0 and 4 overlap by 60/140 = .43, 4 and 8 too; 0 and 8 by 20/180 = .11.
        let mut found = vec![square(0.0, 0.9, 0), square(4.0, 0.8, 0), square(8.0, 0.7, 0)];
        suppress(&mut found, 0.4, false, 10);
        assert_eq!(found, [square(0.0, 0.9, 0), square(8.0, 0.7, 0)]);
    }

    #[test]
    fn of_turned_boxes_a_suppressed_one_suppresses_too() {
        let thresholds =
            Thresholds { confidence: 0.0, iou: 0.5, per_class: Vec::new(), max_objects: 10, class_agnostic: false };
        let (a, b, c) = (square(0.0, 0.9, 0), square(3.0, 0.8, 0), square(6.0, 0.7, 0));
        assert!(probiou(&a, &b) > 0.5 && probiou(&b, &c) > 0.5 && probiou(&a, &c) < 0.5);
        let mut found = vec![c, a, square(6.0, 0.6, 1), b];
        reduce(&mut found, Nms::Turned, &thresholds);
        assert_eq!(found, [a, square(6.0, 0.6, 1)]);
        let mut found = vec![c, a];
        reduce(&mut found, Nms::Turned, &thresholds);
        assert_eq!(found, [a, c]);
    }

    #[test]
    fn classes_are_apart_unless_agnostic() {
        let boxes = vec![square(0.0, 0.9, 0), square(0.0, 0.8, 1)];
        let mut found = boxes.clone();
        suppress(&mut found, 0.5, false, 10);
        assert_eq!(found.len(), 2);
        let mut found = boxes;
        suppress(&mut found, 0.5, true, 10);
        assert_eq!(found, [square(0.0, 0.9, 0)]);
    }

    #[test]
    fn more_candidates_than_the_cap_are_cut_by_score() {
        let count = MAX_CANDIDATES + 1000;
        let mut found: Candidates =
            (0..count).map(|i| square(i as f32 * 20.0, (i as f32 + 1.0) / (count as f32 + 1.0), 0)).collect();
        suppress(&mut found, 0.5, false, 3);
        let xs: Vec<f32> = found.iter().map(|c| c.x1).collect();
        assert_eq!(xs, [(count - 1) as f32 * 20.0, (count - 2) as f32 * 20.0, (count - 3) as f32 * 20.0]);
    }

    fn any_candidate() -> impl Strategy<Value = Candidate> {
        (0.0f32..80.0, 0.0f32..80.0, 1.0f32..40.0, 1.0f32..40.0, 0u8..=20, 0u32..3).prop_map(|(x, y, w, h, s, c)| {
            // Few distinct scores, so that ties are common.
            Candidate {
                x1: x,
                y1: y,
                x2: x + w,
                y2: y + h,
                score: f32::from(s) / 20.0,
                class_id: c,
                ..Candidate::default()
            }
        })
    }

    proptest! {
        #[test]
        fn survivors_are_few_sorted_apart_and_every_other_is_hidden(
            input in prop::collection::vec(any_candidate(), 0..60),
            iou in 0.1f32..0.9,
            agnostic: bool,
            max in 0usize..70,
        ) {
            let mut found = input.clone();
            suppress(&mut found, iou, agnostic, max);
            let same = |a: &Candidate, b: &Candidate| agnostic || a.class_id == b.class_id;
            prop_assert!(found.len() <= max);
            prop_assert!(found.windows(2).all(|w| w[0].score >= w[1].score));
            for (i, a) in found.iter().enumerate() {
                prop_assert!(input.contains(a));
                for b in &found[i + 1..] {
                    prop_assert!(!same(a, b) || a.bbox().iou(&b.bbox()) <= iou);
                }
            }
            if found.len() < max {
                for c in input.iter().filter(|c| !found.contains(c)) {
                    let hides = |k: &Candidate| same(k, c) && k.score >= c.score && k.bbox().iou(&c.bbox()) > iou;
                    prop_assert!(found.iter().any(hides));
                }
            }
        }

        #[test]
        fn the_order_of_candidates_does_not_matter(
            (input, shuffled) in prop::collection::vec(any_candidate(), 0..60)
                .prop_flat_map(|v| (Just(v.clone()), Just(v).prop_shuffle())),
            iou in 0.1f32..0.9,
            max in 1usize..70,
        ) {
            let (mut a, mut b) = (input, shuffled);
            suppress(&mut a, iou, false, max);
            suppress(&mut b, iou, false, max);
            prop_assert_eq!(a, b);
        }
    }
}
