//! The rules in their order, and what is said when none of them fits.

use super::found::{Found, Refusal, Verdict};
use super::look::Look;
use super::usual::Usual;
use super::{faces, finished, maps, queries, ssd, ultralytics, vectors, yolo};
use crate::bundle::contract::DecoderKind;

/// All rules: metadata first, then names, then shapes, those that leave least doubt first.
pub(super) const ALL: [fn(&Look) -> Verdict; 28] = [
    ultralytics::exported,
    ssd::tensorflow,
    finished::efficient_nms,
    finished::yolo_nas_with_nms,
    finished::paddle,
    finished::rtdetr_deploy,
    finished::onnx_zoo,
    finished::detection_output,
    finished::mmdeploy,
    finished::torchvision,
    finished::yolov7_end2end,
    finished::deepstream_yolo,
    queries::hugging_face,
    queries::rf_detr,
    maps::centernet,
    faces::yunet,
    faces::ultraface,
    yolo::nanodet,
    yolo::nanodet_plus,
    yolo::v5_raw,
    yolo::v5_decoded,
    yolo::v4,
    yolo::nas,
    yolo::grid,
    ssd::raw,
    maps::movenet,
    maps::segmentation,
    vectors::vector,
];

/// The family that was named beforehand, of a model that no rule recognises as one of it.
pub(super) fn bare(decoder: DecoderKind) -> Found {
    use DecoderKind as D;
    let usual = match decoder {
        D::SsdAnchors => Usual::signed("usual for raw SSD heads"),
        D::SsdPostprocessed => Usual::plain("TensorFlow's exports normalise inside the model"),
        D::Yolox => Usual::yolox(),
        D::Detections | D::Yolov5 | D::Yolov8 => Usual::ultralytics(),
        D::YoloNas => Usual::letterboxed("SuperGradients' own pre-processing"),
        D::Nanodet => Usual::nanodet(),
        D::Centernet => Usual::centernet(),
        D::Detr => Usual::stretched("RT-DETR's own pre-processing").smooth(),
        D::Yunet => Usual::yunet(),
        D::Ultraface => Usual::ultraface(),
        D::Movenet => Usual::movenet(),
        D::Segmentation => Usual::imagenet("usual for segmentation").smooth(),
        D::Classify => Usual::torchvision(),
        D::Embed => Usual::imagenet("usual for embeddings"),
    };
    let found = Found::recognised(decoder, usual, "");
    match decoder {
        D::Yunet | D::Ultraface => found.only("face"),
        D::Movenet => found.only("person"),
        _ => found,
    }
}

/// Why no rule fits.
pub(super) fn unknown(look: &Look) -> Refusal {
    let (cells, p6) = (look.cells(&[8, 16, 32]), look.cells(&[8, 16, 32, 64]));
    let size = look.size();
    let embedded = look.names().map_or_else(String::new, |n| format!(" The embedded `names` list {n} labels."));
    let why = match look.outputs() {
        [one] if look.rows(one).is_some() => format!(
            "No decoder reads the output: a {size} input has {cells} cells ({p6} with stride 64), so that yolov8 is \
             [1, 4 + classes, {cells}], yolox [1, {cells}, 5 + classes] and yolov5 [1, {}, 5 + classes].{embedded}",
            3 * cells
        ),
        [_] => format!("The output is neither a class vector nor a list of boxes nor a map of classes.{embedded}"),
        _ => format!("No decoder reads these outputs together.{embedded}"),
    };
    Refusal { why, key: "output.decoder" }
}
