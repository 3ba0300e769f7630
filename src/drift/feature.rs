//! The numbers that stand for a window in the test.

use serde::{Deserialize, Serialize};

use super::psi::psi_of;
use super::summary::{Aspect, Summary};

/// Most classes that are followed one by one; all others show in the population stability index of the class mix.
const MOST_CLASSES: usize = 6;
/// A class that makes up less than this share of what is found is not followed by itself.
const COMMON: f64 = 0.03;
/// A class is present in a window from this many objects a frame: it is there for a second and a half of five minutes.
pub(super) const PRESENT: f64 = 0.005;
/// What one makes of a scene that is as it was, in each feature's unit: less than this is no drift, however sure it is.
mod tolerance {
    /// By what factor objects per frame rise or fall.
    pub const COUNT_RATIO: f64 = 1.5;
    /// And so many more, where there are few.
    pub const COUNT_MORE: f64 = 0.5;
    /// Mean confidence.
    pub const CONFIDENCE: f64 = 0.02;
    /// Mean box area, in octaves.
    pub const AREA: f64 = 0.5;
    /// Share of windows in which a class is seen.
    pub const PRESENCE: f64 = 0.1;
    /// Square root of a population stability index, beyond what chance makes of it.
    pub const ROOT_PSI: f64 = 0.15;
}

/// One number of a stretch of time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Feature {
    /// Square root of the objects per frame, whose variance does not depend on how many there are.
    Count,
    /// Mean confidence.
    Confidence,
    /// Mean logarithm of the box area.
    Area,
    /// 1 if a class is present in a window, 0 if not. Its share of the objects would say more about who stands around for
    /// long than about the model.
    Class(String),
    /// Square root of the population stability index of an aspect, against the baseline of the same time of day.
    Shape(Aspect),
}

impl Feature {
    /// All that can be followed where the baseline is `whole`.
    pub fn all(whole: &Summary) -> Vec<Self> {
        let mut features = vec![Self::Count];
        if whole.mean_confidence().is_some() {
            features.extend([Self::Confidence, Self::Shape(Aspect::Confidence)]);
        }
        if whole.mean_area_log2().is_some() {
            features.extend([Self::Area, Self::Shape(Aspect::BoxSize)]);
        }
        if whole.classified() > 0 {
            features.push(Self::Shape(Aspect::ClassMix));
            let mut classes: Vec<_> = whole.classes().collect();
            classes.sort_by_key(|class| std::cmp::Reverse(class.1));
            let common = classes.into_iter().map(|(label, _)| label);
            let common = common.filter(|label| whole.share(label).is_some_and(|s| s > COMMON));
            features.extend(common.take(MOST_CLASSES).map(|label| Self::Class(label.to_owned())));
        }
        features
    }

    pub fn aspect(&self) -> Aspect {
        match self {
            Self::Count => Aspect::ObjectsPerFrame,
            Self::Confidence => Aspect::Confidence,
            Self::Area => Aspect::BoxSize,
            Self::Class(_) => Aspect::ClassMix,
            Self::Shape(aspect) => *aspect,
        }
    }

    /// Whether it needs objects, so that it is taken over as many windows as it takes to see some.
    pub fn needs_objects(&self) -> bool {
        !matches!(self, Self::Count | Self::Class(_))
    }

    /// Whether what is expected comes from the bundle's distribution where there is one. How much an index varies by chance
    /// and in how many windows a class is seen, only the camera knows.
    pub fn in_reference(&self) -> bool {
        matches!(self, Self::Count | Self::Confidence | Self::Area)
    }

    /// Whether a fall says as much as a rise.
    pub fn has_two_sides(&self) -> bool {
        !matches!(self, Self::Shape(_))
    }

    /// Its value over `now`. `then` is the baseline of the same time, with weights, which only an index needs.
    pub fn value(&self, then: &[(&Summary, f64)], now: &Summary) -> Option<f64> {
        match self {
            Self::Count => now.objects_per_frame().map(f64::sqrt),
            Self::Confidence => now.mean_confidence(),
            Self::Area => now.mean_area_log2(),
            Self::Class(label) => {
                let present = now.objects_of(label) as f64 >= PRESENT * now.frames() as f64;
                Some(f64::from(u8::from(present)))
            }
            Self::Shape(aspect) => psi_of(*aspect, then, now).map(|psi| psi.max(0.0).sqrt()),
        }
    }

    /// How far it may be above or below `expected` without being drift.
    pub fn tolerance(&self, expected: f64, above: bool) -> f64 {
        match self {
            // Half a thing more is one that stands in view half of the time.
            Self::Count if above => {
                (tolerance::COUNT_RATIO * expected.powi(2) + tolerance::COUNT_MORE).sqrt() - expected
            }
            Self::Count => expected * (1.0 - tolerance::COUNT_RATIO.recip().sqrt()),
            Self::Confidence => tolerance::CONFIDENCE,
            Self::Area => tolerance::AREA,
            Self::Class(_) => tolerance::PRESENCE,
            Self::Shape(_) => tolerance::ROOT_PSI,
        }
    }

    /// The least standard deviation that a window's value is given. A baseline in which nothing moves must not make the
    /// test infinitely sharp.
    pub fn least_scale(&self) -> f64 {
        match self {
            Self::Count => 0.05,
            Self::Confidence => 0.01,
            Self::Area => 0.1,
            Self::Class(_) => 0.05,
            Self::Shape(_) => 0.02,
        }
    }
}
