//! What happened between frames: objects that come and go, counts that change, an analysis that stops.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::result::{AbsentReason, FrameResult, Freshness, Object, TrackState};

/// How long there must be no analysis before it is told, nanoseconds: one frame that is late is nobody's business.
const OUTAGE_NS: u64 = 1_000_000_000;
/// How many frames in a row must show another count before it is told: one object that is missed once did not leave.
const STEADY_FRAMES: u32 = 3;

/// Something happened.
#[derive(Debug, Clone, PartialEq)]
pub enum Happening {
    /// An object has an identity that it did not have before.
    Appeared {
        /// Its place among the result's objects.
        index: usize,
    },
    /// An identity is gone.
    Left {
        /// The identity.
        track: u64,
        /// Its class.
        label: Arc<str>,
        /// The class's index.
        class_id: u32,
        /// How long it was there, nanoseconds of stream time.
        stay_ns: u64,
    },
    /// There are more or fewer objects of a class; told where objects have no identities.
    CountChanged {
        /// The class.
        label: Arc<str>,
        /// The class's index.
        class_id: u32,
        /// How many there were.
        from: u64,
        /// How many there are.
        to: u64,
    },
    /// There has been no analysis for a while.
    AnalysisLost {
        /// Why.
        reason: AbsentReason,
    },
    /// The analysis is back.
    AnalysisBack {
        /// How long it was away, nanoseconds of stream time.
        away_ns: u64,
    },
}

/// An identity that was told of.
#[derive(Debug)]
struct Seen {
    label: Arc<str>,
    class_id: u32,
    first_ns: u64,
    last_ns: u64,
}

/// How many there are of a class.
#[derive(Debug)]
struct Count {
    label: Arc<str>,
    told: u64,
    /// Another count, and on how many frames in a row.
    other: (u64, u32),
}

/// Follows one stream.
#[derive(Debug, Default)]
pub(super) struct Happenings {
    seen: BTreeMap<u64, Seen>,
    counts: BTreeMap<u32, Count>,
    /// When the analysis stopped, and whether that was told.
    outage: Option<(u64, bool)>,
}

impl Happenings {
    /// What happened up to this frame of time `now`.
    pub fn next(&mut self, result: &FrameResult, now: u64, keep: &dyn Fn(&Object) -> bool) -> Vec<Happening> {
        let mut happened = Vec::new();
        match result.freshness {
            // Nothing is known of the objects, so none has gone.
            Freshness::Absent(reason) => happened.extend(self.absent(reason, now)),
            Freshness::Held { .. } | Freshness::Fresh => {
                if let Some((since, true)) = self.outage.take() {
                    happened.push(Happening::AnalysisBack { away_ns: now.saturating_sub(since) });
                }
                if self.seen.is_empty() && result.objects.iter().all(|object| object.track.is_none()) {
                    if result.freshness == Freshness::Fresh {
                        self.count(result, keep, &mut happened);
                    }
                } else {
                    self.follow(result, now, keep, &mut happened);
                }
            }
        }
        happened
    }

    /// Frames are not looked at for a while. What was told of stays known; what only began to show counts from its beginning again.
    pub fn pause(&mut self) {
        self.outage = self.outage.filter(|(_, told)| *told);
        self.counts.values_mut().for_each(|count| count.other = (count.told, 0));
    }

    fn absent(&mut self, reason: AbsentReason, now: u64) -> Option<Happening> {
        let planned = matches!(reason, AbsentReason::Skipped | AbsentReason::Starting | AbsentReason::Maintenance);
        if planned {
            return None;
        }
        let (since, told) = self.outage.get_or_insert((now, false));
        // A time before that is another stream's.
        *since = now.min(*since);
        let lost = !*told && now - *since >= OUTAGE_NS;
        *told |= lost;
        lost.then_some(Happening::AnalysisLost { reason })
    }

    fn follow(
        &mut self,
        result: &FrameResult,
        now: u64,
        keep: &dyn Fn(&Object) -> bool,
        happened: &mut Vec<Happening>,
    ) {
        self.counts.clear();
        for (index, object) in result.objects.iter().enumerate() {
            let Some(track) = object.track else { continue };
            if let Some(seen) = self.seen.get_mut(&track.id) {
                seen.last_ns = now;
            } else if track.state == TrackState::Confirmed && keep(object) {
                let first_ns = now.saturating_sub(track.age_ns);
                let (label, class_id) = (object.label.clone(), object.class_id);
                self.seen.insert(track.id, Seen { label, class_id, first_ns, last_ns: now });
                happened.push(Happening::Appeared { index });
            }
        }
        let there = |id: &u64| result.objects.iter().any(|o| o.track.is_some_and(|track| track.id == *id));
        self.seen.retain(|id, seen| {
            let stays = there(id);
            if !stays {
                let (label, class_id) = (seen.label.clone(), seen.class_id);
                let stay_ns = seen.last_ns.saturating_sub(seen.first_ns);
                happened.push(Happening::Left { track: *id, label, class_id, stay_ns });
            }
            stays
        });
    }

    fn count(&mut self, result: &FrameResult, keep: &dyn Fn(&Object) -> bool, happened: &mut Vec<Happening>) {
        let mut now: BTreeMap<u32, (Arc<str>, u64)> = BTreeMap::new();
        for object in result.objects.iter().filter(|object| keep(object)) {
            now.entry(object.class_id).or_insert_with(|| (object.label.clone(), 0)).1 += 1;
        }
        for (class, (label, _)) in &now {
            let fresh = || Count { label: label.clone(), told: 0, other: (0, 0) };
            self.counts.entry(*class).or_insert_with(fresh);
        }
        for (class_id, count) in &mut self.counts {
            let to = now.get(class_id).map_or(0, |(_, number)| *number);
            count.other = match count.other {
                _ if to == count.told => (to, 0),
                (other, frames) if other == to => (to, frames.saturating_add(1)),
                _ => (to, 1),
            };
            if count.other.1 >= STEADY_FRAMES {
                let from = std::mem::replace(&mut count.told, to);
                let label = count.label.clone();
                happened.push(Happening::CountChanged { label, class_id: *class_id, from, to });
                count.other = (to, 0);
            }
        }
    }
}
