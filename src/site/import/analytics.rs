//! `[nvds-analytics]`: zones and lines, which have no counterpart yet; their places are told as Vigil will need them.

use super::config::Config;
use super::findings::{Findings, Level};

const NOT_YET: &str = "zones, lines and directions have no counterpart yet";

/// Tells what the group and its file ask for.
pub(super) fn read(config: &mut Config, findings: &mut Findings) {
    let Some(mut group) = config.take("nvds-analytics") else { return };
    if !group.enabled(false) {
        findings.group(Level::Unneeded, &group, "it is off (enable = 0) and left out");
        return;
    }
    findings.group(Level::Lost, &group, format!("{NOT_YET}: count in what reads the records of `vigilexport`"));
    if let Some(entry) = group.text("config-file").or_else(|| group.text("config-file-path")) {
        match Config::read(&config.resolve(&entry.value)) {
            Ok(file) => rules(file, findings),
            Err(text) => findings.add(Level::Lost, &entry, text),
        }
    }
    group.rest(findings);
}

fn rules(mut file: Config, findings: &mut Findings) {
    let mut size = (1920.0, 1080.0);
    if let Some(mut property) = file.take("property") {
        let mut side = |key| property.number::<f64>(key, findings).map(|(side, _)| side).filter(|side| *side > 0.0);
        size = (side("config-width").unwrap_or(size.0), side("config-height").unwrap_or(size.1));
    }
    for mut group in file.rest() {
        if !group.enabled(false) {
            findings.group(Level::Unneeded, &group, "it is off (enable = 0) and left out");
            continue;
        }
        let keys = group.keys();
        if keys.is_empty() {
            findings.group(Level::Lost, &group, NOT_YET);
        }
        for key in keys {
            let Some(entry) = group.take(&key) else { continue };
            let numbers: Vec<f64> = entry.items().iter().filter_map(|item| item.parse().ok()).collect();
            if numbers.len() < 4 || !numbers.len().is_multiple_of(2) {
                findings.add(Level::Lost, &entry, NOT_YET);
                continue;
            }
            let points = numbers.as_chunks::<2>().0.iter();
            let points: Vec<String> = points.map(|[x, y]| format!("[{:.4}, {:.4}]", x / size.0, y / size.1)).collect();
            findings.add(Level::Lost, &entry, format!("{NOT_YET}; in 0..1 of the picture: {}", points.join(", ")));
        }
    }
}
