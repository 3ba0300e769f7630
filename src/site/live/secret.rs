//! Secrets, read where they are.

use crate::site::units::{Secret, TextOrSecret};

/// The secret itself: it must not be logged, kept or told.
///
/// # Errors
/// A text that says where it was looked for.
pub fn read(secret: &Secret) -> Result<String, String> {
    match secret {
        Secret::Env(name) => std::env::var(name).map_err(|err| match err {
            std::env::VarError::NotPresent => format!("the environment has no variable {name}"),
            std::env::VarError::NotUnicode(_) => format!("the variable {name} of the environment is no text"),
        }),
        Secret::File(path) => {
            let text =
                std::fs::read_to_string(path).map_err(|err| format!("{} cannot be read: {err}", path.display()))?;
            let line = text.strip_suffix('\n').unwrap_or(&text);
            Ok(line.strip_suffix('\r').unwrap_or(line).to_owned())
        }
    }
}

/// A text that may be a secret.
///
/// # Errors
/// As [`read`].
pub fn text(text: &TextOrSecret) -> Result<String, String> {
    match text {
        TextOrSecret::Text(text) => Ok(text.clone()),
        TextOrSecret::Secret(secret) => read(secret),
    }
}
