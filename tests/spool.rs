//! The spool and the shipper from outside: outages, crashes, full disks, damaged files.
//!
//! `VIGIL_SPOOL_KILLS=200` lets the crash test kill that often; a few times is the default.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may")]

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use gstvigil::export::kind::Kind;
use gstvigil::export::remote::{Outgoing, Remote, RemoteError};
use gstvigil::export::shipper::{Pace, Shipper};
use gstvigil::export::sink::{Clock, Now};
use gstvigil::export::spool::{
    Durability, Filter, Found, Order, Spool, SpoolError, SpoolOptions, list, purge, records,
};
use gstvigil::export::writer::{Drained, SystemClock};

/// Far longer than anything here takes; a test that waits for it fails.
const LONG: Duration = Duration::from_secs(60);

fn clock() -> Arc<dyn Clock> {
    Arc::new(SystemClock::default())
}

/// A clock that runs faster, so that a failure is waited for only briefly.
struct FastClock(SystemClock);

impl Clock for FastClock {
    fn now(&self) -> Now {
        let now = self.0.now();
        Now { monotonic: now.monotonic * 500, ..now }
    }
}

fn fast_clock() -> Arc<dyn Clock> {
    Arc::new(FastClock(SystemClock::default()))
}

/// A clock that is set by hand: milliseconds since its start, and since 1970 UTC.
struct HandClock(AtomicU64, AtomicU64);

const DAY: u64 = 86_400_000;

impl HandClock {
    fn on_day(day: u64) -> Arc<Self> {
        Arc::new(Self(AtomicU64::new(0), AtomicU64::new(day * DAY)))
    }

    /// Time passes on both.
    fn pass(&self, ms: u64) {
        self.0.fetch_add(ms, Ordering::SeqCst);
        self.1.fetch_add(ms, Ordering::SeqCst);
    }

    /// The wall clock is set, and a second passes.
    fn set_day(&self, day: u64) {
        self.0.fetch_add(1000, Ordering::SeqCst);
        self.1.store(day * DAY, Ordering::SeqCst);
    }
}

impl Clock for HandClock {
    fn now(&self) -> Now {
        let (monotonic, utc) = (self.0.load(Ordering::SeqCst), self.1.load(Ordering::SeqCst));
        Now { monotonic: Duration::from_millis(monotonic), utc_ns: utc * 1_000_000 }
    }
}

/// Pseudo-random numbers: xorshift64.
struct Random(u64);

impl Random {
    fn next(&mut self, below: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 8) % below
    }
}

fn outgoing(kind: Kind, camera: &str, number: u64) -> Outgoing {
    let noise = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let body = format!(
        "{{\"schema\":\"vigil/1\",\"id\":\"{camera}/20261126T070000.000000000Z/{number}\",\"camera\":\"{camera}\",\"frame\":{number},\
         \"objects\":[{{\"id\":1,\"label\":\"person\",\"confidence\":0.{},\"box\":{{\"x\":0.{},\"y\":0.{},\"w\":0.1,\"h\":0.2}}}}]}}",
        noise % 100_000,
        noise / 100_000 % 100_000,
        noise / 10_000_000_000 % 100_000
    );
    Outgoing { kind, camera: camera.into(), body: body.into_bytes() }
}

/// A record that does not compress.
fn noise(kind: Kind, number: u64, size: usize, random: &mut Random) -> Outgoing {
    let mut body = format!("/{number}\"").into_bytes();
    body.extend((0..size).map(|_| random.next(256) as u8));
    Outgoing { kind, camera: "gate".into(), body }
}

/// The number in a record's id.
fn number(body: &[u8]) -> u64 {
    let text = String::from_utf8_lossy(body);
    let id = text.split("\"id\":\"").nth(1).unwrap_or(&text);
    let id = id.split('"').next().unwrap();
    id.rsplit('/').next().unwrap().parse().unwrap()
}

#[derive(Default)]
struct Inbox {
    arrived: Vec<Outgoing>,
    away: bool,
}

/// A receiver that can be away.
#[derive(Default, Clone)]
struct Receiver(Arc<Mutex<Inbox>>);

impl Receiver {
    fn away(&self, away: bool) {
        self.0.lock().unwrap().away = away;
    }

    fn arrived(&self) -> Vec<Outgoing> {
        self.0.lock().unwrap().arrived.clone()
    }
}

impl Remote for Receiver {
    fn send(&mut self, batch: &[Outgoing], _limit: Duration) -> Result<(), RemoteError> {
        let mut inbox = self.0.lock().unwrap();
        if inbox.away {
            return Err(RemoteError::Unreachable("nobody answers".into()));
        }
        inbox.arrived.extend_from_slice(batch);
        Ok(())
    }

    fn tick(&mut self, _limit: Duration) -> Result<bool, RemoteError> {
        if self.0.lock().unwrap().away { Err(RemoteError::Unreachable("nobody answers".into())) } else { Ok(true) }
    }

    fn close(&mut self, _limit: Duration) {}
}

fn ship(spool: &Arc<Spool>, receiver: &Receiver, replay_rate: u32) -> Shipper {
    let pace = Pace { replay_rate, ..Pace::default() };
    Shipper::start(spool.clone(), Box::new(receiver.clone()), pace, clock(), Box::new(|_| {})).unwrap()
}

fn found(path: &Path) -> Vec<Outgoing> {
    let records = records(path, Filter::default()).unwrap();
    let record = |found: Result<Found, SpoolError>| match found.unwrap() {
        Found::Record(stored) => (*stored.record).clone(),
        Found::Damaged(count) => panic!("{count} records are damaged"),
    };
    records.map(record).collect()
}

fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let until = Instant::now() + LONG;
    while !condition() {
        assert!(Instant::now() < until, "{what} did not happen");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Records of one kind and camera are in the order of their numbers.
fn assert_order(records: &[Outgoing]) {
    let mut last = BTreeMap::new();
    for record in records {
        let number = number(&record.body);
        if let Some(before) = last.insert((record.kind, record.camera.clone()), number) {
            assert!(number > before, "{}: {number} after {before}", record.camera);
        }
    }
}

#[test]
fn an_outage_loses_nothing_and_keeps_the_order() {
    const CAMERAS: u64 = 16;
    const EACH: u64 = 2000;
    let folder = tempfile::tempdir().unwrap();
    let spool = Spool::open(folder.path(), "broker", SpoolOptions::default(), clock()).unwrap();
    let receiver = Receiver::default();
    receiver.away(true);
    let shipper = ship(&spool, &receiver, 0);
    for number in 0..EACH {
        for camera in 0..CAMERAS {
            let kind = if number % 50 == 7 { Kind::Event } else { Kind::Frame };
            spool.push(outgoing(kind, &format!("camera-{camera}"), number));
        }
    }
    assert_eq!(shipper.drain(LONG), Drained::Failed);
    assert!(spool.flush(LONG));
    let stats = spool.stats();
    assert_eq!(stats.waiting_on_disk.iter().sum::<u64>(), CAMERAS * EACH);
    assert_eq!(stats.waiting_in_memory, [0; 4]);
    assert_eq!(found(spool.path()).len() as u64, CAMERAS * EACH, "it can be read beside the spool that is open");
    // Some came before the end of the outage, the rest after it; all in order.
    receiver.away(false);
    for camera in 0..CAMERAS {
        spool.push(outgoing(Kind::Frame, &format!("camera-{camera}"), EACH));
    }
    assert_eq!(shipper.drain(LONG), Drained::Complete);
    let arrived = receiver.arrived();
    assert_eq!(arrived.len() as u64, CAMERAS * (EACH + 1));
    assert_order(&arrived);
    let ids: BTreeSet<_> = arrived.iter().map(|r| r.body.clone()).collect();
    assert_eq!(ids.len(), arrived.len());
    // While their next block is read, what is at hand goes.
    let last_event = arrived.iter().rposition(|record| record.kind == Kind::Event).unwrap();
    assert!(last_event < arrived.len() / 2, "events go first: the last one was number {last_event}");
    let stats = spool.stats();
    assert_eq!((stats.waiting(), stats.dropped(), stats.corrupt), (0, 0, 0));
    assert_eq!(stats.acknowledged, CAMERAS * (EACH + 1));
    assert!(shipper.stop(LONG));
    assert!(spool.close(LONG));
    assert_eq!(found(spool.path()), []);
}

#[test]
fn what_a_broker_takes_never_sees_the_disk() {
    let folder = tempfile::tempdir().unwrap();
    let options = SpoolOptions { commit_interval: Duration::from_secs(600), ..SpoolOptions::default() };
    let spool = Spool::open(folder.path(), "broker", options, clock()).unwrap();
    let receiver = Receiver::default();
    let shipper = ship(&spool, &receiver, 1000);
    for number in 0..5000 {
        spool.push(outgoing(Kind::Frame, "gate", number));
    }
    assert_eq!(shipper.drain(LONG), Drained::Complete);
    let stats = spool.stats();
    assert_eq!((stats.acknowledged, stats.committed, stats.stored_bytes), (5000, 0, 0));
}

#[test]
fn records_survive_a_restart_in_order_and_with_their_kind() {
    let folder = tempfile::tempdir().unwrap();
    let sent: Vec<_> = (0..1000).map(|n| outgoing(Kind::ALL[n % 4], ["a", "b"][n % 2], n as u64)).collect();
    for part in sent.chunks(300) {
        let spool = Spool::open(folder.path(), "x", SpoolOptions::default(), clock()).unwrap();
        part.iter().for_each(|record| spool.push(record.clone()));
        // Dropped without a word: what is in memory is committed then.
    }
    let spool = Spool::open(folder.path(), "x", SpoolOptions::default(), clock()).unwrap();
    let receiver = Receiver::default();
    let shipper = ship(&spool, &receiver, 0);
    assert_eq!(shipper.drain(LONG), Drained::Complete);
    let mut expected = sent;
    expected.sort_by_key(|record| record.kind);
    assert_eq!(receiver.arrived(), expected);
}

#[test]
fn live_first_leaves_the_backlog_in_order_over_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let receiver = Receiver::default();
    let open = || Spool::open(folder.path(), "x", SpoolOptions::default(), clock()).unwrap();
    // Its clock stands still, so that a second's worth of the backlog is sent and no more.
    let start = |spool: &Arc<Spool>, replay_rate| {
        let pace = Pace { replay_rate, order: Order::LiveFirst };
        Shipper::start(spool.clone(), Box::new(receiver.clone()), pace, HandClock::on_day(1), Box::new(|_| {})).unwrap()
    };
    let mut arrived_live = 0;
    for run in 0..3 {
        let spool = open();
        let (from, to) = (run * 1000, run * 1000 + 900);
        receiver.away(true);
        (from..to).for_each(|number| spool.push(outgoing(Kind::Frame, "backlog", number)));
        assert!(spool.flush(LONG));
        receiver.away(false);
        let shipper = start(&spool, 100);
        let before = receiver.arrived().len();
        wait_until("a second's worth is sent", || receiver.arrived().len() >= before + 100);
        (0..50).for_each(|number| spool.push(outgoing(Kind::Frame, "live", run * 50 + number)));
        arrived_live += 50;
        let live = |records: Vec<Outgoing>| {
            let live: BTreeSet<_> = records.into_iter().filter(|r| *r.camera == *"live").map(|r| r.body).collect();
            live.len()
        };
        wait_until("what is new is sent at once", || live(receiver.arrived()) == arrived_live);
        // While it was sent, more of it may have been committed and sent from there.
        assert!(receiver.arrived().len() < 900 * (run as usize + 1), "the backlog waits");
        assert!(shipper.stop(LONG));
    }
    let spool = open();
    assert_eq!(start(&spool, 0).drain(LONG), Drained::Complete);
    // A block of which a part was sent is sent again after a restart: the first copies are in order.
    let mut seen = BTreeSet::new();
    let arrived: Vec<_> = receiver.arrived().into_iter().filter(|record| seen.insert(record.body.clone())).collect();
    assert_order(&arrived);
    assert_eq!(arrived.len(), 3 * 950, "all of them");
    assert_eq!((spool.stats().waiting(), spool.stats().corrupt), (0, 0));
}

#[test]
fn one_spool_has_one_user() {
    let folder = tempfile::tempdir().unwrap();
    let spool = Spool::open(folder.path(), "x", SpoolOptions::default(), clock()).unwrap();
    let error = Spool::open(folder.path(), "x", SpoolOptions::default(), clock()).err().unwrap();
    assert!(matches!(error, SpoolError::InUse { .. }));
    assert!(error.to_string().contains("is in use by another process or exporter; end it, or give each"), "{error}");
    assert!(matches!(purge(spool.path(), &Filter::default()), Err(SpoolError::InUse { .. })));
    Spool::open(folder.path(), "y", SpoolOptions::default(), clock()).unwrap();
    drop(spool);
    Spool::open(folder.path(), "x", SpoolOptions::default(), clock()).unwrap();
    for name in ["", ".x", "a/b", "ü", &"x".repeat(101)] {
        let error = Spool::open(folder.path(), name, SpoolOptions::default(), clock()).err().unwrap();
        assert!(matches!(error, SpoolError::Name { .. }), "{name}");
    }
}

#[test]
fn the_bound_holds_on_the_disk_and_the_least_important_goes_first() {
    const BOUND: u64 = 4 << 20;
    let folder = tempfile::tempdir().unwrap();
    let options = SpoolOptions { bytes: BOUND, ..SpoolOptions::default() };
    let spool = Spool::open(folder.path(), "x", options, clock()).unwrap();
    let mut random = Random(7);
    let (mut most, mut pushed) = (0, [0_u64; 4]);
    for number in 0..3000 {
        let kind = if number % 100 == 3 { Kind::Alarm } else { Kind::ALL[2 + (number % 2) as usize] };
        pushed[kind.index()] += 1;
        spool.push(noise(kind, number, 4000, &mut random));
        if number % 40 == 0 {
            assert!(spool.flush(LONG));
            let bytes: u64 = std::fs::read_dir(folder.path())
                .unwrap()
                .map(|e| {
                    use std::os::unix::fs::MetadataExt;
                    let file = e.unwrap().metadata().unwrap();
                    file.len().max(file.blocks() * 512)
                })
                .sum();
            most = most.max(bytes);
        }
    }
    assert!(spool.flush(LONG));
    let stats = spool.stats();
    println!("at most {most} bytes of {BOUND} on the disk; {stats:?}");
    assert!(most <= BOUND && most > BOUND / 2, "{most}");
    assert_eq!(stats.dropped[0], 0);
    assert!(stats.dropped[3] > 0 && stats.dropped[2] > 0);
    assert_eq!(stats.waiting_on_disk[3], 0, "telemetry goes before frames");
    assert_eq!(stats.waiting() + stats.dropped(), 3000);
    assert!(spool.close(LONG));
    let left = found(spool.path());
    assert_eq!(left.iter().filter(|r| r.kind == Kind::Alarm).count() as u64, pushed[0]);
    let frames: Vec<_> = left.iter().filter(|r| r.kind == Kind::Frame).collect();
    assert_eq!(frames.len() as u64 + stats.dropped[2], pushed[2]);
    assert!(String::from_utf8_lossy(&frames.last().unwrap().body).starts_with("/2998\""), "the newest is there");
}

/// Fills the spool `x` in `folder` with frames of noise, about so many MiB.
fn with_backlog(folder: &Path, mib: u64, clock: Arc<dyn Clock>) -> Arc<Spool> {
    let spool = Spool::open(folder, "x", SpoolOptions::default(), clock).unwrap();
    let mut random = Random(23);
    for number in 0..mib * 100 {
        spool.push(noise(Kind::Frame, number, 10_000, &mut random));
        if number % 200 == 199 {
            assert!(spool.flush(LONG));
        }
    }
    assert!(spool.flush(LONG));
    spool
}

#[test]
fn space_that_nothing_needs_is_given_back() {
    let folder = tempfile::tempdir().unwrap();
    let clock = HandClock::on_day(20_000);
    let spool = with_backlog(folder.path(), 12, clock.clone());
    assert!(spool.stats().disk_bytes > 12 << 20);
    let receiver = Receiver::default();
    assert_eq!(ship(&spool, &receiver, 0).drain(LONG), Drained::Complete);
    // It ends before it has had time to.
    assert!(spool.close(LONG));
    assert!(spool.stats().disk_bytes > 10 << 20);
    drop(spool);
    let spool = Spool::open(folder.path(), "x", SpoolOptions::default(), clock.clone()).unwrap();
    wait_until("at the next start", || spool.stats().disk_bytes < 2 << 20);
    assert!(spool.stats().used_bytes < 1 << 20);
    drop(spool);
    // And while it runs, also if nothing happens any more.
    let spool = with_backlog(folder.path(), 12, clock.clone());
    assert_eq!(ship(&spool, &receiver, 0).drain(LONG), Drained::Complete);
    wait_until("a minute later", || {
        clock.pass(10_000);
        spool.stats().disk_bytes < 2 << 20
    });
}

#[test]
fn a_smaller_bound_holds_from_the_next_start_on() {
    const BOUND: u64 = 8 << 20;
    let folder = tempfile::tempdir().unwrap();
    drop(with_backlog(folder.path(), 20, clock()));
    let options = SpoolOptions { bytes: BOUND, ..SpoolOptions::default() };
    let spool = Spool::open(folder.path(), "x", options, clock()).unwrap();
    wait_until("the file is smaller", || spool.stats().disk_bytes <= BOUND);
    let stats = spool.stats();
    assert_eq!(stats.waiting() + stats.dropped(), 2000);
    let left: Vec<u64> = found(spool.path()).iter().map(|record| number(&record.body)).collect();
    assert_eq!(left, (stats.dropped()..2000).collect::<Vec<_>>(), "the newest are there");
    assert!(left.len() > 400, "as many as find room: {}", left.len());
}

#[test]
fn spools_are_listed_exported_and_purged() {
    let folder = tempfile::tempdir().unwrap();
    let spool = Spool::open(folder.path(), "x", SpoolOptions::default(), clock()).unwrap();
    for number in 0..2000 {
        spool.push(outgoing(Kind::ALL[(number % 4) as usize], ["a", "b"][(number / 4 % 2) as usize], number));
    }
    assert!(spool.flush(LONG));
    let info = &list(folder.path()).unwrap()[0];
    assert_eq!((info.name.as_str(), info.records, info.in_use, &info.problem), ("x", [500; 4], true, &None));
    assert!(info.oldest_utc_ms.is_some() && info.bytes > 0);
    assert!(spool.close(LONG));
    assert!(!list(folder.path()).unwrap()[0].in_use);
    let filter = Filter { camera: Some("a".into()), kind: Some(Kind::Event), since_utc_ms: None };
    assert_eq!(records(spool.path(), filter.clone()).unwrap().count(), 250);
    assert_eq!(purge(spool.path(), &filter).unwrap(), 250);
    assert_eq!(records(spool.path(), filter).unwrap().count(), 0);
    let later = Filter { since_utc_ms: Some(u64::MAX), ..Filter::default() };
    assert_eq!(records(spool.path(), later).unwrap().count(), 0);
    assert_order(&found(spool.path()));
    assert_eq!(list(folder.path()).unwrap()[0].records, [500, 250, 500, 500]);
    // What is left is sent, over the gaps.
    let spool = Spool::open(folder.path(), "x", SpoolOptions::default(), clock()).unwrap();
    let receiver = Receiver::default();
    assert_eq!(ship(&spool, &receiver, 0).drain(LONG), Drained::Complete);
    assert_eq!(receiver.arrived().len(), 1750);
    assert!(spool.close(LONG));
    assert_eq!(purge(spool.path(), &Filter::default()).unwrap(), 0);
    let missing = folder.path().join("none.spool");
    assert!(matches!(purge(&missing, &Filter::default()), Err(SpoolError::Missing { .. })));
    assert!(records(&missing, Filter::default()).is_err());
    assert!(!missing.exists(), "to look makes no file");
}

#[path = "spool/age.rs"]
mod age;
#[path = "spool/command.rs"]
mod command;
#[path = "spool/crash.rs"]
mod crash;
#[path = "spool/damage.rs"]
mod damage;
#[path = "spool/faulty.rs"]
mod faulty;
#[path = "spool/full.rs"]
mod full;
#[path = "spool/replace.rs"]
mod replace;
