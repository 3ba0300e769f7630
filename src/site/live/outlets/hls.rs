//! HLS: a playlist and its segments.

use std::path::{Path, PathBuf};

use gst::prelude::*;

use super::encode::{Encoding, pipeline, steady};
use super::pipe::Kind;
use super::series::folder;
use crate::site::live::feed::Frame;
use crate::site::output::Encode;
use crate::site::units::Span;
use crate::telemetry::utc_now_ns;

/// The playlist.
pub const PLAYLIST: &str = "index.m3u8";
/// Segments that are kept, without a word of the user.
const KEPT: u32 = 6;
/// A segment's length, without a word of the user.
const LENGTH: Span = Span::from_secs(4);

/// A playlist and its segments.
pub struct Hls {
    folder: PathBuf,
    segment: Span,
    kept: u32,
    encode: Encode,
}

impl Hls {
    /// For an output of this kind.
    pub fn new(folder: &Path, segment: Option<Span>, kept: Option<u32>, encode: &Encode) -> Self {
        let kept = kept.unwrap_or(KEPT).max(2);
        Self { folder: folder.to_owned(), segment: segment.unwrap_or(LENGTH), kept, encode: encode.clone() }
    }
}

impl Kind for Hls {
    const ROOM: u64 = 25;

    fn build(&mut self, first: &Frame) -> Result<gst::Pipeline, String> {
        folder(&self.folder)?;
        let encoding = Encoding::new(&self.encode)?;
        remove_segments(&self.folder);
        let pipeline =
            pipeline(&format!("{} ! {} {} ! hlssink2 name=hls", steady(first)?, encoding.encoder, encoding.parser()))?;
        let hls = pipeline.by_name("hls").ok_or("it has no HLS sink")?;
        // Names differ from those of earlier runs, which players and proxies may still have.
        let segment = format!("{}-%05d.ts", utc_now_ns() / 1_000_000_000);
        hls.set_property("location", self.folder.join(segment).display().to_string());
        hls.set_property("playlist-location", self.folder.join(PLAYLIST).display().to_string());
        // Whole seconds is all that it can do.
        let length = self.segment.0.as_secs_f64().ceil().clamp(1.0, 3600.0) as u32;
        hls.set_property("target-duration", length);
        // One more than the playlist has, for who is still reading it.
        hls.set_property("playlist-length", self.kept.saturating_sub(1));
        hls.set_property("max-files", self.kept);
        Ok(pipeline)
    }

    fn look(&self) -> Result<(), String> {
        let there = self.folder.is_dir();
        if there { Ok(()) } else { Err(format!("the folder {} was removed", self.folder.display())) }
    }
}

/// Removes what an earlier run has left: nobody else counts those segments.
fn remove_segments(folder: &Path) {
    let own = |name: &str| {
        let parts = name.strip_suffix(".ts").and_then(|name| name.split_once('-'));
        parts.is_some_and(|(time, number)| {
            [time, number].iter().all(|part| part.len() >= 5 && part.bytes().all(|b| b.is_ascii_digit()))
        })
    };
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_name().to_str().is_some_and(own) {
            let _ = std::fs::remove_file(entry.path());
        }
    }
}
