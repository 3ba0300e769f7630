//! The policy's own time.

/// How much older than the newest reading of the clock another thread's may be.
const JITTER_NS: u64 = 1_000_000_000;

/// The time since the policy was made, which never runs back whatever the element's clock does.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Time {
    /// The reading of the element's clock that belongs to `elapsed`.
    pub read_ns: u64,
    /// Nanoseconds: the sum of all steps forward. 128 bits, so that no clock that jumps to its end and back makes it
    /// stand still.
    pub elapsed: u128,
}

impl Time {
    /// Takes a reading; nanoseconds since the one before.
    pub fn advance(&mut self, now: u64) -> u64 {
        if now < self.read_ns && self.read_ns - now <= JITTER_NS {
            return 0;
        }
        let step = now.saturating_sub(self.read_ns);
        self.read_ns = now;
        self.elapsed += u128::from(step);
        step
    }

    /// What the clock that is read now would have shown at an earlier time.
    pub fn reading_at(&self, elapsed: u128) -> u64 {
        let ago = u64::try_from(self.elapsed.saturating_sub(elapsed)).unwrap_or(u64::MAX);
        self.read_ns.saturating_sub(ago)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn a_slightly_older_reading_counts_as_the_newest() {
        let mut time = Time::default();
        assert_eq!(time.advance(10 * SECOND), 10 * SECOND);
        assert_eq!(time.advance(9 * SECOND), 0);
        assert_eq!(time.advance(10 * SECOND + 1), 1);
        assert_eq!(time.elapsed, u128::from(10 * SECOND + 1));
    }

    #[test]
    fn a_clock_that_jumps_back_is_followed_from_there() {
        let mut time = Time::default();
        time.advance(100 * SECOND);
        assert_eq!(time.advance(5 * SECOND), 0);
        assert_eq!(time.advance(6 * SECOND), SECOND);
        assert_eq!(time.elapsed, u128::from(101 * SECOND));
        assert_eq!(time.reading_at(u128::from(100 * SECOND)), 5 * SECOND);
        assert_eq!(time.reading_at(0), 0);
    }

    #[test]
    fn jumps_to_the_end_of_the_clock_and_back_do_not_stop_it() {
        let mut time = Time::default();
        for _ in 0..5 {
            time.advance(u64::MAX);
            time.advance(0);
        }
        assert_eq!(time.advance(7), 7);
        assert_eq!(time.elapsed, 5 * u128::from(u64::MAX) + 7);
    }
}
