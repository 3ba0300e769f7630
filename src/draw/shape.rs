//! Shapes: filled rectangles, box outlines, strokes with round ends, silhouettes.

use super::canvas::{Canvas, Rect, Row};
use super::color::Rgb;
use crate::result::Mask;

/// Fills `rect` with `color`; `cover` 255 is opaque.
pub(super) fn fill(canvas: &mut Canvas<'_, '_>, rect: Rect, color: Rgb, cover: u8) {
    canvas.paint(rect, color, |_, row| {
        row.fill(rect.x0, rect.x1, cover);
        rect.y1
    });
}

/// How an outline is drawn, all in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Outline {
    /// Thickness of the line; it lies inside the box.
    pub line: i32,
    /// Length of the doubly thick corners, at least that thickness; 0 for none.
    pub corner: i32,
    /// Length of the dashes and gaps, counted from the corners; `None` for a solid line.
    pub dash: Option<i32>,
}

impl Outline {
    fn reach(&self) -> i32 {
        if self.corner > 0 { 2 * self.line } else { self.line }
    }

    /// Covers row `y` of the outline of `r`; returns the next row that may differ.
    fn cover(&self, r: &Rect, y: i32, row: &mut Row) -> i32 {
        let from_edge = (y - r.y0).min(r.y1 - 1 - y);
        if from_edge < self.line {
            self.edge(r, row);
        }
        if self.corner > 0 && from_edge < 2 * self.line {
            row.fill(r.x0, r.x0 + self.corner, 255);
            row.fill(r.x1 - self.corner, r.x1, 255);
        }
        let side = if from_edge < self.corner {
            2 * self.line
        } else if self.dash.is_none_or(|d| from_edge / d.max(1) % 2 == 0) {
            self.line
        } else {
            0
        };
        row.fill(r.x0, r.x0 + side, 255);
        row.fill(r.x1 - side, r.x1, 255);
        self.next(r, y)
    }

    /// The first row below `y` that may differ from it.
    fn next(&self, r: &Rect, y: i32) -> i32 {
        let marks = [self.line, self.reach(), self.corner];
        let (above, below) = (y - r.y0, r.y1 - 1 - y);
        let dash = self.dash.map(|d| d.max(1));
        if above <= below {
            let next = marks.into_iter().filter(|m| *m > above).chain(dash.map(|d| (above / d + 1) * d)).min();
            let middle = r.y0 + (r.height() + 1) / 2;
            // Past all marks: the same until the lower edge's marks begin.
            next.map_or(r.y1 - marks.into_iter().max().unwrap_or(0), |m| (r.y0 + m).min(middle))
        } else {
            let next = marks.into_iter().filter(|m| *m <= below).chain(dash.map(|d| below / d * d)).max();
            r.y1 - next.unwrap_or(0)
        }
    }

    /// Covers a row of the upper or lower edge.
    fn edge(&self, r: &Rect, row: &mut Row) {
        let Some(dash) = self.dash.map(|d| d.max(1)) else {
            return row.fill(r.x0, r.x1, 255);
        };
        let half = (r.width() + 1) / 2;
        let mut from = 0;
        while from < half {
            let to = (from + dash).min(half);
            row.fill(r.x0 + from, r.x0 + to, 255);
            row.fill(r.x1 - to, r.x1 - from, 255);
            from += 2 * dash;
        }
    }
}

/// Draws the outline of `r`, inside `r`.
pub(super) fn outline(canvas: &mut Canvas<'_, '_>, r: Rect, style: Outline, color: Rgb) {
    let up = |v: i32| (v + 1) & !1;
    let down = |v: i32| v & !1;
    let reach = style.reach();
    // The part of the box that stays empty, at even coordinates (see `Canvas::paint`).
    let hole = Rect::new(up(r.x0 + reach), up(r.y0 + reach), down(r.x1 - reach), down(r.y1 - reach));
    if hole.is_empty() {
        return canvas.paint(r, color, |y, row| style.cover(&r, y, row));
    }
    let parts = [
        Rect::new(r.x0, r.y0, r.x1, hole.y0),
        Rect::new(r.x0, hole.y0, hole.x0, hole.y1),
        Rect::new(hole.x1, hole.y0, r.x1, hole.y1),
        Rect::new(r.x0, hole.y1, r.x1, r.y1),
    ];
    for part in parts {
        canvas.paint(part, color, |y, row| style.cover(&r, y, row));
    }
}

/// A line with round ends, or a disc where both ends are one point. Pixels; finite.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Stroke {
    pub a: (f32, f32),
    pub b: (f32, f32),
    pub radius: f32,
    /// 255 is opaque.
    pub cover: u8,
}

impl Stroke {
    fn bounds(&self) -> Rect {
        let r = self.radius + 1.0;
        Rect::new(
            (self.a.0.min(self.b.0) - r).floor() as i32,
            (self.a.1.min(self.b.1) - r).floor() as i32,
            (self.a.0.max(self.b.0) + r).ceil() as i32,
            (self.a.1.max(self.b.1) + r).ceil() as i32,
        )
    }

    /// Covers row `y`: distance to the centre line decides, with a ramp one pixel wide at the rim.
    fn cover(&self, y: i32, row: &mut Row) {
        let (py, reach) = (y as f32 + 0.5, self.radius + 1.0);
        let (dx, dy) = (self.b.0 - self.a.0, self.b.1 - self.a.1);
        if py < self.a.1.min(self.b.1) - reach || py > self.a.1.max(self.b.1) + reach {
            return;
        }
        // The stretch of the centre line that can matter for this row.
        let at = |t: f32| self.a.0 + dx * t.clamp(0.0, 1.0);
        let (x1, x2) = if dy.abs() < 1e-3 {
            (self.a.0, self.b.0)
        } else {
            (at((py - reach - self.a.1) / dy), at((py + reach - self.a.1) / dy))
        };
        let per_length = 1.0 / (dx * dx + dy * dy).max(f32::MIN_POSITIVE);
        let (inner, outer) = ((self.radius - 0.5).max(0.0), self.radius + 0.5);
        let (start, span) = row.span((x1.min(x2) - reach).floor() as i32, (x1.max(x2) + reach).ceil() as i32);
        for (x, c) in (start..).zip(span) {
            let (qx, qy) = (x as f32 + 0.5 - self.a.0, py - self.a.1);
            let t = ((qx * dx + qy * dy) * per_length).clamp(0.0, 1.0);
            let (ex, ey) = (qx - t * dx, qy - t * dy);
            let square = ex * ex + ey * ey;
            if square < outer * outer {
                let part = if square < inner * inner { 1.0 } else { (outer - square.sqrt()).min(1.0) };
                *c = (*c).max((part * f32::from(self.cover) + 0.5) as u8);
            }
        }
    }
}

/// Draws strokes as one shape: where they overlap, the most opaque counts once.
pub(super) fn strokes(canvas: &mut Canvas<'_, '_>, strokes: &[Stroke], color: Rgb) {
    let all = strokes
        .iter()
        .map(Stroke::bounds)
        .reduce(|a, b| Rect::new(a.x0.min(b.x0), a.y0.min(b.y0), a.x1.max(b.x1), a.y1.max(b.y1)));
    let Some(bounds) = all else { return };
    canvas.paint(bounds, color, |y, row| {
        strokes.iter().for_each(|s| s.cover(y, row));
        y + 1
    });
}

/// Scratch of [`silhouette`], kept between frames.
#[derive(Debug, Default)]
pub(super) struct MaskScratch {
    /// Per column of the box: index of the left value and the weight of the right one, 0..256.
    columns: Vec<(u32, u16)>,
    /// One row of the mask at the height that is drawn, with the last value doubled.
    row: Vec<u16>,
}

/// Where `pos` (in values, centres at .5) lies between `len` values: left index and weight of the right one, 0..256.
fn between(pos: f64, len: u32) -> (u32, u16) {
    let pos = (pos - 0.5).clamp(0.0, f64::from(len.saturating_sub(1)));
    (pos as u32, (pos.fract() * 256.0) as u16)
}

/// Draws `mask`, scaled bilinearly over the box with the corner `at` and the size `size` (pixels, finite, positive).
pub(super) fn silhouette(
    canvas: &mut Canvas<'_, '_>,
    scratch: &mut MaskScratch,
    mask: &Mask,
    (at, size): ((f64, f64), (f64, f64)),
    (color, opacity): (Rgb, u8),
) {
    let width = mask.width as usize;
    let values = width.saturating_mul(mask.height as usize);
    if values == 0 || mask.data.len() < values {
        return;
    }
    let end = |at: f64, size: f64| (at + size).round() as i32;
    let area = Rect::new(at.0.round() as i32, at.1.round() as i32, end(at.0, size.0), end(at.1, size.1));
    let area = area.intersect(&canvas.bounds());
    let scale = (f64::from(mask.width) / size.0, f64::from(mask.height) / size.1);
    scratch.columns.clear();
    scratch.columns.extend((area.x0..area.x1).map(|x| between((f64::from(x) + 0.5 - at.0) * scale.0, mask.width)));
    canvas.paint(area, color, |y, row| {
        let (top, weight) = between((f64::from(y) + 0.5 - at.1) * scale.1, mask.height);
        let start = top as usize * width;
        let (Some(a), rest) = (mask.data.get(start..start + width), mask.data.get(start + width..)) else {
            return y + 1;
        };
        let b = rest.and_then(|r| r.get(..width)).unwrap_or(a);
        let mixed = a.iter().zip(b).map(|(a, b)| (u16::from(*a) * (256 - weight) + u16::from(*b) * weight) >> 8);
        scratch.row.clear();
        scratch.row.extend(mixed);
        scratch.row.extend(scratch.row.last().copied());
        let (_, span) = row.span(area.x0, area.x1);
        for (c, &(left, weight)) in span.iter_mut().zip(&scratch.columns) {
            let Some(&[l, r]) = scratch.row.get(left as usize..left as usize + 2) else { continue };
            let value = (l * (256 - weight) + r * weight) >> 8;
            *c = ((value * u16::from(opacity) + 127) / 255) as u8;
        }
        y + 1
    });
}

#[cfg(test)]
mod tests {
    use super::super::canvas::Scratch;
    use super::*;
    use crate::frame::{ColorMatrix, ColorRange, FrameInfo, FrameMut, PixelFormat};
    use proptest::prelude::*;

    const SIZE: (i32, i32) = (61, 47);

    fn painted(draw: impl FnOnce(&mut Canvas<'_, '_>)) -> Vec<u8> {
        let mut data = vec![0; (SIZE.0 * SIZE.1) as usize];
        let info = FrameInfo {
            format: PixelFormat::Gray8,
            width: SIZE.0 as u32,
            height: SIZE.1 as u32,
            range: ColorRange::Full,
            matrix: ColorMatrix::Bt601,
        };
        let planes: [(&mut [u8], usize); 3] = [(&mut data, SIZE.0 as usize), (&mut [], 0), (&mut [], 0)];
        let (mut frame, mut scratch) = (FrameMut::new(info, planes).unwrap(), Scratch::default());
        draw(&mut Canvas::new(&mut frame, &mut scratch));
        data
    }

    proptest! {
        /// Against a model that looks at each pixel's distances from the edges.
        #[test]
        fn outlines_match_a_model(
            x0 in -20..60i32, y0 in -20..50i32, w in 1..80i32, h in 1..70i32,
            line in 1..5i32, corner in proptest::option::of(0..9i32), dash in proptest::option::of(1..9i32),
        ) {
            let r = Rect::new(x0, y0, x0 + w, y0 + h);
            let corner = corner.map_or(0, |longer| 2 * line + longer);
            let style = Outline { line, corner, dash };
            let data = painted(|canvas| outline(canvas, r, style, Rgb(255, 255, 255)));
            for (i, value) in data.iter().enumerate() {
                let (x, y) = (i as i32 % SIZE.0, i as i32 / SIZE.0);
                let dx = (x - r.x0).min(r.x1 - 1 - x);
                let dy = (y - r.y0).min(r.y1 - 1 - y);
                let drawn = |along: i32| dash.is_none_or(|d| along / d % 2 == 0);
                let line_here = (dy < line && drawn(dx)) || (dx < line && drawn(dy));
                let corner_here = dx.min(dy) < 2 * line && dx.max(dy) < corner;
                let want = dx >= 0 && dy >= 0 && (line_here || corner_here);
                prop_assert_eq!(*value == 255, want, "at {}, {} of {:?} {:?}", x, y, r, style);
            }
        }

    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        /// Against the distance to the nearest of many points on the centre line.
        #[test]
        fn strokes_match_a_model(
            a in (-10.0..70.0f32, -10.0..60.0f32), b in (-10.0..70.0f32, -10.0..60.0f32), radius in 0.5..6.0f32,
        ) {
            let data = painted(|canvas| strokes(canvas, &[Stroke { a, b, radius, cover: 255 }], Rgb(255, 255, 255)));
            for (i, value) in data.iter().enumerate() {
                let (x, y) = ((i as i32 % SIZE.0) as f32 + 0.5, (i as i32 / SIZE.0) as f32 + 0.5);
                // So many that two lie closer than the tolerance.
                let near = (0..=4000).map(|k| {
                    let t = k as f32 / 4000.0;
                    (a.0 + (b.0 - a.0) * t - x).hypot(a.1 + (b.1 - a.1) * t - y)
                }).fold(f32::MAX, f32::min);
                let want = (radius + 0.5 - near).clamp(0.0, 1.0) * 255.0;
                prop_assert!((f32::from(*value) - want).abs() < 4.0, "{value} for {want} at {x}, {y}");
            }
        }
    }

    #[test]
    fn a_mask_is_scaled_over_its_box() {
        let mask = Mask { width: 2, height: 1, data: vec![0, 255] };
        let mut scratch = MaskScratch::default();
        let place = ((10.0, 10.0), (40.0, 20.0));
        let data = painted(|c| silhouette(c, &mut scratch, &mask, place, (Rgb(255, 255, 255), 255)));
        let at = |x: i32, y: i32| data[(y * SIZE.0 + x) as usize];
        // Value centres lie at x = 20 and x = 40: flat outside, a ramp between.
        assert_eq!((at(12, 15), at(48, 15), at(9, 15), at(50, 15), at(48, 9), at(48, 30)), (0, 255, 0, 0, 0, 0));
        assert!(at(30, 15).abs_diff(131) <= 2, "{}", at(30, 15));
        let short = Mask { width: 2, height: 2, data: vec![255; 3] };
        let data = painted(|c| silhouette(c, &mut scratch, &short, place, (Rgb(255, 255, 255), 255)));
        assert!(data.iter().all(|v| *v == 0), "a mask that lacks values is not drawn");
    }
}
