//! What a model said over a stretch of time, in a few hundred numbers.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};

use crate::result::{FrameResult, Freshness, TrackState};

/// Bins of the confidence histogram, equally wide over 0..1.
pub const CONFIDENCE_BINS: usize = 20;
/// Bins of the box histogram: half octaves of the box's share of the frame, from the whole frame downwards. The last one
/// also takes all that is smaller.
pub const AREA_BINS: usize = 24;
/// Smallest number of objects in each bin of the histogram of objects per frame.
pub const COUNT_EDGES: [u64; 14] = [0, 1, 2, 3, 4, 5, 6, 8, 10, 13, 17, 25, 33, 65];
/// Labels that are counted by name; further ones are counted together as `other`.
pub const MAX_LABELS: usize = 64;
/// Longest label that is counted by name, in bytes.
const MAX_LABEL: usize = 256;
/// The smallest area that is told from nothing, as a power of two.
const SMALLEST_AREA_LOG2: f64 = -24.0;

/// What one model said about one camera's frames over a stretch of time.
///
/// Only frames that the model looked at count (fresh ones), and only what it found itself: no objects that a tracker
/// predicted, none that another model found inside an object. Of a frame without objects the first class of the whole
/// frame counts, so that classifiers are covered too. A summary takes about 600 bytes plus its labels, whatever it
/// has counted, and two of them add up to that of both stretches. As JSON it is some 400 bytes.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Summary {
    frames: u64,
    empty: u64,
    objects: u64,
    confidence_sum: f64,
    area_log2_sum: f64,
    #[serde(deserialize_with = "bounded")]
    classes: BTreeMap<String, u64>,
    other: u64,
    confidence: [u64; CONFIDENCE_BINS],
    area: [u64; AREA_BINS],
    per_frame: [u64; COUNT_EDGES.len()],
}

/// What of the predictions is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Aspect {
    /// Which classes are found, in which proportion.
    ClassMix,
    /// How sure the model is.
    Confidence,
    /// How large the objects' boxes are.
    BoxSize,
    /// How many objects there are in a frame.
    ObjectsPerFrame,
}

impl Aspect {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::ClassMix, Self::Confidence, Self::BoxSize, Self::ObjectsPerFrame];

    /// The word in messages and records.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ClassMix => "class-mix",
            Self::Confidence => "confidence",
            Self::BoxSize => "box-size",
            Self::ObjectsPerFrame => "objects-per-frame",
        }
    }
}

impl Summary {
    /// Counts a frame; false if it does not count because the model did not look at it. Numbers that are not finite are
    /// left out of the histogram that they belong to.
    pub fn add(&mut self, result: &FrameResult) -> bool {
        if result.freshness != Freshness::Fresh || result.model.is_none() {
            return false;
        }
        let mut found = 0;
        for object in &result.objects {
            if object.parent.is_some() || object.track.is_some_and(|t| t.state == TrackState::Predicted) {
                continue;
            }
            found += 1;
            self.add_class(&object.label, 1);
            self.add_confidence(object.confidence);
            self.add_area(object.bbox.clipped().area());
        }
        if result.objects.is_empty()
            && let Some(class) = result.classes.first()
        {
            self.add_class(&class.label, 1);
            self.add_confidence(class.confidence);
        }
        self.frames += 1;
        self.empty += u64::from(found == 0);
        self.objects += found;
        let bin = COUNT_EDGES.iter().rposition(|&edge| edge <= found).unwrap_or(0);
        count(&mut self.per_frame, bin, 1);
        true
    }

    fn add_class(&mut self, label: &str, n: u64) {
        if let Some(known) = self.classes.get_mut(label) {
            *known = known.saturating_add(n);
        } else if self.classes.len() < MAX_LABELS && label.len() <= MAX_LABEL {
            self.classes.insert(label.to_owned(), n);
        } else {
            self.other = self.other.saturating_add(n);
        }
    }

    fn add_confidence(&mut self, confidence: f32) {
        if confidence.is_finite() {
            let confidence = f64::from(confidence.clamp(0.0, 1.0));
            let bin = (confidence * CONFIDENCE_BINS as f64) as usize;
            count(&mut self.confidence, bin.min(CONFIDENCE_BINS - 1), 1);
            self.confidence_sum += confidence;
        }
    }

    fn add_area(&mut self, area: f32) {
        if area.is_finite() && area > 0.0 {
            let log2 = f64::from(area).log2().clamp(SMALLEST_AREA_LOG2, 0.0);
            count(&mut self.area, ((-2.0 * log2) as usize).min(AREA_BINS - 1), 1);
            self.area_log2_sum += log2;
        }
    }

    /// Adds what `other` counted. Labels of `other` that no longer fit are counted as other ones, the rarest first.
    pub fn merge(&mut self, other: &Self) {
        let add = |to: &mut u64, n: u64| *to = to.saturating_add(n);
        add(&mut self.frames, other.frames);
        add(&mut self.empty, other.empty);
        add(&mut self.objects, other.objects);
        add(&mut self.other, other.other);
        self.confidence_sum += other.confidence_sum;
        self.area_log2_sum += other.area_log2_sum;
        let mut labels: Vec<_> = other.classes.iter().collect();
        labels.sort_by_key(|label| std::cmp::Reverse(*label.1));
        labels.into_iter().for_each(|(label, &n)| self.add_class(label, n));
        for (bin, &n) in other.confidence.iter().enumerate() {
            count(&mut self.confidence, bin, n);
        }
        for (bin, &n) in other.area.iter().enumerate() {
            count(&mut self.area, bin, n);
        }
        for (bin, &n) in other.per_frame.iter().enumerate() {
            count(&mut self.per_frame, bin, n);
        }
    }

    /// Frames that the model looked at.
    pub fn frames(&self) -> u64 {
        self.frames
    }

    /// Frames on which it found no object.
    pub fn empty_frames(&self) -> u64 {
        self.empty
    }

    /// Objects found, counted on each frame anew.
    pub fn objects(&self) -> u64 {
        self.objects
    }

    /// Objects per frame; `None` without frames.
    pub fn objects_per_frame(&self) -> Option<f64> {
        (self.frames > 0).then(|| self.objects as f64 / self.frames as f64)
    }

    /// Most objects that were in view together, in at least this share of the frames, rounded down to a bin's edge: at
    /// least so many different things were there.
    pub fn together(&self, share: f64) -> u64 {
        let mut frames = 0.0;
        let least = (share * self.frames as f64).max(1.0);
        for (&n, &edge) in self.per_frame.iter().zip(&COUNT_EDGES).rev() {
            frames += n as f64;
            if frames >= least {
                return edge;
            }
        }
        0
    }

    /// Mean confidence, 0..1; `None` if nothing was found.
    pub fn mean_confidence(&self) -> Option<f64> {
        mean(self.confidence_sum, &self.confidence).map(|m| m.clamp(0.0, 1.0))
    }

    /// Mean logarithm to the base 2 of the boxes' share of the frame, at most 0; `None` if there is no box.
    pub fn mean_area_log2(&self) -> Option<f64> {
        mean(self.area_log2_sum, &self.area).map(|m| m.clamp(SMALLEST_AREA_LOG2, 0.0))
    }

    /// Objects (or frames, for a classifier) of each label, in the labels' order, without the other ones.
    pub fn classes(&self) -> impl Iterator<Item = (&str, u64)> {
        self.classes.iter().map(|(label, &n)| (label.as_str(), n))
    }

    /// All that has a class.
    pub fn classified(&self) -> u64 {
        self.classes.values().fold(self.other, |sum, &n| sum.saturating_add(n))
    }

    /// How many objects are of this label.
    pub fn objects_of(&self, label: &str) -> u64 {
        self.classes.get(label).copied().unwrap_or(0)
    }

    /// What share of the objects is of this label, 0..1; `None` if nothing was found.
    pub fn share(&self, label: &str) -> Option<f64> {
        let all = self.classified();
        (all > 0).then(|| self.objects_of(label) as f64 / all as f64)
    }

    /// How many have a label that is not counted by name.
    pub fn other(&self) -> u64 {
        self.other
    }

    /// The confidence histogram, [`CONFIDENCE_BINS`] equally wide bins over 0..1, and the sum of all that is in it.
    pub fn confidences(&self) -> (&[u64; CONFIDENCE_BINS], f64) {
        (&self.confidence, self.confidence_sum)
    }

    /// The histogram of objects per frame: frames with at least as many objects as [`COUNT_EDGES`] says, and fewer than the next one.
    pub fn frame_counts(&self) -> &[u64; COUNT_EDGES.len()] {
        &self.per_frame
    }

    /// The share of those whose label is not counted by name.
    pub fn other_share(&self) -> Option<f64> {
        let all = self.classified();
        (all > 0).then(|| self.other as f64 / all as f64)
    }

    /// The histogram of an aspect that is a number, as shares that sum to 1; `None` if it is empty, or for the class mix.
    pub fn histogram(&self, aspect: Aspect) -> Option<Vec<f64>> {
        let bins: &[u64] = match aspect {
            Aspect::ClassMix => return None,
            Aspect::Confidence => &self.confidence,
            Aspect::BoxSize => &self.area,
            Aspect::ObjectsPerFrame => &self.per_frame,
        };
        let all = total(bins);
        (all > 0.0).then(|| bins.iter().map(|&n| n as f64 / all).collect())
    }
}

fn count(bins: &mut [u64], bin: usize, n: u64) {
    if let Some(bin) = bins.get_mut(bin) {
        *bin = bin.saturating_add(n);
    }
}

fn total(bins: &[u64]) -> f64 {
    bins.iter().map(|&n| n as f64).sum()
}

/// The mean of what a histogram counted; `None` if that is nothing, or if the sum (of a document from elsewhere) is no number.
fn mean(sum: f64, bins: &[u64]) -> Option<f64> {
    let all = total(bins);
    (all > 0.0 && sum.is_finite()).then(|| sum / all)
}

/// Takes no more labels from a document than are counted here, so that a stranger's cannot fill the memory.
fn bounded<'de, D: Deserializer<'de>>(from: D) -> Result<BTreeMap<String, u64>, D::Error> {
    let classes = BTreeMap::<String, u64>::deserialize(from)?;
    if classes.len() > MAX_LABELS || classes.keys().any(|label| label.len() > MAX_LABEL) {
        return Err(serde::de::Error::custom(format!(
            "a summary has at most {MAX_LABELS} labels of at most {MAX_LABEL} bytes"
        )));
    }
    Ok(classes)
}

#[cfg(test)]
#[path = "summary_tests.rs"]
mod tests;
