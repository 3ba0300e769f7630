//! SSD, with and without its post-processing.

use super::Origin;
use super::found::{Found, Verdict};
use super::look::Look;
use super::usual::Usual;
use crate::bundle::contract::{AnchorConfig, DecoderKind};
use crate::post::{ssd_anchors, ssd_postprocessed};

/// TensorFlow's detections after NMS, by their names: `detection_boxes`, `detection_classes`, `detection_scores`, or those
/// of `TFLite_Detection_PostProcess`.
///
/// Source: TensorFlow Object Detection API, `exporter_lib_v2.py`; TFLite `detection_postprocess.cc`.
pub(super) fn tensorflow(look: &Look) -> Verdict {
    ssd_postprocessed::by_name(look.outputs())?;
    let usual = Usual::plain("TensorFlow's exports normalise inside the model");
    let found = Found::recognised(DecoderKind::SsdPostprocessed, usual, "the outputs' names").classes(look.names());
    found
        .class_offset(0, Origin::Assumed, "1 where the model counts from 1 and the labels begin with the first class")
        .ok()
}

/// A raw head, boxes `[anchors, 4]` and logits `[anchors, classes]`, with the usual anchors.
///
/// Source: TensorFlow Object Detection API, `ssd_mobilenet` configurations; MediaPipe `ssd_anchors_calculator`.
pub(super) fn raw(look: &Look) -> Verdict {
    let [_, _] = look.outputs() else { return None };
    let (boxes, scores) = ssd_anchors::places(look.outputs())?;
    let ([Some(count), Some(4)], [_, Some(columns)]) =
        (look.rows(look.outputs().get(boxes)?)?, look.rows(look.outputs().get(scores)?)?)
    else {
        return None;
    };
    let classes = columns.checked_sub(1).filter(|c| *c > 0)?;
    let because = "boxes [anchors, 4] and logits [anchors, classes]";
    let usual = Usual::signed("usual for raw SSD heads");
    let mut found = Found::recognised(DecoderKind::SsdAnchors, usual, because).classes(Some(classes));
    let anchors = usual_anchors(look.frame.width);
    if look.frame.width != look.frame.height || ssd_anchors::anchor_count(&anchors) != count {
        let why = format!("The layout of the {count} anchors is not the usual one.");
        // Whoever gives the anchors still gets the usual offset.
        found.output.class_offset = 1;
        return found.needs("output.anchors", why).ok();
    }
    let maps = format!("feature-maps {:?}, scales 0.2 to 0.95", anchors.feature_maps);
    found = found.class_offset(1, Origin::Assumed, "SSD heads have the background at class 0");
    found.output.anchors = Some(anchors);
    found.fact("output.anchors", maps, Origin::Assumed, "the usual MobileNet SSD layout has as many anchors").ok()
}

/// The 6-layer MobileNet SSD layout (TensorFlow, MediaPipe) for a square input: a first map at stride 16, each next one
/// half of it.
fn usual_anchors(side: u32) -> AnchorConfig {
    let maps = std::iter::successors(Some(side.div_ceil(16)), |side| Some(side.div_ceil(2)));
    AnchorConfig {
        feature_maps: maps.take(6).collect(),
        min_scale: 0.2,
        max_scale: 0.95,
        aspect_ratios: vec![1.0, 2.0, 0.5, 3.0, 1.0 / 3.0],
        reduce_lowest: true,
        interpolated_scale: true,
        box_scales: [10.0, 10.0, 5.0, 5.0],
    }
}
