//! The RTSP server that outputs are mounted on.
//!
//! A mount costs nothing until a client comes: then the pictures are encoded, once for all clients of the mount, until the last
//! one has gone.

#[cfg(feature = "rtsp-server")]
mod factory;
#[cfg(feature = "rtsp-server")]
mod serving;

use std::collections::BTreeMap;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use super::feed::Feed;
use super::outlets::report::Report;
use crate::gstutil::lock;
use crate::site::description::RtspServer;
use crate::site::output::Encode;

/// How long an output waits for its path in silence: in a reload one may get it a moment before another has let go of it.
const HANDING_OVER: Duration = Duration::from_secs(1);

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
    /// By their paths: the first one of a path is mounted, the others wait for it to go.
    mounts: BTreeMap<String, Vec<Arc<Mounted>>>,
    #[cfg(feature = "rtsp-server")]
    serving: Option<serving::Serving>,
    /// Tells when the server that ran last has given back its port.
    #[cfg(feature = "rtsp-server")]
    before: Option<std::sync::mpsc::Receiver<()>>,
}

impl State {
    /// Whether `mounted` is the one that has its path.
    fn has_path(&self, mounted: &Arc<Mounted>) -> bool {
        self.mounts.get(&mounted.path).and_then(|all| all.first()).is_some_and(|first| Arc::ptr_eq(first, mounted))
    }
}

/// The server; it runs while something is mounted.
pub struct Server(Mutex<State>);

/// A mount; it goes when this is dropped, and its clients with it.
pub struct Mount {
    server: Arc<Server>,
    mounted: Arc<Mounted>,
    /// Dropped with it: who waits to tell that its path is another's has nothing to tell then.
    _waits: Option<Sender<()>>,
}

impl Server {
    /// One that does not run yet.
    pub fn new(config: RtspServer) -> Arc<Self> {
        Arc::new(Self(Mutex::new(State {
            config,
            mounts: BTreeMap::new(),
            #[cfg(feature = "rtsp-server")]
            serving: None,
            #[cfg(feature = "rtsp-server")]
            before: None,
        })))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.0)
    }

    /// Mounts `feed` at `path`, as soon as no other output has it.
    pub fn mount(self: &Arc<Self>, path: &str, encode: &Encode, report: &Arc<Report>, feed: &Arc<Feed>) -> Mount {
        let mounted = Arc::new(Mounted {
            path: if path.starts_with('/') { path.to_owned() } else { format!("/{path}") },
            encode: encode.clone(),
            report: Arc::clone(report),
            feed: Arc::clone(feed),
        });
        let mut state = self.lock();
        state.mounts.entry(mounted.path.clone()).or_default().push(Arc::clone(&mounted));
        let first = state.has_path(&mounted);
        if first {
            state.add(&mounted);
        }
        drop(state);
        let waits = (!first).then(|| self.tell_if_it_waits(&mounted));
        Mount { server: Arc::clone(self), mounted, _waits: waits }
    }

    /// Tells in the report that the path is another's, if it still is after a while; what is given back is dropped with the mount.
    fn tell_if_it_waits(self: &Arc<Self>, mounted: &Arc<Mounted>) -> Sender<()> {
        let (waits, gone) = channel();
        let (server, waiting) = (Arc::clone(self), Arc::clone(mounted));
        let tell = move || {
            if gone.recv_timeout(HANDING_OVER) == Err(RecvTimeoutError::Timeout) {
                // Under the lock: nobody can mount it between the look and the word.
                let state = server.lock();
                if !state.has_path(&waiting) {
                    waiting.report.set_error(&format!("another output has the mount {} already", waiting.path));
                }
            }
        };
        // Without a thread it waits in silence.
        let _ = std::thread::Builder::new().name("vigil-mount".into()).spawn(tell);
        waits
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
        let was_mounted = state.has_path(&self.mounted);
        let Some(all) = state.mounts.get_mut(&self.mounted.path) else { return };
        all.retain(|other| !Arc::ptr_eq(other, &self.mounted));
        let next = all.first().cloned();
        if next.is_none() {
            state.mounts.remove(&self.mounted.path);
        }
        if was_mounted {
            state.remove(&self.mounted);
            if let Some(next) = next {
                state.add(&next);
            }
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
            self.end();
        } else if let Some(serving) = &self.serving {
            serving.remove(mounted);
        }
    }

    /// Only messages to the server's thread are sent here, which does the work.
    fn restart(&mut self) {
        self.end();
        if !self.mounts.is_empty() {
            let mounted = self.mounts.values().filter_map(|all| all.first());
            self.serving = Some(serving::Serving::start(&self.config, mounted, self.before.take()));
        }
    }

    fn end(&mut self) {
        if let Some(serving) = self.serving.take() {
            self.before = Some(serving.stop());
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
