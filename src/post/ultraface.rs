//! UltraFace (Ultra-Light-Fast-Generic-Face-Detector-1MB): `scores` `[1, N, 2]` (probabilities of background and face)
//! and `boxes` `[1, N, 4]` (left, top, right, bottom in 0..1 of the input), and in some models landmarks `[1, N, 10]` (x and
//! y of five points in 0..1 of the input).
//!
//! The background has no label: with one label and two columns `class-offset` is 1 without being set. A class whose
//! label is `background` is never an object.
//!
//! Source: Linzaer/Ultra-Light-Fast-Generic-Face-Detector-1MB, `run_video_face_detect_onnx.py`.

use super::boxes::Boxes;
use super::keypoints::Skeleton;
use super::{Candidate, Candidates, Decoder, PostError, Thresholds, view};
use crate::bundle::contract::{Activation, BoxFormat, BoxUnit, InputContract, Labels, OutputContract};
use crate::engine::{Spec, Tensor, TensorSpec};
use crate::pre::geometry::Geometry;
use crate::result::Object;

/// Numbers of a face's landmarks.
const POINTS: usize = 10;

/// Decoder of UltraFace.
pub struct UltraFace {
    reader: view::Reader,
    scores: usize,
    boxes: usize,
    landmarks: Option<usize>,
    /// First column that has a label.
    first: usize,
    columns: usize,
    background: Option<u32>,
    skeleton: Skeleton,
    numbers: Boxes,
}

impl UltraFace {
    /// A decoder for a model with these labels.
    ///
    /// # Errors
    /// [`PostError`] if an output is missing, the class count is not that of the labels, or an output is not float.
    pub fn new(
        output: &OutputContract,
        input: &InputContract,
        labels: &Labels,
        spec: &Spec,
    ) -> Result<Self, PostError> {
        view::activation(output, Activation::None, &[Activation::None])?;
        let decoder = output.decoder.as_str();
        let table = |t: &TensorSpec| view::promised::<2>(&t.shape).filter(|_| t.shape.len() > 1);
        let find = |word: &str, columns: usize, not: &[Option<usize>]| {
            let mut all = spec.outputs.iter().enumerate().filter(|(i, t)| {
                let right = table(t).is_some_and(|[_, c]| view::may_be(c, columns));
                right && !not.contains(&Some(*i))
            });
            let named = all.clone().find(|(_, t)| t.name.to_ascii_lowercase().contains(word));
            named.or_else(|| all.find(|(_, t)| table(t).is_some_and(|[_, c]| c == Some(columns)))).map(|(i, _)| i)
        };
        let missing = || PostError::Missing {
            decoder,
            needs: "scores [1, N, 2] and boxes [1, N, 4]",
            found: view::list(&spec.outputs),
        };
        let boxes = find("box", 4, &[]).ok_or_else(missing)?;
        let others = |i: usize| i != boxes && spec.outputs.get(i).and_then(table).is_some();
        let landmarks = find("landm", POINTS, &[Some(boxes)]);
        let scores = find("score", 2, &[Some(boxes), landmarks])
            .or_else(|| (0..spec.outputs.len()).find(|i| others(*i) && Some(*i) != landmarks))
            .ok_or_else(missing)?;
        for index in [Some(boxes), Some(scores), landmarks].into_iter().flatten() {
            view::check_float(output, spec.outputs.get(index).ok_or_else(missing)?)?;
        }
        let tensor = spec.outputs.get(scores).ok_or_else(missing)?;
        let found = table(tensor).and_then(|[_, c]| c);
        let classes = labels.len();
        let first = match output.class_offset as usize {
            0 if classes == 1 && found.is_none_or(|c| c == 2) => 1,
            offset => offset,
        };
        let columns = first + classes;
        if let Some(found) = found.filter(|c| *c != columns) {
            return Err(PostError::Classes {
                tensor: tensor.name.clone(),
                found: view::shape_text(&tensor.shape),
                classes: found,
                labels: classes,
                offset: output.class_offset,
            });
        }
        let skeleton = Skeleton::new(output, POINTS / 2, 2);
        if landmarks.is_some() && skeleton.columns() != POINTS {
            let why = "the landmarks are [5, 2]: 5 points of x and y; remove the key".into();
            return Err(PostError::Contract { key: "keypoint-shape", why });
        }
        let expected = format!("scores [1, N, {columns}], boxes [1, N, 4] and, if any, landmarks [1, N, {POINTS}]");
        let reader = view::Reader { decoder, expected, fix: "Set `output.decoder` to the model's family" };
        let background = labels.iter().position(|l| l.eq_ignore_ascii_case("background")).map(|i| i as u32);
        let numbers = Boxes::new(output, input, BoxFormat::Xyxy, BoxUnit::Normalized);
        Ok(Self { reader, scores, boxes, landmarks, first, columns, background, skeleton, numbers })
    }
}

impl Decoder for UltraFace {
    fn decode(&self, outputs: &[Tensor], thresholds: &Thresholds, out: &mut Candidates) -> Result<(), PostError> {
        let ([rows, _], scores) = self.reader.read(outputs, self.scores, |[_, c]| c == self.columns)?;
        let (_, boxes) = self.reader.read(outputs, self.boxes, |dims| dims == [rows, 4])?;
        let (boxes, _) = boxes.as_chunks::<4>();
        for (row, (scores, corners)) in scores.chunks_exact(self.columns.max(1)).zip(boxes).enumerate() {
            let classes = scores.get(self.first..).unwrap_or_default();
            let score = view::peak(classes);
            let class_id = view::position(classes.iter().copied(), score);
            if thresholds.accepts(class_id, score) && (score.is_nan() || self.background != Some(class_id)) {
                out.push(self.numbers.candidate(*corners, score, class_id).at(row));
            }
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
        let Some(index) = self.landmarks else { return Ok(()) };
        let (_, values) = self.reader.read(outputs, index, |[_, c]| c == POINTS)?;
        let (rows, _) = values.as_chunks::<POINTS>();
        if let Some(row) = rows.get(candidate.row as usize) {
            self.skeleton.describe(self.numbers.points(row.iter().copied(), 2), geometry, object);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bundle::contract::DecoderKind;
    use crate::engine::DataType;
    use crate::post::tests::{accept_over, input, outputs, tensor};
    use crate::result::BBox;

    fn contract() -> OutputContract {
        OutputContract::new(DecoderKind::Ultraface)
    }

    fn labels(names: &[&str]) -> Labels {
        names.iter().map(|n| (*n).into()).collect()
    }

    fn spec(names: &[(&str, usize)]) -> Spec {
        outputs(names.iter().map(|(n, c)| tensor(n, DataType::F32, &[Some(1), Some(3), Some(*c)])).collect())
    }

    fn tensors() -> Vec<Tensor> {
        let boxes = [0.25, 0.25, 0.5, 0.5, 0.0, 0.0, 0.5, 0.5, 0.5, 0.5, 1.0, 1.0];
        let landmarks = (0..30).map(|i| i as f32 / 32.0).collect();
        vec![
            Tensor::from_f32("scores", &[1, 3, 2], vec![0.1, 0.9, 0.8, 0.2, 0.4, 0.6]),
            Tensor::from_f32("boxes", &[1, 3, 4], boxes.into()),
            Tensor::from_f32("landmarks", &[1, 3, 10], landmarks),
        ]
    }

    fn run(output: &OutputContract, names: &[&str], spec: &Spec) -> Vec<(u32, f32, [f32; 4])> {
        let decoder = UltraFace::new(output, &input(200, 100), &labels(names), spec).unwrap();
        let mut out = Vec::new();
        decoder.decode(&tensors(), &accept_over(0.5, names.len()), &mut out).unwrap();
        out.iter().map(|c| (c.class_id, c.score, [c.x1, c.y1, c.x2, c.y2])).collect()
    }

    #[test]
    fn one_label_is_the_face_and_the_background_is_no_object() {
        let boxes = [[50.0, 25.0, 100.0, 50.0], [100.0, 50.0, 200.0, 100.0]];
        let spec = spec(&[("scores", 2), ("boxes", 4)]);
        let expected = [(0, 0.9, boxes[0]), (0, 0.6, boxes[1])];
        assert_eq!(run(&contract(), &["face"], &spec), expected);
        assert_eq!(run(&OutputContract { class_offset: 1, ..contract() }, &["face"], &spec), expected);
        let both = [(1, 0.9, boxes[0]), (1, 0.6, boxes[1])];
        assert_eq!(run(&contract(), &["BACKGROUND", "face"], &spec), both);
        let unnamed = super::tests::spec(&[("a", 2), ("b", 4)]);
        assert_eq!(run(&contract(), &["face"], &unnamed), expected);
    }

    #[test]
    fn landmarks_become_keypoints() {
        let spec = spec(&[("scores", 2), ("boxes", 4), ("landmarks", 10)]);
        let decoder = UltraFace::new(&contract(), &input(200, 100), &labels(&["face"]), &spec).unwrap();
        let geometry = Geometry::new(&input(200, 100), 200, 100, None);
        let mut object = Object::new(0, 0, "face".into(), 0.9, BBox::default());
        decoder.describe(&tensors(), &Candidate::default().at(2), &geometry, &mut object).unwrap();
        let points: Vec<_> = object.keypoints.iter().map(|p| (p.x * 32.0, p.y * 32.0)).collect();
        assert_eq!(points.len(), 5);
        for (i, (x, y)) in points.iter().enumerate() {
            let first = (20 + 2 * i) as f32;
            assert!((x - first).abs() < 1e-4 && (y - first - 1.0).abs() < 1e-4, "{points:?}");
        }
    }

    #[test]
    fn a_value_that_is_not_finite_reaches_the_guard() {
        let names = [("scores", 2), ("boxes", 4)];
        let decoder = UltraFace::new(&contract(), &input(200, 100), &labels(&["face"]), &spec(&names)).unwrap();
        let mut tensors = tensors();
        tensors[0] = Tensor::from_f32("scores", &[1, 3, 2], vec![0.1, f32::NAN, 0.8, 0.2, 0.4, 0.6]);
        let mut out = Vec::new();
        decoder.decode(&tensors, &accept_over(0.5, 1), &mut out).unwrap();
        assert!(out.len() == 2 && out[0].score.is_nan());
    }

    #[test]
    fn what_does_not_fit_is_told() {
        let new = |names: &[(&str, usize)], classes: &[&str]| {
            UltraFace::new(&contract(), &input(64, 64), &labels(classes), &spec(names)).map(|_| ())
        };
        let error = new(&[("scores", 2), ("boxes", 4)], &["a", "b", "c"]).unwrap_err();
        assert!(matches!(error, PostError::Classes { classes: 2, labels: 3, .. }), "{error}");
        assert!(matches!(new(&[("scores", 2)], &["face"]), Err(PostError::Missing { .. })));
        assert!(matches!(new(&[("scores", 2), ("boxes", 5)], &["face"]), Err(PostError::Missing { .. })));
        let mut integer = spec(&[("scores", 2), ("boxes", 4)]);
        integer.outputs[0].dtype = DataType::U8;
        let error = UltraFace::new(&contract(), &input(64, 64), &labels(&["face"]), &integer).err();
        assert!(matches!(error, Some(PostError::DataType { .. })));
        let names = [("scores", 2), ("boxes", 4)];
        let decoder = UltraFace::new(&contract(), &input(64, 64), &labels(&["face"]), &spec(&names)).unwrap();
        let mut tensors = tensors();
        tensors[1] = Tensor::from_f32("boxes", &[1, 2, 4], vec![0.0; 8]);
        assert!(decoder.decode(&tensors, &accept_over(0.5, 1), &mut Vec::new()).is_err());
    }
}
