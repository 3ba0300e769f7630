//! Where tracks have been: bounded by time, points and tracks.

use std::collections::{HashMap, VecDeque};

/// Points of a tail at most; more would lie closer than the eye can tell.
const MAX_POINTS: usize = 48;
/// Tails at most; a frame with more tracks gets no tails for the rest.
const MAX_TRACKS: usize = 1024;

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Point {
    /// When, in nanoseconds on the caller's clock.
    pub at_ns: u64,
    /// 0..1 of the frame's width.
    pub x: f32,
    /// 0..1 of the frame's height.
    pub y: f32,
}

/// The recent positions of all tracks, by identity.
#[derive(Debug, Default)]
pub(super) struct Tails {
    tracks: HashMap<u64, VecDeque<Point>>,
}

impl Tails {
    /// Adds a position (finite) of track `id` and drops what is older than `span_ns`.
    ///
    /// A time before the last one (a seek, a loop) starts the tail anew.
    pub fn add(&mut self, id: u64, point: Point, span_ns: u64) {
        if !self.tracks.contains_key(&id) && self.tracks.len() >= MAX_TRACKS {
            return;
        }
        let tail = self.tracks.entry(id).or_insert_with(|| VecDeque::with_capacity(MAX_POINTS));
        if tail.back().is_some_and(|last| last.at_ns > point.at_ns) {
            tail.clear();
        }
        while tail.front().is_some_and(|p| point.at_ns - p.at_ns > span_ns) {
            tail.pop_front();
        }
        // The newest point moves with the track until it is one step away from the point before it.
        let step = span_ns / (MAX_POINTS as u64 - 2);
        let head_is_near = tail.len() > 1 && tail.get(tail.len() - 2).is_some_and(|p| point.at_ns - p.at_ns < step);
        if head_is_near || tail.back().is_some_and(|last| last.at_ns == point.at_ns) {
            tail.pop_back();
        }
        if tail.len() >= MAX_POINTS {
            tail.pop_front();
        }
        tail.push_back(point);
    }

    /// The positions of track `id`, oldest first.
    pub fn get(&self, id: u64) -> impl Iterator<Item = Point> + Clone + '_ {
        self.tracks.get(&id).into_iter().flatten().copied()
    }

    /// Forgets the tracks that were last seen more than `span_ns` before `now_ns`, or after it (time went back).
    pub fn prune(&mut self, now_ns: u64, span_ns: u64) {
        self.tracks
            .retain(|_, tail| tail.back().and_then(|p| now_ns.checked_sub(p.at_ns)).is_some_and(|age| age <= span_ns));
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.tracks.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn point(at_ns: u64) -> Point {
        Point { at_ns, x: 0.5, y: 0.5 }
    }

    fn times(tails: &Tails, id: u64) -> Vec<u64> {
        tails.get(id).map(|p| p.at_ns).collect()
    }

    #[test]
    fn points_leave_after_the_span() {
        let mut tails = Tails::default();
        for t in 0..5 {
            tails.add(1, point(t * SECOND), 2 * SECOND);
        }
        assert_eq!(times(&tails, 1), [2 * SECOND, 3 * SECOND, 4 * SECOND]);
        assert_eq!(times(&tails, 2), [0; 0]);
    }

    #[test]
    fn points_and_tracks_are_bounded() {
        let mut tails = Tails::default();
        for frame in 0..10_000 {
            tails.add(1, point(frame * 1_000_000), 2 * SECOND);
        }
        let kept = times(&tails, 1);
        assert!(kept.len() <= MAX_POINTS, "{}", kept.len());
        // The tail still spans nearly all of the two seconds, and its head is the newest point.
        assert_eq!(kept.last(), Some(&9_999_000_000));
        assert!(kept[0] < 8_100_000_000, "{}", kept[0]);
        for id in 0..5000 {
            tails.add(id, point(0), SECOND);
        }
        assert!(tails.tracks.len() <= MAX_TRACKS);
    }

    #[test]
    fn time_that_goes_back_starts_anew() {
        let mut tails = Tails::default();
        tails.add(1, point(8 * SECOND), SECOND);
        tails.add(1, point(3 * SECOND), SECOND);
        assert_eq!(times(&tails, 1), [3 * SECOND]);
        tails.add(2, point(9 * SECOND), SECOND);
        tails.prune(3 * SECOND, SECOND);
        assert_eq!(times(&tails, 2), [0; 0], "from the future");
        tails.prune(5 * SECOND, SECOND);
        assert_eq!(times(&tails, 1), [0; 0], "too old");
        tails.add(1, point(u64::MAX), 0);
        tails.clear();
        assert_eq!(tails.tracks.len(), 0);
    }

    #[test]
    fn the_same_time_counts_once() {
        let mut tails = Tails::default();
        tails.add(1, point(SECOND), SECOND);
        tails.add(1, point(SECOND), SECOND);
        assert_eq!(times(&tails, 1), [SECOND]);
    }
}
