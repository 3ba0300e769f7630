//! Any bytes as a `.vigil` archive and as the tar stream inside one. tests/fuzz_bundle.rs runs the corpus through the
//! same calls.
#![no_main]

use std::path::Path;

use gstvigil::bundle::Bundle;
use gstvigil::bundle::archive::{Limits, unpack, untar};

const LIMITS: Limits = Limits { entries: 64, bytes: 1 << 20, window_log: 23 };

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    for files in [unpack(data, &LIMITS), untar(data, &LIMITS)].into_iter().flatten() {
        let _ = Bundle::from_files(Path::new("fuzz.vigil"), files);
    }
});
