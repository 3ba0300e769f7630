//! Secrets are read when a camera is built, and never kept.

use crate::site::units::Secret;

/// What the secret is.
///
/// # Errors
/// A text that says where it was looked for, and never what was found.
pub fn read(secret: &Secret) -> Result<String, String> {
    match secret {
        Secret::Env(name) => std::env::var(name).map_err(|error| match error {
            std::env::VarError::NotPresent => format!("the environment has no variable {name}, which holds a secret"),
            std::env::VarError::NotUnicode(_) => format!("the variable {name} of the environment is no UTF-8 text"),
        }),
        Secret::File(path) => {
            let text = std::fs::read_to_string(path);
            let mut text = text.map_err(|error| format!("the secret in {} cannot be read: {error}", path.display()))?;
            if text.ends_with('\n') {
                text.pop();
                if text.ends_with('\r') {
                    text.pop();
                }
            }
            Ok(text)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_found_without_the_end_of_its_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("password");
        for (written, meant) in
            [("geheim", "geheim"), ("geheim\n", "geheim"), ("geheim \r\n", "geheim "), ("a\n\n", "a\n")]
        {
            std::fs::write(&path, written).unwrap();
            assert_eq!(read(&Secret::File(path.clone())).as_deref(), Ok(meant));
        }
        // Cargo sets it for tests.
        assert_eq!(read(&Secret::Env("CARGO_PKG_NAME".into())).as_deref(), Ok("gst-plugin-vigil"));
    }

    #[test]
    fn a_secret_that_is_not_there_is_named() {
        let missing = read(&Secret::Env("VIGIL_NO_SUCH_VARIABLE".into())).unwrap_err();
        assert!(missing.contains("VIGIL_NO_SUCH_VARIABLE"), "{missing}");
        let missing = read(&Secret::File("/nowhere/password".into())).unwrap_err();
        assert!(missing.contains("/nowhere/password"), "{missing}");
    }
}
