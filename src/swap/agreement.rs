//! How far two models agree about one frame or object.
//!
//! The lists of classes may differ, so classes are compared by their labels, and what only one model can say does not
//! count. Boxes are paired greedily, the largest overlap first, from an IoU of 0.5 upwards. Embeddings are not compared: the
//! vectors of two models lie in different spaces, and an angle between them says nothing.

use std::collections::HashSet;
use std::sync::Arc;

use crate::bundle::Bundle;
use crate::bundle::contract::{Labels, Task};
use crate::cascade::{Findings, Pick};
use crate::result::{BBox, FrameResult, Object};

/// Lowest overlap of two boxes that are one object.
pub const MIN_IOU: f32 = 0.5;

/// Most objects of a side that are compared, the most confident ones: the work grows with the square.
const MOST: usize = 300;

/// The labels that both models have, and whether their answers can be compared at all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SharedClasses {
    labels: HashSet<Arc<str>>,
    comparable: bool,
}

impl SharedClasses {
    /// For the labels of two models that answer in the same way.
    pub fn new(old: &Labels, new: &Labels) -> Self {
        let of_old: HashSet<&str> = old.iter().map(|l| &**l).collect();
        let labels: HashSet<Arc<str>> = new.iter().filter(|l| of_old.contains(&***l)).cloned().collect();
        Self { comparable: !labels.is_empty(), labels }
    }

    /// For two bundles: what finds objects cannot be compared with what classifies frames, and embeddings not at all.
    pub fn of(old: &Bundle, new: &Bundle) -> Self {
        let boxed = |task| !matches!(task, Task::Classify | Task::Embed);
        let alike = boxed(old.task) == boxed(new.task) && old.task != Task::Embed && new.task != Task::Embed;
        if alike { Self::new(&old.labels, &new.labels) } else { Self::default() }
    }

    /// Whether there is anything that both can say.
    pub fn is_comparable(&self) -> bool {
        self.comparable
    }

    fn has(&self, label: &str) -> bool {
        self.labels.contains(label)
    }
}

/// What an old and a new model say of one frame (or, added up, of many).
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Agreement {
    /// Frames that both looked at.
    pub frames: u64,
    /// Objects that both found, with the same label.
    pub matched: u64,
    /// Objects that both found, with different labels.
    pub class_changes: u64,
    /// Objects that only the old one found.
    pub missed: u64,
    /// Objects that only the new one found.
    pub extra: u64,
    /// Sum of the new confidence minus the old one over `matched`.
    pub score_shift_sum: f64,
    /// Frames, or objects of a cascade, that at least one gave a class to.
    pub top1_frames: u64,
    /// Those whose most likely class is the same.
    pub top1_equal: u64,
    /// Objects and classes that were left out, since only one model has the label.
    pub foreign: u64,
}

impl Agreement {
    /// 0..1: the part of what was found that both found alike; 1 where neither found anything.
    pub fn score(&self) -> f64 {
        let all = self.matched + self.class_changes + self.missed + self.extra + self.top1_frames;
        if all == 0 { 1.0 } else { (self.matched + self.top1_equal) as f64 / all as f64 }
    }

    /// Mean of the new confidence minus the old one over the objects that both found alike; 0 without any.
    pub fn score_shift(&self) -> f64 {
        if self.matched == 0 { 0.0 } else { self.score_shift_sum / self.matched as f64 }
    }

    /// What the old model found, of that which counts.
    pub fn old_found(&self) -> u64 {
        self.matched + self.class_changes + self.missed + self.top1_frames
    }

    /// What the one of the two that found more has found, of that which counts.
    pub fn found(&self) -> u64 {
        self.old_found().max(self.matched + self.class_changes + self.extra + self.top1_frames)
    }

    fn objects(&mut self, old: &[Object], new: &[Object], shared: &SharedClasses) {
        let old = self.counted(old, shared);
        let new = self.counted(new, shared);
        let mut pairs = Vec::new();
        for (i, a) in old.iter().enumerate() {
            let near = new.iter().enumerate().map(|(j, b)| (overlap(&a.bbox, &b.bbox), i, j));
            pairs.extend(near.filter(|(iou, ..)| *iou >= MIN_IOU).map(|(iou, i, j)| {
                let same = new.get(j).is_some_and(|b| b.label == a.label);
                (iou, same, i, j)
            }));
        }
        // Among equal overlaps those of one label go first. The last keys are the same for both orders of the models.
        pairs.sort_by(|a, b| {
            let place = |p: &(f32, bool, usize, usize)| (p.2.min(p.3), p.2.max(p.3));
            b.0.total_cmp(&a.0).then(b.1.cmp(&a.1)).then(place(a).cmp(&place(b)))
        });
        let mut taken = (vec![false; old.len()], vec![false; new.len()]);
        let mut paired = 0;
        for (_, same, i, j) in pairs {
            let (Some(a), Some(b)) = (taken.0.get_mut(i), taken.1.get_mut(j)) else { continue };
            if *a || *b {
                continue;
            }
            (*a, *b) = (true, true);
            paired += 1;
            if same {
                self.matched += 1;
                let score = |list: &[&Object], at: usize| list.get(at).map_or(0.0, |o| f64::from(o.confidence));
                self.score_shift_sum += score(&new, j) - score(&old, i);
            } else {
                self.class_changes += 1;
            }
        }
        self.missed += old.len() as u64 - paired;
        self.extra += new.len() as u64 - paired;
    }

    /// The objects whose label both models have; counts the others.
    fn counted<'a>(&mut self, objects: &'a [Object], shared: &SharedClasses) -> Vec<&'a Object> {
        let looked_at = objects.get(..MOST).unwrap_or(objects);
        let counted: Vec<_> = looked_at.iter().filter(|o| shared.has(&o.label)).collect();
        self.foreign += (looked_at.len() - counted.len()) as u64;
        counted
    }

    fn top1(&mut self, old: Option<&str>, new: Option<&str>, shared: &SharedClasses) {
        let foreign = |label: Option<&str>| u64::from(label.is_some_and(|l| !shared.has(l)));
        match foreign(old) + foreign(new) {
            0 if old.is_none() && new.is_none() => {}
            0 => {
                self.top1_frames += 1;
                self.top1_equal += u64::from(old == new);
            }
            // The other model cannot give that answer, so its own says nothing about agreement.
            count => self.foreign += count,
        }
    }
}

impl std::ops::AddAssign for Agreement {
    fn add_assign(&mut self, other: Self) {
        self.frames += other.frames;
        self.matched += other.matched;
        self.class_changes += other.class_changes;
        self.missed += other.missed;
        self.extra += other.extra;
        self.score_shift_sum += other.score_shift_sum;
        self.top1_frames += other.top1_frames;
        self.top1_equal += other.top1_equal;
        self.foreign += other.foreign;
    }
}

/// Compares what two models found on the same frame: its objects, and the most likely class of the whole frame.
pub fn agree(old: &FrameResult, new: &FrameResult, shared: &SharedClasses) -> Agreement {
    let mut agreement = Agreement { frames: 1, ..Agreement::default() };
    agreement.objects(&old.objects, &new.objects, shared);
    let top = |result: &FrameResult| result.classes.first().map(|c| Arc::clone(&c.label));
    agreement.top1(top(old).as_deref(), top(new).as_deref(), shared);
    agreement
}

/// As [`agree`], for two models that looked at the same objects of a frame: the most likely class of each, what was found
/// inside it, and where its pose is.
pub fn agree_on_objects(old: &[(Pick, Findings)], new: &[(Pick, Findings)], shared: &SharedClasses) -> Agreement {
    let mut agreement = Agreement { frames: 1, ..Agreement::default() };
    for (pick, old) in old {
        let Some((_, new)) = new.iter().find(|(other, _)| other.object == pick.object) else { continue };
        let top = |findings: &Findings| findings.attributes.first().map(|a| Arc::clone(&a.label));
        agreement.top1(top(old).as_deref(), top(new).as_deref(), shared);
        agreement.objects(&old.children, &new.children, shared);
        match (pose_box(old), pose_box(new)) {
            (Some(a), Some(b)) if overlap(&a, &b) >= MIN_IOU => agreement.matched += 1,
            (a, b) => {
                agreement.missed += u64::from(a.is_some());
                agreement.extra += u64::from(b.is_some());
            }
        }
    }
    agreement
}

/// The box around the points of a pose.
fn pose_box(findings: &Findings) -> Option<BBox> {
    let first = findings.keypoints.first()?;
    let start = (first.x, first.y, first.x, first.y);
    let (x1, y1, x2, y2) = findings
        .keypoints
        .iter()
        .fold(start, |(x1, y1, x2, y2), k| (x1.min(k.x), y1.min(k.y), x2.max(k.x), y2.max(k.y)));
    Some(BBox::from_corners(x1, y1, x2, y2))
}

/// The IoU; of a box with itself exactly 1, which rounding and boxes without an area would deny.
fn overlap(a: &BBox, b: &BBox) -> f32 {
    if a == b { 1.0 } else { a.iou(b).min(1.0) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::result::{AbsentReason, Attribute, FrameClass, Keypoint};

    fn labels(names: &[&str]) -> Labels {
        names.iter().map(|n| Arc::from(*n)).collect()
    }

    fn object(label: &str, confidence: f32, x: f32) -> Object {
        Object::new(0, 0, label.into(), confidence, BBox { x, y: 0.1, w: 0.2, h: 0.2 })
    }

    fn result(objects: Vec<Object>) -> FrameResult {
        FrameResult { objects, ..FrameResult::absent(AbsentReason::NoModel, (4, 4)) }
    }

    fn classified(label: &str) -> FrameResult {
        let class = FrameClass { class_id: 0, label: label.into(), confidence: 0.5 };
        FrameResult { classes: vec![class], ..result(Vec::new()) }
    }

    #[test]
    fn each_kind_of_difference_is_counted() {
        let shared = SharedClasses::new(&labels(&["car", "bus", "cat"]), &labels(&["bus", "car", "dog"]));
        let old = [object("car", 0.5, 0.0), object("bus", 0.9, 0.3), object("car", 0.8, 0.6), object("cat", 1.0, 0.8)];
        let new =
            [object("car", 0.75, 0.01), object("car", 0.9, 0.3), object("bus", 0.8, 0.45), object("dog", 1.0, 0.0)];
        let seen = agree(&result(old.to_vec()), &result(new.to_vec()), &shared);
        let expected = Agreement {
            frames: 1,
            matched: 1,
            class_changes: 1,
            missed: 1,
            extra: 1,
            score_shift_sum: 0.25,
            foreign: 2,
            ..Agreement::default()
        };
        assert_eq!(seen, expected);
        assert_eq!((seen.score(), seen.score_shift(), seen.old_found()), (0.25, 0.25, 3));
        assert_eq!((seen.found(), Agreement { extra: 4, ..seen }.found()), (3, 6));
        let mut sum = seen;
        sum += seen;
        assert_eq!((sum.frames, sum.matched, sum.foreign, sum.score()), (2, 2, 4, 0.25));
    }

    #[test]
    fn where_neither_sees_anything_they_agree() {
        let shared = SharedClasses::new(&labels(&["car"]), &labels(&["car"]));
        assert_eq!(agree(&result(Vec::new()), &result(Vec::new()), &shared).score(), 1.0);
        assert_eq!(agree(&result(vec![object("car", 0.5, 0.0)]), &result(Vec::new()), &shared).score(), 0.0);
    }

    #[test]
    fn the_largest_overlap_wins() {
        let shared = SharedClasses::new(&labels(&["car"]), &labels(&["car"]));
        let old = result(vec![object("car", 0.5, 0.0), object("car", 0.5, 0.04)]);
        let new = result(vec![object("car", 0.5, 0.05)]);
        let seen = agree(&old, &new, &shared);
        assert_eq!((seen.matched, seen.missed, seen.extra), (1, 1, 0));
        // Both see one object as two classes at once: each goes to its own.
        let both = result(vec![object("car", 0.5, 0.0), object("bus", 0.4, 0.0)]);
        let turned = result(vec![object("bus", 0.5, 0.0), object("car", 0.4, 0.0)]);
        let shared = SharedClasses::new(&labels(&["car", "bus"]), &labels(&["car", "bus"]));
        assert_eq!(agree(&both, &turned, &shared).matched, 2);
    }

    #[test]
    fn the_first_class_counts_where_both_could_give_it() {
        let shared = SharedClasses::new(&labels(&["car", "bus", "cat"]), &labels(&["car", "bus"]));
        let top = |old: &FrameResult, new: &FrameResult| {
            let seen = agree(old, new, &shared);
            (seen.top1_frames, seen.top1_equal, seen.foreign)
        };
        assert_eq!(top(&classified("car"), &classified("car")), (1, 1, 0));
        assert_eq!(top(&classified("car"), &classified("bus")), (1, 0, 0));
        assert_eq!(top(&classified("car"), &result(Vec::new())), (1, 0, 0));
        assert_eq!(top(&classified("cat"), &classified("bus")), (0, 0, 1));
    }

    #[test]
    fn findings_are_compared_object_by_object() {
        let shared = SharedClasses::new(&labels(&["red", "blue", "face"]), &labels(&["red", "blue", "face"]));
        let attribute = |label: &str| Attribute { name: "m".into(), label: label.into(), confidence: 0.5 };
        let pick = |object| Pick { object, region: BBox::WHOLE };
        let points = |x: f32| [(x, 0.0), (x + 0.2, 0.4)].map(|(x, y)| Keypoint { x, y, confidence: 1.0 }).to_vec();
        let findings = |label: &str, face: f32, pose: f32| {
            let mut findings = Findings::default();
            findings.attributes = vec![attribute(label), attribute("blue")];
            findings.children = vec![object("face", 0.5, face)];
            findings.keypoints = points(pose);
            findings
        };
        let old = [(pick(0), findings("red", 0.0, 0.0)), (pick(2), findings("red", 0.0, 0.0))];
        let new = [(pick(2), findings("blue", 0.6, 0.5)), (pick(0), findings("red", 0.0, 0.01))];
        let seen = agree_on_objects(&old, &new, &shared);
        assert_eq!((seen.frames, seen.top1_frames, seen.top1_equal), (1, 2, 1));
        assert_eq!((seen.matched, seen.missed, seen.extra), (2, 2, 2));
    }

    #[test]
    fn models_that_answer_differently_are_not_compared() {
        let none = SharedClasses::new(&labels(&["car"]), &labels(&["cat"]));
        assert!(!none.is_comparable());
        assert!(SharedClasses::new(&labels(&["car"]), &labels(&["cat", "car"])).is_comparable());
        let bundle = |task, names: &[&str]| {
            let model = crate::model::Model::fake(crate::engine::fake::Fake::new(1));
            let (input, output) = (model.bundle().input.clone(), model.bundle().output.clone());
            Bundle::bare(std::path::Path::new("m.onnx"), (String::new(), 0), task, labels(names), input, output)
        };
        let detect = bundle(Task::Detect, &["car"]);
        assert!(SharedClasses::of(&detect, &bundle(Task::Pose, &["car"])).is_comparable());
        assert!(!SharedClasses::of(&detect, &bundle(Task::Classify, &["car"])).is_comparable());
        assert!(!SharedClasses::of(&detect, &bundle(Task::Embed, &[])).is_comparable());
    }

    prop_compose! {
        fn any_object()(
            label in 0..4usize, confidence in 0f32..1.0,
            (x, y, w, h) in (0f32..1.0, 0f32..1.0, 0f32..0.6, 0f32..0.6), whole in 0..4u8,
        ) -> Object {
            // Some boxes on a grid, so that overlaps are equal.
            let bbox = if whole == 0 { BBox { x: 0.25, y: 0.25, w: 0.5, h: 0.5 } } else { BBox { x, y, w, h } };
            Object::new(0, 0, ["a", "b", "c", "d"][label].into(), confidence, bbox)
        }
    }

    prop_compose! {
        fn any_result()(objects in prop::collection::vec(any_object(), 0..12), class in prop::option::of(0..4usize))
            -> FrameResult {
            let classes = class.map(|c| FrameClass { class_id: 0, label: ["a", "b", "c", "d"][c].into(), confidence: 0.5 });
            FrameResult { classes: classes.into_iter().collect(), ..result(objects) }
        }
    }

    proptest! {
        #[test]
        fn a_model_agrees_with_itself(a in any_result()) {
            let seen = agree(&a, &a, &SharedClasses::new(&labels(&["a", "b", "c"]), &labels(&["a", "b", "c", "d"])));
            prop_assert_eq!(seen.score(), 1.0);
            prop_assert_eq!((seen.missed, seen.extra, seen.class_changes, seen.score_shift_sum), (0, 0, 0, 0.0));
        }

        #[test]
        fn the_order_of_the_models_changes_nothing_but_the_names(a in any_result(), b in any_result()) {
            let shared = SharedClasses::new(&labels(&["a", "b", "c"]), &labels(&["c", "b", "a"]));
            let (one, two) = (agree(&a, &b, &shared), agree(&b, &a, &shared));
            prop_assert!((one.score_shift_sum + two.score_shift_sum).abs() < 1e-6);
            let turned = Agreement {
                missed: two.extra, extra: two.missed, score_shift_sum: one.score_shift_sum, ..two
            };
            prop_assert_eq!(one, turned);
            prop_assert!((0.0..=1.0).contains(&one.score()));
        }
    }
}
