use rdkafka::mocking::MockCluster;

use super::super::address::Address;
use super::super::kind::Kind;
use super::*;

const GUARD: Duration = Duration::from_secs(30);

fn kafka(brokers: &str) -> Kafka {
    let uri = format!("kafka://{brokers}/?rdkafka.message.max.bytes=5000");
    Kafka::new(KafkaOptions::parse(Address::parse(&uri).unwrap()).unwrap())
}

fn record(bytes: usize) -> Outgoing {
    Outgoing { kind: Kind::Frame, camera: "gate".into(), body: vec![b'x'; bytes] }
}

/// Which producer it has.
fn producer(sink: &Kafka) -> Option<*const Ear> {
    sink.link.as_ref().map(|link| Arc::as_ptr(&link.ear))
}

#[test]
fn a_record_that_is_too_large_costs_no_producer() {
    let large = [record(10), record(10), record(5000)];
    let refused = |sink: &mut Kafka, batch: &[Outgoing]| {
        let error = sink.send(batch, GUARD).unwrap_err();
        assert!(matches!(&error, RemoteError::Refused(text) if text.contains("at most 5000")), "{error:?}");
    };
    // Nobody needs to be there to know it.
    let mut sink = kafka("127.0.0.1:1");
    refused(&mut sink, &large);
    assert!(sink.link.is_none() && sink.ending.is_none());

    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic("vigil", 1, 1).unwrap();
    let mut sink = kafka(&cluster.bootstrap_servers());
    sink.send(&large[..2], GUARD).unwrap();
    let before = producer(&sink);
    refused(&mut sink, &large);
    refused(&mut sink, &large[2..]);
    sink.send(&large[..2], GUARD).unwrap();
    assert!(before.is_some() && producer(&sink) == before && sink.ending.is_none());
    // As large as it can be: 4 of key, 11 of a header.
    sink.send(&[record(5000 - OVERHEAD - 4 - 11)], GUARD).unwrap();
    // And where only librdkafka knows, it says so.
    let error = sink.send(&[record(5000 - OVERHEAD - 4)], GUARD).unwrap_err();
    assert!(matches!(&error, RemoteError::Refused(_)), "{error:?}");
}

#[test]
fn only_the_records_own_faults_lose_records() {
    let sink = kafka("a");
    for code in [Code::MessageSizeTooLarge, Code::MessageBatchTooLarge, Code::InvalidMessageSize, Code::InvalidRecord] {
        assert!(matches!(sink.failure(code, "no"), RemoteError::Refused(_)), "{code:?}");
    }
    for code in [Code::UnknownTopicOrPartition, Code::TopicAuthorizationFailed, Code::SSL, Code::PolicyViolation] {
        assert!(matches!(sink.failure(code, "no"), RemoteError::Denied(_)), "{code:?}");
    }
    for code in [Code::MessageTimedOut, Code::NotEnoughReplicas, Code::OutOfOrderSequenceNumber, Code::Fail] {
        assert!(matches!(sink.failure(code, "no"), RemoteError::Unreachable(_)), "{code:?}");
    }
}
