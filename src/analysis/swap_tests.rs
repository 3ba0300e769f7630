//! A model that takes over from another while frames come.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, ThreadId};

use super::tests::{MS, cascade, enter, enter_objects, input, next, until, view, with_objects};
use super::*;
use crate::bundle::TrialLimits;
use crate::engine::EngineError;
use crate::engine::fake::{Fake, Gate};
use crate::engine::lanes::Lanes;
use crate::engine::{Io, TensorData};
use crate::frame::{ColorMatrix, ColorRange, FrameInfo, FrameView, PixelFormat, View};
use crate::model::Model;
use crate::swap::rules::Rules;
use crate::swap::trial::Trial;

/// A model called as the label of its class.
pub(super) fn model(name: &str, engine: Fake) -> Arc<Model> {
    Arc::new(Model::fake_called(name, name, Arc::new(Lanes::start(Arc::new(engine)).unwrap())))
}

pub(super) fn settings(max_in_flight: usize) -> Settings {
    Settings { max_in_flight, ..Settings::default() }
}

pub(super) fn analysis(model: &Arc<Model>, settings: Settings) -> Arc<Analysis<u64>> {
    let analysis = Analysis::new();
    analysis.slot().replace(Some(Arc::clone(model)));
    analysis.set_settings(settings);
    Arc::new(analysis)
}

/// Rules that nothing breaks and nothing fulfils.
pub(super) fn watching(model: &Model) -> Arc<Trial> {
    let limits = TrialLimits {
        frames: Some(u64::MAX),
        max_errors: Some(1.0),
        max_non_finite: Some(1.0),
        max_slowdown: Some(0.0),
        min_agreement: Some(0.0),
        ..TrialLimits::default()
    };
    Trial::new(Rules::probation(model.bundle(), &limits), Instant::now())
}

/// The model that a fresh result names, and the label of the one object that it found, if any.
fn seen(outcome: &Outcome<u64>) -> (String, Option<String>) {
    assert_eq!((outcome.result.freshness, outcome.error.as_deref()), (Freshness::Fresh, None));
    let label = outcome.result.objects.first().map(|object| object.label.to_string());
    (outcome.result.model.as_ref().unwrap().name.clone(), label)
}

#[test]
fn frames_under_way_keep_their_model_and_the_next_one_has_the_new() {
    let gate: Arc<Gate> = Arc::default();
    let old = model("old", Fake::new(2).hang_at(&gate, false));
    let analysis = analysis(&old, settings(5));
    gate.shut();
    (0..3).for_each(|n| enter(&analysis, n).unwrap());
    gate.hangs(2);
    let back = analysis.activate(model("new", Fake::sized(1, 8)), settings(5)).unwrap();
    assert!(Arc::ptr_eq(&back, &old));
    (3..5).for_each(|n| enter(&analysis, n).unwrap());
    gate.open();
    gate.release();
    for n in 0..5 {
        let outcome = next(&analysis);
        let name = if n < 3 { "old" } else { "new" };
        assert_eq!((outcome.payload, seen(&outcome)), (n, (name.into(), Some(name.into()))));
    }
    assert_eq!(analysis.stats().in_flight, 0);
}

#[test]
fn a_thousand_swaps_mix_nothing_and_cost_no_frame() {
    // Each differs from the others in its input's size, its lanes, its label and what its settings let through.
    let kinds = [
        (model("one", Fake::new(2)), settings(3)),
        (model("two", Fake::sized(3, 8)), Settings { max_objects: Some(0), ..settings(4) }),
        (model("three", Fake::sized(1, 6)), settings(2)),
    ];
    let analysis = analysis(&kinds[0].0, kinds[0].1.clone());
    let done = Arc::new(AtomicBool::new(false));
    let feeder = {
        let (analysis, done) = (Arc::clone(&analysis), Arc::clone(&done));
        thread::spawn(move || {
            let mut entered = 0;
            while !done.load(Ordering::SeqCst) {
                enter(&analysis, entered).unwrap();
                entered += 1;
            }
            entered
        })
    };
    let swapper = {
        let analysis = Arc::clone(&analysis);
        thread::spawn(move || {
            for n in 1..=1000 {
                let (model, settings) = &kinds[n % 3];
                let before = analysis.stats().frames;
                let old = analysis.activate(Arc::clone(model), settings.clone()).unwrap();
                assert!(Arc::ptr_eq(&old, &kinds[(n - 1) % 3].0));
                // Some swaps meet frames of two models on their way, some come at once.
                if n % 4 == 0 {
                    until(|| analysis.stats().frames > before + 2);
                }
            }
            done.store(true, Ordering::SeqCst);
        })
    };
    let mut names = std::collections::BTreeSet::new();
    let mut n = 0;
    while !(feeder.is_finished() && analysis.stats().in_flight == 0 && analysis.shared.lock().entries.is_empty()) {
        if analysis.shared.lock().entries.is_empty() {
            thread::yield_now();
            continue;
        }
        let outcome = next(&analysis);
        assert_eq!((outcome.payload, outcome.result.frame), (n, n));
        n += 1;
        let (name, label) = seen(&outcome);
        assert_eq!(label.as_deref(), (name != "two").then_some(name.as_str()));
        names.insert(name);
    }
    swapper.join().unwrap();
    assert_eq!(feeder.join().unwrap(), n);
    assert_eq!((names.len(), analysis.stats().fresh, analysis.stats().errors), (3, n, 0));
}

#[test]
fn the_old_model_can_come_back() {
    let (old, new) = (model("old", Fake::new(1)), model("new", Fake::sized(1, 8)));
    let analysis = analysis(&old, settings(2));
    for (n, active) in [(0, None), (1, Some(&new)), (2, Some(&old)), (3, Some(&new))] {
        if let Some(active) = active {
            analysis.activate(Arc::clone(active), settings(2));
        }
        enter(&analysis, n).unwrap();
        let name = if n % 2 == 0 { "old" } else { "new" };
        assert_eq!(seen(&next(&analysis)), (name.into(), Some(name.into())));
    }
}

#[test]
fn held_results_go_on_to_name_the_model_that_made_them() {
    let analysis = analysis(&model("old", Fake::new(1)), Settings { interval: 1, ..settings(1) });
    enter(&analysis, 0).unwrap();
    next(&analysis);
    analysis.activate(model("new", Fake::new(1)), Settings { interval: 1, ..settings(1) });
    enter(&analysis, 1).unwrap();
    let held = next(&analysis).result;
    assert_eq!(held.freshness, Freshness::Held { age_ns: 40 * MS });
    assert_eq!((held.model.unwrap().name.as_str(), &*held.objects[0].label), ("old", "old"));
    enter(&analysis, 2).unwrap();
    assert_eq!(seen(&next(&analysis)), ("new".into(), Some("new".into())));
}

#[test]
fn frames_of_another_size_after_the_swap_are_looked_at() {
    let analysis = analysis(&model("old", Fake::new(1)), settings(1));
    enter(&analysis, 0).unwrap();
    next(&analysis);
    analysis.activate(model("new", Fake::sized(1, 8)), settings(1));
    let info = FrameInfo {
        format: PixelFormat::Nv12,
        width: 16,
        height: 12,
        range: ColorRange::Full,
        matrix: ColorMatrix::Bt709,
    };
    let (luma, chroma) = (vec![255; 16 * 12], vec![128; 16 * 6]);
    let frame = FrameView::new(info, &[(&luma, 16), (&chroma, 16)]).unwrap();
    let ticket = analysis.read(&Input { size: (16, 12), ..input(Some(&frame), 1) }).unwrap();
    analysis.enter(ticket, 1).unwrap();
    assert_eq!(seen(&next(&analysis)), ("new".into(), Some("new".into())));
}

/// Notes which threads end engines.
#[derive(Clone, Default)]
struct Ends(Arc<std::sync::Mutex<Vec<ThreadId>>>);

impl Ends {
    fn watch(&self, engine: Fake) -> Fake {
        let ends = self.clone();
        engine.at_end(move || ends.0.lock().unwrap().push(thread::current().id()))
    }

    /// Waits for the one end, and says where it was.
    fn wait(&self) -> ThreadId {
        until(|| !self.0.lock().unwrap().is_empty());
        self.0.lock().unwrap()[0]
    }
}

#[test]
fn the_thread_that_activates_ends_the_old_engine_when_nothing_is_under_way() {
    let ends = Ends::default();
    let old = model("old", ends.watch(Fake::new(1)));
    let analysis = analysis(&old, settings(2));
    drop(old);
    enter(&analysis, 0).unwrap();
    next(&analysis);
    // The lane has let go of its job.
    until(|| analysis.stats().in_flight == 0);
    let swapper = {
        let analysis = Arc::clone(&analysis);
        thread::spawn(move || {
            let old = analysis.activate(model("new", Fake::new(1)), settings(2));
            until(|| old.as_ref().is_none_or(|old| Arc::strong_count(old) == 1));
            thread::current().id()
        })
    };
    let swapper = swapper.join().unwrap();
    assert_eq!(ends.wait(), swapper);
}

#[test]
fn a_lane_ends_the_old_engine_when_its_last_frame_is_done() {
    let (gate, ends) = (Arc::<Gate>::default(), Ends::default());
    let old = model("old", ends.watch(Fake::new(1).hang_at(&gate, false)));
    let analysis = analysis(&old, settings(2));
    drop(old);
    gate.shut();
    enter(&analysis, 0).unwrap();
    gate.hangs(1);
    drop(analysis.activate(model("new", Fake::new(1)), settings(2)));
    gate.open();
    gate.release();
    assert_eq!(seen(&next(&analysis)).0, "old");
    assert_ne!(ends.wait(), thread::current().id());
}

#[test]
fn neither_the_streaming_thread_nor_one_that_flushes_ends_the_old_engine() {
    let (gate, ends) = (Arc::<Gate>::default(), Ends::default());
    let old = model("old", ends.watch(Fake::new(1).hang_at(&gate, false)));
    let analysis = analysis(&old, settings(3));
    drop(old);
    gate.shut();
    // One on its lane, one in line, and one between read and enter when the model is replaced.
    enter(&analysis, 0).unwrap();
    gate.hangs(1);
    enter(&analysis, 1).unwrap();
    let ticket = analysis.read(&input(Some(&view(&[255; 48])), 2)).unwrap();
    drop(analysis.activate(model("new", Fake::new(1)), settings(3)));
    gate.open();
    gate.release();
    assert_eq!(seen(&next(&analysis)).0, "old");
    assert_eq!(seen(&next(&analysis)).0, "old");
    analysis.flush();
    assert_eq!(analysis.enter(ticket, 2), Err(Flushing));
    assert_ne!(ends.wait(), thread::current().id());
    // And one that is dropped in line.
    let (gate, ends) = (Arc::<Gate>::default(), Ends::default());
    drop(analysis.activate(model("next", ends.watch(Fake::new(1).hang_at(&gate, true))), settings(3)));
    analysis.resume();
    gate.shut();
    enter(&analysis, 3).unwrap();
    gate.hangs(1);
    enter(&analysis, 4).unwrap();
    drop(analysis.activate(model("last", Fake::new(1)), settings(3)));
    analysis.flush();
    gate.open();
    gate.release();
    assert_ne!(ends.wait(), thread::current().id());
    analysis.resume();
    enter(&analysis, 5).unwrap();
    assert_eq!(seen(&next(&analysis)).0, "last");
}

#[test]
fn a_frame_that_cannot_be_read_does_not_end_the_old_engine_either() {
    let ends = Ends::default();
    let old = model("old", ends.watch(Fake::new(1)));
    let analysis = analysis(&old, settings(1));
    drop(old);
    let before = analysis.place(&input(Some(&view(&[255; 48])), 0), None).unwrap();
    drop(analysis.activate(model("new", Fake::new(1)), settings(1)));
    assert!(analysis.prepare(before, &input(None, 0), None).0.is_none());
    assert_ne!(ends.wait(), thread::current().id());
    assert_eq!(analysis.stats().in_flight, 0);
}

#[test]
fn what_is_set_while_another_model_takes_over_stays() {
    let (old, new) = (model("old", Fake::new(1)), model("new", Fake::new(1)));
    let analysis = analysis(&old, settings(1));
    let (confidence, user) = (std::sync::Mutex::new(0.1), AtomicBool::new(false));
    let read = || Settings { confidence: Some(*confidence.lock().unwrap()), ..settings(1) };
    let done = analysis.exchange(Some(&old), Some(new), || {
        let settings = read();
        // After the first look.
        if !user.swap(true, Ordering::SeqCst) {
            *confidence.lock().unwrap() = 0.9;
            analysis.update_settings(|_| read());
        }
        settings
    });
    assert!(done);
    assert_eq!(analysis.settings.lock().unwrap().confidence, Some(0.9));
}

#[test]
fn of_two_who_set_at_once_the_last_value_stays() {
    let old = model("old", Fake::new(1));
    let analysis = analysis(&old, settings(1));
    let interval = std::sync::Mutex::new(1);
    let read = || Settings { interval: *interval.lock().unwrap(), ..settings(1) };
    thread::scope(|scope| {
        analysis.update_settings(|model| {
            assert!(model.is_some_and(|model| Arc::ptr_eq(model, &old)));
            let settings = read();
            *interval.lock().unwrap() = 2;
            let second = scope.spawn(|| analysis.update_settings(|_| read()));
            // It has to wait; if it did not, it would be over by now.
            thread::sleep(Duration::from_millis(50));
            assert!(!second.is_finished());
            settings
        });
    });
    assert_eq!(analysis.settings.lock().unwrap().interval, 2);
}

#[test]
fn after_a_stop_nothing_takes_over() {
    let (old, new) = (model("old", Fake::new(1)), model("new", Fake::new(1)));
    let analysis = analysis(&old, settings(1));
    analysis.stop();
    assert!(Arc::ptr_eq(&analysis.activate(Arc::clone(&new), settings(1)).unwrap(), &new));
    assert!(Arc::ptr_eq(&analysis.slot().get().unwrap(), &old));
    analysis.release();
    assert_eq!((Arc::strong_count(&old), Arc::strong_count(&new)), (1, 1));
}

#[test]
fn an_end_lets_go_of_both_models_though_the_old_one_hangs() {
    let gate: Arc<Gate> = Arc::default();
    let (old, new) = (model("old", Fake::new(1).hang_at(&gate, true)), model("new", Fake::new(1)));
    let analysis = analysis(&old, settings(2));
    gate.shut();
    enter(&analysis, 0).unwrap();
    gate.hangs(1);
    analysis.activate(Arc::clone(&new), settings(2));
    enter(&analysis, 1).unwrap();
    analysis.stop();
    analysis.release();
    assert_eq!(analysis.stats().in_flight, 0, "it was given up");
    until(|| Arc::strong_count(&old) == 1 && Arc::strong_count(&new) == 1);
}

#[test]
fn a_trial_counts_the_frames_of_its_model_only() {
    let gate: Arc<Gate> = Arc::default();
    let old = model("old", Fake::new(1).hang_at(&gate, false));
    let analysis = analysis(&old, settings(6));
    gate.shut();
    enter(&analysis, 0).unwrap();
    gate.hangs(1);
    let mut runs = 0;
    let behave = move |io: &mut Io| {
        runs += 1;
        match runs - 2 {
            1 => Err(EngineError::Run("out of luck".into())),
            2 => {
                if let Some(TensorData::F32(out)) = io.outputs.first_mut().map(|t| &mut t.data) {
                    out.iter_mut().for_each(|v| *v = f32::NAN);
                }
                Ok(())
            }
            3 => panic!("a bug"),
            _ => Ok(()),
        }
    };
    let new = model("new", Fake::new(1).behave(behave));
    analysis.activate(Arc::clone(&new), settings(6));
    let trial = watching(&new);
    analysis.watch(Some((Arc::clone(&trial), &analysis.slot().get().unwrap())));
    (1..6).for_each(|n| enter(&analysis, n).unwrap());
    gate.open();
    gate.release();
    (0..6).for_each(|_| drop(next(&analysis)));
    until(|| trial.report().subject.frames == 5);
    let report = trial.report();
    assert_eq!((report.subject.failed, report.subject.non_finite, report.subject.objects), (2, 1, 2));
    assert_eq!(report.peer.frames, 0);
    assert!(report.subject.max_ns > 0);
    analysis.watch(None);
    enter(&analysis, 6).unwrap();
    next(&analysis);
    assert_eq!(trial.report().subject.frames, 5);
}

#[test]
fn a_frame_whose_run_hangs_counts_as_failed() {
    let gate: Arc<Gate> = Arc::default();
    let limited = || Settings { run_limit: Some(Duration::from_millis(20)), ..settings(1) };
    let active = model("new", Fake::new(1).hang_at(&gate, false));
    let analysis = analysis(&active, limited());
    let trial = watching(&active);
    analysis.watch(Some((Arc::clone(&trial), &analysis.slot().get().unwrap())));
    gate.shut();
    enter(&analysis, 0).unwrap();
    assert_eq!(next(&analysis).result.freshness, Freshness::Absent(AbsentReason::Deadline));
    until(|| trial.report().subject.failed == 1);
    gate.open();
    gate.release();
}

#[test]
fn a_new_model_on_objects_asks_anew_and_nothing_of_the_old_one_stays() {
    let never = || cascade(crate::cascade::Rules { again_ns: u64::MAX, growth: 0.0, ..Default::default() });
    let analysis = analysis(&model("old", Fake::new(1)), never());
    let found = |n: u64| {
        enter_objects(&analysis, n, &with_objects(n, 2));
        let outcome = next(&analysis);
        let labels: Vec<_> = outcome.result.objects.iter().skip(2).map(|o| o.label.to_string()).collect();
        (outcome.looked, outcome.result.secondary[0].name.clone(), labels)
    };
    let both = |name: &str| vec![name.to_owned(); 2];
    assert_eq!(found(0), (true, "old".into(), both("old")));
    assert_eq!(found(1), (false, "old".into(), both("old")));
    analysis.activate(model("new", Fake::sized(1, 8)), never());
    assert_eq!(found(2), (true, "new".into(), both("new")));
    assert_eq!(found(3), (false, "new".into(), both("new")));
}

#[test]
fn the_jobs_of_the_new_model_are_ready_before_it_takes_over() {
    let analysis = analysis(&model("old", Fake::new(1)), settings(3));
    let turned = View { orientation: crate::frame::Orientation::CLOCKWISE, ..View::default() };
    let ticket = analysis.read(&Input { view: turned, ..input(Some(&view(&[255; 48])), 0) }).unwrap();
    analysis.enter(ticket, 0).unwrap();
    next(&analysis);
    analysis.activate(model("new", Fake::sized(1, 8)), settings(3));
    let queue = analysis.shared.lock();
    assert_eq!(queue.free.len(), 3);
    assert!(queue.free.iter().all(|job| job.model().id().name == "new" && job.is_warm()));
    drop(queue);
}
