//! Telling those who play a bundle's release that another one should be tried.
//!
//! One thread per process, alive while somebody follows, looks at the state files once a second: a file on any file system
//! can be looked at, and a second is soon enough.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use super::{STATE, Selection, Store};

/// Time between two looks.
const PERIOD: Duration = Duration::from_secs(1);
/// A file that was changed this short a time ago may be changed again without looking different.
const UNSETTLED: Duration = Duration::from_secs(3);

/// What tells two versions of a file apart without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    size: u64,
    modified: SystemTime,
}

impl Stamp {
    fn of(path: &Path) -> Option<Self> {
        let found = fs::symlink_metadata(path).ok()?;
        Some(Self { inode: found.ino(), size: found.len(), modified: found.modified().ok()? })
    }
}

/// A release that whoever follows a bundle should play.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// The release.
    pub release: String,
    /// It is the candidate, which is to be tried; `false`: the current one, which has proved itself already.
    pub candidate: bool,
}

/// What a follower has seen and been told.
#[derive(Debug)]
struct Seen {
    stamp: Option<Stamp>,
    told: String,
}

impl Seen {
    /// The release to tell, if there is a new one. The state is read only if it may have changed.
    fn look(
        &mut self,
        now: SystemTime,
        stamp: Option<Stamp>,
        read: impl FnOnce() -> Option<Selection>,
    ) -> Option<Wanted> {
        let settled = stamp.is_none_or(|s| now.duration_since(s.modified).is_ok_and(|age| age > UNSETTLED));
        if stamp == self.stamp && settled {
            return None;
        }
        self.stamp = stamp;
        let selection = read()?;
        let release = selection.wanted().filter(|release| *release != self.told)?.to_owned();
        self.told.clone_from(&release);
        let candidate = selection.candidate.as_ref() == Some(&release);
        Some(Wanted { release, candidate })
    }
}

struct Follower {
    store: Store,
    name: String,
    seen: Mutex<Seen>,
    /// What plays, for whoever asked to be told again.
    again: Mutex<Option<String>>,
    wanted: Box<dyn Fn(&Wanted) -> bool + Send + Sync>,
    gone: AtomicBool,
}

impl Follower {
    fn look(&self, now: SystemTime) {
        let stamp = Stamp::of(&self.store.folder(&self.name).join(STATE));
        let again = lock(&self.again).take();
        // Only the one thread locks it, and the file is small.
        let mut seen = lock(&self.seen);
        if let Some(told) = again {
            *seen = Seen { stamp: None, told };
        }
        let before = seen.told.clone();
        let told = seen.look(now, stamp, || {
            let known = self.store.known(&self.name).ok()?;
            // What a lost state is made up for by is good enough to start with, not to change what plays.
            known.text.is_some().then_some(known.selection)
        });
        drop(seen);
        let Some(wanted) = told.filter(|_| !self.gone.load(Ordering::Acquire)) else { return };
        // The thread is everybody's: one follower's panic must not end it. It has been reported already.
        let taken = catch_unwind(AssertUnwindSafe(|| (self.wanted)(&wanted))).unwrap_or(true);
        if !taken {
            *lock(&self.seen) = Seen { stamp: None, told: before };
        }
    }
}

/// All that follow in this process.
struct Followers {
    list: Vec<Arc<Follower>>,
    running: bool,
}

static FOLLOWERS: Mutex<Followers> = Mutex::new(Followers { list: Vec::new(), running: false });
static CHANGED: Condvar = Condvar::new();

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Follows until it is dropped. A call that is under way then may still end after that.
pub struct Following(Arc<Follower>);

impl std::fmt::Debug for Following {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Following({})", self.0.name)
    }
}

impl Following {
    /// What plays is `playing` ("" if that is no release of the name in the store): whatever else is wanted is told anew,
    /// even if it has been told before. For who was told of a release and did not get to play it, because another request
    /// came in between.
    pub fn again(&self, playing: &str) {
        *lock(&self.0.again) = Some(playing.into());
        CHANGED.notify_all();
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        self.0.gone.store(true, Ordering::Release);
        lock(&FOLLOWERS).list.retain(|f| !Arc::ptr_eq(f, &self.0));
        CHANGED.notify_all();
    }
}

/// Calls `wanted` from a thread of the store's whenever another release of `name` than the last one told, and at first than
/// `playing`, should be played: the candidate if there is one, which is to be tried, else the current one, which is good
/// already; never one that was rejected.
///
/// `playing` is the release that plays; "" if what plays is not of that name, or not from the store
/// ([`Bundle::stored`](crate::bundle::Bundle::stored)): a release with the same word as its release is another model.
///
/// `wanted` says whether it has taken note; if not, since something else is under way, it is asked again with the next look. It should
/// be quick and may drop the [`Following`]. Without a thread (the system has no more) nothing is followed.
pub fn follow(
    store: Store,
    name: &str,
    playing: &str,
    wanted: impl Fn(&Wanted) -> bool + Send + Sync + 'static,
) -> Following {
    let seen = Mutex::new(Seen { stamp: None, told: playing.into() });
    let follower = Arc::new(Follower {
        store,
        name: name.into(),
        seen,
        again: Mutex::default(),
        wanted: Box::new(wanted),
        gone: AtomicBool::new(false),
    });
    let mut followers = lock(&FOLLOWERS);
    followers.list.push(follower.clone());
    if !followers.running {
        followers.running = std::thread::Builder::new().name("vigil-store".into()).spawn(watch).is_ok();
    }
    drop(followers);
    CHANGED.notify_all();
    Following(follower)
}

/// The thread's work.
fn watch() {
    loop {
        let list = {
            let mut followers = lock(&FOLLOWERS);
            if followers.list.is_empty() {
                followers.running = false;
                return;
            }
            followers.list.clone()
        };
        for follower in list {
            follower.look(SystemTime::now());
        }
        let followers = lock(&FOLLOWERS);
        // A new follower is looked after at once, and the last one that goes ends the thread.
        drop(CHANGED.wait_timeout(followers, PERIOD));
    }
}

#[cfg(test)]
#[path = "follow_tests.rs"]
mod tests;
