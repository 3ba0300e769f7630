//! What goes into the analysis, and what comes out.

use std::sync::Arc;
use std::time::Duration;

use crate::cascade::Rules;
use crate::frame::{FrameView, View};
use crate::result::FrameResult;

/// What to do with a frame that should be analysed while the most frames that may be under way are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WhenBusy {
    /// Wait: every frame is analysed, and the source is slowed down.
    #[default]
    Wait,
    /// Go on with the last result, marked as held: video keeps its pace. Users of one engine who do so share it by weight.
    Hold,
}

/// How frames are analysed; may change between two frames.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// Frames that are skipped between two that are analysed.
    pub interval: u32,
    /// Frames that may be under way in the engine at once; at least 1.
    pub max_in_flight: usize,
    /// What to do when they are.
    pub when_busy: WhenBusy,
    /// Lowest confidence for every class, instead of the bundle's.
    pub confidence: Option<f32>,
    /// IoU over which two boxes are one object, instead of the bundle's.
    pub iou: Option<f32>,
    /// Most objects per frame, instead of the bundle's.
    pub max_objects: Option<usize>,
    /// The model looks at objects that were found before, by these rules; `None`: at whole frames.
    pub cascade: Option<Arc<Rules>>,
    /// Share of an engine that others use too, relative to theirs; at least 1. It counts for frames that may pass
    /// ([`WhenBusy::Hold`]).
    pub weight: u32,
    /// Most frames a second that are analysed, by their times; `None`: no limit.
    pub max_fps: Option<f64>,
    /// Longest that one run of the model may take; a frame whose run takes longer goes on as `absent`. `None`: no limit.
    pub run_limit: Option<Duration>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            interval: 0,
            max_in_flight: 1,
            when_busy: WhenBusy::Wait,
            confidence: None,
            iou: None,
            max_objects: None,
            cascade: None,
            weight: 1,
            max_fps: None,
            run_limit: None,
        }
    }
}

/// When a frame belongs, as [`FrameResult`] carries it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Times {
    /// Presentation time, nanoseconds of the stream's time.
    pub pts_ns: Option<u64>,
    /// Running time, nanoseconds.
    pub running_time_ns: Option<u64>,
    /// Wall clock, nanoseconds since 1970 UTC.
    pub utc_ns: u64,
}

/// A frame that comes in.
#[derive(Debug, Clone, Copy)]
pub struct Input<'a> {
    /// Its planes; `None` if it could not be mapped.
    pub frame: Option<&'a FrameView<'a>>,
    /// What there is to see of them, and how.
    pub view: View,
    /// Width and height in pixels of what there is to see, as it is stored.
    pub size: (u32, u32),
    /// When it belongs.
    pub times: Times,
    /// What is known about it already.
    pub earlier: Option<&'a FrameResult>,
}

/// A frame that comes out.
#[derive(Debug)]
pub struct Outcome<T> {
    /// What came in with the frame.
    pub payload: T,
    /// What is known about it.
    pub result: FrameResult,
    /// Whether the model was run for this frame.
    pub looked: bool,
    /// Why the model gave no answer, if it failed on this frame.
    pub error: Option<String>,
    /// Nanoseconds that pre-processing, waiting for a lane, the run and decoding took; not what downstream made it wait.
    pub own_ns: u64,
}

/// The analysis was told to let go of its frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flushing;
