//! Takes connections, few enough and for so long only that nobody who has shown no token yet can use up the process's files or memory.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::Duration;

use axum::extract::ConnectInfo;
use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

/// Connections that may be open at once. More are kept waiting by the system.
const CONNECTIONS: usize = 256;
/// Longest time for the head of a request to come, and for the next request of a connection to begin.
const HEAD: Duration = Duration::from_secs(30);
/// Most bytes of a request's head.
const HEAD_BYTES: usize = 64 * 1024;
/// Pause where the system gives no connection, for want of files for one.
const PAUSE: Duration = Duration::from_millis(200);

/// Serves `router` until `closing` turns `true`. Then it takes no connection any more, drops `closed`, and waits for nobody: those that are
/// open end with what they are at.
pub async fn serve(listener: TcpListener, router: Router, mut closing: watch::Receiver<bool>, closed: Sender<()>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let (stream, peer, place) = tokio::select! {
            next = next(&listener, &places) => next,
            _ = closing.wait_for(|closing| *closing) => break,
        };
        tokio::spawn(connection(stream, peer, router.clone(), closing.clone(), place));
    }
    drop(listener);
    drop(closed);
}

/// The next connection, once there is a place for it.
async fn next(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> (TcpStream, SocketAddr, Option<OwnedSemaphorePermit>) {
    // Nobody closes the semaphore.
    let place = Arc::clone(places).acquire_owned().await.ok();
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => return (stream, peer, place),
            Err(error) => {
                tracing::debug!("the API cannot take a connection: {error}");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

async fn connection(
    stream: TcpStream,
    peer: SocketAddr,
    router: Router,
    mut closing: watch::Receiver<bool>,
    _place: Option<OwnedSemaphorePermit>,
) {
    let service = TowerToHyperService::new(router.layer(Extension(ConnectInfo(peer))));
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD).max_buf_size(HEAD_BYTES);
    let connection = http.serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let served = tokio::select! {
        served = connection.as_mut() => Some(served),
        _ = closing.wait_for(|closing| *closing) => None,
    };
    let served = match served {
        Some(served) => served,
        None => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = served {
        tracing::debug!("a connection of {peer} has ended: {error}");
    }
}
