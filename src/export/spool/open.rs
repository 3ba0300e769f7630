//! Opening a spool: the lock, and what to do with a file that is damaged or not a spool.

use std::fmt::Write as _;
use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::ops::Range;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::super::record::timestamp;
use super::error::StoreError;
use super::rescue;
use super::store::{Limits, Store, beside};

/// What the name of a file that was set aside goes on with, and of one that is being made.
const ASIDE: &str = ".corrupt-";
const NEW: &str = ".new";
/// So many files of a spool that were set aside are kept.
const KEPT: usize = 3;

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
    #[error("there is no spool {}; `vigil spool show --folder FOLDER` lists those that there are", path.display())]
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
pub(super) struct Salvage {
    /// Where the file was put.
    aside: PathBuf,
    /// What was wrong with it.
    why: String,
    /// By kind: from the smallest number of the records that were found in it up to after the largest one; `0..0` if that is not known.
    pub seen: [Range<u64>; 4],
    /// Why not all that was found could be copied.
    problem: Option<String>,
    /// Files that were set aside earlier and are gone now.
    removed: Vec<PathBuf>,
}

impl Salvage {
    /// For the user: a sentence. `kept` records are there; those that are missing between them and up to the last one that is known are
    /// `lost`, unless they were sent or purged.
    pub(super) fn text(&self, kept: u64, lost: u64) -> String {
        let mut text = format!(
            "a spool was set aside as {}, since {}; {kept} records were recovered, about {lost} are lost",
            self.aside.display(),
            self.why
        );
        if let Some(problem) = &self.problem {
            let _ = write!(text, "; not all of it could be copied: {problem}");
        }
        for removed in &self.removed {
            let _ = write!(text, "; {} was removed to make room", removed.display());
        }
        text
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
/// is damaged. By kind, records with smaller numbers than `heads` are not needed any more.
pub(super) fn open(
    path: &Path,
    limits: Limits,
    utc_ns: u64,
    heads: &[u64; 4],
) -> Result<(Store, Option<Salvage>), SpoolError> {
    let failed = |source| SpoolError::Store { path: path.to_path_buf(), source };
    let resumed = resume(path, limits)?;
    let opened = || Store::open(path, limits).and_then(|store| store.spans().map(|_| store));
    // What cannot be read at once may be readable the next time.
    let again = |error| if matches!(error, StoreError::Unreadable(_)) { opened() } else { Err(error) };
    let why = match opened().or_else(again).or_else(again) {
        Ok(store) => return Ok((store, resumed)),
        Err(StoreError::Damaged(why) | StoreError::Unreadable(why)) => why,
        Err(error) => return Err(failed(error)),
    };
    let (store, salvage) = replace(path, limits, utc_ns, why, heads)?;
    Ok((store, Some(salvage)))
}

/// Makes a new spool of what can be read of the one at `path`, which nothing has open, and sets that aside.
///
/// The new one is made beside it, whole, before the old one is moved, so that this can be cut off anywhere: either the old one is where it
/// was, or it has gone and the new one is [taken](resume).
pub(super) fn replace(
    path: &Path,
    limits: Limits,
    utc_ns: u64,
    why: String,
    heads: &[u64; 4],
) -> Result<(Store, Salvage), SpoolError> {
    let failed = |source| SpoolError::Store { path: path.to_path_buf(), source };
    let removed = remove_oldest(path);
    let new = beside(path, NEW);
    remove_leftovers(path);
    let made = Store::open(&new, limits).and_then(|mut store| {
        let rescued = rescue::copy(path, &mut store, heads)?;
        store.close_whole()?;
        Ok(rescued)
    });
    let rescued = made.inspect_err(|_| remove_leftovers(path)).map_err(failed)?;
    let aside = set_aside(path, utc_ns)?;
    put_in_place(path)?;
    let store = Store::open(path, limits).map_err(failed)?;
    Ok((store, Salvage { aside, why, seen: rescued.seen, problem: rescued.problem, removed }))
}

/// Ends a replacement that was cut off after the old file had gone.
fn resume(path: &Path, limits: Limits) -> Result<Option<Salvage>, SpoolError> {
    let new = beside(path, NEW);
    if !is_missing(path) || is_missing(&new) {
        remove_leftovers(path);
        return Ok(None);
    }
    // If it has a log, that goes into it.
    drop(Store::open(&new, limits));
    // The old file was the last one that was renamed; its log may be where it was.
    let renamed = |aside: &PathBuf| std::fs::metadata(aside).map(|file| (file.ctime(), file.ctime_nsec())).ok();
    let aside = set_asides(path).into_iter().max_by_key(renamed);
    match &aside {
        Some(aside) if is_missing(&beside(aside, "-wal")) => move_log(path, aside)?,
        _ => drop(std::fs::remove_file(beside(path, "-wal"))),
    }
    put_in_place(path)?;
    let (aside, why) = (aside.unwrap_or(new), "it was damaged".to_owned());
    Ok(Some(Salvage { aside, why, seen: Default::default(), problem: None, removed: Vec::new() }))
}

fn is_missing(path: &Path) -> bool {
    std::fs::symlink_metadata(path).is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
}

/// The folder that a file is in.
pub(super) fn folder(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Moves the new file to where the old one was.
fn put_in_place(path: &Path) -> Result<(), SpoolError> {
    rename(&beside(path, NEW), path)?;
    // A rename that a power cut takes back is made again.
    let _ = File::open(folder(path)).and_then(|folder| folder.sync_all());
    Ok(())
}

/// Removes what a replacement that was cut off had begun.
fn remove_leftovers(path: &Path) {
    for end in ["", "-wal", "-shm", "-journal"] {
        let _ = std::fs::remove_file(beside(&beside(path, NEW), end));
    }
    rescue::remove_mended(path);
}

/// Moves the file and its log out of the way.
fn set_aside(path: &Path, utc_ns: u64) -> Result<PathBuf, SpoolError> {
    let time = timestamp(utc_ns).strftime("%Y%m%dT%H%M%SZ");
    let taken = |aside: &PathBuf| aside.exists() || beside(aside, "-wal").exists();
    let mut aside = beside(path, &format!("{ASIDE}{time}"));
    let mut number = 1;
    while taken(&aside) {
        number += 1;
        aside = beside(path, &format!("{ASIDE}{time}-{number}"));
    }
    rename(path, &aside)?;
    move_log(path, &aside)?;
    Ok(aside)
}

fn move_log(path: &Path, aside: &Path) -> Result<(), SpoolError> {
    if !is_missing(&beside(path, "-wal")) {
        rename(&beside(path, "-wal"), &beside(aside, "-wal"))?;
    }
    // An index over the log; SQLite makes it again.
    let _ = std::fs::remove_file(beside(path, "-shm"));
    Ok(())
}

fn rename(from: &Path, to: &Path) -> Result<(), SpoolError> {
    let failed = |source| SpoolError::Io { action: "rename", path: from.to_path_buf(), source };
    std::fs::rename(from, to).map_err(failed)
}

/// The files of the spool at `path` that were set aside, the oldest first.
pub(super) fn set_asides(path: &Path) -> Vec<PathBuf> {
    let folder = folder(path);
    let start = format!("{}{ASIDE}", path.file_name().unwrap_or_default().to_string_lossy());
    let files = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let names = files.filter_map(|file| file.file_name().into_string().ok());
    let mut asides: Vec<_> = names
        .filter(|file| !file.ends_with("-wal") && !file.ends_with("-shm"))
        .filter_map(|file| {
            let (time, number) = file.strip_prefix(&start).map(|rest| rest.split_once('-').unwrap_or((rest, "1")))?;
            Some((time.to_owned(), number.parse::<u32>().ok()?, folder.join(&file)))
        })
        .collect();
    asides.sort();
    asides.into_iter().map(|(_, _, path)| path).collect()
}

/// Removes the oldest files that were set aside, so that there is room for one more; those that are gone.
fn remove_oldest(path: &Path) -> Vec<PathBuf> {
    let mut asides = set_asides(path);
    asides.truncate((asides.len() + 1).saturating_sub(KEPT));
    for end in ["-wal", "-shm"] {
        asides.iter().for_each(|aside| drop(std::fs::remove_file(beside(aside, end))));
    }
    asides.retain(|aside| std::fs::remove_file(aside).is_ok());
    asides
}
