//! Which detection belongs to which track: overlap of boxes, then the best assignment.

use std::ops::Range;

use super::assignment::Assignment;
use crate::result::BBox;

/// A detection of this frame that may continue or start a track.
#[derive(Debug, Clone, Copy)]
pub struct Candidate {
    /// Index into the frame's objects.
    pub object: usize,
    /// Box in frame heights.
    pub bbox: BBox,
    /// Class, see [`kind`](super::track::kind).
    pub kind: u64,
    /// Whether it was found in another object.
    pub inner: bool,
    /// 0..1.
    pub confidence: f32,
    /// Whether a track has it already.
    pub taken: bool,
}

/// A track that looks for its detection.
#[derive(Debug, Clone, Copy)]
pub struct Seeker {
    /// Index into the tracker's tracks.
    pub track: usize,
    /// Where it should be, in frame heights.
    pub bbox: BBox,
    /// Class.
    pub kind: u64,
    /// Whether it is found in another object.
    pub inner: bool,
    /// Part of its size by which the boxes of a pair grow on every side before their overlap is taken.
    pub buffer: f32,
    /// How far it may be from there after its time unseen, in its sizes.
    pub range: f32,
}

/// What appearance says about a pair.
#[derive(Debug, Clone, Copy)]
pub struct Likeness {
    /// Part that it has in the decision, 0..1.
    pub weight: f32,
    /// Cosine of the two embeddings, less the one from which two are held to be of one object.
    pub excess: f32,
}

/// The rules of one stage.
#[derive(Debug, Clone, Copy)]
pub struct Stage {
    /// Confidence from which a candidate takes part, and below which it does.
    pub confidence: (f32, f32),
    /// Overlap, see [`overlap`], that a pair must exceed.
    pub min_overlap: f32,
    /// Whether both must be of one class.
    pub class_aware: bool,
}

impl Stage {
    /// Whether the pair may be matched, wherever the two are.
    fn admits(&self, seeker: &Seeker, c: &Candidate) -> bool {
        let wanted = !c.taken && c.confidence >= self.confidence.0 && c.confidence < self.confidence.1;
        wanted && c.inner == seeker.inner && (!self.class_aware || c.kind == seeker.kind)
    }
}

/// Largest ratio of the heights of one object before and after it was lost.
const SAME_SIZE: f32 = 2.0;

/// Matches seekers with the candidates of a frame. Buffers are kept between frames.
#[derive(Debug, Default)]
pub struct Association {
    /// By left edge.
    candidates: Vec<Candidate>,
    widest: f32,
    solver: Assignment,
    #[cfg(test)]
    tested: u64,
}

impl Association {
    /// Begins a frame with these candidates.
    pub fn begin(&mut self, candidates: impl Iterator<Item = Candidate>) {
        self.candidates.clear();
        self.candidates.extend(candidates);
        let place = |a: &Candidate, b: &Candidate| a.bbox.x.total_cmp(&b.bbox.x).then(a.bbox.y.total_cmp(&b.bbox.y));
        let surer = |a: &Candidate, b: &Candidate| b.confidence.total_cmp(&a.confidence);
        // The order of the objects decides last, as it should make no difference.
        self.candidates.sort_unstable_by(|a, b| place(a, b).then(surer(a, b)).then(a.object.cmp(&b.object)));
        self.widest = self.candidates.iter().fold(0.0, |w, c| w.max(c.bbox.w));
    }

    /// All candidates, ordered by their left edge.
    pub fn candidates(&self) -> &[Candidate] {
        &self.candidates
    }

    /// Weighs the pairs of one stage by overlap. `likeness` says for a pair that overlaps enough how much its appearance
    /// speaks for it (above 0) or against it; `None` leaves it to the overlap. [`settle`](Self::settle) ends the stage.
    pub fn weigh(
        &mut self,
        stage: &Stage,
        seekers: &[Seeker],
        likeness: impl Fn(&Seeker, &Candidate) -> Option<Likeness>,
    ) {
        self.solver.clear(self.candidates.len());
        for seeker in seekers.iter() {
            self.solver.row();
            let own = grown(seeker.bbox, seeker.buffer);
            let reach = self.reach(own, seeker.buffer);
            #[cfg(test)]
            {
                self.tested += reach.len() as u64;
            }
            for i in reach {
                let Some(c) = self.candidates.get(i) else { break };
                if !stage.admits(seeker, c) {
                    continue;
                }
                let excess = overlap(&own, &grown(c.bbox, seeker.buffer)) - stage.min_overlap;
                let benefit = match likeness(seeker, c) {
                    Some(l) if excess > 0.0 => {
                        (1.0 - l.weight) * excess + l.weight * (1.0 - stage.min_overlap) * l.excess
                    }
                    _ => excess,
                };
                self.solver.pair(i, benefit);
            }
        }
    }

    /// Weighs the pairs of one stage by appearance alone, for seekers whose prediction cannot be trusted any more: the candidate may be
    /// as far from it as the seeker may have gone, and may be matched if `likeness` is above 0.
    pub fn recall(
        &mut self,
        stage: &Stage,
        seekers: &[Seeker],
        likeness: impl Fn(&Seeker, &Candidate) -> Option<Likeness>,
    ) {
        self.solver.clear(self.candidates.len());
        for seeker in seekers.iter() {
            self.solver.row();
            let (b, size) = (seeker.bbox, (seeker.bbox.w * seeker.bbox.h).sqrt());
            let (x, y, range) = (b.x + b.w / 2.0, b.y + b.h / 2.0, size * seeker.range);
            let first = self.candidates.partition_point(|c| c.bbox.x + self.widest < x - range);
            for (i, c) in self.candidates.iter().enumerate().skip(first) {
                if c.bbox.x > x + range {
                    break;
                }
                let way = (c.bbox.x + c.bbox.w / 2.0 - x).hypot(c.bbox.y + c.bbox.h / 2.0 - y);
                let alike = c.bbox.h < b.h * SAME_SIZE && b.h < c.bbox.h * SAME_SIZE;
                if way <= range && alike && stage.admits(seeker, c) {
                    #[cfg(test)]
                    {
                        self.tested += 1;
                    }
                    self.solver.pair(i, likeness(seeker, c).map_or(0.0, |l| l.excess));
                }
            }
        }
    }

    /// Ends a stage: takes matched seekers out of `seekers`, those that were weighed, and calls `matched` for each pair.
    pub fn settle(&mut self, seekers: &mut Vec<Seeker>, mut matched: impl FnMut(&Seeker, &Candidate)) {
        let held = self.solver.solve();
        let mut row = 0;
        let candidates = &mut self.candidates;
        seekers.retain(|seeker| {
            let found = held.get(row).copied().flatten().and_then(|i| candidates.get_mut(i));
            row += 1;
            let Some(candidate) = found else { return true };
            candidate.taken = true;
            matched(seeker, candidate);
            false
        });
    }

    /// The candidates whose left edge is no more than `way` from `x`.
    pub fn beside(&self, x: f32, way: f32) -> impl Iterator<Item = &Candidate> {
        let first = self.candidates.partition_point(|c| c.bbox.x < x - way);
        self.candidates.iter().skip(first).take_while(move |c| c.bbox.x <= x + way)
    }

    /// Whether a candidate of the same class that a track has lies on this one, with more than `min_iou` in common.
    pub fn covered(&self, own: &Candidate, min_iou: f32) -> bool {
        let same = |c: &Candidate| c.kind == own.kind && c.inner == own.inner;
        let taken = |c: &Candidate| c.taken && same(c) && c.bbox.iou(&own.bbox) > min_iou;
        self.reach(own.bbox, 0.0).any(|i| self.candidates.get(i).is_some_and(taken))
    }

    /// The candidates that, grown by `buffer`, may touch `own`: all others begin right of it, or so far left of it that
    /// even the widest box ends before it.
    fn reach(&self, own: BBox, buffer: f32) -> Range<usize> {
        let margin = self.widest * buffer;
        let first = self.candidates.partition_point(|c| c.bbox.x + self.widest + margin < own.x);
        let last = self.candidates.partition_point(|c| c.bbox.x - margin <= own.x2());
        first..last.max(first)
    }

    /// Overlaps taken and pairs searched so far: the measure of work that tests use.
    #[cfg(test)]
    pub fn steps(&self) -> u64 {
        self.tested + self.solver.steps()
    }
}

/// How well two boxes agree, 0..1: intersection over union, times the same of their vertical extents (Yang et al.,
/// *Hybrid-SORT*, AAAI 2024). Feet and heads at one height tell people who pass each other apart better than area alone.
fn overlap(a: &BBox, b: &BBox) -> f32 {
    let iou = a.iou(b);
    if iou <= 0.0 {
        return 0.0;
    }
    let both = a.y2().min(b.y2()) - a.y.max(b.y);
    let either = a.y2().max(b.y2()) - a.y.min(b.y);
    iou * both / either
}

/// The box with `part` of its size added on every side (Yang et al., *Hard to Track Objects with Irregular Motions
/// and Similar Appearances?*, WACV 2023: buffered overlap also finds what moved further than its own size).
fn grown(b: BBox, part: f32) -> BBox {
    BBox { x: b.x - part * b.w, y: b.y - part * b.h, w: b.w * (1.0 + 2.0 * part), h: b.h * (1.0 + 2.0 * part) }
}
