//! Installed bundles: releases side by side in one folder, and for each name which of them is in use.
//!
//! ```text
//! store/
//!   store.toml             the user's settings, optional
//!   .lock                  who changes the store
//!   .staging/              releases on their way in and out
//!   people/
//!     state.toml           current, previous, candidate, rejected: a Selection
//!     state.old.toml       the one before, should that one be lost
//!     2026.11.1/           a release: the bundle's files, and a Record
//! ```
//!
//! A process may be killed, and the power may fail, at any point: whatever is published (a release's folder, a state file)
//! is synced first and then renamed into place. Readers take no lock. What is in use is held by a [`Lease`].

mod disk;
#[cfg(test)]
mod disk_tests;
mod error;
mod follow;
mod gc;
mod install;
mod known;
mod lease;
mod record;
mod resolve;
mod state;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

pub use error::StoreError;
pub use follow::{Following, Wanted, follow};
pub use gc::{Removed, Settings};
pub use install::{InstallOptions, Installed};
pub use lease::Lease;
pub use record::Release;
pub use resolve::Resolved;
pub use state::{Rejected, Selection};

use crate::bundle::names::check_name;
use crate::paths;
use known::Known;
use lease::WriteLock;

/// The file with the selection of a bundle, and the copy of the one before.
const STATE: &str = "state.toml";
const OLD_STATE: &str = "state.old.toml";
/// What an unreadable state file becomes.
const BROKEN_STATE: &str = "state.broken.toml";
/// Most characters of a rejection's reason.
const MAX_REASON: usize = 500;

/// The store of installed bundles at one place; a mere path until something is asked of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Store {
    root: PathBuf,
}

/// A bundle of the store with its releases.
#[derive(Debug, Clone)]
pub struct Entry {
    /// The bundle's name.
    pub name: String,
    /// Which of the releases is in use.
    pub selection: Selection,
    /// The releases, oldest installation first.
    pub releases: Vec<Release>,
    /// What is wrong with it.
    pub warnings: Vec<String>,
}

impl Store {
    /// The store of [`paths::store_dir`].
    pub fn default_place() -> Option<Self> {
        paths::store_dir().map(|root| Self { root })
    }

    /// The store in the folder `root`, which need not exist.
    pub fn at(root: &Path) -> Self {
        Self { root: root.into() }
    }

    /// Whether the store has releases of `name`; `false` too for what is no name.
    pub fn knows(&self, name: &str) -> bool {
        check_name(name).is_ok() && self.releases(name).is_ok_and(|list| !list.is_empty())
    }

    /// The confirmed release to use where `model`, `NAME` or `NAME@RELEASE`, does not work, written the same way: the
    /// current one, or if that is meant the one before.
    pub fn instead_of(&self, model: &str) -> Option<String> {
        let (name, release) = model.split_once('@').map_or((model, None), |(name, release)| (name, Some(release)));
        let Selection { current, previous, .. } = self.knows(name).then(|| self.selection(name).ok()).flatten()?;
        let refused = release.map(str::to_owned).or_else(|| current.clone());
        let other = current.into_iter().chain(previous).find(|other| Some(other) != refused.as_ref())?;
        Some(format!("{name}@{other}"))
    }

    /// Its folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The names of the bundles that have a release in it, ascending.
    ///
    /// # Errors
    /// [`StoreError::Io`] if a folder cannot be read.
    pub fn names(&self) -> Result<Vec<String>, StoreError> {
        let mut names = folders(&self.root)?;
        names.retain(|name| self.releases(name).is_ok_and(|list| !list.is_empty()));
        Ok(names)
    }

    /// Everything in the store, by name.
    ///
    /// # Errors
    /// [`StoreError::Io`] if a folder cannot be read.
    pub fn list(&self) -> Result<Vec<Entry>, StoreError> {
        let entry = |name: String| {
            let Known { selection, releases, warnings, .. } = self.known(&name)?;
            Ok(Entry { name, selection, releases, warnings })
        };
        self.names()?.into_iter().map(entry).collect()
    }

    /// Which release of a bundle is in use. A state file that is lost or damaged is made up for: by the one before, else
    /// by the newest release that was current before; one that never was is taken only where there is no other.
    ///
    /// # Errors
    /// [`StoreError::NotInstalled`] if there is no release of it.
    pub fn selection(&self, name: &str) -> Result<Selection, StoreError> {
        let known = self.known(name)?;
        if known.releases.is_empty() {
            return Err(self.not_installed(name, None, &known.releases));
        }
        Ok(known.selection)
    }

    /// Makes a release the candidate: those who follow the bundle try it, and the first one with which it proves itself
    /// confirms it. An earlier rejection is forgotten. The current release is no candidate.
    ///
    /// # Errors
    /// [`StoreError::NotInstalled`] if it is not there, [`StoreError::Io`] if the state cannot be written.
    pub fn propose(&self, name: &str, release: &str) -> Result<Selection, StoreError> {
        self.change(name, release, |selection, _| selection.propose(release))
    }

    /// Makes a release the current one, and the one that was it the previous one, in one durable step. Once more changes
    /// nothing.
    ///
    /// # Errors
    /// As [`propose`](Self::propose).
    pub fn confirm(&self, name: &str, release: &str) -> Result<Selection, StoreError> {
        self.change(name, release, |selection, _| selection.confirm(release))
    }

    /// Makes a release that has proved itself the current one, as [`confirm`](Self::confirm) does, if it is still wanted:
    /// it is the candidate or the current one, and nobody has rejected it or gone back from it meanwhile. Otherwise
    /// nothing changes, and this is `false`; so for a release that is not there any more. For whoever has tried a release
    /// that the store named; a user's choice needs no leave.
    ///
    /// # Errors
    /// [`StoreError::Name`] for what is no name, [`StoreError::Io`] if the state cannot be written.
    pub fn confirm_if_wanted(&self, name: &str, release: &str) -> Result<bool, StoreError> {
        let mut wanted = false;
        let changed = self.change(name, release, |selection, _| {
            let place = [&selection.candidate, &selection.current].into_iter().flatten().any(|r| r == release);
            wanted = place && !selection.is_rejected(release);
            if wanted {
                selection.confirm(release);
            }
        });
        match changed {
            Ok(_) => Ok(wanted),
            Err(StoreError::NotInstalled { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Takes a release back: it is neither candidate nor previous any more, and if it was the current one, the previous
    /// one is that again; without one, the newest that was current before and was not rejected since. Where there is none
    /// either it stays current: one that was never confirmed is no way back. It is remembered with the reason, so that
    /// those who follow do not try it again.
    ///
    /// # Errors
    /// As [`propose`](Self::propose).
    pub fn reject(&self, name: &str, release: &str, reason: &str) -> Result<Selection, StoreError> {
        let reason: String = reason.chars().take(MAX_REASON).collect();
        self.change(name, release, |selection, releases| {
            let good = |r: &&Release| r.confirmed && r.release != release && !selection.is_rejected(&r.release);
            let otherwise = releases.iter().rev().find(good).map(|r| r.release.clone());
            selection.reject(release, otherwise, &reason, now());
        })
    }

    /// Makes the previous release the current one again, and remembers the one that was it as rejected. A candidate is
    /// taken back too.
    ///
    /// # Errors
    /// [`StoreError::NoPrevious`] if there is none; otherwise as [`propose`](Self::propose).
    pub fn rollback(&self, name: &str) -> Result<Selection, StoreError> {
        let known = self.known(name)?;
        let (Some(current), Some(previous)) = (&known.selection.current, &known.selection.previous) else {
            if known.releases.is_empty() {
                return Err(self.not_installed(name, None, &known.releases));
            }
            return Err(no_previous(name, &known));
        };
        let mut stays = false;
        let after = self.change(name, previous, |selection, _| {
            // Somebody may have been faster: what is asked for is to be rid of this release.
            let still = selection.current.as_ref() == Some(current);
            stays = still && selection.previous.is_none();
            if stays {
                return;
            }
            if still {
                selection.reject(current, None, "rolled back by hand", now());
            }
            selection.candidate = None;
        })?;
        if stays { Err(no_previous(name, &self.known(name)?)) } else { Ok(after) }
    }

    /// The folder of a name.
    fn folder(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// Where releases are put together and taken apart.
    fn staging(&self) -> PathBuf {
        self.root.join(".staging")
    }

    /// The right to change the store, whose folder is made if need be.
    fn lock(&self) -> Result<WriteLock, StoreError> {
        disk::make_dirs(&self.root).map_err(StoreError::io(&self.root))?;
        WriteLock::take(&self.root)
    }

    /// Changes the selection of a name with the release in it.
    fn change(
        &self,
        name: &str,
        release: &str,
        by: impl FnOnce(&mut Selection, &[Release]),
    ) -> Result<Selection, StoreError> {
        for word in [name, release] {
            checked(word)?;
        }
        if !self.folder(name).join(release).is_dir() {
            return Err(self.not_installed(name, Some(release), &self.releases(name)?));
        }
        let lock = self.lock()?;
        let mut known = self.known(name)?;
        if !known.releases.iter().any(|r| r.release == release) {
            return Err(self.not_installed(name, Some(release), &known.releases));
        }
        by(&mut known.selection, &known.releases);
        self.write_state(&lock, name, &known)?;
        Ok(known.selection)
    }

    /// Writes what is known, if the file does not say so already.
    fn write_state(&self, _lock: &WriteLock, name: &str, known: &Known) -> Result<(), StoreError> {
        let path = self.folder(name).join(STATE);
        let failed = |e: io::Error| StoreError::io(&path)(e);
        let text = known.selection.to_text().map_err(|why| failed(io::Error::other(why)))?;
        self.note_confirmed(name, known)?;
        if known.text.as_ref() == Some(&text) {
            return Ok(());
        }
        match &known.text {
            Some(old) => disk::replace(&path.with_file_name(OLD_STATE), old.as_bytes()).map_err(failed)?,
            // Set aside, for whoever wants to know what happened.
            None if fs::symlink_metadata(&path).is_ok() => {
                let aside = path.with_file_name(BROKEN_STATE);
                if fs::symlink_metadata(&aside).is_ok() {
                    disk::remove(&aside).map_err(failed)?;
                }
                disk::rename(&path, &aside).map_err(failed)?;
            }
            None => {}
        }
        disk::replace(&path, text.as_bytes()).map_err(failed)
    }

    fn not_installed(&self, name: &str, release: Option<&str>, installed: &[Release]) -> StoreError {
        let wanted = release.map_or_else(|| name.to_owned(), |release| format!("{name}@{release}"));
        let there = match installed.is_empty() {
            true => match self.names().unwrap_or_default() {
                names if names.is_empty() => "it is empty".into(),
                names => format!("it has {}", names.join(", ")),
            },
            false => there(installed),
        };
        StoreError::NotInstalled { wanted, root: self.root.clone(), there }
    }
}

fn no_previous(name: &str, known: &Known) -> StoreError {
    let current = known.selection.current.clone().unwrap_or_else(|| "none".into());
    StoreError::NoPrevious { name: name.into(), current, there: there(&known.releases) }
}

/// The releases that are there, in words.
fn there(installed: &[Release]) -> String {
    let list: Vec<&str> = installed.iter().map(|r| r.release.as_str()).collect();
    format!("the installed releases are {}", list.join(", "))
}

/// The names of the folders in a folder that may be bundles or releases, ascending; none if it is not there.
fn folders(path: &Path) -> Result<Vec<String>, StoreError> {
    let items = match fs::read_dir(path) {
        Ok(items) => items,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(StoreError::io(path)(e)),
    };
    let mut names = Vec::new();
    for item in items {
        let item = item.map_err(StoreError::io(path))?;
        let Some(name) = item.file_name().to_str().filter(|name| check_name(name).is_ok()).map(str::to_owned) else {
            continue;
        };
        if item.file_type().is_ok_and(|kind| kind.is_dir()) {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

/// A word that may become a folder's name.
fn checked(word: &str) -> Result<(), StoreError> {
    check_name(word).map_err(|why| StoreError::Name { name: word.into(), why })
}

/// The present time, in RFC 3339 to the second.
fn now() -> String {
    jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

#[cfg(test)]
mod crash_tests;
#[cfg(test)]
mod order_tests;
#[cfg(test)]
mod room_tests;
#[cfg(test)]
mod sharing_tests;
#[cfg(test)]
mod tests;
