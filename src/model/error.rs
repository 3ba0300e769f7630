//! Why a model cannot be used.

use std::time::Duration;

use crate::bundle::BundleError;
use crate::engine::EngineError;
use crate::post::PostError;

/// Why a model cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// The bundle is missing or broken.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// The runtime cannot load it.
    #[error("model {model}: {source}")]
    Engine {
        /// Where it came from.
        model: String,
        /// What the runtime says.
        source: EngineError,
    },
    /// The model is not what its bundle promises, or cannot be recognised without one.
    #[error("model {model}: {source}")]
    Contract {
        /// Where it came from.
        model: String,
        /// What does not agree.
        source: Box<PostError>,
    },
    /// A bare model's outputs may mean more than one thing.
    #[error(
        "model {model}: nothing in it says whether its output is a list of classes or something else. Write a bundle \
         and check output.decoder in it: vigil bundle new {model}"
    )]
    Guess {
        /// Where it came from.
        model: String,
    },
    /// A bare model does not even say how many classes it has.
    #[error(
        "model {model}: it does not say which classes it finds. Write a bundle with the key labels: vigil bundle new \
         --labels FILE {model}"
    )]
    Labels {
        /// Where it came from.
        model: String,
    },
    /// No provider of the bundle's can be used.
    #[error("model {model}: none of its execution providers can be used: {tried}")]
    NoProvider {
        /// Where it came from.
        model: String,
        /// Each provider with its reason.
        tried: String,
    },
    /// Several variants or providers of a bundle were tried, and each failed.
    #[error("model {model}: none of its variants can be used: {}", texts(tried))]
    NoVariant {
        /// Where it came from.
        model: String,
        /// What was tried, in this order; two at least.
        tried: Vec<Attempt>,
    },
    /// It took too long to load, or to answer its first picture.
    #[error(
        "model {model}: it was not loaded and did not answer an empty picture within {limit:?}, and was given up. If it \
         is known to be slow, give it longer (load-timeout)"
    )]
    Late {
        /// Where it came from.
        model: String,
        /// The time that it had.
        limit: Duration,
    },
    /// Whoever asked for it does not want it any more.
    #[error("the model was not loaded, since it is no longer wanted")]
    Cancelled,
}

/// A variant of a bundle that was tried on a provider and cannot be used.
#[derive(Debug)]
pub struct Attempt {
    /// The variant's file inside the bundle.
    pub file: String,
    /// The execution provider.
    pub provider: String,
    /// Why it cannot be used.
    pub error: ModelError,
}

impl Attempt {
    /// What failed and why, without the model's name.
    pub fn text(&self) -> String {
        format!("{} on {}: {}", self.file, self.provider, self.error.reason())
    }
}

fn texts(tried: &[Attempt]) -> String {
    tried.iter().map(Attempt::text).collect::<Vec<_>>().join("; ")
}

impl ModelError {
    /// What an engine's error means for the model from `model`.
    pub(super) fn engine(model: &str, source: EngineError) -> Self {
        let model = model.to_owned();
        match source {
            EngineError::Cancelled => Self::Cancelled,
            EngineError::Late(limit) => Self::Late { model, limit },
            source => Self::Engine { model, source },
        }
    }

    /// The error of a bundle of which each of `failed` (one at least) was tried.
    pub(super) fn of_attempts(model: String, mut failed: Vec<Attempt>) -> Self {
        let absent = |attempt: &Attempt| matches!(attempt.error, Self::Engine { source: EngineError::Provider(_), .. });
        if failed.iter().all(absent) {
            let text = |attempt: &Attempt| format!("{}: {}", attempt.provider, attempt.error.reason());
            return Self::NoProvider { model, tried: failed.iter().map(text).collect::<Vec<_>>().join("; ") };
        }
        match failed.pop() {
            Some(only) if failed.is_empty() => only.error,
            last => Self::NoVariant { model, tried: failed.into_iter().chain(last).collect() },
        }
    }

    /// What is wrong, without the model's name where that can be left out.
    fn reason(&self) -> String {
        match self {
            Self::Engine { source, .. } => source.to_string(),
            Self::Contract { source, .. } => source.to_string(),
            other => other.to_string(),
        }
    }

    /// The error that says most about why none of several variants can be used: the first that is not about an absent
    /// provider. Any other error is its own cause.
    pub fn cause(&self) -> &Self {
        let Self::NoVariant { tried, .. } = self else { return self };
        let absent = |error: &Self| matches!(error, Self::Engine { source: EngineError::Provider(_), .. });
        tried.iter().map(|attempt| &attempt.error).find(|error| !absent(error)).unwrap_or(self)
    }
}
