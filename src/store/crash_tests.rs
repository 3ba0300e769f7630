//! `kill -9` before every step of every change: a process of its own does the work and dies at the n-th step, for every n.

use std::os::unix::process::ExitStatusExt;
use std::process::Command;

use super::disk_tests::KILL_AT;
use super::tests::{archive, archive_of, with_releases};
use super::*;
use crate::bundle::sign::{SIGNATURE, SecretKey, sign};
use crate::bundle::tests::edited;
use crate::bundle::{Bundle, BundleError};

/// The variables by which the child is told what to do: the work, the store, an archive.
const WORK: [&str; 3] = ["VIGIL_TEST_WORK", "VIGIL_TEST_ROOT", "VIGIL_TEST_ARCHIVE"];

/// Does one change; the child's and, repeated, the test's own.
fn work(what: &str, store: &Store, archive: &Path) -> Result<(), StoreError> {
    let limited = |max_bytes| InstallOptions { max_bytes, ..InstallOptions::default() };
    match what {
        "install" => store.install(archive, &limited(None)).map(drop),
        // Room for three: the oldest unused one has to go.
        "install limited" => {
            let three = Bundle::open(archive)?.size() * 3 + 10;
            store.install(archive, &limited(Some(three))).map(drop)
        }
        "propose" => store.propose("people", "2").map(drop),
        "confirm" => store.confirm("people", "2").map(drop),
        "reject" => store.reject("people", "2", "worse").map(drop),
        "rollback" => store.rollback("people").map(drop),
        "gc" => store.gc(None).map(drop),
        other => panic!("no work {other}"),
    }
}

#[test]
#[ignore = "the process that the other tests start and kill"]
fn child() {
    let [what, root, archive] = WORK.map(|name| std::env::var(name).unwrap());
    work(&what, &Store::at(Path::new(&root)), Path::new(&archive)).unwrap();
}

/// Starts the child.
pub(super) fn command(what: &str, store: &Store, archive: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "store::crash_tests::child", "--ignored", "--nocapture"]);
    command.env(WORK[0], what).env(WORK[1], store.root()).env(WORK[2], archive).env_remove(KILL_AT);
    command
}

fn copy_tree(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for item in fs::read_dir(from).unwrap() {
        let item = item.unwrap();
        let target = to.join(item.file_name());
        if item.file_type().unwrap().is_dir() {
            copy_tree(&item.path(), &target);
        } else {
            fs::copy(item.path(), target).unwrap();
        }
    }
}

/// Whole, nothing half done in sight.
fn check_whole(store: &Store, known_good: &[&str], when: &str) {
    for entry in store.list().unwrap() {
        assert!(entry.warnings.is_empty(), "{when}: {:?}", entry.warnings);
        for release in &entry.releases {
            store.open(&entry.name, release).unwrap_or_else(|why| panic!("{when}: {}: {why}", release.release));
        }
    }
    match store.resolve("people", None).unwrap_or_else(|e| panic!("{when}: {e}")) {
        Some(found) => {
            assert!(known_good.contains(&&*found.release), "{when}: {}", found.release);
            assert!(found.bundle.warnings.is_empty(), "{when}: {:?}", found.bundle.warnings);
        }
        None => assert!(known_good.contains(&""), "{when}: no model"),
    }
}

/// Hidden names below a folder that a finished change leaves none of.
fn leftovers(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for path in fs::read_dir(folder).unwrap().map(|item| item.unwrap().path()) {
        if path.extension().is_some_and(|e| e == "new") || path.parent().unwrap().ends_with(".staging") {
            found.push(path.clone());
        }
        if path.is_dir() {
            found.extend(leftovers(&path));
        }
    }
    found
}

/// Kills `what` at each of its steps, on a copy of the store each; `known_good` are the releases that may be resolved
/// afterwards ("" for none), `wanted` is the selection (current, previous, candidate) once it is done.
fn kill_everywhere(template: &Store, what: &str, archive: &Path, known_good: &[&str], wanted: [&str; 3]) {
    let dir = tempfile::tempdir().unwrap();
    let mut steps = 0;
    for at in 1.. {
        let store = Store::at(&dir.path().join(at.to_string()));
        if template.root().exists() {
            copy_tree(template.root(), store.root());
        }
        let done = command(what, &store, archive).env(KILL_AT, at.to_string()).output().unwrap();
        let when = format!("{what}, killed before step {at}");
        let output = String::from_utf8_lossy(&done.stderr).into_owned();
        assert!(done.status.success() || done.status.signal() == Some(9), "{when}: {output}");
        check_whole(&store, known_good, &when);
        match work(what, &store, archive) {
            // It was done before the kill.
            Err(StoreError::NoPrevious { .. }) if what == "rollback" => {}
            again => again.unwrap_or_else(|e| panic!("{when}: once more: {e}")),
        }
        check_whole(&store, known_good, &when);
        let s = store.selection("people").unwrap();
        let now = [&s.current, &s.previous, &s.candidate].map(|r| r.as_deref().unwrap_or(""));
        assert_eq!(now, wanted, "{when}");
        // What is left is gone after the next change at the latest.
        store.gc(Some(u64::MAX)).unwrap();
        let left = leftovers(store.root());
        assert!(left.is_empty(), "{when}: {left:?}");
        if done.status.success() {
            steps = at - 1;
            break;
        }
    }
    assert!(steps >= 3, "{what}: {steps} steps were cut short");
}

#[test]
fn a_killed_first_installation() {
    let dir = tempfile::tempdir().unwrap();
    let none = Store::at(&dir.path().join("none"));
    kill_everywhere(&none, "install", &archive(dir.path(), "1"), &["", "1"], ["1", "", ""]);
}

#[test]
fn a_killed_further_installation() {
    let (dir, store) = with_releases(&["1"]);
    kill_everywhere(&store, "install", &archive(dir.path(), "2"), &["1"], ["1", "", ""]);
}

#[test]
fn a_killed_installation_that_makes_room() {
    let (dir, store) = with_releases(&["1", "2", "3"]);
    store.confirm("people", "3").unwrap();
    kill_everywhere(&store, "install limited", &archive(dir.path(), "4"), &["3"], ["3", "1", ""]);
}

#[test]
fn a_killed_installation_that_adds_a_signature() {
    let (dir, store) = with_releases(&["1"]);
    let mut files = edited("release = \"2026.11.1\"", "release = \"1\"");
    let digest = store.resolve("people", None).unwrap().unwrap().bundle.digest;
    files.insert(SIGNATURE.into(), sign(&digest, &SecretKey::generate().unwrap()).into_bytes());
    let signed = archive_of(dir.path(), "signed", files);
    kill_everywhere(&store, "install", &signed, &["1"], ["1", "", ""]);
}

#[test]
fn a_killed_mending_of_a_damaged_release() {
    // The damaged one is the candidate, so that what plays is not touched.
    let (dir, store) = with_releases(&["1", "2"]);
    store.propose("people", "2").unwrap();
    let file = store.root().join("people/2/labels.txt");
    fs::write(&file, "bicycle\nperson\ntruck\n").unwrap();
    let good = archive(dir.path(), "2");
    let out = tempfile::tempdir().unwrap();
    for at in 1.. {
        let copy = Store::at(&out.path().join(at.to_string()));
        copy_tree(store.root(), copy.root());
        let done = command("install", &copy, &good).env(KILL_AT, at.to_string()).output().unwrap();
        assert_eq!(super::tests::resolved(&copy), "1");
        work("install", &copy, &good).unwrap();
        assert_eq!(super::tests::resolved(&copy), "1");
        let second: Result<Bundle, BundleError> = Bundle::open(&copy.root().join("people/2"));
        assert_eq!(second.unwrap().digest, Bundle::open(&good).unwrap().digest);
        if done.status.success() {
            assert!(at > 20, "{at} steps");
            break;
        }
        assert_eq!(done.status.signal(), Some(9));
    }
}

#[test]
fn a_killed_proposal() {
    let (dir, store) = with_releases(&["1", "2"]);
    kill_everywhere(&store, "propose", dir.path(), &["1"], ["1", "", "2"]);
}

#[test]
fn a_killed_confirmation() {
    let (dir, store) = with_releases(&["1", "2"]);
    store.propose("people", "2").unwrap();
    kill_everywhere(&store, "confirm", dir.path(), &["1", "2"], ["2", "1", ""]);
}

#[test]
fn a_killed_rejection_of_the_candidate() {
    let (dir, store) = with_releases(&["1", "2"]);
    store.propose("people", "2").unwrap();
    kill_everywhere(&store, "reject", dir.path(), &["1"], ["1", "", ""]);
}

#[test]
fn a_killed_rejection_of_the_current_release() {
    let (dir, store) = with_releases(&["1", "2"]);
    store.confirm("people", "2").unwrap();
    kill_everywhere(&store, "reject", dir.path(), &["1", "2"], ["1", "", ""]);
}

#[test]
fn a_killed_rollback() {
    let (dir, store) = with_releases(&["1", "2", "3"]);
    store.confirm("people", "2").unwrap();
    store.propose("people", "3").unwrap();
    kill_everywhere(&store, "rollback", dir.path(), &["1", "2"], ["1", "", ""]);
}

#[test]
fn a_killed_collection() {
    let (dir, store) = with_releases(&["1", "2", "3", "4"]);
    store.confirm("people", "4").unwrap();
    kill_everywhere(&store, "gc", dir.path(), &["4"], ["4", "1", ""]);
}
