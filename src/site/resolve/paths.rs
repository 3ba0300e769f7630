//! Paths in the values of properties: relative to the description, whatever folder the process is in.

use std::path::Path;

use crate::site::convert::model_text;

/// The text of an element's property with the paths in it made absolute, where it is known to be one: relative paths of a
/// description are relative to `folder`.
pub fn absolute_text(folder: &Path, factory: &str, property: &str, text: &str) -> String {
    let joined = |path: &str| folder.join(path).display().to_string();
    match (factory, property) {
        _ if text.is_empty() => String::new(),
        ("vigilinfer", "model" | "fallback-model" | "shadow-model") => model_text(folder, text),
        ("vigilinfer", "public-keys") => text.split(',').map(|file| joined(file.trim())).collect::<Vec<_>>().join(","),
        ("vigilinfer", "ort-library") | ("vigiloverlay", "font") => joined(text),
        ("vigilexport", "uri") => match text.strip_prefix("file:") {
            // `file:///srv/x` is absolute already.
            Some(path) if !path.is_empty() && !path.starts_with('/') => format!("file:{}", joined(path)),
            _ => text.into(),
        },
        (_, "location") if !text.contains("://") => joined(text),
        _ => text.into(),
    }
}
