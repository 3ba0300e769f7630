//! The gateway's HTTP interface, on a thread of its own; it has the signals too.

mod answer;
mod cameras;
mod events;
pub mod openapi;
mod site;

use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::extract::{ConnectInfo, Request, State};
use axum::middleware::Next;
use axum::response::Response;
use gstvigil::site::description::Api;
use gstvigil::site::live::secret;
use tokio::runtime::{Builder, Handle};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Semaphore, watch};

use self::answer::{Answer, refused};
use super::access::{Access, Caller};
use super::log::Limiter;
use super::shared::{Cause, Shared, Wish};

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
    /// Keeps down what is logged of requests that are refused.
    limiter: Arc<Limiter>,
}

/// Streams of events that may be open at once.
const STREAMS: usize = 64;
/// Pictures that may be in the making at once.
const SNAPSHOTS: usize = 4;
/// Longest body of a request, bytes.
const BODY: usize = 256 * 1024;

/// What listens just now.
struct Listening {
    address: String,
    close: watch::Sender<bool>,
}

/// The interface.
pub struct Http {
    shared: Arc<Shared>,
    handle: Handle,
    listening: Mutex<Option<Listening>>,
}

impl Http {
    /// Starts the thread; it listens nowhere yet.
    ///
    /// # Errors
    /// If the system has no thread or no signals for it.
    pub fn start(shared: &Arc<Shared>) -> std::io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().max_blocking_threads(16).build()?;
        let handle = runtime.handle().clone();
        let signals = {
            let _inside = runtime.enter();
            [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::hangup()].map(signal)
        };
        let [terminate, interrupt, hangup] = signals;
        let signals = heed(Arc::clone(shared), [terminate?, interrupt?], hangup?);
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
            let new = if api.listen == "off" { None } else { Some(self.listen(&api.listen, access.needs_token())?) };
            if let Some(old) = std::mem::replace(&mut *listening, new) {
                old.close.send_replace(true);
            }
        }
        *self.shared.access.lock().unwrap_or_else(PoisonError::into_inner) = access;
        Ok(())
    }

    fn listen(&self, address: &str, token: bool) -> Result<Listening, String> {
        let wrong = |error: std::io::Error| format!("the API cannot listen on {address}: {error}");
        let addresses: Vec<SocketAddr> = address.to_socket_addrs().map_err(wrong)?.collect();
        if !token && !addresses.iter().all(|address| address.ip().is_loopback()) {
            return Err(format!("{address} is beyond this machine: the API listens there only with `api.token`"));
        }
        let listener = TcpListener::bind(&*addresses).map_err(wrong)?;
        listener.set_nonblocking(true).map_err(wrong)?;
        let local = listener.local_addr().map_err(wrong)?;
        let (close, closing) = watch::channel(false);
        let context = Context {
            shared: Arc::clone(&self.shared),
            closing: closing.clone(),
            streams: Arc::new(Semaphore::new(STREAMS)),
            snapshots: Arc::new(Semaphore::new(SNAPSHOTS)),
            limiter: Arc::default(),
        };
        self.handle.spawn(serve(listener, context, closing));
        tracing::info!("the API listens on http://{local}");
        Ok(Listening { address: address.to_owned(), close })
    }

    /// Listens no more.
    pub fn end(&self) {
        if let Some(old) = self.listening.lock().unwrap_or_else(PoisonError::into_inner).take() {
            old.close.send_replace(true);
        }
    }
}

async fn serve(listener: TcpListener, context: Context, mut closing: watch::Receiver<bool>) {
    let listener = match tokio::net::TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => return tracing::error!("the API cannot listen: {error}"),
    };
    let router = openapi::routes()
        .fallback(answer::nothing_here)
        .method_not_allowed_fallback(answer::no_such_method)
        .layer(axum::extract::DefaultBodyLimit::max(BODY))
        .layer(axum::middleware::from_fn_with_state(context.clone(), guard))
        .with_state(context);
    let service = router.into_make_service_with_connect_info::<SocketAddr>();
    let served = axum::serve(listener, service).with_graceful_shutdown(async move {
        // Its sender is gone where the process ends.
        let _ = closing.wait_for(|closing| *closing).await;
    });
    if let Err(error) = served.await {
        tracing::error!("the API listens no more: {error}");
    }
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
        authorization: header("authorization"),
    };
    context.shared.access().check(&caller).map_err(|why| {
        if context.limiter.admit(&peer.ip().to_string(), Instant::now()).is_some() {
            tracing::warn!("a request of {} to {} was refused: {why:?}", peer.ip(), caller.path);
        }
        refused(why)
    })
}

/// Signals: the first one ends the site, the second one ends the process at once.
async fn heed(
    shared: Arc<Shared>,
    [mut terminate, mut interrupt]: [tokio::signal::unix::Signal; 2],
    mut hangup: tokio::signal::unix::Signal,
) {
    let mut ending = false;
    loop {
        let why = tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
            _ = hangup.recv() => {
                shared.wish(Wish::Reload(Cause::Signal));
                continue;
            }
        };
        if ending {
            tracing::warn!("a second signal: the process ends at once");
            // Whatever hangs must not be able to hold this up.
            let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
        }
        ending = true;
        shared.wish(Wish::Stop(why));
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
