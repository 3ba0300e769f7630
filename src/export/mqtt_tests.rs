use std::sync::Arc;

use super::*;
use crate::export::kind::Kind;

fn parse(uri: &str) -> Result<MqttOptions, UriError> {
    MqttOptions::parse(Address::parse(uri)?)
}

fn error(uri: &str) -> String {
    parse(uri).unwrap_err().to_string()
}

fn record(camera: &str, kind: Kind) -> Outgoing {
    Outgoing { kind, camera: Arc::from(camera), body: b"{}".to_vec() }
}

#[test]
fn defaults() {
    let options = parse("mqtt://broker").unwrap();
    assert_eq!((options.host.as_str(), options.port, options.qos, options.inflight), ("broker", 1883, 1, 100));
    assert_eq!((options.version, options.keep_alive, options.max_packet), (Version::V5, Duration::from_secs(30), None));
    // What brokers take of a client that they cannot tell their limit.
    let inflight = |query: &str| parse(&format!("mqtt://b?{query}")).unwrap().inflight;
    assert_eq!((inflight("qos=2"), inflight("qos=2&version=3.1.1"), inflight("version=3.1.1")), (100, 10, 100));
    assert_eq!(inflight("qos=2&version=3.1.1&inflight=20"), 20);
    let mqtt = Mqtt::new(options, "gw/1");
    assert_eq!(mqtt.client_id, "gw_1");
    assert_eq!(mqtt.status_topic(), Some("vigil/gw_1/status"));
    assert_eq!(mqtt.topic(&record("a/b#", Kind::Event)), "vigil/a_b_/event");
}

#[test]
fn schemes_have_their_ports_and_servers() {
    for (uri, server, port) in [
        ("mqtt://b", "b", 1883),
        ("mqtts://[::1]", "::1", 8883),
        ("mqtt+ws://b", "ws://b:80/mqtt", 80),
        ("mqtt+wss://[::1]/p?ws-path=/a/b?c=d%26e", "wss://[::1]:443/a/b?c=d&e", 443),
        ("mqtt+ws://b:9001/?ws-path=/", "ws://b:9001/", 9001),
    ] {
        let options = parse(uri).unwrap();
        assert_eq!((options.server().as_str(), options.port), (server, port), "{uri}");
    }
    assert_eq!(parse("mqtts://[::1]").unwrap().place(), "the broker at [::1]:8883");
}

#[test]
fn options() {
    let uri = "mqtts://me:geheim@broker:1/site/a/?version=3.1.1&qos=2&topic=x/{kind}/{prefix}/{camera}&client-id=gate-1&keep-alive=1min\
               &inflight=7&max-packet=128KiB&status=up/{client-id}&ca=ca.pem";
    let options = parse(uri).unwrap();
    assert!(!format!("{options:?}").contains("geheim"));
    assert_eq!((options.version, options.qos, options.inflight), (Version::V3, 2, 7));
    assert_eq!((options.keep_alive, options.max_packet), (Duration::from_secs(60), Some(131_072)));
    let mqtt = Mqtt::new(options, "other");
    assert!(!format!("{mqtt:?}").contains("geheim"));
    assert_eq!(mqtt.client_id, "gate-1");
    assert_eq!(mqtt.status_topic(), Some("up/gate-1"));
    assert_eq!(mqtt.topic(&record("cam", Kind::Alarm)), "x/alarm/site/a/cam");
    assert_eq!(Mqtt::new(parse("mqtt://b?status=none").unwrap(), "x").status_topic(), None);
}

#[test]
fn wrong_texts_get_an_answer_that_helps() {
    for (uri, text) in [
        ("mqtt://b?version=4", "version: `4` is not 3.1.1 or 5"),
        ("mqtt://b?qos=3", "qos: `3` is not 0, 1 or 2"),
        ("mqtt://b?inflight=0", "inflight: `0` is not a number from 1 to 10000"),
        ("mqtt://b?keep-alive=1s", "keep-alive: `1s` is not a duration from 5s to 18h"),
        ("mqtt://b?client-id=", "client-id: `` is not a name without wildcards and control characters"),
        ("mqtt://b/a/+", "the path: `a/+` is not the beginning of a topic without wildcards and control characters"),
        ("mqtt+ws://b?ws-path=mqtt", "ws-path: `mqtt` is not the path of a URL, such as /mqtt"),
        ("mqtt://b?clientid=x", "`clientid` is not an option of a mqtt sink (did you mean client-id?)"),
        ("mqtt://a,b", "the address names no host; write mqtt://HOST:PORT/PATH"),
    ] {
        assert_eq!(error(uri), text);
    }
    assert!(error("mqtt://b?ca=x.pem").starts_with("`ca` is not an option of a mqtt sink"));
    assert!(error("mqtt://b?ws-path=/x").starts_with("`ws-path` is not an option of a mqtt sink"));
    assert!(error("mqtt://b?keep-alive=30").starts_with("keep-alive: `30` is not a duration"));
    assert!(error("mqtt://b?max-packet=1").starts_with("max-packet: `1` is not a size"));
    assert!(error("mqtt://b?topic={x}").starts_with("topic: `{x}` is not a topic"));
    assert!(error("mqtt://b?status={camera}").starts_with("status: `{camera}` is not a topic"));
}

#[test]
fn what_cannot_be_read_is_said_and_named() {
    let mut mqtt = Mqtt::new(parse("mqtts://127.0.0.1:1?ca=no-such.pem").unwrap(), "x");
    let error = mqtt.send(&[record("a", Kind::Frame)], Duration::from_secs(5)).unwrap_err();
    assert!(matches!(&error, RemoteError::Denied(text) if text.contains("no-such.pem")), "{error}");
    let mut mqtt = Mqtt::new(parse("mqtt://me@127.0.0.1:1?password-file=no-such-password").unwrap(), "x");
    let error = mqtt.tick(Duration::from_secs(5)).unwrap_err();
    assert!(matches!(&error, RemoteError::Denied(text) if text.contains("no-such-password")), "{error}");
}

proptest::proptest! {
    #[test]
    fn no_address_panics(path in "[a-z/+#%0-9]{0,12}", query in "[a-z=&0-9%{}/.-]{0,40}", value in "\\PC{0,12}") {
        for uri in [format!("mqtt://b/{path}?{query}"), format!("mqtt+ws://b?ws-path={value}"), format!("mqtt://b?topic={value}")] {
            if let Ok(options) = parse(&uri) {
                let mqtt = Mqtt::new(options, &value);
                let topic = mqtt.topic(&record(&value, Kind::Frame));
                proptest::prop_assert!(topic::is_safe(&topic), "{}", topic);
                proptest::prop_assert!(mqtt.status_topic().is_none_or(topic::is_safe));
            }
        }
    }
}
