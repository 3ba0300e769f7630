//! What an analysis counts and times.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::post::GuardCounts;
use crate::result::Freshness;
use crate::telemetry::Histogram;

/// Running counts; written from all threads.
#[derive(Debug, Default)]
pub struct Stats {
    /// Pre-processing, nanoseconds per frame.
    pub pre: Histogram,
    /// Waiting for a lane, nanoseconds per frame.
    pub queue: Histogram,
    /// Running the model, nanoseconds per frame.
    pub run: Histogram,
    /// Decoding, nanoseconds per frame.
    pub post: Histogram,
    /// From coming in to going out, nanoseconds per frame.
    pub total: Histogram,
    fresh: AtomicU64,
    held: AtomicU64,
    absent: AtomicU64,
    errors: AtomicU64,
    objects: AtomicU64,
    passed: [AtomicU64; 4],
    dropped: Mutex<GuardCounts>,
}

/// Why the model does not look at a frame that it could look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Passed {
    /// `interval` skips it.
    Interval,
    /// `max-fps` frames are analysed in a second.
    Budget,
    /// As many frames of its own as may be are in the engine.
    Busy,
    /// Others who share the engine come first.
    Turn,
}

impl Passed {
    /// All reasons, with their names in statistics.
    pub const ALL: [(Self, &str); 4] =
        [(Self::Interval, "interval"), (Self::Budget, "budget"), (Self::Busy, "busy"), (Self::Turn, "turn")];
}

/// A stage's times.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Times {
    /// Half of the frames took at most this long, nanoseconds.
    pub median_ns: u64,
    /// 99 of 100 frames took at most this long, nanoseconds.
    pub p99_ns: u64,
    /// The slowest frame, nanoseconds.
    pub max_ns: u64,
}

/// The counts at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// Frames that came out.
    pub frames: u64,
    /// Frames that the model saw.
    pub fresh: u64,
    /// Frames that hold an earlier result.
    pub held: u64,
    /// Frames without a result.
    pub absent: u64,
    /// Frames on which the engine failed.
    pub errors: u64,
    /// Objects that the model looked at, where it looks at objects.
    pub objects: u64,
    /// Frames in the engine right now.
    pub in_flight: usize,
    /// Frames that the model did not look at although it could have, by reason, in the order of [`Passed::ALL`].
    pub passed: [u64; 4],
    /// Values that were dropped as impossible.
    pub dropped: GuardCounts,
    /// Times by stage: `pre`, `queue`, `run`, `post`, `total`.
    pub times: [(&'static str, Times); 5],
}

impl Stats {
    /// Counts a frame that comes out.
    pub(super) fn count(&self, freshness: &Freshness, failed: bool, elapsed_ns: u64) {
        let kind = match freshness {
            Freshness::Fresh => &self.fresh,
            Freshness::Held { .. } => &self.held,
            Freshness::Absent(_) => &self.absent,
        };
        kind.fetch_add(1, Ordering::Relaxed);
        if failed {
            self.errors.fetch_add(1, Ordering::Relaxed);
        }
        self.total.record(elapsed_ns);
    }

    pub(super) fn pass(&self, why: Passed) {
        if let Some(count) = self.passed.get(why as usize) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(super) fn looked_at(&self, objects: usize) {
        self.objects.fetch_add(objects as u64, Ordering::Relaxed);
    }

    pub(super) fn guard(&self, dropped: &GuardCounts) {
        if dropped.total() > 0 {
            *self.dropped.lock().unwrap_or_else(PoisonError::into_inner) += *dropped;
        }
    }

    pub(super) fn snapshot(&self, in_flight: usize) -> Snapshot {
        let times =
            |h: &Histogram| Times { median_ns: h.quantile_ns(0.5), p99_ns: h.quantile_ns(0.99), max_ns: h.max_ns() };
        let get = |a: &AtomicU64| a.load(Ordering::Relaxed);
        let (fresh, held, absent) = (get(&self.fresh), get(&self.held), get(&self.absent));
        Snapshot {
            frames: fresh + held + absent,
            fresh,
            held,
            absent,
            errors: get(&self.errors),
            objects: get(&self.objects),
            in_flight,
            passed: self.passed.each_ref().map(get),
            dropped: *self.dropped.lock().unwrap_or_else(PoisonError::into_inner),
            times: [
                ("pre", times(&self.pre)),
                ("queue", times(&self.queue)),
                ("run", times(&self.run)),
                ("post", times(&self.post)),
                ("total", times(&self.total)),
            ],
        }
    }
}
