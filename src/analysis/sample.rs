//! A companion's sample of the frames, on its way to be compared.

use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use super::job::Job;
use crate::cascade::{Findings, Pick};
use crate::frame::{FrameView, View};
use crate::model::Model;
use crate::result::FrameResult;
use crate::swap::agreement::SharedClasses;

/// What a model said about a frame.
pub(super) enum Answer {
    /// About the whole of it.
    Frame(FrameResult),
    /// About its objects.
    Objects(Vec<(Pick, Findings)>),
}

/// What the companion is given beside the frame.
pub(super) struct Look<'a> {
    pub(super) frame: &'a FrameView<'a>,
    pub(super) view: &'a View,
    /// The objects that the active model looks at, and the result that has them.
    pub(super) objects: Option<(&'a [Pick], &'a FrameResult)>,
}

pub(super) enum Stage {
    /// Being pre-processed, or waits for a lane, or on one.
    Pending,
    Answered(Answer),
}

pub(super) struct Sample {
    pub(super) number: u64,
    pub(super) stage: Stage,
    /// The active model's answer, and the labels that both have. Not the model: a sample does not keep it loaded.
    pub(super) other: Option<(Arc<SharedClasses>, Answer)>,
    /// There will be none.
    pub(super) alone: bool,
}

/// Work for a lane.
pub(super) struct Work {
    pub(super) number: u64,
    pub(super) job: Box<Job>,
    pub(super) result: FrameResult,
}

#[derive(Default)]
pub(super) struct State {
    /// No more samples: the companion was sent away, or one of its runs hangs.
    pub(super) ended: bool,
    /// Frames that pass before the first sample.
    pub(super) passing: u32,
    pub(super) taken: u64,
    /// The only job, unless it is in use.
    pub(super) free: Option<Box<Job>>,
    pub(super) queued: Option<Work>,
    /// The number of the sample on a lane.
    pub(super) running: Option<u64>,
    pub(super) sample: Option<Sample>,
    /// When the last sample was taken, and what its pre-processing took.
    pub(super) begun: Option<(Instant, Duration)>,
    /// For the active model that was last compared with.
    pub(super) shared: Option<(Weak<Model>, Arc<SharedClasses>)>,
}

impl State {
    pub(super) fn is_wanted(&self, number: u64) -> bool {
        !self.ended && self.sample.as_ref().is_some_and(|sample| sample.number == number)
    }

    /// Keeps the job for the next sample; returned once there will be none, to be dropped without the lock.
    pub(super) fn keep(&mut self, job: Box<Job>) -> Option<Box<Job>> {
        if self.ended {
            return Some(job);
        }
        self.free = Some(job);
        None
    }
}
