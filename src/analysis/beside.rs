//! A companion at work: one sample at a time, beside the frames and never in their way.
//!
//! ```text
//! take (streaming thread)      send         lanes of the companion's engine
//! pre-process into its job ──▶ request ──▶  run, decode ──┐
//!                                                         ├─▶ compared (whoever comes last)
//! the active model's answer to the same frame ────────────┘
//! ```
//!
//! A sample has a number; whoever comes with the number of one that was dropped meanwhile is ignored. So a flush, a stop and
//! an end only drop the sample, and wait for nobody.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use super::companion::{Budget, Companion, Role};
use super::job::{Job, Ran, Seen};
use super::reap::{let_go, reap};
use super::sample::{Answer, Look, Sample, Stage, State, Work};
use super::{Settings, Stats, nanos};
use crate::engine::lanes::{Lane, User};
use crate::engine::{Engine, EngineError};
use crate::model::Model;
use crate::result::{AbsentReason, FrameResult};
use crate::swap::agreement::{SharedClasses, agree, agree_on_objects};
use crate::swap::trial::Observation;

/// Least time that a run has where the active model's have no limit: a shadow that hangs must be found out.
const LEAST_LIMIT: Duration = Duration::from_secs(10);

/// A sample, as a frame that waits for its answer knows it. Frames do not keep the companion's model loaded.
#[derive(Clone)]
pub(super) struct Sampled {
    beside: Weak<Beside>,
    number: u64,
}

impl Sampled {
    /// Hands over what the active model said; `None` if it gave no answer.
    pub(super) fn tell(self, model: &Arc<Model>, answer: Option<Answer>) {
        let Some(answer) = answer else { return self.withdraw() };
        self.with(|beside, number| beside.answer(number, model, answer));
    }

    /// There will be no answer of the active model.
    pub(super) fn withdraw(self) {
        self.with(|beside, number| beside.withdraw(number));
    }

    fn with(self, call: impl FnOnce(&Beside, u64)) {
        if let Some(beside) = self.beside.upgrade() {
            call(&beside, self.number);
            let_go(beside);
        }
    }
}

/// A companion at work. The lock is held for a look at the state, never over a run or a comparison.
pub(super) struct Beside {
    companion: Companion,
    state: Mutex<State>,
    budget: Mutex<Budget>,
    idle: Condvar,
    /// Its own: it does not show in those of the frames.
    stats: Stats,
}

impl Beside {
    /// A companion whose first sample costs no more than any other, if frames are as those that were seen.
    pub(super) fn new(companion: Companion, seen: Option<&Seen>, settings: &Settings) -> Self {
        let mut job = Box::new(Job::new(&companion.model));
        if let Some(seen) = seen {
            job.warm(seen, settings);
        }
        let state = State { free: Some(job), passing: companion.after, ..State::default() };
        let budget = Mutex::new(Budget::new(companion.cpu));
        Self { companion, state: Mutex::new(state), budget, idle: Condvar::new(), stats: Stats::default() }
    }

    pub(super) fn companion(&self) -> &Companion {
        &self.companion
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn budget(&self) -> MutexGuard<'_, Budget> {
        self.budget.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn user(self: &Arc<Self>) -> Arc<dyn User> {
        Arc::clone(self) as Arc<dyn User>
    }

    /// Takes a sample if it is time for one: pre-processes the frame. Gives its number; it is to be sent or forgotten.
    pub(super) fn take(self: &Arc<Self>, look: &Look<'_>, settings: &Settings) -> Option<u64> {
        let now = Instant::now();
        let affordable = self.budget().allows(now);
        let (number, mut job) = {
            let mut state = self.lock();
            if state.passing > 0 {
                state.passing -= 1;
                return None;
            }
            let busy = state.ended || state.sample.is_some() || state.queued.is_some();
            if busy || !affordable {
                return None;
            }
            let job = state.free.take()?;
            state.taken += 1;
            let number = state.taken;
            state.sample = Some(Sample { number, stage: Stage::Pending, other: None, alone: false });
            (number, job)
        };
        let least = self.companion.model.run_time().saturating_mul(20).max(LEAST_LIMIT);
        let settings = Settings { run_limit: settings.run_limit.or(Some(least)), ..settings.clone() };
        let picks = look.objects.map(|(picks, _)| picks);
        let filled = job.fill(look.frame, look.view, picks, &settings).is_ok();
        let size = (look.frame.info().width, look.frame.info().height);
        let result =
            look.objects.map_or_else(|| FrameResult::absent(AbsentReason::NoModel, size), |(_, result)| result.clone());
        let mut state = self.lock();
        state.begun = Some((now, now.elapsed()));
        if filled && state.is_wanted(number) {
            state.queued = Some(Work { number, job, result });
            return Some(number);
        }
        state.sample = None;
        let stale = state.keep(job);
        drop(state);
        if let Some(stale) = stale {
            reap(stale);
        }
        None
    }

    /// Sample `number`, as its frame knows it.
    pub(super) fn sampled(self: &Arc<Self>, number: u64) -> Sampled {
        Sampled { beside: Arc::downgrade(self), number }
    }

    /// The sample's frame is in line.
    pub(super) fn send(self: &Arc<Self>) {
        self.companion.model.lanes().request(&self.user());
    }

    /// Drops the sample, whatever its number: the frame that it was taken of is gone.
    pub(super) fn forget(&self) {
        let mut state = self.lock();
        state.sample = None;
        let stale = state.queued.take().and_then(|work| state.keep(work.job));
        drop(state);
        if let Some(stale) = stale {
            reap(stale);
        }
    }

    /// The active model has no answer to compare with.
    fn withdraw(&self, number: u64) {
        let mut state = self.lock();
        match &mut state.sample {
            Some(sample) if sample.number == number && matches!(sample.stage, Stage::Pending) => sample.alone = true,
            Some(sample) if sample.number == number => state.sample = None,
            _ => {}
        }
    }

    /// The active model's answer to the frame of sample `number`.
    fn answer(&self, number: u64, model: &Arc<Model>, answer: Answer) {
        let shared = self.shared_with(model);
        let mut state = self.lock();
        let Some(sample) = state.sample.as_mut().filter(|sample| sample.number == number) else { return };
        if matches!(sample.stage, Stage::Pending) {
            sample.other = Some((shared, answer));
            return;
        }
        let own = state.sample.take().map(|sample| sample.stage);
        drop(state);
        if let Some(Stage::Answered(own)) = own {
            self.compare(&shared, &answer, &own);
        }
    }

    /// Tells the trial how far the two answers to one frame agree.
    fn compare(&self, shared: &SharedClasses, theirs: &Answer, own: &Answer) {
        let now = Instant::now();
        let trial = &self.companion.trial;
        if !shared.is_comparable() {
            return trial.incomparable(now);
        }
        let (old, new) = match self.companion.role {
            Role::Old => (own, theirs),
            Role::New => (theirs, own),
        };
        let agreement = match (old, new) {
            (Answer::Frame(old), Answer::Frame(new)) => agree(old, new, shared),
            (Answer::Objects(old), Answer::Objects(new)) => agree_on_objects(old, new, shared),
            _ => return,
        };
        trial.compared(now, &agreement);
    }

    fn shared_with(&self, active: &Arc<Model>) -> Arc<SharedClasses> {
        let known =
            self.lock().shared.as_ref().and_then(|(model, shared)| {
                std::ptr::eq(model.as_ptr(), Arc::as_ptr(active)).then(|| Arc::clone(shared))
            });
        known.unwrap_or_else(|| {
            // The order of the two does not matter.
            let shared = Arc::new(SharedClasses::of(active.bundle(), self.companion.model.bundle()));
            self.lock().shared = Some((Arc::downgrade(active), Arc::clone(&shared)));
            shared
        })
    }

    fn observe(&self, ran: Option<Ran>) {
        let observation = observation(ran);
        match self.companion.role {
            Role::Old => self.companion.trial.peer(observation),
            Role::New => self.companion.trial.subject(observation),
        }
    }

    /// A run does not come back: the companion takes no more samples, or it would take one lane of the process after the
    /// other.
    fn lose(&self, error: &EngineError) {
        let mut state = self.lock();
        if state.ended {
            return;
        }
        state.ended = true;
        state.sample = None;
        let queued = state.queued.take();
        drop(state);
        drop(queued);
        self.observe(None);
        match self.companion.role {
            Role::New => self.companion.trial.subject_hangs(Instant::now(), &error.to_string()),
            Role::Old => self.companion.trial.peer_hangs(Instant::now()),
        }
    }

    #[cfg(test)]
    pub(super) fn is_idle(&self) -> bool {
        let state = self.lock();
        state.sample.is_none() && state.running.is_none() && state.queued.is_none() && state.free.is_some()
    }

    /// Takes no more samples, and lets go of what is not in use. A run that is under way ends by itself.
    pub(super) fn end(&self) {
        let mut state = self.lock();
        state.ended = true;
        let gone = (state.free.take(), state.queued.take(), state.sample.take());
        drop(state);
        drop(gone);
    }

    /// As [`end`](Self::end), and waits for a run that is under way: for `limit`, then it is cut and given `more`.
    pub(super) fn finish(self: &Arc<Self>, limit: Duration, more: Duration) {
        self.end();
        if !self.settle(limit) {
            self.companion.model.lanes().give_up(&self.user());
            self.settle(more);
        }
    }

    /// Waits until no run is under way; `false` after `limit`.
    fn settle(&self, limit: Duration) -> bool {
        let state = self.lock();
        let waited = self.idle.wait_timeout_while(state, limit, |state| state.running.is_some());
        !waited.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }

    /// Takes the run of sample `number` off its lane; `false` if somebody else has.
    fn off_lane(&self, number: u64, took: Duration) -> bool {
        let mut state = self.lock();
        let ours = state.running == Some(number);
        if ours {
            state.running = None;
        }
        let begun = state.begun;
        drop(state);
        self.idle.notify_all();
        if let Some((begun, pre)) = begun.filter(|_| ours) {
            let threads = u32::try_from(self.companion.model.lanes().engine().threads_per_run()).unwrap_or(u32::MAX);
            self.budget().pay(begun, pre + took.saturating_mul(threads));
        }
        ours
    }

    /// Keeps the answer to sample `number` for the active model's, or compares the two.
    fn answered(&self, number: u64, job: Box<Job>, answer: Option<Answer>) {
        let mut state = self.lock();
        let stale = state.keep(job);
        let mut pair = None;
        if state.is_wanted(number)
            && let Some(mut sample) = state.sample.take()
        {
            match (answer, sample.other.take()) {
                (Some(own), Some(other)) => pair = Some((own, other)),
                (Some(own), None) if !sample.alone => {
                    state.sample = Some(Sample { stage: Stage::Answered(own), ..sample });
                }
                _ => {}
            }
        }
        drop(state);
        drop(stale);
        if let Some((own, (shared, theirs))) = pair {
            self.compare(&shared, &theirs, &own);
        }
    }
}

/// What a trial is told about a frame's runs; `None` if they failed.
pub(super) fn observation(ran: Option<Ran>) -> Observation {
    let Ran { run_ns, non_finite, found } = ran.unwrap_or_default();
    Observation { now: Instant::now(), run_ns, failed: ran.is_none(), non_finite, objects: found }
}

impl User for Beside {
    fn work(&self, lane: &Lane<'_>) {
        let Some(Work { number, mut job, mut result }) = ({
            let mut state = self.lock();
            let work = state.queued.take();
            state.running = work.as_ref().map(|work| work.number).or(state.running);
            work
        }) else {
            return;
        };
        let start = Instant::now();
        let mut found = Vec::new();
        let answer = catch_unwind(AssertUnwindSafe(|| job.run((lane, number), &self.stats, &mut result, &mut found)))
            .unwrap_or_else(|_| Err(EngineError::Run("the decoder panicked".into())));
        if !self.off_lane(number, Duration::from_nanos(nanos(start))) {
            // It was given up, and the trial knows.
            return;
        }
        let ran = answer.ok();
        if !self.lock().ended {
            self.observe(ran);
        }
        let whole = job.is_whole();
        let answer = ran.map(|_| if whole { Answer::Frame(result) } else { Answer::Objects(found) });
        self.answered(number, job, answer);
    }

    fn overdue(&self, number: u64, error: &EngineError) {
        let begun = self.lock().begun;
        let took = begun.map_or(Duration::ZERO, |(begun, _)| begun.elapsed());
        if self.off_lane(number, took) {
            self.lose(error);
        }
    }

    /// All lanes hang, for now: the sample has failed, and there may be others.
    fn refused(&self, _engine: &dyn Engine, _error: &EngineError) {
        let mut state = self.lock();
        let Some(Work { number, job, .. }) = state.queued.take() else { return };
        if state.sample.as_ref().is_some_and(|sample| sample.number == number) {
            state.sample = None;
        }
        let stale = state.keep(job);
        let begun = state.begun;
        drop(state);
        // Whoever sends a sample may be told here that it is refused.
        if let Some(stale) = stale {
            reap(stale);
        }
        if let Some((begun, pre)) = begun {
            self.budget().pay(begun, pre);
        }
        self.observe(None);
    }
}
