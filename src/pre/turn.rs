//! Rows of the model's input: straight from the frame, or by way of a turn for a picture that does not stand upright.

use super::geometry::Geometry;
use super::render::{Plan, Renderer};
use crate::bundle::contract::InputContract;
use crate::frame::{FrameInfo, FrameView, Orientation};

/// Makes the rows of the target, one after the other.
#[derive(Debug)]
pub(super) struct Rows {
    renderer: Renderer,
    plan: Plan,
    planned_for: Option<(FrameInfo, Geometry)>,
    /// The picture at the target's size as it is stored, a plane per channel; empty while pictures stand upright.
    lying: [Vec<f32>; 3],
    /// Width and height of `lying`.
    size: (usize, usize),
    orientation: Orientation,
}

impl Rows {
    pub(super) fn new(input: &InputContract, renderer: Renderer) -> Self {
        let orientation = Orientation::UPRIGHT;
        Self {
            renderer,
            plan: Plan::new(input),
            planned_for: None,
            lying: Default::default(),
            size: (0, 0),
            orientation,
        }
    }

    /// Begins a frame.
    pub(super) fn begin(&mut self, input: &InputContract, frame: &FrameView<'_>, geometry: &Geometry) {
        let info = *frame.info();
        self.orientation = geometry.orientation;
        let upright = geometry.orientation == Orientation::UPRIGHT;
        let sampled = if upright { *geometry } else { geometry.stored((info.width, info.height)) };
        if self.planned_for != Some((info, sampled)) {
            self.plan.rebuild(input, &info, &sampled);
            self.renderer.prepare(&info, &sampled);
            self.planned_for = Some((info, sampled));
        }
        self.renderer.begin(&self.plan, frame);
        if upright {
            return;
        }
        let (width, height) = (sampled.target.2 as usize, sampled.target.3 as usize);
        self.size = (width, height);
        for plane in self.lying.iter_mut().take(input.color.channels()) {
            plane.resize(width * height, 0.0);
        }
        for y in 0..height {
            let rows = self.lying.each_mut().map(|p| p.get_mut(y * width..(y + 1) * width).unwrap_or_default());
            self.renderer.row(&self.plan, frame, y, rows);
        }
    }

    /// Makes row `y` of the target: one slice per channel of the model, all of the target's width (unused ones empty).
    pub(super) fn row(&mut self, frame: &FrameView<'_>, y: usize, mut out: [&mut [f32]; 3]) {
        let Orientation { swap, mirror_x, mirror_y } = self.orientation;
        if self.orientation == Orientation::UPRIGHT {
            return self.renderer.row(&self.plan, frame, y, out);
        }
        let (width, height) = self.size;
        let (upright_width, upright_height) = self.orientation.size_upright((width, height));
        let y = if mirror_y { upright_height - 1 - y } else { y };
        for (plane, row) in self.lying.iter().zip(&mut out) {
            for (x, value) in row.iter_mut().enumerate() {
                let x = if mirror_x { upright_width - 1 - x } else { x };
                let at = if swap { x * width + y } else { y * width + x };
                *value = plane.get(at).copied().unwrap_or_default();
            }
        }
    }
}
