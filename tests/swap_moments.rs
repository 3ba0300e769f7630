//! Models that are replaced at bad times: while the stream changes, ends, is flushed or stopped, and by many at once.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may")]

mod common;

use std::collections::BTreeSet;
use std::sync::mpsc;

use common::bundles::{BRIGHT, DARK, Draft, Fault, Scene, good_other};
use common::site::{Site, fresh, nothing_is_left, path, wait_until};
use common::swap_rig::{self, Camera, LONG, QUICK, id, phases, text};
use common::{frame, model, result};
use gst::prelude::*;
use gst_video::VideoFormat;
use gstvigil::result::Freshness;

const ALL: [&str; 8] = ["requested", "staged", "verified", "loaded", "proven", "activated", "probation", "confirmed"];

/// Swaps with `act` done at each phase; whatever it does, frames are fresh and the swap ends well.
fn withstands(properties: &str, mut act: impl FnMut(&mut Camera, usize)) {
    let mut site = Site::start(properties);
    let new = good_other("99").folder(&site.place("new"));
    let mut at = 0;
    let told = site.at_each_phase(&new, |camera, _| {
        act(camera, at);
        at += 1;
        for _ in 0..2 {
            camera.look();
        }
    });
    assert_eq!(phases(&told), ALL, "{told:#?}");
    for result in site.camera.results.drain(..) {
        let release = result.model.as_ref().unwrap().release.clone();
        fresh(&result, &release);
    }
    assert_eq!(site.count("errors"), 0);
    assert_eq!(site.property(), path(&new));
}

#[test]
fn caps_may_change_at_each_phase() {
    let kinds = [(VideoFormat::I420, 320, 240), (VideoFormat::Nv12, 64, 48), (VideoFormat::Rgb, 160, 120)];
    withstands(QUICK, |camera, at| {
        let (format, width, height) = kinds[at % kinds.len()];
        camera.caps = common::caps(format, width, height);
        camera.harness.set_src_caps(camera.caps.clone());
    });
}

/// The segment that frames need after a flush or a new stream.
fn segment(camera: &mut Camera) {
    let segment = gst::FormattedSegment::<gst::ClockTime>::new();
    assert!(camera.harness.push_event(gst::event::Segment::new(&segment)));
}

#[test]
fn a_flush_may_come_at_each_phase() {
    withstands(QUICK, |camera, _| {
        // One is on its way, and may be dropped.
        camera.harness.push(frame(&camera.caps, camera.color, camera.frames)).unwrap();
        camera.frames += 1;
        assert!(camera.harness.push_event(gst::event::FlushStart::new()));
        assert!(camera.harness.push_event(gst::event::FlushStop::new(true)));
        while camera.harness.try_pull().is_some() {}
        segment(camera);
    });
}

#[test]
fn the_stream_may_end_at_each_phase_and_another_begin() {
    withstands(QUICK, |camera, at| {
        assert!(camera.harness.push_event(gst::event::Eos::new()));
        assert!(camera.harness.push_event(gst::event::StreamStart::new(&format!("another {at}"))));
        camera.harness.set_src_caps(camera.caps.clone());
        segment(camera);
    });
}

#[test]
fn a_model_takes_over_at_the_end_of_the_stream() {
    let mut site = Site::start(QUICK);
    let new = good_other("99").folder(&site.place("new"));
    assert!(site.camera.harness.push_event(gst::event::Eos::new()));
    let number = site.camera.swap(&path(&new));
    wait_until("it is on probation", || text(&site.camera.stats(), "swap-phase") == "probation");
    site.camera.harness.push_event(gst::event::StreamStart::new("another"));
    site.camera.harness.set_src_caps(site.camera.caps.clone());
    segment(&mut site.camera);
    assert_eq!(text(site.camera.outcome(number).last().unwrap(), "phase"), "confirmed");
    fresh(&site.camera.look(), "99");
}

/// Stops the element at the very moment when a request is in `phase`; what became of it.
fn stops_at(site: &mut Site, number: u64, phase: &'static str, options: Option<gst::Structure>) -> (String, String) {
    let new = good_other("99").folder(&site.place("new"));
    let element = site.camera.element.clone();
    let (sender, stopped) = mpsc::channel();
    site.when(number, phase, move || {
        let stop = std::thread::spawn(move || element.set_state(gst::State::Null).unwrap());
        stop.join().unwrap();
        sender.send(()).unwrap();
    });
    let asked = site.camera.swap_with(&path(&new), options);
    assert!(asked == number, "request {number} has the number {asked}");
    stopped.recv_timeout(LONG).unwrap_or_else(|_| panic!("the element does not stop in the phase {phase}"));
    let last = || {
        let history: gst::Array = site.camera.element.property("swap-history");
        history.last().unwrap().get::<gst::Structure>().unwrap()
    };
    let ends = ["confirmed", "rejected", "rolled-back"];
    wait_until("the request ends", || id(&last()) == number && ends.contains(&text(&last(), "phase").as_str()));
    let last = last();
    nothing_is_left(0);
    wait_until("all threads end", || !common::threads().iter().any(|name| name.starts_with("vigil-")));
    (text(&last, "phase"), text(&last, "reason"))
}

#[test]
fn the_element_may_stop_in_each_phase_and_starts_again_with_a_good_model() {
    for isolation in ["", "isolation=process"] {
        let mut site = Site::start(&format!("{QUICK} {isolation}"));
        for (number, phase) in (1..).zip(&ALL[..7]) {
            let ended = stops_at(&mut site, number, phase, None);
            let expected = if number < 6 { "rejected" } else { "rolled-back" };
            assert_eq!(ended, (expected.into(), "stopped".into()), "{phase}");
            assert_eq!(site.property(), path(&site.old));
            site.camera.element.set_state(gst::State::Playing).unwrap();
            fresh(&site.camera.look(), "1");
        }
        let now = gst::Structure::builder("options").field("probation-time", 0_u64).field("probation-frames", 0_u64);
        let ended = stops_at(&mut site, 8, "confirmed", Some(now.build()));
        assert_eq!(ended, ("confirmed".into(), String::new()));
        site.camera.element.set_state(gst::State::Playing).unwrap();
        fresh(&site.camera.look(), "99");
        let first = site.old.clone();
        assert_eq!(site.camera.swapped(&path(&first)), ("confirmed".into(), String::new()));
        fresh(&site.camera.look(), "1");
    }
}

#[test]
fn what_is_left_of_a_request_does_not_touch_the_element_that_runs_again() {
    for (number, phase) in (1..).zip(["proven", "activated", "probation"]) {
        let mut site = Site::start(QUICK);
        let new = good_other("99").folder(&site.place("new"));
        let element = site.camera.element.clone();
        let (sender, again) = mpsc::channel();
        // The thread of the swap is held until the element runs again, with another model.
        site.when(1, phase, move || {
            element.set_state(gst::State::Null).unwrap();
            element.set_property("model", model("blob_three"));
            element.set_state(gst::State::Playing).unwrap();
            sender.send(()).unwrap();
        });
        site.camera.swap(&path(&new));
        again.recv_timeout(LONG).unwrap();
        wait_until("the swap's thread ends", || !common::threads().iter().any(|name| name == "vigil-swap"));
        for _ in 0..3 {
            assert_eq!(site.camera.look().model.as_ref().unwrap().name, "blob_three", "{number} {phase}");
        }
        assert_eq!(site.camera.active(), "blob_three", "{phase}");
        let another = path(&new);
        assert_eq!(site.camera.swapped(&another), ("confirmed".into(), String::new()), "{phase}");
    }
}

#[test]
fn of_a_thousand_requests_of_four_threads_the_last_one_counts() {
    let mut site = Site::start(QUICK);
    let others = ["blob96", "blob_three", "blob_crash_load", "blob_hang_load"].map(model);
    let askers: Vec<_> = (0..4)
        .map(|asker| {
            let (element, others) = (site.camera.element.clone(), others.clone());
            std::thread::spawn(move || {
                for n in 0..250 {
                    let content = gst::Structure::builder("vigil-swap-model").field("model", &others[(asker + n) % 4]);
                    assert!(element.send_event(gst::event::CustomUpstream::new(content.build())));
                }
            })
        })
        .collect();
    while !askers.iter().all(std::thread::JoinHandle::is_finished) {
        fresh(&site.camera.look(), "1");
    }
    askers.into_iter().for_each(|asker| asker.join().unwrap());
    assert_eq!(site.count("swaps"), 1000);
    let last = site.camera.swap(&model("blob96"));
    assert_eq!(last, 1001);
    assert_eq!(text(site.camera.outcome(last).last().unwrap(), "phase"), "confirmed");
    assert_eq!(site.camera.active(), "blob96");
    let ended = |site: &Site| ["confirmed", "rejected", "rolled-back"].map(|e| site.count(&format!("swaps-{e}")));
    assert_eq!(ended(&site).iter().sum::<u64>(), 1001, "each has one end: {:?}", ended(&site));
    assert!(site.camera.results.iter().all(|r| r.freshness == Freshness::Fresh && r.objects.len() == 1));
    nothing_is_left(0);
}

#[test]
fn an_earlier_request_that_is_slow_to_be_told_does_not_undo_a_later_one() {
    let mut site = Site::start("probation-time=0 probation-frames=0");
    let element = site.camera.element.clone();
    // The first request is held until the second one is through.
    site.when(1, "requested", move || {
        let second = std::thread::spawn(move || {
            let number: u64 = element.emit_by_name("swap-model", &[&model("blob96"), &None::<gst::Structure>]);
            assert_eq!(number, 2);
            let confirmed = || element.property::<gst::Structure>("stats").get::<u64>("swaps-confirmed").unwrap();
            wait_until("the second request is through", || confirmed() == 1);
        });
        second.join().unwrap();
    });
    assert_eq!(site.camera.swapped(&model("blob_three")), ("rejected".into(), "superseded".into()));
    nothing_is_left(0);
    assert_eq!((site.camera.active(), site.property()), ("blob96".into(), model("blob96")));
}

#[test]
fn a_request_during_probation_begins_from_the_old_model() {
    let mut site = Site::start("probation-frames=1000000");
    let first = site.camera.swap(&model("blob_three"));
    site.camera.until("probation", |s| text(s, "phase") == "probation");
    let now = gst::Structure::builder("options").field("probation-time", 0_u64).field("probation-frames", 3_u64);
    let second = site.camera.swap_with(&model("blob96"), Some(now.build()));
    let told = site.camera.outcome(second);
    assert_eq!(phases(&told), ALL, "{told:#?}");
    for message in told.iter().filter(|s| ["activated", "confirmed"].contains(&text(s, "phase").as_str())) {
        assert_eq!(text(message, "old-name"), "reds", "{message:#?}");
    }
    let history: gst::Array = site.camera.element.property("swap-history");
    let mut of_first = history.iter().map(|s| s.get::<gst::Structure>().unwrap()).filter(|s| id(s) == first);
    let last = of_first.next_back().unwrap();
    assert_eq!((text(&last, "phase"), text(&last, "reason")), ("rolled-back".into(), "superseded".into()));
    assert!(site.camera.results.iter().all(|r| r.freshness == Freshness::Fresh && r.objects.len() == 1));
}

#[test]
fn a_proof_that_hangs_is_given_up_when_another_model_is_asked_for() {
    let mut site = Site::start(QUICK);
    // White: its runs have no end then.
    let white = Scene { size: (32, 32), red: (0, 0, 1, 1), grey: 255 };
    let hangs = Draft::new("hang", "2").labels(&["red", "blue"]).size(32).reference(&[white], 0, "");
    let first = site.camera.swap(&path(&hangs.folder(&site.place("hangs"))));
    site.camera.until("loaded", |s| text(s, "phase") == "loaded");
    site.takes_another();
    let history: gst::Array = site.camera.element.property("swap-history");
    let mut of_first = history.iter().map(|s| s.get::<gst::Structure>().unwrap()).filter(|s| id(s) == first);
    let last = of_first.next_back().unwrap();
    assert_eq!((text(&last, "phase"), text(&last, "reason")), ("rejected".into(), "superseded".into()));
    nothing_is_left(0);
}

fn kill(camera: &Camera) {
    let Ok(pid) = camera.stats().get::<u64>("engine-pid") else { return };
    // SAFETY: sends a signal to a process that this test's engine has started; it may have ended.
    unsafe { libc::kill(i32::try_from(pid).unwrap(), libc::SIGKILL) };
}

#[test]
fn the_active_models_process_may_be_killed_at_each_phase_before_another_takes_over() {
    let mut site = Site::start(&format!("{QUICK} isolation=process"));
    let new = good_other("99").folder(&site.place("new"));
    let told = site.at_each_phase(&new, |camera, phase| {
        if ["requested", "staged", "verified", "loaded", "proven"].contains(&phase) {
            kill(camera);
        }
    });
    assert_eq!(phases(&told), ALL, "{told:#?}");
    for result in site.camera.results.drain(..) {
        let new = result.model.as_ref().unwrap().release == "99";
        assert!(!new || result.freshness == Freshness::Fresh, "{result:?}");
    }
    fresh(&site.camera.look(), "99");
}

#[test]
fn a_model_whose_process_is_killed_on_probation_is_rolled_back() {
    let mut site = Site::start("isolation=process probation-time=0 probation-frames=20");
    let new = good_other("99").folder(&site.place("new"));
    let told = site.at_each_phase(&new, |camera, phase| {
        if phase == "probation" {
            kill(camera);
        }
    });
    let last = told.last().unwrap();
    assert_eq!((text(last, "phase"), text(last, "reason")), ("rolled-back".into(), "errors".into()), "{told:#?}");
    fresh(&site.camera.look(), "1");
    nothing_is_left(1);
}

#[test]
fn skipped_and_held_frames_say_what_the_model_that_they_name_has_found() {
    let mut site = Site::start(&format!("{QUICK} interval=2 when-busy=hold"));
    let new = good_other("99").folder(&site.place("new"));
    assert_eq!(site.camera.swapped(&path(&new)), ("confirmed".into(), String::new()));
    for _ in 0..4 {
        site.camera.look();
    }
    let releases: BTreeSet<String> =
        site.camera.results.iter().map(|r| r.model.as_ref().unwrap().release.clone()).collect();
    assert_eq!(releases.into_iter().collect::<Vec<_>>(), ["1", "99"]);
    for (n, result) in site.camera.results.iter().enumerate() {
        let [object] = result.objects.as_slice() else { panic!("{result:?}") };
        let class = u32::from(result.model.as_ref().unwrap().release == "99");
        assert_eq!(object.class_id, class, "{result:?}");
        assert_eq!(matches!(result.freshness, Freshness::Held { .. }), n % 3 != 0, "{n}: {result:?}");
    }
}

#[test]
fn a_detector_and_a_classifier_take_over_from_each_other() {
    let mut site = Site::start(QUICK);
    assert_eq!(site.camera.swapped(&model("colors")), ("confirmed".into(), String::new()));
    let seen = site.camera.look();
    assert_eq!((seen.objects.len(), seen.classes.first().map(|c| c.class_id)), (0, Some(0)));
    let old = path(&site.old);
    assert_eq!(site.camera.swapped(&old), ("confirmed".into(), String::new()));
    fresh(&site.camera.look(), "1");
    for result in &site.camera.results {
        let classifies = result.model.as_ref().unwrap().name == "colors";
        assert_eq!(result.freshness, Freshness::Fresh);
        assert_eq!((result.objects.is_empty(), result.classes.is_empty()), (classifies, !classifies), "{result:?}");
    }
}

#[test]
fn a_model_with_another_layout_takes_over() {
    let mut site = Site::start(QUICK);
    let last = Draft::new("blob_last", "2").reference(&[DARK, BRIGHT], 0, "").folder(&site.place("last"));
    assert_eq!(site.camera.swapped(&path(&last)), ("confirmed".into(), String::new()));
    fresh(&site.camera.look(), "2");
    site.camera.results.drain(..).for_each(|result| fresh(&result, &result.model.as_ref().unwrap().release));
    site.takes_another();
}

#[test]
fn elements_that_share_an_engine_swap_independently() {
    let (mut one, mut other) = (Site::start(QUICK), Site::start(QUICK));
    one.takes_another();
    for _ in 0..3 {
        fresh(&other.camera.look(), "1");
        fresh(&one.camera.look(), "99");
    }
    assert_eq!((one.count("swaps"), other.count("swaps")), (1, 0));
    let bad = Fault::Blind.write("2", &other.place("bad"));
    other.rejects(&bad, "reference-mismatch");
    other.takes_another();
    drop(other);
    fresh(&one.camera.look(), "99");
}

#[test]
fn frames_under_way_when_another_model_takes_over_come_out_once_and_in_order() {
    // The old model takes its time, so that four frames are under way whenever the new one takes over.
    let mut camera =
        Camera::start(&model("blob_slow"), "max-in-flight=4 threads=4 probation-time=0 probation-frames=5");
    camera.color = swap_rig::BRIGHT;
    let number = camera.swap(&model("blob96"));
    let (mut names, mut pushed) = (Vec::new(), 0);
    let pull = |camera: &mut Camera, names: &mut Vec<String>| {
        let buffer = camera.harness.pull().unwrap();
        assert_eq!(buffer.pts(), Some(gst::ClockTime::from_mseconds(40 * names.len() as u64)), "in order, each once");
        let seen = result(&buffer);
        assert_eq!((seen.freshness, seen.objects.len()), (Freshness::Fresh, 1));
        names.push(seen.model.as_ref().unwrap().name.clone());
    };
    let end = std::time::Instant::now() + LONG;
    while text(&camera.stats(), "swap-phase") != "confirmed" {
        assert!(std::time::Instant::now() < end, "{:?}", camera.stats());
        camera.harness.push(frame(&camera.caps, camera.color, pushed)).unwrap();
        pushed += 1;
        if pushed > 4 {
            pull(&mut camera, &mut names);
        }
    }
    while (names.len() as u64) < pushed {
        pull(&mut camera, &mut names);
    }
    assert!(camera.harness.try_pull().is_none());
    let first_new = names.iter().position(|name| name == "blob96").unwrap();
    assert!(first_new > 0 && names[first_new..].iter().all(|name| name == "blob96"), "{names:?}");
    camera.frames = pushed;
    assert_eq!(text(camera.outcome(number).last().unwrap(), "phase"), "confirmed");
}

#[test]
fn a_swap_does_not_wait_for_a_consumer_that_blocks() {
    let mut site = Site::start(QUICK);
    let new = good_other("99").folder(&site.place("new"));
    let src = site.camera.element.static_pad("src").unwrap();
    let (sender, blocked) = mpsc::channel();
    let sender = std::sync::Mutex::new(sender);
    let probe = src.add_probe(gst::PadProbeType::BLOCK | gst::PadProbeType::BUFFER, move |_, _| {
        let _ = sender.lock().unwrap().send(());
        gst::PadProbeReturn::Ok
    });
    let pushed = site.camera.frames;
    site.camera.harness.push(frame(&site.camera.caps, site.camera.color, pushed)).unwrap();
    blocked.recv_timeout(LONG).unwrap();
    let number = site.camera.swap(&path(&new));
    wait_until("it is on probation", || text(&site.camera.stats(), "swap-phase") == "probation");
    src.remove_probe(probe.unwrap());
    let stuck = site.camera.harness.pull().unwrap();
    fresh(&result(&stuck), "1");
    site.camera.frames += 1;
    assert_eq!(text(site.camera.outcome(number).last().unwrap(), "phase"), "confirmed");
    fresh(&site.camera.look(), "99");
}

#[test]
fn the_same_and_the_empty_value_ask_for_nothing() {
    let mut site = Site::start(QUICK);
    let same = site.property();
    site.camera.element.set_property("model", &same);
    site.camera.element.set_property("model", "");
    for _ in 0..3 {
        fresh(&site.camera.look(), "1");
    }
    assert_eq!(site.count("swaps"), 0);
    site.camera.element.set_property("model", &same);
    fresh(&site.camera.look(), "1");
    site.takes_another();
}
