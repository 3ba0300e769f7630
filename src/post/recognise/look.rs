//! What a rule looks at: the model's tensors, what is embedded in it, and what is known from elsewhere.

use super::hints::Hints;
use crate::bundle::contract::{Color, Layout};
use crate::engine::{DataType, Spec, TensorSpec};
use crate::post::metadata::Metadata;
use crate::post::view;

/// The picture input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Frame {
    pub layout: Layout,
    /// Gray, or RGB for three channels of whatever order.
    pub color: Color,
    pub width: u32,
    pub height: u32,
    /// Pictures of a run, if their number is fixed.
    pub batch: Option<usize>,
    /// Element type.
    pub dtype: DataType,
}

/// What a rule looks at.
pub(super) struct Look<'a> {
    pub spec: &'a Spec,
    pub meta: &'a Metadata,
    pub hints: &'a Hints,
    pub frame: Frame,
}

impl<'a> Look<'a> {
    /// The outputs, in the graph's order.
    pub fn outputs(&self) -> &'a [TensorSpec] {
        &self.spec.outputs
    }

    /// The output or input of one of these names, or of one of them with TensorFlow's `:0`.
    pub fn named(&self, tensors: &'a [TensorSpec], names: &[&str]) -> Option<&'a TensorSpec> {
        tensors.iter().find(|t| names.contains(&t.name.strip_suffix(":0").unwrap_or(&t.name)))
    }

    /// The output of one of these names.
    pub fn output(&self, names: &[&str]) -> Option<&'a TensorSpec> {
        self.named(self.outputs(), names)
    }

    /// The input of one of these names.
    pub fn input(&self, names: &[&str]) -> Option<&'a TensorSpec> {
        self.named(&self.spec.inputs, names)
    }

    /// The last `N` dimensions if those before them can be the batch: 1, free, or the input's number of pictures.
    pub fn dims<const N: usize>(&self, tensor: &TensorSpec) -> Option<[Option<usize>; N]> {
        let (before, last) = tensor.shape.split_at_checked(tensor.shape.len().checked_sub(N)?)?;
        let batch = |d: &Option<usize>| d.is_none_or(|d| d == 1 || Some(d) == self.frame.batch);
        if before.iter().all(batch) { last.try_into().ok() } else { None }
    }

    /// The dimensions of a list of rows, unless it is a vector with its batch.
    pub fn rows(&self, tensor: &TensorSpec) -> Option<[Option<usize>; 2]> {
        if self.vector(tensor).is_some() { None } else { self.dims::<2>(tensor) }
    }

    /// The length of a vector: one dimension other than 1, after those that can be the batch; `Some(None)` if it is free.
    pub fn vector(&self, tensor: &TensorSpec) -> Option<Option<usize>> {
        let shape = match tensor.shape.as_slice() {
            [first, rest @ ..] if !rest.is_empty() && first.is_none_or(|d| Some(d) == self.frame.batch) => rest,
            shape => shape,
        };
        let mut long = shape.iter().filter(|d| **d != Some(1));
        match (long.next(), long.next()) {
            (Some(length), None) => Some(*length),
            _ => None,
        }
    }

    /// How many labels are embedded.
    pub fn names(&self) -> Option<usize> {
        self.meta.names.as_ref().map(Vec::len)
    }

    /// How many classes a row of `n` values has after `head` others; `None` if there is none, or the embedded names
    /// speak against it.
    pub fn classes(&self, n: Option<usize>, head: usize) -> Option<usize> {
        let classes = n.and_then(|n| n.checked_sub(head)).filter(|c| *c > 0)?;
        self.names().is_none_or(|names| names == classes).then_some(classes)
    }

    /// Cells of the input's grids at these strides, all together; sides rounded down.
    pub fn cells(&self, strides: &[u32]) -> usize {
        let (w, h) = (self.frame.width, self.frame.height);
        strides.iter().map(|s| (w / s) as usize * (h / s) as usize).sum()
    }

    /// The same, sides rounded up.
    pub fn cells_up(&self, strides: &[u32]) -> usize {
        let (w, h) = (self.frame.width, self.frame.height);
        strides.iter().map(|s| w.div_ceil(*s) as usize * h.div_ceil(*s) as usize).sum()
    }

    /// Whether a length is that of the usual grid (strides 8, 16, 32, and 64 too) with `per_cell` boxes a cell.
    pub fn is_grid(&self, length: Option<usize>, per_cell: usize) -> bool {
        length.is_some_and(|n| {
            n > 0 && [&[8, 16, 32][..], &[8, 16, 32, 64]].iter().any(|strides| self.cells(strides) * per_cell == n)
        })
    }

    /// `160x160`.
    pub fn size(&self) -> String {
        format!("{}x{}", self.frame.width, self.frame.height)
    }
}

/// Whether a tensor holds integers of more than one byte, or bytes.
pub(super) fn is_integer(tensor: &TensorSpec) -> bool {
    !matches!(tensor.dtype, DataType::F32 | DataType::F16)
}

/// Whether a length can be `expected`.
pub(super) fn may_be(length: Option<usize>, expected: usize) -> bool {
    view::may_be(length, expected)
}
