//! One row of the model's input from the frame's planes: the plan, and who carries it out.

use super::axis::Axis;
use super::color::ColorMap;
use super::geometry::Geometry;
#[cfg(target_arch = "x86_64")]
use super::x86;
use super::{scalar, smooth};
use crate::bundle::contract::InputContract;
use crate::frame::{FrameInfo, FrameView};

/// How rows of the target are made from frames of one kind, for one geometry.
#[derive(Debug)]
pub(super) struct Plan {
    /// Columns of the frame.
    pub x: Axis,
    /// Rows of the frame.
    pub y: Axis,
    /// Channels and colour; `None` before the first rebuild.
    color: Option<ColorMap>,
}

impl Plan {
    /// A plan with room for every frame that may be brought into `input`.
    pub(super) fn new(input: &InputContract) -> Self {
        let (w, h) = (input.width.min(super::MAX_SIDE) as usize, input.height.min(super::MAX_SIDE) as usize);
        Self { x: Axis::with_capacity(w), y: Axis::with_capacity(h), color: None }
    }

    /// Fits the plan to frames like `info` and to `geometry`.
    pub(super) fn rebuild(&mut self, input: &InputContract, info: &FrameInfo, geometry: &Geometry) {
        let (sx, sy, sw, sh) = geometry.source;
        let (_, _, tw, th) = geometry.target;
        self.x.rebuild(sx, sw, tw as usize, info.width as usize);
        self.y.rebuild(sy, sh, th as usize, info.height as usize);
        self.color = Some(ColorMap::new(input, info));
    }
}

/// The code that makes rows.
#[derive(Debug)]
pub(super) enum Renderer {
    /// Plain Rust, for every processor; what the others are tested against.
    Scalar,
    /// For inputs that are to be anti-aliased.
    Smooth(Box<smooth::Renderer>),
    /// AVX2 and FMA.
    #[cfg(target_arch = "x86_64")]
    X86(x86::Renderer),
}

impl Renderer {
    /// The one that does what `input` asks for, the fastest that this processor can run.
    pub(super) fn detect(input: &InputContract) -> Self {
        if input.antialias {
            return Self::Smooth(Box::default());
        }
        #[cfg(target_arch = "x86_64")]
        if let Some(renderer) = x86::Renderer::detect() {
            return Self::X86(renderer);
        }
        Self::Scalar
    }

    /// Makes room for frames like `info`, placed as `geometry` says.
    pub(super) fn prepare(&mut self, info: &FrameInfo, geometry: &Geometry) {
        match self {
            Self::Scalar => {}
            Self::Smooth(renderer) => renderer.prepare(info, geometry),
            #[cfg(target_arch = "x86_64")]
            Self::X86(renderer) => renderer.prepare(info.width as usize),
        }
    }

    /// Begins a frame.
    pub(super) fn begin(&mut self, plan: &Plan, frame: &FrameView<'_>) {
        if let (Self::Smooth(renderer), Some(color)) = (self, &plan.color) {
            renderer.begin(color, frame);
        }
    }

    /// Makes row `y` of the target: one slice per channel of the model, all of the target's width (unused ones empty).
    pub(super) fn row(&mut self, plan: &Plan, frame: &FrameView<'_>, y: usize, out: [&mut [f32]; 3]) {
        let Some(color) = &plan.color else { return };
        match self {
            Self::Scalar => scalar::row(plan, color, frame, y, out),
            Self::Smooth(renderer) => renderer.row(color, y, out),
            #[cfg(target_arch = "x86_64")]
            Self::X86(renderer) => renderer.row(plan, color, frame, y, out),
        }
    }
}
