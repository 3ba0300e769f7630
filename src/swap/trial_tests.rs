use super::*;
use crate::bundle::TrialLimits;
use crate::engine::fake::Fake;
use crate::model::Model;

const MS: u64 = 1_000_000;

fn rules() -> Rules {
    let model = Model::fake(Fake::new(1));
    Rules::probation(model.bundle(), &TrialLimits::default())
}

/// A trial under a clock of the test.
struct Bench {
    core: Core,
    now: Instant,
}

impl Bench {
    fn new(rules: Rules) -> Self {
        let now = Instant::now();
        Self { core: Core::new(rules, now), now }
    }

    fn run(&self, ms: u64) -> Observation {
        Observation { now: self.now, run_ns: ms * MS, failed: false, non_finite: 0, objects: 1 }
    }

    /// The subject's next frame, 40 ms later.
    fn frame(&mut self, how: impl FnOnce(Observation) -> Observation) -> Option<Verdict> {
        self.now += Duration::from_millis(40);
        let run = how(self.run(10));
        self.core.begun.get_or_insert(run.now);
        self.core.subject.add(&run);
        self.core.judge(self.now)
    }

    /// Frames until there is a verdict, and how many.
    fn until(&mut self, mut how: impl FnMut(u64, Observation) -> Observation) -> (u64, Verdict) {
        for n in 1..100_000 {
            if let Some(verdict) = self.frame(|run| how(n, run)) {
                return (n, verdict);
            }
        }
        panic!("no verdict");
    }

    fn peers(&mut self, count: u64, ms: u64) {
        (0..count).for_each(|_| self.core.peer.add(&self.run(ms)));
    }
}

fn failed(reason: Reason, verdict: &Verdict) -> bool {
    matches!(verdict, Verdict::Failed(is, text) if *is == reason && !text.is_empty())
}

#[test]
fn a_sound_model_passes_after_its_time_and_its_frames() {
    let mut bench = Bench::new(rules());
    let (frames, verdict) = bench.until(|_, run| run);
    // The first frame begins it: 30 s later is frame 751.
    assert_eq!((frames, verdict), (751, Verdict::Passed));
    let mut slow = Bench::new(rules());
    let mut seen = 0;
    loop {
        slow.now += Duration::from_secs(60);
        seen += 1;
        if let Some(verdict) = slow.frame(|run| run) {
            assert_eq!((seen, verdict), (50, Verdict::Passed), "a frame in a minute");
            break;
        }
    }
}

#[test]
fn without_frames_no_time_is_long_enough() {
    let mut bench = Bench::new(rules());
    bench.now += Duration::from_secs(1_000_000);
    assert_eq!(bench.core.judge(bench.now), None);
    (0..49).for_each(|_| assert_eq!(bench.frame(|run| run), None));
    bench.now += Duration::from_secs(1_000_000);
    assert_eq!(bench.core.judge(bench.now), None);
    assert_eq!(bench.frame(|run| run), Some(Verdict::Passed));
}

#[test]
fn ten_failed_runs_in_a_row_end_it_at_once() {
    let mut bench = Bench::new(Rules { max_errors: 1.0, ..rules() });
    let (frames, verdict) = bench.until(|n, run| Observation { failed: n > 100, ..run });
    assert_eq!(frames, 110);
    assert!(failed(Reason::Errors, &verdict));
    // Nothing changes it any more.
    assert_eq!(bench.frame(|run| run), Some(verdict));
}

#[test]
fn a_few_errors_are_forgiven_and_more_are_not() {
    let every = |step: u64| {
        let mut bench = Bench::new(rules());
        bench.until(|n, run| Observation { failed: n % step == 0, ..run })
    };
    assert_eq!(every(51), (751, Verdict::Passed), "under one in fifty");
    let (frames, verdict) = every(40);
    assert!(frames == 751 && failed(Reason::Errors, &verdict), "{frames} {verdict:?}");
    // Far beyond the limit there is nothing to wait for.
    let (frames, verdict) = every(3);
    assert!(frames == 30 && failed(Reason::Errors, &verdict), "{frames} {verdict:?}");
}

#[test]
fn answers_that_are_not_finite_end_it() {
    let mut bench = Bench::new(rules());
    let (frames, verdict) = bench.until(|_, run| Observation { non_finite: 3, ..run });
    assert!(frames == 10 && failed(Reason::NonFinite, &verdict));
    let mut bench = Bench::new(rules());
    let (frames, verdict) = bench.until(|n, run| Observation { non_finite: u64::from(n % 90 == 0), ..run });
    assert!(frames == 751 && failed(Reason::NonFinite, &verdict));
    let mut bench = Bench::new(Rules { max_non_finite: 1.0, ..rules() });
    assert_eq!(bench.until(|_, run| Observation { non_finite: 3, ..run }).1, Verdict::Passed);
}

#[test]
fn a_model_that_is_too_slow_fails_and_soon_if_it_is_far_too_slow() {
    let took = |ms: u64, limit: u64| {
        let mut bench = Bench::new(Rules { max_latency: Some(Duration::from_millis(limit)), ..rules() });
        bench.until(|_, run| Observation { run_ns: ms * MS, ..run })
    };
    assert_eq!(took(30, 40).1, Verdict::Passed);
    let (frames, verdict) = took(50, 40);
    assert!(frames == 751 && failed(Reason::Latency, &verdict));
    let (frames, verdict) = took(100, 40);
    assert!(frames == 10 && failed(Reason::Latency, &verdict));
    // A slow frame now and then is none of that.
    let mut bench = Bench::new(Rules { max_latency: Some(Duration::from_millis(40)), ..rules() });
    assert_eq!(
        bench.until(|n, run| Observation { run_ns: if n % 3 == 0 { 900 } else { 10 } * MS, ..run }).1,
        Verdict::Passed
    );
}

#[test]
fn slowness_is_measured_by_the_other_model_in_the_same_time() {
    let took = |ours: u64, peers: (u64, u64), factor: f32| {
        let mut bench = Bench::new(Rules { max_slowdown: factor, ..rules() });
        bench.peers(peers.0, peers.1);
        bench.until(|_, run| Observation { run_ns: ours * MS, ..run })
    };
    assert_eq!(took(29, (5, 10), 3.0).1, Verdict::Passed);
    let (frames, verdict) = took(40, (5, 10), 3.0);
    assert!(frames == 751 && failed(Reason::Latency, &verdict));
    let (frames, verdict) = took(70, (5, 10), 3.0);
    assert!(frames == 10 && failed(Reason::Latency, &verdict));
    assert_eq!(took(70, (4, 10), 3.0).1, Verdict::Passed, "the other one is not known well enough");
    assert_eq!(took(70, (5, 10), 0.0).1, Verdict::Passed, "any slowdown is allowed");
    assert_eq!(took(4, (5, 0), 3.0).1, Verdict::Passed, "what is quick is not too slow");
}

#[test]
fn a_collapse_of_what_is_found_ends_it() {
    let with = |each: Agreement, samples: u64| {
        let mut bench = Bench::new(rules());
        (0..samples).for_each(|_| bench.core.agreement += each);
        bench.until(|_, run| run)
    };
    let sample = |matched, missed, extra| Agreement { frames: 1, matched, missed, extra, ..Agreement::default() };
    assert_eq!(with(sample(1, 1, 1), 20).1, Verdict::Passed);
    let (frames, verdict) = with(sample(1, 2, 1), 20);
    assert!(frames == 751 && failed(Reason::Disagreement, &verdict), "{verdict:?}");
    let (frames, verdict) = with(sample(0, 1, 0), 20);
    assert!(frames == 1 && failed(Reason::Disagreement, &verdict), "{verdict:?}");
    assert_eq!(with(sample(0, 1, 0), 19).1, Verdict::Passed, "too few samples");
    assert_eq!(with(sample(0, 0, 0), 100).1, Verdict::Passed, "there was nothing to be found");
    // On a quiet scene, one that sees what is not there.
    let (frames, verdict) = with(sample(0, 0, 5), 20);
    assert!(frames == 1 && failed(Reason::Disagreement, &verdict), "{verdict:?}");
    let classes = Agreement { frames: 1, top1_frames: 1, top1_equal: 0, ..Agreement::default() };
    assert!(failed(Reason::Disagreement, &with(classes, 20).1));
}

/// A probation with a frame in `ms` milliseconds, whose peer is told of by `each`, with the number of the frame.
fn probation(rules: Rules, ms: u64, each: impl Fn(u64, &mut Core, Observation)) -> (u64, Verdict) {
    let mut bench = Bench::new(rules);
    for n in 1..10_000 {
        bench.now += Duration::from_millis(ms - 40);
        let run = Observation { now: bench.now, ..bench.run(10) };
        each(n, &mut bench.core, run);
        if let Some(verdict) = bench.frame(|run| run) {
            return (n, verdict);
        }
    }
    panic!("no verdict");
}

#[test]
fn a_probation_waits_for_samples_as_long_as_the_old_model_answers() {
    let missed = Agreement { frames: 1, missed: 2, ..Agreement::default() };
    // 3 frames in a second, of which the old model looks at each fifth: 18 samples in the 30 s, the twentieth ends it.
    let (frames, verdict) = probation(rules(), 333, |n, core, run| {
        if n % 5 == 0 {
            core.peer.add(&run);
            core.agreement += missed;
        }
    });
    assert!(frames == 100 && failed(Reason::Disagreement, &verdict), "{frames} {verdict:?}");
    // It answers, but hardly ever: four times the time and four times the frames are enough.
    let slow = |n: u64, core: &mut Core, run: Observation| {
        if n % 60 == 1 {
            core.peer.add(&run);
            core.agreement += missed;
        }
    };
    assert_eq!(probation(rules(), 500, slow), (241, Verdict::Passed));
    assert_eq!(probation(rules(), 1000, slow), (200, Verdict::Passed));
    // Nothing is waited for where there is nothing to come, or any agreement will do, or no time is asked for.
    let lost = |n, core: &mut Core, run| {
        slow(n, core, run);
        core.alone = n > 30;
    };
    assert_eq!(probation(rules(), 500, lost), (61, Verdict::Passed));
    let apart = |n, core: &mut Core, run| {
        core.peer.add(&run);
        core.incomparable = n > 1;
    };
    assert_eq!(probation(rules(), 500, apart), (61, Verdict::Passed));
    let fails = |n, core: &mut Core, run| core.peer.add(&Observation { failed: n > 1, ..run });
    assert_eq!(probation(rules(), 500, fails), (61, Verdict::Passed));
    let any = Rules { min_agreement: 0.0, ..rules() };
    assert_eq!(probation(any, 500, slow), (61, Verdict::Passed));
    let short = Rules { time: Duration::ZERO, frames: 5, ..rules() };
    assert_eq!(probation(short, 500, slow), (5, Verdict::Passed));
}

#[test]
fn what_a_model_does_by_itself_is_not_waited_for() {
    let mut bench = Bench::new(Rules { max_latency: Some(Duration::from_millis(40)), ..rules() });
    bench.peers(5, 50);
    let (frames, verdict) = bench.until(|_, run| Observation { run_ns: 50 * MS, ..run });
    assert!(frames == 751 && failed(Reason::Latency, &verdict), "{frames} {verdict:?}");
}

#[test]
fn a_run_that_hangs_is_a_verdict_unless_there_is_one() {
    let now = Instant::now();
    let run = Observation { now, run_ns: 2 * MS, failed: false, non_finite: 0, objects: 4 };
    for passed in [true, false] {
        let trial = Trial::new(Rules { time: Duration::ZERO, frames: 1, ..rules() }, now);
        if passed {
            trial.subject(run);
        }
        trial.subject_hangs(now, "it hangs");
        let hangs = Verdict::Failed(Reason::Errors, "it hangs".into());
        assert_eq!(trial.wait(&Cancel::default()), Some(if passed { Verdict::Passed } else { hangs }));
    }
}

#[test]
fn a_shadow_must_be_compared() {
    let model = Model::fake(Fake::new(1));
    let mut bench = Bench::new(Rules::shadow(model.bundle(), &TrialLimits::default()));
    (0..3000).for_each(|_| assert_eq!(bench.frame(|run| run), None));
    bench.core.agreement += Agreement { frames: 100, matched: 100, ..Agreement::default() };
    assert_eq!(bench.frame(|run| run), Some(Verdict::Passed));
    let mut bench = Bench::new(Rules::shadow(model.bundle(), &TrialLimits::default()));
    bench.core.incomparable = true;
    assert!(failed(Reason::Disagreement, &bench.frame(|run| run).unwrap()));
    let mut bench = Bench::new(rules());
    bench.core.incomparable = true;
    assert_eq!(bench.until(|_, run| run).1, Verdict::Passed, "on probation it need not be");
}

#[test]
fn whoever_waits_is_told_and_can_be_cancelled() {
    let now = Instant::now();
    let trial = Trial::new(Rules { time: Duration::ZERO, frames: 3, ..rules() }, now);
    let cancel = Cancel::default();
    let waits = |trial: &Arc<Trial>, cancel: &Cancel| {
        let (trial, cancel) = (Arc::clone(trial), cancel.clone());
        std::thread::spawn(move || trial.wait(&cancel))
    };
    let waiting = waits(&trial, &cancel);
    let run = Observation { now, run_ns: 2 * MS, failed: false, non_finite: 0, objects: 4 };
    trial.peer(Observation { failed: true, ..run });
    trial.compared(now, &Agreement { frames: 1, matched: 4, ..Agreement::default() });
    (0..2).for_each(|_| trial.subject(run));
    assert_eq!(trial.report().verdict, None);
    trial.subject(Observation { non_finite: 0, ..run });
    assert_eq!(waiting.join().unwrap(), Some(Verdict::Passed));
    let report = trial.report();
    assert_eq!((report.subject.frames, report.subject.objects, report.subject.failed), (3, 12, 0));
    assert_eq!((report.peer.frames, report.peer.failed, report.agreement.matched), (1, 1, 4));
    assert_eq!((report.subject.median_ns, report.subject.max_ns), (2 * MS, 2 * MS));
    let other = Trial::new(rules(), now);
    let waiting = waits(&other, &cancel);
    cancel.cancel();
    assert_eq!(waiting.join().unwrap(), None);
}

#[test]
fn a_shadow_that_has_had_nothing_to_miss_is_not_judged() {
    let rules = Rules { must_compare: true, samples: 10, frames: 10, time: Duration::ZERO, ..rules() };
    let mut bench = Bench::new(rules);
    (0..500).for_each(|_| {
        bench.core.agreement += Agreement { frames: 1, ..Agreement::default() };
        assert_eq!(bench.frame(|run| run), None, "the scene is empty");
    });
    // One that is blind, as soon as there is enough to see.
    bench.core.agreement += Agreement { frames: 9, missed: 9, ..Agreement::default() };
    assert_eq!(bench.frame(|run| run), None);
    bench.core.agreement += Agreement { frames: 1, missed: 1, ..Agreement::default() };
    assert!(failed(Reason::Disagreement, &bench.frame(|run| run).unwrap()));
    // Where any agreement is enough, nothing needs to be seen.
    let mut bench = Bench::new(Rules { min_agreement: 0.0, ..rules });
    bench.core.agreement += Agreement { frames: 10, ..Agreement::default() };
    assert_eq!(bench.until(|_, run| run), (10, Verdict::Passed));
}
