//! The gateway's HTTP interface, on a thread of its own; it has the signals too.

mod accept;
mod answer;
mod cameras;
mod events;
pub mod openapi;
mod site;

use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{ConnectInfo, Request, State};
use axum::middleware::Next;
use axum::response::Response;
use gstvigil::secret;
use gstvigil::site::description::Api;
use tokio::runtime::{Builder, Handle};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Semaphore, watch};

use self::answer::{Answer, refused};
use super::access::{Access, Caller};
use super::log::{Limiter, tell_left_out};
use super::service;
use super::shared::{Cause, Shared};

/// What requests are answered from.
#[derive(Clone)]
pub struct Context {
    /// The gateway.
    pub shared: Arc<Shared>,
    /// Turns `true` when streams of events must end.
    pub closing: watch::Receiver<bool>,
    /// Streams of events that may be open.
    pub streams: Arc<Semaphore>,
    /// Pictures that may be in the making.
    pub snapshots: Arc<Semaphore>,
    /// Health checks that may be waiting for the site.
    pub probes: Arc<Semaphore>,
    /// Keeps down what is logged of requests that are refused.
    limiter: Arc<Limiter>,
}

/// Streams of events that may be open at once.
const STREAMS: usize = 64;
/// Pictures that may be in the making at once.
const SNAPSHOTS: usize = 4;
/// Health checks that may be waiting for the site at once.
const PROBES: usize = 4;
/// Longest body of a request, bytes.
const BODY: usize = 256 * 1024;

/// What listens just now.
struct Listening {
    /// As the description says it.
    address: String,
    local: SocketAddr,
    close: watch::Sender<bool>,
    /// Ends when its port is free again.
    closed: Receiver<()>,
}

impl Listening {
    /// Closes it; its port is free then.
    fn close(self) {
        self.close.send_replace(true);
        let _ = self.closed.recv_timeout(CLOSE);
    }
}

/// Longest time for a port to be closed.
const CLOSE: Duration = Duration::from_secs(5);

/// The interface.
pub struct Http {
    shared: Arc<Shared>,
    handle: Handle,
    listening: Mutex<Option<Listening>>,
}

impl Http {
    /// Starts the thread; it listens nowhere yet. `drain` is how long the site's end may take.
    ///
    /// # Errors
    /// If the system has no thread or no signals for it.
    pub fn start(shared: &Arc<Shared>, drain: Duration) -> std::io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().max_blocking_threads(16).build()?;
        let handle = runtime.handle().clone();
        let signals = {
            let _inside = runtime.enter();
            [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::hangup()].map(signal)
        };
        let [terminate, interrupt, hangup] = signals;
        let signals = heed(Arc::clone(shared), drain, [terminate?, interrupt?], hangup?);
        let beat = beat(Arc::clone(shared));
        let thread = std::thread::Builder::new().name("vigil-http".into());
        thread.spawn(move || runtime.block_on(async { tokio::join!(signals, beat) }))?;
        Ok(Self { shared: Arc::clone(shared), handle, listening: Mutex::default() })
    }

    /// Listens where `api` says, and asks for its token, from now on. If that cannot be done it stays as it was.
    ///
    /// # Errors
    /// A text that says why.
    pub fn configure(&self, api: &Api) -> Result<(), String> {
        let token = api.token.as_ref().map(secret::read).transpose()?;
        if token.as_deref().is_some_and(|token| token.trim().is_empty()) {
            return Err("the token of `api.token` is empty".into());
        }
        let access = Arc::new(Access::new(token.as_deref().map(str::trim)));
        let mut listening = self.listening.lock().unwrap_or_else(PoisonError::into_inner);
        if listening.as_ref().map_or("off", |listening| &listening.address) != api.listen {
            match api.listen.as_str() {
                "off" => listening.take().into_iter().for_each(Listening::close),
                address => self.listen_at(&mut listening, address, access.needs_token())?,
            }
        }
        *self.shared.access.lock().unwrap_or_else(PoisonError::into_inner) = access;
        Ok(())
    }

    /// Listens at another address, and then no more at the one before. Of one port both cannot be had at the same time: then the one before
    /// is closed first, and opened again if the other one cannot be.
    fn listen_at(&self, listening: &mut Option<Listening>, address: &str, token: bool) -> Result<(), String> {
        let wrong = |error: std::io::Error| format!("the API cannot listen on {address}: {error}");
        let addresses: Vec<SocketAddr> = address.to_socket_addrs().map_err(wrong)?.collect();
        if !token && !addresses.iter().all(|address| address.ip().is_loopback()) {
            return Err(format!("{address} is beyond this machine: the API listens there only with `api.token`"));
        }
        let of_old = |old: &mut Listening| addresses.iter().any(|address| address.port() == old.local.port());
        let Some(old) = listening.take_if(of_old) else {
            let new = self.open(address, &addresses).map_err(wrong)?;
            listening.replace(new).into_iter().for_each(Listening::close);
            return Ok(());
        };
        let (before, local) = (old.address.clone(), old.local);
        old.close();
        let new = self.open(address, &addresses).map_err(wrong);
        if new.is_err() {
            let again = self.open(&before, &[local]);
            *listening =
                again.inspect_err(|error| tracing::error!("the API listens no more on {before}: {error}")).ok();
        }
        new.map(|new| *listening = Some(new))
    }

    fn open(&self, address: &str, addresses: &[SocketAddr]) -> std::io::Result<Listening> {
        let listener = TcpListener::bind(addresses)?;
        listener.set_nonblocking(true)?;
        let local = listener.local_addr()?;
        let listener = {
            let _inside = self.handle.enter();
            tokio::net::TcpListener::from_std(listener)?
        };
        let (close, closing) = watch::channel(false);
        let (closed_with, closed) = channel();
        let context = Context {
            shared: Arc::clone(&self.shared),
            closing: closing.clone(),
            streams: Arc::new(Semaphore::new(STREAMS)),
            snapshots: Arc::new(Semaphore::new(SNAPSHOTS)),
            probes: Arc::new(Semaphore::new(PROBES)),
            limiter: Arc::default(),
        };
        self.handle.spawn(accept::serve(listener, router(context), closing, closed_with));
        tracing::info!("the API listens on http://{local}");
        Ok(Listening { address: address.to_owned(), local, close, closed })
    }

    /// Listens no more.
    pub fn end(&self) {
        let old = self.listening.lock().unwrap_or_else(PoisonError::into_inner).take();
        old.into_iter().for_each(Listening::close);
    }
}

fn router(context: Context) -> Router {
    openapi::routes()
        .fallback(answer::nothing_here)
        .method_not_allowed_fallback(answer::no_such_method)
        .layer(axum::extract::DefaultBodyLimit::max(BODY))
        .layer(axum::middleware::from_fn_with_state(context.clone(), guard))
        .with_state(context)
}

/// Lets those pass who may ask.
async fn guard(
    State(context): State<Context>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    request: Request,
    next: Next,
) -> Result<Response, Answer> {
    admit(&context, peer, &request)?;
    Ok(next.run(request).await)
}

fn admit(context: &Context, peer: SocketAddr, request: &Request) -> Result<(), Answer> {
    let header = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok());
    let caller = Caller {
        address: peer.ip(),
        path: request.uri().path(),
        host: header("host"),
        origin: header("origin"),
        fetch_site: header("sec-fetch-site"),
        authorization: header("authorization"),
    };
    context.shared.access().check(&caller).map_err(|why| {
        if let Some(left_out) = context.limiter.admit(&peer.ip().to_string(), Instant::now()) {
            tell_left_out(None, "api", left_out);
            tracing::warn!("a request of {} to {} was refused: {why:?}", peer.ip(), caller.path);
        }
        refused(why)
    })
}

/// Longest time for the keeper to be done with what it is at when the end is told.
const LAST: Duration = Duration::from_secs(30);

/// Signals: the first one ends the site, the second one ends the process at once.
async fn heed(
    shared: Arc<Shared>,
    drain: Duration,
    [mut terminate, mut interrupt]: [tokio::signal::unix::Signal; 2],
    mut hangup: tokio::signal::unix::Signal,
) {
    let mut ending = false;
    loop {
        let why = tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
            _ = hangup.recv() => {
                shared.reload(Cause::Signal);
                continue;
            }
        };
        if ending {
            tracing::warn!("a second signal: the process ends at once");
            // Whatever hangs must not be able to hold this up.
            let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
        }
        ending = true;
        shared.end(why);
        // The keeper may be at something that takes a while.
        service::stopping(drain + LAST);
    }
}

/// Shows that this thread goes on.
async fn beat(shared: Arc<Shared>) {
    let mut ticks = tokio::time::interval(Duration::from_secs(1));
    loop {
        ticks.tick().await;
        shared.report().beat = Instant::now();
    }
}
