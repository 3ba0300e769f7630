use std::collections::BTreeMap;

use super::*;
use crate::bundle::tests::{Content, edited, small_bundle, write_folder};
use crate::bundle::{Bundle, ModelSource, pack};

/// A bundle `people` of that release, as an archive.
pub(super) fn archive(dir: &Path, release: &str) -> PathBuf {
    let files = edited("release = \"2026.11.1\"", &format!("release = \"{release}\""));
    archive_of(dir, release, files)
}

pub(super) fn archive_of(dir: &Path, file: &str, files: Content) -> PathBuf {
    let path = dir.join(format!("{file}.vigil"));
    pack::write_file(&Bundle::from_files(&path.with_extension(""), files).map(keep_origin(dir)).unwrap(), &path)
        .unwrap();
    path
}

/// The archive is written beside what it is made of, so that has to be somewhere.
fn keep_origin(dir: &Path) -> impl Fn(Bundle) -> Bundle {
    let origin = dir.join("source");
    fs::create_dir_all(&origin).unwrap();
    move |mut bundle| {
        bundle.origin.clone_from(&origin);
        bundle
    }
}

/// A temporary folder and a store in it with releases of `people`, the first one current.
pub(super) fn with_releases(releases: &[&str]) -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::at(&dir.path().join("deep/store"));
    for release in releases {
        store.install(&archive(dir.path(), release), &InstallOptions::default()).unwrap();
    }
    (dir, store)
}

pub(super) fn resolved(store: &Store) -> String {
    store.resolve("people", None).unwrap().unwrap().release
}

fn releases(store: &Store) -> Vec<String> {
    store.releases("people").unwrap().into_iter().map(|r| r.release).collect()
}

fn damage(store: &Store, release: &str) {
    fs::write(store.root().join("people").join(release).join("labels.txt"), "bicycle\nperson\ntruck\n").unwrap();
}

#[test]
fn the_first_release_becomes_current_and_later_ones_wait() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::at(&dir.path().join("store"));
    assert!(store.resolve("people", None).unwrap().is_none(), "there is not even a folder");
    assert!(store.list().unwrap().is_empty());
    let first = store.install(&archive(dir.path(), "1"), &InstallOptions::default()).unwrap();
    assert!(first.current && !first.was_there);
    let second = store.install(&archive(dir.path(), "2"), &InstallOptions::default()).unwrap();
    assert!(!second.current);
    assert_eq!(resolved(&store), "1");
    let found = store.resolve("people", Some("2")).unwrap().unwrap();
    assert_eq!((found.path, found.bundle.digest), (store.root().join("people/2"), second.digest));
    assert_eq!(store.names().unwrap(), ["people"]);
    assert!(store.resolve("people", Some("3")).unwrap_err().to_string().contains("the installed releases are 1, 2"));
    assert!(store.resolve("cars", Some("3")).unwrap().is_none());
}

#[test]
fn a_folder_installs_like_an_archive_and_leaves_no_trace_beside() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::at(&dir.path().join("store"));
    let mut files = small_bundle();
    files.insert("notes/deep/er.txt".into(), b"x".to_vec());
    write_folder(&dir.path().join("b"), &files);
    let installed = store.install(&dir.path().join("b"), &InstallOptions::default()).unwrap();
    let copy = Bundle::open(&installed.path).unwrap();
    assert_eq!(copy.digest, Bundle::open(&dir.path().join("b")).unwrap().digest);
    assert_eq!(fs::read_dir(store.staging()).unwrap().count(), 0);
    let again = store.install(&dir.path().join("b"), &InstallOptions::default()).unwrap();
    assert!(again.was_there && again.current);
}

#[test]
fn use_confirm_reject_and_rollback_move_the_selection() {
    let (_dir, store) = with_releases(&["1", "2", "3"]);
    let s = store.propose("people", "2").unwrap();
    assert_eq!((s.current.as_deref(), s.candidate.as_deref()), (Some("1"), Some("2")));
    assert_eq!(resolved(&store), "1", "a candidate is not used by those who start");
    let s = store.confirm("people", "2").unwrap();
    assert_eq!((s.current.as_deref(), s.previous.as_deref(), s.candidate), (Some("2"), Some("1"), None));
    store.propose("people", "3").unwrap();
    let s = store.reject("people", "3", "found nothing").unwrap();
    assert_eq!((s.current.as_deref(), s.candidate, s.rejected[0].reason.as_str()), (Some("2"), None, "found nothing"));
    let s = store.rollback("people").unwrap();
    assert_eq!((s.current.as_deref(), s.previous.as_deref()), (Some("1"), None));
    assert!(s.is_rejected("2"));
    let text = store.rollback("people").unwrap_err().to_string();
    assert!(
        text.contains("the installed releases are 1, 2, 3; choose one with vigil bundle use people@RELEASE"),
        "{text}"
    );
    assert_eq!(store.selection("people").unwrap(), s, "what fails changes nothing");
}

#[test]
fn what_was_taken_back_meanwhile_is_not_confirmed() {
    let (_dir, store) = with_releases(&["1", "2", "3"]);
    store.propose("people", "2").unwrap();
    assert!(store.confirm_if_wanted("people", "2").unwrap());
    assert_eq!(resolved(&store), "2");
    assert!(store.confirm_if_wanted("people", "2").unwrap(), "another camera has it too");

    let after = store.rollback("people").unwrap();
    assert!(!store.confirm_if_wanted("people", "2").unwrap(), "an operator went back");
    assert_eq!(store.selection("people").unwrap(), after);
    store.propose("people", "3").unwrap();
    let after = store.reject("people", "3", "worse").unwrap();
    assert!(!store.confirm_if_wanted("people", "3").unwrap(), "another camera has rejected it");
    assert_eq!(store.selection("people").unwrap(), after);
    store.propose("people", "3").unwrap();
    let after = store.propose("people", "2").unwrap();
    assert!(!store.confirm_if_wanted("people", "3").unwrap(), "another one is the candidate now");
    assert_eq!(store.selection("people").unwrap(), after);
    // A last release that was rejected stays current, but nobody's word makes it good.
    store.reject("people", "1", "worse").unwrap();
    assert!(!store.confirm_if_wanted("people", "1").unwrap());
    assert!(store.selection("people").unwrap().is_rejected("1"));
    assert!(!store.confirm_if_wanted("people", "9").unwrap(), "it is gone");
    assert!(store.confirm_if_wanted("people", "..").is_err());
    // A user may.
    store.confirm("people", "3").unwrap();
    assert_eq!(resolved(&store), "3");
}

#[test]
fn what_is_not_installed_cannot_be_used() {
    let (_dir, store) = with_releases(&["1"]);
    for (name, release, why) in [
        ("people", "2", "people@2 is not in the store"),
        ("cars", "1", "it has people"),
        ("../people", "1", "contains '/'"),
        ("people", "..", "must begin with"),
        ("people", ".staging", "must begin with"),
    ] {
        let text = store.propose(name, release).unwrap_err().to_string();
        assert!(text.contains(why), "{text}");
    }
    assert!(store.selection("cars").is_err());
    assert!(!Store::at(&store.root().join("none")).root().exists(), "a question makes no folder");
}

#[test]
fn a_release_never_changes_its_content() {
    let (dir, store) = with_releases(&["1"]);
    let mut files = edited("release = \"2026.11.1\"", "release = \"1\"");
    files.insert("labels.txt".into(), b"bicycle\nperson\ntruck\n".to_vec());
    let other = archive_of(dir.path(), "other", files);
    let text = store.install(&other, &InstallOptions::default()).unwrap_err().to_string();
    assert!(text.contains("people 1 is in the store already with another content"), "{text}");
    assert_eq!(resolved(&store), "1");
    assert_eq!(fs::read_dir(store.staging()).unwrap().count(), 0);
}

#[test]
fn a_damaged_release_gives_way_and_says_so() {
    let (dir, store) = with_releases(&["1", "2", "3"]);
    store.confirm("people", "2").unwrap();
    damage(&store, "2");
    let found = store.resolve("people", None).unwrap().unwrap();
    assert_eq!(found.release, "1", "the previous one");
    assert_eq!(found.bundle.warnings.len(), 1);
    assert!(found.bundle.warnings[0].contains("the release 2 cannot be used: damaged"), "{:?}", found.bundle.warnings);
    assert!(store.resolve("people", Some("2")).is_err(), "by name there is no substitute");
    fs::remove_dir_all(store.root().join("people/1")).unwrap();
    assert_eq!(resolved(&store), "3");
    fs::remove_file(store.root().join("people/3/model.onnx")).unwrap();
    let text = store.resolve("people", None).unwrap_err().to_string();
    assert!(text.starts_with("no release of people in the store can be used: the release 2"), "{text}");

    // Installing once more mends.
    let mended = store.install(&archive(dir.path(), "2"), &InstallOptions::default()).unwrap();
    assert!(!mended.was_there && mended.current);
    assert_eq!(resolved(&store), "2");
}

#[test]
fn a_lost_or_foreign_state_is_made_up_for_and_set_aside() {
    let (_dir, store) = with_releases(&["1", "2", "3"]);
    store.confirm("people", "2").unwrap();
    store.propose("people", "3").unwrap();
    let state = store.root().join("people/state.toml");
    for content in ["", "\0\0\0\0", "format = 9", "current = \"3\"", "format = 1\ncurrent = \"../../x\""] {
        fs::write(&state, content).unwrap();
        let found = store.resolve("people", None).unwrap().unwrap();
        assert_eq!(found.release, "2", "{content:?}: from the state before it");
        assert!(found.bundle.warnings[0].contains("not a state file of this store"), "{:?}", found.bundle.warnings);
        assert_eq!(fs::read_to_string(&state).unwrap(), content, "who only reads changes nothing");
    }
    store.propose("people", "3").unwrap();
    assert!(store.root().join("people/state.broken.toml").is_file());
    assert!(store.list().unwrap()[0].warnings.is_empty());
    assert_eq!(resolved(&store), "2");

    // Both lost, twice, the second time with something in the way of setting aside.
    for _ in 0..2 {
        fs::remove_file(store.root().join("people/state.old.toml")).unwrap();
        fs::remove_file(&state).unwrap();
        fs::create_dir(&state).unwrap();
        fs::write(state.join("x"), "").unwrap();
        assert_eq!(resolved(&store), "2", "the newest that was ever current");
        assert!(store.gc(None).unwrap().is_empty(), "nothing is removed while it is not known what is good");
        store.confirm("people", "1").unwrap();
        store.confirm("people", "2").unwrap();
        assert_eq!(resolved(&store), "2");
    }
}

/// Takes both state files of `people` away.
fn lose_state(store: &Store) {
    for file in [STATE, OLD_STATE] {
        let _ = fs::remove_file(store.root().join("people").join(file));
    }
}

#[test]
fn only_what_was_current_before_becomes_current_by_itself() {
    let (_dir, store) = with_releases(&["1", "2", "3", "4"]);
    for release in ["2", "3"] {
        store.confirm("people", release).unwrap();
    }
    store.propose("people", "4").unwrap();
    lose_state(&store);
    assert_eq!(resolved(&store), "3", "4 was never tried");
    store.reject("people", "3", "worse").unwrap();
    assert_eq!(resolved(&store), "2", "there is no previous one, but this one was current");
    lose_state(&store);
    assert_eq!(resolved(&store), "2", "3 was rejected, and its record knows");
    store.reject("people", "2", "worse").unwrap();
    assert_eq!(resolved(&store), "1", "the first one counts");
    let s = store.reject("people", "1", "worse").unwrap();
    assert_eq!((s.current.as_deref(), s.is_rejected("1")), (Some("1"), true), "4 is no way back");
    let text = store.rollback("people").unwrap_err().to_string();
    assert!(text.contains("no previous release to go back to, so 1 stays current"), "{text}");
    assert_eq!(store.selection("people").unwrap(), s);
}

#[test]
fn a_store_of_before_knows_of_two_releases_that_were_current() {
    let (_dir, store) = with_releases(&["1", "2", "3", "4"]);
    store.confirm("people", "3").unwrap();
    let old_records = || {
        for release in ["1", "2", "3", "4"] {
            let path = store.root().join("people").join(release).join(".release.toml");
            let text = fs::read_to_string(&path).unwrap();
            let text: String = text.lines().filter(|l| !l.starts_with("confirmed")).map(|l| format!("{l}\n")).collect();
            fs::write(&path, text).unwrap();
        }
    };
    old_records();
    let known = |store: &Store| -> Vec<String> {
        let list = store.list().unwrap().remove(0).releases;
        list.into_iter().filter(|r| r.confirmed).map(|r| r.release).collect()
    };
    assert_eq!(known(&store), ["1", "3"], "previous and current");
    store.propose("people", "2").unwrap();
    lose_state(&store);
    assert_eq!((known(&store), resolved(&store)), (vec!["1".to_owned(), "3".into()], "3".into()), "it was noted");

    old_records();
    assert_eq!(resolved(&store), "1", "nothing is known: the first one is the likeliest");
    let warnings = store.list().unwrap().remove(0).warnings;
    assert!(warnings[0].contains("1, which was installed first, counts as current"), "{warnings:?}");
}

#[test]
fn links_and_strangers_in_the_store_do_not_count() {
    let (dir, store) = with_releases(&["1"]);
    let people = store.root().join("people");
    std::os::unix::fs::symlink(people.join("1"), people.join("2")).unwrap();
    std::os::unix::fs::symlink(&people, store.root().join("cars")).unwrap();
    fs::create_dir(people.join("3")).unwrap();
    fs::write(people.join("4"), "").unwrap();
    assert_eq!(releases(&store), ["1"]);
    assert_eq!(store.names().unwrap(), ["people"]);
    assert!(store.propose("people", "2").is_err());
    // What stands in the way of a release is moved out of it.
    store.install(&archive(dir.path(), "2"), &InstallOptions::default()).unwrap();
    store.install(&archive(dir.path(), "4"), &InstallOptions::default()).unwrap();
    assert!(people.join("1/bundle.toml").is_file(), "the link was removed and not what it led to");
    assert_eq!(releases(&store), ["1", "2", "4"]);
    // A link to a bundle's folder is a path like any other, but one inside of it is refused.
    let source = dir.path().join("b");
    write_folder(&source, &small_bundle());
    std::os::unix::fs::symlink("/etc/hostname", source.join("extra")).unwrap();
    let text = store.install(&source, &InstallOptions::default()).unwrap_err().to_string();
    assert!(text.contains("links are not allowed in a bundle"), "{text}");
}

#[test]
fn a_link_in_place_of_a_temporary_file_is_not_written_through() {
    let (dir, store) = with_releases(&["1", "2"]);
    let victim = dir.path().join("victim");
    fs::write(&victim, "precious").unwrap();
    std::os::unix::fs::symlink(&victim, store.root().join("people/.state.toml.new")).unwrap();
    store.confirm("people", "2").unwrap();
    assert_eq!(fs::read_to_string(&victim).unwrap(), "precious");
    assert_eq!(resolved(&store), "2");
}

#[test]
fn truncated_and_bit_flipped_archives_leave_the_store_as_it_was() {
    let (dir, store) = with_releases(&["1"]);
    let good = fs::read(archive(dir.path(), "2")).unwrap();
    let bad = dir.path().join("bad.vigil");
    let mut contents: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    for cut in (0..good.len()).step_by(37) {
        contents.insert(format!("cut to {cut}"), good[..cut].to_vec());
    }
    for bit in (0..good.len() * 8).step_by(61) {
        let mut flipped = good.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        contents.insert(format!("bit {bit}"), flipped);
    }
    for (what, content) in contents {
        fs::write(&bad, content).unwrap();
        // Some bits of zstd's header carry nothing; then it is the very bundle.
        if let Ok(installed) = store.install(&bad, &InstallOptions::default()) {
            assert_eq!(installed.digest, Bundle::open(&dir.path().join("2.vigil")).unwrap().digest, "{what}");
            fs::remove_dir_all(&installed.path).unwrap();
        }
        assert_eq!(releases(&store), ["1"], "{what}");
    }
    assert_eq!(resolved(&store), "1");
}

#[test]
fn a_model_is_opened_through_the_store_and_held() {
    let (_dir, store) = with_releases(&["1", "2"]);
    let found = store.resolve("people", None).unwrap().unwrap();
    assert!(found.bundle.is_held());
    assert!(store.in_use("people", "1") && !store.in_use("people", "2"));
    let staged = ModelSource::Bundle(Box::new(found.bundle)).stage().unwrap();
    assert!(store.in_use("people", "1"), "staging keeps the lease");
    // Staged, it needs the disk no more.
    fs::remove_dir_all(store.root().join("people/1")).unwrap();
    let ModelSource::Bundle(bundle) = &staged else { panic!("not a bundle") };
    bundle.weights(&bundle.variants[0]).unwrap();
    assert_eq!(staged.identity(), ("people".into(), "1".into(), bundle.digest.clone()));
}
