//! Rows of finished detections in one tensor, `[1, rows, columns]`, `[rows, columns]` or `[1, 1, rows, columns]`: NMS has
//! run inside the model, or it needs none (YOLOv10, YOLO26).
//!
//! `columns` says what the columns hold; without it
//!
//! | task, tensor | columns |
//! |---|---|
//! | `detect`, 6 columns | x1, y1, x2, y2, score, class (Ultralytics end to end, or `nms=True`) |
//! | `detect`, `[rows, 7]` | picture, x1, y1, x2, y2, class, score (YOLOv7 `--end2end --max-wh`) |
//! | `detect` and `pose`, named `…flat_predictions` | picture, x1, y1, x2, y2, score, class (not with `pose`) (super-gradients) |
//! | `detect`, `[1, 1, rows, 7]` | picture, class, score, x1, y1, x2, y2 in 0..1 (Caffe SSD, OpenVINO `DetectionOutput`) |
//! | `pose` | as with 6, then x, y and (usually) confidence of each keypoint |
//! | `segment` | as with 6, then mask coefficients; a second output holds the prototypes |
//! | `obb`, 7 columns | centre x, centre y, width, height, score, class, turn (Ultralytics) |
//!
//! Boxes are corners in pixels of the input unless noted; `box-format` and `box-unit` say otherwise. Rows with a score
//! of 0 are padding, and so are those whose first column is ignored (the picture's place in the batch) and negative.
//!
//! With `nms = true` the rows still overlap: decoded, but all of them there (DeepStream-Yolo's exports).
//!
//! Sources: Ultralytics `nn/modules/head.py` (`postprocess`) and `engine/exporter.py` (`NMSModel`); WongKinYiu yolov7
//! `models/experimental.py` (`ONNX_ORT`); OpenVINO `DetectionOutput-8`; Deci super-gradients `models_export.md`;
//! marcoslucianops/DeepStream-Yolo `utils/export_yoloV8.py`.

use super::boxes::{Boxes, class_id};
use super::keypoints::Skeleton;
use super::masks::Prototypes;
use super::{Candidate, Candidates, Decoder, Nms, PostError, Thresholds, view};
use crate::bundle::contract::{Activation, BoxFormat, BoxUnit, Column, InputContract, OutputContract, Task};
use crate::engine::{Spec, Tensor, TensorSpec};
use crate::pre::geometry::Geometry;
use crate::result::Object;

use Column::{Angle, Class, Ignore, Score, X1, X2, Y1, Y2};

/// Columns where the contract does not say.
const PLAIN: [Column; 6] = [X1, Y1, X2, Y2, Score, Class];
const TURNED: [Column; 7] = [X1, Y1, X2, Y2, Score, Class, Angle];
const WITH_PICTURE: [Column; 7] = [Ignore, X1, Y1, X2, Y2, Class, Score];
const FLAT: [Column; 7] = [Ignore, X1, Y1, X2, Y2, Score, Class];
const FLAT_POSE: [Column; 6] = [Ignore, X1, Y1, X2, Y2, Score];
const DETECTION_OUTPUT: [Column; 7] = [Ignore, Class, Score, X1, Y1, X2, Y2];

/// What follows the columns.
enum Extra {
    Nothing,
    Keypoints(Skeleton),
    Mask(Prototypes),
}

/// Decoder of finished detections.
pub struct Detections {
    reader: view::Reader,
    output: usize,
    boxes: Boxes,
    offset: f32,
    /// Columns of left, top, right, bottom (or what `box-format` makes of them).
    corners: [usize; 4],
    score: usize,
    class: Option<usize>,
    angle: Option<usize>,
    /// What is still to be done about rows of one object.
    nms: Nms,
    /// Whether a negative first value marks padding.
    numbered: bool,
    /// Columns before what follows them.
    known: usize,
    extra: Extra,
}

impl Detections {
    /// A decoder; class ids in the tensor are those of the labels plus `class-offset`.
    ///
    /// # Errors
    /// [`PostError`] if no output has rows, they have not the columns of the contract or the task, the prototypes of a
    /// segmenting model are missing, the number of keypoints cannot be told, or an output is not float.
    pub fn new(
        output: &OutputContract,
        input: &InputContract,
        _classes: usize,
        spec: &Spec,
    ) -> Result<Self, PostError> {
        view::activation(output, Activation::None, &[Activation::None])?;
        let decoder = output.decoder.as_str();
        let needs = "an output with a row for each detection, [1, rows, columns]";
        let rows = |t: &TensorSpec| view::promised::<2>(&t.shape);
        let (main, tensor, [_, found]) = spec
            .outputs
            .iter()
            .enumerate()
            .find_map(|(i, t)| Some((i, t, rows(t)?)))
            .ok_or_else(|| PostError::Missing { decoder, needs, found: view::list(&spec.outputs) })?;
        view::check_float(output, tensor)?;

        let (columns, unit) = columns(output, tensor, found);
        let known = columns.len();
        let extra = extra(output, input, spec, main, (known, found))?;
        let width = known + extra.columns();
        let reader = view::Reader {
            decoder,
            expected: format!("[1, rows, {width}]"),
            fix: "Set `output.columns` to what the columns hold, `task` to what the model answers, or \
                  `output.decoder` to its family",
        };
        if !view::may_be(found, width) {
            return Err(reader.refuse(tensor));
        }
        let place = |wanted: Column| columns.iter().position(|c| *c == wanted);
        let needed = |wanted: Column, name: &str| {
            place(wanted).ok_or_else(|| PostError::Contract {
                key: "columns",
                why: format!("it has no `{name}`; x1, y1, x2, y2 and score are needed"),
            })
        };
        let corners = [needed(X1, "x1")?, needed(Y1, "y1")?, needed(X2, "x2")?, needed(Y2, "y2")?];
        let angle = place(Angle);
        let format = if angle.is_some() { BoxFormat::Cxcywh } else { BoxFormat::Xyxy };
        Ok(Self {
            reader,
            output: main,
            boxes: Boxes::new(output, input, format, unit),
            offset: output.class_offset as f32,
            corners,
            score: needed(Score, "score")?,
            class: place(Class),
            angle,
            nms: match (output.nms, angle) {
                (false, _) => Nms::None,
                (true, None) => Nms::Upright,
                (true, Some(_)) => Nms::Turned,
            },
            numbered: columns.first() == Some(&Ignore),
            known,
            extra,
        })
    }

    fn width(&self) -> usize {
        self.known + self.extra.columns()
    }

    fn rows<'t>(&self, outputs: &'t [Tensor]) -> Result<&'t [f32], PostError> {
        let width = self.width();
        self.reader.read(outputs, self.output, |[_, found]| found == width).map(|(_, values)| values)
    }

    /// The candidate of a row; `None` for padding and below the threshold.
    fn candidate(&self, row: &[f32], thresholds: &Thresholds) -> Option<Candidate> {
        let at = |i: usize| row.get(i).copied();
        let score = at(self.score)?;
        if score == 0.0 || (self.numbered && at(0)? < 0.0) {
            return None;
        }
        let class_id = match self.class {
            Some(place) => class_id(at(place)?, self.offset),
            None => 0,
        };
        if !thresholds.accepts(class_id, score) {
            return None;
        }
        let [a, b, c, d] = self.corners;
        let candidate = self.boxes.candidate([at(a)?, at(b)?, at(c)?, at(d)?], score, class_id);
        Some(match self.angle {
            Some(place) => candidate.turned(at(place)?),
            None => candidate,
        })
    }
}

impl Extra {
    fn columns(&self) -> usize {
        match self {
            Self::Nothing => 0,
            Self::Keypoints(skeleton) => skeleton.columns(),
            Self::Mask(prototypes) => prototypes.coefficients,
        }
    }
}

/// The columns before keypoints and mask coefficients, and the usual unit of their boxes.
fn columns<'c>(output: &'c OutputContract, tensor: &TensorSpec, found: Option<usize>) -> (&'c [Column], BoxUnit) {
    if let Some(columns) = &output.columns {
        return (columns, BoxUnit::Pixels);
    }
    let flat = tensor.name.ends_with("flat_predictions");
    match (output.task, found, tensor.shape.len()) {
        (Task::Detect, ..) if flat => (&FLAT, BoxUnit::Pixels),
        (Task::Pose, ..) if flat => (&FLAT_POSE, BoxUnit::Pixels),
        (Task::Obb, ..) => (&TURNED, BoxUnit::Pixels),
        (Task::Detect, Some(7), 4) => (&DETECTION_OUTPUT, BoxUnit::Normalized),
        (Task::Detect, Some(7), _) => (&WITH_PICTURE, BoxUnit::Pixels),
        _ => (&PLAIN, BoxUnit::Pixels),
    }
}

/// What the task adds to the `known` of `found` columns of output `main`.
fn extra(
    output: &OutputContract,
    input: &InputContract,
    spec: &Spec,
    main: usize,
    (known, found): (usize, Option<usize>),
) -> Result<Extra, PostError> {
    Ok(match output.task {
        Task::Segment => {
            let fits = |n| found.is_none_or(|found| found == known + n);
            Extra::Mask(Prototypes::find(output, input, spec, main, fits)?)
        }
        Task::Pose => Extra::Keypoints(match (output.keypoint_shape, found.and_then(|n| n.checked_sub(known))) {
            (Some([count, values]), _) => Skeleton::new(output, count, values),
            (None, Some(n)) if n > 0 && n.is_multiple_of(3) => Skeleton::new(output, n / 3, 3),
            (None, n) => {
                let more = n.map_or("a number that is decided at run time".to_owned(), |n| n.to_string());
                return Err(PostError::Contract {
                    key: "keypoint-shape",
                    why: format!(
                        "the number of keypoints cannot be told: after the {known} columns of a detection come {more}; \
                         set it to [keypoints, values] (2 values: x, y; 3: with confidence)"
                    ),
                });
            }
        }),
        _ => Extra::Nothing,
    })
}

impl Decoder for Detections {
    fn decode(&self, outputs: &[Tensor], thresholds: &Thresholds, out: &mut Candidates) -> Result<(), PostError> {
        let rows = self.rows(outputs)?.chunks_exact(self.width()).enumerate();
        out.extend(rows.filter_map(|(i, row)| Some(self.candidate(row, thresholds)?.at(i))));
        Ok(())
    }

    fn nms(&self) -> Nms {
        self.nms
    }

    fn turned(&self) -> bool {
        self.angle.is_some()
    }

    fn describe(
        &self,
        outputs: &[Tensor],
        candidate: &Candidate,
        geometry: &Geometry,
        object: &mut Object,
    ) -> Result<(), PostError> {
        if matches!(self.extra, Extra::Nothing) {
            return Ok(());
        }
        let start = candidate.row as usize * self.width() + self.known;
        let row = self.rows(outputs)?.get(start..start + self.extra.columns()).unwrap_or_default().iter().copied();
        match &self.extra {
            Extra::Keypoints(skeleton) => {
                skeleton.describe(self.boxes.points(row, skeleton.values), geometry, object);
            }
            Extra::Mask(prototypes) => prototypes.describe(outputs, row, geometry, object)?,
            Extra::Nothing => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
