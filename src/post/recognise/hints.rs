//! What is known about a model before it is looked at: keys that the user gives, and a `.modelinfo` file.

use std::collections::BTreeSet;

use super::Origin;
use super::look::Look;
use crate::bundle::ModelInfo;
use crate::bundle::contract::{Activation, BoxUnit, Color, DecoderKind, Layout, Task};
use crate::engine::{DataType, TensorSpec};

/// A value that is known beforehand.
#[derive(Debug, Clone, PartialEq)]
pub struct Hint<T> {
    /// The value.
    pub value: T,
    /// How it came to be known.
    pub origin: Origin,
    /// What says so.
    pub because: String,
}

impl<T> Hint<T> {
    /// A value that the user gave.
    pub fn given(value: T) -> Self {
        Self { value, origin: Origin::Given, because: "you said so".into() }
    }
}

/// What helps to recognise a model.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Hints {
    /// Keys that the user sets in the bundle, dotted: nothing is refused for want of one of these.
    pub keys: BTreeSet<String>,
    /// The operators of the model's graph; empty if nobody looked.
    pub operators: BTreeSet<String>,
    /// Order of the input's dimensions.
    pub layout: Option<Hint<Layout>>,
    /// Width and height of the input.
    pub size: Option<Hint<(u32, u32)>>,
    /// Order of the input's channels.
    pub color: Option<Hint<Color>>,
    /// Mean and deviation for each channel.
    pub scale: Option<Hint<([f32; 3], [f32; 3])>>,
    /// The family.
    pub decoder: Option<Hint<DecoderKind>>,
    /// What the model answers.
    pub task: Option<Hint<Task>>,
    /// Unit of the boxes.
    pub box_unit: Option<Hint<BoxUnit>>,
    /// What class scores still need.
    pub activation: Option<Hint<Activation>>,
    /// Number of keypoints and values of each.
    pub keypoint_shape: Option<Hint<[usize; 2]>>,
}

impl Hints {
    /// What the operators of a graph tell, and nothing else.
    pub fn of_graph(operators: BTreeSet<String>) -> Self {
        Self { operators, ..Self::default() }
    }

    /// Whether the user sets `key`, or a key below it.
    pub(super) fn sets(&self, key: &str) -> bool {
        self.keys.iter().any(|k| k.strip_prefix(key).is_some_and(|rest| rest.is_empty() || rest.starts_with('.')))
    }

    /// Adds what a `.modelinfo` file says, except where something is known already.
    ///
    /// # Errors
    /// Why the file's tensors cannot be decoded.
    pub(super) fn read(&mut self, info: &ModelInfo, look: &Look) -> Result<(), String> {
        let because = |key: &str| format!("`{key}` in {}", info.file());
        for (inputs, tensors) in [(true, &look.spec.inputs), (false, &look.spec.outputs)] {
            for (place, tensor) in tensors.iter().enumerate() {
                let Some(section) = info.find(inputs, place, &tensor.name, dtype(tensor), &tensor.shape) else {
                    continue;
                };
                if let Some(ranges) = section.ranges.as_deref().filter(|_| inputs && tensor.shape.len() >= 3) {
                    let scale = scale(ranges, look.frame.color.channels())
                        .ok_or_else(|| format!("{}: not one range for each channel", section.place()))?;
                    self.scale.get_or_insert(Hint { value: scale, origin: Origin::Read, because: because("ranges") });
                }
                if let Some(id) = section.id.as_deref().filter(|_| !inputs) {
                    self.read_id(id, || because("id")).map_err(|why| format!("{}: {why}", section.place()))?;
                }
            }
        }
        if let Some(group) = info.group_id.as_deref().filter(|_| self.decoder.is_none()) {
            self.read_id(group, || because("group-id"))?;
        }
        Ok(())
    }

    /// One id of the tensor id registry; those that are not known say nothing.
    fn read_id(&mut self, id: &str, because: impl Fn() -> String) -> Result<(), String> {
        use DecoderKind as D;
        let (id, normalized) = match id.strip_suffix("-normalized") {
            Some(base) => (base, true),
            None => (id, false),
        };
        let (decoder, task) = match id {
            "yolo-v8-out" => (D::Yolov8, Task::Detect),
            "yolo-v8-obb-out" => (D::Yolov8, Task::Obb),
            "yolo-v8-pose-out" => (D::Yolov8, Task::Pose),
            "yolo-v8-segmentation-out" | "yolo-v8-segmentation-out-detections" => (D::Yolov8, Task::Segment),
            "yolo-26-end2end-out" => (D::Detections, Task::Detect),
            "yolo-26-obb-end2end-out" => (D::Detections, Task::Obb),
            "yolox-out" => (D::Yolox, Task::Detect),
            "ssd-mobilenet-v1-variant-1-out" | "ssd-mobilenet-v1-variant-1-out-classes" => {
                (D::SsdPostprocessed, Task::Detect)
            }
            "ultra-lightweight-face-detection-rfb-320-v1-variant-1-out"
            | "ultra-lightweight-face-detection-rfb-320-v1-variant-1-out-scores" => (D::Ultraface, Task::Detect),
            "ultra-lightweight-face-detection-rfb-320-v1-without-postproc-out"
            | "ultra-lightweight-face-detection-rfb-320-v1-variant-1-out-boxes-without-postproc" => {
                return Err(format!(
                    "`{id}` is a raw head that no decoder reads: export the model with its boxes decoded"
                ));
            }
            "classification-generic-out" | "classification-generic-softmaxed-out" => (D::Classify, Task::Classify),
            _ => return Ok(()),
        };
        let because = because();
        let hint = |because: &str| (Origin::Read, because.to_owned());
        let (origin, text) = hint(&because);
        self.decoder.get_or_insert(Hint { value: decoder, origin, because: text });
        let (origin, text) = hint(&because);
        self.task.get_or_insert(Hint { value: task, origin, because: text });
        if normalized {
            let (origin, because) = hint(&because);
            self.box_unit.get_or_insert(Hint { value: BoxUnit::Normalized, origin, because });
        }
        if decoder == D::Classify {
            let value = if id.ends_with("softmaxed-out") { Activation::None } else { Activation::Softmax };
            let (origin, because) = hint(&because);
            self.activation.get_or_insert(Hint { value, origin, because });
        }
        if task == Task::Pose {
            // The registry fixes it: 17 keypoints of x, y and confidence.
            let (origin, because) = hint(&because);
            self.keypoint_shape.get_or_insert(Hint { value: [17, 3], origin, because });
        }
        Ok(())
    }
}

/// GStreamer's name of the element type.
fn dtype(tensor: &TensorSpec) -> &'static str {
    match tensor.dtype {
        DataType::F32 => "float32",
        DataType::F16 => "float16",
        DataType::U8 => "uint8",
        DataType::I8 => "int8",
        DataType::I32 => "int32",
        DataType::I64 => "int64",
    }
}

/// Mean and deviation that bring 0..255 to the ranges: `value * (max - min) / 255 + min` is `(value - mean) / std`.
fn scale(ranges: &[(f32, f32)], channels: usize) -> Option<([f32; 3], [f32; 3])> {
    if ranges.len() != 1 && ranges.len() != channels {
        return None;
    }
    let range = |i: usize| ranges.get(i).or(ranges.first()).copied().unwrap_or((0.0, 255.0));
    let std = |i: usize| 255.0 / (range(i).1 - range(i).0);
    // `0.0 -` keeps a minimum of 0 from becoming -0.
    let mean = |i: usize| 0.0 - range(i).0 * std(i);
    Some((std::array::from_fn(mean), std::array::from_fn(std)))
}
