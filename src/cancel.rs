//! A word to long work that nobody waits for its outcome any more.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How often work that waits looks whether it is still wanted.
pub const LOOK: Duration = Duration::from_millis(10);

/// Says to long work that its outcome is no longer wanted. Clones are one and the same.
#[derive(Debug, Clone, Default)]
pub struct Cancel(Arc<AtomicBool>);

impl Cancel {
    /// Ends the work soon; for good.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    /// Whether [`cancel`](Self::cancel) was called on any clone.
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }

    /// Waits for `time`; whether it was cut short by [`cancel`](Self::cancel).
    pub fn wait(&self, time: Duration) -> bool {
        let until = Instant::now() + time;
        while !self.is_cancelled() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            std::thread::sleep(left.min(LOOK));
        }
        true
    }
}

/// The same one, not one in the same state.
impl PartialEq for Cancel {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Cancel {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clones_are_cancelled_together_and_others_are_not() {
        let (cancel, other) = (Cancel::default(), Cancel::default());
        let clone = cancel.clone();
        assert!(!clone.is_cancelled() && cancel == clone && cancel != other);
        cancel.cancel();
        assert!(clone.is_cancelled() && !other.is_cancelled());
        assert!(clone.wait(Duration::from_secs(60)) && !other.wait(Duration::from_millis(1)));
    }
}
