//! What can go wrong with a broker, from either version of the protocol, and what it means for the sender.

use std::error::Error;
use std::io;

use rumqttc::v5::mqttbytes::Error as PacketError;
use rumqttc::v5::mqttbytes::v5::{ConnectReturnCode, PubAckReason, PubCompReason, PubRecReason};
use rumqttc::{ConnectReturnCode as ReturnCode3, v5};

use crate::export::remote::RemoteError;
use crate::export::text::plain;
use crate::export::tls;

/// What went wrong.
#[derive(Debug)]
pub enum Trouble {
    /// The network, or what the system says of it.
    Io(io::Error),
    /// TLS.
    Tls(rustls::Error),
    /// The broker ended the connection without a word, or with one that the library drops: the short form of DISCONNECT, which has no
    /// properties (MQTT 5, section 3.14.2).
    Closed,
    /// The broker did not answer a ping.
    Silent,
    /// The broker gave a reason (MQTT 5, section 2.4), perhaps with a text.
    Reason(u8, Option<String>),
    /// Anything else.
    Other(String),
}

/// When it went wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Before the broker took the connection.
    Connecting,
    /// While records were sent by version 3.1.1, which has no word for a refusal.
    Sending3,
    /// Later, in any other case.
    Connected,
}

impl Trouble {
    /// What it means. `place` is "the broker at HOST:PORT".
    pub fn tell(self, place: &str, phase: Phase) -> RemoteError {
        match self {
            Self::Io(error) => RemoteError::Unreachable(match phase {
                Phase::Connecting => format!("{place} cannot be reached: {error}"),
                _ => format!("the connection to {place} broke: {error}"),
            }),
            Self::Tls(error) => tls::failure(&error, place),
            Self::Closed => RemoteError::Unreachable(match phase {
                Phase::Connecting => format!(
                    "{place} closed the connection before it answered; it may want mqtts, a client certificate (cert and key), or version=3.1.1"
                ),
                Phase::Sending3 => format!(
                    "{place} closed the connection while records were sent; with MQTT 3.1.1 a broker does so if one is too large (set max-packet) or not allowed, or if they are too many at a time (set inflight)"
                ),
                Phase::Connected => format!(
                    "{place} closed the connection; if it does so again and again, another client may have the same client-id, a record may be larger than it takes (set max-packet), or its rules may not allow what is sent"
                ),
            }),
            Self::Silent => RemoteError::Unreachable(format!("{place} does not answer any more")),
            Self::Reason(code, text) => match reason(code, text, place) {
                // Not the records are refused, but all that this client is.
                RemoteError::Refused(text) if phase == Phase::Connecting => RemoteError::Denied(text),
                other => other,
            },
            Self::Other(text) => RemoteError::Unreachable(format!("the exchange with {place} failed: {text}")),
        }
    }

    fn from_io(error: &io::Error) -> Self {
        if let Some(tls) = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
            return Self::Tls(tls.clone());
        }
        // What the decoder says of a connection that ended within a packet.
        if error.to_string() == "bytes remaining on stream" {
            return Self::Closed;
        }
        match error.kind() {
            io::ErrorKind::UnexpectedEof
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::BrokenPipe => Self::Closed,
            kind => Self::Io(io::Error::new(kind, error.to_string())),
        }
    }

    /// What is known of an error of the library: that of the system or of TLS beneath it, or its text.
    fn from_chain(error: &(dyn Error + 'static)) -> Self {
        let mut next = Some(error);
        while let Some(this) = next {
            if let Some(error) = this.downcast_ref::<io::Error>() {
                return Self::from_io(error);
            }
            if let Some(error) = this.downcast_ref::<rustls::Error>() {
                return Self::Tls(error.clone());
            }
            next = this.source();
        }
        Self::Other(error.to_string())
    }

    fn from_packet(error: PacketError) -> Self {
        match error {
            PacketError::Io(error) => Self::from_io(&error),
            // So the library calls codes that it does not know; mosquitto acknowledges with 0x95, which is not in its list.
            PacketError::InvalidConnectReturnCode(code) | PacketError::InvalidReason(code) => Self::Reason(code, None),
            PacketError::OutgoingPacketTooLarge { .. } => Self::Reason(0x95, None),
            // So the library calls a DISCONNECT without a reason.
            PacketError::PayloadRequired => Self::Closed,
            other => Self::Other(other.to_string()),
        }
    }
}

impl From<rumqttc::ConnectionError> for Trouble {
    fn from(error: rumqttc::ConnectionError) -> Self {
        use rumqttc::{ConnectionError, StateError};
        match error {
            ConnectionError::MqttState(StateError::ConnectionAborted) => Self::Closed,
            ConnectionError::MqttState(StateError::AwaitPingResp) => Self::Silent,
            ConnectionError::ConnectionRefused(code) => Self::Reason(
                match code {
                    ReturnCode3::RefusedProtocolVersion => 0x84,
                    ReturnCode3::BadClientId => 0x85,
                    ReturnCode3::ServiceUnavailable => 0x88,
                    ReturnCode3::BadUserNamePassword => 0x86,
                    ReturnCode3::NotAuthorized => 0x87,
                    ReturnCode3::Success => 0x80,
                },
                None,
            ),
            other => Self::from_chain(&other),
        }
    }
}

impl From<v5::ConnectionError> for Trouble {
    fn from(error: v5::ConnectionError) -> Self {
        use v5::{ConnectionError, StateError};
        match error {
            ConnectionError::MqttState(StateError::ConnectionAborted) => Self::Closed,
            ConnectionError::MqttState(StateError::AwaitPingResp) => Self::Silent,
            ConnectionError::MqttState(StateError::ServerDisconnect { reason_code, reason_string }) => {
                Self::Reason(reason_code as u8, reason_string)
            }
            ConnectionError::MqttState(StateError::OutgoingPacketTooLarge { .. }) => Self::Reason(0x95, None),
            ConnectionError::MqttState(StateError::Deserialization(error)) => Self::from_packet(error),
            ConnectionError::ConnectionRefused(code) => Self::Reason(connect_code(code), None),
            other => Self::from_chain(&other),
        }
    }
}

/// The number of a reason not to take the connection.
fn connect_code(code: ConnectReturnCode) -> u8 {
    use ConnectReturnCode as Code;
    match code {
        Code::Success | Code::UnspecifiedError => 0x80,
        Code::MalformedPacket => 0x81,
        Code::ProtocolError => 0x82,
        Code::ImplementationSpecificError => 0x83,
        Code::RefusedProtocolVersion | Code::UnsupportedProtocolVersion => 0x84,
        Code::BadClientId | Code::ClientIdentifierNotValid => 0x85,
        Code::BadUserNamePassword => 0x86,
        Code::NotAuthorized => 0x87,
        Code::ServiceUnavailable | Code::ServerUnavailable => 0x88,
        Code::ServerBusy => 0x89,
        Code::Banned => 0x8A,
        Code::BadAuthenticationMethod => 0x8C,
        Code::TopicNameInvalid => 0x90,
        Code::PacketTooLarge => 0x95,
        Code::QuotaExceeded => 0x97,
        Code::PayloadFormatInvalid => 0x99,
        Code::RetainNotSupported => 0x9A,
        Code::QoSNotSupported => 0x9B,
        Code::UseAnotherServer => 0x9C,
        Code::ServerMoved => 0x9D,
        Code::ConnectionRateExceeded => 0x9F,
    }
}

/// The number of a refusal in an acknowledgement of QoS 1; `None` if it is none.
pub fn ack_code(reason: PubAckReason) -> Option<u8> {
    match reason {
        PubAckReason::Success | PubAckReason::NoMatchingSubscribers => None,
        PubAckReason::UnspecifiedError => Some(0x80),
        PubAckReason::ImplementationSpecificError => Some(0x83),
        PubAckReason::NotAuthorized => Some(0x87),
        PubAckReason::TopicNameInvalid => Some(0x90),
        PubAckReason::PacketIdentifierInUse => Some(0x91),
        PubAckReason::QuotaExceeded => Some(0x97),
        PubAckReason::PayloadFormatInvalid => Some(0x99),
    }
}

/// As [`ack_code`], for the first acknowledgement of QoS 2.
pub fn received_code(reason: PubRecReason) -> Option<u8> {
    match reason {
        PubRecReason::Success | PubRecReason::NoMatchingSubscribers => None,
        PubRecReason::UnspecifiedError => Some(0x80),
        PubRecReason::ImplementationSpecificError => Some(0x83),
        PubRecReason::NotAuthorized => Some(0x87),
        PubRecReason::TopicNameInvalid => Some(0x90),
        PubRecReason::PacketIdentifierInUse => Some(0x91),
        PubRecReason::QuotaExceeded => Some(0x97),
        PubRecReason::PayloadFormatInvalid => Some(0x99),
    }
}

/// As [`ack_code`], for the last acknowledgement of QoS 2.
pub fn complete_code(reason: PubCompReason) -> Option<u8> {
    match reason {
        PubCompReason::Success => None,
        PubCompReason::PacketIdentifierNotFound => Some(0x92),
    }
}

/// What a reason of MQTT 5 means for the sender. Only what can never be put right for the very record is a refusal of it.
fn reason(code: u8, said: Option<String>, place: &str) -> RemoteError {
    let said = said.map(|said| format!(" ({})", plain(&said))).unwrap_or_default();
    let text = |text: &str| format!("{place} {text}{said}");
    let denied = |what: &str| RemoteError::Denied(text(what));
    let busy = |what: &str| RemoteError::Busy { after: None, text: text(what) };
    match code {
        0x84 => denied("does not speak this version of MQTT; change version to 3.1.1 or 5"),
        0x85 => denied("does not accept the client identifier; set client-id"),
        0x86 => denied("does not accept user and password; correct them"),
        0x87 => denied("does not allow this; correct user and password, or allow it in the broker's access rules"),
        0x88 => busy("is not available at the moment"),
        0x89 => busy("is busy"),
        0x8A => denied("has banned this client"),
        0x8C => denied("wants another way of authentication, which is not supported"),
        0x8E => denied("has another client with the same identifier; give each its own client-id"),
        0x90 => denied("does not accept the topic; set topic"),
        0x95 => RemoteError::Refused(text("does not take a record of this size; raise its limit")),
        0x96 => busy("is sent more records a second than it takes"),
        0x97 => busy("says that a quota is used up"),
        0x98 => busy("was told by its administrator to end the connection"),
        0x99 => RemoteError::Refused(text("does not accept the record's format")),
        0x9A => denied("keeps no retained messages; add status=none"),
        0x9B => denied("does not support this quality of service; set a lower qos"),
        0x9C | 0x9D => denied("wants to be left for another server; change the address"),
        0x9F => busy("sees too many connections from this client"),
        0x80 | 0x83 => busy(&format!("reports an error that it does not explain (code {code:#04x})")),
        0x8B => RemoteError::Unreachable(text("is shutting down")),
        _ => RemoteError::Unreachable(text(&format!("ended the exchange (code {code:#04x})"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_have_consequences() {
        let told = |code, phase| Trouble::Reason(code, None).tell("the broker at b:1", phase);
        for code in [0x84, 0x85, 0x86, 0x87, 0x8A, 0x8C, 0x8E, 0x90, 0x9A, 0x9B, 0x9C, 0x9D] {
            assert!(matches!(told(code, Phase::Connected), RemoteError::Denied(_)), "{code:#x}");
        }
        for code in [0x80, 0x83, 0x88, 0x89, 0x96, 0x97, 0x98, 0x9F] {
            assert!(matches!(told(code, Phase::Connected), RemoteError::Busy { .. }), "{code:#x}");
        }
        for code in [0x95, 0x99] {
            assert!(matches!(told(code, Phase::Connected), RemoteError::Refused(_)), "{code:#x}");
            assert!(
                matches!(told(code, Phase::Connecting), RemoteError::Denied(_)),
                "no record is lost for it: {code:#x}"
            );
        }
        for code in [0x81, 0x82, 0x8B, 0x8D, 0x91, 0x93, 0xA0, 0xFF] {
            assert!(matches!(told(code, Phase::Connected), RemoteError::Unreachable(_)), "{code:#x}");
        }
        let said = Trouble::Reason(0x97, Some("5 MB a day ".into())).tell("the broker at b:1", Phase::Connected);
        assert_eq!(said.to_string(), "the broker at b:1 says that a quota is used up (5 MB a day)");
    }

    #[test]
    fn the_error_beneath_is_found() {
        let inner = rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer);
        let wrapped = || io::Error::new(io::ErrorKind::InvalidData, inner.clone());
        let v3 = Trouble::from(rumqttc::ConnectionError::Io(wrapped()));
        let v5 = Trouble::from(v5::ConnectionError::Tls(rumqttc::TlsError::Io(wrapped())));
        let packet = Trouble::from(v5::ConnectionError::MqttState(v5::StateError::Deserialization(wrapped().into())));
        for trouble in [v3, v5, packet] {
            let told = trouble.tell("the broker at b:1", Phase::Connecting);
            assert!(matches!(&told, RemoteError::Denied(text) if text.contains("ca=PATH")), "{told}");
        }
        let reset = || io::Error::from(io::ErrorKind::ConnectionReset);
        assert!(matches!(Trouble::from(rumqttc::ConnectionError::Io(reset())), Trouble::Closed));
        let unknown = PacketError::InvalidConnectReturnCode(0x95);
        let unknown = v5::ConnectionError::MqttState(v5::StateError::Deserialization(unknown));
        assert!(matches!(Trouble::from(unknown), Trouble::Reason(0x95, None)));
    }
}
