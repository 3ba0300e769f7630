//! Which object of one side is which of the other, and whether they agree.

use super::shapes::overlap;
use super::{Answer, Found};

/// Boxes that overlap less than this are no pair.
const LEAST_OVERLAP: f32 = 0.5;

/// Keypoints that both sides are less sure of than this lie anywhere: their places are not compared.
const KEYPOINT_SEEN: f32 = 0.2;

/// Two classes this close in probability are equally the first.
const TOP_TIE: f32 = 1e-3;

/// How far an overlap may lie from the NMS threshold for two boxes that differ within the tolerance to fall on its two
/// sides.
const NMS_TIE: f32 = 0.01;

/// What counts as the same.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Tolerances {
    /// Objects from this confidence on must be found by both.
    pub confidence: f32,
    /// Lowest overlap of a pair's boxes.
    pub min_iou: f32,
    /// Largest difference of scores and probabilities.
    pub score: f32,
    /// Largest distance of a pair's keypoints, pixels of the picture.
    pub keypoint: f32,
    /// How much farther they may lie apart, as a part of the longer side of the reference's box.
    pub keypoint_part: f32,
    /// Lowest overlap of a pair's masks.
    pub min_mask_iou: f32,
    /// Lowest dot product of embeddings.
    pub min_cosine: f32,
    /// The threshold of NMS that both were run with: tells ties.
    pub nms_iou: f32,
    /// The most objects that both were asked for.
    pub max_objects: usize,
}

/// Two objects that are the same one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pair {
    /// Place among our objects.
    pub ours: usize,
    /// Place among the reference's.
    pub theirs: usize,
    /// Overlap of the boxes.
    pub iou: f32,
    /// Difference of the scores, never negative.
    pub score: f32,
    /// Largest distance of two keypoints, pixels.
    pub keypoint: Option<f32>,
    /// Overlap of the masks.
    pub mask: Option<f32>,
}

/// What kind of difference.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Only the reference found it.
    Missing,
    /// Only we found it.
    Extra,
    /// The same box with another class.
    Class,
    /// The boxes overlap too little.
    Box,
    /// The scores are too far apart.
    Score,
    /// A keypoint is too far away.
    Keypoint,
    /// The masks overlap too little.
    Mask,
    /// The most probable class is another one.
    TopClass,
    /// A probability is too far away.
    Probability,
    /// The embeddings point in different directions.
    Embedding,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Kind; 10] = [
        Self::Missing,
        Self::Extra,
        Self::Class,
        Self::Box,
        Self::Score,
        Self::Keypoint,
        Self::Mask,
        Self::TopClass,
        Self::Probability,
        Self::Embedding,
    ];

    /// What it means, in a few words.
    pub fn describe(self, sides: &Sides) -> String {
        match self {
            Self::Missing => format!("found by {} only", sides.theirs),
            Self::Extra => format!("found by {} only", sides.ours),
            Self::Class => "another class".into(),
            Self::Box => "box differs".into(),
            Self::Score => "score differs".into(),
            Self::Keypoint => "keypoint differs".into(),
            Self::Mask => "mask differs".into(),
            Self::TopClass => "another first class".into(),
            Self::Probability => "probability differs".into(),
            Self::Embedding => "embedding differs".into(),
        }
    }
}

/// What texts call the two sides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sides {
    /// Ours.
    pub ours: String,
    /// The other, in the place of the reference.
    pub theirs: String,
}

impl Default for Sides {
    fn default() -> Self {
        Self { ours: "Vigil".into(), theirs: "the reference".into() }
    }
}

/// Something that is out of tolerance.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Difference {
    /// What.
    pub kind: Kind,
    /// The place among our objects, if one takes part.
    pub ours: Option<usize>,
    /// The place among the reference's objects, if one takes part.
    pub theirs: Option<usize>,
    /// The figure: an overlap, a difference, a distance, or the score of what one side did not find.
    pub value: f32,
    /// How bad it is, to put the worst first: 1 is just out of tolerance.
    pub weight: f32,
    /// Missing or extra: another object of the other side, more confident, overlaps this one almost exactly by the
    /// threshold of NMS, so that rounding decided.
    pub tie: bool,
}

/// The comparison of one picture.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Comparison {
    /// Objects that both found and at least one of them is sure enough of.
    pub pairs: Vec<Pair>,
    /// What is out of tolerance.
    pub differences: Vec<Difference>,
    /// Largest difference of a probability among our first classes.
    pub probability: Option<f32>,
    /// Dot product of the embeddings.
    pub cosine: Option<f32>,
}

/// Which objects of each side the other one must have found too.
#[derive(Clone, Copy)]
pub struct Needed<'a> {
    /// Of ours.
    pub ours: &'a dyn Fn(&Found) -> bool,
    /// Of the reference's.
    pub theirs: &'a dyn Fn(&Found) -> bool,
}

/// Compares our answer with the reference's: objects from the tolerances' confidence on must be found by both.
pub fn compare(ours: &Answer, theirs: &Answer, t: &Tolerances) -> Comparison {
    let sure = |object: &Found| object.score >= t.confidence;
    compare_needed(ours, theirs, t, Needed { ours: &sure, theirs: &sure })
}

/// As [`compare`], where something else than one confidence says which objects must be found by both.
pub fn compare_needed(ours: &Answer, theirs: &Answer, t: &Tolerances, needed: Needed) -> Comparison {
    let mut found = Comparison::default();
    classes(ours, theirs, t, &mut found);
    embeddings(ours, theirs, t, &mut found);
    let (mut free_ours, mut free_theirs) = (vec![true; ours.objects.len()], vec![true; theirs.objects.len()]);
    for (i, j, iou) in assign(&ours.objects, &theirs.objects, &free_ours, &free_theirs, true) {
        (free_ours[i], free_theirs[j]) = (false, false);
        if (needed.ours)(&ours.objects[i]) || (needed.theirs)(&theirs.objects[j]) {
            pair(ours, theirs, (i, j, iou), t, &mut found);
        }
    }
    // What is left may be the same box with another class.
    for (i, j, iou) in assign(&ours.objects, &theirs.objects, &free_ours, &free_theirs, false) {
        let either = (needed.ours)(&ours.objects[i]) || (needed.theirs)(&theirs.objects[j]);
        if either && iou >= t.min_iou {
            let score = ours.objects[i].score.max(theirs.objects[j].score);
            (free_ours[i], free_theirs[j]) = (false, false);
            let places = (Some(i), Some(j));
            found.differences.push(difference(Kind::Class, places, score, 10.0 + score));
        }
    }
    let left = |free: &[bool], objects: &[Found], needed: &dyn Fn(&Found) -> bool| {
        free.iter().zip(objects).map(|(free, object)| *free && needed(object)).collect::<Vec<_>>()
    };
    let missing = left(&free_theirs, &theirs.objects, needed.theirs);
    let extra = left(&free_ours, &ours.objects, needed.ours);
    alone(Kind::Missing, &theirs.objects, &ours.objects, &missing, t, &mut found);
    alone(Kind::Extra, &ours.objects, &theirs.objects, &extra, t, &mut found);
    found
}

fn difference(kind: Kind, (ours, theirs): (Option<usize>, Option<usize>), value: f32, weight: f32) -> Difference {
    Difference { kind, ours, theirs, value, weight, tie: false }
}

/// Pairs among the free objects, those that overlap most first; of one class, or of different ones.
fn assign(
    ours: &[Found],
    theirs: &[Found],
    free_ours: &[bool],
    free_theirs: &[bool],
    same_class: bool,
) -> Vec<(usize, usize, f32)> {
    let places = |free: &[bool]| free.iter().enumerate().filter(|(_, f)| **f).map(|(i, _)| i).collect::<Vec<_>>();
    let theirs_free = places(free_theirs);
    let mut all = Vec::new();
    for i in places(free_ours) {
        for j in theirs_free.iter().copied().filter(|j| (ours[i].class == theirs[*j].class) == same_class) {
            let iou = overlap(&ours[i], &theirs[j]);
            if iou >= LEAST_OVERLAP {
                all.push((i, j, iou));
            }
        }
    }
    // Of equal boxes, those with the nearer scores belong together.
    let apart = |p: &(usize, usize, f32)| (ours[p.0].score - theirs[p.1].score).abs();
    all.sort_by(|a, b| b.2.total_cmp(&a.2).then(apart(a).total_cmp(&apart(b))));
    let (mut taken_ours, mut taken_theirs) = (vec![false; ours.len()], vec![false; theirs.len()]);
    all.retain(|(i, j, _)| {
        let free = !taken_ours[*i] && !taken_theirs[*j];
        if free {
            (taken_ours[*i], taken_theirs[*j]) = (true, true);
        }
        free
    });
    all
}

/// Judges two objects that are the same one.
fn pair(ours: &Answer, theirs: &Answer, (i, j, iou): (usize, usize, f32), t: &Tolerances, found: &mut Comparison) {
    let (a, b) = (&ours.objects[i], &theirs.objects[j]);
    let score = (a.score - b.score).abs();
    let keypoint = (!a.keypoints.is_empty() || !b.keypoints.is_empty()).then(|| keypoints(a, b));
    let mask = match (&a.mask, &b.mask) {
        (Some(a), Some(b)) => Some(a.iou(b)),
        (None, None) => None,
        _ => Some(0.0),
    };
    let mut say = |kind, value, weight| found.differences.push(difference(kind, (Some(i), Some(j)), value, weight));
    if iou < t.min_iou {
        say(Kind::Box, iou, excess(1.0 - iou, 1.0 - t.min_iou));
    }
    if score > t.score {
        say(Kind::Score, score, excess(score, t.score));
    }
    let [x1, y1, x2, y2] = b.bbox;
    let near = t.keypoint + t.keypoint_part * (x2 - x1).max(y2 - y1);
    if let Some(distance) = keypoint.filter(|d| *d > near) {
        say(Kind::Keypoint, distance, excess(distance, near));
    }
    if let Some(iou) = mask.filter(|m| *m < t.min_mask_iou) {
        say(Kind::Mask, iou, excess(1.0 - iou, 1.0 - t.min_mask_iou));
    }
    found.pairs.push(Pair { ours: i, theirs: j, iou, score, keypoint, mask });
}

/// How many times the tolerance; a tolerance of 0 counts as tiny.
fn excess(value: f32, tolerance: f32) -> f32 {
    value / tolerance.max(1e-6)
}

/// The largest distance of two keypoints that a side is sure of; infinite if there is not the same number.
fn keypoints(a: &Found, b: &Found) -> f32 {
    if a.keypoints.len() != b.keypoints.len() {
        return f32::INFINITY;
    }
    let pairs = a.keypoints.iter().zip(&b.keypoints);
    let seen = pairs.filter(|(a, b)| a[2].max(b[2]) >= KEYPOINT_SEEN);
    seen.map(|(a, b)| (a[0] - b[0]).hypot(a[1] - b[1])).fold(0.0, f32::max)
}

/// Objects that only one side found, of which the other should have those that are `needed`.
fn alone(kind: Kind, here: &[Found], there: &[Found], needed: &[bool], t: &Tolerances, found: &mut Comparison) {
    // A side that has as many objects as it may have left out what is less sure.
    let full = there.len() >= t.max_objects;
    let lowest = there.iter().map(|o| o.score).fold(f32::INFINITY, f32::min);
    let from = if full { lowest + t.score } else { 0.0 };
    for (i, object) in here.iter().enumerate().filter(|(i, o)| needed[*i] && o.score >= from) {
        let tie = there.iter().any(|o| {
            o.class == object.class
                && o.score >= object.score - t.score
                && (overlap(o, object) - t.nms_iou).abs() <= NMS_TIE
        });
        let places = if kind == Kind::Missing { (None, Some(i)) } else { (Some(i), None) };
        let weight = if tie { 2.0 } else { 20.0 } + object.score;
        found.differences.push(Difference { tie, ..difference(kind, places, object.score, weight) });
    }
}

/// Judges the classes of the whole picture.
fn classes(ours: &Answer, theirs: &Answer, t: &Tolerances, found: &mut Comparison) {
    let Some((expected, most)) = theirs.top() else { return };
    let first = ours.top().map(|(class, _)| class);
    let as_likely = |class: u32| theirs.probability(class).is_some_and(|p| most - p <= TOP_TIE);
    if first.is_none_or(|class| class != expected && !as_likely(class)) {
        found.differences.push(difference(Kind::TopClass, (None, None), expected as f32, 30.0));
    }
    let apart = ours.classes.iter().filter_map(|(class, p)| Some((p - theirs.probability(*class)?).abs()));
    let worst = apart.chain([unlisted(ours, theirs), unlisted(theirs, ours)]).fold(0.0, f32::max);
    found.probability = Some(worst);
    if worst > t.score {
        found.differences.push(difference(Kind::Probability, (None, None), worst, excess(worst, t.score)));
    }
}

/// By how much at least the probability of a class differs that only `here` lists: on the other side it is at most that
/// of the least probable one in its list.
fn unlisted(here: &Answer, there: &Answer) -> f32 {
    let lowest = there.classes.iter().map(|(_, p)| *p).fold(1.0, f32::min);
    let only_here = here.classes.iter().filter(|(class, _)| there.probability(*class).is_none());
    only_here.map(|(_, p)| p - lowest).fold(0.0, f32::max)
}

fn embeddings(ours: &Answer, theirs: &Answer, t: &Tolerances, found: &mut Comparison) {
    if ours.embedding.is_empty() && theirs.embedding.is_empty() {
        return;
    }
    let same = ours.embedding.len() == theirs.embedding.len();
    let dot = || ours.embedding.iter().zip(&theirs.embedding).map(|(a, b)| a * b).sum::<f32>();
    let cosine = if same { dot() } else { 0.0 };
    found.cosine = Some(cosine);
    if cosine < t.min_cosine {
        let weight = excess(1.0 - cosine, 1.0 - t.min_cosine);
        found.differences.push(difference(Kind::Embedding, (None, None), cosine, weight));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parity::Silhouette;

    const TOLERANCES: Tolerances = Tolerances {
        confidence: 0.3,
        min_iou: 0.99,
        score: 0.01,
        keypoint: 1.0,
        keypoint_part: 0.0,
        min_mask_iou: 0.98,
        min_cosine: 0.999,
        nms_iou: 0.5,
        max_objects: 100,
    };

    fn at(x: f32, class: u32, score: f32) -> Found {
        Found { class, score, bbox: [x, 0.0, x + 100.0, 100.0], ..Found::default() }
    }

    fn objects(objects: &[Found]) -> Answer {
        Answer { objects: objects.to_vec(), ..Answer::default() }
    }

    fn kinds(ours: &[Found], theirs: &[Found]) -> Vec<(Kind, bool)> {
        let found = compare(&objects(ours), &objects(theirs), &TOLERANCES);
        found.differences.iter().map(|d| (d.kind, d.tie)).collect()
    }

    #[test]
    fn what_is_the_same_within_tolerance_is_no_difference() {
        let found = compare(&objects(&[at(0.0, 1, 0.8)]), &objects(&[at(0.3, 1, 0.805)]), &TOLERANCES);
        assert_eq!(found.differences, []);
        let [pair] = found.pairs.as_slice() else { panic!("{found:?}") };
        assert!((pair.iou - 99.7 / 100.3).abs() < 1e-5 && (pair.score - 0.005).abs() < 1e-6, "{pair:?}");
    }

    #[test]
    fn each_kind_of_difference_is_told() {
        assert_eq!(kinds(&[at(0.0, 1, 0.8)], &[at(2.0, 1, 0.8)]), [(Kind::Box, false)]);
        assert_eq!(kinds(&[at(0.0, 1, 0.8)], &[at(0.0, 1, 0.82)]), [(Kind::Score, false)]);
        assert_eq!(kinds(&[at(0.0, 1, 0.8)], &[at(0.0, 2, 0.8)]), [(Kind::Class, false)]);
        assert_eq!(kinds(&[], &[at(0.0, 1, 0.8)]), [(Kind::Missing, false)]);
        assert_eq!(kinds(&[at(0.0, 1, 0.8)], &[]), [(Kind::Extra, false)]);
        // Half of the box away is another object.
        let far = kinds(&[at(0.0, 1, 0.8)], &[at(50.0, 1, 0.8)]);
        assert_eq!(far, [(Kind::Missing, false), (Kind::Extra, false)]);
    }

    #[test]
    fn objects_under_the_confidence_need_not_be_found() {
        assert_eq!(kinds(&[], &[at(0.0, 1, 0.29)]), []);
        assert_eq!(kinds(&[at(0.0, 1, 0.25)], &[at(5.0, 1, 0.29)]), []);
        // One side over it is enough to be judged.
        assert_eq!(kinds(&[at(0.0, 1, 0.28)], &[at(0.0, 1, 0.3)]), [(Kind::Score, false)]);
    }

    #[test]
    fn the_nearest_boxes_belong_together() {
        let found = compare(&objects(&[at(0.0, 1, 0.8), at(10.0, 1, 0.7)]), &objects(&[at(10.0, 1, 0.7)]), &TOLERANCES);
        assert_eq!((found.pairs[0].ours, found.pairs[0].theirs, found.pairs[0].iou), (1, 0, 1.0));
        assert_eq!(found.differences.len(), 1);
    }

    #[test]
    fn an_overlap_at_the_threshold_of_nms_is_a_tie() {
        // 100 wide, shifted by 33.3: 66.7 / 133.3 = .5004.
        let (kept, hidden) = (at(0.0, 1, 0.8), at(33.3, 1, 0.7));
        let one = [kept.clone()];
        let two = [kept, hidden];
        assert_eq!(kinds(&one, &two), [(Kind::Missing, true)]);
        assert_eq!(kinds(&two, &one), [(Kind::Extra, true)]);
        // A less confident one cannot have suppressed it.
        assert_eq!(kinds(&[at(0.0, 1, 0.5)], &[at(0.0, 1, 0.5), at(33.3, 1, 0.7)]), [(Kind::Missing, false)]);
    }

    #[test]
    fn a_full_side_may_lack_what_is_less_sure() {
        let two = Tolerances { max_objects: 2, ..TOLERANCES };
        let ours = objects(&[at(0.0, 1, 0.9), at(500.0, 1, 0.8)]);
        let theirs = |score| objects(&[at(0.0, 1, 0.9), at(500.0, 1, 0.8), at(900.0, 1, score)]);
        assert_eq!(compare(&ours, &theirs(0.805), &two).differences, []);
        assert_eq!(compare(&ours, &theirs(0.85), &two).differences.len(), 1);
    }

    #[test]
    fn keypoints_are_compared_where_they_are_seen() {
        let with = |points: &[[f32; 3]]| objects(&[Found { keypoints: points.to_vec(), ..at(0.0, 0, 0.9) }]);
        let distance = |a: &[[f32; 3]], b: &[[f32; 3]]| {
            let found = compare(&with(a), &with(b), &TOLERANCES);
            (found.pairs[0].keypoint, found.differences.len())
        };
        let point = [10.0, 10.0, 0.9];
        assert_eq!(distance(&[point, [0.0, 0.0, 0.1]], &[[10.0, 10.5, 0.9], [50.0, 0.0, 0.1]]), (Some(0.5), 0));
        assert_eq!(distance(&[point], &[[13.0, 14.0, 0.1]]), (Some(5.0), 1));
        assert_eq!(distance(&[point], &[]), (Some(f32::INFINITY), 1));
    }

    #[test]
    fn masks_must_overlap_and_be_there_on_both_sides() {
        let with = |mask: Option<&[bool]>| {
            let mask = mask.map(|inside| Silhouette { at: [0, 0, 4, 1], inside: inside.to_vec() });
            objects(&[Found { mask, ..at(0.0, 0, 0.9) }])
        };
        let all: Option<&[bool]> = Some(&[true, true, true, true]);
        let kinds =
            |a, b| compare(&with(a), &with(b), &TOLERANCES).differences.iter().map(|d| d.kind).collect::<Vec<_>>();
        assert_eq!(kinds(all, all), []);
        assert_eq!(kinds(all, Some(&[true, true, true, false])), [Kind::Mask]);
        assert_eq!(kinds(all, None), [Kind::Mask]);
    }

    #[test]
    fn the_first_class_and_the_probabilities_must_agree() {
        let ours = |classes: &[(u32, f32)]| Answer { classes: classes.to_vec(), ..Answer::default() };
        let theirs = Answer { probabilities: vec![0.1, 0.7, 0.2], ..Answer::default() };
        let kinds =
            |a: &Answer, b: &Answer| compare(a, b, &TOLERANCES).differences.iter().map(|d| d.kind).collect::<Vec<_>>();
        assert_eq!(kinds(&ours(&[(1, 0.705), (2, 0.195)]), &theirs), []);
        assert_eq!(kinds(&ours(&[(2, 0.45), (1, 0.44)]), &theirs), [Kind::TopClass, Kind::Probability]);
        assert_eq!(kinds(&ours(&[]), &theirs), [Kind::TopClass]);
        let even = Answer { probabilities: vec![0.5, 0.4999], ..Answer::default() };
        assert_eq!(kinds(&ours(&[(1, 0.5), (0, 0.4999)]), &even), []);
    }

    #[test]
    fn a_class_that_one_side_does_not_list_is_at_most_as_likely_as_its_last_one() {
        let listed = |classes: &[(u32, f32)]| Answer { classes: classes.to_vec(), ..Answer::default() };
        let kinds =
            |a: &Answer, b: &Answer| compare(a, b, &TOLERANCES).differences.iter().map(|d| d.kind).collect::<Vec<_>>();
        let (known, near) = (listed(&[(1, 0.6), (2, 0.2)]), listed(&[(1, 0.6), (3, 0.205)]));
        assert_eq!((kinds(&near, &known), kinds(&known, &near)), (vec![], vec![]));
        let far = listed(&[(1, 0.6), (3, 0.3)]);
        assert_eq!((kinds(&far, &known), kinds(&known, &far)), (vec![Kind::Probability], vec![Kind::Probability]));
    }

    #[test]
    fn what_must_be_found_may_be_told_by_each_object() {
        let (ours, theirs) = (objects(&[at(0.0, 1, 0.5)]), objects(&[at(300.0, 2, 0.1)]));
        let kinds = |ours_too: bool, theirs_too: bool| {
            let needed = Needed { ours: &|_| ours_too, theirs: &|_| theirs_too };
            let found = compare_needed(&ours, &theirs, &TOLERANCES, needed);
            found.differences.iter().map(|d| d.kind).collect::<Vec<_>>()
        };
        assert_eq!(kinds(false, false), []);
        assert_eq!(kinds(true, false), [Kind::Extra]);
        assert_eq!(kinds(false, true), [Kind::Missing]);
    }

    #[test]
    fn keypoints_of_large_objects_may_lie_farther_apart() {
        let with = |x: f32| objects(&[Found { keypoints: vec![[x, 10.0, 0.9]], ..at(0.0, 0, 0.9) }]);
        let wide = Tolerances { keypoint_part: 0.05, ..TOLERANCES };
        // 1 pixel, and 5 of the box's 100.
        assert_eq!(compare(&with(16.0), &with(10.0), &wide).differences, []);
        assert_eq!(compare(&with(16.5), &with(10.0), &wide).differences[0].kind, Kind::Keypoint);
    }

    #[test]
    fn embeddings_must_point_the_same_way() {
        let with = |v: &[f32]| Answer { embedding: v.to_vec(), ..Answer::default() };
        let found = compare(&with(&[1.0, 0.0]), &with(&[0.6, 0.8]), &TOLERANCES);
        assert_eq!((found.cosine, found.differences[0].kind), (Some(0.6), Kind::Embedding));
        assert_eq!(compare(&with(&[1.0, 0.0]), &with(&[1.0, 0.0]), &TOLERANCES).differences, []);
        assert_eq!(compare(&with(&[1.0]), &with(&[1.0, 0.0]), &TOLERANCES).differences.len(), 1);
    }
}
