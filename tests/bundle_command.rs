//! `vigil bundle`: output and exit codes.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::path::Path;
use std::process::{Command, Output};

/// `ir_version = 8` and a graph with the name `g`: the smallest bytes that can be an ONNX model.
const MODEL: &[u8] = b"\x08\x08\x3a\x03\x12\x01g";

fn vigil(dir: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_vigil")).arg("bundle").args(args).current_dir(dir).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// A temporary folder with a bundle in its folder `b`.
fn with_bundle() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let bundle = dir.path().join("b");
    std::fs::create_dir(&bundle).unwrap();
    let seed = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/bundle/good.toml");
    let sha256 = gstvigil::bundle::digest::of_bytes(MODEL);
    let manifest = std::fs::read_to_string(seed).unwrap().replace(&"0123456789abcdef".repeat(4), &sha256);
    std::fs::write(bundle.join("bundle.toml"), manifest).unwrap();
    std::fs::write(bundle.join("labels.txt"), "person\ncar\n").unwrap();
    std::fs::write(bundle.join("model.onnx"), MODEL).unwrap();
    dir
}

#[test]
fn pack_then_show_and_verify() {
    let dir = with_bundle();
    let packed = vigil(dir.path(), &["pack", "b"]);
    assert!(packed.status.success(), "{}", text(&packed.stderr));
    assert!(text(&packed.stdout).starts_with("people-2026.11.1.vigil  "), "{}", text(&packed.stdout));

    for path in ["b", "people-2026.11.1.vigil"] {
        let shown = vigil(dir.path(), &["show", path]);
        assert!(text(&shown.stdout).contains("labels     2: person, car\n"), "{}", text(&shown.stdout));
        let json: serde_json::Value =
            serde_json::from_slice(&vigil(dir.path(), &["show", path, "--json"]).stdout).unwrap();
        assert_eq!(json["output"]["decoder"], "yolov8");
        let report: serde_json::Value =
            serde_json::from_slice(&vigil(dir.path(), &["verify", path, "--json"]).stdout).unwrap();
        assert_eq!((&report["ok"], &report["digest"]), (&true.into(), &json["digest"]));
    }
}

#[test]
fn installed_bundles_go_by_their_names() {
    let dir = with_bundle();
    let elsewhere = tempfile::tempdir().unwrap();
    let named = |args: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_vigil"));
        command.arg("bundle").args(args).current_dir(elsewhere.path());
        command.env("VIGIL_BUNDLE_PATH", dir.path()).output().unwrap()
    };
    let shown = text(&named(&["show", "b"]).stdout);
    assert!(shown.contains(&format!("origin     {}\n", dir.path().join("b").display())), "{shown}");
    let verified = named(&["verify", "b"]);
    assert!(verified.status.success(), "{}", text(&verified.stderr));
    assert!(named(&["pack", "b", "-o", "c.vigil"]).status.success());
    assert!(elsewhere.path().join("c.vigil").is_file());

    let absent = named(&["verify", "bb"]);
    assert_eq!(absent.status.code(), Some(1));
    assert!(text(&absent.stderr).contains("did you mean \"b\"?"), "{}", text(&absent.stderr));
}

#[test]
fn a_failed_check_is_exit_code_1() {
    let dir = with_bundle();
    std::fs::write(dir.path().join("b/model.onnx"), b"something else").unwrap();
    let verified = vigil(dir.path(), &["verify", "b"]);
    assert_eq!(verified.status.code(), Some(1));
    let lines = text(&verified.stdout);
    assert!(lines.contains("FAIL variant model.onnx  b: model.onnx is not the file that was promised"), "{lines}");
    assert!(lines.contains("ok   labels"), "{lines}");

    let shown = vigil(dir.path(), &["show", "b"]);
    assert_eq!((shown.status.code(), shown.stdout.len()), (Some(1), 0));
    assert!(text(&shown.stderr).contains("b: model.onnx is not the file that was promised"));
}

#[test]
fn a_wrong_command_line_is_exit_code_2() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(vigil(dir.path(), &["shwo", "x"]).status.code(), Some(2));
    assert_eq!(vigil(dir.path(), &["show"]).status.code(), Some(2));
    assert_eq!(vigil(dir.path(), &["show", "absent"]).status.code(), Some(1));
}

#[test]
fn verify_can_load_the_model() {
    let dir = tempfile::tempdir().unwrap();
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/models/red.onnx").display().to_string();
    let made = vigil(dir.path(), &["new", &model, "-o", "b"]);
    assert!(made.status.success(), "{}", text(&made.stderr));
    assert!(text(&made.stdout).contains("read        labels"), "{}", text(&made.stdout));
    let verified = vigil(dir.path(), &["verify", "b", "--load"]);
    assert!(verified.status.success(), "{}", text(&verified.stdout));
    // A third label is one more than the model has classes; the file's own checks cannot know.
    let labels = dir.path().join("b/labels.txt");
    std::fs::write(&labels, "red\nblue\ngreen\n").unwrap();
    assert!(vigil(dir.path(), &["verify", "b"]).status.success());
    let refused = vigil(dir.path(), &["verify", "b", "--load"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused.stdout).contains("3 labels"), "{}", text(&refused.stdout));
}
