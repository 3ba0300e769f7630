//! Boxes lie where the thing is: a model that answers with the exact place of what is red, on frames of every format,
//! size and way of resizing.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may")]

mod common;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use common::{data, init, model, result};
use gst::prelude::*;
use gst_app::{AppSink, AppSrc};
use gst_video::{VideoConverter, VideoFormat, VideoFrameRef, VideoInfo};
use gstvigil::bundle::contract::{
    Align, Color, DecoderKind, InputContract, Labels, Layout, OutputContract, Resize, Task,
};
use gstvigil::bundle::create::{Draft, write_new};
use gstvigil::gstutil::frame::FORMATS;
use gstvigil::result::FrameResult;

/// Farthest that an edge of a box may lie from the truth, pixels of the frame.
const TOLERANCE: f32 = 1.0;

/// A frame with a red rectangle.
#[derive(Debug, Clone, Copy)]
struct Scene {
    format: VideoFormat,
    size: (u32, u32),
    /// Left, top, width, height of what is red, pixels.
    red: (u32, u32, u32, u32),
    /// The value of a tag `image-orientation`, if there is one. Boxes stay in coordinates of the stored frame.
    orientation: Option<&'static str>,
    /// Left, top, width, height of a crop meta, if there is one. Boxes are in coordinates of what it leaves.
    crop: Option<(u32, u32, u32, u32)>,
}

/// Where the box must be: left, top, right, bottom in pixels, and the size that coordinates relate to.
fn truth(scene: &Scene) -> ([f32; 4], (f32, f32)) {
    let (x, y, w, h) = scene.red;
    let (left, top, width, height) = scene.crop.unwrap_or((0, 0, scene.size.0, scene.size.1));
    let [x, y, w, h, left, top] = [x, y, w, h, left, top].map(|v| v as f32);
    ([x - left, y - top, x + w - left, y + h - top], (width as f32, height as f32))
}

/// The scene's frame; the format's colour comes from GStreamer's converter.
fn frame(scene: &Scene) -> (gst::Caps, gst::Buffer) {
    let ((width, height), (left, top, w, h)) = (scene.size, scene.red);
    let of = |format| VideoInfo::builder(format, width, height).fps(gst::Fraction::new(25, 1)).build().unwrap();
    let (rgb, info) = (of(VideoFormat::Rgb), of(scene.format));
    let mut buffer = gst::Buffer::with_size(rgb.size()).unwrap();
    {
        let mut map = buffer.get_mut().unwrap().map_writable().unwrap();
        let rows = map.chunks_mut(rgb.stride()[0] as usize);
        for (y, row) in (0..height).zip(rows) {
            for (x, pixel) in (0..width).zip(row.chunks_exact_mut(3)) {
                let red = (left..left + w).contains(&x) && (top..top + h).contains(&y);
                pixel.copy_from_slice(if red { &[255, 0, 0] } else { &[60, 60, 60] });
            }
        }
    }
    if scene.format != VideoFormat::Rgb {
        let mut converted = gst::Buffer::with_size(info.size()).unwrap();
        let converter = VideoConverter::new(&rgb, &info, None).unwrap();
        let from = VideoFrameRef::from_buffer_ref_readable(&buffer, &rgb).unwrap();
        let target = converted.get_mut().unwrap();
        converter.frame_ref(&from, &mut VideoFrameRef::from_buffer_ref_writable(target, &info).unwrap());
        drop(from);
        buffer = converted;
    }
    let writable = buffer.get_mut().unwrap();
    writable.set_pts(gst::ClockTime::ZERO);
    if let Some(rect) = scene.crop {
        gst_video::VideoCropMeta::add(writable, rect);
    }
    (info.to_caps().unwrap(), buffer)
}

/// What the element says about the scene.
fn analyse(scene: &Scene, model: &str) -> Arc<FrameResult> {
    init();
    let pipeline =
        gst::parse::launch("appsrc name=in format=time ! vigilinfer name=infer ! appsink name=out sync=false");
    let pipeline: gst::Pipeline = pipeline.unwrap().downcast().unwrap();
    pipeline.by_name("infer").unwrap().set_property("model", model);
    let source: AppSrc = pipeline.by_name("in").unwrap().downcast().unwrap();
    let sink: AppSink = pipeline.by_name("out").unwrap().downcast().unwrap();
    let (caps, buffer) = frame(scene);
    source.set_caps(Some(&caps));
    pipeline.set_state(gst::State::Playing).unwrap();
    if let Some(value) = scene.orientation {
        let mut tags = gst::TagList::new();
        tags.get_mut().unwrap().add::<gst::tags::ImageOrientation>(&value, gst::TagMergeMode::Replace);
        assert!(source.send_event(gst::event::Tag::new(tags)));
    }
    source.push_buffer(buffer).unwrap();
    source.end_of_stream().unwrap();
    let sample = sink.pull_sample().unwrap_or_else(|e| panic!("{scene:?}: {e}: {:?}", pipeline.bus().unwrap().pop()));
    let seen = result(sample.buffer().unwrap());
    pipeline.set_state(gst::State::Null).unwrap();
    seen
}

#[track_caller]
fn check(scene: &Scene, model: &str) {
    let seen = analyse(scene, model);
    if scene.format == VideoFormat::Gray8 {
        assert!(seen.objects.is_empty(), "nothing is red in grey: {seen:?}");
        return;
    }
    let [object] = seen.objects.as_slice() else { panic!("{model} {scene:?}: {:?}", seen.objects) };
    let (expected, (w, h)) = truth(scene);
    let b = object.bbox;
    let found = [b.x * w, b.y * h, b.x2() * w, b.y2() * h];
    let off = found.iter().zip(expected).map(|(f, e)| (f - e).abs()).fold(0.0, f32::max);
    assert!(off <= TOLERANCE, "{model} {scene:?}: {found:?} instead of {expected:?}");
}

/// The models: that of the repository, and that of the test data, which looks at 640 × 640 pixels. For each the file, the
/// side of its input, and its number of classes.
fn models() -> Vec<(PathBuf, u32, usize)> {
    let mut models = vec![(PathBuf::from(model("blob")), 160, 1)];
    models.extend(data("models/red_blob_yolov8.onnx").map(|path| (path, 640, 80)));
    models
}

/// A bundle that brings frames to the model in one way, in a folder that goes with the guard.
fn bundle(model: &Path, side: u32, classes: usize, resize: Resize, align: Align) -> (tempfile::TempDir, String) {
    let labels: Labels = (0..classes).map(|i| format!("class {i}").into()).collect();
    let draft = Draft {
        name: "red".into(),
        release: "1".into(),
        license: None,
        task: Task::Detect,
        labels,
        input: InputContract {
            layout: Layout::Nchw,
            width: side,
            height: side,
            color: Color::Rgb,
            resize,
            antialias: false,
            crop_fraction: 1.0,
            align,
            pad: 114,
            mean: [0.0; 3],
            std: [255.0; 3],
            quantization: None,
        },
        output: OutputContract::new(DecoderKind::Yolov8),
        precision: None,
        known: BTreeMap::new(),
    };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("red");
    write_new(model, &draft, &path).unwrap();
    (folder, path.to_str().unwrap().to_owned())
}

/// A scene for a model whose input is `side` wide: `size` and `red` are given in fourths of it.
fn scene(format: VideoFormat, side: u32, size: (f32, f32), red: (f32, f32, f32, f32)) -> Scene {
    let pixels = |v: f32| (v * side as f32 / 4.0).round() as u32;
    // What is red lies on even pixels, where formats with half as much chroma can have an edge.
    let even = |v: f32| pixels(v) / 2 * 2;
    Scene {
        format,
        size: (pixels(size.0), pixels(size.1)),
        red: (even(red.0), even(red.1), even(red.2), even(red.3)),
        orientation: None,
        crop: None,
    }
}

/// In the middle, so that no way of resizing cuts it off.
const MIDDLE: (f32, f32, f32, f32) = (1.8, 1.2, 0.6, 0.5);

#[test]
fn every_format_has_its_boxes_in_place() {
    for (path, side, classes) in models() {
        let (_guard, bundle) = bundle(&path, side, classes, Resize::Letterbox, Align::Center);
        for format in FORMATS {
            check(&scene(format, side, (4.0, 2.25), MIDDLE), &bundle);
        }
    }
}

#[test]
fn every_way_of_resizing_has_its_boxes_in_place() {
    let ways = [
        (Resize::Stretch, Align::Center),
        (Resize::Letterbox, Align::Center),
        (Resize::Letterbox, Align::TopLeft),
        (Resize::Crop, Align::Center),
    ];
    // Landscape, portrait, square, odd, smaller and larger than the input.
    let sizes = [(4.0, 2.25), (2.25, 4.0), (4.0, 4.0), (4.006, 2.256), (3.006, 4.256), (2.606, 2.206), (6.0, 3.375)];
    for (path, side, classes) in models() {
        for (resize, align) in ways {
            let (_guard, bundle) = bundle(&path, side, classes, resize, align);
            for size in sizes {
                let red = (size.0 / 2.0 - 0.2, size.1 / 2.0 - 0.3, 0.6, 0.5);
                check(&scene(VideoFormat::Rgb, side, size, red), &bundle);
            }
            check(&scene(VideoFormat::Nv12, side, sizes[3], (1.8, 0.9, 0.6, 0.5)), &bundle);
        }
    }
}

#[test]
fn boxes_at_the_frame_s_edge_are_neither_lost_nor_moved() {
    for (path, side, classes) in models() {
        for align in [Align::Center, Align::TopLeft] {
            let (_guard, bundle) = bundle(&path, side, classes, Resize::Letterbox, align);
            for size in [(4.0, 2.25), (2.25, 4.0)] {
                let (right, below) = (size.0 - 0.6, size.1 - 0.5);
                for (x, y) in [(0.0, 0.0), (right, 0.0), (0.0, below), (right, below)] {
                    check(&scene(VideoFormat::Rgb, side, size, (x, y, 0.6, 0.5)), &bundle);
                }
            }
        }
    }
}

#[test]
fn a_turned_stream_has_its_boxes_in_its_own_coordinates() {
    for (path, side, classes) in models() {
        for (resize, align) in
            [(Resize::Letterbox, Align::Center), (Resize::Letterbox, Align::TopLeft), (Resize::Stretch, Align::Center)]
        {
            let (_guard, bundle) = bundle(&path, side, classes, resize, align);
            for turn in ["rotate-90", "rotate-180", "rotate-270", "flip-rotate-0", "flip-rotate-90"] {
                for (format, size) in [(VideoFormat::Rgb, (4.006, 2.256)), (VideoFormat::Nv12, (2.25, 4.0))] {
                    let still = scene(format, side, size, (0.4, 0.3, 0.6, 0.5));
                    check(&Scene { orientation: Some(turn), ..still }, &bundle);
                }
            }
        }
    }
}

#[test]
fn a_cropped_frame_has_its_boxes_in_what_is_left_of_it() {
    for (path, side, classes) in models() {
        for (resize, align) in [(Resize::Letterbox, Align::Center), (Resize::Stretch, Align::Center)] {
            let (_guard, bundle) = bundle(&path, side, classes, resize, align);
            for format in [VideoFormat::Rgb, VideoFormat::Nv12, VideoFormat::Yuy2] {
                let whole = scene(format, side, (6.0, 4.0), (2.6, 1.4, 0.6, 0.5));
                let (width, height) = whole.size;
                let crop = (width / 4 + 1, height / 8, width / 2, height / 2);
                check(&Scene { crop: Some(crop), ..whole }, &bundle);
                let orientation = Some("rotate-90");
                check(&Scene { crop: Some(crop), orientation, ..whole }, &bundle);
            }
        }
    }
}
