//! The tables `[probation]` and `[shadow]`.

use std::time::Duration;

use serde::{Serialize, Serializer};
use toml::Spanned;

use super::super::schema::TrialEntry;
use super::{Checked, Checker};

/// Longest `time-ms`: a week.
const MAX_TIME_MS: u64 = 7 * 24 * 3600 * 1000;
/// Most frames and samples.
const MAX_FRAMES: u64 = 1_000_000_000;
/// Largest `max-slowdown`.
const MAX_SLOWDOWN: f32 = 1e6;

/// What someone asks of a model that is tried on live frames; `None`: what the next one in the line says, in the end
/// `swap::rules`.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct TrialLimits {
    /// Shortest time.
    #[serde(rename = "time-ms", serialize_with = "millis")]
    pub time: Option<Duration>,
    /// Fewest frames that the model has answered.
    pub frames: Option<u64>,
    /// Fewest frames on which both models were compared, before their agreement counts.
    pub samples: Option<u64>,
    /// Largest part of the runs that may fail, 0..1; 1: any.
    pub max_errors: Option<f32>,
    /// Largest part of the frames with a number that is not finite, 0..1; 1: any.
    pub max_non_finite: Option<f32>,
    /// Longest median run.
    #[serde(rename = "max-latency-ms", serialize_with = "millis")]
    pub max_latency: Option<Duration>,
    /// Longest median run, as a multiple of the other model's in the same time; 0: any.
    pub max_slowdown: Option<f32>,
    /// Lowest agreement with the other model, 0..1; 0: any.
    pub min_agreement: Option<f32>,
}

fn millis<S: Serializer>(time: &Option<Duration>, to: S) -> Result<S::Ok, S::Error> {
    time.map(|t| u64::try_from(t.as_millis()).unwrap_or(u64::MAX)).serialize(to)
}

impl TrialLimits {
    /// What this one says, and where it says nothing, `other`.
    pub fn or(self, other: Self) -> Self {
        Self {
            time: self.time.or(other.time),
            frames: self.frames.or(other.frames),
            samples: self.samples.or(other.samples),
            max_errors: self.max_errors.or(other.max_errors),
            max_non_finite: self.max_non_finite.or(other.max_non_finite),
            max_latency: self.max_latency.or(other.max_latency),
            max_slowdown: self.max_slowdown.or(other.max_slowdown),
            min_agreement: self.min_agreement.or(other.min_agreement),
        }
    }
}

impl Checker<'_> {
    pub(super) fn trial(&self, entry: Option<&TrialEntry>) -> Checked<TrialLimits> {
        let Some(entry) = entry else { return Ok(TrialLimits::default()) };
        let whole = |value: &Option<Spanned<u64>>, least: u64, most: u64| {
            let allowed = format!("it lies in {least}..{most}");
            value.as_ref().map(|v| self.number(v, |v| (least..=most).contains(&v), &allowed)).transpose()
        };
        let part = |value: &Option<Spanned<f32>>| {
            value.as_ref().map(|v| self.number(v, |v| (0.0..=1.0).contains(&v), "it lies in 0..1")).transpose()
        };
        let slowdown = |v: f32| v == 0.0 || (1.0..=MAX_SLOWDOWN).contains(&v);
        Ok(TrialLimits {
            time: whole(&entry.time_ms, 0, MAX_TIME_MS)?.map(Duration::from_millis),
            frames: whole(&entry.frames, 1, MAX_FRAMES)?,
            samples: whole(&entry.samples, 1, MAX_FRAMES)?,
            max_errors: part(&entry.max_errors)?,
            max_non_finite: part(&entry.max_non_finite)?,
            max_latency: whole(&entry.max_latency_ms, 1, 600_000)?.map(Duration::from_millis),
            max_slowdown: entry
                .max_slowdown
                .as_ref()
                .map(|v| self.number(v, slowdown, "it is 0 (any) or lies in 1..1000000"))
                .transpose()?,
            min_agreement: part(&entry.min_agreement)?,
        })
    }
}
