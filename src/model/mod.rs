//! A model ready for frames: its bundle, its engine and the code that reads its answers.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::bundle::Bundle;
use crate::bundle::contract::{InputContract, Labels, Task};
use crate::bundle::sign::PublicKey;
use crate::engine::lanes::Lanes;
pub use crate::engine::options::Background;
use crate::engine::{Io, Spec};
use crate::post::{PostProcessor, Recognised};
use crate::pre::Preprocessor;
use crate::result::ModelId;

mod batching;
mod error;
pub mod ladder;
mod load;
#[cfg(test)]
mod tests;
mod warm;

pub use error::{Attempt, ModelError};

/// What to load and how to run it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Request {
    /// Bundle folder, `.vigil` archive, `.onnx` file, or the name of an installed bundle.
    pub model: String,
    /// `auto`, or the execution provider to use.
    pub provider: String,
    /// CPU threads for all runs together; 0: one per processor.
    pub threads: usize,
    /// Runs that may be under way at once; 0: as many as threads.
    pub lanes: usize,
    /// ONNX Runtime's library; `None`: the first one found.
    pub ort_library: Option<PathBuf>,
    /// Whether several pictures are to go into one run where the model allows it.
    pub batch: bool,
    /// Most pictures of several users of the engine that go into one run, 1: none; 0: as many as pay, which is measured when it is
    /// loaded.
    pub max_batch: usize,
    /// The engine's own process; `None`: it runs in this one.
    pub isolation: Option<Isolated>,
    /// How far the threads that run the engine in this process stand back behind others, 0..19.
    pub niceness: u8,
    /// Public keys, one of which must have signed the bundle; without any, unsigned models are taken too.
    pub keys: Vec<PublicKey>,
    /// Pairs of a variant's digest (SHA-256 of its file) and an execution provider that are not to be tried, since they
    /// failed while they ran.
    pub without: Vec<(String, String)>,
    /// Set for a load beside running video.
    pub background: Option<Background>,
    /// The engine is this request's alone, and nobody else's runs take turns with its own: for a model that is measured. Engines
    /// are shared otherwise.
    pub private: bool,
}

/// What the user asks of an engine's own process.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Isolated {
    /// Most bytes of memory of its own; 0: no limit.
    pub memory_max: u64,
    /// Processors that it may run on, such as `0-1,3`; empty: all.
    pub cpus: String,
    /// How much it stands back behind other processes, 0..19.
    pub niceness: u8,
}

/// Most pictures of one run of a model whose batch is free.
pub const MAX_BATCH: usize = 16;
/// Most values of the picture input of such a run: 64 MiB of f32.
const MAX_BATCH_VALUES: usize = 16 << 20;

/// A loaded model.
pub struct Model {
    bundle: Bundle,
    id: Arc<ModelId>,
    lanes: Arc<Lanes>,
    post: PostProcessor,
    run_time: Duration,
    unnamed: bool,
    batch: usize,
    failed: Vec<Attempt>,
}

impl std::fmt::Debug for Model {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Model").field("id", &self.id).field("provider", &self.provider()).finish_non_exhaustive()
    }
}

impl Model {
    /// A model on a fake engine, whose one class is `thing`.
    #[cfg(test)]
    pub fn fake(engine: crate::engine::fake::Fake) -> Self {
        Self::fake_on(Arc::new(Lanes::start(Arc::new(engine)).unwrap()))
    }

    /// The model of a bundle, on a fake engine.
    #[cfg(test)]
    pub fn fake_of(bundle: Bundle, engine: crate::engine::fake::Fake) -> Self {
        let lanes = Arc::new(Lanes::start(Arc::new(engine)).unwrap());
        Self::finish(bundle, "digest", lanes, &Request::default()).unwrap()
    }

    /// As [`fake`](Self::fake), on lanes of the test.
    #[cfg(test)]
    pub fn fake_on(lanes: Arc<Lanes>) -> Self {
        Self::try_fake("fake", "thing", lanes, &Request::default()).unwrap()
    }

    /// As [`fake_on`](Self::fake_on), with a name and the label of its class.
    #[cfg(test)]
    pub fn fake_called(name: &str, label: &str, lanes: Arc<Lanes>) -> Self {
        Self::try_fake(name, label, lanes, &Request::default()).unwrap()
    }

    /// As [`fake_called`](Self::fake_called), as `request` says.
    #[cfg(test)]
    pub fn try_fake(name: &str, label: &str, lanes: Arc<Lanes>, request: &Request) -> Result<Self, ModelError> {
        use crate::bundle::contract::{Align, Color, DecoderKind, Layout, OutputContract, Resize, Task};
        let side = lanes.engine().spec().inputs[0].shape[3].unwrap() as u32;
        let input = InputContract {
            layout: Layout::Nchw,
            width: side,
            height: side,
            color: Color::Rgb,
            resize: Resize::Stretch,
            antialias: false,
            crop_fraction: 1.0,
            align: Align::Center,
            pad: 0,
            mean: [0.0; 3],
            std: [255.0; 3],
            quantization: None,
        };
        let output = OutputContract::new(DecoderKind::Yolov8);
        let path = std::path::PathBuf::from(format!("{name}.onnx"));
        let bundle = Bundle::bare(&path, (String::new(), 0), Task::Detect, vec![label.into()], input, output);
        Self::finish(bundle, "digest", lanes, request)
    }

    /// The bundle.
    pub fn bundle(&self) -> &Bundle {
        &self.bundle
    }

    /// Name, release and digest, as results carry them.
    pub fn id(&self) -> &Arc<ModelId> {
        &self.id
    }

    /// What the model's input looks like.
    pub fn input(&self) -> &InputContract {
        &self.bundle.input
    }

    /// The code that reads the answers.
    pub fn post(&self) -> &PostProcessor {
        &self.post
    }

    /// The engine and its threads.
    pub fn lanes(&self) -> &Lanes {
        &self.lanes
    }

    /// Whether the model does not say what its classes are called, so that they are `class 0`, `class 1`, ….
    pub fn unnamed(&self) -> bool {
        self.unnamed
    }

    /// The execution provider in use.
    pub fn provider(&self) -> &str {
        self.lanes.engine().provider()
    }

    /// How long one run took when the model was warmed up.
    pub fn run_time(&self) -> Duration {
        self.run_time
    }

    /// Most pictures that may go into one run.
    pub fn batch(&self) -> usize {
        self.batch
    }

    /// Pictures that the tensors of a run of `wanted` pictures have room for: a fixed batch stays as it is.
    pub fn batch_of(&self, wanted: usize) -> usize {
        fixed_batch(self.lanes.engine().spec(), self.post.image_input()).unwrap_or(wanted.clamp(1, self.batch))
    }

    /// The variants of the bundle that were tried before this one and cannot be used.
    pub fn failed(&self) -> &[Attempt] {
        &self.failed
    }

    /// Tensors for one run of one picture, with all inputs beside the picture filled.
    pub fn io(&self) -> Io {
        let spec = self.lanes.engine().spec();
        let mut shapes = vec![Vec::new(); self.post.image_input() + 1];
        if let Some(shape) = shapes.last_mut() {
            *shape = Preprocessor::new(self.input().clone()).shape().to_vec();
            // A model may have no dimension for the batch.
            let rank = spec.inputs.get(self.post.image_input()).map_or(4, |t| t.shape.len());
            shape.drain(..shape.len().saturating_sub(rank));
        }
        let mut io = self.lanes.engine().io(&shapes);
        self.post.prepare(&mut io, self.batch_of(1));
        io
    }

    /// Fits tensors of [`io`](Self::io) to a run of `wanted` pictures.
    pub fn resize_io(&self, io: &mut Io, wanted: usize) {
        let (spec, image) = (self.lanes.engine().spec(), self.post.image_input());
        let has = io.inputs.get(image).and_then(|t| t.shape.first()).copied();
        // Filling the side inputs again would move them, and the engine would bind all tensors anew on every frame.
        if fixed_batch(spec, image).is_none() && has != Some(wanted) {
            io.resize_batch(image, wanted);
            self.post.prepare(io, wanted);
        }
    }
}

/// The number of pictures that a model takes at once, if it is not free.
fn fixed_batch(spec: &Spec, image: usize) -> Option<usize> {
    let shape = &spec.inputs.get(image)?.shape;
    if shape.len() < 4 { Some(1) } else { *shape.first()? }
}

/// The labels that a bare model brings, or numbers in their place, none for an embedding; `None` if it is not even known
/// how many there are.
pub fn labels(known: &Recognised) -> Option<Labels> {
    if known.task == Task::Embed {
        return Some(Labels::new());
    }
    known.labels.clone().or_else(|| Some((0..known.classes?).map(|i| format!("class {i}").into()).collect()))
}
