//! What a power cut would find: nothing is renamed before what it publishes is synced, and every rename is made durable.

use std::collections::BTreeSet;

use super::disk::Step;
use super::disk_tests::{Taken, taken};
use super::tests::{archive, with_releases};
use super::*;

/// Checks the order of what was done, and that in the end nothing outside of the staging area waits to be synced.
fn check(log: &[Taken], staging: &Path) -> Result<(), String> {
    let mut files: BTreeSet<&Path> = BTreeSet::new();
    let mut folders: BTreeSet<&Path> = BTreeSet::new();
    let mut after_rename: BTreeSet<&Path> = BTreeSet::new();
    for (number, (step, path, to)) in log.iter().enumerate() {
        let at = |why: &str| format!("step {number}, {step:?} {}: {why}", path.display());
        let syncs_it = *step == Step::SyncDir && after_rename.contains(path.as_path());
        if !after_rename.is_empty() && !syncs_it {
            return Err(at("the folders of the rename before it are not synced"));
        }
        let parent = path.parent().unwrap();
        match step {
            Step::MakeDir => {
                folders.insert(parent);
            }
            Step::Create => {
                files.insert(path);
                folders.insert(parent);
            }
            Step::Write => {
                files.insert(path);
            }
            Step::Sync => {
                files.remove(path.as_path());
            }
            Step::SyncDir => {
                folders.remove(path.as_path());
                after_rename.remove(path.as_path());
            }
            Step::Rename => {
                if let Some(file) = files.iter().find(|f| f.starts_with(path)) {
                    return Err(at(&format!("{} is not synced", file.display())));
                }
                if let Some(folder) = folders.iter().find(|f| f.starts_with(path)) {
                    return Err(at(&format!("the entries of {} are not synced", folder.display())));
                }
                after_rename = [parent, to.as_deref().unwrap().parent().unwrap()].into();
                folders.extend(&after_rename);
            }
            Step::Remove => {
                files.remove(path.as_path());
                folders.retain(|f| !f.starts_with(path));
            }
        }
    }
    let waits = files.iter().chain(&folders).find(|path| !path.starts_with(staging));
    waits.map_or(Ok(()), |path| Err(format!("{} is never synced", path.display())))
}

#[test]
fn every_change_is_durable_when_it_returns() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::at(&dir.path().join("a/store"));
    let archives = ["1", "2", "3"].map(|release| archive(dir.path(), release));
    let mut renames = 0;
    let mut done = |what: &str| {
        let log = taken();
        renames += log.iter().filter(|(step, ..)| *step == Step::Rename).count();
        check(&log, &store.staging()).unwrap_or_else(|why| panic!("{what}: {why}\n{log:#?}"));
        log
    };
    for archive in &archives {
        store.install(archive, &InstallOptions::default()).unwrap();
        let log = done("install");
        // Each file of the bundle, and the record.
        assert!(log.iter().filter(|(step, ..)| *step == Step::Sync).count() >= 4);
    }
    store.propose("people", "2").unwrap();
    done("propose");
    store.confirm("people", "2").unwrap();
    done("confirm");
    store.reject("people", "2", "worse").unwrap();
    done("reject");
    store.confirm("people", "3").unwrap();
    store.rollback("people").unwrap();
    done("rollback");
    fs::write(store.root().join("people/state.toml"), "broken").unwrap();
    store.confirm("people", "2").unwrap();
    done("confirm over a broken state");
    store.gc(None).unwrap();
    done("gc");
    assert!(renames > 10, "{renames}");
}

#[test]
fn the_check_finds_what_is_missing() {
    let (dir, store) = with_releases(&["1"]);
    taken();
    store.install(&archive(dir.path(), "2"), &InstallOptions::default()).unwrap();
    store.confirm("people", "2").unwrap();
    let log = taken();
    check(&log, &store.staging()).unwrap();
    let syncs: Vec<usize> = (0..log.len()).filter(|i| matches!(log[*i].0, Step::Sync | Step::SyncDir)).collect();
    let mut noticed = 0;
    for without in &syncs {
        let mut log = log.clone();
        log.remove(*without);
        noticed += usize::from(check(&log, &store.staging()).is_err());
    }
    // A folder is synced when it is made and once more when it is filled; only the last one counts.
    assert!(noticed * 10 > syncs.len() * 6, "{noticed} of {} missing syncs are noticed", syncs.len());
}
