//! Where an element keeps its current model.

use std::sync::{Arc, PoisonError, RwLock};

use crate::model::Model;

/// Holds the model that the next frame will use. Frames under way keep the one that they started with, so a model can
/// be replaced between two frames without waiting for either.
#[derive(Debug, Default)]
pub struct Slot(RwLock<Option<Arc<Model>>>);

impl Slot {
    /// The model for the next frame.
    pub fn get(&self) -> Option<Arc<Model>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether there is no model.
    pub fn is_empty(&self) -> bool {
        self.0.read().unwrap_or_else(PoisonError::into_inner).is_none()
    }

    /// Puts `model` in place of the current one, which is returned.
    pub fn replace(&self, model: Option<Arc<Model>>) -> Option<Arc<Model>> {
        std::mem::replace(&mut *self.0.write().unwrap_or_else(PoisonError::into_inner), model)
    }
}
