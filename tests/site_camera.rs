//! Cameras of a site without a network: start, loss, change, statistics, end.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may")]

mod common;
#[path = "common/faulty.rs"]
#[allow(dead_code, reason = "each test binary uses a part")]
mod faulty;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use common::live::{LONG, Watched, camera, node, plan, policy, test_camera, write};
use faulty::{Control, Fault};
use gstvigil::site::description::NoSignal;
use gstvigil::site::live::SiteError;
use gstvigil::site::live::feed::{Consumer, Frame};
use gstvigil::site::output::{Encode, Output};
use gstvigil::site::plan::{CameraPlan, Plan, Policy, Step, TilePlan, Value};
use gstvigil::site::status::{OutputStatus, Reason, State};

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
    write(&format!("{line} ! filesink location={}", file.display()));
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
fn a_property_of_a_guarded_stage_is_set_while_video_runs() {
    let with = |confidence: &str| {
        let mut plan = analysed();
        let infer = &mut plan.guarded[0];
        infer.properties.insert("confidence".into(), Value::Text(confidence.into()));
        infer.live.insert("confidence".into());
        plan
    };
    let watched = Watched::start(plan([("gate", with("0.1"))]));
    let feed = watched.site.feed("gate").unwrap();
    let objects = || {
        let frame = feed.latest()?;
        Some(gstvigil::meta::get(frame.sample.buffer()?)?.objects.len())
    };
    watched.status("gate", |_| objects().is_some_and(|objects| objects > 0));
    watched.site.apply(plan([("gate", with("0.999"))]));
    watched.status("gate", |_| objects() == Some(0));
    let status = watched.status("gate", |status| status.stages.contains_key("watchdog"));
    assert_eq!((status.reconnects, &status.stages["watchdog"]["restarts"]), (0, &serde_json::json!(0)), "{status:#?}");
}

/// A camera with a stage that does what `control` says, and no watchdog around it.
fn faulty(control: &Control) -> CameraPlan {
    let mut plan = test_camera(25);
    plan.source.push(Step::Launch(control.line()));
    plan
}

#[test]
fn a_pipeline_that_hangs_in_a_state_change_is_left_and_another_one_takes_its_place() {
    for fault in [Fault::HangStarting, Fault::HangStopping] {
        let control = Control::new();
        control.inject(fault, 0, Some(1));
        let watched = Watched::start(plan([("a", faulty(&control)), ("b", test_camera(25))]));
        watched.status("b", |status| status.state == State::Playing);
        if fault == Fault::HangStarting {
            control.wait_for_hits(1);
        } else {
            watched.status("a", |status| status.state == State::Playing);
        }
        let asked = Instant::now();
        watched.site.apply(plan([("a", test_camera(50)), ("b", test_camera(25))]));
        watched.site.cameras();
        assert!(asked.elapsed() < Duration::from_secs(4), "nobody waits for it: {:?}", asked.elapsed());
        let status = watched.status("a", |status| status.state == State::Playing && status.text.contains("hang"));
        assert!(status.text.starts_with("1 of its pipelines"), "{}", status.text);
        watched.more_frames("a", 5);
        control.release();
        watched.status("a", |status| status.text.is_empty());
        let until = Instant::now() + LONG;
        while control.instances() > 0 {
            assert!(Instant::now() < until, "what hung is freed once it comes back");
            std::thread::sleep(Duration::from_millis(10));
        }
        assert_eq!(watched.site.camera("b").unwrap().reconnects, 0);
    }
}

#[test]
fn a_stage_that_hangs_outside_of_a_watchdog_is_told_from_a_silent_camera() {
    let control = Control::new();
    control.inject(Fault::Hang, 30, Some(1));
    let mut stage = node("vigilfaulty", "stage", &[]);
    let name = control.line().split_once('=').unwrap().1.to_owned();
    stage.properties.insert("control".into(), Value::Text(name));
    let mut watched = Watched::start(plan([("a", CameraPlan { open: vec![stage], ..test_camera(25) })]));
    watched.state("a", State::Playing);
    let lost = watched.state("a", State::Lost);
    // The one frame that waits in front of the stage may be older than the silence.
    assert!(["error", "silent"].contains(&lost.data["reason"].as_str().unwrap()), "{lost:#?}");
    control.release();
    watched.state("a", State::Playing);
}

#[test]
fn a_clock_that_jumps_is_told_and_the_pictures_go_on() {
    // An hour later from one frame to the next.
    let jumps = camera(
        "videotestsrc num-buffers=30 ! identity sleep-time=20000 ! \
         video/x-raw,format=NV12,width=64,height=48,framerate=25/1 ! join. \
         videotestsrc timestamp-offset=3600000000000 ! identity sleep-time=40000 ! \
         video/x-raw,format=NV12,width=64,height=48,framerate=25/1 ! join. concat adjust-base=false name=join",
    );
    let mut watched = Watched::start(plan([("a", jumps)]));
    watched.state("a", State::Playing);
    let jump = watched.event(|event| event.kind == "camera" && event.data["reason"] == "clock-jump");
    assert_eq!(jump.data["state"], "playing");
    let by = jump.data["jump-ns"].as_i64().unwrap() / 1_000_000_000;
    assert!((3590..3610).contains(&by), "{by} s");
    watched.more_frames("a", 20);
    assert_eq!(watched.site.camera("a").unwrap().reconnects, 0);
}

#[test]
fn outputs_of_a_camera_that_is_away_get_a_picture_that_says_so_if_asked() {
    let away = |no_signal| {
        let policy = Policy { no_signal, reconnect_first: LONG, reconnect_most: LONG, ..policy() };
        CameraPlan { policy, ..camera("videotestsrc num-buffers=5 ! video/x-raw,format=NV12,width=320,height=240") }
    };
    let watched = Watched::start(plan([("shown", away(NoSignal::Picture)), ("still", away(NoSignal::Nothing))]));
    let latest = |id: &str| watched.site.feed(id).unwrap().latest();
    for id in ["shown", "still"] {
        watched.status(id, |status| status.state == State::Lost);
    }
    watched.status("shown", |_| latest("shown").is_some_and(|frame| !frame.live));
    let frame = latest("shown").unwrap();
    let info = gst_video::VideoInfo::from_caps(frame.sample.caps().unwrap()).unwrap();
    assert_eq!((info.width(), info.height(), info.format()), (320, 240, gst_video::VideoFormat::Nv12));
    watched.status("shown", |_| latest("shown").unwrap().at > frame.at);
    assert_eq!(watched.frames("shown"), 5, "they are not the camera's");
    assert!(latest("still").unwrap().live);
    assert!(watched.site.snapshot("shown", LONG).unwrap().starts_with(&[0xff, 0xd8]));
}

#[test]
fn the_end_of_a_site_leaves_whole_files_and_exports() {
    let folder = tempfile::tempdir().unwrap();
    let (film, records) = (folder.path().join("film.mp4"), folder.path().join("records.jsonl"));
    let mut recorded = analysed();
    recorded.outputs =
        vec![Output::File { path: film.clone(), segment: None, max_files: None, encode: Encode::default() }];
    recorded.open.push(node("vigilexport", "export", &[("uri", &format!("file:{}", records.display()))]));
    let watched = Watched::start(plan([("gate", recorded.clone())]));
    watched.status("gate", |status| status.frames > 30 && status.outputs.iter().any(|output| output.frames > 20));
    assert!(watched.site.stop(LONG), "all of it comes to its end");
    // The same again under the same id, twice: it waits for the one before, whose files these would be.
    let again = || plan([("gate", CameraPlan { outputs: Vec::new(), open: Vec::new(), ..recorded.clone() })]);
    watched.site.apply(again());
    watched.status("gate", |status| status.state == State::Playing);
    watched.site.apply(plan([]));
    watched.site.apply(again());
    watched.status("gate", |status| status.state == State::Playing);
    let lines = std::fs::read_to_string(&records).unwrap();
    assert!(lines.ends_with('\n') && lines.lines().count() > 20, "{lines}");
    lines.lines().for_each(|line| drop(serde_json::from_str::<serde_json::Value>(line).unwrap()));
    write(&format!("filesrc location={} ! qtdemux ! h264parse ! fakesink", film.display()));
}

/// A site with an RTSP server on any port, whose cameras have these mounts.
fn mounted(mounts: &[(&'static str, &str)]) -> Plan {
    let camera = |mount: &str| {
        let output = Output::Rtsp { mount: mount.into(), encode: Encode::default() };
        CameraPlan { outputs: vec![output], ..test_camera(25) }
    };
    let mut plan = plan(mounts.iter().map(|(id, mount)| (*id, camera(mount))));
    plan.rtsp.listen = "127.0.0.1:0".into();
    plan
}

#[test]
fn mounts_that_change_hands_are_served_by_their_new_cameras() {
    let watched = Watched::start(mounted(&[("a", "/x"), ("b", "/y")]));
    let served = |id: &str, path: &str| {
        let served = |target: &str| target.starts_with("rtsp://") && target.ends_with(path);
        watched.status(
            id,
            |status| matches!(status.outputs.as_slice(), [output] if served(&output.target) && output.error.is_empty()),
        );
    };
    served("a", "/x");
    served("b", "/y");
    // Two swap theirs, then one goes over to a camera that takes the other's place.
    watched.site.apply(mounted(&[("a", "/y"), ("b", "/x")]));
    served("a", "/y");
    served("b", "/x");
    watched.site.apply(mounted(&[("c", "/y"), ("b", "/x")]));
    served("c", "/y");
    served("b", "/x");
}

/// A test camera with a file.
fn recorded(file: &Path) -> CameraPlan {
    let output = Output::File { path: file.into(), segment: None, max_files: None, encode: Encode::default() };
    CameraPlan { outputs: vec![output], ..test_camera(25) }
}

/// Whether a file has the box that closes it.
fn is_closed(file: &Path) -> bool {
    std::fs::read(file).unwrap().windows(4).any(|word| word == b"mfro")
}

#[test]
fn a_camera_whose_pipelines_all_hang_gets_no_more_of_them() {
    let control = Control::new();
    control.inject(Fault::HangStopping, 0, None);
    // Each pipeline ends after five pictures, and hangs then.
    let mut ends = camera("videotestsrc num-buffers=5 ! video/x-raw,format=NV12,width=64,height=48,framerate=25/1");
    ends.source.push(Step::Launch(control.line()));
    let mut watched = Watched::start(plan([("a", ends), ("b", test_camera(25))]));
    let failed = watched.state("a", State::Failed);
    assert_eq!(
        (failed.data["reason"].as_str(), failed.data["exhausted"].as_bool()),
        (Some("cannot-build"), Some(true))
    );
    let status = watched.status("a", |status| status.text.contains("4 of its pipelines hang"));
    let tries = status.reconnects;
    watched.status("a", |status| status.reconnects > tries + 2);
    assert_eq!((control.hits(), watched.frames("a")), (4, 20), "no other was started");
    control.clear();
    control.release();
    watched.status("a", |status| status.frames > 20);
    let other = watched.site.camera("b").unwrap();
    assert_eq!((other.state, other.reconnects), (State::Playing, 0));
}

#[test]
fn a_pipeline_that_hangs_at_the_end_leaves_the_outputs_their_time() {
    let folder = tempfile::tempdir().unwrap();
    let (film, other) = (folder.path().join("a.mp4"), folder.path().join("b.mp4"));
    let control = Control::new();
    control.inject(Fault::HangStopping, 0, None);
    let mut hangs = recorded(&film);
    // What this encoder has looked ahead takes two seconds at the end.
    if let Some(Output::File { encode, .. }) = hangs.outputs.first_mut() {
        encode.element = Some("x264enc rc-lookahead=20 ! identity sleep-time=100000".into());
    }
    hangs.source.push(Step::Launch(control.line()));
    let watched = Watched::start(plan([("a", hangs), ("b", recorded(&other))]));
    for id in ["a", "b"] {
        watched.status(id, |status| status.outputs.iter().any(|output| output.frames > 20));
    }
    assert!(!watched.site.stop(Duration::from_secs(20)), "a pipeline is left");
    assert!(is_closed(&film) && is_closed(&other));
    control.clear();
    control.release();
}

#[test]
fn what_was_removed_just_before_the_end_is_whole() {
    let folder = tempfile::tempdir().unwrap();
    let (film, all) = (folder.path().join("a.mp4"), folder.path().join("all.mp4"));
    let mut with_tile = plan([("a", recorded(&film))]);
    let outputs = recorded(&all).outputs;
    let tile = TilePlan { cameras: vec!["a".into()], columns: 1, size: [64, 48], fps: 25, outputs };
    with_tile.tiles.insert("all".into(), tile);
    let watched = Watched::start(with_tile);
    let frames = |outputs: &[OutputStatus]| outputs.iter().any(|output| output.frames > 20);
    watched.status("a", |status| frames(&status.outputs) && frames(&watched.site.tiles()[0].outputs));
    watched.site.apply(plan([]));
    assert!(watched.site.stop(LONG));
    assert!(is_closed(&film) && is_closed(&all));
}

#[test]
fn a_site_that_is_closed_follows_no_plan_any_more() {
    let watched = Watched::start(plan([("a", test_camera(25))]));
    watched.status("a", |status| status.state == State::Playing);
    assert_eq!(watched.site.states(), [State::Playing]);
    assert!(watched.site.close(LONG));
    watched.site.apply(plan([("a", test_camera(25))]));
    assert_eq!(watched.site.enable("a", true), Err(SiteError::NoCamera("a".into())));
    assert!(watched.site.cameras().is_empty() && watched.site.states().is_empty());
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
    let pages =
        || std::fs::read_to_string("/proc/self/statm").unwrap().split(' ').nth(1).unwrap().parse::<u64>().unwrap();
    let cycle = |n: u64| {
        watched.site.apply(plan([("stays", test_camera(25)), ("comes", test_camera(50))]));
        // Some are removed before they play, some while they do.
        if n.is_multiple_of(2) {
            watched.status("comes", |status| status.frames > 0);
        }
        watched.site.apply(plan([("stays", test_camera(25))]));
    };
    (0..10).for_each(cycle);
    let before = settle(common::threads().iter().filter(|name| !name.contains("comes")).count());
    let memory = pages();
    (0..200).for_each(cycle);
    let after = settle(before.0);
    let grown = pages().saturating_sub(memory) * 4;
    assert!(grown < 12 * 1024, "{grown} KiB more");
    assert!(after.0 <= before.0 && after.1 <= before.1 + 2, "threads and descriptors: {before:?}, then {after:?}");
    assert_eq!(watched.site.camera("stays").unwrap().reconnects, 0);
}
