//! Pictures of several callers in one run, on engines where that pays.
//!
//! ```text
//! caller  ─ run ─▶ the engine is free ──────────────────────────▶ it runs with the caller's own tensors
//! callers ─ run ─▶ it is not: they sit down in a group, and each  ▶ the first of them runs all of it when the engine
//!                  copies its pictures into the group's tensors     is free; each copies its own answer out
//! ```
//!
//! Nobody waits for company: a caller that finds the engine free runs at once, and those that come meanwhile share the next run.
//! They copy while the engine works, so the copies cost the engine no time. Where nobody joined, the first one runs with its own
//! tensors, and nothing was copied. Pictures of other shapes than those that were measured run apart, in their turn.
//!
//! There are twice as many lanes as pictures that the engine takes at once: one group gathers while another one is looked at.
//!
//! One caller's trouble is no other's. A shared run is cut when the first of its callers has no more time; it, and one that
//! fails, is run again for each caller that has time, alone. A caller whose time is over leaves its group; if it is the
//! first, the others sit down anew. A run that was cut and does not end has its place taken by the next one, as for an
//! engine that is not shared like this; only the caller whose thread runs it is held.
//!
//! Locks: `state`, and the tensors of a group; never both at once, and neither over a run.

mod groups;
mod measured;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::placement::Placement;
use super::worker::WorkerState;
use super::{Engine, EngineError, Io, Spec, Tensor};
use groups::{Groups, Phase, Place, Ready, Seat};
pub use measured::{Measured, Step, measure};

/// Lanes beyond which there are no more for gathering: each is a thread, and a processor's small models would have hundreds.
const MOST_LANES: usize = 64;

/// How pictures share runs.
#[derive(Debug, Clone, PartialEq)]
pub struct Gathering {
    /// Most pictures of one run; 1: none is shared.
    pub most: usize,
    /// Pictures of a run so far, in the mean; 0 before the first.
    pub mean: f64,
    /// What was measured when the engine was loaded.
    pub measured: String,
}

/// An engine whose runs are shared by those that wait for it.
pub struct Gather {
    inner: Arc<dyn Engine>,
    measured: Measured,
    /// Shapes of one picture's inputs and outputs, without the first dimension.
    inputs: Vec<Vec<usize>>,
    outputs: Vec<Vec<usize>>,
    state: Mutex<Groups>,
    /// An answer had another shape than one picture's has: runs are not shared any more.
    off: AtomicBool,
    runs: AtomicU64,
    pictures: AtomicU64,
}

/// How an attempt to have pictures looked at ended.
enum Outcome {
    Over(Result<(), EngineError>),
    /// To be tried again, as before.
    Again,
    /// To be tried again, in a run of its own.
    Alone,
}

/// A run as its caller gave it.
struct Caller<'a> {
    io: &'a mut Io,
    /// Its pictures; `None`: it is to run alone.
    pictures: Option<usize>,
    until: Option<Instant>,
}

/// Shapes without the first dimension.
fn rows(tensors: &[Tensor]) -> Vec<Vec<usize>> {
    tensors.iter().map(|t| t.shape.iter().skip(1).copied().collect()).collect()
}

/// The number of pictures that `tensors` are for; `None` if theirs are not of these shapes.
fn pictures(tensors: &[Tensor], rows: &[Vec<usize>]) -> Option<usize> {
    let count = *tensors.first()?.shape.first()?;
    let fits = |(tensor, row): (&Tensor, &Vec<usize>)| {
        tensor.shape.split_first().is_some_and(|(first, rest)| *first == count && rest == row)
            && tensor.data.len() == row.iter().product::<usize>() * count
    };
    (tensors.len() == rows.len() && tensors.iter().zip(rows).all(fits)).then_some(count)
}

impl Gather {
    /// Shares the runs of `inner` as far as `measured` says that it pays. `one` has the tensors of a run of one picture,
    /// after it.
    pub fn new(inner: Arc<dyn Engine>, measured: Measured, one: &Io) -> Self {
        let state = Mutex::new(Groups::new(inner.lanes().max(1), measured.most()));
        Self {
            inputs: rows(&one.inputs),
            outputs: rows(&one.outputs),
            inner,
            measured,
            state,
            off: AtomicBool::new(false),
            runs: AtomicU64::new(0),
            pictures: AtomicU64::new(0),
        }
    }

    fn most(&self) -> usize {
        self.measured.most()
    }

    fn lock(&self) -> MutexGuard<'_, Groups> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs the engine for so many pictures. Its panic is one failed run, of which those that share it hear.
    fn compute(&self, io: &mut Io, pictures: usize, until: Option<Instant>) -> Result<(), EngineError> {
        let answer = catch_unwind(AssertUnwindSafe(|| self.inner.run(io, until)))
            .unwrap_or_else(|_| Err(EngineError::Run("the engine panicked".into())));
        if answer.is_ok() {
            self.runs.fetch_add(1, Ordering::Relaxed);
            self.pictures.fetch_add(pictures as u64, Ordering::Relaxed);
        }
        answer
    }

    /// Runs the engine for one caller.
    fn compute_own(&self, io: &mut Io, until: Option<Instant>) -> Result<(), EngineError> {
        let pictures = io.inputs.first().and_then(|t| t.shape.first()).copied().unwrap_or(1);
        self.compute(io, pictures, until)
    }

    /// Pictures that a run of `pictures` is given. Most runtimes prepare for each size that they have not seen, so others
    /// than the CPU's get the sizes that were measured, and some pictures of which nobody reads the answer.
    fn size(&self, pictures: usize) -> usize {
        let exact = self.inner.provider() == "cpu";
        if exact { pictures } else { pictures.next_power_of_two().min(self.most()) }
    }

    fn attempt(&self, caller: &mut Caller<'_>) -> Outcome {
        let seat = self.lock().sit(caller.pictures, caller.until, Instant::now());
        match seat {
            Seat::Free(number) => {
                let answer = self.compute_own(caller.io, caller.until);
                self.lock().end(number, Instant::now());
                Outcome::Over(answer)
            }
            Seat::First(number, place) => self.lead(caller, number, &place),
            Seat::Joined(number, place, start) => self.follow(caller, number, &place, start),
        }
    }

    /// Waits on a group until `done` says what has become of it, or the caller's time is over.
    fn wait<T>(
        &self,
        (number, changed): (u64, &Condvar),
        until: Option<Instant>,
        done: impl Fn(&Groups) -> Option<T>,
    ) -> Option<T> {
        let mut state = self.lock();
        loop {
            let now = Instant::now();
            state.grant(now);
            if let Some(done) = done(&state) {
                return Some(done);
            }
            if state.is_late(number, until, now) {
                return None;
            }
            state = match state.wakes(until, now) {
                Some(time) => changed.wait_timeout(state, time).unwrap_or_else(PoisonError::into_inner).0,
                None => changed.wait(state).unwrap_or_else(PoisonError::into_inner),
            };
        }
    }

    /// Waits for the engine, and runs it for all who have joined by then.
    fn lead(&self, caller: &mut Caller<'_>, number: u64, place: &Place) -> Outcome {
        let begun = Instant::now();
        let granted = self.wait((number, &place.changed), caller.until, |state| state.is_running(number).then_some(()));
        if granted.is_none() {
            // Between the look and now it may have been granted after all: whoever is late gives that back too.
            self.lock().dissolve(number, Instant::now());
            return Outcome::Over(Err(late(caller.until, begun)));
        }
        // Copies end by themselves, so there is no limit.
        let ready = self.wait((number, &place.changed), None, |state| state.ready(number));
        let shared = ready.filter(|ready| ready.members > 1);
        let answer = match &shared {
            None => self.compute_own(caller.io, caller.until),
            Some(ready) => self.run_group(caller, place, ready),
        };
        let now = Instant::now();
        self.lock().over(number, answer.clone(), now);
        let outcome = match (answer, &shared) {
            (Ok(()), Some(_)) => self.take_out(caller, place, 0),
            (answer, None) => Outcome::Over(answer),
            (Err(error), Some(_)) => self.judge(error, number, caller.until),
        };
        self.lock().leave(number);
        outcome
    }

    /// One run for a whole group, which has the time of the caller who has the least.
    fn run_group(&self, caller: &Caller<'_>, place: &Place, ready: &Ready) -> Result<(), EngineError> {
        let mut io = std::mem::take(&mut *place.lock());
        let complete = self.put(&mut io, caller.io, 0) && ready.complete;
        let size = self.size(ready.pictures);
        (0..io.inputs.len()).for_each(|index| io.resize_batch(index, size));
        let answer = if complete {
            self.compute(&mut io, ready.pictures, ready.until).and_then(|()| self.check(&io, size))
        } else {
            Err(EngineError::Run("the pictures of several callers do not fit into one run".into()))
        };
        *place.lock() = io;
        answer
    }

    /// Whether the answer is one for each picture.
    fn check(&self, io: &Io, size: usize) -> Result<(), EngineError> {
        if pictures(&io.outputs, &self.outputs) == Some(size) {
            return Ok(());
        }
        // A picture decides on the shape of the others' answers: alone it would have another one.
        self.off.store(true, Ordering::Relaxed);
        Err(EngineError::Run("the answer about several pictures has another shape than that about one".into()))
    }

    /// Writes a caller's inputs from picture `start` on; `false` if they do not fit.
    fn put(&self, io: &mut Io, from: &Io, start: usize) -> bool {
        if io.inputs.is_empty() {
            let shapes: Vec<Vec<usize>> =
                self.inputs.iter().map(|row| [&[self.most()], row.as_slice()].concat()).collect();
            *io = self.inner.io(&shapes);
        }
        let Some(count) = from.inputs.first().and_then(|t| t.shape.first()).copied() else { return false };
        let fit = |(index, row): (usize, &Vec<usize>)| {
            let has = io.inputs.get(index).and_then(|t| t.shape.first()).copied().unwrap_or(0);
            io.resize_batch(index, has.max(start + count));
            let (to, from) = (io.inputs.get_mut(index), from.inputs.get(index));
            to.zip(from).is_some_and(|(to, from)| to.data.put(start * row.iter().product::<usize>(), &from.data))
        };
        self.inputs.iter().enumerate().all(fit)
    }

    /// Joins a group: copies, waits, and takes the answer.
    fn follow(&self, caller: &mut Caller<'_>, number: u64, place: &Place, start: usize) -> Outcome {
        let begun = Instant::now();
        // The first one waits for it, so nothing may keep it from being said.
        let fits = catch_unwind(AssertUnwindSafe(|| self.put(&mut place.lock(), caller.io, start))).unwrap_or(false);
        self.lock().copied(number, fits);
        let over = self.wait((number, &place.changed), caller.until, |state| state.answer(number));
        let outcome = match over {
            Some(Phase::Over(Ok(()))) => self.take_out(caller, place, start),
            Some(Phase::Over(Err(error))) => self.judge(error, number, caller.until),
            Some(_) => Outcome::Again,
            None => Outcome::Over(Err(late(caller.until, begun))),
        };
        self.lock().leave(number);
        outcome
    }

    /// Copies a caller's answer, which begins at picture `start`.
    fn take_out(&self, caller: &mut Caller<'_>, place: &Place, start: usize) -> Outcome {
        let count = caller.pictures.unwrap_or(1);
        let io = place.lock();
        for ((to, from), row) in caller.io.outputs.iter_mut().zip(&io.outputs).zip(&self.outputs) {
            let len = row.iter().product::<usize>();
            to.data.copy_part(&from.data, start * len..(start + count) * len);
            to.shape.clear();
            to.shape.push(count);
            to.shape.extend_from_slice(row);
        }
        Outcome::Over(Ok(()))
    }

    /// What a caller makes of the failure of a shared run.
    fn judge(&self, error: EngineError, number: u64, until: Option<Instant>) -> Outcome {
        let own = match error {
            EngineError::Deadline(_) => self.lock().is_late(number, until, Instant::now()),
            // These are about the engine, and not about what it was given.
            EngineError::Restarting(_) | EngineError::Crashed(_) => true,
            _ => false,
        };
        if own { Outcome::Over(Err(error)) } else { Outcome::Alone }
    }
}

fn late(until: Option<Instant>, begun: Instant) -> EngineError {
    EngineError::Deadline(until.map_or(Duration::ZERO, |until| until.saturating_duration_since(begun)))
}

impl Engine for Gather {
    fn spec(&self) -> &Spec {
        self.inner.spec()
    }

    fn provider(&self) -> &str {
        self.inner.provider()
    }

    fn lanes(&self) -> usize {
        let lanes = self.inner.lanes();
        if self.most() > 1 { (2 * lanes * self.most()).min(MOST_LANES.max(lanes)) } else { lanes }
    }

    fn at_once(&self) -> usize {
        self.inner.at_once()
    }

    fn threads_per_run(&self) -> usize {
        self.inner.threads_per_run()
    }

    fn gathering(&self) -> Option<Gathering> {
        let (runs, pictures) = (self.runs.load(Ordering::Relaxed), self.pictures.load(Ordering::Relaxed));
        Some(Gathering {
            most: if self.off.load(Ordering::Relaxed) { 1 } else { self.most() },
            mean: if runs > 0 { pictures as f64 / runs as f64 } else { 0.0 },
            measured: self.measured.to_string(),
        })
    }

    fn io(&self, input_shapes: &[Vec<usize>]) -> Io {
        self.inner.io(input_shapes)
    }

    fn worker(&self) -> Option<WorkerState> {
        self.inner.worker()
    }

    fn placement(&self) -> Option<&Placement> {
        self.inner.placement()
    }

    fn run(&self, io: &mut Io, until: Option<Instant>) -> Result<(), EngineError> {
        if self.most() < 2 {
            return self.compute_own(io, until);
        }
        let shared = !self.off.load(Ordering::Relaxed);
        let own = pictures(&io.inputs, &self.inputs).filter(|count| shared && (1..self.most()).contains(count));
        let mut caller = Caller { io, pictures: own, until };
        loop {
            match self.attempt(&mut caller) {
                Outcome::Over(answer) => return answer,
                Outcome::Again => {}
                Outcome::Alone => caller.pictures = None,
            }
        }
    }

    fn cut(&self, now: Instant) {
        self.lock().cut(now, Instant::now());
        self.inner.cut(now);
    }
}

#[cfg(test)]
mod tests;
