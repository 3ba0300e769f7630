//! What waits, and where: in memory, on the disk, in the shipper's hands. No I/O, no lock; time is an argument.
//!
//! A record gets a *serial* when it comes, and a *number* when it is committed. Memory holds what is neither committed nor
//! acknowledged; what is in the shipper's hands stays there too, so that a commit can include it.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use super::super::kind::Kind;
use super::super::remote::Outgoing;
use super::block::Stored;
use super::lane::{Flight, Lane, Ready, Waiting};
use super::store::Outcome;

/// What a record in memory takes beside its bytes.
pub(super) const OVERHEAD: usize = 128;
/// Bytes of records that are read from the disk ahead of their turn, by kind.
pub(super) const AHEAD: usize = 512 << 10;

/// In which order records are sent. Kinds go before each other by their importance in any case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Order {
    /// Those of one kind exactly as they came.
    #[default]
    InOrder,
    /// New ones at once, and those from the disk beside them: two streams, each in order.
    LiveFirst,
}

/// Counters since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Counters {
    pub accepted: u64,
    pub acknowledged: u64,
    pub committed: u64,
    pub dropped: [u64; 4],
    pub expired: u64,
    pub refused: u64,
    pub corrupt: u64,
}

/// What is to be committed.
pub(super) struct Snapshot {
    /// By kind: the first number, the serials, the records.
    pub lanes: [(u64, Vec<u64>, Vec<Stored>); 4],
    pub heads: [u64; 4],
    pub done: [Vec<Range<u64>>; 4],
}

/// Everything that waits.
pub(super) struct State {
    lanes: [Lane; 4],
    pub(super) flight: Option<Flight>,
    serial: u64,
    pub(super) memory: usize,
    limit: usize,
    largest: usize,
    /// When the first record was done with that is yet to be removed from the disk.
    pub(super) settled: Option<Duration>,
    /// The last batch was a live one.
    pub(super) took_live: bool,
    pub counters: Counters,
}

impl State {
    /// With `spans` on the disk, for at most `limit` bytes in memory and `largest` bytes of a record.
    pub fn new(spans: &[Range<u64>; 4], limit: usize, largest: usize) -> Self {
        let lanes =
            spans.clone().map(|span| Lane { head: span.start, end: span.end, next: span.start, ..Lane::default() });
        Self {
            lanes,
            flight: None,
            serial: 1,
            memory: 0,
            limit,
            largest,
            settled: None,
            took_live: false,
            counters: Counters::default(),
        }
    }

    pub(super) fn lane(&mut self, kind: Kind) -> &mut Lane {
        let [alarm, event, frame, telemetry] = &mut self.lanes;
        match kind {
            Kind::Alarm => alarm,
            Kind::Event => event,
            Kind::Frame => frame,
            Kind::Telemetry => telemetry,
        }
    }

    pub(super) fn drop_one(&mut self, kind: Kind, records: u64) {
        if let Some(dropped) = self.counters.dropped.get_mut(kind.index()) {
            *dropped += records;
        }
    }

    /// Takes a record; gives up the oldest of the least important ones where memory is full.
    pub fn push(&mut self, record: Outgoing, at: Duration, utc_ms: u64) {
        let kind = record.kind;
        self.counters.accepted += 1;
        let stored = Stored { utc_ms, record: Arc::new(record) };
        if stored.size() > self.largest {
            self.drop_one(kind, 1);
            return;
        }
        self.memory += stored.size() + OVERHEAD;
        let serial = self.serial;
        self.serial += 1;
        self.lane(kind).memory.push_back(Waiting { serial, at, stored });
        while self.memory > self.limit {
            let held = |flight: &Flight, kind| if flight.kind == kind && !flight.from_disk { flight.held() } else { 0 };
            let victim = Kind::ALL.into_iter().rev().find_map(|kind| {
                let at = self.flight.as_ref().map_or(0, |flight| held(flight, kind));
                self.lane(kind).memory.remove(at).map(|waiting| (kind, waiting))
            });
            let Some((kind, waiting)) = victim else { break };
            self.memory -= waiting.stored.size() + OVERHEAD;
            self.drop_one(kind, 1);
        }
    }

    /// Nobody takes records any more: one of `kind` came and is dropped.
    pub fn refuse(&mut self, kind: Kind) {
        self.counters.accepted += 1;
        self.drop_one(kind, 1);
    }

    /// Whether the shipper can do something with a new record of `kind`.
    pub fn is_of_use(&self, kind: Kind, order: Order) -> bool {
        let lane = self.lanes.get(kind.index());
        order == Order::LiveFirst || lane.is_some_and(|lane| lane.next >= lane.end && lane.ready.is_empty())
    }

    /// Whether something that must not wait for company is in memory.
    pub fn is_urgent(&self) -> bool {
        let [alarm, event, ..] = &self.lanes;
        !(alarm.memory.is_empty() && event.memory.is_empty())
    }

    /// When the next commit is due, if at all: `interval` after the oldest of what it would do came up.
    pub fn due(&self, interval: Duration) -> Option<Duration> {
        let memory = self.lanes.iter().filter_map(|lane| lane.memory.front()).map(|waiting| waiting.at);
        memory.chain(self.settled).min().map(|at| at.saturating_add(interval))
    }

    /// Whether memory holds so much that it should be committed without waiting.
    pub fn is_filling(&self) -> bool {
        self.memory > self.limit / 4
    }

    /// The serial that the next record gets.
    pub fn next_serial(&self) -> u64 {
        self.serial
    }

    /// Whether all records before `serial` are committed or done with.
    pub fn is_safe(&self, serial: u64) -> bool {
        self.lanes.iter().all(|lane| lane.memory.front().is_none_or(|waiting| waiting.serial >= serial))
    }

    /// By kind: the number that the next committed record gets.
    pub fn ends(&self) -> [u64; 4] {
        std::array::from_fn(|at| self.lanes.get(at).map_or(0, |lane| lane.end))
    }

    /// By kind: records with smaller numbers are done with.
    pub fn heads(&self) -> [u64; 4] {
        std::array::from_fn(|at| self.lanes.get(at).map_or(0, |lane| lane.head))
    }

    /// Whether all numbers before `ends` are done with.
    pub fn is_done(&self, ends: &[u64; 4]) -> bool {
        self.lanes.iter().zip(ends).all(|(lane, end)| lane.head >= *end)
    }

    /// By kind: records in memory, and on the disk.
    pub fn waiting(&self) -> [(u64, u64); 4] {
        let count = |lane: &Lane| (lane.memory.len() as u64, lane.waiting_on_disk());
        std::array::from_fn(|at| self.lanes.get(at).map_or((0, 0), count))
    }

    /// Bytes in memory, what was read ahead included.
    pub fn memory(&self) -> u64 {
        (self.memory + self.lanes.iter().map(|lane| lane.ready_bytes).sum::<usize>()) as u64
    }

    /// Arrival of the oldest record in memory, milliseconds since 1970 UTC.
    pub fn oldest_ms(&self) -> Option<u64> {
        let fronts = self.lanes.iter().filter_map(|lane| lane.memory.front());
        fronts.map(|waiting| waiting.stored.utc_ms).filter(|&ms| ms > 0).min()
    }

    /// What to commit: up to `most` bytes of records, the most important ones first, none that are less important than `last`.
    pub fn snapshot(&mut self, most: usize, last: Kind) -> Snapshot {
        let mut left = most;
        let mut any = false;
        let lanes = std::array::from_fn(|at| {
            let Some(lane) = self.lanes.get_mut(at) else { return (0, Vec::new(), Vec::new()) };
            let (mut serials, mut records) = (Vec::new(), Vec::new());
            for waiting in lane.memory.iter().filter(|_| at <= last.index()) {
                let size = waiting.stored.size();
                if size > left && any {
                    left = 0;
                    break;
                }
                any = true;
                left = left.saturating_sub(size);
                serials.push(waiting.serial);
                records.push(waiting.stored.clone());
            }
            lane.committing = serials.last().copied().unwrap_or(0);
            (lane.end, serials, records)
        });
        self.settled = None;
        let heads = self.heads();
        let done = std::array::from_fn(|at| {
            self.lanes.get_mut(at).map(|lane| std::mem::take(&mut lane.unremoved)).unwrap_or_default()
        });
        Snapshot { lanes, heads, done }
    }

    /// The commit of `snapshot` failed; at `now` it was tried.
    pub fn not_committed(&mut self, snapshot: Snapshot, now: Duration) {
        for (lane, done) in self.lanes.iter_mut().zip(snapshot.done) {
            lane.committing = 0;
            lane.unremoved.splice(0..0, done);
        }
        self.settled = Some(now);
    }

    /// The commit of `snapshot` was done at `now`, with `outcome`.
    pub fn committed(&mut self, snapshot: &Snapshot, outcome: &Outcome, now: Duration) {
        for (kind, (number, serials, _)) in Kind::ALL.into_iter().zip(&snapshot.lanes) {
            self.counters.committed += serials.len() as u64;
            self.move_to_disk(kind, *number, serials, now);
        }
        self.gave_up(&outcome.dropped, &[0; 4]);
    }

    /// The store gave up records with smaller numbers than these, by kind: for want of space, and for their age.
    pub fn gave_up(&mut self, dropped: &[u64; 4], expired: &[u64; 4]) {
        for ((kind, dropped), expired) in Kind::ALL.into_iter().zip(dropped).zip(expired) {
            self.counters.expired += self.give_up(kind, *expired);
            let dropped = self.give_up(kind, *dropped);
            self.drop_one(kind, dropped);
        }
    }

    fn move_to_disk(&mut self, kind: Kind, number: u64, serials: &[u64], now: Duration) {
        let mut flight = self.flight.take();
        let mut freed = 0;
        let lane = self.lane(kind);
        lane.committing = 0;
        lane.end = lane.end.max(number + serials.len() as u64);
        let mut gone = Vec::new();
        for (number, serial) in (number..).zip(serials) {
            if lane.memory.front().is_none_or(|waiting| waiting.serial != *serial) {
                // Acknowledged or given up while it was being committed.
                gone.push(number);
                continue;
            }
            freed += lane.memory.pop_front().map_or(0, |waiting| waiting.stored.size() + OVERHEAD);
            let held = flight.as_mut().filter(|flight| flight.kind == kind && !flight.from_disk);
            if let Some(held) = held.and_then(|f| f.records.iter_mut().find(|held| held.serial == *serial)) {
                held.number = Some(number);
            }
        }
        let any_gone = !gone.is_empty();
        for number in gone {
            lane.finish(number..number + 1);
        }
        self.memory -= freed;
        self.flight = flight;
        if any_gone {
            self.settled.get_or_insert(now);
        }
    }

    /// The store gave up all before `head`; how many records that were.
    fn give_up(&mut self, kind: Kind, head: u64) -> u64 {
        let flight = self.flight.as_ref().filter(|flight| flight.kind == kind);
        let numbers: Vec<u64> = flight.into_iter().flat_map(|f| &f.records).filter_map(|held| held.number).collect();
        let lane = self.lane(kind);
        // What is in the shipper's hands may arrive yet; if not, it is counted when it is put back.
        let held = numbers.iter().filter(|&&number| number >= lane.head && number < head).count() as u64;
        let before = lane.waiting_on_disk();
        lane.advance(head.min(lane.end));
        (before - lane.waiting_on_disk()).saturating_sub(held)
    }

    /// What to read from the disk: the kind and the number from which on. Only kinds that `may` be read.
    pub fn to_read(&self, may: impl Fn(Kind) -> bool) -> Option<(Kind, u64)> {
        let wants = |kind, lane: &Lane| lane.wanted && lane.ready_bytes < AHEAD && may(kind);
        let lanes = Kind::ALL.into_iter().zip(&self.lanes).filter(|&(kind, lane)| wants(kind, lane));
        lanes.map(|(kind, lane)| (kind, lane.next)).find(|&(kind, next)| next < self.readable(kind))
    }

    /// Numbers of `kind` before this one can be read for the shipper. What it holds already is left out.
    pub(super) fn readable(&self, kind: Kind) -> u64 {
        let held = self.flight.as_ref().filter(|flight| flight.kind == kind && !flight.from_disk);
        let held = held.and_then(|flight| flight.records.iter().find_map(|held| held.number));
        let end = self.lanes.get(kind.index()).map_or(0, |lane| lane.end);
        held.map_or(end, |held| held.min(end))
    }

    /// A block with `records` from `number` on was read, or none if there is nothing more. What lies before it is gone.
    pub fn add(&mut self, kind: Kind, from: u64, block: Option<(u64, Vec<Stored>)>) {
        let readable = self.readable(kind);
        let lane = self.lane(kind);
        let (number, records) = block.unwrap_or_else(|| (readable, Vec::new()));
        if number > from && from == lane.next {
            lane.finish(from..number.min(readable));
            lane.next = lane.next.max(number.min(readable));
        }
        for (number, stored) in (number..).zip(records) {
            let done = lane.done.iter().any(|range| range.contains(&number));
            if number >= lane.next && number < readable {
                lane.next = number + 1;
                if !done {
                    lane.ready_bytes += stored.record.body.len();
                    lane.ready.push_back(Ready { number, record: stored.record });
                }
            }
        }
        lane.wanted &= lane.ready_bytes < AHEAD && lane.next < readable;
    }

    /// The block at `bad`, up to its end if that is known, cannot be read. What lies between `from`, where it was looked for, and the
    /// block is gone.
    pub fn add_bad(&mut self, kind: Kind, from: u64, bad: u64, end: Option<u64>, now: Duration) {
        let readable = self.readable(kind);
        let lane = self.lane(kind);
        let end = end.unwrap_or(lane.end).min(readable);
        lane.finish(from.min(bad)..bad.min(end));
        let before = lane.waiting_on_disk();
        lane.finish(bad..end);
        lane.next = lane.next.max(end);
        lane.wanted &= lane.next < readable;
        let lost = before - lane.waiting_on_disk();
        self.counters.corrupt += lost;
        self.settled.get_or_insert(now);
    }

    /// Only the numbers in `present` are on the disk, by kind and rising: the others that were believed to be there, and are not in
    /// memory either, are lost. How many these are.
    pub fn reconcile(&mut self, present: &[Vec<Range<u64>>; 4]) -> u64 {
        let mut lost = 0;
        for (kind, present) in Kind::ALL.into_iter().zip(present) {
            let held = self.flight.iter().filter(|flight| flight.kind == kind && !flight.from_disk);
            let held: Vec<u64> = held.flat_map(|f| &f.records).filter_map(|held| held.number).collect();
            let held = held.first().map_or(0..0, |first| *first..first + held.len() as u64);
            let lane = self.lane(kind);
            let before = lane.waiting_on_disk();
            let mut there: Vec<_> = present.iter().cloned().chain([held, lane.end..lane.end]).collect();
            there.sort_by_key(|range| range.start);
            let mut at = lane.next;
            for range in there {
                lane.finish(at..range.start.min(lane.end));
                at = at.max(range.end);
            }
            lost += before - lane.waiting_on_disk();
        }
        self.counters.corrupt += lost;
        lost
    }
}

#[cfg(test)]
#[path = "state_tests.rs"]
mod tests;
