//! The runtime's values over our own tensors, made once per [`Io`] and used for every run.

use std::ffi::c_void;
use std::ptr;
use std::sync::Arc;

use ort::memory::{AllocationDevice, AllocatorType, MemoryInfo, MemoryType};
use ort::session::RunOptions;
use ort::sys::{ONNXTensorElementDataType as Kind, OrtValue};
use ort::{AsPointer, api};

use super::memory::{Element, Values};
use super::onnx::check;
use super::{DataType, Io, Spec, Tensor, TensorData};

/// Values for the inputs and outputs of one [`Io`].
pub(super) struct Binding {
    inputs: Vec<*mut OrtValue>,
    /// Null for outputs that the model sizes itself.
    outputs: Vec<*mut OrtValue>,
    fixed: Vec<bool>,
    /// Where the tensors' values lay when the binding was made.
    places: Vec<(*const c_void, usize)>,
    ran: bool,
    /// What a run of these values is cut with; shared with who may cut it.
    options: Arc<RunOptions>,
}

// SAFETY: the values belong to the binding alone, and the runtime ties them to no thread.
unsafe impl Send for Binding {}

fn bytes(data: &mut TensorData) -> (*mut c_void, usize) {
    match data {
        TensorData::F32(v) => (v.as_mut_ptr().cast(), v.len() * 4),
        TensorData::F16(v) => (v.as_mut_ptr().cast(), v.len() * 2),
        TensorData::U8(v) => (v.as_mut_ptr().cast(), v.len()),
        TensorData::I8(v) => (v.as_mut_ptr().cast(), v.len()),
        TensorData::I32(v) => (v.as_mut_ptr().cast(), v.len() * 4),
        TensorData::I64(v) => (v.as_mut_ptr().cast(), v.len() * 8),
    }
}

fn element(dtype: DataType) -> Kind {
    match dtype {
        DataType::F32 => Kind::ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT,
        DataType::F16 => Kind::ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16,
        DataType::U8 => Kind::ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8,
        DataType::I8 => Kind::ONNX_TENSOR_ELEMENT_DATA_TYPE_INT8,
        DataType::I32 => Kind::ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32,
        DataType::I64 => Kind::ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64,
    }
}

fn value_over(memory: &MemoryInfo<'_>, tensor: &mut Tensor) -> Result<*mut OrtValue, String> {
    let shape: Vec<i64> = tensor.shape.iter().map(|d| i64::try_from(*d).unwrap_or(i64::MAX)).collect();
    let dtype = element(tensor.data.dtype());
    let (data, len) = bytes(&mut tensor.data);
    let mut value = ptr::null_mut();
    // SAFETY: `data` has `len` bytes; it stays where it is while the value is used, which `Binding::take` checks before
    // every run. The runtime checks that shape and length agree.
    let status = unsafe {
        (api().CreateTensorWithDataAsOrtValue)(memory.ptr(), data, len, shape.as_ptr(), shape.len(), dtype, &mut value)
    };
    check(status)?;
    Ok(value)
}

impl Binding {
    /// The binding of `io`'s last run, or a new one if its tensors have moved since.
    pub(super) fn take(io: &mut Io, spec: &Spec) -> Result<Self, String> {
        if let Some(old) = io.binding.take()
            && old.same_places(io)
        {
            return Ok(old);
        }
        if io.inputs.len() != spec.inputs.len() || io.outputs.len() != spec.outputs.len() {
            return Err(format!(
                "{} inputs and {} outputs were given to a model with {} and {}",
                io.inputs.len(),
                io.outputs.len(),
                spec.inputs.len(),
                spec.outputs.len()
            ));
        }
        let memory = MemoryInfo::new(AllocationDevice::CPU, 0, AllocatorType::Device, MemoryType::Default)
            .map_err(|e| e.to_string())?;
        // A shape without lengths is a scalar or one that the runtime does not know before a run.
        let fixed = spec.outputs.iter().map(|o| !o.shape.is_empty() && o.shape.iter().all(Option::is_some)).collect();
        let places = io
            .inputs
            .iter_mut()
            .chain(&mut io.outputs)
            .map(|t| bytes(&mut t.data))
            .map(|(p, n)| (p.cast_const(), n))
            .collect();
        let options = Arc::new(RunOptions::new().map_err(|e| e.to_string())?);
        let mut binding = Self { inputs: Vec::new(), outputs: Vec::new(), fixed, places, ran: false, options };
        for tensor in &mut io.inputs {
            binding.inputs.push(value_over(&memory, tensor)?);
        }
        for (tensor, fixed) in io.outputs.iter_mut().zip(&binding.fixed) {
            let value = if *fixed { value_over(&memory, tensor)? } else { ptr::null_mut() };
            binding.outputs.push(value);
        }
        Ok(binding)
    }

    fn same_places(&self, io: &mut Io) -> bool {
        let tensors = io.inputs.len() + io.outputs.len();
        let dynamic =
            |i: usize| i >= self.inputs.len() && !self.fixed.get(i - self.inputs.len()).copied().unwrap_or(false);
        self.places.len() == tensors
            && io.inputs.iter_mut().chain(&mut io.outputs).enumerate().all(|(i, t)| {
                let (place, len) = bytes(&mut t.data);
                dynamic(i) || self.places.get(i) == Some(&(place.cast_const(), len))
            })
    }

    pub(super) fn options(&self) -> &Arc<RunOptions> {
        &self.options
    }

    pub(super) fn inputs(&self) -> *const *mut OrtValue {
        self.inputs.as_ptr()
    }

    pub(super) fn outputs_mut(&mut self) -> *mut *mut OrtValue {
        self.ran = true;
        self.outputs.as_mut_ptr()
    }

    /// Copies what the model sized itself into `io`.
    pub(super) fn collect(&mut self, io: &mut Io) -> Result<(), String> {
        let mut outcome = Ok(());
        for ((tensor, value), fixed) in io.outputs.iter_mut().zip(&mut self.outputs).zip(&self.fixed) {
            if *fixed {
                continue;
            }
            outcome = outcome.and(copy_out(*value, tensor));
            release(value);
        }
        outcome
    }

    pub(super) fn put_back(self, io: &mut Io) {
        io.binding = Some(self);
    }
}

impl Drop for Binding {
    fn drop(&mut self) {
        self.inputs.iter_mut().chain(&mut self.outputs).for_each(release);
    }
}

impl std::fmt::Debug for Binding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Binding").field("inputs", &self.inputs.len()).finish_non_exhaustive()
    }
}

fn release(value: &mut *mut OrtValue) {
    if !value.is_null() {
        // SAFETY: made by the runtime, released once: the pointer is cleared.
        unsafe { (api().ReleaseValue)(*value) };
        *value = ptr::null_mut();
    }
}

/// Copies a tensor of the runtime into `tensor`, which takes its shape.
fn copy_out(value: *mut OrtValue, tensor: &mut Tensor) -> Result<(), String> {
    let api = api();
    if value.is_null() {
        return Err(format!("the model left output {:?} empty", tensor.name));
    }
    let (mut info, mut rank, mut data) = (ptr::null_mut(), 0, ptr::null_mut());
    let mut dtype = Kind::ONNX_TENSOR_ELEMENT_DATA_TYPE_UNDEFINED;
    let mut dims = [0i64; 8];
    // SAFETY: `value` is a tensor of the runtime; every pointer is valid for writing, `dims` has room for 8 lengths,
    // and `info` is released once.
    unsafe {
        check((api.GetTensorTypeAndShape)(value, &mut info))?;
        let shape = check((api.GetTensorElementType)(info, &mut dtype))
            .and_then(|()| check((api.GetDimensionsCount)(info, &mut rank)))
            .and_then(|()| {
                if rank > dims.len() { Err(format!("output {:?} has {rank} dimensions", tensor.name)) } else { Ok(()) }
            })
            .and_then(|()| check((api.GetDimensions)(info, dims.as_mut_ptr(), rank)));
        (api.ReleaseTensorTypeAndShapeInfo)(info);
        shape?;
        check((api.GetTensorMutableData)(value, &mut data))?;
    }
    if dtype != element(tensor.data.dtype()) {
        return Err(format!("output {:?} has another element type than the model promised", tensor.name));
    }
    tensor.shape.clear();
    tensor.shape.extend(dims.iter().take(rank).map(|d| usize::try_from(*d).unwrap_or(0)));
    let len = tensor.shape.iter().product();
    /// Copies `len` values from `data`.
    fn fill<T: Element>(to: &mut Values<T>, data: *const c_void, len: usize) {
        to.clear();
        if len > 0 && !data.is_null() {
            // SAFETY: the runtime's tensor has `len` elements of this type, aligned, and lives until it is released.
            to.extend_from_slice(unsafe { std::slice::from_raw_parts(data.cast::<T>(), len) });
        }
    }
    match &mut tensor.data {
        TensorData::F32(v) => fill(v, data, len),
        TensorData::F16(v) => fill(v, data, len),
        TensorData::U8(v) => fill(v, data, len),
        TensorData::I8(v) => fill(v, data, len),
        TensorData::I32(v) => fill(v, data, len),
        TensorData::I64(v) => fill(v, data, len),
    }
    Ok(())
}
