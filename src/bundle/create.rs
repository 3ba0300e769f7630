//! A new bundle around a model: the folder of `vigil bundle new`.

mod given;
pub mod predictions;
pub mod reference;

pub use given::Given;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::contract::{InputContract, Labels, OutputContract, Quantization, Resize, Task};
use super::error::BundleError;
use super::manifest::{self, Precision, word};
use super::names::check_name;
use super::{Bundle, digest, onnx_file};

/// How a value of a new bundle was come by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Known {
    /// The user said it.
    Given,
    /// It is written in the model.
    Read,
    /// The model's tensors leave no other choice.
    Recognised,
    /// Nothing said otherwise.
    Assumed,
}

impl Known {
    /// The word that lists and messages use.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Given => "given",
            Self::Read => "read",
            Self::Recognised => "recognised",
            Self::Assumed => "assumed",
        }
    }
}

/// How a value was come by, and what says so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reason {
    /// How it was come by.
    pub known: Known,
    /// What says so, in a few words.
    pub because: String,
}

impl Reason {
    /// A reason.
    pub fn new(known: Known, because: impl Into<String>) -> Self {
        Self { known, because: because.into() }
    }

    /// The user's word.
    pub fn given() -> Self {
        Self::new(Known::Given, "you said so")
    }
}

/// All that a new bundle will say.
#[derive(Debug, Clone, PartialEq)]
pub struct Draft {
    /// Identity.
    pub name: String,
    /// Release of that name.
    pub release: String,
    /// Licence of the weights.
    pub license: Option<String>,
    /// What the model answers.
    pub task: Task,
    /// Labels by class id; empty only for embeddings.
    pub labels: Labels,
    /// The model's input.
    pub input: InputContract,
    /// The model's output.
    pub output: OutputContract,
    /// Number format of the weights.
    pub precision: Option<Precision>,
    /// How values were come by, by dotted key (`input.size`); those of other keys are Vigil's defaults.
    pub known: BTreeMap<String, Reason>,
}

/// A key of the manifest with its value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Value {
    /// Dotted key, such as `input.size`.
    pub key: &'static str,
    /// The value as TOML.
    pub value: String,
    /// How it was come by.
    pub known: Known,
    /// What says so.
    pub because: String,
}

impl Draft {
    /// The keys of `bundle.toml` in the order in which it lists them, but for `format` and the variant.
    pub fn values(&self) -> Vec<Value> {
        let mut list = Vec::new();
        let mut put = |key: &'static str, value: String| {
            let reason = self.known.get(key).or_else(|| self.known.get(said_with(key)));
            let (known, because) = reason.map_or((Known::Assumed, usual(key)), |r| (r.known, r.because.as_str()));
            list.push(Value { key, value, known, because: because.into() });
        };
        put("name", quoted(&self.name));
        put("release", quoted(&self.release));
        put("task", quoted(&word(&self.task)));
        if !self.labels.is_empty() {
            put("labels", quoted("labels.txt"));
        }
        if let Some(license) = &self.license {
            put("license", quoted(license));
        }
        self.input_values(&mut put);
        self.output_values(&mut put);
        list
    }

    fn input_values(&self, put: &mut impl FnMut(&'static str, String)) {
        let input = &self.input;
        let channels = input.color.channels();
        put("input.layout", quoted(&word(&input.layout)));
        put("input.size", format!("[{}, {}]", input.width, input.height));
        put("input.color", quoted(&word(&input.color)));
        put("input.resize", quoted(&word(&input.resize)));
        if input.resize == Resize::Letterbox {
            put("input.align", quoted(&word(&input.align)));
            put("input.pad", input.pad.to_string());
        }
        if input.resize == Resize::Crop {
            put("input.crop-fraction", number(input.crop_fraction));
        }
        put("input.antialias", input.antialias.to_string());
        put("input.mean", numbers(input.mean.iter().take(channels)));
        put("input.std", numbers(input.std.iter().take(channels)));
        if let Some(q) = input.quantization {
            put("input.quantization", quantization(q));
        }
    }

    fn output_values(&self, put: &mut impl FnMut(&'static str, String)) {
        let output = &self.output;
        put("output.decoder", quoted(output.decoder.as_str()));
        put("output.confidence", number(output.confidence));
        put("output.iou", number(output.iou));
        let by_label: BTreeMap<&str, f32> = output
            .per_class
            .iter()
            .filter_map(|(id, confidence)| Some((&**self.labels.get(*id as usize)?, *confidence)))
            .collect();
        if !by_label.is_empty() {
            let entries: Vec<String> =
                by_label.iter().map(|(l, c)| format!("{} = {}", quoted(l), number(*c))).collect();
            put("output.per-class", format!("{{ {} }}", entries.join(", ")));
        }
        put("output.max-objects", output.max_objects.to_string());
        put("output.class-agnostic", output.class_agnostic.to_string());
        if output.nms {
            put("output.nms", output.nms.to_string());
        }
        if let Some(activation) = &output.activation {
            put("output.activation", quoted(&word(activation)));
        }
        put("output.class-offset", output.class_offset.to_string());
        if output.task == Task::Classify {
            put("output.top-k", output.top_k.to_string());
        }
        self.box_values(put);
        if let Some(anchors) = &output.anchors {
            put("output.anchors.feature-maps", format!("{:?}", anchors.feature_maps));
            put("output.anchors.min-scale", number(anchors.min_scale));
            put("output.anchors.max-scale", number(anchors.max_scale));
            put("output.anchors.aspect-ratios", numbers(anchors.aspect_ratios.iter()));
            put("output.anchors.reduce-lowest", anchors.reduce_lowest.to_string());
            put("output.anchors.interpolated-scale", anchors.interpolated_scale.to_string());
            put("output.anchors.box-scales", numbers(anchors.box_scales.iter()));
        }
    }

    /// What only some decoders need.
    fn box_values(&self, put: &mut impl FnMut(&'static str, String)) {
        let output = &self.output;
        if let Some(format) = &output.box_format {
            put("output.box-format", quoted(&word(format)));
        }
        if let Some(unit) = &output.box_unit {
            put("output.box-unit", quoted(&word(unit)));
        }
        if let Some(columns) = &output.columns {
            put("output.columns", list(columns.iter().map(|c| quoted(&word(c)))));
        }
        if let Some(heads) = &output.yolo_anchors {
            put("output.yolo-anchors", list(heads.iter().map(|head| numbers(head.as_flattened().iter()))));
        }
        if let Some(shape) = &output.keypoint_shape {
            put("output.keypoint-shape", format!("{shape:?}"));
        }
        if let Some(skeleton) = &output.skeleton {
            put("output.skeleton", list(skeleton.iter().map(|(a, b)| format!("[{a}, {b}]"))));
        }
        if !output.quantization.is_empty() {
            let entries =
                output.quantization.iter().map(|(name, q)| format!("{} = {}", quoted(name), quantization(*q)));
            put("output.quantization", format!("{{ {} }}", entries.collect::<Vec<_>>().join(", ")));
        }
    }

    /// The text of `bundle.toml` for weights in `file` with the digest `sha256`; assumed values are marked.
    pub fn manifest(&self, file: &str, sha256: &str) -> String {
        let mut text = format!("format = {}\n", manifest::FORMAT);
        let mut table = "";
        for Value { key, value, known, .. } in self.values() {
            let (of, last) = key.rsplit_once('.').unwrap_or(("", key));
            if of != table {
                table = of;
                text += &format!("\n[{table}]\n");
            }
            text += &format!("{last} = {value}{}\n", if known == Known::Assumed { "  # assumed" } else { "" });
        }
        text += &format!("\n[[variant]]\nfile = {}\nsha256 = {}\n", quoted(file), quoted(sha256));
        if let Some(precision) = &self.precision {
            text += &format!("precision = {}\n", quoted(&word(precision)));
        }
        text
    }
}

/// Writes the folder `out` with a copy of `model` and what `draft` says, and opens it.
///
/// The folder appears whole or not at all: it is written beside `out` and renamed.
///
/// # Errors
/// [`BundleError`] if `out` exists, `model` cannot be read or be an ONNX model, the draft is not a valid bundle, or
/// something cannot be written.
pub fn write_new(model: &Path, draft: &Draft, out: &Path) -> Result<Bundle, BundleError> {
    if fs::symlink_metadata(out).is_ok() {
        return Err(BundleError::unusable(out, "exists already; name another folder with -o, or remove it first"));
    }
    let bytes = fs::read(model).map_err(BundleError::io(model))?;
    onnx_file::check(&bytes).map_err(|why| BundleError::NotAModel { path: model.into(), why })?;
    if draft.labels.is_empty() && draft.task != Task::Embed {
        return Err(BundleError::unusable(model, "the labels are not known: give a file with one per line (--labels)"));
    }
    for (key, name) in [("name", &draft.name), ("release", &draft.release)] {
        check_name(name).map_err(|why| {
            BundleError::unusable(model, format!("the {key} \"{name}\" {why}; give another one with --{key}"))
        })?;
    }
    let mut partial = out.as_os_str().to_owned();
    partial.push(".partial");
    let partial = PathBuf::from(partial);
    let written = write_folder(&partial, &bytes, draft);
    if let Err(e) = written.and_then(|()| fs::rename(&partial, out).map_err(BundleError::io(out))) {
        // What is left is of no use; that it may not go either is not the error to report.
        let _ = fs::remove_dir_all(&partial);
        return Err(e);
    }
    Bundle::open(out)
}

fn write_folder(dir: &Path, model: &[u8], draft: &Draft) -> Result<(), BundleError> {
    fs::create_dir_all(dir).map_err(BundleError::io(dir))?;
    let write = |name: &str, content: &[u8]| {
        let path = dir.join(name);
        fs::write(&path, content).map_err(BundleError::io(path))
    };
    write("model.onnx", model)?;
    if !draft.labels.is_empty() {
        write("labels.txt", (draft.labels.join("\n") + "\n").as_bytes())?;
    }
    write(manifest::FILE_NAME, draft.manifest("model.onnx", &digest::of_bytes(model)).as_bytes())?;
    Bundle::open(dir).map(drop)
}

/// The key whose finding covers `key` too.
fn said_with(key: &str) -> &str {
    match key {
        "input.align" | "input.pad" | "input.crop-fraction" | "input.antialias" => "input.resize",
        "task" => "output.decoder",
        _ if key.starts_with("output.anchors.") => "output.anchors",
        _ => key,
    }
}

/// Why a key has its value where nothing says otherwise.
fn usual(key: &str) -> &'static str {
    match key {
        "name" => "the file's name",
        "labels" => "numbers in place of names",
        _ => "Vigil's default",
    }
}

/// A TOML basic string: a JSON string is one (toml's own writer may choose a multi-line string, which no key can be).
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// A TOML number: the shortest that reads back as the same `f32`.
fn number(value: f32) -> String {
    format!("{value:?}")
}

fn numbers<'a>(values: impl Iterator<Item = &'a f32>) -> String {
    list(values.map(|v| number(*v)))
}

fn list(values: impl Iterator<Item = String>) -> String {
    format!("[{}]", values.collect::<Vec<_>>().join(", "))
}

fn quantization(q: Quantization) -> String {
    format!("{{ scale = {}, zero-point = {} }}", number(q.scale), q.zero_point)
}

#[cfg(test)]
mod tests;
