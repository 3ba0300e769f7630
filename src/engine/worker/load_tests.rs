//! Workers that do not come to load their model.

use std::path::Path;
use std::time::{Duration, Instant};

use super::tests::{LONG, remote, remote_beside_video};
use crate::cancel::Cancel;
use crate::engine::EngineError;
use crate::engine::options::Background;

/// The number of the process that says in `folder` that it hangs, once it does.
fn hung(folder: &Path) -> u32 {
    let begun = Instant::now();
    loop {
        if let Ok(text) = std::fs::read_to_string(folder.join("hangs")) {
            return text.parse().unwrap();
        }
        assert!(begun.elapsed() < LONG, "no worker comes");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Gone, and not only dead: nobody waits for the end of one that is in the table still.
fn is_gone(process: u32) -> bool {
    !Path::new("/proc").join(process.to_string()).exists()
}

#[test]
fn a_load_that_hangs_is_given_up_when_its_time_is_over_and_its_process_is_gone() {
    for mode in ["hangs", "hangs-loading"] {
        let limit = Duration::from_secs(2);
        let background = Background { limit, cancel: Cancel::default() };
        let begun = Instant::now();
        let (remote, folder) = remote_beside_video(mode, Some(&background));
        let error = remote.err().unwrap_or_else(|| panic!("{mode} is taken"));
        assert!(matches!(error, EngineError::Late(late) if late == limit), "{mode}: {error:?}");
        assert!(begun.elapsed() >= limit);
        assert!(is_gone(hung(folder.path())), "{mode}");
    }
}

#[test]
fn a_load_that_is_not_wanted_any_more_ends_at_once_and_its_process_is_gone() {
    for mode in ["hangs", "hangs-loading"] {
        let background = Background { limit: 10 * LONG, cancel: Cancel::default() };
        let begun = Instant::now();
        let (error, folder) = std::thread::scope(|scope| {
            let (folders, folder) = std::sync::mpsc::channel();
            let background = &background;
            let loader = scope.spawn(move || {
                let folder = tempfile::tempdir().unwrap();
                folders.send(folder.path().to_path_buf()).unwrap();
                (super::tests::remote_in(&folder, mode, Some(background)).err(), folder)
            });
            hung(&folder.recv().unwrap());
            background.cancel.cancel();
            loader.join().unwrap()
        });
        assert!(matches!(error, Some(EngineError::Cancelled)), "{mode}: {error:?}");
        assert!(begun.elapsed() < LONG, "it waits for its limit");
        assert!(is_gone(hung(folder.path())), "{mode}");
    }
}

#[test]
fn a_good_worker_loads_in_the_background_too() {
    let background = Background { limit: 2 * LONG, cancel: Cancel::default() };
    let (remote, _folder) = remote_beside_video("good", Some(&background));
    assert_eq!(super::tests::back(&remote.unwrap()), 0);
    // What it was asked for before it began is not done either.
    background.cancel.cancel();
    let (remote, _folder) = remote_beside_video("hangs", Some(&background));
    assert!(matches!(remote.err(), Some(EngineError::Cancelled)));
}

#[test]
fn a_process_that_dies_while_it_loads_is_told_from_a_model_that_is_refused() {
    let (crashed, _folder) = remote("dies-loading");
    let crashed = crashed.err().unwrap();
    let text = crashed.to_string();
    assert!(matches!(crashed, EngineError::Crashed(_)) && text.contains("while loading it"), "{crashed:?}");
    let (memory, _folder) = remote("no-memory");
    let memory = memory.err().unwrap();
    assert!(matches!(&memory, EngineError::Memory(text) if text.contains("bad_alloc")), "{memory:?}");
}
