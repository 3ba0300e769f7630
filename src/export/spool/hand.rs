//! Into the shipper's hands and back.

use std::collections::VecDeque;
use std::time::Duration;

use super::super::kind::Kind;
use super::super::remote::Outgoing;
use super::lane::{Flight, Held, Ready, fitting};
use super::state::{AHEAD, OVERHEAD, Order, State};

/// Records for the shipper, of one kind, in order.
#[derive(Debug)]
pub(crate) struct Batch {
    pub records: Vec<Outgoing>,
    pub from_disk: bool,
}

/// What becomes of a record that was in the shipper's hands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Settled {
    Acknowledged,
    Refused,
}

impl State {
    /// Records for the shipper, at most `records` of them and `bytes`, at most `from_disk` from the disk; it must settle or
    /// put back all of them before it gets more.
    pub fn take(&mut self, order: Order, records: usize, bytes: usize, from_disk: usize) -> Option<Batch> {
        if self.flight.is_some() {
            return None;
        }
        let turns = match (order, self.took_live) {
            (Order::InOrder, _) => [None, None],
            (Order::LiveFirst, false) => [Some(false), Some(true)],
            (Order::LiveFirst, true) => [Some(true), Some(false)],
        };
        let disk = records.min(from_disk);
        turns.into_iter().find_map(|disk_turn| {
            Kind::ALL.into_iter().find_map(|kind| match disk_turn {
                Some(true) => self.take_from_disk(kind, disk, bytes),
                Some(false) => self.take_from_memory(kind, records, bytes),
                None if self.is_of_use(kind, order) => self.take_from_memory(kind, records, bytes),
                None => self.take_from_disk(kind, disk, bytes),
            })
        })
    }

    fn take_from_disk(&mut self, kind: Kind, records: usize, bytes: usize) -> Option<Batch> {
        let readable = self.readable(kind);
        let lane = self.lane(kind);
        lane.wanted |= lane.next < readable && lane.ready_bytes < AHEAD;
        let count = fitting(lane.ready.iter().map(|ready| ready.record.body.len()), records, bytes);
        let held: VecDeque<Held> = lane
            .ready
            .drain(..count)
            .map(|ready| Held { serial: 0, number: Some(ready.number), record: ready.record })
            .collect();
        lane.ready_bytes -= held.iter().map(|held| held.record.body.len()).sum::<usize>();
        self.fly(Flight { kind, from_disk: true, records: held })
    }

    fn take_from_memory(&mut self, kind: Kind, records: usize, bytes: usize) -> Option<Batch> {
        let lane = self.lane(kind);
        // A batch is either being committed or not.
        let committing = lane.committing;
        let inside = lane.memory.front().is_some_and(|waiting| waiting.serial <= committing);
        let same = lane.memory.iter().take_while(|waiting| (waiting.serial <= committing) == inside);
        let count = fitting(same.map(|waiting| waiting.stored.record.body.len()), records, bytes);
        let held = lane
            .memory
            .iter()
            .take(count)
            .map(|w| Held { serial: w.serial, number: None, record: w.stored.record.clone() })
            .collect();
        self.fly(Flight { kind, from_disk: false, records: held })
    }

    fn fly(&mut self, flight: Flight) -> Option<Batch> {
        if flight.records.is_empty() {
            return None;
        }
        let records = flight.records.iter().map(|held| (*held.record).clone()).collect();
        let batch = Batch { records, from_disk: flight.from_disk };
        self.took_live = !flight.from_disk;
        self.flight = Some(flight);
        Some(batch)
    }

    /// The first `count` records in the shipper's hands are done with.
    pub fn settle(&mut self, count: usize, settled: Settled, now: Duration) {
        let Some(mut flight) = self.flight.take() else { return };
        for held in flight.records.drain(..count.min(flight.records.len())).collect::<Vec<_>>() {
            match settled {
                Settled::Acknowledged => self.counters.acknowledged += 1,
                Settled::Refused => self.counters.refused += 1,
            }
            let lane = self.lane(flight.kind);
            match held.number {
                Some(number) => {
                    lane.finish(number..number + 1);
                    self.settled.get_or_insert(now);
                }
                None => {
                    if lane.memory.front().is_some_and(|waiting| waiting.serial == held.serial) {
                        let size = lane.memory.pop_front().map_or(0, |w| w.stored.size() + OVERHEAD);
                        self.memory -= size;
                    }
                }
            }
        }
        self.flight = Some(flight).filter(|flight| !flight.records.is_empty());
    }

    /// What is still in the shipper's hands is to be sent again.
    pub fn put_back(&mut self) {
        let Some(flight) = self.flight.take() else { return };
        let lane = self.lane(flight.kind);
        lane.wanted = false;
        let mut lost = 0;
        for held in flight.records.into_iter().rev() {
            match held.number {
                Some(number) if number < lane.head => lost += 1,
                Some(number) if flight.from_disk => {
                    lane.ready_bytes += held.record.body.len();
                    lane.ready.push_front(Ready { number, record: held.record });
                }
                // In memory still, or to be read from the disk in its turn.
                _ => {}
            }
        }
        self.drop_one(flight.kind, lost);
    }
}
