//! Records to a real mosquitto, whatever happens to it and to the network between.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may")]

#[path = "common/broker.rs"]
mod broker;
#[path = "common/proxy.rs"]
mod proxy;

use std::sync::Arc;
use std::time::{Duration, Instant};

use broker::{Broker, Door, GUARD, PASSWORD, Received, Subscriber, USER};
use gstvigil::export::address::Address;
use gstvigil::export::kind::Kind;
use gstvigil::export::mqtt::{Mqtt, MqttOptions};
use gstvigil::export::remote::{Outgoing, Remote, RemoteError};
use proxy::{Fault, Proxy};

/// Far more than an exchange on loopback takes.
const LIMIT: Duration = GUARD;

fn mqtt(uri: &str) -> Mqtt {
    Mqtt::new(MqttOptions::parse(Address::parse(uri).unwrap()).unwrap(), "gateway")
}

fn record(camera: &str, kind: Kind, id: usize) -> Outgoing {
    Outgoing { kind, camera: Arc::from(camera), body: format!("{{\"id\":\"{id}\"}}").into_bytes() }
}

fn frames(ids: std::ops::Range<usize>) -> Vec<Outgoing> {
    ids.map(|id| record("gate", Kind::Frame, id)).collect()
}

fn id(received: &Received) -> usize {
    let value: serde_json::Value = serde_json::from_str(&received.payload).unwrap();
    value["id"].as_str().unwrap().parse().unwrap()
}

fn records(heard: &[Received]) -> Vec<Received> {
    heard.iter().filter(|it| !it.topic.ends_with("/status")).cloned().collect()
}

/// The numbers of records in the order in which each came for the first time.
fn first(heard: &[Received]) -> Vec<usize> {
    let mut seen = Vec::new();
    for id in records(heard).iter().map(id) {
        if !seen.contains(&id) {
            seen.push(id);
        }
    }
    seen
}

/// The states that a client's status topic went through: state and reason.
fn states(heard: &[Received]) -> Vec<String> {
    let status = heard.iter().filter(|it| it.topic.ends_with("/status"));
    let state = |it: &Received| -> String {
        let value: serde_json::Value = serde_json::from_str(&it.payload).unwrap();
        let reason = value["reason"].as_str().map(|reason| format!(" {reason}")).unwrap_or_default();
        format!("{}{reason}", value["state"].as_str().unwrap())
    };
    status.map(state).collect()
}

/// Sends as the spool does: the same batch again until it is taken.
fn insist(mqtt: &mut Mqtt, batch: &[Outgoing], limit: Duration) -> Vec<RemoteError> {
    let mut errors = Vec::new();
    while let Err(error) = mqtt.send(batch, limit) {
        errors.push(error);
        assert!(errors.len() < 50, "{errors:?}");
    }
    errors
}

macro_rules! broker {
    ($global:expr) => {
        match Broker::start($global) {
            Some(broker) => broker,
            None => return,
        }
    };
}

#[test]
fn all_arrive_in_order_on_their_topics_by_every_way() {
    let broker = broker!("");
    for door in [Door::Plain, Door::Tls, Door::Ws, Door::Wss] {
        for (version, qos) in [("3.1.1", 0), ("3.1.1", 1), ("3.1.1", 2), ("5", 0), ("5", 1), ("5", 2)] {
            let told = format!("{door:?} {version} {qos}");
            let subscriber = Subscriber::start(&broker, "site/#");
            let mut mqtt = mqtt(&broker.uri(door, &format!("version={version}&qos={qos}")).replace("?", "/site/a?"));
            let batch: Vec<_> = (0..250)
                .map(|id| match id % 4 {
                    0 => record("gate", Kind::Alarm, id),
                    1 => record("gate", Kind::Event, id),
                    2 => record("a/b+#", Kind::Frame, id),
                    _ => record("Tür 1", Kind::Telemetry, id),
                })
                .collect();
            mqtt.send(&batch[..1], LIMIT).unwrap_or_else(|error| panic!("{told}: {error}"));
            mqtt.send(&batch[1..], LIMIT).unwrap_or_else(|error| panic!("{told}: {error}"));
            mqtt.tick(LIMIT).unwrap();
            let heard = records(&subscriber.wait(|heard| records(heard).len() >= batch.len()));
            assert_eq!(heard.iter().map(id).collect::<Vec<_>>(), (0..250).collect::<Vec<_>>(), "{told}");
            for (it, sent) in heard.iter().zip(&batch) {
                let camera = if &*sent.camera == "a/b+#" { "a_b__" } else { &*sent.camera };
                assert_eq!(it.topic, format!("site/a/{camera}/{}", sent.kind.as_str()), "{told}");
                assert_eq!((it.qos, it.retain), (qos, 0), "{told}");
            }
            mqtt.close(LIMIT);
        }
    }
}

#[test]
fn few_may_be_under_way_at_a_time() {
    // The broker of version 5 says that it takes three.
    let broker = broker!("max_inflight_messages 3");
    for options in
        ["version=5", "version=5&qos=2", "version=3.1.1&inflight=1&qos=2", "version=5&inflight=1", "inflight=2"]
    {
        let subscriber = Subscriber::start(&broker, "vigil/#");
        let mut mqtt = mqtt(&broker.uri(Door::Plain, options));
        for start in [0, 100, 200] {
            mqtt.send(&frames(start..start + 100), LIMIT).unwrap_or_else(|error| panic!("{options}: {error}"));
        }
        let heard = records(&subscriber.wait(|heard| records(heard).len() >= 300));
        assert_eq!(heard.iter().map(id).collect::<Vec<_>>(), (0..300).collect::<Vec<_>>(), "{options}");
    }
}

#[test]
fn the_broker_keeps_whether_the_client_is_there() {
    let broker = broker!("");
    for version in ["3.1.1", "5"] {
        let topic = format!("vigil/gateway-{version}/status");
        let subscriber = Subscriber::start(&broker, &topic);
        let after = |wanted: &[&str]| {
            let heard = subscriber.wait(|heard| states(heard).len() >= wanted.len());
            assert_eq!(states(&heard), wanted, "{version}");
        };
        let mut all: Vec<&str> = Vec::new();
        let uri = broker.uri(Door::Plain, &format!("version={version}&client-id=gateway-{version}"));
        let mut first = mqtt(&uri);
        first.tick(LIMIT).unwrap();
        all.push("online");
        after(&all);
        // Its connection ends without a good-bye.
        drop(first);
        all.push("offline lost");
        after(&all);
        let late = Subscriber::start(&broker, &topic);
        let kept = late.wait(|heard| !heard.is_empty());
        assert_eq!((states(&kept), kept[0].retain), (vec!["offline lost".to_string()], 1));
        let mut second = mqtt(&uri);
        second.tick(LIMIT).unwrap();
        second.close(LIMIT);
        all.extend(["online", "offline closed"]);
        after(&all);
        // The will is not published after a good-bye: the next word is that of the next connection.
        second.tick(LIMIT).unwrap();
        second.close(LIMIT);
        all.extend(["online", "offline closed"]);
        after(&all);
    }
    let subscriber = Subscriber::start(&broker, "vigil/#");
    let mut silent = mqtt(&broker.uri(Door::Plain, "status=none&client-id=silent"));
    silent.send(&frames(0..1), LIMIT).unwrap();
    silent.close(LIMIT);
    let heard = subscriber.wait(|heard| !records(heard).is_empty());
    assert!(heard.iter().all(|it| !it.topic.contains("silent")), "{heard:?}");
}

#[test]
fn who_may_not_is_denied() {
    let broker = broker!("");
    for version in ["3.1.1", "5"] {
        let port = broker.port(Door::Password);
        let right = PASSWORD.replace('/', "%2F").replace('@', "%40").replace(':', "%3A");
        let good = format!("mqtt://{USER}:{right}@127.0.0.1:{port}?version={version}");
        mqtt(&good).send(&frames(0..1), LIMIT).unwrap();
        for bad in [format!("mqtt://{USER}:geheim@127.0.0.1:{port}?version={version}"), broker.uri(Door::Password, "")]
        {
            let error = mqtt(&bad).send(&frames(0..1), LIMIT).unwrap_err();
            let text = error.to_string();
            assert!(matches!(&error, RemoteError::Denied(text) if text.contains("user and password")), "{error:?}");
            assert!(text.contains(&format!("127.0.0.1:{port}")) && !text.contains("geheim"), "{text}");
        }
    }
    // A topic that is not allowed: only version 5 has a word for it.
    let subscriber = Subscriber::start(&broker, "vigil/#");
    for qos in [1, 2] {
        let mut bound = mqtt(&broker.uri(Door::Rules, &format!("qos={qos}")));
        bound.send(&[record("good", Kind::Frame, 1)], LIMIT).unwrap();
        let error = bound.send(&[record("good", Kind::Frame, 2), record("bad", Kind::Frame, 3)], LIMIT).unwrap_err();
        assert!(matches!(&error, RemoteError::Denied(text) if text.contains("vigil/bad/frame")), "{error:?}");
        bound.send(&[record("good", Kind::Frame, 4)], LIMIT).unwrap();
    }
    let mut old = mqtt(&broker.uri(Door::Rules, "version=3.1.1"));
    assert_eq!(old.send(&[record("bad", Kind::Frame, 5)], LIMIT), Ok(()), "mosquitto acknowledges what it drops");
    // It hangs up as well.
    insist(&mut old, &[record("good", Kind::Frame, 6)], LIMIT);
    let heard = subscriber.wait(|heard| first(heard).contains(&6));
    assert!(!first(&heard).contains(&3) && !first(&heard).contains(&5), "{heard:?}");
    let refused = mqtt(&broker.uri(Door::Rules, "status=vigil/secret")).tick(LIMIT).unwrap_err();
    assert!(matches!(&refused, RemoteError::Denied(text) if text.contains("vigil/secret")), "{refused:?}");
}

#[test]
fn one_name_is_for_one_client() {
    let broker = broker!("");
    let mut first = mqtt(&broker.uri(Door::Plain, "client-id=same"));
    first.tick(LIMIT).unwrap();
    mqtt(&broker.uri(Door::Plain, "client-id=same")).tick(LIMIT).unwrap();
    let start = Instant::now();
    let error = loop {
        if let Err(error) = first.tick(LIMIT) {
            break error;
        }
        assert!(start.elapsed() < GUARD);
    };
    // mosquitto has a word for it in later versions.
    assert!(matches!(&error, RemoteError::Denied(_) | RemoteError::Unreachable(_)), "{error:?}");
    assert!(error.to_string().contains("client-id"), "{error}");
}

#[test]
fn a_record_that_is_too_large_is_refused_and_no_other() {
    let large = |bytes| Outgoing { kind: Kind::Frame, camera: Arc::from("gate"), body: vec![b'x'; bytes] };
    let refused = |mqtt: &mut Mqtt, batch: &[Outgoing], word: &str| {
        let error = mqtt.send(batch, LIMIT).unwrap_err();
        assert!(matches!(&error, RemoteError::Refused(text) if text.contains(word)), "{error:?}");
    };
    // The broker says its limit when it is connected to.
    let broker = broker!("max_packet_size 2000");
    let subscriber = Subscriber::start(&broker, "vigil/gate/frame");
    let mut new = mqtt(&broker.uri(Door::Plain, "client-id=new"));
    refused(&mut new, &[large(100), large(2000)], "at most 2000");
    // As large as it can be: 16 of topic and its length, 2 of identifier, 1 of properties, 3 of the header.
    new.send(&[large(2000 - 18 - 2 - 1 - 3)], LIMIT).unwrap();
    refused(&mut new, &[large(2000 - 18 - 2 - 1 - 3 + 1)], "2001 bytes");
    assert_eq!(subscriber.wait(|heard| !heard.is_empty()).len(), 1);
    // Version 3.1.1 has no word for it; the broker hangs up.
    let mut old = mqtt(&broker.uri(Door::Plain, "client-id=old&version=3.1.1"));
    let error = old.send(&[large(2000)], LIMIT).unwrap_err();
    assert!(matches!(&error, RemoteError::Unreachable(text) if text.contains("max-packet")), "{error:?}");
    let mut told = mqtt(&broker.uri(Door::Plain, "client-id=told&version=3.1.1&max-packet=2kB"));
    refused(&mut told, &[large(2000)], "at most 2000");
    told.send(&[large(1900)], LIMIT).unwrap();
    // Or it says so when it is sent one.
    let broker = broker!("message_size_limit 1000");
    for qos in [1, 2] {
        let mut mqtt = mqtt(&broker.uri(Door::Plain, &format!("qos={qos}")));
        refused(&mut mqtt, &[large(1001)], "of this size");
        mqtt.send(&[large(1000)], LIMIT).unwrap();
    }
}

#[test]
fn a_broker_that_is_away_comes_back() {
    let mut broker = broker!("");
    for version in ["3.1.1", "5"] {
        let mut mqtt = mqtt(&broker.uri(Door::Plain, &format!("version={version}")));
        mqtt.send(&frames(0..10), LIMIT).unwrap();
        broker.stop();
        for _ in 0..3 {
            let error = mqtt.send(&frames(10..20), LIMIT).unwrap_err();
            assert!(matches!(&error, RemoteError::Unreachable(text) if text.contains("127.0.0.1")), "{error:?}");
        }
        assert!(matches!(mqtt.tick(LIMIT), Err(RemoteError::Unreachable(_))));
        mqtt.close(LIMIT);
        broker.restart();
        let subscriber = Subscriber::start(&broker, "vigil/gate/#");
        mqtt.send(&frames(10..20), LIMIT).unwrap();
        let heard = subscriber.wait(|heard| heard.len() >= 10);
        assert_eq!(first(&heard), (10..20).collect::<Vec<_>>());
    }
}

#[test]
fn a_broker_that_freezes_holds_nobody_up_and_loses_nothing() {
    let broker = broker!("");
    for options in ["version=3.1.1", "version=5", "qos=2"] {
        let subscriber = Subscriber::start(&broker, "vigil/gate/#");
        let mut mqtt = mqtt(&broker.uri(Door::Plain, options));
        mqtt.send(&frames(0..10), LIMIT).unwrap();
        broker.freeze();
        let start = Instant::now();
        for _ in 0..3 {
            let error = mqtt.send(&frames(10..500), Duration::from_millis(200)).unwrap_err();
            assert!(matches!(&error, RemoteError::Unreachable(text) if text.contains("200 ms")), "{error:?}");
        }
        mqtt.close(Duration::from_millis(200));
        assert!(start.elapsed() < GUARD, "it waited for {:?}", start.elapsed());
        broker.thaw();
        insist(&mut mqtt, &frames(10..500), LIMIT);
        mqtt.send(&frames(500..510), LIMIT).unwrap();
        let heard = subscriber.wait(|heard| first(heard).len() >= 510);
        assert_eq!(first(&heard), (0..510).collect::<Vec<_>>(), "{options}");
    }
}

#[test]
fn a_silent_broker_is_noticed_without_a_record() {
    let broker = broker!("");
    for version in ["3.1.1", "5"] {
        let mut mqtt = mqtt(&broker.uri(Door::Plain, &format!("keep-alive=5s&version={version}")));
        mqtt.tick(LIMIT).unwrap();
        broker.freeze();
        let start = Instant::now();
        let error = loop {
            if let Err(error) = mqtt.tick(LIMIT) {
                break error;
            }
            assert!(start.elapsed() < GUARD, "nothing was noticed");
            std::thread::sleep(Duration::from_millis(50));
        };
        assert!(matches!(&error, RemoteError::Unreachable(text) if text.contains("does not answer")), "{error:?}");
        broker.thaw();
        mqtt.tick(LIMIT).unwrap();
    }
}

#[test]
fn whatever_the_network_does_every_record_arrives() {
    let broker = broker!("");
    // The connection takes about 150 bytes, a record about 40, its acknowledgement 4.
    let faults = [
        Fault::CutSent(1),
        Fault::CutSent(100),
        Fault::CutSent(700),
        Fault::CutAnswered(2),
        Fault::CutAnswered(60),
        Fault::HalfClose(900),
        Fault::Trickle(3),
        Fault::CutSent(5000),
        Fault::Deaf(50),
        Fault::CutAnswered(300),
        Fault::Deaf(1500),
        Fault::Trickle(1),
    ];
    for options in ["version=3.1.1", "version=5", "version=3.1.1&qos=2", "version=5&qos=2"] {
        for door in [Door::Plain, Door::Ws] {
            let subscriber = Subscriber::start(&broker, "vigil/gate/#");
            let proxy = Proxy::start(broker.port(door), &faults);
            let uri = broker.uri(door, options).replace(&broker.port(door).to_string(), &proxy.port().to_string());
            let mut mqtt = mqtt(&uri);
            let mut failures = 0;
            for start in (0..600).step_by(30) {
                failures += insist(&mut mqtt, &frames(start..start + 30), Duration::from_millis(500)).len();
                // Connections that go well end too, so that each fault has its turn.
                if start % 120 == 0 {
                    mqtt.close(Duration::from_secs(1));
                }
            }
            let heard = subscriber.wait(|heard| first(heard).len() >= 600);
            assert_eq!(first(&heard), (0..600).collect::<Vec<_>>(), "{options} {door:?}");
            assert!(failures >= 8 && proxy.connections() > 8, "{failures} of {}", proxy.connections());
        }
    }
}

#[test]
fn what_listens_is_no_broker() {
    let broker = broker!("");
    let told = |uri: String, limit: u64, words: &[&str]| {
        let error = mqtt(&uri).tick(Duration::from_millis(limit)).unwrap_err();
        let RemoteError::Unreachable(text) = &error else { panic!("{error:?}") };
        assert!(words.iter().any(|word| text.contains(word)), "{uri}: {text}");
    };
    let port = |door| broker.port(door);
    for version in ["3.1.1", "5"] {
        // Each on the other's port.
        told(format!("mqtt://127.0.0.1:{}?version={version}", port(Door::Tls)), 5000, &["mqtts"]);
        told(format!("mqtts://127.0.0.1:{}?version={version}", port(Door::Plain)), 5000, &["TLS", "mqtts"]);
        told(
            format!("mqtt+ws://127.0.0.1:{}?version={version}", port(Door::Plain)),
            2000,
            &["2000 ms", "closed", "failed"],
        );
        told(format!("mqtt://127.0.0.1:{}?version={version}", port(Door::Ws)), 2000, &["2000 ms", "closed", "failed"]);
        told(
            format!("mqtt://no-such-host.invalid?version={version}"),
            20_000,
            &["no-such-host.invalid:1883 cannot be reached"],
        );
    }
}
