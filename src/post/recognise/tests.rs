use super::*;
use crate::bundle::contract::{Activation, BoxFormat, BoxUnit, Column};
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
    assert_eq!((r.input.resize, r.input.antialias, r.input.crop_fraction), (Resize::Crop, true, 0.875));
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
    // Rows that may be finished detections or an RT-DETR of two classes, a list without a grid, nothing.
    assert_eq!(key(&spec(&[1, 3, 640, 640], &[("output0", &[1, 300, 6])])), "output.decoder");
    assert_eq!(key(&spec(&[1, 3, 640, 640], &[("output0", &[1, 1234, 85])])), "output.decoder");
    assert_eq!(key(&spec(&[1, 3, 640, 640], &[])), "output.decoder");
    let pose = with(spec(&[1, 3, 640, 640], &[("output0", &[1, 56, 8400])]), &[("task", "pose")]);
    assert_eq!(key(&pose), "output.keypoint-shape");
    let two = [("author", "Ultralytics"), ("names", "{0: 'a', 1: 'b'}")];
    let text = recognise(&with(spec(&[1, 3, 640, 640], &[boxes]), &two)).unwrap_err().to_string();
    assert!(text.contains("yolov8 is [1, 4 + classes, 8400]") && text.contains("`names` list 2 labels"), "{text}");
}

const ULTRALYTICS: [(&str, &str); 3] =
    [("author", "Ultralytics"), ("description", "Ultralytics YOLO model trained on coco.yaml"), ("version", "8.3.200")];

fn names(count: usize) -> String {
    let list: Vec<String> = (0..count).map(|i| format!("{i}: 'n{i}'")).collect();
    format!("{{{}}}", list.join(", "))
}

/// A model of Ultralytics with a 160x160 input and `classes` names.
fn ultralytics(task: &str, classes: usize, more: &[(&str, &str)], outputs: &[(&str, &[usize])]) -> Spec {
    let names = names(classes);
    let mut metadata: Vec<(&str, &str)> = ULTRALYTICS.to_vec();
    metadata.extend([("task", task), ("imgsz", "[160, 160]"), ("names", names.as_str())]);
    metadata.extend(more);
    with(spec(&[1, 3, 160, 160], outputs), &metadata)
}

fn family(r: &Recognised) -> (DecoderKind, Task, Option<usize>) {
    (r.output.decoder, r.task, r.classes)
}

#[test]
fn ultralytics_grids_of_all_tasks() {
    use DecoderKind::Yolov8 as V8;
    let protos: (&str, &[usize]) = ("output1", &[1, 32, 40, 40]);
    let kpt = |shape| ("kpt_shape", shape);
    let cases = [
        (ultralytics("detect", 80, &[("end2end", "False")], &[("output0", &[1, 84, 525])]), (V8, Task::Detect, 80)),
        (ultralytics("detect", 1, &[], &[("output0", &[1, 5, 525])]), (V8, Task::Detect, 1)),
        (ultralytics("detect", 2, &[], &[("output0", &[1, 6, 525])]), (V8, Task::Detect, 2)),
        (ultralytics("segment", 80, &[], &[("output0", &[1, 116, 525]), protos]), (V8, Task::Segment, 80)),
        (ultralytics("segment", 1, &[], &[("output0", &[1, 37, 525]), protos]), (V8, Task::Segment, 1)),
        (ultralytics("pose", 1, &[kpt("[17, 3]")], &[("output0", &[1, 56, 525])]), (V8, Task::Pose, 1)),
        (ultralytics("pose", 2, &[kpt("[5, 3]")], &[("output0", &[1, 21, 525])]), (V8, Task::Pose, 2)),
        (ultralytics("pose", 1, &[kpt("[4, 2]")], &[("output0", &[1, 13, 525])]), (V8, Task::Pose, 1)),
        (ultralytics("obb", 15, &[], &[("output0", &[1, 20, 525])]), (V8, Task::Obb, 15)),
        (ultralytics("obb", 1, &[], &[("output0", &[1, 6, 525])]), (V8, Task::Obb, 1)),
        // The strides of a P2 head make another number of cells.
        (ultralytics("detect", 80, &[], &[("output0", &[1, 84, 2125])]), (V8, Task::Detect, 80)),
    ];
    for (spec, (decoder, task, classes)) in cases {
        let r = accepted(&spec);
        assert_eq!(family(&r), (decoder, task, Some(classes)), "{spec:?}");
        assert_eq!((r.output.confidence, r.output.iou, r.output.max_objects), (0.25, 0.7, 300));
        assert_eq!((r.input.resize, r.input.align, r.input.pad), (Resize::Letterbox, Align::Center, 114));
        let origins = ["output.decoder", "output.confidence", "input.resize"].map(|key| origin(&r, key));
        assert_eq!(origins, [Some(Origin::Recognised); 3]);
    }
    let pose = accepted(&ultralytics("pose", 1, &[kpt("[4, 2]")], &[("output0", &[1, 13, 525])]));
    assert_eq!(
        (pose.output.keypoint_shape, origin(&pose, "output.keypoint-shape")),
        (Some([4, 2]), Some(Origin::Read))
    );
}

#[test]
fn ultralytics_grids_with_free_lengths_or_several_pictures() {
    let free = with(
        spec(&[0, 3, 0, 0], &[("output0", &[0, 116, 0]), ("output1", &[0, 32, 0, 0])]),
        &[("author", "Ultralytics"), ("task", "segment"), ("imgsz", "[96, 160]"), ("names", &names(80))],
    );
    let r = accepted(&free);
    assert_eq!(family(&r), (DecoderKind::Yolov8, Task::Segment, Some(80)));
    assert_eq!((r.input.width, r.input.height), (160, 96));
    let metadata = [("author", "Ultralytics"), ("task", "detect"), ("names", &names(80)), ("batch", "2")];
    let two = recognise(&with(spec(&[2, 3, 160, 160], &[("output0", &[2, 84, 525])]), &metadata)).unwrap();
    assert_eq!(family(&two), (DecoderKind::Yolov8, Task::Detect, Some(80)));
    let two = recognise(&with(spec(&[2, 3, 160, 160], &[("output0", &[2, 300, 6])]), &metadata)).unwrap();
    assert_eq!(family(&two), (DecoderKind::Detections, Task::Detect, Some(80)));
}

#[test]
fn ultralytics_finished_rows() {
    let nms = ("args", "{'batch': 1, 'nms': True, 'dynamic': False}");
    let end2end = ("end2end", "True");
    let protos: (&str, &[usize]) = ("output1", &[1, 32, 40, 40]);
    let cases = [
        // v10 before `end2end` was written, v10 and 26 since, NMS inside (also of a grid that has 300 rows).
        (ultralytics("detect", 80, &[], &[("output0", &[1, 300, 6])]), Task::Detect),
        (ultralytics("detect", 2, &[end2end], &[("output0", &[1, 300, 6])]), Task::Detect),
        (ultralytics("detect", 2, &[nms], &[("output0", &[1, 300, 6])]), Task::Detect),
        (ultralytics("detect", 80, &[nms], &[("output0", &[1, 50, 6])]), Task::Detect),
        (ultralytics("segment", 80, &[end2end], &[("output0", &[1, 300, 38]), protos]), Task::Segment),
        (ultralytics("pose", 1, &[end2end, ("kpt_shape", "[17, 3]")], &[("output0", &[1, 300, 57])]), Task::Pose),
        (ultralytics("obb", 15, &[nms], &[("output0", &[1, 300, 7])]), Task::Obb),
    ];
    for (spec, task) in cases {
        let r = accepted(&spec);
        assert_eq!((r.output.decoder, r.task), (DecoderKind::Detections, task), "{spec:?}");
        assert_eq!(origin(&r, "output.decoder"), Some(Origin::Recognised));
        assert_eq!((r.output.confidence, r.output.max_objects), (0.25, 300));
        let format = (task == Task::Obb).then_some(BoxFormat::Cxcywh);
        assert_eq!(r.output.box_format, format);
    }
}

#[test]
fn rows_that_may_be_v10_or_an_rtdetr_of_two_classes_are_a_guess() {
    let r = recognise(&ultralytics("detect", 2, &[], &[("output0", &[1, 300, 6])])).unwrap();
    assert_eq!((r.output.decoder, origin(&r, "output.decoder")), (DecoderKind::Detections, Some(Origin::Assumed)));
}

#[test]
fn ultralytics_rtdetr_of_all_versions() {
    let r = accepted(&ultralytics("detect", 80, &[], &[("output0", &[1, 300, 84])]));
    assert_eq!(family(&r), (DecoderKind::Detr, Task::Detect, Some(80)));
    assert_eq!((r.output.box_format, r.output.box_unit), (Some(BoxFormat::Cxcywh), Some(BoxUnit::Normalized)));
    assert_eq!((r.output.activation, r.input.resize), (Some(Activation::None), Resize::Stretch));
    let described = [("description", "Ultralytics rtdetr-l model trained on my.yaml")];
    let r = accepted(&ultralytics("detect", 2, &described, &[("output0", &[1, 300, 6])]));
    assert_eq!(family(&r), (DecoderKind::Detr, Task::Detect, Some(2)));
    for classes in [2, 80] {
        let head = [("head", "RTDETRDecoder"), ("end2end", "False")];
        let r = accepted(&ultralytics("detect", classes, &head, &[("output0", &[1, 0, 6])]));
        assert_eq!(family(&r), (DecoderKind::Detections, Task::Detect, Some(classes)));
        assert_eq!((r.output.box_format, r.output.box_unit), (Some(BoxFormat::Cxcywh), Some(BoxUnit::Normalized)));
        assert_eq!(r.input.resize, Resize::Stretch);
    }
}

#[test]
fn ultralytics_classes_maps_and_what_has_no_decoder() {
    let r = accepted(&ultralytics("classify", 1000, &[], &[("output0", &[0, 1000])]));
    assert_eq!(family(&r), (DecoderKind::Classify, Task::Classify, Some(1000)));
    assert_eq!((r.output.activation, r.input.resize, r.input.std), (Some(Activation::None), Resize::Crop, [255.0; 3]));
    assert_eq!((r.input.antialias, r.input.crop_fraction), (true, 1.0));
    let mut map = ultralytics("semantic", 19, &[], &[("output0", &[1, 160, 160])]);
    map.outputs[0].dtype = DataType::U8;
    let r = accepted(&map);
    assert_eq!(family(&r), (DecoderKind::Segmentation, Task::Segment, Some(19)));
    let depth = recognise(&ultralytics("depth", 1, &[], &[("output0", &[1, 1, 160, 160])])).unwrap_err().to_string();
    assert!(depth.contains("no decoder for the embedded task `depth`"), "{depth}");
    let pose = recognise(&ultralytics("pose", 1, &[], &[("output0", &[1, 56, 525])])).unwrap_err().to_string();
    assert!(pose.contains("sets `output.keypoint-shape`"), "{pose}");
    let wrong = recognise(&ultralytics("detect", 3, &[], &[("output0", &[1, 84, 525])])).unwrap_err().to_string();
    assert!(wrong.contains("3 embedded `names`") && wrong.contains("sets `labels`"), "{wrong}");
}

#[test]
fn yolov5_decoded_and_raw() {
    let names = names(80);
    let own = [("stride", "32"), ("names", names.as_str())];
    let r = accepted(&with(spec(&[1, 3, 160, 160], &[("output0", &[1, 1575, 85])]), &own));
    assert_eq!(family(&r), (DecoderKind::Yolov5, Task::Detect, Some(80)));
    assert_eq!((r.output.confidence, r.output.iou, r.input.resize), (0.25, 0.45, Resize::Letterbox));
    let seg = [("output0", &[1, 1575, 117][..]), ("output1", &[1, 32, 40, 40])];
    let r = accepted(&with(spec(&[1, 3, 160, 160], &seg), &own));
    assert_eq!(family(&r), (DecoderKind::Yolov5, Task::Segment, Some(80)));
    // One class, no metadata; YOLOv7 at 640.
    assert_eq!(family(&accepted(&spec(&[1, 3, 160, 160], &[("output0", &[1, 1575, 6])]))).2, Some(1));
    let r = accepted(&spec(&[1, 3, 640, 640], &[("output", &[1, 25200, 85])]));
    assert_eq!(family(&r), (DecoderKind::Yolov5, Task::Detect, Some(80)));

    let flat: [(&str, &[usize]); 3] =
        [("output0", &[1, 255, 20, 20]), ("output1", &[1, 255, 10, 10]), ("output2", &[1, 255, 5, 5])];
    let deep: [(&str, &[usize]); 3] =
        [("output", &[1, 3, 20, 20, 85]), ("353", &[1, 3, 10, 10, 85]), ("373", &[1, 3, 5, 5, 85])];
    for heads in [flat, deep] {
        let raw = spec(&[1, 3, 160, 160], &heads);
        let text = recognise(&raw).unwrap_err().to_string();
        assert!(text.contains("output.decoder = yolov5") && text.contains("sets `output.yolo-anchors`"), "{text}");
        let given = Hints { keys: ["output.yolo-anchors".into()].into(), ..Hints::default() };
        let r = recognise_with(&raw, None, given).unwrap();
        assert_eq!((family(&r).2, r.output.activation), (Some(80), Some(Activation::Sigmoid)));
    }
}

#[test]
fn yolov5_with_free_lengths_needs_a_size_only() {
    let names = names(80);
    let free = with(spec(&[0, 3, 0, 0], &[("output0", &[0, 0, 0])]), &[("stride", "32"), ("names", names.as_str())]);
    assert!(recognise(&free).unwrap_err().to_string().contains("sets `input.size`"));
    let size = Hints { size: Some(Hint::given((160, 96))), ..Hints::default() };
    let r = recognise_with(&free, None, size).unwrap();
    assert_eq!((family(&r), r.input.width), ((DecoderKind::Yolov5, Task::Detect, Some(80)), 160));
    assert_eq!(origin(&r, "input.size"), Some(Origin::Given));
}

#[test]
fn a_yolox_that_decodes_its_boxes_is_told_by_its_operators() {
    let yolox = spec(&[1, 3, 160, 160], &[("output", &[1, 525, 6])]);
    let with = |operators: &[&str]| Hints::of_graph(operators.iter().map(|o| (*o).to_owned()).collect());
    let raw = recognise_with(&yolox, None, with(&["Conv", "Sigmoid"])).unwrap();
    assert_eq!((raw.output.decoder, raw.output.iou), (DecoderKind::Yolox, 0.45));
    let decoded = recognise_with(&yolox, None, with(&["Conv", "Exp", "Sigmoid"])).unwrap();
    assert_eq!((decoded.output.decoder, decoded.input.color), (DecoderKind::Yolov5, Color::Bgr));
    assert_eq!((decoded.input.align, decoded.classes), (Align::TopLeft, Some(1)));
}

#[test]
fn squeezed_batches() {
    let r = accepted(&spec(&[1, 3, 160, 160], &[("output0", &[84, 525])]));
    assert_eq!(family(&r), (DecoderKind::Yolov8, Task::Detect, Some(80)));
    let r = accepted(&spec(&[1, 3, 160, 160], &[("output", &[525, 85])]));
    assert_eq!(family(&r), (DecoderKind::Yolox, Task::Detect, Some(80)));
}

#[test]
fn models_with_their_post_processing_inside() {
    use Column::{Class, Ignore, Score, X1, X2, Y1, Y2};
    let efficient: [(&str, &[usize]); 4] =
        [("num_dets", &[1, 1]), ("det_boxes", &[1, 0, 0]), ("det_scores", &[1, 0]), ("det_classes", &[1, 0])];
    let r = accepted(&integers(spec(&[1, 3, 160, 160], &efficient), &[0, 3]));
    assert_eq!(family(&r), (DecoderKind::SsdPostprocessed, Task::Detect, None));
    assert_eq!((r.output.box_format, r.output.box_unit), (Some(BoxFormat::Xyxy), Some(BoxUnit::Pixels)));

    let r = accepted(&spec(&[1, 3, 160, 160], &[("output", &[0, 7])]));
    assert_eq!(r.output.columns.as_deref(), Some(&[Ignore, X1, Y1, X2, Y2, Class, Score][..]));
    let r = accepted(&spec(&[1, 3, 160, 160], &[("graph2_flat_predictions", &[0, 7])]));
    assert_eq!(r.output.columns.as_deref(), Some(&[Ignore, X1, Y1, X2, Y2, Score, Class][..]));
    let r = accepted(&spec(&[1, 3, 160, 160], &[("graph2_flat_predictions", &[0, 57])]));
    assert_eq!((family(&r), r.output.keypoint_shape), ((DecoderKind::Detections, Task::Pose, Some(1)), Some([17, 3])));
    let batch: [(&str, &[usize]); 4] = [
        ("graph2_num_predictions", &[1, 1]),
        ("graph2_pred_boxes", &[1, 0, 0]),
        ("graph2_pred_scores", &[1, 0]),
        ("graph2_pred_classes", &[1, 0]),
    ];
    let r = accepted(&integers(spec(&[1, 3, 160, 160], &batch), &[0, 3]));
    assert_eq!(r.output.decoder, DecoderKind::SsdPostprocessed);
    let r = accepted(&spec(&[1, 3, 300, 300], &[("detection_out", &[1, 1, 200, 7])]));
    assert_eq!(r.output.columns.as_deref(), Some(&[Ignore, Class, Score, X1, Y1, X2, Y2][..]));
    assert_eq!(r.output.class_offset, 1);
}

#[test]
fn deepstream_yolos_rows_still_overlap() {
    let mut named = spec(&[0, 3, 640, 640], &[("output", &[0, 8400, 6])]);
    named.inputs[0].name = "input".into();
    let r = accepted(&named);
    assert_eq!((r.output.decoder, r.output.nms, r.output.columns.clone()), (DecoderKind::Detections, true, None));
    assert_eq!((r.output.box_format, r.output.box_unit), (Some(BoxFormat::Xyxy), Some(BoxUnit::Pixels)));
    assert_eq!(origin(&r, "output.nms"), Some(Origin::Recognised));
    named.inputs[0].name = "images".into();
    assert_ne!(accepted(&named).output.decoder, DecoderKind::Detections, "as exported by YOLOX: one class");
}

#[test]
fn mmdeploy_and_yolov4() {
    let size = || Hints { size: Some(Hint::given((160, 160))), ..Hints::default() };
    let mmdeploy = integers(spec(&[0, 3, 0, 0], &[("dets", &[1, 0, 0]), ("labels", &[1, 0])]), &[1]);
    let r = recognise_with(&mmdeploy, None, size()).unwrap();
    assert_eq!(family(&r), (DecoderKind::SsdPostprocessed, Task::Detect, None));
    assert_eq!((r.input.align, r.output.box_unit), (Align::TopLeft, Some(BoxUnit::Pixels)));
    PostProcessor::new(&r.output, &r.input, &labels(80), &mmdeploy).unwrap();

    let r = accepted(&spec(&[1, 3, 160, 160], &[("boxes", &[1, 400, 1, 4]), ("confs", &[1, 400, 80])]));
    assert_eq!(family(&r), (DecoderKind::YoloNas, Task::Detect, Some(80)));
    assert_eq!((r.output.box_unit, r.output.iou, r.input.resize), (Some(BoxUnit::Normalized), 0.6, Resize::Stretch));
}

/// Makes some outputs i64.
fn integers(mut spec: Spec, places: &[usize]) -> Spec {
    places.iter().for_each(|i| spec.outputs[*i].dtype = DataType::I64);
    spec
}

#[test]
fn models_that_ask_for_the_pictures_size() {
    let outputs: [(&str, &[usize]); 3] = [("labels", &[0, 0]), ("boxes", &[0, 0, 4]), ("scores", &[0, 0])];
    let mut deploy = integers(spec(&[0, 3, 640, 640], &outputs), &[0]);
    deploy.inputs.push(tensor("orig_target_sizes", DataType::I64, &[None, Some(2)]));
    let r = accepted(&deploy);
    assert_eq!(family(&r), (DecoderKind::Detr, Task::Detect, None));
    assert_eq!((r.input.resize, r.input.std), (Resize::Stretch, [255.0; 3]));

    let outputs: [(&str, &[usize]); 2] = [("multiclass_nms3_0.tmp_0", &[0, 6]), ("multiclass_nms3_0.tmp_2", &[1])];
    let mut paddle = spec(&[1, 3, 160, 160], &outputs);
    paddle.outputs[1].dtype = DataType::I32;
    paddle.inputs.insert(0, tensor("im_shape", DataType::F32, &[Some(1), Some(2)]));
    paddle.inputs.push(tensor("scale_factor", DataType::F32, &[Some(1), Some(2)]));
    let r = accepted(&paddle);
    assert_eq!(r.output.decoder, DecoderKind::Detections);
    assert_eq!(r.output.columns.as_deref().map(|c| (c[0], c[1])), Some((Column::Class, Column::Score)));

    deploy.inputs.push(tensor("prompt", DataType::F32, &[Some(1), Some(2)]));
    assert!(recognise(&deploy).unwrap_err().to_string().contains("only the inputs orig_target_sizes, im_shape"));
}

#[test]
fn torchvisions_detectors_take_a_picture_without_a_batch() {
    for outputs in [["boxes", "labels", "scores"], ["boxes", "scores", "labels"]] {
        let shape = |name: &str| if name == "boxes" { &[0usize, 4][..] } else { &[0][..] };
        let outputs: Vec<(&str, &[usize])> = outputs.iter().map(|n| (*n, shape(n))).collect();
        let labels = outputs.iter().position(|o| o.0 == "labels").unwrap();
        let r = accepted(&integers(spec(&[3, 320, 320], &outputs), &[labels]));
        assert_eq!(family(&r), (DecoderKind::SsdPostprocessed, Task::Detect, None));
        assert_eq!((r.output.class_offset, origin(&r, "output.class-offset")), (1, Some(Origin::Assumed)));
        assert_eq!((r.input.width, r.input.height, r.input.std), (320, 320, [255.0; 3]));
    }
}

#[test]
fn queries_with_their_scores() {
    let model = |columns: usize, queries: usize| {
        spec(&[0, 3, 160, 160], &[("logits", &[0, queries, columns]), ("pred_boxes", &[0, queries, 4])])
    };
    let facts = |r: &Recognised| (r.output.decoder, r.output.activation, r.classes, r.input.mean[0]);
    let detr = (DecoderKind::Detr, Some(Activation::Softmax), Some(91), 123.675);
    assert_eq!(facts(&accepted(&model(92, 0))), detr);
    assert_eq!(facts(&accepted(&model(92, 100))), detr);
    let rtdetr = (DecoderKind::Detr, Some(Activation::Sigmoid), Some(80), 0.0);
    assert_eq!(facts(&accepted(&model(80, 0))), rtdetr);
    assert_eq!(facts(&accepted(&model(80, 300))), rtdetr);
    let text = recognise(&model(4, 0)).unwrap_err().to_string();
    assert!(text.contains("a softmax or a sigmoid") && text.contains("sets `output.activation`"), "{text}");

    let r = accepted(&spec(&[1, 3, 192, 192], &[("dets", &[0, 0, 4]), ("labels", &[0, 0, 91])]));
    assert_eq!(facts(&r), (DecoderKind::Detr, Some(Activation::Sigmoid), Some(91), 123.675));
}

#[test]
fn faces_have_their_label() {
    let yunet: Vec<(String, [usize; 3])> = [("cls", 1), ("obj", 1), ("bbox", 4), ("kps", 10)]
        .iter()
        .flat_map(|(n, c)| [(8, 400), (16, 100), (32, 25)].map(|(s, cells)| (format!("{n}_{s}"), [1, cells, *c])))
        .collect();
    let outputs: Vec<(&str, &[usize])> = yunet.iter().map(|(n, s)| (n.as_str(), &s[..])).collect();
    let r = accepted(&spec(&[1, 3, 160, 160], &outputs));
    assert_eq!((r.output.decoder, r.labels.as_deref()), (DecoderKind::Yunet, Some(&["face".into()][..])));
    assert_eq!((r.input.color, r.input.align, r.input.pad), (Color::Bgr, Align::TopLeft, 0));
    assert_eq!(origin(&r, "labels"), Some(Origin::Recognised));

    let r = accepted(&spec(&[1, 3, 240, 320], &[("scores", &[1, 4420, 2]), ("boxes", &[1, 4420, 4])]));
    assert_eq!((r.output.decoder, r.labels.as_deref()), (DecoderKind::Ultraface, Some(&["face".into()][..])));
    assert_eq!((r.input.mean, r.input.std, r.output.confidence), ([127.0; 3], [128.0; 3], 0.7));
}

#[test]
fn nanodet_by_names_and_by_rows() {
    let outputs: [(&str, &[usize]); 6] = [
        ("cls_pred_stride_8", &[1, 1600, 80]),
        ("cls_pred_stride_16", &[1, 400, 80]),
        ("cls_pred_stride_32", &[1, 100, 80]),
        ("dis_pred_stride_8", &[1, 1600, 32]),
        ("dis_pred_stride_16", &[1, 400, 32]),
        ("dis_pred_stride_32", &[1, 100, 32]),
    ];
    let r = accepted(&spec(&[1, 3, 320, 320], &outputs));
    assert_eq!((family(&r), r.output.iou), ((DecoderKind::Nanodet, Task::Detect, Some(80)), 0.6));
    assert_eq!((r.input.color, r.input.resize, r.input.mean[0]), (Color::Bgr, Resize::Stretch, 103.53));
    let mut plus = spec(&[1, 3, 160, 160], &[("output", &[1, 534, 112])]);
    plus.inputs[0].name = "data".into();
    assert_eq!(family(&accepted(&plus)), (DecoderKind::Nanodet, Task::Detect, Some(80)));
}

#[test]
fn yolo_nas_centernet_movenet() {
    let r = accepted(&spec(&[1, 3, 160, 160], &[("1135", &[1, 525, 4]), ("1127", &[1, 525, 80])]));
    assert_eq!(family(&r), (DecoderKind::YoloNas, Task::Detect, Some(80)));
    let outputs: [(&str, &[usize]); 3] = [("hm", &[1, 80, 32, 32]), ("wh", &[1, 2, 32, 32]), ("reg", &[1, 2, 32, 32])];
    let r = accepted(&spec(&[1, 3, 128, 128], &outputs));
    assert_eq!(family(&r), (DecoderKind::Centernet, Task::Detect, Some(80)));
    assert_eq!((r.input.color, r.input.pad), (Color::Bgr, 0));
    for shape in [&[1, 1, 17, 3][..], &[1, 6, 56]] {
        let r = accepted(&spec(&[1, 192, 192, 3], &[("output_0", shape)]));
        assert_eq!(family(&r), (DecoderKind::Movenet, Task::Pose, Some(1)));
        assert_eq!((r.labels.as_deref(), r.input.std), (Some(&["person".into()][..]), [1.0; 3]));
    }
}

#[test]
fn maps_of_classes() {
    let cases: [(&[usize], &[usize], usize); 4] = [
        (&[1, 3, 128, 128], &[1, 21, 128, 128], 21),
        (&[0, 3, 128, 128], &[0, 19, 0, 0], 19),
        (&[1, 3, 512, 512], &[1, 150, 128, 128], 150),
        (&[1, 257, 257, 3], &[1, 257, 257, 21], 21),
    ];
    for (input, output, classes) in cases {
        let r = accepted(&spec(input, &[("out", output)]));
        assert_eq!(family(&r), (DecoderKind::Segmentation, Task::Segment, Some(classes)), "{output:?}");
        assert_eq!(origin(&r, "output.decoder"), Some(Origin::Recognised));
    }
    // A picture of the input's size may be anything.
    let r = recognise(&spec(&[1, 3, 128, 128], &[("out", &[1, 3, 128, 128])])).unwrap();
    assert_eq!(origin(&r, "output.decoder"), Some(Origin::Assumed));
    assert!(recognise(&spec(&[1, 3, 128, 128], &[("depth", &[1, 1, 128, 128])])).is_err());
}

#[test]
fn embeddings_by_name_only() {
    let r = accepted(&spec(&[1, 3, 112, 112], &[("embedding", &[1, 512])]));
    assert_eq!((family(&r), r.labels), ((DecoderKind::Embed, Task::Embed, None), None));
    let vector = recognise(&spec(&[1, 256, 128, 3], &[("Identity:0", &[1, 256])])).unwrap();
    assert_eq!(origin(&vector, "output.decoder"), Some(Origin::Assumed));
    let hints = Hints { decoder: Some(Hint::given(DecoderKind::Embed)), ..Hints::default() };
    let given = recognise_with(&spec(&[1, 256, 128, 3], &[("Identity:0", &[1, 256])]), None, hints).unwrap();
    assert_eq!((given.output.decoder, origin(&given, "output.decoder")), (DecoderKind::Embed, Some(Origin::Given)));
}

#[test]
fn bytes_without_a_scale_name_their_key() {
    let mut quantized = spec(&[1, 3, 160, 160], &[("output0", &[1, 84, 525])]);
    quantized.outputs[0].dtype = DataType::I8;
    let text = recognise(&quantized).unwrap_err().to_string();
    assert!(text.contains("output.decoder = yolov8") && text.contains("sets `output.quantization`"), "{text}");
    let given = Hints { keys: ["output.quantization.output0".into()].into(), ..Hints::default() };
    assert!(recognise_with(&quantized, None, given).is_ok());
    quantized.outputs[0].dtype = DataType::F32;
    quantized.inputs[0].dtype = DataType::U8;
    let r = recognise(&quantized).unwrap();
    assert_eq!((r.input.mean, r.input.std, origin(&r, "input.mean")), ([0.0; 3], [1.0; 3], Some(Origin::Assumed)));
    quantized.inputs[0].dtype = DataType::I8;
    assert!(recognise(&quantized).unwrap_err().to_string().contains("sets `input.quantization`"));
}

#[test]
fn the_other_order_of_colours_turns_mean_and_deviation() {
    let hints = Hints { color: Some(Hint::given(Color::Bgr)), ..Hints::default() };
    let r = recognise_with(&spec(&[1, 3, 224, 224], &[("prob", &[1, 1000])]), None, hints).unwrap();
    assert_eq!((r.input.color, r.input.mean), (Color::Bgr, [103.53, 116.28, 123.675]));
    assert_eq!(origin(&r, "input.color"), Some(Origin::Given));
}

fn info(sections: &str) -> ModelInfo {
    ModelInfo::parse(&format!("[modelinfo]\nversion=1.0\n{sections}"), "m.onnx.modelinfo").unwrap()
}

#[test]
fn modelinfo_says_the_family_and_the_range() {
    // The shape alone would be a YOLOX.
    let model = spec(&[1, 3, 160, 160], &[("output0", &[1, 525, 85])]);
    let read = |sections: &str| recognise_with(&model, Some(&info(sections)), Hints::default()).unwrap();
    let r = read(
        "[output0]\ndir=output\ntype=float32\nid=yolo-v8-out\n[images]\ndir=input\ntype=float32\nranges=-1.0,1.0\n",
    );
    assert_eq!((r.output.decoder, origin(&r, "output.decoder")), (DecoderKind::Yolov8, Some(Origin::Read)));
    assert_eq!((r.input.mean, r.input.std, origin(&r, "input.mean")), ([127.5; 3], [127.5; 3], Some(Origin::Read)));
    let because = r.facts.iter().find(|f| f.key == "output.decoder").unwrap().because.clone();
    assert_eq!(because, "`id` in m.onnx.modelinfo");
    let r = read("[output0]\nid=yolox-out\n[images]\nranges=0,255;0,255;0,255\n");
    assert_eq!(
        (r.output.decoder, r.classes, r.input.mean, r.input.std),
        (DecoderKind::Yolox, Some(80), [0.0; 3], [1.0; 3])
    );
    assert_eq!(read("[output0]\nid=my-own-out\n").output.decoder, DecoderKind::Yolox, "an unknown id says nothing");
}

#[test]
fn modelinfo_ids_of_other_families() {
    let of = |model: &Spec, sections: &str| recognise_with(model, Some(&info(sections)), Hints::default());
    let vector = spec(&[1, 3, 224, 224], &[("output", &[1, 1000])]);
    let r = of(&vector, "[output]\nid=classification-generic-softmaxed-out\n").unwrap();
    assert_eq!((family(&r).0, r.output.activation), (DecoderKind::Classify, Some(Activation::None)));
    assert_eq!(origin(&r, "output.decoder"), Some(Origin::Read), "no guess any more");
    let r = of(&vector, "[output]\nid=classification-generic-out\n").unwrap();
    assert_eq!(r.output.activation, Some(Activation::Softmax));
    let v8 = spec(&[1, 3, 160, 160], &[("output0", &[1, 56, 525])]);
    let r = of(&v8, "[output0]\nid=yolo-v8-pose-out-normalized\n").unwrap();
    assert_eq!((r.task, r.output.keypoint_shape), (Task::Pose, Some([17, 3])));
    assert_eq!((r.output.box_unit, r.classes), (Some(BoxUnit::Normalized), None));
    let faces = spec(&[1, 3, 240, 320], &[("a", &[1, 4420, 2]), ("b", &[1, 4420, 4])]);
    let ids = "[a]\nid=ultra-lightweight-face-detection-rfb-320-v1-variant-1-out-scores\n\
               [b]\nid=ssd-mobilenet-v1-variant-1-out-boxes\n";
    let r = of(&faces, ids).unwrap();
    assert_eq!((r.output.decoder, r.labels.as_deref()), (DecoderKind::Ultraface, Some(&["face".into()][..])));
    let raw = "[b]\nid=ultra-lightweight-face-detection-rfb-320-v1-variant-1-out-boxes-without-postproc\n";
    let text = of(&faces, raw).unwrap_err().to_string();
    assert!(text.contains("m.onnx.modelinfo:3: section [b]: ") && text.contains("boxes decoded"), "{text}");
    let text = of(&faces, "[images]\nranges=0,1;0,1\n").unwrap_err().to_string();
    assert!(text.contains("section [images]: not one range for each channel"), "{text}");
}

#[test]
fn a_given_family_that_the_shapes_do_not_show_brings_its_usual_input() {
    for decoder in DecoderKind::ALL {
        let hints = Hints { decoder: Some(Hint::given(decoder)), ..Hints::default() };
        let r = recognise_with(&spec(&[1, 3, 160, 160], &[("x", &[1, 9, 9, 9])]), None, hints).unwrap();
        assert_eq!((r.output.decoder, r.task), (decoder, decoder.tasks()[0]));
        assert_eq!(origin(&r, "output.decoder"), Some(Origin::Given));
    }
}
