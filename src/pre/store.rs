//! Values into the tensor: element types, interleaving, padding.

use half::f16;
use half::slice::HalfFloatSliceExt;

use super::geometry::Geometry;
use crate::bundle::contract::{InputContract, Layout};

/// An element type that pixels can be stored as.
pub(super) trait Element: Copy + 'static {
    /// Converts `src` into `dst`, which is as long. Integers are rounded (halves to even) and saturated.
    fn convert(src: &[f32], dst: &mut [Self]);

    /// One value.
    fn from_value(value: f32) -> Self;
}

/// At this size the last bit of an `f32` is worth 1: added to a small value, it rounds it, and leaves it as a two's
/// complement in the low bits. Compilers turn this into vector code, and a saturating cast they do not.
const ROUNDER: f32 = 1.5 * (1u32 << 23) as f32;

impl Element for f32 {
    fn convert(src: &[f32], dst: &mut [f32]) {
        dst.copy_from_slice(src);
    }

    fn from_value(value: f32) -> f32 {
        value
    }
}

impl Element for f16 {
    fn convert(src: &[f32], dst: &mut [f16]) {
        dst.convert_from_f32_slice(src);
    }

    fn from_value(value: f32) -> f16 {
        f16::from_f32(value)
    }
}

impl Element for u8 {
    fn convert(src: &[f32], dst: &mut [u8]) {
        for (d, s) in dst.iter_mut().zip(src) {
            *d = u8::from_value(*s);
        }
    }

    fn from_value(value: f32) -> u8 {
        (value.clamp(0.0, 255.0) + ROUNDER).to_bits() as u8
    }
}

impl Element for i8 {
    fn convert(src: &[f32], dst: &mut [i8]) {
        for (d, s) in dst.iter_mut().zip(src) {
            *d = i8::from_value(*s);
        }
    }

    fn from_value(value: f32) -> i8 {
        (value.clamp(-128.0, 127.0) + ROUNDER).to_bits() as i8
    }
}

/// Weaves the first `width` values of `channels` rows into pixels, in `out`.
pub(super) fn interleave<'a>(rows: &[Vec<f32>; 3], channels: usize, width: usize, out: &'a mut [f32]) -> &'a [f32] {
    let out = &mut out[..width * channels];
    let [a, b, c] = rows;
    if channels == 1 {
        out.copy_from_slice(&a[..width]);
    } else {
        for (pixel, ((a, b), c)) in out.chunks_exact_mut(3).zip(a.iter().zip(b).zip(c)) {
            pixel.copy_from_slice(&[*a, *b, *c]);
        }
    }
    out
}

/// Which padding a tensor holds. Keep one beside each tensor that [`run`](super::Preprocessor::run) writes to, and
/// write to that tensor by no other way; a fresh one is always right, it only costs the padding once more.
#[derive(Debug, Clone, Default)]
pub struct Border(Option<Painted>);

/// All that decides what the padding is. The address tells a tensor from another that a border was given by mistake.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Painted {
    address: usize,
    element: std::any::TypeId,
    layout: Layout,
    size: (u32, u32),
    target: (u32, u32, u32, u32),
    value: [f32; 3],
}

impl Border {
    /// Writes the padding around the target unless `out` holds it already.
    pub(super) fn paint<T: Element>(&mut self, input: &InputContract, geometry: &Geometry, out: &mut [T]) {
        let painted = Painted {
            address: out.as_ptr().addr(),
            element: std::any::TypeId::of::<T>(),
            layout: input.layout,
            size: (input.width, input.height),
            target: geometry.target,
            value: std::array::from_fn(|c| {
                let (scale, bias) = input.affine(c);
                f32::from(input.pad) * scale + bias
            }),
        };
        if self.0 == Some(painted) {
            return;
        }
        self.0 = None;
        let (width, channels) = (input.width as usize, input.color.channels());
        let values = painted.value.map(T::from_value);
        let mut fill = |start: usize, end: usize| match input.layout {
            Layout::Nchw => {
                let plane = width * input.height as usize;
                for (plane, value) in out.chunks_exact_mut(plane).zip(values) {
                    plane[start..end].fill(value);
                }
            }
            Layout::Nhwc => {
                for pixel in out[start * channels..end * channels].chunks_exact_mut(channels) {
                    pixel.copy_from_slice(&values[..channels]);
                }
            }
        };
        let (tx, ty, tw, th) = geometry.target;
        let (left, right) = (tx as usize, (tx + tw) as usize);
        let (top, bottom) = (ty as usize, (ty + th) as usize);
        fill(0, top * width);
        if left > 0 || right < width {
            for row in top..bottom {
                fill(row * width, row * width + left);
                fill(row * width + right, (row + 1) * width);
            }
        }
        fill(bottom * width, input.height as usize * width);
        self.0 = Some(painted);
    }
}
