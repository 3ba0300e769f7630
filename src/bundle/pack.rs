//! A bundle as one file: what `vigil bundle pack` writes.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use super::archive::{EXTENSION, Packer};
use super::{Bundle, BundleError};

/// The name an archive has unless the user chose one: `<name>-<release>.vigil`.
pub fn default_file_name(bundle: &Bundle) -> String {
    format!("{}-{}.{EXTENSION}", bundle.name, bundle.release)
}

/// Writes the bundle's archive; the same files give the same bytes.
///
/// # Errors
/// [`BundleError`] if a file of the bundle cannot be read or has changed since it was opened, or `out` fails.
pub fn write<W: Write>(bundle: &Bundle, out: W) -> Result<W, BundleError> {
    // Errors of the output have no path here; the bundle's is the nearest one.
    let failed = |e| BundleError::Io { path: bundle.origin.clone(), source: e };
    let mut packer = Packer::new(out).map_err(failed)?;
    for file in bundle.files() {
        packer.add(file, &bundle.read(file)?).map_err(failed)?;
    }
    packer.finish().map_err(failed)
}

/// Writes the bundle's archive to the file `out`, which appears whole or not at all, and replaces an earlier one.
///
/// # Errors
/// As [`write()`], and if `out` lies in the bundle's own folder, where it would become a part of the bundle.
pub fn write_file(bundle: &Bundle, out: &Path) -> Result<(), BundleError> {
    let dir = match out.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let real = |path: &Path| fs::canonicalize(path).map_err(BundleError::io(path));
    // A bundle that lies in memory only has no folder to be in.
    if bundle.origin.exists() && real(dir)?.starts_with(real(&bundle.origin)?) {
        return Err(BundleError::unusable(out, "lies in the bundle itself; name a file outside of it with -o"));
    }
    let mut partial = out.as_os_str().to_owned();
    partial.push(".partial");
    let partial = PathBuf::from(partial);
    let file = File::create(&partial).map_err(BundleError::io(&partial))?;
    let written = write(bundle, BufWriter::new(file)).and_then(|mut file| {
        file.flush().map_err(BundleError::io(&partial))?;
        fs::rename(&partial, out).map_err(BundleError::io(out))
    });
    if written.is_err() {
        // What is left is of no use; that it may not go either is not the error to report.
        let _ = fs::remove_file(&partial);
    }
    written
}
