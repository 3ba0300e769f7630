//! Opening a spool: the lock, and what to do with a file that is damaged or not a spool.

use std::fmt::Write as _;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use super::super::kind::Kind;
use super::super::record::timestamp;
use super::block::{self, Block};
use super::rows;
use super::store::{Limits, PAGE, Store, StoreError, beside};

/// Why a spool cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    /// Not a name for a file.
    #[error("`{name}` is not a name for a spool; use letters, digits, '-', '_' and '.', 100 at most, no '.' in front")]
    Name {
        /// The name.
        name: String,
    },
    /// Another process holds it.
    #[error(
        "{} is in use by another process or exporter; end it, or give each its own folder or name",
        path.display()
    )]
    InUse {
        /// The spool's file.
        path: PathBuf,
    },
    /// There is no such spool.
    #[error("there is no spool {}; `vigil spool show FOLDER` lists those that there are", path.display())]
    Missing {
        /// The spool's file.
        path: PathBuf,
    },
    /// The system refuses.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried: a verb.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// SQLite refuses.
    #[error("cannot use the spool {}: {source}", path.display())]
    Store {
        /// The file.
        path: PathBuf,
        /// Why.
        source: StoreError,
    },
}

/// Held for as long as a process uses a spool.
#[derive(Debug)]
pub(super) struct Lock(#[allow(dead_code, reason = "held, not read")] File);

/// What became of a file that was damaged or not a spool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Salvage {
    /// Where the file was put.
    pub aside: PathBuf,
    /// What was wrong with it.
    pub why: String,
    /// Records that were found in it and are kept.
    pub kept: u64,
    /// Records that seem to be lost: those whose numbers are missing. Some of them may have been sent or purged, and those
    /// at the end are not known.
    pub lost: u64,
}

impl Salvage {
    /// For the user: a sentence.
    pub fn text(&self) -> String {
        let Self { aside, why, kept, lost } = self;
        format!(
            "a spool was set aside as {}, since {why}; {kept} records were recovered, about {lost} are lost",
            aside.display()
        )
    }
}

/// The path of the spool `name` in `folder`.
pub(super) fn path(folder: &Path, name: &str) -> Result<PathBuf, SpoolError> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if name.is_empty() || name.len() > 100 || name.starts_with('.') || !name.chars().all(allowed) {
        return Err(SpoolError::Name { name: name.to_string() });
    }
    Ok(folder.join(format!("{name}.spool")))
}

/// Takes the lock of the spool at `path`.
pub(super) fn lock(path: &Path) -> Result<Lock, SpoolError> {
    let file = beside(path, ".lock");
    let lock = OpenOptions::new().write(true).create(true).truncate(false).open(&file);
    let lock = lock.map_err(|source| SpoolError::Io { action: "open", path: file.clone(), source })?;
    // Who lists spools holds it for a moment.
    let tries = || (0..4).map(|_| lock.try_lock()).inspect(|_| std::thread::sleep(Duration::from_millis(20)));
    let held = lock.try_lock().or_else(|error| tries().find(Result::is_ok).unwrap_or(Err(error)));
    match held {
        Ok(()) => Ok(Lock(lock)),
        Err(TryLockError::WouldBlock) => Err(SpoolError::InUse { path: path.to_path_buf() }),
        Err(TryLockError::Error(source)) => Err(SpoolError::Io { action: "lock", path: file, source }),
    }
}

/// Opens the spool at `path`, of which the lock is held; sets it aside and makes a new one of what can be read of it if it
/// is damaged.
pub(super) fn open(path: &Path, limits: Limits, utc_ns: u64) -> Result<(Store, Option<Salvage>), SpoolError> {
    let failed = |source| SpoolError::Store { path: path.to_path_buf(), source };
    let why = match Store::open(path, limits).and_then(|store| store.spans().map(|_| store)) {
        Ok(store) => return Ok((store, None)),
        Err(StoreError::Damaged(why)) => why,
        Err(error) => return Err(failed(error)),
    };
    let none = [const { 0..0 }; 4];
    let (store, salvage) = replace(path, limits, utc_ns, why, &none)?;
    Ok((store, Some(salvage)))
}

/// Sets the file at `path` aside, which nothing has open, and makes a new one of what can be read of it. `wanted` are the
/// numbers of the records that are known to have been there, by kind; smaller ones are left out.
pub(super) fn replace(
    path: &Path,
    limits: Limits,
    utc_ns: u64,
    why: String,
    wanted: &[Range<u64>; 4],
) -> Result<(Store, Salvage), SpoolError> {
    let aside = set_aside(path, utc_ns)?;
    let failed = |source| SpoolError::Store { path: path.to_path_buf(), source };
    let mut store = Store::open(path, limits).map_err(failed)?;
    let mut salvage = Salvage { aside: aside.clone(), why, kept: 0, lost: 0 };
    let mut rescued = rescue(&aside, &mut store, wanted, &mut salvage);
    if rescued == Ok(false) {
        // Its first page tells where everything is. All spools have nearly the same one.
        let mended = beside(path, ".mended");
        rescued = match mend(&aside, path, &mended) {
            Ok(()) => rescue(&mended, &mut store, wanted, &mut salvage),
            Err(error) => Err(error.into()),
        };
        for end in ["", "-wal", "-shm"] {
            let _ = std::fs::remove_file(beside(&mended, end));
        }
    }
    // What was put so far is there; the rest can still be had from the file that was set aside.
    if let Err(error) = rescued.and_then(|_| store.put_done()) {
        let _ = write!(salvage.why, ", and not all of it could be copied: {error}");
    }
    Ok((store, salvage))
}

/// Renames the file and what belongs to it.
fn set_aside(path: &Path, utc_ns: u64) -> Result<PathBuf, SpoolError> {
    let time = timestamp(utc_ns).strftime("%Y%m%dT%H%M%SZ");
    let taken = |aside: &PathBuf| aside.exists() || beside(aside, "-wal").exists();
    let mut aside = beside(path, &format!(".corrupt-{time}"));
    let mut number = 1;
    while taken(&aside) {
        number += 1;
        aside = beside(path, &format!(".corrupt-{time}-{number}"));
    }
    for end in ["", "-wal"] {
        match std::fs::rename(beside(path, end), beside(&aside, end)) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => {
                return Err(SpoolError::Io { action: "rename", path: beside(path, end), source: e });
            }
            _ => {}
        }
    }
    // An index over the log; SQLite makes it again.
    let _ = std::fs::remove_file(beside(path, "-shm"));
    Ok(aside)
}

/// Copies what can be read of the spool at `from`; `false` if it cannot be read as a spool at all.
fn rescue(from: &Path, store: &mut Store, wanted: &[Range<u64>; 4], salvage: &mut Salvage) -> Result<bool, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let Ok(db) = Connection::open_with_flags(from, flags) else { return Ok(false) };
    if rows::check(&db).is_err() {
        return Ok(false);
    }
    let mut read_any = false;
    for (kind, wanted) in Kind::ALL.into_iter().zip(wanted) {
        let (mut kept, mut first, mut end) = (0, wanted.start, wanted.end);
        let mut keep = |block: &Block| {
            // What is kept is sound, so that its numbers can be trusted.
            if block::decode(block).is_err() || block.number + block.records <= wanted.start {
                return Ok(());
            }
            first = if first == 0 { block.number } else { first.min(block.number) };
            end = end.max(block.number + block.records);
            kept += block.records;
            store.put(block)
        };
        read_any |= blocks(&db, kind, &mut keep)?;
        salvage.kept += kept;
        salvage.lost += end.saturating_sub(first).saturating_sub(kept);
    }
    store.put_done()?;
    Ok(read_any)
}

/// Hands over all blocks of `kind` that can be read; whether anything of the table can.
fn blocks(
    db: &Connection,
    kind: Kind,
    keep: &mut dyn FnMut(&Block) -> Result<(), StoreError>,
) -> Result<bool, StoreError> {
    let (mut readable, mut after) = (false, 0_u64);
    // How far is jumped over what cannot be read; doubled until something can.
    let mut jump = 0_u64;
    loop {
        match rows::read_after(db, kind, after.saturating_add(jump)) {
            Ok(None) => return Ok(readable || jump == 0),
            Ok(Some(block)) => {
                readable = true;
                if jump > 0 {
                    backwards(db, kind, after + 1..block.number, keep)?;
                    jump = 0;
                }
                after = block.number;
                keep(&block)?;
            }
            Err(_) if jump < 1 << 40 => jump = (jump * 2).max(64),
            Err(_) => return Ok(readable),
        }
    }
}

/// Hands over the blocks of a range from its end down to where nothing can be read.
fn backwards(
    db: &Connection,
    kind: Kind,
    range: Range<u64>,
    keep: &mut dyn FnMut(&Block) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let text = format!("SELECT * FROM {} WHERE id >= ?1 AND id < ?2 ORDER BY id DESC", rows::table(kind));
    let Ok(mut rows) = db.prepare(&text) else { return Ok(()) };
    let bounds = [range.start, range.end].map(|n| i64::try_from(n).unwrap_or(i64::MAX));
    let Ok(rows) = rows.query_map(bounds, |row| rows::block(row, kind)) else { return Ok(()) };
    for block in rows {
        match block {
            Ok(block) => keep(&block)?,
            Err(_) => break,
        }
    }
    Ok(())
}

/// Writes a copy of the damaged file `from` to `to` with the first page of the new spool at `fresh`. What someone put before
/// the file is left out.
fn mend(from: &Path, fresh: &Path, to: &Path) -> io::Result<()> {
    const MAGIC: &[u8] = b"SQLite format 3\0";
    let page = PAGE as usize;
    let mut start = Vec::new();
    let mut file = File::open(from)?;
    Read::by_ref(&mut file).take(1 << 20).read_to_end(&mut start)?;
    let offset = start.windows(MAGIC.len()).position(|bytes| bytes == MAGIC).unwrap_or(0);
    file.seek(SeekFrom::Start(offset as u64))?;
    let mut out = File::create(to)?;
    let copied = io::copy(&mut file, &mut out)?;
    let mut first = vec![0; page];
    // The template is a copy of its own: to open the new spool's file here would give up SQLite's locks on it.
    let template = beside(to, ".template");
    let db = Connection::open_with_flags(fresh, OpenFlags::SQLITE_OPEN_READ_ONLY).map_err(io::Error::other)?;
    let copy = db.execute("VACUUM INTO ?1", [template.to_string_lossy()]).map_err(io::Error::other);
    let read = copy.and_then(|_| File::open(&template)?.read_exact(&mut first));
    let _ = std::fs::remove_file(&template);
    read?;
    // SQLite's file format, section 1.3: the size in pages, and no free pages, which nothing is lost by.
    let pages = u32::try_from(copied / PAGE).unwrap_or(u32::MAX).to_be_bytes();
    let counter = first.get(24..28).map(<[u8]>::to_vec).unwrap_or_default();
    for (at, bytes) in [(28, pages.as_slice()), (32, &[0; 8]), (92, &counter)] {
        if let Some(field) = first.get_mut(at..at + bytes.len()) {
            field.copy_from_slice(bytes);
        }
    }
    out.seek(SeekFrom::Start(0))?;
    out.write_all(&first)?;
    out.set_len(copied / PAGE * PAGE)?;
    Ok(())
}
