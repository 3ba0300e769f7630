//! The corpus of the fuzz target `site`, run as a plain test: seeds named `good*` are accepted, all others are refused.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::path::{Path, PathBuf};

#[path = "../fuzz/fuzz_targets/bodies/site.rs"]
mod body;

#[test]
fn site() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/site");
    let mut paths: Vec<PathBuf> = std::fs::read_dir(&dir).unwrap().map(|e| e.unwrap().path()).collect();
    paths.sort();
    assert!(paths.len() >= 10, "{} has {} seeds", dir.display(), paths.len());
    for path in paths {
        let name = path.file_name().unwrap().to_str().unwrap();
        let good = body::site(name, &std::fs::read(&path).unwrap());
        assert_eq!(good, name.starts_with("good"), "{name}");
    }
}
