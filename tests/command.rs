//! The `vigil` command's other parts (`bundle` has its own file), and scripts/demo.
//!
//! They need what `make setup` installs: the runtime, the bundle `people`, the clip.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

const SOURCE: &str = env!("CARGO_MANIFEST_DIR");

/// The folder that the command was built in, where the plugin is once [`build_plugin`] has run.
fn built() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_vigil")).parent().unwrap()
}

/// Puts `libgstvigil.so` into [`built`]: tests alone do not need it, so Cargo does not leave it there.
fn build_plugin() {
    let profile = match built().file_name().unwrap().to_str().unwrap() {
        "debug" => "dev",
        other => other,
    };
    let mut cargo = Command::new(env!("CARGO"));
    cargo.current_dir(SOURCE).args([
        "build",
        "--lib",
        "--bins",
        "--examples",
        "--quiet",
        "--offline",
        "--profile",
        profile,
    ]);
    let output = cargo.arg("--target-dir").arg(built().parent().unwrap()).output().unwrap();
    assert!(output.status.success(), "{}", err(&output));
}

/// Runs the command with a plugin folder and a registry of GStreamer's that is in `temp`.
fn vigil(temp: &Path, plugins: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_vigil"))
        .args(arguments)
        .current_dir(SOURCE)
        .env("GST_PLUGIN_PATH", plugins)
        .env("GST_REGISTRY", temp.join("registry.bin"))
        .output()
        .unwrap()
}

fn out(output: &Output) -> &str {
    std::str::from_utf8(&output.stdout).unwrap()
}

fn err(output: &Output) -> &str {
    std::str::from_utf8(&output.stderr).unwrap()
}

/// What `doctor --json` says of a thing: its state and the text.
fn finding<'a>(findings: &'a [Value], what: &str) -> (&'a str, &'a str) {
    let found = findings.iter().find(|f| f["what"] == what).unwrap_or_else(|| panic!("no {what} in {findings:#?}"));
    (found["state"].as_str().unwrap(), found["text"].as_str().unwrap())
}

#[test]
fn doctor_tells_what_is_there() {
    build_plugin();
    let temp = tempfile::tempdir().unwrap();
    let output = vigil(temp.path(), built(), &["doctor", "--json"]);
    let findings: Vec<Value> = serde_json::from_str(out(&output)).unwrap();
    for what in ["GStreamer", "ONNX Runtime", "providers"] {
        assert_eq!(finding(&findings, what).0, "good", "{findings:#?}");
    }
    let (state, text) = finding(&findings, "plugin vigil");
    assert_eq!(state, "good", "{text}");
    assert!(text.ends_with("libgstvigil.so"), "{text}");
    let people = gstvigil::paths::home().unwrap().join("bundles/people").display().to_string();
    let bundle = findings.iter().find(|f| f["what"] == "bundle" && f["text"].as_str().unwrap().ends_with(&people));
    assert_eq!(bundle.unwrap_or_else(|| panic!("no {people} in {findings:#?}"))["state"], "good");
    let bad = findings.iter().any(|f| f["state"] == "bad");
    assert_eq!(output.status.code(), Some(i32::from(bad)), "{findings:#?}");
}

#[test]
fn doctor_fails_without_the_plugin_and_says_what_to_do() {
    let temp = tempfile::tempdir().unwrap();
    let empty = temp.path().join("plugins");
    std::fs::create_dir(&empty).unwrap();
    let output = vigil(temp.path(), &empty, &["doctor", "--json"]);
    let findings: Vec<Value> = serde_json::from_str(out(&output)).unwrap();
    let plugin = findings.iter().find(|f| f["what"] == "plugin vigil").unwrap();
    if plugin["state"] == "good" {
        eprintln!("skipped: the plugin is installed in the system");
        return;
    }
    assert_eq!(plugin["state"], "bad");
    assert!(plugin["advice"].as_str().unwrap().contains("GST_PLUGIN_PATH"), "{plugin}");
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn doctor_names_a_runtime_that_is_none() {
    build_plugin();
    let temp = tempfile::tempdir().unwrap();
    let output = vigil(temp.path(), built(), &["--ort-library", "/etc/passwd", "doctor"]);
    assert_eq!(output.status.code(), Some(1), "{}", out(&output));
    let bad: Vec<&str> = out(&output).lines().filter(|line| line.starts_with("BAD")).collect();
    let [line] = bad.as_slice() else { panic!("{bad:#?}") };
    assert!(line.contains("ONNX Runtime") && line.contains("/etc/passwd"), "{line}");
}

#[test]
fn bench_compares_the_pipeline_with_the_bare_engine() {
    let temp = tempfile::tempdir().unwrap();
    let arguments = "bench --model tests/models/red.onnx --size 64x48 --frames 5 --rounds 1 --json";
    let output = vigil(temp.path(), temp.path(), &arguments.split(' ').collect::<Vec<_>>());
    assert_eq!(output.status.code(), Some(0), "{}", err(&output));
    let report: Value = serde_json::from_str(out(&output)).unwrap();
    let number =
        |pointer: &str| report.pointer(pointer).and_then(Value::as_f64).unwrap_or_else(|| panic!("{report:#}"));
    let (bare, pipeline, ratio) = (number("/bare/fps"), number("/pipeline/fps"), number("/ratio"));
    assert!(bare > 0.0 && pipeline > 0.0, "{report:#}");
    assert!((ratio - pipeline / bare).abs() < 1e-6 * ratio, "{report:#}");
    assert_eq!((number("/frames"), number("/rounds")), (5.0, 1.0));
    assert!(report["caps"].as_str().unwrap().contains("width=(int)64, height=(int)48"), "{report:#}");
    // A frame is in these stages one after the other.
    for stage in ["queue", "pre", "run", "post"] {
        assert!(number(&format!("/stages/{stage}/median_ms")) <= number("/stages/total/p99_ms"), "{stage} {report:#}");
    }
}

#[test]
fn bench_plays_streams_together_on_one_engine() {
    let temp = tempfile::tempdir().unwrap();
    let arguments = "bench --model tests/models/red.onnx --size 64x48 --frames 20 --rounds 1 --streams 3 --set \
                     confidence=0.9 --json";
    let output = vigil(temp.path(), temp.path(), &arguments.split_whitespace().collect::<Vec<_>>());
    assert_eq!(output.status.code(), Some(0), "{}", err(&output));
    let report: Value = serde_json::from_str(out(&output)).unwrap();
    assert_eq!((&report["streams"], &report["provider"]), (&Value::from(3), &Value::from("cpu")));
    let fps = |name: &str| report["pipeline"][name].as_f64().unwrap();
    // Nobody's part of all frames is more than an even share.
    assert!(fps("slowest_stream_fps") > 0.0 && fps("slowest_stream_fps") <= fps("fps") / 3.0 + 1e-6, "{report:#}");
    assert_eq!(report["engine"]["users"], 3, "{report:#}");
}

#[test]
fn bench_says_what_is_wrong_with_a_provider_or_a_property() {
    let temp = tempfile::tempdir().unwrap();
    for (given, word) in
        [("--provider=cuda", "CPUExecutionProvider"), ("--set=no-such=1", "no-such"), ("--set=x", "PROPERTY=VALUE")]
    {
        let output =
            vigil(temp.path(), temp.path(), &["bench", "--model", "tests/models/red.onnx", "--frames", "1", given]);
        assert!(!output.status.success() && err(&output).contains(word), "{given}: {}", err(&output));
    }
}

#[test]
fn bench_without_its_model_is_one_sentence() {
    let temp = tempfile::tempdir().unwrap();
    let output = vigil(temp.path(), temp.path(), &["bench", "--model", "no/such.onnx", "--json"]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(out(&output), "");
    assert_eq!(err(&output), "vigil: no/such.onnx: no such file or folder\n");
}

#[test]
fn the_schema_is_the_published_one() {
    let temp = tempfile::tempdir().unwrap();
    let output = vigil(temp.path(), temp.path(), &["schema", "record"]);
    assert!(output.status.success());
    let published = std::fs::read_to_string(Path::new(SOURCE).join("docs/schema/vigil-1.record.json")).unwrap();
    assert_eq!(out(&output), published);
}

/// The plugin's folder as scripts/demo takes it: from the repository's root.
fn built_from_root() -> PathBuf {
    let up = "../".repeat(Path::new(SOURCE).components().count() - 1);
    built().strip_prefix(SOURCE).map_or_else(|_| Path::new(&up).join(built().strip_prefix("/").unwrap()), PathBuf::from)
}

#[test]
fn the_demo_makes_a_video_and_a_record_of_each_frame() {
    let clip = gstvigil::paths::home().unwrap().join("clips/vtest.avi");
    if !clip.exists() {
        eprintln!("skipped: there is no {}; `make setup` installs it", clip.display());
        return;
    }
    build_plugin();
    let temp = tempfile::tempdir().unwrap();
    let folder = temp.path().join("out");
    let output = Command::new(Path::new(SOURCE).join("scripts/demo"))
        .args([&built_from_root(), &folder])
        .env_remove("GST_PLUGIN_PATH")
        .env("GST_REGISTRY", temp.path().join("registry.bin"))
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{}{}", out(&output), err(&output));
    assert!(std::fs::metadata(folder.join("demo.mp4")).unwrap().len() > 0);

    let records = std::fs::read_to_string(folder.join("demo.jsonl")).unwrap();
    let records: Vec<Value> = records.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    // The clip has 795 frames.
    assert_eq!(records.len(), 795);
    assert!(records.iter().all(|record| record["schema"] == "vigil/1"));
    let people: BTreeSet<u64> = records
        .iter()
        .flat_map(|record| record["objects"].as_array().unwrap())
        .filter(|object| object["label"] == "Person" && object["track"]["state"] == "confirmed")
        .map(|object| object["track"]["id"].as_u64().unwrap())
        .collect();
    // A few dozen people cross the scene; who is lost for long comes back with another number.
    assert!((20..=120).contains(&people.len()), "{} people", people.len());

    let said = out(&output);
    for (what, how) in [("frames", "795, "), ("fps", ""), ("objects", ""), ("tracks", "")] {
        assert!(said.lines().any(|line| line.starts_with(&format!("{what:<8} {how}"))), "{what}: {said}");
    }
    for (what, how) in [("video", "demo.mp4"), ("records", "demo.jsonl")] {
        let file = folder.join(how);
        assert!(said.contains(&format!("\n{what:<8} {}\n", file.display())), "{what}: {said}");
    }
    let command = said.lines().find_map(|line| line.strip_prefix("command  ")).unwrap_or_else(|| panic!("{said}"));
    assert!(command.contains("gst-launch-1.0 ") && command.contains(clip.to_str().unwrap()), "{command}");
}
