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
        match of_model(error.cause()) {
            Some(reason) => Self::Bad(reason, error.to_string()),
            None => Self::Cancelled,
        }
    }
}

/// `None`: nobody wants the model any more.
fn of_model(error: &ModelError) -> Option<Reason> {
    Some(match error {
        ModelError::Cancelled => return None,
        ModelError::Bundle(error) => of_bundle(error),
        ModelError::Engine { source, .. } => return of_engine(source),
        ModelError::NoProvider { .. } => Reason::Provider,
        ModelError::NoVariant { .. } => Reason::LoadFailed,
        ModelError::Late { .. } => Reason::LoadTimeout,
        ModelError::Contract { .. } | ModelError::Guess { .. } | ModelError::Labels { .. } => Reason::Contract,
    })
}

/// `None`: nobody wants the answer any more.
fn of_engine(error: &EngineError) -> Option<Reason> {
    Some(match error {
        EngineError::Cancelled => return None,
        EngineError::Runtime(_) | EngineError::Provider(_) => Reason::Provider,
        EngineError::Memory(_) => Reason::Memory,
        EngineError::Crashed(_) | EngineError::Restarting(_) => Reason::LoadCrashed,
        EngineError::Deadline(_) | EngineError::Late(_) => Reason::LoadTimeout,
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
