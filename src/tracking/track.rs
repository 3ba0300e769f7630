//! One identity: its motion, its history, and what the detector last said about it.

use std::sync::Arc;

use super::kalman::Motion;
use crate::result::{BBox, Mask, Object, Track, TrackState};

/// Mean confidence of the matches that confirm an identity in the fewest frames.
const CONFIRMING: f32 = 0.75;

/// One identity.
#[derive(Debug)]
pub struct Identity {
    /// From 1 upwards.
    pub id: u64,
    /// Belief about the box at the time of the last analysed frame, in frame heights.
    pub motion: Motion,
    /// The object of the last match; its box is not kept up to date.
    seen: Object,
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
            motion: Motion::new(bbox),
            seen: object.clone(),
            born_ns: now_ns,
            seen_ns: now_ns,
            hits: 1,
            evidence: object.confidence,
            missed: 0,
            confirmed: false,
        }
    }

    /// Class of the last match.
    pub fn class_id(&self) -> u32 {
        self.seen.class_id
    }

    /// Takes in a match at `now_ns`; `motion` has been advanced to that time.
    pub fn hit(&mut self, now_ns: u64, bbox: BBox, object: &Object) {
        self.motion.correct(bbox);
        self.seen_ns = now_ns;
        self.hits = self.hits.saturating_add(1);
        self.evidence += object.confidence;
        self.missed = 0;
        copy(&mut self.seen, object);
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

    /// The identity as it stands at `now_ns` on the tracker's clock, for a frame `aspect` times as wide as high.
    pub fn report(&self, now_ns: u64, state: TrackState, motion: &Motion, aspect: f32) -> Track {
        let (vx, vy) = motion.velocity();
        Track {
            id: self.id,
            state,
            age_ns: now_ns.saturating_sub(self.born_ns),
            unseen_ns: self.unseen(now_ns),
            velocity: (vx / aspect, vy),
        }
    }

    /// The object as predicted for `now_ns`, clipped to the frame; `None` where it has left the frame.
    pub fn predicted(&self, now_ns: u64, motion: &Motion, aspect: f32) -> Option<Object> {
        let b = motion.bbox();
        let whole = BBox { x: b.x / aspect, w: b.w / aspect, ..b };
        let bbox = whole.clipped();
        if bbox.area() <= 0.0 {
            return None;
        }
        let mut object = self.seen.clone();
        let old = self.seen.bbox;
        for k in &mut object.keypoints {
            k.x = whole.x + (k.x - old.x) * whole.w / old.w;
            k.y = whole.y + (k.y - old.y) * whole.h / old.h;
        }
        object.bbox = bbox;
        object.mask = object.mask.map(|m| if bbox == whole { m } else { Arc::new(cut(&m, whole, bbox)) });
        object.track = Some(self.report(now_ns, TrackState::Predicted, motion, aspect));
        Some(object)
    }

    /// Stretches the horizontal axis by `k`, for a frame whose shape changed.
    pub fn stretch(&mut self, k: f32) {
        self.motion.stretch(f64::from(k));
    }
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
