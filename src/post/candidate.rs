//! What decoders propose.

use crate::result::BBox;

/// A box that a decoder proposes: corners in pixels of the input tensor, unchecked.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Candidate {
    /// Left edge.
    pub x1: f32,
    /// Top edge.
    pub y1: f32,
    /// Right edge.
    pub x2: f32,
    /// Bottom edge.
    pub y2: f32,
    /// Confidence; 0..1 once guarded.
    pub score: f32,
    /// Index into the labels; below their count once guarded.
    pub class_id: u32,
    /// Turn of the box about its centre, radians clockwise; 0 for upright boxes.
    pub angle: f32,
    /// Where the decoder finds what else the model says about it (a row, a cell).
    pub row: u32,
}

impl Candidate {
    /// A candidate from its centre and size.
    pub fn from_centre(cx: f32, cy: f32, w: f32, h: f32, score: f32, class_id: u32) -> Self {
        let (rx, ry) = (w * 0.5, h * 0.5);
        Self { x1: cx - rx, y1: cy - ry, x2: cx + rx, y2: cy + ry, score, class_id, ..Self::default() }
    }

    /// The same, found at `row`.
    pub fn at(self, row: usize) -> Self {
        Self { row: u32::try_from(row).unwrap_or(u32::MAX), ..self }
    }

    /// The same, turned about its centre by `angle`, radians clockwise.
    pub fn turned(self, angle: f32) -> Self {
        Self { angle, ..self }
    }

    /// The corners of the turned box, pixels of the input tensor: top left, top right, bottom right, bottom left before
    /// the turn.
    pub fn corners(&self) -> [(f32, f32); 4] {
        let (cx, cy) = ((self.x1 + self.x2) * 0.5, (self.y1 + self.y2) * 0.5);
        let (sin, cos) = self.angle.sin_cos();
        [(self.x1, self.y1), (self.x2, self.y1), (self.x2, self.y2), (self.x1, self.y2)].map(|(x, y)| {
            let (dx, dy) = (x - cx, y - cy);
            (cx + dx * cos - dy * sin, cy + dx * sin + dy * cos)
        })
    }

    /// The box, in pixels of the input tensor.
    pub fn bbox(&self) -> BBox {
        BBox::from_corners(self.x1, self.y1, self.x2, self.y2)
    }
}

/// What decoders append to.
pub type Candidates = Vec<Candidate>;
