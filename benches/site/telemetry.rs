//! What all of telemetry takes of a processor: `vigil run` with sixteen cameras, with everything that is counted, compared, sent and
//! asked for, and without.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::server::Cameras;
use super::{CAMERAS, SETTLE};

/// How long it is measured each time, and how often with and without, in turns.
const SPAN: Duration = Duration::from_secs(60);
const TIMES: usize = 3;
/// How often Prometheus asks, by the example's configuration.
const ASKED: Duration = Duration::from_secs(15);
/// Frames a second that the model looks at.
const LOOKED: u32 = 5;
/// Threads that do nothing else: a camera's own gives the figures of its stages.
const OWN: [&str; 5] = ["vigil-report", "vigil-device", "vigil-http", "tokio-", "camera-"];

/// A gateway that ends with the value.
struct Gateway(Child, u16);

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Gateway {
    fn start(model: &str, cameras: &Cameras, telemetry: bool, folder: &std::path::Path) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let records = folder.join("telemetry.jsonl");
        let (drift, sent) = match telemetry {
            true => ("{ element = \"vigildrift\" }", format!("[telemetry]\nuri = \"file:{}\"\n", records.display())),
            false => ("", String::new()),
        };
        let mut text = format!(
            "format = 1\nname = \"bench\"\n[api]\nlisten = \"127.0.0.1:{port}\"\n{sent}[defaults]\nprofile = \"all\"\n[profile.all]\n\
             stage = [{{ element = \"vigilinfer\", model = \"{model}\", max-fps = {LOOKED} }}, {{ element = \"vigiltrack\" }}, {drift}]\n"
        );
        for camera in 0..CAMERAS {
            text += &format!("[camera.c{camera:02}]\nuri = \"rtsp://127.0.0.1:{}/{camera}\"\n", cameras.port);
        }
        let file = folder.join("site.toml");
        std::fs::write(&file, text).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_vigil"));
        command.arg("run").arg(&file).env("XDG_STATE_HOME", folder).stdout(Stdio::null()).stderr(Stdio::null());
        let gateway = Self(command.spawn().unwrap(), port);
        let begun = Instant::now();
        let up =
            |page: &String| page.lines().filter(|l| l.starts_with("vigil_camera_up{") && l.ends_with(" 1.0")).count();
        while gateway.page().as_ref().map_or(0, up) < CAMERAS {
            assert!(begun.elapsed() < Duration::from_secs(120), "{:?}", gateway.page());
            std::thread::sleep(Duration::from_millis(200));
        }
        gateway
    }

    fn page(&self) -> Option<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.1)).ok()?;
        let ask = format!("GET /metrics HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nConnection: close\r\n\r\n", self.1);
        stream.write_all(ask.as_bytes()).ok()?;
        let mut page = String::new();
        stream.read_to_string(&mut page).ok()?;
        Some(page)
    }

    /// Seconds of processor time of each thread, by its name and number.
    fn times(&self) -> BTreeMap<(String, String), f64> {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.0.id())).unwrap();
        let time = |path: std::path::PathBuf| {
            let read = |file: &str| std::fs::read_to_string(path.join(file)).ok();
            let nanoseconds: f64 = read("schedstat")?.split(' ').next()?.parse().ok()?;
            Some(((read("comm")?.trim().to_owned(), path.display().to_string()), nanoseconds / 1e9))
        };
        tasks.filter_map(|task| time(task.unwrap().path())).collect()
    }

    /// Processors that were busy over a span: with all of the process, and with threads of telemetry's own.
    fn busy(&self, asked: bool) -> [f64; 2] {
        let (before, begun) = (self.times(), Instant::now());
        let mut due = Duration::ZERO;
        while begun.elapsed() < SPAN {
            if asked && begun.elapsed() >= due {
                due += ASKED;
                self.page().unwrap();
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        let (after, span) = (self.times(), begun.elapsed().as_secs_f64());
        let spent = |is: &dyn Fn(&str) -> bool| {
            let of = after.iter().filter(|((name, _), _)| is(name));
            of.map(|(thread, time)| time - before.get(thread).unwrap_or(&0.0)).sum::<f64>() / span
        };
        [spent(&|_| true), spent(&|name| OWN.iter().any(|start| name.starts_with(start)))]
    }
}

pub fn telemetry(model: &str) {
    let cameras = Cameras::start(CAMERAS);
    println!(
        "telemetry: {CAMERAS} cameras, {LOOKED} frames a second of each analysed, records every 10 s, a page every {ASKED:?}"
    );
    let mut all = [Vec::new(), Vec::new()];
    for turn in 0..2 * TIMES {
        let with = turn % 2 == 0;
        let folder = tempfile::tempdir().unwrap();
        let gateway = Gateway::start(model, &cameras, with, folder.path());
        std::thread::sleep(SETTLE);
        let [busy, own] = gateway.busy(with);
        println!("  {}: {busy:.4} processors; threads of its own {own:.4}", if with { "with" } else { "without" });
        all[usize::from(!with)].push((busy, own));
    }
    let mean = |of: &[(f64, f64)], what: fn(&(f64, f64)) -> f64| of.iter().map(what).sum::<f64>() / of.len() as f64;
    let [with, without] = &all;
    println!(
        "  its own threads take {:.3} % of a processor; all of it, by the difference of {TIMES} spans of {SPAN:?}, {:.3} %",
        100.0 * (mean(with, |it| it.1) - mean(without, |it| it.1)),
        100.0 * (mean(with, |it| it.0) - mean(without, |it| it.0))
    );
}
