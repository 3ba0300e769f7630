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
//! | any other | found by shape | as TensorFlow |
//!
//! Sources: TensorFlow Object Detection API, `exporter_lib_v2.py`; TFLite `detection_postprocess.cc`; TensorRT
//! `EfficientNMSPlugin`; super-gradients `models_export.md`; torchvision `models/detection`; ONNX model zoo `ssd`.

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
const OTHERS: [Exporter; 4] = [
    exporter(["det_boxes", "det_classes", "det_scores", "num_dets"], BoxFormat::Xyxy, BoxUnit::Pixels),
    exporter(["pred_boxes", "pred_classes", "pred_scores", "num_predictions"], BoxFormat::Xyxy, BoxUnit::Pixels),
    exporter(["boxes", "labels", "scores", "count"], BoxFormat::Xyxy, BoxUnit::Pixels),
    exporter(["bboxes", "labels", "scores", "count"], BoxFormat::Xyxy, BoxUnit::Normalized),
];

/// Where the four tensors stand among the outputs.
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
        let boxes = view::Reader { decoder: DECODER, expected: "[1, N, 4]".into(), fix };
        let flat = view::Reader { decoder: DECODER, expected: "[1, N], N as in the boxes".into(), fix };
        let (places, format, unit) = match exported(&spec.outputs) {
            Some((places, Exporter { format, unit, .. })) => (places, *format, *unit),
            None => (by_shape(&spec.outputs).ok_or_else(missing)?, BoxFormat::Yxyx, BoxUnit::Normalized),
        };
        let get = |index: usize| spec.outputs.get(index).ok_or_else(missing);

        let tensor = get(places.boxes)?;
        view::check_float(output, tensor)?;
        let rows = match view::promised::<2>(&tensor.shape) {
            Some([rows, last]) if view::may_be(last, 4) => rows,
            _ => return Err(boxes.refuse(tensor)),
        };
        view::check_float(output, get(places.scores)?)?;
        for tensor in [get(places.classes)?, get(places.scores)?] {
            match view::promised::<1>(&tensor.shape) {
                Some([found]) if rows.is_none_or(|rows| view::may_be(found, rows)) => {}
                _ => return Err(flat.refuse(tensor)),
            }
        }
        let numbers = Boxes::new(output, input, format, unit);
        Ok(Self { boxes, flat, places, numbers, offset: output.class_offset as f32 })
    }
}

impl Decoder for SsdPostprocessed {
    fn decode(&self, outputs: &[Tensor], thresholds: &Thresholds, out: &mut Candidates) -> Result<(), PostError> {
        let ([rows, _], boxes) = self.boxes.read(outputs, self.places.boxes, |[_, last]| last == 4)?;
        let (_, classes) = self.flat.read(outputs, self.places.classes, |dims| dims == [rows])?;
        let (_, scores) = self.flat.read(outputs, self.places.scores, |dims| dims == [rows])?;
        let count = match self.places.count {
            // A count that is no number is 0; one past the end is the end.
            Some(index) => outputs.get(index).and_then(|t| t.data.get(0)).map_or(rows, |n| n.round() as usize),
            None => rows,
        };
        let (corners, _) = boxes.as_chunks::<4>();
        for (i, ((corners, class), score)) in corners.iter().zip(classes).zip(scores).take(count).enumerate() {
            let class_id = class_id(*class, self.offset);
            if thresholds.accepts(class_id, *score) {
                out.push(self.numbers.candidate(*corners, *score, class_id).at(i));
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
    use crate::post::tests::{accept_over, input, outputs, tensor};

    const ROWS: [Option<usize>; 2] = [Some(1), Some(3)];

    fn spec(names: [&str; 4]) -> Spec {
        outputs(vec![
            tensor(names[3], DataType::F32, &[Some(1)]),
            tensor(names[2], DataType::F32, &ROWS),
            tensor(names[1], DataType::F32, &ROWS),
            tensor(names[0], DataType::F32, &[Some(1), Some(3), Some(4)]),
        ])
    }

    fn contract(class_offset: u32) -> OutputContract {
        OutputContract { class_offset, ..OutputContract::new(DecoderKind::SsdPostprocessed) }
    }

    fn run(offset: u32, count: f32) -> Vec<Candidate> {
        let decoder = SsdPostprocessed::new(&contract(offset), &input(200, 100), &spec(NAMES[0])).unwrap();
        let boxes = vec![0.1, 0.2, 0.5, 0.4, 0.0, 0.0, 1.0, 1.0, 0.25, 0.5, 0.75, 1.0];
        let tensors = [
            Tensor::from_f32("num_detections", &[1], vec![count]),
            Tensor::from_f32("detection_scores", &[1, 3], vec![0.9, 0.3, 0.8]),
            Tensor::from_f32("detection_classes", &[1, 3], vec![1.0, 1.0, 2.0]),
            Tensor::from_f32("detection_boxes", &[1, 3, 4], boxes),
        ];
        let mut out = Vec::new();
        decoder.decode(&tensors, &accept_over(0.5, 3), &mut out).unwrap();
        out
    }

    #[test]
    fn rows_over_the_threshold_become_boxes() {
        assert_eq!(
            run(0, 3.0),
            [
                Candidate { x1: 40.0, y1: 10.0, x2: 80.0, y2: 50.0, score: 0.9, class_id: 1, ..Candidate::default() },
                Candidate { x1: 100.0, y1: 25.0, x2: 200.0, y2: 75.0, score: 0.8, class_id: 2, ..Candidate::default() },
            ]
        );
    }

    #[test]
    fn the_offset_is_subtracted_and_a_class_below_it_has_no_label() {
        let ids = |offset| run(offset, 3.0).iter().map(|c| c.class_id).collect::<Vec<_>>();
        assert_eq!(ids(1), [0, 1]);
        assert_eq!(ids(2), [u32::MAX, 0]);
    }

    #[test]
    fn the_count_cuts_and_a_broken_one_does_no_harm() {
        assert_eq!([1.0, 0.0, -5.0, f32::NAN, 1e30].map(|n| run(0, n).len()), [1, 0, 0, 0, 2]);
    }

    #[test]
    fn outputs_are_found_by_either_exporters_names() {
        let expected = Some(Places { boxes: 3, classes: 2, scores: 1, count: Some(0) });
        assert_eq!(by_name(&spec(NAMES[0]).outputs), expected);
        assert_eq!(by_name(&spec(NAMES[1]).outputs), expected);
        let zero = ["detection_boxes:0", "detection_classes:0", "detection_scores:0", "num_detections:0"];
        assert_eq!(by_name(&spec(zero).outputs), expected);
    }

    #[test]
    fn outputs_without_known_names_are_found_by_shape() {
        let unnamed = spec(["a", "b", "c", "d"]);
        assert_eq!(by_name(&unnamed.outputs), None);
        assert_eq!(by_shape(&unnamed.outputs), Some(Places { boxes: 3, classes: 1, scores: 2, count: Some(0) }));
        let mut integer = unnamed;
        integer.outputs[2].dtype = DataType::I64;
        assert_eq!(by_shape(&integer.outputs), Some(Places { boxes: 3, classes: 2, scores: 1, count: Some(0) }));
    }

    #[test]
    fn a_missing_output_is_told() {
        let spec = outputs(vec![tensor("boxes", DataType::F32, &[Some(1), Some(3), Some(4)])]);
        assert_eq!(
            SsdPostprocessed::new(&contract(0), &input(64, 64), &spec).err().unwrap().to_string(),
            "decoder ssd-postprocessed needs detection_boxes [1, N, 4], detection_classes [1, N] and detection_scores \
             [1, N]; the model's outputs are `boxes` f32 [1, 3, 4]. Set `output.decoder` to the family that the model \
             was made for (ssd-anchors, ssd-postprocessed, yolox, yolov8, classify), or export the model with that \
             output"
        );
    }
}
