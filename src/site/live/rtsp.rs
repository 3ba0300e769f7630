//! The RTSP server that outputs are mounted on.
//!
//! A mount costs nothing until a client comes: then the pictures are encoded, once for all clients of the mount, until the last
//! one has gone.

#[cfg(feature = "rtsp-server")]
mod factory;
#[cfg(feature = "rtsp-server")]
mod serving;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::feed::Feed;
use super::outlets::report::Report;
use crate::site::description::RtspServer;
use crate::site::output::Encode;

/// What is mounted.
pub(super) struct Mounted {
    /// Its path.
    pub path: String,
    /// How it is encoded.
    pub encode: Encode,
    /// How it is doing.
    pub report: Arc<Report>,
    /// What it shows.
    pub feed: Arc<Feed>,
}

struct State {
    config: RtspServer,
    mounts: BTreeMap<String, Arc<Mounted>>,
    #[cfg(feature = "rtsp-server")]
    serving: Option<serving::Serving>,
}

/// The server; it runs while something is mounted.
pub struct Server(Mutex<State>);

/// A mount; it goes when this is dropped, and its clients with it.
pub struct Mount {
    server: Arc<Server>,
    mounted: Arc<Mounted>,
}

impl Server {
    /// One that does not run yet.
    pub fn new(config: RtspServer) -> Arc<Self> {
        Arc::new(Self(Mutex::new(State {
            config,
            mounts: BTreeMap::new(),
            #[cfg(feature = "rtsp-server")]
            serving: None,
        })))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Mounts `feed` at `path`.
    pub fn mount(self: &Arc<Self>, path: &str, encode: &Encode, report: &Arc<Report>, feed: &Arc<Feed>) -> Mount {
        let mounted = Arc::new(Mounted {
            path: if path.starts_with('/') { path.to_owned() } else { format!("/{path}") },
            encode: encode.clone(),
            report: Arc::clone(report),
            feed: Arc::clone(feed),
        });
        let mut state = self.lock();
        if state.mounts.contains_key(&mounted.path) {
            drop(state);
            report.set_error(&format!("another output has the mount {} already", mounted.path));
        } else {
            state.mounts.insert(mounted.path.clone(), Arc::clone(&mounted));
            state.add(&mounted);
        }
        Mount { server: Arc::clone(self), mounted }
    }

    /// Runs as `config` says from now on.
    pub fn set(&self, config: &RtspServer) {
        let mut state = self.lock();
        if state.config != *config {
            state.config = config.clone();
            state.restart();
        }
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let mut state = self.server.lock();
        // A second output of the same path was never mounted.
        if state.mounts.get(&self.mounted.path).is_some_and(|there| Arc::ptr_eq(there, &self.mounted)) {
            state.mounts.remove(&self.mounted.path);
            state.remove(&self.mounted);
        }
    }
}

#[cfg(feature = "rtsp-server")]
impl State {
    fn add(&mut self, mounted: &Arc<Mounted>) {
        match &self.serving {
            Some(serving) => serving.add(mounted),
            None => self.restart(),
        }
    }

    fn remove(&mut self, mounted: &Arc<Mounted>) {
        if self.mounts.is_empty() {
            self.serving = None;
        } else if let Some(serving) = &self.serving {
            serving.remove(mounted);
        }
    }

    /// Only messages to the server's thread are sent here, which does the work.
    fn restart(&mut self) {
        self.serving = None;
        if !self.mounts.is_empty() {
            self.serving = Some(serving::Serving::start(&self.config, self.mounts.values()));
        }
    }
}

#[cfg(not(feature = "rtsp-server"))]
impl State {
    fn add(&mut self, mounted: &Arc<Mounted>) {
        mounted.report.set_error("Vigil was built without its RTSP server (feature rtsp-server)");
    }

    fn remove(&mut self, _mounted: &Arc<Mounted>) {}

    fn restart(&mut self) {}
}
