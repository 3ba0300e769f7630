//! A site's cameras compared with each other.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;

use crate::drift::{CameraKey, Fleet, FleetConfig, PeerReport, PeerState, Summary};
use crate::export::sink::Now;
use crate::site::standing;
use crate::site::status::CameraStatus;

/// A camera is forgotten after this many of its windows without a new one, and not before [`FleetConfig::silent`].
const WINDOWS: u32 = 3;

/// How long a camera that says nothing new is known, where its windows are of this length.
pub fn silence(window: Duration) -> Duration {
    FleetConfig::default().silent.max(window.saturating_mul(WINDOWS))
}

/// What a camera's model has said over its newest windows, as its stage `vigildrift` tells it.
pub(super) struct Recent<'a> {
    /// SHA-256 of the model's weights.
    pub digest: &'a str,
    /// When the newest window ended, nanoseconds since 1970 UTC; `None` where the stage does not tell.
    pub until: Option<u64>,
    text: &'a str,
}

impl<'a> Recent<'a> {
    /// `None` without such a stage, and before its first window has ended.
    pub fn of(camera: &'a CameraStatus) -> Option<Self> {
        let stats = camera.stages.values().find(|stats| stats.get("recent-predictions").is_some())?;
        let text = |field: &str| stats.get(field).and_then(Value::as_str).filter(|text| !text.is_empty());
        let until = stats.get("recent-until").and_then(Value::as_u64);
        let digest = text("recent-digest").or_else(|| text("digest").filter(|_| until.is_none()))?;
        (until != Some(0)).then_some(Self { digest, until, text: text("recent-predictions")? })
    }

    /// What it has said; `None` if that is nothing, or cannot be read.
    pub fn summary(&self) -> Option<Summary> {
        serde_json::from_str(self.text).ok().filter(|summary: &Summary| summary.frames() > 0)
    }

    /// What makes it another one than before: a camera that sees nothing says the same in each window.
    fn which(&self) -> Which {
        (self.digest.to_owned(), self.until.ok_or_else(|| self.text.to_owned()))
    }
}

/// A model, and the end of its newest window, or the summary of a stage that does not tell that.
type Which = (String, Result<u64, String>);

/// A camera that has said something.
#[derive(Debug)]
struct Known {
    which: Which,
    /// When that was new.
    fresh: Duration,
    /// What came of the last comparison.
    report: Option<PeerReport>,
    /// How it was told to stand.
    told: PeerState,
}

impl Known {
    /// Takes what came of a comparison; gives it back if it is another state than was told.
    fn take(&mut self, report: PeerReport) -> Option<PeerReport> {
        let report = PeerReport { before: self.told, ..report };
        self.told = report.state;
        self.report = Some(report.clone());
        report.is_news().then_some(report)
    }

    /// Nothing is known of it any more; what is to be told of that.
    fn forget(&mut self) -> Option<PeerReport> {
        let (report, told) = (self.report.take(), std::mem::take(&mut self.told));
        report.filter(|_| told == PeerState::Odd).map(|last| standing::forgotten(&last.key, &last.digest))
    }
}

/// The cameras of a site, and how they stand.
#[derive(Debug)]
pub(super) struct Peers {
    site: String,
    /// How long a camera is known that says nothing new.
    silent: Duration,
    fleet: Fleet,
    known: BTreeMap<String, Known>,
}

impl Peers {
    pub fn new(site: &str) -> Self {
        let config = FleetConfig::default();
        Self { site: site.to_owned(), silent: config.silent, fleet: Fleet::new(config), known: BTreeMap::new() }
    }

    /// How a camera stands.
    pub fn of(&self, camera: &str) -> Option<&PeerReport> {
        self.known.get(camera)?.report.as_ref()
    }

    /// How all cameras stand that were compared, by id.
    pub fn standings(&self) -> BTreeMap<String, PeerReport> {
        self.known.iter().filter_map(|(id, known)| Some((id.clone(), known.report.clone()?))).collect()
    }

    /// Compares cameras that have said something new, with windows of at most this length; those that stand otherwise than was told.
    pub fn compare(&mut self, cameras: &[CameraStatus], window: Duration, now: Now) -> Vec<PeerReport> {
        let mut news = self.begin_anew(silence(window));
        let silent = self.silent;
        let lately = |recent: &Recent<'_>| {
            // What a baseline remembers from before the start may be days old.
            let age = recent.until.map_or(0, |until| now.utc_ns.saturating_sub(until));
            Duration::from_nanos(age) <= silent
        };
        let told: BTreeMap<&str, (&CameraStatus, Recent<'_>)> = cameras
            .iter()
            .filter_map(|camera| Some((camera.id.as_str(), (camera, Recent::of(camera).filter(&lately)?))))
            .collect();
        self.known.retain(|id, known| {
            let is_there = told.contains_key(id.as_str());
            news.extend((!is_there).then(|| known.forget()).flatten());
            is_there
        });
        let mut any = false;
        for (id, (camera, recent)) in told {
            any |= self.observe(id, camera, &recent, now.monotonic);
        }
        let reports = if any { self.fleet.compare(now.monotonic) } else { Vec::new() };
        for report in reports {
            if let Some(known) = self.known.get_mut(&report.key.camera) {
                news.extend(known.take(report));
            }
        }
        for known in self.known.values_mut() {
            // As the fleet does.
            if now.monotonic.saturating_sub(known.fresh) > silent {
                news.extend(known.forget());
            }
        }
        news
    }

    /// Whether the camera has said something new.
    fn observe(&mut self, id: &str, camera: &CameraStatus, recent: &Recent<'_>, now: Duration) -> bool {
        let which = recent.which();
        if self.known.get(id).is_some_and(|known| known.which == which) {
            return false;
        }
        let Some(summary) = recent.summary() else { return false };
        let key = CameraKey { gateway: self.site.clone(), camera: id.to_owned(), profile: camera.profile.clone() };
        let before = self.known.remove(id);
        let (report, told) = before.map_or((None, PeerState::Unknown), |before| (before.report, before.told));
        self.known.insert(id.to_owned(), Known { which, fresh: now, report, told });
        self.fleet.observe(key, recent.digest, summary, now)
    }

    /// Where windows have another length: what is known does not compare with what will be.
    fn begin_anew(&mut self, silent: Duration) -> Vec<PeerReport> {
        if silent == self.silent {
            return Vec::new();
        }
        self.silent = silent;
        self.fleet = Fleet::new(FleetConfig { silent, ..FleetConfig::default() });
        std::mem::take(&mut self.known).into_values().filter_map(|mut known| known.forget()).collect()
    }
}
