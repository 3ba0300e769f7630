//! Models of the store: who plays a name follows what the store says, and the store learns how that went.
//!
//! The store's place is a variable of the process, so each test runs in a process of its own.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may")]

mod common;

use std::io::BufRead;
use std::path::Path;
use std::process::{Command, Stdio};

use common::bundles::{Draft, Fault, NAME, good, good_other};
use common::site::wait_until;
use common::swap_rig::{BRIGHT, Camera, QUICK, RED, text};
use common::{again, is_child, messages, model, output};
use gst::prelude::*;
use gstvigil::result::Freshness;
use gstvigil::store::{InstallOptions, Selection, Store};

/// What tells a child which part of its test to play.
const PART: &str = "VIGIL_TEST_PART";

fn child(test: &str, home: &Path) -> Command {
    let mut command = again(test);
    command.env("VIGIL_STORE", home.join("store")).env_remove("VIGIL_PUBLIC_KEYS");
    command
}

/// Plays `body` in a process with an empty store.
fn apart(test: &str, body: impl FnOnce(Store, &Path)) {
    if is_child(test) {
        let store = Store::default_place().unwrap();
        let folder = tempfile::tempdir().unwrap();
        return body(store, folder.path());
    }
    let home = tempfile::tempdir().unwrap();
    output(&mut child(test, home.path()));
}

fn install(store: &Store, bundle: &Path) {
    store.install(bundle, &InstallOptions::default()).unwrap();
}

fn selection(store: &Store) -> Selection {
    store.selection(NAME).unwrap()
}

/// Current, previous and candidate.
fn places(store: &Store) -> [String; 3] {
    let Selection { current, previous, candidate, .. } = selection(store);
    [current, previous, candidate].map(Option::unwrap_or_default)
}

/// Lets frames flow until a swap that the store wanted has ended: phase, reason and release.
#[track_caller]
fn followed(camera: &mut Camera) -> (String, String, String) {
    let ends = |s: &gst::Structure| {
        ["confirmed", "rejected", "rolled-back"].contains(&text(s, "phase").as_str())
            && text(s, "reason") != "superseded"
    };
    let last = camera.until("the end of a swap", ends).pop().unwrap();
    assert_eq!(text(&last, "cause"), "store", "{last:?}");
    (text(&last, "phase"), text(&last, "reason"), text(&last, "new-release"))
}

fn ok(release: &str) -> (String, String, String) {
    ("confirmed".into(), String::new(), release.into())
}

fn release(camera: &mut Camera) -> String {
    camera.look();
    camera.look().model.as_ref().unwrap().release.clone()
}

fn asked(camera: &Camera) -> String {
    camera.element.property("model")
}

fn restart(camera: &Camera) {
    camera.element.set_state(gst::State::Null).unwrap();
    camera.element.set_state(gst::State::Playing).unwrap();
}

#[test]
fn a_name_follows_the_store_and_a_release_does_not() {
    apart("a_name_follows_the_store_and_a_release_does_not", |store, folder| {
        install(&store, &good("1").folder(folder));
        let mut camera = Camera::start(NAME, QUICK);
        let mut second = Camera::start(NAME, QUICK);
        let mut pinned = Camera::start(&format!("{NAME}@1"), QUICK);
        assert_eq!(release(&mut camera), "1");
        install(&store, &good_other("2").folder(folder));
        assert_eq!(places(&store), ["1", "", ""], "to install is not to use");
        store.propose(NAME, "2").unwrap();
        assert_eq!(followed(&mut camera), ok("2"));
        assert_eq!(followed(&mut second), ok("2"));
        assert_eq!(places(&store), ["2", "1", ""]);
        assert_eq!((release(&mut camera), asked(&camera).as_str()), ("2".into(), NAME));
        restart(&camera);
        assert_eq!(release(&mut camera), "2");

        // A user's bad choice does not end it.
        camera.element.set_property("model", "/no/such.onnx");
        camera.until("the end", |s| text(s, "phase") == "rejected");
        assert_eq!(asked(&camera), NAME);
        store.rollback(NAME).unwrap();
        assert_eq!(followed(&mut camera), ok("1"));
        assert_eq!(followed(&mut second), ok("1"));
        assert_eq!((release(&mut camera), asked(&camera).as_str()), ("1".into(), NAME));
        assert_eq!(places(&store), ["1", "", ""]);
        assert_eq!(pinned.stats().get::<u64>("swaps").unwrap(), 0);
        assert_eq!((release(&mut pinned), asked(&pinned)), ("1".into(), format!("{NAME}@1")));

        // Once pinned, it does not follow any more; with the name it does again.
        camera.element.set_property("model", format!("{NAME}@1"));
        camera.until("the end", |s| text(s, "reason") == "unchanged");
        store.propose(NAME, "2").unwrap();
        assert_eq!(followed(&mut second), ok("2"));
        let swaps = camera.stats().get::<u64>("swaps").unwrap();
        assert_eq!((release(&mut camera), asked(&camera)), ("1".into(), format!("{NAME}@1")));
        camera.element.set_property("model", NAME);
        camera.until("the end", |s| text(s, "phase") == "confirmed");
        assert_eq!((release(&mut camera), camera.stats().get::<u64>("swaps").unwrap()), ("2".into(), swaps + 1));
    });
}

#[test]
fn a_candidate_that_came_during_a_users_request_is_tried_after_it() {
    apart("a_candidate_that_came_during_a_users_request_is_tried_after_it", |store, folder| {
        install(&store, &good("1").folder(folder));
        install(&store, &good_other("2").folder(folder));
        // Long enough for the store's thread to tell of the candidate meanwhile, which looks once a second.
        let mut camera = Camera::start(NAME, &format!("{QUICK} load-timeout=4000000000"));
        camera.swap(&model("blob_hang_load"));
        camera.until("the load", |s| text(s, "phase") == "verified");
        store.propose(NAME, "2").unwrap();
        let told = camera.until("the end", |s| text(s, "phase") == "rejected");
        assert_eq!(
            text(told.last().unwrap(), "reason"),
            "load-timeout",
            "the store does not end what a user asked for"
        );
        camera.element.set_property("load-timeout", 60_000_000_000_u64);
        assert_eq!(followed(&mut camera), ok("2"));
    });
}

#[test]
fn a_bad_candidate_is_remembered_and_not_offered_again() {
    apart("a_bad_candidate_is_remembered_and_not_offered_again", |store, folder| {
        install(&store, &good("1").folder(folder));
        let mut camera = Camera::start(NAME, "probation-time=0 probation-frames=200");
        camera.color = BRIGHT;
        install(&store, &Fault::Blind.write("2", folder));
        store.propose(NAME, "2").unwrap();
        assert_eq!(followed(&mut camera), ("rejected".into(), "reference-mismatch".into(), "2".into()));
        assert_eq!(places(&store), ["1", "", ""]);
        assert!(selection(&store).is_rejected("2"));
        // Without reference pictures only live frames tell.
        install(&store, &Draft::new("blob_nan", "3").folder(folder));
        store.propose(NAME, "3").unwrap();
        assert_eq!(followed(&mut camera), ("rolled-back".into(), "non-finite".into(), "3".into()));
        assert_eq!((release(&mut camera), places(&store)), ("1".into(), ["1", "", ""].map(String::from)));
        let rejected = selection(&store).rejected;
        assert_eq!(rejected.iter().map(|r| r.release.as_str()).collect::<Vec<_>>(), ["2", "3"]);
        assert!(rejected[1].reason.contains("NaN"), "{rejected:?}");
        // Neither is tried by who starts now; a good one is, once it is proposed.
        restart(&camera);
        let mut other = Camera::start(NAME, QUICK);
        install(&store, &good_other("4").folder(folder));
        store.propose(NAME, "4").unwrap();
        assert_eq!(followed(&mut other), ok("4"));
        assert_eq!(other.stats().get::<u64>("swaps").unwrap(), 1);
        let rejected = camera.stats().get::<u64>("swaps-rejected").unwrap();
        assert_eq!((rejected, camera.stats().get::<u64>("swaps-rolled-back").unwrap()), (1, 1));
    });
}

#[test]
fn a_broken_current_release_gives_way_to_the_one_before_it() {
    apart("a_broken_current_release_gives_way_to_the_one_before_it", |store, folder| {
        install(&store, &good("1").folder(folder));
        install(&store, &Fault::WrongShape.write("2", folder));
        store.confirm(NAME, "2").unwrap();
        assert_eq!(places(&store), ["2", "1", ""]);
        let mut camera = Camera::start(NAME, QUICK);
        assert!(!messages(&camera.bus, gst::MessageType::Warning).is_empty());
        assert_eq!((release(&mut camera), asked(&camera).as_str()), ("1".into(), NAME));
        // It is tried as every other release that the store names, and the store learns that it is none.
        let (phase, _, tried) = followed(&mut camera);
        assert_eq!((phase.as_str(), tried.as_str()), ("rejected", "2"));
        wait_until("the store knows", || places(&store) == ["1", "", ""]);
        assert!(selection(&store).is_rejected("2"));
        assert_eq!(release(&mut camera), "1");
    });
}

#[test]
fn a_release_that_begins_to_fail_gives_way_to_the_one_before_it() {
    apart("a_release_that_begins_to_fail_gives_way_to_the_one_before_it", |store, folder| {
        let draft = |model, release| Draft::new(model, release).labels(&["red", "blue"]).size(32);
        install(&store, &draft("red", "1").folder(folder));
        install(&store, &draft("fails", "2").folder(folder));
        store.confirm(NAME, "2").unwrap();
        let mut camera = Camera::start(NAME, &format!("{QUICK} fallback-after=100000000"));
        assert_eq!(release(&mut camera), "2");
        // All of a square, so that the bars of a letterbox do not count.
        camera.caps = common::caps(gst_video::VideoFormat::Rgb, 160, 160);
        camera.harness.set_src_caps(camera.caps.clone());
        camera.color = BRIGHT;
        let last = camera.until("a step down", |s| text(s, "phase") == "confirmed").pop().unwrap();
        assert_eq!((text(&last, "cause").as_str(), text(&last, "new-model")), ("fallback", format!("{NAME}@1")));
        assert_eq!((camera.look().freshness, asked(&camera).as_str()), (Freshness::Fresh, NAME));
        assert_eq!(places(&store), ["2", "1", ""], "that it fails here says nothing about others");
        restart(&camera);
        assert_eq!(release(&mut camera), "2", "the next start tries it again");
    });
}

/// Plays the name and tells each phase, until it is killed.
fn play_and_tell(color: (u8, u8, u8)) {
    // The probation ends, if only after a while.
    let mut camera = Camera::start(NAME, "probation-time=0 probation-frames=100");
    camera.color = color;
    println!("plays {}", release(&mut camera));
    loop {
        for message in camera.until("a phase", |s| s.name() == "vigil-model") {
            println!("phase {} {}", text(&message, "phase"), text(&message, "text"));
        }
    }
}

#[test]
fn who_is_killed_in_any_phase_starts_again_with_a_release_that_was_good() {
    const TEST: &str = "who_is_killed_in_any_phase_starts_again_with_a_release_that_was_good";
    if is_child(TEST) {
        match std::env::var(PART).unwrap().as_str() {
            "kill" => play_and_tell(RED),
            "kill a bad one" => play_and_tell(BRIGHT),
            _ => {}
        }
        let mut camera = Camera::start(NAME, QUICK);
        return println!("plays {}", release(&mut camera));
    }
    for phase in ["requested", "staged", "verified", "loaded", "proven", "activated", "probation", "confirmed"] {
        let (home, folder) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let store = Store::at(&home.path().join("store"));
        let (one, two) = (good("1"), good_other("2"));
        install(&store, &one.folder(folder.path()));
        install(&store, &two.folder(folder.path()));
        store.propose(NAME, "2").unwrap();
        let mut process = child(TEST, home.path()).env(PART, "kill").stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = std::io::BufReader::new(process.stdout.take().unwrap()).lines().map(Result::unwrap);
        let wanted = format!("phase {phase} ");
        let over = |line: &str| line.starts_with("phase rejected") || line.starts_with("phase rolled-back");
        let seen = lines.by_ref().find(|line| line.starts_with(&wanted) || over(line));
        process.kill().unwrap();
        process.wait().unwrap();
        assert!(seen.is_some_and(|line| line.starts_with(&wanted)), "{phase} is reached");

        let current = places(&store)[0].clone();
        match phase {
            "confirmed" => assert_eq!(places(&store), ["2", "1", ""]),
            // It may have gone on until it was killed.
            "activated" | "probation" => assert!(["1", "2"].contains(&current.as_str())),
            _ => assert_eq!(places(&store), ["1", "", "2"], "{phase}"),
        }
        assert!(store.list().unwrap().iter().all(|entry| entry.warnings.is_empty()), "{phase}");
        let (out, _) = output(child(TEST, home.path()).env(PART, "again"));
        assert!(out.contains(&format!("plays {current}")), "{phase}: {out}");
    }
}

#[test]
fn who_is_killed_while_a_bad_release_is_sent_back_starts_again_with_the_good_one() {
    // The child is the test above.
    const TEST: &str = "who_is_killed_in_any_phase_starts_again_with_a_release_that_was_good";
    for end in ["rejected", "rolled-back"] {
        let (home, folder) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let store = Store::at(&home.path().join("store"));
        install(&store, &good("1").folder(folder.path()));
        let bad = if end == "rejected" {
            Fault::Blind.write("2", folder.path())
        } else {
            Draft::new("blob_nan", "2").folder(folder.path())
        };
        install(&store, &bad);
        store.propose(NAME, "2").unwrap();
        let mut process = child(TEST, home.path()).env(PART, "kill a bad one").stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = std::io::BufReader::new(process.stdout.take().unwrap()).lines().map(Result::unwrap);
        let seen = lines.by_ref().find(|line| line.starts_with(&format!("phase {end} ")));
        process.kill().unwrap();
        process.wait().unwrap();
        assert!(seen.is_some(), "{end} is reached");
        assert_eq!(places(&store)[0], "1", "{end}");
        assert!(store.list().unwrap().iter().all(|entry| entry.warnings.is_empty()), "{end}");
        // Whether it was written down before the kill or not, it is tried again at most, never started with.
        let (out, _) = output(child(TEST, home.path()).env(PART, "again"));
        assert!(out.contains("plays 1"), "{end}: {out}");
    }
}

#[test]
fn of_two_cameras_the_one_that_a_release_fails_on_takes_it_from_both() {
    apart("of_two_cameras_the_one_that_a_release_fails_on_takes_it_from_both", |store, folder| {
        install(&store, &good("1").folder(folder));
        let mut dark = Camera::start(NAME, QUICK);
        let mut bright = Camera::start(NAME, "probation-time=0 probation-frames=200");
        bright.color = BRIGHT;
        // Well on what the first one sees, NaN on what the second one does.
        install(&store, &Draft::new("blob_nan", "2").folder(folder));
        store.propose(NAME, "2").unwrap();
        assert_eq!(followed(&mut dark), ok("2"));
        let (phase, reason, _) = followed(&mut bright);
        assert_eq!((phase.as_str(), reason.as_str()), ("rolled-back", "non-finite"));
        wait_until("the store knows", || places(&store)[0] == "1");
        assert!(selection(&store).is_rejected("2"));
        assert_eq!(followed(&mut dark), ok("1"), "what failed elsewhere does not stay");
        assert_eq!((release(&mut dark), release(&mut bright)), ("1".into(), "1".into()));
    });
}
