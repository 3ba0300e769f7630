//! What is exported of the frames that pass: every frame, those on which something changed, what happened; and which objects of them.
//!
//! Time is the stream's: a file that is read faster than it was filmed is thinned out as the camera was.

mod happenings;

use std::sync::Arc;
use std::time::Duration;

pub use happenings::Happening;
use happenings::Happenings;

use super::record::Content;
use crate::result::{FrameResult, Freshness, Object, TrackState};

/// What is exported.
#[derive(Debug, Clone, PartialEq)]
pub struct Selection {
    /// A record for every frame.
    pub frames: bool,
    /// A record for each frame on which something changed: objects came or went, the analysis or the model changed.
    pub changes: bool,
    /// A record for each thing that happened.
    pub events: bool,
    /// Only objects of at least this confidence, 0..1.
    pub min_confidence: f64,
    /// Only objects of these classes, by label; all of them if it is empty.
    pub classes: Vec<String>,
    /// At most so many records of frames a second; 0 is without a limit.
    pub max_rate: f64,
    /// With [`changes`](Self::changes) or [`events`](Self::events): a record of a frame this long after the last one, changed or not.
    pub keyframe_interval: Option<Duration>,
    /// Silhouettes go into records.
    pub masks: bool,
    /// Embeddings go into records.
    pub embeddings: bool,
}

impl Default for Selection {
    /// Every frame with all of its objects, without masks and embeddings.
    fn default() -> Self {
        Self {
            frames: true,
            changes: false,
            events: false,
            min_confidence: 0.0,
            classes: Vec::new(),
            max_rate: 0.0,
            keyframe_interval: None,
            masks: false,
            embeddings: false,
        }
    }
}

impl Selection {
    /// Whether an object is exported.
    pub fn keeps(&self, object: &Object) -> bool {
        let listed = || self.classes.is_empty() || self.classes.iter().any(|class| **class == *object.label);
        f64::from(object.confidence) >= self.min_confidence && listed()
    }

    /// What goes into records; `keep` is [`keeps`](Self::keeps) of this selection.
    pub fn content<'a>(&self, keep: &'a dyn Fn(&Object) -> bool) -> Content<'a> {
        Content { keep, masks: self.masks, embeddings: self.embeddings }
    }
}

/// What is to be exported of one frame.
#[derive(Debug, Default, PartialEq)]
pub struct Picked {
    /// A record of the frame.
    pub frame: bool,
    /// What happened, in its order; to be sent before the frame.
    pub happenings: Vec<Happening>,
}

/// What a frame says, as far as a change of it is worth a record.
#[derive(Debug, Clone, PartialEq, Default)]
struct Sight {
    state: &'static str,
    reason: Option<&'static str>,
    model: Option<String>,
    /// Class and identity of each object that is kept, sorted; without an identity, 0.
    objects: Vec<(u32, u64)>,
    /// The frame's most probable class.
    class: Option<u32>,
}

/// Picks from the frames of one stream.
#[derive(Debug)]
pub struct Selector {
    selection: Arc<Selection>,
    happenings: Happenings,
    sight: Option<Sight>,
    /// Something changed since the last record of a frame.
    changed: bool,
    last_ns: Option<u64>,
}

impl Selector {
    /// Picks by `selection`.
    pub fn new(selection: Selection) -> Self {
        let selection = Arc::new(selection);
        Self { selection, happenings: Happenings::default(), sight: None, changed: false, last_ns: None }
    }

    /// What it picks by.
    pub fn selection(&self) -> &Arc<Selection> {
        &self.selection
    }

    /// Picks by `selection` from the next frame on. What was told of is still known: an object that is there is not told of again, and
    /// one that leaves is.
    pub fn set_selection(&mut self, selection: Selection) {
        if self.selection.events && !selection.events {
            self.happenings.pause();
        }
        // Who has had every frame, or none, knows another one than the last that was looked at for changes.
        if selection.frames || !selection.changes {
            self.sight = None;
        }
        self.selection = Arc::new(selection);
    }

    /// What is to be exported of the next frame.
    pub fn pick(&mut self, result: &FrameResult) -> Picked {
        let now = time_ns(result);
        let happenings = if self.selection.events {
            self.happenings.next(result, now, &|object| self.selection.keeps(object))
        } else {
            Vec::new()
        };
        Picked { frame: self.wants_frame(result, now), happenings }
    }

    fn wants_frame(&mut self, result: &FrameResult, now: u64) -> bool {
        if self.selection.changes && !self.selection.frames {
            let sight = self.sight(result);
            self.changed |= self.sight.as_ref() != Some(&sight);
            self.sight = Some(sight);
        }
        // A time before the last one is another stream's: a file that begins anew.
        let passed = self.last_ns.and_then(|last| now.checked_sub(last));
        let keyframe = self
            .selection
            .keyframe_interval
            .is_some_and(|interval| passed.is_none_or(|passed| u128::from(passed) >= interval.as_nanos()));
        let early = self.selection.max_rate > 0.0
            && passed.is_some_and(|passed| (passed as f64) < (1.0 - TOLERANCE) * 1e9 / self.selection.max_rate);
        let wanted = (self.selection.frames || self.changed || keyframe) && !early;
        if wanted {
            self.changed = false;
            self.last_ns = Some(now);
        }
        wanted
    }

    fn sight(&self, result: &FrameResult) -> Sight {
        let reason = match result.freshness {
            Freshness::Absent(reason) if reason.is_outage() => Some(reason.as_str()),
            _ => None,
        };
        // Frames that were skipped as planned say what the one before them said.
        if let (Freshness::Absent(reason), Some(last)) = (result.freshness, &self.sight)
            && !reason.is_outage()
        {
            return last.clone();
        }
        let known = |object: &&Object| object.track.is_none_or(|track| track.state != TrackState::Tentative);
        let mut objects: Vec<(u32, u64)> = result
            .objects
            .iter()
            .filter(|object| self.selection.keeps(object))
            .filter(known)
            .map(|object| (object.class_id, object.track.map_or(0, |track| track.id)))
            .collect();
        objects.sort_unstable();
        Sight {
            state: if reason.is_some() { "absent" } else { "analysed" },
            reason,
            model: result.model.as_ref().map(|model| model.digest.clone()),
            objects,
            class: result.classes.first().map(|class| class.class_id),
        }
    }
}

/// Frames come a little before their time where a camera's clock is not even.
const TOLERANCE: f64 = 0.05;

/// The frame's time in its stream, nanoseconds; the wall clock's where it has none.
fn time_ns(result: &FrameResult) -> u64 {
    result.running_time_ns.or(result.pts_ns).unwrap_or(result.utc_ns)
}

#[cfg(test)]
#[path = "select_tests.rs"]
mod tests;
