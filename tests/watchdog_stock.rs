//! The watchdog around elements that come with GStreamer, in real seeks, and through many faults in a row.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may")]

mod common;
#[path = "common/faulty.rs"]
#[allow(dead_code, reason = "each test binary uses a part")]
mod faulty;
#[path = "common/watchdog_rig.rs"]
#[allow(dead_code, reason = "each test binary uses a part")]
mod watchdog_rig;

use faulty::{Control, Fault};
use gst::prelude::*;
use gst_app::AppSink;
use watchdog_rig::{Rig, guarded, until};

/// Why analysis ended, each time that it did.
fn causes(rig: &Rig) -> Vec<String> {
    let ends = rig.changes().into_iter().filter(|change| change.from == "analysing");
    ends.map(|change| change.cause).collect()
}

/// Sends frames one by one, and lets each out, moving the clock where nothing else lets it go.
fn one_by_one(rig: &Rig, count: u64) {
    for _ in 0..count {
        rig.frames(1);
        rig.advance("a frame", || rig.all_out());
    }
}

#[test]
fn an_identity_that_sleeps_is_late() {
    let rig = Rig::unmarked("identity sleep-time=300000");
    rig.play();
    rig.recover();
    one_by_one(&rig, 8);
    rig.check();
    assert_eq!(causes(&rig)[0], "deadline");
}

#[test]
fn an_identity_that_posts_errors_is_replaced_again_and_again() {
    let rig = Rig::unmarked("identity error-after=12");
    rig.play();
    for _ in 0..3 {
        rig.recover();
        let ends = causes(&rig).len();
        rig.frames(20);
        rig.wait("all frames", || rig.all_out());
        rig.wait("the end of analysis", || causes(&rig).len() > ends);
    }
    rig.check();
    assert!(causes(&rig).iter().all(|cause| cause == "error"), "{:?}", causes(&rig));
    assert!(rig.out().iter().filter(|frame| frame.analysed()).count() > 10, "{}", rig.story());
}

#[test]
fn an_identity_that_drops_frames_costs_them_their_analysis_only() {
    let rig = Rig::unmarked("identity drop-probability=0.3");
    rig.play();
    rig.recover();
    rig.frames(200);
    rig.advance("all frames", || rig.all_out());
    rig.check();
    let analysed = rig.out().iter().filter(|frame| frame.analysed()).count();
    assert!((1..200).contains(&analysed), "{}", rig.story());
}

#[test]
fn an_identity_that_ends_the_stream_does_not_end_it() {
    let rig = Rig::unmarked("identity eos-after=12");
    rig.play();
    rig.recover();
    rig.frames(20);
    rig.wait("all frames", || rig.all_out());
    rig.wait("the end of analysis", || !causes(&rig).is_empty());
    rig.recover();
    rig.event(gst::event::Eos::new());
    rig.wait("the end of the stream", || rig.all_out());
    rig.check();
    assert!(["eos", "flow"].contains(&causes(&rig)[0].as_str()), "{:?}", causes(&rig));
}

#[test]
fn a_chain_of_other_peoples_elements_analyses_every_frame() {
    let chain = "videoconvert ! videobalance brightness=0.2 ! videoflip method=none ! videoconvert \
                 ! capsfilter caps=video/x-raw,format=RGB";
    let rig = Rig::unmarked(chain);
    rig.play();
    rig.recover();
    rig.healthy(20);
    rig.caps(8);
    rig.healthy(20);
    rig.seek();
    rig.healthy(20);
    rig.event(gst::event::Eos::new());
    rig.wait("the end of the stream", || rig.all_out());
    rig.check();
    assert!(causes(&rig).is_empty(), "{}", rig.story());
}

#[test]
fn a_queue_that_leaks_costs_frames_their_analysis_only() {
    let control = Control::new();
    let rig = Rig::new(&format!("queue leaky=downstream max-size-buffers=1 ! {}", control.line()));
    rig.play();
    rig.recover();
    for _ in 0..3 {
        control.inject(Fault::Hang, rig.next() + 1, Some(1));
        let hits = control.hits();
        rig.frames(12);
        control.wait_for_hits(hits + 1);
        rig.advance("all frames", || rig.all_out());
        control.release();
        rig.recover();
    }
    one_by_one(&rig, 20);
    rig.check();
    let untouched = rig.out().iter().filter(|frame| !frame.analysed()).count();
    assert!(untouched >= 3, "{}", rig.story());
}

#[test]
fn a_seek_in_a_pipeline_brings_exactly_what_it_asked_for_while_the_chain_fails() {
    for fault in [
        Fault::Hang,
        Fault::Deadlock,
        Fault::LockedObject,
        Fault::HangFlush,
        Fault::Panic,
        Fault::Flow(gst::FlowError::Error),
        Fault::Swallow,
    ] {
        let control = Control::new();
        common::init();
        let line = format!(
            "videotestsrc ! video/x-raw,format=RGB,width=16,height=16,framerate=100/1 \
             ! vigilwatchdog deadline=50000000 max-misses=2 chain=\"{}\" \
             ! appsink name=out sync=false max-buffers=1",
            control.line()
        );
        let pipeline = gst::parse::launch(&line).unwrap().downcast::<gst::Pipeline>().unwrap();
        let sink: AppSink = pipeline.by_name("out").unwrap().downcast().unwrap();
        pipeline.set_state(gst::State::Playing).unwrap();
        let time = |sample: &gst::Sample| sample.buffer().unwrap().pts().unwrap().mseconds();
        for n in 0..10 {
            assert_eq!(time(&sink.pull_sample().unwrap()), 10 * n, "{fault:?}");
        }
        control.inject(fault, 0, None);
        if fault != Fault::HangFlush {
            until("the fault", || {
                let _ = sink.try_pull_sample(gst::ClockTime::ZERO);
                control.hits() > 0
            });
        }
        let for_thread = pipeline.clone();
        let [start, stop] = [2000, 2500].map(gst::ClockTime::from_mseconds);
        let seek = move || {
            let set = gst::SeekType::Set;
            for_thread.seek(1.0, gst::SeekFlags::FLUSH | gst::SeekFlags::ACCURATE, set, start, set, stop)
        };
        guarded("a seek", seek).unwrap();
        let mut seen = Vec::new();
        let long = gst::ClockTime::from_seconds(60);
        while let Some(sample) = sink.try_pull_sample(long) {
            seen.push(time(&sample));
        }
        assert!(sink.is_eos(), "{fault:?}: {} frames, then nothing", seen.len());
        assert_eq!(seen, (200..250).map(|n| 10 * n).collect::<Vec<_>>(), "{fault:?}");
        assert!(control.hits() > 0, "{fault:?}");
        let error = pipeline.bus().unwrap().pop_filtered(&[gst::MessageType::Error]);
        assert!(error.is_none(), "{fault:?}: {error:?}");
        guarded("the change to NULL", move || pipeline.set_state(gst::State::Null)).unwrap();
        control.release();
    }
}

#[test]
fn elements_in_the_bin_fare_like_those_of_a_description() {
    for fault in [
        Fault::Hang,
        Fault::Deadlock,
        Fault::LockedObject,
        Fault::HangStopping,
        Fault::Panic,
        Fault::Flow(gst::FlowError::Error),
    ] {
        let control = Control::new();
        common::init();
        let bin = gst::ElementFactory::make("vigilwatchdog").build().unwrap();
        let element = gst::parse::launch(&control.line()).unwrap();
        bin.downcast_ref::<gst::Bin>().unwrap().add(&element).unwrap();
        drop(element);
        let rig = Rig::with(bin);
        rig.play();
        rig.recover();
        rig.healthy(5);
        if fault == Fault::HangStopping {
            control.inject(Fault::Flow(gst::FlowError::Error), rig.next() + 1, Some(1));
        }
        control.inject(fault, rig.next() + 1, Some(1));
        rig.frames(6);
        control.wait_for_hits(1);
        rig.advance("all frames", || rig.all_out());
        rig.wait("the end of analysis", || !causes(&rig).is_empty());
        rig.recover();
        rig.healthy(5);
        rig.stop();
        rig.check();
        // The copies serve again after a stop.
        rig.play();
        rig.recover();
        rig.healthy(5);
        rig.check();
        control.release();
        drop(rig);
        until("nothing of the chains is left", || control.instances() == 0);
    }
}

/// `VIGIL_TEST_FAULTS` chooses how many: 200 by default.
#[test]
fn no_frame_is_lost_over_hundreds_of_hangs_errors_and_panics() {
    let count = std::env::var("VIGIL_TEST_FAULTS").map_or(200, |text| text.parse().unwrap());
    let kinds = [
        Fault::Hang,
        Fault::Flow(gst::FlowError::Error),
        Fault::Panic,
        Fault::ErrorMessage,
        Fault::Deadlock,
        Fault::Eos,
        Fault::ChangeCaps,
    ];
    let control = Control::new();
    let rig = Rig::new(&control.line());
    rig.play();
    for n in 0..count {
        rig.recover();
        let (fault, ends) = (kinds[n % kinds.len()], causes(&rig).len());
        control.inject(fault, rig.next() + 1, Some(1));
        rig.frames(4);
        control.wait_for_hits(n as u64 + 1);
        rig.advance("all frames", || rig.all_out());
        if !matches!(fault, Fault::Hang | Fault::Deadlock) {
            rig.wait("the end of analysis", || causes(&rig).len() > ends);
        }
        // Those that hang stay for a while, beside the new ones.
        if n % 10 == 9 {
            control.release();
            rig.wait("what hung to be gone", || {
                // Messages hold who sent them.
                rig.changes();
                control.instances() <= 1
            });
        }
        assert!(rig.stat("abandoned") <= 4, "{}", rig.story());
    }
    rig.recover();
    rig.healthy(5);
    rig.check();
    let out = rig.out();
    let analysed = out.iter().filter(|frame| frame.analysed()).count();
    println!("{count} faults; {} frames in and out, {analysed} analysed", out.len());
    control.release();
}
