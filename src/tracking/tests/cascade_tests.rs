//! What secondary models found: carried on, moved, and still inside the right object.

use super::*;
use crate::result::Attribute;

fn attribute(name: &str, label: &str) -> Attribute {
    Attribute { name: name.into(), label: label.into(), confidence: 0.8 }
}

fn labels(o: &Object) -> Vec<(&str, &str)> {
    o.attributes.iter().map(|a| (&*a.name, &*a.label)).collect()
}

#[test]
fn findings_stay_on_the_object_until_they_are_too_old() {
    let mut t = Tracker::new(TrackerConfig { carry_ns: SECOND, ..TrackerConfig::default() });
    let at = |x: f32| object(0, 0.9, x, 0.4);
    let skeleton: Option<Arc<[(u16, u16)]>> = Some([(0u16, 1u16)].into());
    let full = Object {
        attributes: vec![attribute("color", "red"), attribute("size", "big")],
        keypoints: vec![Keypoint { x: 0.32, y: 0.5, confidence: 0.7 }],
        skeleton: skeleton.clone(),
        embedding: Some([1.0f32, 0.0].into()),
        ..at(0.3)
    };
    update(&mut t, 0, vec![full]);
    let found = update(&mut t, 500 * MS, vec![at(0.31)]);
    assert_eq!(labels(&found[0]), [("color", "red"), ("size", "big")]);
    let k = found[0].keypoints[0];
    assert!((k.x - 0.33).abs() < 1e-6 && k.y == 0.5 && k.confidence == 0.7, "{k:?} did not move with the box");
    assert_eq!(found[0].skeleton, skeleton);
    assert_eq!(found[0].embedding.as_deref(), Some([1.0f32, 0.0].as_slice()));
    // One is asked again: the other stays, each as long as it was found.
    let again = Object { attributes: vec![attribute("size", "small")], ..at(0.32) };
    let found = update(&mut t, SECOND, vec![again]);
    assert_eq!(labels(&found[0]), [("size", "small"), ("color", "red")]);
    let found = update(&mut t, SECOND + MS, vec![at(0.32)]);
    assert_eq!(labels(&found[0]), [("size", "small")]);
    assert!(found[0].keypoints.is_empty() && found[0].embedding.is_none());
    assert_eq!(labels(&update(&mut t, 2 * SECOND, vec![at(0.32)])[0]), [("size", "small")]);
    assert_eq!(labels(&update(&mut t, 2 * SECOND + MS, vec![at(0.32)])[0]), []);
}

#[test]
fn nothing_is_carried_if_so_set_nor_to_others() {
    let mut t = Tracker::new(TrackerConfig { carry_ns: 0, ..TrackerConfig::default() });
    let red = || Object { attributes: vec![attribute("color", "red")], ..object(0, 0.9, 0.3, 0.4) };
    update(&mut t, 0, vec![red()]);
    assert_eq!(labels(&update(&mut t, 0, vec![object(0, 0.9, 0.3, 0.4)])[0]), []);
    let mut t = tracker();
    update(&mut t, 0, vec![red()]);
    let found = update(&mut t, 40 * MS, vec![object(0, 0.9, 0.3, 0.4), object(0, 0.8, 0.6, 0.4)]);
    assert_eq!((labels(&found[0]), labels(&found[1])), (vec![("color", "red")], vec![]));
    // A mask is of its own frame only.
    let mask = Some(Arc::new(Mask { width: 1, height: 1, data: vec![9] }));
    update(&mut t, 80 * MS, vec![Object { mask, ..red() }]);
    assert_eq!(update(&mut t, 120 * MS, vec![red()])[0].mask, None);
}

#[test]
fn corners_and_embedding_of_the_last_match_are_predicted() {
    let mut t = tracker();
    // A diamond that goes right by 0.1 frame widths per second.
    let diamond = |now: u64| {
        let x = 0.3 + now as f32 / SECOND as f32 * 0.1;
        let corners = Some([(x + 0.025, 0.4), (x + 0.05, 0.5), (x + 0.025, 0.6), (x, 0.5)]);
        Object { corners, embedding: Some([now as f32].into()), ..object(0, 0.9, x, 0.4) }
    };
    for frame in 0..=25 {
        update(&mut t, frame * 40 * MS, vec![diamond(frame * 40 * MS)]);
    }
    let found = predict(&mut t, 1500 * MS);
    let (is, should) = (found[0].corners.unwrap(), diamond(1500 * MS).corners.unwrap());
    for (a, b) in is.iter().zip(&should) {
        assert!((a.0 - b.0).abs() < 0.003 && (a.1 - b.1).abs() < 0.003, "{is:?} instead of {should:?}");
    }
    assert_eq!(found[0].embedding.as_deref(), Some([1e9f32].as_slice()), "not that of the last match");
}

/// A person at `x` with id 10·n, and the face in it.
fn person_and_face(n: u32, x: f32) -> [Object; 2] {
    let person = Object { id: 10 * n, ..object(0, 0.9 - 0.1 * n as f32, x, 0.3) };
    let bbox = BBox { x: x + 0.015, y: 0.31, w: 0.02, h: 0.04 };
    let face = Object { id: 10 * n + 1, parent: Some(10 * n), bbox, label: "face".into(), ..person.clone() };
    [person, face]
}

/// For each face the identity of the object that its parent points to; 0 for none.
fn parents(objects: &[Object]) -> Vec<(u64, u64)> {
    let faces = objects.iter().filter(|o| &*o.label == "face");
    let parent =
        |f: &Object| f.parent.and_then(|p| objects.iter().find(|o| o.id == p)).map_or(0, |o| o.track.unwrap().id);
    faces.map(|f| (f.track.unwrap().id, parent(f))).collect()
}

#[test]
fn objects_in_objects_stay_in_the_right_one() {
    let mut t = Tracker::new(TrackerConfig { coast_ns: SECOND, ..TrackerConfig::default() });
    let both = |x: f32| [person_and_face(1, x), person_and_face(2, x + 0.3)].concat();
    let first = update(&mut t, 0, both(0.2));
    let expected = parents(&first);
    assert_eq!(expected.iter().map(|(_, person)| *person > 0).collect::<Vec<_>>(), [true, true]);
    assert_ne!(expected[0].1, expected[1].1);
    update(&mut t, 40 * MS, both(0.2));
    // Not analysed: new ids, same families.
    let predicted = predict(&mut t, 80 * MS);
    assert_eq!(predicted.iter().map(|o| o.id).collect::<Vec<_>>(), [0, 1, 2, 3]);
    let mut families = parents(&predicted);
    families.sort_unstable();
    let mut sorted = expected.clone();
    sorted.sort_unstable();
    assert_eq!(families, sorted);
    // The second person is hidden but her face is seen, the first one's face is hidden: predictions are appended, and
    // the face that was hidden is in the person that was seen, the other has no parent on its own frame.
    let [person, _] = person_and_face(1, 0.2);
    let [_, mut face] = person_and_face(2, 0.5);
    face.parent = None;
    let found = update(&mut t, 120 * MS, vec![person, face]);
    assert!(found.iter().all(|o| o.parent != Some(o.id)));
    let of_first = parents(&found).into_iter().find(|(f, _)| *f == expected[0].0);
    assert_eq!(of_first, Some(expected[0]));
}

#[test]
fn a_face_is_never_taken_for_a_person() {
    // The face model counts its classes from 0 too; and even where classes do not count, what was found in an object
    // does not go on as one that was found on the frame.
    for class_aware in [true, false] {
        let mut t = Tracker::new(TrackerConfig { class_aware, ..TrackerConfig::default() });
        update(&mut t, 0, vec![object(0, 0.9, 0.3, 0.4)]);
        let inner = Object { parent: Some(5), label: "face".into(), ..object(0, 0.9, 0.3, 0.4) };
        assert_eq!(ids(&update(&mut t, 40 * MS, vec![inner])), [2]);
    }
    let mut t = tracker();
    update(&mut t, 0, vec![object(0, 0.9, 0.3, 0.4)]);
    let other = Object { label: "another".into(), ..object(0, 0.9, 0.3, 0.4) };
    assert_eq!(ids(&update(&mut t, 40 * MS, vec![other])), [2], "same class id, another model's class");
}

#[test]
fn a_parent_that_is_removed_leaves_no_dangling_id() {
    let mut t = Tracker::new(TrackerConfig { confirmed_only: true, ..TrackerConfig::default() });
    let family = || person_and_face(1, 0.2).to_vec();
    update(&mut t, 0, family());
    let [mut person, face] = person_and_face(1, 0.2);
    person.confidence = 0.05;
    let found = update(&mut t, 40 * MS, vec![person, face]);
    assert_eq!(found.iter().map(|o| (o.id, o.parent)).collect::<Vec<_>>(), [(11, None)]);
    let found = update(&mut t, 80 * MS, family());
    assert_eq!(found.iter().map(|o| (o.id, o.parent)).collect::<Vec<_>>(), [(10, None), (11, Some(10))]);
}
