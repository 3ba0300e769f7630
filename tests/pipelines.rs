//! The site descriptions of pipelines/, as they are but for ports and the clip's place: checked, planned and run.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may")]

mod common;

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use common::live::LONG;
use gstvigil::site::live::{Site, load};
use gstvigil::site::status::State;

fn pipelines() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("pipelines")
}

/// The set-up's clip, if it and the bundle `people` are here.
fn clip() -> Option<PathBuf> {
    let home = gstvigil::paths::bundle_dirs().into_iter().find(|folder| folder.join("people/bundle.toml").is_file());
    let clip = home.as_ref().and_then(|bundles| bundles.parent()).map(|home| home.join("clips/vtest.avi"));
    let clip = clip.filter(|clip| clip.is_file());
    if clip.is_none() {
        eprintln!("skipped: the set-up's clip and bundle are not here; make setup installs them");
    }
    clip
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Copies a description, with other ports in it.
fn copied(name: &str, folder: &Path, ports: &[(&str, u16)]) -> PathBuf {
    let mut text = std::fs::read_to_string(pipelines().join(name)).unwrap();
    for (written, port) in ports {
        text = text.replace(&format!("127.0.0.1:{written}"), &format!("127.0.0.1:{port}"));
    }
    let path = folder.join(name);
    std::fs::write(&path, text).unwrap();
    path
}

/// The command must be content with a description that has this camera.
fn accepted(path: &Path, camera: &str) {
    for arguments in [vec!["check"], vec!["plan"], vec!["plan", "--format", "mermaid"]] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_vigil"));
        let (out, err) = common::output(command.args(&arguments).arg(path));
        assert!(arguments[0] == "check" || out.contains(camera), "{out}{err}");
    }
}

fn started(path: &Path) -> Site {
    common::init();
    let (_, plan, warnings) = load::load(path).unwrap_or_else(|problems| panic!("{problems}"));
    assert_eq!(warnings.to_string(), "");
    let site = Site::new();
    site.apply(plan);
    site
}

#[track_caller]
fn until(what: &str, site: &Site, done: impl Fn(&Site) -> bool) {
    let end = Instant::now() + LONG;
    while !done(site) {
        assert!(Instant::now() < end, "waited in vain for {what}: {:#?}", site.cameras());
        std::thread::park_timeout(Duration::from_millis(50));
    }
}

fn plays(site: &Site, frames: u64) -> bool {
    site.cameras().iter().all(|camera| camera.state == State::Playing && camera.frames >= frames)
}

#[test]
fn each_description_is_one_of_those_that_are_run_here() {
    let files = std::fs::read_dir(pipelines()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut descriptions: Vec<String> = files.filter(|name| name.ends_with(".toml")).collect();
    descriptions.sort();
    assert_eq!(descriptions, ["demo-cameras.toml", "demo-site.toml", "site.toml"]);
}

#[test]
fn the_example_plays() {
    if clip().is_none() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let text = std::fs::read_to_string(pipelines().join("site.toml")).unwrap();
    let port = free_port();
    let path = folder.path().join("site.toml");
    std::fs::write(&path, format!("{text}\n[rtsp]\nlisten = \"127.0.0.1:{port}\"\n")).unwrap();
    accepted(&path, "gate");
    let site = started(&path);
    until("both pictures", &site, |site| plays(site, 30));
    let watched = "rtspsrc location=rtsp://127.0.0.1:PORT/all protocols=tcp ! rtph264depay ! avdec_h264 ! fakesink num-buffers=10";
    common::live::write(&watched.replace("PORT", &port.to_string()));
    assert!(site.stop(LONG));
}

#[test]
fn the_demo_plays() {
    let Some(clip) = clip() else { return };
    let folder = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(clip, folder.path().join("vtest.avi")).unwrap();
    let ports = [("8555", free_port()), ("8686", free_port()), ("8687", free_port())];
    let cameras = copied("demo-cameras.toml", folder.path(), &ports);
    let site = copied("demo-site.toml", folder.path(), &ports);
    accepted(&cameras, "north");
    accepted(&site, "north");
    let cameras = started(&cameras);
    until("the clip", &cameras, |site| plays(site, 5));
    let site = started(&site);
    until("four cameras", &site, |site| plays(site, 20));
    assert!(site.stop(LONG) && cameras.stop(LONG));
    for name in ["north.jsonl", "east.jsonl", "south.jsonl", "west.jsonl"] {
        let records = std::fs::read_to_string(folder.path().join(name)).unwrap();
        assert!(records.lines().count() >= 20 && records.contains("\"fresh\""), "{name}");
    }
    assert!(std::fs::metadata(folder.path().join("all.mp4")).unwrap().len() > 10_000);
}
