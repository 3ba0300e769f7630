//! The worker's side: `vigil worker`, with a socket as its standard input.
//!
//! The main thread listens to the first socket and ends the process when that closes, whatever the others do. One thread
//! loads the model, and one more for each socket for runs takes them.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread;

use super::confine;
use super::wire::{self, Answer, Command, Loaded, Report, Run, WireError};
use crate::engine::memory::{Bytes, Mapping};
use crate::engine::onnx::OnnxEngine;
use crate::engine::options::{Isolation, Options};
use crate::engine::runtime::{self, Severity};
use crate::engine::{Engine, EngineError, Io, Spec, Tensor, TensorData, TensorSpec};

/// Longest message of the runtime that is passed on, in bytes.
const LONGEST_LOG: usize = 4096;

/// Serves until the application closes the socket; returns only what kept it from serving.
///
/// # Errors
/// A text, if standard input is no socket of an application, or the system refuses what every Linux offers.
pub fn main() -> Result<std::convert::Infallible, String> {
    let socket = io::stdin();
    if rustix::net::sockopt::socket_type(&socket).is_err() {
        return Err("worker: vigilinfer starts this with isolation=process; it does nothing by itself".into());
    }
    confine::first().map_err(|e| format!("worker: the system refuses it: {e}"))?;
    let hello = Report::Hello { version: crate::VERSION.into() };
    wire::send(&socket, &hello, None).map_err(|e| format!("worker: {e}"))?;
    let server = Arc::<Server>::default();
    loop {
        match wire::receive::<Command>(&socket) {
            Ok((command, file)) => server.obey(command, file),
            Err(WireError::Closed) => exit(0),
            Err(WireError::Garbage(what)) => {
                eprintln!("vigil: worker: a message cannot be read: {what}");
                exit(1);
            }
        }
    }
}

/// Ends the process without waiting for threads that run the model.
fn exit(code: i32) -> ! {
    // SAFETY: nothing of this process is worth cleaning up, and threads that still run do not matter.
    unsafe { libc::_exit(code) }
}

fn report(report: &Report) {
    if wire::send(io::stdin(), report, None).is_err() && !matches!(report, Report::Log(..)) {
        exit(1);
    }
}

#[derive(Default)]
struct Server {
    engine: OnceLock<OnnxEngine>,
    /// Tensors between their runs, by number.
    ios: Mutex<HashMap<u64, Io>>,
}

impl Server {
    fn obey(self: &Arc<Self>, command: Command, file: Option<OwnedFd>) {
        let Some(file) = file else { exit(1) };
        let server = Arc::clone(self);
        let task: Box<dyn FnOnce() + Send> = match command {
            Command::Load { options, beside, background } => {
                if let Isolation::Process(worker) = &options.isolation
                    && let Err(error) = confine::limit(worker)
                {
                    return report(&Report::Failed(error));
                }
                Box::new(move || report(&server.load(&file, &options, beside, background)))
            }
            Command::Serve => Box::new(move || server.serve(&file)),
        };
        if thread::Builder::new().name("vigil-worker".into()).spawn(task).is_err() {
            exit(1);
        }
    }

    fn load(&self, weights: &OwnedFd, options: &Options, beside: Option<PathBuf>, background: bool) -> Report {
        runtime::set_log_sink(|severity, text| {
            let severity = match severity {
                Severity::Error => 0,
                Severity::Warning => 1,
                Severity::Info => 2,
            };
            let end = text.floor_char_boundary(LONGEST_LOG);
            report(&Report::Log(severity, text.get(..end).unwrap_or_default().to_owned()));
        });
        if let Some(folder) = beside {
            runtime::look_beside(folder);
        }
        let library = match &options.isolation {
            Isolation::Process(worker) => worker.ort_library.clone(),
            Isolation::None => None,
        };
        let load = if background { OnnxEngine::load_beside_video } else { OnnxEngine::load };
        let engine = Bytes::map(weights.as_fd())
            .map_err(|e| EngineError::Model(format!("the weights cannot be read: {e}")))
            .and_then(|bytes| load(&bytes, options, library.as_deref()));
        match engine {
            Ok(engine) => {
                let (spec, provider) = (engine.spec().clone(), engine.provider().to_owned());
                let loaded = Loaded { spec, provider, lanes: engine.lanes(), placement: engine.placement().cloned() };
                if self.engine.set(engine).is_err() {
                    return Report::Failed(EngineError::Model("a worker has one model".into()));
                }
                Report::Loaded(loaded)
            }
            Err(error) => Report::Failed(error),
        }
    }

    /// Answers runs until the socket closes.
    fn serve(&self, socket: &OwnedFd) {
        // Without a model the socket closes, which the application notices.
        let Some(engine) = self.engine.get() else { return };
        while let Ok((run, file)) = wire::receive::<Run>(socket) {
            let answer = self.run(engine, &run, file).map_or_else(Answer::Failed, Answer::Done);
            if wire::send(socket, &answer, None).is_err() {
                return;
            }
        }
    }

    fn run(&self, engine: &OnnxEngine, run: &Run, file: Option<OwnedFd>) -> Result<Vec<Vec<usize>>, String> {
        let known = {
            let mut ios = self.ios.lock().unwrap_or_else(PoisonError::into_inner);
            for number in &run.forget {
                ios.remove(number);
            }
            ios.remove(&run.io)
        };
        let mut io = match (known, &run.rooms, file) {
            (_, Some(rooms), Some(file)) => tensors(engine.spec(), rooms, &file)?,
            (Some(io), _, _) => io,
            _ => return Err("the tensors are not known".into()),
        };
        for (tensor, shape) in io.inputs.iter_mut().zip(&run.shapes) {
            tensor.shape.clone_from(shape);
            if !super::elements(shape).is_some_and(|len| tensor.data.set_len(len)) {
                return Err(format!("input {:?} of shape {shape:?} is larger than its memory", tensor.name));
            }
        }
        let answer = engine.run(&mut io, None).map_err(|e| e.to_string());
        let shapes = answer.and_then(|()| io.outputs.iter_mut().map(at_home).collect::<Result<Vec<_>, _>>())?;
        // Tensors of a run that failed are forgotten: their outputs may have moved. The application sends them again.
        self.ios.lock().unwrap_or_else(PoisonError::into_inner).insert(run.io, io);
        Ok(shapes)
    }
}

/// The shape of an output, which must lie in its room: in other memory nobody would see it.
pub(super) fn at_home(tensor: &mut Tensor) -> Result<Vec<usize>, String> {
    let len = tensor.data.len();
    if tensor.data.set_len(len) {
        return Ok(tensor.shape.clone());
    }
    let bytes = len * tensor.data.dtype().bytes();
    Err(format!(
        "output {:?} has {bytes} bytes, more than an engine in a process of its own can hand over ({}); use \
         isolation=none for this model",
        tensor.name,
        super::arena::ROOM
    ))
}

/// Tensors in the rooms of a file that the application has sent.
fn tensors(spec: &Spec, rooms: &[usize], file: &OwnedFd) -> Result<Io, String> {
    if rooms.len() != spec.inputs.len() + spec.outputs.len() {
        return Err(format!("{} rooms for other tensors than the model's", rooms.len()));
    }
    let mapping = Mapping::open(file.as_fd(), rooms).map_err(|e| format!("the tensors cannot be mapped: {e}"))?;
    let tensor = |(room, spec): (usize, &TensorSpec)| {
        // What the model sizes itself starts empty, as in any `Io`.
        let shape: Vec<usize> = spec.shape.iter().map(|d| d.unwrap_or(0)).collect();
        let data = super::elements(&shape).and_then(|len| TensorData::shared(spec.dtype, &mapping, room, len));
        let data = data.ok_or_else(|| format!("the room of {:?} is too small", spec.name))?;
        Ok::<_, String>(Tensor { name: spec.name.clone(), shape, data })
    };
    let all = spec.inputs.iter().chain(&spec.outputs).enumerate();
    let mut inputs = all.map(tensor).collect::<Result<Vec<_>, _>>()?;
    let outputs = inputs.split_off(spec.inputs.len());
    Ok(Io { inputs, outputs, binding: None, arena: None })
}
