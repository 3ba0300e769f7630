//! DETR and its kin without post-processing: a box and class scores for each query.

use super::Origin;
use super::found::{Found, Verdict};
use super::look::Look;
use super::usual::Usual;
use crate::bundle::contract::{Activation, BoxFormat, BoxUnit, DecoderKind};

/// Hugging Face's exports, `logits` and `pred_boxes`: DETR and YOLOS (softmax, the last class is "no object"), RT-DETR,
/// D-FINE, Deformable and Conditional DETR (sigmoid).
///
/// Source: transformers `modeling_detr.py`, `image_processing_rt_detr.py` (`post_process_object_detection`).
pub(super) fn hugging_face(look: &Look) -> Verdict {
    let logits = look.output(&["logits"])?;
    look.output(&["pred_boxes"])?;
    let because = "the outputs' names: Hugging Face's DETR family";
    let [queries, columns] = look.dims::<2>(logits)?;
    // COCO has 80 names, 91 ids, and 92 with "no object"; DETR and YOLOS have 100 queries, all others 300.
    let activation = match (queries, columns) {
        (Some(100), _) => Some((Activation::Softmax, Origin::Assumed, "100 queries, as DETR and YOLOS have them")),
        (_, Some(92)) => Some((Activation::Softmax, Origin::Assumed, "92 columns: the ids of COCO and \"no object\"")),
        (Some(300), _) => Some((Activation::Sigmoid, Origin::Assumed, "300 queries, as RT-DETR and D-FINE have them")),
        (_, Some(80)) => {
            Some((Activation::Sigmoid, Origin::Assumed, "80 columns: no \"no object\" beside COCO's classes"))
        }
        _ => match (look.names(), columns) {
            (Some(names), Some(n)) if n == names + 1 => {
                Some((Activation::Softmax, Origin::Recognised, "one column more than names"))
            }
            (Some(names), Some(n)) if n == names => {
                Some((Activation::Sigmoid, Origin::Recognised, "as many columns as names"))
            }
            _ => None,
        },
    };
    let softmax = activation.is_some_and(|a| a.0 == Activation::Softmax);
    let usual = if softmax {
        Usual::imagenet("usual for DETR and YOLOS").smooth()
    } else {
        Usual::stretched("RT-DETR's own pre-processing").smooth()
    };
    let classes = columns.and_then(|n| n.checked_sub(usize::from(softmax))).filter(|n| *n > 0);
    let found = Found::recognised(DecoderKind::Detr, usual, because).classes(classes.or(look.names()));
    let found = found.boxes(BoxFormat::Cxcywh, BoxUnit::Normalized, because);
    match activation {
        Some((value, origin, because)) => found.activation(value, origin, because).ok(),
        None => found.needs("output.activation", "Nothing says whether its scores need a softmax or a sigmoid.").ok(),
    }
}

/// RF-DETR: `dets` and `labels`, scores before the sigmoid.
///
/// Source: roboflow/rf-detr `rfdetr/deploy/export.py`.
pub(super) fn rf_detr(look: &Look) -> Verdict {
    let (boxes, scores) = (look.output(&["dets"])?, look.output(&["labels"])?);
    let ([_, Some(4)], [_, columns]) = (look.dims::<2>(boxes)?, look.dims::<2>(scores)?) else { return None };
    let because = "the outputs' names: RF-DETR";
    let found = Found::recognised(DecoderKind::Detr, Usual::imagenet("RF-DETR's own pre-processing").smooth(), because);
    let found = found.classes(columns.or(look.names())).boxes(BoxFormat::Cxcywh, BoxUnit::Normalized, because);
    found.activation(Activation::Sigmoid, Origin::Recognised, because).ok()
}
