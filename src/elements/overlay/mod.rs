//! `vigiloverlay`: draws the frame result on the frame.
//!
//! Boxes, labels, tracks, silhouettes, keypoints and the state of the analysis go straight into the planes of the
//! frame, in place and in the frame's own format. Objects that the model did not see on this very frame are drawn
//! with dashed boxes. A buffer without a result, or with nothing to draw, passes as it came; a buffer that others
//! hold too is copied first.
//!
//! Caps: `video/x-raw` in NV12, I420, YV12, YUY2, RGB, BGR, RGBx, BGRx, RGBA, BGRA, GRAY8, any size and stride.
//! Metadata read: `VigilFrameMeta`; written: none. Messages: a warning if a frame cannot be written to.
//!
//! ```text
//! gst-launch-1.0 filesrc location=in.mp4 ! decodebin ! vigilinfer model=people ! vigiltrack ! vigiloverlay ! videoconvert ! autovideosink
//! ```

mod imp;
mod properties;

use glib::prelude::*;

pub use properties::ColorBy;

glib::wrapper! {
    /// Draws boxes, labels, tracks, silhouettes and keypoints on raw video.
    pub struct Overlay(ObjectSubclass<imp::Overlay>) @extends gst_base::BaseTransform, gst::Element, gst::Object;
}

/// Registers the factory `vigiloverlay`.
///
/// # Errors
/// If GStreamer refuses it.
pub fn register(plugin: &gst::Plugin) -> Result<(), glib::BoolError> {
    gst::Element::register(Some(plugin), "vigiloverlay", gst::Rank::NONE, Overlay::static_type())
}
