//! Pauses between attempts: each twice as long as the one before, and each with chance of its own.

use std::time::Duration;

use crate::chance::Chance;

/// Doublings after which a pause is as long as it gets, whatever it was at first.
const DOUBLINGS: u32 = 32;

/// The pauses of one camera. Many that are lost at once, with the network, do not all come back at once: each pause is up to a
/// quarter shorter or longer than its share.
#[derive(Debug, Clone)]
pub struct Backoff {
    first: Duration,
    most: Duration,
    failures: u32,
    chance: Chance,
}

impl Backoff {
    /// Pauses from `first` to `most`. `seed` is any number that is different for each camera.
    pub fn new(first: Duration, most: Duration, seed: u64) -> Self {
        Self { first, most: most.max(first), failures: 0, chance: Chance::new(seed) }
    }

    /// Other bounds from now on.
    pub fn set_bounds(&mut self, first: Duration, most: Duration) {
        (self.first, self.most) = (first, most.max(first));
    }

    /// The pause after another failure.
    pub fn next_pause(&mut self) -> Duration {
        let doubled = self.first.saturating_mul(1_u32.checked_shl(self.failures.min(DOUBLINGS)).unwrap_or(u32::MAX));
        self.failures = self.failures.saturating_add(1);
        self.vary(doubled.min(self.most))
    }

    /// The longest pause, for what does not come back by itself.
    pub fn longest(&mut self) -> Duration {
        self.vary(self.most)
    }

    /// Begins with the first pause again.
    pub fn reset(&mut self) {
        self.failures = 0;
    }

    fn vary(&mut self, pause: Duration) -> Duration {
        pause.mul_f64(0.75 + self.chance.share() / 2.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn around(pause: Duration, middle: Duration) -> bool {
        (middle.mul_f64(0.75)..=middle.mul_f64(1.25)).contains(&pause)
    }

    #[test]
    fn pauses_double_up_to_the_longest_and_begin_anew() {
        let mut backoff = Backoff::new(SECOND, 60 * SECOND, 7);
        for middle in [1, 2, 4, 8, 16, 32, 60, 60] {
            let pause = backoff.next_pause();
            assert!(around(pause, middle * SECOND), "{middle} s: {pause:?}");
        }
        for _ in 0..200 {
            assert!(around(backoff.next_pause(), 60 * SECOND));
        }
        backoff.reset();
        assert!(around(backoff.next_pause(), SECOND));
        assert!(around(backoff.longest(), 60 * SECOND));
    }

    #[test]
    fn two_cameras_do_not_come_back_at_the_same_time() {
        let pauses = |seed| {
            let mut backoff = Backoff::new(SECOND, SECOND, seed);
            (0..8).map(|_| backoff.next_pause()).collect::<Vec<_>>()
        };
        let (a, b) = (pauses(1), pauses(2));
        assert_eq!(a, pauses(1));
        assert!(a.iter().zip(&b).all(|(a, b)| a != b), "{a:?} {b:?}");
        assert!(a.iter().collect::<std::collections::BTreeSet<_>>().len() > 6, "{a:?}");
    }

    #[test]
    fn a_first_pause_over_the_longest_is_the_longest() {
        let mut backoff = Backoff::new(9 * SECOND, SECOND, 3);
        assert!(around(backoff.next_pause(), 9 * SECOND) && around(backoff.next_pause(), 9 * SECOND));
        backoff.set_bounds(Duration::ZERO, Duration::ZERO);
        assert_eq!(backoff.next_pause(), Duration::ZERO);
    }
}
