//! Frames on their way in: is there room, does the model look at them, and at what.

use std::sync::{Arc, PoisonError};
use std::time::Instant;

use super::job::Job;
use super::queue::State;
use super::{Analysis, Flushing, Input, Settings, Ticket, WhenBusy, absent, nanos, now_ns};
use crate::cascade::Pick;
use crate::model::Model;
use crate::result::{AbsentReason, FrameResult, Freshness};

/// Most skipped frames in line: each holds a buffer.
const MOST_SKIPPED: usize = 64;

enum Place {
    Analyse(Option<Box<Job>>),
    Hold,
}

impl<T: Send + 'static> Analysis<T> {
    /// Reads a frame: waits while as many frames are under way as may be, then brings it, or the objects found on it,
    /// into the model's input. Hand the ticket to [`Analysis::enter`]; the frame itself is not needed any more.
    ///
    /// # Errors
    /// [`Flushing`] after [`Analysis::flush`].
    pub fn read(&self, input: &Input<'_>) -> Result<Ticket, Flushing> {
        let since = Instant::now();
        let settings = self.settings.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let model = self.slot.get();
        if settings.cascade.is_some() {
            return self.read_objects(input, &settings, model, since);
        }
        let (number, place) = self.place(&settings, model.as_ref().filter(|_| input.frame.is_some()))?;
        let begun = Instant::now();
        let mut result = FrameResult {
            frame: number,
            pts_ns: input.times.pts_ns,
            running_time_ns: input.times.running_time_ns,
            utc_ns: input.times.utc_ns,
            model: model.as_ref().map(|m| Arc::clone(m.id())),
            freshness: Freshness::Fresh,
            ..FrameResult::absent(AbsentReason::NoModel, input.size)
        };
        let state = match (place, model) {
            (_, None) => absent(&mut result, AbsentReason::NoModel),
            (_, Some(_)) if input.frame.is_none() => absent(&mut result, AbsentReason::BadFrame),
            (Place::Hold, _) => State::Hold,
            (Place::Analyse(job), Some(model)) => match self.prepare(job, &model, &settings, input, None) {
                Some(state) => state,
                None => absent(&mut result, AbsentReason::BadFrame),
            },
        };
        Ok(Ticket { result, state, picks: None, second: None, since, begun })
    }

    /// As [`read`](Self::read), for a model that looks at what was found before: the frame keeps its result, and the
    /// objects that the rules choose go into the model's input.
    fn read_objects(
        &self,
        input: &Input<'_>,
        settings: &Settings,
        model: Option<Arc<Model>>,
        since: Instant,
    ) -> Result<Ticket, Flushing> {
        let mut result = input.earlier.cloned().unwrap_or_else(|| FrameResult {
            pts_ns: input.times.pts_ns,
            running_time_ns: input.times.running_time_ns,
            utc_ns: input.times.utc_ns,
            ..FrameResult::absent(AbsentReason::Skipped, input.size)
        });
        let usable = model.as_ref().filter(|_| input.frame.is_some());
        let picks = match (&settings.cascade, usable) {
            (Some(rules), Some(model)) => self.shared.cascade().choose(rules, now_ns(&result), model.id(), &result),
            _ => Vec::new(),
        };
        let placed = self.place(settings, usable.filter(|_| !picks.is_empty()));
        let begun = Instant::now();
        let state = match (placed, &model) {
            (Ok((_, Place::Analyse(job))), Some(model)) => self.prepare(job, model, settings, input, Some(&picks)),
            (Err(Flushing), _) => return Err(Flushing),
            _ => None,
        };
        let picks = if state.is_some() {
            picks
        } else {
            self.shared.cascade().unchoose(&result, &picks);
            Vec::new()
        };
        let second = model.map(|m| Arc::clone(m.id()));
        result.secondary.extend(second.clone());
        Ok(Ticket { result, state: state.unwrap_or(State::Ready), picks: Some(picks), second, since, begun })
    }

    /// Waits for room and decides whether the frame is analysed.
    fn place(&self, settings: &Settings, model: Option<&Arc<Model>>) -> Result<(u64, Place), Flushing> {
        let most = settings.max_in_flight.max(1);
        // Skipped frames wait in line behind those that are analysed; they may not pile up.
        let room = most.saturating_mul(settings.interval as usize + 1).min(most.saturating_add(MOST_SKIPPED));
        let mut queue = self.shared.lock();
        let analyse = model.is_some() && queue.frames.is_multiple_of(u64::from(settings.interval) + 1);
        loop {
            if queue.closed() {
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
        let stale = model.map_or_else(Vec::new, |model| queue.use_model(model));
        let job = queue.free.pop();
        drop(queue);
        // The last job of a model ends its engine: not under the lock.
        drop(stale);
        Ok((number, Place::Analyse(job)))
    }

    /// Fills a job; `None` if the frame cannot be read.
    fn prepare(
        &self,
        job: Option<Box<Job>>,
        model: &Arc<Model>,
        settings: &Settings,
        input: &Input<'_>,
        picks: Option<&[Pick]>,
    ) -> Option<State> {
        let start = Instant::now();
        let mut job = job.unwrap_or_else(|| Box::new(Job::new(model)));
        if input.frame.is_some_and(|frame| job.fill(frame, &input.view, picks, settings).is_ok()) {
            self.shared.stats.pre.record(nanos(start));
            return Some(State::Queued(job, Instant::now()));
        }
        let stale = self.shared.lock().take_back(job);
        drop(stale);
        self.shared.changed.notify_all();
        None
    }
}
