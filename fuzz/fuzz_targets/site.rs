//! Any text as a site's description. tests/fuzz_site.rs runs the corpus through the same calls.
#![no_main]

mod bodies {
    include!("bodies/site.rs");
}

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    bodies::site("site.toml", data);
});
