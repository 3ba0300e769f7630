//! Frames in, frame results out: in order, with several under way.
//!
//! ```text
//! read, enter (streaming thread)     lanes (engine's threads)          next (pushing thread)
//! pre-process into a free job  ──▶   run, decode into the entry  ──▶   first entry, once it is ready
//! ```
//!
//! Every frame that goes in comes out once, with a result that says whether the model looked at it. `T` is what travels
//! with the frame (a buffer); nothing here knows what it is.

mod beside;
mod budget;
mod companion;
mod job;
mod latency;
mod queue;
mod read;
mod reap;
mod sample;
mod stats;
mod swap;
mod values;

use std::sync::{Arc, Condvar, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use beside::Beside;
pub use companion::{Companion, Role};
pub use latency::LatencyBound;
use queue::{Entry, Queue, Shared, State};
use reap::{let_go, reap};
pub use stats::{Passed, Snapshot, Stats};
pub use values::{Flushing, Input, Outcome, Settings, Times, WhenBusy};

use crate::cascade::Pick;
use crate::engine::lanes::User;
use crate::engine::slot::Slot;
use crate::engine::turns::Share;
use crate::model::Model;
use crate::result::{AbsentReason, FrameResult, Freshness};

/// Longest wait for runs under way when the analysis ends.
const RELEASE_LIMIT: Duration = Duration::from_secs(2);

/// A frame that was read and waits to be put in line.
#[must_use = "a frame that was read holds a place in the engine until it is entered"]
pub struct Ticket {
    result: FrameResult,
    state: State,
    picks: Option<Vec<Pick>>,
    since: Instant,
    begun: Instant,
    era: u64,
    /// The companion's sample of the frame.
    sample: Option<(Arc<Beside>, u64)>,
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
            queue: Mutex::default(),
            changed: Condvar::new(),
            stats: Stats::default(),
            cascade: Mutex::default(),
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
        self.update_settings(|_| settings);
    }

    /// As [`set_settings`](Self::set_settings), with what `read` says for the model of the next frame. No other change of
    /// settings or model comes in between: whoever is last has read last. `read` may lock, but not call this analysis.
    pub fn update_settings(&self, read: impl FnOnce(Option<&Arc<Model>>) -> Settings) {
        // With the lock of those who wait, so that none of them misses it.
        let queue = self.shared.lock();
        let model = self.slot.get();
        *self.settings.lock().unwrap_or_else(PoisonError::into_inner) = read(model.as_ref());
        drop(queue);
        // It may be the last reference.
        drop(model);
        self.shared.changed.notify_all();
    }

    /// Counts and times so far.
    pub fn stats(&self) -> Snapshot {
        let in_flight = self.shared.lock().in_flight;
        self.shared.stats.snapshot(in_flight)
    }

    /// What this analysis gets of the engine that its next frame uses; nothing without a model.
    pub fn share(&self) -> Share {
        self.slot.get().map_or_else(Share::default, |model| model.lanes().share(&self.user))
    }

    /// Puts a frame in line; `payload` comes out of [`Analysis::next`] with its result.
    ///
    /// # Errors
    /// [`Flushing`] after [`Analysis::flush`]; the payload is dropped.
    pub fn enter(&self, ticket: Ticket, payload: T) -> Result<(), Flushing> {
        let Ticket { result, state, picks, since, begun, era, sample } = ticket;
        let own_ns = nanos(begun);
        let wanted = match &state {
            State::Queued(job, _) => Some(Arc::clone(job.model())),
            _ => None,
        };
        let mut queue = self.shared.lock();
        if queue.closed() {
            let stale = queue.give_back(state);
            drop(queue);
            stale.into_iter().for_each(reap);
            wanted.into_iter().for_each(let_go);
            if let Some((beside, _)) = sample {
                beside.forget();
                let_go(beside);
            }
            self.shared.changed.notify_all();
            return Err(Flushing);
        }
        queue.entries.push_back(Entry {
            payload,
            result,
            state,
            error: None,
            picks,
            found: Vec::new(),
            looked: false,
            since,
            begun,
            own_ns,
            era,
            sample: sample.as_ref().map(|(beside, number)| beside.sampled(*number)),
        });
        drop(queue);
        match wanted {
            Some(model) => {
                model.lanes().request(&self.user);
                let_go(model);
            }
            None => self.shared.changed.notify_all(),
        }
        if let Some((beside, _)) = sample {
            beside.send();
            let_go(beside);
        }
        Ok(())
    }

    /// The next frame in order, once it is ready; `None` after [`Analysis::flush`]. Call [`Analysis::delivered`] when
    /// it is out.
    pub fn next(&self) -> Option<Outcome<T>> {
        let mut queue = self.shared.lock();
        loop {
            if queue.closed() {
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
        } else if entry.picks.is_none() {
            queue.date(&mut entry.result);
            if entry.result.freshness == Freshness::Fresh {
                queue.last_fresh = Some(Arc::new(entry.result.clone()));
            }
        }
        drop(queue);
        self.shared.changed.notify_all();
        if let Some(picks) = entry.picks {
            let mut cascade = self.shared.cascade();
            if entry.error.is_some() {
                cascade.unchoose(&entry.result, &picks);
            }
            cascade.absorb(now_ns(&entry.result), entry.era, entry.found, &mut entry.result);
        }
        self.shared.stats.count(&entry.result.freshness, entry.error.is_some(), entry.since);
        Some(Outcome {
            payload: entry.payload,
            result: entry.result,
            looked: entry.looked,
            error: entry.error,
            own_ns: entry.own_ns,
        })
    }

    /// Says that the frame of the last [`Analysis::next`] is out.
    pub fn delivered(&self) {
        self.shared.lock().delivering = false;
        self.shared.changed.notify_all();
    }

    /// Waits until every frame that was taken in is out, or a flush.
    pub fn drain(&self) {
        let mut queue = self.shared.lock();
        while !queue.closed() && (queue.delivering || !queue.entries.is_empty()) {
            queue = self.shared.wait(queue);
        }
    }

    /// Drops all frames and wakes everyone who waits. Frames are refused until [`Analysis::resume`].
    pub fn flush(&self) {
        self.close(|queue| queue.flushing = true);
    }

    /// As [`Analysis::flush`], until [`Analysis::revive`] or [`Analysis::resume`]: nobody takes the frames any more.
    pub fn fail(&self) {
        self.close(|queue| queue.failed = true);
    }

    /// As [`Analysis::flush`], until [`Analysis::restart`]; a resume meanwhile changes nothing.
    pub fn stop(&self) {
        self.close(|queue| queue.stopped = true);
    }

    fn close(&self, how: impl FnOnce(&mut Queue<T>)) {
        let mut queue = self.shared.lock();
        how(&mut queue);
        queue.first += queue.entries.len() as u64;
        let dropped: Vec<_> = queue.entries.drain(..).collect();
        let mut gone = Vec::with_capacity(dropped.len());
        for entry in dropped {
            gone.push((queue.give_back(entry.state), entry.payload));
        }
        let beside = queue.beside.clone();
        drop(queue);
        let (stale, payloads): (Vec<_>, Vec<_>) = gone.into_iter().unzip();
        stale.into_iter().flatten().for_each(reap);
        drop(payloads);
        if let Some(beside) = beside {
            beside.forget();
            let_go(beside);
        }
        self.shared.cascade().clear();
        self.shared.changed.notify_all();
    }

    /// Whether frames are taken: no flush, failure or stop lasts.
    pub fn is_open(&self) -> bool {
        !self.shared.lock().closed()
    }

    /// Takes frames again after a flush. Results from before it are not held on to.
    pub fn resume(&self) {
        let mut queue = self.shared.lock();
        queue.flushing = false;
        queue.failed = false;
        queue.delivering = false;
        queue.last_fresh = None;
    }

    /// Takes frames again after a failure.
    pub fn revive(&self) {
        self.shared.lock().failed = false;
    }

    /// Numbers frames from 0 again: for a new start.
    pub fn restart(&self) {
        self.shared.lock().restart();
        self.resume();
    }

    /// Lets go of the models and of the memory that jobs hold. Waits, within bounds, for the runs under way: an engine that
    /// runs on while the process ends crashes it. Runs that are not over then are cut, and whoever loads the model next
    /// gets another engine.
    pub fn release(&self) {
        let (beside, running) = {
            let mut queue = self.shared.lock();
            queue.watch = None;
            (queue.beside.take(), queue.running_models())
        };
        if let Some(beside) = &beside {
            beside.end();
        }
        // Frames of an old model may be under way beside those of the new one.
        let models = running.iter().chain(beside.as_ref().map(|beside| &beside.companion().model));
        let longest = models.map(|model| model.run_time()).chain(self.slot.get().map(|model| model.run_time())).max();
        let limit = longest.map_or(RELEASE_LIMIT, release_limit);
        drop(running);
        self.settle(limit);
        let hanging = self.shared.lock().running_models();
        hanging.iter().for_each(|model| model.lanes().give_up(&self.user));
        if !hanging.is_empty() {
            self.settle(RELEASE_LIMIT);
        }
        drop(hanging);
        if let Some(beside) = beside {
            beside.finish(limit, RELEASE_LIMIT);
        }
        let mut queue = self.shared.lock();
        // A run that is later than that gives up its job by itself.
        queue.model = Weak::new();
        let free = std::mem::take(&mut queue.free);
        drop(queue);
        drop(free);
        drop(self.slot.replace(None));
    }

    /// Waits until nothing is in flight, for at most `limit`.
    fn settle(&self, limit: Duration) {
        let queue = self.shared.lock();
        let waited = self.shared.changed.wait_timeout_while(queue, limit, |queue| queue.in_flight > 0);
        drop(waited);
    }
}

impl<T: Send + 'static> Default for Analysis<T> {
    fn default() -> Self {
        Self::new()
    }
}

/// How long a run may still take: many times what it took alone, since others may share the engine. One that hangs keeps the
/// engine from whoever loads the model next for as long, so it is no more than need be.
fn release_limit(run_time: Duration) -> Duration {
    run_time.saturating_mul(20).clamp(RELEASE_LIMIT / 8, RELEASE_LIMIT)
}

fn nanos(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_nanos()).unwrap_or(u64::MAX)
}

/// The time by which a frame's objects are followed.
fn now_ns(result: &FrameResult) -> u64 {
    result.running_time_ns.unwrap_or(result.utc_ns)
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
    result.embedding.clone_from(&last.embedding);
}

#[cfg(test)]
mod beside_tests;
#[cfg(test)]
mod hang_tests;
#[cfg(test)]
mod swap_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod turn_tests;
