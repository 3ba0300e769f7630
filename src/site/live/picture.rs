//! What is shown in place of a camera's picture while there is none.

use gst_video::{VideoFormat, VideoInfo};
use jiff::Timestamp;

use crate::draw;
use crate::gstutil::frame::{frame_info, view_mut};

/// Width and height where a camera has not sent a picture yet.
pub const SIZE: [u32; 2] = [640, 360];

/// The picture "no signal" of the camera `name`, which has been away since `since_ns` (Unix time, nanoseconds; 0: not told).
///
/// It has the format that `caps` ask for, so that those who take the camera's pictures need not change, and is NV12 of `size`
/// (zeros: [`SIZE`]) without caps, or with some that are not plain raw video. It can be published as often as one likes.
///
/// # Errors
/// A text, if a picture of this size cannot be made.
pub fn no_signal(size: [u32; 2], caps: Option<&gst::Caps>, name: &str, since_ns: u64) -> Result<gst::Sample, String> {
    let caps = caps.filter(|caps| plain(caps)).cloned();
    let caps = match caps {
        Some(caps) => caps,
        None => own_caps(size)?,
    };
    let info = VideoInfo::from_caps(&caps).map_err(|err| err.to_string())?;
    let own = frame_info(&info).ok_or("Vigil does not draw on this format")?;
    let mut buffer = gst::Buffer::with_size(info.size()).map_err(|err| err.to_string())?;
    let writable = buffer.get_mut().ok_or("a new buffer is not writable")?;
    let mut frame =
        gst_video::VideoFrameRef::from_buffer_ref_writable(writable, &info).map_err(|err| err.to_string())?;
    {
        let mut view = view_mut(&mut frame, own).map_err(|err| err.to_string())?;
        let since = since(since_ns);
        let lines: Vec<&str> = [name].into_iter().chain(since.as_deref()).collect();
        draw::card(&mut view, "NO SIGNAL", &lines).map_err(|err| err.to_string())?;
    }
    drop(frame);
    Ok(gst::Sample::builder().buffer(&buffer).caps(&caps).build())
}

/// "since 2026-11-26 12:03:45 UTC"; `None` if it is not known.
fn since(since_ns: u64) -> Option<String> {
    let time = Timestamp::from_nanosecond(i128::from(since_ns)).ok().filter(|_| since_ns > 0)?;
    Some(time.strftime("since %Y-%m-%d %H:%M:%S UTC").to_string())
}

/// Whether it is raw video in plain memory, in a format that we draw on.
fn plain(caps: &gst::Caps) -> bool {
    let memory = caps.features(0).is_none_or(|features| features.contains("memory:SystemMemory"));
    memory && caps.is_fixed() && VideoInfo::from_caps(caps).is_ok_and(|info| frame_info(&info).is_some())
}

fn own_caps([width, height]: [u32; 2]) -> Result<gst::Caps, String> {
    let [width, height] = if width == 0 || height == 0 { SIZE } else { [width, height] };
    let info = VideoInfo::builder(VideoFormat::Nv12, width, height).build().map_err(|err| err.to_string())?;
    info.to_caps().map_err(|err| err.to_string())
}
