//! YOLOX: `[1, cells, 5 + classes]` raw grid answers. A row is centre x, centre y, width, height, objectness, classes;
//! centre = (value + cell) · stride, size = exp(value) · stride. Objectness and class scores are probabilities already
//! (the export applies the sigmoid); the confidence is their product. Models exported with `decode_in_inference` have the
//! same shape but finished boxes in pixels: they are read by `decoder = "yolov5"`.
//!
//! Source: Megvii YOLOX, `demo_postprocess` in `yolox/utils/demo_utils.py`.

use super::{Candidate, Candidates, Decoder, PostError, Thresholds, view};
use crate::bundle::contract::{Activation, InputContract, OutputContract};
use crate::engine::{Spec, Tensor};

/// Strides of the usual three levels and of the four of a P6 model.
const STRIDES: [&[u32]; 2] = [&[8, 16, 32], &[8, 16, 32, 64]];

/// Centre, size, objectness.
const HEAD: usize = 5;

/// A cell of the grid.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Cell {
    x: f32,
    y: f32,
    stride: f32,
}

/// The cells of an input `width` × `height`, level by level, row by row.
fn grid(strides: &[u32], width: u32, height: u32) -> Vec<Cell> {
    let mut cells = Vec::new();
    for stride in strides {
        for y in 0..height / stride {
            cells.extend((0..width / stride).map(|x| Cell { x: x as f32, y: y as f32, stride: *stride as f32 }));
        }
    }
    cells
}

/// How many cells an input `width` × `height` has, for each of the known sets of strides.
pub(super) fn cell_counts(width: u32, height: u32) -> [usize; 2] {
    STRIDES.map(|strides| strides.iter().map(|s| (width / s) as usize * (height / s) as usize).sum())
}

/// Decoder of raw YOLOX answers.
pub struct Yolox {
    reader: view::Reader,
    output: usize,
    cells: Vec<Cell>,
    /// Column of the first class that has a label.
    first: usize,
    columns: usize,
}

impl Yolox {
    /// A decoder for a model with `classes` labels.
    ///
    /// # Errors
    /// [`PostError`] if no output has as many cells as the input's size makes, the class count is not that of the
    /// labels, or the output is not float.
    pub fn new(output: &OutputContract, input: &InputContract, classes: usize, spec: &Spec) -> Result<Self, PostError> {
        view::activation(output, Activation::None, &[Activation::None])?;
        let decoder = output.decoder.as_str();
        let (first, counts) = (HEAD + output.class_offset as usize, cell_counts(input.width, input.height));
        let columns = first + classes;
        let reader = view::Reader {
            decoder,
            expected: format!(
                "[1, {}, {columns}] (the cells of a {}x{} input at strides 8, 16, 32, or {} with 64; 5 columns for box \
                 and objectness, 1 for each class)",
                counts[0], input.width, input.height, counts[1]
            ),
            fix: "Set `input.size` to the size that the model was exported for, or `output.decoder` to its family",
        };
        let rows = |shape: &view::Shape| view::promised::<2>(shape).map(|[rows, _]| rows);
        let level = |rows: Option<usize>| rows.map_or(Some(0), |n| counts.iter().position(|c| *c == n));
        let fits = |shape: &view::Shape| rows(shape).is_some_and(|rows| level(rows).is_some());
        let (index, tensor) = match spec.outputs.iter().enumerate().find(|(_, t)| fits(&t.shape)).or(spec
            .outputs
            .iter()
            .enumerate()
            .next())
        {
            Some(found) => found,
            None => {
                let (needs, found) = ("one output with boxes, objectness and class scores", view::list(&spec.outputs));
                return Err(PostError::Missing { decoder, needs, found });
            }
        };
        let Some([rows, found]) = view::promised::<2>(&tensor.shape) else { return Err(reader.refuse(tensor)) };
        let Some(strides) = level(rows).and_then(|i| STRIDES.get(i)) else { return Err(reader.refuse(tensor)) };
        if let Some(found) = found.filter(|c| *c != columns) {
            return Err(PostError::Classes {
                tensor: tensor.name.clone(),
                found: view::shape_text(&tensor.shape),
                classes: found.saturating_sub(HEAD),
                labels: classes,
                offset: output.class_offset,
            });
        }
        view::check_float(output, tensor)?;
        Ok(Self { reader, output: index, cells: grid(strides, input.width, input.height), first, columns })
    }
}

impl Decoder for Yolox {
    fn decode(&self, outputs: &[Tensor], thresholds: &Thresholds, out: &mut Candidates) -> Result<(), PostError> {
        let (_, values) = self.reader.read(outputs, self.output, |dims| dims == [self.cells.len(), self.columns])?;
        let lowest = thresholds.lowest();
        for (row, cell) in values.chunks_exact(self.columns).zip(&self.cells) {
            let (Some([x, y, w, h, objectness]), Some(classes)) = (row.first_chunk(), row.get(self.first..)) else {
                continue;
            };
            // A class score is at most 1, so the product is at most the objectness. NaN goes on to the guard.
            if *objectness < lowest {
                continue;
            }
            let best = view::peak(classes);
            let (class_id, score) = (view::position(classes.iter().copied(), best), best * objectness);
            if thresholds.accepts(class_id, score) {
                let (cx, cy) = ((x + cell.x) * cell.stride, (y + cell.y) * cell.stride);
                let (w, h) = (w.exp() * cell.stride, h.exp() * cell.stride);
                out.push(Candidate::from_centre(cx, cy, w, h, score, class_id));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bundle::contract::DecoderKind;
    use crate::post::tests::{accept_over, input, one_output};

    fn contract() -> OutputContract {
        OutputContract::new(DecoderKind::Yolox)
    }

    #[test]
    fn the_grid_runs_level_by_level_and_row_by_row() {
        // 64 × 32: 8 × 4 cells of 8, 4 × 2 of 16, 2 × 1 of 32.
        let cells = grid(STRIDES[0], 64, 32);
        assert_eq!(cells.len(), 32 + 8 + 2);
        assert_eq!(cells[9], Cell { x: 1.0, y: 1.0, stride: 8.0 });
        assert_eq!(cells[37], Cell { x: 1.0, y: 1.0, stride: 16.0 });
        assert_eq!(cells[41], Cell { x: 1.0, y: 0.0, stride: 32.0 });
        assert_eq!(cell_counts(416, 416), [3549, 3549 + 36]);
    }

    #[test]
    fn a_cell_becomes_a_box() {
        let mut values = vec![0.0; 42 * 7];
        // Cell 37 is (1, 1) at stride 16: centre ((0.5 + 1) · 16, (0.25 + 1) · 16), size (16 · 2, 16 · 1).
        values[37 * 7..38 * 7].copy_from_slice(&[0.5, 0.25, 2f32.ln(), 0.0, 0.8, 0.1, 0.75]);
        // Under the threshold by the product only.
        values[3 * 7..4 * 7].copy_from_slice(&[0.0, 0.0, 0.0, 0.0, 0.9, 0.5, 0.1]);
        let spec = one_output("output", &[Some(1), Some(42), Some(7)]);
        let decoder = Yolox::new(&contract(), &input(64, 32), 2, &spec).unwrap();
        let mut out = Vec::new();
        for shape in [&[1, 42, 7][..], &[42, 7]] {
            out.clear();
            let tensor = Tensor::from_f32("output", shape, values.clone());
            decoder.decode(&[tensor], &accept_over(0.5, 2), &mut out).unwrap();
            let [found] = out.as_slice() else { panic!("{out:?}") };
            let expected = [8.0, 12.0, 40.0, 28.0, 0.6];
            for (a, b) in [found.x1, found.y1, found.x2, found.y2, found.score].iter().zip(expected) {
                assert!((a - b).abs() < 1e-5, "{found:?}");
            }
            assert_eq!(found.class_id, 1);
        }
    }

    #[test]
    fn nan_and_overflow_reach_the_guard() {
        let mut values = vec![0.0; 42 * 6];
        values[0..6].copy_from_slice(&[0.0, 0.0, 0.0, 0.0, f32::NAN, 0.9]);
        values[6..12].copy_from_slice(&[0.0, 0.0, 1000.0, 0.0, 0.9, 0.9]);
        let spec = one_output("output", &[None, None, None]);
        let decoder = Yolox::new(&contract(), &input(64, 32), 1, &spec).unwrap();
        let mut out = Vec::new();
        decoder.decode(&[Tensor::from_f32("output", &[1, 42, 6], values)], &accept_over(0.5, 1), &mut out).unwrap();
        assert_eq!(out.len(), 2);
        assert!(out[0].score.is_nan() && out[1].x2 == f32::INFINITY);
    }

    #[test]
    fn p6_models_have_a_fourth_level() {
        let [p5, p6] = cell_counts(128, 128);
        assert_eq!((p5, p6), (256 + 64 + 16, 256 + 64 + 16 + 4));
        let spec = one_output("output", &[Some(1), Some(p6), Some(6)]);
        let decoder = Yolox::new(&contract(), &input(128, 128), 1, &spec).unwrap();
        assert_eq!(decoder.cells.last(), Some(&Cell { x: 1.0, y: 1.0, stride: 64.0 }));
    }

    #[test]
    fn a_wrong_size_and_a_wrong_class_count_are_told() {
        let spec = one_output("output", &[Some(1), Some(3549), Some(85)]);
        assert_eq!(
            Yolox::new(&contract(), &input(640, 640), 80, &spec).err().unwrap().to_string(),
            "output `output` has the shape [1, 3549, 85]; decoder yolox expects [1, 8400, 85] (the cells of a 640x640 \
             input at strides 8, 16, 32, or 8500 with 64; 5 columns for box and objectness, 1 for each class). Set \
             `input.size` to the size that the model was exported for, or `output.decoder` to its family"
        );
        let error = Yolox::new(&contract(), &input(416, 416), 3, &spec).err().unwrap();
        assert!(matches!(error, PostError::Classes { classes: 80, labels: 3, offset: 0, .. }), "{error}");
    }

    #[test]
    fn an_activation_is_refused() {
        let mut contract = contract();
        contract.activation = Some(Activation::Sigmoid);
        let spec = one_output("output", &[None, None, None]);
        assert_eq!(
            Yolox::new(&contract, &input(64, 32), 1, &spec).err().unwrap().to_string(),
            "`output.activation`: decoder yolox does not apply sigmoid; remove the key or choose from: none"
        );
    }
}
