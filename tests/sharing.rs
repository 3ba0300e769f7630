//! Elements that share an engine, and how much each looks at.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may")]

mod common;

use common::{caps, frame, init, model, result};
use gst::prelude::*;
use gst_check::Harness;
use gst_video::VideoFormat;
use gstvigil::result::Freshness;

const WHITE: (u8, u8, u8) = (255, 255, 255);
const RED: (u8, u8, u8) = (255, 0, 0);

/// A camera whose frames do not wait for the engine, with what it has brought out.
struct Camera {
    harness: Harness,
    caps: gst::Caps,
    sent: u64,
    out: u64,
    fresh: u64,
}

impl Camera {
    fn start(name: &str, properties: &str) -> Self {
        init();
        let line = format!("vigilinfer name=infer model={} when-busy=hold {properties}", model(name));
        let mut harness = Harness::new_parse(&line);
        harness.play();
        let caps = caps(VideoFormat::Rgb, 160, 160);
        harness.set_src_caps(caps.clone());
        Self { harness, caps, sent: 0, out: 0, fresh: 0 }
    }

    fn push(&mut self, color: (u8, u8, u8)) {
        self.harness.push(frame(&self.caps, color, self.sent)).unwrap();
        self.sent += 1;
        while let Some(buffer) = self.harness.try_pull() {
            self.take(&buffer);
        }
    }

    fn take(&mut self, buffer: &gst::Buffer) {
        self.out += 1;
        self.fresh += u64::from(result(buffer).freshness == Freshness::Fresh);
    }

    /// Ends the stream, and takes the rest of the frames.
    fn finish(&mut self) {
        self.harness.push_event(gst::event::Eos::new());
        while let Some(buffer) = self.harness.try_pull() {
            self.take(&buffer);
        }
        assert_eq!(self.out, self.sent, "every frame comes out");
    }

    fn stats(&self) -> gst::Structure {
        self.element().property("stats")
    }

    fn element(&self) -> gst::Element {
        let bin = self.harness.element().unwrap().downcast::<gst::Bin>().unwrap();
        bin.by_name("infer").unwrap()
    }

    fn count(&self, name: &str) -> u64 {
        self.stats().get(name).unwrap()
    }

    fn share(&self) -> f64 {
        self.stats().get("share").unwrap()
    }
}

/// Pushes a frame into each camera in turn, always in the same order, until the slow model has looked at `most` frames.
fn overload(cameras: &mut [Camera], most: u64) {
    while cameras.iter().map(|camera| camera.fresh).sum::<u64>() < most {
        cameras.iter_mut().for_each(|camera| camera.push(WHITE));
        // As cameras do: who sends without a pause is not known by what it was refused.
        std::thread::park_timeout(std::time::Duration::from_millis(5));
    }
    cameras.iter_mut().for_each(Camera::finish);
}

#[test]
fn cameras_whose_frames_always_come_in_the_same_order_get_equal_shares_of_a_slow_engine() {
    let mut cameras: Vec<_> = (0..4).map(|_| Camera::start("blob_slow", "threads=1")).collect();
    overload(&mut cameras, 24);
    for camera in &cameras {
        assert!((4..=9).contains(&camera.fresh), "{:?}", cameras.iter().map(|c| c.fresh).collect::<Vec<_>>());
        assert!(camera.count("held-turn") + camera.count("held-busy") > 0);
        assert_eq!(camera.count("engine-users"), 4);
        assert!((0.15..0.35).contains(&camera.share()), "{}", camera.share());
    }
    let all: f64 = cameras.iter().map(Camera::share).sum();
    assert!((all - 1.0).abs() < 0.05, "{all}");
}

#[test]
fn weights_say_how_a_slow_engine_is_shared() {
    let mut cameras =
        ["weight=1", "weight=1", "weight=4"].map(|w| Camera::start("blob_slow", &format!("threads=1 {w}")));
    overload(&mut cameras, 30);
    let [first, second, heavy] = cameras.each_ref().map(|camera| camera.fresh);
    // 5, 5 and 20 of 30; without weights it would be 10 each.
    assert!((3..=9).contains(&first) && (3..=9).contains(&second) && heavy >= 14, "{first} {second} {heavy}");
}

#[test]
fn the_limit_of_frames_a_second_picks_every_so_many_and_changes_while_frames_flow() {
    let mut camera = Camera::start("red", "max-fps=5");
    let mut fresh = Vec::new();
    let push = |camera: &mut Camera| {
        camera.harness.push(frame(&camera.caps, RED, camera.sent)).unwrap();
        camera.sent += 1;
        result(&camera.harness.pull().unwrap()).freshness == Freshness::Fresh
    };
    (0..25).for_each(|n| {
        if push(&mut camera) {
            fresh.push(n)
        }
    });
    assert_eq!(fresh, [0, 5, 10, 15, 20]);
    assert_eq!((camera.count("held-budget"), camera.count("held-interval")), (20, 0));
    camera.element().set_property("max-fps", 0.0);
    (0..5).for_each(|_| assert!(push(&mut camera)));
    camera.element().set_property("interval", 1u32);
    let looked = (0..10).filter(|_| push(&mut camera)).count();
    assert_eq!((looked, camera.count("held-interval")), (5, 5));
    assert_eq!(camera.count("fresh") + camera.count("held") + camera.count("absent"), camera.sent);
}

#[test]
fn cameras_that_do_not_wait_share_an_engine_whatever_they_may_have_in_flight() {
    let red = |camera: &mut Camera| {
        camera.push(RED);
        camera.finish();
        camera.count("engine-users")
    };
    let mut many = Camera::start("red", "max-in-flight=5 threads=2");
    let mut few = Camera::start("red", "max-in-flight=2 threads=2");
    let mut default = Camera::start("red", "threads=2");
    let mut quick = Camera::start("red", "max-in-flight=1 threads=2");
    assert_eq!([&mut many, &mut few, &mut default].map(red), [1, 2, 3]);
    assert_eq!(red(&mut quick), 1, "the one with a single lane is another engine");
}
