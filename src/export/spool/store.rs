//! The file: an SQLite database in WAL mode with one table per kind and one row per block. No thread; time is an argument.
//!
//! A row's `id` is the number of its first record among those of its kind. Numbers rise without gaps, so that what waits
//! is known from the first and the last row. A commit is one transaction: it removes what was acknowledged or is too old,
//! makes room, and adds blocks.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, TransactionBehavior};

use super::super::kind::Kind;
use super::block::{self, Block, Stored};
use super::error::StoreError;
use super::reserve::Reserve;
use super::rows::{self, ROW};

/// Marks the file as a spool in SQLite's header: "Vgsp".
pub(super) const APPLICATION: i32 = 0x5667_7370;
/// Version of the tables.
pub(super) const VERSION: i32 = 1;
/// Bytes of a page. Half of what flash and file systems have: a commit of a few records writes less (measured: at 10 records
/// a second 2.9 bytes per byte, 3.2 with 4096), and a block of the disk that goes bad still hits two pages only.
pub(super) const PAGE: u64 = 2048;

/// How sure it is that what was committed survives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Durability {
    /// Each commit waits for the device: what was committed survives a power cut.
    #[default]
    EveryCommit,
    /// The device is waited for now and then: what was committed survives the end of the process in any way. A power cut may
    /// take the last commits, and never more than these.
    Relaxed,
}

/// The bounds of a store.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Most bytes that it takes on the disk, its log included; at least [`Limits::LEAST`].
    pub bytes: u64,
    /// Age at which records are given up.
    pub age: Option<Duration>,
    /// How sure a commit is.
    pub durability: Durability,
}

impl Limits {
    /// The smallest bound that leaves room for anything beside the log.
    pub const LEAST: u64 = 4 << 20;

    /// Bytes of records, before compression, that one commit adds at most, and the largest record that is taken.
    pub fn chunk(&self) -> usize {
        usize::try_from(self.bytes.max(Self::LEAST) / 16).unwrap_or(usize::MAX).min(4 << 20)
    }

    /// Pages that the log holds before they are copied into the file.
    pub(super) fn log_pages(&self) -> u64 {
        (self.bytes / 32 / PAGE).clamp(16, 2000)
    }

    /// Bytes that are kept free for the log: what it holds before it is copied, one commit, the next one's space, and
    /// the index over it.
    fn log_bytes(&self) -> u64 {
        self.log_pages() * PAGE + self.chunk() as u64 * 9 / 4 + super::reserve::MOST_BESIDE
    }

    /// Most bytes that the file takes.
    pub(super) fn file_bytes(&self) -> u64 {
        self.bytes.saturating_sub(self.log_bytes())
    }

    /// Most rows that one transaction gives up beside what it must: each of them puts a page or two into the log.
    pub(super) fn rows(&self) -> u64 {
        self.log_pages() / 2
    }
}

/// What a commit is to do.
#[derive(Debug, Default)]
pub struct Change {
    /// Blocks to add, the more important kinds first, with numbers from their kind's end upwards.
    pub blocks: Vec<Block>,
    /// By kind: records with smaller numbers are done with.
    pub heads: [u64; 4],
    /// By kind: other records that are done with.
    pub done: [Vec<Range<u64>>; 4],
    /// On a full disk records that are less important than this kind are given up for `blocks`.
    pub instead_of: Option<Kind>,
}

/// What a commit did.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// By kind: records with smaller numbers were given up to make room; 0 for none.
    pub dropped: [u64; 4],
    /// Bytes of the blocks that were added.
    pub bytes: u64,
}

/// What was read.
#[derive(Debug, PartialEq, Eq)]
pub enum Piece {
    /// These records, the first of which has this number.
    Good(u64, Vec<Stored>),
    /// What is there cannot be read: from this number up to the other one, or to the end.
    Bad(u64, Option<u64>),
}

/// The open file.
pub struct Store {
    // Closed before `reserve`: to close a file of its own while SQLite has it open would give up SQLite's locks.
    pub(super) db: Connection,
    pub(super) reserve: Reserve,
    path: PathBuf,
    pub(super) limits: Limits,
    /// Bytes that were put and not committed.
    pub(super) put: u64,
}

impl Store {
    /// Opens the file at `path`, or makes it.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] for a file that is not a spool of this version.
    pub fn open(path: &Path, limits: Limits) -> Result<Self, StoreError> {
        let limits = Limits { bytes: limits.bytes.max(Limits::LEAST), ..limits };
        let mut db = Connection::open(path)?;
        db.busy_timeout(Duration::from_secs(5))?;
        let pages: u64 = db.pragma_query_value(None, "page_count", |row| row.get(0))?;
        if pages == 0 {
            db.pragma_update(None, "page_size", PAGE as i64)?;
            // So that space can be given back a few pages at a time. It writes some 6 % more (measured at 10 and at 400 records a second).
            db.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
            db.pragma_update(None, "application_id", APPLICATION)?;
        }
        rows::check(&db)?;
        let mode: String = db.query_row("PRAGMA journal_mode=WAL", [], |row| row.get(0))?;
        if mode != "wal" {
            return Err(StoreError::Other(format!("the file system does not let SQLite keep its log (mode {mode})")));
        }
        let synchronous = match limits.durability {
            Durability::EveryCommit => "FULL",
            Durability::Relaxed => "NORMAL",
        };
        db.pragma_update(None, "synchronous", synchronous)?;
        db.pragma_update(None, "cache_size", -512)?;
        db.pragma_update(None, "temp_store", "MEMORY")?;
        // These two answer with a row.
        let log = i64::try_from(limits.log_pages()).unwrap_or(2000);
        db.query_row(&format!("PRAGMA wal_autocheckpoint={log}"), [], |_| Ok(()))?;
        db.query_row(&format!("PRAGMA journal_size_limit={}", limits.log_bytes()), [], |_| Ok(()))?;
        let made = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
        for kind in Kind::ALL {
            made.execute_batch(&format!(
                "CREATE TABLE IF NOT EXISTS {} (id INTEGER PRIMARY KEY, records INTEGER NOT NULL, first INTEGER NOT NULL, \
                 last INTEGER NOT NULL, raw INTEGER NOT NULL, data BLOB NOT NULL)",
                rows::table(kind)
            ))?;
        }
        let version: i32 = made.pragma_query_value(None, "user_version", |row| row.get(0))?;
        if version != VERSION {
            made.pragma_update(None, "user_version", VERSION)?;
        }
        made.commit()?;
        let reserve = Reserve::open(path)?;
        Ok(Self { db, reserve, path: path.to_path_buf(), limits, put: 0 })
    }

    /// By kind: numbers of the records that are there.
    ///
    /// # Errors
    /// Any [`StoreError`].
    pub fn spans(&self) -> Result<[Range<u64>; 4], StoreError> {
        let mut spans = [const { 1..1 }; 4];
        for (kind, span) in Kind::ALL.into_iter().zip(&mut spans) {
            *span = rows::span(&self.db, kind)?;
        }
        Ok(spans)
    }

    /// By kind: numbers of the records that are there, rising. Reads each row.
    ///
    /// # Errors
    /// Any [`StoreError`].
    pub fn present(&self) -> Result<[Vec<Range<u64>>; 4], StoreError> {
        let mut present = [const { Vec::new() }; 4];
        for (kind, present) in Kind::ALL.into_iter().zip(&mut present) {
            *present = rows::present(&self.db, kind)?;
        }
        Ok(present)
    }

    /// The first block of `kind` that holds a record with `number` or a larger one; `None` if there is none.
    ///
    /// # Errors
    /// Any [`StoreError`]. A block that was read and is not what was written is a [`Piece::Bad`].
    pub fn read(&self, kind: Kind, number: u64) -> Result<Option<Piece>, StoreError> {
        // The one that begins at the number or before it. How far it reaches only its content tells for sure.
        if let Some(before) = rows::last_to(&self.db, kind, number)? {
            match block::decode(&before) {
                Ok(records) if before.number + records.len() as u64 > number => {
                    return Ok(Some(Piece::Good(before.number, records)));
                }
                Err(_) if before.number.saturating_add(before.records.max(1)) > number => {
                    return Ok(Some(self.bad(&before)?));
                }
                _ => {}
            }
        }
        let Some(block) = rows::read_after(&self.db, kind, number)? else { return Ok(None) };
        Ok(Some(match block::decode(&block) {
            Ok(records) => Piece::Good(block.number, records),
            Err(_) => self.bad(&block)?,
        }))
    }

    fn bad(&self, block: &Block) -> Result<Piece, StoreError> {
        Ok(Piece::Bad(block.number, rows::next_number(&self.db, block.kind, block.number)?))
    }

    /// Does all of `change` or nothing.
    ///
    /// # Errors
    /// Any [`StoreError`]. [`StoreError::Full`] is found before anything is written where the file system can say so;
    /// what is only to be removed needs no space.
    pub fn commit(&mut self, change: &Change) -> Result<Outcome, StoreError> {
        let need: u64 = change.blocks.iter().map(|b| b.data.len() as u64 + ROW).sum();
        let mut instead_of = None;
        if need > 0
            && let Err(error) = self.reserve(need, false)
        {
            if error != StoreError::Full {
                return Err(error);
            }
            self.relieve(change)?;
            if let Err(error) = self.reserve(need, true) {
                instead_of = change.instead_of.filter(|_| error == StoreError::Full);
                if instead_of.is_none() {
                    return Err(error);
                }
                self.reserve.ensure_log(need)?;
            }
        }
        let mut outcome = Outcome::default();
        let work = self.db.transaction_with_behavior(TransactionBehavior::Immediate)?;
        remove_done(&work, change)?;
        if let Some(kind) = instead_of
            && !rows::sacrifice(&work, kind, need, &mut outcome.dropped)?
        {
            return Err(StoreError::Full);
        }
        // A file that is beyond a bound that was lowered does not grow; `tidy` makes it smaller.
        let most = self.limits.file_bytes().max(rows::used(&work)?);
        let from = rows::make_room(&work, &change.blocks, need, most, &mut { u64::MAX }, &mut outcome.dropped)?;
        for block in change.blocks.iter().filter(|b| from.get(b.kind.index()).is_none_or(|&from| b.number >= from)) {
            rows::insert(&work, block)?;
            outcome.bytes += block.data.len() as u64;
        }
        work.commit()?;
        Ok(outcome)
    }

    /// Makes sure that `need` bytes can be added. The log begins anew if it was `restarted`.
    pub(super) fn reserve(&mut self, need: u64, restarted: bool) -> Result<(), StoreError> {
        let free = rows::free(&self.db)? * PAGE;
        let size = rows::used(&self.db)? + free;
        Ok(self.reserve.ensure(size, need.saturating_sub(free), need, restarted)?)
    }

    /// The disk is full: only removes what is done with, for which there is always room, and empties the log.
    pub(super) fn relieve(&mut self, change: &Change) -> Result<(), StoreError> {
        let work = self.db.transaction_with_behavior(TransactionBehavior::Immediate)?;
        remove_done(&work, change)?;
        work.commit()?;
        let left: (i64, i64, i64) = self
            .db
            .query_row("PRAGMA wal_checkpoint(RESTART)", [], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
        if left.0 == 0 && left.1 == left.2 { Ok(()) } else { Err(StoreError::Full) }
    }

    /// Removes the records of `kind` that `matches`; how many these were.
    ///
    /// # Errors
    /// Any [`StoreError`]; then nothing is removed.
    pub(super) fn purge(&mut self, kind: Kind, matches: &dyn Fn(&Stored) -> bool) -> Result<u64, StoreError> {
        let work = self.db.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let purged = rows::purge(&work, kind, matches)?;
        work.commit()?;
        Ok(purged)
    }

    /// Arrival of the oldest record, milliseconds since 1970 UTC; `None` if it is not known or there is none.
    ///
    /// # Errors
    /// Any [`StoreError`].
    pub fn oldest_ms(&self) -> Result<Option<u64>, StoreError> {
        let mut oldest = None;
        for kind in Kind::ALL {
            let first = rows::first_ms(&self.db, kind)?.filter(|&ms| ms > 0);
            oldest = oldest.into_iter().chain(first).min();
        }
        Ok(oldest)
    }

    /// Bytes of the file that hold something. The rest of it is there for what comes next.
    ///
    /// # Errors
    /// Any [`StoreError`].
    pub fn used_bytes(&self) -> Result<u64, StoreError> {
        Ok(rows::used(&self.db)?)
    }

    /// Bytes that the file and its log take on the disk.
    pub fn disk_bytes(&self) -> u64 {
        disk_bytes(&self.path)
    }
}

/// Bytes of a spool's file and its log.
pub(super) fn disk_bytes(path: &Path) -> u64 {
    ["", "-wal", "-shm"]
        .iter()
        .map(|end| std::fs::metadata(beside(path, end)).map_or(0, |m| m.len()))
        .fold(0, u64::saturating_add)
}

/// The path with `end` behind its file's name.
pub(super) fn beside(path: &Path, end: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(end);
    name.into()
}

fn remove_done(db: &Connection, change: &Change) -> rusqlite::Result<()> {
    for kind in Kind::ALL {
        let head = change.heads.get(kind.index()).copied().unwrap_or(0);
        let done = change.done.get(kind.index()).into_iter().flatten();
        for range in std::iter::once(&(0..head)).chain(done) {
            rows::remove(db, kind, range)?;
        }
    }
    Ok(())
}

#[cfg(test)]
#[path = "store_tests.rs"]
mod tests;
