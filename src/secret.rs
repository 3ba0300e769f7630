//! Where a secret is to be found, and reading it: when it is needed, and never to keep it.

use std::fmt;
use std::io::Read;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Longest file of a secret, bytes.
const LONGEST: u64 = 64 * 1024;

/// Something that must not be read in a description, a log, a record or a message: only where it is to be found.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Secret {
    /// In this variable of the environment.
    Env(String),
    /// In this file, without the end of its last line; relative to the description's folder.
    File(PathBuf),
}

impl fmt::Display for Secret {
    /// Says where it is, not what it is.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Env(name) => write!(f, "<environment {name}>"),
            Self::File(path) => write!(f, "<file {}>", path.display()),
        }
    }
}

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
            let wrong = |error: std::io::Error| format!("the secret in {} cannot be read: {error}", path.display());
            // A pipe would be waited for, and a device may have no end.
            if !path.metadata().map_err(wrong)?.is_file() {
                return Err(format!("{}, where a secret is to be, is not a file", path.display()));
            }
            let mut text = String::new();
            let file = std::fs::File::open(path).map_err(wrong)?;
            file.take(LONGEST + 1).read_to_string(&mut text).map_err(wrong)?;
            if text.len() as u64 > LONGEST {
                return Err(format!("{}, where a secret is to be, is longer than {LONGEST} bytes", path.display()));
            }
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
    fn nobody_waits_for_a_secret() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        let writer = {
            let pipe = pipe.clone();
            // It waits for a reader, which must not come.
            std::thread::spawn(move || std::fs::write(pipe, "geheim"))
        };
        let wrong = read(&Secret::File(pipe.clone())).unwrap_err();
        assert!(wrong.contains("is not a file"), "{wrong}");
        drop(std::fs::OpenOptions::new().read(true).open(&pipe).unwrap());
        let _ = writer.join().unwrap();
        let long = folder.path().join("long");
        std::fs::write(&long, vec![b'x'; 70_000]).unwrap();
        assert!(read(&Secret::File(long)).unwrap_err().contains("longer"));
    }

    #[test]
    fn a_secret_that_is_not_there_is_named() {
        let missing = read(&Secret::Env("VIGIL_NO_SUCH_VARIABLE".into())).unwrap_err();
        assert!(missing.contains("VIGIL_NO_SUCH_VARIABLE"), "{missing}");
        let missing = read(&Secret::File("/nowhere/password".into())).unwrap_err();
        assert!(missing.contains("/nowhere/password"), "{missing}");
    }
}
