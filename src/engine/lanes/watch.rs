//! Who sees to it that runs end.
//!
//! One thread for all lanes of an engine, which sleeps until the first of the runs under way is due. Runs that end in
//! time neither wake it nor start it anew: it wakes once in the time of a limit and looks which runs there are by then.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::{Lane, MOST_ABANDONED, Shared, State, TOO_MANY_HANG, User};
use crate::engine::EngineError;

/// How long a run that is cut may take to end.
pub(in crate::engine) const SETTLE: Duration = Duration::from_millis(50);

/// A run under way.
pub(super) struct Watched {
    number: u64,
    thread: u64,
    user: Arc<dyn User>,
    token: u64,
    limit: Option<Duration>,
    begun: Instant,
    /// By when the engine was told that it must be over.
    until: Instant,
    /// When it is cut, and when it is abandoned once it has been cut; `None`: never.
    due: Option<Instant>,
    cut: bool,
}

/// A run that was abandoned, and the requests that nobody will serve for that.
struct Lost {
    run: Watched,
    waiting: Vec<(Arc<dyn User>, usize)>,
}

impl Shared {
    /// Notes that a run begins; gives its number.
    pub(super) fn watch(
        self: &Arc<Self>,
        lane: &Lane<'_>,
        token: u64,
        limit: Option<Duration>,
        (begun, until): (Instant, Instant),
    ) -> u64 {
        let (user, due) = (Arc::clone(lane.user), limit.map(|_| until));
        let mut state = self.lock();
        let number = state.begun;
        state.begun += 1;
        state.runs.push(Watched { number, thread: lane.thread, user, token, limit, begun, until, due, cut: false });
        if let Some(due) = due {
            self.wake(&mut state, due);
        }
        number
    }

    /// Notes that a run is over; `false` if it was abandoned. A lane that was not replaced goes on then.
    pub(super) fn unwatch(&self, thread: u64, number: u64) -> bool {
        let mut state = self.lock();
        if let Some(at) = state.runs.iter().position(|run| run.number == number) {
            state.runs.swap_remove(at);
            return true;
        }
        self.abandoned.fetch_sub(1, Ordering::SeqCst);
        let missing = state.live() < self.lanes;
        if let Some(at) = state.threads.iter().position(|t| t.number == thread) {
            if missing && let Some(own) = state.threads.get_mut(at) {
                own.away = false;
            } else {
                state.threads.swap_remove(at);
            }
        }
        false
    }

    /// Makes the runs of `user` due.
    pub(super) fn hurry(self: &Arc<Self>, user: &Arc<dyn User>) {
        let now = Instant::now();
        let mut state = self.lock();
        for run in state.runs.iter_mut().filter(|run| !run.cut && Arc::ptr_eq(&run.user, user)) {
            run.due = Some(now);
        }
        self.wake(&mut state, now);
    }

    /// Tells `user` that one piece of its work will not be done.
    pub(super) fn refuse(&self, user: &Arc<dyn User>) {
        let error = EngineError::Run(format!("all runs of the engine hang, and {TOO_MANY_HANG}"));
        user.refused(self.engine.as_ref(), &error);
    }

    /// Makes the watch look at `due` or before; starts it if need be.
    fn wake(self: &Arc<Self>, state: &mut State, due: Instant) {
        if state.watch.is_none() && !state.stop {
            let shared = Arc::clone(self);
            // Without a thread runs are not cut; the next one tries again.
            state.watch = thread::Builder::new().name("vigil-watch".into()).spawn(move || shared.look()).ok();
        } else if state.wakes.is_none_or(|wakes| due < wakes) {
            self.look.notify_one();
        }
    }

    /// What the watch's thread does.
    fn look(self: &Arc<Self>) {
        let mut state = self.lock();
        while !state.stop {
            let now = Instant::now();
            let cut = state.cut(now);
            let lost = self.abandon(&mut state, now);
            if cut.is_some() || lost.is_some() {
                drop(state);
                if let Some(until) = cut {
                    contained(|| self.engine.cut(until));
                }
                if let Some(lost) = lost {
                    self.tell(&lost);
                }
                state = self.lock();
                continue;
            }
            state.wakes = state.runs.iter().filter_map(|run| run.due).min();
            state = match state.wakes {
                Some(wakes) => {
                    let time = wakes.saturating_duration_since(now);
                    self.look.wait_timeout(state, time).unwrap_or_else(PoisonError::into_inner).0
                }
                None => self.look.wait(state).unwrap_or_else(PoisonError::into_inner),
            };
        }
    }

    /// Takes one run that has not heeded the cut off its lane, and replaces the lane as far as the bound allows.
    fn abandon(self: &Arc<Self>, state: &mut State, now: Instant) -> Option<Lost> {
        let at = state.runs.iter().position(|run| run.cut && run.due.is_some_and(|due| due <= now))?;
        let run = state.runs.swap_remove(at);
        if let Some(thread) = state.threads.iter_mut().find(|t| t.number == run.thread) {
            thread.away = true;
        }
        self.suspect.store(true, Ordering::SeqCst);
        let others = self.abandoned.fetch_add(1, Ordering::SeqCst);
        if others < MOST_ABANDONED && state.live() < self.lanes {
            // Without a thread the engine has a lane less, as beyond the bound.
            let _ = self.start_lane(state);
        }
        let waiting = if state.live() == 0 { state.waiting.drain(..).collect() } else { Vec::new() };
        Some(Lost { run, waiting })
    }

    fn tell(&self, Lost { run, waiting }: &Lost) {
        let limit = run.limit.unwrap_or_else(|| run.begun.elapsed());
        contained(|| run.user.overdue(run.token, &EngineError::Deadline(limit)));
        for (user, pieces) in waiting {
            (0..*pieces).for_each(|_| contained(|| self.refuse(user)));
        }
    }
}

/// A panic of those who are called must not end the watch.
fn contained(call: impl FnOnce()) {
    let _ = catch_unwind(AssertUnwindSafe(call));
}

impl State {
    /// Marks the runs that are due as cut; gives the time that cuts them, and none that began after them with their limit.
    fn cut(&mut self, now: Instant) -> Option<Instant> {
        let due = |run: &&mut Watched| !run.cut && run.due.is_some_and(|due| due <= now);
        let mut last = None;
        for run in self.runs.iter_mut().filter(due) {
            run.cut = true;
            run.due = Some(now + SETTLE);
            last = last.max(Some(run.until));
        }
        last
    }
}
