//! The thread that compares a site's cameras with each other, and sends its telemetry and events where they are sent.
//!
//! It asks cameras as an HTTP caller does, so that no camera waits for it, and hands records to the spool of the receiver.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use super::{Inner, Site};
use crate::drift::{Config as DriftConfig, PeerReport};
use crate::export::destination;
use crate::export::route::{How, Route};
use crate::export::shipper::Pace;
use crate::export::sink::{Clock, Now};
use crate::export::uri::SinkUri;
use crate::export::writer::{Change, SystemClock};
use crate::gstutil::lock;
use crate::site::description::TelemetryTo;
use crate::site::plan::{Plan, Value};
use crate::site::report::Reporter;
use crate::site::report::outbox::{Notice, Outbox, QUEUE};
use crate::site::standing;
use crate::site::status::{CameraStatus, Event};

/// Events that wait are looked at so often.
const LOOK: Duration = Duration::from_millis(200);
/// How long the first round waits for the machine's first reading.
const FIRST: Duration = Duration::from_secs(2);
/// Longest and shortest time from one comparison to the next.
const COMPARED: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(1));

/// How cameras stand among their peers, by id.
type Standings = BTreeMap<String, PeerReport>;

/// A running reporter.
pub(super) struct Running {
    stop: Sender<(Duration, Sender<bool>)>,
    standings: Arc<Mutex<Standings>>,
}

/// Tells that no telemetry comes any more.
fn panicked(site: &Weak<Inner>) {
    if let Some(site) = site.upgrade() {
        let text = "telemetry is no longer sent: a part of it has panicked, see the process's log; a change of `telemetry` begins anew";
        site.events.tell(None, "warning", serde_json::json!({ "text": text }));
    }
}

/// Over which time cameras sum up what they say: the shortest and the longest; `None` where none of them does.
fn windows(plan: &Plan) -> Option<(Duration, Duration)> {
    let stages = plan.cameras.values().flat_map(|camera| camera.stages());
    let windows = stages.filter(|stage| stage.factory == "vigildrift").map(|stage| {
        let set = match stage.properties.get("window") {
            Some(Value::Text(nanoseconds)) => nanoseconds.parse().ok().map(Duration::from_nanos),
            _ => None,
        };
        set.unwrap_or(DriftConfig::default().window)
    });
    windows.fold(None, |all, window| {
        let (shortest, longest) = all.unwrap_or((window, window));
        Some((window.min(shortest), window.max(longest)))
    })
}

/// Whether a site has something to compare or to send.
pub(super) fn is_wanted(plan: &Plan) -> bool {
    plan.telemetry.uri.is_some() || windows(plan).is_some()
}

impl Running {
    /// Starts to compare the cameras of `site`, and to send its telemetry as `to` says.
    pub(super) fn start(site: &Arc<Inner>, name: &str, to: TelemetryTo) -> Option<Self> {
        let (stop, stopped) = channel();
        // What happens from here on, if it is sent.
        let events = to.uri.as_ref().map(|_| site.events.listen(u64::MAX).1);
        let (site, name) = (Arc::downgrade(site), name.to_owned());
        let told = site.clone();
        let standings = Arc::default();
        let work = Work { site, name, to, events, stopped, standings: Arc::clone(&standings) };
        let thread = std::thread::Builder::new().name("vigil-report".into());
        let work = move || if work.events.is_some() { work.send() } else { work.compare() };
        thread
            .spawn(move || {
                if catch_unwind(AssertUnwindSafe(work)).is_err() {
                    panicked(&told)
                }
            })
            .ok()?;
        Some(Self { stop, standings })
    }

    /// How cameras stand among their peers, when it was last looked at.
    pub(super) fn standings(&self) -> Standings {
        lock(&self.standings).clone()
    }

    /// Ends it, once what has happened is sent, or waits in the spool and the receiver does not answer; what is told says so. A
    /// receiver is waited for no longer than `limit`.
    pub(super) fn stop(self, limit: Duration) -> Receiver<bool> {
        let (over, told) = channel();
        let _ = self.stop.send((limit, over));
        told
    }
}

/// What the thread has.
struct Work {
    site: Weak<Inner>,
    name: String,
    to: TelemetryTo,
    /// What happens; `None` where nothing is sent.
    events: Option<Receiver<Arc<Event>>>,
    standings: Arc<Mutex<Standings>>,
    stopped: Receiver<(Duration, Sender<bool>)>,
}

impl Work {
    /// Compares the cameras again and again.
    fn compare(self) {
        let clock = SystemClock::default();
        let mut reporter = Reporter::new(&self.name, self.to.interval.0, clock.now());
        loop {
            let Some(site) = self.site.upgrade().map(Site) else { return };
            let pause = self.look(&site, &mut reporter, &site.cameras(), clock.now());
            drop(site);
            match self.stopped.recv_timeout(pause) {
                Err(RecvTimeoutError::Timeout) => {}
                Ok((_, over)) => {
                    let _ = over.send(true);
                    return;
                }
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    /// Compares the cameras, keeps how they stand, and tells of those who stand otherwise than before. The time until it is to be done
    /// again: soon enough to see each of their windows end, whatever the interval of telemetry is.
    fn look(&self, site: &Site, reporter: &mut Reporter, cameras: &[CameraStatus], now: Now) -> Duration {
        let windows = site.plan().and_then(|plan| windows(&plan));
        let (shortest, longest) = windows.unwrap_or_default();
        let news = reporter.compare(cameras, longest, now);
        *lock(&self.standings) = reporter.standings();
        for report in &news {
            site.events().tell(Some(&report.key.camera), "vigil-peers", standing::event(report));
        }
        let (most, least) = COMPARED;
        if windows.is_some() { (shortest / 2).clamp(least, most) } else { most }
    }

    /// What has happened since it was asked last.
    fn happened(&self) -> impl Iterator<Item = Arc<Event>> {
        self.events.iter().flat_map(Receiver::try_iter)
    }

    /// Sends what happens, and figures again and again.
    fn send(self) {
        let clock = Arc::new(SystemClock::default());
        let mut reporter = Reporter::new(&self.name, self.to.interval.0, clock.now());
        let mut outbox = Outbox::default();
        let first = clock.now().monotonic + FIRST;
        // When figures are sent next, once they were sent, and when cameras are compared next.
        let (mut due, mut compared) = (None, Duration::ZERO);
        loop {
            let now = clock.now();
            self.notice(outbox.open_if_due(now.monotonic, || self.open(&clock)));
            self.happened().for_each(|event| outbox.put(reporter.event(&event)));
            let Some(site) = self.site.upgrade().map(Site) else { return };
            let is_due = match due {
                Some(due) => now.monotonic >= due,
                // The first figures are to have the machine's, which are read elsewhere: it may not answer.
                None => site.machine().is_some() || now.monotonic >= first,
            };
            if is_due || now.monotonic >= compared {
                let cameras = site.cameras();
                if now.monotonic >= compared {
                    compared = now.monotonic + self.look(&site, &mut reporter, &cameras, now);
                }
                if is_due {
                    let lines = reporter.round(&cameras, site.machine(), destination::all(), now);
                    lines.into_iter().for_each(|line| outbox.put(line));
                    due = Some(now.monotonic + self.to.interval.0);
                }
            }
            drop(site);
            outbox.send();
            match self.stopped.recv_timeout(LOOK) {
                Err(RecvTimeoutError::Timeout) => {}
                Ok((limit, over)) => {
                    self.happened().for_each(|event| outbox.put(reporter.event(&event)));
                    self.notice(outbox.stop(limit, || self.open(&clock)));
                    let _ = over.send(true);
                    return;
                }
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    /// Opens the way to the receiver.
    fn open(&self, clock: &Arc<SystemClock>) -> Result<Route, String> {
        let uri = self.to.uri.as_deref().unwrap_or_default();
        let how = How {
            queue_size: QUEUE,
            folder: self.to.spool.clone(),
            by: "the site's telemetry".into(),
            spool: None,
            pace: Pace::default(),
        };
        let site = self.site.clone();
        let report = Box::new(move |change: Change| {
            if let Some(site) = site.upgrade() {
                let state = if change.degraded { "degraded" } else { "recovered" };
                site.events.tell(None, "vigil-export", serde_json::json!({ "state": state, "text": change.text }));
            }
        });
        let opened = uri.parse::<SinkUri>().map_err(|error| error.to_string());
        opened.and_then(|uri| Route::open(&uri, how, clock.clone(), report).map_err(|error| error.to_string()))
    }

    /// Tells of the way to the receiver.
    fn notice(&self, notice: Option<Notice>) {
        let (Some(notice), Some(site)) = (notice, self.site.upgrade()) else { return };
        match notice {
            Notice::Warning(text) => site.events.tell(None, "warning", serde_json::json!({ "text": text })),
            Notice::Recovered(text) => {
                site.events.tell(None, "vigil-export", serde_json::json!({ "state": "recovered", "text": text }));
            }
        }
    }
}

#[cfg(test)]
#[path = "reporter_tests.rs"]
mod tests;
