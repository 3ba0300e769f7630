//! The checks of `vigil bundle verify`: what can be known without loading the model. The mistakes of all parts are told at
//! once, but of `bundle.toml` the first one only.

use std::fmt;
use std::path::Path;

use serde::Serialize;

use super::files::Files;
use super::manifest::{self, Manifest};
use super::sign::{self, PublicKey, SIGNATURE};
use super::{BundleError, check_reference, check_variant, matching, onnx_file, read_labels, read_manifest};

/// One thing that was checked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What was checked.
    pub check: String,
    /// Whether it is as it should be.
    pub ok: bool,
    /// What was found, or what is wrong.
    pub detail: String,
}

/// The outcome of all checks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// What was verified.
    pub path: String,
    /// Whether every check passed.
    pub ok: bool,
    /// The bundle's identity, if its files could be read.
    pub digest: Option<String>,
    /// The checks in the order in which they were made; those that a failure made impossible are left out.
    pub checks: Vec<Check>,
}

/// Verifies the folder or archive at `path`, of which one of `keys` must have signed the digest if there are any.
pub fn verify(path: &Path, keys: &[PublicKey]) -> Report {
    let mut checks = Vec::new();
    let digest = run(path, keys, &mut checks);
    Report { path: path.display().to_string(), ok: checks.iter().all(|c| c.ok), digest, checks }
}

/// Notes the outcome of one check and gives its value on.
fn note<T>(
    checks: &mut Vec<Check>,
    check: impl Into<String>,
    outcome: Result<T, BundleError>,
    detail: impl Fn(&T) -> String,
) -> Option<T> {
    let (ok, detail) = match &outcome {
        Ok(value) => (true, detail(value)),
        Err(e) => (false, e.to_string()),
    };
    checks.push(Check { check: check.into(), ok, detail });
    outcome.ok()
}

fn run(path: &Path, keys: &[PublicKey], checks: &mut Vec<Check>) -> Option<String> {
    let files = note(checks, "files", Files::open(path), |f| {
        let bytes: u64 = f.names().filter_map(|n| f.entry(n)).map(|(size, _)| size).sum();
        format!("{} files, {bytes} bytes", f.names().count())
    })?;
    let describe = |m: &Manifest| format!("{} {}, format {}", m.name, m.release, manifest::FORMAT);
    if let Some(manifest) = note(checks, manifest::FILE_NAME, read_manifest(&files), describe) {
        contents(path, &files, &manifest, checks);
    }
    let digest = files.digest();
    let signature = files.entry(SIGNATURE).map(|_| files.read(SIGNATURE)).transpose();
    let signed = matches!(signature, Ok(Some(_)));
    let outcome = signature.and_then(|signature| {
        sign::verify_text(&digest, signature.as_deref(), keys)
            .map_err(|why| BundleError::Signature { origin: path.into(), why })
    });
    note(checks, "signature", outcome, |by| match by {
        Some(key) => format!("signed by {key}"),
        None if signed => "not checked: no public key is configured here".into(),
        None => "not signed, and no public key is configured that asks for it".into(),
    });
    Some(digest)
}

fn contents(path: &Path, files: &Files, manifest: &Manifest, checks: &mut Vec<Check>) {
    let labels = note(checks, "labels", read_labels(path, files, manifest), |l| format!("{} labels", l.len()));
    if let Some(labels) = labels {
        note(checks, "thresholds", manifest.output(&labels).map_err(BundleError::from), |o| match o.per_class.len() {
            0 => format!("{} for every class", o.confidence),
            1 => format!("{} for all but 1 class", o.confidence),
            n => format!("{} for all but {n} classes", o.confidence),
        });
    }
    for variant in &manifest.variants {
        let outcome = check_variant(path, files, variant).and_then(|()| {
            let bytes = files.read(&variant.file)?;
            onnx_file::check(&bytes)
                .map_err(|why| BundleError::NotAModel { path: files.shown(&variant.file).into(), why })?;
            Ok(bytes.len())
        });
        let name = format!("variant {}", variant.file);
        note(checks, name, outcome, |size| format!("{size} bytes, SHA-256 {}", variant.sha256));
    }
    if let Some(reference) = &manifest.reference {
        let pictures = matching(files, &reference.images).len();
        note(checks, "reference", check_reference(path, files, reference), |()| format!("{pictures} pictures"));
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let width = self.checks.iter().map(|c| c.check.chars().count()).max().unwrap_or(0);
        for Check { check, ok, detail } in &self.checks {
            writeln!(f, "{} {check:width$}  {detail}", if *ok { "ok  " } else { "FAIL" })?;
        }
        match &self.digest {
            Some(digest) => write!(f, "digest {digest}"),
            None => write!(f, "no digest: the files could not be read"),
        }
    }
}
