//! The table `[output]`: checked, and turned into the output contract.

use toml::Spanned;

use super::{Checked, Checker, MAX_ANCHORS, PerClass, word};
use crate::bundle::contract::{AnchorConfig, DecoderKind, OutputContract, Quantization, Task};
use crate::bundle::schema::Output;

impl Checker<'_> {
    pub(super) fn output(&self, spanned: &Spanned<Output>, task: Task) -> Checked<(OutputContract, Vec<PerClass>)> {
        let output = spanned.get_ref();
        let decoder = *output.decoder.get_ref();
        let defaults = OutputContract::new(decoder);
        if !decoder.tasks().contains(&task) {
            let message = format!("the decoder \"{}\" does not answer the task \"{}\"", decoder.as_str(), word(&task));
            return self.fail(output.decoder.span(), message);
        }
        self.only_with(output, task)?;
        let anchors = match (&output.anchors, decoder == DecoderKind::SsdAnchors) {
            (Some(anchors), true) => Some(self.anchors(anchors)?),
            (Some(anchors), false) => {
                return self.fail(anchors.span(), "it has a meaning only with decoder = \"ssd-anchors\"");
            }
            (None, true) => {
                return self.fail(output.decoder.span(), "\"ssd-anchors\" needs the table [output.anchors]");
            }
            (None, false) => None,
        };
        let mut per_class = Vec::new();
        for (label, confidence) in &output.per_class {
            let (label, at) = (label.get_ref().clone(), label.span());
            let confidence = self.fraction(&Some(confidence.clone()), 0.0)?;
            per_class.push(PerClass { label, confidence, unknown: self.source.error(at, "") });
        }
        let count = |value: &Option<Spanned<u64>>, default: usize, most: u64| {
            value.as_ref().map_or(Ok(default), |v| {
                self.number(v, |v| (1..=most).contains(&v), &format!("it lies in 1..{most}")).map(|v| v as usize)
            })
        };
        let class_offset =
            output.class_offset.as_ref().map_or(Ok(0), |v| self.number(v, |v| v <= 1000, "it lies in 0..1000"))?;
        let contract = OutputContract {
            task,
            confidence: self.fraction(&output.confidence, defaults.confidence)?,
            iou: self.fraction(&output.iou, defaults.iou)?,
            max_objects: count(&output.max_objects, defaults.max_objects, 10_000)?,
            class_agnostic: output.class_agnostic,
            nms: output.nms.as_ref().is_some_and(|v| *v.get_ref()),
            activation: output.activation,
            class_offset,
            anchors,
            top_k: count(&output.top_k, defaults.top_k, 1000)?,
            box_format: output.box_format.as_ref().map(|v| *v.get_ref()),
            box_unit: output.box_unit.as_ref().map(|v| *v.get_ref()),
            columns: output.columns.as_ref().map(|v| v.get_ref().clone()),
            yolo_anchors: output.yolo_anchors.as_ref().map(|v| self.yolo_anchors(v)).transpose()?,
            keypoint_shape: output.keypoint_shape.as_ref().map(|v| self.keypoint_shape(v)).transpose()?,
            skeleton: output.skeleton.as_ref().map(|v| v.get_ref().clone()),
            quantization: output
                .quantization
                .iter()
                .map(|(name, q)| Ok((name.clone(), self.quantization(q)?)))
                .collect::<Checked<_>>()?,
            decoder,
            per_class: Vec::new(),
        };
        Ok((contract, per_class))
    }

    /// Refuses keys that the decoder or the task gives no meaning.
    fn only_with(&self, output: &Output, task: Task) -> Checked<()> {
        use DecoderKind as D;
        let decoder = *output.decoder.get_ref();
        let skeletal = task == Task::Pose || matches!(decoder, D::Yunet | D::Ultraface);
        let boxed = matches!(
            decoder,
            D::SsdPostprocessed | D::Detections | D::Yolov5 | D::Yolov8 | D::YoloNas | D::Detr | D::Ultraface
        );
        let keys = [
            (output.top_k.as_ref().map(Spanned::span), decoder == D::Classify, "decoder = \"classify\""),
            (output.columns.as_ref().map(Spanned::span), decoder == D::Detections, "decoder = \"detections\""),
            (output.nms.as_ref().map(Spanned::span), decoder == D::Detections, "decoder = \"detections\""),
            (output.yolo_anchors.as_ref().map(Spanned::span), decoder == D::Yolov5, "decoder = \"yolov5\""),
            (output.keypoint_shape.as_ref().map(Spanned::span), task == Task::Pose, "task = \"pose\""),
            (output.skeleton.as_ref().map(Spanned::span), skeletal, "a decoder that finds keypoints"),
            (output.box_format.as_ref().map(Spanned::span), boxed, "a decoder whose models differ in it"),
            (output.box_unit.as_ref().map(Spanned::span), boxed, "a decoder whose models differ in it"),
        ];
        match keys.into_iter().find_map(|(at, good, with)| at.filter(|_| !good).map(|at| (at, with))) {
            Some((at, with)) => self.fail(at, format!("it has a meaning only with {with}")),
            None => Ok(()),
        }
    }

    pub(super) fn quantization(&self, spanned: &Spanned<Quantization>) -> Checked<Quantization> {
        let q = *spanned.get_ref();
        if q.scale.is_finite() && q.scale > 0.0 {
            Ok(q)
        } else {
            self.fail(spanned.span(), "scale is a number above 0")
        }
    }

    fn keypoint_shape(&self, spanned: &Spanned<[usize; 2]>) -> Checked<[usize; 2]> {
        match *spanned.get_ref() {
            [count @ 1..=1000, values @ 2..=3] => Ok([count, values]),
            _ => self.fail(spanned.span(), "it is [keypoints, values]: 1 to 1000 keypoints of 2 or 3 values"),
        }
    }

    fn yolo_anchors(&self, spanned: &Spanned<Vec<Vec<f32>>>) -> Checked<Vec<Vec<[f32; 2]>>> {
        let heads = spanned.get_ref();
        let good = |head: &Vec<f32>| {
            !head.is_empty() && head.len().is_multiple_of(2) && head.iter().all(|v| v.is_finite() && *v > 0.0)
        };
        if heads.is_empty() || heads.len() > 8 || !heads.iter().all(|head| head.len() <= 64 && good(head)) {
            return self.fail(
                spanned.span(),
                "it is a list with one list per head, finest first, of widths and heights in pixels: \
                 [[10, 13, 16, 30, 33, 23], …]",
            );
        }
        Ok(heads.iter().map(|head| head.as_chunks::<2>().0.to_vec()).collect())
    }

    fn anchors(&self, spanned: &Spanned<AnchorConfig>) -> Checked<AnchorConfig> {
        let a = spanned.get_ref();
        let positive = |v: &f32| v.is_finite() && *v > 0.0;
        let scale = |v: f32| (0.0..=1.0).contains(&v) && v > 0.0;
        let cells: u64 = a.feature_maps.iter().map(|side| u64::from(*side).pow(2)).fold(0, u64::saturating_add);
        let anchors = cells.saturating_mul(a.aspect_ratios.len() as u64 + 1);
        let wrong = if a.feature_maps.is_empty() || a.feature_maps.contains(&0) {
            "feature-maps is a list of sides of at least 1"
        } else if anchors > MAX_ANCHORS {
            "they are more than a million anchors"
        } else if !(scale(a.min_scale) && scale(a.max_scale) && a.min_scale <= a.max_scale) {
            "min-scale and max-scale lie in 0..1, above 0, and min-scale is not the larger one"
        } else if a.aspect_ratios.is_empty() || !a.aspect_ratios.iter().all(positive) {
            "aspect-ratios is a list of numbers above 0"
        } else if !a.box_scales.iter().all(positive) {
            "box-scales are numbers above 0"
        } else {
            return Ok(a.clone());
        };
        self.fail(spanned.span(), wrong)
    }
}
