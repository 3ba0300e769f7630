//! Raw YOLOv5 and YOLOv7 heads: an output for each stride, in any order, with `A` anchors in each cell of a grid:
//! `[1, A, rows, columns, 5 + classes]`, `[1, A · (5 + classes), rows, columns]` or `[1, rows, columns, A · (5 + classes)]`.
//!
//! With σ the logistic function (left out with `activation = "none"`, where the model applies it):
//! centre = (2 σ(xy) - 0.5 + cell) · stride, size = (2 σ(wh))² · anchor, confidence = σ(objectness) · σ(best class).
//! The anchors are in the model's code only: `yolo-anchors`, else those of YOLOv5 for three heads.
//!
//! Source: Ultralytics yolov5 `models/yolo.py` (`Detect.forward`), `models/yolov5n.yaml`.

use super::HEAD;
use crate::bundle::contract::{Activation, InputContract, OutputContract, Task};
use crate::engine::{Spec, Tensor, TensorSpec};
use crate::post::{Candidate, Candidates, PostError, Thresholds, view};

/// Anchors of YOLOv5 at strides 8, 16 and 32.
const YOLOV5: [[[f32; 2]; 3]; 3] = [
    [[10.0, 13.0], [16.0, 30.0], [33.0, 23.0]],
    [[30.0, 61.0], [62.0, 45.0], [59.0, 119.0]],
    [[116.0, 90.0], [156.0, 198.0], [373.0, 326.0]],
];

/// Order of a head's dimensions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    /// `[A, rows, columns, 5 + classes]`
    AnchorsFirst,
    /// `[A · (5 + classes), rows, columns]`
    ChannelsFirst,
    /// `[rows, columns, A · (5 + classes)]`
    ChannelsLast,
}

/// One output.
struct Head {
    output: usize,
    order: Order,
}

/// A head's grid in one run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Grid {
    rows: usize,
    columns: usize,
}

/// Decoder of raw heads.
pub(super) struct Heads {
    reader: view::Reader,
    heads: Vec<Head>,
    /// By head, finest stride first.
    anchors: Vec<Vec<[f32; 2]>>,
    input: (f32, f32),
    first: usize,
    classes: usize,
    sigmoid: bool,
}

impl Heads {
    pub(super) fn new(
        output: &OutputContract,
        input: &InputContract,
        classes: usize,
        spec: &Spec,
    ) -> Result<Self, PostError> {
        let activation = view::activation(output, Activation::Sigmoid, &[Activation::Sigmoid, Activation::None])?;
        let decoder = output.decoder.as_str();
        if spec.outputs.is_empty() {
            let (needs, found) = ("an output with rows of boxes, or one for each stride", view::list(&spec.outputs));
            return Err(PostError::Missing { decoder, needs, found });
        }
        if output.task == Task::Segment {
            let needs = "decoded rows [1, boxes, columns] to find silhouettes (`task = \"segment\"`)";
            return Err(PostError::Missing { decoder, needs, found: view::list(&spec.outputs) });
        }
        let anchors = anchors(output, spec.outputs.len())?;
        let first = HEAD + output.class_offset as usize;
        let values = first + classes;
        let each = anchors.first().map_or(0, Vec::len);
        let reader = view::Reader {
            decoder,
            expected: format!(
                "[1, {each}, rows, columns, {values}], [1, {n}, rows, columns] or [1, rows, columns, {n}] ({each} \
                 anchors with 5 values for box and objectness, 1 for each class), or one output [1, boxes, {values}]",
                n = each * values
            ),
            fix: "Give the file named by `labels` one line per class, set `output.yolo-anchors` to the model's, or \
                  `output.decoder` to its family",
        };
        let mut heads = Vec::new();
        for (index, tensor) in spec.outputs.iter().enumerate() {
            let order = order(&tensor.shape, each, values).ok_or_else(|| {
                wrong_classes(tensor, each, output.class_offset, classes).unwrap_or_else(|| reader.refuse(tensor))
            })?;
            view::check_float(output, tensor)?;
            heads.push(Head { output: index, order });
        }
        let (input, sigmoid) = ((input.width as f32, input.height as f32), activation == Activation::Sigmoid);
        Ok(Self { reader, heads, anchors, input, first, classes, sigmoid })
    }

    /// Values of one anchor in one cell.
    fn values(&self) -> usize {
        self.first + self.classes
    }

    /// The tensor of a head and its grid.
    fn read<'t>(&self, outputs: &'t [Tensor], head: &Head) -> Result<(Grid, &'t [f32]), PostError> {
        let (each, values) = (self.anchors.first().map_or(0, Vec::len), self.values());
        let grid = |rows, columns| Grid { rows, columns };
        let three = |accept: fn([usize; 3], usize) -> bool| {
            self.reader.read(outputs, head.output, |dims| accept(dims, each * values))
        };
        Ok(match head.order {
            Order::AnchorsFirst => {
                let accept = |[a, _, _, last]: [usize; 4]| a == each && last == values;
                let ([_, rows, columns, _], data) = self.reader.read(outputs, head.output, accept)?;
                (grid(rows, columns), data)
            }
            Order::ChannelsFirst => {
                let ([_, rows, columns], data) = three(|[n, _, _], all| n == all)?;
                (grid(rows, columns), data)
            }
            Order::ChannelsLast => {
                let ([rows, columns, _], data) = three(|[_, _, n], all| n == all)?;
                (grid(rows, columns), data)
            }
        })
    }

    pub(super) fn decode(
        &self,
        outputs: &[Tensor],
        thresholds: &Thresholds,
        out: &mut Candidates,
    ) -> Result<(), PostError> {
        for head in &self.heads {
            let (grid, data) = self.read(outputs, head)?;
            // Its place among the strides: as many heads are finer as have more rows.
            let mut place = 0;
            for other in &self.heads {
                place += usize::from(self.read(outputs, other)?.0.rows > grid.rows);
            }
            if let Some(anchors) = self.anchors.get(place) {
                self.head(head.order, grid, data, anchors, thresholds, out);
            }
        }
        Ok(())
    }

    fn head(
        &self,
        order: Order,
        grid: Grid,
        data: &[f32],
        anchors: &[[f32; 2]],
        thresholds: &Thresholds,
        out: &mut Candidates,
    ) {
        let (cells, values) = (grid.rows * grid.columns, self.values());
        let stride = (self.input.0 / grid.columns as f32, self.input.1 / grid.rows as f32);
        let activate = |v: f32| if self.sigmoid { view::sigmoid(v) } else { v };
        // Objectness under this cannot lead to a score over the threshold: spares thousands of exponentials.
        let lowest = thresholds.lowest();
        let least = if self.sigmoid { (lowest / (1.0 - lowest)).ln() } else { lowest };
        for (a, [aw, ah]) in anchors.iter().enumerate() {
            for cell in 0..cells {
                let (start, step) = match order {
                    Order::AnchorsFirst => ((a * cells + cell) * values, 1),
                    Order::ChannelsFirst => (a * values * cells + cell, cells),
                    Order::ChannelsLast => ((cell * anchors.len() + a) * values, 1),
                };
                let at = |k: usize| data.get(start + k * step).copied().unwrap_or(f32::NAN);
                let objectness = at(4);
                if objectness < least {
                    continue;
                }
                let (class_id, best) = best((self.first..values).map(at));
                let score = activate(objectness) * activate(best);
                if !thresholds.accepts(class_id, score) {
                    continue;
                }
                let (x, y) = ((cell % grid.columns) as f32, (cell / grid.columns) as f32);
                let [cx, cy, w, h] = [0, 1, 2, 3].map(|k| 2.0 * activate(at(k)));
                let (cx, cy) = ((cx - 0.5 + x) * stride.0, (cy - 0.5 + y) * stride.1);
                out.push(Candidate::from_centre(cx, cy, w * w * aw, h * h * ah, score, class_id));
            }
        }
    }
}

/// The first of the largest values and its place; NaN if any is no number.
fn best(values: impl Iterator<Item = f32>) -> (u32, f32) {
    let mut best = (0, f32::NEG_INFINITY);
    let mut poison = 0.0;
    for (i, v) in (0u32..).zip(values) {
        if v > best.1 {
            best = (i, v);
        }
        poison += v * 0.0;
    }
    (best.0, best.1 + poison)
}

/// The contract's anchors, or YOLOv5's for three heads.
fn anchors(output: &OutputContract, heads: usize) -> Result<Vec<Vec<[f32; 2]>>, PostError> {
    let error = |why| PostError::Contract { key: "yolo-anchors", why };
    let anchors = match &output.yolo_anchors {
        Some(anchors) => anchors.clone(),
        None if heads == YOLOV5.len() => YOLOV5.iter().map(|head| head.to_vec()).collect(),
        None => {
            let why =
                format!("the anchors of a model with {heads} outputs are not known; set it from the model's code");
            return Err(error(why));
        }
    };
    if anchors.len() != heads {
        let why = format!("it has anchors for {} heads, but the model has {heads} outputs", anchors.len());
        return Err(error(why));
    }
    let each = anchors.first().map_or(0, Vec::len);
    if each == 0 || anchors.iter().any(|head| head.len() != each) {
        return Err(error("each head needs as many anchors as the others, at least one".into()));
    }
    Ok(anchors)
}

/// How the dimensions of a head with `each` anchors of `values` values stand; lengths that are promised say more than
/// those that are decided at run time.
fn order(shape: &view::Shape, each: usize, values: usize) -> Option<Order> {
    let (three, four) = (view::promised::<3>(shape), view::promised::<4>(shape));
    let all = Some(each * values);
    if three.is_some_and(|[n, _, _]| n == all) {
        return Some(Order::ChannelsFirst);
    }
    if three.is_some_and(|[_, _, n]| n == all) {
        return Some(Order::ChannelsLast);
    }
    if four.is_some_and(|[a, _, _, n]| view::may_be(a, each) && view::may_be(n, values)) && shape.len() != 3 {
        let five = shape.len() >= 5 || four.is_some_and(|[a, _, _, _]| a == Some(each));
        if five {
            return Some(Order::AnchorsFirst);
        }
    }
    match three {
        Some([None, _, _]) => Some(Order::ChannelsFirst),
        Some([_, _, None]) => Some(Order::ChannelsLast),
        _ => None,
    }
}

/// The error for a head whose last or first dimension is that of another number of classes.
fn wrong_classes(tensor: &TensorSpec, each: usize, offset: u32, labels: usize) -> Option<PostError> {
    let found = match view::promised::<4>(&tensor.shape) {
        Some([Some(a), _, _, Some(n)]) if a == each && tensor.shape.len() >= 4 => n,
        _ => {
            let [first, _, last] = view::promised::<3>(&tensor.shape)?;
            [first?, last?].into_iter().find(|n| n.is_multiple_of(each) && *n > each * HEAD)? / each
        }
    };
    Some(PostError::Classes {
        tensor: tensor.name.clone(),
        found: view::shape_text(&tensor.shape),
        classes: found.checked_sub(HEAD)?,
        labels,
        offset,
    })
}
