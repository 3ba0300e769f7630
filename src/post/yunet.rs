//! YuNet faces: for each of the strides 8, 16, 32 class `[1, cells, 1]`, objectness `[1, cells, 1]`, box `[1, cells, 4]`
//! and landmarks `[1, cells, 10]`, row by row of the grid (input / stride, rounded up).
//!
//! Confidence = √(class · objectness), both clamped to 0..1; centre = (cell + value) · stride, size = exp(value) · stride,
//! landmark = (cell + value) · stride. The landmarks are right eye, left eye, nose, right and left corner of the mouth, as
//! the person has them. The outputs are told by their names (`cls_8`, `obj_8`, `bbox_8`, `kps_8`), else by their shapes
//! (class before objectness). The models of before 2023 with prior boxes (`loc`, `conf`, `iou`) are not read.
//!
//! Source: OpenCV `modules/objdetect/src/face_detect.cpp` (`FaceDetectorYNImpl::postProcess`).

use super::keypoints::Skeleton;
use super::{Candidate, Candidates, Decoder, PostError, Thresholds, view};
use crate::bundle::contract::{Activation, InputContract, OutputContract};
use crate::engine::{Spec, Tensor, TensorSpec};
use crate::pre::geometry::Geometry;
use crate::result::Object;

const STRIDES: [u32; 3] = [8, 16, 32];

/// Points of a face.
const POINTS: usize = 5;

/// The outputs of a level: what their names say, and their columns.
const KINDS: [(&str, usize); 4] = [("cls", 1), ("obj", 1), ("bbox", 4), ("kps", 2 * POINTS)];

/// A level of the pyramid.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Level {
    stride: f32,
    /// Cells in a row of the grid.
    width: usize,
    cells: usize,
    /// Places of the outputs, in the order of [`KINDS`].
    outputs: [usize; 4],
}

/// Whether an output can hold `columns` values for each of `cells` cells.
fn fits(tensor: &TensorSpec, cells: usize, columns: usize) -> bool {
    let table = view::promised::<2>(&tensor.shape)
        .is_some_and(|[n, c]| view::may_be(n, cells) && view::may_be(c, columns) && !(n.is_none() && c.is_none()));
    table || (columns == 1 && view::promised::<1>(&tensor.shape) == Some([Some(cells)]))
}

/// The levels of a model, finest first.
fn levels(spec: &Spec, input: &InputContract) -> Option<Vec<Level>> {
    let mut used = vec![false; spec.outputs.len()];
    let mut found = Vec::new();
    for stride in STRIDES {
        let (width, height) = (input.width.div_ceil(stride) as usize, input.height.div_ceil(stride) as usize);
        let cells = width * height;
        let mut outputs = [0; KINDS.len()];
        for (place, (word, columns)) in outputs.iter_mut().zip(KINDS) {
            let find = |named: bool| {
                spec.outputs.iter().enumerate().position(|(i, t)| {
                    let name = t.name.to_ascii_lowercase();
                    let said = KINDS.iter().find(|(word, _)| name.contains(word));
                    // A name that says something else is not overruled by the shape.
                    let right = if named { said.is_some_and(|s| s.0 == word) } else { said.is_none() };
                    right && used.get(i) == Some(&false) && fits(t, cells, columns)
                })
            };
            let index = find(true).or_else(|| find(false))?;
            used[index] = true;
            *place = index;
        }
        found.push(Level { stride: stride as f32, width, cells, outputs });
    }
    Some(found)
}

/// Decoder of YuNet.
pub struct YuNet {
    reader: view::Reader,
    levels: Vec<Level>,
    skeleton: Skeleton,
}

impl YuNet {
    /// A decoder; the one label is that of a face.
    ///
    /// # Errors
    /// [`PostError`] if an output is missing, has not as many cells as the input's size makes or is not float, or there
    /// is not exactly one label.
    pub fn new(output: &OutputContract, input: &InputContract, classes: usize, spec: &Spec) -> Result<Self, PostError> {
        view::activation(output, Activation::None, &[Activation::None])?;
        let decoder = output.decoder.as_str();
        let reader = view::Reader {
            decoder,
            expected: "[1, cells, 1, 1, 4 or 10], the cells of the input's size at strides 8, 16, 32".into(),
            fix: "Set `input.size` to the size that the model was exported for, or `output.decoder` to its family",
        };
        let Some(levels) = levels(spec, input) else {
            return Err(PostError::Missing {
                decoder,
                needs: "cls, obj, bbox and kps for each of the strides 8, 16, 32 of `input.size`",
                found: view::list(&spec.outputs),
            });
        };
        let used = || levels.iter().flat_map(|l| l.outputs).filter_map(|i| spec.outputs.get(i));
        used().try_for_each(|tensor| view::check_float(output, tensor))?;
        if let Some(tensor) = used().next().filter(|_| classes != 1 || output.class_offset != 0) {
            return Err(PostError::Classes {
                tensor: tensor.name.clone(),
                found: view::shape_text(&tensor.shape),
                classes: 1,
                labels: classes,
                offset: output.class_offset,
            });
        }
        let skeleton = Skeleton::new(output, POINTS, 2);
        if skeleton.columns() != 2 * POINTS {
            let why = "a face of YuNet has [5, 2]: 5 points of x and y; remove the key".into();
            return Err(PostError::Contract { key: "keypoint-shape", why });
        }
        Ok(Self { reader, levels, skeleton })
    }

    /// The values of one kind of a level.
    fn read<'t>(&self, outputs: &'t [Tensor], level: &Level, kind: usize) -> Result<&'t [f32], PostError> {
        let (Some(index), Some((_, columns))) = (level.outputs.get(kind), KINDS.get(kind)) else { return Ok(&[]) };
        self.reader.read_flat(outputs, *index, level.cells * columns)
    }
}

/// Column and row of a cell, in cells.
fn place(level: &Level, cell: usize) -> (f32, f32) {
    ((cell % level.width) as f32, (cell / level.width) as f32)
}

impl Decoder for YuNet {
    fn decode(&self, outputs: &[Tensor], thresholds: &Thresholds, out: &mut Candidates) -> Result<(), PostError> {
        let mut start = 0;
        for level in &self.levels {
            let (class, objectness) = (self.read(outputs, level, 0)?, self.read(outputs, level, 1)?);
            let (boxes, _) = self.read(outputs, level, 2)?.as_chunks::<4>();
            self.read(outputs, level, 3)?;
            for (cell, ((class, objectness), [dx, dy, w, h])) in class.iter().zip(objectness).zip(boxes).enumerate() {
                let score = (class.clamp(0.0, 1.0) * objectness.clamp(0.0, 1.0)).sqrt();
                if thresholds.accepts(0, score) {
                    let (x, y) = place(level, cell);
                    let (cx, cy) = ((x + dx) * level.stride, (y + dy) * level.stride);
                    let (w, h) = (w.exp() * level.stride, h.exp() * level.stride);
                    out.push(Candidate::from_centre(cx, cy, w, h, score, 0).at(start + cell));
                }
            }
            start += level.cells;
        }
        Ok(())
    }

    fn describe(
        &self,
        outputs: &[Tensor],
        candidate: &Candidate,
        geometry: &Geometry,
        object: &mut Object,
    ) -> Result<(), PostError> {
        let mut cell = candidate.row as usize;
        for level in &self.levels {
            if cell < level.cells {
                let (points, _) = self.read(outputs, level, 3)?.as_chunks::<{ 2 * POINTS }>();
                let Some(points) = points.get(cell) else { break };
                let (x, y) = place(level, cell);
                let at = |(i, v): (usize, &f32)| (v + if i % 2 == 0 { x } else { y }) * level.stride;
                self.skeleton.describe(points.iter().enumerate().map(at), geometry, object);
                break;
            }
            cell -= level.cells;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bundle::contract::DecoderKind;
    use crate::engine::{DataType, TensorData};
    use crate::post::tests::{accept_over, input, outputs, tensor};
    use crate::result::BBox;

    fn contract() -> OutputContract {
        OutputContract::new(DecoderKind::Yunet)
    }

    /// The outputs of a 64 x 32 input, by kind and then stride.
    fn spec(named: bool) -> Spec {
        let all = KINDS.iter().flat_map(|(word, columns)| {
            [(8, 32), (16, 8), (32, 2)].map(|(stride, cells)| {
                let name = if named { format!("{word}_{stride}") } else { format!("{stride}.{columns}") };
                tensor(&name, DataType::F32, &[Some(1), Some(cells), Some(*columns)])
            })
        });
        outputs(all.collect())
    }

    fn tensors() -> Vec<Tensor> {
        let shape = |t: &TensorSpec| t.shape.iter().flatten().copied().collect::<Vec<_>>();
        let mut tensors: Vec<Tensor> =
            spec(true).outputs.iter().map(|t| Tensor::zeros(t.name.clone(), t.dtype, &shape(t))).collect();
        let mut set = |index: usize, start: usize, values: &[f32]| {
            let TensorData::F32(data) = &mut tensors[index].data else { panic!() };
            data[start..start + values.len()].copy_from_slice(values);
        };
        // Cell 6 is (2, 1) at stride 16.
        set(1, 6, &[1.25]); // clamped to 1
        set(4, 6, &[0.81]);
        set(7, 24, &[0.5, 0.25, 2f32.ln(), 0.0]);
        set(10, 60, &[0.0, 0.5, 1.0, 0.5, 0.5, 1.0, 0.0, 1.5, 1.0, 1.5]);
        tensors
    }

    #[test]
    fn a_cell_becomes_a_face_with_its_landmarks() {
        for named in [true, false] {
            let decoder = YuNet::new(&contract(), &input(64, 32), 1, &spec(named)).unwrap();
            let (tensors, mut out) = (tensors(), Vec::new());
            decoder.decode(&tensors, &accept_over(0.5, 1), &mut out).unwrap();
            let expected = Candidate { x1: 24.0, y1: 12.0, x2: 56.0, y2: 28.0, score: 0.9, ..Candidate::default() };
            assert_eq!(out, [expected.at(38)]);
            let geometry = Geometry::new(&input(64, 32), 64, 32, None);
            let mut object = Object::new(0, 0, "face".into(), 0.9, BBox::default());
            decoder.describe(&tensors, &out[0], &geometry, &mut object).unwrap();
            let points: Vec<_> = object.keypoints.iter().map(|p| (p.x * 64.0, p.y * 32.0, p.confidence)).collect();
            let expected =
                [(32.0, 24.0, 1.0), (48.0, 24.0, 1.0), (40.0, 32.0, 1.0), (32.0, 40.0, 1.0), (48.0, 40.0, 1.0)];
            assert_eq!(points, expected);
        }
    }

    #[test]
    fn squeezed_outputs_are_read() {
        let mut spec = spec(true);
        spec.outputs.iter_mut().for_each(|t| t.shape = t.shape.iter().filter(|d| **d != Some(1)).copied().collect());
        let decoder = YuNet::new(&contract(), &input(64, 32), 1, &spec).unwrap();
        let mut tensors = tensors();
        tensors.iter_mut().for_each(|t| t.shape.retain(|d| *d != 1));
        let mut out = Vec::new();
        decoder.decode(&tensors, &accept_over(0.5, 1), &mut out).unwrap();
        assert_eq!(out.len(), 1);
    }

    #[test]
    fn a_value_that_is_not_finite_reaches_the_guard() {
        let decoder = YuNet::new(&contract(), &input(64, 32), 1, &spec(true)).unwrap();
        let (mut tensors, mut out) = (tensors(), Vec::new());
        let TensorData::F32(data) = &mut tensors[0].data else { panic!() };
        data[0] = f32::NAN;
        decoder.decode(&tensors, &accept_over(0.5, 1), &mut out).unwrap();
        assert!(out.len() == 2 && out[0].score.is_nan());
    }

    #[test]
    fn what_does_not_fit_is_told() {
        let new = |output: &OutputContract, size: (u32, u32), classes, spec: &Spec| {
            YuNet::new(output, &input(size.0, size.1), classes, spec).map(|_| ())
        };
        assert!(matches!(new(&contract(), (64, 64), 1, &spec(true)), Err(PostError::Missing { .. })));
        let error = new(&contract(), (64, 32), 2, &spec(true)).unwrap_err();
        assert!(matches!(error, PostError::Classes { classes: 1, labels: 2, .. }), "{error}");
        let four = OutputContract { keypoint_shape: Some([4, 2]), ..contract() };
        assert!(matches!(new(&four, (64, 32), 1, &spec(true)), Err(PostError::Contract { .. })));
        let mut integer = spec(true);
        integer.outputs[3].dtype = DataType::I8;
        assert!(matches!(new(&contract(), (64, 32), 1, &integer), Err(PostError::DataType { .. })));
        let decoder = YuNet::new(&contract(), &input(64, 32), 1, &spec(true)).unwrap();
        let mut short = tensors();
        short[9] = Tensor::from_f32("kps_8", &[1, 32, 4], vec![0.0; 128]);
        assert!(decoder.decode(&short, &accept_over(0.5, 1), &mut Vec::new()).is_err());
    }
}
