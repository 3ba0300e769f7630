//! The examples that receive records, from the sinks that send them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test may")]

#[path = "common/broker.rs"]
mod broker;
#[path = "common/program.rs"]
mod program;

use std::io::{Read, Write};
use std::net::{Ipv6Addr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use broker::{Broker, Door, PASSWORD, USER};
use gstvigil::export::address::Address;
use gstvigil::export::http::{Http, HttpOptions};
use gstvigil::export::kind::Kind;
use gstvigil::export::mqtt::{Mqtt, MqttOptions};
use gstvigil::export::remote::{Outgoing, Remote, RemoteError};
use gstvigil::export::writer::SystemClock;
use program::{Program, example, python_has};

/// Far more than an exchange on loopback takes.
const LIMIT: Duration = broker::GUARD;

fn record(kind: Kind, body: &str) -> Outgoing {
    Outgoing { kind, camera: "gate".into(), body: body.as_bytes().to_vec() }
}

/// What a camera's exporter sends: a record of each kind, numbered together.
fn of_each_kind(run: &str) -> Vec<Outgoing> {
    let head = |n| format!("\"schema\":\"vigil/1\",\"id\":\"gate/{run}/{n}\",\"time\":\"T{n}\",\"camera\":\"gate\"");
    vec![
        record(
            Kind::Frame,
            &format!(
                "{{{},\"frame\":7,\"freshness\":{{\"state\":\"fresh\"}},\"objects\":[{{\"label\":\"Person\"}},{{\"label\":\"Person\"}}]}}",
                head(5)
            ),
        ),
        record(Kind::Event, &format!("{{{},\"event\":\"object-left\",\"label\":\"Person\"}}", head(6))),
        record(Kind::Alarm, &format!("{{{},\"event\":\"analysis-lost\"}}", head(7))),
        record(Kind::Telemetry, &format!("{{{},\"about\":\"camera\"}}", head(8))),
    ]
}

fn http(port: &str) -> Http {
    let address = Address::parse(&format!("http://{port}/records")).unwrap();
    Http::new(HttpOptions::parse(address).unwrap(), Arc::new(SystemClock::default()))
}

/// The server with a file, and the port on which it listens.
fn server(file: &Path, more: &[&str]) -> (Program, String) {
    let args = [&["0", "--file", file.to_str().unwrap()], more].concat();
    let program = Program::example("consume_http.py", &args);
    let port = program.hear("listening on port").rsplit(' ').next().unwrap().to_string();
    (program, port)
}

fn lines(file: &Path) -> Vec<String> {
    std::fs::read_to_string(file).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn over_http_a_record_is_stored_once_whatever_comes_again() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("out.jsonl");
    let (first, port) = server(&file, &[]);
    let batch = of_each_kind("r");
    let texts: Vec<String> = batch.iter().map(|r| String::from_utf8(r.body.clone()).unwrap()).collect();
    let mut sink = http(&format!("127.0.0.1:{port}"));
    sink.send(&batch[..2], LIMIT).unwrap();
    sink.send(&batch[..3], LIMIT).unwrap();
    // An id that comes twice in a batch.
    sink.send(&[&batch[2..], &batch[2..]].concat(), LIMIT).unwrap();
    assert_eq!(lines(&file), texts);
    first.end();
    // The machine went down in the middle of a line.
    std::fs::OpenOptions::new().append(true).open(&file).unwrap().write_all(b"{\"id\":\"gate/r/9").unwrap();
    let (second, port) = server(&file, &[]);
    let mut sink = http(&format!("127.0.0.1:{port}"));
    let ninth = record(Kind::Frame, "{\"id\":\"gate/r/9\"}");
    sink.send(&[&batch[..], &[ninth]].concat(), LIMIT).unwrap();
    let mut wanted = texts;
    wanted.extend(["{\"id\":\"gate/r/9".to_owned(), "{\"id\":\"gate/r/9\"}".to_owned()]);
    assert_eq!(lines(&file), wanted);
    second.end();
}

#[test]
fn over_http_records_without_ids_are_all_stored_and_what_is_none_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("out.jsonl");
    let (program, port) = server(&file, &[]);
    let mut sink = http(&format!("127.0.0.1:{port}"));
    // DL Streamer's have no id, DeepStream's a number that begins again with each start.
    let texts = [
        "{\"objects\":[1]}",
        "{\"objects\":[2]}",
        "{\"id\":3,\"sensorId\":\"a\"}",
        "{\"id\":3,\"sensorId\":\"b\"}",
        "4",
    ];
    let batch: Vec<_> = texts.iter().map(|text| record(Kind::Frame, text)).collect();
    sink.send(&batch, LIMIT).unwrap();
    assert_eq!(lines(&file), texts);
    // It is told so, and does not come again for ever; the connection and the next batch are none the worse.
    let error =
        sink.send(&[record(Kind::Frame, "{\"id\":\"x\"}"), record(Kind::Frame, "{\"id\":")], LIMIT).unwrap_err();
    assert!(matches!(&error, RemoteError::Refused(text) if text.contains("400")), "{error:?}");
    sink.send(&[record(Kind::Frame, "{\"id\":\"x\"}")], LIMIT).unwrap();
    assert_eq!(lines(&file).last().unwrap(), "{\"id\":\"x\"}");
    for (head, wanted) in [
        ("Content-Encoding: gzip\r\nContent-Length: 9\r\n\r\nno gzip !", "400"),
        ("Content-Length: 99999999\r\n\r\n", "413"),
        ("Content-Length: many\r\n\r\n", "411"),
        ("\r\n", "411"),
    ] {
        let mut stream = TcpStream::connect(format!("127.0.0.1:{port}")).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        write!(stream, "POST / HTTP/1.1\r\nHost: a\r\n{head}").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with(&format!("HTTP/1.1 {wanted} ")), "{head:?}: {answer}");
    }
    program.end();
}

#[test]
fn over_http_it_listens_where_it_is_told_to() {
    if let Err(error) = TcpListener::bind((Ipv6Addr::LOCALHOST, 0)) {
        println!("SKIPPED: this machine has no ::1: {error}");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("out.jsonl");
    let (program, port) = server(&file, &["--listen", "::1"]);
    http(&format!("[::1]:{port}")).send(&of_each_kind("r"), LIMIT).unwrap();
    assert_eq!(lines(&file).len(), 4);
    assert!(TcpStream::connect(format!("127.0.0.1:{port}")).is_err(), "nowhere else");
    program.end();
}

fn mqtt(broker: &Broker) -> Mqtt {
    let uri = broker.uri(Door::Plain, "qos=1").replace('?', "/vigil?");
    Mqtt::new(MqttOptions::parse(Address::parse(&uri).unwrap()).unwrap(), "gateway")
}

/// What the example says in its last line: records, doubles, missing, out of order.
fn numbers(summary: &str) -> Vec<u64> {
    summary.split(|c: char| !c.is_ascii_digit()).filter_map(|number| number.parse().ok()).collect()
}

#[test]
fn over_mqtt_a_line_tells_of_each_record() {
    let Some(broker) = Broker::start("") else { return };
    if !python_has("paho.mqtt.client", "python3-paho-mqtt") {
        return;
    }
    let port = broker.port(Door::Password).to_string();
    let ca = broker.path("ca.pem");
    let (tls, ca) = (broker.port(Door::Tls).to_string(), ca.to_str().unwrap());
    let mut by_password = Command::new("/usr/bin/python3");
    by_password.arg(example("consume_mqtt.py")).args(["127.0.0.1", &port, "vigil", "--user", USER]);
    by_password.args(["--password-env", "SECRET_OF_TEST"]).env("SECRET_OF_TEST", PASSWORD);
    // Two at a time, since each has its own name.
    let consumers = [
        Program::start(&mut by_password),
        Program::example("consume_mqtt.py", &["127.0.0.1", &tls, "vigil", "--ca", ca]),
    ];
    for consumer in &consumers {
        consumer.hear("connected: Connection Accepted");
    }
    let mut sink = mqtt(&broker);
    sink.tick(LIMIT).unwrap();
    for consumer in &consumers {
        // It has subscribed once it hears of the exporter, whose state the broker keeps.
        consumer.wait(|lines| lines.iter().any(|line| line == "vigil/gateway/status: online"));
    }
    let batch = of_each_kind("r");
    sink.send(&batch, LIMIT).unwrap();
    sink.send(&batch[..1], LIMIT).unwrap();
    // Other formats, and what is none at all, stop nothing.
    for foreign in ["{\"id\":42,\"version\":\"4.0\"}", "[1]", "7", "{\"id\":\"no number\"}", "{\"id\":null}", "no JSON"]
    {
        sink.send(&[record(Kind::Frame, foreign)], LIMIT).unwrap();
    }
    // An alarm overtakes an event; among their own kind they are in order.
    let late = |kind, n| {
        record(
            kind,
            &format!("{{\"schema\":\"vigil-event/1\",\"id\":\"gate/r/{n}\",\"time\":\"T{n}\",\"event\":\"e\"}}"),
        )
    };
    sink.send(&[late(Kind::Alarm, 11), late(Kind::Event, 10)], LIMIT).unwrap();
    for consumer in consumers {
        let said = consumer.wait(|lines| lines.iter().any(|line| line.starts_with("T10 ")));
        for line in [
            "T5 gate: frame 7, fresh: 2 Person",
            "T6 gate: object-left Person",
            "T7 gate: analysis-lost",
            "T8 gate: telemetry of the camera",
        ] {
            assert_eq!(said.iter().filter(|it| it.as_str() == line).count(), 1, "{line}: {said:?}");
        }
        assert_eq!(said.iter().filter(|line| line.contains("another format")).count(), 5, "{said:?}");
        // Number 9 is missing; those before the first were never to come.
        assert_eq!(numbers(consumer.end().last().unwrap()), [6, 1, 1, 0]);
    }
}

#[test]
fn over_mqtt_a_receiver_with_a_name_misses_nothing_while_it_is_away() {
    let Some(broker) = Broker::start("") else { return };
    if !python_has("paho.mqtt.client", "python3-paho-mqtt") {
        return;
    }
    let port = broker.port(Door::Plain).to_string();
    let start = || {
        let args = ["127.0.0.1", &port, "vigil/gate/frame", "--client-id", "receiver-1", "--json"];
        let consumer = Program::example("consume_mqtt.py", &args);
        consumer.hear("connected: Connection Accepted");
        consumer
    };
    let mut sink = mqtt(&broker);
    let frame = |n| record(Kind::Frame, &format!("{{\"schema\":\"vigil/1\",\"id\":\"gate/r/{n}\"}}"));
    let first = start();
    let mut n = 0;
    // The subscription comes a moment after the connection.
    while first.output().is_empty() {
        sink.send(&[frame(n)], LIMIT).unwrap();
        n += 1;
        assert!(n < 10_000, "it does not subscribe");
    }
    first.end();
    sink.send(&[frame(n), frame(n + 3)], LIMIT).unwrap();
    let second = start();
    second.wait(|lines| lines.iter().any(|line| line.contains(&format!("gate/r/{}\"", n + 3))));
    let said = second.end();
    assert!(said.iter().any(|line| line.contains(&format!("gate/r/{n}\""))), "{said:?}");
    // The numbers between are records of other kinds.
    assert!(said.last().unwrap().contains("? missing"), "{said:?}");
}
