//! The way of one request, from the bundle's files to a model that has proved itself.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::order::{Order, Terms};
use super::phase::{Cause, Phase, Reason};
use super::prove::prove;
use super::record::{Identity, Record};
use super::refusal::Refusal;
use super::rules::Rules;
use super::swapper::Shared;
use super::together::{PROOFS, Tried, Wanted};
use super::trial::{Trial, Verdict, Waited};
use crate::analysis::{Companion, Role};
use crate::bundle::ModelSource;
use crate::cancel::Cancel;
use crate::model::{Background, Model, Request};
use crate::priority::NICENESS;
use crate::telemetry::utc_now_ns;

/// Frames of a new model that the old one does not look at: the first ones cost enough by themselves.
const PROBATION_AFTER: u32 = 3;
/// Most processors that the old model may keep busy during probation.
const PROBATION_CPU: f32 = 0.25;

/// How far a request is.
#[derive(Debug, Clone)]
pub(super) struct Progress {
    record: Record,
    begun: Instant,
    last: Instant,
}

impl Progress {
    pub(super) fn new(request: u64, order: &Order) -> Self {
        let now = Instant::now();
        let record = Record {
            request,
            phase: Phase::Requested,
            cause: order.cause,
            reason: None,
            text: String::new(),
            model: order.model.clone(),
            old: None,
            new: None,
            elapsed: Duration::ZERO,
            took: Duration::ZERO,
            utc_ns: 0,
        };
        Self { record, begun: now, last: now }
    }

    fn phase(&self) -> Phase {
        self.record.phase
    }

    pub(super) fn request(&self) -> u64 {
        self.record.request
    }

    /// The request is taken.
    pub(super) fn begin(&mut self, shared: &Shared, order: &Order) {
        self.record.old = shared.host().current().map(|model| Identity::of(model.bundle()));
        self.tell(shared, Phase::Requested, order.describe());
    }

    fn enter(&mut self, phase: Phase, text: String) {
        let now = Instant::now();
        let record = &mut self.record;
        (record.phase, record.text) = (phase, text);
        (record.elapsed, record.took) = (now - self.begun, now - self.last);
        record.utc_ns = utc_now_ns();
        self.last = now;
    }

    fn tell(&mut self, shared: &Shared, phase: Phase, text: String) {
        self.enter(phase, text);
        shared.tell(&self.record);
    }

    /// The request ends.
    fn end(&mut self, shared: &Shared, order: &Order, phase: Phase, reason: Option<Reason>, text: String) {
        self.record.reason = reason;
        self.enter(phase, text);
        // However the host takes it, it is over.
        let _ = catch_unwind(AssertUnwindSafe(|| shared.host().settled(order, &self.record)));
        shared.tell(&self.record);
    }

    fn is_over(&self) -> bool {
        matches!(self.record.phase, Phase::Confirmed | Phase::Rejected | Phase::RolledBack)
    }

    /// The request ends before its model looked at a frame.
    pub(super) fn refuse(&mut self, shared: &Shared, order: &Order, reason: Reason, text: String) {
        self.end(shared, order, Phase::Rejected, Some(reason), text);
    }
}

/// Carries a request out, to its end.
pub(super) fn carry_out(shared: &Shared, progress: &mut Progress, order: &Order, cancel: &Cancel, epoch: u64) {
    let terms = Terms::default();
    let mut steps = Steps { shared, progress, order, cancel, epoch, terms, placed: None };
    // A decoder may meet a model that it does not expect. The panic has been reported by its hook.
    if catch_unwind(AssertUnwindSafe(|| steps.run())).is_err() {
        steps.fall();
    }
}

/// Most threads that one run has where several run side by side: the proof runs one at a time, and should take as long.
fn threads_of_a_run(request: &Request) -> usize {
    let all = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let threads = if request.threads == 0 { all } else { request.threads };
    let lanes = if request.lanes == 0 { threads } else { request.lanes.min(threads) };
    threads - lanes + 1
}

struct Steps<'a> {
    shared: &'a Shared,
    progress: &'a mut Progress,
    order: &'a Order,
    cancel: &'a Cancel,
    epoch: u64,
    terms: Terms,
    placed: Option<Placed>,
}

/// A model that has taken another one's place, which it gives back if need be.
struct Placed {
    old: Option<Arc<Model>>,
    new: Arc<Model>,
}

impl Steps<'_> {
    fn run(&mut self) {
        // Nobody has asked for these.
        if matches!(self.order.cause, Cause::Shadow | Cause::Fallback) {
            self.progress.begin(self.shared, self.order);
        }
        self.terms = self.shared.host().terms();
        match self.prepare() {
            Ok(Some(model)) => self.activate(model),
            Ok(None) => {
                let text = "this very model is active already".into();
                self.progress.end(self.shared, self.order, Phase::Confirmed, Some(Reason::Unchanged), text);
            }
            Err(refusal) => {
                let (reason, text) = self.explain(refusal);
                self.progress.refuse(self.shared, self.order, reason, text);
            }
        }
    }

    fn explain(&self, refusal: Refusal) -> (Reason, String) {
        match refusal {
            Refusal::Bad(reason, text) => (reason, text),
            Refusal::Cancelled => {
                let (reason, text) = self.shared.why_cancelled(self.epoch);
                (reason, text.into())
            }
        }
    }

    fn tell(&mut self, phase: Phase, text: String) -> Result<(), Refusal> {
        self.progress.tell(self.shared, phase, text);
        if self.cancel.is_cancelled() { Err(Refusal::Cancelled) } else { Ok(()) }
    }

    /// Everything before activation; `None` if there is nothing to do.
    fn prepare(&mut self) -> Result<Option<Arc<Model>>, Refusal> {
        let request = self.shared.host().request(self.order).map_err(|(reason, text)| Refusal::Bad(reason, text))?;
        let stored = request.model.split_once('@').filter(|_| self.order.cause == Cause::Store);
        let source = match stored {
            Some((name, release)) => ModelSource::open_stored(name, release)?,
            None => ModelSource::open(&request.model)?,
        };
        let source = source.stage()?;
        let (name, release, digest) = source.identity();
        self.progress.record.new = Some(Identity { name, release, digest });
        self.tell(Phase::Staged, "its files are in memory".into())?;
        let signer = source.check_signature(&request.keys)?;
        let signed = signer.map_or_else(|| "not signed".into(), |key| format!("signed with the key {key}"));
        self.tell(Phase::Verified, format!("digests and format are right, {signed}"))?;
        if self.is_active() {
            return Ok(None);
        }
        let request = Request {
            background: Some(Background { limit: self.terms.load_limit, cancel: self.cancel.clone() }),
            ..request
        };
        self.try_out(source.clone(), &request)?;
        if self.order.shadow {
            // On live frames it may do what it did on no reference picture: not in this process.
            let apart = self.apart(&request, 0);
            self.shadow(&Arc::new(Model::from_source(source.clone(), &apart)?))?;
        }
        let model = Arc::new(Model::from_source(source, &request)?);
        if self.cancel.is_cancelled() { Err(Refusal::Cancelled) } else { Ok(Some(model)) }
    }

    /// Whether the active model is the very one that is asked for, in the same variant.
    fn is_active(&self) -> bool {
        let same = |model: &Arc<Model>| Some(Identity::of(model.bundle())) == self.progress.record.new;
        self.order.without.is_empty()
            && !self.order.anew
            && self.order.provider.is_none()
            && self.shared.host().current().as_ref().is_some_and(same)
    }

    /// The same, but in a process of its own that looks at one picture at a time.
    fn apart(&self, request: &Request, niceness: u8) -> Request {
        let mut isolated = self.terms.apart.clone();
        isolated.niceness = isolated.niceness.max(niceness);
        Request {
            threads: threads_of_a_run(request),
            lanes: 1,
            isolation: Some(isolated),
            private: true,
            ..request.clone()
        }
    }

    /// Loads the model in a process of its own, and lets it look at its reference pictures there; once for all requests of this process
    /// that want the same meanwhile.
    fn try_out(&mut self, source: ModelSource, request: &Request) -> Result<(), Refusal> {
        let request = self.apart(request, NICENESS);
        let wanted = Wanted::new(&source, &request);
        let Tried { loaded, proven } = PROOFS.share(&wanted, self.cancel, || self.load_and_prove(source, &request))?;
        if self.progress.phase() != Phase::Loaded {
            self.tell(Phase::Loaded, loaded)?;
        }
        self.tell(Phase::Proven, proven)
    }

    fn load_and_prove(&mut self, source: ModelSource, request: &Request) -> Result<Tried, Refusal> {
        let model = Model::from_source(source, request)?;
        let (run, provider) = (model.run_time(), model.provider().to_owned());
        let loaded = format!("loaded on {provider} in a process of its own, {run:.1?} a run");
        self.tell(Phase::Loaded, loaded.clone())?;
        let proven = match prove(&model, self.cancel)? {
            None => "the bundle has no reference set: nothing was proven".into(),
            Some(proof) => proof.to_string(),
        };
        Ok(Tried { loaded, proven })
    }

    /// Lets the model look at live frames beside the active one, until its rules say that it may go on.
    fn shadow(&mut self, model: &Arc<Model>) -> Result<(), Refusal> {
        let rules = Rules::shadow(model.bundle(), &self.terms.shadow);
        let trial = Trial::new(rules, Instant::now());
        let host = self.shared.host();
        let companion = Companion {
            model: Arc::clone(model),
            role: Role::New,
            trial: Arc::clone(&trial),
            cpu: self.terms.shadow_cpu,
            after: 0,
        };
        host.accompany(Some(companion));
        let outcome = self.follow(&trial);
        host.accompany(None);
        host.report(self.progress.request(), &trial.report());
        outcome
    }

    /// Reports how a shadow run goes, until its rules say that the model may go on. Where nothing is to come of it, a model
    /// that has been judged goes on beside the active one, until somebody ends it.
    fn follow(&mut self, trial: &Trial) -> Result<(), Refusal> {
        let promotes = self.order.cause != Cause::Shadow || self.terms.promote;
        loop {
            let until = Some(Instant::now() + self.terms.report_every);
            match trial.wait_until(self.cancel, until) {
                Waited::Late => self.shared.host().report(self.progress.request(), &trial.report()),
                Waited::Cancelled => return Err(Refusal::Cancelled),
                Waited::Verdict(Verdict::Failed(reason, text)) if promotes => return Err(Refusal::Bad(reason, text)),
                Waited::Verdict(verdict) => {
                    let text = match verdict {
                        Verdict::Passed => trial.report().to_string(),
                        Verdict::Failed(reason, text) => format!("{}: {text}", reason.as_str()),
                    };
                    self.tell(Phase::Shadowed, text)?;
                    if promotes {
                        return Ok(());
                    }
                    break;
                }
            }
        }
        loop {
            self.shared.host().report(self.progress.request(), &trial.report());
            if self.cancel.wait(self.terms.report_every) {
                return Err(Refusal::Cancelled);
            }
        }
    }

    /// Puts the model in its place and watches it.
    fn activate(&mut self, model: Arc<Model>) {
        let host = self.shared.host();
        let old = host.current();
        // A request before this one may have ended meanwhile.
        self.progress.record.old = old.as_ref().map(|old| Identity::of(old.bundle()));
        let rules = Rules::probation(model.bundle(), &self.order.probation.or(self.terms.probation));
        let rules = if self.order.trusted { rules.of_trusted() } else { rules };
        let watched = rules.is_watched();
        let trial = Trial::new(rules, Instant::now());
        if watched && self.is_current() {
            // Before its first frame.
            host.watch(Some((Arc::clone(&trial), &model)));
        }
        // Looked at after the old model: if the element was stopped since, that one is not in its place any more.
        if self.cancel.is_cancelled() || !self.is_current() || !host.activate(old.as_ref(), Some(Arc::clone(&model))) {
            if self.is_current() {
                host.watch(None);
            }
            let (reason, text) = self.explain(Refusal::Cancelled);
            return self.progress.refuse(self.shared, self.order, reason, text);
        }
        let text = format!("it looks at frames on {}", model.provider());
        self.placed = Some(Placed { old: old.clone(), new: model });
        self.shared.placed();
        self.progress.tell(self.shared, Phase::Activated, text);
        let verdict = if watched { self.probation(&trial, old) } else { Some(Verdict::Passed) };
        if self.is_current() {
            host.accompany(None);
            host.watch(None);
        }
        match verdict {
            Some(Verdict::Passed) if self.is_current() => {
                let text = if watched { trial.report().to_string() } else { "there is no probation".into() };
                let placed = self.placed.take();
                self.progress.end(self.shared, self.order, Phase::Confirmed, None, text);
                // The old model is let go here, where nobody waits.
                drop(placed);
            }
            Some(Verdict::Failed(reason, text)) => self.roll_back(reason, text),
            Some(Verdict::Passed) | None => {
                let (reason, text) = self.explain(Refusal::Cancelled);
                self.roll_back(reason, text);
            }
        }
    }

    /// Whether the element has not been stopped since the request was taken. One that was may run again already, with a
    /// model that is none of this request's business.
    fn is_current(&self) -> bool {
        self.shared.is_current(self.epoch)
    }

    fn probation(&mut self, trial: &Arc<Trial>, old: Option<Arc<Model>>) -> Option<Verdict> {
        self.progress.tell(self.shared, Phase::Probation, trial.rules().to_string());
        if let Some(model) = old.filter(|_| self.is_current()) {
            self.shared.host().accompany(Some(Companion {
                model,
                role: Role::Old,
                trial: Arc::clone(trial),
                cpu: PROBATION_CPU,
                after: PROBATION_AFTER,
            }));
        }
        trial.wait(self.cancel)
    }

    fn roll_back(&mut self, reason: Reason, text: String) {
        if let Some(Placed { old, new }) = self.placed.take() {
            let _ = self.shared.host().activate(Some(&new), old);
        }
        self.progress.end(self.shared, self.order, Phase::RolledBack, Some(reason), text);
    }

    /// Ends a request that panicked.
    fn fall(&mut self) {
        if self.progress.is_over() {
            return;
        }
        let host = self.shared.host();
        let _ = catch_unwind(AssertUnwindSafe(|| host.accompany(None)));
        let _ = catch_unwind(AssertUnwindSafe(|| host.watch(None)));
        let placed = self.placed.take();
        let phase = if placed.is_some() { Phase::RolledBack } else { Phase::Rejected };
        if let Some(Placed { old, new }) = placed {
            let _ = catch_unwind(AssertUnwindSafe(|| host.activate(Some(&new), old)));
        }
        let text = "the code that handles it panicked: a fault of Vigil, which standard error says more about".into();
        self.progress.end(self.shared, self.order, phase, Some(Reason::Errors), text);
    }
}

#[cfg(test)]
#[path = "steps_tests.rs"]
mod tests;
