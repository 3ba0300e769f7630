use super::*;
use crate::bundle::contract::{Align, DecoderKind, Resize, Task};
use crate::engine::DataType;
use crate::frame::{Orientation, View};
use crate::post::tests::{input, outputs, tensor};
use crate::result::BBox;

fn contract() -> OutputContract {
    OutputContract { task: Task::Segment, ..OutputContract::new(DecoderKind::Yolov8) }
}

fn spec(shape: &[Option<usize>]) -> Spec {
    outputs(vec![
        tensor("output0", DataType::F32, &[Some(1), Some(7), Some(9)]),
        tensor("output1", DataType::F32, shape),
    ])
}

/// Two prototypes of 8 × 8 for an input of 32 × 32: x - 3.5 and y - 3.5, so that the pixel centres of the input's middle
/// are 0.
fn prototypes() -> Vec<f32> {
    let plane = |along: fn(usize) -> usize| (0..64).map(move |i| along(i) as f32 - 3.5);
    plane(|i| i % 8).chain(plane(|i| i / 8)).collect()
}

fn object(bbox: BBox) -> Object {
    Object::new(0, 0, "a".into(), 0.5, bbox)
}

fn mask(prototypes: &Prototypes, values: Tensor, row: &[f32], geometry: &Geometry, bbox: BBox) -> Mask {
    let mut object = object(bbox);
    let outputs = [Tensor::from_f32("output0", &[1, 7, 9], vec![0.0; 63]), values];
    prototypes.describe(&outputs, row.iter().copied(), geometry, &mut object).unwrap();
    Arc::unwrap_or_clone(object.mask.unwrap())
}

/// How much of each column of a mask is inside: 0 to its height.
fn columns(mask: &Mask) -> Vec<usize> {
    let rows = || mask.data.chunks(mask.width as usize);
    (0..mask.width as usize).map(|x| rows().filter(|row| row[x] > 127).count()).collect()
}

#[test]
fn the_outline_is_where_the_logits_are_0_in_either_order() {
    let geometry = Geometry::new(&input(32, 32), 32, 32, None);
    // 8 × 8 pixels of the input: 32 × 32 values. The left edge is at 12, the outline at 16.
    let bbox = BBox { x: 0.375, y: 0.25, w: 0.25, h: 0.25 };
    let first =
        Prototypes::find(&contract(), &input(32, 32), &spec(&[Some(1), Some(2), Some(8), Some(8)]), 0, |n| n == 2)
            .unwrap();
    let found = mask(&first, Tensor::from_f32("output1", &[1, 2, 8, 8], prototypes()), &[2.0, 0.0], &geometry, bbox);
    assert_eq!((found.width, found.height, found.data.len()), (32, 32, 1024));
    let expected: Vec<usize> = (0..32).map(|x| if x < 16 { 0 } else { 32 }).collect();
    assert_eq!(columns(&found), expected);
    let row = &found.data[..32];
    assert_eq!((row[0], row[31]), (0, 255), "away from the outline it is none or full");
    assert!(row.windows(2).all(|w| w[0] <= w[1]));

    let values = prototypes();
    let pixels = (0..64).flat_map(|i| [values[i], values[64 + i]]).collect();
    let last =
        Prototypes::find(&contract(), &input(32, 32), &spec(&[Some(1), Some(8), Some(8), Some(2)]), 0, |n| n == 2)
            .unwrap();
    let same = mask(&last, Tensor::from_f32("output1", &[8, 8, 2], pixels), &[2.0, 0.0], &geometry, bbox);
    assert_eq!(same, found);
}

#[test]
fn coefficients_add_up_and_turn_the_outline() {
    let geometry = Geometry::new(&input(32, 32), 32, 32, None);
    let spec = spec(&[Some(1), Some(2), Some(8), Some(8)]);
    let prototypes_at = Prototypes::find(&contract(), &input(32, 32), &spec, 0, |n| n == 2).unwrap();
    let bbox = BBox { x: 0.25, y: 0.25, w: 0.5, h: 0.5 };
    // x + y > 0: below the diagonal, half of the square. On the diagonal itself rounding decides.
    let found =
        mask(&prototypes_at, Tensor::from_f32("output1", &[1, 2, 8, 8], prototypes()), &[1.0, 1.0], &geometry, bbox);
    assert_eq!((found.width, found.height), (64, 64));
    for (x, inside) in columns(&found).into_iter().enumerate() {
        assert!(inside.abs_diff(x) <= 1, "column {x}: {inside}");
    }
}

#[test]
fn the_map_spans_the_box_in_a_letterboxed_and_in_a_turned_frame() {
    let spec = spec(&[Some(1), Some(2), Some(8), Some(8)]);
    let letterbox = input(32, 32);
    let prototypes_at = Prototypes::find(&contract(), &letterbox, &spec, 0, |n| n == 2).unwrap();
    let values = || Tensor::from_f32("output1", &[1, 2, 8, 8], prototypes());
    // 64 × 32 in 32 × 32: rows 8 to 24, so that the frame's middle is the input's.
    let geometry = Geometry::new(&letterbox, 64, 32, None);
    let whole = BBox { x: 0.0, y: 0.0, w: 1.0, h: 1.0 };
    let found = mask(&prototypes_at, values(), &[0.0, 1.0], &geometry, whole);
    assert_eq!((found.width, found.height), (128, 64));
    assert!(columns(&found).iter().all(|n| *n == 32));
    assert!(found.data[..128 * 32].iter().all(|v| *v < 128), "the upper half is outside");
    // Stored 32 × 64 and shown turned by 90° clockwise: what is below is stored at the right.
    let view = View { orientation: Orientation::CLOCKWISE, ..View::default() };
    let found =
        mask(&prototypes_at, values(), &[0.0, 1.0], &Geometry::of_view(&letterbox, (32, 64), &view, None), whole);
    assert_eq!((found.width, found.height), (64, 128));
    assert_eq!(columns(&found), (0..64).map(|x| if x < 32 { 0 } else { 128 }).collect::<Vec<_>>());
}

#[test]
fn a_large_object_has_no_more_values_than_the_limit_and_a_tiny_one_has_one() {
    let stretch = InputContract { resize: Resize::Stretch, align: Align::Center, ..input(640, 320) };
    let spec = spec(&[Some(1), Some(2), Some(8), Some(8)]);
    let prototypes_at = Prototypes::find(&contract(), &stretch, &spec, 0, |n| n == 2).unwrap();
    let geometry = Geometry::new(&stretch, 1920, 1080, None);
    let size = |bbox| {
        let values = Tensor::from_f32("output1", &[1, 2, 8, 8], prototypes());
        let found = mask(&prototypes_at, values, &[1.0, 0.0], &geometry, bbox);
        assert_eq!(found.data.len(), (found.width * found.height) as usize);
        (found.width, found.height)
    };
    assert_eq!(size(BBox { x: 0.0, y: 0.0, w: 1.0, h: 1.0 }), (480, 240));
    assert_eq!(size(BBox { x: 0.99999, y: 0.99999, w: 0.00001, h: 0.00001 }), (1, 1));
}

#[test]
fn a_mask_without_an_outline_is_full_or_none_and_bad_numbers_do_no_harm() {
    let none = vec![0; 4];
    assert_eq!(coverage(&[1.0, 0.5, 2.0, 1e-30], 2), [255; 4]);
    assert_eq!(coverage(&[-1.0, -0.5, -2.0, 0.0], 2), none);
    assert_eq!(coverage(&[f32::NAN; 4], 2), none);
    let mixed = coverage(&[f32::INFINITY, -1.0, f32::NAN, f32::NEG_INFINITY], 2);
    assert_eq!(mixed, [255, 0, 0, 0]);
    assert!(coverage(&[], 2).is_empty());
    // Proportional to the logit beside the outline.
    // Between -1 and 2 the outline passes, so 2 is full and -1 half of none.
    assert_eq!(coverage(&[-4.0, -1.0, 2.0, 4.0], 4), [0, 64, 255, 255]);
}

#[test]
fn missing_prototypes_are_told_and_a_run_that_breaks_the_promise_is_an_error() {
    let find = |spec: &Spec| Prototypes::find(&contract(), &input(32, 32), spec, 0, |n| n == 2).map(|_| ());
    let only = outputs(vec![tensor("output0", DataType::F32, &[Some(1), Some(7), Some(9)])]);
    assert!(matches!(find(&only), Err(PostError::Missing { .. })));
    assert!(matches!(find(&spec(&[Some(1), Some(3), Some(8), Some(8)])), Err(PostError::Missing { .. })));
    let mut quantised = spec(&[Some(1), Some(2), Some(8), Some(8)]);
    quantised.outputs[1].dtype = DataType::U8;
    assert!(matches!(find(&quantised), Err(PostError::DataType { .. })));

    let spec = spec(&[Some(1), Some(2), None, None]);
    let prototypes_at = Prototypes::find(&contract(), &input(32, 32), &spec, 0, |n| n == 2).unwrap();
    let geometry = Geometry::new(&input(32, 32), 32, 32, None);
    let run = |shape: &[usize]| {
        let values = vec![0.0; shape.iter().product()];
        let outputs = [Tensor::from_f32("output0", &[0], vec![]), Tensor::from_f32("output1", shape, values)];
        let mut object = object(BBox { x: 0.0, y: 0.0, w: 1.0, h: 1.0 });
        prototypes_at.describe(&outputs, [1.0, 1.0].into_iter(), &geometry, &mut object)
    };
    assert!(run(&[1, 2, 5, 9]).is_ok());
    assert!(matches!(run(&[1, 3, 5, 9]), Err(PostError::Shape { .. })));
    assert!(matches!(run(&[1, 2, 0, 9]), Err(PostError::Shape { .. })));
}
