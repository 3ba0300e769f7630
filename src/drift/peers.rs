//! Cameras that do the same work compared with each other.

mod compare;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::report::Change;
use super::summary::{Aspect, Summary};

use self::compare::{Entry, Found, compare};

/// Which camera, in a world of many gateways.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct CameraKey {
    /// The gateway's name.
    pub gateway: String,
    /// The camera's name on it.
    pub camera: String,
    /// The profile, which says what the camera's pipeline does: only cameras of one profile are compared.
    pub profile: String,
}

impl fmt::Display for CameraKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{} ({})", self.gateway, self.camera, self.profile)
    }
}

/// How a fleet is compared.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FleetConfig {
    /// The robust z-score from which a camera is odd by its newest summary; twice that over a long stretch.
    pub threshold: f64,
    /// For how many of its own summaries in a row it must be so before it is told, and must not be so before that ends.
    pub rounds: u32,
    /// A camera is compared only if at least this many others have data; not less than 4.
    pub least_peers: usize,
    /// A summary of fewer frames says nothing.
    pub least_frames: u64,
    /// A camera that has not sent a summary for this long is forgotten.
    pub silent: Duration,
    /// Most cameras that are kept; further ones are not taken.
    pub most: usize,
}

impl Default for FleetConfig {
    fn default() -> Self {
        Self {
            threshold: 5.0,
            rounds: 12,
            least_peers: 4,
            least_frames: 100,
            silent: Duration::from_secs(3600),
            most: 4096,
        }
    }
}

/// Over which time cameras are compared: each is compared over both.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stretch {
    /// By their newest summaries, as long as these are (an hour, with the defaults of `vigildrift`).
    #[default]
    Newest,
    /// By what they have said over the last 6 to 12 hours: it finds what an hour is too short for, and later.
    Long,
}

/// How a camera stands among its peers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PeerState {
    /// Its summary holds too few frames.
    #[default]
    Unknown,
    /// It has too few peers of the same profile and model.
    Alone,
    /// As the others are.
    Normal,
    /// Not as the others are.
    Odd,
}

impl PeerState {
    /// The word in messages and records.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Alone => "alone",
            Self::Normal => "normal",
            Self::Odd => "odd",
        }
    }
}

/// One camera among its peers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PeerReport {
    /// Which camera.
    pub key: CameraKey,
    /// SHA-256 of the weights that it and its peers use.
    pub digest: String,
    /// How it stands.
    pub state: PeerState,
    /// How it stood before.
    pub before: PeerState,
    /// 0: at the median; 1 or more: as far away as is odd. The state follows once it has lasted.
    pub score: f64,
    /// The others that it was compared with.
    pub peers: usize,
    /// The aspect in which it is furthest away, and its robust z-score: negative below the median.
    pub aspect: Option<(Aspect, f64)>,
    /// The median of the others (`from`) and its own value (`to`) in that aspect.
    pub figure: Option<Change>,
    /// Over which time.
    #[serde(default)]
    pub stretch: Stretch,
}

impl PeerReport {
    /// Whether the state is another one than before: what a message is posted for.
    pub fn is_news(&self) -> bool {
        self.state != self.before
    }

    /// The evidence in a line, such as `mean confidence 0.41, median of 15 others 0.68 (robust z -7.2)`; empty if it was
    /// not compared.
    pub fn evidence(&self) -> String {
        match (&self.figure, self.aspect) {
            (Some(figure), Some((_, z))) => {
                let over = if self.stretch == Stretch::Long { " over 6 to 12 h" } else { "" };
                format!(
                    "{} {:.2}, median of {} others {:.2}{over} (robust z {z:.1})",
                    figure.what, figure.to, self.peers, figure.from
                )
            }
            _ => String::new(),
        }
    }
}

#[derive(Debug)]
struct Member {
    digest: String,
    summary: Summary,
    heard: Duration,
    /// Whether the summary came after the last comparison.
    is_new: bool,
    long: Long,
    newest_odd: Course,
    long_odd: Course,
    state: PeerState,
}

/// Whether a camera is odd over one stretch.
#[derive(Debug, Clone, Copy, Default)]
struct Course {
    odd: bool,
    /// Comparisons in a row that speak against it.
    against: u32,
}

/// What a camera has said over half a day: a summary is taken every hour, and every six of them begin a new half.
#[derive(Debug, Default)]
struct Long {
    older: Summary,
    newer: Summary,
    taken: u32,
    last: Option<Duration>,
}

impl Long {
    const EVERY: Duration = Duration::from_secs(3600);
    const HALF: u32 = 6;

    fn take(&mut self, summary: &Summary, now: Duration) {
        if self.last.is_some_and(|last| now.saturating_sub(last) < Self::EVERY) {
            return;
        }
        self.last = Some(now);
        if self.taken == 2 * Self::HALF || (self.taken == Self::HALF && self.older.frames() == 0) {
            (self.older, self.taken) = (std::mem::take(&mut self.newer), Self::HALF);
        }
        self.newer.merge(summary);
        self.taken += 1;
    }

    /// `None` before there are six hours of it.
    fn whole(&self) -> Option<Summary> {
        (self.taken >= Self::HALF).then(|| {
            let mut whole = self.older.clone();
            whole.merge(&self.newer);
            whole
        })
    }
}

/// The newest summary of each camera, of one gateway or of many. Holds about 3 KiB a camera.
#[derive(Debug)]
pub struct Fleet {
    config: FleetConfig,
    members: BTreeMap<CameraKey, Member>,
}

impl Fleet {
    /// A fleet without cameras.
    pub fn new(mut config: FleetConfig) -> Self {
        config.least_peers = config.least_peers.max(4);
        config.rounds = config.rounds.max(1);
        config.threshold = config.threshold.max(1.0);
        Self { config, members: BTreeMap::new() }
    }

    /// Takes a camera's newest summary, that of the model with this digest. `now` is the receiver's own time that never
    /// jumps. False if the camera is new and there are as many as there may be.
    pub fn observe(&mut self, key: CameraKey, digest: &str, summary: Summary, now: Duration) -> bool {
        self.forget(now);
        if !self.members.contains_key(&key) && self.members.len() >= self.config.most {
            return false;
        }
        let member = self.members.entry(key).or_insert_with(|| Member {
            digest: digest.to_owned(),
            summary: Summary::default(),
            heard: now,
            is_new: true,
            long: Long::default(),
            newest_odd: Course::default(),
            long_odd: Course::default(),
            state: PeerState::Unknown,
        });
        if member.digest != digest {
            (member.digest, member.state) = (digest.to_owned(), PeerState::Unknown);
            (member.long, member.newest_odd, member.long_odd) = Default::default();
        }
        member.long.take(&summary, now);
        (member.summary, member.heard, member.is_new) = (summary, now, true);
        true
    }

    /// Cameras that are known.
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Whether no camera is known.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Compares the cameras that have sent a summary since the last call with all that are known, and says how each
    /// stands. To be called once the summaries of a round are in, such as once a window.
    pub fn compare(&mut self, now: Duration) -> Vec<PeerReport> {
        self.forget(now);
        let mut groups: BTreeMap<(&str, &str), Vec<(&CameraKey, &Member)>> = BTreeMap::new();
        for (key, member) in &self.members {
            groups.entry((&key.profile, &member.digest)).or_default().push((key, member));
        }
        let mut compared = Vec::new();
        for group in groups.values() {
            let entries = |summary: fn(&Member) -> Option<Cow<'_, Summary>>| -> Vec<Entry<'_>> {
                group.iter().map(|&(key, m)| Entry { key, summary: summary(m), is_new: m.is_new }).collect()
            };
            let newest = entries(|member| Some(Cow::Borrowed(&member.summary)));
            let long = entries(|member| member.long.whole().map(Cow::Owned));
            let newest = compare(&newest, Stretch::Newest, &self.config);
            let found = newest.into_iter().zip(compare(&long, Stretch::Long, &self.config));
            let keys = group.iter().filter(|(_, member)| member.is_new).map(|(key, _)| (*key).clone());
            compared.extend(keys.zip(found));
        }
        let judged = compared.into_iter().filter_map(|(key, (newest, long))| {
            Some(self.members.get_mut(&key)?.judge(key, [newest, long], &self.config))
        });
        judged.collect()
    }

    fn forget(&mut self, now: Duration) {
        let silent = self.config.silent;
        self.members.retain(|_, member| now.saturating_sub(member.heard) <= silent);
    }
}

impl Member {
    fn judge(&mut self, key: CameraKey, found: [Found; 2], config: &FleetConfig) -> PeerReport {
        let before = self.state;
        self.is_new = false;
        let mut report = PeerReport {
            key,
            digest: self.digest.clone(),
            state: PeerState::Normal,
            before,
            score: 0.0,
            peers: 0,
            aspect: None,
            figure: None,
            stretch: Stretch::Newest,
        };
        match &found {
            [Found::TooFewFrames, _] => report.state = PeerState::Unknown,
            [Found::TooFewPeers(peers), _] => (report.state, report.peers) = (PeerState::Alone, *peers),
            [Found::Furthest { .. }, _] => {}
        }
        if report.state == PeerState::Normal {
            let [newest, long] = found;
            let odd = [self.newest_odd.judge(&newest, config.rounds), self.long_odd.judge(&long, config.rounds)];
            if odd.contains(&true) {
                report.state = PeerState::Odd;
            }
            for ((found, stretch), odd) in [(newest, Stretch::Newest), (long, Stretch::Long)].into_iter().zip(odd) {
                // Of an odd camera only what has made it so is told.
                if odd || report.state != PeerState::Odd {
                    report.tell(found, stretch);
                }
            }
        } else {
            (self.newest_odd, self.long_odd) = Default::default();
        }
        self.state = report.state;
        report
    }
}

impl PeerReport {
    /// Takes what was found if it is further away than what is told.
    fn tell(&mut self, found: Found, stretch: Stretch) {
        let Found::Furthest { peers, aspect, z, score, figure } = found else { return };
        if self.aspect.is_none() || score > self.score {
            (self.score, self.peers, self.stretch) = (score, peers, stretch);
            (self.aspect, self.figure) = (Some((aspect, z)), Some(figure));
        }
    }
}

impl Course {
    /// Whether the camera is odd with this comparison.
    fn judge(&mut self, found: &Found, rounds: u32) -> bool {
        let Found::Furthest { score, .. } = found else {
            *self = Self::default();
            return false;
        };
        let speaks_against = (*score >= 1.0) != self.odd;
        self.against = if speaks_against { self.against + 1 } else { 0 };
        if self.against >= rounds {
            *self = Self { odd: !self.odd, against: 0 };
        }
        self.odd
    }
}

#[cfg(test)]
#[path = "peers_tests.rs"]
mod tests;
