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
use crate::site::report::silence;

pub use self::gateways::GatewayState;
pub use self::news::{CAMERA, News, Telling, table};

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

/// Longest window that is believed.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// A camera that sends what its model has said.
#[derive(Debug)]
struct Standing {
    summary: Summary,
    digest: String,
    /// When the newest window of the summary ended, nanoseconds since 1970 UTC; `None` where the gateway does not tell.
    until: Option<u64>,
    /// The shortest time from the end of one window to that of the next, of at least two.
    window: Steps,
    /// When a record of it came last.
    heard: Duration,
    /// When one came last that said something new.
    fresh: Duration,
    /// What came of the last comparison; `None` before the first one, and where it says nothing new any more.
    report: Option<PeerReport>,
    /// Whether it was told that it is odd.
    odd: bool,
}

/// How long a camera's windows are, as far as their ends tell: a gap is longer.
#[derive(Debug, Clone, Copy, Default)]
struct Steps {
    count: u32,
    shortest: Option<Duration>,
}

impl Steps {
    fn take(&mut self, step: Duration) {
        self.count = self.count.saturating_add(1);
        self.shortest = Some(self.shortest.map_or(step, |shortest| shortest.min(step)).min(LONGEST));
    }

    /// One step alone may have been a gap.
    fn length(&self) -> Option<Duration> {
        self.shortest.filter(|_| self.count > 1)
    }
}

impl Standing {
    /// Whether a record says something new. Each window does; where a gateway does not tell when they end, another summary does, and the
    /// same one after a long time, for a camera that sees nothing.
    fn is_news(&self, camera: &heard::Camera, now: Duration, silent: Duration) -> bool {
        let is_other = match camera.until {
            Some(_) => camera.until != self.until,
            None => camera.summary != self.summary || now.saturating_sub(self.fresh) > silent / 2,
        };
        is_other || camera.digest != self.digest
    }

    /// Nothing is known of it any more; what is to be told of that.
    fn forget(&mut self, key: &CameraKey, utc_ns: u64) -> Option<News> {
        self.report = None;
        std::mem::take(&mut self.odd).then(|| News::forgotten(key, &self.digest, utc_ns))
    }
}

/// See the module's description.
#[derive(Debug)]
pub struct Watch {
    config: FleetConfig,
    /// How long a camera is known that says nothing new: longer where windows are.
    silent: Duration,
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
            silent: config.silent,
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
        let key = CameraKey { gateway: heard.gateway, camera: camera.camera.clone(), profile: camera.profile.clone() };
        // What a gateway remembers from before its start may be days old.
        let age = camera.until.map_or(0, |until| heard.time_ns.saturating_sub(until));
        let is_late = Duration::from_nanos(age) > self.silent;
        if !self.observe(key, camera, is_late, now.monotonic) {
            self.counts.left_out += 1;
            news.extend((self.counts.left_out == 1).then(|| News::full(self.config.most)));
        }
        news
    }

    /// Takes what a camera says, if that is new and does not come too late; false if there is no room for it.
    fn observe(&mut self, key: CameraKey, camera: heard::Camera, is_late: bool, now: Duration) -> bool {
        let mut before = self.cameras.get_mut(&key);
        let mut is_news = true;
        if let Some(known) = &mut before {
            known.heard = now;
            is_news = known.is_news(&camera, now, self.silent);
        }
        if is_late || !is_news {
            return true;
        }
        if !self.fleet.observe(key.clone(), &camera.digest, camera.summary.clone(), now) {
            return false;
        }
        let (mut window, ended, report, odd) =
            before.map_or_else(Default::default, |known| (known.window, known.until, known.report.take(), known.odd));
        if let Some(step) = camera.until.zip(ended).and_then(|(until, ended)| until.checked_sub(ended)) {
            window.take(Duration::from_nanos(step));
        }
        let heard::Camera { digest, until, summary, .. } = camera;
        self.cameras.insert(key, Standing { summary, digest, until, window, heard: now, fresh: now, report, odd });
        true
    }

    /// Compares the cameras; those that have become odd, or are no longer. To be called about once a minute.
    pub fn compare(&mut self, now: Now) -> Vec<News> {
        let mut news = self.begin_anew(now);
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
        let is_over = |since: Duration, silent: Duration| now.monotonic.saturating_sub(since) > silent;
        let silent = self.silent;
        self.cameras.retain(|key, standing| {
            if is_over(standing.fresh, silent) {
                news.extend(standing.forget(key, now.utc_ns));
            }
            // While its records come, its next window may still end.
            !is_over(standing.heard, silent)
        });
        news
    }

    /// Where windows are longer than was known, cameras are known for longer, from now on.
    fn begin_anew(&mut self, now: Now) -> Vec<News> {
        let longest = self.cameras.values().filter_map(|standing| standing.window.length()).max();
        let silent = longest.map_or(self.silent, silence);
        if silent <= self.silent {
            return Vec::new();
        }
        self.silent = silent;
        self.fleet = Fleet::new(FleetConfig { silent, ..self.config });
        let mut news = Vec::new();
        for (key, standing) in &mut self.cameras {
            news.extend(standing.forget(key, now.utc_ns));
            // There is room: it is as many as before.
            self.fleet.observe(key.clone(), &standing.digest, standing.summary.clone(), standing.fresh);
        }
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
