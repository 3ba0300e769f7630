//! The record: what one frame's result looks like as one JSON document, schema `vigil/1`.
//!
//! The doc comments of these types are the descriptions in the published JSON Schema
//! (`docs/schema/vigil-1.record.json`, printed by `vigil schema record`). Fields may be added to `vigil/1`; none is
//! removed and none changes its meaning.

mod back;
mod content;
mod freshness;

use std::borrow::Cow;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use content::{Content, Mask, Thumbnail};
pub use freshness::{Freshness, Reason};

use crate::result::{self, FrameResult, TrackState};

/// The value of a record's `schema` field.
pub const SCHEMA: &str = "vigil/1";

/// What is known about one video frame.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(title = "Vigil record, schema vigil/1")]
pub struct Record<'a> {
    /// Version of this format.
    #[schemars(extend("const" = "vigil/1"))]
    pub schema: Cow<'a, str>,
    /// Names the record, and stays the same when the record is sent again: drop a record whose id was seen before. It
    /// is `camera/start/number`: the UTC time at which the exporter started, and a number that rises by 1 from record
    /// to record, so that a gap shows how many records were lost.
    pub id: String,
    /// Wall clock time at which the frame reached the inference element: UTC, RFC 3339 with milliseconds.
    #[schemars(extend("format" = "date-time"))]
    pub time: String,
    /// The camera's name.
    pub camera: Cow<'a, str>,
    /// Frames that the inference element had seen before this one since it started.
    pub frame: u64,
    /// Presentation time of the frame in the stream's own time, nanoseconds; left out if it had none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "u64")]
    pub pts_ns: Option<u64>,
    /// Time since the pipeline began to play at which the frame is due, nanoseconds; left out if it is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "u64")]
    pub running_time_ns: Option<u64>,
    /// The analysed frame.
    pub source: Source,
    /// Whether the model looked at this very frame. Only a fresh or held record says anything by its objects: an absent
    /// one is empty because nothing looked.
    pub freshness: Freshness,
    /// The model that produced the objects; left out while none is loaded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Model<'a>")]
    pub model: Option<Model<'a>>,
    /// Models that looked at the objects and added to them, in the order of the stream; left out if there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub secondary_models: Vec<Model<'a>>,
    /// What was found, highest confidence first, then what was found inside other objects.
    pub objects: Vec<Object<'a>>,
    /// Classes of the whole frame, highest confidence first; left out if there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub classes: Vec<Class<'a>>,
    /// How the whole frame looks, as an object's `embedding`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", extend("contentEncoding" = "base64"))]
    pub embedding: Option<Cow<'a, str>>,
}

/// The analysed frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Source {
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
}

/// A model, down to the weights in use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Model<'a> {
    /// The bundle's name.
    pub name: Cow<'a, str>,
    /// The bundle's release; empty for a bare model file.
    pub release: Cow<'a, str>,
    /// SHA-256 of the weights, lower-case hexadecimal.
    pub digest: Cow<'a, str>,
}

/// One thing found on the frame.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Object<'a> {
    /// Unique within the record.
    pub id: u32,
    /// The class's label.
    pub label: Cow<'a, str>,
    /// The class, 0-based index into the bundle's labels.
    pub class_id: u32,
    /// How sure the model is, 5 decimals.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub confidence: f32,
    /// Where it is.
    #[serde(rename = "box")]
    pub bbox: Rect,
    /// Its identity over time; left out without a tracker.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Track")]
    pub track: Option<Track>,
    /// Secondary findings; left out if there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attributes: Vec<Attribute<'a>>,
    /// Skeleton points or landmarks in the model's order; left out if there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub keypoints: Vec<Keypoint>,
    /// Corners of an oriented box, in order around it; `box` is the upright box around them. Left out if it is upright.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "[Point; 4]")]
    pub corners: Option<[Point; 4]>,
    /// `id` of the object inside which this one was found; left out if it was found on the frame.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "u32")]
    pub parent: Option<u32>,
    /// Its silhouette; only if the exporter was asked for masks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Mask<'a>")]
    pub mask: Option<Mask<'a>>,
    /// How it looks, as base64 of 32-bit floats, little-endian: a vector of length 1, of which two of one model are compared by their dot
    /// product; only if the exporter was asked for embeddings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", extend("contentEncoding" = "base64"))]
    pub embedding: Option<Cow<'a, str>>,
}

/// A point of the frame; it may lie outside.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Point {
    /// Share of the frame's width, 5 decimals.
    pub x: f32,
    /// Share of the frame's height, 5 decimals.
    pub y: f32,
}

/// The part of an object's box that lies in the frame, as shares of the frame's width and height, 5 decimals.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Box")]
pub struct Rect {
    /// Left edge.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub x: f32,
    /// Top edge.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub y: f32,
    /// Width.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub w: f32,
    /// Height.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub h: f32,
}

/// An object's identity over time.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Track {
    /// From 1 upwards; never reused while the tracker runs.
    pub id: u64,
    /// How the identity stands on this frame.
    pub state: State,
    /// Stream time since the identity was first seen, milliseconds.
    pub age_ms: u64,
    /// Stream time since it was last matched with a detection, milliseconds.
    pub unseen_ms: u64,
    /// Speed of the box's centre.
    pub velocity: Velocity,
}

/// How an identity stands on a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// Seen too few times to be sure that it is one object.
    Tentative,
    /// Matched with a detection on this frame.
    Confirmed,
    /// Not matched on this frame: the box is predicted.
    Predicted,
}

/// A speed, 5 decimals.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Velocity {
    /// Frame widths per second, to the right.
    pub x: f32,
    /// Frame heights per second, downwards.
    pub y: f32,
}

/// A secondary finding about an object.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Attribute<'a> {
    /// What was asked, such as `colour`.
    pub name: Cow<'a, str>,
    /// The answer.
    pub label: Cow<'a, str>,
    /// How sure the model is, 5 decimals.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub confidence: f32,
}

/// A skeleton point or landmark; it may lie outside the frame.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Keypoint {
    /// Share of the frame's width, 5 decimals.
    pub x: f32,
    /// Share of the frame's height, 5 decimals.
    pub y: f32,
    /// How sure the model is that the point is there and visible, 5 decimals.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub confidence: f32,
}

/// A class of the whole frame.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Class<'a> {
    /// The class's label.
    pub label: Cow<'a, str>,
    /// The class, 0-based index into the bundle's labels.
    pub class_id: u32,
    /// How sure the model is, 5 decimals.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub confidence: f32,
}

/// What records say beyond the frame result: which camera, and which run of the exporter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Context {
    camera: String,
    run: String,
}

impl Context {
    /// Records of `camera` from an exporter that started at `started_utc_ns`, nanoseconds since 1970 UTC.
    pub fn new(camera: impl Into<String>, started_utc_ns: u64) -> Self {
        let run = timestamp(started_utc_ns).strftime("%Y%m%dT%H%M%S.%9fZ").to_string();
        Self { camera: camera.into(), run }
    }

    /// The camera's name.
    pub fn camera(&self) -> &str {
        &self.camera
    }

    /// The id of this exporter's record `number`.
    pub fn id(&self, number: u64) -> String {
        format!("{}/{}/{number}", self.camera, self.run)
    }
}

impl<'a> Record<'a> {
    /// The record of `result` with `content` of it, the exporter's record number `number` since it started.
    ///
    /// Numbers that are not finite become 0, so that the JSON is always valid. An object whose parent is left out has none.
    pub fn new(result: &'a FrameResult, context: &'a Context, number: u64, content: &Content<'_>) -> Self {
        let kept = |object: &&result::Object| (content.keep)(object);
        let objects = result.objects.iter().filter(kept).map(|object| {
            let mut made = Object::from_result(object, content);
            made.parent = parent(result, object, content);
            made
        });
        Self {
            schema: SCHEMA.into(),
            id: context.id(number),
            time: rfc3339(result.utc_ns),
            camera: context.camera.as_str().into(),
            frame: result.frame,
            pts_ns: result.pts_ns,
            running_time_ns: result.running_time_ns,
            source: Source { width: result.width, height: result.height },
            freshness: Freshness::from_result(result),
            model: result.model.as_deref().map(Model::from_result),
            secondary_models: result.secondary.iter().map(|m| Model::from_result(m)).collect(),
            objects: objects.collect(),
            classes: result
                .classes
                .iter()
                .map(|c| Class { label: (&*c.label).into(), class_id: c.class_id, confidence: share(c.confidence) })
                .collect(),
            embedding: result.embedding.as_ref().filter(|_| content.embeddings).map(|v| content::vector(v).into()),
        }
    }

    /// One line: the record as JSON in UTF-8, with its newline.
    pub fn to_line(&self) -> Vec<u8> {
        to_line(self, 256 + 160 * self.objects.len())
    }
}

impl<'a> Model<'a> {
    pub(super) fn from_result(model: &'a result::ModelId) -> Self {
        Self {
            name: model.name.as_str().into(),
            release: model.release.as_str().into(),
            digest: model.digest.as_str().into(),
        }
    }
}

impl<'a> Object<'a> {
    pub(super) fn from_result(object: &'a result::Object, content: &Content<'_>) -> Self {
        let bbox = object.bbox.clipped();
        Self {
            id: object.id,
            label: (&*object.label).into(),
            class_id: object.class_id,
            confidence: share(object.confidence),
            bbox: Rect { x: rounded(bbox.x), y: rounded(bbox.y), w: share(bbox.w), h: share(bbox.h) },
            track: object.track.map(Track::from),
            attributes: object
                .attributes
                .iter()
                .map(|a| Attribute {
                    name: (&*a.name).into(),
                    label: (&*a.label).into(),
                    confidence: share(a.confidence),
                })
                .collect(),
            keypoints: object
                .keypoints
                .iter()
                .map(|k| Keypoint { x: rounded(k.x), y: rounded(k.y), confidence: share(k.confidence) })
                .collect(),
            corners: object.corners.map(|c| c.map(|(x, y)| Point { x: rounded(x), y: rounded(y) })),
            parent: object.parent,
            mask: object.mask.as_deref().filter(|_| content.masks).map(Mask::from_result),
            embedding: object.embedding.as_ref().filter(|_| content.embeddings).map(|v| content::vector(v).into()),
        }
    }
}

impl From<result::Track> for Track {
    fn from(track: result::Track) -> Self {
        Self {
            id: track.id,
            state: match track.state {
                TrackState::Tentative => State::Tentative,
                TrackState::Confirmed => State::Confirmed,
                TrackState::Predicted => State::Predicted,
            },
            age_ms: milliseconds(track.age_ns),
            unseen_ms: milliseconds(track.unseen_ns),
            velocity: Velocity { x: rounded(track.velocity.0), y: rounded(track.velocity.1) },
        }
    }
}

/// The JSON Schema (draft 2020-12) of a record, pretty-printed, with a newline at the end.
pub fn json_schema() -> String {
    let schema = schemars::schema_for!(Record<'static>);
    format!("{:#}\n", schema.as_value())
}

/// The object in which this one was found, unless that is left out of the record.
pub(super) fn parent(result: &FrameResult, object: &result::Object, content: &Content<'_>) -> Option<u32> {
    object.parent.filter(|id| !result.objects.iter().any(|o| o.id == *id && !(content.keep)(o)))
}

/// One line: `value` as JSON in UTF-8, with its newline; `size` is about how long it will be.
pub(crate) fn to_line(value: &impl Serialize, size: usize) -> Vec<u8> {
    let mut line = Vec::with_capacity(size);
    // Serialising plain structs into memory cannot fail: no maps with odd keys, no I/O.
    if serde_json::to_writer(&mut line, value).is_err() {
        line.clear();
    }
    line.push(b'\n');
    line
}

/// A UTC time; every `u64` of nanoseconds since 1970 is one.
pub(super) fn timestamp(utc_ns: u64) -> Timestamp {
    Timestamp::from_nanosecond(i128::from(utc_ns)).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// A UTC time as records write it, cut to milliseconds.
pub(crate) fn rfc3339(utc_ns: u64) -> String {
    format!("{:.3}", timestamp(utc_ns))
}

/// A UTC time in names of files, cut to milliseconds: `20261126T101500.123`.
pub fn compact_time(utc_ns: u64) -> String {
    timestamp(utc_ns).strftime("%Y%m%dT%H%M%S.%3f").to_string()
}

/// Nearest milliseconds.
pub(super) fn milliseconds(ns: u64) -> u64 {
    ns.saturating_add(500_000) / 1_000_000
}

/// `value` with 5 decimals, which are a twentieth of a pixel at 4K; 0 if it is not finite.
pub(super) fn rounded(value: f32) -> f32 {
    if !value.is_finite() {
        return 0.0;
    }
    // The added zero turns -0 into 0.
    ((f64::from(value) * 1e5).round() / 1e5) as f32 + 0.0
}

/// As [`rounded`], in 0..1.
pub(super) fn share(value: f32) -> f32 {
    rounded(value).clamp(0.0, 1.0)
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use super::*;
    use crate::result::{AbsentReason, BBox, FrameClass, ModelId};

    fn result() -> FrameResult {
        let mut person =
            result::Object::new(3, 1, "Person".into(), 0.912_345_6, BBox { x: 0.1, y: 0.25, w: 1.0 / 3.0, h: 0.5 });
        person.track = Some(result::Track {
            id: 7,
            state: TrackState::Predicted,
            age_ns: 1_499_999_999,
            unseen_ns: 100_000_000,
            velocity: (0.012_345_6, -0.000_001),
        });
        person.attributes.push(result::Attribute { name: "colour".into(), label: "red".into(), confidence: 0.5 });
        person.keypoints.push(result::Keypoint { x: 1.25, y: -0.5, confidence: 0.75 });
        person.corners = Some([(0.1, 0.25), (0.4, 0.25), (0.4, 0.75), (-0.1, 0.75)]);
        person.parent = Some(1);
        let colours = ModelId { name: "colours".into(), release: "2".into(), digest: "cd".repeat(32) };
        FrameResult {
            frame: 42,
            pts_ns: Some(4_200_000_000),
            running_time_ns: Some(4_200_000_001),
            // date -u -d @1795428900 → 2026-11-23T10:15:00Z
            utc_ns: 1_795_428_900_123_456_789,
            width: 768,
            height: 576,
            model: Some(Arc::new(ModelId {
                name: "people".into(),
                release: "2026.11.1".into(),
                digest: "ab".repeat(32),
            })),
            freshness: result::Freshness::Held { age_ns: 100_400_000 },
            objects: vec![person],
            classes: vec![FrameClass { class_id: 2, label: "day".into(), confidence: 1.0 }],
            embedding: None,
            absent_since_ns: None,
            secondary: vec![Arc::new(colours)],
        }
    }

    fn context() -> Context {
        Context::new("gate", 1_795_428_900_000_000_005)
    }

    fn validator() -> jsonschema::Validator {
        let schema = serde_json::from_str(&json_schema()).unwrap();
        jsonschema::validator_for(&schema).unwrap()
    }

    fn assert_valid(line: &[u8]) {
        let value: serde_json::Value = serde_json::from_slice(line).unwrap();
        if let Err(e) = validator().validate(&value) {
            panic!("{e}\nin {value}");
        }
    }

    #[test]
    fn a_full_record_is_one_line_with_these_values() {
        let line = Record::new(&result(), &context(), 12, &Content::default()).to_line();
        let expected = concat!(
            r#"{"schema":"vigil/1","id":"gate/20261123T101500.000000005Z/12","time":"2026-11-23T10:15:00.123Z","#,
            r#""camera":"gate","frame":42,"pts_ns":4200000000,"running_time_ns":4200000001,"#,
            r#""source":{"width":768,"height":576},"freshness":{"state":"held","age_ms":100},"#,
            r#""model":{"name":"people","release":"2026.11.1","digest":""#,
            "abababababababababababababababababababababababababababababababab",
            r#""},"secondary_models":[{"name":"colours","release":"2","digest":""#,
            "cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd",
            r#""}],"objects":[{"id":3,"label":"Person","class_id":1,"confidence":0.91235,"#,
            r#""box":{"x":0.1,"y":0.25,"w":0.33333,"h":0.5},"#,
            r#""track":{"id":7,"state":"predicted","age_ms":1500,"unseen_ms":100,"velocity":{"x":0.01235,"y":0.0}},"#,
            r#""attributes":[{"name":"colour","label":"red","confidence":0.5}],"#,
            r#""keypoints":[{"x":1.25,"y":-0.5,"confidence":0.75}],"#,
            r#""corners":[{"x":0.1,"y":0.25},{"x":0.4,"y":0.25},{"x":0.4,"y":0.75},{"x":-0.1,"y":0.75}],"parent":1}],"#,
            r#""classes":[{"label":"day","class_id":2,"confidence":1.0}]}"#,
            "\n",
        );
        assert_eq!(String::from_utf8(line).unwrap(), expected);
    }

    #[test]
    fn records_match_the_schema_and_read_back() {
        let mut absent = FrameResult { objects: vec![], classes: vec![], model: None, ..result() };
        absent.pts_ns = None;
        absent.running_time_ns = None;
        // date -u -d @1795428896 → 2026-11-23T10:14:56Z
        let times = [(None, None), (Some(1_795_428_896_250_999_999), Some("2026-11-23T10:14:56.250Z"))];
        let every = AbsentReason::ALL.iter().flat_map(|reason| times.map(|time| (*reason, time)));
        for (number, (reason, (since_ns, since))) in (0..).zip(every) {
            (absent.freshness, absent.absent_since_ns) = (result::Freshness::Absent(reason), since_ns);
            let context = context();
            let record = Record::new(&absent, &context, number, &Content::default());
            let line = record.to_line();
            assert_valid(&line);
            let value: serde_json::Value = serde_json::from_slice(&line).unwrap();
            let mut expected = serde_json::json!({"state": "absent", "reason": reason.as_str()});
            if let Some(since) = since {
                expected["since"] = since.into();
            }
            assert_eq!(value["freshness"], expected);
            assert_eq!(value["objects"], serde_json::json!([]));
            assert!(value.get("pts_ns").is_none() && value.get("model").is_none() && value.get("classes").is_none());
            assert_eq!(serde_json::from_slice::<Record>(&line).unwrap(), record);
        }
        let (full, context) = (result(), context());
        let record = Record::new(&full, &context, 1, &Content::default());
        let line = record.to_line();
        assert_valid(&line);
        assert_eq!(serde_json::from_slice::<Record>(&line).unwrap(), record);
    }

    #[test]
    fn values_from_a_broken_model_still_make_a_valid_record() {
        let mut broken = result();
        for (i, v) in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 1e30, -1e30].into_iter().enumerate() {
            let mut o = result::Object::new(i as u32, 0, "\"\n\u{1f642}".into(), v, BBox { x: v, y: -v, w: v, h: v });
            o.keypoints.push(result::Keypoint { x: v, y: v, confidence: v });
            o.corners = Some([(v, v); 4]);
            broken.objects.push(o);
        }
        broken.utc_ns = u64::MAX;
        broken.absent_since_ns = Some(u64::MAX);
        let line = Record::new(&broken, &context(), u64::MAX, &Content::default()).to_line();
        assert_eq!(line.iter().filter(|&&b| b == b'\n').count(), 1);
        assert_valid(&line);
    }

    #[test]
    fn a_box_is_written_as_far_as_it_lies_in_the_frame() {
        let o = result::Object::new(0, 0, "a".into(), 0.5, BBox { x: -0.25, y: 0.75, w: 0.5, h: 0.5 });
        assert_eq!(Object::from_result(&o, &Content::default()).bbox, Rect { x: 0.0, y: 0.75, w: 0.25, h: 0.25 });
    }

    #[test]
    fn the_schema_refuses_what_records_must_not_be() {
        let good: serde_json::Value =
            serde_json::from_slice(&Record::new(&result(), &context(), 0, &Content::default()).to_line()).unwrap();
        let validator = validator();
        for (pointer, bad) in [
            ("/schema", serde_json::json!("vigil/2")),
            ("/frame", serde_json::json!(-1)),
            ("/freshness", serde_json::json!({"state": "held"})),
            ("/freshness", serde_json::json!({"state": "absent", "reason": "tired"})),
            ("/freshness", serde_json::json!({"state": "absent", "reason": "starting", "since": null})),
            ("/objects", serde_json::json!(null)),
            ("/objects/0/confidence", serde_json::json!(1.5)),
            ("/objects/0/box/x", serde_json::json!(null)),
            ("/objects/0/track/state", serde_json::json!("lost")),
        ] {
            let mut value = good.clone();
            *value.pointer_mut(pointer).unwrap() = bad.clone();
            assert!(!validator.is_valid(&value), "{pointer} = {bad}");
        }
    }

    #[test]
    fn a_record_is_a_result_again() {
        for freshness in [
            result::Freshness::Fresh,
            result::Freshness::Held { age_ns: 100_000_000 },
            result::Freshness::Absent(AbsentReason::Deadline),
        ] {
            let full = FrameResult { freshness, ..result() };
            let line = Record::new(&full, &context(), 1, &Content::default()).to_line();
            let back = serde_json::from_slice::<Record>(&line).unwrap().to_result();
            assert_eq!(back.freshness, freshness);
            let context = context();
            let again = Record::new(&back, &context, 1, &Content::default());
            let mut expected = serde_json::from_slice::<Record>(&line).unwrap();
            expected.time = again.time.clone();
            assert_eq!(again, expected);
        }
    }

    #[test]
    fn the_published_schema_is_up_to_date() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/schema/vigil-1.record.json");
        assert_eq!(
            std::fs::read_to_string(path).unwrap_or_default(),
            json_schema(),
            "run: cargo run --bin vigil -- schema record > docs/schema/vigil-1.record.json"
        );
    }

    #[test]
    fn every_example_in_the_documentation_is_a_valid_record() {
        let page = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/records.md")).unwrap();
        let mut examples = 0;
        for block in page.split("```json\n").skip(1) {
            let text = block.split("```").next().unwrap();
            if text.contains(crate::export::event::SCHEMA) {
                let event: serde_json::Value = serde_json::from_str(text).unwrap();
                let schema = serde_json::from_str(&crate::export::event::json_schema()).unwrap();
                jsonschema::validator_for(&schema).unwrap().validate(&event).unwrap();
                continue;
            }
            assert_valid(text.as_bytes());
            serde_json::from_str::<Record>(text).unwrap();
            examples += 1;
        }
        assert!(examples >= 3, "only {examples} examples found");
    }
}
