//! Vigil's own answer: the same steps as those of an element's job.

use gst_video::{VideoConverter, VideoFormat, VideoFrameRef, VideoInfo};
use gstvigil::engine::Io;
use gstvigil::frame::FrameView;
use gstvigil::gstutil::frame::{FORMATS, frame_info, view};
use gstvigil::model::Model;
use gstvigil::parity::Answer;
use gstvigil::post::{Scratch, Thresholds};
use gstvigil::pre::{Border, Preprocessor};
use gstvigil::result::{FrameResult, Freshness};

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

    /// What the model says about a frame.
    pub fn analyse(&mut self, frame: &Frame) -> Result<Answer, Failure> {
        let (width, height) = (u32::try_from(frame.picture.width)?, u32::try_from(frame.picture.height)?);
        let rgb = VideoInfo::builder(VideoFormat::Rgb, width, height).build()?;
        let (info, buffer) = self.converted(&rgb, packed(frame, &rgb)?)?;
        let mapped = VideoFrameRef::from_buffer_ref_readable(&buffer, &info)?;
        let seen = view(&mapped, frame_info(&info).ok_or("a format that Vigil does not take")?)?;
        self.run(&seen, (width, height))
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
            .field("framerate", gst::Fraction::new(0, 1))
            .build();
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
        self.model.lanes().engine().run(&mut self.io)?;
        let mut result = FrameResult {
            frame: 0,
            pts_ns: None,
            running_time_ns: None,
            utc_ns: 0,
            width,
            height,
            model: None,
            freshness: Freshness::Fresh,
            objects: Vec::new(),
            classes: Vec::new(),
            embedding: None,
        };
        post.run(&self.io.outputs, &self.thresholds, &geometry, &mut self.scratch, &mut result)?;
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
