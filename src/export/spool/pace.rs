//! How fast: the rate of a replay. Time is an argument.

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
}
