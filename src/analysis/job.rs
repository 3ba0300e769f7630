//! The buffers of one frame's runs, and their steps.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Settings, Stats, nanos};
use crate::cascade::{Findings, Pick};
use crate::engine::lanes::{Lane, Turn};
use crate::engine::{EngineError, Io};
use crate::frame::{FrameInfo, FrameView, View};
use crate::model::Model;
use crate::post::{Scratch, Thresholds};
use crate::pre::geometry::Geometry;
use crate::pre::{Border, PreError, Preprocessor};
use crate::result::{AbsentReason, BBox, FrameResult};

/// Everything that one frame needs on its way through the model; used again for later frames.
pub(super) struct Job {
    model: Arc<Model>,
    pre: Preprocessor,
    /// Grows to the most runs that a frame has needed.
    runs: Vec<Run>,
    /// The pictures of this frame: the whole of it, or its objects, spread over the runs in order.
    pictures: Vec<Picture>,
    own_thresholds: Thresholds,
    thresholds: Thresholds,
    /// Longest that one run may take.
    limit: Option<Duration>,
    /// The frame's place among those that wait for a lane, where it had to ask for one.
    turn: Option<Turn>,
    scratch: Scratch,
    name: Arc<str>,
    /// What the model says about one object.
    part: FrameResult,
}

/// What frames are like.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Seen {
    pub(super) info: FrameInfo,
    pub(super) view: View,
    /// Most objects of a frame that the model looked at; `None`: it looks at whole frames.
    pub(super) picks: Option<usize>,
}

/// A frame with nothing on it.
struct Blank {
    info: FrameInfo,
    planes: Vec<(Vec<u8>, usize)>,
}

impl Blank {
    /// As large as frames of `info`; `None` where that is no size.
    fn new(info: FrameInfo) -> Option<Self> {
        let plane = |i| {
            let stride = info.format.row_bytes(i, info.width);
            let len = stride.checked_mul(info.format.rows(i, info.height))?;
            Some((vec![0; len], stride))
        };
        let planes = (0..info.format.planes()).map(plane).collect::<Option<_>>()?;
        Some(Self { info, planes })
    }

    fn view(&self) -> Option<FrameView<'_>> {
        let planes: Vec<_> = self.planes.iter().map(|(bytes, stride)| (bytes.as_slice(), *stride)).collect();
        FrameView::new(self.info, &planes).ok()
    }
}

/// What a model's runs for one frame were like.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Ran {
    /// Running the model, nanoseconds.
    pub(super) run_ns: u64,
    /// Numbers that were dropped since they are not finite.
    pub(super) non_finite: u64,
    /// Objects and classes that were found.
    pub(super) found: u64,
}

/// The tensors of one run.
struct Run {
    io: Io,
    /// One for each picture of the batch.
    borders: Vec<Border>,
}

struct Picture {
    /// `None` for the whole frame.
    pick: Option<Pick>,
    geometry: Geometry,
}

impl Job {
    pub(super) fn new(model: &Arc<Model>) -> Self {
        let thresholds = model.post().thresholds();
        Self {
            pre: Preprocessor::new(model.input().clone()),
            runs: Vec::new(),
            pictures: Vec::new(),
            own_thresholds: thresholds.clone(),
            thresholds,
            limit: None,
            turn: None,
            scratch: Scratch::default(),
            name: model.id().name.as_str().into(),
            part: FrameResult::absent(AbsentReason::NoModel, (0, 0)),
            model: Arc::clone(model),
        }
    }

    pub(super) fn model(&self) -> &Arc<Model> {
        &self.model
    }

    /// Whether the model looks at the whole frame.
    pub(super) fn is_whole(&self) -> bool {
        self.pictures.iter().all(|picture| picture.pick.is_none())
    }

    /// Takes the place that its frame was given, until a lane has it; `None` gives it back.
    pub(super) fn set_turn(&mut self, turn: Option<Turn>) {
        self.turn = turn;
    }

    /// A lane has it.
    pub(super) fn begin(&mut self) {
        if let Some(turn) = self.turn.take() {
            turn.taken();
        }
    }

    #[cfg(test)]
    pub(super) fn is_warm(&self) -> bool {
        self.runs.len() == 1 && self.pictures.len() == 1
    }

    /// Does once what the first frame like `seen` would have to do, so that it has no more to do than any other: makes
    /// the tensors and the tables, and touches the memory of both.
    pub(super) fn warm(&mut self, seen: &Seen, settings: &Settings) {
        let Some(blank) = Blank::new(seen.info) else { return };
        let pick = Pick { object: 0, region: BBox::WHOLE };
        let picks = seen.picks.map(|most| vec![pick; most]);
        if let Some(frame) = blank.view() {
            // A frame that cannot be read will say so itself.
            let _ = self.fill(&frame, &seen.view, picks.as_deref(), settings);
        }
    }

    /// Brings the frame, or the parts of it that `picks` names, into the input tensors.
    pub(super) fn fill(
        &mut self,
        frame: &FrameView<'_>,
        view: &View,
        picks: Option<&[Pick]>,
        settings: &Settings,
    ) -> Result<(), PreError> {
        self.thresholds.clone_from(&self.own_thresholds);
        if let Some(confidence) = settings.confidence {
            self.thresholds.set_confidence(confidence);
        }
        if let Some(iou) = settings.iou {
            self.thresholds.iou = iou;
        }
        if let Some(max) = settings.max_objects {
            self.thresholds.max_objects = max;
        }
        self.limit = settings.run_limit;
        self.pictures.clear();
        let count = picks.map_or(1, <[Pick]>::len);
        let batch = self.model.batch();
        for (number, start) in (0..count).step_by(batch).enumerate() {
            let wanted = batch.min(count - start);
            if self.runs.len() <= number {
                self.runs.push(Run { io: self.model.io(), borders: Vec::new() });
            }
            let Some(run) = self.runs.get_mut(number) else { break };
            self.model.resize_io(&mut run.io, wanted);
            run.borders.resize(run.borders.len().max(wanted), Border::default());
            let Some(input) = run.io.inputs.get_mut(self.model.post().image_input()) else { break };
            for (item, border) in run.borders.iter_mut().take(wanted).enumerate() {
                let pick = picks.and_then(|picks| picks.get(start + item)).copied();
                let region = pick.map(|p| p.region);
                let geometry = self.pre.run_item(frame, view, region, (&mut *input, item), border)?;
                self.pictures.push(Picture { pick, geometry });
            }
        }
        Ok(())
    }

    /// Runs the model on a lane, for the frame of that number, and reads its answer: about the whole frame into `result`,
    /// about objects into `found`.
    pub(super) fn run(
        &mut self,
        (lane, number): (&Lane<'_>, u64),
        stats: &Stats,
        result: &mut FrameResult,
        found: &mut Vec<(Pick, Findings)>,
    ) -> Result<Ran, EngineError> {
        let mut ran = Ran::default();
        let (batch, image) = (self.model.batch(), self.model.post().image_input());
        let task = self.model.bundle().task;
        for (run, pictures) in self.runs.iter_mut().zip(self.pictures.chunks(batch)) {
            let start = Instant::now();
            lane.run(&mut run.io, number, self.limit)?;
            let run_ns = nanos(start);
            ran.run_ns += run_ns;
            stats.run.record(run_ns);
            let start = Instant::now();
            let places = match run.io.inputs.get(image).map(|t| t.shape.as_slice()) {
                Some([batch, _, _, _]) => *batch,
                _ => 1,
            };
            for (item, picture) in pictures.iter().enumerate() {
                let target = if picture.pick.is_some() { &mut self.part } else { &mut *result };
                let (outputs, place, post) = (&run.io.outputs, (item, places), self.model.post());
                let dropped = post
                    .run_item(outputs, place, &self.thresholds, &picture.geometry, &mut self.scratch, target)
                    .map_err(|e| EngineError::Run(e.to_string()))?;
                stats.guard(&dropped);
                ran.non_finite += dropped.non_finite;
                ran.found += (target.objects.len() + target.classes.len()) as u64;
                let object = picture.pick.and_then(|p| Some((p, result.objects.get(p.object)?.bbox)));
                if let Some((pick, bbox)) = object {
                    found.push((pick, Findings::take(task, &self.name, bbox, &mut self.part)));
                }
            }
            stats.post.record(nanos(start));
        }
        stats.looked_at(self.pictures.iter().filter(|p| p.pick.is_some()).count());
        Ok(ran)
    }
}
