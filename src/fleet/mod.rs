//! The cameras of many gateways compared with each other: what `vigil fleet watch` knows.
//!
//! ```text
//! telemetry records ─▶ Heard ─▶ Fleet (drift) ─▶ News: a camera is odd, or no longer
//! status topics ─────▶ Gateways ───────────────▶ News: a gateway is offline, silent, back
//! ```
//!
//! [`Watch`] is a plain value: it is given messages with the time at which they came, and says what is new. Nothing is connected here.
//! What it keeps is bounded by [`FleetConfig::most`]: some 7 KiB a camera.

mod gateways;
mod heard;
mod news;

use std::collections::BTreeMap;
use std::time::Duration;

use self::gateways::{Gateways, prefix};
use self::heard::{Doubles, Heard, Unread};
use crate::drift::{CameraKey, Fleet, FleetConfig, PeerReport, PeerState, Summary};
use crate::export::sink::Now;

pub use self::gateways::GatewayState;
pub use self::news::{CAMERA, News, Telling, standing, table};

/// Messages since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Telemetry records that were read.
    pub records: u64,
    /// Records that had come before.
    pub doubles: u64,
    /// Messages that are no record that is understood here.
    pub broken: u64,
    /// Records that were too old to be compared.
    pub old: u64,
    /// Records of cameras for which there was no room.
    pub left_out: u64,
}

/// A camera that sends what its model has said.
#[derive(Debug)]
struct Standing {
    summary: Summary,
    digest: String,
    heard: Duration,
    /// What came of the last comparison; `None` before the first one.
    report: Option<PeerReport>,
    /// Whether it was told that it is odd.
    odd: bool,
}

/// See the module's description.
#[derive(Debug)]
pub struct Watch {
    config: FleetConfig,
    fleet: Fleet,
    cameras: BTreeMap<CameraKey, Standing>,
    gateways: Gateways,
    doubles: Doubles,
    counts: Counts,
}

impl Watch {
    /// Knows nobody yet.
    pub fn new(config: FleetConfig) -> Self {
        Self {
            config,
            fleet: Fleet::new(config),
            cameras: BTreeMap::new(),
            gateways: Gateways::new(config.most),
            doubles: Doubles::default(),
            counts: Counts::default(),
        }
    }

    /// Messages since the start.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Cameras that are compared.
    pub fn cameras(&self) -> usize {
        self.cameras.len()
    }

    /// Gateways that were heard.
    pub fn gateways(&self) -> usize {
        self.gateways.len()
    }

    /// The broker is there, from now on: nobody was heard before, which is nobody's fault.
    pub fn connected(&mut self, now: Now) {
        self.gateways.listen_again(now);
    }

    /// Takes a message: telemetry, or a client's status where the topic ends in `/status`. Other records of Vigil are no matter of
    /// this, since somebody may listen to all topics.
    pub fn message(&mut self, topic: &str, body: &[u8], now: Now) -> Vec<News> {
        if topic.ends_with("/status") {
            self.gateways.status(topic, body);
            return Vec::new();
        }
        match Heard::read(body) {
            Ok(heard) => self.heard(topic, heard, now),
            Err(Unread::Other) => Vec::new(),
            Err(Unread::Broken(text)) => {
                self.counts.broken += 1;
                let first = (self.counts.broken == 1).then(|| News::broken(topic, &text));
                first.into_iter().collect()
            }
        }
    }

    fn heard(&mut self, topic: &str, heard: Heard, now: Now) -> Vec<News> {
        if !self.doubles.is_new(&heard.id) {
            self.counts.doubles += 1;
            return Vec::new();
        }
        self.counts.records += 1;
        let mut news = self.gateways.heard(&heard.gateway, prefix(topic), heard.interval, now);
        let Some(camera) = heard.camera else { return news };
        let age = Duration::from_nanos(now.utc_ns.saturating_sub(heard.time_ns));
        let (is_old, told) = self.gateways.aged(&heard.gateway, age, self.config.silent);
        news.extend(told);
        if is_old {
            self.counts.old += 1;
            return news;
        }
        let key = CameraKey { gateway: heard.gateway, camera: camera.camera, profile: camera.profile };
        if !self.observe(key, camera.digest, camera.summary, now.monotonic) {
            self.counts.left_out += 1;
            news.extend((self.counts.left_out == 1).then(|| News::full(self.config.most)));
        }
        news
    }

    /// Only a summary that is another one than before says something new: the same one comes with each record until the next window ends.
    fn observe(&mut self, key: CameraKey, digest: String, summary: Summary, now: Duration) -> bool {
        let known = self.cameras.get(&key);
        if known.is_some_and(|known| known.summary == summary && known.digest == digest) {
            return true;
        }
        if !self.fleet.observe(key.clone(), &digest, summary.clone(), now) {
            return false;
        }
        let (report, odd) = self.cameras.remove(&key).map_or((None, false), |known| (known.report, known.odd));
        self.cameras.insert(key, Standing { summary, digest, heard: now, report, odd });
        true
    }

    /// Compares the cameras; those that have become odd, or are no longer. To be called about once a minute.
    pub fn compare(&mut self, now: Now) -> Vec<News> {
        let mut news = Vec::new();
        for report in self.fleet.compare(now.monotonic) {
            let Some(standing) = self.cameras.get_mut(&report.key) else { continue };
            let (was_odd, is_odd) = (standing.odd, report.state == PeerState::Odd);
            standing.odd = is_odd;
            standing.report = Some(report.clone());
            if was_odd != is_odd {
                let before = if was_odd { PeerState::Odd } else { report.before };
                news.push(News::Camera(Box::new(PeerReport { before, ..report }), now.utc_ns));
            }
        }
        let silent = self.config.silent;
        self.cameras.retain(|key, standing| {
            let kept = now.monotonic.saturating_sub(standing.heard) <= silent;
            if !kept && standing.odd {
                news.push(News::forgotten(key, &standing.digest, now.utc_ns));
            }
            kept
        });
        news
    }

    /// Gateways whose telemetry does not come any more. To be called about once a second while the broker is there. `quiet` is
    /// for how long nothing at all came from the broker: a gateway is not silent because the way from the broker is cut.
    pub fn tick(&mut self, now: Now, quiet: Duration) -> Vec<News> {
        self.gateways.tick(now, now.monotonic.saturating_sub(quiet))
    }

    /// How each camera stands after the last comparison: odd ones first, then the furthest away.
    pub fn standings(&self) -> Vec<&PeerReport> {
        let mut all: Vec<&PeerReport> = self.cameras.values().filter_map(|standing| standing.report.as_ref()).collect();
        all.sort_by(|a, b| {
            let odd = |report: &PeerReport| report.state == PeerState::Odd;
            odd(b).cmp(&odd(a)).then(b.score.total_cmp(&a.score)).then_with(|| a.key.cmp(&b.key))
        });
        all
    }
}

#[cfg(test)]
mod tests;
