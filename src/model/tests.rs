//! First runs that hang, fail or are not wanted any more.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::{Background, Model, ModelError, Request, batching};
use crate::cancel::Cancel;
use crate::engine::fake::{Fake, Gate};
use crate::engine::gather::Gathering;
use crate::engine::lanes::Lanes;
use crate::engine::{EngineError, TensorData};

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

/// What sharing the runs of an engine comes to.
fn shared(engine: Fake, most: usize, background: Option<&Background>) -> Result<Option<Gathering>, EngineError> {
    batching::gather(Arc::new(engine), most, None, background).map(|engine| engine.gathering())
}

#[test]
fn runs_are_shared_where_a_measurement_says_that_it_pays() {
    // Each run takes as long, whatever is in it.
    let slow = || {
        Fake::free(1).behave(|_| {
            std::thread::sleep(Duration::from_millis(3));
            Ok(())
        })
    };
    let found = shared(slow(), 0, None).unwrap().unwrap();
    assert_eq!((found.most, found.mean), (16, 0.0), "{found:?}");
    assert!(found.measured.starts_with("1: ") && found.measured.ends_with("16 are the most"), "{found:?}");
    assert_eq!(shared(slow(), 5, None).unwrap().unwrap().most, 4);
    // Neither is measured.
    assert_eq!(shared(slow(), 1, None).unwrap(), None);
    assert_eq!(shared(Fake::new(1), 0, None).unwrap(), None);
}

#[test]
fn runs_are_not_shared_where_each_change_of_their_size_takes_long() {
    let mut before = 0;
    let engine = Fake::free(1).behave(move |io| {
        let size = io.inputs[0].shape[0];
        if std::mem::replace(&mut before, size) != size {
            std::thread::sleep(Duration::from_millis(100));
        }
        Ok(())
    });
    let found = shared(engine, 0, None).unwrap().unwrap();
    assert_eq!(found.most, 1, "{found:?}");
    assert!(found.measured.ends_with("after one of another size"), "{found:?}");
}

#[test]
fn answers_that_differ_are_not_shared() {
    let wrong = |change: fn(&mut [f32])| {
        let engine = Fake::free(1).behave(move |io| {
            let count = io.inputs[0].shape[0];
            let TensorData::F32(data) = &mut io.outputs[0].data else { unreachable!() };
            if count > 1 {
                change(data);
            }
            Ok(())
        });
        shared(engine, 0, None).unwrap().unwrap()
    };
    for change in
        [|data: &mut [f32]| data[9] += 0.01, |data: &mut [f32]| data.swap(4, 9), |data: &mut [f32]| data[0] = f32::NAN]
    {
        let found = wrong(change);
        assert_eq!(
            (found.most, found.measured.as_str()),
            (1, "a run of 2 answers otherwise than one picture: output \"output0\"")
        );
    }
}

#[test]
fn answers_whose_shape_depends_on_the_picture_are_not_shared() {
    // As many boxes as there is light.
    let engine = Fake::free(1).behave(|io| {
        let TensorData::F32(picture) = &io.inputs[0].data else { unreachable!() };
        let boxes = 1 + usize::from(picture.iter().sum::<f32>() > 10.0);
        io.outputs[0].shape[2] = boxes;
        let len = io.outputs[0].shape.iter().product();
        io.outputs[0].data.resize(len);
        Ok(())
    });
    let found = shared(engine, 0, None).unwrap().unwrap();
    assert_eq!((found.most, found.measured.as_str()), (1, "the shape of answers depends on the picture"));
}

#[test]
fn a_measurement_that_fails_or_hangs_has_the_limits_of_a_first_run() {
    let fails = Fake::free(1).behave(|io| match io.inputs[0].shape[0] {
        1 => Ok(()),
        _ => Err(EngineError::Memory("not enough memory".into())),
    });
    let found = shared(fails, 0, None).unwrap().unwrap();
    assert_eq!((found.most, found.measured.as_str()), (1, "a run of 2 fails: not enough memory"));
    // What a model does with one picture is said by those who know its contract.
    let broken = Fake::free(1).behave(|_| Err(EngineError::Run("no".into())));
    assert_eq!(shared(broken, 0, None).unwrap(), None);
    let gate = Arc::<Gate>::default();
    gate.shut();
    let (request, cancel) = beside_video(Duration::from_millis(20));
    let hangs = || Fake::free(1).hang_at(&gate, true);
    assert!(matches!(shared(hangs(), 0, request.background.as_ref()), Err(EngineError::Late(_))));
    cancel.cancel();
    let (request, cancel) = beside_video(LONG);
    cancel.cancel();
    assert!(matches!(shared(hangs(), 0, request.background.as_ref()), Err(EngineError::Cancelled)));
}
