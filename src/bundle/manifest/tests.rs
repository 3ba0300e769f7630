use super::super::contract::DecoderKind;
use std::path::Path;
use std::time::Duration;

use super::super::Bundle;
use super::super::contract::{Activation, Color, Layout};
use super::super::tests::edited;
use super::*;

/// The error for the small bundle with the first `from` replaced by `to`.
fn error(from: &str, to: &str) -> String {
    Bundle::from_files(Path::new("p"), edited(from, to)).unwrap_err().to_string()
}

#[test]
fn a_small_manifest_gets_the_defaults() {
    let m = parse(&edited("format = 1", "format = 1")["bundle.toml"], "m").unwrap();
    assert_eq!((m.name.as_str(), m.release.as_str(), m.task), ("people", "2026.11.1", Task::Detect));
    assert_eq!(m.license.as_deref(), Some("Apache-2.0"));
    let input = InputContract {
        layout: Layout::Nchw,
        width: 640,
        height: 480,
        color: Color::Rgb,
        resize: Resize::Letterbox,
        antialias: false,
        crop_fraction: 1.0,
        align: Align::Center,
        pad: 114,
        mean: [0.0; 3],
        std: [255.0; 3],
        quantization: None,
    };
    assert_eq!(m.input, input);
    let labels: Labels = ["a", "person", "person"].map(Into::into).into();
    let expected = OutputContract { per_class: vec![(1, 0.3), (2, 0.3)], ..OutputContract::new(DecoderKind::Yolov8) };
    assert_eq!(m.output(&labels).unwrap(), expected, "a label that two classes share counts for both");
    assert_eq!(m.variants[0].providers, Some(vec!["cpu".to_owned()]));
    assert_eq!(m.reference, None);
}

#[test]
fn every_key_is_read() {
    let text = format!(
        r#"
format = 1
name = "n"
release = "1"
task = "detect"
labels = "l.txt"
[input]
layout = "nhwc"
size = [300, 200]
color = "gray"
resize = "letterbox"
align = "top-left"
pad = 0
mean = [127.5]
std = [-2]
[output]
decoder = "ssd-anchors"
confidence = 0.25
iou = 1
max-objects = 7
class-agnostic = true
activation = "softmax"
class-offset = 1
[output.anchors]
feature-maps = [19, 10]
min-scale = 0.2
max-scale = 0.95
aspect-ratios = [1.0, 2.0]
reduce-lowest = true
interpolated-scale = false
box-scales = [1.0, 2.0, 3.0, 4.0]
[[variant]]
file = "a.onnx"
sha256 = "{0}"
precision = "int8"
[[variant]]
file = "b.onnx"
sha256 = "{0}"
providers = ["cuda", "tensorrt"]
[reference]
images = ["r/*.png"]
expected = "r/e.json"
min-iou = 0.8
score-tolerance = 0.1
max-latency-ms = 200
[probation]
time-ms = 60000
frames = 100
samples = 30
max-errors = 0.1
max-non-finite = 1
max-latency-ms = 80
max-slowdown = 4.5
min-agreement = 0.6
[shadow]
max-slowdown = 0
"#,
        "AB".repeat(32)
    );
    let m = parse(text.as_bytes(), "m").unwrap();
    assert_eq!((m.input.width, m.input.height, m.input.layout), (300, 200, Layout::Nhwc));
    assert_eq!((m.input.color, m.input.align, m.input.pad), (Color::Gray, Align::TopLeft, 0));
    assert_eq!((m.input.mean, m.input.std), ([127.5; 3], [-2.0; 3]));
    let output = m.output(&Labels::new()).unwrap();
    assert_eq!((output.confidence, output.iou, output.max_objects, output.nms), (0.25, 1.0, 7, false));
    assert_eq!((output.class_agnostic, output.activation), (true, Some(Activation::Softmax)));
    assert_eq!(output.class_offset, 1);
    let anchors = output.anchors.unwrap();
    assert_eq!(anchors.feature_maps, [19, 10]);
    assert_eq!((anchors.min_scale, anchors.max_scale), (0.2, 0.95));
    assert_eq!((anchors.reduce_lowest, anchors.interpolated_scale), (true, false));
    assert_eq!(anchors.box_scales, [1.0, 2.0, 3.0, 4.0]);
    assert_eq!(m.variants[0].sha256, "ab".repeat(32));
    assert_eq!((m.variants[0].precision, &m.variants[0].providers), (Some(Precision::Int8), &None));
    assert_eq!(m.variants[1].providers.as_ref().unwrap().len(), 2);
    let reference = m.reference.unwrap();
    assert_eq!((reference.min_iou, reference.score_tolerance, reference.max_latency_ms), (0.8, 0.1, Some(200)));
    let probation = TrialLimits {
        time: Some(Duration::from_secs(60)),
        frames: Some(100),
        samples: Some(30),
        max_errors: Some(0.1),
        max_non_finite: Some(1.0),
        max_latency: Some(Duration::from_millis(80)),
        max_slowdown: Some(4.5),
        min_agreement: Some(0.6),
    };
    assert_eq!(m.probation, probation);
    assert_eq!(serde_json::to_value(probation).unwrap()["time-ms"], 60_000);
    let shadow = TrialLimits { max_slowdown: Some(0.0), ..TrialLimits::default() };
    assert_eq!(m.shadow, shadow);
    assert_eq!(shadow.or(probation), TrialLimits { max_slowdown: Some(0.0), ..probation });
}

#[test]
fn unknown_keys_and_values_come_with_a_suggestion() {
    assert_eq!(
        error("decoder =", "decodr ="),
        "p/bundle.toml:17:1: `output.decodr`: unknown key; did you mean `decoder`?"
    );
    assert_eq!(
        error("format = 1", "format = 1\nframework = \"x\""),
        "p/bundle.toml:2:1: `framework`: unknown key; known here: format, name, release, task, labels, license, predictions, input, \
         output, variant, reference, probation, shadow"
    );
    assert_eq!(
        error("precision = \"fp32\"", "precison = \"fp32\""),
        "p/bundle.toml:23:1: `variant.precison`: unknown key; did you mean `precision`?"
    );
    let decoders: Vec<&str> = DecoderKind::ALL.iter().map(|d| d.as_str()).collect();
    assert_eq!(
        error("\"yolov8\"", "\"yolo8\""),
        format!(
            "p/bundle.toml:17:11: `output.decoder`: unknown value \"yolo8\"; did you mean \"yolov8\"? It is one of: {}",
            decoders.join(", ")
        )
    );
    assert_eq!(
        error("\"rgb\"", "\"yuv\""),
        "p/bundle.toml:11:9: `input.color`: unknown value \"yuv\"; it is one of: rgb, bgr, gray"
    );
    assert_eq!(
        error("person = 0.3", "preson = 0.3"),
        "p/bundle.toml:18:15: `output.per-class.preson`: there is no label \"preson\"; did you mean `person`?"
    );
    assert_eq!(
        error("person = 0.3", "dog = 0.3"),
        "p/bundle.toml:18:15: `output.per-class.dog`: there is no label \"dog\"; the first labels are: bicycle, person, \
         car"
    );
}

#[test]
fn other_versions_are_refused_before_their_keys_are_looked_at() {
    assert_eq!(
        error("format = 1", "format = 2\nfuture = 1"),
        "p/bundle.toml:1:10: `format`: this Vigil reads format 1, the bundle is in format 2; use a Vigil that knows it"
    );
    assert_eq!(error("format = 1", ""), "p/bundle.toml:1:1: the key `format` is missing");
}

#[test]
fn missing_keys_are_named_with_their_table() {
    assert_eq!(error("decoder = \"yolov8\"", ""), "p/bundle.toml:16:1: `output`: the key `decoder` is missing");
    assert_eq!(error("std = [255.0, 255, 255]", ""), "p/bundle.toml:8:1: `input`: the key `std` is missing");
    assert_eq!(error("name = \"people\"", ""), "p/bundle.toml:1:1: the key `name` is missing");
    assert!(
        error("labels = \"labels.txt\"", "").ends_with("`labels` is missing: name the file with one label per line")
    );
    assert!(error("file = \"model.onnx\"", "").contains(": `variant`: the key `file` is missing"));
}

#[test]
fn bad_syntax_and_types_are_placed() {
    let text = error("name = \"people\"", "name = people\"");
    assert!(text.starts_with("p/bundle.toml:2:8: "), "{text}");
    let text = error("name = \"people\"", "name = \"a\"\nname = \"b\"");
    assert!(text.starts_with("p/bundle.toml:3:1: ") && text.contains("duplicate key"), "{text}");
    assert_eq!(
        error("size = [640, 480]", "size = \"640x480\""),
        "p/bundle.toml:10:8: `input.size`: invalid type: string \"640x480\", expected a list of 2 numbers"
    );
    assert_eq!(
        error("size = [640, 480]", "size = [-1, 480]"),
        "p/bundle.toml:10:9: `input.size`: invalid value: integer `-1`, expected a whole number of the allowed range"
    );
    let bytes = b"format = 1\nname = \"\xff\"\n";
    assert_eq!(parse(bytes, "m").unwrap_err().to_string(), "m:2:9: not UTF-8; save the file in that encoding");
    let long = vec![b'#'; MAX_BYTES + 1];
    assert!(parse(&long, "m").unwrap_err().to_string().starts_with("m:1:1: 1048577 bytes are too many"));
}

#[test]
fn wrong_values_are_refused_at_their_place() {
    let cases = [
        ("[640, 480]", "[0, 300]", "10:8: `input.size`: [0, 300] is not allowed; width and height lie in 1..8192"),
        ("[640, 480]", "[1, 8193]", "10:8: `input.size`: [1, 8193] is not allowed; width and height lie in 1..8192"),
        (
            "[255.0, 255, 255]",
            "[1, 0, 1]",
            "14:7: `input.std`: [1.0, 0.0, 1.0] is not allowed; with this `color` it is a list of 3 numbers other than 0 (values are divided by it)",
        ),
        (
            "[0, 0, 0]",
            "[0, nan, 0]",
            "13:8: `input.mean`: [0.0, NaN, 0.0] is not allowed; with this `color` it is a list of 3 numbers",
        ),
        ("[0, 0, 0]", "[0]", "13:8: `input.mean`: [0.0] is not allowed; with this `color` it is a list of 3 numbers"),
        ("\"letterbox\"", "\"crop\"\npad = 3", "13:7: `input.pad`: it has a meaning only with resize = \"letterbox\""),
        (
            "\"yolov8\"",
            "\"yolov8\"\nconfidence = 1.5",
            "18:14: `output.confidence`: 1.5 is not allowed; it lies in 0..1",
        ),
        ("\"yolov8\"", "\"yolov8\"\niou = nan", "18:7: `output.iou`: NaN is not allowed; it lies in 0..1"),
        ("person = 0.3", "person = -0.3", "18:24: `output.per-class.person`: -0.3 is not allowed; it lies in 0..1"),
        (
            "\"yolov8\"",
            "\"yolov8\"\nmax-objects = 0",
            "18:15: `output.max-objects`: 0 is not allowed; it lies in 1..10000",
        ),
        (
            "\"yolov8\"",
            "\"yolov8\"\nclass-offset = 1001",
            "18:16: `output.class-offset`: 1001 is not allowed; it lies in 0..1000",
        ),
        (
            "\"yolov8\"",
            "\"yolov8\"\ntop-k = 3",
            "18:9: `output.top-k`: it has a meaning only with decoder = \"classify\"",
        ),
        ("\"yolov8\"", "\"ssd-anchors\"", "17:11: `output.decoder`: \"ssd-anchors\" needs the table [output.anchors]"),
        (
            "\"yolov8\"",
            "\"classify\"",
            "17:11: `output.decoder`: the decoder \"classify\" does not answer the task \"detect\"",
        ),
        ("\"people\"", "\"../x\"", "2:8: `name`: \"../x\" contains '/'; letters, digits and . _ - + are allowed"),
        ("\"2026.11.1\"", "\"\"", "3:11: `release`: \"\" is 0 characters long, 1 to 64 are allowed"),
        ("\"labels.txt\"", "\"../l\"", "5:10: `labels`: \"../l\" leads out of the bundle with `..`"),
        ("\"Apache-2.0\"", "\"a\\u001b[2J\"", "6:11: `license`: \"a\\u{1b}[2J\" contains a control character"),
        (
            "\"model.onnx\"",
            "\"/m\"",
            "21:8: `variant.file`: \"/m\" is an absolute path; files are named relative to the bundle",
        ),
        (
            "providers = [\"cpu\"]",
            "providers = []",
            "24:13: `variant.providers`: the list is empty; leave the key out to allow every provider",
        ),
        (
            "[\"cpu\"]",
            "[\"cuda\", \"cpuu\"]",
            "24:22: `variant.providers`: \"cpuu\" is not an execution provider; known are cpu, cuda, tensorrt, openvino; \
             did you mean \"cpu\"?",
        ),
        (
            "[\"cpu\"]",
            "[\"auto\"]",
            "24:14: `variant.providers`: \"auto\" is not an execution provider; known are cpu, cuda, tensorrt, openvino",
        ),
        (
            "providers = [\"cpu\"]",
            "[reference]\nimages = []\nexpected = \"e\"",
            "25:10: `reference.images`: the list is empty; name at least one picture",
        ),
        (
            "providers = [\"cpu\"]",
            "[reference]\nimages = [\"a[.png\"]\nexpected = \"e\"",
            "25:11: `reference.images`: \"a[.png\" is not a pattern: invalid range pattern",
        ),
        (
            "providers = [\"cpu\"]",
            "[reference]\nimages = [\"a\"]\nexpected = \"e\"\nmin-iou = 2",
            "27:11: `reference.min-iou`: 2 is not allowed; it lies in 0..1",
        ),
        (
            "providers = [\"cpu\"]",
            "[reference]\nimages = [\"a\"]\nexpected = \"e\"\nscore-tolerance = -1",
            "27:19: `reference.score-tolerance`: -1 is not allowed; it lies in 0..1",
        ),
        (
            "providers = [\"cpu\"]",
            "[reference]\nimages = [\"a\"]\nexpected = \"e\"\nmax-latency-ms = 0",
            "27:18: `reference.max-latency-ms`: 0 is not allowed; it lies in 1..600000",
        ),
    ];
    for (from, to, expected) in cases {
        assert_eq!(error(from, to), format!("p/bundle.toml:{expected}"));
    }
}

#[test]
fn digests_are_64_digits() {
    let good = super::super::digest::of_bytes(super::super::onnx_file::TINY);
    for bad in ["", "xyz", &good[1..], &good.replace(&good[..1], "g")] {
        let text = error(&good, bad);
        let expected = "`variant.sha256`: it is 64 hexadecimal digits, as `sha256sum` prints them for the file";
        assert_eq!(text, format!("p/bundle.toml:22:10: {expected}"));
    }
}

#[test]
fn a_variant_is_listed_once() {
    let sha = "0".repeat(64);
    let twice = format!("[[variant]]\nfile = \"model.onnx\"\nsha256 = \"{sha}\"\n[[variant]]");
    let text = error("[[variant]]", &twice);
    assert_eq!(text, "p/bundle.toml:24:8: `variant.file`: \"model.onnx\" is listed twice");
}

#[test]
fn anchors_are_checked() {
    let anchored = |edit: &str| {
        let anchors = "\"ssd-anchors\"\n[output.anchors]\nfeature-maps = [19, 10]\nmin-scale = 0.2\nmax-scale = 0.95\n\
                       aspect-ratios = [1.0]\n";
        let key = edit.split(' ').next().unwrap();
        let lines: Vec<&str> = anchors.lines().map(|l| if l.starts_with(key) { edit } else { l }).collect();
        let mut text = lines.join("\n");
        if !text.contains(edit) {
            text += &format!("\n{edit}");
        }
        // `per-class` would be read as one of the anchors' keys.
        let mut files = edited("per-class = { person = 0.3 }\n", "");
        let manifest = String::from_utf8(files["bundle.toml"].clone()).unwrap().replace("\"yolov8\"", &text);
        files.insert("bundle.toml".into(), manifest.into_bytes());
        Bundle::from_files(Path::new("p"), files).map(|_| ()).map_err(|e| e.to_string())
    };
    assert_eq!(anchored("reduce-lowest = true"), Ok(()));
    let refused = |edit: &str, message: &str| {
        assert_eq!(anchored(edit), Err(format!("p/bundle.toml:18:1: `output.anchors`: {message}")), "{edit}");
    };
    refused("feature-maps = []", "feature-maps is a list of sides of at least 1");
    refused("feature-maps = [19, 0]", "feature-maps is a list of sides of at least 1");
    refused("feature-maps = [4000000000, 4000000000]", "they are more than a million anchors");
    let scales = "min-scale and max-scale lie in 0..1, above 0, and min-scale is not the larger one";
    refused("min-scale = 0.99", scales);
    refused("min-scale = 0", scales);
    refused("max-scale = inf", scales);
    refused("aspect-ratios = [-1.0]", "aspect-ratios is a list of numbers above 0");
    refused("box-scales = [1, 1, 0, 1]", "box-scales are numbers above 0");
    assert_eq!(
        anchored("reduce-lowst = true"),
        Err("p/bundle.toml:23:1: `output.anchors.reduce-lowst`: unknown key; did you mean `reduce-lowest`?".into())
    );
}
