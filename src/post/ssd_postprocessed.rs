//! Detections after NMS, with boxes `[1, N, 4]`, classes and scores `[1, N]` in tensors of their own, and optionally how
//! many of the N count. N may be decided at run time.
//!
//! The tensors are found by the names that exporters give them, which also tell what the boxes' numbers are; `box-format`
//! and `box-unit` say otherwise:
//!
//! | exporter | names | boxes |
//! |---|---|---|
//! | TensorFlow, TFLite | `detection_boxes`, `TFLite_Detection_PostProcess` | top, left, bottom, right in 0..1 of the input |
//! | EfficientNMS (YOLOv7, v8, …) | `det_boxes` | corners in pixels of the input |
//! | super-gradients (YOLO-NAS) | `…pred_boxes` | corners in pixels |
//! | torchvision | `boxes` | corners in pixels; class 0 is the background: `class-offset = 1` |
//! | ONNX model zoo (SSD) | `bboxes` | corners in 0..1; `class-offset = 1` |
//! | mmdeploy (MMDetection) | `dets`, with the score as a fifth number | corners in pixels |
//! | any other | found by shape | as TensorFlow |
//!
//! Sources: TensorFlow Object Detection API, `exporter_lib_v2.py`; TFLite `detection_postprocess.cc`; TensorRT
//! `EfficientNMSPlugin`; super-gradients `models_export.md`; torchvision `models/detection`; ONNX model zoo `ssd`;
//! mmdeploy `mmdet` (`multiclass_nms`).

use super::boxes::{Boxes, class_id};
use super::{Candidates, Decoder, Nms, PostError, Thresholds, view};
use crate::bundle::contract::{Activation, BoxFormat, BoxUnit, InputContract, OutputContract};
use crate::engine::{DataType, Spec, Tensor, TensorSpec};

const DECODER: &str = "ssd-postprocessed";

/// How an exporter names boxes, classes, scores and count, and what its boxes' numbers are.
struct Exporter {
    names: [&'static str; 4],
    format: BoxFormat,
    unit: BoxUnit,
}

const fn exporter(names: [&'static str; 4], format: BoxFormat, unit: BoxUnit) -> Exporter {
    Exporter { names, format, unit }
}

/// TensorFlow's exporters.
const TENSORFLOW: [Exporter; 2] = [
    exporter(
        ["detection_boxes", "detection_classes", "detection_scores", "num_detections"],
        BoxFormat::Yxyx,
        BoxUnit::Normalized,
    ),
    exporter(
        [
            "TFLite_Detection_PostProcess",
            "TFLite_Detection_PostProcess:1",
            "TFLite_Detection_PostProcess:2",
            "TFLite_Detection_PostProcess:3",
        ],
        BoxFormat::Yxyx,
        BoxUnit::Normalized,
    ),
];

/// All others.
const OTHERS: [Exporter; 5] = [
    exporter(["det_boxes", "det_classes", "det_scores", "num_dets"], BoxFormat::Xyxy, BoxUnit::Pixels),
    exporter(["pred_boxes", "pred_classes", "pred_scores", "num_predictions"], BoxFormat::Xyxy, BoxUnit::Pixels),
    exporter(["boxes", "labels", "scores", "count"], BoxFormat::Xyxy, BoxUnit::Pixels),
    exporter(["bboxes", "labels", "scores", "count"], BoxFormat::Xyxy, BoxUnit::Normalized),
    exporter(["dets", "labels", "dets", "count"], BoxFormat::Xyxy, BoxUnit::Pixels),
];

/// Where the four tensors stand among the outputs. Where boxes and scores are one, the score follows each box.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Places {
    boxes: usize,
    classes: usize,
    scores: usize,
    count: Option<usize>,
}

impl Exporter {
    /// Its tensors, if all but the count are there.
    fn places(&self, outputs: &[TensorSpec]) -> Option<Places> {
        let place = |name: &str| outputs.iter().position(|t| is_called(&t.name, name));
        let [boxes, classes, scores, count] = self.names;
        Some(Places { boxes: place(boxes)?, classes: place(classes)?, scores: place(scores)?, count: place(count) })
    }
}

/// Whether a tensor is called `name`. TensorFlow appends ":0" to the first output of a node, super-gradients puts the
/// graph's name before it.
fn is_called(tensor: &str, name: &str) -> bool {
    let tensor = tensor.strip_suffix(":0").unwrap_or(tensor);
    let prefixed = || tensor.strip_suffix(name).is_some_and(|graph| graph.starts_with("graph") && graph.ends_with('_'));
    tensor == name || prefixed()
}

/// Finds TensorFlow's tensors by their names.
pub(super) fn by_name(outputs: &[TensorSpec]) -> Option<Places> {
    TENSORFLOW.iter().find_map(|exporter| exporter.places(outputs))
}

/// Finds any exporter's tensors by their names.
fn exported(outputs: &[TensorSpec]) -> Option<(Places, &'static Exporter)> {
    TENSORFLOW.iter().chain(&OTHERS).find_map(|exporter| Some((exporter.places(outputs)?, exporter)))
}

/// Finds the tensors by their shapes. Classes and scores have the same one: integers are classes, and of two float
/// tensors the first is the classes, as in the operator `TFLite_Detection_PostProcess`.
fn by_shape(outputs: &[TensorSpec]) -> Option<Places> {
    let find = |test: &dyn Fn(&TensorSpec) -> bool| outputs.iter().position(test);
    let boxes = find(&|t| t.shape.len() >= 2 && t.shape.last() == Some(&Some(4)))?;
    let [rows, _] = view::promised::<2>(&outputs.get(boxes)?.shape)?;
    let count = find(&|t| t.shape.iter().all(|d| *d == Some(1)) && rows != Some(1));
    let mut rest = outputs.iter().enumerate().filter(|(i, t)| {
        let same_rows = view::promised::<1>(&t.shape).is_some_and(|[n]| n.is_none() || rows.is_none() || n == rows);
        *i != boxes && Some(*i) != count && same_rows
    });
    let (first, second) = (rest.next()?, rest.next()?);
    let integer = |t: &TensorSpec| !matches!(t.dtype, DataType::F32 | DataType::F16);
    let (classes, scores) = if integer(second.1) { (second.0, first.0) } else { (first.0, second.0) };
    Some(Places { boxes, classes, scores, count })
}

/// Decoder of detections after NMS.
pub struct SsdPostprocessed {
    boxes: view::Reader,
    flat: view::Reader,
    places: Places,
    /// Numbers of a box, with its score if that follows.
    columns: usize,
    numbers: Boxes,
    offset: f32,
}

impl SsdPostprocessed {
    /// A decoder; the class ids in the tensor are those of the labels plus `class-offset`.
    ///
    /// # Errors
    /// [`PostError`] if an output is missing, has another shape, or scores or boxes are not float.
    pub fn new(output: &OutputContract, input: &InputContract, spec: &Spec) -> Result<Self, PostError> {
        view::activation(output, Activation::None, &[Activation::None])?;
        let missing = || PostError::Missing {
            decoder: DECODER,
            needs: "boxes [1, N, 4], classes [1, N] and scores [1, N] in three outputs",
            found: view::list(&spec.outputs),
        };
        let fix = "Set `output.decoder` to the model's family";
        let flat = view::Reader { decoder: DECODER, expected: "[1, N], N as in the boxes".into(), fix };
        let (places, format, unit) = match exported(&spec.outputs) {
            Some((places, Exporter { format, unit, .. })) => (places, *format, *unit),
            None => (by_shape(&spec.outputs).ok_or_else(missing)?, BoxFormat::Yxyx, BoxUnit::Normalized),
        };
        let get = |index: usize| spec.outputs.get(index).ok_or_else(missing);
        let joined = places.boxes == places.scores;
        let columns = if joined { 5 } else { 4 };
        let boxes = view::Reader { decoder: DECODER, expected: format!("[1, N, {columns}]"), fix };

        let tensor = get(places.boxes)?;
        view::check_float(output, tensor)?;
        let rows = match view::promised::<2>(&tensor.shape) {
            Some([rows, last]) if view::may_be(last, columns) => rows,
            _ => return Err(boxes.refuse(tensor)),
        };
        view::check_float(output, get(places.scores)?)?;
        for place in [places.classes, places.scores].into_iter().filter(|place| *place != places.boxes) {
            let tensor = get(place)?;
            match view::promised::<1>(&tensor.shape) {
                Some([found]) if rows.is_none_or(|rows| view::may_be(found, rows)) => {}
                _ => return Err(flat.refuse(tensor)),
            }
        }
        let numbers = Boxes::new(output, input, format, unit);
        Ok(Self { boxes, flat, places, columns, numbers, offset: output.class_offset as f32 })
    }
}

impl Decoder for SsdPostprocessed {
    fn decode(&self, outputs: &[Tensor], thresholds: &Thresholds, out: &mut Candidates) -> Result<(), PostError> {
        let ([rows, _], boxes) = self.boxes.read(outputs, self.places.boxes, |[_, last]| last == self.columns)?;
        let flat = |place| self.flat.read(outputs, place, |dims| dims == [rows]).map(|(_, values)| values);
        let classes = flat(self.places.classes)?;
        let scores = if self.columns == 4 { Some(flat(self.places.scores)?) } else { None };
        let count = match self.places.count {
            // A count that is no number is 0; one past the end is the end.
            Some(index) => outputs.get(index).and_then(|t| t.data.get(0)).map_or(rows, |n| n.round() as usize),
            None => rows,
        };
        for (i, (row, class)) in boxes.chunks_exact(self.columns).zip(classes).take(count).enumerate() {
            let Some(numbers) = row.first_chunk() else { continue };
            let Some(score) = scores.map_or(row.get(4), |scores| scores.get(i)) else { continue };
            let class_id = class_id(*class, self.offset);
            if thresholds.accepts(class_id, *score) {
                out.push(self.numbers.candidate(*numbers, *score, class_id).at(i));
            }
        }
        Ok(())
    }

    fn nms(&self) -> Nms {
        Nms::None
    }
}

#[cfg(test)]
mod tests;
