//! One identity: its motion, its history, and what the detector last said about it.

use std::sync::Arc;

use super::association::Candidate;
use super::kalman::Motion;
use super::models::Stale;
use crate::result::{Attribute, BBox, Keypoint, Mask, Object, Track, TrackState};

/// Mean confidence of the matches that confirm an identity in the fewest frames.
const CONFIRMING: f32 = 0.7;

/// Part of a sure object's embedding in how the identity looks from then on (BoT-SORT, Aharon et al. 2022: .1).
const LOOK_PART: f32 = 0.1;

/// One identity.
#[derive(Debug)]
pub struct Identity {
    /// From 1 upwards.
    pub id: u64,
    /// Belief about the box at the time of the last analysed frame, in frame heights.
    pub motion: Motion,
    /// The object of the last match with what it was given from earlier ones; its box is not kept up to date.
    seen: Object,
    /// Class, see [`kind`].
    pub kind: u64,
    /// Whether it is found in other objects.
    pub inner: bool,
    /// Identity of the object in which it was found at the last match; 0 = none.
    pub parent: u64,
    /// How it looks: the mean of its embeddings with more weight on later and surer ones, of length 1; empty if unknown.
    pub look: Vec<f32>,
    /// Tracker clock at which each of `seen.attributes` was found.
    attributes_ns: Vec<u64>,
    /// The same for its keypoints and its embedding.
    keypoints_ns: u64,
    embedding_ns: u64,
    /// Tracker clock at the first match, nanoseconds.
    born_ns: u64,
    /// Tracker clock at the last match, nanoseconds.
    seen_ns: u64,
    /// Matches so far.
    hits: u32,
    /// Sum of the confidences of all matches.
    evidence: f32,
    /// Analysed frames since the last match.
    pub missed: u32,
    /// Whether it has been seen often enough.
    pub confirmed: bool,
}

impl Identity {
    /// An identity that begins with `object`, whose box in frame heights is `bbox`.
    pub fn new(id: u64, now_ns: u64, bbox: BBox, object: &Object) -> Self {
        Self {
            id,
            motion: Motion::new(bbox, object.confidence),
            seen: object.clone(),
            kind: kind(object),
            inner: object.parent.is_some(),
            parent: 0,
            look: Vec::new(),
            attributes_ns: vec![now_ns; object.attributes.len()],
            keypoints_ns: now_ns,
            embedding_ns: now_ns,
            born_ns: now_ns,
            seen_ns: now_ns,
            hits: 1,
            evidence: object.confidence,
            missed: 0,
            confirmed: false,
        }
    }

    /// Whether the candidate may be it as far as class goes.
    pub fn is_of(&self, candidate: &Candidate) -> bool {
        self.kind == candidate.kind && self.inner == candidate.inner
    }

    /// Takes in a match at `now_ns`; `motion` has been advanced to that time. What the object lacks and earlier ones
    /// had no more than `carry_ns` ago is put on it.
    pub fn hit(&mut self, now_ns: u64, bbox: BBox, object: &mut Object, carry_ns: u64) {
        self.motion.correct(bbox, object.confidence);
        self.seen_ns = now_ns;
        self.hits = self.hits.saturating_add(1);
        self.evidence += object.confidence;
        self.missed = 0;
        self.kind = kind(object);
        self.parent = 0;
        self.carry(now_ns, object, carry_ns);
        copy(&mut self.seen, object);
    }

    /// Mixes the object's embedding into how the identity looks.
    pub fn learn(&mut self, object: &Object) {
        let Some(new) = object.embedding.as_deref().filter(|e| e.iter().all(|v| v.is_finite())) else { return };
        if self.look.len() == new.len() {
            let part = LOOK_PART * object.confidence.clamp(0.0, 1.0);
            self.look.iter_mut().zip(new).for_each(|(l, n)| *l += part * (n - *l));
        } else {
            self.look.clear();
            self.look.extend_from_slice(new);
        }
        let length = dot(&self.look, &self.look).sqrt();
        if length > 0.0 && length.is_finite() {
            self.look.iter_mut().for_each(|l| *l /= length);
        } else {
            self.look.clear();
        }
    }

    /// Completes the object with what secondary models said about earlier ones: attributes by name, keypoints (moved
    /// with the box), embedding.
    fn carry(&mut self, now_ns: u64, object: &mut Object, carry_ns: u64) {
        let young = |at: u64| carry_ns > 0 && now_ns.saturating_sub(at) <= carry_ns;
        let (fresh, mut next) = (object.attributes.len(), 0);
        self.attributes_ns.retain(|&at| {
            let old = self.seen.attributes.get(next);
            next += 1;
            let found = |name| object.attributes.iter().take(fresh).any(|a| a.name == name);
            let Some(old) = old.filter(|old| young(at) && !found(old.name.clone())) else { return false };
            object.attributes.push(old.clone());
            true
        });
        self.attributes_ns.resize(self.attributes_ns.len() + fresh, now_ns);
        self.attributes_ns.rotate_right(fresh);

        if !object.keypoints.is_empty() {
            self.keypoints_ns = now_ns;
        } else if young(self.keypoints_ns) {
            let (from, to) = (self.seen.bbox, object.bbox);
            let moved = self.seen.keypoints.iter().map(|k| {
                let (x, y) = carried((k.x, k.y), from, to);
                Keypoint { x, y, ..*k }
            });
            object.keypoints.extend(moved);
            object.skeleton.clone_from(&self.seen.skeleton);
        }
        if object.embedding.is_some() {
            self.embedding_ns = now_ns;
        } else if young(self.embedding_ns) {
            object.embedding.clone_from(&self.seen.embedding);
        }
    }

    /// Drops what models said that are not there any more.
    pub fn forget(&mut self, stale: &Stale) {
        let kept = |a: &Attribute| !stale.attributes.iter().any(|model| *model.name == *a.name);
        let mut next = self.seen.attributes.iter();
        self.attributes_ns.retain(|_| next.next().is_some_and(kept));
        self.seen.attributes.retain(kept);
        if stale.keypoints {
            self.seen.keypoints.clear();
            self.seen.skeleton = None;
        }
        if stale.embeddings {
            self.seen.embedding = None;
            self.look.clear();
        }
    }

    /// Confirms the identity if it was matched `min_hits` times with confidences of [`CONFIRMING`] on average, or more
    /// often with less; says whether it was confirmed by this call.
    pub fn settle(&mut self, min_hits: u32) -> bool {
        let enough = min_hits <= 1 || (self.hits >= min_hits && self.evidence >= CONFIRMING * min_hits as f32);
        let settled = enough && !self.confirmed;
        self.confirmed |= enough;
        settled
    }

    /// How a match with it is to be reported.
    pub fn state(&self) -> TrackState {
        if self.confirmed { TrackState::Confirmed } else { TrackState::Tentative }
    }

    /// How long it has not been seen at `now_ns`.
    pub fn unseen(&self, now_ns: u64) -> u64 {
        now_ns.saturating_sub(self.seen_ns)
    }

    /// The identity as it stands at `now_ns` on the tracker's clock, for a frame seen by `view`.
    /// Its motion is that against the picture's background; the `view` adds the background's own.
    pub fn report(&self, now_ns: u64, state: TrackState, motion: &Motion, view: &View) -> Track {
        let (vx, vy) = motion.velocity();
        Track {
            id: self.id,
            state,
            age_ns: now_ns.saturating_sub(self.born_ns),
            unseen_ns: self.unseen(now_ns),
            velocity: ((vx + view.velocity.0) / view.aspect, vy + view.velocity.1),
        }
    }

    /// The object as predicted for `now_ns`, clipped to the frame; `None` where it has left the frame. It has no id and
    /// no parent yet.
    pub fn predicted(&self, now_ns: u64, motion: &Motion, view: &View) -> Option<Object> {
        let b = motion.bbox();
        let whole = BBox { x: b.x / view.aspect, w: b.w / view.aspect, ..b };
        let bbox = whole.clipped();
        if bbox.area() <= 0.0 {
            return None;
        }
        let mut object = self.seen.clone();
        let old = self.seen.bbox;
        for k in &mut object.keypoints {
            (k.x, k.y) = carried((k.x, k.y), old, whole);
        }
        for corner in object.corners.iter_mut().flatten() {
            *corner = carried(*corner, old, whole);
        }
        object.bbox = bbox;
        object.mask = object.mask.map(|m| if bbox == whole { m } else { Arc::new(cut(&m, whole, bbox)) });
        object.track = Some(self.report(now_ns, TrackState::Predicted, motion, view));
        object.parent = None;
        Some(object)
    }

    /// Stretches the horizontal axis by `k`, for a frame whose shape changed.
    pub fn stretch(&mut self, k: f32) {
        self.motion.stretch(f64::from(k));
    }
}

/// What the tracker knows about the picture as a whole.
#[derive(Debug, Clone, Copy)]
pub struct View {
    /// Width over height of the frame.
    pub aspect: f32,
    /// How fast the picture moves as the camera turns, frame heights per second.
    pub velocity: (f32, f32),
}

/// What must be equal for two objects to be of one class: the label. The class's number counts only without one, since each
/// model has numbers of its own. FNV-1a.
pub fn kind(object: &Object) -> u64 {
    let number = object.class_id.to_le_bytes();
    let bytes = if object.label.is_empty() { &number } else { object.label.as_bytes() };
    let mix = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, mix)
}

/// Product of two vectors of one length; of two embeddings the cosine of the angle between them.
pub fn dot(a: &[f32], b: &[f32]) -> f32 {
    // Eight sums side by side, as the compiler may not change the order of one sum to use wide registers.
    let mut sums = [0.0f32; 8];
    let (a8, b8) = (a.chunks_exact(8), b.chunks_exact(8));
    let rest: f32 = a8.remainder().iter().zip(b8.remainder()).map(|(x, y)| x * y).sum();
    for (x, y) in a8.zip(b8) {
        sums.iter_mut().zip(x.iter().zip(y)).for_each(|(s, (x, y))| *s += x * y);
    }
    sums.iter().sum::<f32>() + rest
}

/// Where a point of a thing in box `from` is once the thing is in box `to`.
fn carried(point: (f32, f32), from: BBox, to: BBox) -> (f32, f32) {
    (to.x + (point.0 - from.x) * to.w / from.w, to.y + (point.1 - from.y) * to.h / from.h)
}

/// Nanoseconds to seconds.
pub fn seconds(ns: u64) -> f64 {
    ns as f64 / 1e9
}

/// `to = from.clone()`, into the memory that `to` has.
fn copy(to: &mut Object, from: &Object) {
    to.id = from.id;
    to.class_id = from.class_id;
    to.label.clone_from(&from.label);
    to.confidence = from.confidence;
    to.bbox = from.bbox;
    to.attributes.clone_from(&from.attributes);
    to.keypoints.clone_from(&from.keypoints);
    to.skeleton.clone_from(&from.skeleton);
    to.mask.clone_from(&from.mask);
    to.corners = from.corners;
    to.embedding.clone_from(&from.embedding);
    to.parent = from.parent;
}

/// The part of a mask over `whole` that lies in `part`, at the same resolution (nearest value).
fn cut(mask: &Mask, whole: BBox, part: BBox) -> Mask {
    let size = |n: u32, d: f32, full: f32| ((n as f32 * d / full).round() as u32).clamp(1, n.max(1));
    let (width, height) = (size(mask.width, part.w, whole.w), size(mask.height, part.h, whole.h));
    let at = |i: u32, n: u32, start: f32, extent: f32, origin: f32, full: f32, cells: u32| {
        let position = start + (i as f32 + 0.5) / n as f32 * extent;
        (((position - origin) / full * cells as f32) as u32).min(cells.saturating_sub(1))
    };
    let mut data = Vec::with_capacity(width as usize * height as usize);
    for y in 0..height {
        let row = at(y, height, part.y, part.h, whole.y, whole.h, mask.height);
        for x in 0..width {
            let column = at(x, width, part.x, part.w, whole.x, whole.w, mask.width);
            let i = row as usize * mask.width as usize + column as usize;
            data.push(mask.data.get(i).copied().unwrap_or(0));
        }
    }
    Mask { width, height, data }
}
