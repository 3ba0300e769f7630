//! What the watchdog's policy is told, decides and reports.

use super::stats::History;

/// What becomes of the frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Mode {
    /// The chain's frames go out; one that is not back in time goes out untouched.
    Analysing,
    /// All frames go out untouched; the chain gets none.
    #[default]
    Bypassing,
    /// All frames go out untouched; a chain that has to prove itself gets copies.
    Recovering,
}

impl Mode {
    /// All modes, in the order of their index in arrays.
    pub const ALL: [Self; 3] = [Self::Analysing, Self::Bypassing, Self::Recovering];

    /// As it is called in messages and statistics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Analysing => "analysing",
            Self::Bypassing => "bypassing",
            Self::Recovering => "recovering",
        }
    }
}

/// Why the mode changed, or why a chain was let go of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Cause {
    /// The element starts; its first chain is ready.
    #[default]
    Start,
    /// The element stops.
    Stop,
    /// `max_misses` frames in a row were not good, the last one was not back within the deadline; one is enough while a
    /// chain proves itself.
    Deadline,
    /// `max_misses` frames in a row were not good, the last one came back but the engine had failed on it.
    Engine,
    /// The chain was not ready within `build_ns`, or could not be made from its description.
    Build,
    /// An element of the chain posted an error, also while it was built.
    Error,
    /// The chain returned a flow error.
    Flow,
    /// An element of the chain panicked.
    Panic,
    /// The chain ended the stream by itself.
    Eos,
    /// The chain changed the caps, or cannot take those of the stream.
    Caps,
    /// `force-bypass` was set.
    Forced,
    /// `force-bypass` was unset.
    Released,
    /// `reset` was called.
    Reset,
    /// The wait, if there was one, is over, and the chain that was built then takes frames.
    BackOff,
    /// The chain delivered `recover_frames` good frames in a row.
    Recovered,
    /// A chain is due, but too many hung ones are not gone yet: none is built until one goes.
    Abandoned,
}

impl Cause {
    /// All causes, in the order of their index in arrays.
    pub const ALL: [Self; 16] = [
        Self::Start,
        Self::Stop,
        Self::Deadline,
        Self::Engine,
        Self::Build,
        Self::Error,
        Self::Flow,
        Self::Panic,
        Self::Eos,
        Self::Caps,
        Self::Forced,
        Self::Released,
        Self::Reset,
        Self::BackOff,
        Self::Recovered,
        Self::Abandoned,
    ];

    /// As it is called in messages and statistics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Stop => "stop",
            Self::Deadline => "deadline",
            Self::Engine => "engine",
            Self::Build => "build",
            Self::Error => "error",
            Self::Flow => "flow",
            Self::Panic => "panic",
            Self::Eos => "eos",
            Self::Caps => "caps",
            Self::Forced => "forced",
            Self::Released => "released",
            Self::Reset => "reset",
            Self::BackOff => "back-off",
            Self::Recovered => "recovered",
            Self::Abandoned => "abandoned",
        }
    }
}

/// A change of mode; also, with `from` = `to` = bypassing, that another try to build a chain failed, or that none will be built:
/// see `exhausted` and [`Cause::Abandoned`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The mode before.
    pub from: Mode,
    /// The mode from now on.
    pub to: Mode,
    /// Why.
    pub cause: Cause,
    /// Why, for people: what the failing element said, for example. May be empty.
    pub detail: String,
    /// When, nanoseconds of the element clock.
    pub at_ns: u64,
    /// Chains built in place of another so far.
    pub restarts: u64,
    /// Nanoseconds until the next chain is built, if one will be built by itself.
    pub back_off_ns: Option<u64>,
    /// Whether `max_restarts` is used up: no chain is built until a reset.
    pub exhausted: bool,
}

/// How patient the policy is. Changed settings count from the next event on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// Frames in a row, late or with a failed engine, that end a chain; 0 counts as 1.
    pub max_misses: u32,
    /// Good frames in a row that a chain must deliver before its frames are used; 0 counts as 1.
    pub recover_frames: u32,
    /// Wait before the first replacement, nanoseconds; at least a millisecond is waited.
    pub backoff_ns: u64,
    /// How long a chain may take until it is ready, nanoseconds; 0 for no limit.
    pub build_ns: u64,
    /// Longest wait, nanoseconds; not below `backoff_ns`.
    pub backoff_max_ns: u64,
    /// How long a chain must analyse without failing until the wait is `backoff_ns` again, nanoseconds.
    pub stable_ns: u64,
    /// Most replacements within `restart_window_ns`; 0 for no limit.
    pub max_restarts: u32,
    /// See `max_restarts`; nanoseconds.
    pub restart_window_ns: u64,
    /// Hung chains at which no more are built until one of them is gone; 0 counts as 1.
    pub max_abandoned: u32,
}

impl Default for Settings {
    fn default() -> Self {
        const SECOND: u64 = 1_000_000_000;
        Self {
            max_misses: 3,
            recover_frames: 5,
            backoff_ns: SECOND,
            build_ns: 300 * SECOND,
            backoff_max_ns: 60 * SECOND,
            stable_ns: 60 * SECOND,
            max_restarts: 0,
            restart_window_ns: 600 * SECOND,
            max_abandoned: 4,
        }
    }
}

/// What the element has to do, in the order given. The two always alternate, beginning with `Build`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Make a new chain, then say [`ready`](super::Policy::ready) or [`failed`](super::Policy::failed).
    Build,
    /// Let go of the current chain without waiting for it: it may hang, be half built, or have failed already.
    Abandon,
}

/// The state at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// The mode.
    pub mode: Mode,
    /// When it was entered, nanoseconds of the element clock.
    pub since_ns: u64,
    /// The last thing that changed the mode, or would have if it were another one.
    pub cause: Cause,
    /// The same for people; may be empty.
    pub detail: String,
    /// Whether `force-bypass` is set.
    pub forced: bool,
    /// Whether no chain is built until a reset.
    pub exhausted: bool,
    /// Nanoseconds until the next chain is built, if one will be by itself.
    pub back_off_ns: Option<u64>,
    /// Chains built in place of another.
    pub restarts: u64,
    /// Chains that were let go of and are not gone yet.
    pub abandoned_now: u32,
    /// Chains that were let go of.
    pub abandoned_total: u64,
    /// Time in each mode, entries into each, causes.
    pub history: History,
}
