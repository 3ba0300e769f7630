//! Several threads and processes at one store.

use std::cell::Cell;
use std::process::{Child, Stdio};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::crash_tests::command;
use super::disk::Step;
use super::disk_tests::watched;
use super::tests::{archive, resolved, with_releases};
use super::*;

#[test]
fn threads_install_use_and_collect_at_the_same_time() {
    let (dir, store) = with_releases(&["0"]);
    let archives: Vec<PathBuf> = (1..4).map(|i| archive(dir.path(), &i.to_string())).collect();
    let done = AtomicBool::new(false);
    let reads = std::thread::scope(|scope| {
        let readers: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| {
                    let mut reads = 0;
                    while !done.load(Ordering::Acquire) || reads == 0 {
                        let found = store.resolve("people", None).unwrap().unwrap();
                        // What it holds stays, whatever the others do.
                        assert!(found.path.join("bundle.toml").is_file());
                        found.bundle.stage().unwrap();
                        reads += 1;
                    }
                    reads
                })
            })
            .collect();
        let writers: Vec<_> = (0..3)
            .map(|i: usize| {
                let (store, archives) = (&store, &archives);
                scope.spawn(move || {
                    for round in 0..6 {
                        let which = (i + round) % archives.len();
                        let release = (which + 1).to_string();
                        store.install(&archives[which], &InstallOptions::default()).unwrap();
                        // Another one's collector may have been faster.
                        let _ = store.propose("people", &release);
                        let _ = store.confirm("people", &release);
                        if round % 2 == 0 {
                            let _ = store.reject("people", &release, "worse");
                        }
                        store.gc(None).unwrap();
                    }
                })
            })
            .collect();
        let failed = writers.into_iter().map(|w| w.join()).filter(Result::is_err).count();
        done.store(true, Ordering::Release);
        assert_eq!(failed, 0);
        readers.into_iter().map(|r| r.join().unwrap()).sum::<usize>()
    });
    assert!(reads >= 2);
    assert!(store.list().unwrap()[0].warnings.is_empty());
    assert_eq!(fs::read_dir(store.staging()).unwrap().count(), 0);
}

#[test]
fn processes_that_install_the_same_release_agree() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::at(&dir.path().join("store"));
    let archive = archive(dir.path(), "1");
    let start = |_| -> Child {
        let mut command = command("install", &store, &archive);
        command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let children: Vec<Child> = (0..4).map(start).collect();
    for child in children {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    assert_eq!(resolved(&store), "1");
    assert_eq!(store.releases("people").unwrap().len(), 1);
    assert_eq!(fs::read_dir(store.staging()).unwrap().count(), 0);
}

#[test]
fn a_lease_of_another_process_counts_until_it_is_killed() {
    let (_dir, store) = with_releases(&["1", "2"]);
    let folder = store.root().join("people/2");
    // The program flock of util-linux takes the same lock.
    let holder = std::process::Command::new("flock")
        .args(["--shared", "--no-fork"])
        .arg(&folder)
        .args(["sh", "-c", "echo held; exec cat"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn();
    let mut holder = match holder {
        Ok(holder) => holder,
        Err(e) => return eprintln!("skipped: flock cannot be run: {e}"),
    };
    let mut line = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(holder.stdout.take().unwrap()), &mut line).unwrap();
    assert_eq!(line, "held\n");
    assert!(store.in_use("people", "2"));
    assert!(store.gc(None).unwrap().is_empty());
    holder.kill().unwrap();
    holder.wait().unwrap();
    assert!(!store.in_use("people", "2"));
    assert_eq!(store.gc(None).unwrap().len(), 1);
}

#[test]
fn a_published_release_is_free_while_its_installer_still_syncs() {
    let (dir, store) = with_releases(&["1"]);
    let archive = archive(dir.path(), "2");
    let (folder, looks) = (store.root().join("people/2"), Rc::new(Cell::new(0)));
    let (there, count) = (folder.clone(), looks.clone());
    let look = move |_: Step, _: &Path| {
        if there.is_dir() {
            assert!(lease::exclusive(&there).is_some(), "an installer that is stopped here blocks every start");
            count.set(count.get() + 1);
        }
    };
    watched(look, || store.install(&archive, &InstallOptions::default())).unwrap();
    assert!(folder.is_dir() && looks.get() > 0);
}
