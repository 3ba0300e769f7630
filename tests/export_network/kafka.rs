//! Kafka, as librdkafka's mock cluster plays it.

use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Message;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::*;

type Cluster = MockCluster<'static, DefaultProducerContext>;

/// Reads the topic's only partition from its beginning until so many different records were seen: the numbers of their frames, each once.
fn consume(cluster: &Cluster, different: usize) -> Vec<u64> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", cluster.bootstrap_servers())
        .set("group.id", "test")
        .create()
        .unwrap();
    let mut all = TopicPartitionList::new();
    all.add_partition_offset("vigil", 0, Offset::Beginning).unwrap();
    consumer.assign(&all).unwrap();
    let (begin, mut ids, mut frames) = (Instant::now(), BTreeSet::new(), Vec::new());
    while ids.len() < different {
        assert!(begin.elapsed() < GUARD, "{} of {different} came", ids.len());
        let Some(Ok(message)) = consumer.poll(Duration::from_millis(100)) else { continue };
        let record: Value = serde_json::from_slice(message.payload().unwrap()).unwrap();
        if ids.insert(record["id"].as_str().unwrap().to_owned()) {
            frames.push(record["frame"].as_u64().unwrap());
        }
    }
    frames
}

#[test]
fn an_outage_loses_nothing() {
    let cluster: Cluster = MockCluster::new(1).unwrap();
    cluster.create_topic("vigil", 1, 1).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let uri = format!("kafka://{}/", cluster.bootstrap_servers());
    let mut gate = Camera::start("gate", &uri, folder.path(), &[]);
    gate.pass(20);
    gate.wait_for("the first acknowledged", |gate| gate.stat("written") == 20);
    cluster.broker_down(1).unwrap();
    gate.pass(20);
    gate.wait_for("what waits is on disk", |gate| gate.stat("waiting") == 20 && gate.stat("spool-bytes") > 0);
    cluster.broker_up(1).unwrap();
    gate.pass(20);
    gate.wait_for("all acknowledged", |gate| gate.stat("waiting") == 0);
    assert_eq!((gate.stat("written"), gate.stat("dropped")), (60, 0));
    assert_eq!(consume(&cluster, 60), (0..60).collect::<Vec<_>>());
    gate.stop();
}
