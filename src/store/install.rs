//! How a bundle comes into the store.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use super::record::{RECORD, Record};
use super::{Release, Store, StoreError, disk, lease, now};
use crate::bundle::sign::{self, PublicKey, SIGNATURE};
use crate::bundle::{Bundle, BundleError};

/// Size of a block of most file systems, bytes.
const BLOCK: u64 = 4096;

/// How to install.
#[derive(Debug, Clone, Default)]
pub struct InstallOptions {
    /// Keys of which one must have signed the bundle; none: unsigned ones are taken too.
    pub keys: Vec<PublicKey>,
    /// Most bytes of all releases in the store; `None`: what `store.toml` says.
    pub max_bytes: Option<u64>,
}

/// What became of an installation.
#[derive(Debug, Clone)]
pub struct Installed {
    /// The bundle's name.
    pub name: String,
    /// Its release.
    pub release: String,
    /// Its digest.
    pub digest: String,
    /// Its folder in the store.
    pub path: PathBuf,
    /// Fingerprint of the key that signed it, if keys were asked for.
    pub signed_by: Option<String>,
    /// Whether it was there already, with the same content.
    pub was_there: bool,
    /// Whether it is the current release of its name, as the first one is.
    pub current: bool,
    /// Releases that had to go for the size limit, as `name@release`.
    pub removed: Vec<String>,
}

/// A folder of the staging area that nobody takes for left over, because it is locked.
struct Staging {
    path: PathBuf,
    held: File,
}

impl Store {
    /// Puts the folder or archive at `bundle_path` into the store: digests and signature are checked, every file is copied
    /// and synced in a staging folder, and that is renamed into place. The first release of a name becomes the current
    /// one. One that is there already with the same digest is left as it is, but for a signature that it lacked; a damaged
    /// copy is replaced.
    ///
    /// # Errors
    /// [`StoreError`]: the bundle is refused, its release is there with another content, or there is no room. The store is
    /// then as it was.
    pub fn install(&self, bundle_path: &Path, options: &InstallOptions) -> Result<Installed, StoreError> {
        let bundle = Bundle::open(bundle_path)?;
        let signed_by = sign::verify(&bundle, &options.keys)?;
        for variant in &bundle.variants {
            bundle.weights(variant)?;
        }
        let limit = match options.max_bytes {
            Some(limit) => Some(limit),
            None => self.settings()?.max_bytes,
        };
        self.bring_in(&bundle, signed_by, limit).map_err(|error| self.explained(error, room(&bundle)))
    }

    /// Installs a checked bundle.
    fn bring_in(
        &self,
        bundle: &Bundle,
        signed_by: Option<String>,
        limit: Option<u64>,
    ) -> Result<Installed, StoreError> {
        let (Staging { path: staging, held }, removed) = {
            let lock = self.lock()?;
            self.tidy(&lock);
            if let Some(there) = self.there_already(&lock, bundle, &signed_by)? {
                return Ok(there);
            }
            let removed = self.make_room(&lock, limit, bundle.size())?;
            self.check_disk(room(bundle))?;
            (self.new_staging("in")?, removed)
        };
        let done = self.fill(&staging, bundle).and_then(|()| {
            let done = self.publish(&staging, held, bundle, signed_by, limit)?;
            Ok(Installed { removed: [removed, done.removed].concat(), ..done })
        });
        if done.is_err() && staging.exists() {
            // Should it stay, the next installation removes it.
            let _ = disk::remove(&staging);
        }
        done
    }

    /// Copies the bundle into a staging folder, all of it synced when this returns.
    fn fill(&self, folder: &Path, bundle: &Bundle) -> Result<(), StoreError> {
        let mut folders = vec![folder.to_path_buf()];
        for file in bundle.files() {
            let content = bundle.read(file)?;
            let path = folder.join(file);
            let parent = path.parent().unwrap_or(folder);
            disk::make_dirs(parent).map_err(StoreError::io(parent))?;
            if !folders.iter().any(|known| known == parent) {
                folders.push(parent.into());
            }
            disk::write_new(&path, &content).map_err(StoreError::io(&path))?;
        }
        for folder in folders {
            disk::sync_dir(&folder).map_err(StoreError::io(&folder))?;
        }
        Ok(())
    }

    /// Moves a filled staging folder, which is `held`, into place.
    fn publish(
        &self,
        staging: &Path,
        held: File,
        bundle: &Bundle,
        signed_by: Option<String>,
        limit: Option<u64>,
    ) -> Result<Installed, StoreError> {
        let copy = Bundle::open(staging)?;
        if copy.digest != bundle.digest {
            let (origin, file) = (staging.to_path_buf(), "the copy".to_owned());
            let (expected, found) = (bundle.digest.clone(), copy.digest);
            return Err(BundleError::Digest { origin, file, expected, found }.into());
        }
        let lock = self.lock()?;
        // Another process may have been faster.
        if let Some(there) = self.there_already(&lock, bundle, &signed_by)? {
            // Should it stay, the next installation removes it.
            let _ = disk::remove(staging);
            return Ok(there);
        }
        let removed = self.make_room(&lock, limit, bundle.size())?;
        let others = self.releases(&bundle.name)?;
        let record = Record {
            digest: bundle.digest.clone(),
            bytes: bundle.size(),
            sequence: self.next_sequence()?,
            installed: now(),
            signed_by: signed_by.clone(),
            signed: sign::is_signed(bundle),
            // The first one becomes the current one, and a mended one is what it was.
            confirmed: others.is_empty() || others.iter().any(|r| r.release == bundle.release && r.confirmed),
        };
        self.write_record(staging, &record)?;
        disk::sync_dir(staging).map_err(StoreError::io(staging))?;
        let folder = self.folder(&bundle.name);
        disk::make_dirs(&folder).map_err(StoreError::io(&folder))?;
        let path = folder.join(&bundle.release);
        if fs::symlink_metadata(&path).is_ok() {
            // Damaged, or not from the store: its place is needed.
            self.discard(&lock, &path)?;
        }
        // The lock is the folder's, whatever its name: whoever starts with the release would wait for an installer that is
        // slow or stopped. Nobody tidies now, since the store is locked.
        drop(held);
        disk::rename(staging, &path).map_err(StoreError::io(&path))?;
        let done = self.settled(&lock, bundle, signed_by, false);
        if done.is_err() {
            // An installation that failed is none. Should the release stay, it is a whole one that is not in use.
            let _ = self.discard(&lock, &path);
        }
        done.map(|done| Installed { removed, ..done })
    }

    pub(super) fn write_record(&self, folder: &Path, record: &Record) -> Result<(), StoreError> {
        let path = folder.join(RECORD);
        let text = record.to_text().map_err(|why| StoreError::io(&path)(io::Error::other(why)))?;
        disk::replace(&path, text.as_bytes()).map_err(StoreError::io(&path))
    }

    /// The release as it is in the store, if it is there and whole; a signature that it lacked is added.
    fn there_already(
        &self,
        lock: &lease::WriteLock,
        bundle: &Bundle,
        signed_by: &Option<String>,
    ) -> Result<Option<Installed>, StoreError> {
        let releases = self.releases(&bundle.name)?;
        let Some(there) = releases.iter().find(|r| r.release == bundle.release) else { return Ok(None) };
        if there.digest != bundle.digest {
            return Err(StoreError::OtherContent {
                name: bundle.name.clone(),
                release: bundle.release.clone(),
                installed: there.digest.clone(),
                offered: bundle.digest.clone(),
            });
        }
        let Ok(copy) = self.open(&bundle.name, there) else { return Ok(None) };
        self.add_signature(there, &copy, bundle, signed_by)?;
        self.settled(lock, bundle, signed_by.clone(), true).map(Some)
    }

    /// Gives an installed release the signature of the same bundle, if that is known to be good or there was none.
    fn add_signature(
        &self,
        there: &Release,
        copy: &Bundle,
        bundle: &Bundle,
        signed_by: &Option<String>,
    ) -> Result<(), StoreError> {
        if !sign::is_signed(bundle) {
            return Ok(());
        }
        let (signature, path) = (bundle.read(SIGNATURE)?, copy.origin.join(SIGNATURE));
        let same = sign::is_signed(copy) && *copy.read(SIGNATURE)? == *signature;
        if !same {
            if sign::is_signed(copy) && signed_by.is_none() {
                return Ok(());
            }
            disk::replace(&path, &signature).map_err(StoreError::io(&path))?;
        }
        let earlier = there.signed_by.clone().filter(|_| same);
        let signed_by = signed_by.clone().or(earlier);
        if there.signed_by == signed_by && there.signed {
            return Ok(());
        }
        let record = Record {
            digest: there.digest.clone(),
            bytes: bundle.size(),
            sequence: there.sequence,
            installed: there.installed.clone(),
            signed_by,
            signed: true,
            confirmed: there.confirmed,
        };
        self.write_record(&copy.origin, &record)
    }

    /// Writes the state of the bundle's name, in which its first release is the current one.
    fn settled(
        &self,
        lock: &lease::WriteLock,
        bundle: &Bundle,
        signed_by: Option<String>,
        was_there: bool,
    ) -> Result<Installed, StoreError> {
        let mut known = self.known(&bundle.name)?;
        // Rejected was another content of that release, which is gone.
        if !was_there {
            known.selection.forgive(&bundle.release);
        }
        self.write_state(lock, &bundle.name, &known)?;
        Ok(Installed {
            name: bundle.name.clone(),
            release: bundle.release.clone(),
            digest: bundle.digest.clone(),
            path: self.folder(&bundle.name).join(&bundle.release),
            signed_by,
            was_there,
            current: known.selection.current.as_ref() == Some(&bundle.release),
            removed: Vec::new(),
        })
    }

    /// A new, locked folder in the staging area; called with the store locked.
    fn new_staging(&self, kind: &str) -> Result<Staging, StoreError> {
        let path = self.staging_name(kind)?;
        disk::make_dir(&path).map_err(StoreError::io(&path))?;
        match lease::exclusive(&path) {
            Some(held) => Ok(Staging { path, held }),
            // No locks on this file system: somebody else's tidying may cost this installation, but no release.
            None => File::open(&path).map_err(StoreError::io(&path)).map(|held| Staging { path, held }),
        }
    }

    /// A path in the staging area that nothing has.
    pub(super) fn staging_name(&self, kind: &str) -> Result<PathBuf, StoreError> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let area = self.staging();
        disk::make_dirs(&area).map_err(StoreError::io(&area))?;
        loop {
            let number = COUNT.fetch_add(1, Ordering::Relaxed);
            let path = area.join(format!("{kind}-{}-{number}", std::process::id()));
            if fs::symlink_metadata(&path).is_err() {
                return Ok(path);
            }
        }
    }

    fn next_sequence(&self) -> Result<u64, StoreError> {
        let mut last = 0;
        for name in self.names()? {
            last = self.releases(&name)?.iter().map(|r| r.sequence).fold(last, u64::max);
        }
        Ok(last.saturating_add(1))
    }

    /// Whether the disk has room, so that a large bundle is not copied half for nothing.
    fn check_disk(&self, needed: u64) -> Result<(), StoreError> {
        let free = disk::free_bytes(&self.root).map_err(StoreError::io(&self.root))?;
        if free >= needed {
            return Ok(());
        }
        Err(StoreError::DiskFull { root: self.root.clone(), needed, missing: needed - free })
    }

    /// An error for want of room, told with how much is missing.
    fn explained(&self, error: StoreError, needed: u64) -> StoreError {
        match error {
            StoreError::Io { source, .. } if disk::is_full(&source) => {
                let free = disk::free_bytes(&self.root).unwrap_or(0);
                // A quota says no before the disk is full.
                let missing = needed.saturating_sub(free).max(BLOCK);
                StoreError::DiskFull { root: self.root.clone(), needed, missing }
            }
            error => error,
        }
    }
}

/// Bytes that the bundle takes on a disk: files fill blocks, and each has an entry.
fn room(bundle: &Bundle) -> u64 {
    let files = bundle.files().count() as u64 + 4;
    bundle.size().saturating_add(files.saturating_mul(2 * BLOCK))
}
