use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::*;
use crate::export::event::{Event, What};
use crate::export::kind::Kind;
use crate::site::report::{About, CameraFigures, Predictions, Rates, SCHEMA, Telemetry};
use crate::site::status::State;

const WINDOW: Duration = Duration::from_secs(300);
/// Midnight of a day of 2026, nanoseconds of Unix time.
const START_NS: u64 = 1_795_651_200_000_000_000;

fn at(time: Duration) -> Now {
    Now { monotonic: time, utc_ns: START_NS + u64::try_from(time.as_nanos()).unwrap() }
}

/// What an ordinary camera says, a little different for each and for each round.
fn summary(camera: usize, round: u64, confidence: f64) -> Value {
    let (v, w) = ((camera * 7 % 16) as f64 / 16.0 - 0.5, (camera * 5 % 16) as f64 / 16.0 - 0.5);
    let frames = 7500 + round;
    let objects = (frames as f64 * (4.0 + 2.0 * v)) as u64;
    let persons = (objects as f64 * (0.7 + 0.2 * w * v)) as u64;
    let bins = |n: usize| (0..n).map(|bin| if bin == n / 2 { objects } else { 0 }).collect::<Vec<_>>();
    json!({
        "frames": frames,
        "objects": objects,
        "confidence_sum": (confidence + 0.04 * w) * objects as f64,
        "area_log2_sum": (-6.0 + v - w) * objects as f64,
        "classes": { "person": persons, "car": objects - persons },
        "confidence": bins(20),
        "area": bins(24),
    })
}

/// A camera's record, as a gateway makes it.
fn record(gateway: &str, camera: &str, profile: &str, summary: Value, now: Now) -> Telemetry {
    let figures = CameraFigures {
        camera: camera.to_owned(),
        profile: profile.to_owned(),
        state: State::Playing,
        text: String::new(),
        fps: Rates::default(),
        last_frame_age_ms: Some(40),
        reconnects: 0,
        stages: BTreeMap::from([("vigilinfer".to_owned(), json!({ "fresh": 1 }))]),
        predictions: Some(Predictions {
            digest: "ab12".to_owned(),
            until: None,
            summary: serde_json::from_value(summary).unwrap(),
            peers: None,
        }),
    };
    Telemetry {
        schema: SCHEMA.to_owned(),
        id: format!("{gateway}/{camera}/{}", now.utc_ns),
        time: crate::export::record::rfc3339(now.utc_ns),
        site: gateway.to_owned(),
        interval_ms: 10_000,
        about: About::Camera(Box::new(figures)),
    }
}

/// The same, of a gateway that tells when the summary's newest window ended.
fn until(mut record: Telemetry, end: Duration) -> Telemetry {
    let About::Camera(figures) = &mut record.about else { panic!("{record:?}") };
    figures.predictions.as_mut().unwrap().until = Some(crate::export::record::rfc3339(at(end).utc_ns));
    record
}

fn bytes(record: &Telemetry) -> Vec<u8> {
    serde_json::to_vec(record).unwrap()
}

const GATEWAYS: [&str; 3] = ["dock", "gate", "yard"];

struct Site {
    watch: Watch,
    round: u64,
}

impl Site {
    fn new() -> Self {
        Self { watch: Watch::new(FleetConfig::default()), round: 0 }
    }

    fn now(&self) -> Now {
        at(WINDOW * u32::try_from(self.round).unwrap())
    }

    /// A window of all three gateways and their 24 cameras; `yard/cam7` is as sure as `last`.
    fn round(&mut self, last: f64) -> Vec<News> {
        self.round += 1;
        let now = self.now();
        let mut news = Vec::new();
        for n in 0..24 {
            let (gateway, camera) = (GATEWAYS[n / 8], format!("cam{}", n % 8));
            let confidence = if n == 23 { last } else { 0.7 };
            let record = record(gateway, &camera, "street", summary(n, self.round, confidence), now);
            let topic = format!("sites/{gateway}/{camera}/telemetry");
            news.extend(self.watch.message(&topic, &bytes(&record), now));
        }
        news.extend(self.watch.compare(now));
        news
    }
}

#[test]
fn the_one_bad_camera_of_three_gateways_is_told_once_and_until_it_is_well() {
    let mut site = Site::new();
    for _ in 0..6 {
        assert_eq!(site.round(0.7), []);
    }
    let told: Vec<Vec<News>> = (0..30).map(|_| site.round(0.45)).collect();
    assert_eq!(told.iter().flatten().count(), 1, "{told:?}");
    let place = told.iter().position(|news| !news.is_empty()).unwrap();
    assert_eq!(place + 1, FleetConfig::default().rounds as usize);
    let news = &told[place][0];
    let line = news.line();
    let expected = "2026-11-26T01:30:00.000Z yard/cam7 (street) odd ";
    assert!(line.starts_with(expected), "{line}");
    assert!(line.contains(": mean confidence 0.4") && line.contains("median of 23 others 0.7"), "{line}");

    let mut telling = Telling::new(START_NS);
    let event = telling.event(news).unwrap();
    assert_eq!((event.kind, &*event.camera), (Kind::Alarm, "fleet"));
    let event: Event<'_> = serde_json::from_slice(&event.body).unwrap();
    assert!(event.alarm && event.camera == "cam7" && event.id.starts_with("fleet/20261126T000000"), "{event:?}");
    let What::Gateway { name, data } = event.what else { panic!("{:?}", event.what) };
    assert_eq!(
        (&*name, &data["state"], &data["before"], &data["peers"]),
        ("vigil-peers", &json!("odd"), &json!("normal"), &json!(23))
    );
    assert_eq!((&data["gateway"], &data["profile"]), (&json!("yard"), &json!("street")));
    assert!(data["score"].as_f64().unwrap() > 1.0);

    let standings = site.watch.standings();
    assert_eq!((standings.len(), standings[0].key.camera.as_str(), standings[0].state), (24, "cam7", PeerState::Odd));
    assert!(standings[1..].iter().all(|report| report.state == PeerState::Normal && report.score < 1.0));
    let table = table(&standings);
    let mut lines = table.lines();
    assert!(lines.next().unwrap().starts_with("GATEWAY  CAMERA  PROFILE  STATE   SCORE  EVIDENCE"), "{table}");
    assert!(lines.next().unwrap().starts_with("yard     cam7    street   odd "), "{table}");
    assert_eq!(lines.count(), 23);
    assert_eq!(crate::site::standing::named(standings[0])["text"].as_str().unwrap(), standings[0].evidence());

    let back: Vec<News> = (0..20).flat_map(|_| site.round(0.7)).collect();
    let [news] = back.as_slice() else { panic!("{back:?}") };
    assert!(news.line().contains("yard/cam7 (street) normal "), "{}", news.line());
    let event = telling.event(news).unwrap();
    assert_eq!(event.kind, Kind::Event);
    let event: Value = serde_json::from_slice(&event.body).unwrap();
    assert_eq!((&event["data"]["before"], &event["alarm"]), (&json!("odd"), &json!(false)));
    assert!(event["id"].as_str().unwrap().ends_with("/1"), "each has its own: {event}");
}

#[test]
fn doubles_and_summaries_that_say_nothing_new_are_no_evidence() {
    let mut site = Site::new();
    (0..6).for_each(|_| _ = site.round(0.45));
    let now = site.now();
    for n in 0..30 {
        // The same summary comes with each record until the next window ends, and after an outage records come twice.
        let mut old = record("yard", "cam7", "street", summary(23, site.round, 0.45), now);
        assert_eq!(site.watch.message("a/b/telemetry", &bytes(&old), now), [], "the id of the round's own");
        old.id = format!("another/{n}");
        site.watch.message("a/b/telemetry", &bytes(&old), now);
        assert_eq!(site.watch.compare(now), []);
    }
    assert_eq!((site.watch.counts().doubles, site.watch.counts().records), (30, 6 * 24 + 30));
    assert_eq!((0..6).flat_map(|_| site.round(0.45)).count(), 1, "six more windows make twelve");
}

/// 24 cameras say the same as always, each time with a window that ended at `end`; `yard/cam7` is not sure.
fn say_again(watch: &mut Watch, end: Duration, now: Now) -> Vec<News> {
    let mut news = Vec::new();
    for n in 0..24 {
        let (gateway, camera) = (GATEWAYS[n / 8], format!("cam{}", n % 8));
        let record = record(gateway, &camera, "street", summary(n, 1, if n == 23 { 0.45 } else { 0.7 }), now);
        news.extend(watch.message("a/b/telemetry", &bytes(&until(record, end)), now));
    }
    news.extend(watch.compare(now));
    news
}

#[test]
fn a_window_counts_by_its_end_whatever_it_says() {
    let mut watch = Watch::new(FleetConfig::default());
    let mut told = Vec::new();
    for n in 1..=20 {
        for second in [0, 60, 120, 290] {
            let news = say_again(&mut watch, WINDOW * n, at(WINDOW * n + seconds(second)));
            told.extend(news.iter().map(|news| (n, second, news.line().contains("yard/cam7 (street) odd "))));
        }
    }
    assert_eq!(told, [(12, 0, true)]);
    // The gateway begins anew, and remembers windows of long ago: they are no evidence, and the camera is not gone either.
    let late = WINDOW * 20 + seconds(3600);
    assert_eq!(say_again(&mut watch, WINDOW * 3, at(late)).len(), 0);
    assert_eq!(watch.standings()[0].state, PeerState::Odd);
    // An hour after its last window nothing is known of it, though its records come.
    let news = say_again(&mut watch, WINDOW * 20, at(late + seconds(60)));
    assert!(matches!(news.as_slice(), [it] if it.line().contains("yard/cam7 (street) unknown ")), "{news:?}");
    assert_eq!((watch.standings().len(), watch.cameras()), (0, 24));
}

#[test]
fn a_camera_that_sees_nothing_is_not_forgotten_where_nobody_tells_when_windows_end() {
    let mut watch = Watch::new(FleetConfig::default());
    for minute in 1..=300 {
        let now = at(seconds(60 * minute));
        for n in 0..6 {
            let record = record("yard", &format!("cam{n}"), "street", summary(n, 1, 0.7), now);
            watch.message("a/b/telemetry", &bytes(&record), now);
        }
        assert_eq!(watch.compare(now), []);
        assert_eq!((watch.cameras(), watch.standings().len()), (6, 6), "minute {minute}");
    }
    assert!(watch.standings().iter().all(|report| report.state == PeerState::Normal));
}

#[test]
fn windows_of_hours_are_compared_too() {
    let window = seconds(2 * 3600);
    let mut watch = Watch::new(FleetConfig::default());
    let mut told = Vec::new();
    for n in 1..=20 {
        for minute in (0..120).step_by(10) {
            let news = say_again(&mut watch, window * n, at(window * n + seconds(60 * minute)));
            told.extend(news.iter().map(|news| (n, news.line().contains("yard/cam7 (street) odd "))));
        }
    }
    // After the third the watch knows how long they are.
    assert_eq!(told, [(14, true)]);
    let end = window * 21;
    assert_eq!(watch.compare(at(end + seconds(3 * 3600))), [], "three windows");
    assert_eq!(watch.compare(at(end + 3 * window)).len(), 1);
    assert_eq!(watch.cameras(), 0);
}

#[test]
fn a_gateway_is_silent_by_the_interval_that_it_has_set() {
    let mut watch = Watch::new(FleetConfig::default());
    let hear = |interval_ms, second, watch: &mut Watch| {
        let now = at(seconds(second));
        let record = Telemetry { interval_ms, ..record("yard", "cam", "", summary(1, 1, 0.7), now) };
        watch.message("v/cam/telemetry", &bytes(&record), now)
    };
    // The first record that is heard of it tells.
    hear(3_600_000, 0, &mut watch);
    assert_eq!(watch.tick(at(seconds(3 * 3600)), Duration::ZERO), []);
    hear(10_000, 3 * 3600, &mut watch);
    // It was set to another one, and the first record after that tells.
    hear(600_000, 3 * 3600 + 10, &mut watch);
    assert_eq!(watch.tick(at(seconds(3 * 3600 + 1800)), Duration::ZERO), []);
    let news = watch.tick(at(seconds(3 * 3600 + 1811)), Duration::ZERO);
    assert!(matches!(news.as_slice(), [it] if it.line().contains("gateway yard is silent since ")), "{news:?}");
    // Telemetry once a day, too.
    hear(86_400_000, 10_000, &mut watch);
    assert_eq!(watch.tick(at(seconds(10_000 + 3 * 86_400)), Duration::ZERO), []);
    assert_eq!(watch.tick(at(seconds(10_001 + 3 * 86_400)), Duration::ZERO).len(), 1);
}

#[test]
fn what_is_no_telemetry_is_told_once_and_counted() {
    let mut watch = Watch::new(FleetConfig::default());
    let now = at(WINDOW);
    let good = record("yard", "cam", "street", summary(1, 1, 0.7), now);
    let with = |change: &dyn Fn(&mut Value)| {
        let mut value = serde_json::to_value(&good).unwrap();
        change(&mut value);
        value.to_string().into_bytes()
    };
    let broken = [
        b"{\"schema\":\"vigil-telemetry/1\"".to_vec(),
        b"\xff\xfe".to_vec(),
        b"[]".to_vec(),
        b"{\"id\":\"x\"}".to_vec(),
        with(&|value| value["schema"] = json!("vigil-telemetry/2")),
        with(&|value| value["schema"] = json!("other/1")),
        with(&|value| value["time"] = json!("yesterday")),
        with(&|value| value["site"] = json!("")),
        with(&|value| value["camera"] = json!("x".repeat(300))),
        with(&|value| value["predictions"]["digest"] = json!("")),
        with(&|value| value["predictions"]["until"] = json!("soon")),
        with(&|value| value["predictions"]["summary"]["frames"] = json!(-1)),
        with(&|value| value["predictions"]["summary"]["confidence"] = json!([1])),
        with(&|value| value["text"] = json!("x".repeat(2 << 20))),
    ];
    let news: Vec<News> = broken.iter().flat_map(|body| watch.message("x/y\u{1b}[2J/telemetry", body, now)).collect();
    let [News::Note(text)] = news.as_slice() else { panic!("{news:?}") };
    assert!(text.starts_with("a message on x/y\u{fffd}[2J/telemetry is no telemetry: EOF"), "{text}");
    assert_eq!(watch.counts(), Counts { broken: broken.len() as u64, ..Counts::default() });
    for other in ["", "{\"schema\":\"vigil/1\"}", "{\"schema\":\"vigil-event/1\",\"id\":\"x\"}"] {
        assert_eq!(watch.message("x/y/frame", other.as_bytes(), now), []);
    }
    assert_eq!((watch.counts().broken, watch.cameras()), (broken.len() as u64, 0));
    // What a later version adds, and what does not matter here, is no reason.
    let later = with(&|value| {
        value["new"] = json!({ "a": 1 });
        value["state"] = json!("sleeping");
        value["predictions"]["summary"]["new"] = json!(1);
        value.as_object_mut().unwrap().remove("stages");
    });
    assert_eq!(watch.message("x/y/telemetry", &later, now), []);
    assert_eq!((watch.counts().records, watch.cameras()), (1, 1));
}

#[test]
fn records_without_predictions_only_say_that_the_gateway_is_there() {
    let mut watch = Watch::new(FleetConfig::default());
    let mut value = serde_json::to_value(record("yard", "cam", "", summary(1, 1, 0.7), at(WINDOW))).unwrap();
    value.as_object_mut().unwrap().remove("predictions");
    let gateway =
        json!({ "schema": SCHEMA, "id": "g", "time": "2026-11-26T10:00:00Z", "site": "yard", "about": "gateway" });
    for value in [value, gateway] {
        assert_eq!(watch.message("x/y/telemetry", value.to_string().as_bytes(), at(WINDOW)), []);
    }
    assert_eq!((watch.cameras(), watch.gateways(), watch.counts().records), (0, 1, 2));
}

#[test]
fn cameras_of_another_profile_are_no_peers() {
    let mut site = Site::new();
    let mut news = Vec::new();
    for _ in 0..20 {
        news.extend(site.round(0.7));
        let now = site.now();
        for n in 0..3 {
            let record = record("yard", &format!("door{n}"), "indoors", summary(n, site.round, 0.4), now);
            site.watch.message("a/b/telemetry", &bytes(&record), now);
        }
    }
    assert_eq!(news, []);
    let standings = site.watch.standings();
    let indoors: Vec<_> = standings.iter().filter(|report| report.key.profile == "indoors").collect();
    assert_eq!(indoors.len(), 3);
    assert!(indoors.iter().all(|report| report.state == PeerState::Alone));
}

#[test]
fn an_odd_camera_that_says_nothing_more_is_told_and_forgotten() {
    let mut site = Site::new();
    (0..20).for_each(|_| _ = site.round(0.45));
    let later = at(site.now().monotonic + Duration::from_secs(3601));
    let news = site.watch.compare(later);
    let [news] = news.as_slice() else { panic!("{news:?}") };
    assert!(news.line().contains("yard/cam7 (street) unknown 0.00: it has not said enough"), "{}", news.line());
    assert_eq!(site.watch.cameras(), 0);
}

/// Telemetry of a gateway comes.
fn hear(watch: &mut Watch, gateway: &str, topic: &str, now: Now) -> Vec<News> {
    watch.message(topic, &bytes(&record(gateway, "cam", "", summary(1, 1, 0.7), now)), now)
}

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

#[test]
fn a_gateway_whose_telemetry_stops_is_silent_until_it_comes_again() {
    let mut watch = Watch::new(FleetConfig::default());
    assert_eq!(hear(&mut watch, "yard", "v/cam/telemetry", at(seconds(100))), []);
    assert_eq!(watch.tick(at(seconds(130)), Duration::ZERO), []);
    assert_eq!(watch.tick(at(seconds(145)), seconds(20)), [], "the broker itself says nothing");
    let news = watch.tick(at(seconds(131)), Duration::ZERO);
    let [news] = news.as_slice() else { panic!("{news:?}") };
    assert_eq!(
        news.line(),
        "2026-11-26T00:02:11.000Z gateway yard is silent since 2026-11-26T00:01:40.000Z: no telemetry has come, which came every 10 s before"
    );
    let event = Telling::new(START_NS).event(news).unwrap();
    let value: Value = serde_json::from_slice(&event.body).unwrap();
    assert_eq!(
        (event.kind, &value["name"], &value["data"]["state"]),
        (Kind::Alarm, &json!("gateway"), &json!("silent"))
    );
    assert_eq!(watch.tick(at(seconds(200)), Duration::ZERO), [], "once");
    let news = hear(&mut watch, "yard", "v/cam/telemetry", at(seconds(300)));
    let [news] = news.as_slice() else { panic!("{news:?}") };
    assert!(
        news.line().contains("gateway yard is online: its telemetry comes again; it was silent since"),
        "{}",
        news.line()
    );
    assert_eq!(Telling::new(START_NS).event(news).unwrap().kind, Kind::Event);
    // While nobody was listening, nobody was silent.
    watch.connected(at(seconds(900)));
    assert_eq!(watch.tick(at(seconds(920)), Duration::ZERO), []);
    assert_eq!(watch.tick(at(seconds(931)), Duration::ZERO).len(), 1);
    watch.tick(at(seconds(90_000)), Duration::ZERO);
    assert_eq!(watch.gateways(), 0, "forgotten after a day");
}

#[test]
fn a_gateway_whose_client_is_gone_is_offline_unless_telemetry_says_otherwise() {
    let mut watch = Watch::new(FleetConfig::default());
    let (online, lost) = (br#"{"state":"online"}"#, br#"{"state":"offline","reason":"lost"}"#);
    for (gateway, place) in [("dock", "s/a"), ("gate", "s/a"), ("yard", "s/b")] {
        hear(&mut watch, gateway, &format!("{place}/cam/telemetry"), at(seconds(100)));
    }
    // The broker keeps what was said of clients that are long gone.
    watch.message("s/b/old/status", lost, at(seconds(101)));
    assert_eq!(watch.tick(at(seconds(120)), Duration::ZERO), []);
    watch.message("s/a/new/status", online, at(seconds(121)));
    watch.message("s/a/new/status", b"garbage", at(seconds(121)));
    watch.message("s/a/new/status", lost, at(seconds(122)));
    hear(&mut watch, "gate", "s/a/cam/telemetry", at(seconds(123)));
    let news = watch.tick(at(seconds(124)), Duration::ZERO);
    let [news] = news.as_slice() else { panic!("{news:?}") };
    assert_eq!(
        news.line(),
        "2026-11-26T00:02:04.000Z gateway dock is offline: the broker has lost its connection; its last telemetry came at 2026-11-26T00:01:40.000Z"
    );
    let news = hear(&mut watch, "dock", "s/a/cam/telemetry", at(seconds(125)));
    assert!(news[0].line().contains("dock is online"), "{news:?}");
    // Telemetry after the farewell was another client's: nobody is taken for gone before the time of silence.
    hear(&mut watch, "yard", "s/b/cam/telemetry", at(seconds(125)));
    assert_eq!(watch.tick(at(seconds(145)), Duration::ZERO), []);
    assert_eq!(watch.counts().broken, 0);
}

#[test]
fn what_it_keeps_is_bounded() {
    let mut watch = Watch::new(FleetConfig { most: 5, ..FleetConfig::default() });
    let mut news = Vec::new();
    for n in 0..50 {
        let record = record(&format!("g{n}"), "cam", "", summary(n, 1, 0.7), at(WINDOW));
        news.extend(watch.message("a/b/telemetry", &bytes(&record), at(WINDOW)));
        let _ = watch.message(&format!("a/{n}/status"), br#"{"state":"online"}"#, at(WINDOW));
    }
    assert!(matches!(news.as_slice(), [News::Note(text)] if text.starts_with("5 cameras are compared")), "{news:?}");
    assert_eq!((watch.cameras(), watch.gateways(), watch.counts().left_out), (5, 5, 45));
    let mut doubles = heard::Doubles::default();
    for n in 0..100_000 {
        assert!(doubles.is_new(&n.to_string()));
    }
    assert!(!doubles.is_new("99999") && !doubles.is_new("40000") && doubles.is_new("0"), "the oldest are forgotten");
}

#[test]
fn old_records_are_not_compared_and_told_once() {
    let mut watch = Watch::new(FleetConfig::default());
    let now = at(seconds(10_000));
    let mut news = Vec::new();
    for n in 0..10 {
        let record = record("yard", &format!("cam{n}"), "", summary(n, 1, 0.7), at(seconds(100)));
        news.extend(watch.message("a/b/telemetry", &bytes(&record), now));
    }
    assert!(matches!(news.as_slice(), [News::Note(text)] if text.contains("yard sends records that are 165 min old")));
    assert_eq!((watch.counts().old, watch.cameras(), watch.gateways()), (10, 0, 1));
    hear(&mut watch, "yard", "a/b/telemetry", now);
    assert_eq!(watch.cameras(), 1);
}

#[test]
fn names_of_strangers_cannot_write_to_the_terminal() {
    let mut site = Site::new();
    for round in 0..20 {
        site.round(0.7);
        let record = record("y\u{1b}[2J", "c\n\u{9b}1m", "street", summary(3, round, 0.3), site.now());
        site.watch.message("a/b/telemetry", &bytes(&record), site.now());
    }
    let standings = site.watch.standings();
    assert_eq!((standings.len(), standings[0].state), (25, PeerState::Odd));
    let news = News::Camera(Box::new(standings[0].clone()), START_NS);
    assert!(!news.line().chars().any(char::is_control), "{:?}", news.line());
    let table = table(&standings);
    assert_eq!(table.lines().count(), 26);
    assert!(!table.chars().any(|c| c.is_control() && c != '\n'), "{table:?}");
}

proptest::proptest! {
    #[test]
    fn no_message_panics(
        topic in "[a-z/+#]{0,12}(/status)?",
        body in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..60),
        name in "\\PC{0,20}",
        cut in 0_usize..900,
    ) {
        let mut watch = Watch::new(FleetConfig::default());
        watch.message(&topic, &body, at(WINDOW));
        let mut whole = bytes(&record(&name, &name, &name, summary(1, 1, 0.7), at(WINDOW)));
        whole.truncate(cut);
        watch.message(&topic, &whole, at(WINDOW));
        watch.compare(at(WINDOW));
        watch.tick(at(WINDOW * 9), Duration::ZERO);
    }
}
