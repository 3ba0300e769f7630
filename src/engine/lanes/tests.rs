use std::sync::mpsc::{Receiver, Sender, channel};

use super::*;
use crate::engine::fake::{Fake, Gate};

/// Far longer than anything here takes; a test that waits for it fails.
const GUARD: Duration = Duration::from_secs(60);
/// A limit that every run which hangs exceeds soon. Others may exceed it on a slow machine, so only those have it that
/// are to hang.
const SHORT: Option<Duration> = Some(Duration::from_millis(20));

/// Tells its name, after its gate has opened.
struct Named(&'static str, Sender<&'static str>, Mutex<Option<Receiver<()>>>);

impl User for Named {
    fn work(&self, _: &Lane<'_>) {
        if let Some(gate) = self.2.lock().unwrap().take() {
            gate.recv().unwrap();
        }
        self.1.send(self.0).unwrap();
        assert_ne!(self.0, "panics", "a panic that the lane must survive");
    }

    fn overdue(&self, _: u64, _: &EngineError) {
        unreachable!("it runs nothing");
    }

    fn refused(&self, _: &dyn Engine, _: &EngineError) {
        unreachable!("lanes are free");
    }
}

#[test]
fn users_take_turns_and_a_panic_ends_no_lane() {
    let lanes = Lanes::start(Arc::new(Fake::new(1))).unwrap();
    let (sender, order) = channel();
    let (open, gate) = channel();
    let user = |name, gate| -> Arc<dyn User> { Arc::new(Named(name, sender.clone(), Mutex::new(gate))) };
    let first = user("first", Some(gate));
    let (busy, quiet, panics) = (user("busy", None), user("quiet", None), user("panics", None));
    // The gate holds the only lane until all requests are in.
    lanes.request(&first);
    for _ in 0..3 {
        lanes.request(&busy);
    }
    lanes.request(&panics);
    lanes.request(&quiet);
    open.send(()).unwrap();
    let seen: Vec<_> = (0..6).map(|_| order.recv().unwrap()).collect();
    assert_eq!(seen, ["first", "busy", "panics", "quiet", "busy", "busy"]);
}

/// What a [`Runner`] hears of its runs.
#[derive(Debug, PartialEq)]
enum Heard {
    Answer(u64),
    Error(u64, String),
    Overdue(u64, String),
    Refused(String),
}

/// Runs the model once in each piece of work; runs are numbered.
struct Runner {
    limit: Mutex<Option<Duration>>,
    runs: AtomicUsize,
    heard: Sender<Heard>,
}

impl User for Runner {
    fn work(&self, lane: &Lane<'_>) {
        let token = self.runs.fetch_add(1, Ordering::SeqCst) as u64;
        let limit = *self.limit.lock().unwrap();
        let answer = lane.run(&mut Io::new(lane.engine().spec(), &[]), token, limit);
        let _ = self.heard.send(match answer {
            Ok(()) => Heard::Answer(token),
            Err(error) => Heard::Error(token, error.to_string()),
        });
    }

    fn overdue(&self, token: u64, error: &EngineError) {
        self.heard.send(Heard::Overdue(token, error.to_string())).unwrap();
    }

    fn refused(&self, _: &dyn Engine, error: &EngineError) {
        self.heard.send(Heard::Refused(error.to_string())).unwrap();
    }
}

/// Lanes that hang at a gate, and a user of theirs.
struct Rig {
    lanes: Lanes,
    gate: Arc<Gate>,
    runner: Arc<Runner>,
    user: Arc<dyn User>,
    heard: Receiver<Heard>,
    abandoned: &'static AtomicUsize,
}

impl Rig {
    fn new(lanes: usize, heeds: bool) -> Self {
        Self::with(lanes, heeds, Box::leak(Box::default()))
    }

    fn with(lanes: usize, heeds: bool, abandoned: &'static AtomicUsize) -> Self {
        let gate = Arc::default();
        let lanes = Lanes::counting(Arc::new(Fake::new(lanes).hang_at(&gate, heeds)), abandoned).unwrap();
        let (heard, told) = channel();
        let runner = Arc::new(Runner { limit: Mutex::new(None), runs: AtomicUsize::new(0), heard });
        Self { lanes, gate, user: Arc::clone(&runner) as Arc<dyn User>, runner, heard: told, abandoned }
    }

    fn request(&self, limit: Option<Duration>) {
        *self.runner.limit.lock().unwrap() = limit;
        self.lanes.request(&self.user);
    }

    fn heard(&self) -> Heard {
        self.heard.recv_timeout(GUARD).expect("something is said of every run")
    }

    fn abandoned(&self) -> usize {
        self.abandoned.load(Ordering::SeqCst)
    }

    /// A run that hangs and is abandoned.
    fn lose(&self, token: u64) {
        let hanging = self.gate.held();
        self.gate.shut();
        self.request(SHORT);
        self.gate.hangs(hanging + 1);
        assert_eq!(self.heard(), Heard::Overdue(token, "the run took longer than 20ms and was cut".into()));
        self.gate.open();
    }
}

/// Lets other threads go on until `true`.
fn eventually(condition: impl Fn() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < GUARD, "it does not come true");
        thread::yield_now();
    }
}

#[test]
fn a_run_that_heeds_the_cut_costs_its_answer_and_no_lane() {
    let rig = Rig::new(1, true);
    rig.gate.shut();
    rig.request(SHORT);
    let first = rig.heard();
    // A thread that is not given a processor for long may be taken for one that hangs: then both are told.
    let error = || "the run took longer than 20ms and was cut".to_owned();
    if first == Heard::Overdue(0, error()) {
        assert_eq!(rig.heard(), Heard::Error(0, error()));
    } else {
        assert_eq!(first, Heard::Error(0, error()));
        assert_eq!(rig.abandoned(), 0);
    }
    rig.gate.open();
    rig.request(Some(GUARD));
    assert_eq!(rig.heard(), Heard::Answer(1));
}

#[test]
fn a_run_within_its_limit_is_left_alone() {
    let rig = Rig::new(1, true);
    rig.gate.shut();
    for limit in [None, Some(GUARD), Some(Duration::MAX)] {
        rig.request(limit);
        rig.gate.hangs(1);
        rig.gate.release();
        assert!(matches!(rig.heard(), Heard::Answer(_)));
    }
    assert!(rig.lanes.is_sound());
}

#[test]
fn a_run_that_does_not_heed_the_cut_is_abandoned_and_its_lane_replaced() {
    let rig = Rig::new(1, false);
    rig.lose(0);
    assert_eq!(rig.abandoned(), 1);
    assert!(!rig.lanes.is_sound());
    rig.request(None);
    assert_eq!(rig.heard(), Heard::Answer(1));
    // What comes back late is told that it is late, and leaves one lane.
    rig.gate.release();
    assert!(matches!(rig.heard(), Heard::Error(0, _)));
    assert_eq!(rig.abandoned(), 0);
    let lanes = || rig.lanes.shared.lock().threads.iter().map(|t| (t.number, t.away)).collect::<Vec<_>>();
    assert_eq!(lanes(), [(1, false)]);
    rig.request(None);
    assert_eq!(rig.heard(), Heard::Answer(2));
}

#[test]
fn lanes_may_go_while_a_run_hangs() {
    let rig = Rig::new(2, false);
    rig.lose(0);
    let Rig { lanes, gate, heard, abandoned, runner, user } = rig;
    drop(lanes);
    assert_eq!(abandoned.load(Ordering::SeqCst), 1);
    gate.release();
    assert!(matches!(heard.recv_timeout(GUARD), Ok(Heard::Error(0, _))));
    drop(user);
    eventually(|| Arc::strong_count(&runner) == 1);
    assert_eq!(abandoned.load(Ordering::SeqCst), 0);
}

#[test]
fn beyond_the_bound_lanes_are_not_replaced_and_work_is_refused_until_a_run_comes_back() {
    let rig = Rig::new(1, false);
    for token in 0..MOST_ABANDONED as u64 {
        rig.lose(token);
    }
    assert_eq!(rig.abandoned(), MOST_ABANDONED);
    // The last lane: two pieces of work wait behind the run that takes it away.
    rig.gate.shut();
    rig.request(SHORT);
    rig.gate.hangs(MOST_ABANDONED + 1);
    rig.lanes.request(&rig.user);
    rig.lanes.request(&rig.user);
    let refused = |heard: &Heard| matches!(heard, Heard::Refused(text) if text.contains("isolation=process"));
    let heard = [rig.heard(), rig.heard(), rig.heard()];
    assert!(heard.iter().any(|h| matches!(h, Heard::Overdue(8, _))), "{heard:?}");
    assert_eq!(heard.iter().filter(|h| refused(h)).count(), 2, "{heard:?}");
    rig.request(None);
    assert!(refused(&rig.heard()));
    assert!(rig.lanes.shared.lock().waiting.is_empty());
    // One of those that come back goes on as a lane; the others end.
    rig.gate.open();
    rig.gate.release();
    for _ in 0..=MOST_ABANDONED {
        assert!(matches!(rig.heard(), Heard::Error(..)));
    }
    assert_eq!(rig.abandoned(), 0);
    assert_eq!(rig.lanes.shared.lock().live(), 1);
    rig.request(None);
    assert_eq!(rig.heard(), Heard::Answer(9));
}

#[test]
fn no_engine_is_loaded_at_the_bound() {
    assert!(room_beside(MOST_ABANDONED - 1).is_ok());
    let Err(EngineError::Runtime(text)) = room_beside(MOST_ABANDONED) else { panic!("it is refused") };
    assert!(text.contains("start it anew") && text.contains("isolation=process"), "{text}");
}

#[test]
fn the_bound_is_that_of_the_process_and_not_of_one_engine() {
    let first = Rig::new(1, false);
    for token in 0..MOST_ABANDONED as u64 {
        first.lose(token);
    }
    let second = Rig::with(2, false, first.abandoned);
    second.lose(0);
    assert_eq!(second.lanes.shared.lock().live(), 1);
    second.request(None);
    assert_eq!(second.heard(), Heard::Answer(1), "with the lane that is left");
    first.gate.release();
    second.gate.release();
    (0..MOST_ABANDONED).for_each(|_| assert!(matches!(first.heard(), Heard::Error(..))));
    assert!(matches!(second.heard(), Heard::Error(0, _)));
    assert_eq!(first.abandoned(), 0);
    assert_eq!(second.lanes.shared.lock().live(), 2);
}

#[test]
fn runs_that_are_given_up_are_cut_before_their_limit_and_others_are_not() {
    for (limit, heeds) in [(None, true), (Some(GUARD), true), (None, false), (Some(GUARD), false)] {
        let rig = Rig::new(2, heeds);
        let (sender, heard) = channel();
        let other = Runner { limit: Mutex::new(Some(2 * GUARD)), runs: AtomicUsize::new(100), heard: sender };
        rig.gate.shut();
        rig.request(limit);
        rig.gate.hangs(1);
        if limit.is_some() {
            rig.lanes.request(&(Arc::new(other) as Arc<dyn User>));
            rig.gate.hangs(2);
        }
        rig.lanes.give_up(&rig.user);
        assert!(matches!(rig.heard(), Heard::Error(0, _) | Heard::Overdue(0, _)), "{limit:?} {heeds}");
        assert!(!rig.lanes.is_sound());
        rig.gate.release();
        if limit.is_some() {
            assert_eq!(heard.recv_timeout(GUARD), Ok(Heard::Answer(100)), "the other user's run goes on");
        }
    }
}

#[test]
fn a_panic_of_the_engine_is_an_error_of_the_run() {
    let engine = Fake::new(1).behave(|_| panic!("a bug in the engine"));
    let lanes = Lanes::start(Arc::new(engine)).unwrap();
    let (sender, heard) = channel();
    let runner: Arc<dyn User> =
        Arc::new(Runner { limit: Mutex::new(Some(GUARD)), runs: AtomicUsize::new(0), heard: sender });
    for token in 0..3 {
        lanes.request(&runner);
        assert_eq!(heard.recv_timeout(GUARD), Ok(Heard::Error(token, "the engine panicked".into())));
    }
    assert!(lanes.shared.lock().runs.is_empty() && lanes.is_sound());
}

#[test]
fn the_watch_starts_with_the_first_limit_and_is_not_woken_by_every_run() {
    let rig = Rig::new(1, false);
    rig.request(None);
    assert_eq!(rig.heard(), Heard::Answer(0));
    assert!(rig.lanes.shared.lock().watch.is_none());
    rig.request(Some(GUARD));
    assert_eq!(rig.heard(), Heard::Answer(1));
    let wakes = || rig.lanes.shared.lock().wakes;
    // It may have come too late to see the run; then the next one wakes it.
    let mut token = 2;
    while wakes().is_none() {
        rig.request(Some(GUARD));
        assert_eq!(rig.heard(), Heard::Answer(token));
        token += 1;
    }
    let first = wakes();
    for _ in 0..100 {
        rig.request(Some(GUARD));
        assert_eq!(rig.heard(), Heard::Answer(token));
        token += 1;
    }
    assert_eq!(wakes(), first, "it sleeps on");
}

#[test]
fn lanes_stand_back_as_far_as_they_are_told_and_no_other_thread_does() {
    struct Tells(Sender<i32>);
    impl User for Tells {
        fn work(&self, _: &Lane<'_>) {
            self.0.send(rustix::process::getpriority_process(None).unwrap()).unwrap();
        }
        fn overdue(&self, _: u64, _: &EngineError) {}
        fn refused(&self, _: &dyn Engine, _: &EngineError) {}
    }
    let own = || rustix::process::getpriority_process(None).unwrap();
    let before = own();
    let (sender, told) = channel();
    let user: Arc<dyn User> = Arc::new(Tells(sender));
    for niceness in [0, 10] {
        let lanes = Lanes::start_nice(Arc::new(Fake::new(1)), niceness).unwrap();
        for lanes in [&lanes, &lanes.spare().unwrap()] {
            lanes.request(&user);
            assert_eq!(told.recv_timeout(GUARD).unwrap(), before.max(niceness.into()));
        }
    }
    assert_eq!(own(), before);
}
