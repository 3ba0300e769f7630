//! The event: something that happened as one JSON document, schema `vigil-event/1`.
//!
//! As in [`record`](super::record), the doc comments are the descriptions in the published JSON Schema
//! (`docs/schema/vigil-1.event.json`, printed by `vigil schema event`).

use std::borrow::Cow;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::kind::Kind;
use super::record::{Content, Context, Model, Object, Reason, Thumbnail, milliseconds, rfc3339, to_line};
use super::select::Happening;
use crate::result::FrameResult;

/// The value of an event's `schema` field.
pub const SCHEMA: &str = "vigil-event/1";

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(title = "Vigil event, schema vigil-event/1")]
pub struct Event<'a> {
    /// Version of this format.
    #[schemars(extend("const" = "vigil-event/1"))]
    pub schema: Cow<'a, str>,
    /// Names the event, and stays the same when it is sent again: drop an event whose id was seen before.
    pub id: String,
    /// Wall clock time: UTC, RFC 3339 with milliseconds.
    #[schemars(extend("format" = "date-time"))]
    pub time: String,
    /// The camera's name; that of the site for what is about all of it.
    pub camera: Cow<'a, str>,
    /// Whether somebody should do something.
    pub alarm: bool,
    /// What happened.
    #[serde(flatten)]
    pub what: What<'a>,
    /// The frame on which it was seen; left out for what no frame shows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Frame")]
    pub at: Option<Frame>,
    /// The model that saw it; left out for what no model saw.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Model<'a>")]
    pub model: Option<Model<'a>>,
}

/// A frame of the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Frame {
    /// Frames that the inference element had seen before this one since it started.
    pub frame: u64,
    /// Presentation time in the stream's own time, nanoseconds; left out if it had none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "u64")]
    pub pts_ns: Option<u64>,
    /// Time since the pipeline began to play, nanoseconds; left out if it is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "u64")]
    pub running_time_ns: Option<u64>,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum What<'a> {
    /// An object was followed for long enough to be sure of it.
    ObjectAppeared {
        /// The object as it is on this frame.
        object: Box<Object<'a>>,
        /// How it looks, if the exporter was asked for pictures.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[schemars(with = "Thumbnail<'a>")]
        thumbnail: Option<Thumbnail<'a>>,
    },
    /// An object that had appeared is gone.
    ObjectLeft {
        /// Its identity, as in `object.track.id` when it appeared.
        track: u64,
        /// Its class's label.
        label: Cow<'a, str>,
        /// Its class, 0-based index into the bundle's labels.
        class_id: u32,
        /// How long it was there, milliseconds of stream time.
        stay_ms: u64,
    },
    /// There are more or fewer objects of a class than before; told where no tracker gives objects identities.
    CountChanged {
        /// The class's label.
        label: Cow<'a, str>,
        /// The class, 0-based index into the bundle's labels.
        class_id: u32,
        /// How many there were.
        from: u64,
        /// How many there are.
        to: u64,
    },
    /// Frames have not been analysed for a second.
    AnalysisLost {
        /// Why.
        reason: Reason,
    },
    /// Frames are analysed again.
    AnalysisBack {
        /// How long they were not, milliseconds of stream time.
        away_ms: u64,
    },
    /// What a gateway tells of a camera or of itself, as its HTTP interface does under `/api/v1/events`.
    Gateway {
        /// What: `camera` (a change of its state), `output`, `site`, or the name of an element's message (`vigil-model`, `vigil-watchdog`,
        /// `vigil-drift`, …); `gateway` from `vigil fleet watch`.
        name: Cow<'a, str>,
        /// The details, by name.
        data: serde_json::Value,
    },
}

impl What<'_> {
    /// How important it is.
    pub fn kind(&self) -> Kind {
        match self {
            Self::AnalysisLost { .. } => Kind::Alarm,
            _ => Kind::Event,
        }
    }
}

impl<'a> Event<'a> {
    /// What happened on a frame, the exporter's record number `number` since it started.
    pub fn new(
        happening: &Happening,
        result: &'a FrameResult,
        context: &'a Context,
        number: u64,
        content: &Content<'_>,
        thumbnail: Option<Thumbnail<'a>>,
    ) -> Option<Self> {
        let what = match happening {
            Happening::Appeared { index } => {
                let object = Object::from_result(result.objects.get(*index)?, content);
                What::ObjectAppeared { object: Box::new(object), thumbnail }
            }
            Happening::Left { track, label, class_id, stay_ns } => What::ObjectLeft {
                track: *track,
                label: label.to_string().into(),
                class_id: *class_id,
                stay_ms: milliseconds(*stay_ns),
            },
            Happening::CountChanged { label, class_id, from, to } => {
                What::CountChanged { label: label.to_string().into(), class_id: *class_id, from: *from, to: *to }
            }
            Happening::AnalysisLost { reason } => What::AnalysisLost { reason: (*reason).into() },
            Happening::AnalysisBack { away_ns } => What::AnalysisBack { away_ms: milliseconds(*away_ns) },
        };
        Some(Self {
            schema: SCHEMA.into(),
            id: context.id(number),
            time: rfc3339(result.utc_ns),
            camera: context.camera().into(),
            alarm: what.kind() == Kind::Alarm,
            what,
            at: Some(Frame { frame: result.frame, pts_ns: result.pts_ns, running_time_ns: result.running_time_ns }),
            model: result.model.as_deref().map(Model::from_result),
        })
    }

    /// One line: the event as JSON in UTF-8, with its newline.
    pub fn to_line(&self) -> Vec<u8> {
        to_line(self, 512)
    }
}

/// The JSON Schema (draft 2020-12) of an event, pretty-printed, with a newline at the end.
pub fn json_schema() -> String {
    format!("{:#}\n", schemars::schema_for!(Event<'static>).as_value())
}

#[cfg(test)]
#[path = "event_tests.rs"]
mod tests;
