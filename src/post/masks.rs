//! Masks of single objects: mask coefficients of a row × prototypes of the picture (YOLACT; YOLO v5-seg to v12-seg and 26).
//!
//! Prototypes are a tensor `[1, coefficients, rows, columns]` (or `[1, rows, columns, coefficients]` as TensorFlow has it)
//! over the whole input, usually at a quarter of its size. Their sum, weighted with an object's coefficients, is a logit
//! for each prototype pixel; it is read bilinearly, and what is over 0 inside the box belongs to the object.
//!
//! Source: Ultralytics `utils/ops.py` (`process_mask`), Bolya et al., *YOLACT*, 2019.

use std::cell::RefCell;
use std::sync::Arc;

use super::{PostError, view};
use crate::bundle::contract::{InputContract, OutputContract};
use crate::engine::{Spec, Tensor};
use crate::pre::geometry::Geometry;
use crate::result::{Mask, Object};

/// Values of a mask for each pixel of the input, along a side. Whoever scales a coarser map to the frame and cuts it at the
/// middle misses the exact outline: with one value, 2 to 8 % of the area of small and ragged masks.
const DENSITY: f32 = 4.0;

/// Most values along a side: for an input of 640 three times the usual prototypes' 160, enough for large objects.
const LONGEST: f32 = 480.0;

/// Order of a prototype tensor's dimensions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    CoefficientsFirst,
    CoefficientsLast,
}

/// Where the prototypes are and how they are read.
pub(super) struct Prototypes {
    reader: view::Reader,
    output: usize,
    order: Order,
    /// Coefficients of an object.
    pub coefficients: usize,
    /// Size of the model's input.
    input: (f32, f32),
}

/// Prototypes of a run, and the size of their map.
struct Maps<'t> {
    values: &'t [f32],
    order: Order,
    rows: usize,
    columns: usize,
}

/// The part of a prototype map that an object's box covers: rows and columns from, to (excluded).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Part {
    rows: (usize, usize),
    columns: (usize, usize),
}

/// Where a mask's values lie in the prototype map, in its pixels: centre of the first, step to the next in its row, step
/// to the next row.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Lattice {
    first: (f32, f32),
    right: (f32, f32),
    down: (f32, f32),
    width: usize,
    height: usize,
}

/// Buffers for one mask, kept by each thread that decodes.
#[derive(Default)]
struct Scratch {
    /// Logits of the part.
    part: Vec<f32>,
    /// Its rows, as wide as the mask.
    rows: Vec<f32>,
    /// Where the mask's columns lie between the part's.
    columns: Vec<(usize, usize, f32)>,
    /// Logits at the mask's values.
    logits: Vec<f32>,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

impl Prototypes {
    /// Finds the prototypes among the outputs other than `rows`, whose rows may end in any number of coefficients that
    /// `fits`.
    ///
    /// # Errors
    /// [`PostError`] if no output has the dimensions of a map for each of so many coefficients, or it is not float.
    pub(super) fn find(
        output: &OutputContract,
        input: &InputContract,
        spec: &Spec,
        rows: usize,
        fits: impl Fn(usize) -> bool,
    ) -> Result<Self, PostError> {
        let decoder = output.decoder.as_str();
        let missing = || PostError::Missing {
            decoder,
            needs: "prototypes [1, coefficients, rows, columns] in an output of their own, with as many coefficients \
                    as its rows have after the classes (`task = \"segment\"`)",
            found: view::list(&spec.outputs),
        };
        let orders = |dims: [Option<usize>; 3]| {
            let [first, _, last] = dims;
            [(first, Order::CoefficientsFirst), (last, Order::CoefficientsLast)]
        };
        let mut found = spec.outputs.iter().enumerate().filter(|(i, t)| *i != rows && t.shape.len() >= 3).flat_map(
            |(i, tensor)| {
                let places = view::promised::<3>(&tensor.shape).map(orders).into_iter().flatten();
                places.filter_map(move |(n, order)| n.map(|n| (i, tensor, order, n)))
            },
        );
        let (index, tensor, order, coefficients) = found.find(|(.., n)| *n > 0 && fits(*n)).ok_or_else(missing)?;
        view::check_float(output, tensor)?;
        let expected = match order {
            Order::CoefficientsFirst => format!("[1, {coefficients}, rows, columns]"),
            Order::CoefficientsLast => format!("[1, rows, columns, {coefficients}]"),
        };
        let fix = "Export the model with fixed outputs";
        let reader = view::Reader { decoder, expected, fix };
        let input = (input.width as f32, input.height as f32);
        Ok(Self { reader, output: index, order, coefficients, input })
    }

    fn read<'t>(&self, outputs: &'t [Tensor]) -> Result<Maps<'t>, PostError> {
        let order = self.order;
        let split = |[a, b, c]: [usize; 3]| match order {
            Order::CoefficientsFirst => (a, b, c),
            Order::CoefficientsLast => (c, a, b),
        };
        let accept = |dims| {
            let (n, rows, columns) = split(dims);
            n == self.coefficients && rows > 0 && columns > 0
        };
        let (dims, values) = self.reader.read(outputs, self.output, accept)?;
        let (_, rows, columns) = split(dims);
        Ok(Maps { values, order, rows, columns })
    }

    /// Gives `object` its mask, from `row`'s coefficients.
    ///
    /// # Errors
    /// [`PostError`] if the prototypes of this run are not those that the model promised.
    pub(super) fn describe(
        &self,
        outputs: &[Tensor],
        row: impl Iterator<Item = f32> + Clone,
        geometry: &Geometry,
        object: &mut Object,
    ) -> Result<(), PostError> {
        let maps = self.read(outputs)?;
        let lattice = self.lattice(&maps, geometry, object);
        let part = lattice.part(maps.rows, maps.columns);
        let data = SCRATCH.with_borrow_mut(|scratch| {
            maps.weigh(row, part, &mut scratch.part);
            lattice.sample(part, scratch);
            coverage(&scratch.logits, lattice.width)
        });
        let (width, height) = (lattice.width as u32, lattice.height as u32);
        object.mask = Some(Arc::new(Mask { width, height, data }));
        Ok(())
    }

    /// [`DENSITY`] values for each pixel of the input along the sides of the object's box, but no more than [`LONGEST`].
    fn lattice(&self, maps: &Maps<'_>, geometry: &Geometry, object: &Object) -> Lattice {
        let b = object.bbox;
        let at = |x, y| geometry.point_to_input(x, y);
        let (origin, right, below) = (at(b.x, b.y), at(b.x2(), b.y), at(b.x, b.y2()));
        let across = (right.0 - origin.0, right.1 - origin.1);
        let down = (below.0 - origin.0, below.1 - origin.1);
        let (w, h) = (across.0.hypot(across.1), down.0.hypot(down.1));
        let density = (LONGEST / w.max(h)).min(DENSITY);
        let values = |length: f32| (length * density).round().clamp(1.0, LONGEST);
        let (width, height) = (values(w), values(h));
        // From pixels of the input to pixels of the map.
        let (kx, ky) = (maps.columns as f32 / self.input.0, maps.rows as f32 / self.input.1);
        let right = (across.0 * kx / width, across.1 * ky / width);
        let down = (down.0 * kx / height, down.1 * ky / height);
        let first = (origin.0 * kx + (right.0 + down.0) * 0.5 - 0.5, origin.1 * ky + (right.1 + down.1) * 0.5 - 0.5);
        Lattice { first, right, down, width: width as usize, height: height as usize }
    }
}

impl Maps<'_> {
    /// The logits of `part`, row by row: its prototypes, weighted with the coefficients.
    fn weigh(&self, row: impl Iterator<Item = f32> + Clone, part: Part, sums: &mut Vec<f32>) {
        let width = part.columns.1 - part.columns.0;
        sums.clear();
        sums.resize(width * (part.rows.1 - part.rows.0), 0.0);
        let lines = || (part.rows.0..part.rows.1).zip(0..);
        match self.order {
            Order::CoefficientsFirst => {
                for (map, weight) in self.values.chunks_exact(self.rows * self.columns).zip(row) {
                    for (y, i) in lines() {
                        let start = y * self.columns + part.columns.0;
                        let (Some(from), Some(to)) =
                            (map.get(start..start + width), sums.get_mut(i * width..(i + 1) * width))
                        else {
                            continue;
                        };
                        to.iter_mut().zip(from).for_each(|(to, from)| *to += weight * from);
                    }
                }
            }
            Order::CoefficientsLast => {
                let each = self.values.len() / (self.rows * self.columns).max(1);
                for (y, i) in lines() {
                    let start = (y * self.columns + part.columns.0) * each;
                    let pixels = self.values.get(start..start + width * each).unwrap_or_default();
                    let to = sums.get_mut(i * width..(i + 1) * width).unwrap_or_default();
                    for (to, pixel) in to.iter_mut().zip(pixels.chunks_exact(each.max(1))) {
                        *to = pixel.iter().zip(row.clone()).map(|(v, weight)| v * weight).sum();
                    }
                }
            }
        }
    }
}

impl Lattice {
    fn at(&self, x: usize, y: usize) -> (f32, f32) {
        let (x, y) = (x as f32, y as f32);
        (self.first.0 + x * self.right.0 + y * self.down.0, self.first.1 + x * self.right.1 + y * self.down.1)
    }

    /// The map's pixels that its values are interpolated from.
    fn part(&self, rows: usize, columns: usize) -> Part {
        let (w, h) = (self.width - 1, self.height - 1);
        let ends = [self.at(0, 0), self.at(w, 0), self.at(0, h), self.at(w, h)];
        let range = |values: [f32; 4], len: usize| {
            let low = values.into_iter().fold(f32::INFINITY, f32::min).floor().clamp(0.0, (len - 1) as f32) as usize;
            let high = values.into_iter().fold(f32::NEG_INFINITY, f32::max).ceil().clamp(0.0, (len - 1) as f32);
            (low, (high as usize).max(low) + 1)
        };
        Part { rows: range(ends.map(|e| e.1), rows), columns: range(ends.map(|e| e.0), columns) }
    }

    /// The logits at each value, interpolated between those of the part; the map's edge is repeated.
    fn sample(&self, part: Part, Scratch { part: sums, rows: wide, columns: table, logits }: &mut Scratch) {
        let (columns, rows) = (part.columns.1 - part.columns.0, part.rows.1 - part.rows.0);
        let across = |x: f32| between(x - part.columns.0 as f32, columns);
        let down = |y: f32| between(y - part.rows.0 as f32, rows);
        logits.clear();
        if self.right.1 != 0.0 || self.down.0 != 0.0 {
            // The frame is stored on its side.
            let value = |x: usize, y: usize| sums.get(y * columns + x).copied().unwrap_or(0.0);
            for (x, y) in (0..self.height).flat_map(|y| (0..self.width).map(move |x| (x, y))) {
                let (px, py) = self.at(x, y);
                let ((x0, x1, fx), (y0, y1, fy)) = (across(px), down(py));
                logits.push(mix(mix(value(x0, y0), value(x1, y0), fx), mix(value(x0, y1), value(x1, y1), fx), fy));
            }
            return;
        }
        // First along the part's few rows, then between them, where neighbours are computed together.
        table.clear();
        table.extend((0..self.width).map(|x| across(self.at(x, 0).0)));
        wide.clear();
        for row in sums.chunks_exact(columns) {
            let value = |x: usize| row.get(x).copied().unwrap_or(0.0);
            wide.extend(table.iter().map(|(x0, x1, fx)| mix(value(*x0), value(*x1), *fx)));
        }
        let line = |y: usize| wide.get(y * self.width..(y + 1) * self.width).unwrap_or_default();
        for y in 0..self.height {
            let (y0, y1, fy) = down(self.at(0, y).1);
            logits.extend(line(y0).iter().zip(line(y1)).map(|(above, below)| mix(*above, *below, fy)));
        }
    }
}

/// The two of `len` places (at least 1) that `at` lies between, and the weight of the second one.
fn between(at: f32, len: usize) -> (usize, usize, f32) {
    let at = at.clamp(0.0, (len - 1) as f32);
    let low = at as usize;
    (low, (low + 1).min(len - 1), at - low as f32)
}

fn mix(a: f32, b: f32, weight: f32) -> f32 {
    a * (1.0 - weight) + b * weight
}

/// Logits → 0..255, over 127 where the logit is over 0.
///
/// Next to the outline, coverage is proportional to the logit, so that whoever interpolates between values and cuts at the
/// middle finds the outline where the logits have it; further away it is full or none.
fn coverage(logits: &[f32], width: usize) -> Vec<u8> {
    // The largest logit among neighbours that the outline passes between: bits of positive floats are ordered as they are.
    let size = |v: f32| v.abs().to_bits();
    let largest = |most: u32, (a, b): (&f32, &f32)| {
        let apart = (*a > 0.0) != (*b > 0.0);
        most.max(if apart { size(*a).max(size(*b)) } else { 0 })
    };
    let mut most = 0;
    for (i, row) in logits.chunks_exact(width.max(1)).enumerate() {
        most = row.iter().zip(row.get(1..).unwrap_or_default()).fold(most, largest);
        most = row.iter().zip(logits.get((i + 1) * width..).unwrap_or_default()).fold(most, largest);
    }
    let scale = f32::from_bits(most);
    if scale == 0.0 {
        let inside = logits.first().is_some_and(|logit| *logit > 0.0);
        return vec![if inside { u8::MAX } else { 0 }; logits.len()];
    }
    let gain = if scale.is_finite() { 127.5 / scale } else { f32::MAX };
    // Rounded up from 127 + v, so that 0 is outside; so is what is no number. The cast takes what is negative as 0.
    logits.iter().map(|logit| u8::MAX - (128.0 - *logit * gain).min(255.0) as u8).collect()
}

#[cfg(test)]
mod tests;
