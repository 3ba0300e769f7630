//! `vigilwatchdog` as a bin among others: its children, its place in a pipeline, its answers to questions.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may")]

mod common;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, mpsc};
use std::time::Duration;

use common::rig::{Item, Rig, buffers};
use common::{caps, frame, init};
use gst::prelude::*;
use gst_video::VideoFormat;

const RED: (u8, u8, u8) = (255, 0, 0);
const GUARD: gst::ClockTime = gst::ClockTime::from_seconds(60);

fn watchdog() -> (gst::Element, gst::Bin) {
    init();
    let element = gst::ElementFactory::make("vigilwatchdog");
    let element = element.property("deadline", 10_000_000_000u64).property("backoff", 1u64).build().unwrap();
    let bin = element.clone().downcast::<gst::Bin>().unwrap();
    (element, bin)
}

fn identity(name: &str) -> gst::Element {
    gst::ElementFactory::make("identity").name(name).build().unwrap()
}

fn nv12() -> gst::Caps {
    caps(VideoFormat::Nv12, 64, 48)
}

fn stat<T: for<'a> glib::value::FromValue<'a> + 'static>(element: &gst::Element, name: &str) -> T {
    element.property::<gst::Structure>("stats").get::<T>(name).ok().unwrap()
}

fn launch(line: &str) -> gst::Pipeline {
    init();
    gst::parse::launch(line).unwrap().downcast::<gst::Pipeline>().unwrap()
}

/// Plays a pipeline to its end.
fn play(pipeline: &gst::Pipeline) {
    pipeline.set_state(gst::State::Playing).unwrap();
    let kinds = [gst::MessageType::Eos, gst::MessageType::Error];
    let message = pipeline.bus().unwrap().timed_pop_filtered(GUARD, &kinds);
    pipeline.set_state(gst::State::Null).unwrap();
    assert_eq!(message.as_ref().map(|m| m.type_()), Some(gst::MessageType::Eos), "{message:?}");
}

/// Pushes frames until `done`.
fn push_until(rig: &Rig, done: impl Fn() -> bool) {
    let caps = nv12();
    let mut n = 0;
    while !done() {
        rig.push(frame(&caps, RED, n)).unwrap();
        n += 1;
        std::thread::yield_now();
    }
}

/// One run of a few frames, all of which the chain takes.
fn run(element: &gst::Element) {
    let before = stat::<u64>(element, "analysed");
    let rig = Rig::new(element);
    rig.start(&nv12());
    (0..3).for_each(|n| assert!(rig.push(frame(&nv12(), RED, n)).is_ok()));
    assert_eq!(buffers(&rig.finish()).len(), 3);
    assert_eq!(stat::<u64>(element, "analysed"), before + 3);
}

#[test]
fn a_sink_or_a_source_in_the_chain_does_not_make_the_bin_one() {
    for chain in
        ["tee name=t t. ! queue ! fakesink t. ! queue", "tee name=t t. ! queue ! fakesink async=false t. ! queue"]
    {
        let line = format!("videotestsrc num-buffers=20 ! vigilwatchdog name=dog chain=\"{chain}\" ! fakesink");
        let pipeline = launch(&line);
        play(&pipeline);
        let flags = pipeline.by_name("dog").unwrap().element_flags();
        assert!(!flags.intersects(gst::ElementFlags::SINK | gst::ElementFlags::SOURCE), "{flags:?}");
    }
}

#[test]
fn settings_that_are_changed_at_the_same_time_all_count() {
    let (element, _) = watchdog();
    for round in 0..2000 {
        std::thread::scope(|scope| {
            scope.spawn(|| element.set_property("max-misses", 1 + round % 7u32));
            scope.spawn(|| element.set_property("force-bypass", round % 2 == 0));
        });
        assert_eq!(stat::<bool>(&element, "forced"), round % 2 == 0, "round {round}");
    }
}

#[test]
fn caps_that_the_chain_cannot_take_end_the_analysis_and_not_the_video() {
    let (element, _) = watchdog();
    element.set_property("chain", "capsfilter caps=video/x-raw,format=NV12");
    let rig = Rig::new(&element);
    rig.start(&nv12());
    assert!(rig.push(frame(&nv12(), RED, 0)).is_ok());
    let other = caps(VideoFormat::I420, 64, 48);
    assert!(rig.event(gst::event::Caps::new(&other)), "the new caps are taken");
    (1..5).for_each(|n| assert!(rig.push(frame(&other, RED, n)).is_ok()));
    assert_eq!(buffers(&rig.finish()).len(), 5);
    assert!(stat::<u64>(&element, "bypassed") > 0);
}

#[test]
fn a_serialised_query_does_not_overtake_what_is_on_its_way_out() {
    let (element, _) = watchdog();
    element.set_property("chain", "identity");
    let rig = Rig::new(&element);
    let asked = Arc::new((Mutex::new(false), Condvar::new()));
    let overtaken = Arc::new(AtomicBool::new(false));
    let (of_query, of_frame, flag) = (Arc::clone(&asked), Arc::clone(&asked), Arc::clone(&overtaken));
    let pad = element.static_pad("src").unwrap();
    pad.peer().unwrap().add_probe(gst::PadProbeType::QUERY_DOWNSTREAM, move |_, info| {
        if info.query().is_some_and(|query| query.type_() == gst::QueryType::Drain) {
            *of_query.0.lock().unwrap() = true;
            of_query.1.notify_all();
        }
        gst::PadProbeReturn::Ok
    });
    pad.add_probe(gst::PadProbeType::BUFFER, move |_, _| {
        // The query has this long to overtake.
        let asked = of_frame.0.lock().unwrap();
        let wait = Duration::from_millis(300);
        let (asked, _) = of_frame.1.wait_timeout_while(asked, wait, |asked| !*asked).unwrap();
        flag.fetch_or(*asked, Ordering::SeqCst);
        gst::PadProbeReturn::Ok
    });
    rig.start(&nv12());
    rig.push(frame(&nv12(), RED, 0)).unwrap();
    element.static_pad("sink").unwrap().peer().unwrap().peer_query(&mut gst::query::Drain::new());
    rig.finish();
    assert!(*asked.0.lock().unwrap(), "downstream was asked");
    assert!(!overtaken.load(Ordering::SeqCst), "before it had the frame");
}

#[test]
fn children_may_be_exchanged_between_runs() {
    let (element, bin) = watchdog();
    let first = identity("first");
    bin.add(&first).unwrap();
    run(&element);
    bin.remove(&first).unwrap();
    let (a, b) = (identity("a"), identity("b"));
    bin.add_many([&a, &b]).unwrap();
    a.link(&b).unwrap();
    run(&element);
    // One more before those that are there.
    let c = identity("c");
    bin.add(&c).unwrap();
    c.link(&a).unwrap();
    run(&element);
    // And a description in place of all of them.
    for child in [&a, &b, &c] {
        bin.remove(child).unwrap();
    }
    element.set_property("chain", "identity name=described");
    run(&element);
    assert!(a.parent().is_none());
}

#[test]
fn what_was_set_on_a_replacement_is_kept_by_the_next_one() {
    let (element, bin) = watchdog();
    bin.add(&identity("inside")).unwrap();
    let rig = Rig::new(&element);
    rig.start(&nv12());
    let inside = || bin.by_name("inside").filter(|_| stat::<String>(&element, "mode") == "analysing");
    push_until(&rig, || inside().is_some());
    for value in [5i32, 7] {
        let was = inside().unwrap();
        element.emit_by_name::<()>("reset", &[]);
        push_until(&rig, || inside().is_some_and(|now| now != was));
        let now = inside().unwrap();
        if value == 7 {
            assert_eq!(now.property::<i32>("datarate"), 5);
        }
        now.set_property("datarate", value);
    }
    rig.finish();
}

#[test]
fn an_error_of_an_earlier_chain_says_nothing_about_the_present_one() {
    let (element, bin) = watchdog();
    let first = identity("inside");
    bin.add(&first).unwrap();
    let rig = Rig::new(&element);
    rig.start(&nv12());
    element.emit_by_name::<()>("reset", &[]);
    push_until(&rig, || stat::<String>(&element, "mode") == "analysing");
    // What fails now stays away.
    element.set_property("backoff", 3_600_000_000_000u64);
    let now = bin.by_name("inside").unwrap();
    let chain = now.parent().and_downcast::<gst::Element>().unwrap();
    let error = |src: &gst::Element| gst::message::Error::builder(gst::StreamError::Failed, "late").src(src).build();
    chain.post_message(error(&first)).unwrap();
    assert_eq!(stat::<String>(&element, "mode"), "analysing");
    chain.post_message(error(&now)).unwrap();
    assert_eq!(stat::<String>(&element, "mode"), "bypassing");
    rig.finish();
}

#[test]
fn children_and_their_properties_are_found_by_name() {
    let (element, bin) = watchdog();
    let (inside, nested) = (identity("inside"), gst::ElementFactory::make("queue").name("buffer").build().unwrap());
    bin.add_many([&inside, &nested]).unwrap();
    inside.link(&nested).unwrap();
    let proxy = element.dynamic_cast_ref::<gst::ChildProxy>().unwrap();
    proxy.set_child_property("inside::sleep-time", 3u32);
    assert_eq!(inside.property::<u32>("sleep-time"), 3);
    assert_eq!(proxy.child_property::<u32>("buffer::max-size-buffers"), 200);
    assert!(proxy.lookup("nobody::name").is_err());
    let names: Vec<_> = bin.iterate_recurse().into_iter().flatten().map(|e| e.name()).collect();
    assert!(names.iter().any(|name| name == "inside"), "{names:?}");
}

#[test]
fn a_chain_that_is_gone_does_not_limit_the_caps() {
    let (element, _) = watchdog();
    element.set_property("chain", "capsfilter caps=video/x-raw,format=NV12");
    run(&element);
    element.set_property("chain", "identity");
    assert!(element.static_pad("sink").unwrap().query_caps(None).is_any());
}

/// A live pipeline is told that frames may be `deadline` late, so that its sink waits as long for those that are not; and
/// the bin must have room for them meanwhile, or a camera that waits for nobody loses frames.
#[test]
fn live_frames_that_wait_for_the_sink_do_not_hold_up_the_camera() {
    let (element, _) = watchdog();
    element.set_property("chain", "identity");
    element.set_property("deadline", 1_000_000_000u64);
    let rig = Rig::new(&element);
    let upstream = element.static_pad("sink").unwrap().peer().unwrap();
    upstream.add_probe(gst::PadProbeType::QUERY_UPSTREAM, |_, info| {
        let Some(query) = info.query_mut() else { return gst::PadProbeReturn::Ok };
        let gst::QueryViewMut::Latency(latency) = query.view_mut() else { return gst::PadProbeReturn::Ok };
        latency.set(true, gst::ClockTime::ZERO, gst::ClockTime::NONE);
        gst::PadProbeReturn::Handled
    });
    assert!(element.static_pad("src").unwrap().query(&mut gst::query::Latency::new()));
    rig.start(&nv12());
    let out = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&out);
    let blocked = element.static_pad("src").unwrap();
    let probe = blocked
        .add_probe(gst::PadProbeType::BLOCK | gst::PadProbeType::BUFFER, move |_, _| {
            count.fetch_add(1, Ordering::SeqCst);
            gst::PadProbeReturn::Ok
        })
        .unwrap();
    let (done, finished) = mpsc::channel();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            // 20 of 25 a second: less than the deadline.
            (0..20).for_each(|n| assert!(rig.push(frame(&nv12(), RED, n)).is_ok()));
            done.send(()).unwrap();
        });
        let in_time = finished.recv_timeout(Duration::from_secs(10));
        blocked.remove_probe(probe);
        assert!(in_time.is_ok(), "the camera waits for the sink");
    });
    assert!(out.load(Ordering::SeqCst) <= 1);
    assert_eq!(buffers(&rig.finish()).len(), 20);
}

/// A chain that never gives a frame back.
fn hang(bin: &gst::Bin, name: &str) {
    let pad = bin.by_name(name).unwrap().static_pad("src").unwrap();
    pad.add_probe(gst::PadProbeType::BUFFER, |_, _| gst::PadProbeReturn::Drop);
}

/// The clock of an audio sink, for example, stands still while it is paused. Frames that are to be shown after a seek must
/// come out all the same.
#[test]
fn a_chain_that_hangs_while_paused_is_left_though_the_clock_stands_still() {
    let (element, bin) = watchdog();
    bin.add(&identity("inside")).unwrap();
    element.set_property("deadline", 10_000_000u64);
    let clock = gst_check::TestClock::with_start_time(gst::ClockTime::from_seconds(3));
    element.set_clock(Some(&clock)).unwrap();
    let rig = Rig::new(&element);
    rig.start(&nv12());
    element.set_state(gst::State::Paused).unwrap();
    hang(&bin, "inside");
    rig.push(frame(&nv12(), RED, 0)).unwrap();
    assert_eq!(buffers(&rig.finish()).len(), 1);
}

#[test]
fn another_clock_s_reading_is_no_time_that_has_passed() {
    let (element, _) = watchdog();
    element.set_property("chain", "identity error-after=1");
    element.set_property("backoff", 3_600_000_000_000u64);
    let rig = Rig::new(&element);
    rig.start(&nv12());
    push_until(&rig, || stat::<String>(&element, "mode") == "bypassing");
    let clock =
        gst_check::TestClock::with_start_time(gst::SystemClock::obtain().time() + gst::ClockTime::from_seconds(86_400));
    element.set_clock(Some(&clock)).unwrap();
    assert!(stat::<u64>(&element, "back-off") > 3_000_000_000_000, "the wait goes on");
    assert!(stat::<u64>(&element, "time-bypassing") < 3_600_000_000_000);
    rig.finish();
    assert_eq!(stat::<u64>(&element, "restarts"), 0);
}

#[test]
fn no_frame_is_late_because_the_clock_changes() {
    let (element, _) = watchdog();
    element.set_property("chain", "identity");
    let rig = Rig::new(&element);
    rig.start(&nv12());
    let clocks = [3, 1_000_000].map(|s| gst_check::TestClock::with_start_time(gst::ClockTime::from_seconds(s)));
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for clock in clocks.iter().cycle().take(2000) {
                element.set_clock(Some(clock)).unwrap();
            }
            done.store(true, Ordering::SeqCst);
        });
        push_until(&rig, || done.load(Ordering::SeqCst));
    });
    rig.finish();
    assert_eq!((stat::<u64>(&element, "late"), stat::<u64>(&element, "bypassed")), (0, 0));
}

#[test]
fn events_and_questions_for_the_element_itself_go_past_the_chain() {
    let (element, _) = watchdog();
    element.set_property("chain", "tee name=t t. ! queue ! fakesink t. ! queue");
    let rig = Rig::new(&element);
    rig.start(&nv12());
    let seen = Arc::new(AtomicUsize::new(0));
    let (of_events, of_queries) = (Arc::clone(&seen), Arc::clone(&seen));
    let upstream = element.static_pad("sink").unwrap().peer().unwrap();
    upstream.add_probe(gst::PadProbeType::EVENT_UPSTREAM, move |_, info| {
        let custom = info.event().is_some_and(|event| event.type_() == gst::EventType::CustomUpstream);
        of_events.fetch_add(usize::from(custom), Ordering::SeqCst);
        gst::PadProbeReturn::Ok
    });
    upstream.add_probe(gst::PadProbeType::QUERY_UPSTREAM, move |_, info| {
        let position = info.query().is_some_and(|query| query.type_() == gst::QueryType::Position);
        of_queries.fetch_add(usize::from(position), Ordering::SeqCst);
        gst::PadProbeReturn::Ok
    });
    element.send_event(gst::event::CustomUpstream::new(gst::Structure::new_empty("test")));
    assert_eq!(seen.load(Ordering::SeqCst), 1, "the event is there");
    let mut query = gst::query::Position::new(gst::Format::Time);
    element.query(&mut query);
    assert!(seen.load(Ordering::SeqCst) > 1, "upstream was asked");
    rig.finish();
}

#[test]
fn streams_of_any_kind_pass() {
    for line in [
        "audiotestsrc num-buffers=50 ! vigilwatchdog chain=identity ! audioconvert ! fakesink",
        "videotestsrc num-buffers=20 ! x264enc ! vigilwatchdog chain=identity ! avdec_h264 ! fakesink",
        "videotestsrc num-buffers=20 ! vigilwatchdog chain=queue ! x264enc ! fakesink",
        "concat name=c ! vigilwatchdog chain=identity ! fakesink videotestsrc num-buffers=9 ! c. videotestsrc num-buffers=9 ! c.",
        "videotestsrc num-buffers=9 ! tee name=t t. ! vigilwatchdog chain=queue ! fakesink t. ! vigilwatchdog chain=identity ! fakesink",
        "videotestsrc num-buffers=9 ! vigilwatchdog.( tee name=t ! queue ! fakesink t. ! identity ) ! fakesink",
        "vigilwatchdog.( name=dog identity ) videotestsrc num-buffers=9 ! dog. dog. ! fakesink",
    ] {
        play(&launch(line));
    }
}

#[test]
fn nothing_is_left_of_an_element_that_ran() {
    for chain in ["identity", "queue", "identity error-after=2", "identity eos-after=2"] {
        let (element, bin) = watchdog();
        element.set_property("chain", chain);
        let weak = element.downgrade();
        {
            let rig = Rig::new(&element);
            rig.start(&nv12());
            (0..20).for_each(|n| assert!(rig.push(frame(&nv12(), RED, n)).is_ok()));
            rig.finish();
        }
        drop((element, bin));
        // Chains that were let go of are taken out by threads of their own.
        let start = std::time::Instant::now();
        while weak.upgrade().is_some() {
            assert!(start.elapsed() < Duration::from_secs(60), "{chain}");
            std::thread::yield_now();
        }
    }
}

/// Names of this process' threads that serve chains.
fn threads() -> Vec<String> {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap().flatten();
    let names = tasks.filter_map(|task| std::fs::read_to_string(task.path().join("comm")).ok());
    names
        .filter(|name| ["vigil-chain", "vigil-feed", "vigil-remove"].iter().any(|kind| name.starts_with(kind)))
        .collect()
}

fn wait_until(what: &str, done: impl Fn() -> bool) {
    let start = std::time::Instant::now();
    while !done() {
        assert!(start.elapsed() < Duration::from_secs(60), "{what}");
        std::thread::yield_now();
    }
}

#[test]
fn starts_and_stops_in_any_order_leave_no_thread() {
    for chain in ["identity", "queue ! identity error-after=2", "identity eos-after=1", "identity sleep-time=1000"] {
        let (element, _) = watchdog();
        element.set_property("chain", chain);
        let mut states = [gst::State::Ready, gst::State::Playing, gst::State::Null, gst::State::Paused].iter().cycle();
        let rig = Rig::new(&element);
        for round in 0..40 {
            let _ = element.set_state(*states.nth(round % 3).unwrap()).unwrap();
            let _ = rig.event(gst::event::StreamStart::new("again"));
            let _ = rig.event(gst::event::Caps::new(&nv12()));
            let _ = rig.event(gst::event::Segment::new(&gst::FormattedSegment::<gst::ClockTime>::new()));
            let up = matches!(element.current_state(), gst::State::Playing | gst::State::Paused);
            for n in 0..3 {
                assert_eq!(rig.push(frame(&nv12(), RED, n)).is_ok(), up, "{chain}, round {round}");
            }
        }
        drop(rig);
        wait_until(chain, || threads().is_empty());
    }
}

#[test]
fn handlers_may_change_the_element_that_calls_them() {
    let (element, _) = watchdog();
    element.set_property("chain", "identity");
    let rig = Rig::new(&element);
    let calls = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&calls);
    element.connect_notify(Some("mode"), move |element, _| {
        count.fetch_add(1, Ordering::SeqCst);
        assert!(stat::<u64>(element, "frames-in") < u64::MAX);
        element.set_property("max-misses", 4u32);
    });
    rig.bus.set_sync_handler(|_, message| {
        let change = message.structure().filter(|s| s.name() == "vigil-watchdog");
        if let (Some(change), Some(element)) =
            (change, message.src().and_then(|src| src.downcast_ref::<gst::Element>()))
        {
            // Maintenance ends as soon as it has begun.
            let forced = change.get::<&str>("cause") == Ok("forced");
            element.set_property("deadline", 9_000_000_000u64 + u64::from(forced));
            if forced {
                element.set_property("force-bypass", false);
            }
        }
        gst::BusSyncReply::Drop
    });
    rig.start(&nv12());
    for _ in 0..20 {
        element.set_property("force-bypass", true);
        // Another thread may be the one that posts.
        wait_until("it is unset", || !element.property::<bool>("force-bypass"));
        push_until(&rig, || stat::<String>(&element, "mode") == "analysing");
    }
    rig.finish();
    // How many they are is GObject's business: it makes one of those that come while a property is being set.
    wait_until("changes are told", || calls.load(Ordering::SeqCst) > 0);
    rig.bus.unset_sync_handler();
}

#[test]
fn segments_that_are_played_again_and_again_go_on() {
    let pipeline =
        launch("videotestsrc ! video/x-raw,framerate=100/1 ! vigilwatchdog chain=queue ! fakesink sync=false");
    pipeline.set_state(gst::State::Paused).unwrap();
    pipeline.state(GUARD).0.unwrap();
    let seek = |flags| {
        let (from, to) = (gst::ClockTime::ZERO, gst::ClockTime::from_mseconds(100));
        pipeline.seek(1.0, gst::SeekFlags::SEGMENT | flags, gst::SeekType::Set, from, gst::SeekType::Set, to).unwrap();
    };
    seek(gst::SeekFlags::FLUSH);
    pipeline.set_state(gst::State::Playing).unwrap();
    let bus = pipeline.bus().unwrap();
    for _ in 0..5 {
        bus.timed_pop_filtered(GUARD, &[gst::MessageType::SegmentDone]).expect("the segment ends");
        seek(gst::SeekFlags::empty());
    }
    pipeline.set_state(gst::State::Null).unwrap();
}

#[test]
fn gaps_and_frames_without_times_keep_their_places() {
    let (element, _) = watchdog();
    element.set_property("chain", "queue");
    let rig = Rig::new(&element);
    rig.start(&nv12());
    for n in 0..300u64 {
        if n % 3 == 0 {
            let mut bare = frame(&nv12(), RED, n);
            let it = bare.get_mut().unwrap();
            it.set_pts(None);
            it.set_duration(None);
            it.set_offset(n);
            rig.push(bare).unwrap();
        } else {
            assert!(rig.event(gst::event::Gap::builder(gst::ClockTime::from_mseconds(n)).build()));
        }
    }
    let mut list = gst::BufferList::new();
    for n in 300..303u64 {
        let mut bare = frame(&nv12(), RED, n);
        bare.get_mut().unwrap().set_offset(n);
        list.get_mut().unwrap().add(bare);
    }
    element.static_pad("sink").unwrap().peer().unwrap().push_list(list).unwrap();
    let places: Vec<_> = rig
        .finish()
        .iter()
        .filter_map(|item| match item {
            Item::Buffer(buffer) => Some(buffer.offset()),
            Item::Event(event) => match event.view() {
                gst::EventView::Gap(gap) => Some(gap.get().0.mseconds()),
                _ => None,
            },
        })
        .collect();
    assert_eq!(places, (0..303).collect::<Vec<_>>());
}

#[test]
fn it_may_come_into_a_running_pipeline_and_go_out_of_it() {
    let pipeline = launch("videotestsrc ! tee name=t ! queue ! fakesink sync=false");
    pipeline.set_state(gst::State::Playing).unwrap();
    pipeline.state(GUARD).0.unwrap();
    let tee = pipeline.by_name("t").unwrap();
    for chain in ["identity", "queue", "identity error-after=3"] {
        let (element, _) = watchdog();
        element.set_property("chain", chain);
        let sink = gst::ElementFactory::make("fakesink").property("async", false).build().unwrap();
        pipeline.add_many([&element, &sink]).unwrap();
        element.link(&sink).unwrap();
        sink.sync_state_with_parent().unwrap();
        element.sync_state_with_parent().unwrap();
        let pad = tee.request_pad_simple("src_%u").unwrap();
        pad.link(&element.static_pad("sink").unwrap()).unwrap();
        wait_until("frames come", || stat::<u64>(&element, "frames-out") > 20);
        // Another sink in place of the first, with the source pad blocked.
        let other = gst::ElementFactory::make("fakesink").property("async", false).build().unwrap();
        pipeline.add(&other).unwrap();
        other.sync_state_with_parent().unwrap();
        let (blocked, is_blocked) = mpsc::channel();
        let src = element.static_pad("src").unwrap();
        let block = src.add_probe(gst::PadProbeType::BLOCK_DOWNSTREAM, move |_, _| {
            let _ = blocked.send(());
            gst::PadProbeReturn::Ok
        });
        is_blocked.recv_timeout(Duration::from_secs(60)).unwrap();
        element.unlink(&sink);
        element.link(&other).unwrap();
        src.remove_probe(block.unwrap());
        let before = stat::<u64>(&element, "frames-out");
        wait_until("frames come again", || stat::<u64>(&element, "frames-out") > before + 20);
        pad.unlink(&element.static_pad("sink").unwrap()).unwrap();
        tee.release_request_pad(&pad);
        for gone in [&element, &sink, &other] {
            pipeline.remove(gone).unwrap();
            gone.set_state(gst::State::Null).unwrap();
        }
    }
    pipeline.set_state(gst::State::Null).unwrap();
}
