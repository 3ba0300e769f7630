//! Rows in plain Rust: the meaning of pre-processing, pixel by pixel.

use super::axis::FIXED_BITS;
use super::color::ColorMap;
use super::render::Plan;
use crate::frame::FrameView;

/// Makes row `y` of the target.
pub(super) fn row(plan: &Plan, color: &ColorMap, frame: &FrameView<'_>, y: usize, mut out: [&mut [f32]; 3]) {
    let width = out[0].len();
    let (top, bottom, wy) = plan.y.tap(y);
    for x in 0..width {
        let (left, right, wx) = plan.x.tap(x);
        let [a, b] = [left, right].map(|x| pixel(color, frame, x, top));
        let [c, d] = [left, right].map(|x| pixel(color, frame, x, bottom));
        let samples = std::array::from_fn(|i| blend([a[i], b[i]], [c[i], d[i]], wx, wy) as f32);
        for (row, map) in out.iter_mut().zip(&color.maps).take(color.outputs) {
            row[x] = map.apply(samples);
        }
    }
}

/// What the colour maps take of a pixel of the frame: its stored channels, or red, green and blue made of them.
fn pixel(color: &ColorMap, frame: &FrameView<'_>, x: usize, y: usize) -> [i32; 3] {
    let mut samples = [0; 3];
    for (to, channel) in samples.iter_mut().zip(color.channels) {
        let (kx, ky) = color.yuv.as_ref().filter(|_| channel.chroma).map_or((1, 1), |yuv| yuv.subsampling);
        let (data, stride) = frame.plane(channel.plane);
        *to = i32::from(data[y / ky * stride + x / kx * channel.step + channel.offset]);
    }
    color.yuv.as_ref().map_or(samples, |yuv| yuv.rgb(samples))
}

/// Two pixels of the upper and two of the lower row become one, bit by bit as OpenCV's `resize` does it with bytes
/// (`HResizeLinear`, `VResizeLinear` and `FixedPtCast` in `modules/imgproc/src/resize.cpp`), since a detector may answer to a
/// single level of 255.
fn blend(upper: [i32; 2], lower: [i32; 2], wx: i32, wy: i32) -> i32 {
    const ONE: i32 = 1 << FIXED_BITS;
    let across = |[left, right]: [i32; 2]| (left * (ONE - wx) + right * wx) >> 4;
    let down = (((ONE - wy) * across(upper)) >> 16) + ((wy * across(lower)) >> 16);
    (down + 2) >> 2
}
