use super::compare::median;
use super::*;

/// A summary as JSON has it, of `frames` frames.
fn summary(frames: u64, per_frame: f64, confidence: f64, area_log2: f64, person: f64) -> Summary {
    let objects = (frames as f64 * per_frame) as u64;
    let persons = (objects as f64 * person) as u64;
    let bins = |n: usize| {
        let mut bins = vec![0; n];
        bins[n / 2] = objects;
        bins
    };
    serde_json::from_value(serde_json::json!({
        "frames": frames,
        "objects": objects,
        "confidence_sum": confidence * objects as f64,
        "area_log2_sum": area_log2 * objects as f64,
        "classes": {"person": persons, "car": objects - persons},
        "confidence": bins(20),
        "area": bins(24),
    }))
    .unwrap()
}

/// The camera's ordinary summary, a little different for each.
fn ordinary(camera: u64) -> Summary {
    let v = (camera * 7 % 16) as f64 / 16.0 - 0.5;
    let w = (camera * 5 % 16) as f64 / 16.0 - 0.5;
    summary(7500, 4.0 + 2.0 * v, 0.7 + 0.04 * w, -6.0 + v - w, 0.7 + 0.2 * w * v)
}

fn key(camera: u64) -> CameraKey {
    CameraKey { gateway: format!("g{}", camera % 3), camera: camera.to_string(), profile: "street".into() }
}

struct Test {
    fleet: Fleet,
    round: u32,
}

impl Test {
    fn new() -> Self {
        Self { fleet: Fleet::new(FleetConfig { rounds: 6, ..FleetConfig::default() }), round: 0 }
    }

    fn now(&self) -> Duration {
        Duration::from_secs(300 * u64::from(self.round))
    }

    /// A round of `cameras` cameras, the last of which sends `last`.
    fn round(&mut self, cameras: u64, last: &Summary) -> Vec<PeerReport> {
        self.round += 1;
        for camera in 0..cameras {
            let summary = if camera + 1 == cameras { last.clone() } else { ordinary(camera) };
            assert!(self.fleet.observe(key(camera), "d", summary, self.now()));
        }
        self.fleet.compare(self.now())
    }
}

fn of(reports: &[PeerReport], camera: u64) -> &PeerReport {
    reports.iter().find(|r| r.key == key(camera)).unwrap()
}

#[test]
fn the_bad_one_among_sixteen_is_told_once_it_lasts_and_until_it_ends() {
    let cases = [
        (summary(7500, 4.0, 0.5, -6.0, 0.7), Aspect::Confidence, "mean confidence 0.50, median of 15 others 0.7"),
        (
            summary(7500, 4.0, 0.7, -12.0, 0.7),
            Aspect::BoxSize,
            "box size in % of the frame 0.02, median of 15 others 1.",
        ),
        (summary(7500, 0.1, 0.7, -6.0, 0.7), Aspect::ObjectsPerFrame, "objects per frame 0.10, median of 15 others "),
        (summary(7500, 4.0, 0.7, -6.0, 0.1), Aspect::ClassMix, "share of car 0.90, median of 15 others 0.30"),
    ];
    for (bad, aspect, text) in cases {
        let mut test = Test::new();
        for _ in 0..10 {
            let reports = test.round(16, &ordinary(15));
            assert!(reports.iter().all(|r| r.state == PeerState::Normal && r.score < 1.0), "{reports:?}");
        }
        for round in 1..=8 {
            let reports = test.round(16, &bad);
            let found = of(&reports, 15);
            assert_eq!(found.state == PeerState::Odd, round >= 6, "{round} {found:?}");
            assert_eq!(found.is_news(), round == 6);
            assert!(found.score >= 1.0);
            assert_eq!(found.aspect.unwrap().0, aspect);
            assert!(found.evidence().starts_with(text), "{}", found.evidence());
            assert!(reports.iter().filter(|r| r.key != key(15)).all(|r| r.state == PeerState::Normal));
        }
        for round in 1..=6 {
            let reports = test.round(16, &ordinary(15));
            assert_eq!(of(&reports, 15).state == PeerState::Odd, round < 6);
        }
    }
}

#[test]
fn cameras_that_are_all_alike_make_no_small_difference_odd() {
    let mut fleet = Fleet::new(FleetConfig { rounds: 1, ..FleetConfig::default() });
    for camera in 0..16 {
        let mut confidence = 0.7;
        if camera == 0 {
            confidence = 0.72;
        }
        fleet.observe(key(camera), "d", summary(7500, 4.0, confidence, -6.0, 0.7), Duration::ZERO);
    }
    assert!(fleet.compare(Duration::ZERO).iter().all(|r| r.state == PeerState::Normal && r.score < 1.0));
}

#[test]
fn few_peers_and_few_frames_say_nothing() {
    let bad = summary(7500, 4.0, 0.2, -6.0, 0.7);
    let mut test = Test::new();
    for _ in 0..10 {
        let reports = test.round(4, &bad);
        assert!(reports.iter().all(|r| r.state == PeerState::Alone && r.peers == 3 && r.evidence().is_empty()));
    }
    let mut test = Test::new();
    (0..10).for_each(|_| _ = test.round(5, &bad));
    assert_eq!(of(&test.round(5, &bad), 4).state, PeerState::Odd, "four others are enough");
    let reports = test.round(5, &summary(50, 4.0, 0.2, -6.0, 0.7));
    assert_eq!(of(&reports, 4).state, PeerState::Unknown);
}

#[test]
fn only_cameras_of_one_profile_and_model_are_peers() {
    let mut fleet = Fleet::new(FleetConfig::default());
    for camera in 0..10 {
        let profile = if camera < 4 { "yard" } else { "street" };
        let digest = if camera < 8 { "old" } else { "new" };
        fleet.observe(CameraKey { profile: profile.into(), ..key(camera) }, digest, ordinary(camera), Duration::ZERO);
    }
    let reports = fleet.compare(Duration::ZERO);
    assert_eq!(reports.len(), 10);
    assert!(reports.iter().all(|r| r.state == PeerState::Alone), "4, 4 and 2 of a kind");
}

#[test]
fn a_round_counts_only_for_those_who_sent_something() {
    let bad = summary(7500, 4.0, 0.2, -6.0, 0.7);
    let mut test = Test::new();
    (0..3).for_each(|_| _ = test.round(16, &bad));
    for _ in 0..10 {
        assert!(test.fleet.compare(test.now()).is_empty(), "no new summary, no new evidence");
    }
    let states: Vec<_> = (0..5).map(|_| of(&test.round(16, &bad), 15).state).collect();
    assert_eq!(states.iter().position(|&s| s == PeerState::Odd), Some(2), "{states:?}");
}

#[test]
fn silent_cameras_are_forgotten_and_their_number_is_bounded() {
    let mut fleet = Fleet::new(FleetConfig { most: 3, ..FleetConfig::default() });
    assert!(fleet.is_empty());
    for camera in 0..3 {
        assert!(fleet.observe(key(camera), "d", ordinary(camera), Duration::from_secs(camera)));
    }
    assert!(!fleet.observe(key(3), "d", ordinary(3), Duration::from_secs(10)), "no room");
    assert!(fleet.observe(key(2), "d", ordinary(2), Duration::from_secs(10)), "known ones go on");
    assert_eq!(fleet.len(), 3);
    assert!(fleet.observe(key(3), "d", ordinary(3), Duration::from_secs(3602)), "two are silent for an hour");
    assert_eq!(fleet.len(), 2);
}

#[test]
fn numbers_from_strangers_do_no_harm() {
    let strange = |text: &str| serde_json::from_str::<Summary>(text).unwrap();
    let mut fleet =
        Fleet::new(FleetConfig { least_peers: 0, rounds: 0, threshold: f64::NAN, ..FleetConfig::default() });
    let all = [
        "{}",
        "{\"frames\":200}",
        "{\"frames\":200,\"confidence_sum\":1e308,\"objects\":18446744073709551615,\"other\":9}",
        "{\"frames\":200,\"confidence_sum\":-1e308,\"confidence\":[1,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0]}",
        "{\"frames\":200,\"area_log2_sum\":1e308,\"area\":[1,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0]}",
        "{\"frames\":1000,\"classes\":{\"\":1}}",
    ];
    for (camera, text) in all.iter().cycle().take(18).enumerate() {
        fleet.observe(key(camera as u64), "d", strange(text), Duration::ZERO);
    }
    assert_eq!(fleet.compare(Duration::ZERO).len(), 18);
}

#[test]
fn the_median_is_the_middle() {
    assert_eq!(median(&mut [3.0, 1.0, 2.0]), 2.0);
    assert_eq!(median(&mut [4.0, 1.0, 2.0, 3.0]), 2.5);
    assert_eq!(median(&mut []), 0.0);
}

/// What an hour is too short for is told once it has lasted for hours, and names the time.
#[test]
fn a_small_difference_is_told_once_it_has_lasted_for_half_a_day() {
    let mut test = Test::new();
    let mut told = None;
    let slightly = summary(7500, 4.0, 0.7, -6.0, 0.36);
    for round in 0..200 {
        let reports = test.round(16, &if round < 100 { ordinary(15) } else { slightly.clone() });
        assert!(reports.iter().filter(|r| r.key != key(15)).all(|r| r.state == PeerState::Normal), "{reports:?}");
        let found = of(&reports, 15);
        if found.state == PeerState::Odd && told.is_none() {
            assert_eq!((found.stretch, found.aspect.unwrap().0), (Stretch::Long, Aspect::ClassMix));
            assert!(found.evidence().contains(" over 6 to 12 h (robust z "), "{}", found.evidence());
            told = Some(round);
        }
    }
    assert!(told.is_some_and(|round| (130..=190).contains(&round)), "{told:?}");
}

/// The long stretch is six to twelve hours of what was said, and another model begins it anew.
#[test]
fn half_a_day_is_kept_in_two_halves() {
    let mut long = Long::default();
    let hour = |n: u64| Duration::from_secs(3600 * n);
    for n in 0..30 {
        long.take(&summary(100, 1.0, 0.5, -6.0, 0.5), hour(n));
        long.take(&summary(1, 1.0, 0.5, -6.0, 0.5), hour(n) + Duration::from_secs(3500));
        let frames = long.whole().map(|s| s.frames());
        assert_eq!(frames, (n >= 5).then_some(100 * if n < 12 { n + 1 } else { 7 + (n - 12) % 6 }), "hour {n}");
    }
}
