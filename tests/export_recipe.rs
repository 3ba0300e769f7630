//! The first section of docs/export.md, done as it is written: a broker, a gateway, a reader.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may")]

#[path = "common/broker.rs"]
mod broker;
#[allow(dead_code, reason = "each test binary uses a part")]
#[path = "common/gateway_rig.rs"]
mod rig;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use broker::program;
use rig::{Gateway, until};
use serde_json::Value;

/// A process that ends with the value.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The fenced blocks of the section, in their order.
fn blocks() -> Vec<String> {
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/export.md")).unwrap();
    let section =
        page.split("\n## ").find(|part| part.starts_with("From a camera to your screen")).expect("the section");
    section.split("```").skip(1).step_by(2).map(|block| block.split_once('\n').unwrap().1.to_owned()).collect()
}

/// The broker as the block sets it up, in a folder and on a port of the test's own.
fn set_up(block: &str, folder: &Path) -> (Running, u16) {
    let passwords = folder.join("passwords");
    let ours = |text: &str| text.replace("/etc/mosquitto/passwords", &passwords.display().to_string());
    for line in block.lines().filter_map(|line| line.strip_prefix("sudo mosquitto_passwd ")) {
        let mut command = Command::new(program("mosquitto_passwd").unwrap());
        assert!(command.args(ours(line).split(' ')).status().unwrap().success(), "{line}");
    }
    let config = block.split('\'').nth(1).unwrap().replace("\\n", "\n");
    assert!(config.contains("listener 1883\n"), "{config}");
    for _ in 0..5 {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        // It would become another user, who cannot read the test's folder.
        let text = format!("user root\n{}", ours(&config).replace("1883", &format!("{port} 127.0.0.1")));
        std::fs::write(folder.join("vigil.conf"), text).unwrap();
        let mut command = Command::new(program("mosquitto").unwrap());
        let child = command.arg("-c").arg(folder.join("vigil.conf")).stderr(Stdio::null()).spawn().unwrap();
        let mut running = Running(child);
        let listens = until("mosquitto listens or ends", || {
            let ended = running.0.try_wait().unwrap().is_some();
            (ended || TcpStream::connect(("127.0.0.1", port)).is_ok()).then_some(!ended)
        });
        if listens {
            return (running, port);
        }
    }
    panic!("mosquitto does not start");
}

#[test]
fn records_come_from_a_camera_to_the_screen() {
    let Some(home) = gstvigil::paths::home() else { panic!("no home") };
    let clip = home.join("clips/vtest.avi");
    if !clip.exists() || !home.join("bundles/people").exists() {
        eprintln!("SKIPPED: the detector or the clip is not installed (make setup)");
        return;
    }
    if ["mosquitto", "mosquitto_passwd", "mosquitto_sub"].iter().any(|name| program(name).is_none()) {
        return;
    }
    let blocks = blocks();
    let [installed, description, commands, reader] = blocks.as_slice() else { panic!("{blocks:#?}") };
    let folder = tempfile::tempdir().unwrap();
    let (_broker, port) = set_up(installed, folder.path());

    assert_eq!(commands.trim(), "vigil check site.toml && vigil run site.toml");
    let secret = installed.lines().find_map(|line| line.split(" gateway ").nth(1)).unwrap();
    std::fs::write(folder.path().join("broker.password"), format!("{secret}\n")).unwrap();
    let description = description
        .replace("@broker.plant/", &format!("@127.0.0.1:{port}/"))
        .replace("rtsp://10.0.0.11/main\"", &format!("file:{}\"\nloop = true", clip.display()));
    let file = folder.path().join("site.toml");
    std::fs::write(&file, format!("{description}\n[api]\nlisten = \"127.0.0.1:0\"\n")).unwrap();
    let state = folder.path().display().to_string();
    let environment = [("XDG_STATE_HOME", state.as_str())];
    let checked = Command::new(env!("CARGO_BIN_EXE_vigil")).arg("check").arg(&file).envs(environment).output().unwrap();
    assert!(checked.status.success(), "{checked:?}");

    let words: Vec<String> = reader.split_whitespace().map(|word| word.trim_matches('\'').to_owned()).collect();
    assert_eq!(words[..3], ["mosquitto_sub", "-h", "broker.plant"]);
    let mut command = Command::new("stdbuf");
    command.arg("-oL").arg(program("mosquitto_sub").unwrap());
    command.args(["-h", "127.0.0.1", "-p", &port.to_string()]).args(&words[3..]);
    let mut reading = Running(command.stdout(Stdio::piped()).spawn().unwrap());
    let lines = BufReader::new(reading.0.stdout.take().unwrap()).lines().map_while(Result::ok);

    let gateway = Gateway::start(&file, &[], &environment);
    let mut seen: BTreeMap<String, Value> = BTreeMap::new();
    let wanted = ["line-3/gate/frame", "line-3/gate/event", "line-3/gate/telemetry", "line-3/line-3/telemetry"];
    let is_status = |topic: &String| topic.starts_with("line-3/vigil-") && topic.ends_with("/status");
    for line in lines {
        let (topic, body) = line.split_once(' ').unwrap();
        seen.insert(topic.to_owned(), serde_json::from_str(body).unwrap());
        if wanted.iter().all(|topic| seen.contains_key(*topic)) && seen.keys().any(is_status) {
            break;
        }
    }
    let schemas = wanted.map(|topic| seen[topic]["schema"].as_str().unwrap_or_default().to_owned());
    assert_eq!(schemas, ["vigil/1", "vigil-event/1", "vigil-telemetry/1", "vigil-telemetry/1"]);
    assert_eq!(seen[seen.keys().find(|topic| is_status(topic)).unwrap()]["state"], "online");
    let page = gateway.ask("GET /metrics", "").expect(200).text();
    assert!(page.lines().any(|line| line.starts_with("vigil_receiver_up{") && line.ends_with(" 1.0")), "{page}");
    gateway.stop();
}
