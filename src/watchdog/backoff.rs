//! How long to wait before a chain is replaced, and whether it still may be.

use std::collections::VecDeque;

use super::values::Settings;

/// The least wait: with none, a chain that fails at once would be built without end.
const LEAST_NS: u64 = 1_000_000;

/// The waits and replacements so far. Times are nanoseconds that never run back.
#[derive(Debug, Default)]
pub(super) struct BackOff {
    /// The last wait; 0 if the next failure is the first.
    wait_ns: u64,
    /// When the last replacements were built; at most `max_restarts`.
    builds: VecDeque<u128>,
}

impl BackOff {
    /// When the chain that failed now is to be replaced; `None` if that would be one replacement too many.
    pub fn failed(&mut self, now: u128, settings: &Settings) -> Option<u128> {
        let least = settings.backoff_ns.max(LEAST_NS);
        let most = settings.backoff_max_ns.max(least);
        self.wait_ns = self.wait_ns.saturating_mul(2).clamp(least, most);
        let due = now + u128::from(self.wait_ns);
        let window = u128::from(settings.restart_window_ns);
        self.builds.retain(|&at| due.saturating_sub(at) < window);
        let most = usize::try_from(settings.max_restarts).unwrap_or(usize::MAX);
        (most == 0 || self.builds.len() < most).then_some(due)
    }

    /// Counts a replacement. Without a limit there is nothing to count for.
    pub fn built(&mut self, now: u128, settings: &Settings) {
        if settings.max_restarts > 0 {
            self.builds.push_back(now);
        }
    }

    /// The next wait is the shortest again.
    pub fn settle(&mut self) {
        self.wait_ns = 0;
    }

    /// Forgets all failures and replacements.
    pub fn forget(&mut self) {
        *self = Self::default();
    }
}
