//! The server while it runs: a thread with a main context of its own.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, TryRecvError, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use gst_rtsp_server::gst_rtsp::RTSPAuthMethod;
use gst_rtsp_server::prelude::*;
use gst_rtsp_server::{RTSPAuth, RTSPFilterResult, RTSPServer, RTSPToken};

use super::Mounted;
use super::factory::{Showing, factory};
use crate::gstutil::lock;
use crate::secret;
use crate::site::description::RtspServer;
use crate::site::units::TextOrSecret;

/// How long after a failure it is tried again, at first and at most.
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));
/// How long the server before is waited for, which may have the same port.
const BEFORE: Duration = Duration::from_secs(5);
/// Clients that have gone without a word are looked for so often, seconds.
const CLEAN_S: u32 = 5;
/// What clients that have shown their password are.
const ROLE: &str = "viewer";

enum Order {
    Add(Arc<Mounted>),
    Remove(Arc<Mounted>),
    Stop,
}

/// A server that runs, or tries to. It ends by [`Self::stop`].
pub struct Serving {
    orders: Sender<Order>,
    context: glib::MainContext,
    over: Receiver<()>,
}

impl Serving {
    /// Runs as `config` says, with `mounts`, once the one `before` has told that it is over.
    pub fn start<'a>(
        config: &RtspServer,
        mounts: impl Iterator<Item = &'a Arc<Mounted>>,
        before: Option<Receiver<()>>,
    ) -> Self {
        let (orders, inbox) = channel();
        let (ends, over) = channel();
        let context = glib::MainContext::new();
        let mut thread = Thread {
            config: config.clone(),
            context: context.clone(),
            inbox,
            mounts: mounts.map(|m| (m.path.clone(), Arc::clone(m))).collect(),
        };
        let failed: Vec<_> = thread.mounts.values().cloned().collect();
        let work = move || {
            // It says nothing: it is dropped at the end, also at that of a panic.
            let _ends: Sender<()> = ends;
            let _ = before.map(|before| before.recv_timeout(BEFORE));
            thread.run();
        };
        let spawned = std::thread::Builder::new().name("vigil-rtsp".into()).spawn(work);
        if let Err(err) = spawned {
            failed.iter().for_each(|m| m.report.set_error(&format!("no thread can be started: {err}")));
        }
        Self { orders, context, over }
    }

    /// Has it end, without waiting; what is given back comes to its end with it.
    pub fn stop(self) -> Receiver<()> {
        self.order(Order::Stop);
        self.over
    }

    fn order(&self, order: Order) {
        // The thread is there as long as nobody has told it to stop.
        let _ = self.orders.send(order);
        self.context.wakeup();
    }

    /// Mounts one more.
    pub fn add(&self, mounted: &Arc<Mounted>) {
        self.order(Order::Add(Arc::clone(mounted)));
    }

    /// Takes one away, with its clients.
    pub fn remove(&self, mounted: &Arc<Mounted>) {
        self.order(Order::Remove(Arc::clone(mounted)));
    }
}

struct Thread {
    config: RtspServer,
    context: glib::MainContext,
    inbox: Receiver<Order>,
    mounts: BTreeMap<String, Arc<Mounted>>,
}

impl Thread {
    fn run(&mut self) {
        let mut pause = PAUSES.0;
        loop {
            match self.begin() {
                Ok(mut running) => return self.serve(&mut running),
                Err(text) => self.mounts.values().for_each(|mounted| mounted.report.set_error(&text)),
            }
            if !self.wait(pause) {
                return;
            }
            pause = (pause * 2).min(PAUSES.1);
        }
    }

    /// `false` if it is to stop.
    fn wait(&mut self, pause: Duration) -> bool {
        let until = Instant::now() + pause;
        loop {
            match self.inbox.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(Order::Add(mounted)) => {
                    self.mounts.insert(mounted.path.clone(), mounted);
                    // Its status should say why it is not there: try at once.
                    return true;
                }
                Ok(Order::Remove(mounted)) => {
                    self.mounts.remove(&mounted.path);
                }
                Ok(Order::Stop) | Err(RecvTimeoutError::Disconnected) => return false,
                Err(RecvTimeoutError::Timeout) => return true,
            }
        }
    }

    fn begin(&self) -> Result<Running, String> {
        let listen = &self.config.listen;
        let (address, port) =
            listen.rsplit_once(':').ok_or_else(|| format!("\"{listen}\" is no address and port for RTSP"))?;
        let address = address.trim_start_matches('[').trim_end_matches(']');
        // GStreamer says only that it does not work.
        TcpListener::bind(listen.as_str()).map_err(|err| format!("RTSP cannot listen on {listen}: {err}"))?;
        let server = RTSPServer::new();
        server.set_address(address);
        server.set_service(port);
        // Each client has a thread of its own: one that waits for its first picture keeps nobody up.
        if let Some(pool) = server.thread_pool() {
            pool.set_max_threads(-1);
        }
        let guarded = self.guard(&server)?;
        let source = server
            .attach(Some(&self.context))
            .map_err(|_| format!("RTSP cannot listen on {listen}: another program may have the port"))?;
        let running = Running {
            server,
            context: self.context.clone(),
            source: Some(source),
            guarded,
            address: address.into(),
            shown: Mutex::default(),
        };
        self.mounts.values().for_each(|mounted| running.add(mounted));
        Ok(running)
    }

    /// Asks for user and password if there are any; whether there are.
    fn guard(&self, server: &RTSPServer) -> Result<bool, String> {
        let (user, password) = match (&self.config.user, &self.config.password) {
            (None, None) => return Ok(false),
            (Some(TextOrSecret::Text(user)), Some(password)) => (user.clone(), secret::read(password)?),
            (Some(TextOrSecret::Secret(user)), Some(password)) => (secret::read(user)?, secret::read(password)?),
            _ => return Err("RTSP has a user without a password, or a password without a user".into()),
        };
        let auth = RTSPAuth::new();
        // The password does not go over the network.
        auth.set_supported_methods(RTSPAuthMethod::Digest);
        let token = RTSPToken::builder().field("media.factory.role", ROLE).build();
        auth.add_digest(&user, &password, &token);
        server.set_auth(Some(&auth));
        Ok(true)
    }

    fn serve(&mut self, running: &mut Running) {
        let pool = running.server.session_pool();
        let cleaning = glib::timeout_source_new_seconds(CLEAN_S, None, glib::Priority::DEFAULT, move || {
            if let Some(pool) = &pool {
                pool.cleanup();
            }
            glib::ControlFlow::Continue
        });
        cleaning.attach(Some(&self.context));
        let context = self.context.clone();
        let served = context.with_thread_default(|| {
            loop {
                match self.inbox.try_recv() {
                    Ok(Order::Add(mounted)) => running.add(&mounted),
                    Ok(Order::Remove(mounted)) => running.remove(&mounted),
                    Ok(Order::Stop) | Err(TryRecvError::Disconnected) => break,
                    Err(TryRecvError::Empty) => {
                        self.context.iteration(true);
                    }
                }
            }
        });
        cleaning.destroy();
        if let Err(err) = served {
            self.mounts.values().for_each(|mounted| mounted.report.set_error(&err.to_string()));
        }
    }
}

/// A server that listens. It closes all connections when it goes.
struct Running {
    server: RTSPServer,
    context: glib::MainContext,
    source: Option<glib::SourceId>,
    guarded: bool,
    address: String,
    shown: Mutex<BTreeMap<String, Arc<Showing>>>,
}

impl Running {
    fn add(&self, mounted: &Arc<Mounted>) {
        let Some(mounts) = self.server.mount_points() else { return };
        let (factory, showing) = factory(mounted);
        if self.guarded {
            let may = gst::Structure::builder(ROLE).field("media.factory.access", true);
            factory.add_role_from_structure(&may.field("media.factory.construct", true).build());
        }
        mounts.add_factory(&mounted.path, factory);
        lock(&self.shown).insert(mounted.path.clone(), showing);
        let address = if self.address.contains(':') { format!("[{}]", self.address) } else { self.address.clone() };
        mounted.report.set_target(format!("rtsp://{address}:{}{}", self.server.bound_port(), mounted.path));
        mounted.report.set_error("");
    }

    fn remove(&self, mounted: &Arc<Mounted>) {
        if let Some(mounts) = self.server.mount_points() {
            mounts.remove_factory(&mounted.path);
        }
        let showing = lock(&self.shown).remove(&mounted.path);
        if let Some(showing) = showing {
            self.close(&|media| showing.has(media));
        }
    }

    /// Closes the connections of clients that watch one of `which`.
    fn close(&self, which: &dyn Fn(&gst_rtsp_server::RTSPMedia) -> bool) {
        self.server.client_filter(Some(&mut |_, client| {
            let mut watches = false;
            client.session_filter(Some(&mut |_, session| {
                session.filter(Some(&mut |_, media| {
                    watches |= media.media().is_some_and(|media| which(&media));
                    RTSPFilterResult::Keep
                }));
                RTSPFilterResult::Keep
            }));
            if watches { RTSPFilterResult::Remove } else { RTSPFilterResult::Keep }
        }));
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(source) = self.source.take().and_then(|id| self.context.find_source_by_id(&id)) {
            source.destroy();
        }
        self.server.client_filter(Some(&mut |_, _| RTSPFilterResult::Remove));
    }
}
