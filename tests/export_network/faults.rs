//! Receivers that freeze, refuse and fail, and an element that goes on.

use std::collections::HashSet;

use super::web::{Act, OK, Request, Server, answer, status};
use super::*;

/// The text of the next `vigil-export` message.
fn text(camera: &Camera) -> String {
    let kinds = [gst::MessageType::Element];
    let message = camera.bus.timed_pop_filtered(gst::ClockTime::from_seconds(60), &kinds).expect("no message");
    message.structure().unwrap().get("text").unwrap()
}

fn frame(line: &str) -> u64 {
    serde_json::from_str::<Value>(line).unwrap()["frame"].as_u64().unwrap()
}

#[test]
fn a_frozen_broker_costs_no_frame_and_holds_up_no_end() {
    let Some(broker) = Broker::start("") else { return };
    let folder = tempfile::tempdir().unwrap();
    let uri = broker.uri(Door::Plain, "");
    let subscriber = Subscriber::start(&broker, "vigil/#");
    let mut gate = Camera::start("gate", &uri, folder.path(), &[]);
    gate.pass(20);
    gate.wait_for("the first acknowledged", |gate| gate.stat("written") == 20);
    broker.freeze();
    // All of them come out, though nothing is acknowledged any more.
    gate.pass(1000);
    assert_eq!((gate.stat("records"), gate.stat("written"), gate.stat("dropped")), (1020, 20, 0));
    let begin = Instant::now();
    assert!(gate.harness.push_event(gst::event::Eos::new()));
    gate.stop();
    let took = begin.elapsed();
    broker.thaw();
    // Each of both has its limit.
    assert!(took < 4 * LIMIT, "{took:?}");
    let next = Camera::start("next", &uri, folder.path(), &[]);
    let heard = subscriber.wait(|heard| frames(heard, "gate").len() == 1020);
    assert_eq!(frames(&heard, "gate"), (0..1020).collect::<Vec<_>>());
    next.stop();
}

/// Frame 13 is too large, by itself and with others.
fn judge(request: &Request) -> String {
    match request.lines().iter().any(|line| frame(line) == 13) {
        true => "HTTP/1.1 413 Content Too Large\r\nContent-Length: 0\r\n\r\n".to_string(),
        false => OK.to_string(),
    }
}

#[test]
fn a_record_that_a_server_refuses_is_given_up_and_the_others_arrive() {
    let server = Server::new(|_| Act::Judge(judge));
    let folder = tempfile::tempdir().unwrap();
    let mut gate = Camera::start("gate", &server.uri(""), folder.path(), &[]);
    gate.pass(40);
    gate.wait_for("all settled", |gate| gate.stat("written") == 39 && gate.stat("waiting") == 0);
    assert_eq!(gate.stat("dropped"), 1);
    let said = text(&gate);
    assert!(said.contains("refused a record, which is dropped and counted") && said.contains("413"), "{said}");
    assert_eq!(gate.told(), "recovered");
    let taken = server.seen().into_iter().filter(|request| judge(request) == OK);
    let taken: Vec<u64> = taken.flat_map(|request| request.lines()).map(|line| frame(&line)).collect();
    assert_eq!(taken, (0..40).filter(|number| *number != 13).collect::<Vec<_>>());
    gate.stop();
}

#[test]
fn a_record_that_is_too_large_for_a_broker_is_given_up_and_the_others_arrive() {
    let Some(broker) = Broker::start("max_packet_size 5000") else { return };
    let folder = tempfile::tempdir().unwrap();
    let subscriber = Subscriber::start(&broker, "vigil/#");
    let mut gate = Camera::start("gate", &broker.uri(Door::Plain, ""), folder.path(), &[]);
    gate.pass(10);
    let person = || Object::new(0, 0, "Person".into(), 0.75, BBox { x: 0.25, y: 0.5, w: 0.5, h: 0.25 });
    gate.pass_with((0..200).map(|_| person()).collect());
    gate.pass(10);
    gate.wait_for("all settled", |gate| gate.stat("written") == 20 && gate.stat("waiting") == 0);
    assert_eq!(gate.stat("dropped"), 1);
    let said = text(&gate);
    assert!(said.contains("takes at most 5000"), "{said}");
    let heard = subscriber.wait(|heard| frames(heard, "gate").len() == 20);
    assert_eq!(frames(&heard, "gate"), (0..21).filter(|number| *number != 10).collect::<Vec<_>>());
    gate.stop();
}

#[test]
fn a_server_that_fails_gets_all_records_in_order_and_each_batch_under_one_key() {
    // It takes the first and does not say so; then it is not able to, twice.
    let server = Server::new(|number| match number {
        0 => Act::Last(Vec::new()),
        1 | 2 => status("503 Service Unavailable", "", ""),
        _ => answer(OK),
    });
    let folder = tempfile::tempdir().unwrap();
    let mut gate = Camera::start("gate", &server.uri(""), folder.path(), &[]);
    gate.pass(30);
    gate.wait_for("a failure", |gate| gate.stat("errors") > 0);
    gate.pass(30);
    gate.wait_for("a further failure", |gate| gate.stat("errors") > 1);
    gate.pass(30);
    gate.wait_for("all taken", |gate| gate.stat("waiting") == 0);
    assert_eq!((gate.stat("written"), gate.stat("dropped")), (90, 0));
    assert_eq!((gate.told(), gate.told()), ("degraded".into(), "recovered".into()));
    let seen = server.seen();
    let key = |request: &Request| request.header("idempotency-key").unwrap().to_owned();
    assert!(seen[..4].iter().all(|request| key(request) == key(&seen[0]) && request.lines() == seen[0].lines()));
    let mut known = HashSet::new();
    let taken =
        seen.iter().enumerate().filter(|(number, request)| ![1, 2].contains(number) && known.insert(key(request)));
    let taken: Vec<u64> = taken.flat_map(|(_, request)| request.lines()).map(|line| frame(&line)).collect();
    assert_eq!(taken, (0..90).collect::<Vec<_>>());
    gate.stop();
}
