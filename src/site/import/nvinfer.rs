//! An nvinfer configuration: a model's bundle, and the properties of the stage that runs it.

use std::path::{Path, PathBuf};

use super::config::{Config, Entry, Group};
use super::findings::{Findings, Level};
use crate::bundle::contract::Labels;
use crate::bundle::create::Given;
use crate::site::description::{Properties, Scalar};

/// nvinfer's lowest confidence where the file does not say.
const USUAL_CONFIDENCE: f64 = 0.2;
/// nvinfer's overlap for NMS where the file does not say.
const USUAL_IOU: f64 = 0.3;
/// Most objects of a frame that a bundle may allow.
const MOST_OBJECTS: i64 = 10_000;

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

    /// Size, colours, scaling and normalisation.
    fn input(&mut self) {
        let order = self.integer("network-input-order");
        let last = order.as_ref().is_some_and(|(order, _)| *order == 1);
        if let Some((_, entry)) = order {
            self.say("input.layout", if last { "nhwc" } else { "nchw" }, &entry);
        }
        for key in ["infer-dims", "input-dims"] {
            let Some(entry) = self.property.take(key) else { continue };
            let sides: Option<Vec<i64>> = entry.items().iter().map(|item| item.parse().ok()).collect();
            let size = match sides.as_deref() {
                Some([h, w, _]) if last => Some((*w, *h)),
                Some([_, h, w] | [_, h, w, _]) => Some((*w, *h)),
                _ => None,
            };
            match size {
                Some((w, h)) => self.say("input.size", vec![w, h], &entry),
                None => self.findings.add(Level::Lost, &entry, "it is no list of channels;height;width"),
            }
        }
        let gray = match self.integer("model-color-format") {
            None => {
                self.say("input.color", "rgb", "nvinfer's default (model-color-format = 0)");
                false
            }
            Some((format, entry)) => {
                let color = match format {
                    1 => "bgr",
                    2 => "gray",
                    _ => "rgb",
                };
                self.say("input.color", color, &entry);
                format == 2
            }
        };
        self.normalisation(gray);
        let keep = self.property.take("maintain-aspect-ratio");
        let middle = self.property.flag("symmetric-padding").unwrap_or(false);
        match keep.filter(|entry| entry.number::<i64>().is_some_and(|n| n != 0)) {
            Some(entry) => {
                self.say("input.resize", "letterbox", &entry);
                self.say("input.align", if middle { "center" } else { "top-left" }, "symmetric-padding");
                self.say("input.pad", 0, "nvinfer pads with black");
            }
            None => self.say("input.resize", "stretch", "nvinfer's default (maintain-aspect-ratio = 0)"),
        }
    }

    /// `(value - offset) * net-scale-factor` is `(value - mean) / std`.
    fn normalisation(&mut self, gray: bool) {
        let channels = if gray { 1 } else { 3 };
        let (std, why) = match self.number("net-scale-factor") {
            Some((factor, entry)) if factor > 0.0 => (rounded(1.0 / factor), Why::from(&entry)),
            _ => (1.0, "nvinfer's default (net-scale-factor = 1)".into()),
        };
        self.say("input.std", vec![std; channels], why);
        let (mean, why) = match self.property.text("offsets") {
            Some(entry) => {
                let list: Vec<f64> = entry.items().iter().filter_map(|item| item.parse().ok()).collect();
                if list.len() == channels {
                    (list, Why::from(&entry))
                } else {
                    self.findings.add(Level::Lost, &entry, format!("it is no list of {channels} numbers"));
                    (vec![0.0; channels], "nvinfer's default (no offsets)".into())
                }
            }
            None => (vec![0.0; channels], "nvinfer's default (no offsets)".into()),
        };
        self.say("input.mean", mean, why);
    }

    /// Which decoder the parsing function stands for. Whether it is nvinfer's own.
    fn decoder(&mut self, kind: Kind) -> bool {
        match kind {
            Kind::Classifier => {
                self.say("task", "classify", "network-type");
                self.say("output.decoder", "classify", "network-type");
            }
            Kind::Segmentation => {
                self.say("task", "segment", "network-type");
                self.say("output.decoder", "segmentation", "network-type");
            }
            _ => {}
        }
        let keys = [
            "parse-bbox-func-name",
            "parse-bbox-instance-mask-func-name",
            "parse-classifier-func-name",
            "custom-segmentation-func-name",
            "parse-segmentation-func-name",
        ];
        let parsers: Vec<Entry> = keys.iter().filter_map(|key| self.property.text(key)).collect();
        let own = parsers.is_empty() && kind == Kind::Detector;
        for entry in parsers {
            match decoder_of(&entry.value) {
                Some(decoder) => self.say("output.decoder", decoder, &entry),
                None => {
                    let text =
                        "the decoder is told by the model's tensors and names; check it with `vigil bundle show`";
                    self.findings.add(Level::Changed, &entry, text);
                }
            }
        }
        for (key, kinds) in [("classifier-threshold", Kind::Classifier), ("segmentation-threshold", Kind::Segmentation)]
        {
            if let Some((value, entry)) = self.number(key) {
                if kind == kinds {
                    self.say("output.confidence", value.clamp(0.0, 1.0), &entry);
                } else {
                    self.findings.add(Level::Unneeded, &entry, "this network has no use for it");
                }
            }
        }
        own
    }

    /// Thresholds, for all classes and for single ones.
    fn classes(&mut self, config: &mut Config, kind: Kind, labels: Option<&Labels>) {
        let detects = matches!(kind, Kind::Detector | Kind::Instances);
        let mode = self.integer("cluster-mode");
        let clusters = mode.as_ref().map_or(0, |(mode, _)| *mode);
        if let Some((_, entry)) = mode.filter(|_| detects && !matches!(clusters, 2 | 4)) {
            let text = "groups of boxes are not averaged: NMS keeps the most confident one; check `output.iou`";
            self.findings.add(Level::Changed, &entry, text);
        }
        if let Some(mut all) = config.take("class-attrs-all") {
            self.all_classes(&mut all, detects, clusters, labels);
            all.rest(self.findings);
        } else if detects {
            self.say("output.confidence", USUAL_CONFIDENCE, "nvinfer's default (pre-cluster-threshold)");
            self.say("output.iou", USUAL_IOU, "nvinfer's default (nms-iou-threshold)");
        }
        let mut per_class = toml::Table::new();
        for (id, mut group) in config.take_numbered("class-attrs-") {
            let threshold = threshold(&mut group, self.findings);
            match (threshold, labels.and_then(|labels| labels.get(id as usize))) {
                (Some((value, _)), Some(label)) => drop(per_class.insert(label.to_string(), value.into())),
                (Some((_, entry)), None) => {
                    let text = format!("there is no label of class {id}: add it to `output.per-class` of the bundle");
                    self.findings.add(Level::Lost, &entry, text);
                }
                (None, _) => {}
            }
            group.rest(self.findings);
        }
        if let Some(entry) = self.property.text("filter-out-class-ids") {
            let ids: Vec<usize> = entry.items().iter().filter_map(|id| id.parse().ok()).collect();
            let names: Vec<_> = ids.iter().filter_map(|id| labels?.get(*id)).collect();
            let text = "they get the confidence 1 in `output.per-class`, which hardly any object reaches";
            let none = names.is_empty();
            per_class.extend(names.into_iter().map(|label| (label.to_string(), 1.0.into())));
            let lost = "there are no labels of them: give them the confidence 1 in `output.per-class` of the bundle";
            let (level, text) = if none { (Level::Lost, lost) } else { (Level::Changed, text) };
            self.findings.add(level, &entry, text);
        }
        if !per_class.is_empty() {
            self.say("output.per-class", per_class, "pre-cluster-threshold of single classes");
        }
    }

    fn all_classes(&mut self, all: &mut Group, detects: bool, clusters: i64, labels: Option<&Labels>) {
        let (confidence, why) = match threshold(all, self.findings) {
            Some((value, entry)) => (value, Why::from(&entry)),
            None => (USUAL_CONFIDENCE, "nvinfer's default (pre-cluster-threshold)".into()),
        };
        let iou = all.number::<f64>("nms-iou-threshold", self.findings);
        let top = all.number::<i64>("topk", self.findings);
        if !detects {
            return;
        }
        self.say("output.confidence", confidence, why);
        match (clusters, iou) {
            // Nothing is reduced; at 1 nothing overlaps too much.
            (4, _) => self.say("output.iou", 1.0, "cluster-mode = 4: nothing is reduced"),
            (_, Some((value, entry))) => self.say("output.iou", value.clamp(0.0, 1.0), &entry),
            (_, None) => self.say("output.iou", USUAL_IOU, "nvinfer's default (nms-iou-threshold)"),
        }
        if let Some((most, entry)) = top.filter(|(most, _)| *most > 0) {
            let classes = labels.map_or(1, |labels| labels.len().max(1)) as i64;
            let all = most.saturating_mul(classes).min(most.max(300)).clamp(1, MOST_OBJECTS);
            if all != most {
                let text = format!("it counts for each class, and `output.max-objects` for the frame: that is {all}");
                self.findings.add(Level::Changed, &entry, text);
            }
            self.say("output.max-objects", all, &entry);
        }
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

/// The lowest confidence of a group of class attributes: the stricter one of those before and after clustering.
fn threshold(group: &mut Group, findings: &mut Findings) -> Option<(f64, Entry)> {
    let keys = ["pre-cluster-threshold", "threshold", "post-cluster-threshold"];
    let values = keys.into_iter().filter_map(|key| group.number::<f64>(key, findings));
    let (value, entry) = values.max_by(|(a, _), (b, _)| a.total_cmp(b))?;
    Some((value.clamp(0.0, 1.0), entry))
}

/// The decoder that reads what a parsing function of DeepStream reads; `None` where the model's shapes tell.
fn decoder_of(function: &str) -> Option<&'static str> {
    match function {
        "NvDsInferParseCustomTfSSD" | "NvDsInferParseCustomSSD" => Some("ssd-postprocessed"),
        "NvDsInferParseCustomDDETRTAO" | "NvDsInferParseCustomDETRTAO" => Some("detr"),
        _ => None,
    }
}

/// A number without the noise of a factor that was written with too few digits: 254.99999 is 255.
fn rounded(value: f64) -> f64 {
    let whole = value.round();
    if whole > 0.0 && ((value - whole) / whole).abs() < 1e-4 { whole } else { (value * 1e4).round() / 1e4 }
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
