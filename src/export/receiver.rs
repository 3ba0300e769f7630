//! Receivers over a network, by the scheme of their address.

use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::address::Address;
use super::http::{Http, HttpOptions};
#[cfg(feature = "kafka")]
use super::kafka::{Kafka, KafkaOptions};
use super::mqtt::{Mqtt, MqttOptions};
use super::remote::Remote;
use super::sink::Clock;
use super::uri::UriError;

const HTTP: [&str; 2] = ["http", "https"];
#[cfg(feature = "kafka")]
const KAFKA: [&str; 2] = ["kafka", "kafkas"];

/// A receiver over a network, and how to reach it.
#[derive(Debug, Clone, PartialEq)]
pub struct RemoteUri {
    bare: String,
    protocol: Protocol,
}

#[derive(Debug, Clone, PartialEq)]
enum Protocol {
    Mqtt(MqttOptions),
    Http(HttpOptions),
    #[cfg(feature = "kafka")]
    Kafka(KafkaOptions),
}

impl RemoteUri {
    /// Schemes that this build knows.
    pub fn schemes() -> Vec<&'static str> {
        let mut schemes = MqttOptions::SCHEMES.to_vec();
        schemes.extend(HTTP);
        #[cfg(feature = "kafka")]
        schemes.extend(KAFKA);
        schemes
    }

    /// Whether a text begins as the address of a receiver does.
    pub fn is_one(text: &str) -> bool {
        text.split_once("://").is_some_and(|(scheme, _)| Self::schemes().contains(&scheme))
    }

    /// What `uri` names; `None` if its scheme is none of [`schemes`](Self::schemes).
    pub fn parse(uri: &str) -> Option<Result<Self, UriError>> {
        let scheme = uri.split_once(':')?.0;
        let protocol: fn(Address) -> Result<Protocol, UriError> = match scheme {
            _ if MqttOptions::SCHEMES.contains(&scheme) => |address| MqttOptions::parse(address).map(Protocol::Mqtt),
            _ if HTTP.contains(&scheme) => |address| HttpOptions::parse(address).map(Protocol::Http),
            #[cfg(feature = "kafka")]
            _ if KAFKA.contains(&scheme) => |address| KafkaOptions::parse(address).map(Protocol::Kafka),
            _ => return None,
        };
        Some(Address::parse(uri).and_then(|address| {
            let bare = address.bare();
            Ok(Self { bare, protocol: protocol(address)? })
        }))
    }

    /// Where records go, as it may be shown: without user, password and options, and on the web without the query.
    pub fn bare(&self) -> &str {
        &self.bare
    }

    /// The name of its spool: the address as far as a file's name can hold it, and a part of its digest. Options have no part in it, nor
    /// has the query on the web, so that records which wait survive a change of password, key or quality of service.
    pub fn name(&self) -> String {
        let plain = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '.' | '-') { c } else { '-' };
        let mut name: String = self.bare.replace("://", "-").chars().map(plain).take(80).collect();
        name.truncate(name.trim_end_matches(['-', '.']).len());
        let digest = Sha256::digest(self.bare.as_bytes());
        format!("{name}-{}", hex::encode(digest.get(..4).unwrap_or_default()))
    }

    /// What talks to the receiver. Nothing is connected yet. `client` names this process to receivers that want a name for each.
    pub fn remote(&self, client: &str, clock: Arc<dyn Clock>) -> Box<dyn Remote> {
        match &self.protocol {
            Protocol::Mqtt(options) => Box::new(Mqtt::new(options.clone(), client)),
            Protocol::Http(options) => Box::new(Http::new(options.clone(), clock)),
            #[cfg(feature = "kafka")]
            Protocol::Kafka(options) => Box::new(Kafka::new(options.clone())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(uri: &str) -> RemoteUri {
        RemoteUri::parse(uri).unwrap().unwrap()
    }

    #[test]
    fn a_spool_is_named_by_the_address_and_not_by_options() {
        let name = parsed("mqtt://broker:1883/site/line 1").name();
        assert!(name.starts_with("mqtt-broker-1883-site-line-1-"), "{name}");
        assert_eq!(name, parsed("mqtt://me:secret@broker:1883/site/line 1?qos=2").name());
        assert_ne!(name, parsed("mqtt://broker:1883/site/line-1").name());
        assert!(parsed(&format!("https://h/{}", "x".repeat(500))).name().len() < 100);
        assert!(!parsed("mqtt://broker/..").name().contains('/'));
    }

    #[test]
    fn a_key_in_a_query_is_not_shown_and_may_change() {
        let uri = parsed("https://c/in%3Fkey=geheim?gzip=no");
        assert_eq!(uri.bare(), "https://c/in");
        assert!(!format!("{uri:?}{}{}", uri.bare(), uri.name()).contains("geheim"), "{uri:?}");
        assert_eq!(uri.name(), parsed("https://c/in%3Fkey=neu").name());
        assert_ne!(uri, parsed("https://c/in%3Fkey=neu?gzip=no"), "it is another set-up all the same");
    }

    #[test]
    fn other_schemes_are_none_of_its_business() {
        assert!(RemoteUri::parse("file:out.jsonl").is_none());
        assert!(RemoteUri::parse("out.jsonl").is_none());
        assert!(RemoteUri::parse("mqtt://").unwrap().is_err());
        for scheme in RemoteUri::schemes() {
            assert!(RemoteUri::parse(&format!("{scheme}://h/x")).unwrap().is_ok(), "{scheme}");
        }
    }
}
