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
    /// Class.
    pub class_id: u32,
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
    pub class_id: u32,
    /// Part of its size by which the boxes of a pair grow on every side before their overlap is taken.
    pub buffer: f32,
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
        self.candidates.sort_unstable_by(|a, b| a.bbox.x.total_cmp(&b.bbox.x).then(a.object.cmp(&b.object)));
        self.widest = self.candidates.iter().fold(0.0, |w, c| w.max(c.bbox.w));
    }

    /// All candidates, ordered by their left edge.
    pub fn candidates(&self) -> &[Candidate] {
        &self.candidates
    }

    /// Runs one stage: takes matched seekers out of `seekers` and calls `matched` for each pair.
    pub fn run(&mut self, stage: &Stage, seekers: &mut Vec<Seeker>, mut matched: impl FnMut(&Seeker, &Candidate)) {
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
                let wanted = !c.taken && c.confidence >= stage.confidence.0 && c.confidence < stage.confidence.1;
                if wanted && (!stage.class_aware || c.class_id == seeker.class_id) {
                    self.solver.pair(i, overlap(&own, &grown(c.bbox, seeker.buffer)) - stage.min_overlap);
                }
            }
        }
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

    /// Whether a candidate of `class_id` that a track has lies on `bbox`, with more than `min_iou` in common.
    pub fn covered(&self, bbox: BBox, class_id: u32, min_iou: f32) -> bool {
        let taken = |c: &Candidate| c.taken && c.class_id == class_id && c.bbox.iou(&bbox) > min_iou;
        self.reach(bbox, 0.0).any(|i| self.candidates.get(i).is_some_and(taken))
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
