//! From a record back to a frame result: for what works on records that were written before.

use std::sync::Arc;

use super::{Freshness, Object, Reason, Record, State};
use crate::result::{self, AbsentReason, BBox, FrameClass, FrameResult, ModelId, TrackState};

impl Record<'_> {
    /// What the record says, as a frame result. Masks, embeddings and wall clock times, which records have in other forms, are left out.
    pub fn to_result(&self) -> FrameResult {
        let reason = match &self.freshness {
            Freshness::Absent { reason, .. } => (*reason).into(),
            Freshness::Fresh | Freshness::Held { .. } => AbsentReason::Skipped,
        };
        let model = |model: &super::Model<'_>| {
            let (name, release) = (model.name.to_string(), model.release.to_string());
            Arc::new(ModelId { name, release, digest: model.digest.to_string() })
        };
        let class = |class: &super::Class<'_>| FrameClass {
            class_id: class.class_id,
            label: (&*class.label).into(),
            confidence: class.confidence,
        };
        FrameResult {
            frame: self.frame,
            pts_ns: self.pts_ns,
            running_time_ns: self.running_time_ns,
            model: self.model.as_ref().map(model),
            freshness: match &self.freshness {
                Freshness::Fresh => result::Freshness::Fresh,
                Freshness::Held { age_ms } => result::Freshness::Held { age_ns: age_ms.saturating_mul(1_000_000) },
                Freshness::Absent { .. } => result::Freshness::Absent(reason),
            },
            objects: self.objects.iter().map(Object::to_result).collect(),
            classes: self.classes.iter().map(class).collect(),
            secondary: self.secondary_models.iter().map(model).collect(),
            ..FrameResult::absent(reason, (self.source.width, self.source.height))
        }
    }
}

impl Object<'_> {
    fn to_result(&self) -> result::Object {
        let bbox = BBox { x: self.bbox.x, y: self.bbox.y, w: self.bbox.w, h: self.bbox.h };
        let mut object = result::Object::new(self.id, self.class_id, (&*self.label).into(), self.confidence, bbox);
        object.track = self.track.map(|track| result::Track {
            id: track.id,
            state: match track.state {
                State::Tentative => TrackState::Tentative,
                State::Confirmed => TrackState::Confirmed,
                State::Predicted => TrackState::Predicted,
            },
            age_ns: track.age_ms.saturating_mul(1_000_000),
            unseen_ns: track.unseen_ms.saturating_mul(1_000_000),
            velocity: (track.velocity.x, track.velocity.y),
        });
        let attribute = |a: &super::Attribute<'_>| result::Attribute {
            name: (&*a.name).into(),
            label: (&*a.label).into(),
            confidence: a.confidence,
        };
        object.attributes = self.attributes.iter().map(attribute).collect();
        let point = |k: &super::Keypoint| result::Keypoint { x: k.x, y: k.y, confidence: k.confidence };
        object.keypoints = self.keypoints.iter().map(point).collect();
        object.corners = self.corners.map(|corners| corners.map(|point| (point.x, point.y)));
        object.parent = self.parent;
        object
    }
}

impl From<Reason> for AbsentReason {
    fn from(reason: Reason) -> Self {
        match reason {
            Reason::Skipped => Self::Skipped,
            Reason::NoModel => Self::NoModel,
            Reason::EngineError => Self::EngineError,
            Reason::EngineRestarting => Self::EngineRestarting,
            Reason::Deadline => Self::Deadline,
            Reason::BadFrame => Self::BadFrame,
            Reason::ChainError => Self::ChainError,
            Reason::Starting => Self::Starting,
            Reason::Maintenance => Self::Maintenance,
        }
    }
}
