//! Receivers that this process sends to: one spool and one shipper each, shared by all who send there.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sha2::{Digest, Sha256};

use super::receiver::RemoteUri;
use super::remote::Outgoing;
use super::route::{Account, RouteError, Stats, Waiting};
use super::shipper::{Pace, Shipper};
use super::sink::Clock;
use super::spool::{Limits, Notice, Spool, SpoolOptions, SpoolStats};
use super::writer::{Change, Drained, Report, Stats as Counters};

/// How long one that is being opened or closed is waited for.
const PATIENCE: Duration = Duration::from_secs(30);

/// A receiver, its spool and its shipper.
struct Destination {
    uri: RemoteUri,
    spool: Arc<Spool>,
    shipper: Shipper,
    listeners: Arc<Listeners>,
    limit_bytes: u64,
}

/// Those who want to hear of changes.
#[derive(Default)]
struct Listeners(Mutex<Heard>);

#[derive(Default)]
struct Heard {
    next: u64,
    all: BTreeMap<u64, Arc<Report>>,
    /// What is wrong, by who says so: the spool, the shipper.
    trouble: [Option<String>; 2],
}

/// Who tells of changes.
#[derive(Clone, Copy)]
enum Who {
    Spool,
    Shipper,
}

impl Listeners {
    fn lock(&self) -> MutexGuard<'_, Heard> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds one, and tells it what is wrong just now.
    fn add(&self, report: Report) -> u64 {
        let report = Arc::new(report);
        let (token, trouble) = {
            let mut heard = self.lock();
            heard.next += 1;
            let token = heard.next;
            heard.all.insert(token, Arc::clone(&report));
            (token, heard.trouble.clone())
        };
        for text in trouble.into_iter().flatten() {
            report(Change { degraded: true, text, stats: Counters::default() });
        }
        token
    }

    fn remove(&self, token: u64) {
        self.lock().all.remove(&token);
    }

    /// Tells all of a change. All is well again only once neither has any trouble.
    fn tell(&self, who: Who, notice: &Notice, stats: Counters) {
        let all: Vec<Arc<Report>> = {
            let mut heard = self.lock();
            let text = notice.degraded.then(|| notice.text.clone());
            if let Some(trouble) = heard.trouble.get_mut(who as usize) {
                *trouble = text;
            }
            if !notice.degraded && heard.trouble.iter().any(Option::is_some) {
                return;
            }
            heard.all.values().cloned().collect()
        };
        for report in all {
            report(Change { degraded: notice.degraded, text: notice.text.clone(), stats });
        }
    }
}

impl Destination {
    fn open(
        uri: &RemoteUri,
        folder: &Path,
        options: SpoolOptions,
        pace: Pace,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, RouteError> {
        let listeners = Arc::new(Listeners::default());
        let limit_bytes = options.bytes.max(Limits::LEAST);
        let spool = Spool::open(folder, &uri.name(), options, Arc::clone(&clock))?;
        let remote = uri.remote(&client_name(&folder.join(uri.name())), Arc::clone(&clock));
        let report = |who| {
            let (told, counted) = (Arc::clone(&listeners), Arc::downgrade(&spool));
            Box::new(move |notice: Notice| {
                let stats = counted.upgrade().map(|spool| counters(&spool)).unwrap_or_default();
                told.tell(who, &notice, stats);
            })
        };
        spool.report_to(report(Who::Spool));
        let shipper = Shipper::start(Arc::clone(&spool), remote, pace, clock, report(Who::Shipper))?;
        Ok(Self { uri: uri.clone(), spool, shipper, listeners, limit_bytes })
    }

    fn stats(&self) -> Stats {
        self.account().stats
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
        Account { destination: self.uri.bare().to_owned(), stats, spool, limit_bytes: self.limit_bytes }
    }
}

/// Records that nobody will get.
fn lost(spool: &SpoolStats) -> u64 {
    spool.dropped() + spool.expired + spool.refused + spool.corrupt
}

/// What messages say of counters.
fn counters(spool: &Spool) -> Counters {
    let stats = spool.stats();
    Counters { written: stats.acknowledged, dropped: lost(&stats), errors: stats.errors, bytes: stats.disk_bytes }
}

/// Names the sender to brokers, which let one client of a name in at a time: the machine's name and a part of the digest of the spool's
/// path. One process has a spool at a time, and the next one is the same client.
fn client_name(spool: &Path) -> String {
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let path = std::path::absolute(spool).unwrap_or_else(|_| spool.to_path_buf());
    let digest = Sha256::digest(path.as_os_str().as_encoded_bytes());
    format!("vigil-{host}-{}", hex::encode(digest.get(..4).unwrap_or_default()))
}

/// All destinations by the path of their spool. Nothing is there while one is being opened or closed.
type Open = BTreeMap<PathBuf, Slot>;

#[derive(Default)]
struct Slot {
    members: usize,
    destination: Option<Arc<Destination>>,
}

static OPEN: LazyLock<(Mutex<Open>, Condvar)> = LazyLock::new(Default::default);

fn open_ones() -> MutexGuard<'static, Open> {
    OPEN.0.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One who sends to a receiver.
pub struct Member {
    destination: Arc<Destination>,
    path: PathBuf,
    token: u64,
    left: Mutex<bool>,
}

/// Opens the way to a receiver, or joins those who have it open.
///
/// # Errors
/// If the spool cannot be opened, or this process sends to the same place with other options.
pub fn join(
    uri: &RemoteUri,
    folder: &Path,
    options: SpoolOptions,
    pace: Pace,
    clock: Arc<dyn Clock>,
    report: Report,
) -> Result<Member, RouteError> {
    let path = folder.join(uri.name());
    let destination = enter(&path, uri, || Destination::open(uri, folder, options, pace, clock))?;
    let token = destination.listeners.add(report);
    Ok(Member { destination, path, token, left: Mutex::new(false) })
}

/// The destination whose spool has this path, with one member more; opened by `open` unless it is there. While another thread opens or
/// closes it, it is waited for.
fn enter(
    path: &Path,
    uri: &RemoteUri,
    open: impl FnOnce() -> Result<Destination, RouteError>,
) -> Result<Arc<Destination>, RouteError> {
    let mut all = open_ones();
    while let Some(slot) = all.get_mut(path) {
        if let Some(destination) = &slot.destination {
            if destination.uri != *uri {
                return Err(RouteError::Remote(format!(
                    "another element of this process sends to {} with other options; give both the same uri",
                    uri.bare()
                )));
            }
            slot.members += 1;
            return Ok(Arc::clone(destination));
        }
        let (woken, waited) = OPEN.1.wait_timeout(all, PATIENCE).unwrap_or_else(PoisonError::into_inner);
        all = woken;
        if waited.timed_out() && all.get(path).is_some_and(|slot| slot.destination.is_none()) {
            return Err(RouteError::Remote(format!("the spool of {} is still being closed", uri.bare())));
        }
    }
    all.insert(path.to_path_buf(), Slot::default());
    drop(all);
    let opened = open().map(Arc::new);
    let mut all = open_ones();
    match &opened {
        Ok(destination) => {
            all.insert(path.to_path_buf(), Slot { members: 1, destination: Some(Arc::clone(destination)) });
        }
        Err(_) => drop(all.remove(path)),
    }
    drop(all);
    OPEN.1.notify_all();
    opened
}

impl Member {
    /// Hands over a record; never waits.
    pub fn push(&self, record: Outgoing) {
        self.destination.spool.push(record);
    }

    /// Counters of all that this process sends there.
    pub fn stats(&self) -> Stats {
        self.destination.stats()
    }

    /// Waits until everything is acknowledged, or is in the spool and the receiver does not answer; at most for `limit`.
    pub fn drain(&self, limit: Duration) -> Drained {
        self.destination.shipper.drain(limit)
    }

    /// Drains and leaves; the last one closes spool and shipper. A receiver that hangs is left to its thread after `limit`.
    pub fn leave(&self, limit: Duration) {
        if std::mem::replace(&mut *self.left.lock().unwrap_or_else(PoisonError::into_inner), true) {
            return;
        }
        self.destination.shipper.drain(limit);
        self.destination.listeners.remove(self.token);
        let mut all = open_ones();
        let Some(slot) = all.get_mut(&self.path) else { return };
        slot.members = slot.members.saturating_sub(1);
        if slot.members > 0 {
            return;
        }
        // An empty slot has who comes now wait.
        slot.destination = None;
        drop(all);
        self.destination.shipper.stop(limit);
        self.destination.spool.close(limit);
        open_ones().remove(&self.path);
        OPEN.1.notify_all();
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
