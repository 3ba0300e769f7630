//! An engine in a process of its own: what kills it (a bug of the runtime, the OOM killer, a driver that hangs) costs
//! frames their analysis until another process has taken over, and nothing else.
//!
//! ```text
//! application                                        worker (`vigil worker`)
//! Remote::run ── Run, Answer: a socket for each ───▶ a thread for each socket: OnnxEngine::run
//!      └──────── tensors: shared memory ───────────┘
//! supervisor ─── Command, Report: first socket ────▶ main thread: ends the process when the socket closes
//! ```
//!
//! Tensors never travel: those of an [`Io`] lie in memory that both processes map ([`crate::engine::memory`]), so that
//! pre-processing writes into what the model reads, and post-processing reads what it wrote. Runs side by side each have a
//! socket and a thread of the worker, so none waits for another. Weights are written once into a sealed anonymous file,
//! which every worker of the engine maps, and those of other engines with the same weights; the application keeps nothing
//! else of them.
//!
//! A supervisor's thread starts the worker, watches it, and starts another one when it ends for whatever reason: exit,
//! signal, a message that is none, a run that takes too long, three failed runs in a row. The run under way fails at once,
//! later ones fail at once with [`EngineError::Restarting`] until the next worker has loaded the model and has run it on
//! the inputs of the first run that ever succeeded. The first restart begins at once, the next ones after 0.1 s, 0.2 s,
//! … 30 s (at most 0.25 s where the last worker has answered a frame); from the start again after one was well for 10 s. A first start that fails is the caller's error.

mod arena;
pub mod child;
mod confine;
mod live;
#[cfg(test)]
mod load_tests;
mod process;
mod supervisor;
#[cfg(test)]
mod tests;
mod weights;
mod wire;

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

pub use arena::Arena;
use live::Fault;
use supervisor::{Finder, Inner};
use wire::Loaded;

use super::options::{Background, Options};
use super::placement::Placement;
use super::{Engine, EngineError, Io, Spec};
use crate::cancel::LOOK;

/// How an engine's process is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WorkerState {
    /// Its number in the system; `None` while there is none that takes frames.
    pub pid: Option<u32>,
    /// How often another one has taken over.
    pub restarts: u64,
    /// `starting`, `running`, `restarting` or `stopped`.
    pub state: &'static str,
}

/// Number of elements of a shape; `None` if memory cannot have so many.
fn elements(shape: &[usize]) -> Option<usize> {
    shape.iter().try_fold(1_usize, |len, side| len.checked_mul(*side))
}

/// An engine in a process of its own.
pub struct Remote {
    inner: Arc<Inner>,
    loaded: Loaded,
}

impl Remote {
    /// Starts a process and loads a model there; `digest` is that of its bytes. With `background` at low priority, within its
    /// limit (otherwise ten minutes), and only until it is cancelled. A process that is late or not wanted any more is
    /// killed.
    ///
    /// # Errors
    /// As for an engine in this process; [`EngineError::Runtime`] if no command or one of another version is found,
    /// [`EngineError::Crashed`] if the process dies while it loads or cannot be trusted, [`EngineError::Late`],
    /// [`EngineError::Cancelled`].
    pub fn load(
        (bytes, digest): (&[u8], &str),
        options: &Options,
        background: Option<&Background>,
    ) -> Result<Self, EngineError> {
        let weights = weights::file(bytes, digest).map_err(refused)?;
        Self::load_with(weights, options, background, Box::new(process::find))
    }

    fn load_with(
        weights: Arc<OwnedFd>,
        options: &Options,
        background: Option<&Background>,
        find: Finder,
    ) -> Result<Self, EngineError> {
        let inner = Arc::new(Inner::new(options.clone(), weights, find).map_err(refused)?);
        let (sender, first) = mpsc::channel();
        let (for_thread, limit) = (Arc::clone(&inner), background.map(|b| b.limit));
        // The thread outlives every worker: the system ends a worker with the thread that started it.
        let run = move || for_thread.supervise(limit, |loaded| drop(sender.send(loaded)));
        std::thread::Builder::new().name("vigil-supervise".into()).spawn(run).map_err(refused)?;
        let loaded = match background {
            None => first.recv().ok(),
            Some(background) => loop {
                match first.recv_timeout(LOOK) {
                    Ok(loaded) => break Some(loaded),
                    Err(RecvTimeoutError::Disconnected) => break None,
                    Err(RecvTimeoutError::Timeout) if background.cancel.is_cancelled() => {
                        inner.stop();
                        return Err(EngineError::Cancelled);
                    }
                    Err(RecvTimeoutError::Timeout) => {}
                }
            },
        };
        match loaded {
            Some(Ok(loaded)) => Ok(Self { inner, loaded }),
            Some(Err(error)) => Err(error),
            None => Err(EngineError::Runtime("the thread that starts the engine's process has ended".into())),
        }
    }
}

fn refused(error: std::io::Error) -> EngineError {
    EngineError::Runtime(format!("the engine's process cannot be started: {error}"))
}

impl Drop for Remote {
    fn drop(&mut self) {
        self.inner.stop();
    }
}

impl Engine for Remote {
    fn spec(&self) -> &Spec {
        &self.loaded.spec
    }

    fn provider(&self) -> &str {
        &self.loaded.provider
    }

    fn lanes(&self) -> usize {
        self.loaded.lanes
    }

    fn threads_per_run(&self) -> usize {
        self.inner.options.threads_per_run()
    }

    fn placement(&self) -> Option<&Placement> {
        self.loaded.placement.as_ref()
    }

    fn io(&self, input_shapes: &[Vec<usize>]) -> Io {
        let mut io = Io::new(&self.loaded.spec, input_shapes);
        // Where there is no shared memory now, a run asks again and says so.
        let _ = Arena::attach(&mut io, &self.loaded.spec, &self.inner.gone);
        io
    }

    fn worker(&self) -> Option<WorkerState> {
        Some(self.inner.state())
    }

    fn run(&self, io: &mut Io, until: Option<Instant>) -> Result<(), EngineError> {
        let live = self.inner.live()?;
        if until.is_some_and(|until| until <= Instant::now()) {
            // Too late before it began, which is not the worker's fault.
            return Err(EngineError::Deadline(Duration::ZERO));
        }
        match live.run(io, &self.loaded.spec, &self.inner.gone, until) {
            Ok(()) => {
                live.note_served();
                self.inner.keep_sample(io);
                Ok(())
            }
            Err(Fault::Run(text)) => Err(EngineError::of_run(text)),
            Err(Fault::Late(limit)) => {
                self.inner.replace(&live, format!("a run took longer than {limit:?}"));
                Err(EngineError::Deadline(limit))
            }
            Err(Fault::Broken(cause)) => {
                self.inner.replace(&live, cause.clone());
                Err(EngineError::Run(cause))
            }
            Err(Fault::Died) => Err(EngineError::Crashed(self.inner.bury_later(&live))),
        }
    }

    fn cut(&self, now: Instant) {
        if let Ok(live) = self.inner.live()
            && live.is_late(now)
        {
            self.inner.replace(&live, "a run took too long".into());
        }
    }
}
