//! `vigilinfer`: runs a model on every frame.
//!
//! Brings each frame into the model's input (any of the formats below, any size and stride), runs the model, and attaches
//! what was found to the frame. Every frame that goes in comes out once, in order, with its pixels untouched, whether the
//! model could look at it or not. Several frames may be in the engine at once (`max-in-flight`); the delay that this adds
//! is told to live sinks.
//!
//! With `inference-region=objects` the model looks at objects that a `vigilinfer` before it found instead of whole frames (a
//! cascade): which ones, the properties `object-…` say. All objects of a frame go into one run where the model's batch allows.
//! Its classes become the object's attributes, its vector the object's embedding, its most confident pose the object's
//! keypoints, and what it detects inside becomes objects with the object as `parent`. Objects that `vigiltrack` follows are
//! looked at again after `reinfer-time` or when they have grown by `reinfer-growth`, and keep the answer in between; others
//! are looked at on every frame. Only fresh results are looked at: a held or predicted box may lie beside its object.
//!
//! `model` names a bundle folder, a `.vigil` archive, a bare `.onnx` file, or an installed bundle; see `docs/bundles.md`.
//! It is loaded on the way to PAUSED. What cannot be loaded, and a `provider` that is absent, is one ERROR that says why.
//!
//! A run that takes longer than `engine-timeout` is cut. Its frame goes on as `absent` (`deadline`), the next ones are analysed
//! again. A run that does not heed that is abandoned: another thread takes over, and an element that starts later gets an
//! engine of its own. The thread and its memory stay until the run ends by itself; `stats` counts them as `abandoned` over
//! all elements of the process. From 8 on no more threads and engines are started: frames then pass as `absent`
//! (`engine-error`) where no thread is left, and the process should be started anew.
//!
//! With `isolation=process` the engine runs in a process of its own (the command `vigil`, found beside the plugin, in its prefix,
//! by `VIGIL_WORKER` or `PATH`): what kills it, or a driver that hangs, costs frames their analysis until another process has
//! loaded the model, and nothing else. Elements that share an engine share its process. It dies with the application, is the first
//! that the system's OOM killer takes, and can be kept to an amount of memory (`engine-memory-max`), to some processors
//! (`engine-cpus`) and behind other processes (`engine-niceness`); these three do nothing without it. Pictures and answers lie in
//! memory that both share, so nothing is copied; the application keeps a copy of the model's file in memory for the next start.
//! `stats` then has `engine-state` (`running`, `restarting`), `engine-restarts` and, while it runs, `engine-pid`.
//!
//! # Metadata
//!
//! Written: `VigilFrameMeta`, the frame result: objects or classes of the frame, the model that found them, and the
//! freshness. It has no tags, so that elements which scale or convert keep it; coordinates are 0..1 of the frame.
//!
//! - `fresh`: the model looked at this very frame;
//! - `held`: it did not, because of `interval` or `when-busy=hold`; the objects are those of the last fresh result, with
//!   its age;
//! - `absent`, with a reason: nothing is known. An empty list of objects then does not mean that nothing was there.
//!
//! Also written, unless `mirror-roi` is off: one `GstVideoRegionOfInterestMeta` for each object, with the label as its type
//! and a param `detection` (`label`, `confidence`, `label_id`, `x_min`, `x_max`, `y_min`, `y_max` in 0..1).
//!
//! Read: with `inference-region=objects`, the frame result; it is written back with what was added, and a frame without one is
//! `absent` (`skipped`). `GstVideoCropMeta`: only what it shows is looked at, and coordinates are those of that part. The
//! tag `image-orientation` of the stream turns the picture for the model; coordinates stay those of the stream.
//!
//! # Messages
//!
//! - WARNING when the model begins to fail on frames or to take longer than `engine-timeout`, or frames cannot be read. They
//!   go on without analysis and are counted in `stats`.
//! - WARNING if `inference-region=objects` is set and frames carry no result to look at objects of.
//! - WARNING at the start if a bare model does not say what its classes are called.
//! - Element message `vigil-infer` when analysis works again: `state` (`recovered`), `frame` (the frame's number).
//! - Element message `vigil-result` for each frame, if `post-messages` is on: `frame`, `pts` and `running-time`
//!   (nanoseconds, left out if unknown), `width`, `height`, `freshness`, `age` (nanoseconds, if held) or `reason` and
//!   `since` (if absent; nanoseconds since 1970 UTC, left out if unknown), `model`, `release`, `digest`, and the lists
//!   `objects` (`id`, `label`, `class-id`, `confidence`, `x`, `y`, `width`, `height`, and where there are any `track`,
//!   `parent`, `attributes`, `keypoints`, `corners`) and `classes` (`label`, `class-id`, `confidence`).
//! - LATENCY when frames take longer than before. Frames on which the model failed do not count.
//!
//! The signal `result` carries the same structure as `vigil-result`, if `emit-signals` is on. It is emitted from the
//! streaming thread, before the frame goes on.
//!
//! # Launch lines
//!
//! ```text
//! gst-launch-1.0 -m videotestsrc num-buffers=20 ! vigilinfer model=people post-messages=true ! fakesink
//! ```
//!
//! People on a camera's stream, on every third frame:
//!
//! ```text
//! gst-launch-1.0 rtspsrc location=rtsp://camera.local/stream ! decodebin ! \
//!     vigilinfer model=people interval=2 when-busy=hold ! vigiltrack ! vigiloverlay ! videoconvert ! autovideosink
//! ```
//!
//! A second model on each person, once a second and when they come nearer:
//!
//! ```text
//! gst-launch-1.0 rtspsrc location=rtsp://camera.local/stream ! decodebin ! vigilinfer model=people ! vigiltrack ! \
//!     vigilinfer model=clothes.onnx inference-region=objects object-class=Person ! \
//!     vigiloverlay ! videoconvert ! autovideosink
//! ```

mod imp;
mod isolation;
mod properties;

use glib::prelude::*;

glib::wrapper! {
    /// Runs a model on raw video and attaches what it found to each frame.
    pub struct Infer(ObjectSubclass<imp::Infer>) @extends gst_base::BaseTransform, gst::Element, gst::Object;
}

/// Registers the factory `vigilinfer`.
///
/// # Errors
/// If GStreamer refuses it.
pub fn register(plugin: &gst::Plugin) -> Result<(), glib::BoolError> {
    gst::Element::register(Some(plugin), "vigilinfer", gst::Rank::NONE, Infer::static_type())
}
