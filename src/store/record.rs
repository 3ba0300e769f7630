//! What the store notes about a release when it is installed.

use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{Known, Selection, Store, StoreError, folders, lease};

/// The record's file in the release's folder: a bundle has no files whose names begin with a dot.
pub(super) const RECORD: &str = ".release.toml";
/// Longest record, bytes.
const MAX_RECORD: u64 = 16 * 1024;

/// What was noted about a release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Record {
    /// The bundle's digest.
    pub digest: String,
    /// Bytes of its files.
    pub bytes: u64,
    /// Its place in the order of installation: the clock of a machine without a battery is no order.
    pub sequence: u64,
    /// When it was installed, as UTC in RFC 3339.
    pub installed: String,
    /// The key that it was found to be signed by then.
    pub signed_by: Option<String>,
    /// Whether it had a signature at all.
    pub signed: bool,
    /// Whether it has ever been the current release, and was not rejected since. Here and not in the state file, so that it
    /// outlives that. Earlier versions did not write it.
    #[serde(default)]
    pub confirmed: bool,
}

/// A release in the store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Release {
    /// The release.
    pub release: String,
    /// The bundle's digest.
    pub digest: String,
    /// Bytes of its files.
    pub bytes: u64,
    /// When it was installed, as UTC in RFC 3339.
    pub installed: String,
    /// Fingerprint of the key that had signed it when it was installed; `None`: no key was configured then, or
    /// it was not signed.
    pub signed_by: Option<String>,
    /// Whether it had a signature at all.
    pub signed: bool,
    /// Its place in the order of installation, over the whole store.
    pub sequence: u64,
    /// Whether it has ever been the current release of its name, as the first one is from the start, and was not rejected
    /// since: only then the store goes back to it by itself.
    pub confirmed: bool,
}

impl Record {
    pub fn read(folder: &Path) -> Result<Self, String> {
        let path = folder.join(RECORD);
        let found = fs::symlink_metadata(&path).map_err(|e| format!("{RECORD}: {e}"))?;
        if !found.is_file() || found.len() > MAX_RECORD {
            return Err(format!("{RECORD} is no record of the store"));
        }
        let text = fs::read_to_string(&path).map_err(|e| format!("{RECORD}: {e}"))?;
        toml::from_str(&text).map_err(|e| format!("{RECORD}: {}", e.message()))
    }

    pub fn to_text(&self) -> Result<String, String> {
        toml::to_string(self).map_err(|e| e.to_string())
    }
}

impl Store {
    /// The releases of a name, oldest installation first. What has no record was not put there by the store and does not
    /// count.
    pub(super) fn releases(&self, name: &str) -> Result<Vec<Release>, StoreError> {
        let folder = self.folder(name);
        if fs::symlink_metadata(&folder).is_ok_and(|m| !m.is_dir()) {
            return Ok(Vec::new());
        }
        let mut list: Vec<Release> = folders(&folder)?
            .into_iter()
            .filter_map(|release| {
                let record = Record::read(&folder.join(&release)).ok()?;
                let Record { digest, bytes, sequence, installed, signed_by, signed, confirmed } = record;
                Some(Release { release, digest, bytes, installed, signed_by, signed, sequence, confirmed })
            })
            .collect();
        list.sort_by(|a, b| (a.sequence, &a.release).cmp(&(b.sequence, &b.release)));
        Ok(list)
    }

    /// Notes in the records which releases have been current, before the state that makes them so is written.
    pub(super) fn note_confirmed(&self, name: &str, known: &Known) -> Result<(), StoreError> {
        let Selection { current, previous, .. } = &known.selection;
        for r in &known.releases {
            let used = [current, previous].into_iter().flatten().any(|used| *used == r.release);
            let confirmed = used || r.confirmed && !known.selection.is_rejected(&r.release);
            let folder = self.folder(name).join(&r.release);
            // One that cannot be read any more is that of a damaged release.
            if let Ok(record) = Record::read(&folder)
                && record.confirmed != confirmed
            {
                self.write_record(&folder, &Record { confirmed, ..record })?;
            }
        }
        Ok(())
    }

    /// Whether some process uses the release now.
    pub fn in_use(&self, name: &str, release: &str) -> bool {
        let folder = self.folder(name).join(release);
        folder.is_dir() && lease::exclusive(&folder).is_none()
    }
}
