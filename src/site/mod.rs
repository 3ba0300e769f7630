//! A site: many cameras from one description file.
//!
//! ```text
//! site.toml ─▶ read ─▶ Description ─▶ check ─▶ resolve ─▶ Plan ─▶ diff ─▶ live::Site ─▶ cameras, outputs
//!              │        (types)        │                    │               (GStreamer)
//!              ▼                       ▼                    ▼
//!            Places                 Problems          launch line, graph
//! ```
//!
//! Everything but [`live`] is plain values: no GStreamer, no clock, no network. A [`Plan`](plan::Plan) says all that the running
//! pipelines are made from; two plans have a [`diff`], and only what it names is touched.

pub mod again;
pub mod backoff;
pub mod catalog;
pub mod check;
pub mod convert;
pub mod description;
pub mod diff;
pub mod events;
pub mod folders;
pub mod import;
pub mod live;
pub mod merge;
pub mod output;
pub mod plan;
pub mod problem;
pub mod read;
pub mod report;
pub mod resolve;
pub mod schema;
pub mod show;
pub mod standing;
pub mod status;
pub mod surroundings;
pub mod units;
pub mod watch;
