//! What a receiver did not take is given to it again exactly as it was: it knows a batch by its records.

use super::super::kind::Kind;
use super::super::remote::Outgoing;

/// How often the rest of a failed part is waited for, which is to be read from the disk.
const WAITS: u32 = 50;

/// The parts that failed last.
#[derive(Debug, Default)]
pub(super) struct Again {
    failed: Vec<Failed>,
}

#[derive(Debug)]
struct Failed {
    kind: Kind,
    from_disk: bool,
    records: Vec<Outgoing>,
    waits: u32,
}

impl Again {
    /// `part` failed.
    pub fn failed(&mut self, part: &[Outgoing], from_disk: bool) {
        self.passed(part, from_disk);
        if let Some(kind) = part.first().map(|record| record.kind) {
            self.failed.push(Failed { kind, from_disk, records: part.to_vec(), waits: WAITS });
        }
    }

    /// `part` is done with, and so is what failed before it on the same way.
    pub fn passed(&mut self, part: &[Outgoing], from_disk: bool) {
        let same_way = |failed: &Failed| {
            let first = part.first();
            failed.from_disk == from_disk && Some(failed.kind) == first.map(|record| record.kind)
                || failed.records.first() == first
        };
        self.failed.retain(|failed| !same_way(failed));
    }

    /// How many of these records, which come next, are a part that failed before; all of them if they begin with none. `None` while only
    /// the beginning of such a part is there and the rest may come: the caller comes again a little later.
    pub fn first(&mut self, records: &[Outgoing]) -> Option<usize> {
        if let Some(failed) = self.failed.iter().find(|failed| records.starts_with(&failed.records)) {
            return Some(failed.records.len());
        }
        let waits = self.failed.iter_mut().find(|failed| failed.waits > 0 && failed.records.starts_with(records));
        match waits {
            Some(failed) => {
                failed.waits -= 1;
                None
            }
            None => Some(records.len()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records(kind: Kind, numbers: std::ops::Range<u64>) -> Vec<Outgoing> {
        numbers.map(|n| Outgoing { kind, camera: "gate".into(), body: n.to_string().into_bytes() }).collect()
    }

    #[test]
    fn a_part_that_failed_is_found_among_more() {
        let mut again = Again::default();
        let frames = |numbers| records(Kind::Frame, numbers);
        assert_eq!(again.first(&frames(0..10)), Some(10));
        again.failed(&frames(0..10), false);
        assert_eq!(again.first(&frames(0..200)), Some(10), "on whatever way it comes");
        assert_eq!(again.first(&records(Kind::Alarm, 0..3)), Some(3), "others overtake it");
        assert_eq!(again.first(&frames(1..5)), Some(4), "some of it was given up");
        again.failed(&frames(0..5), false);
        assert_eq!(again.first(&frames(0..200)), Some(5));
        again.failed(&frames(300..310), true);
        again.passed(&frames(0..5), false);
        assert_eq!(again.first(&frames(0..200)), Some(200));
        assert_eq!(again.first(&frames(300..400)), Some(10));
        again.passed(&frames(250..260), true);
        assert_eq!(again.first(&frames(300..400)), Some(100), "what is done with does not come again");
    }

    #[test]
    fn the_rest_of_a_part_is_waited_for_and_not_for_ever() {
        let mut again = Again::default();
        again.failed(&records(Kind::Frame, 0..10), false);
        for _ in 0..WAITS {
            assert_eq!(again.first(&records(Kind::Frame, 0..4)), None);
        }
        assert_eq!(again.first(&records(Kind::Frame, 0..4)), Some(4));
        assert_eq!(again.first(&records(Kind::Frame, 0..12)), Some(10));
    }
}
