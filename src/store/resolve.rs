//! From a name to a release that is whole.

use std::path::PathBuf;

use super::{Known, Lease, Release, Store, StoreError, checked};
use crate::bundle::Bundle;

/// Looks at a selection that keeps changing.
const RETRIES: usize = 10;

/// A release that is whole, and held.
#[derive(Debug, Clone)]
pub struct Resolved {
    /// Its folder.
    pub path: PathBuf,
    /// The release.
    pub release: String,
    /// The bundle, opened and found to have the digest with which it was installed. It holds the release in the store for
    /// as long as it or a copy of it lives, and its `warnings` say what was wrong with others.
    pub bundle: Bundle,
}

impl Store {
    /// The release `release` of a bundle; without one, the current release, or where that is damaged the best one that is
    /// whole: the previous one, then the newest that was current before, then the newest. `None` if the store has no such bundle or no such release.
    ///
    /// Reads all files of the release, to compare their digests.
    ///
    /// # Errors
    /// [`StoreError::Unusable`] if what there is is damaged.
    pub fn resolve(&self, name: &str, release: Option<&str>) -> Result<Option<Resolved>, StoreError> {
        checked(name)?;
        if let Some(release) = release {
            checked(release)?;
        }
        let mut known = self.known(name)?;
        for _ in 0..RETRIES {
            let found = self.first_whole(name, release, &known);
            if found.as_ref().is_ok_and(|found| found.as_ref().is_none_or(|f| f.bundle.warnings.is_empty())) {
                return found;
            }
            // What cannot be used may have been replaced, and removed, since the selection was read.
            let again = self.known(name)?;
            if again.selection == known.selection {
                return found;
            }
            known = again;
        }
        self.first_whole(name, release, &known)
    }

    /// A release of the store, whole and held.
    ///
    /// # Errors
    /// [`StoreError::NotInstalled`] if it is not there, [`StoreError::Unusable`] if it is damaged.
    pub fn open_release(&self, name: &str, release: &str) -> Result<Bundle, StoreError> {
        match self.resolve(name, Some(release))? {
            Some(found) => Ok(found.bundle),
            None => Err(self.not_installed(name, Some(release), &[])),
        }
    }

    /// The best release that is whole, or the one that was asked for.
    fn first_whole(&self, name: &str, release: Option<&str>, known: &Known) -> Result<Option<Resolved>, StoreError> {
        let choices: Vec<&Release> = match release {
            Some(release) => known.releases.iter().filter(|r| r.release == release).collect(),
            None => by_merit(known),
        };
        if choices.is_empty() {
            return match release {
                Some(_) if !known.releases.is_empty() => Err(self.not_installed(name, release, &known.releases)),
                _ => Ok(None),
            };
        }
        let mut warnings = known.warnings.clone();
        let mut tried = Vec::new();
        for choice in choices {
            match self.open(name, choice) {
                Ok(mut bundle) => {
                    warnings
                        .extend(tried.iter().map(|why| format!("{name}: {why}; {} is used instead", choice.release)));
                    let path = bundle.origin.clone();
                    bundle.warnings = warnings;
                    return Ok(Some(Resolved { path, release: choice.release.clone(), bundle }));
                }
                Err(why) => tried.push(format!("the release {} cannot be used: {why}", choice.release)),
            }
        }
        Err(StoreError::Unusable { name: name.into(), tried: tried.join("; ") })
    }

    /// Holds and opens a release, and compares it with its record.
    pub(super) fn open(&self, name: &str, release: &Release) -> Result<Bundle, String> {
        let path = self.folder(name).join(&release.release);
        let lease = Lease::take(&path).map_err(|e| e.to_string())?;
        let bundle = Bundle::open(&path).map_err(|e| e.to_string())?;
        if (bundle.name.as_str(), bundle.release.as_str()) != (name, release.release.as_str()) {
            return Err(format!("it says that it is {} {}", bundle.name, bundle.release));
        }
        if bundle.digest != release.digest {
            return Err(format!("damaged: its digest was {} and is {}", release.digest, bundle.digest));
        }
        Ok(bundle.holding(lease))
    }
}

/// All releases, the one to use first.
fn by_merit(known: &Known) -> Vec<&Release> {
    let selection = &known.selection;
    let mut list: Vec<&Release> = known.releases.iter().rev().collect();
    let is = |place: &Option<String>, r: &Release| place.as_ref() == Some(&r.release);
    list.sort_by_key(|r| {
        let others = (selection.is_rejected(&r.release), is(&selection.candidate, r));
        (!is(&selection.current, r), !is(&selection.previous, r), !r.confirmed, others)
    });
    list
}
