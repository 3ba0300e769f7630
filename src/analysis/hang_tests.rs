//! What becomes of frames whose run hangs.

use std::sync::atomic::AtomicUsize;

use super::tests::{MS, cascade, enter, enter_objects, next, until, with, with_model, with_objects};
use super::*;
use crate::engine::fake::{Fake, Gate};
use crate::engine::lanes::{Lanes, MOST_ABANDONED};
use crate::engine::onnx::Options;
use crate::engine::shared::{self, Key};
use crate::engine::{Engine, EngineError};
use crate::model::Model;

const DEADLINE: Freshness = Freshness::Absent(AbsentReason::Deadline);

/// A limit for runs that hang.
fn limited() -> Settings {
    Settings { run_limit: Some(Duration::from_millis(30)), ..Settings::default() }
}

/// A model whose runs hang at the gate, and a count of its own of abandoned runs.
fn hanging(lanes: usize, heeds: bool, gate: &Arc<Gate>) -> (Model, &'static AtomicUsize) {
    let abandoned: &'static AtomicUsize = Box::leak(Box::default());
    let engine = Arc::new(Fake::new(lanes).hang_at(gate, heeds));
    (Model::fake_on(Arc::new(Lanes::counting(engine, abandoned).unwrap())), abandoned)
}

/// Frame `n` hangs until it is overdue; the gate is open afterwards.
fn overdue(analysis: &Analysis<u64>, gate: &Gate, n: u64) -> Outcome<u64> {
    let held = gate.held();
    analysis.set_settings(limited());
    gate.shut();
    enter(analysis, n).unwrap();
    gate.hangs(held + 1);
    let outcome = next(analysis);
    assert_eq!((outcome.payload, outcome.result.freshness, outcome.looked), (n, DEADLINE, true));
    assert_eq!(outcome.error.as_deref(), Some("the run took longer than 30ms and was cut"));
    assert!(outcome.result.objects.is_empty());
    gate.open();
    analysis.set_settings(Settings::default());
    outcome
}

/// Frame `n` is analysed.
fn fresh(analysis: &Analysis<u64>, n: u64) {
    enter(analysis, n).unwrap();
    let outcome = next(analysis);
    assert_eq!((outcome.payload, outcome.result.freshness, outcome.error), (n, Freshness::Fresh, None));
    assert_eq!(outcome.result.objects.len(), 1);
}

#[test]
fn a_run_that_is_cut_costs_one_frame_its_result() {
    let gate = Arc::default();
    let analysis = with_model(hanging(1, true, &gate).0, Settings::default());
    fresh(&analysis, 0);
    // The frame does not hang at the end: the cut has freed it.
    let held = gate.held();
    analysis.set_settings(limited());
    gate.shut();
    enter(&analysis, 1).unwrap();
    assert_eq!(next(&analysis).result.freshness, DEADLINE);
    gate.hangs(held);
    gate.open();
    analysis.set_settings(Settings::default());
    fresh(&analysis, 2);
    assert_eq!((analysis.stats().errors, analysis.stats().in_flight), (1, 0));
}

#[test]
fn a_run_that_hangs_on_costs_one_frame_its_result_and_its_late_answer_is_dropped() {
    let gate = Arc::default();
    let (model, abandoned) = hanging(1, false, &gate);
    let analysis = with_model(model, Settings::default());
    overdue(&analysis, &gate, 0);
    assert_eq!(analysis.stats().in_flight, 0);
    fresh(&analysis, 1);
    overdue(&analysis, &gate, 2);
    assert_eq!(abandoned.load(std::sync::atomic::Ordering::SeqCst), 2);
    gate.release();
    until(|| abandoned.load(std::sync::atomic::Ordering::SeqCst) == 0);
    for n in 3..20 {
        fresh(&analysis, n);
    }
    let stats = analysis.stats();
    assert_eq!((stats.frames, stats.fresh, stats.absent, stats.errors, stats.in_flight), (20, 18, 2, 2, 0));
}

#[test]
fn frames_behind_one_that_hangs_wait_for_it_and_keep_their_order() {
    let gate = Arc::default();
    let analysis = with_model(hanging(2, false, &gate).0, Settings { max_in_flight: 3, ..limited() });
    gate.shut();
    enter(&analysis, 0).unwrap();
    gate.hangs(1);
    gate.open();
    analysis.set_settings(Settings { max_in_flight: 3, ..Settings::default() });
    enter(&analysis, 1).unwrap();
    enter(&analysis, 2).unwrap();
    let seen: Vec<_> = (0..3).map(|_| next(&analysis)).map(|o| (o.payload, o.result.freshness)).collect();
    assert_eq!(seen, [(0, DEADLINE), (1, Freshness::Fresh), (2, Freshness::Fresh)]);
    gate.release();
}

#[test]
fn a_flush_during_a_hang_frees_the_next_frames_when_it_is_over() {
    let gate = Arc::default();
    let analysis = with_model(hanging(1, false, &gate).0, limited());
    gate.shut();
    enter(&analysis, 0).unwrap();
    gate.hangs(1);
    gate.open();
    analysis.flush();
    analysis.resume();
    analysis.set_settings(Settings::default());
    // Waits for a place, which the hung run gives up when it is overdue.
    fresh(&analysis, 1);
    gate.release();
    fresh(&analysis, 2);
    assert_eq!((analysis.stats().frames, analysis.stats().in_flight), (2, 0));
}

#[test]
fn an_end_that_meets_a_hang_leaves_a_new_engine_to_the_next_user() {
    let gate: Arc<Gate> = Arc::default();
    let options = Options::least("cpu");
    let key = Key { digest: "an-end-that-meets-a-hang".into(), options, niceness: 0 };
    let load = || -> Result<Arc<dyn Engine>, EngineError> { Ok(Arc::new(Fake::new(1).hang_at(&gate, false))) };
    let old = with_model(Model::fake_on(shared::get(&key, load).unwrap()), Settings::default());
    let model = Arc::downgrade(&old.slot().get().unwrap());
    // Without a limit: the end is what cuts it.
    gate.shut();
    enter(&old, 0).unwrap();
    gate.hangs(1);
    gate.open();
    old.stop();
    old.release();
    assert_eq!(old.stats().in_flight, 0, "it was given up");
    let lanes = shared::get(&key, load).unwrap();
    assert!(lanes.is_sound());
    let new = with_model(Model::fake_on(lanes), Settings::default());
    fresh(&new, 1);
    let third = shared::get(&key, || panic!("it is loaded")).unwrap();
    assert!(std::ptr::addr_eq(third.engine(), new.slot().get().unwrap().lanes().engine()));
    // The old engine ends with its run.
    assert!(model.upgrade().is_some());
    gate.release();
    until(|| model.upgrade().is_none());
}

#[test]
fn an_element_that_shares_an_engine_with_one_that_hangs_goes_on() {
    let gate = Arc::default();
    let (model, _) = hanging(1, false, &gate);
    let model = Arc::new(model);
    let both = [limited(), Settings::default()].map(|settings| {
        let analysis = Analysis::new();
        analysis.slot().replace(Some(Arc::clone(&model)));
        analysis.set_settings(settings);
        analysis
    });
    let [first, second] = both;
    gate.shut();
    enter(&first, 0).unwrap();
    gate.hangs(1);
    gate.open();
    // In line behind the run that hangs.
    fresh(&second, 0);
    assert_eq!(next(&first).result.freshness, DEADLINE);
    gate.release();
}

#[test]
fn when_all_lanes_hang_frames_pass_at_once_until_one_comes_back() {
    let gate = Arc::default();
    let (model, abandoned) = hanging(1, false, &gate);
    let analysis = with_model(model, Settings::default());
    let lost = MOST_ABANDONED as u64 + 1;
    for n in 0..lost {
        overdue(&analysis, &gate, n);
    }
    for n in lost..lost + 3 {
        enter(&analysis, n).unwrap();
        let outcome = next(&analysis);
        assert_eq!(outcome.result.freshness, Freshness::Absent(AbsentReason::EngineError));
        assert!(outcome.error.unwrap().contains("isolation=process"));
        assert!(!outcome.looked);
    }
    assert_eq!(analysis.stats().in_flight, 0);
    gate.release();
    until(|| abandoned.load(std::sync::atomic::Ordering::SeqCst) == 0);
    fresh(&analysis, lost + 3);
}

#[test]
fn a_hang_on_objects_leaves_the_earlier_result_whole_and_they_are_looked_at_again() {
    let gate = Arc::default();
    let rules = || cascade(crate::cascade::Rules::default());
    let settings = Settings { run_limit: limited().run_limit, ..rules() };
    let analysis = with_model(hanging(1, false, &gate).0, settings);
    gate.shut();
    let earlier = FrameResult { freshness: Freshness::Held { age_ns: 0 }, ..with_objects(0, 2) };
    enter_objects(&analysis, 0, &earlier);
    assert_eq!(next(&analysis).error, None, "held results are not looked at");
    enter_objects(&analysis, 1, &with_objects(1, 2));
    gate.hangs(1);
    let outcome = next(&analysis);
    assert!(outcome.error.is_some());
    assert_eq!(outcome.result.freshness, Freshness::Fresh);
    assert_eq!((outcome.result.objects, outcome.result.absent_since_ns), (with_objects(1, 2).objects, None));
    gate.open();
    analysis.set_settings(rules());
    enter_objects(&analysis, 2, &with_objects(2, 2));
    let outcome = next(&analysis);
    assert_eq!((outcome.error, outcome.looked, outcome.result.objects.len()), (None, true, 4));
    gate.release();
}

#[test]
fn results_say_since_when_analysis_fails() {
    use AbsentReason::{Deadline, EngineError as Error, EngineRestarting};
    let mut runs = 0;
    let engine = Fake::new(1).behave(move |_| {
        runs += 1;
        // The first two warm up.
        match runs - 3 {
            1 => Err(EngineError::Deadline(Duration::from_secs(1))),
            2 => Err(EngineError::Restarting("it was killed".into())),
            3 | 5 => Err(EngineError::Run("no memory".into())),
            _ => Ok(()),
        }
    });
    let analysis = with(engine, Settings::default());
    let seen = |n| {
        enter(&analysis, n).unwrap();
        let outcome = next(&analysis);
        (outcome.result.freshness, outcome.result.absent_since_ns)
    };
    let absent = |reason, since: u64| (Freshness::Absent(reason), Some(since * 40 * MS));
    assert_eq!(seen(0), (Freshness::Fresh, None));
    assert_eq!(seen(1), absent(Deadline, 1));
    assert_eq!(seen(2), absent(EngineRestarting, 1));
    // A flush does not mend the engine.
    analysis.flush();
    analysis.resume();
    assert_eq!(seen(3), absent(Error, 1));
    assert_eq!(seen(4), (Freshness::Fresh, None));
    assert_eq!(seen(5), absent(Error, 5));
}
