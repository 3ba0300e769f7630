//! Rows with AVX2 and FMA, in whole numbers as OpenCV does it, bit by bit (see `scalar::blend` and `color::Yuv`).
//!
//! A row of the target is made in two steps. The two rows of the frame that it lies between become rows of packed pixels
//! that this file owns and has sized for its gathers, so no stride or plane end matters to these: packed formats are copied,
//! luma and chroma are converted to RGBx. Then a gather fetches eight pixels with all their channels, and another their right
//! neighbours; colour and normalisation follow in f32. Rows and neighbours that weigh nothing are left out.

#![allow(
    clippy::needless_range_loop,
    reason = "adapters of iterators are not inlined where a function has target features"
)]

use std::arch::x86_64::*;

use super::axis::{Axis, FIXED_BITS, LANES};
use super::color::{Channel, ChannelMap, ColorMap, YUV_BITS, Yuv, channels_of};
use super::render::Plan;
use crate::frame::{FrameView, PixelFormat};

/// Pixels that one step of the conversion to RGBx makes, and pairs of them, which share their chroma.
const STEP: usize = 16;
const PAIRS: usize = STEP / 2;

/// Makes rows; exists only where the processor has AVX2 and FMA.
#[derive(Debug)]
pub(super) struct Renderer {
    /// The upper and the lower row of packed pixels.
    rows: [Vec<u8>; 2],
}

impl Renderer {
    /// `None` where the processor lacks AVX2 or FMA.
    pub(super) fn detect() -> Option<Self> {
        let usable = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
        usable.then(|| Self { rows: Default::default() })
    }

    /// Makes room for frames `width` pixels wide.
    pub(super) fn prepare(&mut self, width: usize) {
        // Whole steps of the conversion, and one pixel more than any axis spans with four bytes from its last on: a gather
        // fetches the right neighbour even if it weighs nothing.
        let len = width.next_multiple_of(STEP) * 4 + 8;
        for row in &mut self.rows {
            if row.len() < len {
                row.resize(len, 0);
            }
        }
    }

    /// Makes row `y` of the target; the slices are as wide as the plan's axes.
    pub(super) fn row(&mut self, plan: &Plan, color: &ColorMap, frame: &FrameView<'_>, y: usize, out: [&mut [f32]; 3]) {
        let channels = if color.yuv.is_some() { channels_of(PixelFormat::Rgbx) } else { color.channels };
        let Some(&Channel { plane, step, .. }) = channels.first() else { return };
        let (top, bottom, weight) = plan.y.tap(y);
        let (first, span) = plan.x.used();
        let mut start = 0;
        for (row, y) in self.rows.iter_mut().zip([top, bottom]).take(if weight == 0 { 1 } else { 2 }) {
            if let Some(yuv) = &color.yuv {
                // SAFETY: `detect` has made sure of AVX2.
                start = unsafe { convert(yuv, color.channels, frame, y, (first, span), row) } * step;
            } else {
                let (data, stride) = frame.plane(plane);
                let part = &data[y * stride + first * step..][..span * step];
                row[..part.len()].copy_from_slice(part);
            }
        }
        let pixels = Pixels::new(self.rows.each_ref().map(|row| &row[start..]), &plan.x, step, weight);
        let [a, b, c] = out;
        // SAFETY: `detect` has made sure of AVX2 and FMA.
        unsafe {
            match (channels, color.outputs) {
                (three @ [_, _, _], 3) => emit(&pixels, color.order.map(|i| &three[i]), &color.maps, [a, b, c]),
                ([i, j, k], _) => emit(&pixels, [i, j, k], &color.maps, [a]),
                ([i, ..], 3) => emit(&pixels, [i], &color.maps, [a, b, c]),
                ([i, ..], _) => emit(&pixels, [i], &color.maps, [a]),
                _ => {}
            }
        }
    }
}

/// Converts `span` pixels of row `y` from `first` on to RGBx, whole pairs of them; says at which pixel of `out` the first is.
#[target_feature(enable = "avx2")]
fn convert(
    yuv: &Yuv,
    channels: &[Channel],
    frame: &FrameView<'_>,
    y: usize,
    (first, span): (usize, usize),
    out: &mut [u8],
) -> usize {
    let [luma, u, v] = channels else { return 0 };
    let info = frame.info();
    let pairs = first / 2..(first + span).div_ceil(2);
    let part = |channel: &Channel, unit: usize, y: usize| {
        let (data, stride) = frame.plane(channel.plane);
        let row = &data[y * stride..][..info.format.row_bytes(channel.plane, info.width)];
        // The last pair of an odd row has one luma sample.
        &row[pairs.start * unit..row.len().min(pairs.end * unit)]
    };
    let chroma_row = y / yuv.subsampling.1;
    let rows = [part(luma, 2 * luma.step, y), part(u, u.step, chroma_row), part(v, v.step, chroma_row)];
    match (luma.step, u.step) {
        (1, 1) => convert_row::<2, 1>(yuv, rows, [u, v], out),
        (1, _) => convert_row::<2, 2>(yuv, rows, [u, v], out),
        _ => convert_row::<4, 4>(yuv, rows, [u, v], out),
    }
    first % 2
}

/// The same for whole rows of pairs, which take `L` bytes of the row of luma and `C` bytes of each row of chroma.
#[target_feature(enable = "avx2")]
fn convert_row<const L: usize, const C: usize>(
    yuv: &Yuv,
    [luma, u, v]: [&[u8]; 3],
    channels: [&Channel; 2],
    out: &mut [u8],
) {
    let [at_u, at_v] = channels.map(|channel| (channel.offset * (32 / C)) as i32);
    let shifts = [_mm_cvtsi32_si128(at_u), _mm_cvtsi32_si128(at_v)];
    for i in 0..u.len().div_ceil(C * PAIRS) {
        let (luma, u, v) = (&luma[i * L * PAIRS..], &u[i * C * PAIRS..], &v[i * C * PAIRS..]);
        let luma = units::<L>(luma);
        // A unit of luma has its second sample in its upper half.
        let luma = [byte_at(luma, _mm_setzero_si128()), byte_at(luma, _mm_cvtsi32_si128(16))];
        let (u, v) = (byte_at(units::<C>(u), shifts[0]), byte_at(units::<C>(v), shifts[1]));
        store(to_rgb(yuv, luma, u, v), &mut out[i * 4 * STEP..][..4 * STEP]);
    }
}

/// The first eight units of `N` (1, 2 or 4) bytes, each in 32 bits with as much room for each of its bytes; missing ones are 0.
#[target_feature(enable = "avx2")]
#[inline]
fn units<const N: usize>(bytes: &[u8]) -> __m256i {
    let mut spare = [0; 4 * PAIRS];
    let bytes = if bytes.len() < N * PAIRS {
        spare[..bytes.len()].copy_from_slice(bytes);
        &spare[..]
    } else {
        bytes
    };
    let p = bytes.as_ptr();
    // SAFETY: `bytes` has eight units of `N` bytes, which is what is loaded.
    unsafe {
        match N {
            1 => _mm256_cvtepu8_epi32(_mm_loadl_epi64(p.cast())),
            2 => _mm256_cvtepu8_epi16(_mm_loadu_si128(p.cast())),
            _ => _mm256_loadu_si256(p.cast()),
        }
    }
}

/// The byte of each 32 bits that begins at bit `shift`.
#[target_feature(enable = "avx2")]
#[inline]
fn byte_at(values: __m256i, shift: __m128i) -> __m256i {
    _mm256_and_si256(_mm256_srl_epi32(values, shift), _mm256_set1_epi32(0xff))
}

#[target_feature(enable = "avx2")]
#[inline]
fn times(values: __m256i, factor: i32) -> __m256i {
    _mm256_mullo_epi32(values, _mm256_set1_epi32(factor))
}

/// Red, green and blue (not yet limited to a byte) of the first pixels of eight pairs, then of the second ones.
#[target_feature(enable = "avx2")]
#[inline]
fn to_rgb(yuv: &Yuv, mut luma: [__m256i; 2], u: __m256i, v: __m256i) -> [[__m256i; 2]; 3] {
    let middle = _mm256_set1_epi32(128);
    let (u, v) = (_mm256_sub_epi32(u, middle), _mm256_sub_epi32(v, middle));
    let half = _mm256_set1_epi32(1 << (YUV_BITS - 1));
    for i in 0..2 {
        let above = _mm256_sub_epi32(luma[i], _mm256_set1_epi32(yuv.black));
        luma[i] = _mm256_add_epi32(times(_mm256_max_epi32(above, _mm256_setzero_si256()), yuv.gain), half);
    }
    let green = _mm256_add_epi32(times(u, yuv.green_u), times(v, yuv.green_v));
    let mut rgb = [luma; 3];
    let chroma = [times(v, yuv.red_v), green, times(u, yuv.blue_u)];
    for c in 0..3 {
        for i in 0..2 {
            rgb[c][i] = _mm256_srai_epi32::<{ YUV_BITS as i32 }>(_mm256_add_epi32(rgb[c][i], chroma[c]));
        }
    }
    rgb
}

/// Limits the channels of 16 pixels, which [`to_rgb`] gives, to bytes and writes them as RGBx.
#[target_feature(enable = "avx2")]
#[inline]
fn store([r, g, b]: [[__m256i; 2]; 3], out: &mut [u8]) {
    assert!(out.len() >= 4 * STEP);
    // In each 128-bit half four first, then four second pixels; the bytes are brought into the order of the pixels.
    let r = _mm256_packus_epi32(r[0], r[1]);
    let g = _mm256_packus_epi32(g[0], g[1]);
    let b = _mm256_packus_epi32(b[0], b[1]);
    let woven = _mm256_broadcastsi128_si256(_mm_setr_epi8(0, 8, 4, 12, 1, 9, 5, 13, 2, 10, 6, 14, 3, 11, 7, 15));
    let rg = _mm256_shuffle_epi8(_mm256_packus_epi16(r, g), woven);
    let bx = _mm256_shuffle_epi8(_mm256_packus_epi16(b, _mm256_setzero_si256()), woven);
    let (low, high) = (_mm256_unpacklo_epi16(rg, bx), _mm256_unpackhi_epi16(rg, bx));
    let p: *mut __m256i = out.as_mut_ptr().cast();
    // SAFETY: `out` has 64 bytes.
    unsafe {
        _mm256_storeu_si256(p, _mm256_permute2x128_si256::<0x20>(low, high));
        _mm256_storeu_si256(p.add(1), _mm256_permute2x128_si256::<0x31>(low, high));
    }
}

/// Weights of one output channel, repeated over a vector.
#[derive(Clone, Copy)]
struct Broadcast {
    weights: [__m256; 3],
    offset: __m256,
    scale: __m256,
    bias: __m256,
}

impl Broadcast {
    #[target_feature(enable = "avx2")]
    fn new(map: &ChannelMap) -> Self {
        let [a, b, c] = map.weights;
        let (a, b, c) = (_mm256_set1_ps(a), _mm256_set1_ps(b), _mm256_set1_ps(c));
        Self {
            weights: [a, b, c],
            offset: _mm256_set1_ps(map.offset),
            scale: _mm256_set1_ps(map.scale),
            bias: _mm256_set1_ps(map.bias),
        }
    }
}

#[target_feature(enable = "avx2")]
fn broadcast<const OUT: usize>(maps: &[ChannelMap; 3]) -> [Broadcast; OUT] {
    let mut broadcast = [Broadcast::new(&maps[0]); OUT];
    for (to, from) in broadcast.iter_mut().zip(maps) {
        *to = Broadcast::new(from);
    }
    broadcast
}

/// Fills equally long rows with what `values` makes for each eight pixels.
#[target_feature(enable = "avx2,fma")]
#[inline]
fn each_eight<const OUT: usize>(out: [&mut [f32]; OUT], values: impl Fn(usize) -> [__m256; OUT]) {
    let width = out[0].len();
    assert!(out.iter().all(|o| o.len() == width));
    let out = out.map(|o| o.as_mut_ptr());
    let mut x = 0;
    while x + 8 <= width {
        let values = values(x);
        for o in 0..OUT {
            // SAFETY: `x + 8 <= width`, the length of every output.
            unsafe { _mm256_storeu_ps(out[o].add(x), values[o]) };
        }
        x += 8;
    }
    if x < width {
        let lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
        let mask = _mm256_cmpgt_epi32(_mm256_set1_epi32((width - x) as i32), lane);
        let values = values(x);
        for o in 0..OUT {
            // SAFETY: the mask leaves only the lanes below `width`.
            unsafe { _mm256_maskstore_ps(out[o].add(x), mask, values[o]) };
        }
    }
}

/// Eight pixels of each of the model's channels. Three of three samples are these already, in their order and whole levels.
#[target_feature(enable = "avx2,fma")]
#[inline]
fn colored<const IN: usize, const OUT: usize>(samples: [__m256; IN], maps: &[Broadcast; OUT]) -> [__m256; OUT] {
    let mut values = [_mm256_setzero_ps(); OUT];
    for o in 0..OUT {
        let map = &maps[o];
        if (IN, OUT) == (3, 3) {
            values[o] = _mm256_fmadd_ps(samples[o], map.scale, map.bias);
            continue;
        }
        // Not fused, and in the order of `ChannelMap::apply`: a sum that lies between two levels is rounded the same way.
        let mut sum = _mm256_mul_ps(samples[0], map.weights[0]);
        for i in 1..IN {
            sum = _mm256_add_ps(sum, _mm256_mul_ps(samples[i], map.weights[i]));
        }
        let sum = _mm256_add_ps(sum, map.offset);
        let clamped = _mm256_min_ps(_mm256_max_ps(sum, _mm256_setzero_ps()), _mm256_set1_ps(255.0));
        let whole = _mm256_round_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(clamped);
        values[o] = _mm256_fmadd_ps(whole, map.scale, map.bias);
    }
    values
}

/// Two rows of packed pixels and where they are sampled; four bytes from each left and each right neighbour on are in
/// both rows.
struct Pixels<'a> {
    rows: [&'a [u8]; 2],
    index: &'a [i32],
    fixed: &'a [i32],
    step: usize,
    /// Weight of the lower row.
    weight: i32,
    /// Whether any right neighbour weighs something.
    right: bool,
}

impl<'a> Pixels<'a> {
    fn new(rows: [&'a [u8]; 2], axis: &'a Axis, step: usize, weight: i32) -> Self {
        let (index, fixed) = axis.tables();
        // `Axis` promises `0 <= index < span`.
        assert!(rows.iter().all(|r| axis.used().1 * step + 4 <= r.len()) && index.len() == fixed.len());
        Self { rows, index, fixed, step, weight, right: axis.blends() }
    }
}

#[target_feature(enable = "avx2,fma")]
fn emit<const IN: usize, const OUT: usize>(
    pixels: &Pixels<'_>,
    channels: [&Channel; IN],
    maps: &[ChannelMap; 3],
    out: [&mut [f32]; OUT],
) {
    assert!(pixels.index.len() >= out[0].len().next_multiple_of(LANES));
    let maps = broadcast(maps);
    let mut shifts = [_mm_setzero_si128(); IN];
    for (shift, channel) in shifts.iter_mut().zip(channels) {
        *shift = _mm_cvtsi32_si128(8 * channel.offset as i32);
    }
    match (pixels.weight != 0, pixels.right) {
        (false, false) => each_eight(out, |x| colored(samples::<IN, false, false>(pixels, shifts, x), &maps)),
        (false, true) => each_eight(out, |x| colored(samples::<IN, false, true>(pixels, shifts, x), &maps)),
        (true, false) => each_eight(out, |x| colored(samples::<IN, true, false>(pixels, shifts, x), &maps)),
        (true, true) => each_eight(out, |x| colored(samples::<IN, true, true>(pixels, shifts, x), &maps)),
    }
}

/// Eight samples of each channel, from `x` on; the tables reach at least to `x + 8`. Without `LOWER` the lower row weighs
/// nothing, without `RIGHT` no right neighbour does.
#[target_feature(enable = "avx2")]
#[inline]
fn samples<const IN: usize, const LOWER: bool, const RIGHT: bool>(
    pixels: &Pixels<'_>,
    shifts: [__m128i; IN],
    x: usize,
) -> [__m256; IN] {
    // SAFETY: `emit` has checked that the tables reach to `x + 8`.
    let (index, right) = unsafe {
        let at = |table: &[i32]| _mm256_loadu_si256(table.as_ptr().add(x).cast());
        (at(pixels.index), at(pixels.fixed))
    };
    // Both weights as 16-bit values, the left one in the low half.
    let left = _mm256_sub_epi32(_mm256_set1_epi32(1 << FIXED_BITS), right);
    let weights = _mm256_or_si256(_mm256_slli_epi32::<16>(right), left);
    let step = _mm256_set1_epi32(pixels.step as i32);
    let bytes = _mm256_mullo_epi32(index, step);
    let mut samples = [_mm256_setzero_ps(); IN];
    if !LOWER && !RIGHT {
        // SAFETY: as below.
        let a = unsafe { _mm256_i32gather_epi32::<1>(pixels.rows[0].as_ptr().cast(), bytes) };
        for i in 0..IN {
            samples[i] = _mm256_cvtepi32_ps(byte_at(a, shifts[i]));
        }
        return samples;
    }
    let mut sums = [_mm256_set1_epi32(2); IN];
    let heights = [(1 << FIXED_BITS) - pixels.weight, pixels.weight];
    for r in 0..if LOWER { 2 } else { 1 } {
        let (row, height) = (pixels.rows[r], heights[r]);
        // SAFETY: four bytes from every index and from its right neighbour on are in `row`, see `Pixels`.
        let (a, b) = unsafe {
            let (p, next) = (row.as_ptr().cast(), _mm256_add_epi32(bytes, step));
            let a = _mm256_i32gather_epi32::<1>(p, bytes);
            (a, if RIGHT { _mm256_i32gather_epi32::<1>(p, next) } else { a })
        };
        for i in 0..IN {
            let left = byte_at(a, shifts[i]);
            let across = if RIGHT {
                let pair = _mm256_or_si256(_mm256_slli_epi32::<16>(byte_at(b, shifts[i])), left);
                _mm256_srli_epi32::<4>(_mm256_madd_epi16(pair, weights))
            } else {
                _mm256_slli_epi32::<{ FIXED_BITS as i32 - 4 }>(left)
            };
            sums[i] = _mm256_add_epi32(sums[i], _mm256_srli_epi32::<16>(times(across, height)));
        }
    }
    for i in 0..IN {
        samples[i] = _mm256_cvtepi32_ps(_mm256_srli_epi32::<2>(sums[i]));
    }
    samples
}
