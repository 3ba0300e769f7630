//! The test of one camera against its baseline: evidence that grows from window to window, an alarm, and its end.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::baseline::{Baseline, Deviation, Learned, Sample, Window};
use super::sequential::{Chains, log_mean};
use super::summary::Aspect;

/// Windows for which all must be as usual again before an alarm ends; also the newest windows that evidence is made of.
pub(super) const RECENT: usize = 12;
/// Fewest values by which a feature that raised the alarm is seen to be usual again.
const LEAST_VALUES: usize = 3;

/// The test's state.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Test {
    features: Vec<Followed>,
    /// What was gathered towards the next sample.
    sample: Sample,
    /// Windows taken.
    pub windows: u64,
    pub alarm: Option<Alarm>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Followed {
    up: Chains,
    down: Chains,
    /// The newest deviation.
    last: f64,
    /// Newest deviations since the alarm, with the window's number; empty while there is none.
    recent: VecDeque<(u64, f64, f64)>,
}

/// An alarm that has not ended.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(super) struct Alarm {
    /// Start of the first window that the evidence rests on, nanoseconds since 1970 UTC.
    pub since_utc_ns: u64,
    /// Number of the window at which it was raised.
    window: u64,
    /// Place of the feature that contributed most.
    cause: usize,
}

impl Test {
    pub fn new(baseline: &Baseline, utc_ns: u64) -> Self {
        let followed = || Followed {
            up: Chains::new(utc_ns),
            down: Chains::new(utc_ns),
            last: 0.0,
            recent: VecDeque::with_capacity(RECENT),
        };
        Self {
            features: baseline.features.iter().map(|_| followed()).collect(),
            sample: Sample::default(),
            windows: 0,
            alarm: None,
        }
    }

    /// Whether it belongs to this baseline.
    pub fn fits(&self, baseline: &Baseline) -> bool {
        self.features.len() == baseline.features.len()
            && self.alarm.is_none_or(|alarm| alarm.cause < self.features.len())
    }

    /// Takes the next window. `bound` is the logarithm of the evidence that raises the alarm.
    pub fn step(&mut self, baseline: &Baseline, window: &Window, bound: f64) {
        self.windows += 1;
        let single = Sample::of(window);
        let joined = baseline.gather(&mut self.sample, window);
        for (followed, learned) in self.features.iter_mut().zip(&baseline.features) {
            let sample = if learned.feature.needs_objects() { joined.as_ref() } else { Some(&single) };
            let Some(sample) = sample else { continue };
            let Some(deviation) = baseline.deviation(learned, sample) else { continue };
            followed.take(learned, deviation, sample.from_utc_ns, bound);
            if self.alarm.is_some() {
                if followed.recent.len() == RECENT {
                    followed.recent.pop_front();
                }
                followed.recent.push_back((self.windows, deviation.by, deviation.tolerance));
            }
        }
        match self.alarm {
            None if self.log(baseline, None) >= bound => self.raise(baseline),
            Some(alarm) if self.is_usual(baseline, alarm) => {
                *self = Self { windows: self.windows, ..self.fresh(baseline, window) }
            }
            _ => {}
        }
    }

    fn fresh(&self, baseline: &Baseline, window: &Window) -> Self {
        Self::new(baseline, window.from_utc_ns)
    }

    fn raise(&mut self, baseline: &Baseline) {
        let by_feature = self.features.iter().zip(&baseline.features).map(|(f, l)| f.log(l) + l.weight.ln());
        let strongest = by_feature.enumerate().max_by(|a, b| a.1.total_cmp(&b.1));
        let Some((cause, followed)) = strongest.and_then(|(i, _)| Some((i, self.features.get(i)?))) else { return };
        let leading = if followed.up.log() >= followed.down.log() { &followed.up } else { &followed.down };
        self.alarm = Some(Alarm { since_utc_ns: leading.since_utc_ns(), window: self.windows, cause });
    }

    /// Logarithm of the evidence against the baseline, of one aspect or of all: the weighted mean of the chains.
    pub fn log(&self, baseline: &Baseline, aspect: Option<Aspect>) -> f64 {
        let of_aspect = self
            .features
            .iter()
            .zip(&baseline.features)
            .filter(|(_, learned)| aspect.is_none_or(|aspect| learned.feature.aspect() == aspect));
        log_mean(of_aspect.map(|(followed, learned)| (followed.log(learned), learned.weight)))
    }

    /// The aspect that raised the alarm.
    pub fn cause(&self, baseline: &Baseline) -> Option<Aspect> {
        baseline.features.get(self.alarm?.cause).map(|learned| learned.feature.aspect())
    }

    /// Whether every feature has been as usual, up to chance, for long enough.
    fn is_usual(&self, baseline: &Baseline, alarm: Alarm) -> bool {
        let recent = RECENT as u64;
        if self.windows < alarm.window + recent {
            return false;
        }
        self.features.iter().zip(&baseline.features).enumerate().all(|(place, (followed, learned))| {
            let newer = followed.recent.iter().filter(|(n, ..)| n + recent > self.windows).count();
            let values: Vec<_> = followed.recent.iter().rev().take(newer.max(LEAST_VALUES)).collect();
            if values.len() < LEAST_VALUES {
                return place != alarm.cause;
            }
            let n = values.len() as f64;
            let mean = |part: fn(&(u64, f64, f64)) -> f64| values.iter().map(|v| part(v)).sum::<f64>() / n;
            let (by, tolerance) = (mean(|v| v.1), mean(|v| v.2));
            let by = if learned.feature.has_two_sides() { by.abs() } else { by };
            by <= tolerance + 2.0 * learned.scale / (1.0 - learned.memory) / n.sqrt()
        })
    }
}

impl Followed {
    fn take(&mut self, learned: &Learned, deviation: Deviation, from_utc_ns: u64, bound: f64) {
        let ceiling = 2.0 * bound;
        let new = deviation.by - learned.memory * self.last;
        let tolerance = (1.0 - learned.memory) * deviation.tolerance;
        self.up.step((new - tolerance) / learned.scale, from_utc_ns, ceiling);
        if learned.feature.has_two_sides() {
            self.down.step((-new - tolerance) / learned.scale, from_utc_ns, ceiling);
        }
        self.last = deviation.by;
    }

    /// The mean over both directions, or the one that counts.
    fn log(&self, learned: &Learned) -> f64 {
        if learned.feature.has_two_sides() {
            log_mean([(self.up.log(), 1.0), (self.down.log(), 1.0)].into_iter())
        } else {
            self.up.log()
        }
    }
}
