use std::sync::Arc;

use super::*;
use crate::result::{AbsentReason, BBox, ModelId, Track};

const BOX: BBox = BBox { x: 0.1, y: 0.1, w: 0.2, h: 0.2 };

/// A fresh frame `ms` milliseconds into the stream.
fn frame(ms: u64, objects: Vec<Object>) -> FrameResult {
    FrameResult {
        running_time_ns: Some(ms * 1_000_000),
        freshness: Freshness::Fresh,
        objects,
        ..FrameResult::absent(AbsentReason::Skipped, (64, 48))
    }
}

fn absent(ms: u64, reason: AbsentReason) -> FrameResult {
    FrameResult { freshness: Freshness::Absent(reason), ..frame(ms, Vec::new()) }
}

fn object(label: &str, confidence: f32) -> Object {
    Object::new(0, label.len() as u32, label.into(), confidence, BOX)
}

fn tracked(id: u64, state: TrackState, age_ms: u64) -> Object {
    let track = Track { id, state, age_ns: age_ms * 1_000_000, unseen_ns: 0, velocity: (0.0, 0.0) };
    Object { track: Some(track), ..object("person", 0.8) }
}

fn changes() -> Selection {
    Selection { frames: false, changes: true, ..Selection::default() }
}

fn events() -> Selection {
    Selection { frames: false, events: true, ..Selection::default() }
}

/// Times of the frames that are picked, milliseconds.
fn picked(selection: Selection, frames: impl IntoIterator<Item = FrameResult>) -> Vec<u64> {
    let mut selector = Selector::new(selection);
    let wanted = |f: &FrameResult| f.running_time_ns.unwrap() / 1_000_000;
    frames.into_iter().filter_map(|f| selector.pick(&f).frame.then(|| wanted(&f))).collect()
}

fn happened(selection: Selection, frames: impl IntoIterator<Item = FrameResult>) -> Vec<(u64, Happening)> {
    let mut selector = Selector::new(selection);
    let times = frames.into_iter().flat_map(|f| {
        let ms = f.running_time_ns.unwrap() / 1_000_000;
        selector.pick(&f).happenings.into_iter().map(move |h| (ms, h)).collect::<Vec<_>>()
    });
    times.collect()
}

#[test]
fn every_frame_goes_out_by_default_and_nothing_else() {
    let mut selector = Selector::new(Selection::default());
    for ms in [0, 40, 80] {
        assert_eq!(selector.pick(&frame(ms, vec![])), Picked { frame: true, happenings: vec![] });
    }
}

#[test]
fn objects_are_chosen_by_confidence_and_class() {
    let selection = Selection { min_confidence: 0.5, classes: vec!["car".into()], ..Selection::default() };
    assert!(selection.keeps(&object("car", 0.5)));
    assert!(!selection.keeps(&object("car", 0.49)));
    assert!(!selection.keeps(&object("bus", 0.9)));
    assert!(Selection::default().keeps(&object("bus", 0.0)));
}

#[test]
fn a_rate_thins_frames_out_evenly_and_forgives_uneven_clocks() {
    let rate = |max_rate| Selection { max_rate, ..Selection::default() };
    let every_40 = || (0..26).map(|n| frame(n * 40, vec![]));
    assert_eq!(picked(rate(5.0), every_40()), [0, 200, 400, 600, 800, 1000]);
    assert_eq!(picked(rate(25.0), every_40()).len(), 26);
    assert_eq!(picked(rate(10.0), [0, 99, 198, 297].map(|ms| frame(ms, vec![]))), [0, 99, 198, 297]);
    assert_eq!(picked(rate(1.0), [5000, 0, 500].map(|ms| frame(ms, vec![]))), [5000, 0], "a stream that begins anew");
}

#[test]
fn changes_are_objects_identities_models_and_the_analysis() {
    let mut other_model = frame(700, vec![object("car", 0.9)]);
    let id = ModelId { name: "m".into(), release: String::new(), digest: "d".into() };
    other_model.model = Some(Arc::new(id));
    let frames = [
        frame(0, vec![]),
        frame(100, vec![]),
        frame(200, vec![object("car", 0.9)]),
        frame(300, vec![object("car", 0.7)]),
        absent(400, AbsentReason::Skipped),
        FrameResult { freshness: Freshness::Held { age_ns: 1 }, ..frame(500, vec![object("car", 0.9)]) },
        absent(550, AbsentReason::EngineError),
        absent(560, AbsentReason::EngineError),
        absent(570, AbsentReason::Deadline),
        frame(600, vec![object("car", 0.9)]),
        other_model,
    ];
    assert_eq!(picked(changes(), frames), [0, 200, 550, 570, 600, 700]);
}

#[test]
fn an_object_that_is_not_exported_is_no_change() {
    let selection = Selection { classes: vec!["car".into()], ..changes() };
    let frames = [frame(0, vec![]), frame(100, vec![object("bus", 0.9)]), frame(200, vec![object("car", 0.9)])];
    assert_eq!(picked(selection, frames), [0, 200]);
}

#[test]
fn identities_that_are_not_sure_yet_are_no_change() {
    let frames = [
        frame(0, vec![]),
        frame(100, vec![tracked(1, TrackState::Tentative, 0)]),
        frame(200, vec![tracked(1, TrackState::Confirmed, 100)]),
        frame(300, vec![tracked(1, TrackState::Predicted, 200)]),
        frame(400, vec![tracked(2, TrackState::Confirmed, 100)]),
    ];
    assert_eq!(picked(changes(), frames), [0, 200, 400]);
}

#[test]
fn a_change_that_comes_too_early_is_told_late_but_told() {
    let selection = Selection { max_rate: 2.0, ..changes() };
    let car = || vec![object("car", 0.9)];
    let frames = [frame(0, vec![]), frame(100, car()), frame(300, car()), frame(500, car()), frame(1500, car())];
    assert_eq!(picked(selection, frames), [0, 500]);
}

#[test]
fn a_keyframe_comes_though_nothing_changes() {
    let interval = Some(Duration::from_secs(1));
    let quiet = || (0..31).map(|n| frame(n * 100, vec![]));
    assert_eq!(picked(Selection { keyframe_interval: interval, ..changes() }, quiet()), [0, 1000, 2000, 3000]);
    assert_eq!(picked(Selection { keyframe_interval: interval, ..events() }, quiet()), [0, 1000, 2000, 3000]);
    assert_eq!(picked(events(), quiet()), [0; 0]);
}

#[test]
fn objects_appear_once_they_are_sure_and_leave_when_they_are_gone() {
    let frames = [
        frame(0, vec![tracked(7, TrackState::Tentative, 0)]),
        frame(100, vec![tracked(7, TrackState::Confirmed, 100)]),
        absent(200, AbsentReason::Deadline),
        frame(300, vec![tracked(7, TrackState::Predicted, 300)]),
        frame(400, vec![tracked(8, TrackState::Tentative, 0)]),
        frame(500, vec![]),
    ];
    let left = Happening::Left { track: 7, label: "person".into(), class_id: 6, stay_ns: 300_000_000 };
    assert_eq!(happened(events(), frames), [(100, Happening::Appeared { index: 0 }), (400, left)]);
}

#[test]
fn an_identity_that_was_never_told_does_not_leave() {
    let selection = Selection { min_confidence: 0.9, ..events() };
    let frames = [frame(0, vec![tracked(7, TrackState::Confirmed, 100)]), frame(100, vec![])];
    assert_eq!(happened(selection, frames), []);
}

#[test]
fn without_identities_a_count_is_told_once_it_is_steady() {
    let cars = |ms, number| frame(ms, (0..number).map(|_| object("car", 0.9)).collect());
    let numbers = [0, 0, 2, 0, 2, 2, 2, 2, 1, 2, 1, 1, 1];
    let frames = (0..).zip(numbers).map(|(n, number)| cars(n * 100, number));
    let change = |from, to| Happening::CountChanged { label: "car".into(), class_id: 3, from, to };
    assert_eq!(happened(events(), frames), [(600, change(0, 2)), (1200, change(2, 1))]);
}

#[test]
fn an_analysis_that_stops_is_told_after_a_second_and_once() {
    let frames = [
        frame(0, vec![]),
        absent(100, AbsentReason::Deadline),
        frame(200, vec![]),
        absent(300, AbsentReason::EngineRestarting),
        absent(1200, AbsentReason::EngineRestarting),
        absent(1300, AbsentReason::EngineRestarting),
        absent(9000, AbsentReason::EngineError),
        frame(9300, vec![]),
        absent(9400, AbsentReason::Maintenance),
        absent(99_000, AbsentReason::Maintenance),
        absent(99_100, AbsentReason::Starting),
    ];
    let lost = Happening::AnalysisLost { reason: AbsentReason::EngineRestarting };
    let back = Happening::AnalysisBack { away_ns: 9_000_000_000 };
    assert_eq!(happened(events(), frames), [(1300, lost), (9300, back)]);
}

#[test]
fn another_selection_repeats_nothing_and_forgets_nothing() {
    let mut selector = Selector::new(events());
    let there = |ms| frame(ms, vec![tracked(7, TrackState::Confirmed, 100)]);
    assert_eq!(selector.pick(&there(0)).happenings, [Happening::Appeared { index: 0 }]);
    assert_eq!(selector.pick(&absent(100, AbsentReason::EngineError)).happenings, []);
    let lost = Happening::AnalysisLost { reason: AbsentReason::EngineError };
    assert_eq!(selector.pick(&absent(1100, AbsentReason::EngineError)).happenings, [lost]);
    selector.set_selection(Selection { masks: true, ..events() });
    assert_eq!(selector.pick(&absent(3000, AbsentReason::EngineError)).happenings, [], "told once");
    let back = Happening::AnalysisBack { away_ns: 3_000_000_000 };
    assert_eq!(selector.pick(&there(3100)).happenings, [back]);
    // It is no longer exported, and was.
    selector.set_selection(Selection { min_confidence: 0.9, ..events() });
    assert_eq!(selector.pick(&there(3200)).happenings, []);
    let left = Happening::Left { track: 7, label: "person".into(), class_id: 6, stay_ns: 3_200_000_000 };
    assert_eq!(selector.pick(&frame(3300, vec![])).happenings, [left]);
}

#[test]
fn counts_and_the_rate_go_on_with_another_selection() {
    let cars = |ms, number| frame(ms, (0..number).map(|_| object("car", 0.9)).collect());
    let mut selector = Selector::new(events());
    let told: usize = (0..3).map(|n| selector.pick(&cars(n * 100, 2)).happenings.len()).sum();
    assert_eq!(told, 1);
    selector.set_selection(Selection { max_rate: 1.0, frames: true, ..events() });
    assert_eq!(selector.pick(&cars(300, 2)), Picked { frame: true, happenings: vec![] });
    selector.set_selection(Selection { max_rate: 1.0, frames: true, masks: true, ..events() });
    for ms in [400, 500, 600] {
        assert_eq!(selector.pick(&cars(ms, 2)), Picked::default(), "{ms}: too early, and as many as before");
    }
}

#[test]
fn events_that_are_switched_off_and_on_are_neither_repeated_nor_made_up() {
    let there = |ms, id| frame(ms, vec![tracked(id, TrackState::Confirmed, 0)]);
    let mut selector = Selector::new(events());
    assert_eq!(selector.pick(&there(0, 7)).happenings, [Happening::Appeared { index: 0 }]);
    assert_eq!(selector.pick(&absent(100, AbsentReason::Deadline)).happenings, []);
    selector.set_selection(Selection::default());
    assert_eq!(selector.pick(&there(200, 7)), Picked { frame: true, happenings: vec![] });
    selector.set_selection(events());
    assert_eq!(selector.pick(&there(9000, 7)).happenings, [], "it is known");
    assert_eq!(selector.pick(&absent(9100, AbsentReason::Deadline)).happenings, [], "for no second yet");
    selector.set_selection(Selection::default());
    selector.set_selection(events());
    assert_eq!(selector.pick(&absent(9900, AbsentReason::Deadline)).happenings, [], "looked at anew");
    let seen = selector.pick(&there(9950, 8)).happenings;
    assert!(matches!(seen[..], [Happening::Appeared { index: 0 }, Happening::Left { track: 7, .. }]), "{seen:?}");
}

#[test]
fn changes_after_every_frame_begin_with_a_record() {
    let car = |ms| frame(ms, vec![object("car", 0.9)]);
    let mut selector = Selector::new(changes());
    assert!(selector.pick(&car(0)).frame);
    selector.set_selection(Selection::default());
    assert!(selector.pick(&frame(100, vec![])).frame);
    selector.set_selection(changes());
    assert!(selector.pick(&car(200)).frame, "the last record shows no car");
    selector.set_selection(Selection { masks: true, ..changes() });
    assert!(!selector.pick(&car(300)).frame);
}

proptest::proptest! {
    /// Whatever frames come: who left had appeared, nobody appears twice without leaving, and counts follow each other.
    #[test]
    fn what_happens_is_consistent(frames in proptest::collection::vec(
        (proptest::collection::btree_set(0_u64..5, 0..4), 0_u8..4, 0_u64..300), 1..60))
    {
        let mut ms = 0;
        let made = frames.into_iter().map(|(ids, kind, step)| {
            ms += step;
            match kind {
                0 => absent(ms, AbsentReason::EngineError),
                1 => frame(ms, ids.iter().map(|_| object("car", 0.9)).collect()),
                _ => frame(ms, ids.iter().map(|id| tracked(*id, TrackState::Confirmed, 0)).collect()),
            }
        }).collect::<Vec<_>>();
        let mut selector = Selector::new(events());
        let (mut there, mut count, mut lost) = (std::collections::BTreeSet::new(), 0, false);
        for frame in made {
            for happening in selector.pick(&frame).happenings {
                match happening {
                    Happening::Appeared { index } => assert!(there.insert(frame.objects[index].track.unwrap().id)),
                    Happening::Left { track, .. } => assert!(there.remove(&track)),
                    Happening::CountChanged { from, to, .. } => {
                        assert!(from == count || from == 0);
                        assert!(from != to);
                        count = to;
                    }
                    Happening::AnalysisLost { .. } => assert!(!std::mem::replace(&mut lost, true)),
                    Happening::AnalysisBack { .. } => assert!(std::mem::replace(&mut lost, false)),
                }
            }
        }
    }
}
