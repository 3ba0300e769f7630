//! The thread that takes records from a spool and sends them to their receiver, for as long as it takes.
//!
//! A receiver that fails is tried again after a wait that doubles; the records wait in the spool. What it refuses for good is
//! found by halving the batch, dropped and counted. The thread holds no lock while it calls the receiver or the report.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use super::backoff::Backoff;
use super::remote::{Remote, RemoteError};
use super::sink::Clock;
use super::spool::{Bucket, Notice, Order, Report, Settled, Size, Spool};
use super::writer::Drained;

/// Most records, and most bytes of them, in one call of the receiver.
const BATCH: (usize, usize) = (256, 256 << 10);
/// How long a receiver may take for one batch.
const SEND: Duration = Duration::from_secs(30);
/// How often an idle receiver's `tick` is called.
const TICK: Duration = Duration::from_secs(1);
/// How long it may take.
const TICK_LIMIT: Duration = Duration::from_secs(10);
/// For how long records gather after a batch that was not full: each call costs time on both sides.
const GATHER: Duration = Duration::from_millis(10);
/// How often it is looked whether the rate lets more through.
const REFILL: Duration = Duration::from_millis(20);
/// Wait after the first failure, and the longest: one try costs next to nothing, and whoever mends a broker wants to see it.
const BACKOFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(15));
/// How long a receiver gets to say good-bye.
const GOODBYE: Duration = Duration::from_secs(2);

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
    /// Whether the last call worked.
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
    /// tried once more, at once, and not waited for any longer: its records stay in the spool.
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

/// The thread's own state.
struct Worker<'a> {
    spool: &'a Spool,
    remote: Box<dyn Remote>,
    pace: Pace,
    clock: &'a dyn Clock,
    report: &'a Report,
    counters: &'a Counters,
    backoff: Backoff,
    bucket: Bucket,
    degraded: bool,
    /// The last call of the receiver.
    called: Duration,
    /// Drains that were followed.
    hurry: u64,
}

impl<'a> Worker<'a> {
    fn new(
        spool: &'a Spool,
        remote: Box<dyn Remote>,
        pace: Pace,
        clock: &'a dyn Clock,
        report: &'a Report,
        counters: &'a Counters,
    ) -> Self {
        let now = clock.now();
        Self {
            spool,
            remote,
            pace,
            clock,
            report,
            counters,
            backoff: Backoff::varied(BACKOFF.0, BACKOFF.1, now.utc_ns),
            bucket: Bucket::new(pace.replay_rate),
            degraded: false,
            called: now.monotonic,
            hurry: spool.control(|ship| ship.hurry),
        }
    }

    fn run(mut self) {
        loop {
            let (stop, hurry) = self.spool.control_now();
            if stop {
                break;
            }
            let now = self.clock.now().monotonic;
            self.bucket.refill(now, self.spool.committed());
            let hurried = std::mem::replace(&mut self.hurry, hurry) != hurry;
            let left = self.backoff.left(now);
            if !left.is_zero() && !hurried {
                self.spool.rest(left.min(TICK), hurry);
                continue;
            }
            self.ship(now);
        }
        self.remote.close(GOODBYE);
    }

    /// Sends one batch, or waits for it and ticks.
    fn ship(&mut self, now: Duration) {
        let from_disk = self.bucket.allows();
        let limited = from_disk < BATCH.0 && self.spool.has_backlog();
        // While it fails there may be nothing to send, but whoever asked for a try gets one.
        let wait = match (self.backoff.is_failing(), limited) {
            (true, _) => Duration::ZERO,
            (false, true) => REFILL,
            (false, false) => TICK.saturating_sub(now.saturating_sub(self.called)),
        };
        let size = Size { records: BATCH.0, bytes: BATCH.1, from_disk };
        match self.spool.take(self.pace.order, size, wait.max(Duration::from_millis(1))) {
            Some(batch) => {
                let full = batch.records.len() >= BATCH.0 / 2;
                if batch.from_disk {
                    self.bucket.took(batch.records.len());
                }
                if self.send(&batch.records, batch.from_disk) && !full && !batch.from_disk {
                    self.spool.gather(GATHER);
                }
            }
            None => {
                let now = self.clock.now().monotonic;
                if self.backoff.is_failing() || now.saturating_sub(self.called) >= TICK {
                    let result = self.remote.tick(TICK_LIMIT);
                    self.note(result);
                }
            }
        }
        self.notice_recovery();
    }

    /// Sends `records`, in smaller and smaller parts where they are refused; whether all are settled.
    fn send(&mut self, records: &[super::remote::Outgoing], from_disk: bool) -> bool {
        let mut rest = records;
        let mut size = rest.len();
        while !rest.is_empty() {
            let (part, after) = rest.split_at(size.clamp(1, rest.len()));
            let result = self.remote.send(part, SEND);
            if self.spool.control_now().0 && result.is_err() {
                self.spool.put_back();
                return false;
            }
            match result {
                Ok(()) => {
                    self.count(part, from_disk);
                    self.spool.settle(part.len(), Settled::Acknowledged);
                    self.note(Ok(()));
                    (rest, size) = (after, part.len() * 2);
                }
                Err(RemoteError::Refused(text)) if part.len() == 1 => {
                    self.spool.settle(1, Settled::Refused);
                    self.note(Ok(()));
                    self.degrade(format!("the receiver refused a record, which is dropped and counted: {text}"));
                    rest = after;
                }
                Err(RemoteError::Refused(_)) => size = part.len() / 2,
                Err(error) => {
                    // First, so that whoever waits for the failure finds the records where they belong.
                    self.spool.put_back();
                    self.note(Err(error));
                    return false;
                }
            }
            if self.spool.control_now().0 {
                self.spool.put_back();
                return false;
            }
        }
        true
    }

    fn count(&self, part: &[super::remote::Outgoing], from_disk: bool) {
        let c = self.counters;
        c.batches.fetch_add(1, Ordering::Relaxed);
        c.bytes.fetch_add(part.iter().map(|record| record.body.len() as u64).sum(), Ordering::Relaxed);
        if from_disk {
            c.replayed.fetch_add(part.len() as u64, Ordering::Relaxed);
        }
    }

    /// The outcome of a call of the receiver.
    fn note(&mut self, result: Result<(), RemoteError>) {
        let now = self.clock.now().monotonic;
        self.called = now;
        self.counters.connected.store(result.is_ok(), Ordering::Relaxed);
        let Err(error) = result else { return self.backoff.succeeded() };
        let after = match &error {
            RemoteError::Busy { after, .. } => *after,
            _ => None,
        };
        self.backoff.failed(now, after);
        self.counters.failures.fetch_add(1, Ordering::Relaxed);
        self.degrade(format!("{error}; records are kept in the spool until the receiver takes them"));
        self.spool.control(|ship| ship.failures += 1);
    }

    fn degrade(&mut self, text: String) {
        if !std::mem::replace(&mut self.degraded, true) {
            (self.report)(Notice::degraded(text));
        }
    }

    fn notice_recovery(&mut self) {
        if self.degraded && !self.backoff.is_failing() && !self.spool.has_backlog() {
            self.degraded = false;
            (self.report)(Notice {
                degraded: false,
                text: "the receiver has taken all records that waited".to_string(),
            });
        }
    }
}

#[cfg(test)]
#[path = "shipper_tests.rs"]
mod tests;
