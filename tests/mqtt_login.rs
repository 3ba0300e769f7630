//! Certificates and passwords with a real mosquitto.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may")]

#[path = "common/broker.rs"]
mod broker;

use std::process::Command;
use std::time::Duration;

use broker::{Broker, Door, GUARD, PASSWORD, USER};
use gstvigil::export::address::Address;
use gstvigil::export::kind::Kind;
use gstvigil::export::mqtt::{Mqtt, MqttOptions};
use gstvigil::export::remote::{Outgoing, Remote, RemoteError};

/// Far more than an exchange on loopback takes.
const LIMIT: Duration = GUARD;

fn mqtt(uri: &str) -> Mqtt {
    Mqtt::new(MqttOptions::parse(Address::parse(uri).unwrap()).unwrap(), "gateway")
}

fn frames(ids: std::ops::Range<usize>) -> Vec<Outgoing> {
    let frame =
        |id| Outgoing { kind: Kind::Frame, camera: "gate".into(), body: format!("{{\"id\":\"{id}\"}}").into_bytes() };
    ids.map(frame).collect()
}

#[test]
fn certificates_are_checked_both_ways() {
    let Some(broker) = Broker::start("") else { return };
    let denied = |uri: &str, word: &str| {
        let error = mqtt(uri).send(&frames(0..1), LIMIT).unwrap_err();
        assert!(matches!(&error, RemoteError::Denied(text) if text.contains(word)), "{uri}: {error:?}");
    };
    for (scheme, door) in [("mqtts", Door::Tls), ("mqtt+wss", Door::Wss)] {
        for version in ["3.1.1", "5"] {
            let port = broker.port(door);
            let ca = |name: &str| format!("ca={}&version={version}", broker.path(name).display());
            denied(
                &format!("{scheme}://127.0.0.1:{port}?{}", ca("other.pem")),
                "name the certificate of its authority with ca",
            );
            denied(&format!("{scheme}://127.0.0.1:{port}?version={version}"), "ca=PATH");
            denied(&format!("{scheme}://localhost:{port}?{}", ca("ca.pem")), "another name");
        }
    }
    let (cert, key) = (broker.path("client.pem"), broker.path("client.key"));
    for version in ["version=3.1.1", "version=5"] {
        let identity = format!("{version}&cert={}&key={}", cert.display(), key.display());
        for door in [Door::Mutual, Door::MutualWss] {
            mqtt(&broker.uri(door, &identity)).send(&frames(0..10), LIMIT).unwrap();
            let error = mqtt(&broker.uri(door, version)).send(&frames(0..1), LIMIT).unwrap_err();
            assert!(matches!(error, RemoteError::Denied(_) | RemoteError::Unreachable(_)), "{error:?}");
            // Whether the broker's word or its reset is seen first is a matter of luck.
            assert!(door == Door::MutualWss || error.to_string().contains("client certificate"), "{error:?}");
        }
    }
}

#[test]
fn passwords_are_read_at_each_connection() {
    let Some(broker) = Broker::start("") else { return };
    let port = broker.port(Door::Password);
    let file = broker.path("password");
    let mut by_file = mqtt(&format!("mqtt://{USER}@127.0.0.1:{port}?password-file={}", file.display()));
    std::fs::write(&file, "geheim\n").unwrap();
    let error = by_file.send(&frames(0..1), LIMIT).unwrap_err();
    assert!(matches!(&error, RemoteError::Denied(text) if text.contains("user and password")), "{error:?}");
    std::fs::write(&file, format!("{PASSWORD}\n")).unwrap();
    by_file.send(&frames(0..1), LIMIT).unwrap();
    by_file.close(LIMIT);
    // A process of its own has an environment of its own.
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", "a_password_may_be_in_the_environment"]).env("SECRET_OF_TEST", PASSWORD);
    assert!(child.env("PORT_OF_TEST", port.to_string()).status().unwrap().success());
}

/// Does something as the child of another test only.
#[test]
fn a_password_may_be_in_the_environment() {
    let Ok(port) = std::env::var("PORT_OF_TEST") else { return };
    mqtt(&format!("mqtt://{USER}@127.0.0.1:{port}?password-env=SECRET_OF_TEST")).send(&frames(0..1), LIMIT).unwrap();
    let error =
        mqtt(&format!("mqtt://{USER}@127.0.0.1:{port}?password-env=NO_SECRET_OF_TEST")).tick(LIMIT).unwrap_err();
    assert!(matches!(&error, RemoteError::Denied(text) if text.contains("NO_SECRET_OF_TEST")), "{error:?}");
}
