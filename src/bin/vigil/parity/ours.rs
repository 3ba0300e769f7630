//! Vigil's own answer: the same steps as those of an element's job.

use gst_video::prelude::*;
use gst_video::{VideoConverter, VideoFormat, VideoFrameRef, VideoInfo};
use gstvigil::engine::Io;
use gstvigil::frame::FrameView;
use gstvigil::gstutil::frame::{FORMATS, frame_info, view};
use gstvigil::model::Model;
use gstvigil::parity::Answer;
use gstvigil::post::{Scratch, Thresholds};
use gstvigil::pre::{Border, Preprocessor};
use gstvigil::result::{AbsentReason, FrameResult, Freshness};

use super::Failure;
use super::frames::Frame;

/// A model with what one run after another needs.
pub struct Ours {
    model: Model,
    thresholds: Thresholds,
    format: VideoFormat,
    pre: Preprocessor,
    io: Io,
    border: Border,
    scratch: Scratch,
}

/// A frame in the format that Vigil gets.
pub struct Converted {
    info: VideoInfo,
    buffer: gst::Buffer,
}

impl Converted {
    /// Its planes without padding.
    pub fn pixels(&self) -> Result<Vec<u8>, Failure> {
        let mapped = VideoFrameRef::from_buffer_ref_readable(&self.buffer, &self.info)?;
        let own = frame_info(&self.info).ok_or("a format that Vigil does not take")?;
        let mut pixels = Vec::with_capacity(self.info.size());
        // In the order in which they are stored.
        for plane in 0..own.format.planes() {
            let stride = usize::try_from(*mapped.plane_stride().get(plane).ok_or("a frame lacks a plane")?)?;
            let bytes = own.format.row_bytes(plane, own.width);
            let data = mapped.plane_data(plane as u32)?;
            data.chunks(stride).take(own.format.rows(plane, own.height)).for_each(|row| {
                pixels.extend_from_slice(row.get(..bytes).unwrap_or(row));
            });
        }
        Ok(pixels)
    }
}

impl Ours {
    /// Frames will be converted to `format` first.
    pub fn new(model: Model, thresholds: Thresholds, format: &str) -> Result<Self, Failure> {
        let found = FORMATS.into_iter().find(|f| f.to_str() == format);
        let names = || FORMATS.map(|f| f.to_str().to_string()).join(", ");
        let format = found.ok_or_else(|| format!("--format {format}: Vigil takes {}", names()))?;
        let pre = Preprocessor::new(model.input().clone());
        let io = model.io();
        Ok(Self { model, thresholds, format, pre, io, border: Border::default(), scratch: Scratch::default() })
    }

    /// The frame in the format that Vigil gets.
    pub fn convert(&self, frame: &Frame) -> Result<Converted, Failure> {
        let (width, height) = (u32::try_from(frame.picture.width)?, u32::try_from(frame.picture.height)?);
        let rgb = VideoInfo::builder(VideoFormat::Rgb, width, height).build()?;
        let (info, buffer) = self.converted(&rgb, packed(frame, &rgb)?)?;
        Ok(Converted { info, buffer })
    }

    /// What the model says about a frame.
    pub fn analyse(&mut self, frame: &Converted) -> Result<Answer, Failure> {
        let mapped = VideoFrameRef::from_buffer_ref_readable(&frame.buffer, &frame.info)?;
        let seen = view(&mapped, frame_info(&frame.info).ok_or("a format that Vigil does not take")?)?;
        self.run(&seen, (frame.info.width(), frame.info.height()))
    }

    /// The frame as a camera of that format would give it.
    fn converted(&self, rgb: &VideoInfo, buffer: gst::Buffer) -> Result<(VideoInfo, gst::Buffer), Failure> {
        if self.format == VideoFormat::Rgb {
            return Ok((rgb.clone(), buffer));
        }
        let caps = gst::Caps::builder("video/x-raw")
            .field("format", self.format.to_str())
            .field("width", rgb.width() as i32)
            .field("height", rgb.height() as i32)
            .field("framerate", gst::Fraction::new(0, 1));
        // What OpenCV reads; GStreamer's choice would depend on the size.
        let is_yuv = gst_video::VideoFormatInfo::from_format(self.format).is_yuv();
        let caps = if is_yuv { caps.field("colorimetry", "bt601") } else { caps }.build();
        let info = VideoInfo::from_caps(&caps)?;
        let converter = VideoConverter::new(rgb, &info, None)?;
        let mut target = gst::Buffer::with_size(info.size())?;
        let target_ref = target.get_mut().ok_or("a new buffer is shared")?;
        let from = VideoFrameRef::from_buffer_ref_readable(&buffer, rgb)?;
        converter.frame_ref(&from, &mut VideoFrameRef::from_buffer_ref_writable(target_ref, &info)?);
        Ok((info, target))
    }

    fn run(&mut self, frame: &FrameView, (width, height): (u32, u32)) -> Result<Answer, Failure> {
        let post = self.model.post();
        let tensor = self.io.inputs.get_mut(post.image_input()).ok_or("the model has no input for pictures")?;
        let geometry = self.pre.run(frame, None, tensor, &mut self.border)?;
        self.model.lanes().engine().run(&mut self.io, None)?;
        let mut result =
            FrameResult { freshness: Freshness::Fresh, ..FrameResult::absent(AbsentReason::NoModel, (width, height)) };
        let place = (0, self.model.batch_of(1));
        post.run_item(&self.io.outputs, place, &self.thresholds, &geometry, &mut self.scratch, &mut result)?;
        Ok(Answer::of_result(&result))
    }
}

/// The frame's pixels with the stride that GStreamer wants.
fn packed(frame: &Frame, info: &VideoInfo) -> Result<gst::Buffer, Failure> {
    let mut buffer = gst::Buffer::with_size(info.size())?;
    let stride = info.stride().first().copied().and_then(|s| usize::try_from(s).ok()).ok_or("a frame has no stride")?;
    {
        let mut map = buffer.get_mut().ok_or("a new buffer is shared")?.map_writable()?;
        let rows = frame.picture.rgb.chunks_exact(frame.picture.width * 3);
        for (row, to) in rows.zip(map.chunks_mut(stride)) {
            if let Some(to) = to.get_mut(..row.len()) {
                to.copy_from_slice(row);
            }
        }
    }
    Ok(buffer)
}
