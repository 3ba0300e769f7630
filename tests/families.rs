//! A real model of each family finds on real pictures what its reference finds: the numbers of the test data's README, and
//! what Python's ONNX Runtime with OpenCV and numpy made of the same files.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may")]

mod common;

use std::collections::BTreeMap;
use std::path::Path;

use common::{data, init};
use gst::prelude::*;
use gst_app::AppSink;
use gst_video::VideoInfo;
use gstvigil::bundle::contract::{Align, Color, DecoderKind, InputContract, Labels, Layout, OutputContract, Resize};
use gstvigil::bundle::create::{Draft, write_new};
use gstvigil::bundle::labels;
use gstvigil::frame::{ColorMatrix, ColorRange, FrameInfo, FrameView, PixelFormat};
use gstvigil::model::{Model, Request};
use gstvigil::post::Scratch;
use gstvigil::pre::{Border, Preprocessor};
use gstvigil::result::{AbsentReason, BBox, FrameResult, Freshness, Mask, Object};

/// What the reference finds on squat.bmp: x, y in pixels, confidence.
#[rustfmt::skip]
const SQUAT: [(f32, f32, f32); 17] = [
    (296.9, 203.8, 0.518), (298.8, 192.8, 0.750), (282.5, 191.4, 0.643),
    (282.7, 194.7, 0.554), (249.6, 192.5, 0.674), (281.9, 253.0, 0.610),
    (212.9, 245.1, 0.710), (350.6, 309.6, 0.754), (266.3, 312.2, 0.849),
    (341.5, 254.2, 0.599), (322.7, 250.5, 0.679), (190.7, 373.5, 0.831),
    (136.0, 371.9, 0.713), (293.8, 396.2, 0.759), (211.2, 412.2, 0.672),
    (260.9, 509.8, 0.597), (166.6, 543.0, 0.837),
];

/// What the reference finds on the photo 36 from a confidence of .43 at an IoU of .5: class, confidence, corners in pixels.
#[rustfmt::skip]
const PHOTO_36: [(u32, f32, [f32; 4]); 3] = [
    (0, 0.8140, [186.6, 158.7, 475.8, 637.3]),
    (25, 0.6471, [1.9, 32.0, 470.2, 522.1]),
    (0, 0.4473, [7.2, 51.5, 480.6, 640.0]),
];

/// A picture of three bytes a pixel, rows without padding.
struct Picture {
    format: PixelFormat,
    width: u32,
    height: u32,
    bytes: Vec<u8>,
}

impl Picture {
    /// An uncompressed Windows bitmap of 24 bits, which Debian's GStreamer does not decode.
    fn bitmap(path: &Path) -> Self {
        let file = std::fs::read(path).unwrap();
        let number = |at: usize| u32::from_le_bytes(file[at..at + 4].try_into().unwrap());
        let (start, width, height) = (number(10) as usize, number(18), number(22));
        assert_eq!((&file[..2], &file[28..30], number(30)), (&b"BM"[..], &[24, 0][..], 0));
        let row = width as usize * 3;
        let rows = file[start..].chunks(row.next_multiple_of(4)).take(height as usize);
        let bytes = rows.rev().flat_map(|stored| &stored[..row]).copied().collect();
        Self { format: PixelFormat::Bgr, width, height, bytes }
    }

    /// Frames of a file that GStreamer decodes, by their numbers in rising order.
    fn frames(path: &Path, numbers: &[usize]) -> Vec<Self> {
        init();
        let line = format!(
            "filesrc location={} ! decodebin ! videoconvert ! video/x-raw,format=RGB ! appsink name=out sync=false",
            path.display()
        );
        let pipeline: gst::Pipeline = gst::parse::launch(&line).unwrap().downcast().unwrap();
        let sink: AppSink = pipeline.by_name("out").unwrap().downcast().unwrap();
        pipeline.set_state(gst::State::Playing).unwrap();
        let (mut frames, mut next) = (Vec::new(), 0);
        while frames.len() < numbers.len() {
            let sample = sink.pull_sample().expect("the file has these frames");
            if numbers.contains(&next) {
                let info = VideoInfo::from_caps(sample.caps().unwrap()).unwrap();
                let map = sample.buffer().unwrap().map_readable().unwrap();
                let (row, stride) = (info.width() as usize * 3, info.stride()[0] as usize);
                let bytes = map.chunks(stride).take(info.height() as usize).flat_map(|r| &r[..row]).copied().collect();
                frames.push(Self { format: PixelFormat::Rgb, width: info.width(), height: info.height(), bytes });
            }
            next += 1;
        }
        pipeline.set_state(gst::State::Null).unwrap();
        frames
    }

    fn open(path: &Path) -> Self {
        if path.extension().is_some_and(|e| e == "bmp") {
            Self::bitmap(path)
        } else {
            Self::frames(path, &[0]).remove(0)
        }
    }
}

/// An input of RGB 0..255, to which the picture is stretched.
fn input(width: u32, height: u32) -> InputContract {
    InputContract {
        layout: Layout::Nchw,
        width,
        height,
        color: Color::Rgb,
        resize: Resize::Stretch,
        antialias: false,
        crop_fraction: 1.0,
        align: Align::Center,
        pad: 0,
        mean: [0.0; 3],
        std: [1.0; 3],
        quantization: None,
    }
}

fn names(list: &[&str]) -> Labels {
    list.iter().map(|n| (*n).into()).collect()
}

/// The labels in a file of the test data.
fn label_file(name: &str) -> Option<Labels> {
    Some(labels::parse(&std::fs::read(data(name)?).unwrap(), "labels").unwrap())
}

/// Writes a bundle around a model and loads it.
fn load(model: &Path, labels: Labels, input: InputContract, output: OutputContract) -> Model {
    let draft = Draft {
        name: "tried".into(),
        release: "1".into(),
        license: None,
        task: output.task,
        labels,
        input,
        output,
        precision: None,
        known: BTreeMap::new(),
    };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tried");
    write_new(model, &draft, &path).unwrap();
    let request = Request { model: path.display().to_string(), provider: "cpu".into(), ..Request::default() };
    Model::load(&request).unwrap()
}

/// What a model says about a picture, or the part `region` of it.
fn look(model: &Model, picture: &Picture, region: Option<BBox>) -> FrameResult {
    let info = FrameInfo {
        format: picture.format,
        width: picture.width,
        height: picture.height,
        range: ColorRange::Full,
        matrix: ColorMatrix::Bt601,
    };
    let view = FrameView::new(info, &[(&picture.bytes, picture.width as usize * 3)]).unwrap();
    let mut io = model.io();
    let tensor = &mut io.inputs[model.post().image_input()];
    let geometry = Preprocessor::new(model.input().clone()).run(&view, region, tensor, &mut Border::default()).unwrap();
    model.lanes().engine().run(&mut io, None).unwrap();
    let mut result = FrameResult {
        freshness: Freshness::Fresh,
        ..FrameResult::absent(AbsentReason::NoModel, (picture.width, picture.height))
    };
    let post = model.post();
    let counts = post.run(&io.outputs, &post.thresholds(), &geometry, &mut Scratch::default(), &mut result).unwrap();
    assert_eq!(counts.non_finite + counts.score_range + counts.unknown_class, 0, "{counts:?}");
    result
}

/// A box in pixels of a picture.
fn pixels(picture: &Picture, [x1, y1, x2, y2]: [f32; 4]) -> BBox {
    let (w, h) = (picture.width as f32, picture.height as f32);
    BBox::from_corners(x1 / w, y1 / h, x2 / w, y2 / h)
}

#[track_caller]
fn assert_box(object: &Object, expected: &BBox, least_iou: f32) {
    let iou = object.bbox.iou(expected);
    assert!(iou >= least_iou, "iou {iou}: {:?} instead of {expected:?}", object.bbox);
}

#[track_caller]
fn assert_near(value: f32, expected: f32, tolerance: f32) {
    assert!((value - expected).abs() <= tolerance, "{value} instead of {expected}");
}

#[test]
fn nanodet_finds_what_the_reference_finds() {
    let Some(model) = data("models/nanodet_m_320.onnx") else { return };
    let Some(picture) = data("coco128/train2017/000000000036.jpg") else { return };
    let Some(labels) = label_file("labels/coco_classes.txt") else { return };
    let (mean, std) = ([103.53, 116.28, 123.675], [57.375, 57.12, 58.395]);
    let bgr = InputContract { color: Color::Bgr, mean, std, ..input(320, 320) };
    let output = OutputContract { confidence: 0.43, iou: 0.5, ..OutputContract::new(DecoderKind::Nanodet) };
    let model = load(&model, labels, bgr, output);
    let picture = Picture::open(&picture);
    let seen = look(&model, &picture, None);
    assert_eq!(seen.objects.len(), PHOTO_36.len(), "{:#?}", seen.objects);
    for (object, (class, confidence, corners)) in seen.objects.iter().zip(PHOTO_36) {
        assert_eq!(object.class_id, class);
        // JPEG decoders differ by a level here and there.
        assert_near(object.confidence, confidence, 0.02);
        assert_box(object, &pixels(&picture, corners), 0.97);
    }
}

#[test]
fn yunet_finds_the_face_and_its_landmarks() {
    let Some(model) = data("models/yunet_n_320_320.onnx") else { return };
    let Some(picture) = data("images/grace_hopper.bmp") else { return };
    let (resize, align) = (Resize::Letterbox, Align::TopLeft);
    let bgr = InputContract { color: Color::Bgr, resize, align, ..input(320, 320) };
    let model = load(&model, names(&["face"]), bgr, OutputContract::new(DecoderKind::Yunet));
    let picture = Picture::open(&picture);
    let seen = look(&model, &picture, None);
    let [face] = seen.objects.as_slice() else { panic!("{:?}", seen.objects) };
    assert_near(face.confidence, 0.94, 0.01);
    assert_box(face, &pixels(&picture, [169.0, 111.0, 353.0, 336.0]), 0.97);
    let [right_eye, left_eye, nose, mouth_right, mouth_left] = face.keypoints.as_slice() else { panic!("{face:?}") };
    assert!(right_eye.x < nose.x && nose.x < left_eye.x && mouth_right.x < mouth_left.x, "{face:?}");
    assert!(right_eye.y < nose.y && left_eye.y < nose.y && nose.y < mouth_left.y, "{face:?}");
}

#[test]
fn movenet_lays_the_keypoints_on_the_body() {
    let Some(model) = data("models/movenet_lightning_192.onnx") else { return };
    let Some(picture) = data("images/squat.bmp") else { return };
    let letterbox = InputContract { resize: Resize::Letterbox, ..input(192, 192) };
    let model = load(&model, names(&["person"]), letterbox, OutputContract::new(DecoderKind::Movenet));
    let picture = Picture::open(&picture);
    let seen = look(&model, &picture, None);
    let [person] = seen.objects.as_slice() else { panic!("{:?}", seen.objects) };
    assert_eq!(person.keypoints.len(), 17);
    let inside = |p: &gstvigil::result::Keypoint| {
        let b = person.bbox;
        (b.x - 1e-3..=b.x2() + 1e-3).contains(&p.x) && (b.y - 1e-3..=b.y2() + 1e-3).contains(&p.y)
    };
    assert!(person.keypoints.iter().filter(|p| p.confidence > 0.1).all(inside), "{person:?}");
    for (point, (x, y, confidence)) in person.keypoints.iter().zip(SQUAT) {
        assert_near(point.x * picture.width as f32, x, 1.0);
        assert_near(point.y * picture.height as f32, y, 1.0);
        assert_near(point.confidence, confidence, 0.02);
    }
}

#[test]
fn deeplab_covers_the_animals() {
    let Some(model) = data("models/deeplab_v3_1_default_1.onnx") else { return };
    let nhwc = InputContract { layout: Layout::Nhwc, mean: [127.5; 3], std: [127.5; 3], ..input(257, 257) };
    let labels: Labels =
        (0..21).map(|i| if i == 0 { "background".into() } else { format!("voc {i}").into() }).collect();
    let model = load(&model, labels, nhwc, OutputContract::new(DecoderKind::Segmentation));
    for (name, class, part) in [("bird.bmp", 3, 0.13), ("cat.bmp", 8, 0.36)] {
        let Some(picture) = data(&format!("images/{name}")) else { return };
        let seen = look(&model, &Picture::open(&picture), None);
        let [animal] = seen.objects.as_slice() else { panic!("{name}: {:?}", seen.objects) };
        assert_eq!(animal.class_id, class, "{name}");
        assert!(animal.confidence > 0.8, "{name}: {}", animal.confidence);
        let mask: &Mask = animal.mask.as_ref().unwrap();
        let inside = mask.data.iter().filter(|v| **v >= 128).count() as f32 / mask.data.len() as f32;
        assert_near(inside * animal.bbox.w * animal.bbox.h, part, 0.01);
    }
}

#[test]
fn mobilenet_names_the_pictures_with_a_class_that_has_no_label() {
    let Some(model) = data("models/mobilenet_v2_1.0_224_float.onnx") else { return };
    let Some(all) = label_file("labels/imagenet_labels.txt") else { return };
    assert_eq!(&*all[0], "background");
    let output = OutputContract { class_offset: 1, ..OutputContract::new(DecoderKind::Classify) };
    let model = load(&model, all[1..].to_vec(), input(224, 224), output);
    for (name, label, confidence) in
        [("cat.bmp", "Egyptian cat", 0.82), ("parrot.jpg", "macaw", 0.999), ("bird.bmp", "chickadee", 0.995)]
    {
        let Some(picture) = data(&format!("images/{name}")) else { return };
        let seen = look(&model, &Picture::open(&picture), None);
        assert_eq!(&*seen.classes[0].label, label, "{name}");
        assert_near(seen.classes[0].confidence, confidence, 0.01);
    }
}

#[test]
fn a_person_is_told_from_others() {
    let Some(model) = data("models/person-reidentification-retail-0288.onnx") else { return };
    let Some(video) = data("video/one-by-one-person-detection.mp4") else { return };
    let bgr = InputContract { layout: Layout::Nhwc, color: Color::Bgr, ..input(128, 256) };
    let model = load(&model, Labels::new(), bgr, OutputContract::new(DecoderKind::Embed));
    // Three people, each seen twice some seconds apart.
    let seen = [
        (90, 0, [0.495, 0.036, 0.672, 0.936]),
        (180, 0, [0.500, 0.022, 0.682, 0.925]),
        (255, 1, [0.501, 0.009, 0.707, 0.861]),
        (420, 1, [0.500, 0.008, 0.709, 0.861]),
        (525, 2, [0.512, 0.000, 0.721, 0.905]),
        (675, 2, [0.536, 0.000, 0.743, 0.933]),
    ];
    let frames = Picture::frames(&video, &seen.map(|s| s.0));
    let vectors: Vec<_> = seen
        .iter()
        .zip(&frames)
        .map(|((_, _, [x1, y1, x2, y2]), frame)| {
            look(&model, frame, Some(BBox::from_corners(*x1, *y1, *x2, *y2))).embedding.unwrap()
        })
        .collect();
    let cosine = |a: usize, b: usize| vectors[a].iter().zip(vectors[b].iter()).map(|(a, b)| a * b).sum::<f32>();
    let (mut same, mut other) = (f32::INFINITY, f32::NEG_INFINITY);
    for a in 0..seen.len() {
        assert_eq!(vectors[a].len(), 256);
        assert_near(cosine(a, a), 1.0, 1e-5);
        for b in 0..a {
            let value = cosine(a, b);
            if seen[a].1 == seen[b].1 { same = same.min(value) } else { other = other.max(value) }
        }
    }
    assert!(same > other + 0.1, "same person {same}, others {other}");
}
