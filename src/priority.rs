//! Work that stands back behind the threads which carry video.

use std::panic::resume_unwind;
use std::sync::{Mutex, PoisonError};
use std::thread;

/// The niceness of work in the background: it gets about a tenth of the processor time of a normal thread that wants
/// the same processor.
pub const NICENESS: u8 = 10;

/// Runs `work` on a thread of lower priority (nice 10 for that thread alone) and waits for it. Threads that `work` starts
/// inherit the niceness, and only the privileged can take it back: start none there that are to serve video. Where the
/// system gives no thread, the work is done on this one. A panic of `work` goes on here.
pub fn at_low_priority<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    // Taken by whoever does it: a thread that cannot be started must not take the work along.
    let waiting = Mutex::new(Some(work));
    let take = || waiting.lock().unwrap_or_else(PoisonError::into_inner).take();
    let done = thread::scope(|scope| {
        let low = || {
            lower(NICENESS);
            take().map(|work| work())
        };
        match thread::Builder::new().name("vigil-low".into()).spawn_scoped(scope, low) {
            Ok(thread) => thread.join().unwrap_or_else(|panic| resume_unwind(panic)),
            Err(_) => None,
        }
    });
    match done.or_else(|| take().map(|work| work())) {
        Some(done) => done,
        // Either the thread took the work, or it is done here.
        None => unreachable!("work is done once"),
    }
}

/// Gives this thread at least that niceness, 0..19, for good: only the privileged can take it back. Threads that it starts
/// inherit it. Linux counts niceness by thread, whatever the standard says about processes.
pub fn lower(niceness: u8) {
    let now = rustix::process::getpriority_process(None).unwrap_or(0);
    if now < niceness.into() {
        // Where it is refused the work is done all the same.
        let _ = rustix::process::setpriority_process(None, niceness.into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn niceness() -> i32 {
        rustix::process::getpriority_process(None).unwrap()
    }

    #[test]
    fn work_is_nice_and_who_waits_for_it_is_not() {
        let before = niceness();
        let text = String::from("borrowed");
        let (inside, length) = at_low_priority(|| (niceness(), text.len()));
        assert_eq!((inside, length), (before.max(NICENESS.into()), 8));
        assert_eq!(niceness(), before);
        // Not of the process either.
        assert_eq!(thread::spawn(niceness).join().unwrap(), before);
    }

    #[test]
    #[should_panic(expected = "in the background")]
    fn a_panic_of_the_work_goes_on() {
        at_low_priority(|| panic!("in the background"));
    }
}
