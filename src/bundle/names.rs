//! Which names are allowed in a bundle: harmless on every file system, in every log and on every command line.

/// Longest name of a bundle, bytes.
const MAX_NAME: usize = 64;
/// Longest path of a file inside a bundle, bytes.
const MAX_PATH: usize = 200;

/// Checks the name or release of a bundle: 1 to 64 of `A-Z a-z 0-9 . _ - +`, the first one a letter or digit.
///
/// # Errors
/// What is wrong with it, to be put after the name.
pub fn check_name(name: &str) -> Result<(), String> {
    if name.is_empty() || name.len() > MAX_NAME {
        return Err(format!("is {} characters long, 1 to {MAX_NAME} are allowed", name.chars().count()));
    }
    let bad = |c: &char| !(c.is_ascii_alphanumeric() || "._-+".contains(*c));
    if let Some(c) = name.chars().find(bad) {
        return Err(format!("contains {c:?}; letters, digits and . _ - + are allowed"));
    }
    if !name.starts_with(|c: char| c.is_ascii_alphanumeric()) {
        return Err("must begin with a letter or a digit".into());
    }
    Ok(())
}

/// Checks the path of a file inside a bundle: relative, parts separated by `/`, no `.`, `..` or hidden part, no control
/// character or backslash, at most 200 bytes.
///
/// # Errors
/// What is wrong with it, to be put after the path.
pub fn check_path(path: &str) -> Result<(), String> {
    if path.is_empty() {
        return Err("is an empty name".into());
    }
    if path.len() > MAX_PATH {
        return Err(format!("is {} bytes long, {MAX_PATH} are allowed", path.len()));
    }
    if path.starts_with('/') {
        return Err("is an absolute path; files are named relative to the bundle".into());
    }
    if let Some(c) = path.chars().find(|c| c.is_control() || *c == '\\') {
        return Err(format!("contains {c:?}"));
    }
    for part in path.split('/') {
        match part {
            ".." => return Err("leads out of the bundle with `..`".into()),
            "" => return Err("has an empty part between slashes".into()),
            p if p.starts_with('.') => {
                return Err("has a part that begins with a dot; hidden files are left out".into());
            }
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for good in ["people-ssd", "a", "2026.11.1+rc1", &"x".repeat(64)] {
            assert_eq!(check_name(good), Ok(()), "{good}");
        }
        for bad in ["", "a/b", "..", "-rf", "a b", "päron", &"x".repeat(65)] {
            assert!(check_name(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn paths() {
        for good in ["model.onnx", "reference/a b.png", "ü/x"] {
            assert_eq!(check_path(good), Ok(()), "{good}");
        }
        for bad in ["", "/etc/passwd", "../x", "a/../x", "a//b", "a/", ".git/x", "a\\b", "a\nb", &"x".repeat(201)] {
            assert!(check_path(bad).is_err(), "{bad}");
        }
    }
}
