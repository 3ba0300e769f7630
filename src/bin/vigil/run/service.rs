//! The service manager: it is told when the gateway is ready, how it is doing, and that it is alive.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use sd_notify::NotifyState;

use super::shared::Shared;

/// Tells the service manager; without one nothing happens.
fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!("the service manager cannot be told: {error}");
    }
}

/// The end has begun, and takes `limit` at most.
pub fn stopping(limit: Duration) {
    let limit = u32::try_from((limit + Duration::from_secs(5)).as_micros()).unwrap_or(u32::MAX);
    tell(&[NotifyState::Stopping, NotifyState::ExtendTimeoutUsec(limit), NotifyState::Status("stopping")]);
}

/// What was told last.
#[derive(Default)]
pub struct Service {
    status: String,
}

impl Service {
    /// All cameras were started.
    pub fn ready(&self) {
        tell(&[NotifyState::Ready]);
    }

    /// The description is read again; [`Service::ready`] follows.
    pub fn reloading(&self) {
        match NotifyState::monotonic_usec_now() {
            Ok(now) => tell(&[NotifyState::Reloading, now]),
            Err(_) => tell(&[NotifyState::Reloading]),
        }
    }

    /// How it is doing, in words.
    pub fn status(&mut self, status: String) {
        if status != self.status {
            tell(&[NotifyState::Status(&status)]);
            self.status = status;
        }
    }
}

/// Tells the service manager again and again that the gateway is alive, which is found out each time: the site answers,
/// changes come to their end, requests are served. Ends when it is dropped.
pub struct Pulse(#[expect(dead_code, reason = "its end is the thread's end")] Sender<()>);

impl Pulse {
    /// Starts, if the service manager wants to be told.
    ///
    /// # Errors
    /// If the thread cannot be started.
    pub fn start(shared: &Arc<Shared>) -> std::io::Result<Option<Self>> {
        let Some(within) = sd_notify::watchdog_enabled() else { return Ok(None) };
        let (end, ended) = channel();
        let shared = Arc::clone(shared);
        let thread = std::thread::Builder::new().name("vigil-pulse".into());
        thread.spawn(move || beat(&shared, within / 2, &ended))?;
        Ok(Some(Self(end)))
    }
}

fn beat(shared: &Shared, pause: Duration, ended: &Receiver<()>) {
    loop {
        // If the site does not answer, this waits, and nobody is told anything.
        shared.playing();
        match shared.stuck(Instant::now()) {
            None => tell(&[NotifyState::Watchdog]),
            Some(text) => tracing::error!("not alive: {text}"),
        }
        if ended.recv_timeout(pause) != Err(RecvTimeoutError::Timeout) {
            return;
        }
    }
}
