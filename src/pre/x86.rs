//! Rows with AVX2 and FMA.
//!
//! A row is made in two steps. Down: for each stored channel, the two plane rows that the output row lies between
//! are blended, contiguously, into a row of 16-bit values with 7 fraction bits. Across: both horizontal neighbours
//! of a sample lie side by side there, so one 32-bit gather fetches them and one multiply-add blends them; colour,
//! clamp and normalisation follow in f32. Gathers read only rows that this file owns and has sized for them, so no
//! stride or plane end matters to them.
//!
//! Pixels without chroma (RGB, grey) take another way, in whole numbers: both rows are copied, two gathers for each fetch
//! a pixel and its right neighbour with all their channels, and the blend is OpenCV's, bit by bit (see `scalar::fixed`).

use std::arch::x86_64::*;

use super::axis::{Axis, FIXED_BITS, LANES, WEIGHT_BITS};
use super::color::{Channel, ChannelMap, ColorMap};
use super::render::Plan;
use crate::frame::FrameView;

/// Fraction bits of a vertically blended sample: 255 << 7 still fits in `i16`.
const SAMPLE_BITS: u32 = 7;
/// What a gathered and blended sample must be multiplied by.
const UNIT: f32 = 1.0 / (1 << (SAMPLE_BITS + WEIGHT_BITS)) as f32;
/// Samples that one step of the vertical blend makes.
const STEP: usize = 16;

/// Makes rows; exists only where the processor has AVX2 and FMA.
#[derive(Debug)]
pub(super) struct Renderer {
    /// A vertically blended row per stored channel.
    blended: [Vec<i16>; 3],
    /// The upper and the lower row of packed pixels.
    copied: [Vec<u8>; 2],
}

impl Renderer {
    /// `None` where the processor lacks AVX2 or FMA.
    pub(super) fn detect() -> Option<Self> {
        let usable = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
        usable.then(|| Self { blended: Default::default(), copied: Default::default() })
    }

    /// Makes room for frames `width` pixels wide.
    pub(super) fn prepare(&mut self, width: usize) {
        // One value more than any axis spans, because a gather fetches the right neighbour even if it weighs nothing.
        let len = (width + 1).next_multiple_of(STEP);
        for row in &mut self.blended {
            if row.len() < len {
                row.resize(len, 0);
            }
        }
        // A gather fetches four bytes from the right neighbour's first on.
        let len = (width + 1) * 4 + 4;
        for row in &mut self.copied {
            if row.len() < len {
                row.resize(len, 0);
            }
        }
    }

    /// Makes row `y` of the target; the slices are as wide as the plan's axes.
    pub(super) fn row(&mut self, plan: &Plan, color: &ColorMap, frame: &FrameView<'_>, y: usize, out: [&mut [f32]; 3]) {
        if !color.has_chroma() {
            return self.fixed_row(plan, color, frame, y, out);
        }
        for (channel, row) in color.channels.iter().zip(&mut self.blended) {
            let grid = plan.grid(channel);
            let (data, stride) = frame.plane(channel.plane);
            let (top, bottom, weight) = grid.y.tap(y);
            let (first, span) = grid.x.used();
            let part = |y: usize| &data[y * stride + first * channel.step..][..span * channel.step];
            // SAFETY: `detect` has made sure of AVX2.
            unsafe { down(part(top), part(bottom), weight, channel, row) };
        }
        let axes = std::array::from_fn(|c| color.channels.get(c).map(|channel| &plan.grid(channel).x));
        // SAFETY: `detect` has made sure of AVX2 and FMA.
        unsafe { across(&self.blended, axes, color, out) };
    }

    /// Makes row `y` of pixels that have all their channels in one place.
    fn fixed_row(&mut self, plan: &Plan, color: &ColorMap, frame: &FrameView<'_>, y: usize, out: [&mut [f32]; 3]) {
        let Some(channel) = color.channels.first() else { return };
        let grid = plan.grid(channel);
        let (data, stride) = frame.plane(channel.plane);
        let (top, bottom, weight) = grid.y.fixed_tap(y);
        let (first, span) = grid.x.used();
        for (row, y) in self.copied.iter_mut().zip([top, bottom]) {
            let part = &data[y * stride + first * channel.step..][..span * channel.step];
            row[..part.len()].copy_from_slice(part);
        }
        let [upper, lower] = &self.copied;
        let pixels = Pixels::new([upper, lower], &grid.x, channel.step, weight);
        let [a, b, c] = out;
        // SAFETY: `detect` has made sure of AVX2 and FMA.
        unsafe {
            match (color.channels, color.outputs) {
                ([i, j, k], 3) => emit_fixed(&pixels, [i, j, k], &color.maps, [a, b, c]),
                ([i, j, k], _) => emit_fixed(&pixels, [i, j, k], &color.maps, [a]),
                ([i, ..], 3) => emit_fixed(&pixels, [i], &color.maps, [a, b, c]),
                ([i, ..], _) => emit_fixed(&pixels, [i], &color.maps, [a]),
                _ => {}
            }
        }
    }
}

/// Blends two rows of a channel into `out`, which has room for a multiple of [`STEP`] samples.
#[target_feature(enable = "avx2")]
fn down(a: &[u8], b: &[u8], weight: f32, channel: &Channel, out: &mut [i16]) {
    match channel.step {
        1 => blend::<1>(a, b, weight, channel.offset, out),
        2 => blend::<2>(a, b, weight, channel.offset, out),
        3 => blend::<3>(a, b, weight, channel.offset, out),
        _ => blend::<4>(a, b, weight, channel.offset, out),
    }
}

#[target_feature(enable = "avx2")]
fn blend<const N: usize>(a: &[u8], b: &[u8], weight: f32, offset: usize, out: &mut [i16]) {
    let weight = (weight * 32768.0).round().min(32767.0) as i16;
    let factor = _mm256_set1_epi16(weight);
    let (chunks_a, chunks_b) = (a.chunks_exact(N * STEP), b.chunks_exact(N * STEP));
    let (rest_a, rest_b) = (chunks_a.remainder(), chunks_b.remainder());
    let mut out = out.chunks_exact_mut(STEP);
    if weight == 0 {
        for (a, out) in chunks_a.zip(&mut out) {
            store(_mm256_slli_epi16::<{ SAMPLE_BITS as i32 }>(load::<N>(a, offset)), out);
        }
    } else {
        for ((a, b), out) in chunks_a.zip(chunks_b).zip(&mut out) {
            store(mix(load::<N>(a, offset), load::<N>(b, offset), factor), out);
        }
    }
    if let (false, Some(out)) = (rest_a.is_empty(), out.next()) {
        let (mut a, mut b) = ([0; 4 * STEP], [0; 4 * STEP]);
        a[..rest_a.len()].copy_from_slice(rest_a);
        b[..rest_b.len()].copy_from_slice(rest_b);
        store(mix(load::<N>(&a[..N * STEP], offset), load::<N>(&b[..N * STEP], offset), factor), out);
    }
}

/// `a + (b - a) * factor` with [`SAMPLE_BITS`] fraction bits; `factor` has 15.
#[target_feature(enable = "avx2")]
fn mix(a: __m256i, b: __m256i, factor: __m256i) -> __m256i {
    let a = _mm256_slli_epi16::<{ SAMPLE_BITS as i32 }>(a);
    let b = _mm256_slli_epi16::<{ SAMPLE_BITS as i32 }>(b);
    _mm256_add_epi16(a, _mm256_mulhrs_epi16(_mm256_sub_epi16(b, a), factor))
}

#[target_feature(enable = "avx2")]
fn store(values: __m256i, out: &mut [i16]) {
    assert!(out.len() >= STEP);
    // SAFETY: `out` has 16 values, 32 bytes.
    unsafe { _mm256_storeu_si256(out.as_mut_ptr().cast(), values) }
}

/// The byte at `offset` of 16 units of `N` bytes, widened to 16 bits.
#[target_feature(enable = "avx2")]
fn load<const N: usize>(units: &[u8], offset: usize) -> __m256i {
    assert!(units.len() >= N * STEP);
    let p = units.as_ptr();
    // SAFETY: every load below stays within the first `16 * N` bytes, which `units` has.
    unsafe {
        match N {
            1 => _mm256_cvtepu8_epi16(_mm_loadu_si128(p.cast())),
            2 => {
                let pairs = _mm256_loadu_si256(p.cast());
                let low = _mm_cvtsi32_si128(8 * offset as i32);
                _mm256_and_si256(_mm256_srl_epi16(pairs, low), _mm256_set1_epi16(0xff))
            }
            3 => {
                let [m0, m1, m2] = &TRIPLE_BYTES[offset];
                let v0 = _mm_shuffle_epi8(_mm_loadu_si128(p.cast()), _mm_loadu_si128(m0.as_ptr().cast()));
                let v1 = _mm_shuffle_epi8(_mm_loadu_si128(p.add(16).cast()), _mm_loadu_si128(m1.as_ptr().cast()));
                let v2 = _mm_shuffle_epi8(_mm_loadu_si128(p.add(32).cast()), _mm_loadu_si128(m2.as_ptr().cast()));
                _mm256_cvtepu8_epi16(_mm_or_si128(_mm_or_si128(v0, v1), v2))
            }
            _ => {
                let (low, byte) = (_mm_cvtsi32_si128(8 * offset as i32), _mm256_set1_epi32(0xff));
                let first = _mm256_and_si256(_mm256_srl_epi32(_mm256_loadu_si256(p.cast()), low), byte);
                let second = _mm256_and_si256(_mm256_srl_epi32(_mm256_loadu_si256(p.add(32).cast()), low), byte);
                // The pack works within 128-bit halves; the permutation puts the quarters in order.
                _mm256_permute4x64_epi64::<0b11_01_10_00>(_mm256_packus_epi32(first, second))
            }
        }
    }
}

/// For each byte of a unit of three: which bytes of the three 16-byte parts of 48 bytes are its 16 samples
/// (`0x80` leaves a 0).
static TRIPLE_BYTES: [[[u8; 16]; 3]; 3] = triple_bytes();

const fn triple_bytes() -> [[[u8; 16]; 3]; 3] {
    let mut masks = [[[0x80; 16]; 3]; 3];
    let mut at = 0;
    while at < 48 {
        masks[at % 3][at / 16][at / 3] = (at % 16) as u8;
        at += 1;
    }
    masks
}

/// Blends horizontally, maps colours, normalises.
#[target_feature(enable = "avx2,fma")]
fn across(rows: &[Vec<i16>; 3], axes: [Option<&Axis>; 3], color: &ColorMap, out: [&mut [f32]; 3]) {
    let [a, b, c] = rows;
    let [x, y, z] = out;
    match (axes, color.outputs) {
        ([Some(i), Some(j), Some(k)], 3) => {
            emit([Taps::new(a, i), Taps::new(b, j), Taps::new(c, k)], &color.maps, [x, y, z])
        }
        ([Some(i), Some(j), Some(k)], _) => emit([Taps::new(a, i), Taps::new(b, j), Taps::new(c, k)], &color.maps, [x]),
        ([Some(i), ..], 3) => emit([Taps::new(a, i)], &color.maps, [x, y, z]),
        ([Some(i), ..], _) => emit([Taps::new(a, i)], &color.maps, [x]),
        _ => {}
    }
}

/// A blended row and where it is sampled; `index[i] + 1` is within `row` for all `i`.
#[derive(Clone, Copy)]
struct Taps<'a> {
    row: &'a [i16],
    index: &'a [i32],
    packed: &'a [i32],
}

impl<'a> Taps<'a> {
    fn new(row: &'a [i16], axis: &'a Axis) -> Self {
        let (index, packed) = axis.tables();
        // `Axis` promises `0 <= index < span`.
        assert!(axis.used().1 < row.len() && index.len() == packed.len());
        Self { row, index, packed }
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
    /// For samples that are to be multiplied by `unit`.
    #[target_feature(enable = "avx2")]
    fn new(map: &ChannelMap, unit: f32) -> Self {
        let [a, b, c] = map.weights;
        let (a, b, c) = (_mm256_set1_ps(a * unit), _mm256_set1_ps(b * unit), _mm256_set1_ps(c * unit));
        Self {
            weights: [a, b, c],
            offset: _mm256_set1_ps(map.offset),
            scale: _mm256_set1_ps(map.scale),
            bias: _mm256_set1_ps(map.bias),
        }
    }
}

#[target_feature(enable = "avx2,fma")]
fn emit<const IN: usize, const OUT: usize>(taps: [Taps<'_>; IN], maps: &[ChannelMap; 3], out: [&mut [f32]; OUT]) {
    let width = out[0].len();
    assert!(
        taps.iter().all(|t| t.index.len() >= width.next_multiple_of(LANES)) && out.iter().all(|o| o.len() == width)
    );
    let maps = broadcast(maps, UNIT);
    each_eight(out, |x| colored(samples(&taps, x), &maps));
}

#[target_feature(enable = "avx2")]
fn broadcast<const OUT: usize>(maps: &[ChannelMap; 3], unit: f32) -> [Broadcast; OUT] {
    let mut broadcast = [Broadcast::new(&maps[0], unit); OUT];
    for (to, from) in broadcast.iter_mut().zip(maps) {
        *to = Broadcast::new(from, unit);
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
        for (out, values) in out.iter().zip(values(x)) {
            // SAFETY: `x + 8 <= width`, the length of every output.
            unsafe { _mm256_storeu_ps(out.add(x), values) };
        }
        x += 8;
    }
    if x < width {
        let lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
        let mask = _mm256_cmpgt_epi32(_mm256_set1_epi32((width - x) as i32), lane);
        for (out, values) in out.iter().zip(values(x)) {
            // SAFETY: the mask leaves only the lanes below `width`.
            unsafe { _mm256_maskstore_ps(out.add(x), mask, values) };
        }
    }
}

/// Eight samples of each stored channel, from `x` on; the tables reach at least to `x + 8`.
#[target_feature(enable = "avx2")]
#[inline]
fn samples<const IN: usize>(taps: &[Taps<'_>; IN], x: usize) -> [__m256; IN] {
    let mut samples = [_mm256_setzero_ps(); IN];
    for (sample, t) in samples.iter_mut().zip(taps) {
        // SAFETY: `emit` has checked that the tables reach to `x + 8`; every index and its right neighbour are in
        // `row`, see `Taps`.
        let both = unsafe {
            let (index, weights) = (_mm256_loadu_si256(t.index.as_ptr().add(x).cast()), t.packed.as_ptr().add(x));
            let pairs = _mm256_i32gather_epi32::<2>(t.row.as_ptr().cast(), index);
            _mm256_madd_epi16(pairs, _mm256_loadu_si256(weights.cast()))
        };
        *sample = _mm256_cvtepi32_ps(both);
    }
    samples
}

/// Eight pixels of each of the model's channels.
#[target_feature(enable = "avx2,fma")]
#[inline]
fn colored<const IN: usize, const OUT: usize>(samples: [__m256; IN], maps: &[Broadcast; OUT]) -> [__m256; OUT] {
    let mut values = [_mm256_setzero_ps(); OUT];
    for (value, map) in values.iter_mut().zip(maps) {
        let mut sum = map.offset;
        for (sample, weight) in samples.iter().zip(map.weights) {
            sum = _mm256_fmadd_ps(*sample, weight, sum);
        }
        let clamped = _mm256_min_ps(_mm256_max_ps(sum, _mm256_setzero_ps()), _mm256_set1_ps(255.0));
        let whole = _mm256_round_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(clamped);
        *value = _mm256_fmadd_ps(whole, map.scale, map.bias);
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
}

impl<'a> Pixels<'a> {
    fn new(rows: [&'a [u8]; 2], axis: &'a Axis, step: usize, weight: i32) -> Self {
        let (index, fixed) = axis.fixed_tables();
        // `Axis` promises `0 <= index < span`.
        assert!(rows.iter().all(|r| axis.used().1 * step + 4 <= r.len()) && index.len() == fixed.len());
        Self { rows, index, fixed, step, weight }
    }
}

#[target_feature(enable = "avx2,fma")]
fn emit_fixed<const IN: usize, const OUT: usize>(
    pixels: &Pixels<'_>,
    channels: [&Channel; IN],
    maps: &[ChannelMap; 3],
    out: [&mut [f32]; OUT],
) {
    assert!(pixels.index.len() >= out[0].len().next_multiple_of(LANES));
    let maps = broadcast(maps, 1.0);
    let shifts = channels.map(|c| _mm_cvtsi32_si128(8 * c.offset as i32));
    each_eight(out, |x| colored(fixed_samples(pixels, shifts, x), &maps));
}

/// Eight samples of each channel, from `x` on; the tables reach at least to `x + 8`.
#[target_feature(enable = "avx2")]
#[inline]
fn fixed_samples<const IN: usize>(pixels: &Pixels<'_>, shifts: [__m128i; IN], x: usize) -> [__m256; IN] {
    // SAFETY: `emit_fixed` has checked that the tables reach to `x + 8`.
    let (index, right) = unsafe {
        let at = |table: &[i32]| _mm256_loadu_si256(table.as_ptr().add(x).cast());
        (at(pixels.index), at(pixels.fixed))
    };
    // Both weights as 16-bit values, the left one in the low half.
    let left = _mm256_sub_epi32(_mm256_set1_epi32(1 << FIXED_BITS), right);
    let weights = _mm256_or_si256(_mm256_slli_epi32::<16>(right), left);
    let bytes = _mm256_mullo_epi32(index, _mm256_set1_epi32(pixels.step as i32));
    let next = _mm256_add_epi32(bytes, _mm256_set1_epi32(pixels.step as i32));
    let heights = [(1 << FIXED_BITS) - pixels.weight, pixels.weight].map(|w| _mm256_set1_epi32(w));
    let byte = _mm256_set1_epi32(0xff);
    let mut sums = [_mm256_set1_epi32(2); IN];
    for (row, height) in pixels.rows.into_iter().zip(heights) {
        // SAFETY: four bytes from every index and from its right neighbour on are in `row`, see `Pixels`.
        let (a, b) = unsafe {
            let p = row.as_ptr().cast();
            (_mm256_i32gather_epi32::<1>(p, bytes), _mm256_i32gather_epi32::<1>(p, next))
        };
        for (sum, shift) in sums.iter_mut().zip(shifts) {
            let a = _mm256_and_si256(_mm256_srl_epi32(a, shift), byte);
            let b = _mm256_and_si256(_mm256_srl_epi32(b, shift), byte);
            let across = _mm256_madd_epi16(_mm256_or_si256(_mm256_slli_epi32::<16>(b), a), weights);
            let down = _mm256_mullo_epi32(_mm256_srli_epi32::<4>(across), height);
            *sum = _mm256_add_epi32(*sum, _mm256_srli_epi32::<16>(down));
        }
    }
    sums.map(|sum| _mm256_cvtepi32_ps(_mm256_srli_epi32::<2>(sum)))
}
