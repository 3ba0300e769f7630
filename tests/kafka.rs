//! The Kafka receiver against librdkafka's mock cluster.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test may")]

#[path = "common/program.rs"]
mod program;

use std::collections::{BTreeMap, HashSet};
use std::net::{Ipv4Addr, TcpListener};
use std::time::{Duration, Instant};

use gstvigil::export::address::Address;
use gstvigil::export::kafka::{Kafka, KafkaOptions};
use gstvigil::export::kind::Kind;
use gstvigil::export::remote::{Outgoing, Remote, RemoteError};
use program::{Program, python_has};
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Headers, Message};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};

/// Within this, all must have happened.
const GUARD: Duration = Duration::from_secs(30);
/// The limit of sends that are to run into it.
const SHORT: Duration = Duration::from_millis(500);
/// How much later than its limit a send may return on a busy machine.
const LATE: Duration = Duration::from_secs(5);
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
    let took = start.elapsed();
    println!("took {took:.1?} of {limit:.1?}");
    assert!(took < limit + LATE, "{took:?} of {limit:?}");
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
fn the_example_receives_each_record_once() {
    if !python_has("confluent_kafka", "python3-confluent-kafka") {
        return;
    }
    let cluster = cluster(&["vigil"]);
    let brokers = cluster.bootstrap_servers();
    let mut sink = kafka(&brokers, "");
    let sent = records(0..12);
    send(&mut sink, &sent[..8], GUARD).unwrap();
    let first = Program::example("consume_kafka.py", &[&brokers, "vigil", "--json"]);
    first.wait(|lines| lines.len() >= 8);
    // The same come again, and what is not of Vigil's format: it goes on.
    send(&mut sink, &sent[..8], GUARD).unwrap();
    let foreign = Outgoing { body: b"[3]".to_vec(), ..sent[0].clone() };
    send(&mut sink, std::slice::from_ref(&foreign), GUARD).unwrap();
    let said = first.wait(|lines| lines.iter().any(|line| line == "[3]"));
    let mut bodies: Vec<&str> = sent[..8].iter().map(|one| std::str::from_utf8(&one.body).unwrap()).collect();
    bodies.push("[3]");
    assert_eq!(said.iter().map(String::as_str).collect::<HashSet<_>>(), bodies.into_iter().collect());
    assert_eq!(first.end().last().unwrap(), "8 records, 8 doubles dropped");
    // The brokers know how far the group has come: all 17.
    let group: BaseConsumer =
        ClientConfig::new().set("bootstrap.servers", &brokers).set("group.id", "vigil-example").create().unwrap();
    let mut all = TopicPartitionList::new();
    all.add_partition_range("vigil", 0, PARTITIONS - 1);
    let committed = group.committed_offsets(all, GUARD).unwrap();
    assert_eq!(committed.elements().iter().filter_map(|one| one.offset().to_raw()).filter(|n| *n > 0).sum::<i64>(), 17);
    // Another group begins at the beginning.
    let second = Program::example("consume_kafka.py", &[&brokers, "vigil", "--group", "other"]);
    let said = second.wait(|lines| lines.len() >= 9);
    assert!(said.iter().any(|line| line == "door: frame, of another format"), "{said:?}");
    assert_eq!(second.end().last().unwrap(), "8 records, 8 doubles dropped");
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
fn no_topic_is_made_unless_that_is_wanted() {
    // It makes topics for whoever lets it.
    let cluster = cluster(&[]);
    let error = send(&mut kafka(&cluster.bootstrap_servers(), ""), &records(0..2), GUARD).unwrap_err();
    assert!(matches!(&error, RemoteError::Denied(text) if text.contains("auto.create.topics=true")), "{error:?}");
    let mut sink = kafka(&cluster.bootstrap_servers(), "?rdkafka.allow.auto.create.topics=true");
    send(&mut sink, &records(0..2), GUARD).unwrap();
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
