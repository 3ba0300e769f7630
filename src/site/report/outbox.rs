//! Records on their way out: they wait in memory, within bounds, while the way cannot be opened.

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use super::Line;
use crate::export::kind::Kind;
use crate::export::route::Route;

/// Most records that wait, and most bytes of them.
const MOST: (usize, usize) = (10_000, 4 << 20);
/// How often a way that cannot be opened is tried again.
const RETRY: Duration = Duration::from_secs(30);
/// Records that wait in memory behind a way to a file: see `queue_size` of [`How`](crate::export::route::How).
pub const QUEUE: usize = 1000;
/// Records that are handed over at once, so that there is room for them.
const AT_ONCE: usize = QUEUE / 2;

/// Records that wait for the way, or did not get there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Count([usize; 4]);

impl Count {
    fn sum(self) -> usize {
        self.0.iter().sum()
    }
}

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [alarms, events, frames, telemetry] = self.0;
        write!(f, "{alarms} alarms, {events} events and {} records of telemetry", frames + telemetry)
    }
}

/// Records in the order in which they came.
#[derive(Debug, Default)]
struct Held {
    /// By kind, the most important first, with their numbers.
    kinds: [VecDeque<(u64, Line)>; 4],
    next: u64,
    bytes: usize,
    lost: Count,
}

impl Held {
    fn count(&self) -> Count {
        Count([0, 1, 2, 3].map(|kind: usize| self.kinds.get(kind).map_or(0, VecDeque::len)))
    }

    /// Takes a record. Where there is no room, the oldest of the least important ones is lost.
    fn put(&mut self, line: Line) {
        self.bytes += line.line.len();
        let number = self.next;
        self.next += 1;
        if let Some(of_kind) = self.kinds.get_mut(line.kind.index()) {
            of_kind.push_back((number, line));
        }
        while self.count().sum() > MOST.0 || self.bytes > MOST.1 {
            let of_least = Kind::ALL.into_iter().rev().find_map(|kind| {
                let (_, line) = self.kinds.get_mut(kind.index())?.pop_front()?;
                Some((kind, line))
            });
            let Some((kind, line)) = of_least else { return };
            self.bytes -= line.line.len();
            if let Some(lost) = self.lost.0.get_mut(kind.index()) {
                *lost += 1;
            }
        }
    }

    /// The oldest one.
    fn take(&mut self) -> Option<Line> {
        let oldest = self.kinds.iter_mut().filter(|of_kind| !of_kind.is_empty());
        let (_, line) = oldest.min_by_key(|of_kind| of_kind.front().map(|(number, _)| *number))?.pop_front()?;
        self.bytes -= line.line.len();
        Some(line)
    }
}

/// What is to be told of the way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// Records wait for it, or were lost.
    Warning(String),
    /// It is open after all, and nothing was lost.
    Recovered(String),
}

/// See the module's description.
#[derive(Default)]
pub struct Outbox {
    route: Option<Route>,
    held: Held,
    /// When it is to be opened again.
    due: Duration,
    /// Why it could not be opened.
    why: Option<String>,
}

impl Outbox {
    /// Takes a record.
    pub fn put(&mut self, line: Line) {
        self.held.put(line);
    }

    /// Opens the way if it is not open and it is time to try; what is to be told of that. Who cannot open it is told once for each reason.
    pub fn open_if_due(&mut self, now: Duration, open: impl FnOnce() -> Result<Route, String>) -> Option<Notice> {
        if self.route.is_some() || now < self.due {
            return None;
        }
        self.due = now.saturating_add(RETRY);
        match open() {
            Ok(route) => {
                self.route = Some(route);
                let lost = std::mem::take(&mut self.held.lost);
                let waited = self.held.count();
                self.why.take().map(|_| match lost.sum() {
                    0 => Notice::Recovered(format!("telemetry is sent; what has waited for it follows: {waited}")),
                    _ => Notice::Warning(format!(
                        "telemetry is sent; what has waited for it follows: {waited}; lost for want of room in memory: {lost}"
                    )),
                })
            }
            Err(text) => {
                let is_news = self.why.as_ref() != Some(&text);
                let notice = format!("telemetry is not sent, waits in memory, and is tried again later: {text}");
                self.why = Some(text);
                is_news.then_some(Notice::Warning(notice))
            }
        }
    }

    /// Hands over what waits, some of it at a time, if the way is open.
    pub fn send(&mut self) {
        let Some(route) = &self.route else { return };
        for Line { kind, camera, line } in std::iter::from_fn(|| self.held.take()).take(AT_ONCE) {
            route.push(kind, &camera.as_str().into(), line);
        }
    }

    /// Hands over all that waits, also if the way must be opened first, and closes it. The receiver is waited for no longer than `limit`.
    pub fn stop(mut self, limit: Duration, open: impl FnOnce() -> Result<Route, String>) -> Option<Notice> {
        self.due = Duration::ZERO;
        let opened = self.open_if_due(Duration::ZERO, open);
        if self.route.is_none() {
            let mut lost = self.held.lost;
            lost.0.iter_mut().zip(self.held.count().0).for_each(|(lost, held)| *lost += held);
            let why = self.why.unwrap_or_default();
            return (lost.sum() > 0)
                .then(|| Notice::Warning(format!("telemetry was not sent, and is lost: {lost}: {why}")));
        }
        let parts = u32::try_from(self.held.count().sum() / AT_ONCE).unwrap_or(u32::MAX).saturating_add(1);
        for part in 1..=parts {
            self.send();
            match &self.route {
                Some(route) if part == parts => route.stop(limit / parts),
                Some(route) => _ = route.drain(limit / parts),
                None => {}
            }
        }
        opened
    }
}

#[cfg(test)]
#[path = "outbox_tests.rs"]
mod tests;
