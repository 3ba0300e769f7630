//! `vigil parity` as a user runs it: the command, the Python reference, real models and pictures.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may")]

mod common;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use common::{data, model};
use serde_json::Value;

fn vigil(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_vigil")).arg("parity").args(arguments).output().unwrap()
}

fn err(output: &Output) -> &str {
    std::str::from_utf8(&output.stderr).unwrap()
}

/// Whether the Python reference is installed; says so if not.
fn reference_is_here() -> bool {
    let python = gstvigil::paths::home().map(|home| home.join("venv-parity/bin/python"));
    let here = python.is_some_and(|p| p.exists());
    if !here {
        eprintln!("skipped: the Python reference is not installed; `scripts/parity/run --install` installs it");
    }
    here
}

/// A picture of 96 × 64 pixels, its left half red, its right half blue.
fn red_and_blue(folder: &Path) -> PathBuf {
    let path = folder.join("halves.png");
    let mut encoder = png::Encoder::new(std::fs::File::create(&path).unwrap(), 96, 64);
    encoder.set_color(png::ColorType::Rgb);
    let row = [[250, 10, 10].repeat(48), [20, 10, 240].repeat(48)].concat();
    encoder.write_header().unwrap().write_image_data(&row.repeat(64)).unwrap();
    path
}

/// The bundles of scripts/parity/bundles.py around the test data's models, once for all tests of a process.
fn bundle(folder: &Path, name: &str) -> Option<PathBuf> {
    let models = data("models")?;
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/parity/bundles.py");
    let made = Command::new("python3").arg(script).arg(models.parent().unwrap()).arg(folder).output().unwrap();
    assert!(made.status.success(), "{}", err(&made));
    Some(folder.join(name))
}

/// Runs `vigil parity BUNDLE PICTURES --json` on the test data; `None` with a message where something is missing.
fn compared(name: &str, pictures: &str, more: &[&str]) -> Option<Value> {
    let pictures = data(pictures)?;
    let folder = tempfile::tempdir().unwrap();
    let bundle = bundle(folder.path(), name)?;
    if !reference_is_here() {
        return None;
    }
    let output = vigil(&[&[bundle.to_str().unwrap(), pictures.to_str().unwrap(), "--json"], more].concat());
    let report: Value =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{name}: {e}: {}", err(&output)));
    assert_eq!(output.status.code(), Some(i32::from(report["within"] == false)), "{name}");
    Some(report)
}

#[track_caller]
fn assert_within(name: &str, pictures: &str, more: &[&str], key: &str, pairs: u64) {
    let Some(mut report) = compared(name, pictures, more) else { return };
    let listed = report["by-picture"].take();
    assert_eq!(report["within"], true, "{name}: {report:#}\n{listed:#}");
    assert!(report["pairs"].as_u64().unwrap() >= pairs, "{name}: {report:#}");
    assert!(report[key]["worst"].is_number(), "{name}: {report:#}");
}

/// Every how many pictures of the 128 the tests take: all of them are for scripts/parity/run.
const SOME: &[&str] = &["--confidence", "0.3", "--max-images", "24"];

#[test]
fn yolox_finds_what_the_reference_finds() {
    assert_within("yolox_nano", "coco128/train2017", SOME, "iou", 50);
}

#[test]
fn nanodet_finds_what_the_reference_finds() {
    assert_within("nanodet_m_320", "coco128/train2017", SOME, "iou", 50);
}

#[test]
fn ssd_mobilenet_finds_what_the_reference_finds() {
    assert_within("ssd_mobilenet_v1", "coco128/train2017", SOME, "iou", 200);
}

#[test]
fn frames_with_half_the_chroma_give_what_the_reference_finds_on_them() {
    for format in ["NV12", "I420", "YV12"] {
        let more = ["--confidence", "0.3", "--format", format, "--same-pixels", "--max-images", "24"];
        assert_within("yolox_nano", "coco128/train2017", &more, "iou", 60);
    }
}

#[test]
fn a_classifier_gives_the_reference_s_probabilities() {
    assert_within("mobilenet_v2", "images", &[], "probability", 0);
}

#[test]
fn keypoints_lie_within_a_pixel() {
    assert_within("movenet", "images/squat.bmp", &[], "keypoint", 1);
}

#[test]
fn faces_and_their_landmarks_are_the_reference_s() {
    assert_within("yunet", "images/grace_hopper.bmp", &[], "keypoint", 1);
}

#[test]
fn masks_cover_the_reference_s_pixels() {
    assert_within("deeplab_v3", "images", &[], "mask", 2);
}

#[test]
fn embeddings_point_where_the_reference_s_do() {
    assert_within("reid", "images/squat.bmp", &[], "cosine", 0);
}

#[test]
fn a_bare_model_is_compared_and_the_page_is_written() {
    if !reference_is_here() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (picture, page) = (red_and_blue(folder.path()), folder.path().join("page.html"));
    let found = format!("{0}/ours.json,{0}/reference.json", folder.path().display());
    let model = model("red");
    let arguments = [&model, picture.to_str().unwrap(), "--html", page.to_str().unwrap(), "--detections-out", &found];
    let output = vigil(&arguments);
    assert_eq!(output.status.code(), Some(0), "{}{}", String::from_utf8_lossy(&output.stdout), err(&output));
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("objects    2 pairs") && text.ends_with("within tolerance\n"), "{text}");
    assert!(std::fs::read_to_string(page).unwrap().contains("within tolerance"));
    for file in found.split(',') {
        let rows: Vec<Value> = serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
        assert_eq!(rows.len(), 2);
    }
}

#[test]
fn what_is_out_of_tolerance_is_told_by_the_exit_code() {
    if !reference_is_here() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (picture, page) = (red_and_blue(folder.path()), folder.path().join("page.html"));
    // Grey takes the colours away on our side only.
    let model = model("red");
    let arguments = [&model, picture.to_str().unwrap(), "--format", "GRAY8", "--html", page.to_str().unwrap()];
    let output = vigil(&arguments);
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{text}{}", err(&output));
    assert!(text.ends_with("NOT within tolerance\n"), "{text}");
    assert!(std::fs::read_to_string(page).unwrap().contains("data:image/png;base64,"));
}

#[test]
fn what_cannot_be_compared_is_one_sentence() {
    let folder = tempfile::tempdir().unwrap();
    let picture = red_and_blue(folder.path());
    let picture = picture.to_str().unwrap();
    let model = model("red");
    let said = |arguments: &[&str]| {
        let output = vigil(arguments);
        assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0), "{arguments:?}");
        err(&output).to_owned()
    };
    assert_eq!(said(&[&model, "no/such.png"]), "vigil: no/such.png: no such file or folder\n");
    assert_eq!(said(&["no/such.onnx", picture]), "vigil: no/such.onnx: no such file or folder\n");
    let text = said(&[&model, picture, "--python", "/no/such/python"]);
    assert!(text.contains("/no/such/python cannot be run") && text.contains("scripts/parity/run"), "{text}");
    let text = said(&[&model, picture, "--format", "P010_10LE"]);
    assert!(text.contains("Vigil takes NV12, "), "{text}");
    // Clap's own errors have the code 2 too.
    assert!(said(&[&model, picture, "--min-iou", "99"]).contains("is not a number from 0 to 1"));
}

#[test]
fn a_python_without_the_modules_is_told_what_to_install() {
    let folder = tempfile::tempdir().unwrap();
    let picture = red_and_blue(folder.path());
    // Isolated from the packages of the system.
    let python = folder.path().join("python");
    std::fs::write(&python, "#!/bin/sh\nexec python3 -I -S \"$@\"\n").unwrap();
    let mut permissions = std::fs::metadata(&python).unwrap().permissions();
    std::os::unix::fs::PermissionsExt::set_mode(&mut permissions, 0o755);
    std::fs::set_permissions(&python, permissions).unwrap();
    let output = vigil(&[&model("red"), picture.to_str().unwrap(), "--python", python.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(2));
    let said = err(&output);
    assert!(said.contains("missing Python module: ") && said.contains("scripts/parity/run"), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
}
