//! The frames in line, and the work that lanes do on them.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Instant;

use super::job::Job;
use super::{Stats, nanos};
use crate::cascade::{Cascade, Findings, Pick};
use crate::engine::lanes::User;
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
}

#[allow(clippy::vec_box, reason = "jobs are large and wander between entries, lanes and this list")]
pub(super) type Jobs = Vec<Box<Job>>;

pub(super) struct Queue<T> {
    pub(super) entries: VecDeque<Entry<T>>,
    /// Number of the first entry; entries are numbered through.
    pub(super) first: u64,
    /// Frames seen since the start.
    pub(super) frames: u64,
    /// Jobs that are queued or on a lane.
    pub(super) in_flight: usize,
    /// Jobs for the next frames, all of `model`.
    pub(super) free: Jobs,
    pub(super) last_fresh: Option<Arc<FrameResult>>,
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
            in_flight: 0,
            free: Vec::new(),
            last_fresh: None,
            delivering: false,
            flushing: false,
            failed: false,
            stopped: false,
            model: Weak::new(),
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
    pub(super) fn take_back(&mut self, job: Box<Job>) -> Option<Box<Job>> {
        self.in_flight -= 1;
        if !std::ptr::eq(self.model.as_ptr(), Arc::as_ptr(job.model())) {
            return Some(job);
        }
        self.free.push(job);
        None
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
    fn work(&self, engine: &dyn Engine) {
        let Some((number, mut job, mut result)) = self.take_queued(engine) else {
            return;
        };
        let mut found = Vec::new();
        let answer = catch_unwind(AssertUnwindSafe(|| job.run(engine, &self.stats, &mut result, &mut found)))
            .unwrap_or_else(|_| Err(EngineError::Run("the engine panicked".into())));
        let mut queue = self.lock();
        let stale = queue.take_back(job);
        // A flush may have dropped the frame meanwhile.
        if let Some(entry) = number.checked_sub(queue.first).and_then(|i| queue.entries.get_mut(i as usize)) {
            entry.looked = true;
            match answer {
                Ok(()) => entry.found = found,
                Err(error) => {
                    entry.error = Some(error.to_string());
                    // What an earlier model found about the frame stays true.
                    if entry.picks.is_none() {
                        result.objects.clear();
                        result.classes.clear();
                        result.freshness = Freshness::Absent(AbsentReason::EngineError);
                    }
                }
            }
            entry.result = result;
            entry.state = State::Ready;
            entry.own_ns = nanos(entry.begun);
        }
        drop(queue);
        self.changed.notify_all();
        drop(stale);
    }
}

impl<T> Shared<T> {
    /// The first entry that waits for a lane of `engine`: its number, its job, and its result to be filled in. Others
    /// wait for the engine of another model, which was or will be the current one.
    fn take_queued(&self, engine: &dyn Engine) -> Option<(u64, Box<Job>, FrameResult)> {
        let mut queue = self.lock();
        let ours = |state: &State| matches!(state, State::Queued(job, _) if std::ptr::addr_eq(job.model().lanes().engine(), engine));
        let at = queue.entries.iter().position(|e| ours(&e.state))?;
        let number = queue.first + at as u64;
        let entry = queue.entries.get_mut(at)?;
        let State::Queued(job, since) = std::mem::replace(&mut entry.state, State::Running) else {
            return None;
        };
        let result = entry.result.clone();
        drop(queue);
        self.stats.queue.record(nanos(since));
        Some((number, job, result))
    }
}
