//! `/api/v1/events`: what happens, as it happens (server-sent events).

use std::convert::Infallible;
use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::IntoResponse;
use axum::response::sse::{KeepAlive, Sse};
use gstvigil::site::status::Event;
use schemars::JsonSchema;
use serde::Deserialize;
use tokio::sync::{OwnedSemaphorePermit, broadcast, mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;

use super::Context;
use super::answer::{Answer, Asked};
use super::openapi::{Operation, Table};

/// Which events.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Which {
    /// From the one after this number on, as far as they are kept; the header `Last-Event-ID` says the same. A number that
    /// this process has not reached gives all. Without a word only what happens from now on.
    #[serde(default)]
    pub after: Option<u64>,
    /// Of this camera only.
    #[serde(default)]
    pub camera: Option<String>,
    /// Of this kind only.
    #[serde(default)]
    pub kind: Option<String>,
}

impl Which {
    fn wants(&self, event: &Event) -> bool {
        self.camera.as_ref().is_none_or(|camera| event.camera.as_ref() == Some(camera))
            && self.kind.as_ref().is_none_or(|kind| *kind == event.kind)
    }
}

/// Events that are sent before the client has read them.
const AHEAD: usize = 64;

type Message = Result<axum::response::sse::Event, Infallible>;

/// The stream of events.
pub async fn events(
    State(context): State<Context>,
    Asked(which): Asked<Which>,
    headers: HeaderMap,
) -> Result<impl IntoResponse, Answer> {
    let busy = |_| Answer::new(StatusCode::SERVICE_UNAVAILABLE, "too many listen already");
    let place = context.streams.clone().try_acquire_owned().map_err(busy)?;
    let seen = headers.get("last-event-id").and_then(|id| id.to_str().ok()).and_then(|id| id.trim().parse().ok());
    let after = seen.or(which.after);
    // First this, then what is kept: what happens between the two is in both, and told by its number.
    let heard = context.shared.heard.subscribe();
    let known = context.shared.site.events().since(after);
    let (send, receive) = mpsc::channel(AHEAD);
    tokio::spawn(stream(which, known, heard, send, context.closing, place));
    Ok(Sse::new(ReceiverStream::new(receive)).keep_alive(KeepAlive::default()))
}

/// Sends events until the client or the gateway has gone.
async fn stream(
    which: Which,
    (kept, last): (Vec<Arc<Event>>, u64),
    mut heard: broadcast::Receiver<Arc<Event>>,
    send: mpsc::Sender<Message>,
    mut closing: watch::Receiver<bool>,
    _place: OwnedSemaphorePermit,
) {
    for event in kept {
        if which.wants(&event) && send.send(message(&event)).await.is_err() {
            return;
        }
    }
    loop {
        let event = tokio::select! {
            // What has been told is sent before the end.
            biased;
            event = heard.recv() => event,
            _ = send.closed() => return,
            _ = closing.wait_for(|closing| *closing) => return,
        };
        let message = match event {
            Ok(event) if event.number <= last || !which.wants(&event) => continue,
            Ok(event) => message(&event),
            Err(broadcast::error::RecvError::Lagged(missed)) => {
                Ok(axum::response::sse::Event::default().event("missed").data(missed.to_string()))
            }
            Err(broadcast::error::RecvError::Closed) => return,
        };
        tokio::select! {
            sent = send.send(message) => if sent.is_err() { return },
            _ = closing.wait_for(|closing| *closing) => return,
        }
    }
}

fn message(event: &Event) -> Message {
    let message = axum::response::sse::Event::default().id(event.number.to_string()).event(&event.kind);
    let json = serde_json::to_string(event).unwrap_or_default();
    Ok(message.data(json))
}

/// Adds the path of this file.
pub fn add_to(table: &mut Table) {
    let listening = Operation::new("listenToEvents", "events", "What happens, as it happens").asked::<Which>();
    let text = "Server-sent events: the event's number as `id`, its kind as `event`, and one of these as `data`.";
    table.add(Method::GET, "/api/v1/events", events, listening.media::<Event>("text/event-stream", text));
}
