//! Which decoder fits a model that comes without a bundle: told by output names, shapes and embedded metadata.
//!
//! What the model's file says is *read*, what follows from shapes or names is *recognised*, and what is merely usual
//! for the family is *assumed*: `vigil bundle new` prints all three, so that the user checks the last ones. What cannot
//! be told is an error that names the key to set. A `.modelinfo` file beside the model counts as its words, and what the
//! user gives is before all.
//!
//! The families are told by an ordered list of rules, [`rules::ALL`]: the first that says something decides.

mod faces;
mod finished;
mod found;
mod hints;
mod look;
mod maps;
mod queries;
mod rules;
mod ssd;
mod ultralytics;
mod usual;
mod vectors;
mod yolo;

pub use hints::{Hint, Hints};

use super::metadata::Metadata;
use super::{PostError, side_inputs, view};
use crate::bundle::ModelInfo;
use crate::bundle::contract::{Align, Color, DecoderKind, InputContract, Labels, Layout, OutputContract, Resize, Task};
use crate::bundle::manifest::word;
use crate::engine::{DataType, Spec};
use found::{Found, Refusal};
use look::{Frame, Look};

/// How a value came to be known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// The user said it.
    Given,
    /// The model's file says so.
    Read,
    /// It follows from names or shapes.
    Recognised,
    /// It is usual for models of this family; check it.
    Assumed,
}

/// One value and how it came to be known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fact {
    /// The key in `bundle.toml`, such as `input.size`.
    pub key: &'static str,
    /// The value, in the words of `bundle.toml`.
    pub value: String,
    /// How it came to be known.
    pub origin: Origin,
    /// What says so, in a few words.
    pub because: String,
}

/// What could be told about a model.
#[derive(Debug, Clone, PartialEq)]
pub struct Recognised {
    /// What the model answers.
    pub task: Task,
    /// Its input.
    pub input: InputContract,
    /// Its output; `output.decoder` is the family, thresholds are its usual ones.
    pub output: OutputContract,
    /// Labels, if they are embedded or the family has but one class.
    pub labels: Option<Labels>,
    /// How many labels the model needs; `None` where its shapes do not tell.
    pub classes: Option<usize>,
    /// Every value that is not a mere default, for people to read.
    pub facts: Vec<Fact>,
}

/// Tells which decoder and contracts fit the model.
///
/// # Errors
/// [`PostError::Unrecognised`] says what could not be told, what was, and which key to set in a bundle.
pub fn recognise(spec: &Spec) -> Result<Recognised, PostError> {
    recognise_with(spec, None, Hints::default())
}

/// The same with what is known beforehand: the `.modelinfo` file beside the model, and what the user gave.
///
/// # Errors
/// As [`recognise`]; nothing is refused for want of a key that the user gave.
pub fn recognise_with(spec: &Spec, info: Option<&ModelInfo>, mut hints: Hints) -> Result<Recognised, PostError> {
    let meta = Metadata::read(&spec.metadata);
    let mut facts = Facts { spec, list: Vec::new() };
    let (frame, image) = frame(&mut facts, &meta, &hints)?;
    if let Some(info) = info {
        let look = Look { spec, meta: &meta, hints: &Hints::default(), frame };
        hints.read(info, &look).map_err(|why| facts.refuse(format!("{why}."), "output.decoder"))?;
    }
    let look = Look { spec, meta: &meta, hints: &hints, frame };
    let mut found = family(&look).map_err(|r| facts.refuse(r.why, r.key))?;
    apply(&hints, &mut found);
    facts.list.append(&mut found.facts);
    check(&look, &found).map_or(Ok(()), |r| Err(facts.refuse(r.why, r.key)))?;
    let input = input(&mut facts, &look, &found);
    if side_inputs::find(&input, spec, image).is_err() {
        let why =
            "Beside the picture only the inputs orig_target_sizes, im_shape, image_shape and scale_factor are known.";
        return Err(facts.refuse(why, "input"));
    }
    let labels = labels(&mut facts, &look, &found)?;
    let task = found.output.task;
    Ok(Recognised { task, input, output: found.output, labels, classes: found.classes, facts: facts.list })
}

/// What was found out so far.
struct Facts<'a> {
    spec: &'a Spec,
    list: Vec<Fact>,
}

impl Facts<'_> {
    fn add(&mut self, key: &'static str, value: impl Into<String>, origin: Origin, because: impl Into<String>) {
        self.list.push(Fact { key, value: value.into(), origin, because: because.into() });
    }

    fn refuse(&self, why: impl Into<String>, key: &'static str) -> PostError {
        let facts: Vec<String> = self.list.iter().map(|f| format!("{} = {}", f.key, f.value)).collect();
        let known = if facts.is_empty() { String::new() } else { format!("; recognised: {}", facts.join(", ")) };
        let (inputs, outputs) = (view::list(&self.spec.inputs), view::list(&self.spec.outputs));
        PostError::Unrecognised { why: why.into(), inputs, outputs, known, key }
    }
}

/// Layout and size of the picture input, and its place among the inputs.
fn frame(facts: &mut Facts, meta: &Metadata, hints: &Hints) -> Result<(Frame, usize), PostError> {
    let Some(image) = view::picture_input(facts.spec) else {
        let why = match facts.spec.inputs.len() {
            1 => "The input has not the four dimensions of a picture.",
            _ => "Only models with exactly one picture of four dimensions among their inputs can be run.",
        };
        return Err(facts.refuse(why, "input"));
    };
    let Some(tensor) = facts.spec.inputs.get(image) else { return Err(facts.refuse("There is no input.", "input")) };
    let (batch, [a, b, c]) = match *tensor.shape.as_slice() {
        [batch, a, b, c] => (batch, [a, b, c]),
        // torchvision's detectors take one picture without a batch.
        [a, b, c] if a == Some(3) || c == Some(3) => (Some(1), [a, b, c]),
        _ => return Err(facts.refuse("The input has not the four dimensions of a picture.", "input")),
    };
    let color = |channels: usize| if channels == 1 { Color::Gray } else { Color::Rgb };
    let hint = hints.layout.as_ref();
    let told = match (hint.map(|h| h.value), a, c) {
        (Some(Layout::Nchw), None, _) | (Some(Layout::Nhwc), _, None) => hint.map(|h| (h.value, Color::Rgb)),
        (None | Some(Layout::Nchw), Some(n @ (1 | 3)), _) => Some((Layout::Nchw, color(n))),
        (None | Some(Layout::Nhwc), _, Some(n @ (1 | 3))) => Some((Layout::Nhwc, color(n))),
        // Hugging Face's exporter may leave even the channels free.
        (None, None, None) if tensor.name == "pixel_values" => Some((Layout::Nchw, Color::Rgb)),
        _ => None,
    };
    let Some((layout, color)) = told else {
        return Err(facts.refuse("No dimension of the input counts 1 or 3 channels.", "input.layout"));
    };
    let (origin, because) = match hint {
        Some(hint) => (hint.origin, hint.because.clone()),
        None => (Origin::Recognised, "the dimension of 1 or 3 is the channels".into()),
    };
    facts.add("input.layout", word(&layout), origin, because);
    let (rows, columns) = if layout == Layout::Nchw { (b, c) } else { (a, b) };
    let side = |side: Option<usize>| side.and_then(|s| u32::try_from(s).ok()).filter(|s| *s > 0);
    let (width, height, origin, because) = match (side(columns), side(rows), &hints.size, meta.size) {
        (Some(w), Some(h), ..) => (w, h, Origin::Read, "the input's shape".into()),
        (_, _, Some(hint), _) => (hint.value.0, hint.value.1, hint.origin, hint.because.clone()),
        (_, _, _, Some((w, h))) if w > 0 && h > 0 => (w, h, Origin::Read, "metadata `imgsz`".into()),
        _ => return Err(facts.refuse("The input's size is free and no metadata names one.", "input.size")),
    };
    facts.add("input.size", format!("[{width}, {height}]"), origin, because);
    let batch = batch.filter(|n| *n > 1);
    Ok((Frame { layout, color, width, height, batch, dtype: tensor.dtype }, image))
}

/// What the first rule says that fits what is known beforehand.
fn family(look: &Look) -> Result<Found, Refusal> {
    let Some(hint) = &look.hints.decoder else {
        return rules::ALL.iter().find_map(|rule| rule(look)).unwrap_or_else(|| Err(rules::unknown(look)));
    };
    let verdicts = rules::ALL.iter().filter_map(|rule| rule(look)?.ok());
    let fits = |found: &Found| {
        found.output.decoder == hint.value && look.hints.task.as_ref().is_none_or(|t| t.value == found.output.task)
    };
    let mut found = verdicts.into_iter().find(fits).unwrap_or_else(|| rules::bare(hint.value));
    if let Some(fact) = found.facts.first_mut() {
        (fact.origin, fact.because) = (hint.origin, hint.because.clone());
    }
    Ok(found)
}

/// Puts what is known beforehand in the place of what was recognised.
fn apply(hints: &Hints, found: &mut Found) {
    let mut replace = |key: &'static str, value: String, origin, because: &str| {
        found.facts.retain(|f| f.key != key);
        found.facts.push(Fact { key, value, origin, because: because.into() });
    };
    let output = &mut found.output;
    if let Some(hint) = hints.task.as_ref().filter(|t| output.decoder.tasks().contains(&t.value)) {
        output.task = hint.value;
        replace("task", word(&hint.value), hint.origin, &hint.because);
    }
    if let Some(hint) = &hints.box_unit {
        output.box_unit = Some(hint.value);
        replace("output.box-unit", word(&hint.value), hint.origin, &hint.because);
    }
    if let Some(hint) = &hints.activation {
        output.activation = Some(hint.value);
        replace("output.activation", word(&hint.value), hint.origin, &hint.because);
    }
    let pose = output.task == Task::Pose && output.decoder != DecoderKind::Movenet;
    if let Some(hint) = hints.keypoint_shape.as_ref().filter(|_| pose) {
        output.keypoint_shape = Some(hint.value);
        replace("output.keypoint-shape", format!("{:?}", hint.value), hint.origin, &hint.because);
    }
}

/// What no model says and the user did not give.
fn check(look: &Look, found: &Found) -> Option<Refusal> {
    if let Some(missing) = found.missing.as_ref().filter(|m| !look.hints.sets(m.key)) {
        return Some(missing.clone());
    }
    let byte = |d: DataType| matches!(d, DataType::U8 | DataType::I8);
    // A map of classes is whole numbers by nature.
    let scaled = |d: &&crate::engine::TensorSpec| byte(d.dtype) && found.output.decoder != DecoderKind::Segmentation;
    if let Some(tensor) = look.outputs().iter().find(scaled).filter(|_| !look.hints.sets("output.quantization")) {
        let why = format!("The output `{}` is quantized, and the model does not say with which scale.", tensor.name);
        return Some(Refusal { why, key: "output.quantization" });
    }
    if look.frame.dtype == DataType::I8 && !look.hints.sets("input.quantization") {
        let why = "The input is quantized to signed bytes, and the model does not say with which scale and zero point.";
        return Some(Refusal { why: why.into(), key: "input.quantization" });
    }
    None
}

/// The input contract: the frame, and what is usual for the family.
fn input(facts: &mut Facts, look: &Look, found: &Found) -> InputContract {
    let (frame, usual, hints) = (look.frame, found.usual, look.hints);
    // Whoever exports with Ultralytics has its pre-processing.
    let told = if look.meta.ultralytics { Origin::Recognised } else { Origin::Assumed };
    let because = usual.because;
    let hinted = hints.color.as_ref().filter(|h| h.value.channels() == frame.color.channels());
    let color = match (frame.color, hinted) {
        (Color::Gray, _) => Color::Gray,
        (_, Some(hint)) => hint.value,
        _ => usual.color,
    };
    match (frame.color, hinted) {
        (Color::Gray, _) => facts.add("input.color", "gray", Origin::Recognised, "one channel"),
        (_, Some(hint)) => facts.add("input.color", word(&color), hint.origin, hint.because.as_str()),
        _ => facts.add("input.color", word(&color), told, because),
    }
    let resize = match usual.resize {
        Resize::Letterbox => format!("letterbox, align = {}, pad = {}", word(&usual.align), usual.pad),
        other => word(&other),
    };
    facts.add("input.resize", resize, told, because);
    let (mut mean, mut std) = (usual.mean, usual.std);
    let (mut origin, mut because) = (told, because.to_owned());
    if color != usual.color {
        // They stand in the order of the channels.
        mean.reverse();
        std.reverse();
    }
    if frame.dtype == DataType::U8 {
        (mean, std) = ([0.0; 3], [1.0; 3]);
        (origin, because) = (Origin::Assumed, "a model that takes bytes normalises inside".into());
    }
    if let Some(hint) = &hints.scale {
        (mean, std) = hint.value;
        (origin, because) = (hint.origin, hint.because.clone());
    }
    facts.add("input.mean", format!("{mean:?}"), origin, because.as_str());
    facts.add("input.std", format!("{std:?}"), origin, because);
    let Frame { layout, width, height, .. } = frame;
    let (resize, align, pad) = match usual.resize {
        Resize::Letterbox => (usual.resize, usual.align, usual.pad),
        other => (other, Align::Center, 114),
    };
    InputContract {
        layout,
        width,
        height,
        color,
        resize,
        antialias: usual.antialias,
        crop_fraction: if resize == Resize::Crop { usual.crop_fraction } else { 1.0 },
        align,
        pad,
        mean,
        std,
        quantization: None,
    }
}

/// The labels that the model brings.
fn labels(facts: &mut Facts, look: &Look, found: &Found) -> Result<Option<Labels>, PostError> {
    let names = look.meta.names.clone().filter(|_| found.output.task != Task::Embed);
    match (names, found.classes, found.label) {
        (Some(names), Some(classes), _) if names.len() != classes && !look.hints.sets("labels") => {
            let why = format!("The embedded `names` list {} labels for {classes} classes.", names.len());
            Err(facts.refuse(why, "labels"))
        }
        (Some(names), ..) => {
            facts.add("labels", format!("{} names", names.len()), Origin::Read, "metadata `names`");
            Ok(Some(names))
        }
        (None, _, Some(label)) => {
            facts.add("labels", label, Origin::Recognised, "the family has but one class");
            Ok(Some(vec![label.into()]))
        }
        (None, ..) => Ok(None),
    }
}

#[cfg(test)]
mod tests;
