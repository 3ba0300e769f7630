//! One camera's monitor: frame results in, a report at the end of each window out.

mod saved;

use std::time::Duration;

pub use saved::RestoreError;

use self::saved::{Known, Open, Saved};
use super::baseline::Window;
use super::report::{self, Report, State};
use super::summary::Summary;
use crate::export::Now;
use crate::result::{FrameResult, Freshness};

/// Fewest windows that a baseline is learned from.
const LEAST_WINDOWS: u32 = 48;
/// Most windows of a baseline that are kept while it is learned; the oldest go first.
const MOST_WINDOWS: u32 = 4096;
/// After this many windows' time without a usable window nothing is known.
const UNKNOWN_AFTER: u32 = 3;
const DAY_S: u64 = 86_400;
/// Shortest and longest window.
const WINDOWS: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(DAY_S)];

/// How a monitor works.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Config {
    /// Length of a window, 1 s to a day. Longer than the things that pass stay in the picture, so that windows differ by more than by
    /// who is there.
    pub window: Duration,
    /// How much analysed time the baseline is learned from: 48 to 4096 windows. One day knows the times of the day; a site
    /// whose weekend differs needs a week.
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

/// Why a monitor would not work with its settings as they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OutOfRange {
    /// The window is too short or too long.
    #[error("`window` is {0:?}, and must be {shortest:?} to {longest:?}", shortest = WINDOWS[0], longest = WINDOWS[1])]
    Window(Duration),
    /// There are too few windows to tell how much they vary, or more than are kept.
    #[error(
        "`learn-time` is {learn:?}; with a `window` of {window:?} it must be {least:?} to {most:?}, which are {few} to {many} windows: \
         change one of the two",
        few = LEAST_WINDOWS,
        many = MOST_WINDOWS
    )]
    Learn {
        /// What was asked for.
        learn: Duration,
        /// The window with it.
        window: Duration,
        /// The shortest learning time with this window.
        least: Duration,
        /// The longest.
        most: Duration,
    },
}

impl Config {
    /// Whether a monitor would work with these settings as they are.
    ///
    /// # Errors
    /// [`OutOfRange`], if it would take others in their place.
    pub fn check(&self) -> Result<(), OutOfRange> {
        let (window, learn) = (self.window, self.learn);
        let [shortest, longest] = WINDOWS;
        if !(shortest..=longest).contains(&window) {
            return Err(OutOfRange::Window(window));
        }
        let [least, most] = learning(window);
        if !(least..=most).contains(&learn) {
            return Err(OutOfRange::Learn { learn, window, least, most });
        }
        Ok(())
    }

    /// Values that make sense: what lies outside is moved to the nearest that does.
    fn checked(mut self) -> Self {
        let [shortest, longest] = WINDOWS;
        self.window = self.window.clamp(shortest, longest);
        self.slots = self.slots.clamp(1, 24);
        let [least, most] = learning(self.window);
        self.learn = self.learn.clamp(least, most);
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

/// What a model has said over its newest windows: an hour with the default window, at most twelve of them.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Recent {
    /// SHA-256 of the model's weights; empty before its first window has ended.
    pub digest: String,
    /// When the newest of the windows ended (its last frame came), nanoseconds since 1970 UTC; 0 before the first.
    pub until_utc_ns: u64,
    /// What it has said.
    pub summary: Summary,
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
    /// The time when it was told it last; `None` before that.
    last: Option<Duration>,
    /// Time since the last usable window ended, the model came, or a saved state was taken.
    idle: Duration,
    report: Report,
}

impl Monitor {
    /// A monitor that knows nothing yet. Settings outside of their range count as the nearest in it; [`Config::check`] tells.
    pub fn new(config: Config) -> Self {
        Self {
            config: config.checked(),
            reference: None,
            known: None,
            before: None,
            open: None,
            last: None,
            idle: Duration::ZERO,
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
    ///
    /// `now.monotonic` may step back, as it does when a file begins anew: time goes on from there, and the step itself is
    /// none.
    pub fn observe(&mut self, result: &FrameResult, now: Now) -> Option<&Report> {
        self.pass(now);
        let ended = self.close_if_due();
        if let (Freshness::Fresh, Some(model)) = (result.freshness, &result.model) {
            if self.known.as_ref().is_none_or(|known| known.digest != model.digest) {
                self.begin(&model.digest);
            }
            let open = self.open.get_or_insert_with(|| Open { from_utc_ns: now.utc_ns, ..Open::default() });
            open.until_utc_ns = now.utc_ns;
            open.summary.add(result);
        }
        ended.then_some(&self.report)
    }

    /// What it said last.
    pub fn report(&self) -> &Report {
        &self.report
    }

    /// What the model that looks at the frames has said lately, which is what peers are compared by. After a rollback that are
    /// the newest windows that the model had before.
    pub fn recent(&self) -> Recent {
        let Some((known, newest)) = self.known.as_ref().and_then(|known| Some((known, known.recent.back()?))) else {
            return Recent::default();
        };
        let (digest, until_utc_ns) = (known.digest.clone(), newest.until_utc_ns);
        Recent { digest, until_utc_ns, summary: merged(known.recent.iter()) }
    }

    /// All that must outlive a restart, as JSON, for the camera of this name (empty: it has none): what is known about the
    /// model and the one before it, and the window under way. `None` if no model was seen. For each of the two models some 500
    /// bytes a window while it learns (150 KB after a day), 20 KB after that.
    pub fn save(&self, camera: &str) -> Option<String> {
        let known = self.known.as_ref()?;
        let saved = Saved::new(&self.config, camera, known, self.before.as_ref(), self.open.as_ref());
        serde_json::to_string(&saved).ok()
    }

    /// Goes on from what [`save`](Self::save) gave. It counts for the models that it was learned with; another one begins anew.
    ///
    /// # Errors
    /// It cannot be read, is of another camera, or was made with other settings. The monitor is as before then.
    pub fn restore(&mut self, saved: &str, camera: &str) -> Result<(), RestoreError> {
        let saved = Saved::read(saved, &self.config, camera)?;
        (self.known, self.before, self.open) = (Some(saved.known), saved.before, saved.open);
        (self.last, self.idle) = (None, Duration::ZERO);
        self.report = self.assess(true);
        self.report.before = self.report.state;
        Ok(())
    }

    /// Forgets the baseline: what is seen from now on is usual. For when the camera was moved. The report says so at once.
    pub fn relearn(&mut self) -> &Report {
        (self.before, self.open) = (None, None);
        self.known = self.known.take().map(|known| Known::new(&known.digest));
        self.assess_anew();
        &self.report
    }

    /// Lets the time since the last call pass.
    fn pass(&mut self, now: Now) {
        let passed = match self.last.replace(now.monotonic) {
            Some(last) => now.monotonic.saturating_sub(last),
            None => {
                // A window that was saved goes on if it was under way just now: later it is another time of the day.
                let away = |open: &mut Open| Duration::from_nanos(now.utc_ns.abs_diff(open.until_utc_ns));
                self.open.take_if(|open| away(open) > UNKNOWN_AFTER * self.config.window);
                Duration::ZERO
            }
        };
        self.idle = self.idle.saturating_add(passed);
        if let Some(open) = &mut self.open {
            open.elapsed = open.elapsed.saturating_add(passed);
        }
    }

    fn begin(&mut self, digest: &str) {
        let new = match self.before.take_if(|known| known.digest == digest) {
            Some(known) => known,
            None => Known::new(digest),
        };
        if let Some(old) = self.known.replace(new) {
            self.before = Some(old);
        }
        self.open = None;
        self.idle = Duration::ZERO;
    }

    /// Ends the window if its time is over; whether there is a report.
    fn close_if_due(&mut self) -> bool {
        let window = self.config.window;
        if let Some(open) = self.open.take_if(|open| open.elapsed >= window) {
            // After a gap the window's time is not known to have been looked at, but its frames were.
            let usable = open.summary.frames() >= self.config.least_frames;
            if let (true, Some(known)) = (usable, &mut self.known) {
                let slot = self.config.slot(open.from_utc_ns);
                let reference = self.reference.as_ref().filter(|(digest, _)| *digest == known.digest).map(|r| &r.1);
                let Open { elapsed, from_utc_ns, until_utc_ns, summary } = open;
                known.take(Window { summary, slot, from_utc_ns, until_utc_ns }, &self.config, reference);
                self.idle = elapsed.saturating_sub(window);
            }
        } else if self.report.state == State::Unknown || !self.is_stale() {
            return false;
        }
        self.assess_anew();
        true
    }

    fn is_stale(&self) -> bool {
        self.idle > UNKNOWN_AFTER * self.config.window
    }

    fn assess_anew(&mut self) {
        let before = self.report.state;
        self.report = self.assess(!self.is_stale());
        self.report.before = before;
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

/// Shortest and longest learning time with a window of at most a day.
fn learning(window: Duration) -> [Duration; 2] {
    [LEAST_WINDOWS, MOST_WINDOWS].map(|windows| windows * window)
}

fn merged<'a>(windows: impl Iterator<Item = &'a Window>) -> Summary {
    let mut all = Summary::default();
    windows.for_each(|w| all.merge(&w.summary));
    all
}

#[cfg(test)]
#[path = "monitor_tests.rs"]
mod tests;
