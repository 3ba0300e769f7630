//! Running a model.
//!
//! [`Engine`] is what a runtime must offer; `onnx` offers it with ONNX Runtime, `fake` for tests.

pub mod tensor;

use std::time::Duration;

pub use tensor::{DataType, Spec, Tensor, TensorData, TensorSpec};

/// Why an engine could not be made or did not answer.
#[derive(Debug, Clone, thiserror::Error)]
pub enum EngineError {
    /// The runtime's library was not found or cannot be used.
    #[error("{0}")]
    Runtime(String),
    /// The execution provider that was asked for is not to be had.
    #[error("{0}")]
    Provider(String),
    /// The model cannot be loaded.
    #[error("{0}")]
    Model(String),
    /// A run failed.
    #[error("{0}")]
    Run(String),
    /// A run took longer than allowed.
    #[error("the engine did not answer within {0:?}")]
    Deadline(Duration),
}

/// The tensors of one run, reused from run to run so that nothing is allocated.
#[derive(Debug, Default)]
pub struct Io {
    /// Inputs in the graph's order, filled by the caller.
    pub inputs: Vec<Tensor>,
    /// Outputs in the graph's order, filled by the engine.
    pub outputs: Vec<Tensor>,
}

/// A loaded model on one execution provider.
pub trait Engine: Send + Sync {
    /// What the model says about itself.
    fn spec(&self) -> &Spec;

    /// The execution provider in use, such as `cpu`.
    fn provider(&self) -> &str;

    /// How many runs may be under way at once.
    fn lanes(&self) -> usize;

    /// Runs the model on `io.inputs` and leaves the answers in `io.outputs`.
    ///
    /// # Errors
    /// [`EngineError::Run`] if the runtime failed, [`EngineError::Deadline`] if it took longer than `deadline`; the
    /// outputs are then undefined.
    fn run(&self, io: &mut Io, deadline: Option<Duration>) -> Result<(), EngineError>;
}
