//! Properties that are changed while frames flow.

use std::sync::Barrier;

use super::*;

fn object(label: &str, confidence: f32) -> Object {
    Object::new(0, label.len() as u32, label.into(), confidence, BBox { x: 0.25, y: 0.25, w: 0.5, h: 0.5 })
}

/// Ends the stream; the records of the file.
fn records(gate: &mut Camera, path: &Path) -> Vec<Value> {
    assert!(gate.harness.push_event(gst::event::Eos::new()));
    let text = std::fs::read_to_string(path).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn a_property_that_is_changed_repeats_no_event() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out.jsonl");
    let uri = format!("file:{}", out.display());
    let mut gate = Camera::start("gate", &uri, folder.path(), &[("records", "frames+events")]);
    let person = || {
        let track = Track { id: 7, state: TrackState::Confirmed, age_ns: 0, unseen_ns: 0, velocity: (0.0, 0.0) };
        Object { track: Some(track), ..object("Person", 0.75) }
    };
    let changes = [
        ("masks", "true"),
        ("min-confidence", "0.5"),
        ("thumbnail-size", "2000"),
        ("classes", "Person"),
        ("max-rate", "5"),
        ("keyframe-interval", "1000000000"),
        ("records", "changes+events"),
        ("embeddings", "true"),
    ];
    for (property, value) in changes {
        gate.pass_with(vec![person()]);
        gate.element.set_property_from_str(property, value);
    }
    gate.pass_with(vec![person()]);
    gate.pass_with(vec![]);
    let all = records(&mut gate, &out);
    let events: Vec<&str> = all.iter().filter_map(|record| record["event"].as_str()).collect();
    assert_eq!(events, ["object-appeared", "object-left"]);
    gate.stop();
}

#[test]
fn of_two_properties_that_are_set_at_once_both_hold() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out.jsonl");
    let mut gate = Camera::start("gate", &format!("file:{}", out.display()), folder.path(), &[]);
    let element = gate.element.clone();
    for _ in 0..500 {
        element.set_property("classes", None::<&str>);
        element.set_property("min-confidence", 0.0);
        let both = Barrier::new(2);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                both.wait();
                element.set_property("classes", "Car");
            });
            scope.spawn(|| {
                both.wait();
                element.set_property("min-confidence", 0.9);
            });
        });
        // The one is no car, the other not sure.
        gate.pass_with(vec![object("Person", 0.95), object("Car", 0.5)]);
    }
    let all = records(&mut gate, &out);
    assert_eq!(all.len(), 500);
    let wrong = all.iter().filter(|record| record["objects"].as_array().is_some_and(|objects| !objects.is_empty()));
    assert_eq!(wrong.count(), 0, "records of frames with settings of before");
    gate.stop();
}
