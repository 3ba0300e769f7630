//! The element that the watchdog is tested with does wrong what it is told to, and nothing else.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may")]

mod common;
#[path = "common/faulty.rs"]
#[allow(dead_code, reason = "each test binary uses a part")]
mod faulty;

use std::sync::Arc;
use std::time::{Duration, Instant};

use common::messages;
use common::rig::{Item, Rig, buffers};
use faulty::{Control, Fault, GUARD};
use gst::prelude::*;
use gst_check::TestClock;
use gst_video::VideoFormat;

/// The element alone, playing.
fn rig(control: &Control) -> Rig {
    common::init();
    let element = gst::parse::launch(&control.line()).unwrap();
    let rig = Rig::new(&element);
    rig.start(&common::caps(VideoFormat::Gray8, 4, 4));
    rig
}

fn frame(number: u64) -> gst::Buffer {
    let mut buffer = gst::Buffer::from_mut_slice(vec![number as u8; 16]);
    let new = buffer.get_mut().unwrap();
    new.set_offset(number);
    new.set_pts(gst::ClockTime::from_mseconds(40 * number));
    buffer
}

/// Sends frames 0, 1 and 2 through an element in which `fault` hits the second; answers, what came out, and errors.
fn three(fault: Fault) -> (Vec<Result<gst::FlowSuccess, gst::FlowError>>, Vec<Item>, Vec<gst::Message>) {
    let control = Control::new();
    control.inject(fault, 1, Some(1));
    let rig = rig(&control);
    let answers = (0..3).map(|n| rig.push(frame(n))).collect();
    let out = rig.take();
    assert_eq!(control.hits(), 1, "{fault:?}");
    let errors = messages(&rig.bus, gst::MessageType::Error);
    (answers, out, errors)
}

/// Number and milliseconds of what came out.
fn seen(out: &[Item]) -> Vec<(u64, Option<u64>)> {
    buffers(out).iter().map(|b| (b.offset(), b.pts().map(gst::ClockTime::mseconds))).collect()
}

fn until(mut done: impl FnMut() -> bool) {
    let end = Instant::now() + GUARD;
    while !done() {
        assert!(Instant::now() < end, "waited in vain");
        std::thread::park_timeout(Duration::from_millis(1));
    }
}

#[test]
fn a_healthy_one_inverts_the_first_byte() {
    let control = Control::new();
    let rig = rig(&control);
    for n in 0..3 {
        rig.push(frame(n)).unwrap();
    }
    for (n, buffer) in (0..).zip(buffers(&rig.finish())) {
        let map = buffer.map_readable().unwrap();
        assert_eq!((map[0], &map[1..]), (!n, &[n; 15][..]));
    }
    assert_eq!((control.hits(), control.instances()), (0, 1));
    drop(rig);
    assert_eq!(control.instances(), 0);
}

#[test]
fn frames_are_lost_doubled_swapped_and_changed() {
    let (first, last) = ((0, Some(0)), (2, Some(80)));
    let second = (1, Some(40));
    let none = u64::MAX;
    for (fault, expected) in [
        (Fault::Swallow, vec![first, last]),
        (Fault::Duplicate, vec![first, second, second, last]),
        (Fault::Swap, vec![first, last, second]),
        (Fault::ShiftTime, vec![first, (1, Some(1040)), last]),
        (Fault::ClearTime, vec![first, (1, None), last]),
        (Fault::ConstantTime, vec![first, (1, Some(0)), last]),
        (Fault::Rebuild, vec![first, (none, Some(40)), last]),
        (Fault::RebuildTwice, vec![first, (none, Some(40)), (none, Some(40)), last]),
    ] {
        let (answers, out, errors) = three(fault);
        assert_eq!(seen(&out), expected, "{fault:?}");
        assert!(answers.iter().all(Result::is_ok) && errors.is_empty(), "{fault:?}: {answers:?}, {errors:?}");
    }
}

#[test]
fn frames_are_refused() {
    for error in FLOWS {
        let (answers, out, errors) = three(Fault::Flow(error));
        assert_eq!(answers[1], Err(error));
        assert_eq!(seen(&out), [(0, Some(0)), (2, Some(80))]);
        assert!(errors.is_empty());
    }
}

const FLOWS: [gst::FlowError; 7] = [
    gst::FlowError::Flushing,
    gst::FlowError::Eos,
    gst::FlowError::NotLinked,
    gst::FlowError::NotNegotiated,
    gst::FlowError::Error,
    gst::FlowError::NotSupported,
    gst::FlowError::CustomError,
];

#[test]
fn a_panic_is_an_error_and_ends_the_element() {
    let (answers, out, errors) = three(Fault::Panic);
    assert_eq!(answers[1..], [Err(gst::FlowError::Error); 2]);
    assert_eq!((seen(&out).len(), errors.is_empty()), (1, false));
}

#[test]
fn an_error_message_lets_the_frame_pass() {
    let (answers, out, errors) = three(Fault::ErrorMessage);
    assert!(answers.iter().all(Result::is_ok));
    assert_eq!((seen(&out).len(), errors.len()), (3, 1));
}

#[test]
fn events_are_made_up_swallowed_and_refused() {
    let (answers, out, _) = three(Fault::Eos);
    assert_eq!((answers[1], seen(&out).len()), (Err(gst::FlowError::Eos), 1));
    let (_, out, _) = three(Fault::ChangeCaps);
    let caps = out.iter().filter(|i| matches!(i, Item::Event(e) if e.type_() == gst::EventType::Caps));
    assert_eq!((caps.count(), seen(&out).len()), (2, 3));

    let control = Control::new();
    let rig = rig(&control);
    control.inject(Fault::SwallowEvent, 0, Some(1));
    assert!(rig.event(gst::event::Gap::new(gst::ClockTime::ZERO, None)));
    // Always: a pad tries again before the next frame.
    control.inject(Fault::RefuseCaps, 0, None);
    rig.event(gst::event::Caps::new(&common::caps(VideoFormat::Gray8, 2, 8)));
    assert_eq!(rig.push(frame(0)), Err(gst::FlowError::NotNegotiated));
    control.clear();
    rig.push(frame(0)).unwrap();
    let out = rig.finish();
    assert!(!out.iter().any(|i| matches!(i, Item::Event(e) if e.type_() == gst::EventType::Gap)), "{out:?}");
}

#[test]
fn states_are_refused() {
    common::init();
    for (fault, reached) in [(Fault::RefuseReady, gst::State::Null), (Fault::RefusePaused, gst::State::Ready)] {
        let control = Control::new();
        let element = gst::parse::launch(&control.line()).unwrap();
        control.inject(fault, 0, None);
        assert!(element.set_state(gst::State::Playing).is_err());
        assert_eq!(element.current_state(), reached);
        control.clear();
        element.set_state(gst::State::Playing).unwrap();
        element.set_state(gst::State::Null).unwrap();
    }
}

/// Runs `work` in a thread, and asserts that it hangs until it is released.
fn hangs(control: &Arc<Control>, work: impl FnOnce() + Send) {
    std::thread::scope(|scope| {
        let thread = scope.spawn(work);
        until(|| control.hanging() > 0);
        assert!(!thread.is_finished());
        control.release();
        until(|| thread.is_finished());
    });
    until(|| control.hanging() == 0);
}

#[test]
fn what_hangs_comes_back_when_it_is_released() {
    for fault in [Fault::Hang, Fault::Deadlock, Fault::LockedObject] {
        let control = Control::new();
        let rig = rig(&control);
        control.inject(fault, 0, Some(1));
        hangs(&control, || assert!(rig.push(frame(0)).is_ok()));
        rig.push(frame(1)).unwrap();
        assert_eq!(buffers(&rig.finish()).len(), 2);
    }
    let control = Control::new();
    let rig = rig(&control);
    control.inject(Fault::HangFlush, 0, Some(1));
    hangs(&control, || assert!(rig.event(gst::event::FlushStart::new())));
    control.inject(Fault::HangStopping, 0, Some(1));
    let element = rig.element.clone();
    hangs(&control, || assert!(element.set_state(gst::State::Null).is_ok()));
    control.inject(Fault::HangStarting, 0, Some(1));
    hangs(&control, || assert!(element.set_state(gst::State::Playing).is_ok()));
}

#[test]
fn a_deadlocked_one_holds_whoever_asks_it_something() {
    let control = Control::new();
    let rig = rig(&control);
    control.inject(Fault::Deadlock, 0, Some(1));
    std::thread::scope(|scope| {
        let push = scope.spawn(|| rig.push(frame(0)));
        until(|| control.hanging() > 0);
        let query = scope.spawn(|| rig.element.static_pad("sink").unwrap().query_caps(None));
        let down = scope.spawn(|| rig.element.set_state(gst::State::Paused));
        until(|| control.waiting() == 4);
        assert!(!push.is_finished() && !query.is_finished() && !down.is_finished());
        control.release();
    });
}

#[test]
fn it_sleeps_on_the_clock_of_its_element() {
    let control = Control::new();
    control.inject(Fault::Sleep(gst::ClockTime::from_seconds(5)), 0, None);
    let rig = rig(&control);
    let clock = TestClock::new();
    rig.element.set_clock(Some(&clock)).unwrap();
    std::thread::scope(|scope| {
        let push = scope.spawn(|| rig.push(frame(0)));
        let id = clock.wait_for_next_pending_id();
        assert_eq!(id.time(), gst::ClockTime::from_seconds(5));
        assert!(!push.is_finished());
        assert!(clock.crank());
        push.join().unwrap().unwrap();
        // Going down cuts it short.
        let push = scope.spawn(|| rig.push(frame(1)));
        clock.wait_for_next_pending_id();
        rig.element.set_state(gst::State::Null).unwrap();
        let _ = push.join().unwrap();
    });
}
