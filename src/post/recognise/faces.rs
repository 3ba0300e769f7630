//! Faces.

use super::Origin;
use super::found::{Found, Verdict};
use super::look::Look;
use super::usual::Usual;
use crate::bundle::contract::{BoxFormat, BoxUnit, DecoderKind};

/// YuNet of 2023: `cls_8`, `obj_8`, `bbox_8`, `kps_8`, and the same for strides 16 and 32.
///
/// Source: OpenCV `modules/objdetect/src/face_detect.cpp`, libfacedetection.train.
pub(super) fn yunet(look: &Look) -> Verdict {
    for kind in ["cls", "obj", "bbox", "kps"] {
        for stride in [8, 16, 32] {
            look.output(&[&format!("{kind}_{stride}")])?;
        }
    }
    let found = Found::recognised(DecoderKind::Yunet, Usual::yunet(), "the outputs' names: YuNet").only("face");
    found.iou(0.3, Origin::Assumed, "OpenCV's FaceDetectorYN").ok()
}

/// UltraFace: `scores` `[boxes, 2]` (background, face) and `boxes` `[boxes, 4]`, corners in 0..1.
///
/// Source: Linzaer/Ultra-Light-Fast-Generic-Face-Detector-1MB, `run_video_face_detect_onnx.py`.
pub(super) fn ultraface(look: &Look) -> Verdict {
    let (scores, boxes) = (look.output(&["scores"])?, look.output(&["boxes"])?);
    let ([a, Some(2)], [b, Some(4)]) = (look.rows(scores)?, look.rows(boxes)?) else { return None };
    if a != b || look.outputs().len() != 2 {
        return None;
    }
    let because = "`scores` [boxes, 2] and `boxes` [boxes, 4]: UltraFace";
    let found = Found::recognised(DecoderKind::Ultraface, Usual::ultraface(), because).only("face");
    let found = found.boxes(BoxFormat::Xyxy, BoxUnit::Normalized, because);
    found
        .confidence(0.7, Origin::Assumed, "UltraFace's own demo")
        .iou(0.3, Origin::Assumed, "UltraFace's own demo")
        .ok()
}
