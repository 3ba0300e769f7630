//! Whether the model looked at a frame, as records say it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{milliseconds, rfc3339};
use crate::result::{self, AbsentReason, FrameResult};

/// Whether the model looked at a frame.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "state", rename_all = "kebab-case")]
pub enum Freshness {
    /// The model ran on this frame.
    Fresh,
    /// The objects are those of an earlier frame, or a tracker's prediction from them.
    Held {
        /// Stream time since the frame that was analysed, milliseconds.
        age_ms: u64,
    },
    /// The model did not look.
    Absent {
        /// Why not.
        reason: Reason,
        /// Wall clock time since which there has been no analysis: UTC, RFC 3339 with milliseconds; left out if it is
        /// not known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[schemars(with = "String", extend("format" = "date-time"))]
        since: Option<String>,
    },
}

/// Why a frame carries no analysis.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    /// Inference is set up to skip this frame, and there is no earlier result to hold.
    Skipped,
    /// No model is loaded yet.
    NoModel,
    /// The engine failed on this frame.
    EngineError,
    /// The engine died or hung and is being started anew.
    EngineRestarting,
    /// The analysis did not answer in time.
    Deadline,
    /// The frame could not be read or is of a size that cannot be analysed.
    BadFrame,
    /// The supervised chain failed and is being replaced.
    ChainError,
    /// The supervised chain has not delivered its first frames yet.
    Starting,
    /// Analysis was switched off by the operator.
    Maintenance,
}

impl Freshness {
    pub(super) fn from_result(result: &FrameResult) -> Self {
        match result.freshness {
            result::Freshness::Fresh => Self::Fresh,
            result::Freshness::Held { age_ns } => Self::Held { age_ms: milliseconds(age_ns) },
            result::Freshness::Absent(reason) => {
                Self::Absent { reason: reason.into(), since: result.absent_since_ns.map(rfc3339) }
            }
        }
    }
}

impl From<AbsentReason> for Reason {
    fn from(reason: AbsentReason) -> Self {
        match reason {
            AbsentReason::Skipped => Self::Skipped,
            AbsentReason::NoModel => Self::NoModel,
            AbsentReason::EngineError => Self::EngineError,
            AbsentReason::EngineRestarting => Self::EngineRestarting,
            AbsentReason::Deadline => Self::Deadline,
            AbsentReason::BadFrame => Self::BadFrame,
            AbsentReason::ChainError => Self::ChainError,
            AbsentReason::Starting => Self::Starting,
            AbsentReason::Maintenance => Self::Maintenance,
        }
    }
}
