//! MoveNet: the 17 keypoints of COCO as rows y, x, score, in 0..1 of the input.
//!
//! - Single pose `[1, 1, 17, 3]` (Lightning, Thunder): one person. Its confidence is the mean score of the keypoints that
//!   score over 0.1, and its box lies around those, as in TensorFlow's example. That mean is never under 0.1, so an empty
//!   picture is told by `confidence`.
//! - Multi pose `[1, people, 56]`: 17 · 3 values, then top, left, bottom, right and the score of the box. There is no NMS.
//!
//! Models with another number of keypoints in the same forms are read too. All are reported, each with its score.
//!
//! Sources: MoveNet's model cards (`movenet/singlepose/lightning`, `movenet/multipose/lightning`); tensorflow/examples,
//! `lite/examples/pose_estimation/raspberry_pi/ml/movenet.py` and `utils.py` (`person_from_keypoints_with_scores`).

use super::keypoints::Skeleton;
use super::{Candidate, Candidates, Decoder, Nms, PostError, Thresholds, view};
use crate::bundle::contract::{Activation, InputContract, OutputContract};
use crate::engine::{Spec, Tensor, TensorSpec};
use crate::pre::geometry::Geometry;
use crate::result::Object;

/// Keypoints that score this or less say nothing about where and whether a person is.
const CONFIDENT: f32 = 0.1;

/// Top, left, bottom, right, score.
const TAIL: usize = 5;

/// How people lie in the tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Single,
    Multi,
}

/// The form of an output and how many keypoints a person has in it.
fn form(tensor: &TensorSpec) -> Option<(Form, usize)> {
    match view::promised::<2>(&tensor.shape)? {
        [Some(points), Some(3)] if points > 0 => Some((Form::Single, points)),
        [_, Some(columns)] if columns > TAIL && (columns - TAIL).is_multiple_of(3) => {
            Some((Form::Multi, (columns - TAIL) / 3))
        }
        _ => None,
    }
}

/// Decoder of MoveNet.
pub struct MoveNet {
    reader: view::Reader,
    output: usize,
    form: Form,
    skeleton: Skeleton,
    input: (f32, f32),
}

impl MoveNet {
    /// A decoder; the one label is that of a person.
    ///
    /// # Errors
    /// [`PostError`] if no output holds keypoints, their number is not that of `keypoint-shape`, the output is not float,
    /// or there is not exactly one label.
    pub fn new(output: &OutputContract, input: &InputContract, classes: usize, spec: &Spec) -> Result<Self, PostError> {
        view::activation(output, Activation::None, &[Activation::None])?;
        let decoder = output.decoder.as_str();
        let reader = view::Reader {
            decoder,
            expected: "[1, 1, 17, 3] (one person) or [1, people, 56] (several)".into(),
            fix: "Set `output.decoder` to the model's family",
        };
        let found = spec.outputs.iter().enumerate().find_map(|(i, t)| form(t).map(|form| (i, t, form)));
        let Some((index, tensor, (form, points))) = found else {
            return Err(spec.outputs.first().map_or_else(
                || PostError::Missing { decoder, needs: "one output with keypoints", found: view::list(&[]) },
                |tensor| reader.refuse(tensor),
            ));
        };
        view::check_float(output, tensor)?;
        if classes != 1 || output.class_offset != 0 {
            return Err(PostError::Classes {
                tensor: tensor.name.clone(),
                found: view::shape_text(&tensor.shape),
                classes: 1,
                labels: classes,
                offset: output.class_offset,
            });
        }
        let skeleton = Skeleton::new(output, points, 3);
        if (skeleton.count, skeleton.values) != (points, 3) {
            let why = format!("the model has [{points}, 3]; remove the key or set it to that");
            return Err(PostError::Contract { key: "keypoint-shape", why });
        }
        Ok(Self { reader, output: index, form, skeleton, input: (input.width as f32, input.height as f32) })
    }

    /// The values of all people, one after the other, and how many each has.
    fn people<'t>(&self, outputs: &'t [Tensor]) -> Result<(&'t [f32], usize), PostError> {
        let values = self.skeleton.columns();
        match self.form {
            Form::Single => {
                let (_, people) = self.reader.read(outputs, self.output, |dims| dims == [self.skeleton.count, 3])?;
                Ok((people, values))
            }
            Form::Multi => {
                let (_, people) = self.reader.read(outputs, self.output, |[_, c]| c == values + TAIL)?;
                Ok((people, values + TAIL))
            }
        }
    }

    /// A person around its confident keypoints; none if there are not two.
    fn around(&self, points: &[f32]) -> Option<Candidate> {
        let (points, _) = points.as_chunks::<3>();
        // A score that is no number is confident here, so that the guard sees it.
        let confident = || points.iter().filter(|[_, _, score]| score.is_nan() || *score > CONFIDENT);
        let count = confident().count();
        if count < 2 {
            return None;
        }
        let score = confident().map(|[_, _, score]| score).sum::<f32>() / count as f32;
        let (w, h) = self.input;
        let start = Candidate {
            x1: f32::INFINITY,
            y1: f32::INFINITY,
            x2: f32::NEG_INFINITY,
            y2: f32::NEG_INFINITY,
            score,
            ..Candidate::default()
        };
        Some(confident().fold(start, |c, [y, x, _]| Candidate {
            x1: c.x1.min(x * w),
            y1: c.y1.min(y * h),
            x2: c.x2.max(x * w),
            y2: c.y2.max(y * h),
            ..c
        }))
    }
}

impl Decoder for MoveNet {
    fn decode(&self, outputs: &[Tensor], thresholds: &Thresholds, out: &mut Candidates) -> Result<(), PostError> {
        let (people, columns) = self.people(outputs)?;
        let (w, h) = self.input;
        for (row, person) in people.chunks_exact(columns).enumerate() {
            let candidate = match (self.form, person.last_chunk::<TAIL>()) {
                (Form::Multi, Some([top, left, bottom, right, score])) => Some(Candidate {
                    x1: left * w,
                    y1: top * h,
                    x2: right * w,
                    y2: bottom * h,
                    score: *score,
                    ..Candidate::default()
                }),
                _ => self.around(person),
            };
            out.extend(candidate.filter(|c| thresholds.accepts(0, c.score)).map(|c| c.at(row)));
        }
        Ok(())
    }

    fn nms(&self) -> Nms {
        Nms::None
    }

    fn describe(
        &self,
        outputs: &[Tensor],
        candidate: &Candidate,
        geometry: &Geometry,
        object: &mut Object,
    ) -> Result<(), PostError> {
        let (people, columns) = self.people(outputs)?;
        let Some(person) = people.chunks_exact(columns).nth(candidate.row as usize) else { return Ok(()) };
        let (points, _) = person.get(..self.skeleton.columns()).unwrap_or_default().as_chunks::<3>();
        let (w, h) = self.input;
        self.skeleton.describe(points.iter().flat_map(|[y, x, score]| [x * w, y * h, *score]), geometry, object);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bundle::contract::DecoderKind;
    use crate::engine::DataType;
    use crate::post::tests::{accept_over, input, one_output, outputs, tensor};
    use crate::result::{BBox, Keypoint};

    fn contract() -> OutputContract {
        OutputContract::new(DecoderKind::Movenet)
    }

    /// Keypoints in steps down and to the right; the last two are not confident.
    fn points() -> Vec<f32> {
        (0..17).flat_map(|i| [i as f32 / 32.0, i as f32 / 16.0, if i < 15 { 0.75 } else { 0.05 }]).collect()
    }

    fn decode(decoder: &MoveNet, tensors: &[Tensor]) -> Vec<Candidate> {
        let mut out = Vec::new();
        decoder.decode(tensors, &accept_over(0.4, 1), &mut out).unwrap();
        out
    }

    #[test]
    fn one_pose_is_a_person_around_its_confident_keypoints() {
        let spec = one_output("Identity", &[Some(1), Some(1), Some(17), Some(3)]);
        let decoder = MoveNet::new(&contract(), &input(160, 320), 1, &spec).unwrap();
        let expected = Candidate { x1: 0.0, y1: 0.0, x2: 140.0, y2: 140.0, score: 0.75, ..Candidate::default() };
        let tensors = [Tensor::from_f32("Identity", &[1, 1, 17, 3], points())];
        assert_eq!(decode(&decoder, &tensors), [expected]);
        assert_eq!(decode(&decoder, &[Tensor::from_f32("Identity", &[17, 3], points())]), [expected]);
        let geometry = Geometry::new(&input(160, 320), 160, 320, None);
        let mut object = Object::new(0, 0, "person".into(), 0.75, BBox::default());
        decoder.describe(&tensors, &expected, &geometry, &mut object).unwrap();
        assert_eq!(object.keypoints.len(), 17);
        assert_eq!(object.keypoints[8], Keypoint { x: 0.5, y: 0.25, confidence: 0.75 });
        assert_eq!(object.skeleton.map(|s| s.len()), Some(19));
    }

    #[test]
    fn a_picture_without_a_person_has_none() {
        let spec = one_output("Identity", &[Some(1), Some(1), Some(17), Some(3)]);
        let decoder = MoveNet::new(&contract(), &input(160, 320), 1, &spec).unwrap();
        for score in [0.0, 0.1, 0.3] {
            let values = (0..17).flat_map(|i| [i as f32 / 32.0, i as f32 / 16.0, score]).collect();
            assert_eq!(decode(&decoder, &[Tensor::from_f32("Identity", &[1, 1, 17, 3], values)]), []);
        }
        let mut one = vec![0.0; 51];
        one[2] = 0.9;
        assert_eq!(decode(&decoder, &[Tensor::from_f32("Identity", &[1, 1, 17, 3], one)]), []);
    }

    #[test]
    fn several_poses_bring_their_boxes() {
        let spec = one_output("out", &[Some(1), Some(6), Some(56)]);
        let decoder = MoveNet::new(&contract(), &input(100, 200), 1, &spec).unwrap();
        let mut values = vec![0.0; 6 * 56];
        values[112..112 + 51].copy_from_slice(&points());
        values[112 + 51..168].copy_from_slice(&[0.25, 0.5, 0.75, 1.0, 0.5]);
        let tensors = [Tensor::from_f32("out", &[1, 6, 56], values)];
        let expected = Candidate { x1: 50.0, y1: 50.0, x2: 100.0, y2: 150.0, score: 0.5, ..Candidate::default() }.at(2);
        assert_eq!(decode(&decoder, &tensors), [expected]);
        let geometry = Geometry::new(&input(100, 200), 100, 200, None);
        let mut object = Object::new(0, 0, "person".into(), 0.5, BBox::default());
        decoder.describe(&tensors, &expected, &geometry, &mut object).unwrap();
        assert_eq!(object.keypoints[4], Keypoint { x: 0.25, y: 0.125, confidence: 0.75 });
    }

    #[test]
    fn a_value_that_is_not_finite_reaches_the_guard() {
        let spec = one_output("Identity", &[Some(1), Some(1), Some(17), Some(3)]);
        let decoder = MoveNet::new(&contract(), &input(160, 320), 1, &spec).unwrap();
        let mut values = points();
        values[2] = f32::NAN;
        let found = decode(&decoder, &[Tensor::from_f32("Identity", &[1, 1, 17, 3], values)]);
        assert!(found.len() == 1 && found[0].score.is_nan());
    }

    #[test]
    fn what_does_not_fit_is_told() {
        let pose = one_output("Identity", &[Some(1), Some(1), Some(17), Some(3)]);
        let new = |output: &OutputContract, classes, spec: &Spec| {
            MoveNet::new(output, &input(64, 64), classes, spec).map(|_| ())
        };
        let error = new(&contract(), 2, &pose).unwrap_err();
        assert!(matches!(error, PostError::Classes { classes: 1, labels: 2, .. }), "{error}");
        let shape = OutputContract { keypoint_shape: Some([5, 2]), ..contract() };
        assert!(matches!(new(&shape, 1, &pose), Err(PostError::Contract { .. })));
        let error = new(&contract(), 1, &one_output("out", &[Some(1), Some(84), Some(20), Some(20)])).unwrap_err();
        assert!(error.to_string().contains("decoder movenet expects [1, 1, 17, 3]"), "{error}");
        assert!(matches!(new(&contract(), 1, &outputs(Vec::new())), Err(PostError::Missing { .. })));
        let integer = outputs(vec![tensor("Identity", DataType::U8, &[Some(1), Some(1), Some(17), Some(3)])]);
        assert!(matches!(new(&contract(), 1, &integer), Err(PostError::DataType { .. })));
        let decoder = MoveNet::new(&contract(), &input(64, 64), 1, &pose).unwrap();
        let wrong = Tensor::from_f32("Identity", &[1, 1, 16, 3], vec![0.0; 48]);
        assert!(decoder.decode(&[wrong], &accept_over(0.5, 1), &mut Vec::new()).is_err());
    }
}
