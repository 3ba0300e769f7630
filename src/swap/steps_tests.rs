use std::sync::Arc;
use std::time::Instant;

use super::super::fake_host::{Call, FakeHost};
use super::super::swapper::Swapper;
use super::super::trial::Observation;
use super::*;
use crate::bundle::TrialLimits;
use crate::engine::fake::Fake;

fn model() -> Arc<Model> {
    Arc::new(Model::fake(Fake::new(1)))
}

/// A host with an old model and a probation of three frames.
fn stage() -> (Arc<FakeHost>, Arc<Swapper>, Arc<Model>) {
    let (host, swapper) = FakeHost::open();
    let old = model();
    host.change(|seen| {
        seen.current = Some(Arc::clone(&old));
        seen.terms.probation = TrialLimits { frames: Some(3), time: Some(Duration::ZERO), ..TrialLimits::default() };
    });
    (host, swapper, old)
}

fn frame(failed: bool) -> Observation {
    Observation { now: Instant::now(), run_ns: 1000, failed, non_finite: 0, objects: 0 }
}

/// Puts a model in place, with all that comes after.
fn put(swapper: &Swapper, model: &Arc<Model>, cancel: &Cancel) {
    let order = Order::new("new", Cause::Signal);
    let shared = swapper.shared();
    let mut progress = Progress::new(1, &order);
    let terms = shared.host().terms();
    let mut steps = Steps { shared, progress: &mut progress, order: &order, cancel, epoch: 0, terms, placed: None };
    let model = Arc::clone(model);
    if catch_unwind(AssertUnwindSafe(|| steps.activate(model))).is_err() {
        steps.fall();
    }
}

fn is_current(host: &FakeHost, model: &Arc<Model>) -> bool {
    host.seen().current.as_ref().is_some_and(|current| Arc::ptr_eq(current, model))
}

fn told(host: &FakeHost) -> Vec<Phase> {
    host.seen().records.iter().map(|r| r.phase).collect()
}

#[test]
fn a_model_that_keeps_to_the_rules_stays() {
    let (host, swapper, old) = stage();
    host.hook(|_, call| {
        if let Call::Watch(Some(trial)) = call {
            (0..3).for_each(|_| trial.subject(frame(false)));
        }
    });
    let new = model();
    put(&swapper, &new, &Cancel::default());
    assert!(is_current(&host, &new));
    assert_eq!(host.outcome(1), (Phase::Confirmed, None));
    assert_eq!(told(&host), [Phase::Activated, Phase::Probation, Phase::Confirmed]);
    assert!(!host.seen().watched && !host.seen().accompanied);
    assert_eq!(Arc::strong_count(&old), 1, "the old model is let go");
}

#[test]
fn one_that_does_not_gives_its_place_back() {
    let (host, swapper, old) = stage();
    host.hook(|_, call| {
        if let Call::Watch(Some(trial)) = call {
            (0..10).for_each(|_| trial.subject(frame(true)));
        }
    });
    let new = model();
    put(&swapper, &new, &Cancel::default());
    assert!(is_current(&host, &old));
    assert_eq!(host.outcome(1), (Phase::RolledBack, Some(Reason::Errors)));
    assert!(!host.seen().watched && !host.seen().accompanied);
    assert_eq!(Arc::strong_count(&new), 1, "the new model is let go");
}

#[test]
fn where_there_was_no_model_there_is_none_again() {
    let (host, swapper, _) = stage();
    host.change(|seen| seen.current = None);
    host.hook(|_, call| {
        if let Call::Watch(Some(trial)) = call {
            (0..10).for_each(|_| trial.subject(frame(true)));
        }
    });
    put(&swapper, &model(), &Cancel::default());
    assert_eq!(host.outcome(1), (Phase::RolledBack, Some(Reason::Errors)));
    assert!(host.seen().current.is_none() && !host.seen().accompanied);
}

#[test]
fn without_a_probation_it_is_confirmed_at_once() {
    let (host, swapper, _) = stage();
    host.change(|seen| seen.terms.probation.frames = Some(0));
    let new = model();
    put(&swapper, &new, &Cancel::default());
    assert!(is_current(&host, &new));
    assert_eq!(told(&host), [Phase::Activated, Phase::Confirmed]);
}

#[test]
fn a_later_request_ends_the_probation_with_the_old_model_in_place() {
    let (host, swapper, old) = stage();
    let cancel = Cancel::default();
    let inner = cancel.clone();
    host.hook(move |_, call| {
        if let Call::Accompany(true) = call {
            inner.cancel();
        }
    });
    put(&swapper, &model(), &cancel);
    assert!(is_current(&host, &old));
    assert_eq!(host.outcome(1), (Phase::RolledBack, Some(Reason::Superseded)));
}

#[test]
fn nothing_is_put_in_place_of_a_stopped_element() {
    let (host, swapper, old) = stage();
    host.change(|seen| seen.stopped = true);
    swapper.close();
    put(&swapper, &model(), &Cancel::default());
    assert_eq!((told(&host), host.outcome(1)), (vec![Phase::Rejected], (Phase::Rejected, Some(Reason::Stopped))));
    assert!(is_current(&host, &old));
}

#[test]
fn a_request_from_before_a_restart_does_not_touch_what_runs_since() {
    let fresh = model();
    // The element is stopped and started again while the model is on probation, and while it is about to be activated.
    for moment in [0, 1, 2] {
        let (host, swapper, _) = stage();
        let (cancel, started) = (Cancel::default(), Arc::clone(&fresh));
        let inner = cancel.clone();
        host.hook(move |host, call| {
            let now = match call {
                Call::Accompany(true) => moment == 0,
                Call::Activate => moment == 1,
                Call::Current => moment == 2,
                _ => false,
            };
            if now && !inner.is_cancelled() {
                host.swapper().unwrap().close();
                inner.cancel();
                host.change(|seen| seen.current = Some(Arc::clone(&started)));
                host.swapper().unwrap().open();
            }
        });
        put(&swapper, &model(), &cancel);
        let phase = if moment == 0 { Phase::RolledBack } else { Phase::Rejected };
        assert_eq!(host.outcome(1), (phase, Some(Reason::Stopped)), "{moment}");
        assert!(is_current(&host, &fresh), "{moment}");
    }
}

#[test]
fn a_panic_in_between_puts_the_old_model_back() {
    for at in [0, 1, 2] {
        let (host, swapper, old) = stage();
        host.hook(move |_, call| match call {
            Call::Accompany(true) => assert!(at != 0, "on purpose"),
            Call::Watch(Some(trial)) => {
                assert!(at != 1, "on purpose");
                (0..3).for_each(|_| trial.subject(frame(false)));
            }
            Call::Watch(None) => assert!(at != 2, "on purpose"),
            _ => {}
        });
        put(&swapper, &model(), &Cancel::default());
        // The trial watches from before the first frame on.
        let phase = if at == 1 { Phase::Rejected } else { Phase::RolledBack };
        assert_eq!(host.outcome(1), (phase, Some(Reason::Errors)), "{at}");
        assert!(is_current(&host, &old), "{at}");
        assert!(!host.seen().watched && !host.seen().accompanied);
    }
}
