//! Why a model's outputs cannot be read.

use crate::bundle::contract::DecoderKind;

/// Why a model's outputs cannot be read. Each text names the tensor and the key of `bundle.toml` to change.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PostError {
    /// The decoder needs an output that the model does not have.
    #[error(
        "decoder {decoder} needs {needs}; the model's outputs are {found}. Set `output.decoder` to the family that \
         the model was made for ({}), or export the model with that output",
        kinds()
    )]
    Missing {
        /// The decoder's name.
        decoder: &'static str,
        /// The output that is not there.
        needs: &'static str,
        /// The outputs that are.
        found: String,
    },
    /// A tensor has a shape that the decoder cannot read.
    #[error("output `{tensor}` has the shape {found}; decoder {decoder} expects {expected}. {fix}")]
    Shape {
        /// The decoder's name.
        decoder: &'static str,
        /// The tensor.
        tensor: String,
        /// Its shape.
        found: String,
        /// The shapes that can be read.
        expected: String,
        /// What to do.
        fix: &'static str,
    },
    /// The model's class count is not that of the labels.
    #[error(
        "output `{tensor}` {found} holds {classes} classes, but there are {labels} labels and `output.class-offset` \
         is {offset}: give the file named by `labels` one line per class, or set `output.class-offset` to the number \
         of classes before the first label"
    )]
    Classes {
        /// The tensor.
        tensor: String,
        /// Its shape.
        found: String,
        /// Classes in the tensor, with those before the first label.
        classes: usize,
        /// Labels in the bundle.
        labels: usize,
        /// `output.class-offset`.
        offset: u32,
    },
    /// A tensor's element type has no meaning to the decoder.
    #[error(
        "output `{tensor}` holds {found} values; decoder {decoder} reads f32 and f16 (integers have no known scale). \
         Export the model with float outputs"
    )]
    DataType {
        /// The decoder's name.
        decoder: &'static str,
        /// The tensor.
        tensor: String,
        /// Its element type.
        found: &'static str,
    },
    /// The model's input is not what the bundle's `[input]` says.
    #[error("the model's input is {found}; the bundle promises the shape {expected}. {fix}")]
    Input {
        /// What the model has.
        found: String,
        /// What the contract says.
        expected: String,
        /// What to do.
        fix: &'static str,
    },
    /// The bundle's `[output]` contradicts itself or the decoder.
    #[error("`output.{key}`: {why}")]
    Contract {
        /// The key below `[output]`.
        key: &'static str,
        /// What is wrong and what to do.
        why: String,
    },
    /// A run left a tensor that is not what its shape says.
    #[error("output `{tensor}` has {found} values; its shape {shape} needs {expected}")]
    Length {
        /// The tensor.
        tensor: String,
        /// Its shape.
        shape: String,
        /// Values that it has.
        found: usize,
        /// Values that it should have.
        expected: usize,
    },
    /// No decoder fits a model that came without a bundle.
    #[error(
        "{why} The model has the inputs {inputs} and the outputs {outputs}{known}. Write a bundle.toml that sets `{key}`"
    )]
    Unrecognised {
        /// What could not be told.
        why: String,
        /// The model's inputs.
        inputs: String,
        /// The model's outputs.
        outputs: String,
        /// What was recognised before that, or nothing.
        known: String,
        /// The key to set.
        key: &'static str,
    },
}

/// The decoder families, for error texts.
fn kinds() -> String {
    DecoderKind::ALL.map(DecoderKind::as_str).join(", ")
}
