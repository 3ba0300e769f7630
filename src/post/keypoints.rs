//! Keypoints of a row: how many, in which form, and which of them are joined.

use std::sync::Arc;

use crate::bundle::contract::OutputContract;
use crate::pre::geometry::Geometry;
use crate::result::{Keypoint, Object};

/// The skeleton of COCO's 17 keypoints (0-based; `person_keypoints_train2017.json`).
const COCO: [(u16, u16); 19] = [
    (15, 13),
    (13, 11),
    (16, 14),
    (14, 12),
    (11, 12),
    (5, 11),
    (6, 12),
    (5, 6),
    (5, 7),
    (6, 8),
    (7, 9),
    (8, 10),
    (1, 2),
    (0, 1),
    (0, 2),
    (1, 3),
    (2, 4),
    (3, 5),
    (4, 6),
];

/// How the keypoints of an object are read and joined.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Skeleton {
    /// How many keypoints an object has.
    pub count: usize,
    /// Values of each: x, y and, with 3, a confidence.
    pub values: usize,
    joints: Option<Arc<[(u16, u16)]>>,
}

impl Skeleton {
    /// That of the contract, or else `count` keypoints of `values` values.
    pub(super) fn new(output: &OutputContract, count: usize, values: usize) -> Self {
        let [count, values] = output.keypoint_shape.unwrap_or([count, values]);
        let joints: Option<Arc<[(u16, u16)]>> = match &output.skeleton {
            Some(pairs) if pairs.is_empty() => None,
            Some(pairs) => Some(pairs.as_slice().into()),
            None if count == 17 => Some(COCO.as_slice().into()),
            None => None,
        };
        Self { count, values, joints }
    }

    /// Values of one object.
    pub(super) fn columns(&self) -> usize {
        self.count * self.values
    }

    /// Gives `object` the keypoints in `row` (x, y and perhaps a confidence of each, pixels of the input).
    pub(super) fn describe(&self, row: impl IntoIterator<Item = f32>, geometry: &Geometry, object: &mut Object) {
        let mut values = row.into_iter();
        object.keypoints.reserve(self.count);
        for _ in 0..self.count {
            let (Some(x), Some(y)) = (values.next(), values.next()) else { break };
            let confidence = if self.values == 3 { values.next().unwrap_or(0.0) } else { 1.0 };
            let (x, y) = geometry.point_to_frame(x, y);
            object.keypoints.push(Keypoint { x, y, confidence });
        }
        object.skeleton.clone_from(&self.joints);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bundle::contract::DecoderKind;
    use crate::post::tests::input;
    use crate::result::BBox;

    #[test]
    fn keypoints_come_to_the_frame_and_are_joined_as_the_contract_says() {
        let mut output = OutputContract::new(DecoderKind::Yolov8);
        let geometry = Geometry::new(&input(100, 100), 200, 100, None);
        let read = |output: &OutputContract, count, values, row: &[f32]| {
            let skeleton = Skeleton::new(output, count, values);
            let mut object = Object::new(0, 0, "a".into(), 0.5, BBox::default());
            skeleton.describe(row.iter().copied(), &geometry, &mut object);
            (object.keypoints, object.skeleton.map_or(0, |s| s.len()))
        };
        let (points, joints) = read(&output, 2, 3, &[50.0, 25.0, 0.5, 100.0, 75.0, 0.25]);
        assert_eq!(
            points,
            [Keypoint { x: 0.5, y: 0.0, confidence: 0.5 }, Keypoint { x: 1.0, y: 1.0, confidence: 0.25 },]
        );
        assert_eq!(joints, 0);
        assert_eq!(read(&output, 17, 3, &[0.0; 51]).1, 19, "COCO's");
        output.keypoint_shape = Some([1, 2]);
        output.skeleton = Some(vec![(0, 0)]);
        assert_eq!(read(&output, 17, 3, &[50.0, 50.0]), (vec![Keypoint { x: 0.5, y: 0.5, confidence: 1.0 }], 1));
    }
}
