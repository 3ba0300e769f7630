//! An engine without a runtime, for tests of everything that uses one.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::{DataType, Engine, EngineError, Io, Spec, TensorData, TensorSpec};

/// What a run of a [`Fake`] does instead of answering.
pub type Behaviour = Box<dyn FnMut(&mut Io) -> Result<(), EngineError> + Send>;

/// Longest that a test waits for another thread.
const GUARD: Duration = Duration::from_secs(60);

/// Where runs of a [`Fake`] hang while it is shut.
#[derive(Default)]
pub struct Gate {
    state: Mutex<GateState>,
    changed: Condvar,
}

#[derive(Default)]
struct GateState {
    shut: bool,
    /// Runs that hang.
    held: usize,
    /// Times that hanging runs were let go.
    released: usize,
    /// Runs up to this time are cut.
    cut: Option<Instant>,
    cuts: usize,
}

impl Gate {
    /// Makes the runs from now on hang.
    pub fn shut(&self) {
        self.change(|state| state.shut = true);
    }

    /// Makes the runs from now on pass; those that hang still do.
    pub fn open(&self) {
        self.change(|state| state.shut = false);
    }

    /// Lets go of the runs that hang.
    pub fn release(&self) {
        self.change(|state| state.released += 1);
    }

    /// How many runs hang.
    pub fn held(&self) -> usize {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).held
    }

    /// Waits until `count` runs hang.
    pub fn hangs(&self, count: usize) {
        self.until(|state| state.held == count);
    }

    /// Waits until the engine was told `count` times to cut runs.
    pub fn cuts(&self, count: usize) {
        self.until(|state| state.cuts >= count);
    }

    fn change(&self, how: impl FnOnce(&mut GateState)) {
        how(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner));
        self.changed.notify_all();
    }

    fn until(&self, holds: impl Fn(&GateState) -> bool) {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let (_state, time) = self.changed.wait_timeout_while(state, GUARD, |state| !holds(state)).unwrap();
        assert!(!time.timed_out(), "the runs do not come");
    }

    /// A run goes through; an error if it hung and was cut.
    fn pass(&self, until: Option<Instant>, heeds: bool) -> Result<(), EngineError> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if !state.shut {
            return Ok(());
        }
        let released = state.released;
        state.held += 1;
        self.changed.notify_all();
        let due = |state: &GateState| heeds && until.zip(state.cut).is_some_and(|(until, cut)| until <= cut);
        while state.released == released && !due(&state) {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.held -= 1;
        let cut = due(&state);
        drop(state);
        self.changed.notify_all();
        if cut { Err(EngineError::Deadline(Duration::ZERO)) } else { Ok(()) }
    }
}

/// An engine with one input `image` [1,3,4,4] and one output `output0` [1,5,1] in the YOLOv8 layout for one class: a
/// box over the middle half of the input, with the mean of the input as its score. [`Fake::free`] takes any number of pictures.
pub struct Fake {
    spec: Spec,
    side: usize,
    lanes: usize,
    runs: AtomicUsize,
    behaviour: Mutex<Option<Behaviour>>,
    gate: Arc<Gate>,
    heeds: bool,
    ends: Option<Box<dyn FnOnce() + Send + Sync>>,
}

impl Fake {
    /// An engine with `lanes` lanes.
    pub fn new(lanes: usize) -> Self {
        Self::sized(lanes, 4)
    }

    /// As [`new`](Self::new), with an input of `side` by `side` pixels.
    pub fn sized(lanes: usize, side: usize) -> Self {
        let tensor = |name: &str, shape: &[usize]| TensorSpec {
            name: name.into(),
            dtype: DataType::F32,
            shape: shape.iter().copied().map(Some).collect(),
        };
        let spec = Spec {
            inputs: vec![tensor("image", &[1, 3, side, side])],
            outputs: vec![tensor("output0", &[1, 5, 1])],
            ..Spec::default()
        };
        let (runs, behaviour) = (AtomicUsize::new(0), Mutex::new(None));
        Self { spec, side, lanes, runs, behaviour, gate: Arc::default(), heeds: false, ends: None }
    }

    /// As [`new`](Self::new), for any number of pictures in a run.
    pub fn free(lanes: usize) -> Self {
        let mut fake = Self::new(lanes);
        for tensor in fake.spec.inputs.iter_mut().chain(&mut fake.spec.outputs) {
            tensor.shape[0] = None;
        }
        fake
    }

    /// Calls `ends` on the thread that ends the engine.
    pub fn at_end(mut self, ends: impl FnOnce() + Send + Sync + 'static) -> Self {
        self.ends = Some(Box::new(ends));
        self
    }

    /// Calls `behaviour` in every run, after the answer is written; it may change it, fail, block or panic.
    pub fn behave(mut self, behaviour: impl FnMut(&mut Io) -> Result<(), EngineError> + Send + 'static) -> Self {
        self.behaviour = Mutex::new(Some(Box::new(behaviour)));
        self
    }

    /// Makes runs hang while `gate` is shut. With `heeds` they end when they are cut.
    pub fn hang_at(mut self, gate: &Arc<Gate>, heeds: bool) -> Self {
        (self.gate, self.heeds) = (Arc::clone(gate), heeds);
        self
    }

    /// Runs so far.
    pub fn runs(&self) -> usize {
        self.runs.load(Ordering::SeqCst)
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        if let Some(ends) = self.ends.take() {
            ends();
        }
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

    fn run(&self, io: &mut Io, until: Option<Instant>) -> Result<(), EngineError> {
        self.runs.fetch_add(1, Ordering::SeqCst);
        let len = 3 * self.side * self.side;
        let most = self.spec.inputs[0].shape[0].unwrap_or(usize::MAX);
        let pictures = match io.inputs.first().map(|t| &t.data) {
            Some(TensorData::F32(v)) if !v.is_empty() && v.len() % len == 0 && v.len() / len <= most => v.chunks(len),
            _ => {
                return Err(EngineError::Run(
                    "the fake engine wants 32-bit floats, and as many as its input has".into(),
                ));
            }
        };
        if let Some(output) = io.outputs.first_mut()
            && let TensorData::F32(out) = &mut output.data
        {
            output.shape[0] = pictures.len();
            output.shape[2] = 1;
            out.clear();
            let half = self.side as f32 / 2.0;
            let mean = |picture: &[f32]| picture.iter().sum::<f32>() / picture.len() as f32;
            out.extend(pictures.flat_map(|picture| [half, half, half, half, mean(picture)]));
        }
        self.gate.pass(until, self.heeds)?;
        let mut behaviour = self.behaviour.lock().unwrap_or_else(PoisonError::into_inner);
        match behaviour.as_mut() {
            Some(behave) => behave(io),
            None => Ok(()),
        }
    }

    fn cut(&self, now: Instant) {
        self.gate.change(|state| {
            state.cut = state.cut.max(Some(now));
            state.cuts += 1;
        });
    }
}
