//! One camera's monitor: frame results in, a report at the end of each window out.

use std::collections::VecDeque;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::baseline::{Baseline, Window};
use super::report::{self, Report, State};
use super::summary::Summary;
use super::test::{RECENT, Test};
use crate::export::Now;
use crate::result::{FrameResult, Freshness};

/// Version of what [`Monitor::save`] gives.
const VERSION: u32 = 1;
/// Most windows of a baseline that are kept while it is learned; the oldest go first.
const MOST_WINDOWS: usize = 4096;
/// After this many windows' time without a usable window nothing is known.
const UNKNOWN_AFTER: u32 = 3;
/// While a baseline lacks objects after its time, it is tried again after this many windows.
const TRY_EVERY: usize = 12;
const DAY_S: u64 = 86_400;

/// How a monitor works.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Config {
    /// Length of a window. Longer than the things that pass stay in the picture, so that windows differ by more than by
    /// who is there.
    pub window: Duration,
    /// How much analysed time the baseline is learned from. One day knows the times of the day; a site whose weekend
    /// differs needs a week.
    pub learn: Duration,
    /// Into how many equal parts the day (UTC) is cut, each with a baseline of its own; 1 to 24.
    pub slots: usize,
    /// While nothing changes, the mean time to a false alarm is at least this, on average over cameras. One whose baseline
    /// was learned on an unusual day has more.
    pub false_alarm_every: Duration,
    /// A window with fewer fresh frames says nothing.
    pub least_frames: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            window: Duration::from_secs(300),
            learn: Duration::from_secs(DAY_S),
            slots: 8,
            false_alarm_every: Duration::from_secs(30 * DAY_S),
            least_frames: 25,
        }
    }
}

impl Config {
    /// Values that make sense: what lies outside is moved to the nearest that does.
    fn checked(mut self) -> Self {
        self.window = self.window.clamp(Duration::from_secs(1), Duration::from_secs(DAY_S));
        self.slots = self.slots.clamp(1, 24);
        self.learn = self.learn.clamp(48 * self.window, MOST_WINDOWS as u32 * self.window);
        self.least_frames = self.least_frames.max(1);
        self
    }

    /// Logarithm of the evidence that raises the alarm: as many windows as may pass to a false one.
    fn bound(&self) -> f64 {
        (self.false_alarm_every.as_secs_f64() / self.window.as_secs_f64()).max(20.0).ln()
    }

    fn slot(&self, utc_ns: u64) -> usize {
        let second = utc_ns / 1_000_000_000 % DAY_S;
        (second * self.slots as u64 / DAY_S) as usize
    }
}

/// Why a saved state is not taken.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// It is no state, or damaged.
    #[error("the saved baseline cannot be read ({0}); a new one is learned")]
    Unreadable(#[from] serde_json::Error),
    /// Its parts do not fit each other, or it is of another version.
    #[error("the saved baseline is damaged or of another version; a new one is learned")]
    Foreign,
    /// It was learned with other settings.
    #[error("the saved baseline was learned with another window or other slots of the day; a new one is learned")]
    OtherSettings,
}

/// What is known about one model on this camera, and saved.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Known {
    version: u32,
    digest: String,
    window_s: f64,
    slots: usize,
    /// What the baseline is being learned from; empty once it is.
    windows: Vec<Window>,
    baseline: Option<Baseline>,
    test: Option<Test>,
    /// The newest windows, for evidence.
    recent: VecDeque<Window>,
}

impl Known {
    fn new(digest: &str, config: &Config) -> Self {
        Self {
            version: VERSION,
            digest: digest.to_owned(),
            window_s: config.window.as_secs_f64(),
            slots: config.slots,
            windows: Vec::new(),
            baseline: None,
            test: None,
            recent: VecDeque::with_capacity(RECENT),
        }
    }

    fn is_sound(&self) -> bool {
        let in_order = |w: &Window| w.slot < self.slots;
        let tested = match (&self.baseline, &self.test) {
            (Some(baseline), Some(test)) => test.fits(baseline),
            (None, None) => true,
            _ => false,
        };
        tested && self.windows.iter().chain(&self.recent).all(in_order) && self.recent.len() <= RECENT
    }

    fn take(&mut self, window: Window, config: &Config, reference: Option<&Summary>) {
        if self.recent.len() == RECENT {
            self.recent.pop_front();
        }
        self.recent.push_back(window.clone());
        if let (Some(baseline), Some(test)) = (&self.baseline, &mut self.test) {
            test.step(baseline, &window, config.bound());
            return;
        }
        if self.windows.len() >= MOST_WINDOWS {
            self.windows.remove(0);
        }
        let utc_ns = window.from_utc_ns;
        self.windows.push(window);
        let needed = config.learn.div_duration_f64(config.window).ceil() as usize;
        if self.windows.len() >= needed && (self.windows.len() - needed).is_multiple_of(TRY_EVERY) {
            self.baseline = Baseline::learn(&self.windows, config.slots, reference);
            if let Some(baseline) = &self.baseline {
                self.test = Some(Test::new(baseline, utc_ns));
                self.windows = Vec::new();
            }
        }
    }
}

/// The window under way.
#[derive(Debug)]
struct Open {
    from: Duration,
    from_utc_ns: u64,
    summary: Summary,
}

/// Watches one camera's predictions.
///
/// It cuts time into windows, learns a baseline from the first ones, and tests each further window against what is usual
/// at that time of the day. It holds about 1 KiB a window while it learns (300 KiB in a day) and some 20 KiB after that. It
/// does no I/O and has no thread; its owner tells it the time.
#[derive(Debug)]
pub struct Monitor {
    config: Config,
    /// The bundle's distribution, and the digest of the model that it belongs to.
    reference: Option<(String, Summary)>,
    known: Option<Known>,
    /// The model before, which may come back.
    before: Option<Known>,
    open: Option<Open>,
    /// When the last usable window ended, or the first frame came.
    usable: Option<Duration>,
    report: Report,
}

impl Monitor {
    /// A monitor that knows nothing yet. Settings outside of their range count as the nearest in it.
    pub fn new(config: Config) -> Self {
        Self {
            config: config.checked(),
            reference: None,
            known: None,
            before: None,
            open: None,
            usable: None,
            report: Report::default(),
        }
    }

    /// Makes the bundle's distribution the centre of the baseline for the model of this digest. Only how much windows vary
    /// is learned here then. It has no effect on a baseline that is learned already.
    pub fn set_reference(&mut self, digest: &str, reference: Summary) {
        self.reference = Some((digest.to_owned(), reference));
    }

    /// Counts a frame. At the end of a window, which the frame then no longer belongs to, there is a report. Frames that the
    /// model did not look at only let time pass.
    pub fn observe(&mut self, result: &FrameResult, now: Now) -> Option<&Report> {
        let ended = self.close_if_due(now);
        if let (Freshness::Fresh, Some(model)) = (result.freshness, &result.model) {
            if self.known.as_ref().is_none_or(|known| known.digest != model.digest) {
                self.begin(&model.digest, now);
            }
            let open = self.open.get_or_insert_with(|| Open {
                from: now.monotonic,
                from_utc_ns: now.utc_ns,
                summary: Summary::default(),
            });
            open.summary.add(result);
        }
        ended.then_some(&self.report)
    }

    /// Lets time pass while no frames come; as [`observe`](Self::observe). To be called every few seconds.
    pub fn tick(&mut self, now: Now) -> Option<&Report> {
        self.close_if_due(now).then_some(&self.report)
    }

    /// What it said last.
    pub fn report(&self) -> &Report {
        &self.report
    }

    /// What the model said over the newest windows (an hour with the default of 12 of them), which is what peers are
    /// compared by; empty until the first window has ended.
    pub fn summary(&self) -> Summary {
        self.known.as_ref().map_or_else(Summary::default, |known| merged(known.recent.iter()))
    }

    /// All that must outlive a restart, as JSON; `None` if no model was seen. Some 500 bytes a window while it learns
    /// (150 KB after a day), 20 KB after that. The window under way is not part of it.
    pub fn save(&self) -> Option<String> {
        self.known.as_ref().and_then(|known| serde_json::to_string(known).ok())
    }

    /// Goes on from what [`save`](Self::save) gave. It counts for the model that it was learned with; another one begins anew.
    ///
    /// # Errors
    /// It cannot be read, or was made with other settings. The monitor is as before then.
    pub fn restore(&mut self, saved: &str) -> Result<(), RestoreError> {
        let known: Known = serde_json::from_str(saved)?;
        if known.version != VERSION || !known.is_sound() {
            return Err(RestoreError::Foreign);
        }
        if known.slots != self.config.slots || known.window_s != self.config.window.as_secs_f64() {
            return Err(RestoreError::OtherSettings);
        }
        self.known = Some(known);
        self.open = None;
        self.report = self.assess(true);
        self.report.before = self.report.state;
        Ok(())
    }

    /// Forgets the baseline: what is seen from now on is usual. For when the camera was moved.
    pub fn relearn(&mut self) {
        (self.known, self.before, self.open) = (None, None, None);
    }

    fn begin(&mut self, digest: &str, now: Now) {
        let new = match self.before.take_if(|known| known.digest == digest) {
            Some(known) => known,
            None => Known::new(digest, &self.config),
        };
        if let Some(old) = self.known.replace(new) {
            self.before = Some(old);
        }
        self.open = None;
        self.usable = Some(now.monotonic);
    }

    /// Ends the window if its time is over; whether there is a report.
    fn close_if_due(&mut self, now: Now) -> bool {
        let window = self.config.window;
        if let Some(open) = self.open.take_if(|open| now.monotonic.saturating_sub(open.from) >= window) {
            // After a gap the window's time is not known to have been looked at, but its frames were.
            let usable = open.summary.frames() >= self.config.least_frames;
            if let (true, Some(known)) = (usable, &mut self.known) {
                let slot = self.config.slot(open.from_utc_ns);
                let reference = self.reference.as_ref().filter(|(digest, _)| *digest == known.digest).map(|r| &r.1);
                let window = Window { summary: open.summary, slot, from_utc_ns: open.from_utc_ns };
                known.take(window, &self.config, reference);
                self.usable = Some(open.from + self.config.window);
            }
        } else if self.report.state == State::Unknown || !self.is_stale(now) {
            return false;
        }
        let before = self.report.state;
        self.report = self.assess(!self.is_stale(now));
        self.report.before = before;
        true
    }

    fn is_stale(&self, now: Now) -> bool {
        self.usable.is_some_and(|usable| now.monotonic.saturating_sub(usable) > UNKNOWN_AFTER * self.config.window)
    }

    fn assess(&self, current: bool) -> Report {
        let Some(known) = &self.known else { return Report::default() };
        let needed = self.config.learn.div_duration_f64(self.config.window).ceil();
        let mut report = Report {
            state: if current { State::Learning } else { State::Unknown },
            digest: known.digest.clone(),
            learned: (known.windows.len() as f64 / needed).min(1.0),
            ..Report::default()
        };
        let reference = self.reference.as_ref().filter(|(digest, _)| *digest == known.digest).map(|r| &r.1);
        let (Some(baseline), Some(test)) = (&known.baseline, &known.test) else {
            // The bundle's figures can be shown before it is known how much windows vary.
            report.reference = reference.is_some();
            if let Some(reference) = reference {
                let now = merged(known.recent.iter());
                report.aspects = report::aspects(&[(reference, 1.0)], &now, |_| 0.0);
                report.changes = report::changes(&[(reference, 1.0)], &now);
            }
            return report;
        };
        let bound = self.config.bound();
        let score = |log: f64| (log / bound).clamp(0.0, 2.0);
        let since = test.alarm.map_or(0, |alarm| alarm.since_utc_ns);
        let windows = || known.recent.iter().filter(move |w| w.from_utc_ns >= since);
        let then = baseline.usual(windows().map(|w| w.slot));
        let now = merged(windows());
        report.learned = 1.0;
        report.reference = baseline.is_reference();
        report.borrowed = known.recent.back().is_some_and(|w| baseline.borrows(w.slot));
        report.windows = test.windows;
        report.aspects = report::aspects(&then, &now, |aspect| score(test.log(baseline, Some(aspect))));
        report.changes = report::changes(&then, &now);
        report.score = score(test.log(baseline, None));
        if current {
            report.state = State::Stable;
        }
        if let Some(alarm) = test.alarm {
            if current {
                report.state = State::Drifting;
            }
            report.score = report.score.max(1.0);
            report.since_utc_ns = Some(alarm.since_utc_ns);
            report.cause = test.cause(baseline);
        }
        report
    }
}

fn merged<'a>(windows: impl Iterator<Item = &'a Window>) -> Summary {
    let mut all = Summary::default();
    windows.for_each(|w| all.merge(&w.summary));
    all
}

#[cfg(test)]
#[path = "monitor_tests.rs"]
mod tests;
