//! When a chain of elements is trusted with the frames, when it is let go of, and when another one is tried.

pub mod policy;
pub mod stats;
mod values;

pub use policy::{Policy, Snapshot};
pub use stats::Counters;
pub use values::{Action, Cause, Change, Mode, Settings};
