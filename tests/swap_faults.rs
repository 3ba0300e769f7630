//! Models that must not go live: what is wrong with them is found out, and nothing of it is to be noticed in the video.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may")]

mod common;

use std::path::Path;

use common::bundles::{Draft, Fault, good, good_other};
use common::site::{Site, fresh, nothing_is_left, path, wait_until};
use common::swap_rig::{self, Camera, QUICK, phases, text};
use gst::prelude::*;
use gstvigil::bundle::{Bundle, sign};
use gstvigil::result::Freshness;

/// Each of these is rejected for its reason, and then a good one is taken.
fn rejects(properties: &str, faults: &[(Fault, &str)]) {
    let mut site = Site::start(properties);
    site.camera.color = swap_rig::BRIGHT;
    for (number, (fault, reason)) in (1..).zip(faults) {
        let bad = fault.write("2", &site.place(&format!("{fault:?}")));
        let last = site.rejects(&bad, reason);
        assert_eq!(text(&last, "new-model"), path(&bad));
        assert_eq!(site.count("swaps-rejected"), number, "{fault:?}");
    }
    site.takes_another();
    nothing_is_left(0);
}

#[test]
fn broken_files_are_rejected() {
    let mut site = Site::start(QUICK);
    let place = site.place("broken");
    site.rejects(&Fault::Truncated.write("2", &place), "format");
    site.rejects(&Fault::BitFlipped.write("3", &place), "digest");
    for (number, (file, reason)) in
        (0..).zip([("model.onnx", "digest"), ("bundle.toml", "format"), ("reference/0.png", "format")])
    {
        let folder = good(&format!("4{number}")).folder(&place);
        let file = folder.join(file);
        let whole = std::fs::read(&file).unwrap();
        std::fs::write(&file, &whole[..whole.len() / 2]).unwrap();
        site.rejects(&folder, reason);
    }
    let folder = good("5").folder(&place);
    std::fs::remove_file(folder.join("model.onnx")).unwrap();
    let last = site.rejects(&folder, "format");
    assert!(text(&last, "text").contains("model.onnx"), "{last:?}");
    site.takes_another();
}

#[test]
fn models_that_are_not_what_their_bundles_say_are_rejected() {
    rejects(QUICK, &[(Fault::WrongShape, "contract"), (Fault::WrongClassCount, "contract")]);
}

#[test]
fn the_proof_rejects_what_finds_something_else() {
    rejects(
        QUICK,
        &[
            (Fault::NonFinite, "non-finite"),
            (Fault::Blind, "reference-mismatch"),
            (Fault::Slow, "reference-latency"),
            (Fault::OutdatedReference, "reference-mismatch"),
        ],
    );
}

#[test]
fn a_reference_set_that_cannot_be_read_is_rejected() {
    let mut site = Site::start(QUICK);
    let whole = good("2").folder(&site.place("whole")).join("reference/expected.json");
    let whole = std::fs::read_to_string(whole).unwrap();
    let broken = [&whole[..whole.len() / 2], "", "[]", "{\"format\": 1, \"pictures\": []}", "\0"];
    for (number, text) in (0..).zip(broken) {
        let folder = good("2").folder(&site.place(&format!("broken{number}")));
        std::fs::write(folder.join("reference/expected.json"), text).unwrap();
        site.rejects(&folder, "format");
    }
    site.takes_another();
}

#[test]
fn models_that_kill_the_runtime_are_rejected() {
    rejects(QUICK, &[(Fault::CrashingAtLoad, "load-crashed"), (Fault::CrashingAtRun, "load-crashed")]);
}

#[test]
fn models_that_hang_are_rejected() {
    let mut site = Site::start(QUICK);
    for fault in [Fault::HangingAtLoad, Fault::HangingAtRun] {
        site.camera.element.set_property("load-timeout", 1_500_000_000_u64);
        let bad = fault.write("2", &site.place(&format!("{fault:?}")));
        site.rejects(&bad, "load-timeout");
    }
    // How fast this machine is must not matter.
    site.camera.element.set_property("load-timeout", 60_000_000_000_u64);
    site.takes_another();
    nothing_is_left(0);
}

#[test]
fn models_that_need_too_much_memory_are_rejected() {
    for properties in ["isolation=process", ""] {
        let mut site = Site::start(&format!("{QUICK} engine-memory-max=734003200 {properties}"));
        let bad = Fault::Hungry.write("2", &site.place("hungry"));
        site.rejects(&bad, "memory");
        site.takes_another();
    }
}

/// A bundle that was signed with a key.
fn signed(folder: &Path, key: &sign::SecretKey) -> String {
    let digest = Bundle::open(folder).unwrap().digest;
    std::fs::write(folder.join(sign::SIGNATURE), sign::sign(&digest, key)).unwrap();
    path(folder)
}

#[test]
fn where_keys_are_set_only_what_they_signed_is_taken() {
    let folder = tempfile::tempdir().unwrap();
    let [own, foreign] = [(), ()].map(|()| sign::SecretKey::generate().unwrap());
    let key = folder.path().join("own.pub");
    std::fs::write(&key, own.public().to_pem().unwrap()).unwrap();
    let first = signed(&good("1").folder(folder.path()), &own);
    let mut camera = Camera::start(&first, &format!("{QUICK} public-keys={}", key.display()));
    let unsigned = good_other("2").folder(folder.path());
    assert_eq!(camera.swapped(&path(&unsigned)), ("rejected".into(), "signature".into()));
    let wrongly = signed(&good_other("3").folder(folder.path()), &foreign);
    assert_eq!(camera.swapped(&wrongly), ("rejected".into(), "signature".into()));
    // Signed, and changed afterwards in a file that has no digest in bundle.toml.
    let changed = signed(&good_other("4").folder(folder.path()), &own);
    std::fs::write(Path::new(&changed).join("labels.txt"), "blue\nred\ngrey\n").unwrap();
    assert_eq!(camera.swapped(&changed), ("rejected".into(), "signature".into()));
    assert_eq!(camera.swapped(&common::model("blob96")), ("rejected".into(), "signature".into()));
    for result in camera.results.drain(..) {
        fresh(&result, "1");
    }
    let rightly = signed(&good_other("99").folder(folder.path()), &own);
    assert_eq!(camera.swapped(&rightly), ("confirmed".into(), String::new()));
    fresh(&camera.look(), "99");
    // A setting that is wrong stops swaps, not video.
    std::fs::write(&key, "no key").unwrap();
    assert_eq!(camera.swapped(&first), ("rejected".into(), "signature".into()));
    fresh(&camera.look(), "99");
}

/// A bundle without a reference set, whose model is found out on live frames only.
fn unproven(model: &'static str, tables: &str) -> Draft {
    Draft::new(model, "2").tables(tables)
}

/// `bad` goes live and is rolled back for `reason`; whether its own frames need a result.
fn rolls_back(properties: &str, bad: Draft, reason: &str, answers: bool) {
    let mut site = Site::start(&format!("{properties} probation-time=0 probation-frames=60"));
    site.camera.color = swap_rig::BRIGHT;
    let bad = bad.folder(&site.place("bad"));
    let number = site.camera.swap(&path(&bad));
    let told = site.camera.outcome(number);
    let last = told.last().unwrap();
    assert_eq!((text(last, "phase"), text(last, "reason")), ("rolled-back".into(), reason.into()), "{last:#?}");
    assert!(phases(&told).contains(&"activated".into()));
    site.camera.look();
    let results: Vec<_> = site.camera.results.drain(..).collect();
    let of = |release: &str| results.iter().filter(|r| r.model.as_ref().unwrap().release == release).count();
    assert!(of("1") >= 2 && of("2") >= 1 && of("1") + of("2") == results.len());
    for result in &results {
        match result.model.as_ref().unwrap().release.as_str() {
            "1" => fresh(result, "1"),
            _ => assert!(!answers || result.freshness == Freshness::Fresh, "{result:?}"),
        }
    }
    fresh(results.last().unwrap(), "1");
    assert_eq!((site.count("swaps-rolled-back"), site.count("swaps-rejected")), (1, 0));
    assert_eq!(site.property(), path(&site.old));
    site.camera.element.set_property("probation-frames", 5_i32);
    site.camera.color = swap_rig::RED;
    site.takes_another();
}

#[test]
fn a_model_that_computes_nan_on_live_frames_is_rolled_back() {
    rolls_back("", unproven("blob_nan", ""), "non-finite", true);
}

#[test]
fn a_model_that_is_slow_on_live_frames_is_rolled_back() {
    rolls_back("", unproven("blob_slow", "[probation]\nmax-latency-ms = 10"), "latency", true);
}

#[test]
fn a_model_that_kills_its_process_on_live_frames_is_rolled_back() {
    rolls_back("isolation=process", unproven("blob_crash", ""), "errors", false);
}

#[test]
fn a_model_that_hangs_on_live_frames_is_rolled_back() {
    let properties = "isolation=process engine-timeout=2000000000 probation-time=0 probation-frames=60";
    let mut camera = Camera::start(&common::model("red"), properties);
    camera.look();
    // Its runs have no end once all of its input is white.
    camera.caps = common::caps(gst_video::VideoFormat::Rgb, 64, 64);
    camera.harness.set_src_caps(camera.caps.clone());
    let number = camera.swap(&common::model("hang"));
    camera.until("probation", |s| text(s, "phase") == "probation");
    camera.color = (255, 255, 255);
    let last = camera.outcome(number).pop().unwrap();
    assert_eq!((text(&last, "phase"), text(&last, "reason")), ("rolled-back".into(), "errors".into()), "{last:#?}");
    let seen = camera.look();
    assert_eq!((seen.freshness, seen.model.as_ref().unwrap().name.as_str()), (Freshness::Fresh, "red"));
    let bad = |r: &gstvigil::result::FrameResult| r.freshness != Freshness::Fresh;
    assert!(camera.results.iter().filter(|r| bad(r)).all(|r| r.model.as_ref().unwrap().name == "hang"));
}

#[test]
fn files_that_change_after_staging_change_nothing() {
    let mut site = Site::start(QUICK);
    let place = site.place("staged");
    let replaced = good_other("2").folder(&place);
    let folder = replaced.clone();
    site.when(1, "staged", move || {
        let crash = std::fs::read(common::model("blob_crash_load")).unwrap();
        std::fs::write(folder.join("model.onnx"), crash).unwrap();
        for file in ["bundle.toml", "labels.txt", "reference/expected.json", "reference/0.png"] {
            std::fs::write(folder.join(file), "something else").unwrap();
        }
    });
    assert_eq!(site.camera.swapped(&path(&replaced)), ("confirmed".into(), String::new()));
    let removed = good("3").folder(&place);
    let folder = removed.clone();
    site.when(2, "staged", move || std::fs::remove_dir_all(folder).unwrap());
    assert_eq!(site.camera.swapped(&path(&removed)), ("confirmed".into(), String::new()));
    let archive = good_other("4").archive(&place);
    let file = archive.clone();
    site.when(3, "staged", move || std::fs::File::create(file).unwrap().set_len(0).unwrap());
    assert_eq!(site.camera.swapped(&path(&archive)), ("confirmed".into(), String::new()));
    assert!(site.camera.results.iter().all(|r| r.freshness == Freshness::Fresh && r.objects.len() == 1));
}

#[test]
fn files_that_change_before_staging_are_rejected() {
    let mut site = Site::start(QUICK);
    let place = site.place("requested");
    let replaced = good_other("2").folder(&place);
    let folder = replaced.clone();
    site.when(1, "requested", move || {
        std::fs::copy(common::model("blob"), folder.join("model.onnx")).unwrap();
    });
    site.rejects(&replaced, "digest");
    let removed = good_other("3").folder(&place);
    let folder = removed.clone();
    site.when(2, "requested", move || std::fs::remove_dir_all(folder).unwrap());
    site.rejects(&removed, "not-found");
    site.takes_another();
}

#[test]
fn a_bundle_that_is_deleted_once_it_is_active_goes_on() {
    let mut site = Site::start(QUICK);
    let (old, new) = (site.old.clone(), good_other("99").folder(&site.place("new")));
    let folder = new.clone();
    site.when(1, "activated", move || {
        std::fs::remove_dir_all(old).unwrap();
        std::fs::remove_dir_all(folder).unwrap();
    });
    assert_eq!(site.camera.swapped(&path(&new)), ("confirmed".into(), String::new()));
    site.camera.results.clear();
    for _ in 0..10 {
        fresh(&site.camera.look(), "99");
    }
    let mut bad = Site::start("probation-time=0 probation-frames=60");
    bad.camera.color = swap_rig::BRIGHT;
    // The old bundle's files are not needed to go back.
    let old = bad.old.clone();
    bad.when(1, "activated", move || std::fs::remove_dir_all(old).unwrap());
    let nan = unproven("blob_nan", "").folder(&bad.place("bad"));
    assert_eq!(bad.camera.swapped(&path(&nan)), ("rolled-back".into(), "non-finite".into()));
    fresh(&bad.camera.look(), "1");
}

#[test]
fn what_was_rejected_is_counted_and_the_history_stays_short() {
    let mut site = Site::start(QUICK);
    let bad = Fault::BitFlipped.write("2", &site.place("bad"));
    for number in 1..=40 {
        site.rejects(&bad, "digest");
        assert_eq!((site.count("swaps"), site.count("swaps-rejected")), (number, number));
    }
    let history: gst::Array = site.camera.element.property("swap-history");
    assert_eq!(history.len(), 32);
    let last: gst::Structure = history.last().unwrap().get().unwrap();
    assert_eq!((swap_rig::id(&last), text(&last, "phase")), (40, "rejected".into()));
    site.takes_another();
    wait_until("its thread ends", || !common::threads().iter().any(|name| name == "vigil-swap"));
}

#[test]
fn a_bad_second_model_is_rejected_and_leaves_the_first_ones_objects_alone() {
    let folder = tempfile::tempdir().unwrap();
    let old = good("1").folder(folder.path());
    common::init();
    let line = format!(
        "vigilinfer name=first model={} ! \
         vigilinfer name=second inference-region=objects object-class=red model={} {QUICK}",
        common::model("red"),
        old.display()
    );
    let bin = gst::parse::bin_from_description(&line, true).unwrap();
    let second = bin.by_name("second").unwrap();
    let mut harness = gst_check::Harness::with_element(&bin, Some("sink"), Some("src"));
    let caps = common::caps(gst_video::VideoFormat::Rgb, 64, 64);
    harness.play();
    harness.set_src_caps(caps.clone());
    let mut number = 0;
    // Both halves are found by the first model, and what is red in the red one by the second.
    let mut look = |harness: &mut gst_check::Harness| {
        harness.push(common::frame(&caps, (255, 140, 0), number)).unwrap();
        number += 1;
        let seen = common::result(&harness.pull().unwrap());
        let children: Vec<_> = seen.objects.iter().filter(|o| o.parent.is_some()).collect();
        let [child] = children.as_slice() else { panic!("{seen:?}") };
        let [by] = seen.secondary.as_slice() else { panic!("{seen:?}") };
        assert_eq!((seen.freshness, &*child.label), (Freshness::Fresh, "red"));
        assert_eq!(child.class_id, u32::from(by.release == "99"), "a child of another model: {seen:?}");
        by.release.clone()
    };
    let stats = || second.property::<gst::Structure>("stats");
    let bad =
        [(Fault::BitFlipped, "digest"), (Fault::CrashingAtLoad, "load-crashed"), (Fault::Blind, "reference-mismatch")];
    for (request, (fault, reason)) in (1..).zip(bad) {
        let path = path(&fault.write(&format!("2{reason}"), folder.path()));
        let asked: u64 = second.emit_by_name("swap-model", &[&path, &None::<gst::Structure>]);
        assert_eq!(asked, request);
        let end = std::time::Instant::now() + swap_rig::LONG;
        while stats().get::<u64>("swaps-rejected").unwrap() < request {
            assert!(std::time::Instant::now() < end, "no end: {:?}", stats());
            assert_eq!(look(&mut harness), "1", "{fault:?}");
        }
        let history: gst::Array = second.property("swap-history");
        assert_eq!(text(&history.last().unwrap().get::<gst::Structure>().unwrap(), "reason"), reason);
    }
    let new = path(&good_other("99").folder(folder.path()));
    second.emit_by_name::<u64>("swap-model", &[&new, &None::<gst::Structure>]);
    let end = std::time::Instant::now() + swap_rig::LONG;
    while stats().get::<u64>("swaps-confirmed").unwrap() < 1 {
        assert!(std::time::Instant::now() < end, "no end: {:?}", stats());
        look(&mut harness);
    }
    assert_eq!(look(&mut harness), "99");
}
