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
mod even;
pub mod feed;
pub mod intake;
pub mod introspect;
pub mod json;
pub mod keeper;
pub mod load;
mod machine;
pub mod names;
pub mod outlet;
mod outlets;
pub mod outputs;
pub mod picture;
mod reporter;
pub mod rtsp;
pub mod run;
pub mod sink;
pub mod snapshot;
pub mod surroundings;
pub mod tile;
pub mod tiles;

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, TryRecvError, channel};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use super::description::TelemetryTo;
use super::diff::{self, Change};
use super::events::Events;
use super::plan::Plan;
use super::status::{CameraStatus, State as CameraState, TileStatus};
use crate::drift::PeerReport;
use crate::engine::heap;
use crate::gstutil::lock;
use crate::telemetry::device::Watch;
use camera::Camera;
use feed::Feed;
use keeper::Command;
use outlet::Outlets;
use reporter::Running as Reporting;
use run::Order;
use tiles::Tiled;

/// How long a pipeline or an output that is to end holds up what comes after it.
const END_LIMIT: Duration = Duration::from_secs(5);
/// How long those that end by a certain time may take on top of it to tell what has become of them.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// How long a camera's stages have for their statistics.
const ASK_LIMIT: Duration = Duration::from_millis(250);
/// How long a camera's pipeline has to answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);

/// The time by which pipelines of a site understand each other: nanoseconds of the system's monotonic clock.
pub fn now() -> u64 {
    intake::now().nseconds()
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
    tiles: BTreeMap<String, Tiled>,
    outlets: Option<Arc<Outlets>>,
    /// Cameras that were removed, and tell when they are over.
    leaving: BTreeMap<String, Receiver<bool>>,
    /// The same of tiles, and of what sent telemetry.
    leaving_tiles: Vec<Receiver<bool>>,
    /// What compares cameras, and sends telemetry and events where they are sent.
    reporter: Option<Reporting>,
    /// It has ended for good.
    closed: bool,
}

/// Whether the end that `over` tells of is still to come.
fn is_to_come(over: &Receiver<bool>) -> bool {
    matches!(over.try_recv(), Err(TryRecvError::Empty))
}

impl State {
    /// Has made what is different in another plan.
    fn follow(&mut self, plan: Plan, inner: &Arc<Inner>) {
        let events = &inner.events;
        if self.closed {
            return;
        }
        let empty = Plan {
            name: String::new(),
            api: plan.api.clone(),
            rtsp: plan.rtsp.clone(),
            telemetry: TelemetryTo::default(),
            cameras: BTreeMap::new(),
            tiles: BTreeMap::new(),
        };
        let mut changes = diff::diff(self.plan.as_deref().unwrap_or(&empty), &plan);
        // Records are named after the site.
        if self.plan.as_ref().is_some_and(|before| before.name != plan.name && before.telemetry == plan.telemetry) {
            changes.push(Change::Telemetry(plan.telemetry.clone()));
        }
        let plan = Arc::new(plan);
        self.plan = Some(Arc::clone(&plan));
        self.outlets.get_or_insert_with(|| Outlets::new(&plan, Arc::clone(events)));
        let moved = |change: &Change| matches!(change, Change::AddCamera { .. } | Change::RemoveCamera { .. });
        let moves = changes.iter().any(moved);
        // Before cameras come, so that it hears of them.
        self.report(inner, changes.iter().any(|change| matches!(change, Change::Telemetry(_))));
        for change in changes {
            self.make(change, &inner.events);
        }
        if moves {
            self.lay_out();
        }
    }

    /// Has one change made. Cameras do it on their own threads, one after the other.
    fn make(&mut self, change: Change, events: &Arc<Events>) {
        let tell = |id: &str, command: Command| {
            if let Some(camera) = self.cameras.get(id) {
                camera.command(command);
            }
        };
        match change {
            Change::RemoveCamera { id } => {
                if let Some(camera) = self.cameras.remove(&id) {
                    let over = camera.stop(END_LIMIT);
                    self.leaving.retain(|_, over| is_to_come(over));
                    self.leaving.insert(id, over);
                }
            }
            Change::AddCamera { id, plan } => {
                if let Some(outlets) = &self.outlets {
                    let before = self.leaving.remove(&id);
                    let camera = Arc::new(Camera::new(&id, *plan, events, outlets, before));
                    self.cameras.insert(id, camera);
                }
            }
            Change::RebuildCamera { id, plan, .. } => tell(&id, Command::Plan(plan)),
            Change::SetProperty { id, stage, property, value } => tell(&id, Command::Set(stage, property, value)),
            Change::Enable { id, enabled } => tell(&id, Command::Enable(enabled)),
            Change::Outputs { id, outputs } => tell(&id, Command::Outputs(outputs)),
            Change::Rtsp(server) => {
                if let Some(outlets) = &self.outlets {
                    outlets.set_rtsp(&server);
                }
            }
            Change::RemoveTile { name } => {
                if let Some(tile) = self.tiles.remove(&name) {
                    self.leaving_tiles.retain(is_to_come);
                    self.leaving_tiles.push(tile.stop(END_LIMIT));
                }
            }
            Change::AddTile { name, plan } => {
                if let Some(outlets) = &self.outlets {
                    let tile = Tiled::start(&name, &plan, &self.feeds(), outlets);
                    self.tiles.insert(name, tile);
                }
            }
            Change::ChangeTile { name, plan } => {
                let feeds = self.feeds();
                if let Some(tile) = self.tiles.get_mut(&name) {
                    tile.set(&plan, &feeds);
                }
            }
            // Whoever shows or serves the site reads them in its plan; telemetry has been seen to.
            Change::Name(_) | Change::Api(_) | Change::Telemetry(_) => {}
        }
    }

    /// Has cameras compared and telemetry sent as the plan says; `anew`: otherwise than before.
    fn report(&mut self, inner: &Arc<Inner>, anew: bool) {
        let Some(plan) = &self.plan else { return };
        let wanted = reporter::is_wanted(plan);
        if let Some(earlier) = self.reporter.take_if(|_| anew || !wanted) {
            self.leaving_tiles.push(earlier.stop(END_LIMIT));
        }
        if wanted && self.reporter.is_none() {
            self.reporter = Reporting::start(inner, &plan.name, plan.telemetry.clone());
        }
    }

    fn feeds(&self) -> BTreeMap<String, Arc<Feed>> {
        self.cameras.iter().map(|(id, camera)| (id.clone(), Arc::clone(camera.feed()))).collect()
    }

    /// Has tiles show the cameras that there are now: one that was removed and added again has another feed.
    fn lay_out(&mut self) {
        let feeds = self.feeds();
        for tile in self.tiles.values_mut() {
            let plan = tile.plan().clone();
            tile.set(&plan, &feeds);
        }
    }
}

#[derive(Default)]
struct Inner {
    events: Arc<Events>,
    /// Held for bookkeeping only: what it leads to happens on the cameras' threads.
    state: Mutex<State>,
    /// What reads the machine, once somebody wants to know; `None` inside if the system gave no thread.
    machine: OnceLock<Option<Watch>>,
}

/// A site that runs. Clones are the same site.
#[derive(Clone, Default)]
pub struct Site(Arc<Inner>);

impl Site {
    /// A site without cameras. As cameras come and go in this process, the C library is told to keep little of freed memory.
    pub fn new() -> Self {
        heap::keep_little();
        Self::default()
    }

    /// Makes the site what `plan` says: cameras, tiles and outputs that are the same in the plan before are not touched.
    pub fn apply(&self, plan: Plan) {
        lock(&self.0.state).follow(plan, &self.0);
    }

    /// Puts the plan of the same description in place of `before`, on a machine that has something more or less since: what was switched on
    /// or off stays so. Nothing is done if another plan was applied meanwhile.
    pub fn renew(&self, before: &Arc<Plan>, mut plan: Plan) {
        for (id, camera) in &mut plan.cameras {
            if let Some(before) = before.cameras.get(id) {
                camera.enabled = before.enabled;
            }
        }
        let mut state = lock(&self.0.state);
        if state.plan.as_ref().is_some_and(|running| Arc::ptr_eq(running, before)) {
            state.follow(plan, &self.0);
        }
    }

    /// Switches a camera on or off, until a plan says otherwise.
    ///
    /// # Errors
    /// [`SiteError::NoCamera`].
    pub fn enable(&self, id: &str, enabled: bool) -> Result<(), SiteError> {
        // Under one lock: a plan that is applied meanwhile must not be undone.
        let mut state = lock(&self.0.state);
        let mut plan = state.plan.as_deref().cloned();
        let camera = plan.as_mut().and_then(|plan| plan.cameras.get_mut(id));
        camera.ok_or_else(|| SiteError::NoCamera(id.into()))?.enabled = enabled;
        if let Some(plan) = plan {
            state.follow(plan, &self.0);
        }
        Ok(())
    }

    /// All tiles, in the order of their names.
    pub fn tiles(&self) -> Vec<TileStatus> {
        lock(&self.0.state).tiles.values().map(Tiled::status).collect()
    }

    /// How cameras with a stage `vigildrift` stand among their peers, by id, when they were last compared: once a minute or more often.
    pub fn peers(&self) -> BTreeMap<String, PeerReport> {
        lock(&self.0.state).reporter.as_ref().map(Reporting::standings).unwrap_or_default()
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

    /// What all cameras are doing, in the order of their ids. No pipeline is asked: this waits for nothing.
    pub fn states(&self) -> Vec<CameraState> {
        lock(&self.0.state).cameras.values().map(|camera| camera.state()).collect()
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

    /// Has a camera's stages `vigildrift` forget what is usual, and learn it anew from what comes now: for when the camera was moved.
    ///
    /// # Errors
    /// [`SiteError`], also if the camera has no such stage.
    pub fn relearn(&self, id: &str) -> Result<(), SiteError> {
        let camera = self.find(id)?;
        ask(&camera, Order::Relearn)?
    }

    /// A camera's last picture as JPEG, with what is drawn on it.
    ///
    /// # Errors
    /// [`SiteError`], also if there is no picture or the encoder takes longer than `limit`.
    pub fn snapshot(&self, id: &str, limit: Duration) -> Result<Vec<u8>, SiteError> {
        let frame =
            self.feed(id)?.latest().ok_or_else(|| SiteError::Refused("the camera has no picture yet".into()))?;
        snapshot::jpeg(&frame, limit).map_err(SiteError::Refused)
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
        // In a statement of its own: who asks meanwhile does not wait.
        let state = std::mem::take(&mut *lock(&self.0.state));
        Self::end(state, limit)
    }

    /// The same for good: plans that are applied later are nobody's.
    pub fn close(&self, limit: Duration) -> bool {
        let closed = State { closed: true, ..State::default() };
        let state = std::mem::replace(&mut *lock(&self.0.state), closed);
        Self::end(state, limit)
    }

    fn end(state: State, limit: Duration) -> bool {
        let State { cameras, tiles, leaving, leaving_tiles, reporter, .. } = state;
        let left_before = leaving.into_values().chain(leaving_tiles).filter(is_to_come);
        let until = Instant::now() + limit + LAST_WORDS;
        // All at once, then one after the other until the time is over; what was removed before may still be ending.
        let mut ends: Vec<_> = cameras.values().map(|camera| camera.stop(limit)).collect();
        ends.extend(tiles.into_values().map(|tile| tile.stop(limit)));
        ends.extend(left_before);
        let left = || until.saturating_duration_since(Instant::now());
        let ended = ends.iter().filter(|end| !end.recv_timeout(left()).unwrap_or(false)).count() == 0;
        // Last, since it tells how the cameras have ended.
        let told = reporter.map(|reporter| reporter.stop(left().min(END_LIMIT)));
        ended & told.is_none_or(|told| told.recv_timeout(left()).unwrap_or(false))
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
