//! `expected.json`: what a model must find on the reference pictures of its bundle. docs/bundles.md describes the format.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::bundle::Bundle;
use crate::bundle::contract::{Labels, Task};
use crate::parity::{Answer, Found};

/// The one version of the format.
pub const FORMAT: u32 = 1;

/// An embedding's length may differ from 1 by this much.
const UNIT_SLACK: f32 = 0.01;

/// What is read first, so that another version is told as such.
#[derive(Deserialize)]
struct FormatOnly {
    format: u32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(rename = "format")]
    _format: u32,
    pictures: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    file: String,
    #[serde(default)]
    objects: Vec<ObjectEntry>,
    #[serde(default)]
    classes: Vec<ClassEntry>,
    #[serde(default)]
    embedding: Vec<f32>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ObjectEntry {
    class: u32,
    label: String,
    score: f32,
    #[serde(rename = "box")]
    bbox: [f32; 4],
    #[serde(default, skip_serializing_if = "Option::is_none")]
    corners: Option<[[f32; 2]; 4]>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    keypoints: Vec<[f32; 3]>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ClassEntry {
    class: u32,
    label: String,
    score: f32,
}

/// What must be found, by the picture's path inside the bundle.
pub type Expected = BTreeMap<String, Answer>;

/// Reads the expected answers of a bundle with a reference set, one for each of its pictures.
///
/// # Errors
/// What is wrong with them and where, in a text that names the file.
pub fn read(bundle: &Bundle, file: &str) -> Result<Expected, String> {
    let bytes = bundle.read(file).map_err(|e| e.to_string())?;
    let path = bundle.origin.join(file);
    let expected = parse(&bytes, bundle).map_err(|why| format!("{}: {why}", path.display()))?;
    let pictures = bundle.reference_images();
    if let Some(lacking) = pictures.iter().find(|picture| !expected.contains_key(**picture)) {
        return Err(format!("{}: there is no entry for the picture {lacking}", path.display()));
    }
    let known = |file: &String| pictures.contains(&file.as_str());
    if let Some(unknown) = expected.keys().find(|file| !known(file)) {
        let why = "which is none of the bundle's reference pictures (reference.images)";
        return Err(format!("{}: there is an entry for {unknown}, {why}", path.display()));
    }
    Ok(expected)
}

fn parse(bytes: &[u8], bundle: &Bundle) -> Result<Expected, String> {
    let json = |e: serde_json::Error| e.to_string();
    let FormatOnly { format } = serde_json::from_slice(bytes).map_err(json)?;
    if format != FORMAT {
        return Err(format!("format {format} is not known; this version of Vigil reads format {FORMAT}"));
    }
    let File { pictures, .. } = serde_json::from_slice(bytes).map_err(json)?;
    let mut expected = Expected::new();
    for (number, entry) in pictures.into_iter().enumerate() {
        let place = format!("pictures[{number}] ({})", entry.file);
        let file = entry.file.clone();
        let answer = answer(entry, bundle).map_err(|why| format!("{place}: {why}"))?;
        if expected.insert(file, answer).is_some() {
            return Err(format!("{place}: there is another entry for this picture"));
        }
    }
    Ok(expected)
}

/// Checks an entry against what the bundle's model can answer.
fn answer(entry: Entry, bundle: &Bundle) -> Result<Answer, String> {
    let (labels, task) = (&bundle.labels, bundle.task);
    let of_task = |there: bool, what: &str, wanted: bool| match (there, wanted) {
        (true, false) => Err(format!("{what}: a model of the bundle's task has none")),
        _ => Ok(()),
    };
    let objects = !matches!(task, Task::Classify | Task::Embed);
    of_task(!entry.objects.is_empty(), "objects", objects)?;
    of_task(!entry.classes.is_empty(), "classes", task == Task::Classify)?;
    of_task(!entry.embedding.is_empty(), "embedding", task == Task::Embed)?;
    let lacking = |what: &str| format!("{what} are missing: without them nothing would be proven");
    if task == Task::Classify && entry.classes.is_empty() {
        return Err(lacking("classes"));
    }
    if task == Task::Embed && entry.embedding.is_empty() {
        return Err(lacking("values of the embedding"));
    }
    let mut answer = Answer { embedding: entry.embedding, ..Answer::default() };
    for (number, object) in entry.objects.into_iter().enumerate() {
        let found = self::object(object, bundle).map_err(|why| format!("objects[{number}].{why}"))?;
        answer.objects.push(found);
    }
    for (number, class) in entry.classes.into_iter().enumerate() {
        let ClassEntry { class, label, score } = class;
        check(labels, class, &label, score).map_err(|why| format!("classes[{number}].{why}"))?;
        answer.classes.push((class, score));
    }
    answer.classes.sort_by(|a, b| b.1.total_cmp(&a.1));
    let length = answer.embedding.iter().map(|v| v * v).sum::<f32>().sqrt();
    let unit = (1.0 - UNIT_SLACK..=1.0 + UNIT_SLACK).contains(&length);
    if !answer.embedding.is_empty() && !unit {
        return Err(format!("embedding: its length is {length}, and not 1"));
    }
    Ok(answer)
}

/// Checks a class with its label, and its confidence.
fn check(labels: &Labels, class: u32, label: &str, score: f32) -> Result<(), String> {
    match labels.get(class as usize) {
        None => return Err(format!("class: {class}, but the bundle has {} labels, counted from 0", labels.len())),
        Some(own) if **own != *label => {
            return Err(format!("label: class {class} is \"{own}\" in the bundle's labels, not \"{label}\""));
        }
        Some(_) => {}
    }
    if (0.0..=1.0).contains(&score) { Ok(()) } else { Err(format!("score: {score} is not a number from 0 to 1")) }
}

fn object(entry: ObjectEntry, bundle: &Bundle) -> Result<Found, String> {
    let ObjectEntry { class, label, score, bbox, corners, keypoints } = entry;
    check(&bundle.labels, class, &label, score)?;
    let [x1, y1, x2, y2] = bbox;
    if !(bbox.iter().all(|v| v.is_finite()) && x1 < x2 && y1 < y2) {
        return Err(format!("box: {bbox:?} is not left, top, right, bottom of a box with an area"));
    }
    if corners.is_some_and(|c| !c.as_flattened().iter().all(|v| v.is_finite())) {
        return Err("corners: not all are finite numbers".into());
    }
    if corners.is_some() != (bundle.task == Task::Obb) {
        let why = if corners.is_some() { "only oriented boxes have them" } else { "an oriented box needs them" };
        return Err(format!("corners: {why}"));
    }
    if !keypoints.as_flattened().iter().all(|v| v.is_finite()) {
        return Err("keypoints: not all are finite numbers".into());
    }
    Ok(Found { class, score, bbox, corners, keypoints, mask: None })
}

/// The file for what a model found on pictures (path inside the bundle, answer): a line for each object. Masks are left
/// out.
pub fn write(pictures: &[(String, Answer)], labels: &Labels) -> String {
    let label = |class: u32| labels.get(class as usize).map_or(String::new(), |label| label.to_string());
    let entries = pictures.iter().map(|(file, answer)| {
        let objects = answer.objects.iter().map(|o| {
            json(&ObjectEntry {
                class: o.class,
                label: label(o.class),
                score: rounded(o.score, 1e4),
                bbox: o.bbox.map(|v| rounded(v, 1e2)),
                corners: o.corners.map(|corners| corners.map(|corner| corner.map(|v| rounded(v, 1e2)))),
                keypoints: o
                    .keypoints
                    .iter()
                    .map(|[x, y, c]| [rounded(*x, 1e2), rounded(*y, 1e2), rounded(*c, 1e4)])
                    .collect(),
            })
        });
        let classes = answer.classes.iter().map(|(class, score)| {
            json(&ClassEntry { class: *class, label: label(*class), score: rounded(*score, 1e4) })
        });
        let mut parts = vec![format!("      \"file\": {}", json(file))];
        let mut list = |key: &str, lines: Vec<String>| {
            if !lines.is_empty() {
                parts.push(format!("      \"{key}\": [\n        {}\n      ]", lines.join(",\n        ")));
            }
        };
        list("objects", objects.collect());
        list("classes", classes.collect());
        if !answer.embedding.is_empty() {
            parts.push(format!("      \"embedding\": {}", json(&answer.embedding)));
        }
        format!("    {{\n{}\n    }}", parts.join(",\n"))
    });
    let entries: Vec<String> = entries.collect();
    format!("{{\n  \"format\": {FORMAT},\n  \"pictures\": [\n{}\n  ]\n}}\n", entries.join(",\n"))
}

/// The number with no more digits than it has a meaning.
fn rounded(value: f32, parts: f64) -> f32 {
    ((f64::from(value) * parts).round() / parts) as f32
}

/// Numbers, texts and lists of them: what cannot be written is `null`, which no reader takes.
fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_else(|_| "null".into())
}

#[cfg(test)]
mod tests;
