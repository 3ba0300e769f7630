use super::*;
use crate::engine::DataType;
use crate::post::PostProcessor;
use crate::post::tests::{labels, tensor};

fn spec(input: &[usize], outputs: &[(&str, &[usize])]) -> Spec {
    // 0 stands for a free length.
    let promise = |s: &[usize]| s.iter().map(|d| Some(*d).filter(|d| *d > 0)).collect::<Vec<_>>();
    Spec {
        inputs: vec![tensor("images", DataType::F32, &promise(input))],
        outputs: outputs.iter().map(|(name, shape)| tensor(name, DataType::F32, &promise(shape))).collect(),
        ..Spec::default()
    }
}

fn with(mut spec: Spec, metadata: &[(&str, &str)]) -> Spec {
    spec.metadata = metadata.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    spec
}

fn origin(r: &Recognised, key: &str) -> Option<Origin> {
    r.facts.iter().find(|f| f.key == key).map(|f| f.origin)
}

/// Recognises, and checks that the contracts are accepted by the post-processor.
fn accepted(spec: &Spec) -> Recognised {
    let r = recognise(spec).unwrap();
    let labels = r.labels.clone().unwrap_or_else(|| labels(r.classes.unwrap_or(90)));
    PostProcessor::new(&r.output, &r.input, &labels, spec).unwrap();
    r
}

#[test]
fn yolox_by_its_cells() {
    let r = accepted(&spec(&[1, 3, 416, 416], &[("output", &[1, 3549, 85])]));
    assert_eq!((r.task, r.output.decoder, r.classes), (Task::Detect, DecoderKind::Yolox, Some(80)));
    assert_eq!((r.input.width, r.input.height, r.input.layout), (416, 416, Layout::Nchw));
    assert_eq!((r.input.color, r.input.resize, r.input.align), (Color::Bgr, Resize::Letterbox, Align::TopLeft));
    assert_eq!((r.input.pad, r.input.mean, r.input.std), (114, [0.0; 3], [1.0; 3]));
    assert_eq!(origin(&r, "input.size"), Some(Origin::Read));
    assert_eq!(origin(&r, "output.decoder"), Some(Origin::Recognised));
    assert_eq!(origin(&r, "input.color"), Some(Origin::Assumed));
}

#[test]
fn yolov8_by_shape_and_by_metadata() {
    let r = accepted(&spec(&[1, 3, 640, 640], &[("output0", &[1, 84, 8400])]));
    assert_eq!((r.output.decoder, r.classes), (DecoderKind::Yolov8, Some(80)));
    assert_eq!((r.input.color, r.input.align, r.input.std), (Color::Rgb, Align::Center, [255.0; 3]));
    let metadata = [("author", "Ultralytics"), ("task", "detect"), ("imgsz", "[384, 640]"), ("names", "{0: 'person'}")];
    let r = accepted(&with(spec(&[0, 3, 0, 0], &[("output0", &[0, 5, 0])]), &metadata));
    assert_eq!((r.input.width, r.input.height, r.classes), (640, 384, Some(1)));
    assert_eq!(r.labels.as_deref(), Some(&["person".into()][..]));
    assert_eq!(origin(&r, "labels"), Some(Origin::Read));
    assert_eq!(origin(&r, "input.resize"), Some(Origin::Recognised));
}

#[test]
fn the_embedded_names_tell_transposed_yolov8_from_yolox() {
    let same = spec(&[1, 3, 640, 640], &[("output0", &[1, 8400, 7])]);
    assert_eq!(accepted(&same).output.decoder, DecoderKind::Yolox);
    let three = [("names", "{0: 'a', 1: 'b', 2: 'c'}")];
    assert_eq!(accepted(&with(same, &three)).output.decoder, DecoderKind::Yolov8);
}

#[test]
fn tensorflows_names() {
    let outputs: [(&str, &[usize]); 4] = [
        ("detection_boxes", &[1, 100, 4]),
        ("detection_classes", &[1, 100]),
        ("detection_scores", &[1, 100]),
        ("num_detections", &[1]),
    ];
    let r = accepted(&spec(&[1, 300, 300, 3], &outputs));
    assert_eq!((r.output.decoder, r.classes, r.input.layout), (DecoderKind::SsdPostprocessed, None, Layout::Nhwc));
    assert_eq!((r.input.resize, r.input.std), (Resize::Stretch, [1.0; 3]));
}

#[test]
fn raw_ssd_with_the_usual_anchors() {
    for (side, count) in [(300, 1917), (320, 2034)] {
        let r = accepted(&spec(&[1, 3, side, side], &[("a", &[1, count, 4]), ("b", &[1, count, 24])]));
        assert_eq!((r.output.decoder, r.classes, r.output.class_offset), (DecoderKind::SsdAnchors, Some(23), 1));
        assert_eq!(origin(&r, "output.anchors"), Some(Origin::Assumed));
    }
    let other = spec(&[1, 3, 300, 300], &[("a", &[1, 1900, 4]), ("b", &[1, 1900, 24])]);
    assert_eq!(
        recognise(&other).unwrap_err().to_string(),
        "The layout of the 1900 anchors is not the usual one. The model has the inputs `images` f32 [1, 3, 300, 300] \
         and the outputs `a` f32 [1, 1900, 4], `b` f32 [1, 1900, 24]; recognised: input.layout = nchw, input.size = \
         [300, 300], output.decoder = ssd-anchors. Write a bundle.toml that sets `output.anchors`"
    );
}

#[test]
fn class_vectors() {
    let r = accepted(&spec(&[1, 3, 224, 224], &[("probabilities", &[1, 1001])]));
    assert_eq!((r.task, r.classes, r.output.activation), (Task::Classify, Some(1001), Some(Activation::None)));
    assert_eq!(origin(&r, "output.decoder"), Some(Origin::Recognised));
    let r = accepted(&spec(&[1, 3, 224, 224], &[("logits", &[0, 1000])]));
    assert_eq!(
        (r.output.activation, origin(&r, "output.activation")),
        (Some(Activation::Softmax), Some(Origin::Assumed))
    );
    assert_eq!(origin(&r, "output.decoder"), Some(Origin::Assumed));
}

#[test]
fn what_cannot_be_told_names_its_key() {
    let key = |spec: &Spec| match recognise(spec) {
        Err(PostError::Unrecognised { key, .. }) => key,
        other => panic!("{other:?}"),
    };
    let boxes: (&str, &[usize]) = ("output0", &[1, 84, 8400]);
    assert_eq!(key(&spec(&[1, 3, 0, 0], &[boxes])), "input.size");
    assert_eq!(key(&spec(&[1, 4, 640, 640], &[boxes])), "input.layout");
    assert_eq!(key(&spec(&[1, 3, 640], &[boxes])), "input");
    assert_eq!(key(&spec(&[8, 3, 640, 640], &[boxes])), "input");
    // YOLOv5 (three anchors a cell), end-to-end YOLOv10, an embedding's picture, nothing.
    assert_eq!(key(&spec(&[1, 3, 640, 640], &[("output0", &[1, 25200, 85])])), "output.decoder");
    assert_eq!(key(&spec(&[1, 3, 640, 640], &[("output0", &[1, 300, 6])])), "output.decoder");
    assert_eq!(key(&spec(&[1, 257, 257, 3], &[("sub_7", &[1, 257, 257, 21])])), "output.decoder");
    assert_eq!(key(&spec(&[1, 3, 640, 640], &[])), "output.decoder");
    let pose = with(spec(&[1, 3, 640, 640], &[("output0", &[1, 56, 8400])]), &[("task", "pose")]);
    assert_eq!(key(&pose), "output.decoder");
    let two = [("author", "Ultralytics"), ("names", "{0: 'a', 1: 'b'}")];
    let text = recognise(&with(spec(&[1, 3, 640, 640], &[boxes]), &two)).unwrap_err().to_string();
    assert!(text.contains("yolov8 is [1, 4 + classes, 8400]") && text.contains("`names` list 2 labels"), "{text}");
}
