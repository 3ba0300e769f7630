//! Times of buffers, as the domain modules want them.

/// Running time of `pts` in `segment` in nanoseconds; `None` without a PTS, outside the segment, or if the segment is
/// not in time.
pub fn running_time_ns(segment: &gst::Segment, pts: Option<gst::ClockTime>) -> Option<u64> {
    let segment = segment.downcast_ref::<gst::ClockTime>()?;
    segment.to_running_time(pts?).map(gst::ClockTime::nseconds)
}

/// Wall clock, nanoseconds since 1970 UTC; 0 if the clock is set before that.
pub fn utc_now_ns() -> u64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |d| u64::try_from(d.as_nanos()).unwrap_or(u64::MAX))
}
