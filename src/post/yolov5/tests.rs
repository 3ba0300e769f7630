//! Hand-made rows and heads.

use super::*;
use crate::bundle::contract::DecoderKind;
use crate::engine::DataType;
use crate::post::tests::{accept_over, input, one_output, outputs, tensor};
use crate::result::BBox;

fn contract() -> OutputContract {
    OutputContract::new(DecoderKind::Yolov5)
}

fn decode(contract: &OutputContract, spec: &Spec, classes: usize, tensors: &[Tensor]) -> Vec<Candidate> {
    let decoder = YoloV5::new(contract, &input(64, 32), classes, spec).unwrap();
    let mut out = Vec::new();
    decoder.decode(tensors, &accept_over(0.5, classes), &mut out).unwrap();
    out
}

#[track_caller]
fn assert_near(found: &Candidate, expected: [f32; 5], class_id: u32) {
    let numbers = [found.x1, found.y1, found.x2, found.y2, found.score];
    for (a, b) in numbers.iter().zip(expected) {
        assert!((a - b).abs() < 1e-4, "{found:?} is not {expected:?}");
    }
    assert_eq!(found.class_id, class_id);
}

#[test]
fn the_score_is_objectness_times_the_best_class() {
    let rows = vec![
        20.0, 10.0, 10.0, 20.0, 0.8, 0.1, 0.75, //
        20.0, 10.0, 10.0, 20.0, 0.9, 0.5, 0.1, // under the threshold by the product only
        20.0, 10.0, 10.0, 20.0, 0.4, 1.0, 0.1,
    ];
    let free = one_output("output", &[None, None, None]);
    for shape in [&[1, 3, 7][..], &[3, 7]] {
        let found = decode(&contract(), &free, 2, &[Tensor::from_f32("output", shape, rows.clone())]);
        assert_eq!(found.len(), 1);
        assert_near(&found[0], [15.0, 0.0, 25.0, 20.0, 0.6], 1);
    }
    let parts = OutputContract { box_unit: Some(BoxUnit::Normalized), ..contract() };
    let row = vec![0.5, 0.5, 0.25, 0.5, 0.8, 1.0];
    let found = decode(&parts, &free, 1, &[Tensor::from_f32("output", &[1, 1, 6], row)]);
    assert_near(&found[0], [24.0, 8.0, 40.0, 24.0, 0.8], 0);
}

#[test]
fn values_that_are_not_finite_reach_the_guard() {
    let rows = vec![
        1.0,
        1.0,
        1.0,
        1.0,
        f32::NAN,
        0.9, //
        1.0,
        1.0,
        1.0,
        1.0,
        0.9,
        f32::INFINITY, //
        f32::NAN,
        1.0,
        1.0,
        1.0,
        0.9,
        0.9,
    ];
    let spec = one_output("output", &[Some(1), Some(3), Some(6)]);
    let found = decode(&contract(), &spec, 1, &[Tensor::from_f32("output", &[1, 3, 6], rows)]);
    assert_eq!(found.len(), 3);
    assert!(found[0].score.is_nan() && found[1].score.is_nan() && found[2].x1.is_nan());
}

#[test]
fn rows_are_taken_where_raw_heads_stand_beside_them() {
    let spec = outputs(vec![
        tensor("345", DataType::F32, &[Some(1), Some(3), Some(4), Some(8), Some(6)]),
        tensor("output", DataType::F32, &[Some(1), Some(2), Some(6)]),
    ]);
    let heads = Tensor::from_f32("345", &[1, 3, 4, 8, 6], vec![9.0; 576]);
    let rows = vec![20.0, 10.0, 10.0, 20.0, 0.8, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0];
    let found = decode(&contract(), &spec, 1, &[heads, Tensor::from_f32("output", &[1, 2, 6], rows)]);
    assert_eq!(found.len(), 1);
}

#[test]
fn mask_coefficients_follow_the_classes() {
    let contract = OutputContract { task: Task::Segment, ..contract() };
    let spec = outputs(vec![
        tensor("output0", DataType::F32, &[Some(1), Some(2), Some(8)]),
        tensor("output1", DataType::F32, &[Some(1), Some(2), Some(2), Some(4)]),
    ]);
    let rows = vec![0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 32.0, 16.0, 8.0, 8.0, 0.9, 0.9, 3.0, -1.0];
    let maps = vec![0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 1.0, -1.0, -1.0, 1.0, 1.0, -1.0, -1.0];
    let tensors = [Tensor::from_f32("output0", &[1, 2, 8], rows), Tensor::from_f32("output1", &[1, 2, 2, 4], maps)];
    let input = input(64, 32);
    let decoder = YoloV5::new(&contract, &input, 1, &spec).unwrap();
    let mut found = Vec::new();
    decoder.decode(&tensors, &accept_over(0.5, 1), &mut found).unwrap();
    let mut object = Object::new(0, 0, "a".into(), 0.9, BBox { x: 28.0 / 64.0, y: 12.0 / 32.0, w: 0.125, h: 0.25 });
    decoder.describe(&tensors, &found[0], &Geometry::new(&input, 64, 32, None), &mut object).unwrap();
    let mask = object.mask.unwrap();
    assert_eq!((mask.width, mask.height), (32, 32));
    assert!(mask.data.chunks(32).all(|row| row[..16].iter().all(|v| *v < 128) && row[16..].iter().all(|v| *v > 127)));
}

/// A head of a 64 × 32 input at `stride`, one class, three anchors: everything at logit -20 but one cell of anchor 1, whose
/// values are given. Anchors first; the cell is (1, 0).
fn head(stride: usize, cell: Option<[f32; 6]>) -> (usize, usize, Vec<f32>) {
    let (rows, columns) = (32 / stride, 64 / stride);
    let mut values = vec![-20.0; 3 * rows * columns * 6];
    if let Some(cell) = cell {
        let start = (rows * columns + 1) * 6;
        values[start..start + 6].copy_from_slice(&cell);
    }
    (rows, columns, values)
}

/// The same head in each order of dimensions.
fn orders((rows, columns, values): (usize, usize, Vec<f32>)) -> [(Vec<usize>, Vec<f32>); 3] {
    let at = |a: usize, y: usize, x: usize, k: usize| values[((a * rows + y) * columns + x) * 6 + k];
    let mut first = Vec::new();
    for (a, k) in (0..3).flat_map(|a| (0..6).map(move |k| (a, k))) {
        first.extend((0..rows * columns).map(|i| at(a, i / columns, i % columns, k)));
    }
    let mut last = Vec::new();
    for i in 0..rows * columns {
        last.extend((0..18).map(|n| at(n / 6, i / columns, i % columns, n % 6)));
    }
    [
        (vec![1, 3, rows, columns, 6], values.clone()),
        (vec![1, 18, rows, columns], first),
        (vec![1, rows, columns, 18], last),
    ]
}

#[test]
fn raw_heads_are_read_in_every_order_of_dimensions_and_outputs() {
    // σ(0) = 1/2: centre (2/2 - 1/2 + cell) · stride, size (2/2)² · anchor. ln 4 is σ⁻¹(0.8), ln 9 that of 0.9.
    let cell = [0.0, 0.0, 0.0, 0.0, 4f32.ln(), 9f32.ln()];
    for (stride, [w, h]) in [(8, [16.0, 30.0]), (16, [62.0, 45.0]), (32, [156.0, 198.0])] {
        let [cx, cy] = [1.5 * stride as f32, 0.5 * stride as f32];
        let expected = [cx - w / 2.0, cy - h / 2.0, cx + w / 2.0, cy + h / 2.0, 0.72];
        for layout in 0..3 {
            for turn in 0..3 {
                let mut tensors: Vec<Tensor> = [8, 16, 32]
                    .map(|s| {
                        let (shape, values) = orders(head(s, (s == stride).then_some(cell)))[layout].clone();
                        Tensor::from_f32(format!("head{s}"), &shape, values)
                    })
                    .into();
                tensors.rotate_left(turn);
                let promise =
                    |t: &Tensor| tensor(&t.name, DataType::F32, &t.shape.iter().map(|d| Some(*d)).collect::<Vec<_>>());
                let spec = outputs(tensors.iter().map(promise).collect());
                let found = decode(&contract(), &spec, 1, &tensors);
                assert_eq!(found.len(), 1, "stride {stride}, layout {layout}");
                assert_near(&found[0], expected, 0);
            }
        }
    }
}

#[test]
fn heads_may_be_activated_already_and_have_anchors_of_their_own() {
    let contract = OutputContract {
        activation: Some(Activation::None),
        yolo_anchors: Some(vec![vec![[4.0, 8.0], [10.0, 20.0], [1.0, 1.0]]]),
        ..contract()
    };
    let (rows, columns, mut values) = head(8, Some([0.25, 0.75, 1.0, 0.5, 0.9, 0.9]));
    values.iter_mut().for_each(|v| *v = v.max(0.0));
    let spec = one_output("head", &[Some(1), Some(3), None, None, Some(6)]);
    let found = decode(&contract, &spec, 1, &[Tensor::from_f32("head", &[1, 3, rows, columns, 6], values)]);
    // Centre (0.5 - 0.5 + 1) · 8, (1.5 - 0.5 + 0) · 8; size 2² · 10, 1² · 20.
    assert_near(&found[0], [-12.0, -2.0, 28.0, 18.0, 0.81], 0);
}

#[test]
fn nan_in_a_head_reaches_the_guard() {
    for k in [0, 4, 5] {
        let mut cell = [0.0, 0.0, 0.0, 0.0, 4.0, 4.0];
        cell[k] = f32::NAN;
        let tensors: Vec<Tensor> = [8, 16, 32]
            .map(|s| {
                let (rows, columns, values) = head(s, (s == 16).then_some(cell));
                Tensor::from_f32(format!("head{s}"), &[1, 3, rows, columns, 6], values)
            })
            .into();
        let free = [Some(1), Some(3), None, None, Some(6)];
        let spec = outputs(["a", "b", "c"].map(|name| tensor(name, DataType::F32, &free)).into());
        let found = decode(&contract(), &spec, 1, &tensors);
        assert_eq!(found.len(), 1, "value {k}");
        assert!(found[0].x1.is_nan() || found[0].score.is_nan());
    }
}

#[test]
fn what_does_not_fit_is_told() {
    let new = |contract: &OutputContract, classes, spec: &Spec| {
        YoloV5::new(contract, &input(64, 32), classes, spec).map(|_| ()).map_err(|e| e.to_string())
    };
    let rows = one_output("output", &[Some(1), Some(25200), Some(85)]);
    assert_eq!(new(&contract(), 80, &rows), Ok(()));
    assert_eq!(
        new(&contract(), 79, &rows).unwrap_err(),
        "output `output` [1, 25200, 85] holds 80 classes, but there are 79 labels and `output.class-offset` is 0: give \
         the file named by `labels` one line per class, or set `output.class-offset` to the number of classes before \
         the first label"
    );
    let integers = outputs(vec![tensor("output", DataType::U8, &[Some(1), Some(9), Some(6)])]);
    assert!(new(&contract(), 1, &integers).unwrap_err().contains("holds u8 values"));
    let two = outputs([40, 20].map(|n| tensor("head", DataType::F32, &[Some(1), Some(18), Some(n), Some(n)])).into());
    assert_eq!(
        new(&contract(), 1, &two).unwrap_err(),
        "`output.yolo-anchors`: the anchors of a model with 2 outputs are not known; set it from the model's code"
    );
    let anchors = |heads: usize| OutputContract { yolo_anchors: Some(vec![vec![[1.0, 1.0]; 3]; heads]), ..contract() };
    assert_eq!(new(&anchors(2), 1, &two), Ok(()));
    assert!(new(&anchors(3), 1, &two).unwrap_err().contains("anchors for 3 heads, but the model has 2 outputs"));
    assert!(new(&anchors(2), 2, &two).unwrap_err().contains("holds 1 classes, but there are 2 labels"));
    let odd = outputs([40, 20].map(|n| tensor("head", DataType::F32, &[Some(1), Some(17), Some(n), Some(n)])).into());
    assert!(
        new(&anchors(2), 1, &odd).unwrap_err().contains("expects [1, 3, rows, columns, 6], [1, 18, rows, columns]")
    );
    let segment = OutputContract { task: Task::Segment, ..anchors(2) };
    assert!(new(&segment, 1, &two).unwrap_err().contains("decoded rows"));
    let none = outputs(Vec::new());
    assert!(new(&contract(), 1, &none).unwrap_err().contains("the model's outputs are none"));
    let softmax = OutputContract { activation: Some(Activation::Softmax), ..anchors(2) };
    assert!(new(&softmax, 1, &two).unwrap_err().starts_with("`output.activation`"));
}

#[test]
fn a_run_that_breaks_the_promise_is_an_error() {
    let decoder = YoloV5::new(&contract(), &input(64, 32), 1, &one_output("output", &[None, None, None])).unwrap();
    let run = |tensors: &[Tensor]| decoder.decode(tensors, &accept_over(0.5, 1), &mut Vec::new());
    assert!(matches!(run(&[Tensor::from_f32("output", &[1, 1, 7], vec![0.0; 7])]), Err(PostError::Shape { .. })));
    assert!(matches!(run(&[Tensor::from_f32("output", &[1, 1, 6], vec![0.0; 5])]), Err(PostError::Length { .. })));
    assert!(matches!(run(&[]), Err(PostError::Missing { .. })));
    assert!(run(&[Tensor::from_f32("output", &[1, 0, 6], vec![])]).is_ok());
}
