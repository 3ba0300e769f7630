//! Why a model or bundle was refused.

use std::io;
use std::path::PathBuf;

use super::archive::ArchiveError;
use super::labels::LabelsError;
use super::place::ConfigError;
use crate::store::StoreError;

/// Why a model or bundle was refused, in a text that names the file and what to do.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// Neither a path nor the name of an installed bundle.
    #[error("no model \"{model}\": there is no such file or folder, and no bundle of that name in {looked_in}{hint}")]
    NotFound {
        /// What was asked for.
        model: String,
        /// The folders of the bundle search path.
        looked_in: String,
        /// A name that may have been meant, or nothing.
        hint: String,
    },
    /// A path that does not exist.
    #[error("{}: no such file or folder", .0.display())]
    Missing(PathBuf),
    /// A file or folder cannot be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// Which one.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A path that is not what is needed there.
    #[error("{}: {why}", path.display())]
    Unusable {
        /// Which one.
        path: PathBuf,
        /// What it is and what to do.
        why: String,
    },
    /// A mistake in `bundle.toml`.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A mistake in the label file.
    #[error(transparent)]
    Labels(#[from] LabelsError),
    /// A bad archive.
    #[error("{}: {source}", path.display())]
    Archive {
        /// Which one.
        path: PathBuf,
        /// What is wrong.
        source: ArchiveError,
    },
    /// A file that `bundle.toml` names is not there.
    #[error("{}: bundle.toml names \"{file}\" (key `{key}`), but there is no such file in the bundle", origin.display())]
    NoFile {
        /// The bundle.
        origin: PathBuf,
        /// The file.
        file: String,
        /// The key that names it.
        key: &'static str,
    },
    /// A file's content is not what was promised.
    #[error(
        "{}: {file} is not the file that was promised: SHA-256 {expected} expected, {found} found; it is damaged, or \
         was replaced without a new digest",
        origin.display()
    )]
    Digest {
        /// The bundle.
        origin: PathBuf,
        /// The file.
        file: String,
        /// The promised digest.
        expected: String,
        /// The digest of what is there.
        found: String,
    },
    /// A bundle that no configured key has signed.
    #[error("{}: the signature is refused: {why}", origin.display())]
    Signature {
        /// The bundle.
        origin: PathBuf,
        /// What is wrong with it and what to do.
        why: String,
    },
    /// A file that should hold a key does not.
    #[error("the key {} {why}", path.display())]
    Key {
        /// Which one.
        path: PathBuf,
        /// What is wrong with it and what to do.
        why: String,
    },
    /// The store of installed bundles cannot give what was asked for.
    #[error(transparent)]
    Store(Box<StoreError>),
    /// A file is not a model.
    #[error("{}: not an ONNX model: {why}", path.display())]
    NotAModel {
        /// Which one.
        path: PathBuf,
        /// How that is known, and what to do.
        why: String,
    },
}

impl From<StoreError> for BundleError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Bundle(error) => error,
            error => Self::Store(Box::new(error)),
        }
    }
}

impl BundleError {
    pub(crate) fn io(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| match source.kind() {
            io::ErrorKind::NotFound => Self::Missing(path),
            _ => Self::Io { path, source },
        }
    }

    pub(super) fn unusable(path: impl Into<PathBuf>, why: impl Into<String>) -> Self {
        Self::Unusable { path: path.into(), why: why.into() }
    }
}
