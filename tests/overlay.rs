//! `vigiloverlay` in a harness: what it draws where, and what it leaves alone.

#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use std::sync::Arc;

use common::init;
use gst::prelude::*;
use gst_video::prelude::*;
use gst_video::{VideoFormat, VideoFrameRef, VideoInfo};
use gstvigil::gstutil::frame::FORMATS;
use gstvigil::meta;
use gstvigil::result::{AbsentReason, BBox, FrameResult, Freshness, Object, Track, TrackState};

/// The value of every byte before drawing; no colour of the palette has it in any component.
const GROUND: u8 = 7;

/// An overlay that draws boxes two pixels thick and nothing else, unless told otherwise.
fn overlay() -> gst::Element {
    init();
    let element = gst::ElementFactory::make("vigiloverlay").property("line-width", 2u32).build().unwrap();
    for name in ["show-labels", "show-confidence", "show-tracks", "show-absent", "show-status"] {
        element.set_property(name, false);
    }
    element.set_property("tail-time", 0u64);
    element
}

fn harness(element: &gst::Element, info: &VideoInfo) -> gst_check::Harness {
    let mut h = gst_check::Harness::with_element(element, Some("sink"), Some("src"));
    h.set_src_caps(info.to_caps().unwrap());
    h
}

fn info(format: VideoFormat, width: u32, height: u32) -> VideoInfo {
    init();
    VideoInfo::builder(format, width, height).fps(gst::Fraction::new(10, 1)).build().unwrap()
}

fn result(objects: Vec<Object>) -> FrameResult {
    FrameResult {
        frame: 0,
        pts_ns: None,
        running_time_ns: None,
        utc_ns: 0,
        width: 64,
        height: 48,
        model: None,
        freshness: Freshness::Fresh,
        objects,
        classes: Vec::new(),
        embedding: None,
        absent_since_ns: None,
        secondary: Vec::new(),
    }
}

/// A result with one box of whole pixels.
fn boxed((x0, y0, x1, y1): (u32, u32, u32, u32), info: &VideoInfo) -> FrameResult {
    let [w, h] = [info.width(), info.height()].map(|v| v as f32);
    let bbox = BBox::from_corners(x0 as f32 / w, y0 as f32 / h, x1 as f32 / w, y1 as f32 / h);
    result(vec![Object::new(0, 0, "person".into(), 0.9, bbox)])
}

/// A frame of ground with `result`; `padding` more bytes in each row than the caps say.
fn frame(info: &VideoInfo, padding: i32, pts_ms: u64, result: Option<FrameResult>) -> gst::Buffer {
    let planes = info.n_planes() as usize;
    let strides: Vec<i32> = info.stride()[..planes].iter().map(|s| s + padding).collect();
    let mut offsets = Vec::new();
    let mut size = 0;
    for (plane, stride) in strides.iter().enumerate() {
        offsets.push(size);
        let rows = if plane == 0 { info.height() } else { info.height().div_ceil(2) };
        size += *stride as usize * rows as usize;
    }
    let mut buffer = gst::Buffer::from_mut_slice(vec![GROUND; size]);
    let b = buffer.get_mut().unwrap();
    b.set_pts(gst::ClockTime::from_mseconds(pts_ms));
    let flags = gst_video::VideoFrameFlags::empty();
    gst_video::VideoMeta::add_full(b, flags, info.format(), info.width(), info.height(), &offsets, &strides).unwrap();
    if let Some(result) = result {
        meta::set(b, Arc::new(result), false);
    }
    buffer
}

fn bytes(buffer: &gst::Buffer) -> Vec<u8> {
    buffer.map_readable().unwrap().to_vec()
}

/// Checks that a component's sample differs from the ground where one of its pixels is in the outline, and only there.
fn check_box(buffer: &gst::Buffer, info: &VideoInfo, (x0, y0, x1, y1): (u32, u32, u32, u32)) {
    let frame = VideoFrameRef::from_buffer_ref_readable(buffer, info).unwrap();
    let inside = |x: u32, y: u32, by: u32| x >= x0 + by && x + by < x1 && y >= y0 + by && y + by < y1;
    let format = info.format_info();
    let mut drawn = 0;
    for c in 0..info.n_components() {
        let data = frame.comp_data(c).unwrap();
        let (stride, step) = (frame.comp_stride(c) as usize, frame.comp_pstride(c) as usize);
        let (ws, hs) = (format.w_sub()[c as usize], format.h_sub()[c as usize]);
        for (x, y) in (0..frame.comp_height(c)).flat_map(|y| (0..frame.comp_width(c)).map(move |x| (x, y))) {
            let value = data[y as usize * stride + x as usize * step];
            let pixels = (y << hs..((y + 1) << hs).min(info.height()))
                .flat_map(|y| (x << ws..((x + 1) << ws).min(info.width())).map(move |x| (x, y)));
            let touched = pixels.filter(|&(x, y)| inside(x, y, 0) && !inside(x, y, 2)).count() > 0;
            assert_eq!(value != GROUND, touched, "{:?}: component {c} at {x}, {y} is {value}", info.format());
            drawn += usize::from(touched);
        }
    }
    assert!(drawn > 50, "{drawn}");
}

#[test]
fn a_box_changes_its_pixels_and_no_others_in_every_format() {
    for format in FORMATS {
        for (width, height, padding) in [(64, 48, 0), (63, 47, 20)] {
            let info = info(format, width, height);
            let mut h = harness(&overlay(), &info);
            let at = (13, 10, 35, 32);
            let out = h.push_and_pull(frame(&info, padding, 0, Some(boxed(at, &info)))).unwrap();
            check_box(&out, &info, at);
            assert!(meta::get(&out).is_some(), "the result stays on the frame");
        }
    }
}

#[test]
fn rows_keep_their_padding() {
    let info = info(VideoFormat::Gray8, 64, 48);
    let mut h = harness(&overlay(), &info);
    let out = h.push_and_pull(frame(&info, 12, 0, Some(boxed((40, 10, 64, 30), &info)))).unwrap();
    assert!(bytes(&out).chunks(76).all(|row| row[64..].iter().all(|v| *v == GROUND)));
}

#[test]
fn frames_without_anything_to_draw_pass_as_they_came() {
    let info = info(VideoFormat::Nv12, 64, 48);
    let element = overlay();
    let mut h = harness(&element, &info);
    let results = [None, Some(result(Vec::new())), Some(boxed((8, 8, 40, 40), &info))];
    for (i, result) in results.into_iter().enumerate() {
        element.set_property("min-confidence", if i == 2 { 0.95f32 } else { 0.0 });
        let buffer = frame(&info, 0, 0, result);
        // Held by others too, as after a tee: a copy would show.
        let held = buffer.clone();
        let out = h.push_and_pull(buffer).unwrap();
        assert_eq!(out.as_ptr(), held.as_ptr(), "case {i}");
        assert!(bytes(&out).iter().all(|v| *v == GROUND));
    }
}

#[test]
fn a_buffer_that_others_hold_is_not_drawn_on() {
    let info = info(VideoFormat::I420, 64, 48);
    let mut h = harness(&overlay(), &info);
    let at = (13, 10, 35, 32);
    let buffer = frame(&info, 0, 0, Some(boxed(at, &info)));
    let held = buffer.clone();
    let out = h.push_and_pull(buffer).unwrap();
    check_box(&out, &info, at);
    assert!(bytes(&held).iter().all(|v| *v == GROUND));
    // Held by nobody else, the same memory is drawn on.
    let buffer = frame(&info, 0, 100, Some(boxed(at, &info)));
    let memory = buffer.peek_memory(0).as_ptr();
    let out = h.push_and_pull(buffer).unwrap();
    assert_eq!(out.peek_memory(0).as_ptr(), memory);
    check_box(&out, &info, at);
}

#[test]
fn caps_may_change_in_mid_stream() {
    let (first, second) = (info(VideoFormat::Nv12, 64, 48), info(VideoFormat::Bgra, 33, 21));
    let mut h = harness(&overlay(), &first);
    let out = h.push_and_pull(frame(&first, 0, 0, Some(boxed((13, 10, 35, 32), &first)))).unwrap();
    check_box(&out, &first, (13, 10, 35, 32));
    h.set_src_caps(second.to_caps().unwrap());
    let out = h.push_and_pull(frame(&second, 4, 100, Some(boxed((3, 2, 30, 19), &second)))).unwrap();
    check_box(&out, &second, (3, 2, 30, 19));
}

#[test]
fn a_flush_forgets_where_tracks_have_been() {
    let info = info(VideoFormat::Gray8, 64, 48);
    let element = overlay();
    element.set_property("show-boxes", false);
    element.set_property("tail-time", 10_000_000_000u64);
    let mut h = harness(&element, &info);
    let step = |h: &mut gst_check::Harness, x: u32, pts_ms: u64| {
        let mut result = boxed((x, 8, x + 8, 30), &info);
        let state = TrackState::Confirmed;
        result.objects[0].track = Some(Track { id: 1, state, age_ns: 0, unseen_ns: 0, velocity: (0.0, 0.0) });
        let out = h.push_and_pull(frame(&info, 0, pts_ms, Some(result))).unwrap();
        bytes(&out).iter().filter(|v| **v != GROUND).count()
    };
    assert_eq!(step(&mut h, 4, 0), 0, "one point is no tail");
    assert!(step(&mut h, 40, 1000) > 30, "36 pixels long");
    assert!(h.push_event(gst::event::FlushStart::new()));
    assert!(h.push_event(gst::event::FlushStop::new(true)));
    assert!(h.push_event(gst::event::Segment::new(&gst::FormattedSegment::<gst::ClockTime>::new())));
    assert_eq!(step(&mut h, 4, 2000), 0);
    assert!(step(&mut h, 40, 3000) > 30);
}

#[test]
fn held_results_and_missing_analysis_are_seen() {
    let info = info(VideoFormat::Gray8, 320, 240);
    let element = overlay();
    let mut h = harness(&element, &info);
    let mut draw = |result: FrameResult| bytes(&h.push_and_pull(frame(&info, 0, 0, Some(result))).unwrap());
    let fresh = boxed((40, 40, 200, 200), &info);
    let mut held = fresh.clone();
    held.freshness = Freshness::Held { age_ns: 400_000_000 };
    let count = |data: &[u8]| data.iter().filter(|v| **v != GROUND).count();
    assert!(count(&draw(held)) < count(&draw(fresh)), "dashed");
    let mut absent = result(Vec::new());
    absent.freshness = Freshness::Absent(AbsentReason::Deadline);
    assert_eq!(count(&draw(absent.clone())), 0);
    element.set_property("show-status", true);
    assert!(count(&draw(absent)) > 500, "a badge");
}

#[test]
fn a_banner_says_that_analysis_is_off_in_every_format() {
    // Wide enough for one line, high for two, and hardly enough for anything.
    for (format, (width, height)) in
        FORMATS.into_iter().flat_map(|f| [(640, 48), (240, 320), (31, 9), (1, 1)].map(|size| (f, size)))
    {
        let info = info(format, width, height);
        let element = overlay();
        let mut h = harness(&element, &info);
        let mut draw = |reason, absent_since_ns| {
            let r = FrameResult { absent_since_ns, ..FrameResult::absent(reason, (width, height)) };
            bytes(&h.push_and_pull(frame(&info, 0, 0, Some(r))).unwrap())
        };
        let ground = draw(AbsentReason::EngineRestarting, None);
        assert!(ground.iter().all(|v| *v == GROUND), "switched off");
        element.set_property("show-absent", true);
        assert_eq!(draw(AbsentReason::Skipped, None), ground, "planned");
        let plain = draw(AbsentReason::EngineRestarting, None);
        if width == 1 {
            continue;
        }
        assert_ne!(plain, ground, "{format:?} {width}x{height}");
        let dated = draw(AbsentReason::EngineRestarting, Some(5_000_000_000));
        assert_eq!(dated != plain, width >= 240, "{format:?} {width}x{height}");
        assert_eq!(draw(AbsentReason::EngineRestarting, None), plain, "the time is gone again");
    }
}

#[test]
fn colors_follow_classes_or_tracks() {
    let info = info(VideoFormat::Rgb, 64, 48);
    let element = overlay();
    let mut h = harness(&element, &info);
    let mut draw = |track: u64| {
        let mut result = boxed((8, 8, 40, 40), &info);
        let state = TrackState::Confirmed;
        result.objects[0].track = Some(Track { id: track, state, age_ns: 0, unseen_ns: 0, velocity: (0.0, 0.0) });
        bytes(&h.push_and_pull(frame(&info, 0, 0, Some(result))).unwrap())
    };
    assert_eq!(draw(1), draw(2));
    element.set_property_from_str("color-by", "track");
    assert_ne!(draw(1), draw(2));
}

#[test]
fn a_font_that_is_missing_is_one_clear_error() {
    let element = overlay();
    element.set_property("font", "/nowhere/none.ttf");
    let bus = gst::Bus::new();
    element.set_bus(Some(&bus));
    assert!(element.set_state(gst::State::Paused).is_err());
    let errors: Vec<_> = bus.iter().filter(|m| m.type_() == gst::MessageType::Error).collect();
    let gst::MessageView::Error(error) = errors[0].view() else { panic!("{errors:?}") };
    assert!(error.error().to_string().contains("/nowhere/none.ttf"), "{}", error.error());
    assert_eq!(errors.len(), 1);
    element.set_state(gst::State::Null).unwrap();
}

#[test]
fn a_frame_that_is_too_small_passes_with_one_warning() {
    let info = info(VideoFormat::Nv12, 64, 48);
    let element = overlay();
    let mut h = harness(&element, &info);
    let bus = gst::Bus::new();
    element.set_bus(Some(&bus));
    for _ in 0..3 {
        let mut buffer = gst::Buffer::from_mut_slice(vec![GROUND; 100]);
        meta::set(buffer.get_mut().unwrap(), Arc::new(boxed((8, 8, 40, 40), &info)), false);
        assert_eq!(h.push_and_pull(buffer).unwrap().size(), 100);
    }
    assert_eq!(bus.iter().filter(|m| m.type_() == gst::MessageType::Warning).count(), 1);
}
