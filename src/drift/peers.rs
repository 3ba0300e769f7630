//! Cameras that do the same work compared with each other.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::report::Change;
use super::summary::{Aspect, Summary};

/// Makes the median absolute deviation of a normal distribution its standard deviation.
const NORMAL: f64 = 0.6745;
/// What is found is compared only where something was found in this share of the frames.
const OCCUPIED: f64 = 0.2;
/// Added to the objects per frame before the logarithm, so that an empty scene is not infinitely far from another.
const NEAR_NOTHING: f64 = 0.05;

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
    /// The robust z-score from which a camera is odd.
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
            (Some(figure), Some((_, z))) => format!(
                "{} {:.2}, median of {} others {:.2} (robust z {z:.1})",
                figure.what, figure.to, self.peers, figure.from
            ),
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
    /// Comparisons in a row that speak against its state.
    against: u32,
    state: PeerState,
}

/// The newest summary of each camera, of one gateway or of many. Holds about 1 KiB a camera.
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
            against: 0,
            state: PeerState::Unknown,
        });
        if member.digest != digest {
            (member.digest, member.state, member.against) = (digest.to_owned(), PeerState::Unknown, 0);
        }
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
        let compared: Vec<_> = groups.values().flat_map(|group| compare(group, &self.config)).collect();
        let mut reports = Vec::with_capacity(compared.len());
        for (key, found) in compared {
            if let Some(member) = self.members.get_mut(&key) {
                reports.push(member.judge(key, found, &self.config));
            }
        }
        reports
    }

    fn forget(&mut self, now: Duration) {
        let silent = self.config.silent;
        self.members.retain(|_, member| now.saturating_sub(member.heard) <= silent);
    }
}

impl Member {
    fn judge(&mut self, key: CameraKey, found: Found, config: &FleetConfig) -> PeerReport {
        let (before, was_odd) = (self.state, self.state == PeerState::Odd);
        self.is_new = false;
        let against = std::mem::take(&mut self.against);
        let (state, score) = match &found {
            Found::TooFewFrames => (PeerState::Unknown, 0.0),
            Found::TooFewPeers(_) => (PeerState::Alone, 0.0),
            Found::Furthest { z, .. } => {
                let score = z.abs() / config.threshold;
                let speaks_against = (score >= 1.0) != was_odd;
                let turns = speaks_against && against + 1 >= config.rounds;
                self.against = if speaks_against && !turns { against + 1 } else { 0 };
                (if was_odd != turns { PeerState::Odd } else { PeerState::Normal }, score)
            }
        };
        self.state = state;
        let mut report =
            PeerReport { key, digest: self.digest.clone(), state, before, score, peers: 0, aspect: None, figure: None };
        match found {
            Found::TooFewFrames => {}
            Found::TooFewPeers(peers) => report.peers = peers,
            Found::Furthest { peers, aspect, z, figure } => {
                (report.peers, report.aspect, report.figure) = (peers, Some((aspect, z)), Some(figure));
            }
        }
        report
    }
}

enum Found {
    TooFewFrames,
    TooFewPeers(usize),
    Furthest { peers: usize, aspect: Aspect, z: f64, figure: Change },
}

/// What each new summary of a group is among the others.
fn compare(group: &[(&CameraKey, &Member)], config: &FleetConfig) -> Vec<(CameraKey, Found)> {
    let known: Vec<_> = group.iter().filter(|(_, m)| m.summary.frames() >= config.least_frames).collect();
    let mix = Mix::of(known.iter().map(|(_, m)| &m.summary));
    let values: Vec<Vec<Option<f64>>> = Aspect::ALL
        .iter()
        .map(|&aspect| known.iter().map(|(_, m)| value(aspect, &m.summary, &mix)).collect())
        .collect();
    let new = group.iter().filter(|(_, m)| m.is_new);
    new.map(|(key, member)| {
        let place = known.iter().position(|(known, _)| known == key);
        let found = place.map_or(Found::TooFewFrames, |place| furthest(place, &values, &member.summary, &mix, config));
        ((*key).clone(), found)
    })
    .collect()
}

fn furthest(place: usize, values: &[Vec<Option<f64>>], own: &Summary, mix: &Mix, config: &FleetConfig) -> Found {
    let mut found = Found::TooFewPeers(0);
    for (&aspect, values) in Aspect::ALL.iter().zip(values) {
        let Some(Some(value)) = values.get(place).copied() else { continue };
        let mut others: Vec<f64> =
            values.iter().enumerate().filter(|(i, _)| *i != place).filter_map(|(_, value)| *value).collect();
        let peers = others.len();
        if peers < config.least_peers {
            if let Found::TooFewPeers(most) = &mut found {
                *most = peers.max(*most);
            }
            continue;
        }
        let middle = median(&mut others);
        others.iter_mut().for_each(|v| *v = (*v - middle).abs());
        let spread = median(&mut others).max(least_spread(aspect));
        let z = NORMAL * (value - middle) / spread;
        // A class mix is a distance: to be nearer to the median than others is nothing.
        let z = if aspect == Aspect::ClassMix { z.max(0.0) } else { z };
        if !matches!(&found, Found::Furthest { z: further, .. } if further.abs() >= z.abs()) {
            found = Found::Furthest { peers, aspect, z, figure: figure(aspect, middle, value, own, mix) };
        }
    }
    found
}

/// The number that stands for an aspect; `None` if the summary says nothing about it, or rests on one or two passers-by.
fn value(aspect: Aspect, summary: &Summary, mix: &Mix) -> Option<f64> {
    let found = summary.frames().saturating_sub(summary.empty_frames());
    if aspect != Aspect::ObjectsPerFrame && (found as f64) < OCCUPIED * summary.frames() as f64 {
        return None;
    }
    match aspect {
        Aspect::ClassMix => mix.distance(summary),
        Aspect::Confidence => summary.mean_confidence(),
        Aspect::BoxSize => summary.mean_area_log2(),
        Aspect::ObjectsPerFrame => summary.objects_per_frame().map(|n| (n + NEAR_NOTHING).log2()),
    }
}

/// The least spread that a fleet is taken to have, in the unit of [`value`]. Cameras that are all alike must not make a
/// tiny difference odd.
fn least_spread(aspect: Aspect) -> f64 {
    match aspect {
        Aspect::ClassMix => 0.05,
        Aspect::Confidence => 0.015,
        Aspect::BoxSize | Aspect::ObjectsPerFrame => 0.3,
    }
}

fn figure(aspect: Aspect, median: f64, value: f64, own: &Summary, mix: &Mix) -> Change {
    let change = |what: &str, from: f64, to: f64| Change { what: what.to_owned(), from, to };
    match aspect {
        Aspect::ClassMix => mix.largest(own).unwrap_or_else(|| change("distance of the class mix", median, value)),
        Aspect::Confidence => change("mean confidence", median, value),
        Aspect::BoxSize => change("box size in % of the frame", 100.0 * median.exp2(), 100.0 * value.exp2()),
        Aspect::ObjectsPerFrame => {
            let count = |v: f64| (v.exp2() - NEAR_NOTHING).max(0.0);
            change("objects per frame", count(median), count(value))
        }
    }
}

/// The median share of each class over a group. A class that fewer than half of the cameras see has the median 0 and is
/// not kept, so that it costs nothing how many such classes there are.
struct Mix(BTreeMap<String, f64>);

impl Mix {
    fn of<'a>(summaries: impl Iterator<Item = &'a Summary>) -> Self {
        let summaries: Vec<_> = summaries.filter(|s| s.classified() > 0).collect();
        let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
        summaries.iter().flat_map(|s| s.classes()).for_each(|(label, _)| *seen.entry(label).or_default() += 1);
        let common = seen.into_iter().filter(|&(_, n)| 2 * n >= summaries.len());
        let median_share =
            |label: &str| median(&mut summaries.iter().filter_map(|s| s.share(label)).collect::<Vec<_>>());
        Self(common.map(|(label, _)| (label.to_owned(), median_share(label))).collect())
    }

    /// Half the sum of differences of shares: 0 for the same mix, about 1 for nothing in common.
    fn distance(&self, summary: &Summary) -> Option<f64> {
        let all = summary.classified().max(1) as f64;
        summary.share("")?;
        let own: BTreeSet<&str> = summary.classes().map(|(label, _)| label).collect();
        let shared = summary.classes().map(|(label, n)| (n as f64 / all - self.0.get(label).unwrap_or(&0.0)).abs());
        let missing = self.0.iter().filter(|(label, _)| !own.contains(label.as_str())).map(|(_, share)| *share);
        Some((shared.sum::<f64>() + missing.sum::<f64>() + summary.other_share()?) / 2.0)
    }

    /// The class whose share differs most from the median.
    fn largest(&self, summary: &Summary) -> Option<Change> {
        let labels: BTreeSet<&str> =
            summary.classes().map(|(label, _)| label).chain(self.0.keys().map(String::as_str)).collect();
        let changes = labels.into_iter().filter_map(|label| {
            let median = self.0.get(label).copied().unwrap_or(0.0);
            Some(Change { what: format!("share of {label}"), from: median, to: summary.share(label)? })
        });
        changes.max_by(|a, b| (a.to - a.from).abs().total_cmp(&(b.to - b.from).abs()))
    }
}

/// The median; the mean of both middle ones of an even number, 0 of none.
fn median(values: &mut [f64]) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    let half = values.len() / 2;
    let at = |i: usize| values.get(i).copied().unwrap_or(0.0);
    if values.len() % 2 == 1 { at(half) } else { (at(half.saturating_sub(1)) + at(half)) / 2.0 }
}

#[cfg(test)]
#[path = "peers_tests.rs"]
mod tests;
