use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use super::*;
use crate::engine::EngineError;
use crate::engine::fake::Fake;
use crate::frame::{ColorMatrix, ColorRange, FrameInfo, FrameView, PixelFormat, View};
use crate::model::Model;

pub(super) const MS: u64 = 1_000_000;

pub(super) fn view(bytes: &[u8]) -> FrameView<'_> {
    let info = FrameInfo {
        format: PixelFormat::Rgb,
        width: 4,
        height: 4,
        range: ColorRange::Full,
        matrix: ColorMatrix::Bt601,
    };
    FrameView::new(info, &[(bytes, 12)]).unwrap()
}

pub(super) fn input<'a>(frame: Option<&'a FrameView<'a>>, n: u64) -> Input<'a> {
    Input { frame, view: View::default(), size: (4, 4), times: times(n), earlier: None }
}

fn times(n: u64) -> Times {
    Times { pts_ns: Some(n * 40 * MS), running_time_ns: Some(n * 40 * MS), utc_ns: n * 40 * MS }
}

/// A white frame; the fake engine finds one thing on it with a score of 1.
pub(super) fn enter(analysis: &Analysis<u64>, n: u64) -> Result<(), Flushing> {
    let ticket = analysis.read(&input(Some(&view(&[255; 48])), n))?;
    analysis.enter(ticket, n)
}

pub(super) fn with(engine: Fake, settings: Settings) -> Analysis<u64> {
    with_model(Model::fake(engine), settings)
}

pub(super) fn with_model(model: Model, settings: Settings) -> Analysis<u64> {
    let analysis = Analysis::new();
    analysis.slot().replace(Some(Arc::new(model)));
    analysis.set_settings(settings);
    analysis
}

pub(super) fn next(analysis: &Analysis<u64>) -> Outcome<u64> {
    let outcome = analysis.next().unwrap();
    analysis.delivered();
    outcome
}

/// A behaviour that waits for a permit in every run after the two of the warm-up.
pub(super) fn gated() -> (Sender<()>, impl FnMut(&mut crate::engine::Io) -> Result<(), EngineError> + Send + 'static) {
    let (open, gate): (_, Receiver<()>) = channel();
    let mut warm_up = 2;
    (open, move |_: &mut crate::engine::Io| {
        if warm_up > 0 {
            warm_up -= 1;
        } else {
            gate.recv().unwrap();
        }
        Ok(())
    })
}

#[test]
fn frames_come_out_in_order_with_what_the_model_saw() {
    let analysis = Arc::new(with(Fake::new(3), Settings { max_in_flight: 4, ..Settings::default() }));
    let feeder = {
        let analysis = Arc::clone(&analysis);
        thread::spawn(move || (0..50).for_each(|n| enter(&analysis, n).unwrap()))
    };
    for n in 0..50 {
        let outcome = next(&analysis);
        assert_eq!((outcome.payload, outcome.result.frame), (n, n));
        assert_eq!(outcome.result.freshness, Freshness::Fresh);
        let [object] = outcome.result.objects.as_slice() else { panic!("one thing: {:?}", outcome.result.objects) };
        assert_eq!(&*object.label, "thing");
        assert!((object.confidence - 1.0).abs() < 1e-6);
        // Centre 2,2 and size 2,2 of 4x4 is the middle half.
        let b = object.bbox;
        assert!(
            [b.x, b.y].iter().all(|v| (v - 0.25).abs() < 1e-6) && [b.w, b.h].iter().all(|v| (v - 0.5).abs() < 1e-6)
        );
    }
    feeder.join().unwrap();
    let stats = analysis.stats();
    assert_eq!((stats.frames, stats.fresh, stats.in_flight), (50, 50, 0));
}

#[test]
fn skipped_frames_hold_the_last_result_with_its_age() {
    let analysis = with(Fake::new(1), Settings { interval: 2, max_in_flight: 2, ..Settings::default() });
    for n in 0..6 {
        enter(&analysis, n).unwrap();
    }
    let seen: Vec<_> = (0..6).map(|_| next(&analysis)).map(|o| (o.result.freshness, o.result.objects.len())).collect();
    let held = |ms| (Freshness::Held { age_ns: ms * MS }, 1);
    assert_eq!(seen, [(Freshness::Fresh, 1), held(40), held(80), (Freshness::Fresh, 1), held(40), held(80)]);
}

#[test]
fn a_skipped_frame_before_any_result_is_absent_and_not_empty() {
    let analysis = with(Fake::new(1), Settings { interval: 1, ..Settings::default() });
    enter(&analysis, 0).unwrap();
    next(&analysis);
    analysis.flush();
    analysis.resume();
    enter(&analysis, 1).unwrap();
    assert_eq!(next(&analysis).result.freshness, Freshness::Absent(AbsentReason::Skipped));
}

#[test]
fn without_a_model_or_a_readable_frame_video_goes_on() {
    let analysis = Analysis::new();
    enter(&analysis, 0).unwrap();
    assert_eq!(next(&analysis).result.freshness, Freshness::Absent(AbsentReason::NoModel));
    analysis.slot().replace(Some(Arc::new(Model::fake(Fake::new(1)))));
    let ticket = analysis.read(&input(None, 1)).unwrap();
    analysis.enter(ticket, 1).unwrap();
    assert_eq!(next(&analysis).result.freshness, Freshness::Absent(AbsentReason::BadFrame));
}

#[test]
fn an_error_or_a_panic_costs_one_frame_its_result() {
    let mut runs = 0;
    let engine = Fake::new(1).behave(move |_| {
        runs += 1;
        match runs {
            4 => Err(EngineError::Run("no memory".into())),
            5 => panic!("a bug in the engine"),
            _ => Ok(()),
        }
    });
    let analysis = with(engine, Settings::default());
    let seen: Vec<_> = (0..4)
        .map(|n| {
            enter(&analysis, n).unwrap();
            next(&analysis)
        })
        .collect();
    let failed = Freshness::Absent(AbsentReason::EngineError);
    assert_eq!(
        seen.iter().map(|o| o.result.freshness).collect::<Vec<_>>(),
        [Freshness::Fresh, failed, failed, Freshness::Fresh]
    );
    assert_eq!(seen[1].error.as_deref(), Some("no memory"));
    assert_eq!(seen[2].error.as_deref(), Some("the engine panicked"));
    assert_eq!(analysis.stats().errors, 2);
}

#[test]
fn when_busy_hold_lets_frames_pass_a_slow_engine() {
    let (open, behaviour) = gated();
    let settings = Settings { max_in_flight: 1, when_busy: WhenBusy::Hold, ..Settings::default() };
    let analysis = with(Fake::new(1).behave(behaviour), settings);
    enter(&analysis, 0).unwrap();
    enter(&analysis, 1).unwrap();
    open.send(()).unwrap();
    let (first, second) = (next(&analysis), next(&analysis));
    assert_eq!(first.result.freshness, Freshness::Fresh);
    assert_eq!(second.result.freshness, Freshness::Held { age_ns: 40 * MS });
}

#[test]
fn a_flush_frees_those_who_wait_and_drops_what_is_under_way() {
    let (open, behaviour) = gated();
    let analysis = Arc::new(with(Fake::new(1).behave(behaviour), Settings::default()));
    enter(&analysis, 0).unwrap();
    let waiting = {
        let analysis = Arc::clone(&analysis);
        thread::spawn(move || enter(&analysis, 1))
    };
    let reader = {
        let analysis = Arc::clone(&analysis);
        thread::spawn(move || analysis.next().map(|o| o.payload))
    };
    analysis.flush();
    assert_eq!(waiting.join().unwrap(), Err(Flushing));
    assert_eq!(reader.join().unwrap(), None);
    analysis.drain();
    // The run that was under way ends after the flush; its frame must not turn up.
    open.send(()).unwrap();
    open.send(()).unwrap();
    analysis.resume();
    enter(&analysis, 2).unwrap();
    assert_eq!(next(&analysis).payload, 2);
}

#[test]
fn frames_under_way_are_never_more_than_allowed() {
    let (open, behaviour) = gated();
    let analysis = Arc::new(with(Fake::new(1).behave(behaviour), Settings { max_in_flight: 2, ..Settings::default() }));
    let feeder = {
        let analysis = Arc::clone(&analysis);
        thread::spawn(move || (0..5).for_each(|n| enter(&analysis, n).unwrap()))
    };
    for n in 0..5 {
        open.send(()).unwrap();
        assert_eq!(next(&analysis).payload, n);
        assert!(analysis.stats().in_flight <= 2);
    }
    feeder.join().unwrap();
    analysis.drain();
}

#[test]
fn overrides_replace_the_bundles_thresholds() {
    let analysis = with(Fake::new(1), Settings { max_objects: Some(0), ..Settings::default() });
    enter(&analysis, 0).unwrap();
    assert!(next(&analysis).result.objects.is_empty());
    analysis.set_settings(Settings::default());
    enter(&analysis, 1).unwrap();
    assert_eq!(next(&analysis).result.objects.len(), 1);
    // A grey frame scores one half.
    let grey = |confidence| {
        analysis.set_settings(Settings { confidence: Some(confidence), ..Settings::default() });
        let ticket = analysis.read(&input(Some(&view(&[128; 48])), 2)).unwrap();
        analysis.enter(ticket, 2).unwrap();
        next(&analysis).result.objects.len()
    };
    assert_eq!((grey(0.49), grey(0.51)), (1, 0));
}

/// Lets other threads go on until `true`.
pub(super) fn until(condition: impl Fn() -> bool) {
    while !condition() {
        thread::yield_now();
    }
}

/// A gated behaviour that counts the runs that have begun after the warm-up.
pub(super) fn counted()
-> (Sender<()>, Arc<AtomicUsize>, impl FnMut(&mut crate::engine::Io) -> Result<(), EngineError> + Send) {
    let (open, mut behaviour) = gated();
    let begun = Arc::new(AtomicUsize::new(0));
    let (count, mut warm_up) = (Arc::clone(&begun), 2);
    let counting = move |io: &mut crate::engine::Io| {
        if warm_up > 0 {
            warm_up -= 1;
        } else {
            count.fetch_add(1, Ordering::SeqCst);
        }
        behaviour(io)
    };
    (open, begun, counting)
}

#[test]
fn a_run_that_outlives_its_analysis_does_not_keep_the_model() {
    let (open, begun, behaviour) = counted();
    let analysis = with(Fake::new(1).behave(behaviour), Settings::default());
    let model = Arc::downgrade(&analysis.slot().get().unwrap());
    enter(&analysis, 0).unwrap();
    until(|| begun.load(Ordering::SeqCst) == 1);
    analysis.stop();
    let ending = thread::spawn(move || analysis.release());
    open.send(()).unwrap();
    ending.join().unwrap();
    until(|| model.upgrade().is_none());
}

#[test]
fn the_jobs_of_a_replaced_model_are_let_go() {
    let engine = Fake::new(3);
    let analysis = with(engine, Settings { max_in_flight: 3, ..Settings::default() });
    let old = Arc::downgrade(&analysis.slot().get().unwrap());
    (0..3).for_each(|n| enter(&analysis, n).unwrap());
    (0..3).for_each(|_| drop(next(&analysis)));
    analysis.slot().replace(Some(Arc::new(Model::fake(Fake::new(1)))));
    enter(&analysis, 3).unwrap();
    next(&analysis);
    until(|| old.upgrade().is_none());
}

#[test]
fn frames_run_on_the_engine_that_they_were_read_for() {
    let (open, begun, behaviour) = counted();
    let analysis = with(Fake::new(1).behave(behaviour), Settings { max_in_flight: 3, ..Settings::default() });
    enter(&analysis, 0).unwrap();
    until(|| begun.load(Ordering::SeqCst) == 1);
    // Stands in line for the first model, whose only lane is busy.
    enter(&analysis, 1).unwrap();
    let mut runs = 0;
    let second = Fake::new(1).behave(move |_| {
        runs += 1;
        if runs > 2 { Err(EngineError::Run("the second model".into())) } else { Ok(()) }
    });
    analysis.slot().replace(Some(Arc::new(Model::fake(second))));
    enter(&analysis, 2).unwrap();
    (0..2).for_each(|_| open.send(()).unwrap());
    let seen: Vec<_> = (0..3).map(|_| next(&analysis).error).collect();
    assert_eq!(seen, [None, None, Some("the second model".to_owned())]);
}

#[test]
fn what_downstream_makes_a_frame_wait_is_not_its_own_time() {
    let analysis = with(Fake::new(1), Settings::default());
    let start = Instant::now();
    enter(&analysis, 0).unwrap();
    until(|| analysis.stats().in_flight == 0);
    let ready = nanos(start);
    until(|| nanos(start) > 2 * ready);
    assert!(next(&analysis).own_ns <= ready);
}

#[test]
fn after_a_failure_frames_are_refused_until_it_is_over_and_a_stop_is_for_good() {
    let analysis = with(Fake::new(1), Settings::default());
    analysis.fail();
    assert_eq!(enter(&analysis, 0), Err(Flushing));
    analysis.revive();
    enter(&analysis, 1).unwrap();
    assert_eq!(next(&analysis).payload, 1);
    analysis.stop();
    analysis.resume();
    assert_eq!(enter(&analysis, 2), Err(Flushing));
    assert!(analysis.next().is_none());
    analysis.restart();
    enter(&analysis, 3).unwrap();
    assert_eq!(next(&analysis).payload, 3);
}

/// A frame with objects on tracks 1, 2, … over its quarters, for a model that looks at them.
pub(super) fn with_objects(n: u64, count: u32) -> FrameResult {
    use crate::result::{BBox, Object, Track, TrackState};
    let track = |id| Track { id, state: TrackState::Confirmed, age_ns: 0, unseen_ns: 0, velocity: (0.0, 0.0) };
    let objects = (0..count).map(|i| {
        let bbox = BBox { x: 0.5 * (i % 2) as f32, y: 0.5 * (i / 2) as f32, w: 0.5, h: 0.5 };
        Object { track: Some(track(u64::from(i) + 1)), ..Object::new(i, 0, "person".into(), 0.9, bbox) }
    });
    FrameResult {
        frame: 1000 + n,
        running_time_ns: Some(n * 40 * MS),
        freshness: Freshness::Fresh,
        objects: objects.collect(),
        ..FrameResult::absent(AbsentReason::Skipped, (4, 4))
    }
}

pub(super) fn enter_objects(analysis: &Analysis<u64>, n: u64, earlier: &FrameResult) {
    let view = view(&[255; 48]);
    let ticket = analysis.read(&Input { earlier: Some(earlier), ..input(Some(&view), n) }).unwrap();
    analysis.enter(ticket, n).unwrap();
}

pub(super) fn cascade(rules: crate::cascade::Rules) -> Settings {
    let rules = crate::cascade::Rules { min_size: 0, ..rules };
    Settings { cascade: Some(Arc::new(rules)), max_in_flight: 4, ..Settings::default() }
}

#[test]
fn a_model_on_objects_adds_to_the_result_and_looks_again_when_the_rules_say() {
    let rules = crate::cascade::Rules { again_ns: 80 * MS, ..Default::default() };
    let analysis = with(Fake::new(2), cascade(rules));
    for n in 0..4 {
        enter_objects(&analysis, n, &with_objects(n, 3));
    }
    for n in 0..4 {
        let outcome = next(&analysis);
        let result = outcome.result;
        assert_eq!((outcome.payload, result.frame, result.freshness), (n, 1000 + n, Freshness::Fresh));
        assert_eq!(outcome.looked, n % 2 == 0, "{n}");
        assert_eq!(result.secondary.len(), 1);
        // One thing in the middle of each object.
        let children: Vec<_> = result.objects.iter().skip(3).map(|o| (o.parent, o.bbox.x, o.bbox.y)).collect();
        assert_eq!(children, [(Some(0), 0.125, 0.125), (Some(1), 0.625, 0.125), (Some(2), 0.125, 0.625)], "{n}");
    }
    assert_eq!((analysis.stats().objects, analysis.stats().in_flight), (6, 0));
}

#[test]
fn a_model_that_fails_on_objects_leaves_the_earlier_result_whole() {
    let mut runs = 0;
    let behave = move |_: &mut crate::engine::Io| {
        runs += 1;
        // After the two of the warm-up.
        if runs == 3 { Err(EngineError::Run("out of luck".into())) } else { Ok(()) }
    };
    let analysis = with(Fake::new(1).behave(behave), cascade(crate::cascade::Rules::default()));
    for n in 0..2 {
        enter_objects(&analysis, n, &with_objects(n, 1));
        let outcome = next(&analysis);
        assert_eq!(outcome.error.is_some(), n == 0);
        assert_eq!(outcome.result.freshness, Freshness::Fresh);
        assert_eq!(outcome.result.objects.len(), if n == 0 { 1 } else { 2 }, "it is looked at again at once");
    }
}

#[test]
fn frames_without_objects_pass_a_model_on_objects_as_they_are() {
    let analysis = with(Fake::new(1), cascade(crate::cascade::Rules::default()));
    let earlier = with_objects(0, 0);
    enter_objects(&analysis, 0, &earlier);
    let outcome = next(&analysis);
    assert!(!outcome.looked && outcome.error.is_none());
    assert_eq!(outcome.result.objects, earlier.objects);
    enter(&analysis, 1).unwrap();
    assert_eq!(next(&analysis).result.freshness, Freshness::Absent(AbsentReason::Skipped), "nobody looked before");
}
