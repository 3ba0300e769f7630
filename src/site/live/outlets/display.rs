//! A window on the machine's screen.

use std::time::Duration;

use super::encode::pipeline;
use super::pipe::Kind;
use crate::site::live::feed::Frame;
use crate::site::live::intake::LINE;

/// A window on the machine's screen.
pub struct Display;

impl Kind for Display {
    const ROOM: u64 = 2;
    // A screen does not come by itself.
    const PAUSES: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(600));
    // Without a screen the sink warns and throws the pictures away.
    const NOT_FOUND_FAILS: bool = true;

    fn build(&mut self, _first: &Frame) -> Result<gst::Pipeline, String> {
        pipeline(&format!("{LINE} ! videoconvertscale ! autovideosink sync=false"))
    }
}
