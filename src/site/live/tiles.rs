//! The tiles of a site: each composes while one of its outputs wants pictures.

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use super::feed::Feed;
use super::outlet::Outlets;
use super::outputs::{Outputs, Owner};
use super::tile::Tile;
use crate::gstutil::lock;
use crate::site::output::Output;
use crate::site::plan::TilePlan;
use crate::site::status::TileStatus;

/// What the thread that changes a tile's outputs shares with who tells it.
struct Work {
    outputs: Outputs,
    /// What they are to be; `None` once it has been done.
    wanted: Mutex<Option<Vec<Output>>>,
    /// Held while outputs end and begin.
    busy: Mutex<()>,
}

impl Work {
    fn catch_up(&self) {
        let _busy = lock(&self.busy);
        let wanted = lock(&self.wanted).take();
        if let Some(wanted) = wanted {
            self.outputs.set(&wanted);
        }
    }
}

/// A tile and its outputs.
pub struct Tiled {
    name: String,
    plan: TilePlan,
    tile: Tile,
    work: Arc<Work>,
}

impl Tiled {
    /// Starts the tile `name` of the cameras in `feeds`.
    pub fn start(name: &str, plan: &TilePlan, feeds: &BTreeMap<String, Arc<Feed>>, outlets: &Arc<Outlets>) -> Self {
        let tile = Tile::start(name, plan, of_cameras(plan, feeds));
        let outputs = Outputs::new(Owner::Tile(name.to_owned()), tile.feed(), outlets);
        let work = Arc::new(Work { outputs, wanted: Mutex::default(), busy: Mutex::default() });
        let new = Self { name: name.to_owned(), plan: plan.clone(), tile, work };
        new.want(plan.outputs.clone());
        new
    }

    /// Makes it what `plan` says, of the cameras that there are now.
    pub fn set(&mut self, plan: &TilePlan, feeds: &BTreeMap<String, Arc<Feed>>) {
        self.tile.set(plan, of_cameras(plan, feeds));
        let before = std::mem::replace(&mut self.plan, plan.clone());
        if before.outputs != plan.outputs {
            self.want(plan.outputs.clone());
        }
    }

    /// What it is.
    pub fn plan(&self) -> &TilePlan {
        &self.plan
    }

    /// Has a thread change the outputs: to end one may take a while.
    fn want(&self, outputs: Vec<Output>) {
        *lock(&self.work.wanted) = Some(outputs);
        let work = Arc::clone(&self.work);
        let spawned = thread::Builder::new().name("vigil-tile-out".into()).spawn(move || work.catch_up());
        if spawned.is_err() {
            self.work.catch_up();
        }
    }

    /// How it is doing.
    pub fn status(&self) -> TileStatus {
        TileStatus {
            name: self.name.clone(),
            cameras: self.plan.cameras.clone(),
            size: self.plan.size,
            outputs: self.work.outputs.status(),
        }
    }

    /// Its pictures.
    pub fn feed(&self) -> &Arc<Feed> {
        self.tile.feed()
    }

    /// Has it end, on a thread of its own; what is sent then says whether all of it was over within `limit`.
    pub fn stop(self, limit: Duration) -> Receiver<bool> {
        let (sender, receiver) = channel();
        let end = move || {
            let until = Instant::now() + limit;
            *lock(&self.work.wanted) = None;
            // Outputs that are ending just now end before.
            let _busy = lock(&self.work.busy);
            let _ = sender.send(self.work.outputs.stop(until.saturating_duration_since(Instant::now())));
        };
        // Without a thread its outputs end by themselves, with nobody waiting.
        let _ = thread::Builder::new().name("vigil-tile-end".into()).spawn(end);
        receiver
    }
}

fn of_cameras(plan: &TilePlan, feeds: &BTreeMap<String, Arc<Feed>>) -> Vec<(String, Arc<Feed>)> {
    plan.cameras.iter().filter_map(|id| Some((id.clone(), Arc::clone(feeds.get(id)?)))).collect()
}
