//! Looking at spools and taking things out of them, for the command. Reading works beside a gateway that runs.

use std::collections::VecDeque;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags};

use super::super::kind::Kind;
use super::block::{self, Stored};
use super::error::StoreError;
use super::open::{self, SpoolError};
use super::rows;
use super::store::{Durability, Limits, Store, beside, disk_bytes};

/// A spool in a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpoolInfo {
    /// Its name: the file's without `.spool`.
    pub name: String,
    /// Its file.
    pub path: PathBuf,
    /// Bytes that the file and its log take on the disk.
    pub bytes: u64,
    /// Records that wait, by kind in the order of [`Kind::ALL`].
    pub records: [u64; 4],
    /// Arrival of the oldest record, milliseconds since 1970 UTC; `None` if none waits or it is not known.
    pub oldest_utc_ms: Option<u64>,
    /// A process has it.
    pub in_use: bool,
    /// Files that were set aside because they were damaged.
    pub set_aside: Vec<PathBuf>,
    /// Why it cannot be read, if it cannot.
    pub problem: Option<String>,
}

/// Which records are meant; all that match every part that is given.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Those of this camera.
    pub camera: Option<String>,
    /// Those of this kind.
    pub kind: Option<Kind>,
    /// Those that came at this time or later, milliseconds since 1970 UTC.
    pub since_utc_ms: Option<u64>,
}

impl Filter {
    fn kinds(&self) -> impl Iterator<Item = Kind> {
        let kind = self.kind;
        Kind::ALL.into_iter().filter(move |&k| kind.is_none_or(|kind| kind == k))
    }

    fn matches(&self, stored: &Stored) -> bool {
        self.camera.as_ref().is_none_or(|camera| **camera == *stored.record.camera)
            && self.since_utc_ms.is_none_or(|since| stored.utc_ms >= since)
    }
}

/// The spools in `folder`, by name.
///
/// # Errors
/// [`SpoolError::Io`] if the folder cannot be read. A spool that cannot be read has a `problem`.
pub fn list(folder: &Path) -> Result<Vec<SpoolInfo>, SpoolError> {
    let failed = |source| SpoolError::Io { action: "read the folder", path: folder.to_path_buf(), source };
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        names.extend(entry.map_err(failed)?.file_name().into_string());
    }
    names.sort();
    let spools = names.iter().filter_map(|file| file.strip_suffix(".spool"));
    Ok(spools.map(|name| info(folder, name)).collect())
}

fn info(folder: &Path, name: &str) -> SpoolInfo {
    let path = folder.join(format!("{name}.spool"));
    let mut info = SpoolInfo {
        name: name.to_string(),
        bytes: disk_bytes(&path),
        records: [0; 4],
        oldest_utc_ms: None,
        in_use: is_locked(&path),
        set_aside: open::set_asides(&path),
        problem: None,
        path,
    };
    let read = open_to_read(&info.path).and_then(|db| {
        for (kind, records) in Kind::ALL.into_iter().zip(&mut info.records) {
            *records = rows::count(&db, kind)?;
            let first = rows::first_ms(&db, kind)?.filter(|&ms| ms > 0);
            info.oldest_utc_ms = info.oldest_utc_ms.into_iter().chain(first).min();
        }
        Ok(())
    });
    info.problem = read.err().map(|error| error.to_string());
    info
}

/// Whether a process has the spool. Makes no file.
fn is_locked(path: &Path) -> bool {
    let lock = std::fs::File::open(beside(path, ".lock"));
    lock.is_ok_and(|lock| matches!(lock.try_lock_shared(), Err(std::fs::TryLockError::WouldBlock)))
}

fn open_to_read(path: &Path) -> Result<Connection, StoreError> {
    let open = |name: &Path, flags| {
        let db = Connection::open_with_flags(name, flags | OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        db.busy_timeout(std::time::Duration::from_secs(5))?;
        rows::check(&db).map(|()| db)
    };
    open(path, OpenFlags::SQLITE_OPEN_NO_MUTEX).or_else(|error| {
        // In a folder that may not be written SQLite cannot keep its index; a file without a log needs none.
        let alone = !beside(path, "-wal").exists() && matches!(error, StoreError::Other(_));
        let text = path.to_string_lossy().replace('%', "%25").replace('?', "%3f").replace('#', "%23");
        let uri = format!("file:{text}?immutable=1");
        if alone { open(Path::new(&uri), OpenFlags::SQLITE_OPEN_URI) } else { Err(error) }
    })
}

/// Whether `file` is the spool at `path` or belongs to it: its log, the index over that, its lock. It need not be there.
pub fn is_part(path: &Path, file: &Path) -> bool {
    // The same file by another name, and the same name of a file that is to be made.
    let inode = |path: &Path| std::fs::metadata(path).map(|file| (file.dev(), file.ino())).ok();
    let place = |path: &Path| Some((open::folder(path).canonicalize().ok()?, path.file_name()?.to_owned()));
    ["", "-wal", "-shm", ".lock"].iter().map(|end| beside(path, end)).any(|part| {
        inode(file).is_some_and(|inode_of_file| inode(&part) == Some(inode_of_file))
            || place(file).is_some_and(|place_of_file| place(&part) == Some(place_of_file))
    })
}

/// A record of a spool, or a gap.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// A record, and its arrival in milliseconds since 1970 UTC; 0 if that is not known.
    Record(Stored),
    /// So many records cannot be read.
    Damaged(u64),
}

/// The records of the spool at `path` that `filter` matches: by kind, the most important one first, and those of one kind in
/// the order of their arrival. What is acknowledged or comes meanwhile may or may not be among them.
///
/// # Errors
/// [`SpoolError::Missing`], or [`SpoolError::Store`] if the file is no spool. The iterator gives an error and then ends where
/// the file cannot be read any further.
pub fn records(
    path: &Path,
    filter: Filter,
) -> Result<impl Iterator<Item = Result<Found, SpoolError>> + use<>, SpoolError> {
    if !path.exists() {
        return Err(SpoolError::Missing { path: path.to_path_buf() });
    }
    let failed = |source| SpoolError::Store { path: path.to_path_buf(), source };
    let db = open_to_read(path).map_err(failed)?;
    let kinds = filter.kinds().collect();
    Ok(Records { db, path: path.to_path_buf(), filter, kinds, after: 0, found: VecDeque::new() })
}

/// Reads one block at a time, each in a transaction of its own, so that the writer's log can be copied in between.
struct Records {
    db: Connection,
    path: PathBuf,
    filter: Filter,
    kinds: VecDeque<Kind>,
    after: u64,
    found: VecDeque<Found>,
}

impl Iterator for Records {
    type Item = Result<Found, SpoolError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(found) = self.found.pop_front() {
                return Some(Ok(found));
            }
            let kind = *self.kinds.front()?;
            match rows::read_after(&self.db, kind, self.after) {
                Ok(None) => {
                    self.kinds.pop_front();
                    self.after = 0;
                }
                Ok(Some(block)) => {
                    self.after = block.number;
                    match block::decode(&block) {
                        Ok(records) => {
                            let matching = records.into_iter().filter(|stored| self.filter.matches(stored));
                            self.found.extend(matching.map(Found::Record));
                        }
                        Err(_) => self.found.push_back(Found::Damaged(block.records)),
                    }
                }
                Err(source) => {
                    self.kinds.clear();
                    return Some(Err(SpoolError::Store { path: self.path.clone(), source }));
                }
            }
        }
    }
}

/// Removes the records of the spool at `path` that `filter` matches; how many these were. Blocks that cannot be read are left
/// for the gateway, which sets them aside.
///
/// # Errors
/// [`SpoolError::InUse`] while a gateway has it, others as for [`records`].
pub fn purge(path: &Path, filter: &Filter) -> Result<u64, SpoolError> {
    if !path.exists() {
        return Err(SpoolError::Missing { path: path.to_path_buf() });
    }
    let failed = |source| SpoolError::Store { path: path.to_path_buf(), source };
    // A file that is no spool gets no lock beside it.
    open_to_read(path).map_err(failed)?;
    let _lock = open::lock(path)?;
    let limits = Limits { bytes: u64::MAX >> 1, age: None, durability: Durability::EveryCommit };
    let mut store = Store::open(path, limits).map_err(failed)?;
    let mut purged = 0;
    for kind in filter.kinds() {
        purged += store.purge(kind, &|stored| filter.matches(stored)).map_err(failed)?;
    }
    let mut more = store.shrink(false).map_err(failed)?;
    while more {
        more = store.shrink(true).map_err(failed)?;
    }
    Ok(purged)
}
