//! The model is replaced while identities live.

use super::*;
use crate::result::{Attribute, ModelId};

fn model(name: &str, release: &str) -> Arc<ModelId> {
    Arc::new(ModelId { name: name.into(), release: release.into(), digest: format!("{name} {release}") })
}

fn labelled(class_id: u32, label: &str, x: f32) -> Object {
    Object { label: label.into(), ..object(class_id, 0.9, x, 0.4) }
}

/// A result of `primary` and of models that looked at its objects.
fn made(t: &mut Tracker, now: u64, primary: &str, secondary: &[Arc<ModelId>], objects: Vec<Object>) -> Vec<Object> {
    t.made_by(Some(&model("detector", primary)), secondary);
    update(t, now, objects)
}

#[test]
fn identities_go_on_when_the_new_model_numbers_its_classes_otherwise() {
    let mut t = tracker();
    let way = |frame: u64| 0.004 * frame as f32;
    for frame in 0..10 {
        let objects = vec![labelled(0, "person", 0.1 + way(frame)), labelled(2, "car", 0.6 - way(frame))];
        assert_eq!(ids(&made(&mut t, frame * 40 * MS, "1", &[], objects)), [1, 2]);
    }
    let motion = t.tracks[0].motion;
    for frame in 10..20 {
        let objects = vec![labelled(5, "person", 0.1 + way(frame)), labelled(0, "car", 0.6 - way(frame))];
        let found = made(&mut t, frame * 40 * MS, "2", &[], objects);
        assert_eq!(ids(&found), [1, 2], "frame {frame}");
        assert_eq!((found[0].class_id, found[1].class_id), (5, 0));
    }
    let speed = t.tracks[0].motion.velocity().0;
    assert!((speed - motion.velocity().0).abs() < 0.02 && speed > 0.1, "the motion goes on: {speed}");
    assert_eq!(t.counts().created, 2);
}

#[test]
fn a_class_number_with_another_meaning_is_another_object() {
    let mut t = tracker();
    made(&mut t, 0, "1", &[], vec![labelled(0, "person", 0.3)]);
    assert_eq!(ids(&made(&mut t, 40 * MS, "2", &[], vec![labelled(0, "bicycle", 0.3)])), [2]);
    // Without labels the number is all there is.
    let mut t = tracker();
    update(&mut t, 0, vec![labelled(0, "", 0.3)]);
    assert_eq!(ids(&update(&mut t, 40 * MS, vec![labelled(1, "", 0.3)])), [2]);
    assert_eq!(ids(&update(&mut t, 80 * MS, vec![labelled(0, "", 0.3)])), [1]);
}

#[test]
fn an_identity_of_a_class_that_the_new_model_lacks_ends_as_lost() {
    let mut t = Tracker::new(TrackerConfig { coast_ns: 100 * MS, ..TrackerConfig::default() });
    let both = vec![labelled(0, "person", 0.1), labelled(1, "dog", 0.6)];
    assert_eq!(ids(&made(&mut t, 0, "1", &[], both)), [1, 2]);
    let one = || vec![labelled(0, "person", 0.1)];
    let found = made(&mut t, 40 * MS, "2", &[], one());
    assert_eq!(ids(&found), [1, 2]);
    assert_eq!((&*found[1].label, found[1].track.unwrap().state), ("dog", TrackState::Predicted));
    assert_eq!((t.counts().live, t.counts().lost), (2, 1));
    assert_eq!(ids(&made(&mut t, 140 * MS, "2", &[], one())), [1]);
    assert_eq!(t.counts().lost, 1);
    made(&mut t, 1040 * MS, "2", &[], one());
    made(&mut t, 2 * SECOND + MS, "2", &[], one());
    assert_eq!((t.counts().live, t.counts().lost), (1, 0));
}

fn attributes(o: &Object) -> Vec<(&str, &str)> {
    o.attributes.iter().map(|a| (&*a.name, &*a.label)).collect()
}

/// An object with all that second models find.
fn full() -> Object {
    let attribute = |name: &str, label: &str| Attribute { name: name.into(), label: label.into(), confidence: 0.8 };
    Object {
        attributes: vec![attribute("colour", "red"), attribute("make", "saab"), attribute("colour", "dark")],
        keypoints: vec![Keypoint { x: 0.32, y: 0.5, confidence: 0.7 }],
        skeleton: Some([(0u16, 0u16)].into()),
        embedding: Some([1.0f32, 0.0].into()),
        ..labelled(0, "car", 0.3)
    }
}

#[test]
fn what_an_old_second_model_said_goes_with_it_and_the_rest_stays() {
    let second = |release: &str| [model("make", "1"), model("colour", release)];
    let mut t = Tracker::new(TrackerConfig { coast_ns: SECOND, ..TrackerConfig::default() });
    made(&mut t, 0, "1", &second("1"), vec![full()]);
    let bare = || vec![labelled(0, "car", 0.3)];
    let found = made(&mut t, 40 * MS, "1", &second("1"), bare());
    assert_eq!(attributes(&found[0]).len(), 3);
    let found = made(&mut t, 80 * MS, "1", &second("2"), bare());
    assert_eq!(attributes(&found[0]), [("make", "saab")]);
    assert_eq!((found[0].keypoints.len(), &found[0].skeleton, &found[0].embedding), (0, &None, &None));
    // Nor does a prediction bring it back, and what stays keeps its age.
    let found = made(&mut t, 120 * MS, "1", &second("2"), vec![]);
    assert_eq!((attributes(&found[0]), found[0].keypoints.len()), (vec![("make", "saab")], 0));
    assert_eq!(attributes(&made(&mut t, 2 * SECOND, "1", &second("2"), bare())[0]), [("make", "saab")]);
    assert_eq!(attributes(&made(&mut t, 2 * SECOND + MS, "1", &second("2"), bare())[0]), []);
}

#[test]
fn a_second_model_that_is_only_missing_for_a_while_is_not_replaced() {
    let [make, colour] = [model("make", "1"), model("colour", "1")];
    let mut t = tracker();
    made(&mut t, 0, "1", &[make.clone(), colour.clone()], vec![full()]);
    let bare = || vec![labelled(0, "car", 0.3)];
    for (i, there) in [vec![], vec![make.clone()], vec![colour.clone(), make.clone()]].into_iter().enumerate() {
        let found = made(&mut t, (i as u64 + 1) * 40 * MS, "1", &there, bare());
        assert_eq!((found[0].attributes.len(), found[0].embedding.is_some()), (3, true), "{there:?}");
    }
    // One comes in its place, under another name.
    let found = made(&mut t, 160 * MS, "1", &[make, model("paint", "1")], bare());
    assert_eq!((attributes(&found[0]), &found[0].embedding), (vec![("make", "saab")], &None));
}

#[test]
fn the_first_model_takes_its_keypoints_with_it_and_nothing_else() {
    let second = [model("make", "1"), model("colour", "1")];
    let mut t = tracker();
    made(&mut t, 0, "1", &second, vec![full()]);
    let found = made(&mut t, 40 * MS, "2", &second, vec![labelled(3, "car", 0.3)]);
    assert_eq!((ids(&found), found[0].attributes.len(), found[0].keypoints.len()), (vec![1], 3, 0));
    assert!(found[0].embedding.is_some());
}

#[test]
fn looks_of_two_models_are_never_compared() {
    // Hidden, and back elsewhere: only by appearance the same.
    let back = |release: &str, looks: [f32; 2]| {
        let mut t = Tracker::new(TrackerConfig { appearance_weight: 0.8, ..TrackerConfig::default() });
        let looking = |x, look: [f32; 2]| Object { embedding: Some(look.into()), ..labelled(0, "person", x) };
        for frame in 0..5 {
            made(&mut t, frame * 40 * MS, "1", &[model("reid", "1")], vec![looking(0.3, [1.0, 0.0])]);
        }
        made(&mut t, 200 * MS, "1", &[model("reid", "1")], vec![]);
        let found = made(&mut t, SECOND, "1", &[model("reid", release)], vec![looking(0.42, looks)]);
        ids(&found)[0]
    };
    assert_eq!(back("1", [1.0, 0.0]), 1);
    assert_eq!(back("2", [1.0, 0.0]), 2, "the same numbers of another model say nothing");
    // And one that stays in place goes on although its new looks are nothing like the old ones.
    let mut t = Tracker::new(TrackerConfig { appearance_weight: 1.0, ..TrackerConfig::default() });
    let looking = |look: [f32; 2]| vec![Object { embedding: Some(look.into()), ..labelled(0, "person", 0.3) }];
    for frame in 0..5 {
        made(&mut t, frame * 40 * MS, "1", &[model("reid", "1")], looking([1.0, 0.0]));
    }
    assert_eq!(ids(&made(&mut t, 200 * MS, "1", &[model("reid", "2")], looking([-1.0, 0.0]))), [1]);
    assert_eq!(t.tracks[0].look, [-1.0, 0.0], "and learns them");
}
