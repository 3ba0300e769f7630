//! Most frames a second that are looked at.

/// Keeps to a number of frames a second, by the frames' own times. Frames are picked next to the points of an even grid, so
/// that jitter changes nothing: of 25 frames a second exactly every fifth for a limit of 5.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Budget {
    /// Time of the last frame, nanoseconds.
    last: Option<u64>,
    /// Mean time between frames, nanoseconds.
    gap: u64,
    /// When the next frame is due, nanoseconds.
    due: Option<u64>,
}

impl Budget {
    /// A frame comes, with its time in nanoseconds.
    pub(super) fn meet(&mut self, now: u64) {
        match self.last.map(|last| now.checked_sub(last)) {
            Some(Some(gap)) if self.gap == 0 => self.gap = gap,
            // A pause says little about how often frames come.
            Some(Some(gap)) => {
                self.gap = self.gap.saturating_mul(7).saturating_add(gap.min(self.gap.saturating_mul(4))) / 8
            }
            // The stream begins anew.
            Some(None) => *self = Self::default(),
            None => {}
        }
        self.last = Some(now);
    }

    /// Whether the frame that has come last may be looked at, with at most `fps` frames a second.
    pub(super) fn allows(&self, fps: f64) -> bool {
        match (self.last, self.due) {
            // The nearest frame: the next one would be further away.
            (Some(now), Some(due)) => now.saturating_add(self.gap.min(period(fps)) / 2) >= due,
            _ => true,
        }
    }

    /// The frame that has come last is looked at.
    pub(super) fn spend(&mut self, fps: f64) {
        let (Some(now), period) = (self.last, period(fps)) else { return };
        // Time in which none was looked at is not saved up.
        let from = self.due.filter(|due| now < due.saturating_add(period)).unwrap_or(now);
        self.due = Some(from.saturating_add(period));
    }
}

/// Nanoseconds between two frames; a limit that is none is as good as endless.
fn period(fps: f64) -> u64 {
    // Casts saturate, and NaN is 0.
    (1e9 / fps).max(0.0) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    /// The numbers of the frames that are looked at, of those with these times in milliseconds.
    fn picked(times: impl IntoIterator<Item = u64>, fps: f64) -> Vec<usize> {
        let mut budget = Budget::default();
        let mut pick = |time: u64| {
            budget.meet(time * MS);
            let allowed = budget.allows(fps);
            if allowed {
                budget.spend(fps);
            }
            allowed
        };
        times.into_iter().map(&mut pick).enumerate().filter(|(_, is)| *is).map(|(n, _)| n).collect()
    }

    #[test]
    fn every_fifth_of_25_frames_a_second_is_looked_at_for_a_limit_of_5_whatever_the_jitter() {
        let fifth: Vec<usize> = (0..200).step_by(5).collect();
        assert_eq!(picked((0..200).map(|n| n * 40), 5.0), fifth);
        // Up to 8 ms early or late; the first one too.
        for seed in 0..20 {
            let jitter = |n: u64| (n * 7919 + seed * 104_729) % 17;
            assert_eq!(picked((0..200).map(|n| 100 + n * 40 + jitter(n) - 8), 5.0), fifth, "{seed}");
        }
    }

    #[test]
    fn rates_that_do_not_divide_come_out_on_average_and_higher_ones_limit_nothing() {
        assert_eq!(picked((0..250).map(|n| n * 40), 10.0).len(), 100);
        assert_eq!(picked((0..300).map(|n| n * 1000 / 30), 7.0).len(), 70);
        assert_eq!(picked((0..250).map(|n| n * 40), 0.5).len(), 5);
        for fps in [25.0, 26.0, 1000.0, f64::INFINITY] {
            assert_eq!(picked((0..250).map(|n| n * 40), fps).len(), 250, "{fps}");
        }
    }

    #[test]
    fn pauses_are_not_saved_up_and_a_stream_that_begins_anew_begins_anew() {
        let pause = (0..50).map(|n| n * 40).chain((0..50).map(|n| 60_000 + n * 40));
        assert_eq!(picked(pause, 5.0), (0..100).step_by(5).collect::<Vec<_>>());
        let anew = (0..50).map(|n| 60_000 + n * 40).chain((0..50).map(|n| n * 40));
        assert_eq!(picked(anew, 5.0), (0..100).step_by(5).collect::<Vec<_>>());
    }

    #[test]
    fn a_frame_that_could_not_be_looked_at_is_made_up_for_by_the_next() {
        let mut budget = Budget::default();
        let mut looked = Vec::new();
        for n in 0..20 {
            budget.meet(n * 40 * MS);
            // Others came first on frames 5 and 6.
            if budget.allows(5.0) && n != 5 && n != 6 {
                budget.spend(5.0);
                looked.push(n);
            }
        }
        assert_eq!(looked, [0, 7, 10, 15]);
    }
}
