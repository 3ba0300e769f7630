//! When a chain of elements is trusted with the frames, when it is let go of, and when another one is tried.

mod backoff;
mod line;
pub mod policy;
pub mod stats;
mod time;
mod values;

pub use line::{Arrival, Expired, Leaving, Line, Out, Why};
pub use policy::Policy;
pub use stats::{Counters, Left};
pub use values::{Action, Cause, Change, Mode, Settings, Snapshot};
