//! YOLO-NAS, and other models with boxes in one output and class scores in another: `[1, boxes, 4]` and
//! `[1, boxes, classes]`, in any order. Boxes are corners in pixels of the input unless `box-format` and `box-unit` say
//! otherwise, scores are probabilities (`activation = "sigmoid"` if they still need it) and NMS is to be done.
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

/// The outputs with boxes and scores: those with the right last dimensions, and as many rows. With four classes both
/// orders fit; a name with `box` in it decides, else the first one holds the boxes, as super-gradients has it.
fn places(outputs: &[TensorSpec], columns: usize) -> Option<(usize, usize)> {
    let dims = |i: usize| outputs.get(i).and_then(|t| view::promised::<2>(&t.shape));
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
    let named = |(boxes, _): &(usize, usize)| {
        outputs.get(*boxes).is_some_and(|t| t.name.to_ascii_lowercase().contains("box"))
    };
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
        let boxes = Boxes::new(output, input, BoxFormat::Xyxy, BoxUnit::Pixels);
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
        let ([rows, _], boxes) = self.corners.read(outputs, self.places.0, |[_, four]| four == 4)?;
        let (first, columns) = self.columns;
        let (_, scores) = self.scores.read(outputs, self.places.1, |dims| dims == [rows, columns])?;
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
mod tests {}
