//! GStreamer video frames as the domain's [`FrameView`] and [`FrameMut`].

use gst_video::prelude::*;
use gst_video::{VideoColorMatrix, VideoColorRange, VideoFormat, VideoInfo, VideoOrientationMethod};

use crate::frame::{BadPlane, ColorMatrix, ColorRange, FrameInfo, FrameMut, FrameView, Orientation, PixelFormat};
use crate::result::BBox;

/// The raw formats that Vigil's elements take, in order of preference.
pub const FORMATS: [VideoFormat; 11] = [
    VideoFormat::Nv12,
    VideoFormat::I420,
    VideoFormat::Yv12,
    VideoFormat::Yuy2,
    VideoFormat::Rgb,
    VideoFormat::Bgr,
    VideoFormat::Rgbx,
    VideoFormat::Bgrx,
    VideoFormat::Rgba,
    VideoFormat::Bgra,
    VideoFormat::Gray8,
];

/// Caps of all frames that Vigil's elements read and draw on.
pub fn raw_caps() -> gst::Caps {
    gst_video::VideoCapsBuilder::new().format_list(FORMATS).build()
}

/// What the frames of `info` mean; `None` for formats that Vigil does not take.
pub fn frame_info(info: &VideoInfo) -> Option<FrameInfo> {
    let format = match info.format() {
        VideoFormat::Nv12 => PixelFormat::Nv12,
        VideoFormat::I420 => PixelFormat::I420,
        VideoFormat::Yv12 => PixelFormat::Yv12,
        VideoFormat::Yuy2 => PixelFormat::Yuy2,
        VideoFormat::Rgb => PixelFormat::Rgb,
        VideoFormat::Bgr => PixelFormat::Bgr,
        VideoFormat::Rgbx => PixelFormat::Rgbx,
        VideoFormat::Bgrx => PixelFormat::Bgrx,
        VideoFormat::Rgba => PixelFormat::Rgba,
        VideoFormat::Bgra => PixelFormat::Bgra,
        VideoFormat::Gray8 => PixelFormat::Gray8,
        _ => return None,
    };
    let range = match info.colorimetry().range() {
        VideoColorRange::Range0_255 => ColorRange::Full,
        _ => ColorRange::Limited,
    };
    let matrix = match info.colorimetry().matrix() {
        VideoColorMatrix::Bt709 => ColorMatrix::Bt709,
        VideoColorMatrix::Bt2020 => ColorMatrix::Bt2020,
        _ => ColorMatrix::Bt601,
    };
    Some(FrameInfo { format, width: info.width(), height: info.height(), range, matrix })
}

/// How a picture is turned to stand upright by a method other than `auto` and `custom`, which turn nothing.
pub fn orientation(method: VideoOrientationMethod) -> Orientation {
    let (swap, mirror_x, mirror_y) = match method {
        VideoOrientationMethod::_90r => (true, true, false),
        VideoOrientationMethod::_180 => (false, true, true),
        VideoOrientationMethod::_90l => (true, false, true),
        VideoOrientationMethod::Horiz => (false, true, false),
        VideoOrientationMethod::Vert => (false, false, true),
        VideoOrientationMethod::UlLr => (true, false, false),
        VideoOrientationMethod::UrLl => (true, true, true),
        _ => (false, false, false),
    };
    Orientation { swap, mirror_x, mirror_y }
}

/// What a buffer's `GstVideoCropMeta` leaves to be seen of a frame that is stored with `size`: the part in 0..1, and its
/// size in pixels. `None` without such a meta, or if it shows nothing.
pub fn visible(buffer: &gst::BufferRef, size: (u32, u32)) -> Option<(BBox, (u32, u32))> {
    let (x, y, w, h) = buffer.meta::<gst_video::VideoCropMeta>()?.rect();
    let (w, h) = (w.min(size.0.saturating_sub(x)), h.min(size.1.saturating_sub(y)));
    let (width, height) = (size.0 as f32, size.1 as f32);
    let part = BBox { x: x as f32 / width, y: y as f32 / height, w: w as f32 / width, h: h as f32 / height };
    (w > 0 && h > 0).then_some((part, (w, h)))
}

/// The order in which GStreamer stores the planes: YV12 has V before U.
fn plane_order(format: PixelFormat) -> [usize; 3] {
    if format == PixelFormat::Yv12 { [0, 2, 1] } else { [0, 1, 2] }
}

fn stride(frame_stride: &[i32], plane: usize) -> usize {
    frame_stride.get(plane).and_then(|s| usize::try_from(*s).ok()).unwrap_or(0)
}

/// Bytes of `plane` that belong to the frame: a buffer may end with its last pixel.
fn needed(info: &FrameInfo, plane: usize, stride: usize) -> usize {
    let rows = info.format.rows(plane, info.height);
    stride.saturating_mul(rows.saturating_sub(1)).saturating_add(info.format.row_bytes(plane, info.width))
}

/// Where `plane` (in GStreamer's order) lies in memory: its first byte, and how many bytes are mapped from there on; no
/// bytes if the frame is not of this format.
///
/// `VideoFrameRef::plane_data` trusts the offsets and strides of the buffer's `GstVideoMeta` and reaches past the end
/// of a buffer that is smaller than they say.
fn mapped(frame: &impl VideoFrameExt, info: &FrameInfo, plane: usize) -> (*mut u8, usize) {
    const NONE: (*mut u8, usize) = (std::ptr::null_mut(), 0);
    if frame_info(frame.info()).is_none_or(|found| found.format != info.format) || plane >= info.format.planes() {
        return NONE;
    }
    // SAFETY: the frame is mapped for as long as it exists.
    let raw = unsafe { &*frame.as_ptr() };
    // Without a meta all planes lie in one mapping, and the others are not set.
    let map = raw.map.get(if raw.meta.is_null() { 0 } else { plane });
    let (Some(map), Some(data)) = (map, raw.data.get(plane)) else { return NONE };
    let before = (*data as usize).checked_sub(map.data as usize);
    before.and_then(|before| map.size.checked_sub(before)).map_or(NONE, |len| (data.cast(), len))
}

/// The format of a stream of raw video; `None` for caps of anything else, and for formats that cannot be read.
pub fn stream(caps: &gst::CapsRef) -> Option<(VideoInfo, FrameInfo)> {
    let video = VideoInfo::from_caps(caps).ok()?;
    let info = frame_info(&video)?;
    Some((video, info))
}

/// A mapped frame to read.
///
/// # Errors
/// [`BadPlane`] if the mapped planes are smaller than the caps promise.
pub fn view<'a>(
    frame: &'a gst_video::VideoFrameRef<&gst::BufferRef>,
    info: FrameInfo,
) -> Result<FrameView<'a>, BadPlane> {
    let strides = frame.plane_stride();
    let mut planes: [(&[u8], usize); 3] = [(&[], 0); 3];
    for ((i, from), slot) in plane_order(info.format).into_iter().enumerate().zip(&mut planes) {
        let stride = stride(strides, from);
        let (data, len) = mapped(frame, &info, from);
        if !data.is_null() {
            // SAFETY: these bytes are mapped for reading as long as the frame is borrowed.
            let bytes = unsafe { std::slice::from_raw_parts(data, len.min(needed(&info, i, stride))) };
            *slot = (bytes, stride);
        }
    }
    FrameView::new(info, &planes)
}

/// A mapped frame to draw on.
///
/// # Errors
/// [`BadPlane`] if the mapped planes are smaller than the caps promise, or lie over each other.
pub fn view_mut<'a>(
    frame: &'a mut gst_video::VideoFrameRef<&mut gst::BufferRef>,
    info: FrameInfo,
) -> Result<FrameMut<'a>, BadPlane> {
    let strides = frame.plane_stride();
    let mut planes: [(&mut [u8], usize); 3] = std::array::from_fn(|_| (&mut [][..], 0));
    let mut taken: [(usize, usize); 3] = [(0, 0); 3];
    for (i, from) in plane_order(info.format).into_iter().enumerate() {
        let stride = stride(strides, from);
        let (data, len) = mapped(frame, &info, from);
        let len = len.min(needed(&info, i, stride));
        let (start, end) = (data as usize, data as usize + len);
        if data.is_null() || taken.iter().any(|(s, e)| start < *e && *s < end) {
            continue;
        }
        taken[i] = (start, end);
        // SAFETY: these bytes are mapped for writing as long as the frame is borrowed, and no other plane has them.
        planes[i] = (unsafe { std::slice::from_raw_parts_mut(data, len) }, stride);
    }
    FrameMut::new(info, planes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_format_maps_and_yv12_planes_come_as_y_u_v() {
        gst::init().unwrap();
        for format in FORMATS {
            let info = VideoInfo::builder(format, 5, 3).build().unwrap();
            let own = frame_info(&info).unwrap();
            let mut buffer = gst::Buffer::with_size(info.size()).unwrap();
            {
                let frame =
                    gst_video::VideoFrameRef::from_buffer_ref_writable(buffer.get_mut().unwrap(), &info).unwrap();
                let mut frame = frame;
                let mut own = view_mut(&mut frame, own).unwrap();
                for plane in 0..3 {
                    own.plane_mut(plane).0.fill(10 * (plane as u8 + 1));
                }
            }
            let frame = gst_video::VideoFrameRef::from_buffer_ref_readable(&buffer, &info).unwrap();
            let seen = view(&frame, own).unwrap();
            for plane in 0..own.format.planes() {
                assert!(seen.plane(plane).0.iter().all(|v| *v == 10 * (plane as u8 + 1)), "{format:?} {plane}");
            }
            if format == VideoFormat::Yv12 {
                assert_eq!(frame.comp_data(1).unwrap()[0], 20, "U");
                assert_eq!(frame.comp_data(2).unwrap()[0], 30, "V");
            }
        }
    }

    #[test]
    fn colorimetry_comes_from_the_caps() {
        gst::init().unwrap();
        let caps = "video/x-raw,format=NV12,width=64,height=48,colorimetry=1:3:5:1".parse::<gst::Caps>().unwrap();
        let info = frame_info(&VideoInfo::from_caps(&caps).unwrap()).unwrap();
        assert_eq!((info.range, info.matrix), (ColorRange::Full, ColorMatrix::Bt709));
    }
}
