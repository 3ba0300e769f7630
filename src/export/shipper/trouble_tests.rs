//! A receiver that fails, asks for a pause, refuses or does nothing.

use super::*;

#[test]
fn a_batch_that_failed_comes_again_as_it_was() {
    let mut bench = Bench::new();
    bench.receiver.script(|script| {
        script.still = true;
        script.answers = vec![unreachable(); 4].into();
    });
    bench.push(Kind::Frame, 0..10);
    bench.start(Pace::default());
    bench.wait_for_failures(1);
    // More of the same kind come, in memory and on the disk, and something that may overtake them.
    bench.push(Kind::Frame, 10..500);
    assert!(bench.spool.flush(LONG));
    bench.push(Kind::Frame, 500..510);
    let mut now = 0;
    for failures in 2..=4 {
        now += 6_000;
        bench.clock.set(now);
        bench.wait_for_failures(failures);
        bench.push(Kind::Alarm, failures..failures + 1);
    }
    bench.clock.set(now + 20_000);
    bench.receiver.wait("all", |script| script.arrived.len() == 513);
    let batches = bench.receiver.script(|script| script.batches.clone());
    let first: Vec<_> = (0..10).map(|n| format!("Frame <{n}>")).collect();
    let again: Vec<_> = batches.iter().filter(|batch| batch.contains(&first[0])).collect();
    assert!(again.len() >= 2 && again.iter().all(|batch| **batch == first), "{again:?}");
    let arrived = bench.receiver.script(|script| script.arrived.clone());
    let frames: Vec<_> = arrived.into_iter().filter(|body| body.starts_with("Frame")).collect();
    assert_eq!(frames, (0..510).map(|n| format!("Frame <{n}>")).collect::<Vec<_>>());
}

#[test]
fn a_part_of_a_batch_that_failed_comes_again_as_it_was() {
    let mut bench = Bench::new();
    let refused = || RemoteError::Refused("the body is too large".into());
    bench.receiver.script(|script| script.answers = vec![refused(), refused(), unreachable()].into());
    bench.push(Kind::Event, 0..40);
    bench.start(Pace::default());
    bench.wait_for_failures(1);
    bench.push(Kind::Event, 40..80);
    bench.clock.set(1_300);
    bench.receiver.wait("all", |script| script.arrived.len() == 80);
    let batches = bench.receiver.script(|script| script.batches.clone());
    assert_eq!(batches.iter().map(Vec::len).collect::<Vec<_>>()[..4], [40, 20, 10, 10]);
    assert_eq!(batches[2], batches[3]);
}

#[test]
fn a_batch_that_has_to_be_read_from_several_blocks_comes_again_as_it_was() {
    let mut bench = Bench::new();
    bench.receiver.script(|script| {
        script.still = true;
        script.answers = [unreachable()].into();
    });
    let push = |bench: &Bench, numbers: std::ops::Range<u32>| {
        for number in numbers {
            let body = format!("<{number}>{}", "x".repeat(10_000)).into_bytes();
            bench.spool.push(Outgoing { kind: Kind::Frame, camera: "gate".into(), body });
        }
    };
    push(&bench, 0..20);
    bench.start(Pace::default());
    bench.wait_for_failures(1);
    push(&bench, 20..40);
    assert!(bench.spool.flush(LONG));
    bench.clock.set(1_300);
    bench.receiver.wait("all", |script| script.arrived.len() == 40);
    let batches = bench.receiver.script(|script| script.batches.clone());
    assert_eq!(batches[0].len(), 20);
    assert!(batches[0] == batches[1], "{:?}", batches.iter().map(Vec::len).collect::<Vec<_>>());
}

#[test]
fn nobody_is_said_to_be_there_before_something_was_tried() {
    let mut bench = Bench::new();
    bench.receiver.script(|script| script.still = true);
    bench.start(Pace::default());
    assert!(!bench.shipper().stats().connected);
    bench.tick_until("some ticks", |script| script.ticks >= 2);
    assert!(!bench.shipper().stats().connected, "nothing was tried");
    bench.push(Kind::Event, 0..1);
    assert_eq!(bench.shipper().drain(LONG), Drained::Complete);
    assert!(bench.shipper().stats().connected);
}

#[test]
fn a_tick_that_does_nothing_does_not_end_an_outage() {
    let mut bench = Bench::new();
    bench.receiver.script(|script| script.answers = [unreachable()].into());
    bench.start(Pace::default());
    bench.tick_until("a failure", |script| script.answers.is_empty());
    bench.wait_for_failures(1);
    bench.receiver.script(|script| (script.still, script.ticks) = (true, 0));
    bench.tick_until("some ticks", |script| script.ticks >= 3);
    assert!(!bench.shipper().stats().connected);
    assert_eq!(bench.notices().len(), 1, "nothing is known of it");
    bench.push(Kind::Event, 0..1);
    bench.receiver.wait("the good news", |script| script.notices.len() == 2);
    assert!(bench.shipper().stats().connected);
}

#[test]
fn what_lies_on_the_disk_is_tried_later_and_later() {
    let mut bench = Bench::new();
    bench.receiver.script(|script| {
        script.still = true;
        script.answers = vec![unreachable(); 4].into();
    });
    bench.push(Kind::Frame, 0..10);
    assert!(bench.spool.flush(LONG));
    bench.start(Pace::default());
    let mut now = 0;
    for (failures, wait) in [(1, 0), (2, 1250), (3, 2500), (4, 5000)] {
        now += wait;
        bench.clock.set(now);
        bench.wait_for_failures(failures);
    }
    // The fifth is not due before 8 s have passed.
    bench.clock.set(now + 7_900);
    bench.goes_round();
    assert_eq!(bench.receiver.script(|script| script.sizes.len()), 4);
    bench.clock.set(now + 10_100);
    bench.receiver.wait("all", |script| script.arrived.len() == 10);
}

#[test]
fn another_kind_of_trouble_is_told_too_and_the_same_is_not() {
    let mut bench = Bench::new();
    let denied = || RemoteError::Denied("the password is wrong".into());
    let busy = || RemoteError::Busy { after: None, text: "it is starting".into() };
    let answers = [unreachable(), busy(), unreachable(), denied(), denied(), busy()];
    bench.receiver.script(|script| script.answers = answers.into());
    bench.push(Kind::Frame, 0..10);
    bench.start(Pace::default());
    while bench.receiver.script(|script| !script.answers.is_empty()) {
        assert_eq!(bench.shipper().drain(LONG), Drained::Failed);
    }
    assert_eq!(bench.shipper().drain(LONG), Drained::Complete);
    bench.receiver.wait("the good news", |script| script.notices.iter().any(|notice| !notice.degraded));
    let texts: Vec<_> = bench.notices().into_iter().map(|notice| notice.text).collect();
    let begins =
        ["the broker does not answer", "the password is wrong", "it is starting", "the receiver is well again"];
    assert_eq!(texts.len(), begins.len(), "{texts:?}");
    assert!(texts.iter().zip(begins).all(|(text, begin)| text.starts_with(begin)), "{texts:?}");
}

#[test]
fn the_end_of_trouble_is_told_with_the_first_records_that_get_through() {
    let mut bench = Bench::new();
    bench.push(Kind::Frame, 0..1000);
    assert!(bench.spool.flush(LONG));
    bench.receiver.script(|script| script.answers = [unreachable()].into());
    bench.start(Pace { replay_rate: 100, ..Pace::default() });
    bench.wait_for_failures(1);
    bench.clock.set(1_300);
    bench.receiver.wait("the good news", |script| script.notices.len() == 2);
    assert_eq!(bench.receiver.script(|script| script.arrived.len()), 100);
    assert_eq!(bench.notices()[1].text, "the receiver takes records again; 900 that still wait are sent now");
    assert!(!bench.notices()[1].degraded);
}

#[test]
fn a_size_that_is_refused_is_not_tried_with_every_batch() {
    let mut bench = Bench::new();
    bench.receiver.script(|script| script.most = Some(500));
    bench.start(Pace { replay_rate: 0, ..Pace::default() });
    bench.push(Kind::Frame, 0..3000);
    assert_eq!(bench.shipper().drain(LONG), Drained::Complete);
    let (calls, arrived) = bench.receiver.script(|script| (script.sizes.len() as u64, script.arrived.len()));
    assert_eq!((arrived, bench.spool.stats().refused), (3000, 0));
    let refused = calls - bench.shipper().stats().batches;
    assert!(refused * 10 < calls, "{refused} of {calls} calls were refused");
}

#[test]
fn a_receiver_says_how_long_a_call_may_take() {
    let mut bench = Bench::new();
    let limit = Duration::from_secs(77);
    bench.receiver.script(|script| script.limit = Some(limit));
    bench.push(Kind::Frame, 0..1);
    bench.start(Pace::default());
    assert_eq!(bench.shipper().drain(LONG), Drained::Complete);
    assert_eq!(bench.receiver.script(|script| script.limits.clone()), [limit]);
}
