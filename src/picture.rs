//! Parts of frames as JPEG files: pictures of objects in events, and whole frames that are sampled.

use crate::bundle::contract::{Align, Color, InputContract, Layout, Resize};
use crate::engine::{DataType, Tensor, TensorData};
use crate::frame::FrameView;
use crate::pre::{Border, Preprocessor};
use crate::result::BBox;

/// Longest side of an object's picture, pixels.
const LONGEST_SIDE: f32 = 256.0;
/// Shortest side of a picture, pixels; below it nobody sees anything.
const SHORTEST_SIDE: f32 = 8.0;
/// What is shown around an object's box, as a share of its sides.
const MARGIN: f32 = 0.1;
/// JPEG qualities that are tried, the best first.
const QUALITIES: [u8; 4] = [85, 70, 50, 30];
/// Quality of whole frames.
const FRAME_QUALITY: u8 = 85;
/// A hidden part is made of so many squares across its shorter side: a face in them is nobody's.
const SQUARES: usize = 6;

/// A JPEG file and the size of its picture in pixels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Jpeg {
    /// Width and height.
    pub size: (u32, u32),
    /// The file.
    pub bytes: Vec<u8>,
}

/// Rows of red, green and blue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rgb {
    size: (u32, u32),
    pixels: Vec<u8>,
}

/// The part of `frame` around `bbox` (0..1), at most 256 pixels wide and high and never enlarged, as a JPEG file of at most `limit` bytes: with
/// lower quality, then smaller. `None` if the box is empty or even the smallest picture is larger.
pub fn cut_out(frame: &FrameView<'_>, bbox: BBox, limit: usize) -> Option<Jpeg> {
    let part = BBox {
        x: bbox.x - MARGIN * bbox.w,
        y: bbox.y - MARGIN * bbox.h,
        w: bbox.w * (1.0 + 2.0 * MARGIN),
        h: bbox.h * (1.0 + 2.0 * MARGIN),
    }
    .clipped();
    let (w, h) = (part.w * frame.info().width as f32, part.h * frame.info().height as f32);
    // Also what is no number ends here.
    if !(w >= 1.0 && h >= 1.0) {
        return None;
    }
    let mut scale = (LONGEST_SIDE / w.max(h)).min(1.0);
    loop {
        let size = ((w * scale).round().max(1.0) as u32, (h * scale).round().max(1.0) as u32);
        let picture = Rgb::of(frame, part, size)?;
        for quality in QUALITIES {
            let jpeg = picture.encode(quality)?;
            if jpeg.bytes.len() <= limit {
                return Some(jpeg);
            }
        }
        scale *= 0.5;
        if w.max(h) * scale < SHORTEST_SIDE {
            return None;
        }
    }
}

impl Rgb {
    /// The whole frame. `None` if it cannot be read.
    pub fn frame(frame: &FrameView<'_>) -> Option<Self> {
        Self::of(frame, BBox::WHOLE, (frame.info().width, frame.info().height))
    }

    fn of(frame: &FrameView<'_>, part: BBox, size: (u32, u32)) -> Option<Self> {
        let mut preprocessor = Preprocessor::new(InputContract {
            layout: Layout::Nhwc,
            width: size.0,
            height: size.1,
            color: Color::Rgb,
            resize: Resize::Stretch,
            antialias: true,
            crop_fraction: 1.0,
            align: Align::Center,
            pad: 0,
            mean: [0.0; 3],
            std: [1.0; 3],
            quantization: None,
        });
        let mut tensor = Tensor::zeros("picture", DataType::U8, &preprocessor.shape());
        preprocessor.run(frame, Some(part), &mut tensor, &mut Border::default()).ok()?;
        match &tensor.data {
            TensorData::U8(values) => Some(Self { size, pixels: values.to_vec() }),
            _ => None,
        }
    }

    /// Makes what is in `part` (0..1) unrecognisable: a few squares of one colour each.
    pub fn hide(&mut self, part: BBox) {
        let part = part.clipped();
        let (w, h) = (self.size.0 as usize, self.size.1 as usize);
        let place = |share: f32, whole: usize| (share.clamp(0.0, 1.0) * whole as f32) as usize;
        let (left, top) = (place(part.x, w), place(part.y, h));
        let (right, bottom) = ((place(part.x2(), w) + 1).min(w), (place(part.y2(), h) + 1).min(h));
        let side = (right.saturating_sub(left).min(bottom.saturating_sub(top)) / SQUARES).max(4);
        for y in (top..bottom).step_by(side) {
            for x in (left..right).step_by(side) {
                self.flatten(x..(x + side).min(right), y..(y + side).min(bottom));
            }
        }
    }

    /// Gives a square the mean of its colours.
    fn flatten(&mut self, columns: std::ops::Range<usize>, rows: std::ops::Range<usize>) {
        let width = self.size.0 as usize;
        let count = (columns.len() * rows.len()).max(1) as u64;
        for channel in 0..3 {
            let places = || rows.clone().flat_map(|y| columns.clone().map(move |x| (y * width + x) * 3 + channel));
            let sum: u64 = places().filter_map(|place| self.pixels.get(place)).map(|value| u64::from(*value)).sum();
            for place in places() {
                if let Some(value) = self.pixels.get_mut(place) {
                    *value = (sum / count) as u8;
                }
            }
        }
    }

    /// As a JPEG file, at the quality of whole frames. `None` if a side is longer than JPEG knows.
    pub fn to_jpeg(&self) -> Option<Jpeg> {
        self.encode(FRAME_QUALITY)
    }

    fn encode(&self, quality: u8) -> Option<Jpeg> {
        let mut bytes = Vec::new();
        let encoder = jpeg_encoder::Encoder::new(&mut bytes, quality);
        let (width, height) = (self.size.0.try_into().ok()?, self.size.1.try_into().ok()?);
        encoder.encode(&self.pixels, width, height, jpeg_encoder::ColorType::Rgb).ok()?;
        Some(Jpeg { size: self.size, bytes })
    }
}

#[cfg(test)]
#[path = "picture_tests.rs"]
mod tests;
