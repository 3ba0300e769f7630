//! The state machine behind `vigilwatchdog`: told what happens and when, it says what the element has to do.
//!
//! ```text
//!            start: Build              ready (the first chain)
//!  (stopped) ───────────▶ bypassing ──────────────────────────▶ analysing
//!                          │     ▲  ▲      failed, missed          │  ▲
//!   wait over: Build,      │     │  └─────── (Abandon) ────────────┘  │
//!   then ready             ▼     │                                    │
//!                       recovering ───────────────────────────────────┘
//!                             recover_frames good ones in a row
//! ```
//!
//! There is at most one chain at a time as far as the policy knows. It is let go of when it fails, and replaced after a
//! wait that doubles with each failure. Only a chain that analysed for `stable_ns` without failing brings the wait back to its
//! beginning, so that one that fails, returns and fails again cannot make the element busy with building.
//!
//! No threads and no clock: every call carries the time. A reading up to a second older than the newest one comes from
//! another thread and counts as the newest; one that is older still comes from another clock, and all waits go on by that one.

use super::backoff::BackOff;
use super::stats::History;
use super::time::Time;
use super::values::{Action, Cause, Change, Mode, Settings, Snapshot};

/// What the policy knows of the chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Chain {
    /// There is none: it was let go of, or none was built yet.
    #[default]
    None,
    /// The element was asked for one at this time.
    Building(u128),
    /// It can take frames.
    Live,
}

/// See the module's description.
#[derive(Debug, Default)]
pub struct Policy {
    settings: Settings,
    time: Time,
    running: bool,
    forced: bool,
    mode: Mode,
    chain: Chain,
    /// What the present or next chain is built for: `Start`, `Reset` or `BackOff`.
    built_for: Cause,
    /// When the next chain may be built; none if there is one or none may be.
    due: Option<u128>,
    back_off: BackOff,
    exhausted: bool,
    /// Whether it was told that hung chains keep a new one from being built.
    withheld: bool,
    hung: u32,
    /// Frames in a row that were late or on which the engine failed.
    misses: u32,
    /// Good frames in a row, while recovering.
    good: u32,
    /// When the mode was entered.
    since: u128,
    /// Why and since when nothing is analysed.
    off: (Cause, u128),
    cause: Cause,
    detail: String,
    restarts: u64,
    abandoned: u64,
    history: History,
    actions: Vec<Action>,
    changes: Vec<Change>,
}

impl Policy {
    /// A stopped policy, bypassing.
    pub fn new(settings: Settings) -> Self {
        Self { settings, ..Self::default() }
    }

    /// Replaces the settings: what is decided from now on follows the new ones; a wait that has begun stays as it is.
    pub fn set_settings(&mut self, now: u64, settings: Settings) {
        self.advance(now);
        self.settings = settings;
        self.do_what_is_due();
    }

    /// The element starts: the first chain is built. Earlier failures are forgotten.
    pub fn start(&mut self, now: u64) {
        if self.running {
            return;
        }
        // The clock may be another one than in the run before.
        self.time.read_ns = now;
        self.since = self.time.elapsed;
        self.off = (Cause::Start, self.since);
        self.running = true;
        self.cause = Cause::Start;
        self.detail.clear();
        self.renew(Cause::Start);
    }

    /// The element stops: the chain is let go of, nothing is built any more.
    pub fn stop(&mut self, now: u64) {
        if !self.running {
            return;
        }
        self.advance(now);
        self.let_go();
        self.due = None;
        self.change(Mode::Bypassing, Cause::Stop, String::new());
        self.running = false;
    }

    /// The chain that was asked for takes frames. The first one is trusted, a replacement must prove itself.
    pub fn ready(&mut self, now: u64) {
        self.advance(now);
        if !matches!(self.chain, Chain::Building(_)) {
            return;
        }
        self.chain = Chain::Live;
        if self.forced {
            return;
        }
        let (to, cause) = match self.built_for {
            Cause::Start => (Mode::Analysing, Cause::Start),
            _ => (Mode::Recovering, Cause::BackOff),
        };
        self.change(to, cause, String::new());
    }

    /// The chain gave back a frame in time; `good` says that the engine did not fail on it.
    pub fn delivered(&mut self, now: u64, good: bool) {
        self.advance(now);
        if !self.feeding() {
            return;
        }
        if !good {
            self.good = 0;
            return self.count_miss(Cause::Engine, self.settings.max_misses);
        }
        self.misses = 0;
        if self.mode == Mode::Recovering {
            self.good += 1;
            if self.good >= self.settings.recover_frames {
                self.change(Mode::Analysing, Cause::Recovered, format!("{} good frames in a row", self.good));
            }
        }
    }

    /// The chain did not give back a frame within the deadline, or swallowed it.
    pub fn missed(&mut self, now: u64) {
        self.advance(now);
        if self.feeding() {
            let limit = if self.mode == Mode::Recovering { 1 } else { self.settings.max_misses };
            self.count_miss(Cause::Deadline, limit);
        }
    }

    /// The chain failed, or could not be built. `false` if there is no chain that this can be about: nothing happens.
    pub fn failed(&mut self, now: u64, cause: Cause, detail: impl Into<String>) -> bool {
        self.advance(now);
        let counts = self.chain != Chain::None;
        if counts {
            self.fail(cause, detail.into());
        }
        counts
    }

    /// Sets or unsets `force-bypass`. The chain is kept but gets no frames, and must prove itself afterwards; no replacement
    /// is built meanwhile (a start or a reset does build one).
    pub fn force(&mut self, now: u64, forced: bool) {
        self.advance(now);
        if self.forced == forced {
            return;
        }
        self.forced = forced;
        if !self.running {
            return;
        }
        if forced {
            self.settle();
            self.change(Mode::Bypassing, Cause::Forced, String::new());
        } else if self.chain == Chain::Live {
            self.change(Mode::Recovering, Cause::Released, String::new());
        } else {
            self.note(Cause::Released, String::new());
            self.build_if_due(false);
        }
    }

    /// Replaces the chain at once, and forgets earlier failures.
    pub fn reset(&mut self, now: u64) {
        self.advance(now);
        if !self.running {
            return;
        }
        self.let_go();
        self.exhausted = false;
        self.change(Mode::Bypassing, Cause::Reset, String::new());
        self.renew(Cause::Reset);
    }

    /// Says how many chains were let go of and are not gone yet.
    pub fn hung_changed(&mut self, now: u64, hung: u32) {
        self.advance(now);
        self.hung = hung;
        self.do_what_is_due();
    }

    /// Another clock counts from now on: it shows `new` where the one before shows `old`.
    pub fn rebase(&mut self, old: u64, new: u64) {
        self.advance(old);
        self.time.read_ns = new;
    }

    /// Does what is due; to be called at [`Policy::next_wake`] at the latest.
    pub fn poll(&mut self, now: u64) {
        self.advance(now);
        self.do_what_is_due();
    }

    /// When [`Policy::poll`] has something to do, nanoseconds of the element clock, if nothing happens before. Every other
    /// call may change it.
    pub fn next_wake(&self) -> Option<u64> {
        let wait = match self.build_ends() {
            Some(end) => self.until(end),
            None => self.until_due()?,
        };
        Some(self.time.read_ns.saturating_add(wait))
    }

    /// The mode.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// Why nothing is analysed: what ended it, or `Forced` as long as that lasts; and since when, nanoseconds of the
    /// element clock. `None` while analysing.
    pub fn off(&self) -> Option<(Cause, u64)> {
        let (cause, since) = self.off;
        let cause = if self.forced { Cause::Forced } else { cause };
        (self.mode != Mode::Analysing).then(|| (cause, self.time.reading_at(since)))
    }

    /// Whether frames (or copies of them) are given to the chain.
    pub fn feeding(&self) -> bool {
        self.chain == Chain::Live && !self.forced
    }

    /// What the element has to do since the last call, in order.
    pub fn take_actions(&mut self) -> Vec<Action> {
        std::mem::take(&mut self.actions)
    }

    /// What there is to report since the last call, in order.
    pub fn take_changes(&mut self) -> Vec<Change> {
        std::mem::take(&mut self.changes)
    }

    /// The state and the history until `now`.
    pub fn snapshot(&mut self, now: u64) -> Snapshot {
        self.advance(now);
        Snapshot {
            mode: self.mode,
            since_ns: self.time.reading_at(self.since),
            cause: self.cause,
            detail: self.detail.clone(),
            forced: self.forced,
            exhausted: self.exhausted,
            back_off_ns: self.until_due(),
            restarts: self.restarts,
            abandoned_now: self.hung,
            abandoned_total: self.abandoned,
            history: self.history.clone(),
        }
    }

    /// Takes a reading of the clock. While stopped there may be no clock, and no time to count.
    fn advance(&mut self, now: u64) {
        if self.running {
            let step = self.time.advance(now);
            self.history.spend(self.mode, step);
        }
    }

    fn count_miss(&mut self, cause: Cause, limit: u32) {
        self.misses += 1;
        if self.misses >= limit {
            let what = if cause == Cause::Engine { "engine failed" } else { "deadline missed" };
            let detail = format!("{what}; frames in a row without an analysis: {}", self.misses);
            self.fail(cause, detail);
        }
    }

    /// Lets go of the chain and decides when, if ever, the next one is built.
    fn fail(&mut self, cause: Cause, detail: String) {
        self.settle();
        self.let_go();
        self.built_for = Cause::BackOff;
        self.due = self.back_off.failed(self.time.elapsed, &self.settings);
        self.exhausted = self.due.is_none();
        // A failed try changes no mode, and is yet what somebody who mends a chain must hear.
        if self.mode == Mode::Bypassing {
            self.tell(Mode::Bypassing, cause, detail);
        } else {
            self.change(Mode::Bypassing, cause, detail);
        }
    }

    fn let_go(&mut self) {
        if self.chain != Chain::None {
            self.chain = Chain::None;
            self.abandoned += 1;
            self.actions.push(Action::Abandon);
        }
    }

    /// Starts the waits from the beginning again if the chain has analysed long enough; to be called before it stops.
    fn settle(&mut self) {
        let analysed_ns = self.time.elapsed - self.since;
        if self.mode == Mode::Analysing && analysed_ns >= u128::from(self.settings.stable_ns) {
            self.back_off.settle();
        }
    }

    /// Forgets earlier failures and builds a chain now.
    fn renew(&mut self, cause: Cause) {
        self.back_off.forget();
        self.exhausted = false;
        self.withheld = false;
        self.built_for = cause;
        self.due = Some(self.time.elapsed);
        self.build_if_due(true);
    }

    fn do_what_is_due(&mut self) {
        if self.build_ends().is_some_and(|end| end <= self.time.elapsed) {
            let limit_ms = self.settings.build_ns / 1_000_000;
            self.fail(Cause::Build, format!("the chain was not ready within {limit_ms} ms"));
        }
        self.build_if_due(false);
    }

    /// When the chain that is being built is given up.
    fn build_ends(&self) -> Option<u128> {
        match self.chain {
            Chain::Building(since) if self.settings.build_ns > 0 => Some(since + u128::from(self.settings.build_ns)),
            _ => None,
        }
    }

    fn build_if_due(&mut self, though_forced: bool) {
        if self.due.is_none_or(|due| due > self.time.elapsed) || (self.forced && !though_forced) {
            return;
        }
        if self.hung >= self.settings.max_abandoned.max(1) {
            if !self.withheld {
                self.withheld = true;
                let detail = format!("{} hung chains are not gone yet; no other is built until one goes", self.hung);
                self.tell(self.mode, Cause::Abandoned, detail);
            }
            return;
        }
        self.withheld = false;
        self.due = None;
        self.chain = Chain::Building(self.time.elapsed);
        self.actions.push(Action::Build);
        if self.built_for != Cause::Start {
            self.restarts += 1;
        }
        if self.built_for == Cause::BackOff {
            self.back_off.built(self.time.elapsed, &self.settings);
        }
    }

    /// Nanoseconds until the next chain is built, if nothing but time keeps it from that.
    fn until_due(&self) -> Option<u64> {
        self.due.filter(|_| !self.forced && !self.withheld).map(|due| self.until(due))
    }

    fn until(&self, then: u128) -> u64 {
        u64::try_from(then.saturating_sub(self.time.elapsed)).unwrap_or(u64::MAX)
    }

    /// Goes to a mode, and reports it if that is another one.
    fn change(&mut self, to: Mode, cause: Cause, detail: String) {
        self.misses = 0;
        self.good = 0;
        if to == self.mode {
            return self.note(cause, detail);
        }
        if self.mode == Mode::Analysing {
            self.off = (cause, self.time.elapsed);
        }
        self.tell(to, cause, detail);
        self.mode = to;
        self.since = self.time.elapsed;
        self.history.enter(to);
    }

    fn tell(&mut self, to: Mode, cause: Cause, detail: String) {
        self.changes.push(Change {
            from: self.mode,
            to,
            cause,
            detail: detail.clone(),
            at_ns: self.time.read_ns,
            restarts: self.restarts,
            back_off_ns: self.until_due(),
            exhausted: self.exhausted,
        });
        self.note(cause, detail);
    }

    fn note(&mut self, cause: Cause, detail: String) {
        self.history.note(cause);
        self.cause = cause;
        self.detail = detail;
    }
}

#[cfg(test)]
#[path = "policy_tests.rs"]
mod tests;
