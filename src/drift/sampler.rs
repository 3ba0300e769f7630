//! Which frames are worth keeping for somebody to look at. Only the decision; no pixels.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::report::State;
use crate::export::Now;
use crate::result::{FrameResult, Freshness, Object, TrackState};

/// Which frames are wanted.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SamplerConfig {
    /// A frame is wanted if the surest object that the model found has less confidence than this, 0..1; without objects, if the
    /// first class of the whole frame has. 0: not for this reason.
    pub below: f32,
    /// A frame is wanted if at least this share of its objects, 0..1, is predicted by a tracker and not found by the model.
    /// 0: not for this reason.
    pub disagreement: f64,
    /// Whether frames are wanted while predictions drift.
    pub drift: bool,
    /// Most frames an hour; they are spread over it. 0 wants none.
    pub per_hour: u32,
}

impl Default for SamplerConfig {
    fn default() -> Self {
        Self { below: 0.5, disagreement: 0.5, drift: true, per_hour: 12 }
    }
}

/// Why a frame is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SampleReason {
    /// The tracker says that there are objects, and the model does not find them.
    Disagreement,
    /// The predictions drift.
    Drift,
    /// The surest object is not a sure one.
    LowConfidence,
}

impl SampleReason {
    /// The word in file names, messages and records.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Disagreement => "disagreement",
            Self::Drift => "drift",
            Self::LowConfidence => "low-confidence",
        }
    }

    /// Whether the frame is wanted because objects may be missed on it: what has no box cannot be hidden by its box.
    pub const fn is_of_missed_objects(self) -> bool {
        matches!(self, Self::Disagreement | Self::Drift)
    }
}

/// Picks frames, within a budget.
#[derive(Debug)]
pub struct Sampler {
    config: SamplerConfig,
    /// The time when it was asked last.
    last: Option<Duration>,
    /// Time since a frame was taken.
    since: Duration,
}

impl Sampler {
    /// A sampler that has not picked a frame yet.
    pub fn new(config: SamplerConfig) -> Self {
        Self { config, last: None, since: Duration::MAX }
    }

    /// Why this frame is wanted, if it is; to be asked of each frame. Tell by [`took`](Self::took) that it was taken: then none
    /// is wanted for an hour's share, so that those of an hour show different scenes.
    ///
    /// `now.monotonic` may step back, as it does when a file begins anew: time goes on from there.
    pub fn want(&mut self, result: &FrameResult, state: State, now: Now) -> Option<SampleReason> {
        let last = self.last.replace(now.monotonic).unwrap_or(now.monotonic);
        self.since = self.since.saturating_add(now.monotonic.saturating_sub(last));
        let gap = Duration::from_secs(3600).checked_div(self.config.per_hour)?;
        if self.since < gap || result.freshness != Freshness::Fresh {
            return None;
        }
        self.reason(result, state)
    }

    /// The frame that was wanted is taken.
    pub fn took(&mut self) {
        self.since = Duration::ZERO;
    }

    fn reason(&self, result: &FrameResult, state: State) -> Option<SampleReason> {
        let limit = self.config.disagreement;
        if limit > 0.0 && missed(&result.objects).is_some_and(|share| share >= limit) {
            return Some(SampleReason::Disagreement);
        }
        if self.config.drift && state == State::Drifting {
            return Some(SampleReason::Drift);
        }
        let found = result.objects.iter().filter(|o| o.parent.is_none() && !is_predicted(o)).map(|o| o.confidence);
        let class = result.classes.first().filter(|_| result.objects.is_empty()).map(|class| class.confidence);
        let surest = found.chain(class).filter(|confidence| confidence.is_finite()).reduce(f32::max)?;
        (surest < self.config.below).then_some(SampleReason::LowConfidence)
    }
}

fn is_predicted(object: &Object) -> bool {
    object.track.is_some_and(|track| track.state == TrackState::Predicted)
}

/// What share of the objects a tracker predicts and the model does not find, 0..1; `None` without objects. What other models
/// found inside objects does not count: these look when they do.
fn missed(objects: &[Object]) -> Option<f64> {
    let own = || objects.iter().filter(|object| object.parent.is_none());
    let all = own().count();
    (all > 0).then(|| own().filter(|object| is_predicted(object)).count() as f64 / all as f64)
}

#[cfg(test)]
#[path = "sampler_tests.rs"]
mod tests;
