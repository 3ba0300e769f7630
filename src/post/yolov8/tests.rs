//! Hand-made tensors of each task and order.

use super::scan::BLOCK;
use super::*;
use crate::bundle::contract::DecoderKind;
use crate::engine::DataType;
use crate::post::tests::{accept_over, input, one_output, outputs, tensor};
use crate::result::BBox;

/// Two classes, three boxes, boxes last: row by row centre x, centre y, width, height, class 0, class 1.
const VALUES: [f32; 18] = [
    50.0, 100.0, 150.0, // cx
    60.0, 110.0, 160.0, // cy
    20.0, 40.0, 10.0, // w
    10.0, 30.0, 20.0, // h
    0.9, 0.1, 0.3, // class 0
    0.2, 0.7, 0.39, // class 1
];

fn transposed(values: &[f32], rows: usize) -> Vec<f32> {
    let columns = values.len() / rows;
    (0..values.len()).map(|i| values[(i % rows) * columns + i / rows]).collect()
}

fn expected() -> Vec<Candidate> {
    vec![
        Candidate { x1: 40.0, y1: 55.0, x2: 60.0, y2: 65.0, score: 0.9, class_id: 0, ..Candidate::default() },
        Candidate { x1: 80.0, y1: 95.0, x2: 120.0, y2: 125.0, score: 0.7, class_id: 1, row: 1, ..Candidate::default() },
    ]
}

fn decode(shape: &[usize], values: Vec<f32>, classes: usize, thresholds: &Thresholds) -> Vec<Candidate> {
    let spec = one_output("output0", &[None, None, None]);
    let decoder = YoloV8::new(&contract(), &input(640, 640), classes, &spec).unwrap();
    let mut out = Vec::new();
    decoder.decode(&[Tensor::from_f32("output0", shape, values)], thresholds, &mut out).unwrap();
    out
}

fn contract() -> OutputContract {
    OutputContract::new(DecoderKind::Yolov8)
}

#[test]
fn both_orders_with_and_without_batch_say_the_same() {
    let t = accept_over(0.4, 2);
    assert_eq!(decode(&[1, 6, 3], VALUES.into(), 2, &t), expected());
    assert_eq!(decode(&[6, 3], VALUES.into(), 2, &t), expected());
    assert_eq!(decode(&[1, 3, 6], transposed(&VALUES, 6), 2, &t), expected());
    assert_eq!(decode(&[3, 6], transposed(&VALUES, 6), 2, &t), expected());
}

#[test]
fn a_class_has_its_own_threshold_and_the_limit_itself_counts() {
    let mut t = accept_over(0.4, 2);
    t.per_class = vec![0.95, 0.39];
    let classes: Vec<(u32, f32)> =
        decode(&[1, 6, 3], VALUES.into(), 2, &t).iter().map(|c| (c.class_id, c.score)).collect();
    assert_eq!(classes, [(1, 0.7), (1, 0.39)]);
}

#[test]
fn one_class_and_many_blocks() {
    let count = BLOCK * 2 + 3;
    let mut values = vec![10.0; 5 * count];
    values[4 * count..].fill(0.0);
    for i in [0, BLOCK - 1, BLOCK, count - 1] {
        values[4 * count + i] = 0.5 + i as f32 / 1e5;
    }
    let scores: Vec<f32> = decode(&[1, 5, count], values, 1, &accept_over(0.4, 1)).iter().map(|c| c.score).collect();
    assert_eq!(scores, [0.5, 0.51023, 0.51024, 0.5205]);
}

#[test]
fn a_value_that_is_not_finite_reaches_the_guard() {
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let mut values = VALUES;
        values[12] = bad;
        let t = accept_over(0.4, 2);
        for out in [decode(&[6, 3], values.into(), 2, &t), decode(&[3, 6], transposed(&values, 6), 2, &t)] {
            assert_eq!(out.len(), 2, "{bad}");
            assert!(out[0].score.is_nan());
            assert_eq!(out[1], expected()[1]);
        }
    }
}

#[test]
fn a_wrong_class_count_is_told_with_both_numbers() {
    let spec = one_output("output0", &[Some(1), Some(84), Some(8400)]);
    assert_eq!(
        YoloV8::new(&contract(), &input(640, 640), 79, &spec).err().unwrap().to_string(),
        "output `output0` [1, 84, 8400] holds 80 classes, but there are 79 labels and `output.class-offset` is 0: \
         give the file named by `labels` one line per class, or set `output.class-offset` to the number of classes \
         before the first label"
    );
    let error =
        YoloV8::new(&contract(), &input(640, 640), 80, &one_output("output0", &[Some(1), Some(1000)])).err().unwrap();
    assert_eq!(
        error.to_string(),
        "output `output0` has the shape [1, 1000]; decoder yolov8 expects [1, 84, boxes] or [1, boxes, 84] (4 for \
         the box, 1 for each class). Give the file named by `labels` one line per class, or set `output.decoder` \
         to the model's family"
    );
}

#[test]
fn a_run_that_breaks_the_promise_is_an_error() {
    let decoder = YoloV8::new(&contract(), &input(640, 640), 2, &one_output("output0", &[None, None, None])).unwrap();
    let run = |tensor| decoder.decode(&[tensor], &accept_over(0.4, 2), &mut Vec::new());
    let short = run(Tensor::from_f32("output0", &[1, 6, 3], vec![0.0; 17]));
    assert!(matches!(short, Err(PostError::Length { found: 17, expected: 18, .. })));
    let wrong = run(Tensor::from_f32("output0", &[1, 7, 3], vec![0.0; 21]));
    assert!(matches!(wrong, Err(PostError::Shape { .. })));
    assert!(run(Tensor::from_f32("output0", &[1, 6, 0], vec![])).is_ok());
    assert!(matches!(decoder.decode(&[], &accept_over(0.4, 2), &mut Vec::new()), Err(PostError::Missing { .. })));
}

fn task(task: Task) -> OutputContract {
    OutputContract { task, ..contract() }
}

/// One class, two boxes of four channels and a score, then `extra` channels whose values are 100 · box + channel.
fn with_extra(extra: usize) -> Vec<f32> {
    let mut values = vec![50.0, 20.0, 60.0, 30.0, 20.0, 10.0, 10.0, 10.0, 0.9, 0.8];
    values.extend((0..extra).flat_map(|channel| [0, 1].map(|b| (100 * b + channel) as f32)));
    values
}

/// What `describe` adds to each candidate of a run, in both orders.
fn described(contract: &OutputContract, spec: &Spec, extra: usize, more: Option<Tensor>) -> Vec<Object> {
    let input = input(100, 100);
    let decoder = YoloV8::new(contract, &input, 1, spec).unwrap();
    let geometry = Geometry::new(&input, 100, 100, None);
    let values = with_extra(extra);
    let mut runs = [
        vec![Tensor::from_f32("output0", &[1, 5 + extra, 2], values.clone())],
        vec![Tensor::from_f32("output0", &[2, 5 + extra], transposed(&values, 5 + extra))],
    ]
    .map(|mut tensors| {
        tensors.extend(more.clone());
        let mut candidates = Vec::new();
        decoder.decode(&tensors, &accept_over(0.5, 1), &mut candidates).unwrap();
        let objects: Vec<Object> = candidates
            .iter()
            .map(|c| {
                let bbox = geometry.to_frame(c.bbox());
                let mut object = Object::new(0, c.class_id, "a".into(), c.score, bbox);
                decoder.describe(&tensors, c, &geometry, &mut object).unwrap();
                object
            })
            .collect();
        objects
    });
    assert_eq!(runs[0], runs[1]);
    std::mem::take(&mut runs[0])
}

#[test]
fn keypoints_follow_the_classes_and_their_number_is_the_contracts_or_the_shapes() {
    let points = |contract: &OutputContract, spec: &Spec, extra| -> Vec<Vec<[f32; 3]>> {
        let objects = described(contract, spec, extra, None);
        objects.iter().map(|o| o.keypoints.iter().map(|k| [k.x, k.y, k.confidence]).collect()).collect()
    };
    let free = one_output("output0", &[None, None, None]);
    let expected = vec![vec![[0.0, 0.01, 2.0], [0.03, 0.04, 5.0]], vec![[1.0, 1.01, 102.0], [1.03, 1.04, 105.0]]];
    assert_eq!(points(&task(Task::Pose), &one_output("output0", &[Some(1), Some(11), Some(525)]), 6), expected);
    let said = |shape| OutputContract { keypoint_shape: Some(shape), ..task(Task::Pose) };
    assert_eq!(points(&said([2, 3]), &free, 6), expected);
    assert_eq!(points(&said([1, 2]), &free, 2), [[[0.0, 0.01, 1.0]], [[1.0, 1.01, 1.0]]]);
    let text = YoloV8::new(&task(Task::Pose), &input(100, 100), 1, &free).err().unwrap().to_string();
    assert!(text.starts_with("`output.keypoint-shape`: the number of keypoints cannot be told"), "{text}");
}

#[test]
fn boxes_and_keypoints_in_parts_of_the_input_are_brought_to_pixels() {
    let contract =
        OutputContract { box_unit: Some(BoxUnit::Normalized), keypoint_shape: Some([1, 3]), ..task(Task::Pose) };
    let input = input(200, 100);
    let decoder = YoloV8::new(&contract, &input, 1, &one_output("output0", &[None, None, None])).unwrap();
    let values = vec![0.5, 0.5, 0.25, 0.5, 0.9, 0.25, 0.75, 0.6];
    let outputs = [Tensor::from_f32("output0", &[1, 8, 1], values)];
    let mut found = Vec::new();
    decoder.decode(&outputs, &accept_over(0.5, 1), &mut found).unwrap();
    assert_eq!((found[0].x1, found[0].y1, found[0].x2, found[0].y2), (75.0, 25.0, 125.0, 75.0));
    let mut object = Object::new(0, 0, "a".into(), 0.9, BBox::default());
    decoder.describe(&outputs, &found[0], &Geometry::new(&input, 200, 100, None), &mut object).unwrap();
    let k = object.keypoints[0];
    assert_eq!((k.x, k.y, k.confidence), (0.25, 0.75, 0.6));
}

#[test]
fn the_angle_is_the_last_channel_and_boxes_are_suppressed_as_turned_ones() {
    let spec = one_output("output0", &[Some(1), Some(6), Some(2)]);
    let decoder = YoloV8::new(&task(Task::Obb), &input(100, 100), 1, &spec).unwrap();
    assert_eq!((decoder.nms(), decoder.turned()), (Nms::Turned, true));
    let values = with_extra(1);
    for tensor in [
        Tensor::from_f32("output0", &[1, 6, 2], values.clone()),
        Tensor::from_f32("output0", &[1, 2, 6], transposed(&values, 6)),
    ] {
        let mut found = Vec::new();
        decoder.decode(&[tensor], &accept_over(0.5, 1), &mut found).unwrap();
        assert_eq!(found.iter().map(|c| (c.angle, c.row)).collect::<Vec<_>>(), [(0.0, 0), (100.0, 1)]);
    }
    // The same shape without the task is two classes.
    let decoder = YoloV8::new(&contract(), &input(100, 100), 2, &spec).unwrap();
    assert_eq!((decoder.nms(), decoder.turned()), (Nms::Upright, false));
}

#[test]
fn mask_coefficients_weigh_the_prototypes_of_the_second_output() {
    let promise = |channels, n| {
        outputs(vec![
            tensor("output0", DataType::F32, &[Some(1), channels, None]),
            tensor("output1", DataType::F32, &[Some(1), n, Some(4), Some(4)]),
        ])
    };
    // Coefficients 0, 1 of the first box and 100, 101 of the second: the second prototype decides for both.
    let values = [[0.0; 16], std::array::from_fn(|i| if i % 4 < 2 { -1.0 } else { 1.0 })].concat();
    let maps = Tensor::from_f32("output1", &[1, 2, 4, 4], values);
    for spec in [promise(Some(7), Some(2)), promise(None, Some(2))] {
        let objects = described(&task(Task::Segment), &spec, 2, Some(maps.clone()));
        let mask = objects[0].mask.as_ref().unwrap();
        // From 40 to 60 of 100, the outline at 50.
        assert_eq!((mask.width, mask.height), (80, 40));
        assert!(
            mask.data.chunks(80).all(|row| row[..40].iter().all(|v| *v < 128) && row[40..].iter().all(|v| *v > 127))
        );
        let mask = objects[1].mask.as_ref().unwrap();
        assert!(mask.data.iter().all(|v| *v == 0), "from 15 to 25 there is nothing");
    }
    let missing = one_output("output0", &[Some(1), Some(7), Some(9)]);
    let text = YoloV8::new(&task(Task::Segment), &input(100, 100), 1, &missing).err().unwrap().to_string();
    assert!(text.starts_with("decoder yolov8 needs prototypes [1, coefficients, rows, columns]"), "{text}");
    let error = YoloV8::new(&task(Task::Segment), &input(100, 100), 3, &promise(Some(7), Some(2))).err().unwrap();
    assert!(matches!(error, PostError::Classes { classes: 1, labels: 3, .. }), "{error}");
}

#[test]
fn quantised_outputs_without_a_scale_are_refused() {
    let spec = outputs(vec![tensor("output0", DataType::I8, &[Some(1), Some(6), Some(3)])]);
    let error = YoloV8::new(&contract(), &input(100, 100), 2, &spec).err().unwrap();
    assert!(matches!(error, PostError::DataType { found: "i8", .. }), "{error}");
}
