//! What a candidate must have to count.

use super::PostError;
use crate::bundle::contract::OutputContract;

/// The thresholds of one run: the bundle's, after an element's overrides.
#[derive(Debug, PartialEq)]
pub struct Thresholds {
    /// Lowest confidence that counts, 0..1.
    pub confidence: f32,
    /// Boxes of one class that overlap more than this (IoU, 0..1) are one object.
    pub iou: f32,
    /// Lowest confidence by class id; classes past its end take `confidence`.
    pub per_class: Vec<f32>,
    /// Most objects a frame may have; the most confident are kept.
    pub max_objects: usize,
    /// NMS over all classes together.
    pub class_agnostic: bool,
}

impl Clone for Thresholds {
    fn clone(&self) -> Self {
        Self { per_class: self.per_class.clone(), ..*self }
    }

    /// Keeps the memory of `per_class`: every frame starts from the bundle's thresholds.
    fn clone_from(&mut self, source: &Self) {
        let mut per_class = std::mem::take(&mut self.per_class);
        per_class.clone_from(&source.per_class);
        *self = Self { per_class, ..*source };
    }
}

impl Thresholds {
    /// Sets the lowest confidence of every class, those with a value of their own too.
    pub fn set_confidence(&mut self, confidence: f32) {
        self.confidence = confidence;
        self.per_class.fill(confidence);
    }

    /// The lowest confidence that counts for a class.
    pub fn of(&self, class_id: u32) -> f32 {
        self.per_class.get(class_id as usize).copied().unwrap_or(self.confidence)
    }

    /// No class accepts less than this.
    pub fn lowest(&self) -> f32 {
        self.per_class.iter().copied().fold(self.confidence, f32::min)
    }

    /// Whether a score counts for a class. NaN does, so that the guard sees and counts it.
    pub fn accepts(&self, class_id: u32, score: f32) -> bool {
        score.is_nan() || score >= self.of(class_id)
    }
}

/// The contract's thresholds by class.
pub(super) fn resolve(output: &OutputContract, classes: usize) -> Result<Thresholds, PostError> {
    let mut per_class = vec![output.confidence; classes];
    for (class_id, confidence) in &output.per_class {
        match per_class.get_mut(*class_id as usize) {
            Some(slot) => *slot = *confidence,
            None => {
                return Err(PostError::Contract {
                    key: "per-class",
                    why: format!("there is no class {class_id}, the model has {classes}; name one of the labels"),
                });
            }
        }
    }
    Ok(Thresholds {
        confidence: output.confidence,
        iou: output.iou,
        per_class,
        max_objects: output.max_objects,
        class_agnostic: output.class_agnostic,
    })
}
