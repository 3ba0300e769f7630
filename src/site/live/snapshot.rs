//! A picture as JPEG.

use std::time::Duration;

use super::feed::Frame;

/// Compresses a picture with the JPEG encoder that GStreamer ranks highest. It takes some milliseconds on the caller's thread:
/// not one that carries frames.
///
/// # Errors
/// A text that says why, also if it takes longer than `limit`.
pub fn jpeg(frame: &Frame, limit: Duration) -> Result<Vec<u8>, String> {
    if frame.sample.buffer().is_none() || frame.sample.caps().is_none() {
        return Err("there is no picture to compress".into());
    }
    let limit = gst::ClockTime::try_from(limit).ok();
    let caps = gst::Caps::new_empty_simple("image/jpeg");
    let sample = gst_video::convert_sample(&frame.sample, &caps, limit)
        .map_err(|err| format!("the picture cannot be compressed: {err}"))?;
    let map = sample.buffer().and_then(|buffer| buffer.map_readable().ok());
    map.map(|map| map.to_vec()).ok_or_else(|| "the JPEG encoder gave no picture".into())
}
