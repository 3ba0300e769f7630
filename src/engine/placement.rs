//! Which of a model's nodes a provider runs, and which it leaves to the processor.
//!
//! A provider need not know every operator. What it leaves over, ONNX Runtime runs on the CPU and says nothing of it. Some of
//! that is as it should be: arithmetic on shapes is quicker there, and the runtime puts it there on purpose. The rest costs a
//! copy of tensors to and fro in every run, so whoever asked for the provider is told.

use std::collections::BTreeMap;
use std::ffi::{CStr, c_char};
use std::ptr;

use ort::AsPointer;
use ort::session::Session;
use ort::sys::{OrtEpAssignedNode, OrtEpAssignedSubgraph, OrtStatusPtr};
use serde::{Deserialize, Serialize};

use super::onnx::check;

/// The setting that makes the runtime keep what [`Placement::of`] reads.
pub(super) const RECORD: (&str, &str) = ("session.record_ep_graph_assignment_info", "1");

/// How the runtime calls its own provider.
const CPU: &str = "CPUExecutionProvider";

/// Operators that compute shapes in most exported models.
const OF_SHAPES: [&str; 24] = [
    "Add",
    "Cast",
    "Ceil",
    "Concat",
    "Constant",
    "ConstantOfShape",
    "Div",
    "Equal",
    "Floor",
    "Gather",
    "Identity",
    "Max",
    "Min",
    "Mod",
    "Mul",
    "Range",
    "ReduceProd",
    "Reshape",
    "Shape",
    "Slice",
    "Squeeze",
    "Sub",
    "Unsqueeze",
    "Where",
];

/// How the nodes of a model, as the runtime has optimised it, are shared out.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Placement {
    /// Nodes that the provider runs.
    pub on_provider: usize,
    /// Nodes that the CPU runs, by operator, with their numbers.
    pub on_cpu: BTreeMap<String, usize>,
}

impl Placement {
    /// What the runtime has recorded of a session that was made with [`RECORD`].
    ///
    /// # Errors
    /// The runtime's own text.
    pub(super) fn of(session: &Session) -> Result<Self, String> {
        let mut placement = Self::default();
        for part in parts(session)? {
            for operator in operators(part)? {
                match name(part, ort::api().EpAssignedSubgraph_GetEpName)? == CPU {
                    true => *placement.on_cpu.entry(operator).or_default() += 1,
                    false => placement.on_provider += 1,
                }
            }
        }
        Ok(placement)
    }

    /// All nodes that the CPU runs.
    pub fn nodes_on_cpu(&self) -> usize {
        self.on_cpu.values().sum()
    }

    /// What a user of `provider` should know: which nodes it leaves to the CPU, if any of them does more than arithmetic on
    /// shapes.
    pub fn warning(&self, provider: &str) -> Option<String> {
        let work: Vec<_> = self.on_cpu.iter().filter(|(name, _)| !OF_SHAPES.contains(&name.as_str())).collect();
        if work.is_empty() {
            return None;
        }
        let names = work.iter().map(|(name, count)| format!("{name} {count}")).collect::<Vec<_>>().join(", ");
        let (nodes, all) =
            (work.iter().map(|(_, count)| **count).sum::<usize>(), self.on_provider + self.nodes_on_cpu());
        Some(format!(
            "{provider} does not run {nodes} of the model's {all} nodes ({names}): the CPU does, and tensors are copied to and \
             fro in every run. Export the model with operators that {provider} has, and compare providers with vigil bench"
        ))
    }
}

/// The runtime's own list of parts of the graph, each on one provider.
fn parts(session: &Session) -> Result<Vec<*const OrtEpAssignedSubgraph>, String> {
    let (mut list, mut count) = (ptr::null(), 0);
    // SAFETY: the session is alive, and both pointers are valid for writing.
    check(unsafe { (ort::api().Session_GetEpGraphAssignmentInfo)(session.ptr(), &mut list, &mut count) })?;
    // SAFETY: the call succeeded: the list has `count` entries, which live as long as the session.
    Ok(unsafe { listed(list, count) })
}

/// The operators of a part's nodes.
fn operators(part: *const OrtEpAssignedSubgraph) -> Result<Vec<String>, String> {
    let (mut list, mut count) = (ptr::null(), 0);
    // SAFETY: `part` is from the session's list, and both pointers are valid for writing.
    check(unsafe { (ort::api().EpAssignedSubgraph_GetNodes)(part, &mut list, &mut count) })?;
    // SAFETY: as above.
    let nodes: Vec<*const OrtEpAssignedNode> = unsafe { listed(list, count) };
    nodes.into_iter().map(|node| name(node, ort::api().EpAssignedNode_GetOperatorType)).collect()
}

/// A copy of a list of the runtime's, which may be null where it is empty.
///
/// # Safety
/// `list` is null or has `count` entries.
unsafe fn listed<T>(list: *const *const T, count: usize) -> Vec<*const T> {
    if list.is_null() {
        return Vec::new();
    }
    // SAFETY: the caller's promise.
    unsafe { std::slice::from_raw_parts(list, count) }.to_vec()
}

/// A text that the runtime has about `thing`.
fn name<T>(
    thing: *const T,
    get: unsafe extern "system" fn(*const T, *mut *const c_char) -> OrtStatusPtr,
) -> Result<String, String> {
    let mut text = ptr::null();
    // SAFETY: `thing` is from the session's lists, and the pointer is valid for writing.
    check(unsafe { get(thing, &mut text) })?;
    if text.is_null() {
        return Ok(String::new());
    }
    // SAFETY: the call succeeded: the text is NUL-terminated and lives as long as the session.
    Ok(unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_on_the_cpu_is_told_and_arithmetic_on_shapes_is_not() {
        let on_cpu = |list: &[(&str, usize)]| list.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect();
        let shapes = Placement { on_provider: 90, on_cpu: on_cpu(&[("Gather", 2), ("Shape", 3)]) };
        assert_eq!((shapes.nodes_on_cpu(), shapes.warning("cuda")), (5, None));
        let work = Placement { on_cpu: on_cpu(&[("Gather", 2), ("QLinearConv", 7), ("TopK", 1)]), ..shapes };
        let text = work.warning("cuda").unwrap();
        assert!(text.starts_with("cuda does not run 8 of the model's 100 nodes (QLinearConv 7, TopK 1):"), "{text}");
    }
}
