//! `vigil run` on a machine that lacks something: that costs what needs it, and is found when it comes.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may")]

mod common;
#[allow(dead_code, reason = "other tests use it too")]
#[path = "common/gateway_rig.rs"]
mod rig;

use std::net::TcpListener;
use std::process::Command;

use common::bundles::good;
use rig::{Gateway, Place, number, text, until};
use serde_json::{Value, json};

/// A site with a camera that has all it needs, one whose bundle is to be the folder `late-reds`, and one that writes into the folder `pictures`.
const SITE: &str = "format = 1\nname = \"test\"\n[api]\nlisten = \"127.0.0.1:0\"\n\
    [defaults]\ncaps = \"video/x-raw,format=I420,width=160,height=120,framerate=15/1\"\n\
    reconnect = { first = \"100ms\", most = \"200ms\" }\n\
    [profile.people]\nstage = [{ element = \"vigilinfer\", model = \"late-reds\" }]\nwatchdog.enabled = false\n\
    [camera.good]\nuri = \"test:ball\"\n\
    [camera.bare]\nuri = \"test:ball\"\nprofile = \"people\"\n\
    [camera.wall]\nuri = \"test:ball\"\noutput = [{ kind = \"snapshot\", path = \"pictures/{camera}.jpg\", every = \"200ms\" }]\n";

fn playing(camera: &Value) -> bool {
    text(camera, "state") == "playing"
}

/// A folder in which no bundle is, and where a file lies in place of the folder for pictures: nobody may write into that, the superuser
/// included.
fn poor(description: &str) -> Place {
    let place = Place::new(description);
    std::fs::write(place.folder.path().join("pictures"), "").unwrap();
    place
}

fn mend_pictures(place: &Place) {
    std::fs::remove_file(place.folder.path().join("pictures")).unwrap();
    std::fs::create_dir(place.folder.path().join("pictures")).unwrap();
}

fn bring_bundle(place: &Place, name: &str) {
    let elsewhere = tempfile::tempdir_in(place.folder.path()).unwrap();
    std::fs::rename(good("1").folder(elsewhere.path()), place.folder.path().join(name)).unwrap();
}

fn lacks(gateway: &Gateway) -> Vec<Value> {
    gateway.get("/api/v1/site")["lacks"].as_array().unwrap().clone()
}

#[track_caller]
fn until_lacks(gateway: &Gateway, count: usize) {
    until(&format!("{count} things are lacking"), || (lacks(gateway).len() == count).then_some(()));
}

#[test]
fn what_is_missing_costs_one_camera_and_is_found_when_it_comes() {
    let place = poor(SITE);
    let gateway = Gateway::start(&place.file, &[], &[]);
    gateway.camera("good", playing);
    let wall = gateway.camera("wall", |camera| !text(&camera["outputs"][0], "error").is_empty());
    assert!(playing(&wall), "an output is no part of the camera: {wall}");
    let bare = gateway.camera("bare", |camera| text(camera, "state") == "failed");
    assert_eq!(text(&bare, "reason"), "cannot-build");
    assert!(text(&bare, "text").contains("late-reds"), "{bare}");

    assert_eq!(gateway.get("/readyz")["ok"], true);
    let missing = lacks(&gateway);
    let keys: Vec<&str> = missing.iter().map(|lack| text(lack, "key")).collect();
    assert_eq!(keys, ["profile.people.stage.0.model", "camera.wall.output.0.path"], "{missing:#?}");
    assert!(missing.iter().all(|lack| lack["about"] == "machine" && text(lack, "place").contains("site.toml:")));
    let metrics = gateway.ask("GET /metrics", "").expect(200).text();
    for line in ["vigil_machine_lacks 2.0", "vigil_camera_state{camera=\"bare\",state=\"failed\"} 1.0"] {
        assert!(metrics.lines().any(|l| l == line), "{line} is not in\n{metrics}");
    }
    gateway.logged(|line| text(line, "level") == "ERROR" && text(line, "message").contains("this machine: `profile."));
    gateway.logged(|line| text(line, "level") == "WARN" && text(line, "message").contains("lacks 2 things"));
    gateway.logged(|line| text(line, "level") == "WARN" && text(line, "kind") == "output");

    let mut events = gateway.events("?kind=site&after=0", &[]);
    let told = events.find(|event| event["data"]["action"] == "lacks");
    assert_eq!(told["data"]["problems"].as_array().unwrap().len(), 2, "{told}");
    bring_bundle(&place, "late-reds");
    gateway.camera("bare", playing);
    mend_pictures(&place);
    gateway.camera("wall", |camera| {
        number(&camera["outputs"][0], "frames") > 0 && text(&camera["outputs"][0], "error").is_empty()
    });
    until_lacks(&gateway, 0);
    events.find(|event| event["data"]["action"] == "lacks" && event["data"]["problems"] == json!([]));
    assert_eq!(gateway.get("/api/v1/cameras/good")["reconnects"], 0);
    gateway.stop();
}

#[test]
fn the_analysis_alone_is_away_where_a_watchdog_stands_around_it() {
    let guarded =
        SITE.replace("watchdog.enabled = false", "watchdog = { backoff = \"50ms\", backoff-max = \"100ms\" }");
    let place = poor(&guarded);
    let gateway = Gateway::start(&place.file, &[], &[]);
    let mode = |camera: &Value, mode: &str| text(&camera["stages"]["watchdog"], "mode") == mode;
    let bare = gateway.camera("bare", |camera| playing(camera) && mode(camera, "bypassing"));
    gateway.camera("bare", |camera| number(camera, "frames") > number(&bare, "frames") + 5);
    bring_bundle(&place, "late-reds");
    let found = gateway.camera("bare", |camera| mode(camera, "analysing"));
    assert_eq!((playing(&found), number(&found, "reconnects")), (true, 0), "{found}");
    gateway.stop();
}

#[test]
fn a_reload_may_lack_what_runs_lacks_too_and_nothing_more() {
    let place = poor(SITE);
    let gateway = Gateway::start(&place.file, &["--no-watch"], &[]);
    gateway.camera("bare", |camera| text(camera, "state") == "failed");
    let more = format!("{SITE}[camera.more]\nuri = \"test:ball\"\n");
    place.replace(&more);
    gateway.ask("POST /api/v1/site/reload", "").expect(204);
    gateway.camera("more", playing);
    assert_eq!(lacks(&gateway).len(), 2);

    // Something new that is missing, and something that is wrong.
    let cars = "[camera.cars]\nuri = \"test:ball\"\nprofile = \"people\"\nstage.infer.model = \"late-cars\"\n";
    place.replace(&format!("{more}{cars}"));
    let answer = gateway.ask("POST /api/v1/site/reload", "").expect(422).json();
    let details = answer["details"].as_array().unwrap();
    let cause = details.iter().find(|detail| text(detail, "key") == "camera.cars.stage.infer.model");
    assert_eq!(cause.map(|cause| &cause["about"]), Some(&json!("machine")), "{answer}");
    place.replace(&more.replace("test:ball", "tset:ball"));
    gateway.ask("POST /api/v1/site/reload", "").expect(422);
    assert_eq!(gateway.get("/api/v1/cameras").as_array().unwrap().len(), 4);

    // The same by the API: the camera's own words count, not what others lack.
    let new = json!({ "id": "new", "camera": { "uri": "test:ball" } }).to_string();
    gateway.ask("POST /api/v1/cameras", &new).expect(201);
    gateway.camera("new", playing);
    let bad = json!({ "id": "bad", "camera": { "uri": "none.mp4" } }).to_string();
    let answer = gateway.ask("POST /api/v1/cameras", &bad).expect(422).json();
    let keys: Vec<&str> = answer["details"].as_array().unwrap().iter().map(|detail| text(detail, "key")).collect();
    assert_eq!(keys, ["camera.bad.uri"]);

    // A camera whose bundle vanished since does not keep others from coming.
    bring_bundle(&place, "late-reds");
    gateway.camera("bare", playing);
    until_lacks(&gateway, 1);
    std::fs::remove_dir_all(place.folder.path().join("late-reds")).unwrap();
    place.replace(&format!("{more}[camera.last]\nuri = \"test:ball\"\n"));
    gateway.ask("POST /api/v1/site/reload", "").expect(204);
    gateway.camera("last", playing);
    until_lacks(&gateway, 2);
    gateway.stop();
}

#[test]
fn a_port_in_use_costs_the_api_until_it_is_free() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().to_string();
    let place = poor(&SITE.replace("127.0.0.1:0", &port));
    let mut gateway = Gateway::spawn(&place.file, &[], &[]);
    gateway.told("READY=1");
    gateway.logged(|line| text(line, "level") == "ERROR" && text(line, "message").contains("the API cannot listen"));
    gateway.logged(|line| text(line, "camera") == "good" && text(line, "state") == "playing");
    drop(listener);
    gateway.logged(|line| text(line, "message").starts_with("the API listens on"));
    gateway.address = port.parse().ok();
    gateway.camera("good", playing);
    until_lacks(&gateway, 2);
    gateway.stop();
}

#[test]
fn the_check_tells_the_machine_from_the_description() {
    let place = poor(SITE);
    let check = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_vigil"));
        let output = command.arg("check").args(arguments).arg(&place.file).output().unwrap();
        (String::from_utf8(output.stdout).unwrap(), output.status.code())
    };
    let (told, code) = check(&[]);
    assert_eq!(code, Some(1), "{told}");
    assert!(told.ends_with(": 2 errors of this machine: the rest of the site can start\n"), "{told}");
    let told = check(&["--json"]).0;
    let report: Value = serde_json::from_str(&told).unwrap();
    assert_eq!((&report["good"], &report["starts"]), (&json!(false), &json!(true)));
    let about = |about: &str| report["problems"].as_array().unwrap().iter().filter(|p| p["about"] == about).count();
    assert_eq!((about("machine"), about("description")), (2, 0), "{report:#}");
}
