//! The delay that a live pipeline must allow for.

/// Frames in a row that must be late before the bound grows: one hiccup is not worth a delay for ever.
const PATIENCE: u32 = 3;

/// An upper bound of the time that frames take, raised when they keep taking longer.
#[derive(Debug, Default)]
pub struct LatencyBound {
    bound_ns: u64,
    late: u32,
    /// The quickest of the late frames.
    least_ns: u64,
}

impl LatencyBound {
    /// Starts from a guess, nanoseconds.
    pub fn new(guess_ns: u64) -> Self {
        Self { bound_ns: guess_ns, ..Self::default() }
    }

    /// The bound, nanoseconds.
    pub fn get(&self) -> u64 {
        self.bound_ns
    }

    /// Makes the bound at least this, nanoseconds; `true` if it has grown.
    pub fn raise(&mut self, to_ns: u64) -> bool {
        let grows = to_ns > self.bound_ns;
        self.bound_ns = self.bound_ns.max(to_ns);
        grows
    }

    /// Takes in what a frame took, nanoseconds; `true` if the bound has grown. It grows by a quarter more than needed,
    /// so that a slowly growing delay does not change it again and again.
    pub fn note(&mut self, took_ns: u64) -> bool {
        if took_ns <= self.bound_ns {
            self.late = 0;
            return false;
        }
        self.least_ns = if self.late == 0 { took_ns } else { self.least_ns.min(took_ns) };
        self.late += 1;
        if self.late < PATIENCE {
            return false;
        }
        self.bound_ns = self.least_ns.saturating_add(self.least_ns / 4);
        self.late = 0;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hiccup_is_forgiven_and_slowness_is_not() {
        let mut bound = LatencyBound::new(100);
        for took in [90, 5000, 5000, 100, 5000, 20, 120, 110] {
            assert!(!bound.note(took), "{took}");
        }
        assert_eq!(bound.get(), 100);
        assert!(bound.note(200), "the third late frame in a row");
        assert_eq!(bound.get(), 110 + 27);
        assert!(!bound.note(137));
        assert!(!bound.note(u64::MAX) && !bound.note(u64::MAX) && bound.note(u64::MAX));
        assert_eq!(bound.get(), u64::MAX);
    }

    #[test]
    fn another_model_may_raise_it_and_never_lowers_it() {
        let mut bound = LatencyBound::new(100);
        assert!(!bound.raise(100) && bound.raise(150) && !bound.raise(20));
        assert_eq!(bound.get(), 150);
    }
}
