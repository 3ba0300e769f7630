//! A model ready for frames: its bundle, its engine and the code that reads its answers.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::bundle::contract::{InputContract, Labels, Task};
use crate::bundle::{Bundle, BundleError, ModelSource};
use crate::engine::lanes::Lanes;
use crate::engine::onnx::{OnnxEngine, PROVIDERS};
use crate::engine::options::{self, Isolation, Options, Worker};
use crate::engine::shared::{self, Key};
use crate::engine::worker::Remote;
use crate::engine::{Engine, EngineError, Io, Spec};
use crate::post::{self, Hints, Origin, PostError, PostProcessor, Recognised, Scratch};
use crate::pre::Preprocessor;
use crate::pre::geometry::Geometry;
use crate::result::{AbsentReason, FrameResult, ModelId};

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
    /// The engine's own process; `None`: it runs in this one.
    pub isolation: Option<Isolated>,
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
const MAX_BATCH: usize = 16;
/// Most values of the picture input of such a run: 64 MiB of f32.
const MAX_BATCH_VALUES: usize = 16 << 20;

/// Why a model cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// The bundle is missing or broken.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// The runtime cannot load it.
    #[error("model {model}: {source}")]
    Engine {
        /// Where it came from.
        model: String,
        /// What the runtime says.
        source: EngineError,
    },
    /// The model is not what its bundle promises, or cannot be recognised without one.
    #[error("model {model}: {source}")]
    Contract {
        /// Where it came from.
        model: String,
        /// What does not agree.
        source: Box<PostError>,
    },
    /// A bare model's outputs may mean more than one thing.
    #[error(
        "model {model}: nothing in it says whether its output is a list of classes or something else. Write a bundle \
         and check output.decoder in it: vigil bundle new {model}"
    )]
    Guess {
        /// Where it came from.
        model: String,
    },
    /// A bare model does not even say how many classes it has.
    #[error(
        "model {model}: it does not say which classes it finds. Write a bundle with the key labels: vigil bundle new \
         --labels FILE {model}"
    )]
    Labels {
        /// Where it came from.
        model: String,
    },
    /// No provider of the bundle's can be used.
    #[error("model {model}: none of its execution providers can be used: {tried}")]
    NoProvider {
        /// Where it came from.
        model: String,
        /// Each provider with its reason.
        tried: String,
    },
}

/// A loaded model.
pub struct Model {
    bundle: Bundle,
    id: Arc<ModelId>,
    lanes: Arc<Lanes>,
    post: PostProcessor,
    run_time: Duration,
    unnamed: bool,
    batch: usize,
}

impl std::fmt::Debug for Model {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Model").field("id", &self.id).field("provider", &self.provider()).finish_non_exhaustive()
    }
}

impl Model {
    /// Opens, loads, checks and warms up a model.
    ///
    /// # Errors
    /// A [`ModelError`] whose text names the model, what is wrong with it and what to do.
    pub fn load(request: &Request) -> Result<Self, ModelError> {
        match ModelSource::open(&request.model)? {
            ModelSource::Bundle(bundle) => Self::from_bundle(*bundle, request),
            ModelSource::Bare { path, bytes, digest, info, operators } => {
                let model = path.display().to_string();
                let provider = if request.provider == "auto" { "cpu" } else { &request.provider };
                let size = bytes.len() as u64;
                let lanes = engine(&bytes, &digest, provider, request)
                    .map_err(|source| ModelError::Engine { model: model.clone(), source })?;
                let hints = Hints::of_graph(operators);
                let known = post::recognise_with(lanes.engine().spec(), info.as_ref(), hints)
                    .map_err(|e| ModelError::Contract { model: model.clone(), source: e.into() })?;
                if known.facts.iter().any(|f| f.key == "output.decoder" && f.origin == Origin::Assumed) {
                    return Err(ModelError::Guess { model });
                }
                let unnamed = known.labels.is_none() && known.task != Task::Embed;
                let labels = labels(&known).ok_or_else(|| ModelError::Labels { model: model.clone() })?;
                let bundle = Bundle::bare(&path, (digest.clone(), size), known.task, labels, known.input, known.output);
                Ok(Self { unnamed, ..Self::finish(bundle, &digest, lanes, model, request)? })
            }
        }
    }

    fn from_bundle(bundle: Bundle, request: &Request) -> Result<Self, ModelError> {
        let model = bundle.origin.display().to_string();
        if request.provider != "auto" && !PROVIDERS.contains(&request.provider.as_str()) {
            return Err(ModelError::Engine { model, source: EngineError::unknown_provider(&request.provider) });
        }
        let wanted = if request.provider == "auto" { providers(&bundle) } else { vec![request.provider.clone()] };
        let mut tried = Vec::new();
        for provider in wanted {
            let Some(variant) = bundle.variant_for(&provider) else {
                tried.push(format!("{provider}: the bundle has variants for {} only", providers(&bundle).join(", ")));
                continue;
            };
            let digest = variant.sha256.clone();
            let made = engine(&bundle.weights(variant)?, &digest, &provider, request);
            match made {
                Ok(lanes) => return Self::finish(bundle, &digest, lanes, model, request),
                Err(source @ EngineError::Provider(_)) => tried.push(format!("{provider}: {source}")),
                Err(source) => return Err(ModelError::Engine { model, source }),
            }
        }
        Err(ModelError::NoProvider { model, tried: tried.join("; ") })
    }

    fn finish(
        bundle: Bundle,
        digest: &str,
        lanes: Arc<Lanes>,
        model: String,
        request: &Request,
    ) -> Result<Self, ModelError> {
        let post = PostProcessor::new(&bundle.output, &bundle.input, &bundle.labels, lanes.engine().spec())
            .map_err(|e| ModelError::Contract { model: model.clone(), source: e.into() })?;
        let id = ModelId { name: bundle.name.clone(), release: bundle.release.clone(), digest: digest.to_owned() };
        let batch = fixed_batch(lanes.engine().spec(), post.image_input()).unwrap_or(1);
        let mut loaded =
            Self { bundle, id: Arc::new(id), lanes, post, run_time: Duration::ZERO, unnamed: false, batch };
        loaded.warm_up(model)?;
        if request.batch {
            loaded.widen();
        }
        Ok(loaded)
    }

    /// Runs the model on an empty picture: the first run is slow, and a model that answers in other shapes than it
    /// promised is better refused before video runs.
    fn warm_up(&mut self, model: String) -> Result<(), ModelError> {
        let mut io = self.io();
        let engine = self.lanes.engine();
        let run = |io: &mut Io| {
            let start = Instant::now();
            engine.run(io, None).map(|()| start.elapsed())
        };
        let times = run(&mut io).and_then(|_| run(&mut io));
        self.run_time = times.map_err(|source| ModelError::Engine { model: model.clone(), source })?;
        self.read_empty(&io, (0, self.batch)).map_err(|e| ModelError::Contract { model, source: e.into() })
    }

    /// Reads the answer to an empty picture.
    fn read_empty(&self, io: &Io, item: (usize, usize)) -> Result<(), PostError> {
        let input = self.input();
        let geometry = Geometry::new(input, input.width, input.height, None);
        let mut result = FrameResult::absent(AbsentReason::NoModel, (input.width, input.height));
        let thresholds = self.post.thresholds();
        self.post.run_item(&io.outputs, item, &thresholds, &geometry, &mut Scratch::default(), &mut result).map(drop)
    }

    /// Finds out whether several pictures can go into one run: many a model says that its batch is free and has a fixed
    /// one somewhere inside.
    fn widen(&mut self) {
        let spec = self.lanes.engine().spec();
        if fixed_batch(spec, self.post.image_input()).is_some() {
            return;
        }
        let values = self.io().inputs.get(self.post.image_input()).map_or(0, |t| t.data.len());
        let most = (MAX_BATCH_VALUES / values.max(1)).clamp(1, MAX_BATCH);
        if most < 2 {
            return;
        }
        let mut io = self.io();
        self.resize_io(&mut io, 2);
        let works = self.lanes.engine().run(&mut io, None).is_ok()
            && io.outputs.iter().any(|t| t.shape.first() == Some(&2))
            && (0..2).all(|item| self.read_empty(&io, (item, 2)).is_ok());
        if works {
            self.batch = most;
        }
    }

    /// A model on a fake engine, whose one class is `thing`.
    #[cfg(test)]
    pub fn fake(engine: crate::engine::fake::Fake) -> Self {
        Self::fake_on(Arc::new(Lanes::start(Arc::new(engine)).unwrap()))
    }

    /// The model of a bundle, on a fake engine.
    #[cfg(test)]
    pub fn fake_of(bundle: Bundle, engine: crate::engine::fake::Fake) -> Self {
        let lanes = Arc::new(Lanes::start(Arc::new(engine)).unwrap());
        Self::finish(bundle, "digest", lanes, "fake".into(), &Request::default()).unwrap()
    }

    /// As [`fake`](Self::fake), on lanes of the test.
    #[cfg(test)]
    pub fn fake_on(lanes: Arc<Lanes>) -> Self {
        use crate::bundle::contract::{Align, Color, DecoderKind, Layout, OutputContract, Resize, Task};
        let input = InputContract {
            layout: Layout::Nchw,
            width: 4,
            height: 4,
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
        let path = std::path::Path::new("fake.onnx");
        let bundle = Bundle::bare(path, (String::new(), 0), Task::Detect, vec!["thing".into()], input, output);
        Self::finish(bundle, "digest", lanes, "fake".into(), &Request::default()).unwrap()
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

/// The providers that `auto` tries: those of the bundle's variants in their order; the CPU where a variant names none.
fn providers(bundle: &Bundle) -> Vec<String> {
    let mut list: Vec<String> = Vec::new();
    for variant in &bundle.variants {
        let names = variant.providers.clone().unwrap_or_else(|| vec!["cpu".into()]);
        list.extend(names);
    }
    list
}

/// The labels that a bare model brings, or numbers in their place, none for an embedding; `None` if it is not even known
/// how many there are.
pub fn labels(known: &Recognised) -> Option<Labels> {
    if known.task == Task::Embed {
        return Some(Labels::new());
    }
    known.labels.clone().or_else(|| Some((0..known.classes?).map(|i| format!("class {i}").into()).collect()))
}

/// Where the engine runs, and how many processors it has there.
fn isolation(request: &Request) -> Result<(Isolation, usize), EngineError> {
    let all = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let Some(isolated) = &request.isolation else { return Ok((Isolation::None, all)) };
    let cpus = options::parse_cpus(&isolated.cpus).map_err(|e| EngineError::Runtime(format!("engine-cpus: {e}")))?;
    let processors = if cpus.is_empty() { all } else { cpus.len() };
    let worker = Worker {
        memory_max: isolated.memory_max,
        cpus,
        niceness: isolated.niceness,
        ort_library: request.ort_library.clone(),
    };
    Ok((Isolation::Process(worker), processors))
}

fn engine(bytes: &[u8], digest: &str, provider: &str, request: &Request) -> Result<Arc<Lanes>, EngineError> {
    let (isolation, processors) = isolation(request)?;
    let threads = if request.threads == 0 { processors } else { request.threads };
    let lanes = if request.lanes == 0 { threads } else { request.lanes.min(threads) };
    let options = Options { provider: provider.to_owned(), threads, lanes, spin: false, isolation };
    let key = Key { digest: digest.to_owned(), options: options.clone() };
    shared::get(&key, || match &options.isolation {
        Isolation::Process(_) => Remote::load(bytes, &options).map(|e| Arc::new(e) as Arc<dyn Engine>),
        Isolation::None => {
            OnnxEngine::load(bytes, &options, request.ort_library.as_deref()).map(|e| Arc::new(e) as Arc<dyn Engine>)
        }
    })
}
