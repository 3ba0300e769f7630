use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::bundle::digest;
use crate::engine::fake::Fake;
use crate::engine::{EngineError, Io, TensorData};

const WEIGHTS: &[u8] = b"\x08\x08\x3a\x03\x12\x01g";

/// A bundle of these labels, for an engine with as many classes.
fn bundle(name: &str, labels: &[&str], task: &str, decoder: &str) -> Bundle {
    let digest = digest::of_bytes(WEIGHTS);
    let manifest = format!(
        r#"format = 1
name = "{name}"
release = "1"
task = "{task}"
labels = "labels.txt"
[input]
layout = "nchw"
size = [4, 4]
color = "rgb"
resize = "stretch"
mean = [0, 0, 0]
std = [255, 255, 255]
[output]
decoder = "{decoder}"
[[variant]]
file = "model.onnx"
sha256 = "{digest}"
"#
    );
    let files = [
        ("bundle.toml", manifest.into_bytes()),
        ("labels.txt", labels.join("\n").into_bytes()),
        ("model.onnx", WEIGHTS.to_vec()),
    ];
    let files: BTreeMap<_, _> = files.map(|(name, content)| (name.to_owned(), content)).into();
    Bundle::from_files(Path::new(name), files).unwrap()
}

/// A model that finds one thing with this label over the middle half of every picture.
fn finds(name: &str, label: &str) -> Model {
    Model::fake_of(bundle(name, &[label], "detect", "yolov8"), Fake::new(1))
}

/// As [`finds`], where the engine's answer is a box (centre, size, in pixels of the 4 × 4 input) with a score.
fn answers(name: &str, label: &str, answer: [f32; 5]) -> Model {
    let write = move |io: &mut Io| {
        if let TensorData::F32(out) = &mut io.outputs[0].data {
            out.clear();
            out.extend(answer);
        }
        Ok(())
    };
    Model::fake_of(bundle(name, &[label], "detect", "yolov8"), Fake::new(1).behave(write))
}

fn picture(value: u8) -> Picture {
    Picture { width: 8, height: 8, rgb: vec![value; 8 * 8 * 3] }
}

#[test]
fn the_figures_are_those_of_a_live_comparison() {
    let (old, new) = (finds("old", "thing"), answers("new", "thing", [2.0, 2.0, 2.0, 2.0, 0.5]));
    let mut both = Offline::new(&old, &new, None).unwrap();
    // Brightness is the old model's confidence: it finds nothing where it is dark.
    for (name, value) in [("a.png", 153), ("b.png", 255), ("c.png", 10)] {
        both.add(name, &picture(value)).unwrap();
    }
    let json = both.to_json(0.5);
    assert_eq!((&json["format"], &json["pictures"], &json["within"]), (&json!(1), &json!(3), &json!(true)));
    assert_eq!((&json["matched"], &json["extra"], &json["missed"]), (&json!(2), &json!(1), &json!(0)));
    let close = |pointer: &str, expected: f64| {
        let value = json.pointer(pointer).and_then(Value::as_f64).unwrap();
        assert!((value - expected).abs() < 1e-5, "{pointer}: {value}");
    };
    close("/agreement", 2.0 / 3.0);
    close("/score-shift/mean", (-0.1 - 0.5) / 2.0);
    close("/score-shift/p95", 0.5);
    close("/by-picture/2/extra", 1.0);
    assert_eq!(both.to_json(0.7)["within"], false);
    let text = both.to_string();
    assert!(text.contains("extra      1 found by the new model only\n"), "{text}");
    let page = both.to_html(0.7);
    assert!(page.contains("<h1>new 1 against old 1</h1>") && page.contains("agreement 0.667, less than 0.7"), "{page}");
    // What is extra, and the confidence that fell by a half.
    assert_eq!(page.matches("<figure>").count(), 2);
}

#[test]
fn labels_that_only_one_has_are_counted_and_left_out() {
    let two = bundle("new", &["thing", "sign"], "detect", "yolov8");
    let old = finds("old", "thing");
    // The fake engine has one class; the second label is never found.
    let mut new = answers("new", "thing", [2.0, 2.0, 2.0, 2.0, 0.9]);
    assert!(Offline::new(&old, &new, None).is_ok());
    new = answers("new", "sign", [2.0, 2.0, 2.0, 2.0, 0.9]);
    let why = Offline::new(&old, &new, None).err().unwrap().to_string();
    assert_eq!(why, "the two models have no label in common: they cannot be compared");
    assert_eq!(comparable(old.bundle(), &two), Ok(()));

    let mut side = Side::new(&new, &old, "the new model", None);
    side.look("a.png", &picture(9)).unwrap();
    assert_eq!(side.alone, BTreeMap::from([("sign".to_owned(), 1)]));
    let text = side.own_labels().unwrap();
    assert_eq!(text, "the new model has alone, found 1 times, not counted: sign (1)");
}

#[test]
fn what_cannot_be_compared_is_told() {
    let old = bundle("old", &["thing"], "detect", "yolov8");
    let new = bundle("new", &["thing"], "segment", "yolov8");
    let text = "the old model's task is \"detect\", the new one's is \"segment\": they cannot be compared";
    assert_eq!(comparable(&old, &new).unwrap_err(), text);
    let mut vectors = [old, new];
    vectors.iter_mut().for_each(|bundle| bundle.task = Task::Embed);
    assert!(comparable(&vectors[0], &vectors[1]).unwrap_err().contains("different spaces"));
}

#[test]
fn the_confidence_may_be_given_for_both() {
    let (old, new) = (answers("old", "thing", [2.0, 2.0, 2.0, 2.0, 0.3]), finds("new", "thing"));
    let found = |confidence| {
        let mut both = Offline::new(&old, &new, confidence).unwrap();
        both.add("a.png", &picture(90)).unwrap();
        both.sum
    };
    // 0.3 and 0.35 are under the bundles' 0.4.
    assert_eq!((found(None).matched, found(Some(0.2)).matched, found(Some(0.32)).extra), (0, 1, 1));
}

#[test]
fn a_model_that_fails_is_named_with_the_picture() {
    let runs = AtomicUsize::new(0);
    // The first two runs warm the model up.
    let fails = move |_: &mut Io| match runs.fetch_add(1, Ordering::SeqCst) {
        0..2 => Ok(()),
        _ => Err(EngineError::Run("out of order".into())),
    };
    let new = Model::fake_of(bundle("new", &["thing"], "detect", "yolov8"), Fake::new(1).behave(fails));
    let old = finds("old", "thing");
    let why = Offline::new(&old, &new, None).unwrap().add("a.png", &picture(90)).unwrap_err();
    assert_eq!(why.to_string(), "a.png: the new model: out of order");
}

#[test]
fn runs_are_told_by_rank() {
    let (model, other) = (finds("old", "thing"), finds("new", "thing"));
    let mut side = Side::new(&model, &other, "the old model", None);
    assert_eq!(side.run(0.5), Duration::ZERO);
    side.runs = (1..=200).rev().map(Duration::from_millis).collect();
    assert_eq!((side.run(0.5), side.run(0.99)), (Duration::from_millis(100), Duration::from_millis(198)));
}
