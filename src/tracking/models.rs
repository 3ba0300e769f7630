//! Which models made the results, and what goes when one is replaced.

use std::sync::Arc;

use crate::result::ModelId;

/// The models that made the results so far.
#[derive(Debug, Default)]
pub struct Models {
    /// The one that finds the objects.
    first: Option<Arc<ModelId>>,
    /// Those that look at the objects found.
    others: Vec<Arc<ModelId>>,
}

/// What identities have to forget because the model that said it is not there any more.
#[derive(Debug, Default)]
pub struct Stale {
    /// Names of the models whose attributes go.
    pub attributes: Vec<Arc<ModelId>>,
    /// Keypoints go: the first model or another one may have found them.
    pub keypoints: bool,
    /// Embeddings go, since those of two models cannot be compared: only models that look at objects make them.
    pub embeddings: bool,
}

impl Models {
    /// Takes in the models of the next result; `None` if none of them has been replaced since the last one. A model that
    /// is only missing is not replaced: it may come back.
    pub fn follow(&mut self, first: Option<&Arc<ModelId>>, others: &[Arc<ModelId>]) -> Option<Stale> {
        let mut stale = Stale::default();
        if let Some(first) = first.filter(|first| self.first.as_ref() != Some(first)) {
            stale.keypoints = self.first.replace(Arc::clone(first)).is_some();
        }
        if others.iter().any(|model| !self.others.contains(model)) {
            let before = std::mem::replace(&mut self.others, others.to_vec());
            stale.attributes = before.into_iter().filter(|model| !others.contains(model)).collect();
            stale.embeddings = !stale.attributes.is_empty();
            stale.keypoints |= stale.embeddings;
        }
        (stale.keypoints || stale.embeddings).then_some(stale)
    }
}
