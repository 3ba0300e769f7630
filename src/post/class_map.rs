//! A class map of one run, and the silhouette of a class on it.

use crate::pre::geometry::Geometry;
use crate::result::{BBox, Mask};

/// Most lead over the next best class, in raw scores, at which a mask's value is full. Inside an object the lead may be
/// larger, but what matters are the values around its edge.
const FULL_LEAD: f32 = 8.0;

/// About how many columns and rows of a mask are looked at to find the largest lead.
const SAMPLES: u32 = 32;

/// Steps of a mask for each cell of a map that is coarser than the input.
const FINE: u32 = 2;

/// Longest side of a mask.
const MAX_MASK: u32 = 4096;

/// Masks are inside from here on.
const INSIDE: u8 = 128;

/// How a class is told from a pixel's values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// `[classes, h, w]`.
    Planes,
    /// `[h, w, classes]`.
    Rows,
    /// `[h, w]`: the class itself.
    Ids,
}

/// A map of a run.
#[derive(Debug, Clone, Copy)]
pub(super) struct Map<'a> {
    pub values: &'a [f32],
    pub form: Form,
    pub width: usize,
    pub height: usize,
    /// Classes in the tensor.
    pub columns: usize,
    /// With one class only: its score at a probability of a half.
    pub half: f32,
}

/// Four cells around a point, and what is known of a class there.
#[derive(Debug, Clone, Copy)]
struct Quad {
    pixels: [usize; 4],
    leads: [f32; 4],
    /// One class leads in all four, and so between them.
    plain: bool,
}

/// How far into a quad a point lies, 0..1.
type Inside = (f32, f32);

fn mix([a, b, c, d]: [f32; 4], (tx, ty): Inside) -> f32 {
    let (top, bottom) = (a + (b - a) * tx, c + (d - c) * tx);
    top + (bottom - top) * ty
}

impl Map<'_> {
    /// Where a pixel's first score stands, and how far apart its scores are.
    fn scores(&self, pixel: usize) -> (usize, usize) {
        match self.form {
            Form::Rows => (pixel * self.columns, 1),
            _ => (pixel, (self.width * self.height).max(1)),
        }
    }

    /// How far `class` leads over the next best class at a pixel, and which that is; negative where it does not lead.
    fn lead(&self, class: usize, pixel: usize) -> (f32, usize) {
        if self.form == Form::Ids {
            let inside = self.values.get(pixel).is_some_and(|id| *id == class as f32);
            return (if inside { 1.0 } else { -1.0 }, 0);
        }
        let (first, step) = self.scores(pixel);
        let values = self.values.get(first..).unwrap_or_default();
        let own = values.get(class * step).copied().unwrap_or(f32::NAN);
        if self.columns == 1 {
            return (own - self.half, 0);
        }
        let all = values.iter().step_by(step).take(self.columns).enumerate();
        let (next, which) = all
            .filter(|(c, _)| *c != class)
            .fold((f32::NEG_INFINITY, 0), |(next, which), (c, v)| if *v > next { (*v, c) } else { (next, which) });
        (own - next, which)
    }

    /// The lead at a point between four pixels: of interpolated scores, not of the leads, which would leave a gap where
    /// three classes meet.
    fn lead_within(&self, class: usize, quad: &Quad, inside: Inside) -> f32 {
        if quad.plain {
            return mix(quad.leads, inside);
        }
        let mut own = f32::NAN;
        let mut next = f32::NEG_INFINITY;
        let places = quad.pixels.map(|pixel| self.scores(pixel));
        for c in 0..self.columns {
            let score = |(first, step): (usize, usize)| self.values.get(first + c * step).copied().unwrap_or(f32::NAN);
            let mixed = mix(places.map(score), inside);
            if c == class { own = mixed } else { next = next.max(mixed) }
        }
        own - next
    }

    /// The four pixels from column `x` and row `y` on.
    fn quad(&self, class: usize, (x, y): (usize, usize)) -> Quad {
        let (right, below) = ((x + 1).min(self.width - 1), (y + 1).min(self.height - 1));
        let pixels = [(x, y), (right, y), (x, below), (right, below)].map(|(x, y)| y * self.width + x);
        let both = pixels.map(|pixel| self.lead(class, pixel));
        let plain = self.columns == 1
            || both.iter().all(|(lead, _)| *lead > 0.0)
            || both.iter().all(|(lead, next)| *lead < 0.0 && *next == both[0].1);
        Quad { pixels, leads: both.map(|(lead, _)| lead), plain }
    }

    /// The silhouette of `class` in the frame: its box and the mask over it. `bbox` is the box around its cells (pixels of
    /// an input of the size `input`), which reaches into the picture.
    pub(super) fn silhouette(
        &self,
        class: usize,
        bbox: BBox,
        input: (f32, f32),
        geometry: &Geometry,
    ) -> Option<(BBox, Mask)> {
        if self.width == 0 || self.height == 0 {
            return None;
        }
        let cell = (input.0 / self.width as f32, input.1 / self.height as f32);
        let place = |b: BBox| Some(geometry.to_frame(b).clipped()).filter(|b| b.w > 0.0 && b.h > 0.0);
        let view = |steps| View { map: self, class, geometry, cell, steps };
        if self.form != Form::Ids && cell.0.max(cell.1) >= 1.5 {
            // The edge lies up to half a cell outside.
            let (x, y) = (cell.0 * 0.5, cell.1 * 0.5);
            let wide = BBox::from_corners(bbox.x - x, bbox.y - y, bbox.x2() + x, bbox.y2() + y);
            if let Some(found) = place(wide).and_then(|b| cut(b, view(FINE).render(b))) {
                return Some(found);
            }
        }
        let bbox = place(bbox)?;
        Some((bbox, view(1).render(bbox)))
    }
}

/// A class on a map, as seen in the frame.
struct View<'a> {
    map: &'a Map<'a>,
    class: usize,
    geometry: &'a Geometry,
    /// Size of a cell, pixels of the input.
    cell: (f32, f32),
    /// Values of the mask for each cell.
    steps: u32,
}

impl View<'_> {
    /// A point of the frame in cells of the map.
    fn cell(&self, x: f32, y: f32) -> (f32, f32) {
        let (x, y) = self.geometry.point_to_input(x, y);
        (x / self.cell.0, y / self.cell.1)
    }

    /// How many values a mask has from one point to another.
    fn span(&self, (ax, ay): (f32, f32), (bx, by): (f32, f32)) -> u32 {
        // The sides change places where the picture is turned. A hair less, so that rounding makes no row of its own.
        let cells = (ax - bx).abs() + (ay - by).abs();
        ((cells * self.steps as f32 - 0.01).ceil().max(1.0) as u32).min(MAX_MASK)
    }

    /// The lead at a point, in cells of the map; `last` is the quad of the point before.
    fn lead(&self, (x, y): (f32, f32), last: &mut Option<((usize, usize), Quad)>) -> f32 {
        let (w, h) = (self.map.width - 1, self.map.height - 1);
        if self.steps == 1 {
            let (x, y) = ((x.max(0.0) as usize).min(w), (y.max(0.0) as usize).min(h));
            return self.map.lead(self.class, y * self.map.width + x).0;
        }
        let (x, y) = ((x - 0.5).clamp(0.0, w as f32), (y - 0.5).clamp(0.0, h as f32));
        let corner = (x as usize, y as usize);
        let quad = match last {
            Some((at, quad)) if *at == corner => *quad,
            _ => self.map.quad(self.class, corner),
        };
        *last = Some((corner, quad));
        self.map.lead_within(self.class, &quad, (x.fract(), y.fract()))
    }

    /// The mask over a box of the frame.
    fn render(&self, b: BBox) -> Mask {
        let corner = self.cell(b.x, b.y);
        let (width, height) = (self.span(corner, self.cell(b.x2(), b.y)), self.span(corner, self.cell(b.x, b.y2())));
        let along = |start: f32, length: f32, i: u32, n: u32| start + length * (i as f32 + 0.5) / n as f32;
        let at = |i: u32, j: u32| self.cell(along(b.x, b.w, i, width), along(b.y, b.h, j, height));
        let mut last = None;
        // The full lead is about the largest that there is, so that the steps of a mask's values are fine enough.
        let mut full = f32::MIN_POSITIVE;
        for j in (0..height).step_by((height / SAMPLES + 1) as usize) {
            for i in (0..width).step_by((width / SAMPLES + 1) as usize) {
                full = full.max(self.lead(at(i, j), &mut last).abs());
            }
        }
        let full = full.min(FULL_LEAD);
        let mut data = Vec::with_capacity(width as usize * height as usize);
        for j in 0..height {
            for i in 0..width {
                let lead = self.lead(at(i, j), &mut last);
                data.push((127.5 + 127.5 * lead / full).round().clamp(0.0, 255.0) as u8);
            }
        }
        Mask { width, height, data }
    }
}

/// Cuts a mask and its box to what is inside; `None` if nothing is.
fn cut(b: BBox, mut mask: Mask) -> Option<(BBox, Mask)> {
    let (width, height) = (mask.width as usize, mask.height as usize);
    let (mut columns, mut rows) = ((width, 0), (height, 0));
    for (y, row) in mask.data.chunks_exact(width).enumerate() {
        let first = row.iter().position(|v| *v >= INSIDE);
        let Some((first, last)) = first.zip(row.iter().rposition(|v| *v >= INSIDE)) else { continue };
        columns = (columns.0.min(first), columns.1.max(last + 1));
        rows = (rows.0.min(y), rows.1.max(y + 1));
    }
    let (w, h) = (columns.1.checked_sub(columns.0)?, rows.1.checked_sub(rows.0)?);
    for y in 0..h {
        let from = (rows.0 + y) * width + columns.0;
        mask.data.copy_within(from..from + w, y * w);
    }
    mask.data.truncate(w * h);
    (mask.width, mask.height) = (w as u32, h as u32);
    let (kx, ky) = (b.w / width as f32, b.h / height as f32);
    let bbox = BBox { x: b.x + kx * columns.0 as f32, y: b.y + ky * rows.0 as f32, w: kx * w as f32, h: ky * h as f32 };
    Some((bbox.clipped(), mask)).filter(|(b, _)| b.w > 0.0 && b.h > 0.0)
}
