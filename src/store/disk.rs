//! The few things that the store does to a disk, each of them durable when it returns.
//!
//! The order is always the same: what is published is synced first, then the rename, then the folders whose entries the
//! rename changed. Each step passes [`step`], where tests cut it short.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

/// What is about to be done to a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    MakeDir,
    Create,
    Write,
    Sync,
    SyncDir,
    Rename,
    Remove,
}

#[cfg(not(test))]
fn step(_: Step, _: &Path, _: Option<&Path>) -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
use super::disk_tests::step;

/// Makes a folder whose parent is there; it must not exist.
pub(super) fn make_dir(path: &Path) -> io::Result<()> {
    step(Step::MakeDir, path, None)?;
    fs::create_dir(path)?;
    sync_dir(parent(path))
}

/// Makes a folder and those above it, as far as they are missing.
pub(super) fn make_dirs(path: &Path) -> io::Result<()> {
    match fs::metadata(path) {
        Ok(found) if found.is_dir() => return Ok(()),
        Ok(_) => return Err(io::ErrorKind::NotADirectory.into()),
        Err(e) if e.kind() == io::ErrorKind::NotFound => {}
        Err(e) => return Err(e),
    }
    make_dirs(parent(path))?;
    match make_dir(path) {
        // Another process was faster.
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        other => other,
    }
}

/// Writes a file that must not exist. Its name is durable only once its folder is synced.
pub(super) fn write_new(path: &Path, content: &[u8]) -> io::Result<()> {
    step(Step::Create, path, None)?;
    let mut file = OpenOptions::new().write(true).create_new(true).open(path)?;
    step(Step::Write, path, None)?;
    file.write_all(content)?;
    step(Step::Sync, path, None)?;
    file.sync_all()
}

/// Makes `content` that of the file at `path`, which at any time has the old content or the new one whole. One caller at a
/// time per path.
pub(super) fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let partial = path.with_file_name(format!(".{}.new", name.trim_start_matches('.')));
    // One that a killed process left; never written through, as it may be anything.
    match fs::remove_file(&partial) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    let done = write_new(&partial, content).and_then(|()| rename(&partial, path));
    if done.is_err() {
        // Of no use, and not the error to report if it stays.
        let _ = fs::remove_file(&partial);
    }
    done
}

/// Renames a file or folder, whose content must be synced.
pub(super) fn rename(from: &Path, to: &Path) -> io::Result<()> {
    step(Step::Rename, from, Some(to))?;
    fs::rename(from, to)?;
    sync_dir(parent(to))?;
    if parent(from) != parent(to) {
        sync_dir(parent(from))?;
    }
    Ok(())
}

/// Syncs the entries of a folder.
pub(super) fn sync_dir(path: &Path) -> io::Result<()> {
    step(Step::SyncDir, path, None)?;
    File::open(path)?.sync_all()
}

/// Removes a folder with all that is in it, or a file.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    let folder = fs::symlink_metadata(path)?.is_dir();
    if folder {
        // One by one, so that a test can end it in the middle.
        for item in fs::read_dir(path)? {
            remove(&item?.path())?;
        }
    }
    step(Step::Remove, path, None)?;
    if folder { fs::remove_dir(path) } else { fs::remove_file(path) }
}

/// Bytes that may still be written to the file system of a folder that exists.
pub(super) fn free_bytes(path: &Path) -> io::Result<u64> {
    let stat = rustix::fs::statvfs(path)?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}

/// Whether an error means that there is no room.
pub(super) fn is_full(error: &io::Error) -> bool {
    use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded | FileTooLarge)
}

fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}
