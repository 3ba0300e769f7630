//! When a chain of elements is trusted with the frames, when it is let go of, and when another one is tried.

mod backoff;
pub mod policy;
pub mod stats;
mod time;
mod values;

pub use policy::Policy;
pub use stats::Counters;
pub use values::{Action, Cause, Change, Mode, Settings, Snapshot};
