use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::bundle::digest;
use crate::engine::fake::{Fake, Gate};
use crate::engine::{Io, TensorData};

/// The smallest bytes that pass for an ONNX model; no runtime sees them.
const WEIGHTS: &[u8] = b"\x08\x08\x3a\x03\x12\x01g";

const MANIFEST: &str = r#"format = 1
name = "things"
release = "1"
task = "detect"
labels = "labels.txt"
[input]
layout = "nchw"
size = [4, 4]
color = "rgb"
resize = "stretch"
mean = [0, 0, 0]
std = [255, 255, 255]
[output]
decoder = "yolov8"
confidence = 0.4
[[variant]]
file = "model.onnx"
sha256 = "WEIGHTS"
[reference]
images = ["reference/*.png"]
expected = "reference/expected.json"
"#;

/// A picture of 8 × 8 pixels of one grey: the fake engine finds a thing over its middle half, as sure as it is bright.
fn grey(value: u8) -> Vec<u8> {
    Picture { width: 8, height: 8, rgb: vec![value; 8 * 8 * 3] }.to_png().unwrap()
}

fn entry(file: &str, objects: &str) -> String {
    format!(r#"{{"file": "reference/{file}", "objects": [{objects}]}}"#)
}

fn thing(score: f32) -> String {
    format!(r#"{{"class": 0, "label": "thing", "score": {score}, "box": [2, 2, 6, 6]}}"#)
}

/// A bundle with the pictures of these greys, `a.png`, `b.png`, …; `more` ends its manifest.
pub(super) fn bundle(greys: &[u8], expected: &str, more: &str) -> Bundle {
    let manifest = MANIFEST.replace("WEIGHTS", &digest::of_bytes(WEIGHTS)) + more;
    let mut files = BTreeMap::from([
        ("bundle.toml".to_owned(), manifest.into_bytes()),
        ("labels.txt".to_owned(), b"thing\n".to_vec()),
        ("model.onnx".to_owned(), WEIGHTS.to_vec()),
        ("reference/expected.json".to_owned(), expected.as_bytes().to_vec()),
    ]);
    for (letter, value) in ('a'..).zip(greys) {
        files.insert(format!("reference/{letter}.png"), grey(*value));
    }
    Bundle::from_files(Path::new("things"), files).unwrap()
}

fn expected(entries: &[String]) -> String {
    format!(r#"{{"format": 1, "pictures": [{}]}}"#, entries.join(", "))
}

fn prove_on(engine: Fake, greys: &[u8], entries: &[String], more: &str) -> Result<Option<Proof>, ProofFailure> {
    let model = Model::fake_of(bundle(greys, &expected(entries), more), engine);
    prove(&model, &Cancel::default())
}

#[track_caller]
fn mismatch(greys: &[u8], entries: &[String]) -> String {
    match prove_on(Fake::new(1), greys, entries, "") {
        Err(ProofFailure::Mismatch(text)) => text,
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_is_expected_and_found_is_a_proof() {
    let entries = [entry("a.png", &thing(0.8)), entry("b.png", &thing(0.63)), entry("c.png", "")];
    let proof = prove_on(Fake::new(1), &[204, 153, 20], &entries, "").unwrap().unwrap();
    assert_eq!((proof.pictures, proof.objects, proof.tolerated.len()), (3, 2, 0));
    assert!((proof.most_score - 0.03).abs() < 1e-4 && (proof.least_iou - 1.0).abs() < 1e-4, "{proof:?}");
}

#[test]
fn a_model_without_a_reference_set_has_no_proof() {
    let model = Model::fake(Fake::new(1));
    assert_eq!(prove(&model, &Cancel::default()).unwrap(), None);
}

#[test]
fn every_difference_is_told_with_its_picture_and_object() {
    let text = mismatch(&[204, 204], &[entry("a.png", &thing(0.8)), entry("b.png", &thing(0.6))]);
    let score = "reference/b.png: thing 0.600 at 2,2–6,6 was found as thing 0.800 at 2,2–6,6: 0.200 apart, \
                 score-tolerance is 0.05";
    assert_eq!(text, score);
    let text = mismatch(&[20], &[entry("a.png", &thing(0.8))]);
    assert_eq!(text, "reference/a.png: thing 0.800 at 2,2–6,6 was not found");
    let text = mismatch(&[204], &[entry("a.png", "")]);
    assert_eq!(text, "reference/a.png: thing 0.800 at 2,2–6,6 was found, but nothing is expected there");
    let elsewhere = thing(0.8).replace("[2, 2, 6, 6]", "[2, 2, 6, 5]");
    let text = mismatch(&[204], &[entry("a.png", &elsewhere)]);
    let moved = "reference/a.png: thing 0.800 at 2,2–6,5 was found elsewhere (thing 0.800 at 2,2–6,6): IoU 0.750, \
                 min-iou is 0.9";
    assert_eq!(text, moved);
}

#[test]
fn the_first_differences_are_listed_and_the_others_counted() {
    let entries: Vec<String> = ('a'..='h').map(|c| entry(&format!("{c}.png"), &thing(0.8))).collect();
    let text = mismatch(&[0; 8], &entries);
    assert!(text.ends_with("; and 3 more differences") && text.matches("was not found").count() == 5, "{text}");
}

#[test]
fn objects_near_the_threshold_may_come_and_go() {
    // The threshold is 0.4: 0.42 fell to 0.38, and 0.43 appeared, both within the tolerance.
    let entries = [entry("a.png", &thing(0.42)), entry("b.png", "")];
    assert!(prove_on(Fake::new(1), &[97, 110], &entries, "").is_ok());
    // 0.46 is not near any more, and neither is an object that lost all of its 0.42.
    assert!(mismatch(&[97, 118], &entries).starts_with("reference/b.png: thing 0.463"));
    assert!(mismatch(&[20, 20], &entries).starts_with("reference/a.png: thing 0.420"));
}

#[test]
fn thresholds_of_single_classes_count() {
    let more = "[output.per-class]\nthing = 0.7\n";
    let entries = [entry("a.png", "")];
    assert!(prove_on(Fake::new(1), &[178], &entries, more).is_ok(), "0.698 is under 0.7");
    let failure = prove_on(Fake::new(1), &[204], &entries, more).unwrap_err();
    assert!(matches!(failure, ProofFailure::Mismatch(_)), "{failure}");
}

#[test]
fn what_the_bundle_cannot_find_is_no_expectation() {
    let more = "[output.per-class]\nthing = 0.7\n";
    let failure = prove_on(Fake::new(1), &[153], &[entry("a.png", &thing(0.6))], more).unwrap_err();
    let text = "the reference set cannot be used: reference/a.png: thing 0.600 at 2,2–6,6 is expected, but the bundle's \
                threshold is 0.7; make the set anew";
    assert_eq!(failure.to_string(), text);
}

#[test]
fn values_that_are_no_numbers_are_a_failure_of_their_own() {
    let nan = |io: &mut Io| {
        if let TensorData::F32(out) = &mut io.outputs[0].data {
            out.clear();
            out.extend([2.0, 2.0, f32::NAN, 2.0, 0.9]);
        }
        Ok(())
    };
    let failure = prove_on(Fake::new(1).behave(nan), &[204], &[entry("a.png", "")], "").unwrap_err();
    assert_eq!(failure.to_string(), "reference/a.png: 1 values of the model's answer are not finite numbers");
    assert!(matches!(failure, ProofFailure::NonFinite { count: 1, .. }));
}

#[test]
fn runs_that_fail_end_the_proof() {
    // The first two runs warm the model up.
    let runs = AtomicUsize::new(0);
    let fails = move |_: &mut Io| match runs.fetch_add(1, Ordering::SeqCst) {
        0..3 => Ok(()),
        _ => Err(EngineError::Run("out of order".into())),
    };
    let failure = prove_on(Fake::new(1).behave(fails), &[204], &[entry("a.png", &thing(0.8))], "").unwrap_err();
    assert!(matches!(&failure, ProofFailure::Engine(EngineError::Run(why)) if why == "out of order"), "{failure}");
}

#[test]
fn the_median_of_the_runs_must_keep_the_limit() {
    let sleepy = |slow: std::ops::Range<usize>, milliseconds| {
        let runs = AtomicUsize::new(0);
        Fake::new(1).behave(move |_| {
            if slow.contains(&runs.fetch_add(1, Ordering::SeqCst)) {
                std::thread::sleep(Duration::from_millis(milliseconds));
            }
            Ok(())
        })
    };
    let entries = [entry("a.png", &thing(0.8))];
    let failure = prove_on(sleepy(0..100, 300), &[204], &entries, "max-latency-ms = 200\n").unwrap_err();
    let ProofFailure::Latency { median, limit } = failure else { panic!("{failure}") };
    assert!(median >= Duration::from_millis(300) && limit == Duration::from_millis(200));
    // Two runs at loading, one that warms up, five that count: two slow ones are not the median.
    prove_on(sleepy(0..5, 300), &[204], &entries, "max-latency-ms = 200\n").unwrap();
    // Without a limit the time is only told.
    let proof = prove_on(sleepy(0..100, 20), &[204], &entries, "").unwrap().unwrap();
    assert!(proof.run >= Duration::from_millis(20));
}

#[test]
fn few_pictures_are_looked_at_several_times_and_many_once() {
    let runs = |pictures: u8| {
        let count = Arc::new(AtomicUsize::new(0));
        let seen = Arc::clone(&count);
        let engine = Fake::new(1).behave(move |_| {
            seen.fetch_add(1, Ordering::SeqCst);
            Ok(())
        });
        let entries: Vec<String> =
            ('a'..).take(pictures.into()).map(|c| entry(&format!("{c}.png"), &thing(0.8))).collect();
        prove_on(engine, &vec![204; pictures.into()], &entries, "").unwrap();
        // Loading takes two runs.
        count.load(Ordering::SeqCst) - 2
    };
    assert_eq!((runs(1), runs(2), runs(5), runs(7)), (6, 7, 6, 8));
}

#[test]
fn a_proof_that_nobody_waits_for_ends_between_runs() {
    let cancel = Cancel::default();
    let (runs, stop) = (Arc::new(AtomicUsize::new(0)), cancel.clone());
    let counter = Arc::clone(&runs);
    let engine = Fake::new(1).behave(move |_| {
        if counter.fetch_add(1, Ordering::SeqCst) == 3 {
            stop.cancel();
        }
        Ok(())
    });
    let entries = [entry("a.png", &thing(0.8)), entry("b.png", &thing(0.8))];
    let model = Model::fake_of(bundle(&[204, 204], &expected(&entries), ""), engine);
    assert!(matches!(prove(&model, &cancel), Err(ProofFailure::Cancelled)));
    assert_eq!(runs.load(Ordering::SeqCst), 4, "no run was begun after that");
}

#[test]
fn a_run_that_hangs_is_cut_when_nobody_waits_any_more() {
    let (gate, cancel) = (Arc::new(Gate::default()), Cancel::default());
    let entries = [entry("a.png", &thing(0.8))];
    let model = Model::fake_of(bundle(&[204], &expected(&entries), ""), Fake::new(1).hang_at(&gate, true));
    gate.shut();
    std::thread::scope(|scope| {
        let proof = scope.spawn(|| prove(&model, &cancel));
        gate.hangs(1);
        cancel.cancel();
        assert!(matches!(proof.join().unwrap(), Err(ProofFailure::Cancelled)));
    });
    gate.cuts(1);
}

#[test]
fn models_are_proven_one_after_the_other() {
    let (gate, cancel) = (Arc::new(Gate::default()), Cancel::default());
    let entries = [entry("a.png", &thing(0.8))];
    let whole = || bundle(&[204], &expected(&entries), "");
    let first = Model::fake_of(whole(), Fake::new(1).hang_at(&gate, true));
    let runs = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&runs);
    let count = move |_: &mut Io| {
        counter.fetch_add(1, Ordering::SeqCst);
        Ok(())
    };
    let second = Model::fake_of(whole(), Fake::new(1).behave(count));
    let before = runs.load(Ordering::SeqCst);
    gate.shut();
    let late = Cancel::default();
    std::thread::scope(|scope| {
        let proof = scope.spawn(|| prove(&first, &cancel));
        gate.hangs(1);
        let unwanted = scope.spawn(|| prove(&second, &late));
        std::thread::sleep(5 * LOOK);
        late.cancel();
        assert!(matches!(unwanted.join().unwrap(), Err(ProofFailure::Cancelled)));
        assert_eq!(runs.load(Ordering::SeqCst), before, "it was not its turn");
        let waits = scope.spawn(|| prove(&second, &cancel));
        gate.open();
        gate.release();
        assert!(proof.join().unwrap().unwrap().is_some());
        assert!(waits.join().unwrap().unwrap().is_some());
    });
}

#[test]
fn a_hung_run_is_told_by_what_the_bundle_allows() {
    let seconds = Duration::from_secs;
    assert_eq!(longest(None), seconds(60));
    assert_eq!(longest(Some(Duration::from_millis(20))), seconds(5));
    assert_eq!(longest(Some(seconds(2))), seconds(20));
    assert_eq!((longest(Some(seconds(20))), longest(Some(seconds(600)))), (seconds(60), seconds(1200)));
}

#[test]
fn a_picture_that_cannot_be_read_is_told_with_its_name() {
    let good = bundle(&[204], &expected(&[entry("a.png", &thing(0.8))]), "");
    let mut files: BTreeMap<String, Vec<u8>> =
        good.files().map(|name| (name.to_owned(), good.read(name).unwrap().into_owned())).collect();
    files.insert("reference/a.png".into(), b"GIF89a".to_vec());
    let model = Model::fake_of(Bundle::from_files(Path::new("things"), files).unwrap(), Fake::new(1));
    let failure = prove(&model, &Cancel::default()).unwrap_err();
    let text = failure.to_string();
    let start = "the reference set cannot be used: things/reference/a.png: not a PNG picture that can be read: ";
    assert!(text.starts_with(start), "{text}");
}

#[test]
fn rounding_at_the_threshold_of_nms_is_told_but_does_not_count() {
    let two = |io: &mut Io| {
        if let TensorData::F32(out) = &mut io.outputs[0].data {
            out.clear();
            out.extend([2.0, 2.0, 2.0, 2.0, 0.8]);
        }
        Ok(())
    };
    // Overlaps the found one by 0.504, and NMS at 0.5 may have taken it away.
    let hidden = r#"{"class": 0, "label": "thing", "score": 0.7, "box": [3.32, 2, 7.32, 6]}"#;
    let entries = [entry("a.png", &format!("{}, {hidden}", thing(0.8)))];
    let proof = prove_on(Fake::new(1).behave(two), &[204], &entries, "").unwrap().unwrap();
    assert_eq!((proof.objects, proof.tolerated.len()), (1, 1), "{proof:?}");
    assert!(proof.tolerated[0].contains("thing 0.700 at 3,2–7,6 was not found"), "{proof:?}");
}
