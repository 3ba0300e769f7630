//! What a camera's summary is among those of others.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use super::{CameraKey, FleetConfig, Stretch};
use crate::drift::report::Change;
use crate::drift::summary::{Aspect, Summary};

/// Makes the median absolute deviation of a normal distribution its standard deviation.
const NORMAL: f64 = 0.6745;
/// What is found is compared only where something was found in this share of the frames.
const OCCUPIED: f64 = 0.2;
/// Added to the objects per frame before the logarithm, so that an empty scene is not infinitely far from another.
const NEAR_NOTHING: f64 = 0.05;

/// What came of a comparison.
#[derive(Debug)]
pub(super) enum Found {
    TooFewFrames,
    TooFewPeers(usize),
    /// `score` is 1 or more where the camera is as far away as is odd.
    Furthest {
        peers: usize,
        aspect: Aspect,
        z: f64,
        score: f64,
        figure: Change,
    },
}

/// A camera's summary over the stretch that is compared.
pub(super) struct Entry<'a> {
    pub key: &'a CameraKey,
    /// `None` if it has not said anything for as long yet.
    pub summary: Option<Cow<'a, Summary>>,
    /// Whether it is to be judged: the others are only what it is compared with.
    pub is_new: bool,
}

/// What each new summary of a group is among the others.
pub(super) fn compare(group: &[Entry<'_>], stretch: Stretch, config: &FleetConfig) -> Vec<Found> {
    let known: Vec<(&CameraKey, &Summary)> = group
        .iter()
        .filter_map(|entry| Some((entry.key, entry.summary.as_deref()?)))
        .filter(|(_, summary)| summary.frames() >= config.least_frames)
        .collect();
    let mix = Mix::of(known.iter().map(|(_, summary)| *summary));
    let values: Vec<(Aspect, Vec<Option<f64>>)> = aspects(stretch)
        .iter()
        .map(|&aspect| (aspect, known.iter().map(|(_, summary)| value(aspect, summary, &mix)).collect()))
        .collect();
    let new = group.iter().filter(|entry| entry.is_new);
    new.map(|entry| {
        let place = known.iter().position(|(key, _)| *key == entry.key);
        let one = place.and_then(|place| Some((place, known.get(place)?.1)));
        one.map_or(Found::TooFewFrames, |one| furthest(one, &values, &mix, stretch, config))
    })
    .collect()
}

fn furthest(
    (place, own): (usize, &Summary),
    values: &[(Aspect, Vec<Option<f64>>)],
    mix: &Mix,
    stretch: Stretch,
    config: &FleetConfig,
) -> Found {
    let mut found = Found::TooFewPeers(0);
    for &(aspect, ref values) in values {
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
        let spread = median(&mut others).max(least_spread(aspect, stretch));
        let z = NORMAL * (value - middle) / spread;
        // A class mix is a distance: to be nearer to the median than others is nothing.
        let z = if aspect == Aspect::ClassMix { z.max(0.0) } else { z };
        let score = z.abs() / threshold(stretch, config);
        if !matches!(&found, Found::Furthest { score: further, .. } if *further >= score) {
            found = Found::Furthest { peers, aspect, z, score, figure: figure(aspect, middle, value, own, mix) };
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

/// What is compared. How large and how many things are differs from scene to scene for good, which a long stretch shows.
fn aspects(stretch: Stretch) -> &'static [Aspect] {
    match stretch {
        Stretch::Newest => &Aspect::ALL,
        Stretch::Long => &[Aspect::ClassMix, Aspect::Confidence],
    }
}

/// The robust z-score from which a camera is odd. Over a long stretch little is left to chance, and what is left of the
/// spread is how much scenes differ: it takes more to stand out from that.
fn threshold(stretch: Stretch, config: &FleetConfig) -> f64 {
    match stretch {
        Stretch::Newest => config.threshold,
        Stretch::Long => 2.0 * config.threshold,
    }
}

/// The least spread that a fleet is taken to have, in the unit of [`value`]. Cameras that are all alike must not make a
/// tiny difference odd; over a long stretch chance makes smaller ones.
fn least_spread(aspect: Aspect, stretch: Stretch) -> f64 {
    match (aspect, stretch) {
        (Aspect::ClassMix, Stretch::Newest) => 0.05,
        (Aspect::ClassMix, Stretch::Long) => 0.015,
        (Aspect::Confidence, Stretch::Newest) => 0.015,
        (Aspect::Confidence, Stretch::Long) => 0.005,
        (Aspect::BoxSize | Aspect::ObjectsPerFrame, _) => 0.3,
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
pub(super) fn median(values: &mut [f64]) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    let half = values.len() / 2;
    let at = |i: usize| values.get(i).copied().unwrap_or(0.0);
    if values.len() % 2 == 1 { at(half) } else { (at(half.saturating_sub(1)) + at(half)) / 2.0 }
}
