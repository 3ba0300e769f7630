//! How the camera moves: the shift that most objects share, beyond what their own motion explains.

use super::association::Association;
use super::kalman::MEASUREMENT;
use super::track::Identity;

/// Largest shift between two analysed frames that is looked for, frame heights.
const REACH: f32 = 0.15;
/// Width of a cell of the ballot, frame heights: the error of a detector's boxes.
const CELL: f32 = 0.0125;
/// Cells in a row and a column of the ballot.
const CELLS: usize = (2.0 * REACH / CELL) as usize;
/// Fewest objects that can tell the camera's motion from their own.
const FEWEST: usize = 5;
/// Most objects that are asked, spread evenly over all: more would cost time and change nothing.
const MOST: usize = 64;
/// Largest ratio of two heights of one object on frames that follow each other.
const SAME_HEIGHT: f32 = 1.25;
/// A shift counts if it is this many standard errors from none.
const SURE: f32 = 3.0;
/// Part of the unexpected shift per step that is taken as the camera's new speed.
const LEARN: f32 = 0.2;
/// Seconds in which the speed falls to a third: while there are too few to vote, and while nothing is unexpected (what
/// was the camera's motion then becomes the objects' own, so that an error does not stay).
const FORGET: (f32, f32) = (1.0, 4.0);
/// Slowest motion of a camera, frame heights per second; below, it stands.
const STANDING: f32 = 0.005;

/// The camera's motion. All identities are moved with it before they are matched, so that their filters need to know
/// their own motion only; a camera that stands changes nothing.
///
/// Each identity that the last frame showed votes for the shifts that would bring it onto an object of its class and
/// height; the shift that most vote for, if it is the choice of the majority and no matter of chance, is the camera's.
/// A rotation about the view axis and zoom are not looked for.
#[derive(Debug, Default)]
pub struct Camera {
    /// Frame heights per second.
    velocity: (f32, f32),
    /// Shift and voter.
    votes: Vec<(f32, f32, usize)>,
    /// Mean size of the voters' boxes, frame heights.
    size: f32,
    ballot: Vec<u16>,
    sorted: Vec<f32>,
}

impl Camera {
    /// How fast the picture moves, frame heights per second.
    pub fn velocity(&self) -> (f32, f32) {
        self.velocity
    }

    /// Takes the camera to stand.
    pub fn reset(&mut self) {
        self.velocity = (0.0, 0.0);
    }

    /// Stretches the horizontal axis by `k`, for a frame whose shape changed.
    pub fn stretch(&mut self, k: f32) {
        self.velocity.0 *= k;
    }

    /// The shift of the picture since the last analysed frame, `dt` seconds ago, in frame heights. The tracks have been
    /// advanced by their own motion; objects from confidence `high` on are looked at.
    pub fn follow(&mut self, dt: f32, tracks: &[Identity], association: &Association, high: f32) -> (f32, f32) {
        let expected = (self.velocity.0 * dt, self.velocity.1 * dt);
        let voters = self.vote(expected, tracks, association, high);
        let found = self.elect(voters);
        let Some(Shift { x, y, .. }) = found.filter(Shift::sure) else {
            let keep = (-dt / if found.is_some() { FORGET.1 } else { FORGET.0 }).exp();
            self.set_velocity(self.velocity.0 * keep, self.velocity.1 * keep);
            return expected;
        };
        if dt > 0.0 {
            self.set_velocity(self.velocity.0 + LEARN * x / dt, self.velocity.1 + LEARN * y / dt);
        }
        (expected.0 + x, expected.1 + y)
    }

    fn set_velocity(&mut self, x: f32, y: f32) {
        self.velocity = if x.hypot(y) < STANDING { (0.0, 0.0) } else { (x, y) };
    }

    /// Collects the votes; the number of voters.
    fn vote(&mut self, expected: (f32, f32), tracks: &[Identity], association: &Association, high: f32) -> usize {
        self.votes.clear();
        let (mut voters, mut size) = (0, 0.0);
        let entitled = || tracks.iter().filter(|t| t.confirmed && t.missed == 1);
        let step = entitled().count().div_ceil(MOST).max(1);
        for track in entitled().step_by(step) {
            let b = track.motion.bbox();
            voters += 1;
            size += (b.w * b.h).sqrt();
            let (x, y) = (b.x + b.w / 2.0 + expected.0, b.y + b.h / 2.0 + expected.1);
            for c in association.beside(x - b.w / 2.0, REACH + b.w / 2.0) {
                let shift = (c.bbox.x + c.bbox.w / 2.0 - x, c.bbox.y + c.bbox.h / 2.0 - y);
                let near = shift.0.abs() < REACH && shift.1.abs() < REACH;
                let alike = c.bbox.h < b.h * SAME_HEIGHT && b.h < c.bbox.h * SAME_HEIGHT;
                if near && alike && c.confidence >= high && track.is_of(c) {
                    self.votes.push((shift.0, shift.1, voters));
                }
            }
        }
        self.size = size / voters.max(1) as f32;
        voters
    }

    /// The shift that a majority of the voters share.
    fn elect(&mut self, voters: usize) -> Option<Shift> {
        if voters < FEWEST || self.votes.len() < FEWEST {
            return None;
        }
        let cell = |v: f32| (((v + REACH) / CELL) as usize).min(CELLS - 1);
        self.ballot.clear();
        self.ballot.resize(CELLS * CELLS, 0);
        for &(x, y, _) in &self.votes {
            if let Some(count) = self.ballot.get_mut(cell(y) * CELLS + cell(x)) {
                *count = count.saturating_add(1);
            }
        }
        // The best square of three by three cells; of equals the first.
        let mut best = (0u32, 0, 0);
        for row in 1..CELLS - 1 {
            for column in 1..CELLS - 1 {
                let around =
                    (row - 1..=row + 1).flat_map(|r| self.ballot.get(r * CELLS + column - 1..r * CELLS + column + 2));
                let count = around.flatten().map(|&c| u32::from(c)).sum();
                if count > best.0 {
                    best = (count, row, column);
                }
            }
        }
        let inside = |v: f32, c: usize| cell(v).abs_diff(c) <= 1;
        self.votes.retain(|&(x, y, _)| inside(y, best.1) && inside(x, best.2));
        let mut agreeing = 0;
        let mut last = 0;
        for &(_, _, voter) in &self.votes {
            agreeing += usize::from(voter != last);
            last = voter;
        }
        if agreeing < FEWEST || 2 * agreeing <= voters {
            return None;
        }
        let (x, error_x) = self.middle(|v| v.0);
        let (y, error_y) = self.middle(|v| v.1);
        let root = (agreeing as f32).sqrt();
        Some(Shift { x, y, error: (error_x / root, error_y / root) })
    }

    /// Median of one part of the votes, and the standard deviation by the median distance from it.
    fn middle(&mut self, part: impl Fn(&(f32, f32, usize)) -> f32) -> (f32, f32) {
        self.sorted.clear();
        self.sorted.extend(self.votes.iter().map(part));
        let median = median(&mut self.sorted);
        self.sorted.iter_mut().for_each(|v| *v = (*v - median).abs());
        // 1.48: from the median distance to the standard deviation; 1.25: from the mean's error to the median's. A few
        // votes may agree by chance, so that they are not trusted more than boxes are in general.
        let deviation = (self::median(&mut self.sorted) * 1.48).max(MEASUREMENT as f32 * self.size);
        (median, 1.25 * deviation)
    }
}

/// A shift in frame heights, and its standard error.
#[derive(Debug, Clone, Copy)]
struct Shift {
    x: f32,
    y: f32,
    error: (f32, f32),
}

impl Shift {
    /// Whether it is more than chance.
    fn sure(&self) -> bool {
        (self.x / self.error.0).hypot(self.y / self.error.1) > SURE
    }
}

fn median(values: &mut [f32]) -> f32 {
    values.sort_unstable_by(f32::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}
