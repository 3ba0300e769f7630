//! Real models find on real pictures what the same graphs find when OpenCV prepares the picture, Python's ONNX Runtime
//! runs the model and numpy reads the answer. tests/golden/make.py printed the tables.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may")]

mod common;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use common::{data, init, result};
use gst::prelude::*;
use gst_app::{AppSink, AppSrc};
use gst_video::{VideoFormat, VideoInfo};
use gstvigil::bundle::contract::{
    Align, Color, DecoderKind, InputContract, Labels, Layout, OutputContract, Resize, Task,
};
use gstvigil::bundle::create::{Draft, write_new};
use gstvigil::bundle::labels;
use gstvigil::result::{BBox, FrameResult, Freshness};

/// Picture, class, confidence, corners (x1, y1, x2, y2, parts of the picture); highest confidence first.
type Expected = (u32, u32, f32, [f32; 4]);

const PHOTOS: [&str; 4] = ["000000000036.jpg", "000000000072.jpg", "000000000144.jpg", "000000000312.jpg"];

/// Confidence that the COCO models are asked for.
const CONFIDENCE: f32 = 0.5;
/// The tables list boxes down to this much under it.
const SLACK: f32 = 0.02;

/// From RGB pixels, and from NV12; I420 that comes from NV12 holds the same values.
type Tables = [&'static [Expected]; 2];

#[rustfmt::skip]
const YOLOX: Tables = [&[
    (0, 25, 0.9123, [0.0086, 0.0710, 0.9747, 0.8489]),
    (0, 0, 0.9054, [0.3641, 0.2451, 0.9837, 0.9962]),
    (1, 23, 0.8619, [0.3443, 0.1055, 1.0000, 0.9995]),
    (1, 23, 0.8460, [0.1037, 0.1273, 0.6856, 0.9922]),
    (2, 23, 0.8953, [0.3997, 0.2564, 0.9353, 1.0000]),
    (2, 23, 0.8037, [0.0788, 0.1707, 0.7023, 0.9996]),
    (2, 23, 0.5485, [0.3975, 0.3345, 0.7010, 0.9939]),
    (3, 20, 0.9207, [0.0008, 0.4264, 0.3644, 0.9208]),
    (3, 20, 0.9031, [0.3581, 0.4487, 0.6754, 0.8780]),
    (3, 20, 0.8064, [0.5363, 0.6956, 0.6401, 0.8743]),
    (3, 20, 0.7963, [0.7322, 0.4204, 0.9983, 0.8666]),
    (3, 20, 0.5790, [0.6816, 0.6016, 0.8355, 0.8630]),
], &[
    (0, 25, 0.9078, [0.0086, 0.0700, 0.9732, 0.8515]),
    (0, 0, 0.9064, [0.3629, 0.2454, 0.9835, 0.9963]),
    (1, 23, 0.8598, [0.3429, 0.1051, 1.0000, 0.9990]),
    (1, 23, 0.8472, [0.1061, 0.1268, 0.6938, 0.9921]),
    (2, 23, 0.8938, [0.3985, 0.2562, 0.9352, 1.0000]),
    (2, 23, 0.8132, [0.0790, 0.1686, 0.6999, 0.9996]),
    (2, 23, 0.5450, [0.3536, 0.3282, 0.6984, 0.9938]),
    (3, 20, 0.9245, [0.0024, 0.4357, 0.3608, 0.9180]),
    (3, 20, 0.9024, [0.3590, 0.4498, 0.6732, 0.8765]),
    (3, 20, 0.8331, [0.7152, 0.4149, 0.9981, 0.8807]),
    (3, 20, 0.8013, [0.5370, 0.6932, 0.6420, 0.8746]),
    (3, 20, 0.6197, [0.6820, 0.6003, 0.7999, 0.8557]),
]];

#[rustfmt::skip]
const SSD: Tables = [&[
    (0, 0, 0.7409, [0.3696, 0.2342, 0.9834, 0.9840]),
    (0, 27, 0.7408, [0.0191, 0.0428, 0.9644, 0.7596]),
    (1, 24, 0.7407, [0.1215, 0.1834, 0.8292, 0.9811]),
    (1, 24, 0.6202, [0.3541, 0.1877, 0.9959, 0.9780]),
    (2, 24, 0.7563, [0.4094, 0.2426, 0.9341, 0.9918]),
    (2, 24, 0.7318, [0.3164, 0.3694, 0.7045, 0.9797]),
    (2, 24, 0.6974, [0.1941, 0.2289, 0.7444, 0.9783]),
    (2, 24, 0.6514, [0.0941, 0.1809, 0.4945, 0.7872]),
    (2, 24, 0.5553, [0.0944, 0.1730, 0.4326, 0.5323]),
    (2, 24, 0.5460, [0.4915, 0.3571, 0.7542, 1.0000]),
    (3, 21, 0.8262, [0.3602, 0.4589, 0.6660, 0.8846]),
    (3, 21, 0.8209, [0.0114, 0.4497, 0.3780, 0.9287]),
    (3, 21, 0.6782, [0.6978, 0.4280, 1.0000, 0.8803]),
    (3, 21, 0.6054, [0.6883, 0.5545, 0.8444, 0.8607]),
    (3, 21, 0.5777, [0.3428, 0.4414, 0.4748, 0.6471]),
    (3, 21, 0.5590, [0.5075, 0.6858, 0.6721, 0.8813]),
], &[
    (0, 0, 0.7422, [0.3734, 0.2359, 0.9897, 0.9862]),
    (0, 27, 0.7411, [0.0180, 0.0437, 0.9638, 0.7523]),
    (1, 24, 0.7401, [0.1211, 0.1814, 0.8330, 0.9831]),
    (1, 24, 0.6193, [0.3480, 0.1869, 0.9969, 0.9793]),
    (2, 24, 0.7645, [0.4104, 0.2441, 0.9356, 0.9912]),
    (2, 24, 0.7454, [0.3185, 0.3572, 0.7022, 0.9802]),
    (2, 24, 0.6991, [0.1832, 0.2256, 0.7404, 0.9768]),
    (2, 24, 0.6512, [0.0919, 0.1792, 0.5029, 0.7887]),
    (2, 24, 0.5510, [0.5019, 0.3627, 0.7527, 1.0000]),
    (2, 24, 0.5083, [0.0952, 0.1770, 0.4391, 0.5624]),
    (3, 21, 0.8331, [0.3633, 0.4592, 0.6603, 0.8835]),
    (3, 21, 0.8028, [0.0158, 0.4508, 0.3772, 0.9266]),
    (3, 21, 0.6090, [0.6991, 0.4262, 0.9982, 0.8806]),
    (3, 21, 0.5494, [0.3416, 0.4389, 0.4751, 0.6449]),
    (3, 21, 0.5441, [0.5083, 0.6545, 0.6726, 0.8768]),
]];

/// By frame of the clip; 3 is Person, 22 is Car.
#[expect(clippy::approx_constant, reason = "a corner happens to lie at .3183")]
#[rustfmt::skip]
const PEOPLE: Tables = [&[
    (0, 3, 0.5731, [0.3291, 0.3764, 0.3687, 0.5334]),
    (0, 3, 0.5467, [0.6465, 0.2739, 0.6918, 0.4054]),
    (0, 3, 0.5445, [0.8406, 0.4032, 0.8957, 0.5665]),
    (0, 22, 0.4714, [0.8450, 0.0799, 0.9390, 0.1734]),
    (0, 22, 0.4684, [0.9466, 0.0860, 1.0000, 0.1670]),
    (0, 3, 0.3867, [0.2160, 0.4331, 0.2505, 0.4887]),
    (60, 3, 0.5450, [0.6482, 0.3519, 0.6923, 0.5038]),
    (60, 3, 0.5374, [0.4881, 0.3167, 0.5200, 0.4502]),
    (60, 3, 0.5260, [0.7982, 0.4031, 0.8498, 0.5903]),
    (60, 3, 0.5119, [0.6062, 0.3502, 0.6514, 0.5139]),
    (60, 3, 0.5060, [0.5371, 0.3261, 0.5719, 0.4537]),
    (60, 22, 0.4591, [0.9465, 0.0848, 1.0000, 0.1658]),
    (60, 22, 0.4394, [0.8456, 0.0800, 0.9390, 0.1736]),
    (60, 3, 0.3482, [0.2155, 0.4352, 0.2506, 0.4844]),
    (120, 3, 0.5650, [0.8406, 0.2215, 0.8753, 0.3613]),
    (120, 3, 0.5402, [0.7541, 0.2309, 0.7867, 0.3369]),
    (120, 3, 0.5398, [0.4849, 0.3133, 0.5266, 0.4618]),
    (120, 3, 0.5025, [0.6587, 0.3596, 0.7036, 0.5121]),
    (120, 3, 0.4929, [0.7227, 0.2315, 0.7524, 0.3352]),
    (120, 3, 0.4608, [0.8922, 0.3152, 0.9441, 0.5291]),
    (120, 3, 0.4535, [0.5370, 0.3237, 0.5768, 0.4525]),
    (120, 22, 0.4049, [0.9467, 0.0863, 1.0000, 0.1661]),
    (120, 3, 0.3688, [0.9657, 0.2416, 0.9910, 0.3635]),
    (120, 3, 0.3666, [0.2157, 0.4351, 0.2507, 0.4846]),
], &[
    (0, 3, 0.5779, [0.3293, 0.3751, 0.3695, 0.5342]),
    (0, 3, 0.5585, [0.8403, 0.4022, 0.8957, 0.5663]),
    (0, 3, 0.5542, [0.6457, 0.2731, 0.6915, 0.4058]),
    (0, 22, 0.4699, [0.8443, 0.0797, 0.9393, 0.1734]),
    (0, 22, 0.4695, [0.9462, 0.0851, 1.0000, 0.1668]),
    (0, 3, 0.3762, [0.2158, 0.4323, 0.2510, 0.4892]),
    (60, 3, 0.5514, [0.6480, 0.3508, 0.6923, 0.5046]),
    (60, 3, 0.5421, [0.4884, 0.3183, 0.5207, 0.4508]),
    (60, 3, 0.5265, [0.7981, 0.4019, 0.8496, 0.5904]),
    (60, 3, 0.5197, [0.6064, 0.3493, 0.6516, 0.5138]),
    (60, 3, 0.5086, [0.5365, 0.3257, 0.5717, 0.4545]),
    (60, 22, 0.4583, [0.9462, 0.0851, 1.0000, 0.1659]),
    (60, 22, 0.4413, [0.8446, 0.0804, 0.9392, 0.1739]),
    (60, 3, 0.3527, [0.2158, 0.4346, 0.2510, 0.4844]),
    (120, 3, 0.5677, [0.8406, 0.2220, 0.8754, 0.3622]),
    (120, 3, 0.5467, [0.7537, 0.2297, 0.7868, 0.3371]),
    (120, 3, 0.5412, [0.4848, 0.3134, 0.5268, 0.4626]),
    (120, 3, 0.5064, [0.6595, 0.3593, 0.7040, 0.5119]),
    (120, 3, 0.4929, [0.7224, 0.2314, 0.7527, 0.3361]),
    (120, 3, 0.4630, [0.8919, 0.3152, 0.9442, 0.5287]),
    (120, 3, 0.4508, [0.5374, 0.3234, 0.5778, 0.4533]),
    (120, 22, 0.4056, [0.9463, 0.0866, 1.0000, 0.1660]),
    (120, 3, 0.3764, [0.2161, 0.4345, 0.2507, 0.4844]),
    (120, 3, 0.3686, [0.9650, 0.2414, 0.9905, 0.3636]),
]];

/// The lowest overlap of a box with the expected one.
const LEAST_IOU: f32 = 0.99;

/// Caps, and the table of [`Tables`] that belongs to them.
const FORMATS: [(&str, usize); 3] = [
    ("video/x-raw,format=RGB", 0),
    ("video/x-raw,format=NV12,colorimetry=bt601", 1),
    ("video/x-raw,format=NV12,colorimetry=bt601 ! videoconvert ! video/x-raw,format=I420", 1),
];

/// What a pipeline that ends in `vigilinfer` says about each frame until EOS.
fn results(pipeline: &gst::Pipeline) -> Vec<std::sync::Arc<FrameResult>> {
    let sink: AppSink = pipeline.by_name("out").unwrap().downcast().unwrap();
    pipeline.set_state(gst::State::Playing).unwrap();
    let mut seen = Vec::new();
    while let Ok(sample) = sink.pull_sample() {
        seen.push(result(sample.buffer().unwrap()));
    }
    let bus = pipeline.bus().unwrap();
    if let Some(error) = bus.pop_filtered(&[gst::MessageType::Error]) {
        panic!("{error:?}");
    }
    pipeline.set_state(gst::State::Null).unwrap();
    seen
}

fn launch(line: &str) -> gst::Pipeline {
    init();
    gst::parse::launch(&format!("{line} ! appsink name=out sync=false")).unwrap().downcast().unwrap()
}

/// What a model says about a picture in a format that is decoded by GStreamer.
fn analyse(picture: &Path, caps: &str, model: &Path) -> std::sync::Arc<FrameResult> {
    // The reference's overlap; a bare model has its family's own.
    let convert =
        format!("videoconvert ! {caps} ! vigilinfer model={} confidence={CONFIDENCE} iou=0.5", model.display());
    let pipeline = if picture.extension().is_some_and(|e| e == "bmp") {
        let pipeline = launch(&format!("appsrc name=in format=time ! {convert}"));
        let source: AppSrc = pipeline.by_name("in").unwrap().downcast().unwrap();
        let (caps, buffer) = bitmap(picture);
        source.set_caps(Some(&caps));
        source.push_buffer(buffer).unwrap();
        source.end_of_stream().unwrap();
        pipeline
    } else {
        launch(&format!("filesrc location={} ! decodebin ! {convert}", picture.display()))
    };
    let seen = results(&pipeline);
    assert_eq!(seen.len(), 1, "{}", picture.display());
    assert_eq!(seen[0].freshness, Freshness::Fresh);
    seen.into_iter().next().unwrap()
}

/// An uncompressed Windows bitmap of 24 bits, rows from below, which Debian's GStreamer does not decode.
fn bitmap(path: &Path) -> (gst::Caps, gst::Buffer) {
    let bytes = std::fs::read(path).unwrap();
    let number = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
    let (start, width, height) = (number(10) as usize, number(18), number(22));
    assert_eq!((&bytes[..2], &bytes[28..30], number(30)), (&b"BM"[..], &[24, 0][..], 0));
    let info = VideoInfo::builder(VideoFormat::Bgr, width, height).build().unwrap();
    let stored = (width as usize * 3).next_multiple_of(4);
    let mut buffer = gst::Buffer::with_size(info.size()).unwrap();
    {
        let mut map = buffer.get_mut().unwrap().map_writable().unwrap();
        let rows = bytes[start..].chunks(stored).take(height as usize);
        for (row, to) in rows.rev().zip(map.chunks_mut(info.stride()[0] as usize)) {
            to[..width as usize * 3].copy_from_slice(&row[..width as usize * 3]);
        }
    }
    (info.to_caps().unwrap(), buffer)
}

/// Every expected box is found at its place, and nothing else is.
#[track_caller]
fn compare(what: &str, seen: &FrameResult, expected: &[&Expected], threshold: &dyn Fn(u32) -> f32) {
    let mut taken = vec![false; seen.objects.len()];
    for (_, class, confidence, [x1, y1, x2, y2]) in expected {
        let truth = BBox::from_corners(*x1, *y1, *x2, *y2);
        let best = seen
            .objects
            .iter()
            .enumerate()
            .filter(|(i, o)| !taken[*i] && o.class_id == *class)
            .max_by(|a, b| a.1.bbox.iou(&truth).total_cmp(&b.1.bbox.iou(&truth)));
        let Some((i, found)) = best.filter(|(_, o)| o.bbox.iou(&truth) > 0.5) else {
            assert!(
                *confidence < threshold(*class) + SLACK,
                "{what}: class {class} {confidence} is not found: {seen:#?}"
            );
            continue;
        };
        taken[i] = true;
        let iou = found.bbox.iou(&truth);
        assert!(iou >= LEAST_IOU, "{what}: class {class} {confidence}: iou {iou}, {:?} for {truth:?}", found.bbox);
        let off = (found.confidence - confidence).abs();
        assert!(off <= SLACK, "{what}: class {class}: {} instead of {confidence}", found.confidence);
    }
    for (object, taken) in seen.objects.iter().zip(taken) {
        assert!(taken || object.confidence < threshold(object.class_id) + SLACK, "{what}: too much: {object:?}");
    }
}

fn compare_photos(model: &Path, tables: Tables) {
    for (number, name) in PHOTOS.iter().enumerate() {
        let Some(picture) = data(&format!("coco128/train2017/{name}")) else { return };
        for (caps, table) in FORMATS {
            let seen = analyse(&picture, caps, model);
            let expected: Vec<&Expected> = tables[table].iter().filter(|e| e.0 == number as u32).collect();
            compare(&format!("{name} {caps}"), &seen, &expected, &|_| CONFIDENCE);
        }
    }
}

/// A bundle around a model that takes RGB 0..255, stretched, in a folder that goes with the guard.
fn bundle(model: &Path, label_file: &Path, side: u32, decoder: DecoderKind) -> (tempfile::TempDir, PathBuf) {
    let labels: Labels = labels::parse(&std::fs::read(label_file).unwrap(), "labels").unwrap();
    let draft = Draft {
        name: "tried".into(),
        release: "1".into(),
        license: None,
        task: if decoder == DecoderKind::Classify { Task::Classify } else { Task::Detect },
        labels,
        input: InputContract {
            layout: Layout::Nchw,
            width: side,
            height: side,
            color: Color::Rgb,
            resize: Resize::Stretch,
            antialias: false,
            crop_fraction: 1.0,
            align: Align::Center,
            pad: 0,
            mean: [0.0; 3],
            std: [1.0; 3],
            quantization: None,
        },
        output: OutputContract::new(decoder),
        precision: None,
        known: BTreeMap::new(),
    };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tried");
    write_new(model, &draft, &path).unwrap();
    (folder, path)
}

#[test]
fn yolox_finds_what_the_reference_finds() {
    let Some(model) = data("models/yolox_nano.onnx") else { return };
    compare_photos(&model, YOLOX);
}

#[test]
fn ssd_mobilenet_finds_what_the_reference_finds() {
    let Some(model) = data("models/ssd_mobilenet_v1_coco_300.onnx") else { return };
    let Some(labels) = data("labels/coco_labels_90.txt") else { return };
    let (_guard, bundle) = bundle(&model, &labels, 300, DecoderKind::SsdPostprocessed);
    compare_photos(&bundle, SSD);
}

#[test]
fn mobilenet_names_the_pictures() {
    let Some(model) = data("models/mobilenet_v2_1.0_224_float.onnx") else { return };
    let Some(labels) = data("labels/imagenet_labels.txt") else { return };
    let (_guard, bundle) = bundle(&model, &labels, 224, DecoderKind::Classify);
    let expected =
        [("cat.bmp", "Egyptian cat", 0.8186), ("parrot.jpg", "macaw", 0.9993), ("bird.bmp", "chickadee", 0.9947)];
    for (name, label, confidence) in expected {
        let Some(picture) = data(&format!("images/{name}")) else { return };
        for (caps, table) in FORMATS {
            let seen = analyse(&picture, caps, &bundle);
            let first = &seen.classes[0];
            assert_eq!(&*first.label, label, "{name} {caps}");
            // A classifier looks at texture: halved chroma moves it more than a detector.
            let tolerance = if table == 0 { SLACK } else { 0.07 };
            let off = (first.confidence - confidence).abs();
            assert!(off <= tolerance, "{name} {caps}: {} instead of {confidence}", first.confidence);
        }
    }
}

#[test]
fn the_set_ups_detector_finds_the_people_of_the_clip() {
    let Some(home) = gstvigil::paths::home() else { panic!("no home") };
    let (model, clip) = (home.join("bundles/people"), home.join("clips/vtest.avi"));
    if !model.exists() || !clip.exists() {
        eprintln!("skipped: the set-up has not installed its detector and clip (scripts/setup)");
        return;
    }
    for (caps, table) in FORMATS {
        let line = format!(
            "filesrc location={} ! decodebin ! videoconvert ! {caps} ! \
             vigilinfer model={} interval=59",
            clip.display(),
            model.display()
        );
        let seen = results(&launch(&line));
        let fresh: Vec<_> = seen.iter().filter(|r| r.freshness == Freshness::Fresh).collect();
        assert!(fresh.iter().map(|r| r.frame).eq((0..seen.len() as u64).step_by(60)));
        for result in fresh.iter().take(3) {
            let expected: Vec<&Expected> = PEOPLE[table].iter().filter(|e| u64::from(e.0) == result.frame).collect();
            let threshold = |class| if class == 3 { 0.35 } else { 0.4 };
            compare(&format!("frame {} {caps}", result.frame), result, &expected, &threshold);
        }
    }
}
