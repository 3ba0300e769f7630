use std::sync::atomic::AtomicUsize;
use std::sync::mpsc::{Receiver, channel};

use super::super::tests::with_releases;
use super::*;

/// Longest wait for what must come.
const GUARD: Duration = Duration::from_secs(60);

fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
}

fn stamp(inode: u64, seconds: u64) -> Option<Stamp> {
    Some(Stamp { inode, size: 10, modified: at(seconds) })
}

fn selection(current: &str, candidate: Option<&str>) -> Option<Selection> {
    Some(Selection { current: Some(current.into()), candidate: candidate.map(str::to_owned), ..Selection::default() })
}

fn current(release: &str) -> Wanted {
    Wanted { release: release.into(), candidate: false }
}

fn candidate(release: &str) -> Wanted {
    Wanted { release: release.into(), candidate: true }
}

fn playing(release: &str) -> Seen {
    Seen { stamp: None, told: release.into() }
}

#[test]
fn the_candidate_comes_first_and_nothing_is_told_twice() {
    let mut seen = playing("1");
    assert_eq!(seen.look(at(100), stamp(1, 10), || selection("1", None)), None);
    assert_eq!(seen.look(at(101), stamp(2, 90), || selection("1", Some("2"))), Some(candidate("2")));
    assert_eq!(seen.look(at(102), stamp(3, 91), || selection("2", None)), None, "confirmed: it plays already");
    let mut rejected = selection("1", None).unwrap();
    rejected.reject("2", None, "worse", String::new());
    assert_eq!(seen.look(at(103), stamp(4, 92), || Some(rejected)), Some(current("1")), "back");
}

#[test]
fn a_rejected_release_is_not_told() {
    let mut last = selection("1", None).unwrap();
    last.reject("1", None, "worse", String::new());
    assert_eq!(playing("0").look(at(100), stamp(1, 10), || Some(last)), None);
}

#[test]
fn an_unchanged_file_is_read_again_only_while_it_is_young() {
    let mut seen = playing("1");
    let reads = std::cell::Cell::new(0);
    let mut look = |now: u64, file: Option<Stamp>| {
        seen.look(at(now), file, || {
            reads.set(reads.get() + 1);
            selection("1", None)
        })
    };
    look(100, stamp(1, 100));
    look(101, stamp(1, 100));
    assert_eq!(reads.get(), 2, "changed in the same tick it would look the same");
    look(110, stamp(1, 100));
    look(111, stamp(1, 100));
    assert_eq!(reads.get(), 2);
    look(50, stamp(1, 100));
    assert_eq!(reads.get(), 3, "a clock that was set back proves nothing");
    look(111, stamp(2, 100));
    assert_eq!(reads.get(), 4, "another file");
}

fn following(store: &Store, playing: &str) -> (Following, Receiver<Wanted>) {
    let (send, receive) = channel();
    let following = follow(store.clone(), "people", playing, move |wanted| send.send(wanted.clone()).is_ok());
    (following, receive)
}

#[test]
fn followers_are_told_what_others_choose() {
    let (_dir, store) = with_releases(&["1", "2"]);
    let (first, a) = following(&store, "1");
    let (second, b) = following(&store, "");
    assert_eq!(b.recv_timeout(GUARD).unwrap(), current("1"), "it does not play the current one yet");
    store.propose("people", "2").unwrap();
    assert_eq!((a.recv_timeout(GUARD).unwrap(), b.recv_timeout(GUARD).unwrap()), (candidate("2"), candidate("2")));
    drop(first);
    store.reject("people", "2", "worse").unwrap();
    assert_eq!(b.recv_timeout(GUARD).unwrap(), current("1"));
    assert!(a.try_recv().is_err(), "who is gone is not told");
    drop(second);
    assert!(lock(&FOLLOWERS).list.is_empty());
}

#[test]
fn a_follower_that_panics_or_leaves_in_its_call_does_not_hurt_the_others() {
    let (_dir, store) = with_releases(&["1", "2"]);
    let panics = follow(store.clone(), "people", "1", |_| panic!("on purpose"));
    let slot: Arc<Mutex<Option<Following>>> = Arc::default();
    let own = slot.clone();
    let (send, left) = channel();
    let leaves = follow(store.clone(), "people", "1", move |_| {
        drop(lock(&own).take());
        send.send(()).is_ok()
    });
    *lock(&slot) = Some(leaves);
    let (_third, told) = following(&store, "1");
    store.propose("people", "2").unwrap();
    left.recv_timeout(GUARD).unwrap();
    assert_eq!(told.recv_timeout(GUARD).unwrap(), candidate("2"));
    store.reject("people", "2", "worse").unwrap();
    assert_eq!(told.recv_timeout(GUARD).unwrap(), current("1"));
    drop(panics);
}

#[test]
fn a_damaged_state_file_makes_nobody_change() {
    let (_dir, store) = with_releases(&["1", "2"]);
    let follower = Follower {
        store: store.clone(),
        name: "people".into(),
        seen: Mutex::new(playing("1")),
        again: Mutex::default(),
        wanted: Box::new(|wanted| panic!("told {wanted:?}")),
        gone: AtomicBool::new(false),
    };
    fs::write(store.root().join("people/state.toml"), "damaged").unwrap();
    follower.look(SystemTime::now());
    fs::remove_file(store.root().join("people/state.toml")).unwrap();
    follower.look(SystemTime::now());
    assert_eq!(lock(&follower.seen).told, "1");
}

#[test]
fn who_could_not_play_what_it_was_told_is_told_again() {
    let (_dir, store) = with_releases(&["1", "2"]);
    let (following, told) = following(&store, "1");
    store.propose("people", "2").unwrap();
    assert_eq!(told.recv_timeout(GUARD).unwrap(), candidate("2"));
    following.again("1");
    assert_eq!(told.recv_timeout(GUARD).unwrap(), candidate("2"), "the file has not changed, but it still plays 1");
    store.confirm("people", "2").unwrap();
    following.again("1");
    assert_eq!(told.recv_timeout(GUARD).unwrap(), current("2"), "good by now: others have tried it");
    following.again("2");
    store.rollback("people").unwrap();
    assert_eq!(told.recv_timeout(GUARD).unwrap(), current("1"), "nothing in between: 2 played");
}

#[test]
fn who_has_no_time_for_it_is_asked_again() {
    let (_dir, store) = with_releases(&["1", "2"]);
    let (send, asked) = channel();
    let busy = AtomicUsize::new(2);
    let _following = follow(store.clone(), "people", "1", move |wanted| {
        send.send(wanted.clone()).unwrap();
        busy.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1)).is_err()
    });
    store.propose("people", "2").unwrap();
    for _ in 0..3 {
        assert_eq!(asked.recv_timeout(GUARD).unwrap(), candidate("2"));
    }
    // It has been taken now: a look at the same state tells nothing.
    assert!(asked.recv_timeout(PERIOD * 3).is_err());
}
