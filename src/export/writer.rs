//! A bounded queue of lines, and the thread that hands them to a sink.
//!
//! The streaming thread only ever appends to the queue. When the queue is full its oldest line is dropped and counted:
//! who reads records after an outage wants the newest. A line that the sink refuses stays first in the queue and is
//! tried again after a back-off.
//!
//! One lock, `Shared::queue`, never held across a sink's call or the report's.

use std::collections::VecDeque;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::backoff::Backoff;
use super::sink::{Clock, Now, Sink};

/// How often an idle sink's `tick` is called.
const TICK: Duration = Duration::from_secs(1);
/// Wait after the first failure; doubled with each further one.
const BACKOFF_FIRST: Duration = Duration::from_secs(1);
/// Longest wait after a failure.
const BACKOFF_MOST: Duration = Duration::from_secs(30);

/// The machine's clocks.
#[derive(Debug)]
pub struct SystemClock {
    start: Instant,
}

impl Default for SystemClock {
    fn default() -> Self {
        Self { start: Instant::now() }
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Now {
        let utc = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Now { monotonic: self.start.elapsed(), utc_ns: u64::try_from(utc.as_nanos()).unwrap_or(u64::MAX) }
    }
}

/// What has happened since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stats {
    /// Records that the sink took.
    pub written: u64,
    /// Records lost, because the queue was full or the sink still failed at the end.
    pub dropped: u64,
    /// Calls of the sink that failed.
    pub errors: u64,
    /// Bytes that the sink took.
    pub bytes: u64,
}

/// A change between working and not working, for the user to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Whether records are being delayed or lost; `false` once all that waited is written, over a network once records get through
    /// again.
    pub degraded: bool,
    /// Why, or that all is well again: a sentence.
    pub text: String,
    /// The counters at this time.
    pub stats: Stats,
}

/// Takes a [`Change`]; called on the exporter's thread.
pub type Report = Box<dyn Fn(Change) + Send + Sync>;

#[derive(Default)]
struct Queue {
    lines: VecDeque<Vec<u8>>,
    /// A line is out of the queue and with the sink.
    in_hand: bool,
    /// Drains asked for, and done, since the start.
    drains_wanted: u64,
    drains_done: u64,
    /// Whether the last drain wrote everything.
    drained: bool,
    stop: bool,
    /// The thread is gone.
    ended: bool,
}

impl Queue {
    fn take(&mut self) -> Option<Vec<u8>> {
        let line = self.lines.pop_front();
        self.in_hand = line.is_some();
        line
    }
}

struct Shared {
    queue: Mutex<Queue>,
    capacity: usize,
    /// Something for the thread to do.
    work: Condvar,
    /// A drain is done or the thread is gone.
    done: Condvar,
    written: AtomicU64,
    dropped: AtomicU64,
    errors: AtomicU64,
    bytes: AtomicU64,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stats(&self) -> Stats {
        Stats {
            written: self.written.load(Ordering::Relaxed),
            dropped: self.dropped.load(Ordering::Relaxed),
            errors: self.errors.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
        }
    }
}

/// How a drain ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Drained {
    /// All is written and finished.
    Complete,
    /// The sink failed; what it did not take is still queued.
    Failed,
    /// The sink did not answer in time.
    TimedOut,
}

/// A running export.
pub struct Exporter {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Exporter {
    /// Starts the thread that owns `sink`; at most `capacity` lines (at least 1) wait for it.
    ///
    /// # Errors
    /// The system's, if no thread can be started.
    pub fn start(sink: Box<dyn Sink>, capacity: usize, clock: Arc<dyn Clock>, report: Report) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            queue: Mutex::default(),
            capacity: capacity.max(1),
            work: Condvar::new(),
            done: Condvar::new(),
            written: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            errors: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
        });
        let own = shared.clone();
        let thread = std::thread::Builder::new().name("vigil-export".into()).spawn(move || {
            let worked = catch_unwind(AssertUnwindSafe(|| Worker::new(&own, sink, &*clock, &report).run()));
            let mut queue = own.lock();
            let lost = queue.lines.len() as u64 + u64::from(queue.in_hand);
            queue.lines.clear();
            queue.ended = true;
            drop(queue);
            own.dropped.fetch_add(lost, Ordering::Relaxed);
            own.done.notify_all();
            if worked.is_err() {
                let text = "the sink panicked; no more records are written until the element is restarted".to_string();
                let _ = catch_unwind(AssertUnwindSafe(|| report(Change { degraded: true, text, stats: own.stats() })));
            }
        })?;
        Ok(Self { shared, thread: Mutex::new(Some(thread)) })
    }

    /// Queues `line`; drops the oldest one where the queue is full. Never waits for the sink.
    pub fn push(&self, line: Vec<u8>) {
        let mut queue = self.shared.lock();
        let mut lost = 0;
        if queue.ended {
            lost = 1;
        } else {
            while queue.lines.len() >= self.shared.capacity && queue.lines.pop_front().is_some() {
                lost += 1;
            }
            queue.lines.push_back(line);
        }
        drop(queue);
        self.shared.dropped.fetch_add(lost, Ordering::Relaxed);
        self.shared.work.notify_one();
    }

    /// The counters.
    pub fn stats(&self) -> Stats {
        self.shared.stats()
    }

    /// Waits, at most for `limit`, until all that was pushed is written and the sink has finished it. A sink that fails
    /// is tried once more, at once, and not waited for any longer: its lines stay queued.
    pub fn drain(&self, limit: Duration) -> Drained {
        let mut queue = self.shared.lock();
        queue.drains_wanted += 1;
        let ours = queue.drains_wanted;
        self.shared.work.notify_one();
        let (queue, _) = self
            .shared
            .done
            .wait_timeout_while(queue, limit, |q| q.drains_done < ours && !q.ended)
            .unwrap_or_else(PoisonError::into_inner);
        match (queue.drains_done >= ours, queue.drained) {
            (true, true) => Drained::Complete,
            (true, false) => Drained::Failed,
            (false, _) if queue.ended => Drained::Failed,
            (false, _) => Drained::TimedOut,
        }
    }

    /// Drains as [`Exporter::drain`] does, then ends the thread; lines that are left are dropped and counted. A thread
    /// that hangs in its sink is left to itself.
    pub fn stop(&self, limit: Duration) -> Stats {
        let drained = self.drain(limit);
        self.end(drained != Drained::TimedOut);
        self.stats()
    }

    fn end(&self, wait: bool) {
        let mut queue = self.shared.lock();
        queue.stop = true;
        if !wait {
            let lost = queue.lines.len() as u64;
            queue.lines.clear();
            self.shared.dropped.fetch_add(lost, Ordering::Relaxed);
        }
        drop(queue);
        self.shared.work.notify_one();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread.filter(|_| wait) {
            // The thread catches its own panics.
            let _ = thread.join();
        }
    }
}

impl Drop for Exporter {
    fn drop(&mut self) {
        self.end(false);
    }
}

/// What the thread does next.
enum Task {
    Write(Vec<u8>),
    Tick,
    Drain,
    Stop,
}

/// The thread's own state.
struct Worker<'a> {
    shared: &'a Shared,
    sink: Box<dyn Sink>,
    clock: &'a dyn Clock,
    report: &'a Report,
    backoff: Backoff,
    degraded: bool,
    /// The drop counter when it was last looked at.
    dropped: u64,
}

impl<'a> Worker<'a> {
    fn new(shared: &'a Shared, sink: Box<dyn Sink>, clock: &'a dyn Clock, report: &'a Report) -> Self {
        Self {
            shared,
            sink,
            clock,
            report,
            backoff: Backoff::new(BACKOFF_FIRST, BACKOFF_MOST),
            degraded: false,
            dropped: 0,
        }
    }

    fn run(mut self) {
        loop {
            match self.next() {
                Task::Write(line) => {
                    self.write(line);
                }
                Task::Tick => {
                    let result = self.sink.tick(self.clock.now());
                    self.note(result.map_err(|e| e.to_string()));
                }
                Task::Drain => self.drain(),
                Task::Stop => return,
            }
            self.report_changes();
        }
    }

    fn next(&self) -> Task {
        let mut queue = self.shared.lock();
        loop {
            if queue.drains_wanted > queue.drains_done {
                return Task::Drain;
            }
            if queue.stop {
                return Task::Stop;
            }
            let left = self.backoff.left(self.clock.now().monotonic);
            if left.is_zero()
                && let Some(line) = queue.take()
            {
                return Task::Write(line);
            }
            let wait = if queue.lines.is_empty() || left.is_zero() { TICK } else { left.min(TICK) };
            let (woken, timeout) = self.shared.work.wait_timeout(queue, wait).unwrap_or_else(PoisonError::into_inner);
            queue = woken;
            if timeout.timed_out() && left.is_zero() {
                return Task::Tick;
            }
        }
    }

    /// Gives `line` to the sink; puts it back in front if the sink fails. `true` if it was taken.
    fn write(&mut self, line: Vec<u8>) -> bool {
        let result = self.sink.write(&line, self.clock.now());
        let taken = result.is_ok();
        let bytes = line.len() as u64;
        let mut queue = self.shared.lock();
        queue.in_hand = false;
        let full = queue.lines.len() >= self.shared.capacity;
        if !taken && !full {
            queue.lines.push_front(line);
        }
        drop(queue);
        if taken {
            self.shared.written.fetch_add(1, Ordering::Relaxed);
            self.shared.bytes.fetch_add(bytes, Ordering::Relaxed);
        } else if full {
            self.shared.dropped.fetch_add(1, Ordering::Relaxed);
        }
        self.note(result.map_err(|e| e.to_string()));
        taken
    }

    /// Writes what waits, up to the first failure.
    fn drain(&mut self) {
        let (wanted, mut count) = {
            let queue = self.shared.lock();
            (queue.drains_wanted, queue.lines.len())
        };
        let mut drained = true;
        while drained && count > 0 {
            let line = self.shared.lock().take();
            let Some(line) = line else { break };
            drained = self.write(line);
            count -= 1;
        }
        if drained {
            let result = self.sink.finish(self.clock.now());
            drained = result.is_ok();
            self.note(result.map_err(|e| e.to_string()));
        }
        // Reported before whoever waits goes on, so that the message comes before the end of the stream.
        self.report_changes();
        let mut queue = self.shared.lock();
        queue.drains_done = wanted;
        queue.drained = drained;
        drop(queue);
        self.shared.done.notify_all();
    }

    fn note(&mut self, result: Result<(), String>) {
        match result {
            Ok(()) => self.backoff.succeeded(),
            Err(text) => {
                self.shared.errors.fetch_add(1, Ordering::Relaxed);
                self.backoff.failed(self.clock.now().monotonic, None);
                self.degrade(text);
            }
        }
    }

    fn degrade(&mut self, text: String) {
        if !std::mem::replace(&mut self.degraded, true) {
            (self.report)(Change { degraded: true, text, stats: self.shared.stats() });
        }
    }

    /// Tells of lost lines, and of having caught up.
    fn report_changes(&mut self) {
        let stats = self.shared.stats();
        if std::mem::replace(&mut self.dropped, stats.dropped) != stats.dropped {
            let text = "the sink is too slow and the queue is full; the oldest records are lost".to_string();
            self.degrade(text);
            return;
        }
        let caught_up = !self.backoff.is_failing() && self.shared.lock().lines.is_empty();
        if self.degraded && caught_up {
            self.degraded = false;
            (self.report)(Change { degraded: false, text: "all records are written again".to_string(), stats });
        }
    }
}

#[cfg(test)]
#[path = "writer_tests.rs"]
mod tests;
