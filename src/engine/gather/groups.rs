//! Who waits for a run and with whom, and which runs are under way. The time is an argument; nothing here waits.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::engine::lanes::SETTLE;
use crate::engine::{EngineError, Io};

/// Where a group copies its pictures to; used again by later groups.
#[derive(Default)]
pub(super) struct Place {
    io: Mutex<Io>,
    /// Something about the group has changed. Waited on with the lock of the state.
    pub(super) changed: Condvar,
}

impl Place {
    pub(super) fn lock(&self) -> MutexGuard<'_, Io> {
        self.io.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How far a group is.
#[derive(Debug, Clone)]
pub(super) enum Phase {
    Waiting,
    Running,
    Over(Result<(), EngineError>),
    /// Its first caller has left it: the others sit down anew.
    Dissolved,
}

/// What a caller is to do.
pub(super) enum Seat {
    /// Run at once, with this number, and say when it is over.
    Free(u64),
    /// It is the first of a group.
    First(u64, Arc<Place>),
    /// It has joined a group, and its pictures begin at this one.
    Joined(u64, Arc<Place>, usize),
}

/// What is known of a group whose pictures are all there.
pub(super) struct Ready {
    pub(super) members: usize,
    pub(super) pictures: usize,
    pub(super) complete: bool,
    pub(super) until: Option<Instant>,
}

struct Group {
    number: u64,
    place: Arc<Place>,
    /// Pictures for which there is a place, those of callers who have left among them.
    pictures: usize,
    /// Others may join it.
    open: bool,
    members: usize,
    /// Members that are not done copying.
    copying: usize,
    /// The pictures of all that are done copying are there.
    complete: bool,
    /// When the first of its members has no more time.
    until: Option<Instant>,
    /// Members with no more time than this were told to end.
    cut: Option<Instant>,
    phase: Phase,
}

struct Run {
    number: u64,
    until: Option<Instant>,
    /// When it was cut.
    cut: Option<Instant>,
}

impl Run {
    /// When its place is another's, though it is not over.
    fn lost(&self) -> Option<Instant> {
        self.cut.map(|at| at + SETTLE)
    }
}

/// The groups of an engine.
pub(super) struct Groups {
    /// Runs that may be under way at once.
    lanes: usize,
    /// Most pictures of a run.
    most: usize,
    runs: Vec<Run>,
    /// Those who came first are first.
    groups: Vec<Group>,
    spare: Vec<Arc<Place>>,
    begun: u64,
}

/// The earlier of two times, where `None` is never.
fn earlier(a: Option<Instant>, b: Option<Instant>) -> Option<Instant> {
    a.into_iter().chain(b).min()
}

impl Groups {
    pub(super) fn new(lanes: usize, most: usize) -> Self {
        Self { lanes, most, runs: Vec::new(), groups: Vec::new(), spare: Vec::new(), begun: 0 }
    }

    fn group(&self, number: u64) -> Option<&Group> {
        self.groups.iter().find(|group| group.number == number)
    }

    fn group_mut(&mut self, number: u64) -> Option<&mut Group> {
        self.groups.iter_mut().find(|group| group.number == number)
    }

    fn is_free(&self, now: Instant) -> bool {
        self.runs.iter().filter(|run| run.lost().is_none_or(|lost| now < lost)).count() < self.lanes
    }

    /// A place for `pictures` of a caller that has time until `until`; `None` for one that is to run alone.
    pub(super) fn sit(&mut self, pictures: Option<usize>, until: Option<Instant>, now: Instant) -> Seat {
        self.grant(now);
        // Nobody waits then: whoever did was granted a run just now.
        if self.is_free(now) {
            self.begun += 1;
            self.runs.push(Run { number: self.begun, until, cut: None });
            return Seat::Free(self.begun);
        }
        if let Some(count) = pictures {
            let most = self.most;
            let joins = |group: &&mut Group| group.open && group.cut.is_none() && group.pictures + count <= most;
            if let Some(group) = self.groups.iter_mut().find(joins) {
                let start = group.pictures;
                group.pictures += count;
                group.members += 1;
                group.copying += 1;
                group.until = earlier(group.until, until);
                return Seat::Joined(group.number, Arc::clone(&group.place), start);
            }
        }
        self.begun += 1;
        let place = self.spare.pop().unwrap_or_default();
        self.groups.push(Group {
            number: self.begun,
            place: Arc::clone(&place),
            pictures: pictures.unwrap_or(1),
            open: pictures.is_some(),
            members: 1,
            copying: 0,
            complete: true,
            until,
            cut: None,
            phase: Phase::Waiting,
        });
        Seat::First(self.begun, place)
    }

    /// Lets groups that wait run, as far as the engine is free.
    pub(super) fn grant(&mut self, now: Instant) {
        while self.is_free(now) {
            let waits = |group: &&mut Group| matches!(group.phase, Phase::Waiting);
            let Some(group) = self.groups.iter_mut().find(waits) else { return };
            (group.phase, group.open) = (Phase::Running, false);
            self.runs.push(Run { number: group.number, until: group.until, cut: None });
            group.place.changed.notify_all();
        }
    }

    pub(super) fn is_running(&self, number: u64) -> bool {
        self.group(number).is_some_and(|group| matches!(group.phase, Phase::Running))
    }

    /// The group, once all have copied.
    pub(super) fn ready(&self, number: u64) -> Option<Ready> {
        let group = self.group(number).filter(|group| group.copying == 0)?;
        let Group { members, pictures, complete, until, .. } = *group;
        Some(Ready { members, pictures, complete, until })
    }

    /// What has become of the group, once that is known.
    pub(super) fn answer(&self, number: u64) -> Option<Phase> {
        let phase = self.group(number).map_or(Phase::Dissolved, |group| group.phase.clone());
        matches!(phase, Phase::Over(_) | Phase::Dissolved).then_some(phase)
    }

    /// Whether a caller of the group has no more time.
    pub(super) fn is_late(&self, number: u64, until: Option<Instant>, now: Instant) -> bool {
        let cut = self.group(number).and_then(|group| group.cut);
        until.is_some_and(|until| until <= now || cut.is_some_and(|cut| until <= cut))
    }

    /// How long a caller waits at most before it looks again.
    pub(super) fn wakes(&self, until: Option<Instant>, now: Instant) -> Option<Duration> {
        let lost = self.runs.iter().filter_map(Run::lost).filter(|lost| *lost > now).min();
        earlier(until, lost).map(|at| at.saturating_duration_since(now))
    }

    /// A member is done copying; whether its pictures are all there.
    pub(super) fn copied(&mut self, number: u64, fits: bool) {
        let Some(group) = self.group_mut(number) else { return };
        group.copying -= 1;
        group.complete &= fits;
        group.place.changed.notify_all();
    }

    /// The run of a caller that sat down alone is over.
    pub(super) fn end(&mut self, number: u64, now: Instant) {
        self.runs.retain(|run| run.number != number);
        self.grant(now);
    }

    /// A group's run is over.
    pub(super) fn over(&mut self, number: u64, answer: Result<(), EngineError>, now: Instant) {
        self.finish(number, Phase::Over(answer), now);
    }

    /// The first of a group leaves it before it has run.
    pub(super) fn dissolve(&mut self, number: u64, now: Instant) {
        self.finish(number, Phase::Dissolved, now);
        self.leave(number);
    }

    fn finish(&mut self, number: u64, phase: Phase, now: Instant) {
        if let Some(group) = self.group_mut(number) {
            (group.phase, group.open) = (phase, false);
            group.place.changed.notify_all();
        }
        self.end(number, now);
    }

    /// A member has left; the last one leaves the tensors to others.
    pub(super) fn leave(&mut self, number: u64) {
        let Some(at) = self.groups.iter().position(|group| group.number == number) else { return };
        let last = self.groups.get_mut(at).is_some_and(|group| {
            group.members -= 1;
            group.members == 0
        });
        if last {
            self.spare.push(self.groups.remove(at).place);
        }
    }

    /// Tells those that have no time after `until`.
    pub(super) fn cut(&mut self, until: Instant, now: Instant) {
        for run in self.runs.iter_mut().filter(|run| run.until.is_some_and(|own| own <= until)) {
            run.cut.get_or_insert(now);
        }
        for group in &mut self.groups {
            group.cut = group.cut.max(Some(until));
            group.place.changed.notify_all();
        }
    }

    /// How many callers sit in groups that wait, and are done copying.
    #[cfg(test)]
    pub(super) fn waiting(&self) -> usize {
        let waiting = self.groups.iter().filter(|group| matches!(group.phase, Phase::Waiting) && group.copying == 0);
        waiting.map(|group| group.members).sum()
    }

    /// How many callers sit in groups.
    #[cfg(test)]
    pub(super) fn members(&self) -> usize {
        self.groups.iter().map(|group| group.members).sum()
    }

    /// The tensors that no group uses.
    #[cfg(test)]
    pub(super) fn spare(&self) -> &[Arc<Place>] {
        &self.spare
    }
}
