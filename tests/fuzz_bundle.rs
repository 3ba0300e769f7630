//! The corpora of the fuzz targets `bundle` and `archive`, run as plain tests.
//!
//! A seed's outcome is part of the test: files named `good*` and `bundle.*` are accepted, all others are refused.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::path::{Path, PathBuf};

use gstvigil::bundle::archive::{Limits, unpack, untar};
use gstvigil::bundle::{Bundle, labels, manifest};

const LIMITS: Limits = Limits { entries: 64, bytes: 1 << 20, window_log: 23 };

fn corpus(name: &str) -> Vec<(String, Vec<u8>)> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(name);
    let mut paths: Vec<PathBuf> = std::fs::read_dir(&dir).unwrap().map(|e| e.unwrap().path()).collect();
    paths.sort();
    assert!(paths.len() >= 10, "{} has {} seeds", dir.display(), paths.len());
    let name = |p: &Path| p.file_name().unwrap().to_str().unwrap().to_owned();
    paths.iter().map(|p| (name(p), std::fs::read(p).unwrap())).collect()
}

fn is_good(seed: &str) -> bool {
    seed.starts_with("good") || seed.starts_with("bundle.")
}

#[test]
fn bundle() {
    for (seed, data) in corpus("bundle") {
        let labels = labels::parse(&data, "labels.txt").unwrap_or_default();
        let outcome = manifest::parse(&data, "bundle.toml").and_then(|m| m.output(&labels));
        assert_eq!(outcome.is_ok(), is_good(&seed), "{seed}: {outcome:?}");
    }
}

#[test]
fn archive() {
    for (seed, data) in corpus("archive") {
        let mut accepted = 0;
        for files in [unpack(&data[..], &LIMITS), untar(&data[..], &LIMITS)].into_iter().flatten() {
            let bundle = Bundle::from_files(Path::new("fuzz.vigil"), files);
            assert!(bundle.is_ok(), "{seed}: {bundle:?}");
            accepted += 1;
        }
        assert_eq!(accepted, usize::from(is_good(&seed)), "{seed}");
    }
}
