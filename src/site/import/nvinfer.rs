//! An nvinfer configuration: a model's bundle, and the properties of the stage that runs it.

mod input;
mod output;

use std::path::{Path, PathBuf};

use super::config::{Config, Entry, Group};
use super::findings::{Findings, Level};
use crate::bundle::contract::Labels;
use crate::bundle::create::Given;
use crate::site::description::{Properties, Scalar};

/// A key of the bundle, and which key of DeepStream's says so.
#[derive(Debug, Clone, PartialEq)]
pub struct Said {
    /// The key with its value.
    pub given: Given,
    /// What says so.
    pub because: String,
    /// The key of DeepStream's, if it is one that says so.
    pub entry: Option<Entry>,
}

/// What says something: a key, or DeepStream's habit.
struct Why(String, Option<Entry>);

impl From<&Entry> for Why {
    fn from(entry: &Entry) -> Self {
        Self(format!("{} at {}", entry.key, entry.place()), Some(entry.clone()))
    }
}

impl From<&str> for Why {
    fn from(text: &str) -> Self {
        Self(text.into(), None)
    }
}

/// What an nvinfer configuration comes to.
#[derive(Debug, Clone, PartialEq)]
pub struct Infer {
    /// The file, as it was named.
    pub file: String,
    /// The bundle's name.
    pub name: String,
    /// The ONNX model, or why there is none that could be used.
    pub model: Result<PathBuf, String>,
    /// Labels by class id.
    pub labels: Option<Labels>,
    /// What the configuration says about the bundle.
    pub said: Vec<Said>,
    /// Properties of the stage; durations that were frames are of `fps` frames a second.
    pub properties: Properties,
    /// Whether nvinfer's own parser reads the boxes: a grid of DetectNet_v2.
    pub own_parser: bool,
    /// Its number among the models of an application.
    pub id: Option<i64>,
    /// Whether it looks at objects of another model.
    pub secondary: bool,
    /// Number of the model at whose objects it looks.
    pub operates_on: Option<i64>,
    /// Class ids of the objects at which it looks; empty: all.
    pub operates_on_classes: Vec<u32>,
}

impl Infer {
    /// What the classes at which it looks are called by the model that finds them.
    pub fn look_at(&mut self, labels: &Labels) {
        let names = self.operates_on_classes.iter().filter_map(|id| labels.get(*id as usize).map(|l| l.to_string()));
        let names: Vec<String> = names.collect();
        if !names.is_empty() {
            self.properties.insert("object-class".into(), Scalar::Text(names.join(",")));
        }
    }
}

/// What kind of network it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Detector,
    Classifier,
    Segmentation,
    Instances,
    Other,
}

/// Reads the nvinfer configuration `path`; `fps` is what cameras are taken to give, for times that it counts in frames.
///
/// # Errors
/// If the file cannot be read, or has no group `[property]`.
pub fn read(path: &Path, fps: f64, findings: &mut Findings) -> Result<Infer, String> {
    let config = Config::read(path)?;
    from_config(config, fps, findings)
}

fn from_config(mut config: Config, fps: f64, findings: &mut Findings) -> Result<Infer, String> {
    let file = config.name();
    let property = config.take("property");
    let property =
        property.ok_or_else(|| format!("{file}: there is no group [property]: is it a file for nvinfer?"))?;
    let mut reader = Reader { property, fps, findings, said: Vec::new(), properties: Properties::new() };
    let kind = reader.kind();
    let model = reader.model(&config);
    let labels = reader.labels(&config, kind);
    let name = reader.name(&config, &model);
    reader.input();
    let own_parser = reader.decoder(kind);
    reader.classes(&mut config, kind, labels.as_ref());
    let (secondary, operates_on, operates_on_classes) = reader.stage();
    let id = reader.property.number("gie-unique-id", reader.findings).map(|(id, _)| id);
    let Reader { property, said, properties, .. } = reader;
    property.rest(findings);
    for group in config.rest() {
        findings.group(Level::Lost, &group, "nvinfer has no such group; it is left out");
    }
    Ok(Infer {
        file,
        name,
        model,
        labels,
        said,
        properties,
        own_parser,
        id,
        secondary,
        operates_on,
        operates_on_classes,
    })
}

struct Reader<'a> {
    property: Group,
    fps: f64,
    findings: &'a mut Findings,
    said: Vec<Said>,
    properties: Properties,
}

impl Reader<'_> {
    fn number(&mut self, key: &str) -> Option<(f64, Entry)> {
        self.property.number(key, self.findings)
    }

    fn integer(&mut self, key: &str) -> Option<(i64, Entry)> {
        self.property.number(key, self.findings)
    }

    fn say(&mut self, key: &str, value: impl Into<toml::Value>, why: impl Into<Why>) {
        let Why(because, entry) = why.into();
        self.said.push(Said { given: Given { key: key.into(), value: value.into() }, because, entry });
    }

    fn kind(&mut self) -> Kind {
        let classifier = self.property.flag("is-classifier").unwrap_or(false);
        match self.integer("network-type") {
            None if classifier => Kind::Classifier,
            None | Some((0, _)) => Kind::Detector,
            Some((1, _)) => Kind::Classifier,
            Some((2, _)) => Kind::Segmentation,
            Some((3, _)) => Kind::Instances,
            Some((100, entry)) => {
                let text = "the answers were read by the application: if it is a vector that describes objects, give \
                            `--set task=embed --set output.decoder=embed`, else its decoder";
                self.findings.add(Level::Changed, &entry, text);
                Kind::Other
            }
            Some((_, entry)) => {
                self.findings.add(Level::Lost, &entry, "Vigil does not know this type of network");
                Kind::Other
            }
        }
    }

    /// The ONNX file, or why there is none.
    fn model(&mut self, config: &Config) -> Result<PathBuf, String> {
        let onnx = self.property.text("onnx-file");
        let other = self.property.text("model-file");
        // Older files name an ONNX model so too.
        let (onnx, other) = match (onnx, other) {
            (None, Some(e)) if e.value.ends_with(".onnx") => (Some(e), None),
            pair => pair,
        };
        let olds = ["tlt-encoded-model", "uff-file"].map(|key| self.property.text(key));
        let olds = [other].into_iter().chain(olds).flatten();
        let mut why = None;
        for entry in olds {
            let text = format!(
                "{} is a model for TensorRT only, that nothing else can run: export the model to ONNX where it was \
                 trained, name it as `onnx-file`, and import again",
                entry.value
            );
            let level = if onnx.is_some() { Level::Unneeded } else { Level::Lost };
            self.findings.add(level, &entry, if onnx.is_some() { "the ONNX model is taken" } else { &text });
            why.get_or_insert(format!("{}: {text}", entry.place()));
        }
        if let Some(entry) = onnx {
            return Ok(config.resolve(&entry.value));
        }
        let engine = self.property.take("model-engine-file");
        if let Some(entry) = engine {
            let text = "an engine of TensorRT runs on the GPU that it was built on only: name the ONNX model that it was \
                        built from as `onnx-file`, and import again";
            self.findings.add(Level::Lost, &entry, text);
            why.get_or_insert(format!("{}: {text}", entry.place()));
        }
        Err(why.unwrap_or_else(|| format!("{}: there is no `onnx-file`", config.name())))
    }

    /// The labels; classifiers have all of them on one line.
    fn labels(&mut self, config: &Config, kind: Kind) -> Option<Labels> {
        let classes = self.property.take("num-detected-classes").and_then(|entry| entry.number::<usize>());
        let entry = self.property.text("labelfile-path")?;
        let path = config.resolve(&entry.value);
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(e) => {
                let text = format!("{}: {e}; the labels are those of the model, or numbers", path.display());
                self.findings.add(Level::Lost, &entry, text);
                return None;
            }
        };
        let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        let listed = |line: &str| line.trim_end_matches(';').contains(';');
        let labels: Labels = match lines.as_slice() {
            [one] if kind == Kind::Classifier || listed(one) => {
                one.split(';').map(str::trim).filter(|label| !label.is_empty()).map(Into::into).collect()
            }
            [first, ..] if kind == Kind::Classifier && listed(first) => {
                let text = "a model that answers several questions at once has no counterpart: its outputs would each \
                            need a model of their own; the labels of the first line are taken";
                self.findings.add(Level::Lost, &entry, text);
                first.split(';').map(str::trim).filter(|label| !label.is_empty()).map(Into::into).collect()
            }
            lines => lines.iter().map(|line| line.trim_end_matches(';').into()).collect(),
        };
        if let Some(classes) = classes.filter(|n| *n != labels.len() && kind == Kind::Detector) {
            let text = format!(
                "the file has {} labels for {classes} classes (num-detected-classes): the model decides how many it \
                 needs",
                labels.len()
            );
            self.findings.add(Level::Changed, &entry, text);
        }
        Some(labels).filter(|labels| !labels.is_empty())
    }

    /// The bundle's name: what a classifier tells, since attributes are called after it, else the model's.
    fn name(&mut self, config: &Config, model: &Result<PathBuf, String>) -> String {
        let named = self.property.text("classifier-type").map(|entry| entry.value);
        let stem = |path: &Path| path.file_stem().map(|s| s.to_string_lossy().into_owned());
        let name = named.or_else(|| stem(model.as_ref().ok()?)).or_else(|| stem(&config.path)).unwrap_or_default();
        name_of(&name)
    }

    /// The stage's own properties: which frames and which objects it looks at.
    fn stage(&mut self) -> (bool, Option<i64>, Vec<u32>) {
        let secondary = self.integer("process-mode").is_some_and(|(mode, _)| mode == 2);
        if let Some((interval, _)) = self.integer("interval").filter(|(n, _)| *n > 0) {
            self.properties.insert("interval".into(), Scalar::Integer(interval.min(10_000)));
        }
        let on = self.integer("operate-on-gie-id").map(|(id, _)| id).filter(|id| *id >= 0);
        let classes: Vec<u32> = match self.property.text("operate-on-class-ids") {
            Some(entry) => entry.items().iter().filter_map(|id| id.parse().ok()).collect(),
            None => Vec::new(),
        };
        let sides = ["input-object-min-width", "input-object-min-height"].map(|key| self.integer(key));
        let again = ["secondary-reinfer-interval", "secondary-reinfer-intrval"].map(|key| self.number(key));
        if !secondary {
            return (false, None, Vec::new());
        }
        self.properties.insert("inference-region".into(), Scalar::Text("objects".into()));
        let smallest = sides.iter().flatten().map(|(side, _)| *side).filter(|side| *side > 0).min();
        if let Some(side) = smallest {
            self.properties.insert("object-min-size".into(), Scalar::Integer(side.min(32_768)));
            for (_, entry) in sides.iter().flatten().filter(|(n, _)| *n > side) {
                let text = "`object-min-size` is the shorter side of an object: the smaller one of the two is taken";
                self.findings.add(Level::Changed, entry, text);
            }
        }
        if let Some((frames, entry)) = again.into_iter().flatten().next().filter(|(n, _)| *n > 0.0) {
            let time = duration(frames / self.fps);
            let text = format!("it counts frames: at {} frames a second that is `reinfer-time = \"{time}\"`", self.fps);
            self.findings.add(Level::Changed, &entry, text);
            self.properties.insert("reinfer-time".into(), Scalar::Text(time));
        }
        (true, on, classes)
    }
}

/// Seconds as a duration of a description.
pub(super) fn duration(seconds: f64) -> String {
    let milliseconds = (seconds * 1000.0).round().clamp(1.0, 1e12) as u64;
    match milliseconds {
        n if n.is_multiple_of(1000) => format!("{}s", n / 1000),
        n => format!("{n}ms"),
    }
}

/// A name that a bundle or a camera may have.
pub(super) fn name_of(text: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '-' };
    let name: String = text.trim().chars().map(plain).collect();
    let name: String = name.trim_start_matches(['.', '_', '-']).chars().take(64).collect();
    if name.is_empty() { "model".into() } else { name }
}

#[cfg(test)]
mod tests;
