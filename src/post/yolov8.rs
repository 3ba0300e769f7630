//! The YOLOv8 layout (Ultralytics v8 to v12): `[1, 4 + classes, boxes]` or, transposed, `[1, boxes, 4 + classes]`,
//! with or without the batch. A box is centre x, centre y, width, height in pixels of the input; class scores are
//! probabilities already and there is no objectness.
//!
//! Source: Ultralytics `nn/modules/head.py` (`Detect`) and `utils/ops.py` (`non_max_suppression`, single-label).

use super::{Candidate, Candidates, Decoder, PostError, Thresholds, view};
use crate::bundle::contract::{Activation, InputContract, OutputContract};
use crate::engine::{Spec, Tensor};

/// Boxes that are scanned together: their best scores stay in the first-level cache over all classes.
const BLOCK: usize = 1024;

/// Centre x, centre y, width, height.
const BOX: usize = 4;

/// Which dimension counts the boxes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    /// `[4 + classes, boxes]`.
    BoxesLast,
    /// `[boxes, 4 + classes]`.
    BoxesFirst,
}

/// Decoder of the YOLOv8 layout.
pub struct YoloV8 {
    reader: view::Reader,
    output: usize,
    /// Row of the first class that has a label.
    first: usize,
    classes: usize,
}

impl YoloV8 {
    /// A decoder for a model with `classes` labels.
    ///
    /// # Errors
    /// [`PostError`] if no output has a dimension of 4 + `class-offset` + `classes`, or it is not float.
    pub fn new(
        output: &OutputContract,
        _input: &InputContract,
        classes: usize,
        spec: &Spec,
    ) -> Result<Self, PostError> {
        view::activation(output, Activation::None, &[Activation::None])?;
        let decoder = output.decoder.as_str();
        let first = BOX + output.class_offset as usize;
        let channels = first + classes;
        let reader = view::Reader {
            decoder,
            expected: format!("[1, {channels}, boxes] or [1, boxes, {channels}] (4 for the box, 1 for each class)"),
            fix: "Give the file named by `labels` one line per class, or set `output.decoder` to the model's family",
        };
        let this = Self { reader, output: 0, first, classes };
        let fits = |shape: &view::Shape| {
            view::promised::<2>(shape).is_some_and(|[a, b]| view::may_be(a, channels) || view::may_be(b, channels))
        };
        let Some((index, tensor)) = spec.outputs.iter().enumerate().find(|(_, t)| fits(&t.shape)) else {
            return Err(this.explain(output.class_offset, spec));
        };
        view::check_float(output, tensor)?;
        Ok(Self { output: index, ..this })
    }

    /// Says why no output fits: a different number of classes, or another layout.
    fn explain(&self, offset: u32, spec: &Spec) -> PostError {
        let Some(tensor) = spec.outputs.first() else {
            let (decoder, needs) = (self.reader.decoder, "one output with boxes and class scores");
            return PostError::Missing { decoder, needs, found: view::list(&spec.outputs) };
        };
        match view::promised::<2>(&tensor.shape) {
            Some([Some(a), Some(b)]) if a.min(b) > BOX => PostError::Classes {
                tensor: tensor.name.clone(),
                found: view::shape_text(&tensor.shape),
                classes: a.min(b) - BOX,
                labels: self.classes,
                offset,
            },
            _ => self.reader.refuse(tensor),
        }
    }

    /// The order of a run's tensor. Where both fit, the exporter's own (boxes last) is meant.
    fn order(&self, a: usize, b: usize) -> Option<Order> {
        let channels = self.first + self.classes;
        if a == channels {
            Some(Order::BoxesLast)
        } else if b == channels {
            Some(Order::BoxesFirst)
        } else {
            None
        }
    }

    /// `[4 + classes, count]`: the classes of a block of boxes are scanned row by row, so that memory is read in
    /// order and the maximum vectorises; only boxes over the threshold are looked at again.
    fn boxes_last(&self, values: &[f32], count: usize, thresholds: &Thresholds, out: &mut Candidates) {
        let lowest = thresholds.lowest();
        let rows = || values.chunks_exact(count);
        let mut boxes = rows();
        let (Some(cx), Some(cy), Some(w), Some(h)) = (boxes.next(), boxes.next(), boxes.next(), boxes.next()) else {
            return;
        };
        for start in (0..count).step_by(BLOCK) {
            let len = BLOCK.min(count - start);
            let (mut best, mut poison) = ([f32::NEG_INFINITY; BLOCK], [0.0f32; BLOCK]);
            for row in rows().skip(self.first).filter_map(|row| row.get(start..start + len)) {
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
                let column = rows().skip(self.first).filter_map(|row| row.get(i).copied());
                let class_id = view::position(column, score);
                if !thresholds.accepts(class_id, score) {
                    continue;
                }
                if let (Some(cx), Some(cy), Some(w), Some(h)) = (cx.get(i), cy.get(i), w.get(i), h.get(i)) {
                    out.push(Candidate::from_centre(*cx, *cy, *w, *h, score, class_id));
                }
            }
        }
    }

    /// `[boxes, 4 + classes]`: one row per box.
    fn boxes_first(&self, values: &[f32], thresholds: &Thresholds, out: &mut Candidates) {
        let lowest = thresholds.lowest();
        for row in values.chunks_exact(self.first + self.classes) {
            let (Some([cx, cy, w, h]), Some(classes)) = (row.first_chunk(), row.get(self.first..)) else { continue };
            let score = view::peak(classes);
            if score < lowest {
                continue;
            }
            let class_id = view::position(classes.iter().copied(), score);
            if thresholds.accepts(class_id, score) {
                out.push(Candidate::from_centre(*cx, *cy, *w, *h, score, class_id));
            }
        }
    }
}

impl Decoder for YoloV8 {
    fn decode(&self, outputs: &[Tensor], thresholds: &Thresholds, out: &mut Candidates) -> Result<(), PostError> {
        let ([a, b], values) = self.reader.read(outputs, self.output, |[a, b]| self.order(a, b).is_some())?;
        match self.order(a, b) {
            Some(Order::BoxesLast) if b > 0 => self.boxes_last(values, b, thresholds, out),
            Some(Order::BoxesFirst) => self.boxes_first(values, thresholds, out),
            _ => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::post::tests::{accept_over, input, one_output};

    /// Two classes, three boxes, boxes last: row by row centre x, centre y, width, height, class 0, class 1.
    const VALUES: [f32; 18] = [
        50.0, 100.0, 150.0, // cx
        60.0, 110.0, 160.0, // cy
        20.0, 40.0, 10.0, // w
        10.0, 30.0, 20.0, // h
        0.9, 0.1, 0.3, // class 0
        0.2, 0.7, 0.39, // class 1
    ];

    fn transposed(values: &[f32], rows: usize) -> Vec<f32> {
        let columns = values.len() / rows;
        (0..values.len()).map(|i| values[(i % rows) * columns + i / rows]).collect()
    }

    fn expected() -> Vec<Candidate> {
        vec![
            Candidate { x1: 40.0, y1: 55.0, x2: 60.0, y2: 65.0, score: 0.9, class_id: 0, ..Candidate::default() },
            Candidate { x1: 80.0, y1: 95.0, x2: 120.0, y2: 125.0, score: 0.7, class_id: 1, ..Candidate::default() },
        ]
    }

    fn decode(shape: &[usize], values: Vec<f32>, classes: usize, thresholds: &Thresholds) -> Vec<Candidate> {
        let spec = one_output("output0", &[None, None, None]);
        let decoder = YoloV8::new(&contract(), &input(640, 640), classes, &spec).unwrap();
        let mut out = Vec::new();
        decoder.decode(&[Tensor::from_f32("output0", shape, values)], thresholds, &mut out).unwrap();
        out
    }

    fn contract() -> OutputContract {
        OutputContract::new(crate::bundle::contract::DecoderKind::Yolov8)
    }

    #[test]
    fn both_orders_with_and_without_batch_say_the_same() {
        let t = accept_over(0.4, 2);
        assert_eq!(decode(&[1, 6, 3], VALUES.into(), 2, &t), expected());
        assert_eq!(decode(&[6, 3], VALUES.into(), 2, &t), expected());
        assert_eq!(decode(&[1, 3, 6], transposed(&VALUES, 6), 2, &t), expected());
        assert_eq!(decode(&[3, 6], transposed(&VALUES, 6), 2, &t), expected());
    }

    #[test]
    fn a_class_has_its_own_threshold_and_the_limit_itself_counts() {
        let mut t = accept_over(0.4, 2);
        t.per_class = vec![0.95, 0.39];
        let classes: Vec<(u32, f32)> =
            decode(&[1, 6, 3], VALUES.into(), 2, &t).iter().map(|c| (c.class_id, c.score)).collect();
        assert_eq!(classes, [(1, 0.7), (1, 0.39)]);
    }

    #[test]
    fn one_class_and_many_blocks() {
        let count = BLOCK * 2 + 3;
        let mut values = vec![10.0; 5 * count];
        values[4 * count..].fill(0.0);
        for i in [0, BLOCK - 1, BLOCK, count - 1] {
            values[4 * count + i] = 0.5 + i as f32 / 1e5;
        }
        let scores: Vec<f32> =
            decode(&[1, 5, count], values, 1, &accept_over(0.4, 1)).iter().map(|c| c.score).collect();
        assert_eq!(scores, [0.5, 0.51023, 0.51024, 0.5205]);
    }

    #[test]
    fn a_value_that_is_not_finite_reaches_the_guard() {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let mut values = VALUES;
            values[12] = bad;
            let t = accept_over(0.4, 2);
            for out in [decode(&[6, 3], values.into(), 2, &t), decode(&[3, 6], transposed(&values, 6), 2, &t)] {
                assert_eq!(out.len(), 2, "{bad}");
                assert!(out[0].score.is_nan());
                assert_eq!(out[1], expected()[1]);
            }
        }
    }

    #[test]
    fn a_wrong_class_count_is_told_with_both_numbers() {
        let spec = one_output("output0", &[Some(1), Some(84), Some(8400)]);
        assert_eq!(
            YoloV8::new(&contract(), &input(640, 640), 79, &spec).err().unwrap().to_string(),
            "output `output0` [1, 84, 8400] holds 80 classes, but there are 79 labels and `output.class-offset` is 0: \
             give the file named by `labels` one line per class, or set `output.class-offset` to the number of classes \
             before the first label"
        );
        let error = YoloV8::new(&contract(), &input(640, 640), 80, &one_output("output0", &[Some(1), Some(1000)]))
            .err()
            .unwrap();
        assert_eq!(
            error.to_string(),
            "output `output0` has the shape [1, 1000]; decoder yolov8 expects [1, 84, boxes] or [1, boxes, 84] (4 for \
             the box, 1 for each class). Give the file named by `labels` one line per class, or set `output.decoder` \
             to the model's family"
        );
    }

    #[test]
    fn a_run_that_breaks_the_promise_is_an_error() {
        let decoder =
            YoloV8::new(&contract(), &input(640, 640), 2, &one_output("output0", &[None, None, None])).unwrap();
        let run = |tensor| decoder.decode(&[tensor], &accept_over(0.4, 2), &mut Vec::new());
        let short = run(Tensor::from_f32("output0", &[1, 6, 3], vec![0.0; 17]));
        assert!(matches!(short, Err(PostError::Length { found: 17, expected: 18, .. })));
        let wrong = run(Tensor::from_f32("output0", &[1, 7, 3], vec![0.0; 21]));
        assert!(matches!(wrong, Err(PostError::Shape { .. })));
        assert!(run(Tensor::from_f32("output0", &[1, 6, 0], vec![])).is_ok());
        assert!(matches!(decoder.decode(&[], &accept_over(0.4, 2), &mut Vec::new()), Err(PostError::Missing { .. })));
    }
}
