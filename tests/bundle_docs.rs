//! docs/bundles.md says what the code does: its examples are read, and every key that is known is described.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::path::Path;
use std::sync::Arc;

use gstvigil::bundle::contract::DecoderKind;
use gstvigil::bundle::manifest;

fn page() -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/bundles.md")).unwrap()
}

fn examples() -> Vec<String> {
    page().split("```toml\n").skip(1).map(|rest| rest.split("```").next().unwrap().to_owned()).collect()
}

#[test]
fn the_examples_are_read() {
    let labels: Vec<Arc<str>> = ["person", "traffic light"].map(Into::into).into();
    let examples = examples();
    assert_eq!(examples.len(), 3);
    for example in &examples {
        let read = manifest::parse(example.as_bytes(), "docs/bundles.md").and_then(|m| m.output(&labels));
        assert!(read.is_ok(), "{}\n{example}", read.unwrap_err());
    }
}

#[test]
fn every_known_key_is_described() {
    let example = examples().into_iter().find(|e| e.contains("[output.anchors]")).unwrap();
    let page = page();
    let tables = ["format = 1\n", "[input]\n", "[output]\n", "[output.anchors]\n", "[[variant]]\n", "[reference]\n"];
    let mut keys = 0;
    for table in tables {
        // The error about an unknown key lists the known ones.
        let text = example.replacen(table, &format!("{table}zzzzzzzz = 1\n"), 1);
        let error = manifest::parse(text.as_bytes(), "x").unwrap_err().message;
        let known = error.strip_prefix("unknown key; known here: ").unwrap_or_else(|| panic!("{error}"));
        for key in known.split(", ") {
            let shown = [format!("`{key}`"), format!("[{key}]"), format!(".{key}]")];
            assert!(shown.iter().any(|s| page.contains(s)), "`{key}` of {table} is not described");
            keys += 1;
        }
    }
    assert_eq!(keys, 10 + 8 + 10 + 7 + 4 + 5);
}

#[test]
fn every_decoder_is_listed() {
    for decoder in DecoderKind::ALL {
        assert!(page().contains(&format!("`{}`", decoder.as_str())), "{decoder:?}");
    }
}
