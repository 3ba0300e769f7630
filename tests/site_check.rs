//! `vigil check` and `vigil schema site`, and the description's published schema.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may")]

mod common;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use gstvigil::site::check::check;
use gstvigil::site::live::introspect::Registry;
use gstvigil::site::live::surroundings::Machine;
use gstvigil::site::problem::Problems;
use gstvigil::site::read::read;
use gstvigil::site::schema::json_schema;

const SOURCE: &str = env!("CARGO_MANIFEST_DIR");

fn vigil(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vigil"));
    let nowhere = Path::new(SOURCE).join("tests/site_files/nowhere");
    // Nothing of this machine takes part: no bundles, no screen.
    command.env("VIGIL_HOME", &nowhere).env_remove("VIGIL_BUNDLE_PATH").env_remove("VIGIL_STORE");
    command.env_remove("DISPLAY").env_remove("WAYLAND_DISPLAY");
    command.args(arguments).current_dir(Path::new(SOURCE).join("tests/site_files")).output().unwrap()
}

fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[test]
fn a_good_site_is_called_good() {
    let output = vigil(&["check", "good.toml"]);
    assert_eq!(
        out(&output),
        "good.toml:27:11: warning: `tile.all.output.0`: there is no screen here: neither DISPLAY nor WAYLAND_DISPLAY is set\n\
         good.toml: good, 1 warning: 2 cameras, 1 profile, 1 tile\n"
    );
    assert!(output.status.success());
}

#[test]
fn all_that_is_wrong_with_a_site_is_told_for_humans() {
    let output = vigil(&["check", "bad.json"]);
    let told = out(&output);
    let lines: Vec<&str> = told.lines().collect();
    let expected = [
        "bad.json:6:35: `camera.gate.profil`: unknown key; did you mean `profile`?",
        "bad.json:7:24: `camera.street.uri`: it has a user or a password in it: write `user`, and `password`",
        "bad.json:10:63: this machine: `profile.people.stage.0.model`: no model \"no-such-model\"",
        "bad.json:10:92: `profile.people.stage.0.interval`: a whole number is expected, this is a text",
        "bad.json: 4 errors, 1 of this machine",
    ];
    assert_eq!(lines.len(), expected.len(), "{told}");
    assert!(lines.iter().zip(expected).all(|(line, expected)| line.starts_with(expected)), "{told}");
    assert_eq!(output.status.code(), Some(1));
    assert!(!told.contains("geheim"));
}

#[test]
fn all_that_is_wrong_with_a_site_is_told_for_machines() {
    let output = vigil(&["check", "--json", "bad.json"]);
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["good"], false);
    let problems = report["problems"].as_array().unwrap();
    assert_eq!(problems.len(), 4, "{report:#}");
    let place = serde_json::json!({ "file": "bad.json", "line": 6, "column": 35 });
    assert_eq!((&problems[0]["place"], &problems[0]["severity"]), (&place, &"error".into()));
    let about: Vec<_> = problems.iter().map(|problem| problem["about"].as_str().unwrap()).collect();
    assert_eq!(
        (about, &report["starts"]),
        (vec!["description", "description", "machine", "description"], &false.into())
    );
    assert_eq!((&problems[0]["key"], output.status.code()), (&"camera.gate.profil".into(), Some(1)));
    let good: serde_json::Value = serde_json::from_slice(&vigil(&["check", "--json", "good.toml"]).stdout).unwrap();
    assert_eq!((&good["good"], good["problems"].as_array().unwrap().len()), (&true.into(), 1));
}

#[test]
fn a_file_that_is_not_there_is_one_sentence() {
    let output = vigil(&["check", "gone.toml"]);
    assert_eq!(out(&output), "gone.toml: no such file\ngone.toml: 1 error\n");
    assert_eq!(output.status.code(), Some(1));
}

/// All problems of a file, as `vigil check` finds them.
fn problems(file: &Path) -> Problems {
    let (document, mut problems) = read(file);
    if let Some(document) = document {
        problems.append(check(&document, &Registry::new(), &Machine::new()));
    }
    problems
}

#[test]
fn classes_are_those_of_the_real_bundle() {
    common::init();
    let folder = tempfile::tempdir().unwrap();
    let bundle = common::bundles::good("1").folder(folder.path());
    let site = folder.path().join("site.toml");
    let text = format!(
        "format = 1\nname = \"yard\"\napi.listen = \"off\"\n[profile.p]\nstage = [\n\
         {{ element = \"vigilinfer\", model = \"{}\" }},\n\
         {{ element = \"vigilinfer\", name = \"second\", model = \"{}\", inference-region = \"objects\", object-class = \"rde\" }},\n]\n\
         [camera.gate]\nuri = \"test:\"\nprofile = \"p\"\n",
        bundle.file_name().unwrap().to_str().unwrap(),
        bundle.display(),
    );
    std::fs::write(&site, text).unwrap();
    let told = problems(&site).to_string();
    assert!(
        told.contains(
            "`profile.p.stage.1.object-class`: the models before it have no class \"rde\"; did you mean \"red\"?"
        ),
        "{told}"
    );
    assert_eq!(told.lines().count(), 1, "{told}");
}

fn published() -> PathBuf {
    Path::new(SOURCE).join("docs/schema/site.json")
}

#[test]
fn the_schema_is_the_published_one() {
    common::init();
    let schema = json_schema(&Registry::new());
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(published(), &schema).unwrap();
    }
    let recorded = std::fs::read_to_string(published()).unwrap_or_default();
    assert!(recorded == schema, "run: UPDATE_DOCS=1 cargo nextest run --test site_check");
    assert_eq!(out(&vigil(&["schema", "site"])), schema);
}

#[test]
fn the_schema_and_the_check_agree() {
    common::init();
    let schema = serde_json::from_str(&json_schema(&Registry::new())).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let site = |stage: serde_json::Value| {
        serde_json::json!({
            "format": 1, "name": "yard", "api": { "listen": "off" },
            "profile": { "p": { "stage": [stage], "watchdog": { "deadline": "300ms" } } },
            "camera": { "gate": { "uri": "test:", "profile": "p" } },
        })
    };
    let red = common::model("red");
    let infer = |key: &str, value: serde_json::Value| {
        let mut stage = serde_json::json!({ "element": "vigilinfer", "model": red });
        stage[key] = value;
        site(stage)
    };
    let cases = [
        (infer("interval", 2.into()), true),
        (infer("interval", "2".into()), false),
        (infer("intervall", 2.into()), false),
        (infer("confidence", 0.5.into()), true),
        (infer("confidence", 1.5.into()), false),
        (infer("engine-timeout", "2s".into()), true),
        (infer("engine-timeout", 0.into()), true),
        (infer("engine-timeout", 2_000.into()), false),
        (infer("when-busy", "hold".into()), true),
        (infer("when-busy", "hole".into()), false),
        (infer("name", "first".into()), true),
        (site(serde_json::json!({ "element": "identity", "silent": true })), true),
        (site(serde_json::json!({ "silent": true })), false),
    ];
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("site.json");
    for (case, good) in cases {
        std::fs::write(&file, case.to_string()).unwrap();
        let problems = problems(&file);
        assert_eq!(problems.has_errors(), !good, "{case}\n{problems}");
        assert_eq!(validator.is_valid(&case), good, "{case}");
    }
    let mut watchdog = site(serde_json::json!({ "element": "vigiltrack" }));
    assert!(validator.is_valid(&watchdog));
    watchdog["profile"]["p"]["watchdog"]["deadlin"] = "300ms".into();
    assert!(!validator.is_valid(&watchdog));
}
