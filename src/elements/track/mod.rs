//! `vigiltrack`: gives objects identities that last across frames.
//!
//! Stands behind `vigilinfer`, on caps of any kind, as it works on the frame result that travels with each buffer and never
//! touches pixels:
//!
//! - fresh result: objects are matched with the identities known so far and get their `track`;
//! - held result, or none because the frame was skipped: the objects become the identities' predicted places at this
//!   frame's time, and the result is `held`, with the time since the last fresh one as its age;
//! - absent for any other reason, skipped longer than `max-lost-time` after the last fresh result, or no result at all: the
//!   buffer passes untouched. Identities outlast such a gap if it is shorter than `max-lost-time`.
//!
//! Time is running time. A flush or a new stream ends all identities; numbers are not used twice before the element goes
//! back to READY. Frames without PTS count as one frame duration after the last one.
//!
//! A camera that pans or shakes is followed: the shift that most objects share is taken from all of them before they are
//! matched. It takes five objects at least; rotation and zoom are left to the objects' own motion.
//!
//! # Appearance
//!
//! Objects may have an embedding, a vector that says how they look (a `vigilinfer` with a person re-identification model
//! on the objects found before it puts it there). With `appearance-weight` above 0, .5 for a good model, it decides together with overlap
//! which object continues an identity, and an identity that was lost is found again by appearance alone where it could have walked in the
//! meantime: people who were hidden keep their number. How alike two embeddings of one object are depends on the model: set
//! `appearance-threshold` to a cosine that most pairs of different objects stay below. Objects without embedding are
//! matched as if it were off.
//!
//! # Objects in objects
//!
//! What secondary models found is kept: attributes (by name), keypoints (moved with the box) and the embedding of an object are put on
//! later objects of its identity that come without, for `carry-time` after they were found. Masks are not. An attribute
//! that a model no longer gives is thus seen for that long.
//!
//! Objects that were found in others (faces in persons) get identities like all, and only continue identities that were
//! found in others too. `parent` stays right: predicted objects point to the object of the identity in which theirs
//! was last found, if the frame has one; where `confirmed-only` removes the parent, they stay and have none.
//!
//! # A model that is replaced
//!
//! When the model in front is replaced while video runs, identities go on. The label says what class an object is of, not its
//! number, which may mean something else in the new model; identities of a class that the new model lacks end like any that
//! are lost (until then predictions of them bear the number of the old one). Of what a model said that was replaced nothing is carried
//! on, and embeddings of two models are never compared.
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
