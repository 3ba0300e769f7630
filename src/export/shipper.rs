//! The thread that takes records from a spool and sends them to their receiver, for as long as it takes.
//!
//! A receiver that fails is tried again after a wait that doubles; the records wait in the spool, and the same ones come first again.
//! What it refuses for good is found by halving the batch, dropped and counted. The thread holds no lock while it calls the receiver
//! or the report.

mod again;
mod portion;
mod worker;

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use super::remote::Remote;
use super::sink::Clock;
use super::spool::{Notice, Order, Report, Spool};
use super::writer::Drained;
use worker::Worker;

/// In which order, and how fast.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// Whether new records wait behind those on the disk.
    pub order: Order,
    /// Records per second from the disk beyond those that go there meanwhile, so that a backlog shrinks by so many a second
    /// at most; 0 for no limit.
    pub replay_rate: u32,
}

impl Default for Pace {
    fn default() -> Self {
        Self { order: Order::InOrder, replay_rate: 1000 }
    }
}

/// What the shipper has done since the start. Records are counted by the spool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ShipperStats {
    /// Batches that the receiver took.
    pub batches: u64,
    /// Bytes of records that the receiver took.
    pub bytes: u64,
    /// Records of these that came from the disk.
    pub replayed: u64,
    /// Calls of the receiver that failed; a refusal is none.
    pub failures: u64,
    /// Whether the receiver answered the last time that it was tried; `false` before the first time.
    pub connected: bool,
}

#[derive(Default)]
struct Counters {
    batches: AtomicU64,
    bytes: AtomicU64,
    replayed: AtomicU64,
    failures: AtomicU64,
    connected: AtomicBool,
}

/// A running shipper. A spool has one at a time.
pub struct Shipper {
    spool: Arc<Spool>,
    counters: Arc<Counters>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Shipper {
    /// Starts the thread that owns `remote`.
    ///
    /// # Errors
    /// `ResourceBusy` while another one runs for this spool; the system's, if no thread can be started.
    pub fn start(
        spool: Arc<Spool>,
        remote: Box<dyn Remote>,
        pace: Pace,
        clock: Arc<dyn Clock>,
        report: Report,
    ) -> io::Result<Self> {
        let counters = Arc::new(Counters::default());
        if spool.control(|ship| std::mem::replace(&mut ship.running, true)) {
            return Err(io::ErrorKind::ResourceBusy.into());
        }
        spool.control(|ship| ship.stop = false);
        let (own_spool, own, own_end) = (spool.clone(), counters.clone(), spool.clone());
        let thread = std::thread::Builder::new().name("vigil-ship".into()).spawn(move || {
            let spool = own_spool;
            let worked =
                catch_unwind(AssertUnwindSafe(|| Worker::new(&spool, remote, pace, &*clock, &report, &own).run()));
            spool.put_back();
            own.connected.store(false, Ordering::Relaxed);
            if worked.is_err() {
                let text = "the receiver's client panicked; records are kept until the exporter is restarted";
                let _ = catch_unwind(AssertUnwindSafe(|| report(Notice::degraded(text))));
            }
            spool.control(|ship| ship.running = false);
        });
        let thread = thread.inspect_err(|_| own_end.control(|ship| ship.running = false))?;
        Ok(Self { spool, counters, thread: Mutex::new(Some(thread)) })
    }

    /// The counters.
    pub fn stats(&self) -> ShipperStats {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let c = &*self.counters;
        ShipperStats {
            batches: get(&c.batches),
            bytes: get(&c.bytes),
            replayed: get(&c.replayed),
            failures: get(&c.failures),
            connected: c.connected.load(Ordering::Relaxed),
        }
    }

    /// Waits, at most for `limit`, until all that was pushed before is taken, refused or given up. A receiver that fails is
    /// tried once more, at once, unless it has said when it wants to be tried again; it is not waited for any longer: its records stay
    /// in the spool.
    pub fn drain(&self, limit: Duration) -> Drained {
        let failures = self.spool.control(|ship| {
            ship.hurry += 1;
            ship.failures
        });
        match self.spool.wait_until_empty(limit, |ship| ship.failures > failures || !ship.running) {
            Some(true) => Drained::Complete,
            Some(false) => Drained::Failed,
            None => Drained::TimedOut,
        }
    }

    /// Ends the thread; what is not sent stays in the spool. `false` if it takes longer than `limit`, because the receiver
    /// hangs: the thread is then left to itself, and takes nothing more.
    pub fn stop(&self, limit: Duration) -> bool {
        self.spool.control(|ship| ship.stop = true);
        if !self.spool.wait_for_shipper(limit) {
            return false;
        }
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        thread.is_none_or(|thread| thread.join().is_ok())
    }
}

impl Drop for Shipper {
    fn drop(&mut self) {
        // One that was stopped may have a successor; one that was not ends by itself as soon as the receiver returns.
        if self.thread.lock().unwrap_or_else(PoisonError::into_inner).is_some() {
            self.spool.control(|ship| ship.stop = true);
        }
    }
}

#[cfg(test)]
#[path = "shipper_tests.rs"]
mod tests;
