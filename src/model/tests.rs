//! First runs that hang, fail or are not wanted any more.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::{Background, Model, ModelError, Request};
use crate::cancel::Cancel;
use crate::engine::EngineError;
use crate::engine::fake::{Fake, Gate};
use crate::engine::lanes::Lanes;

/// Far longer than anything here takes.
const LONG: Duration = Duration::from_secs(600);

fn beside_video(limit: Duration) -> (Request, Cancel) {
    let cancel = Cancel::default();
    let background = Some(Background { limit, cancel: cancel.clone() });
    (Request { background, ..Request::default() }, cancel)
}

/// An engine that hangs in its first run until the gate lets go; with `heeds` it can be cut.
fn hanging(heeds: bool, abandoned: &'static AtomicUsize) -> (Arc<Gate>, Arc<Lanes>) {
    let gate = Arc::<Gate>::default();
    gate.shut();
    let engine = Arc::new(Fake::new(1).hang_at(&gate, heeds));
    (gate, Arc::new(Lanes::counting(engine, abandoned).unwrap()))
}

#[test]
fn a_first_run_that_hangs_does_not_hang_the_load() {
    static ABANDONED: AtomicUsize = AtomicUsize::new(0);
    for heeds in [true, false] {
        let (gate, lanes) = hanging(heeds, &ABANDONED);
        let limit = Duration::from_millis(20);
        let error = Model::try_fake("fake", "thing", lanes, &beside_video(limit).0).unwrap_err();
        assert!(matches!(error, ModelError::Late { limit: late, .. } if late == limit), "{error:?}");
        let text = error.to_string();
        assert!(text.contains("fake.onnx") && text.contains("load-timeout"), "{text}");
        assert_eq!(ABANDONED.load(Ordering::SeqCst), usize::from(!heeds), "one that can be cut is not abandoned");
        gate.release();
    }
}

#[test]
fn a_first_run_that_is_not_wanted_any_more_does_not_hold_the_load() {
    static ABANDONED: AtomicUsize = AtomicUsize::new(0);
    for heeds in [true, false] {
        let (gate, lanes) = hanging(heeds, &ABANDONED);
        let (request, cancel) = beside_video(LONG);
        let begun = Instant::now();
        let error = std::thread::scope(|scope| {
            let load = scope.spawn(|| Model::try_fake("fake", "thing", lanes, &request).unwrap_err());
            gate.hangs(1);
            cancel.cancel();
            load.join().unwrap()
        });
        assert!(matches!(error, ModelError::Cancelled), "{error:?}");
        assert!(begun.elapsed() < LONG / 2, "it waits for its limit");
        gate.release();
    }
}

#[test]
fn a_first_run_that_is_slow_has_its_time() {
    let (gate, lanes) = hanging(true, {
        static ABANDONED: AtomicUsize = AtomicUsize::new(0);
        &ABANDONED
    });
    let (request, _cancel) = beside_video(LONG);
    std::thread::scope(|scope| {
        let load = scope.spawn(|| Model::try_fake("fake", "thing", lanes, &request).unwrap());
        gate.hangs(1);
        gate.open();
        gate.release();
        assert_eq!(load.join().unwrap().provider(), "fake");
    });
}

#[test]
fn what_ends_a_first_run_is_told_apart() {
    let error = |error: EngineError| {
        let engine = Fake::new(1).behave(move |_| Err(error.clone()));
        Model::try_fake("fake", "thing", Arc::new(Lanes::start(Arc::new(engine)).unwrap()), &Request::default())
            .unwrap_err()
    };
    let crashed = error(EngineError::Crashed("its process is dead".into()));
    assert!(matches!(crashed, ModelError::Engine { source: EngineError::Crashed(_), .. }), "{crashed:?}");
    assert_eq!(crashed.to_string(), "model fake.onnx: its process is dead");
    let memory = error(EngineError::of_run("Failed to allocate memory for requested buffer of size 5".into()));
    assert!(matches!(memory, ModelError::Engine { source: EngineError::Memory(_), .. }), "{memory:?}");
    let other = error(EngineError::of_run("Gather: index out of range".into()));
    assert!(matches!(other, ModelError::Engine { source: EngineError::Run(_), .. }), "{other:?}");
}
