//! What a watchdog counts and times.

use std::sync::atomic::{AtomicU64, Ordering};

use super::values::{Cause, Mode};
use crate::telemetry::{Histogram, Latencies};

/// How a frame left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Left {
    /// As the chain delivered it.
    Analysed,
    /// Untouched, since the mode was not analysing, or the chain failed with it inside.
    Bypassed,
    /// Untouched, since the chain had not delivered it within the deadline.
    Late,
    /// Untouched, since the chain gave back later frames without having delivered it.
    Swallowed,
}

/// Running counts of frames; written from all threads without a lock.
#[derive(Debug, Default)]
pub struct Counters {
    entered: AtomicU64,
    left: [AtomicU64; 4],
    duplicates: AtomicU64,
    chain: Histogram,
}

/// The counts of frames at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Frames {
    /// Frames that came in.
    pub frames_in: u64,
    /// Frames that went out: the sum of the next four.
    pub frames_out: u64,
    /// See [`Left::Analysed`].
    pub analysed: u64,
    /// See [`Left::Bypassed`].
    pub bypassed: u64,
    /// See [`Left::Late`].
    pub late: u64,
    /// See [`Left::Swallowed`].
    pub swallowed: u64,
    /// Frames of the chain that were dropped, since that frame had gone out already or was never given to it.
    pub duplicates: u64,
    /// Frames that came back in time, also those that only proved the chain; the times below are theirs.
    pub chain_frames: u64,
    /// The mean time in the chain, nanoseconds.
    pub chain_mean_ns: u64,
    /// The times in the chain.
    pub chain: Latencies,
}

impl Counters {
    /// Counts a frame that comes in.
    pub fn entered(&self) {
        self.entered.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a frame that goes out. The frame must have been counted by [`Counters::entered`] before.
    pub fn left(&self, how: Left) {
        let [analysed, bypassed, late, swallowed] = &self.left;
        let counter = match how {
            Left::Analysed => analysed,
            Left::Bypassed => bypassed,
            Left::Late => late,
            Left::Swallowed => swallowed,
        };
        counter.fetch_add(1, Ordering::Release);
    }

    /// Counts a frame of the chain that is dropped, since nobody waits for it.
    pub fn duplicate(&self) {
        self.duplicates.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts how long a frame that came back in time was in the chain, nanoseconds.
    pub fn chain_time(&self, ns: u64) {
        self.chain.record(ns);
    }

    /// The counts so far. `frames_out` is never above `frames_in`, also while other threads count.
    pub fn snapshot(&self) -> Frames {
        // Out before in: a frame that leaves between the two reads is then only counted as in.
        let [analysed, bypassed, late, swallowed] = self.left.each_ref().map(|a| a.load(Ordering::Acquire));
        Frames {
            frames_in: self.entered.load(Ordering::Relaxed),
            frames_out: analysed + bypassed + late + swallowed,
            analysed,
            bypassed,
            late,
            swallowed,
            duplicates: self.duplicates.load(Ordering::Relaxed),
            chain_frames: self.chain.count(),
            chain_mean_ns: self.chain.mean_ns(),
            chain: self.chain.latencies(),
        }
    }
}

/// Modes and causes so far; part of the policy, under its lock.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct History {
    time_ns: [u64; Mode::ALL.len()],
    entries: [u64; Mode::ALL.len()],
    causes: [u64; Cause::ALL.len()],
}

impl History {
    pub(super) fn spend(&mut self, mode: Mode, ns: u64) {
        if let Some(time) = self.time_ns.get_mut(mode as usize) {
            *time = time.saturating_add(ns);
        }
    }

    pub(super) fn enter(&mut self, mode: Mode) {
        if let Some(entries) = self.entries.get_mut(mode as usize) {
            *entries += 1;
        }
    }

    pub(super) fn note(&mut self, cause: Cause) {
        if let Some(count) = self.causes.get_mut(cause as usize) {
            *count += 1;
        }
    }

    /// Nanoseconds spent in a mode while the element ran.
    pub fn time_ns(&self, mode: Mode) -> u64 {
        self.time_ns.get(mode as usize).copied().unwrap_or(0)
    }

    /// How often a mode was changed to; bypassing before the first chain is ready does not count.
    pub fn entries(&self, mode: Mode) -> u64 {
        self.entries.get(mode as usize).copied().unwrap_or(0)
    }

    /// How often something happened: all changes, and what happened without changing the mode (a chain that failed
    /// while it was built, `force-bypass` while bypassing).
    pub fn count(&self, cause: Cause) -> u64 {
        self.causes.get(cause as usize).copied().unwrap_or(0)
    }

    /// The causes that happened, with their counts.
    pub fn causes(&self) -> impl Iterator<Item = (Cause, u64)> + '_ {
        Cause::ALL.iter().map(|&cause| (cause, self.count(cause))).filter(|&(_, count)| count > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_that_left_are_the_sum_of_the_ways_to_leave() {
        let counters = Counters::default();
        let ways = [(Left::Analysed, 1), (Left::Bypassed, 2), (Left::Late, 3), (Left::Swallowed, 4)];
        for (how, times) in ways {
            (0..times).for_each(|_| counters.entered());
            (0..times).for_each(|_| counters.left(how));
        }
        counters.entered();
        counters.duplicate();
        let frames = counters.snapshot();
        assert_eq!((frames.analysed, frames.bypassed, frames.late, frames.swallowed), (1, 2, 3, 4));
        assert_eq!((frames.frames_in, frames.frames_out, frames.duplicates), (11, 10, 1));
    }

    #[test]
    fn times_in_the_chain_are_summed_up() {
        let counters = Counters::default();
        [10, 20, 60].iter().for_each(|&ns| counters.chain_time(ns));
        let frames = counters.snapshot();
        assert_eq!((frames.chain_frames, frames.chain_mean_ns, frames.chain.median_ns), (3, 30, 20));
        assert_eq!((frames.chain.p99_ns, frames.chain.max_ns, frames.chain.sum_ns), (60, 60, 90));
    }

    #[test]
    fn modes_and_causes_lie_at_the_index_of_their_position() {
        for (i, mode) in Mode::ALL.into_iter().enumerate() {
            assert_eq!(mode as usize, i, "{}", mode.as_str());
        }
        for (i, cause) in Cause::ALL.into_iter().enumerate() {
            assert_eq!(cause as usize, i, "{}", cause.as_str());
        }
    }

    #[test]
    fn a_history_tells_only_the_causes_that_happened() {
        let mut history = History::default();
        history.note(Cause::Deadline);
        history.note(Cause::Deadline);
        history.note(Cause::Abandoned);
        history.enter(Mode::Bypassing);
        history.spend(Mode::Bypassing, 7);
        history.spend(Mode::Bypassing, u64::MAX);
        assert_eq!(history.causes().collect::<Vec<_>>(), [(Cause::Deadline, 2), (Cause::Abandoned, 1)]);
        assert_eq!((history.entries(Mode::Bypassing), history.entries(Mode::Analysing)), (1, 0));
        assert_eq!((history.time_ns(Mode::Bypassing), history.time_ns(Mode::Recovering)), (u64::MAX, 0));
    }
}
