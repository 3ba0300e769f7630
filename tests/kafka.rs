//! The Kafka receiver against librdkafka's mock cluster.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test may")]

use std::collections::{BTreeMap, HashSet};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use gstvigil::export::address::Address;
use gstvigil::export::kafka::{Kafka, KafkaOptions};
use gstvigil::export::kind::Kind;
use gstvigil::export::remote::{Outgoing, Remote, RemoteError};
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Headers, Message};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use rustls::pki_types::pem::PemObject;

/// Within this, all must have happened.
const GUARD: Duration = Duration::from_secs(30);
/// The limit of sends that are to run into it.
const SHORT: Duration = Duration::from_millis(500);
const PARTITIONS: i32 = 3;

type Cluster = MockCluster<'static, DefaultProducerContext>;

fn cluster(topics: &[&str]) -> Cluster {
    let cluster = MockCluster::new(1).unwrap();
    for topic in topics {
        cluster.create_topic(topic, PARTITIONS, 1).unwrap();
    }
    cluster
}

fn kafka(brokers: &str, rest: &str) -> Kafka {
    let address = Address::parse(&format!("kafka://{brokers}/{rest}")).unwrap();
    Kafka::new(KafkaOptions::parse(address).unwrap())
}

fn record(kind: Kind, camera: &str, number: usize) -> Outgoing {
    let body = format!("{{\"schema\":\"vigil/1\",\"id\":\"{camera}/{number}\"}}").into_bytes();
    Outgoing { kind, camera: camera.into(), body }
}

/// Records of four cameras in turns.
fn records(numbers: std::ops::Range<usize>) -> Vec<Outgoing> {
    let cameras = ["door", "gate", "hall", "yard"];
    numbers.map(|number| record(Kind::Frame, cameras[number % cameras.len()], number)).collect()
}

/// Sends, and watches that it does not take longer than it may by any measure.
fn send(sink: &mut Kafka, batch: &[Outgoing], limit: Duration) -> Result<(), RemoteError> {
    let start = Instant::now();
    let result = sink.send(batch, limit);
    assert!(start.elapsed() < limit + GUARD, "{:?}", start.elapsed());
    result
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Seen {
    camera: String,
    partition: i32,
    kind: String,
    id: String,
    body: String,
}

/// Reads a topic from its beginning until so many different records were seen, and then until its end.
fn consume(cluster: &Cluster, topic: &str, different: usize) -> Vec<Seen> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", cluster.bootstrap_servers())
        .set("group.id", "test")
        .set("enable.partition.eof", "true")
        .create()
        .unwrap();
    let mut all = TopicPartitionList::new();
    for partition in 0..PARTITIONS {
        all.add_partition_offset(topic, partition, Offset::Beginning).unwrap();
    }
    consumer.assign(&all).unwrap();
    let (start, mut seen, mut ids, mut ends) = (Instant::now(), Vec::new(), HashSet::new(), HashSet::new());
    while ids.len() < different || ends.len() < PARTITIONS as usize {
        assert!(start.elapsed() < GUARD, "{} of {different} came: {ids:?}", ids.len());
        let message = match consumer.poll(Duration::from_millis(100)) {
            Some(Ok(message)) => message,
            Some(Err(rdkafka::error::KafkaError::PartitionEOF(partition))) => {
                ends.insert(partition);
                continue;
            }
            _ => continue,
        };
        let text = |bytes: Option<&[u8]>| String::from_utf8(bytes.unwrap_or_default().to_vec()).unwrap();
        let headers: BTreeMap<String, String> =
            message.headers().unwrap().iter().map(|header| (header.key.to_string(), text(header.value))).collect();
        ids.insert(headers["id"].clone());
        seen.push(Seen {
            camera: text(message.key()),
            partition: message.partition(),
            kind: headers["kind"].clone(),
            id: headers["id"].clone(),
            body: text(message.payload()),
        });
    }
    seen
}

/// Whether the first copies of all these are there, in order for each camera.
fn assert_complete(seen: &[Seen], sent: &[Outgoing]) {
    let mut known = HashSet::new();
    let mut cameras: BTreeMap<&str, (Vec<&str>, Vec<&str>)> = BTreeMap::new();
    for one in seen.iter().filter(|one| known.insert(one.id.as_str())) {
        cameras.entry(&one.camera).or_default().0.push(&one.body);
    }
    for one in sent {
        cameras.entry(&one.camera).or_default().1.push(std::str::from_utf8(&one.body).unwrap());
    }
    for (camera, (seen, sent)) in cameras {
        assert_eq!(seen, sent, "{camera}");
    }
}

#[test]
fn records_arrive_once_and_in_order() {
    let cluster = cluster(&["vigil"]);
    let mut sink = kafka(&cluster.bootstrap_servers(), "");
    sink.tick(GUARD).unwrap();
    send(&mut sink, &[], GUARD).unwrap();
    let sent = records(0..400);
    for batch in sent.chunks(64) {
        send(&mut sink, batch, GUARD).unwrap();
        sink.tick(GUARD).unwrap();
    }
    sink.close(GUARD);
    let seen = consume(&cluster, "vigil", sent.len());
    assert_eq!(seen.len(), sent.len(), "none came twice");
    assert_complete(&seen, &sent);
    let places: HashSet<_> = seen.iter().map(|one| (&one.camera, one.partition)).collect();
    assert_eq!(places.len(), 4, "a camera has one partition: {places:?}");
    assert!(seen.iter().all(|one| one.kind == "frame" && one.id.starts_with(&format!("{}/", one.camera))));
    // After good-bye it goes on with a new connection.
    send(&mut sink, &records(400..402), GUARD).unwrap();
}

#[test]
fn kinds_may_have_topics_of_their_own() {
    let cluster = cluster(&["site-alarm", "site-frame"]);
    let mut sink = kafka(&cluster.bootstrap_servers(), "site-{kind}?compression=lz4");
    let (alarm, frame) = (record(Kind::Alarm, "gate", 1), record(Kind::Frame, "gate", 2));
    send(&mut sink, &[alarm.clone(), frame.clone()], GUARD).unwrap();
    assert_complete(&consume(&cluster, "site-alarm", 1), &[alarm]);
    assert_complete(&consume(&cluster, "site-frame", 1), &[frame]);
}

#[test]
fn a_broker_that_goes_and_comes_back_costs_nothing() {
    let cluster = cluster(&["vigil"]);
    let mut sink = kafka(&cluster.bootstrap_servers(), "");
    let sent = records(0..12);
    send(&mut sink, &sent[..4], GUARD).unwrap();
    cluster.broker_down(1).unwrap();
    for _ in 0..2 {
        let error = send(&mut sink, &sent[4..8], SHORT).unwrap_err();
        assert!(matches!(&error, RemoteError::Unreachable(_)), "{error:?}");
        sink.tick(GUARD).unwrap();
    }
    cluster.broker_up(1).unwrap();
    let start = Instant::now();
    while send(&mut sink, &sent[4..8], GUARD).is_err() {
        assert!(start.elapsed() < GUARD);
    }
    send(&mut sink, &sent[8..], GUARD).unwrap();
    assert_complete(&consume(&cluster, "vigil", sent.len()), &sent);
}

#[test]
fn what_passes_is_not_noticed() {
    let cluster = cluster(&["vigil"]);
    let mut sink = kafka(&cluster.bootstrap_servers(), "");
    let sent = records(0..120);
    for (batch, errors) in sent.chunks(30).zip([
        [RDKafkaRespErr::RD_KAFKA_RESP_ERR__TRANSPORT; 3],
        [RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS; 3],
        [RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION; 3],
        [RDKafkaRespErr::RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT; 3],
    ]) {
        cluster.request_errors(RDKafkaApiKey::Produce, &errors);
        send(&mut sink, batch, GUARD).unwrap();
    }
    // Brokers drop what they have by its number. The mock cluster looks at that of transactions only.
    assert_complete(&consume(&cluster, "vigil", sent.len()), &sent);
}

#[test]
fn what_a_broker_says_is_understood() {
    use RDKafkaRespErr as E;
    let denied = |text: &'static str| (Some(text), false);
    for (error, (text, refused)) in [
        (E::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED, denied("allow this user")),
        (E::RD_KAFKA_RESP_ERR_POLICY_VIOLATION, denied("check what the brokers")),
        (E::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE, (None, true)),
        (E::RD_KAFKA_RESP_ERR_INVALID_RECORD, (None, true)),
    ] {
        let cluster = cluster(&["vigil"]);
        let mut sink = kafka(&cluster.bootstrap_servers(), "");
        let sent = records(0..12);
        send(&mut sink, &sent[..4], GUARD).unwrap();
        cluster.request_errors(RDKafkaApiKey::Produce, &[error]);
        let result = send(&mut sink, &sent[4..], GUARD).unwrap_err();
        assert!(result.to_string().starts_with("kafka://127.0.0.1:"), "{result}");
        match (&result, text) {
            (RemoteError::Denied(said), Some(text)) => assert!(said.contains(text), "{said}"),
            (RemoteError::Refused(_), None) => assert!(refused),
            _ => panic!("{error:?}: {result:?}"),
        }
        // The same again, as a shipper does.
        send(&mut sink, &sent[4..], GUARD).unwrap();
        assert_complete(&consume(&cluster, "vigil", sent.len()), &sent);
    }
}

#[test]
fn a_record_that_is_too_large_is_refused_alone() {
    let cluster = cluster(&["vigil"]);
    let mut sink = kafka(&cluster.bootstrap_servers(), "?rdkafka.message.max.bytes=100000");
    let mut sent = records(0..8);
    sent[5].body = vec![b'x'; 200_000];
    let error = send(&mut sink, &sent, GUARD).unwrap_err();
    assert!(matches!(&error, RemoteError::Refused(_)), "{error:?}");
    let error = send(&mut sink, &sent[5..6], GUARD).unwrap_err();
    assert!(matches!(&error, RemoteError::Refused(_)), "{error:?}");
    sent.remove(5);
    for batch in sent.chunks(2) {
        send(&mut sink, batch, GUARD).unwrap();
    }
    assert_complete(&consume(&cluster, "vigil", sent.len()), &sent);
}

#[test]
fn a_slow_broker_is_not_waited_for_without_end() {
    let cluster = cluster(&["vigil"]);
    let mut sink = kafka(&cluster.bootstrap_servers(), "");
    let sent = records(0..12);
    send(&mut sink, &sent[..4], GUARD).unwrap();
    cluster.broker_round_trip_time(1, 4 * SHORT).unwrap();
    let error = send(&mut sink, &sent[4..8], SHORT).unwrap_err();
    let text = "acknowledged 0 of 4 records within 500.0ms";
    assert!(matches!(&error, RemoteError::Unreachable(said) if said.contains(text)), "{error:?}");
    cluster.broker_round_trip_time(1, Duration::ZERO).unwrap();
    send(&mut sink, &sent[4..8], GUARD).unwrap();
    send(&mut sink, &sent[8..], GUARD).unwrap();
    assert_complete(&consume(&cluster, "vigil", sent.len()), &sent);
}

#[test]
fn whatever_fails_every_record_arrives_and_in_order() {
    use RDKafkaRespErr as E;
    let cluster = cluster(&["vigil"]);
    let mut sink = kafka(&cluster.bootstrap_servers(), "");
    let sent = records(0..240);
    let (start, mut failed) = (Instant::now(), 0);
    for (number, batch) in sent.chunks(16).enumerate() {
        match number % 5 {
            0 => cluster.request_errors(
                RDKafkaApiKey::Produce,
                &[E::RD_KAFKA_RESP_ERR__TRANSPORT, E::RD_KAFKA_RESP_ERR_POLICY_VIOLATION],
            ),
            1 => cluster.request_errors(RDKafkaApiKey::Produce, &[E::RD_KAFKA_RESP_ERR_UNKNOWN]),
            2 => cluster.broker_round_trip_time(1, SHORT).unwrap(),
            3 => cluster.broker_down(1).unwrap(),
            _ => {}
        }
        // A producer that is made anew asks the brokers for its number, which takes longer than the first limit.
        let mut limit = SHORT;
        while send(&mut sink, batch, limit).is_err() {
            (failed, limit) = (failed + 1, GUARD);
            cluster.broker_round_trip_time(1, Duration::ZERO).unwrap();
            cluster.broker_up(1).unwrap();
            assert!(start.elapsed() < 4 * GUARD, "no end to it");
        }
    }
    assert!(failed >= 6, "{failed} failed");
    assert_complete(&consume(&cluster, "vigil", sent.len()), &sent);
}

#[test]
fn a_topic_that_there_is_not_is_named() {
    let cluster = cluster(&[]);
    cluster.topic_error("vigil", RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART).unwrap();
    let error = send(&mut kafka(&cluster.bootstrap_servers(), ""), &records(0..2), GUARD).unwrap_err();
    assert!(
        matches!(&error, RemoteError::Denied(text) if text.contains("/vigil: ") && text.contains("make the topic")),
        "{error:?}"
    );
}

#[test]
fn nobody_there_is_unreachable() {
    let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = free.local_addr().unwrap().to_string();
    // It takes connections, since the system does, and never says a word.
    let error = send(&mut kafka(&address, ""), &records(0..2), SHORT).unwrap_err();
    assert!(matches!(&error, RemoteError::Unreachable(text) if text.contains("acknowledged 0 of 2")), "{error:?}");
    drop(free);
    let mut sink = kafka(&address, "");
    let error = send(&mut sink, &records(0..2), 8 * SHORT).unwrap_err();
    assert!(matches!(&error, RemoteError::Unreachable(text) if text.contains("Connection refused")), "{error:?}");
    let error = send(&mut kafka("no-such-host.invalid", ""), &records(0..2), SHORT).unwrap_err();
    assert!(matches!(&error, RemoteError::Unreachable(_)), "{error:?}");
}

#[test]
fn a_login_that_does_not_work_is_said_without_the_password() {
    let folder = tempfile::tempdir().unwrap();
    let password = folder.path().join("password");
    let cluster = cluster(&["vigil"]);
    let brokers = cluster.bootstrap_servers();
    let file = password.display();
    let error = send(&mut kafka(&format!("me@{brokers}"), &format!("?password-file={file}")), &records(0..1), GUARD)
        .unwrap_err();
    assert!(matches!(&error, RemoteError::Denied(text) if text.contains("cannot be read")), "{error:?}");
    std::fs::write(&password, "geheim").unwrap();
    for rest in ["?sasl=plain", "?sasl=scram-sha-256", "?sasl=scram-sha-512"] {
        // The mock cluster knows no logins, and so refuses all.
        let mut sink = kafka(&format!("me@{brokers}"), &format!("{rest}&password-file={file}"));
        let error = send(&mut sink, &records(0..1), 4 * SHORT).unwrap_err();
        assert!(!error.to_string().contains("geheim"), "{error}");
        assert!(matches!(&error, RemoteError::Denied(_) | RemoteError::Unreachable(_)), "{error:?}");
    }
    let wrong = folder.path().join("none.pem");
    let rest = format!("?tls=yes&ca={}", wrong.display());
    let error = send(&mut kafka(&brokers, &rest), &records(0..1), GUARD).unwrap_err();
    assert!(matches!(&error, RemoteError::Denied(text) if text.contains("none.pem")), "{error:?}");
    // TLS to a broker that has none.
    let error = send(&mut kafka(&brokers, "?tls=yes"), &records(0..1), 4 * SHORT).unwrap_err();
    assert!(matches!(&error, RemoteError::Denied(_) | RemoteError::Unreachable(_)), "{error:?}");
    assert!(error.to_string().to_lowercase().contains("ssl"), "{error}");
}

/// A broker that can say hello and hear logins, which the mock cluster cannot: it refuses all, and remembers them.
struct Doorman {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    logins: Arc<Mutex<Vec<Vec<u8>>>>,
    thread: Option<JoinHandle<()>>,
}

impl Doorman {
    fn new(tls: rustls::ServerConfig) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, logins, tls) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::default()), Arc::new(tls));
        let thread = std::thread::spawn({
            let (stop, logins) = (Arc::clone(&stop), Arc::clone(&logins));
            move || {
                for stream in listener.incoming().map(Result::unwrap) {
                    if stop.load(Ordering::SeqCst) {
                        break;
                    }
                    stream.set_read_timeout(Some(GUARD)).unwrap();
                    let session = rustls::ServerConnection::new(Arc::clone(&tls)).unwrap();
                    let mut stream = rustls::StreamOwned::new(session, stream);
                    while hear(&mut stream, &logins).is_ok() {}
                }
            }
        });
        Self { address, stop, logins, thread: Some(thread) }
    }
}

impl Drop for Doorman {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
        let _ = self.thread.take().unwrap().join();
    }
}

/// Answers one request of Kafka's protocol.
fn hear(stream: &mut (impl Read + Write), logins: &Mutex<Vec<Vec<u8>>>) -> std::io::Result<()> {
    let mut size = [0; 4];
    stream.read_exact(&mut size)?;
    let mut request = vec![0; u32::from_be_bytes(size) as usize];
    stream.read_exact(&mut request)?;
    let number = |at: usize| i16::from_be_bytes([request[at], request[at + 1]]);
    let mut answer = request[4..8].to_vec();
    match (number(0), number(2)) {
        // ApiVersions: the oldest form of it, with what it takes to log in and to look around.
        (18, version) => {
            answer.extend((if version == 0 { 0 } else { 35i16 }).to_be_bytes());
            let known = [[18i16, 0, 0], [17, 0, 1], [36, 0, 0], [3, 0, 4], [0, 0, 7], [22, 0, 1]];
            answer.extend((known.len() as u32).to_be_bytes());
            answer.extend(known.into_iter().flatten().flat_map(i16::to_be_bytes));
        }
        // SaslHandshake: the one mechanism that is known.
        (17, _) => answer.extend([&[0, 0, 0, 0, 0, 1, 0, 5][..], b"PLAIN"].concat()),
        // SaslAuthenticate: refused.
        (36, _) => {
            let name = usize::try_from(number(8)).unwrap();
            logins.lock().unwrap().push(request[10 + name + 4..].to_vec());
            answer.extend(58i16.to_be_bytes());
            answer.extend([&[0, 7][..], b"not you", &[0; 4]].concat());
        }
        other => panic!("{other:?}"),
    }
    stream.write_all(&(answer.len() as u32).to_be_bytes())?;
    stream.write_all(&answer)?;
    stream.flush()
}

fn authority(folder: &Path, name: &str) -> rcgen::Issuer<'static, rcgen::KeyPair> {
    let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    params.distinguished_name.push(rcgen::DnType::CommonName, name);
    let key = rcgen::KeyPair::generate().unwrap();
    std::fs::write(folder.join(format!("{name}.pem")), params.self_signed(&key).unwrap().pem()).unwrap();
    rcgen::Issuer::new(params, key)
}

fn signed(folder: &Path, name: &str, by: &rcgen::Issuer<'static, rcgen::KeyPair>, host: &str) {
    let params = rcgen::CertificateParams::new(vec![host.to_string()]).unwrap();
    let key = rcgen::KeyPair::generate().unwrap();
    std::fs::write(folder.join(format!("{name}.pem")), params.signed_by(&key, by).unwrap().pem()).unwrap();
    std::fs::write(folder.join(format!("{name}.key")), key.serialize_pem()).unwrap();
}

#[test]
fn brokers_and_gateways_show_certificates_and_logins() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let ca = authority(folder.path(), "ca");
    drop(authority(folder.path(), "other"));
    signed(folder.path(), "broker", &ca, "localhost");
    signed(folder.path(), "client", &ca, "gateway");
    let certificate = |name: &str| rustls::pki_types::CertificateDer::from_pem_file(path(name)).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = rustls::RootCertStore::empty();
    roots.add(certificate("ca.pem")).unwrap();
    let verifier = rustls::server::WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
    let tls = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier.build().unwrap())
        .with_single_cert(
            vec![certificate("broker.pem")],
            rustls::pki_types::PrivateKeyDer::from_pem_file(path("broker.key")).unwrap(),
        )
        .unwrap();
    let broker = Doorman::new(tls);
    let port = broker.address.port();
    let shown = format!("cert={}&key={}", path("client.pem"), path("client.key"));
    for (host, files, texts, logins) in [
        ("localhost", format!("ca={}&{shown}", path("ca.pem")), ["not you", "check user, password"], 1),
        (
            "localhost",
            format!("ca={}&{shown}", path("other.pem")),
            ["certificate verify failed", "check user, password"],
            1,
        ),
        // The certificate is that of another name.
        (
            "127.0.0.1",
            format!("ca={}&{shown}", path("ca.pem")),
            ["certificate verify failed", "check user, password"],
            1,
        ),
        ("localhost", format!("ca={}", path("ca.pem")), ["", ""], 1),
        (
            "localhost",
            format!("ca={}&cert={}&key={}", path("ca.pem"), path("client.pem"), path("broker.key")),
            ["key", ""],
            1,
        ),
    ] {
        let address = Address::parse(&format!("kafkas://me:geheim@{host}:{port}/?{files}")).unwrap();
        let mut sink = Kafka::new(KafkaOptions::parse(address).unwrap());
        // A certificate that is missing is not always said to be.
        let limit = if texts[0].is_empty() { 4 * SHORT } else { GUARD };
        let error = send(&mut sink, &records(0..1), limit).unwrap_err();
        sink.close(GUARD);
        let text = error.to_string();
        assert!(matches!(error, RemoteError::Denied(_)) || texts[0].is_empty(), "{error:?}");
        assert!(texts.iter().all(|wanted| text.contains(wanted)) && !text.contains("geheim"), "{text}");
        assert_eq!(broker.logins.lock().unwrap().len(), logins, "{text}");
    }
    assert_eq!(broker.logins.lock().unwrap()[0], b"\0me\0geheim");
}
