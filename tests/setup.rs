//! `scripts/setup` says what is missing in one place and fails with one sentence. No test here reaches a network.

use std::error::Error;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::SystemTime;

/// Runs the script with `VIGIL_HOME` in `temp`; the commands in `stubs` (name, shell body) hide the machine's own.
fn setup(temp: &Path, arguments: &[&str], stubs: &[(&str, &str)]) -> Result<Output, Box<dyn Error>> {
    setup_in(&temp.join("home"), temp, arguments, stubs)
}

/// The same with another `VIGIL_HOME`; `temp` holds the stubs.
fn setup_in(home: &Path, temp: &Path, arguments: &[&str], stubs: &[(&str, &str)]) -> Result<Output, Box<dyn Error>> {
    let bin = temp.join("bin");
    std::fs::create_dir_all(&bin)?;
    for (name, body) in stubs {
        std::fs::write(bin.join(name), format!("#!/bin/sh\n{body}\n"))?;
        std::fs::set_permissions(bin.join(name), PermissionsExt::from_mode(0o755))?;
    }
    let path = format!("{}:{}", bin.display(), std::env::var("PATH")?);
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/setup");
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

#[test]
fn second_run_does_nothing_and_needs_no_network() -> Result<(), Box<dyn Error>> {
    let home = gstvigil::paths::home().ok_or("HOME is not set")?;
    if !home.join("clips/vtest.avi").exists() {
        eprintln!("skipped: there is no set-up in {}; `make setup` makes it", home.display());
        return Ok(());
    }
    let temp = tempfile::tempdir()?;
    let called = temp.path().join("called");
    let body = format!("echo \"$0 $*\" >>'{}'\necho \"$0 $*: there is no network\" >&2\nexit 1", called.display());
    let names = ["apt-get", "pip", "pip3", "npm", "curl", "wget", "cargo", "sudo", "python", "python3"];
    let stubs = names.map(|name| (name, body.as_str()));
    let before = files(&home)?;
    let output = setup_in(&home, temp.path(), &[], &stubs)?;
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert_eq!(said.lines().count(), 5, "{said}");
    assert!(said.lines().all(|line| line.ends_with(" … there")), "{said}");
    assert_eq!(std::fs::read_to_string(&called).unwrap_or_default(), "");
    assert_eq!(files(&home)?, before);
    Ok(())
}

/// The files in a set-up that things are installed into, with the time of their last change.
fn files(home: &Path) -> Result<Vec<(PathBuf, SystemTime)>, Box<dyn Error>> {
    let mut found = Vec::new();
    for folder in ["lib", "bundles/people", "clips"] {
        for entry in std::fs::read_dir(home.join(folder))? {
            let entry = entry?;
            found.push((entry.path(), entry.metadata()?.modified()?));
        }
    }
    found.sort();
    Ok(found)
}

#[test]
fn check_notices_a_file_that_is_not_the_pinned_one() -> Result<(), Box<dyn Error>> {
    let clip = gstvigil::paths::home().ok_or("HOME is not set")?.join("clips/vtest.avi");
    if !clip.exists() {
        eprintln!("skipped: there is no {}; `make setup` installs it", clip.display());
        return Ok(());
    }
    let temp = tempfile::tempdir()?;
    let copy = temp.path().join("home/clips/vtest.avi");
    std::fs::create_dir_all(temp.path().join("home/clips"))?;
    let mut bytes = std::fs::read(clip)?;
    std::fs::write(&copy, &bytes)?;
    let check = || setup(temp.path(), &["--check"], &[DPKG_WITH_ALL, NEXTEST]);
    let said = String::from_utf8(check()?.stdout)?;
    assert!(said.contains("there    clip vtest.avi\n"), "{said}");

    let last = bytes.last_mut().ok_or("the clip is empty")?;
    *last ^= 1;
    std::fs::write(&copy, &bytes)?;
    let output = check()?;
    let said = String::from_utf8(output.stdout)?;
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("missing  clip vtest.avi\n"), "{said}");
    Ok(())
}
