//! Classification: one vector of class scores, `[1, classes]` with any number of further dimensions of 1.
//!
//! Scores become probabilities by the softmax over all classes, by the sigmoid of each (`activation = "sigmoid"`: several
//! classes may hold at once; usual where there is one score only), or are such already. A model with several class vectors
//! (age and gender, say) is read where one of them has as many values as there are labels.

use super::{PostError, Thresholds, view};
use crate::bundle::contract::{Activation, OutputContract};
use crate::engine::{Spec, Tensor};

/// A class of the frame and its probability.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ClassScore {
    /// Index into the labels.
    pub class_id: u32,
    /// Probability; 0..1 once guarded.
    pub score: f32,
}

/// What a class vector still needs if the bundle does not say: nothing if its name says that it holds probabilities
/// (`prob` or `softmax` in it), else the softmax.
pub(super) fn usual_activation(name: &str) -> Activation {
    let name = name.to_ascii_lowercase();
    if name.contains("prob") || name.contains("softmax") { Activation::None } else { Activation::Softmax }
}

/// Reader of one class vector.
pub struct Classifier {
    reader: view::Reader,
    output: usize,
    activation: Activation,
    /// Place of the first class that has a label.
    first: usize,
    columns: usize,
    top_k: usize,
}

impl Classifier {
    /// A reader for a model with `classes` labels.
    ///
    /// # Errors
    /// [`PostError`] if no output has one value per class, or it is not float.
    pub fn new(output: &OutputContract, classes: usize, spec: &Spec) -> Result<Self, PostError> {
        let decoder = output.decoder.as_str();
        let first = output.class_offset as usize;
        let columns = first + classes;
        let reader = view::Reader {
            decoder,
            expected: format!("[1, {columns}] (1 for each class)"),
            fix: "Set `output.decoder` to the model's family",
        };
        let fits = |shape: &view::Shape| vector_length(shape).is_some_and(|n| view::may_be(n, columns));
        let found = spec.outputs.iter().position(|t| fits(&t.shape)).unwrap_or(0);
        let Some(tensor) = spec.outputs.get(found) else {
            return Err(PostError::Missing { decoder, needs: "one class vector", found: view::list(&spec.outputs) });
        };
        let vectors = || spec.outputs.iter().filter(|t| vector_length(&t.shape).is_some());
        if !fits(&tensor.shape) && vectors().nth(1).is_some() {
            let why = format!(
                "classify reads one class vector, and none has {columns} values, 1 for each label: the model answers with \
                 {}. Give the file named by `labels` the classes of one of them",
                view::list(&spec.outputs)
            );
            return Err(PostError::Contract { key: "decoder", why });
        }
        match vector_length(&tensor.shape) {
            None => return Err(reader.refuse(tensor)),
            Some(Some(n)) if n != columns => {
                return Err(PostError::Classes {
                    tensor: tensor.name.clone(),
                    found: view::shape_text(&tensor.shape),
                    classes: n,
                    labels: classes,
                    offset: output.class_offset,
                });
            }
            Some(_) => {}
        }
        view::check_float(output, tensor)?;
        let allowed: &[Activation] = match columns {
            // Over one class alone the softmax is always 1.
            1 => &[Activation::None, Activation::Sigmoid],
            _ => &[Activation::None, Activation::Sigmoid, Activation::Softmax],
        };
        let usual = match usual_activation(&tensor.name) {
            Activation::Softmax if columns == 1 => Activation::Sigmoid,
            usual => usual,
        };
        let activation = view::activation(output, usual, allowed)?;
        Ok(Self { reader, output: found, activation, first, columns, top_k: output.top_k })
    }

    /// Appends the classes over the threshold. Scores that are not finite are appended too, for the guard.
    ///
    /// # Errors
    /// [`PostError::Shape`], [`PostError::Length`] or [`PostError::Missing`] if the tensor is not what the model
    /// promised.
    pub fn classify(
        &self,
        outputs: &[Tensor],
        thresholds: &Thresholds,
        out: &mut Vec<ClassScore>,
    ) -> Result<(), PostError> {
        let values = self.reader.read_flat(outputs, self.output, self.columns)?;
        let top = view::peak(values);
        let sum = match self.activation {
            Activation::Softmax => values.iter().map(|v| (v - top).exp()).sum(),
            _ => 1.0f32,
        };
        for (class_id, value) in values.iter().skip(self.first).enumerate() {
            let score = match self.activation {
                Activation::None => *value,
                Activation::Sigmoid => view::sigmoid(*value),
                Activation::Softmax => (value - top).exp() / sum,
            };
            let class_id = class_id as u32;
            if thresholds.accepts(class_id, score) {
                out.push(ClassScore { class_id, score });
            }
        }
        Ok(())
    }

    /// Sorts, most probable first, and keeps the bundle's `top-k`.
    pub fn top(&self, scores: &mut Vec<ClassScore>) {
        scores.sort_unstable_by(|a, b| b.score.total_cmp(&a.score).then(a.class_id.cmp(&b.class_id)));
        scores.truncate(self.top_k);
    }
}

/// The one length that is not 1 (`None` if free); no answer if there are several such.
pub(super) fn vector_length(shape: &view::Shape) -> Option<Option<usize>> {
    // A free first dimension of several is the batch.
    let shape = match shape {
        [None, rest @ ..] if !rest.is_empty() => rest,
        shape => shape,
    };
    let mut long = shape.iter().filter(|d| **d != Some(1));
    match (long.next(), long.next()) {
        (_, Some(_)) => None,
        (Some(length), None) => Some(*length),
        (None, None) if shape.is_empty() => None,
        (None, None) => Some(Some(1)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bundle::contract::DecoderKind;
    use crate::post::tests::{accept_over, one_output};

    fn contract() -> OutputContract {
        OutputContract::new(DecoderKind::Classify)
    }

    fn run(contract: &OutputContract, name: &str, values: &[f32], classes: usize, over: f32) -> Vec<(u32, f32)> {
        let shape = [1, values.len(), 1, 1];
        let spec = one_output(name, &shape.map(Some));
        let classifier = Classifier::new(contract, classes, &spec).unwrap();
        let mut out = Vec::new();
        let tensor = Tensor::from_f32(name, &shape, values.into());
        classifier.classify(&[tensor], &accept_over(over, classes), &mut out).unwrap();
        classifier.top(&mut out);
        out.iter().map(|s| (s.class_id, s.score)).collect()
    }

    #[test]
    fn logits_become_probabilities_over_all_classes() {
        // Weights 1, 3, 4: .125, .375, .5. A common offset must change nothing, nor overflow.
        let logits = [300.0, 300.0 + 3f32.ln(), 300.0 + 4f32.ln()];
        let found = run(&contract(), "logits", &logits, 3, 0.2);
        assert_eq!(found.iter().map(|f| f.0).collect::<Vec<_>>(), [2, 1]);
        assert!((found[0].1 - 0.5).abs() < 1e-4 && (found[1].1 - 0.375).abs() < 1e-4, "{found:?}");
        // The class before the first label takes its share.
        let offset = OutputContract { class_offset: 1, ..contract() };
        let found = run(&offset, "logits", &logits, 2, 0.2);
        assert!(found[0].0 == 1 && (found[0].1 - 0.5).abs() < 1e-4, "{found:?}");
    }

    #[test]
    fn a_name_that_says_probabilities_is_taken_at_its_word() {
        assert_eq!(run(&contract(), "probabilities", &[0.25, 0.75], 2, 0.5), [(1, 0.75)]);
        assert_eq!(run(&contract(), "Softmax:0", &[0.25, 0.75], 2, 0.5), [(1, 0.75)]);
        let softmax = OutputContract { activation: Some(Activation::Softmax), ..contract() };
        let found = run(&softmax, "probabilities", &[0.25, 0.75], 2, 0.5);
        assert!((found[0].1 - 1.0 / (1.0 + (-0.5f32).exp())).abs() < 1e-6);
    }

    #[test]
    fn sigmoid_judges_each_class_by_itself() {
        let sigmoid = OutputContract { activation: Some(Activation::Sigmoid), ..contract() };
        let found = run(&sigmoid, "out", &[3f32.ln(), 3f32.ln(), -1.0], 3, 0.5);
        assert_eq!(found.iter().map(|f| f.0).collect::<Vec<_>>(), [0, 1]);
        assert!(found.iter().all(|f| (f.1 - 0.75).abs() < 1e-6));
    }

    #[test]
    fn one_score_takes_the_sigmoid() {
        let found = run(&contract(), "out", &[3f32.ln()], 1, 0.5);
        assert!(found.len() == 1 && (found[0].1 - 0.75).abs() < 1e-6, "{found:?}");
        let softmax = OutputContract { activation: Some(Activation::Softmax), ..contract() };
        assert!(Classifier::new(&softmax, 1, &one_output("out", &[Some(1), Some(1)])).is_err());
    }

    #[test]
    fn a_vector_is_read_whatever_dimensions_of_one_it_has() {
        for shape in [&[3][..], &[1, 3], &[1, 1, 1, 3], &[1, 3, 1, 1], &[1, 3, 1]] {
            let promise: Vec<_> = shape.iter().map(|d| Some(*d)).collect();
            let classifier = Classifier::new(&contract(), 3, &one_output("prob", &promise)).unwrap();
            let tensor = Tensor::from_f32("prob", shape, vec![0.1, 0.2, 0.7]);
            let mut out = Vec::new();
            classifier.classify(&[tensor], &accept_over(0.5, 3), &mut out).unwrap();
            assert_eq!(out, [ClassScore { class_id: 2, score: 0.7 }]);
        }
    }

    #[test]
    fn of_several_vectors_the_one_with_a_value_for_each_label_is_read() {
        use crate::engine::DataType;
        use crate::post::tests::{outputs, tensor};
        let vector = |name, n| tensor(name, DataType::F32, &[Some(1), Some(n)]);
        let spec = outputs(vec![vector("age_prob", 101), vector("gender_prob", 2)]);
        let classifier = Classifier::new(&contract(), 2, &spec).unwrap();
        let tensors = [
            Tensor::from_f32("age_prob", &[1, 101], vec![0.0; 101]),
            Tensor::from_f32("gender_prob", &[1, 2], vec![0.25, 0.75]),
        ];
        let mut out = Vec::new();
        classifier.classify(&tensors, &accept_over(0.5, 2), &mut out).unwrap();
        assert_eq!(out, [ClassScore { class_id: 1, score: 0.75 }]);
        assert_eq!(
            Classifier::new(&contract(), 103, &spec).err().unwrap().to_string(),
            "`output.decoder`: classify reads one class vector, and none has 103 values, 1 for each label: the model \
             answers with `age_prob` f32 [1, 101], `gender_prob` f32 [1, 2]. Give the file named by `labels` the classes \
             of one of them"
        );
    }

    #[test]
    fn only_the_top_are_kept() {
        let top = OutputContract { top_k: 2, ..contract() };
        assert_eq!(run(&top, "prob", &[0.1, 0.4, 0.2, 0.3], 4, 0.0), [(1, 0.4), (3, 0.3)]);
    }

    #[test]
    fn one_value_that_is_not_finite_spoils_the_softmax_and_reaches_the_guard() {
        let found = run(&contract(), "logits", &[1.0, f32::INFINITY, 2.0], 3, 0.5);
        assert_eq!(found.len(), 3);
        assert!(found.iter().all(|f| f.1.is_nan()));
    }

    #[test]
    fn a_wrong_class_count_and_a_wrong_shape_are_told() {
        let new = |shape: &[Option<usize>]| Classifier::new(&contract(), 1000, &one_output("out", shape)).map(|_| ());
        assert_eq!(new(&[Some(1), Some(1000)]), Ok(()));
        assert_eq!(new(&[None, Some(1000)]), Ok(()));
        assert_eq!(new(&[Some(1000)]), Ok(()));
        let text = new(&[Some(1), Some(1001)]).unwrap_err().to_string();
        assert!(text.starts_with("output `out` [1, 1001] holds 1001 classes, but there are 1000 labels"), "{text}");
        assert_eq!(
            new(&[Some(1), Some(84), Some(8400)]).unwrap_err().to_string(),
            "output `out` has the shape [1, 84, 8400]; decoder classify expects [1, 1000] (1 for each class). Set \
             `output.decoder` to the model's family"
        );
    }
}
