//! The YOLOv8 layout (Ultralytics v8, v9, v11, v12, v5u, v10 and 26 with `end2end` off): `[1, channels, boxes]` or,
//! transposed, `[1, boxes, channels]`, with or without the batch. The channels of a box are centre x, centre y, width,
//! height, one probability per class (there is no objectness), and what the task adds:
//!
//! | task | adds |
//! |---|---|
//! | `detect` | nothing |
//! | `pose` | x, y and (usually) confidence of each keypoint, in the unit of the box |
//! | `segment` | mask coefficients; a second output holds the prototypes (see [`masks`](super::masks)) |
//! | `obb` | the box's turn about its centre, radians clockwise |
//!
//! Boxes are in pixels of the input; exports by way of TensorFlow have them in 0..1 of it (`box-unit = "normalized"`).
//!
//! Source: Ultralytics `nn/modules/head.py` (`Detect`, `Pose`, `Segment`, `OBB`) and `utils/nms.py`
//! (`non_max_suppression`, single-label).

mod scan;

use super::boxes::Boxes;
use super::keypoints::Skeleton;
use super::masks::Prototypes;
use super::{Candidate, Candidates, Decoder, Nms, PostError, Thresholds, view};
use crate::bundle::contract::{Activation, BoxFormat, BoxUnit, InputContract, OutputContract, Task};
use crate::engine::{Spec, Tensor};
use crate::pre::geometry::Geometry;
use crate::result::Object;

/// Centre x, centre y, width, height.
const BOX: usize = 4;

/// Which dimension counts the boxes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    /// `[channels, boxes]`.
    BoxesLast,
    /// `[boxes, channels]`.
    BoxesFirst,
}

/// What follows the classes.
enum Extra {
    Nothing,
    Angle,
    Keypoints(Skeleton),
    Mask(Prototypes),
}

impl Extra {
    fn channels(&self) -> usize {
        match self {
            Self::Nothing => 0,
            Self::Angle => 1,
            Self::Keypoints(skeleton) => skeleton.columns(),
            Self::Mask(prototypes) => prototypes.coefficients,
        }
    }
}

/// Decoder of the YOLOv8 layout.
pub struct YoloV8 {
    reader: view::Reader,
    output: usize,
    boxes: Boxes,
    /// Row of the first class that has a label.
    first: usize,
    classes: usize,
    extra: Extra,
}

impl YoloV8 {
    /// A decoder for a model with `classes` labels.
    ///
    /// # Errors
    /// [`PostError`] if no output has a dimension of 4 + `class-offset` + `classes` and what the task adds, the prototypes
    /// of a segmenting model are missing, the number of keypoints cannot be told, or an output is not float.
    pub fn new(output: &OutputContract, input: &InputContract, classes: usize, spec: &Spec) -> Result<Self, PostError> {
        view::activation(output, Activation::None, &[Activation::None])?;
        let first = BOX + output.class_offset as usize;
        let candidates = || spec.outputs.iter().enumerate().filter(|(_, t)| t.shape.len() <= 3);
        let main = candidates().find_map(|(i, t)| Some((i, t, view::promised::<2>(&t.shape)?)));
        let Some((main, _, dims)) = main else {
            let reader = reader(output, first + classes);
            return Err(spec.outputs.first().map_or_else(|| missing(reader.decoder, spec), |t| reader.refuse(t)));
        };
        let extra = extra(output, input, spec, (main, dims), first + classes)?;
        let channels = first + classes + extra.channels();
        let boxes = Boxes::new(output, input, BoxFormat::Cxcywh, BoxUnit::Pixels);
        let this = Self { reader: reader(output, channels), output: main, boxes, first, classes, extra };
        // Where only the number of boxes is decided at run time, the other length is that of the channels.
        let fits = |shape: &view::Shape| {
            view::promised::<2>(shape).is_some_and(|dims| dims == [None; 2] || dims.contains(&Some(channels)))
        };
        let Some((index, tensor)) = candidates().find(|(_, t)| fits(&t.shape)) else {
            return Err(this.explain(output.class_offset, spec));
        };
        view::check_float(output, tensor)?;
        Ok(Self { output: index, ..this })
    }

    /// Channels of a box.
    fn channels(&self) -> usize {
        self.first + self.classes + self.extra.channels()
    }

    /// Says why no output fits: a different number of classes, or another layout.
    fn explain(&self, offset: u32, spec: &Spec) -> PostError {
        let Some(tensor) = spec.outputs.get(self.output) else { return missing(self.reader.decoder, spec) };
        let others = BOX + self.extra.channels();
        let dims = view::promised::<2>(&tensor.shape).into_iter().flatten();
        match dims.flatten().min() {
            Some(channels) if channels > others => PostError::Classes {
                tensor: tensor.name.clone(),
                found: view::shape_text(&tensor.shape),
                classes: channels - others,
                labels: self.classes,
                offset,
            },
            _ => self.reader.refuse(tensor),
        }
    }

    /// The order of a run's tensor. Where both fit, the exporter's own (boxes last) is meant.
    fn order(&self, a: usize, b: usize) -> Option<Order> {
        let channels = self.channels();
        if a == channels {
            Some(Order::BoxesLast)
        } else if b == channels {
            Some(Order::BoxesFirst)
        } else {
            None
        }
    }

    /// The candidate of box `row`, whose turn is `angle` if the task has one.
    fn propose(&self, numbers: [f32; 4], angle: Option<f32>, score: f32, class_id: u32, row: usize) -> Candidate {
        let candidate = self.boxes.candidate(numbers, score, class_id).at(row);
        match (&self.extra, angle) {
            (Extra::Angle, Some(angle)) => candidate.turned(angle),
            _ => candidate,
        }
    }
}

fn reader(output: &OutputContract, channels: usize) -> view::Reader {
    let adds = match output.task {
        Task::Pose => ", the keypoints' values",
        Task::Segment => ", the mask coefficients",
        Task::Obb => ", 1 for the turn",
        _ => "",
    };
    view::Reader {
        decoder: output.decoder.as_str(),
        expected: format!("[1, {channels}, boxes] or [1, boxes, {channels}] (4 for the box, 1 for each class{adds})"),
        fix: "Give the file named by `labels` one line per class, or set `output.decoder` to the model's family",
    }
}

fn missing(decoder: &'static str, spec: &Spec) -> PostError {
    let needs = "one output with boxes and class scores";
    PostError::Missing { decoder, needs, found: view::list(&spec.outputs) }
}

/// What the task adds to the `known` channels of box and classes, in output `main` with the dimensions `dims`.
fn extra(
    output: &OutputContract,
    input: &InputContract,
    spec: &Spec,
    (main, dims): (usize, [Option<usize>; 2]),
    known: usize,
) -> Result<Extra, PostError> {
    Ok(match output.task {
        Task::Obb => Extra::Angle,
        Task::Segment => {
            let fits = |n| dims.iter().any(|d| *d == Some(known + n));
            // With no promised length that says better, any map will do: the class count is checked afterwards.
            let found = Prototypes::find(output, input, spec, main, fits);
            Extra::Mask(found.or_else(|_| Prototypes::find(output, input, spec, main, |_| true))?)
        }
        Task::Pose => Extra::Keypoints(match output.keypoint_shape {
            Some([count, values]) => Skeleton::new(output, count, values),
            None => Skeleton::new(output, keypoints(dims, known)?, 3),
        }),
        _ => Extra::Nothing,
    })
}

/// How many keypoints of three values follow the `known` channels.
fn keypoints(dims: [Option<usize>; 2], known: usize) -> Result<usize, PostError> {
    let count = |d: Option<usize>| d?.checked_sub(known).filter(|n| *n > 0 && n.is_multiple_of(3)).map(|n| n / 3);
    // There are more boxes than channels.
    dims.into_iter().filter_map(count).min().ok_or_else(|| PostError::Contract {
        key: "keypoint-shape",
        why: format!(
            "the number of keypoints cannot be told from the output's dimensions {} and {known} channels for box and \
             classes; set it to [keypoints, values] (2 values: x, y; 3: with confidence), or give the file named by \
             `labels` one line per class",
            view::shape_text(&dims)
        ),
    })
}

impl Decoder for YoloV8 {
    fn decode(&self, outputs: &[Tensor], thresholds: &Thresholds, out: &mut Candidates) -> Result<(), PostError> {
        let ([a, b], values) = self.reader.read(outputs, self.output, |[a, b]| self.order(a, b).is_some())?;
        match self.order(a, b) {
            Some(Order::BoxesLast) if b > 0 => self.boxes_last(values, b, thresholds, out),
            Some(Order::BoxesFirst) => self.boxes_first(values, thresholds, out),
            _ => {}
        }
        Ok(())
    }

    fn nms(&self) -> Nms {
        if matches!(self.extra, Extra::Angle) { Nms::Turned } else { Nms::Upright }
    }

    fn describe(
        &self,
        outputs: &[Tensor],
        candidate: &Candidate,
        geometry: &Geometry,
        object: &mut Object,
    ) -> Result<(), PostError> {
        if matches!(self.extra, Extra::Nothing | Extra::Angle) {
            return Ok(());
        }
        let ([a, b], values) = self.reader.read(outputs, self.output, |[a, b]| self.order(a, b).is_some())?;
        let (row, skipped) = (candidate.row as usize, self.first + self.classes);
        let (start, step) = match self.order(a, b) {
            Some(Order::BoxesLast) => (skipped * b + row, b),
            _ => (row * b + skipped, 1),
        };
        let values = values.get(start..).unwrap_or_default();
        let extra = values.iter().step_by(step.max(1)).take(self.extra.channels()).copied();
        match &self.extra {
            Extra::Keypoints(skeleton) => {
                skeleton.describe(self.boxes.points(extra, skeleton.values), geometry, object);
            }
            Extra::Mask(prototypes) => prototypes.describe(outputs, extra, geometry, object)?,
            Extra::Nothing | Extra::Angle => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
