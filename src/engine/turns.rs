//! Whose frame an engine looks at next, when its users have more frames than it can look at.
//!
//! A user that may let frames pass ([`when-busy=hold`](crate::analysis::WhenBusy)) asks for each frame before anything is
//! done for it. Either the frame is let in, and a lane will take it soon, or it is refused, and costs nothing. Nobody
//! queues for a later turn: the next frame of the same camera is newer and just as good.
//!
//! Fairness is that of start-time fair queueing (Goyal, Vin, Cheng: "Start-time Fair Queueing", 1996), for work that is lost
//! when it cannot be done at once: each user has a virtual time that rises by `cost / weight` with each frame that is let
//! in. A frame is let in if
//!
//! - *turn*: its user is at most one frame of its own ahead of the neediest one that was refused lately, and
//! - *room*: fewer frames than the engine's depth wait for a lane with a virtual time that is not greater; fewer than half
//!   of it for a user that is ahead.
//!
//! So a needier user may go in where the room is taken by others, and nobody is favoured by when its frames come: cameras
//! of equal rate whose frames always come in the same order get equal shares. A user that is no longer refused, or is
//! silent, holds nobody back, and is given no more than one frame for the time that it was away. That one frame is also what
//! lets a slow camera, which wants less than its share, have all that it asks for.
//!
//! Frames that were let in are looked at in the order in which they were: the rule is about who goes in.
//!
//! The depth is as small as it can be, so that frames wait briefly: one frame for each run that the engine computes at once,
//! and more as long as it runs out of work between frames that were refused (cameras in step). It never lets a frame wait
//! longer than until the next one of its camera, by the time that runs take. Where several pictures share a run there are
//! more lanes than that: on them the next run's pictures gather, which is waiting enough.
//!
//! Nothing here locks or looks at a clock.

use std::time::{Duration, Instant};

/// Time between two frames of a user that has sent one so far.
const PERIOD: Duration = Duration::from_millis(40);
/// Longest time that counts as one between frames; what is longer is a silence.
const LONGEST_PERIOD: Duration = Duration::from_secs(2);
/// Longest that a refused user which sends nothing more holds back those ahead of it.
const PATIENCE: Duration = Duration::from_millis(250);
/// Longest that the depth lets frames wait.
const LONGEST_WAIT: Duration = Duration::from_millis(100);
/// A user that was silent for this long is forgotten.
const MEMORY: Duration = Duration::from_secs(60);
/// Half of what a user's share counts is from the last seconds, so many.
const SHARE_HALF_LIFE: f64 = 5.0;
/// Frames for each lane over which the depth must have been more than needed before it shrinks.
const CALM: usize = 32;
/// Users and frames for which there is a place from the start.
const ROOM: usize = 64;

/// Names a user; the same one as long as it uses the engine.
pub type Key = usize;

/// A frame that was let in, until a lane takes it or it is given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Number(u64);

/// A frame that may be looked at.
#[derive(Debug, Clone, Copy)]
pub struct Ask {
    /// Whose it is.
    pub user: Key,
    /// Its share relative to others', at least 1.
    pub weight: u32,
    /// Runs that it takes, at least 1.
    pub cost: u32,
}

/// What a user gets of the engine.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Share {
    /// Its part of the runs of the last seconds, 0..1.
    pub part: f64,
    /// Users with runs in the last seconds.
    pub users: usize,
    /// Frames that may wait for a lane.
    pub depth: usize,
}

#[derive(Debug)]
struct User {
    key: Key,
    weight: f64,
    /// Virtual time: rises by cost / weight.
    v: f64,
    period: Duration,
    asked: Option<Instant>,
    refused: Option<Instant>,
    /// Runs, those before the last seconds counting less and less; as of `ran`.
    runs: f64,
    ran: Instant,
}

impl User {
    fn new(key: Key, now: Instant) -> Self {
        Self { key, weight: 1.0, v: 0.0, period: PERIOD, asked: None, refused: None, runs: 0.0, ran: now }
    }

    /// Learns how often frames come.
    fn meet(&mut self, now: Instant) {
        if let Some(gap) = self.asked.map(|asked| now.saturating_duration_since(asked))
            && gap < LONGEST_PERIOD
        {
            self.period = (self.period * 7 + gap) / 8;
        }
        self.asked = Some(now);
    }

    /// Whether it wants more than it gets, where runs take so long: they may hold up its frames.
    fn lacks(&self, now: Instant, run: Duration) -> bool {
        let patience = (self.period * 2).min(PATIENCE).max(run * 3 / 2);
        self.refused.is_some_and(|refused| now.saturating_duration_since(refused) <= patience)
    }

    fn runs_at(&self, now: Instant) -> f64 {
        let age = now.saturating_duration_since(self.ran).as_secs_f64();
        self.runs * (-age / SHARE_HALF_LIFE).exp2()
    }
}

#[derive(Debug, Clone, Copy)]
struct Waiting {
    number: Number,
    /// Its user's virtual time before it and with it.
    start: f64,
    end: f64,
    cost: usize,
}

/// Who may have a frame looked at. See the module's description.
#[derive(Debug)]
pub struct Turns {
    lanes: usize,
    /// Least depth.
    least: usize,
    users: Vec<User>,
    waiting: Vec<Waiting>,
    let_in: u64,
    /// No user that lacks is behind this virtual time.
    floor: f64,
    /// How long a run takes.
    run: Duration,
    depth: usize,
    /// Frames were refused since a lane last ran out of work, for want of room alone.
    turned_away: bool,
    /// Frames that lanes took since the depth was last looked at, and the fewest that one left behind.
    taken: usize,
    least_left: usize,
}

impl Turns {
    /// For an engine of `lanes` lanes, where `least` frames may always wait for one, 1 to `lanes`.
    pub fn new(lanes: usize, least: usize) -> Self {
        let lanes = lanes.max(1);
        let least = least.clamp(1, lanes);
        Self {
            lanes,
            least,
            users: Vec::with_capacity(ROOM),
            waiting: Vec::with_capacity(ROOM),
            let_in: 0,
            floor: 0.0,
            run: Duration::ZERO,
            depth: least,
            turned_away: false,
            taken: 0,
            least_left: usize::MAX,
        }
    }

    /// Asks for a frame at `now`: its number if it is let in. Then [`taken`](Self::taken) or [`given_up`](Self::given_up)
    /// is to be called with it.
    pub fn ask(&mut self, ask: Ask, now: Instant) -> Option<Number> {
        let at = self.user(ask.user, now);
        let least =
            self.users.iter().filter(|user| user.lacks(now, self.run)).map(|user| user.v).min_by(f64::total_cmp);
        // Where nobody lacks anything, nobody is owed anything either.
        let all = || self.users.iter().map(|user| user.v).fold(self.floor, f64::max);
        let waiting = self.waiting.iter().map(|frame| frame.start).fold(f64::INFINITY, f64::min);
        self.floor = self.floor.max(least.unwrap_or_else(all).min(waiting));
        let floor = self.floor;
        let user = self.users.get_mut(at)?;
        user.meet(now);
        user.weight = f64::from(ask.weight.max(1));
        let (own, cost) = (1.0 / user.weight, ask.cost.max(1) as usize);
        user.v = user.v.max(floor - own);
        let (start, end, period) = (user.v, user.v + own * cost as f64, user.period);
        let others = self.users.iter().filter(|user| user.lacks(now, self.run));
        let limit = others.map(|user| user.v + own.max(1.0 / user.weight)).fold(f64::INFINITY, f64::min);
        // Those behind all may take the room of others, and those ahead leave half of it to others. The small number is for
        // the rounding of sums.
        let slightly = own * 0.01;
        let turn = start <= limit + slightly;
        let depth = match start {
            start if start + slightly < floor => usize::MAX,
            start if least.is_none_or(|least| start <= least + slightly) => self.depth,
            _ => self.depth.div_ceil(2),
        };
        let room = turn && self.has_room(end, depth, period);
        let user = self.users.get_mut(at)?;
        if !room {
            user.refused = Some(now);
            self.turned_away |= turn;
            return None;
        }
        user.v = end;
        self.let_in += 1;
        let number = Number(self.let_in);
        self.waiting.push(Waiting { number, start, end, cost });
        Some(number)
    }

    /// A lane has taken the frame.
    pub fn taken(&mut self, number: Number) {
        if !self.remove(number) {
            return;
        }
        self.taken += 1;
        self.least_left = self.least_left.min(self.waiting.len());
        if self.taken >= CALM * self.lanes {
            if self.least_left > 0 {
                self.depth = self.least.max(self.depth - 1);
            }
            (self.taken, self.least_left) = (0, usize::MAX);
        }
    }

    /// The frame is dropped before a lane has taken it.
    pub fn given_up(&mut self, number: Number) {
        self.remove(number);
    }

    /// A lane has no work, and the engine less than it takes.
    pub fn idle(&mut self) {
        if std::mem::take(&mut self.turned_away) && self.depth < self.fits(LONGEST_WAIT) {
            self.depth += 1;
        }
    }

    /// A run of `user` has taken so long.
    pub fn ran(&mut self, user: Key, took: Duration, now: Instant) {
        self.run = if self.run.is_zero() { took } else { (self.run * 15 + took) / 16 };
        let at = self.user(user, now);
        if let Some(user) = self.users.get_mut(at) {
            (user.runs, user.ran) = (user.runs_at(now) + 1.0, now);
        }
    }

    /// What `user` gets.
    pub fn share(&self, user: Key, now: Instant) -> Share {
        let all: f64 = self.users.iter().map(|user| user.runs_at(now)).sum();
        let own = self.users.iter().find(|known| known.key == user).map_or(0.0, |user| user.runs_at(now));
        let users = self.users.iter().filter(|user| user.runs_at(now) > 0.01).count();
        Share { part: if all > 0.0 { own / all } else { 0.0 }, users, depth: self.depth }
    }

    /// Where `key` is in the list; adds it if it is new.
    fn user(&mut self, key: Key, now: Instant) -> usize {
        if let Some(at) = self.users.iter().position(|user| user.key == key) {
            return at;
        }
        let last = |user: &User| user.asked.map_or(user.ran, |asked| asked.max(user.ran));
        self.users.retain(|user| now.saturating_duration_since(last(user)) < MEMORY);
        self.users.push(User::new(key, now));
        self.users.len() - 1
    }

    /// How many waiting runs are over in `time`; at least the least depth.
    fn fits(&self, time: Duration) -> usize {
        // Before the first run is over, nobody knows.
        let run = if self.run.is_zero() { LONGEST_WAIT } else { self.run };
        let runs = time.as_nanos().saturating_mul(self.lanes as u128).div_ceil(run.as_nanos());
        usize::try_from(runs).unwrap_or(usize::MAX).max(self.least)
    }

    /// Whether a frame that makes its user's virtual time `end` may wait, where `depth` may that are not needier.
    fn has_room(&self, end: f64, depth: usize, period: Duration) -> bool {
        let fits = self.fits(period.min(LONGEST_WAIT));
        let before: usize = self.waiting.iter().filter(|frame| frame.end <= end).map(|frame| frame.cost).sum();
        let all: usize = self.waiting.iter().map(|frame| frame.cost).sum();
        before < depth.min(fits) && all < fits + fits.div_ceil(2)
    }

    fn remove(&mut self, number: Number) -> bool {
        let at = self.waiting.iter().position(|frame| frame.number == number);
        at.map(|at| self.waiting.swap_remove(at)).is_some()
    }
}

#[cfg(test)]
mod tests;
