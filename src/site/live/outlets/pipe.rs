//! A pipeline that takes a feed's pictures, looked after by a thread of its own: started with the first picture, ended with the
//! camera, and built anew when it fails.

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use gst::prelude::*;

use super::over::Over;
use super::report::Report;
use crate::gstutil::{error_text, lock};
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

/// A pipeline that is looked after. It ends by [`Self::end`], or, with nobody waiting, when this is dropped.
pub struct Pipe {
    notes: Sender<Note>,
    /// Until it is told to end.
    done: Option<Receiver<bool>>,
    subscription: Option<Subscription>,
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
        Self { notes, done: Some(done), subscription: Some(feed.subscribe(intake)) }
    }

    /// Has the stream end, without waiting for it; what takes longer than `limit` is cut.
    pub fn end(mut self, limit: Duration) -> Over {
        drop(self.subscription.take());
        // A thread that is not there any more has nothing to end.
        let _ = self.notes.send(Note::Stop(limit));
        Over::new(self.done.take())
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        if self.done.is_some() {
            let _ = self.notes.send(Note::Stop(END));
        }
    }
}

/// How a pipeline came to its end.
enum End {
    /// The camera has ended.
    Ended,
    Failed,
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
                End::Failed => {
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
            Err(text) => {
                self.report.set_error(&text);
                return End::Failed;
            }
        };
        let end = self.watch(&pipeline, first).unwrap_or_else(|text| {
            // Before what may hang with the pipeline.
            self.report.set_error(&text);
            End::Failed
        });
        self.report.set_active(false);
        self.intake.close();
        // What waits here is this output's thread alone.
        let _ = pipeline.set_state(gst::State::Null);
        end
    }

    /// How it comes to its end, or a text that says why it fails.
    fn watch(&self, pipeline: &gst::Pipeline, first: &Frame) -> Result<End, String> {
        let source = pipeline.by_name(SOURCE).and_then(|source| source.downcast::<gst_app::AppSrc>().ok());
        let (Some(source), Some(bus)) = (source, pipeline.bus()) else { return Err("it has no source".into()) };
        self.listen(&bus);
        if pipeline.set_state(gst::State::Playing).is_err() {
            return Err(self.why().unwrap_or_else(|| "it cannot be started".into()));
        }
        self.intake.open(&source, K::ROOM, Zero::First, Some(first));
        self.report.set_active(true);
        loop {
            match self.inbox.recv_timeout(LOOK) {
                Ok(Note::Pipeline(number, what)) if number == self.number => return what.map(|()| End::Ended),
                Ok(Note::Ended) => return Ok(self.finish(END, false)),
                Ok(Note::Stop(limit)) => return Ok(self.finish(limit, true)),
                Ok(Note::Picture(_) | Note::Pipeline(..)) => {}
                Err(RecvTimeoutError::Disconnected) => return Ok(self.finish(END, true)),
                Err(RecvTimeoutError::Timeout) => {
                    self.look()?;
                    self.report.set_error("");
                }
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
                gst::MessageView::Error(error) => Some(Err(error_text(&error.error(), error.debug().as_deref()))),
                gst::MessageView::Warning(warning)
                    if K::NOT_FOUND_FAILS && warning.error().matches(gst::ResourceError::NotFound) =>
                {
                    Some(Err(error_text(&warning.error(), warning.debug().as_deref())))
                }
                _ => None,
            };
            if let Some(what) = what {
                let notes = lock(&notes);
                let _ = notes.send(Note::Pipeline(number, what));
            }
            gst::BusSyncReply::Drop
        });
    }

    /// The error that the pipeline has told of.
    fn why(&self) -> Option<String> {
        let mut why = None;
        let mut stop = None;
        for note in self.inbox.try_iter() {
            match note {
                Note::Pipeline(number, Err(text)) if number == self.number => {
                    why.get_or_insert(text);
                }
                Note::Stop(limit) => stop = Some(limit),
                _ => {}
            }
        }
        // What it is told is not forgotten over it.
        let _ = stop.map(|limit| self.notes.send(Note::Stop(limit)));
        why
    }

    /// Ends the stream, within `limit` unless it is told another one meanwhile. What is cut is told.
    fn finish(&self, limit: Duration, mut stopped: bool) -> End {
        let (mut limit, mut begun) = (limit, Instant::now());
        let ended = match self.intake.close() {
            Some(source) if source.end_of_stream().is_err() => Err("its stream cannot be ended".to_owned()),
            Some(_) => loop {
                match self.inbox.recv_timeout(limit.saturating_sub(begun.elapsed())) {
                    Ok(Note::Pipeline(number, what)) if number == self.number => break what,
                    // The camera has ended, and is then removed.
                    Ok(Note::Stop(within)) => (limit, begun, stopped) = (within, Instant::now(), true),
                    Ok(_) => {}
                    Err(_) => break Err(format!("its stream did not end within {} s", limit.as_secs_f32().ceil())),
                }
            },
            None => Ok(()),
        };
        if let Err(text) = &ended {
            self.report.set_error(&format!("{text}: what was written last may be cut"));
        }
        if stopped { End::Stopped(ended.is_ok()) } else { End::Ended }
    }
}
