//! One connection to a broker, of either version of the protocol, behind one face.

use rumqttc::v5::mqttbytes::QoS as QoS5;
use rumqttc::v5::mqttbytes::v5::{Filter, LastWill as Will5, Packet as Packet5, SubscribeReasonCode as SubscribeCode5};
use rumqttc::{
    AsyncClient, EventLoop, LastWill, MqttOptions as Options3, Outgoing, Packet, QoS, SubscribeFilter,
    SubscribeReasonCode, TlsConfiguration, Transport, v5,
};

use super::trouble::{Trouble, ack_code, complete_code, received_code};
use super::{MqttOptions, Version, Wire};
use crate::export::remote::RemoteError;

/// Largest packet of the protocol, bytes.
const LARGEST: u64 = 268_435_460;
/// Largest packet that a publisher takes from the broker, which has only acknowledgements to send, bytes.
pub const ACKNOWLEDGEMENTS: u32 = 64 * 1024;
/// Longer than anybody's limit, seconds: the caller's own is what counts.
const FOREVER: u64 = 24 * 3600;

/// A message to publish.
#[derive(Debug, Clone, Copy)]
pub struct Message<'a> {
    /// A topic without wildcards.
    pub topic: &'a str,
    /// What is published.
    pub body: &'a [u8],
    /// Whether the broker keeps it for those who subscribe later.
    pub retain: bool,
}

/// What the broker allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allowed {
    /// Messages that may wait for an acknowledgement.
    pub unacknowledged: u16,
    /// Largest packet, bytes.
    pub packet: u64,
    /// Highest quality of service.
    pub qos: u8,
}

/// A message that came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Incoming {
    /// The topic that it was published to; UTF-8, if the broker keeps to the protocol.
    pub topic: Vec<u8>,
    /// What was published.
    pub body: Vec<u8>,
    /// Whether the broker had kept it.
    pub retained: bool,
}

/// What happened on a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Signal {
    /// The broker took the connection.
    Connected(Allowed),
    /// A message was given to the network, under this packet identifier; 0 with QoS 0.
    Sent(u16),
    /// The broker has taken over the message with this packet identifier.
    Done(u16),
    /// The broker does not take the message with this packet identifier, for a reason of MQTT 5.
    Rejected(u16, u8),
    /// The broker has answered a subscription: whether it was taken, for each topic.
    Subscribed(Vec<bool>),
    /// A message of a subscription came.
    Received(Incoming),
    /// The broker has answered a ping.
    Alive,
    /// The farewell was given to the network.
    Left,
    /// Nothing that matters here.
    Other,
}

/// A connection to a broker.
pub struct Link {
    client: Client,
    /// Why the connection ended, while there are still events of before.
    ended: Option<Trouble>,
}

/// The client of one version.
enum Client {
    /// MQTT 3.1.1.
    V3(AsyncClient, Box<EventLoop>),
    /// MQTT 5.
    V5(v5::AsyncClient, Box<v5::EventLoop>),
}

impl Link {
    /// A connection that is made when [`next`](Self::next) is first called. `will` is published by the broker, retained, if
    /// the connection ends without a farewell. `largest` is the size of the largest packet that is taken from the broker, bytes.
    ///
    /// # Errors
    /// [`RemoteError::Denied`] if the files of TLS or the password cannot be read.
    pub fn new(
        options: &MqttOptions,
        client_id: &str,
        will: Option<(&str, &str)>,
        largest: u32,
    ) -> Result<Self, RemoteError> {
        let transport = match &options.wire {
            Wire::Tcp => Transport::Tcp,
            Wire::Ws => Transport::Ws,
            Wire::Tls(files) | Wire::Wss(files) => {
                let config = files.config().map_err(|error| RemoteError::Denied(error.to_string()))?;
                let config = TlsConfiguration::Rustls(config);
                if matches!(options.wire, Wire::Wss(_)) { Transport::Wss(config) } else { Transport::Tls(config) }
            }
        };
        let password = options.password.as_ref().map(|password| password.read().map_err(RemoteError::Denied));
        let password = password.transpose()?.unwrap_or_default();
        let user = options.user.clone().unwrap_or_default();
        // One more than are ever handed over at once, so that there is always place.
        let places = usize::from(options.inflight) + 1;
        let client = match options.version {
            Version::V3 => {
                let mut it = Options3::new(client_id, options.server(), options.port);
                it.set_transport(transport)
                    .set_keep_alive(options.keep_alive)
                    .set_clean_session(true)
                    .set_inflight(options.inflight)
                    .set_max_packet_size(largest as usize, LARGEST as usize);
                if !(user.is_empty() && password.is_empty()) {
                    it.set_credentials(user, password);
                }
                if let Some((topic, text)) = will {
                    it.set_last_will(LastWill::new(topic, text, qos3(options.qos), true));
                }
                let (client, mut events) = AsyncClient::new(it, places);
                events.network_options.set_connection_timeout(FOREVER);
                Client::V3(client, Box::new(events))
            }
            Version::V5 => {
                let mut it = v5::MqttOptions::new(client_id, options.server(), options.port);
                it.set_transport(transport)
                    .set_keep_alive(options.keep_alive)
                    .set_clean_start(true)
                    .set_connection_timeout(FOREVER)
                    .set_max_packet_size(Some(largest))
                    .set_outgoing_inflight_upper_limit(options.inflight);
                if !(user.is_empty() && password.is_empty()) {
                    it.set_credentials(user, password);
                }
                if let Some((topic, text)) = will {
                    it.set_last_will(Will5::new(topic, text.to_string(), qos5(options.qos), true, None));
                }
                let (client, events) = v5::AsyncClient::new(it, places);
                Client::V5(client, Box::new(events))
            }
        };
        Ok(Self { client, ended: None })
    }

    /// Hands a message over; it is sent by [`next`](Self::next).
    ///
    /// # Errors
    /// [`Trouble::Other`] if the topic is none, or more were handed over than there is place for.
    pub fn publish(&self, message: Message<'_>, qos: u8) -> Result<(), Trouble> {
        let (topic, body) = (message.topic, message.body.to_vec());
        let given = match &self.client {
            Client::V3(client, _) => client.try_publish(topic, qos3(qos), message.retain, body).is_ok(),
            Client::V5(client, _) => client.try_publish(topic, qos5(qos), message.retain, body).is_ok(),
        };
        given.then_some(()).ok_or_else(|| Trouble::Other(format!("nothing can be published to the topic {topic}")))
    }

    /// Asks for what is published to topics that match `filters`; it is sent by [`next`](Self::next).
    ///
    /// # Errors
    /// [`Trouble::Other`] if one is no filter.
    pub fn subscribe(&self, filters: &[String], qos: u8) -> Result<(), Trouble> {
        let all = filters.iter().cloned();
        let given = match &self.client {
            Client::V3(client, _) => {
                client.try_subscribe_many(all.map(|path| SubscribeFilter { path, qos: qos3(qos) })).is_ok()
            }
            Client::V5(client, _) => client.try_subscribe_many(all.map(|path| Filter::new(path, qos5(qos)))).is_ok(),
        };
        given.then_some(()).ok_or_else(|| Trouble::Other(format!("nobody can subscribe to {}", filters.join(", "))))
    }

    /// Says good-bye; it is sent by [`next`](Self::next).
    pub fn leave(&self) {
        // There is place; and without a good-bye the broker sends the last will, which says the same.
        match &self.client {
            Client::V3(client, _) => drop(client.try_disconnect()),
            Client::V5(client, _) => drop(client.try_disconnect()),
        }
    }

    /// The next thing that happens. If it is dropped before it is done, nothing is lost but perhaps a ping.
    ///
    /// # Errors
    /// Any [`Trouble`]; the connection is of no use after it.
    pub async fn next(&mut self) -> Result<Signal, Trouble> {
        if self.ended.is_none() {
            match self.client.poll().await {
                Ok(signal) => return Ok(signal),
                Err(trouble) => self.ended = Some(trouble),
            }
        }
        // The library reads several packets at once and tells of the end before it tells of those before it. Among them may be the
        // refusal that explains the end.
        match self.client.left() {
            Some(signal) => Ok(signal),
            None => Err(self.ended.take().unwrap_or(Trouble::Closed)),
        }
    }

    /// Bytes of a message's packet.
    pub fn size(&self, message: Message<'_>, qos: u8) -> u64 {
        let properties = u64::from(matches!(self.client, Client::V5(..)));
        let identifier = if qos > 0 { 2 } else { 0 };
        let rest = 2 + message.topic.len() as u64 + identifier + properties + message.body.len() as u64;
        let length = match rest {
            0..=127 => 1,
            128..=16_383 => 2,
            16_384..=2_097_151 => 3,
            _ => 4,
        };
        1 + length + rest
    }
}

impl Client {
    async fn poll(&mut self) -> Result<Signal, Trouble> {
        Ok(match self {
            Self::V3(_, events) => signal3(&events.poll().await?),
            Self::V5(_, events) => {
                let keep_alive = events.options.keep_alive();
                let event = events.poll().await?;
                // The broker may switch pings off by 0, which the library would take for "all the time".
                if events.options.keep_alive().is_zero() {
                    events.options.set_keep_alive(keep_alive);
                }
                signal5(&event)
            }
        })
    }

    /// What came before the connection's end, and the library has not told of when it told of that. What it says to have sent it has not:
    /// it says so before it tries, and that is what failed.
    fn left(&mut self) -> Option<Signal> {
        loop {
            match self {
                Self::V3(_, events) => match events.state.events.pop_front()? {
                    rumqttc::Event::Outgoing(_) => {}
                    event @ rumqttc::Event::Incoming(_) => return Some(signal3(&event)),
                },
                Self::V5(_, events) => match events.state.events.pop_front()? {
                    v5::Event::Outgoing(_) => {}
                    event @ v5::Event::Incoming(_) => return Some(signal5(&event)),
                },
            }
        }
    }
}

fn signal3(event: &rumqttc::Event) -> Signal {
    use rumqttc::Event;
    match event {
        Event::Incoming(Packet::ConnAck(_)) => {
            Signal::Connected(Allowed { unacknowledged: u16::MAX, packet: LARGEST, qos: 2 })
        }
        Event::Incoming(Packet::PubAck(ack)) => Signal::Done(ack.pkid),
        Event::Incoming(Packet::PubComp(ack)) => Signal::Done(ack.pkid),
        Event::Incoming(Packet::SubAck(ack)) => {
            Signal::Subscribed(ack.return_codes.iter().map(|code| *code != SubscribeReasonCode::Failure).collect())
        }
        Event::Incoming(Packet::Publish(message)) => Signal::Received(Incoming {
            topic: message.topic.clone().into_bytes(),
            body: message.payload.to_vec(),
            retained: message.retain,
        }),
        Event::Incoming(Packet::PingResp) => Signal::Alive,
        Event::Outgoing(outgoing) => outgoing_signal(outgoing),
        Event::Incoming(_) => Signal::Other,
    }
}

fn signal5(event: &v5::Event) -> Signal {
    use v5::Event;
    let done = |id, code: Option<u8>| code.map_or(Signal::Done(id), |code| Signal::Rejected(id, code));
    match event {
        Event::Incoming(Packet5::ConnAck(ack)) => {
            let said = ack.properties.as_ref();
            Signal::Connected(Allowed {
                unacknowledged: said.and_then(|said| said.receive_max).unwrap_or(u16::MAX),
                packet: said.and_then(|said| said.max_packet_size).map_or(LARGEST, u64::from),
                qos: said.and_then(|said| said.max_qos).unwrap_or(2),
            })
        }
        Event::Incoming(Packet5::PubAck(ack)) => done(ack.pkid, ack_code(ack.reason)),
        Event::Incoming(Packet5::PubComp(ack)) => done(ack.pkid, complete_code(ack.reason)),
        Event::Incoming(Packet5::PubRec(ack)) => match received_code(ack.reason) {
            Some(code) => Signal::Rejected(ack.pkid, code),
            None => Signal::Other,
        },
        Event::Incoming(Packet5::SubAck(ack)) => {
            let taken = |code: &SubscribeCode5| matches!(code, SubscribeCode5::Success(_));
            Signal::Subscribed(ack.return_codes.iter().map(taken).collect())
        }
        Event::Incoming(Packet5::Publish(message)) => Signal::Received(Incoming {
            topic: message.topic.to_vec(),
            body: message.payload.to_vec(),
            retained: message.retain,
        }),
        Event::Incoming(Packet5::PingResp(_)) => Signal::Alive,
        Event::Outgoing(outgoing) => outgoing_signal(outgoing),
        Event::Incoming(_) => Signal::Other,
    }
}

fn outgoing_signal(outgoing: &Outgoing) -> Signal {
    match outgoing {
        Outgoing::Publish(id) => Signal::Sent(*id),
        Outgoing::Disconnect => Signal::Left,
        _ => Signal::Other,
    }
}

fn qos3(qos: u8) -> QoS {
    match qos {
        0 => QoS::AtMostOnce,
        1 => QoS::AtLeastOnce,
        _ => QoS::ExactlyOnce,
    }
}

fn qos5(qos: u8) -> QoS5 {
    match qos {
        0 => QoS5::AtMostOnce,
        1 => QoS5::AtLeastOnce,
        _ => QoS5::ExactlyOnce,
    }
}
