//! Tensor → objects.
//!
//! [`PostProcessor`] is made once per model: it checks the bundle's contract against what the model says about itself
//! and picks the decoder. Per frame it goes decode → [`guard`] → [`nms`] → frame coordinates → clip → guard:
//!
//! ```text
//! outputs ─ view ─▶ decoder ─ candidates ─▶ guard ─▶ nms ─▶ Geometry ─▶ guard ─▶ objects
//!                                         (input pixels)              (0..1 of the frame)
//! ```
//!
//! A decoder family is one file with a type that implements [`Decoder`]; it is named in
//! [`DecoderKind`] and made in [`PostProcessor::new`]. A decoder never judges
//! numbers: it hands on what the tensor says, non-finite values too, and [`guard`] drops and counts.
//! [`recognise()`] tells which family fits a model that comes without a bundle.

mod boxes;
mod centernet;
mod class_map;
mod classify;
mod detections;
mod detr;
mod embed;
pub mod guard;
mod keypoints;
mod logits;
mod masks;
mod metadata;
mod movenet;
mod nanodet;
pub mod nms;
mod recognise;
mod segmentation;
mod side_inputs;
mod ssd_anchors;
mod ssd_postprocessed;
mod ultraface;
mod view;
mod yolo_nas;
mod yolov5;
mod yolov8;
mod yolox;
mod yunet;

pub use centernet::CenterNet;
pub use classify::{ClassScore, Classifier};
pub use detections::Detections;
pub use detr::Detr;
pub use embed::Embedder;
pub use guard::GuardCounts;
pub use movenet::MoveNet;
pub use nanodet::NanoDet;
pub use recognise::{Fact, Hint, Hints, Origin, Recognised, recognise, recognise_with};
pub use segmentation::Segmentation;
pub use ssd_anchors::SsdAnchors;
pub use ssd_postprocessed::SsdPostprocessed;
pub use ultraface::UltraFace;
pub use yolo_nas::YoloNas;
pub use yolov5::YoloV5;
pub use yolov8::YoloV8;
pub use yolox::Yolox;
pub use yunet::YuNet;

use crate::bundle::contract::{DecoderKind, InputContract, Labels, OutputContract};
use crate::engine::{Io, Spec, Tensor};
use crate::pre::geometry::Geometry;
use crate::result::{BBox, FrameClass, FrameResult, Object};

/// Why a model's outputs cannot be read. Each text names the tensor and the key of `bundle.toml` to change.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PostError {
    /// The decoder needs an output that the model does not have.
    #[error(
        "decoder {decoder} needs {needs}; the model's outputs are {found}. Set `output.decoder` to the family that \
         the model was made for ({}), or export the model with that output",
        kinds()
    )]
    Missing {
        /// The decoder's name.
        decoder: &'static str,
        /// The output that is not there.
        needs: &'static str,
        /// The outputs that are.
        found: String,
    },
    /// A tensor has a shape that the decoder cannot read.
    #[error("output `{tensor}` has the shape {found}; decoder {decoder} expects {expected}. {fix}")]
    Shape {
        /// The decoder's name.
        decoder: &'static str,
        /// The tensor.
        tensor: String,
        /// Its shape.
        found: String,
        /// The shapes that can be read.
        expected: String,
        /// What to do.
        fix: &'static str,
    },
    /// The model's class count is not that of the labels.
    #[error(
        "output `{tensor}` {found} holds {classes} classes, but there are {labels} labels and `output.class-offset` \
         is {offset}: give the file named by `labels` one line per class, or set `output.class-offset` to the number \
         of classes before the first label"
    )]
    Classes {
        /// The tensor.
        tensor: String,
        /// Its shape.
        found: String,
        /// Classes in the tensor, with those before the first label.
        classes: usize,
        /// Labels in the bundle.
        labels: usize,
        /// `output.class-offset`.
        offset: u32,
    },
    /// A tensor's element type has no meaning to the decoder.
    #[error(
        "output `{tensor}` holds {found} values; decoder {decoder} reads f32 and f16 (integers have no known scale). \
         Export the model with float outputs"
    )]
    DataType {
        /// The decoder's name.
        decoder: &'static str,
        /// The tensor.
        tensor: String,
        /// Its element type.
        found: &'static str,
    },
    /// The model's input is not what the bundle's `[input]` says.
    #[error("the model's input is {found}; the bundle promises the shape {expected}. {fix}")]
    Input {
        /// What the model has.
        found: String,
        /// What the contract says.
        expected: String,
        /// What to do.
        fix: &'static str,
    },
    /// The bundle's `[output]` contradicts itself or the decoder.
    #[error("`output.{key}`: {why}")]
    Contract {
        /// The key below `[output]`.
        key: &'static str,
        /// What is wrong and what to do.
        why: String,
    },
    /// A run left a tensor that is not what its shape says.
    #[error("output `{tensor}` has {found} values; its shape {shape} needs {expected}")]
    Length {
        /// The tensor.
        tensor: String,
        /// Its shape.
        shape: String,
        /// Values that it has.
        found: usize,
        /// Values that it should have.
        expected: usize,
    },
    /// No decoder fits a model that came without a bundle.
    #[error(
        "{why} The model has the inputs {inputs} and the outputs {outputs}{known}. Write a bundle.toml that sets `{key}`"
    )]
    Unrecognised {
        /// What could not be told.
        why: String,
        /// The model's inputs.
        inputs: String,
        /// The model's outputs.
        outputs: String,
        /// What was recognised before that, or nothing.
        known: String,
        /// The key to set.
        key: &'static str,
    },
}

/// The decoder families, for error texts.
fn kinds() -> String {
    DecoderKind::ALL.map(DecoderKind::as_str).join(", ")
}

/// A box that a decoder proposes: corners in pixels of the input tensor, unchecked.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Candidate {
    /// Left edge.
    pub x1: f32,
    /// Top edge.
    pub y1: f32,
    /// Right edge.
    pub x2: f32,
    /// Bottom edge.
    pub y2: f32,
    /// Confidence; 0..1 once guarded.
    pub score: f32,
    /// Index into the labels; below their count once guarded.
    pub class_id: u32,
    /// Turn of the box about its centre, radians clockwise; 0 for upright boxes.
    pub angle: f32,
    /// Where the decoder finds what else the model says about it (a row, a cell).
    pub row: u32,
}

impl Candidate {
    /// A candidate from its centre and size.
    pub fn from_centre(cx: f32, cy: f32, w: f32, h: f32, score: f32, class_id: u32) -> Self {
        let (rx, ry) = (w * 0.5, h * 0.5);
        Self { x1: cx - rx, y1: cy - ry, x2: cx + rx, y2: cy + ry, score, class_id, ..Self::default() }
    }

    /// The same, found at `row`.
    pub fn at(self, row: usize) -> Self {
        Self { row: u32::try_from(row).unwrap_or(u32::MAX), ..self }
    }

    /// The same, turned about its centre by `angle`, radians clockwise.
    pub fn turned(self, angle: f32) -> Self {
        Self { angle, ..self }
    }

    /// The corners of the turned box, pixels of the input tensor: top left, top right, bottom right, bottom left before
    /// the turn.
    pub fn corners(&self) -> [(f32, f32); 4] {
        let (cx, cy) = ((self.x1 + self.x2) * 0.5, (self.y1 + self.y2) * 0.5);
        let (sin, cos) = self.angle.sin_cos();
        [(self.x1, self.y1), (self.x2, self.y1), (self.x2, self.y2), (self.x1, self.y2)].map(|(x, y)| {
            let (dx, dy) = (x - cx, y - cy);
            (cx + dx * cos - dy * sin, cy + dx * sin + dy * cos)
        })
    }

    /// The box, in pixels of the input tensor.
    pub fn bbox(&self) -> BBox {
        BBox::from_corners(self.x1, self.y1, self.x2, self.y2)
    }
}

/// What decoders append to.
pub type Candidates = Vec<Candidate>;

/// The thresholds of one run: the bundle's, after an element's overrides.
#[derive(Debug, PartialEq)]
pub struct Thresholds {
    /// Lowest confidence that counts, 0..1.
    pub confidence: f32,
    /// Boxes of one class that overlap more than this (IoU, 0..1) are one object.
    pub iou: f32,
    /// Lowest confidence by class id; classes past its end take `confidence`.
    pub per_class: Vec<f32>,
    /// Most objects a frame may have; the most confident are kept.
    pub max_objects: usize,
    /// NMS over all classes together.
    pub class_agnostic: bool,
}

impl Clone for Thresholds {
    fn clone(&self) -> Self {
        Self { per_class: self.per_class.clone(), ..*self }
    }

    /// Keeps the memory of `per_class`: every frame starts from the bundle's thresholds.
    fn clone_from(&mut self, source: &Self) {
        let mut per_class = std::mem::take(&mut self.per_class);
        per_class.clone_from(&source.per_class);
        *self = Self { per_class, ..*source };
    }
}

impl Thresholds {
    /// Sets the lowest confidence of every class, those with a value of their own too.
    pub fn set_confidence(&mut self, confidence: f32) {
        self.confidence = confidence;
        self.per_class.fill(confidence);
    }

    /// The lowest confidence that counts for a class.
    pub fn of(&self, class_id: u32) -> f32 {
        self.per_class.get(class_id as usize).copied().unwrap_or(self.confidence)
    }

    /// No class accepts less than this.
    pub fn lowest(&self) -> f32 {
        self.per_class.iter().copied().fold(self.confidence, f32::min)
    }

    /// Whether a score counts for a class. NaN does, so that the guard sees and counts it.
    pub fn accepts(&self, class_id: u32, score: f32) -> bool {
        score.is_nan() || score >= self.of(class_id)
    }
}

/// A family of detection models: what its output tensors mean.
pub trait Decoder: Send + Sync {
    /// Appends the candidates over the threshold, boxes as corners in pixels of the input tensor.
    ///
    /// `outputs` are the model's, in the graph's order, all of type f32. A candidate whose values are not finite is
    /// appended like any other: the guard drops and counts it.
    ///
    /// # Errors
    /// [`PostError::Shape`], [`PostError::Length`] or [`PostError::Missing`] if a tensor is not what the model's
    /// [`Spec`] promised.
    fn decode(&self, outputs: &[Tensor], thresholds: &Thresholds, out: &mut Candidates) -> Result<(), PostError>;

    /// The same, of what lies in the picture alone: for families whose answers have no place of their own.
    ///
    /// # Errors
    /// As [`decode`](Self::decode).
    fn decode_part(
        &self,
        outputs: &[Tensor],
        thresholds: &Thresholds,
        _geometry: &Geometry,
        out: &mut Candidates,
    ) -> Result<(), PostError> {
        self.decode(outputs, thresholds, out)
    }

    /// How overlapping candidates that may be one object are told.
    fn nms(&self) -> Nms {
        Nms::Upright
    }

    /// Whether the boxes are turned: objects then have corners.
    fn turned(&self) -> bool {
        self.nms() == Nms::Turned
    }

    /// Adds what else the model says about `candidate`, which became `object`: keypoints, a mask. Called for the few
    /// candidates that are kept. `geometry` leads from the input's pixels to the frame. Values that are not finite may be
    /// handed on: the guard deals with keypoints.
    ///
    /// # Errors
    /// As [`decode`](Self::decode).
    fn describe(
        &self,
        _outputs: &[Tensor],
        _candidate: &Candidate,
        _geometry: &Geometry,
        _object: &mut Object,
    ) -> Result<(), PostError> {
        Ok(())
    }
}

/// How overlapping candidates of one object are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Nms {
    /// There are none: the model names each object once.
    None,
    /// By the overlap of upright boxes.
    Upright,
    /// By the overlap of turned boxes.
    Turned,
}

/// Buffers that live from frame to frame, so that nothing is allocated once they have grown.
#[derive(Debug, Default)]
pub struct Scratch {
    item: Vec<Tensor>,
    floats: Vec<Tensor>,
    candidates: Candidates,
    scores: Vec<ClassScore>,
}

/// What a model finds: objects, classes of the whole frame, or a vector that describes it.
enum Head {
    Objects(Box<dyn Decoder>),
    Classes(Classifier),
    Vector(Embedder),
}

/// Turns one model's outputs into the objects or classes of a [`FrameResult`].
pub struct PostProcessor {
    head: Head,
    labels: Labels,
    input: (u32, u32),
    thresholds: Thresholds,
    /// Which of the model's inputs takes the picture.
    image: usize,
    sides: Vec<side_inputs::SideInput>,
    scales: view::Scales,
}

impl std::fmt::Debug for PostProcessor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PostProcessor")
            .field("labels", &self.labels.len())
            .field("input", &self.input)
            .field("thresholds", &self.thresholds)
            .finish_non_exhaustive()
    }
}

impl PostProcessor {
    /// Checks the contract against the model and makes the decoder.
    ///
    /// # Errors
    /// A [`PostError`] if the model's input or outputs are not those that the contract promises (shapes, element
    /// types, number of classes against number of labels), or a key does not go with the decoder.
    pub fn new(
        output: &OutputContract,
        input: &InputContract,
        labels: &Labels,
        spec: &Spec,
    ) -> Result<Self, PostError> {
        let image = view::check_input(input, spec)?;
        let spec = &view::of_one_picture(spec, image);
        let sides = side_inputs::find(input, spec, image)?;
        let classes = labels.len();
        let objects = |decoder: Box<dyn Decoder>| Head::Objects(decoder);
        let head = match output.decoder {
            DecoderKind::SsdAnchors => objects(Box::new(SsdAnchors::new(output, input, classes, spec)?)),
            DecoderKind::SsdPostprocessed => objects(Box::new(SsdPostprocessed::new(output, input, spec)?)),
            DecoderKind::Detections => objects(Box::new(Detections::new(output, input, classes, spec)?)),
            DecoderKind::Yolov5 => objects(Box::new(YoloV5::new(output, input, classes, spec)?)),
            DecoderKind::Yolox => objects(Box::new(Yolox::new(output, input, classes, spec)?)),
            DecoderKind::Yolov8 => objects(Box::new(YoloV8::new(output, input, classes, spec)?)),
            DecoderKind::YoloNas => objects(Box::new(YoloNas::new(output, input, classes, spec)?)),
            DecoderKind::Nanodet => objects(Box::new(NanoDet::new(output, input, classes, spec)?)),
            DecoderKind::Centernet => objects(Box::new(CenterNet::new(output, input, classes, spec)?)),
            DecoderKind::Detr => objects(Box::new(Detr::new(output, input, classes, spec)?)),
            DecoderKind::Yunet => objects(Box::new(YuNet::new(output, input, classes, spec)?)),
            DecoderKind::Ultraface => objects(Box::new(UltraFace::new(output, input, labels, spec)?)),
            DecoderKind::Movenet => objects(Box::new(MoveNet::new(output, input, classes, spec)?)),
            DecoderKind::Segmentation => objects(Box::new(Segmentation::new(output, input, labels, spec)?)),
            DecoderKind::Classify => Head::Classes(Classifier::new(output, classes, spec)?),
            DecoderKind::Embed => Head::Vector(Embedder::new(output, spec)?),
        };
        Ok(Self {
            head,
            labels: labels.clone(),
            input: (input.width, input.height),
            thresholds: resolve(output, classes)?,
            image,
            sides,
            scales: view::scales(output, spec)?,
        })
    }

    /// Which of the model's inputs takes the picture; all others are filled once, by [`prepare`](Self::prepare).
    pub fn image_input(&self) -> usize {
        self.image
    }

    /// Fills the inputs beside the picture, such as the size that boxes are to be given in, for `batch` pictures.
    pub fn prepare(&self, io: &mut Io, batch: usize) {
        self.sides.iter().for_each(|side| side.fill(io, batch));
    }

    /// The bundle's thresholds, by class.
    pub fn thresholds(&self) -> Thresholds {
        self.thresholds.clone()
    }

    /// As [`run`](Self::run), for picture `item` of a run of `batch` pictures.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub fn run_item(
        &self,
        outputs: &[Tensor],
        (item, batch): (usize, usize),
        thresholds: &Thresholds,
        geometry: &Geometry,
        scratch: &mut Scratch,
        result: &mut FrameResult,
    ) -> Result<GuardCounts, PostError> {
        if batch <= 1 {
            return self.run(outputs, thresholds, geometry, scratch, result);
        }
        let mut buffer = std::mem::take(&mut scratch.item);
        let counts = self.run(view::item(outputs, item, batch, &mut buffer), thresholds, geometry, scratch, result);
        scratch.item = buffer;
        counts
    }

    /// Reads `outputs` (the model's, in the graph's order) and replaces `result`'s objects and classes with what they
    /// say: highest confidence first, ids from 0, boxes in 0..1 of the frame, never empty. Nothing else of `result` is
    /// touched. The counts say what was dropped as impossible.
    ///
    /// # Errors
    /// A [`PostError`] if a tensor is not what the model's [`Spec`] promised; `result` then has no objects or classes.
    pub fn run(
        &self,
        outputs: &[Tensor],
        thresholds: &Thresholds,
        geometry: &Geometry,
        scratch: &mut Scratch,
        result: &mut FrameResult,
    ) -> Result<GuardCounts, PostError> {
        result.objects.clear();
        result.classes.clear();
        result.embedding = None;
        let Scratch { floats, candidates, scores, .. } = scratch;
        let outputs = view::as_floats(outputs, &self.scales, floats);
        let mut counts = GuardCounts::default();
        match &self.head {
            Head::Objects(decoder) => {
                candidates.clear();
                decoder.decode_part(outputs, thresholds, geometry, candidates)?;
                guard::candidates(candidates, self.input, self.labels.len(), &mut counts);
                nms::reduce(candidates, decoder.nms(), thresholds);
                self.objects(decoder.as_ref(), outputs, candidates, geometry, &mut counts, &mut result.objects)?;
            }
            Head::Classes(classifier) => {
                scores.clear();
                classifier.classify(outputs, thresholds, scores)?;
                guard::scores(scores, &mut counts);
                classifier.top(scores);
                result.classes.extend(scores.iter().filter_map(|s| {
                    let label = self.labels.get(s.class_id as usize)?.clone();
                    Some(FrameClass { class_id: s.class_id, label, confidence: s.score })
                }));
            }
            Head::Vector(embedder) => result.embedding = embedder.embed(outputs, &mut counts)?,
        }
        Ok(counts)
    }

    /// Candidates in input pixels → objects in 0..1 of the frame, with all that the model says about them.
    fn objects(
        &self,
        decoder: &dyn Decoder,
        outputs: &[Tensor],
        found: &[Candidate],
        geometry: &Geometry,
        counts: &mut GuardCounts,
        objects: &mut Vec<Object>,
    ) -> Result<(), PostError> {
        objects.reserve(found.len());
        for c in found {
            let corners = decoder.turned().then(|| c.corners().map(|(x, y)| geometry.point_to_frame(x, y)));
            let whole = corners.map_or_else(|| geometry.to_frame(c.bbox()), around);
            let Some(bbox) = guard::in_frame(whole, counts) else { continue };
            // The guard let no class through that has no label.
            let Some(label) = self.labels.get(c.class_id as usize) else { continue };
            let mut object = Object::new(objects.len() as u32, c.class_id, label.clone(), c.score, bbox);
            object.corners = corners;
            if let Err(error) = decoder.describe(outputs, c, geometry, &mut object) {
                objects.clear();
                return Err(error);
            }
            guard::keypoints(&mut object.keypoints, counts);
            objects.push(object);
        }
        Ok(())
    }
}

/// The upright box around points.
fn around(points: [(f32, f32); 4]) -> BBox {
    let (mut low, mut high) = ((f32::INFINITY, f32::INFINITY), (f32::NEG_INFINITY, f32::NEG_INFINITY));
    for (x, y) in points {
        low = (low.0.min(x), low.1.min(y));
        high = (high.0.max(x), high.1.max(y));
    }
    BBox::from_corners(low.0, low.1, high.0, high.1)
}

/// The contract's thresholds by class.
fn resolve(output: &OutputContract, classes: usize) -> Result<Thresholds, PostError> {
    let mut per_class = vec![output.confidence; classes];
    for (class_id, confidence) in &output.per_class {
        match per_class.get_mut(*class_id as usize) {
            Some(slot) => *slot = *confidence,
            None => {
                return Err(PostError::Contract {
                    key: "per-class",
                    why: format!("there is no class {class_id}, the model has {classes}; name one of the labels"),
                });
            }
        }
    }
    Ok(Thresholds {
        confidence: output.confidence,
        iou: output.iou,
        per_class,
        max_objects: output.max_objects,
        class_agnostic: output.class_agnostic,
    })
}

#[cfg(test)]
mod tests;
