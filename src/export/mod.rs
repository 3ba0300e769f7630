//! Frame results → records → sinks.
//!
//! [`record`] turns a frame result into one JSON line, [`writer`] queues lines and hands them to a [`sink`] on a thread
//! of its own, [`uri`] names the sink. Documented for users in `docs/records.md`.

pub mod address;
pub mod destination;
pub mod event;
pub mod file;
pub mod format;
pub mod fs;
pub mod http;
#[cfg(feature = "kafka")]
pub mod kafka;
pub mod kind;
pub mod mqtt;
pub mod receiver;
pub mod record;
pub mod remote;
pub mod route;
pub mod select;
pub mod shipper;
pub mod sink;
pub mod spool;
pub mod stdout;
mod text;
pub mod tls;
pub mod units;
pub mod uri;
pub mod writer;

pub use record::{Context, Record};
pub use sink::{Now, Sink, SinkError};
pub use uri::SinkUri;
pub use writer::{Drained, Exporter, Stats};
