//! Limits: the disk's, and the user's.

use super::disk_tests::fail_at;
use super::tests::{archive, resolved, with_releases};
use super::*;

fn releases(store: &Store) -> Vec<String> {
    store.releases("people").unwrap().into_iter().map(|r| r.release).collect()
}

fn names(removed: &[Removed]) -> Vec<String> {
    removed.iter().cloned().map(String::from).collect()
}

/// Lets the disk be full at every step that takes room, one after the other.
fn fill_up_everywhere(store: &Store, archive: &Path, before: &[&str]) {
    for at in 1.. {
        fail_at(Some((at, libc::ENOSPC)));
        let outcome = store.install(archive, &InstallOptions::default());
        fail_at(None);
        let Err(error) = outcome else {
            assert!(at > 12, "{at} steps take room");
            break;
        };
        let text = error.to_string();
        assert!(text.contains("no room on the disk of") && text.contains("of them are missing"), "step {at}: {text}");
        assert_eq!(releases(store), before, "step {at}");
        assert_eq!(fs::read_dir(store.staging()).map_or(0, Iterator::count), 0, "step {at}: nothing is left");
        let current = store.resolve("people", None).unwrap().map(|r| r.release);
        assert_eq!(current.as_deref(), before.first().copied(), "step {at}");
    }
}

#[test]
fn a_full_disk_leaves_the_store_as_it_was() {
    let (dir, store) = with_releases(&["1"]);
    fill_up_everywhere(&store, &archive(dir.path(), "2"), &["1"]);
    assert_eq!(releases(&store), ["1", "2"]);
}

#[test]
fn a_full_disk_at_the_first_installation() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::at(dir.path());
    fill_up_everywhere(&store, &archive(dir.path(), "1"), &[]);
    assert_eq!(resolved(&store), "1");
}

#[test]
fn a_full_disk_leaves_the_selection_as_it_was() {
    let (_dir, store) = with_releases(&["1", "2"]);
    for at in 1.. {
        fail_at(Some((at, libc::ENOSPC)));
        let outcome = store.confirm("people", "2");
        fail_at(None);
        if outcome.is_ok() {
            assert!(at > 4);
            break;
        }
        assert_eq!(resolved(&store), "1");
    }
    assert_eq!(resolved(&store), "2");
}

#[test]
fn the_collector_takes_the_oldest_unused_releases_first() {
    let (_dir, store) = with_releases(&["10", "9", "8", "7", "6", "5"]);
    store.confirm("people", "9").unwrap();
    store.propose("people", "7").unwrap();
    let held = store.resolve("people", Some("6")).unwrap().unwrap();
    let one = store.size().unwrap() / 6;
    assert!(store.gc(Some(u64::MAX)).unwrap().is_empty());
    assert_eq!(names(&store.gc(Some(6 * one - 10)).unwrap()), ["people@8"]);
    // Current 9, previous 10, candidate 7 and the held 6 stay.
    assert_eq!(names(&store.gc(None).unwrap()), ["people@5"]);
    let copy = held.bundle.clone();
    drop(held);
    assert!(store.gc(None).unwrap().is_empty(), "a copy of the bundle holds it too");
    drop(copy);
    assert_eq!(names(&store.gc(None).unwrap()), ["people@6"]);
    assert_eq!(releases(&store), ["10", "9", "7"]);
    assert_eq!(resolved(&store), "9");
}

#[test]
fn a_size_limit_makes_room_or_refuses() {
    let (dir, store) = with_releases(&["1", "2", "3"]);
    let used = store.size().unwrap();
    let next = archive(dir.path(), "4");
    let limited = |max_bytes: u64| InstallOptions { max_bytes: Some(max_bytes), ..InstallOptions::default() };
    let text = store.install(&next, &limited(used / 3 + 10)).unwrap_err().to_string();
    assert!(text.contains("is full:") && text.contains("raise max-size"), "{text}");
    assert_eq!(releases(&store), ["1", "2", "3"], "nothing is removed for what does not fit anyway");
    // The limit of the settings holds where the call has none.
    fs::write(store.root().join("store.toml"), format!("max-size = \"{}B\"\n", used + 10)).unwrap();
    let installed = store.install(&next, &InstallOptions::default()).unwrap();
    assert_eq!(installed.removed, ["people@2"]);
    assert_eq!(releases(&store), ["1", "3", "4"]);
    for (content, why) in [
        ("max-size = \"4G\"", "store.toml:1:12: `max-size`: `4G` is not a size"),
        ("maxsize = \"4GiB\"", "did you mean `max-size`?"),
        ("max-size", "store.toml:1:"),
    ] {
        fs::write(store.root().join("store.toml"), content).unwrap();
        let text = store.install(&next, &InstallOptions::default()).unwrap_err().to_string();
        assert!(text.contains(why), "{text}");
    }
}

#[test]
fn what_killed_processes_left_is_tidied_but_not_what_is_under_way() {
    let (_dir, store) = with_releases(&["1"]);
    let left = store.staging().join("in-1-1");
    fs::create_dir_all(left.join("deep")).unwrap();
    fs::write(left.join("deep/x"), "half").unwrap();
    let under_way = store.staging().join("in-2-1");
    fs::create_dir(&under_way).unwrap();
    let lock = lease::exclusive(&under_way).unwrap();
    store.gc(None).unwrap();
    assert!(!left.exists() && under_way.exists());
    drop(lock);
    store.gc(None).unwrap();
    assert!(!under_way.exists());
}
