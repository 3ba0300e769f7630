//! An engine without a runtime, for tests of everything that uses one.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use super::{DataType, Engine, EngineError, Io, Spec, TensorData, TensorSpec};

/// What a run of a [`Fake`] does instead of answering.
pub type Behaviour = Box<dyn FnMut(&mut Io) -> Result<(), EngineError> + Send>;

/// An engine with one input `image` [1,3,4,4] and one output `output0` [1,5,1] in the YOLOv8 layout for one class: a
/// box over the middle half of the input, with the mean of the input as its score.
pub struct Fake {
    spec: Spec,
    lanes: usize,
    runs: AtomicUsize,
    behaviour: Mutex<Option<Behaviour>>,
}

impl Fake {
    /// An engine with `lanes` lanes.
    pub fn new(lanes: usize) -> Self {
        let tensor = |name: &str, shape: &[usize]| TensorSpec {
            name: name.into(),
            dtype: DataType::F32,
            shape: shape.iter().copied().map(Some).collect(),
        };
        let spec = Spec {
            inputs: vec![tensor("image", &[1, 3, 4, 4])],
            outputs: vec![tensor("output0", &[1, 5, 1])],
            ..Spec::default()
        };
        Self { spec, lanes, runs: AtomicUsize::new(0), behaviour: Mutex::new(None) }
    }

    /// Calls `behaviour` in every run, after the answer is written; it may change it, fail, block or panic.
    pub fn behave(self, behaviour: impl FnMut(&mut Io) -> Result<(), EngineError> + Send + 'static) -> Self {
        Self { behaviour: Mutex::new(Some(Box::new(behaviour))), ..self }
    }

    /// Runs so far.
    pub fn runs(&self) -> usize {
        self.runs.load(Ordering::SeqCst)
    }
}

impl Engine for Fake {
    fn spec(&self) -> &Spec {
        &self.spec
    }

    fn provider(&self) -> &str {
        "fake"
    }

    fn lanes(&self) -> usize {
        self.lanes
    }

    fn run(&self, io: &mut Io, _until: Option<Instant>) -> Result<(), EngineError> {
        self.runs.fetch_add(1, Ordering::SeqCst);
        let mean = match io.inputs.first().map(|t| &t.data) {
            Some(TensorData::F32(v)) if !v.is_empty() => v.iter().sum::<f32>() / v.len() as f32,
            _ => return Err(EngineError::Run("the fake engine wants 32-bit floats".into())),
        };
        if let Some(TensorData::F32(out)) = io.outputs.first_mut().map(|t| &mut t.data) {
            out.clear();
            out.extend([2.0, 2.0, 2.0, 2.0, mean]);
        }
        let mut behaviour = self.behaviour.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        match behaviour.as_mut() {
            Some(behave) => behave(io),
            None => Ok(()),
        }
    }

    fn cut(&self, _now: Instant) {}
}
