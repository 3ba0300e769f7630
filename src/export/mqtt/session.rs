//! A connection that the broker has taken, and the account of what it acknowledged on it.

use std::collections::VecDeque;
use std::convert::Infallible;

use super::link::{ACKNOWLEDGEMENTS, Allowed, Link, Message, Signal};
use super::trouble::{Phase, Trouble};
use super::{MqttOptions, Version};
use crate::export::remote::RemoteError;

/// A connection that the broker has taken. It is dropped as a whole after any error, so that nothing that comes late on it
/// can be counted.
pub struct Session {
    link: Link,
    allowed: Allowed,
    /// Messages that may be unacknowledged at a time, from the oldest one of them.
    window: usize,
    qos: u8,
    phase: Phase,
    place: String,
}

impl Session {
    /// Connects. `will` is the topic and the text that the broker publishes when this connection breaks.
    ///
    /// # Errors
    /// Any [`RemoteError`] but [`RemoteError::Refused`].
    pub async fn open(options: &MqttOptions, client_id: &str, will: Option<(&str, &str)>) -> Result<Self, RemoteError> {
        let place = options.place();
        let mut link = Link::new(options, client_id, will, ACKNOWLEDGEMENTS)?;
        let allowed = loop {
            match link.next().await {
                Ok(Signal::Connected(allowed)) => break allowed,
                Ok(_) => {}
                Err(trouble) => return Err(trouble.tell(&place, Phase::Connecting)),
            }
        };
        if allowed.qos < options.qos {
            let highest = allowed.qos;
            return Err(RemoteError::Denied(format!("{place} supports no more than QoS {highest}; set qos={highest}")));
        }
        Ok(Self {
            link,
            allowed,
            window: usize::from(options.inflight.min(allowed.unacknowledged)).max(1),
            qos: options.qos,
            phase: if options.version == Version::V3 { Phase::Sending3 } else { Phase::Connected },
            place,
        })
    }

    /// Whether the broker takes packets of the size of this message's.
    ///
    /// # Errors
    /// [`RemoteError::Refused`] if not; nothing was sent then, and the session can go on.
    pub fn check(&self, message: Message<'_>, most: Option<u64>) -> Result<(), RemoteError> {
        let (size, topic) = (self.link.size(message, self.qos), message.topic);
        let most = self.allowed.packet.min(most.unwrap_or(u64::MAX));
        if topic.len() > super::topic::LONGEST {
            return Err(RemoteError::Refused("the topic of a record is longer than 65535 bytes".to_string()));
        }
        if size > most {
            return Err(RemoteError::Refused(format!(
                "a record for {topic} makes a packet of {size} bytes, and {} takes at most {most}; raise the limit, or leave out masks and thumbnails",
                self.place
            )));
        }
        Ok(())
    }

    /// Publishes messages in their order and returns when the broker has acknowledged all: at once for QoS 0, where they
    /// are given to the network, by PUBACK for QoS 1, by PUBCOMP for QoS 2.
    ///
    /// # Errors
    /// Any [`RemoteError`]. The session is of no use after it.
    pub async fn deliver(&mut self, messages: &[Message<'_>]) -> Result<(), RemoteError> {
        let mut account = Account::default();
        let mut given = 0;
        while account.settled < messages.len() {
            // Counted from the oldest that is open, so that no packet identifier is used again before its turn is over,
            // in whatever order the broker acknowledges.
            while given < messages.len() && given - account.settled < self.window {
                let Some(&message) = messages.get(given) else { break };
                self.link.publish(message, self.qos).map_err(|trouble| trouble.tell(&self.place, self.phase))?;
                given += 1;
            }
            match self.link.next().await.map_err(|trouble| trouble.tell(&self.place, self.phase))? {
                Signal::Sent(id) => account.sent(id),
                Signal::Done(id) => account.done(id),
                Signal::Rejected(id, code) => {
                    let topic = account.index(id).and_then(|index| messages.get(index)).map_or("?", |m| m.topic);
                    let what = format!("the topic {topic}");
                    return Err(Trouble::Reason(code, Some(what)).tell(&self.place, self.phase));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Does what is due by time until something is wrong. It may be dropped at any moment while nothing is sent.
    ///
    /// # Errors
    /// Any [`RemoteError`]. The session is of no use after it.
    pub async fn listen(&mut self) -> Result<Infallible, RemoteError> {
        loop {
            self.link.next().await.map_err(|trouble| trouble.tell(&self.place, Phase::Connected))?;
        }
    }

    /// Ends the connection with a good-bye, so that the last will is not published.
    pub async fn leave(mut self) {
        self.link.leave();
        // Whatever goes wrong now changes nothing for this side.
        while !matches!(self.link.next().await, Ok(Signal::Left) | Err(_)) {}
    }
}

/// Which messages of a delivery are acknowledged.
#[derive(Debug, Default)]
struct Account {
    /// How many are settled with all that came before them.
    settled: usize,
    /// Those that were sent after them: packet identifier, and whether it is acknowledged.
    open: VecDeque<(u16, bool)>,
}

impl Account {
    fn sent(&mut self, id: u16) {
        // QoS 0 knows no acknowledgement.
        self.open.push_back((id, id == 0));
        self.settle();
    }

    /// Identifiers that are not open are of messages that this delivery does not know, and count for nothing.
    fn done(&mut self, id: u16) {
        if let Some(open) = self.open.iter_mut().find(|open| **open == (id, false)) {
            open.1 = true;
        }
        self.settle();
    }

    fn settle(&mut self) {
        while let Some((_, true)) = self.open.front() {
            self.open.pop_front();
            self.settled += 1;
        }
    }

    /// The place of an open message in its delivery.
    fn index(&self, id: u16) -> Option<usize> {
        self.open.iter().position(|open| *open == (id, false)).map(|place| self.settled + place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_acknowledged_with_all_before_it_is_settled() {
        let mut account = Account::default();
        for id in 1..=3 {
            account.sent(id);
        }
        account.done(2);
        account.done(2);
        account.done(7);
        assert_eq!((account.settled, account.index(3), account.index(2)), (0, Some(2), None));
        account.done(1);
        assert_eq!(account.settled, 2);
        account.sent(1);
        account.done(3);
        assert_eq!((account.settled, account.index(1)), (3, Some(3)));
        account.done(1);
        assert_eq!(account.settled, 4);
        account.sent(0);
        assert_eq!(account.settled, 5);
    }

    proptest::proptest! {
        #[test]
        fn in_whatever_order_acknowledgements_come(order in proptest::sample::subsequence((1u16..=20).collect::<Vec<_>>(), 0..=20)
            .prop_shuffle())
        {
            let mut account = Account::default();
            (1..=20).for_each(|id| account.sent(id));
            order.iter().for_each(|&id| account.done(id));
            let settled = (1..=20).take_while(|id| order.contains(id)).count();
            proptest::prop_assert_eq!(account.settled, settled);
        }
    }

    use proptest::strategy::Strategy as _;
}
