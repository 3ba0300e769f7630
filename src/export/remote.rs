//! What a receiver over a network must offer, and why it may not take records.

use std::sync::Arc;
use std::time::Duration;

use super::kind::Kind;

/// How long a receiver may take for one batch, unless its options say otherwise.
const SEND_LIMIT: Duration = Duration::from_secs(30);

/// A record on its way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outgoing {
    /// What it is about.
    pub kind: Kind,
    /// The camera's name; that of the site for what is about all of it. Receivers keep the order of those of one name.
    pub camera: Arc<str>,
    /// JSON in UTF-8 without a line's end.
    pub body: Vec<u8>,
}

/// A receiver over a network. It is owned by one thread, which calls `tick` at least once a second while there is nothing to send.
///
/// It connects by itself when it is first used and after a failure; it neither waits between tries nor tries twice in one call.
pub trait Remote: Send {
    /// How long a call of [`send`](Self::send) may take; 30 s unless the receiver's options say otherwise.
    fn send_limit(&self) -> Duration {
        SEND_LIMIT
    }

    /// Sends records in their order and returns once the receiver has acknowledged all of them. After an error the caller
    /// gives the same records again, so that the receiver may see some twice, in their order each time.
    ///
    /// # Errors
    /// Any [`RemoteError`]; [`RemoteError::Unreachable`] if it takes longer than `limit`.
    fn send(&mut self, batch: &[Outgoing], limit: Duration) -> Result<(), RemoteError>;

    /// Does what is due by time: connects, keeps the connection alive, notices that it is gone. `true` if the receiver has answered,
    /// `false` if it was not asked for anything, so that nobody knows more of it than before.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    fn tick(&mut self, limit: Duration) -> Result<bool, RemoteError>;

    /// Says good-bye where the protocol has a word for it, within `limit`.
    fn close(&mut self, limit: Duration);
}

/// Why records were not taken. The texts are sentences for the user without secrets and without a final stop.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RemoteError {
    /// Nobody answers, or the connection broke: to be tried again.
    #[error("{0}")]
    Unreachable(String),
    /// The receiver asks to be left alone for a while: to be tried again, not before `after` if it is given.
    #[error("{text}")]
    Busy {
        /// How long it wants to be left alone.
        after: Option<Duration>,
        /// What it said.
        text: String,
    },
    /// User, password, certificate or permission are wrong: to be tried again, since somebody may put it right.
    #[error("{0}")]
    Denied(String),
    /// The receiver is well and will never take these records as they are (too large, not understood). The caller tries fewer at a
    /// time, and gives up the one that is refused alone.
    #[error("{0}")]
    Refused(String),
}
