//! The thread that does all I/O of a spool: commits what is due, and reads ahead what the shipper wants.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use super::super::backoff::Backoff;
use super::super::kind::Kind;
use super::block;
use super::open::{self, Lock};
use super::state::Snapshot;
use super::store::{Change, Limits, Outcome, Store, StoreError};
use super::{Notice, Shared, wait};

/// Longest sleep: how late a change of the clock is noticed.
const LOOK: Duration = Duration::from_secs(1);
/// Wait after a commit that failed; doubled with each further one, up to the second.
const BACKOFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(10));
/// How often it is looked whether the file should shrink.
const SHRINK: Duration = Duration::from_secs(10);
/// For how long nothing must be lost until all is said to be well.
const CALM: Duration = Duration::from_secs(60);

/// Starts the thread, which owns the file and its lock.
pub(super) fn start(shared: Arc<Shared>, store: Store, lock: Lock, limits: Limits) -> io::Result<JoinHandle<()>> {
    std::thread::Builder::new().name("vigil-spool".into()).spawn(move || {
        let worked = catch_unwind(AssertUnwindSafe(|| Writer::new(&shared, store, limits).run()));
        // The file is closed by now.
        drop(lock);
        let mut inner = shared.lock();
        inner.ended = true;
        let report = inner.report.take();
        drop(inner);
        shared.done.notify_all();
        if let (Err(_), Some(report)) = (worked, report) {
            let text = "the spool's thread panicked; records are dropped until the exporter is restarted";
            let _ = catch_unwind(AssertUnwindSafe(|| report(Notice::degraded(text))));
        }
    })
}

enum Task {
    Tell,
    Commit,
    Read(Kind, u64),
    Stop,
}

struct Writer<'a> {
    shared: &'a Shared,
    store: Option<Store>,
    limits: Limits,
    backoff: Backoff,
    /// Of reading alone: a disk that is full can be read.
    read_backoff: Backoff,
    degraded: bool,
    /// Records lost when it was last looked at, and the time at which the number last changed.
    lost: u64,
    lost_at: Duration,
    looked: Duration,
}

impl<'a> Writer<'a> {
    fn new(shared: &'a Shared, store: Store, limits: Limits) -> Self {
        let now = shared.clock.now();
        let inner = shared.lock();
        Self {
            shared,
            store: Some(store),
            limits,
            backoff: Backoff::varied(BACKOFF.0, BACKOFF.1, now.utc_ns),
            read_backoff: Backoff::varied(BACKOFF.0, BACKOFF.1, now.utc_ns),
            degraded: !inner.notices.is_empty(),
            lost: inner.state.counters.corrupt,
            lost_at: now.monotonic,
            looked: now.monotonic,
        }
    }

    fn run(mut self) {
        self.look_at_file();
        loop {
            match self.next() {
                Task::Tell => self.tell(),
                Task::Commit => self.commit(),
                Task::Read(kind, number) => self.read(kind, number),
                Task::Stop => break,
            }
            self.notice_changes();
        }
        // All there is, as long as the disk takes it.
        loop {
            let before = self.shared.lock().state.counters.committed;
            self.commit();
            let inner = self.shared.lock();
            let nothing_left = inner.state.is_safe(inner.state.next_serial());
            if nothing_left || inner.state.counters.committed == before {
                break;
            }
        }
        self.notice_changes();
        self.tell();
    }

    fn next(&mut self) -> Task {
        let mut inner = self.shared.lock();
        loop {
            inner.writer_waits = false;
            inner.writer_called = false;
            if !inner.notices.is_empty() && inner.report.is_some() {
                return Task::Tell;
            }
            if inner.stop {
                return Task::Stop;
            }
            let now = self.shared.clock.now().monotonic;
            let left = self.backoff.left(now);
            let waits = !inner.state.is_safe(inner.state.next_serial());
            let due = inner.state.due(self.shared.options.commit_interval);
            let flush = inner.flushes > 0 && waits && (inner.flush_asked || !self.backoff.is_failing());
            let commit = left.is_zero() && (due.is_some_and(|due| due <= now) || waits && inner.state.is_filling());
            if flush || commit {
                inner.flush_asked = false;
                return Task::Commit;
            }
            if let Some((kind, number)) = inner.state.to_read()
                && self.read_backoff.left(now).is_zero()
            {
                return Task::Read(kind, number);
            }
            inner.flush_asked = false;
            inner.backing_off = !left.is_zero();
            let sleep = due.map_or(LOOK, |due| due.saturating_sub(now).max(left)).min(LOOK);
            inner.writer_waits = due.is_none();
            let sleep = if due.is_none() && !self.degraded { LOOK * 60 } else { sleep };
            inner = wait(&self.shared.write, inner, sleep.max(Duration::from_millis(1)));
        }
    }

    /// The file; opened anew if that failed before.
    fn store(&mut self) -> Result<&mut Store, StoreError> {
        if self.store.is_none() {
            let opened = open::open(&self.shared.path, self.limits, self.shared.clock.now().utc_ns);
            let (store, _) = opened.map_err(|error| StoreError::Other(error.to_string()))?;
            self.store = Some(store);
        }
        self.store.as_mut().ok_or_else(|| StoreError::Other("the file is closed".into()))
    }

    fn commit(&mut self) {
        let mut snapshot = self.shared.lock().state.snapshot(self.limits.chunk());
        let result = self.write(&mut snapshot);
        let disk_bytes = self.store.as_ref().map(Store::disk_bytes);
        let now = self.shared.clock.now().monotonic;
        let mut inner = self.shared.lock();
        inner.disk_bytes = disk_bytes.unwrap_or(inner.disk_bytes);
        match &result {
            Ok(outcome) => {
                inner.stored_bytes += outcome.bytes;
                inner.state.committed(&snapshot, outcome, now);
            }
            Err(_) => {
                inner.errors += 1;
                inner.state.not_committed(snapshot, now);
            }
        }
        drop(inner);
        match result {
            Ok(_) => {
                self.backoff.succeeded();
                if now.saturating_sub(self.looked) >= SHRINK {
                    self.looked = now;
                    self.look_at_file();
                }
            }
            Err(error) => self.failed(error),
        }
        self.shared.done.notify_all();
        self.shared.ship.notify_all();
    }

    fn write(&mut self, snapshot: &mut Snapshot) -> Result<Outcome, StoreError> {
        let mut change = Change { heads: snapshot.heads, ..Change::default() };
        change.done.clone_from(&snapshot.done);
        change.now_ms = self.shared.clock.now().utc_ns / 1_000_000;
        for (kind, (number, _, records)) in Kind::ALL.into_iter().zip(&snapshot.lanes) {
            change.blocks.extend(block::encode(kind, *number, records)?);
        }
        self.store()?.commit(&change)
    }

    fn read(&mut self, kind: Kind, number: u64) {
        let read = self.store().and_then(|store| store.read(kind, number));
        let now = self.shared.clock.now().monotonic;
        if read.is_ok() {
            self.read_backoff.succeeded();
        }
        match read {
            Ok(None) => self.shared.lock().state.add(kind, number, None),
            Ok(Some(block)) => match block::decode(&block) {
                Ok(records) => self.shared.lock().state.add(kind, number, Some((block.number, records))),
                Err(_) => self.shared.lock().state.add_bad(kind, block.number, block.records, now),
            },
            Err(error) => {
                self.shared.lock().errors += 1;
                self.read_backoff.failed(now, None);
                self.failed(error);
            }
        }
        self.shared.ship.notify_all();
        self.shared.done.notify_all();
    }

    /// The file does not work.
    fn failed(&mut self, error: StoreError) {
        let path = self.shared.path.display();
        let now = self.shared.clock.now();
        self.backoff.failed(now.monotonic, None);
        let text = match error {
            StoreError::Damaged(why) => {
                // Closed before it is moved.
                self.store = None;
                let wanted = self.shared.lock().state.spans();
                let why = format!("it is damaged: {why}");
                match open::replace(&self.shared.path, self.limits, now.utc_ns, why, &wanted) {
                    Ok((store, salvage)) => {
                        self.store = Some(store);
                        self.backoff.succeeded();
                        self.shared.lock().state.counters.corrupt += salvage.lost;
                        salvage.text()
                    }
                    Err(error) => format!("the spool is damaged and cannot be replaced: {error}"),
                }
            }
            StoreError::Full => {
                format!("cannot write the spool {path}: there is no space left; records wait in memory; free some")
            }
            StoreError::Other(why) => {
                format!("cannot use the spool {path}: {why}; records wait in memory; check the disk")
            }
        };
        self.degrade(text);
    }

    /// What is the oldest on the disk; whether the file should shrink.
    fn look_at_file(&mut self) {
        let Some(store) = &mut self.store else { return };
        let oldest = store.oldest_ms().unwrap_or(None);
        // If it cannot shrink now, it may later; what waits is as safe as before.
        let failed = store.shrink().is_err();
        let disk_bytes = store.disk_bytes();
        let mut inner = self.shared.lock();
        inner.errors += u64::from(failed);
        inner.oldest_on_disk = oldest;
        inner.disk_bytes = disk_bytes;
    }

    fn degrade(&mut self, text: String) {
        if !std::mem::replace(&mut self.degraded, true) {
            self.shared.lock().notices.push(Notice::degraded(text));
        }
    }

    /// Tells of records that were lost, and of being well again.
    fn notice_changes(&mut self) {
        let now = self.shared.clock.now().monotonic;
        let (dropped, expired, corrupt) = {
            let counters = &self.shared.lock().state.counters;
            (counters.dropped.iter().sum::<u64>(), counters.expired, counters.corrupt)
        };
        let lost = dropped + expired + corrupt;
        if std::mem::replace(&mut self.lost, lost) != lost {
            self.lost_at = now;
            self.degrade(format!(
                "the spool {} lost records: {dropped} for want of space, {expired} too old, {corrupt} damaged; the \
                 oldest of the least important kind go first",
                self.shared.path.display()
            ));
        } else if self.degraded && !self.backoff.is_failing() && now.saturating_sub(self.lost_at) >= CALM {
            self.degraded = false;
            let text = format!("the spool {} works again", self.shared.path.display());
            self.shared.lock().notices.push(Notice { degraded: false, text });
        }
    }

    fn tell(&self) {
        let mut inner = self.shared.lock();
        let Some(report) = inner.report.take() else { return };
        let notices = std::mem::take(&mut inner.notices);
        drop(inner);
        let told = catch_unwind(AssertUnwindSafe(|| notices.into_iter().for_each(&report)));
        if told.is_ok() {
            self.shared.lock().report.get_or_insert(report);
        }
    }
}
