//! A second model beside the frames.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::swap_tests::{analysis, model, settings, watching};
use super::tests::{cascade, enter, enter_objects, gated, next, until, with_objects};
use super::*;
use crate::bundle::TrialLimits;
use crate::cancel::Cancel;
use crate::engine::EngineError;
use crate::engine::fake::{Fake, Gate};
use crate::engine::lanes::{Lanes, MOST_ABANDONED};
use crate::model::Model;
use crate::swap::phase::Reason;
use crate::swap::rules::Rules;
use crate::swap::trial::{Trial, Verdict};

/// As many processors as it takes.
const ALL: f32 = f32::INFINITY;

fn companion(model: &Arc<Model>, role: Role, trial: &Arc<Trial>) -> Companion {
    Companion { model: Arc::clone(model), role, trial: Arc::clone(trial), cpu: ALL, after: 0 }
}

/// An active model, a companion, and the trial that hears of it.
fn pair(active: Fake, beside: Fake, role: Role) -> (Arc<Analysis<u64>>, Arc<Model>, Arc<Trial>) {
    let active = model("thing", active);
    let beside = model("thing", beside);
    let trial = watching(&active);
    let analysis = analysis(&active, settings(2));
    analysis.accompany(Some(companion(&beside, role, &trial)));
    (analysis, beside, trial)
}

/// Frame `n` is analysed, as if there were no companion.
fn fresh(analysis: &Analysis<u64>, n: u64) {
    enter(analysis, n).unwrap();
    let outcome = next(analysis);
    assert_eq!((outcome.payload, outcome.result.freshness, outcome.error), (n, Freshness::Fresh, None));
    assert_eq!(outcome.result.objects.len(), 1);
}

/// Whether the companion would take a sample of the next frame, if it may.
fn resting(analysis: &Analysis<u64>) -> bool {
    analysis.shared.lock().beside.as_ref().unwrap().is_idle()
}

/// Frames `n`, …, each with a sample that is done before the next.
fn sampled(analysis: &Analysis<u64>, trial: &Trial, frames: std::ops::Range<u64>) {
    for n in frames {
        let before = trial.report().agreement.frames;
        fresh(analysis, n);
        until(|| trial.report().agreement.frames > before);
    }
}

#[test]
fn an_old_model_beside_the_new_one_is_compared_with_it_and_nobody_else_hears() {
    let (analysis, _, trial) = pair(Fake::new(1), Fake::sized(1, 8), Role::Old);
    sampled(&analysis, &trial, 0..5);
    let report = trial.report();
    assert_eq!((report.agreement.frames, report.agreement.matched, report.agreement.score()), (5, 5, 1.0));
    assert_eq!((report.peer.frames, report.peer.failed, report.peer.objects), (5, 0, 5));
    assert_eq!(report.subject.frames, 0, "nobody watches the active one");
    let stats = analysis.stats();
    assert_eq!((stats.frames, stats.fresh, stats.errors), (5, 5, 0));
}

#[test]
fn a_shadow_is_the_one_that_is_tried_and_the_active_model_its_measure() {
    // Finds nothing: its scores are too low.
    let blind = |io: &mut crate::engine::Io| {
        if let Some(crate::engine::TensorData::F32(out)) = io.outputs.first_mut().map(|t| &mut t.data) {
            out.iter_mut().for_each(|v| *v = 0.0);
        }
        Ok(())
    };
    let (analysis, _, trial) = pair(Fake::new(1), Fake::new(1).behave(blind), Role::New);
    sampled(&analysis, &trial, 0..4);
    let report = trial.report();
    assert_eq!((report.subject.frames, report.subject.objects, report.peer.frames, report.peer.objects), (4, 0, 4, 4));
    assert_eq!((report.agreement.missed, report.agreement.extra, report.agreement.score()), (4, 0, 0.0));
}

#[test]
fn the_first_frames_pass_and_at_a_share_of_nothing_all_do() {
    let (analysis, beside, trial) = pair(Fake::new(1), Fake::new(1), Role::Old);
    analysis.accompany(Some(Companion { after: 3, ..companion(&beside, Role::Old, &trial) }));
    (0..3).for_each(|n| fresh(&analysis, n));
    assert!(resting(&analysis));
    assert_eq!(trial.report().peer.frames, 0);
    sampled(&analysis, &trial, 3..6);
    for cpu in [0.0, f32::NAN] {
        analysis.accompany(Some(Companion { cpu, ..companion(&beside, Role::Old, &trial) }));
        (6..12).for_each(|n| fresh(&analysis, n));
        assert_eq!(trial.report().agreement.frames, 3);
    }
}

#[test]
fn what_a_run_has_cost_is_paid_for_before_the_next() {
    let (analysis, beside, trial) = pair(Fake::new(1), Fake::new(1), Role::Old);
    // A run of a microsecond at that share is followed by a pause of ten minutes.
    analysis.accompany(Some(Companion { cpu: 1e-9, ..companion(&beside, Role::Old, &trial) }));
    sampled(&analysis, &trial, 0..1);
    (1..20).for_each(|n| fresh(&analysis, n));
    assert_eq!(trial.report().peer.frames, 1);
}

#[test]
fn a_slow_companion_takes_no_sample_meanwhile_and_holds_no_frame_up() {
    let gate: Arc<Gate> = Arc::default();
    let (analysis, _, trial) = pair(Fake::new(1), Fake::new(1).hang_at(&gate, false), Role::Old);
    gate.shut();
    enter(&analysis, 0).unwrap();
    gate.hangs(1);
    next(&analysis);
    (1..50).for_each(|n| fresh(&analysis, n));
    analysis.drain();
    assert_eq!((analysis.stats().frames, analysis.stats().in_flight, trial.report().peer.frames), (50, 0, 0));
    gate.open();
    gate.release();
    // The answer to the first frame meets that of the active model, which has waited for it.
    until(|| trial.report().agreement.frames == 1);
    sampled(&analysis, &trial, 50..52);
    assert_eq!(trial.report().peer.frames, 3);
}

#[test]
fn the_answer_of_a_slow_active_model_is_waited_for_too() {
    let gate: Arc<Gate> = Arc::default();
    let (analysis, _, trial) = pair(Fake::new(1).hang_at(&gate, false), Fake::new(1), Role::Old);
    gate.shut();
    enter(&analysis, 0).unwrap();
    gate.hangs(1);
    until(|| trial.report().peer.frames == 1);
    assert_eq!(trial.report().agreement.frames, 0);
    gate.open();
    gate.release();
    next(&analysis);
    until(|| trial.report().agreement.frames == 1);
}

#[test]
fn errors_and_panics_of_a_companion_reach_its_trial_only() {
    let mut runs = 0;
    let behave = move |_: &mut crate::engine::Io| {
        runs += 1;
        match runs - 2 {
            1 => Err(EngineError::Run("out of luck".into())),
            2 => panic!("a bug"),
            _ => Ok(()),
        }
    };
    let (analysis, _, trial) = pair(Fake::new(1), Fake::new(1).behave(behave), Role::Old);
    for n in 0..4 {
        fresh(&analysis, n);
        until(|| trial.report().peer.frames == n + 1);
        until(|| resting(&analysis));
    }
    until(|| trial.report().agreement.frames == 2);
    assert_eq!((trial.report().peer.failed, analysis.stats().errors), (2, 0));
}

#[test]
fn an_active_model_that_fails_leaves_the_companion_at_work() {
    let mut runs = 0;
    let behave = move |_: &mut crate::engine::Io| {
        runs += 1;
        if (3..6).contains(&runs) { Err(EngineError::Run("out of luck".into())) } else { Ok(()) }
    };
    let (analysis, _, trial) = pair(Fake::new(1).behave(behave), Fake::new(1), Role::Old);
    for n in 0..3 {
        enter(&analysis, n).unwrap();
        assert!(next(&analysis).error.is_some());
        until(|| trial.report().peer.frames == n + 1);
        // The lane of the active model says last that there is nothing to compare.
        until(|| resting(&analysis));
    }
    sampled(&analysis, &trial, 3..5);
    assert_eq!(trial.report().agreement.frames, 2);
}

#[test]
fn a_shadow_that_hangs_has_failed_and_an_old_model_that_hangs_is_left_alone() {
    for role in [Role::New, Role::Old] {
        let gate: Arc<Gate> = Arc::default();
        let abandoned: &'static AtomicUsize = Box::leak(Box::default());
        let lanes = Lanes::counting(Arc::new(Fake::new(1).hang_at(&gate, false)), abandoned).unwrap();
        let beside = Arc::new(Model::fake_on(Arc::new(lanes)));
        let active = model("thing", Fake::new(1));
        let trial = watching(&active);
        let limited = Settings { run_limit: Some(Duration::from_millis(30)), ..settings(2) };
        let analysis = analysis(&active, limited);
        analysis.accompany(Some(companion(&beside, role, &trial)));
        gate.shut();
        fresh(&analysis, 0);
        until(|| abandoned.load(Ordering::SeqCst) == 1);
        if role == Role::New {
            let verdict = trial.wait(&Cancel::default());
            assert!(matches!(verdict, Some(Verdict::Failed(Reason::Errors, _))), "{verdict:?}");
        } else {
            until(|| trial.report().peer.failed == 1);
            assert_eq!(trial.report().verdict, None);
        }
        // It does not take one lane after the other.
        gate.open();
        (1..20).for_each(|n| fresh(&analysis, n));
        assert_eq!(abandoned.load(Ordering::SeqCst), 1);
        gate.release();
        until(|| abandoned.load(Ordering::SeqCst) == 0);
        analysis.accompany(None);
        until(|| Arc::strong_count(&beside) == 1);
    }
}

#[test]
fn a_companion_whose_lanes_are_all_taken_goes_on_when_one_is_free() {
    for role in [Role::New, Role::Old] {
        let gate: Arc<Gate> = Arc::default();
        let abandoned: &'static AtomicUsize = Box::leak(Box::default());
        // Someone else's run hangs, and the process has no thread to spare for another lane.
        abandoned.store(MOST_ABANDONED, Ordering::SeqCst);
        let lanes = Arc::new(Lanes::counting(Arc::new(Fake::new(1).hang_at(&gate, false)), abandoned).unwrap());
        let [user, beside] = [(); 2].map(|()| Arc::new(Model::fake_on(Arc::clone(&lanes))));
        let other = analysis(&user, Settings { run_limit: Some(Duration::from_millis(30)), ..settings(1) });
        gate.shut();
        enter(&other, 0).unwrap();
        assert!(next(&other).error.is_some());
        gate.open();
        let active = model("thing", Fake::new(1));
        let trial = watching(&active);
        let analysis = analysis(&active, settings(2));
        analysis.accompany(Some(companion(&beside, role, &trial)));
        let heard = || match (role, trial.report()) {
            (Role::New, report) => report.subject,
            (Role::Old, report) => report.peer,
        };
        for n in 0..3 {
            fresh(&analysis, n);
            until(|| heard().failed == n + 1);
        }
        assert_eq!(trial.report().verdict, None, "it does not hang itself");
        gate.release();
        until(|| abandoned.load(Ordering::SeqCst) == MOST_ABANDONED);
        sampled(&analysis, &trial, 3..6);
        assert_eq!((heard().frames, heard().failed), (6, 3));
    }
}

#[test]
fn a_flush_drops_the_sample_and_its_late_answer() {
    let gate: Arc<Gate> = Arc::default();
    let (analysis, _, trial) = pair(Fake::new(1), Fake::new(1).hang_at(&gate, false), Role::Old);
    gate.shut();
    enter(&analysis, 0).unwrap();
    gate.hangs(1);
    analysis.flush();
    analysis.resume();
    // The job is still on the lane.
    (1..5).for_each(|n| fresh(&analysis, n));
    gate.open();
    gate.release();
    until(|| trial.report().peer.frames == 1);
    until(|| resting(&analysis));
    assert_eq!(trial.report().agreement.frames, 0);
    sampled(&analysis, &trial, 5..7);
    // And one that is dropped between read and enter.
    let ticket = analysis.read(&super::tests::input(Some(&super::tests::view(&[255; 48])), 7)).unwrap();
    analysis.flush();
    assert_eq!(analysis.enter(ticket, 7), Err(Flushing));
    analysis.resume();
    sampled(&analysis, &trial, 8..10);
    assert_eq!(trial.report().agreement.frames, 4);
}

#[test]
fn an_end_lets_go_of_the_companion_though_it_hangs() {
    let gate: Arc<Gate> = Arc::default();
    let (analysis, beside, _) = pair(Fake::new(1), Fake::new(1).hang_at(&gate, true), Role::New);
    gate.shut();
    enter(&analysis, 0).unwrap();
    gate.hangs(1);
    next(&analysis);
    analysis.stop();
    analysis.release();
    gate.hangs(0);
    assert!(!beside.lanes().is_sound(), "it was given up");
    until(|| Arc::strong_count(&beside) == 1);
    // A stopped analysis takes no other.
    let trial = watching(&beside);
    analysis.accompany(Some(companion(&beside, Role::New, &trial)));
    assert_eq!(Arc::strong_count(&beside), 1);
}

#[test]
fn another_companion_takes_the_place_of_one_that_is_at_work() {
    let (open, behave) = gated();
    let (analysis, first, trial) = pair(Fake::new(1), Fake::new(1).behave(behave), Role::Old);
    fresh(&analysis, 0);
    let second = model("thing", Fake::new(1));
    let other = watching(&second);
    analysis.accompany(Some(companion(&second, Role::Old, &other)));
    sampled(&analysis, &other, 1..4);
    open.send(()).unwrap();
    until(|| Arc::strong_count(&first) == 1);
    assert_eq!((trial.report().peer.frames, trial.report().agreement.frames), (0, 0));
    assert_eq!(other.report().agreement.frames, 3);
    analysis.accompany(None);
    until(|| Arc::strong_count(&second) == 1);
    (4..6).for_each(|n| fresh(&analysis, n));
}

#[test]
fn a_companion_on_the_same_engine_takes_turns_with_the_frames() {
    let lanes = Arc::new(Lanes::start(Arc::new(Fake::new(1))).unwrap());
    let models = ["thing", "other"].map(|label| Arc::new(Model::fake_called("m", label, Arc::clone(&lanes))));
    let [active, beside] = models;
    let trial = watching(&active);
    let analysis = analysis(&active, settings(2));
    analysis.accompany(Some(companion(&beside, Role::Old, &trial)));
    for n in 0..5 {
        fresh(&analysis, n);
        until(|| trial.report().peer.frames == n + 1);
        until(|| resting(&analysis));
    }
    // They have no label in common.
    assert_eq!(trial.report().agreement.frames, 0);
    let must = Trial::new(Rules::shadow(active.bundle(), &TrialLimits::default()), Instant::now());
    analysis.accompany(Some(companion(&beside, Role::New, &must)));
    fresh(&analysis, 5);
    assert!(matches!(must.wait(&Cancel::default()), Some(Verdict::Failed(Reason::Disagreement, _))));
}

#[test]
fn on_objects_the_same_ones_are_looked_at_and_compared() {
    let rules = crate::cascade::Rules { again_ns: 0, ..Default::default() };
    let (active, beside) = (model("thing", Fake::new(1)), model("thing", Fake::sized(1, 8)));
    let trial = watching(&active);
    let analysis = analysis(&active, cascade(rules));
    analysis.accompany(Some(companion(&beside, Role::Old, &trial)));
    for n in 0..3 {
        enter_objects(&analysis, n, &with_objects(n, 3));
        let outcome = next(&analysis);
        assert_eq!((outcome.looked, outcome.result.objects.len(), outcome.result.secondary.len()), (true, 6, 1));
        until(|| trial.report().agreement.frames == n + 1);
    }
    let report = trial.report();
    assert_eq!((report.agreement.matched, report.agreement.score(), report.peer.objects), (9, 1.0, 9));
    // A frame without objects is nobody's sample.
    enter_objects(&analysis, 3, &with_objects(3, 0));
    next(&analysis);
    assert_eq!(trial.report().peer.frames, 3);
}

#[test]
fn a_companion_stays_while_the_active_model_changes() {
    let (analysis, _, trial) = pair(Fake::new(1), Fake::new(1), Role::Old);
    sampled(&analysis, &trial, 0..2);
    analysis.activate(model("thing", Fake::sized(1, 6)), settings(3));
    sampled(&analysis, &trial, 2..4);
    analysis.activate(model("else", Fake::sized(1, 6)), settings(3));
    fresh(&analysis, 4);
    until(|| trial.report().peer.frames == 5);
    assert_eq!(trial.report().agreement.frames, 4, "no label in common with the third");
}
