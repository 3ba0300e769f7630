//! Boxes and class ids as the families write them → candidates.

use super::Candidate;
use crate::bundle::contract::{BoxFormat, BoxUnit, InputContract, OutputContract};

/// How the four numbers of a box become corners in pixels of the input.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Boxes {
    format: BoxFormat,
    /// What x and y are multiplied with.
    scale: (f32, f32),
}

impl Boxes {
    /// That of the contract; `format` and `unit` stand for a contract that does not say.
    pub(super) fn new(output: &OutputContract, input: &InputContract, format: BoxFormat, unit: BoxUnit) -> Self {
        let scale = match output.box_unit.unwrap_or(unit) {
            BoxUnit::Pixels => (1.0, 1.0),
            BoxUnit::Normalized => (input.width as f32, input.height as f32),
        };
        Self { format: output.box_format.unwrap_or(format), scale }
    }

    /// The candidate for the four numbers of a box.
    pub(super) fn candidate(&self, [a, b, c, d]: [f32; 4], score: f32, class_id: u32) -> Candidate {
        let (w, h) = self.scale;
        let corners = |x1, y1, x2, y2| Candidate { x1, y1, x2, y2, score, class_id, ..Candidate::default() };
        match self.format {
            BoxFormat::Xyxy => corners(a * w, b * h, c * w, d * h),
            BoxFormat::Yxyx => corners(b * w, a * h, d * w, c * h),
            BoxFormat::Cxcywh => Candidate::from_centre(a * w, b * h, c * w, d * h, score, class_id),
        }
    }

    /// The values of keypoints (`values` of each: x, y and what more) in pixels of the input.
    pub(super) fn points(&self, row: impl Iterator<Item = f32>, values: usize) -> impl Iterator<Item = f32> {
        let (w, h) = self.scale;
        row.enumerate().map(move |(i, v)| match i % values.max(1) {
            0 => v * w,
            1 => v * h,
            _ => v,
        })
    }
}

/// The label's index of a class in a tensor with `offset` classes before the first label; one that no label can have if
/// the value is no class.
pub(super) fn class_id(value: f32, offset: f32) -> u32 {
    let id = (value - offset).round();
    // Up to here every integer is exact in f32.
    if (0.0..16_777_216.0).contains(&id) { id as u32 } else { u32::MAX }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bundle::contract::DecoderKind;
    use crate::post::tests::input;

    #[test]
    fn every_form_and_unit_becomes_corners_in_pixels() {
        let corners = |format, unit, numbers| {
            let mut output = OutputContract::new(DecoderKind::Detections);
            (output.box_format, output.box_unit) = (format, unit);
            let boxes = Boxes::new(&output, &input(200, 100), BoxFormat::Xyxy, BoxUnit::Pixels);
            let c = boxes.candidate(numbers, 0.5, 3);
            assert_eq!((c.score, c.class_id), (0.5, 3));
            [c.x1, c.y1, c.x2, c.y2]
        };
        let (centre, rows_first) = (Some(BoxFormat::Cxcywh), Some(BoxFormat::Yxyx));
        assert_eq!(corners(None, None, [10.0, 20.0, 30.0, 60.0]), [10.0, 20.0, 30.0, 60.0]);
        assert_eq!(corners(rows_first, None, [20.0, 10.0, 60.0, 30.0]), [10.0, 20.0, 30.0, 60.0]);
        assert_eq!(corners(centre, None, [20.0, 40.0, 20.0, 40.0]), [10.0, 20.0, 30.0, 60.0]);
        let parts = Some(BoxUnit::Normalized);
        assert_eq!(corners(centre, parts, [0.5, 0.5, 0.25, 0.5]), [75.0, 25.0, 125.0, 75.0]);
        assert_eq!(corners(rows_first, parts, [0.25, 0.5, 0.75, 1.0]), [100.0, 25.0, 200.0, 75.0]);
    }

    #[test]
    fn only_whole_numbers_from_the_offset_on_are_classes() {
        let bad = u32::MAX;
        assert_eq!([0.0, 1.0, 2.0, 79.0].map(|v| class_id(v, 0.0)), [0, 1, 2, 79]);
        assert_eq!([0.0, 1.0, 2.0, -5.0].map(|v| class_id(v, 1.0)), [bad, 0, 1, bad]);
        assert_eq!([f32::NAN, f32::INFINITY, 1e30].map(|v| class_id(v, 0.0)), [bad; 3]);
    }
}
