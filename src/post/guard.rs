//! The one place where impossible numbers are dropped and counted.
//!
//! Models answer with NaN, infinities, inverted or gigantic boxes when they are broken, overflow in half precision or
//! are read with the wrong contract. Nothing behind this file ever sees such a value.

use super::{Candidate, Candidates, ClassScore};
use crate::result::{BBox, Keypoint};

/// A box may stick out of the input, but a side longer than this many inputs is no answer.
const LONGEST_SIDE: f32 = 4.0;

/// Rounding in half precision may put a probability this much over 1.
const SCORE_SLACK: f32 = 0.01;

/// What was dropped from one result (or, added up, from many).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct GuardCounts {
    /// A coordinate or score was NaN or infinite.
    pub non_finite: u64,
    /// The score was not in 0..1: usually a missing activation.
    pub score_range: u64,
    /// The class has no label.
    pub unknown_class: u64,
    /// The right edge lay left of the left one, or the bottom above the top.
    pub inverted: u64,
    /// The box had no area.
    pub empty: u64,
    /// A side was longer than four times the input.
    pub enormous: u64,
    /// Nothing of the box lay inside the frame.
    pub outside: u64,
}

impl GuardCounts {
    /// Everything that was dropped.
    pub fn total(&self) -> u64 {
        self.non_finite
            + self.score_range
            + self.unknown_class
            + self.inverted
            + self.empty
            + self.enormous
            + self.outside
    }
}

impl std::ops::AddAssign for GuardCounts {
    fn add_assign(&mut self, other: Self) {
        self.non_finite += other.non_finite;
        self.score_range += other.score_range;
        self.unknown_class += other.unknown_class;
        self.inverted += other.inverted;
        self.empty += other.empty;
        self.enormous += other.enormous;
        self.outside += other.outside;
    }
}

/// Clamps a score that rounding put just over 1; `false` and a count if it is no probability.
fn score_is_sound(score: &mut f32, counts: &mut GuardCounts) -> bool {
    if !score.is_finite() {
        counts.non_finite += 1;
        return false;
    }
    if *score < 0.0 || *score > 1.0 + SCORE_SLACK {
        counts.score_range += 1;
        return false;
    }
    *score = score.min(1.0);
    true
}

/// Drops candidates (pixels of an input of size `input`) whose numbers cannot be an answer of a model with `classes`
/// labels.
pub fn candidates(found: &mut Candidates, input: (u32, u32), classes: usize, counts: &mut GuardCounts) {
    let longest = (input.0 as f32 * LONGEST_SIDE, input.1 as f32 * LONGEST_SIDE);
    found.retain_mut(|c| candidate_is_sound(c, longest, classes, counts));
}

fn candidate_is_sound(c: &mut Candidate, longest: (f32, f32), classes: usize, counts: &mut GuardCounts) -> bool {
    if ![c.x1, c.y1, c.x2, c.y2, c.angle].iter().all(|v| v.is_finite()) {
        counts.non_finite += 1;
        return false;
    }
    if !score_is_sound(&mut c.score, counts) {
        return false;
    }
    let (w, h) = (c.x2 - c.x1, c.y2 - c.y1);
    let fault = if c.class_id as usize >= classes {
        &mut counts.unknown_class
    } else if w < 0.0 || h < 0.0 {
        &mut counts.inverted
    } else if w == 0.0 || h == 0.0 {
        &mut counts.empty
    } else if w > longest.0 || h > longest.1 {
        &mut counts.enormous
    } else {
        return true;
    };
    *fault += 1;
    false
}

/// Takes the confidence from keypoints with a value that is not finite, and brings the others' into 0..1.
pub fn keypoints(points: &mut [Keypoint], counts: &mut GuardCounts) {
    for point in points {
        if [point.x, point.y, point.confidence].iter().all(|v| v.is_finite()) {
            point.confidence = point.confidence.clamp(0.0, 1.0);
        } else {
            counts.non_finite += 1;
            *point = Keypoint { x: 0.0, y: 0.0, confidence: 0.0 };
        }
    }
}

/// Drops scores that are no probabilities.
pub fn scores(found: &mut Vec<ClassScore>, counts: &mut GuardCounts) {
    found.retain_mut(|s| score_is_sound(&mut s.score, counts));
}

/// The part of a box (0..1 of the frame) that lies inside the frame; `None` and a count if nothing does. A box that
/// reaches past an edge, of the frame or of the letterbox, is never lost for that.
pub fn in_frame(bbox: BBox, counts: &mut GuardCounts) -> Option<BBox> {
    let clipped = bbox.clipped();
    if clipped.w > 0.0 && clipped.h > 0.0 {
        return Some(clipped);
    }
    counts.outside += 1;
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: Candidate =
        Candidate { x1: 10.0, y1: 20.0, x2: 30.0, y2: 50.0, score: 0.5, class_id: 1, angle: 0.0, row: 0 };

    fn guarded(c: Candidate) -> (Candidates, GuardCounts) {
        let (mut found, mut counts) = (vec![c], GuardCounts::default());
        candidates(&mut found, (100, 200), 2, &mut counts);
        (found, counts)
    }

    #[test]
    fn a_sound_candidate_passes_untouched() {
        assert_eq!(guarded(GOOD), (vec![GOOD], GuardCounts::default()));
    }

    #[test]
    fn every_fault_has_its_own_count() {
        let one = GuardCounts::default();
        let cases = [
            (Candidate { x1: f32::NAN, ..GOOD }, GuardCounts { non_finite: 1, ..one }),
            (Candidate { y2: f32::INFINITY, ..GOOD }, GuardCounts { non_finite: 1, ..one }),
            (Candidate { score: f32::NAN, ..GOOD }, GuardCounts { non_finite: 1, ..one }),
            (Candidate { score: 7.5, ..GOOD }, GuardCounts { score_range: 1, ..one }),
            (Candidate { score: -0.1, ..GOOD }, GuardCounts { score_range: 1, ..one }),
            (Candidate { class_id: 2, ..GOOD }, GuardCounts { unknown_class: 1, ..one }),
            (Candidate { x2: 9.0, ..GOOD }, GuardCounts { inverted: 1, ..one }),
            (Candidate { y2: 20.0, ..GOOD }, GuardCounts { empty: 1, ..one }),
            (Candidate { x2: 411.0, ..GOOD }, GuardCounts { enormous: 1, ..one }),
            (Candidate { y1: -3e38, y2: 3e38, ..GOOD }, GuardCounts { enormous: 1, ..one }),
        ];
        for (candidate, expected) in cases {
            let (found, counts) = guarded(candidate);
            assert!(found.is_empty(), "{candidate:?}");
            assert_eq!(counts, expected, "{candidate:?}");
            assert_eq!(counts.total(), 1);
        }
    }

    #[test]
    fn a_side_of_four_inputs_is_the_limit() {
        assert_eq!(guarded(Candidate { x1: 0.0, x2: 400.0, ..GOOD }).0.len(), 1);
    }

    #[test]
    fn rounding_over_one_is_clamped() {
        let (found, counts) = guarded(Candidate { score: 1.0005, ..GOOD });
        assert_eq!(found[0].score, 1.0);
        assert_eq!(counts.total(), 0);
    }

    #[test]
    fn a_box_past_the_edge_is_clipped_and_one_beyond_it_counted() {
        let mut counts = GuardCounts::default();
        let kept = in_frame(BBox::from_corners(0.5, 0.75, 1.25, 1.001), &mut counts).unwrap();
        assert_eq!(kept, BBox { x: 0.5, y: 0.75, w: 0.5, h: 0.25 });
        assert_eq!(counts.total(), 0);
        assert_eq!(in_frame(BBox::from_corners(1.0, 0.0, 1.5, 0.5), &mut counts), None);
        assert_eq!(counts, GuardCounts { outside: 1, ..GuardCounts::default() });
    }

    #[test]
    fn a_keypoint_that_is_no_number_loses_its_confidence() {
        let mut counts = GuardCounts::default();
        let mut points = [
            Keypoint { x: f32::NAN, y: 0.5, confidence: 0.9 },
            Keypoint { x: 1.5, y: -0.5, confidence: 1.0001 },
            Keypoint { x: 0.5, y: 0.5, confidence: f32::INFINITY },
        ];
        keypoints(&mut points, &mut counts);
        let nothing = Keypoint { x: 0.0, y: 0.0, confidence: 0.0 };
        assert_eq!(points, [nothing, Keypoint { x: 1.5, y: -0.5, confidence: 1.0 }, nothing]);
        assert_eq!(counts, GuardCounts { non_finite: 2, ..GuardCounts::default() });
    }

    #[test]
    fn counts_add_up() {
        let mut sum = GuardCounts { non_finite: 1, outside: 2, ..GuardCounts::default() };
        sum += GuardCounts { non_finite: 3, empty: 1, ..GuardCounts::default() };
        assert_eq!(sum, GuardCounts { non_finite: 4, empty: 1, outside: 2, ..GuardCounts::default() });
        assert_eq!(sum.total(), 7);
    }
}
