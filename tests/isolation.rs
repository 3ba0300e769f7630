//! `isolation=process`: the engine in a process of its own, and everything that may happen to that.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may")]

mod common;

use std::time::{Duration, Instant};

use common::{caps, frame, init, messages, model, result};
use gst::prelude::*;
use gst_check::Harness;
use gst_video::VideoFormat;
use gstvigil::result::{FrameResult, Freshness};

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

    fn isolated(name: &str) -> Self {
        Self::start(name, "isolation=process threads=2")
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
