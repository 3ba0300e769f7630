//! MP4 files.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use gst::prelude::*;

use super::encode::{Encoding, pipeline, steady};
use super::pipe::Kind;
use super::series::Series;
use crate::gstutil::lock;
use crate::site::live::feed::Frame;
use crate::site::output::Encode;
use crate::site::units::Span;

/// A file has whole pieces of about this length (they begin with key frames), so that one whose writer has died plays up to the last of them.
const PIECE_MS: u32 = 1000;

/// Fragmented MP4 files. (`first-moov-then-finalise`, which makes an ordinary file of it at the end, hangs in GStreamer 1.22 when
/// a file ends within its first fragment.)
pub struct File {
    series: Series,
    segment: Option<Span>,
    encode: Encode,
    /// The one that is being written.
    current: Arc<Mutex<PathBuf>>,
}

impl File {
    /// For an output of this kind.
    pub fn new(series: Series, segment: Option<Span>, encode: &Encode) -> Self {
        Self { series, segment, encode: encode.clone(), current: Arc::default() }
    }
}

impl Kind for File {
    const ROOM: u64 = 25;

    fn build(&mut self, first: &Frame) -> Result<gst::Pipeline, String> {
        // The one before may be gone for good reasons.
        lock(&self.current).clear();
        self.series.prepare()?;
        let encoding = Encoding::new(&self.encode)?;
        let length = self.segment.map_or(0, |span| u64::try_from(span.0.as_nanos()).unwrap_or(u64::MAX));
        let pipeline = pipeline(&format!(
            "{} ! {} {} ! splitmuxsink name=files send-keyframe-requests={} max-size-time={length} \
             muxer=\"mp4mux fragment-duration={PIECE_MS}\" sink=\"filesink buffer-mode=unbuffered\"",
            steady(first)?,
            encoding.encoder,
            encoding.parser(),
            length > 0
        ))?;
        let files = pipeline.by_name("files").ok_or("it has no file sink")?;
        let (series, current) = (self.series.clone(), Arc::clone(&self.current));
        files.connect("format-location", false, move |_| {
            let next = series.next();
            let name = next.display().to_string();
            *lock(&current) = next;
            Some(name.to_value())
        });
        Ok(pipeline)
    }

    fn look(&self) -> Result<(), String> {
        let current = lock(&self.current).clone();
        let gone = !current.as_os_str().is_empty() && !current.exists();
        if gone { Err(format!("{} was removed while it was written", current.display())) } else { Ok(()) }
    }
}
