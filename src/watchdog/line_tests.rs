use super::*;

type Strings = Line<String, &'static str>;

fn entered(line: &mut Strings, n: u64) -> u64 {
    line.enter(format!("in{n}"), Some(n * 10), n, n + 100)
}

fn out(line: &mut Strings) -> Vec<String> {
    std::iter::from_fn(|| line.pop())
        .map(|out| match out {
            Out::Event(e) => e.to_owned(),
            Out::Frame(f) => {
                let why = f.untouched.map_or(String::new(), |w| format!(" {w:?}"));
                f.before.iter().map(|e| format!("[{e}] ")).collect::<String>() + &f.payload + &why
            }
        })
        .collect()
}

#[test]
fn frames_leave_once_and_in_order_whatever_order_they_come_back_in() {
    let mut line = Strings::default();
    for n in 0..4 {
        entered(&mut line, n);
        line.event("event");
    }
    assert!(line.pop().is_none());
    for n in [1, 0, 0, 3, 2] {
        line.arrive(Some(n), None, 5, |_| format!("out{n}"));
    }
    assert_eq!(out(&mut line), ["out0", "event", "out1", "event", "out2", "event", "out3", "event"]);
    assert_eq!(line.arrive(Some(2), None, 5, |_| "again".into()), Arrival::Extra);
    assert!(line.is_empty());
}

#[test]
fn a_frame_that_two_have_overtaken_was_swallowed() {
    let mut line = Strings::default();
    for n in 0..3 {
        entered(&mut line, n);
    }
    line.arrive(Some(1), None, 5, |_| "out1".into());
    assert!(out(&mut line).is_empty(), "it may still come");
    line.arrive(Some(2), None, 5, |_| "out2".into());
    assert_eq!(out(&mut line), ["in0 Swallowed", "out1", "out2"]);
}

#[test]
fn an_overtaken_frame_that_is_due_was_swallowed_and_is_no_miss() {
    let mut line = Strings::default();
    entered(&mut line, 0);
    entered(&mut line, 1);
    line.arrive(Some(1), None, 5, |_| "out1".into());
    assert!(line.expire(100).late.is_empty());
    assert_eq!(out(&mut line), ["in0 Swallowed", "out1"]);
}

#[test]
fn a_frame_that_is_due_leaves_untouched_and_its_late_answer_is_dropped() {
    let mut line = Strings::default();
    entered(&mut line, 0);
    entered(&mut line, 1);
    assert_eq!(line.next_due(), Some(100));
    assert_eq!(line.expire(99), Expired::default());
    assert_eq!(line.expire(100).late, [0]);
    assert_eq!(out(&mut line), ["in0 Late"]);
    assert_eq!(line.arrive(Some(0), Some(0), 101, |_| "out0".into()), Arrival::Extra);
    assert_eq!(line.arrive(Some(1), None, 101, |_| "out1".into()), Arrival::InTime { took_ns: 100 });
    assert_eq!(out(&mut line), ["out1"]);
}

#[test]
fn frames_without_a_mark_are_known_by_their_time_and_then_by_their_order() {
    let mut line = Strings::default();
    for n in 0..3 {
        entered(&mut line, n);
    }
    line.arrive(None, Some(10), 5, |_| "by time".into());
    line.arrive(None, Some(77), 5, |_| "by order".into());
    line.arrive(None, None, 5, |_| "by order too".into());
    assert_eq!(line.arrive(None, None, 5, |_| "too many".into()), Arrival::Extra);
    assert_eq!(out(&mut line), ["by order", "by time", "by order too"]);
}

#[test]
fn a_second_answer_without_a_mark_is_not_taken_for_the_next_frame() {
    let mut line = Strings::default();
    for n in 0..2 {
        entered(&mut line, n);
    }
    line.arrive(None, Some(0), 5, |_| "out0".into());
    assert_eq!(line.arrive(None, Some(0), 5, |_| "out0 again".into()), Arrival::Extra);
    line.arrive(None, Some(10), 5, |_| "out1".into());
    assert_eq!(out(&mut line), ["out0", "out1"]);
}

#[test]
fn a_failed_chain_leaves_all_its_frames_untouched_and_its_events_behind() {
    let mut line = Strings::default();
    entered(&mut line, 0);
    line.own_event("tag");
    line.arrive(Some(0), None, 1, |_| "out0".into());
    entered(&mut line, 1);
    line.event("caps");
    line.own_event("lost");
    line.bypass("in2".into(), None, 3, Why::Bypassed);
    line.release();
    assert_eq!(out(&mut line), ["[tag] out0", "in1 Bypassed", "caps", "in2 Bypassed"]);
    assert_eq!(line.next_due(), None);
}

#[test]
fn proofs_are_answered_apart_from_the_frames_in_line() {
    let mut line = Strings::default();
    let number = line.bypass("in".into(), Some(5), 0, Why::Bypassed);
    line.prove(number, Some(5), 0, 100);
    assert_eq!(out(&mut line), ["in Bypassed"]);
    assert!(line.is_pending(number));
    assert_eq!(line.arrive(None, Some(5), 30, |_| "proof".into()), Arrival::Proof { took_ns: 30 });
    line.prove(9, None, 0, 100);
    assert_eq!(line.next_due(), Some(100));
    assert_eq!(line.expire(100).proofs, [9]);
    assert!(!line.is_pending(9) && out(&mut line).is_empty());
}

#[test]
fn times_move_with_the_clock() {
    let mut line = Strings::default();
    entered(&mut line, 50);
    line.rebase(60, 1000);
    assert_eq!(line.next_due(), Some(1090));
    line.rebase(1000, 0);
    assert_eq!(line.next_due(), Some(90));
    assert_eq!(line.arrive(Some(0), None, 10, |_| "out".into()), Arrival::InTime { took_ns: 10 });
}

#[test]
fn a_flush_empties_the_line_and_numbers_go_on() {
    let mut line = Strings::default();
    entered(&mut line, 0);
    line.event("eos");
    assert_eq!(line.flush(), (vec!["eos"], vec!["in0".to_owned()]));
    assert!(line.is_empty() && line.next_due().is_none());
    assert_eq!(entered(&mut line, 1), 1);
}

mod properties {
    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, Clone)]
    enum Step {
        Enter,
        Bypass,
        Event,
        Arrive(Option<u64>, Option<u64>),
        Wait(u64),
        Release,
        Pop,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            4 => Just(Step::Enter),
            1 => Just(Step::Bypass),
            1 => Just(Step::Event),
            6 => (prop::option::of(0u64..40), prop::option::of(0u64..40)).prop_map(|(m, t)| Step::Arrive(m, t)),
            1 => (0u64..20).prop_map(Step::Wait),
            1 => Just(Step::Release),
            3 => Just(Step::Pop),
        ];
        prop::collection::vec(step, 0..120)
    }

    proptest! {
        #[test]
        fn everything_that_enters_leaves_exactly_once_and_in_order(steps in steps()) {
            let mut line = Line::<u64, u64>::default();
            let (mut now, mut seen, mut expected) = (0, Vec::new(), Vec::new());
            let note = |seen: &mut Vec<(bool, u64)>, out| match out {
                Out::Frame(f) => seen.push((true, f.number)),
                Out::Event(e) => seen.push((false, e)),
            };
            for (i, step) in steps.into_iter().enumerate() {
                match step {
                    Step::Enter => {
                        let frames = expected.iter().filter(|(frame, _)| *frame).count() as u64;
                        let n = line.enter(i as u64, Some(frames), now, now + 10);
                        expected.push((true, n));
                    }
                    Step::Bypass => {
                        let n = line.bypass(i as u64, None, now, Why::Bypassed);
                        line.prove(n, None, now, now + 10);
                        expected.push((true, n));
                    }
                    Step::Event => {
                        line.event(i as u64);
                        expected.push((false, i as u64));
                    }
                    Step::Arrive(mark, pts) => {
                        line.arrive(mark, pts, now, |_| 0);
                    }
                    Step::Wait(ns) => {
                        now += ns;
                        line.expire(now);
                        prop_assert!(line.next_due().is_none_or(|due| due > now));
                    }
                    Step::Release => line.release(),
                    Step::Pop => {
                        if let Some(out) = line.pop() {
                            note(&mut seen, out);
                        }
                    }
                }
            }
            line.expire(now + 10);
            while let Some(out) = line.pop() {
                note(&mut seen, out);
            }
            prop_assert!(line.is_empty());
            prop_assert_eq!(seen, expected);
        }
    }
}
