//! The buffers of one run, and its steps.

use std::sync::Arc;
use std::time::Instant;

use super::{Settings, Stats, nanos};
use crate::engine::{Engine, EngineError, Io};
use crate::frame::FrameView;
use crate::model::Model;
use crate::post::{Scratch, Thresholds};
use crate::pre::geometry::Geometry;
use crate::pre::{Border, PreError, Preprocessor};
use crate::result::FrameResult;

/// Everything that one frame needs on its way through the model; used again for later frames.
pub(super) struct Job {
    model: Arc<Model>,
    pre: Preprocessor,
    io: Io,
    border: Border,
    geometry: Geometry,
    own_thresholds: Thresholds,
    thresholds: Thresholds,
    scratch: Scratch,
}

impl Job {
    pub(super) fn new(model: &Arc<Model>) -> Self {
        let input = model.input();
        let thresholds = model.post().thresholds();
        Self {
            pre: Preprocessor::new(input.clone()),
            io: model.io(),
            border: Border::default(),
            geometry: Geometry::new(input, input.width, input.height, None),
            own_thresholds: thresholds.clone(),
            thresholds,
            scratch: Scratch::default(),
            model: Arc::clone(model),
        }
    }

    pub(super) fn model(&self) -> &Arc<Model> {
        &self.model
    }

    /// Brings the frame into the input tensor.
    pub(super) fn fill(&mut self, frame: &FrameView<'_>, settings: &Settings) -> Result<(), PreError> {
        self.thresholds.clone_from(&self.own_thresholds);
        if let Some(confidence) = settings.confidence {
            self.thresholds.set_confidence(confidence);
        }
        if let Some(iou) = settings.iou {
            self.thresholds.iou = iou;
        }
        if let Some(max) = settings.max_objects {
            self.thresholds.max_objects = max;
        }
        if let Some(input) = self.io.inputs.get_mut(self.model.post().image_input()) {
            self.geometry = self.pre.run(frame, None, input, &mut self.border)?;
        }
        Ok(())
    }

    /// Runs the model and reads its answer into `result`.
    pub(super) fn run(
        &mut self,
        engine: &dyn Engine,
        stats: &Stats,
        result: &mut FrameResult,
    ) -> Result<(), EngineError> {
        let start = Instant::now();
        engine.run(&mut self.io)?;
        stats.run.record(nanos(start));
        let start = Instant::now();
        let dropped = self
            .model
            .post()
            .run(&self.io.outputs, &self.thresholds, &self.geometry, &mut self.scratch, result)
            .map_err(|e| EngineError::Run(e.to_string()))?;
        stats.post.record(nanos(start));
        stats.guard(&dropped);
        Ok(())
    }
}
