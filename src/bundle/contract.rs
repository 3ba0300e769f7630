//! What a bundle promises about a model's input and output: plain values that `pre` and `post` work from.

use serde::{Deserialize, Serialize};

/// The execution providers that can be asked for by name.
pub const PROVIDERS: [&str; 4] = ["cpu", "cuda", "tensorrt", "openvino"];

/// What the model answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Task {
    /// Boxes with a class.
    Detect,
    /// Classes of the whole frame.
    Classify,
    /// Silhouettes.
    Segment,
    /// Skeletons.
    Pose,
    /// Oriented boxes with a class.
    Obb,
    /// A vector that describes the picture.
    Embed,
}

/// Order of the input tensor's dimensions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Layout {
    /// Batch, channel, row, column.
    Nchw,
    /// Batch, row, column, channel.
    Nhwc,
}

/// Channels and their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Color {
    /// Three channels, red first.
    Rgb,
    /// Three channels, blue first.
    Bgr,
    /// One channel of luma.
    Gray,
}

impl Color {
    /// Number of channels.
    pub fn channels(self) -> usize {
        if self == Self::Gray { 1 } else { 3 }
    }
}

/// How the frame is brought to the input's size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Resize {
    /// Each axis by its own factor.
    Stretch,
    /// Same factor for both axes, the rest padded.
    Letterbox,
    /// Same factor for both axes, what sticks out is cut off at the sides (centred).
    Crop,
}

/// Where the picture lies in a letterboxed input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Align {
    /// Padding on both sides.
    Center,
    /// Padding right or below.
    TopLeft,
}

/// The model's input: one picture, `(value - mean) / std` per channel with `value` in 0..255.
#[derive(Debug, Clone, PartialEq)]
pub struct InputContract {
    /// Dimension order.
    pub layout: Layout,
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// Channels.
    pub color: Color,
    /// How the frame is brought to `width` × `height`.
    pub resize: Resize,
    /// All samples count when the picture shrinks, as PIL and torchvision resize; else it is sampled as by OpenCV.
    pub antialias: bool,
    /// Crop only: the part of the picture's shorter side that is looked at, 0..1 (224 of 256 pixels: 0.875).
    pub crop_fraction: f32,
    /// Letterbox only.
    pub align: Align,
    /// Letterbox only: value of the padding, 0..255, all channels.
    pub pad: u8,
    /// Per channel, in 0..255, in the order of `color`.
    pub mean: [f32; 3],
    /// Per channel, in the order of `color`; never 0.
    pub std: [f32; 3],
    /// Integer inputs only: the tensor holds `value / scale + zero-point`; `None`: the value itself, rounded.
    pub quantization: Option<Quantization>,
}

impl InputContract {
    /// Factor and addend that make the tensor's value of channel `c` from a pixel's 0..255.
    pub fn affine(&self, c: usize) -> (f32, f32) {
        let get = |values: &[f32; 3], default| values.get(c).copied().unwrap_or(default);
        let (mean, std) = (get(&self.mean, 0.0), get(&self.std, 1.0));
        let (scale, zero) = self.quantization.map_or((1.0, 0.0), |q| (q.scale, q.zero_point as f32));
        (1.0 / (std * scale), zero - mean / (std * scale))
    }
}

/// What a tensor's integers stand for: `(integer - zero-point) * scale` (ONNX `DequantizeLinear`, TFLite).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Quantization {
    /// Above 0.
    pub scale: f32,
    /// The integer that stands for 0.
    #[serde(default)]
    pub zero_point: i32,
}

/// Decoder families: which one turns the model's tensors into objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DecoderKind {
    /// Raw SSD head: box encodings and class logits on anchors.
    SsdAnchors,
    /// Boxes, classes and scores after NMS, each in a tensor of its own.
    SsdPostprocessed,
    /// Rows of finished detections in one tensor: YOLOv10, YOLO26, exports with NMS inside.
    Detections,
    /// YOLOv5 and v7: centre, size, objectness, classes; decoded, or raw heads with anchors.
    Yolov5,
    /// YOLOX grid: centre, size, objectness, classes.
    Yolox,
    /// YOLOv8 layout (v8 to v12): `[1, 4 + classes, boxes]`, centre and size in pixels.
    Yolov8,
    /// YOLO-NAS: corners in one tensor, class scores in another.
    YoloNas,
    /// NanoDet and NanoDet-Plus: class scores and distances as distributions.
    Nanodet,
    /// CenterNet: heat map, size, offset.
    Centernet,
    /// DETR, RT-DETR, D-FINE: a box and class scores for each query.
    Detr,
    /// YuNet faces with five landmarks.
    Yunet,
    /// UltraFace: corners in 0..1 and two class scores.
    Ultraface,
    /// MoveNet: one skeleton, or several with boxes.
    Movenet,
    /// A class for each pixel (DeepLab, SegFormer).
    Segmentation,
    /// One vector of class scores.
    Classify,
    /// One vector that describes the picture.
    Embed,
}

impl DecoderKind {
    /// All kinds.
    pub const ALL: [DecoderKind; 16] = [
        Self::SsdAnchors,
        Self::SsdPostprocessed,
        Self::Detections,
        Self::Yolov5,
        Self::Yolox,
        Self::Yolov8,
        Self::YoloNas,
        Self::Nanodet,
        Self::Centernet,
        Self::Detr,
        Self::Yunet,
        Self::Ultraface,
        Self::Movenet,
        Self::Segmentation,
        Self::Classify,
        Self::Embed,
    ];

    /// The name used in `bundle.toml`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::SsdAnchors => "ssd-anchors",
            Self::SsdPostprocessed => "ssd-postprocessed",
            Self::Detections => "detections",
            Self::Yolov5 => "yolov5",
            Self::Yolox => "yolox",
            Self::Yolov8 => "yolov8",
            Self::YoloNas => "yolo-nas",
            Self::Nanodet => "nanodet",
            Self::Centernet => "centernet",
            Self::Detr => "detr",
            Self::Yunet => "yunet",
            Self::Ultraface => "ultraface",
            Self::Movenet => "movenet",
            Self::Segmentation => "segmentation",
            Self::Classify => "classify",
            Self::Embed => "embed",
        }
    }

    /// The tasks that its answers may be for, the usual one first.
    pub fn tasks(self) -> &'static [Task] {
        match self {
            Self::Detections | Self::Yolov8 => &[Task::Detect, Task::Segment, Task::Pose, Task::Obb],
            Self::Yolov5 => &[Task::Detect, Task::Segment],
            Self::Movenet => &[Task::Pose],
            Self::Segmentation => &[Task::Segment],
            Self::Classify => &[Task::Classify],
            Self::Embed => &[Task::Embed],
            _ => &[Task::Detect],
        }
    }
}

/// What a tensor's values still need to become a probability.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Activation {
    /// Nothing: the model applies it.
    None,
    /// Each value by itself.
    Sigmoid,
    /// Over all classes.
    Softmax,
}

/// How SSD anchors are laid out (`[output.anchors]`), after MediaPipe's `SsdAnchorsCalculatorOptions`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct AnchorConfig {
    /// Side of each layer's square feature map, largest map first.
    pub feature_maps: Vec<u32>,
    /// Scale of the first layer, 0..1 of the input.
    pub min_scale: f32,
    /// Scale of the last layer, 0..1 of the input.
    pub max_scale: f32,
    /// Width over height of the anchors of every layer but the reduced lowest.
    pub aspect_ratios: Vec<f32>,
    /// The lowest layer has only (0.1, ratio 1), (min-scale, 2), (min-scale, 1/2).
    #[serde(default)]
    pub reduce_lowest: bool,
    /// Adds one anchor of ratio 1 at the geometric mean of this layer's scale and the next one's.
    #[serde(default = "yes")]
    pub interpolated_scale: bool,
    /// Divisors of the encoded centre y, centre x, height, width.
    #[serde(default = "box_scales")]
    pub box_scales: [f32; 4],
}

fn yes() -> bool {
    true
}

fn box_scales() -> [f32; 4] {
    [10.0, 10.0, 5.0, 5.0]
}

/// In which form the four numbers of a box stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BoxFormat {
    /// Left, top, right, bottom.
    Xyxy,
    /// Top, left, bottom, right.
    Yxyx,
    /// Centre x, centre y, width, height.
    Cxcywh,
}

/// The unit of a box's numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BoxUnit {
    /// Pixels of the input.
    Pixels,
    /// 0..1 of the input.
    Normalized,
}

/// What a column of a row of finished detections holds (decoder `detections`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Column {
    /// Left edge, or centre x with `box-format = "cxcywh"`.
    X1,
    /// Top edge, or centre y.
    Y1,
    /// Right edge, or width.
    X2,
    /// Bottom edge, or height.
    Y2,
    /// Confidence.
    Score,
    /// Class id.
    Class,
    /// Turn of the box, radians clockwise.
    Angle,
    /// Nothing of use, such as the picture's place in the batch.
    Ignore,
}

/// The model's output and how it is read.
#[derive(Debug, Clone, PartialEq)]
pub struct OutputContract {
    /// What the model answers; one of the decoder's tasks.
    pub task: Task,
    /// Decoder family.
    pub decoder: DecoderKind,
    /// Lowest confidence that counts, 0..1.
    pub confidence: f32,
    /// Boxes of one class that overlap more than this (IoU, 0..1) are one object.
    pub iou: f32,
    /// Lowest confidence by class id, where it differs from `confidence`.
    pub per_class: Vec<(u32, f32)>,
    /// Most objects a frame may have; the most confident are kept.
    pub max_objects: usize,
    /// NMS over all classes together.
    pub class_agnostic: bool,
    /// `detections` only: the rows still overlap, and NMS is to be done here.
    pub nms: bool,
    /// What class scores still need; `None`: the decoder's usual one.
    pub activation: Option<Activation>,
    /// Classes in the tensor before the first label (1 for a background class at index 0).
    pub class_offset: u32,
    /// `ssd-anchors` only.
    pub anchors: Option<AnchorConfig>,
    /// `classify` only: how many classes to report at most.
    pub top_k: usize,
    /// Form of the boxes; `None`: the decoder's usual one.
    pub box_format: Option<BoxFormat>,
    /// Unit of the boxes; `None`: the decoder's usual one.
    pub box_unit: Option<BoxUnit>,
    /// `detections` only: what the columns hold, from the first on; `None`: x1, y1, x2, y2, score, class.
    pub columns: Option<Vec<Column>>,
    /// `yolov5` only: width and height in pixels of the anchors of each raw head, finest stride first.
    pub yolo_anchors: Option<Vec<Vec<[f32; 2]>>>,
    /// Task `pose` only: number of keypoints, and values of each (2: x, y; 3: with confidence).
    pub keypoint_shape: Option<[usize; 2]>,
    /// Pairs of keypoints to be joined by lines; `None`: those of COCO for 17 keypoints, else none.
    pub skeleton: Option<Vec<(u16, u16)>>,
    /// What the integers of an output stand for, by the output's name.
    pub quantization: std::collections::BTreeMap<String, Quantization>,
}

impl OutputContract {
    /// The defaults of `decoder`: what `bundle.toml` means where it says nothing.
    pub fn new(decoder: DecoderKind) -> Self {
        Self {
            task: decoder.tasks()[0],
            decoder,
            confidence: 0.4,
            iou: 0.5,
            per_class: Vec::new(),
            max_objects: 100,
            class_agnostic: false,
            nms: false,
            activation: None,
            class_offset: 0,
            anchors: None,
            top_k: 5,
            box_format: None,
            box_unit: None,
            columns: None,
            yolo_anchors: None,
            keypoint_shape: None,
            skeleton: None,
            quantization: Default::default(),
        }
    }
}

/// A bundle's labels, by class id.
pub type Labels = Vec<std::sync::Arc<str>>;
