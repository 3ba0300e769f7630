//! A camera's pictures on their way into another pipeline.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use gst::prelude::*;

use super::feed::{Consumer, Feed, Frame};
use crate::gstutil::lock;

/// The name of the `appsrc` that takes the pictures.
pub const SOURCE: &str = "feed";
/// That `appsrc` in a launch line. How much waits in it, the intake decides.
pub const LINE: &str = "appsrc name=feed is-live=true format=time max-bytes=0 emit-signals=false";

/// What became of an output's pictures.
#[derive(Debug, Default)]
pub struct Counts {
    /// Handed over.
    pub frames: AtomicU64,
    /// Not handed over: the pipeline was not ready, or had not yet taken the ones before.
    pub dropped: AtomicU64,
}

impl Counts {
    /// Counts one that was handed over.
    pub fn frame(&self) {
        self.frames.fetch_add(1, Ordering::Relaxed);
    }

    fn miss(&self) {
        self.dropped.fetch_add(1, Ordering::Relaxed);
    }
}

/// What a pipeline's pictures count their time from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Zero {
    /// The first picture: for files.
    First,
    /// The pipeline's own zero: where other streams or clients share its time.
    Pipeline,
}

/// What an intake tells the thread that looks after the pipeline.
pub trait Notice: Send {
    /// A picture is there, and no pipeline that takes it.
    fn picture(frame: &Frame) -> Self;
    /// The camera has come to its end.
    fn ended() -> Self;
}

struct Port {
    source: gst_app::AppSrc,
    room: u64,
    zero: Zero,
    /// Time of the first picture.
    first: Option<gst::ClockTime>,
    last: Option<gst::ClockTime>,
    /// Caps as they came, and as they are handed over.
    caps: Option<(gst::Caps, gst::Caps)>,
    rate: Option<gst::Fraction>,
    /// Since when the pipeline has taken nothing.
    stuck: Option<gst::ClockTime>,
}

struct State<N> {
    port: Option<Port>,
    /// Who is to know of the next picture, or of the end.
    asked: bool,
    notices: Option<Sender<N>>,
}

/// A [`Consumer`] that hands pictures to an `appsrc`: without copying pixels, without waiting, with times of its own. It holds
/// back at most as many as there is room for; further ones are dropped and counted.
pub struct Intake<N> {
    state: Mutex<State<N>>,
    counts: Arc<Counts>,
}

impl<N> Intake<N> {
    /// One that counts in `counts` and tells `notices`.
    pub fn new(counts: &Arc<Counts>, notices: Option<Sender<N>>) -> Arc<Self> {
        let state = State { port: None, asked: false, notices };
        Arc::new(Self { state: Mutex::new(state), counts: Arc::clone(counts) })
    }

    fn lock(&self) -> MutexGuard<'_, State<N>> {
        lock(&self.state)
    }

    /// Asks for a notice of the next picture.
    pub fn ask(&self) {
        self.lock().asked = true;
    }

    /// Hands pictures to `source`, made from [`LINE`], from now on, `first` before all others, and has at most `room` wait in it.
    pub fn open(&self, source: &gst_app::AppSrc, room: u64, zero: Zero, first: Option<&Frame>) {
        let mut port =
            Port { source: source.clone(), room, zero, first: None, last: None, caps: None, rate: None, stuck: None };
        let mut state = self.lock();
        if let Some(frame) = first {
            port.push(frame, &self.counts);
        }
        state.asked = false;
        state.port = Some(port);
    }

    /// Hands over no more, and gives the `appsrc` back.
    pub fn close(&self) -> Option<gst_app::AppSrc> {
        self.lock().port.take().map(|port| port.source)
    }

    /// Whether the pipeline has taken no picture for `limit`, though there were some.
    pub fn is_stuck(&self, limit: Duration) -> bool {
        let state = self.lock();
        // One that has emptied its room since is not, though no picture has come that would show it.
        let full = state.port.as_ref().filter(|port| port.source.current_level_buffers() >= port.room);
        full.and_then(|port| port.stuck).is_some_and(|since| now().saturating_sub(since) > clock_time(limit))
    }
}

impl<N: Notice> Consumer for Intake<N> {
    fn frame(&self, frame: &Frame) {
        let mut state = self.lock();
        if let Some(port) = &mut state.port {
            return port.push(frame, &self.counts);
        }
        if std::mem::take(&mut state.asked) {
            // A channel without bounds: it does not wait.
            let _ = state.notices.as_ref().map(|notices| notices.send(N::picture(frame)));
        } else {
            self.counts.miss();
        }
    }

    fn ended(&self) {
        let _ = self.lock().notices.as_ref().map(|notices| notices.send(N::ended()));
    }
}

impl Port {
    fn push(&mut self, frame: &Frame, counts: &Counts) {
        let (Some(buffer), Some(caps)) = (frame.sample.buffer_owned(), frame.sample.caps_owned()) else { return };
        if self.source.current_level_buffers() >= self.room {
            self.stuck.get_or_insert_with(now);
            return counts.miss();
        }
        let Some(time) = self.time(frame.at) else { return counts.miss() };
        self.stuck = None;
        self.last = Some(time);
        self.set_caps(caps);
        // The memory is shared, only the description of the buffer is new.
        let mut buffer = buffer.copy();
        if let Some(buffer) = buffer.get_mut() {
            buffer.set_pts(time);
            buffer.set_dts(gst::ClockTime::NONE);
            buffer.set_duration(gst::ClockTime::NONE);
        }
        match self.source.push_buffer(buffer) {
            Ok(_) => counts.frame(),
            Err(_) => counts.miss(),
        }
    }

    /// The time of a picture that was there at `at`, after the one before it; `None`: the pipeline takes none yet.
    fn time(&mut self, at: gst::ClockTime) -> Option<gst::ClockTime> {
        let zero = match self.zero {
            Zero::First => *self.first.get_or_insert(at),
            Zero::Pipeline if self.source.current_state() == gst::State::Playing => self.source.base_time()?,
            // The first one may wait: it is what the caps of what follows are made from.
            Zero::Pipeline if self.last.is_none() => at,
            Zero::Pipeline => return None,
        };
        let time = at.saturating_sub(zero);
        Some(self.last.map_or(time, |last| time.max(last + gst::ClockTime::MSECOND)))
    }

    /// Tells the pipeline of new caps, with the frame rate of the first ones: cameras do not keep to it anyway, and muxers cannot
    /// follow a change.
    fn set_caps(&mut self, caps: gst::Caps) {
        if self.caps.as_ref().is_some_and(|(came, _)| *came == caps) {
            return;
        }
        let rate = *self.rate.get_or_insert_with(|| rate(&caps));
        let mut handed = caps.clone();
        handed.make_mut().set("framerate", rate);
        if self.caps.as_ref().is_none_or(|(_, before)| *before != handed) {
            self.source.set_caps(Some(&handed));
        }
        self.caps = Some((caps, handed));
    }
}

/// The frame rate that caps speak of, or a usual one: some encoders do not work without.
fn rate(caps: &gst::Caps) -> gst::Fraction {
    let rate = caps.structure(0).and_then(|s| s.get::<gst::Fraction>("framerate").ok());
    rate.filter(|rate| rate.numer() > 0).unwrap_or_else(|| gst::Fraction::new(25, 1))
}

/// The time that [`Frame::at`] counts in.
pub fn now() -> gst::ClockTime {
    gst::SystemClock::obtain().time()
}

fn clock_time(duration: Duration) -> gst::ClockTime {
    gst::ClockTime::try_from(duration).unwrap_or(gst::ClockTime::MAX)
}

/// A picture that `feed` has from now on, or the last one if none comes within `limit`: somebody is waiting for it, so that a
/// tile is composed.
pub fn fresh(feed: &Arc<Feed>, limit: Duration) -> Option<Frame> {
    struct One(Mutex<Option<Sender<Frame>>>);
    impl Consumer for One {
        fn frame(&self, frame: &Frame) {
            let sender = lock(&self.0).take();
            let _ = sender.map(|sender| sender.send(frame.clone()));
        }

        fn ended(&self) {
            // There is nothing more to wait for.
            drop(lock(&self.0).take());
        }
    }
    let (sender, receiver) = std::sync::mpsc::channel();
    let subscription = feed.subscribe(Arc::new(One(Mutex::new(Some(sender)))));
    let frame = receiver.recv_timeout(limit).ok();
    drop(subscription);
    frame.or_else(|| feed.latest())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::site::live::outlets::pipe::Note;

    fn frame() -> Frame {
        let caps = gst::Caps::builder("video/x-raw").field("format", "GRAY8").field("width", 16).field("height", 16);
        let caps = caps.field("framerate", gst::Fraction::new(25, 1)).build();
        let sample = gst::Sample::builder().buffer(&gst::Buffer::with_size(256).unwrap()).caps(&caps).build();
        Frame { sample, at: now(), live: true }
    }

    #[test]
    fn a_pipeline_that_has_taken_all_there_was_is_not_stuck() {
        gst::init().unwrap();
        let line = format!("{LINE} ! appsink name=out max-buffers=1 sync=false");
        let pipeline = gst::parse::launch(&line).unwrap().downcast::<gst::Pipeline>().unwrap();
        let source = pipeline.by_name(SOURCE).unwrap().downcast::<gst_app::AppSrc>().unwrap();
        let out = pipeline.by_name("out").unwrap().downcast::<gst_app::AppSink>().unwrap();
        pipeline.set_state(gst::State::Playing).unwrap();
        let counts = Arc::default();
        let intake = Intake::<Note>::new(&counts, None);
        intake.open(&source, 1, Zero::First, None);
        // The sink has one, another one waits for it, a third one in the room; the next ones are too many.
        while !intake.is_stuck(Duration::ZERO) {
            intake.frame(&frame());
        }
        assert!(counts.dropped.load(Ordering::Relaxed) > 0);
        while source.current_level_buffers() > 0 {
            assert!(out.try_pull_sample(gst::ClockTime::from_seconds(60)).is_some());
        }
        assert!(!intake.is_stuck(Duration::ZERO), "no picture has come since, and nothing waits");
        pipeline.set_state(gst::State::Null).unwrap();
    }
}
