//! What becomes of a camera: a plain value that is told what happens and says what to do. Times are nanoseconds of any clock that only goes
//! forward.
//!
//! ```text
//!             enable                 a picture
//! Disabled ──────────▶ Starting ─────────────────▶ Playing
//!     ▲                    │ failed, silent           │ failed, silent, ended
//!     │ disable            ▼                          ▼
//!  (any)                 Lost ◀──────────────────────┘     Ended (a file that does not repeat)
//!                          │ a pause, then another start, until a picture comes: Playing
//! ```
//!
//! A camera that cannot be built is `Failed`; it is tried again as well, after the longest pause each time, since what it
//! needs (a model, a folder, a secret) may come.

use std::time::Duration;

use super::backoff::Backoff;
use super::plan::Policy;
use super::status::{Reason, State};

/// How many times `silent-after` the first picture may take: a stream that has begun waits for its next key frame.
const START_SHARE: u32 = 3;
/// After so long without a loss, the next loss is the first one again.
const GOOD_TIME: Duration = Duration::from_secs(30);
/// Pictures that come so long after a clock has jumped were on their way: later ones show that it does no harm.
const JUMP_TIME: Duration = Duration::from_secs(1);

/// How long a pipeline may take to be made: a model may be loaded, or an engine be built for it.
const MAKE_TIME: Duration = Duration::from_secs(300);

/// What is to be done with the camera's pipeline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Make one and start it.
    Start,
    /// End it.
    Stop,
    /// Have it begin at its beginning again.
    Rewind,
}

/// What has been seen of the stream since the last start. Times are zero before the first one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Seen {
    /// When the last picture left the pipeline.
    pub frame: u64,
    /// When the source last gave something, whatever it was.
    pub data: u64,
    /// When a picture last went into the stages.
    pub staged: u64,
}

/// What a camera does, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// What it is doing.
    pub state: State,
    /// Why it is not playing.
    pub reason: Option<Reason>,
    /// The same in words.
    pub text: String,
}

/// See the module's description.
#[derive(Debug, Clone)]
pub struct Watch {
    policy: Policy,
    backoff: Backoff,
    report: Report,
    changed: bool,
    /// When its pipeline was started; `None` while there is none, or while it is being made.
    started: Option<u64>,
    /// When it was first seen that a pipeline is being made.
    making: Option<u64>,
    /// There is a pipeline, or one is being made.
    runs: bool,
    /// A picture has come since the last start.
    pictures: bool,
    /// Since when pictures come.
    good_since: Option<u64>,
    next_try: Option<u64>,
    /// When the times of its pictures last made no sense.
    jumped: Option<u64>,
    retries: u64,
    actions: Vec<Action>,
}

impl Watch {
    /// A camera that is switched off. `seed` is any number that is different for each camera.
    pub fn new(policy: Policy, seed: u64) -> Self {
        let backoff = Backoff::new(policy.reconnect_first, policy.reconnect_most, seed);
        Self {
            policy,
            backoff,
            report: Report { state: State::Disabled, reason: None, text: String::new() },
            changed: true,
            started: None,
            making: None,
            runs: false,
            pictures: false,
            good_since: None,
            next_try: None,
            jumped: None,
            retries: 0,
            actions: Vec::new(),
        }
    }

    /// What is to be done now, in this order.
    pub fn take_actions(&mut self) -> Vec<Action> {
        std::mem::take(&mut self.actions)
    }

    /// What it does, if that has changed since the last call.
    pub fn take_change(&mut self) -> Option<Report> {
        std::mem::take(&mut self.changed).then(|| self.report.clone())
    }

    /// What it does.
    pub fn report(&self) -> &Report {
        &self.report
    }

    /// How often it was started again after it was lost.
    pub fn retries(&self) -> u64 {
        self.retries
    }

    /// When it is tried again.
    pub fn next_try(&self) -> Option<u64> {
        self.next_try
    }

    /// Whether its pictures are away though it is to run.
    pub fn is_away(&self) -> bool {
        matches!(self.report.state, State::Lost | State::Failed)
    }

    /// When [`Self::tick`] has something to decide at the earliest, as far as is known.
    pub fn next_wake(&self, seen: Seen) -> Option<u64> {
        self.next_try.or_else(|| self.silent_at(seen))
    }

    fn silent_at(&self, seen: Seen) -> Option<u64> {
        let started = self.started?;
        let (from, span) = if seen.frame >= started && seen.frame > 0 {
            (seen.frame, self.policy.silent_after)
        } else {
            (started, self.policy.silent_after.saturating_mul(START_SHARE))
        };
        Some(from.saturating_add(nanos(span)))
    }

    fn become_(&mut self, state: State, reason: Option<Reason>, text: String) {
        self.changed |= self.report.state != state || self.report.reason != reason;
        self.report = Report { state, reason, text };
    }

    /// Follows another policy, of a pipeline that will be made anew.
    pub fn set_policy(&mut self, policy: Policy) {
        self.backoff.set_bounds(policy.reconnect_first, policy.reconnect_most);
        self.policy = policy;
    }

    /// Switches it on or off.
    pub fn enable(&mut self, enabled: bool) {
        let was = self.report.state != State::Disabled;
        if enabled == was {
            return;
        }
        self.backoff.reset();
        self.next_try = None;
        if enabled {
            self.become_(State::Starting, None, String::new());
            self.start();
        } else {
            self.stop();
            self.become_(State::Disabled, None, String::new());
        }
    }

    /// Makes its pipeline anew, since it is to be another one. What is switched off stays off.
    pub fn rebuild(&mut self) {
        if self.report.state != State::Disabled {
            self.stop();
            self.report.state = State::Disabled;
            self.enable(true);
        }
    }

    fn start(&mut self) {
        (self.runs, self.pictures, self.jumped) = (true, false, None);
        (self.started, self.making, self.good_since, self.next_try) = (None, None, None, None);
        self.actions.push(Action::Start);
    }

    fn stop(&mut self) {
        if std::mem::take(&mut self.runs) {
            self.actions.push(Action::Stop);
        }
        (self.started, self.good_since, self.next_try) = (None, None, None);
    }

    /// Its pipeline is made and runs.
    pub fn started(&mut self, now: u64) {
        if self.runs {
            self.started = Some(now);
        }
    }

    /// A picture has come.
    pub fn picture(&mut self, now: u64) {
        if !self.runs {
            return;
        }
        self.pictures = true;
        self.good_since.get_or_insert(now);
        if self.report.state != State::Playing {
            self.become_(State::Playing, None, String::new());
        }
    }

    /// The times of its pictures make no sense. Pictures go on all the same, if they can: then nothing is done.
    pub fn jumped(&mut self, now: u64) {
        self.jumped = Some(now);
    }

    /// It has failed.
    pub fn failed(&mut self, now: u64, reason: Reason, text: impl Into<String>) {
        if !self.runs {
            return;
        }
        if self.good_since.is_some_and(|since| now.saturating_sub(since) >= nanos(GOOD_TIME)) {
            self.backoff.reset();
        }
        self.stop();
        let hopeless = reason == Reason::CannotBuild;
        let pause = if hopeless { self.backoff.longest() } else { self.backoff.next_pause() };
        self.next_try = Some(now.saturating_add(nanos(pause)));
        self.become_(if hopeless { State::Failed } else { State::Lost }, Some(reason), text.into());
    }

    /// Its stream has come to its end.
    pub fn ended(&mut self, now: u64, seen: Seen) {
        if !self.runs {
            return;
        }
        let text = "the stream has ended";
        // One without a picture would end again at once.
        let pictures = seen.frame > 0 && seen.frame >= self.started.unwrap_or_default();
        if self.policy.repeats && pictures {
            self.started = Some(now);
            self.actions.push(Action::Rewind);
        } else if self.policy.ends {
            self.stop();
            self.become_(State::Ended, Some(Reason::EndOfStream), text.into());
        } else {
            self.failed(now, Reason::EndOfStream, text);
        }
    }

    /// It cannot begin at its beginning again: another pipeline can.
    pub fn cannot_rewind(&mut self) {
        if self.runs {
            self.stop();
            self.start();
        }
    }

    /// Time goes on.
    pub fn tick(&mut self, now: u64, seen: Seen) {
        if self.next_try.is_some_and(|at| now >= at) {
            self.retries += 1;
            self.start();
            return;
        }
        if self.runs && self.started.is_none() {
            let making = *self.making.get_or_insert(now);
            if now.saturating_sub(making) >= nanos(MAKE_TIME) {
                self.failed(now, Reason::TimedOut, "its pipeline does not start: an element of it hangs");
            }
            return;
        }
        if self.silent_at(seen).is_none_or(|at| now < at) {
            return;
        }
        let span = super::units::Span(self.policy.silent_after);
        let started = self.started.unwrap_or_default();
        // What has come since the last picture, and lately.
        let recent = now.saturating_sub(nanos(self.policy.silent_after));
        let since = |what: u64| what > seen.frame.max(started) && what >= recent;
        let (reason, text) = match (since(seen.data), self.pictures || seen.data >= started.max(1)) {
            _ if self.jumped.is_some_and(|at| at.saturating_add(nanos(JUMP_TIME)) >= seen.frame) => {
                (Reason::ClockJump, format!("its clock has jumped, and there was no picture for {span} since"))
            }
            _ if since(seen.staged) => {
                (Reason::Error, format!("its stages have given no picture back for {span}: one of them hangs"))
            }
            (true, _) => (Reason::Corrupt, format!("it sends something, and there was no picture in it for {span}")),
            (false, true) => (Reason::Silent, format!("it is connected, and sends nothing for {span}")),
            (false, false) => (Reason::TimedOut, "it did not answer in time".to_owned()),
        };
        self.failed(now, reason, text);
    }
}

fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
#[path = "watch_tests.rs"]
mod tests;
