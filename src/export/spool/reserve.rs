//! Space on the disk, asked for before it is needed.
//!
//! A database that runs out of space in the middle can be left with a log that can neither grow nor be copied into the
//! file, so that even removing rows fails. So the space for what is to be added is reserved first, and a little more for
//! removals, which then always find room. Where the file system cannot reserve, SQLite's own errors are what is left.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::Errno;

use super::store::{PAGE, beside};

/// Kept in the log for removals.
const SPARE: u64 = 256 << 10;
/// Space is asked for in steps of this size, so that it is asked for seldom.
const STEP: u64 = 256 << 10;
/// The most that is asked for beside what is to be written, with room for the index over the log.
pub(super) const MOST_BESIDE: u64 = SPARE + STEP + 16 * PAGE + (64 << 10);

/// The file and its log, open for as long as SQLite has them open.
pub(super) struct Reserve {
    file: File,
    log: Option<File>,
    log_path: PathBuf,
    /// Bytes that are sure to be there, of the file and of the log.
    sure: (u64, u64),
}

impl Reserve {
    /// For the database at `path`, which is open and has a log.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().write(true).open(path)?;
        Ok(Self { file, log: None, log_path: beside(path, "-wal"), sure: (0, 0) })
    }

    /// Makes sure that the file, now of `size` bytes, can grow by `growth`, and its log by `logged` bytes of pages; the log is
    /// written from its beginning again if it was `restarted`.
    ///
    /// # Errors
    /// `StorageFull` or `QuotaExceeded`.
    pub fn ensure(&mut self, size: u64, growth: u64, logged: u64, restarted: bool) -> io::Result<()> {
        if growth > 0 {
            grow(&self.file, size, growth, &mut self.sure.0)?;
        }
        if self.log.is_none() {
            self.log = OpenOptions::new().write(true).open(&self.log_path).ok();
        }
        let Some(log) = &self.log else { return Ok(()) };
        // Where in the log SQLite goes on is not known, at most at its end. Each page has a header; some pages of the
        // tables are written too.
        let size = if restarted { 0 } else { log.metadata()?.len() };
        grow(log, size, logged + logged / 64 + 16 * PAGE + SPARE, &mut self.sure.1)
    }

    /// The file was made smaller: nothing is sure any more.
    pub fn forget(&mut self) {
        self.sure = (0, 0);
    }
}

fn grow(file: &File, size: u64, growth: u64, sure: &mut u64) -> io::Result<()> {
    let wanted = size + growth;
    if wanted <= *sure {
        return Ok(());
    }
    let up = wanted.next_multiple_of(STEP);
    match fallocate(file, FallocateFlags::KEEP_SIZE, 0, up) {
        Ok(()) => *sure = up,
        Err(Errno::NOSPC | Errno::DQUOT) => {
            fallocate(file, FallocateFlags::KEEP_SIZE, 0, wanted).map_err(io::Error::from)?;
            *sure = wanted;
        }
        // Not known to this file system.
        Err(_) => *sure = u64::MAX,
    }
    Ok(())
}
