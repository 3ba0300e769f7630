//! From what went wrong to a reason code and a text.

use super::phase::Reason;
use super::prove::ProofFailure;
use crate::bundle::BundleError;
use crate::engine::EngineError;
use crate::model::ModelError;

/// Why a request does not go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The model cannot be used.
    Bad(Reason, String),
    /// Nobody wants it any more.
    Cancelled,
}

impl From<BundleError> for Refusal {
    fn from(error: BundleError) -> Self {
        Self::Bad(of_bundle(&error), error.to_string())
    }
}

fn of_bundle(error: &BundleError) -> Reason {
    match error {
        BundleError::NotFound { .. } | BundleError::Missing(_) => Reason::NotFound,
        BundleError::Io { .. } => Reason::Unreadable,
        BundleError::Digest { .. } => Reason::Digest,
        BundleError::Signature { .. } => Reason::Signature,
        _ => Reason::Format,
    }
}

impl From<ModelError> for Refusal {
    fn from(error: ModelError) -> Self {
        let reason = match &error {
            ModelError::Cancelled => return Self::Cancelled,
            ModelError::Bundle(error) => of_bundle(error),
            ModelError::Engine { source, .. } => match of_engine(source) {
                Some(reason) => reason,
                None => return Self::Cancelled,
            },
            ModelError::NoProvider { .. } => Reason::Provider,
            _ => Reason::Contract,
        };
        Self::Bad(reason, error.to_string())
    }
}

/// `None`: nobody wants the answer any more.
fn of_engine(error: &EngineError) -> Option<Reason> {
    Some(match error {
        EngineError::Cancelled => return None,
        EngineError::Runtime(_) | EngineError::Provider(_) => Reason::Provider,
        EngineError::Memory(_) => Reason::Memory,
        EngineError::Crashed(_) | EngineError::Restarting(_) => Reason::LoadCrashed,
        EngineError::Deadline(_) => Reason::LoadTimeout,
        EngineError::Model(_) | EngineError::Run(_) => Reason::LoadFailed,
    })
}

impl From<ProofFailure> for Refusal {
    fn from(failure: ProofFailure) -> Self {
        let reason = match &failure {
            ProofFailure::Cancelled => return Self::Cancelled,
            ProofFailure::Reference(_) => Reason::Format,
            ProofFailure::Mismatch(_) => Reason::ReferenceMismatch,
            ProofFailure::Latency { .. } => Reason::ReferenceLatency,
            ProofFailure::NonFinite { .. } => Reason::NonFinite,
            ProofFailure::Engine(error) => match of_engine(error) {
                Some(reason) => reason,
                None => return Self::Cancelled,
            },
        };
        Self::Bad(reason, failure.to_string())
    }
}
