//! Latency histograms.

pub mod histogram;

pub use histogram::Histogram;
