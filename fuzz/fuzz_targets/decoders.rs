#![no_main]
//! Arbitrary contracts and tensors through the decoders; see `bodies/decoders.rs`.

#[path = "bodies/decoders.rs"]
mod body;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    body::check(data);
});
