//! The proof that a model still finds on this machine what its bundle promises: the bundle's reference pictures through
//! the same pre-processing, engine and decoder as video frames.

use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Mutex, MutexGuard, TryLockError};
use std::time::{Duration, Instant};

use self::expected::Expected;
use super::look::{Look, LookError, Looked, RUN_LIMIT};
use crate::bundle::contract::{Labels, Task};
use crate::bundle::{Bundle, Reference};
use crate::cancel::{Cancel, LOOK};
use crate::engine::{Engine, EngineError};
use crate::model::Model;
use crate::parity::{Answer, Comparison, Difference, Found, Kind, Needed, Picture, Tolerances, compare_needed};
use crate::post::Thresholds;

pub mod expected;

/// Runs that the median is taken of, at least: fewer pictures are looked at more than once.
const LEAST_RUNS: usize = 5;
/// The run that is under way when the proof is cancelled may go on for this long.
const GRACE: Duration = Duration::from_secs(1);
/// Longer than any run.
const FOREVER: Duration = Duration::from_secs(1 << 30);
/// A run that is hung may be told so sooner where the bundle says how long a run may take: after this many times that, and
/// not before this time.
const HUNG: (u32, Duration) = (10, Duration::from_secs(5));
/// Differences that a text lists.
const LISTED: usize = 5;
/// A keypoint may lie this many pixels away, whatever the size of its object.
const KEYPOINT: f32 = 1.0;

/// What was proven.
#[derive(Debug, Clone, PartialEq)]
pub struct Proof {
    /// Reference pictures.
    pub pictures: usize,
    /// Expected objects that were found, on all pictures.
    pub objects: usize,
    /// Lowest overlap (IoU) of a found box with the expected one; 1 where there are no boxes.
    pub least_iou: f32,
    /// Largest difference of a confidence, or of a class's probability.
    pub most_score: f32,
    /// Median of the runs.
    pub run: Duration,
    /// Differences that do not count, since rounding at the threshold of NMS decided, each in words.
    pub tolerated: Vec<String>,
}

/// Why a model may not go live.
#[derive(Debug, thiserror::Error)]
pub enum ProofFailure {
    /// Nobody waits for the outcome any more.
    #[error("the proof was cancelled")]
    Cancelled,
    /// The reference set cannot be read.
    #[error("the reference set cannot be used: {0}")]
    Reference(String),
    /// What was found is not what was expected.
    #[error("the reference set no longer matches: {0}")]
    Mismatch(String),
    /// The runs take too long here.
    #[error(
        "a run takes {median:.1?} on this machine (median), the bundle allows {limit:?} (reference.max-latency-ms)"
    )]
    Latency {
        /// Median of the runs.
        median: Duration,
        /// What the bundle allows.
        limit: Duration,
    },
    /// The model answers with what is no number.
    #[error("{picture}: {count} values of the model's answer are not finite numbers")]
    NonFinite {
        /// The first picture on which it does.
        picture: String,
        /// How many objects, keypoints or scores it concerns.
        count: u64,
    },
    /// A run failed.
    #[error(transparent)]
    Engine(#[from] EngineError),
}

impl ProofFailure {
    /// One word for machines: `cancelled`, `reference`, `mismatch`, `latency`, `non-finite` or `engine`.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Cancelled => "cancelled",
            Self::Reference(_) => "reference",
            Self::Mismatch(_) => "mismatch",
            Self::Latency { .. } => "latency",
            Self::NonFinite { .. } => "non-finite",
            Self::Engine(_) => "engine",
        }
    }
}

/// Runs the bundle's reference pictures through pre-processing, engine and decoder, and compares what is found with what
/// is expected; `None` if the bundle has no reference set. `cancel` is looked at between runs, and ends one that hangs.
/// Of several callers one proves after the other, since runs are measured.
///
/// Every expected object must be found with its class, within the tolerances of `[reference]`; of what else is found,
/// nothing may lie further over its threshold than the tolerance. The engine is best one in a process of its own, which a
/// model that hangs or crashes ends.
///
/// # Errors
/// [`ProofFailure`], with a text that says which picture and what on it.
pub fn prove(model: &Model, cancel: &Cancel) -> Result<Option<Proof>, ProofFailure> {
    let bundle = model.bundle();
    let Some(reference) = &bundle.reference else { return Ok(None) };
    let expected = expected::read(bundle, &reference.expected).map_err(ProofFailure::Reference)?;
    let judge = Judge::new(model, reference, &expected)?;
    // Those who prove at the same time would measure each other. The watch is not needed until it is our turn.
    let turn = take_turn(cancel)?;
    let outcome = watched(model.lanes().engine(), cancel, || look_at_all(model, &judge, &expected, cancel));
    drop(turn);
    match outcome {
        Err(_) if cancel.is_cancelled() => Err(ProofFailure::Cancelled),
        outcome => outcome.map(Some),
    }
}

/// One proof of this process at a time.
static TURN: Mutex<()> = Mutex::new(());

/// Waits until nobody else proves a model.
fn take_turn(cancel: &Cancel) -> Result<MutexGuard<'static, ()>, ProofFailure> {
    loop {
        if cancel.is_cancelled() {
            return Err(ProofFailure::Cancelled);
        }
        match TURN.try_lock() {
            Ok(turn) => return Ok(turn),
            Err(TryLockError::Poisoned(turn)) => return Ok(turn.into_inner()),
            Err(TryLockError::WouldBlock) => {
                cancel.wait(LOOK);
            }
        }
    }
}

/// Does the work; once it is cancelled, the run that is under way has a little time left.
fn watched<T>(engine: &dyn Engine, cancel: &Cancel, work: impl FnOnce() -> T) -> T {
    let (done, is_done) = channel::<()>();
    std::thread::scope(|scope| {
        let watch = move || watch(engine, cancel, &is_done);
        // Without the thread the run's own limit remains.
        let _ = std::thread::Builder::new().name("vigil-proof".into()).spawn_scoped(scope, watch);
        let outcome = work();
        drop(done);
        outcome
    })
}

fn watch(engine: &dyn Engine, cancel: &Cancel, is_done: &Receiver<()>) {
    let goes_on = |time| is_done.recv_timeout(time) == Err(RecvTimeoutError::Timeout);
    while !cancel.is_cancelled() {
        if !goes_on(LOOK) {
            return;
        }
    }
    while goes_on(GRACE) {
        // Whatever its limit is.
        engine.cut(Instant::now() + FOREVER);
    }
}

/// The longest run that the proof waits for.
fn longest(limit: Option<Duration>) -> Duration {
    limit.map_or(RUN_LIMIT, |limit| (limit * HUNG.0).clamp(HUNG.1, RUN_LIMIT.max(limit * 2)))
}

fn look_at_all(model: &Model, judge: &Judge, expected: &Expected, cancel: &Cancel) -> Result<Proof, ProofFailure> {
    let limit = model.bundle().reference.as_ref().and_then(|r| r.max_latency_ms).map(Duration::from_millis);
    let mut look = Look::new(model, judge.asked.clone());
    let (mut sum, mut runs, mut differing) = (Sum::default(), Vec::new(), Vec::new());
    let repeats = LEAST_RUNS.div_ceil(expected.len().max(1));
    for (name, expected) in expected {
        let picture = read_picture(model.bundle(), name)?;
        // The first run of all warms up and is not measured.
        let warm_up = usize::from(runs.is_empty());
        for run in 0..repeats + warm_up {
            if cancel.is_cancelled() {
                return Err(ProofFailure::Cancelled);
            }
            let looked = look.at(&picture, longest(limit)).map_err(|e| failed(name, e))?;
            if looked.dropped.non_finite > 0 {
                return Err(ProofFailure::NonFinite { picture: name.clone(), count: looked.dropped.non_finite });
            }
            if run >= warm_up {
                runs.push(looked.run);
            }
            if run == 0 {
                judge.picture(name, &looked, expected, &mut sum, &mut differing);
            }
        }
    }
    if !differing.is_empty() {
        return Err(ProofFailure::Mismatch(listed(&differing)));
    }
    let median = median(&mut runs);
    match limit {
        Some(limit) if median > limit => Err(ProofFailure::Latency { median, limit }),
        _ => Ok(Proof { pictures: expected.len(), run: median, ..sum.proof() }),
    }
}

fn failed(picture: &str, error: LookError) -> ProofFailure {
    match error {
        LookError::Picture(why) => ProofFailure::Reference(format!("{picture}: {why}")),
        LookError::Engine(error) => ProofFailure::Engine(error),
    }
}

fn read_picture(bundle: &Bundle, name: &str) -> Result<Picture, ProofFailure> {
    let bytes = bundle.read(name).map_err(|e| ProofFailure::Reference(e.to_string()))?;
    let shown = bundle.origin.join(name);
    Picture::from_png(&bytes).map_err(|why| ProofFailure::Reference(format!("{}: {why}", shown.display())))
}

/// The middle one; of an even number the later of the two.
fn median(runs: &mut [Duration]) -> Duration {
    runs.sort_unstable();
    runs.get(runs.len() / 2).copied().unwrap_or_default()
}

fn listed(differing: &[String]) -> String {
    let shown = differing.iter().take(LISTED).cloned().collect::<Vec<_>>().join("; ");
    match differing.len().saturating_sub(LISTED) {
        0 => shown,
        more => format!("{shown}; and {more} more differences"),
    }
}

/// What all pictures say.
#[derive(Default)]
struct Sum {
    objects: usize,
    least_iou: Option<f32>,
    most_score: f32,
    tolerated: Vec<String>,
}

impl Sum {
    fn proof(self) -> Proof {
        Proof {
            pictures: 0,
            objects: self.objects,
            least_iou: self.least_iou.unwrap_or(1.0),
            most_score: self.most_score,
            run: Duration::ZERO,
            tolerated: self.tolerated,
        }
    }

    fn add(&mut self, comparison: &Comparison) {
        self.objects += comparison.pairs.len();
        for pair in &comparison.pairs {
            self.least_iou = Some(self.least_iou.unwrap_or(1.0).min(pair.iou));
            self.most_score = self.most_score.max(pair.score);
        }
        self.most_score = self.most_score.max(comparison.probability.unwrap_or(0.0));
    }
}

/// What counts as found.
struct Judge<'a> {
    labels: &'a Labels,
    tolerances: Tolerances,
    /// The bundle's thresholds.
    own: Thresholds,
    /// Those that the model is asked with: lower by the tolerance, so that an object that lost a little is still seen and
    /// measured.
    asked: Thresholds,
}

impl<'a> Judge<'a> {
    fn new(model: &'a Model, reference: &Reference, expected: &Expected) -> Result<Self, ProofFailure> {
        let bundle = model.bundle();
        let own = model.post().thresholds();
        let tolerances = Tolerances {
            confidence: own.lowest(),
            min_iou: reference.min_iou,
            score: reference.score_tolerance,
            keypoint: KEYPOINT,
            // A box shifted by this part of its side overlaps by min-iou.
            keypoint_part: (1.0 - reference.min_iou) / 2.0,
            min_mask_iou: 0.0,
            min_cosine: 1.0 - reference.score_tolerance,
            nms_iou: own.iou,
            max_objects: own.max_objects,
        };
        let asked = asked(&own, bundle.task, tolerances.score);
        let judge = Self { labels: &bundle.labels, tolerances, own, asked };
        for (name, answer) in expected {
            judge.can_be_found(answer).map_err(|why| ProofFailure::Reference(format!("{name}: {why}")))?;
        }
        Ok(judge)
    }

    /// Expected objects under the bundle's thresholds would prove nothing.
    fn can_be_found(&self, expected: &Answer) -> Result<(), String> {
        let under = |o: &&Found| o.score < self.own.of(o.class) - self.tolerances.score;
        let Some(object) = expected.objects.iter().find(under) else { return Ok(()) };
        let (text, threshold) = (self.words(object), self.own.of(object.class));
        Err(format!("{text} is expected, but the bundle's threshold is {threshold}; make the set anew"))
    }

    /// Compares a picture; what counts goes into `differing`, in words.
    fn picture(&self, name: &str, looked: &Looked, expected: &Answer, sum: &mut Sum, differing: &mut Vec<String>) {
        let mut found = Answer::of_result(&looked.result);
        // The set has no masks.
        found.objects.iter_mut().for_each(|o| o.mask = None);
        let well_over = |o: &Found| o.score > self.own.of(o.class) + self.tolerances.score;
        let needed = Needed { ours: &well_over, theirs: &|_| true };
        let comparison = compare_needed(&found, expected, &self.tolerances, needed);
        sum.add(&comparison);
        for difference in &comparison.differences {
            let text = format!("{name}: {}", self.difference(difference, &found, expected));
            if difference.tie { sum.tolerated.push(text) } else { differing.push(text) }
        }
    }

    fn label(&self, class: u32) -> &str {
        self.labels.get(class as usize).map_or("?", |label| label)
    }

    fn words(&self, object: &Found) -> String {
        let [x1, y1, x2, y2] = object.bbox;
        format!("{} {:.3} at {x1:.0},{y1:.0}–{x2:.0},{y2:.0}", self.label(object.class), object.score)
    }

    fn difference(&self, d: &Difference, found: &Answer, expected: &Answer) -> String {
        let t = &self.tolerances;
        let object = |place: Option<usize>, of: &Answer| {
            place.and_then(|i| of.objects.get(i)).map_or_else(|| "nothing".into(), |o| self.words(o))
        };
        let (here, there) = (object(d.ours, found), object(d.theirs, expected));
        let first =
            |of: &Answer| of.top().map_or_else(|| "nothing".into(), |(c, p)| format!("{} {p:.3}", self.label(c)));
        match d.kind {
            Kind::Missing => format!("{there} was not found"),
            Kind::Extra => format!("{here} was found, but nothing is expected there"),
            Kind::Class => format!("{there} is expected, {here} was found"),
            Kind::Box => format!("{there} was found elsewhere ({here}): IoU {:.3}, min-iou is {}", d.value, t.min_iou),
            Kind::Score => {
                format!("{there} was found as {here}: {:.3} apart, score-tolerance is {}", d.value, t.score)
            }
            Kind::Keypoint => format!("{there}: a keypoint lies {:.1} pixels away", d.value),
            Kind::Mask => format!("{there}: the masks differ"),
            Kind::TopClass => format!("{} is expected as the first class, it is {}", first(expected), first(found)),
            Kind::Probability => {
                format!("a class's probability is {:.3} apart, score-tolerance is {}", d.value, t.score)
            }
            Kind::Embedding => {
                format!("the embedding points elsewhere: cosine {:.3}, {:.3} is needed", d.value, t.min_cosine)
            }
        }
    }
}

/// The thresholds lowered by `tolerance`; of a classifier all classes count, however unlikely.
fn asked(own: &Thresholds, task: Task, tolerance: f32) -> Thresholds {
    let mut asked = own.clone();
    if task == Task::Classify {
        asked.set_confidence(0.0);
    } else {
        let lower = |confidence: &mut f32| *confidence = (*confidence - tolerance).max(0.0);
        lower(&mut asked.confidence);
        asked.per_class.iter_mut().for_each(lower);
    }
    asked
}

/// The thresholds that a reference set is made with: the bundle's own; of a classifier all classes count, however
/// unlikely.
pub fn thresholds_to_expect(model: &Model) -> Thresholds {
    asked(&model.post().thresholds(), model.bundle().task, 0.0)
}

#[cfg(test)]
mod tests;
