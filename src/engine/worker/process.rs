//! The worker as a process: found, started, ended, and what its end means.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::engine::EngineError;
use crate::engine::runtime;
use crate::paths;

/// Longest wait for a process that was killed: it ends at once unless a driver holds it.
const REAP_LIMIT: Duration = Duration::from_secs(5);

/// The command to start.
///
/// # Errors
/// [`EngineError::Runtime`] that names the places that were tried.
pub(super) fn find() -> Result<PathBuf, EngineError> {
    let tried = paths::worker_candidates(runtime::own_file().as_deref());
    if let Some(found) = tried.iter().find(|path| paths::is_program(path)) {
        return Ok(found.clone());
    }
    let tried: Vec<_> = tried.iter().map(|path| path.display().to_string()).collect();
    Err(EngineError::Runtime(format!(
        "isolation=process needs the command vigil, which was not found. Install it, or name it in the environment \
         variable VIGIL_WORKER. Tried: {}",
        tried.join("; ")
    )))
}

/// A worker that runs, or ran.
pub(super) struct Process {
    child: Mutex<Child>,
    /// Its number in the system.
    pub(super) id: u32,
}

impl Process {
    /// Starts `program` as a worker with `socket` as its standard input.
    pub(super) fn start(program: &Path, socket: OwnedFd) -> io::Result<Self> {
        let child = Command::new(program)
            .arg("worker")
            .stdin(Stdio::from(socket))
            .stdout(Stdio::null())
            .stderr(Stdio::inherit())
            .spawn()?;
        let id = child.id();
        Ok(Self { child: Mutex::new(child), id })
    }

    /// Ends it, whatever it does.
    pub(super) fn kill(&self) {
        // An error means that it has ended.
        let _ = self.child.lock().unwrap_or_else(PoisonError::into_inner).kill();
    }

    /// How it ended, if it has; it is gone from the system's table then.
    pub(super) fn ended(&self) -> Option<ExitStatus> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner).try_wait().ok().flatten()
    }

    /// Waits for its end, not for ever.
    pub(super) fn reap(&self) -> Option<ExitStatus> {
        let begun = Instant::now();
        let mut pause = Duration::from_micros(200);
        loop {
            if let Some(status) = self.ended() {
                return Some(status);
            }
            if begun.elapsed() > REAP_LIMIT {
                return None;
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(20));
        }
    }
}

/// A process never outlives its owner.
impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        if self.ended().is_none()
            && let Some(pid) = i32::try_from(self.id).ok().and_then(rustix::process::Pid::from_raw)
        {
            // On a busy machine the end of a process may take its time; one that nobody waits for stays in the system's table.
            let reap = move || {
                let _ = rustix::process::waitpid(Some(pid), rustix::process::WaitOptions::empty());
            };
            let _ = std::thread::Builder::new().name("vigil-reap".into()).spawn(reap);
        }
    }
}

/// What an exit status says, to go on after "the engine's process".
pub(super) fn describe(status: Option<ExitStatus>) -> String {
    let Some(status) = status else {
        return "was killed and does not end".into();
    };
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("ended with exit code {code}"),
        (None, Some(signal)) => match name(signal) {
            Some(name) => format!("was killed by signal {signal} ({name})"),
            None => format!("was killed by signal {signal}"),
        },
        (None, None) => "ended".into(),
    }
}

fn name(signal: i32) -> Option<&'static str> {
    Some(match signal {
        libc::SIGABRT => "SIGABRT, it gave up",
        libc::SIGBUS => "SIGBUS, a bad memory access",
        libc::SIGFPE => "SIGFPE, a bad division",
        libc::SIGILL => "SIGILL, an instruction that this processor does not have",
        libc::SIGKILL => "SIGKILL",
        libc::SIGSEGV => "SIGSEGV, a bad memory access",
        libc::SIGTERM => "SIGTERM",
        _ => return None,
    })
}
