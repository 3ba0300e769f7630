//! Any bytes as `bundle.toml` and as a label file. tests/fuzz_bundle.rs runs the corpus through the same calls.
#![no_main]

use gstvigil::bundle::{labels, manifest};

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let labels = labels::parse(data, "labels.txt").unwrap_or_default();
    let _ = manifest::parse(data, "bundle.toml").map(|m| m.output(&labels));
});
