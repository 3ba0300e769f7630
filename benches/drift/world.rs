//! Cameras that never were, for tests and figures of `gstvigil::drift`: things come and go as in a queue with unlimited
//! servers (M/M/∞) whose arrivals follow the time of the day, and each is seen with a confidence that changes slowly
//! (AR(1)) or, where recordings are given, exactly as a recorded one was.

use std::f64::consts::PI;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use gstvigil::export::Now;
use gstvigil::result::{BBox, FrameResult, Freshness, ModelId, Object};

/// 2026-11-26 00:00 UTC, in seconds.
const START_S: f64 = 1_795_651_200.0;
/// What the detector reports at all.
const THRESHOLD: f64 = 0.4;
/// Memory of a thing's confidence, seconds.
const CONFIDENCE_TAU_S: f64 = 4.0;
const LABELS: [&str; 6] = ["person", "bicycle", "car", "truck", "backpack", "dog"];

/// splitmix64.
pub struct Rng(u64);

impl Rng {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0xd129_0d3a_3dfe_5f1b) ^ 0x5851_f42d_4c95_7f2d)
    }

    /// 0 up to and without 1.
    pub fn uniform(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }

    pub fn normal(&mut self) -> f64 {
        (-2.0 * (1.0 - self.uniform()).ln()).sqrt() * (2.0 * PI * self.uniform()).cos()
    }

    fn exponential(&mut self) -> f64 {
        -(1.0 - self.uniform()).ln()
    }
}

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Fault {
    None,
    /// The lens is out of focus: confidence falls by 0.15, and the smaller half of the boxes by 0.3.
    Blur,
    /// Every second class is no longer found.
    HalfOfClasses,
    /// Confidence falls by 0.1, and what is below the threshold then is not found.
    LowConfidence,
}

pub const FAULTS: [Fault; 3] = [Fault::Blur, Fault::HalfOfClasses, Fault::LowConfidence];

/// Recorded tracks of detections, each with a box and a confidence, or nothing where the detector missed; 25 a second.
pub type Recorded = Vec<Vec<Option<(BBox, f32)>>>;

/// What a camera sees.
#[derive(Clone)]
pub struct Scene {
    /// Things in view at the busiest time of an average day.
    pub busy: f64,
    /// Share of the busiest time's arrivals that there is at night.
    pub night: f64,
    /// How long most things stay, seconds; a tenth of them stay ten times as long.
    pub stay_s: f64,
    /// Standard deviation of the logarithm of a day's traffic.
    pub days_differ: f64,
    /// Mean and spread of a thing's own confidence.
    pub confidence: (f64, f64),
    /// Mean and spread of a box's area, as powers of two of the frame.
    pub area_log2: (f64, f64),
    /// Shares of the classes.
    pub mix: [f64; LABELS.len()],
    pub recorded: Option<Arc<Recorded>>,
}

impl Scene {
    /// An ordinary one.
    pub fn ordinary() -> Self {
        Self {
            busy: 4.0,
            night: 0.1,
            stay_s: 40.0,
            days_differ: 0.1,
            confidence: (0.72, 0.1),
            area_log2: (-6.0, 1.2),
            mix: [0.5, 0.2, 0.15, 0.05, 0.05, 0.05],
            recorded: None,
        }
    }

    /// One of many: from a quiet door to a busy street.
    pub fn varied(seed: u64) -> Self {
        let mut rng = Rng::new(seed ^ 0xabcd);
        let mut scene = Self::ordinary();
        scene.busy = 0.5 * 16f64.powf(rng.uniform());
        scene.night = 0.2 * rng.uniform();
        scene.stay_s = 10.0 * 10f64.powf(rng.uniform());
        scene.confidence.0 += 0.03 * rng.normal();
        scene.area_log2.0 += rng.normal();
        for share in &mut scene.mix {
            *share *= 0.5 + rng.uniform();
        }
        scene
    }
}

struct Thing {
    label: usize,
    since_s: f64,
    until_s: f64,
    confidence: f64,
    wander: f64,
    bbox: BBox,
    area_log2: f64,
    track: usize,
}

/// One camera. It reports itself as a fresh frame after each step.
pub struct World {
    scene: Scene,
    rng: Rng,
    things: Vec<Thing>,
    labels: Vec<Arc<str>>,
    pub fault: Fault,
    pub result: FrameResult,
    /// Seconds since the start.
    pub time_s: f64,
    next_s: f64,
    day: (u64, f64),
    /// A sum of shares, for choice.
    mix: f64,
}

impl World {
    pub fn new(scene: Scene, seed: u64) -> Self {
        let mut result = FrameResult::absent(gstvigil::result::AbsentReason::Skipped, (1280, 720));
        result.freshness = Freshness::Fresh;
        result.model = Some(Arc::new(ModelId { name: "m".into(), release: "1".into(), digest: "ab".repeat(32) }));
        let mix = scene.mix.iter().sum();
        let mut world = Self {
            scene,
            rng: Rng::new(seed),
            things: Vec::new(),
            labels: LABELS.iter().map(|&l| l.into()).collect(),
            fault: Fault::None,
            result,
            time_s: 0.0,
            next_s: 0.0,
            day: (u64::MAX, 1.0),
            mix,
        };
        world.next_s = world.rng.exponential() / world.most();
        world
    }

    /// Most arrivals a second that there can be.
    fn most(&self) -> f64 {
        // A mean stay is 1.9 times that of most.
        2.0 * self.scene.busy / (1.9 * self.scene.stay_s)
    }

    /// Arrivals now as a share of the most.
    fn traffic(&mut self) -> f64 {
        let day = (self.time_s / 86_400.0) as u64;
        if self.day.0 != day {
            self.day = (day, (self.scene.days_differ * self.rng.normal()).exp());
        }
        let hour = self.time_s / 3600.0 % 24.0;
        let light = (PI * (hour - 5.0) / 18.0).sin().max(0.0);
        0.5 * self.day.1 * (self.scene.night + (1.0 - self.scene.night) * light)
    }

    /// Lets `dt_s` seconds pass and looks at the picture.
    pub fn step(&mut self, dt_s: f64) {
        let end = self.time_s + dt_s;
        while self.next_s < end {
            self.time_s = self.next_s;
            if self.rng.uniform() < self.traffic() {
                self.arrive();
            }
            self.next_s += self.rng.exponential() / self.most();
        }
        self.time_s = end;
        self.things.retain(|thing| thing.until_s > end);
        self.look(dt_s);
    }

    fn arrive(&mut self) {
        let rng = &mut self.rng;
        let long = if rng.uniform() < 0.1 { 10.0 } else { 1.0 };
        let stay_s = long * self.scene.stay_s * rng.exponential();
        let (mut choice, mut label) = (rng.uniform() * self.mix, 0);
        while label + 1 < LABELS.len() && choice > self.scene.mix[label] {
            choice -= self.scene.mix[label];
            label += 1;
        }
        let area_log2 = (self.scene.area_log2.0 + self.scene.area_log2.1 * rng.normal()).min(-1.0);
        let side = (area_log2 / 2.0).exp2() as f32;
        let (x, y) = (rng.uniform() as f32 * (1.0 - side), rng.uniform() as f32 * (1.0 - side));
        self.things.push(Thing {
            label,
            since_s: self.time_s,
            until_s: self.time_s + stay_s,
            confidence: self.scene.confidence.0 + self.scene.confidence.1 * rng.normal(),
            wander: 0.0,
            bbox: BBox { x, y, w: side, h: side },
            area_log2,
            track: (rng.uniform() * 1e6) as usize,
        });
    }

    fn look(&mut self, dt_s: f64) {
        let keep = (-dt_s / CONFIDENCE_TAU_S).exp();
        let fresh = 0.08 * (1.0 - keep * keep).sqrt();
        self.result.objects.clear();
        for thing in &mut self.things {
            let (confidence, bbox, area_log2) = match &self.scene.recorded {
                Some(recorded) => match replay(recorded, thing, self.time_s) {
                    Some((bbox, confidence)) => (f64::from(confidence), bbox, f64::from(bbox.area()).log2()),
                    None => continue,
                },
                None => {
                    thing.wander = keep * thing.wander + fresh * self.rng.normal();
                    ((thing.confidence + thing.wander).min(0.999), thing.bbox, thing.area_log2)
                }
            };
            let small = area_log2 < self.scene.area_log2.0;
            let confidence = match self.fault {
                Fault::Blur => confidence - if small { 0.3 } else { 0.15 },
                Fault::HalfOfClasses if thing.label % 2 == 1 => continue,
                Fault::LowConfidence => confidence - 0.1,
                _ => confidence,
            };
            if confidence >= THRESHOLD {
                let (id, label) = (self.result.objects.len() as u32, self.labels[thing.label].clone());
                self.result.objects.push(Object::new(id, thing.label as u32, label, confidence as f32, bbox));
            }
        }
    }

    pub fn now(&self) -> Now {
        Now { monotonic: Duration::from_secs_f64(self.time_s), utc_ns: ((START_S + self.time_s) * 1e6) as u64 * 1000 }
    }
}

/// A recorded track, there and back again for as long as the thing stays.
fn replay(recorded: &Recorded, thing: &Thing, time_s: f64) -> Option<(BBox, f32)> {
    let track = &recorded[thing.track % recorded.len()];
    let place = (25.0 * (time_s - thing.since_s)) as usize % (2 * track.len());
    track[place.min(2 * track.len() - 1 - place)]
}

/// The detections that were recorded for both MOT sequences, put in tracks by their ground truth. `None` if the test data
/// is not there.
pub fn recorded() -> Option<Recorded> {
    let mot = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data/mot");
    let mut tracks = Recorded::new();
    for name in ["TUD-Campus", "TUD-Stadtmitte"] {
        let (found, truth) = (rows(&mot.join(name).join("det.txt"))?, rows(&mot.join(name).join("gt.txt"))?);
        let last = truth.iter().map(|row| row.1).max()?;
        for id in 0..=last {
            let own: Vec<_> = truth.iter().filter(|row| row.1 == id).collect();
            let track = own.iter().map(|row| {
                let same = found.iter().filter(|d| d.0 == row.0).map(|d| (d.2, d.3));
                let best = same.max_by(|a, b| a.0.iou(&row.2).total_cmp(&b.0.iou(&row.2)))?;
                (best.0.iou(&row.2) >= 0.5).then_some(best)
            });
            let track: Vec<_> = track.collect();
            if track.len() >= 25 {
                tracks.push(track);
            }
        }
    }
    Some(tracks)
}

/// Frame, identity, box and confidence of each row; both sequences are 640 × 480.
fn rows(path: &Path) -> Option<Vec<(i64, i64, BBox, f32)>> {
    let row = |line: &str| {
        let v: Vec<f32> = line.split(',').filter_map(|v| v.trim().parse().ok()).collect();
        let bbox = BBox { x: v[2] / 640.0, y: v[3] / 480.0, w: v[4] / 640.0, h: v[5] / 480.0 };
        (v[0] as i64, v[1] as i64, bbox, v[6])
    };
    Some(std::fs::read_to_string(path).ok()?.lines().map(row).collect())
}
