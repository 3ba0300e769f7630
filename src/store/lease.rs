//! Locks between processes: who uses a release, who changes the store. The system takes them back when their process ends,
//! however it ends.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::time::{Duration, Instant};

use super::StoreError;

/// How long a change waits for another process's.
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// How often it looks.
const LOOK: Duration = Duration::from_millis(5);

/// Holds a release in the store: it is not removed as long as the lease lives, in whatever process.
#[derive(Debug)]
pub struct Lease {
    _folder: File,
}

fn open_folder(path: &Path) -> io::Result<File> {
    // A link is none of the store's releases.
    OpenOptions::new().read(true).custom_flags(libc::O_DIRECTORY | libc::O_NOFOLLOW).open(path)
}

impl Lease {
    /// Holds the release whose folder is `path`.
    pub(super) fn take(path: &Path) -> io::Result<Self> {
        loop {
            let folder = open_folder(path)?;
            match folder.lock_shared() {
                Ok(()) => {}
                // Some network file systems have no locks: the collector cannot lock there either, and removes nothing.
                Err(e) if e.kind() == io::ErrorKind::Unsupported => {}
                Err(e) => return Err(e),
            }
            let (held, named) = (folder.metadata()?, fs::symlink_metadata(path)?);
            // It may have been removed, or replaced by a mended copy, between the two.
            if (held.dev(), held.ino()) == (named.dev(), named.ino()) {
                return Ok(Self { _folder: folder });
            }
        }
    }
}

/// The sole right to a folder; `None` if somebody uses it, or if that cannot be known.
pub(super) fn exclusive(path: &Path) -> Option<File> {
    let folder = open_folder(path).ok()?;
    folder.try_lock().is_ok().then_some(folder)
}

/// The right to change the store.
#[derive(Debug)]
pub(super) struct WriteLock {
    _file: File,
}

impl WriteLock {
    /// Waits for its turn.
    pub fn take(root: &Path) -> Result<Self, StoreError> {
        Self::take_within(root, LONGEST_WAIT)
    }

    fn take_within(root: &Path, longest: Duration) -> Result<Self, StoreError> {
        let path = root.join(".lock");
        let options = OpenOptions::new().write(true).create(true).truncate(false).open(&path);
        let file = options.map_err(StoreError::io(&path))?;
        let start = Instant::now();
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Self { _file: file }),
                Err(TryLockError::Error(e)) => return Err(StoreError::io(&path)(e)),
                Err(TryLockError::WouldBlock) if start.elapsed() < longest => std::thread::sleep(LOOK),
                Err(TryLockError::WouldBlock) => {
                    return Err(StoreError::Busy { root: root.into(), seconds: longest.as_secs() });
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_held_folder_is_nobody_elses() {
        let dir = tempfile::tempdir().unwrap();
        let lease = Lease::take(dir.path()).unwrap();
        let second = Lease::take(dir.path()).unwrap();
        assert!(exclusive(dir.path()).is_none());
        drop(lease);
        assert!(exclusive(dir.path()).is_none(), "the second lease counts too");
        drop(second);
        assert!(exclusive(dir.path()).is_some());
    }

    #[test]
    fn a_link_is_not_leased() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("real")).unwrap();
        std::os::unix::fs::symlink("real", dir.path().join("link")).unwrap();
        assert!(Lease::take(&dir.path().join("link")).is_err());
    }

    #[test]
    fn a_store_that_stays_locked_is_busy() {
        let dir = tempfile::tempdir().unwrap();
        let held = WriteLock::take(dir.path()).unwrap();
        let error = WriteLock::take_within(dir.path(), Duration::ZERO).unwrap_err();
        assert!(error.to_string().contains("is being changed by another process"), "{error}");
        drop(held);
        WriteLock::take_within(dir.path(), Duration::ZERO).unwrap();
    }
}
