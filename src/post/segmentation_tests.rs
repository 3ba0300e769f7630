use super::*;
use crate::bundle::contract::{Align, DecoderKind, Resize};
use crate::engine::TensorData;
use crate::post::tests::{accept_over, input, labels, one_output, outputs, tensor};
use crate::result::{BBox, Mask};

fn contract() -> OutputContract {
    OutputContract::new(DecoderKind::Segmentation)
}

fn probabilities() -> OutputContract {
    OutputContract { activation: Some(Activation::None), ..contract() }
}

/// Rows of a map of class ids as text.
fn ids(rows: &[&str]) -> Vec<f32> {
    rows.iter().flat_map(|row| row.bytes()).map(|b| f32::from(b - b'0')).collect()
}

const MAP: [&str; 3] = ["00110", "00112", "00000"];

/// Scores that say what [`MAP`] says, `high` for the class of the pixel and `low` for others, planes of 3 classes.
fn scores(low: f32, high: f32) -> Vec<f32> {
    (0..3).flat_map(|c| ids(&MAP).into_iter().map(move |id| if id == c as f32 { high } else { low })).collect()
}

/// Planes → classes last.
fn last(planes: &[f32]) -> Vec<f32> {
    let pixels = planes.len() / 3;
    (0..planes.len()).map(|i| planes[(i % 3) * pixels + i / 3]).collect()
}

type Found = (u32, f32, [f32; 4]);

fn found(out: &[Candidate]) -> Vec<Found> {
    let rounded = |v: f32| (v * 1000.0).round() / 1000.0;
    out.iter().map(|c| (c.class_id, rounded(c.score), [c.x1, c.y1, c.x2, c.y2])).collect()
}

fn run(output: &OutputContract, names: &Labels, spec: &Spec, tensor: Tensor) -> Vec<Found> {
    let decoder = Segmentation::new(output, &input(50, 30), names, spec).unwrap();
    let mut out = Vec::new();
    decoder.decode(&[tensor], &accept_over(0.4, names.len()), &mut out).unwrap();
    found(&out)
}

const BOXES: [[f32; 4]; 3] = [[0.0, 0.0, 50.0, 30.0], [20.0, 0.0, 40.0, 20.0], [40.0, 10.0, 50.0, 20.0]];

#[test]
fn scores_in_either_order_say_the_same() {
    let planes = scores(0.1, 0.8);
    let expected = [(0, 0.8, BOXES[0]), (1, 0.8, BOXES[1]), (2, 0.8, BOXES[2])];
    let spec = one_output("out", &[Some(1), Some(3), None, None]);
    for shape in [&[1, 3, 3, 5][..], &[3, 3, 5]] {
        let tensor = Tensor::from_f32("out", shape, planes.clone());
        assert_eq!(run(&probabilities(), &labels(3), &spec, tensor), expected);
    }
    let spec = one_output("out", &[None, Some(3), Some(5), Some(3)]);
    for shape in [&[1, 3, 5, 3][..], &[3, 5, 3]] {
        let tensor = Tensor::from_f32("out", shape, last(&planes));
        // 3 rows and 3 classes: the input's order tells.
        let input = InputContract { layout: Layout::Nhwc, ..input(50, 30) };
        let decoder = Segmentation::new(&probabilities(), &input, &labels(3), &spec).unwrap();
        let mut out = Vec::new();
        decoder.decode(&[tensor], &accept_over(0.4, 3), &mut out).unwrap();
        assert_eq!(found(&out), expected);
    }
}

#[test]
fn raw_scores_take_the_softmax() {
    // Weights 8, 1, 1.
    let planes = scores(0.0, 8f32.ln());
    let spec = one_output("out", &[Some(1), Some(3), Some(3), Some(5)]);
    let seen = run(&contract(), &labels(3), &spec, Tensor::from_f32("out", &[1, 3, 3, 5], planes.clone()));
    assert_eq!(seen, [(0, 0.8, BOXES[0]), (1, 0.8, BOXES[1]), (2, 0.8, BOXES[2])]);
    let offset = OutputContract { class_offset: 1, ..contract() };
    let seen = run(&offset, &labels(2), &spec, Tensor::from_f32("out", &[1, 3, 3, 5], planes));
    assert_eq!(seen, [(0, 0.8, BOXES[1]), (1, 0.8, BOXES[2])]);
}

#[test]
fn class_ids_of_any_type_are_read_and_the_background_left_out() {
    let names: Labels = ["Background", "a", "b"].map(Into::into).into();
    let values = ids(&MAP);
    let expected = [(1, 1.0, BOXES[1]), (2, 1.0, BOXES[2])];
    for (dtype, shape) in [
        (DataType::I64, &[1, 3, 5][..]),
        (DataType::I32, &[1, 1, 3, 5]),
        (DataType::U8, &[1, 3, 5, 1]),
        (DataType::I64, &[3, 5]),
        (DataType::F32, &[1, 3, 5]),
    ] {
        let promise: Vec<_> = shape.iter().map(|d| Some(*d)).collect();
        let spec = outputs(vec![tensor("out", dtype, &promise)]);
        // As the post-processor hands it on.
        assert_eq!(run(&contract(), &names, &spec, Tensor::from_f32("out", shape, values.clone())), expected);
    }
    let spec = outputs(vec![tensor("out", DataType::U8, &[None, None, None])]);
    let strange = Tensor::from_f32("out", &[1, 1, 5], vec![255.0, 3.0, f32::NAN, 1.5, 2.0]);
    assert_eq!(run(&contract(), &names, &spec, strange), [(2, 1.0, [40.0, 0.0, 50.0, 30.0])]);
}

#[test]
fn one_channel_is_cut_at_a_half() {
    let one = |output: &OutputContract| {
        let spec = one_output("out", &[Some(1), Some(1), Some(2), Some(2)]);
        let tensor = Tensor::from_f32("out", &[1, 1, 2, 2], vec![0.75, 0.25, 3f32.ln(), -1.0]);
        run(output, &labels(1), &spec, tensor)
    };
    assert_eq!(one(&probabilities())[0].2, [0.0, 0.0, 25.0, 30.0]);
    let sigmoid = OutputContract { activation: Some(Activation::Sigmoid), ..contract() };
    assert_eq!(one(&sigmoid)[0].2, [0.0, 0.0, 50.0, 30.0]);
    let spec = one_output("out", &[Some(1), Some(1), Some(2), Some(2)]);
    let text = Segmentation::new(&contract(), &input(50, 30), &labels(1), &spec).err().unwrap().to_string();
    assert!(text.starts_with("`output.activation`: one channel may hold probabilities or raw scores"), "{text}");
}

#[test]
fn specks_are_left_out() {
    let mut values = vec![0.0; 100 * 100];
    values[..4].fill(1.0);
    values[200..205].fill(2.0);
    let spec = outputs(vec![tensor("out", DataType::I64, &[Some(1), Some(100), Some(100)])]);
    let seen = run(&contract(), &labels(3), &spec, Tensor::from_f32("out", &[1, 100, 100], values));
    assert_eq!(seen.iter().map(|f| f.0).collect::<Vec<_>>(), [0, 2]);
}

/// What the whole post-processor would make of the second class.
fn described(decoder: &Segmentation, tensors: &[Tensor], geometry: &Geometry, row: usize) -> (BBox, Mask) {
    let mut out = Vec::new();
    decoder.decode_part(tensors, &accept_over(0.4, 3), geometry, &mut out).unwrap();
    let candidate = out.iter().find(|c| c.row == row as u32).unwrap();
    let bbox = geometry.to_frame(candidate.bbox()).clipped();
    let mut object = Object::new(0, 1, "a".into(), 0.5, bbox);
    decoder.describe(tensors, candidate, geometry, &mut object).unwrap();
    (object.bbox, Mask::clone(&object.mask.unwrap()))
}

#[test]
fn a_mask_covers_its_pixels_and_the_padding_does_not_count() {
    // A 100 x 50 picture lies in rows 1 and 2 of a 4 x 4 map; class 1 is on three pixels in it, and above it.
    let input = InputContract { resize: Resize::Letterbox, align: Align::Center, ..input(100, 100) };
    let spec = outputs(vec![tensor("out", DataType::I64, &[Some(1), Some(4), Some(4)])]);
    let decoder = Segmentation::new(&contract(), &input, &labels(3), &spec).unwrap();
    let values = ids(&["1111", "0110", "0010", "2222"]);
    let tensors = [Tensor::from_f32("out", &[1, 4, 4], values)];
    let geometry = Geometry::new(&input, 100, 50, None);
    let (bbox, mask) = described(&decoder, &tensors, &geometry, 1);
    assert_eq!(bbox, BBox { x: 0.25, y: 0.0, w: 0.5, h: 1.0 });
    assert_eq!(mask, Mask { width: 2, height: 2, data: vec![255, 255, 0, 255] });
    let mut out = Vec::new();
    decoder.decode_part(&tensors, &accept_over(0.4, 3), &geometry, &mut out).unwrap();
    assert_eq!(out.iter().map(|c| c.class_id).collect::<Vec<_>>(), [0, 1], "class 2 is in the padding only");
}

#[test]
fn a_mask_turns_with_the_picture() {
    use crate::frame::{Orientation, View};
    let input = InputContract { resize: Resize::Stretch, ..input(30, 20) };
    let spec = outputs(vec![tensor("out", DataType::I64, &[Some(1), Some(2), Some(3)])]);
    let decoder = Segmentation::new(&contract(), &input, &labels(3), &spec).unwrap();
    let tensors = [Tensor::from_f32("out", &[1, 2, 3], ids(&["110", "100"]))];
    // Stored 20 x 30, shown turned by 90 degrees clockwise: what is left in the upright picture is below in the stored one.
    let view = View { orientation: Orientation::CLOCKWISE, ..View::default() };
    let geometry = Geometry::of_view(&input, (20, 30), &view, None);
    let (bbox, mask) = described(&decoder, &tensors, &geometry, 1);
    let near = |a: f32, b: f32| (a - b).abs() < 1e-6;
    assert!(near(bbox.x, 0.0) && near(bbox.w, 1.0) && near(bbox.y, 1.0 / 3.0) && near(bbox.h, 2.0 / 3.0), "{bbox:?}");
    assert_eq!(mask, Mask { width: 2, height: 2, data: vec![255, 0, 255, 255] });
}

#[test]
fn the_half_of_a_graded_mask_lies_where_the_scores_are_equal() {
    // Leads of 4, -3 and 0; then the same a hundredth as large; then one of 30, which is cut at 8.
    let planes = [4.0, 0.0, 1.0, 0.0, 3.0, 1.0, -9.0, -9.0, -9.0];
    let input = InputContract { resize: Resize::Stretch, ..input(3, 1) };
    let spec = one_output("out", &[Some(1), Some(3), Some(1), Some(3)]);
    let decoder = Segmentation::new(&contract(), &input, &labels(3), &spec).unwrap();
    let tensors = |planes: [f32; 9]| [Tensor::from_f32("out", &[1, 3, 1, 3], planes.into())];
    let mask = |planes| {
        let mut object = Object::new(0, 0, "c0".into(), 0.5, BBox { x: 0.0, y: 0.0, w: 1.0, h: 1.0 });
        let geometry = Geometry::new(&input, 300, 100, None);
        decoder
            .describe(&tensors(planes), &Candidate { x2: 3.0, y2: 1.0, ..Candidate::default() }, &geometry, &mut object)
            .unwrap();
        object.mask.unwrap().data.clone()
    };
    assert_eq!(mask(planes), [255, 32, 128]);
    assert_eq!(mask(planes.map(|v| v / 100.0)), [255, 32, 128]);
    assert_eq!(mask([30.0, 0.0, 1.0, 0.0, 4.0, 1.0, -9.0, -9.0, -9.0]), [255, 64, 128]);
    let tensors = tensors(planes);
    let mut out = Vec::new();
    decoder.decode(&tensors, &accept_over(0.0, 3), &mut out).unwrap();
    assert_eq!(out.len(), 2, "equal scores are the first class's");
}

#[test]
fn on_a_coarse_map_box_and_mask_follow_the_edge_between_cells() {
    // Class 0 leads by 4 and then is behind by 1: its edge is at four fifths of the way, 13 of 20 pixels.
    let input = InputContract { resize: Resize::Stretch, ..input(20, 10) };
    let spec = one_output("out", &[Some(1), Some(2), Some(1), Some(2)]);
    let decoder = Segmentation::new(&contract(), &input, &labels(2), &spec).unwrap();
    let tensors = [Tensor::from_f32("out", &[1, 2, 1, 2], vec![4.0, 0.0, 0.0, 1.0])];
    let geometry = Geometry::new(&input, 20, 10, None);
    // Steps of half a cell: leads of 4, 2.75 and 0.25 for the one, 1 for the other.
    let (bbox, mask) = described(&decoder, &tensors, &geometry, 0);
    assert_eq!((bbox.x, bbox.w, mask.width, mask.height), (0.0, 0.75, 3, 2));
    assert_eq!(mask.data, [255, 215, 135, 255, 215, 135]);
    let (bbox, mask) = described(&decoder, &tensors, &geometry, 1);
    assert_eq!((bbox.x, bbox.w, mask.width, mask.height), (0.75, 0.25, 1, 2));
    assert_eq!(mask.data, [174, 174]);
}

#[test]
fn between_three_classes_the_interpolated_scores_tell() {
    // Above, two other classes lead by 3.5; between them, where neither is strong, class 2 reaches further up.
    let planes = [9.0, 0.0, 0.0, 0.0, 0.0, 9.0, 0.0, 0.0, 5.5, 5.5, 5.5, 5.5];
    let input = InputContract { resize: Resize::Stretch, ..input(20, 20) };
    let spec = one_output("out", &[Some(1), Some(3), Some(2), Some(2)]);
    let decoder = Segmentation::new(&contract(), &input, &labels(3), &spec).unwrap();
    let tensors = [Tensor::from_f32("out", &[1, 3, 2, 2], planes.into())];
    let (bbox, mask) = described(&decoder, &tensors, &Geometry::new(&input, 20, 20, None), 2);
    assert_eq!((bbox.x, bbox.y, bbox.w, bbox.h), (0.0, 0.25, 1.0, 0.75));
    assert_eq!((mask.width, mask.height), (4, 3));
    let inside: Vec<bool> = mask.data.iter().map(|v| *v >= 128).collect();
    // A quarter of the way down 9 is 6.75 over the cells' middles and 5.06 a quarter further in.
    assert_eq!(inside[..4], [false, true, true, false]);
    assert!(inside[4..].iter().all(|v| *v));
}

#[test]
fn a_value_that_is_not_finite_reaches_the_guard() {
    let mut planes = scores(0.0, 2.0);
    planes[3] = f32::NAN;
    let spec = one_output("out", &[Some(1), Some(3), Some(3), Some(5)]);
    let decoder = Segmentation::new(&contract(), &input(50, 30), &labels(3), &spec).unwrap();
    for values in [planes.clone(), {
        planes[3] = f32::INFINITY;
        planes
    }] {
        let mut out = Vec::new();
        decoder.decode(&[Tensor::from_f32("out", &[1, 3, 3, 5], values)], &accept_over(0.4, 3), &mut out).unwrap();
        assert!(out.iter().any(|c| c.score.is_nan()), "{out:?}");
    }
}

#[test]
fn a_map_wider_than_a_block_is_judged_to_its_end() {
    let width = BLOCK * 2 + 7;
    let mut values = vec![0.0; width * 3 * 2];
    let second = width * 3;
    values[second + width..second + 2 * width].fill(5.0);
    let spec = one_output("out", &[Some(1), Some(2), None, None]);
    let decoder = Segmentation::new(&contract(), &input(64, 30), &labels(2), &spec).unwrap();
    let mut out = Vec::new();
    decoder.decode(&[Tensor::from_f32("out", &[1, 2, 3, width], values)], &accept_over(0.4, 2), &mut out).unwrap();
    assert_eq!(
        out.iter().map(|c| (c.class_id, c.x1, c.y1, c.x2, c.y2)).collect::<Vec<_>>(),
        [(0, 0.0, 0.0, 64.0, 30.0), (1, 0.0, 10.0, 64.0, 20.0)]
    );
}

#[test]
fn what_does_not_fit_is_told() {
    let new =
        |spec: &Spec, classes| Segmentation::new(&contract(), &input(64, 64), &labels(classes), spec).err().unwrap();
    let error = new(&one_output("out", &[Some(1), Some(21), Some(64), Some(64)]), 20);
    assert!(matches!(error, PostError::Classes { classes: 21, labels: 20, .. }), "{error}");
    assert!(matches!(new(&outputs(Vec::new()), 2), PostError::Missing { .. }));
    assert!(matches!(new(&one_output("out", &[Some(7)]), 2), PostError::Shape { .. }));
    let scores = outputs(vec![tensor("out", DataType::I8, &[Some(1), Some(3), Some(8), Some(8)])]);
    assert!(matches!(new(&scores, 3), PostError::DataType { .. }));
    assert!(matches!(new(&scores, MAX_CLASSES + 1), PostError::Contract { key: "decoder", .. }));
    let spec = one_output("out", &[Some(1), Some(3), None, None]);
    let decoder = Segmentation::new(&contract(), &input(64, 64), &labels(3), &spec).unwrap();
    let wrong = Tensor::from_f32("out", &[1, 4, 3, 5], vec![0.0; 60]);
    assert!(matches!(decoder.decode(&[wrong], &accept_over(0.4, 3), &mut Vec::new()), Err(PostError::Shape { .. })));
    let short = Tensor { name: "out".into(), shape: vec![1, 3, 3, 5], data: TensorData::F32(vec![0.0; 44].into()) };
    assert!(matches!(decoder.decode(&[short], &accept_over(0.4, 3), &mut Vec::new()), Err(PostError::Length { .. })));
}
