//! `vigiloverlay`: draws the frame result on the frame.
//!
//! Boxes, labels, tracks, silhouettes, keypoints and the state of the analysis go straight into the planes of the frame, in
//! place and in the frame's own format. Objects that the model did not see on this very frame are drawn with dashed boxes. A
//! buffer without a result, or with nothing to draw, passes as it came; a buffer that others hold too is copied first.
//!
//! # Analysis off
//!
//! Where a frame was not analysed because something is out of order or was switched off, a banner at the top left says so, why, and since
//! when: `analysis off: engine restarting, since 12:03:45 UTC`. The time is that of the wall clock, with the date if that is not the
//! frame's own; it is left out if the result does not tell it. The dot before it is amber while analysis starts or is in
//! maintenance, and red otherwise. Frames that were skipped as planned have the badge of `show-status` at the top right instead.
//! Without `show-absent` all frames without analysis have that badge.
//!
//! # Metadata
//!
//! Read: `VigilFrameMeta`. Written: none.
//!
//! # Messages
//!
//! - WARNING when a frame begins to be one that cannot be written to. Video goes on without the drawing.
//!
//! A `font` that cannot be read is one ERROR on the way to PAUSED.
//!
//! # Launch lines
//!
//! ```text
//! gst-launch-1.0 videotestsrc num-buffers=50 ! vigilinfer model=people ! vigiloverlay ! videoconvert ! fakesink
//! ```
//!
//! One colour for each person, with the path of the last five seconds:
//!
//! ```text
//! gst-launch-1.0 filesrc location=clip.avi ! decodebin ! vigilinfer model=people ! vigiltrack ! \
//!     vigiloverlay color-by=track tail-time=5000000000 ! videoconvert ! autovideosink
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
