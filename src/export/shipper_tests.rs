use std::collections::VecDeque;
use std::sync::Condvar;

use super::super::kind::Kind;
use super::super::remote::{Outgoing, RemoteError};
use super::super::sink::Now;
use super::super::spool::SpoolOptions;
use super::*;

#[path = "shipper/trouble_tests.rs"]
mod trouble;

/// Far longer than anything here takes; a test that waits for it fails.
const LONG: Duration = Duration::from_secs(60);

/// A clock that stands still until it is set; how often the shipper has looked at it.
#[derive(Default)]
struct TestClock(AtomicU64, AtomicU64);

impl TestClock {
    fn set(&self, ms: u64) {
        self.0.store(ms, Ordering::SeqCst);
    }
}

impl Clock for TestClock {
    fn now(&self) -> Now {
        let ms = self.0.load(Ordering::SeqCst);
        if std::thread::current().name() == Some("vigil-ship") {
            self.1.fetch_add(1, Ordering::SeqCst);
        }
        Now { monotonic: Duration::from_millis(ms), utc_ns: 1_800_000_000_000_000_000 + ms * 1_000_000 }
    }
}

#[derive(Default)]
struct Script {
    /// What the next calls answer; then all is taken.
    answers: VecDeque<RemoteError>,
    /// Records with this in their body are refused.
    refuses: Option<&'static str>,
    /// More bytes in one call are refused.
    most: Option<usize>,
    /// It has nothing to do in a tick.
    still: bool,
    limit: Option<Duration>,
    panics: bool,
    hangs: bool,
    sizes: Vec<usize>,
    batches: Vec<Vec<String>>,
    limits: Vec<Duration>,
    ticks: u64,
    arrived: Vec<String>,
    closed: bool,
    notices: Vec<Notice>,
}

#[derive(Default, Clone)]
struct Receiver(Arc<(Mutex<Script>, Condvar)>);

impl Receiver {
    fn script<T>(&self, what: impl FnOnce(&mut Script) -> T) -> T {
        let result = what(&mut self.0.0.lock().unwrap_or_else(PoisonError::into_inner));
        self.0.1.notify_all();
        result
    }

    fn wait(&self, what: &str, condition: impl Fn(&Script) -> bool) {
        let script = self.0.0.lock().unwrap();
        let (_guard, time) = self.0.1.wait_timeout_while(script, LONG, |script| !condition(script)).unwrap();
        assert!(!time.timed_out(), "{what} did not happen");
    }
}

impl Remote for Receiver {
    fn send_limit(&self) -> Duration {
        self.script(|script| script.limit).unwrap_or(LONG)
    }

    fn send(&mut self, batch: &[Outgoing], limit: Duration) -> Result<(), RemoteError> {
        let bodies: Vec<_> = batch.iter().map(|r| String::from_utf8(r.body.clone()).unwrap()).collect();
        let hangs = self.script(|script| {
            assert!(!script.panics, "a bad client");
            script.sizes.push(batch.len());
            script.batches.push(bodies.clone());
            script.limits.push(limit);
            script.hangs
        });
        if hangs {
            self.wait("the end of the hang", |script| !script.hangs);
        }
        self.script(|script| {
            if let Some(error) = script.answers.pop_front() {
                return Err(error);
            }
            let large = script.most.is_some_and(|most| bodies.iter().map(String::len).sum::<usize>() > most);
            if large || script.refuses.is_some_and(|bad| bodies.iter().any(|body| body.contains(bad))) {
                return Err(RemoteError::Refused("it is not understood".into()));
            }
            script.arrived.extend(bodies);
            Ok(())
        })
    }

    fn tick(&mut self, _limit: Duration) -> Result<bool, RemoteError> {
        self.script(|script| {
            script.ticks += 1;
            if script.still { Ok(false) } else { script.answers.pop_front().map_or(Ok(true), Err) }
        })
    }

    fn close(&mut self, _limit: Duration) {
        self.script(|script| script.closed = true);
    }
}

struct Bench {
    spool: Arc<Spool>,
    receiver: Receiver,
    clock: Arc<TestClock>,
    shipper: Option<Shipper>,
    _folder: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = Arc::new(TestClock::default());
        let spool = Spool::open(folder.path(), "x", SpoolOptions::default(), clock.clone()).unwrap();
        Self { spool, receiver: Receiver::default(), clock, shipper: None, _folder: folder }
    }

    fn push(&self, kind: Kind, numbers: std::ops::Range<u64>) {
        for number in numbers {
            let body = format!("{kind:?} <{number}>").into_bytes();
            self.spool.push(Outgoing { kind, camera: "gate".into(), body });
        }
    }

    fn start(&mut self, pace: Pace) {
        let receiver = self.receiver.clone();
        let report: Report = Box::new(move |notice| receiver.script(|script| script.notices.push(notice)));
        let remote = Box::new(self.receiver.clone());
        self.shipper = Some(Shipper::start(self.spool.clone(), remote, pace, self.clock.clone(), report).unwrap());
    }

    fn shipper(&self) -> &Shipper {
        self.shipper.as_ref().unwrap()
    }

    fn wait_for_failures(&self, count: u64) {
        let guard = std::time::Instant::now() + LONG;
        while self.shipper().stats().failures < count {
            assert!(std::time::Instant::now() < guard, "no failure");
            std::thread::yield_now();
        }
    }

    /// Waits until the shipper has seen the time and done what is due.
    fn goes_round(&self) {
        let looks = || self.clock.1.load(Ordering::SeqCst);
        let (begin, guard) = (looks(), std::time::Instant::now() + LONG);
        while looks() < begin + 2 {
            assert!(std::time::Instant::now() < guard, "it does not look");
            std::thread::yield_now();
        }
    }

    /// Lets time pass, so that ticks are due, until the receiver is as it should be.
    fn tick_until(&self, what: &str, condition: impl Fn(&Script) -> bool) {
        let guard = std::time::Instant::now() + LONG;
        while !self.receiver.script(|script| condition(script)) {
            assert!(std::time::Instant::now() < guard, "{what} did not happen");
            self.clock.set(self.clock.0.load(Ordering::SeqCst) + 500);
            self.goes_round();
        }
    }

    fn notices(&self) -> Vec<Notice> {
        self.receiver.script(|script| script.notices.clone())
    }
}

fn unreachable() -> RemoteError {
    RemoteError::Unreachable("the broker does not answer".into())
}

#[test]
fn the_one_bad_record_is_found_dropped_and_told_of() {
    let mut bench = Bench::new();
    bench.receiver.script(|script| script.refuses = Some("<77>"));
    bench.push(Kind::Frame, 0..200);
    bench.start(Pace::default());
    assert_eq!(bench.shipper().drain(LONG), Drained::Complete);
    let (arrived, sizes) = bench.receiver.script(|script| (script.arrived.clone(), script.sizes.len()));
    let expected: Vec<_> = (0..200).filter(|n| *n != 77).map(|n| format!("Frame <{n}>")).collect();
    assert_eq!(arrived, expected);
    assert!(sizes <= 30, "found by halving: {sizes} calls");
    let stats = bench.spool.stats();
    assert_eq!((stats.refused, stats.acknowledged, stats.waiting()), (1, 199, 0));
    bench.receiver.wait("a notice", |script| script.notices.len() >= 2);
    let notices = bench.receiver.script(|script| script.notices.clone());
    assert_eq!(notices[0].text, "the receiver refused a record, which is dropped and counted: it is not understood");
    assert!(notices[0].degraded && !notices[1].degraded);
}

#[test]
fn a_failure_is_waited_for_and_told_of_once() {
    let mut bench = Bench::new();
    bench.receiver.script(|script| script.answers = [unreachable(), unreachable()].into());
    bench.push(Kind::Frame, 0..10);
    bench.start(Pace::default());
    bench.receiver.wait("the first try", |script| script.sizes.len() == 1);
    bench.wait_for_failures(1);
    // Its time has not come: 1 s to 1.25 s.
    bench.clock.set(999);
    bench.goes_round();
    assert_eq!(bench.shipper().stats().failures, 1);
    bench.clock.set(1300);
    bench.receiver.wait("the second try", |script| script.sizes.len() == 2);
    bench.wait_for_failures(2);
    // 2 s to 2.5 s after that.
    bench.clock.set(3290);
    assert!(bench.receiver.script(|script| script.arrived.is_empty()));
    bench.clock.set(4000);
    bench.receiver.wait("all", |script| script.arrived.len() == 10);
    bench.receiver.wait("the good news", |script| script.notices.len() == 2);
    let notices = bench.receiver.script(|script| script.notices.clone());
    assert_eq!(
        notices[0].text,
        "the broker does not answer; records are kept in the spool until the receiver takes them"
    );
    assert!(!notices[1].degraded);
    assert_eq!(bench.receiver.script(|script| script.sizes.clone()), [10, 10, 10], "the same ones each time");
}

#[test]
fn a_busy_receiver_is_left_alone_for_as_long_as_it_asks() {
    let mut bench = Bench::new();
    let busy = RemoteError::Busy { after: Some(Duration::from_secs(100)), text: "too many requests".into() };
    bench.receiver.script(|script| script.answers.push_back(busy));
    bench.push(Kind::Frame, 0..10);
    bench.start(Pace::default());
    bench.wait_for_failures(1);
    bench.clock.set(99_000);
    // Elements that end are told at once, and have nothing sent.
    for _ in 0..3 {
        assert_eq!(bench.shipper().drain(LONG), Drained::Failed);
    }
    assert_eq!(bench.receiver.script(|script| script.sizes.len()), 1);
    bench.clock.set(126_000);
    bench.receiver.wait("all", |script| script.arrived.len() == 10);
}

#[test]
fn a_drain_tries_at_once_and_does_not_wait_for_who_fails() {
    let mut bench = Bench::new();
    bench.receiver.script(|script| script.answers = vec![unreachable(); 3].into());
    bench.push(Kind::Event, 0..10);
    bench.start(Pace::default());
    assert_eq!(bench.shipper().drain(LONG), Drained::Failed);
    while bench.receiver.script(|script| !script.answers.is_empty()) {
        assert_eq!(bench.shipper().drain(LONG), Drained::Failed);
    }
    assert_eq!(bench.shipper().drain(LONG), Drained::Complete);
    assert_eq!(bench.receiver.script(|script| script.arrived.len()), 10);
    assert!(bench.shipper().stop(LONG));
    assert!(bench.receiver.script(|script| script.closed));
}

#[test]
fn who_hangs_holds_up_nobody() {
    let mut bench = Bench::new();
    bench.receiver.script(|script| script.hangs = true);
    bench.push(Kind::Event, 0..10);
    bench.start(Pace::default());
    bench.receiver.wait("the hang", |script| script.sizes.len() == 1);
    assert_eq!(bench.shipper().drain(Duration::from_millis(20)), Drained::TimedOut);
    bench.push(Kind::Event, 10..20);
    assert!(bench.spool.flush(LONG), "what is in its hands is committed too");
    assert_eq!(bench.spool.stats().waiting_on_disk[1], 20);
    assert!(!bench.shipper().stop(Duration::from_millis(20)));
    let remote = Box::new(bench.receiver.clone());
    let second = Shipper::start(bench.spool.clone(), remote, Pace::default(), bench.clock.clone(), Box::new(|_| {}));
    assert_eq!(second.err().map(|e| e.kind()), Some(io::ErrorKind::ResourceBusy));
    bench.receiver.script(|script| script.hangs = false);
    assert!(bench.shipper().stop(LONG));
    assert_eq!(bench.spool.stats().waiting_on_disk[1], 10, "what it took in the end is done with");
}

#[test]
fn a_client_that_panics_is_told_of_and_loses_nothing() {
    let mut bench = Bench::new();
    bench.receiver.script(|script| script.panics = true);
    bench.push(Kind::Event, 0..10);
    bench.start(Pace::default());
    assert_eq!(bench.shipper().drain(LONG), Drained::Failed);
    assert!(bench.shipper().stop(LONG));
    let notices = bench.receiver.script(|script| script.notices.clone());
    assert!(notices[0].text.contains("client panicked; records are kept"), "{notices:?}");
    assert_eq!(bench.spool.stats().waiting(), 10);
    // Another one takes over.
    bench.receiver.script(|script| script.panics = false);
    bench.start(Pace::default());
    assert_eq!(bench.shipper().drain(LONG), Drained::Complete);
}

#[test]
fn an_idle_receiver_is_ticked() {
    let mut bench = Bench::new();
    bench.start(Pace::default());
    bench.tick_until("some ticks", |script| script.ticks >= 3);
}

#[test]
fn a_backlog_is_sent_at_its_rate_and_live_alarms_overtake_it() {
    let mut bench = Bench::new();
    bench.push(Kind::Frame, 0..1000);
    assert!(bench.spool.flush(LONG));
    bench.start(Pace { replay_rate: 100, ..Pace::default() });
    bench.receiver.wait("the first second's worth", |script| script.arrived.len() == 100);
    bench.push(Kind::Alarm, 0..1);
    bench.push(Kind::Frame, 1000..1001);
    bench.receiver.wait("the alarm", |script| script.arrived.last().is_some_and(|body| body == "Alarm <0>"));
    assert_eq!(bench.receiver.script(|script| script.arrived.len()), 101);
    for second in 1..=3 {
        bench.clock.set(second * 1000);
        // The frame that came meanwhile may go to the disk, and lets one more through.
        bench.receiver.wait("the next", |script| script.arrived.len() as u64 > (second + 1) * 100);
    }
    assert!(bench.receiver.script(|script| script.arrived.len()) <= 403);
    let stats = bench.shipper().stats();
    assert!(stats.replayed >= 300 && stats.connected, "{stats:?}");
}

#[test]
fn live_first_sends_the_new_at_once_and_the_old_in_order() {
    let mut bench = Bench::new();
    bench.push(Kind::Frame, 0..1000);
    assert!(bench.spool.flush(LONG));
    bench.start(Pace { replay_rate: 100, order: Order::LiveFirst });
    bench.receiver.wait("the first second's worth", |script| script.arrived.len() == 100);
    bench.push(Kind::Frame, 1000..1005);
    bench.receiver.wait("the new ones", |script| script.arrived.last().is_some_and(|body| body == "Frame <1004>"));
    assert_eq!(bench.receiver.script(|script| script.arrived.len()), 105);
    for second in 1..=12 {
        bench.clock.set(second * 1000);
        bench.receiver.wait("the next", |script| script.arrived.len() as u64 >= (second * 100 + 105).min(1005));
    }
    assert_eq!(bench.shipper().drain(LONG), Drained::Complete);
    let old: Vec<_> = bench
        .receiver
        .script(|script| script.arrived.iter().filter(|body| body.len() < "Frame <1000>".len()).cloned().collect());
    assert_eq!(old, (0..1000).map(|n| format!("Frame <{n}>")).collect::<Vec<_>>());
}
