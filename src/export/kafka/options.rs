//! Where records go in a Kafka cluster: the address and its options.

use rdkafka::config::ClientConfig;
use rdkafka::error::KafkaError;

use crate::export::address::{Address, Password};
use crate::export::kind::Kind;
use crate::export::tls::TlsFiles;
use crate::export::uri::UriError;

const OPTIONS: [&str; 9] =
    ["tls", "sasl", "compression", "ca", "cert", "key", "password-env", "password-file", "rdkafka.NAME"];
/// What begins the name of an option for librdkafka itself.
const RAW: &str = "rdkafka.";
/// The topic of an address without a path.
const TOPIC: &str = "vigil";
/// Longest name of a topic.
const TOPIC_LONGEST: usize = 249;

/// Where and how to send: an address `kafka://…` or `kafkas://…` in parts. Its `Debug` holds no secret.
#[derive(Clone, PartialEq, Eq)]
pub struct KafkaOptions {
    place: String,
    brokers: String,
    topic: String,
    /// What the brokers know the gateway by.
    pub login: Option<(Sasl, String, Option<Password>)>,
    /// Certificates, if the connection is encrypted.
    pub tls: Option<TlsFiles>,
    /// How records are compressed.
    pub compression: Compression,
    /// Settings of librdkafka, over those that are made here.
    raw: Vec<(String, String)>,
    /// Largest message that librdkafka takes, bytes: its `message.max.bytes`.
    pub(super) largest: usize,
}

impl std::fmt::Debug for KafkaOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let raw: Vec<&str> = self.raw.iter().map(|(name, _)| name.as_str()).collect();
        f.debug_struct("KafkaOptions")
            .field("place", &self.place)
            .field("login", &self.login)
            .field("tls", &self.tls)
            .field("compression", &self.compression)
            .field("raw", &raw)
            .finish_non_exhaustive()
    }
}

/// How user and password are shown to the brokers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sasl {
    /// As they are; to be used over TLS.
    Plain,
    /// By a proof that does not show the password.
    ScramSha256,
    /// As before, with a longer digest.
    ScramSha512,
}

/// How records are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Compression {
    /// Not at all.
    None,
    /// What every consumer can read.
    #[default]
    Gzip,
    /// Less, for less work.
    Snappy,
    /// Less, for the least work.
    Lz4,
}

impl KafkaOptions {
    /// The options of an address. Its path is the topic, in which `{kind}` stands for a record's kind; without one it is `vigil`.
    ///
    /// # Errors
    /// Any [`UriError`]; its text holds no secret.
    pub fn parse(mut address: Address) -> Result<Self, UriError> {
        let secure = match address.scheme.as_str() {
            "kafka" => false,
            "kafkas" => true,
            scheme => return Err(UriError::Host { scheme: scheme.to_string() }),
        };
        let compression = match address.take("compression").as_deref() {
            None => Compression::default(),
            Some("none") => Compression::None,
            Some("gzip") => Compression::Gzip,
            Some("snappy") => Compression::Snappy,
            Some("lz4") => Compression::Lz4,
            Some(value) => return Err(wrong("compression", value, "one of none, gzip, snappy, lz4")),
        };
        let login = login(&mut address)?;
        let tls = tls(&mut address, secure)?;
        let brokers = address.hosts.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
        let topic = topic(&address.path)?;
        let mut options = Self {
            place: format!("{}://{brokers}/{topic}", address.scheme),
            brokers,
            topic,
            login,
            tls,
            compression,
            raw: raw(&mut address)?,
            largest: usize::MAX,
        };
        let made = options.settings("").create_native_config().map_err(|error| match error {
            // Its value may be a password.
            KafkaError::ClientConfig(_, _, name, _) => {
                wrong("rdkafka.NAME", &name, "a setting of librdkafka, or its value is not one that it takes")
            }
            _ => wrong("rdkafka.NAME", "", "a setting of librdkafka"),
        })?;
        let largest = made.get("message.max.bytes").ok().and_then(|bytes| bytes.parse().ok());
        options.largest = largest.unwrap_or(usize::MAX);
        Ok(options)
    }

    /// Where records go, for messages.
    pub(super) fn place(&self) -> &str {
        &self.place
    }

    /// The topic for records of a kind.
    pub(super) fn topic(&self, kind: Kind) -> String {
        self.topic.replace("{kind}", kind.as_str())
    }

    /// What a producer is made with. The password is read here.
    pub(super) fn config(&self) -> Result<ClientConfig, String> {
        let password = match &self.login {
            Some((_, _, Some(password))) => password.read()?,
            _ => String::new(),
        };
        if let Some(tls) = &self.tls {
            // librdkafka reads the files itself, and says of one that it cannot read neither which nor why.
            let authorities = if tls.ca.is_some() { tls.authorities().map(drop) } else { Ok(()) };
            authorities.and_then(|()| tls.identity().map(drop)).map_err(|error| error.to_string())?;
        }
        Ok(self.settings(&password))
    }

    fn settings(&self, password: &str) -> ClientConfig {
        let mut config = ClientConfig::new();
        let compression = match self.compression {
            Compression::None => "none",
            Compression::Gzip => "gzip",
            Compression::Snappy => "snappy",
            Compression::Lz4 => "lz4",
        };
        for (name, value) in [
            ("bootstrap.servers", self.brokers.as_str()),
            ("client.id", "vigil"),
            ("enable.idempotence", "true"),
            ("enable.gapless.guarantee", "true"),
            ("acks", "all"),
            // No limit of its own: the caller's ends the producer.
            ("message.timeout.ms", "0"),
            ("topic.metadata.propagation.max.ms", "5000"),
            // One that nobody has made would have as many partitions and copies as the brokers think best.
            ("allow.auto.create.topics", "false"),
            ("reconnect.backoff.max.ms", "2000"),
            // As clients in Java choose partitions, so that several producers agree.
            ("partitioner", "murmur2_random"),
            ("compression.codec", compression),
            // Figures about the client, which nobody asked it to send.
            ("enable.metrics.push", "false"),
        ] {
            config.set(name, value);
        }
        let protocol = match (&self.login, &self.tls) {
            (None, None) => "plaintext",
            (None, Some(_)) => "ssl",
            (Some(_), None) => "sasl_plaintext",
            (Some(_), Some(_)) => "sasl_ssl",
        };
        config.set("security.protocol", protocol);
        if let Some((sasl, user, _)) = &self.login {
            let mechanism = match sasl {
                Sasl::Plain => "PLAIN",
                Sasl::ScramSha256 => "SCRAM-SHA-256",
                Sasl::ScramSha512 => "SCRAM-SHA-512",
            };
            config.set("sasl.mechanisms", mechanism).set("sasl.username", user).set("sasl.password", password);
        }
        if let Some(tls) = &self.tls {
            let path = |path: &std::path::Path| path.display().to_string();
            if let Some(ca) = &tls.ca {
                config.set("ssl.ca.location", path(ca));
            }
            if let Some((cert, key)) = &tls.client {
                config.set("ssl.certificate.location", path(cert)).set("ssl.key.location", path(key));
            }
        }
        for (name, value) in &self.raw {
            config.set(name, value);
        }
        config
    }
}

fn wrong(option: &'static str, value: &str, wanted: &'static str) -> UriError {
    UriError::Value { option, value: value.to_string(), wanted }
}

fn topic(path: &str) -> Result<String, UriError> {
    let template = if path.is_empty() { TOPIC } else { path };
    let good = |c: char| c.is_ascii_alphanumeric() || ['.', '_', '-'].contains(&c);
    for kind in Kind::ALL {
        let name = template.replace("{kind}", kind.as_str());
        if name.len() > TOPIC_LONGEST || !name.chars().all(good) || name == "." || name == ".." {
            let wanted = "a topic's name: letters, digits, `.`, `_`, `-` and {kind}";
            return Err(wrong("the path", template, wanted));
        }
    }
    Ok(template.to_string())
}

fn login(address: &mut Address) -> Result<Option<(Sasl, String, Option<Password>)>, UriError> {
    let sasl = match address.take("sasl").as_deref() {
        None => None,
        Some("plain") => Some(Sasl::Plain),
        Some("scram-sha-256") => Some(Sasl::ScramSha256),
        Some("scram-sha-512") => Some(Sasl::ScramSha512),
        Some(value) => return Err(wrong("sasl", value, "one of plain, scram-sha-256, scram-sha-512")),
    };
    match (address.user.take(), sasl, address.password.take()) {
        (Some(user), sasl, password) => Ok(Some((sasl.unwrap_or(Sasl::Plain), user, password))),
        (None, None, None) => Ok(None),
        (None, Some(_), _) => Err(wrong("sasl", "", "of use without a user: write kafka://USER:PASSWORD@HOST")),
        (None, None, Some(password)) => {
            Err(wrong("password", &format!("{password:?}"), "of use without a user's name"))
        }
    }
}

fn tls(address: &mut Address, secure: bool) -> Result<Option<TlsFiles>, UriError> {
    let wanted = match address.take("tls").as_deref() {
        None => secure,
        Some("yes") => true,
        Some("no") if !secure => false,
        Some("no") => return Err(wrong("tls", "no", "possible with kafkas://; write kafka://")),
        Some(value) => return Err(wrong("tls", value, "yes or no")),
    };
    let files = TlsFiles::take(address)?;
    match (&files.ca, &files.client) {
        (Some(path), _) | (None, Some((path, _))) if !wanted => {
            Err(wrong("tls", &path.display().to_string(), "of use without TLS; write kafkas://"))
        }
        _ => Ok(wanted.then_some(files)),
    }
}

/// Takes the options for librdkafka; any other that is left is an error.
fn raw(address: &mut Address) -> Result<Vec<(String, String)>, UriError> {
    let mut found = Vec::new();
    loop {
        match address.finish(&OPTIONS) {
            Ok(()) => return Ok(found),
            Err(UriError::Option { option, scheme, hint }) => {
                let unknown =
                    || UriError::Option { option: option.clone(), scheme: scheme.clone(), hint: hint.clone() };
                let name = option.strip_prefix(RAW).filter(|name| !name.is_empty()).ok_or_else(unknown)?;
                let value = address.take(&option).ok_or_else(unknown)?;
                found.push((name.to_string(), value));
            }
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(uri: &str) -> Result<KafkaOptions, String> {
        KafkaOptions::parse(Address::parse(uri).unwrap()).map_err(|error| error.to_string())
    }

    fn setting(uri: &str, name: &str) -> Option<String> {
        parsed(uri).unwrap().config().unwrap().get(name).map(str::to_string)
    }

    #[test]
    fn an_address_says_where_and_how() {
        let plain = parsed("kafka://a,b:9093,[::1]:9094").unwrap();
        assert_eq!((plain.topic(Kind::Alarm), plain.compression), ("vigil".to_string(), Compression::Gzip));
        let uri = "kafka://a,b:9093,[::1]:9094";
        assert_eq!(setting(uri, "bootstrap.servers").as_deref(), Some("a,b:9093,[::1]:9094"));
        assert_eq!(setting(uri, "security.protocol").as_deref(), Some("plaintext"));
        assert_eq!(
            (setting(uri, "acks").as_deref(), setting(uri, "enable.idempotence").as_deref()),
            (Some("all"), Some("true"))
        );
        let folder = tempfile::tempdir().unwrap();
        let ca = folder.path().join("ca.pem");
        let certificate = rcgen::generate_simple_self_signed(["a".to_owned()]).unwrap().cert;
        std::fs::write(&ca, certificate.pem()).unwrap();
        let ca = ca.display().to_string();
        let secret = format!("kafkas://me:geheim@a/site-1.{{kind}}?sasl=scram-sha-512&ca={ca}&compression=lz4");
        let all = parsed(&secret).unwrap();
        assert_eq!(all.place(), "kafkas://a/site-1.{kind}");
        assert_eq!(all.topic(Kind::Telemetry), "site-1.telemetry");
        assert!(!format!("{all:?}").contains("geheim"), "{all:?}");
        for (name, value) in [
            ("security.protocol", "sasl_ssl"),
            ("sasl.mechanisms", "SCRAM-SHA-512"),
            ("sasl.password", "geheim"),
            ("ssl.ca.location", ca.as_str()),
            ("compression.codec", "lz4"),
        ] {
            assert_eq!(setting(&secret, name).as_deref(), Some(value), "{name}");
        }
        assert_eq!(setting("kafka://me@a/?tls=yes", "security.protocol").as_deref(), Some("sasl_ssl"));
        assert_eq!(setting(uri, "allow.auto.create.topics").as_deref(), Some("false"));
        assert_eq!((plain.largest, all.largest), (1_000_000, 1_000_000));
        assert_eq!(parsed("kafka://a/?rdkafka.message.max.bytes=5000").unwrap().largest, 5000);
        assert_eq!(setting("kafka://a/?rdkafka.linger.ms=50", "linger.ms").as_deref(), Some("50"));
        assert_eq!(setting("kafka://a/?rdkafka.client.id=x&rdkafka.linger.ms=5", "client.id").as_deref(), Some("x"));
    }

    #[test]
    fn every_compression_is_built_in() {
        for name in ["none", "gzip", "snappy", "lz4"] {
            assert!(parsed(&format!("kafka://a/?compression={name}")).is_ok(), "{name}");
        }
    }

    #[test]
    fn wrong_addresses_get_an_answer_that_helps() {
        for (uri, text) in [
            ("mqtt://a/", "the address names no host"),
            ("kafka://a/b/c", "the path: `b/c` is not a topic's name"),
            ("kafka://a/{camera}", "is not a topic's name"),
            ("kafka://a/..", "is not a topic's name"),
            ("kafka://a/?compression=zstd", "compression: `zstd` is not one of none, gzip, snappy, lz4"),
            ("kafka://a/?sasl=plain", "sasl: `` is not of use without a user"),
            ("kafka://u@a/?sasl=gssapi", "sasl: `gssapi` is not one of plain"),
            ("kafkas://a/?tls=no", "tls: `no` is not possible with kafkas://"),
            ("kafka://a/?tls=maybe", "tls: `maybe` is not yes or no"),
            ("kafka://a/?ca=ca.pem", "tls: `ca.pem` is not of use without TLS"),
            ("kafka://a/?cert=c.pem&key=k.pem", "tls: `c.pem` is not of use without TLS"),
            ("kafka://a/?compresion=gzip", "(did you mean compression?)"),
            ("kafka://a/?rdkafka.=1", "`rdkafka.` is not an option"),
            ("kafka://a/?rdkafka.no.such=geheim", "rdkafka.NAME: `no.such` is not a setting of librdkafka"),
            ("kafka://a/?rdkafka.linger.ms=geheim", "rdkafka.NAME: `linger.ms` is not a setting"),
            ("kafka://:geheim@a/", "password: `<given>` is not of use without a user's name"),
        ] {
            let error = parsed(uri).unwrap_err();
            assert!(error.contains(text), "{uri}: {error}");
            assert!(!error.contains("geheim"), "{error}");
        }
    }
}
