//! The application's connection to one worker, from its start to its end.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use super::arena::{Arena, Gone};
use super::process::Process;
use super::wire::{self, Answer, Command, Event, Run, WireError};
use crate::engine::{Io, Spec};

/// So many failed runs in a row, and the worker is replaced: a device or a runtime may need a new process.
const MOST_FAILURES: u32 = 3;

/// Why a run has no answer.
pub(super) enum Fault {
    /// It failed, and the worker is well.
    Run(String),
    /// It took longer than this, which it may not.
    Late(Duration),
    /// The worker has ended.
    Died,
    /// The worker has to end; why.
    Broken(String),
}

struct Running {
    number: u64,
    until: Instant,
    cut: bool,
}

/// A worker, and the sockets to it.
pub(super) struct Live {
    /// Counts the workers of an engine, from 1.
    pub(super) number: u64,
    pub(super) process: Process,
    pub(super) control: OwnedFd,
    /// Sockets for runs that no run uses. There are as many as there have been runs at once, each with a thread of the
    /// worker, so that none waits for another.
    idle: Mutex<Vec<OwnedFd>>,
    /// Runs under way that have a time to be over.
    running: Mutex<Vec<Running>>,
    runs: AtomicU64,
    failures: AtomicU32,
    /// It has answered a frame.
    served: AtomicBool,
    /// Why it ended or has to.
    cause: OnceLock<String>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Live {
    pub(super) fn new(number: u64, process: Process, control: OwnedFd) -> Self {
        Self {
            number,
            process,
            control,
            idle: Mutex::default(),
            running: Mutex::default(),
            runs: AtomicU64::new(0),
            failures: AtomicU32::new(0),
            served: AtomicBool::new(false),
            cause: OnceLock::new(),
        }
    }

    /// Why it ended or has to, if that is known.
    pub(super) fn cause(&self) -> Option<&String> {
        self.cause.get()
    }

    /// Whether it has answered a frame.
    pub(super) fn served(&self) -> bool {
        self.served.load(Ordering::Relaxed)
    }

    /// Notes that it has answered a frame.
    pub(super) fn note_served(&self) {
        self.served.store(true, Ordering::Relaxed);
    }

    /// Ends it; the first cause counts.
    pub(super) fn end(&self, cause: String) {
        let _ = self.cause.set(cause);
        self.process.kill();
    }

    /// Ends it if a run is not over that should be by `now`; whether that is so.
    pub(super) fn is_late(&self, now: Instant) -> bool {
        let mut running = lock(&self.running);
        running.iter_mut().filter(|run| run.until <= now).map(|run| run.cut = true).count() > 0
    }

    /// Runs the model; the worker must be ended unless it answers or [`Fault::Run`] comes.
    pub(super) fn run(&self, io: &mut Io, spec: &Spec, gone: &Gone, until: Option<Instant>) -> Result<(), Fault> {
        let begun = Instant::now();
        let number = self.runs.fetch_add(1, Ordering::Relaxed);
        if let Some(until) = until {
            lock(&self.running).push(Running { number, until, cut: false });
        }
        let answer = self.exchange(io, spec, gone, until);
        let Some(until) = until else { return self.judge(answer) };
        let mut running = lock(&self.running);
        let at = running.iter().position(|run| run.number == number);
        let cut = at.is_some_and(|at| running.swap_remove(at).cut);
        drop(running);
        match answer {
            Ok(false) => Err(Fault::Late(until.saturating_duration_since(begun))),
            Err(Fault::Died) if cut => Err(Fault::Late(until.saturating_duration_since(begun))),
            answer => self.judge(answer),
        }
    }

    /// A run that fails is the model's fault or the frame's, several in a row may be the process's.
    fn judge(&self, answer: Result<bool, Fault>) -> Result<(), Fault> {
        match answer {
            Ok(_) => {
                self.failures.store(0, Ordering::Relaxed);
                Ok(())
            }
            Err(Fault::Run(text)) if self.failures.fetch_add(1, Ordering::Relaxed) + 1 >= MOST_FAILURES => {
                Err(Fault::Broken(format!("{MOST_FAILURES} runs in a row failed, the last one so: {text}")))
            }
            Err(fault) => Err(fault),
        }
    }

    /// Sends a run and takes its answer; `false` if it does not come by `until`.
    fn exchange(&self, io: &mut Io, spec: &Spec, gone: &Gone, until: Option<Instant>) -> Result<bool, Fault> {
        Arena::attach(io, spec, gone).map_err(Fault::Run)?;
        let socket = lock(&self.idle).pop();
        let socket = match socket {
            Some(socket) => socket,
            None => self.connect()?,
        };
        self.request(io, gone, &socket)?;
        if wire::wait(Some(socket.as_fd()), None, until) == Event::Late {
            return Ok(false);
        }
        let answer = match wire::receive::<Answer>(&socket) {
            Ok((answer, _)) => answer,
            Err(WireError::Closed) => return Err(Fault::Died),
            Err(WireError::Garbage(what)) => return Err(Fault::Broken(garbage(&what))),
        };
        lock(&self.idle).push(socket);
        match answer {
            Answer::Done(shapes) => match Arena::accept(io, spec, &shapes) {
                Ok(()) => Ok(true),
                Err(what) => Err(Fault::Broken(garbage(&what))),
            },
            Answer::Failed(text) => {
                // It forgets the tensors of a run that failed.
                if let Some(arena) = &mut io.arena {
                    arena.known_by = 0;
                }
                Err(Fault::Run(text))
            }
        }
    }

    fn request(&self, io: &mut Io, gone: &Gone, socket: &OwnedFd) -> Result<(), Fault> {
        let shapes = io.inputs.iter().map(|tensor| tensor.shape.clone()).collect();
        let Some(arena) = &mut io.arena else {
            return Err(Fault::Run("the tensors have no shared memory".into()));
        };
        let new = arena.known_by != self.number;
        let rooms = new.then(|| arena.sizes.clone());
        let run = Run { io: arena.number, shapes, rooms, forget: gone.take() };
        wire::send(socket, &run, new.then(|| arena.file.as_fd())).map_err(|_| Fault::Died)?;
        arena.known_by = self.number;
        Ok(())
    }

    /// A new socket for runs.
    fn connect(&self) -> Result<OwnedFd, Fault> {
        let (ours, theirs) =
            wire::pair().map_err(|e| Fault::Run(format!("no socket for the engine's process: {e}")))?;
        wire::send(&self.control, &Command::Serve, Some(theirs.as_fd())).map_err(|_| Fault::Died)?;
        Ok(ours)
    }
}

/// The cause of an end: what came from the worker is no answer.
pub(super) fn garbage(what: &str) -> String {
    let end = what.floor_char_boundary(200);
    format!("the engine's process answered with garbage: {}", what.get(..end).unwrap_or_default())
}
