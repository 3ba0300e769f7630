use std::sync::Arc;

use proptest::prelude::*;

mod appearance_tests;
mod camera_tests;
mod cascade_tests;
mod swap_tests;

use super::association::{Association, Candidate, Likeness, Seeker, Stage};
use super::{Counts, Tracker, TrackerConfig};
use crate::result::{BBox, Keypoint, Mask, Object, TrackState};

const FRAME: (u32, u32) = (1920, 1080);
const MS: u64 = 1_000_000;
const SECOND: u64 = 1000 * MS;

fn object(class_id: u32, confidence: f32, x: f32, y: f32) -> Object {
    let label = ["thing", "other"].get(class_id as usize).unwrap_or(&"thing");
    Object::new(0, class_id, (*label).into(), confidence, BBox { x, y, w: 0.05, h: 0.2 })
}

fn tracker() -> Tracker {
    Tracker::new(TrackerConfig::default())
}

fn update(tracker: &mut Tracker, now_ns: u64, mut objects: Vec<Object>) -> Vec<Object> {
    tracker.update(now_ns, FRAME, &mut objects);
    objects
}

fn predict(tracker: &mut Tracker, now_ns: u64) -> Vec<Object> {
    let mut objects = Vec::new();
    tracker.predict(now_ns, FRAME, &mut objects);
    objects
}

/// The identities in the order of the objects; 0 for none.
fn ids(objects: &[Object]) -> Vec<u64> {
    objects.iter().map(|o| o.track.map_or(0, |t| t.id)).collect()
}

/// Two objects that pass through each other, at `now_ns`: one goes right and one left, 0.2 frame widths per second.
fn crossing(now_ns: u64) -> Vec<Object> {
    let way = now_ns as f32 / SECOND as f32 * 0.2;
    vec![object(0, 0.9, 0.1 + way, 0.4), object(0, 0.8, 0.71 - way, 0.41)]
}

#[test]
fn crossing_objects_keep_their_identities() {
    let mut t = tracker();
    for frame in 0..75 {
        assert_eq!(ids(&update(&mut t, frame * 40 * MS, crossing(frame * 40 * MS))), [1, 2], "frame {frame}");
    }
    assert_eq!(t.counts(), Counts { live: 2, confirmed: 2, lost: 0, created: 2, established: 2 });
}

#[test]
fn frame_rate_makes_no_difference() {
    // 25 frames per second, and the same scene at times between 30 and 110 ms apart.
    let mut now = 0;
    let mut t = tracker();
    for step in 0..40u64 {
        assert_eq!(ids(&update(&mut t, now, crossing(now))), [1, 2], "{now} ns");
        now += (30 + step * 37 % 81) * MS;
    }
}

#[test]
fn gap_of_one_second_is_predicted_and_survived() {
    let mut t = tracker();
    let at = |now: u64| vec![object(0, 0.9, 0.1 + now as f32 / SECOND as f32 * 0.2, 0.4)];
    for frame in 0..=25 {
        update(&mut t, frame * 40 * MS, at(frame * 40 * MS));
    }
    for frame in 26..50 {
        let now = frame * 40 * MS;
        let found = predict(&mut t, now);
        assert_eq!(ids(&found), [1]);
        let track = found[0].track.unwrap();
        assert_eq!(track.state, TrackState::Predicted);
        assert_eq!(track.unseen_ns, now - SECOND);
        assert_eq!(track.age_ns, now);
        assert!((track.velocity.0 - 0.2).abs() < 0.01 && track.velocity.1.abs() < 0.01, "{track:?}");
        assert!(found[0].bbox.iou(&at(now)[0].bbox) > 0.8, "{:?} at {now}", found[0].bbox);
    }
    let back = update(&mut t, 2 * SECOND, at(2 * SECOND));
    assert_eq!(ids(&back), [1]);
    let track = back[0].track.unwrap();
    assert_eq!((track.state, track.unseen_ns), (TrackState::Confirmed, 0));
}

#[test]
fn few_frames_per_second_are_enough() {
    // A walker at three frames per second: each box begins where the last one ended.
    let mut t = tracker();
    for frame in 0..8u64 {
        let found = update(&mut t, frame * 333 * MS, vec![object(0, 0.9, 0.1 + 0.05 * frame as f32, 0.4)]);
        assert_eq!(ids(&found), [1], "frame {frame}");
    }
}

#[test]
fn low_confidence_continues_but_never_starts() {
    let mut t = tracker();
    let at = |frame: u64, confidence| vec![object(0, confidence, 0.1 + 0.004 * frame as f32, 0.4)];
    for frame in 0..30 {
        let confidence = if (10..20).contains(&frame) { 0.15 } else { 0.9 };
        assert_eq!(ids(&update(&mut t, frame * 40 * MS, at(frame, confidence))), [1], "frame {frame}");
    }
    let mut t = tracker();
    for frame in 0..5 {
        assert_eq!(ids(&update(&mut t, frame * 40 * MS, at(frame, 0.29))), [0]);
    }
    assert_eq!(t.counts(), Counts::default());
    // Below the low threshold an object is not even looked at.
    update(&mut t, SECOND, at(0, 0.9));
    assert_eq!(ids(&update(&mut t, SECOND + 40 * MS, at(0, 0.05))), [0]);
}

#[test]
fn identity_keeps_its_class() {
    let mut t = tracker();
    update(&mut t, 0, vec![object(0, 0.9, 0.3, 0.4)]);
    assert_eq!(ids(&update(&mut t, 40 * MS, vec![object(1, 0.9, 0.3, 0.4)])), [2]);
    let mut t = Tracker::new(TrackerConfig { class_aware: false, ..TrackerConfig::default() });
    update(&mut t, 0, vec![object(0, 0.9, 0.3, 0.4)]);
    assert_eq!(ids(&update(&mut t, 40 * MS, vec![object(1, 0.9, 0.3, 0.4)])), [1]);
}

#[test]
fn only_confirmed_identities_are_left_if_asked_for() {
    let mut t = Tracker::new(TrackerConfig { confirmed_only: true, ..TrackerConfig::default() });
    update(&mut t, 0, vec![object(0, 0.9, 0.1, 0.1)]);
    let frame = || vec![object(0, 0.2, 0.1, 0.1), object(0, 0.9, 0.7, 0.1), object(0, 0.2, 0.4, 0.6)];
    // A weak sighting continues an identity; a newcomer waits; what matches nobody goes.
    assert_eq!(ids(&update(&mut t, 40 * MS, frame())), [1]);
    assert_eq!(ids(&update(&mut t, 80 * MS, frame())), [1, 2]);
}

#[test]
fn confirmation_takes_hits_and_confidence() {
    let states = |confidence: f32, min_hits| {
        let mut t = Tracker::new(TrackerConfig { min_hits, ..TrackerConfig::default() });
        // What the first frame shows is confirmed at once, so begin with an empty one.
        update(&mut t, 0, vec![]);
        let confirmed = |o: &[Object]| o[0].track.unwrap().state == TrackState::Confirmed;
        (1..).position(|n| confirmed(&update(&mut t, n * 40 * MS, vec![object(0, confidence, 0.3, 0.4)]))).unwrap() + 1
    };
    assert_eq!(states(0.9, 1), 1);
    assert_eq!(states(0.9, 2), 2);
    assert_eq!(states(0.9, 4), 4);
    // 1.4 in sum: 0.4 × 4.
    assert_eq!(states(0.4, 2), 4);
    let first = update(&mut tracker(), 0, vec![object(0, 0.5, 0.3, 0.4)]);
    assert_eq!(first[0].track.unwrap().state, TrackState::Confirmed);
}

#[test]
fn tentative_identity_goes_with_its_first_miss() {
    let mut t = tracker();
    update(&mut t, 0, vec![]);
    assert_eq!(ids(&update(&mut t, 40 * MS, vec![object(0, 0.9, 0.3, 0.4)])), [1]);
    assert_eq!(predict(&mut t, 60 * MS), []);
    update(&mut t, 80 * MS, vec![]);
    assert_eq!(ids(&update(&mut t, 120 * MS, vec![object(0, 0.9, 0.3, 0.4)])), [2]);
    assert_eq!(t.counts(), Counts { live: 1, confirmed: 0, lost: 0, created: 2, established: 0 });
}

#[test]
fn lost_for_too_long_is_another_object() {
    let after = |gap: u64| {
        let mut t = tracker();
        update(&mut t, 0, vec![object(0, 0.9, 0.3, 0.4)]);
        update(&mut t, 40 * MS, vec![]);
        assert_eq!(t.counts().lost, 1);
        ids(&update(&mut t, gap, vec![object(0, 0.9, 0.3, 0.4)]))
    };
    assert_eq!(after(2 * SECOND), [1]);
    assert_eq!(after(2 * SECOND + 1), [2]);
    assert_eq!(after(u64::MAX), [2]);
}

#[test]
fn time_that_stands_or_jumps_back() {
    let mut t = tracker();
    let still = || vec![object(0, 0.9, 0.3, 0.4)];
    for now in [SECOND, SECOND, SECOND, 900 * MS, 940 * MS, 940 * MS] {
        assert_eq!(ids(&update(&mut t, now, still())), [1], "{now}");
    }
    // Only steps forward count: 40 ms.
    assert_eq!(update(&mut t, 940 * MS, still())[0].track.unwrap().age_ns, 40 * MS);
    // A jump back by more than identities are kept is another stream.
    update(&mut t, 10 * SECOND, still());
    assert_eq!(ids(&update(&mut t, 0, still())), [3]);
}

#[test]
fn reset_forgets_but_goes_on_counting() {
    let mut t = tracker();
    update(&mut t, 0, crossing(0));
    t.reset();
    assert_eq!(predict(&mut t, 40 * MS), []);
    assert_eq!(ids(&update(&mut t, 80 * MS, crossing(0))), [3, 4]);
    assert_eq!(t.counts(), Counts { live: 2, confirmed: 2, lost: 0, created: 4, established: 4 });
}

#[test]
fn coasting_is_reported_while_configured() {
    let mut t = Tracker::new(TrackerConfig { coast_ns: 100 * MS, ..TrackerConfig::default() });
    let seen = Object { id: 7, ..object(0, 0.9, 0.3, 0.4) };
    update(&mut t, 0, vec![seen]);
    let other = || vec![Object { id: 7, ..object(1, 0.9, 0.7, 0.4) }];
    let found = update(&mut t, 100 * MS, other());
    assert_eq!(ids(&found), [2, 1]);
    assert_eq!(found[1].track.unwrap().state, TrackState::Predicted);
    assert_eq!((found[0].id, found[1].id), (7, 8));
    assert_eq!(ids(&update(&mut t, 101 * MS, other())), [2]);
    // Frames that are not analysed show what the last analysed one did.
    assert_eq!(ids(&predict(&mut t, 500 * MS)), [2]);
}

#[test]
fn a_second_box_on_an_object_starts_nothing() {
    let mut t = tracker();
    update(&mut t, 0, vec![object(0, 0.9, 0.3, 0.4)]);
    let twice = vec![object(0, 0.9, 0.3, 0.4), object(0, 0.8, 0.301, 0.4)];
    assert_eq!(ids(&update(&mut t, 40 * MS, twice)), [1, 0]);
}

#[test]
fn prediction_carries_everything_and_is_clipped() {
    let mut t = tracker();
    // Leaves to the right by 0.5 frame widths per second; the mask's columns are 0, 50, 100, 150.
    let leaving = |now: u64| {
        let x = 0.6 + now as f32 / SECOND as f32 * 0.5;
        let mask = Mask { width: 4, height: 1, data: vec![0, 50, 100, 150] };
        vec![Object {
            bbox: BBox { x, y: 0.25, w: 0.2, h: 0.5 },
            keypoints: vec![Keypoint { x: x + 0.1, y: 0.5, confidence: 0.7 }],
            mask: Some(Arc::new(mask)),
            ..object(3, 0.9, 0.0, 0.0)
        }]
    };
    for frame in 0..=10 {
        update(&mut t, frame * 40 * MS, leaving(frame * 40 * MS));
    }
    // At 600 ms the box would be 0.9..1.1: half of it is in the frame.
    let found = predict(&mut t, 600 * MS);
    let o = &found[0];
    assert_eq!((o.class_id, &*o.label, o.confidence), (3, "thing", 0.9));
    assert!((o.bbox.x - 0.9).abs() < 0.01 && (o.bbox.x2() - 1.0).abs() < 1e-6, "{:?}", o.bbox);
    assert!((o.bbox.y - 0.25).abs() < 0.01 && (o.bbox.h - 0.5).abs() < 0.01, "{:?}", o.bbox);
    assert!((o.keypoints[0].x - 1.0).abs() < 0.01 && (o.keypoints[0].y - 0.5).abs() < 0.01);
    assert_eq!(**o.mask.as_ref().unwrap(), Mask { width: 2, height: 1, data: vec![0, 50] });
    // At 1 s it has left.
    assert_eq!(predict(&mut t, SECOND), []);
}

#[test]
fn frame_shape_may_change() {
    let mut t = tracker();
    let at = |i: u64| vec![object(0, 0.9, 0.1 + 0.01 * i as f32, 0.4)];
    for (i, frame) in [(1920, 1080), (640, 640), (100, 1000), (0, 0), (1920, 1080)].into_iter().enumerate() {
        let mut objects = at(i as u64);
        t.update(i as u64 * 40 * MS, frame, &mut objects);
        assert_eq!(ids(&objects), [1], "{frame:?}");
    }
}

/// Overlaps and assignment steps for `n` objects in rows of `n / 10`, matched with themselves.
fn work(n: usize) -> u64 {
    let columns = n / 10;
    let place = |i: usize| BBox {
        x: (i % columns) as f32 / columns as f32,
        y: (i / columns) as f32 / 10.0,
        w: 1.2 / columns as f32,
        h: 0.12,
    };
    let mut association = Association::default();
    association.begin((0..n).map(|i| Candidate {
        object: i,
        bbox: place(i),
        kind: 0,
        inner: false,
        confidence: 0.9,
        taken: false,
    }));
    let seeker = |i| Seeker { track: i, bbox: place(i), kind: 0, inner: false, buffer: 0.1, range: 1.0 };
    let mut seekers: Vec<Seeker> = (0..n).map(seeker).collect();
    let stage = Stage { confidence: (0.3, f32::INFINITY), min_overlap: 0.25, class_aware: true };
    let mut matched = 0;
    association.weigh(&stage, &seekers, |_, _| None);
    association.settle(&mut seekers, |s, c| {
        assert_eq!(s.track, c.object);
        matched += 1;
    });
    assert_eq!((matched, seekers.len()), (n, 0));
    association.steps()
}

#[test]
fn work_grows_with_the_objects_and_not_their_square() {
    let (few, many) = (work(30), work(300));
    assert!(many < few * 20, "{few} steps for 30 objects, {many} for 300");
}

#[test]
fn order_of_the_objects_makes_no_difference() {
    // Thirty objects with scores of their own; the second tracker gets them from the last to the first, the third
    // with the halves swapped.
    let frame = |now: u64| -> Vec<Object> {
        let place = |i: u32| {
            let (i, t) = (i as f32, now as f32 / SECOND as f32);
            (0.03 * i + 0.1 * (t + i).sin(), 0.4 + 0.2 * (1.7 * i + t).cos())
        };
        (0..30).map(|i| object(i % 2, 0.95 - 0.02 * i as f32, place(i).0, place(i).1)).collect()
    };
    let (mut plain, mut backward, mut swapped) = (tracker(), tracker(), tracker());
    for now in (0..50).map(|f| f * 40 * MS) {
        let expected = ids(&update(&mut plain, now, frame(now)));
        let mut objects = frame(now);
        objects.reverse();
        let mut found = ids(&update(&mut backward, now, objects));
        found.reverse();
        assert_eq!(found, expected, "at {now}");
        let mut objects = frame(now);
        objects.rotate_left(15);
        let mut found = ids(&update(&mut swapped, now, objects));
        found.rotate_left(15);
        assert_eq!(found, expected, "at {now}");
    }
    assert!(plain.counts().created >= 30);
}

fn any_object() -> impl Strategy<Value = Object> {
    let odd = prop_oneof![
        8 => -0.2f32..1.2,
        1 => prop_oneof![Just(f32::NAN), Just(f32::INFINITY), Just(-1e30f32), Just(0.0f32), Just(15.9f32)],
    ];
    let size = prop_oneof![8 => 0.01f32..0.4, 1 => prop_oneof![Just(0.0f32), Just(-0.1), Just(f32::NAN), Just(16.0)]];
    (0u32..2, odd.clone(), odd, size.clone(), size, prop_oneof![9 => 0.0f32..1.0, 1 => Just(f32::NAN)]).prop_map(
        |(class_id, x, y, w, h, confidence)| Object {
            bbox: BBox { x, y, w, h },
            ..object(class_id, confidence, 0.0, 0.0)
        },
    )
}

/// Times, and objects or a frame that was not analysed.
fn any_stream() -> impl Strategy<Value = Vec<(u64, Option<Vec<Object>>)>> {
    let time = prop_oneof![8 => (0u64..50).prop_map(|n| n * 40 * MS), 1 => any::<u64>()];
    prop::collection::vec((time, prop::option::weighted(0.7, prop::collection::vec(any_object(), 0..8))), 1..20)
}

fn play(stream: &[(u64, Option<Vec<Object>>)]) -> Vec<Vec<Object>> {
    let mut t = Tracker::new(TrackerConfig { coast_ns: SECOND, ..TrackerConfig::default() });
    let mut frame = |(now, objects): &(u64, Option<Vec<Object>>)| match objects {
        Some(objects) => update(&mut t, *now, objects.clone()),
        None => predict(&mut t, *now),
    };
    stream.iter().map(&mut frame).collect()
}

proptest! {
    #[test]
    fn anything_gives_unique_finite_and_repeatable_results(stream in any_stream()) {
        let played = play(&stream);
        for ((_, given), objects) in stream.iter().zip(&played) {
            let mut seen: Vec<u64> = ids(objects).into_iter().filter(|id| *id > 0).collect();
            let many = seen.len();
            seen.sort_unstable();
            seen.dedup();
            prop_assert_eq!(seen.len(), many, "an identity twice on a frame");
            for o in &objects[given.as_ref().map_or(0, Vec::len)..] {
                let b = o.bbox;
                prop_assert!(b.x >= 0.0 && b.y >= 0.0 && b.x2() <= 1.0001 && b.y2() <= 1.0001 && b.area() > 0.0, "{:?}", b);
            }
            for track in objects.iter().filter_map(|o| o.track) {
                prop_assert!(track.velocity.0.is_finite() && track.velocity.1.is_finite());
            }
        }
        prop_assert_eq!(format!("{:?}", played), format!("{:?}", play(&stream)));
    }
}
