use super::*;
use crate::result::{AbsentReason, Attribute, BBox, Freshness, Track, TrackState};

fn frame() -> FrameResult {
    let mut car = Object::new(3, 2, "a|car".into(), 0.75, BBox { x: 0.25, y: 0.5, w: 0.125, h: 0.75 });
    let track = Track { id: 957, state: TrackState::Confirmed, age_ns: 0, unseen_ns: 0, velocity: (0.0, 0.0) };
    car.track = Some(track);
    car.attributes.push(Attribute { name: "colour".into(), label: "blue".into(), confidence: 0.5 });
    car.attributes.push(Attribute { name: "x".into(), label: "taken".into(), confidence: 0.5 });
    let mut plate = Object::new(4, 9, "plate".into(), f32::NAN, BBox { x: 0.25, y: 0.5, w: 0.25, h: 0.25 });
    plate.parent = Some(3);
    FrameResult {
        frame: 42,
        pts_ns: Some(4_200_000_000),
        utc_ns: 1_795_428_904_217_000_000,
        freshness: Freshness::Fresh,
        objects: vec![car, plate],
        ..FrameResult::absent(AbsentReason::Skipped, (800, 600))
    }
}

fn value(format: Format, content: &Content<'_>) -> Value {
    let line = format.line(&frame(), &Context::new("gate", 0), 5, content);
    assert_eq!(line.iter().filter(|byte| **byte == b'\n').count(), 1);
    serde_json::from_slice(&line).unwrap()
}

#[test]
fn deepstreams_minimal_schema() {
    let expected = json!({
        "version": "4.0",
        "id": 42,
        "@timestamp": "2026-11-23T10:15:04.217Z",
        "sensorId": "gate",
        "objects": [
            "957|200.00|300.00|300.00|600.00|a/car|#|blue|taken|0.75000",
            "18446744073709551615|200.00|300.00|400.00|450.00|plate|#|0.00000",
        ],
    });
    assert_eq!(value(Format::Deepstream, &Content::default()), expected);
}

#[test]
fn dl_streamers_schema() {
    let expected = json!({
        "objects": [
            {
                "detection": {
                    "bounding_box": { "x_min": 0.25, "y_min": 0.5, "x_max": 0.375, "y_max": 1.0 },
                    "confidence": 0.75, "label": "a|car", "label_id": 2,
                },
                "x": 200, "y": 300, "w": 100, "h": 300, "region_id": 3, "roi_type": "a|car", "id": 957,
                "colour": { "label": "blue", "confidence": 0.5 },
            },
            {
                "detection": {
                    "bounding_box": { "x_min": 0.25, "y_min": 0.5, "x_max": 0.5, "y_max": 0.75 },
                    "confidence": 0.0, "label": "plate", "label_id": 9,
                },
                "x": 200, "y": 300, "w": 200, "h": 150, "region_id": 4, "roi_type": "plate", "parent_id": 3,
            },
        ],
        "resolution": { "height": 600, "width": 800 },
        "source": "gate",
        "tags": {},
        "timestamp": 4_200_000_000_u64,
    });
    assert_eq!(value(Format::Dlstreamer, &Content::default()), expected);
}

#[test]
fn objects_are_chosen_in_every_format() {
    let content = Content { keep: &|object| object.id == 4, ..Content::default() };
    for (format, expected) in [(Format::Vigil, 1), (Format::Deepstream, 1), (Format::Dlstreamer, 1)] {
        let value = value(format, &content);
        assert_eq!(value["objects"].as_array().unwrap().len(), expected);
        assert!(value["objects"][0].get("parent").is_none(), "its parent is not there: {value}");
    }
}
