use super::*;
use crate::bundle::contract::DecoderKind;
use crate::engine::DataType;
use crate::post::tests::{accept_over, input, one_output, outputs, tensor};

fn contract() -> OutputContract {
    OutputContract::new(DecoderKind::Nanodet)
}

/// A distribution of 8 bins that is all at `bin`.
fn at_bin(bin: usize) -> [f32; 8] {
    std::array::from_fn(|i| if i == bin { 50.0 } else { -50.0 })
}

/// Distances of 1, 2, 3 and a half, 0 strides.
fn distances() -> Vec<f32> {
    let mut half = at_bin(3);
    half[4] = 50.0;
    [at_bin(1), at_bin(2), half, at_bin(0)].concat()
}

/// Rows of two classes, all zeros but for cell `cell`, which has class 1 at .75 and [`distances`].
fn joint(cells: usize, cell: usize) -> Vec<f32> {
    let mut values = vec![0.0; cells * 34];
    values[cell * 34..][..2].copy_from_slice(&[0.25, 0.75]);
    values[cell * 34 + 2..][..32].copy_from_slice(&distances());
    values
}

fn decode(decoder: &NanoDet, tensors: &[Tensor]) -> Vec<Candidate> {
    let mut out = Vec::new();
    decoder.decode(tensors, &accept_over(0.5, 2), &mut out).unwrap();
    out
}

#[track_caller]
fn assert_is(found: &[Candidate], expected: [f32; 4], row: u32) {
    let [c] = found else { panic!("{found:?}") };
    assert!([c.x1, c.y1, c.x2, c.y2].iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-4), "{found:?}");
    assert_eq!((c.class_id, c.row), (1, row));
    assert!((c.score - 0.75).abs() < 1e-6);
}

#[test]
fn a_row_of_nanodet_plus_becomes_a_box_around_the_cells_corner() {
    // 64 x 64: 64 cells of 8, 16 of 16, 4 of 32, 1 of 64. Cell 64 + 6 is (2, 1) at stride 16: centre (32, 16).
    let spec = one_output("output", &[Some(1), Some(85), Some(34)]);
    let decoder = NanoDet::new(&contract(), &input(64, 64), 2, &spec).unwrap();
    let expected = [16.0, 0.0, 64.0, 16.0]; // right: 32 + 3.5 * 16 is cut at the edge; top: 16 - 32 too
    assert_is(&decode(&decoder, &[Tensor::from_f32("output", &[1, 85, 34], joint(85, 70))]), expected, 70);
    assert_is(&decode(&decoder, &[Tensor::from_f32("output", &[85, 34], joint(85, 70))]), expected, 70);
}

#[test]
fn three_levels_in_one_output_have_their_centres_in_the_middle() {
    let spec = one_output("output", &[None, None, Some(34)]);
    let decoder = NanoDet::new(&contract(), &input(64, 64), 2, &spec).unwrap();
    // Cell 19 is (3, 2) at stride 8: centre (28, 20).
    let found = decode(&decoder, &[Tensor::from_f32("output", &[1, 84, 34], joint(84, 19))]);
    assert_is(&found, [20.0, 4.0, 56.0, 20.0], 19);
    let wrong = Tensor::from_f32("output", &[1, 83, 34], vec![0.0; 83 * 34]);
    assert!(matches!(decoder.decode(&[wrong], &accept_over(0.5, 2), &mut Vec::new()), Err(PostError::Shape { .. })));
}

/// Outputs of each stride for a 64 x 32 input: the distances first, as named.
fn by_stride(names: [&str; 2]) -> Spec {
    let strides = [(8, 32), (16, 8), (32, 2)];
    let list = |name: &str, columns| {
        strides.map(|(s, n)| tensor(&format!("{name}_{s}"), DataType::F32, &[Some(1), Some(n), Some(columns)]))
    };
    outputs([list(names[0], 32), list(names[1], 2)].concat())
}

fn by_stride_tensors() -> Vec<Tensor> {
    let mut tensors: Vec<Tensor> = by_stride(["dis", "cls"])
        .outputs
        .iter()
        .map(|t| Tensor::zeros(t.name.clone(), DataType::F32, &t.shape.iter().flatten().copied().collect::<Vec<_>>()))
        .collect();
    // Cell 5 is (1, 1) at stride 16: centre (24, 24).
    let row = joint(1, 0);
    let crate::engine::TensorData::F32(d) = &mut tensors[1].data else { panic!() };
    d[5 * 32..][..32].copy_from_slice(&row[2..]);
    let crate::engine::TensorData::F32(s) = &mut tensors[4].data else { panic!() };
    s[10..12].copy_from_slice(&row[..2]);
    tensors
}

#[test]
fn outputs_of_each_stride_are_found_by_their_shapes() {
    let expected = [8.0, 0.0, 64.0, 24.0];
    for names in [["dis_pred_stride", "cls_pred_stride"], ["a", "b"]] {
        let decoder = NanoDet::new(&contract(), &input(64, 32), 2, &by_stride(names)).unwrap();
        assert_is(&decode(&decoder, &by_stride_tensors()), expected, 37);
    }
}

#[test]
fn planes_of_a_raw_yolov8_head_are_read() {
    // 16 bins, a 16 x 16 input: 2 x 2 cells of 8, 1 of 16; the sums of scores are passed over.
    let map = |c, n| tensor("t", DataType::F32, &[Some(1), Some(c), Some(n), Some(n)]);
    let spec = outputs(vec![map(64, 2), map(2, 2), map(1, 2), map(64, 1), map(2, 1), map(1, 1)]);
    let sigmoid = OutputContract { activation: Some(Activation::Sigmoid), ..contract() };
    let decoder = NanoDet::new(&sigmoid, &input(16, 16), 2, &spec).unwrap();
    let mut tensors: Vec<Tensor> = [(64, 2), (2, 2), (1, 2), (64, 1), (2, 1), (1, 1)]
        .map(|(c, n)| Tensor::from_f32("t", &[1, c, n, n], vec![-5.0; c * n * n]))
        .into();
    let crate::engine::TensorData::F32(d) = &mut tensors[0].data else { panic!() };
    for (side, bin) in [1, 2, 15, 0].into_iter().enumerate() {
        d[(side * 16 + bin) * 4 + 3] = 90.0;
    }
    let crate::engine::TensorData::F32(s) = &mut tensors[1].data else { panic!() };
    s[4 + 3] = 3f32.ln();
    // Cell (1, 1): centre (12, 12); nothing is cut.
    assert_is(&decode(&decoder, &tensors), [4.0, -4.0, 132.0, 12.0], 3);
}

#[test]
fn a_value_that_is_not_finite_reaches_the_guard() {
    let spec = one_output("output", &[Some(1), Some(85), Some(34)]);
    let decoder = NanoDet::new(&contract(), &input(64, 64), 2, &spec).unwrap();
    let mut values = joint(85, 70);
    values[0] = f32::NAN;
    values[70 * 34 + 5] = f32::INFINITY;
    let found = decode(&decoder, &[Tensor::from_f32("output", &[1, 85, 34], values)]);
    assert_eq!(found.len(), 2);
    assert!(found[0].score.is_nan() && found[1].x1.is_nan());
}

#[test]
fn what_does_not_fit_is_told() {
    let new = |spec: &Spec, classes| NanoDet::new(&contract(), &input(64, 64), classes, spec).err().unwrap();
    let error = new(&one_output("output", &[Some(1), Some(85), Some(112)]), 79);
    assert!(matches!(error, PostError::Classes { classes: 80, labels: 79, .. }), "{error}");
    let error = NanoDet::new(&contract(), &input(64, 32), 3, &by_stride(["dis", "cls"])).err().unwrap();
    assert!(matches!(error, PostError::Classes { classes: 2, labels: 3, .. }), "{error}");
    assert_eq!(
        new(&one_output("output", &[Some(1), Some(84 * 4), Some(34)]), 2).to_string(),
        "output `output` has the shape [1, 336, 34]; decoder nanodet expects [1, 84, 34] or [1, 85, 34] (the cells of a \
         64x64 input at strides 8, 16, 32 or 8, 16, 32, 64; 1 column for each class and 4 times 8 for the distances), \
         or outputs for each stride. Set `input.size` to the size that the model was exported for, or \
         `output.decoder` to its family"
    );
    assert!(matches!(new(&outputs(Vec::new()), 2), PostError::Missing { .. }));
    let mut integer = one_output("output", &[Some(1), Some(85), Some(34)]);
    integer.outputs[0].dtype = DataType::I8;
    assert!(matches!(new(&integer, 2), PostError::DataType { .. }));
    let softmax = OutputContract { activation: Some(Activation::Softmax), ..contract() };
    let spec = one_output("output", &[Some(1), Some(85), Some(34)]);
    assert!(matches!(NanoDet::new(&softmax, &input(64, 64), 2, &spec), Err(PostError::Contract { .. })));
}
