//! The best one-to-one assignment of rows to columns when only some pairs are possible.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

/// A column that the search may go to next; the nearest comes out of the heap first, ties by column.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Reach {
    distance: f64,
    column: usize,
}

impl Eq for Reach {}

impl Ord for Reach {
    fn cmp(&self, other: &Self) -> Ordering {
        other.distance.total_cmp(&self.distance).then_with(|| other.column.cmp(&self.column))
    }
}

impl PartialOrd for Reach {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// What the search of one row knows about a column.
#[derive(Debug, Clone, Copy)]
struct Column {
    /// Dual price.
    price: f64,
    /// Row that holds the column.
    owner: Option<usize>,
    /// Length of the shortest alternating path to the column, valid in search `seen`.
    distance: f64,
    /// Row before the column on that path.
    from: usize,
    /// Search that reached the column last, and whether its distance is final.
    seen: usize,
    done: bool,
}

/// Finds the matching with the largest total benefit over a sparse set of pairs; rows and columns may stay free.
///
/// Shortest augmenting paths with dual prices (Jonker and Volgenant 1987, the sparse form LAPJVsp): each row is
/// added by one Dijkstra search, so that the work follows the number of pairs and not rows × columns. Buffers are
/// kept between calls.
#[derive(Debug, Default)]
pub struct Assignment {
    /// Where the pairs of each row begin in `pairs`.
    starts: Vec<usize>,
    /// Column and benefit of each pair, row by row.
    pairs: Vec<(usize, f64)>,
    columns: Vec<Column>,
    row_price: Vec<f64>,
    held: Vec<Option<usize>>,
    heap: BinaryHeap<Reach>,
    finished: Vec<usize>,
    steps: u64,
}

impl Assignment {
    /// Begins a problem with `columns` columns and no row.
    pub fn clear(&mut self, columns: usize) {
        self.starts.clear();
        self.pairs.clear();
        self.columns.clear();
        let free = Column { price: 0.0, owner: None, distance: 0.0, from: 0, seen: usize::MAX, done: false };
        self.columns.resize(columns, free);
    }

    /// Begins the next row.
    pub fn row(&mut self) {
        self.starts.push(self.pairs.len());
    }

    /// Says that the row begun last may take `column`, and what that is worth. Worthless pairs (0 or less, or not a
    /// number) and columns that do not exist are left out: a row is better free than with them.
    pub fn pair(&mut self, column: usize, benefit: f32) {
        if benefit > 0.0 && benefit.is_finite() && column < self.columns.len() {
            self.pairs.push((column, f64::from(benefit)));
        }
    }

    /// Solves; the column of each row in the order in which rows were begun.
    pub fn solve(&mut self) -> &[Option<usize>] {
        let rows = self.starts.len();
        self.row_price.clear();
        self.row_price.resize(rows, 0.0);
        self.held.clear();
        self.held.resize(rows, None);
        for row in 0..rows {
            self.add(row);
        }
        &self.held
    }

    /// Pairs looked at since this value was made: the measure of work that tests use.
    #[cfg(test)]
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// Brings `start` into the matching along the cheapest alternating path, which ends in a free column, or in a row
    /// that gives its column up.
    fn add(&mut self, start: usize) {
        self.heap.clear();
        self.finished.clear();
        let (mut row, mut base) = (start, 0.0);
        let (mut cheapest, mut loser) = (f64::INFINITY, start);
        let free_column = loop {
            let slack = base - self.row_price[row];
            if slack < cheapest {
                (cheapest, loser) = (slack, row);
            }
            self.relax(start, row, slack);
            let Some(next) = self.nearest(start) else { break None };
            if next.distance >= cheapest {
                break None;
            }
            let column = &mut self.columns[next.column];
            column.done = true;
            match column.owner {
                None => {
                    cheapest = next.distance;
                    break Some(next.column);
                }
                Some(owner) => {
                    self.finished.push(next.column);
                    (row, base) = (owner, next.distance);
                }
            }
        };
        self.row_price[start] += cheapest;
        for &c in &self.finished {
            let column = &mut self.columns[c];
            let gain = cheapest - column.distance;
            column.price -= gain;
            if let Some(owner) = column.owner {
                self.row_price[owner] += gain;
            }
        }
        // The loser's own column, if it has one, is the end of the path when no free column was reached.
        let end = free_column.or_else(|| self.held[loser].take());
        self.augment(start, end);
    }

    /// Offers every pair of `row`, which lies `slack` away, to the search of `start`.
    fn relax(&mut self, start: usize, row: usize, slack: f64) {
        let first = self.starts[row];
        let last = self.starts.get(row + 1).copied().unwrap_or(self.pairs.len());
        for &(c, benefit) in &self.pairs[first..last] {
            self.steps += 1;
            let column = &mut self.columns[c];
            let distance = slack - benefit - column.price;
            let reached = column.seen == start;
            if reached && (column.done || column.distance <= distance) {
                continue;
            }
            (column.seen, column.done, column.distance, column.from) = (start, false, distance, row);
            self.heap.push(Reach { distance, column: c });
        }
    }

    /// Takes the nearest column whose distance is not final yet out of the heap.
    fn nearest(&mut self, start: usize) -> Option<Reach> {
        while let Some(reach) = self.heap.pop() {
            let column = &self.columns[reach.column];
            if column.seen == start && !column.done && reach.distance <= column.distance {
                return Some(reach);
            }
        }
        None
    }

    /// Shifts every row on the path that ends in `column` to the column after it.
    fn augment(&mut self, start: usize, mut column: Option<usize>) {
        while let Some(c) = column {
            let row = self.columns[c].from;
            self.columns[c].owner = Some(row);
            column = self.held[row].replace(c);
            if row == start {
                break;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The largest total benefit by trying every matching.
    fn brute_force(table: &[Vec<f32>], row: usize, used: u32) -> f64 {
        let Some(benefits) = table.get(row) else { return 0.0 };
        let mut best = brute_force(table, row + 1, used);
        for (c, &b) in benefits.iter().enumerate() {
            if b > 0.0 && used & (1 << c) == 0 {
                best = best.max(f64::from(b) + brute_force(table, row + 1, used | (1 << c)));
            }
        }
        best
    }

    fn solve(table: &[Vec<f32>], columns: usize) -> Vec<Option<usize>> {
        let mut a = Assignment::default();
        a.clear(columns);
        for row in table {
            a.row();
            for (c, &b) in row.iter().enumerate() {
                a.pair(c, b);
            }
        }
        a.solve().to_vec()
    }

    #[test]
    fn greedy_choice_is_not_taken_when_it_costs_more() {
        // Row 0 would greedily take column 0 (0.9) and leave row 1 with nothing: 0.9 < 0.8 + 0.7.
        assert_eq!(solve(&[vec![0.9, 0.8], vec![0.7, 0.0]], 2), [Some(1), Some(0)]);
    }

    #[test]
    fn a_row_gives_way_when_another_is_worth_more() {
        assert_eq!(solve(&[vec![0.3], vec![0.9]], 1), [None, Some(0)]);
    }

    #[test]
    fn nothing_to_match() {
        assert_eq!(solve(&[], 3), []);
        assert_eq!(solve(&[vec![], vec![]], 0), [None, None]);
        assert_eq!(solve(&[vec![f32::NAN, -1.0, f32::INFINITY]], 3), [None]);
    }

    #[test]
    fn work_follows_pairs_and_not_the_table() {
        let mut work = Vec::new();
        for n in [100usize, 1000] {
            let mut a = Assignment::default();
            a.clear(n);
            for row in 0..n {
                a.row();
                for c in row.saturating_sub(1)..(row + 2).min(n) {
                    a.pair(c, if c == row { 0.9 } else { 0.3 });
                }
            }
            let held = a.solve().to_vec();
            assert!(held.iter().enumerate().all(|(row, c)| *c == Some(row)));
            work.push(a.steps());
        }
        // Ten times the pairs: ten times the work, give or take the ends.
        assert!(work[1] <= work[0] * 11, "{work:?}");
    }

    proptest! {
        #[test]
        fn optimal_and_one_to_one(
            rows in 0usize..7, columns in 0usize..7,
            values in prop::collection::vec(prop_oneof![Just(0.0f32), 0.001f32..1.0, Just(0.5f32)], 49),
        ) {
            let table: Vec<Vec<f32>> = (0..rows).map(|r| values[r * 7..r * 7 + columns].to_vec()).collect();
            let held = solve(&table, columns);
            let mut used = vec![false; columns];
            let mut total = 0.0;
            for (r, c) in held.iter().enumerate() {
                let Some(c) = *c else { continue };
                prop_assert!(!used[c], "column {} twice", c);
                prop_assert!(table[r][c] > 0.0, "a pair that was not offered");
                used[c] = true;
                total += f64::from(table[r][c]);
            }
            let best = brute_force(&table, 0, 0);
            prop_assert!((total - best).abs() < 1e-6, "{} is not {}", total, best);
        }
    }
}
