//! Latency histograms and processor time.

pub mod histogram;
mod processor;

pub use histogram::Histogram;
pub use processor::processor_time;
