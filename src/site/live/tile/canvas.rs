//! The picture that a tile's cameras are pasted into.

use std::collections::HashMap;
use std::time::Duration;

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
    place: [u32; 4],
    info: VideoInfo,
    converter: VideoConverter,
}

impl Paster {
    fn new(caps: &gst::Caps, place: [u32; 4], canvas: &VideoInfo) -> Result<Self, String> {
        let info = VideoInfo::from_caps(caps).map_err(|err| err.to_string())?;
        let par = info.par();
        let shape = (
            u64::from(info.width()) * u64::from(par.numer().unsigned_abs().max(1)),
            u64::from(info.height()) * u64::from(par.denom().unsigned_abs().max(1)),
        );
        let [x, y, width, height] = fit(shape, place);
        let mut config = VideoConverterConfig::new();
        config.set_dest_x(signed(x));
        config.set_dest_y(signed(y));
        config.set_dest_width(Some(signed(width)));
        config.set_dest_height(Some(signed(height)));
        // The other places' pictures stay.
        config.set_fill_border(false);
        config.set_resampler_method(gst_video::VideoResamplerMethod::Linear);
        let converter = VideoConverter::new(&info, canvas, Some(config)).map_err(|err| err.to_string())?;
        Ok(Self { caps: caps.clone(), place, info, converter })
    }
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
    pub fn new([width, height]: [u32; 2]) -> Result<Self, String> {
        let info = VideoInfo::builder(VideoFormat::Nv12, width, height).build().map_err(|err| err.to_string())?;
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

    fn put(&mut self, n: usize, sample: &gst::Sample, place: [u32; 4]) -> Result<(), String> {
        let (caps, buffer) = sample.caps_owned().zip(sample.buffer()).ok_or("there is no picture")?;
        let known = self.pasters.remove(&n).filter(|paster| paster.caps == caps && paster.place == place);
        let paster = known.map_or_else(|| Paster::new(&caps, place, &self.info), Ok)?;
        let from = VideoFrameRef::from_buffer_ref_readable(buffer, &paster.info).map_err(|err| err.to_string())?;
        let mut to = writable(&mut self.buffer, &self.info)?;
        paster.converter.frame_ref(&from, &mut to);
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
fn fit((w, h): (u64, u64), [x, y, width, height]: [u32; 4]) -> [u32; 4] {
    let (pw, ph) = (u64::from(width), u64::from(height));
    let (fw, fh) = if w * ph > pw * h { (pw, pw * h / w.max(1)) } else { (ph * w / h.max(1), ph) };
    let even = |v: u64, most: u32| u32::try_from(v & !1).unwrap_or(most).clamp(2, most.max(2));
    let (fw, fh) = (even(fw, width), even(fh, height));
    [x + ((width.saturating_sub(fw) / 2) & !1), y + ((height.saturating_sub(fh) / 2) & !1), fw, fh]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_keeps_its_shape_in_its_place() {
        assert_eq!(fit((640, 360), [0, 0, 320, 180]), [0, 0, 320, 180]);
        assert_eq!(fit((640, 480), [320, 0, 320, 180]), [320 + 40, 0, 240, 180]);
        assert_eq!(fit((640, 100), [0, 180, 320, 180]), [0, 180 + 64, 320, 50]);
        assert_eq!(fit((1, 9000), [0, 0, 16, 16]), [6, 0, 2, 16]);
    }
}
