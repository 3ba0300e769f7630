//! Models that Ultralytics exported (YOLOv5u, v8 to v12, 26, v10, RT-DETR; all tasks): the metadata says what they answer.
//!
//! Source: Ultralytics `engine/exporter.py` (8.0 to 8.4), `nn/modules/head.py`, `cfg/default.yaml`.

use super::Origin;
use super::found::{Found, Refusal, Verdict, refuse};
use super::look::{Look, may_be};
use super::usual::Usual;
use crate::bundle::contract::{Activation, BoxFormat, BoxUnit, Column, DecoderKind, Task};
use crate::engine::TensorSpec;

const DEFAULTS: &str = "Ultralytics' own defaults";
const STRETCHED: Usual = Usual::stretched("Ultralytics' pre-processing of RT-DETR");

/// Any model with a `task` in its metadata.
pub(super) fn exported(look: &Look) -> Verdict {
    let task = match look.meta.task.as_deref()? {
        "detect" => Task::Detect,
        "segment" => Task::Segment,
        "pose" => Task::Pose,
        "obb" => Task::Obb,
        "classify" => return classify(look),
        "semantic" => return semantic(look),
        other => return refuse("output.decoder", format!("There is no decoder for the embedded task `{other}`.")),
    };
    let main = look.outputs().first()?;
    let extra = match extra(look, task) {
        Ok(extra) => extra,
        Err(refusal) => return Some(Err(refusal)),
    };
    let Some([a, b]) = look.rows(main) else {
        return refuse("output.decoder", "The first output is not the list of boxes that Ultralytics exports.");
    };
    boxes(look, [a, b], extra, task)
}

/// Values of a row beside box and classes.
fn extra(look: &Look, task: Task) -> Result<usize, Refusal> {
    match task {
        Task::Segment => {
            let protos = look.outputs().iter().skip(1).find_map(|t| look.dims::<3>(t));
            let Some([Some(count), _, _]) = protos else {
                let why = "A segmentation model needs a second output, the prototypes [1, 32, rows, columns].";
                return Err(Refusal { why: why.into(), key: "output.decoder" });
            };
            Ok(count)
        }
        Task::Pose => match look.meta.keypoint_shape.or(look.hints.keypoint_shape.as_ref().map(|h| h.value)) {
            Some([count @ 1..=1000, values @ 2..=3]) => Ok(count * values),
            _ => {
                let why = "The metadata has no `kpt_shape` of [keypoints, 2 or 3].";
                Err(Refusal { why: why.into(), key: "output.keypoint-shape" })
            }
        },
        Task::Obb => Ok(1),
        _ => Ok(0),
    }
}

/// A list of boxes: every grid cell's, finished rows, or the queries of an RT-DETR.
fn boxes(look: &Look, [a, b]: [Option<usize>; 2], extra: usize, task: Task) -> Verdict {
    let meta = look.meta;
    let row = 6 + extra;
    let queries = meta.head.as_deref() == Some("RTDETRDecoder") || (meta.rtdetr && meta.head.is_none());
    let raw = look.classes(a, 4 + extra);
    let every_cell = raw.is_some() && look.is_grid(b, 1);
    if queries && task == Task::Detect {
        // Since 8.4 the best queries are chosen inside; that came with `head`.
        let chosen = b == Some(row) && (meta.head.is_some() || look.classes(b, 4).is_none());
        return if chosen { finished_queries(look) } else { raw_queries(look, b, false) };
    }
    if b == Some(row) && !every_cell {
        // [1, 300, 4 + 2 classes] is what an old version exports for an RT-DETR of two classes.
        let doubt = task == Task::Detect && meta.head.is_none() && meta.end2end.is_none() && !meta.nms;
        if doubt && look.names() == Some(2) {
            return finished(look, task, true);
        }
        return finished(look, task, false);
    }
    if let Some(classes) = raw.filter(|_| look.is_grid(b, 1) || b.is_none() || !look.is_grid(a, 1)) {
        return grid(look, classes, task, "4 + classes, boxes");
    }
    if let Some(classes) = look.classes(b, 4 + extra) {
        // The grid's boxes stand first only where someone transposed the output; queries are few.
        let transposed = look.is_grid(a, 1) || task != Task::Detect;
        return if transposed {
            grid(look, classes, task, "boxes, 4 + classes")
        } else {
            raw_queries(look, b, a.is_none())
        };
    }
    match look.names() {
        Some(names) => refuse(
            "labels",
            format!(
                "The first output has not the rows of the {names} embedded `names` ({} values each).",
                4 + names + extra
            ),
        ),
        None => refuse("output.decoder", "The first output is not the list of boxes that Ultralytics exports."),
    }
}

fn finish(look: &Look, found: Found, task: Task, nms: bool) -> Verdict {
    let found = found.task(task).fact("task", word(task), Origin::Read, "metadata `task`");
    let found = match look.meta.keypoint_shape.filter(|_| task == Task::Pose) {
        Some(shape) => found.keypoints(shape, Origin::Read, "metadata `kpt_shape`"),
        None => found,
    };
    if !look.meta.ultralytics {
        return found.ok();
    }
    let found = found.confidence(0.25, Origin::Recognised, DEFAULTS);
    let found = if nms { found.iou(0.7, Origin::Recognised, DEFAULTS) } else { found };
    found.max_objects(300, Origin::Recognised, DEFAULTS).ok()
}

/// Every cell's box: `yolov8`.
fn grid(look: &Look, classes: usize, task: Task, order: &str) -> Verdict {
    let because = format!("shape [{order}] with {classes} classes, and the metadata");
    let found = Found::recognised(DecoderKind::Yolov8, Usual::ultralytics(), because);
    finish(look, found.classes(Some(classes)), task, true)
}

/// Finished rows: one-to-one heads (v10, 26), or NMS exported with the model.
fn finished(look: &Look, task: Task, doubtful: bool) -> Verdict {
    let why = match (look.meta.end2end, look.meta.nms) {
        (Some(true), _) => "metadata `end2end`: rows of finished detections",
        (_, true) => "metadata `args`: NMS is in the model, rows of finished detections",
        _ => "shape [boxes, 6]: rows of finished detections",
    };
    let found = if doubtful {
        let why = "rows of 6 values: finished detections (YOLOv10), or an RT-DETR of two classes (decoder detr)";
        Found::guessed(DecoderKind::Detections, Usual::ultralytics(), why)
    } else {
        Found::recognised(DecoderKind::Detections, Usual::ultralytics(), why)
    };
    let found = match task {
        Task::Obb => {
            let columns = [Column::X1, Column::Y1, Column::X2, Column::Y2, Column::Score, Column::Class, Column::Angle];
            let because = "Ultralytics' rows of oriented boxes: centre, size, score, class, angle";
            found.columns(&columns, because).boxes(BoxFormat::Cxcywh, BoxUnit::Pixels, because)
        }
        _ => found,
    };
    finish(look, found.classes(look.names()), task, false)
}

/// An RT-DETR that chooses its best queries inside (8.4 and later): rows of centre, size, score, class in 0..1.
fn finished_queries(look: &Look) -> Verdict {
    let because = "metadata `head`: RT-DETR's best queries, boxes in 0..1";
    let found = Found::recognised(DecoderKind::Detections, STRETCHED, because);
    let found = found.boxes(BoxFormat::Cxcywh, BoxUnit::Normalized, because);
    finish(look, found.classes(look.names()), Task::Detect, false)
}

/// An RT-DETR's queries as they are (before 8.4): centre and size in 0..1, then class probabilities.
fn raw_queries(look: &Look, b: Option<usize>, doubtful: bool) -> Verdict {
    let because = "shape [queries, 4 + classes]: an RT-DETR, boxes in 0..1";
    let found = match doubtful {
        true => Found::guessed(DecoderKind::Detr, STRETCHED, because),
        false => Found::recognised(DecoderKind::Detr, STRETCHED, because),
    };
    let found = found.boxes(BoxFormat::Cxcywh, BoxUnit::Normalized, because).activation(
        Activation::None,
        Origin::Recognised,
        "Ultralytics exports the sigmoid with the model",
    );
    finish(look, found.classes(look.classes(b, 4).or(look.names())), Task::Detect, false)
}

/// A class vector; the softmax is in the model.
fn classify(look: &Look) -> Verdict {
    let vector = |t: &&TensorSpec| look.vector(t).is_some();
    let Some(tensor) = look.outputs().iter().find(vector) else {
        return refuse("output.decoder", "There is no class vector among the outputs.");
    };
    let because = "one value per class, and the metadata says classes";
    let usual =
        if look.meta.ultralytics { Usual::cropped("Ultralytics' own pre-processing") } else { Usual::torchvision() };
    let found = Found::recognised(DecoderKind::Classify, usual, because)
        .classes(look.vector(tensor).flatten().or(look.names()))
        .fact("task", "classify", Origin::Read, "metadata `task`");
    let (activation, origin, because) = match look.meta.ultralytics {
        true => (Activation::None, Origin::Recognised, "Ultralytics exports the softmax with the model"),
        false => super::vectors::activation(tensor),
    };
    found.activation(activation, origin, because).ok()
}

/// A map of classes (YOLO26-sem): one byte a pixel, or a score for each class.
fn semantic(look: &Look) -> Verdict {
    let main = look.outputs().first()?;
    let classes = match look.dims::<3>(main) {
        Some([Some(n), _, _]) if n > 1 && may_be(look.names(), n) => Some(n),
        _ => look.names(),
    };
    let because = "metadata `task`: a class for each pixel";
    let found = Found::recognised(DecoderKind::Segmentation, Usual::ultralytics(), because).classes(classes);
    found.task(Task::Segment).fact("task", "segment", Origin::Read, because).ok()
}

fn word(task: Task) -> String {
    crate::bundle::manifest::word(&task)
}
