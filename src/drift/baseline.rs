//! What is usual for a camera and a model: how its predictions are distributed at each time of the day, and how much
//! they vary from one window to the next.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::feature::{Feature, PRESENT};
use super::sequential::{BETS, mean_e_value};
use super::summary::Summary;

/// A slot of the day with fewer windows than this borrows from the whole baseline.
const SLOT_WINDOWS: u64 = 12;
/// A slot with fewer samples' worth of objects than this borrows what it says of objects from the whole baseline.
const SLOT_SAMPLES: f64 = 8.0;
/// Fewest values that a feature must have in the baseline to be tested.
const LEAST_VALUES: usize = 24;
/// A sample has at least as many objects as this many average windows,
const SAMPLE_SHARE: f64 = 1.0;
/// and this many different things, as far as that can be told: one that stands around for long is no sample,
const LEAST_THINGS: u64 = 12;
/// and at least this many objects, so that one false detection is none.
const LEAST_OBJECTS: u64 = 30;
/// Standard errors by which the baseline's own mean may be wrong.
const SURE: f64 = 1.5;
/// Lengths of the blocks of values by which the long-run variance is estimated.
const BLOCKS: [usize; 4] = [1, 2, 4, 8];
/// The most that a value is taken to depend on the one before; more, and nothing would ever be new.
const MOST_MEMORY: f64 = 0.8;
/// Fewest blocks of a length that tell a variance.
const LEAST_BLOCKS: usize = 12;

/// A window: what was seen in it, in which slot of the day it began, when, and when its last frame came.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Window {
    pub summary: Summary,
    pub slot: usize,
    pub from_utc_ns: u64,
    pub until_utc_ns: u64,
}

/// One window, or several that hold enough objects together. A quiet hour's windows thus make one value of the same
/// precision as each of a busy hour's.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Sample {
    pub summary: Summary,
    /// Objects in each slot of the day.
    slots: Vec<(usize, f64)>,
    /// Sum of the windows' objects per frame: what was seen, whatever the frame rate.
    seen: f64,
    /// Sum of the most things in view together in each window: how many different ones it may be made of.
    things: u64,
    pub from_utc_ns: u64,
}

impl Sample {
    pub fn of(window: &Window) -> Self {
        let mut sample = Self::default();
        sample.add(window);
        sample
    }

    fn add(&mut self, window: &Window) {
        if self.summary.frames() == 0 {
            self.from_utc_ns = window.from_utc_ns;
        }
        self.seen += seen(&window.summary);
        self.things = self.things.saturating_add(things(&window.summary));
        // The smallest weight stands for a window without objects, so that a sample of nothing has a slot too.
        let weight = (window.summary.classified() as f64).max(1e-9);
        match self.slots.iter_mut().find(|(slot, _)| *slot == window.slot) {
            Some((_, sum)) => *sum += weight,
            None => self.slots.push((window.slot, weight)),
        }
        self.summary.merge(&window.summary);
    }
}

/// What a frame of this summary holds on average: objects, or 1 for a classifier.
fn seen(summary: &Summary) -> f64 {
    if summary.frames() > 0 { summary.classified() as f64 / summary.frames() as f64 } else { 0.0 }
}

/// How many different things were there at least; one for a classifier.
fn things(summary: &Summary) -> u64 {
    let classified = summary.objects() == 0 && summary.classified() > 0;
    summary.together(PRESENT).max(u64::from(classified))
}

/// A slot of the day.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct Slot {
    summary: Summary,
    windows: u64,
    /// Sum of the windows' square roots of objects per frame.
    root_counts: f64,
    /// Windows in which each of the followed classes is present.
    present: BTreeMap<String, u64>,
    /// Sum of the windows' objects per frame.
    seen: f64,
    /// As that of a sample.
    things: u64,
}

impl Slot {
    fn add(&mut self, window: &Window, classes: &[Feature]) {
        self.windows += 1;
        for class in classes {
            if let (Feature::Class(label), Some(1.0)) = (class, class.value(&[], &window.summary)) {
                *self.present.entry(label.clone()).or_default() += 1;
            }
        }
        self.root_counts += window.summary.objects_per_frame().unwrap_or(0.0).sqrt();
        self.seen += seen(&window.summary);
        self.things = self.things.saturating_add(things(&window.summary));
        self.summary.merge(&window.summary);
    }
}

/// A feature and how it varies.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Learned {
    pub feature: Feature,
    /// Mean deviation from what was expected in the baseline itself; for an index, what chance alone makes.
    offset: f64,
    /// How much of a value's deviation is that of the value before, 0 to [`MOST_MEMORY`]: what stands in the picture for
    /// long is one surprise and not one in each window.
    pub memory: f64,
    /// Standard deviation of what is new in a value, such that sums vary as they do, and such that the mean e-value over
    /// the baseline is at most 1.
    pub scale: f64,
    /// Share of the evidence that it can have, over both directions.
    pub weight: f64,
}

/// A value that departs from what is expected.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Deviation {
    /// Value minus expectation.
    pub by: f64,
    /// How much of it is nothing.
    pub tolerance: f64,
}

/// What is usual.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Baseline {
    slots: Vec<Slot>,
    whole: Slot,
    /// The bundle's distribution, which then is the centre instead of what was seen here.
    reference: Option<Summary>,
    /// Objects per frame, summed over windows, that make a sample.
    sample: f64,
    pub features: Vec<Learned>,
}

impl Baseline {
    /// What these windows, in their order in time, say; `None` if they are too few to tell how much windows vary, or hold
    /// too few objects.
    pub fn learn(windows: &[Window], slots: usize, reference: Option<&Summary>) -> Option<Self> {
        let mut this = Self {
            slots: vec![Slot::default(); slots],
            whole: Slot::default(),
            reference: None,
            sample: 0.0,
            features: Vec::new(),
        };
        let mut whole = Summary::default();
        windows.iter().for_each(|w| whole.merge(&w.summary));
        let features = Feature::all(&whole);
        for window in windows {
            this.slots.get_mut(window.slot)?.add(window, &features);
            this.whole.add(window, &features);
        }
        this.sample = SAMPLE_SHARE * this.whole.seen / this.whole.windows.max(1) as f64;
        let single: Vec<Sample> = windows.iter().map(Sample::of).collect();
        let mut sample = Sample::default();
        let joined: Vec<Sample> = windows.iter().filter_map(|w| this.gather(&mut sample, w)).collect();
        let features: Vec<Learned> = features
            .into_iter()
            .filter_map(|f| {
                let samples = if f.needs_objects() { &joined } else { &single };
                this.vary(f, samples)
            })
            .collect();
        if !features.iter().any(|f| f.feature.needs_objects()) {
            return None;
        }
        this.features = features;
        this.share_out();
        this.reference = reference.cloned();
        Some(this)
    }

    /// Adds a window to a sample, and gives the sample if it is complete.
    pub fn gather(&self, sample: &mut Sample, window: &Window) -> Option<Sample> {
        sample.add(window);
        let enough =
            sample.seen >= self.sample && sample.things >= LEAST_THINGS && sample.summary.classified() >= LEAST_OBJECTS;
        enough.then(|| std::mem::take(sample))
    }

    /// How a feature varies over samples of the baseline itself.
    fn vary(&self, feature: Feature, samples: &[Sample]) -> Option<Learned> {
        let mut values: Vec<f64> = samples
            .iter()
            .filter_map(|sample| {
                // By so much it would be further away if it were not part of the baseline itself.
                let n = self.values_behind(&feature, sample);
                Some(self.apart(&feature, sample)?.by * n / (n - 1.0))
            })
            .collect();
        if values.len() < LEAST_VALUES {
            return None;
        }
        let offset = values.iter().sum::<f64>() / values.len() as f64;
        values.iter_mut().for_each(|v| *v -= offset);
        let memory = memory(&values);
        let new: Vec<f64> = values.windows(2).filter_map(|pair| Some(pair.last()? - memory * pair.first()?)).collect();
        let scale = fair_scale(long_run_variance(&new).sqrt().max(feature.least_scale()), &new);
        Some(Learned { feature, offset, memory, scale, weight: 0.0 })
    }

    /// How many values of the baseline the expectation for a sample rests on.
    fn values_behind(&self, feature: &Feature, sample: &Sample) -> f64 {
        let of = |slot: &Slot| if feature.needs_objects() { self.samples(slot) } else { slot.windows as f64 };
        mean(self.weighed(feature, sample).map(|(slot, weight)| (of(slot), weight))).unwrap_or(0.0).max(2.0)
    }

    /// Each aspect has the same share of the evidence, and each feature of an aspect too.
    fn share_out(&mut self) {
        let aspects: Vec<_> = self.features.iter().map(|f| f.feature.aspect()).collect();
        for (feature, aspect) in self.features.iter_mut().zip(&aspects) {
            feature.weight = 1.0 / aspects.iter().filter(|a| *a == aspect).count().max(1) as f64;
        }
    }

    /// How far a sample is from what is usual; `None` if it says nothing about the feature.
    pub fn deviation(&self, learned: &Learned, sample: &Sample) -> Option<Deviation> {
        let deviation = self.apart(&learned.feature, sample)?;
        // A value here is compared with the bundle's, so that its mean here is of no concern, but an index keeps what
        // chance alone makes of it.
        let from_reference = self.reference.is_some() && learned.feature.in_reference();
        if from_reference {
            return Some(deviation);
        }
        // What is usual is itself known only so well: the truth may be this far from it.
        let spread = learned.scale / (1.0 - learned.memory);
        let unsure = SURE * spread / self.values_behind(&learned.feature, sample).sqrt();
        Some(Deviation { by: deviation.by - learned.offset, tolerance: deviation.tolerance + unsure })
    }

    fn apart(&self, feature: &Feature, sample: &Sample) -> Option<Deviation> {
        let parts: Vec<(&Slot, f64)> = self.weighed(feature, sample).collect();
        let then: Vec<(&Summary, f64)> = match &self.reference {
            Some(reference) => vec![(reference, 1.0)],
            None => parts.iter().map(|(slot, weight)| (&slot.summary, *weight)).collect(),
        };
        let value = feature.value(&then, &sample.summary)?;
        let expected = match feature {
            Feature::Shape(_) => 0.0,
            Feature::Count if self.reference.is_none() => {
                mean(parts.iter().map(|(slot, w)| (slot.root_counts / slot.windows.max(1) as f64, *w)))?
            }
            Feature::Class(label) => mean(parts.iter().map(|(slot, w)| {
                (slot.present.get(label).copied().unwrap_or(0) as f64 / slot.windows.max(1) as f64, *w)
            }))?,
            _ => mean(then.iter().filter_map(|(summary, w)| Some((feature.value(&[], summary)?, *w))))?,
        };
        let by = value - expected;
        Some(Deviation { by, tolerance: feature.tolerance(expected, by > 0.0) })
    }

    /// The slots that a sample is compared with, with weights; the whole in place of those that know too little.
    fn weighed(&self, feature: &Feature, sample: &Sample) -> impl Iterator<Item = (&Slot, f64)> {
        let objects = feature.needs_objects();
        sample.slots.iter().map(move |&(slot, weight)| {
            let own = self.slots.get(slot).filter(|slot| self.knows(slot, objects));
            (own.unwrap_or(&self.whole), weight)
        })
    }

    /// How many samples a slot holds.
    fn samples(&self, slot: &Slot) -> f64 {
        (slot.seen / self.sample.max(1e-12)).min(slot.things as f64 / LEAST_THINGS as f64)
    }

    fn knows(&self, slot: &Slot, objects: bool) -> bool {
        slot.windows >= SLOT_WINDOWS && (!objects || self.samples(slot) >= SLOT_SAMPLES)
    }

    /// Whether windows of this slot are compared with the whole baseline for want of their own.
    pub fn borrows(&self, slot: usize) -> bool {
        self.reference.is_none() && !self.slots.get(slot).is_some_and(|slot| self.knows(slot, true))
    }

    /// Whether the bundle's distribution is the centre.
    pub fn is_reference(&self) -> bool {
        self.reference.is_some()
    }

    /// What windows of these slots are compared with, and the weight of each.
    pub fn usual(&self, windows: impl Iterator<Item = usize>) -> Vec<(&Summary, f64)> {
        if let Some(reference) = &self.reference {
            return vec![(reference, 1.0)];
        }
        let mut times: Vec<(usize, f64)> = Vec::new();
        for slot in windows {
            match times.iter_mut().find(|(known, _)| *known == slot) {
                Some((_, n)) => *n += 1.0,
                None => times.push((slot, 1.0)),
            }
        }
        let own = |slot| self.slots.get(slot).filter(|slot| self.knows(slot, true)).unwrap_or(&self.whole);
        times.into_iter().map(|(slot, n)| (&own(slot).summary, n)).collect()
    }
}

/// The weighted mean; `None` without weight.
pub(super) fn mean(parts: impl Iterator<Item = (f64, f64)>) -> Option<f64> {
    let (sum, weights) = parts.fold((0.0, 0.0), |(sum, weights), (value, w)| (sum + value * w, weights + w));
    (weights > 0.0).then(|| sum / weights)
}

/// The correlation of neighbours, within what is allowed. `values` have the mean 0.
fn memory(values: &[f64]) -> f64 {
    let square: f64 = values.iter().map(|v| v * v).sum();
    let product: f64 = values.windows(2).map(|pair| pair.iter().product::<f64>()).sum();
    if square > 0.0 { (product / square).clamp(0.0, MOST_MEMORY) } else { 0.0 }
}

/// The scale, or the next larger one with which no bet would have gained over the baseline.
fn fair_scale(mut scale: f64, new: &[f64]) -> f64 {
    let gains = |scale: f64| {
        BETS.iter().any(|&bet| {
            mean_e_value(bet, new.iter().map(|v| v / scale)) > 1.0
                || mean_e_value(bet, new.iter().map(|v| -v / scale)) > 1.0
        })
    };
    // Each step is a tenth; what needs more than 40 of them is no number.
    for _ in 0..40 {
        if !gains(scale) {
            break;
        }
        scale *= 1.1;
    }
    scale
}

/// The variance per value that sums of values have, which is larger than that of one value if neighbours are alike: the
/// largest over blocks of several lengths, with an allowance for how few blocks there are. `values` have the mean 0.
fn long_run_variance(values: &[f64]) -> f64 {
    let of_blocks = BLOCKS.iter().map(|&length| {
        let sums: Vec<f64> = values.chunks_exact(length).map(|block| block.iter().sum()).collect();
        if sums.len() < LEAST_BLOCKS && length > 1 {
            return 0.0;
        }
        let n = sums.len().max(2) as f64;
        let variance = sums.iter().map(|s| s * s).sum::<f64>() / (n - 1.0) / length as f64;
        variance * (1.0 + 1.0 / n.sqrt())
    });
    of_blocks.fold(0.0, f64::max)
}

#[cfg(test)]
#[path = "baseline_tests.rs"]
mod tests;
