//! What the sources keep to, beyond what the compiler and clippy check.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may")]

mod common;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use gst::prelude::*;

/// Longest `imp.rs` and longest other file, in lines without tests.
const LONGEST: (usize, usize) = (600, 420);

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// All Rust files under a folder.
fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(rust_files(&path));
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// A source file: its path from the root, and its lines with their numbers, without what is `#[cfg(test)]`.
struct Source {
    path: String,
    lines: Vec<(usize, String)>,
}

impl Source {
    fn read(path: &Path) -> Self {
        let text = std::fs::read_to_string(path).unwrap();
        let mut lines = Vec::new();
        // The indentation of an item that is skipped: rustfmt ends it on a line with the same.
        let mut test_item = None;
        for (number, line) in (1..).zip(text.lines()) {
            let indentation = line.len() - line.trim_start().len();
            match test_item {
                Some(of_item) if of_item == indentation && line.ends_with(['}', ';']) => test_item = None,
                Some(_) => {}
                None if line.trim() == "#[cfg(test)]" => test_item = Some(indentation),
                None => lines.push((number, line.to_owned())),
            }
        }
        Self { path: path.strip_prefix(root()).unwrap().display().to_string(), lines }
    }

    /// Lines of code: no comments.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        let lines = self.lines.iter().map(|(number, line)| (*number, line.trim()));
        lines.filter(|(_, line)| !line.starts_with("//"))
    }
}

/// The sources of the library and the command, without files that hold nothing but tests.
fn sources() -> Vec<Source> {
    let only_tests = |path: &PathBuf| {
        let name = path.file_stem().unwrap().to_string_lossy();
        name == "tests" || name.ends_with("_tests") || name.starts_with("fake")
    };
    let sources: Vec<_> =
        rust_files(&root().join("src")).iter().filter(|p| !only_tests(p)).map(|p| Source::read(p)).collect();
    assert!(sources.len() > 50, "the sources are found");
    sources
}

fn check(offences: Vec<String>) {
    assert!(offences.is_empty(), "\n{}\n", offences.join("\n"));
}

#[test]
fn domain_modules_do_not_know_gstreamer() {
    // The command is an application on top of the elements.
    let may = ["src/elements/", "src/meta/", "src/gstutil/", "src/site/live/", "src/bin/"];
    let names = ["gst::", "gst_video::", "gst_base::", "glib::"];
    let mut offences = Vec::new();
    for source in sources() {
        if may.iter().any(|m| source.path.starts_with(m)) {
            continue;
        }
        // The plugin's entry points are the one part of lib.rs that is not domain.
        let entry = source.path == "src/lib.rs";
        for (number, line) in source.code().take_while(|(_, line)| !(entry && line.starts_with("pub mod plugin {"))) {
            if names.iter().any(|n| line.contains(n)) {
                offences.push(format!("{}:{number}: a domain module names GStreamer: {line}", source.path));
            }
        }
    }
    check(offences);
}

#[test]
fn nothing_in_the_library_panics_on_purpose() {
    let mut offences = Vec::new();
    for source in sources() {
        for (number, line) in source.code() {
            if [".unwrap()", ".expect("].iter().any(|call| line.contains(call)) {
                offences.push(format!("{}:{number}: {line}", source.path));
            }
        }
    }
    check(offences);
}

#[test]
fn files_are_short() {
    let mut offences = Vec::new();
    for source in sources() {
        let most = if source.path.ends_with("/imp.rs") { LONGEST.0 } else { LONGEST.1 };
        if source.lines.len() > most {
            offences.push(format!("{}: {} lines, {most} are allowed", source.path, source.lines.len()));
        }
    }
    check(offences);
}

#[test]
fn every_element_has_a_folder_and_a_page() {
    common::init();
    let names = |folder: &str| -> BTreeSet<String> {
        let entries = std::fs::read_dir(root().join(folder)).unwrap().map(|e| e.unwrap().path());
        entries.map(|p| p.file_stem().unwrap().to_string_lossy().into_owned()).collect()
    };
    let factories: BTreeSet<String> = common::factories().iter().map(|f| f.name().to_string()).collect();
    let mut folders = names("src/elements");
    folders.remove("mod");
    assert_eq!(folders.iter().map(|name| format!("vigil{name}")).collect::<BTreeSet<_>>(), factories);
    assert_eq!(names("docs/elements"), factories);
}

#[test]
fn no_file_names_a_machine_or_a_registry() {
    let listed = Command::new("git").args(["ls-files", "-z"]).current_dir(root()).output();
    let Some(listed) = listed.ok().filter(|l| l.status.success()) else {
        eprintln!("skipped: this is no git checkout");
        return;
    };
    // Put together here, so that this file does not name them either.
    let folders = ["work", "root", "home"].map(|name| format!("/{name}/"));
    let hosts = [("crates", "io"), ("pypi", "org"), ("npmjs", "org"), ("npmjs", "com"), ("pythonhosted", "org")]
        .map(|(name, top)| format!("{name}.{top}"));
    let mut offences = Vec::new();
    for path in String::from_utf8(listed.stdout).unwrap().split_terminator('\0') {
        // Cargo writes the registry into its lock files.
        if path.ends_with("Cargo.lock") {
            continue;
        }
        // A file may have been removed, but not yet from git's index.
        let Ok(bytes) = std::fs::read(root().join(path)) else { continue };
        for (number, line) in String::from_utf8_lossy(&bytes).lines().enumerate() {
            for pattern in folders.iter().chain(&hosts).filter(|p| line.contains(p.as_str())) {
                offences.push(format!("{path}:{}: {pattern}", number + 1));
            }
        }
    }
    check(offences);
}
