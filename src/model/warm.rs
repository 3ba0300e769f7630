//! The first runs of a model: apart from video, each with a limit.

use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::cancel::LOOK;
use crate::engine::lanes::{Lane, Lanes, User};
use crate::engine::options::Background;
use crate::engine::{Engine, EngineError, Io};
use crate::priority::at_low_priority;

/// Longest first run where nothing else is said. A graphics processor may compile all that it needs then.
const LIMIT: Duration = Duration::from_secs(300);

/// Runs an engine on a thread of its own, so that a run that hangs does not hang whoever loads the model.
pub(super) struct WarmUp {
    lane: Lanes,
    /// Longest that one run may take.
    limit: Duration,
    background: Option<Background>,
}

impl WarmUp {
    /// Starts the thread; in the background at low priority.
    ///
    /// # Errors
    /// If the system gives no thread.
    pub(super) fn of(lanes: &Lanes, background: Option<&Background>) -> Result<Self, EngineError> {
        Self::start(lanes.engine(), background, || lanes.spare())
    }

    /// As [`of`](Self::of), for an engine that has no lanes yet.
    ///
    /// # Errors
    /// If the system gives no thread.
    pub(super) fn on(engine: &Arc<dyn Engine>, background: Option<&Background>) -> Result<Self, EngineError> {
        Self::start(engine.as_ref(), background, || Lanes::start_one(Arc::clone(engine)))
    }

    fn start(
        engine: &dyn Engine,
        background: Option<&Background>,
        lane: impl FnOnce() -> std::io::Result<Lanes> + Send,
    ) -> Result<Self, EngineError> {
        // Other providers may start their threads with the first run, and those would inherit the niceness.
        let low = background.is_some() && engine.provider() == "cpu";
        let lane = if low { at_low_priority(lane) } else { lane() };
        let lane = lane.map_err(|e| EngineError::Runtime(format!("no thread for the first run: {e}")))?;
        let limit = background.map_or(LIMIT, |background| background.limit);
        Ok(Self { lane, limit, background: background.cloned() })
    }

    /// Runs the model; gives the tensors back, and how long it took.
    ///
    /// # Errors
    /// As [`Engine::run`] says; [`EngineError::Late`] for a run that takes too long (one that the engine cannot end goes on
    /// on its thread), and [`EngineError::Cancelled`].
    pub(super) fn run(&self, io: Io) -> Result<(Io, Duration), EngineError> {
        let (sender, answer) = mpsc::channel();
        let user: Arc<dyn User> = Arc::new(Errand { io: Mutex::new(Some(io)), limit: self.limit, sender });
        self.lane.request(&user);
        let cancelled = || self.background.as_ref().is_some_and(|background| background.cancel.is_cancelled());
        loop {
            match answer.recv_timeout(LOOK) {
                Ok(Err(EngineError::Deadline(_))) => return Err(EngineError::Late(self.limit)),
                Ok(answer) => return answer,
                Err(RecvTimeoutError::Timeout) if cancelled() => {
                    // It is cut, or else abandoned, soon; the lane can only be closed then.
                    self.lane.give_up(&user);
                    let _ = answer.recv();
                    return Err(EngineError::Cancelled);
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(EngineError::Run("the first run has no answer".into()));
                }
            }
        }
    }
}

/// One run.
struct Errand {
    io: Mutex<Option<Io>>,
    limit: Duration,
    sender: Sender<Result<(Io, Duration), EngineError>>,
}

impl User for Errand {
    fn work(&self, lane: &Lane<'_>) {
        let io = self.io.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(mut io) = io else { return };
        let begun = Instant::now();
        let answer = lane.run(&mut io, 0, Some(self.limit)).map(|()| (io, begun.elapsed()));
        // Nobody waits for one that was abandoned.
        let _ = self.sender.send(answer);
    }

    fn overdue(&self, _: u64, error: &EngineError) {
        let _ = self.sender.send(Err(error.clone()));
    }

    fn refused(&self, _: &dyn Engine, error: &EngineError) {
        let _ = self.sender.send(Err(error.clone()));
    }
}
