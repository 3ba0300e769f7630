//! The threads that run an engine for all its users, each in turn.
//!
//! An engine has a few lanes (runs that may be under way at once), however many cameras share it. A user with work
//! stands in the queue once; a lane takes the first in the queue, does one piece of its work and sends it to the end of
//! the queue. So a camera with many frames delays another one by one run at most, and a silent one costs nothing. Users
//! that may let frames pass ask first, by the rule of [`turns`](super::turns), so that the queue stays short.
//!
//! A run may have a limit. One that takes longer is cut by the `watch`; if the engine does not heed that, the run is
//! abandoned: its user is told, and another thread takes the lane's place. The thread of an abandoned run cannot be
//! ended; when the run comes back after all, its answer is dropped and the thread ends. How many lanes are replaced in
//! a process is bounded ([`MOST_ABANDONED`]); beyond that, an engine has fewer lanes, and without any it refuses work.

mod turn;
mod watch;

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::{Engine, EngineError, Io};
use crate::priority::lower;
use turn::SharedTurns;
pub use turn::Turn;
pub(super) use watch::SETTLE;
use watch::Watched;

/// Lanes are not replaced while as many runs of the process as this are abandoned: each holds a thread and its engine's
/// memory.
pub const MOST_ABANDONED: usize = 8;

/// What to do when [`MOST_ABANDONED`] is reached.
const TOO_MANY_HANG: &str =
    "too many runs of the process hang: start it anew, and set isolation=process for engines that hang";

/// What a run without a limit is given: the engine needs a time by which it can be told to end.
const FOREVER: Duration = Duration::from_secs(365 * 24 * 3600);

/// Users for whom there is a place in the queue from the start; more of them are no harm.
const USERS: usize = 16;

static ABANDONED: AtomicUsize = AtomicUsize::new(0);

/// Runs in this process that were abandoned and have not come back.
pub fn abandoned_runs() -> usize {
    ABANDONED.load(Ordering::SeqCst)
}

/// Whether another engine may be loaded into this process.
///
/// # Errors
/// [`EngineError::Runtime`] while [`MOST_ABANDONED`] runs hang: its lanes would not be replaced either.
pub fn check_room() -> Result<(), EngineError> {
    room_beside(abandoned_runs())
}

fn room_beside(abandoned: usize) -> Result<(), EngineError> {
    if abandoned < MOST_ABANDONED {
        return Ok(());
    }
    Err(EngineError::Runtime(format!("no engine is loaded: {TOO_MANY_HANG}")))
}

/// Someone who has work for an engine. For every [`Lanes::request`] either `work` or `refused` is called, once.
pub trait User: Send + Sync {
    /// Does one piece of work with the engine of `lane`.
    fn work(&self, lane: &Lane<'_>);

    /// A run that [`Lane::run`] was asked for with `token` is abandoned: the call may never return.
    fn overdue(&self, token: u64, error: &EngineError);

    /// One piece of work will not be done, since all lanes of `engine` hang.
    fn refused(&self, engine: &dyn Engine, error: &EngineError);
}

struct Thread {
    number: u64,
    handle: JoinHandle<()>,
    /// Its run was abandoned and is not back.
    away: bool,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<(Arc<dyn User>, usize)>,
    threads: Vec<Thread>,
    /// Threads so far.
    started: u64,
    /// Runs under way, apart from those that were abandoned.
    runs: Vec<Watched>,
    /// Runs so far.
    begun: u64,
    watch: Option<JoinHandle<()>>,
    /// When the watch wakes by itself; `None`: when it is told to.
    wakes: Option<Instant>,
    stop: bool,
}

impl State {
    /// How many lanes take work.
    fn live(&self) -> usize {
        self.threads.iter().filter(|t| !t.away).count()
    }
}

struct Shared {
    engine: Arc<dyn Engine>,
    /// How many there should be.
    lanes: usize,
    /// With as many runs under way the engine has all that it takes at once.
    full: usize,
    /// Of their threads.
    niceness: u8,
    state: Mutex<State>,
    /// Work has come.
    changed: Condvar,
    /// The watch has to look.
    look: Condvar,
    suspect: AtomicBool,
    abandoned: &'static AtomicUsize,
    /// Locked alone, or with the state's lock held.
    turns: SharedTurns,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts a lane. The lock is held: nobody sees a lane less meanwhile.
    fn start_lane(self: &Arc<Self>, state: &mut State) -> std::io::Result<()> {
        let (shared, number) = (Arc::clone(self), state.started);
        let handle = thread::Builder::new().name(format!("vigil-lane-{number}")).spawn(move || {
            lower(shared.niceness);
            shared.serve(number);
        })?;
        state.threads.push(Thread { number, handle, away: false });
        state.started += 1;
        Ok(())
    }

    /// What a lane's thread does.
    fn serve(self: &Arc<Self>, thread: u64) {
        while let Some(user) = self.next(thread) {
            let lane = Lane { shared: self, thread, user: &user };
            // A panic costs its user one answer, which the user notices; the lane serves the others.
            let _ = catch_unwind(AssertUnwindSafe(|| user.work(&lane)));
        }
    }

    /// Waits for the next user in turn; `None` when the lanes close, or `thread` has been replaced.
    fn next(&self, thread: u64) -> Option<Arc<dyn User>> {
        let mut state = self.lock();
        loop {
            if state.stop || !state.threads.iter().any(|t| t.number == thread) {
                return None;
            }
            if let Some((user, pieces)) = state.waiting.pop_front() {
                if pieces > 1 {
                    state.waiting.push_back((Arc::clone(&user), pieces - 1));
                }
                return Some(user);
            }
            // The other lanes of an engine that gathers pictures are for those that come meanwhile.
            if state.runs.len() < self.full {
                self.turns.lock().idle();
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// A lane, for one piece of work.
pub struct Lane<'a> {
    shared: &'a Arc<Shared>,
    thread: u64,
    user: &'a Arc<dyn User>,
}

impl Lane<'_> {
    /// The engine.
    pub fn engine(&self) -> &dyn Engine {
        self.shared.engine.as_ref()
    }

    /// Runs the model, for at most `limit`. If the run is abandoned, [`User::overdue`] is called with `token`.
    ///
    /// # Errors
    /// As [`Engine::run`] says; [`EngineError::Deadline`] too if the run comes back after it was abandoned, and
    /// [`EngineError::Run`] if the engine panics.
    pub fn run(&self, io: &mut Io, token: u64, limit: Option<Duration>) -> Result<(), EngineError> {
        let start = Instant::now();
        let until = start + limit.unwrap_or(FOREVER).min(FOREVER);
        let number = self.shared.watch(self, token, limit, (start, until));
        let answer = catch_unwind(AssertUnwindSafe(|| self.engine().run(io, Some(until))))
            .unwrap_or_else(|_| Err(EngineError::Run("the engine panicked".into())));
        let took = start.elapsed();
        let in_time = self.shared.unwatch(self.thread, number);
        if in_time && answer.is_ok() {
            self.shared.turns.lock().ran(turn::key(self.user), took, start + took);
        }
        match answer {
            Ok(()) if in_time => Ok(()),
            Err(error) if in_time && !matches!(error, EngineError::Deadline(_)) => Err(error),
            _ => Err(EngineError::Deadline(limit.unwrap_or_else(|| start.elapsed()))),
        }
    }
}

/// An engine with its threads.
pub struct Lanes {
    shared: Arc<Shared>,
}

impl Lanes {
    /// Starts one thread per lane of `engine`.
    ///
    /// # Errors
    /// If the system gives no thread.
    pub fn start(engine: Arc<dyn Engine>) -> std::io::Result<Self> {
        Self::start_nice(engine, 0)
    }

    /// As [`start`](Self::start), with threads that stand back behind others by `niceness`, 0..19.
    ///
    /// # Errors
    /// If the system gives no thread.
    pub fn start_nice(engine: Arc<dyn Engine>, niceness: u8) -> std::io::Result<Self> {
        let lanes = engine.lanes().max(1);
        Self::start_some(engine, (lanes, niceness), &ABANDONED)
    }

    /// One lane for `engine`, whatever else runs it.
    ///
    /// # Errors
    /// If the system gives no thread.
    pub fn start_one(engine: Arc<dyn Engine>) -> std::io::Result<Self> {
        Self::start_some(engine, (1, 0), &ABANDONED)
    }

    /// One lane more for the same engine, apart from those that its users take turns on.
    ///
    /// # Errors
    /// If the system gives no thread.
    pub fn spare(&self) -> std::io::Result<Self> {
        Self::start_some(Arc::clone(&self.shared.engine), (1, self.shared.niceness), self.shared.abandoned)
    }

    #[cfg(test)]
    /// As [`start`](Self::start), with the count of abandoned runs in `abandoned`.
    pub(crate) fn counting(engine: Arc<dyn Engine>, abandoned: &'static AtomicUsize) -> std::io::Result<Self> {
        let lanes = engine.lanes().max(1);
        Self::start_some(engine, (lanes, 0), abandoned)
    }

    fn start_some(
        engine: Arc<dyn Engine>,
        (lanes, niceness): (usize, u8),
        abandoned: &'static AtomicUsize,
    ) -> std::io::Result<Self> {
        let at_once = engine.at_once().clamp(1, lanes);
        let most = engine.gathering().map_or(1, |gathering| gathering.most);
        let all = Self {
            shared: Arc::new(Shared {
                engine,
                lanes,
                full: at_once * most,
                niceness,
                state: Mutex::default(),
                changed: Condvar::new(),
                look: Condvar::new(),
                suspect: AtomicBool::new(false),
                abandoned,
                turns: SharedTurns::new(lanes, at_once),
            }),
        };
        // So that the first frame of a model that takes over allocates nothing.
        all.shared.lock().waiting.reserve(USERS);
        for _ in 0..lanes {
            all.shared.start_lane(&mut all.shared.lock())?;
        }
        Ok(all)
    }

    /// The engine.
    pub fn engine(&self) -> &dyn Engine {
        self.shared.engine.as_ref()
    }

    /// Asks for one call of `user.work`.
    pub fn request(&self, user: &Arc<dyn User>) {
        let mut state = self.shared.lock();
        if state.live() == 0 {
            drop(state);
            self.shared.refuse(user);
            return;
        }
        match state.waiting.iter_mut().find(|(waiting, _)| Arc::ptr_eq(waiting, user)) {
            Some((_, pieces)) => *pieces += 1,
            None => state.waiting.push_back((Arc::clone(user), 1)),
        }
        drop(state);
        self.shared.changed.notify_one();
    }

    /// Whether the engine has always answered: no run of it was abandoned or given up. Others should not begin to use
    /// it.
    pub fn is_sound(&self) -> bool {
        !self.shared.suspect.load(Ordering::SeqCst)
    }

    /// Cuts the runs of `user` now, and abandons those that do not end then. The engine is not sound any more. A run of
    /// another user that was to be over before those were is cut too.
    pub fn give_up(&self, user: &Arc<dyn User>) {
        self.shared.suspect.store(true, Ordering::SeqCst);
        self.shared.hurry(user);
    }
}

impl Drop for Lanes {
    fn drop(&mut self) {
        let (threads, watch) = {
            let mut state = self.shared.lock();
            state.stop = true;
            (std::mem::take(&mut state.threads), state.watch.take())
        };
        self.shared.changed.notify_all();
        self.shared.look.notify_all();
        let own = thread::current().id();
        // A thread whose run was abandoned may never end; it holds what it needs.
        let ending = threads.into_iter().filter(|t| !t.away).map(|t| t.handle).chain(watch);
        // The last owner may be a user whose work ends on a lane, or who is told by the watch: that one ends by itself.
        for handle in ending.filter(|handle| handle.thread().id() != own) {
            let _ = handle.join();
        }
    }
}

#[cfg(test)]
mod tests;
