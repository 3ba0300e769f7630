//! SKELETON: to be written.

use super::{Candidates, Decoder, PostError, Thresholds};
use crate::bundle::contract::{InputContract, OutputContract};
use crate::engine::{Spec, Tensor};

/// Decoder.
pub struct Segmentation;

impl Segmentation {
    /// A decoder for a model with `classes` labels.
    ///
    /// # Errors
    /// [`PostError`].
    pub fn new(
        _output: &OutputContract,
        _input: &InputContract,
        _classes: &crate::bundle::contract::Labels,
        _spec: &Spec,
    ) -> Result<Self, PostError> {
        Err(PostError::Contract { key: "decoder", why: "to be written".into() })
    }
}

impl Decoder for Segmentation {
    fn decode(&self, _outputs: &[Tensor], _thresholds: &Thresholds, _out: &mut Candidates) -> Result<(), PostError> {
        Ok(())
    }
}
