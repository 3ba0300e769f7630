//! `vigil bundle reference`, `prove` and `compare` as a user runs them, on small models and on real ones.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may")]

mod common;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use common::{data, model};
use serde_json::Value;

/// The command in a folder.
fn vigil(dir: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_vigil")).arg("bundle").args(args).current_dir(dir).output().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[track_caller]
fn succeeds(dir: &Path, args: &[&str]) -> String {
    let output = vigil(dir, args);
    assert!(output.status.success(), "{args:?}: {}{}", text(&output.stdout), text(&output.stderr));
    text(&output.stdout).to_owned()
}

/// What it says on standard error, one line, when it ends with this code.
#[track_caller]
fn fails(dir: &Path, args: &[&str], code: i32) -> String {
    let output = vigil(dir, args);
    let said = text(&output.stderr).to_owned();
    assert_eq!(output.status.code(), Some(code), "{args:?}: {}{said}", text(&output.stdout));
    assert_eq!(said.lines().count(), 1, "{said}");
    said
}

#[track_caller]
fn json(output: &str) -> Value {
    serde_json::from_str(output).unwrap_or_else(|e| panic!("{e}: {output}"))
}

/// A picture of 96 × 64 pixels whose halves have these colours.
fn halves(path: &Path, left: [u8; 3], right: [u8; 3]) {
    picture(path, 96, &[left.repeat(48), right.repeat(48)].concat());
}

/// A picture of 64 such rows.
fn picture(path: &Path, width: u32, row: &[u8]) {
    let mut encoder = png::Encoder::new(std::fs::File::create(path).unwrap(), width, 64);
    encoder.set_color(png::ColorType::Rgb);
    encoder.write_header().unwrap().write_image_data(&row.repeat(64)).unwrap();
}

/// Puts the weights of bundle `from` into bundle `to`.
fn exchange_weights(from: &Path, to: &Path) {
    let digest = |folder: &Path| gstvigil::bundle::digest::of_bytes(&std::fs::read(folder.join("model.onnx")).unwrap());
    edit(&to.join("bundle.toml"), &digest(to), &digest(from));
    std::fs::copy(from.join("model.onnx"), to.join("model.onnx")).unwrap();
}

/// A folder with pictures in `in` and a bundle `b` around one of the small models.
fn with_bundle(name: &str, more: &[&str]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("in")).unwrap();
    halves(&dir.path().join("in/both.png"), [250, 10, 200], [250, 10, 200]);
    halves(&dir.path().join("in/red.png"), [250, 10, 10], [200, 10, 10]);
    halves(&dir.path().join("in/dark.png"), [5, 5, 5], [5, 5, 5]);
    succeeds(dir.path(), &[&["new", &model(name), "-o", "b"], more].concat());
    dir
}

fn expected(dir: &Path) -> PathBuf {
    dir.join("b/reference/expected.json")
}

/// Replaces the first `from` in a file.
#[track_caller]
fn edit(file: &Path, from: &str, to: &str) {
    let content = std::fs::read_to_string(file).unwrap();
    assert!(content.contains(from), "{from}: {content}");
    std::fs::write(file, content.replacen(from, to, 1)).unwrap();
}

#[test]
fn a_set_is_made_proven_and_no_longer_met() {
    let dir = with_bundle("red", &[]);
    let toml = std::fs::read_to_string(dir.path().join("b/bundle.toml")).unwrap();
    let said = succeeds(dir.path(), &["reference", "b", "in", "--max-latency-ms", "auto", "--min-iou", "0.8"]);
    assert!(
        said.starts_with("written    3 pictures to b/reference\n") && said.contains("\nobjects    3 found"),
        "{said}"
    );
    let after = std::fs::read_to_string(dir.path().join("b/bundle.toml")).unwrap();
    assert!(after.starts_with(&toml), "nothing else is changed: {after}");
    assert!(after[toml.len()..].contains("min-iou = 0.8\nscore-tolerance = 0.05\nmax-latency-ms = "), "{after}");
    let verified = succeeds(dir.path(), &["verify", "b"]);
    assert!(verified.lines().any(|l| l.starts_with("ok   reference ") && l.ends_with("  3 pictures")), "{verified}");

    let proof = json(&succeeds(dir.path(), &["prove", "b", "--json"]));
    assert_eq!((&proof["format"], &proof["proven"]), (&1.into(), &true.into()));
    assert_eq!((&proof["pictures"], &proof["objects"]), (&3.into(), &3.into()));
    succeeds(dir.path(), &["pack", "b", "-o", "b.vigil"]);
    assert!(succeeds(dir.path(), &["prove", "b.vigil"]).starts_with("proven     red 1 on cpu\n"));

    edit(&expected(dir.path()), "\"score\":0.79", "\"score\":0.5");
    let said = fails(dir.path(), &["prove", "b"], 1);
    assert!(said.contains("b: the reference set no longer matches: reference/001-both.png: red 0.5"), "{said}");
    let output = vigil(dir.path(), &["prove", "b", "--json"]);
    let report = json(text(&output.stdout));
    assert_eq!(output.status.code(), Some(1));
    assert_eq!((&report["proven"], &report["reason"]), (&false.into(), &"mismatch".into()));
    // A set is made anew in the place of the old one.
    succeeds(dir.path(), &["reference", "b", "in/red.png"]);
    let proof = json(&succeeds(dir.path(), &["prove", "b", "--json"]));
    assert_eq!((&proof["pictures"], &proof["objects"]), (&1.into(), &1.into()));
    let after = std::fs::read_to_string(dir.path().join("b/bundle.toml")).unwrap();
    assert!(after.contains("\nmin-iou = 0.8\n"), "what the bundle says stays: {after}");
}

#[test]
fn frames_of_a_video_are_taken_one_by_one() {
    let Some(video) = data("video") else { return };
    let files = std::fs::read_dir(&video).unwrap().map(|e| e.unwrap().path());
    let Some(file) = files.into_iter().find(|p| p.extension().is_some_and(|e| e == "mp4" || e == "avi")) else {
        eprintln!("skipped: there is no video in {}", video.display());
        return;
    };
    let dir = with_bundle("red", &["--set", "output.confidence=0.1"]);
    let file = file.to_str().unwrap();
    succeeds(dir.path(), &["reference", "b", file, "--every", "10", "--max-images", "2"]);
    let shown = json(&succeeds(dir.path(), &["show", "b", "--json"]));
    let pictures: Vec<&str> =
        shown["files"].as_array().unwrap().iter().filter_map(Value::as_str).filter(|f| f.ends_with(".png")).collect();
    assert!(pictures.len() == 2 && pictures[1].ends_with("-10.png"), "{pictures:?}");
}

#[test]
fn what_is_no_set_is_refused_and_changes_nothing() {
    let dir = with_bundle("red", &[]);
    let before = json(&succeeds(dir.path(), &["show", "b", "--json"]))["digest"].clone();
    let said = fails(dir.path(), &["reference", "b", "in/dark.png"], 1);
    assert!(said.contains("nothing was found on 1 pictures") && said.contains("--allow-empty"), "{said}");
    assert!(fails(dir.path(), &["reference", "b", "no/such.png"], 1).contains("no/such.png: no such file or folder"));
    succeeds(dir.path(), &["pack", "b", "-o", "b.vigil"]);
    let said = fails(dir.path(), &["reference", "b.vigil", "in"], 1);
    assert!(said.contains("b.vigil: not a bundle's folder") && said.contains("Unpack"), "{said}");
    let said = fails(dir.path(), &["prove", "b"], 1);
    assert!(said.contains("there is no reference set") && said.contains("vigil bundle reference b "), "{said}");
    assert_eq!(json(&succeeds(dir.path(), &["show", "b", "--json"]))["digest"], before);
    succeeds(dir.path(), &["reference", "b", "in/dark.png", "--allow-empty"]);
}

#[test]
fn a_broken_set_is_told_with_its_place() {
    let dir = with_bundle("red", &[]);
    succeeds(dir.path(), &["reference", "b", "in"]);
    edit(&expected(dir.path()), "\"label\":\"red\"", "\"label\":\"blue\"");
    let said = fails(dir.path(), &["prove", "b"], 1);
    let place = "b/reference/expected.json: pictures[0] (reference/001-both.png): objects[0].label: class 0 is \"red\"";
    assert!(said.contains(place), "{said}");
    std::fs::remove_file(dir.path().join("b/reference/003-red.png")).unwrap();
    edit(&expected(dir.path()), "\"label\":\"blue\"", "\"label\":\"red\"");
    assert!(
        fails(dir.path(), &["prove", "b"], 1).contains("there is an entry for reference/003-red.png, which is none")
    );
}

#[test]
fn a_model_that_answers_nan_makes_and_passes_no_set() {
    let dir = with_bundle("nan", &[]);
    let said = fails(dir.path(), &["reference", "b", "in"], 1);
    assert!(said.contains("both.png: 2 values of the model's answer are not finite"), "{said}");
    // The set of its sound sister, around the broken weights.
    let sound = with_bundle("red", &[]);
    succeeds(sound.path(), &["reference", "b", "in"]);
    exchange_weights(&dir.path().join("b"), &sound.path().join("b"));
    let output = vigil(sound.path(), &["prove", "b", "--json"]);
    let report = json(text(&output.stdout));
    assert_eq!((output.status.code(), &report["reason"]), (Some(1), &"non-finite".into()), "{report}");
}

#[test]
fn a_model_that_hangs_is_not_proven() {
    let (dir, hangs) = (with_bundle("red", &[]), with_bundle("hang", &[]));
    picture(&dir.path().join("white.png"), 64, &[255; 64 * 3]);
    succeeds(dir.path(), &["reference", "b", "white.png", "--max-latency-ms", "500"]);
    exchange_weights(&hangs.path().join("b"), &dir.path().join("b"));
    let output = vigil(dir.path(), &["prove", "b", "--json"]);
    let report = json(text(&output.stdout));
    assert_eq!((output.status.code(), &report["reason"]), (Some(1), &"engine".into()), "{report}");
    assert!(report["text"].as_str().unwrap().contains("took longer than"), "{report}");
}

#[test]
fn classes_and_vectors_are_expected_too() {
    let dir = with_bundle("colors", &[]);
    succeeds(dir.path(), &["reference", "b", "in"]);
    succeeds(dir.path(), &["prove", "b"]);
    let content = std::fs::read_to_string(expected(dir.path())).unwrap();
    assert!(content.contains("\"classes\": [") && !content.contains("\"objects\""), "{content}");
    // The first picture is as much blue as red.
    let swapped = content.replace("\"class\":0", "\"class\":9").replace("\"class\":1", "\"class\":0");
    assert_ne!(swapped, content);
    std::fs::write(expected(dir.path()), swapped).unwrap();
    let said = fails(dir.path(), &["prove", "b"], 1);
    assert!(said.contains("pictures[0] (reference/001-both.png): classes["), "{said}");

    let dir = with_bundle("vector", &["--set", "output.decoder=embed"]);
    succeeds(dir.path(), &["reference", "b", "in"]);
    succeeds(dir.path(), &["prove", "b"]);
    let content = std::fs::read_to_string(expected(dir.path())).unwrap();
    let vector = content.lines().find(|line| line.contains("embedding")).unwrap();
    std::fs::write(expected(dir.path()), content.replacen(vector, "\"embedding\": [0.0, 1.0, 0.0]", 1)).unwrap();
    assert!(fails(dir.path(), &["prove", "b"], 1).contains("001-both.png: the embedding points elsewhere: cosine "));
}

#[test]
fn a_model_that_takes_too_long_is_not_proven() {
    let Some(models) = data("models") else { return };
    let dir = with_bundle("red", &[]);
    // A real model takes far longer than a millisecond.
    let yolox = models.join("yolox_nano.onnx");
    let labels = data("labels").map(|folder| folder.join("coco80.txt")).filter(|file| file.exists());
    let labels = labels.map(|file| file.display().to_string());
    let mut args = vec!["new", yolox.to_str().unwrap(), "-o", "slow"];
    args.extend(labels.iter().flat_map(|file| ["--labels", file.as_str()]));
    succeeds(dir.path(), &args);
    let args = ["reference", "slow", "in/red.png", "--allow-empty", "--max-latency-ms", "1"];
    let said = fails(dir.path(), &args, 1);
    assert!(said.contains("the set was written, but the model does not keep to it: a run takes "), "{said}");
    let output = vigil(dir.path(), &["prove", "slow", "--json"]);
    let report = json(text(&output.stdout));
    assert_eq!((output.status.code(), &report["reason"]), (Some(1), &"latency".into()), "{report}");
}

#[test]
fn the_set_up_s_bundle_is_proven_on_frames_of_its_clip() {
    let people = gstvigil::paths::home().map(|home| home.join("bundles/people"));
    let Some(people) = people.filter(|folder| folder.join("reference/expected.json").is_file()) else {
        eprintln!("skipped: the set-up's bundle is not here; `make setup` makes it");
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let proof = json(&succeeds(dir.path(), &["prove", people.to_str().unwrap(), "--json"]));
    assert_eq!((&proof["pictures"], &proof["objects"]), (&3.into(), &23.into()), "{proof}");
    // The frames are those that the expected answers were made from.
    assert!(proof["least-iou"].as_f64().unwrap() > 0.97, "{proof}");
}

#[test]
fn two_models_are_compared_by_the_labels_that_both_have() {
    let dir = with_bundle("red", &[]);
    succeeds(dir.path(), &["new", &model("dynamic"), "-o", "same"]);
    // The same weights, whose second class has another name: what it finds there does not count.
    succeeds(dir.path(), &["new", &model("red"), "-o", "other"]);
    std::fs::write(dir.path().join("other/labels.txt"), "red\ngreen\n").unwrap();
    let equal =
        json(&succeeds(dir.path(), &["compare", "b", "same", "--images", "in", "--json", "--min-agreement", "1"]));
    assert_eq!((&equal["agreement"], &equal["matched"]), (&1.0.into(), &3.into()), "{equal}");
    let report = json(&succeeds(dir.path(), &["compare", "b", "other", "--images", "in", "--json"]));
    assert_eq!((&report["agreement"], &report["matched"]), (&1.0.into(), &2.into()), "{report}");
    assert_eq!((&report["left-out"], &report["shared-labels"]), (&2.into(), &1.into()), "{report}");
    assert_eq!(report["old"]["labels-of-its-own"]["blue"], 1);
    assert_eq!(report["new"]["labels-of-its-own"]["green"], 1);
    assert!(report["new"]["latency-ms"]["p99"].as_f64().unwrap() > 0.0);
}

#[test]
fn models_that_disagree_are_told_by_the_exit_code_and_shown() {
    let dir = with_bundle("red", &[]);
    succeeds(dir.path(), &["new", &model("red"), "-o", "blind", "--set", "output.confidence=0.99"]);
    let args = ["compare", "b", "blind", "--images", "in/both.png", "in/red.png", "--html", "page.html"];
    let report = succeeds(dir.path(), &[&args[..], &["--min-agreement", "0"]].concat());
    assert!(report.contains("missed     3 found by the old model only\n"), "{report}");
    let page = std::fs::read_to_string(dir.path().join("page.html")).unwrap();
    assert!(page.contains("data:image/png;base64,") && page.contains("found by the old model only: red"), "{page}");
    assert!(!page.contains("http"), "it needs nothing else");
    let output = vigil(dir.path(), &[&args[..], &["--min-agreement", "0.5"]].concat());
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stdout).ends_with("result     NOT within the agreement that is demanded (0.5)\n"));
    // Without a word, it is what a probation would say.
    let output = vigil(dir.path(), &args);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stdout).ends_with("result     NOT within the agreement that is demanded (0.3)\n"));
    let manifest = dir.path().join("blind/bundle.toml");
    let lenient = std::fs::read_to_string(&manifest).unwrap() + "\n[probation]\nmin-agreement = 0\n";
    std::fs::write(&manifest, lenient).unwrap();
    assert!(succeeds(dir.path(), &args).contains("within the agreement that is demanded (0)"));
    // At one confidence they are the same.
    succeeds(dir.path(), &[&args[..], &["--min-agreement", "1", "--confidence", "0.3"]].concat());
}

#[test]
fn what_cannot_be_compared_is_exit_code_2() {
    let dir = with_bundle("red", &[]);
    succeeds(dir.path(), &["new", &model("colors"), "-o", "colors"]);
    let said = fails(dir.path(), &["compare", "b", "colors", "--images", "in"], 2);
    assert!(said.contains("task is \"detect\", the new one's is \"classify\": they cannot be compared"), "{said}");
    assert!(fails(dir.path(), &["compare", "b", "absent", "--images", "in"], 2).contains("no model \"absent\""));
    assert!(fails(dir.path(), &["compare", "b", "b", "--images", "absent.png"], 2).contains("absent.png: no such"));
    assert_eq!(vigil(dir.path(), &["compare", "b", "b"]).status.code(), Some(2), "pictures are missing");
    // A run that fails says which model it was, and on what.
    succeeds(dir.path(), &["new", &model("fails"), "-o", "fails"]);
    halves(&dir.path().join("green.png"), [9, 250, 9], [9, 250, 9]);
    let said = fails(dir.path(), &["compare", "b", "fails", "--images", "green.png"], 2);
    assert!(said.starts_with("vigil: green.png: the new model: "), "{said}");
}

#[test]
fn real_models_of_different_sizes_and_outputs_are_compared() {
    let (Some(models), Some(pictures)) = (data("models"), data("coco128/train2017")) else { return };
    let dir = tempfile::tempdir().unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/parity/bundles.py");
    let made = Command::new("python3").arg(script).arg(models.parent().unwrap()).arg(dir.path()).output().unwrap();
    assert!(made.status.success(), "{}", text(&made.stderr));
    let pictures = pictures.to_str().unwrap();
    let args = [
        "compare",
        "nanodet_m_320",
        "yolox_nano",
        "--images",
        pictures,
        "--max-images",
        "12",
        "--json",
        "--confidence",
        "0.4",
    ];
    let report = json(&succeeds(dir.path(), &args));
    assert_eq!((&report["pictures"], &report["shared-labels"]), (&12.into(), &80.into()));
    let agreement = report["agreement"].as_f64().unwrap();
    assert!(agreement > 0.3 && agreement < 1.0, "two detectors see much the same, and not all: {report:#}");
    assert!(report["matched"].as_u64().unwrap() >= 10, "{report:#}");
}
