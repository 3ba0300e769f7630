//! Brokers of the tests' own that do what a good one seldom does.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::super::address::Address;
use super::*;
use crate::export::kind::Kind;

/// Far more than an exchange on loopback takes.
const GUARD: Duration = Duration::from_secs(30);

/// A broker that takes one connection, and what it does with it.
fn broker<T: Send + 'static>(play: impl FnOnce(TcpStream) -> T + Send + 'static) -> (u16, JoinHandle<T>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let thread = std::thread::spawn(move || {
        let (socket, _) = listener.accept().unwrap();
        socket.set_read_timeout(Some(GUARD)).unwrap();
        play(socket)
    });
    (port, thread)
}

/// A packet that is shorter than 130 bytes: its first byte and the rest.
fn packet(from: &mut impl Read) -> (u8, Vec<u8>) {
    let mut head = [0; 2];
    from.read_exact(&mut head).unwrap();
    let mut rest = vec![0; usize::from(head[1])];
    from.read_exact(&mut rest).unwrap();
    (head[0], rest)
}

/// Takes a CONNECT, and answers with these bytes.
fn welcome(socket: &mut TcpStream, answer: &[u8]) {
    assert_eq!(packet(socket).0, 0x10, "CONNECT");
    socket.write_all(answer).unwrap();
}

/// CONNACK of 3.1.1, and of 5 without properties.
const TAKEN: [&[u8]; 2] = [&[0x20, 2, 0, 0], &[0x20, 3, 0, 0, 0]];

fn mqtt(port: u16, options: &str) -> Mqtt {
    let uri = format!("mqtt://127.0.0.1:{port}?{options}");
    Mqtt::new(MqttOptions::parse(Address::parse(&uri).unwrap()).unwrap(), "x")
}

fn record(n: u8) -> Outgoing {
    Outgoing { kind: Kind::Frame, camera: Arc::from("a"), body: vec![n] }
}

#[test]
fn acknowledgements_may_come_in_any_order() {
    let (port, thread) = broker(|mut socket| {
        welcome(&mut socket, TAKEN[0]);
        let mut bodies = Vec::new();
        let mut open: Vec<[u8; 2]> = Vec::new();
        while bodies.len() < 40 {
            let (first, rest) = packet(&mut socket);
            assert_eq!(first, 0x32, "PUBLISH with QoS 1");
            let topic = 2 + usize::from(rest[1]);
            let id = [rest[topic], rest[topic + 1]];
            assert!(!open.contains(&id), "an identifier is used twice at a time");
            open.push(id);
            bodies.push(rest[topic + 2..].to_vec());
            // The first one of four last: no fifth may come before it.
            if open.len() == 4 {
                for id in open.drain(..).rev() {
                    socket.write_all(&[0x40, 2, id[0], id[1]]).unwrap();
                }
            }
        }
        bodies
    });
    let batch: Vec<_> = (0..40).map(record).collect();
    mqtt(port, "version=3.1.1&status=none&inflight=4").send(&batch, GUARD).unwrap();
    assert_eq!(thread.join().unwrap(), (0..40u8).map(|n| vec![n]).collect::<Vec<_>>());
}

#[test]
fn what_could_not_be_sent_does_not_count_as_sent() {
    // Whether the library reads or writes first is a matter of chance; only one of both has gone wrong.
    for (version, taken) in [("3.1.1", TAKEN[0]), ("5", TAKEN[1])].into_iter().cycle().take(40) {
        let (close, closing) = mpsc::channel::<()>();
        let (port, thread) = broker(move |mut socket| {
            welcome(&mut socket, taken);
            closing.recv().unwrap();
            // At once and by a reset, so that the system takes nothing more for it.
            rustix::net::sockopt::set_socket_linger(&socket, Some(Duration::ZERO)).unwrap();
        });
        let mut mqtt = mqtt(port, &format!("version={version}&qos=0&status=none"));
        mqtt.tick(GUARD).unwrap();
        close.send(()).unwrap();
        thread.join().unwrap();
        let error = mqtt.send(&[record(1)], GUARD).unwrap_err();
        assert!(
            matches!(&error, RemoteError::Unreachable(text) if text.contains("closed the connection")),
            "{error:?}"
        );
    }
}

#[test]
fn a_broker_says_why_it_ends_a_connection_and_if_it_cannot_the_reasons_are_listed() {
    let ends = |disconnect: &'static [u8]| {
        let (port, thread) = broker(move |mut socket| {
            welcome(&mut socket, TAKEN[1]);
            assert_eq!(packet(&mut socket).0, 0x32, "PUBLISH with QoS 1");
            socket.write_all(disconnect).unwrap();
        });
        let error = mqtt(port, "status=none").send(&[record(1)], GUARD).unwrap_err();
        thread.join().unwrap();
        error
    };
    // The long form, with properties: none, and a text.
    let error = ends(&[0xE0, 2, 0x95, 0]);
    assert!(matches!(&error, RemoteError::Refused(text) if text.contains("of this size")), "{error:?}");
    let error = ends(&[0xE0, 7, 0x97, 5, 0x1F, 0, 2, b'n', b'o']);
    assert!(matches!(&error, RemoteError::Busy { text, .. } if text.ends_with("quota is used up (no)")), "{error:?}");
    // The short forms, which the library does not tell of, and none at all.
    for disconnect in [&[0xE0, 1, 0x95][..], &[0xE0, 0], &[]] {
        let error = ends(disconnect);
        assert!(
            matches!(&error, RemoteError::Unreachable(text) if ["client-id", "max-packet", "rules"].iter().all(|word| text.contains(word))),
            "{error:?}"
        );
    }
}

#[test]
fn a_broker_that_keeps_nothing_is_told_apart() {
    // It says so of the last will, and of the first message.
    let (port, thread) = broker(|mut socket| welcome(&mut socket, &[0x20, 3, 0, 0x9A, 0]));
    let error = mqtt(port, "").tick(GUARD).unwrap_err();
    assert!(matches!(&error, RemoteError::Denied(text) if text.contains("add status=none")), "{error:?}");
    thread.join().unwrap();
    let (port, thread) = broker(|mut socket| {
        // Retain Available: 0.
        welcome(&mut socket, &[0x20, 5, 0, 0, 2, 0x25, 0]);
        let _ = packet(&mut socket);
        let _ = socket.write_all(&[0xE0, 2, 0x9A, 0]);
    });
    let error = mqtt(port, "").tick(GUARD).unwrap_err();
    assert!(matches!(&error, RemoteError::Denied(text) if text.contains("add status=none")), "{error:?}");
    thread.join().unwrap();
}

#[test]
fn the_broker_says_how_often_it_wants_a_ping() {
    let (port, thread) = broker(|mut socket| {
        // Server Keep Alive: 1 s.
        welcome(&mut socket, &[0x20, 6, 0, 0, 3, 0x13, 0, 1]);
        assert_eq!(packet(&mut socket).0, 0xC0, "PINGREQ");
        socket.write_all(&[0xD0, 0]).unwrap();
        assert_eq!(packet(&mut socket).0, 0xC0, "PINGREQ");
    });
    let mut mqtt = mqtt(port, "status=none&keep-alive=1h");
    let start = Instant::now();
    while !thread.is_finished() && mqtt.tick(GUARD).is_ok() {
        assert!(start.elapsed() < GUARD, "no ping came");
    }
    thread.join().unwrap();
}
