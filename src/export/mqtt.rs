//! Records to an MQTT broker, version 3.1.1 or 5: over TCP, TLS or WebSocket.
//!
//! [`Mqtt`] owns a small runtime of one thread, the caller's, which runs only while a call lasts. A call publishes its records and
//! returns when the broker has acknowledged all of them. After any error the whole connection is dropped and the next call makes a
//! new one with a clean session, so that nothing of an old connection can be counted.

mod link;
mod session;
mod subscription;
mod topic;
mod trouble;

use std::fmt;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde_json::json;
use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;

use self::link::Message;
use self::session::Session;
pub use self::subscription::{Received, Subscription};
use self::topic::Template;
use super::address::{Address, Password};
use super::remote::{Outgoing, Remote, RemoteError};
use super::tls::{TLS_OPTIONS, TlsFiles};
use super::units::parse_duration;
use super::uri::UriError;

/// How long a tick looks at a connection that is already there.
const LOOK: Duration = Duration::from_millis(5);
/// Shortest and longest keep-alive: what the client library takes, and what the protocol has.
const KEEP_ALIVE: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(65_535));
/// Messages that may be unacknowledged unless the address says otherwise. With version 5 the broker says if it takes fewer.
const INFLIGHT: u16 = 100;
/// As [`INFLIGHT`], for QoS 2 with version 3.1.1: brokers hang up on more than 10 (HiveMQ) or 20 (mosquitto, VerneMQ) and cannot say so.
const INFLIGHT_OLD_TWICE: u16 = 10;
/// Most messages that may be unacknowledged, so that their table stays small.
const MOST_INFLIGHT: u16 = 10_000;

const OPTIONS: [&str; 8] = ["version", "qos", "topic", "status", "client-id", "keep-alive", "inflight", "max-packet"];

/// The version of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// 3.1.1: the broker has no word for a refusal, it acknowledges what it drops, or hangs up.
    V3,
    /// 5: the broker says why it does not take something, and what its limits are.
    V5,
}

/// What carries the protocol.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Wire {
    Tcp,
    Tls(TlsFiles),
    Ws,
    Wss(TlsFiles),
}

/// Where and how records are published. `Debug` shows no secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MqttOptions {
    wire: Wire,
    host: String,
    port: u16,
    ws_path: String,
    user: Option<String>,
    password: Option<Password>,
    version: Version,
    qos: u8,
    prefix: String,
    topic: Template,
    status: Option<Template>,
    client_id: Option<String>,
    keep_alive: Duration,
    inflight: u16,
    max_packet: Option<u64>,
}

impl MqttOptions {
    /// What stands before the colon of an address for this receiver.
    pub const SCHEMES: [&'static str; 4] = ["mqtt", "mqtts", "mqtt+ws", "mqtt+wss"];

    /// The options of an address: `mqtt://`, `mqtts://`, `mqtt+ws://` or `mqtt+wss://`.
    ///
    /// # Errors
    /// Any [`UriError`].
    pub fn parse(mut address: Address) -> Result<Self, UriError> {
        let (secure, web) = match address.scheme.as_str() {
            "mqtt" => (false, false),
            "mqtts" => (true, false),
            "mqtt+ws" => (false, true),
            "mqtt+wss" => (true, true),
            _ => {
                return Err(UriError::Scheme { uri: address.bare(), hint: " (did you mean mqtt://HOST?)".to_string() });
            }
        };
        let files = if secure { TlsFiles::take(&mut address)? } else { TlsFiles::default() };
        let host = address.host()?.clone();
        let mut known = OPTIONS.to_vec();
        known.extend(TLS_OPTIONS.iter().filter(|_| secure));
        known.extend(["ws-path"].iter().filter(|_| web));
        let options = Self {
            port: host.port.unwrap_or(match (secure, web) {
                (false, false) => 1883,
                (true, false) => 8883,
                (false, true) => 80,
                (true, true) => 443,
            }),
            host: host.name,
            ws_path: if web { ws_path(&mut address)? } else { String::new() },
            wire: match (secure, web) {
                (false, false) => Wire::Tcp,
                (true, false) => Wire::Tls(files),
                (false, true) => Wire::Ws,
                (true, true) => Wire::Wss(files),
            },
            version: match address.take("version").as_deref() {
                None | Some("5") => Version::V5,
                Some("3.1.1") => Version::V3,
                Some(value) => return Err(wrong("version", value, "3.1.1 or 5")),
            },
            qos: number(&mut address, "qos", 1, 0, 2, "0, 1 or 2")?,
            prefix: prefix(&address)?,
            topic: {
                let text = address.take("topic").unwrap_or_else(|| "{prefix}/{camera}/{kind}".to_string());
                Template::parse("topic", &text, &["prefix", "camera", "kind"])?
            },
            status: match address.take("status").as_deref() {
                Some("none") => None,
                text => {
                    let text = text.unwrap_or("{prefix}/{client-id}/status");
                    Some(Template::parse("status", text, &["prefix", "client-id"])?)
                }
            },
            client_id: match address.take("client-id") {
                Some(id) if id.is_empty() || !topic::is_safe(&id) => {
                    return Err(wrong("client-id", &id, "a name without wildcards and control characters"));
                }
                id => id,
            },
            keep_alive: match address.take("keep-alive") {
                None => Duration::from_secs(30),
                Some(text) => parse_duration(&text)
                    .map_err(|source| UriError::Unit { option: "keep-alive", source })
                    .and_then(|time| match KEEP_ALIVE.0 <= time && time <= KEEP_ALIVE.1 {
                    true => Ok(time),
                    false => Err(wrong("keep-alive", &text, "a duration from 5s to 18h")),
                })?,
            },
            inflight: number(&mut address, "inflight", 0, 1, MOST_INFLIGHT, "a number from 1 to 10000")?,
            max_packet: match address.take("max-packet") {
                None => None,
                Some(text) => Some(
                    super::units::parse_size(&text)
                        .map_err(|source| UriError::Unit { option: "max-packet", source })?,
                ),
            },
            user: address.user.take(),
            password: address.password.take(),
        };
        address.finish(&known)?;
        let inflight = match (options.inflight, options.version, options.qos) {
            (0, Version::V3, 2) => INFLIGHT_OLD_TWICE,
            (0, ..) => INFLIGHT,
            (given, ..) => given,
        };
        Ok(Self { inflight, ..options })
    }

    /// The beginning of all topics.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// The client's name, if the address has one.
    pub fn client_id(&self) -> Option<&str> {
        self.client_id.as_deref()
    }

    /// What the library connects to: a name, or a URL for WebSockets.
    fn server(&self) -> String {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        match self.wire {
            Wire::Tcp | Wire::Tls(_) => self.host.clone(),
            Wire::Ws => format!("ws://{host}:{}{}", self.port, self.ws_path),
            Wire::Wss(_) => format!("wss://{host}:{}{}", self.port, self.ws_path),
        }
    }

    /// Who is meant in messages.
    fn place(&self) -> String {
        let host = super::address::Host { name: self.host.clone(), port: Some(self.port) };
        format!("the broker at {host}")
    }
}

fn wrong(option: &'static str, value: &str, wanted: &'static str) -> UriError {
    UriError::Value { option, value: value.to_string(), wanted }
}

fn number<T: std::str::FromStr + PartialOrd>(
    address: &mut Address,
    option: &'static str,
    default: T,
    least: T,
    most: T,
    wanted: &'static str,
) -> Result<T, UriError> {
    match address.take(option) {
        None => Ok(default),
        Some(value) => {
            value.parse().ok().filter(|n| least <= *n && *n <= most).ok_or(UriError::Value { option, value, wanted })
        }
    }
}

fn prefix(address: &Address) -> Result<String, UriError> {
    let prefix = address.path.trim_end_matches('/');
    if !topic::is_safe(prefix) || prefix.len() > 1024 {
        return Err(wrong("the path", prefix, "the beginning of a topic without wildcards and control characters"));
    }
    Ok(if prefix.is_empty() { "vigil" } else { prefix }.to_string())
}

fn ws_path(address: &mut Address) -> Result<String, UriError> {
    let path = address.take("ws-path").unwrap_or_else(|| "/mqtt".to_string());
    let plain = path.bytes().all(|b| b.is_ascii_graphic() && !b"\"#<>\\^`{|}".contains(&b));
    if !path.starts_with('/') || !plain {
        return Err(wrong("ws-path", &path, "the path of a URL, such as /mqtt"));
    }
    Ok(path)
}

/// A receiver that publishes records to a broker. It must not be used on a thread of a tokio runtime, since it has its own.
pub struct Mqtt {
    options: MqttOptions,
    client_id: String,
    status: Option<String>,
    runtime: Option<Runtime>,
    session: Option<Session>,
}

impl fmt::Debug for Mqtt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mqtt")
            .field("options", &self.options)
            .field("client_id", &self.client_id)
            .field("connected", &self.session.is_some())
            .finish_non_exhaustive()
    }
}

impl Mqtt {
    /// A receiver that connects when it is first used. `client_id_default` is its name if the options have none; brokers
    /// end the connection of the earlier one of two clients with the same name.
    pub fn new(options: MqttOptions, client_id_default: &str) -> Self {
        let client_id = options.client_id.clone().unwrap_or_else(|| topic::level(client_id_default));
        let status = options.status.as_ref().map(|template| {
            template.fill(|place| if place == "prefix" { options.prefix.clone() } else { topic::level(&client_id) })
        });
        Self { options, client_id, status, runtime: None, session: None }
    }

    /// The topic on which the broker keeps whether this client is there, if there is one.
    pub fn status_topic(&self) -> Option<&str> {
        self.status.as_deref()
    }

    fn topic(&self, record: &Outgoing) -> String {
        self.options.topic.fill(|place| match place {
            "prefix" => self.options.prefix.clone(),
            "camera" => topic::level(&record.camera),
            _ => record.kind.as_str().to_string(),
        })
    }

    /// Sends messages over the connection that there is, or a new one, within `limit` of `since`. After an error there is none.
    fn attempt(&mut self, messages: &[Message<'_>], limit: Duration, since: Instant) -> Result<(), RemoteError> {
        // A panic of the library leaves no half connection behind.
        let kept = self.session.take();
        let (options, client_id, status) = (&self.options, &self.client_id, self.status.as_deref());
        let runtime = start(&mut self.runtime)?;
        let work = async {
            let mut session = match kept {
                Some(session) => session,
                None => connect(options, client_id, status).await?,
            };
            session.deliver(messages).await?;
            Ok(session)
        };
        match runtime.block_on(async { timeout(limit.saturating_sub(since.elapsed()), work).await }) {
            Ok(Ok(session)) => {
                self.session = Some(session);
                Ok(())
            }
            Ok(Err(error)) => Err(error),
            Err(_) => Err(RemoteError::Unreachable(format!(
                "{} did not answer within {} ms",
                self.options.place(),
                limit.as_millis()
            ))),
        }
    }
}

impl Remote for Mqtt {
    fn send(&mut self, batch: &[Outgoing], limit: Duration) -> Result<(), RemoteError> {
        let start = Instant::now();
        if self.session.is_none() {
            self.attempt(&[], limit, start)?;
        }
        let topics: Vec<String> = batch.iter().map(|record| self.topic(record)).collect();
        let messages: Vec<Message<'_>> = topics
            .iter()
            .zip(batch)
            .map(|(topic, record)| Message { topic, body: &record.body, retain: false })
            .collect();
        if let Some(session) = &self.session {
            messages.iter().try_for_each(|message| session.check(*message, self.options.max_packet))?;
        }
        self.attempt(&messages, limit, start)
    }

    fn tick(&mut self, limit: Duration) -> Result<bool, RemoteError> {
        let Some(mut session) = self.session.take() else {
            return self.attempt(&[], limit, Instant::now()).map(|()| true);
        };
        let runtime = start(&mut self.runtime)?;
        match runtime.block_on(async { timeout(limit.min(LOOK), session.listen()).await }) {
            Ok(Err(error)) => Err(error),
            Err(_) => {
                self.session = Some(session);
                Ok(false)
            }
        }
    }

    fn close(&mut self, limit: Duration) {
        let Some(mut session) = self.session.take() else { return };
        let text = json!({ "state": "offline", "reason": "closed", "time": now() }).to_string();
        let farewell: Vec<Message<'_>> =
            self.status.iter().map(|topic| Message { topic, body: text.as_bytes(), retain: true }).collect();
        let Ok(runtime) = start(&mut self.runtime) else { return };
        // Without an answer the broker publishes the last will, which says the same.
        let _ = runtime.block_on(async {
            let leave = async {
                session.deliver(&farewell).await?;
                session.leave().await;
                Ok::<_, RemoteError>(())
            };
            timeout(limit, leave).await
        });
    }
}

impl Drop for Mqtt {
    fn drop(&mut self) {
        self.session = None;
        // A look-up of a name may still be under way on a thread; nobody waits for it.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// The runtime, made when it is first needed.
fn start(runtime: &mut Option<Runtime>) -> Result<&Runtime, RemoteError> {
    if runtime.is_none() {
        // Its only threads are those that look up names.
        let made = Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .thread_name("vigil-mqtt-name")
            .max_blocking_threads(2)
            .build();
        *runtime = Some(made.map_err(|error| RemoteError::Unreachable(format!("cannot prepare to connect: {error}")))?);
    }
    runtime.as_ref().ok_or_else(|| RemoteError::Unreachable("cannot prepare to connect".to_string()))
}

/// Connects and says so on the status topic.
async fn connect(options: &MqttOptions, client_id: &str, status: Option<&str>) -> Result<Session, RemoteError> {
    let now = now();
    let lost = json!({ "state": "offline", "reason": "lost", "connected": now }).to_string();
    let mut session = Session::open(options, client_id, status.map(|topic| (topic, lost.as_str()))).await?;
    if let Some(topic) = status {
        let body = json!({ "state": "online", "time": now }).to_string();
        let message = Message { topic, body: body.as_bytes(), retain: true };
        session.deliver(&[message]).await.map_err(|error| match error {
            // It is no record that is refused, and none may be given up for it.
            RemoteError::Refused(text) => RemoteError::Denied(text),
            other => other,
        })?;
    }
    Ok(session)
}

/// The time, to the millisecond, as records have it.
fn now() -> String {
    format!("{:.3}", Timestamp::now())
}

#[cfg(test)]
mod broker_tests;
#[cfg(test)]
#[path = "mqtt_tests.rs"]
mod tests;
