//! The machine read now and then on a thread of its own: a sensor, a GPU or a drive over the network may be slow to answer, or hang.

use std::collections::BTreeSet;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::{Device, Reader, Roots};

/// How often the machine is read.
const PERIOD: Duration = Duration::from_secs(10);
/// A reading that is older is none: the machine does not answer any more.
const STALE: Duration = Duration::from_secs(60);

/// What was read last.
#[derive(Debug, Clone, PartialEq)]
pub struct Reading {
    /// What the machine said.
    pub device: Arc<Device>,
    /// How long ago.
    pub age: Duration,
}

type Last = Mutex<Option<(Instant, Arc<Device>)>>;

/// Reads the machine every 10 s. Ends when it is dropped; a reading that hangs is not waited for, neither then nor by who asks.
#[derive(Debug)]
pub struct Watch {
    last: Arc<Last>,
    /// Its end is the thread's end.
    _end: Sender<()>,
}

impl Watch {
    /// Starts. Before each reading `folders` says whose free space is of interest; `failed` is called after one that panicked. Both are
    /// called on the thread of the readings.
    ///
    /// # Errors
    /// If the system gives no thread.
    pub fn start(
        mut folders: impl FnMut() -> BTreeSet<PathBuf> + Send + 'static,
        failed: impl FnMut() + Send + 'static,
    ) -> io::Result<Self> {
        let (mut of, mut reader) = (BTreeSet::new(), None::<Reader>);
        let read = move || {
            let wanted = folders();
            let reader = reader.get_or_insert_with(|| Reader::new(Roots::default(), Vec::new()));
            if wanted != of {
                reader.set_folders(wanted.iter().cloned().collect());
                of = wanted;
            }
            reader.read()
        };
        Self::with(read, failed)
    }

    fn with(read: impl FnMut() -> Device + Send + 'static, failed: impl FnMut() + Send + 'static) -> io::Result<Self> {
        let (end, ended) = channel();
        let last = Arc::default();
        let told = Arc::clone(&last);
        std::thread::Builder::new().name("vigil-device".into()).spawn(move || work(read, failed, &told, &ended))?;
        Ok(Self { last, _end: end })
    }

    /// The last reading, as it is at `now`; `None` before the first, and if it is more than a minute old: a machine that hangs is not what
    /// it was.
    pub fn last(&self, now: Instant) -> Option<Reading> {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let (at, device) = last.as_ref()?;
        let age = now.saturating_duration_since(*at);
        (age <= STALE).then(|| Reading { device: Arc::clone(device), age })
    }
}

fn work(mut read: impl FnMut() -> Device, mut failed: impl FnMut(), last: &Last, ended: &Receiver<()>) {
    loop {
        // What a reader keeps between its readings are numbers and open files, of which none is half of something.
        match catch_unwind(AssertUnwindSafe(&mut read)) {
            Ok(device) => {
                *last.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), Arc::new(device)))
            }
            Err(_) => _ = catch_unwind(AssertUnwindSafe(&mut failed)),
        }
        if !matches!(ended.recv_timeout(PERIOD), Err(RecvTimeoutError::Timeout)) {
            return;
        }
    }
}

#[cfg(test)]
#[path = "watch_tests.rs"]
mod tests;
