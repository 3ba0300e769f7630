//! The thread that sends a site's telemetry and events.
//!
//! It asks cameras as an HTTP caller does, so that no camera waits for it, and hands records to the spool of the receiver.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Weak};
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
use crate::site::description::TelemetryTo;
use crate::site::report::{Line, Reporter};
use crate::site::status::Event;
use crate::telemetry::device::{Reader, Roots};

/// Events that wait are looked at so often.
const LOOK: Duration = Duration::from_millis(200);
/// How often a receiver that cannot be used is tried again.
const RETRY: Duration = Duration::from_secs(30);
/// Records that wait in memory where they go to a file.
const QUEUE: usize = 1000;

/// A running reporter.
pub(super) struct Running(Sender<(Duration, Sender<bool>)>);

impl Running {
    /// Starts to send the telemetry of `site`, as `to` says.
    pub(super) fn start(site: &Arc<Inner>, name: &str, to: TelemetryTo) -> Option<Self> {
        let (stop, stopped) = channel();
        // What happens from here on.
        let (_, events) = site.events.listen(u64::MAX);
        let (site, name) = (Arc::downgrade(site), name.to_owned());
        let thread = std::thread::Builder::new().name("vigil-report".into());
        thread.spawn(move || Work { site, name, to, events, stopped }.run()).ok().map(|_| Self(stop))
    }

    /// Ends it, once what has happened is sent, or waits in the spool and the receiver does not answer; what is told says so. A
    /// receiver is waited for no longer than `limit`.
    pub(super) fn stop(self, limit: Duration) -> Receiver<bool> {
        let (over, told) = channel();
        let _ = self.0.send((limit, over));
        told
    }
}

/// What the thread has.
struct Work {
    site: Weak<Inner>,
    name: String,
    to: TelemetryTo,
    events: Receiver<Arc<Event>>,
    stopped: Receiver<(Duration, Sender<bool>)>,
}

impl Work {
    fn run(self) {
        let clock = Arc::new(SystemClock::default());
        let mut reporter = Reporter::new(&self.name, clock.now());
        let mut reader = Reader::new(Roots::default(), vec![self.folder()]);
        let mut route = None;
        let (mut due, mut retry) = (Duration::ZERO, Duration::ZERO);
        loop {
            let now = clock.now();
            if route.is_none() && now.monotonic >= retry {
                route = self.open(&clock);
                retry = now.monotonic + RETRY;
            }
            let mut lines: Vec<Line> = self.events.try_iter().map(|event| reporter.event(&event)).collect();
            if now.monotonic >= due {
                let Some(site) = self.site.upgrade().map(Site) else { return };
                let (telemetry, news) = reporter.round(&site.cameras(), reader.read(), destination::all(), now);
                lines.extend(telemetry);
                news.iter().for_each(|report| tell(&site, report));
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
                    let last = self.events.try_iter().map(|event| reporter.event(&event));
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

    /// The folder whose room is told.
    fn folder(&self) -> PathBuf {
        let folder = self.to.spool.clone().or_else(crate::paths::spool_dir).unwrap_or_else(|| PathBuf::from("."));
        // A folder that is not there yet lies where the nearest one above it does.
        folder.ancestors().find(|folder| folder.exists()).map_or(folder.clone(), std::path::Path::to_path_buf)
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
