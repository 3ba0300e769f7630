//! Records that grow too old, and clocks that are wrong.

use super::*;

fn open(folder: &Path, clock: &Arc<HandClock>) -> Arc<Spool> {
    Spool::open(folder, "x", SpoolOptions::default(), clock.clone()).unwrap()
}

fn push(spool: &Spool, kind: Kind, numbers: std::ops::Range<u64>) {
    numbers.for_each(|number| spool.push(outgoing(kind, "gate", number)));
    assert!(spool.flush(LONG));
}

fn numbers(records: &[Outgoing]) -> Vec<u64> {
    records.iter().map(|record| number(&record.body)).collect()
}

#[test]
fn what_is_too_old_is_given_up_while_nothing_else_happens() {
    let folder = tempfile::tempdir().unwrap();
    let clock = HandClock::on_day(20_000);
    let spool = open(folder.path(), &clock);
    push(&spool, Kind::Frame, 0..10);
    clock.pass(3 * DAY);
    push(&spool, Kind::Frame, 10..15);
    assert_eq!((spool.stats().expired, spool.stats().waiting()), (0, 15));
    // Nobody pushes, and the receiver is away.
    clock.pass(5 * DAY);
    wait_until("the old ones go", || spool.stats().expired == 10);
    assert_eq!(numbers(&found(spool.path())), [10, 11, 12, 13, 14]);
    clock.pass(5 * DAY);
    wait_until("all go", || spool.stats().expired == 15);
    assert_eq!((spool.stats().waiting(), spool.stats().dropped()), (0, 0));
}

#[test]
fn what_has_grown_too_old_meanwhile_is_not_sent_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let clock = HandClock::on_day(20_000);
    let spool = open(folder.path(), &clock);
    // Many blocks, so that it takes more than one step to remove them.
    for number in 0..1500 {
        push(&spool, Kind::Frame, number..number + 1);
    }
    clock.pass(6 * DAY);
    push(&spool, Kind::Frame, 1500..1600);
    drop(spool);
    clock.pass(2 * DAY);
    let spool = open(folder.path(), &clock);
    let receiver = Receiver::default();
    let shipper = ship(&spool, &receiver, 0);
    assert_eq!(shipper.drain(LONG), Drained::Complete);
    assert_eq!(numbers(&receiver.arrived()), (1500..1600).collect::<Vec<_>>());
    assert_eq!((spool.stats().expired, spool.stats().acknowledged), (1500, 100));
}

#[test]
fn what_came_before_the_clock_was_set_is_as_old_as_what_came_next() {
    let folder = tempfile::tempdir().unwrap();
    let clock = HandClock::on_day(0);
    let spool = open(folder.path(), &clock);
    push(&spool, Kind::Event, 0..1);
    push(&spool, Kind::Frame, 1..2);
    clock.set_day(20_000);
    push(&spool, Kind::Frame, 2..3);
    clock.pass(6 * DAY);
    push(&spool, Kind::Frame, 3..4);
    clock.pass(2 * DAY);
    wait_until("the old ones go", || spool.stats().expired == 2);
    // Of the event nothing is known.
    assert_eq!(numbers(&found(spool.path())), [0, 3]);
}

#[test]
fn a_clock_that_was_ahead_keeps_nothing_for_ever() {
    let folder = tempfile::tempdir().unwrap();
    let clock = HandClock::on_day(30_000);
    let spool = open(folder.path(), &clock);
    push(&spool, Kind::Frame, 0..5);
    clock.set_day(20_000);
    push(&spool, Kind::Frame, 5..10);
    clock.pass(DAY);
    push(&spool, Kind::Frame, 10..11);
    // Nothing was given up when it went back.
    assert_eq!((spool.stats().expired, spool.stats().waiting()), (0, 11));
    clock.pass(6 * DAY + 1000);
    wait_until("the old ones go, also those of a later time", || spool.stats().expired == 10);
    // One that jumps ahead makes everything too old.
    clock.set_day(40_000);
    clock.pass(60_000);
    wait_until("the rest goes", || spool.stats().expired == 11);
    push(&spool, Kind::Frame, 11..12);
    assert_eq!(numbers(&found(spool.path())), [11], "what comes now is kept");
}
