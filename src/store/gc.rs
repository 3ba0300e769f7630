//! What leaves the store.

use std::fs;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};
use toml::Spanned;

use super::lease::{self, WriteLock};
use super::{Store, StoreError, disk};
use crate::bundle::place::Source;
use crate::export::units::parse_size;

/// The user's settings, in the store's folder.
const SETTINGS: &str = "store.toml";

/// What `store.toml` says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settings {
    /// Most bytes of all releases.
    pub max_bytes: Option<u64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct SettingsFile {
    max_size: Option<Spanned<String>>,
}

/// A release that was removed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Removed {
    /// The bundle's name.
    pub name: String,
    /// Its release.
    pub release: String,
    /// Bytes of its files.
    pub bytes: u64,
}

impl Store {
    /// The settings in `store.toml`.
    ///
    /// # Errors
    /// [`StoreError::Config`] for a mistake in it.
    pub fn settings(&self) -> Result<Settings, StoreError> {
        let path = self.root.join(SETTINGS);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Settings::default()),
            Err(e) => return Err(StoreError::io(&path)(e)),
        };
        let source = Source { file: &path.display().to_string(), text: &text };
        let SettingsFile { max_size } = source.parse()?;
        let Some(size) = max_size else { return Ok(Settings::default()) };
        let max_bytes = parse_size(size.get_ref()).map_err(|e| source.error(size.span(), e.to_string()))?;
        Ok(Settings { max_bytes: Some(max_bytes) })
    }

    /// Removes what killed processes left behind, and unused releases, oldest first: until all together take at most
    /// `max_bytes`, or without it every one. Current, previous and candidate of a name are in use, and so is what any
    /// process holds.
    ///
    /// # Errors
    /// [`StoreError::Io`] if something cannot be removed. What was removed until then stays so.
    pub fn gc(&self, max_bytes: Option<u64>) -> Result<Vec<Removed>, StoreError> {
        if !self.root.is_dir() {
            return Ok(Vec::new());
        }
        let lock = self.lock()?;
        self.tidy(&lock);
        self.shrink(&lock, max_bytes.unwrap_or(0))
    }

    /// Bytes of all releases.
    ///
    /// # Errors
    /// [`StoreError::Io`] if a folder cannot be read.
    pub fn size(&self) -> Result<u64, StoreError> {
        let mut total = 0u64;
        for name in self.names()? {
            total = self.releases(&name)?.iter().fold(total, |total, r| total.saturating_add(r.bytes));
        }
        Ok(total)
    }

    /// Makes room for `needed` more bytes under the limit; gives what was removed, as `name@release`.
    pub(super) fn make_room(
        &self,
        lock: &WriteLock,
        limit: Option<u64>,
        needed: u64,
    ) -> Result<Vec<String>, StoreError> {
        let Some(limit) = limit else { return Ok(Vec::new()) };
        // Nothing is removed for what would not fit anyway.
        let could_go: u64 = self.unused()?.iter().map(|(_, r)| r.bytes).sum();
        let must_stay = self.size()?.saturating_sub(could_go);
        let missing = must_stay.saturating_add(needed).saturating_sub(limit);
        if missing > 0 {
            return Err(StoreError::Limit { root: self.root.clone(), limit, missing });
        }
        let removed = self.shrink(lock, limit.saturating_sub(needed))?;
        Ok(removed.into_iter().map(String::from).collect())
    }

    /// The releases that nothing refers to and nobody holds, oldest first.
    fn unused(&self) -> Result<Vec<(u64, Removed)>, StoreError> {
        let mut list = Vec::new();
        for name in self.names()? {
            let known = self.known(&name)?;
            // Which of them is good is not known: all of them are kept until the next change has settled it.
            if known.lost {
                continue;
            }
            for r in &known.releases {
                if known.selection.in_use().any(|used| used == r.release) || self.in_use(&name, &r.release) {
                    continue;
                }
                list.push((r.sequence, Removed { name: name.clone(), release: r.release.clone(), bytes: r.bytes }));
            }
        }
        list.sort_by_key(|(sequence, _)| *sequence);
        Ok(list)
    }

    /// Removes unused releases, oldest first, until all together take at most `limit`.
    fn shrink(&self, lock: &WriteLock, limit: u64) -> Result<Vec<Removed>, StoreError> {
        let mut total = self.size()?;
        let mut removed = Vec::new();
        for (_, release) in self.unused()? {
            if total <= limit {
                break;
            }
            let path = self.folder(&release.name).join(&release.release);
            // Somebody may have begun to use it since.
            let Some(right) = lease::exclusive(&path) else { continue };
            self.discard(lock, &path)?;
            drop(right);
            total = total.saturating_sub(release.bytes);
            removed.push(release);
        }
        Ok(removed)
    }

    /// Takes a folder out of the store: renamed first, so that half of a release is never in its place.
    pub(super) fn discard(&self, _lock: &WriteLock, path: &Path) -> Result<(), StoreError> {
        let aside = self.staging_name("out")?;
        disk::rename(path, &aside).map_err(StoreError::io(path))?;
        // Should it stay, the next tidying removes it.
        let _ = disk::remove(&aside);
        Ok(())
    }

    /// Removes what killed processes left in the staging area. What cannot be removed stays for the next time.
    pub(super) fn tidy(&self, _lock: &WriteLock) {
        let Ok(items) = fs::read_dir(self.staging()) else { return };
        for path in items.flatten().map(|item| item.path()) {
            // A folder that is locked is somebody's installation; a link or a file is nobody's.
            let folder = fs::symlink_metadata(&path).is_ok_and(|m| m.is_dir());
            if !folder || lease::exclusive(&path).is_some() {
                let _ = disk::remove(&path);
            }
        }
    }
}

impl From<Removed> for String {
    fn from(removed: Removed) -> Self {
        format!("{}@{}", removed.name, removed.release)
    }
}
