//! `vigiltrack`: gives objects identities that last across frames.
//!
//! Stands behind `vigilinfer`, on caps of any kind, as it works on the frame result that travels with each buffer and never
//! touches pixels:
//!
//! - fresh result: objects are matched with the identities known so far and get their `track`;
//! - held result, or none because the frame was skipped: the objects become the identities' predicted places at this
//!   frame's time, and the result is `held`, with the time since the last fresh one as its age;
//! - absent for any other reason, or no result at all: the buffer passes untouched.
//!
//! Time is running time. A flush or a new stream ends all identities; numbers are not used twice before the element goes
//! back to READY. Frames without PTS count as one frame duration after the last one.
//!
//! # Metadata
//!
//! Read and written: `VigilFrameMeta`; each object gets a `track`: number, state (tentative, confirmed or predicted), age,
//! time since it was last seen, speed. The `GstVideoRegionOfInterestMeta` of objects are written anew, unless `mirror-roi`
//! is off; their param `detection` then has the number as `object_id`.
//!
//! # Messages
//!
//! None.
//!
//! # Launch lines
//!
//! ```text
//! gst-launch-1.0 videotestsrc num-buffers=50 ! vigilinfer model=people interval=1 ! vigiltrack ! fakesink
//! ```
//!
//! The model looks at every third frame; people who are hidden for up to five seconds keep their number:
//!
//! ```text
//! gst-launch-1.0 filesrc location=clip.avi ! decodebin ! vigilinfer model=people interval=2 ! \
//!     vigiltrack max-lost-time=5000000000 ! vigiloverlay ! videoconvert ! autovideosink
//! ```

mod imp;
mod properties;

use glib::prelude::*;

glib::wrapper! {
    /// Gives the objects that `vigilinfer` found identities that last across frames.
    pub struct Track(ObjectSubclass<imp::Track>) @extends gst_base::BaseTransform, gst::Element, gst::Object;
}

/// Registers the factory `vigiltrack`.
///
/// # Errors
/// If GStreamer refuses it.
pub fn register(plugin: &gst::Plugin) -> Result<(), glib::BoolError> {
    gst::Element::register(Some(plugin), "vigiltrack", gst::Rank::NONE, Track::static_type())
}
