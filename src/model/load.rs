//! From what a user asked for to a model that has answered.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::warm::WarmUp;
use super::{Attempt, MAX_BATCH, MAX_BATCH_VALUES, Model, ModelError, Request, batching, fixed_batch, labels};
use crate::bundle::contract::Task;
use crate::bundle::{Bundle, BundleError, ModelSource, Variant};
use crate::drift::references;
use crate::engine::lanes::Lanes;
use crate::engine::onnx::{OnnxEngine, PROVIDERS};
use crate::engine::options::{self, Isolation, Options, Worker};
use crate::engine::shared::{self, Key};
use crate::engine::worker::Remote;
use crate::engine::{Engine, EngineError, Io, heap};
use crate::post::{self, Hints, Origin, PostError, PostProcessor, Scratch};
use crate::pre::Preprocessor;
use crate::pre::geometry::Geometry;
use crate::result::{AbsentReason, FrameResult, ModelId};

impl Model {
    /// Opens a model and loads it, as [`from_source`](Self::from_source) does.
    ///
    /// # Errors
    /// A [`ModelError`] whose text names the model, what is wrong with it and what to do.
    pub fn load(request: &Request) -> Result<Self, ModelError> {
        Self::from_source(ModelSource::open(&request.model)?, request)
    }

    /// Loads, checks and warms up a model that was opened before; `request.model` does not matter. The variants of a
    /// bundle are tried in their order, each on the provider that was asked for, or with `auto` on each of its own: the
    /// first that loads and answers as the bundle promises is taken.
    ///
    /// # Errors
    /// A [`ModelError`] whose text names the model, what is wrong with it and what to do.
    pub fn from_source(source: ModelSource, request: &Request) -> Result<Self, ModelError> {
        source.check_signature(&request.keys)?;
        match source {
            ModelSource::Bundle(bundle) => Self::from_bundle(&bundle, request),
            ModelSource::Bare { path, bytes, digest, info, operators } => {
                let provider = if request.provider == "auto" { "cpu" } else { &request.provider };
                let hints = Hints::of_graph(operators);
                Self::from_bare(&path, (&bytes, &digest), provider, (info.as_ref(), hints), request)
            }
        }
    }

    fn from_bare(
        path: &Path,
        (bytes, digest): (&[u8], &str),
        provider: &str,
        (info, hints): (Option<&crate::bundle::ModelInfo>, Hints),
        request: &Request,
    ) -> Result<Self, ModelError> {
        let model = path.display().to_string();
        let lanes = engine((bytes, digest), provider, None, request).map_err(|e| ModelError::engine(&model, e))?;
        let known = post::recognise_with(lanes.engine().spec(), info, hints)
            .map_err(|e| ModelError::Contract { model: model.clone(), source: e.into() })?;
        if known.facts.iter().any(|f| f.key == "output.decoder" && f.origin == Origin::Assumed) {
            return Err(ModelError::Guess { model });
        }
        let unnamed = known.labels.is_none() && known.task != Task::Embed;
        let labels = labels(&known).ok_or_else(|| ModelError::Labels { model: model.clone() })?;
        let about = (digest.to_owned(), bytes.len() as u64);
        let bundle = Bundle::bare(path, about, known.task, labels, known.input, known.output);
        Ok(Self { unnamed, ..Self::finish(bundle, digest, lanes, request)? })
    }

    fn from_bundle(bundle: &Bundle, request: &Request) -> Result<Self, ModelError> {
        let model = bundle.origin.display().to_string();
        if request.provider != "auto" && !PROVIDERS.contains(&request.provider.as_str()) {
            return Err(ModelError::Engine { model, source: EngineError::unknown_provider(&request.provider) });
        }
        let mut failed = Vec::new();
        for (variant, provider) in pairs(bundle, &request.provider) {
            match Self::attempt(bundle, variant, &provider, request) {
                Ok(loaded) => return Ok(Self { failed, ..loaded }),
                Err(error @ ModelError::Bundle(BundleError::NotAModel { .. })) => {
                    failed.push(Attempt { file: variant.file.clone(), provider, error });
                }
                // Neither is about this variant alone.
                Err(error @ (ModelError::Bundle(_) | ModelError::Cancelled)) => return Err(error),
                Err(error) => failed.push(Attempt { file: variant.file.clone(), provider, error }),
            }
        }
        if failed.is_empty() {
            let tried =
                format!("{}: the bundle has variants for {} only", request.provider, providers(bundle).join(", "));
            return Err(ModelError::NoProvider { model, tried });
        }
        Err(ModelError::of_attempts(model, failed))
    }

    fn attempt(bundle: &Bundle, variant: &Variant, provider: &str, request: &Request) -> Result<Self, ModelError> {
        let model = bundle.origin.display().to_string();
        let picture = Preprocessor::new(bundle.input.clone()).shape();
        let lanes = engine((&bundle.weights(variant)?, &variant.sha256), provider, Some(picture), request)
            .map_err(|e| ModelError::engine(&model, e))?;
        Self::finish(bundle.clone(), &variant.sha256, lanes, request)
    }

    pub(super) fn finish(
        bundle: Bundle,
        digest: &str,
        lanes: Arc<Lanes>,
        request: &Request,
    ) -> Result<Self, ModelError> {
        let post = PostProcessor::new(&bundle.output, &bundle.input, &bundle.labels, lanes.engine().spec())
            .map_err(|e| ModelError::Contract { model: bundle.origin.display().to_string(), source: e.into() })?;
        let id = ModelId { name: bundle.name.clone(), release: bundle.release.clone(), digest: digest.to_owned() };
        if let Some(predictions) = &bundle.predictions {
            references::tell(digest, predictions.clone());
        }
        let batch = fixed_batch(lanes.engine().spec(), post.image_input()).unwrap_or(1);
        let mut loaded = Self {
            bundle,
            id: Arc::new(id),
            lanes,
            post,
            run_time: Duration::ZERO,
            unnamed: false,
            batch,
            failed: Vec::new(),
        };
        loaded.warm_up(request)?;
        Ok(loaded)
    }

    /// Runs the model on an empty picture: the first run is slow, and a model that answers in other shapes than it
    /// promised is better refused before video runs.
    fn warm_up(&mut self, request: &Request) -> Result<(), ModelError> {
        let model = self.bundle.origin.display().to_string();
        let failed = |e: EngineError| ModelError::engine(&model, e);
        let warm_up = WarmUp::of(&self.lanes, request.background.as_ref()).map_err(failed)?;
        let (io, _) = warm_up.run(self.io()).map_err(failed)?;
        let (io, time) = warm_up.run(io).map_err(failed)?;
        self.run_time = time;
        self.read_empty(&io, (0, self.batch))
            .map_err(|e| ModelError::Contract { model: model.clone(), source: e.into() })?;
        if request.batch { self.widen(&warm_up).map_err(failed) } else { Ok(()) }
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
    fn widen(&mut self, warm_up: &WarmUp) -> Result<(), EngineError> {
        let spec = self.lanes.engine().spec();
        if fixed_batch(spec, self.post.image_input()).is_some() {
            return Ok(());
        }
        let values = self.io().inputs.get(self.post.image_input()).map_or(0, |t| t.data.len());
        let most = (MAX_BATCH_VALUES / values.max(1)).clamp(1, MAX_BATCH);
        if most < 2 {
            return Ok(());
        }
        let mut io = self.io();
        self.resize_io(&mut io, 2);
        let works = match warm_up.run(io) {
            Ok((io, _)) => {
                io.outputs.iter().any(|t| t.shape.first() == Some(&2))
                    && (0..2).all(|item| self.read_empty(&io, (item, 2)).is_ok())
            }
            // A run that hangs goes on to hang: not the engine to begin with.
            Err(error @ (EngineError::Late(_) | EngineError::Cancelled)) => return Err(error),
            Err(_) => false,
        };
        if works {
            self.batch = most;
        }
        Ok(())
    }
}

/// Variants with the provider that each is to be tried on, in order: those meant for `provider`, or with `auto` each with
/// all of its own, the CPU where it names none.
fn pairs<'a>(bundle: &'a Bundle, provider: &str) -> Vec<(&'a Variant, String)> {
    let mut pairs: Vec<(&Variant, String)> = Vec::new();
    for variant in &bundle.variants {
        let own = match (&variant.providers, provider) {
            (None, "auto") => vec!["cpu".into()],
            (None, asked) => vec![asked.to_owned()],
            (Some(own), "auto") => own.clone(),
            (Some(own), asked) => own.iter().filter(|own| *own == asked).cloned().collect(),
        };
        for provider in own {
            if !pairs.iter().any(|(known, on)| known.sha256 == variant.sha256 && *on == provider) {
                pairs.push((variant, provider));
            }
        }
    }
    pairs
}

/// The providers that the bundle has variants for, in their order.
fn providers(bundle: &Bundle) -> Vec<String> {
    pairs(bundle, "auto").into_iter().map(|(_, provider)| provider).collect()
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

/// The engine for these weights and their digest; `picture` is the shape of its picture input, where that is known before.
fn engine(
    (bytes, digest): (&[u8], &str),
    provider: &str,
    picture: Option<[usize; 4]>,
    request: &Request,
) -> Result<Arc<Lanes>, EngineError> {
    if request.without.iter().any(|(variant, on)| variant == digest && on == provider) {
        return Err(EngineError::Run("it failed while it ran, and is left out now".into()));
    }
    let (isolation, processors) = isolation(request)?;
    let threads = if request.threads == 0 { processors } else { request.threads };
    let lanes = if request.lanes == 0 { threads } else { request.lanes.min(threads) };
    // An engine of one user alone, which measures single runs, has nobody to share a run with.
    let max_batch = if request.private { 1 } else { request.max_batch };
    let options = Options { provider: provider.to_owned(), threads, lanes, spin: false, max_batch, isolation };
    // An engine's own process has its own; the threads here only wait for it.
    let niceness = if request.isolation.is_none() { request.niceness } else { 0 };
    let key = Key { digest: digest.to_owned(), options: options.clone(), niceness };
    let background = request.background.as_ref();
    if background.is_some() {
        // Where models are replaced there will be many of them.
        heap::keep_little();
    }
    let load_here = if background.is_some() { OnnxEngine::load_beside_video } else { OnnxEngine::load };
    // Lanes are started from here, at normal priority, whatever priority the model is loaded at.
    let load = || {
        let engine: Arc<dyn Engine> = match &options.isolation {
            Isolation::Process(_) => Arc::new(Remote::load((bytes, digest), &options, background)?),
            Isolation::None => Arc::new(load_here(bytes, &options, request.ort_library.as_deref())?),
        };
        batching::gather(engine, max_batch, picture, background)
    };
    if request.private { shared::unshared(niceness, load) } else { shared::get_within(&key, background, load) }
}
