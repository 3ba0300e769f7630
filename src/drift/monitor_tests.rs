use std::sync::Arc;

use super::*;
use crate::result::{AbsentReason, BBox, ModelId, Object};

const WINDOW_S: u64 = 60;

fn config() -> Config {
    Config {
        window: Duration::from_secs(WINDOW_S),
        learn: Duration::from_secs(100 * WINDOW_S),
        slots: 1,
        ..Config::default()
    }
}

/// A camera that sees a dozen people, each window a little differently.
struct Camera {
    monitor: Monitor,
    time_s: u64,
    digest: &'static str,
}

impl Camera {
    fn new(config: Config) -> Self {
        Self { monitor: Monitor::new(config), time_s: 0, digest: "a" }
    }

    fn now(&self) -> Now {
        Now { monotonic: Duration::from_secs(self.time_s), utc_ns: self.time_s * 1_000_000_000 }
    }

    fn frame(&self, confidence: f32) -> FrameResult {
        let mut result = FrameResult::absent(AbsentReason::EngineError, (640, 480));
        result.freshness = Freshness::Fresh;
        result.model = Some(Arc::new(ModelId { name: "m".into(), release: "1".into(), digest: self.digest.into() }));
        let wobble = (self.time_s / WINDOW_S * 7 % 11) as f32 * 0.004;
        let bbox = BBox { x: 0.0, y: 0.0, w: 0.1, h: 0.2 };
        let object = |i| Object::new(i, 0, "person".into(), confidence + wobble, bbox);
        result.objects = (0..12 + (self.time_s / WINDOW_S * 5 % 3) as u32).map(object).collect();
        result
    }

    /// `windows` windows of a frame a second; the reports.
    fn run(&mut self, windows: u64, confidence: f32) -> Vec<Report> {
        let mut reports = Vec::new();
        for _ in 0..windows * WINDOW_S {
            self.time_s += 1;
            let frame = self.frame(confidence);
            let now = self.now();
            reports.extend(self.monitor.observe(&frame, now).cloned());
        }
        reports
    }

    fn ticks(&mut self, windows: u64) -> Vec<Report> {
        let mut reports = Vec::new();
        for _ in 0..windows * WINDOW_S {
            self.time_s += 1;
            let now = self.now();
            reports.extend(self.monitor.tick(now).cloned());
        }
        reports
    }
}

#[test]
fn it_learns_tells_drift_with_evidence_and_calms_down() {
    let mut camera = Camera::new(config());
    assert_eq!(camera.monitor.report().state, State::Unknown);
    let learning = camera.run(100, 0.7);
    assert!(learning.iter().all(|r| r.state == State::Learning));
    assert!(learning.windows(2).all(|r| r[0].learned < r[1].learned));
    let stable = camera.run(200, 0.7);
    assert!(stable[1].is_news() || stable[0].is_news(), "learning has ended");
    assert!(stable.iter().skip(1).all(|r| r.state == State::Stable && r.score < 0.5), "{stable:?}");
    let since = camera.time_s;
    let drift = camera.run(20, 0.5);
    let first = drift.iter().position(|r| r.state == State::Drifting).unwrap();
    assert!((1..8).contains(&first), "after {first} windows");
    let report = &drift[first];
    assert!(report.is_news() && report.score >= 1.0 && !report.borrowed && !report.reference);
    assert_eq!(report.cause, Some(crate::drift::Aspect::Confidence));
    let since_s = report.since_utc_ns.unwrap() / 1_000_000_000;
    assert!(since_s.abs_diff(since) <= 2 * WINDOW_S, "it began at {since}, told is {since_s}");
    let evidence = report.evidence();
    assert!(evidence.starts_with("confidence (PSI ") && evidence.contains("mean confidence 0.72 → 0.5"), "{evidence}");
    assert!(drift.iter().skip(first).all(|r| r.state == State::Drifting && r.score >= 1.0));
    assert!(drift.iter().skip(first + 1).all(|r| !r.is_news()));
    let calm = camera.run(40, 0.7);
    let ended = calm.iter().position(|r| r.state == State::Stable).unwrap();
    assert!((RECENT - 1..2 * RECENT).contains(&ended), "hysteresis: {ended} windows");
    assert!(calm.iter().skip(ended).all(|r| r.state == State::Stable && r.since_utc_ns.is_none() && r.cause.is_none()));
}

#[test]
fn a_drift_that_lasts_stays_told() {
    let mut camera = Camera::new(config());
    camera.run(150, 0.7);
    let reports = camera.run(500, 0.55);
    let first = reports.iter().position(|r| r.state == State::Drifting).unwrap();
    assert!(reports.iter().skip(first).all(|r| r.state == State::Drifting && (1.0..=2.0).contains(&r.score)));
    assert_eq!(reports.iter().filter(|r| r.is_news() && r.state == State::Drifting).count(), 1);
}

#[test]
fn an_alarm_lasts_for_a_while_even_if_its_cause_is_gone_at_once() {
    let mut camera = Camera::new(config());
    camera.run(150, 0.7);
    while camera.monitor.report().state != State::Drifting {
        camera.time_s += 1;
        let (frame, now) = (camera.frame(0.4), camera.now());
        camera.monitor.observe(&frame, now);
    }
    let calm = camera.run(3 * RECENT as u64, 0.7);
    let ended = calm.iter().position(|r| r.state == State::Stable).unwrap();
    assert!((RECENT - 1..2 * RECENT).contains(&ended), "{ended} windows");
}

#[test]
fn another_model_begins_anew_and_the_old_one_is_remembered() {
    let mut camera = Camera::new(config());
    camera.run(150, 0.7);
    camera.digest = "b";
    let other = camera.run(6, 0.5);
    assert_eq!((other[0].state, other[0].digest.as_str()), (State::Stable, "a"), "the old model's last window");
    assert!(other.iter().skip(1).all(|r| r.state == State::Learning && r.digest == "b"));
    camera.digest = "a";
    let back = camera.run(6, 0.7);
    assert!(back.iter().skip(1).all(|r| r.state == State::Stable && r.digest == "a"), "{back:?}");
    assert!(camera.run(20, 0.5).iter().any(|r| r.state == State::Drifting));
}

#[test]
fn what_was_saved_goes_on_as_if_nothing_had_happened() {
    // While learning, while stable, in the midst of growing evidence, and while drifting.
    for (windows, more) in [(50, 0), (150, 0), (150, 2), (150, 30)] {
        let mut camera = Camera::new(config());
        camera.run(windows, 0.7);
        camera.run(more, 0.5);
        let saved = camera.monitor.save().unwrap();
        let mut other = Camera { monitor: Monitor::new(config()), ..camera };
        other.monitor.restore(&saved).unwrap();
        assert_eq!(other.monitor.report().state, camera.monitor.report().state);
        // The window under way is not saved: both begin one here.
        camera.monitor.open = None;
        let (other, same) = (other.run(60, 0.6), camera.run(60, 0.6));
        assert_eq!(other.len(), same.len());
        for (a, b) in other.iter().zip(&same) {
            // JSON keeps 17 digits of a number at best.
            assert!((a.score - b.score).abs() < 1e-6, "{windows} {more}: {} {}", a.score, b.score);
            assert_eq!((a.state, a.before, a.cause, a.since_utc_ns), (b.state, b.before, b.cause, b.since_utc_ns));
            assert_eq!((a.windows, a.learned, a.evidence()), (b.windows, b.learned, b.evidence()));
        }
    }
}

#[test]
fn what_cannot_be_used_is_refused_and_changes_nothing() {
    let mut camera = Camera::new(config());
    camera.run(150, 0.7);
    let saved = camera.monitor.save().unwrap();
    assert!(saved.len() < 20_000, "{} bytes", saved.len());
    let mut other = Monitor::new(Config { slots: 2, ..config() });
    assert!(matches!(other.restore(&saved), Err(RestoreError::OtherSettings)));
    let mut other = Monitor::new(Config { window: Duration::from_secs(61), ..config() });
    assert!(matches!(other.restore(&saved), Err(RestoreError::OtherSettings)));
    let mut other = Monitor::new(config());
    assert!(matches!(other.restore(&saved[..saved.len() / 2]), Err(RestoreError::Unreadable(_))));
    let changed = |from: &str, to: &str| saved.replacen(from, to, 1);
    for damaged in [
        changed("\"version\":1", "\"version\":2"),
        changed("\"slot\":0", "\"slot\":7"),
        changed("\"test\":{", "\"test\":null,\"x\":{"),
        changed("\"features\":[{", "\"features\":[],\"x\":[{"),
    ] {
        assert_ne!(damaged, saved);
        assert!(matches!(other.restore(&damaged), Err(RestoreError::Foreign | RestoreError::Unreadable(_))));
    }
    assert_eq!((other.save(), other.report().state), (None, State::Unknown));
    assert!(Monitor::new(config()).restore("").is_err());
}

#[test]
fn without_fresh_frames_nothing_is_known() {
    let mut camera = Camera::new(config());
    camera.run(150, 0.7);
    let silent = camera.ticks(10);
    assert_eq!(silent.iter().filter(|r| r.is_news()).count(), 1, "{silent:?}");
    assert_eq!(silent.last().unwrap().state, State::Unknown);
    let back = camera.run(3, 0.7);
    assert_eq!(back.last().unwrap().state, State::Stable);
    // Frames that the model did not look at are no evidence, however many there are.
    let before = camera.monitor.save();
    for _ in 0..10 * WINDOW_S {
        camera.time_s += 1;
        let mut frame = camera.frame(0.1);
        frame.freshness = Freshness::Absent(AbsentReason::EngineError);
        let now = camera.now();
        camera.monitor.observe(&frame, now);
    }
    assert_eq!(camera.monitor.report().state, State::Unknown);
    let windows = |saved: &Option<String>| saved.as_ref().map(|s| s.matches("from_utc_ns").count());
    assert_eq!(windows(&camera.monitor.save()), windows(&before));
}

#[test]
fn a_window_of_few_frames_says_nothing() {
    let mut camera = Camera::new(Config { least_frames: 25, ..config() });
    for _ in 0..100 {
        camera.time_s += 4;
        let (frame, now) = (camera.frame(0.7), camera.now());
        camera.monitor.observe(&frame, now);
    }
    assert_eq!(camera.monitor.report().learned, 0.0, "15 frames a window");
    assert_eq!(camera.monitor.summary(), Summary::default());
}

#[test]
fn the_bundles_reference_is_compared_with_at_once_and_tested_against_once_it_can_be() {
    let mut lab = Camera::new(config());
    lab.run(20, 0.85);
    let reference = lab.monitor.summary();
    let mut camera = Camera::new(config());
    camera.monitor.set_reference("a", reference.clone());
    let learning = camera.run(50, 0.7);
    let last = learning.last().unwrap();
    assert!(last.state == State::Learning && last.reference);
    assert!(last.evidence().contains("mean confidence 0.87 → 0.72"), "{}", last.evidence());
    assert!(last.aspects.iter().any(|a| a.psi.is_some_and(|psi| psi > 0.25)));
    let tested = camera.run(80, 0.7);
    assert_eq!(tested.last().unwrap().state, State::Drifting, "this camera is not what the model was made for");
    let mut good = Camera::new(config());
    good.monitor.set_reference("a", reference);
    assert!(good.run(300, 0.85).iter().all(|r| r.state != State::Drifting));
    // It belongs to one model only.
    good.digest = "b";
    assert!(good.run(50, 0.5).iter().skip(1).all(|r| !r.reference));
}

#[test]
fn to_learn_anew_forgets_everything() {
    let mut camera = Camera::new(config());
    camera.run(150, 0.7);
    camera.monitor.relearn();
    assert_eq!(camera.monitor.save(), None);
    assert!(camera.run(50, 0.5).iter().all(|r| r.state == State::Learning));
}

#[test]
fn settings_are_brought_into_range() {
    let odd = Config {
        window: Duration::ZERO,
        learn: Duration::MAX,
        slots: 0,
        false_alarm_every: Duration::ZERO,
        least_frames: 0,
    };
    let checked = odd.checked();
    assert_eq!((checked.window, checked.slots, checked.least_frames), (Duration::from_secs(1), 1, 1));
    assert_eq!(checked.learn, Duration::from_secs(MOST_WINDOWS as u64));
    assert!(checked.bound() > 1.0);
    assert_eq!(Config { slots: 24, ..Config::default() }.slot(86_399_999_999_999), 23);
    assert!(Config { slots: 24, ..Config::default() }.slot(u64::MAX) < 24);
}
