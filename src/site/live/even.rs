//! Even times for pictures that come unevenly.
//!
//! A picture that the model looks at leaves a camera's pipeline later than the one before it, and those behind it come in a
//! burst. Outputs must not see that: what they are given is each picture's own time and a delay that is nearly constant, as
//! large as the largest that pictures had lately. Where pictures themselves are missing, their times say so.

/// Difference over which the delay is not an unevenness but another time altogether, nanoseconds.
const ANEW: i64 = 1_000_000_000;
/// The delay shrinks by this part of what it is too large with each picture: half of it in half a minute at 25 a second.
const CALM: i64 = 1024;

/// Gives pictures of one pipeline their times. It holds nothing back: a picture is never given a time before it is there.
#[derive(Debug, Default)]
pub struct Even {
    /// From a picture's own time until it is shown.
    delay: Option<i64>,
}

impl Even {
    /// When a picture is to be shown that is there at `now` and is to be taken for one of the time `own`, both in nanoseconds of one clock.
    pub fn time(&mut self, own: u64, now: u64) -> u64 {
        let (Ok(own), Ok(there)) = (i64::try_from(own), i64::try_from(now)) else { return now };
        let late = there - own;
        let delay = match self.delay {
            Some(delay) if late <= delay && delay.saturating_sub(late) < ANEW => delay - (delay - late) / CALM,
            _ => late,
        };
        self.delay = Some(delay);
        u64::try_from(own + delay).map_or(now, |time| time.max(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    /// Gaps between the times that pictures of a period of 40 ms are given, in milliseconds, where each is there so late.
    fn gaps(late: impl IntoIterator<Item = u64>) -> Vec<u64> {
        let mut even = Even::default();
        let time = |(n, late): (usize, u64)| even.time((1000 + n as u64 * 40) * MS, (1000 + n as u64 * 40 + late) * MS);
        let times: Vec<u64> = late.into_iter().enumerate().map(time).collect();
        times.windows(2).map(|pair| (pair[1] - pair[0]) / MS).collect()
    }

    #[test]
    fn pictures_that_wait_for_the_model_now_and_then_are_a_period_apart() {
        // Every eighth waits for 100 ms, those behind it wait for it.
        let pattern = [5, 5, 105, 65, 25, 5, 5, 5];
        let gaps = gaps(pattern.into_iter().cycle().take(800));
        assert!(gaps[1..].iter().skip(8).all(|gap| (38..=44).contains(gap)), "{gaps:?}");
    }

    #[test]
    fn the_delay_is_no_larger_than_it_was_lately() {
        let mut even = Even::default();
        let mut time = |n: u64, late: u64| even.time(n * 40 * MS, (n * 40 + late) * MS) - n * 40 * MS;
        assert_eq!(time(1, 5), 5 * MS);
        assert_eq!(time(2, 205), 205 * MS, "never before it is there");
        assert!(time(3, 5) > 200 * MS);
        let after = (4..4000).map(|n| time(n, 5)).last().unwrap();
        assert!(after < 10 * MS, "{after}");
    }

    #[test]
    fn a_camera_whose_clock_leaps_or_that_was_away_begins_anew() {
        let mut even = Even::default();
        assert_eq!(even.time(100 * MS, 105 * MS), 105 * MS);
        assert_eq!(even.time(90_000_000 * MS, 145 * MS), 145 * MS, "a day on");
        assert_eq!(even.time(90_000_040 * MS, 185 * MS), 185 * MS);
        assert_eq!(even.time(0, 225 * MS), 225 * MS, "and back");
        assert_eq!(even.time(u64::MAX, 265 * MS), 265 * MS);
        assert_eq!(even.time(i64::MAX as u64, 265 * MS), 265 * MS);
        assert_eq!(even.time(40 * MS, 5265 * MS), 5265 * MS, "held up for five seconds");
        assert_eq!(even.time(5300 * MS, 5305 * MS), 5305 * MS);
    }
}
