#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may")]

use std::path::Path;
use std::sync::Arc;

use tempfile::TempDir;

use super::*;
use crate::export::route::How;
use crate::export::shipper::Pace;
use crate::export::uri::SinkUri;
use crate::export::writer::SystemClock;

const GUARD: Duration = Duration::from_secs(30);

fn line(kind: Kind, number: usize, size: usize) -> Line {
    let text = format!("{{\"kind\":\"{}\",\"number\":{number},\"fill\":\"{}\"}}\n", kind.as_str(), "x".repeat(size));
    Line { kind, camera: "gate".into(), line: text.into_bytes() }
}

/// A way to a file, whose queue is the reporter's.
fn to(path: &Path) -> Result<Route, String> {
    let uri: SinkUri = format!("file:{}", path.display()).parse().unwrap();
    let how = How { by: "test".into(), queue_size: QUEUE, folder: None, spool: None, pace: Pace::default() };
    Route::open(&uri, how, Arc::new(SystemClock::default()), Box::new(|_| ())).map_err(|error| error.to_string())
}

fn closed() -> Result<Route, String> {
    Err("the spool is in use".to_owned())
}

/// Kind and number of the records in a file, in their order.
fn written(path: &Path) -> Vec<(String, u64)> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let values = text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    values.map(|it| (it["kind"].as_str().unwrap().to_owned(), it["number"].as_u64().unwrap())).collect()
}

#[test]
fn what_happens_before_the_way_opens_is_sent_in_its_order_once_it_does() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("t.jsonl");
    let mut outbox = Outbox::default();
    let told = outbox.open_if_due(Duration::ZERO, closed).unwrap();
    let text = "telemetry is not sent, waits in memory, and is tried again later: the spool is in use";
    assert_eq!(told, Notice::Warning(text.into()));
    for number in 0..1500 {
        outbox.put(line(if number % 3 == 0 { Kind::Alarm } else { Kind::Telemetry }, number, 0));
        outbox.send();
    }
    assert_eq!(outbox.open_if_due(Duration::from_secs(29), || panic!("it is not due")).map(|_| ()), None);
    assert_eq!(outbox.open_if_due(Duration::from_secs(30), closed), None, "the same is told once");
    let told = outbox.open_if_due(Duration::from_secs(60), || to(&path)).unwrap();
    let text = "telemetry is sent; what has waited for it follows: 500 alarms, 0 events and 1000 records of telemetry";
    assert_eq!(told, Notice::Recovered(text.into()));
    outbox.send();
    assert_eq!(outbox.held.count().sum(), 1000, "not more at once than the way has room for");
    outbox.put(line(Kind::Event, 1500, 0));
    assert_eq!(outbox.stop(GUARD, || panic!("it is open")), None);
    let written = written(&path);
    assert_eq!(written.iter().map(|(_, number)| *number).collect::<Vec<_>>(), (0..=1500).collect::<Vec<_>>());
    assert_eq!((written[0].0.as_str(), written[1500].0.as_str()), ("alarm", "event"));
}

#[test]
fn where_there_is_no_room_the_least_important_go_first_and_are_counted() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("t.jsonl");
    let mut outbox = Outbox::default();
    outbox.open_if_due(Duration::ZERO, closed);
    for number in 0..MOST.0 {
        outbox.put(line(if number < 100 { Kind::Telemetry } else { Kind::Event }, number, 0));
    }
    outbox.put(line(Kind::Alarm, 10_000, 0));
    assert_eq!((outbox.held.count(), outbox.held.lost), (Count([1, 9900, 0, 99]), Count([0, 0, 0, 1])));
    for number in 0..200 {
        outbox.put(line(Kind::Alarm, 10_001 + number, 0));
    }
    assert_eq!((outbox.held.count(), outbox.held.lost), (Count([201, 9799, 0, 0]), Count([0, 101, 0, 100])));
    let told = outbox.open_if_due(RETRY, || to(&path)).unwrap();
    let text = "telemetry is sent; what has waited for it follows: 201 alarms, 9799 events and 0 records of telemetry; \
                lost for want of room in memory: 0 alarms, 101 events and 100 records of telemetry";
    assert_eq!(told, Notice::Warning(text.into()));
    outbox.stop(GUARD, || panic!("it is open"));
    let expected: Vec<u64> = (201..10_201).collect();
    assert_eq!(written(&path).iter().map(|(_, number)| *number).collect::<Vec<_>>(), expected);
}

#[test]
fn bytes_are_bounded_too_whatever_comes() {
    let mut outbox = Outbox::default();
    for number in 0..20 {
        outbox.put(line(Kind::Telemetry, number, 1 << 20));
    }
    assert!(outbox.held.bytes <= MOST.1 && outbox.held.count().sum() == 3, "{:?}", outbox.held.count());
    outbox.put(line(Kind::Alarm, 20, MOST.1));
    assert_eq!((outbox.held.count().sum(), outbox.held.bytes), (0, 0), "one that has no room at all is lost too");
    assert_eq!(outbox.held.lost, Count([1, 0, 0, 20]));
}

#[test]
fn the_last_records_are_sent_if_the_way_opens_at_the_end_and_told_if_not() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("t.jsonl");
    let outbox = || {
        let mut outbox = Outbox::default();
        outbox.open_if_due(Duration::ZERO, closed);
        (0..3).for_each(|number| outbox.put(line(Kind::Alarm, number, 0)));
        outbox
    };
    let told = outbox().stop(GUARD, closed).unwrap();
    let text =
        "telemetry was not sent, and is lost: 3 alarms, 0 events and 0 records of telemetry: the spool is in use";
    assert_eq!(told, Notice::Warning(text.into()));
    assert!(matches!(outbox().stop(GUARD, || to(&path)), Some(Notice::Recovered(_))));
    assert_eq!(written(&path).len(), 3);
    let mut outbox = Outbox::default();
    outbox.open_if_due(Duration::ZERO, closed);
    assert_eq!(outbox.stop(GUARD, closed), None, "there was nothing to lose");
}
