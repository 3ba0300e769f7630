//! What a sink must offer, and why one can fail.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The time, as sinks get it from their caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// Time that never jumps, since an arbitrary start: what intervals are measured by.
    pub monotonic: Duration,
    /// Wall clock, nanoseconds since 1970 UTC: what files are named by.
    pub utc_ns: u64,
}

/// Where the time comes from.
pub trait Clock: Send + Sync {
    /// The time at the call.
    fn now(&self) -> Now;
}

/// Where records go. A sink is owned by one thread; it may block, it never retries by itself.
pub trait Sink: Send {
    /// Writes `line`, one record in UTF-8 JSON that ends with its only newline. After an error nothing of it counts as
    /// written, and the caller gives the same line again later.
    ///
    /// # Errors
    /// Any [`SinkError`].
    fn write(&mut self, line: &[u8], now: Now) -> Result<(), SinkError>;

    /// Does what is due by time; called about once a second while no record comes.
    ///
    /// # Errors
    /// Any [`SinkError`].
    fn tick(&mut self, now: Now) -> Result<(), SinkError>;

    /// Makes all that was written as durable as the sink is set up for: the stream ends or pauses here. More records may
    /// follow.
    ///
    /// # Errors
    /// Any [`SinkError`].
    fn finish(&mut self, now: Now) -> Result<(), SinkError>;
}

/// Why a sink did not take a record, or cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum SinkError {
    /// No space, or the user's quota is used up.
    #[error("there is no space left for {}; free some, or set rotate-size and keep", path.display())]
    Full {
        /// The file.
        path: PathBuf,
    },
    /// The user may not write there.
    #[error("{} may not be written by this user; change its permissions or choose another place", path.display())]
    Permission {
        /// The file.
        path: PathBuf,
    },
    /// The path is a folder, a pipe or the like.
    #[error("{} is not a file; name a file, or use stdout: to write into a pipe", path.display())]
    NotAFile {
        /// The path.
        path: PathBuf,
    },
    /// Another exporter holds the file.
    #[error("{} is already being written by another exporter; give each its own file", path.display())]
    Busy {
        /// The file.
        path: PathBuf,
    },
    /// The file was removed or replaced while it was written.
    #[error("{} was moved or removed while it was written; records of the last second may be lost, it is made anew", path.display())]
    Vanished {
        /// The file.
        path: PathBuf,
    },
    /// Anything else that the system refuses.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried: a verb.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl SinkError {
    /// The error for `source`, which the system gave on trying to `action` (a verb) `path`.
    pub fn from_io(action: &'static str, path: &Path, source: io::Error) -> Self {
        let path = path.to_path_buf();
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full { path },
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => Self::Permission { path },
            io::ErrorKind::IsADirectory => Self::NotAFile { path },
            io::ErrorKind::ResourceBusy => Self::Busy { path },
            _ => Self::Io { action, path, source },
        }
    }
}
