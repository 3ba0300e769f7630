//! The shipper's thread.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::super::backoff::Backoff;
use super::super::remote::{Outgoing, Remote, RemoteError};
use super::super::sink::Clock;
use super::super::spool::{Bucket, Notice, Report, Settled, Size, Spool};
use super::again::Again;
use super::portion::Portion;
use super::{Counters, Pace};

/// Most records, and most bytes of them, in one call of the receiver.
const BATCH: (usize, usize) = (256, 256 << 10);
/// How often an idle receiver's `tick` is called.
const TICK: Duration = Duration::from_secs(1);
/// How long it may take.
const TICK_LIMIT: Duration = Duration::from_secs(10);
/// For how long records gather after a batch that was not full: each call costs time on both sides.
const GATHER: Duration = Duration::from_millis(10);
/// How often it is looked whether the rate lets more through, or the rest of a batch is there.
const REFILL: Duration = Duration::from_millis(20);
/// Wait after the first failure, and the longest: one try costs next to nothing, and whoever mends a broker wants to see it.
const BACKOFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(15));
/// How long a receiver gets to say good-bye.
const GOODBYE: Duration = Duration::from_secs(2);

/// What the user has to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trouble {
    /// Wait, or bring the receiver back. It may be away in several ways in turns.
    Away,
    /// Mend the set-up.
    Denied,
    /// Look at the records.
    Refused,
}

impl Trouble {
    fn of(error: &RemoteError) -> Self {
        match error {
            RemoteError::Unreachable(_) | RemoteError::Busy { .. } => Self::Away,
            RemoteError::Denied(_) => Self::Denied,
            RemoteError::Refused(_) => Self::Refused,
        }
    }
}

/// The thread's own state.
pub(super) struct Worker<'a> {
    spool: &'a Spool,
    remote: Box<dyn Remote>,
    pace: Pace,
    clock: &'a dyn Clock,
    report: &'a Report,
    counters: &'a Counters,
    backoff: Backoff,
    bucket: Bucket,
    portion: Portion,
    again: Again,
    /// The trouble that was told, and whether the receiver has taken records since.
    trouble: Option<Trouble>,
    taken: bool,
    /// The last call of the receiver.
    called: Duration,
    /// While it fails: without records it cannot be tried.
    idle: bool,
    /// It has said how long it wants to be left alone.
    asked: bool,
    /// Drains that were followed.
    hurry: u64,
}

impl<'a> Worker<'a> {
    pub fn new(
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
            portion: Portion::new(BATCH),
            again: Again::default(),
            trouble: None,
            taken: false,
            called: now.monotonic,
            idle: false,
            asked: false,
            hurry: spool.control(|ship| ship.hurry),
        }
    }

    /// Sends until it is stopped.
    pub fn run(mut self) {
        loop {
            let (stop, hurry) = self.spool.control_now();
            if stop {
                break;
            }
            let now = self.clock.now().monotonic;
            self.bucket.refill(now, self.spool.committed());
            let hurried = std::mem::replace(&mut self.hurry, hurry) != hurry;
            let left = self.backoff.left(now);
            if !left.is_zero() && (self.asked || !hurried) {
                if hurried {
                    // It would not be taken now: whoever drains need not wait.
                    self.spool.control(|ship| ship.failures += 1);
                }
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
        let at_once = self.backoff.is_failing() && !self.idle;
        let wait = match (at_once, limited) {
            (true, _) => Duration::ZERO,
            (false, true) => REFILL,
            (false, false) => TICK.saturating_sub(now.saturating_sub(self.called)),
        };
        let size = Size { records: BATCH.0, bytes: BATCH.1, from_disk };
        match self.spool.take(self.pace.order, size, wait.max(Duration::from_millis(1))) {
            Some(batch) => match self.again.first(&batch.records) {
                Some(first) => {
                    let full = batch.records.len() >= BATCH.0 / 2;
                    if batch.from_disk {
                        self.bucket.took(batch.records.len());
                    }
                    if self.send(&batch.records, first, batch.from_disk) && !full && !batch.from_disk {
                        self.spool.gather(GATHER);
                    }
                }
                None => {
                    // What follows is read as long as this is in its hands.
                    self.spool.rest(REFILL, self.hurry);
                    self.spool.put_back();
                }
            },
            None => {
                let now = self.clock.now().monotonic;
                if at_once || now.saturating_sub(self.called) >= TICK {
                    self.tick(now);
                }
            }
        }
        self.notice_recovery();
    }

    fn tick(&mut self, now: Duration) {
        match self.remote.tick(TICK_LIMIT) {
            Ok(true) => self.answered(),
            // Nothing is known that was not known before.
            Ok(false) => (self.called, self.idle) = (now, self.backoff.is_failing()),
            Err(error) => self.failed(&error),
        }
    }

    /// Sends `records`, the first `first` of them apart, and all in smaller parts where they are refused; whether all are settled.
    fn send(&mut self, records: &[Outgoing], first: usize, from_disk: bool) -> bool {
        let (mut rest, mut first) = (records, first);
        while !rest.is_empty() {
            let size = self.portion.of(rest).min(first);
            let (part, after) = rest.split_at(size.clamp(1, rest.len()));
            let result = self.remote.send(part, self.remote.send_limit());
            if self.spool.control_now().0 && result.is_err() {
                self.spool.put_back();
                return false;
            }
            match result {
                Ok(()) => {
                    // First, so that whoever waits for the records finds them counted.
                    self.count(part, from_disk);
                    self.answered();
                    self.spool.settle(part.len(), Settled::Acknowledged);
                    self.again.passed(part, from_disk);
                    self.portion.passed(part);
                    self.taken = true;
                    (rest, first) = (after, usize::MAX);
                }
                Err(error @ RemoteError::Refused(_)) if part.len() == 1 => {
                    self.spool.settle(1, Settled::Refused);
                    self.again.passed(part, from_disk);
                    self.portion.found();
                    self.answered();
                    let text = format!("the receiver refused a record, which is dropped and counted: {error}");
                    self.degrade(&error, text);
                    (rest, first) = (after, usize::MAX);
                }
                Err(RemoteError::Refused(_)) => self.portion.refused(part),
                Err(error) => {
                    self.again.failed(part, from_disk);
                    // First, so that whoever waits for the failure finds the records where they belong.
                    self.spool.put_back();
                    self.failed(&error);
                    return false;
                }
            }
            if self.spool.control_now().0 {
                self.spool.put_back();
                return false;
            }
        }
        self.portion.settled();
        true
    }

    fn count(&self, part: &[Outgoing], from_disk: bool) {
        let c = self.counters;
        c.batches.fetch_add(1, Ordering::Relaxed);
        c.bytes.fetch_add(part.iter().map(|record| record.body.len() as u64).sum(), Ordering::Relaxed);
        if from_disk {
            c.replayed.fetch_add(part.len() as u64, Ordering::Relaxed);
        }
    }

    /// The receiver was called, and answered.
    fn answered(&mut self) {
        self.called = self.clock.now().monotonic;
        (self.idle, self.asked) = (false, false);
        self.counters.connected.store(true, Ordering::Relaxed);
        self.backoff.succeeded();
    }

    /// The receiver was called, and failed.
    fn failed(&mut self, error: &RemoteError) {
        let now = self.clock.now().monotonic;
        let after = match error {
            RemoteError::Busy { after, .. } => *after,
            _ => None,
        };
        (self.called, self.idle, self.asked) = (now, false, after.is_some());
        self.counters.connected.store(false, Ordering::Relaxed);
        self.backoff.failed(now, after);
        self.counters.failures.fetch_add(1, Ordering::Relaxed);
        self.degrade(error, format!("{error}; records are kept in the spool until the receiver takes them"));
        self.spool.control(|ship| ship.failures += 1);
    }

    /// Tells of trouble, once for as long as it is the same.
    fn degrade(&mut self, error: &RemoteError, text: String) {
        self.taken = false;
        let trouble = Some(Trouble::of(error));
        if std::mem::replace(&mut self.trouble, trouble) != trouble {
            (self.report)(Notice::degraded(text));
        }
    }

    /// Tells that records get through again: the receiver has taken some, or none are there.
    fn notice_recovery(&mut self) {
        if self.trouble.is_none() || self.backoff.is_failing() {
            return;
        }
        let waiting = self.spool.stats().waiting();
        if self.taken || waiting == 0 {
            self.trouble = None;
            let text = match waiting {
                0 => "the receiver is well again; no record waits for it".to_string(),
                _ => format!("the receiver takes records again; {waiting} that still wait are sent now"),
            };
            (self.report)(Notice { degraded: false, text });
        }
    }
}
