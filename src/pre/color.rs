//! Where a format stores its channels, and how their samples become the model's channels.

use crate::bundle::contract::{Color, InputContract};
use crate::frame::{ColorRange, FrameInfo, PixelFormat};

/// One stored channel: a byte in every `step` of a plane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Channel {
    /// Plane.
    pub plane: usize,
    /// Bytes from one sample to the next: 1 to 4.
    pub step: usize,
    /// Bytes before the first sample; less than `step`.
    pub offset: usize,
    /// Stored at the format's chroma resolution.
    pub chroma: bool,
}

const fn full(plane: usize, step: usize, offset: usize) -> Channel {
    Channel { plane, step, offset, chroma: false }
}

const fn chroma(plane: usize, step: usize, offset: usize) -> Channel {
    Channel { plane, step, offset, chroma: true }
}

/// The channels of a format: Y, U, V or R, G, B, or Y alone.
fn channels_of(format: PixelFormat) -> &'static [Channel] {
    match format {
        PixelFormat::Nv12 => const { &[full(0, 1, 0), chroma(1, 2, 0), chroma(1, 2, 1)] },
        PixelFormat::I420 | PixelFormat::Yv12 => const { &[full(0, 1, 0), chroma(1, 1, 0), chroma(2, 1, 0)] },
        PixelFormat::Yuy2 => const { &[full(0, 2, 0), chroma(0, 4, 1), chroma(0, 4, 3)] },
        PixelFormat::Rgb => const { &[full(0, 3, 0), full(0, 3, 1), full(0, 3, 2)] },
        PixelFormat::Bgr => const { &[full(0, 3, 2), full(0, 3, 1), full(0, 3, 0)] },
        PixelFormat::Rgbx | PixelFormat::Rgba => const { &[full(0, 4, 0), full(0, 4, 1), full(0, 4, 2)] },
        PixelFormat::Bgrx | PixelFormat::Bgra => const { &[full(0, 4, 2), full(0, 4, 1), full(0, 4, 0)] },
        PixelFormat::Gray8 => const { &[full(0, 1, 0)] },
    }
}

/// Pixels per chroma sample, horizontally and vertically.
pub(super) fn subsampling(format: PixelFormat) -> (usize, usize) {
    match format {
        PixelFormat::Nv12 | PixelFormat::I420 | PixelFormat::Yv12 => (2, 2),
        PixelFormat::Yuy2 => (2, 1),
        _ => (1, 1),
    }
}

/// From the samples of a pixel to one channel of the model: `round(clamp(weights · samples + offset, 0, 255)) * scale + bias`. Models
/// are trained on whole levels, and some answer to a single one.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct ChannelMap {
    /// Weight of each stored channel's sample (0..255).
    pub weights: [f32; 3],
    /// Added before the clamp.
    pub offset: f32,
    /// `1 / std`.
    pub scale: f32,
    /// `-mean / std`.
    pub bias: f32,
}

impl ChannelMap {
    /// The model's value for the samples of one pixel.
    pub(super) fn apply(&self, samples: [f32; 3]) -> f32 {
        let [a, b, c] = self.weights;
        let value = a * samples[0] + b * samples[1] + c * samples[2] + self.offset;
        value.clamp(0.0, 255.0).round_ties_even() * self.scale + self.bias
    }
}

/// The stored channels that a model needs, and how its own are made of them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct ColorMap {
    /// Stored channels to sample: one or three.
    pub channels: &'static [Channel],
    /// The model's channels; as many as its colour has, the rest unused.
    pub maps: [ChannelMap; 3],
    /// How many of `maps` are in use: one or three.
    pub outputs: usize,
}

impl ColorMap {
    /// For frames like `info` and the model's `input`.
    pub(super) fn new(input: &InputContract, info: &FrameInfo) -> Self {
        let channels = channels_of(info.format);
        let (channels, rows) = match input.color {
            Color::Gray if info.format.is_yuv() => (&channels[..1], [luma(info); 3]),
            // The weights that OpenCV's COLOR_RGB2GRAY uses (BT.601).
            Color::Gray => (channels, [([0.299, 0.587, 0.114], 0.0); 3]),
            Color::Rgb => (channels, to_rgb(info)),
            Color::Bgr => {
                let [r, g, b] = to_rgb(info);
                (channels, [b, g, r])
            }
        };
        let maps = std::array::from_fn(|c| {
            let (weights, offset) = rows[c];
            let (scale, bias) = input.affine(c);
            ChannelMap { weights, offset, scale, bias }
        });
        Self { channels, maps, outputs: input.color.channels() }
    }

    /// Whether a channel is stored at another resolution than the others.
    pub(super) fn has_chroma(&self) -> bool {
        self.channels.iter().any(|channel| channel.chroma)
    }
}

/// Weights of the stored channels and an offset.
type Affine = ([f32; 3], f32);

/// Factor and offset that bring luma to 0..255, and the factor for chroma (centred at 128) (ITU-T H.273, 8 bits).
fn expansion(range: ColorRange) -> (f32, f32, f32) {
    match range {
        ColorRange::Limited => (255.0 / 219.0, -16.0 * 255.0 / 219.0, 255.0 / 224.0),
        ColorRange::Full => (1.0, 0.0, 1.0),
    }
}

fn luma(info: &FrameInfo) -> Affine {
    let (gain, offset, _) = expansion(info.range);
    ([gain, 0.0, 0.0], offset)
}

/// Red, green and blue (0..255) from the stored channels.
fn to_rgb(info: &FrameInfo) -> [Affine; 3] {
    match info.format {
        PixelFormat::Gray8 => [luma(info); 3],
        format if format.is_yuv() => {
            let (kr, kb) = info.matrix.kr_kb();
            let kg = 1.0 - kr - kb;
            let (y, offset, c) = expansion(info.range);
            let (rv, bu) = (2.0 * (1.0 - kr) * c, 2.0 * (1.0 - kb) * c);
            let (gu, gv) = (-bu * kb / kg, -rv * kr / kg);
            [
                ([y, 0.0, rv], offset - 128.0 * rv),
                ([y, gu, gv], offset - 128.0 * (gu + gv)),
                ([y, bu, 0.0], offset - 128.0 * bu),
            ]
        }
        _ => [([1.0, 0.0, 0.0], 0.0), ([0.0, 1.0, 0.0], 0.0), ([0.0, 0.0, 1.0], 0.0)],
    }
}
