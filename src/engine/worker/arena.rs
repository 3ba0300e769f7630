//! Tensors in memory that the application and a worker share.

use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::elements;
use crate::engine::memory::Mapping;
use crate::engine::{Io, Spec, Tensor, TensorData, TensorSpec};

/// Bytes of room for a tensor whose size is open, on a machine whose addresses suffice. They cost nothing until used.
pub(super) const ROOM: usize = if cfg!(target_pointer_width = "64") { 256 << 20 } else { 16 << 20 };

/// Numbers of tensors that the application has dropped and the worker still maps.
#[derive(Debug, Clone, Default)]
pub(super) struct Gone(Arc<Mutex<Vec<u64>>>);

impl Gone {
    /// The most that one message tells.
    const MOST: usize = 256;

    pub(super) fn take(&self) -> Vec<u64> {
        let mut gone = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = gone.len().min(Self::MOST);
        gone.drain(..count).collect()
    }
}

/// The memory of one [`Io`], shared with the worker of one engine.
#[derive(Debug)]
pub struct Arena {
    /// Unique in the process.
    pub(super) number: u64,
    pub(super) file: OwnedFd,
    mapping: Arc<Mapping>,
    /// Bytes of each room: those of the inputs, then those of the outputs.
    pub(super) sizes: Vec<usize>,
    /// The worker that maps it too; 0: none.
    pub(super) known_by: u64,
    gone: Gone,
}

impl Drop for Arena {
    fn drop(&mut self) {
        self.gone.0.lock().unwrap_or_else(PoisonError::into_inner).push(self.number);
    }
}

/// Bytes that a tensor needs room for.
fn size(spec: &TensorSpec, tensor: &Tensor) -> Option<usize> {
    let fixed: Option<Vec<usize>> = spec.shape.iter().copied().collect();
    let bytes = |len: usize| len.checked_mul(spec.dtype.bytes());
    match fixed.filter(|shape| !shape.is_empty()) {
        Some(shape) => elements(&shape).and_then(bytes),
        // A shape without lengths is a scalar or one that the runtime does not know before a run.
        None => bytes(tensor.data.len()).map(|bytes| bytes.max(ROOM)),
    }
}

impl Arena {
    fn new(io: &Io, spec: &Spec, gone: &Gone) -> Result<Self, String> {
        static NUMBERS: AtomicU64 = AtomicU64::new(1);
        let tensors = io.inputs.iter().chain(&io.outputs);
        let sizes: Option<Vec<usize>> =
            spec.inputs.iter().chain(&spec.outputs).zip(tensors).map(|(spec, tensor)| size(spec, tensor)).collect();
        let sizes = sizes.ok_or("the tensors are larger than memory")?;
        let (file, mapping) = Mapping::create(&sizes).map_err(|e| format!("no shared memory for the tensors: {e}"))?;
        let number = NUMBERS.fetch_add(1, Ordering::Relaxed);
        Ok(Self { number, file, mapping, sizes, known_by: 0, gone: gone.clone() })
    }

    /// Sees to it that the tensors of `io` lie in memory that is shared with the engine whose list is `gone`, and moves
    /// them there where they do not; inputs keep their values.
    pub(super) fn attach(io: &mut Io, spec: &Spec, gone: &Gone) -> Result<(), String> {
        let counts = (spec.inputs.len(), spec.outputs.len());
        if counts != (io.inputs.len(), io.outputs.len()) {
            return Err(format!(
                "{} inputs and {} outputs were given to a model with {} and {}",
                io.inputs.len(),
                io.outputs.len(),
                counts.0,
                counts.1
            ));
        }
        let own = io.arena.take().filter(|arena| Arc::ptr_eq(&arena.gone.0, &gone.0));
        let arena = match own {
            Some(arena) => arena,
            None => Self::new(io, spec, gone)?,
        };
        let specs = spec.inputs.iter().chain(&spec.outputs);
        for (room, (tensor, spec)) in io.inputs.iter_mut().chain(&mut io.outputs).zip(specs).enumerate() {
            arena.bring_home(tensor, spec, room)?;
        }
        io.arena = Some(arena);
        Ok(())
    }

    fn bring_home(&self, tensor: &mut Tensor, spec: &TensorSpec, room: usize) -> Result<(), String> {
        if tensor.data.dtype() != spec.dtype || elements(&tensor.shape) != Some(tensor.data.len()) {
            return Err(format!("tensor {:?} does not have the type or the length that the model wants", spec.name));
        }
        if tensor.data.is_in(&self.mapping, room) {
            return Ok(());
        }
        let mut home = TensorData::shared(spec.dtype, &self.mapping, room, 0)
            .ok_or_else(|| format!("the memory of tensor {:?} is in use", spec.name))?;
        home.copy_part(&tensor.data, 0..tensor.data.len());
        if !home.is_in(&self.mapping, room) {
            return Err(format!("tensor {:?} is larger than its shared memory", spec.name));
        }
        tensor.data = home;
        Ok(())
    }

    /// Takes over what a worker says about the outputs, which it has left in their rooms.
    ///
    /// # Errors
    /// A text if it says what cannot be.
    pub(super) fn accept(io: &mut Io, spec: &Spec, shapes: &[Vec<usize>]) -> Result<(), String> {
        if shapes.len() != io.outputs.len() {
            return Err(format!("{} outputs of a model with {}", shapes.len(), io.outputs.len()));
        }
        for ((tensor, spec), shape) in io.outputs.iter_mut().zip(&spec.outputs).zip(shapes) {
            let fixed = !spec.shape.is_empty() && spec.shape.iter().all(Option::is_some);
            let agrees = !fixed || *shape == tensor.shape;
            if !agrees || !elements(shape).is_some_and(|len| tensor.data.set_len(len)) {
                return Err(format!("output {:?} cannot have the shape {shape:?}", spec.name));
            }
            tensor.shape.clone_from(shape);
        }
        Ok(())
    }
}
