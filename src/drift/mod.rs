//! Whether a model is still right, told without any labels: by how its predictions are distributed.
//!
//! ```text
//! FrameResult ─▶ Monitor ── windows ─▶ Baseline ─▶ Test ─▶ Report (state, score, evidence)
//!                   │
//!                   └─ Summary (the last hour) ─▶ Fleet: this camera against its peers
//! FrameResult ─▶ Sampler: is this frame worth keeping?
//! ```
//!
//! [`Monitor`] compares a camera with its own past, [`Fleet`] with other cameras at the same time, and [`Sampler`] picks
//! frames that somebody should look at. None of them knows the truth: what they report is that the predictions have changed,
//! which a changed scene does as well as a broken camera or model.

mod baseline;
mod feature;
mod monitor;
mod peers;
mod psi;
pub mod references;
mod report;
pub mod ring;
mod sampler;
mod sequential;
mod summary;
mod test;

pub use monitor::{Config, Monitor, OutOfRange, Recent, RestoreError};
pub use peers::{CameraKey, Fleet, FleetConfig, PeerReport, PeerState, Stretch};
pub use psi::{psi, psi_of};
pub use report::{AspectReport, Change, Report, State};
pub use sampler::{SampleReason, Sampler, SamplerConfig};
pub use summary::{AREA_BINS, Aspect, CONFIDENCE_BINS, COUNT_EDGES, MAX_LABELS, Summary};
