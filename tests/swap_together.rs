//! A model that several elements want at the same time is proven once.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may")]

mod common;

use std::path::Path;
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use common::bundles::{BRIGHT, DARK, Draft, good, good_other};
use common::swap_rig::{Camera, LONG, QUICK, text};

const CAMERAS: usize = 4;

/// Holds requests so that they overlap, however fast the machine is.
#[derive(Default)]
struct Gate {
    /// Requests whose bundle is verified.
    verified: Mutex<usize>,
    changed: Condvar,
}

impl Gate {
    /// Called by a request's thread in each phase.
    fn pass(&self, phase: &str) {
        match phase {
            "verified" => {
                let mut verified = self.verified.lock().unwrap();
                *verified += 1;
                self.changed.notify_all();
                let all = self.changed.wait_timeout_while(verified, LONG, |verified| *verified < CAMERAS).unwrap();
                assert!(!all.1.timed_out(), "not all requests come so far");
            }
            // Who does the work waits here until the others wait for it.
            "loaded" => {
                let (end, mut still) = (Instant::now() + LONG, 0);
                while still < 3 {
                    assert!(Instant::now() < end, "the others do not wait");
                    std::thread::park_timeout(Duration::from_millis(5));
                    still = if others_sleep() { still + 1 } else { 0 };
                }
            }
            _ => {}
        }
    }
}

/// Whether all threads of swaps but this one wait for something.
fn others_sleep() -> bool {
    let own = rustix::thread::gettid().as_raw_nonzero().to_string();
    let tasks = std::fs::read_dir("/proc/self/task").unwrap().flatten();
    tasks.filter(|task| task.file_name().to_string_lossy() != own).all(|task| {
        let stat = std::fs::read_to_string(task.path().join("stat")).unwrap_or_default();
        !stat.contains("(vigil-swap)") || stat.contains(") S ")
    })
}

/// Cameras that all want `model` at once: phase, reason, and what was said of the proof or the refusal of each.
fn swapped(model: &Path) -> Vec<(String, String, String)> {
    let folder = tempfile::tempdir().unwrap();
    let old = good("1").folder(folder.path());
    let gate = Arc::new(Gate::default());
    let mut cameras: Vec<Camera> = Vec::new();
    for _ in 0..CAMERAS {
        let mut camera = Camera::start(&old.display().to_string(), QUICK);
        camera.look();
        let gate = Arc::clone(&gate);
        camera.bus.set_sync_handler(move |_, message| {
            if let Some(content) = message.structure().filter(|content| content.name() == "vigil-model") {
                gate.pass(&text(content, "phase"));
            }
            gst::BusSyncReply::Pass
        });
        cameras.push(camera);
    }
    let numbers: Vec<u64> = cameras.iter().map(|camera| camera.swap(&model.display().to_string())).collect();
    let outcomes = cameras.iter_mut().zip(numbers).map(|(camera, number)| {
        let told = camera.outcome(number);
        let last = told.last().unwrap();
        let proof = told.iter().find(|s| ["proven", "rejected"].contains(&text(s, "phase").as_str())).unwrap();
        (text(last, "phase"), text(last, "reason"), text(proof, "text"))
    });
    outcomes.collect()
}

fn shared(outcomes: &[(String, String, String)]) -> usize {
    outcomes.iter().filter(|(_, _, text)| text.ends_with("proven once for several requests")).count()
}

#[test]
fn a_good_model_is_proven_once_for_all() {
    let folder = tempfile::tempdir().unwrap();
    let outcomes = swapped(&good_other("2").folder(folder.path()));
    assert!(outcomes.iter().all(|(phase, _, _)| phase == "confirmed"), "{outcomes:#?}");
    assert_eq!(shared(&outcomes), CAMERAS - 1, "{outcomes:#?}");
}

#[test]
fn a_bad_one_is_rejected_once_for_all() {
    let folder = tempfile::tempdir().unwrap();
    let off = Draft::new("blob", "2").reference(&[DARK, BRIGHT], 40, "");
    let outcomes = swapped(&off.folder(folder.path()));
    let rejected =
        |(phase, reason, _): &(String, String, String)| phase == "rejected" && reason == "reference-mismatch";
    assert!(outcomes.iter().all(rejected), "{outcomes:#?}");
    assert_eq!(shared(&outcomes), CAMERAS - 1, "{outcomes:#?}");
}
