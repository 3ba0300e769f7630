//! The fuzz target `decoders` as a plain test: its corpus, and inputs from a seeded generator.

#[path = "../fuzz/fuzz_targets/bodies/decoders.rs"]
mod body;

use std::path::Path;

use body::Outcome;

#[test]
fn the_corpus_holds_and_reaches_every_outcome() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/decoders");
    let mut outcomes = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        outcomes.push(body::check(&std::fs::read(entry.unwrap().path()).unwrap()));
    }
    assert!(outcomes.len() >= 10, "{} files", outcomes.len());
    assert!(outcomes.contains(&Outcome::Refused));
    assert!(outcomes.contains(&Outcome::Failed));
    assert!(outcomes.iter().any(|o| matches!(o, Outcome::Found(n) if *n > 0)));
}

#[test]
fn random_inputs_hold() {
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut byte = || {
        // splitmix64
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        (z >> 40) as u8
    };
    let mut found = 0;
    for i in 0..5000 {
        let input: Vec<u8> = (0..i % 97).map(|_| byte()).collect();
        if matches!(body::check(&input), Outcome::Found(n) if n > 0) {
            found += 1;
        }
    }
    // The generator must reach the decoders, not only the contract checks.
    assert!(found > 100, "only {found} inputs found anything");
}
