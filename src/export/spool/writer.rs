//! The thread that does all I/O of a spool: commits what is due, and reads ahead what the shipper wants.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use super::super::backoff::Backoff;
use super::super::kind::Kind;
use super::block;
use super::error::StoreError;
use super::news::News;
use super::open::Lock;
use super::store::{Change, Limits, Piece, Store};
use super::{Notice, Shared, wait};

/// Longest sleep while something waits: how late a change of the clock is noticed.
const LOOK: Duration = Duration::from_secs(1);
/// Wait after a commit that failed; doubled with each further one, up to the second.
const BACKOFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(10));
/// How often it is looked, while commits succeed, whether the file should shrink.
const SHRINK: Duration = Duration::from_secs(10);
/// Bytes of records that are committed at once on a disk that is nearly full.
const LEAST: usize = 64 << 10;

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
    Tidy,
    Read(Kind, u64),
    Shrink,
    Stop,
}

/// Reading a kind failed at a number.
pub(super) struct Stuck {
    number: u64,
    tries: u32,
    pub(super) backoff: Backoff,
}

pub(super) struct Writer<'a> {
    pub(super) shared: &'a Shared,
    pub(super) store: Option<Store>,
    pub(super) limits: Limits,
    /// Bytes of records that are committed at once.
    chunk: usize,
    pub(super) backoff: Backoff,
    /// Commits that failed one after the other because a part of the file cannot be read, and looks for what is too old that failed.
    pub(super) unreadable: u32,
    pub(super) untidy: u32,
    /// By kind. What cannot be read keeps neither other kinds nor commits from going on.
    pub(super) stuck: [Stuck; 4],
    /// When the file was last replaced.
    pub(super) replaced: Option<Duration>,
    /// When it is next looked for records that are too old, and after a commit whether the file should shrink.
    pub(super) tidy_at: Duration,
    shrink_at: Duration,
    /// The file has changed since it was looked at; it shrinks.
    pub(super) changed: bool,
    pub(super) shrinking: bool,
    pub(super) news: News,
}

impl<'a> Writer<'a> {
    fn new(shared: &'a Shared, store: Store, limits: Limits) -> Self {
        let now = shared.clock.now();
        let inner = shared.lock();
        let backoff = || Backoff::varied(BACKOFF.0, BACKOFF.1, now.utc_ns);
        Self {
            shared,
            store: Some(store),
            limits,
            chunk: limits.chunk(),
            backoff: backoff(),
            unreadable: 0,
            untidy: 0,
            stuck: std::array::from_fn(|_| Stuck { number: 0, tries: 0, backoff: backoff() }),
            replaced: None,
            // Before anything is read.
            tidy_at: now.monotonic,
            shrink_at: now.monotonic,
            changed: true,
            shrinking: false,
            news: News::new(!inner.notices.is_empty(), &inner.state.counters, now.monotonic),
        }
    }

    fn run(mut self) {
        loop {
            match self.next() {
                Task::Tell => self.tell(),
                Task::Commit => self.commit(),
                Task::Tidy => self.tidy(),
                Task::Read(kind, number) => self.read(kind, number),
                Task::Shrink => self.shrink(true),
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
            let look = self.changed || inner.state.waiting().iter().any(|(_, disk)| *disk > 0);
            if look && left.is_zero() && self.tidy_at <= now {
                return Task::Tidy;
            }
            let may = |kind: Kind| self.stuck.get(kind.index()).is_none_or(|stuck| stuck.backoff.left(now).is_zero());
            if let Some((kind, number)) = inner.state.to_read(may) {
                return Task::Read(kind, number);
            }
            if self.shrinking && left.is_zero() {
                return Task::Shrink;
            }
            inner.flush_asked = false;
            inner.backing_off = !left.is_zero();
            let sleep = due.map_or(LOOK, |due| due.saturating_sub(now).max(left)).min(LOOK);
            inner.writer_waits = due.is_none();
            let sleep = if due.is_none() && !look && !self.news.is_degraded() { LOOK * 60 } else { sleep };
            inner = wait(&self.shared.write, inner, sleep.max(Duration::from_millis(1)));
        }
    }

    fn commit(&mut self) {
        let result = self.commit_what_fits();
        let now = self.shared.clock.now().monotonic;
        match result {
            Ok(()) => {
                self.backoff.succeeded();
                self.unreadable = 0;
                self.changed = true;
                if now >= self.shrink_at {
                    self.shrink_at = now + SHRINK;
                    self.look_at_file();
                }
            }
            Err(error) => {
                self.shared.lock().errors += 1;
                self.backoff.failed(now, None);
                self.unreadable = if matches!(error, StoreError::Unreadable(_)) { self.unreadable + 1 } else { 0 };
                self.trouble(error, self.unreadable);
            }
        }
        self.shared.done.notify_all();
        self.shared.ship.notify_all();
    }

    /// Commits a part of what waits. On a disk that is full a smaller part, and if not even that finds room, what is important instead of
    /// what is less so and lies there.
    fn commit_what_fits(&mut self) -> Result<(), StoreError> {
        loop {
            match self.commit_once(self.chunk, Kind::Telemetry, None) {
                (size, Err(StoreError::Full)) if size.min(self.chunk) > LEAST => {
                    self.chunk = (size.min(self.chunk) / 2).max(LEAST);
                }
                (_, Err(StoreError::Full)) => break,
                (_, result) => {
                    if result.is_ok() {
                        self.chunk = (self.chunk * 2).min(self.limits.chunk());
                    }
                    return result;
                }
            }
        }
        for last in [Kind::Event, Kind::Alarm] {
            while let (1.., result) = self.commit_once(LEAST, last, Some(last)) {
                match result {
                    Ok(()) => {}
                    Err(StoreError::Full) => break,
                    Err(error) => return Err(error),
                }
            }
        }
        let inner = self.shared.lock();
        if inner.state.is_safe(inner.state.next_serial()) { Ok(()) } else { Err(StoreError::Full) }
    }

    /// Commits up to `most` bytes of records of the kinds up to `last`, on a full disk instead of records that are less important than
    /// `instead_of`; how many bytes it tried.
    fn commit_once(&mut self, most: usize, last: Kind, instead_of: Option<Kind>) -> (usize, Result<(), StoreError>) {
        let snapshot = self.shared.lock().state.snapshot(most, last);
        let size = snapshot.lanes.iter().flat_map(|(_, _, records)| records).map(block::Stored::size).sum();
        let mut change = Change { heads: snapshot.heads, instead_of, ..Change::default() };
        change.done.clone_from(&snapshot.done);
        let mut encoded = Ok(());
        for (kind, (number, _, records)) in Kind::ALL.into_iter().zip(&snapshot.lanes) {
            match block::encode(kind, *number, records) {
                Ok(blocks) => change.blocks.extend(blocks),
                Err(error) => encoded = Err(StoreError::from(error)),
            }
        }
        let result = encoded.and_then(|()| self.store()?.commit(&change));
        self.note_sizes();
        let now = self.shared.clock.now().monotonic;
        let mut inner = self.shared.lock();
        let result = match result {
            Ok(outcome) => {
                inner.stored_bytes += outcome.bytes;
                inner.state.committed(&snapshot, &outcome, now);
                Ok(())
            }
            Err(error) => {
                inner.state.not_committed(snapshot, now);
                Err(error)
            }
        };
        (size, result)
    }

    fn read(&mut self, kind: Kind, number: u64) {
        let read = self.store().and_then(|store| store.read(kind, number));
        let now = self.shared.clock.now().monotonic;
        let Some(stuck) = self.stuck.get_mut(kind.index()) else { return };
        if read.is_ok() {
            (stuck.tries, stuck.number) = (0, 0);
            stuck.backoff.succeeded();
        }
        match read {
            Ok(None) => self.shared.lock().state.add(kind, number, None),
            Ok(Some(Piece::Good(first, records))) => {
                self.shared.lock().state.add(kind, number, Some((first, records)));
            }
            Ok(Some(Piece::Bad(first, end))) => self.shared.lock().state.add_bad(kind, number, first, end, now),
            Err(error) => {
                stuck.tries = if stuck.number == number { stuck.tries + 1 } else { 1 };
                stuck.number = number;
                stuck.backoff.failed(now, None);
                let tries = stuck.tries;
                self.shared.lock().errors += 1;
                self.trouble(error, tries);
            }
        }
        self.shared.ship.notify_all();
        self.shared.done.notify_all();
    }

    pub(super) fn degrade(&mut self, kind: &str, text: String) {
        let notice = self.news.trouble(kind, text);
        self.shared.lock().notices.extend(notice);
    }

    /// Tells of records that were lost, and of being well again.
    fn notice_changes(&mut self) {
        let now = self.shared.clock.now().monotonic;
        let mut inner = self.shared.lock();
        let waiting = inner.state.waiting();
        let stuck = self.stuck.iter().zip(waiting).any(|(stuck, (_, disk))| disk > 0 && stuck.backoff.is_failing());
        let failing = stuck || self.untidy > 0 || self.backoff.is_failing();
        let notice = self.news.look(&inner.state.counters, failing, now, &self.shared.path.display().to_string());
        inner.notices.extend(notice);
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
