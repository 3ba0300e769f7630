//! What the shipper asks of a spool.

use std::time::{Duration, Instant};

use super::hand::{Batch, Settled};
use super::state::Order;
use super::{Notice, ShipControl, Spool, wait};

/// How many records the shipper takes at once.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Size {
    pub records: usize,
    pub bytes: usize,
    /// Most records from the disk.
    pub from_disk: usize,
}

impl Spool {
    /// Records to send; waits for them for at most `limit`, and no longer than until something is asked of the shipper.
    pub(crate) fn take(&self, order: Order, size: Size, limit: Duration) -> Option<Batch> {
        let until = Instant::now() + limit;
        let mut inner = self.shared.lock();
        let hurry = inner.ship.hurry;
        loop {
            let batch = inner.state.take(order, size.records, size.bytes, size.from_disk);
            if inner.state.to_read(|_| true).is_some() && !std::mem::replace(&mut inner.writer_called, true) {
                self.shared.write.notify_all();
            }
            let left = until.saturating_duration_since(Instant::now());
            if batch.is_some() || left.is_zero() || inner.ship.stop || inner.ship.hurry != hurry {
                return batch;
            }
            inner.ship_waits = Some(order);
            inner = wait(&self.shared.ship, inner, left);
            inner.ship_waits = None;
        }
    }

    /// Lets records gather for `time`, unless one comes that must not wait.
    pub(crate) fn gather(&self, time: Duration) {
        let until = Instant::now() + time;
        let mut inner = self.shared.lock();
        let hurry = inner.ship.hurry;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() || inner.state.is_urgent() || inner.ship.stop || inner.ship.hurry != hurry {
                return;
            }
            inner = wait(&self.shared.ship, inner, left);
        }
    }

    /// Waits for `time`, or until something is asked of the shipper.
    pub(crate) fn rest(&self, time: Duration, hurry: u64) {
        let until = Instant::now() + time;
        let mut inner = self.shared.lock();
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() || inner.ship.stop || inner.ship.hurry != hurry {
                return;
            }
            inner = wait(&self.shared.ship, inner, left);
        }
    }

    /// The first `count` records that were taken are done with.
    pub(crate) fn settle(&self, count: usize, settled: Settled) {
        let now = self.shared.clock.now().monotonic;
        let mut inner = self.shared.lock();
        inner.state.settle(count, settled, now);
        let write = inner.writer_waits && !std::mem::replace(&mut inner.writer_called, true);
        drop(inner);
        self.shared.done.notify_all();
        if write {
            self.shared.write.notify_all();
        }
    }

    /// What was taken and not settled is to be sent again.
    pub(crate) fn put_back(&self) {
        self.shared.lock().state.put_back();
    }

    /// Records that were committed since the start.
    pub(crate) fn committed(&self) -> u64 {
        self.shared.lock().state.counters.committed
    }

    /// Whether something is on the disk.
    pub(crate) fn has_backlog(&self) -> bool {
        self.shared.lock().state.waiting().iter().any(|(_, disk)| *disk > 0)
    }

    /// What is asked of the shipper and what it says, for a moment under the lock.
    pub(crate) fn control<T>(&self, what: impl FnOnce(&mut ShipControl) -> T) -> T {
        let result = what(&mut self.shared.lock().ship);
        self.shared.ship.notify_all();
        self.shared.done.notify_all();
        result
    }

    /// Whether the shipper is to stop, and how many drains were asked for.
    pub(crate) fn control_now(&self) -> (bool, u64) {
        let inner = self.shared.lock();
        (inner.ship.stop, inner.ship.hurry)
    }

    /// Waits, at most for `limit`, until all that was pushed before is done with; `give_up` ends it sooner. `None` if the time
    /// is over.
    pub(crate) fn wait_until_empty(&self, limit: Duration, give_up: impl Fn(&ShipControl) -> bool) -> Option<bool> {
        let until = Instant::now() + limit;
        let mut inner = self.shared.lock();
        let serial = inner.state.next_serial();
        // Once none of them is in memory, they are on the disk at most up to these numbers.
        let mut ends = None;
        loop {
            if ends.is_none() && inner.state.is_safe(serial) {
                ends = Some(inner.state.ends());
            }
            if ends.is_some_and(|ends| inner.state.is_done(&ends)) {
                return Some(true);
            }
            if give_up(&inner.ship) {
                return Some(false);
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            inner = wait(&self.shared.done, inner, left);
        }
    }

    /// Waits until the shipper's thread is gone; `false` if it takes longer than `limit`.
    pub(crate) fn wait_for_shipper(&self, limit: Duration) -> bool {
        let until = Instant::now() + limit;
        let mut inner = self.shared.lock();
        while inner.ship.running {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            inner = wait(&self.shared.done, inner, left);
        }
        true
    }
}

impl Notice {
    /// Records are kept back or lost.
    pub(crate) fn degraded(text: impl Into<String>) -> Self {
        Self { degraded: true, text: text.into() }
    }
}
