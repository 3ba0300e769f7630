//! Frames in, frame results out: in order, with several under way.
//!
//! ```text
//! read, enter (streaming thread)     lanes (engine's threads)          next (pushing thread)
//! pre-process into a free job  ──▶   run, decode into the entry  ──▶   first entry, once it is ready
//! ```
//!
//! Every frame that goes in comes out once, with a result that says whether the model looked at it. `T` is what travels
//! with the frame (a buffer); nothing here knows what it is.

mod job;
mod stats;

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use job::Job;
pub use stats::{Snapshot, Stats};

use crate::engine::lanes::User;
use crate::engine::slot::Slot;
use crate::engine::{Engine, EngineError};
use crate::frame::FrameView;
use crate::model::Model;
use crate::result::{AbsentReason, FrameResult, Freshness};

/// What to do with a frame that should be analysed while the most frames that may be under way are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WhenBusy {
    /// Wait: every frame is analysed, and the source is slowed down.
    #[default]
    Wait,
    /// Go on with the last result, marked as held: video keeps its pace.
    Hold,
}

/// How frames are analysed; may change between two frames.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// Frames that are skipped between two that are analysed.
    pub interval: u32,
    /// Frames that may be under way in the engine at once; at least 1.
    pub max_in_flight: usize,
    /// What to do when they are.
    pub when_busy: WhenBusy,
    /// Lowest confidence for every class, instead of the bundle's.
    pub confidence: Option<f32>,
    /// IoU over which two boxes are one object, instead of the bundle's.
    pub iou: Option<f32>,
    /// Most objects per frame, instead of the bundle's.
    pub max_objects: Option<usize>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            interval: 0,
            max_in_flight: 1,
            when_busy: WhenBusy::Wait,
            confidence: None,
            iou: None,
            max_objects: None,
        }
    }
}

/// When a frame belongs, as [`FrameResult`] carries it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Times {
    /// Presentation time, nanoseconds of the stream's time.
    pub pts_ns: Option<u64>,
    /// Running time, nanoseconds.
    pub running_time_ns: Option<u64>,
    /// Wall clock, nanoseconds since 1970 UTC.
    pub utc_ns: u64,
}

/// A frame that comes out.
#[derive(Debug)]
pub struct Outcome<T> {
    /// What came in with the frame.
    pub payload: T,
    /// What is known about it.
    pub result: FrameResult,
    /// Why the model gave no answer, if it failed on this frame.
    pub error: Option<String>,
    /// Nanoseconds since the frame came in.
    pub elapsed_ns: u64,
}

/// The analysis was told to let go of its frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flushing;

enum State {
    /// The result is complete.
    Ready,
    /// Takes its objects from the last fresh result before it.
    Hold,
    /// Waits for a lane.
    Queued(Box<Job>, Instant),
    /// On a lane.
    Running,
}

/// A frame that was read and waits to be put in line.
#[must_use = "a frame that was read holds a place in the engine until it is entered"]
pub struct Ticket {
    result: FrameResult,
    state: State,
    since: Instant,
}

struct Entry<T> {
    payload: T,
    result: FrameResult,
    state: State,
    error: Option<String>,
    since: Instant,
}

struct Queue<T> {
    entries: VecDeque<Entry<T>>,
    /// Number of the first entry; entries are numbered through.
    first: u64,
    /// Frames seen since the start.
    frames: u64,
    /// Jobs that are queued or on a lane.
    in_flight: usize,
    #[allow(clippy::vec_box, reason = "jobs are large and wander between entries, lanes and this list")]
    free: Vec<Box<Job>>,
    last_fresh: Option<Arc<FrameResult>>,
    /// A frame was taken by `next` and is on its way out.
    delivering: bool,
    flushing: bool,
    /// Jobs are not kept for later frames: there may be none, and a job keeps its model loaded.
    released: bool,
}

struct Shared<T> {
    queue: Mutex<Queue<T>>,
    changed: Condvar,
    stats: Stats,
}

impl<T> Shared<T> {
    fn lock(&self) -> MutexGuard<'_, Queue<T>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, queue: MutexGuard<'a, Queue<T>>) -> MutexGuard<'a, Queue<T>> {
        self.changed.wait(queue).unwrap_or_else(PoisonError::into_inner)
    }
}

/// See the module's description.
pub struct Analysis<T> {
    shared: Arc<Shared<T>>,
    user: Arc<dyn User>,
    slot: Slot,
    settings: Mutex<Settings>,
}

impl<T> std::fmt::Debug for Analysis<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Analysis").field("slot", &self.slot).finish_non_exhaustive()
    }
}

impl<T: Send + 'static> Analysis<T> {
    /// An analysis without a model: frames come out as `absent` until the slot has one.
    pub fn new() -> Self {
        let shared = Arc::new(Shared {
            queue: Mutex::new(Queue {
                entries: VecDeque::new(),
                first: 0,
                frames: 0,
                in_flight: 0,
                free: Vec::new(),
                last_fresh: None,
                delivering: false,
                flushing: false,
                released: false,
            }),
            changed: Condvar::new(),
            stats: Stats::default(),
        });
        let user = Arc::clone(&shared) as Arc<dyn User>;
        Self { shared, user, slot: Slot::default(), settings: Mutex::default() }
    }

    /// Where the current model is.
    pub fn slot(&self) -> &Slot {
        &self.slot
    }

    /// Changes how the frames from the next one on are analysed.
    pub fn set_settings(&self, settings: Settings) {
        *self.settings.lock().unwrap_or_else(PoisonError::into_inner) = settings;
        self.shared.changed.notify_all();
    }

    /// Counts and times so far.
    pub fn stats(&self) -> Snapshot {
        let in_flight = self.shared.lock().in_flight;
        self.shared.stats.snapshot(in_flight)
    }

    /// Reads a frame: waits while as many frames are under way as may be, then brings it into the model's input.
    /// `None` stands for a frame that could not be mapped. Hand the ticket to [`Analysis::enter`]; the frame itself is
    /// not needed any more.
    ///
    /// # Errors
    /// [`Flushing`] after [`Analysis::flush`].
    pub fn read(&self, frame: Option<&FrameView<'_>>, size: (u32, u32), times: Times) -> Result<Ticket, Flushing> {
        let since = Instant::now();
        let settings = self.settings.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let model = self.slot.get();
        let (number, place) = self.place(&settings, model.is_some() && frame.is_some())?;
        let mut result = FrameResult {
            frame: number,
            pts_ns: times.pts_ns,
            running_time_ns: times.running_time_ns,
            utc_ns: times.utc_ns,
            width: size.0,
            height: size.1,
            model: model.as_ref().map(|m| Arc::clone(m.id())),
            freshness: Freshness::Fresh,
            objects: Vec::new(),
            classes: Vec::new(),
        };
        let state = match (place, model, frame) {
            (_, None, _) => absent(&mut result, AbsentReason::NoModel),
            (_, _, None) => absent(&mut result, AbsentReason::BadFrame),
            (Place::Hold, ..) => State::Hold,
            (Place::Analyse(job), Some(model), Some(frame)) => self.prepare(job, &model, &settings, frame, &mut result),
        };
        Ok(Ticket { result, state, since })
    }

    /// Waits for room and decides whether the frame is analysed.
    fn place(&self, settings: &Settings, can_analyse: bool) -> Result<(u64, Place), Flushing> {
        let most = settings.max_in_flight.max(1);
        // Skipped frames wait in line behind those that are analysed; they may not pile up.
        let room = most.saturating_mul(settings.interval as usize + 1);
        let mut queue = self.shared.lock();
        let analyse = can_analyse && queue.frames.is_multiple_of(u64::from(settings.interval) + 1);
        loop {
            if queue.flushing {
                return Err(Flushing);
            }
            let busy = analyse && queue.in_flight >= most;
            if queue.entries.len() < room && !busy {
                break;
            }
            if analyse && settings.when_busy == WhenBusy::Hold && queue.entries.len() < room.saturating_mul(2) {
                break;
            }
            queue = self.shared.wait(queue);
        }
        let number = queue.frames;
        queue.frames += 1;
        if !analyse || queue.in_flight >= most {
            return Ok((number, Place::Hold));
        }
        queue.in_flight += 1;
        let job = queue.free.pop();
        Ok((number, Place::Analyse(job)))
    }

    fn prepare(
        &self,
        job: Option<Box<Job>>,
        model: &Arc<Model>,
        settings: &Settings,
        frame: &FrameView<'_>,
        result: &mut FrameResult,
    ) -> State {
        let start = Instant::now();
        let mut job = match job {
            Some(job) if job.is_for(model) => job,
            _ => Box::new(Job::new(model)),
        };
        if job.fill(frame, settings).is_err() {
            let mut queue = self.shared.lock();
            queue.in_flight -= 1;
            queue.free.push(job);
            return absent(result, AbsentReason::BadFrame);
        }
        self.shared.stats.pre.record(nanos(start));
        State::Queued(job, Instant::now())
    }

    /// Puts a frame in line; `payload` comes out of [`Analysis::next`] with its result.
    ///
    /// # Errors
    /// [`Flushing`] after [`Analysis::flush`]; the payload is dropped.
    pub fn enter(&self, ticket: Ticket, payload: T) -> Result<(), Flushing> {
        let Ticket { result, state, since } = ticket;
        let wanted = match &state {
            State::Queued(job, _) => Some(Arc::clone(job.model())),
            _ => None,
        };
        let mut queue = self.shared.lock();
        if queue.flushing {
            queue.give_back(state);
            return Err(Flushing);
        }
        queue.entries.push_back(Entry { payload, result, state, error: None, since });
        drop(queue);
        match wanted {
            Some(model) => model.lanes().request(&self.user),
            None => self.shared.changed.notify_all(),
        }
        Ok(())
    }

    /// The next frame in order, once it is ready; `None` after [`Analysis::flush`]. Call [`Analysis::delivered`] when
    /// it is out.
    pub fn next(&self) -> Option<Outcome<T>> {
        let mut queue = self.shared.lock();
        loop {
            if queue.flushing {
                return None;
            }
            if matches!(queue.entries.front(), Some(Entry { state: State::Ready | State::Hold, .. })) {
                break;
            }
            queue = self.shared.wait(queue);
        }
        let mut entry = queue.entries.pop_front()?;
        queue.first += 1;
        queue.delivering = true;
        if matches!(entry.state, State::Hold) {
            hold(&mut entry.result, queue.last_fresh.as_deref());
        } else if entry.result.freshness == Freshness::Fresh {
            queue.last_fresh = Some(Arc::new(entry.result.clone()));
        }
        drop(queue);
        self.shared.changed.notify_all();
        let elapsed_ns = nanos(entry.since);
        self.shared.stats.count(&entry.result.freshness, entry.error.is_some(), elapsed_ns);
        Some(Outcome { payload: entry.payload, result: entry.result, error: entry.error, elapsed_ns })
    }

    /// Says that the frame of the last [`Analysis::next`] is out.
    pub fn delivered(&self) {
        self.shared.lock().delivering = false;
        self.shared.changed.notify_all();
    }

    /// Waits until every frame that was taken in is out, or a flush.
    pub fn drain(&self) {
        let mut queue = self.shared.lock();
        while !queue.flushing && (queue.delivering || !queue.entries.is_empty()) {
            queue = self.shared.wait(queue);
        }
    }

    /// Drops all frames and wakes everyone who waits. Frames are refused until [`Analysis::resume`].
    pub fn flush(&self) {
        let mut queue = self.shared.lock();
        queue.flushing = true;
        queue.first += queue.entries.len() as u64;
        let dropped: Vec<_> = queue.entries.drain(..).collect();
        let mut payloads = Vec::with_capacity(dropped.len());
        for entry in dropped {
            queue.give_back(entry.state);
            payloads.push(entry.payload);
        }
        drop(queue);
        self.shared.changed.notify_all();
    }

    /// Takes frames again after a flush. Results from before it are not held on to.
    pub fn resume(&self) {
        let mut queue = self.shared.lock();
        queue.flushing = false;
        queue.delivering = false;
        queue.last_fresh = None;
    }

    /// Numbers frames from 0 again: for a new start.
    pub fn restart(&self) {
        let mut queue = self.shared.lock();
        queue.frames = 0;
        queue.released = false;
        drop(queue);
        self.resume();
    }

    /// Lets go of the model and of the memory that jobs hold; of a job on a lane, when it is done. For a stop: frames
    /// are analysed again after [`Analysis::restart`].
    pub fn release(&self) {
        let mut queue = self.shared.lock();
        queue.released = true;
        let jobs = std::mem::take(&mut queue.free);
        drop(queue);
        // The last owner of a model waits for the engine's threads, which need the queue.
        drop(jobs);
        self.slot.replace(None);
    }
}

impl<T: Send + 'static> Default for Analysis<T> {
    fn default() -> Self {
        Self::new()
    }
}

enum Place {
    Analyse(Option<Box<Job>>),
    Hold,
}

impl<T> Queue<T> {
    /// Takes back the job of an entry that is dropped.
    fn give_back(&mut self, state: State) {
        if let State::Queued(job, _) = state {
            self.in_flight -= 1;
            self.free.push(job);
        }
    }
}

fn nanos(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_nanos()).unwrap_or(u64::MAX)
}

fn absent(result: &mut FrameResult, reason: AbsentReason) -> State {
    result.freshness = Freshness::Absent(reason);
    State::Ready
}

/// Gives a frame that the model did not see the objects of the last one that it saw.
fn hold(result: &mut FrameResult, last: Option<&FrameResult>) {
    let Some(last) = last else {
        result.freshness = Freshness::Absent(AbsentReason::Skipped);
        return;
    };
    let age_ns = match (result.running_time_ns, last.running_time_ns) {
        (Some(now), Some(then)) => now.saturating_sub(then),
        _ => result.utc_ns.saturating_sub(last.utc_ns),
    };
    result.freshness = Freshness::Held { age_ns };
    result.model.clone_from(&last.model);
    result.objects.clone_from(&last.objects);
    result.classes.clone_from(&last.classes);
}

impl<T: Send> User for Shared<T> {
    fn work(&self, engine: &dyn Engine) {
        let Some((number, mut job, mut result)) = self.take_queued() else {
            return;
        };
        let answer = catch_unwind(AssertUnwindSafe(|| job.run(engine, &self.stats, &mut result)))
            .unwrap_or_else(|_| Err(EngineError::Run("the engine panicked".into())));
        let mut queue = self.lock();
        queue.in_flight -= 1;
        let spare = if queue.released {
            Some(job)
        } else {
            queue.free.push(job);
            None
        };
        // A flush may have dropped the frame meanwhile.
        if let Some(entry) = number.checked_sub(queue.first).and_then(|i| queue.entries.get_mut(i as usize)) {
            if let Err(error) = answer {
                result.objects.clear();
                result.classes.clear();
                result.freshness = Freshness::Absent(AbsentReason::EngineError);
                entry.error = Some(error.to_string());
            }
            entry.result = result;
            entry.state = State::Ready;
        }
        drop(queue);
        self.changed.notify_all();
        // May be the model's last owner; see release.
        drop(spare);
    }
}

impl<T> Shared<T> {
    /// The first entry that waits for a lane: its number, its job, and its result to be filled in.
    fn take_queued(&self) -> Option<(u64, Box<Job>, FrameResult)> {
        let mut queue = self.lock();
        let at = queue.entries.iter().position(|e| matches!(e.state, State::Queued(..)))?;
        let number = queue.first + at as u64;
        let entry = queue.entries.get_mut(at)?;
        let State::Queued(job, since) = std::mem::replace(&mut entry.state, State::Running) else {
            return None;
        };
        let result = entry.result.clone();
        drop(queue);
        self.stats.queue.record(nanos(since));
        Some((number, job, result))
    }
}

#[cfg(test)]
mod tests;
