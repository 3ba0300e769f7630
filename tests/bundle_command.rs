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

fn test_model(name: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/models/{name}.onnx")).display().to_string()
}

/// The line of `vigil bundle new` about `key`, its blanks made single.
fn line(output: &Output, key: &str) -> String {
    let all = text(&output.stdout);
    let line = all.lines().find(|l| l.split_whitespace().nth(1) == Some(key));
    line.unwrap_or_else(|| panic!("{key}: {all}{}", text(&output.stderr)))
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
}

#[test]
fn a_new_bundle_says_where_each_value_comes_from() {
    let dir = tempfile::tempdir().unwrap();
    let made = vigil(dir.path(), &["new", &test_model("red"), "-o", "b", "--set", "output.confidence=0.3"]);
    assert_eq!(line(&made, "input.size"), "read input.size [32, 32] (the input's shape)");
    assert_eq!(line(&made, "labels"), "read labels \"labels.txt\" (metadata `names`)");
    assert!(line(&made, "output.decoder").starts_with("recognised output.decoder \"yolov8\" ("));
    assert!(line(&made, "input.color").starts_with("assumed input.color \"rgb\" ("));
    assert_eq!(line(&made, "output.confidence"), "given output.confidence 0.3 (you said so)");
    assert_eq!(line(&made, "output.class-offset"), "assumed output.class-offset 0 (Vigil's default)");
    let toml = std::fs::read_to_string(dir.path().join("b/bundle.toml")).unwrap();
    assert!(toml.contains("\nconfidence = 0.3\n"), "given, so not marked as assumed: {toml}");
    assert!(vigil(dir.path(), &["verify", "b", "--load"]).status.success());
}

#[test]
fn what_is_given_decides_and_is_checked() {
    let dir = tempfile::tempdir().unwrap();
    let vector = test_model("vector");
    let made = vigil(dir.path(), &["new", &vector, "-o", "e", "--set", "output.decoder=embed"]);
    assert_eq!(line(&made, "output.decoder"), "given output.decoder \"embed\" (you said so)");
    assert_eq!(line(&made, "task").split(' ').nth(2), Some("\"embed\""));
    let verified = vigil(dir.path(), &["verify", "e", "--load"]);
    assert!(verified.status.success(), "{}", text(&verified.stdout));

    let refused = |set: &str| {
        let output = vigil(dir.path(), &["new", &vector, "-o", "no", "--set", set]);
        assert!(!output.status.success() && !dir.path().join("no").exists());
        text(&output.stderr)
    };
    assert!(refused("output.decoder=embedd").contains("output.decoder"));
    assert!(refused("output.iou=3").contains("--set: `output.iou`: 3 is not allowed; it lies in 0..1"));
    assert!(refused("output").contains("is not KEY=VALUE"));
}

#[test]
fn a_modelinfo_file_takes_part() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::copy(test_model("vector"), dir.path().join("v.onnx")).unwrap();
    let beside = dir.path().join("v.onnx.modelinfo");
    let head = "[modelinfo]\nversion=1.0\n";
    let sections =
        "[images]\ndir=input\nranges=-1.0,1.0\n[output]\ndir=output\nid=classification-generic-softmaxed-out\n";
    std::fs::write(&beside, format!("{head}{sections}")).unwrap();
    let made = vigil(dir.path(), &["new", "v.onnx", "-o", "b"]);
    assert_eq!(line(&made, "output.decoder"), "read output.decoder \"classify\" (`id` in v.onnx.modelinfo)");
    assert_eq!(line(&made, "output.activation"), "read output.activation \"none\" (`id` in v.onnx.modelinfo)");
    assert_eq!(line(&made, "input.std"), "read input.std [127.5, 127.5, 127.5] (`ranges` in v.onnx.modelinfo)");
    std::fs::write(&beside, format!("{head}[images]\nranges=0\n")).unwrap();
    let refused = vigil(dir.path(), &["new", "v.onnx", "-o", "c"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(
        text(&refused.stderr).contains("v.onnx.modelinfo:4:1: `ranges`: \"0\" is not a list"),
        "{}",
        text(&refused.stderr)
    );
}

#[test]
fn show_tells_the_keys_that_only_some_decoders_have() {
    let dir = with_bundle();
    let file = dir.path().join("b/bundle.toml");
    let manifest = std::fs::read_to_string(&file).unwrap();
    let at = manifest.find("[output]\n").unwrap() + "[output]\n".len();
    let keys = "box-unit = \"normalized\"\nquantization = { output0 = { scale = 0.5, zero-point = 3 } }\n";
    std::fs::write(&file, format!("{}{keys}{}", &manifest[..at], &manifest[at..])).unwrap();
    let shown = text(&vigil(dir.path(), &["show", "b"]).stdout);
    assert!(shown.contains(", in normalized, output0 scale 0.5 zero point 3\n"), "{shown}");
    let json: serde_json::Value = serde_json::from_slice(&vigil(dir.path(), &["show", "b", "--json"]).stdout).unwrap();
    assert_eq!(json["output"]["box-unit"], "normalized");
    assert_eq!(json["output"]["quantization"]["output0"]["zero-point"], 3);
}
