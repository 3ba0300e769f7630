//! Which decoder fits a model that comes without a bundle: told by output names, shapes and embedded metadata.
//!
//! What the model's file says is *read*, what follows from shapes or names is *recognised*, and what is merely usual
//! for the family is *assumed*: `vigil bundle new` prints all three, so that the user checks the last ones. What cannot
//! be told is an error that names the key to set.

use super::metadata::Metadata;
use super::{PostError, classify, ssd_anchors, ssd_postprocessed, view, yolox};
use crate::bundle::contract::{
    Activation, Align, AnchorConfig, Color, DecoderKind, InputContract, Labels, Layout, OutputContract, Resize, Task,
};
use crate::engine::{Spec, TensorSpec};

/// How a value came to be known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// The model's file says so.
    Read,
    /// It follows from names or shapes.
    Recognised,
    /// It is usual for models of this family; check it.
    Assumed,
}

impl Origin {
    /// `read`, `recognised` or `assumed`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Recognised => "recognised",
            Self::Assumed => "assumed",
        }
    }
}

/// One value and how it came to be known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fact {
    /// The key in `bundle.toml`, such as `input.size`.
    pub key: &'static str,
    /// The value, as `bundle.toml` writes it.
    pub value: String,
    /// How it came to be known.
    pub origin: Origin,
    /// What says so, in a few words.
    pub because: String,
}

/// What could be told about a model.
#[derive(Debug, Clone, PartialEq)]
pub struct Recognised {
    /// What the model answers.
    pub task: Task,
    /// Its input.
    pub input: InputContract,
    /// Its output; `output.decoder` is the family, thresholds are the defaults.
    pub output: OutputContract,
    /// Labels, if they are embedded.
    pub labels: Option<Labels>,
    /// How many labels the model needs; `None` where its shapes do not tell.
    pub classes: Option<usize>,
    /// Every value, for people to read.
    pub facts: Vec<Fact>,
}

/// Tells which decoder and contracts fit the model.
///
/// # Errors
/// [`PostError::Unrecognised`] says what could not be told, what was, and which key to set in a bundle.
pub fn recognise(spec: &Spec) -> Result<Recognised, PostError> {
    let mut r = Recogniser { spec, meta: Metadata::read(&spec.metadata), facts: Vec::new() };
    let frame = r.frame()?;
    let head = r.head(&frame)?;
    let input = r.input(&frame, head.output.decoder);
    let task = head.output.task;
    let labels = r.meta.names.take();
    match (&labels, head.classes) {
        (Some(names), Some(classes)) if names.len() != classes => {
            let why = format!("The embedded `names` list {} labels for {classes} classes.", names.len());
            return Err(r.refuse(why, "labels"));
        }
        (Some(names), _) => r.fact("labels", format!("{} names", names.len()), Origin::Read, "metadata `names`"),
        (None, _) => {}
    }
    Ok(Recognised { task, input, output: head.output, labels, classes: head.classes, facts: r.facts })
}

/// The input's layout and size.
struct Frame {
    layout: Layout,
    color: Color,
    width: u32,
    height: u32,
}

/// The output's contract and its number of classes.
struct Head {
    output: OutputContract,
    classes: Option<usize>,
}

struct Recogniser<'a> {
    spec: &'a Spec,
    meta: Metadata,
    facts: Vec<Fact>,
}

impl Recogniser<'_> {
    fn fact(&mut self, key: &'static str, value: impl Into<String>, origin: Origin, because: impl Into<String>) {
        self.facts.push(Fact { key, value: value.into(), origin, because: because.into() });
    }

    fn refuse(&self, why: impl Into<String>, key: &'static str) -> PostError {
        let facts: Vec<String> = self.facts.iter().map(|f| format!("{} = {}", f.key, f.value)).collect();
        let known = if facts.is_empty() { String::new() } else { format!("; recognised: {}", facts.join(", ")) };
        let (inputs, outputs) = (view::list(&self.spec.inputs), view::list(&self.spec.outputs));
        PostError::Unrecognised { why: why.into(), inputs, outputs, known, key }
    }

    /// Layout and size of the one input.
    fn frame(&mut self) -> Result<Frame, PostError> {
        let spec = self.spec;
        let [tensor] = spec.inputs.as_slice() else {
            return Err(self.refuse("Only models with exactly one input, a picture, can be run.", "input"));
        };
        let Ok([batch, a, b, c]) = <[Option<usize>; 4]>::try_from(tensor.shape.as_slice()) else {
            return Err(self.refuse("The input has not the four dimensions of a picture.", "input"));
        };
        if !view::may_be(batch, 1) {
            return Err(self.refuse("The input takes several pictures at once: export with a batch of 1.", "input"));
        }
        let color = |channels: usize| if channels == 1 { Color::Gray } else { Color::Rgb };
        let (layout, color, height, width) = match (a, c) {
            (Some(n @ (1 | 3)), _) => (Layout::Nchw, color(n), b, c),
            (_, Some(n @ (1 | 3))) => (Layout::Nhwc, color(n), a, b),
            _ => return Err(self.refuse("No dimension of the input counts 1 or 3 channels.", "input.layout")),
        };
        let layout_name = if layout == Layout::Nchw { "nchw" } else { "nhwc" };
        self.fact("input.layout", layout_name, Origin::Recognised, "the dimension of 1 or 3 is the channels");
        let side = |side: Option<usize>| side.and_then(|s| u32::try_from(s).ok()).filter(|s| *s > 0);
        let (width, height, because) = match (side(width), side(height), self.meta.size) {
            (Some(w), Some(h), _) => (w, h, "the input's shape"),
            (_, _, Some((w, h))) if w > 0 && h > 0 => (w, h, "metadata `imgsz`"),
            _ => return Err(self.refuse("The input's size is free and no metadata names one.", "input.size")),
        };
        self.fact("input.size", format!("[{width}, {height}]"), Origin::Read, because);
        Ok(Frame { layout, color, width, height })
    }

    /// The decoder family and its parameters.
    fn head(&mut self, frame: &Frame) -> Result<Head, PostError> {
        if let Some(task) = self.meta.task.as_deref().filter(|t| !matches!(*t, "detect" | "classify")) {
            return Err(self.refuse(format!("There is no decoder for the embedded task `{task}`."), "output.decoder"));
        }
        let outputs = self.spec.outputs.as_slice();
        if ssd_postprocessed::by_name(outputs).is_some() {
            return Ok(self.found(DecoderKind::SsdPostprocessed, None, "the outputs' names"));
        }
        match outputs {
            [one] => self.single(one, frame),
            [_, _] => self.pair(frame),
            _ => Err(self.refuse("No decoder reads these outputs.", "output.decoder")),
        }
    }

    fn found(&mut self, decoder: DecoderKind, classes: Option<usize>, because: impl Into<String>) -> Head {
        self.fact("output.decoder", decoder.as_str(), Origin::Recognised, because);
        Head { output: OutputContract::new(decoder), classes }
    }

    /// One output: a class vector, or one of the YOLO layouts.
    fn single(&mut self, tensor: &TensorSpec, frame: &Frame) -> Result<Head, PostError> {
        let matrix = view::promised::<2>(&tensor.shape).filter(|_| tensor.shape.len() > 2);
        if let Some(Some(length)) = classify::vector_length(&tensor.shape).filter(|n| n.is_some_and(|n| n > 1)) {
            return Ok(self.class_vector(tensor, length));
        }
        let Some([a, b]) = matrix else {
            return Err(self.refuse("The output is neither a class vector nor a list of boxes.", "output.decoder"));
        };
        let cells = yolox::cell_counts(frame.width, frame.height);
        let is_cells = |n: Option<usize>| n.is_some_and(|n| n > 0 && cells.contains(&n));
        // The classes of a row of `n` with `head` values before them, if the embedded names do not speak against it.
        let names = self.meta.names.as_ref().map(Vec::len);
        let classes = |n: Option<usize>, head: usize| {
            n.and_then(|n| n.checked_sub(head)).filter(|c| *c > 0 && names.is_none_or(|names| names == *c))
        };
        let grid = format!("the cells of a {}x{} input", frame.width, frame.height);
        if let Some(n) = classes(a, 4).filter(|_| is_cells(b) || (b.is_none() && !is_cells(a)) || self.meta.ultralytics)
        {
            return Ok(self.found(DecoderKind::Yolov8, Some(n), format!("shape [4 + {n} classes, boxes], {grid}")));
        }
        if let Some(n) = classes(b, 5).filter(|_| is_cells(a) && !self.meta.ultralytics) {
            return Ok(self.found(DecoderKind::Yolox, Some(n), format!("shape [boxes, 5 + {n} classes], {grid}")));
        }
        if let Some(n) = classes(b, 4).filter(|_| is_cells(a) && (names.is_some() || self.meta.ultralytics)) {
            return Ok(self.found(DecoderKind::Yolov8, Some(n), format!("shape [boxes, 4 + {n} classes], {grid}")));
        }
        let (cells, p6) = (cells[0], cells[1]);
        let (w, h) = (frame.width, frame.height);
        let embedded = names.map_or_else(String::new, |n| format!(" The embedded `names` list {n} labels."));
        let why = format!(
            "No decoder reads the output: a {w}x{h} input has {cells} cells ({p6} with stride 64), so that yolov8 is \
             [1, 4 + classes, {cells}] and yolox [1, {cells}, 5 + classes].{embedded}"
        );
        Err(self.refuse(why, "output.decoder"))
    }

    fn class_vector(&mut self, tensor: &TensorSpec, length: usize) -> Head {
        let mut head = Head { output: OutputContract::new(DecoderKind::Classify), classes: Some(length) };
        // A vector alone may be an embedding too.
        let told = self.meta.task.is_some() || classify::usual_activation(&tensor.name) == Activation::None;
        let (origin, because) = match told {
            true => (Origin::Recognised, "one value per class, and the metadata or the output's name says classes"),
            false => (Origin::Assumed, "one vector: a class vector, or else an embedding"),
        };
        self.fact("output.decoder", DecoderKind::Classify.as_str(), origin, because);
        let (activation, origin, because) = if self.meta.ultralytics {
            (Activation::None, Origin::Recognised, "Ultralytics exports the softmax with the model")
        } else {
            match classify::usual_activation(&tensor.name) {
                Activation::None => (Activation::None, Origin::Recognised, "the output's name says probabilities"),
                other => (other, Origin::Assumed, "usual for class vectors"),
            }
        };
        let name = if activation == Activation::None { "none" } else { "softmax" };
        head.output.activation = Some(activation);
        self.fact("output.activation", name, origin, because);
        head
    }

    /// Two outputs: a raw SSD head, if its anchors are the usual ones.
    fn pair(&mut self, frame: &Frame) -> Result<Head, PostError> {
        let spec = self.spec;
        let places = ssd_anchors::places(&spec.outputs);
        let shape = |i: usize| spec.outputs.get(i).and_then(|t| view::promised::<2>(&t.shape));
        let shapes = places.and_then(|(boxes, scores)| Some((shape(boxes)?, shape(scores)?)));
        let Some(([Some(count), Some(4)], [_, Some(columns)])) = shapes.filter(|(_, [_, c])| c.is_some_and(|c| c > 1))
        else {
            return Err(self.refuse("No decoder reads these two outputs.", "output.decoder"));
        };
        let mut head =
            self.found(DecoderKind::SsdAnchors, Some(columns - 1), "boxes [anchors, 4] and logits [anchors, classes]");
        let anchors = usual_anchors(frame.width);
        if frame.width != frame.height || ssd_anchors::anchor_count(&anchors) != count {
            let why = format!("The layout of the {count} anchors is not the usual one.");
            return Err(self.refuse(why, "output.anchors"));
        }
        let maps = format!("feature-maps {:?}, scales 0.2 to 0.95", anchors.feature_maps);
        self.fact("output.anchors", maps, Origin::Assumed, "the usual MobileNet SSD layout has as many anchors");
        self.fact("output.class-offset", "1", Origin::Assumed, "SSD heads have the background at class 0");
        head.output.class_offset = 1;
        head.output.anchors = Some(anchors);
        Ok(head)
    }

    /// The input contract: the frame, and what is usual for the family.
    fn input(&mut self, frame: &Frame, decoder: DecoderKind) -> InputContract {
        let usual = Usual::of(decoder, self.meta.ultralytics);
        let color = if frame.color == Color::Gray { Color::Gray } else { usual.color };
        let origin = if self.meta.ultralytics { Origin::Recognised } else { Origin::Assumed };
        let because = usual.because;
        let name = match color {
            Color::Rgb => "rgb",
            Color::Bgr => "bgr",
            Color::Gray => "gray",
        };
        self.fact("input.color", name, if color == Color::Gray { Origin::Recognised } else { origin }, because);
        let resize = match (usual.resize, usual.align) {
            (Resize::Letterbox, Align::Center) => "letterbox, align = center, pad = 114",
            (Resize::Letterbox, Align::TopLeft) => "letterbox, align = top-left, pad = 114",
            (Resize::Stretch, _) => "stretch",
            (Resize::Crop, _) => "crop",
        };
        self.fact("input.resize", resize, origin, because);
        self.fact("input.mean", format!("{:?}", usual.mean), origin, because);
        self.fact("input.std", format!("{:?}", usual.std), origin, because);
        InputContract {
            layout: frame.layout,
            width: frame.width,
            height: frame.height,
            color,
            resize: usual.resize,
            antialias: false,
            crop_fraction: 1.0,
            align: usual.align,
            pad: 114,
            mean: usual.mean,
            std: usual.std,
            quantization: None,
        }
    }
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

/// How a family's models usually want their input.
struct Usual {
    color: Color,
    resize: Resize,
    align: Align,
    mean: [f32; 3],
    std: [f32; 3],
    because: &'static str,
}

impl Usual {
    fn of(decoder: DecoderKind, ultralytics: bool) -> Self {
        let stretched = |mean: [f32; 3], std: [f32; 3], because| Self {
            color: Color::Rgb,
            resize: Resize::Stretch,
            align: Align::Center,
            mean,
            std,
            because,
        };
        match decoder {
            DecoderKind::SsdAnchors => stretched([127.5; 3], [127.5; 3], "usual for raw SSD heads"),
            DecoderKind::SsdPostprocessed => {
                stretched([0.0; 3], [1.0; 3], "TensorFlow's exports normalise inside the model")
            }
            DecoderKind::Yolox => Self {
                color: Color::Bgr,
                resize: Resize::Letterbox,
                align: Align::TopLeft,
                mean: [0.0; 3],
                std: [1.0; 3],
                because: "YOLOX's own pre-processing",
            },
            DecoderKind::Yolov8 | DecoderKind::Detections | DecoderKind::Yolov5 => {
                Self { resize: Resize::Letterbox, ..stretched([0.0; 3], [255.0; 3], "Ultralytics' own pre-processing") }
            }
            DecoderKind::Classify if ultralytics => {
                Self { resize: Resize::Crop, ..stretched([0.0; 3], [255.0; 3], "Ultralytics' own pre-processing") }
            }
            _ => {
                let (mean, std) = ([123.675, 116.28, 103.53], [58.395, 57.12, 57.375]);
                Self { resize: Resize::Crop, ..stretched(mean, std, "the ImageNet mean and deviation of torchvision") }
            }
        }
    }
}

#[cfg(test)]
mod tests;
