//! The tracker: detections in, identities out.

use std::sync::Arc;

use super::association::{Association, Candidate, Likeness, Seeker, Stage};
use super::camera::Camera;
use super::kalman::Motion;
use super::models::Models;
use super::track::{Identity, View, dot, kind, seconds};
use crate::result::{BBox, ModelId, Object, TrackState};

/// What a [`Tracker`] does. Times are nanoseconds of running time, confidences and overlaps 0..1.
#[derive(Debug, Clone, PartialEq)]
pub struct TrackerConfig {
    /// Objects from this confidence on are matched first and may start an identity.
    pub high_confidence: f32,
    /// Objects from this confidence on, but below `high_confidence`, may continue an identity and never start one.
    /// Objects below it are left without identity.
    pub low_confidence: f32,
    /// Analysed frames, one after the other, on which an object must be seen before its identity counts as confirmed;
    /// more where its confidence is below 0.7 on average. 1 confirms at once. What the first frame shows is
    /// confirmed at once too, as there is nothing before it to go by.
    pub min_hits: u32,
    /// How long an identity is kept without being seen. Must be longer than the time between two analysed frames.
    pub max_lost_ns: u64,
    /// How long an identity that analysed frames do not show is still reported as predicted; 0 = not at all.
    pub coast_ns: u64,
    /// Whether an identity keeps its class: objects of another class never continue it.
    pub class_aware: bool,
    /// Whether objects without a confirmed identity are removed from the frame: weak ones that match nobody, and those
    /// seen too few times.
    pub confirmed_only: bool,
    /// Part that appearance has beside overlap in the decision which object continues an identity, 0..1; above 0, lost
    /// identities are also found again by appearance alone. Only objects with embeddings take part.
    pub appearance_weight: f32,
    /// Cosine of two embeddings from which they are held to be of one object: above, appearance speaks for a match,
    /// below against it.
    pub appearance_threshold: f32,
    /// How long attributes, keypoints and embedding of an object are put on later objects of its identity that come
    /// without; 0 = not at all.
    pub carry_ns: u64,
}

impl Default for TrackerConfig {
    fn default() -> Self {
        Self {
            high_confidence: 0.3,
            low_confidence: 0.1,
            min_hits: 2,
            max_lost_ns: 2_000_000_000,
            coast_ns: 0,
            class_aware: true,
            confirmed_only: false,
            appearance_weight: 0.0,
            appearance_threshold: 0.7,
            carry_ns: 2_000_000_000,
        }
    }
}

/// How many identities there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Identities held: tentative, seen and lost ones.
    pub live: usize,
    /// Confirmed ones among them.
    pub confirmed: usize,
    /// Confirmed ones that the last analysed frame did not show.
    pub lost: usize,
    /// Identities given out since the tracker was made.
    pub created: u64,
    /// Identities that were ever confirmed since the tracker was made: different objects seen.
    pub established: u64,
}

/// Overlap that an object must have with a track's prediction.
const MIN_OVERLAP: f32 = 0.25;
/// The same for an object of low confidence: stricter, because it may be background.
const MIN_OVERLAP_LOW: f32 = 0.4;
/// Boxes grow by the uncertainty of the prediction before they are compared, but by no more than this many sizes.
const MOST_BUFFER: f32 = 1.0;
/// How far a lost identity may be from its prediction: box sizes at once, and box sizes per second unseen. A person's
/// box has the size of a metre or so, and people who run back deviate by less from what was expected.
const RANGE: (f64, f64) = (1.0, 2.5);
/// Overlap from which a second box is held to be on the same object.
const SAME_IOU: f32 = 0.85;
/// Boxes with a coordinate beyond this many frames are no objects.
const FAR: f32 = 16.0;

/// Follows objects through a stream; see the [module](crate::tracking).
#[derive(Debug)]
pub struct Tracker {
    config: TrackerConfig,
    pub(super) tracks: Vec<Identity>,
    association: Association,
    seekers: Vec<Seeker>,
    newcomers: Vec<Candidate>,
    pub(super) camera: Camera,
    models: Models,
    /// Whether a frame was analysed since the start or the last reset.
    begun: bool,
    created: u64,
    established: u64,
    /// Time of the last frame, as the caller gave it.
    last_ns: Option<u64>,
    /// Own clock: the sum of the steps forward, so that times that jump back do no harm.
    clock_ns: u64,
    /// Own clock at the last analysed frame: the time for which the tracks' motion holds.
    analysed_ns: u64,
    /// Width over height of the frame in whose units boxes are kept.
    aspect: f32,
}

impl Tracker {
    /// A tracker that has seen nothing.
    pub fn new(config: TrackerConfig) -> Self {
        Self {
            config,
            tracks: Vec::new(),
            association: Association::default(),
            seekers: Vec::new(),
            newcomers: Vec::new(),
            camera: Camera::default(),
            models: Models::default(),
            begun: false,
            created: 0,
            established: 0,
            last_ns: None,
            clock_ns: 0,
            analysed_ns: 0,
            aspect: 1.0,
        }
    }

    /// Changes the rules from the next frame on; identities stay.
    pub fn set_config(&mut self, config: TrackerConfig) {
        self.config = config;
    }

    /// How the tracker works now.
    pub fn config(&self) -> &TrackerConfig {
        &self.config
    }

    /// Forgets all identities, as after a seek. Numbers that were given out are not given again.
    pub fn reset(&mut self) {
        self.tracks.clear();
        self.camera.reset();
        self.last_ns = None;
        self.begun = false;
    }

    /// How many identities there are.
    pub fn counts(&self) -> Counts {
        let confirmed = self.tracks.iter().filter(|t| t.confirmed);
        Counts {
            live: self.tracks.len(),
            confirmed: confirmed.clone().count(),
            lost: confirmed.filter(|t| t.missed > 0).count(),
            created: self.created,
            established: self.established,
        }
    }

    /// Says which models made the result that comes next: the one that found the objects, and those that looked at them.
    /// When one is replaced, identities go on and forget what the old one said about their objects.
    pub fn made_by(&mut self, model: Option<&Arc<ModelId>>, secondary: &[Arc<ModelId>]) {
        if let Some(stale) = self.models.follow(model, secondary) {
            self.tracks.iter_mut().for_each(|t| t.forget(&stale));
        }
    }

    /// A frame that was analysed at `now_ns` (running time), `frame` pixels wide and high: gives the `objects` found
    /// on it their identities, and appends the predictions of lost ones within the configured coast time.
    pub fn update(&mut self, now_ns: u64, frame: (u32, u32), objects: &mut Vec<Object>) {
        self.proceed(now_ns, frame);
        let dt = seconds(self.clock_ns - self.analysed_ns);
        self.analysed_ns = self.clock_ns;
        for track in &mut self.tracks {
            track.motion.advance(dt);
            track.missed = track.missed.saturating_add(1);
        }
        let (aspect, low) = (self.aspect, self.config.low_confidence);
        self.association.begin(objects.iter().enumerate().filter_map(|(i, o)| candidate(i, o, aspect, low)));
        let shift = self.camera.follow(dt as f32, &self.tracks, &self.association, self.config.high_confidence);
        self.tracks.iter_mut().for_each(|t| t.motion.shift(shift));
        self.associate(objects);
        self.start(objects);
        self.adopt(objects);
        self.tracks.retain(|t| t.confirmed || t.missed == 0);
        if self.config.confirmed_only {
            objects.retain(|o| o.track.is_some_and(|t| t.state == TrackState::Confirmed));
            orphan(objects);
        }
        self.coast(objects);
        self.begun = true;
    }

    /// A frame at `now_ns` that was not analysed: replaces `objects` by the predictions of all confirmed identities
    /// that the last analysed frame showed, each with what was last known about it.
    pub fn predict(&mut self, now_ns: u64, frame: (u32, u32), objects: &mut Vec<Object>) {
        self.proceed(now_ns, frame);
        objects.clear();
        let dt = seconds(self.clock_ns - self.analysed_ns);
        let view = self.view();
        let shift = (view.velocity.0 * dt as f32, view.velocity.1 * dt as f32);
        for track in &self.tracks {
            if !track.confirmed || track.unseen(self.analysed_ns) > self.config.coast_ns {
                continue;
            }
            let mut motion = track.motion;
            motion.advance(dt);
            motion.shift(shift);
            objects.extend(track.predicted(self.clock_ns, &motion, &view));
        }
        self.number(objects, 0);
    }

    fn view(&self) -> View {
        View { aspect: self.aspect, velocity: self.camera.velocity() }
    }

    /// Moves the clock to `now_ns`, drops what has been lost for too long, and takes in the frame's shape.
    fn proceed(&mut self, now_ns: u64, frame: (u32, u32)) {
        let last = self.last_ns.replace(now_ns).unwrap_or(now_ns);
        if last.saturating_sub(now_ns) > self.config.max_lost_ns {
            self.tracks.clear();
        }
        self.clock_ns = self.clock_ns.saturating_add(now_ns.saturating_sub(last));
        let (clock, longest) = (self.clock_ns, self.config.max_lost_ns);
        self.tracks.retain(|t| t.unseen(clock) <= longest);
        let aspect = frame.0.max(1) as f32 / frame.1.max(1) as f32;
        if aspect != self.aspect {
            let k = aspect / self.aspect;
            self.tracks.iter_mut().for_each(|t| t.stretch(k));
            self.camera.stretch(k);
            self.aspect = aspect;
        }
    }

    /// The stages: confident objects to confirmed tracks, the others to those still seen on the frame before, what is
    /// left of the confident ones to lost tracks that look like them, then to tentative tracks.
    fn associate(&mut self, objects: &mut [Object]) {
        let high = (self.config.high_confidence, f32::INFINITY);
        let low = (self.config.low_confidence, self.config.high_confidence);
        let class_aware = self.config.class_aware;
        let stage = |confidence, min_overlap| Stage { confidence, min_overlap, class_aware };
        self.seek(|t| t.confirmed);
        self.stage(&stage(high, MIN_OVERLAP), objects, false);
        let tracks = &self.tracks;
        self.seekers.retain(|s| tracks[s.track].missed == 1);
        self.stage(&stage(low, MIN_OVERLAP_LOW), objects, false);
        if self.config.appearance_weight > 0.0 {
            self.seek(|t| t.confirmed && t.missed > 0 && !t.look.is_empty());
            self.stage(&stage(high, 0.0), objects, true);
        }
        self.seek(|t| !t.confirmed);
        self.stage(&stage(high, MIN_OVERLAP), objects, false);
    }

    fn seek(&mut self, which: impl Fn(&Identity) -> bool) {
        self.seekers.clear();
        let chosen = self.tracks.iter().enumerate().filter(|(_, t)| which(t));
        self.seekers.extend(chosen.map(|(track, t)| Seeker {
            track,
            bbox: t.motion.bbox(),
            kind: t.kind,
            inner: t.inner,
            buffer: t.motion.spread().min(MOST_BUFFER),
            range: (RANGE.0 + RANGE.1 * seconds(t.unseen(self.clock_ns))) as f32,
        }));
    }

    /// Runs one stage, by overlap or, with `recall`, by appearance alone.
    fn stage(&mut self, stage: &Stage, objects: &mut [Object], recall: bool) {
        let view = self.view();
        let Self { association, seekers, tracks, established, config, clock_ns, .. } = self;
        let (now_ns, weight) = (*clock_ns, config.appearance_weight.min(1.0));
        let likeness = |seeker: &Seeker, candidate: &Candidate| {
            if weight <= 0.0 {
                return None;
            }
            let (look, new) = (&tracks[seeker.track].look, objects[candidate.object].embedding.as_deref()?);
            let comparable = !look.is_empty() && look.len() == new.len();
            comparable.then(|| Likeness { weight, excess: dot(look, new) - config.appearance_threshold })
        };
        if recall {
            association.recall(stage, seekers, likeness);
        } else {
            association.weigh(stage, seekers, likeness);
        }
        association.settle(seekers, |seeker, candidate| {
            let (track, object) = (&mut tracks[seeker.track], &mut objects[candidate.object]);
            if recall {
                // It came from elsewhere than was thought, so that its speed is not known either.
                track.motion = Motion::new(candidate.bbox, candidate.confidence);
            }
            if weight > 0.0 {
                track.learn(object);
            }
            track.hit(now_ns, candidate.bbox, object, config.carry_ns);
            *established += u64::from(track.settle(config.min_hits));
            object.track = Some(track.report(now_ns, track.state(), &track.motion, &view));
        });
    }

    /// Starts an identity for every confident object that has none, unless it is a second box on an object that has.
    fn start(&mut self, objects: &mut [Object]) {
        let view = self.view();
        let Self { association, newcomers, config, .. } = self;
        let free = |c: &&Candidate| {
            let confident = !c.taken && c.confidence >= config.high_confidence;
            confident && !association.covered(c, SAME_IOU)
        };
        newcomers.clear();
        newcomers.extend(association.candidates().iter().filter(free));
        // The surest first, so that numbers depend neither on places nor on the order of the objects.
        newcomers.sort_unstable_by(|a, b| b.confidence.total_cmp(&a.confidence).then(a.object.cmp(&b.object)));
        // ByteTrack's rule for the first frame: all that is there is taken as real.
        let min_hits = if self.begun { self.config.min_hits } else { 1 };
        for candidate in &self.newcomers {
            let object = &mut objects[candidate.object];
            self.created += 1;
            let mut track = Identity::new(self.created, self.clock_ns, candidate.bbox, object);
            if self.config.appearance_weight > 0.0 {
                track.learn(object);
            }
            self.established += u64::from(track.settle(min_hits));
            object.track = Some(track.report(self.clock_ns, track.state(), &track.motion, &view));
            self.tracks.push(track);
        }
    }

    /// Notes of each identity that was found in an object which one that object is.
    fn adopt(&mut self, objects: &[Object]) {
        for child in objects {
            let (Some(parent), Some(track)) = (child.parent, child.track) else { continue };
            let parent = objects.iter().find(|o| o.id == parent).and_then(|o| o.track);
            if let Some(identity) = find(&self.tracks, track.id).and_then(|i| self.tracks.get_mut(i)) {
                identity.parent = parent.map_or(0, |t| t.id);
            }
        }
    }

    /// Appends the predictions of identities that this frame does not show but a recent one did.
    fn coast(&self, objects: &mut Vec<Object>) {
        let (found, view) = (objects.len(), self.view());
        for track in &self.tracks {
            if track.confirmed && track.missed > 0 && track.unseen(self.clock_ns) <= self.config.coast_ns {
                objects.extend(track.predicted(self.clock_ns, &track.motion, &view));
            }
        }
        self.number(objects, found);
    }

    /// Gives the predicted objects from `first` on ids that no object before them has, and the id of the object in which
    /// they are, if the frame has it.
    fn number(&self, objects: &mut [Object], first: usize) {
        let mut next = objects.iter().take(first).map(|o| o.id).max().map_or(0, |id| id.wrapping_add(1));
        for object in objects.iter_mut().skip(first) {
            object.id = next;
            next = next.wrapping_add(1);
        }
        for child in first..objects.len() {
            let identity = objects[child].track.and_then(|t| self.tracks.get(find(&self.tracks, t.id)?));
            let Some(parent) = identity.map(|t| t.parent).filter(|parent| *parent > 0) else { continue };
            objects[child].parent = objects.iter().find(|o| o.track.is_some_and(|t| t.id == parent)).map(|o| o.id);
        }
    }
}

/// Where the identity is among the tracks, which are in the order of their numbers.
fn find(tracks: &[Identity], id: u64) -> Option<usize> {
    tracks.binary_search_by_key(&id, |t| t.id).ok()
}

/// Takes the parent from objects whose parent is not on the frame any more.
fn orphan(objects: &mut [Object]) {
    for child in 0..objects.len() {
        let Some(parent) = objects[child].parent else { continue };
        if !objects.iter().any(|o| o.id == parent) {
            objects[child].parent = None;
        }
    }
}

/// The object as something to be tracked, unless its box or confidence rules it out.
fn candidate(object: usize, o: &Object, aspect: f32, low: f32) -> Option<Candidate> {
    let b = o.bbox;
    let sane = [b.x, b.y, b.w, b.h].iter().all(|v| v.abs() <= FAR);
    if !sane || b.w <= 0.0 || b.h <= 0.0 || o.confidence.is_nan() || o.confidence < low {
        return None;
    }
    let bbox = BBox { x: b.x * aspect, w: b.w * aspect, ..b };
    let (kind, inner) = (kind(o), o.parent.is_some());
    Some(Candidate { object, bbox, kind, inner, confidence: o.confidence, taken: false })
}
