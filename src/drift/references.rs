//! What bundles say their models usually say, by the digest of the weights: who loads a bundle puts it here, who watches predictions
//! finds it by the model that a frame's result names.

use std::collections::BTreeMap;
use std::sync::{LazyLock, Mutex, PoisonError};

use super::summary::Summary;

static KNOWN: LazyLock<Mutex<BTreeMap<String, Summary>>> = LazyLock::new(Default::default);

/// Makes a model's reference distribution known to this process; a later one for the same weights takes the place of an earlier one.
pub fn tell(digest: &str, reference: Summary) {
    KNOWN.lock().unwrap_or_else(PoisonError::into_inner).insert(digest.to_owned(), reference);
}

/// What is known about the model with these weights.
pub fn of(digest: &str) -> Option<Summary> {
    KNOWN.lock().unwrap_or_else(PoisonError::into_inner).get(digest).cloned()
}
