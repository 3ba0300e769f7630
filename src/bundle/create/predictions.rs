//! How a model's answers are usually distributed, written into a bundle's folder.

use std::fs;

use toml_edit::{DocumentMut, value};

use crate::bundle::{Bundle, BundleError, manifest};
use crate::drift::Summary;
use crate::whole;

/// Where it is kept in the bundle.
const FILE: &str = "predictions.json";

/// Writes `predictions.json` and names it in `bundle.toml`, of which the rest stays as it is. A signature no longer fits then.
///
/// # Errors
/// [`BundleError`], also if the bundle is no folder.
pub fn write(bundle: &Bundle, usual: &Summary) -> Result<(), BundleError> {
    let dir = &bundle.origin;
    if !dir.is_dir() {
        let why = "not a folder: predictions are written into a bundle's folder. Unpack an archive first (mkdir DIR; zstd -dc FILE | \
                   tar -xC DIR), and pack the folder afterwards";
        return Err(BundleError::unusable(dir, why));
    }
    let file = dir.join(manifest::FILE_NAME);
    let text = fs::read_to_string(&file).map_err(BundleError::io(&file))?;
    let mut document: DocumentMut =
        text.parse().map_err(|e: toml_edit::TomlError| BundleError::unusable(&file, e.message()))?;
    document["predictions"] = value(FILE);
    let text = document.to_string();
    manifest::parse(text.as_bytes(), &file.display().to_string())?;
    let json = serde_json::to_string_pretty(usual).map_err(|e| BundleError::unusable(dir, e.to_string()))?;
    let path = dir.join(FILE);
    whole::write(&path, (json + "\n").as_bytes()).map_err(BundleError::io(&path))?;
    whole::write(&file, text.as_bytes()).map_err(BundleError::io(&file))
}
