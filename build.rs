//! Gives the plugin its version and release date.

use std::path::Path;
use std::process::Command;

fn main() {
    gst_plugin_version_helper::info();
    // Without these, Cargo runs this again, and compiles the crate again, after any file of the folder changed: where
    // there is no git repository that is also what a test or the demo writes.
    for path in ["build.rs", "Cargo.toml", "src"] {
        println!("cargo:rerun-if-changed={path}");
    }
    // It changes with every commit. Naming a file that is not there would run this every time.
    let log = Command::new("git").args(["rev-parse", "--git-path", "logs/HEAD"]).output();
    let log = log.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default();
    if !log.is_empty() && Path::new(&log).exists() {
        println!("cargo:rerun-if-changed={log}");
    }
}
