//! `vigilsite`: the cameras of a site description, in a pipeline.
//!
//! Reads the description `config` (`docs/site.md`), and runs what it says: each camera with its profile, its outputs, the tiles.
//! The same as `vigil run` does, without its HTTP interface and its service manager's manners.
//!
//! Each camera is a pipeline of its own inside the element: one that is lost, refused or cannot be built is a message, and the
//! others do not notice. A description that is wrong is one ERROR at READY→PAUSED with everything that is wrong with it. What the machine lacks (a
//! bundle, a folder) costs what needs it: one WARNING says all that is missing, and it is found when it comes.
//!
//! # Pads
//!
//! `src_ID` (request): the pictures of camera ID as raw video, with their metadata, as they come out of its profile. Times are those of the
//! pipeline's clock, when the picture was there. A consumer that is slow gets the newest pictures; it slows nobody down. While the
//! camera is away nothing comes, or the picture that says so where the description has `no-signal = "picture"`. A camera that ends ends
//! the stream on its pad. When it plays again (after a change, or `enable`), one WARNING says that the pad is to be requested anew.
//!
//! Without pads the element is a sink that needs nothing behind it. It ends the stream once all cameras have ended, which only
//! files do that do not begin anew.
//!
//! # Metadata
//!
//! Written: nothing by itself. Pictures on pads carry what the camera's stages attached, `VigilFrameMeta` above all.
//!
//! Read: nothing.
//!
//! # Messages
//!
//! Element messages with a field `camera` (the id), numbers being `guint64`, `gint64` or `gdouble`:
//!
//! - `vigil-camera` when a camera's state changes: `state` (`disabled`, `starting`, `playing`, `lost`, `ended`, `failed`), `reason`
//!   (`refused`, `timed-out`, `unauthorized`, `not-found`, `silent`, `corrupt`, `changed`, `clock-jump`, `end-of-stream`,
//!   `cannot-build`, `error`), `text`, `exhausted` (TRUE: several of its pipelines hang, and no other is started).
//! - `vigil-output` when an output fails, or works again.
//! - `vigil-site` with `state` `stopped`, after everything else.
//! - What its elements post: `vigil-model`, `vigil-watchdog`, `vigil-shadow`, ….
//!
//! # Actions
//!
//! - `reload`: reads `config` again, and changes only what is different; TRUE if it could be used. If not, everything stays as it
//!   is, and one WARNING says what is wrong. What the machine lacks counts as wrong here, unless it lacks the same for what runs.
//! - `swap-model` (camera, model, options): as the signal of `vigilinfer`; returns the ids of the requests, none if it is refused.
//! - `force-bypass` (camera, on), `enable` (camera, on): TRUE if the camera could.
//! - `snapshot` (camera): its last picture, a sample of `image/jpeg`.
//!
//! # Launch lines
//!
//! ```text
//! gst-launch-1.0 -m vigilsite config=pipelines/site.toml
//! ```
//!
//! One of its cameras on the screen:
//!
//! ```text
//! gst-launch-1.0 vigilsite name=site config=pipelines/site.toml site.src_gate ! videoconvert ! autovideosink
//! ```

mod imp;
mod pads;

use gst::glib;
use gst::prelude::*;

glib::wrapper! {
    /// Runs the cameras of a site description.
    pub struct Site(ObjectSubclass<imp::Site>) @extends gst::Bin, gst::Element, gst::Object,
        @implements gst::ChildProxy;
}

/// Registers the factory `vigilsite`.
///
/// # Errors
/// If GStreamer refuses the registration.
pub fn register(plugin: &gst::Plugin) -> Result<(), glib::BoolError> {
    gst::Element::register(Some(plugin), "vigilsite", gst::Rank::NONE, Site::static_type())
}
