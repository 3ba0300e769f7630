//! How fast, how soon: the rate of a replay, and the wait after a failure. Time is an argument.

use std::time::Duration;

/// Records per second that a replay may send beyond those that come in: a token bucket that holds one second's worth.
#[derive(Debug)]
pub struct Bucket {
    rate: u32,
    tokens: f64,
    last: Option<Duration>,
    committed: u64,
}

impl Bucket {
    /// A full bucket of `rate` records per second; 0 lets everything through.
    pub fn new(rate: u32) -> Self {
        Self { rate, tokens: f64::from(rate), last: None, committed: 0 }
    }

    /// Fills up for the time since the last call, and by the records that went to the disk since: `committed` is their
    /// number since the start. So a backlog shrinks by `rate` a second even while more comes than that. What is not
    /// used up before the next call is kept up to one second's worth.
    pub fn refill(&mut self, now: Duration, committed: u64) {
        let rate = f64::from(self.rate);
        let passed = self.last.map_or(Duration::ZERO, |last| now.saturating_sub(last));
        let came = if self.last.is_some() { committed.saturating_sub(self.committed) } else { 0 };
        self.tokens = (self.tokens + passed.as_secs_f64() * rate).min(rate) + came as f64;
        (self.last, self.committed) = (Some(now), committed);
    }

    /// Records that may be sent now.
    pub fn allows(&self) -> usize {
        if self.rate == 0 { usize::MAX } else { self.tokens.max(0.0) as usize }
    }

    /// `records` were sent.
    pub fn took(&mut self, records: usize) {
        self.tokens -= records as f64;
    }
}

/// When something that failed is tried again: after `first`, doubled with each further failure up to `most`.
#[derive(Debug)]
pub struct Backoff {
    first: Duration,
    most: Duration,
    wait: Duration,
    until: Option<Duration>,
    random: u64,
}

impl Backoff {
    /// `seed` makes the waits of two gateways differ.
    pub fn new(first: Duration, most: Duration, seed: u64) -> Self {
        Self { first, most, wait: Duration::ZERO, until: None, random: seed | 1 }
    }

    /// It failed at `now`, and is not to be tried again before `at_least` has passed. The wait is lengthened by up to a
    /// quarter at random, so that a fleet does not come back all at once.
    pub fn failed(&mut self, now: Duration, at_least: Option<Duration>) {
        self.wait = (self.wait * 2).clamp(self.first, self.most);
        let wait = self.wait.max(at_least.unwrap_or_default());
        self.until = Some(now.saturating_add(wait).saturating_add(wait.mul_f64(0.25 * self.share())));
    }

    /// It worked: the next failure is the first one.
    pub fn succeeded(&mut self) {
        (self.wait, self.until) = (Duration::ZERO, None);
    }

    /// Whether the last try failed.
    pub fn is_failing(&self) -> bool {
        self.until.is_some()
    }

    /// How long to wait yet; zero if it may be tried.
    pub fn left(&self, now: Duration) -> Duration {
        self.until.map_or(Duration::ZERO, |until| until.saturating_sub(now))
    }

    /// A number in 0..1 (xorshift64: spread is all that matters here).
    fn share(&mut self) -> f64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random >> 11) as f64 / (1_u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_backlog_shrinks_by_the_rate_whatever_comes_in() {
        let mut bucket = Bucket::new(1000);
        let (mut backlog, mut committed) = (1_000_000_u64, 0_u64);
        bucket.refill(s(0), 0);
        for second in 1..=100 {
            committed += 5000;
            backlog += 5000;
            bucket.refill(s(second), committed);
            let sent = bucket.allows();
            bucket.took(sent);
            backlog -= sent as u64;
        }
        let shrunk = 1_000_000 - backlog;
        assert!((100_000..=101_000).contains(&shrunk), "{shrunk}");
    }

    #[test]
    fn what_was_not_used_is_not_saved_up() {
        let mut bucket = Bucket::new(10);
        bucket.refill(s(0), 0);
        for second in 1..=3600 {
            bucket.refill(s(second), second * 400);
        }
        assert!(bucket.allows() <= 410, "{}", bucket.allows());
        bucket.refill(s(3601), 3600 * 400);
        assert_eq!(bucket.allows(), 10);
        let mut free = Bucket::new(0);
        free.refill(s(1), 0);
        free.took(1_000_000);
        assert_eq!(free.allows(), usize::MAX);
    }

    #[test]
    fn waits_double_up_to_the_most_and_begin_anew() {
        let mut backoff = Backoff::new(s(1), s(60), 7);
        assert_eq!(backoff.left(s(0)), s(0));
        for wait in [1, 2, 4, 8, 16, 32, 60, 60] {
            backoff.failed(s(100), None);
            let left = backoff.left(s(100));
            assert!(left >= s(wait) && left <= s(wait).mul_f64(1.25), "{wait}: {left:?}");
        }
        backoff.failed(s(100), Some(s(600)));
        assert!(backoff.left(s(100)) >= s(600));
        backoff.succeeded();
        assert!(!backoff.is_failing());
        backoff.failed(s(100), None);
        assert!(backoff.left(s(100)) <= s(1).mul_f64(1.25));
    }

    #[test]
    fn two_gateways_wait_differently() {
        let wait = |seed| {
            let mut backoff = Backoff::new(s(1), s(60), seed);
            backoff.failed(s(0), None);
            backoff.left(s(0))
        };
        assert_ne!(wait(3), wait(0x1234_5678_9abc_def1));
    }
}
