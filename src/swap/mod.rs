//! Replacing a model while video runs.
//!
//! ```text
//! requested ─▶ staged ─▶ verified ─▶ loaded ─▶ proven ─▶ [shadowed] ─▶ activated ─▶ probation ─▶ confirmed
//!                 └──────────┴─────────┴────────┴────────────┴─▶ rejected   └──────────┴─▶ rolled-back
//! ```
//!
//! [`Swapper`] carries requests out, one at a time, on a thread of its own; what it needs of the element is [`Host`].
//! The first load and the proof happen in another process, whatever the isolation of the active model's engine: a model
//! that crashes the runtime is rejected like any other that is bad.

pub mod agreement;
pub mod descent;
#[cfg(test)]
mod fake_host;
pub mod look;
pub mod offline;
pub mod order;
pub mod phase;
pub mod prove;
pub mod record;
mod refusal;
pub mod rules;
mod steps;
pub mod swapper;
mod together;
pub mod trial;
mod words;

pub use descent::{Below, Descent, Failing};
pub use order::{Host, Order, Terms};
pub use phase::{Cause, Phase, Reason};
pub use record::{History, Identity, Record};
pub use rules::Rules;
pub use swapper::Swapper;
pub use trial::{Trial, TrialReport, Verdict};
