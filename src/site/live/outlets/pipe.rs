//! A pipeline that takes a feed's pictures, looked after by a thread of its own: started with the first picture, ended with the
//! camera, and built anew when it fails.

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use gst::prelude::*;

use super::report::Report;
use crate::site::live::feed::{Feed, Frame, Subscription};
use crate::site::live::intake::{Intake, Notice, SOURCE, Zero};

/// How often a pipeline is looked at while it says nothing.
const LOOK: Duration = Duration::from_secs(5);
/// One that has taken no picture for so long hangs.
const STUCK: Duration = Duration::from_secs(15);
/// One that has worked for so long is tried again soon when it fails.
const GOOD: Duration = Duration::from_secs(60);
/// How long the end of a stream may take when the camera ends.
const END: Duration = Duration::from_secs(10);

/// A kind of output.
pub trait Kind: Send + 'static {
    /// A pipeline that begins with [`LINE`](crate::site::live::intake::LINE), for pictures like `first`.
    ///
    /// # Errors
    /// A text that says what is missing.
    fn build(&mut self, first: &Frame) -> Result<gst::Pipeline, String>;

    /// Looks whether it still makes sense: asked every few seconds.
    ///
    /// # Errors
    /// A text that says what has happened.
    fn look(&self) -> Result<(), String> {
        Ok(())
    }

    /// Most pictures that wait for the pipeline.
    const ROOM: u64;
    /// The first pause after a failure, and the longest: each is twice the one before.
    const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
    /// Whether a warning that something was not found means that it does not work.
    const NOT_FOUND_FAILS: bool = false;
}

/// What the thread is told.
pub enum Note {
    /// A picture is there, and no pipeline that takes it.
    Picture(Box<Frame>),
    /// The camera has come to its end.
    Ended,
    /// The pipeline of this number has come to the end of its stream, or failed.
    Pipeline(u64, Result<(), String>),
    /// It is to end, within this time.
    Stop(Duration),
}

impl Notice for Note {
    fn picture(frame: &Frame) -> Self {
        Self::Picture(Box::new(frame.clone()))
    }

    fn ended() -> Self {
        Self::Ended
    }
}

/// A pipeline that is looked after.
pub struct Pipe {
    notes: Sender<Note>,
    done: Receiver<bool>,
    subscription: Subscription,
}

impl Pipe {
    /// Has `kind` take the pictures of `feed`.
    pub fn start(kind: impl Kind, report: &Arc<Report>, feed: &Arc<Feed>) -> Self {
        let ((notes, inbox), (finished, done)) = (channel(), channel());
        let intake = Intake::new(&report.counts, Some(notes.clone()));
        intake.ask();
        let keeper = Keeper {
            kind,
            report: Arc::clone(report),
            intake: Arc::clone(&intake),
            notes: notes.clone(),
            inbox,
            number: 0,
        };
        let spawned = std::thread::Builder::new().name("vigil-output".into()).spawn(move || {
            let whole = keeper.run();
            // Nobody may be waiting any more.
            let _ = finished.send(whole);
        });
        if let Err(err) = spawned {
            report.set_error(&format!("no thread can be started: {err}"));
        }
        Self { notes, done, subscription: feed.subscribe(intake) }
    }

    /// Ends the stream; `false` if it took longer than `limit`, and was left to end when it can.
    pub fn stop(self, limit: Duration) -> bool {
        drop(self.subscription);
        if self.notes.send(Note::Stop(limit)).is_err() {
            return true;
        }
        // The thread has the same limit for the stream's end, and then some work.
        self.done.recv_timeout(limit.saturating_add(Duration::from_millis(500))).unwrap_or(false)
    }
}

/// How a pipeline came to its end.
enum End {
    /// The camera has ended.
    Ended,
    Failed(String),
    /// It was stopped: whether its stream came to its end.
    Stopped(bool),
}

struct Keeper<K> {
    kind: K,
    report: Arc<Report>,
    intake: Arc<Intake<Note>>,
    notes: Sender<Note>,
    inbox: Receiver<Note>,
    /// Of the pipeline: what others have said is of no interest.
    number: u64,
}

impl<K: Kind> Keeper<K> {
    /// Whether everything came to its end.
    fn run(mut self) -> bool {
        let mut pause = K::PAUSES.0;
        loop {
            let Some(first) = self.first() else { return true };
            let begun = Instant::now();
            match self.play(&first) {
                End::Ended => {}
                End::Stopped(whole) => return whole,
                End::Failed(text) => {
                    self.report.set_error(&text);
                    if begun.elapsed() > GOOD {
                        pause = K::PAUSES.0;
                    }
                    if !self.wait(pause) {
                        return true;
                    }
                    pause = (pause * 2).min(K::PAUSES.1);
                }
            }
        }
    }

    /// Waits for a picture; `None` if it is to stop.
    fn first(&self) -> Option<Box<Frame>> {
        self.intake.ask();
        loop {
            match self.inbox.recv() {
                Ok(Note::Picture(frame)) => return Some(frame),
                Ok(Note::Stop(_)) | Err(_) => return None,
                Ok(Note::Ended | Note::Pipeline(..)) => {}
            }
        }
    }

    /// `false` if it is to stop.
    fn wait(&self, pause: Duration) -> bool {
        let until = Instant::now() + pause;
        loop {
            match self.inbox.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(Note::Stop(_)) | Err(RecvTimeoutError::Disconnected) => return false,
                Err(RecvTimeoutError::Timeout) => return true,
                Ok(_) => {}
            }
        }
    }

    fn play(&mut self, first: &Frame) -> End {
        self.number += 1;
        let pipeline = match self.kind.build(first) {
            Ok(pipeline) => pipeline,
            Err(text) => return End::Failed(text),
        };
        let end = self.watch(&pipeline, first);
        self.report.set_active(false);
        self.intake.close();
        // What waits here is this output's thread alone.
        let _ = pipeline.set_state(gst::State::Null);
        end
    }

    fn watch(&self, pipeline: &gst::Pipeline, first: &Frame) -> End {
        let source = pipeline.by_name(SOURCE).and_then(|source| source.downcast::<gst_app::AppSrc>().ok());
        let (Some(source), Some(bus)) = (source, pipeline.bus()) else { return End::Failed("it has no source".into()) };
        self.listen(&bus);
        if pipeline.set_state(gst::State::Playing).is_err() {
            return End::Failed(self.why().unwrap_or_else(|| "it cannot be started".into()));
        }
        self.intake.open(&source, K::ROOM, Zero::First, Some(first));
        self.report.set_active(true);
        loop {
            match self.inbox.recv_timeout(LOOK) {
                Ok(Note::Pipeline(number, what)) if number == self.number => match what {
                    Ok(()) => return End::Ended,
                    Err(text) => return End::Failed(text),
                },
                Ok(Note::Ended) => {
                    self.finish(END);
                    return End::Ended;
                }
                Ok(Note::Stop(limit)) => return End::Stopped(self.finish(limit)),
                Ok(Note::Picture(_) | Note::Pipeline(..)) => {}
                Err(RecvTimeoutError::Disconnected) => return End::Stopped(self.finish(END)),
                Err(RecvTimeoutError::Timeout) => match self.look() {
                    Ok(()) => self.report.set_error(""),
                    Err(text) => return End::Failed(text),
                },
            }
        }
    }

    fn look(&self) -> Result<(), String> {
        if self.intake.is_stuck(STUCK) {
            return Err(format!("it has taken no picture for {} s", STUCK.as_secs()));
        }
        self.kind.look()
    }

    /// Passes on what the pipeline says; it holds nothing of the pipeline.
    fn listen(&self, bus: &gst::Bus) {
        let (notes, number) = (Mutex::new(self.notes.clone()), self.number);
        bus.set_sync_handler(move |_, message| {
            let what = match message.view() {
                gst::MessageView::Eos(_) => Some(Ok(())),
                gst::MessageView::Error(error) => Some(Err(text(&error.error(), error.debug().as_deref()))),
                gst::MessageView::Warning(warning)
                    if K::NOT_FOUND_FAILS && warning.error().matches(gst::ResourceError::NotFound) =>
                {
                    Some(Err(text(&warning.error(), warning.debug().as_deref())))
                }
                _ => None,
            };
            if let Some(what) = what {
                let notes = notes.lock().unwrap_or_else(PoisonError::into_inner);
                let _ = notes.send(Note::Pipeline(number, what));
            }
            gst::BusSyncReply::Drop
        });
    }

    /// The error that the pipeline has told of.
    fn why(&self) -> Option<String> {
        self.inbox.try_iter().find_map(|note| match note {
            Note::Pipeline(number, Err(text)) if number == self.number => Some(text),
            _ => None,
        })
    }

    /// Ends the stream; `false` if it does not come to its end within `limit`.
    fn finish(&self, limit: Duration) -> bool {
        let until = Instant::now() + limit;
        let Some(source) = self.intake.close() else { return true };
        if source.end_of_stream().is_err() {
            return false;
        }
        let mut stop = None;
        let whole = loop {
            match self.inbox.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(Note::Pipeline(number, what)) if number == self.number => {
                    if let Err(text) = &what {
                        self.report.set_error(text);
                    }
                    break what.is_ok();
                }
                // The camera has ended, and is then removed.
                Ok(Note::Stop(limit)) => stop = Some(limit),
                Ok(_) => {}
                Err(_) => break false,
            }
        };
        if let Some(limit) = stop {
            let _ = self.notes.send(Note::Stop(limit));
        }
        whole
    }
}

/// An error in one line: what it is, and the last line of the details, which says why.
pub fn text(error: &glib::Error, debug: Option<&str>) -> String {
    let why = debug.and_then(|debug| debug.lines().rfind(|line| !line.trim().is_empty()));
    match why.map(|line| line.trim().trim_end_matches(':')) {
        // One line is the place in the source and nothing else.
        Some(why) if debug.is_some_and(|debug| debug.trim().lines().count() > 1) => format!("{error} ({why})"),
        _ => error.to_string(),
    }
}
