//! Why the store refuses.

use std::io;
use std::path::PathBuf;

use crate::bundle::{BundleError, ConfigError};

/// Why the store refused, in a text that names the release and what to do.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The bundle itself is refused.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// A mistake in `store.toml`.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A file or folder of the store cannot be read or written.
    #[error("the store cannot use {}: {source}", path.display())]
    Io {
        /// Which one.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A text that cannot be the name of a bundle or a release.
    #[error("the name \"{name}\" {why}")]
    Name {
        /// The text.
        name: String,
        /// What is wrong with it.
        why: String,
    },
    /// There is no such bundle, or no such release of it.
    #[error("{} is not in the store {}: {}; vigil bundle install puts one there", wanted, root.display(), there)]
    NotInstalled {
        /// What was asked for.
        wanted: String,
        /// The store.
        root: PathBuf,
        /// What is there instead.
        there: String,
    },
    /// The release is there with another content.
    #[error(
        "{name} {release} is in the store already with another content (digest {installed}, and {offered} is the digest \
         of what is to be installed); a release never changes: give the new content a release of its own in bundle.toml"
    )]
    OtherContent {
        /// The bundle's name.
        name: String,
        /// Its release.
        release: String,
        /// Digest of what is in the store.
        installed: String,
        /// Digest of what was offered.
        offered: String,
    },
    /// None of a bundle's releases can be used.
    #[error("no release of {name} in the store can be used: {tried}; install one again with vigil bundle install")]
    Unusable {
        /// The bundle's name.
        name: String,
        /// Each release with its reason.
        tried: String,
    },
    /// The size limit leaves no room.
    #[error(
        "the store {} is full: {missing} more bytes are needed under its limit of {limit}, and what is left in it is in \
         use; raise max-size, or remove releases that are in use",
        root.display()
    )]
    Limit {
        /// The store.
        root: PathBuf,
        /// The limit in bytes.
        limit: u64,
        /// Bytes over it.
        missing: u64,
    },
    /// The disk leaves no room.
    #[error(
        "no room on the disk of {}: the bundle takes {needed} bytes, and {missing} of them are missing; nothing was \
         installed. Free some, with vigil bundle gc for example",
        root.display()
    )]
    DiskFull {
        /// The store.
        root: PathBuf,
        /// Bytes that the bundle takes.
        needed: u64,
        /// Bytes of these that have no room.
        missing: u64,
    },
    /// Nothing to go back to.
    #[error(
        "{name} has no previous release to go back to, so {current} stays current; {there}; choose one with vigil bundle \
         use {name}@RELEASE"
    )]
    NoPrevious {
        /// The bundle's name.
        name: String,
        /// Its current release.
        current: String,
        /// What is there instead.
        there: String,
    },
    /// Another process keeps the store locked.
    #[error(
        "the store {} is being changed by another process and was not free within {seconds} s; try again when that is \
         done",
        root.display()
    )]
    Busy {
        /// The store.
        root: PathBuf,
        /// How long this one waited.
        seconds: u64,
    },
}

impl StoreError {
    pub(super) fn io(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { path, source }
    }
}
