//! Hand-made rows of each exporter.

use super::*;
use crate::bundle::contract::DecoderKind;
use crate::engine::DataType;
use crate::post::tests::{accept_over, input, one_output, outputs, tensor};
use crate::result::BBox;

fn contract(task: Task) -> OutputContract {
    OutputContract { task, ..OutputContract::new(DecoderKind::Detections) }
}

fn columns(columns: &[Column]) -> OutputContract {
    OutputContract { columns: Some(columns.to_vec()), ..contract(Task::Detect) }
}

/// What rows of a 200 × 100 input with three classes come to: corners, score, class, row.
fn rows(contract: &OutputContract, shape: &[usize], values: &[f32]) -> Vec<([f32; 4], f32, u32, u32)> {
    let promised: Vec<Option<usize>> = shape.iter().map(|d| Some(*d)).collect();
    let decoder = Detections::new(contract, &input(200, 100), 3, &one_output("output0", &promised)).unwrap();
    assert_eq!(decoder.nms(), Nms::None);
    let mut out = Vec::new();
    let tensor = Tensor::from_f32("output0", shape, values.to_vec());
    decoder.decode(&[tensor], &accept_over(0.0, 3), &mut out).unwrap();
    out.iter().map(|c| ([c.x1, c.y1, c.x2, c.y2], c.score, c.class_id, c.row)).collect()
}

#[test]
fn six_columns_are_corners_score_and_class_and_rows_of_score_0_are_padding() {
    let values = [10.0, 20.0, 40.0, 80.0, 0.9, 2.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 2.0, 3.0, 4.0, 0.25, 1.0];
    let expected = [([10.0, 20.0, 40.0, 80.0], 0.9, 2, 0), ([1.0, 2.0, 3.0, 4.0], 0.25, 1, 2)];
    for shape in [&[1, 3, 6][..], &[3, 6], &[1, 1, 3, 6]] {
        assert_eq!(rows(&contract(Task::Detect), shape, &values), expected);
    }
    let offset = OutputContract { class_offset: 1, ..contract(Task::Detect) };
    assert_eq!(rows(&offset, &[1, 3, 6], &values)[0].2, 1);
}

#[test]
fn rows_that_still_overlap_are_reduced_where_the_contract_says_so() {
    let kind = |contract: &OutputContract, width| {
        let spec = one_output("output", &[Some(1), None, Some(width)]);
        Detections::new(contract, &input(200, 100), 3, &spec).unwrap().nms()
    };
    assert_eq!(kind(&contract(Task::Detect), 6), Nms::None);
    assert_eq!(kind(&OutputContract { nms: true, ..contract(Task::Detect) }, 6), Nms::Upright);
    assert_eq!(kind(&OutputContract { nms: true, ..contract(Task::Obb) }, 7), Nms::Turned);
}

#[test]
fn seven_columns_begin_with_the_picture() {
    // YOLOv7: picture, corners in pixels, class, score.
    let values = [0.0, 10.0, 20.0, 40.0, 80.0, 2.0, 0.9, -1.0, 10.0, 20.0, 40.0, 80.0, 2.0, 0.9];
    let expected = [([10.0, 20.0, 40.0, 80.0], 0.9, 2, 0)];
    assert_eq!(rows(&contract(Task::Detect), &[2, 7], &values), expected);
    // DetectionOutput: picture, class, score, corners in 0..1.
    let values = [0.0, 2.0, 0.9, 0.05, 0.2, 0.2, 0.8, -1.0, 2.0, 0.9, 0.05, 0.2, 0.2, 0.8];
    assert_eq!(rows(&contract(Task::Detect), &[1, 1, 2, 7], &values), expected);
}

#[test]
fn super_gradients_flat_rows_are_told_by_their_name() {
    let read = |task, width, values: Vec<f32>| {
        let spec = one_output("graph2_flat_predictions", &[None, Some(width)]);
        let decoder = Detections::new(&contract(task), &input(200, 100), 3, &spec).unwrap();
        let tensors = [Tensor::from_f32("graph2_flat_predictions", &[1, width], values)];
        let mut out = Vec::new();
        decoder.decode(&tensors, &accept_over(0.5, 3), &mut out).unwrap();
        let mut object = Object::new(0, 0, "a".into(), 0.9, BBox::default());
        decoder.describe(&tensors, &out[0], &Geometry::new(&input(200, 100), 200, 100, None), &mut object).unwrap();
        (out[0], object.keypoints.len())
    };
    let corners = Candidate { x1: 10.0, y1: 20.0, x2: 40.0, y2: 80.0, score: 0.9, ..Candidate::default() };
    let values = vec![0.0, 10.0, 20.0, 40.0, 80.0, 0.9, 2.0];
    assert_eq!(read(Task::Detect, 7, values), (Candidate { class_id: 2, ..corners }, 0));
    let values = vec![0.0, 10.0, 20.0, 40.0, 80.0, 0.9, 1.0, 2.0, 0.5, 3.0, 4.0, 0.5];
    assert_eq!(read(Task::Pose, 12, values), (corners, 2));
}

#[test]
fn the_contract_names_columns_form_and_unit() {
    let paddle = columns(&[Class, Score, X1, Y1, X2, Y2]);
    assert_eq!(rows(&paddle, &[1, 6], &[2.0, 0.9, 10.0, 20.0, 40.0, 80.0]), [([10.0, 20.0, 40.0, 80.0], 0.9, 2, 0)]);
    let mut centre = contract(Task::Detect);
    (centre.box_format, centre.box_unit) = (Some(BoxFormat::Cxcywh), Some(BoxUnit::Normalized));
    assert_eq!(rows(&centre, &[1, 6], &[0.5, 0.5, 0.25, 0.5, 0.9, 0.0]), [([75.0, 25.0, 125.0, 75.0], 0.9, 0, 0)]);
    // Without a class there is one.
    let one = columns(&[X1, Y1, X2, Y2, Score]);
    assert_eq!(rows(&one, &[1, 5], &[1.0, 2.0, 3.0, 4.0, 0.5]), [([1.0, 2.0, 3.0, 4.0], 0.5, 0, 0)]);
}

#[test]
fn no_rows_at_all_are_an_answer_and_bad_numbers_reach_the_guard() {
    assert!(rows(&contract(Task::Detect), &[0, 7], &[]).is_empty());
    let found = rows(
        &contract(Task::Detect),
        &[2, 6],
        &[
            f32::NAN,
            0.0,
            1.0,
            1.0,
            0.5,
            0.0, //
            0.0,
            0.0,
            1.0,
            1.0,
            f32::NAN,
            900.0,
        ],
    );
    assert_eq!(found.len(), 2);
    assert!(found[0].0[0].is_nan() && found[1].1.is_nan());
    // No class that a label could have: the guard drops it.
    assert_eq!(rows(&contract(Task::Detect), &[1, 6], &[0.0, 0.0, 1.0, 1.0, 0.5, -1.0])[0].2, u32::MAX);
}

#[test]
fn turned_boxes_are_centre_size_score_class_and_turn() {
    let spec = one_output("output0", &[Some(1), Some(300), Some(7)]);
    let decoder = Detections::new(&contract(Task::Obb), &input(200, 100), 3, &spec).unwrap();
    assert!(decoder.turned() && decoder.nms() == Nms::None);
    let tensor = Tensor::from_f32("output0", &[1, 1, 7], vec![50.0, 40.0, 20.0, 10.0, 0.9, 1.0, 0.5]);
    let mut out = Vec::new();
    decoder.decode(&[tensor], &accept_over(0.5, 3), &mut out).unwrap();
    let expected = Candidate { x1: 40.0, y1: 35.0, x2: 60.0, y2: 45.0, ..out[0] };
    assert_eq!(out, [Candidate { score: 0.9, class_id: 1, angle: 0.5, row: 0, ..expected }]);
}

/// What `describe` adds to the second of two rows of `width` columns, whose values from the seventh on count from 0.
fn described(contract: &OutputContract, spec: &Spec, width: usize, more: Option<Tensor>) -> Object {
    let input = input(100, 100);
    let decoder = Detections::new(contract, &input, 1, spec).unwrap();
    let mut values = vec![0.0; width];
    values.extend([40.0, 40.0, 60.0, 60.0, 0.9, 0.0]);
    values.extend((0..width - 6).map(|i| i as f32));
    let mut tensors = vec![Tensor::from_f32("output0", &[1, 2, width], values)];
    tensors.extend(more);
    let mut found = Vec::new();
    decoder.decode(&tensors, &accept_over(0.5, 1), &mut found).unwrap();
    let mut object = Object::new(0, 0, "a".into(), 0.9, BBox { x: 0.4, y: 0.4, w: 0.2, h: 0.2 });
    decoder.describe(&tensors, &found[0], &Geometry::new(&input, 100, 100, None), &mut object).unwrap();
    object
}

#[test]
fn keypoints_and_mask_coefficients_follow_the_columns() {
    let points = |contract: &OutputContract, width| -> Vec<[f32; 3]> {
        let spec = one_output("output0", &[Some(1), Some(300), Some(width)]);
        described(contract, &spec, width, None).keypoints.iter().map(|k| [k.x, k.y, k.confidence]).collect()
    };
    assert_eq!(points(&contract(Task::Pose), 12), [[0.0, 0.01, 2.0], [0.03, 0.04, 5.0]]);
    let pairs = OutputContract { keypoint_shape: Some([2, 2]), ..contract(Task::Pose) };
    assert_eq!(points(&pairs, 10), [[0.0, 0.01, 1.0], [0.02, 0.03, 1.0]]);

    let spec = outputs(vec![
        tensor("output0", DataType::F32, &[Some(1), Some(300), Some(8)]),
        tensor("output1", DataType::F32, &[Some(1), Some(2), Some(4), Some(4)]),
    ]);
    // Coefficients 0 and 1: the second prototype.
    let values = [[0.0; 16], std::array::from_fn(|i| if i % 4 < 2 { 1.0 } else { -1.0 })].concat();
    let maps = Tensor::from_f32("output1", &[1, 2, 4, 4], values);
    let mask = described(&contract(Task::Segment), &spec, 8, Some(maps)).mask.unwrap();
    assert!(mask.data.chunks(80).all(|row| row[..40].iter().all(|v| *v > 127) && row[40..].iter().all(|v| *v < 128)));
}

#[test]
fn what_does_not_fit_is_told() {
    let new = |contract: &OutputContract, spec: &Spec| {
        Detections::new(contract, &input(64, 64), 1, spec).map(|_| ()).map_err(|e| e.to_string())
    };
    let of = |width| one_output("output0", &[Some(1), Some(300), width]);
    assert_eq!(new(&contract(Task::Detect), &of(None)), Ok(()));
    assert_eq!(
        new(&contract(Task::Detect), &of(Some(9))).unwrap_err(),
        "output `output0` has the shape [1, 300, 9]; decoder detections expects [1, rows, 6]. Set `output.columns` to \
         what the columns hold, `task` to what the model answers, or `output.decoder` to its family"
    );
    assert_eq!(
        new(&columns(&[X1, Y1, X2, Class, Score]), &of(None)).unwrap_err(),
        "`output.columns`: it has no `y2`; x1, y1, x2, y2 and score are needed"
    );
    for width in [None, Some(6), Some(8)] {
        let text = new(&contract(Task::Pose), &of(width)).unwrap_err();
        assert!(text.starts_with("`output.keypoint-shape`: the number of keypoints cannot be told"), "{text}");
    }
    assert!(new(&contract(Task::Segment), &of(Some(38))).unwrap_err().contains("needs prototypes"));
    let integers = outputs(vec![tensor("output0", DataType::I32, &[Some(1), Some(9), Some(6)])]);
    assert!(new(&contract(Task::Detect), &integers).unwrap_err().contains("holds i32 values"));
    let picture = one_output("output0", &[Some(1), Some(3), Some(8), Some(8)]);
    assert!(new(&contract(Task::Detect), &picture).unwrap_err().contains("an output with a row for each detection"));
}
