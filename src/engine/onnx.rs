//! Models on ONNX Runtime, through `ort`.
//!
//! `ort` gives a session one caller at a time. The CPU provider may be run from several threads at once, as ONNX
//! Runtime documents `OrtApi::Run`, and two single-threaded runs side by side are faster than one run on two threads;
//! so runs go through the C API here. Other providers are not safe to run in parallel and get one lane.

use std::ffi::{CStr, CString};
use std::path::Path;
use std::ptr;
use std::time::Instant;

use ort::AsPointer;
use ort::ep::{self, ExecutionProvider, ExecutionProviderDispatch};
use ort::session::builder::{GraphOptimizationLevel, SessionBuilder};
use ort::session::{RunOptions, Session};
use ort::value::{TensorElementType, ValueType};

use super::binding::Binding;
use super::heap::GiveBack;
use super::placement::{self, Placement};
use super::runs::Runs;
use super::{DataType, Engine, EngineError, Io, Spec, TensorSpec, lanes, runtime};

pub use super::options::Options;
pub use crate::bundle::contract::PROVIDERS;
use crate::priority::at_low_priority;

/// A session of ONNX Runtime.
pub struct OnnxEngine {
    session: Session,
    spec: Spec,
    names: Names,
    options: Options,
    /// Where its nodes run, unless that is the CPU by the user's own wish.
    placement: Option<Placement>,
    /// Where the provider takes one run at a time they wait here: a model that warms up uses the engine beside its lane.
    runs: Runs<RunOptions>,
    /// The last field: dropped after the session.
    _after: GiveBack,
}

/// Names of inputs and outputs as C wants them.
struct Names {
    inputs: Vec<CString>,
    outputs: Vec<CString>,
}

/// Turns the C API's status into a text.
pub(super) fn check(status: ort::sys::OrtStatusPtr) -> Result<(), String> {
    if status.0.is_null() {
        return Ok(());
    }
    let api = ort::api();
    // SAFETY: a status that is not null is valid until it is released, here, once.
    unsafe {
        let text = CStr::from_ptr((api.GetErrorMessage)(status.0)).to_string_lossy().into_owned();
        (api.ReleaseStatus)(status.0);
        Err(text)
    }
}

impl OnnxEngine {
    /// Loads a model from its bytes.
    ///
    /// # Errors
    /// [`EngineError::Runtime`] without a usable runtime, [`EngineError::Provider`] if the provider is unknown or
    /// absent, [`EngineError::Model`] if the model is broken or has inputs or outputs that are no tensors. Also
    /// [`EngineError::Runtime`] while too many runs of the process hang.
    pub fn load(bytes: &[u8], options: &Options, ort_library: Option<&Path>) -> Result<Self, EngineError> {
        lanes::check_room()?;
        let runtime = runtime::get(ort_library)?;
        let options = sound(options);
        let mut builder = builder(runtime, &options)?;
        let session = builder.commit_from_memory(bytes).map_err(|e| EngineError::of_load(first_line(&e)))?;
        let placement = placement(&session, &options.provider)?;
        let spec = spec(&session)?;
        let c_names = |tensors: &[TensorSpec]| -> Result<Vec<CString>, EngineError> {
            tensors
                .iter()
                .map(|t| {
                    CString::new(t.name.as_str())
                        .map_err(|_| EngineError::Model("a tensor's name has a NUL byte".into()))
                })
                .collect()
        };
        let names = Names { inputs: c_names(&spec.inputs)?, outputs: c_names(&spec.outputs)? };
        let runs = Runs::new(options.provider != "cpu");
        Ok(Self { session, spec, names, options, placement, runs, _after: GiveBack })
    }

    /// As [`load`](Self::load), beside running video: at low priority where the session starts no threads of its own. They
    /// would inherit the niceness, nobody could take it back, and each frame would wait for them. A session that hangs
    /// while it is made cannot be given up: the runtime has no way to end that.
    ///
    /// # Errors
    /// As for [`load`](Self::load).
    pub fn load_beside_video(bytes: &[u8], options: &Options, ort_library: Option<&Path>) -> Result<Self, EngineError> {
        // The first load of a process starts what lives as long as the process, which must not be nice either.
        runtime::get(ort_library)?;
        if pool(options) > 1 || options.provider != "cpu" {
            return Self::load(bytes, options, ort_library);
        }
        at_low_priority(|| Self::load(bytes, options, ort_library))
    }

    /// Makes the outputs that the model sizes itself into values that [`Binding`] can read.
    fn call(&self, binding: &mut Binding) -> Result<(), String> {
        let inputs: [*const std::ffi::c_char; MAX_TENSORS] = pointers(&self.names.inputs);
        let outputs: [*const std::ffi::c_char; MAX_TENSORS] = pointers(&self.names.outputs);
        // SAFETY: the session lives as long as self; names and values are as many as the lengths say, and stay in place
        // during the call. The session is run from several threads only on the CPU provider, which allows it.
        let status = unsafe {
            (ort::api().Run)(
                self.session.ptr().cast_mut(),
                binding.options().ptr(),
                inputs.as_ptr(),
                binding.inputs().cast(),
                self.names.inputs.len(),
                outputs.as_ptr(),
                self.names.outputs.len(),
                binding.outputs_mut(),
            )
        };
        check(status)
    }
}

/// The options with numbers of threads and lanes that can be.
fn sound(options: &Options) -> Options {
    let threads = options.threads.max(1);
    let lanes = if options.provider == "cpu" { options.lanes.clamp(1, threads) } else { 1 };
    Options { threads, lanes, ..options.clone() }
}

/// Threads that work on one run.
fn pool(options: &Options) -> usize {
    sound(options).threads_per_run()
}

/// More inputs or outputs than any model in the supported families has.
const MAX_TENSORS: usize = 64;

fn pointers(names: &[CString]) -> [*const std::ffi::c_char; MAX_TENSORS] {
    let mut list = [ptr::null(); MAX_TENSORS];
    for (slot, name) in list.iter_mut().zip(names) {
        *slot = name.as_ptr();
    }
    list
}

/// The runtime's errors may go on over many lines; the first one says what is wrong. Those of CUDA begin with the signatures of C++
/// functions, and end with places in files.
fn first_line(error: &dyn std::fmt::Display) -> String {
    let text = error.to_string();
    let line = text.lines().next().unwrap_or_default().trim();
    let failure = ["CUDA failure", "CUDNN failure", "CUBLAS failure"].iter().filter_map(|sign| line.rfind(sign)).max();
    let failure = failure.and_then(|at| line.get(at..)?.split(" ; ").next());
    failure.unwrap_or(line).to_owned()
}

/// Starts a provider without a model: loads its libraries.
///
/// # Errors
/// [`EngineError::Runtime`] without a usable runtime, [`EngineError::Provider`] if the provider is unknown, absent, or
/// lacks something on this machine.
pub fn start_provider(name: &str, ort_library: Option<&Path>) -> Result<(), EngineError> {
    let options = Options::least(name);
    builder(runtime::get(ort_library)?, &options).map(drop)
}

/// What a provider needs beside the runtime, as the end of a sentence.
fn needs(provider: &str) -> &'static str {
    match provider {
        "cuda" => {
            "; it needs NVIDIA's driver, CUDA and cuDNN of the versions that this ONNX Runtime was built for, where the \
                   dynamic linker finds them (LD_LIBRARY_PATH)"
        }
        "tensorrt" => "; it needs what cuda needs, and TensorRT, where the dynamic linker finds them (LD_LIBRARY_PATH)",
        _ => "",
    }
}

fn builder(runtime: &runtime::Runtime, options: &Options) -> Result<SessionBuilder, EngineError> {
    let fail = |e: &dyn std::fmt::Display| EngineError::Model(first_line(e));
    let provider = provider(&options.provider)?;
    let cpu = options.provider == "cpu";
    let builder = Session::builder(&runtime.env)
        .map_err(|e| fail(&e))?
        .with_optimization_level(GraphOptimizationLevel::Level3)
        .map_err(|e| fail(&e))?
        .with_intra_threads(pool(options))
        .map_err(|e| fail(&e))?
        .with_inter_threads(1)
        .map_err(|e| fail(&e))?
        .with_intra_op_spinning(options.spin)
        .map_err(|e| fail(&e))?
        .with_execution_providers([provider])
        .map_err(|e| {
            let (name, text) = (&options.provider, first_line(&e));
            // Before that stands where in the runtime's source it happened.
            let why = text.rsplit(" : FAIL : ").next().unwrap_or_default();
            EngineError::Provider(format!("provider {name:?} cannot start: {why}{}", needs(name)))
        })?;
    let (key, value) = placement::RECORD;
    if cpu { Ok(builder) } else { builder.with_config_entry(key, value).map_err(|e| fail(&e)) }
}

/// Where the nodes of a model run; `None` on the CPU provider.
///
/// # Errors
/// [`EngineError::Provider`] if the provider runs none of them: the CPU would do all the work under its name.
fn placement(session: &Session, provider: &str) -> Result<Option<Placement>, EngineError> {
    if provider == "cpu" {
        return Ok(None);
    }
    let placement = Placement::of(session).map_err(|e| EngineError::Model(first_line(&e)))?;
    if placement.on_provider == 0 {
        return Err(EngineError::Provider(format!(
            "provider {provider:?} runs none of the model's {} nodes: use cpu, or export the model with operators that the \
             provider has",
            placement.nodes_on_cpu()
        )));
    }
    Ok(Some(placement))
}

fn provider(name: &str) -> Result<ExecutionProviderDispatch, EngineError> {
    fn checked<E: ExecutionProvider>(
        name: &str,
        available: impl FnOnce() -> ort::Result<bool>,
        build: impl FnOnce() -> ExecutionProviderDispatch,
        _: std::marker::PhantomData<E>,
    ) -> Result<ExecutionProviderDispatch, EngineError> {
        if available().unwrap_or(false) {
            return Ok(build().error_on_failure());
        }
        let have = runtime::available_providers().unwrap_or_default().join(", ");
        Err(EngineError::Provider(format!(
            "provider {name:?} was asked for, but this ONNX Runtime was built without it; it has: {have}"
        )))
    }
    use std::marker::PhantomData as P;
    match name {
        // Without an arena each run takes the memory for all that it computes in between from the system and gives it back:
        // thousands of page faults where the C library keeps little, and many times the memory where it keeps much.
        "cpu" => Ok(ep::CPU::default().with_arena_allocator(true).build().error_on_failure()),
        // The shorter floats of tensor cores (TF32) are the runtime's default for convolutions: on an H200 a box of a detector was
        // off by a quarter of its area then, and by nothing without. Who wants their speed takes an f16 variant.
        "cuda" => checked(name, ep::CUDA::is_available, || ep::CUDA::default().with_tf32(false).build(), P::<ep::CUDA>),
        "tensorrt" => checked(name, ep::TensorRT::is_available, || ep::TensorRT::default().build(), P::<ep::TensorRT>),
        "openvino" => checked(name, ep::OpenVINO::is_available, || ep::OpenVINO::default().build(), P::<ep::OpenVINO>),
        _ => Err(EngineError::unknown_provider(name)),
    }
}

fn data_type(element: TensorElementType) -> Option<DataType> {
    Some(match element {
        TensorElementType::Float32 => DataType::F32,
        TensorElementType::Float16 => DataType::F16,
        TensorElementType::Uint8 => DataType::U8,
        TensorElementType::Int8 => DataType::I8,
        TensorElementType::Int32 => DataType::I32,
        TensorElementType::Int64 => DataType::I64,
        _ => return None,
    })
}

fn tensor_spec(kind: &str, outlet: &ort::value::Outlet) -> Result<TensorSpec, EngineError> {
    let name = outlet.name();
    let ValueType::Tensor { ty, shape, .. } = outlet.dtype() else {
        return Err(EngineError::Model(format!("{kind} {name:?} is no tensor")));
    };
    let dtype = data_type(*ty).ok_or_else(|| {
        EngineError::Model(format!(
            "{kind} {name:?} has elements of type {ty:?}; f32, f16, u8, i8, i32, i64 can be used"
        ))
    })?;
    let shape = shape.iter().map(|d| usize::try_from(*d).ok()).collect();
    Ok(TensorSpec { name: name.to_owned(), dtype, shape })
}

fn spec(session: &Session) -> Result<Spec, EngineError> {
    let (inputs, outputs) = (session.inputs(), session.outputs());
    if inputs.is_empty() || outputs.is_empty() || inputs.len() > MAX_TENSORS || outputs.len() > MAX_TENSORS {
        return Err(EngineError::Model(format!(
            "the model has {} inputs and {} outputs; 1 to {MAX_TENSORS} of each can be used",
            inputs.len(),
            outputs.len()
        )));
    }
    let mut spec = Spec {
        inputs: inputs.iter().map(|o| tensor_spec("input", o)).collect::<Result<_, _>>()?,
        outputs: outputs.iter().map(|o| tensor_spec("output", o)).collect::<Result<_, _>>()?,
        ..Spec::default()
    };
    if let Ok(metadata) = session.metadata() {
        for key in metadata.custom_keys().unwrap_or_default() {
            if let Some(value) = metadata.custom(&key) {
                spec.metadata.insert(key, value);
            }
        }
    }
    Ok(spec)
}

impl Engine for OnnxEngine {
    fn spec(&self) -> &Spec {
        &self.spec
    }

    fn provider(&self) -> &str {
        &self.options.provider
    }

    fn lanes(&self) -> usize {
        self.options.lanes
    }

    fn threads_per_run(&self) -> usize {
        self.options.threads_per_run()
    }

    fn placement(&self) -> Option<&Placement> {
        self.placement.as_ref()
    }

    fn run(&self, io: &mut Io, until: Option<Instant>) -> Result<(), EngineError> {
        let start = Instant::now();
        let mut binding = Binding::take(io, &self.spec).map_err(EngineError::Run)?;
        if let Err(error) = self.runs.begin(binding.options(), until) {
            binding.put_back(io);
            return Err(error);
        }
        let answer = self.call(&mut binding).and_then(|()| binding.collect(io));
        let cut = self.runs.end(binding.options());
        // The next run with these options would be cut before it begins.
        if !cut || binding.options().unterminate().is_ok() {
            binding.put_back(io);
        }
        answer.map_err(|text| match until {
            Some(until) if cut => EngineError::Deadline(until.saturating_duration_since(start)),
            _ => EngineError::of_run(first_line(&text)),
        })
    }

    fn cut(&self, now: Instant) {
        self.runs.cut(now, |options| options.terminate().is_ok());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_an_error_of_cuda_what_failed_is_told() {
        let text = "/onnxruntime_src/cuda_call.cc:154 Status onnxruntime::CudaCall(ERRTYPE, int) [with ERRTYPE = cudaError] \
            CUDA failure 2: out of memory ; GPU=0 ; hostname=vm ; file=cuda_execution_provider.cc ; line=355";
        assert_eq!(first_line(&text), "CUDA failure 2: out of memory");
        assert!(matches!(EngineError::of_load(first_line(&text)), EngineError::Memory(_)));
        let cublas = "… CUBLAS failure 3: the resource allocation failed ; GPU=0";
        assert!(matches!(EngineError::of_load(first_line(&cublas)), EngineError::Memory(_)));
        assert_eq!(first_line(&"no such file\nat line 3"), "no such file");
    }

    /// A session on the CPU stands for one of which a provider runs nothing.
    #[test]
    fn a_provider_that_runs_nothing_is_refused() {
        let options = Options::least("cpu");
        let runtime = runtime::get(None).unwrap();
        let (key, value) = placement::RECORD;
        let mut builder = builder(runtime, &options).unwrap().with_config_entry(key, value).unwrap();
        let session = builder.commit_from_memory(include_bytes!("../../tests/models/red.onnx")).unwrap();
        let seen = Placement::of(&session).unwrap();
        assert!(
            seen.on_provider == 0 && seen.on_cpu.get("GlobalAveragePool").is_some_and(|count| *count > 0),
            "{seen:?}"
        );
        let Err(EngineError::Provider(text)) = placement(&session, "cuda") else { panic!("it runs nothing") };
        assert!(text.contains("none of the model's"), "{text}");
        assert_eq!(placement(&session, "cpu").unwrap(), None);
    }
}
