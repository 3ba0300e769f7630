#![no_main]
//! Any text as a site's description; see `bodies/site.rs`.

#[path = "bodies/site.rs"]
mod body;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    body::site("site.toml", data);
});
