//! Latencies counted in buckets of about equal relative width (log-linear, after Tene's HdrHistogram).

use std::sync::atomic::{AtomicU64, Ordering};

/// Buckets per doubling are `1 << SUB_BITS`.
const SUB_BITS: u32 = 5;
/// Values from `1 << MAX_BITS` ns (69 s) upwards share the last bucket.
const MAX_BITS: u32 = 36;
const BUCKETS: usize = ((MAX_BITS - SUB_BITS + 1) as usize) << SUB_BITS;

/// Upper bounds of the buckets in which latencies are told to others, nanoseconds: 1 ms to 5 s, three in a factor of ten.
pub const LATENCY_BOUNDS_NS: [u64; 12] = [
    1_000_000,
    2_000_000,
    5_000_000,
    10_000_000,
    20_000_000,
    50_000_000,
    100_000_000,
    200_000_000,
    500_000_000,
    1_000_000_000,
    2_000_000_000,
    5_000_000_000,
];

/// A histogram as others want it: how many durations do not exceed each of some bounds.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Cumulative {
    /// How many durations are not longer than each bound, in the order of the bounds.
    pub counts: Vec<u64>,
    /// All durations; never less than any of `counts`.
    pub count: u64,
    /// The sum of all durations, nanoseconds.
    pub sum_ns: u64,
}

impl Cumulative {
    /// How many durations lie between each bound and the one before, by upper bound in seconds, the last one infinite: what
    /// `prometheus_client`'s `encode_histogram` takes. `bounds_ns` are those that the counts were asked for.
    pub fn buckets(&self, bounds_ns: &[u64]) -> Vec<(f64, u64)> {
        let bounds = bounds_ns.iter().map(|ns| *ns as f64 / 1e9).chain([f64::INFINITY]);
        let mut below = 0;
        let apart = self.counts.iter().chain([&self.count]).map(|count| {
            let between = count.saturating_sub(below);
            below = *count;
            between
        });
        bounds.zip(apart).collect()
    }
}

/// What is told of latencies that were counted: the same everywhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Latencies {
    /// Half of them were at most this long, nanoseconds.
    pub median_ns: u64,
    /// 95 of 100 were at most this long, nanoseconds.
    pub p95_ns: u64,
    /// 99 of 100 were at most this long, nanoseconds.
    pub p99_ns: u64,
    /// The longest, nanoseconds.
    pub max_ns: u64,
    /// The sum of all, nanoseconds.
    pub sum_ns: u64,
    /// How many were not longer than each of [`LATENCY_BOUNDS_NS`], and all of them last: the counts rise.
    pub buckets: [u64; LATENCY_BOUNDS_NS.len() + 1],
}

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

    /// The sum of all durations, in nanoseconds.
    pub fn sum_ns(&self) -> u64 {
        self.sum.load(Ordering::Relaxed)
    }

    /// How many durations do not exceed each of `bounds_ns`, which rise.
    ///
    /// A duration counts as the upper limit of its bucket here, so one that is less than 1/32 below a bound may be counted as
    /// above it, never the other way round. What is recorded meanwhile may be in or not, but all counts are of one pass: they rise with
    /// the bounds, and from one call to the next.
    pub fn cumulative(&self, bounds_ns: &[u64]) -> Cumulative {
        // The last bucket has no upper limit.
        let limits = (0..BUCKETS).map(|i| if i + 1 == BUCKETS { u64::MAX } else { highest(i) });
        let mut buckets = limits.zip(self.buckets.iter().map(|b| b.load(Ordering::Relaxed))).peekable();
        let mut count = 0;
        let counts = bounds_ns.iter().map(|bound| {
            while let Some((_, more)) = buckets.next_if(|(limit, _)| limit <= bound) {
                count += more;
            }
            count
        });
        let counts = counts.collect();
        count += buckets.map(|(_, more)| more).sum::<u64>();
        Cumulative { counts, count, sum_ns: self.sum_ns() }
    }

    /// What is told of latencies. Quantiles and counts are of different moments where others record meanwhile.
    pub fn latencies(&self) -> Latencies {
        let Cumulative { counts, count, sum_ns } = self.cumulative(&LATENCY_BOUNDS_NS);
        let mut buckets = [count; LATENCY_BOUNDS_NS.len() + 1];
        buckets.iter_mut().zip(counts).for_each(|(bucket, count)| *bucket = count);
        Latencies {
            median_ns: self.quantile_ns(0.5),
            p95_ns: self.quantile_ns(0.95),
            p99_ns: self.quantile_ns(0.99),
            max_ns: self.max_ns(),
            sum_ns,
            buckets,
        }
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
    fn durations_below_each_bound_are_counted_at_most_a_thirtysecond_off() {
        let h = Histogram::new();
        assert_eq!(h.cumulative(&LATENCY_BOUNDS_NS).counts, [0; LATENCY_BOUNDS_NS.len()]);
        assert_eq!(h.cumulative(&[]), Cumulative::default());
        let values: Vec<u64> = (1..=3000u64).map(|k| k * k * 1000).collect();
        values.iter().for_each(|v| h.record(*v));
        let found = h.cumulative(&LATENCY_BOUNDS_NS);
        assert_eq!((found.count, found.sum_ns), (3000, values.iter().sum()));
        for (bound, got) in LATENCY_BOUNDS_NS.iter().zip(&found.counts) {
            let below = |bound: u64| values.iter().filter(|v| **v <= bound).count() as u64;
            assert!(*got <= below(*bound) && *got >= below(bound - bound / 32), "{got} below {bound}");
        }
    }

    #[test]
    fn exact_values_are_below_their_own_bound_and_huge_ones_below_none() {
        let h = Histogram::new();
        [3, 3, 40, (1 << MAX_BITS) + 5, u64::MAX / 2].iter().for_each(|v| h.record(*v));
        let found = h.cumulative(&[2, 3, 39, 40, 1 << 35, 1 << MAX_BITS, u64::MAX - 1]);
        assert_eq!((found.counts.clone(), found.count), (vec![0, 2, 2, 3, 3, 3, 3], 5));
        let apart = found.buckets(&[2, 3, 39, 40, 1 << 35, 1 << MAX_BITS, u64::MAX - 1]);
        assert_eq!(apart.iter().map(|(_, count)| *count).collect::<Vec<_>>(), [0, 2, 0, 1, 0, 0, 0, 2]);
        assert_eq!((apart[1].0, apart[7].0), (3e-9, f64::INFINITY));
        let sum = 46 + (1 << MAX_BITS) + 5 + u64::MAX / 2;
        assert_eq!((found.sum_ns, h.sum_ns()), (sum, sum));
    }

    #[test]
    fn latencies_are_told_with_quantiles_and_rising_counts() {
        let h = Histogram::new();
        assert_eq!(h.latencies(), Latencies::default());
        // Each far enough below its bound.
        LATENCY_BOUNDS_NS.iter().for_each(|bound| h.record(bound / 4 * 3));
        h.record(9_000_000_000);
        let told = h.latencies();
        assert_eq!(told.buckets, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13]);
        let sum = LATENCY_BOUNDS_NS.iter().sum::<u64>() / 4 * 3 + 9_000_000_000;
        assert_eq!((told.max_ns, told.sum_ns), (9_000_000_000, sum));
        let h = Histogram::new();
        (1..=100u64).for_each(|ms| h.record(ms * 1_000_000));
        let told = h.latencies();
        for (got, ms) in [(told.median_ns, 50), (told.p95_ns, 95), (told.p99_ns, 99)] {
            let exact = ms * 1_000_000;
            assert!(got >= exact && got - exact <= exact / 32, "{got} for {exact}");
        }
    }

    #[test]
    fn counts_rise_with_the_bounds_while_others_record() {
        let h = Histogram::new();
        std::thread::scope(|scope| {
            let writer = scope.spawn(|| (0..200_000u64).for_each(|i| h.record(i * 31)));
            let mut last = Cumulative { counts: vec![0; 3], ..Cumulative::default() };
            while !writer.is_finished() {
                let now = h.cumulative(&[1000, 100_000, 3_000_000]);
                assert!(now.counts.is_sorted() && now.counts.iter().all(|c| *c <= now.count), "{now:?}");
                assert!(now.count >= last.count && now.counts.iter().zip(&last.counts).all(|(now, last)| now >= last));
                last = now;
            }
        });
        assert_eq!(h.cumulative(&[u64::MAX]).counts, [200_000]);
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
