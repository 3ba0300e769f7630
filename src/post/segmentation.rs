//! Segmentation: a class for each pixel. Read are
//!
//! - scores `[1, classes, h, w]` or `[1, h, w, classes]`: the best class of each pixel counts. They are raw unless the
//!   output's name says that they are probabilities (`prob` or `softmax` in it) or `activation = "none"` does; that matters
//!   to the confidence only.
//! - one channel of scores for one label: the object is where the probability is over a half. Nothing says whether it is
//!   raw: `activation` must be `sigmoid` or `none`.
//! - class ids, integers or whole floats, `[1, h, w]`, with a further dimension of 1 before or after.
//!
//! Each class that is there is one object: its box lies around its pixels, its confidence is the mean probability over
//! them (1 for class ids), its mask covers them. A class without a label (before `class-offset`, or an id past the labels
//! such as 255 for "ignore"), one whose label is `background`, and one with less than [`SPECK`] of the map are left out.
//! What lies in the padding of a letterbox does not count.
//!
//! The mask has the map's resolution. From scores its values grade with the lead over the next best class, so that the
//! 50 % line between two pixels lies where the classes' interpolated scores are equal, as when the scores are enlarged
//! before the best class is taken (torchvision, Hugging Face `post_process_semantic_segmentation`). Where the map is coarser
//! than the input the scores are interpolated in half cells, and box and mask follow the edge that lies between cells.
//!
//! Sources: Chen et al., DeepLab (TensorFlow `research/deeplab`, output `ResizeBilinear_3`); torchvision
//! `models/segmentation`; Hugging Face transformers, `image_processing_segformer.py`; Ultralytics semantic heads.

use std::sync::Arc;

use super::class_map::{Form, Map};
use super::{Candidate, Candidates, Decoder, Nms, PostError, Thresholds, classify, logits, view};
use crate::bundle::contract::{Activation, InputContract, Labels, Layout, OutputContract};
use crate::engine::{DataType, Spec, Tensor, TensorSpec};
use crate::pre::geometry::Geometry;
use crate::result::Object;

/// A class on a smaller part of the map than this is no object: single pixels flicker at the edges between others.
pub const SPECK: f32 = 0.0005;

/// Most classes of a model: each needs a place on the stack.
const MAX_CLASSES: usize = 1024;

/// Pixels that are judged together: their best scores stay in the first-level cache over all classes.
const BLOCK: usize = 512;

/// What is known about a class on a map.
#[derive(Debug, Clone, Copy)]
struct Stat {
    pixels: u32,
    /// Sum of the probabilities.
    sum: f64,
    /// First and last column and row.
    x: (u32, u32),
    y: (u32, u32),
}

impl Stat {
    const NONE: Stat = Stat { pixels: 0, sum: 0.0, x: (u32::MAX, 0), y: (u32::MAX, 0) };

    fn add(&mut self, x: usize, y: usize, probability: f32) {
        let (x, y) = (x as u32, y as u32);
        self.pixels += 1;
        self.sum += f64::from(probability);
        self.x = (self.x.0.min(x), self.x.1.max(x));
        self.y = (self.y.0.min(y), self.y.1.max(y));
    }
}

/// Best class and its probability for each pixel of a block.
struct Block {
    best: [f32; BLOCK],
    class: [u32; BLOCK],
    sum: [f32; BLOCK],
}

/// Decoder of class maps.
pub struct Segmentation {
    reader: view::Reader,
    output: usize,
    activation: Activation,
    /// Whether the map may hold class ids, by its type.
    integer: bool,
    /// With both orders possible, the classes come last.
    classes_last: bool,
    /// First class that has a label.
    first: usize,
    columns: usize,
    background: Option<usize>,
    input: (f32, f32),
}

impl Segmentation {
    /// A decoder for a model with these labels.
    ///
    /// # Errors
    /// [`PostError`] if no output is a map, the class count is not that of the labels, or it cannot be told what one
    /// channel of scores means.
    pub fn new(
        output: &OutputContract,
        input: &InputContract,
        labels: &Labels,
        spec: &Spec,
    ) -> Result<Self, PostError> {
        let decoder = output.decoder.as_str();
        let first = output.class_offset as usize;
        let columns = first + labels.len();
        if columns > MAX_CLASSES {
            let why = format!("a class map has at most {MAX_CLASSES} classes, not {columns}");
            return Err(PostError::Contract { key: "decoder", why });
        }
        let expected =
            format!("[1, {columns}, h, w] or [1, h, w, {columns}] (1 for each class), or class ids [1, h, w]");
        let fix = "Give the file named by `labels` one line per class, or set `output.decoder` to the model's family";
        let mut this = Self {
            reader: view::Reader { decoder, expected, fix },
            output: 0,
            activation: Activation::None,
            integer: false,
            classes_last: input.layout == Layout::Nhwc,
            first,
            columns,
            background: labels.iter().position(|l| l.eq_ignore_ascii_case("background")).map(|i| first + i),
            input: (input.width as f32, input.height as f32),
        };
        let fits = |t: &TensorSpec| {
            dims(&t.shape).is_some_and(|[a, b, c]| match (a, b, c) {
                (Some(a), Some(b), Some(c)) => this.form([a, b, c], is_integer(t.dtype)).is_some(),
                _ => [a, c].iter().any(|d| view::may_be(*d, this.columns) || view::may_be(*d, 1)),
            })
        };
        let Some((index, tensor)) = spec.outputs.iter().enumerate().find(|(_, t)| fits(t)) else {
            return Err(this.explain(output, labels.len(), spec));
        };
        this.output = index;
        let may_be_ids = dims(&tensor.shape).is_some_and(|[a, _, c]| view::may_be(a, 1) || view::may_be(c, 1));
        this.integer = may_be_ids && is_integer(tensor.dtype) && !output.quantization.contains_key(&tensor.name);
        if !this.integer {
            view::check_float(output, tensor)?;
        }
        let one = columns == 1;
        let usual = if one { Activation::None } else { classify::usual_activation(&tensor.name) };
        let allowed: &[Activation] = match (one, this.integer) {
            (_, true) => &[Activation::None, Activation::Softmax],
            (true, _) => &[Activation::None, Activation::Sigmoid],
            _ => &[Activation::None, Activation::Softmax],
        };
        this.activation = view::activation(output, usual, allowed)?;
        if one && !this.integer && output.activation.is_none() {
            let why = "one channel may hold probabilities or raw scores: set it to none or sigmoid".into();
            return Err(PostError::Contract { key: "activation", why });
        }
        Ok(this)
    }

    /// Says why no output fits.
    fn explain(&self, output: &OutputContract, labels: usize, spec: &Spec) -> PostError {
        let Some(tensor) = spec.outputs.first() else {
            let (decoder, needs) = (self.reader.decoder, "one output with a class map");
            return PostError::Missing { decoder, needs, found: view::list(&spec.outputs) };
        };
        match dims(&tensor.shape) {
            Some([Some(a), Some(b), Some(c)]) if !is_integer(tensor.dtype) => PostError::Classes {
                tensor: tensor.name.clone(),
                found: view::shape_text(&tensor.shape),
                // The sides of a map differ from the number of classes more often than from each other.
                classes: if b == c || !self.classes_last { a } else { c },
                labels,
                offset: output.class_offset,
            },
            _ => self.reader.refuse(tensor),
        }
    }

    /// What three dimensions mean.
    fn form(&self, [a, _, c]: [usize; 3], integer: bool) -> Option<Form> {
        let ids = a == 1 || c == 1;
        let (first, last) = (a == self.columns, c == self.columns);
        match (integer && ids, first, last) {
            (true, ..) => Some(Form::Ids),
            (_, true, true) if self.classes_last => Some(Form::Rows),
            (_, true, _) => Some(Form::Planes),
            (_, _, true) => Some(Form::Rows),
            _ if ids => Some(Form::Ids),
            _ => None,
        }
    }

    /// The map of a run.
    fn map<'t>(&self, outputs: &'t [Tensor]) -> Result<Map<'t>, PostError> {
        let squeezed = outputs.get(self.output).is_some_and(|t| t.shape.len() == 2);
        if squeezed {
            let ([height, width], values) = self.reader.read(outputs, self.output, |[_, _]| true)?;
            let form = if self.columns == 1 && !self.integer { Form::Planes } else { Form::Ids };
            return Ok(self.map_of(values, form, width, height));
        }
        let (dims, values) = self.reader.read(outputs, self.output, |dims| self.form(dims, self.integer).is_some())?;
        let form = self.form(dims, self.integer).unwrap_or(Form::Ids);
        let [a, b, c] = dims;
        let (height, width) = match form {
            Form::Planes => (b, c),
            Form::Rows => (a, b),
            Form::Ids if a == 1 => (b, c),
            Form::Ids => (a, b),
        };
        Ok(self.map_of(values, form, width, height))
    }

    fn map_of<'t>(&self, values: &'t [f32], form: Form, width: usize, height: usize) -> Map<'t> {
        let half = if self.activation == Activation::Sigmoid { 0.0 } else { 0.5 };
        Map { values, form, width, height, columns: self.columns, half }
    }

    /// Finds best class and probability of `len` pixels from `start` on.
    fn judge(&self, map: &Map, start: usize, len: usize, block: &mut Block) {
        let Block { best, class, sum } = block;
        best.fill(f32::NEG_INFINITY);
        class.fill(0);
        sum.fill(0.0);
        let softmax = self.activation == Activation::Softmax;
        match map.form {
            Form::Ids => {
                let ids = map.values.get(start..start + len).unwrap_or_default();
                for ((best, class), id) in best.iter_mut().zip(class.iter_mut()).zip(ids) {
                    let whole = *id >= 0.0 && id.fract() == 0.0;
                    (*best, *class) = (1.0, if whole { *id as u32 } else { u32::MAX });
                }
            }
            Form::Planes => {
                let plane = map.width * map.height;
                let planes = || map.values.chunks_exact(plane.max(1)).filter_map(|p| p.get(start..start + len));
                for (c, values) in (0u32..).zip(planes()) {
                    for ((best, class), v) in best.iter_mut().zip(class.iter_mut()).zip(values) {
                        let over = *v > *best;
                        *best = if over { *v } else { *best };
                        *class = if over { c } else { *class };
                    }
                }
                for values in planes() {
                    for ((sum, best), v) in sum.iter_mut().zip(best.iter()).zip(values) {
                        // Without the softmax only what is no number shows.
                        *sum += if softmax { logits::exp(*v - *best) } else { *v * 0.0 };
                    }
                }
            }
            Form::Rows => {
                let rows = map.values.get(start * self.columns..).unwrap_or_default().chunks_exact(self.columns.max(1));
                for (((best, class), sum), row) in best.iter_mut().zip(class.iter_mut()).zip(sum.iter_mut()).zip(rows) {
                    *best = view::peak(row);
                    *class = view::position(row.iter().copied(), *best);
                    *sum = if softmax { row.iter().map(|v| logits::exp(*v - *best)).sum() } else { 0.0 };
                }
            }
        }
        for (best, sum) in best.iter_mut().zip(sum.iter()) {
            *best = if softmax && map.form != Form::Ids { 1.0 / *sum } else { *best + *sum };
        }
        if self.columns == 1 && map.form != Form::Ids {
            for (best, class) in best.iter_mut().zip(class.iter_mut()) {
                *best = if self.activation == Activation::Sigmoid { view::sigmoid(*best) } else { *best };
                *class = if *best < 0.5 { u32::MAX } else { 0 };
            }
        }
    }

    /// The classes on a part of the map (columns, rows), as candidates.
    fn collect(
        &self,
        map: &Map,
        (columns, rows): (std::ops::Range<usize>, std::ops::Range<usize>),
        thresholds: &Thresholds,
        out: &mut Candidates,
    ) {
        let mut stats = [Stat::NONE; MAX_CLASSES];
        let mut block = Block { best: [0.0; BLOCK], class: [0; BLOCK], sum: [0.0; BLOCK] };
        let area = (columns.len() * rows.len()) as f32;
        for y in rows {
            for x in columns.clone().step_by(BLOCK) {
                let len = BLOCK.min(columns.end - x);
                self.judge(map, y * map.width + x, len, &mut block);
                for (i, (class, probability)) in block.class.iter().zip(&block.best).take(len).enumerate() {
                    if let Some(stat) = stats.get_mut(*class as usize) {
                        stat.add(x + i, y, *probability);
                    }
                }
            }
        }
        let (sx, sy) = (self.input.0 / map.width as f32, self.input.1 / map.height as f32);
        for (class, stat) in stats.iter().enumerate().take(self.columns).skip(self.first) {
            if stat.pixels == 0 || (stat.pixels as f32) < SPECK * area || self.background == Some(class) {
                continue;
            }
            let (class_id, score) = ((class - self.first) as u32, (stat.sum / f64::from(stat.pixels)) as f32);
            if thresholds.accepts(class_id, score) {
                let (x1, x2) = (stat.x.0 as f32 * sx, (stat.x.1 + 1) as f32 * sx);
                let (y1, y2) = (stat.y.0 as f32 * sy, (stat.y.1 + 1) as f32 * sy);
                out.push(Candidate { x1, y1, x2, y2, score, class_id, ..Candidate::default() }.at(class));
            }
        }
    }
}

/// The last three dimensions of a map's promise; a squeezed `[h, w]` has one row of channels.
fn dims(shape: &view::Shape) -> Option<[Option<usize>; 3]> {
    match shape {
        [h, w] => Some([Some(1), *h, *w]),
        shape => view::promised::<3>(shape),
    }
}

fn is_integer(dtype: DataType) -> bool {
    !matches!(dtype, DataType::F32 | DataType::F16)
}

/// The cells of a map of `length` over `input` pixels whose middle lies in `from..to` pixels.
fn cells(length: usize, input: f32, from: f32, to: f32) -> std::ops::Range<usize> {
    let scale = length as f32 / input;
    let at = |pixel: f32| ((pixel * scale - 0.5).ceil().max(0.0) as usize).min(length);
    at(from)..at(to)
}

impl Decoder for Segmentation {
    fn decode(&self, outputs: &[Tensor], thresholds: &Thresholds, out: &mut Candidates) -> Result<(), PostError> {
        let map = self.map(outputs)?;
        self.collect(&map, (0..map.width, 0..map.height), thresholds, out);
        Ok(())
    }

    fn decode_part(
        &self,
        outputs: &[Tensor],
        thresholds: &Thresholds,
        geometry: &Geometry,
        out: &mut Candidates,
    ) -> Result<(), PostError> {
        let map = self.map(outputs)?;
        let (x, y, w, h) = geometry.target;
        let columns = cells(map.width, self.input.0, x as f32, (x + w) as f32);
        let rows = cells(map.height, self.input.1, y as f32, (y + h) as f32);
        self.collect(&map, (columns, rows), thresholds, out);
        Ok(())
    }

    fn nms(&self) -> Nms {
        Nms::None
    }

    fn describe(
        &self,
        outputs: &[Tensor],
        candidate: &Candidate,
        geometry: &Geometry,
        object: &mut Object,
    ) -> Result<(), PostError> {
        let map = self.map(outputs)?;
        let class = candidate.row as usize;
        if let Some((bbox, mask)) = map.silhouette(class, candidate.bbox(), self.input, geometry) {
            object.bbox = bbox;
            object.mask = Some(Arc::new(mask));
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "segmentation_tests.rs"]
mod tests;
