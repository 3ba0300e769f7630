//! What a worker takes from itself before it does anything else.

use std::io;

use rustix::process::{Resource, Rlimit, Signal};
use rustix::thread::CpuSet;

use crate::engine::EngineError;
use crate::engine::options::{MAX_CPUS, Worker};

/// Closes what the application did not mean to hand on, and ties the worker to it. Called before there is a second
/// thread.
///
/// # Errors
/// If the system refuses what every Linux offers.
pub(super) fn first() -> io::Result<()> {
    close_inherited();
    // Of the thread that started this process, which lives as long as the engine does. If the application died before
    // this line, the socket is closed and the first message never comes.
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    rustix::thread::set_no_new_privs(true)?;
    rustix::process::setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?;
    // The system's OOM killer takes this process before any other.
    std::fs::write("/proc/self/oom_score_adj", "1000")?;
    // Ctrl-C in a terminal is for the application, which ends this process when it is done with it. It fails only for
    // one that a shell has started, which has a group of its own already.
    let _ = rustix::process::setsid();
    Ok(())
}

/// Closes all descriptors but standard input, output and error.
fn close_inherited() {
    // SAFETY: nothing in this process has opened a descriptor yet that it would use later.
    if unsafe { libc::syscall(libc::SYS_close_range, 3_u32, u32::MAX, 0_u32) } == 0 {
        return;
    }
    // Before Linux 5.9.
    let listed = std::fs::read_dir("/proc/self/fd").into_iter().flatten().flatten();
    let open: Vec<i32> = listed.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    for descriptor in open.into_iter().filter(|d| *d > 2) {
        // SAFETY: as above; the listing's own descriptor is closed already, and closing it again is an error only.
        unsafe { libc::close(descriptor) };
    }
}

/// Sets the limits that the user asked for. Called before there is a second thread, since threads inherit them.
///
/// # Errors
/// A text that says which limit the system refuses.
pub(super) fn limit(worker: &Worker) -> Result<(), EngineError> {
    let refused = |what: &str, error: &dyn std::fmt::Display| EngineError::Runtime(format!("{what}: {error}"));
    if worker.memory_max > 0 {
        let most = Rlimit { current: Some(worker.memory_max), maximum: Some(worker.memory_max) };
        rustix::process::setrlimit(Resource::Data, most).map_err(|e| refused("engine-memory-max cannot be set", &e))?;
    }
    if !worker.cpus.is_empty() {
        let mut set = CpuSet::new();
        worker.cpus.iter().filter(|cpu| **cpu < MAX_CPUS).for_each(|cpu| set.set(*cpu));
        rustix::thread::sched_setaffinity(None, &set).map_err(|e| {
            refused(&format!("engine-cpus: none of the processors {:?} can be used here", worker.cpus), &e)
        })?;
    }
    if worker.niceness > 0 {
        rustix::process::nice(i32::from(worker.niceness)).map_err(|e| refused("engine-niceness cannot be set", &e))?;
    }
    Ok(())
}
