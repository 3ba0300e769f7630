//! DeepStream's configuration, turned into a description and bundles.
//!
//! ```text
//! deepstream-app's file ─▶ config ─▶ app ─▶ Imported { Description, models, findings } ─▶ emit ─▶ site.toml
//!   its nvinfer files   ─▶ config ─▶ nvinfer ─▶ Infer ─▶ a bundle, made by `vigil import`
//! ```
//!
//! Whoever reads a key takes it out of its [`config::Group`]; what is left over at the end nobody knew, and is told as well, so
//! that nothing of a file is dropped in silence. docs/deepstream.md says for people what goes where.
//!
//! Sources: DeepStream's guide (reference application, Gst-nvinfer, Gst-nvtracker, Gst-nvdsanalytics), its `apps-common`
//! configuration parsers, and DeepStream-Yolo's examples.

mod analytics;
pub mod app;
pub mod config;
pub mod emit;
pub mod findings;
mod gie;
mod known;
pub mod nvinfer;
mod sink;
mod source;
mod tracker;
mod uri;
mod yaml;
