//! What the spool costs: records a second, processor time, bytes written, and an outage of an hour at 16 cameras.
//!
//! `cargo bench --bench spool -- [sustained] [paced] [slow] [taken] [outage]` runs those that are named, or all. The file lies
//! in a temporary folder: set TMPDIR to the disk that is meant. Bytes written are `write_bytes` of `/proc/self/io`: pages that
//! this process gave to the block device, without the file system's own journal.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a benchmark may")]

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use gstvigil::export::kind::Kind;
use gstvigil::export::remote::{Outgoing, Remote, RemoteError};
use gstvigil::export::shipper::{Pace, Shipper};
use gstvigil::export::spool::{Spool, SpoolOptions};
use gstvigil::export::writer::{Drained, SystemClock};

const LONG: Duration = Duration::from_secs(600);
const CAMERAS: u64 = 16;

/// Records as `vigilexport` writes them, of frames with 0 to 2 objects that move.
struct Source {
    number: u64,
    bytes: u64,
    random: u64,
}

impl Source {
    fn new() -> Self {
        Self { number: 0, bytes: 0, random: 0x1234_5678_9abc_def1 }
    }

    fn random(&mut self, below: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random >> 8) % below
    }

    fn next(&mut self) -> Outgoing {
        let (camera, frame) = (self.number % CAMERAS, self.number / CAMERAS);
        self.number += 1;
        let mut body = String::with_capacity(700);
        let (seconds, ms) = (frame / 25 % 60, frame % 25 * 40);
        let minutes = frame / 1500 % 60;
        let _ = write!(
            body,
            "{{\"schema\":\"vigil/1\",\"id\":\"camera-{camera}/20261126T070000.123456789Z/{frame}\",\
             \"time\":\"2026-11-26T07:{minutes:02}:{seconds:02}.{ms:03}Z\",\"camera\":\"camera-{camera}\",\"frame\":{frame},\
             \"pts_ns\":{},\"source\":{{\"width\":1920,\"height\":1080}},\"freshness\":{{\"state\":\"fresh\"}},\"objects\":[",
            frame * 40_000_000
        );
        for id in 0..self.random(3) {
            let numbers = [self.random(100_000), self.random(100_000), self.random(100_000), self.random(30_000)];
            let [confidence, x, y, w] = numbers;
            let comma = if id > 0 { "," } else { "" };
            let _ = write!(
                body,
                "{comma}{{\"id\":{id},\"label\":\"person\",\"class_id\":0,\"confidence\":0.{confidence:05},\
                 \"box\":{{\"x\":0.{x:05},\"y\":0.{y:05},\"w\":0.{w:05},\"h\":0.2}}}}"
            );
        }
        body.push_str("]}");
        self.bytes += body.len() as u64;
        Outgoing { kind: Kind::Frame, camera: format!("camera-{camera}").into(), body: body.into_bytes() }
    }
}

#[derive(Default)]
struct Inbox {
    /// The number that is next, by camera.
    next: HashMap<Arc<str>, u64>,
    count: u64,
    away: bool,
}

/// Takes all, and checks that each camera's records come in order and once.
#[derive(Default, Clone)]
struct Receiver(Arc<Mutex<Inbox>>);

impl Remote for Receiver {
    fn send(&mut self, batch: &[Outgoing], _limit: Duration) -> Result<(), RemoteError> {
        let mut inner = self.0.lock().unwrap();
        if inner.away {
            return Err(RemoteError::Unreachable("nobody answers".into()));
        }
        for record in batch {
            let text = std::str::from_utf8(&record.body).unwrap();
            let id = text.split('"').nth(7).unwrap();
            let number: u64 = id.rsplit('/').next().unwrap().parse().unwrap();
            let next = inner.next.entry(record.camera.clone()).or_default();
            assert_eq!(number, *next, "{}: out of order, twice or lost", record.camera);
            *next += 1;
            inner.count += 1;
        }
        Ok(())
    }

    fn tick(&mut self, _limit: Duration) -> Result<bool, RemoteError> {
        Ok(true)
    }

    fn close(&mut self, _limit: Duration) {}
}

/// Processor time of this process, all threads, with the system's resolution of 10 ms.
fn processor() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<_> = stat.rsplit(") ").next().unwrap().split(' ').collect();
    Duration::from_millis((fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()) * 10)
}

fn written() -> u64 {
    let io = std::fs::read_to_string("/proc/self/io").unwrap();
    io.lines().find_map(|line| line.strip_prefix("write_bytes: ")).unwrap().parse().unwrap()
}

fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() / 1024
}

struct Measure {
    wall: Instant,
    processor: Duration,
    written: u64,
}

impl Measure {
    fn start() -> Self {
        Self { wall: Instant::now(), processor: processor(), written: written() }
    }

    fn print(&self, what: &str, records: u64, bytes: u64) {
        let wall = self.wall.elapsed().as_secs_f64();
        let used = (processor() - self.processor).as_secs_f64();
        let written = written() - self.written;
        println!(
            "{what}: {records} records of {} B in {wall:.1} s = {:.0}/s; processor {:.2} % of a core, {:.1} us a record; \
             written {:.2} bytes per byte",
            bytes / records.max(1),
            records as f64 / wall,
            used / wall * 100.0,
            used / records as f64 * 1e6,
            written as f64 / bytes as f64,
        );
    }
}

fn open(options: SpoolOptions) -> (tempfile::TempDir, Arc<Spool>) {
    let folder = tempfile::tempdir().unwrap();
    let spool = Spool::open(folder.path(), "bench", options, Arc::new(SystemClock::default())).unwrap();
    (folder, spool)
}

fn ship(spool: &Arc<Spool>, receiver: &Receiver) -> Shipper {
    let pace = Pace { replay_rate: 0, ..Pace::default() };
    let clock = Arc::new(SystemClock::default());
    Shipper::start(spool.clone(), Box::new(receiver.clone()), pace, clock, Box::new(|_| {})).unwrap()
}

/// As fast as the disk takes them.
fn push_all(spool: &Spool, source: &mut Source, records: u64) {
    for number in 0..records {
        spool.push(source.next());
        if number % 256 == 0 {
            while spool.stats().memory_bytes > 12 << 20 {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
    }
}

fn sustained() {
    const RECORDS: u64 = 400_000;
    let mut source = Source::new();
    let generated = Measure::start();
    (0..RECORDS).for_each(|_| drop(source.next()));
    let generated = generated.wall.elapsed();
    let (_folder, spool) = open(SpoolOptions::default());
    let mut source = Source::new();
    let measure = Measure::start();
    push_all(&spool, &mut source, RECORDS);
    assert!(spool.flush(LONG));
    measure.print("sustained, nobody takes them", RECORDS, source.bytes);
    let stats = spool.stats();
    println!(
        "  ({:.1} s of it to make the records; {} MiB on the disk, of {} MiB; {} dropped)",
        generated.as_secs_f64(),
        stats.disk_bytes >> 20,
        source.bytes >> 20,
        stats.dropped()
    );
    assert_eq!(stats.dropped(), 0);
}

fn paced(what: &str, rate: u64, seconds: u64, receiver: Option<Receiver>) {
    let (_folder, spool) = open(SpoolOptions::default());
    let shipper = receiver.map(|receiver| ship(&spool, &receiver));
    let mut source = Source::new();
    let measure = Measure::start();
    for number in 1..=rate * seconds {
        spool.push(source.next());
        let due = Duration::from_secs_f64(number as f64 / rate as f64);
        std::thread::sleep(due.saturating_sub(measure.wall.elapsed()));
    }
    // The log is copied into the file, and both are closed, within what is measured.
    drop(shipper.inspect(|shipper| assert_eq!(shipper.drain(LONG), Drained::Complete)));
    assert!(spool.close(LONG));
    measure.print(what, rate * seconds, source.bytes);
    println!("  (committed {} records, {} bytes compressed)", spool.stats().committed, spool.stats().stored_bytes);
}

fn outage() {
    const RECORDS: u64 = CAMERAS * 25 * 3600;
    let (_folder, spool) = open(SpoolOptions::default());
    let receiver = Receiver::default();
    receiver.0.lock().unwrap().away = true;
    let shipper = ship(&spool, &receiver);
    let mut source = Source::new();
    let before = resident();
    let measure = Measure::start();
    push_all(&spool, &mut source, RECORDS);
    assert!(spool.flush(LONG));
    measure.print("outage of an hour, 16 cameras at 25 fps", RECORDS, source.bytes);
    println!(
        "  ({} MiB on the disk; memory {before} MiB before, {} MiB now)",
        spool.stats().disk_bytes >> 20,
        resident()
    );
    receiver.0.lock().unwrap().away = false;
    let measure = Measure::start();
    assert_eq!(shipper.drain(LONG), Drained::Complete);
    measure.print("its replay", RECORDS, source.bytes);
    let stats = spool.stats();
    assert_eq!(receiver.0.lock().unwrap().count, RECORDS);
    assert_eq!((stats.dropped(), stats.corrupt, stats.waiting()), (0, 0, 0));
    println!("  (all {RECORDS} arrived, each once, in the order of their camera; memory {} MiB)", resident());
    assert!(spool.close(LONG));
}

fn main() {
    let named: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    let wanted = |name: &str| named.is_empty() || named.iter().any(|n| n == name);
    if wanted("sustained") {
        sustained();
    }
    if wanted("paced") {
        paced("400 a second, nobody takes them", 400, 30, None);
    }
    if wanted("slow") {
        paced("10 a second, nobody takes them", 10, 60, None);
    }
    if wanted("taken") {
        paced("400 a second, a receiver takes all", 400, 30, Some(Receiver::default()));
    }
    if wanted("outage") {
        outage();
    }
}
