//! Vigil: GStreamer elements that run, follow, draw and export video analytics beside the camera.

pub mod bundle;
pub mod draw;
pub mod elements;
pub mod engine;
pub mod export;
pub mod frame;
pub mod gstutil;
pub mod meta;
pub mod paths;
pub mod post;
pub mod pre;
pub mod result;
pub mod telemetry;
pub mod tracking;
