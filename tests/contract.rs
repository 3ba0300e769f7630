//! What every element of the plugin keeps to. The list comes from the registry, so that a new one is covered by itself;
//! what it cannot start without goes into `make`.
//!
//! Nothing here waits for a time: what hangs is ended by the test runner.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may")]

mod common;

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering as Atomic};

use common::rig::{Item, Rig, buffers};
use common::{caps, factories, frame, init, model};
use gst::prelude::*;
use gst_video::VideoFormat;
use gstvigil::meta;
use gstvigil::result::{BBox, FrameResult, Freshness, Object};

const RED: (u8, u8, u8) = (255, 0, 0);
/// More pushes than any element takes in before it hears what downstream says to the first.
const MANY: u64 = 1000;

/// An element that can be started.
fn make(factory: &str) -> gst::Element {
    let element = gst::ElementFactory::make(factory).build().unwrap();
    match factory {
        "vigilinfer" => element.set_property("model", model("red")),
        "vigilexport" => element.set_property("uri", "file:/dev/null"),
        "vigilwatchdog" => element.set_property("chain", "identity"),
        "vigilsite" => {
            element.set_property("config", concat!(env!("CARGO_MANIFEST_DIR"), "/tests/site_files/one.toml"))
        }
        _ => {}
    }
    element
}

/// All factories by name.
fn names() -> Vec<String> {
    factories().iter().map(|f| f.name().to_string()).collect()
}

/// Those that buffers flow through: one sink pad, one source pad, always there.
fn filters() -> Vec<String> {
    let is_filter = |factory: &gst::ElementFactory| {
        let templates = factory.static_pad_templates();
        let always = |way| {
            let mut all = templates.iter().filter(|t| t.direction() == way);
            all.next().is_some_and(|t| t.presence() == gst::PadPresence::Always) && all.next().is_none()
        };
        always(gst::PadDirection::Sink) && always(gst::PadDirection::Src)
    };
    factories().iter().filter(|f| is_filter(f)).map(|f| f.name().to_string()).collect()
}

fn rgb() -> gst::Caps {
    caps(VideoFormat::Rgb, 64, 48)
}

/// Frame `n` with a result as a `vigilinfer` before it would leave it.
fn analysed(caps: &gst::Caps, n: u64) -> gst::Buffer {
    let mut buffer = frame(caps, RED, n);
    let info = gst_video::VideoInfo::from_caps(caps).unwrap();
    let time = buffer.pts().map(gst::ClockTime::nseconds);
    let bbox = BBox { x: 0.25, y: 0.5, w: 0.25, h: 0.25 };
    let result = FrameResult {
        frame: n,
        pts_ns: time,
        running_time_ns: time,
        utc_ns: 0,
        width: info.width(),
        height: info.height(),
        model: None,
        freshness: Freshness::Fresh,
        objects: vec![Object::new(0, 0, "person".into(), 0.9, bbox)],
        classes: Vec::new(),
        embedding: None,
        absent_since_ns: None,
        secondary: Vec::new(),
    };
    meta::set(buffer.get_mut().unwrap(), Arc::new(result), true);
    buffer
}

fn pts(buffers: &[&gst::Buffer]) -> Vec<u64> {
    buffers.iter().map(|b| b.pts().unwrap().mseconds() / 40).collect()
}

/// The texts of the errors on a bus.
fn errors(bus: &gst::Bus) -> Vec<String> {
    common::messages(bus, gst::MessageType::Error)
        .iter()
        .map(|m| if let gst::MessageView::Error(e) = m.view() { e.error().to_string() } else { String::new() })
        .collect()
}

/// Pushes ten frames through and ends the stream.
fn pass(rig: &Rig) {
    let caps = rgb();
    rig.start(&caps);
    (0..10).for_each(|n| assert_eq!(rig.push(analysed(&caps, n)), Ok(gst::FlowSuccess::Ok)));
    assert_eq!(pts(&buffers(&rig.finish())), (0..10).collect::<Vec<_>>());
}

#[test]
fn factories_introduce_themselves() {
    for factory in factories() {
        let name = factory.name();
        assert!(name.starts_with("vigil"), "{name}");
        for key in ["long-name", "klass", "description", "author"] {
            assert!(factory.metadata(key).is_some_and(|text| !text.is_empty()), "{name}: {key}");
        }
        assert_eq!(factory.rank(), gst::Rank::NONE, "{name}: nobody may plug it by chance");
        let element = factory.create().build().unwrap();
        assert!(element.type_().name().starts_with("Vigil"), "{name}: {}", element.type_());
        let pads: Vec<_> = element.pads().iter().map(|p| p.name().to_string()).collect();
        let always = factory.static_pad_templates().into_iter().filter(|t| t.presence() == gst::PadPresence::Always);
        assert_eq!(pads.len(), always.count(), "{name}: {pads:?}");
    }
}

#[test]
fn states_change_in_every_order() {
    let states = [gst::State::Null, gst::State::Ready, gst::State::Paused, gst::State::Playing];
    for name in names() {
        let element = make(&name);
        let bus = gst::Bus::new();
        element.set_bus(Some(&bus));
        for _ in 0..3 {
            for from in states {
                for to in states {
                    for state in [from, to] {
                        assert!(element.set_state(state).is_ok(), "{name} to {state:?}");
                        let (reached, now, _) = element.state(gst::ClockTime::NONE);
                        assert!(reached.is_ok() && now == state, "{name}: {now:?} and not {state:?}");
                    }
                }
            }
        }
        element.set_state(gst::State::Null).unwrap();
        assert_eq!(errors(&bus), Vec::<String>::new(), "{name}");
    }
}

/// The properties that are the element's own.
fn own_properties(element: &gst::Element) -> Vec<glib::ParamSpec> {
    element.list_properties().iter().filter(|p| p.owner_type() == element.type_()).cloned().collect()
}

/// The values of a property that are most likely to get lost: the ends of its range, one in between, the default.
fn samples(spec: &glib::ParamSpec) -> Vec<glib::Value> {
    macro_rules! numbers {
        ($($kind:ty: $number:ty),*) => {
            $(if let Some(s) = spec.downcast_ref::<$kind>() {
                let (low, high) = (s.minimum(), s.maximum());
                let middle: $number = low / (2 as $number) + high / (2 as $number);
                return vec![low.to_value(), high.to_value(), middle.to_value(), s.default_value().to_value()];
            })*
        };
    }
    numbers!(
        glib::ParamSpecUInt: u32,
        glib::ParamSpecInt: i32,
        glib::ParamSpecUInt64: u64,
        glib::ParamSpecInt64: i64,
        glib::ParamSpecFloat: f32,
        glib::ParamSpecDouble: f64
    );
    let default = spec.default_value().clone();
    if spec.is::<glib::ParamSpecBoolean>() {
        vec![true.to_value(), false.to_value(), default]
    } else if spec.is::<glib::ParamSpecString>() {
        vec!["a text, 1 % ü".to_value(), "".to_value(), default]
    } else if let Some(s) = spec.downcast_ref::<glib::ParamSpecEnum>() {
        let class = s.enum_class();
        class.values().iter().map(|v| class.to_value(v.value()).unwrap()).chain([default]).collect()
    } else if let Some(s) = spec.downcast_ref::<glib::ParamSpecFlags>() {
        let class = s.flags_class();
        let one = |v: &glib::FlagsValue| class.builder().set(v.value()).build().unwrap();
        let all = class.values().iter().fold(class.builder(), |all, v| all.set(v.value())).build().unwrap();
        class.values().iter().map(one).chain([all, class.builder().build().unwrap(), default]).collect()
    } else {
        panic!("property {}: say here what values of {} to try", spec.name(), spec.value_type())
    }
}

fn same(a: &glib::Value, b: &glib::Value) -> bool {
    a.type_() == b.type_() && a.compare(b) == Some(Ordering::Equal)
}

#[test]
fn properties_hold_what_is_set() {
    for name in names() {
        let element = gst::ElementFactory::make(&name).build().unwrap();
        for spec in own_properties(&element) {
            let at = format!("{name} {}", spec.name());
            assert!(spec.flags().contains(glib::ParamFlags::READABLE), "{at} can be read");
            let fresh = element.property_value(spec.name());
            if !spec.flags().contains(glib::ParamFlags::WRITABLE) {
                let counts = fresh.get::<gst::Structure>().is_ok() || fresh.get::<gst::Array>().is_ok();
                assert!(counts || spec.is::<glib::ParamSpecEnum>(), "{at}: statistics, or a state, without a stream");
                continue;
            }
            assert!(same(&fresh, spec.default_value()), "{at}: a new element has {fresh:?}");
            for value in samples(&spec) {
                element.set_property_from_value(spec.name(), &value);
                let back = element.property_value(spec.name());
                assert!(same(&back, &value), "{at}: {value:?} was set, it is {back:?}");
            }
        }
    }
}

#[test]
fn properties_are_described() {
    let units = [
        "nanoseconds",
        "pixels",
        "bytes",
        "frames",
        "objects",
        "records",
        "threads",
        "chains",
        "cores",
        "times",
        "number of equal parts",
        "0..1",
        "per cent",
    ];
    let changes = [gst::PARAM_FLAG_MUTABLE_READY, gst::PARAM_FLAG_MUTABLE_PAUSED, gst::PARAM_FLAG_MUTABLE_PLAYING];
    for name in names() {
        let element = gst::ElementFactory::make(&name).build().unwrap();
        for spec in own_properties(&element) {
            let at = format!("{name} {}", spec.name());
            let blurb = spec.blurb().unwrap_or_default();
            assert!(!spec.nick().is_empty() && spec.nick() != spec.name(), "{at} has a nick: {}", spec.nick());
            assert!(blurb.len() > 15 && !blurb.ends_with('.'), "{at} has a blurb without a full stop: {blurb}");
            let kind = spec.value_type();
            let is_number = [glib::Type::BOOL, glib::Type::STRING].iter().all(|t| *t != kind)
                && !kind.is_a(glib::Type::ENUM)
                && !kind.is_a(glib::Type::FLAGS)
                && !kind.is_a(glib::Type::BOXED);
            if is_number {
                assert!(units.iter().any(|unit| blurb.to_lowercase().contains(unit)), "{at} says its unit: {blurb}");
            }
            if is_number && ["time", "-after", "delay", "deadline", "latency"].iter().any(|t| spec.name().contains(t)) {
                assert!(kind == glib::Type::U64 && blurb.contains("nanoseconds"), "{at} is a time: {kind} {blurb}");
            }
            let mutable = changes.iter().filter(|flag| spec.flags().contains(**flag)).count();
            let writable = spec.flags().contains(glib::ParamFlags::WRITABLE);
            assert_eq!(mutable, usize::from(writable), "{at} says until which state it may change");
        }
    }
}

#[test]
fn all_that_goes_in_comes_out_in_order() {
    for name in filters() {
        let rig = Rig::new(&make(&name));
        let (first, second) = (rgb(), caps(VideoFormat::Nv12, 33, 17));
        rig.start(&first);
        let mut sent = vec!["stream-start".to_owned(), "caps".into(), "segment".into()];
        let mut n = 0;
        let mut push = |caps: &gst::Caps, sent: &mut Vec<String>| {
            let mut buffer = analysed(caps, n);
            let b = buffer.get_mut().unwrap();
            b.set_offset(1000 + n);
            if n == 3 {
                b.set_flags(gst::BufferFlags::DISCONT | gst::BufferFlags::MARKER);
            }
            gst::ReferenceTimestampMeta::add(
                b,
                &gst::Caps::new_empty_simple("timestamp/x-ntp"),
                5 * gst::ClockTime::SECOND,
                None,
            );
            assert_eq!(rig.push(buffer), Ok(gst::FlowSuccess::Ok), "{name} {sent:?}");
            sent.push(format!("buffer {n}"));
            n += 1;
        };
        let event = |event: gst::Event, sent: &mut Vec<String>| {
            sent.push(event.type_().name().to_string());
            assert!(rig.event(event), "{name}");
        };
        (0..4).for_each(|_| push(&first, &mut sent));
        event(gst::event::Gap::builder(gst::ClockTime::from_mseconds(160)).build(), &mut sent);
        (0..2).for_each(|_| push(&first, &mut sent));
        event(gst::event::Caps::new(&second), &mut sent);
        (0..3).for_each(|_| push(&second, &mut sent));
        event(gst::event::Segment::new(&gst::FormattedSegment::<gst::ClockTime>::new()), &mut sent);
        event(gst::event::CustomDownstream::new(gst::Structure::new_empty("of-an-application")), &mut sent);
        push(&second, &mut sent);
        event(gst::event::Tag::new(gst::TagList::new()), &mut sent);
        sent.push("eos".into());
        let items = rig.finish();
        let seen: Vec<_> = items
            .iter()
            .map(|item| match item {
                Item::Event(e) => e.type_().name().to_string(),
                Item::Buffer(b) => format!("buffer {}", b.offset() - 1000),
            })
            .collect();
        assert_eq!(seen, sent, "{name}");
        for (n, buffer) in (0u64..).zip(buffers(&items)) {
            let origin = analysed(if n < 6 { &first } else { &second }, n);
            assert_eq!((buffer.pts(), buffer.duration()), (origin.pts(), origin.duration()), "{name} {n}");
            assert_eq!(buffer.size(), origin.size(), "{name} {n}");
            assert!(buffer.meta::<gst::ReferenceTimestampMeta>().is_some(), "{name} {n}: the metas of others stay");
            assert_eq!(buffer.flags().contains(gst::BufferFlags::MARKER), n == 3, "{name} {n}");
            assert!(meta::get(buffer).is_some(), "{name} {n}: the result stays");
        }
        assert_eq!(errors(&rig.bus), Vec::<String>::new(), "{name}");
    }
}

#[test]
fn a_flush_ends_what_was_and_the_stream_goes_on() {
    for name in filters() {
        let rig = Rig::new(&make(&name));
        let caps = rgb();
        rig.start(&caps);
        for round in 1..20u64 {
            (0..round % 5).for_each(|n| _ = rig.push(analysed(&caps, n)));
            assert!(rig.event(gst::event::FlushStart::new()), "{name}");
            assert!(rig.event(gst::event::FlushStop::new(true)), "{name}");
            rig.take();
            rig.segment();
            (50..53).for_each(|n| assert_eq!(rig.push(analysed(&caps, n)), Ok(gst::FlowSuccess::Ok), "{name} {round}"));
            // A serialised event behind the frames brings them out.
            assert_eq!(pts(&buffers(&rig.finish())), [50, 51, 52], "{name} {round}");
            assert!(rig.event(gst::event::FlushStart::new()), "{name}");
            assert!(rig.event(gst::event::FlushStop::new(true)), "{name}");
            rig.segment();
        }
    }
}

#[test]
fn a_new_stream_may_follow_the_end_of_one() {
    for name in filters() {
        let rig = Rig::new(&make(&name));
        (0..3).for_each(|_| pass(&rig));
    }
}

#[test]
fn elements_start_again() {
    for name in filters() {
        let element = make(&name);
        (0..3).for_each(|_| pass(&Rig::new(&element)));
    }
}

#[test]
fn what_downstream_says_goes_upstream() {
    let caps = rgb();
    let answers = [gst::FlowError::Eos, gst::FlowError::Flushing, gst::FlowError::NotLinked, gst::FlowError::Error];
    for name in filters() {
        for answer in answers {
            let rig = Rig::new(&make(&name));
            rig.start(&caps);
            rig.answer(Err(answer));
            let said = (0..MANY).find_map(|n| rig.push(analysed(&caps, n)).err());
            assert_eq!(said, Some(answer), "{name}");
        }
    }
}

#[test]
fn a_stream_that_downstream_has_ended_makes_room_for_the_next() {
    let caps = rgb();
    for name in filters() {
        let rig = Rig::new(&make(&name));
        rig.start(&caps);
        rig.answer(Err(gst::FlowError::Eos));
        assert!((0..MANY).any(|n| rig.push(analysed(&caps, n)) == Err(gst::FlowError::Eos)), "{name}");
        rig.finish();
        rig.answer(Ok(gst::FlowSuccess::Ok));
        pass(&rig);
    }
}

#[test]
fn a_pad_that_is_linked_again_gets_frames() {
    let caps = rgb();
    for name in filters() {
        let rig = Rig::new(&make(&name));
        rig.start(&caps);
        rig.unlink();
        assert!((0..MANY).any(|n| rig.push(analysed(&caps, n)) == Err(gst::FlowError::NotLinked)), "{name}");
        rig.take();
        rig.link();
        (0..3).for_each(|n| assert_eq!(rig.push(analysed(&caps, n)), Ok(gst::FlowSuccess::Ok), "{name}"));
        assert_eq!(pts(&buffers(&rig.finish())), [0, 1, 2], "{name}");
    }
}

#[test]
fn caps_outside_the_template_are_refused() {
    for name in filters() {
        let element = make(&name);
        let others = gst::Caps::builder("audio/x-raw").build();
        if element.static_pad("sink").unwrap().pad_template_caps().can_intersect(&others) {
            continue;
        }
        let rig = Rig::new(&element);
        assert!(rig.event(gst::event::StreamStart::new("rig")));
        rig.event(gst::event::Caps::new(&others));
        rig.segment();
        assert_eq!(rig.push(gst::Buffer::with_size(16).unwrap()), Err(gst::FlowError::NotNegotiated), "{name}");
        drop(rig);
        pass(&Rig::new(&element));
    }
}

#[test]
fn settings_may_change_while_frames_flow() {
    let caps = rgb();
    for name in filters() {
        let rig = Rig::new(&make(&name));
        rig.start(&caps);
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(Atomic::Relaxed) {
                    for spec in own_properties(&rig.element) {
                        if spec.flags().contains(glib::ParamFlags::WRITABLE) {
                            samples(&spec).iter().for_each(|v| rig.element.set_property_from_value(spec.name(), v));
                        }
                        rig.element.property_value(spec.name());
                    }
                }
            });
            let pushed: Vec<_> = (0..200).map(|n| rig.push(analysed(&caps, n))).collect();
            let out = rig.finish();
            // Before the checks: the other thread ends even if they fail.
            done.store(true, Atomic::Relaxed);
            assert!(pushed.iter().all(Result::is_ok), "{name}");
            assert_eq!(pts(&buffers(&out)), (0..200).collect::<Vec<_>>(), "{name}");
        });
        assert_eq!(errors(&rig.bus), Vec::<String>::new(), "{name}");
    }
}

#[test]
fn elements_stop_while_they_are_flushed() {
    for name in filters() {
        let rig = Rig::new(&make(&name));
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(Atomic::Relaxed) {
                    // They are refused while the element is down.
                    rig.event(gst::event::FlushStart::new());
                    rig.event(gst::event::FlushStop::new(true));
                }
            });
            let walk = [gst::State::Ready, gst::State::Playing, gst::State::Null, gst::State::Playing];
            let results: Vec<_> = (0..200).map(|i| rig.element.set_state(walk[i % walk.len()])).collect();
            done.store(true, Atomic::Relaxed);
            assert!(results.iter().all(Result::is_ok), "{name}");
        });
    }
}

/// A pipeline of `videotestsrc ! before ! ELEMENT ! after`, in which the element is called `e`.
fn pipeline(name: &str, source: &str, after: &str) -> gst::Pipeline {
    let element = make(name);
    element.set_property("name", "e");
    let caps = "video/x-raw,format=RGB,width=64,height=48,framerate=25/1";
    let source = format!("videotestsrc {source} ! {caps} ! identity name=in");
    let pipeline = gst::Pipeline::new();
    let [source, after] =
        [source, format!("identity name=out ! {after}")].map(|d| gst::parse::bin_from_description(&d, false).unwrap());
    for (bin, inner, way) in [(&source, "in", "src"), (&after, "out", "sink")] {
        let target = bin.by_name(inner).unwrap().static_pad(way).unwrap();
        bin.add_pad(&gst::GhostPad::builder_with_target(&target).unwrap().name(way).build()).unwrap();
    }
    pipeline.add_many([source.upcast_ref(), &element, after.upcast_ref()]).unwrap();
    gst::Element::link_many([source.upcast_ref(), &element, after.upcast_ref()]).unwrap();
    pipeline
}

/// Waits for a message of `kind`; an error fails the test.
fn wait_for(pipeline: &gst::Pipeline, kind: gst::MessageType) {
    let bus = pipeline.bus().unwrap();
    let message = bus.timed_pop_filtered(gst::ClockTime::NONE, &[kind, gst::MessageType::Error]).unwrap();
    if let gst::MessageView::Error(e) = message.view() {
        panic!("{} {:?}", e.error(), e.debug());
    }
}

/// Pre-rolls a pipeline.
fn pause(pipeline: &gst::Pipeline) {
    pipeline.set_state(gst::State::Paused).unwrap();
    wait_for(pipeline, gst::MessageType::AsyncDone);
}

/// Counts the buffers that reach a pad.
fn count(pipeline: &gst::Pipeline, element: &str) -> Arc<std::sync::atomic::AtomicU64> {
    let counted = Arc::new(std::sync::atomic::AtomicU64::new(0));
    let count = Arc::clone(&counted);
    let pad = pipeline.by_name(element).unwrap().static_pad("sink").unwrap();
    pad.add_probe(gst::PadProbeType::BUFFER, move |_, _| {
        count.fetch_add(1, Atomic::Relaxed);
        gst::PadProbeReturn::Ok
    });
    counted
}

#[test]
fn elements_work_among_queues_and_tees() {
    let tee = "tee name=t t. ! queue ! fakesink name=a t. ! queue ! identity ! fakesink name=b";
    for name in filters() {
        let pipeline = pipeline(&name, "num-buffers=50", tee);
        let counts = ["a", "b"].map(|sink| count(&pipeline, sink));
        pipeline.set_state(gst::State::Playing).unwrap();
        wait_for(&pipeline, gst::MessageType::Eos);
        pipeline.set_state(gst::State::Null).unwrap();
        assert_eq!(counts.map(|c| c.load(Atomic::Relaxed)), [50, 50], "{name}");
    }
}

#[test]
fn elements_share_buffers_with_a_branch_before_them() {
    for name in filters() {
        // Frames come with another owner, who sees them as they were.
        let pipeline = pipeline(&name, "num-buffers=50 pattern=black", "fakesink");
        let source = pipeline.by_name("in").unwrap().static_pad("src").unwrap();
        let kept = Arc::new(std::sync::Mutex::new(Vec::new()));
        let keep = Arc::clone(&kept);
        source.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
            keep.lock().unwrap().extend(info.buffer().map(|b| b.to_owned()));
            gst::PadProbeReturn::Ok
        });
        pipeline.set_state(gst::State::Playing).unwrap();
        wait_for(&pipeline, gst::MessageType::Eos);
        pipeline.set_state(gst::State::Null).unwrap();
        let kept = kept.lock().unwrap();
        assert_eq!(kept.len(), 50, "{name}");
        for buffer in kept.iter() {
            assert!(buffer.map_readable().unwrap().iter().all(|byte| *byte == 0), "{name}");
            assert!(meta::get(buffer).is_none(), "{name}");
        }
    }
}

#[test]
fn seeks_arrive_at_their_frame() {
    for name in filters() {
        let pipeline = pipeline(&name, "", "queue ! fakesink name=sink sync=true");
        pause(&pipeline);
        let sink = pipeline.by_name("sink").unwrap();
        for second in [3, 1, 7, 7, 0, 12] {
            let time = gst::ClockTime::from_seconds(second);
            pipeline.seek_simple(gst::SeekFlags::FLUSH | gst::SeekFlags::ACCURATE, time).unwrap();
            wait_for(&pipeline, gst::MessageType::AsyncDone);
            let sample = sink.property::<gst::Sample>("last-sample");
            assert_eq!(sample.buffer().unwrap().pts(), Some(time), "{name}");
        }
        pipeline.set_state(gst::State::Playing).unwrap();
        for second in [5, 2, 9] {
            pipeline.seek_simple(gst::SeekFlags::FLUSH, gst::ClockTime::from_seconds(second)).unwrap();
            wait_for(&pipeline, gst::MessageType::AsyncDone);
        }
        // To a last part that ends by itself.
        let (start, stop) = (gst::ClockTime::from_seconds(20), gst::ClockTime::from_mseconds(20_200));
        let (flags, set) = (gst::SeekFlags::FLUSH | gst::SeekFlags::ACCURATE, gst::SeekType::Set);
        pipeline.seek(1.0, flags, set, start, set, stop).unwrap();
        wait_for(&pipeline, gst::MessageType::Eos);
        pipeline.set_state(gst::State::Null).unwrap();
    }
}

#[test]
fn elements_stop_while_downstream_is_blocked() {
    for name in filters() {
        // A sink that waits in PAUSED for more time than there is.
        let paused = pipeline(&name, "", "fakesink sync=true");
        pause(&paused);
        paused.set_state(gst::State::Null).unwrap();
        // A full queue behind the element, and a pad that lets nothing through.
        let blocked = pipeline(&name, "", "queue max-size-buffers=1 ! fakesink");
        let (told, heard) = std::sync::mpsc::channel();
        let pad = blocked.by_name("e").unwrap().static_pad("src").unwrap();
        pad.add_probe(gst::PadProbeType::BLOCK | gst::PadProbeType::BUFFER, move |_, _| {
            let _ = told.send(());
            gst::PadProbeReturn::Ok
        });
        blocked.set_state(gst::State::Playing).unwrap();
        heard.recv().unwrap();
        blocked.set_state(gst::State::Null).unwrap();
    }
}

#[test]
fn elements_stop_and_start_in_mid_stream() {
    for name in filters() {
        let pipeline = pipeline(&name, "", "queue ! fakesink name=sink");
        let counted = count(&pipeline, "sink");
        for round in 1..=5 {
            let (told, heard) = std::sync::mpsc::channel();
            let pad = pipeline.by_name("sink").unwrap().static_pad("sink").unwrap();
            pad.add_probe(gst::PadProbeType::BUFFER, move |_, _| {
                let _ = told.send(());
                if round % 2 == 0 { gst::PadProbeReturn::Ok } else { gst::PadProbeReturn::Remove }
            });
            pipeline.set_state(gst::State::Playing).unwrap();
            heard.recv().unwrap();
            pipeline.set_state(if round % 2 == 0 { gst::State::Ready } else { gst::State::Null }).unwrap();
        }
        pipeline.set_state(gst::State::Null).unwrap();
        assert!(counted.load(Atomic::Relaxed) >= 5, "{name}");
    }
}

#[test]
fn elements_are_gone_when_dropped() {
    for name in filters() {
        let element = make(&name);
        let weak = element.downgrade();
        pass(&Rig::new(&element));
        drop(element);
        assert!(weak.upgrade().is_none(), "{name}");
    }
    for name in names() {
        let element = make(&name);
        let weak = element.downgrade();
        element.set_state(gst::State::Playing).unwrap();
        element.set_state(gst::State::Null).unwrap();
        drop(element);
        assert!(weak.upgrade().is_none(), "{name}");
    }
}

/// What has come and not gone by GStreamer's leaks tracer while `f` ran, by type.
fn left_by(f: impl FnOnce()) -> BTreeMap<String, i64> {
    let tracers = gst::active_tracers();
    let tracer = tracers.iter().find(|t| t.type_().name() == "GstLeaksTracer").unwrap();
    tracer.emit_by_name::<()>("activity-start-tracking", &[]);
    f();
    let activity = tracer.emit_by_name::<gst::Structure>("activity-get-checkpoint", &[]);
    tracer.emit_by_name::<()>("activity-stop-tracking", &[]);
    let mut by_type = BTreeMap::new();
    for (list, one) in [("objects-created-list", 1), ("objects-removed-list", -1)] {
        for object in activity.get::<gst::List>(list).unwrap().iter() {
            let kind = object.get::<gst::Structure>().unwrap().get::<String>("type-name").unwrap();
            *by_type.entry(kind).or_default() += one;
        }
    }
    // A task's thread lets go of the task a moment after it has ended; a pad that kept one would be here itself.
    by_type.remove("GstTask");
    by_type.retain(|_, count| *count != 0);
    by_type
}

#[test]
fn no_object_outlives_its_use() {
    let name = "no_object_outlives_its_use";
    if std::env::var_os("GST_TRACERS").is_none() {
        let again = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", name, "--nocapture"])
            .env("GST_TRACERS", "leaks")
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&again.stderr);
        assert!(again.status.success(), "{}{text}", String::from_utf8_lossy(&again.stdout));
        return;
    }
    init();
    for name in filters() {
        let once = || {
            pass(&Rig::new(&make(&name)));
            let pipeline = pipeline(&name, "num-buffers=20", "queue ! fakesink");
            pipeline.set_state(gst::State::Playing).unwrap();
            wait_for(&pipeline, gst::MessageType::Eos);
            pipeline.set_state(gst::State::Null).unwrap();
            // A thread of GStreamer's own may still be at the end of a state change.
            let (told, heard) = std::sync::mpsc::channel();
            pipeline.add_weak_ref_notify(move || _ = told.send(()));
            drop(pipeline);
            heard.recv().unwrap();
            // The threads that end what the bin held are waited for by nobody.
            while common::threads().iter().any(|thread| thread.starts_with("vigil-chain")) {
                std::thread::park_timeout(std::time::Duration::from_millis(1));
            }
        };
        // The first turn leaves what a process keeps.
        once();
        assert_eq!(left_by(|| (0..3).for_each(|_| once())), BTreeMap::new(), "{name}");
    }
}
