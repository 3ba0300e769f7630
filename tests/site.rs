//! `vigilsite`: a site description inside a pipeline. What cameras and outputs do by themselves is in `site_*.rs`.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may")]

mod common;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use common::swap_rig::{LONG, text};
use common::{init, messages, model};
use gst::prelude::*;
use gstvigil::meta;
use gstvigil::result::Freshness;

const CAPS: &str = "video/x-raw,format=I420,width=160,height=120,framerate=25/1";

/// A description in a folder of its own.
struct Description {
    folder: tempfile::TempDir,
}

impl Description {
    /// With these tables behind the profile `red`, which finds what is red on half of the frame at least.
    fn new(tables: &str) -> Self {
        let new = Self { folder: tempfile::tempdir().unwrap() };
        new.write(tables);
        new
    }

    fn write(&self, tables: &str) {
        let head = format!(
            "format = 1\nname = \"test\"\n[rtsp]\nlisten = \"127.0.0.1:0\"\n[defaults]\nprofile = \"red\"\ncaps = \"{CAPS}\"\n\
             [profile.red]\nstage = [{{ element = \"vigilinfer\", model = \"{}\", probation-time = \"0s\", probation-frames = 3 }}]\n",
            model("blob")
        );
        std::fs::write(self.path(), head + tables).unwrap();
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("site.toml")
    }
}

/// A pipeline with a `vigilsite` called `site`, and what it has told.
struct Play {
    pipeline: gst::Pipeline,
    site: gst::Element,
    told: Vec<gst::Structure>,
}

impl Play {
    /// `vigilsite` for a description, with `behind` it.
    fn start(config: &Path, behind: &str) -> Self {
        init();
        let line = format!("vigilsite name=site config=\"{}\" {behind}", config.display());
        let pipeline = gst::parse::launch(&line).unwrap();
        let pipeline = pipeline.downcast::<gst::Pipeline>().unwrap_or_else(|element| {
            let pipeline = gst::Pipeline::new();
            pipeline.add(&element).unwrap();
            pipeline
        });
        let site = pipeline.by_name("site").unwrap();
        pipeline.set_state(gst::State::Playing).unwrap();
        Self { pipeline, site, told: Vec::new() }
    }

    /// Waits for a message; it.
    #[track_caller]
    fn until(&mut self, what: &str, wanted: impl Fn(&gst::Structure) -> bool) -> gst::Structure {
        let end = Instant::now() + LONG;
        let bus = self.pipeline.bus().unwrap();
        loop {
            if let Some(at) = self.told.iter().position(&wanted) {
                return self.told.drain(..=at).next_back().unwrap();
            }
            assert!(Instant::now() < end, "waited in vain for {what}; so far: {:#?}", self.told);
            let Some(message) = bus.timed_pop(gst::ClockTime::from_mseconds(100)) else { continue };
            match message.view() {
                gst::MessageView::Error(error) => panic!("{error:?}"),
                gst::MessageView::Element(element) if message.src() == Some(self.site.upcast_ref()) => {
                    self.told.push(element.structure().unwrap().to_owned());
                }
                _ => {}
            }
        }
    }

    #[track_caller]
    fn until_state(&mut self, camera: &str, state: &str) -> gst::Structure {
        self.until(&format!("{camera} to be {state}"), |s| {
            s.name() == "vigil-camera" && text(s, "camera") == camera && text(s, "state") == state
        })
    }

    /// A field of a camera's statistics.
    fn stat<T: for<'a> glib::value::FromValue<'a> + 'static>(&self, camera: &str, field: &str) -> Option<T> {
        let stats: gst::Structure = self.site.property("stats");
        stats.get::<gst::Structure>(camera).ok()?.get_optional::<T>(field).ok().flatten()
    }

    fn frames(&self, camera: &str) -> u64 {
        self.stat::<u64>(camera, "frames").unwrap_or(0)
    }

    #[track_caller]
    fn until_more_frames(&self, camera: &str, frames: u64) {
        let (end, from) = (Instant::now() + LONG, self.frames(camera));
        while self.frames(camera) < from + frames {
            assert!(Instant::now() < end, "{camera} stands still");
            std::thread::park_timeout(Duration::from_millis(20));
        }
    }
}

impl Drop for Play {
    fn drop(&mut self) {
        let _ = self.pipeline.set_state(gst::State::Null);
    }
}

#[test]
fn a_description_that_cannot_be_used_is_one_error_with_all_that_is_wrong() {
    init();
    let description = Description::new("[camera.gate]\nuri = \"test:ball\"\nprofile = \"rde\"\nspeed = 3\n");
    for (config, wanted) in [
        (Some(description.path()), vec!["site.toml:", "rde", "speed"]),
        (Some(PathBuf::from("/no/such.toml")), vec!["/no/such.toml"]),
        (None, vec!["config"]),
    ] {
        let site = gst::ElementFactory::make("vigilsite").build().unwrap();
        if let Some(config) = config {
            site.set_property("config", config.display().to_string());
        }
        let bus = gst::Bus::new();
        site.set_bus(Some(&bus));
        assert!(site.set_state(gst::State::Paused).is_err());
        let errors = messages(&bus, gst::MessageType::Error);
        let [error] = errors.as_slice() else { panic!("{errors:?}") };
        let gst::MessageView::Error(error) = error.view() else { unreachable!() };
        let text = error.error().to_string();
        assert!(wanted.iter().all(|word| text.contains(word)), "{text}");
        site.set_state(gst::State::Null).unwrap();
    }
}

#[test]
fn a_pad_gives_the_pictures_of_its_camera_with_their_results() {
    let description = Description::new("[camera.gate]\nuri = \"test:red\"\n[camera.yard]\nuri = \"test:black\"\n");
    let behind = "site.src_gate ! appsink name=gate sync=false site.src_yard ! appsink name=yard sync=false";
    let play = Play::start(&description.path(), behind);
    for (camera, objects) in [("gate", 1), ("yard", 0)] {
        let sink = play.pipeline.by_name(camera).unwrap().downcast::<gst_app::AppSink>().unwrap();
        let mut last = None;
        for _ in 0..10 {
            let sample = sink.pull_sample().unwrap();
            let (buffer, caps) = (sample.buffer().unwrap(), sample.caps().unwrap());
            assert_eq!(caps.structure(0).unwrap().get::<i32>("width"), Ok(160));
            assert!(buffer.pts() > last, "times of this pipeline's clock");
            last = buffer.pts();
            let result = meta::get(buffer).unwrap();
            if result.freshness == Freshness::Fresh {
                assert_eq!(result.objects.len(), objects, "{camera}");
            }
        }
    }
}

#[test]
fn a_pad_for_a_camera_that_is_not_there_is_a_warning() {
    let description = Description::new("[camera.gate]\nuri = \"test:red\"\n");
    let play = Play::start(&description.path(), "site.src_gaet ! fakesink async=false");
    let bus = play.pipeline.bus().unwrap();
    let warning = bus.timed_pop_filtered(gst::ClockTime::from_seconds(60), &[gst::MessageType::Warning]).unwrap();
    let gst::MessageView::Warning(warning) = warning.view() else { unreachable!() };
    assert!(warning.error().to_string().contains("gaet"), "{warning:?}");
}

#[test]
fn a_handler_may_give_back_the_pad_that_a_warning_is_about() {
    let description = Description::new("[camera.gate]\nuri = \"test:red\"\n");
    init();
    let pipeline = gst::Pipeline::new();
    let site = gst::ElementFactory::make("vigilsite").build().unwrap();
    site.set_property("config", description.path().display().to_string());
    pipeline.add(&site).unwrap();
    let pad = site.request_pad_simple("src_gaet").unwrap();
    let of_handler = site.clone();
    pipeline.bus().unwrap().set_sync_handler(move |_, message| {
        if message.type_() == gst::MessageType::Warning {
            of_handler.release_request_pad(&pad);
        }
        gst::BusSyncReply::Drop
    });
    let (started, has_started) = std::sync::mpsc::channel();
    let starting = pipeline.clone();
    std::thread::spawn(move || started.send(starting.set_state(gst::State::Playing).is_ok()));
    assert_eq!(has_started.recv_timeout(LONG), Ok(true), "it waits for nobody");
    assert!(site.pads().is_empty());
    pipeline.set_state(gst::State::Null).unwrap();
}

#[test]
fn what_cameras_do_is_told_and_another_description_touches_only_what_is_different() {
    let description = Description::new("[camera.gate]\nuri = \"test:red\"\n");
    let mut play = Play::start(&description.path(), "");
    play.until_state("gate", "playing");
    play.until_more_frames("gate", 5);
    assert_eq!(play.stat::<String>("gate", "state").as_deref(), Some("playing"));
    let before = play.frames("gate");

    description.write("[camera.gate]\nuri = \"test:red\"\n[camera.yard]\nuri = \"test:ball\"\n");
    assert!(play.site.emit_by_name::<bool>("reload", &[]));
    play.until_state("yard", "playing");
    assert!(play.frames("gate") >= before, "it goes on counting: it was not built anew");

    // One that does not check changes nothing.
    description.write("[camera.gate]\nuri = \"test:red\"\ntransprot = \"tcp\"\n");
    assert!(!play.site.emit_by_name::<bool>("reload", &[]));
    play.until_more_frames("yard", 3);

    description.write("[camera.gate]\nuri = \"test:red\"\n");
    assert!(play.site.emit_by_name::<bool>("reload", &[]));
    let end = Instant::now() + LONG;
    while play.stat::<String>("yard", "state").is_some() {
        assert!(Instant::now() < end, "yard is still there");
        std::thread::park_timeout(Duration::from_millis(20));
    }
    play.until_more_frames("gate", 3);
    assert!(play.told.iter().all(|s| text(s, "camera") != "gate" || s.name() != "vigil-camera"), "{:?}", play.told);
}

#[test]
fn actions_reach_the_camera_that_they_name() {
    let description = Description::new("[camera.gate]\nuri = \"test:red\"\n");
    let mut play = Play::start(&description.path(), "");
    play.until_state("gate", "playing");

    let none = None::<gst::Structure>;
    let ids: Vec<String> = play.site.emit_by_name("swap-model", &[&"gate", &model("blob96"), &none]);
    assert_eq!(ids.len(), 1);
    let ended = |s: &gst::Structure| {
        s.name() == "vigil-model" && ["confirmed", "rejected"].contains(&text(s, "phase").as_str())
    };
    let end = play.until("the end of the swap", ended);
    assert_eq!((text(&end, "phase").as_str(), text(&end, "camera").as_str()), ("confirmed", "gate"));
    assert!(play.site.emit_by_name::<Vec<String>>("swap-model", &[&"yard", &model("blob96"), &none]).is_empty());

    let picture: Option<gst::Sample> = play.site.emit_by_name("snapshot", &[&"gate"]);
    let map = picture.as_ref().and_then(|sample| sample.buffer()).unwrap().map_readable().unwrap();
    assert_eq!(map.get(..2), Some(&[0xff, 0xd8][..]), "a JPEG picture");

    assert!(play.site.emit_by_name::<bool>("force-bypass", &[&"gate", &true]));
    play.until("the bypass", |s| s.name() == "vigil-watchdog" && text(s, "to") == "bypassing");
    assert!(play.site.emit_by_name::<bool>("force-bypass", &[&"gate", &false]));

    assert!(play.site.emit_by_name::<bool>("enable", &[&"gate", &false]));
    play.until_state("gate", "disabled");
    assert!(play.site.emit_by_name::<bool>("enable", &[&"gate", &true]));
    play.until_state("gate", "playing");
    assert!(!play.site.emit_by_name::<bool>("enable", &[&"yard", &true]));
}

#[test]
fn a_camera_that_cannot_be_built_does_not_keep_the_others_from_playing() {
    let description =
        Description::new("[camera.gate]\nuri = \"test:red\"\n[camera.lost]\nuri = \"rtsp://127.0.0.1:9/none\"\n");
    let mut play = Play::start(&description.path(), "");
    let lost =
        play.until("lost", |s| text(s, "camera") == "lost" && ["lost", "failed"].contains(&text(s, "state").as_str()));
    assert_eq!(text(&lost, "reason"), "refused", "{lost:?}");
    play.until_more_frames("gate", 3);
}

#[test]
fn it_starts_again_after_a_stop() {
    let description = Description::new("[camera.gate]\nuri = \"test:red\"\n");
    let mut play =
        Play::start(&description.path(), "site.src_gate ! appsink name=sink sync=false max-buffers=2 drop=true");
    for _ in 0..3 {
        play.until_state("gate", "playing");
        let sink = play.pipeline.by_name("sink").unwrap().downcast::<gst_app::AppSink>().unwrap();
        assert!(sink.pull_sample().is_ok());
        play.pipeline.set_state(gst::State::Ready).unwrap();
        play.pipeline.set_state(gst::State::Playing).unwrap();
        play.told.clear();
    }
}

/// Writes a clip of ten pictures.
fn write_clip(video: &Path) {
    let line = format!("videotestsrc num-buffers=10 ! {CAPS} ! avimux ! filesink location=\"{}\"", video.display());
    let writer = gst::parse::launch(&line).unwrap();
    writer.set_state(gst::State::Playing).unwrap();
    let ends = [gst::MessageType::Eos, gst::MessageType::Error];
    let end = writer.bus().unwrap().timed_pop_filtered(gst::ClockTime::from_seconds(60), &ends).unwrap();
    assert_eq!(end.type_(), gst::MessageType::Eos, "{end:?}");
    writer.set_state(gst::State::Null).unwrap();
}

#[test]
fn the_stream_ends_when_all_files_have() {
    init();
    let description = Description::new("");
    write_clip(&description.folder.path().join("clip.avi"));
    description.write("[camera.one]\nuri = \"file:clip.avi\"\n[camera.two]\nuri = \"clip.avi\"\n");
    let play = Play::start(&description.path(), "");
    let bus = play.pipeline.bus().unwrap();
    let ends = [gst::MessageType::Eos, gst::MessageType::Error];
    let end = bus.timed_pop_filtered(gst::ClockTime::from_seconds(60), &ends).unwrap();
    assert_eq!(end.type_(), gst::MessageType::Eos, "{end:?}");
    assert_eq!((play.frames("one"), play.frames("two")), (10, 10));
    assert_eq!(play.stat::<String>("one", "state").as_deref(), Some("ended"));
}

#[test]
fn a_pad_whose_camera_has_ended_is_to_be_requested_anew() {
    init();
    let description = Description::new("");
    write_clip(&description.folder.path().join("clip.avi"));
    let cameras =
        |repeat| format!("[camera.one]\nuri = \"file:clip.avi\"\n{repeat}\n[camera.two]\nuri = \"test:ball\"\n");
    description.write(&cameras(""));
    let play = Play::start(&description.path(), "site.src_one ! appsink name=sink sync=false");
    let sink = play.pipeline.by_name("sink").unwrap().downcast::<gst_app::AppSink>().unwrap();
    let pictures = std::iter::from_fn(|| sink.try_pull_sample(gst::ClockTime::from_seconds(60)));
    assert_eq!(pictures.count(), 10);
    assert!(sink.is_eos());

    description.write(&cameras("loop = true"));
    assert!(play.site.emit_by_name::<bool>("reload", &[]));
    let bus = play.pipeline.bus().unwrap();
    let warning = bus.timed_pop_filtered(gst::ClockTime::from_seconds(60), &[gst::MessageType::Warning]).unwrap();
    let gst::MessageView::Warning(warning) = warning.view() else { unreachable!() };
    assert!(warning.error().to_string().contains("request it anew"), "{warning:?}");
    let pad = sink.static_pad("sink").unwrap().peer().unwrap();
    play.site.release_request_pad(&pad);
    let again = gst_app::AppSink::builder().sync(false).build();
    play.pipeline.add(&again).unwrap();
    again.sync_state_with_parent().unwrap();
    let pad = play.site.request_pad_simple("src_one").unwrap();
    pad.link(&again.static_pad("sink").unwrap()).unwrap();
    assert!(again.try_pull_sample(gst::ClockTime::from_seconds(60)).is_some());
}

#[test]
fn what_the_machine_lacks_costs_what_needs_it_until_it_is_there() {
    init();
    let elsewhere = tempfile::tempdir().unwrap();
    let bundle = common::bundles::good("1").folder(elsewhere.path());
    let cameras = "[camera.gate]\nuri = \"test:red\"\nprofile = \"none\"\n\
        [camera.yard]\nuri = \"test:red\"\nprofile = \"people\"\nreconnect = { first = \"100ms\", most = \"200ms\" }\n\
        [profile.none]\nstage = []\n\
        [profile.people]\nstage = [{ element = \"vigilinfer\", model = \"late-reds\" }]\nwatchdog.enabled = false\n";
    let description = Description::new(cameras);
    let mut play = Play::start(&description.path(), "");
    let failed = play.until_state("yard", "failed");
    assert!(text(&failed, "text").contains("late-reds"), "{failed:?}");
    play.until_more_frames("gate", 3);
    // Nothing else may be lacking in another description.
    description.write(&format!("{cameras}[camera.dock]\nuri = \"no.mp4\"\nprofile = \"none\"\n"));
    assert!(!play.site.emit_by_name::<bool>("reload", &[]));
    description.write(&format!("{cameras}[camera.dock]\nuri = \"test:ball\"\nprofile = \"none\"\n"));
    assert!(play.site.emit_by_name::<bool>("reload", &[]));
    play.until_state("dock", "playing");
    assert!(play.site.emit_by_name::<bool>("enable", &[&"dock", &false]));
    play.until_state("dock", "disabled");

    std::fs::rename(bundle, description.folder.path().join("late-reds")).unwrap();
    play.until_state("yard", "playing");
    assert_eq!(play.stat::<String>("dock", "state").as_deref(), Some("disabled"), "what was switched off stays so");
}
