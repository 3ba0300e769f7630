//! From raw pictures to a stream that can be stored or sent.

use gst::prelude::*;
use gst_video::VideoInfo;

use crate::site::live::feed::Frame;
use crate::site::live::intake::LINE;
use crate::site::output::Encode;

/// Encoders of H.264 in the order in which they are taken: what the machine's hardware does first, since such an element exists
/// only where the hardware is.
const ENCODERS: [&str; 5] = ["vah264enc", "nvh264enc", "v4l2h264enc", "x264enc", "openh264enc"];
/// A key frame comes after so many frames at the latest, for those who join.
const KEY_FRAMES: u32 = 50;

/// An encoder and what goes with it.
pub struct Encoding {
    /// The encoder.
    pub encoder: String,
    /// What it makes: the name of its caps.
    pub media: String,
}

impl Encoding {
    /// What `encode` asks for; without an element the first of the machine's encoders.
    ///
    /// # Errors
    /// A text, if there is no such encoder.
    pub fn new(encode: &Encode) -> Result<Self, String> {
        let encoder = match &encode.element {
            Some(element) => element.clone(),
            None => own(encode.bitrate).ok_or_else(|| {
                format!("there is no encoder for H.264: install a GStreamer plugin with one of {}", ENCODERS.join(", "))
            })?,
        };
        let bin = gst::parse::bin_from_description(&encoder, true)
            .map_err(|err| format!("the encoder \"{encoder}\" cannot be made: {err}"))?;
        let media = bin.static_pad("src").map(|pad| pad.query_caps(None));
        let media = media.and_then(|caps| caps.structure(0).map(|s| s.name().to_string()));
        let media = media.ok_or_else(|| format!("the encoder \"{encoder}\" has no output"))?;
        Ok(Self { encoder, media })
    }

    /// The parser behind it; empty if none is needed.
    pub fn parser(&self) -> &'static str {
        match self.media.as_str() {
            "video/x-h264" => "! h264parse",
            "video/x-h265" => "! h265parse",
            "video/x-vp9" => "! vp9parse",
            "video/x-av1" => "! av1parse",
            "image/jpeg" => "! jpegparse",
            _ => "",
        }
    }

    /// The element that makes RTP packets of it.
    ///
    /// # Errors
    /// A text, if RTSP cannot carry it.
    #[cfg(feature = "rtsp-server")]
    pub fn payloader(&self) -> Result<&'static str, String> {
        match self.media.as_str() {
            // Parameter sets go with each key frame, so that those who join late and changes of them are served.
            "video/x-h264" => Ok("rtph264pay config-interval=-1 aggregate-mode=zero-latency"),
            "video/x-h265" => Ok("rtph265pay config-interval=-1 aggregate-mode=zero-latency"),
            "video/x-vp8" => Ok("rtpvp8pay"),
            "video/x-vp9" => Ok("rtpvp9pay"),
            "image/jpeg" => Ok("rtpjpegpay"),
            other => Err(format!("RTSP outputs cannot carry {other}, which \"{}\" makes", self.encoder)),
        }
    }
}

/// The machine's encoder of H.264, without B-frames and look-ahead (they cost time), on one thread: there are many cameras.
fn own(bitrate: u32) -> Option<String> {
    let bits = u64::from(bitrate) * 1000;
    let factory = ENCODERS.into_iter().find(|name| gst::ElementFactory::find(name).is_some())?;
    let properties = match factory {
        "x264enc" => {
            format!("tune=zerolatency speed-preset=veryfast threads=1 key-int-max={KEY_FRAMES} bitrate={bitrate}")
        }
        "openh264enc" => {
            format!("complexity=low multi-thread=1 rate-control=bitrate gop-size={KEY_FRAMES} bitrate={bits}")
        }
        "vah264enc" => format!("key-int-max={KEY_FRAMES} b-frames=0 bitrate={bitrate}"),
        "nvh264enc" => format!("zerolatency=true gop-size={KEY_FRAMES} bitrate={bitrate}"),
        "v4l2h264enc" => format!("extra-controls=\"controls,video_bitrate={bits},h264_i_frame_period={KEY_FRAMES}\""),
        _ => return None,
    };
    Some(format!("{factory} {properties}"))
}

/// The way from the feed to raw pictures that keep the size, shape and colours of `first`, whatever the camera sends later:
/// neither files nor players follow such changes. Pictures of another shape get borders.
///
/// # Errors
/// A text, if it is no raw video.
pub fn steady(first: &Frame) -> Result<String, String> {
    let info = first.sample.caps().ok_or("the picture has no caps")?;
    let info = VideoInfo::from_caps(info).map_err(|err| format!("the picture is no raw video: {err}"))?;
    // Halved chroma needs even sides.
    let (width, height) = ((info.width() & !1).max(2), (info.height() & !1).max(2));
    let par = info.par();
    let colours = info.colorimetry().to_string();
    let colours = if colours.is_empty() { String::new() } else { format!(",colorimetry={colours}") };
    Ok(format!(
        "{LINE} ! videoconvertscale add-borders=true ! \
         video/x-raw,format={{NV12,I420,YV12}},width={width},height={height},\
         pixel-aspect-ratio={}/{}{colours}",
        par.numer(),
        par.denom()
    ))
}

/// The pipeline that a launch line describes.
///
/// # Errors
/// What GStreamer says.
pub fn pipeline(line: &str) -> Result<gst::Pipeline, String> {
    let element = gst::parse::launch(line).map_err(|err| err.to_string())?;
    element.downcast().map_err(|_| "its launch line is a single element".into())
}
