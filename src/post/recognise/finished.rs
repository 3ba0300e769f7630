//! Models with all post-processing inside: boxes, classes and scores in tensors of their own, or rows of them.

use super::Origin;
use super::found::{Found, Verdict};
use super::look::{Look, is_integer, may_be};
use super::usual::Usual;
use crate::bundle::contract::{Align, BoxFormat, BoxUnit, Color, Column, DecoderKind, Resize, Task};

use Column::{Class, Ignore, Score, X1, X2, Y1, Y2};

/// TensorRT's EfficientNMS, as exports of YOLOv7, v8 and others append it: `num_dets`, `det_boxes`, `det_scores`,
/// `det_classes`; corners in pixels.
///
/// Source: WongKinYiu/yolov7 `export.py --end2end`, TensorRT `efficientNMSPlugin`.
pub(super) fn efficient_nms(look: &Look) -> Verdict {
    look.output(&["det_boxes"])?;
    look.output(&["det_scores"])?;
    look.output(&["det_classes"])?;
    let because = "the outputs' names: EfficientNMS";
    let found = Found::recognised(DecoderKind::SsdPostprocessed, Usual::ultralytics(), because);
    found.boxes(BoxFormat::Xyxy, BoxUnit::Pixels, because).classes(look.names()).ok()
}

/// YOLO-NAS with NMS inside: `[n, 7]` (picture, corners, confidence, class; with keypoints `[n, 57]`), or four tensors.
///
/// Source: SuperGradients `training/models/detection_models/.../export` (`DetectionOutputFormatMode`).
pub(super) fn yolo_nas_with_nms(look: &Look) -> Verdict {
    let usual = Usual::letterboxed("SuperGradients' own pre-processing");
    let ends = |end: &str| look.outputs().iter().find(|t| t.name.ends_with(end));
    if let Some(flat) = ends("flat_predictions") {
        let because = "the output's name: SuperGradients' flat format";
        let found = Found::recognised(DecoderKind::Detections, usual, because);
        return match look.dims::<2>(flat)? {
            [_, Some(7)] => found.classes(look.names()).columns(&[Ignore, X1, Y1, X2, Y2, Score, Class], because).ok(),
            // YOLO-NAS-Pose: three values for each keypoint behind the score.
            [_, Some(n)] if n > 8 && n.is_multiple_of(3) => {
                let found = found.only("person").task(Task::Pose).columns(&[Ignore, X1, Y1, X2, Y2, Score], because);
                found.keypoints([(n - 6) / 3, 3], Origin::Recognised, because).ok()
            }
            _ => None,
        };
    }
    ends("pred_boxes")?;
    ends("pred_scores")?;
    ends("pred_classes")?;
    let because = "the outputs' names: SuperGradients' batch format";
    let found = Found::recognised(DecoderKind::SsdPostprocessed, usual, because).classes(look.names());
    found.boxes(BoxFormat::Xyxy, BoxUnit::Pixels, because).ok()
}

/// PaddleDetection: inputs `im_shape` or `scale_factor` beside the picture; rows of class, score, corners.
///
/// Source: PaddleDetection `deploy/python/infer.py`, `deploy/EXPORT_MODEL.md`; paddle2onnx `multiclass_nms`.
pub(super) fn paddle(look: &Look) -> Verdict {
    look.input(&["scale_factor"]).or_else(|| look.input(&["im_shape"]))?;
    let because = "the inputs' names: PaddleDetection, rows of class, score and corners";
    look.outputs().iter().find(|t| matches!(look.dims::<2>(t), Some([_, Some(6)])))?;
    let usual = Usual::imagenet("PP-YOLOE's own pre-processing (PP-YOLOE+: mean 0, std 255)");
    let found = Found::recognised(DecoderKind::Detections, usual, because).classes(look.names());
    found.columns(&[Class, Score, X1, Y1, X2, Y2], because).ok()
}

/// RT-DETR and D-FINE as deployed: the second input `orig_target_sizes`; `labels`, `boxes`, `scores`, corners in its unit.
///
/// Source: lyuwenyu/RT-DETR and Peterande/D-FINE, `tools/.../export_onnx.py`.
pub(super) fn rtdetr_deploy(look: &Look) -> Verdict {
    look.input(&["orig_target_sizes", "orig_target_size", "target_sizes"])?;
    look.output(&["boxes"])?;
    look.output(&["scores"])?;
    look.output(&["labels"])?;
    let because = "the names of inputs and outputs: RT-DETR or D-FINE";
    let usual = Usual::stretched("RT-DETR's own pre-processing").smooth();
    let found = Found::recognised(DecoderKind::Detr, usual, because).classes(look.names());
    found.boxes(BoxFormat::Xyxy, BoxUnit::Pixels, because).ok()
}

/// SSD of the ONNX model zoo: `bboxes`, `labels`, `scores`; corners in 0..1, the background is class 0.
///
/// Source: ONNX model zoo `validated/vision/object_detection_segmentation/ssd`.
pub(super) fn onnx_zoo(look: &Look) -> Verdict {
    look.output(&["bboxes"])?;
    look.output(&["scores"])?;
    look.output(&["labels"])?;
    let because = "the outputs' names: SSD of the ONNX model zoo";
    let usual = Usual::imagenet("the ONNX model zoo's page of SSD");
    let found = Found::recognised(DecoderKind::SsdPostprocessed, usual, because).classes(look.names());
    let found = found.boxes(BoxFormat::Xyxy, BoxUnit::Normalized, because);
    found.class_offset(1, Origin::Assumed, "SSD has the background at class 0").ok()
}

/// `DetectionOutput` of Caffe and OpenVINO: `[1, 1, rows, 7]` of picture, class, score, corners in 0..1.
///
/// Source: OpenVINO `DetectionOutput-8`, Caffe-SSD `detection_output_layer.cpp`.
pub(super) fn detection_output(look: &Look) -> Verdict {
    let [one] = look.outputs() else { return None };
    let [Some(1), Some(1), _, Some(7)] = one.shape.as_slice() else { return None };
    let because = "shape [1, 1, rows, 7]: picture, class, score, corners";
    let usual = Usual::plain("usual for OpenVINO's models (they are BGR unless converted otherwise)");
    let usual = Usual { color: Color::Bgr, ..usual };
    let found = Found::recognised(DecoderKind::Detections, usual, because).classes(look.names());
    let found = found.columns(&[Ignore, Class, Score, X1, Y1, X2, Y2], because);
    let found = found.boxes(BoxFormat::Xyxy, BoxUnit::Normalized, because);
    found.class_offset(1, Origin::Assumed, "SSD has the background at class 0").ok()
}

/// MMDetection by way of mmdeploy: `dets` `[rows, 5]` (corners in pixels, score) and `labels`, whole numbers.
///
/// Source: open-mmlab/mmdeploy `mmdeploy/codebase/mmdet`.
pub(super) fn mmdeploy(look: &Look) -> Verdict {
    let (dets, labels) = (look.output(&["dets"])?, look.output(&["labels"])?);
    let [_, columns] = look.dims::<2>(dets)?;
    if !may_be(columns, 5) || !is_integer(labels) {
        return None;
    }
    let because = "the outputs' names: mmdeploy";
    let usual = Usual::imagenet("usual for MMDetection (YOLOX and RTMDet: BGR with values of their own)");
    let usual = Usual { resize: Resize::Letterbox, align: Align::TopLeft, ..usual };
    let found = Found::recognised(DecoderKind::SsdPostprocessed, usual, because).classes(look.names());
    found.boxes(BoxFormat::Xyxy, BoxUnit::Pixels, because).ok()
}

/// torchvision's detectors: `boxes`, `labels`, `scores` in any order; corners in pixels, the background is class 0.
///
/// Source: torchvision `models/detection` (`ssd.py`, `faster_rcnn.py`, `retinanet.py`).
pub(super) fn torchvision(look: &Look) -> Verdict {
    let boxes = look.output(&["boxes"])?;
    let (scores, labels) = (look.output(&["scores"])?, look.output(&["labels"])?);
    let listed = matches!(look.dims::<2>(boxes), Some([_, last]) if may_be(last, 4));
    if !listed || !is_integer(labels) || is_integer(scores) {
        return None;
    }
    let because = "the outputs' names: torchvision";
    let usual = Usual::stretched("torchvision's detectors normalise inside the model");
    let found = Found::recognised(DecoderKind::SsdPostprocessed, usual, because).classes(look.names());
    let found = found.boxes(BoxFormat::Xyxy, BoxUnit::Pixels, because);
    found.class_offset(1, Origin::Assumed, "torchvision has the background at class 0").ok()
}

/// DeepStream-Yolo's exports of all families, `input` and `output`: rows of corners in pixels, score, class, which still
/// overlap.
///
/// Source: marcoslucianops/DeepStream-Yolo `utils/export_yoloV8.py` and its like.
pub(super) fn deepstream_yolo(look: &Look) -> Verdict {
    let [one] = look.outputs() else { return None };
    look.input(&["input"])?;
    if one.name != "output" || !matches!(look.rows(one), Some([_, Some(6)])) {
        return None;
    }
    let because = "the names of input and output, and rows of six: DeepStream-Yolo";
    let found = Found::recognised(DecoderKind::Detections, Usual::ultralytics(), because).classes(look.names());
    found.boxes(BoxFormat::Xyxy, BoxUnit::Pixels, because).overlapping(because).ok()
}

/// YOLOv7 with NMS inside for ONNX Runtime: rows of picture, corners, class, score.
///
/// Source: WongKinYiu/yolov7 `models/experimental.py` (`ONNX_ORT`).
pub(super) fn yolov7_end2end(look: &Look) -> Verdict {
    let [one] = look.outputs() else { return None };
    let [None, Some(7)] = one.shape.as_slice() else { return None };
    // With a free batch it may as well be a class vector.
    let fixed = look.spec.inputs.first()?.shape.first()?.is_some();
    if !fixed || one.name != "output" || look.input(&["images"]).is_none() {
        return None;
    }
    let because = "rows of 7 values under YOLOv7's names: picture, corners, class, score";
    let found = Found::recognised(DecoderKind::Detections, Usual::ultralytics(), because).classes(look.names());
    found.columns(&[Ignore, X1, Y1, X2, Y2, Class, Score], because).ok()
}
