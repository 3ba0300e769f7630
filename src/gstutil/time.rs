//! Times of buffers, as the domain modules want them.

/// Running time of `pts` in `segment` in nanoseconds; `None` without a PTS, outside the segment, or if the segment is
/// not in time.
pub fn running_time_ns(segment: &gst::Segment, pts: Option<gst::ClockTime>) -> Option<u64> {
    let segment = segment.downcast_ref::<gst::ClockTime>()?;
    segment.to_running_time(pts?).map(gst::ClockTime::nseconds)
}
