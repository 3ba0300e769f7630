//! YOLO and NanoDet without metadata that tells them: by the cells of their grids.

use super::Origin;
use super::found::{Found, Verdict};
use super::look::Look;
use super::usual::Usual;
use crate::bundle::contract::{Activation, BoxFormat, BoxUnit, DecoderKind, Task};
use crate::engine::TensorSpec;

const YOLOV5: &str = "YOLOv5's own defaults";

/// NanoDet with an output for each stride: `cls_pred_stride_8` and `dis_pred_stride_8` or the like.
///
/// Source: RangiLyu/nanodet v0.3 `tools/export.py`, `nanodet/model/head/gfl_head.py`.
pub(super) fn nanodet(look: &Look) -> Verdict {
    let of = |word: &str| look.outputs().iter().find(|t| t.name.starts_with(word));
    let (scores, distances) = (of("cls_pred")?, of("dis_pred")?);
    let ([_, classes], [_, Some(_)]) = (look.rows(scores)?, look.dims::<2>(distances)?) else { return None };
    nanodet_found("the outputs' names: NanoDet", classes)
}

/// NanoDet and NanoDet-Plus with one output `[cells, classes + 4 * 8]`; its own exporter names the input `data`.
///
/// Source: RangiLyu/nanodet `tools/export_onnx.py`, `nanodet/model/head/nanodet_plus_head.py`.
pub(super) fn nanodet_plus(look: &Look) -> Verdict {
    let [one] = look.outputs() else { return None };
    look.input(&["data"])?;
    let [cells, columns] = look.rows(one)?;
    let grids = [look.cells_up(&[8, 16, 32, 64]), look.cells_up(&[8, 16, 32])];
    cells.filter(|n| grids.contains(n))?;
    // Each side is a distribution over 8 values.
    let classes = look.classes(columns, 32)?;
    nanodet_found("NanoDet's names, and rows of classes and four distributions over 8 values", Some(classes))
}

fn nanodet_found(because: &str, classes: Option<usize>) -> Verdict {
    let found = Found::recognised(DecoderKind::Nanodet, Usual::nanodet(), because).classes(classes);
    found.iou(0.6, Origin::Assumed, "NanoDet's own demo").ok()
}

/// YOLOv5 and v7 heads before the grid: three outputs `[anchors * (5 + classes), rows, columns]` or `[anchors, rows,
/// columns, 5 + classes]`. Their anchors are not in the model.
///
/// Source: ultralytics/yolov5 `models/yolo.py` (`Detect`), WongKinYiu/yolov7 `models/yolo.py` (`IDetect`).
pub(super) fn v5_raw(look: &Look) -> Verdict {
    let heads = look.outputs();
    if !(2..=4).contains(&heads.len()) {
        return None;
    }
    let strides: Vec<u32> = heads.iter().map(|t| head(look, t).map(|h| h.stride)).collect::<Option<_>>()?;
    let first = head(look, heads.first()?)?;
    let same = heads.iter().all(|t| head(look, t).is_some_and(|h| h.columns == first.columns));
    if !same || strides.windows(2).any(|s| matches!(s, [a, b] if a == b)) {
        return None;
    }
    let classes = look.classes(Some(first.columns), 5)?;
    let because = "heads of 3 anchors a cell, each 5 + classes";
    let found = Found::recognised(DecoderKind::Yolov5, Usual::ultralytics(), because).classes(Some(classes));
    let found = found.confidence(0.25, Origin::Assumed, YOLOV5).iou(0.45, Origin::Assumed, YOLOV5);
    let found = found.activation(Activation::Sigmoid, Origin::Recognised, "raw heads end before the sigmoid");
    let why = "The anchors of raw YOLO heads are not in the model: YOLOv5's are [[10, 13, 16, 30, 33, 23], [30, 61, 62, \
               45, 59, 119], [116, 90, 156, 198, 373, 326]], YOLOv7's [[12, 16, 19, 36, 40, 28], [36, 75, 76, 55, 72, 146], \
               [142, 110, 192, 243, 459, 401]], and trained models may have others.";
    found.needs("output.yolo-anchors", why).ok()
}

/// A raw head: the stride of its grid and the values of an anchor.
#[derive(Debug, Clone, Copy, PartialEq)]
struct HeadShape {
    stride: u32,
    columns: usize,
}

fn head(look: &Look, tensor: &TensorSpec) -> Option<HeadShape> {
    let frame = look.frame;
    let stride = |h: usize, w: usize| {
        let fits = |s: &u32| (frame.height / s) as usize == h && (frame.width / s) as usize == w;
        [8, 16, 32, 64].into_iter().find(fits)
    };
    match *tensor.shape.as_slice() {
        [_, Some(3), Some(h), Some(w), Some(columns)] => Some(HeadShape { stride: stride(h, w)?, columns }),
        [_, Some(channels), Some(h), Some(w)] if channels.is_multiple_of(3) && channels > 15 => {
            Some(HeadShape { stride: stride(h, w)?, columns: channels / 3 })
        }
        _ => None,
    }
}

/// YOLOv5 and v7, decoded: three boxes a cell, rows of centre, size, objectness, classes; with prototypes, 32
/// coefficients more.
///
/// Source: ultralytics/yolov5 `export.py` and `utils/general.py` (`non_max_suppression`), WongKinYiu/yolov7 `export.py
/// --grid`.
pub(super) fn v5_decoded(look: &Look) -> Verdict {
    let main = look.outputs().first()?;
    let [rows, columns] = look.rows(main)?;
    let protos = match look.outputs() {
        [_, protos] => match look.dims::<3>(protos)? {
            [Some(count), _, _] => count,
            _ => return None,
        },
        // Raw heads may stand behind the decoded rows.
        _ => 0,
    };
    let free = look.meta.yolov5 && rows.is_none();
    if !free && !look.is_grid(rows, 3) {
        return None;
    }
    let classes = match columns {
        Some(_) => look.classes(columns, 5 + protos)?,
        None => look.names()?,
    };
    let because = format!("shape [boxes, 5 + {classes} classes], three boxes for each cell of a {} input", look.size());
    let because = if look.meta.yolov5 { "the metadata of YOLOv5's export.py".to_owned() } else { because };
    let found = Found::recognised(DecoderKind::Yolov5, Usual::ultralytics(), because).classes(Some(classes));
    let found = if protos > 0 { found.task(Task::Segment) } else { found };
    let found = found.confidence(0.25, Origin::Assumed, YOLOV5).iou(0.45, Origin::Assumed, YOLOV5);
    found.activation(Activation::None, Origin::Recognised, "decoded rows hold probabilities").ok()
}

/// YOLOv4 of pytorch-YOLOv4: `boxes` `[boxes, 1, 4]`, corners in 0..1, and `confs` `[boxes, classes]`.
///
/// Source: Tianxiaomo/pytorch-YOLOv4 `tool/utils.py` (`post_processing`), `demo_pytorch2onnx.py`.
pub(super) fn v4(look: &Look) -> Verdict {
    let (boxes, scores) = (look.output(&["boxes"])?, look.output(&["confs"])?);
    let ([n, Some(1), Some(4)], [m, classes]) = (look.dims::<3>(boxes)?, look.rows(scores)?) else { return None };
    if n != m {
        return None;
    }
    let (because, demo) = ("the outputs' names: pytorch-YOLOv4", "pytorch-YOLOv4's own demo");
    let found = Found::recognised(DecoderKind::YoloNas, Usual::stretched(demo), because);
    let found = found.classes(look.classes(classes, 0)).boxes(BoxFormat::Xyxy, BoxUnit::Normalized, because);
    found.confidence(0.4, Origin::Assumed, demo).iou(0.6, Origin::Assumed, demo).ok()
}

/// YOLO-NAS without its post-processing: corners `[boxes, 4]` and scores `[boxes, classes]`, a box for each cell.
///
/// Source: SuperGradients `YoloNAS`, `export(postprocessing=False)`.
pub(super) fn nas(look: &Look) -> Verdict {
    let [a, b] = look.outputs() else { return None };
    let (a, b) = (look.rows(a)?, look.rows(b)?);
    let scores = match (a, b) {
        ([n, Some(4)], [m, scores]) | ([m, scores], [n, Some(4)]) if n == m && look.is_grid(n, 1) => scores,
        _ => return None,
    };
    let classes = look.classes(scores, 0)?;
    let because = format!("corners [boxes, 4] and scores [boxes, {classes}] for the cells of a {} input", look.size());
    let usual = Usual::letterboxed("SuperGradients' own pre-processing");
    let found = Found::recognised(DecoderKind::YoloNas, usual, because).classes(Some(classes));
    found.boxes(BoxFormat::Xyxy, BoxUnit::Pixels, "SuperGradients' export").ok()
}

/// A box for each cell: `yolov8`, `yolox`, or a YOLOX that decodes its boxes itself.
///
/// Source: Ultralytics `nn/modules/head.py`, Megvii YOLOX `tools/export_onnx.py`.
pub(super) fn grid(look: &Look) -> Verdict {
    let [one] = look.outputs() else { return None };
    let [a, b] = look.rows(one)?;
    let grid = format!("the cells of a {} input", look.size());
    let v8 = |classes: usize, shape: &str| {
        let because = format!("shape {shape}, {grid}");
        Found::recognised(DecoderKind::Yolov8, Usual::ultralytics(), because).classes(Some(classes)).ok()
    };
    if let Some(n) = look.classes(a, 4).filter(|_| look.is_grid(b, 1) || (b.is_none() && !look.is_grid(a, 1))) {
        return v8(n, &format!("[4 + {n} classes, boxes]"));
    }
    if let Some(n) = look.classes(b, 5).filter(|_| look.is_grid(a, 1)) {
        // Only sizes that are decoded inside (`decode_in_inference`) need the exponential: rows as YOLOv5 has them.
        let decoded = look.hints.operators.contains("Exp");
        let (decoder, with) =
            if decoded { (DecoderKind::Yolov5, ", decoded inside") } else { (DecoderKind::Yolox, "") };
        let because = format!("shape [boxes, 5 + {n} classes], {grid}{with}");
        let found = Found::recognised(decoder, Usual::yolox(), because).classes(Some(n));
        return found.iou(0.45, Origin::Assumed, "YOLOX's own demo").ok();
    }
    let n = look.classes(b, 4).filter(|_| look.is_grid(a, 1) && look.names().is_some())?;
    v8(n, &format!("[boxes, 4 + {n} classes]"))
}
