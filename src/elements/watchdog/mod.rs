//! `vigilwatchdog`: keeps the video going when the analysis cannot.
//!
//! A bin around a chain of elements that gives out the frames it takes in. Every frame that enters leaves exactly once and in
//! order: as the chain made it if that is back within `deadline`, untouched otherwise. Events, caps, segments, flushes, gaps and
//! the end of the stream keep their place. Whatever the chain does (hang, fail, panic, lose frames, double them, change their
//! order or their times, end the stream), the stream goes on: its errors end in the bin.
//!
//! The chain is the bin's children, or the launch description `chain`. Any elements will do, as long as the chain has one open sink
//! pad and one open source pad and keeps the caps. Put `vigiloverlay` and `vigilexport` behind the bin, so that they show that
//! analysis is off; `vigiltrack` may be in either place, but a chain that is replaced starts its identities anew.
//!
//! What the chain cannot take is not offered to upstream, so that a `videoconvert` before the bin knows what to make; caps that come
//! all the same end the analysis and not the video. Events and queries from downstream (seeks, QoS, navigation, latency) go to
//! upstream past the chain. Sinks, sources and clocks in the chain are the chain's own: the pipeline does not wait for their end.
//!
//! # Modes
//!
//! - `analysing`: frames go to the chain and leave when they are back. One that is not back within `deadline` leaves untouched,
//!   and what the chain makes of it later is dropped. `max-misses` of them in a row, an error, a panic, a flow error, an end of
//!   stream or other caps end this mode; a frame that the chain leaves out while it gives back later ones does not.
//! - `bypassing`: all frames leave untouched. The chain is let go of, not restarted: another one is built after `backoff`, which
//!   doubles up to `backoff-max` with each failure, and begins anew after `stable-time` without one. `max-restarts` within
//!   `restart-window` end it for good, until `reset`.
//! - `recovering`: all frames leave untouched, and the new chain gets copies. Once it has given back `recover-frames` of them in a
//!   row in time, the mode is `analysing`; the first one that is late ends the try.
//!
//! At the start, the element waits for the chain (a model loads) up to `start-timeout`; a chain that does not start then, or
//! fails, does not keep the video from starting. What can never work (a description that cannot be parsed, a chain without two
//! open pads) is one ERROR.
//!
//! A chain that hangs is not waited for: not by the stream, not by the application, not by the change to NULL. It is taken out
//! of the bin and ended by a thread of its own, whenever it can be. `stats` counts those that are not gone; at `max-abandoned`
//! of them no chain is built until one goes.
//!
//! The elements that were put into the bin serve until they fail; then others like them are made, with the same names and
//! properties, also those that were set since (but for those that cannot be written as text, which the log says). Look elements
//! up by name when the message of a change has come (`element::property` works on the bin); signal handlers must be connected
//! again (`deep-element-added`). Plain bins and elements without a factory cannot be made again and are refused. With `chain`,
//! each chain is as described: what was set on the elements of the one before is gone. Another description that is set while
//! it runs is for the next chain.
//!
//! `force-bypass` lets all frames pass untouched without an end of the chain, for maintenance. The action signal `reset` replaces
//! the chain at once and forgets earlier failures.
//!
//! # Time
//!
//! All times are of the element's clock; while paused, when that may stand still, and for `start-timeout`, of the system's.
//! `deadline` is the latency that live pipelines are told: no frame leaves later than that after it came in, and between two frames
//! that leave is at most a deadline and one period of the source.
//!
//! A chain that is slower than its source holds the source up, for a deadline at most. Two frames then wait for the chain to
//! take them, beside those that it holds. Choose `deadline` longer than the chain takes with all of these (with `vigilinfer`: the
//! time of a run times `max-in-flight` + 2), or frames are late though nothing hangs. After a hang that has held the source up,
//! frames made meanwhile still leave a deadline after their own time, which is known by their PTS.
//!
//! A live pipeline's sink holds frames back for its latency, and the bin holds them until then: as many as come within `deadline`
//! (256 at most). A chain that hangs keeps the frames that it has: with a pool of fixed size upstream, each costs it a buffer.
//!
//! No pixels are copied: the chain gets the frame's own buffer, and the bin keeps another one over the same memory. Only a chain
//! that draws on the pixels makes a copy of them, and so does memory that may not be shared (some V4L2 drivers).
//!
//! # Metadata
//!
//! Written: on untouched frames that carry no frame result, `VigilFrameMeta` with the freshness `absent`, the reason (`deadline`:
//! late, or since frames were late; `chain-error`; `engine-error`; `starting`; `maintenance`; `skipped`: the chain left it out) and
//! since when nothing is analysed.
//!
//! Read: `VigilFrameMeta`: a frame on which the engine failed (`engine-error`) counts as a miss.
//!
//! # Messages
//!
//! - Element message `vigil-watchdog` for each change: `from`, `to` (modes), `cause` (`start`, `deadline`, `engine`, `error`, `flow`,
//!   `panic`, `eos`, `caps`, `build`: not ready in time, `forced`, `released`, `reset`, `back-off`, `recovered`, `abandoned`: too
//!   many chains hang, `stop`), `detail`, `time` (nanoseconds of the clock), `restarts`, `abandoned`, `exhausted`, and `back-off`
//!   (nanoseconds until the next chain is built) if one will be. With `from` = `to`: another try failed.
//! - WARNING with the reason when analysis ends, and when another try fails.
//! - Messages of the chain's elements pass, but for errors and those that would speak for the whole stream.
//!
//! # Statistics
//!
//! `stats` counts from the making of the element on, also over stops. Times are in nanoseconds.
//!
//! - `mode`, `since` (of the clock), `forced`, `last-cause`, `last-detail`, `causes` (how often each cause changed something).
//! - `frames-in`, `frames-out`: the sum of `analysed`, `bypassed`, `late` (back too late) and `swallowed` (left out by the chain).
//! - `duplicates`: what the chain gave out for frames that were gone already.
//! - `time-analysing`, `time-bypassing`, `time-recovering`; `chain-time-median`, `-p95`, `-p99`, `-max`, `-sum` and `-buckets` (how many took at
//!   most 1, 2, 5, 10, 20, 50, 100, 200, 500 ms, 1, 2, 5 s, and all): of frames that came back in time.
//! - `restarts`: chains built in place of another; `abandoned`: chains that were let go of and are not gone; `abandoned-total`: all
//!   that were let go of; `exhausted`: none is built until `reset`; `back-off`: until the next one is built, if one will be.
//!
//! # Launch lines
//!
//! ```text
//! gst-launch-1.0 -m videotestsrc num-buffers=50 ! vigilwatchdog chain="vigilinfer model=people ! vigiltrack" ! \
//!     vigiloverlay ! fakesink
//! ```
//!
//! The same with elements instead of a description:
//!
//! ```text
//! gst-launch-1.0 videotestsrc num-buffers=50 ! 'vigilwatchdog.(' deadline=2000000000 vigilinfer model=people ')' ! fakesink
//! ```
//!
//! That form links its neighbours to the elements inside. Behind an element whose pads come later (`decodebin`, `rtspsrc`), use
//! `chain`, or a name: `vigilwatchdog.( name=dog … ) rtspsrc … ! decodebin ! dog. dog. ! …`.
//!
//! An engine in a process of its own, which may die without an end of the chain:
//!
//! ```text
//! gst-launch-1.0 rtspsrc location=rtsp://camera.local/stream ! decodebin ! \
//!     vigilwatchdog chain="vigilinfer model=people isolation=process ! vigiltrack" ! \
//!     vigiloverlay ! videoconvert ! autovideosink
//! ```

mod branch;
mod chain;
mod core;
mod element;
mod exit;
mod flow;
mod frames;
mod imp;
mod message;
mod pads;
mod properties;
mod shell;
mod sticky;

use std::sync::{Arc, LazyLock};

use gst::glib;
use gst::prelude::*;
use gst::subclass::prelude::*;

static CAT: LazyLock<gst::DebugCategory> =
    LazyLock::new(|| gst::DebugCategory::new("vigilwatchdog", gst::DebugColorFlags::empty(), Some("Vigil watchdog")));

glib::wrapper! {
    /// Supervises a chain of elements and lets the frames pass when it fails.
    pub struct Watchdog(ObjectSubclass<imp::Watchdog>) @extends gst::Bin, gst::Element, gst::Object,
        @implements gst::ChildProxy;
}

impl Watchdog {
    fn core(&self) -> &Arc<core::Core> {
        self.imp().core()
    }
}

/// Registers the factory `vigilwatchdog`.
///
/// # Errors
/// If GStreamer refuses it.
pub fn register(plugin: &gst::Plugin) -> Result<(), glib::BoolError> {
    gst::Element::register(Some(plugin), "vigilwatchdog", gst::Rank::NONE, Watchdog::static_type())
}
