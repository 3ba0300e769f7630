//! `vigilwatchdog` on real elements. `watchdog_matrix.rs` has the faults, under a test clock.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may")]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use common::rig::{Item, Rig, buffers};
use common::{caps, frame, init, model, result};
use gst::prelude::*;
use gst_video::VideoFormat;
use gstvigil::result::{AbsentReason, Freshness};

const RED: (u8, u8, u8) = (255, 0, 0);
const GUARD: gst::ClockTime = gst::ClockTime::from_seconds(60);

fn watchdog(chain: &str) -> gst::Element {
    init();
    let element = gst::ElementFactory::make("vigilwatchdog").property("chain", chain);
    // So long that no frame is late because the machine is busy, and next to no wait for a new chain.
    element.property("deadline", 10_000_000_000u64).property("backoff", 1u64).build().unwrap()
}

fn nv12() -> gst::Caps {
    caps(VideoFormat::Nv12, 64, 48)
}

/// The next change as (from, to, cause); others' messages are passed over.
fn change(bus: &gst::Bus) -> (String, String, String) {
    loop {
        let message = bus.timed_pop_filtered(GUARD, &[gst::MessageType::Element]).expect("the mode changes");
        let Some(content) = message.structure().filter(|s| s.name() == "vigil-watchdog") else { continue };
        let text = |name: &str| content.get::<String>(name).unwrap();
        return (text("from"), text("to"), text("cause"));
    }
}

fn modes(from: &str, to: &str, cause: &str) -> (String, String, String) {
    (from.into(), to.into(), cause.into())
}

fn started(bus: &gst::Bus) {
    assert_eq!(change(bus), modes("bypassing", "analysing", "start"));
}

fn stat<T: for<'a> glib::value::FromValue<'a> + 'static>(element: &gst::Element, name: &str) -> T {
    element.property::<gst::Structure>("stats").get::<T>(name).ok().unwrap()
}

fn reason(buffer: &gst::BufferRef) -> Option<AbsentReason> {
    match gstvigil::meta::get(buffer)?.freshness {
        Freshness::Absent(reason) => Some(reason),
        _ => None,
    }
}

/// Pushes frames until `done`, as a camera does that stops for nobody.
fn push_until(rig: &Rig, done: impl Fn() -> bool) -> u64 {
    let caps = nv12();
    let mut n = 0;
    while !done() {
        rig.push(frame(&caps, RED, n)).unwrap();
        n += 1;
        std::thread::yield_now();
    }
    n
}

fn mode(element: &gst::Element) -> String {
    stat(element, "mode")
}

#[test]
fn frames_leave_as_the_chain_made_them() {
    let element = watchdog(&format!("vigilinfer model={} ! vigiltrack", model("red")));
    let rig = Rig::new(&element);
    started(&rig.bus);
    let caps = nv12();
    rig.start(&caps);
    (0..20).for_each(|n| assert!(rig.push(frame(&caps, RED, n)).is_ok()));
    let out = rig.finish();
    let out = buffers(&out);
    assert_eq!(out.len(), 20);
    for buffer in out {
        assert!(result(buffer).objects[0].track.is_some());
        assert!(buffer.meta::<gst::ReferenceTimestampMeta>().is_none(), "the mark is gone");
    }
    assert_eq!((stat::<u64>(&element, "analysed"), stat::<u64>(&element, "bypassed")), (20, 0));
}

#[test]
fn no_pixels_are_copied_and_nobody_else_holds_them_behind() {
    for chain in [format!("vigilinfer model={}", model("red")), "identity".into(), "queue".into()] {
        let rig = Rig::new(&watchdog(&chain));
        let caps = nv12();
        rig.start(&caps);
        let frames: Vec<_> = (0..20).map(|n| frame(&caps, RED, n)).collect();
        let place = |b: &gst::BufferRef| b.peek_memory(0).as_ptr() as usize;
        let places: Vec<_> = frames.iter().map(|b| place(b)).collect();
        frames.into_iter().for_each(|b| assert!(rig.push(b).is_ok()));
        for (item, was) in rig.finish().into_iter().filter(|i| matches!(i, Item::Buffer(_))).zip(places) {
            let Item::Buffer(mut buffer) = item else { unreachable!() };
            assert_eq!(place(&buffer), was, "{chain}");
            assert!(buffer.is_writable() && buffer.is_all_memory_writable(), "{chain}: a painter would copy it");
            assert!(buffer.get_mut().is_some(), "{chain}");
        }
    }
}

/// A red frame with wide rows, where its planes are in memories of their own or in one, and with a `VideoMeta` that says so.
fn padded(memories: usize, n: u64) -> gst::Buffer {
    const STRIDE: usize = 128;
    let planes = [vec![76u8; STRIDE * 48], [85u8, 255].repeat(STRIDE / 2 * 24)];
    let mut buffer = gst::Buffer::new();
    let it = buffer.get_mut().unwrap();
    if memories == 1 {
        it.append_memory(gst::Memory::from_mut_slice(planes.concat()));
    } else {
        planes.into_iter().for_each(|plane| it.append_memory(gst::Memory::from_mut_slice(plane)));
    }
    it.set_pts(gst::ClockTime::from_mseconds(40 * n));
    let flags = gst_video::VideoFrameFlags::empty();
    let (offsets, strides) = ([0, STRIDE * 48], [STRIDE as i32; 2]);
    gst_video::VideoMeta::add_full(it, flags, VideoFormat::Nv12, 64, 48, &offsets, &strides).unwrap();
    buffer
}

/// Where a buffer's memories lie, and what its `VideoMeta` says of them.
fn layout(buffer: &gst::BufferRef) -> (Vec<usize>, Vec<usize>, Vec<i32>) {
    let meta = buffer.meta::<gst_video::VideoMeta>().expect("the rows are still known to be wide");
    let places = buffer.iter_memories().map(|memory| memory.as_ptr() as usize).collect();
    (places, meta.offset().to_vec(), meta.stride().to_vec())
}

#[test]
fn frames_of_any_layout_leave_as_they_came_also_while_upstream_holds_them() {
    let infer = format!("vigilinfer model={}", model("red"));
    for chain in [infer.as_str(), "identity", "queue", "identity drop-probability=1"] {
        for (memories, held) in [(1, false), (1, true), (2, false), (2, true)] {
            let what = format!("{chain}, {memories}, {held}");
            let element = watchdog(chain);
            let drops = chain.contains("drop");
            if drops {
                element.set_property("deadline", 1_000_000u64);
                element.set_property("max-misses", u32::MAX);
            }
            let rig = Rig::new(&element);
            rig.start(&nv12());
            let frames: Vec<_> = (0..5).map(|n| padded(memories, n)).collect();
            let layouts: Vec<_> = frames.iter().map(|frame| layout(frame)).collect();
            // As a tee does.
            let others: Vec<_> = frames.iter().filter(|_| held).cloned().collect();
            frames.into_iter().for_each(|frame| assert!(rig.push(frame).is_ok()));
            let out = rig.finish();
            let left: Vec<_> = buffers(&out).into_iter().map(|buffer| layout(buffer)).collect();
            assert_eq!(left, layouts, "{what}");
            for buffer in buffers(&out) {
                assert_eq!(reason(buffer).is_some(), drops, "{what}");
                assert!(held || buffer.is_all_memory_writable(), "{what}: a painter would copy it");
                assert!(buffer.meta::<gst::ReferenceTimestampMeta>().is_none(), "{what}");
            }
            for other in others {
                assert!(gstvigil::meta::get(&other).is_none(), "{what}: the other branch sees a result");
                assert_eq!(other.iter_meta::<gst::Meta>().count(), 1, "{what}: the other branch sees a mark");
            }
        }
    }
}

#[test]
fn buffers_of_a_pool_go_back_to_it() {
    let rig = Rig::new(&watchdog("identity"));
    let caps = nv12();
    rig.start(&caps);
    let pool = gst::BufferPool::new();
    let mut config = pool.config();
    config.set_params(Some(&caps), 64 * 48 * 3 / 2, 2, 4);
    pool.set_config(config).unwrap();
    pool.set_active(true).unwrap();
    for n in 0..200u64 {
        // The pool has four: were any kept, this would wait for ever.
        let mut buffer = pool.acquire_buffer(None).unwrap();
        buffer.get_mut().unwrap().set_pts(gst::ClockTime::from_mseconds(n));
        rig.push(buffer).unwrap();
        while buffers(&rig.take()).is_empty() {
            std::thread::yield_now();
        }
    }
    rig.finish();
    pool.set_active(false).unwrap();
}

#[test]
fn a_chain_that_paints_gets_its_own_pixels_and_the_untouched_frame_stays_so() {
    let rig = Rig::new(&watchdog("videobalance brightness=0.5"));
    let caps = nv12();
    rig.start(&caps);
    let kept = frame(&caps, RED, 0);
    rig.push(kept.copy_deep().unwrap()).unwrap();
    let out = rig.finish();
    let bytes = |b: &gst::Buffer| b.map_readable().unwrap().to_vec();
    assert_ne!(bytes(buffers(&out)[0]), bytes(&kept), "it was painted");
}

#[test]
fn untouched_frames_keep_their_metas_and_strides() {
    let element = watchdog("identity");
    element.set_property("force-bypass", true);
    let rig = Rig::new(&element);
    let caps = nv12();
    rig.start(&caps);
    let mut buffer = gst::Buffer::with_size(128 * 48 * 3 / 2).unwrap();
    let it = buffer.get_mut().unwrap();
    it.set_pts(gst::ClockTime::ZERO);
    gst_video::VideoMeta::add_full(
        it,
        gst_video::VideoFrameFlags::empty(),
        VideoFormat::Nv12,
        64,
        48,
        &[0, 128 * 48],
        &[128, 128],
    )
    .unwrap();
    rig.push(buffer).unwrap();
    let out = rig.finish();
    let meta = buffers(&out)[0].meta::<gst_video::VideoMeta>().unwrap();
    assert_eq!(meta.stride(), [128, 128]);
    let result = result(buffers(&out)[0]);
    assert_eq!(result.freshness, Freshness::Absent(AbsentReason::Maintenance));
    assert_eq!((result.width, result.height, result.pts_ns, result.running_time_ns), (64, 48, Some(0), Some(0)));
    assert!(result.absent_since_ns.is_some_and(|since| since <= result.utc_ns));
}

#[test]
fn a_result_from_before_the_bin_is_kept_on_untouched_frames() {
    let element = watchdog("identity");
    element.set_property("force-bypass", true);
    let rig = Rig::new(&element);
    let caps = nv12();
    rig.start(&caps);
    let mut buffer = frame(&caps, RED, 0);
    let earlier = gstvigil::result::FrameResult::absent(AbsentReason::BadFrame, (1, 1));
    gstvigil::meta::set(buffer.get_mut().unwrap(), Arc::new(earlier), false);
    rig.push(buffer).unwrap();
    assert_eq!(reason(buffers(&rig.finish())[0]), Some(AbsentReason::BadFrame));
}

#[test]
fn force_bypass_keeps_the_chain_which_proves_itself_afterwards() {
    let element = watchdog("identity name=chained");
    let rig = Rig::new(&element);
    started(&rig.bus);
    let chained = || element.downcast_ref::<gst::Bin>().unwrap().by_name("chained").unwrap();
    let first = chained();
    rig.start(&nv12());
    element.set_property("force-bypass", true);
    assert_eq!(change(&rig.bus), modes("analysing", "bypassing", "forced"));
    rig.push(frame(&nv12(), RED, 0)).unwrap();
    element.set_property("force-bypass", false);
    assert_eq!(change(&rig.bus), modes("bypassing", "recovering", "released"));
    push_until(&rig, || mode(&element) == "analysing");
    assert_eq!(change(&rig.bus), modes("recovering", "analysing", "recovered"));
    assert_eq!(chained(), first);
    let out = rig.finish();
    assert_eq!(reason(buffers(&out)[0]), Some(AbsentReason::Maintenance));
    assert!(buffers(&out).len() > 5);
}

#[test]
fn a_description_that_is_set_while_it_runs_is_for_the_next_chain() {
    let element = watchdog("identity name=first");
    let rig = Rig::new(&element);
    rig.start(&nv12());
    rig.push(frame(&nv12(), RED, 0)).unwrap();
    started(&rig.bus);
    let bin = element.downcast_ref::<gst::Bin>().unwrap();
    element.set_property("chain", "identity name=second");
    assert!(bin.by_name("first").is_some() && bin.by_name("second").is_none(), "the chain that runs goes on");
    element.emit_by_name::<()>("reset", &[]);
    push_until(&rig, || bin.by_name("second").is_some());
    push_until(&rig, || bin.by_name("first").is_none());
}

#[test]
fn reset_replaces_the_chain() {
    let element = watchdog("identity name=chained");
    let rig = Rig::new(&element);
    started(&rig.bus);
    let chained = || element.downcast_ref::<gst::Bin>().unwrap().by_name("chained").unwrap();
    let first = chained();
    rig.start(&nv12());
    element.emit_by_name::<()>("reset", &[]);
    assert_eq!(change(&rig.bus), modes("analysing", "bypassing", "reset"));
    push_until(&rig, || mode(&element) == "analysing");
    assert_ne!(chained(), first);
    rig.finish();
    assert_eq!(stat::<u64>(&element, "restarts"), 1);
}

#[test]
fn elements_in_the_bin_are_replaced_by_others_like_them() {
    init();
    let element = watchdog("");
    let bin = element.downcast_ref::<gst::Bin>().unwrap();
    let make = |name: &str| gst::ElementFactory::make("identity").name(name).build().unwrap();
    let (a, b) = (make("first"), make("second"));
    bin.add_many([&a, &b]).unwrap();
    a.link(&b).unwrap();
    a.set_property("sleep-time", 7u32);
    b.set_property("error-after", 3i32);
    let rig = Rig::new(&element);
    started(&rig.bus);
    assert_eq!(bin.by_name("first").unwrap(), a);
    // Changed while it runs: those after it have it too.
    a.set_property("datarate", 1234i32);
    a.set_property("datarate", 0i32);
    b.set_property("check-imperfect-timestamp", true);
    rig.start(&nv12());
    let wait = |from: &str, to: &str, cause: &str| {
        push_until(&rig, || {
            let mut seen = rig.bus.iter_filtered(&[gst::MessageType::Element]);
            seen.any(|m| {
                m.structure().is_some_and(|s| {
                    let is = |name: &str, text: &str| s.get::<&str>(name) == Ok(text);
                    is("from", from) && is("to", to) && is("cause", cause)
                })
            })
        })
    };
    wait("analysing", "bypassing", "error");
    wait("bypassing", "recovering", "back-off");
    let (a2, b2) = (bin.by_name("first").unwrap(), bin.by_name("second").unwrap());
    assert!(a2 != a && b2 != b);
    assert_eq!((a2.property::<u32>("sleep-time"), b2.property::<i32>("error-after")), (7, 3));
    assert!(b2.property::<bool>("check-imperfect-timestamp"));
    assert_eq!(a2.property::<i32>("datarate"), 0);
    rig.finish();
}

#[test]
fn elements_in_the_bin_serve_again_after_a_stop() {
    init();
    let element = watchdog("");
    let bin = element.downcast_ref::<gst::Bin>().unwrap();
    let inside = gst::ElementFactory::make("identity").name("inside").build().unwrap();
    bin.add(&inside).unwrap();
    for _ in 0..3 {
        let rig = Rig::new(&element);
        rig.start(&nv12());
        rig.push(frame(&nv12(), RED, 0)).unwrap();
        assert_eq!(buffers(&rig.finish()).len(), 1);
        assert_eq!(bin.by_name("inside").unwrap(), inside);
    }
    bin.remove(&inside).unwrap();
    assert!(inside.parent().is_none());
}

#[test]
fn live_pipelines_are_told_the_deadline() {
    init();
    let line =
        "videotestsrc is-live=true ! vigilwatchdog name=dog deadline=70000000 chain=identity ! fakesink sync=true";
    let pipeline = gst::parse::launch(line).unwrap().downcast::<gst::Pipeline>().unwrap();
    pipeline.set_state(gst::State::Playing).unwrap();
    pipeline.state(GUARD).0.unwrap();
    let own = |deadline: u64| {
        let mut query = gst::query::Latency::new();
        let dog = pipeline.by_name("dog").unwrap();
        dog.set_property("deadline", deadline);
        assert!(dog.static_pad("src").unwrap().query(&mut query));
        let with = query.result();
        assert!(dog.static_pad("sink").unwrap().peer_query(&mut query));
        let without = query.result();
        assert!(with.0 && without.0, "it is live");
        with.1 - without.1
    };
    assert_eq!(own(70_000_000), gst::ClockTime::from_mseconds(70));
    assert_eq!(own(30_000_000), gst::ClockTime::from_mseconds(30));
    pipeline.set_state(gst::State::Null).unwrap();
}

#[test]
fn events_of_the_chain_s_own_leave_before_the_frame_that_they_came_with() {
    let rig = Rig::new(&watchdog("taginject tags=\"title=from-the-chain\""));
    let caps = nv12();
    rig.start(&caps);
    (0..3).for_each(|n| assert!(rig.push(frame(&caps, RED, n)).is_ok()));
    let out = rig.finish();
    let kinds: Vec<_> = out
        .iter()
        .map(|i| match i {
            Item::Buffer(_) => "frame".to_owned(),
            Item::Event(e) => format!("{:?}", e.type_()).to_lowercase(),
        })
        .collect();
    let tag = kinds.iter().position(|k| k.contains("tag")).expect("the tag comes out");
    assert!(tag < kinds.iter().position(|k| k == "frame").unwrap() && tag > 2, "{kinds:?}");
}

#[test]
fn a_watchdog_may_be_in_a_watchdog() {
    let element = watchdog("identity ! vigilwatchdog name=inner deadline=5000000000 chain=identity");
    let rig = Rig::new(&element);
    let caps = nv12();
    rig.start(&caps);
    (0..30).for_each(|n| assert!(rig.push(frame(&caps, RED, n)).is_ok()));
    let out = rig.finish();
    assert_eq!(buffers(&out).len(), 30);
    assert!(buffers(&out).iter().all(|b| b.iter_meta::<gst::ReferenceTimestampMeta>().next().is_none()));
    let inner = element.downcast_ref::<gst::Bin>().unwrap().by_name("inner").unwrap();
    assert_eq!((stat::<u64>(&element, "analysed"), stat::<u64>(&inner, "analysed")), (30, 30));
}

#[test]
fn what_can_never_work_is_one_error_that_says_what_to_do() {
    for (chain, says) in [
        ("nosuchelement", "nosuchelement"),
        ("identity ! ! identity", "cannot be made"),
        ("videotestsrc", "exactly one open sink pad"),
        ("identity ! fakesink", "exactly one open src pad"),
        ("identity identity", "has 2"),
        ("", "put elements into the bin"),
    ] {
        let element = watchdog(chain);
        let bus = gst::Bus::new();
        element.set_bus(Some(&bus));
        assert!(element.set_state(gst::State::Playing).is_err(), "{chain}");
        let errors = common::messages(&bus, gst::MessageType::Error);
        let [error] = &errors[..] else { panic!("{chain}: {errors:?}") };
        let gst::MessageView::Error(error) = error.view() else { unreachable!() };
        assert!(error.error().to_string().contains(says), "{chain}: {}", error.error());
        element.set_state(gst::State::Null).unwrap();
        element.set_bus(None);
    }
}

#[test]
fn a_chain_that_cannot_start_does_not_keep_the_video_from_starting() {
    let element = watchdog("vigilinfer model=/no/such/model.onnx");
    element.set_property("backoff", 3_600_000_000_000u64);
    let rig = Rig::new(&element);
    assert_eq!(change(&rig.bus), modes("bypassing", "bypassing", "error"));
    let caps = nv12();
    rig.start(&caps);
    (0..5).for_each(|n| assert!(rig.push(frame(&caps, RED, n)).is_ok()));
    let out = rig.finish();
    assert_eq!(buffers(&out).len(), 5);
    assert!(buffers(&out).iter().all(|b| reason(b).is_some()));
    let warning = rig.bus.timed_pop_filtered(GUARD, &[gst::MessageType::Warning]).expect("there is a warning");
    let gst::MessageView::Warning(warning) = warning.view() else { unreachable!() };
    let text = warning.error().to_string();
    assert!(text.contains("/no/such/model.onnx") && text.contains("3600.0 s"), "{text}");
    assert!(common::messages(&rig.bus, gst::MessageType::Error).is_empty());
}

#[test]
fn restarts_have_a_limit_until_reset() {
    let element = watchdog("identity error-after=1");
    element.set_property("max-restarts", 2u32);
    let rig = Rig::new(&element);
    rig.start(&nv12());
    push_until(&rig, || stat::<bool>(&element, "exhausted"));
    assert_eq!(stat::<u64>(&element, "restarts"), 2);
    (0..50).for_each(|n| assert!(rig.push(frame(&nv12(), RED, n)).is_ok()));
    assert_eq!((mode(&element).as_str(), stat::<u64>(&element, "restarts")), ("bypassing", 2));
    element.emit_by_name::<()>("reset", &[]);
    push_until(&rig, || stat::<u64>(&element, "restarts") >= 3);
    rig.finish();
}

#[test]
fn a_launch_line_may_have_the_elements_in_the_bin() {
    init();
    let line = "videotestsrc num-buffers=25 ! vigilwatchdog.( name=dog deadline=10000000000 identity name=a ! identity name=b ) \
                ! fakesink name=out";
    let pipeline = gst::parse::launch(line).unwrap().downcast::<gst::Pipeline>().unwrap();
    pipeline.set_state(gst::State::Playing).unwrap();
    let bus = pipeline.bus().unwrap();
    let message = bus.timed_pop_filtered(GUARD, &[gst::MessageType::Eos, gst::MessageType::Error]).unwrap();
    assert_eq!(message.type_(), gst::MessageType::Eos, "{message:?}");
    let dog = pipeline.by_name("dog").unwrap();
    assert_eq!((stat::<u64>(&dog, "analysed"), dog.pads().len()), (25, 2));
    pipeline.set_state(gst::State::Null).unwrap();
}

#[test]
fn a_seek_in_a_pipeline_arrives_in_every_mode() {
    init();
    for forced in [false, true] {
        let line = "videotestsrc num-buffers=1000 ! video/x-raw,framerate=100/1 ! \
                    vigilwatchdog name=dog deadline=10000000000 chain=\"identity ! queue\" ! fakesink name=out sync=false";
        let pipeline = gst::parse::launch(line).unwrap().downcast::<gst::Pipeline>().unwrap();
        pipeline.by_name("dog").unwrap().set_property("force-bypass", forced);
        pipeline.set_state(gst::State::Paused).unwrap();
        pipeline.state(GUARD).0.unwrap();
        let first = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&first);
        let pad = pipeline.by_name("out").unwrap().static_pad("sink").unwrap();
        pipeline
            .seek_simple(gst::SeekFlags::FLUSH | gst::SeekFlags::ACCURATE, gst::ClockTime::from_seconds(5))
            .unwrap();
        pad.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
            if !seen.swap(true, Ordering::SeqCst) {
                assert!(info.buffer().unwrap().pts().unwrap() >= gst::ClockTime::from_seconds(5));
            }
            gst::PadProbeReturn::Ok
        });
        pipeline.set_state(gst::State::Playing).unwrap();
        let bus = pipeline.bus().unwrap();
        bus.timed_pop_filtered(GUARD, &[gst::MessageType::Eos]).expect("the stream ends");
        assert!(first.load(Ordering::SeqCst));
        pipeline.set_state(gst::State::Null).unwrap();
    }
}

#[test]
fn an_engine_that_fails_on_every_frame_ends_the_chain() {
    // It fails on green pictures.
    let element = watchdog(&format!("vigilinfer model={}", model("fails")));
    element.set_property("backoff", 3_600_000_000_000u64);
    let rig = Rig::new(&element);
    started(&rig.bus);
    let caps = nv12();
    rig.start(&caps);
    let mut n = 0;
    while mode(&element) != "bypassing" {
        rig.push(frame(&caps, (0, 255, 0), n)).unwrap();
        n += 1;
    }
    assert_eq!(change(&rig.bus), modes("analysing", "bypassing", "engine"));
    rig.push(frame(&caps, RED, n)).unwrap();
    let out = rig.finish();
    let last = result(buffers(&out).last().unwrap());
    assert_eq!(last.freshness, Freshness::Absent(AbsentReason::EngineError));
}

#[test]
fn overlay_and_export_behind_it_tell_that_analysis_is_off() {
    init();
    let folder = tempfile::tempdir().unwrap();
    let records = folder.path().join("out.jsonl");
    let line = format!(
        "videotestsrc num-buffers=3 pattern=black ! video/x-raw,format=RGB,width=320,height=240 ! \
         vigilwatchdog force-bypass=true chain=identity ! vigiloverlay ! vigilexport uri=file:{} ! appsink name=out sync=false",
        records.display()
    );
    let pipeline = gst::parse::launch(&line).unwrap().downcast::<gst::Pipeline>().unwrap();
    let sink = pipeline.by_name("out").unwrap().downcast::<gst_app::AppSink>().unwrap();
    pipeline.set_state(gst::State::Playing).unwrap();
    for _ in 0..3 {
        let sample = sink.pull_sample().unwrap();
        let pixels = sample.buffer().unwrap().map_readable().unwrap();
        assert!(pixels[..320 * 3 * 20].iter().any(|value| *value > 128), "there is a banner at the top");
    }
    assert!(sink.pull_sample().is_err());
    pipeline.set_state(gst::State::Null).unwrap();
    let text = std::fs::read_to_string(&records).unwrap();
    assert_eq!(text.lines().count(), 3);
    for record in text.lines() {
        let record: serde_json::Value = serde_json::from_str(record).unwrap();
        assert_eq!(
            (&record["freshness"]["state"], &record["freshness"]["reason"]),
            (&"absent".into(), &"maintenance".into())
        );
        assert!(record["freshness"]["since"].as_str().is_some_and(|since| since.ends_with('Z')), "{record}");
    }
}
