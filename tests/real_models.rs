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
    (0, 25, 0.9076, [0.0087, 0.0688, 0.9733, 0.8534]),
    (0, 0, 0.9057, [0.3637, 0.2461, 0.9841, 0.9964]),
    (1, 23, 0.8597, [0.3429, 0.1052, 1.0000, 0.9991]),
    (1, 23, 0.8480, [0.1062, 0.1265, 0.6949, 0.9922]),
    (2, 23, 0.8925, [0.3975, 0.2567, 0.9350, 1.0000]),
    (2, 23, 0.8137, [0.0791, 0.1693, 0.6996, 0.9993]),
    (3, 20, 0.9255, [0.0024, 0.4347, 0.3611, 0.9181]),
    (3, 20, 0.9035, [0.3592, 0.4501, 0.6729, 0.8765]),
    (3, 20, 0.8420, [0.7142, 0.4147, 0.9981, 0.8810]),
    (3, 20, 0.8042, [0.5373, 0.6933, 0.6422, 0.8747]),
    (3, 20, 0.6143, [0.6815, 0.6007, 0.8007, 0.8557]),
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
    (0, 27, 0.7418, [0.0179, 0.0438, 0.9634, 0.7506]),
    (0, 0, 0.7397, [0.3723, 0.2366, 0.9894, 0.9859]),
    (1, 24, 0.7428, [0.1229, 0.1789, 0.8321, 0.9835]),
    (1, 24, 0.6200, [0.3494, 0.1886, 0.9979, 0.9793]),
    (2, 24, 0.7627, [0.4104, 0.2439, 0.9357, 0.9914]),
    (2, 24, 0.7508, [0.3227, 0.3570, 0.7050, 0.9810]),
    (2, 24, 0.6892, [0.1893, 0.2292, 0.7438, 0.9757]),
    (2, 24, 0.6650, [0.0921, 0.1789, 0.4986, 0.7831]),
    (2, 24, 0.5496, [0.5005, 0.3602, 0.7541, 1.0000]),
    (2, 24, 0.5221, [0.0948, 0.1751, 0.4370, 0.5611]),
    (3, 21, 0.8331, [0.3619, 0.4588, 0.6604, 0.8843]),
    (3, 21, 0.8147, [0.0168, 0.4504, 0.3750, 0.9274]),
    (3, 21, 0.6259, [0.6968, 0.4268, 0.9994, 0.8801]),
    (3, 21, 0.5447, [0.3416, 0.4395, 0.4752, 0.6455]),
    (3, 21, 0.5352, [0.5069, 0.6484, 0.6732, 0.8760]),
]];

/// By frame of the clip; 3 is Person, 22 is Car.
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
    (0, 3, 0.5846, [0.3294, 0.3756, 0.3692, 0.5339]),
    (0, 3, 0.5609, [0.6460, 0.2730, 0.6917, 0.4054]),
    (0, 3, 0.5567, [0.8398, 0.4022, 0.8954, 0.5665]),
    (0, 22, 0.4731, [0.8443, 0.0793, 0.9395, 0.1740]),
    (0, 22, 0.4658, [0.9460, 0.0855, 1.0000, 0.1669]),
    (0, 3, 0.3812, [0.2165, 0.4326, 0.2511, 0.4886]),
    (60, 3, 0.5544, [0.6480, 0.3508, 0.6924, 0.5045]),
    (60, 3, 0.5394, [0.4884, 0.3167, 0.5209, 0.4507]),
    (60, 3, 0.5296, [0.7980, 0.4018, 0.8496, 0.5903]),
    (60, 3, 0.5209, [0.6067, 0.3495, 0.6515, 0.5140]),
    (60, 3, 0.5101, [0.5345, 0.3253, 0.5698, 0.4546]),
    (60, 22, 0.4582, [0.9460, 0.0851, 1.0000, 0.1659]),
    (60, 22, 0.4540, [0.8443, 0.0807, 0.9389, 0.1743]),
    (60, 3, 0.3490, [0.2160, 0.4350, 0.2510, 0.4842]),
    (120, 3, 0.5720, [0.8407, 0.2225, 0.8754, 0.3615]),
    (120, 3, 0.5477, [0.7533, 0.2298, 0.7862, 0.3369]),
    (120, 3, 0.5428, [0.4848, 0.3134, 0.5275, 0.4627]),
    (120, 3, 0.5070, [0.6593, 0.3596, 0.7041, 0.5117]),
    (120, 3, 0.4973, [0.7224, 0.2314, 0.7527, 0.3358]),
    (120, 3, 0.4686, [0.8916, 0.3165, 0.9443, 0.5290]),
    (120, 3, 0.4526, [0.5361, 0.3230, 0.5776, 0.4531]),
    (120, 22, 0.4083, [0.9461, 0.0866, 1.0000, 0.1661]),
    (120, 3, 0.3757, [0.2164, 0.4355, 0.2507, 0.4848]),
    (120, 3, 0.3629, [0.9645, 0.2419, 0.9901, 0.3634]),
]];

/// Caps, the table of [`Tables`] that belongs to them, and the lowest overlap of a box with the expected one.
const FORMATS: [(&str, usize, f32); 3] = [
    ("video/x-raw,format=RGB", 0, 0.97),
    ("video/x-raw,format=NV12,colorimetry=bt601", 1, 0.95),
    ("video/x-raw,format=NV12,colorimetry=bt601 ! videoconvert ! video/x-raw,format=I420", 1, 0.95),
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
fn compare(what: &str, seen: &FrameResult, expected: &[&Expected], threshold: &dyn Fn(u32) -> f32, least_iou: f32) {
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
        assert!(iou >= least_iou, "{what}: class {class} {confidence}: iou {iou}, {:?} for {truth:?}", found.bbox);
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
        for (caps, table, least_iou) in FORMATS {
            let seen = analyse(&picture, caps, model);
            let expected: Vec<&Expected> = tables[table].iter().filter(|e| e.0 == number as u32).collect();
            compare(&format!("{name} {caps}"), &seen, &expected, &|_| CONFIDENCE, least_iou);
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
        for (caps, table, _) in FORMATS {
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
    for (caps, table, least_iou) in FORMATS {
        let line = format!(
            "filesrc location={} ! decodebin ! videoconvert ! {caps} ! identity eos-after=122 ! \
             vigilinfer model={} interval=59",
            clip.display(),
            model.display()
        );
        let seen = results(&launch(&line));
        let fresh: Vec<_> = seen.iter().filter(|r| r.freshness == Freshness::Fresh).collect();
        assert_eq!(fresh.iter().map(|r| r.frame).collect::<Vec<_>>(), [0, 60, 120]);
        for result in fresh {
            let expected: Vec<&Expected> = PEOPLE[table].iter().filter(|e| u64::from(e.0) == result.frame).collect();
            let threshold = |class| if class == 3 { 0.35 } else { 0.4 };
            compare(&format!("frame {} {caps}", result.frame), result, &expected, &threshold, least_iou);
        }
    }
}
