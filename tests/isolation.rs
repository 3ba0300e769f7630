//! `isolation=process`: the engine in a process of its own, and everything that may happen to that.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may")]

mod common;

use std::io::BufRead;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use common::{again, caps, descriptors, frame, init, is_child, messages, model, output, result, threads};
use gst::prelude::*;
use gst_check::Harness;
use gst_video::VideoFormat;
use gstvigil::engine::EngineError;
use gstvigil::model::{Isolated, Model, Request};
use gstvigil::result::{AbsentReason, FrameResult, Freshness};

/// Far longer than anything here takes; a test that waits for it fails.
const LONG: Duration = Duration::from_secs(60);
const RED: (u8, u8, u8) = (255, 0, 0);

/// A `vigilinfer` between two pads of the test.
struct Camera {
    harness: Harness,
    bus: gst::Bus,
    caps: gst::Caps,
    frames: u64,
}

impl Camera {
    fn start(name: &str, properties: &str) -> Self {
        Self::try_start(&model(name), properties).unwrap()
    }

    /// What the element says where it cannot start.
    fn try_start(model: &str, properties: &str) -> Result<Self, String> {
        init();
        let line = format!("vigilinfer model={model} {properties}");
        let element = gst::parse::launch(&line).unwrap();
        let bus = gst::Bus::new();
        element.set_bus(Some(&bus));
        if element.set_state(gst::State::Paused).is_err() {
            let error = messages(&bus, gst::MessageType::Error).pop().unwrap();
            element.set_state(gst::State::Null).unwrap();
            let gst::MessageView::Error(error) = error.view() else { unreachable!() };
            return Err(error.error().message().into());
        }
        let mut harness = Harness::with_element(&element, Some("sink"), Some("src"));
        let caps = caps(VideoFormat::Rgb, 64, 64);
        harness.play();
        harness.set_src_caps(caps.clone());
        Ok(Self { harness, bus, caps, frames: 0 })
    }

    /// One with an engine that no other test shares: no two have the same limit.
    fn isolated(name: &str) -> Self {
        static LIMIT: AtomicU64 = AtomicU64::new(1 << 40);
        let limit = LIMIT.fetch_add(1, Ordering::Relaxed);
        Self::start(name, &format!("isolation=process threads=2 engine-memory-max={limit}"))
    }

    fn stats(&self) -> gst::Structure {
        self.harness.element().unwrap().property("stats")
    }

    /// The process of the engine, while there is one that takes frames.
    fn pid(&self) -> Option<i32> {
        self.stats().get::<u64>("engine-pid").ok().map(|pid| i32::try_from(pid).unwrap())
    }

    fn restarts(&self) -> u64 {
        self.stats().get::<u64>("engine-restarts").unwrap()
    }

    /// One frame of a colour through the element: the next one that comes out must be this one.
    fn look(&mut self, color: (u8, u8, u8)) -> std::sync::Arc<FrameResult> {
        self.harness.push(frame(&self.caps, color, self.frames)).unwrap();
        let buffer = self.harness.pull().unwrap();
        assert_eq!(buffer.pts(), Some(gst::ClockTime::from_mseconds(40 * self.frames)));
        self.frames += 1;
        result(&buffer)
    }

    /// Sends frames until the model looks at one again; how many it did not look at.
    #[track_caller]
    fn back(&mut self) -> u64 {
        let begun = Instant::now();
        let mut absent = 0;
        while self.look(RED).freshness != Freshness::Fresh {
            absent += 1;
            assert!(begun.elapsed() < LONG, "analysis does not come back: {:?}", self.stats());
            std::thread::sleep(Duration::from_millis(2));
        }
        absent
    }
}

fn kill(pid: i32, signal: i32) {
    // SAFETY: sends a signal to a process that this test's engine has started.
    assert_eq!(unsafe { libc::kill(pid, signal) }, 0, "{pid} is there");
}

/// Stops a process; all its threads stand when this returns.
fn stop(pid: i32) {
    kill(pid, libc::SIGSTOP);
    wait_until("it stops", || {
        let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten();
        tasks.map(|task| std::fs::read_to_string(task.path().join("stat")).unwrap()).all(|stat| stat.contains(") T "))
    });
}

/// Whether a process is there, as a zombie too.
fn exists(pid: i32) -> bool {
    std::path::Path::new(&format!("/proc/{pid}")).exists()
}

#[track_caller]
fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < LONG, "never: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// What the model says about a frame.
fn said(result: &FrameResult) -> String {
    format!("{:?} {:?} {:?} {:?}", result.freshness, result.objects, result.classes, result.embedding)
}

#[test]
fn answers_are_those_of_an_engine_in_the_process_to_the_bit() {
    for name in ["red", "dynamic", "half", "nan", "colors", "batch", "batch4", "fails"] {
        let (mut here, mut there) = (Camera::start(name, "threads=2"), Camera::isolated(name));
        assert!(here.pid().is_none() && there.pid().is_some());
        for color in [(255, 0, 0), (13, 99, 200), (0, 0, 0), (1, 2, 254), (255, 10, 255)] {
            let [ours, theirs] = [&mut here, &mut there].map(|camera| said(&camera.look(color)));
            assert_eq!(ours, theirs, "{name}");
        }
        assert_eq!(there.stats().get::<u64>("engine-restarts").unwrap(), 0);
        assert_eq!(there.stats().get::<String>("engine-state").unwrap(), "running");
    }
}

#[test]
fn a_killed_engine_costs_frames_their_analysis_until_the_next_is_there() {
    let mut camera = Camera::isolated("red");
    for round in 1..=50 {
        let pid = camera.pid().unwrap();
        assert_eq!(camera.look(RED).freshness, Freshness::Fresh);
        kill(pid, libc::SIGKILL);
        wait_until("the engine's end is noticed", || camera.pid() != Some(pid));
        camera.back();
        wait_until("the restart is counted", || camera.restarts() >= round);
        assert!(!exists(pid), "no zombie is left");
        assert_ne!(camera.pid(), Some(pid));
    }
    assert_eq!(messages(&camera.bus, gst::MessageType::Error).len(), 0);
}

#[test]
fn frames_under_way_when_the_engine_dies_come_out_in_order_without_analysis() {
    let mut camera = Camera::isolated("red");
    assert_eq!(camera.look(RED).freshness, Freshness::Fresh);
    // Stopped first, so that the frames are in the engine when it dies.
    let pid = camera.pid().unwrap();
    stop(pid);
    for n in 1..=3 {
        camera.harness.push(frame(&camera.caps, RED, n)).unwrap();
    }
    kill(pid, libc::SIGKILL);
    for n in 1..=3 {
        let buffer = camera.harness.pull().unwrap();
        assert_eq!(buffer.pts(), Some(gst::ClockTime::from_mseconds(40 * n)));
        assert!(matches!(result(&buffer).freshness, Freshness::Absent(_)), "frame {n}");
    }
    camera.frames = 4;
    camera.back();
    let told: Vec<_> = std::iter::from_fn(|| camera.bus.pop())
        .filter_map(|message| match message.view() {
            gst::MessageView::Error(e) => Some(format!("error: {}", e.error())),
            gst::MessageView::Warning(w) => Some(format!("warning: {}", w.error())),
            gst::MessageView::Element(e) => Some(e.structure()?.get::<String>("state").ok()?),
            _ => None,
        })
        .collect();
    assert!(told[0].starts_with("warning") && told[0].contains("SIGKILL"), "{told:?}");
    assert_eq!(told[1..], ["recovered"], "{told:?}");
    assert!(!exists(pid));
}

/// A model with an engine of its own, without an element around it.
fn isolated_model(name: &str, isolated: Isolated) -> Model {
    let request = Request {
        model: model(name),
        provider: "cpu".into(),
        threads: 1,
        isolation: Some(isolated),
        ..Request::default()
    };
    Model::load(&request).unwrap()
}

#[test]
fn an_engine_that_hangs_past_its_time_is_killed_and_replaced() {
    let model = isolated_model("red", Isolated::default());
    let engine = model.lanes().engine();
    let mut io = model.io();
    engine.run(&mut io, Some(Instant::now() + LONG)).unwrap();
    let pid = engine.worker().unwrap().pid.unwrap() as i32;
    stop(pid);
    // A busy machine may let the time pass before the run begins, which costs the engine nothing.
    let error = loop {
        match engine.run(&mut io, Some(Instant::now() + Duration::from_millis(50))) {
            Err(EngineError::Deadline(Duration::ZERO)) => {}
            other => break other,
        }
    };
    assert!(matches!(error, Err(EngineError::Deadline(_))), "{error:?}");
    wait_until("it is back", || match engine.run(&mut io, None) {
        Ok(()) => true,
        Err(EngineError::Restarting(_)) => false,
        Err(other) => panic!("{other:?}"),
    });
    assert!(!exists(pid));
}

#[test]
fn a_frame_whose_engine_hangs_goes_on_after_the_timeout() {
    let mut camera = Camera::start("red", "isolation=process threads=1 engine-timeout=300000000");
    for _ in 0..3 {
        camera.back();
        let pid = camera.pid().unwrap();
        stop(pid);
        assert_eq!(camera.look(RED).freshness, Freshness::Absent(AbsentReason::Deadline));
        wait_until("it is collected", || !exists(pid));
    }
    camera.back();
}

#[test]
fn an_engine_that_wants_too_much_memory_harms_nobody() {
    let mut camera = Camera::start("hungry", "isolation=process threads=1 engine-memory-max=400000000");
    assert_eq!(camera.look(RED).freshness, Freshness::Fresh);
    for _ in 0..4 {
        assert!(matches!(camera.look((0, 255, 0)).freshness, Freshness::Absent(_)));
        camera.back();
    }
    assert_eq!(messages(&camera.bus, gst::MessageType::Error).len(), 0);
    let error = Camera::try_start(&model("red"), "isolation=process engine-memory-max=5000000").err().unwrap();
    assert!(error.contains("5000000 bytes of memory (engine-memory-max)"), "{error}");
}

#[test]
fn elements_with_the_same_model_share_a_process() {
    let same = || Camera::start("red", "isolation=process threads=2 engine-niceness=2");
    let (mut one, mut two) = (same(), same());
    let other = Camera::start("red", "isolation=process threads=2 engine-niceness=1");
    let pid = one.pid().unwrap();
    assert_eq!(two.pid(), Some(pid));
    assert_ne!(other.pid(), Some(pid));
    drop(one);
    assert_eq!(two.look(RED).freshness, Freshness::Fresh);
    one = same();
    assert_eq!(one.pid(), Some(pid));
    drop((one, two));
    wait_until("the process ends with its last user", || !exists(pid));
}

/// A line of a file in /proc, without its name.
fn proc(pid: i32, file: &str, name: &str) -> String {
    let text = std::fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.unwrap_or_else(|| panic!("no {name} in {text}")).split_whitespace().collect::<Vec<_>>().join(" ")
}

/// A number of /proc/PID/stat, counted from 1 as its manual does.
fn stat(pid: i32, field: usize) -> String {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    text.rsplit_once(") ").unwrap().1.split(' ').nth(field - 3).unwrap().to_owned()
}

#[test]
fn the_process_has_what_it_needs_and_nothing_else() {
    let file = std::fs::File::open(model("red")).unwrap();
    // SAFETY: a plain descriptor that is open; unlike the standard library's it is handed on to other programs.
    let leaky = unsafe { libc::dup(std::os::fd::AsRawFd::as_raw_fd(&file)) };
    let mut camera = Camera::start(
        "red",
        "isolation=process threads=2 engine-cpus=0 engine-niceness=7 engine-memory-max=1000000000",
    );
    assert_eq!(camera.look(RED).freshness, Freshness::Fresh);
    let pid = camera.pid().unwrap();
    for entry in std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap() {
        let path = entry.unwrap().path();
        let target = std::fs::read_link(&path).unwrap().display().to_string();
        let number = path.file_name().unwrap().to_str().unwrap();
        match number {
            "1" => assert_eq!(target, "/dev/null"),
            "2" => assert_eq!(target, std::fs::read_link("/proc/self/fd/2").unwrap().display().to_string()),
            _ => assert!(target.starts_with("socket:"), "descriptor {number} is {target}"),
        }
    }
    assert_eq!(proc(pid, "status", "NoNewPrivs:"), "1");
    assert_eq!(proc(pid, "status", "Cpus_allowed_list:"), "0");
    assert_eq!(proc(pid, "limits", "Max core file size"), "0 0 bytes");
    assert_eq!(proc(pid, "limits", "Max data size"), "1000000000 1000000000 bytes");
    assert_eq!(std::fs::read_to_string(format!("/proc/{pid}/oom_score_adj")).unwrap().trim(), "1000");
    let own = i32::try_from(std::process::id()).unwrap();
    let nice = |pid| stat(pid, 19).parse::<i32>().unwrap();
    assert_eq!(nice(pid), (nice(own) + 7).min(19));
    // A session and a group of its own: Ctrl-C in the terminal is not for it.
    assert_eq!((stat(pid, 6), stat(pid, 5)), (pid.to_string(), pid.to_string()));
    // SAFETY: duplicated above, closed once.
    unsafe { libc::close(leaky) };
    // What the user set wrongly is told.
    for (properties, says) in [("engine-cpus=x", "0-1,3"), ("engine-cpus=1000", "none of the processors")] {
        let error = Camera::try_start(&model("red"), &format!("isolation=process {properties}")).err().unwrap();
        assert!(error.contains(says), "{error}");
    }
}

#[test]
fn objects_are_looked_at_in_batches_in_the_other_process_too() {
    init();
    let caps = caps(VideoFormat::Rgb, 64, 64);
    let seen = ["none", "process"].map(|isolation| {
        let line = format!(
            "vigilinfer model={} ! vigilinfer name=second inference-region=objects confidence=0.4 threads=1 \
             isolation={isolation} model={}",
            model("red"),
            model("batch")
        );
        let bin = gst::parse::bin_from_description(&line, true).unwrap();
        let second = bin.by_name("second").unwrap();
        let mut harness = Harness::with_element(&bin, Some("sink"), Some("src"));
        harness.play();
        harness.set_src_caps(caps.clone());
        let results: Vec<_> = (0..12)
            .map(|n| {
                // One object on some frames, two on others.
                let color = if n % 3 == 0 { (250, 0, 250) } else { (250, 0, 0) };
                harness.push(frame(&caps, color, n)).unwrap();
                said(&result(&harness.pull().unwrap()))
            })
            .collect();
        assert_eq!(second.property::<gst::Structure>("stats").get::<u64>("batch").unwrap(), 16);
        results
    });
    assert!(seen[0].iter().any(|text| text.contains("attributes: [Attribute")), "{:?}", seen[0]);
    assert_eq!(seen[0], seen[1]);
}

#[test]
fn without_the_command_the_error_says_where_it_was_looked_for() {
    const NAME: &str = "without_the_command_the_error_says_where_it_was_looked_for";
    if is_child(NAME) {
        println!("said: {}", Camera::try_start(&model("red"), "isolation=process").err().unwrap());
        return;
    }
    for (command, says) in [
        ("/no/such/vigil", "Tried: /no/such/vigil"),
        ("/proc/version", "Tried: /proc/version"),
        ("/bin/true", "/bin/true cannot be started: the engine's process ended with exit code 0"),
        ("/bin/false", "exit code 1"),
    ] {
        let (said, _) = output(again(NAME).env("VIGIL_WORKER", command));
        assert!(said.contains(says) && said.contains("said: model "), "{said}");
    }
}

#[test]
fn the_application_does_not_load_the_runtime() {
    const NAME: &str = "the_application_does_not_load_the_runtime";
    if is_child(NAME) {
        let mut camera = Camera::isolated("red");
        assert_eq!(camera.look(RED).freshness, Freshness::Fresh);
        let maps = |pid: &str| std::fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
        assert!(maps(&camera.pid().unwrap().to_string()).contains("libonnxruntime"));
        assert!(!maps("self").contains("libonnxruntime"));
        return;
    }
    output(&mut again(NAME));
}

#[test]
fn the_process_dies_with_the_application_even_if_it_is_stopped() {
    const NAME: &str = "the_process_dies_with_the_application_even_if_it_is_stopped";
    if is_child(NAME) {
        let camera = Camera::isolated("red");
        println!("pid {}", camera.pid().unwrap());
        std::thread::sleep(2 * LONG);
        return;
    }
    for stopped in [false, true] {
        let mut application = again(NAME).stdout(std::process::Stdio::piped()).spawn().unwrap();
        let lines = std::io::BufReader::new(application.stdout.take().unwrap()).lines();
        let pid: i32 =
            lines.map_while(Result::ok).find_map(|line| line.split_once("pid ")?.1.parse().ok()).expect("a number");
        if stopped {
            stop(pid);
        }
        application.kill().unwrap();
        application.wait().unwrap();
        // Whoever inherits it may take its time to collect it.
        wait_until("it dies too", || !exists(pid) || matches!(&*stat(pid, 3), "Z" | "X"));
    }
}

/// Memory of this process, in KiB.
fn resident() -> u64 {
    proc(std::process::id() as i32, "status", "VmRSS:").trim_end_matches(" kB").parse().unwrap()
}

#[test]
fn restarts_leave_no_memory_threads_or_descriptors_behind() {
    const NAME: &str = "restarts_leave_no_memory_threads_or_descriptors_behind";
    if !is_child(NAME) {
        // In a process of its own: others must not make threads meanwhile.
        let (said, _) = output(&mut again(NAME));
        return said.lines().filter(|line| line.contains("KiB")).for_each(|line| println!("{line}"));
    }
    let count = std::env::var("VIGIL_TEST_RESTARTS").map_or(15, |text| text.parse().unwrap());
    let mut camera = Camera::isolated("dynamic");
    let mut kill_often = |count: u64| {
        for _ in 0..count {
            camera.back();
            let pid = camera.pid().unwrap();
            kill(pid, libc::SIGKILL);
            wait_until("the engine's end is noticed", || camera.pid() != Some(pid));
            // Messages that nobody reads would be this test's memory.
            while camera.bus.pop().is_some() {}
        }
        camera.back();
        (resident(), threads(), descriptors().len())
    };
    // What grows once has grown after these.
    let (memory, before, files) = kill_often(10);
    let (memory_now, after, files_now) = kill_often(count);
    println!("{count} restarts: {memory} KiB before, {memory_now} KiB after");
    assert_eq!((after, files_now), (before.clone(), files));
    assert!(memory_now < memory + 4096, "{memory} KiB before, {memory_now} KiB after {count} restarts");
    drop(camera);
    wait_until("its threads end", || !threads().iter().any(|name| name.starts_with("vigil-")));
}

#[test]
fn the_command_says_that_it_is_not_for_people() {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_vigil"));
    let answer = command.arg("worker").stdin(std::process::Stdio::null()).output().unwrap();
    let text = String::from_utf8(answer.stderr).unwrap();
    assert!(!answer.status.success() && text.contains("vigilinfer starts this with isolation=process"), "{text}");
    let help = std::process::Command::new(env!("CARGO_BIN_EXE_vigil")).arg("--help").output().unwrap();
    assert!(!String::from_utf8(help.stdout).unwrap().contains("worker"));
}
