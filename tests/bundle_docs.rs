//! docs/bundles.md and docs/models.md say what the code does: their examples are read, and every key and decoder that is
//! known is described.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::path::Path;
use std::sync::Arc;

use gstvigil::bundle::contract::DecoderKind;
use gstvigil::bundle::manifest;

fn read(page: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs").join(page)).unwrap()
}

fn page() -> String {
    read("bundles.md")
}

fn examples(page: &str) -> Vec<String> {
    page.split("```toml\n").skip(1).map(|rest| rest.split("```").next().unwrap().to_owned()).collect()
}

fn check(example: &str, page: &str) {
    let labels: Vec<Arc<str>> = ["person", "traffic light"].map(Into::into).into();
    let read = manifest::parse(example.as_bytes(), page).and_then(|m| m.output(&labels));
    assert!(read.is_ok(), "{}\n{example}", read.unwrap_err());
}

#[test]
fn the_examples_are_read() {
    let examples = examples(&page());
    assert_eq!(examples.len(), 4);
    examples.iter().for_each(|example| check(example, "docs/bundles.md"));
}

#[test]
fn the_examples_of_the_families_are_read() {
    let smallest = examples(&page()).remove(0);
    let (before, rest) = smallest.split_once("[output]\n").unwrap();
    let (_, variant) = rest.split_once("[[variant]]\n").unwrap();
    let examples = examples(&read("models.md"));
    assert!(examples.len() > 12, "{}", examples.len());
    for output in &examples {
        let decoder = output.split('"').nth(1).unwrap();
        let kind = DecoderKind::ALL.into_iter().find(|d| d.as_str() == decoder).unwrap();
        let task = serde_json::to_value(kind.tasks()[0]).unwrap();
        let before = before.replace("task = \"detect\"", &format!("task = {task}"));
        check(&format!("{before}{output}\n[[variant]]\n{variant}"), "docs/models.md");
    }
}

#[test]
fn every_known_key_is_described() {
    let page = page();
    let example = examples(&page).into_iter().find(|e| e.contains("[output.anchors]")).unwrap();
    let tables = [
        "format = 1\n",
        "[input]\n",
        "[output]\n",
        "[output.anchors]\n",
        "[[variant]]\n",
        "[reference]\n",
        "[probation]\n",
        "[shadow]\n",
    ];
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
    assert_eq!(keys, 13 + 11 + 18 + 7 + 4 + 5 + 8 + 8);
}

#[test]
fn every_decoder_is_in_both_tables_with_its_tasks() {
    let (bundles, models) = (page(), read("models.md"));
    for decoder in DecoderKind::ALL {
        let name = decoder.as_str();
        let tasks: Vec<String> = decoder
            .tasks()
            .iter()
            .map(|t| format!("`{}`", serde_json::to_value(t).unwrap().as_str().unwrap()))
            .collect();
        let row = format!("| `{name}` | {} |", tasks.join(", "));
        assert!(bundles.contains(&row), "docs/bundles.md has no row {row}");
        let in_table = |line: &str| line.starts_with("| ") && line.contains(&format!("`{name}`"));
        assert!(models.lines().any(in_table), "docs/models.md has no row with {name}");
        assert!(models.contains(&format!("decoder = \"{name}\"")), "docs/models.md has no example of {name}");
    }
}

#[test]
fn every_phase_and_reason_of_a_swap_is_explained() {
    let models = read("models.md");
    let phases = gstvigil::swap::Phase::ALL.iter().map(|phase| phase.as_str());
    let reasons = gstvigil::swap::Reason::ALL.iter().map(|reason| reason.as_str());
    for word in phases.chain(reasons) {
        let row = models.lines().any(|line| line.starts_with(&format!("| `{word}` | ")));
        assert!(row, "docs/models.md has no row for {word}");
    }
}
