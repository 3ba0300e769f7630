//! What the machine says of itself, for all of a site that tell it.

use std::sync::Arc;
use std::time::Instant;

use super::{Inner, Site};
use crate::gstutil::lock;
use crate::site::folders;
use crate::telemetry::device::{Reading, Watch};

impl Site {
    /// What the machine said of itself last: it is read every 10 s, from the first call on, with the free space of folders that the site
    /// writes to. `None` before the first reading, and if it has not answered for a minute; this waits for nothing.
    pub fn machine(&self) -> Option<Reading> {
        self.0.machine.get_or_init(|| start(&self.0)).as_ref()?.last(Instant::now())
    }
}

/// Starts to read the machine; `None` if the system gives no thread.
fn start(inner: &Arc<Inner>) -> Option<Watch> {
    let (of, told) = (Arc::downgrade(inner), Arc::downgrade(inner));
    let folders = move || {
        let plan = of.upgrade().and_then(|inner| lock(&inner.state).plan.clone());
        folders::written(plan.as_deref())
    };
    let failed = move || {
        if let Some(inner) = told.upgrade() {
            warn(&inner, "the machine could not be read, and its figures are missing: please report this");
        }
    };
    let started = Watch::start(folders, failed);
    started.inspect_err(|error| warn(inner, &format!("the machine is not read, its figures are missing: {error}"))).ok()
}

fn warn(inner: &Inner, text: &str) {
    inner.events.tell(None, "warning", serde_json::json!({ "text": text }));
}
