//! Copying what can be read of a file that is damaged.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Write};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;

use rusqlite::{Connection, OpenFlags};

use super::super::kind::Kind;
use super::block::{self, Block};
use super::error::StoreError;
use super::rows::{self, ROW};
use super::store::{PAGE, Store, beside};

/// Bytes of blocks after which a copy is committed.
const STEP: u64 = 128 << 10;
/// Farthest jump over what cannot be read.
const FARTHEST: u64 = 1 << 40;
/// How many stretches between what cannot be read are looked at.
const TRIES: usize = 4096;
/// Pages that cannot be read above which it is no bad spot but a device that is away.
const UNREADABLE: u64 = 1024;

/// What was found.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Rescued {
    /// By kind: from the smallest number of the sound records up to after the largest one; `0..0` if there are none.
    pub seen: [Range<u64>; 4],
    /// Why not all of them could be copied; a part of a sentence.
    pub problem: Option<String>,
}

/// Copies what can be read of the spool at `from`, which nothing has open, into `store`, but no blocks that end before `heads`.
///
/// # Errors
/// What keeps it from being copied, and may be over later: nothing is decided then. A disk that is full is a
/// [`problem`](Rescued::problem), since the file may well take more than will ever be free.
pub(super) fn copy(from: &Path, store: &mut Store, heads: &[u64; 4]) -> Result<Rescued, StoreError> {
    let mut rescued = Rescued::default();
    if !rescue(from, store, heads, &mut rescued)? {
        // Its first page tells where everything is. All spools have nearly the same one.
        let mended = beside(from, ".mended");
        match mend(from, store, &mended) {
            Ok(()) => drop(rescue(&mended, store, heads, &mut rescued)?),
            Err(StoreError::Unreadable(why)) => return Err(StoreError::Unreadable(why)),
            Err(error) => rescued.problem = Some(error.to_string()),
        }
        remove_mended(from);
    }
    store.put_done()?;
    Ok(rescued)
}

/// Removes what [`copy`] leaves behind when it is cut off.
pub(super) fn remove_mended(path: &Path) {
    let mended = beside(path, ".mended");
    for file in [mended.clone(), beside(&mended, ".template")] {
        for end in ["", "-wal", "-shm", "-journal"] {
            let _ = std::fs::remove_file(beside(&file, end));
        }
    }
}

/// Copies what can be read of the spool at `from`; `false` if it cannot be read as a spool at all.
fn rescue(from: &Path, store: &mut Store, heads: &[u64; 4], rescued: &mut Rescued) -> Result<bool, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let db = Connection::open_with_flags(from, flags)?;
    match rows::check(&db) {
        Ok(()) => {}
        Err(StoreError::Damaged(_) | StoreError::Unreadable(_)) => return Ok(false),
        Err(error) => return Err(error),
    }
    let mut read_any = false;
    for ((kind, head), seen) in Kind::ALL.into_iter().zip(heads).zip(&mut rescued.seen) {
        let problem = &mut rescued.problem;
        let mut keep = |block: Block| {
            // What is kept is sound, so that its numbers can be trusted.
            let Ok(records) = block::decode(&block) else { return Ok(()) };
            let (start, end) = (block.number, block.number + records.len() as u64);
            if end <= *head {
                return Ok(());
            }
            *seen = if seen.is_empty() { start..end } else { seen.start.min(start)..seen.end.max(end) };
            if problem.is_some() {
                return Ok(());
            }
            match store.put(&Block { records: records.len() as u64, ..block }) {
                Err(StoreError::Full) => *problem = Some(StoreError::Full.to_string()),
                result => result?,
            }
            Ok(())
        };
        read_any |= blocks(&db, kind, &mut keep)?;
    }
    Ok(read_any)
}

type Keep<'a> = &'a mut dyn FnMut(Block) -> Result<(), StoreError>;

/// Hands over all blocks of `kind` that can be read; whether anything of the table can.
fn blocks(db: &Connection, kind: Kind, keep: Keep<'_>) -> Result<bool, StoreError> {
    let (mut readable, mut after) = (false, 0_u64);
    // How far is jumped over what cannot be read; doubled until something can.
    let mut jump = 0_u64;
    loop {
        match rows::read_after(db, kind, after.saturating_add(jump)) {
            Ok(None) if jump == 0 => return Ok(true),
            // Beyond the last one.
            Ok(None) => return Ok(between(db, kind, after, after + jump + 1, TRIES, keep)? || readable),
            Ok(Some(block)) => {
                readable = true;
                if jump > 0 {
                    between(db, kind, after, block.number, TRIES, keep)?;
                }
                (after, jump) = (block.number, 0);
                keep(block)?;
            }
            Err(_) if jump < FARTHEST => jump = (jump * 2).max(1),
            // Nothing can be read at any of these places, nor what comes last; maybe something between them.
            Err(_) => {
                for jump in (0..24).map(|doubled| 1 << doubled) {
                    readable |= between(db, kind, after + jump, after + 2 * jump + 1, TRIES / 8, keep)?;
                }
                return Ok(readable);
            }
        }
    }
}

/// Hands over the blocks with numbers between `low` and `high`, neither of them included, that can be read: from both ends, and from the
/// middle of what is left then, and so on, in `tries` stretches. Whether there is any.
fn between(db: &Connection, kind: Kind, low: u64, high: u64, tries: usize, keep: Keep<'_>) -> Result<bool, StoreError> {
    let mut any = false;
    let mut stretches = VecDeque::from([(low, high)]);
    'stretches: for _ in 0..tries {
        let Some((mut low, mut high)) = stretches.pop_front() else { break };
        loop {
            match rows::read_after(db, kind, low) {
                Ok(Some(block)) if block.number < high => {
                    (low, any) = (block.number, true);
                    keep(block)?;
                }
                Ok(_) => continue 'stretches,
                Err(_) => break,
            }
        }
        loop {
            match rows::last_to(db, kind, high - 1) {
                Ok(Some(block)) if block.number > low => {
                    (high, any) = (block.number, true);
                    keep(block)?;
                }
                Ok(_) => continue 'stretches,
                Err(_) => break,
            }
        }
        if low + 2 < high {
            let middle = low + (high - low) / 2;
            stretches.extend([(low, middle + 1), (middle, high)]);
        }
    }
    Ok(any)
}

/// Writes a copy of the damaged file `from` to `to` with the first page of a spool, such as `fresh`. What someone put before the file is
/// left out, and what cannot be read is left empty.
fn mend(from: &Path, fresh: &Store, to: &Path) -> Result<(), StoreError> {
    const MAGIC: &[u8] = b"SQLite format 3\0";
    let file = File::open(from)?;
    let size = file.metadata()?.len();
    let mut start = vec![0; usize::try_from(size.min(1 << 20)).unwrap_or(0)];
    read_readable(&mut |part, at| file.read_exact_at(part, at), &mut start, 0);
    let offset = start.windows(MAGIC.len()).position(|bytes| bytes == MAGIC).unwrap_or(0) as u64;
    let mut second = [0];
    let _ = file.read_exact_at(&mut second, offset + PAGE);
    // The first byte of a table's page, of which there is one here in files of an earlier version.
    let mut first = first_page(fresh, [[5], [13]].contains(&second), &beside(to, ".template"))?;
    let mut out = File::create(to)?;
    let (mut at, mut bad) = (offset, 0);
    let mut part = vec![0; 64 << 10];
    while at < size {
        let length = usize::try_from(size - at).unwrap_or(usize::MAX).min(part.len());
        let part = part.get_mut(..length).unwrap_or_default();
        bad += read_readable(&mut |part, at| file.read_exact_at(part, at), part, at);
        if bad > UNREADABLE || bad * PAGE * 2 > size {
            return Err(StoreError::Unreadable(format!("{bad} pages and more")));
        }
        out.write_all(part)?;
        at += length as u64;
    }
    // SQLite's file format, section 1.3: the size in pages, and no free pages, which nothing is lost by.
    let copied = (size - offset) / PAGE;
    let pages = u32::try_from(copied).unwrap_or(u32::MAX).to_be_bytes();
    let counter = first.get(24..28).map(<[u8]>::to_vec).unwrap_or_default();
    for (at, bytes) in [(28, pages.as_slice()), (32, &[0; 8]), (92, &counter)] {
        if let Some(field) = first.get_mut(at..at + bytes.len()) {
            field.copy_from_slice(bytes);
        }
    }
    out.write_all_at(&first, 0)?;
    out.set_len(copied * PAGE)?;
    Ok(())
}

/// The first page of a spool such as `fresh`, or of an `earlier` version, by way of a file at `template`.
fn first_page(fresh: &Store, earlier: bool, template: &Path) -> Result<Vec<u8>, StoreError> {
    let kept = |incremental: bool| fresh.db.pragma_update(None, "auto_vacuum", if incremental { 2 } else { 0 });
    kept(!earlier)?;
    let made = fresh.db.execute("VACUUM INTO ?1", [template.to_string_lossy()]);
    kept(true)?;
    made?;
    let mut first = vec![0; PAGE as usize];
    File::open(template)?.read_exact_at(&mut first, 0)?;
    Ok(first)
}

/// Fills `part` by `read`, which reads all of a slice from a place, from `at` on; pages that cannot be read are zeros. How many these are.
fn read_readable(read: &mut dyn FnMut(&mut [u8], u64) -> io::Result<()>, part: &mut [u8], at: u64) -> u64 {
    if read(part, at).is_ok() {
        return 0;
    }
    let mut bad = 0;
    for (page, at) in part.chunks_mut(PAGE as usize).zip((at..).step_by(PAGE as usize)) {
        if read(page, at).is_err() {
            page.fill(0);
            bad += 1;
        }
    }
    bad
}

impl Store {
    /// Adds a block as it is. [`put_done`](Self::put_done) commits the last ones.
    ///
    /// # Errors
    /// Any [`StoreError`]; the blocks before it are there.
    fn put(&mut self, block: &Block) -> Result<(), StoreError> {
        let need = block.data.len() as u64 + ROW;
        if let Err(error) = self.reserve(self.put + need, false) {
            self.put_done()?;
            return Err(error);
        }
        if self.db.is_autocommit() {
            self.db.execute_batch("BEGIN IMMEDIATE")?;
        }
        rows::insert(&self.db, block)?;
        self.put += need;
        if self.put >= STEP { self.put_done() } else { Ok(()) }
    }

    /// Commits what was [`put`](Self::put).
    fn put_done(&mut self) -> Result<(), StoreError> {
        self.put = 0;
        if !self.db.is_autocommit() {
            let done = self.db.execute_batch("COMMIT");
            if done.is_err() {
                let _ = self.db.execute_batch("ROLLBACK");
            }
            done?;
        }
        Ok(())
    }

    /// Puts all that is in the log into the file, and closes it.
    ///
    /// # Errors
    /// Any [`StoreError`]; what is there is in the file and its log together then.
    pub(super) fn close_whole(self) -> Result<(), StoreError> {
        let left: (i64, i64, i64) = self
            .db
            .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
        if left.0 == 0 && left.1 == left.2 { Ok(()) } else { Err(StoreError::Other("its log is in use".into())) }
    }
}

#[cfg(test)]
#[path = "rescue_tests.rs"]
mod tests;
