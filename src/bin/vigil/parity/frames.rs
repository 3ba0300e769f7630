//! Pictures and frames of videos as RGB, decoded by GStreamer.

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use gst::prelude::*;
use gst_video::prelude::*;
use gst_video::{VideoFrameRef, VideoInfo};
use gstvigil::parity::{Picture, bitmap};

use super::Failure;

/// A decoded picture.
pub struct Frame {
    /// The file's name, with the frame's number where it has several.
    pub name: String,
    pub picture: Picture,
}

/// What a folder's pictures are called.
const PICTURES: [&str; 5] = ["jpg", "jpeg", "png", "bmp", "webp"];

/// The files that the arguments name; a folder stands for the pictures in it.
pub fn files(inputs: &[PathBuf]) -> Result<Vec<PathBuf>, Failure> {
    let mut files = Vec::new();
    for input in inputs {
        if input.is_dir() {
            let is_picture = |path: &PathBuf| {
                let extension = path.extension().and_then(|e| e.to_str()).map(str::to_ascii_lowercase);
                extension.is_some_and(|e| PICTURES.contains(&e.as_str()))
            };
            let mut found: Vec<PathBuf> = std::fs::read_dir(input)?.flatten().map(|e| e.path()).collect();
            found.retain(is_picture);
            found.sort();
            files.extend(found);
        } else if input.is_file() {
            files.push(input.clone());
        } else {
            return Err(format!("{}: no such file or folder", input.display()).into());
        }
    }
    Ok(files)
}

/// The frames of a file, every `every`th one.
pub fn of_file(path: &Path, every: u32) -> Result<Box<dyn Iterator<Item = Result<Frame, Failure>>>, Failure> {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    if path.extension().is_some_and(|e| e.eq_ignore_ascii_case("bmp")) {
        let picture = bitmap(&std::fs::read(path)?);
        let picture = picture.ok_or_else(|| format!("{}: not an uncompressed bitmap of 24 bits", path.display()))?;
        return Ok(Box::new(std::iter::once(Ok(Frame { name, picture }))));
    }
    Ok(Box::new(Decoder::open(path, name, every)?))
}

/// The frames of one file.
struct Decoder {
    pipeline: gst::Pipeline,
    frames: Receiver<Option<Picture>>,
    name: String,
    count: u64,
    every: u64,
    ended: bool,
}

impl Decoder {
    /// Starts to decode; hands out every `every`th frame.
    fn open(path: &Path, name: String, every: u32) -> Result<Self, Failure> {
        let line =
            "filesrc name=file ! decodebin ! videoconvert ! video/x-raw,format=RGB ! fakesink name=end sync=false";
        let pipeline = gst::parse::launch(line)?.downcast::<gst::Pipeline>().map_err(|_| "the line is no pipeline")?;
        let element = |name| pipeline.by_name(name).ok_or("the pipeline lost an element");
        element("file")?.set_property("location", path);
        let pad = element("end")?.static_pad("sink").ok_or("fakesink has no pad")?;
        let (send, frames) = sync_channel(2);
        deliver(&pad, send);
        // Why it fails is on the bus.
        let _ = pipeline.set_state(gst::State::Playing);
        Ok(Self { pipeline, frames, name, count: 0, every: u64::from(every), ended: false })
    }

    /// The next frame; `None` at the end.
    fn pull(&mut self) -> Result<Option<Picture>, Failure> {
        let bus = self.pipeline.bus().ok_or("the pipeline has no bus")?;
        loop {
            match self.frames.recv_timeout(Duration::from_millis(50)) {
                Ok(picture) => return Ok(picture),
                Err(RecvTimeoutError::Disconnected) => return Ok(None),
                Err(RecvTimeoutError::Timeout) => {
                    if let Some(message) = bus.pop_filtered(&[gst::MessageType::Error])
                        && let gst::MessageView::Error(error) = message.view()
                    {
                        return Err(format!("{}: {}", self.name, error.error()).into());
                    }
                }
            }
        }
    }
}

impl Iterator for Decoder {
    type Item = Result<Frame, Failure>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.ended {
            match self.pull() {
                Ok(Some(picture)) => {
                    let number = self.count;
                    self.count += 1;
                    if number.is_multiple_of(self.every) {
                        let name = if number == 0 { self.name.clone() } else { format!("{}#{number}", self.name) };
                        return Some(Ok(Frame { name, picture }));
                    }
                }
                Ok(None) => self.ended = true,
                Err(error) => {
                    self.ended = true;
                    return Some(Err(error));
                }
            }
        }
        None
    }
}

impl Drop for Decoder {
    fn drop(&mut self) {
        // Lets a streaming thread go that waits to hand over a frame.
        let (_, closed) = sync_channel(1);
        self.frames = closed;
        let _ = self.pipeline.set_state(gst::State::Null);
    }
}

/// Sends the frames that reach a pad, and `None` at the end of the stream.
fn deliver(pad: &gst::Pad, send: SyncSender<Option<Picture>>) {
    let send = Mutex::new(send);
    let types = gst::PadProbeType::BUFFER | gst::PadProbeType::EVENT_DOWNSTREAM;
    pad.add_probe(types, move |pad, info| {
        let item = match &info.data {
            Some(gst::PadProbeData::Buffer(buffer)) => picture(pad, buffer).map(Some),
            Some(gst::PadProbeData::Event(event)) if event.type_() == gst::EventType::Eos => Some(None),
            _ => None,
        };
        if let (Some(item), Ok(send)) = (item, send.lock()) {
            // Nobody listens any more: the pipeline is about to stop.
            let _ = send.send(item);
        }
        gst::PadProbeReturn::Ok
    });
}

fn picture(pad: &gst::Pad, buffer: &gst::Buffer) -> Option<Picture> {
    let info = VideoInfo::from_caps(pad.current_caps()?.as_ref()).ok()?;
    let frame = VideoFrameRef::from_buffer_ref_readable(buffer, &info).ok()?;
    let (width, height) = (frame.width() as usize, frame.height() as usize);
    let stride = usize::try_from(*frame.plane_stride().first()?).ok()?;
    let data = frame.plane_data(0).ok()?;
    let mut rgb = Vec::with_capacity(width * height * 3);
    for row in data.chunks(stride).take(height) {
        rgb.extend_from_slice(row.get(..width * 3)?);
    }
    Some(Picture { width, height, rgb })
}
