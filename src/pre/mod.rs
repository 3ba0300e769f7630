//! Frame → tensor in one pass: crop, resize, colour, normalisation and layout, with no picture in between.
//!
//! Each row of the model's input is made from the frame's planes by one of two renderers, AVX2 or plain Rust: stored pixels
//! become RGB, neighbours are blended, and the model's channels are what `(value - mean) / std` makes of the levels.
//!
//! The training frameworks prepare their pictures with OpenCV, and detectors answer to single levels: a picture in colour
//! equals `cv2.cvtColor` to RGB followed by `cv2.resize(INTER_LINEAR)` on bytes, bit by bit (20-bit factors and a rounding to
//! whole levels; a chroma sample stands for all its pixels alike; then 11-bit weights and two roundings). `cvtColor` knows
//! BT.601 in the limited range only; other matrices and the full range are done alike with their own factors. A grey model takes
//! luma, resized the same way. Pixel centres are at half-integers, edges are repeated, and there is no averaging when the
//! picture shrinks; where a framework does average (torchvision's classifiers), `antialias` of the contract asks for it, and
//! chroma is sampled at its own resolution then. A region is sampled from the whole frame: at its edge the neighbours outside it
//! count, the frame's own edge is repeated.

// Only vector code reads some of the tables.
#[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))]
mod axis;
mod color;
pub mod geometry;
mod render;
mod scalar;
mod smooth;
mod store;
mod turn;
#[cfg(target_arch = "x86_64")]
mod x86;

pub use geometry::Geometry;
pub use store::Border;

use crate::bundle::contract::{InputContract, Layout};
use crate::engine::{DataType, Tensor, TensorData};
use crate::frame::{FrameInfo, FrameView, View};
use crate::result::BBox;
use render::Renderer;
use store::Element;
use turn::Rows;

/// Longest side of a frame or of a model's input, pixels.
pub const MAX_SIDE: u32 = 1 << 15;

/// Why a frame cannot be brought into a tensor.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum PreError {
    /// The tensor's shape is not the contract's.
    #[error(
        "the input tensor has shape {have:?}, the contract asks for {need:?} for each picture and there is no place for \
         picture {item}: make the tensor from the contract"
    )]
    Shape {
        /// The tensor's shape.
        have: Vec<usize>,
        /// One picture: 1, channels and size in the contract's layout.
        need: [usize; 4],
        /// Which picture of the batch was to be written.
        item: usize,
    },
    /// The tensor's element type cannot hold pixels.
    #[error("the model wants {0:?} pixels; vigil can give it F32, F16, U8 or I8: export the model with one of these")]
    DataType(DataType),
    /// The region has a coordinate that is not a number.
    #[error("the region {0:?} is not finite")]
    Region(BBox),
    /// A frame or an input with a side of 0 or of more than [`MAX_SIDE`].
    #[error("cannot resize {from:?} to {to:?}: sides must be 1 to {MAX_SIDE} pixels")]
    Size {
        /// The frame's width and height.
        from: (u32, u32),
        /// The input's width and height.
        to: (u32, u32),
    },
}

/// Brings frames into the tensor that a model wants. Keeps tables and row buffers, so that frames of the same kind
/// cost no allocation; frames and regions may change from call to call.
#[derive(Debug)]
pub struct Preprocessor {
    input: InputContract,
    rows: Rows,
    /// One row of the target: a plane per channel, then interleaved. Unused for planar f32, which is written in place.
    planar: [Vec<f32>; 3],
    interleaved: Vec<f32>,
}

impl Preprocessor {
    /// For a model's input, with the fastest code that this processor can run.
    pub fn new(input: InputContract) -> Self {
        let renderer = Renderer::detect(&input);
        Self::with_renderer(input, renderer)
    }

    fn with_renderer(input: InputContract, renderer: Renderer) -> Self {
        let width = input.width.min(MAX_SIDE) as usize;
        let channels = input.color.channels();
        Self {
            rows: Rows::new(&input, renderer),
            planar: std::array::from_fn(|c| if c < channels { vec![0.0; width] } else { Vec::new() }),
            interleaved: vec![0.0; width * channels],
            input,
        }
    }

    /// The shape that [`run`](Self::run) wants of its tensor: batch 1, in the contract's layout.
    pub fn shape(&self) -> [usize; 4] {
        let (w, h, c) = (self.input.width as usize, self.input.height as usize, self.input.color.channels());
        match self.input.layout {
            Layout::Nchw => [1, c, h, w],
            Layout::Nhwc => [1, h, w, c],
        }
    }

    /// Writes the frame, or the part `region` (0..1) of it, into `out` and says where it lies there; see
    /// [`run_item`](Self::run_item).
    ///
    /// # Errors
    /// As [`run_item`](Self::run_item).
    pub fn run(
        &mut self,
        frame: &FrameView<'_>,
        region: Option<BBox>,
        out: &mut Tensor,
        border: &mut Border,
    ) -> Result<Geometry, PreError> {
        self.run_item(frame, &View::default(), region, (out, 0), border)
    }

    /// Writes what `view` shows of the frame, or the part `region` (0..1) of that, into picture `item` of the batch `out`,
    /// upright, and says where it lies there.
    ///
    /// `out` has the shape of [`shape`](Self::shape) with any number of pictures, or without the batch, and elements of type F32, F16, U8 or
    /// I8 (the integers rounded and saturated). `border` belongs to that picture of `out`: keep one for each, made with
    /// [`Border::default`]. It remembers which padding the tensor holds, so that padding is written only when it changes.
    ///
    /// # Errors
    /// [`PreError`] if the tensor does not fit the contract, a size is out of range or the region is not finite;
    /// nothing has been written then.
    pub fn run_item(
        &mut self,
        frame: &FrameView<'_>,
        view: &View,
        region: Option<BBox>,
        (out, item): (&mut Tensor, usize),
        border: &mut Border,
    ) -> Result<Geometry, PreError> {
        let info = *frame.info();
        let part = self.check(&info, region, out, item)?;
        let geometry = Geometry::of_view(&self.input, (info.width, info.height), view, region);
        self.rows.begin(&self.input, frame, &geometry);
        match &mut out.data {
            TensorData::F32(v) if self.input.layout == Layout::Nchw => {
                self.fill_planes(frame, &geometry, v.get_mut(part).unwrap_or_default(), border);
            }
            TensorData::F32(v) => self.fill_rows(frame, &geometry, v.get_mut(part).unwrap_or_default(), border),
            TensorData::F16(v) => self.fill_rows(frame, &geometry, v.get_mut(part).unwrap_or_default(), border),
            TensorData::U8(v) => self.fill_rows(frame, &geometry, v.get_mut(part).unwrap_or_default(), border),
            TensorData::I8(v) => self.fill_rows(frame, &geometry, v.get_mut(part).unwrap_or_default(), border),
            TensorData::I32(_) | TensorData::I64(_) => return Err(PreError::DataType(out.data.dtype())),
        }
        Ok(geometry)
    }

    /// The place of picture `item` among the values of `out`.
    fn check(
        &self,
        info: &FrameInfo,
        region: Option<BBox>,
        out: &Tensor,
        item: usize,
    ) -> Result<std::ops::Range<usize>, PreError> {
        let (from, to) = ((info.width, info.height), (self.input.width, self.input.height));
        if [from.0, from.1, to.0, to.1].iter().any(|side| !(1..=MAX_SIDE).contains(side)) {
            return Err(PreError::Size { from, to });
        }
        let need = self.shape();
        let len: usize = need.iter().product();
        // A model may have no dimension for the batch.
        let (batch, picture) = match out.shape.as_slice() {
            picture @ [_, _, _] => (1, Some(picture)),
            shape => (shape.first().copied().unwrap_or(0), shape.get(1..)),
        };
        if picture != need.get(1..) || item >= batch || batch.checked_mul(len) != Some(out.data.len()) {
            return Err(PreError::Shape { have: out.shape.clone(), need, item });
        }
        match region {
            Some(r) if ![r.x, r.y, r.w, r.h].iter().all(|v| v.is_finite()) => Err(PreError::Region(r)),
            _ => Ok(item * len..(item + 1) * len),
        }
    }

    /// Planar f32: rows are rendered where they belong.
    fn fill_planes(&mut self, frame: &FrameView<'_>, geometry: &Geometry, out: &mut [f32], border: &mut Border) {
        border.paint(&self.input, geometry, out);
        let (width, height) = (self.input.width as usize, self.input.height as usize);
        let (tx, ty, tw, th) = geometry.target;
        let mut planes: [&mut [f32]; 3] = Default::default();
        for (slot, plane) in planes.iter_mut().zip(out.chunks_exact_mut(width * height)) {
            *slot = plane;
        }
        for y in 0..th as usize {
            let start = (ty as usize + y) * width + tx as usize;
            let rows = planes.each_mut().map(|p| p.get_mut(start..start + tw as usize).unwrap_or_default());
            self.rows.row(frame, y, rows);
        }
    }

    /// Any type and layout: rows are rendered aside, then converted.
    fn fill_rows<T: Element>(
        &mut self,
        frame: &FrameView<'_>,
        geometry: &Geometry,
        out: &mut [T],
        border: &mut Border,
    ) {
        border.paint(&self.input, geometry, out);
        let (width, height) = (self.input.width as usize, self.input.height as usize);
        let (tx, ty, tw, th) = geometry.target;
        let (tx, tw) = (tx as usize, tw as usize);
        for y in 0..th as usize {
            let rows = self.planar.each_mut().map(|row| row.get_mut(..tw).unwrap_or_default());
            self.rows.row(frame, y, rows);
            let start = (ty as usize + y) * width + tx;
            match self.input.layout {
                Layout::Nchw => {
                    for (plane, row) in out.chunks_exact_mut(width * height).zip(&self.planar) {
                        T::convert(&row[..tw], &mut plane[start..start + tw]);
                    }
                }
                Layout::Nhwc => {
                    let channels = self.input.color.channels();
                    let pixels = store::interleave(&self.planar, channels, tw, &mut self.interleaved);
                    T::convert(pixels, &mut out[start * channels..(start + tw) * channels]);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
