//! Where tests see what the store does to the disk, and cut it short.

use std::cell::{Cell, RefCell};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use super::disk::Step;

/// The variable by which a test tells its child process the number of the step before which it dies, from 1.
pub(super) const KILL_AT: &str = "VIGIL_TEST_KILL_AT";

/// A step that was taken: what, to which path, and where to.
pub(super) type Taken = (Step, PathBuf, Option<PathBuf>);

/// Is told of each step before it is taken.
type Watch = Box<dyn FnMut(Step, &Path)>;

thread_local! {
    static LOG: RefCell<Vec<Taken>> = const { RefCell::new(Vec::new()) };
    static FAIL: Cell<Option<(usize, i32)>> = const { Cell::new(None) };
    static WATCH: RefCell<Option<Watch>> = const { RefCell::new(None) };
}

/// Called before each thing that is done to the disk.
pub(super) fn step(kind: Step, path: &Path, to: Option<&Path>) -> io::Result<()> {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    if let Some(at) = std::env::var(KILL_AT).ok().and_then(|n| n.parse::<usize>().ok())
        && COUNT.fetch_add(1, Ordering::SeqCst) + 1 == at
    {
        let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    }
    if matches!(kind, Step::MakeDir | Step::Create | Step::Write | Step::Sync)
        && let Some((left, errno)) = FAIL.get()
    {
        if left <= 1 {
            return Err(io::Error::from_raw_os_error(errno));
        }
        FAIL.set(Some((left - 1, errno)));
    }
    WATCH.with_borrow_mut(|watch| {
        if let Some(watch) = watch {
            watch(kind, path);
        }
    });
    LOG.with_borrow_mut(|log| log.push((kind, path.into(), to.map(Path::to_path_buf))));
    Ok(())
}

/// What this thread has done since the last call.
pub(super) fn taken() -> Vec<Taken> {
    LOG.take()
}

/// Lets the `n`th step that takes room (from 1) fail on this thread with `errno`, and whatever takes room after it; `None`
/// ends that.
pub(super) fn fail_at(n: Option<(usize, i32)>) {
    FAIL.set(n);
}

/// Has this thread's steps told to `by` while `work` goes on.
pub(super) fn watched<T>(by: impl FnMut(Step, &Path) + 'static, work: impl FnOnce() -> T) -> T {
    WATCH.set(Some(Box::new(by)));
    let done = work();
    WATCH.set(None);
    done
}
