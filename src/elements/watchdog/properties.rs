//! The properties of `vigilwatchdog`.

use std::sync::LazyLock;

use gst::glib;
use gst::prelude::*;

use crate::gstutil::{set_latencies, store};
use crate::watchdog::stats::Frames;
use crate::watchdog::{Mode, Settings as PolicySettings, Snapshot};

/// What becomes of the frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, glib::Enum)]
#[enum_type(name = "VigilWatchdogMode")]
#[repr(i32)]
pub enum ShownMode {
    #[enum_value(name = "Analysing: the chain's frames go out, late ones untouched", nick = "analysing")]
    Analysing,
    #[default]
    #[enum_value(name = "Bypassing: all frames go out untouched", nick = "bypassing")]
    Bypassing,
    #[enum_value(name = "Recovering: a new chain proves itself on copies", nick = "recovering")]
    Recovering,
}

impl From<Mode> for ShownMode {
    fn from(mode: Mode) -> Self {
        match mode {
            Mode::Analysing => Self::Analysing,
            Mode::Bypassing => Self::Bypassing,
            Mode::Recovering => Self::Recovering,
        }
    }
}

/// What the user has set.
#[derive(Debug, Clone)]
pub struct Settings {
    pub chain: Option<String>,
    pub deadline_ns: u64,
    pub start_timeout_ns: u64,
    pub force_bypass: bool,
    pub policy: PolicySettings,
}

const SECOND: u64 = 1_000_000_000;

impl Default for Settings {
    fn default() -> Self {
        Self {
            chain: None,
            deadline_ns: SECOND / 2,
            start_timeout_ns: 20 * SECOND,
            force_bypass: false,
            policy: PolicySettings::default(),
        }
    }
}

impl Settings {
    /// Stores a property's value; `false` if the type is not the property's, which GObject has checked before.
    pub fn set(&mut self, name: &str, value: &glib::Value) -> bool {
        let policy = &mut self.policy;
        match name {
            "chain" => store(&mut self.chain, value),
            "deadline" => store(&mut self.deadline_ns, value),
            "start-timeout" => store(&mut self.start_timeout_ns, value),
            "force-bypass" => store(&mut self.force_bypass, value),
            "max-misses" => store(&mut policy.max_misses, value),
            "recover-frames" => store(&mut policy.recover_frames, value),
            "backoff" => store(&mut policy.backoff_ns, value),
            "backoff-max" => store(&mut policy.backoff_max_ns, value),
            "stable-time" => store(&mut policy.stable_ns, value),
            "max-restarts" => store(&mut policy.max_restarts, value),
            "restart-window" => store(&mut policy.restart_window_ns, value),
            "max-abandoned" => store(&mut policy.max_abandoned, value),
            _ => false,
        }
    }

    /// A property's value.
    pub fn get(&self, name: &str) -> Option<glib::Value> {
        let policy = &self.policy;
        Some(match name {
            "chain" => self.chain.to_value(),
            "deadline" => self.deadline_ns.to_value(),
            "start-timeout" => self.start_timeout_ns.to_value(),
            "force-bypass" => self.force_bypass.to_value(),
            "max-misses" => policy.max_misses.to_value(),
            "recover-frames" => policy.recover_frames.to_value(),
            "backoff" => policy.backoff_ns.to_value(),
            "backoff-max" => policy.backoff_max_ns.to_value(),
            "stable-time" => policy.stable_ns.to_value(),
            "max-restarts" => policy.max_restarts.to_value(),
            "restart-window" => policy.restart_window_ns.to_value(),
            "max-abandoned" => policy.max_abandoned.to_value(),
            _ => return None,
        })
    }
}

/// The properties as GObject wants them.
pub static SPECS: LazyLock<Vec<glib::ParamSpec>> = LazyLock::new(|| {
    let mut specs = time_specs();
    specs.extend(count_specs());
    specs.extend(state_specs());
    specs
});

fn time_specs() -> Vec<glib::ParamSpec> {
    let defaults = Settings::default();
    let time = |name: &str, nick: &str, blurb: &str, default| {
        glib::ParamSpecUInt64::builder(name).nick(nick).blurb(blurb).default_value(default).mutable_playing().build()
    };
    vec![
        glib::ParamSpecString::builder("chain")
            .nick("Chain")
            .blurb("Launch description of the chain to supervise, instead of elements in the bin; while it runs, of the next one")
            .mutable_playing()
            .build(),
        time(
            "deadline",
            "Deadline",
            "Time in nanoseconds after which a frame that the chain has not given back goes out untouched; the latency added",
            defaults.deadline_ns,
        ),
        glib::ParamSpecUInt64::builder("start-timeout")
            .nick("Start timeout")
            .blurb(
                "Time in nanoseconds to wait at the start for the chain (a model loads) before video goes on without it",
            )
            .default_value(defaults.start_timeout_ns)
            .mutable_ready()
            .build(),
        time(
            "backoff",
            "Back-off",
            "Time in nanoseconds to wait before a failed chain is replaced; doubled with each failure",
            defaults.policy.backoff_ns,
        ),
        time("backoff-max", "Longest back-off", "Longest wait for a new chain in nanoseconds", defaults.policy.backoff_max_ns),
        time(
            "stable-time",
            "Stable time",
            "Time in nanoseconds of analysing without failure after which the back-off begins anew",
            defaults.policy.stable_ns,
        ),
        time(
            "restart-window",
            "Restart window",
            "Time in nanoseconds within which max-restarts counts",
            defaults.policy.restart_window_ns,
        ),
    ]
}

fn count_specs() -> Vec<glib::ParamSpec> {
    let defaults = PolicySettings::default();
    let count = |name: &str, nick: &str, blurb: &str, least, default| {
        glib::ParamSpecUInt::builder(name)
            .nick(nick)
            .blurb(blurb)
            .minimum(least)
            .default_value(default)
            .mutable_playing()
            .build()
    };
    vec![
        count(
            "max-misses",
            "Most misses",
            "Number of frames in a row that may be late, or on which the engine may fail, before the chain is replaced",
            1,
            defaults.max_misses,
        ),
        count(
            "recover-frames",
            "Frames to recover",
            "Number of frames in a row that a new chain must deliver in time before its frames are used",
            1,
            defaults.recover_frames,
        ),
        count(
            "max-restarts",
            "Most restarts",
            "Number of chains built within restart-window after which no more are built until reset; 0: no limit",
            0,
            defaults.max_restarts,
        ),
        count(
            "max-abandoned",
            "Most abandoned",
            "Number of abandoned chains that still hang at which no more are built until one of them ends",
            1,
            defaults.max_abandoned,
        ),
    ]
}

fn state_specs() -> Vec<glib::ParamSpec> {
    vec![
        glib::ParamSpecBoolean::builder("force-bypass")
            .nick("Force bypass")
            .blurb("Let all frames go out untouched, for maintenance; the chain is kept and proves itself afterwards")
            .mutable_playing()
            .build(),
        glib::ParamSpecEnum::builder::<ShownMode>("mode")
            .nick("Mode")
            .blurb("What becomes of the frames right now")
            .read_only()
            .build(),
        glib::ParamSpecBoxed::builder::<gst::Structure>("stats")
            .nick("Statistics")
            .blurb("Counts of frames, nanoseconds in each mode, causes of changes, chains; see the element's page")
            .read_only()
            .build(),
    ]
}

/// The property `stats`.
pub fn stats(frames: &Frames, state: &Snapshot) -> gst::Structure {
    let time = |mode| state.history.time_ns(mode);
    let mut causes = gst::Structure::new_empty("causes");
    for (cause, count) in state.history.causes() {
        causes.set(cause.as_str(), count);
    }
    let mut stats = gst::Structure::builder("vigil-watchdog-stats")
        .field("mode", state.mode.as_str())
        .field("since", state.since_ns)
        .field("forced", state.forced)
        .field("frames-in", frames.frames_in)
        .field("frames-out", frames.frames_out)
        .field("analysed", frames.analysed)
        .field("bypassed", frames.bypassed)
        .field("late", frames.late)
        .field("swallowed", frames.swallowed)
        .field("duplicates", frames.duplicates)
        .field("time-analysing", time(Mode::Analysing))
        .field("time-bypassing", time(Mode::Bypassing))
        .field("time-recovering", time(Mode::Recovering))
        .field("restarts", state.restarts)
        .field("abandoned", state.abandoned_now)
        .field("abandoned-total", state.abandoned_total)
        .field("exhausted", state.exhausted)
        .field_if_some("back-off", state.back_off_ns)
        .field("last-cause", state.cause.as_str())
        .field("last-detail", state.detail.as_str())
        .field("causes", causes)
        .build();
    set_latencies(&mut stats, "chain-time", &frames.chain);
    stats
}
