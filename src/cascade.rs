//! A second model on objects that a first one found: which of them are looked at, how often, and what becomes of the
//! findings.
//!
//! ```text
//! objects of the frame ─ choose ─▶ crops ─ (the model) ─▶ Findings ─ absorb ─▶ objects with attributes, …
//!                          ▲                                  │ kept by track
//!                          └────────── when, how large ───────┴── recall ─▶ objects not looked at again
//! ```
//!
//! Objects with a track are looked at again after a time or when their box has grown, and carry what was found in
//! between; objects without one are looked at on every frame. Time is the frame's running time, handed in.

use std::collections::HashMap;
use std::sync::Arc;

use crate::bundle::contract::Task;
use crate::result::{Attribute, BBox, FrameResult, Freshness, Keypoint, Object, TrackState};

/// Which objects are looked at.
#[derive(Debug, Clone, PartialEq)]
pub struct Rules {
    /// Labels of the objects; empty: all.
    pub classes: Vec<String>,
    /// Shorter side of the box, pixels of the frame.
    pub min_size: u32,
    /// Lowest confidence, 0..1.
    pub min_confidence: f32,
    /// Part of the box's width and height that is added on each side.
    pub margin: f32,
    /// Most objects of a frame; those that have waited longest come first, then the most confident.
    pub most: usize,
    /// A tracked object is looked at again after this time, nanoseconds; `u64::MAX`: never for its age.
    pub again_ns: u64,
    /// A tracked object is looked at again when its area has grown by this factor; 0: never for its size.
    pub growth: f32,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            classes: Vec::new(),
            min_size: 16,
            min_confidence: 0.0,
            margin: 0.0,
            most: 32,
            again_ns: 1_000_000_000,
            growth: 2.0,
        }
    }
}

/// An object that the model is to look at.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pick {
    /// Its place among the frame's objects.
    pub object: usize,
    /// The part of the frame to look at, 0..1.
    pub region: BBox,
}

/// What the model said about one object.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Findings {
    /// Where the object was; what is found is moved with it.
    pub bbox: BBox,
    /// Its classes.
    pub attributes: Vec<Attribute>,
    /// Its points, 0..1 of the frame, with the lines between them.
    pub keypoints: Vec<Keypoint>,
    skeleton: Option<Arc<[(u16, u16)]>>,
    /// Its vector.
    pub embedding: Option<Arc<[f32]>>,
    /// What was found inside it, 0..1 of the frame.
    pub children: Vec<Object>,
}

impl Findings {
    /// Takes what a model for `task` called `name` said about the object in `bbox` out of `part`, the result of its
    /// crop. Of poses the most confident one is the object's own; other objects are its children.
    pub fn take(task: Task, name: &Arc<str>, bbox: BBox, part: &mut FrameResult) -> Self {
        let mut findings = Self { bbox, embedding: part.embedding.take(), ..Self::default() };
        findings.attributes.extend(part.classes.drain(..).map(|class| Attribute {
            name: Arc::clone(name),
            label: class.label,
            confidence: class.confidence,
        }));
        if task == Task::Pose {
            // Most confident first.
            if let Some(pose) = part.objects.drain(..).next() {
                findings.keypoints = pose.keypoints;
                findings.skeleton = pose.skeleton;
            }
        } else {
            findings.children.append(&mut part.objects);
        }
        findings
    }

    /// Puts the findings on `object`, and their children among `more`. What the same model said earlier is replaced.
    fn give(&self, object: &mut Object, more: &mut Vec<Object>) {
        if let Some(first) = self.attributes.first() {
            object.attributes.retain(|a| a.name != first.name);
            object.attributes.extend(self.attributes.iter().cloned());
        }
        if let Some(embedding) = &self.embedding {
            object.embedding = Some(Arc::clone(embedding));
        }
        let moved = Moved { from: self.bbox, to: object.bbox };
        if !self.keypoints.is_empty() {
            object.keypoints.clone_from(&self.keypoints);
            object.keypoints.iter_mut().for_each(|k| (k.x, k.y) = moved.point((k.x, k.y)));
            object.skeleton.clone_from(&self.skeleton);
        }
        for child in &self.children {
            let mut child = moved.object(child);
            child.parent = Some(object.id);
            more.push(child);
        }
    }
}

/// The affine map by which what was found in one box follows the object to another.
struct Moved {
    from: BBox,
    to: BBox,
}

impl Moved {
    fn point(&self, (x, y): (f32, f32)) -> (f32, f32) {
        let along = |v: f32, from: f32, size: f32, to: f32, new: f32| {
            if size > 0.0 { to + (v - from) * (new / size) } else { to }
        };
        let Self { from, to } = self;
        (along(x, from.x, from.w, to.x, to.w), along(y, from.y, from.h, to.y, to.h))
    }

    fn object(&self, object: &Object) -> Object {
        let mut object = object.clone();
        if self.from == self.to {
            return object;
        }
        let (x1, y1) = self.point((object.bbox.x, object.bbox.y));
        let (x2, y2) = self.point((object.bbox.x2(), object.bbox.y2()));
        object.bbox = BBox::from_corners(x1, y1, x2, y2);
        object.keypoints.iter_mut().for_each(|k| (k.x, k.y) = self.point((k.x, k.y)));
        object.corners = object.corners.map(|c| c.map(|p| self.point(p)));
        object
    }
}

/// What is known about a tracked object.
#[derive(Debug)]
struct Known {
    /// When it was last looked at; `None` if that failed.
    asked_ns: Option<u64>,
    /// Area of its box when it was looked at, 0..1 of the frame.
    area: f32,
    seen_ns: u64,
    /// What was found, and in which era.
    findings: Option<(u64, Findings)>,
}

/// Chooses objects and remembers what was found about those that are tracked.
#[derive(Debug, Default)]
pub struct Cascade {
    known: HashMap<u64, Known>,
    waiting: Vec<(u64, Pick)>,
}

/// Tracks that were not seen for so long are forgotten, nanoseconds.
const FORGET_NS: u64 = 10_000_000_000;

impl Cascade {
    /// Forgets all tracks, as after a seek.
    pub fn clear(&mut self) {
        self.known.clear();
    }

    /// Another model looks from now on: every object is to be looked at anew, as if it had not been. What the old one
    /// said stays for the frames of its era that are still to come.
    pub fn ask_anew(&mut self) {
        self.known.values_mut().for_each(|known| known.asked_ns = None);
    }

    /// The objects of a frame of running time `now_ns` that are to be looked at; they count as looked at from now on.
    /// Only fresh results are: a held or predicted box may lie beside its object.
    pub fn choose(&mut self, rules: &Rules, now_ns: u64, result: &FrameResult) -> Vec<Pick> {
        self.known.retain(|_, k| now_ns.saturating_sub(k.seen_ns) <= FORGET_NS && k.seen_ns <= now_ns);
        self.waiting.clear();
        if result.freshness != Freshness::Fresh {
            return Vec::new();
        }
        let size = (result.width as f32, result.height as f32);
        for (place, object) in result.objects.iter().enumerate().filter(|(_, o)| is_wanted(rules, o, size)) {
            let known = object.track.and_then(|t| self.known.get(&t.id));
            // Never looked at comes before everything else.
            let asked_ns = known.and_then(|k| k.asked_ns);
            let waited = asked_ns.map_or(u64::MAX, |asked| now_ns.saturating_sub(asked));
            let grown = known.is_some_and(|k| rules.growth > 0.0 && object.bbox.area() >= k.area * rules.growth);
            if asked_ns.is_none() || grown || (rules.again_ns != u64::MAX && waited >= rules.again_ns) {
                self.waiting.push((waited, Pick { object: place, region: grown_by(object.bbox, rules.margin) }));
            }
        }
        // Objects stand most confident first; the sort keeps that order among those that waited as long.
        self.waiting.sort_by_key(|(waited, _)| std::cmp::Reverse(*waited));
        self.waiting.truncate(rules.most);
        for (_, pick) in &self.waiting {
            let Some(object) = result.objects.get(pick.object) else { continue };
            let Some(track) = object.track else { continue };
            let findings = self.known.remove(&track.id).and_then(|k| k.findings);
            let known = Known { asked_ns: Some(now_ns), area: object.bbox.area(), seen_ns: now_ns, findings };
            self.known.insert(track.id, known);
        }
        self.waiting.iter().map(|(_, pick)| *pick).collect()
    }

    /// Takes back what [`choose`](Self::choose) counted as looked at: the model failed.
    pub fn unchoose(&mut self, result: &FrameResult, picks: &[Pick]) {
        for pick in picks {
            let track = result.objects.get(pick.object).and_then(|o| o.track);
            if let Some(known) = track.and_then(|t| self.known.get_mut(&t.id)) {
                known.asked_ns = None;
            }
        }
    }

    /// Puts the findings of this frame on its objects, and those of earlier frames on tracked objects that were not
    /// looked at again. Frames come here in order. `era` counts the models that looked one after the other: what one of
    /// them said is not put on a frame of another's.
    pub fn absorb(&mut self, now_ns: u64, era: u64, found: Vec<(Pick, Findings)>, result: &mut FrameResult) {
        let mut more = Vec::new();
        let mut fresh: HashMap<usize, Findings> = found.into_iter().map(|(pick, f)| (pick.object, f)).collect();
        for (place, object) in result.objects.iter_mut().enumerate() {
            let known = object.track.and_then(|t| self.known.get_mut(&t.id));
            match (fresh.remove(&place), known) {
                (Some(findings), Some(known)) => {
                    findings.give(object, &mut more);
                    known.seen_ns = now_ns;
                    known.findings = Some((era, findings));
                }
                (Some(findings), None) => findings.give(object, &mut more),
                (None, Some(known)) => {
                    known.seen_ns = now_ns.max(known.seen_ns);
                    if let Some((_, findings)) = known.findings.as_ref().filter(|(of, _)| *of == era) {
                        findings.give(object, &mut more);
                    }
                }
                (None, None) => {}
            }
        }
        let mut id = result.objects.iter().map(|o| o.id).max().map_or(0, |id| id.wrapping_add(1));
        for mut child in more {
            child.id = id;
            id = id.wrapping_add(1);
            result.objects.push(child);
        }
    }
}

fn is_wanted(rules: &Rules, object: &Object, (width, height): (f32, f32)) -> bool {
    let b = object.bbox;
    let seen = object.track.is_none_or(|t| t.state != TrackState::Predicted);
    let large = (b.w * width).min(b.h * height) >= rules.min_size as f32;
    let class = rules.classes.is_empty() || rules.classes.iter().any(|c| **c == *object.label);
    seen && large && class && b.area() > 0.0 && object.confidence >= rules.min_confidence
}

/// The box with `part` of its width and height added on each side.
fn grown_by(b: BBox, part: f32) -> BBox {
    BBox { x: b.x - b.w * part, y: b.y - b.h * part, w: b.w * (1.0 + 2.0 * part), h: b.h * (1.0 + 2.0 * part) }
}

#[cfg(test)]
mod tests;
