//! Identities by appearance.

use super::*;

/// A unit vector that looks like direction `angle`.
fn look(angle: f32) -> Option<Arc<[f32]>> {
    Some([angle.cos(), angle.sin(), 0.0].into())
}

fn with_look(angle: f32, x: f32) -> Object {
    Object { embedding: look(angle), ..object(0, 0.9, x, 0.4) }
}

fn by_looks(weight: f32) -> Tracker {
    Tracker::new(TrackerConfig { appearance_weight: weight, ..TrackerConfig::default() })
}

/// Two people, who look different, meet, stand behind each other and go back: overlap alone takes them for each other.
fn meeting(frame: u64) -> Vec<Object> {
    let way = 0.005 * frame.min(40 - frame.min(40)) as f32;
    let (left, right) = (0.4 + way, 0.6 - way);
    // While they stand together only the one in front is found.
    if (18..=22).contains(&frame) {
        return vec![with_look(0.0, left)];
    }
    vec![with_look(0.0, left), with_look(1.5, right)]
}

#[test]
fn people_who_meet_and_turn_back_keep_their_numbers_by_their_looks() {
    let mut t = by_looks(0.5);
    for frame in 0..40 {
        let found = ids(&update(&mut t, frame * 40 * MS, meeting(frame)));
        assert_eq!(found, [1, 2][..found.len()], "frame {frame}");
    }
    let mut t = by_looks(0.0);
    let mut last = Vec::new();
    (0..40).for_each(|frame| last = ids(&update(&mut t, frame * 40 * MS, meeting(frame))));
    assert_eq!(last, [2, 1], "overlap alone is not misled by this, so that the test shows nothing");
}

/// Goes right, is hidden for `gap` and comes out `back` from where he was; the identity then.
fn hidden(t: &mut Tracker, gap: u64, back: f32, looks: f32) -> u64 {
    for frame in 0..10 {
        let x = 0.4 + 0.004 * frame as f32;
        assert_eq!(ids(&update(t, frame * 40 * MS, vec![with_look(0.3, x)])), [1]);
    }
    update(t, 400 * MS, vec![]);
    ids(&update(t, 360 * MS + gap, vec![with_look(looks, 0.436 - back)]))[0]
}

#[test]
fn who_was_hidden_is_found_again_by_appearance() {
    // He is 5.2 of his sizes from where he would be had he gone on: near enough after 1.9 seconds.
    assert_eq!(hidden(&mut by_looks(0.5), 1900 * MS, 0.2, 0.35), 1);
    assert_eq!(hidden(&mut by_looks(0.0), 1900 * MS, 0.2, 0.35), 2, "without appearance it is somebody else");
    assert_eq!(hidden(&mut by_looks(0.5), 1900 * MS, 0.2, 1.5), 2, "somebody else stands there");
    assert_eq!(hidden(&mut by_looks(0.5), 200 * MS, 0.2, 0.35), 2, "nobody is that fast");
    assert_eq!(hidden(&mut by_looks(0.5), 2100 * MS, 0.2, 0.35), 2, "lost for too long");
}

#[test]
fn found_again_he_stands_where_he_is() {
    let mut t = by_looks(0.5);
    hidden(&mut t, 1900 * MS, 0.2, 0.3);
    let now = 2300 * MS;
    let found = predict(&mut t, now);
    assert_eq!(ids(&found), [1]);
    assert!((found[0].bbox.x - 0.236).abs() < 0.002, "{:?}: the jump is not a speed", found[0].bbox);
}

#[test]
fn embeddings_of_different_lengths_and_broken_ones_are_not_compared() {
    let odd: [Option<Arc<[f32]>>; 4] =
        [None, Some([1.0f32, 0.0].into()), Some([f32::NAN, 1.0, 0.0].into()), Some([0.0f32; 3].into())];
    for embedding in odd {
        let mut t = by_looks(1.0);
        for frame in 0..10 {
            update(&mut t, frame * 40 * MS, vec![with_look(0.3, 0.4)]);
        }
        // It still goes on by overlap alone, unless it was compared and is unlike: zero is unlike everything.
        let zero = embedding.as_deref().is_some_and(|e| e == [0.0; 3]);
        let nan = embedding.as_deref().is_some_and(|e| e.iter().any(|v| v.is_nan()));
        let found = update(&mut t, 400 * MS, vec![Object { embedding, ..object(0, 0.9, 0.4, 0.4) }]);
        assert_eq!(ids(&found), [if zero || nan { 2 } else { 1 }]);
        // And the identity's own appearance is not spoilt.
        let found = update(&mut t, 440 * MS, vec![with_look(0.3, 0.4)]);
        assert_eq!(ids(&found), [1]);
    }
}

#[test]
fn looks_change_slowly_and_unsure_ones_less() {
    let after = |confidence| {
        let mut t = by_looks(0.5);
        for frame in 0..12 {
            let angle = if frame < 2 { 0.0 } else { 0.9 };
            let object = Object { confidence, ..with_look(angle, 0.4) };
            update(&mut t, frame * 40 * MS, vec![object]);
        }
        let look = &t.tracks[0].look;
        assert!((look.iter().map(|v| v * v).sum::<f32>() - 1.0).abs() < 1e-5, "not of length 1: {look:?}");
        look[1].atan2(look[0])
    };
    let (sure, unsure) = (after(0.95), after(0.35));
    assert!(0.3 < sure && sure < 0.8, "{sure}");
    assert!(0.1 < unsure && unsure < sure - 0.1, "{unsure} and {sure}");
}

#[test]
fn with_weight_0_embeddings_change_nothing() {
    let plays = |looks: bool| {
        let mut t = by_looks(0.0);
        let frame = |frame: u64| {
            let mut objects = meeting(frame);
            objects.iter_mut().filter(|_| !looks).for_each(|o| o.embedding = None);
            objects
        };
        let tracks = |objects: Vec<Object>| objects.into_iter().map(|o| (o.bbox, o.track)).collect::<Vec<_>>();
        (0..40).map(|f| tracks(update(&mut t, f * 40 * MS, frame(f)))).collect::<Vec<_>>()
    };
    assert_eq!(plays(true), plays(false));
}

#[test]
fn only_candidates_within_reach_are_compared() {
    // Sixty lost identities in a row, sixty newcomers: each may be one of a few, so that the work is not their product.
    let work = |n: usize| {
        let mut association = Association::default();
        let place = |i: usize| BBox { x: 0.2 * i as f32, y: 0.4, w: 0.05, h: 0.2 };
        let candidate =
            |i| Candidate { object: i, bbox: place(i), kind: 0, inner: false, confidence: 0.9, taken: false };
        association.begin((0..n).map(candidate));
        let seeker = |i| Seeker { track: i, bbox: place(i), kind: 0, inner: false, buffer: 0.1, range: 3.0 };
        let mut seekers: Vec<Seeker> = (0..n).map(seeker).collect();
        let stage = Stage { confidence: (0.3, f32::INFINITY), min_overlap: 0.0, class_aware: true };
        let alike = |s: &Seeker, c: &Candidate| {
            Some(Likeness { weight: 0.5, excess: if s.track == c.object { 0.2 } else { 0.1 } })
        };
        association.recall(&stage, &seekers, alike);
        association.settle(&mut seekers, |s, c| assert_eq!(s.track, c.object));
        assert!(seekers.is_empty());
        association.steps()
    };
    assert!(work(60) < work(6) * 14, "{} and {}", work(60), work(6));
}
