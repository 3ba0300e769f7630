//! `vigil run`, against the running process.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may")]

#[path = "common/gateway_rig.rs"]
mod rig;

use std::io::Read;
use std::path::Path;
use std::process::Command;

use rig::{Gateway, Place, number, text, until};
use rustix::process::Signal;
use serde_json::{Value, json};

/// A small test camera.
fn camera(id: &str) -> String {
    format!("[camera.{id}]\nuri = \"test:ball\"\ncaps = \"video/x-raw,width=160,height=120,framerate=15/1\"\n")
}

/// A site with these cameras, whose API listens on a port that is free.
fn site(cameras: &[&str]) -> String {
    let cameras: String = cameras.iter().map(|id| camera(id)).collect();
    format!("format = 1\nname = \"test\"\n[api]\nlisten = \"127.0.0.1:0\"\n{cameras}")
}

fn playing(camera: &Value) -> bool {
    text(camera, "state") == "playing"
}

fn ids(gateway: &Gateway) -> Vec<String> {
    let cameras = gateway.get("/api/v1/cameras");
    cameras.as_array().unwrap().iter().map(|camera| text(camera, "id").to_owned()).collect()
}

#[test]
fn a_site_starts_answers_and_ends_with_the_service_manager_knowing() {
    let output = "[[camera.b.output]]\nkind = \"file\"\npath = \"b.mp4\"\n";
    let place = Place::new(&(site(&["a", "b"]) + output + "[tile.all]\nsize = [320, 240]\n"));
    let gateway = Gateway::start(&place.file, &[], &[("WATCHDOG_USEC", "2000000")]);
    gateway.told("STATUS=2 of 2 cameras playing");
    gateway.told("WATCHDOG=1");
    gateway.told("WATCHDOG=1");
    let before = gateway.camera("a", playing);
    gateway.camera("a", |camera| number(camera, "frames") > number(&before, "frames"));
    assert_eq!(before["size"], json!([160, 120]));

    assert_eq!(gateway.get("/livez")["ok"], true);
    assert_eq!(gateway.get("/readyz")["ok"], true);
    let status = gateway.get("/api/v1/site");
    assert_eq!((text(&status, "name"), number(&status, "cameras"), number(&status, "playing")), ("test", 2, 2));
    assert_eq!(status["reading"]["taken"], true);
    assert_eq!(ids(&gateway), ["a", "b"]);

    let snapshot = gateway.ask("GET /api/v1/cameras/a/snapshot", "").expect(200);
    assert!(snapshot.head.to_ascii_lowercase().contains("content-type: image/jpeg"), "{}", snapshot.head);
    assert!(snapshot.body.starts_with(&[0xff, 0xd8, 0xff]) && snapshot.body.ends_with(&[0xff, 0xd9]), "{snapshot:?}");

    let metrics = gateway.ask("GET /metrics", "").expect(200).text();
    for line in ["vigil_camera_up{camera=\"a\"} 1.0", "vigil_cameras 2.0", "vigil_ready 1.0"] {
        assert!(metrics.lines().any(|l| l == line), "{line} is not in\n{metrics}");
    }
    assert_eq!(gateway.get("/api/v1/tiles")[0]["cameras"], json!(["a", "b"]));
    gateway.camera("b", |camera| number(&camera["outputs"][0], "frames") > 10);
    assert!(number(&gateway.get("/api/v1/statistics")["process"], "threads") > 2);

    assert_eq!(text(&gateway.ask("GET /api/v1/cameras/c", "").expect(404).json(), "error"), "there is no camera \"c\"");
    gateway.ask("GET /api/v1/cameras/c/snapshot", "").expect(404);
    gateway.ask("GET /api/v2", "").expect(404).json();
    gateway.ask("DELETE /livez", "").expect(405).json();

    let mut events = gateway.events("", &[]);
    gateway.signal(Signal::TERM);
    events.find(|event| event["data"]["action"] == "stopping");
    assert!(std::iter::from_fn(|| events.next()).count() < 100, "the stream ends");
    gateway.told("STOPPING=1");
    gateway.logged(|line| text(line, "message") == "ended");
    assert!(!gateway.log().iter().any(|line| text(line, "message").contains("not everything")), "{:#?}", gateway.log());
    gateway.stopped();
    let recording = std::fs::read(place.folder.path().join("b.mp4")).unwrap();
    assert!(recording.windows(4).any(|four| four == b"moov"), "the file has its index");
}

#[test]
fn a_description_that_does_not_check_does_not_start() {
    let place = Place::new("format = 1\nname = \"test\"\n[camera.gate]\nurri = \"test:ball\"\n");
    let mut gateway = Gateway::spawn(&place.file, &[], &[]);
    assert_eq!(gateway.ended().code(), Some(1));
    let line = gateway.logged(|line| text(line, "message").contains("urri"));
    assert!(text(&line, "message").contains("site.toml:4:1"), "{line}");

    let mut gateway = Gateway::spawn(&place.folder.path().join("none.toml"), &[], &[]);
    assert_eq!(gateway.ended().code(), Some(1));
    gateway.logged(|line| text(line, "message").contains("none.toml"));
}

#[test]
fn a_written_description_changes_only_what_it_touches() {
    let place = Place::new(&site(&["a", "b"]));
    let gateway = Gateway::start(&place.file, &[], &[]);
    let mut events = gateway.events("", &[]);
    let before = gateway.camera("a", playing);
    place.replace(&site(&["a", "c"]));
    let taken = events.find(|event| text(event, "kind") == "site");
    assert_eq!((text(&taken["data"], "action"), text(&taken["data"], "cause")), ("taken", "file"));
    assert_eq!(ids(&gateway), ["a", "c"]);
    gateway.camera("c", playing);
    let after = gateway.camera("a", |camera| number(camera, "frames") > number(&before, "frames"));
    assert_eq!((after["since-ns"].clone(), after["state"].clone()), (before["since-ns"].clone(), json!("playing")));

    place.replace(&site(&["a", "c", "d"]).replace("name", "naem"));
    let refused = events.find(|event| text(event, "kind") == "site");
    assert_eq!(text(&refused["data"], "action"), "refused");
    let status = gateway.get("/api/v1/site");
    assert_eq!(status["reading"]["taken"], false);
    let problems = status["reading"]["problems"].as_array().unwrap().clone();
    assert!(
        problems.iter().any(|p| text(p, "text").contains("name") && text(p, "place").contains("site.toml:2")),
        "{problems:?}"
    );
    assert_eq!(ids(&gateway), ["a", "c"]);
    gateway.logged(|line| text(line, "level") == "ERROR" && text(line, "message").contains("naem"));
    let metrics = gateway.ask("GET /metrics", "").expect(200).text();
    assert!(metrics.contains("vigil_description_taken 0.0"), "{metrics}");

    place.replace(&site(&["a", "c", "d"]));
    events.find(|event| event["data"]["action"] == "taken");
    assert_eq!(ids(&gateway), ["a", "c", "d"]);
    assert_eq!(gateway.camera("a", playing)["since-ns"], before["since-ns"]);
    gateway.stop();
}

#[test]
fn included_files_are_read_again_too_and_without_watching_only_when_asked() {
    let description = site(&["a"]).replace("[api]", "include = [\"more/*.toml\"]\n[api]");
    let place = Place::new(&description);
    let more = place.folder.path().join("more");
    std::fs::create_dir(&more).unwrap();
    let gateway = Gateway::start(&place.file, &[], &[]);
    std::fs::write(more.join("b.toml"), camera("b")).unwrap();
    gateway.camera("b", playing);
    gateway.stop();

    let gateway = Gateway::start(&place.file, &["--no-watch"], &[]);
    std::fs::write(more.join("c.toml"), camera("c")).unwrap();
    let mut events = gateway.events("?kind=site", &[]);
    gateway.signal(Signal::HUP);
    let taken = events.find(|_| true);
    assert_eq!(text(&taken["data"], "cause"), "signal", "the written file alone changes nothing");
    gateway.told("READY=1");
    assert_eq!(ids(&gateway), ["a", "b", "c"]);
    std::fs::write(more.join("c.toml"), "camera.c.urri = 1\n").unwrap();
    let answer = gateway.ask("POST /api/v1/site/reload", "").expect(422).json();
    assert!(text(&answer["details"][0], "place").contains("c.toml:1"), "{answer}");
    std::fs::remove_file(more.join("c.toml")).unwrap();
    gateway.ask("POST /api/v1/site/reload", "").expect(204);
    assert_eq!(ids(&gateway), ["a", "b"]);
    gateway.stop();
}

#[test]
fn with_a_token_nobody_is_heard_without_it() {
    let place = Place::new(&site(&["a"]).replace("[api]", "[api]\ntoken = { env = \"GATEWAY_TOKEN\" }"));
    let mut gateway = Gateway::start(&place.file, &[], &[("GATEWAY_TOKEN", "correct horse")]);
    for request in [
        "GET /api/v1/cameras",
        "GET /api/v1/events",
        "GET /api/v1/openapi.json",
        "GET /metrics",
        "POST /api/v1/cameras/a/disable",
        "DELETE /api/v1/cameras/a",
        "GET /nothing",
    ] {
        let answer = gateway.ask(request, "").expect(401);
        assert!(answer.head.to_ascii_lowercase().contains("www-authenticate: bearer"), "{}", answer.head);
        gateway.ask_with(request, &[("Authorization", "Bearer wrong horse")], "").expect(401);
    }
    gateway.ask("GET /livez", "").expect(200);
    gateway.ask("GET /readyz", "").expect(200);
    gateway.token = Some("correct horse".into());
    assert_eq!(ids(&gateway), ["a"]);
    gateway.ask_with("GET /api/v1/cameras", &[("Host", "gateway.example")], "").expect(200);

    // Another token, without another port.
    std::fs::write(place.folder.path().join("token"), "battery staple\n").unwrap();
    place.replace(&site(&["a"]).replace("[api]", "[api]\ntoken = { file = \"token\" }"));
    until("the new token counts", || (gateway.ask("GET /api/v1/site", "").status == 401).then_some(()));
    gateway.token = Some("battery staple".into());
    gateway.ask("GET /api/v1/site", "").expect(200);
    let all = format!("{:?}{}", gateway.log(), gateway.get("/api/v1/site"));
    assert!(!all.contains("correct horse") && !all.contains("battery staple"), "{all}");
    gateway.stop();
}

#[test]
fn without_a_token_only_the_machine_itself_is_heard() {
    let place = Place::new(&site(&["a"]));
    let gateway = Gateway::start(&place.file, &[], &[]);
    gateway.ask_with("GET /api/v1/cameras", &[("Host", "rebound.example")], "").expect(403);
    let foreign = [("Origin", "http://evil.example")];
    gateway.ask_with("POST /api/v1/cameras/a/disable", &foreign, "").expect(403);
    let own = format!("http://{}", gateway.address.unwrap());
    gateway.ask_with("GET /api/v1/cameras", &[("Origin", &own)], "").expect(200);
    // A picture in a page of another site has no Origin.
    gateway.ask_with("GET /api/v1/events", &[("Sec-Fetch-Site", "cross-site")], "").expect(403);
    gateway.ask_with("GET /api/v1/cameras", &[("Sec-Fetch-Site", "same-origin")], "").expect(200);
    gateway.stop();

    let place = Place::new(&site(&["a"]).replace("127.0.0.1:0", "0.0.0.0:0"));
    let mut gateway = Gateway::spawn(&place.file, &[], &[]);
    assert_eq!(gateway.ended().code(), Some(1));
    gateway.logged(|line| line.to_string().contains("token"));
}

#[test]
fn without_a_token_nobody_has_code_run_files_written_or_secrets_sent() {
    let lost =
        "[camera.lost]\nuri = \"rtsp://127.0.0.1:9/x\"\nuser = \"joe\"\npassword = { env = \"CAMERA_PASSWORD\" }\n";
    let place = Place::new(&(analysed("") + lost));
    let secrets = [("CAMERA_PASSWORD", "s3cret-word"), ("GATEWAY_TOKEN", "correct horse")];
    let gateway = Gateway::start(&place.file, &[], &secrets);
    let password = json!({ "env": "CAMERA_PASSWORD" });
    let refused = [
        json!({ "launch": "videotestsrc ! tee" }),
        json!({ "uri": "test:ball", "profile": "p", "stage": { "infer": { "ort-library": "/tmp/evil.so" } } }),
        json!({ "uri": "test:ball", "output": [{ "kind": "file", "path": place.folder.path().join("x.mp4") }] }),
        json!({ "uri": "rtsp://127.0.0.1:10/x", "user": "joe", "password": &password }),
        json!({ "uri": "rtsp://127.0.0.1:9/x", "user": "joe", "password": { "env": "GATEWAY_TOKEN" } }),
    ];
    let before = gateway.get("/api/v1/changes");
    for camera in &refused {
        let answer = gateway.ask("POST /api/v1/cameras", &json!({ "id": "x", "camera": camera }).to_string());
        assert!(text(&answer.expect(403).json(), "error").contains("api.token"), "{camera}");
        gateway.ask("PUT /api/v1/cameras/a?persist=true", &camera.to_string()).expect(403);
    }
    assert_eq!((ids(&gateway), gateway.get("/api/v1/changes")), (vec!["a".to_owned(), "lost".to_owned()], before));
    // Where the site logs in already, a caller may change how.
    let known = json!({ "uri": "rtsp://127.0.0.1:9/x", "user": "joe", "password": &password, "transport": "udp" });
    gateway.ask("PUT /api/v1/cameras/lost", &known.to_string()).expect(200);
    let harmless = json!({ "uri": "test:ball", "profile": "p", "stage": { "infer": { "interval": 3 } } });
    gateway.ask("PUT /api/v1/cameras/a", &harmless.to_string()).expect(200);
    gateway.stop();

    place.replace(&(analysed("") + lost).replace("[api]", "[api]\ntoken = { env = \"GATEWAY_TOKEN\" }"));
    let mut gateway = Gateway::start(&place.file, &[], &secrets);
    gateway.token = Some("correct horse".into());
    for camera in [&refused[0], &refused[3]] {
        gateway.ask("PUT /api/v1/cameras/x", &camera.to_string()).expect(201);
        gateway.ask("DELETE /api/v1/cameras/x", "").expect(204);
    }
    gateway.stop();
}

#[test]
fn cameras_are_added_switched_and_removed_and_what_persists_is_there_after_a_restart() {
    let place = Place::new(&site(&["a", "b"]));
    let gateway = Gateway::start(&place.file, &[], &[]);
    let new = |id: &str| json!({ "id": id, "camera": { "uri": "test:snow" } }).to_string();
    let added = gateway.ask("POST /api/v1/cameras?persist=true", &new("kept")).expect(201).json();
    assert_eq!(text(&added, "id"), "kept");
    gateway.ask("POST /api/v1/cameras", &new("passing")).expect(201);
    gateway.camera("kept", playing);
    gateway.camera("passing", playing);
    gateway.ask("POST /api/v1/cameras", &new("kept")).expect(409);
    gateway.ask("PUT /api/v1/cameras/kept?persist=true", &json!({ "uri": "test:smpte" }).to_string()).expect(200);
    assert!(text(&gateway.camera("kept", playing), "uri").contains("smpte"));

    let wrong = json!({ "id": "x", "camera": { "uri": "test:ball", "profile": "none" } }).to_string();
    let refused = gateway.ask("POST /api/v1/cameras", &wrong).expect(422).json();
    assert_eq!(text(&refused["details"][0], "key"), "camera.x.profile", "{refused}");
    assert_eq!(refused["details"][0]["place"], Value::Null, "it stands in no file: {refused}");
    let misspelt = json!({ "id": "x", "camera": { "urri": "test:ball" } }).to_string();
    let refused = gateway.ask("POST /api/v1/cameras", &misspelt).expect(422).json();
    assert_eq!(text(&refused["details"][0], "key"), "camera.x.urri", "{refused}");
    assert!(text(&refused["details"][0], "text").contains("did you mean `uri`?"), "{refused}");
    assert_eq!(refused["details"][0]["place"], Value::Null, "{refused}");
    // What a file may not say, a caller may not either.
    let out_of_range = json!({ "uri": "test:ball", "decode": { "threads": 4_000_000_000_u64 }, "max-fps": 0 });
    let refused = gateway.ask("PUT /api/v1/cameras/x", &out_of_range.to_string()).expect(422).json();
    assert_eq!(refused["details"].as_array().unwrap().len(), 2, "{refused}");
    gateway.ask("POST /api/v1/cameras", "{").expect(400).json();
    gateway.ask("POST /api/v1/cameras?persits=true", &new("x")).expect(400).json();

    gateway.ask("POST /api/v1/cameras/a/disable?persist=true", "").expect(200);
    gateway.camera("a", |camera| text(camera, "state") == "disabled");
    gateway.ask("POST /api/v1/cameras/b/disable", "").expect(200);
    gateway.camera("b", |camera| text(camera, "state") == "disabled");
    gateway.ask("POST /api/v1/cameras/none/enable", "").expect(404);
    gateway.ask("DELETE /api/v1/cameras/none", "").expect(404);
    let changes = gateway.get("/api/v1/changes");
    assert_eq!(changes.as_object().unwrap().keys().collect::<Vec<_>>(), ["a", "b", "kept", "passing"]);
    assert_eq!(std::fs::read_to_string(&place.file).unwrap(), site(&["a", "b"]), "the user's file is the user's");
    gateway.stop();

    let gateway = Gateway::start(&place.file, &[], &[]);
    assert_eq!(ids(&gateway), ["a", "b", "kept"]);
    gateway.camera("a", |camera| text(camera, "state") == "disabled");
    gateway.camera("b", playing);
    assert!(text(&gateway.camera("kept", playing), "uri").contains("smpte"));
    gateway.ask("DELETE /api/v1/cameras/b?persist=true", "").expect(204);
    gateway.ask("DELETE /api/v1/cameras/kept?persist=true", "").expect(204);
    assert_eq!(ids(&gateway), ["a"]);
    place.replace(&site(&["a", "b", "c"]));
    gateway.camera("c", playing);
    assert_eq!(ids(&gateway), ["a", "c"], "what was changed through the API lies over the description");
    gateway.ask("DELETE /api/v1/changes/b", "").expect(204);
    gateway.camera("b", playing);
    gateway.ask("DELETE /api/v1/changes", "").expect(204);
    gateway.camera("a", playing);
    assert!(!place.folder.path().join("site.changes").exists());
    gateway.stop();
}

#[test]
fn changes_that_do_not_check_any_more_do_not_stop_the_site() {
    let place = Place::new(&site(&["a"]));
    let changes = place.folder.path().join("site.changes");
    let kept = "format = 1\n[camera.x.camera]\nuri = \"test:ball\"\nprofile = \"gone\"\n";
    std::fs::write(&changes, kept).unwrap();
    let gateway = Gateway::start(&place.file, &[], &[]);
    assert_eq!(ids(&gateway), ["a"]);
    let line = gateway.logged(|line| text(line, "message").contains("left out"));
    assert!(text(&line, "message").contains("gone"), "{line}");
    assert_eq!(std::fs::read_to_string(&changes).unwrap(), kept);
    gateway.stop();
}

#[test]
fn changes_that_are_left_out_are_kept_beside_new_ones_until_they_check_or_are_forgotten() {
    let place = Place::new(&site(&["a"]));
    let changes = place.folder.path().join("site.changes");
    let kept = "format = 1\n[camera.x.camera]\nuri = \"test:ball\"\nprofile = \"gone\"\n\
        [camera.y.camera]\nuri = \"test:snow\"\n";
    std::fs::write(&changes, kept).unwrap();
    let gateway = Gateway::start(&place.file, &[], &[]);
    assert_eq!(ids(&gateway), ["a", "y"], "one that does not check takes no other one with it");
    let told = gateway.get("/api/v1/changes");
    assert_eq!((&told["x"]["left-out"], &told["y"]["left-out"]), (&json!(true), &Value::Null), "{told}");
    gateway.ask("POST /api/v1/cameras/a/disable?persist=true", "").expect(200);
    let written = std::fs::read_to_string(&changes).unwrap();
    assert!(written.contains("gone") && written.contains("test:snow") && written.contains("camera.a"), "{written}");

    place.replace(&(site(&["a"]) + "[profile.gone]\n"));
    gateway.camera("x", playing);
    assert_eq!(gateway.get("/api/v1/changes")["x"]["left-out"], Value::Null);
    gateway.stop();

    place.replace(&site(&["a"]));
    let gateway = Gateway::start(&place.file, &[], &[]);
    assert_eq!(ids(&gateway), ["a", "y"]);
    gateway.ask("DELETE /api/v1/changes", "").expect(204);
    assert!(!changes.exists(), "what was left out is forgotten as well");
    gateway.stop();
}

#[test]
fn a_port_is_opened_to_the_network_without_a_restart() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let token = "[api]\ntoken = { env = \"GATEWAY_TOKEN\" }";
    let described = |address: &str| {
        let listen = format!("listen = \"{address}:{port}\"");
        site(&["a"]).replace("listen = \"127.0.0.1:0\"", &listen).replace("[api]", token)
    };
    let place = Place::new(&described("127.0.0.1"));
    let mut gateway = Gateway::start(&place.file, &["--no-watch"], &[("GATEWAY_TOKEN", "correct horse")]);
    gateway.token = Some("correct horse".into());
    place.replace(&described("0.0.0.0"));
    gateway.ask("POST /api/v1/site/reload", "").expect(204);
    gateway.logged(|line| text(line, "message") == format!("the API listens on http://0.0.0.0:{port}"));
    assert_eq!(ids(&gateway), ["a"]);

    // A port of somebody else's: the one before listens again.
    place.replace(&described("127.0.0.1"));
    gateway.ask("POST /api/v1/site/reload", "").expect(204);
    let _other = std::net::TcpListener::bind(("127.0.0.2", port)).unwrap();
    place.replace(&described("127.0.0.2"));
    gateway.ask("POST /api/v1/site/reload", "").expect(422);
    assert_eq!(ids(&gateway), ["a"]);
    gateway.stop();
}

#[test]
fn a_folder_of_includes_may_be_replaced() {
    let description = site(&["a"]).replace("[api]", "include = [\"more/*.toml\"]\n[api]");
    let place = Place::new(&description);
    let more = place.folder.path().join("more");
    std::fs::create_dir(&more).unwrap();
    std::fs::write(more.join("b.toml"), camera("b")).unwrap();
    let gateway = Gateway::start(&place.file, &[], &[]);
    assert_eq!(ids(&gateway), ["a", "b"]);
    let new = place.folder.path().join("new");
    std::fs::create_dir(&new).unwrap();
    std::fs::write(new.join("c.toml"), camera("c")).unwrap();
    std::fs::rename(&more, place.folder.path().join("old")).unwrap();
    std::fs::rename(&new, &more).unwrap();
    until("what is in the new folder counts", || (ids(&gateway) == ["a", "c"]).then_some(()));
    std::fs::write(more.join("d.toml"), camera("d")).unwrap();
    until("the new folder is watched", || (ids(&gateway) == ["a", "c", "d"]).then_some(()));
    gateway.stop();
}

#[test]
fn what_mends_a_refused_description_is_seen() {
    let place = Place::new(&site(&["a"]));
    let more = place.folder.path().join("more");
    std::fs::create_dir(&more).unwrap();
    let gateway = Gateway::start(&place.file, &[], &[]);
    let mut events = gateway.events("?kind=site", &[]);
    let mut told = |action: &str| events.find(|event| text(&event["data"], "action") == action);
    let included = site(&["a"]).replace("[api]", "include = [\"more/*.toml\"]\n[api]");
    // A file that is not even read well, and one that does not check; with an API change in between.
    for (bad, id) in [("camera.z.urri = 1\n", "z"), ("[camera.y]\nuri = \"test:ball\"\nprofile = \"none\"\n", "y")] {
        let file = more.join(format!("{id}.toml"));
        std::fs::write(&file, bad).unwrap();
        place.replace(&included);
        told("refused");
        if id == "y" {
            gateway.ask("POST /api/v1/cameras/a/enable", "").expect(200);
        }
        std::fs::write(&file, camera(id)).unwrap();
        gateway.camera(id, playing);
        place.replace(&site(&["a"]));
        until("it is gone again", || (ids(&gateway) == ["a"]).then_some(()));
        std::fs::remove_file(&file).unwrap();
    }
    gateway.stop();
}

#[test]
fn requests_during_the_end_hear_of_it() {
    // It lets nobody stop it for longer than the end may take.
    let slow = "[camera.slow]\nlaunch = \"videotestsrc ! identity sleep-time=60000000\"\n";
    let place = Place::new(&(site(&["a"]) + slow));
    let gateway = Gateway::start(&place.file, &["--drain", "30s"], &[]);
    gateway.camera("a", playing);
    gateway.signal(Signal::TERM);
    let answer = until("the gateway takes nothing any more", || {
        let answer = gateway.ask("POST /api/v1/cameras/a/disable", "");
        (answer.status == 503).then_some(answer)
    });
    assert!(text(&answer.json(), "error").contains("end"), "{answer:?}");
    assert_eq!(gateway.get("/livez")["ok"], true);
    gateway.ask("GET /readyz", "").expect(503);
}

#[test]
fn connections_are_counted() {
    let place = Place::new(&site(&[]));
    let gateway = Gateway::start(&place.file, &[], &[]);
    // Half a request each, of somebody who has not shown who he is.
    let idle: Vec<_> = (0..256).map(|_| gateway.send_raw("GET /livez HTTP/1.1\r\nHost: ")).collect();
    let mut one_more = gateway.send_raw("GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    one_more.set_read_timeout(Some(std::time::Duration::from_secs(1))).unwrap();
    let waits = one_more.read(&mut [0; 1]).unwrap_err();
    assert_eq!(waits.kind(), std::io::ErrorKind::WouldBlock, "there is no place for it");
    drop(idle);
    one_more.set_read_timeout(Some(rig::LONG)).unwrap();
    let mut answer = String::new();
    one_more.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    gateway.stop();
}

#[test]
fn what_is_changed_is_shown_without_the_secrets_of_addresses() {
    let place = Place::new(&site(&["a"]));
    let gateway = Gateway::start(&place.file, &[], &[]);
    let camera = json!({ "uri": "http://127.0.0.1:9/v.cgi?user=admin&pwd=geheim99" }).to_string();
    gateway.ask("PUT /api/v1/cameras/http", &camera).expect(201);
    gateway.logged(|line| text(line, "camera") == "http" && text(line, "level") == "WARN");
    let all = format!("{:?}{}", gateway.log(), gateway.get("/api/v1/changes"));
    assert!(all.contains("pwd=…") && !all.contains("geheim99"), "{all}");
    gateway.stop();
}

#[test]
fn events_come_as_they_happen_and_those_that_were_missed_come_first() {
    let place = Place::new(&site(&["a"]));
    let gateway = Gateway::start(&place.file, &[], &[]);
    gateway.camera("a", playing);
    let mut all = gateway.events("?after=0", &[]);
    let first = all.next().unwrap();
    assert_eq!(number(&first, "number"), 1);
    let played = all.find(|event| text(event, "camera") == "a" && event["data"]["state"] == "playing");
    let mut numbers = vec![number(&played, "number")];

    let mut later = gateway.events("?camera=a", &[("Last-Event-ID", &numbers[0].to_string())]);
    gateway.ask("POST /api/v1/cameras/a/disable", "").expect(200);
    let off = |event: &Value| event["data"]["state"] == "disabled";
    let heard = later.find(off);
    assert!(number(&heard, "number") > numbers[0]);
    assert_eq!(text(&heard, "camera"), "a");
    numbers.extend(std::iter::from_fn(|| all.next()).map(|event| number(&event, "number")).take(1));
    assert_eq!(numbers[1], numbers[0] + 1, "none is left out, none comes twice");

    let mut missed = gateway.events(&format!("?kind=camera&after={}", numbers[0]), &[]);
    assert!(off(&missed.find(|_| true)) || off(&missed.find(off)));
    gateway.stop();
}

#[test]
fn reloads_and_changes_under_load_leave_other_cameras_alone() {
    let place = Place::new(&site(&["a", "b"]));
    let gateway = Gateway::start(&place.file, &[], &[]);
    let before = [gateway.camera("a", playing), gateway.camera("b", playing)];
    std::thread::scope(|scope| {
        for worker in 0..3 {
            let gateway = &gateway;
            scope.spawn(move || {
                for n in 0..5 {
                    let id = format!("w{worker}n{n}");
                    let new = json!({ "id": id, "camera": { "uri": "test:snow" } }).to_string();
                    gateway.ask("POST /api/v1/cameras", &new).expect(201);
                    gateway.ask(&format!("DELETE /api/v1/cameras/{id}"), "").expect(204);
                }
            });
        }
        for _ in 0..5 {
            gateway.signal(Signal::HUP);
            gateway.ask("POST /api/v1/site/reload", "").expect(204);
        }
    });
    assert_eq!(ids(&gateway), ["a", "b"]);
    for camera in before {
        let id = text(&camera, "id").to_owned();
        let after = gateway.camera(&id, |now| number(now, "frames") > number(&camera, "frames"));
        assert_eq!((after["since-ns"].clone(), number(&after, "reconnects")), (camera["since-ns"].clone(), 0));
    }
    assert_eq!(gateway.get("/livez")["ok"], true);
    gateway.stop();
}

#[test]
fn a_camera_that_is_away_is_told_without_its_password() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let lost = format!(
        "[camera.lost]\nuri = \"rtsp://127.0.0.1:{port}/x\"\nuser = \"joe\"\npassword = {{ env = \"CAMERA_PASSWORD\" }}\n"
    );
    let place = Place::new(&(site(&["a"]) + &lost));
    let gateway = Gateway::start(&place.file, &["--log-level", "debug"], &[("CAMERA_PASSWORD", "s3cret-word")]);
    let camera = gateway.camera("lost", |camera| text(camera, "state") == "lost");
    assert_eq!(text(&camera, "reason"), "refused", "{camera}");
    gateway.camera("a", playing);
    gateway.told("STATUS=1 of 2 cameras playing");
    gateway.logged(|line| text(line, "camera") == "lost" && text(line, "level") == "WARN");
    let all = [
        format!("{:?}", gateway.log()),
        gateway.ask("GET /api/v1/cameras", "").text(),
        gateway.ask("GET /metrics", "").text(),
        gateway.ask("GET /api/v1/statistics", "").text(),
    ];
    assert!(all.iter().all(|text| !text.contains("s3cret-word")), "{all:#?}");
    gateway.stop();
}

/// A site whose camera runs a small model under a watchdog.
fn analysed(watchdog: &str) -> String {
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/models/red.onnx");
    let stage = format!(
        "[[profile.p.stage]]\nelement = \"vigilinfer\"\nmodel = \"{}\"\nprobation-frames = 0\nprobation-time = \"0s\"\n",
        model.display()
    );
    format!("{}profile = \"p\"\n[profile.p.watchdog]\n{watchdog}\n{stage}", site(&["a"]))
}

#[test]
fn a_model_is_swapped_and_stays_swapped_after_a_restart_if_it_is_to() {
    let place = Place::new(&analysed(""));
    let gateway = Gateway::start(&place.file, &[], &[]);
    let fresh = |camera: &Value| camera["stages"]["infer"]["fresh"].as_u64().is_some_and(|fresh| fresh > 0);
    gateway.camera("a", fresh);
    let mut events = gateway.events("?kind=vigil-model", &[]);
    // A path is relative to the description, as in the description itself.
    let relative = "models/other.onnx";
    let other = place.folder.path().join(relative);
    std::fs::create_dir(place.folder.path().join("models")).unwrap();
    let original = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/models/red.onnx");
    std::fs::copy(&original, &other).unwrap();
    let missing = json!({ "model": "/no/such/model.onnx" }).to_string();
    gateway.ask("POST /api/v1/cameras/a/swap-model?persist=true", &missing).expect(202);
    events.find(|event| event["data"]["phase"] == "rejected");
    assert_eq!(gateway.get("/api/v1/changes"), json!({}), "what was rejected leaves no trace");

    let swap = json!({ "model": relative, "stage": "infer" }).to_string();
    let begun = gateway.ask("POST /api/v1/cameras/a/swap-model?persist=true", &swap).expect(202).json();
    assert_eq!(text(&begun[0], "stage"), "infer");
    events.find(|event| event["data"]["phase"] == "confirmed");
    let kept = until("the swap is kept", || {
        let changes = gateway.get("/api/v1/changes");
        changes["a"]["model"]["infer"].as_str().map(str::to_owned)
    });
    assert_eq!(Path::new(&kept), other);
    assert_eq!(number(&gateway.camera("a", playing), "reconnects"), 0);

    gateway.ask("POST /api/v1/cameras/a/swap-model", &json!({ "model": "x", "stage": "none" }).to_string()).expect(409);
    gateway.ask("POST /api/v1/cameras/z/swap-model", &swap).expect(404);

    let mode = |wanted: &'static str| move |camera: &Value| camera["stages"]["watchdog"]["mode"] == wanted;
    gateway.ask("POST /api/v1/cameras/a/bypass", "{\"bypass\":true}").expect(204);
    gateway.camera("a", mode("bypassing"));
    gateway.ask("POST /api/v1/cameras/a/bypass", "{\"bypass\":false}").expect(204);
    gateway.camera("a", mode("analysing"));
    gateway.stop();

    let gateway = Gateway::start(&place.file, &[], &[]);
    gateway.camera("a", fresh);
    assert_eq!(gateway.get("/api/v1/changes")["a"]["model"]["infer"], json!(other));
    gateway.stop();
}

#[test]
fn a_camera_that_was_moved_learns_anew_what_is_usual() {
    let drift = "[[profile.p.stage]]\nelement = \"vigildrift\"\nbaseline = \"usual/{camera}.json\"\n";
    let place = Place::new(&format!("{}{drift}{}", analysed(""), camera("bare")));
    let gateway = Gateway::start(&place.file, &[], &[]);
    gateway.camera("a", |camera| camera["stages"]["drift"]["fresh"].as_u64().is_some_and(|fresh| fresh > 0));
    gateway.camera("bare", playing);
    let file = place.folder.path().join("usual/a.json");
    assert!(!file.exists(), "it is written every hour");
    gateway.ask("POST /api/v1/cameras/a/relearn", "").expect(204);
    let kept =
        until("the baseline is written at once", || serde_json::from_slice::<Value>(&std::fs::read(&file).ok()?).ok());
    assert_eq!((text(&kept, "camera"), &kept["known"]["windows"]), ("a", &json!([])));
    assert_eq!(text(&gateway.camera("a", playing)["stages"]["drift"], "state"), "learning");

    let refused = gateway.ask("POST /api/v1/cameras/bare/relearn", "").expect(409);
    assert!(refused.text().contains("no stage vigildrift"), "{refused:?}");
    gateway.ask("POST /api/v1/cameras/none/relearn", "").expect(404);
    gateway.stop();
}

#[test]
fn an_exhausted_watchdog_ends_the_process_if_it_is_to() {
    let description = analysed("max-restarts = 1\nbackoff = \"10ms\"\n").replace("red.onnx", "no-such-model.onnx");
    let broken =
        description.replace("element = \"vigilinfer\"", "element = \"identity\"\nerror-after = 3\nname = \"broken\"");
    let broken: String = broken
        .lines()
        .filter(|l| !l.starts_with("model") && !l.starts_with("probation"))
        .fold(String::new(), |all, l| all + l + "\n");
    let place = Place::new(&broken);
    let mut gateway = Gateway::start(&place.file, &["--exit-when-exhausted", "1ms"], &[]);
    assert_eq!(gateway.ended().code(), Some(3), "{:#?}", gateway.log());
    gateway.logged(|line| text(line, "camera") == "a" && text(line, "message").contains("exhausted"));
}

#[test]
fn the_recorded_description_of_the_api_is_the_one_that_is_served() {
    let output = Command::new(env!("CARGO_BIN_EXE_vigil")).args(["schema", "openapi"]).output().unwrap();
    assert!(output.status.success());
    let printed = String::from_utf8(output.stdout).unwrap();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/schema/openapi.json");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, &printed).unwrap();
    }
    let recorded = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(recorded == printed, "docs/schema/openapi.json is old: UPDATE_DOCS=1 cargo nextest run --test gateway");
    let document: Value = serde_json::from_str(&printed).unwrap();

    // All references lead somewhere.
    let text = document.to_string();
    for part in text.split("\"$ref\":\"#").skip(1) {
        let pointer = part.split('"').next().unwrap();
        assert!(document.pointer(pointer).is_some(), "{pointer} leads nowhere");
    }
    // Every path is there, and is described in words.
    let place = Place::new(&site(&[]));
    let gateway = Gateway::start(&place.file, &[], &[]);
    assert_eq!(gateway.get("/api/v1/openapi.json"), document);
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            assert!(!rig::text(operation, "summary").is_empty() && !rig::text(operation, "operationId").is_empty());
            if path == "/api/v1/events" {
                continue;
            }
            let request = format!("{} {}", method.to_uppercase(), path.replace("{id}", "none"));
            let answer = gateway.ask(&request, "");
            assert!(!matches!(answer.status, 405 | 500..), "{request}: {answer:?}");
            assert!(!answer.text().contains("there is nothing here"), "{request}");
        }
    }
    gateway.stop();
}

#[test]
fn the_service_file_is_one_that_systemd_takes() {
    let unit = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/vigil.service");
    let text = std::fs::read_to_string(&unit).unwrap();
    let Ok(output) = Command::new("systemd-analyze").arg("--version").output() else {
        eprintln!("skipped: there is no systemd-analyze");
        return;
    };
    assert!(output.status.success());
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path().join("vigil.service");
    std::fs::write(&here, text.replace("/usr/bin/vigil", env!("CARGO_BIN_EXE_vigil"))).unwrap();
    let output = Command::new("systemd-analyze").args(["verify", "--man=no"]).arg(&here).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() && !said.contains("vigil.service:"), "{said}");
}
