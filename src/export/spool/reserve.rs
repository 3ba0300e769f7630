//! Space on the disk, asked for before it is needed.
//!
//! A database that runs out of space in the middle can be left with a log that can neither grow nor be copied into the
//! file, so that even removing rows fails. So the space for what is to be added is reserved first, and a little more for
//! removals, which then always find room. Where the file system cannot reserve, SQLite's own errors are what is left.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::{Errno, retry_on_intr};

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
    /// `StorageFull` or `QuotaExceeded`; others as the system says.
    pub fn ensure(&mut self, size: u64, growth: u64, logged: u64, restarted: bool) -> io::Result<()> {
        if growth > 0 {
            grow(&mut |to| allocate(&self.file, to), size, growth, &mut self.sure.0)?;
        }
        self.grow_log(logged, SPARE, restarted)
    }

    /// Makes sure that the log, which is written from its beginning again, takes `logged` bytes of pages beside removals that make room
    /// for them: what is kept for removals is used for these.
    ///
    /// # Errors
    /// As [`ensure`](Self::ensure).
    pub fn ensure_log(&mut self, logged: u64) -> io::Result<()> {
        self.grow_log(logged, SPARE / 4, true)
    }

    fn grow_log(&mut self, logged: u64, spare: u64, restarted: bool) -> io::Result<()> {
        if self.log.is_none() {
            self.log = OpenOptions::new().write(true).open(&self.log_path).ok();
        }
        let Some(log) = &self.log else { return Ok(()) };
        // Where in the log SQLite goes on is not known, at most at its end. Each page has a header; some pages of the
        // tables are written too.
        let size = if restarted { 0 } else { log.metadata()?.len() };
        grow(&mut |to| allocate(log, to), size, logged + logged / 64 + 16 * PAGE + spare, &mut self.sure.1)
    }

    /// The file was made smaller: nothing is sure any more.
    pub fn forget(&mut self) {
        self.sure = (0, 0);
    }
}

fn allocate(file: &File, to: u64) -> Result<(), Errno> {
    fallocate(file, FallocateFlags::KEEP_SIZE, 0, to)
}

/// Makes sure by `allocate`, which is asked for a size, that a file of `size` bytes can grow by `growth`; `sure` is what it was asked for
/// before.
fn grow(allocate: &mut dyn FnMut(u64) -> Result<(), Errno>, size: u64, growth: u64, sure: &mut u64) -> io::Result<()> {
    let wanted = size + growth;
    if wanted <= *sure {
        return Ok(());
    }
    let up = wanted.next_multiple_of(STEP);
    *sure = match retry_on_intr(|| allocate(up)) {
        Ok(()) => up,
        Err(Errno::NOSPC | Errno::DQUOT) => {
            retry_on_intr(|| allocate(wanted))?;
            wanted
        }
        // Not known to this file system.
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => u64::MAX,
        Err(error) => return Err(error.into()),
    };
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interruption_is_no_answer() {
        let mut answers = vec![Ok(()), Err(Errno::INTR), Err(Errno::NOSPC), Err(Errno::INTR)];
        let (mut sure, mut asked) = (0, Vec::new());
        grow(
            &mut |to| {
                asked.push(to);
                answers.pop().unwrap()
            },
            1000,
            500,
            &mut sure,
        )
        .unwrap();
        assert_eq!((asked, sure), (vec![STEP, STEP, 1500, 1500], 1500));
    }

    #[test]
    fn only_a_file_system_that_cannot_reserve_is_not_asked_again() {
        for error in [Errno::OPNOTSUPP, Errno::NOSYS] {
            let mut sure = 0;
            grow(&mut |_| Err(error), 0, 500, &mut sure).unwrap();
            assert_eq!(sure, u64::MAX);
        }
        for error in [Errno::NOSPC, Errno::DQUOT, Errno::IO, Errno::FBIG] {
            let mut sure = 7;
            let answer = grow(&mut |_| Err(error), 0, 500, &mut sure).unwrap_err();
            assert_eq!((answer.raw_os_error(), sure), (Some(error.raw_os_error()), 7));
        }
    }
}
