//! The one value that all stages pass on: what is known about one frame.
//!
//! `vigilinfer` makes a [`FrameResult`], `vigiltrack` adds identities, `vigiloverlay` draws it and
//! `vigilexport` writes it. It holds no GStreamer type; `crate::meta` carries it on a buffer.

use std::sync::Arc;

/// An axis-aligned box, normalised to 0..1 of the analysed frame: `x`, `y` of the top left corner, `w`, `h`.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct BBox {
    /// Left edge, 0..1 of the frame's width.
    pub x: f32,
    /// Top edge, 0..1 of the frame's height.
    pub y: f32,
    /// Width, 0..1 of the frame's width.
    pub w: f32,
    /// Height, 0..1 of the frame's height.
    pub h: f32,
}

impl BBox {
    /// The whole of anything, in 0..1.
    pub const WHOLE: Self = Self { x: 0.0, y: 0.0, w: 1.0, h: 1.0 };

    /// A box from its corners, in any unit; `x2`, `y2` may lie before `x1`, `y1` (then `w` or `h` is negative).
    pub fn from_corners(x1: f32, y1: f32, x2: f32, y2: f32) -> Self {
        Self { x: x1, y: y1, w: x2 - x1, h: y2 - y1 }
    }

    /// Right edge.
    pub fn x2(&self) -> f32 {
        self.x + self.w
    }

    /// Bottom edge.
    pub fn y2(&self) -> f32 {
        self.y + self.h
    }

    /// Area in the square of the box's unit; 0 for inverted boxes.
    pub fn area(&self) -> f32 {
        self.w.max(0.0) * self.h.max(0.0)
    }

    /// Intersection over union, 0..1; 0 where both areas are 0.
    pub fn iou(&self, other: &BBox) -> f32 {
        let w = self.x2().min(other.x2()) - self.x.max(other.x);
        let h = self.y2().min(other.y2()) - self.y.max(other.y);
        if w <= 0.0 || h <= 0.0 {
            return 0.0;
        }
        let both = w * h;
        let union = self.area() + other.area() - both;
        if union > 0.0 { both / union } else { 0.0 }
    }

    /// The part of the box inside 0..1.
    pub fn clipped(&self) -> Self {
        let (x1, y1) = (self.x.clamp(0.0, 1.0), self.y.clamp(0.0, 1.0));
        let (x2, y2) = (self.x2().clamp(0.0, 1.0), self.y2().clamp(0.0, 1.0));
        Self::from_corners(x1, y1, x2, y2)
    }
}

/// How an object's identity stands on this frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TrackState {
    /// Seen too few times to be sure that it is one object.
    Tentative,
    /// Matched with a detection on this frame.
    Confirmed,
    /// Not matched on this frame: the box is the motion model's prediction.
    Predicted,
}

/// The identity that `vigiltrack` gave to an object.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Track {
    /// Identity, unique within a tracker's life, from 1 upwards; never reused.
    pub id: u64,
    /// Whether the box on this frame was seen or predicted.
    pub state: TrackState,
    /// Time since the identity was first seen, nanoseconds of stream time.
    pub age_ns: u64,
    /// Time since it was last matched with a detection, nanoseconds; 0 when matched on this frame.
    pub unseen_ns: u64,
    /// Speed of the box's centre, normalised frame widths and heights per second.
    pub velocity: (f32, f32),
}

/// A point of a skeleton or a face landmark.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Keypoint {
    /// 0..1 of the frame's width.
    pub x: f32,
    /// 0..1 of the frame's height.
    pub y: f32,
    /// 0..1; how sure the model is that the point is there and visible.
    pub confidence: f32,
}

/// A secondary finding about an object, such as a colour or a type.
#[derive(Debug, Clone, PartialEq)]
pub struct Attribute {
    /// What was asked (the model's name, or the attribute's own).
    pub name: Arc<str>,
    /// The answer.
    pub label: Arc<str>,
    /// 0..1.
    pub confidence: f32,
}

/// A coverage map over an object's box: `width` × `height` values row by row, 0 (outside) to 255 (inside).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mask {
    /// Values per row.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// `width * height` coverages; the map spans the object's box exactly.
    pub data: Vec<u8>,
}

/// One thing found on a frame.
#[derive(Debug, Clone, PartialEq)]
pub struct Object {
    /// Unique within the frame; the id of the mirrored region-of-interest meta.
    pub id: u32,
    /// The class, 0-based index into the bundle's labels.
    pub class_id: u32,
    /// The class's label.
    pub label: Arc<str>,
    /// 0..1.
    pub confidence: f32,
    /// Where, 0..1 of the frame.
    pub bbox: BBox,
    /// Identity, once a tracker has seen it.
    pub track: Option<Track>,
    /// Secondary findings.
    pub attributes: Vec<Attribute>,
    /// Skeleton points or landmarks, in the model's order.
    pub keypoints: Vec<Keypoint>,
    /// Pairs of indices into `keypoints` to be joined by lines.
    pub skeleton: Option<Arc<[(u16, u16)]>>,
    /// Silhouette over the box.
    pub mask: Option<Arc<Mask>>,
    /// Corners of an oriented box, in order around it, 0..1 of the frame; `bbox` is the upright box around them.
    pub corners: Option<[(f32, f32); 4]>,
    /// A vector of length 1 that describes how the object looks; two of one model are compared by their dot product.
    pub embedding: Option<Arc<[f32]>>,
    /// `id` of the object in which this one was found, where a model looked at objects instead of the frame.
    pub parent: Option<u32>,
}

impl Object {
    /// An object with a class and a box and nothing else.
    pub fn new(id: u32, class_id: u32, label: Arc<str>, confidence: f32, bbox: BBox) -> Self {
        Self {
            id,
            class_id,
            label,
            confidence,
            bbox,
            track: None,
            attributes: Vec::new(),
            keypoints: Vec::new(),
            skeleton: None,
            mask: None,
            corners: None,
            embedding: None,
            parent: None,
        }
    }
}

/// A class that the model gave to the whole frame.
#[derive(Debug, Clone, PartialEq)]
pub struct FrameClass {
    /// 0-based index into the bundle's labels.
    pub class_id: u32,
    /// The class's label.
    pub label: Arc<str>,
    /// 0..1.
    pub confidence: f32,
}

/// Which model made a result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelId {
    /// The bundle's name, or the file's stem for a bare `.onnx`.
    pub name: String,
    /// The bundle's release; empty for a bare `.onnx`.
    pub release: String,
    /// SHA-256 of the weights in use, 64 lower-case hexadecimal digits.
    pub digest: String,
}

/// Makes [`AbsentReason`] from one list of variants, their words and their texts, so that `ALL` cannot lack one.
macro_rules! reasons {
    ($($(#[doc = $doc:literal])+ $reason:ident = $word:literal, $text:literal;)+) => {
        /// Why a frame carries no analysis.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum AbsentReason {
            $($(#[doc = $doc])+ $reason,)+
        }

        impl AbsentReason {
            /// Every reason that there is.
            pub const ALL: &[Self] = &[$(Self::$reason),+];

            /// The word that records and messages use.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$reason => $word,)+
                }
            }

            /// A few words for people, to stand behind "analysis off:".
            pub fn describe(self) -> &'static str {
                match self {
                    $(Self::$reason => $text,)+
                }
            }
        }
    };
}

reasons! {
    /// The element is set up to skip this frame and has no earlier result to hold.
    Skipped = "skipped", "frame skipped";
    /// No model is loaded yet.
    NoModel = "no-model", "no model";
    /// The engine failed on this frame.
    EngineError = "engine-error", "engine failed";
    /// The engine died or hung and is being started anew.
    EngineRestarting = "engine-restarting", "engine restarting";
    /// The analysis did not answer in time.
    Deadline = "deadline", "no answer in time";
    /// The frame could not be read or is of a size that cannot be analysed.
    BadFrame = "bad-frame", "frame unreadable";
    /// The supervised chain failed and is being replaced.
    ChainError = "chain-error", "chain failed";
    /// The supervised chain has not delivered its first frames yet.
    Starting = "starting", "starting";
    /// Analysis was switched off by the operator.
    Maintenance = "maintenance", "maintenance";
}

impl AbsentReason {
    /// Whether analysis is out of order or switched off, as opposed to a frame that was skipped as planned.
    pub fn is_outage(self) -> bool {
        self != Self::Skipped
    }
}

/// Whether the model looked at this very frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Freshness {
    /// The model ran on this frame.
    Fresh,
    /// The objects are those of an earlier frame (or a tracker's prediction from them).
    Held {
        /// Stream time since the frame that was analysed, nanoseconds.
        age_ns: u64,
    },
    /// The model did not look; "no objects" says nothing.
    Absent(AbsentReason),
}

impl Freshness {
    /// `fresh`, `held` or `absent`.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Fresh => "fresh",
            Self::Held { .. } => "held",
            Self::Absent(_) => "absent",
        }
    }
}

/// Everything known about one frame.
#[derive(Debug, Clone, PartialEq)]
pub struct FrameResult {
    /// Frames that the inference element has seen before this one since it started.
    pub frame: u64,
    /// Presentation time of the frame, nanoseconds of the stream's own time; `None` if it had none.
    pub pts_ns: Option<u64>,
    /// Running time of the frame (comparable over seeks and segments), nanoseconds.
    pub running_time_ns: Option<u64>,
    /// Wall clock time at which the frame reached the inference element, nanoseconds since 1970 UTC.
    pub utc_ns: u64,
    /// Width of the analysed frame in pixels.
    pub width: u32,
    /// Height of the analysed frame in pixels.
    pub height: u32,
    /// The model that produced the objects; `None` while none is loaded.
    pub model: Option<Arc<ModelId>>,
    /// Whether the model looked at this very frame.
    pub freshness: Freshness,
    /// Wall clock time since which there has been no analysis, nanoseconds since 1970 UTC; only with `absent`, where it
    /// is known.
    pub absent_since_ns: Option<u64>,
    /// What was found, highest confidence first.
    pub objects: Vec<Object>,
    /// Classes of the whole frame, highest confidence first.
    pub classes: Vec<FrameClass>,
    /// A vector of length 1 that describes the whole frame.
    pub embedding: Option<Arc<[f32]>>,
    /// Models that looked at the objects found and added to them, in the order of the stream.
    pub secondary: Vec<Arc<ModelId>>,
}

impl FrameResult {
    /// Nothing is known about a frame of `size` (width, height in pixels), for this reason; times are unknown.
    pub fn absent(reason: AbsentReason, size: (u32, u32)) -> Self {
        Self {
            frame: 0,
            pts_ns: None,
            running_time_ns: None,
            utc_ns: 0,
            width: size.0,
            height: size.1,
            model: None,
            freshness: Freshness::Absent(reason),
            absent_since_ns: None,
            objects: Vec::new(),
            classes: Vec::new(),
            embedding: None,
            secondary: Vec::new(),
        }
    }
}
