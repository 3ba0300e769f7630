//! A camera's or a tile's output at work.
//!
//! Each is a pipeline of its own behind a [`Feed`], with a thread that looks after it: what is wrong (a full disk, a folder
//! that is gone, an encoder that the machine has not) is in its status and told by an event, and it is tried again with growing
//! pauses. Pictures are handed over without being copied; those that it has no time for are dropped and counted.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::feed::Feed;
use super::outlets::display::Display;
use super::outlets::file::File;
use super::outlets::hls::{Hls, PLAYLIST};
use super::outlets::over::{GRACE, Over};
use super::outlets::pipe::Pipe;
use super::outlets::report::Report;
use super::outlets::series::Series;
use super::outlets::snapshots::Snapshots;
use super::rtsp::{Mount, Server};
use crate::site::description::RtspServer;
use crate::site::events::Events;
use crate::site::output::Output;
use crate::site::plan::Plan;
use crate::site::status::OutputStatus;

/// What the outputs of a site share.
pub struct Outlets {
    events: Arc<Events>,
    server: Arc<Server>,
}

impl Outlets {
    /// For a site whose RTSP server is as `plan` says. It starts with the first mount.
    pub fn new(plan: &Plan, events: Arc<Events>) -> Arc<Self> {
        Arc::new(Self { events, server: Server::new(plan.rtsp.clone()) })
    }

    /// Makes the RTSP server what `server` says: if that is something else than before, it starts anew, and its clients
    /// have to come again.
    pub fn set_rtsp(&self, server: &RtspServer) {
        self.server.set(server);
    }

    /// Starts `output` for the camera `name`. It never fails: what is wrong is in its status, and is tried again.
    pub fn start(self: &Arc<Self>, name: &str, output: &Output, feed: &Arc<Feed>) -> Outlet {
        self.begin(Some(name), name, output, feed)
    }

    /// Starts `output` for the tile `name`: its events are the site's, not a camera's.
    pub fn start_tile(self: &Arc<Self>, name: &str, output: &Output, feed: &Arc<Feed>) -> Outlet {
        self.begin(None, name, output, feed)
    }

    fn begin(self: &Arc<Self>, camera: Option<&str>, name: &str, output: &Output, feed: &Arc<Feed>) -> Outlet {
        let (kind, target) = described(output);
        let report = Report::new(&self.events, camera, name, kind, target);
        let work = match output {
            Output::File { path, segment, max_files, encode } => {
                let kind = File::new(Series::new(path, *max_files), *segment, encode);
                Work::Pipe(Pipe::start(kind, &report, feed))
            }
            Output::Hls { folder, segment, max_files, encode } => {
                Work::Pipe(Pipe::start(Hls::new(folder, *segment, *max_files, encode), &report, feed))
            }
            Output::Display {} => Work::Pipe(Pipe::start(Display, &report, feed)),
            Output::Snapshot { path, every, max_files } => {
                Work::Snapshots(Snapshots::start(path, every.0, *max_files, &report, feed))
            }
            Output::Rtsp { mount, encode } => Work::Mount(self.server.mount(mount, encode, &report, feed)),
        };
        Outlet { output: output.clone(), report, work }
    }
}

enum Work {
    Pipe(Pipe),
    Snapshots(Snapshots),
    Mount(Mount),
}

/// An output at work.
pub struct Outlet {
    output: Output,
    report: Arc<Report>,
    work: Work,
}

impl Outlet {
    /// What it was made from.
    pub fn output(&self) -> &Output {
        &self.output
    }

    /// How it is doing.
    pub fn status(&self) -> OutputStatus {
        self.report.status()
    }

    /// Ends it, with its file closed as it should be; `false` if that took longer than `limit`, and it was left.
    pub fn stop(self, limit: Duration) -> bool {
        Self::stop_all(vec![self], limit)
    }

    /// Ends many at once: one that hangs takes none of the others' time. `false` if one took longer than `limit`, and was left.
    pub fn stop_all(outlets: Vec<Self>, limit: Duration) -> bool {
        let until = Instant::now() + limit + GRACE;
        let ends: Vec<_> = outlets.into_iter().map(|outlet| outlet.end(limit)).collect();
        // All are waited for, also behind one that is not whole.
        ends.into_iter().filter(|end| !end.wait(until)).count() == 0
    }

    fn end(self, limit: Duration) -> Over {
        match self.work {
            Work::Pipe(pipe) => pipe.end(limit),
            Work::Snapshots(snapshots) => snapshots.end(),
            // There is nothing to wait for: its clients are the server's business.
            Work::Mount(mount) => {
                drop(mount);
                Over::new(None)
            }
        }
    }
}

/// An output's kind, as the description names it, and where it goes.
fn described(output: &Output) -> (&'static str, String) {
    match output {
        Output::File { path, .. } => ("file", path.display().to_string()),
        Output::Rtsp { mount, .. } => ("rtsp", mount.clone()),
        Output::Hls { folder, .. } => ("hls", folder.join(PLAYLIST).display().to_string()),
        Output::Snapshot { path, .. } => ("snapshot", path.display().to_string()),
        Output::Display {} => ("display", String::new()),
    }
}
