//! YOLO-NAS, and other models with boxes in one output and class scores in another: `[1, boxes, 4]` and
//! `[1, boxes, classes]`, in any order. Boxes are corners in pixels of the input unless `box-format` and `box-unit` say
//! otherwise (boxes `[1, boxes, 1, 4]`, as pytorch-YOLOv4 exports them, are in 0..1), scores are probabilities (`activation = "sigmoid"` if they still need it) and NMS is to be done.
//!
//! Source: Deci super-gradients `NDFLHeads` (decoded predictions), `export_formats` in its export documentation.

use super::boxes::Boxes;
use super::{Candidates, Decoder, PostError, Thresholds, view};
use crate::bundle::contract::{Activation, BoxFormat, BoxUnit, InputContract, OutputContract};
use crate::engine::{Spec, Tensor, TensorSpec};

/// Decoder of boxes and class scores in outputs of their own.
pub struct YoloNas {
    corners: view::Reader,
    scores: view::Reader,
    /// Outputs with boxes and scores.
    places: (usize, usize),
    boxes: Boxes,
    /// Classes before the first label, and with those of the labels.
    columns: (usize, usize),
    sigmoid: bool,
}

/// Rows and columns; a dimension of 1 between them is left out.
fn dims(shape: &view::Shape) -> Option<[Option<usize>; 2]> {
    let squeezed = || match view::promised::<3>(shape) {
        Some([rows, Some(1), columns]) if shape.len() == 4 => Some([rows, columns]),
        _ => None,
    };
    view::promised::<2>(shape).or_else(squeezed)
}

/// The outputs with boxes and scores: those with the right last dimensions, and as many rows. With four classes both
/// orders fit; a name with `box` in it decides, else the first one holds the boxes, as super-gradients has it.
fn places(outputs: &[TensorSpec], columns: usize) -> Option<(usize, usize)> {
    let dims = |i: usize| outputs.get(i).and_then(|t| dims(&t.shape));
    let fits = |(boxes, scores): &(usize, usize)| match (dims(*boxes), dims(*scores)) {
        (Some([n, four]), Some([m, last])) if boxes != scores => {
            let same = n.is_none() || m.is_none() || n == m;
            same && view::may_be(four, 4) && view::may_be(last, columns)
        }
        _ => false,
    };
    let pairs = || (0..outputs.len()).flat_map(|a| (0..outputs.len()).map(move |b| (a, b))).filter(fits);
    // What is promised says more than what may be.
    let promised = |(boxes, scores): &(usize, usize)| {
        let last = |i: &usize| dims(*i).and_then(|[_, last]| last);
        last(boxes) == Some(4) || last(scores).is_some_and(|n| n != 4)
    };
    let named =
        |(boxes, _): &(usize, usize)| outputs.get(*boxes).is_some_and(|t| t.name.to_ascii_lowercase().contains("box"));
    pairs().find(|p| promised(p) && named(p)).or_else(|| pairs().find(promised)).or_else(|| pairs().next())
}

impl YoloNas {
    /// A decoder for a model with `classes` labels.
    ///
    /// # Errors
    /// [`PostError`] if there are no two outputs with boxes and with `class-offset` + `classes` scores for each, or one
    /// is not float.
    pub fn new(output: &OutputContract, input: &InputContract, classes: usize, spec: &Spec) -> Result<Self, PostError> {
        let activation = view::activation(output, Activation::None, &[Activation::None, Activation::Sigmoid])?;
        let (decoder, offset) = (output.decoder.as_str(), output.class_offset as usize);
        let columns = (offset, offset + classes);
        let fix = "Give the file named by `labels` one line per class, or set `output.decoder` to the model's family";
        let corners = view::Reader { decoder, expected: "[1, boxes, 4]".into(), fix };
        let scores = view::Reader { decoder, expected: format!("[1, boxes, {}]", columns.1), fix };
        let Some(places) = places(&spec.outputs, columns.1) else {
            return Err(explain(output, classes, spec));
        };
        for place in [places.0, places.1] {
            spec.outputs.get(place).map_or(Ok(()), |t| view::check_float(output, t))?;
        }
        let four = spec.outputs.get(places.0).is_some_and(|t| t.shape.len() == 4);
        let unit = if four { BoxUnit::Normalized } else { BoxUnit::Pixels };
        let boxes = Boxes::new(output, input, BoxFormat::Xyxy, unit);
        Ok(Self { corners, scores, places, boxes, columns, sigmoid: activation == Activation::Sigmoid })
    }
}

/// Says why no outputs fit: a different number of classes, or another layout.
fn explain(output: &OutputContract, labels: usize, spec: &Spec) -> PostError {
    let last = |t: &TensorSpec| view::promised::<2>(&t.shape).and_then(|[_, last]| last);
    let boxes = spec.outputs.iter().position(|t| last(t) == Some(4));
    let scores = spec.outputs.iter().enumerate().find(|(i, t)| boxes.is_some_and(|b| b != *i) && last(t).is_some());
    match scores {
        Some((_, tensor)) => PostError::Classes {
            tensor: tensor.name.clone(),
            found: view::shape_text(&tensor.shape),
            classes: last(tensor).unwrap_or(0),
            labels,
            offset: output.class_offset,
        },
        None => PostError::Missing {
            decoder: output.decoder.as_str(),
            needs: "boxes [1, boxes, 4] and class scores [1, boxes, classes] in two outputs",
            found: view::list(&spec.outputs),
        },
    }
}

impl Decoder for YoloNas {
    fn decode(&self, outputs: &[Tensor], thresholds: &Thresholds, out: &mut Candidates) -> Result<(), PostError> {
        let (first, columns) = self.columns;
        let ([rows, _], scores) = self.scores.read(outputs, self.places.1, |[_, last]| last == columns)?;
        let boxes = self.corners.read_flat(outputs, self.places.0, rows.saturating_mul(4))?;
        let activate = |v: f32| if self.sigmoid { view::sigmoid(v) } else { v };
        let lowest = thresholds.lowest();
        let (corners, _) = boxes.as_chunks::<4>();
        for (i, (numbers, row)) in corners.iter().zip(scores.chunks_exact(columns.max(1))).enumerate() {
            let Some(classes) = row.get(first..) else { continue };
            let best = view::peak(classes);
            let score = activate(best);
            // NaN goes on to the guard.
            if score < lowest {
                continue;
            }
            let class_id = view::position(classes.iter().copied(), best);
            if thresholds.accepts(class_id, score) {
                out.push(self.boxes.candidate(*numbers, score, class_id).at(i));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bundle::contract::DecoderKind;
    use crate::engine::DataType;
    use crate::post::Candidate;
    use crate::post::tests::{accept_over, input, outputs, tensor};

    fn contract() -> OutputContract {
        OutputContract::new(DecoderKind::YoloNas)
    }

    /// Two outputs of three rows.
    fn spec(names: [&str; 2], columns: [usize; 2]) -> Spec {
        let promise = |i: usize| tensor(names[i], DataType::F32, &[Some(1), Some(3), Some(columns[i])]);
        outputs(vec![promise(0), promise(1)])
    }

    fn boxes() -> Tensor {
        let values = vec![10.0, 20.0, 40.0, 80.0, 0.0, 0.0, 1.0, 1.0, 1.0, 2.0, 3.0, 4.0];
        Tensor::from_f32("boxes", &[1, 3, 4], values)
    }

    fn decode(contract: &OutputContract, spec: &Spec, classes: usize, tensors: &[Tensor]) -> Vec<Candidate> {
        let decoder = YoloNas::new(contract, &input(200, 100), classes, spec).unwrap();
        let mut out = Vec::new();
        decoder.decode(tensors, &accept_over(0.5, classes), &mut out).unwrap();
        out
    }

    #[test]
    fn boxes_and_scores_are_found_in_either_order() {
        let scores = Tensor::from_f32("scores", &[1, 3, 2], vec![0.1, 0.9, 0.2, 0.3, 0.6, 0.5]);
        let corner = Candidate { x1: 10.0, y1: 20.0, x2: 40.0, y2: 80.0, ..Candidate::default() };
        let expected = [
            Candidate { score: 0.9, class_id: 1, row: 0, ..corner },
            Candidate { x1: 1.0, y1: 2.0, x2: 3.0, y2: 4.0, score: 0.6, row: 2, ..corner },
        ];
        assert_eq!(decode(&contract(), &spec(["a", "b"], [4, 2]), 2, &[boxes(), scores.clone()]), expected);
        assert_eq!(decode(&contract(), &spec(["a", "b"], [2, 4]), 2, &[scores.clone(), boxes()]), expected);
        let free = outputs(["a", "b"].map(|name| tensor(name, DataType::F32, &[None, None, None])).into());
        assert_eq!(decode(&contract(), &free, 2, &[boxes(), scores]), expected);
    }

    #[test]
    fn boxes_with_a_dimension_between_are_parts_of_the_input() {
        let spec = outputs(vec![
            tensor("boxes", DataType::F32, &[Some(1), Some(1), Some(1), Some(4)]),
            tensor("confs", DataType::F32, &[Some(1), Some(1), Some(2)]),
        ]);
        let tensors = [
            Tensor::from_f32("boxes", &[1, 1, 1, 4], vec![0.05, 0.2, 0.2, 0.8]),
            Tensor::from_f32("confs", &[1, 1, 2], vec![0.1, 0.9]),
        ];
        let found = decode(&contract(), &spec, 2, &tensors);
        assert_eq!((found[0].x1, found[0].y1, found[0].x2, found[0].y2), (10.0, 20.0, 40.0, 80.0));
    }

    #[test]
    fn with_four_classes_names_or_the_order_decide() {
        let places = |names| super::places(&spec(names, [4, 4]).outputs, 4);
        assert_eq!(places(["a", "b"]), Some((0, 1)));
        assert_eq!(places(["scores", "pred_bboxes"]), Some((1, 0)));
    }

    #[test]
    fn form_unit_offset_and_activation_are_the_contracts() {
        let mut contract = contract();
        (contract.box_format, contract.box_unit) = (Some(BoxFormat::Cxcywh), Some(BoxUnit::Normalized));
        (contract.class_offset, contract.activation) = (1, Some(Activation::Sigmoid));
        let spec = outputs(vec![
            tensor("boxes", DataType::F32, &[Some(1), Some(1), Some(4)]),
            tensor("scores", DataType::F32, &[Some(1), Some(1), Some(3)]),
        ]);
        let tensors = [
            Tensor::from_f32("boxes", &[1, 1, 4], vec![0.5, 0.5, 0.25, 0.5]),
            // The background is the most likely, and does not count.
            Tensor::from_f32("scores", &[1, 1, 3], vec![9.0, -1.0, 4f32.ln()]),
        ];
        let found = decode(&contract, &spec, 2, &tensors);
        assert_eq!((found[0].x1, found[0].y1, found[0].x2, found[0].y2), (75.0, 25.0, 125.0, 75.0));
        assert!((found[0].score - 0.8).abs() < 1e-6 && found[0].class_id == 1);
    }

    #[test]
    fn what_does_not_fit_is_told_and_nan_reaches_the_guard() {
        let new = |classes, spec: &Spec| {
            YoloNas::new(&contract(), &input(64, 64), classes, spec).map(|_| ()).map_err(|e| e.to_string())
        };
        let text = new(3, &spec(["a", "b"], [4, 2])).unwrap_err();
        assert!(text.starts_with("output `b` [1, 3, 2] holds 2 classes, but there are 3 labels"), "{text}");
        let one = outputs(vec![tensor("boxes", DataType::F32, &[Some(1), Some(3), Some(4)])]);
        assert!(new(3, &one).unwrap_err().contains("needs boxes [1, boxes, 4] and class scores"));
        let mut integers = spec(["a", "b"], [4, 2]);
        integers.outputs[1].dtype = DataType::U8;
        assert!(new(2, &integers).unwrap_err().contains("holds u8 values"));
        let scores = Tensor::from_f32("scores", &[1, 3, 2], vec![f32::NAN, 0.9, 0.2, 0.3, 0.1, 0.2]);
        let found = decode(&contract(), &spec(["a", "b"], [4, 2]), 2, &[boxes(), scores]);
        assert!(found.len() == 1 && found[0].score.is_nan());
        let decoder = YoloNas::new(&contract(), &input(64, 64), 2, &spec(["a", "b"], [4, 2])).unwrap();
        let short = Tensor::from_f32("scores", &[1, 2, 2], vec![0.0; 4]);
        let run = decoder.decode(&[boxes(), short], &accept_over(0.5, 2), &mut Vec::new());
        assert!(matches!(run, Err(PostError::Shape { .. })));
    }
}
