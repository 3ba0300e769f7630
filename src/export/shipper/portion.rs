//! How much a receiver gets in one call: less where it refuses more.

use super::super::remote::Outgoing;

/// Calls that pass until a little more is tried.
const PATIENCE: u32 = 64;

/// What a receiver is known to take. While one is refused of several, either their size or one of them is to blame, which is found by
/// halving.
#[derive(Debug)]
pub(super) struct Portion {
    /// Most records, and most bytes, that are ever sent at once.
    records: usize,
    largest: usize,
    /// Most bytes just now.
    most: usize,
    /// Calls of this size that have passed since it was set.
    passed: u32,
    /// While it is searched who is to blame: most bytes before.
    before: Option<usize>,
}

impl Portion {
    /// At most so many records and bytes.
    pub fn new((records, largest): (usize, usize)) -> Self {
        Self { records, largest, most: largest, passed: 0, before: None }
    }

    /// How many of the first of these records go into the next call; at least one.
    pub fn of(&self, records: &[Outgoing]) -> usize {
        let mut sum = 0;
        let fits = |record: &&Outgoing| {
            sum += record.body.len();
            sum <= self.most
        };
        records.iter().take(self.records).take_while(fits).count().max(1)
    }

    /// A call with these records passed.
    pub fn passed(&mut self, part: &[Outgoing]) {
        if self.before.is_some() || self.most >= self.largest || bytes(part) <= self.most / 2 {
            return;
        }
        self.passed += 1;
        if self.passed >= PATIENCE {
            self.most = (self.most + (self.most / 4).max(1)).min(self.largest);
            self.passed = 0;
        }
    }

    /// These records, more than one, were refused.
    pub fn refused(&mut self, part: &[Outgoing]) {
        self.before.get_or_insert(self.most);
        self.most = (bytes(part) / 2).max(1);
        self.passed = 0;
    }

    /// A record was refused alone, so that it was not their size.
    pub fn found(&mut self) {
        self.most = self.before.take().unwrap_or(self.most);
    }

    /// A batch is settled. If some of it was refused and none of its records alone, it was their size.
    pub fn settled(&mut self) {
        self.before = None;
    }
}

fn bytes(part: &[Outgoing]) -> usize {
    part.iter().map(|record| record.body.len()).sum()
}

#[cfg(test)]
mod tests {
    use super::super::super::kind::Kind;
    use super::*;

    /// Records of these sizes.
    fn records(sizes: &[usize]) -> Vec<Outgoing> {
        sizes.iter().map(|&n| Outgoing { kind: Kind::Frame, camera: "gate".into(), body: vec![b'x'; n] }).collect()
    }

    /// Sends a batch to a receiver that takes so many bytes and no record with 7 bytes; calls, and those that were refused.
    fn send(portion: &mut Portion, batch: &[Outgoing], limit: usize) -> (usize, usize) {
        let (mut rest, mut calls, mut refused) = (batch, 0, 0);
        while !rest.is_empty() {
            let (part, after) = rest.split_at(portion.of(rest));
            calls += 1;
            if bytes(part) <= limit && part.iter().all(|record| record.body.len() != 7) {
                portion.passed(part);
                rest = after;
                continue;
            }
            refused += 1;
            if part.len() == 1 {
                portion.found();
                rest = after;
            } else {
                portion.refused(part);
            }
        }
        portion.settled();
        (calls, refused)
    }

    #[test]
    fn a_limit_is_remembered_and_tried_again_now_and_then() {
        let mut portion = Portion::new((256, 256 << 10));
        let batch = records(&[1024; 256]);
        assert_eq!(send(&mut portion, &batch, 32 << 10), (8 + 3, 3));
        let (calls, refused) =
            (0..100).map(|_| send(&mut portion, &batch, 32 << 10)).fold((0, 0), |(a, b), (c, d)| (a + c, b + d));
        assert!(refused > 0 && refused * 20 < calls, "{refused} of {calls}");
        assert!(calls < 100 * 16, "and no smaller than half of what is taken: {calls}");
        // A receiver that takes more gets more in the end.
        for _ in 0..400 {
            send(&mut portion, &batch, usize::MAX);
        }
        assert_eq!(send(&mut portion, &batch, usize::MAX), (1, 0));
    }

    #[test]
    fn one_that_is_refused_alone_changes_nothing() {
        let mut portion = Portion::new((256, 256 << 10));
        let mut sizes = [500; 200];
        sizes[77] = 7;
        let (calls, refused) = send(&mut portion, &records(&sizes), usize::MAX);
        assert!(calls <= 16 && refused <= 9, "{calls}, {refused}");
        assert_eq!(send(&mut portion, &records(&[500; 200]), usize::MAX), (1, 0));
    }

    #[test]
    fn whatever_their_sizes_each_record_goes_out() {
        let mut portion = Portion::new((4, 100));
        assert_eq!(portion.of(&records(&[1000, 1, 1])), 1);
        assert_eq!(portion.of(&records(&[1; 9])), 4);
        let (_, refused) = send(&mut portion, &records(&[10, 1000, 7, 0, 0, 7, 300, 1]), 5);
        assert!(refused >= 5, "the large ones and the bad ones are refused alone: {refused}");
    }
}
