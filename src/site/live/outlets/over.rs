//! The end of an output, for those who wait for it.

use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

/// What an output that was told to end by a certain time needs on top of it, to let go of what it has.
pub const GRACE: Duration = Duration::from_millis(500);

/// The end of an output that was told to end. Many are waited for one after the other, until the same instant.
#[must_use]
pub struct Over(Option<Receiver<bool>>);

impl Over {
    /// One that `done` tells of: whether all of it came to its end. Without it there is nothing to wait for.
    pub fn new(done: Option<Receiver<bool>>) -> Self {
        Self(done)
    }

    /// Waits for it; `false` if it has not come to its end by `until`, and is left to itself.
    pub fn wait(&self, until: Instant) -> bool {
        let Some(done) = &self.0 else { return true };
        match done.recv_timeout(until.saturating_duration_since(Instant::now())) {
            Ok(whole) => whole,
            Err(RecvTimeoutError::Timeout) => false,
            // Its thread could not be started: there was nothing to end.
            Err(RecvTimeoutError::Disconnected) => true,
        }
    }
}
