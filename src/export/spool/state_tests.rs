use std::collections::BTreeMap;

use proptest::prelude::*;

use super::super::hand::{Batch, Settled};
use super::*;

#[derive(Debug, Clone)]
enum Step {
    Push(usize),
    Begin(usize),
    /// Succeeds, and gives up so many records of the least important kind.
    End(bool, usize),
    Read(usize),
    /// The block that is read is damaged.
    ReadBad(usize),
    /// So many records of each kind are gone from the disk, from so many on.
    Lose(usize, usize),
    Take(usize, usize),
    Settle(usize, bool),
    PutBack,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0_usize..4).prop_map(Step::Push),
        2 => (50_usize..2000).prop_map(Step::Begin),
        3 => (prop::bool::weighted(0.8), prop_oneof![4 => Just(0), 1 => 1_usize..5]).prop_map(|(ok, n)| Step::End(ok, n)),
        4 => (1_usize..6).prop_map(Step::Read),
        1 => (1_usize..6).prop_map(Step::ReadBad),
        1 => (0_usize..6, 0_usize..6).prop_map(|(from, n)| Step::Lose(from, n)),
        4 => (1_usize..8, 0_usize..8).prop_map(|(n, disk)| Step::Take(n, disk)),
        4 => (1_usize..8, prop::bool::weighted(0.1)).prop_map(|(n, refused)| Step::Settle(n, refused)),
        1 => Just(Step::PutBack),
    ]
}

/// A state, a disk that is a map, and a receiver that is a list.
struct Bench {
    state: State,
    order: Order,
    disk: [BTreeMap<u64, Stored>; 4],
    snapshot: Option<Snapshot>,
    batch: Vec<Outgoing>,
    pushed: u64,
    arrived: Vec<(Kind, u64)>,
}

const NOW: Duration = Duration::from_secs(5);

impl Bench {
    fn new(order: Order, memory: usize) -> Self {
        Self {
            state: State::new(&[const { 1..1 }; 4], memory, 1 << 20),
            order,
            disk: Default::default(),
            snapshot: None,
            batch: Vec::new(),
            pushed: 0,
            arrived: Vec::new(),
        }
    }

    fn push(&mut self, kind: usize) {
        let kind = Kind::ALL[kind];
        let body = self.pushed.to_string().into_bytes();
        self.pushed += 1;
        self.state.push(Outgoing { kind, camera: "gate".into(), body }, NOW, 7);
    }

    fn end(&mut self, ok: bool, give_up: usize) {
        let Some(snapshot) = self.snapshot.take() else { return };
        if !ok {
            self.state.not_committed(snapshot, NOW);
            return;
        }
        let mut outcome = Outcome::default();
        for (at, (number, serials, records)) in snapshot.lanes.iter().enumerate() {
            assert_eq!(serials.len(), records.len());
            let disk = &mut self.disk[at];
            disk.retain(|n, _| *n >= snapshot.heads[at] && !snapshot.done[at].iter().any(|r| r.contains(n)));
            disk.extend((*number..).zip(records.iter().cloned()));
        }
        if let Some(at) = (0..4).rev().find(|&at| !self.disk[at].is_empty()) {
            for _ in 0..give_up {
                if let Some((number, _)) = self.disk[at].pop_first() {
                    outcome.dropped[at] = number + 1;
                }
            }
        }
        self.state.committed(&snapshot, &outcome, NOW);
    }

    fn read(&mut self, most: usize, bad: bool) {
        let Some((kind, from)) = self.state.to_read(|_| true) else { return };
        let found: Vec<_> = self.disk[kind.index()].range(from..).take(most).map(|(n, s)| (*n, s.clone())).collect();
        // A block has no gaps.
        let first = found.first().map(|(n, _)| *n);
        let block = first.map(|first| {
            let run = found.into_iter().zip(first..).take_while(|((n, _), at)| n == at).map(|((_, s), _)| s);
            (first, run.collect::<Vec<_>>())
        });
        if let Some((first, run)) = block.as_ref().filter(|_| bad) {
            let next = self.disk[kind.index()].range(first + run.len() as u64..).next();
            self.state.add_bad(kind, from, *first, next.map(|(number, _)| *number), NOW);
            return;
        }
        self.state.add(kind, from, block);
    }

    /// The disk is opened anew, and some of it is not there.
    fn lose(&mut self, from: usize, count: usize) {
        // Nobody knows of what is in the shipper's hands whether it arrives.
        if self.state.flight.is_some() || self.snapshot.is_some() {
            return;
        }
        for disk in &mut self.disk {
            let gone: Vec<_> = disk.keys().copied().skip(from).take(count).collect();
            gone.iter().for_each(|number| drop(disk.remove(number)));
        }
        let present = self.disk.each_ref().map(|disk| disk.keys().map(|number| *number..number + 1).collect());
        let before = self.state.waiting().map(|(_, disk)| disk);
        let lost = self.state.reconcile(&present);
        let after = self.state.waiting().map(|(_, disk)| disk);
        assert_eq!(before.iter().sum::<u64>() - after.iter().sum::<u64>(), lost);
    }

    fn take(&mut self, records: usize, from_disk: usize) {
        if let Some(Batch { records, .. }) = self.state.take(self.order, records, 1000, from_disk) {
            assert!(self.batch.is_empty(), "one batch at a time");
            self.batch = records;
        }
    }

    fn settle(&mut self, count: usize, settled: Settled) {
        let count = count.min(self.batch.len());
        if count == 0 {
            return;
        }
        self.state.settle(count, settled, NOW);
        for record in self.batch.drain(..count) {
            let number = String::from_utf8(record.body).unwrap().parse().unwrap();
            self.arrived.push((record.kind, number));
        }
    }

    fn apply(&mut self, step: Step) {
        match step {
            Step::Push(kind) => self.push(kind),
            Step::Begin(most) if self.snapshot.is_none() => {
                self.snapshot = Some(self.state.snapshot(most, Kind::Telemetry))
            }
            Step::Begin(_) => {}
            Step::End(ok, give_up) => self.end(ok, give_up),
            Step::Read(most) => self.read(most, false),
            Step::ReadBad(most) => self.read(most, true),
            Step::Lose(from, count) => self.lose(from, count),
            Step::Take(records, from_disk) if self.batch.is_empty() => self.take(records, from_disk),
            Step::Take(..) => {}
            Step::Settle(count, true) => self.settle(count, Settled::Refused),
            Step::Settle(count, false) => self.settle(count, Settled::Acknowledged),
            Step::PutBack => {
                self.batch.clear();
                self.state.put_back();
            }
        }
        if self.batch.is_empty() {
            self.check_sum();
        }
    }

    /// Every record is in exactly one place.
    fn check_sum(&self) {
        let c = self.state.counters;
        let waiting: u64 = self.state.waiting().iter().map(|(memory, disk)| memory + disk).sum();
        let sum = c.acknowledged + c.refused + c.dropped.iter().sum::<u64>() + c.expired + c.corrupt + waiting;
        assert_eq!(sum, c.accepted, "{c:?}, {waiting} wait");
        assert_eq!(c.accepted, self.pushed);
    }

    /// Lets everything through.
    fn drain(&mut self) {
        self.apply(Step::PutBack);
        for _ in 0..10_000 {
            self.apply(Step::End(true, 0));
            self.apply(Step::Begin(500));
            self.apply(Step::Read(5));
            self.apply(Step::Take(5, 5));
            self.apply(Step::Settle(5, false));
            if self.state.waiting().iter().all(|w| *w == (0, 0)) {
                return;
            }
        }
        panic!("it does not end: {:?}", self.state.waiting());
    }

    fn check_arrived(&self) {
        let mut sorted = self.arrived.clone();
        sorted.sort_unstable();
        let count = sorted.len();
        sorted.dedup();
        assert_eq!(sorted.len(), count, "none comes twice, since each was settled once");
        let dropped: u64 = self.state.counters.dropped.iter().sum();
        assert_eq!(count as u64 + dropped + self.state.counters.corrupt, self.pushed);
        assert!(self.order == Order::LiveFirst || is_in_order(&self.arrived), "{:?}", self.arrived);
        assert_eq!(self.state.memory(), 0);
    }
}

fn is_in_order(arrived: &[(Kind, u64)]) -> bool {
    Kind::ALL
        .into_iter()
        .all(|kind| arrived.iter().filter(|(k, _)| *k == kind).map(|(_, number)| *number).is_sorted_by(|a, b| a < b))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn nothing_is_lost_or_comes_twice_or_out_of_order(
        steps in prop::collection::vec(step(), 0..200), live_first: bool, tight: bool
    ) {
        let order = if live_first { Order::LiveFirst } else { Order::InOrder };
        let mut bench = Bench::new(order, if tight { 2000 } else { 1 << 20 });
        for step in steps {
            bench.apply(step);
        }
        bench.drain();
        bench.check_arrived();
    }
}

#[test]
fn what_is_acknowledged_in_time_is_never_committed() {
    let mut bench = Bench::new(Order::InOrder, 1 << 20);
    bench.push(2);
    assert_eq!(bench.state.due(Duration::from_secs(1)), Some(Duration::from_secs(6)));
    bench.take(9, 0);
    bench.settle(9, Settled::Acknowledged);
    assert_eq!(bench.state.due(Duration::from_secs(1)), None);
    assert_eq!(bench.state.snapshot(1000, Kind::Telemetry).lanes[2].1, Vec::<u64>::new());
}

#[test]
fn the_more_important_goes_first_and_is_given_up_last() {
    let mut bench = Bench::new(Order::InOrder, 1 << 20);
    for kind in [3, 2, 0, 1, 2] {
        bench.push(kind);
    }
    bench.drain();
    let kinds: Vec<_> = bench.arrived.iter().map(|(kind, _)| kind.index()).collect();
    assert_eq!(kinds, [0, 1, 2, 2, 3]);

    let mut bench = Bench::new(Order::InOrder, 1700);
    for kind in [0, 3, 1, 2, 3, 2, 2, 0, 0, 3, 1, 0, 0, 0, 0, 0, 0] {
        bench.push(kind);
    }
    assert_eq!(bench.state.counters.dropped, [0, 0, 3, 3], "alarms and events had room");
}

#[test]
fn a_live_alarm_overtakes_a_backlog_of_frames() {
    let mut bench = Bench::new(Order::InOrder, 1 << 20);
    for _ in 0..5 {
        bench.push(2);
    }
    bench.apply(Step::Begin(5000));
    bench.apply(Step::End(true, 0));
    bench.push(2);
    bench.push(0);
    bench.take(9, 9);
    bench.settle(9, Settled::Acknowledged);
    assert_eq!(bench.arrived, [(Kind::Alarm, 6)]);
    bench.take(9, 0);
    bench.read(9, false);
    bench.take(9, 0);
    assert!(bench.batch.is_empty(), "the rate lets nothing from the disk through, and the live frame waits behind it");
    bench.take(3, 3);
    assert_eq!(bench.batch.len(), 3);
}

#[test]
fn too_large_a_record_is_dropped_and_counted() {
    let mut bench = Bench::new(Order::InOrder, 16 << 20);
    bench.state.push(Outgoing { kind: Kind::Event, camera: "a".into(), body: vec![b'x'; 2 << 20] }, NOW, 7);
    assert_eq!(bench.state.counters.dropped, [0, 1, 0, 0]);
    assert_eq!(bench.state.memory(), 0);
}

#[test]
fn a_kind_that_cannot_be_read_does_not_hold_up_others() {
    let mut bench = Bench::new(Order::InOrder, 1 << 20);
    bench.push(1);
    bench.push(2);
    bench.apply(Step::Begin(5000));
    bench.apply(Step::End(true, 0));
    bench.take(9, 9);
    assert_eq!(bench.state.to_read(|_| true), Some((Kind::Event, 1)));
    assert_eq!(bench.state.to_read(|kind| kind != Kind::Event), Some((Kind::Frame, 1)));
    assert_eq!(bench.state.to_read(|_| false), None);
}

#[test]
fn a_bad_block_behind_a_gap_leaves_nothing_waiting() {
    let mut state = State::new(&[1..1, 1..100, 1..1, 1..1], 1 << 20, 1 << 20);
    state.take(Order::InOrder, 9, 1000, 9);
    // Numbers 1 to 49 are gone; the block from 50 on is bad, and there is none behind it.
    state.add_bad(Kind::Event, 1, 50, None, NOW);
    assert_eq!((state.counters.corrupt, state.waiting()[1], state.heads()[1]), (50, (0, 0), 100));
    assert_eq!(state.to_read(|_| true), None);
}

#[test]
fn what_is_not_on_the_disk_is_not_waited_for() {
    let mut state = State::new(&[1..1, 1..100, 1..1, 1..1], 1 << 20, 1 << 20);
    let present = [vec![], vec![1..20, 40..60], vec![], vec![]];
    assert_eq!(state.reconcile(&present), 60);
    assert_eq!((state.counters.corrupt, state.waiting()[1]), (60, (0, 39)));
    assert_eq!(state.reconcile(&present), 0, "once");
}
