//! Rows in plain Rust: the meaning of pre-processing, pixel by pixel.

use super::axis::FIXED_BITS;
use super::color::{Channel, ColorMap};
use super::render::{Grid, Plan};
use crate::frame::FrameView;

/// Makes row `y` of the target.
pub(super) fn row(plan: &Plan, color: &ColorMap, frame: &FrameView<'_>, y: usize, mut out: [&mut [f32]; 3]) {
    let width = out[0].len();
    let sample = if color.has_chroma() { bilinear } else { fixed };
    for x in 0..width {
        let mut samples = [0.0; 3];
        for (to, channel) in samples.iter_mut().zip(color.channels) {
            *to = sample(frame, channel, plan.grid(channel), x, y);
        }
        for (row, map) in out.iter_mut().zip(&color.maps).take(color.outputs) {
            row[x] = map.apply(samples);
        }
    }
}

/// The value of a channel at a point of the target, 0..255.
fn bilinear(frame: &FrameView<'_>, channel: &Channel, grid: &Grid, x: usize, y: usize) -> f32 {
    let (data, stride) = frame.plane(channel.plane);
    let (left, right, wx) = grid.x.tap(x);
    let (top, bottom, wy) = grid.y.tap(y);
    let at = |x: usize, y: usize| f32::from(data[y * stride + x * channel.step + channel.offset]);
    let upper = at(left, top) + (at(right, top) - at(left, top)) * wx;
    let lower = at(left, bottom) + (at(right, bottom) - at(left, bottom)) * wx;
    upper + (lower - upper) * wy
}

/// The same, a whole number: bit by bit what OpenCV's `resize` makes of bytes (`HResizeLinear`, `VResizeLinear` and
/// `FixedPtCast` in `modules/imgproc/src/resize.cpp`), since a detector may answer to a single level of 255.
fn fixed(frame: &FrameView<'_>, channel: &Channel, grid: &Grid, x: usize, y: usize) -> f32 {
    let (data, stride) = frame.plane(channel.plane);
    let (left, right, wx) = grid.x.fixed_tap(x);
    let (top, bottom, wy) = grid.y.fixed_tap(y);
    const ONE: i32 = 1 << FIXED_BITS;
    let at = |x: usize, y: usize| i32::from(data[y * stride + x * channel.step + channel.offset]);
    let across = |y: usize| (at(left, y) * (ONE - wx) + at(right, y) * wx) >> 4;
    let down = (((ONE - wy) * across(top)) >> 16) + ((wy * across(bottom)) >> 16);
    ((down + 2) >> 2) as f32
}
