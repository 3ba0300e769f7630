//! Hand-made tensors of each exporter.

use super::*;
use crate::bundle::contract::DecoderKind;
use crate::post::Candidate;
use crate::post::tests::{accept_over, input, outputs, tensor};

const ROWS: [Option<usize>; 2] = [Some(1), Some(3)];

fn spec(names: [&str; 4]) -> Spec {
    outputs(vec![
        tensor(names[3], DataType::F32, &[Some(1)]),
        tensor(names[2], DataType::F32, &ROWS),
        tensor(names[1], DataType::F32, &ROWS),
        tensor(names[0], DataType::F32, &[Some(1), Some(3), Some(4)]),
    ])
}

fn contract(class_offset: u32) -> OutputContract {
    OutputContract { class_offset, ..OutputContract::new(DecoderKind::SsdPostprocessed) }
}

fn run(offset: u32, count: f32) -> Vec<Candidate> {
    let decoder = SsdPostprocessed::new(&contract(offset), &input(200, 100), &spec(TENSORFLOW[0].names)).unwrap();
    let boxes = vec![0.1, 0.2, 0.5, 0.4, 0.0, 0.0, 1.0, 1.0, 0.25, 0.5, 0.75, 1.0];
    let tensors = [
        Tensor::from_f32("num_detections", &[1], vec![count]),
        Tensor::from_f32("detection_scores", &[1, 3], vec![0.9, 0.3, 0.8]),
        Tensor::from_f32("detection_classes", &[1, 3], vec![1.0, 1.0, 2.0]),
        Tensor::from_f32("detection_boxes", &[1, 3, 4], boxes),
    ];
    let mut out = Vec::new();
    decoder.decode(&tensors, &accept_over(0.5, 3), &mut out).unwrap();
    out
}

#[test]
fn rows_over_the_threshold_become_boxes() {
    assert_eq!(
        run(0, 3.0),
        [
            Candidate { x1: 40.0, y1: 10.0, x2: 80.0, y2: 50.0, score: 0.9, class_id: 1, ..Candidate::default() },
            Candidate {
                x1: 100.0,
                y1: 25.0,
                x2: 200.0,
                y2: 75.0,
                score: 0.8,
                class_id: 2,
                row: 2,
                ..Candidate::default()
            },
        ]
    );
}

#[test]
fn the_offset_is_subtracted_and_a_class_below_it_has_no_label() {
    let ids = |offset| run(offset, 3.0).iter().map(|c| c.class_id).collect::<Vec<_>>();
    assert_eq!(ids(1), [0, 1]);
    assert_eq!(ids(2), [u32::MAX, 0]);
}

#[test]
fn the_count_cuts_and_a_broken_one_does_no_harm() {
    assert_eq!([1.0, 0.0, -5.0, f32::NAN, 1e30].map(|n| run(0, n).len()), [1, 0, 0, 0, 2]);
}

#[test]
fn outputs_are_found_by_either_exporters_names() {
    let expected = Some(Places { boxes: 3, classes: 2, scores: 1, count: Some(0) });
    assert_eq!(by_name(&spec(TENSORFLOW[0].names).outputs), expected);
    assert_eq!(by_name(&spec(TENSORFLOW[1].names).outputs), expected);
    let zero = ["detection_boxes:0", "detection_classes:0", "detection_scores:0", "num_detections:0"];
    assert_eq!(by_name(&spec(zero).outputs), expected);
}

#[test]
fn outputs_without_known_names_are_found_by_shape() {
    let unnamed = spec(["a", "b", "c", "d"]);
    assert_eq!(by_name(&unnamed.outputs), None);
    assert_eq!(by_shape(&unnamed.outputs), Some(Places { boxes: 3, classes: 1, scores: 2, count: Some(0) }));
    let mut integer = unnamed;
    integer.outputs[2].dtype = DataType::I64;
    assert_eq!(by_shape(&integer.outputs), Some(Places { boxes: 3, classes: 2, scores: 1, count: Some(0) }));
}

/// What a model of these outputs says about boxes (10, 20, 40, 80) in pixels of a 200 × 100 input, or parts of it.
fn boxes_of(contract: &OutputContract, names: [&str; 4], numbers: [f32; 4]) -> Vec<[f32; 4]> {
    let promised = outputs(vec![
        tensor(names[2], DataType::F32, &[None]),
        tensor(names[1], DataType::I64, &[None]),
        tensor(names[0], DataType::F32, &[None, Some(4)]),
    ]);
    let decoder = SsdPostprocessed::new(contract, &input(200, 100), &promised).unwrap();
    let tensors = [
        Tensor::from_f32(names[2], &[2], vec![0.9, 0.1]),
        Tensor::from_f32(names[1], &[2], vec![1.0, 1.0]),
        Tensor::from_f32(names[0], &[2, 4], [numbers, numbers].concat()),
    ];
    let mut out = Vec::new();
    decoder.decode(&tensors, &accept_over(0.5, 3), &mut out).unwrap();
    assert!(out.iter().all(|c| c.score == 0.9 && c.class_id == 1));
    // None at all is an answer too.
    let nothing = [
        Tensor::from_f32(names[2], &[0], vec![]),
        Tensor::from_f32(names[1], &[0], vec![]),
        Tensor::from_f32(names[0], &[0, 4], vec![]),
    ];
    decoder.decode(&nothing, &accept_over(0.5, 3), &mut out).unwrap();
    out.iter().map(|c| [c.x1, c.y1, c.x2, c.y2]).collect()
}

#[test]
fn each_exporters_boxes_are_read_in_its_form_and_unit() {
    let (pixels, expected) = ([10.0, 20.0, 40.0, 80.0], vec![[10.0, 20.0, 40.0, 80.0]]);
    let graph = ["graph2_pred_boxes", "graph2_pred_classes", "graph2_pred_scores", "graph2_num_predictions"];
    for names in [OTHERS[0].names, OTHERS[1].names, OTHERS[2].names, graph] {
        assert_eq!(boxes_of(&contract(0), names, pixels), expected, "{names:?}");
    }
    assert_eq!(boxes_of(&contract(0), OTHERS[3].names, [0.05, 0.2, 0.2, 0.8]), expected);
    assert_eq!(boxes_of(&contract(0), TENSORFLOW[0].names, [0.2, 0.05, 0.8, 0.2]), expected);
    // NVIDIA's plugin may have TensorFlow's names.
    let mut said = contract(0);
    (said.box_format, said.box_unit) = (Some(BoxFormat::Xyxy), Some(BoxUnit::Pixels));
    assert_eq!(boxes_of(&said, TENSORFLOW[0].names, pixels), expected);
}

#[test]
fn mmdeploys_scores_follow_the_boxes() {
    let spec = outputs(vec![
        tensor("dets", DataType::F32, &[None, None, None]),
        tensor("labels", DataType::I64, &[None, None]),
    ]);
    let decoder = SsdPostprocessed::new(&contract(0), &input(200, 100), &spec).unwrap();
    let tensors = [
        Tensor::from_f32("dets", &[1, 2, 5], vec![0.0, 0.0, 1.0, 1.0, 0.1, 10.0, 20.0, 40.0, 80.0, 0.9]),
        Tensor::from_f32("labels", &[1, 2], vec![0.0, 2.0]),
    ];
    let mut out = Vec::new();
    decoder.decode(&tensors, &accept_over(0.5, 3), &mut out).unwrap();
    let corners = Candidate { x1: 10.0, y1: 20.0, x2: 40.0, y2: 80.0, ..Candidate::default() };
    assert_eq!(out, [Candidate { score: 0.9, class_id: 2, row: 1, ..corners }]);
    let four = [Tensor::from_f32("dets", &[1, 2, 4], vec![0.0; 8]), Tensor::from_f32("labels", &[1, 2], vec![0.0; 2])];
    assert!(matches!(decoder.decode(&four, &accept_over(0.5, 3), &mut out), Err(PostError::Shape { .. })));
}

#[test]
fn a_wrong_shape_and_a_wrong_type_are_told() {
    let new = |boxes: &[Option<usize>], dtype| {
        let spec = outputs(vec![
            tensor("det_boxes", dtype, boxes),
            tensor("det_scores", DataType::F32, &ROWS),
            tensor("det_classes", DataType::I32, &ROWS),
        ]);
        SsdPostprocessed::new(&contract(0), &input(64, 64), &spec).map(|_| ())
    };
    assert_eq!(new(&[Some(1), None, Some(4)], DataType::F32), Ok(()));
    assert!(matches!(new(&[Some(1), Some(3), Some(5)], DataType::F32), Err(PostError::Shape { .. })));
    assert!(matches!(new(&[Some(1), Some(4), Some(4)], DataType::F32), Err(PostError::Shape { .. })));
    assert!(matches!(new(&[Some(1), Some(3), Some(4)], DataType::U8), Err(PostError::DataType { .. })));
}

#[test]
fn a_missing_output_is_told() {
    let spec = outputs(vec![tensor("boxes", DataType::F32, &[Some(1), Some(3), Some(4)])]);
    let text = SsdPostprocessed::new(&contract(0), &input(64, 64), &spec).err().unwrap().to_string();
    let start = "decoder ssd-postprocessed needs boxes [1, N, 4], classes [1, N] and scores [1, N] in three outputs; the \
                 model's outputs are `boxes` f32 [1, 3, 4]. Set `output.decoder` to the family";
    assert!(text.starts_with(start), "{text}");
}
