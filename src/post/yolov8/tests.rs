//! Hand-made tensors of each task and order.

use super::*;
use crate::post::tests::{accept_over, input, one_output};

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
        Candidate { x1: 80.0, y1: 95.0, x2: 120.0, y2: 125.0, score: 0.7, class_id: 1, ..Candidate::default() },
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
    OutputContract::new(crate::bundle::contract::DecoderKind::Yolov8)
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
    let scores: Vec<f32> =
        decode(&[1, 5, count], values, 1, &accept_over(0.4, 1)).iter().map(|c| c.score).collect();
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
    let error = YoloV8::new(&contract(), &input(640, 640), 80, &one_output("output0", &[Some(1), Some(1000)]))
        .err()
        .unwrap();
    assert_eq!(
        error.to_string(),
        "output `output0` has the shape [1, 1000]; decoder yolov8 expects [1, 84, boxes] or [1, boxes, 84] (4 for \
         the box, 1 for each class). Give the file named by `labels` one line per class, or set `output.decoder` \
         to the model's family"
    );
}

#[test]
fn a_run_that_breaks_the_promise_is_an_error() {
    let decoder =
        YoloV8::new(&contract(), &input(640, 640), 2, &one_output("output0", &[None, None, None])).unwrap();
    let run = |tensor| decoder.decode(&[tensor], &accept_over(0.4, 2), &mut Vec::new());
    let short = run(Tensor::from_f32("output0", &[1, 6, 3], vec![0.0; 17]));
    assert!(matches!(short, Err(PostError::Length { found: 17, expected: 18, .. })));
    let wrong = run(Tensor::from_f32("output0", &[1, 7, 3], vec![0.0; 21]));
    assert!(matches!(wrong, Err(PostError::Shape { .. })));
    assert!(run(Tensor::from_f32("output0", &[1, 6, 0], vec![])).is_ok());
    assert!(matches!(decoder.decode(&[], &accept_over(0.4, 2), &mut Vec::new()), Err(PostError::Missing { .. })));
}
