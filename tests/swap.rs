//! Models that are replaced while frames flow: who may ask, what is told, what the frames say.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may")]

mod common;

use common::model;
use common::swap_rig::{BRIGHT, Camera, QUICK, id, phases, text};
use gst::prelude::*;
use gstvigil::result::Freshness;

const ALL: [&str; 8] = ["requested", "staged", "verified", "loaded", "proven", "activated", "probation", "confirmed"];

/// Asks in some way for `blob96`.
fn asks(how: impl FnOnce(&Camera), cause: &str) {
    let mut camera = Camera::start(&model("blob"), QUICK);
    for _ in 0..3 {
        assert_eq!(camera.look().objects[0].label.as_ref(), "red");
    }
    how(&camera);
    let told = camera.outcome(1);
    assert_eq!(phases(&told), ALL, "{told:#?}");
    assert!(told.iter().all(|s| text(s, "cause") == cause && text(s, "old-name") == "blob"), "{told:#?}");
    let last = told.last().unwrap();
    assert_eq!((text(last, "new-name").as_str(), text(last, "new-model")), ("blob96", model("blob96")));
    assert_eq!(camera.active(), "blob96");
    assert_eq!(camera.element.property::<String>("model"), model("blob96"));
    camera.look();
    // Input size and class list are others; what is found is the same.
    let (first, last) = (camera.results.first().unwrap(), camera.results.last().unwrap());
    assert_eq!((first.objects[0].class_id, last.objects[0].class_id), (0, 1));
    assert!(camera.results.iter().all(|r| r.freshness == Freshness::Fresh && r.objects.len() == 1));
    for result in &camera.results {
        let id = if result.model.as_ref().unwrap().name == "blob" { 0 } else { 1 };
        assert_eq!(result.objects[0].class_id, id, "labels and weights change together");
    }
    assert!(first.objects[0].bbox.iou(&last.objects[0].bbox) > 0.9);
}

#[test]
fn the_property_asks_for_another_model() {
    asks(|camera| camera.element.set_property("model", model("blob96")), "property");
}

#[test]
fn the_signal_asks_for_another_model() {
    asks(|camera| assert_eq!(camera.swap(&model("blob96")), 1), "signal");
}

/// The event's content, for an element.
fn order(model: &str, element: Option<&str>) -> gst::Structure {
    common::init();
    let mut order = gst::Structure::builder("vigil-swap-model").field("model", model).build();
    if let Some(element) = element {
        order.set("element", element);
    }
    order
}

#[test]
fn an_event_from_either_side_asks_for_another_model() {
    let content = order(&model("blob96"), None);
    asks(|camera| assert!(camera.element.send_event(gst::event::CustomUpstream::new(content))), "event");
    let content = order(&model("blob96"), Some("eye"));
    asks(
        |camera| {
            let sink = camera.element.static_pad("sink").unwrap();
            assert!(sink.send_event(gst::event::CustomDownstream::new(content)));
        },
        "event",
    );
}

#[test]
fn an_event_for_another_element_passes() {
    let mut camera = Camera::start(&model("blob"), QUICK);
    camera.look();
    let sink = camera.element.static_pad("sink").unwrap();
    assert!(sink.send_event(gst::event::CustomDownstream::new(order(&model("blob96"), Some("other")))));
    let passed = std::iter::from_fn(|| camera.harness.try_pull_event());
    assert!(passed.into_iter().any(|e| e.structure().is_some_and(|s| s.name() == "vigil-swap-model")));
    assert_eq!(camera.stats().get::<u64>("swaps").unwrap(), 0);
}

#[test]
fn an_applications_message_is_relayed_as_an_event() {
    let content = order(&model("blob96"), None);
    asks(
        |camera| {
            // What an application's bus handler does with its own message.
            let message = gst::message::Application::new(content);
            let content = message.structure().unwrap().to_owned();
            assert!(camera.element.send_event(gst::event::CustomUpstream::new(content)));
        },
        "event",
    );
}

#[test]
fn each_message_tells_what_it_should_and_the_history_has_them() {
    let mut camera = Camera::start(&model("blob"), QUICK);
    let number = camera.swap(&model("blob96"));
    let told = camera.outcome(number);
    let mut elapsed = 0;
    for message in &told {
        let now: u64 = message.get("elapsed").unwrap();
        assert!(now >= elapsed && message.get::<u64>("phase-time").unwrap() <= now, "{message:?}");
        elapsed = now;
        assert!(message.get::<u64>("utc").unwrap() > 1_700_000_000_000_000_000, "{message:?}");
        assert!(!text(message, "text").is_empty(), "{message:?}");
        let known = phases(std::slice::from_ref(message)) != ["requested"];
        assert_eq!(text(message, "new-digest").len(), if known { 64 } else { 0 }, "{message:?}");
        assert_eq!(text(message, "old-digest").len(), 64);
        assert!(!message.has_field("reason"), "{message:?}");
    }
    let history: gst::Array = camera.element.property("swap-history");
    let kept: Vec<gst::Structure> = history.iter().map(|s| s.get().unwrap()).collect();
    assert_eq!(kept, told);
    let stats = camera.stats();
    let count = |field: &str| stats.get::<u64>(field).unwrap();
    assert_eq!((count("swaps"), count("swaps-confirmed"), count("swaps-rejected")), (1, 1, 0));
    assert_eq!((count("swap-request-id"), text(&stats, "swap-phase").as_str()), (1, "confirmed"));
}

#[test]
fn a_model_that_is_active_already_is_confirmed_at_once() {
    let mut camera = Camera::start(&model("blob"), QUICK);
    camera.look();
    assert_eq!(camera.swapped(&model("blob")), ("confirmed".into(), "unchanged".into()));
}

#[test]
fn a_model_that_cannot_be_used_is_rejected_and_the_property_tells_the_one_that_runs() {
    let mut camera = Camera::start(&model("blob"), QUICK);
    camera.look();
    camera.element.set_property("model", "/no/such/model.onnx");
    let last = camera.outcome(1).pop().unwrap();
    assert_eq!((text(&last, "phase").as_str(), text(&last, "reason").as_str()), ("rejected", "not-found"));
    assert!(text(&last, "text").contains("/no/such/model.onnx"), "{last:?}");
    assert_eq!((camera.active(), camera.element.property::<String>("model")), ("blob".into(), model("blob")));
    // It starts again with the model that works.
    camera.element.set_state(gst::State::Null).unwrap();
    camera.element.set_state(gst::State::Playing).unwrap();
    assert_eq!(camera.active(), "blob");
}

#[test]
fn before_the_element_runs_the_signal_sets_what_it_starts_with() {
    common::init();
    let element = gst::parse::launch("vigilinfer").unwrap();
    let number: u64 = element.emit_by_name("swap-model", &[&model("blob"), &None::<gst::Structure>]);
    assert_eq!((number, element.property::<String>("model")), (0, model("blob")));
}

#[test]
fn a_later_request_takes_the_place_of_an_earlier_one() {
    let mut camera = Camera::start(&model("blob"), QUICK);
    camera.look();
    let (first, second) = (camera.swap(&model("blob_hang_load")), camera.swap(&model("blob96")));
    let told = camera.outcome(second);
    assert_eq!(phases(&told).last().unwrap(), "confirmed");
    let history: gst::Array = camera.element.property("swap-history");
    let of_first: Vec<gst::Structure> =
        history.iter().map(|s| s.get::<gst::Structure>().unwrap()).filter(|s| id(s) == first).collect();
    let last = of_first.last().unwrap();
    assert_eq!((text(last, "phase"), text(last, "reason")), ("rejected".into(), "superseded".into()));
    assert_eq!(camera.active(), "blob96");
}

#[test]
fn of_a_thousand_requests_the_last_one_counts() {
    let mut camera = Camera::start(&model("blob"), QUICK);
    camera.look();
    let mut last = 0;
    for n in 0..1000 {
        last = camera.swap(&model(if n % 2 == 0 { "blob_three" } else { "blob96" }));
    }
    assert_eq!(last, 1000);
    assert_eq!(phases(&camera.outcome(last)).last().unwrap(), "confirmed");
    let stats = camera.stats();
    let count = |field: &str| stats.get::<u64>(field).unwrap();
    assert_eq!(count("swaps"), 1000);
    assert_eq!(count("swaps-confirmed") + count("swaps-rejected") + count("swaps-rolled-back"), 1000);
    assert!(camera.results.iter().all(|r| r.freshness == Freshness::Fresh));
}

#[test]
fn a_model_on_probation_that_goes_wrong_is_rolled_back() {
    let rules = "probation-time=0 probation-frames=200";
    for (bad, reason) in [("blob_nan", "non-finite"), ("blob_blind", "disagreement"), ("blob_slow", "latency")] {
        let mut camera = Camera::start(&model("blob"), rules);
        camera.look();
        let number = camera.swap(&model(bad));
        camera.until("probation", |s| text(s, "phase") == "probation");
        camera.color = BRIGHT;
        let last = camera.outcome(number).pop().unwrap();
        assert_eq!((text(&last, "phase"), text(&last, "reason")), ("rolled-back".into(), reason.into()), "{last:?}");
        assert_eq!((camera.active(), camera.element.property::<String>("model")), ("blob".into(), model("blob")));
        let result = camera.look();
        assert_eq!((result.freshness, result.objects.len()), (Freshness::Fresh, 1));
    }
}

#[test]
fn an_application_may_shorten_the_probation() {
    let mut camera = Camera::start(&model("blob"), "probation-frames=1000000");
    camera.look();
    let options = gst::Structure::builder("options").field("probation-time", 0_u64).field("probation-frames", 3_u64);
    let number = camera.swap_with(&model("blob96"), Some(options.build()));
    assert_eq!(phases(&camera.outcome(number)), ALL);
}

#[test]
fn stopping_gives_up_what_is_under_way() {
    let mut camera = Camera::start(&model("blob"), QUICK);
    camera.look();
    camera.swap(&model("blob_hang_load"));
    camera.until("staged", |s| text(s, "phase") == "staged");
    camera.element.set_state(gst::State::Null).unwrap();
    camera.element.set_state(gst::State::Playing).unwrap();
    assert_eq!(camera.active(), "blob");
    assert_eq!(camera.swapped(&model("blob96")), ("confirmed".into(), String::new()));
}
