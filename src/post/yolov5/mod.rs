//! The YOLOv5 layout: also YOLOv6, YOLOv7, and YOLOX exported with `decode_in_inference`.
//!
//! Decoded (how these models are usually exported): rows `[1, boxes, 5 + classes]` of centre x, centre y, width, height,
//! objectness, one probability per class; the confidence is objectness × best class. Boxes are in pixels of the input;
//! exports by way of TensorFlow have them in 0..1 of it (`box-unit = "normalized"`). With `task = "segment"` mask
//! coefficients follow, and another output holds the prototypes (see [`masks`](super::masks)).
//!
//! Raw heads (YOLOv5 and v7 without the grid): see [`heads`].
//!
//! In YOLOv7, models with one class are read by their objectness alone; here, as in YOLOv5, it is the product.
//!
//! Sources: Ultralytics yolov5 `models/yolo.py` (`Detect`, `Segment`) and `utils/general.py` (`non_max_suppression`,
//! single-label); WongKinYiu yolov7 `models/yolo.py`; Meituan YOLOv6 `effidehead.py`; Megvii YOLOX `yolo_head.py`.

mod heads;

use super::boxes::Boxes;
use super::masks::Prototypes;
use super::{Candidate, Candidates, Decoder, PostError, Thresholds, view};
use crate::bundle::contract::{Activation, BoxFormat, BoxUnit, InputContract, OutputContract, Task};
use crate::engine::{Spec, Tensor, TensorSpec};
use crate::pre::geometry::Geometry;
use crate::result::Object;
use heads::Heads;

/// Centre, size, objectness.
const HEAD: usize = 5;

/// Decoder of the YOLOv5 layout.
pub struct YoloV5(Layout);

enum Layout {
    Rows(Rows),
    Heads(Heads),
}

impl YoloV5 {
    /// A decoder for a model with `classes` labels.
    ///
    /// # Errors
    /// [`PostError`] if no output has rows of 5 + `class-offset` + `classes` values (and the mask coefficients) and the
    /// outputs are no raw heads of so many classes, the prototypes of a segmenting model are missing, the anchors of raw
    /// heads are not known, or an output is not float.
    pub fn new(output: &OutputContract, input: &InputContract, classes: usize, spec: &Spec) -> Result<Self, PostError> {
        // Old exports have the raw heads beside the rows.
        match Rows::find(spec) {
            Some(main) => Rows::new(output, input, classes, spec, main).map(|rows| Self(Layout::Rows(rows))),
            None => Heads::new(output, input, classes, spec).map(|heads| Self(Layout::Heads(heads))),
        }
    }
}

/// Decoded rows.
struct Rows {
    reader: view::Reader,
    output: usize,
    boxes: Boxes,
    /// Column of the first class that has a label.
    first: usize,
    classes: usize,
    masks: Option<Prototypes>,
}

impl Rows {
    /// The first output that may hold rows.
    fn find(spec: &Spec) -> Option<(usize, &TensorSpec)> {
        let rows = |t: &TensorSpec| t.shape.len() <= 3 && view::promised::<2>(&t.shape).is_some();
        spec.outputs.iter().enumerate().find(|(_, t)| rows(t))
    }

    fn new(
        output: &OutputContract,
        input: &InputContract,
        classes: usize,
        spec: &Spec,
        (main, tensor): (usize, &TensorSpec),
    ) -> Result<Self, PostError> {
        view::activation(output, Activation::None, &[Activation::None])?;
        let first = HEAD + output.class_offset as usize;
        let columns = view::promised::<2>(&tensor.shape).and_then(|[_, columns]| columns);
        let masks = if output.task == Task::Segment {
            let fits = |n| columns == Some(first + classes + n);
            let found = Prototypes::find(output, input, spec, main, fits);
            // With no promised length that says better, any map will do: the class count is checked afterwards.
            Some(found.or_else(|_| Prototypes::find(output, input, spec, main, |_| true))?)
        } else {
            None
        };
        let more = masks.as_ref().map_or(0, |p| p.coefficients);
        let expected = first + classes + more;
        if let Some(found) = columns.filter(|c| *c != expected) {
            return Err(PostError::Classes {
                tensor: tensor.name.clone(),
                found: view::shape_text(&tensor.shape),
                classes: found.saturating_sub(HEAD + more),
                labels: classes,
                offset: output.class_offset,
            });
        }
        view::check_float(output, tensor)?;
        let reader = view::Reader {
            decoder: output.decoder.as_str(),
            expected: format!("[1, boxes, {expected}] (5 columns for box and objectness, 1 for each class)"),
            fix: "Give the file named by `labels` one line per class, or set `output.decoder` to the model's family",
        };
        let boxes = Boxes::new(output, input, BoxFormat::Cxcywh, BoxUnit::Pixels);
        Ok(Self { reader, output: main, boxes, first, classes, masks })
    }

    fn columns(&self) -> usize {
        self.first + self.classes + self.masks.as_ref().map_or(0, |p| p.coefficients)
    }

    fn decode(&self, outputs: &[Tensor], thresholds: &Thresholds, out: &mut Candidates) -> Result<(), PostError> {
        let columns = self.columns();
        let (_, values) = self.reader.read(outputs, self.output, |[_, found]| found == columns)?;
        let lowest = thresholds.lowest();
        for (i, row) in values.chunks_exact(columns).enumerate() {
            let (Some([a, b, c, d, objectness]), Some(classes)) =
                (row.first_chunk(), row.get(self.first..self.first + self.classes))
            else {
                continue;
            };
            // A class score is at most 1, so the product is at most the objectness. NaN goes on to the guard.
            if *objectness < lowest {
                continue;
            }
            let best = view::peak(classes);
            let (class_id, score) = (view::position(classes.iter().copied(), best), best * objectness);
            if thresholds.accepts(class_id, score) {
                out.push(self.boxes.candidate([*a, *b, *c, *d], score, class_id).at(i));
            }
        }
        Ok(())
    }

    fn describe(
        &self,
        outputs: &[Tensor],
        candidate: &Candidate,
        geometry: &Geometry,
        object: &mut Object,
    ) -> Result<(), PostError> {
        let Some(masks) = &self.masks else { return Ok(()) };
        let columns = self.columns();
        let (_, values) = self.reader.read(outputs, self.output, |[_, found]| found == columns)?;
        let start = candidate.row as usize * columns + self.first + self.classes;
        let coefficients = values.get(start..start + masks.coefficients).unwrap_or_default();
        masks.describe(outputs, coefficients.iter().copied(), geometry, object)
    }
}

impl Decoder for YoloV5 {
    fn decode(&self, outputs: &[Tensor], thresholds: &Thresholds, out: &mut Candidates) -> Result<(), PostError> {
        match &self.0 {
            Layout::Rows(rows) => rows.decode(outputs, thresholds, out),
            Layout::Heads(heads) => heads.decode(outputs, thresholds, out),
        }
    }

    fn describe(
        &self,
        outputs: &[Tensor],
        candidate: &Candidate,
        geometry: &Geometry,
        object: &mut Object,
    ) -> Result<(), PostError> {
        match &self.0 {
            Layout::Rows(rows) => rows.describe(outputs, candidate, geometry, object),
            Layout::Heads(_) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
