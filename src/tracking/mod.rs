//! Gives objects identities that last across frames.
//!
//! [`Tracker`] is multi-object tracking by detection: each identity has a constant-velocity Kalman filter
//! (`kalman`); the detections of a frame are matched with the predictions by overlap, confident ones first
//! (`association`), with an optimal assignment over the pairs that overlap (`assignment`). The camera's own motion is
//! taken out first (`camera`). If asked for, appearance has a say too, and finds lost identities again.
//!
//! Class is what the label says: numbers of classes mean something else once the model is replaced, and identities go on
//! then (`models` says what they forget).
//!
//! Everything is in time, not in frames: frames may come at any rate, be skipped, or be missing.
//!
//! Sources: Bewley et al., *Simple Online and Realtime Tracking*, ICIP 2016 (motion and overlap); Zhang et al.,
//! *ByteTrack*, ECCV 2022 (two stages by confidence); Yang et al., *Hard to Track Objects with Irregular Motions and
//! Similar Appearances?*, WACV 2023 (boxes that grow before they are compared); Aharon et al., *BoT-SORT*, 2022 (appearance
//! as a moving mean, camera motion before association; here from the boxes, as no pixels are at hand).

mod assignment;
mod association;
mod camera;
mod kalman;
mod models;
#[cfg(test)]
mod tests;
mod track;
mod tracker;

pub use tracker::{Counts, Tracker, TrackerConfig};
