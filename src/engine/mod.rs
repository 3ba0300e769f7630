//! Running a model.
//!
//! [`Engine`] is what a runtime must offer; `onnx` offers it with ONNX Runtime, `worker` with ONNX Runtime in a
//! process of its own, `fake` for tests.

mod binding;
#[cfg(test)]
pub mod fake;
pub mod gather;
pub mod heap;
pub mod lanes;
pub mod memory;
pub mod onnx;
pub mod options;
pub mod placement;
mod runs;
pub mod runtime;
pub mod shared;
pub mod slot;
pub mod tensor;
pub mod turns;
pub mod worker;

use std::time::{Duration, Instant};

use placement::Placement;
use serde::{Deserialize, Serialize};
pub use tensor::{DataType, Spec, Tensor, TensorData, TensorSpec};

/// Why an engine could not be made or did not answer.
#[derive(Debug, Clone, thiserror::Error, Serialize, Deserialize)]
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
    /// A run was not over when its time was, and was cut or abandoned.
    #[error("the run took longer than {0:?} and was cut")]
    Deadline(Duration),
    /// The engine died and is being started anew; it takes no runs meanwhile.
    #[error("the engine is being started anew: {0}")]
    Restarting(String),
    /// The engine's own process died.
    #[error("{0}")]
    Crashed(String),
    /// There is not enough memory, or not enough is allowed.
    #[error("{0}")]
    Memory(String),
    /// The model was not loaded in the time that it had, and was given up.
    #[error("it was not loaded within {0:?} and was given up")]
    Late(Duration),
    /// Nobody wants the engine any more.
    #[error("it is no longer wanted")]
    Cancelled,
}

impl EngineError {
    /// The user asked for a provider that no runtime has.
    pub fn unknown_provider(name: &str) -> Self {
        Self::Provider(format!("provider {name:?} is not known; known are auto, {}", onnx::PROVIDERS.join(", ")))
    }
}

/// How runtimes say that memory is at its end.
const NO_MEMORY: [&str; 6] = [
    "bad_alloc",
    "ailed to allocate memory",
    "out of memory",
    "ot enough memory",
    "_ALLOC_FAILED",
    "allocation failed",
];

impl EngineError {
    /// What the runtime's text about a load means.
    pub(crate) fn of_load(text: String) -> Self {
        if NO_MEMORY.iter().any(|sign| text.contains(sign)) { Self::Memory(text) } else { Self::Model(text) }
    }

    /// What the runtime's text about a run means.
    pub(crate) fn of_run(text: String) -> Self {
        if NO_MEMORY.iter().any(|sign| text.contains(sign)) { Self::Memory(text) } else { Self::Run(text) }
    }
}

/// The tensors of one run, reused from run to run so that nothing is allocated.
#[derive(Debug, Default)]
pub struct Io {
    /// Inputs in the graph's order, filled by the caller.
    pub inputs: Vec<Tensor>,
    /// Outputs in the graph's order, filled by the engine.
    pub outputs: Vec<Tensor>,
    binding: Option<binding::Binding>,
    /// The memory that it shares with an engine's process.
    arena: Option<worker::Arena>,
}

impl Io {
    /// Tensors for `spec`, inputs with the lengths of `input_shapes` where the model leaves them open (and 1 where
    /// those say nothing).
    pub fn new(spec: &Spec, input_shapes: &[Vec<usize>]) -> Self {
        let inputs = spec.inputs.iter().enumerate().map(|(i, t)| {
            let given = input_shapes.get(i);
            let length = |(d, fixed): (usize, &Option<usize>)| {
                fixed.or_else(|| given.and_then(|g| g.get(d)).copied()).unwrap_or(1)
            };
            let shape: Vec<usize> = t.shape.iter().enumerate().map(length).collect();
            Tensor::zeros(t.name.clone(), t.dtype, &shape)
        });
        let outputs = spec.outputs.iter().map(|t| {
            // What the model sizes itself starts empty.
            let shape: Vec<usize> = t.shape.iter().map(|d| d.unwrap_or(0)).collect();
            Tensor::zeros(t.name.clone(), t.dtype, &shape)
        });
        Self { inputs: inputs.collect(), outputs: outputs.collect(), binding: None, arena: None }
    }

    /// Makes room for `batch` pictures in input `index`, in the memory that it has where that is enough.
    pub fn resize_batch(&mut self, index: usize, batch: usize) {
        let Some(tensor) = self.inputs.get_mut(index) else { return };
        let Some((first, rest)) = tensor.shape.split_first_mut() else { return };
        *first = batch;
        let len = rest.iter().product::<usize>().saturating_mul(batch);
        tensor.data.resize(len);
    }
}

/// A loaded model on one execution provider.
pub trait Engine: Send + Sync {
    /// What the model says about itself.
    fn spec(&self) -> &Spec;

    /// The execution provider in use, such as `cpu`.
    fn provider(&self) -> &str;

    /// How many runs may be under way at once.
    fn lanes(&self) -> usize;

    /// How many runs are computed at once. An engine has more lanes than that if callers gather for the next run meanwhile.
    fn at_once(&self) -> usize {
        self.lanes()
    }

    /// How pictures of several callers share runs; `None` for an engine that was not measured for it.
    fn gathering(&self) -> Option<gather::Gathering> {
        None
    }

    /// Most processors that one run keeps busy.
    fn threads_per_run(&self) -> usize {
        1
    }

    /// Where the nodes of the model run; `None` where it is not asked, on the CPU provider.
    fn placement(&self) -> Option<&Placement> {
        None
    }

    /// Tensors for a run, as [`Io::new`] makes them, in memory from where the engine need not copy them.
    fn io(&self, input_shapes: &[Vec<usize>]) -> Io {
        Io::new(self.spec(), input_shapes)
    }

    /// How the process that the engine runs in is; `None` for an engine in this process.
    fn worker(&self) -> Option<worker::WorkerState> {
        None
    }

    /// Runs the model on `io.inputs` and leaves the answers in `io.outputs`. A run that is under way at `until` may be cut
    /// by [`cut`](Self::cut), and may return by itself then; an engine that can do neither returns when it is done.
    ///
    /// # Errors
    /// [`EngineError::Run`] if the runtime failed, [`EngineError::Deadline`] if the run was cut,
    /// [`EngineError::Restarting`] if the engine takes no runs now; the outputs are then undefined.
    fn run(&self, io: &mut Io, until: Option<Instant>) -> Result<(), EngineError>;

    /// Ends the runs whose `until` is not after `now`, as far as the runtime can; returns at once.
    fn cut(&self, now: Instant);
}
