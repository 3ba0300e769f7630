use super::*;
use crate::result::{AbsentReason, FrameClass, Track};

const S: u64 = 1_000_000_000;

fn object(id: u32, bbox: BBox, track: Option<u64>) -> Object {
    let state = TrackState::Confirmed;
    let track = track.map(|id| Track { id, state, age_ns: 0, unseen_ns: 0, velocity: (0.0, 0.0) });
    Object { track, ..Object::new(id, 0, "person".into(), 0.5, bbox) }
}

fn square(x: f32, side: f32) -> BBox {
    BBox { x, y: 0.5, w: side, h: side }
}

fn frame(objects: Vec<Object>) -> FrameResult {
    FrameResult { freshness: Freshness::Fresh, objects, ..FrameResult::absent(AbsentReason::Skipped, (1000, 1000)) }
}

fn places(picks: &[Pick]) -> Vec<usize> {
    picks.iter().map(|p| p.object).collect()
}

fn named(label: &str, bbox: BBox) -> Findings {
    let mut part = frame(Vec::new());
    part.classes.push(FrameClass { class_id: 0, label: label.into(), confidence: 0.75 });
    Findings::take(Task::Classify, &"colour".into(), bbox, &mut part)
}

fn labels(object: &Object) -> Vec<(String, String)> {
    object.attributes.iter().map(|a| (a.name.to_string(), a.label.to_string())).collect()
}

fn pair(name: &str, label: &str) -> (String, String) {
    (name.to_owned(), label.to_owned())
}

#[test]
fn rules_say_which_objects_are_looked_at() {
    let mut objects = vec![
        object(0, square(0.1, 0.2), None),
        object(1, square(0.1, 0.01), None),
        object(2, square(0.1, 0.2), None),
        object(3, square(0.1, 0.2), None),
        object(4, square(0.1, 0.2), Some(9)),
        object(5, square(f32::NAN, 0.2), None),
    ];
    objects[2].label = "car".into();
    objects[3].confidence = 0.1;
    if let Some(track) = &mut objects[4].track {
        track.state = TrackState::Predicted;
    }
    let mut result = frame(objects);
    let rules = Rules { classes: vec!["person".into()], min_confidence: 0.2, ..Rules::default() };
    let chosen = places(&Cascade::default().choose(&rules, 0, &result));
    assert_eq!(chosen, [0, 5], "too small, another class, too weak, a guess; what is no number is refused further on");
    result.freshness = Freshness::Held { age_ns: 5 };
    assert_eq!(Cascade::default().choose(&rules, 0, &result), [], "old boxes lie beside their objects");
}

#[test]
fn the_margin_is_added_on_each_side() {
    let rules = Rules { margin: 0.5, ..Rules::default() };
    let [pick] = Cascade::default().choose(&rules, 0, &frame(vec![object(0, square(0.25, 0.25), None)]))[..] else {
        panic!("one")
    };
    assert_eq!(pick.region, BBox { x: 0.125, y: 0.375, w: 0.5, h: 0.5 });
}

#[test]
fn a_tracked_object_is_looked_at_again_after_a_time_or_when_it_has_grown() {
    let rules = Rules { again_ns: S, growth: 2.0, ..Rules::default() };
    let mut cascade = Cascade::default();
    let mut at = |now, side| cascade.choose(&rules, now, &frame(vec![object(0, square(0.1, side), Some(7))])).len();
    assert_eq!(at(0, 0.1), 1);
    assert_eq!(at(S / 2, 0.1), 0);
    assert_eq!(at(S / 2 + 1, 0.15), 1, "more than twice the area");
    assert_eq!(at(S, 0.15), 0);
    assert_eq!(at(S / 2 + 1 + S, 0.15), 1, "a second later");
    let never = Rules { again_ns: u64::MAX, growth: 0.0, ..Rules::default() };
    let mut cascade = Cascade::default();
    let mut at = |now, side| cascade.choose(&never, now, &frame(vec![object(0, square(0.1, side), Some(7))])).len();
    assert_eq!([at(0, 0.1), at(9 * S, 0.9)], [1, 0]);
}

#[test]
fn an_object_without_a_track_is_looked_at_on_every_frame() {
    let mut cascade = Cascade::default();
    let result = frame(vec![object(0, square(0.1, 0.2), None)]);
    assert_eq!([0, 1, 2].map(|now| cascade.choose(&Rules::default(), now, &result).len()), [1, 1, 1]);
}

#[test]
fn with_too_many_objects_those_that_waited_longest_come_first() {
    let rules = Rules { most: 2, again_ns: 0, ..Rules::default() };
    let mut cascade = Cascade::default();
    let result = frame((0..5).map(|i| object(i, square(0.1, 0.2), Some(u64::from(i)))).collect());
    let rounds: Vec<_> = (0..4).map(|i| places(&cascade.choose(&rules, i, &result))).collect();
    assert_eq!(rounds, [vec![0, 1], vec![2, 3], vec![4, 0], vec![1, 2]]);
}

#[test]
fn findings_land_on_their_object_and_stay_with_its_track() {
    let mut cascade = Cascade::default();
    let bbox = square(0.1, 0.2);
    let mut result = frame(vec![object(0, bbox, Some(7)), object(1, square(0.6, 0.2), None)]);
    let picks = cascade.choose(&Rules::default(), 0, &result);
    let found = vec![(picks[0], named("red", bbox)), (picks[1], named("blue", square(0.6, 0.2)))];
    cascade.absorb(0, 0, found, &mut result);
    assert_eq!(labels(&result.objects[0]), [pair("colour", "red")]);
    assert_eq!(labels(&result.objects[1]), [pair("colour", "blue")]);

    let mut later = frame(vec![object(0, square(0.3, 0.2), Some(7)), object(1, square(0.6, 0.2), None)]);
    later.objects[0].attributes.push(Attribute { name: "make".into(), label: "saab".into(), confidence: 1.0 });
    cascade.absorb(S / 2, 0, Vec::new(), &mut later);
    assert_eq!(labels(&later.objects[0]), [pair("make", "saab"), pair("colour", "red")], "another model's stays");
    assert_eq!(labels(&later.objects[1]), [], "nobody knows whether it is the same one");

    let mut again = frame(vec![object(0, bbox, Some(7))]);
    let picks = cascade.choose(&Rules::default(), 2 * S, &again);
    cascade.absorb(2 * S, 0, vec![(picks[0], named("green", bbox))], &mut again);
    assert_eq!(labels(&again.objects[0]), [pair("colour", "green")], "the earlier answer is replaced");
}

#[test]
fn what_was_found_in_an_object_moves_with_it() {
    let mut cascade = Cascade::default();
    let bbox = BBox { x: 0.2, y: 0.2, w: 0.2, h: 0.4 };
    let mut result = frame(vec![object(4, bbox, Some(7))]);
    let picks = cascade.choose(&Rules::default(), 0, &result);
    let mut face = object(0, BBox { x: 0.25, y: 0.2, w: 0.1, h: 0.1 }, None);
    face.keypoints.push(Keypoint { x: 0.3, y: 0.25, confidence: 0.5 });
    let mut part = frame(vec![face]);
    let found = Findings::take(Task::Detect, &"faces".into(), bbox, &mut part);
    cascade.absorb(0, 0, vec![(picks[0], found)], &mut result);
    assert_eq!((result.objects[1].id, result.objects[1].parent), (5, Some(4)));

    // Twice as wide and half as high, elsewhere.
    let mut later = frame(vec![object(0, BBox { x: 0.5, y: 0.6, w: 0.4, h: 0.2 }, Some(7))]);
    cascade.absorb(1, 0, Vec::new(), &mut later);
    let child = &later.objects[1];
    let expected = [0.6, 0.6, 0.2, 0.05, 0.7, 0.625];
    let b = child.bbox;
    for (seen, expected) in [b.x, b.y, b.w, b.h, child.keypoints[0].x, child.keypoints[0].y].iter().zip(expected) {
        assert!((seen - expected).abs() < 1e-6, "{child:?}");
    }
    assert_eq!((child.id, child.parent), (1, Some(0)));
}

#[test]
fn the_most_confident_pose_in_a_crop_is_the_objects_own() {
    let pose = |x| {
        let mut pose = object(0, square(0.1, 0.2), None);
        pose.keypoints.push(Keypoint { x, y: 0.6, confidence: 0.5 });
        pose
    };
    let mut part = frame(vec![pose(0.15), pose(0.25)]);
    let bbox = square(0.1, 0.2);
    let found = Findings::take(Task::Pose, &"pose".into(), bbox, &mut part);
    let mut result = frame(vec![object(0, bbox, None)]);
    Cascade::default().absorb(0, 0, vec![(Pick { object: 0, region: bbox }, found)], &mut result);
    assert_eq!(result.objects.len(), 1);
    assert_eq!(result.objects[0].keypoints, [Keypoint { x: 0.15, y: 0.6, confidence: 0.5 }]);
}

#[test]
fn an_object_on_which_the_model_failed_is_looked_at_on_the_next_frame() {
    let mut cascade = Cascade::default();
    let result = frame(vec![object(0, square(0.1, 0.2), Some(7))]);
    let picks = cascade.choose(&Rules::default(), 0, &result);
    assert_eq!(cascade.choose(&Rules::default(), 1, &result).len(), 0);
    cascade.unchoose(&result, &picks);
    assert_eq!(cascade.choose(&Rules::default(), 2, &result).len(), 1);
}

#[test]
fn tracks_that_are_gone_are_forgotten() {
    let mut cascade = Cascade::default();
    for id in 0..100 {
        cascade.choose(&Rules::default(), id * S, &frame(vec![object(0, square(0.1, 0.2), Some(id))]));
    }
    assert!(cascade.known.len() <= 12, "{}", cascade.known.len());
    cascade.choose(&Rules::default(), 0, &frame(Vec::new()));
    assert_eq!(cascade.known.len(), 0, "time has jumped back");
}

#[test]
fn another_model_is_asked_anew_and_does_not_inherit_what_the_old_one_said() {
    let mut cascade = Cascade::default();
    let bbox = square(0.1, 0.2);
    let tracked = || frame(vec![object(0, bbox, Some(7))]);
    let mut first = tracked();
    let picks = cascade.choose(&Rules::default(), 0, &first);
    cascade.absorb(0, 0, vec![(picks[0], named("red", bbox))], &mut first);
    // Still the old model's, and on its way out when the new one takes over.
    let mut second = tracked();
    assert!(cascade.choose(&Rules::default(), 1, &second).is_empty());
    cascade.ask_anew();
    let mut third = tracked();
    let picks = cascade.choose(&Rules::default(), 2, &third);
    assert_eq!(places(&picks), [0]);
    cascade.absorb(1, 0, Vec::new(), &mut second);
    assert_eq!(labels(&second.objects[0]), [pair("colour", "red")]);
    // The new model fails on the third, so nothing is known on the fourth.
    cascade.unchoose(&third, &picks);
    cascade.absorb(2, 1, Vec::new(), &mut third);
    assert_eq!(labels(&third.objects[0]), []);
    let mut fourth = tracked();
    let picks = cascade.choose(&Rules::default(), 3, &fourth);
    cascade.absorb(3, 1, vec![(picks[0], named("green", bbox))], &mut fourth);
    let mut fifth = tracked();
    cascade.absorb(4, 1, Vec::new(), &mut fifth);
    assert_eq!(labels(&fifth.objects[0]), [pair("colour", "green")]);
}
