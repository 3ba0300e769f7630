//! What `vigil bundle show` tells about a bundle.

use std::fmt;

use serde_json::{Value, json};

use super::contract::{Quantization, Resize};
use super::manifest::word;
use super::{Bundle, Variant, sign};

/// Labels that the text lists before it says how many more there are.
const SHOWN_LABELS: usize = 8;

/// The bundle as JSON, with the keys of `bundle.toml`; `labels` is the list, and `digest`,
/// `signed-by` (the keys that the signatures claim to be of), `origin` and `files` are added.
pub fn to_json(bundle: &Bundle) -> Value {
    let Bundle { input, output, .. } = bundle;
    let per_class: Vec<Value> =
        output.per_class.iter().map(|(id, confidence)| json!({"class": id, "confidence": confidence})).collect();
    json!({
        "name": bundle.name,
        "release": bundle.release,
        "task": bundle.task,
        "license": bundle.license,
        "digest": bundle.digest,
        "origin": bundle.origin.display().to_string(),
        "labels": bundle.labels.iter().map(|l| &**l).collect::<Vec<_>>(),
        "input": {
            "layout": input.layout,
            "size": [input.width, input.height],
            "color": input.color,
            "resize": input.resize,
            "antialias": input.antialias,
            "crop-fraction": input.crop_fraction,
            "align": input.align,
            "pad": input.pad,
            "mean": input.mean.get(..input.color.channels()),
            "std": input.std.get(..input.color.channels()),
            "quantization": input.quantization,
        },
        "output": {
            "decoder": output.decoder.as_str(),
            "confidence": output.confidence,
            "iou": output.iou,
            "per-class": per_class,
            "max-objects": output.max_objects,
            "class-agnostic": output.class_agnostic,
            "nms": output.nms,
            "activation": output.activation,
            "class-offset": output.class_offset,
            "top-k": output.top_k,
            "anchors": output.anchors,
            "box-format": output.box_format,
            "box-unit": output.box_unit,
            "columns": output.columns,
            "yolo-anchors": output.yolo_anchors,
            "keypoint-shape": output.keypoint_shape,
            "skeleton": output.skeleton,
            "quantization": output.quantization,
        },
        "signed-by": sign::claimed(bundle).unwrap_or_default(),
        "variants": bundle.variants,
        "reference": bundle.reference,
        "probation": bundle.probation,
        "shadow": bundle.shadow,
        "files": bundle.files().collect::<Vec<_>>(),
    })
}

/// The bundle in a few aligned lines.
pub struct Text<'a>(pub &'a Bundle);

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let bundle = self.0;
        let mut line = |key: &str, value: &dyn fmt::Display| writeln!(f, "{key:<10} {value}");
        line("name", &bundle.name)?;
        line("release", &bundle.release)?;
        line("task", &word(&bundle.task))?;
        line("license", &bundle.license.as_deref().unwrap_or("not stated"))?;
        line("labels", &labels(bundle))?;
        line("input", &input(bundle))?;
        line("output", &output(bundle))?;
        for variant in &bundle.variants {
            line("variant", &variant_line(variant))?;
        }
        if let Some(reference) = &bundle.reference {
            let pictures = bundle.reference_images().len();
            let limit = reference.max_latency_ms.map(|ms| format!(", at most {ms} ms")).unwrap_or_default();
            let (iou, tolerance) = (reference.min_iou, reference.score_tolerance);
            line("reference", &format!("{pictures} pictures, IoU {iou}, confidence ±{tolerance}{limit}"))?;
        }
        let signed = match sign::claimed(bundle) {
            Ok(keys) if keys.is_empty() => "no".into(),
            Ok(keys) => format!("by {} (vigil bundle verify checks it)", keys.join(", ")),
            Err(error) => error.to_string(),
        };
        line("signed", &signed)?;
        line("origin", &bundle.origin.display())?;
        write!(f, "{:<10} {}", "digest", bundle.digest)
    }
}

fn labels(bundle: &Bundle) -> String {
    let count = bundle.labels.len();
    let first = bundle.labels.iter().take(SHOWN_LABELS).map(|l| &**l).collect::<Vec<_>>().join(", ");
    match count {
        0 => "none".into(),
        _ if count > SHOWN_LABELS => format!("{count}: {first}, …"),
        _ => format!("{count}: {first}"),
    }
}

fn input(bundle: &Bundle) -> String {
    let input = &bundle.input;
    let padding = match input.resize {
        Resize::Letterbox => format!(" ({}, pad {})", word(&input.align), input.pad),
        Resize::Crop if input.crop_fraction < 1.0 => format!(" ({} of it)", input.crop_fraction),
        _ => String::new(),
    };
    let smooth = if input.antialias { ", antialias" } else { "" };
    let quantized = input.quantization.map_or(String::new(), |q| format!(", {}", quantization(q)));
    format!(
        "{}x{} {} {}, {}{padding}{smooth}, mean {:?}, std {:?}{quantized}",
        input.width,
        input.height,
        word(&input.color),
        word(&input.layout),
        word(&input.resize),
        input.mean.get(..input.color.channels()).unwrap_or_default(),
        input.std.get(..input.color.channels()).unwrap_or_default(),
    )
}

fn output(bundle: &Bundle) -> String {
    let output = &bundle.output;
    let mut text = format!("{}, confidence {}, IoU {}", output.decoder.as_str(), output.confidence, output.iou);
    for (id, confidence) in output.per_class.iter().take(SHOWN_LABELS) {
        let label = bundle.labels.get(*id as usize).map_or("?", |l| l);
        text += &format!(", {label} {confidence}");
    }
    let mut add = |key: &str, value: Option<String>| text += &value.map_or(String::new(), |v| format!(", {key} {v}"));
    add("boxes", output.box_format.as_ref().map(word));
    add("in", output.box_unit.as_ref().map(word));
    add("columns", output.columns.as_ref().map(|list| list.iter().map(word).collect::<Vec<_>>().join(" ")));
    add("anchors of", output.yolo_anchors.as_ref().map(|heads| format!("{} heads", heads.len())));
    add("keypoints", output.keypoint_shape.map(|[count, values]| format!("{count} of {values} values")));
    add("lines", output.skeleton.as_ref().map(|lines| lines.len().to_string()));
    for (name, q) in &output.quantization {
        add(name, Some(quantization(*q)));
    }
    text
}

fn quantization(q: Quantization) -> String {
    format!("scale {} zero point {}", q.scale, q.zero_point)
}

fn variant_line(variant: &Variant) -> String {
    let precision = variant.precision.as_ref().map(word).unwrap_or_else(|| "unknown precision".into());
    let providers = variant.providers.as_ref().map_or("any provider".into(), |p| p.join(", "));
    let start = variant.sha256.get(..12).unwrap_or_default();
    format!("{} ({precision}; {providers}; {start}…)", variant.file)
}
