//! CenterNet: a heat map `[1, classes, h, w]`, sizes `[1, 2, h, w]` (width, height) and, optionally, offsets
//! `[1, 2, h, w]` (x, y), all in cells of the map. An object is a cell of the heat map that none of its 8 neighbours
//! exceeds; centre = (cell + offset) · stride, or the cell's middle without offsets. There is no NMS: a cell may be an
//! object of several classes.
//!
//! The outputs are told by their names (`hm` or `heat`; `wh` or `size`; `reg` or `off`), else by their channels: the
//! one with a channel for each class is the heat map, and of those with 2 channels the first is the size.
//! `activation` is usually `none`: many exporters put the sigmoid into the model. A model whose heat map holds raw scores
//! (the original repository applies the sigmoid outside) needs `activation = "sigmoid"`.
//!
//! Source: Zhou et al., *Objects as Points*, `src/lib/models/decode.py` (`_nms`, `ctdet_decode`).

use super::{Candidate, Candidates, Decoder, Nms, PostError, Thresholds, logits, view};
use crate::bundle::contract::{Activation, InputContract, OutputContract};
use crate::engine::{Spec, Tensor, TensorSpec};

/// Where the tensors stand among the outputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Places {
    heat: usize,
    size: usize,
    offset: Option<usize>,
}

/// Finds the maps of a model with `channels` classes.
fn find(outputs: &[TensorSpec], channels: usize) -> Option<Places> {
    let map = |t: &TensorSpec| view::promised::<3>(&t.shape).map(|[c, ..]| c);
    let named = |words: &[&str]| {
        outputs.iter().position(|t| map(t).is_some() && words.iter().any(|w| t.name.to_ascii_lowercase().contains(w)))
    };
    if let (Some(heat), Some(size)) = (named(&["hm", "heat"]), named(&["wh", "size"])) {
        return Some(Places { heat, size, offset: named(&["reg", "off"]) });
    }
    let heat = outputs.iter().position(|t| map(t) == Some(Some(channels)))?;
    let mut pairs = outputs.iter().enumerate().filter(|(i, t)| *i != heat && map(t) == Some(Some(2)));
    Some(Places { heat, size: pairs.next()?.0, offset: pairs.next().map(|(i, _)| i) })
}

/// Decoder of CenterNet's maps.
pub struct CenterNet {
    heat: view::Reader,
    pair: view::Reader,
    places: Places,
    /// First channel that has a label.
    first: usize,
    channels: usize,
    sigmoid: bool,
    input: (f32, f32),
}

impl CenterNet {
    /// A decoder for a model with `classes` labels.
    ///
    /// # Errors
    /// [`PostError`] if a map is missing or of another size, the class count is not that of the labels, or an output
    /// is not float.
    pub fn new(output: &OutputContract, input: &InputContract, classes: usize, spec: &Spec) -> Result<Self, PostError> {
        let decoder = output.decoder.as_str();
        let activation = view::activation(output, Activation::None, &[Activation::None, Activation::Sigmoid])?;
        let first = output.class_offset as usize;
        let channels = first + classes;
        let fix = "Set `output.decoder` to the model's family";
        let heat = view::Reader { decoder, expected: format!("[1, {channels}, h, w] (1 channel for each class)"), fix };
        let pair = view::Reader { decoder, expected: "[1, 2, h, w], h and w as in the heat map".into(), fix };
        let missing = || PostError::Missing {
            decoder,
            needs: "a heat map [1, classes, h, w] and sizes [1, 2, h, w]",
            found: view::list(&spec.outputs),
        };
        let places = find(&spec.outputs, channels).ok_or_else(missing)?;
        let get = |index: usize| spec.outputs.get(index).ok_or_else(missing);
        let tensor = get(places.heat)?;
        view::check_float(output, tensor)?;
        let [found, h, w] = view::promised::<3>(&tensor.shape).ok_or_else(|| heat.refuse(tensor))?;
        if let Some(found) = found.filter(|c| *c != channels) {
            return Err(PostError::Classes {
                tensor: tensor.name.clone(),
                found: view::shape_text(&tensor.shape),
                classes: found,
                labels: classes,
                offset: output.class_offset,
            });
        }
        for index in std::iter::once(places.size).chain(places.offset) {
            let tensor = get(index)?;
            view::check_float(output, tensor)?;
            let fits = |found: Option<usize>, of_heat: Option<usize>| of_heat.is_none_or(|n| view::may_be(found, n));
            match view::promised::<3>(&tensor.shape) {
                Some([c, rows, columns]) if view::may_be(c, 2) && fits(rows, h) && fits(columns, w) => {}
                _ => return Err(pair.refuse(tensor)),
            }
        }
        let (sigmoid, input) = (activation == Activation::Sigmoid, (input.width as f32, input.height as f32));
        Ok(Self { heat, pair, places, first, channels, sigmoid, input })
    }

    /// Whether no neighbour of a cell exceeds it.
    fn is_peak(plane: &[f32], width: usize, x: usize, y: usize, value: f32) -> bool {
        let columns = x.saturating_sub(1)..(x + 2).min(width);
        let rows = plane.chunks_exact(width).skip(y.saturating_sub(1)).take(if y == 0 { 2 } else { 3 });
        rows.filter_map(|row| row.get(columns.clone())).flatten().all(|near| *near <= value)
    }
}

impl Decoder for CenterNet {
    fn decode(&self, outputs: &[Tensor], thresholds: &Thresholds, out: &mut Candidates) -> Result<(), PostError> {
        let ([_, h, w], heat) = self.heat.read(outputs, self.places.heat, |[c, _, _]| c == self.channels)?;
        let maps = |index| self.pair.read(outputs, index, |dims| dims == [2, h, w]).map(|(_, values)| values);
        let size = maps(self.places.size)?;
        let offset = self.places.offset.map(maps).transpose()?;
        let cells = h * w;
        if cells == 0 {
            return Ok(());
        }
        let (sx, sy) = (self.input.0 / w as f32, self.input.1 / h as f32);
        let lowest = if self.sigmoid { logits::floor(thresholds.lowest()) } else { thresholds.lowest() };
        for (class_id, plane) in heat.chunks_exact(cells).skip(self.first).enumerate() {
            let class_id = class_id as u32;
            for (cell, value) in plane.iter().enumerate().filter(|(_, v)| **v >= lowest) {
                let (x, y) = (cell % w, cell / w);
                let score = if self.sigmoid { view::sigmoid(*value) } else { *value };
                if !(thresholds.accepts(class_id, score) && Self::is_peak(plane, w, x, y, *value)) {
                    continue;
                }
                let at = |map: &[f32]| map.get(cell).copied().zip(map.get(cells + cell).copied());
                let Some((bw, bh)) = at(size) else { continue };
                let (dx, dy) = offset.map_or(Some((0.5, 0.5)), at).unwrap_or_default();
                let (cx, cy) = ((x as f32 + dx) * sx, (y as f32 + dy) * sy);
                out.push(Candidate::from_centre(cx, cy, bw * sx, bh * sy, score, class_id).at(cell));
            }
            // One for all cells of a class that are no numbers: a broken map would be more than the guard can count.
            if view::peak(plane).is_nan() {
                out.push(Candidate { score: f32::NAN, class_id, ..Candidate::default() });
            }
        }
        Ok(())
    }

    fn nms(&self) -> Nms {
        Nms::None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bundle::contract::DecoderKind;
    use crate::engine::DataType;
    use crate::post::tests::{accept_over, input, outputs, tensor};

    fn contract() -> OutputContract {
        OutputContract::new(DecoderKind::Centernet)
    }

    fn spec(names: [&str; 3], channels: usize) -> Spec {
        let map = |name: &str, c| tensor(name, DataType::F32, &[Some(1), Some(c), Some(3), Some(4)]);
        outputs(vec![map(names[0], 2), map(names[1], channels), map(names[2], 2)])
    }

    /// Heat maps of two classes; sizes 2 × 1 cells, offsets (0.25, 0.75) everywhere.
    fn tensors(heat: [f32; 24]) -> Vec<Tensor> {
        let pair = |a: f32, b: f32| (0..24).map(|i| if i < 12 { a } else { b }).collect::<Vec<_>>();
        vec![
            Tensor::from_f32("wh", &[1, 2, 3, 4], pair(2.0, 1.0)),
            Tensor::from_f32("hm", &[1, 2, 3, 4], heat.into()),
            Tensor::from_f32("reg", &[1, 2, 3, 4], pair(0.25, 0.75)),
        ]
    }

    const HEAT: [f32; 24] = [
        0.9, 0.8, 0.1, 0.7, 0.1, 0.1, 0.2, 0.1, 0.1, 0.1, 0.1, 0.6, // class 0
        0.5, 0.5, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, // class 1
    ];

    fn run(contract: &OutputContract, spec: &Spec, tensors: &[Tensor]) -> Vec<Candidate> {
        let decoder = CenterNet::new(contract, &input(16, 12), 2, spec).unwrap();
        let mut out = Vec::new();
        decoder.decode(tensors, &accept_over(0.45, 2), &mut out).unwrap();
        out
    }

    #[test]
    fn peaks_of_each_class_become_boxes_and_equal_neighbours_are_both_peaks() {
        let found = run(&contract(), &spec(["wh", "hm", "reg"], 2), &tensors(HEAT));
        let list: Vec<_> = found.iter().map(|c| (c.class_id, c.score, c.x1, c.y1, c.x2, c.y2)).collect();
        assert_eq!(
            list,
            [
                (0, 0.9, -3.0, 1.0, 5.0, 5.0),
                (0, 0.7, 9.0, 1.0, 17.0, 5.0),
                (0, 0.6, 9.0, 9.0, 17.0, 13.0),
                (1, 0.5, -3.0, 1.0, 5.0, 5.0),
                (1, 0.5, 1.0, 1.0, 9.0, 5.0),
            ]
        );
    }

    #[test]
    fn without_offsets_the_middle_of_the_cell_counts() {
        let mut spec = spec(["wh", "hm", "reg"], 2);
        spec.outputs.pop();
        let first = run(&contract(), &spec, &tensors(HEAT)[..2])[0];
        assert_eq!((first.x1, first.y1, first.x2, first.y2), (-2.0, 0.0, 6.0, 4.0));
    }

    #[test]
    fn raw_scores_take_the_sigmoid() {
        let sigmoid = OutputContract { activation: Some(Activation::Sigmoid), ..contract() };
        let raw = HEAT.map(|p: f32| (p / (1.0 - p)).ln());
        let found = run(&sigmoid, &spec(["wh", "hm", "reg"], 2), &tensors(raw));
        assert_eq!(found.len(), 5);
        assert!((found[0].score - 0.9).abs() < 1e-6);
        let softmax = OutputContract { activation: Some(Activation::Softmax), ..contract() };
        assert!(CenterNet::new(&softmax, &input(16, 12), 2, &spec(["wh", "hm", "reg"], 2)).is_err());
    }

    #[test]
    fn outputs_are_told_by_their_names_or_their_channels() {
        let expected = Some(Places { heat: 1, size: 0, offset: Some(2) });
        assert_eq!(find(&spec(["wh", "hm", "reg"], 80).outputs, 80), expected);
        assert_eq!(find(&spec(["a", "b", "c"], 80).outputs, 80), expected);
        let named = Some(Places { heat: 1, size: 2, offset: Some(0) });
        assert_eq!(find(&spec(["offset", "heatmap", "size"], 2).outputs, 2), named);
        assert_eq!(find(&spec(["a", "b", "c"], 80).outputs, 79), None);
    }

    #[test]
    fn a_map_of_no_numbers_is_handed_on_once() {
        let found = run(&contract(), &spec(["wh", "hm", "reg"], 2), &tensors([f32::NAN; 24]));
        assert_eq!(found.len(), 2);
        assert!(found.iter().all(|c| c.score.is_nan()));
    }

    #[test]
    fn what_does_not_fit_is_told() {
        let new = |spec: &Spec, classes| CenterNet::new(&contract(), &input(16, 12), classes, spec).map(|_| ());
        let error = new(&spec(["wh", "hm", "reg"], 3), 2).unwrap_err();
        assert!(matches!(error, PostError::Classes { classes: 3, labels: 2, .. }), "{error}");
        assert!(matches!(new(&spec(["a", "b", "c"], 3), 4), Err(PostError::Missing { .. })));
        let mut wrong = spec(["wh", "hm", "reg"], 2);
        wrong.outputs[0].shape[3] = Some(5);
        assert!(matches!(new(&wrong, 2), Err(PostError::Shape { .. })));
        let mut integer = spec(["wh", "hm", "reg"], 2);
        integer.outputs[1].dtype = DataType::U8;
        assert!(matches!(new(&integer, 2), Err(PostError::DataType { .. })));
        let decoder = CenterNet::new(&contract(), &input(16, 12), 2, &spec(["wh", "hm", "reg"], 2)).unwrap();
        let mut tensors = tensors(HEAT);
        tensors[2] = Tensor::from_f32("reg", &[1, 2, 4, 3], vec![0.0; 24]);
        assert!(decoder.decode(&tensors, &accept_over(0.5, 2), &mut Vec::new()).is_err());
    }
}
