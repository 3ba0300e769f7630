//! A camera that plays a good bundle, and is offered others.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, mpsc};
use std::time::{Duration, Instant};

use gst::prelude::*;
use gstvigil::result::{FrameResult, Freshness};

use super::bundles::{NAME, good, good_other};
use super::swap_rig::{Camera, LONG, id, text};

/// A camera with release 1 of the bundles of [`super::bundles`], and a folder for others.
pub struct Site {
    pub folder: tempfile::TempDir,
    pub camera: Camera,
    /// The bundle that it plays.
    pub old: PathBuf,
}

impl Site {
    pub fn start(properties: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let old = good("1").folder(folder.path());
        let mut camera = Camera::start(&path(&old), properties);
        for _ in 0..3 {
            camera.look();
        }
        Self { folder, camera, old }
    }

    /// A folder for the bundles of a test's step, so that releases may come again.
    pub fn place(&self, name: &str) -> PathBuf {
        let place = self.folder.path().join(name);
        std::fs::create_dir_all(&place).unwrap();
        place
    }

    pub fn count(&self, field: &str) -> u64 {
        self.camera.stats().get(field).unwrap()
    }

    /// Asks for a bundle that must be rejected for `reason`, without anything to be noticed in the results.
    #[track_caller]
    pub fn rejects(&mut self, bad: &Path, reason: &str) -> gst::Structure {
        let number = self.camera.swap(&path(bad));
        self.rejected(number, reason)
    }

    /// Request `number` must be rejected for `reason`, without anything to be noticed in the results.
    #[track_caller]
    pub fn rejected(&mut self, number: u64, reason: &str) -> gst::Structure {
        let rejected = self.count("swaps-rejected");
        let last = self.camera.outcome(number).pop().unwrap();
        assert_eq!((text(&last, "phase"), text(&last, "reason")), ("rejected".into(), reason.into()), "{last:#?}");
        self.camera.look();
        for result in self.camera.results.drain(..) {
            fresh(&result, "1");
        }
        // A record counts before its message is posted.
        assert!(self.count("swaps-rejected") >= rejected.max(1));
        assert_eq!(
            (self.count("swap-request-id"), text(&self.camera.stats(), "swap-phase")),
            (number, "rejected".into())
        );
        assert_eq!((self.camera.active().as_str(), self.property()), (NAME, path(&self.old)));
        last
    }

    /// What the property says.
    pub fn property(&self) -> String {
        self.camera.element.property("model")
    }

    /// Another good bundle takes over, with each frame fresh.
    #[track_caller]
    pub fn takes_another(&mut self) {
        let other = good_other("99").folder(&self.place("another"));
        let confirmed = self.count("swaps-confirmed");
        let number = self.camera.swap(&path(&other));
        let last = self.camera.outcome(number).pop().unwrap();
        assert_eq!(text(&last, "phase"), "confirmed", "{last:#?}");
        self.camera.look();
        let results: Vec<_> = self.camera.results.drain(..).collect();
        let releases: Vec<&str> = results.iter().map(|r| r.model.as_ref().unwrap().release.as_str()).collect();
        let first_new = releases.iter().position(|release| *release == "99").unwrap();
        assert!(releases[first_new..].iter().all(|release| *release == "99"), "{releases:?}");
        for (result, release) in results.iter().zip(&releases) {
            fresh(result, release);
        }
        assert_eq!((self.count("swaps-confirmed"), self.property()), (confirmed + 1, path(&other)));
        self.old = other;
    }

    /// Asks for `model`, and has `act` done at each phase, which does not go on meanwhile; the messages.
    #[track_caller]
    pub fn at_each_phase(&mut self, model: &Path, mut act: impl FnMut(&mut Camera, &str)) -> Vec<gst::Structure> {
        let (say, heard) = mpsc::channel::<gst::Structure>();
        let (answer, go_on) = mpsc::channel::<()>();
        let go_on = Mutex::new(go_on);
        self.camera.bus.set_sync_handler(move |_, message| {
            if let Some(content) = message.structure().filter(|s| s.name() == "vigil-model")
                && say.send(content.to_owned()).is_ok()
            {
                let _ = go_on.lock().unwrap().recv_timeout(LONG);
            }
            gst::BusSyncReply::Pass
        });
        let (element, wanted) = (self.camera.element.clone(), path(model));
        let asker = std::thread::spawn(move || {
            element.emit_by_name::<u64>("swap-model", &[&wanted, &None::<gst::Structure>]);
        });
        let (end, mut told) = (Instant::now() + LONG, Vec::new());
        loop {
            if let Ok(content) = heard.recv_timeout(Duration::from_millis(2)) {
                let phase = text(&content, "phase");
                act(&mut self.camera, &phase);
                told.push(content);
                answer.send(()).unwrap();
                if ["confirmed", "rejected", "rolled-back"].contains(&phase.as_str()) {
                    break;
                }
            }
            assert!(Instant::now() < end, "no end: {told:#?}");
            self.camera.look();
        }
        asker.join().unwrap();
        self.camera.bus.unset_sync_handler();
        told
    }

    /// Has `act` done as soon as request `number` is in `phase`, in the thread that says so.
    pub fn when(&self, number: u64, phase: &'static str, act: impl FnOnce() + Send + 'static) {
        let act = Mutex::new(Some(act));
        self.camera.bus.set_sync_handler(move |_, message| {
            let ours =
                |s: &gst::StructureRef| s.name() == "vigil-model" && id(s) == number && text(s, "phase") == phase;
            if message.structure().is_some_and(ours)
                && let Some(act) = act.lock().unwrap().take()
            {
                act();
            }
            gst::BusSyncReply::Pass
        });
    }
}

/// A path as the property has it.
pub fn path(path: &Path) -> String {
    path.display().to_string()
}

/// The model of `release` has looked at this very frame and has found what is red.
#[track_caller]
pub fn fresh(result: &FrameResult, release: &str) {
    assert_eq!(result.freshness, Freshness::Fresh, "{result:?}");
    assert_eq!(result.model.as_ref().unwrap().release, release, "{result:?}");
    let [object] = result.objects.as_slice() else { panic!("{result:?}") };
    // In the labels of the release 99, red is the second.
    assert_eq!((&*object.label, object.class_id), ("red", u32::from(release == "99")));
}

/// Waits until it is so.
#[track_caller]
pub fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let end = Instant::now() + LONG;
    while !done() {
        assert!(Instant::now() < end, "never: {what}");
        std::thread::park_timeout(Duration::from_millis(2));
    }
}

/// The engines' processes of this one.
pub fn processes() -> Vec<u32> {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap().flatten();
    let children = tasks.filter_map(|task| std::fs::read_to_string(task.path().join("children")).ok());
    children.flat_map(|list| list.split_whitespace().map(|pid| pid.parse().unwrap()).collect::<Vec<u32>>()).collect()
}

/// Waits until nothing is left of swaps: no thread of theirs and no engine's process beside `known`.
#[track_caller]
pub fn nothing_is_left(known: usize) {
    wait_until("the threads of swaps end", || !super::threads().iter().any(|name| name == "vigil-swap"));
    wait_until("the processes of swaps end", || processes().len() <= known);
}
