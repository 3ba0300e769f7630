//! A model is watched on live frames until it has passed or failed.
//!
//! The *subject* is the model that is tried: the active one on probation, or a shadow. The *peer* is the other one, which says
//! what the machine and the scene are like in the same time. Time passes only for who is at work: it counts from the subject's
//! first run on, and without enough answered frames no time is long enough, so that a silent camera proves nothing.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::agreement::Agreement;
use super::phase::Reason;
use super::rules::{QUICK, Rules};
use crate::cancel::Cancel;
use crate::telemetry::Histogram;

/// Runs that fail one after the other: then the model does not work, whatever part of the runs may fail.
const IN_A_ROW: u64 = 10;
/// Fewest bad runs, and fewest answers, from which a model fails before its time is over.
const EARLY: u64 = 10;
/// Failed runs and bad answers over this multiple of what is allowed are beyond doubt.
const FLAGRANT_SHARE: f64 = 5.0;
/// As `FLAGRANT_SHARE`, for the median run and for the agreement.
const FLAGRANT: f64 = 2.0;
/// Fewest answers of the peer before its run counts as known.
const PEER_RUNS: u64 = 5;
/// Fewest objects that one of the two found before the agreement counts, or as many as samples are wanted if those are fewer:
/// on an empty scene nothing can be missed, and nothing more be found.
const OBJECTS: u64 = 20;
/// A model on probation whose own time is over stays on it for samples up to this multiple of its time and its frames.
const PATIENCE: u32 = 4;
/// How often one who waits looks whether it is cancelled.
const POLL: Duration = Duration::from_millis(50);

/// One frame's runs of a model.
#[derive(Debug, Clone, Copy)]
pub struct Observation {
    /// When they were over.
    pub now: Instant,
    /// What they took, nanoseconds.
    pub run_ns: u64,
    /// There is no answer.
    pub failed: bool,
    /// Numbers in the answer that are not finite.
    pub non_finite: u64,
    /// Objects and classes in the answer.
    pub objects: u64,
}

/// How a trial ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The model kept to all rules.
    Passed,
    /// It broke one; the text has the figures.
    Failed(Reason, String),
}

/// What ended a wait for a verdict.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Waited {
    /// There is one.
    Verdict(Verdict),
    /// Nobody waits any more.
    Cancelled,
    /// There is none yet.
    Late,
}

/// What was seen of one model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Figures {
    /// Frames that it was run on.
    pub frames: u64,
    /// Those without an answer.
    pub failed: u64,
    /// Those with numbers in the answer that are not finite.
    pub non_finite: u64,
    /// Objects and classes in all answers.
    pub objects: u64,
    /// Half of the answers took at most this long, nanoseconds.
    pub median_ns: u64,
    /// 99 of 100 answers took at most this long, nanoseconds.
    pub p99_ns: u64,
    /// The slowest answer, nanoseconds.
    pub max_ns: u64,
}

/// How a trial stands.
#[derive(Debug, Clone, PartialEq)]
pub struct TrialReport {
    /// The model that is tried.
    pub subject: Figures,
    /// The other one.
    pub peer: Figures,
    /// What both said of the same frames, added up.
    pub agreement: Agreement,
    /// Since the trial was made.
    pub elapsed: Duration,
    /// How it ended; `None` while it goes on.
    pub verdict: Option<Verdict>,
}

#[derive(Debug, Default)]
struct Side {
    runs: u64,
    failed: u64,
    /// The last runs that failed one after the other.
    in_a_row: u64,
    non_finite: u64,
    objects: u64,
    times: Histogram,
}

impl Side {
    fn add(&mut self, run: &Observation) {
        self.runs += 1;
        if run.failed {
            self.failed += 1;
            self.in_a_row += 1;
            return;
        }
        self.in_a_row = 0;
        self.non_finite += u64::from(run.non_finite > 0);
        self.objects += run.objects;
        self.times.record(run.run_ns);
    }

    fn answered(&self) -> u64 {
        self.runs - self.failed
    }

    fn median(&self) -> Duration {
        Duration::from_nanos(self.times.quantile_ns(0.5))
    }

    fn figures(&self) -> Figures {
        Figures {
            frames: self.runs,
            failed: self.failed,
            non_finite: self.non_finite,
            objects: self.objects,
            median_ns: self.times.quantile_ns(0.5),
            p99_ns: self.times.quantile_ns(0.99),
            max_ns: self.times.max_ns(),
        }
    }
}

/// Whether `bad` of `all` are more than `allowed` (a share); before the end only if they are far more.
fn too_many(bad: u64, all: u64, allowed: f32, over: bool) -> bool {
    let allowed = f64::from(allowed);
    let share = if all == 0 { 0.0 } else { bad as f64 / all as f64 };
    if over { share > allowed } else { bad >= EARLY && share > allowed * FLAGRANT_SHARE }
}

/// The trial without threads.
#[derive(Debug)]
struct Core {
    rules: Rules,
    made: Instant,
    /// The subject's first run was over.
    begun: Option<Instant>,
    subject: Side,
    peer: Side,
    agreement: Agreement,
    incomparable: bool,
    /// The peer looks at no more frames.
    alone: bool,
    /// A run of the subject does not come back; why.
    hangs: Option<String>,
    verdict: Option<Verdict>,
}

impl Core {
    fn new(rules: Rules, now: Instant) -> Self {
        Self {
            rules,
            made: now,
            begun: None,
            subject: Side::default(),
            peer: Side::default(),
            agreement: Agreement::default(),
            incomparable: false,
            alone: false,
            hangs: None,
            verdict: None,
        }
    }

    /// The verdict, as soon as there is one; it does not change any more.
    fn judge(&mut self, now: Instant) -> Option<Verdict> {
        if self.verdict.is_none() {
            // What the model does by itself is known after its own time; only the comparison may take longer.
            let long = self.is_long(now, 1);
            let over = long && self.is_compared(now);
            let failure = self.errors(long).or_else(|| self.non_finite(long)).or_else(|| self.latency(long));
            let failure = failure.or_else(|| self.disagreement(over));
            self.verdict = match failure {
                Some((reason, text)) => Some(Verdict::Failed(reason, text)),
                None => over.then_some(Verdict::Passed),
            };
        }
        self.verdict.clone()
    }

    /// Whether enough was found for the agreement to count.
    fn has_objects(&self) -> bool {
        self.agreement.found() >= OBJECTS.min(self.rules.samples)
    }

    /// Whether it has worked for `times` its time, and has answered as many times its frames.
    fn is_long(&self, now: Instant, times: u32) -> bool {
        let time = self.rules.time.saturating_mul(times);
        self.begun.is_some_and(|begun| now.saturating_duration_since(begun) >= time)
            && self.subject.answered() >= self.rules.frames.saturating_mul(times.into())
    }

    /// Whether as much was compared as is to be waited for, once its own time is over.
    fn is_compared(&self, now: Instant) -> bool {
        let enough = self.agreement.frames >= self.rules.samples;
        if self.rules.must_compare {
            // A model that sees nothing agrees with every other one on an empty scene.
            return enough && (self.rules.min_agreement <= 0.0 || self.has_objects());
        }
        // Where no time is asked for, none is spent on waiting.
        let waits = self.peer_answers() && self.rules.min_agreement > 0.0 && !self.rules.time.is_zero();
        enough || !waits || self.is_long(now, PATIENCE)
    }

    /// Whether the peer is still good for a comparison.
    fn peer_answers(&self) -> bool {
        !self.incomparable && !self.alone && self.peer.answered() > 0 && self.peer.in_a_row < IN_A_ROW
    }

    fn errors(&self, over: bool) -> Option<(Reason, String)> {
        if let Some(text) = &self.hangs {
            return Some((Reason::Errors, text.clone()));
        }
        let Side { runs, failed, in_a_row, .. } = self.subject;
        if in_a_row >= IN_A_ROW {
            return Some((Reason::Errors, format!("{in_a_row} runs in a row failed")));
        }
        let allowed = self.rules.max_errors;
        too_many(failed, runs, allowed, over)
            .then(|| (Reason::Errors, format!("{failed} of {runs} runs failed, {} are allowed", percent(allowed))))
    }

    fn non_finite(&self, over: bool) -> Option<(Reason, String)> {
        let (bad, all, allowed) = (self.subject.non_finite, self.subject.answered(), self.rules.max_non_finite);
        too_many(bad, all, allowed, over).then(|| {
            let text = format!("{bad} of {all} answers hold NaN or infinity, {} are allowed", percent(allowed));
            (Reason::NonFinite, text)
        })
    }

    fn latency(&self, over: bool) -> Option<(Reason, String)> {
        if !over && self.subject.answered() < EARLY {
            return None;
        }
        let median = self.subject.median();
        let beyond = |limit: Duration| median > if over { limit } else { limit.mul_f64(FLAGRANT) };
        if let Some(limit) = self.rules.max_latency.filter(|limit| beyond(*limit)) {
            return Some((Reason::Latency, format!("a run takes {median:.1?} (median), {limit:.1?} are allowed")));
        }
        let factor = f64::from(self.rules.max_slowdown);
        if factor == 0.0 || median < QUICK || self.peer.answered() < PEER_RUNS {
            return None;
        }
        let other = self.peer.median();
        beyond(other.mul_f64(factor)).then(|| {
            let text = format!(
                "a run takes {median:.1?} (median) where the other model takes {other:.1?}, {factor} times that is allowed"
            );
            (Reason::Latency, text)
        })
    }

    fn disagreement(&self, over: bool) -> Option<(Reason, String)> {
        let least = f64::from(self.rules.min_agreement);
        if self.incomparable && self.rules.must_compare && least > 0.0 {
            let text = "the two models have no label in common, or answer in different ways, and cannot be compared";
            return Some((Reason::Disagreement, text.into()));
        }
        let Agreement { frames, matched, class_changes, missed, extra, top1_frames, top1_equal, .. } = self.agreement;
        if frames < self.rules.samples || !self.has_objects() {
            return None;
        }
        let score = self.agreement.score();
        (score < if over { least } else { least / FLAGRANT }).then(|| {
            let mut text = format!("the models agree by {score:.2} on {frames} frames, {least} is the least allowed: ");
            text += &if top1_frames > 0 {
                format!("{top1_equal} of {top1_frames} classes are the same")
            } else {
                format!(
                    "{matched} objects found alike, {class_changes} of another class, {missed} missed, {extra} more"
                )
            };
            (Reason::Disagreement, text)
        })
    }

    fn report(&self, now: Instant) -> TrialReport {
        TrialReport {
            subject: self.subject.figures(),
            peer: self.peer.figures(),
            agreement: self.agreement,
            elapsed: now.saturating_duration_since(self.made),
            verdict: self.verdict.clone(),
        }
    }
}

fn percent(share: f32) -> String {
    format!("{} %", (f64::from(share) * 1e4).round() / 1e2)
}

/// A trial that lanes tell what they see and that someone waits for.
#[derive(Debug)]
pub struct Trial {
    core: Mutex<Core>,
    decided: Condvar,
}

impl Trial {
    /// A trial by `rules` that begins now.
    pub fn new(rules: Rules, now: Instant) -> Arc<Self> {
        Arc::new(Self { core: Mutex::new(Core::new(rules, now)), decided: Condvar::new() })
    }

    fn lock(&self) -> MutexGuard<'_, Core> {
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, now: Instant, how: impl FnOnce(&mut Core)) {
        let mut core = self.lock();
        // Figures go on after the verdict, which stays as it is: a shadow may be looked at for longer.
        how(&mut core);
        let decided = core.verdict.is_none() && core.judge(now).is_some();
        drop(core);
        if decided {
            self.decided.notify_all();
        }
    }

    /// Takes in a run of the model that is tried.
    pub fn subject(&self, run: Observation) {
        self.tell(run.now, |core| {
            core.begun.get_or_insert(run.now);
            core.subject.add(&run);
        });
    }

    /// Takes in a run of the other model.
    pub fn peer(&self, run: Observation) {
        self.tell(run.now, |core| core.peer.add(&run));
    }

    /// Takes in what both said of a frame.
    pub fn compared(&self, now: Instant, agreement: &Agreement) {
        self.tell(now, |core| core.agreement += *agreement);
    }

    /// Takes in that the two models cannot be compared.
    pub fn incomparable(&self, now: Instant) {
        self.tell(now, |core| core.incomparable = true);
    }

    /// Takes in that a run of the model that is tried does not come back: it has failed.
    pub fn subject_hangs(&self, now: Instant, text: &str) {
        self.tell(now, |core| core.hangs = Some(text.to_owned()));
    }

    /// Takes in that the other model looks at no more frames: nobody waits for it.
    pub fn peer_hangs(&self, now: Instant) {
        self.tell(now, |core| core.alone = true);
    }

    /// Waits until there is a verdict; `None` once `cancel` says so, which is noticed within 50 ms.
    pub fn wait(&self, cancel: &Cancel) -> Option<Verdict> {
        match self.wait_until(cancel, None) {
            Waited::Verdict(verdict) => Some(verdict),
            Waited::Cancelled | Waited::Late => None,
        }
    }

    /// As [`wait`](Self::wait), but not beyond `until`.
    pub fn wait_until(&self, cancel: &Cancel, until: Option<Instant>) -> Waited {
        let mut core = self.lock();
        loop {
            if cancel.is_cancelled() {
                return Waited::Cancelled;
            }
            let now = Instant::now();
            if let Some(verdict) = core.judge(now) {
                return Waited::Verdict(verdict);
            }
            let left = until.map_or(POLL, |until| until.saturating_duration_since(now).min(POLL));
            if left.is_zero() {
                return Waited::Late;
            }
            core = self.decided.wait_timeout(core, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// What it judges by.
    pub fn rules(&self) -> Rules {
        self.lock().rules
    }

    /// How it stands now.
    pub fn report(&self) -> TrialReport {
        self.lock().report(Instant::now())
    }
}

#[cfg(test)]
#[path = "trial_tests.rs"]
mod tests;
