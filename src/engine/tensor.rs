//! Tensors as the domain sees them: a name, a shape and values; no runtime type.

use std::sync::Arc;

use half::f16;
use serde::{Deserialize, Serialize};

use super::memory::{Element, Mapping, Values};

/// Element types that inputs and outputs may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum DataType {
    /// 32-bit float.
    F32,
    /// 16-bit float (IEEE 754 binary16).
    F16,
    /// 8-bit unsigned.
    U8,
    /// 8-bit signed.
    I8,
    /// 32-bit signed.
    I32,
    /// 64-bit signed.
    I64,
}

impl DataType {
    /// Bytes of one element.
    pub fn bytes(self) -> usize {
        match self {
            Self::U8 | Self::I8 => 1,
            Self::F16 => 2,
            Self::F32 | Self::I32 => 4,
            Self::I64 => 8,
        }
    }
}

/// What a model says about one of its inputs or outputs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TensorSpec {
    /// Name in the graph.
    pub name: String,
    /// Element type.
    pub dtype: DataType,
    /// Length of each dimension; `None` where it is decided at run time.
    pub shape: Vec<Option<usize>>,
}

/// What a loaded model says about itself.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Spec {
    /// Inputs in the graph's order.
    pub inputs: Vec<TensorSpec>,
    /// Outputs in the graph's order.
    pub outputs: Vec<TensorSpec>,
    /// Key and value pairs that the exporter embedded (`metadata_props`).
    pub metadata: std::collections::BTreeMap<String, String>,
}

/// The values of a tensor.
#[derive(Debug, Clone, PartialEq)]
pub enum TensorData {
    /// 32-bit floats.
    F32(Values<f32>),
    /// 16-bit floats.
    F16(Values<f16>),
    /// Unsigned bytes.
    U8(Values<u8>),
    /// Signed bytes.
    I8(Values<i8>),
    /// 32-bit integers.
    I32(Values<i32>),
    /// 64-bit integers.
    I64(Values<i64>),
}

impl TensorData {
    /// `len` zeros.
    pub fn zeros(dtype: DataType, len: usize) -> Self {
        match dtype {
            DataType::F32 => Self::F32(vec![0.0; len].into()),
            DataType::F16 => Self::F16(vec![f16::ZERO; len].into()),
            DataType::U8 => Self::U8(vec![0; len].into()),
            DataType::I8 => Self::I8(vec![0; len].into()),
            DataType::I32 => Self::I32(vec![0; len].into()),
            DataType::I64 => Self::I64(vec![0; len].into()),
        }
    }

    /// `len` elements in room `room` of `mapping`, as it has them; `None` where [`Mapping::values`] has none.
    pub fn shared(dtype: DataType, mapping: &Arc<Mapping>, room: usize, len: usize) -> Option<Self> {
        Some(match dtype {
            DataType::F32 => Self::F32(mapping.values(room, len)?),
            DataType::F16 => Self::F16(mapping.values(room, len)?),
            DataType::U8 => Self::U8(mapping.values(room, len)?),
            DataType::I8 => Self::I8(mapping.values(room, len)?),
            DataType::I32 => Self::I32(mapping.values(room, len)?),
            DataType::I64 => Self::I64(mapping.values(room, len)?),
        })
    }

    /// Whether the elements lie in room `room` of `mapping`.
    pub fn is_in(&self, mapping: &Arc<Mapping>, room: usize) -> bool {
        match self {
            Self::F32(v) => v.is_in(mapping, room),
            Self::F16(v) => v.is_in(mapping, room),
            Self::U8(v) => v.is_in(mapping, room),
            Self::I8(v) => v.is_in(mapping, room),
            Self::I32(v) => v.is_in(mapping, room),
            Self::I64(v) => v.is_in(mapping, room),
        }
    }

    /// Makes `len` elements of what their room has; `false` if they lie in none or it is too small.
    pub fn set_len(&mut self, len: usize) -> bool {
        match self {
            Self::F32(v) => v.set_len(len),
            Self::F16(v) => v.set_len(len),
            Self::U8(v) => v.set_len(len),
            Self::I8(v) => v.set_len(len),
            Self::I32(v) => v.set_len(len),
            Self::I64(v) => v.set_len(len),
        }
    }

    /// Element type.
    pub fn dtype(&self) -> DataType {
        match self {
            Self::F32(_) => DataType::F32,
            Self::F16(_) => DataType::F16,
            Self::U8(_) => DataType::U8,
            Self::I8(_) => DataType::I8,
            Self::I32(_) => DataType::I32,
            Self::I64(_) => DataType::I64,
        }
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        match self {
            Self::F32(v) => v.len(),
            Self::F16(v) => v.len(),
            Self::U8(v) => v.len(),
            Self::I8(v) => v.len(),
            Self::I32(v) => v.len(),
            Self::I64(v) => v.len(),
        }
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Cuts or fills up with zeros to `len` elements.
    pub fn resize(&mut self, len: usize) {
        match self {
            Self::F32(v) => v.resize(len, 0.0),
            Self::F16(v) => v.resize(len, f16::ZERO),
            Self::U8(v) => v.resize(len, 0),
            Self::I8(v) => v.resize(len, 0),
            Self::I32(v) => v.resize(len, 0),
            Self::I64(v) => v.resize(len, 0),
        }
    }

    /// Becomes the values of `from` at `part` (cut at its end), of its type, in the memory that it has where it can.
    pub fn copy_part(&mut self, from: &Self, part: std::ops::Range<usize>) {
        fn copy<T: Element>(to: &mut Values<T>, from: &[T], part: std::ops::Range<usize>) {
            to.clear();
            to.extend_from_slice(from.get(part.start..part.end.min(from.len())).unwrap_or_default());
        }
        if self.dtype() != from.dtype() {
            *self = Self::zeros(from.dtype(), 0);
        }
        match (self, from) {
            (Self::F32(to), Self::F32(from)) => copy(to, from, part),
            (Self::F16(to), Self::F16(from)) => copy(to, from, part),
            (Self::U8(to), Self::U8(from)) => copy(to, from, part),
            (Self::I8(to), Self::I8(from)) => copy(to, from, part),
            (Self::I32(to), Self::I32(from)) => copy(to, from, part),
            (Self::I64(to), Self::I64(from)) => copy(to, from, part),
            // The types are the same by now.
            _ => {}
        }
    }

    /// Overwrites the elements from `at` on with those of `from`; `false` if they are of another type or reach past the end.
    pub fn put(&mut self, at: usize, from: &Self) -> bool {
        fn put<T: Element>(to: &mut [T], at: usize, from: &[T]) -> bool {
            let to = at.checked_add(from.len()).and_then(|end| to.get_mut(at..end));
            to.map(|to| to.copy_from_slice(from)).is_some()
        }
        match (self, from) {
            (Self::F32(to), Self::F32(from)) => put(to, at, from),
            (Self::F16(to), Self::F16(from)) => put(to, at, from),
            (Self::U8(to), Self::U8(from)) => put(to, at, from),
            (Self::I8(to), Self::I8(from)) => put(to, at, from),
            (Self::I32(to), Self::I32(from)) => put(to, at, from),
            (Self::I64(to), Self::I64(from)) => put(to, at, from),
            _ => false,
        }
    }

    /// The element at `i` as a number; `None` past the end. For short tensors; hot loops match on the type once.
    pub fn get(&self, i: usize) -> Option<f32> {
        match self {
            Self::F32(v) => v.get(i).copied(),
            Self::F16(v) => v.get(i).map(|x| x.to_f32()),
            Self::U8(v) => v.get(i).map(|x| f32::from(*x)),
            Self::I8(v) => v.get(i).map(|x| f32::from(*x)),
            Self::I32(v) => v.get(i).map(|x| *x as f32),
            Self::I64(v) => v.get(i).map(|x| *x as f32),
        }
    }
}

/// A tensor with its values, row-major.
#[derive(Debug, Clone, PartialEq)]
pub struct Tensor {
    /// Name in the graph.
    pub name: String,
    /// Length of each dimension; their product is `data.len()`.
    pub shape: Vec<usize>,
    /// The values.
    pub data: TensorData,
}

impl Tensor {
    /// A tensor of zeros.
    pub fn zeros(name: impl Into<String>, dtype: DataType, shape: &[usize]) -> Self {
        Self { name: name.into(), shape: shape.to_vec(), data: TensorData::zeros(dtype, shape.iter().product()) }
    }

    /// A tensor of 32-bit floats.
    pub fn from_f32(name: impl Into<String>, shape: &[usize], values: Vec<f32>) -> Self {
        Self { name: name.into(), shape: shape.to_vec(), data: TensorData::F32(values.into()) }
    }
}
