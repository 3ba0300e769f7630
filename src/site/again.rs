//! When a site looks again for what its machine lacks: a plain value, with the time as an argument.

use std::time::{Duration, Instant};

use super::backoff::Backoff;

/// The first pause, and the longest. Cameras and outputs try by themselves too; a look says what is still missing, and finds what changes
/// the plan, such as a bundle's folder beside the description.
const PAUSES: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(60));

/// See the module's description. A new one is for another description.
#[derive(Debug, Clone)]
pub struct Again {
    pauses: Backoff,
    due: Option<Instant>,
}

impl Default for Again {
    /// Nothing is lacking yet.
    fn default() -> Self {
        // Nobody else looks at the same time: chance has nothing to keep apart here.
        Self { pauses: Backoff::new(PAUSES.0, PAUSES.1, 1), due: None }
    }
}

impl Again {
    /// The machine was looked at; whether it lacks something.
    pub fn looked(&mut self, now: Instant, lacks: bool) {
        self.due = lacks.then(|| now + self.pauses.next_pause());
    }

    /// Whether it is time to look.
    pub fn is_due(&self, now: Instant) -> bool {
        self.due.is_some_and(|due| now >= due)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_while_something_is_lacking() {
        let (mut again, mut now) = (Again::default(), Instant::now());
        assert!(!again.is_due(now + PAUSES.1 * 9), "nothing is lacking");
        again.looked(now, true);
        assert!(!again.is_due(now + PAUSES.0 / 2) && again.is_due(now + PAUSES.0 * 2));
        for _ in 0..20 {
            now += PAUSES.1 * 2;
            assert!(again.is_due(now));
            again.looked(now, true);
        }
        assert!(!again.is_due(now + PAUSES.1 / 2));
        again.looked(now, false);
        assert!(!again.is_due(now + PAUSES.1 * 9));
    }
}
