//! The whole way from tensors to objects, and what the decoders' tests share.

use super::*;
use crate::bundle::contract::{Align, Color, Layout, Resize};
use crate::engine::{DataType, TensorSpec};
use crate::result::Freshness;

/// `count` labels `c0`, `c1`, …
pub(super) fn labels(count: usize) -> Labels {
    (0..count).map(|i| format!("c{i}").into()).collect()
}

/// Thresholds that accept `classes` classes from `confidence` upwards.
pub(super) fn accept_over(confidence: f32, classes: usize) -> Thresholds {
    let per_class = vec![confidence; classes];
    Thresholds { confidence, iou: 0.5, per_class, max_objects: 100, class_agnostic: false }
}

/// A letterboxed RGB input.
pub(super) fn input(width: u32, height: u32) -> InputContract {
    InputContract {
        layout: Layout::Nchw,
        width,
        height,
        color: Color::Rgb,
        resize: Resize::Letterbox,
        antialias: false,
        crop_fraction: 1.0,
        align: Align::Center,
        pad: 114,
        mean: [0.0; 3],
        std: [255.0; 3],
        quantization: None,
    }
}

/// A tensor's promise.
pub(super) fn tensor(name: &str, dtype: DataType, shape: &[Option<usize>]) -> TensorSpec {
    TensorSpec { name: name.into(), dtype, shape: shape.to_vec() }
}

/// A model with a free input and one float output.
pub(super) fn one_output(name: &str, shape: &[Option<usize>]) -> Spec {
    outputs(vec![tensor(name, DataType::F32, shape)])
}

/// A model with a free input.
pub(super) fn outputs(outputs: Vec<TensorSpec>) -> Spec {
    Spec { inputs: vec![tensor("images", DataType::F32, &[None; 4])], outputs, ..Spec::default() }
}

/// A result without anything in it.
fn empty_result() -> FrameResult {
    FrameResult {
        frame: 0,
        pts_ns: None,
        running_time_ns: None,
        utc_ns: 0,
        width: 200,
        height: 100,
        model: None,
        freshness: Freshness::Fresh,
        objects: Vec::new(),
        classes: Vec::new(),
        embedding: None,
        absent_since_ns: None,
        secondary: Vec::new(),
    }
}

/// One class, boxes last; a 200 × 100 frame lies in a 100 × 100 input at 0, 25, 100 × 50.
fn run(boxes: &[[f32; 5]], contract: &OutputContract) -> (Vec<Object>, GuardCounts) {
    let input = input(100, 100);
    let spec = one_output("output0", &[Some(1), Some(5), None]);
    let post = PostProcessor::new(contract, &input, &labels(1), &spec).unwrap();
    let values = (0..5).flat_map(|row| boxes.iter().map(move |b| b[row])).collect();
    let outputs = [Tensor::from_f32("output0", &[1, 5, boxes.len()], values)];
    let mut result = empty_result();
    let geometry = Geometry::new(&input, 200, 100, None);
    let counts = post.run(&outputs, &post.thresholds(), &geometry, &mut Scratch::default(), &mut result).unwrap();
    (result.objects, counts)
}

fn contract() -> OutputContract {
    OutputContract::new(DecoderKind::Yolov8)
}

#[test]
fn objects_come_sorted_numbered_and_in_frame_coordinates() {
    // Input pixel (x, y) is frame (2x, 2(y - 25)).
    let (objects, counts) = run(&[[20.0, 50.0, 10.0, 20.0, 0.5], [60.0, 35.0, 20.0, 10.0, 0.8]], &contract());
    assert_eq!(counts.total(), 0);
    let expected = [
        Object::new(0, 0, "c0".into(), 0.8, BBox { x: 0.5, y: 0.1, w: 0.2, h: 0.2 }),
        Object::new(1, 0, "c0".into(), 0.5, BBox { x: 0.15, y: 0.3, w: 0.1, h: 0.4 }),
    ];
    assert_eq!(objects.len(), 2);
    for (a, b) in objects.iter().zip(&expected) {
        assert_eq!((a.id, a.class_id, &a.label, a.confidence), (b.id, b.class_id, &b.label, b.confidence));
        let pairs = [(a.bbox.x, b.bbox.x), (a.bbox.y, b.bbox.y), (a.bbox.w, b.bbox.w), (a.bbox.h, b.bbox.h)];
        assert!(pairs.iter().all(|(a, b)| (a - b).abs() < 1e-6), "{a:?}");
    }
}

#[test]
fn a_box_that_reaches_past_the_letterbox_edge_is_kept() {
    // The picture ends at y = 75; this box at 75.4.
    let (objects, counts) = run(&[[50.0, 65.0, 10.0, 20.8, 0.9]], &contract());
    assert_eq!(counts.total(), 0);
    assert_eq!(objects.len(), 1);
    assert!((objects[0].bbox.y - 0.592).abs() < 1e-5 && objects[0].bbox.y2() == 1.0, "{objects:?}");
}

#[test]
fn impossible_boxes_are_counted_and_the_good_one_stays() {
    let (objects, counts) = run(
        &[
            [50.0, 50.0, 10.0, 10.0, 0.9],
            [f32::NAN, 50.0, 10.0, 10.0, 0.9],
            [50.0, 50.0, 10.0, 10.0, f32::NAN],
            [50.0, 50.0, -10.0, 10.0, 0.9],
            [50.0, 50.0, 0.0, 10.0, 0.9],
            [50.0, 50.0, 1e6, 10.0, 0.9],
            [50.0, 50.0, 10.0, 10.0, 90.0],
            // In the padding above the picture.
            [50.0, 10.0, 10.0, 10.0, 0.9],
        ],
        &contract(),
    );
    assert_eq!(objects.len(), 1);
    let expected = GuardCounts {
        non_finite: 2,
        inverted: 1,
        empty: 1,
        enormous: 1,
        score_range: 1,
        outside: 1,
        ..GuardCounts::default()
    };
    assert_eq!(counts, expected);
}

#[test]
fn at_most_max_objects_are_reported() {
    let boxes: Vec<[f32; 5]> = (0..50).map(|i| [2.0 * i as f32, 50.0, 1.0, 1.0, 0.5 + i as f32 / 1000.0]).collect();
    let (objects, _) = run(&boxes, &OutputContract { max_objects: 7, ..contract() });
    assert_eq!(objects.len(), 7);
    assert_eq!(objects[0].confidence, 0.549);
    assert!(run(&boxes, &OutputContract { max_objects: 0, ..contract() }).0.is_empty());
}

#[test]
fn half_precision_outputs_are_read() {
    let spec = outputs(vec![tensor("output0", DataType::F16, &[Some(1), Some(5), Some(1)])]);
    let input = input(100, 100);
    let post = PostProcessor::new(&contract(), &input, &labels(1), &spec).unwrap();
    let data = [50.0, 50.0, 10.0, 10.0, 0.75].map(half::f16::from_f32).to_vec();
    let outputs =
        [Tensor { name: "output0".into(), shape: vec![1, 5, 1], data: crate::engine::TensorData::F16(data.into()) }];
    let mut result = empty_result();
    let geometry = Geometry::new(&input, 100, 100, None);
    post.run(&outputs, &post.thresholds(), &geometry, &mut Scratch::default(), &mut result).unwrap();
    assert_eq!(result.objects.len(), 1);
    assert_eq!(result.objects[0].confidence, 0.75);
}

#[test]
fn a_failed_run_leaves_no_objects_of_the_frame_before() {
    let spec = one_output("output0", &[Some(1), Some(5), None]);
    let input = input(100, 100);
    let post = PostProcessor::new(&contract(), &input, &labels(1), &spec).unwrap();
    let mut result = empty_result();
    result.objects.push(Object::new(0, 0, "old".into(), 1.0, BBox::default()));
    let geometry = Geometry::new(&input, 100, 100, None);
    let wrong = [Tensor::from_f32("output0", &[1, 6, 1], vec![0.0; 6])];
    assert!(post.run(&wrong, &post.thresholds(), &geometry, &mut Scratch::default(), &mut result).is_err());
    assert!(result.objects.is_empty());
}

#[test]
fn thresholds_are_resolved_by_class() {
    let contract = OutputContract { per_class: vec![(1, 0.2)], ..contract() };
    let spec = one_output("output0", &[Some(1), Some(7), None]);
    let post = PostProcessor::new(&contract, &input(100, 100), &labels(3), &spec).unwrap();
    let mut thresholds = post.thresholds();
    assert_eq!(thresholds.per_class, [0.4, 0.2, 0.4]);
    assert_eq!((thresholds.of(1), thresholds.of(9), thresholds.lowest()), (0.2, 0.4, 0.2));
    thresholds.set_confidence(0.6);
    assert_eq!((thresholds.of(1), thresholds.lowest()), (0.6, 0.6));
    let wrong = OutputContract { per_class: vec![(3, 0.2)], ..contract };
    let error = PostProcessor::new(&wrong, &input(100, 100), &labels(3), &spec).unwrap_err();
    assert_eq!(error.to_string(), "`output.per-class`: there is no class 3, the model has 3; name one of the labels");
}

#[test]
fn the_input_must_be_the_promised_one() {
    let check = |shape: &[Option<usize>]| {
        let mut spec = one_output("output0", &[Some(1), Some(5), None]);
        spec.inputs = vec![tensor("images", DataType::F32, shape)];
        PostProcessor::new(&contract(), &input(64, 32), &labels(1), &spec).map(|_| ()).map_err(|e| e.to_string())
    };
    let text = |shape: &str, fix: &str| {
        Err(format!("the model's input is `images` f32 {shape}; the bundle promises the shape [1, 3, 32, 64]. {fix}"))
    };
    assert_eq!(check(&[Some(1), Some(3), Some(32), Some(64)]), Ok(()));
    assert_eq!(check(&[None, Some(3), None, None]), Ok(()));
    assert_eq!(check(&[Some(1), Some(3), Some(64), Some(64)]), text("[1, 3, 64, 64]", "Change `input.size`"));
    assert_eq!(check(&[Some(1), Some(32), Some(64), Some(3)]), text("[1, 32, 64, 3]", "Change `input.layout`"));
    assert_eq!(check(&[Some(1), Some(1), Some(32), Some(64)]), text("[1, 1, 32, 64]", "Change `input.color`"));
    assert_eq!(check(&[Some(8), Some(3), Some(32), Some(64)]), Ok(()), "a picture fills one place of a fixed batch");
    assert_eq!(check(&[Some(3), Some(32), Some(64)]), Ok(()), "the batch is left out");
    assert_eq!(
        check(&[Some(32), Some(64)]),
        text("[32, 64]", "Only a model with one input that has the dimensions of a picture can be run")
    );
}

#[test]
fn quantised_outputs_are_refused() {
    let spec = outputs(vec![tensor("output0", DataType::U8, &[Some(1), Some(5), Some(9)])]);
    let error = PostProcessor::new(&contract(), &input(64, 64), &labels(1), &spec).unwrap_err();
    assert_eq!(
        error.to_string(),
        "output `output0` holds u8 values; decoder yolov8 reads f32 and f16 (integers have no known scale). Export \
         the model with float outputs"
    );
}
