//! Models beside the active one, and models below it: shadow runs, and the way down where a model cannot be used.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may")]

mod common;

use std::path::Path;
use std::time::Instant;

use common::bundles::{Draft, NAME};
use common::site::{path, wait_until};
use common::swap_rig::{BRIGHT, Camera, QUICK, id, phases, text};
use common::{messages, model};
use gst::prelude::*;
use gstvigil::bundle::digest;
use gstvigil::result::{AbsentReason, Freshness};

/// A shadow run that is judged after ten samples, reports often and may use what it likes. How long it takes says nothing
/// on a machine that is busy with other tests.
const SHADOW: &str = "shadow-cpu=1000 shadow-time=0 shadow-samples=10 shadow-report=20000000 shadow-max-slowdown=0 \
     probation-time=0 probation-frames=5 probation-max-slowdown=0";

fn count(s: &gst::StructureRef, field: &str) -> u64 {
    s.get(field).unwrap_or_else(|e| panic!("{field}: {e}: {s:?}"))
}

fn phase_is(s: &gst::StructureRef, phase: &str) -> bool {
    s.name() == "vigil-model" && text(s, "phase") == phase
}

/// Lets frames flow until a report of a shadow run has `samples` or more; it, and all messages before.
#[track_caller]
fn report(camera: &mut Camera, samples: u64) -> (gst::Structure, Vec<gst::Structure>) {
    let enough = |s: &gst::Structure| s.name() == "vigil-shadow" && count(s, "samples") >= samples;
    let mut all = camera.until("a report with samples", enough);
    (all.pop().unwrap(), all)
}

/// No thread of a swap is left.
#[track_caller]
fn settled() {
    wait_until("the swapper ends", || !common::threads().iter().any(|name| name == "vigil-swap"));
}

/// A copy of a small model under another name.
fn twin(of: &str, under: &Path) -> String {
    let copy = under.join(format!("twin_{of}.onnx"));
    std::fs::copy(model(of), &copy).unwrap();
    path(&copy)
}

/// Every frame was looked at by `name`, which found what is red.
#[track_caller]
fn only(camera: &Camera, name: &str) {
    assert!(!camera.results.is_empty());
    for result in &camera.results {
        assert_eq!((result.freshness, result.objects.len()), (Freshness::Fresh, 1), "{result:?}");
        assert_eq!((result.model.as_ref().unwrap().name.as_str(), &*result.objects[0].label), (name, "red"));
    }
}

#[test]
fn a_shadow_run_tells_how_far_the_models_agree_and_changes_no_result() {
    let folder = tempfile::tempdir().unwrap();
    let twin = twin("blob", folder.path());
    // What it is told of, and whether it is set before the start.
    let cases = [
        (twin.as_str(), "matched", true),
        (&model("blob_blind"), "missed", false),
        (&model("blob96"), "matched", false),
    ];
    for (shadow, kind, before) in cases {
        let set = if before { format!("shadow-model={shadow}") } else { String::new() };
        let mut camera = Camera::start(&model("blob"), &format!("{SHADOW} {set}"));
        camera.color = BRIGHT;
        camera.look();
        if !before {
            camera.element.set_property("shadow-model", shadow);
        }
        let told = camera.until("the verdict", |s| phase_is(s, "shadowed"));
        let records: Vec<_> = told.into_iter().filter(|s| s.name() == "vigil-model").collect();
        assert_eq!(phases(&records), ["requested", "staged", "verified", "loaded", "proven", "shadowed"], "{shadow}");
        assert!(records.iter().all(|s| text(s, "cause") == "shadow" && text(s, "new-model") == shadow));
        let (last, _) = report(&mut camera, 15);
        let samples = count(&last, "samples");
        for field in ["matched", "missed", "extra", "class-changes", "foreign", "errors", "non-finite"] {
            assert_eq!(count(&last, field), if field == kind { samples } else { 0 }, "{shadow}: {field} in {last:?}");
        }
        let agreement: f64 = last.get("agreement").unwrap();
        assert_eq!(agreement, if kind == "matched" { 1.0 } else { 0.0 }, "{shadow}");
        assert!(last.get::<f64>("score-shift").unwrap().abs() < 0.05);
        assert!(count(&last, "frames") >= samples && count(&last, "run-median") > 0, "{last:?}");
        assert!(count(&last, "active-run-median") > 0 && count(&last, "run-p99") >= count(&last, "run-median"));
        let stats = camera.stats();
        assert!(
            count(&stats, "shadow-samples") >= samples && stats.get::<f64>("shadow-agreement").unwrap() == agreement
        );
        assert_eq!((camera.active().as_str(), camera.element.property::<String>("model")), ("blob", model("blob")));
        only(&camera, "blob");
    }
}

#[test]
fn another_shadow_model_takes_its_place_and_none_ends_it() {
    let mut camera = Camera::start(&model("blob"), &format!("{SHADOW} shadow-model={}", model("blob96")));
    let (first, _) = report(&mut camera, 2);
    camera.element.set_property("shadow-model", model("blob_three"));
    let told =
        camera.until("another run", |s| s.name() == "vigil-shadow" && id(s) > id(&first) && count(s, "samples") > 2);
    let ended = told.iter().find(|s| phase_is(s, "rejected")).unwrap();
    assert_eq!((id(ended), text(ended, "reason").as_str()), (id(&first), "superseded"));
    assert!(told.iter().any(|s| phase_is(s, "loaded") && text(s, "new-name") == "blob_three"));
    // A setting of it: the run begins anew by it.
    camera.element.set_property("shadow-samples", 3);
    camera.until("a new run", |s| phase_is(s, "shadowed") && id(s) > id(&first) + 1);

    camera.element.set_property("shadow-model", None::<&str>);
    camera.until("the end", |s| phase_is(s, "rejected") && id(s) > id(&first) + 1);
    settled();
    let before = count(&camera.stats(), "shadow-frames");
    for _ in 0..50 {
        camera.look();
    }
    assert_eq!(count(&camera.stats(), "shadow-frames"), before);
    only(&camera, "blob");
}

#[test]
fn a_swap_wins_over_a_shadow_run_which_then_comes_back() {
    let mut camera = Camera::start(&model("blob"), &format!("{SHADOW} shadow-model={}", model("blob_three")));
    let (first, _) = report(&mut camera, 2);
    assert_eq!(camera.swapped(&model("blob96")), ("confirmed".into(), String::new()));
    let told = camera.until("the run comes back", |s| s.name() == "vigil-shadow" && id(s) > id(&first) + 1);
    let requested = told.iter().find(|s| phase_is(s, "requested")).unwrap();
    assert_eq!((text(requested, "cause").as_str(), text(requested, "old-name").as_str()), ("shadow", "blob96"));
    assert_eq!((camera.active().as_str(), camera.element.property::<String>("model")), ("blob96", model("blob96")));
    // And so it does after a restart.
    camera.element.set_state(gst::State::Null).unwrap();
    camera.element.set_state(gst::State::Playing).unwrap();
    camera.until("it is back", |s| s.name() == "vigil-shadow" && id(s) > id(requested) && count(s, "samples") > 0);
}

#[test]
fn a_shadow_model_that_is_good_takes_over_where_that_is_wanted() {
    let mut camera = Camera::start(&model("blob"), &format!("{SHADOW} shadow-model={}", model("blob96")));
    report(&mut camera, 2);
    assert_eq!(camera.active(), "blob");
    // While it runs.
    camera.element.set_property("shadow-promote", true);
    let told = camera.until("the end", |s| phase_is(s, "confirmed"));
    let number = id(told.last().unwrap());
    let records: Vec<_> = told.into_iter().filter(|s| s.name() == "vigil-model" && id(s) == number).collect();
    let (before, after) =
        (["requested", "staged", "verified", "loaded", "proven"], ["shadowed", "activated", "probation"]);
    assert_eq!(phases(&records), [&before[..], &after, &["confirmed"]].concat());
    assert!(records.iter().all(|s| text(s, "cause") == "shadow"));
    assert_eq!((camera.active().as_str(), camera.element.property::<String>("model")), ("blob96", model("blob96")));
    settled();
    assert_eq!(camera.look().objects[0].class_id, 1);
}

#[test]
fn a_shadow_model_that_is_bad_is_rejected_and_not_tried_again() {
    let line = format!("{SHADOW} shadow-promote=true shadow-model={}", model("blob_blind"));
    let mut camera = Camera::start(&model("blob"), &line);
    camera.color = BRIGHT;
    let last = camera.until("the end", |s| phase_is(s, "rejected")).pop().unwrap();
    assert_eq!((text(&last, "reason").as_str(), text(&last, "cause").as_str()), ("disagreement", "shadow"));
    settled();
    // A swap does not bring it back either.
    assert_eq!(camera.swapped(&model("blob_three")).0, "confirmed");
    settled();
    assert_eq!(count(&camera.stats(), "swaps"), 2);
    camera.results.retain(|r| r.model.as_ref().unwrap().name == "blob");
    only(&camera, "blob");
}

#[test]
fn the_active_model_itself_is_no_shadow_until_it_is_replaced() {
    let mut camera = Camera::start(&model("blob"), &format!("{SHADOW} shadow-model={}", model("blob")));
    let last = camera.until("the end", |s| phase_is(s, "confirmed")).pop().unwrap();
    assert_eq!((text(&last, "reason").as_str(), text(&last, "cause").as_str()), ("unchanged", "shadow"));
    settled();
    assert_eq!(camera.swapped(&model("blob96")).0, "confirmed");
    let (last, _) = report(&mut camera, 5);
    assert_eq!(last.get::<f64>("agreement").unwrap(), 1.0);
    assert_eq!(camera.active(), "blob96");
}

#[test]
fn a_shadow_model_that_breaks_reaches_nobody() {
    // Whatever the isolation of the active engine: the crash is one of another process.
    for (bad, why) in [("blob_crash", "errors"), ("blob_nan", "non-finite")] {
        let mut camera = Camera::start(&model("blob"), &format!("{SHADOW} shadow-model={}", model(bad)));
        report(&mut camera, 2);
        camera.color = BRIGHT;
        camera.element.set_property("shadow-promote", true);
        let last =
            camera.until("the end", |s| phase_is(s, "rejected") && text(s, "reason") != "superseded").pop().unwrap();
        assert_eq!((text(&last, "reason").as_str(), text(&last, "new-name").as_str()), (why, bad), "{last:?}");
        only(&camera, "blob");
    }
}

#[test]
fn a_shadow_model_that_hangs_reaches_nobody() {
    let line = format!("{SHADOW} engine-timeout=3000000000 shadow-promote=true shadow-model={}", model("hang"));
    let mut camera = Camera::start(&model("red"), &line);
    // Over 9/10 of green there is no end; on a square, since the bars of a letterbox count.
    camera.caps = common::caps(gst_video::VideoFormat::Rgb, 160, 160);
    camera.harness.set_src_caps(camera.caps.clone());
    camera.color = (255, 250, 0);
    let last = camera.until("the end", |s| phase_is(s, "rejected")).pop().unwrap();
    assert_eq!((text(&last, "reason").as_str(), text(&last, "new-name").as_str()), ("errors", "hang"), "{last:?}");
    assert!(camera.results.iter().all(|r| r.freshness == Freshness::Fresh));
}

#[test]
fn a_shadow_run_keeps_to_its_processor_time() {
    let mut camera =
        Camera::start(&model("blob"), &format!("{SHADOW} shadow-cpu=0.02 shadow-model={}", model("blob_slow")));
    camera.color = BRIGHT;
    let begun = Instant::now();
    let (last, _) = report(&mut camera, 2);
    let from = camera.frames;
    while camera.frames < from + 200 {
        camera.look();
    }
    let (last, _) = report(&mut camera, count(&last, "samples"));
    let spent = count(&last, "frames") as f64 * count(&last, "run-median") as f64 / 1e9;
    let most = 0.02 * begun.elapsed().as_secs_f64();
    let longest = count(&last, "run-p99") as f64 / 1e9;
    assert!(spent <= most * 1.5 + 2.0 * longest, "{spent} s of {most} s: {last:?}");
    assert!(count(&last, "frames") < 100, "{last:?}");
    only(&camera, "blob");
}

#[test]
fn a_swap_may_ask_for_a_shadow_run_first() {
    let mut camera = Camera::start(&model("blob"), SHADOW);
    let shadow = |probation: i32| {
        // As a structure's text has numbers: int.
        let options = gst::Structure::builder("options").field("shadow", true);
        options.field("probation-time", 0).field("probation-frames", probation).build()
    };
    let number = camera.swap_with(&model("blob96"), Some(shadow(4)));
    let told = camera.outcome(number);
    assert_eq!(phases(&told)[5..], ["shadowed", "activated", "probation", "confirmed"], "{told:#?}");
    let probation = told.iter().find(|s| phase_is(s, "probation")).unwrap();
    assert!(text(probation, "text").contains("and 4 answered frames"), "{probation:?}");
    camera.color = BRIGHT;
    let number = camera.swap_with(&model("blob_blind"), Some(shadow(4)));
    let last = camera.outcome(number).pop().unwrap();
    assert_eq!((text(&last, "phase").as_str(), text(&last, "reason").as_str()), ("rejected", "disagreement"));
    assert_eq!(camera.active(), "blob96");
}

#[test]
fn models_that_look_at_objects_have_shadows_too() {
    let line = format!("inference-region=objects confidence=0.3 {SHADOW} shadow-model={}", model("batch"));
    let mut camera = Camera::behind(&format!("vigilinfer model={}", model("blob")), &model("colors"), &line);
    let (last, _) = report(&mut camera, 10);
    assert_eq!(last.get::<f64>("agreement").unwrap(), 1.0, "{last:?}");
    assert_eq!((count(&last, "errors"), count(&last, "missed"), count(&last, "foreign")), (0, 0, 0));
    for result in &camera.results {
        let object = &result.objects[0];
        assert_eq!((&*object.label, object.attributes.len(), &*object.attributes[0].name), ("red", 1, "colors"));
    }
    camera.element.set_property("shadow-promote", true);
    camera.until("the end", |s| phase_is(s, "confirmed"));
    camera.look();
    assert_eq!(&*camera.look().objects[0].attributes[0].name, "batch");
}

/// A bundle of variants, by their weights in the order of trial.
fn variants(release: &str, weights: &[Vec<u8>], under: &Path) -> String {
    let folder = Draft::new("red", release).labels(&["red", "blue"]).size(32).folder(under);
    std::fs::remove_file(folder.join("model.onnx")).unwrap();
    let manifest = std::fs::read_to_string(folder.join("bundle.toml")).unwrap();
    let (head, _) = manifest.split_once("[[variant]]").unwrap();
    let mut manifest = head.to_owned();
    for (n, bytes) in weights.iter().enumerate() {
        std::fs::write(folder.join(format!("{n}.onnx")), bytes).unwrap();
        manifest += &format!("[[variant]]\nfile = \"{n}.onnx\"\nsha256 = \"{}\"\n\n", digest::of_bytes(bytes));
    }
    std::fs::write(folder.join("bundle.toml"), manifest).unwrap();
    path(&folder)
}

fn weights(name: &str) -> Vec<u8> {
    std::fs::read(model(name)).unwrap()
}

/// The same model in other bytes: with a field doc_string at its end.
fn other(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.extend([0x32, 1, b'x']);
    bytes
}

#[test]
fn at_the_start_the_variants_are_tried_in_their_order() {
    let folder = tempfile::tempdir().unwrap();
    let bundle = variants("1", &[b"no model".to_vec(), weights("red")], folder.path());
    let mut camera = Camera::start(&bundle, QUICK);
    assert_eq!(camera.look().freshness, Freshness::Fresh);
    assert_eq!(text(&camera.stats(), "digest"), digest::of_bytes(&weights("red")));
    assert_eq!(camera.element.property::<String>("model"), bundle);
}

#[test]
fn at_the_start_the_fallback_takes_the_place_of_what_cannot_be_used() {
    let mut camera = Camera::start("/no/such.onnx", &format!("{QUICK} fallback-model={}", model("blob")));
    let warnings = messages(&camera.bus, gst::MessageType::Warning);
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    camera.look();
    only(&camera, "blob");
    assert_eq!(camera.element.property::<String>("model"), "/no/such.onnx", "the next start tries it again");
    // One that is refused does not make the makeshift what is asked for.
    camera.element.set_property("model", "/nor/this.onnx");
    camera.outcome(1);
    assert_eq!(camera.element.property::<String>("model"), "/no/such.onnx");
}

#[test]
fn without_any_model_frames_pass_until_there_is_one() {
    let mut camera = Camera::start(
        "/no/such.onnx",
        "on-unusable=pass fallback-model=/nor/this.onnx probation-time=0 probation-frames=20",
    );
    let warnings = messages(&camera.bus, gst::MessageType::Warning);
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    let absent = Freshness::Absent(AbsentReason::NoModel);
    assert_eq!(camera.look().freshness, absent);
    camera.color = BRIGHT;
    // Not even the NaN of a bad one stays.
    assert_eq!(camera.swapped(&model("blob_nan")), ("rolled-back".into(), "non-finite".into()));
    assert_eq!((camera.look().freshness, camera.active()), (absent, String::new()));
    assert_eq!(camera.element.property::<String>("model"), "/no/such.onnx");
    assert_eq!(camera.swapped(&model("blob")), ("confirmed".into(), String::new()));
    let result = camera.look();
    assert_eq!((result.freshness, result.objects.len()), (Freshness::Fresh, 1));
    assert_eq!(camera.element.property::<String>("model"), model("blob"));
}

#[test]
fn without_any_model_the_start_fails_with_one_error() {
    common::init();
    let element = gst::parse::launch("vigilinfer model=/no/such.onnx fallback-model=/nor/this.onnx").unwrap();
    let bus = gst::Bus::new();
    element.set_bus(Some(&bus));
    assert!(element.set_state(gst::State::Paused).is_err());
    let errors = messages(&bus, gst::MessageType::Error);
    assert_eq!(errors.len(), 1);
    let gst::MessageView::Error(error) = errors[0].view() else { unreachable!() };
    assert!(error.error().message().contains("/no/such.onnx"), "the one that was asked for: {error:?}");
    let number: u64 = element.emit_by_name("swap-model", &[&model("blob"), &None::<gst::Structure>]);
    assert_eq!(number, 0);
    assert!(element.set_state(gst::State::Paused).is_ok(), "what was asked for last is what it starts with");
    element.set_state(gst::State::Null).unwrap();
}

/// Lets frames flow until the ladder's next step has ended: phase and what was tried.
#[track_caller]
fn step(camera: &mut Camera) -> (String, String, String) {
    let ends = |s: &gst::Structure| ["confirmed", "rejected", "rolled-back"].iter().any(|phase| phase_is(s, phase));
    let last = camera.until("a step down", ends).pop().unwrap();
    assert_eq!(text(&last, "cause"), "fallback", "{last:?}");
    (text(&last, "phase"), text(&last, "reason"), text(&last, "new-model"))
}

#[test]
fn a_model_that_fails_on_every_frame_gives_way_to_the_next_variant_and_then_to_the_fallback() {
    let folder = tempfile::tempdir().unwrap();
    let all = [weights("fails"), other(weights("fails"))];
    let bundle = variants("1", &all, folder.path());
    let line = format!("{QUICK} fallback-after=100000000 fallback-model={}", model("red"));
    let mut camera = Camera::start(&bundle, &line);
    camera.color = BRIGHT;
    assert_eq!(step(&mut camera), ("rolled-back".into(), "errors".into(), bundle.clone()), "the second is as bad");
    assert_eq!(step(&mut camera), ("confirmed".into(), String::new(), model("red")));
    assert_eq!((camera.look().freshness, camera.active().as_str()), (Freshness::Fresh, "red"));
    assert_eq!(camera.element.property::<String>("model"), bundle, "the next start tries it again");
    camera.color = (255, 0, 0);
    camera.element.set_state(gst::State::Null).unwrap();
    camera.element.set_state(gst::State::Playing).unwrap();
    assert_eq!(camera.active(), NAME);

    // With a second variant that works it stays with the bundle.
    let all = [weights("fails"), weights("red")];
    let bundle = variants("2", &all, folder.path());
    let mut camera = Camera::start(&bundle, &line);
    camera.color = BRIGHT;
    assert_eq!(step(&mut camera), ("confirmed".into(), String::new(), bundle));
    assert_eq!(text(&camera.stats(), "digest"), digest::of_bytes(&all[1]));
    assert_eq!(camera.look().freshness, Freshness::Fresh);
}

#[test]
fn at_the_end_of_the_way_down_it_stays_where_it_is() {
    let line = format!("{QUICK} fallback-after=50000000 fallback-model={}", model("fails"));
    let folder = tempfile::tempdir().unwrap();
    let mut camera = Camera::start(&variants("1", &[weights("fails")], folder.path()), &line);
    camera.color = BRIGHT;
    assert_eq!(step(&mut camera), ("rolled-back".into(), "errors".into(), model("fails")));
    let end = Instant::now() + std::time::Duration::from_millis(500);
    while Instant::now() < end {
        assert_eq!(camera.look().freshness, Freshness::Absent(AbsentReason::EngineError));
    }
    assert_eq!((count(&camera.stats(), "swaps"), camera.active().as_str()), (1, NAME));
    // It is a user's word that brings analysis back.
    assert_eq!(camera.swapped(&model("red")).0, "confirmed");
    assert_eq!(camera.look().freshness, Freshness::Fresh);
}

#[test]
fn an_engine_that_keeps_dying_gives_way_too() {
    let line = format!("{QUICK} isolation=process fallback-after=300000000 fallback-model={}", model("blob"));
    let mut camera = Camera::start(&model("blob_crash"), &line);
    assert_eq!(camera.look().freshness, Freshness::Fresh);
    camera.color = BRIGHT;
    assert_eq!(step(&mut camera), ("confirmed".into(), String::new(), model("blob")));
    assert_eq!(camera.look().freshness, Freshness::Fresh);
}

#[test]
fn the_way_down_is_not_taken_while_a_swap_is_under_way() {
    let line = format!("{QUICK} fallback-after=20000000 fallback-model={}", model("red"));
    let mut camera = Camera::start(&model("fails"), &line);
    camera.look();
    let number = camera.swap(&model("blob_hang_load"));
    camera.until("it is under way", |s| phase_is(s, "verified"));
    camera.color = BRIGHT;
    let end = Instant::now() + std::time::Duration::from_millis(500);
    while Instant::now() < end {
        assert_eq!(camera.look().freshness, Freshness::Absent(AbsentReason::EngineError));
    }
    assert_eq!(count(&camera.stats(), "swaps"), 1);
    // A user's other request ends it; refused, it leaves the way down open.
    let second = camera.swap("/no/such.onnx");
    assert_eq!(text(camera.outcome(second).last().unwrap(), "reason"), "not-found");
    assert_eq!(step(&mut camera).2, model("red"));
    assert!(id(&camera.stats()) == 0 && second > number);
}

#[test]
fn a_user_who_chooses_during_a_step_down_wins() {
    let line = format!("probation-frames=100000 fallback-after=20000000 fallback-model={}", model("red"));
    let mut camera = Camera::start(&model("fails"), &line);
    camera.color = BRIGHT;
    camera.until("the step is on probation", |s| phase_is(s, "probation") && text(s, "cause") == "fallback");
    let options = gst::Structure::builder("o").field("probation-time", 0_u32).field("probation-frames", 2_u32).build();
    let number = camera.swap_with(&model("dynamic"), Some(options));
    assert_eq!(phases(&camera.outcome(number)).last().unwrap(), "confirmed");
    assert_eq!(camera.element.property::<String>("model"), model("dynamic"));
}

#[test]
fn a_live_pipeline_is_told_of_a_slower_model_before_its_frames_are_late() {
    let folder = tempfile::tempdir().unwrap();
    let mut camera = Camera::start(&model("blob"), QUICK);
    camera.color = BRIGHT;
    (0..3).for_each(|_| drop(camera.look()));
    let before = camera.harness.query_latency().unwrap();
    // It takes its time on what is bright, which its warm-up is not.
    let slow = Draft::new("blob_slow", "2").tables("[probation]\nmax-latency-ms = 60000").folder(folder.path());
    camera.latencies = 0;
    assert_eq!(camera.swapped(&slow.display().to_string()), ("confirmed".into(), String::new()));
    assert!(camera.latencies >= 1, "a message");
    let after = camera.harness.query_latency().unwrap();
    assert!(after > before, "{before} {after}");
}
