//! A JPEG picture now and then.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use super::over::Over;
use super::report::Report;
use super::series::Series;
use crate::site::live::feed::Feed;
use crate::site::live::intake::fresh;
use crate::site::live::snapshot;
use crate::whole;

/// How long a picture is waited for.
const WAIT: Duration = Duration::from_secs(2);
/// How long compressing it may take.
const LIMIT: Duration = Duration::from_secs(10);

/// A thread that writes a picture now and then.
pub struct Snapshots {
    stop: Sender<()>,
    done: Receiver<bool>,
}

impl Snapshots {
    /// Writes the picture of `feed` to `path` each time that `every` has gone by.
    pub fn start(path: &Path, every: Duration, most: Option<u32>, report: &Arc<Report>, feed: &Arc<Feed>) -> Self {
        let ((stop, stopped), (finished, done)) = (channel(), channel());
        let writer = Writer { path: path.to_owned(), series: Series::new(path, most), last: None };
        let (report, feed) = (Arc::clone(report), Arc::clone(feed));
        let failed = Arc::clone(&report);
        let work = move || {
            writer.run(&stopped, every.max(Duration::from_millis(100)), &report, &feed);
            let _ = finished.send(true);
        };
        if let Err(err) = std::thread::Builder::new().name("vigil-snapshot".into()).spawn(work) {
            failed.set_error(&format!("no thread can be started: {err}"));
        }
        Self { stop, done }
    }

    /// Has it end, without waiting for a picture that it is writing.
    pub fn end(self) -> Over {
        drop(self.stop);
        Over::new(Some(self.done))
    }
}

struct Writer {
    path: PathBuf,
    series: Series,
    /// When the last picture was there.
    last: Option<gst::ClockTime>,
}

impl Writer {
    fn run(mut self, stopped: &Receiver<()>, every: Duration, report: &Report, feed: &Arc<Feed>) {
        let mut due = Instant::now();
        while stopped.recv_timeout(due.saturating_duration_since(Instant::now())) == Err(RecvTimeoutError::Timeout) {
            report.set_active(true);
            match self.write(feed) {
                Ok(true) => {
                    report.counts.frame();
                    report.set_error("");
                }
                // A camera that is away has its own state.
                Ok(false) => {}
                Err(text) => report.set_error(&text),
            }
            report.set_active(false);
            due = (due + every).max(Instant::now());
        }
    }

    /// `false` if there is no new picture.
    fn write(&mut self, feed: &Arc<Feed>) -> Result<bool, String> {
        let Some(frame) = fresh(feed, WAIT).filter(|frame| self.last != Some(frame.at)) else { return Ok(false) };
        let bytes = snapshot::jpeg(&frame, LIMIT)?;
        self.series.prepare()?;
        let path = if self.series.is_numbered() { self.series.next() } else { self.path.clone() };
        whole::write(&path, &bytes).map_err(|err| format!("{} cannot be written: {err}", path.display()))?;
        self.last = Some(frame.at);
        Ok(true)
    }
}
