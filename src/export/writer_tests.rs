use std::sync::mpsc;

use super::super::sink::SinkError;
use super::*;

/// Far longer than anything here takes; a test that waits for it fails.
const LONG: Duration = Duration::from_secs(60);

/// A clock that stands still until it is set.
#[derive(Default)]
struct TestClock(AtomicU64);

impl Clock for TestClock {
    fn now(&self) -> Now {
        Now { monotonic: Duration::from_millis(self.0.load(Ordering::SeqCst)), utc_ns: 0 }
    }
}

#[derive(Default)]
struct Log {
    lines: Vec<String>,
    finishes: usize,
    failing: bool,
    panics: bool,
}

/// Writes into a log; each write first waits for a permit, where permits are given out.
struct TestSink {
    log: Arc<Mutex<Log>>,
    permits: Option<mpsc::Receiver<()>>,
    entered: mpsc::Sender<()>,
}

impl Sink for TestSink {
    fn write(&mut self, line: &[u8], _now: Now) -> Result<(), SinkError> {
        let _ = self.entered.send(());
        if let Some(permits) = &self.permits {
            let _ = permits.recv();
        }
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        assert!(!log.panics, "a bad sink");
        if log.failing {
            return Err(SinkError::Full { path: "there".into() });
        }
        log.lines.push(String::from_utf8(line.to_vec()).unwrap());
        Ok(())
    }

    fn tick(&mut self, _now: Now) -> Result<(), SinkError> {
        Ok(())
    }

    fn finish(&mut self, _now: Now) -> Result<(), SinkError> {
        self.log.lock().unwrap().finishes += 1;
        Ok(())
    }
}

struct Bench {
    log: Arc<Mutex<Log>>,
    clock: Arc<TestClock>,
    changes: mpsc::Receiver<Change>,
    entered: mpsc::Receiver<()>,
    permits: mpsc::Sender<()>,
    exporter: Exporter,
}

fn bench(capacity: usize, gated: bool) -> Bench {
    let log = Arc::new(Mutex::new(Log::default()));
    let clock = Arc::new(TestClock::default());
    let (changed, changes) = mpsc::channel();
    let (enter, entered) = mpsc::channel();
    let (permits, permitted) = mpsc::channel();
    let sink = TestSink { log: log.clone(), permits: gated.then_some(permitted), entered: enter };
    let report = Box::new(move |change| drop(changed.send(change)));
    let exporter = Exporter::start(Box::new(sink), capacity, clock.clone(), report).unwrap();
    Bench { log, clock, changes, entered, permits, exporter }
}

fn line(i: u32) -> Vec<u8> {
    format!("{i}\n").into_bytes()
}

#[test]
fn all_lines_arrive_in_order_before_drain_returns() {
    let b = bench(1000, false);
    for i in 0..500 {
        b.exporter.push(line(i));
    }
    assert_eq!(b.exporter.drain(LONG), Drained::Complete);
    let expected: Vec<String> = (0..500).map(|i| format!("{i}\n")).collect();
    assert_eq!(b.log.lock().unwrap().lines, expected);
    assert_eq!(b.log.lock().unwrap().finishes, 1);
    // 10 lines of 2 bytes, 90 of 3, 400 of 4.
    assert_eq!(b.exporter.stats(), Stats { written: 500, dropped: 0, errors: 0, bytes: 20 + 270 + 1600 });
    b.exporter.push(line(500));
    assert_eq!(b.exporter.stop(LONG).written, 501);
    assert!(b.changes.try_recv().is_err());
}

#[test]
fn a_full_queue_loses_its_oldest_and_says_so() {
    let b = bench(2, true);
    b.exporter.push(line(0));
    b.entered.recv().unwrap();
    // 0 is in the sink's hands; 1 and 2 make room for 3 and 4.
    for i in 1..5 {
        b.exporter.push(line(i));
    }
    assert_eq!(b.exporter.stats().dropped, 2);
    for _ in 0..3 {
        b.permits.send(()).unwrap();
    }
    assert_eq!(b.exporter.drain(LONG), Drained::Complete);
    assert_eq!(b.log.lock().unwrap().lines, ["0\n", "3\n", "4\n"]);
    let change = b.changes.recv().unwrap();
    assert!(change.degraded && change.text.contains("queue is full"), "{change:?}");
    let change = b.changes.recv().unwrap();
    assert_eq!((change.degraded, change.stats.written, change.stats.dropped), (false, 3, 2));
    assert_eq!(b.exporter.stop(LONG), Stats { written: 3, dropped: 2, errors: 0, bytes: 6 });
}

#[test]
fn a_failing_sink_gets_the_same_line_again() {
    let b = bench(10, false);
    b.log.lock().unwrap().failing = true;
    b.exporter.push(line(0));
    b.exporter.push(line(1));
    let change = b.changes.recv().unwrap();
    assert!(change.degraded && change.text.contains("no space left"), "{change:?}");
    // Each drain tries once, at once, and gives up.
    assert_eq!(b.exporter.drain(LONG), Drained::Failed);
    assert_eq!(b.exporter.drain(LONG), Drained::Failed);
    assert_eq!(b.exporter.stats(), Stats { errors: 3, ..Stats::default() });
    assert!(b.changes.try_recv().is_err(), "degraded is told once");
    b.log.lock().unwrap().failing = false;
    assert_eq!(b.exporter.drain(LONG), Drained::Complete);
    assert_eq!(b.log.lock().unwrap().lines, ["0\n", "1\n"]);
    let change = b.changes.recv().unwrap();
    assert_eq!((change.degraded, change.stats.written, change.stats.dropped), (false, 2, 0));
    b.exporter.stop(LONG);
}

#[test]
fn a_failing_sink_is_tried_again_when_its_time_has_come() {
    let b = bench(10, false);
    b.log.lock().unwrap().failing = true;
    b.exporter.push(line(0));
    assert!(b.changes.recv().unwrap().degraded);
    b.log.lock().unwrap().failing = false;
    b.clock.0.store(BACKOFF_FIRST.as_millis() as u64, Ordering::SeqCst);
    // The push wakes the thread, which looks at the clock.
    b.exporter.push(line(1));
    assert!(!b.changes.recv().unwrap().degraded);
    assert_eq!(b.exporter.drain(LONG), Drained::Complete);
    assert_eq!(b.log.lock().unwrap().lines, ["0\n", "1\n"]);
    b.exporter.stop(LONG);
}

#[test]
fn stop_counts_what_a_failing_sink_never_took() {
    let b = bench(10, false);
    b.log.lock().unwrap().failing = true;
    for i in 0..4 {
        b.exporter.push(line(i));
    }
    let stats = b.exporter.stop(LONG);
    assert_eq!((stats.written, stats.dropped), (0, 4));
}

#[test]
fn stop_leaves_a_hanging_sink_behind() {
    let b = bench(10, true);
    b.exporter.push(line(0));
    b.entered.recv().unwrap();
    b.exporter.push(line(1));
    assert_eq!(b.exporter.drain(Duration::ZERO), Drained::TimedOut);
    let stats = b.exporter.stop(Duration::ZERO);
    assert_eq!((stats.written, stats.dropped), (0, 1));
    drop(b.permits);
}

#[test]
fn a_panic_in_a_sink_ends_the_export_and_nothing_else() {
    let b = bench(10, false);
    b.log.lock().unwrap().panics = true;
    b.exporter.push(line(0));
    let change = b.changes.recv().unwrap();
    assert!(change.degraded && change.text.contains("panicked"), "{change:?}");
    b.exporter.push(line(1));
    assert_eq!(b.exporter.drain(LONG), Drained::Failed);
    assert_eq!(b.exporter.stop(LONG).dropped, 2);
}

#[test]
fn the_wait_doubles_up_to_half_a_minute() {
    let mut backoff = Backoff::new(BACKOFF_FIRST, BACKOFF_MOST);
    let mut waits = Vec::new();
    for _ in 0..7 {
        backoff.failed(Duration::from_secs(100), None);
        waits.push(backoff.left(Duration::from_secs(100)).as_secs());
    }
    assert_eq!(waits, [1, 2, 4, 8, 16, 30, 30]);
    assert_eq!(backoff.left(Duration::from_secs(129)), Duration::from_secs(1));
    assert_eq!(backoff.left(Duration::from_secs(131)), Duration::ZERO);
    backoff.succeeded();
    backoff.failed(Duration::from_secs(200), None);
    assert_eq!(backoff.left(Duration::from_secs(200)), Duration::from_secs(1));
}
