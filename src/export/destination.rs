//! Receivers that this process sends to: one spool and one shipper each, shared by all who send there.

mod listeners;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, LazyLock, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};

use super::receiver::RemoteUri;
use super::remote::Outgoing;
use super::route::{Account, How, RouteError, Stats, Waiting};
use super::shipper::{Pace, Shipper};
use super::sink::Clock;
use super::spool::{Durability, Limits, Notice, Order, Spool, SpoolOptions, SpoolStats};
use super::writer::{Drained, Report};
use listeners::{Listeners, Who};

/// How long one that is being opened or closed is waited for.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long those who send there with other options are waited for, and for how long while none of them is about to leave.
const LEAVING: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(2));

/// How somebody wants records to be kept and sent.
type Wanted = (SpoolOptions, Pace);

/// A receiver, its spool and its shipper.
struct Destination {
    uri: RemoteUri,
    spool: Arc<Spool>,
    shipper: Shipper,
    listeners: Listeners,
    /// Whose options hold, and these.
    by: String,
    options: SpoolOptions,
    pace: Pace,
    /// Records that had come when the last drain began, if it gave up.
    gave_up: Mutex<Option<u64>>,
}

impl Destination {
    fn open(uri: &RemoteUri, folder: &Path, how: How, clock: Arc<dyn Clock>) -> Result<Arc<Self>, RouteError> {
        let options = how.spool.unwrap_or_default();
        let spool = Spool::open(folder, &uri.name(), options.clone(), Arc::clone(&clock))?;
        let remote = uri.remote(&client_name(&folder.join(uri.name())), Arc::clone(&clock));
        let itself = Arc::new(OnceLock::<Weak<Self>>::new());
        let report = |who| {
            let itself = Arc::clone(&itself);
            // A shipper that fails at once waits until it is set, a few lines below.
            Box::new(move |notice: Notice| {
                if let Some(destination) = itself.wait().upgrade() {
                    destination.listeners.tell(who, notice, destination.account().stats.into());
                }
            })
        };
        let shipper = Shipper::start(Arc::clone(&spool), remote, how.pace, clock, report(Who::Shipper))?;
        let destination = Arc::new(Self {
            uri: uri.clone(),
            spool,
            shipper,
            listeners: Listeners::default(),
            by: how.by,
            options,
            pace: how.pace,
            gave_up: Mutex::default(),
        });
        let _ = itself.set(Arc::downgrade(&destination));
        destination.spool.report_to(report(Who::Spool));
        Ok(destination)
    }

    fn account(&self) -> Account {
        let (spool, shipper) = (self.spool.stats(), self.shipper.stats());
        let stats = Stats {
            written: spool.acknowledged,
            dropped: lost(&spool),
            errors: shipper.failures + spool.errors,
            bytes: shipper.bytes,
            waiting: Some(Waiting {
                records: spool.waiting(),
                bytes: spool.disk_bytes,
                oldest_ms: spool.oldest_utc_ms.unwrap_or(0),
                connected: shipper.connected,
            }),
        };
        let limit_bytes = self.options.bytes.max(Limits::LEAST);
        Account { destination: self.uri.bare().to_owned(), stats, spool, limit_bytes }
    }

    /// Waits until all that was pushed is acknowledged, no longer than `limit`, nor than the receiver is able to.
    fn drain(&self, limit: Duration) -> Drained {
        let before = (self.spool.stats(), self.shipper.stats().batches);
        let backlog: u64 = before.0.waiting_on_disk.iter().sum();
        let rate = f64::from(self.pace.replay_rate);
        let too_long = rate > 0.0 && backlog as f64 > rate * (limit.as_secs_f64() + 1.0);
        // At the rate that was asked for it cannot be done. What goes before the backlog can.
        let drained = self.shipper.drain(if too_long { limit / 5 } else { limit });
        let gave_up = (drained != Drained::Complete).then_some(before.0.accepted);
        *self.gave_up.lock().unwrap_or_else(PoisonError::into_inner) = gave_up;
        // A receiver that takes records is well, and nothing is known of one that was not waited for.
        let is_frozen = !too_long && self.shipper.stats().batches == before.1;
        if drained == Drained::TimedOut && !is_frozen { Drained::Failed } else { drained }
    }

    /// Whether the last drain gave up, and nothing has come since.
    fn has_given_up(&self) -> bool {
        let gave_up = *self.gave_up.lock().unwrap_or_else(PoisonError::into_inner);
        gave_up == Some(self.spool.stats().accepted)
    }

    /// What somebody should know who wants these options and gets others.
    fn differences(&self, (options, pace): &Wanted) -> Option<String> {
        let time = |time: Option<Duration>| time.map_or("none".to_owned(), |time| format!("{time:?}"));
        let durability = |one| if one == Durability::EveryCommit { "every-commit" } else { "relaxed" }.to_owned();
        let order = |one| if one == Order::InOrder { "in-order" } else { "live-first" }.to_owned();
        let (own, own_pace) = (&self.options, self.pace);
        let differ: Vec<String> = [
            ("spool-size", own.bytes.to_string(), options.bytes.to_string()),
            ("spool-age", time(own.age), time(options.age)),
            ("spool-durability", durability(own.durability), durability(options.durability)),
            ("commit-interval", time(Some(own.commit_interval)), time(Some(options.commit_interval))),
            ("replay-rate", own_pace.replay_rate.to_string(), pace.replay_rate.to_string()),
            ("replay-order", order(own_pace.order), order(pace.order)),
        ]
        .into_iter()
        .filter(|(_, own, other)| own != other)
        .map(|(name, own, other)| format!("{name} is {own} and not {other}"))
        .collect();
        (!differ.is_empty()).then(|| {
            format!(
                "{} was the first of this process to send to {}, and its options hold for all who do: {}; give all the same",
                self.by,
                self.uri.bare(),
                differ.join(", ")
            )
        })
    }
}

/// Records that nobody will get.
fn lost(spool: &SpoolStats) -> u64 {
    spool.dropped() + spool.expired + spool.refused + spool.corrupt
}

/// Names the sender to brokers, which let one client of a name in at a time: the machine's name and a part of the digest of the spool's
/// path. One process has a spool at a time, and the next one is the same client.
fn client_name(spool: &Path) -> String {
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let digest = Sha256::digest(spool.as_os_str().as_encoded_bytes());
    format!("vigil-{host}-{}", hex::encode(digest.get(..4).unwrap_or_default()))
}

/// The one path of a folder, however it is written. What of it is not there yet is taken as it is.
fn only_path(folder: &Path) -> PathBuf {
    let whole = std::path::absolute(folder).unwrap_or_else(|_| folder.to_path_buf());
    let known = |there: &Path| Some(there.canonicalize().ok()?.join(whole.strip_prefix(there).ok()?));
    // Collected again, since an empty rest leaves a slash at the end.
    let path = whole.ancestors().find_map(known).map(|path| path.components().collect());
    path.unwrap_or(whole)
}

/// All destinations by the path of their spool. Nothing is there while one is being opened or closed.
type Open = BTreeMap<PathBuf, Slot>;

#[derive(Default)]
struct Slot {
    members: usize,
    destination: Option<Arc<Destination>>,
    /// Members that wait for their last records, and when the last one did or left.
    leaving: usize,
    moved: Option<Instant>,
}

impl Slot {
    /// Until when those who are here are waited for by who came at `begun` and wants other options. As long as nobody is about to leave that
    /// is not long, and no time at all if they can be shared.
    fn patience(&self, begun: Instant, can_share: bool) -> Instant {
        let most = begun + LEAVING.0;
        let alone = if can_share { begun } else { begun + LEAVING.1 };
        let quiet = self.moved.map_or(alone, |moved| alone.max(moved + LEAVING.1));
        if self.leaving > 0 { most } else { most.min(quiet) }
    }

    /// One goes, unless it is the last one; whether it did.
    fn let_go(&mut self) -> bool {
        self.moved = Some(Instant::now());
        let others = self.members > 1;
        if others {
            self.members -= 1;
        }
        others
    }

    /// The last one goes, unless somebody has come meanwhile; whether it was the last one. Who comes to an empty slot waits.
    fn close(&mut self) -> bool {
        let last = !self.let_go();
        if last {
            (self.members, self.destination) = (0, None);
        }
        last
    }
}

static OPEN: LazyLock<(Mutex<Open>, Condvar)> = LazyLock::new(Default::default);

fn open_ones() -> MutexGuard<'static, Open> {
    OPEN.0.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Changes a slot, if it is there, and wakes those who wait for it.
fn change<T>(path: &Path, what: impl FnOnce(&mut Slot) -> T) -> Option<T> {
    let result = open_ones().get_mut(path).map(what);
    OPEN.1.notify_all();
    result
}

/// A slot that is empty while something is opened or closed. Whatever comes of that, nobody waits for it afterwards.
struct Empty<'a>(&'a Path);

impl Drop for Empty<'_> {
    fn drop(&mut self) {
        let mut all = open_ones();
        if all.get(self.0).is_some_and(|slot| slot.destination.is_none()) {
            all.remove(self.0);
        }
        drop(all);
        OPEN.1.notify_all();
    }
}

/// One who sends to a receiver.
pub struct Member {
    destination: Arc<Destination>,
    path: PathBuf,
    token: u64,
    remark: Option<String>,
    left: Mutex<bool>,
}

/// Opens the way to a receiver, or joins those who have it open. Those who have it with other options and are about to leave are waited for,
/// ten seconds at most.
///
/// # Errors
/// If the spool cannot be opened, or this process sends to the same place with other options in `uri`.
pub fn join(
    uri: &RemoteUri,
    folder: &Path,
    how: How,
    clock: Arc<dyn Clock>,
    report: Report,
) -> Result<Member, RouteError> {
    let folder = only_path(folder);
    let path = folder.join(uri.name());
    let wanted = how.spool.clone().map(|options| (options, how.pace));
    let (destination, remark) = enter(&path, uri, wanted.as_ref(), || Destination::open(uri, &folder, how, clock))?;
    let token = destination.listeners.add(report, destination.account().stats.into());
    Ok(Member { destination, path, token, remark, left: Mutex::new(false) })
}

/// The destination whose spool has this path, with one member more, and how it differs from what was wanted; opened by `open` unless it is
/// there. While another thread opens or closes it, it is waited for.
fn enter(
    path: &Path,
    uri: &RemoteUri,
    wanted: Option<&Wanted>,
    open: impl FnOnce() -> Result<Arc<Destination>, RouteError>,
) -> Result<(Arc<Destination>, Option<String>), RouteError> {
    let begun = Instant::now();
    let mut all = open_ones();
    while let Some(slot) = all.get_mut(path) {
        let (until, why) = match &slot.destination {
            Some(destination) => {
                let fits = destination.uri == *uri;
                let remark = wanted.and_then(|wanted| destination.differences(wanted));
                let until = slot.patience(begun, fits);
                if fits && (remark.is_none() || Instant::now() >= until) {
                    slot.members += 1;
                    return Ok((Arc::clone(destination), remark));
                }
                let why = format!(
                    "another element of this process sends to {} with other options; give both the same uri",
                    uri.bare()
                );
                (until, why)
            }
            None => (begun + PATIENCE, format!("the spool of {} is still being closed", uri.bare())),
        };
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(RouteError::Remote(why));
        }
        all = OPEN.1.wait_timeout(all, left).unwrap_or_else(PoisonError::into_inner).0;
    }
    all.insert(path.to_path_buf(), Slot::default());
    drop(all);
    let _empty = Empty(path);
    let opened = open()?;
    change(path, |slot| (slot.members, slot.destination) = (1, Some(Arc::clone(&opened))));
    Ok((opened, None))
}

impl Member {
    /// Hands over a record; never waits.
    pub fn push(&self, record: Outgoing) {
        self.destination.spool.push(record);
    }

    /// Counters of all that this process sends there.
    pub fn stats(&self) -> Stats {
        self.destination.account().stats
    }

    /// What the user should know: that others have it open with other options, which hold.
    pub fn remark(&self) -> Option<&str> {
        self.remark.as_deref()
    }

    /// Waits until everything is acknowledged, or is in the spool and the receiver does not answer or cannot take all of it in time; at
    /// most for `limit`. [`Drained::TimedOut`] tells of a receiver that has taken nothing.
    pub fn drain(&self, limit: Duration) -> Drained {
        change(&self.path, |slot| slot.leaving += 1);
        let drained = self.destination.drain(limit);
        change(&self.path, |slot| {
            slot.leaving = slot.leaving.saturating_sub(1);
            slot.moved = Some(Instant::now());
        });
        drained
    }

    /// Leaves. What it has pushed is sent for those who stay; the last one drains, unless that was just in vain, and closes shipper and spool.
    /// All of that takes `limit` at most; a receiver that hangs is left to its thread.
    pub fn leave(&self, limit: Duration) {
        if std::mem::replace(&mut *self.left.lock().unwrap_or_else(PoisonError::into_inner), true) {
            return;
        }
        let until = Instant::now() + limit;
        let left = |reserve: Duration| until.saturating_duration_since(Instant::now()).saturating_sub(reserve);
        let mut last = change(&self.path, Slot::let_go) == Some(false);
        if last {
            if !self.destination.has_given_up() {
                self.drain(limit * 3 / 5);
            }
            last = change(&self.path, Slot::close) == Some(true);
        }
        self.destination.listeners.remove(self.token);
        if last {
            let _empty = Empty(&self.path);
            // Each has some time. The shipper needs it to say good-bye; one that hangs would use up all of it.
            self.destination.shipper.stop(left(limit / 5).min(limit * 2 / 5));
            self.destination.spool.close(left(Duration::ZERO));
        }
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.leave(Duration::ZERO);
    }
}

/// All receivers that this process sends to, and their counters, in the order of their addresses. Two spools in different folders for
/// one receiver are told as one.
pub fn all() -> Vec<Account> {
    let open: Vec<Arc<Destination>> = open_ones().values().filter_map(|slot| slot.destination.clone()).collect();
    let mut all = BTreeMap::<String, Account>::new();
    for account in open.iter().map(|destination| destination.account()) {
        match all.get_mut(&account.destination) {
            Some(known) => known.add(&account),
            None => drop(all.insert(account.destination.clone(), account)),
        }
    }
    all.into_values().collect()
}

#[cfg(test)]
#[path = "destination_tests.rs"]
mod tests;
