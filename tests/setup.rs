//! `scripts/setup` says what is missing in one place and fails with one sentence. No test here reaches a network.

use std::error::Error;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

/// Runs the script with `VIGIL_HOME` in `temp`; the commands in `stubs` (name, shell body) hide the machine's own.
fn setup(temp: &Path, arguments: &[&str], stubs: &[(&str, &str)]) -> Result<Output, Box<dyn Error>> {
    let bin = temp.join("bin");
    std::fs::create_dir_all(&bin)?;
    for (name, body) in stubs {
        std::fs::write(bin.join(name), format!("#!/bin/sh\n{body}\n"))?;
        std::fs::set_permissions(bin.join(name), PermissionsExt::from_mode(0o755))?;
    }
    let path = format!("{}:{}", bin.display(), std::env::var("PATH")?);
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/setup");
    let home = temp.join("home");
    // Without an index pip fails as it does without a network.
    let offline = [("PIP_NO_INDEX", "1"), ("PIP_FIND_LINKS", "")];
    Ok(Command::new(script).args(arguments).env("PATH", path).env("VIGIL_HOME", home).envs(offline).output()?)
}

/// Answers for every package that is asked for but `libgstreamer1.0-dev`.
const DPKG_WITHOUT_GSTREAMER: (&str, &str) =
    ("dpkg-query", r#"shift 3; for p in "$@"; do [ "$p" = libgstreamer1.0-dev ] || echo "installed $p"; done; exit 1"#);
const DPKG_WITH_ALL: (&str, &str) = ("dpkg-query", r#"shift 3; for p in "$@"; do echo "installed $p"; done"#);
const NEXTEST: (&str, &str) = ("cargo-nextest", "exit 0");

#[test]
fn check_names_what_is_missing_and_changes_nothing() -> Result<(), Box<dyn Error>> {
    let temp = tempfile::tempdir()?;
    let output = setup(temp.path(), &["--check"], &[DPKG_WITHOUT_GSTREAMER, NEXTEST])?;
    let said = String::from_utf8(output.stdout)?;
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert_eq!(said.lines().next(), Some("missing  Debian packages: libgstreamer1.0-dev"));
    assert_eq!(said.matches("missing  ").count(), 4, "{said}");
    assert!(said.contains("there    cargo-nextest"), "{said}");
    assert!(!temp.path().join("home").exists());
    Ok(())
}

#[test]
fn failed_package_installation_is_one_sentence() -> Result<(), Box<dyn Error>> {
    let temp = tempfile::tempdir()?;
    let stubs = [DPKG_WITHOUT_GSTREAMER, NEXTEST, ("apt-get", "exit 100"), ("sudo", "exit 1")];
    let output = setup(temp.path(), &[], &stubs)?;
    let complaint = String::from_utf8(output.stderr)?;
    assert_eq!(output.status.code(), Some(1), "{complaint}");
    let complaint = complaint.trim();
    assert!(complaint.starts_with("scripts/setup: [1/5] Debian packages: "), "{complaint}");
    assert!(complaint.contains("libgstreamer1.0-dev"), "{complaint}");
    assert_eq!(complaint.lines().count(), 1, "{complaint}");
    Ok(())
}

#[test]
fn failed_download_is_one_sentence_and_leaves_no_part() -> Result<(), Box<dyn Error>> {
    let temp = tempfile::tempdir()?;
    let output = setup(temp.path(), &[], &[DPKG_WITH_ALL, NEXTEST])?;
    let complaint = String::from_utf8(output.stderr)?;
    assert_eq!(output.status.code(), Some(1), "{complaint}");
    let complaint = complaint.trim();
    assert!(complaint.starts_with("scripts/setup: [3/5] ONNX Runtime"), "{complaint}");
    assert!(complaint.contains("needs the network"), "{complaint}");
    assert_eq!(complaint.lines().count(), 1, "{complaint}");
    assert!(!temp.path().join("home/lib").exists());
    Ok(())
}
