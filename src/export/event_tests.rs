use std::path::Path;

use super::*;
use crate::result::{self, AbsentReason, BBox, Freshness};

fn frame() -> FrameResult {
    let bbox = BBox { x: 0.25, y: 0.5, w: 0.125, h: 0.25 };
    FrameResult {
        frame: 42,
        pts_ns: Some(4_200_000_000),
        running_time_ns: Some(4_200_000_000),
        utc_ns: 1_795_428_904_217_000_000,
        freshness: Freshness::Fresh,
        objects: vec![result::Object::new(3, 0, "Person".into(), 0.75, bbox)],
        ..FrameResult::absent(AbsentReason::Skipped, (768, 576))
    }
}

fn validator() -> jsonschema::Validator {
    jsonschema::validator_for(&serde_json::from_str(&json_schema()).unwrap()).unwrap()
}

#[test]
fn every_happening_is_a_valid_event() {
    let (result, context) = (frame(), Context::new("gate", 1_795_428_900_000_000_000));
    let happenings = [
        (Happening::Appeared { index: 0 }, "object-appeared"),
        (Happening::Left { track: 3, label: "Person".into(), class_id: 0, stay_ns: 5_000_000_000 }, "object-left"),
        (Happening::CountChanged { label: "Person".into(), class_id: 0, from: 1, to: 2 }, "count-changed"),
        (Happening::AnalysisLost { reason: AbsentReason::EngineRestarting }, "analysis-lost"),
        (Happening::AnalysisBack { away_ns: 1_000_000_000 }, "analysis-back"),
    ];
    for (number, (happening, word)) in (0..).zip(&happenings) {
        let picture = matches!(happening, Happening::Appeared { .. }).then(|| Thumbnail::new((8, 9), &[255, 216]));
        let event = Event::new(happening, &result, &context, number, &Content::default(), picture).unwrap();
        let line = event.to_line();
        let value: serde_json::Value = serde_json::from_slice(&line).unwrap();
        validator().validate(&value).unwrap_or_else(|e| panic!("{value}: {e}"));
        assert_eq!(value["event"], *word);
        assert_eq!(value["id"], format!("gate/20261123T101500.000000000Z/{number}"));
        assert_eq!(value["alarm"], *word == "analysis-lost");
        assert_eq!(serde_json::from_slice::<Event>(&line).unwrap(), event);
    }
}

#[test]
fn an_object_that_is_not_there_is_no_event() {
    let (result, context) = (frame(), Context::new("gate", 0));
    let appeared = Happening::Appeared { index: 7 };
    assert_eq!(Event::new(&appeared, &result, &context, 0, &Content::default(), None), None);
}

#[test]
fn the_published_schema_is_up_to_date() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/schema/vigil-1.event.json");
    assert_eq!(
        std::fs::read_to_string(path).unwrap_or_default(),
        json_schema(),
        "run: cargo run --bin vigil -- schema event > docs/schema/vigil-1.event.json"
    );
}
