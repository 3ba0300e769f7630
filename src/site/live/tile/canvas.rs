//! The picture that a tile's cameras are pasted into.

use std::collections::HashMap;
use std::time::Duration;

use gst_video::prelude::*;
use gst_video::{VideoConverter, VideoConverterConfig, VideoFormat, VideoFrameRef, VideoInfo};

use crate::site::live::feed::Frame;
use crate::site::live::intake::now;
use crate::site::live::picture;
use crate::telemetry::utc_now_ns;

/// A picture that is older is not shown any more: it would be taken for what is there now.
const STALE: Duration = Duration::from_secs(10);
/// Y and chroma of black.
const BLACK: [u8; 2] = [16, 128];

/// What a camera's pictures need to get into their place.
struct Paster {
    caps: gst::Caps,
    size: [u32; 2],
    info: VideoInfo,
    converter: VideoConverter,
    /// The picture as it was pasted last, with borders: it is converted once, however often it is pasted. (A converter that
    /// writes to a part of a picture does not leave the rest alone.)
    cell: gst::Buffer,
    cell_info: VideoInfo,
    shown: Option<gst::Buffer>,
}

impl Paster {
    fn new(caps: &gst::Caps, size: [u32; 2]) -> Result<Self, String> {
        // The converter insists on one frame rate and one kind of rows.
        let mut alike = caps.clone();
        alike.make_mut().set("framerate", gst::Fraction::new(0, 1));
        alike.make_mut().set("interlace-mode", "progressive");
        let info = VideoInfo::from_caps(&alike).map_err(|err| err.to_string())?;
        let par = info.par();
        let shape = (
            u64::from(info.width()) * u64::from(par.numer().unsigned_abs().max(1)),
            u64::from(info.height()) * u64::from(par.denom().unsigned_abs().max(1)),
        );
        let [x, y, width, height] = fit(shape, size);
        let mut config = VideoConverterConfig::new();
        config.set_dest_x(signed(x));
        config.set_dest_y(signed(y));
        config.set_dest_width(Some(signed(width)));
        config.set_dest_height(Some(signed(height)));
        config.set_resampler_method(gst_video::VideoResamplerMethod::Linear);
        let cell_info = nv12(size)?;
        let converter = VideoConverter::new(&info, &cell_info, Some(config)).map_err(|err| err.to_string())?;
        let cell = gst::Buffer::with_size(cell_info.size()).map_err(|err| err.to_string())?;
        Ok(Self { caps: caps.clone(), size, info, converter, cell, cell_info, shown: None })
    }

    /// Converts the picture, unless it is the one that was converted last.
    fn convert(&mut self, sample: &gst::Sample) -> Result<(), String> {
        let buffer = sample.buffer_owned().ok_or("there is no picture")?;
        if self.shown.as_ref().is_some_and(|shown| shown.as_ptr() == buffer.as_ptr()) {
            return Ok(());
        }
        let from = VideoFrameRef::from_buffer_ref_readable(&buffer, &self.info).map_err(|err| err.to_string())?;
        let mut to = writable(&mut self.cell, &self.cell_info)?;
        self.converter.frame_ref(&from, &mut to);
        drop((from, to));
        // It is kept, so that no other picture gets its address.
        self.shown = Some(buffer);
        Ok(())
    }
}

fn nv12([width, height]: [u32; 2]) -> Result<VideoInfo, String> {
    VideoInfo::builder(VideoFormat::Nv12, width, height).build().map_err(|err| err.to_string())
}

/// A place's picture that says that there is none.
struct Card {
    size: [u32; 2],
    since: Option<gst::ClockTime>,
    sample: gst::Sample,
}

/// The picture that is being composed, and what is kept from one to the next.
pub struct Canvas {
    info: VideoInfo,
    caps: gst::Caps,
    buffer: gst::Buffer,
    pasters: HashMap<usize, Paster>,
    cards: HashMap<usize, Card>,
}

impl Canvas {
    /// An NV12 picture.
    ///
    /// # Errors
    /// A text, if there is no memory for it.
    pub fn new(size: [u32; 2]) -> Result<Self, String> {
        let info = nv12(size)?;
        let caps = info.to_caps().map_err(|err| err.to_string())?;
        Ok(Self { info, caps, buffer: gst::Buffer::new(), pasters: HashMap::new(), cards: HashMap::new() })
    }

    /// Begins a new picture: black. The one before may still be with the outputs.
    ///
    /// # Errors
    /// A text, if there is no memory for it.
    pub fn clear(&mut self) -> Result<(), String> {
        self.buffer = gst::Buffer::with_size(self.info.size()).map_err(|err| err.to_string())?;
        let mut frame = writable(&mut self.buffer, &self.info)?;
        for (plane, value) in (0..).zip(BLACK) {
            frame.plane_data_mut(plane).map_err(|err| err.to_string())?.fill(value);
        }
        Ok(())
    }

    /// Pastes the picture of the camera `name` into `place`, or one that says that there is none.
    pub fn paste(&mut self, n: usize, name: &str, frame: Option<&Frame>, place: [u32; 4]) {
        let recent = frame.filter(|frame| now().saturating_sub(frame.at).nseconds() < STALE.as_nanos() as u64);
        let pasted = recent.is_some_and(|frame| self.put(n, &frame.sample, place).is_ok());
        if pasted {
            self.cards.remove(&n);
            return;
        }
        // A place without anything is black: that there is no picture is seen even so.
        let card = self.card(n, name, frame.map(|frame| frame.at), [place[2], place[3]]);
        if let Some(sample) = card {
            let _ = self.put(n, &sample, place);
        }
    }

    fn card(&mut self, n: usize, name: &str, since: Option<gst::ClockTime>, size: [u32; 2]) -> Option<gst::Sample> {
        let known = self.cards.get(&n).filter(|card| card.size == size && card.since == since);
        if let Some(card) = known {
            return Some(card.sample.clone());
        }
        let age = since.map(|since| now().saturating_sub(since).nseconds());
        let since_ns = age.map_or(0, |age| utc_now_ns().saturating_sub(age));
        let sample = picture::no_signal(size, None, name, since_ns).ok()?;
        self.cards.insert(n, Card { size, since, sample: sample.clone() });
        Some(sample)
    }

    fn put(&mut self, n: usize, sample: &gst::Sample, [x, y, width, height]: [u32; 4]) -> Result<(), String> {
        let caps = sample.caps_owned().ok_or("there is no picture")?;
        let size = [width, height];
        let known = self.pasters.remove(&n).filter(|paster| paster.caps == caps && paster.size == size);
        let mut paster = known.map_or_else(|| Paster::new(&caps, size), Ok)?;
        paster.convert(sample)?;
        let from =
            VideoFrameRef::from_buffer_ref_readable(&paster.cell, &paster.cell_info).map_err(|err| err.to_string())?;
        let mut to = writable(&mut self.buffer, &self.info)?;
        // Pairs of chroma are as wide as the two pixels that they belong to, and half as many rows.
        for (plane, top) in [(0, y), (1, y / 2)] {
            let [from_stride, to_stride] = [from.plane_stride(), to.plane_stride()]
                .map(|strides| strides.get(plane as usize).map_or(1, |stride| stride.unsigned_abs().max(1) as usize));
            let rows = (if plane == 0 { height } else { height / 2 }) as usize;
            let from = from.plane_data(plane).map_err(|err| err.to_string())?.chunks(from_stride);
            let to = to.plane_data_mut(plane).map_err(|err| err.to_string())?.chunks_mut(to_stride);
            let place = x as usize..(x + width) as usize;
            for (to, from) in to.skip(top as usize).zip(from).take(rows) {
                if let (Some(to), Some(from)) = (to.get_mut(place.clone()), from.get(..width as usize)) {
                    to.copy_from_slice(from);
                }
            }
        }
        drop((from, to));
        self.pasters.insert(n, paster);
        Ok(())
    }

    /// The picture; another one begins with [`Canvas::clear`].
    pub fn sample(&mut self) -> gst::Sample {
        let buffer = std::mem::replace(&mut self.buffer, gst::Buffer::new());
        gst::Sample::builder().buffer(&buffer).caps(&self.caps).build()
    }
}

fn writable<'a>(
    buffer: &'a mut gst::Buffer,
    info: &VideoInfo,
) -> Result<VideoFrameRef<&'a mut gst::BufferRef>, String> {
    let buffer = buffer.get_mut().ok_or("the picture is not writable")?;
    VideoFrameRef::from_buffer_ref_writable(buffer, info).map_err(|err| err.to_string())
}

fn signed(value: u32) -> i32 {
    i32::try_from(value).unwrap_or(i32::MAX)
}

/// The largest part of a place that has the shape of a picture, in its middle and at even pixels: left, top, width, height.
fn fit((w, h): (u64, u64), [width, height]: [u32; 2]) -> [u32; 4] {
    let (pw, ph) = (u64::from(width), u64::from(height));
    let (fw, fh) = if w * ph > pw * h { (pw, pw * h / w.max(1)) } else { (ph * w / h.max(1), ph) };
    let even = |v: u64, most: u32| u32::try_from(v & !1).unwrap_or(most).clamp(2, most.max(2));
    let (fw, fh) = (even(fw, width), even(fh, height));
    [(width.saturating_sub(fw) / 2) & !1, (height.saturating_sub(fh) / 2) & !1, fw, fh]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_keeps_its_shape_in_its_place() {
        assert_eq!(fit((640, 360), [320, 180]), [0, 0, 320, 180]);
        assert_eq!(fit((640, 480), [320, 180]), [40, 0, 240, 180]);
        assert_eq!(fit((640, 100), [320, 180]), [0, 64, 320, 50]);
        assert_eq!(fit((1, 9000), [16, 16]), [6, 0, 2, 16]);
    }
}
