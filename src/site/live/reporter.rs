//! The thread that compares a site's cameras with each other, and sends its telemetry and events where they are sent.
//!
//! It asks cameras as an HTTP caller does, so that no camera waits for it, and hands records to the spool of the receiver.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use super::{Inner, Site};
use crate::drift::PeerReport;
use crate::export::destination;
use crate::export::route::{How, Route};
use crate::export::shipper::Pace;
use crate::export::sink::Clock;
use crate::export::spool::SpoolOptions;
use crate::export::uri::SinkUri;
use crate::export::writer::{Change, SystemClock};
use crate::gstutil::lock;
use crate::site::description::TelemetryTo;
use crate::site::plan::Plan;
use crate::site::report::{Line, Reporter};
use crate::site::status::Event;
use crate::telemetry::device::{Reader, Roots};

/// Events that wait are looked at so often.
const LOOK: Duration = Duration::from_millis(200);
/// How often a receiver that cannot be used is tried again.
const RETRY: Duration = Duration::from_secs(30);
/// Records that wait in memory where they go to a file.
const QUEUE: usize = 1000;

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

/// Whether a site has something to compare or to send.
pub(super) fn is_wanted(plan: &Plan) -> bool {
    let compared = || plan.cameras.values().any(|camera| camera.stages().any(|stage| stage.factory == "vigildrift"));
    plan.telemetry.uri.is_some() || compared()
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
        let mut reporter = Reporter::new(&self.name, clock.now());
        loop {
            let Some(site) = self.site.upgrade().map(Site) else { return };
            let news = reporter.compare(&site.cameras(), clock.now().monotonic);
            self.note(&site, &reporter, &news);
            drop(site);
            match self.stopped.recv_timeout(self.to.interval.0) {
                Err(RecvTimeoutError::Timeout) => {}
                Ok((_, over)) => {
                    let _ = over.send(true);
                    return;
                }
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    /// Keeps how cameras stand, and tells of those who stand otherwise than before.
    fn note(&self, site: &Site, reporter: &Reporter, news: &[PeerReport]) {
        *lock(&self.standings) = reporter.standings();
        news.iter().for_each(|report| tell(site, report));
    }

    /// What has happened since it was asked last.
    fn happened(&self) -> impl Iterator<Item = Arc<Event>> {
        self.events.iter().flat_map(Receiver::try_iter)
    }

    /// Sends what happens, and figures again and again.
    fn send(self) {
        let clock = Arc::new(SystemClock::default());
        let mut reporter = Reporter::new(&self.name, clock.now());
        // The folder whose room is told.
        let spool = self.to.spool.clone().or_else(crate::paths::spool_dir);
        let mut reader = Reader::new(Roots::default(), spool.into_iter().collect());
        let mut route = None;
        let (mut due, mut retry) = (Duration::ZERO, Duration::ZERO);
        loop {
            let now = clock.now();
            if route.is_none() && now.monotonic >= retry {
                route = self.open(&clock);
                retry = now.monotonic + RETRY;
            }
            let mut lines: Vec<Line> = self.happened().map(|event| reporter.event(&event)).collect();
            if now.monotonic >= due {
                let Some(site) = self.site.upgrade().map(Site) else { return };
                let (telemetry, news) = reporter.round(&site.cameras(), reader.read(), destination::all(), now);
                lines.extend(telemetry);
                self.note(&site, &reporter, &news);
                due = now.monotonic + self.to.interval.0;
            }
            if let Some(route) = &route {
                for Line { kind, camera, line } in lines {
                    route.push(kind, &camera.as_str().into(), line);
                }
            }
            match self.stopped.recv_timeout(LOOK) {
                Err(RecvTimeoutError::Timeout) => {}
                Ok((limit, over)) => {
                    let last = self.happened().map(|event| reporter.event(&event));
                    if let Some(route) = route {
                        last.for_each(|Line { kind, camera, line }| route.push(kind, &camera.as_str().into(), line));
                        route.stop(limit);
                    }
                    let _ = over.send(true);
                    return;
                }
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn open(&self, clock: &Arc<SystemClock>) -> Option<Route> {
        let uri = self.to.uri.as_deref()?;
        let how = How {
            queue_size: QUEUE,
            folder: self.to.spool.clone(),
            spool: SpoolOptions::default(),
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
        match opened.and_then(|uri| Route::open(&uri, how, clock.clone(), report).map_err(|error| error.to_string())) {
            Ok(route) => Some(route),
            Err(text) => {
                if let Some(site) = self.site.upgrade() {
                    let text = format!("telemetry is not sent, and tried again later: {text}");
                    site.events.tell(None, "warning", serde_json::json!({ "text": text }));
                }
                None
            }
        }
    }
}

/// Tells that a camera's standing among its peers has changed.
fn tell(site: &Site, report: &PeerReport) {
    let data = BTreeMap::from([
        ("state", report.state.as_str().into()),
        ("before", report.before.as_str().into()),
        ("score", serde_json::Value::from(report.score)),
        ("peers", report.peers.into()),
        ("text", report.evidence().into()),
    ]);
    site.events().tell(Some(&report.key.camera), "vigil-peers", serde_json::json!(data));
}

#[cfg(test)]
#[path = "reporter_tests.rs"]
mod tests;
