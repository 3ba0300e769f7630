//! Latency histograms, processor time, and the wall clock.

pub mod device;
pub mod figures;
pub mod histogram;
mod processor;

pub use histogram::{Histogram, Latencies};
pub use processor::processor_time;

/// Wall clock, nanoseconds since 1970 UTC; 0 if the clock is set before that.
pub fn utc_now_ns() -> u64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |d| u64::try_from(d.as_nanos()).unwrap_or(u64::MAX))
}
