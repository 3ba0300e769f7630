//! From an exporter to its sink: straight to a file or standard output, through the spool to a receiver over a network.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::destination::{self, Member};
use super::file::FileSink;
use super::fs::RealFs;
use super::kind::Kind;
use super::remote::Outgoing;
use super::shipper::Pace;
use super::sink::{Clock, Sink, SinkError};
use super::spool::{SpoolError, SpoolOptions, SpoolStats};
use super::stdout::StreamSink;
use super::uri::SinkUri;
use super::writer::{self, Drained, Exporter, Report};
use crate::paths;

/// How records wait and are sent.
#[derive(Debug, Clone)]
pub struct How {
    /// Who sends, for messages: a camera's name.
    pub by: String,
    /// Files and standard output: most records that wait in memory.
    pub queue_size: usize,
    /// The folder of spools; `None`: the user's or the service's, see [`paths::spool_dir`].
    pub folder: Option<PathBuf>,
    /// What the spool keeps; `None`: whatever those who send to the same receiver have asked for, and the defaults if nobody has.
    pub spool: Option<SpoolOptions>,
    /// How fast, and in which order, it is sent after an outage. With `spool` `None` it holds only for who is the first.
    pub pace: Pace,
}

/// Why records cannot go there.
#[derive(Debug, thiserror::Error)]
pub enum RouteError {
    /// The sink cannot be opened.
    #[error(transparent)]
    Sink(#[from] SinkError),
    /// The spool cannot be opened.
    #[error(transparent)]
    Spool(#[from] SpoolError),
    /// Nobody says where the spool is to be.
    #[error("there is no place for the spool: set the property spool, or one of VIGIL_SPOOL, XDG_STATE_HOME and HOME")]
    NoFolder,
    /// The receiver's options cannot be used.
    #[error("{0}")]
    Remote(String),
    /// No thread can be started.
    #[error("no thread can be started: {0}")]
    Thread(#[from] std::io::Error),
}

/// Counters since the start. For a receiver over a network they are those of all that this process sends there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stats {
    /// Records that the sink took, or the receiver acknowledged.
    pub written: u64,
    /// Records that were lost.
    pub dropped: u64,
    /// Attempts that failed.
    pub errors: u64,
    /// Bytes that the sink took.
    pub bytes: u64,
    /// What waits in the spool; `None` without one.
    pub waiting: Option<Waiting>,
}

impl From<Stats> for writer::Stats {
    fn from(stats: Stats) -> Self {
        let Stats { written, dropped, errors, bytes, .. } = stats;
        Self { written, dropped, errors, bytes }
    }
}

/// What waits in a spool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Waiting {
    /// Records.
    pub records: u64,
    /// Bytes that the spool takes on disk.
    pub bytes: u64,
    /// Wall clock time of the oldest record, milliseconds since 1970 UTC; 0 if none waits.
    pub oldest_ms: u64,
    /// Whether the receiver answered the last time.
    pub connected: bool,
}

/// A receiver that this process sends to, and how records are doing on their way there.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Account {
    /// The receiver's address, without user, password and options.
    pub destination: String,
    /// What elements tell in `stats`.
    pub stats: Stats,
    /// The spool in detail.
    pub spool: SpoolStats,
    /// Most bytes that the spool may take on the disk.
    pub limit_bytes: u64,
}

impl Account {
    /// Adds that of another spool with records for the same receiver.
    pub fn add(&mut self, other: &Self) {
        let add = |to: &mut u64, more: u64| *to = to.saturating_add(more);
        let add_each =
            |to: &mut [u64; 4], more: &[u64; 4]| to.iter_mut().zip(more).for_each(|(to, more)| add(to, *more));
        add(&mut self.limit_bytes, other.limit_bytes);
        let (stats, spool) = (&mut self.stats, &mut self.spool);
        add(&mut stats.written, other.stats.written);
        add(&mut stats.dropped, other.stats.dropped);
        add(&mut stats.errors, other.stats.errors);
        add(&mut stats.bytes, other.stats.bytes);
        stats.waiting = match (stats.waiting, other.stats.waiting) {
            (Some(one), Some(two)) => Some(Waiting {
                records: one.records.saturating_add(two.records),
                bytes: one.bytes.saturating_add(two.bytes),
                oldest_ms: [one.oldest_ms, two.oldest_ms].into_iter().filter(|at| *at > 0).min().unwrap_or(0),
                connected: one.connected && two.connected,
            }),
            (one, two) => one.or(two),
        };
        add_each(&mut spool.dropped, &other.spool.dropped);
        add_each(&mut spool.waiting_in_memory, &other.spool.waiting_in_memory);
        add_each(&mut spool.waiting_on_disk, &other.spool.waiting_on_disk);
        for (to, more) in [
            (&mut spool.accepted, other.spool.accepted),
            (&mut spool.acknowledged, other.spool.acknowledged),
            (&mut spool.committed, other.spool.committed),
            (&mut spool.expired, other.spool.expired),
            (&mut spool.refused, other.spool.refused),
            (&mut spool.corrupt, other.spool.corrupt),
            (&mut spool.errors, other.spool.errors),
            (&mut spool.memory_bytes, other.spool.memory_bytes),
            (&mut spool.disk_bytes, other.spool.disk_bytes),
            (&mut spool.used_bytes, other.spool.used_bytes),
            (&mut spool.stored_bytes, other.spool.stored_bytes),
        ] {
            add(to, more);
        }
        spool.oldest_utc_ms = spool.oldest_utc_ms.into_iter().chain(other.spool.oldest_utc_ms).min();
    }
}

/// Where one exporter's records go.
pub enum Route {
    /// To a file or standard output.
    Direct(Exporter),
    /// To a receiver over a network.
    Spooled(Member),
}

impl Route {
    /// Opens the way to `uri`. `report` is told of the beginning and the end of times in which records are kept back or lost.
    ///
    /// # Errors
    /// Any [`RouteError`]. A receiver that does not answer is none: records wait for it.
    pub fn open(uri: &SinkUri, how: How, clock: Arc<dyn Clock>, report: Report) -> Result<Self, RouteError> {
        match uri {
            SinkUri::Remote(remote) => {
                let folder = how.folder.clone().or_else(paths::spool_dir).ok_or(RouteError::NoFolder)?;
                Ok(Self::Spooled(destination::join(remote, &folder, how, clock, report)?))
            }
            SinkUri::Stdout => Self::direct(Box::new(StreamSink::stdout()), how, clock, report),
            SinkUri::File(options) => {
                let sink = FileSink::open(options.clone(), Box::new(RealFs), clock.now())?;
                Self::direct(Box::new(sink), how, clock, report)
            }
        }
    }

    fn direct(sink: Box<dyn Sink>, how: How, clock: Arc<dyn Clock>, report: Report) -> Result<Self, RouteError> {
        Ok(Self::Direct(Exporter::start(sink, how.queue_size, clock, report)?))
    }

    /// What the user should know of how it was opened: a sentence without a final stop.
    pub fn remark(&self) -> Option<&str> {
        match self {
            Self::Direct(_) => None,
            Self::Spooled(member) => member.remark(),
        }
    }

    /// Hands over a record, a line of JSON; never waits.
    pub fn push(&self, kind: Kind, camera: &Arc<str>, mut line: Vec<u8>) {
        match self {
            Self::Direct(exporter) => exporter.push(line),
            Self::Spooled(member) => {
                if line.last() == Some(&b'\n') {
                    line.pop();
                }
                member.push(Outgoing { kind, camera: camera.clone(), body: line });
            }
        }
    }

    /// The counters.
    pub fn stats(&self) -> Stats {
        match self {
            Self::Direct(exporter) => {
                let stats = exporter.stats();
                let (written, dropped) = (stats.written, stats.dropped);
                Stats { written, dropped, errors: stats.errors, bytes: stats.bytes, waiting: None }
            }
            Self::Spooled(member) => member.stats(),
        }
    }

    /// Waits, at most for `limit`, until all that was pushed is written, or acknowledged by the receiver. A receiver that fails or is slow
    /// is not waited for, since its records are in the spool. [`Drained::TimedOut`] tells of a sink that does not answer.
    pub fn drain(&self, limit: Duration) -> Drained {
        match self {
            Self::Direct(exporter) => exporter.drain(limit),
            Self::Spooled(member) => member.drain(limit),
        }
    }

    /// Drains, then ends what was started for this exporter alone; of those who share a spool only the last one drains. All of it takes
    /// `limit` at most.
    pub fn stop(&self, limit: Duration) {
        match self {
            Self::Direct(exporter) => drop(exporter.stop(limit)),
            Self::Spooled(member) => member.leave(limit),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_spools_for_one_receiver_add_up() {
        let one = |n: u64, oldest_ms: u64, connected: bool| {
            let waiting = Waiting { records: 3 * n, bytes: n, oldest_ms, connected };
            Account {
                destination: "mqtt://broker:1883".into(),
                stats: Stats { written: n, dropped: n, errors: n, bytes: n, waiting: Some(waiting) },
                spool: SpoolStats {
                    accepted: 9 * n,
                    dropped: [0, n, 0, 0],
                    waiting_on_disk: [n, 2 * n, 0, 0],
                    oldest_utc_ms: Some(oldest_ms).filter(|at| *at > 0),
                    ..SpoolStats::default()
                },
                limit_bytes: 100 * n,
            }
        };
        let mut sum = one(1, 0, true);
        sum.add(&one(2, 50, false));
        assert_eq!(sum, Account { destination: "mqtt://broker:1883".into(), ..one(3, 50, false) });
    }
}
