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

pub mod build;
pub mod bus;
pub mod camera;
pub mod feed;
pub mod intake;
pub mod json;
pub mod keeper;
pub mod outlet;
mod outlets;
pub mod picture;
pub mod rtsp;
pub mod run;
pub mod secret;
pub mod sink;
pub mod snapshot;
mod stand_in;
pub mod tile;

use std::collections::BTreeMap;
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use gst::prelude::*;

use super::events::Events;
use super::plan::{CameraPlan, Plan};
use super::status::CameraStatus;
use crate::gstutil::lock;
use camera::Camera;
use feed::Feed;
use keeper::Command;
use outlet::Outlets;
use run::Order;

/// How long a pipeline or an output that is to end holds up what comes after it.
const END_LIMIT: Duration = Duration::from_secs(5);
/// How long a camera's stages have for their statistics.
const ASK_LIMIT: Duration = Duration::from_millis(250);
/// How long a camera's pipeline has to answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);

/// The time by which pipelines of a site understand each other: nanoseconds of the system's monotonic clock.
pub fn now() -> u64 {
    gst::SystemClock::obtain().time().nseconds()
}

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

#[derive(Default)]
struct State {
    plan: Option<Arc<Plan>>,
    cameras: BTreeMap<String, Arc<Camera>>,
    outlets: Option<Arc<Outlets>>,
}

#[derive(Default)]
struct Inner {
    events: Arc<Events>,
    /// Held for bookkeeping only: what it leads to happens on the cameras' threads.
    state: Mutex<State>,
}

/// A site that runs. Clones are the same site.
#[derive(Clone, Default)]
pub struct Site(Arc<Inner>);

impl Site {
    /// A site without cameras.
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes the site what `plan` says: cameras, tiles and outputs that are the same in the plan before are not touched.
    pub fn apply(&self, plan: Plan) {
        let mut state = lock(&self.0.state);
        let plan = Arc::new(plan);
        let before = state.plan.replace(Arc::clone(&plan));
        let events = &self.0.events;
        let outlets = Arc::clone(state.outlets.get_or_insert_with(|| Outlets::new(&plan, Arc::clone(events))));
        state.cameras.retain(|id, _| plan.cameras.contains_key(id));
        for (id, camera) in &plan.cameras {
            let was = before.as_ref().and_then(|before| before.cameras.get(id));
            match state.cameras.get(id).zip(was) {
                Some((running, was)) => change(running, was, camera),
                None => {
                    let new = Camera::new(id, camera.clone(), events, &outlets);
                    state.cameras.insert(id.clone(), Arc::new(new));
                }
            }
        }
    }

    /// The plan that was applied last; `None` before the first one.
    pub fn plan(&self) -> Option<Arc<Plan>> {
        lock(&self.0.state).plan.clone()
    }

    /// What happens.
    pub fn events(&self) -> &Arc<Events> {
        &self.0.events
    }

    fn find(&self, id: &str) -> Result<Arc<Camera>, SiteError> {
        lock(&self.0.state).cameras.get(id).cloned().ok_or_else(|| SiteError::NoCamera(id.into()))
    }

    /// All cameras, in the order of their ids.
    pub fn cameras(&self) -> Vec<CameraStatus> {
        let cameras: Vec<_> = lock(&self.0.state).cameras.values().cloned().collect();
        let until = Instant::now() + ASK_LIMIT;
        let asked: Vec<_> = cameras.iter().map(|camera| camera.ask()).collect();
        let answers = cameras.iter().zip(asked);
        answers.map(|(camera, asked)| camera.status(asked, until.saturating_duration_since(Instant::now()))).collect()
    }

    /// One camera.
    ///
    /// # Errors
    /// [`SiteError::NoCamera`].
    pub fn camera(&self, id: &str) -> Result<CameraStatus, SiteError> {
        let camera = self.find(id)?;
        let asked = camera.ask();
        Ok(camera.status(asked, ASK_LIMIT))
    }

    /// Swaps the model of a camera's stage, or of all its stages that have one where `stage` is empty, as the signal `swap-model` of
    /// `vigilinfer` does. `options` are its options. Gives the request ids; what becomes of them is told by events `vigil-model`, in
    /// the field `request`.
    ///
    /// # Errors
    /// [`SiteError`], also if the camera has no stage with a model.
    pub fn swap_model(
        &self,
        id: &str,
        stage: &str,
        model: &str,
        options: &serde_json::Map<String, serde_json::Value>,
    ) -> Result<Vec<String>, SiteError> {
        let camera = self.find(id)?;
        let options = json::to_options(options).map_err(SiteError::Refused)?;
        ask(&camera, |answer| Order::Swap(stage.to_owned(), model.to_owned(), options, answer))?
    }

    /// Has a camera's watchdog bypass its analysis, or not any more.
    ///
    /// # Errors
    /// [`SiteError`], also if the camera has no watchdog.
    pub fn force_bypass(&self, id: &str, bypass: bool) -> Result<(), SiteError> {
        let camera = self.find(id)?;
        let watchdog = camera.watchdog().ok_or_else(|| SiteError::Refused("the camera has no watchdog".into()))?;
        ask(&camera, |answer| Order::Bypass(watchdog, bypass, answer))?
    }

    /// A camera's last picture as JPEG, with what is drawn on it.
    ///
    /// # Errors
    /// [`SiteError`], also if there is no picture or the encoder takes longer than `limit`.
    pub fn snapshot(&self, id: &str, limit: Duration) -> Result<Vec<u8>, SiteError> {
        let frame =
            self.feed(id)?.latest().ok_or_else(|| SiteError::Refused("the camera has no picture yet".into()))?;
        let limit = gst::ClockTime::try_from(limit).unwrap_or(gst::ClockTime::MAX);
        let caps = gst::Caps::builder("image/jpeg").build();
        let made = gst_video::convert_sample(&frame.sample, &caps, Some(limit));
        let refused = |error: &dyn std::fmt::Display| SiteError::Refused(format!("no JPEG can be made: {error}"));
        let sample = made.map_err(|error| refused(&error))?;
        let buffer = sample.buffer().ok_or_else(|| refused(&"the encoder gave nothing"))?;
        Ok(buffer.map_readable().map_err(|error| refused(&error))?.to_vec())
    }

    /// A camera's pictures.
    ///
    /// # Errors
    /// [`SiteError::NoCamera`].
    pub fn feed(&self, id: &str) -> Result<Arc<Feed>, SiteError> {
        self.find(id).map(|camera| Arc::clone(camera.feed()))
    }

    /// Ends all cameras with an end of stream, so that files and exports are whole; what takes longer than `limit` is left.
    /// `false` if something was. A plan that is applied later begins anew.
    pub fn stop(&self, limit: Duration) -> bool {
        let cameras = {
            let mut state = lock(&self.0.state);
            state.plan = None;
            state.outlets = None;
            std::mem::take(&mut state.cameras)
        };
        let until = Instant::now() + limit;
        // All at once, then one after the other until the time is over.
        let stopping: Vec<_> = cameras.values().map(|camera| camera.stop(limit)).collect();
        let left = |until: Instant| until.saturating_duration_since(Instant::now());
        stopping.iter().fold(true, |all, ended| ended.recv_timeout(left(until)).unwrap_or(false) && all)
    }
}

/// Asks a camera's pipeline, and waits for the answer within bounds.
fn ask<T>(camera: &Camera, order: impl FnOnce(std::sync::mpsc::Sender<T>) -> Order) -> Result<T, SiteError> {
    let (sender, receiver) = channel();
    let refused = |text: &str| SiteError::Refused(text.into());
    if !camera.order(order(sender)) {
        return Err(refused("the camera is not running just now"));
    }
    receiver.recv_timeout(ANSWER_LIMIT).map_err(|_| refused("the camera's pipeline did not answer in time"))
}

/// Does what is different between two plans of a camera.
fn change(camera: &Camera, from: &CameraPlan, to: &CameraPlan) {
    let same = |from: &CameraPlan| CameraPlan { enabled: to.enabled, outputs: to.outputs.clone(), ..from.clone() };
    if same(from) != *to {
        return camera.command(Command::Plan(Box::new(to.clone())));
    }
    if from.outputs != to.outputs {
        camera.command(Command::Outputs(to.outputs.clone()));
    }
    if from.enabled != to.enabled {
        camera.command(Command::Enable(to.enabled));
    }
}
