use std::time::Instant;

use super::*;
use crate::site::description::NoSignal;
use crate::site::plan::{CameraPlan, Node, Policy};
use crate::site::units::Span;

/// A site with a camera that is switched off, whose stage is of this factory.
fn plan(name: &str, factory: &str) -> Plan {
    let node = |factory: &str| Node {
        factory: factory.into(),
        name: "stage".into(),
        properties: BTreeMap::new(),
        live: [].into(),
    };
    let camera = CameraPlan {
        enabled: false,
        profile: String::new(),
        shown_uri: String::new(),
        source: Vec::new(),
        watchdog: None,
        guarded: vec![node(factory)],
        open: vec![node("vigiloverlay")],
        decoder_threads: 0,
        policy: Policy {
            silent_after: Duration::from_secs(1),
            reconnect_first: Duration::from_secs(1),
            reconnect_most: Duration::from_secs(1),
            ends: false,
            repeats: false,
            no_signal: NoSignal::Nothing,
        },
        outputs: Vec::new(),
    };
    Plan {
        name: name.into(),
        api: Default::default(),
        rtsp: Default::default(),
        telemetry: TelemetryTo { interval: Span::from_secs(3600), ..Default::default() },
        cameras: [("gate".to_owned(), camera)].into(),
        tiles: BTreeMap::new(),
    }
}

#[test]
fn it_is_there_where_something_is_compared_or_sent() {
    assert!(is_wanted(&plan("yard", "vigildrift")));
    let mut other = plan("yard", "vigilinfer");
    assert!(!is_wanted(&other));
    other.telemetry.uri = Some("file:telemetry.jsonl".into());
    assert!(is_wanted(&other));
}

#[test]
fn windows_are_those_of_all_stages() {
    let mut plan = plan("yard", "vigildrift");
    let usual = DriftConfig::default().window;
    assert_eq!(windows(&plan), Some((usual, usual)), "unless somebody says otherwise");
    let mut other = plan.cameras["gate"].clone();
    other.guarded[0].properties.insert("window".into(), Value::Text("7200000000000".into()));
    plan.cameras.insert("hall".into(), other);
    assert_eq!(windows(&plan), Some((usual, Duration::from_secs(7200))));
    plan.cameras.values_mut().for_each(|camera| camera.guarded.clear());
    assert_eq!(windows(&plan), None);
}

#[test]
fn a_site_has_its_thread_only_while_it_is_wanted() {
    gst::init().unwrap();
    let site = Site::new();
    let reporter = |site: &Site| lock(&site.0.state).reporter.as_ref().map(|running| Arc::clone(&running.standings));
    site.apply(plan("yard", "vigilinfer"));
    assert!(reporter(&site).is_none() && site.peers().is_empty());
    site.apply(plan("yard", "vigildrift"));
    let first = reporter(&site).unwrap();
    site.apply(plan("yard", "vigildrift"));
    assert!(Arc::ptr_eq(&first, &reporter(&site).unwrap()), "the same plan changes nothing");
    site.apply(plan("other", "vigildrift"));
    assert!(!Arc::ptr_eq(&first, &reporter(&site).unwrap()), "records are named after the site");
    // The thread has the other reference to what it found out; it ends before the next look, which is in a minute.
    let end = Instant::now() + Duration::from_secs(30);
    while Arc::strong_count(&first) > 1 {
        assert!(Instant::now() < end, "the first one ends");
        std::thread::park_timeout(Duration::from_millis(10));
    }
    let second = reporter(&site).unwrap();
    site.apply(plan("other", "vigilinfer"));
    assert!(reporter(&site).is_none());
    while Arc::strong_count(&second) > 1 {
        assert!(Instant::now() < end, "the second one ends");
        std::thread::park_timeout(Duration::from_millis(10));
    }
    assert!(site.stop(Duration::from_secs(10)));
}
