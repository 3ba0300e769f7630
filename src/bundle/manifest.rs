//! `bundle.toml`: read, checked, and turned into plain values.
//!
//! docs/bundles.md describes every key.

mod output;
mod trial;

use std::ops::Range;

use serde::{Deserialize, Serialize};
use toml::Spanned;

use super::contract::{Align, InputContract, Labels, OutputContract, PROVIDERS, Resize, Task};
use super::names::{check_name, check_path};
use super::place::{ConfigError, Source, did_you_mean, nearest};
use super::schema::{FormatOnly, Input, ReferenceEntry, Top, VariantEntry};
pub use trial::TrialLimits;

/// The file's name in every bundle.
pub const FILE_NAME: &str = "bundle.toml";
/// The one version of the format.
pub const FORMAT: i64 = 1;
/// Longest `bundle.toml`, bytes.
pub const MAX_BYTES: usize = 1 << 20;
/// Longest side of a model's input, pixels.
const MAX_SIDE: u32 = 8192;
/// Most anchors that `[output.anchors]` may describe.
const MAX_ANCHORS: u64 = 1_000_000;

/// Number format of a variant's weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// IEEE 754 binary32.
    Fp32,
    /// IEEE 754 binary16.
    Fp16,
    /// bfloat16.
    Bf16,
    /// 8-bit integers with scales.
    Int8,
}

/// One file of weights of a bundle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Variant {
    /// Path inside the bundle.
    pub file: String,
    /// SHA-256 of the file, 64 lower-case hexadecimal digits.
    pub sha256: String,
    /// Number format; `None` where nobody said.
    pub precision: Option<Precision>,
    /// Execution providers that it is meant for; `None`: any.
    pub providers: Option<Vec<String>>,
}

/// What the model must still find on a machine before it may go live.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Reference {
    /// Patterns of the pictures' paths inside the bundle; `*` does not match `/`.
    pub images: Vec<String>,
    /// Path of the expected answers inside the bundle.
    pub expected: String,
    /// Lowest overlap (IoU, 0..1) of a found box with the expected one.
    pub min_iou: f32,
    /// Largest difference of a confidence from the expected one, 0..1.
    pub score_tolerance: f32,
    /// Longest run (the median of them), milliseconds.
    pub max_latency_ms: Option<u64>,
}

/// What `bundle.toml` means where it says nothing; no pictures.
impl Default for Reference {
    fn default() -> Self {
        Self { images: Vec::new(), expected: String::new(), min_iou: 0.9, score_tolerance: 0.05, max_latency_ms: None }
    }
}

/// The content of a `bundle.toml`.
#[derive(Debug, Clone, PartialEq)]
pub struct Manifest {
    /// Identity.
    pub name: String,
    /// Release of that name.
    pub release: String,
    /// What the model answers.
    pub task: Task,
    /// Path of the label file inside the bundle; only an embedding has none.
    pub labels: Option<String>,
    /// Licence of the weights.
    pub license: Option<String>,
    /// Path of what the model usually says, inside the bundle.
    pub predictions: Option<String>,
    /// The model's input.
    pub input: InputContract,
    /// The model's output, with `per_class` still empty: see [`Manifest::output`].
    output: OutputContract,
    /// At least one.
    pub variants: Vec<Variant>,
    /// Proof before activation.
    pub reference: Option<Reference>,
    /// How the model is watched after its activation.
    pub probation: TrialLimits,
    /// How the model is watched beside the active one.
    pub shadow: TrialLimits,
    per_class: Vec<PerClass>,
}

/// An entry of `per-class` before labels are known, with the mistake to report if there is no such label.
#[derive(Debug, Clone, PartialEq)]
struct PerClass {
    label: String,
    confidence: f32,
    unknown: ConfigError,
}

/// Reads a manifest from the bytes of `file` (a name for errors).
///
/// # Errors
/// [`ConfigError`] for the first mistake.
pub fn parse(bytes: &[u8], file: &str) -> Result<Manifest, ConfigError> {
    let source = Source { file, text: "" };
    if bytes.len() > MAX_BYTES {
        let message = format!("{} bytes are too many for a {FILE_NAME}, {MAX_BYTES} are allowed", bytes.len());
        return Err(source.error(0..0, message));
    }
    let text = std::str::from_utf8(bytes).map_err(|e| {
        let valid = String::from_utf8_lossy(bytes.get(..e.valid_up_to()).unwrap_or_default());
        let end = valid.len();
        Source { file, text: &valid }.error(end..end, "not UTF-8; save the file in that encoding")
    })?;
    let source = Source { file, text };
    let version: FormatOnly = source.parse()?;
    if *version.format.get_ref() != FORMAT {
        let message = format!(
            "this Vigil reads format {FORMAT}, the bundle is in format {}; use a Vigil that knows it",
            version.format.get_ref()
        );
        return Err(source.error(version.format.span(), message));
    }
    Checker { source }.manifest(source.parse()?)
}

impl Manifest {
    /// The model's output, with `per-class` entries given to the class ids of their labels.
    ///
    /// # Errors
    /// [`ConfigError`] if a label of `per-class` is not among `labels`.
    pub fn output(&self, labels: &Labels) -> Result<OutputContract, ConfigError> {
        let mut output = self.output.clone();
        for entry in &self.per_class {
            let ids = labels.iter().zip(0u32..).filter(|(label, _)| ***label == entry.label).map(|(_, id)| id);
            let before = output.per_class.len();
            output.per_class.extend(ids.map(|id| (id, entry.confidence)));
            if output.per_class.len() == before {
                let mut unknown = entry.unknown.clone();
                let names = labels.iter().take(20).map(|l| &**l);
                let hint = match nearest(&entry.label, labels.iter().map(|l| &**l)) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => did_you_mean("", names, "the first labels are"),
                };
                unknown.message = format!("there is no label \"{}\"; {hint}", entry.label);
                return Err(unknown);
            }
        }
        output.per_class.sort_by_key(|(id, _)| *id);
        Ok(output)
    }
}

/// Turns the file's keys into checked values.
struct Checker<'a> {
    source: Source<'a>,
}

type Checked<T> = Result<T, ConfigError>;

impl Checker<'_> {
    fn fail<T>(&self, at: Range<usize>, message: impl Into<String>) -> Checked<T> {
        Err(self.source.error(at, message))
    }

    /// `value` if `good` says so, else an error with `message` about it.
    fn number<T: Copy + std::fmt::Display>(
        &self,
        value: &Spanned<T>,
        good: impl Fn(T) -> bool,
        allowed: &str,
    ) -> Checked<T> {
        let v = *value.get_ref();
        if good(v) { Ok(v) } else { self.fail(value.span(), format!("{v} is not allowed; {allowed}")) }
    }

    fn fraction(&self, value: &Option<Spanned<f32>>, default: f32) -> Checked<f32> {
        value.as_ref().map_or(Ok(default), |v| self.number(v, |v| (0.0..=1.0).contains(&v), "it lies in 0..1"))
    }

    fn text(&self, value: &Spanned<String>, check: fn(&str) -> Result<(), String>) -> Checked<String> {
        match check(value.get_ref()) {
            Ok(()) => Ok(value.get_ref().clone()),
            Err(why) => self.fail(value.span(), format!("\"{}\" {why}", value.get_ref().escape_debug())),
        }
    }

    fn manifest(&self, top: Top) -> Checked<Manifest> {
        let name = self.text(&top.name, check_name)?;
        let release = self.text(&top.release, check_name)?;
        let license = top.license.as_ref().map(|l| self.text(l, check_line)).transpose()?;
        let predictions = top.predictions.as_ref().map(|p| self.text(p, check_path)).transpose()?;
        let labels = top.labels.as_ref().map(|l| self.text(l, check_path)).transpose()?;
        if labels.is_none() && top.task != Task::Embed {
            return self.fail(0..0, "the key `labels` is missing: name the file with one label per line");
        }
        let input = self.input(top.input.get_ref())?;
        let (output, per_class) = self.output(&top.output, top.task)?;
        if top.variant.is_empty() {
            return self.fail(0..0, "there is no [[variant]]: name at least one file with weights");
        }
        let mut variants: Vec<Variant> = Vec::new();
        for entry in &top.variant {
            let variant = self.variant(entry)?;
            if variants.iter().any(|v| v.file == variant.file) {
                return self.fail(entry.file.span(), format!("\"{}\" is listed twice", variant.file));
            }
            variants.push(variant);
        }
        let reference = top.reference.as_ref().map(|r| self.reference(r)).transpose()?;
        let probation = self.trial(top.probation.as_ref())?;
        let shadow = self.trial(top.shadow.as_ref())?;
        Ok(Manifest {
            name,
            release,
            task: top.task,
            labels,
            license,
            predictions,
            input,
            output,
            variants,
            reference,
            probation,
            shadow,
            per_class,
        })
    }

    fn input(&self, input: &Input) -> Checked<InputContract> {
        let [width, height] = *input.size.get_ref();
        if !(1..=MAX_SIDE).contains(&width) || !(1..=MAX_SIDE).contains(&height) {
            let message = format!("[{width}, {height}] is not allowed; width and height lie in 1..{MAX_SIDE}");
            return self.fail(input.size.span(), message);
        }
        let letterboxed = input.align.as_ref().map(Spanned::span).or(input.pad.as_ref().map(Spanned::span));
        if let (Some(at), true) = (letterboxed, input.resize != Resize::Letterbox) {
            return self.fail(at, "it has a meaning only with resize = \"letterbox\"");
        }
        let crop_fraction = match &input.crop_fraction {
            Some(value) if input.resize != Resize::Crop => {
                return self.fail(value.span(), "it has a meaning only with resize = \"crop\"");
            }
            Some(value) => self.number(value, |v| v > 0.0 && v <= 1.0, "it lies in 0..1, above 0")?,
            None => 1.0,
        };
        let channels = input.color.channels();
        Ok(InputContract {
            layout: input.layout,
            width,
            height,
            color: input.color,
            resize: input.resize,
            antialias: input.antialias,
            crop_fraction,
            align: input.align.as_ref().map_or(Align::Center, |a| *a.get_ref()),
            pad: input.pad.as_ref().map_or(114, |p| *p.get_ref()),
            mean: self.per_channel(&input.mean, channels, |_| true, "numbers")?,
            std: self.per_channel(
                &input.std,
                channels,
                |v| v != 0.0,
                "numbers other than 0 (values are divided by it)",
            )?,
            quantization: input.quantization.as_ref().map(|q| self.quantization(q)).transpose()?,
        })
    }

    /// One value per channel; a gray model's one value stands for all three.
    fn per_channel(
        &self,
        values: &Spanned<Vec<f32>>,
        channels: usize,
        good: fn(f32) -> bool,
        what: &str,
    ) -> Checked<[f32; 3]> {
        let list = values.get_ref();
        if list.len() != channels || list.iter().any(|v| !v.is_finite() || !good(*v)) {
            let message = format!("{list:?} is not allowed; with this `color` it is a list of {channels} {what}");
            return self.fail(values.span(), message);
        }
        Ok(std::array::from_fn(|i| list.get(i).or(list.first()).copied().unwrap_or_default()))
    }

    fn variant(&self, entry: &VariantEntry) -> Checked<Variant> {
        let sha256 = entry.sha256.get_ref().to_ascii_lowercase();
        if sha256.len() != 64 || !sha256.bytes().all(|b| b.is_ascii_hexdigit()) {
            return self
                .fail(entry.sha256.span(), "it is 64 hexadecimal digits, as `sha256sum` prints them for the file");
        }
        let providers = match &entry.providers {
            Some(list) if list.get_ref().is_empty() => {
                return self.fail(list.span(), "the list is empty; leave the key out to allow every provider");
            }
            Some(list) => Some(list.get_ref().iter().map(|p| self.text(p, check_provider)).collect::<Checked<_>>()?),
            None => None,
        };
        Ok(Variant { file: self.text(&entry.file, check_path)?, sha256, precision: entry.precision, providers })
    }

    fn reference(&self, entry: &ReferenceEntry) -> Checked<Reference> {
        if entry.images.get_ref().is_empty() {
            return self.fail(entry.images.span(), "the list is empty; name at least one picture");
        }
        let images = entry.images.get_ref().iter().map(|i| self.text(i, check_pattern)).collect::<Checked<_>>()?;
        let latency = entry.max_latency_ms.as_ref();
        let usual = Reference::default();
        Ok(Reference {
            images,
            expected: self.text(&entry.expected, check_path)?,
            min_iou: self.fraction(&entry.min_iou, usual.min_iou)?,
            score_tolerance: self.fraction(&entry.score_tolerance, usual.score_tolerance)?,
            max_latency_ms: latency
                .map(|v| self.number(v, |v| (1..=600_000).contains(&v), "it lies in 1..600000"))
                .transpose()?,
        })
    }
}

/// The word by which a value of a kebab-case enumeration is written in `bundle.toml`.
pub(crate) fn word(value: &impl Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => word,
        _ => String::new(),
    }
}

fn check_line(text: &str) -> Result<(), String> {
    if text.chars().any(char::is_control) { Err("contains a control character".into()) } else { Ok(()) }
}

fn check_provider(name: &str) -> Result<(), String> {
    if PROVIDERS.contains(&name) {
        return Ok(());
    }
    let hint = nearest(name, PROVIDERS).map(|near| format!("; did you mean \"{near}\"?")).unwrap_or_default();
    Err(format!("is not an execution provider; known are {}{hint}", PROVIDERS.join(", ")))
}

fn check_pattern(pattern: &str) -> Result<(), String> {
    check_path(pattern)?;
    glob::Pattern::new(pattern).map(|_| ()).map_err(|e| format!("is not a pattern: {}", e.msg))
}

#[cfg(test)]
mod tests;
