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
//! It is loaded on the way to PAUSED: the bundle's variants in their order, else the release before it in the store, else
//! `fallback-model`. What cannot be loaded, and a `provider` that is absent, is one ERROR that says why, or with
//! `on-unusable=pass` one WARNING, and frames pass as `absent` (`no-model`) until there is a model.
//!
//! # Another model while video runs
//!
//! Set `model`, emit `swap-model`, or send the event `vigil-swap-model`: all do the same. The new model is read, its digests and
//! its signature are checked, another process loads it and lets it look at the bundle's reference pictures, and only then it takes
//! the old one's place, between two frames, with its labels, thresholds, input size and decoder. No frame waits for that. Then it is on
//! probation: it is watched for errors, impossible numbers and slowness, and compared with the old model on a sample of the frames.
//! If it breaks a rule the old one is back with the next frame, which nobody needs to ask for. Each phase is a message `vigil-model`. A
//! second request takes the first one's place; a model on probation is rolled back by it. `docs/models.md` has the whole life of a model.
//!
//! - The action signal `swap-model` takes the model (as the property does) and a structure with options, or NULL, and returns the
//!   request's number, or 0 if the element does not run: then the model is what it starts with.
//! - The event `vigil-swap-model` (custom, in either direction) has the field `model`, the options, and `element`, the name of the
//!   only element that is meant; without it the first `vigilinfer` on its way takes it. An application message of the same name and
//!   fields is relayed by sending its structure as an event into the pipeline.
//! - Options: `provider` (string), `shadow` (boolean: looks at live frames beside the active model first), `probation-time`
//!   (unsigned 64 bit, nanoseconds), `probation-frames` (unsigned 64 bit).
//! - `model=NAME` of the store follows it: when `vigil bundle use` proposes another release, it is tried here, and becomes the
//!   store's current one when it is confirmed.
//!
//! With `shadow-model` a second model looks at a sample of the frames, within `shadow-cpu`, and nobody gets its answers: they
//! are compared with the active model's, and reported as messages `vigil-shadow` and in `stats`. With `shadow-promote` a model that keeps to
//! the rules takes the active one's place.
//!
//! A model that fails on every frame for `fallback-after` is replaced by the next variant of its bundle, the release before it in
//! the store, or `fallback-model`.
//!
//! # Sharing an engine
//!
//! Elements with the same weights, provider and options share one engine. With `when-busy=wait` they take turns, and each waits
//! for its own. With `when-busy=hold` none waits: before anything is done for a frame, the engine says whether it may be looked
//! at, and if not it goes on with the last result. When there are more frames than the engine can look at, each element
//! gets its share by `weight`, whenever its frames come, and an element that wants less than its share gets all that it wants;
//! a frame that is let in is looked at soon, before the next one of the same camera comes or, with slow models, as one of
//! the next few. `max-fps` limits what an element asks for. `stats` says how many frames were not looked at and why
//! (`held-interval`, `held-budget` for `max-fps`, `held-busy` for `max-in-flight`, `held-turn` for others' turns), which part of the engine's
//! runs were this element's in the last seconds (`share`, 0..1), and how many elements had any (`engine-users`).
//!
//! Where the model takes any number of pictures (the first dimension of all its inputs and outputs is free), frames of all elements
//! that share its engine go into one run, if that pays: when the engine is loaded it is measured with one picture and with 2, 4, 8 and
//! 16, as long as each size does at least a tenth more pictures a second than the one before, and its answers are those that the
//! pictures get alone. No frame waits for others: those that come while the engine works share the next run. A frame on which a shared
//! run fails is looked at again alone. `max-batch` is the most frames of a run, 1 for none beside each other and for no measurement. `stats` has
//! what was chosen (`engine-batch`), what was measured (`engine-batch-measured`, a text with the times per size) and how many pictures a
//! run of the engine had in the mean (`pictures-per-run`); `batch` is about the objects of one frame. On
//! processors a shared run seldom gains anything, and then there is none.
//!
//! # Engines
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
//! (`engine-cpus`) and behind other processes (`engine-niceness`). Without it `engine-niceness` is that of the engine's threads, so that
//! decoding comes first where both want a processor, and the other two do nothing. Pictures and answers lie in
//! memory that both share, so nothing is copied; the application keeps a copy of the model's file in memory for the next start.
//! `stats` then has `engine-state` (`running`, `restarting`), `engine-restarts` and, while it runs, `engine-pid`.
//!
//! # Metadata
//!
//! Written: `VigilFrameMeta`, the frame result: objects or classes of the frame, the model that found them, and the
//! freshness. It has no tags, so that elements which scale or convert keep it; coordinates are 0..1 of the frame.
//!
//! - `fresh`: the model looked at this very frame;
//! - `held`: it did not, because of `interval`, `max-fps` or `when-busy=hold`; the objects are those of the last fresh result, with
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
//! - WARNING at the start if `provider` leaves nodes of the model to the CPU that do more than arithmetic on shapes: which ones, and
//!   how many. `stats` has `nodes` and `nodes-on-cpu` for every provider but `cpu`.
//! - Element message `vigil-infer` when analysis works again: `state` (`recovered`), `frame` (the frame's number).
//! - Element message `vigil-result` for each frame, if `post-messages` is on: `frame`, `pts` and `running-time`
//!   (nanoseconds, left out if unknown), `width`, `height`, `freshness`, `age` (nanoseconds, if held) or `reason` and
//!   `since` (if absent; nanoseconds since 1970 UTC, left out if unknown), `model`, `release`, `digest`, and the lists
//!   `objects` (`id`, `label`, `class-id`, `confidence`, `x`, `y`, `width`, `height`, and where there are any `track`,
//!   `parent`, `attributes`, `keypoints`, `corners`) and `classes` (`label`, `class-id`, `confidence`).
//! - Element message `vigil-model` for each phase of a swap: `request-id`, `phase` (`requested`, `staged`, `verified`, `loaded`,
//!   `proven`, `shadowed`, `activated`, `probation`, `confirmed`, `rejected`, `rolled-back`), `cause` (`property`, `signal`, `event`,
//!   `store`, `shadow`, `fallback`), `reason` (where it ended otherwise than well), `text`, `new-model` (what was asked for), `old-name`,
//!   `old-release`, `old-digest`, `new-name`, `new-release`, `new-digest` (of the whole bundles; as far as they are known), `elapsed` and
//!   `phase-time` (nanoseconds), `utc` (nanoseconds since 1970 UTC). `swap-history` has the last 32.
//! - Element message `vigil-shadow` every `shadow-report` while a shadow model looks at frames: `request-id`, and the figures that `stats`
//!   has with `shadow-` before them: `samples`, `matched`, `class-changes`, `missed` (only the active model found it), `extra`,
//!   `agreement` (0..1), `score-shift` (new less old), `frames`, `errors`, `non-finite`, `run-median`, `run-p99`, and the active model's
//!   `active-run-median`, `active-run-p99` (nanoseconds).
//! - LATENCY when frames take longer than before. Frames on which the model failed do not count.
//!
//! The signal `result` carries the same structure as `vigil-result`, if `emit-signals` is on. It is emitted from the
//! streaming thread, before the frame goes on.
//!
//! # Statistics
//!
//! `stats` counts from the making of the element on. Times are in nanoseconds.
//!
//! - `frames`: the sum of `fresh`, `held` and `absent`; `held-…`: not looked at, by reason; `errors`: frames on which the engine failed;
//!   `objects`: looked at in a cascade; `dropped-values`: impossible values of the model that were dropped, `dropped-non-finite` of them no
//!   numbers; `in-flight`: frames in the engine right now.
//! - `result-age`: since the newest frame that the model looked at came in; missing before the first one.
//! - `pre-…`, `queue-…`, `run-…`, `post-…`: bringing a frame into the model's input, waiting for the engine, the model, decoding its
//!   answer, of frames that the model looked at; `total-…`: of all frames, from coming in to going out. Each has `-median`, `-p95`, `-p99`,
//!   `-max`, `-sum` (of all frames since the start) and `-buckets`: how many took at most 1, 2, 5, 10, 20, 50, 100, 200, 500 ms, 1, 2, 5 s, and
//!   all; a time less than 1/32 below a bound may count as above it.
//! - `model`, `release`, `digest`, `provider`: what looks at the frames; `swaps`, `swaps-confirmed`, `swaps-rejected`, `swaps-rolled-back`.
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
mod settled;
mod specs;
mod stats;
mod swap;
mod telling;
mod trials;

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
