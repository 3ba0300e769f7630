//! Frames on their way in: is there room, does the model look at them, and at what.

use std::sync::{Arc, PoisonError};
use std::time::Instant;

use super::beside::Beside;
use super::job::{Job, Seen};
use super::queue::{Queue, State};
use super::reap::{let_go, reap};
use super::sample::Look;
use super::{Analysis, Flushing, Input, Passed, Settings, Ticket, WhenBusy, absent, nanos, now_ns};
use crate::cascade::{Pick, Rules};
use crate::engine::lanes::Turn;
use crate::model::Model;
use crate::result::{AbsentReason, FrameResult, Freshness, ModelId};

/// Most skipped frames in line: each holds a buffer.
const MOST_SKIPPED: usize = 64;

/// Most frames in line behind those that are analysed where video does not wait for room in the engine.
const MOST_HELD: usize = 16;

/// Most frames in line. Those that are not analysed wait behind those that are, and may not pile up.
fn most_in_line(settings: &Settings) -> usize {
    let most = settings.max_in_flight.max(1);
    let skipped =
        if settings.max_fps.is_some() { MOST_SKIPPED } else { most.saturating_mul(settings.interval as usize) };
    let room = most.saturating_add(skipped.min(MOST_SKIPPED));
    match settings.when_busy {
        WhenBusy::Wait => room,
        WhenBusy::Hold => room.saturating_mul(2).max(room.saturating_add(MOST_HELD)),
    }
}

impl<T> Queue<T> {
    /// Why the model does not look at a frame; `None` if nothing of its own is in the way.
    fn passed(&self, settings: &Settings) -> Option<Passed> {
        if !self.frames.is_multiple_of(u64::from(settings.interval) + 1) {
            return Some(Passed::Interval);
        }
        if settings.max_fps.is_some_and(|fps| !self.budget.allows(fps)) {
            return Some(Passed::Budget);
        }
        (self.in_flight >= settings.max_in_flight.max(1)).then_some(Passed::Busy)
    }
}

/// How a frame is to be treated, by the model and the settings that hold when its turn comes.
pub(super) struct Placed {
    number: u64,
    /// The model's; `None` without one.
    id: Option<Arc<ModelId>>,
    settings: Settings,
    era: u64,
    /// For a frame that the model is to look at.
    job: Option<Box<Job>>,
    beside: Option<Arc<Beside>>,
}

impl<T: Send + 'static> Analysis<T> {
    /// Reads a frame: waits while as many frames are under way as may be, then brings it, or the objects found on it,
    /// into the model's input. Hand the ticket to [`Analysis::enter`]; the frame itself is not needed any more.
    ///
    /// # Errors
    /// [`Flushing`] after [`Analysis::flush`].
    pub fn read(&self, input: &Input<'_>) -> Result<Ticket, Flushing> {
        let since = Instant::now();
        let rules = self.settings.lock().unwrap_or_else(PoisonError::into_inner).cascade.clone();
        if let Some(rules) = rules {
            return self.read_objects(input, &rules, since);
        }
        let placed = self.place(input, None)?;
        let begun = Instant::now();
        let mut result = FrameResult {
            frame: placed.number,
            pts_ns: input.times.pts_ns,
            running_time_ns: input.times.running_time_ns,
            utc_ns: input.times.utc_ns,
            model: placed.id.clone(),
            freshness: Freshness::Fresh,
            ..FrameResult::absent(AbsentReason::NoModel, input.size)
        };
        let (has_model, held, era) = (placed.id.is_some(), placed.job.is_none(), placed.era);
        let (state, sample) = self.prepare(placed, input, None);
        let state = match state {
            Some(state) => state,
            None if !has_model => absent(&mut result, AbsentReason::NoModel),
            None if held && input.frame.is_some() => State::Hold,
            None => absent(&mut result, AbsentReason::BadFrame),
        };
        Ok(Ticket { result, state, picks: None, since, begun, era, sample })
    }

    /// As [`read`](Self::read), for a model that looks at what was found before: the frame keeps its result, and the
    /// objects that the rules choose go into the model's input.
    fn read_objects(&self, input: &Input<'_>, rules: &Rules, since: Instant) -> Result<Ticket, Flushing> {
        let mut result = input.earlier.cloned().unwrap_or_else(|| FrameResult {
            pts_ns: input.times.pts_ns,
            running_time_ns: input.times.running_time_ns,
            utc_ns: input.times.utc_ns,
            ..FrameResult::absent(AbsentReason::Skipped, input.size)
        });
        let usable = input.frame.is_some() && !self.slot.is_empty();
        let picks = if usable { self.shared.cascade().choose(rules, now_ns(&result), &result) } else { Vec::new() };
        let placed = self.place(input, Some(&picks))?;
        let begun = Instant::now();
        let (id, era) = (placed.id.clone(), placed.era);
        let (state, sample) = self.prepare(placed, input, Some((&picks, &result)));
        let picks = if state.is_some() {
            picks
        } else {
            self.shared.cascade().unchoose(&result, &picks);
            Vec::new()
        };
        result.secondary.extend(id);
        Ok(Ticket { result, state: state.unwrap_or(State::Ready), picks: Some(picks), since, begun, era, sample })
    }

    /// Waits for room and decides whether the frame is analysed: the model looks at it, or at the objects `picks`.
    pub(super) fn place(&self, input: &Input<'_>, picks: Option<&[Pick]>) -> Result<Placed, Flushing> {
        let frame = input.frame.filter(|_| picks.is_none_or(|picks| !picks.is_empty()));
        let times = &input.times;
        let mut queue = self.shared.lock();
        queue.budget.meet(times.running_time_ns.or(times.pts_ns).unwrap_or(times.utc_ns));
        let (settings, model, why) = loop {
            if queue.closed() {
                return Err(Flushing);
            }
            // Model and settings change together, under the queue's lock.
            let settings = self.settings.lock().unwrap_or_else(PoisonError::into_inner).clone();
            let model = self.slot.get();
            let why = if frame.is_some() && model.is_some() { queue.passed(&settings) } else { None };
            let waits = why == Some(Passed::Busy) && settings.when_busy == WhenBusy::Wait;
            if !waits && queue.entries.len() < most_in_line(&settings) {
                break (settings, model, why);
            }
            // The model may be another one by the time that there is room. This is not its last reference: the slot has
            // one, and changes under the lock.
            drop(model);
            queue = self.shared.wait(queue);
        };
        let number = queue.frames;
        queue.frames += 1;
        let (id, era) = (model.as_ref().map(|model| Arc::clone(model.id())), queue.era);
        let looked_at = frame.zip(model.as_ref()).filter(|_| why.is_none());
        // Asked last: a turn is for a frame that nothing else is in the way of.
        let turn = looked_at.map(|(_, model)| self.turn(model, &settings, picks));
        let (Some((frame, model)), Some(Ok(turn))) = (looked_at, turn) else {
            let why = why.or(looked_at.map(|_| Passed::Turn));
            why.inspect(|why| self.shared.stats.pass(*why));
            drop(model);
            drop(queue);
            return Ok(Placed { number, id, settings, era, job: None, beside: None });
        };
        if let Some(fps) = settings.max_fps {
            queue.budget.spend(fps);
        }
        queue.in_flight += 1;
        let most = |seen: &Seen| seen.picks.unwrap_or(0);
        let picks = picks.map(|picks| picks.len().max(queue.seen.as_ref().map_or(0, most)));
        queue.seen = Some(Seen { info: *frame.info(), view: input.view, picks });
        let stale = queue.use_model(model);
        let job = queue.free.pop();
        let beside = queue.beside.clone();
        drop(queue);
        if !stale.is_empty() {
            reap(stale);
        }
        let mut job = job.unwrap_or_else(|| Box::new(Job::new(model)));
        job.set_turn(turn);
        Ok(Placed { number, id, settings, era, job: Some(job), beside })
    }

    /// Asks for a turn on the engine that others use too, where the frame may pass: `Err` if it has to. Without need for
    /// one, `Ok` has none.
    fn turn(&self, model: &Model, settings: &Settings, picks: Option<&[Pick]>) -> Result<Option<Turn>, ()> {
        if settings.when_busy == WhenBusy::Wait {
            return Ok(None);
        }
        let runs = picks.map_or(1, |picks| picks.len().div_ceil(model.batch().max(1)));
        let cost = u32::try_from(runs).unwrap_or(u32::MAX);
        model.lanes().ask(&self.user, settings.weight, cost).map(Some).ok_or(())
    }

    /// Fills the frame's job, and lets the companion take its sample; nothing without a job, or if the frame cannot be
    /// read. `objects` are those that the model looks at, and the result that has them.
    #[allow(clippy::type_complexity, reason = "two parts of a ticket")]
    pub(super) fn prepare(
        &self,
        placed: Placed,
        input: &Input<'_>,
        objects: Option<(&[Pick], &FrameResult)>,
    ) -> (Option<State>, Option<(Arc<Beside>, u64)>) {
        let Placed { settings, job: Some(mut job), beside, .. } = placed else { return (None, None) };
        let start = Instant::now();
        let picks = objects.map(|(picks, _)| picks);
        let Some(frame) = input.frame.filter(|frame| job.fill(frame, &input.view, picks, &settings).is_ok()) else {
            let stale = self.shared.lock().take_back(job);
            stale.into_iter().for_each(reap);
            beside.into_iter().for_each(let_go);
            self.shared.changed.notify_all();
            return (None, None);
        };
        self.shared.stats.pre.record(nanos(start));
        let state = State::Queued(job, Instant::now());
        let number = beside.as_ref().and_then(|b| b.take(&Look { frame, view: &input.view, objects }, &settings));
        let sample = match (beside, number) {
            (Some(beside), Some(number)) => Some((beside, number)),
            (beside, _) => {
                beside.into_iter().for_each(let_go);
                None
            }
        };
        (Some(state), sample)
    }
}
