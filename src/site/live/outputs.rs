//! The outputs of one camera or tile.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::END_LIMIT;
use super::feed::Feed;
use super::outlet::{Outlet, Outlets};
use crate::gstutil::lock;
use crate::site::output::Output;
use crate::site::status::OutputStatus;

/// Whose outputs they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Owner {
    /// A camera's, by its id.
    Camera(String),
    /// A tile's, by its name: events of them are the site's.
    Tile(String),
}

/// The outputs of one camera or tile, at work.
pub struct Outputs {
    owner: Owner,
    feed: Arc<Feed>,
    outlets: Arc<Outlets>,
    running: Mutex<Vec<Outlet>>,
}

impl Outputs {
    /// None yet.
    pub fn new(owner: Owner, feed: &Arc<Feed>, outlets: &Arc<Outlets>) -> Self {
        Self { owner, feed: Arc::clone(feed), outlets: Arc::clone(outlets), running: Mutex::default() }
    }

    /// Makes them those of `planned`: the same go on; those that are not any more end before others begin, which may want
    /// their place. Takes as long as that takes; it is called on one thread at a time.
    pub fn set(&self, planned: &[Output]) {
        let mut wanted = planned.to_vec();
        let before = std::mem::take(&mut *lock(&self.running));
        let (mut kept, mut gone) = (Vec::new(), Vec::new());
        for outlet in before {
            match wanted.iter().position(|output| output == outlet.output()) {
                Some(at) => {
                    wanted.remove(at);
                    kept.push(outlet);
                }
                None => gone.push(outlet),
            }
        }
        *lock(&self.running) = kept;
        Outlet::stop_all(gone, END_LIMIT);
        for output in &wanted {
            let outlet = match &self.owner {
                Owner::Camera(id) => self.outlets.start(id, output, &self.feed),
                Owner::Tile(name) => self.outlets.start_tile(name, output, &self.feed),
            };
            lock(&self.running).push(outlet);
        }
        let place = |output: &Output| planned.iter().position(|planned| planned == output);
        lock(&self.running).sort_by_key(|outlet| place(outlet.output()));
    }

    /// How they are doing, in the order of the plan.
    pub fn status(&self) -> Vec<OutputStatus> {
        lock(&self.running).iter().map(Outlet::status).collect()
    }

    /// Ends them all; `false` if one took longer than `limit`, and was left.
    pub fn stop(&self, limit: Duration) -> bool {
        let outlets = std::mem::take(&mut *lock(&self.running));
        Outlet::stop_all(outlets, limit)
    }
}
