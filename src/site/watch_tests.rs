use std::time::Duration;

use super::*;
use crate::site::description::NoSignal;

const MS: u64 = 1_000_000;
const SECOND: u64 = 1000 * MS;

fn policy() -> Policy {
    Policy {
        silent_after: Duration::from_secs(5),
        reconnect_first: Duration::from_secs(1),
        reconnect_most: Duration::from_secs(60),
        ends: false,
        repeats: false,
        no_signal: NoSignal::Nothing,
    }
}

/// A camera that was started at 100 s and gave a picture at 101 s.
fn playing(policy: Policy) -> Watch {
    let mut watch = Watch::new(policy, 1);
    watch.enable(true);
    assert_eq!(watch.take_actions(), [Action::Start]);
    watch.started(100 * SECOND);
    assert_eq!(watch.take_change().unwrap().state, State::Starting);
    watch.picture(101 * SECOND);
    assert_eq!(watch.take_change().unwrap().state, State::Playing);
    watch
}

fn seen(frame: u64, data: u64) -> Seen {
    Seen { frame: frame * SECOND, data: data * SECOND, staged: 0 }
}

#[track_caller]
fn lost(watch: &mut Watch, reason: Reason) {
    assert_eq!(watch.take_actions(), [Action::Stop]);
    let report = watch.take_change().expect("it is told");
    assert_eq!((report.state, report.reason), (State::Lost, Some(reason)), "{report:?}");
    assert!(!report.text.is_empty());
}

#[test]
fn what_is_switched_off_does_nothing() {
    let mut watch = Watch::new(policy(), 1);
    assert_eq!(watch.take_change().unwrap().state, State::Disabled);
    watch.failed(0, Reason::Error, "late");
    watch.picture(0);
    watch.ended(0, Seen::default());
    watch.tick(u64::MAX, Seen::default());
    watch.enable(false);
    watch.rebuild();
    assert_eq!((watch.take_actions(), watch.take_change(), watch.next_wake(Seen::default())), (vec![], None, None));
}

#[test]
fn a_camera_that_sends_pictures_is_left_alone() {
    let mut watch = playing(policy());
    for second in 102..200 {
        watch.tick(second * SECOND, seen(second, second));
    }
    assert_eq!((watch.take_actions(), watch.take_change(), watch.retries()), (vec![], None, 0));
    assert_eq!(watch.next_wake(seen(200, 200)), Some(205 * SECOND));
}

#[test]
fn silence_is_told_apart_by_what_still_comes() {
    let cases = [
        (seen(101, 101), Reason::Silent),
        (seen(101, 0), Reason::Silent),
        // Something comes to the end.
        (seen(101, 106), Reason::Corrupt),
    ];
    for (seen, reason) in cases {
        let mut watch = playing(policy());
        watch.tick(106 * SECOND - 1, seen);
        assert_eq!(watch.take_actions(), []);
        watch.tick(106 * SECOND, seen);
        lost(&mut watch, reason);
    }
    let mut watch = playing(policy());
    watch.tick(106 * SECOND, Seen { staged: 106 * SECOND, ..seen(101, 106) });
    lost(&mut watch, Reason::Error);
    let mut watch = playing(policy());
    watch.jumped(101 * SECOND);
    watch.tick(106 * SECOND, seen(101, 106));
    lost(&mut watch, Reason::ClockJump);
}

#[test]
fn a_jump_that_did_no_harm_is_not_the_cause_of_a_later_loss() {
    for (last, reason) in [(102, Reason::ClockJump), (500, Reason::Silent)] {
        let mut watch = playing(policy());
        watch.jumped(101 * SECOND);
        watch.tick((last + 5) * SECOND, seen(last, last));
        lost(&mut watch, reason);
    }
}

#[test]
fn the_first_picture_has_more_time() {
    let cases = [
        (seen(0, 0), Reason::TimedOut),
        (seen(0, 101), Reason::Silent),
        (seen(0, 114), Reason::Corrupt),
        // From the pipeline before.
        (seen(99, 99), Reason::TimedOut),
    ];
    for (seen, reason) in cases {
        let mut watch = Watch::new(policy(), 1);
        watch.enable(true);
        watch.started(100 * SECOND);
        drop((watch.take_actions(), watch.take_change()));
        watch.tick(115 * SECOND - 1, seen);
        assert_eq!(watch.take_actions(), []);
        watch.tick(115 * SECOND, seen);
        lost(&mut watch, reason);
    }
}

#[test]
fn a_lost_camera_is_tried_again_after_pauses_that_grow_until_it_is_good() {
    let mut watch = playing(policy());
    let mut now = 102 * SECOND;
    watch.failed(now, Reason::Refused, "nobody there");
    lost(&mut watch, Reason::Refused);
    let mut pauses = Vec::new();
    for _ in 0..8 {
        let next = watch.next_try().unwrap();
        pauses.push((next - now) / MS);
        watch.tick(next - 1, Seen::default());
        assert_eq!(watch.take_actions(), []);
        watch.tick(next, Seen::default());
        assert_eq!((watch.take_actions(), watch.next_try()), (vec![Action::Start], None));
        watch.started(next);
        now = next + SECOND;
        watch.failed(now, Reason::Refused, "nobody there");
        assert_eq!(watch.take_actions(), [Action::Stop]);
    }
    assert_eq!((watch.take_change(), watch.retries()), (None, 8), "the same again is not told again");
    let middles = [1, 2, 4, 8, 16, 32, 60, 60].map(|seconds| seconds * 1000);
    assert!(pauses.iter().zip(middles).all(|(p, m)| (m * 3 / 4..=m * 5 / 4).contains(p)), "{pauses:?}");
    // Another reason is news.
    watch.tick(watch.next_try().unwrap(), Seen::default());
    assert_eq!(watch.take_actions(), [Action::Start]);
    watch.failed(now, Reason::NotFound, "no such stream");
    lost(&mut watch, Reason::NotFound);
    // A short time of pictures does not make it good; a longer one does.
    for (good, most) in [(1, 60), (31, 2)] {
        watch.tick(watch.next_try().unwrap(), Seen::default());
        drop((watch.take_actions(), watch.take_change()));
        watch.started(now);
        watch.picture(now);
        assert_eq!(watch.take_change().unwrap().state, State::Playing);
        now += good * SECOND;
        watch.failed(now, Reason::EndOfStream, "hung up");
        lost(&mut watch, Reason::EndOfStream);
        let pause = watch.next_try().unwrap() - now;
        assert!(pause <= most * 5 / 4 * SECOND + SECOND && (most == 2 || pause > 40 * SECOND), "{pause}");
    }
}

#[test]
fn what_cannot_be_built_is_tried_again_seldom() {
    let mut watch = Watch::new(policy(), 1);
    watch.enable(true);
    drop((watch.take_actions(), watch.take_change()));
    watch.failed(SECOND, Reason::CannotBuild, "no such element");
    assert_eq!(watch.take_actions(), [Action::Stop]);
    let report = watch.take_change().unwrap();
    assert_eq!((report.state, report.reason), (State::Failed, Some(Reason::CannotBuild)));
    assert!(watch.is_away() && watch.next_try().unwrap() >= 46 * SECOND);
}

#[test]
fn a_pipeline_that_never_starts_is_given_up() {
    let mut watch = Watch::new(policy(), 1);
    watch.enable(true);
    drop((watch.take_actions(), watch.take_change()));
    for second in 0..300 {
        watch.tick(second * SECOND, Seen::default());
    }
    assert_eq!(watch.take_actions(), [], "a model may be loading");
    watch.tick(301 * SECOND, Seen::default());
    lost(&mut watch, Reason::TimedOut);
}

#[test]
fn the_end_of_a_stream_is_what_the_policy_says() {
    let mut watch = playing(policy());
    watch.ended(110 * SECOND, seen(110, 110));
    lost(&mut watch, Reason::EndOfStream);

    let mut watch = playing(Policy { ends: true, ..policy() });
    watch.ended(110 * SECOND, seen(110, 110));
    assert_eq!((watch.take_actions(), watch.take_change().unwrap().state), (vec![Action::Stop], State::Ended));
    watch.tick(1000 * SECOND, seen(110, 110));
    assert_eq!((watch.take_actions(), watch.next_try()), (vec![], None));

    let mut watch = playing(Policy { repeats: true, ..policy() });
    for n in 11..14 {
        watch.ended(n * 10 * SECOND, seen(n * 10, n * 10));
        assert_eq!((watch.take_actions(), watch.take_change()), (vec![Action::Rewind], None));
    }
    watch.cannot_rewind();
    assert_eq!(watch.take_actions(), [Action::Stop, Action::Start]);
    watch.started(150 * SECOND);
    // Nothing in it: to begin anew at once would never end.
    watch.ended(150 * SECOND, seen(130, 150));
    lost(&mut watch, Reason::EndOfStream);
}

#[test]
fn it_is_switched_off_and_on_and_made_anew_from_any_state() {
    let states: [fn(&mut Watch); 4] = [
        |_| {},
        |watch| watch.failed(102 * SECOND, Reason::Refused, "nobody"),
        |watch| watch.failed(102 * SECOND, Reason::CannotBuild, "nothing"),
        |watch| watch.cannot_rewind(),
    ];
    for state in states {
        let mut watch = playing(policy());
        state(&mut watch);
        let stopped = watch.take_actions().last() == Some(&Action::Stop);
        watch.enable(false);
        assert_eq!(watch.take_actions(), if stopped { vec![] } else { vec![Action::Stop] });
        assert_eq!((watch.take_change().unwrap().state, watch.next_try()), (State::Disabled, None));
        watch.enable(true);
        assert_eq!((watch.take_actions(), watch.take_change().unwrap().state), (vec![Action::Start], State::Starting));
        watch.set_policy(Policy { silent_after: Duration::from_secs(1), ..policy() });
        watch.rebuild();
        assert_eq!(watch.take_actions(), [Action::Stop, Action::Start]);
        watch.started(200 * SECOND);
        assert_eq!(watch.next_wake(Seen::default()), Some(203 * SECOND));
    }
}
