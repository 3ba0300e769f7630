//! Processor time.

use std::time::Duration;

/// Processor time that this process has spent so far, in all its threads, in user and in system mode.
pub fn processor_time() -> Duration {
    // SAFETY: an all-zero rusage is a valid value of that plain C struct, and the call only writes to it.
    let usage = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        libc::getrusage(libc::RUSAGE_SELF, &mut usage);
        usage
    };
    let time = |t: libc::timeval| Duration::new(t.tv_sec as u64, t.tv_usec as u32 * 1000);
    time(usage.ru_utime) + time(usage.ru_stime)
}
