//! A model as one unit: weights, labels, what goes in, what comes out, and proof that it is what it says.
//!
//! [`ModelSource::open`] takes what a user wrote for `model` and finds a bundle's folder, a `.vigil` archive or a bare
//! `.onnx` file. docs/bundles.md describes the format.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub mod archive;
pub mod contract;
pub mod create;
pub mod digest;
mod error;
mod files;
pub mod labels;
pub mod manifest;
pub mod modelinfo;
pub(crate) mod names;
mod onnx_file;
pub mod pack;
pub(crate) mod place;
mod schema;
pub mod sign;
mod source;
pub mod summary;
pub mod verify;

pub use error::BundleError;
pub use manifest::{Precision, Reference, TrialLimits, Variant};
pub use modelinfo::ModelInfo;
pub use place::ConfigError;
pub use source::{ModelSource, locate};

use contract::{InputContract, Labels, OutputContract, Task};
use files::Files;
use manifest::Manifest;

use crate::drift::Summary;
use crate::store::Lease;

/// A bundle whose manifest, labels and digests have been checked; whether the model agrees is for `post` to find out.
#[derive(Debug, Clone)]
pub struct Bundle {
    /// Identity.
    pub name: String,
    /// Release of that name; empty for a bare model.
    pub release: String,
    /// What the model answers.
    pub task: Task,
    /// Licence of the weights.
    pub license: Option<String>,
    /// How the model's answers are usually distributed, where its makers say so.
    pub predictions: Option<Summary>,
    /// Labels by class id; empty for embeddings.
    pub labels: Labels,
    /// The model's input.
    pub input: InputContract,
    /// The model's output.
    pub output: OutputContract,
    /// Files of weights, at least one.
    pub variants: Vec<Variant>,
    /// Proof before activation.
    pub reference: Option<Reference>,
    /// How the model is watched after its activation.
    pub probation: TrialLimits,
    /// How the model is watched beside the active one.
    pub shadow: TrialLimits,
    /// SHA-256 over the names and digests of all files ([`digest::of_files`]); that of the file for a bare model.
    pub digest: String,
    /// The folder, archive or file it was opened from.
    pub origin: PathBuf,
    /// What the user should know about how it was come by: that the store had to give another release, say.
    pub warnings: Vec<String>,
    files: Files,
    /// Keeps the store from removing it.
    lease: Option<Arc<Lease>>,
}

impl Bundle {
    /// Opens a folder or a `.vigil` archive, and checks the digests of its variants.
    ///
    /// # Errors
    /// [`BundleError`] for the first thing that is wrong.
    pub fn open(path: &Path) -> Result<Self, BundleError> {
        Self::assemble(path, Files::open(path)?)
    }

    /// A bundle from files that are already in memory, by their paths; `origin` is what errors call it.
    ///
    /// # Errors
    /// [`BundleError`] for the first thing that is wrong.
    pub fn from_files(origin: &Path, files: BTreeMap<String, Vec<u8>>) -> Result<Self, BundleError> {
        Self::assemble(origin, Files::memory(origin, files))
    }

    /// A bundle around a model without one, from what was recognised. `digest` is the file's SHA-256, `size` its length
    /// in bytes. Its name is the file's stem, its only variant goes with every provider.
    pub fn bare(
        path: &Path,
        (digest, size): (String, u64),
        task: Task,
        labels: Labels,
        input: InputContract,
        output: OutputContract,
    ) -> Self {
        let part = |p: Option<&std::ffi::OsStr>| p.unwrap_or_default().to_string_lossy().into_owned();
        let (name, file) = (part(path.file_stem()), part(path.file_name()));
        let variant = Variant { file: file.clone(), sha256: digest.clone(), precision: None, providers: None };
        Self {
            name,
            release: String::new(),
            task,
            license: None,
            predictions: None,
            labels,
            input,
            output,
            variants: vec![variant],
            reference: None,
            probation: TrialLimits::default(),
            shadow: TrialLimits::default(),
            digest: digest.clone(),
            origin: path.into(),
            warnings: Vec::new(),
            files: Files::single(path, file, size, digest),
            lease: None,
        }
    }

    fn assemble(origin: &Path, files: Files) -> Result<Self, BundleError> {
        let manifest = read_manifest(&files)?;
        let labels = read_labels(origin, &files, &manifest)?;
        let output = manifest.output(&labels)?;
        for variant in &manifest.variants {
            check_variant(origin, &files, variant)?;
        }
        if let Some(reference) = &manifest.reference {
            check_reference(origin, &files, reference)?;
        }
        let predictions = read_predictions(origin, &files, &manifest)?;
        Ok(Self {
            name: manifest.name,
            release: manifest.release,
            task: manifest.task,
            license: manifest.license,
            predictions,
            labels,
            input: manifest.input,
            output,
            variants: manifest.variants,
            reference: manifest.reference,
            probation: manifest.probation,
            shadow: manifest.shadow,
            digest: files.digest(),
            origin: origin.into(),
            warnings: Vec::new(),
            files,
            lease: None,
        })
    }

    /// The same bundle with every file in memory, checked against its digest: nothing changes under whoever loads it.
    ///
    /// # Errors
    /// As [`Bundle::read`].
    pub fn stage(self) -> Result<Self, BundleError> {
        Ok(Self { files: self.files.stage()?, ..self })
    }

    /// Holds the release in the store for as long as the bundle or a copy of it lives.
    pub(crate) fn holding(self, lease: Lease) -> Self {
        Self { lease: Some(Arc::new(lease)), ..self }
    }

    /// Whether it is a release of the store, and held there.
    pub fn is_held(&self) -> bool {
        self.lease.is_some()
    }

    /// Name and release, if it came from the store and is held there; `None` for one that was opened by a path or found in
    /// [`bundle_dirs`](crate::paths::bundle_dirs), whatever its name. Only what plays from the store follows the store.
    pub fn stored(&self) -> Option<(&str, &str)> {
        self.is_held().then_some((&*self.name, &*self.release))
    }

    /// Bytes of all files together.
    pub fn size(&self) -> u64 {
        self.files.names().filter_map(|name| self.files.entry(name)).map(|(size, _)| size).sum()
    }

    /// Paths of all files inside the bundle, ascending.
    pub fn files(&self) -> impl Iterator<Item = &str> {
        self.files.names()
    }

    /// The content of a file of the bundle.
    ///
    /// # Errors
    /// [`BundleError`] if there is no such file, it cannot be read, or it has changed since the bundle was opened.
    pub fn read(&self, file: &str) -> Result<Cow<'_, [u8]>, BundleError> {
        self.files.read(file)
    }

    /// The weights of a variant.
    ///
    /// # Errors
    /// As [`Bundle::read`], and [`BundleError::NotAModel`] if they cannot be an ONNX model.
    pub fn weights(&self, variant: &Variant) -> Result<Cow<'_, [u8]>, BundleError> {
        let bytes = self.read(&variant.file)?;
        onnx_file::check(&bytes)
            .map_err(|why| BundleError::NotAModel { path: self.files.shown(&variant.file).into(), why })?;
        Ok(bytes)
    }

    /// The first variant meant for the execution provider, such as `cpu`.
    pub fn variant_for(&self, provider: &str) -> Option<&Variant> {
        self.variants.iter().find(|v| v.providers.as_ref().is_none_or(|list| list.iter().any(|p| p == provider)))
    }

    /// Paths of the reference pictures inside the bundle, ascending; empty without a reference set.
    pub fn reference_images(&self) -> Vec<&str> {
        self.reference.as_ref().map(|r| matching(&self.files, &r.images)).unwrap_or_default()
    }
}

fn read_manifest(files: &Files) -> Result<Manifest, BundleError> {
    Ok(manifest::parse(&files.read(manifest::FILE_NAME)?, &files.shown(manifest::FILE_NAME))?)
}

fn read_labels(origin: &Path, files: &Files, manifest: &Manifest) -> Result<Labels, BundleError> {
    let Some(file) = &manifest.labels else { return Ok(Labels::new()) };
    require(origin, files, file, "labels")?;
    Ok(labels::parse(&files.read(file)?, &files.shown(file))?)
}

fn read_predictions(origin: &Path, files: &Files, manifest: &Manifest) -> Result<Option<Summary>, BundleError> {
    let Some(file) = &manifest.predictions else { return Ok(None) };
    require(origin, files, file, "predictions")?;
    let wrong = |why: String| BundleError::Unusable {
        path: files.shown(file).into(),
        why: format!("not what `vigil bundle predictions` writes: {why}"),
    };
    let summary: Summary = serde_json::from_slice(&files.read(file)?).map_err(|error| wrong(error.to_string()))?;
    // What has no field of a summary would be one of nothing.
    if summary.frames() == 0 { Err(wrong("it counts no frames".into())) } else { Ok(Some(summary)) }
}

/// The length and digest of a file that `bundle.toml` names under `key`.
fn require<'a>(origin: &Path, files: &'a Files, file: &str, key: &'static str) -> Result<(u64, &'a str), BundleError> {
    // The signature is no part of what is signed, so nothing may depend on it.
    files.entry(file).filter(|_| file != sign::SIGNATURE).ok_or_else(|| BundleError::NoFile {
        origin: origin.into(),
        file: file.into(),
        key,
    })
}

fn check_variant(origin: &Path, files: &Files, variant: &Variant) -> Result<(), BundleError> {
    let (_, found) = require(origin, files, &variant.file, "variant.file")?;
    if found == variant.sha256 {
        return Ok(());
    }
    let (file, expected) = (variant.file.clone(), variant.sha256.clone());
    Err(BundleError::Digest { origin: origin.into(), file, expected, found: found.into() })
}

fn check_reference(origin: &Path, files: &Files, reference: &Reference) -> Result<(), BundleError> {
    require(origin, files, &reference.expected, "reference.expected")?;
    for pattern in &reference.images {
        if matching(files, std::slice::from_ref(pattern)).is_empty() {
            return Err(BundleError::NoFile { origin: origin.into(), file: pattern.clone(), key: "reference.images" });
        }
    }
    Ok(())
}

/// The files that match one of `patterns`.
fn matching<'a>(files: &'a Files, patterns: &[String]) -> Vec<&'a str> {
    let options = glob::MatchOptions { require_literal_separator: true, ..Default::default() };
    let patterns: Vec<glob::Pattern> = patterns.iter().filter_map(|p| glob::Pattern::new(p).ok()).collect();
    let names = files.names().filter(|name| *name != sign::SIGNATURE);
    names.filter(|name| patterns.iter().any(|p| p.matches_with(name, options))).collect()
}

#[cfg(test)]
pub(crate) mod tests;
