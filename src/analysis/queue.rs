//! The frames in line, and the work that lanes do on them.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Instant;

use super::beside::{Beside, Sampled};
use super::budget::Budget;
use super::job::{Job, Seen};
use super::reap::reap;
use super::sample::Answer;
use super::swap::{Observers, Watch};
use super::{Stats, nanos};
use crate::cascade::{Cascade, Findings, Pick};
use crate::engine::lanes::{Lane, User};
use crate::engine::{Engine, EngineError};
use crate::model::Model;
use crate::result::{AbsentReason, FrameResult, Freshness};

pub(super) enum State {
    /// The result is complete.
    Ready,
    /// Takes its objects from the last fresh result before it.
    Hold,
    /// Waits for a lane.
    Queued(Box<Job>, Instant),
    /// On a lane.
    Running,
}

pub(super) struct Entry<T> {
    pub(super) payload: T,
    pub(super) result: FrameResult,
    pub(super) state: State,
    pub(super) error: Option<String>,
    /// The objects that the model is to look at, where it looks at objects.
    pub(super) picks: Option<Vec<Pick>>,
    /// What it said about them.
    pub(super) found: Vec<(Pick, Findings)>,
    /// The model was run.
    pub(super) looked: bool,
    pub(super) since: Instant,
    pub(super) begun: Instant,
    /// From `begun` until the result was complete.
    pub(super) own_ns: u64,
    /// The era of the model that it belongs to.
    pub(super) era: u64,
    /// A companion looks at the frame too.
    pub(super) sample: Option<Sampled>,
}

impl<T> Entry<T> {
    /// The frame goes on without an answer: the entry's result is as it was before the run.
    fn fail(&mut self, error: &EngineError) {
        self.error = Some(error.to_string());
        // What an earlier model found about the frame stays true.
        if self.picks.is_none() {
            self.result.freshness = Freshness::Absent(match error {
                EngineError::Deadline(_) => AbsentReason::Deadline,
                EngineError::Restarting(_) => AbsentReason::EngineRestarting,
                _ => AbsentReason::EngineError,
            });
        }
        self.ready();
    }

    fn ready(&mut self) {
        self.state = State::Ready;
        self.own_ns = nanos(self.begun);
    }
}

/// A frame on a lane.
struct Running {
    /// The entry's, which may be dropped meanwhile.
    number: u64,
    model: Weak<Model>,
    sample: Option<Sampled>,
}

/// A frame that a lane takes.
struct Taken {
    number: u64,
    job: Box<Job>,
    /// To be filled in.
    result: FrameResult,
    /// There is a companion that looks at it too.
    sampled: bool,
}

#[allow(clippy::vec_box, reason = "jobs are large and wander between entries, lanes and this list")]
pub(super) type Jobs = Vec<Box<Job>>;

pub(super) struct Queue<T> {
    pub(super) entries: VecDeque<Entry<T>>,
    /// Number of the first entry; entries are numbered through.
    pub(super) first: u64,
    /// Frames seen since the start.
    pub(super) frames: u64,
    /// Keeps to the most frames a second.
    pub(super) budget: Budget,
    /// Jobs that are read, queued or on a lane.
    pub(super) in_flight: usize,
    /// Those on a lane. Whoever takes one off the list decides what becomes of its frame: the lane that comes back, or
    /// the one who says that it is overdue.
    running: Vec<Running>,
    /// Jobs for the next frames, all of `model`.
    pub(super) free: Jobs,
    pub(super) last_fresh: Option<Arc<FrameResult>>,
    /// When analysis began to fail, nanoseconds since 1970 UTC.
    failing_since: Option<u64>,
    /// A frame was taken by `next` and is on its way out.
    pub(super) delivering: bool,
    /// Between flush and resume.
    pub(super) flushing: bool,
    /// Between fail and revive.
    pub(super) failed: bool,
    /// Between stop and restart.
    pub(super) stopped: bool,
    /// The model of the last frame; jobs of others are not kept, since they would keep their model loaded.
    pub(super) model: Weak<Model>,
    /// How often a model has taken over from another.
    pub(super) era: u64,
    /// What frames are like.
    pub(super) seen: Option<Seen>,
    /// Who watches the model, if anyone does.
    pub(super) watch: Option<Watch>,
    /// The companion, if there is one.
    pub(super) beside: Option<Arc<Beside>>,
}

pub(super) struct Shared<T> {
    pub(super) queue: Mutex<Queue<T>>,
    pub(super) changed: Condvar,
    pub(super) stats: Stats,
    /// Locked alone.
    pub(super) cascade: Mutex<Cascade>,
}

impl<T> Shared<T> {
    pub(super) fn lock(&self) -> MutexGuard<'_, Queue<T>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn cascade(&self) -> MutexGuard<'_, Cascade> {
        self.cascade.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn wait<'a>(&self, queue: MutexGuard<'a, Queue<T>>) -> MutexGuard<'a, Queue<T>> {
        self.changed.wait(queue).unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        Self {
            entries: VecDeque::new(),
            first: 0,
            frames: 0,
            budget: Budget::default(),
            in_flight: 0,
            running: Vec::new(),
            free: Vec::new(),
            last_fresh: None,
            failing_since: None,
            delivering: false,
            flushing: false,
            failed: false,
            stopped: false,
            model: Weak::new(),
            era: 0,
            seen: None,
            watch: None,
            beside: None,
        }
    }
}

impl<T> Queue<T> {
    pub(super) fn closed(&self) -> bool {
        self.flushing || self.failed || self.stopped
    }

    /// Takes back the job of an entry that is dropped. What is returned must be dropped without the lock.
    pub(super) fn give_back(&mut self, state: State) -> Option<Box<Job>> {
        match state {
            State::Queued(job, _) => self.take_back(job),
            _ => None,
        }
    }

    /// Keeps a job for later frames; one of another model is returned, to be dropped without the lock.
    pub(super) fn take_back(&mut self, mut job: Box<Job>) -> Option<Box<Job>> {
        self.in_flight -= 1;
        job.set_turn(None);
        if !std::ptr::eq(self.model.as_ptr(), Arc::as_ptr(job.model())) {
            return Some(job);
        }
        self.free.push(job);
        None
    }

    /// Takes a frame off the list of those on a lane; `None` if it is not there any more.
    fn end_run(&mut self, number: u64) -> Option<Running> {
        let at = self.running.iter().position(|run| run.number == number);
        at.map(|at| self.running.swap_remove(at))
    }

    /// Who is to be told of a run of `model`.
    fn observers(&self, model: &Weak<Model>) -> Observers {
        Observers::of(self.watch.as_ref(), self.beside.as_deref(), model)
    }

    /// The entry of that number, unless a flush has dropped it.
    fn entry(&mut self, number: u64) -> Option<&mut Entry<T>> {
        let at = usize::try_from(number.checked_sub(self.first)?).ok()?;
        self.entries.get_mut(at)
    }

    /// The place of the first entry that waits for a lane of `engine`. Others wait for the engine of another model,
    /// which was or will be the current one.
    fn queued_for(&self, engine: &dyn Engine) -> Option<usize> {
        let ours = |state: &State| matches!(state, State::Queued(job, _) if std::ptr::addr_eq(job.model().lanes().engine(), engine));
        self.entries.iter().position(|entry| ours(&entry.state))
    }

    /// The models whose runs are under way.
    pub(super) fn running_models(&self) -> Vec<Arc<Model>> {
        self.running.iter().filter_map(|run| run.model.upgrade()).collect()
    }

    /// Says on the result of a frame that comes out since when analysis fails, if it does.
    pub(super) fn date(&mut self, result: &mut FrameResult) {
        use AbsentReason::{Deadline, EngineError, EngineRestarting};
        match result.freshness {
            Freshness::Fresh => self.failing_since = None,
            Freshness::Absent(EngineError | Deadline | EngineRestarting) => {
                result.absent_since_ns = Some(*self.failing_since.get_or_insert(result.utc_ns));
            }
            _ => {}
        }
    }

    /// Analysis starts anew.
    pub(super) fn restart(&mut self) {
        self.frames = 0;
        self.budget = Budget::default();
        self.stopped = false;
        self.failing_since = None;
    }

    /// Makes `model` the one whose jobs are kept; returns those of another, to be dropped without the lock.
    pub(super) fn use_model(&mut self, model: &Arc<Model>) -> Jobs {
        if std::ptr::eq(self.model.as_ptr(), Arc::as_ptr(model)) {
            return Vec::new();
        }
        self.model = Arc::downgrade(model);
        std::mem::take(&mut self.free)
    }
}

impl<T: Send> User for Shared<T> {
    fn work(&self, lane: &Lane<'_>) {
        let Some(Taken { number, mut job, mut result, sampled }) = self.take_queued(lane.engine()) else {
            return;
        };
        job.begin();
        let model = Arc::clone(job.model());
        let mut found = Vec::new();
        let answer = catch_unwind(AssertUnwindSafe(|| job.run((lane, number), &self.stats, &mut result, &mut found)))
            .unwrap_or_else(|_| Err(EngineError::Run("the decoder panicked".into())));
        let ran = answer.as_ref().ok().copied();
        // The companion's answer is compared with a copy, so that the frame need not wait for it.
        let copy = ran.filter(|_| sampled).map(|_| match job.is_whole() {
            true => Answer::Frame(result.clone()),
            false => Answer::Objects(found.clone()),
        });
        let mut queue = self.lock();
        let Some(run) = queue.end_run(number) else {
            // The frame has gone on without the answer, and the job is nobody's any more.
            drop(queue);
            drop(job);
            return;
        };
        let observers = queue.observers(&run.model);
        let stale = queue.take_back(job);
        // A flush may have dropped the frame meanwhile.
        if let Some(entry) = queue.entry(number) {
            entry.looked = true;
            match answer {
                Ok(_) => {
                    (entry.found, entry.result) = (found, result);
                    entry.ready();
                }
                Err(error) => entry.fail(&error),
            }
        }
        drop(queue);
        self.changed.notify_all();
        drop(stale);
        observers.tell(ran);
        if let Some(sample) = run.sample {
            sample.tell(&model, copy);
        }
    }

    fn overdue(&self, number: u64, error: &EngineError) {
        let mut queue = self.lock();
        let run = queue.end_run(number);
        let observers = run.as_ref().map(|run| queue.observers(&run.model));
        if run.is_some() {
            queue.in_flight -= 1;
            if let Some(entry) = queue.entry(number) {
                entry.looked = true;
                entry.fail(error);
            }
        }
        drop(queue);
        self.changed.notify_all();
        observers.inspect(|observers| observers.tell(None));
        if let Some(sample) = run.and_then(|run| run.sample) {
            sample.withdraw();
        }
    }

    fn refused(&self, engine: &dyn Engine, error: &EngineError) {
        let mut queue = self.lock();
        let waits = queue.queued_for(engine).and_then(|at| queue.entries.get_mut(at));
        let refused = waits.map(|entry| {
            let state = std::mem::replace(&mut entry.state, State::Ready);
            entry.fail(error);
            (state, entry.sample.take())
        });
        let Some((state, sample)) = refused else { return };
        let observers = match &state {
            State::Queued(job, _) => Some(queue.observers(&Arc::downgrade(job.model()))),
            _ => None,
        };
        let stale = queue.give_back(state);
        drop(queue);
        self.changed.notify_all();
        // Whoever enters a frame may be told here that it is refused.
        if let Some(stale) = stale {
            reap(stale);
        }
        observers.inspect(|observers| observers.tell(None));
        if let Some(sample) = sample {
            sample.withdraw();
        }
    }
}

impl<T> Shared<T> {
    /// The first entry that waits for a lane of `engine`.
    fn take_queued(&self, engine: &dyn Engine) -> Option<Taken> {
        let mut queue = self.lock();
        let at = queue.queued_for(engine)?;
        let number = queue.first + at as u64;
        let entry = queue.entries.get_mut(at)?;
        let State::Queued(job, since) = std::mem::replace(&mut entry.state, State::Running) else {
            return None;
        };
        let (result, sample) = (entry.result.clone(), entry.sample.take());
        let sampled = sample.is_some();
        queue.running.push(Running { number, model: Arc::downgrade(job.model()), sample });
        drop(queue);
        self.stats.queue.record(nanos(since));
        Some(Taken { number, job, result, sampled })
    }
}
