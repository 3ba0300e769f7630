//! The spool: where records wait for their receiver, in memory for a moment and on the disk for as long as it takes.
//!
//! ```text
//! streaming threads           vigil-ship (one)                 vigil-spool (one)
//! push ──▶ memory, by kind ──▶ take, send, settle
//!             │                      ▲
//!             └── after 1 s ─────────┼──────▶ commit to the file ── read ahead ──┐
//!                                    └──────────────────────────────────────────┘
//! ```
//!
//! What the receiver acknowledges within the commit interval never sees the disk. What is not acknowledged by then is
//! committed, and within a kind what lies on the disk goes before what came later. `state` is all of that as a plain value;
//! `store` is the file; the writer's thread is the only one that does I/O.
//!
//! One lock, `Shared::state`, never held across I/O or a report.

mod block;
mod error;
mod hand;
mod inspect;
mod lane;
mod news;
mod open;
mod pace;
mod rescue;
mod reserve;
mod rows;
mod shipside;
mod state;
mod store;
mod tidy;
mod upkeep;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

pub use block::Stored;
pub(super) use hand::Settled;
pub use inspect::{Filter, Found, SpoolInfo, is_part, list, purge, records};
pub use open::SpoolError;
pub(super) use pace::Bucket;
pub(super) use shipside::Size;
pub use state::Order;
pub use store::{Durability, Limits};

use super::remote::Outgoing;
use super::sink::Clock;
use error::StoreError;
use open::Salvage;
use state::State;
use store::Store;

/// How a spool is bounded and how often it writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpoolOptions {
    /// Most bytes on the disk, the database's log included. At least 4 MiB; less counts as that.
    pub bytes: u64,
    /// Age at which records on the disk are given up; `None` for never. Records that came while the clock was not set
    /// have no age.
    pub age: Option<Duration>,
    /// Longest time for which a record that is not acknowledged is in memory only.
    pub commit_interval: Duration,
    /// How sure a commit is.
    pub durability: Durability,
}

/// Most bytes of records in memory. They wait there for the next commit, and for the disk where it fails.
const MEMORY: usize = 16 << 20;

impl Default for SpoolOptions {
    fn default() -> Self {
        Self {
            bytes: 256 << 20,
            age: Some(Duration::from_secs(7 * 24 * 3600)),
            commit_interval: Duration::from_secs(1),
            durability: Durability::default(),
        }
    }
}

/// What has happened since the start, and what waits.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SpoolStats {
    /// Records that came.
    pub accepted: u64,
    /// Records that the receiver took.
    pub acknowledged: u64,
    /// Records that were written to the disk.
    pub committed: u64,
    /// Records given up for want of space, by kind in the order of [`Kind::ALL`](super::kind::Kind::ALL).
    pub dropped: [u64; 4],
    /// Records given up for their age.
    pub expired: u64,
    /// Records that the receiver will never take.
    pub refused: u64,
    /// Records lost in damaged places of the file, as far as is known.
    pub corrupt: u64,
    /// Commits and reads that failed.
    pub errors: u64,
    /// Records that wait in memory, by kind.
    pub waiting_in_memory: [u64; 4],
    /// Records that wait on the disk, by kind. After a crash of a `live-first` spool it may be too high for a while.
    pub waiting_on_disk: [u64; 4],
    /// Bytes of records in memory, and of those read ahead.
    pub memory_bytes: u64,
    /// Bytes that the file and its log take on the disk.
    pub disk_bytes: u64,
    /// Bytes of the file that hold something; the rest is there for what comes next.
    pub used_bytes: u64,
    /// Bytes of compressed records that were committed. What the device writes for them is more; see the benchmarks.
    pub stored_bytes: u64,
    /// Arrival of the oldest record that waits, milliseconds since 1970 UTC; `None` if none does or it is not known.
    pub oldest_utc_ms: Option<u64>,
}

impl SpoolStats {
    /// Records that wait, anywhere.
    pub fn waiting(&self) -> u64 {
        self.waiting_in_memory.iter().chain(&self.waiting_on_disk).sum()
    }

    /// Records given up for want of space, of all kinds.
    pub fn dropped(&self) -> u64 {
        self.dropped.iter().sum()
    }
}

/// A change between working and not working, for the user to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// Whether records are kept back or lost; `false` once all is well again.
    pub degraded: bool,
    /// What happened: a sentence without a final stop.
    pub text: String,
}

/// Takes a [`Notice`]; called on a thread of the spool or of the shipper.
pub type Report = Box<dyn Fn(Notice) + Send>;

/// What the threads share.
struct Inner {
    state: State,
    /// Flushes that wait, and whether one has come since the last commit began.
    flushes: u64,
    flush_asked: bool,
    stored_bytes: u64,
    disk_bytes: u64,
    used_bytes: u64,
    oldest_on_disk: Option<u64>,
    errors: u64,
    report: Option<Report>,
    notices: Vec<Notice>,
    /// The writer waits for a record, without a time; it was called; it waits for the disk to recover.
    writer_waits: bool,
    writer_called: bool,
    backing_off: bool,
    /// The shipper waits for records in this order.
    ship_waits: Option<Order>,
    stop: bool,
    ended: bool,
    ship: ShipControl,
}

/// What is asked of the shipper, and what it says. It waits for records and for these at the same time.
#[derive(Default)]
pub(crate) struct ShipControl {
    pub stop: bool,
    /// There is a shipper's thread.
    pub running: bool,
    /// Drains asked for: each lets the shipper try at once.
    pub hurry: u64,
    /// Tries that failed since the start.
    pub failures: u64,
}

struct Shared {
    inner: Mutex<Inner>,
    /// For the writer, the shipper, and those who wait for an outcome.
    write: Condvar,
    ship: Condvar,
    done: Condvar,
    options: SpoolOptions,
    clock: Arc<dyn Clock>,
    path: PathBuf,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Waits on `condvar` for at most `limit`.
fn wait<'a>(condvar: &Condvar, inner: MutexGuard<'a, Inner>, limit: Duration) -> MutexGuard<'a, Inner> {
    condvar.wait_timeout(inner, limit).unwrap_or_else(PoisonError::into_inner).0
}

/// What is in `store`, and what to tell of it if it was made of a damaged file.
fn what_waits(store: &Store, salvage: Option<Salvage>, limits: Limits) -> Result<(State, Option<Notice>), StoreError> {
    let mut spans = store.spans()?;
    // What was found and could not be copied is lost, and known to be.
    for (span, seen) in spans.iter_mut().zip(salvage.iter().flat_map(|salvage| &salvage.seen)) {
        let both = if span.is_empty() { seen.clone() } else { span.start.min(seen.start)..span.end.max(seen.end) };
        *span = if seen.is_empty() { span.clone() } else { both };
    }
    let mut state = State::new(&spans, MEMORY, limits.chunk());
    let Some(salvage) = salvage else { return Ok((state, None)) };
    let present = store.present()?;
    let lost = state.reconcile(&present);
    let kept = present.iter().flatten().map(|range| range.end - range.start).sum();
    Ok((state, Some(Notice::degraded(salvage.text(kept, lost)))))
}

/// A spool and its thread. Records that are still in memory when it is dropped are committed then.
pub struct Spool {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// Wall clock below which it is not set: 2020-01-01.
const CLOCK_SET_MS: u64 = 1_577_836_800_000;
/// How long a spool that is dropped waits for the disk.
const LAST_COMMIT: Duration = Duration::from_secs(5);

impl Spool {
    /// Opens the spool `name` in `folder`, or makes both. A file that is damaged or foreign is set aside, and what can be read
    /// of it is taken over; a [`Notice`] tells.
    ///
    /// # Errors
    /// [`SpoolError::InUse`] if another process or exporter has it; others as the system says.
    pub fn open(
        folder: &Path,
        name: &str,
        options: SpoolOptions,
        clock: Arc<dyn Clock>,
    ) -> Result<Arc<Self>, SpoolError> {
        let path = open::path(folder, name)?;
        std::fs::create_dir_all(folder).map_err(|source| SpoolError::Io {
            action: "make the folder",
            path: folder.to_path_buf(),
            source,
        })?;
        let lock = open::lock(&path)?;
        let limits = Limits { bytes: options.bytes, age: options.age, durability: options.durability };
        let (store, salvage) = open::open(&path, limits, clock.now().utc_ns, &[0; 4])?;
        let failed = |source| SpoolError::Store { path: path.clone(), source };
        let (state, notice) = what_waits(&store, salvage, limits).map_err(failed)?;
        let inner = Inner {
            state,
            flushes: 0,
            flush_asked: false,
            stored_bytes: 0,
            disk_bytes: store.disk_bytes(),
            used_bytes: store.used_bytes().unwrap_or(0),
            oldest_on_disk: None,
            errors: 0,
            report: None,
            notices: notice.into_iter().collect(),
            writer_waits: false,
            writer_called: false,
            backing_off: false,
            ship_waits: None,
            stop: false,
            ended: false,
            ship: ShipControl::default(),
        };
        let shared = Arc::new(Shared {
            inner: Mutex::new(inner),
            write: Condvar::new(),
            ship: Condvar::new(),
            done: Condvar::new(),
            options,
            clock,
            path: path.clone(),
        });
        let thread = writer::start(shared.clone(), store, lock, limits);
        let thread = thread.map_err(|source| SpoolError::Io { action: "start a thread for", path, source })?;
        Ok(Arc::new(Self { shared, thread: Mutex::new(Some(thread)) }))
    }

    /// The spool's file.
    pub fn path(&self) -> &Path {
        &self.shared.path
    }

    /// From now on `report` is told of changes, and of those that nobody was told of yet.
    pub fn report_to(&self, report: Report) {
        self.shared.lock().report = Some(report);
        self.shared.write.notify_all();
    }

    /// Takes a record. Never waits for the disk or the receiver.
    pub fn push(&self, record: Outgoing) {
        let now = self.shared.clock.now();
        let utc_ms = Some(now.utc_ns / 1_000_000).filter(|&ms| ms >= CLOCK_SET_MS).unwrap_or(0);
        let kind = record.kind;
        let mut inner = self.shared.lock();
        if inner.ended {
            inner.state.refuse(kind);
            return;
        }
        inner.state.push(record, now.monotonic, utc_ms);
        let ship = inner.ship_waits.is_some_and(|order| inner.state.is_of_use(kind, order));
        let wanted = inner.writer_waits || (inner.state.is_filling() && !inner.backing_off);
        let write = wanted && !std::mem::replace(&mut inner.writer_called, wanted);
        if ship {
            inner.ship_waits = None;
        }
        drop(inner);
        if ship {
            self.shared.ship.notify_all();
        }
        if write {
            self.shared.write.notify_all();
        }
    }

    /// Waits, at most for `limit`, until all that was pushed before is committed or done with; `false` if it is not, because
    /// the disk fails or is too slow.
    pub fn flush(&self, limit: Duration) -> bool {
        let until = Instant::now() + limit;
        let mut inner = self.shared.lock();
        let serial = inner.state.next_serial();
        inner.flushes += 1;
        inner.flush_asked = true;
        let errors = inner.errors;
        self.shared.write.notify_all();
        loop {
            let safe = inner.state.is_safe(serial);
            let left = until.saturating_duration_since(Instant::now());
            if safe || left.is_zero() || inner.ended || inner.errors > errors {
                inner.flushes -= 1;
                return safe;
            }
            inner = wait(&self.shared.done, inner, left);
        }
    }

    /// The counters.
    pub fn stats(&self) -> SpoolStats {
        let inner = self.shared.lock();
        let counters = inner.state.counters;
        let waiting = inner.state.waiting();
        let on_disk = waiting.map(|(_, disk)| disk);
        let oldest_on_disk = inner.oldest_on_disk.filter(|_| on_disk.iter().sum::<u64>() > 0);
        SpoolStats {
            accepted: counters.accepted,
            acknowledged: counters.acknowledged,
            committed: counters.committed,
            dropped: counters.dropped,
            expired: counters.expired,
            refused: counters.refused,
            corrupt: counters.corrupt,
            errors: inner.errors,
            waiting_in_memory: waiting.map(|(memory, _)| memory),
            waiting_on_disk: on_disk,
            memory_bytes: inner.state.memory(),
            disk_bytes: inner.disk_bytes,
            used_bytes: inner.used_bytes,
            stored_bytes: inner.stored_bytes,
            oldest_utc_ms: oldest_on_disk.or_else(|| inner.state.oldest_ms()),
        }
    }

    /// Commits what is in memory, and closes the file; what comes later is dropped and counted. `false` if it takes longer
    /// than `limit`: the thread is then left to itself.
    pub fn close(&self, limit: Duration) -> bool {
        let until = Instant::now() + limit;
        let mut inner = self.shared.lock();
        inner.stop = true;
        self.shared.write.notify_all();
        while !inner.ended {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            inner = wait(&self.shared.done, inner, left);
        }
        drop(inner);
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        thread.is_none_or(|thread| thread.join().is_ok())
    }
}

impl Drop for Spool {
    fn drop(&mut self) {
        self.close(LAST_COMMIT);
    }
}
