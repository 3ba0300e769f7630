//! Frame results → records and events → files, brokers, servers.
//!
//! [`select`] picks, [`record`] and [`event`] make lines of JSON, a [`route`] takes them: through a [`writer`]'s queue in memory into a
//! [`sink`], or through a [`spool`] on disk to a [`remote`] receiver. [`uri`] names where to. Documented for users in
//! `docs/records.md` and `docs/export.md`.

pub mod address;
mod backoff;
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
