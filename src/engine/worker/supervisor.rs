//! The thread that starts an engine's worker, watches it, and starts another one when it ends.

use std::io::ErrorKind;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use super::arena::Gone;
use super::live::{Fault, Live, garbage};
use super::process::{self, Process};
use super::wire::{self, Command, Event, Loaded, Report, WireError};
use super::{WorkerState, elements};
use crate::engine::options::{Isolation, Options};
use crate::engine::runtime::{self, Severity};
use crate::engine::{EngineError, Io, Tensor};

/// Longest time for a worker to start, load and warm up.
const LOAD_LIMIT: Duration = Duration::from_secs(600);
/// More than that no clock can add.
const FOREVER: Duration = Duration::from_secs(365 * 24 * 3600);
/// A worker that lives for so long was well, and its end is the first of a row.
const WELL: Duration = Duration::from_secs(10);
/// Longest wait for the cause of an end to be known.
const CAUSE_LIMIT: Duration = Duration::from_millis(100);
/// Most bytes of one tensor of a fixed size.
const MOST_BYTES: usize = 1 << 30;
/// Most tensors of one kind.
const MOST_TENSORS: usize = 64;
/// Workers that were killed and do not end (a driver holds them) beside which another one is started.
const MOST_STUCK: usize = 4;

/// How long to wait before the next start: not at all, then 0.1 s, twice as long each time.
#[derive(Debug, Default)]
pub(super) struct Backoff(Duration);

impl Backoff {
    const FIRST: Duration = Duration::from_millis(100);
    /// After starts that failed, or workers that ended before they answered: there is little to hope for.
    const MOST: Duration = Duration::from_secs(30);
    /// After a worker that did its work: analysis is soon back, however often it dies.
    const MOST_USEFUL: Duration = Duration::from_millis(250);

    /// The next wait; `useful`: the last worker answered frames.
    pub(super) fn next(&mut self, useful: bool) -> Duration {
        let wait = self.0.min(if useful { Self::MOST_USEFUL } else { Self::MOST });
        self.0 = (wait * 2).clamp(Self::FIRST, Self::MOST);
        wait
    }

    pub(super) fn reset(&mut self) {
        self.0 = Duration::ZERO;
    }
}

enum Phase {
    Starting,
    Ready(Arc<Live>),
    /// Why the last worker ended, or the next one could not be started.
    Restarting(String),
    Ended,
}

struct Status {
    phase: Phase,
    restarts: u64,
    stopped: bool,
}

/// Why there is no message of a worker's.
enum Silence {
    /// The engine is no longer wanted.
    Unwanted,
    Late,
    Closed,
    Garbage(String),
}

/// Names the command to start.
pub(super) type Finder = Box<dyn Fn() -> Result<PathBuf, EngineError> + Send + Sync>;

/// What the supervisor's thread and the engine share.
pub(super) struct Inner {
    find: Finder,
    pub(super) options: Options,
    weights: Arc<OwnedFd>,
    status: Mutex<Status>,
    changed: Condvar,
    /// Readable once the engine is no longer wanted.
    wake: OwnedFd,
    pub(super) gone: Gone,
    /// The inputs of the first run that succeeded: each new worker runs them before it takes frames.
    sample: OnceLock<Vec<Tensor>>,
    loaded: OnceLock<Loaded>,
}

impl Inner {
    pub(super) fn new(options: Options, weights: Arc<OwnedFd>, find: Finder) -> std::io::Result<Self> {
        Ok(Self {
            find,
            options,
            weights,
            status: Mutex::new(Status { phase: Phase::Starting, restarts: 0, stopped: false }),
            changed: Condvar::new(),
            wake: rustix::event::eventfd(0, rustix::event::EventfdFlags::CLOEXEC)?,
            gone: Gone::default(),
            sample: OnceLock::new(),
            loaded: OnceLock::new(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Status> {
        self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, phase: Phase) {
        let old = std::mem::replace(&mut self.lock().phase, phase);
        self.changed.notify_all();
        drop(old);
    }

    /// The worker, if it takes runs.
    ///
    /// # Errors
    /// [`EngineError::Restarting`]
    pub(super) fn live(&self) -> Result<Arc<Live>, EngineError> {
        match &self.lock().phase {
            Phase::Ready(live) => Ok(Arc::clone(live)),
            Phase::Restarting(why) => Err(EngineError::Restarting(why.clone())),
            Phase::Starting | Phase::Ended => Err(EngineError::Restarting("it is not loaded".into())),
        }
    }

    pub(super) fn state(&self) -> WorkerState {
        let status = self.lock();
        let (state, pid) = match &status.phase {
            Phase::Starting => ("starting", None),
            Phase::Ready(live) => ("running", Some(live.process.id)),
            Phase::Restarting(_) => ("restarting", None),
            Phase::Ended => ("stopped", None),
        };
        WorkerState { pid, restarts: status.restarts, state }
    }

    /// Ends a worker, and lets no further run go to it.
    pub(super) fn replace(&self, live: &Arc<Live>, cause: String) {
        let mut status = self.lock();
        if matches!(&status.phase, Phase::Ready(current) if Arc::ptr_eq(current, live)) {
            status.phase = Phase::Restarting(cause.clone());
        }
        drop(status);
        live.end(cause);
    }

    /// Ends a worker whose socket is closed, and says why it ended; waits a moment until the system has told.
    pub(super) fn bury_later(&self, live: &Arc<Live>) -> String {
        let unknown = |_: &mut Status| live.cause().is_none();
        drop(self.changed.wait_timeout_while(self.lock(), CAUSE_LIMIT, unknown));
        self.replace(live, "the engine's process does not answer any more".into());
        live.cause().cloned().unwrap_or_default()
    }

    /// Keeps the inputs of the first run that succeeds.
    pub(super) fn keep_sample(&self, io: &Io) {
        if self.sample.get().is_none() {
            let _ = self.sample.set(io.inputs.clone());
        }
    }

    /// Ends the worker and the supervisor's thread; waits a little for both.
    pub(super) fn stop(&self) {
        let mut status = self.lock();
        status.stopped = true;
        let live = match &status.phase {
            Phase::Ready(live) => Some(Arc::clone(live)),
            _ => None,
        };
        drop(status);
        if let Some(live) = live {
            live.end("it is no longer needed".into());
        }
        let _ = rustix::io::write(&self.wake, &1_u64.to_ne_bytes());
        let going = |status: &mut Status| !matches!(status.phase, Phase::Ended);
        drop(self.changed.wait_timeout_while(self.lock(), Duration::from_secs(2), going));
    }

    fn memory_max(&self) -> u64 {
        match &self.options.isolation {
            Isolation::Process(worker) => worker.memory_max,
            Isolation::None => 0,
        }
    }

    /// A text with the memory that a worker may use: where that is limited, nearly everything may fail for it.
    fn limited(&self, text: String) -> String {
        match self.memory_max() {
            0 => text,
            most => format!("{text}; the engine's process may use {most} bytes of memory (engine-memory-max)"),
        }
    }

    /// Waits for a worker's end, and says why it came.
    fn bury(&self, live: &Live) -> String {
        live.process.kill();
        let status = live.process.reap();
        live.end(self.limited(format!("the engine's process {}", process::describe(status))));
        live.cause().cloned().unwrap_or_default()
    }

    /// The worker's next message that is not the runtime's.
    fn next(&self, live: &Live, until: Option<Instant>) -> Result<Report, Silence> {
        loop {
            match wire::wait(Some(live.control.as_fd()), Some(self.wake.as_fd()), until) {
                Event::Woken => return Err(Silence::Unwanted),
                Event::Late => return Err(Silence::Late),
                Event::Message => {}
            }
            match wire::receive::<Report>(&live.control) {
                Ok((Report::Log(severity, text), _)) => runtime::log(
                    match severity {
                        0 => Severity::Error,
                        1 => Severity::Warning,
                        _ => Severity::Info,
                    },
                    &text,
                ),
                Ok((report, _)) => return Ok(report),
                Err(WireError::Closed) => return Err(Silence::Closed),
                Err(WireError::Garbage(what)) => return Err(Silence::Garbage(what)),
            }
        }
    }

    /// What a worker's silence means while it starts, with a text for a death or garbage.
    fn explain(&self, live: &Live, silence: Silence, limit: Duration) -> Result<String, EngineError> {
        match silence {
            Silence::Unwanted => Err(EngineError::Cancelled),
            Silence::Late => Err(EngineError::Late(limit)),
            Silence::Closed => Ok(self.bury(live)),
            Silence::Garbage(what) => Ok(garbage(&what)),
        }
    }

    /// Starts a worker and waits until it can take frames; for at most `limit`, beside running video if there is one.
    fn start(&self, number: u64, limit: Option<Duration>) -> Result<Arc<Live>, EngineError> {
        let (background, limit) = (limit.is_some(), limit.unwrap_or(LOAD_LIMIT).min(FOREVER));
        let until = Instant::now() + limit;
        let program = (self.find)()?;
        let failed = |what: &dyn std::fmt::Display| {
            EngineError::Runtime(format!("the engine's process {} cannot be started: {what}", program.display()))
        };
        let (ours, theirs) = wire::pair().map_err(|e| failed(&e))?;
        let process = Process::start(&program, theirs).map_err(|e| failed(&e))?;
        let live = Arc::new(Live::new(number, process, ours));
        let begun = match self.next(&live, Some(until)) {
            Ok(Report::Hello { version }) if version == crate::VERSION => self.load(&live, (until, limit), background),
            Ok(Report::Hello { version }) => Err(EngineError::Runtime(format!(
                "the command {} is version {version} and cannot run models for version {}: install both from one build, \
                 or name another one in the environment variable VIGIL_WORKER",
                program.display(),
                crate::VERSION
            ))),
            Ok(_) => Err(failed(&"it does not begin as a worker does")),
            Err(silence) => Err(self.explain(&live, silence, limit).map_or_else(|error| error, |what| failed(&what))),
        };
        begun.inspect_err(|_| drop(self.bury(&live)))?;
        Ok(live)
    }

    fn load(&self, live: &Arc<Live>, (until, limit): (Instant, Duration), background: bool) -> Result<(), EngineError> {
        let beside = runtime::own_file().and_then(|file| file.parent().map(std::path::Path::to_path_buf));
        let load = Command::Load { options: self.options.clone(), beside, background };
        let crashed = |what: String| EngineError::Crashed(format!("while loading it {what}"));
        wire::send(&live.control, &load, Some(self.weights.as_fd())).map_err(|e| match e.kind() {
            // It is dead already.
            ErrorKind::BrokenPipe | ErrorKind::ConnectionReset => crashed(self.bury(live)),
            _ => EngineError::Runtime(format!("the engine's process cannot be told what to load: {e}")),
        })?;
        let told = self.next(live, Some(until));
        let told = told.map_err(|silence| self.explain(live, silence, limit).map_or_else(|error| error, crashed))?;
        let loaded = match told {
            Report::Loaded(loaded) => loaded,
            Report::Failed(EngineError::Model(what)) => return Err(EngineError::Model(self.limited(what))),
            Report::Failed(EngineError::Memory(what)) => return Err(EngineError::Memory(self.limited(what))),
            Report::Failed(EngineError::Runtime(what)) => return Err(EngineError::Runtime(self.limited(what))),
            Report::Failed(error) => return Err(error),
            Report::Hello { .. } | Report::Log(..) => {
                return Err(crashed("the engine's process says hello twice".into()));
            }
        };
        self.check(&loaded).map_err(|what| crashed(garbage(&what)))?;
        let known = self.loaded.get_or_init(|| loaded.clone());
        if *known != loaded {
            return Err(EngineError::Model("the model is another one than before".into()));
        }
        let Some(inputs) = self.sample.get() else { return Ok(()) };
        // Outputs begin as in any tensors for this model.
        let mut io = Io { inputs: inputs.clone(), ..Io::new(&loaded.spec, &[]) };
        live.run(&mut io, &loaded.spec, &self.gone, Some(until)).map_err(|fault| match fault {
            Fault::Run(text) | Fault::Broken(text) => EngineError::of_run(text),
            Fault::Late(_) => EngineError::Late(limit),
            Fault::Died => crashed(self.bury(live)),
        })
    }

    /// Whether what a worker says about its model can be: tensors of it are made without further questions.
    fn check(&self, loaded: &Loaded) -> Result<(), String> {
        let Loaded { spec, provider, lanes, .. } = loaded;
        if *provider != self.options.provider || *lanes == 0 || *lanes > self.options.lanes.max(1) {
            return Err(format!("provider {provider:?} with {lanes} lanes"));
        }
        for tensors in [&spec.inputs, &spec.outputs] {
            if tensors.is_empty() || tensors.len() > MOST_TENSORS {
                return Err(format!("{} tensors of one kind", tensors.len()));
            }
            for tensor in tensors {
                let known: Vec<usize> = tensor.shape.iter().flatten().copied().collect();
                let bytes = elements(&known).and_then(|len| len.checked_mul(tensor.dtype.bytes()));
                if bytes.is_none_or(|bytes| bytes > MOST_BYTES) {
                    return Err(format!("tensor {:?} of shape {:?}", tensor.name, tensor.shape));
                }
            }
        }
        Ok(())
    }

    /// Waits until a worker ends, or has to, and until it is gone.
    fn watch(&self, live: &Live) {
        let cause = match self.next(live, None) {
            Ok(_) => Some("the engine's process speaks without being asked".into()),
            Err(Silence::Garbage(what)) => Some(garbage(&what)),
            Err(Silence::Unwanted | Silence::Late | Silence::Closed) => None,
        };
        // No run begins from here on.
        self.set(Phase::Restarting("its process ended".into()));
        if let Some(cause) = cause {
            live.end(cause);
        }
        let cause = self.bury(live);
        self.set(Phase::Restarting(cause));
    }

    /// The supervisor's thread: from the first start, beside running video if there is a `limit`, to the end of the
    /// engine. `first` is told how the first start went.
    pub(super) fn supervise(&self, limit: Option<Duration>, first: impl FnOnce(Result<Loaded, EngineError>)) {
        match self.start(1, limit) {
            Ok(live) => {
                self.set(Phase::Ready(Arc::clone(&live)));
                if let Some(loaded) = self.loaded.get() {
                    first(Ok(loaded.clone()));
                    self.serve(live);
                }
            }
            Err(error) => first(Err(error)),
        }
        self.set(Phase::Ended);
    }

    fn serve(&self, mut live: Arc<Live>) {
        let (mut backoff, mut number, mut stuck) = (Backoff::default(), live.number, Vec::new());
        loop {
            let since = Instant::now();
            self.watch(&live);
            let mut useful = live.served();
            stuck.push(live);
            if since.elapsed() >= WELL {
                backoff.reset();
            }
            live = loop {
                let pause = Instant::now() + backoff.next(useful);
                if wire::wait(None, Some(self.wake.as_fd()), Some(pause)) == Event::Woken {
                    return;
                }
                stuck.retain(|dead: &Arc<Live>| dead.process.ended().is_none());
                if stuck.len() > MOST_STUCK {
                    continue;
                }
                number += 1;
                useful = false;
                match self.start(number, None) {
                    Ok(live) => break live,
                    Err(error) => self.set(Phase::Restarting(error.to_string())),
                }
            };
            self.lock().restarts += 1;
            self.set(Phase::Ready(Arc::clone(&live)));
        }
    }
}
