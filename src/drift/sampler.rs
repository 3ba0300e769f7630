//! Which frames are worth keeping for somebody to look at. Only the decision; no pixels.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::report::State;
use crate::export::Now;
use crate::result::{FrameResult, Freshness, Object};

/// Two boxes of one class that overlap this much are the same object.
const SAME_IOU: f32 = 0.5;

/// Which frames are wanted.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SamplerConfig {
    /// A frame on which the surest object has a confidence in `low.0..low.1` is wanted. `None`: not for this reason.
    pub low: Option<(f32, f32)>,
    /// A frame is wanted if a second result differs in at least this share of objects, over 0 to 1. `None`: not for this
    /// reason.
    pub disagreement: Option<f32>,
    /// Whether frames are wanted while predictions drift.
    pub drift: bool,
    /// Most frames an hour; they are spread over it. 0 wants none.
    pub per_hour: u32,
}

impl Default for SamplerConfig {
    fn default() -> Self {
        Self { low: Some((0.3, 0.5)), disagreement: Some(0.5), drift: true, per_hour: 12 }
    }
}

/// Why a frame is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SampleReason {
    /// Another model, or another run of it, finds other objects.
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
}

/// Picks frames, within a budget.
#[derive(Debug)]
pub struct Sampler {
    config: SamplerConfig,
    last: Option<Duration>,
}

impl Sampler {
    /// A sampler that has not picked a frame yet.
    pub fn new(config: SamplerConfig) -> Self {
        Self { config, last: None }
    }

    /// Why this frame is wanted, if it is; then it counts as taken. `second` is what else is said about the same frame.
    /// After a frame is taken none is wanted for an hour's share, so that those of an hour show different scenes.
    pub fn want(
        &mut self,
        result: &FrameResult,
        second: Option<&FrameResult>,
        state: State,
        now: Now,
    ) -> Option<SampleReason> {
        let hour = Duration::from_secs(3600);
        let gap = hour.checked_div(self.config.per_hour)?;
        let too_soon = self.last.is_some_and(|last| now.monotonic.saturating_sub(last) < gap);
        if too_soon || result.freshness != Freshness::Fresh {
            return None;
        }
        let reason = self.reason(result, second, state)?;
        self.last = Some(now.monotonic);
        Some(reason)
    }

    fn reason(&self, result: &FrameResult, second: Option<&FrameResult>, state: State) -> Option<SampleReason> {
        let second = second.filter(|second| second.freshness == Freshness::Fresh);
        if let (Some(limit), Some(second)) = (self.config.disagreement, second)
            && disagreement(&result.objects, &second.objects) >= limit.max(f32::EPSILON)
        {
            return Some(SampleReason::Disagreement);
        }
        if self.config.drift && state == State::Drifting {
            return Some(SampleReason::Drift);
        }
        let (low, high) = self.config.low?;
        let surest = result.objects.iter().map(|o| o.confidence).filter(|c| c.is_finite()).reduce(f32::max)?;
        (low..high).contains(&surest).then_some(SampleReason::LowConfidence)
    }
}

/// What share of the objects of both results has no counterpart in the other one, 0..1.
fn disagreement(a: &[Object], b: &[Object]) -> f32 {
    let all = a.len() + b.len();
    if all == 0 {
        return 0.0;
    }
    let mut free: Vec<&Object> = b.iter().collect();
    let mut pairs = 0;
    for object in a {
        let same = |other: &&Object| other.label == object.label && other.bbox.iou(&object.bbox) >= SAME_IOU;
        if let Some(place) = free.iter().position(same) {
            free.swap_remove(place);
            pairs += 1;
        }
    }
    1.0 - 2.0 * pairs as f32 / all as f32
}

#[cfg(test)]
#[path = "sampler_tests.rs"]
mod tests;
