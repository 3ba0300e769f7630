use std::sync::Arc;

use super::*;
use crate::drift::test::RECENT;
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

    /// The same without analysis.
    fn run_blind(&mut self, windows: u64) -> Vec<Report> {
        let mut reports = Vec::new();
        for _ in 0..windows * WINDOW_S {
            self.time_s += 1;
            reports.extend(self.look_away());
        }
        reports
    }

    /// A frame that the model does not look at.
    fn look_away(&mut self) -> Option<Report> {
        let mut frame = self.frame(0.1);
        frame.freshness = Freshness::Absent(AbsentReason::EngineError);
        let now = self.now();
        self.monitor.observe(&frame, now).cloned()
    }

    fn saved(&self) -> String {
        self.monitor.save("").unwrap()
    }

    /// Another monitor that goes on from what this one has saved, from the next frame on.
    fn restarted(&self) -> Self {
        let mut other = Self { monitor: Monitor::new(config()), ..*self };
        other.monitor.restore(&self.saved(), "").unwrap();
        other.look_away();
        other
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
    // While learning, while stable, in the midst of growing evidence, and while drifting; in the midst of a window.
    for (windows, more) in [(50, 0), (150, 0), (150, 2), (150, 30)] {
        let mut camera = Camera::new(config());
        camera.run(windows, 0.7);
        camera.run(more, 0.5);
        while camera.time_s % WINDOW_S != 20 {
            camera.time_s += 1;
            let (frame, now) = (camera.frame(0.6), camera.now());
            camera.monitor.observe(&frame, now);
        }
        let mut other = camera.restarted();
        assert_eq!(other.monitor.report().state, camera.monitor.report().state);
        assert_eq!(other.monitor.recent(), camera.monitor.recent());
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
fn a_camera_that_restarts_within_every_window_learns_too() {
    let mut camera = Camera::new(config());
    for _ in 0..150 * WINDOW_S / 20 {
        for _ in 0..20 {
            camera.time_s += 1;
            let (frame, now) = (camera.frame(0.7), camera.now());
            camera.monitor.observe(&frame, now);
        }
        // Away for longer than it was there.
        camera.time_s += 30;
        camera = camera.restarted();
    }
    let report = camera.monitor.report();
    assert_eq!(report.state, State::Stable, "{report:?}");
    assert!((40..=50).contains(&report.windows), "{}", report.windows);
}

#[test]
fn a_window_that_was_left_long_ago_is_not_continued() {
    let mut camera = Camera::new(config());
    camera.run(3, 0.7);
    let windows = camera.monitor.known.as_ref().unwrap().windows.len();
    assert!(camera.monitor.open.as_ref().unwrap().summary.frames() > 25);
    camera.time_s += 4 * WINDOW_S;
    let mut later = camera.restarted();
    assert!(later.monitor.open.is_none());
    later.run(1, 0.7);
    assert_eq!(later.monitor.known.as_ref().unwrap().windows.len(), windows);
}

#[test]
fn the_model_before_is_remembered_over_a_restart() {
    let mut camera = Camera::new(config());
    camera.run(150, 0.7);
    camera.digest = "b";
    camera.run(6, 0.5);
    let mut camera = camera.restarted();
    assert_eq!((camera.monitor.report().state, camera.monitor.report().digest.as_str()), (State::Learning, "b"));
    camera.digest = "a";
    let back = camera.run(6, 0.7);
    assert!(back.iter().skip(1).all(|r| r.state == State::Stable && r.digest == "a"), "{back:?}");
}

#[test]
fn what_was_said_lately_names_its_own_model() {
    let mut camera = Camera::new(config());
    assert_eq!(camera.monitor.recent(), Recent::default());
    camera.run(20, 0.7);
    let seen = camera.monitor.recent();
    assert_eq!((seen.digest.as_str(), seen.summary.frames()), ("a", RECENT as u64 * WINDOW_S));
    // The window under way is complete but for its end, so the last frame of the one before came a window ago.
    assert_eq!(seen.until_utc_ns, (camera.time_s - WINDOW_S) * 1_000_000_000);
    camera.digest = "b";
    camera.time_s += 1;
    let (frame, now) = (camera.frame(0.5), camera.now());
    camera.monitor.observe(&frame, now);
    assert_eq!(camera.monitor.recent(), Recent::default(), "nothing of the new one yet");
    camera.run(3, 0.5);
    assert_eq!(camera.monitor.recent().digest, "b");
    // Rolled back: before the next window has ended the report is still that of the other one.
    camera.digest = "a";
    camera.time_s += 1;
    let (frame, now) = (camera.frame(0.7), camera.now());
    camera.monitor.observe(&frame, now);
    assert_eq!(camera.monitor.report().digest, "b");
    let again = camera.monitor.recent();
    assert_eq!((again.digest.as_str(), again.until_utc_ns), ("a", seen.until_utc_ns + WINDOW_S * 1_000_000_000));
    assert!(again.summary.mean_confidence().unwrap() > 0.65);
}

#[test]
fn a_clip_that_begins_anew_and_is_shorter_than_a_window_completes_windows() {
    for clip_s in [7, 40, 90] {
        let mut camera = Camera::new(config());
        let observe = |camera: &mut Camera, n: u64| {
            camera.time_s = n;
            let frame = camera.frame(0.7);
            let now = Now { monotonic: Duration::from_secs(n % clip_s), utc_ns: n * 1_000_000_000 };
            camera.monitor.observe(&frame, now).cloned()
        };
        let reports: Vec<Report> = (0..250 * WINDOW_S).filter_map(|n| observe(&mut camera, n)).collect();
        // Each return costs the second between the last frame and the first one.
        let windows = 250 * (clip_s - 1) / clip_s;
        assert!((reports.len() as u64).abs_diff(windows) <= 1, "{clip_s}: {} of {windows}", reports.len());
        assert_eq!(reports.last().unwrap().state, State::Stable);
        assert!(reports.iter().all(|r| r.state != State::Unknown), "nothing was missing");
    }
}

#[test]
fn what_was_restored_is_unknown_while_the_model_does_not_look() {
    let mut camera = Camera::new(config());
    camera.run(150, 0.7);
    let mut camera = camera.restarted();
    assert_eq!(camera.monitor.report().state, State::Stable);
    // The model does not load.
    let silent = camera.run_blind(10);
    let told: Vec<State> = silent.iter().filter(|r| r.is_news()).map(|r| r.state).collect();
    assert_eq!(told, [State::Unknown]);
}

#[test]
fn what_cannot_be_used_is_refused_and_changes_nothing() {
    let mut camera = Camera::new(config());
    camera.run(150, 0.7);
    let saved = camera.saved();
    assert!(saved.len() < 20_000, "{} bytes", saved.len());
    for others in [
        Config { slots: 2, ..config() },
        Config { window: Duration::from_secs(61), ..config() },
        Config { learn: Duration::from_secs(101 * WINDOW_S), ..config() },
    ] {
        let mut other = Monitor::new(others);
        assert!(matches!(other.restore(&saved, ""), Err(RestoreError::OtherSettings)), "{others:?}");
    }
    let mut other = Monitor::new(config());
    assert!(matches!(other.restore(&saved[..saved.len() / 2], ""), Err(RestoreError::Unreadable(_))));
    let changed = |from: &str, to: &str| saved.replacen(from, to, 1);
    for damaged in [
        changed("\"version\":2", "\"version\":3"),
        changed("\"slot\":0", "\"slot\":7"),
        changed("\"test\":{", "\"test\":null,\"x\":{"),
        changed("\"features\":[{", "\"features\":[],\"x\":[{"),
        changed("\"before\":null", "\"before\":{}"),
    ] {
        assert_ne!(damaged, saved);
        assert!(matches!(other.restore(&damaged, ""), Err(RestoreError::Foreign | RestoreError::Unreadable(_))));
    }
    assert_eq!((other.save(""), other.report().state), (None, State::Unknown));
    assert!(Monitor::new(config()).restore("", "").is_err());
}

#[test]
fn an_older_version_is_told_as_one() {
    let old =
        r#"{"version":1,"digest":"a","window_s":60.0,"slots":1,"windows":[],"baseline":null,"test":null,"recent":[]}"#;
    assert!(matches!(Monitor::new(config()).restore(old, ""), Err(RestoreError::Foreign)));
}

#[test]
fn what_is_still_learned_from_serves_another_learning_time() {
    let mut camera = Camera::new(config());
    camera.run(60, 0.7);
    let longer = Config { learn: Duration::from_secs(200 * WINDOW_S), ..config() };
    let mut other = Camera { monitor: Monitor::new(longer), ..camera };
    other.monitor.restore(&camera.saved(), "").unwrap();
    let report = other.run(2, 0.7).pop().unwrap();
    assert!(report.state == State::Learning && report.learned > 0.3, "{report:?}");
}

#[test]
fn the_baseline_of_another_camera_is_refused() {
    let mut camera = Camera::new(config());
    camera.run(150, 0.7);
    let saved = camera.monitor.save("gate").unwrap();
    let mut door = Monitor::new(config());
    let error = door.restore(&saved, "door").unwrap_err();
    assert!(matches!(&error, RestoreError::OtherCamera(name) if name == "gate"), "{error}");
    assert_eq!(door.report().state, State::Unknown);
    for (saved, camera) in [(&saved, "gate"), (&saved, ""), (&camera.saved(), "door")] {
        assert!(Monitor::new(config()).restore(saved, camera).is_ok(), "{camera}");
    }
}

#[test]
fn without_fresh_frames_nothing_is_known() {
    let mut camera = Camera::new(config());
    camera.run(150, 0.7);
    // Frames that the model did not look at are no evidence, however many there are.
    let windows = |camera: &Camera| camera.saved().matches("from_utc_ns").count();
    let before = windows(&camera);
    let silent = camera.run_blind(10);
    assert_eq!(silent.iter().filter(|r| r.is_news()).count(), 1, "{silent:?}");
    assert_eq!(silent.last().unwrap().state, State::Unknown);
    // The window that was under way has become one of the newest, which are twelve.
    assert_eq!(windows(&camera), before - 1);
    let back = camera.run(3, 0.7);
    assert_eq!(back.last().unwrap().state, State::Stable);
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
    assert_eq!(camera.monitor.recent(), Recent::default());
}

#[test]
fn the_bundles_reference_is_compared_with_at_once_and_tested_against_once_it_can_be() {
    let mut lab = Camera::new(config());
    lab.run(20, 0.85);
    let reference = lab.monitor.recent().summary;
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
fn to_learn_anew_forgets_everything_and_says_so_at_once() {
    let mut camera = Camera::new(config());
    camera.run(150, 0.7);
    camera.digest = "b";
    camera.run(150, 0.7);
    while camera.monitor.report().state != State::Drifting {
        camera.run(1, 0.4);
    }
    let report = camera.monitor.relearn().clone();
    assert_eq!((report.before, report.state, report.learned), (State::Drifting, State::Learning, 0.0));
    assert_eq!((report.since_utc_ns, report.digest.as_str()), (None, "b"));
    assert_eq!(camera.monitor.recent(), Recent::default());
    // What is saved then says that nothing is known.
    let mut restarted = camera.restarted();
    assert_eq!(restarted.monitor.report().state, State::Learning);
    for camera in [&mut camera, &mut restarted] {
        assert!(camera.run(50, 0.5).iter().all(|r| r.state == State::Learning && !r.is_news()));
    }
    camera.digest = "a";
    assert!(
        camera.run(10, 0.7).iter().all(|r| r.state == State::Learning),
        "that of the model before is forgotten too"
    );
    assert_eq!(Monitor::new(config()).relearn().state, State::Unknown, "there is nothing to forget");
}

#[test]
fn settings_out_of_range_are_told_with_both_ends() {
    assert_eq!(Config::default().check(), Ok(()));
    let minutes = |n: u64| Duration::from_secs(60 * n);
    let with = |window, learn| Config { window, learn, ..Config::default() }.check().map_err(|error| error.to_string());
    assert_eq!(with(minutes(5), minutes(5 * 48)), Ok(()));
    assert_eq!(with(minutes(5), minutes(5 * 4096)), Ok(()));
    let range =
        "`learn-time` is 14399s; with a `window` of 300s it must be 14400s to 1228800s, which are 48 to 4096 windows";
    assert!(with(minutes(5), Duration::from_secs(14_399)).unwrap_err().starts_with(range));
    let text = with(Duration::from_secs(5), Duration::from_secs(DAY_S)).unwrap_err();
    assert!(text.contains("`learn-time` is 86400s") && text.contains("240s to 20480s"), "{text}");
    assert_eq!(
        with(Duration::from_millis(500), minutes(5)).unwrap_err(),
        "`window` is 500ms, and must be 1s to 86400s"
    );
    assert!(with(Duration::MAX, Duration::MAX).is_err());
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
    assert_eq!(checked.learn, Duration::from_secs(MOST_WINDOWS.into()));
    assert!(checked.bound() > 1.0);
    assert_eq!(Config { slots: 24, ..Config::default() }.slot(86_399_999_999_999), 23);
    assert!(Config { slots: 24, ..Config::default() }.slot(u64::MAX) < 24);
}
