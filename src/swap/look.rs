//! A model that looks at single pictures, with the steps of an element's frame but without a pipeline.

use std::time::{Duration, Instant};

use crate::engine::{EngineError, Io};
use crate::frame::{ColorMatrix, ColorRange, FrameInfo, FrameView, PixelFormat};
use crate::model::Model;
use crate::parity::Picture;
use crate::post::{GuardCounts, Scratch, Thresholds};
use crate::pre::{Border, Preprocessor};
use crate::result::{AbsentReason, FrameResult, Freshness};

/// Longest run of a model that looks at pictures, where nothing says otherwise.
pub const RUN_LIMIT: Duration = Duration::from_secs(60);

/// Why a model said nothing about a picture.
#[derive(Debug, thiserror::Error)]
pub enum LookError {
    /// The picture cannot be brought into the model's input.
    #[error("{0}")]
    Picture(String),
    /// The model or its runtime failed.
    #[error(transparent)]
    Engine(#[from] EngineError),
}

/// What a model says about one picture.
#[derive(Debug, Clone)]
pub struct Looked {
    /// What it found, marked as fresh.
    pub result: FrameResult,
    /// How long the run took.
    pub run: Duration,
    /// What was dropped as impossible.
    pub dropped: GuardCounts,
}

/// A model with the buffers of its runs.
pub struct Look<'a> {
    model: &'a Model,
    thresholds: Thresholds,
    pre: Preprocessor,
    io: Io,
    border: Border,
    scratch: Scratch,
}

impl<'a> Look<'a> {
    /// With `thresholds` in place of the bundle's.
    pub fn new(model: &'a Model, thresholds: Thresholds) -> Self {
        let pre = Preprocessor::new(model.input().clone());
        Self { model, thresholds, pre, io: model.io(), border: Border::default(), scratch: Scratch::default() }
    }

    /// Runs the model on a picture, for at most `limit` where the engine can be cut by its own clock (one in a process of
    /// its own can).
    ///
    /// # Errors
    /// [`LookError`] if the picture has a side of 0 or is too large, or if the model fails or answers in a shape that it
    /// did not promise.
    pub fn at(&mut self, picture: &Picture, limit: Duration) -> Result<Looked, LookError> {
        let bad = |e: &dyn std::fmt::Display| LookError::Picture(e.to_string());
        let size = |n: usize| u32::try_from(n).map_err(|e| bad(&e));
        let (width, height) = (size(picture.width)?, size(picture.height)?);
        let (range, matrix) = (ColorRange::Full, ColorMatrix::Bt601);
        let info = FrameInfo { format: PixelFormat::Rgb, width, height, range, matrix };
        let frame = FrameView::new(info, &[(&picture.rgb, picture.width * 3)]).map_err(|e| bad(&e))?;
        let post = self.model.post();
        let tensor = self.io.inputs.get_mut(post.image_input());
        let tensor = tensor.ok_or_else(|| LookError::Picture("the model has no input for pictures".into()))?;
        let geometry = self.pre.run(&frame, None, tensor, &mut self.border).map_err(|e| bad(&e))?;
        let start = Instant::now();
        self.model.lanes().engine().run(&mut self.io, Some(start + limit))?;
        let run = start.elapsed();
        let mut result = FrameResult {
            freshness: Freshness::Fresh,
            model: Some(self.model.id().clone()),
            ..FrameResult::absent(AbsentReason::NoModel, (width, height))
        };
        let place = (0, self.model.batch_of(1));
        let (outputs, scratch) = (&self.io.outputs, &mut self.scratch);
        let dropped = post.run_item(outputs, place, &self.thresholds, &geometry, scratch, &mut result);
        let dropped = dropped.map_err(|e| EngineError::Run(e.to_string()))?;
        Ok(Looked { result, run, dropped })
    }
}
