//! Where a format stores its channels, and how their samples become the model's channels.

use crate::bundle::contract::{Color, InputContract};
use crate::frame::{ColorMatrix, ColorRange, FrameInfo, PixelFormat};

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
pub(super) fn channels_of(format: PixelFormat) -> &'static [Channel] {
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

/// Fraction bits of [`Yuv`]'s factors.
pub(super) const YUV_BITS: u32 = 20;

/// How Y, U and V become R, G and B in whole numbers, before a picture is resized: bit by bit what OpenCV's `cvtColor` does
/// (`ITUR_BT_601_*` and `yRGBuvToRGBA` in `modules/imgproc/src/color_yuv.simd.hpp`). It knows one matrix and range; the others
/// are done alike, with their own factors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Yuv {
    /// Luma of black.
    pub black: i32,
    /// Factor of luma above black; this and the others with [`YUV_BITS`] fraction bits.
    pub gain: i32,
    /// Factor of V (centred at 128) for red.
    pub red_v: i32,
    /// Factor of U for green.
    pub green_u: i32,
    /// Factor of V for green.
    pub green_v: i32,
    /// Factor of U for blue.
    pub blue_u: i32,
    /// Pixels per chroma sample, horizontally and vertically: the sample stands for all of them alike.
    pub subsampling: (usize, usize),
}

impl Yuv {
    fn new(info: &FrameInfo) -> Self {
        let subsampling = subsampling(info.format);
        if (info.matrix, info.range) == (ColorMatrix::Bt601, ColorRange::Limited) {
            // OpenCV has rounded them to three decimals first.
            let (gain, red_v, green_u, green_v, blue_u) = (1_220_542, 1_673_527, -409_993, -852_492, 2_116_026);
            return Self { black: 16, gain, red_v, green_u, green_v, blue_u, subsampling };
        }
        let fixed = |factor: f32| (factor * (1 << YUV_BITS) as f32).round() as i32;
        let [([gain, _, red_v], _), ([_, green_u, green_v], _), ([_, blue_u, _], _)] = to_rgb(info);
        Self {
            black: if info.range == ColorRange::Limited { 16 } else { 0 },
            gain: fixed(gain),
            red_v: fixed(red_v),
            green_u: fixed(green_u),
            green_v: fixed(green_v),
            blue_u: fixed(blue_u),
            subsampling,
        }
    }

    /// Red, green and blue of a pixel, 0..255.
    pub(super) fn rgb(&self, [y, u, v]: [i32; 3]) -> [i32; 3] {
        let (y, u, v) = ((y - self.black).max(0) * self.gain, u - 128, v - 128);
        let chroma = [self.red_v * v, self.green_u * u + self.green_v * v, self.blue_u * u];
        chroma.map(|c| ((y + c + (1 << (YUV_BITS - 1))) >> YUV_BITS).clamp(0, 255))
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
    /// The sample that alone makes each of the model's channels where there are three of either, red, green and blue.
    pub order: [usize; 3],
    /// What makes red, green and blue of the stored channels before they are blended; the maps take these then.
    pub yuv: Option<Yuv>,
}

impl ColorMap {
    /// For frames like `info` and the model's `input`. Where that is anti-aliased, the maps take what is stored.
    pub(super) fn new(input: &InputContract, info: &FrameInfo) -> Self {
        let channels = channels_of(info.format);
        let convert = !input.antialias && input.color != Color::Gray && channels.iter().any(|channel| channel.chroma);
        let colors = if convert { RGB } else { to_rgb(info) };
        let (channels, rows) = match input.color {
            Color::Gray if info.format.is_yuv() => (&channels[..1], [luma(info); 3]),
            // The weights that OpenCV's COLOR_RGB2GRAY uses (BT.601).
            Color::Gray => (channels, [([0.299, 0.587, 0.114], 0.0); 3]),
            Color::Rgb => (channels, colors),
            Color::Bgr => {
                let [r, g, b] = colors;
                (channels, [b, g, r])
            }
        };
        let order = if input.color == Color::Bgr { [2, 1, 0] } else { [0, 1, 2] };
        let maps = std::array::from_fn(|c| {
            let (weights, offset) = rows[c];
            let (scale, bias) = input.affine(c);
            ChannelMap { weights, offset, scale, bias }
        });
        Self { channels, maps, outputs: input.color.channels(), order, yuv: convert.then(|| Yuv::new(info)) }
    }
}

/// Weights of the stored channels and an offset.
type Affine = ([f32; 3], f32);

/// Red, green and blue as they are.
const RGB: [Affine; 3] = [([1.0, 0.0, 0.0], 0.0), ([0.0, 1.0, 0.0], 0.0), ([0.0, 0.0, 1.0], 0.0)];

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
        _ => RGB,
    }
}
