//! Raw SSD heads: box encodings `[1, anchors, 4]` (centre y, centre x, height, width, relative to an anchor) and class
//! logits `[1, anchors, classes]`.
//!
//! Sources: anchors after MediaPipe's `ssd_anchors_calculator.cc`; the box code is `FasterRcnnBoxCoder` of the
//! TensorFlow Object Detection API.

use super::{Candidate, Candidates, Decoder, PostError, Thresholds, view};
use crate::bundle::contract::{Activation, AnchorConfig, InputContract, OutputContract};
use crate::engine::{Spec, Tensor, TensorSpec};

/// Scale of the lowest layer's square anchor where the layer is reduced.
const REDUCED_SCALE: f32 = 0.1;

/// Words in the names of box tensors, for models whose shapes alone do not tell boxes from classes.
const BOX_NAMES: [&str; 3] = ["box", "loc", "regress"];

/// An anchor, 0..1 of the input.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Anchor {
    cx: f32,
    cy: f32,
    w: f32,
    h: f32,
}

/// Width and height of the anchors of each cell of `layer`.
fn sizes(config: &AnchorConfig, layer: usize) -> Vec<(f32, f32)> {
    let layers = config.feature_maps.len();
    let scale_of = |layer: usize| match layers {
        1 => (config.min_scale + config.max_scale) / 2.0,
        n => config.min_scale + (config.max_scale - config.min_scale) * layer as f32 / (n - 1) as f32,
    };
    let scale = scale_of(layer);
    let sized = |scale: f32, ratio: f32| (scale * ratio.sqrt(), scale / ratio.sqrt());
    if layer == 0 && config.reduce_lowest {
        return vec![sized(REDUCED_SCALE, 1.0), sized(scale, 2.0), sized(scale, 0.5)];
    }
    let mut sizes: Vec<(f32, f32)> = config.aspect_ratios.iter().map(|ratio| sized(scale, *ratio)).collect();
    if config.interpolated_scale {
        let next = if layer + 1 == layers { 1.0 } else { scale_of(layer + 1) };
        sizes.push(sized((scale * next).sqrt(), 1.0));
    }
    sizes
}

/// How many anchors a layout has.
pub(super) fn anchor_count(config: &AnchorConfig) -> usize {
    let cells = |side: &u32| (*side as usize).saturating_mul(*side as usize);
    let per_layer =
        config.feature_maps.iter().enumerate().map(|(i, m)| cells(m).saturating_mul(sizes(config, i).len()));
    per_layer.fold(0, usize::saturating_add)
}

/// All anchors: layer by layer, row by row, cell by cell.
fn anchors(config: &AnchorConfig) -> Vec<Anchor> {
    let mut anchors = Vec::with_capacity(anchor_count(config));
    for (layer, side) in config.feature_maps.iter().enumerate() {
        let sizes = sizes(config, layer);
        let centre = |i: u32| (i as f32 + 0.5) / *side as f32;
        for (y, x) in (0..*side).flat_map(|y| (0..*side).map(move |x| (y, x))) {
            anchors.extend(sizes.iter().map(|(w, h)| Anchor { cx: centre(x), cy: centre(y), w: *w, h: *h }));
        }
    }
    anchors
}

/// The places of the box and the class tensor among the outputs: by shape, and where both end in 4 by name, else in
/// the graph's order.
pub(super) fn places(outputs: &[TensorSpec]) -> Option<(usize, usize)> {
    let heads: Vec<(usize, &TensorSpec, [Option<usize>; 2])> =
        outputs.iter().enumerate().filter_map(|(i, t)| Some((i, t, view::promised::<2>(&t.shape)?))).collect();
    let named = |t: &TensorSpec| BOX_NAMES.iter().any(|n| t.name.to_ascii_lowercase().contains(n));
    let is_box = |shape: &[Option<usize>; 2]| view::may_be(shape[1], 4);
    let boxes = heads.iter().find(|(_, t, s)| is_box(s) && named(t));
    let boxes = boxes.or_else(|| heads.iter().find(|(_, _, s)| is_box(s)))?;
    let pairs = |s: &[Option<usize>; 2]| match (s[0], boxes.2[0]) {
        (Some(a), Some(b)) => a == b,
        _ => true,
    };
    let scores = heads.iter().find(|(i, _, s)| *i != boxes.0 && pairs(s))?;
    Some((boxes.0, scores.0))
}

/// Decoder of raw SSD heads.
pub struct SsdAnchors {
    boxes: (view::Reader, usize),
    scores: (view::Reader, usize),
    anchors: Vec<Anchor>,
    scales: [f32; 4],
    input: (f32, f32),
    activation: Activation,
    /// Column of the first class that has a label.
    first: usize,
    columns: usize,
}

impl SsdAnchors {
    /// A decoder for a model with `classes` labels; the activation is the sigmoid unless the contract names another.
    ///
    /// # Errors
    /// [`PostError`] if the contract has no anchors or not as many as the model, the class count is not that of the
    /// labels, or an output is missing or not float.
    pub fn new(output: &OutputContract, input: &InputContract, classes: usize, spec: &Spec) -> Result<Self, PostError> {
        let allowed = [Activation::Sigmoid, Activation::Softmax, Activation::None];
        let activation = view::activation(output, Activation::Sigmoid, &allowed)?;
        let config = check_anchors(output)?;
        let (decoder, count) = (output.decoder.as_str(), anchor_count(config));
        let first = output.class_offset as usize;
        let columns = first + classes;
        let reader = |last: usize, fix| view::Reader { decoder, expected: format!("[1, {count}, {last}]"), fix };
        let boxes = reader(4, "Set `output.anchors` to the layout that the model was trained with");
        let scores = reader(columns, "Set `output.anchors` to the layout that the model was trained with");
        let missing = || PostError::Missing {
            decoder,
            needs: "box encodings [1, anchors, 4] and class logits [1, anchors, classes]",
            found: view::list(&spec.outputs),
        };
        let (box_index, score_index) = places(&spec.outputs).ok_or_else(missing)?;
        for (reader, index) in [(&boxes, box_index), (&scores, score_index)] {
            let tensor = spec.outputs.get(index).ok_or_else(missing)?;
            view::check_float(output, tensor)?;
            let [rows, found] = view::promised::<2>(&tensor.shape).ok_or_else(|| reader.refuse(tensor))?;
            if !view::may_be(rows, count) {
                return Err(reader.refuse(tensor));
            }
            if let Some(found) = found.filter(|n| index == score_index && *n != columns) {
                return Err(PostError::Classes {
                    tensor: tensor.name.clone(),
                    found: view::shape_text(&tensor.shape),
                    classes: found,
                    labels: classes,
                    offset: output.class_offset,
                });
            }
        }
        Ok(Self {
            boxes: (boxes, box_index),
            scores: (scores, score_index),
            anchors: anchors(config),
            scales: config.box_scales,
            input: (input.width as f32, input.height as f32),
            activation,
            first,
            columns,
        })
    }

    /// The best class of a row of logits and its probability; NaN if a logit is not finite.
    fn best(&self, row: &[f32], classes: &[f32]) -> (u32, f32) {
        let peak = view::peak(classes);
        let score = match self.activation {
            Activation::None => peak,
            Activation::Sigmoid => view::sigmoid(peak),
            Activation::Softmax => {
                // Over all columns: the background takes its share.
                let top = view::peak(row);
                (peak - top).exp() / row.iter().map(|v| (v - top).exp()).sum::<f32>()
            }
        };
        (view::position(classes.iter().copied(), peak), score)
    }

    /// A box encoding on its anchor → corners in pixels of the input.
    fn candidate(&self, code: &[f32; 4], anchor: &Anchor, score: f32, class_id: u32) -> Candidate {
        let [cy, cx, h, w] = code;
        let [sy, sx, sh, sw] = self.scales;
        Candidate::from_centre(
            (cx / sx * anchor.w + anchor.cx) * self.input.0,
            (cy / sy * anchor.h + anchor.cy) * self.input.1,
            (w / sw).exp() * anchor.w * self.input.0,
            (h / sh).exp() * anchor.h * self.input.1,
            score,
            class_id,
        )
    }
}

/// The contract's anchors, if they make sense.
fn check_anchors(output: &OutputContract) -> Result<&AnchorConfig, PostError> {
    let error = |why: &str| Err(PostError::Contract { key: "anchors", why: why.into() });
    let Some(config) = &output.anchors else {
        return error(
            "decoder ssd-anchors needs the layout of the anchors (feature-maps, min-scale, max-scale, aspect-ratios); \
             it is in the model's training configuration",
        );
    };
    let positive = |v: &f32| v.is_finite() && *v > 0.0;
    if config.feature_maps.is_empty() || config.feature_maps.iter().any(|m| !(1..=1024).contains(m)) {
        return error("feature-maps must list at least one side, each from 1 to 1024");
    }
    if config.feature_maps.len() > 16 || config.aspect_ratios.len() > 16 {
        return error("at most 16 feature-maps and 16 aspect-ratios");
    }
    if !config.aspect_ratios.iter().chain([&config.min_scale, &config.max_scale]).all(positive) {
        return error("scales and aspect-ratios must be numbers over 0");
    }
    if !config.box_scales.iter().all(positive) {
        return error("box-scales must be four numbers over 0");
    }
    Ok(config)
}

impl Decoder for SsdAnchors {
    fn decode(&self, outputs: &[Tensor], thresholds: &Thresholds, out: &mut Candidates) -> Result<(), PostError> {
        let count = self.anchors.len();
        let (_, boxes) = self.boxes.0.read(outputs, self.boxes.1, |dims| dims == [count, 4])?;
        let (_, logits) = self.scores.0.read(outputs, self.scores.1, |dims| dims == [count, self.columns])?;
        let (codes, _) = boxes.as_chunks::<4>();
        for ((row, code), anchor) in logits.chunks_exact(self.columns.max(1)).zip(codes).zip(&self.anchors) {
            let Some(classes) = row.get(self.first..) else { continue };
            let (class_id, score) = self.best(row, classes);
            if thresholds.accepts(class_id, score) {
                out.push(self.candidate(code, anchor, score, class_id));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bundle::contract::DecoderKind;
    use crate::engine::DataType;
    use crate::post::tests::{accept_over, input, outputs, tensor};

    /// The layout of the 300 × 300 MobileNet SSDs.
    fn mobilenet() -> AnchorConfig {
        AnchorConfig {
            feature_maps: vec![19, 10, 5, 3, 2, 1],
            min_scale: 0.2,
            max_scale: 0.95,
            aspect_ratios: vec![1.0, 2.0, 0.5, 3.0, 1.0 / 3.0],
            reduce_lowest: true,
            interpolated_scale: true,
            box_scales: [10.0, 10.0, 5.0, 5.0],
        }
    }

    /// One cell, two anchors: 0.5 × 0.5, and √(0.5 · 1) = 0.7071 square.
    fn contract() -> OutputContract {
        let anchors = AnchorConfig {
            feature_maps: vec![1],
            min_scale: 0.4,
            max_scale: 0.6,
            aspect_ratios: vec![1.0],
            reduce_lowest: false,
            ..mobilenet()
        };
        OutputContract { anchors: Some(anchors), class_offset: 1, ..OutputContract::new(DecoderKind::SsdAnchors) }
    }

    fn spec(boxes: &[usize], scores: &[usize]) -> Spec {
        let promise = |s: &[usize]| s.iter().map(|d| Some(*d)).collect::<Vec<_>>();
        outputs(vec![
            tensor("classes", DataType::F32, &promise(scores)),
            tensor("boxes", DataType::F32, &promise(boxes)),
        ])
    }

    #[test]
    fn mobilenet_has_1917_anchors_in_mediapipes_order() {
        let anchors = anchors(&mobilenet());
        assert_eq!((anchors.len(), anchor_count(&mobilenet())), (1917, 1917));
        let near = |i: usize, cx: f32, cy: f32, w: f32, h: f32| {
            let a = anchors[i];
            let close = |a: f32, b: f32| (a - b).abs() < 1e-5;
            assert!(close(a.cx, cx) && close(a.cy, cy) && close(a.w, w) && close(a.h, h), "{i}: {a:?}");
        };
        // Lowest layer: 0.1 square, then 0.2 at ratio 2 (√2 · 0.2 × 0.2 / √2) and 1/2; second cell to the right.
        near(0, 0.5 / 19.0, 0.5 / 19.0, 0.1, 0.1);
        near(1, 0.5 / 19.0, 0.5 / 19.0, 0.282_842_7, 0.141_421_4);
        near(2, 0.5 / 19.0, 0.5 / 19.0, 0.141_421_4, 0.282_842_7);
        near(3, 1.5 / 19.0, 0.5 / 19.0, 0.1, 0.1);
        near(19 * 3, 0.5 / 19.0, 1.5 / 19.0, 0.1, 0.1);
        // Second layer: scale 0.2 + 0.75 / 5 = 0.35; its sixth is √(0.35 · 0.5) = 0.418330.
        near(1083, 0.05, 0.05, 0.35, 0.35);
        near(1088, 0.05, 0.05, 0.418_330_1, 0.418_330_1);
        // Last: √(0.95 · 1).
        near(1916, 0.5, 0.5, 0.974_679_4, 0.974_679_4);
    }

    fn decode(contract: &OutputContract, logits: [f32; 6], codes: [f32; 8]) -> Vec<Candidate> {
        let decoder = SsdAnchors::new(contract, &input(200, 100), 2, &spec(&[1, 2, 4], &[1, 2, 3])).unwrap();
        let tensors = [
            Tensor::from_f32("classes", &[1, 2, 3], logits.into()),
            Tensor::from_f32("boxes", &[1, 2, 4], codes.into()),
        ];
        let mut out = Vec::new();
        decoder.decode(&tensors, &accept_over(0.6, 2), &mut out).unwrap();
        out
    }

    #[test]
    fn a_code_on_its_anchor_becomes_a_box() {
        // Centre y 0.5 + 1/10 · 0.5 = 0.55, centre x 0.5 − 2/10 · 0.5 = 0.4, height 0.5 · 2, width 0.5.
        let codes = [1.0, -2.0, 5.0 * 2f32.ln(), 0.0, 0.0, 0.0, 0.0, 0.0];
        // Sigmoid: background 9 is skipped, ln 3 → 0.75, 0 → 0.5.
        let out = decode(&contract(), [9.0, 0.0, 3f32.ln(), 9.0, 0.0, 0.0], codes);
        let [found] = out.as_slice() else { panic!("{out:?}") };
        let expected = [200.0 * 0.15, 100.0 * 0.05, 200.0 * 0.65, 100.0 * 1.05, 0.75];
        for (a, b) in [found.x1, found.y1, found.x2, found.y2, found.score].iter().zip(expected) {
            assert!((a - b).abs() < 1e-4, "{found:?}");
        }
        assert_eq!(found.class_id, 1);
    }

    #[test]
    fn softmax_counts_the_background_and_none_leaves_the_value() {
        let softmax = OutputContract { activation: Some(Activation::Softmax), ..contract() };
        // 3 / (1 + 1 + 3) = 0.6 with the background at 1; 8 / (1 + 1 + 8) = 0.8.
        let out = decode(&softmax, [0.0, 3f32.ln() - 0.01, 0.0, 0.0, 8f32.ln(), 0.0], [0.0; 8]);
        assert_eq!(out.len(), 1);
        assert!((out[0].score - 0.8).abs() < 1e-6);
        let none = OutputContract { activation: Some(Activation::None), ..contract() };
        let out = decode(&none, [0.9, 0.1, 0.625, 0.0, 0.5, 0.0], [0.0; 8]);
        assert_eq!(out.iter().map(|c| c.score).collect::<Vec<_>>(), [0.625]);
    }

    #[test]
    fn a_logit_that_is_not_finite_reaches_the_guard() {
        let out = decode(&contract(), [0.0, f32::NAN, 9.0, 0.0, 0.0, 0.0], [0.0; 8]);
        assert!(out.len() == 1 && out[0].score.is_nan());
    }

    fn refusal(contract: &OutputContract, classes: usize, spec: &Spec) -> String {
        SsdAnchors::new(contract, &input(300, 300), classes, spec).err().unwrap().to_string()
    }

    #[test]
    fn missing_and_wrong_anchors_are_told() {
        let none = OutputContract::new(DecoderKind::SsdAnchors);
        let spec_1917 = spec(&[1, 1917, 4], &[1, 1917, 24]);
        assert_eq!(
            refusal(&none, 23, &spec_1917),
            "`output.anchors`: decoder ssd-anchors needs the layout of the anchors (feature-maps, min-scale, \
             max-scale, aspect-ratios); it is in the model's training configuration"
        );
        let mobilenet = OutputContract { anchors: Some(mobilenet()), ..none };
        assert_eq!(
            refusal(&mobilenet, 24, &spec(&[1, 2034, 4], &[1, 2034, 24])),
            "output `boxes` has the shape [1, 2034, 4]; decoder ssd-anchors expects [1, 1917, 4]. Set `output.anchors` \
             to the layout that the model was trained with"
        );
        let text = refusal(&mobilenet, 23, &spec_1917);
        assert!(text.starts_with("output `classes` [1, 1917, 24] holds 24 classes, but there are 23 labels"), "{text}");
        let huge = AnchorConfig { feature_maps: vec![4_000_000_000], ..mobilenet.anchors.clone().unwrap() };
        let text = refusal(&OutputContract { anchors: Some(huge), ..mobilenet }, 24, &spec_1917);
        assert!(text.contains("each from 1 to 1024"), "{text}");
    }

    #[test]
    fn boxes_are_told_from_four_classes_by_name() {
        assert_eq!(places(&spec(&[1, 9, 4], &[1, 9, 4]).outputs), Some((1, 0)));
        assert_eq!(places(&spec(&[1, 9, 4], &[1, 9, 7]).outputs), Some((1, 0)));
        assert_eq!(places(&spec(&[1, 9, 4], &[1, 8, 7]).outputs), None);
    }
}
