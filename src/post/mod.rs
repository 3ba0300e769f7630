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
mod candidate;
mod centernet;
mod class_map;
mod classify;
mod detections;
mod detr;
mod embed;
mod error;
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
mod thresholds;
mod ultraface;
mod view;
mod yolo_nas;
mod yolov5;
mod yolov8;
mod yolox;
mod yunet;

pub use candidate::{Candidate, Candidates};
pub use centernet::CenterNet;
pub use classify::{ClassScore, Classifier};
pub use detections::Detections;
pub use detr::Detr;
pub use embed::Embedder;
pub use error::PostError;
pub use guard::GuardCounts;
pub use movenet::MoveNet;
pub use nanodet::NanoDet;
pub use recognise::{Fact, Hint, Hints, Origin, Recognised, recognise, recognise_with};
pub use segmentation::Segmentation;
pub use ssd_anchors::SsdAnchors;
pub use ssd_postprocessed::SsdPostprocessed;
pub use thresholds::Thresholds;
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
            thresholds: thresholds::resolve(output, classes)?,
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

#[cfg(test)]
mod tests;
