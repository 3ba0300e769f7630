//! Cameras of a site without a network: start, loss, change, statistics, end.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may")]

mod common;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use common::live::{LONG, Watched, camera, node, plan, policy, test_camera};
use gst::prelude::*;
use gstvigil::site::live::SiteError;
use gstvigil::site::live::feed::{Consumer, Frame};
use gstvigil::site::plan::{CameraPlan, Policy};
use gstvigil::site::status::{Reason, State};

const BLOB: (&str, &str) = ("model", "red");

/// Frames of a feed.
#[derive(Default)]
struct Log {
    times: Mutex<Vec<u64>>,
    ended: AtomicBool,
}

impl Consumer for Log {
    fn frame(&self, frame: &Frame) {
        self.times.lock().unwrap().push(frame.at.nseconds());
    }

    fn ended(&self) {
        self.ended.store(true, Ordering::SeqCst);
    }
}

/// A test camera whose pictures are analysed under a watchdog.
fn analysed() -> CameraPlan {
    let model = common::model(BLOB.1);
    CameraPlan {
        profile: "blobs".into(),
        watchdog: Some(node("vigilwatchdog", "watchdog", &[])),
        guarded: vec![node("vigilinfer", "infer", &[(BLOB.0, &model)]), node("vigiltrack", "track", &[])],
        open: vec![node("vigiloverlay", "overlay", &[])],
        ..camera(
            "videotestsrc is-live=true pattern=red ! \
             video/x-raw,format=NV12,width=320,height=240,framerate=25/1",
        )
    }
}

#[test]
fn cameras_play_and_say_how_they_are_doing() {
    let mut watched = Watched::start(plan([("b", test_camera(25)), ("a", test_camera(10))]));
    watched.state("a", State::Playing);
    watched.status("b", |status| status.frames > 50);
    let cameras = watched.site.cameras();
    assert_eq!(cameras.iter().map(|camera| camera.id.as_str()).collect::<Vec<_>>(), ["a", "b"]);
    for camera in &cameras {
        assert_eq!((camera.state, camera.reason, camera.size), (State::Playing, None, [64, 48]), "{camera:#?}");
        assert!(camera.last_frame_age_ns.is_some() && camera.since_ns > 0 && camera.uri.contains("videotestsrc"));
        assert_eq!((camera.reconnects, camera.next_try_in_ns), (0, None));
    }
    let ratio = cameras[1].fps / cameras[0].fps;
    assert!((2.0..3.0).contains(&ratio), "25 and 10 frames a second: {ratio}");
    assert_eq!(watched.site.camera("c"), Err(SiteError::NoCamera("c".into())));
}

#[test]
fn stages_tell_their_statistics_and_a_consumer_gets_each_frame() {
    let watched = Watched::start(plan([("gate", analysed())]));
    let log = Arc::new(Log::default());
    let feed = watched.site.feed("gate").unwrap();
    let subscription = feed.subscribe(Arc::clone(&log) as Arc<dyn Consumer>);
    let status =
        watched.status("gate", |status| status.stages.get("infer").is_some_and(|s| s["fresh"].as_u64() > Some(5)));
    assert_eq!(status.stages.keys().collect::<Vec<_>>(), ["infer", "track", "watchdog"]);
    assert_eq!((status.stages["watchdog"]["mode"].as_str(), status.profile.as_str()), (Some("analysing"), "blobs"));
    watched.status("gate", |_| log.times.lock().unwrap().len() > 20);
    let times = log.times.lock().unwrap().clone();
    assert!(times.is_sorted() && times.iter().collect::<BTreeSet<_>>().len() == times.len(), "{times:?}");
    let sample = feed.latest().unwrap().sample;
    assert!(!common::result(sample.buffer().unwrap()).objects.is_empty(), "the result travels with the picture");
    drop(subscription);
    let jpeg = watched.site.snapshot("gate", LONG).unwrap();
    assert!(jpeg.starts_with(&[0xff, 0xd8]) && jpeg.ends_with(&[0xff, 0xd9]), "a JPEG");
}

#[test]
fn another_plan_touches_only_the_cameras_that_differ() {
    let mut watched = Watched::start(plan([("a", test_camera(25)), ("b", test_camera(25)), ("c", test_camera(25))]));
    for id in ["a", "b", "c"] {
        watched.status(id, |status| status.state == State::Playing);
    }
    let log = Arc::new(Log::default());
    let _subscription = watched.site.feed("a").unwrap().subscribe(Arc::clone(&log) as Arc<dyn Consumer>);
    let feed_of_b = watched.site.feed("b").unwrap();
    watched.heard.clear();
    watched.site.apply(plan([("a", test_camera(25)), ("b", test_camera(5)), ("d", test_camera(25))]));
    watched.state("d", State::Playing);
    watched.status("b", |status| status.state == State::Playing && status.frames > 0);
    assert!(Arc::ptr_eq(&feed_of_b, &watched.site.feed("b").unwrap()), "who watches b goes on with the other stream");
    assert!(matches!(watched.site.camera("c"), Err(SiteError::NoCamera(_))));
    watched.more_frames("a", 10);
    assert_eq!(watched.site.plan().unwrap().cameras.len(), 3);
    let about_a = watched.heard.iter().filter(|event| event.camera.as_deref() == Some("a") && event.number > 9).count();
    assert_eq!(about_a, 0, "{:#?}", watched.heard);
    assert_eq!(watched.site.camera("a").unwrap().reconnects, 0);
}

#[test]
fn a_camera_is_switched_off_and_on_again() {
    let mut watched = Watched::start(plan([("a", test_camera(25))]));
    watched.state("a", State::Playing);
    watched.site.apply(plan([("a", CameraPlan { enabled: false, ..test_camera(25) })]));
    watched.state("a", State::Disabled);
    let frames = watched.frames("a");
    assert_eq!(watched.site.force_bypass("a", true), Err(SiteError::Refused("the camera has no watchdog".into())));
    watched.site.apply(plan([("a", test_camera(25))]));
    watched.state("a", State::Playing);
    watched.more_frames("a", 5);
    assert!(watched.frames("a") > frames);
}

#[test]
fn what_cannot_be_built_is_told_and_stops_nobody_else() {
    let mut watched = Watched::start(plan([
        ("bad", camera("nosuchsource ! identity")),
        ("good", test_camera(25)),
        (
            "lacks",
            CameraPlan { open: vec![node("vigilinfer", "infer", &[("model", "/nowhere/m.onnx")])], ..test_camera(25) },
        ),
    ]));
    for (id, word) in [("bad", "nosuchsource"), ("lacks", "/nowhere/m.onnx")] {
        let status = watched.status(id, |status| status.state == State::Failed);
        assert_eq!(status.reason, Some(Reason::CannotBuild));
        assert!(status.text.contains(word), "{}", status.text);
    }
    watched.state("good", State::Playing);
    watched.more_frames("good", 10);
    // It is tried again, since what it lacks may come.
    watched.status("bad", |status| status.reconnects >= 2);
}

#[test]
fn a_camera_that_stops_sending_is_lost_and_comes_back() {
    // 30 frames on each connection, then nothing.
    let silent = camera(
        "videotestsrc is-live=true num-buffers=30 ! video/x-raw,format=NV12,width=64,height=48,framerate=25/1 ! join. \
         appsrc is-live=true format=time caps=video/x-raw,format=NV12,width=64,height=48,framerate=25/1 ! join. \
         concat name=join",
    );
    let mut watched = Watched::start(plan([("a", silent), ("b", test_camera(25))]));
    watched.state("a", State::Playing);
    let lost = watched.lost("a", Reason::Silent);
    assert_eq!(lost.data["frames"], 30);
    watched.state("a", State::Playing);
    watched.status("a", |status| status.reconnects == 1 && status.frames == 60);
    watched.lost("a", Reason::Silent);
    let other = watched.site.camera("b").unwrap();
    assert_eq!((other.state, other.reconnects), (State::Playing, 0));
}

#[test]
fn the_end_of_a_stream_is_what_the_plan_says() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("short.avi");
    let line =
        "videotestsrc num-buffers=20 ! video/x-raw,format=I420,width=64,height=48,framerate=25/1 ! jpegenc ! avimux";
    common::live::write(&format!("{line} ! filesink location={}", file.display()));
    let source = format!("filesrc location={} ! decodebin ! clocksync", file.display());
    let with = |policy: Policy| CameraPlan { policy, ..camera(&source) };
    let mut watched = Watched::start(plan([
        ("ends", with(Policy { ends: true, ..policy() })),
        ("repeats", with(Policy { repeats: true, ..policy() })),
        ("returns", with(policy())),
    ]));
    let log = Arc::new(Log::default());
    let _subscription = watched.site.feed("ends").unwrap().subscribe(Arc::clone(&log) as Arc<dyn Consumer>);
    let status = watched.status("ends", |status| status.state == State::Ended);
    assert_eq!((status.reason, status.frames), (Some(Reason::EndOfStream), 20));
    assert!(log.ended.load(Ordering::SeqCst));
    watched.lost("returns", Reason::EndOfStream);
    watched.status("returns", |status| status.frames >= 60 && status.reconnects >= 2);
    let repeats = watched.status("repeats", |status| status.frames >= 100);
    assert_eq!((repeats.state, repeats.reconnects), (State::Playing, 0), "it goes on without being started anew");
    assert_eq!(watched.frames("ends"), 20, "it has ended for good");
}

#[test]
fn a_model_is_swapped_and_the_analysis_bypassed_while_video_runs() {
    let mut watched = Watched::start(plan([("gate", analysed())]));
    watched.status("gate", |status| status.stages.get("infer").is_some_and(|s| s["fresh"].as_u64() > Some(5)));
    let none = serde_json::Map::new();
    let refused = watched.site.swap_model("gate", "overlay", "x", &none).unwrap_err();
    assert_eq!(refused, SiteError::Refused("the stage \"overlay\" has no model".into()));
    let requests = watched.site.swap_model("gate", "", "/nowhere/m.onnx", &none).unwrap();
    assert_eq!(requests, ["infer/1"]);
    let rejected = watched.event(|event| event.kind == "vigil-model" && event.data["phase"] == "rejected");
    assert_eq!((rejected.data["request"].as_str(), rejected.camera.as_deref()), (Some("infer/1"), Some("gate")));
    watched.site.force_bypass("gate", true).unwrap();
    watched.status("gate", |status| status.stages["watchdog"]["mode"] == "bypassing");
    watched.more_frames("gate", 10);
    watched.site.force_bypass("gate", false).unwrap();
    watched.status("gate", |status| status.stages["watchdog"]["mode"] == "analysing");
    assert_eq!(watched.site.camera("gate").unwrap().reconnects, 0);
}

#[test]
fn two_hundred_cameras_that_come_and_go_leave_nothing() {
    let watched = Watched::start(plan([("stays", test_camera(25))]));
    watched.status("stays", |status| status.state == State::Playing);
    let settle = |most: usize| {
        let until = Instant::now() + LONG;
        while common::threads().len() > most && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(20));
        }
        (common::threads().len(), common::descriptors().len())
    };
    let cycle = |n: u64| {
        watched.site.apply(plan([("stays", test_camera(25)), ("comes", test_camera(50))]));
        // Some are removed before they play, some while they do.
        if n % 2 == 0 {
            watched.status("comes", |status| status.frames > 0);
        }
        watched.site.apply(plan([("stays", test_camera(25))]));
    };
    (0..10).for_each(cycle);
    let before = settle(common::threads().iter().filter(|name| !name.contains("comes")).count());
    (0..200).for_each(cycle);
    let after = settle(before.0);
    assert!(after.0 <= before.0 && after.1 <= before.1 + 2, "threads and descriptors: {before:?}, then {after:?}");
    assert_eq!(watched.site.camera("stays").unwrap().reconnects, 0);
}
