//! Frame results → records → sinks.
//!
//! [`record`] turns a frame result into one JSON line, [`writer`] queues lines and hands them to a [`sink`] on a thread
//! of its own, [`uri`] names the sink. Documented for users in `docs/records.md`.

pub mod address;
pub mod file;
pub mod fs;
pub mod kind;
pub mod record;
pub mod remote;
pub mod sink;
pub mod stdout;
pub mod units;
pub mod uri;
pub mod writer;

pub use record::{Context, Record};
pub use sink::{Now, Sink, SinkError};
pub use uri::SinkUri;
pub use writer::{Drained, Exporter, Stats};
