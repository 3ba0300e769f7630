//! What an analysis counts and times.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::Instant;

use crate::post::GuardCounts;
use crate::result::Freshness;
use crate::telemetry::{Histogram, Latencies};

/// What ages are counted from.
static BEGUN: LazyLock<Instant> = LazyLock::new(Instant::now);

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
    /// When the newest frame that the model looked at came in, nanoseconds since [`BEGUN`]; 0 before the first one.
    newest: AtomicU64,
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
    pub times: [(&'static str, Latencies); 5],
    /// Time since the newest frame that the model looked at came in, nanoseconds; `None` before the first one is out.
    pub result_age_ns: Option<u64>,
}

impl Stats {
    /// Counts a frame that comes out, and came in at `since`.
    pub(super) fn count(&self, freshness: &Freshness, failed: bool, since: Instant) {
        let kind = match freshness {
            Freshness::Fresh => &self.fresh,
            Freshness::Held { .. } => &self.held,
            Freshness::Absent(_) => &self.absent,
        };
        kind.fetch_add(1, Ordering::Relaxed);
        if failed {
            self.errors.fetch_add(1, Ordering::Relaxed);
        }
        if *freshness == Freshness::Fresh {
            self.newest.fetch_max(nanos(since.saturating_duration_since(*BEGUN)).max(1), Ordering::Relaxed);
        }
        self.total.record(nanos(since.elapsed()));
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
                ("pre", self.pre.latencies()),
                ("queue", self.queue.latencies()),
                ("run", self.run.latencies()),
                ("post", self.post.latencies()),
                ("total", self.total.latencies()),
            ],
            result_age_ns: Some(get(&self.newest))
                .filter(|newest| *newest > 0)
                .map(|newest| nanos(BEGUN.elapsed()).saturating_sub(newest)),
        }
    }
}

fn nanos(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::result::AbsentReason;
    use std::time::Duration;

    #[test]
    fn the_age_is_that_of_the_newest_frame_that_the_model_looked_at() {
        LazyLock::force(&BEGUN);
        let stats = Stats::default();
        let now = Instant::now() + Duration::from_secs(1000);
        stats.count(&Freshness::Absent(AbsentReason::Skipped), false, now);
        stats.count(&Freshness::Held { age_ns: 1 }, false, now);
        assert_eq!(stats.snapshot(0).result_age_ns, None, "the model has looked at none");
        let early = *BEGUN;
        stats.count(&Freshness::Fresh, false, early);
        let first = stats.snapshot(0).result_age_ns.unwrap();
        assert!(first > 0 && stats.snapshot(0).result_age_ns.unwrap() >= first);
        stats.count(&Freshness::Fresh, false, now);
        stats.count(&Freshness::Fresh, false, early);
        assert_eq!(stats.snapshot(0).result_age_ns, Some(0), "an older frame that comes out late changes nothing");
        assert_eq!((stats.snapshot(0).fresh, stats.snapshot(0).frames), (3, 5));
    }
}
