//! Finds the few boxes over the threshold among thousands.

use super::{BOX, YoloV8};
use crate::post::{Candidates, Thresholds, view};

/// Boxes that are scanned together: their best scores stay in the first-level cache over all classes.
pub(super) const BLOCK: usize = 1024;

impl YoloV8 {
    /// `[channels, count]`: the classes of a block of boxes are scanned row by row, so that memory is read in
    /// order and the maximum vectorises; only boxes over the threshold are looked at again.
    pub(super) fn boxes_last(&self, values: &[f32], count: usize, thresholds: &Thresholds, out: &mut Candidates) {
        let lowest = thresholds.lowest();
        let rows = || values.chunks_exact(count);
        let classes = || rows().skip(self.first).take(self.classes);
        let mut boxes = rows();
        let (Some(a), Some(b), Some(c), Some(d)) = (boxes.next(), boxes.next(), boxes.next(), boxes.next()) else {
            return;
        };
        let angles = rows().nth(self.first + self.classes);
        for start in (0..count).step_by(BLOCK) {
            let len = BLOCK.min(count - start);
            let (mut best, mut poison) = ([f32::NEG_INFINITY; BLOCK], [0.0f32; BLOCK]);
            for row in classes().filter_map(|row| row.get(start..start + len)) {
                for ((best, poison), v) in best.iter_mut().zip(&mut poison).zip(row) {
                    *best = if *v > *best { *v } else { *best };
                    // 0 for a finite value, NaN for any other.
                    *poison += *v * 0.0;
                }
            }
            for (j, (best, poison)) in best.iter().zip(&poison).take(len).enumerate() {
                let (i, score) = (start + j, best + poison);
                // NaN goes on to the guard.
                if score < lowest {
                    continue;
                }
                let class_id = view::position(classes().filter_map(|row| row.get(i).copied()), score);
                if !thresholds.accepts(class_id, score) {
                    continue;
                }
                if let (Some(a), Some(b), Some(c), Some(d)) = (a.get(i), b.get(i), c.get(i), d.get(i)) {
                    let angle = angles.and_then(|row| row.get(i)).copied();
                    out.push(self.propose([*a, *b, *c, *d], angle, score, class_id, i));
                }
            }
        }
    }

    /// `[boxes, channels]`: one row per box.
    pub(super) fn boxes_first(&self, values: &[f32], thresholds: &Thresholds, out: &mut Candidates) {
        let lowest = thresholds.lowest();
        let end = self.first + self.classes;
        for (i, row) in values.chunks_exact(self.channels()).enumerate() {
            let (Some(numbers), Some(classes)) = (row.first_chunk::<BOX>(), row.get(self.first..end)) else { continue };
            let score = view::peak(classes);
            if score < lowest {
                continue;
            }
            let class_id = view::position(classes.iter().copied(), score);
            if thresholds.accepts(class_id, score) {
                out.push(self.propose(*numbers, row.get(end).copied(), score, class_id, i));
            }
        }
    }
}
