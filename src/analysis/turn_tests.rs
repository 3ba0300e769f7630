//! Frames that pass since others come first, or since enough of their camera were looked at.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::stats::Passed;
use super::tests::{counted, enter, enter_objects, next, until, with, with_objects};
use super::*;
use crate::engine::fake::Fake;

fn holding() -> Settings {
    Settings { when_busy: WhenBusy::Hold, max_in_flight: 4, ..Settings::default() }
}

/// Two cameras with one engine of one lane, whose runs each need a permit; and the number of runs that have begun.
#[allow(clippy::type_complexity, reason = "a test's own")]
fn pair() -> ([Analysis<u64>; 2], std::sync::mpsc::Sender<()>, Arc<std::sync::atomic::AtomicUsize>) {
    let (open, begun, behaviour) = counted();
    let model = Arc::new(Model::fake(Fake::new(1).behave(behaviour)));
    let cameras = [(); 2].map(|()| {
        let analysis = Analysis::new();
        analysis.slot().replace(Some(Arc::clone(&model)));
        analysis.set_settings(holding());
        analysis
    });
    (cameras, open, begun)
}

fn passed(analysis: &Analysis<u64>, why: Passed) -> u64 {
    analysis.stats().passed[why as usize]
}

#[test]
fn a_frame_passes_while_enough_of_all_cameras_wait_and_costs_the_engine_nothing() {
    let ([first, second], open, begun) = pair();
    enter(&first, 0).unwrap();
    until(|| begun.load(Ordering::SeqCst) == 1);
    enter(&second, 0).unwrap();
    // One runs and one waits: each lane has its next frame.
    enter(&first, 1).unwrap();
    assert_eq!(passed(&first, Passed::Turn), 1);
    assert_eq!(first.stats().in_flight, 1, "it was not even read");
    open.send(()).unwrap();
    until(|| begun.load(Ordering::SeqCst) == 2);
    enter(&first, 2).unwrap();
    open.send(()).unwrap();
    open.send(()).unwrap();
    let seen: Vec<_> = (0..3).map(|_| next(&first).result.freshness).collect();
    let held = Freshness::Held { age_ns: 40_000_000 };
    assert_eq!(seen, [Freshness::Fresh, held, Freshness::Fresh]);
    assert_eq!(next(&second).result.freshness, Freshness::Fresh);
    let shares = [&first, &second].map(|analysis| analysis.share());
    assert!((shares[0].part + shares[1].part - 1.0).abs() < 1e-6 && shares[0].part > shares[1].part, "{shares:?}");
    assert_eq!(shares[0].users, 2);
}

#[test]
fn frames_that_are_dropped_while_they_wait_make_room() {
    let ([first, second], open, begun) = pair();
    enter(&first, 0).unwrap();
    until(|| begun.load(Ordering::SeqCst) == 1);
    enter(&second, 0).unwrap();
    enter(&first, 1).unwrap();
    assert_eq!(passed(&first, Passed::Turn), 1);
    second.flush();
    enter(&first, 2).unwrap();
    assert_eq!((passed(&first, Passed::Turn), first.stats().in_flight), (1, 2));
    // One that cannot be read gives its place back too: see that the next is let in.
    open.send(()).unwrap();
    until(|| begun.load(Ordering::SeqCst) == 2);
    second.resume();
    let ticket = second.read(&super::tests::input(None, 1)).unwrap();
    second.enter(ticket, 1).unwrap();
    enter(&second, 2).unwrap();
    assert_eq!(passed(&second, Passed::Turn), 0);
    (0..2).for_each(|_| open.send(()).unwrap());
}

#[test]
fn who_waits_for_the_engine_is_never_refused() {
    let ([first, second], open, begun) = pair();
    second.set_settings(Settings { when_busy: WhenBusy::Wait, ..holding() });
    enter(&first, 0).unwrap();
    until(|| begun.load(Ordering::SeqCst) == 1);
    (0..4).for_each(|n| enter(&second, n).unwrap());
    assert_eq!(second.stats().in_flight, 4);
    (0..5).for_each(|_| open.send(()).unwrap());
    (0..4).for_each(|_| assert_eq!(next(&second).result.freshness, Freshness::Fresh));
    assert_eq!(second.stats().passed, [0; 4]);
}

#[test]
fn while_the_engine_is_slow_many_frames_may_line_up_behind_one() {
    let ([first, _], open, begun) = pair();
    first.set_settings(Settings { max_in_flight: 1, interval: 1, ..holding() });
    enter(&first, 0).unwrap();
    until(|| begun.load(Ordering::SeqCst) == 1);
    // None of these waits, or the test would not end.
    (1..=16).for_each(|n| enter(&first, n).unwrap());
    open.send(()).unwrap();
    let seen = (0..=16).map(|_| next(&first).result.freshness).filter(|seen| *seen == Freshness::Fresh).count();
    assert_eq!(seen, 1);
    assert_eq!((passed(&first, Passed::Interval), passed(&first, Passed::Busy)), (8, 8));
}

#[test]
fn as_many_frames_a_second_are_looked_at_as_the_limit_says() {
    for when_busy in [WhenBusy::Wait, WhenBusy::Hold] {
        let analysis = with(Fake::new(1), Settings { max_fps: Some(5.0), when_busy, ..holding() });
        for n in 0..25 {
            enter(&analysis, n).unwrap();
            let freshness = next(&analysis).result.freshness;
            let wanted = if n % 5 == 0 { Freshness::Fresh } else { Freshness::Held { age_ns: n % 5 * 40_000_000 } };
            assert_eq!(freshness, wanted, "{n}");
        }
        assert_eq!(passed(&analysis, Passed::Budget), 20);
        // At once without the limit.
        analysis.set_settings(holding());
        enter(&analysis, 26).unwrap();
        assert_eq!(next(&analysis).result.freshness, Freshness::Fresh);
    }
}

#[test]
fn objects_that_are_refused_are_looked_at_with_the_next_frame() {
    let ([first, second], open, begun) = pair();
    let rules = crate::cascade::Rules { min_size: 0, ..Default::default() };
    second.set_settings(Settings { cascade: Some(Arc::new(rules)), ..holding() });
    enter(&first, 0).unwrap();
    until(|| begun.load(Ordering::SeqCst) == 1);
    enter(&first, 1).unwrap();
    let earlier = with_objects(0, 2);
    enter_objects(&second, 0, &earlier);
    assert_eq!(passed(&second, Passed::Turn), 1);
    let outcome = next(&second);
    assert!(!outcome.looked && outcome.result.objects == earlier.objects, "the earlier result stays");
    // Both runs of the first camera, and one for each object.
    (0..4).for_each(|_| open.send(()).unwrap());
    (0..2).for_each(|_| drop(next(&first)));
    enter_objects(&second, 1, &with_objects(1, 2));
    let outcome = next(&second);
    assert!(outcome.looked);
    assert_eq!(outcome.result.objects.len(), 4);
}
