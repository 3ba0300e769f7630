//! Embeddings: one vector that describes the picture, `[1, length]` with any number of further dimensions of 1, brought to
//! length 1 so that two are compared by their dot product.

use std::sync::Arc;

use super::{GuardCounts, PostError, view};
use crate::bundle::contract::OutputContract;
use crate::engine::{Spec, Tensor};

/// Reader of one vector.
pub struct Embedder {
    reader: view::Reader,
    output: usize,
    length: Option<usize>,
}

impl Embedder {
    /// A reader for the first output that is a vector.
    ///
    /// # Errors
    /// [`PostError`] if no output is a vector, or it is not float.
    pub fn new(output: &OutputContract, spec: &Spec) -> Result<Self, PostError> {
        let reader = view::Reader {
            decoder: output.decoder.as_str(),
            expected: "[1, length]".into(),
            fix: "Set `output.decoder` to the model's family",
        };
        let vector = |t: &crate::engine::TensorSpec| super::classify::vector_length(&t.shape);
        let Some((index, tensor)) = spec.outputs.iter().enumerate().find(|(_, t)| vector(t).is_some()) else {
            return Err(spec.outputs.first().map_or_else(
                || PostError::Missing { decoder: reader.decoder, needs: "one vector", found: view::list(&[]) },
                |tensor| reader.refuse(tensor),
            ));
        };
        view::check_float(output, tensor)?;
        Ok(Self { reader, output: index, length: vector(tensor).flatten() })
    }

    /// The vector of length 1; `None` and a count if a value is not finite or all are 0.
    ///
    /// # Errors
    /// [`PostError::Shape`], [`PostError::Length`] or [`PostError::Missing`] if the tensor is not what the model
    /// promised.
    pub fn embed(&self, outputs: &[Tensor], counts: &mut GuardCounts) -> Result<Option<Arc<[f32]>>, PostError> {
        let len = self.length.or_else(|| outputs.get(self.output).map(|t| t.data.len())).unwrap_or(0);
        let values = self.reader.read_flat(outputs, self.output, len)?;
        let norm = values.iter().map(|v| f64::from(*v) * f64::from(*v)).sum::<f64>().sqrt();
        if !norm.is_finite() {
            counts.non_finite += 1;
            return Ok(None);
        }
        if norm == 0.0 {
            counts.empty += 1;
            return Ok(None);
        }
        Ok(Some(values.iter().map(|v| (f64::from(*v) / norm) as f32).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bundle::contract::DecoderKind;
    use crate::post::tests::one_output;

    fn embed(values: &[f32]) -> (Option<Vec<f32>>, GuardCounts) {
        let shape = [1, values.len(), 1, 1];
        let spec = one_output("out", &shape.map(Some));
        let embedder = Embedder::new(&OutputContract::new(DecoderKind::Embed), &spec).unwrap();
        let mut counts = GuardCounts::default();
        let found = embedder.embed(&[Tensor::from_f32("out", &shape, values.into())], &mut counts).unwrap();
        (found.map(|v| v.to_vec()), counts)
    }

    #[test]
    fn a_vector_is_brought_to_length_1() {
        assert_eq!(embed(&[3.0, 0.0, -4.0]).0.unwrap(), [0.6, 0.0, -0.8]);
    }

    #[test]
    fn a_vector_without_direction_is_counted() {
        assert_eq!(embed(&[0.0, 0.0]), (None, GuardCounts { empty: 1, ..GuardCounts::default() }));
        let broken = (None, GuardCounts { non_finite: 1, ..GuardCounts::default() });
        assert_eq!(embed(&[1.0, f32::NAN]), broken);
        assert_eq!(embed(&[1.0, f32::INFINITY]), broken);
    }

    #[test]
    fn what_is_no_vector_is_told() {
        let spec = one_output("out", &[Some(1), Some(4), Some(5)]);
        let text = Embedder::new(&OutputContract::new(DecoderKind::Embed), &spec).err().unwrap().to_string();
        assert!(text.starts_with("output `out` has the shape [1, 4, 5]; decoder embed expects [1, length]"), "{text}");
    }
}
