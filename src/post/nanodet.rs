//! NanoDet and its kin: for each cell of each level class scores and the distances to the four sides of the box, each as
//! a distribution over bins (distance = Σ softmax · bin · stride; left, top, right, bottom).
//!
//! Four forms are read, told by the shapes; the levels by the number of cells (input / stride, rounded up):
//!
//! - NanoDet: `cls_pred_stride_s` `[1, cells, classes]` and `dis_pred_stride_s` `[1, cells, 4 · bins]` for each stride
//!   (PicoDet's raw heads have the same form). A cell's centre is (cell + 0.5) · stride.
//! - One output `[1, cells, classes + 32]` with the levels 8, 16, 32 after each other: NanoDet, centres as above.
//! - The same with the levels 8, 16, 32, 64: NanoDet-Plus, centres are cell · stride.
//! - `[1, 4 · bins, h, w]` and `[1, classes, h, w]` for each level: YOLOv8 heads as exported for NPUs. Centres as in
//!   NanoDet; a third output `[1, 1, h, w]` (a sum of scores) is not needed.
//!
//! `activation` is usually `none` (the exports apply the sigmoid); `sigmoid` for exports without it. Boxes of the first
//! three forms are cut at the input's edges before NMS, as there.
//!
//! Sources: RangiLyu/nanodet, `nanodet/model/head/gfl_head.py`, `nanodet_head.py`, `nanodet_plus_head.py`; Rockchip
//! rknn_model_zoo, `examples/yolov8/python/yolov8.py`.

use super::{Candidate, Candidates, Decoder, PostError, Thresholds, logits, view};
use crate::bundle::contract::{Activation, InputContract, OutputContract};
use crate::engine::{Spec, Tensor, TensorSpec};

const STRIDES: [u32; 4] = [8, 16, 32, 64];

/// Bins of each side where scores and distances share a row, in all of NanoDet's configurations (`reg_max` 7).
const JOINT_BINS: usize = 8;

/// How a level's values lie in its tensors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// All levels in one tensor, one row per cell.
    Joint,
    /// Two tensors per level, one row per cell.
    Rows,
    /// Two tensors per level, one plane per channel.
    Maps,
}

/// A level of the pyramid.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Level {
    stride: f32,
    /// Cells in a row of the grid.
    width: usize,
    height: usize,
    /// Output with the scores.
    scores: usize,
    /// Output with the distances.
    distances: usize,
    bins: usize,
}

impl Level {
    fn new(stride: u32, input: &InputContract) -> Self {
        let (width, height) = (input.width.div_ceil(stride) as usize, input.height.div_ceil(stride) as usize);
        Self { stride: stride as f32, width, height, scores: 0, distances: 0, bins: JOINT_BINS }
    }

    fn cells(&self) -> usize {
        self.width * self.height
    }
}

/// The channels of an output that may belong to a level: `None` if it does not, `Some(None)` if they are free.
fn channels(tensor: &TensorSpec, level: &Level, form: Form) -> Option<Option<usize>> {
    match form {
        Form::Maps => match view::promised::<3>(&tensor.shape)? {
            [c, h, w] if tensor.shape.len() > 2 && view::may_be(h, level.height) && view::may_be(w, level.width) => {
                Some(c)
            }
            _ => None,
        },
        _ => match view::promised::<2>(&tensor.shape)? {
            [n, c] if view::may_be(n, level.cells()) => Some(c),
            _ => None,
        },
    }
}

/// Whether an output can hold distances: four distributions of at least two bins.
fn is_distances(channels: usize) -> bool {
    channels >= 8 && channels.is_multiple_of(4)
}

/// Whether an output's name says that it holds distances.
fn says_distances(tensor: &TensorSpec) -> bool {
    let name = tensor.name.to_ascii_lowercase();
    ["dis", "reg", "box"].iter().any(|word| name.contains(word))
}

/// The levels of a model whose scores and distances are in outputs of their own.
fn pairs(spec: &Spec, input: &InputContract, classes: usize, form: Form) -> Vec<Level> {
    let mut used = vec![false; spec.outputs.len()];
    let mut levels = Vec::new();
    for stride in STRIDES {
        let level = Level::new(stride, input);
        let fits = |used: &[bool], test: &dyn Fn(&TensorSpec, usize) -> bool| {
            spec.outputs.iter().enumerate().position(|(i, t)| {
                used.get(i) == Some(&false) && channels(t, &level, form).flatten().is_some_and(|c| test(t, c))
            })
        };
        // Where both could be either, the names tell, else the order: scores first.
        let Some(scores) =
            fits(&used, &|t, c| c == classes && !says_distances(t)).or_else(|| fits(&used, &|_, c| c == classes))
        else {
            continue;
        };
        used[scores] = true;
        let distances =
            fits(&used, &|t, c| is_distances(c) && says_distances(t)).or_else(|| fits(&used, &|_, c| is_distances(c)));
        let Some(distances) = distances else {
            used[scores] = false;
            continue;
        };
        used[distances] = true;
        let found = spec.outputs.get(distances).and_then(|t| channels(t, &level, form)).flatten().unwrap_or(0);
        levels.push(Level { scores, distances, bins: found / 4, ..level });
    }
    levels
}

/// Values of one kind at a cell of a level, whatever way they lie.
#[derive(Clone, Copy)]
struct Values<'a> {
    values: &'a [f32],
    /// From one channel to the next.
    channel: usize,
    /// From one cell to the next.
    cell: usize,
}

impl Values<'_> {
    fn at(&self, cell: usize, channels: std::ops::Range<usize>) -> impl Iterator<Item = f32> {
        let start = cell * self.cell + channels.start * self.channel;
        self.values.get(start..).unwrap_or_default().iter().step_by(self.channel.max(1)).take(channels.len()).copied()
    }

    /// The best of some channels; NaN if one is not finite.
    fn best(&self, cell: usize, channels: std::ops::Range<usize>) -> f32 {
        let start = cell * self.cell + channels.start;
        match self.values.get(start..start + channels.len()) {
            Some(row) if self.channel == 1 => view::peak(row),
            _ => {
                let (best, poison) = self
                    .at(cell, channels.clone())
                    .fold((f32::NEG_INFINITY, 0.0), |(best, poison), v| (f32::max(best, v), poison + v * 0.0));
                best + poison
            }
        }
    }

    /// The mean bin of a distribution of `bins` raw scores from channel `first` on.
    fn mean_bin(&self, cell: usize, first: usize, bins: usize) -> f32 {
        let scores = || self.at(cell, first..first + bins);
        let top = scores().fold(f32::NEG_INFINITY, f32::max);
        let (sum, weighted) = scores().enumerate().fold((0.0, 0.0), |(sum, weighted), (bin, v)| {
            let weight = (v - top).exp();
            (sum + weight, weighted + weight * bin as f32)
        });
        weighted / sum
    }
}

/// Decoder of distances that are distributions.
pub struct NanoDet {
    reader: view::Reader,
    form: Form,
    /// The levels of each number of cells that is understood; one entry but for [`Form::Joint`].
    sets: Vec<Vec<Level>>,
    /// First class that has a label.
    first: usize,
    /// Classes in the tensor.
    classes: usize,
    sigmoid: bool,
    input: (f32, f32),
}

impl NanoDet {
    /// A decoder for a model with `classes` labels.
    ///
    /// # Errors
    /// [`PostError`] if no outputs have as many cells as the input's size makes, the class count is not that of the
    /// labels, or an output is not float.
    pub fn new(output: &OutputContract, input: &InputContract, classes: usize, spec: &Spec) -> Result<Self, PostError> {
        let activation = view::activation(output, Activation::None, &[Activation::None, Activation::Sigmoid])?;
        let first = output.class_offset as usize;
        let all = first + classes;
        let joint = [3, 4].map(|n| STRIDES.iter().take(n).map(|s| Level::new(*s, input)).collect::<Vec<_>>());
        let counts = joint.each_ref().map(|levels| levels.iter().map(Level::cells).sum::<usize>());
        let columns = all + 4 * JOINT_BINS;
        let reader = view::Reader {
            decoder: output.decoder.as_str(),
            expected: format!(
                "[1, {}, {columns}] or [1, {}, {columns}] (the cells of a {}x{} input at strides 8, 16, 32 or 8, 16, \
                 32, 64; 1 column for each class and 4 times {JOINT_BINS} for the distances), or outputs for each stride",
                counts[0], counts[1], input.width, input.height
            ),
            fix: "Set `input.size` to the size that the model was exported for, or `output.decoder` to its family",
        };
        let (form, sets) = if let levels @ [_, ..] = pairs(spec, input, all, Form::Rows).as_slice() {
            (Form::Rows, vec![levels.to_vec()])
        } else if let levels @ [_, ..] = pairs(spec, input, all, Form::Maps).as_slice() {
            (Form::Maps, vec![levels.to_vec()])
        } else {
            let index = Self::find_joint(&reader, counts, columns, (output, classes), spec)?;
            let place = |levels: Vec<Level>| levels.iter().map(|l| Level { scores: index, ..*l }).collect();
            (Form::Joint, joint.map(place).into())
        };
        let sigmoid = activation == Activation::Sigmoid;
        let input = (input.width as f32, input.height as f32);
        let this = Self { reader, form, sets, first, classes: all, sigmoid, input };
        for level in this.sets.iter().flatten() {
            let used = if form == Form::Joint { vec![level.scores] } else { vec![level.scores, level.distances] };
            used.iter().filter_map(|i| spec.outputs.get(*i)).try_for_each(|t| view::check_float(output, t))?;
        }
        Ok(this)
    }

    /// The output that holds all levels.
    fn find_joint(
        reader: &view::Reader,
        counts: [usize; 2],
        columns: usize,
        (output, classes): (&OutputContract, usize),
        spec: &Spec,
    ) -> Result<usize, PostError> {
        let dims = |t: &TensorSpec| view::promised::<2>(&t.shape);
        let rows_fit = |n: Option<usize>| counts.iter().any(|count| view::may_be(n, *count));
        let fits = |t: &TensorSpec| dims(t).is_some_and(|[n, c]| rows_fit(n) && view::may_be(c, columns));
        if let Some(index) = spec.outputs.iter().position(fits) {
            return Ok(index);
        }
        let alone = spec.outputs.len() > 1;
        let Some(tensor) = spec.outputs.iter().find(|t| !says_distances(t)).or(spec.outputs.first()) else {
            let (decoder, needs) = (reader.decoder, "class scores and distances for each cell");
            return Err(PostError::Missing { decoder, needs, found: view::list(&spec.outputs) });
        };
        // Where the cells are right it is the classes that are not.
        let found = match (dims(tensor), view::promised::<3>(&tensor.shape)) {
            (Some([_, Some(c)]), _) if alone => c,
            (None, Some([Some(c), ..])) if alone => c,
            (Some([Some(n), Some(c)]), _) if !alone && rows_fit(Some(n)) => c.saturating_sub(4 * JOINT_BINS),
            _ => return Err(reader.refuse(tensor)),
        };
        Err(PostError::Classes {
            tensor: tensor.name.clone(),
            found: view::shape_text(&tensor.shape),
            classes: found,
            labels: classes,
            offset: output.class_offset,
        })
    }

    /// A level's scores and distances; `start` is its first row in a joint tensor.
    fn values<'t>(
        &self,
        outputs: &'t [Tensor],
        level: &Level,
        start: usize,
    ) -> Result<(Values<'t>, Values<'t>), PostError> {
        let cells = level.cells();
        let columns = self.classes + 4 * level.bins;
        let table = |values, columns| Values { values, channel: 1, cell: columns };
        let planes = |values| Values { values, channel: cells, cell: 1 };
        let read = |index, channels| match self.form {
            Form::Maps => {
                let accept = |dims| dims == [channels, level.height, level.width];
                self.reader.read(outputs, index, accept).map(|(_, values)| planes(values))
            }
            _ => self
                .reader
                .read(outputs, index, |dims| dims == [cells, channels])
                .map(|(_, values)| table(values, channels)),
        };
        if self.form != Form::Joint {
            return Ok((read(level.scores, self.classes)?, read(level.distances, 4 * level.bins)?));
        }
        let (_, values) = self.reader.read(outputs, level.scores, |[_, c]| c == columns)?;
        let rows = values.get(start * columns..).unwrap_or_default();
        let distances = rows.get(self.classes..).unwrap_or_default();
        Ok((table(rows, columns), table(distances, columns)))
    }

    /// The levels of this run, and where a cell's centre lies in it.
    fn levels(&self, outputs: &[Tensor]) -> Result<(&[Level], f32), PostError> {
        let [short, long] = match self.sets.as_slice() {
            [short, long] => [short, long],
            [only] => return Ok((only, 0.5)),
            _ => return Ok((&[], 0.5)),
        };
        let count = |levels: &[Level]| levels.iter().map(Level::cells).sum::<usize>();
        let index = short.first().map_or(0, |level| level.scores);
        let ([rows, _], _) =
            self.reader.read(outputs, index, |[rows, _]| rows == count(short) || rows == count(long))?;
        Ok(if rows == count(short) { (short, 0.5) } else { (long, 0.0) })
    }

    /// The corners of the box of a cell, pixels.
    fn corners(&self, level: &Level, cell: usize, half: f32, distances: &Values) -> [f32; 4] {
        let centre = |n: usize| (n as f32 + half) * level.stride;
        let (cx, cy) = (centre(cell % level.width), centre(cell / level.width));
        let side = |i: usize| distances.mean_bin(cell, i * level.bins, level.bins) * level.stride;
        let corners = [cx - side(0), cy - side(1), cx + side(2), cy + side(3)];
        if self.form == Form::Maps {
            return corners;
        }
        let (w, h) = self.input;
        let [x1, y1, x2, y2] = corners;
        [x1.clamp(0.0, w), y1.clamp(0.0, h), x2.clamp(0.0, w), y2.clamp(0.0, h)]
    }
}

impl Decoder for NanoDet {
    fn decode(&self, outputs: &[Tensor], thresholds: &Thresholds, out: &mut Candidates) -> Result<(), PostError> {
        let (levels, half) = self.levels(outputs)?;
        let lowest = if self.sigmoid { logits::floor(thresholds.lowest()) } else { thresholds.lowest() };
        let mut start = 0;
        for level in levels {
            let (scores, distances) = self.values(outputs, level, start)?;
            for cell in 0..level.cells() {
                let best = scores.best(cell, self.first..self.classes);
                if best < lowest {
                    continue;
                }
                let class_id = view::position(scores.at(cell, self.first..self.classes), best);
                let score = if self.sigmoid { view::sigmoid(best) } else { best };
                if thresholds.accepts(class_id, score) {
                    let [x1, y1, x2, y2] = self.corners(level, cell, half, &distances);
                    out.push(Candidate { x1, y1, x2, y2, score, class_id, ..Candidate::default() }.at(start + cell));
                }
            }
            start += level.cells();
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "nanodet_tests.rs"]
mod tests;
