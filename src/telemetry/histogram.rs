//! Latencies counted in buckets of about equal relative width (log-linear, after Tene's HdrHistogram).

use std::sync::atomic::{AtomicU64, Ordering};

/// Buckets per doubling are `1 << SUB_BITS`.
const SUB_BITS: u32 = 5;
/// Values from `1 << MAX_BITS` ns (69 s) upwards share the last bucket.
const MAX_BITS: u32 = 36;
const BUCKETS: usize = ((MAX_BITS - SUB_BITS + 1) as usize) << SUB_BITS;

/// A histogram of durations that any number of threads may record into; no lock, no allocation, 8 KiB.
///
/// Quantiles are exact below 64 ns and at most 1/32 too high above; values over 69 s are only told apart by the maximum.
#[derive(Debug)]
pub struct Histogram {
    buckets: [AtomicU64; BUCKETS],
    sum: AtomicU64,
    max: AtomicU64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self::new()
    }
}

impl Histogram {
    /// An empty histogram.
    pub const fn new() -> Self {
        Self { buckets: [const { AtomicU64::new(0) }; BUCKETS], sum: AtomicU64::new(0), max: AtomicU64::new(0) }
    }

    /// Counts one duration of `ns` nanoseconds.
    pub fn record(&self, ns: u64) {
        if let Some(bucket) = self.buckets.get(index(ns)) {
            bucket.fetch_add(1, Ordering::Relaxed);
        }
        self.sum.fetch_add(ns, Ordering::Relaxed);
        self.max.fetch_max(ns, Ordering::Relaxed);
    }

    /// Durations counted.
    pub fn count(&self) -> u64 {
        self.buckets.iter().map(|b| b.load(Ordering::Relaxed)).sum()
    }

    /// The longest, in nanoseconds; 0 if there is none.
    pub fn max_ns(&self) -> u64 {
        self.max.load(Ordering::Relaxed)
    }

    /// The arithmetic mean in nanoseconds; 0 if there is none.
    pub fn mean_ns(&self) -> u64 {
        self.sum.load(Ordering::Relaxed).checked_div(self.count()).unwrap_or(0)
    }

    /// The smallest bucket limit that at least the share `q` (0..1) of all durations does not exceed, in nanoseconds
    /// and never above the maximum; 0 if there is none.
    pub fn quantile_ns(&self, q: f64) -> u64 {
        let wanted = (q.clamp(0.0, 1.0) * self.count() as f64).ceil().max(1.0) as u64;
        let mut seen = 0;
        for (i, bucket) in self.buckets.iter().enumerate() {
            seen += bucket.load(Ordering::Relaxed);
            if seen >= wanted {
                let last = i + 1 == BUCKETS;
                return if last { self.max_ns() } else { highest(i).min(self.max_ns()) };
            }
        }
        self.max_ns()
    }
}

/// The bucket of a value: itself below `2 << SUB_BITS`, then its `SUB_BITS + 1` leading bits and their place.
fn index(ns: u64) -> usize {
    let bits = u64::BITS - ns.leading_zeros();
    let shift = bits.saturating_sub(SUB_BITS + 1);
    let index = ((shift as usize) << SUB_BITS) + (ns >> shift) as usize;
    index.min(BUCKETS - 1)
}

/// The highest value of a bucket.
fn highest(index: usize) -> u64 {
    let shift = (index >> SUB_BITS).saturating_sub(1) as u32;
    let lead = (index - ((shift as usize) << SUB_BITS)) as u64;
    ((lead + 1) << shift) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_histogram_answers_zero() {
        let h = Histogram::new();
        assert_eq!((h.count(), h.max_ns(), h.mean_ns(), h.quantile_ns(0.5)), (0, 0, 0, 0));
    }

    #[test]
    fn small_values_are_exact() {
        let h = Histogram::new();
        (1..=60).for_each(|v| h.record(v));
        assert_eq!((h.count(), h.max_ns(), h.mean_ns()), (60, 60, 30));
        assert_eq!(h.quantile_ns(0.0), 1);
        assert_eq!(h.quantile_ns(0.5), 30);
        assert_eq!(h.quantile_ns(0.95), 57);
        assert_eq!(h.quantile_ns(1.0), 60);
    }

    #[test]
    fn every_value_lies_in_its_bucket_and_buckets_follow_each_other() {
        for i in 1..BUCKETS {
            assert_eq!(index(highest(i - 1)), i - 1, "highest of {}", i - 1);
            assert_eq!(index(highest(i - 1) + 1), i, "one above the highest of {}", i - 1);
        }
        assert_eq!(highest(BUCKETS - 1), (1 << MAX_BITS) - 1);
    }

    #[test]
    fn quantiles_are_at_most_a_thirtysecond_too_high() {
        // Squares from 1 µs² upwards: the k-th of n is k² × 1000 ns, known without the histogram.
        let h = Histogram::new();
        (1..=1000u64).for_each(|k| h.record(k * k * 1000));
        for percent in [1u64, 10, 50, 90, 99, 100] {
            let exact = (percent * 10) * (percent * 10) * 1000;
            let got = h.quantile_ns(percent as f64 / 100.0);
            assert!(got >= exact && got - exact <= exact / 32, "{percent} %: {got} for {exact}");
        }
    }

    #[test]
    fn huge_values_are_counted_and_the_maximum_is_exact() {
        let h = Histogram::new();
        h.record(5);
        h.record(u64::MAX - 10);
        assert_eq!(
            (h.count(), h.max_ns(), h.quantile_ns(0.5), h.quantile_ns(1.0)),
            (2, u64::MAX - 10, 5, u64::MAX - 10)
        );
    }

    #[test]
    fn threads_lose_no_count() {
        let h = Histogram::new();
        std::thread::scope(|scope| {
            for t in 0..4 {
                let h = &h;
                scope.spawn(move || (0..10_000).for_each(|i| h.record(i * (t + 1))));
            }
        });
        assert_eq!(h.count(), 40_000);
        assert_eq!(h.max_ns(), 9_999 * 4);
    }
}
