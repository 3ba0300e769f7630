//! The records of one kind that wait, and those in the shipper's hands.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use super::super::kind::Kind;
use super::super::remote::Outgoing;
use super::block::Stored;

pub(super) struct Waiting {
    pub serial: u64,
    pub at: Duration,
    pub stored: Stored,
}

pub(super) struct Ready {
    pub number: u64,
    pub record: Arc<Outgoing>,
}

/// The records of one kind.
#[derive(Default)]
pub(super) struct Lane {
    pub memory: VecDeque<Waiting>,
    /// Numbers on the disk: those of `head..end` without `done`.
    pub head: u64,
    pub end: u64,
    /// Numbers beyond the head that are done with, rising; and those of them that are yet to be removed.
    pub done: Vec<Range<u64>>,
    pub unremoved: Vec<Range<u64>>,
    /// Read from the disk; and the number at which reading goes on.
    pub ready: VecDeque<Ready>,
    pub ready_bytes: usize,
    pub next: u64,
    /// Serials up to this one are being committed; 0 while none is.
    pub committing: u64,
    /// The shipper asked for more from the disk.
    pub wanted: bool,
}

impl Lane {
    pub fn waiting_on_disk(&self) -> u64 {
        let done: u64 = self.done.iter().map(|r| r.end - r.start).sum();
        (self.end - self.head).saturating_sub(done)
    }

    /// `range` is done with.
    pub fn finish(&mut self, range: Range<u64>) {
        let range = range.start.max(self.head)..range.end.min(self.end);
        if range.is_empty() {
            return;
        }
        if range.start > self.head {
            // Some of it may be done with already.
            let mut at = range.start;
            let mut new = Vec::new();
            for known in self.done.iter().filter(|known| known.start < range.end && known.end > range.start) {
                new.push(at..known.start);
                at = at.max(known.end);
            }
            new.push(at..range.end);
            for piece in new.into_iter().filter(|piece| !piece.is_empty()) {
                insert(&mut self.done, piece.clone());
                insert(&mut self.unremoved, piece);
            }
            return;
        }
        self.advance(range.end);
    }

    /// All before `head` is done with.
    pub fn advance(&mut self, head: u64) {
        self.head = self.head.max(head);
        while let Some(first) = self.done.first().filter(|first| first.start <= self.head) {
            self.head = self.head.max(first.end);
            self.done.remove(0);
        }
        self.next = self.next.max(self.head);
        let head = self.head;
        while let Some(ready) = self.ready.pop_front() {
            if ready.number >= head {
                self.ready.push_front(ready);
                break;
            }
            self.ready_bytes = self.ready_bytes.saturating_sub(ready.record.body.len());
        }
    }
}

/// Adds a range to rising ones that it does not overlap.
fn insert(ranges: &mut Vec<Range<u64>>, new: Range<u64>) {
    let at = ranges.partition_point(|range| range.start < new.start);
    match at.checked_sub(1).and_then(|before| ranges.get_mut(before)) {
        Some(before) if before.end == new.start => before.end = new.end,
        _ => ranges.insert(at, new),
    }
}

/// A record in the shipper's hands.
pub(super) struct Held {
    pub serial: u64,
    pub number: Option<u64>,
    pub record: Arc<Outgoing>,
}

pub(super) struct Flight {
    pub kind: Kind,
    pub from_disk: bool,
    pub records: VecDeque<Held>,
}

impl Flight {
    /// How many of its records are in memory.
    pub fn held(&self) -> usize {
        self.records.iter().filter(|held| held.number.is_none()).count()
    }
}

/// How many of the first records fit.
pub(super) fn fitting(sizes: impl Iterator<Item = usize>, records: usize, bytes: usize) -> usize {
    let mut sum = 0;
    sizes
        .take(records)
        .enumerate()
        .take_while(|(at, size)| {
            sum += size;
            *at == 0 || sum <= bytes
        })
        .count()
}
