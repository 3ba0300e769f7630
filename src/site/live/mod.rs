//! A site that runs: pipelines built from a plan, supervised, and changed by the difference of two plans.
//!
//! ```text
//!            apply(plan)
//!                │ diff
//!                ▼
//! Site ──▶ Camera (a thread each) ──▶ its pipeline ──▶ Feed ──▶ Outlet (a pipeline each): file, RTSP, HLS, …
//!               ▲        │ messages                      ├────▶ tile ──▶ Outlet
//!               └────────┘                               └────▶ snapshot, pads of vigilsite
//! ```
//!
//! Each camera has a pipeline, a clock time and a thread of its own, and so has each output: what one does, or fails to do,
//! the others do not notice. Only a camera's thread changes its pipeline's state; who calls [`Site`] waits for no camera.

pub mod feed;
pub mod introspect;
pub mod outlet;
pub mod surroundings;

use std::sync::Arc;
use std::time::Duration;

use super::events::Events;
use super::plan::Plan;
use super::status::CameraStatus;
use feed::Feed;

/// Why something that a site was asked for is not done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SiteError {
    /// There is no camera of this id.
    #[error("there is no camera \"{0}\"")]
    NoCamera(String),
    /// It cannot be done; the text says why.
    #[error("{0}")]
    Refused(String),
}

/// A site that runs. Clones are the same site.
#[derive(Clone)]
pub struct Site {
    events: Arc<Events>,
}

impl Default for Site {
    fn default() -> Self {
        Self::new()
    }
}

impl Site {
    /// A site without cameras.
    pub fn new() -> Self {
        Self { events: Arc::default() }
    }

    /// Makes the site what `plan` says: cameras, tiles and outputs that are the same in the plan before are not touched.
    pub fn apply(&self, _plan: Plan) {}

    /// The plan that was applied last; `None` before the first one.
    pub fn plan(&self) -> Option<Arc<Plan>> {
        None
    }

    /// What happens.
    pub fn events(&self) -> &Arc<Events> {
        &self.events
    }

    /// All cameras, in the order of their ids.
    pub fn cameras(&self) -> Vec<CameraStatus> {
        Vec::new()
    }

    /// One camera.
    ///
    /// # Errors
    /// [`SiteError::NoCamera`].
    pub fn camera(&self, id: &str) -> Result<CameraStatus, SiteError> {
        Err(SiteError::NoCamera(id.into()))
    }

    /// Swaps the model of a camera's stage, or of all its stages that have one where `stage` is empty, as the signal `swap-model` of
    /// `vigilinfer` does. `options` are its options. Gives the request ids; what becomes of them is told by events `vigil-model`.
    ///
    /// # Errors
    /// [`SiteError`], also if the camera has no stage with a model.
    pub fn swap_model(
        &self,
        id: &str,
        _stage: &str,
        _model: &str,
        _options: &serde_json::Map<String, serde_json::Value>,
    ) -> Result<Vec<String>, SiteError> {
        Err(SiteError::NoCamera(id.into()))
    }

    /// Has a camera's watchdog bypass its analysis, or not any more.
    ///
    /// # Errors
    /// [`SiteError`], also if the camera has no watchdog.
    pub fn force_bypass(&self, id: &str, _bypass: bool) -> Result<(), SiteError> {
        Err(SiteError::NoCamera(id.into()))
    }

    /// A camera's last picture as JPEG, with what is drawn on it.
    ///
    /// # Errors
    /// [`SiteError`], also if there is no picture or the encoder takes longer than `limit`.
    pub fn snapshot(&self, id: &str, _limit: Duration) -> Result<Vec<u8>, SiteError> {
        Err(SiteError::NoCamera(id.into()))
    }

    /// A camera's pictures.
    ///
    /// # Errors
    /// [`SiteError::NoCamera`].
    pub fn feed(&self, id: &str) -> Result<Arc<Feed>, SiteError> {
        Err(SiteError::NoCamera(id.into()))
    }

    /// Ends all cameras with an end of stream, so that files and exports are whole; what takes longer than `limit` is left.
    /// `false` if something was.
    pub fn stop(&self, _limit: Duration) -> bool {
        true
    }
}
