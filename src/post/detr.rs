//! DETR and its kin: a box and class scores for each of N queries. There is no NMS. Three forms are read, told by names
//! and shapes:
//!
//! - Finished (RT-DETR and D-FINE with their post-processor): `labels` `[1, N]`, `boxes` `[1, N, 4]` (corners, pixels),
//!   `scores` `[1, N]`. The model scales its boxes by an input beside the picture, which is given the input's own size.
//! - Raw: `logits` `[1, N, classes]` and `pred_boxes` `[1, N, 4]` (centre and size, 0..1), also called `labels` and `dets`
//!   (RF-DETR). As many columns as classes are raw scores for the sigmoid, and every pair of query and class over the
//!   threshold is an object, as RT-DETR, D-FINE, RF-DETR and Deformable DETR pick the best over all pairs. With one column
//!   more the last is "no object": softmax, the best class of each query, as in DETR and YOLOS. RF-DETR also has one column
//!   more than classes, and the sigmoid; its names tell.
//! - Joint (Ultralytics RT-DETR): one output `[1, N, 4 + classes]`, boxes as in the raw form, scores are probabilities;
//!   the best class of each query.
//!
//! `activation`, `box-format` and `box-unit` change what is usual for a form.
//!
//! Sources: lyuwenyu/RT-DETR `tools/export_onnx.py`, `rtdetr_postprocessor.py`; facebookresearch/detr `models/detr.py`
//! (`PostProcess`); Hugging Face transformers, `image_processing_detr.py`; roboflow/rf-detr `PostProcess`; Ultralytics
//! `models/rtdetr/predict.py`.

use super::boxes::{Boxes, class_id};
use super::{Candidates, Decoder, Nms, PostError, Thresholds, logits, view};
use crate::bundle::contract::{Activation, BoxFormat, BoxUnit, InputContract, OutputContract};
use crate::engine::{DataType, Spec, Tensor, TensorSpec};

/// Numbers of a box.
const BOX: usize = 4;

/// Where the tensors stand among the outputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Finished { labels: usize, boxes: usize, scores: usize },
    Raw { logits: usize, boxes: usize },
    Joint { output: usize },
}

fn says(tensor: &TensorSpec, words: &[&str]) -> bool {
    let name = tensor.name.to_ascii_lowercase();
    words.iter().any(|word| name.contains(word))
}

/// Finds the tensors of a model with `columns` classes.
fn find(outputs: &[TensorSpec], columns: usize) -> Option<Form> {
    let table = |t: &TensorSpec| view::promised::<2>(&t.shape).filter(|_| t.shape.len() > 1).map(|[_, c]| c);
    let is_boxes = |t: &TensorSpec| table(t).is_some_and(|c| view::may_be(c, BOX));
    let named = |t: &TensorSpec| is_boxes(t) && says(t, &["box", "dets"]);
    let boxes = outputs.iter().position(named).or_else(|| {
        let fixed = |t: &TensorSpec| table(t) == Some(Some(BOX));
        // Of two tensors with four columns the scores are those with a telling name, or else the first.
        outputs.iter().rposition(|t| fixed(t) && !says(t, &["logit", "score", "label", "class", "cls"]))
    });
    if let Some(boxes) = boxes.filter(|_| outputs.len() > 1) {
        let others = || outputs.iter().enumerate().filter(|(i, _)| *i != boxes);
        let lists = || others().filter(|(_, t)| t.shape.len() <= 2 && view::promised::<1>(&t.shape).is_some());
        if let (Some((first, a)), Some((second, b))) = (lists().next(), lists().nth(1)) {
            let integer = |t: &TensorSpec| !matches!(t.dtype, DataType::F32 | DataType::F16);
            let swapped = integer(b) || (!integer(a) && (says(a, &["score"]) || says(b, &["label", "class"])));
            let (labels, scores) = if swapped { (second, first) } else { (first, second) };
            return Some(Form::Finished { labels, boxes, scores });
        }
        let fits = |t: &TensorSpec| table(t).is_some_and(|c| view::may_be(c, columns) || view::may_be(c, columns + 1));
        let logits = others()
            .find(|(_, t)| table(t).is_some() && says(t, &["logit", "label", "score", "class", "cls"]))
            .or_else(|| others().find(|(_, t)| fits(t)));
        return logits.map(|(logits, _)| Form::Raw { logits, boxes });
    }
    let joint = |t: &TensorSpec| table(t).is_some_and(|c| view::may_be(c, BOX + columns));
    let output = outputs.iter().position(joint).or_else(|| outputs.iter().position(|t| table(t).is_some()))?;
    Some(Form::Joint { output })
}

/// What a query's scores say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Scores {
    activation: Activation,
    /// Every class over the threshold counts, not only the best.
    all: bool,
}

/// Decoder of the DETR family.
pub struct Detr {
    table: view::Reader,
    list: view::Reader,
    form: Form,
    scores: Scores,
    /// First class that has a label.
    first: usize,
    /// Classes in the tensor, without "no object".
    columns: usize,
    numbers: Boxes,
}

impl Detr {
    /// A decoder for a model with `classes` labels.
    ///
    /// # Errors
    /// [`PostError`] if an output is missing, the class count is not that of the labels, or an output is not float.
    pub fn new(output: &OutputContract, input: &InputContract, classes: usize, spec: &Spec) -> Result<Self, PostError> {
        let decoder = output.decoder.as_str();
        let first = output.class_offset as usize;
        let columns = first + classes;
        let fix = "Set `output.decoder` to the model's family";
        let expected = format!(
            "logits [1, N, {columns}] or [1, N, {}] and boxes [1, N, 4], or both in one [1, N, {}] (1 column for each \
             class)",
            columns + 1,
            BOX + columns
        );
        let table = view::Reader { decoder, expected, fix };
        let list = view::Reader { decoder, expected: "[1, N], N as in the boxes [1, N, 4]".into(), fix };
        let missing = || PostError::Missing {
            decoder,
            needs: "labels, boxes and scores, or logits and boxes, or both in one output",
            found: view::list(&spec.outputs),
        };
        let form = find(&spec.outputs, columns).ok_or_else(missing)?;
        let get = |index: usize| spec.outputs.get(index).ok_or_else(missing);
        let usual = match form {
            Form::Finished { boxes, scores, .. } => {
                view::check_float(output, get(boxes)?)?;
                view::check_float(output, get(scores)?)?;
                Activation::None
            }
            Form::Raw { logits, boxes } => {
                view::check_float(output, get(boxes)?)?;
                Self::usual(get(logits)?, get(boxes)?, columns)
            }
            Form::Joint { .. } => Activation::None,
        };
        let allowed: &[Activation] = match form {
            Form::Finished { .. } => &[Activation::None],
            _ => &[Activation::None, Activation::Sigmoid, Activation::Softmax],
        };
        let activation = view::activation(output, usual, allowed)?;
        let all = matches!(form, Form::Raw { .. }) && activation != Activation::Softmax;
        let (format, unit) = match form {
            Form::Finished { .. } => (BoxFormat::Xyxy, BoxUnit::Pixels),
            _ => (BoxFormat::Cxcywh, BoxUnit::Normalized),
        };
        let this = Self {
            table,
            list,
            form,
            scores: Scores { activation, all },
            first,
            columns,
            numbers: Boxes::new(output, input, format, unit),
        };
        match form {
            Form::Finished { .. } => {}
            Form::Raw { logits: index, .. } | Form::Joint { output: index } => {
                this.check_classes(output, classes, get(index)?)?;
            }
        }
        Ok(this)
    }

    /// What the raw form's scores need if the contract does not say.
    fn usual(logits: &TensorSpec, boxes: &TensorSpec, columns: usize) -> Activation {
        let one_more = view::promised::<2>(&logits.shape).and_then(|[_, c]| c) == Some(columns + 1);
        let rf_detr = says(logits, &["labels"]) && says(boxes, &["dets"]);
        if one_more && !rf_detr { Activation::Softmax } else { Activation::Sigmoid }
    }

    /// Columns before the scores.
    fn lead(&self) -> usize {
        if matches!(self.form, Form::Joint { .. }) { BOX } else { 0 }
    }

    /// Whether a table of scores may have this many columns.
    fn width_fits(&self, width: usize) -> bool {
        let classes = width.checked_sub(self.lead());
        let one_more = classes == Some(self.columns + 1) && matches!(self.form, Form::Raw { .. });
        // Without "no object" there is no softmax that the family knows.
        one_more || (classes == Some(self.columns) && self.scores.activation != Activation::Softmax)
    }

    fn check_classes(&self, output: &OutputContract, labels: usize, tensor: &TensorSpec) -> Result<(), PostError> {
        view::check_float(output, tensor)?;
        let Some([_, width]) = view::promised::<2>(&tensor.shape) else { return Err(self.table.refuse(tensor)) };
        match width {
            Some(width) if width <= self.lead() => Err(self.table.refuse(tensor)),
            Some(width) if !self.width_fits(width) => Err(PostError::Classes {
                tensor: tensor.name.clone(),
                found: view::shape_text(&tensor.shape),
                classes: width - self.lead(),
                labels,
                offset: output.class_offset,
            }),
            _ => Ok(()),
        }
    }

    fn finished(
        &self,
        outputs: &[Tensor],
        (labels, boxes, scores): (usize, usize, usize),
        thresholds: &Thresholds,
        out: &mut Candidates,
    ) -> Result<(), PostError> {
        let ([rows, _], boxes) = self.table.read(outputs, boxes, |[_, last]| last == BOX)?;
        let (_, labels) = self.list.read(outputs, labels, |dims| dims == [rows])?;
        let (_, scores) = self.list.read(outputs, scores, |dims| dims == [rows])?;
        let (boxes, _) = boxes.as_chunks::<BOX>();
        for (row, ((values, label), score)) in boxes.iter().zip(labels).zip(scores).enumerate() {
            let class_id = class_id(*label, self.first as f32);
            if thresholds.accepts(class_id, *score) {
                out.push(self.numbers.candidate(*values, *score, class_id).at(row));
            }
        }
        Ok(())
    }

    /// The objects of one query: `row` holds the raw scores.
    fn query(&self, row: &[f32], values: [f32; BOX], thresholds: &Thresholds, out: &mut Candidates) {
        let Some(classes) = row.get(self.first..self.columns) else { return };
        let peak = view::peak(classes);
        let activated = |v: f32| if self.scores.activation == Activation::Sigmoid { view::sigmoid(v) } else { v };
        let mut add = |class_id, score| {
            if thresholds.accepts(class_id, score) {
                out.push(self.numbers.candidate(values, score, class_id));
            }
        };
        if self.scores.activation == Activation::Softmax {
            let top = view::peak(row);
            let sum: f32 = row.iter().map(|v| (v - top).exp()).sum();
            add(view::position(classes.iter().copied(), peak), (peak - top).exp() / sum);
        } else if self.scores.all && !peak.is_nan() {
            let lowest = match self.scores.activation {
                Activation::Sigmoid => logits::floor(thresholds.lowest()),
                _ => thresholds.lowest(),
            };
            let over = classes.iter().enumerate().filter(|(_, v)| **v >= lowest);
            over.for_each(|(class_id, v)| add(class_id as u32, activated(*v)));
        } else {
            add(view::position(classes.iter().copied(), peak), activated(peak));
        }
    }
}

impl Decoder for Detr {
    fn decode(&self, outputs: &[Tensor], thresholds: &Thresholds, out: &mut Candidates) -> Result<(), PostError> {
        match self.form {
            Form::Finished { labels, boxes, scores } => {
                self.finished(outputs, (labels, boxes, scores), thresholds, out)?;
            }
            Form::Raw { logits, boxes } => {
                let ([rows, width], scores) = self.table.read(outputs, logits, |[_, width]| self.width_fits(width))?;
                let (_, boxes) = self.table.read(outputs, boxes, |dims| dims == [rows, BOX])?;
                let (boxes, _) = boxes.as_chunks::<BOX>();
                for (row, values) in scores.chunks_exact(width.max(1)).zip(boxes) {
                    self.query(row, *values, thresholds, out);
                }
            }
            Form::Joint { output } => {
                let ([_, width], values) = self.table.read(outputs, output, |[_, width]| self.width_fits(width))?;
                for row in values.chunks_exact(width.max(1)) {
                    if let Some((values, scores)) = row.split_first_chunk() {
                        self.query(scores, *values, thresholds, out);
                    }
                }
            }
        }
        Ok(())
    }

    fn nms(&self) -> Nms {
        Nms::None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bundle::contract::DecoderKind;
    use crate::engine::TensorData;
    use crate::post::tests::{accept_over, input, outputs, tensor};

    fn contract() -> OutputContract {
        OutputContract::new(DecoderKind::Detr)
    }

    type Found = (u32, f32, [f32; 4]);

    fn run(contract: &OutputContract, spec: &Spec, tensors: &[Tensor], classes: usize) -> Vec<Found> {
        let decoder = Detr::new(contract, &input(200, 100), classes, spec).unwrap();
        let mut out = Vec::new();
        decoder.decode(tensors, &accept_over(0.5, classes), &mut out).unwrap();
        let rounded = |v: f32| (v * 1000.0).round() / 1000.0;
        out.iter().map(|c| (c.class_id, rounded(c.score), [c.x1, c.y1, c.x2, c.y2].map(rounded))).collect()
    }

    fn raw(names: [&str; 2], width: usize) -> Spec {
        let table = |name, c| tensor(name, DataType::F32, &[Some(1), Some(2), Some(c)]);
        outputs(vec![table(names[0], width), table(names[1], 4)])
    }

    const BOXES: [f32; 8] = [0.5, 0.5, 0.2, 0.4, 0.25, 0.5, 0.1, 0.2];
    const FIRST: [f32; 4] = [80.0, 30.0, 120.0, 70.0];
    const SECOND: [f32; 4] = [40.0, 40.0, 60.0, 60.0];

    fn logit(p: f32) -> f32 {
        (p / (1.0 - p)).ln()
    }

    #[test]
    fn finished_detections_are_read_by_name_type_or_order() {
        let list = |name, dtype| tensor(name, dtype, &[None, Some(2)]);
        let boxes = tensor("boxes", DataType::F32, &[None, Some(2), Some(4)]);
        let corners = Tensor::from_f32("boxes", &[1, 2, 4], [FIRST, SECOND].concat());
        let labels = |values: &[f32]| Tensor::from_f32("labels", &[1, 2], values.into());
        let scores = Tensor::from_f32("scores", &[1, 2], vec![0.9, 0.6]);
        let expected = [(1, 0.9, FIRST), (0, 0.6, SECOND)];

        let spec = outputs(vec![list("labels", DataType::I64), boxes.clone(), list("scores", DataType::F32)]);
        let tensors = [labels(&[1.0, 0.0]), corners.clone(), scores.clone()];
        assert_eq!(run(&contract(), &spec, &tensors, 2), expected);
        let offset = OutputContract { class_offset: 1, ..contract() };
        let tensors = [labels(&[2.0, 0.0]), corners.clone(), scores.clone()];
        assert_eq!(run(&offset, &spec, &tensors, 2), [(1, 0.9, FIRST), (u32::MAX, 0.6, SECOND)]);

        let tensors = [scores, corners, labels(&[1.0, 0.0])];
        for (a, b, dtype) in [("scores", "labels", DataType::F32), ("a", "b", DataType::I32)] {
            let spec = outputs(vec![list(a, DataType::F32), boxes.clone(), list(b, dtype)]);
            assert_eq!(run(&contract(), &spec, &tensors, 2), expected);
        }
    }

    #[test]
    fn with_the_sigmoid_a_query_may_be_of_two_classes() {
        let scores = [0.9, 0.1, 0.6, 0.2, 0.3, 0.1].map(logit);
        for names in [["logits", "pred_boxes"], ["a", "b"]] {
            let tensors =
                [Tensor::from_f32("a", &[1, 2, 3], scores.into()), Tensor::from_f32("b", &[1, 2, 4], BOXES.into())];
            assert_eq!(run(&contract(), &raw(names, 3), &tensors, 3), [(0, 0.9, FIRST), (2, 0.6, FIRST)]);
        }
    }

    #[test]
    fn one_column_more_is_no_object_and_the_softmax() {
        // Weights 6, 1, 1, 2 (no object) and 1, 1, 1, 27.
        let scores = [6f32, 1.0, 1.0, 2.0, 1.0, 1.0, 1.0, 27.0].map(f32::ln);
        let tensors =
            [Tensor::from_f32("a", &[1, 2, 4], scores.into()), Tensor::from_f32("b", &[1, 2, 4], BOXES.into())];
        assert_eq!(run(&contract(), &raw(["logits", "pred_boxes"], 4), &tensors, 3), [(0, 0.6, FIRST)]);
        // RF-DETR has the column and the sigmoid; its class 3 has no label.
        let scores = [0.9, 0.6, 0.1, 0.1, 0.1, 0.1, 0.1, 0.9].map(logit);
        let tensors =
            [Tensor::from_f32("b", &[1, 2, 4], BOXES.into()), Tensor::from_f32("a", &[1, 2, 4], scores.into())];
        let mut spec = raw(["labels", "dets"], 4);
        spec.outputs.reverse();
        assert_eq!(run(&contract(), &spec, &tensors, 3), [(0, 0.9, FIRST), (1, 0.6, FIRST)]);
    }

    #[test]
    fn one_output_holds_boxes_and_probabilities() {
        let spec = outputs(vec![tensor("output0", DataType::F32, &[Some(1), Some(2), Some(6)])]);
        let rows = [&BOXES[..4], &[0.9, 0.7], &BOXES[4..], &[0.1, 0.4]].concat();
        for shape in [&[1, 2, 6][..], &[2, 6]] {
            let tensors = [Tensor::from_f32("output0", shape, rows.clone())];
            assert_eq!(run(&contract(), &spec, &tensors, 2), [(0, 0.9, FIRST)]);
        }
        let pixels =
            OutputContract { box_unit: Some(BoxUnit::Pixels), box_format: Some(BoxFormat::Yxyx), ..contract() };
        let rows = [&[1.0, 2.0, 3.0, 4.0][..], &[0.9, 0.7], &BOXES[4..], &[0.1, 0.4]].concat();
        let tensors = [Tensor::from_f32("output0", &[1, 2, 6], rows)];
        assert_eq!(run(&pixels, &spec, &tensors, 2), [(0, 0.9, [2.0, 1.0, 4.0, 3.0])]);
    }

    #[test]
    fn free_lengths_are_told_by_the_names() {
        let free = |name| tensor(name, DataType::F32, &[None, None, None]);
        let spec = outputs(vec![free("logits"), free("pred_boxes")]);
        assert_eq!(find(&spec.outputs, 80), Some(Form::Raw { logits: 0, boxes: 1 }));
        assert_eq!(find(&outputs(vec![free("output0")]).outputs, 80), Some(Form::Joint { output: 0 }));
    }

    #[test]
    fn a_value_that_is_not_finite_reaches_the_guard() {
        let mut scores = [0.1; 6].map(logit);
        scores[4] = f32::INFINITY;
        let tensors =
            [Tensor::from_f32("a", &[1, 2, 3], scores.into()), Tensor::from_f32("b", &[1, 2, 4], BOXES.into())];
        let found = run(&contract(), &raw(["logits", "pred_boxes"], 3), &tensors, 3);
        assert!(found.len() == 1 && found[0].1.is_nan(), "{found:?}");
    }

    #[test]
    fn what_does_not_fit_is_told() {
        let new = |spec: &Spec, classes| Detr::new(&contract(), &input(64, 64), classes, spec).map(|_| ());
        let error = new(&raw(["logits", "pred_boxes"], 80), 78).unwrap_err();
        assert!(matches!(error, PostError::Classes { classes: 80, labels: 78, .. }), "{error}");
        let joint = outputs(vec![tensor("output0", DataType::F32, &[Some(1), Some(300), Some(84)])]);
        let error = new(&joint, 79).unwrap_err();
        assert!(matches!(error, PostError::Classes { classes: 80, labels: 79, .. }), "{error}");
        assert!(matches!(new(&outputs(Vec::new()), 80), Err(PostError::Missing { .. })));
        let mut integer = raw(["logits", "pred_boxes"], 3);
        integer.outputs[0].dtype = DataType::U8;
        assert!(matches!(new(&integer, 3), Err(PostError::DataType { .. })));
        let wide = outputs(vec![tensor("output0", DataType::F32, &[Some(1), Some(84), Some(20), Some(20)])]);
        assert!(matches!(new(&wide, 80), Err(PostError::Missing { .. })));
        let softmax = OutputContract { activation: Some(Activation::Softmax), ..contract() };
        let error = Detr::new(&softmax, &input(64, 64), 3, &raw(["logits", "pred_boxes"], 3)).err().unwrap();
        assert!(matches!(error, PostError::Classes { classes: 3, labels: 3, .. }), "{error}");
        let decoder = Detr::new(&contract(), &input(64, 64), 3, &raw(["logits", "pred_boxes"], 3)).unwrap();
        let tensors = [
            Tensor { name: "logits".into(), shape: vec![1, 2, 3], data: TensorData::F32(vec![0.0; 6].into()) },
            Tensor::from_f32("pred_boxes", &[1, 1, 4], vec![0.0; 4]),
        ];
        assert!(decoder.decode(&tensors, &accept_over(0.5, 3), &mut Vec::new()).is_err());
    }
}
