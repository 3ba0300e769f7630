//! Blending of coverage into the planes of any format: the one place that writes pixels.
//!
//! A shape says, row by row, how much of each pixel it covers (0..255). Rows are taken in pairs, because formats
//! with halved chroma share one chroma sample between two rows: luma is blended with each pixel's own coverage and
//! chroma with the mean coverage of the pixels that share the sample, so that colour neither bleeds nor is lost.

use std::ops::Range;

use super::color::{Ink, Rgb};
use crate::frame::{FrameInfo, FrameMut, PixelFormat};

/// Whole pixels from (`x0`, `y0`) up to but without (`x1`, `y1`); may lie outside the frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rect {
    pub x0: i32,
    pub y0: i32,
    pub x1: i32,
    pub y1: i32,
}

impl Rect {
    pub fn new(x0: i32, y0: i32, x1: i32, y1: i32) -> Self {
        Self { x0, y0, x1, y1 }
    }

    pub fn width(&self) -> i32 {
        self.x1 - self.x0
    }

    pub fn height(&self) -> i32 {
        self.y1 - self.y0
    }

    pub fn is_empty(&self) -> bool {
        self.x1 <= self.x0 || self.y1 <= self.y0
    }

    /// The common part; empty if there is none.
    pub fn intersect(&self, o: &Rect) -> Rect {
        Rect::new(self.x0.max(o.x0), self.y0.max(o.y0), self.x1.min(o.x1), self.y1.min(o.y1))
    }
}

/// Coverage of one row of pixels, and which part of it was touched.
#[derive(Debug, Default)]
pub(super) struct Row {
    /// One value per pixel of the frame's width, rounded up to even; 0 outside `lo..hi`.
    cov: Vec<u8>,
    lo: usize,
    hi: usize,
    clip: (i32, i32),
}

impl Row {
    fn begin(&mut self, width: usize, clip: (i32, i32)) {
        let even = width + width % 2;
        if self.cov.len() != even {
            self.cov.clear();
            self.cov.resize(even, 0);
        }
        self.clip = clip;
        (self.lo, self.hi) = (usize::MAX, 0);
    }

    fn end(&mut self) {
        if let Some(part) = self.cov.get_mut(self.lo..self.hi) {
            part.fill(0);
        }
    }

    /// Sets the value past the frame's last column, for chroma only.
    fn set_missing(&mut self, x: usize, value: u8) {
        if let Some(c) = self.cov.get_mut(x) {
            *c = value;
            (self.lo, self.hi) = (self.lo.min(x), self.hi.max(x + 1));
        }
    }

    /// The coverages of the pixels `x0..x1` as far as they may be touched, and the first pixel's x.
    pub fn span(&mut self, x0: i32, x1: i32) -> (i32, &mut [u8]) {
        let (x0, x1) = (x0.max(self.clip.0).max(0), x1.min(self.clip.1));
        let (a, b) = (x0 as usize, x1.max(0) as usize);
        match self.cov.get_mut(a..b) {
            Some(part) if !part.is_empty() => {
                (self.lo, self.hi) = (self.lo.min(a), self.hi.max(b));
                (x0, part)
            }
            _ => (x0, &mut []),
        }
    }

    /// Covers the pixels `x0..x1`.
    pub fn fill(&mut self, x0: i32, x1: i32, cover: u8) {
        self.span(x0, x1).1.fill(cover);
    }

    /// Covers the pixels from `x` on at least by `values`.
    pub fn raise(&mut self, x: i32, values: &[u8]) {
        let (start, part) = self.span(x, x.saturating_add(values.len() as i32));
        let skip = (start - x).max(0) as usize;
        for (c, v) in part.iter_mut().zip(values.iter().skip(skip)) {
            *c = (*c).max(*v);
        }
    }
}

/// Scratch rows of a [`Canvas`], kept between frames.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    rows: [Row; 2],
    /// Mean coverages of the pixels that share a chroma sample.
    shared: Vec<u8>,
}

/// A frame to paint on.
pub(super) struct Canvas<'c, 'a> {
    frame: &'c mut FrameMut<'a>,
    info: FrameInfo,
    scratch: &'c mut Scratch,
}

impl<'c, 'a> Canvas<'c, 'a> {
    pub fn new(frame: &'c mut FrameMut<'a>, scratch: &'c mut Scratch) -> Self {
        let info = *frame.info();
        Self { frame, info, scratch }
    }

    /// The whole frame.
    pub fn bounds(&self) -> Rect {
        let side = |v: u32| v.min(i32::MAX as u32) as i32;
        Rect::new(0, 0, side(self.info.width), side(self.info.height))
    }

    /// Paints one shape: `cover` is called for rows of `bounds` inside the frame, sets coverages in them and returns
    /// the next row that may differ (the row below, if it does not know).
    ///
    /// A shape that is painted in several parts splits its bounds at even coordinates, so that no two parts share
    /// a chroma sample.
    pub fn paint(&mut self, bounds: Rect, color: Rgb, mut cover: impl FnMut(i32, &mut Row) -> i32) {
        let b = bounds.intersect(&self.bounds());
        if b.is_empty() {
            return;
        }
        let ink = Ink::new(color, &self.info);
        let width = self.info.width as usize;
        let (mut y, last) = (b.y0 & !1, b.y1 - 1);
        while y <= last {
            let [top, bottom] = &mut self.scratch.rows;
            top.begin(width, (b.x0, b.x1));
            bottom.begin(width, (b.x0, b.x1));
            let same_until = if y >= b.y0 { cover(y, top).min(b.y1) } else { y + 1 };
            let same_pairs = (same_until - y) / 2;
            if same_pairs == 0 && y < last {
                cover(y + 1, bottom);
            }
            let pairs = y as usize / 2..(y / 2 + same_pairs.max(1)) as usize;
            blend_pairs(self.frame, &self.info, pairs, same_pairs > 0, self.scratch, &ink);
            self.scratch.rows.iter_mut().for_each(Row::end);
            y += 2 * same_pairs.max(1);
        }
    }
}

/// `d` moved towards `s` by `c`/255, rounded to nearest.
#[inline(always)]
fn over(d: u8, s: u8, c: u8) -> u8 {
    let (d, s, c) = (u16::from(d), u16::from(s), u16::from(c));
    // Exact division of 0..=65025 by 255.
    let t = d * (255 - c) + s * c + 128;
    ((t + (t >> 8)) >> 8) as u8
}

/// Blends pairs of rows (2 * `pair` and the one below) into all planes; `same`: all rows are as the first.
fn blend_pairs(
    frame: &mut FrameMut<'_>,
    info: &FrameInfo,
    pairs: Range<usize>,
    same: bool,
    scratch: &mut Scratch,
    ink: &Ink,
) {
    let Scratch { rows, shared } = scratch;
    let lo = rows[0].lo.min(rows[1].lo) & !1;
    let hi = rows[0].hi.max(rows[1].hi);
    let width = info.width as usize;
    if lo >= hi {
        return;
    }
    let end = hi + hi % 2;
    if end > width {
        // The last column stands for its missing neighbour in the chroma sample that they would share.
        for row in rows.iter_mut() {
            if let Some(&[last, _]) = row.cov.get(width - 1..=width) {
                row.set_missing(width, last);
            }
        }
    }
    let [top, bottom] = &*rows;
    let (Some(top), Some(bottom)) = (top.cov.get(lo..end), bottom.cov.get(lo..end)) else { return };
    let bottom = if same { top } else { bottom };
    // A row below the frame is never covered.
    for pair in pairs.clone() {
        for (y, cov) in [(pair * 2, top), (pair * 2 + 1, bottom)] {
            blend_row(frame, info, y, lo..hi, cov, shared, ink);
        }
    }
    if info.format.planes() > 1 {
        // The last row stands for its missing neighbour.
        let below = pairs.start * 2 + 1 < info.height as usize;
        share(top, if below { bottom } else { top }, shared);
        for pair in pairs {
            blend_chroma(frame, info, pair, lo..end, shared, ink);
        }
    }
}

/// Blends the chroma samples of the pixels `span` (even) of a pair of rows.
fn blend_chroma(frame: &mut FrameMut<'_>, info: &FrameInfo, pair: usize, span: Range<usize>, shared: &[u8], ink: &Ink) {
    let [_, u, v] = ink.yuv;
    if info.format == PixelFormat::Nv12 {
        blend(line(frame.plane_mut(1), pair, span), shared, |[cb, cr], c| {
            *cb = over(*cb, u, c);
            *cr = over(*cr, v, c);
        });
        return;
    }
    for (plane, value) in [(1, u), (2, v)] {
        let samples = line(frame.plane_mut(plane), pair, span.start / 2..span.end / 2);
        blend(samples, shared, |[d], c| *d = over(*d, value, c));
    }
}

/// Blends the pixels `span` of row `y` into the first plane: luma, or for packed formats everything there is.
/// `cov` has an even length, one more than `span` where a chroma sample has only one pixel.
fn blend_row(
    frame: &mut FrameMut<'_>,
    info: &FrameInfo,
    y: usize,
    span: Range<usize>,
    cov: &[u8],
    shared: &mut Vec<u8>,
    ink: &Ink,
) {
    let plane = frame.plane_mut(0);
    let bytes = |n: usize| span.start * n..span.end * n;
    let ([luma, u, v], [first, second, third]) = (ink.yuv, ink.packed);
    match info.format {
        PixelFormat::Nv12 | PixelFormat::I420 | PixelFormat::Yv12 | PixelFormat::Gray8 => {
            blend(line(plane, y, span), cov, |[d], c| *d = over(*d, luma, c));
        }
        PixelFormat::Yuy2 => {
            let pairs = line(plane, y, span.start * 2..(span.end + span.end % 2) * 2);
            blend(pairs, cov.get(..span.len()).unwrap_or(cov), |[d, _], c| *d = over(*d, luma, c));
            share(cov, cov, shared);
            blend(pairs, shared, |[_, cb, _, cr], c| {
                *cb = over(*cb, u, c);
                *cr = over(*cr, v, c);
            });
        }
        PixelFormat::Rgb | PixelFormat::Bgr => blend(line(plane, y, bytes(3)), cov, |[a, b, d], c| {
            (*a, *b, *d) = (over(*a, first, c), over(*b, second, c), over(*d, third, c));
        }),
        PixelFormat::Rgbx | PixelFormat::Bgrx => blend(line(plane, y, bytes(4)), cov, |[a, b, d, _], c| {
            (*a, *b, *d) = (over(*a, first, c), over(*b, second, c), over(*d, third, c));
        }),
        PixelFormat::Rgba | PixelFormat::Bgra => blend(line(plane, y, bytes(4)), cov, |px, c| {
            over_alpha(px, ink.packed, c);
        }),
    }
}

/// The bytes `range` of row `y` of a plane; none if it has not got them.
fn line((data, stride): (&mut [u8], usize), y: usize, range: Range<usize>) -> &mut [u8] {
    let start = y.saturating_mul(stride);
    data.get_mut(start.saturating_add(range.start)..start.saturating_add(range.end)).unwrap_or_default()
}

/// The mean coverage of two by two pixels.
fn share(top: &[u8], bottom: &[u8], out: &mut Vec<u8>) {
    let mean = |([a, b], [c, d]): (&[u8; 2], &[u8; 2])| {
        ((u16::from(*a) + u16::from(*b) + u16::from(*c) + u16::from(*d) + 2) / 4) as u8
    };
    out.clear();
    out.extend(top.as_chunks().0.iter().zip(bottom.as_chunks().0).map(mean));
}

/// Calls `paint` with each pixel (or sample) of `STEP` bytes and its coverage, unless that is 0. Runs of the same
/// coverage, which is nearly everything but text, are painted by loops that the compiler can vectorise.
#[inline(always)]
fn blend<const STEP: usize>(line: &mut [u8], cov: &[u8], paint: impl Fn(&mut [u8; STEP], u8)) {
    let (mut pixels, mut cov) = (line.as_chunks_mut().0, cov);
    while let Some(&c) = cov.first() {
        let run = cov.iter().take_while(|v| **v == c).count().min(pixels.len());
        let (part, rest) = pixels.split_at_mut(run);
        match c {
            0 => {}
            // A constant, so that blending becomes writing.
            255 => part.iter_mut().for_each(|px| paint(px, 255)),
            _ => part.iter_mut().for_each(|px| paint(px, c)),
        }
        (pixels, cov) = (rest, cov.get(run.max(1)..).unwrap_or_default());
    }
}

/// Straight (not premultiplied) alpha, Porter and Duff's "over": what is painted is seen even where the frame is
/// transparent. `c` is not 0.
fn over_alpha(px: &mut [u8; 4], ink: [u8; 3], c: u8) {
    let alpha = over(px[3], 255, c);
    // The share of the ink in the colour that is seen; `alpha` is at least `c`.
    let share = match alpha {
        255 => c,
        _ => ((u16::from(c) * 255 + u16::from(alpha) / 2) / u16::from(alpha).max(1)).min(255) as u8,
    };
    px.iter_mut().zip(ink).for_each(|(d, s)| *d = over(*d, s, share));
    px[3] = alpha;
}
