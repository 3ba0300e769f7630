//! Somebody who listens to topics of a broker.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::MqttOptions;
use super::link::{Incoming, Link, Signal};
use super::trouble::Phase;
use crate::export::remote::RemoteError;

/// Largest packet that is taken from the broker, bytes. Version 5 tells it to the broker, which then leaves larger ones out; version 3.1.1
/// has no word for it, and the connection ends.
const LARGEST: u32 = 16 << 20;

/// A message that was published to one of the topics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    /// The topic that it was published to.
    pub topic: String,
    /// What was published.
    pub body: Vec<u8>,
    /// Whether it is an old one that the broker kept.
    pub retained: bool,
}

/// A connection that listens. It is of no use after any error; a new one is made then.
pub struct Subscription {
    link: Link,
    place: String,
    /// What came before the broker had acknowledged the subscription.
    early: VecDeque<Incoming>,
    /// When anything came from the broker last.
    heard: Instant,
}

impl Subscription {
    /// Connects and subscribes to `filters`, topics in which `+` stands for one level and `#`, at the end, for any number of them.
    /// The options' `qos` is the highest that is asked for; their topic and status are not used. There is no limit of time in it: the
    /// caller's own is what counts.
    ///
    /// # Errors
    /// [`RemoteError::Denied`] if the broker does not allow to listen there, else any but [`RemoteError::Refused`].
    pub async fn open(options: &MqttOptions, client_id: &str, filters: &[String]) -> Result<Self, RemoteError> {
        let place = options.place();
        let link = Link::new(options, client_id, None, LARGEST)?;
        let mut subscription = Self { link, place, early: VecDeque::new(), heard: Instant::now() };
        loop {
            if let Signal::Connected(_) = subscription.signal(Phase::Connecting).await? {
                break;
            }
        }
        if subscription.link.subscribe(filters, options.qos).is_err() {
            let shown = filters.join(", ");
            return Err(RemoteError::Denied(format!(
                "nobody can subscribe to {shown}; + stands for a whole level of a topic, and # only at its end"
            )));
        }
        loop {
            match subscription.signal(Phase::Connecting).await? {
                Signal::Subscribed(taken) => {
                    let refused = filters.iter().zip(taken).find(|(_, taken)| !taken);
                    let Some((filter, _)) = refused else { return Ok(subscription) };
                    let place = &subscription.place;
                    return Err(RemoteError::Denied(format!(
                        "{place} does not let this user subscribe to {filter}; allow it there, or name another topic"
                    )));
                }
                Signal::Received(message) => subscription.early.push_back(message),
                _ => {}
            }
        }
    }

    async fn signal(&mut self, phase: Phase) -> Result<Signal, RemoteError> {
        let signal = self.link.next().await.map_err(|trouble| trouble.tell(&self.place, phase))?;
        if matches!(signal, Signal::Received(_) | Signal::Alive | Signal::Connected(_) | Signal::Subscribed(_)) {
            self.heard = Instant::now();
        }
        Ok(signal)
    }

    /// How long nothing came from the broker: not a message, and not the answer to a ping either. What nobody has said within this
    /// time may have been said, and be held up with all the rest.
    pub fn quiet(&self) -> Duration {
        self.heard.elapsed()
    }

    /// The next message. If it is dropped before it is done, no message is lost.
    ///
    /// # Errors
    /// Any [`RemoteError`] but [`RemoteError::Refused`].
    pub async fn next(&mut self) -> Result<Received, RemoteError> {
        let message = match self.early.pop_front() {
            Some(message) => message,
            None => loop {
                if let Signal::Received(message) = self.signal(Phase::Connected).await? {
                    break message;
                }
            },
        };
        let topic = String::from_utf8_lossy(&message.topic).into_owned();
        Ok(Received { topic, body: message.body, retained: message.retained })
    }

    /// Ends the connection with a good-bye.
    pub async fn leave(mut self) {
        self.link.leave();
        // Whatever goes wrong now changes nothing for this side.
        while !matches!(self.link.next().await, Ok(Signal::Left) | Err(_)) {}
    }
}
