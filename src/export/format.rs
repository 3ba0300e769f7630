//! Records in the formats of other products, for consumers that exist. They hold less than `vigil/1`: no freshness, no record id.

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::record::{Content, Context, Record, parent, rfc3339, to_line};
use crate::result::{FrameResult, Object};

/// What a frame's record looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// Schema `vigil/1`.
    #[default]
    Vigil,
    /// The minimal schema of DeepStream's `nvmsgconv`: `id` is the frame's number, each object a text of
    /// `identity|left|top|right|bottom|label|#|attribute…|confidence` in pixels.
    Deepstream,
    /// What DL Streamer's `gvametaconvert` writes.
    Dlstreamer,
}

impl Format {
    /// The record of `result` as one line with its newline; `number` as in [`Record::new`].
    pub fn line(self, result: &FrameResult, context: &Context, number: u64, content: &Content<'_>) -> Vec<u8> {
        match self {
            Self::Vigil => Record::new(result, context, number, content).to_line(),
            Self::Deepstream => to_line(&deepstream(result, context, content), 128 + 64 * result.objects.len()),
            Self::Dlstreamer => to_line(&dlstreamer(result, context, content), 128 + 256 * result.objects.len()),
        }
    }
}

/// What stands for an object without an identity: DeepStream's `UNTRACKED_OBJECT_ID`.
const UNTRACKED: u64 = u64::MAX;

#[derive(Serialize)]
struct Minimal<'a> {
    version: &'static str,
    id: u64,
    #[serde(rename = "@timestamp")]
    timestamp: String,
    #[serde(rename = "sensorId")]
    sensor: &'a str,
    objects: Vec<String>,
}

fn deepstream<'a>(result: &FrameResult, context: &'a Context, content: &Content<'_>) -> Minimal<'a> {
    let object = |object: &Object| {
        let [left, top, right, bottom] = edges(object, result);
        let id = object.track.map_or(UNTRACKED, |track| track.id);
        let mut text = format!("{id}|{left:.2}|{top:.2}|{right:.2}|{bottom:.2}|{}", field(&object.label));
        text += "|#";
        for attribute in &object.attributes {
            text += &format!("|{}", field(&attribute.label));
        }
        text + &format!("|{:.5}", finite(object.confidence))
    };
    Minimal {
        version: "4.0",
        id: result.frame,
        timestamp: rfc3339(result.utc_ns),
        sensor: context.camera(),
        objects: result.objects.iter().filter(|o| (content.keep)(o)).map(object).collect(),
    }
}

/// A label without the character that separates fields.
fn field(label: &str) -> String {
    label.replace('|', "/")
}

fn dlstreamer(result: &FrameResult, context: &Context, content: &Content<'_>) -> Value {
    let object = |object: &Object| {
        let [left, top, right, bottom] = edges(object, result);
        let b = object.bbox.clipped();
        let mut value = json!({
            "detection": {
                "bounding_box": { "x_min": finite(b.x), "y_min": finite(b.y), "x_max": finite(b.x2()), "y_max": finite(b.y2()) },
                "confidence": finite(object.confidence),
                "label": &*object.label,
                "label_id": object.class_id,
            },
            "x": left.round() as i64,
            "y": top.round() as i64,
            "w": (right.round() - left.round()) as i64,
            "h": (bottom.round() - top.round()) as i64,
            "region_id": object.id,
            "roi_type": &*object.label,
        });
        if let Some(fields) = value.as_object_mut() {
            fields.extend(object.track.map(|track| ("id".to_owned(), track.id.into())));
            fields.extend(parent(result, object, content).map(|parent| ("parent_id".to_owned(), parent.into())));
            for attribute in &object.attributes {
                let answer = json!({ "label": &*attribute.label, "confidence": finite(attribute.confidence) });
                // What the object itself is called so stays as it is.
                fields.entry(attribute.name.to_string()).or_insert(answer);
            }
        }
        value
    };
    let objects: Vec<Value> = result.objects.iter().filter(|o| (content.keep)(o)).map(object).collect();
    let mut record = Map::new();
    record.insert("objects".to_owned(), objects.into());
    record.insert("resolution".to_owned(), json!({ "height": result.height, "width": result.width }));
    record.insert("source".to_owned(), context.camera().into());
    record.insert("tags".to_owned(), json!({}));
    record.insert("timestamp".to_owned(), result.pts_ns.or(result.running_time_ns).unwrap_or(result.utc_ns).into());
    record.into()
}

/// Left, top, right and bottom edge of an object's box in the frame, pixels.
fn edges(object: &Object, result: &FrameResult) -> [f64; 4] {
    let b = object.bbox.clipped();
    let (w, h) = (f64::from(result.width), f64::from(result.height));
    [finite(b.x) * w, finite(b.y) * h, finite(b.x2()) * w, finite(b.y2()) * h]
}

/// A number that JSON can hold, with 5 decimals.
fn finite(value: f32) -> f64 {
    if value.is_finite() { (f64::from(value) * 1e5).round() / 1e5 } else { 0.0 }
}

#[cfg(test)]
#[path = "format_tests.rs"]
mod tests;
