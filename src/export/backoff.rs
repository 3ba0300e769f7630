//! How soon: the wait after a failure. Time is an argument.

use std::time::Duration;

use crate::chance::Chance;

/// When something that failed is tried again: after `first`, doubled with each further failure up to `most`.
#[derive(Debug)]
pub struct Backoff {
    first: Duration,
    most: Duration,
    wait: Duration,
    until: Option<Duration>,
    chance: Option<Chance>,
}

impl Backoff {
    /// Waits of exactly these lengths, for what nobody else waits for.
    pub fn new(first: Duration, most: Duration) -> Self {
        Self { first, most, wait: Duration::ZERO, until: None, chance: None }
    }

    /// Waits that are lengthened by up to a quarter at random, so that a fleet does not come back all at once. `seed` makes those of
    /// two gateways differ.
    pub fn varied(first: Duration, most: Duration, seed: u64) -> Self {
        Self { chance: Some(Chance::new(seed)), ..Self::new(first, most) }
    }

    /// It failed at `now`, and is not to be tried again before `at_least` has passed.
    pub fn failed(&mut self, now: Duration, at_least: Option<Duration>) {
        self.wait = (self.wait * 2).clamp(self.first, self.most);
        let wait = self.wait.max(at_least.unwrap_or_default());
        let share = self.chance.as_mut().map_or(0.0, Chance::share);
        self.until = Some(now.saturating_add(wait).saturating_add(wait.mul_f64(0.25 * share)));
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
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn waits_double_up_to_the_most_and_begin_anew() {
        let mut backoff = Backoff::varied(s(1), s(60), 7);
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
            let mut backoff = Backoff::varied(s(1), s(60), seed);
            backoff.failed(s(0), None);
            backoff.left(s(0))
        };
        assert_ne!(wait(3), wait(0x1234_5678_9abc_def1));
    }
}
