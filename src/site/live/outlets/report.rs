//! How an output is doing, told when it changes.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use serde_json::json;

use crate::gstutil::lock;
use crate::site::events::Events;
use crate::site::live::intake::Counts;
use crate::site::status::OutputStatus;

/// How an output is doing.
pub struct Report {
    events: Arc<Events>,
    /// The camera; `None` for a tile.
    camera: Option<String>,
    /// Of the camera or the tile.
    name: String,
    kind: &'static str,
    target: Mutex<String>,
    active: AtomicBool,
    error: Mutex<String>,
    /// Its pictures.
    pub counts: Arc<Counts>,
}

impl Report {
    /// For an output that has not begun yet.
    pub fn new(
        events: &Arc<Events>,
        camera: Option<&str>,
        name: &str,
        kind: &'static str,
        target: String,
    ) -> Arc<Self> {
        Arc::new(Self {
            events: Arc::clone(events),
            camera: camera.map(str::to_owned),
            name: name.to_owned(),
            kind,
            target: Mutex::new(target),
            active: AtomicBool::new(false),
            error: Mutex::default(),
            counts: Arc::default(),
        })
    }

    /// It takes pictures, or does not.
    pub fn set_active(&self, active: bool) {
        self.active.store(active, Ordering::Relaxed);
    }

    /// Where it goes, once that is known better.
    pub fn set_target(&self, target: String) {
        *lock(&self.target) = target;
    }

    /// Something is wrong with it, or nothing any more where `error` is empty; an event tells of what is new.
    pub fn set_error(&self, error: &str) {
        let changed = {
            let mut known = lock(&self.error);
            let changed = *known != error;
            error.clone_into(&mut known);
            changed
        };
        if changed {
            let state = if error.is_empty() { "working" } else { "failed" };
            self.tell(json!({ "state": state, "text": error }));
        }
    }

    /// Tells an event: `data` with the output's name, kind and target.
    fn tell(&self, mut data: serde_json::Value) {
        let target = lock(&self.target).clone();
        if let Some(fields) = data.as_object_mut() {
            fields.extend([
                ("name".into(), json!(self.name)),
                ("output".into(), json!(self.kind)),
                ("target".into(), json!(target)),
            ]);
        }
        self.events.tell(self.camera.as_deref(), "output", data);
    }

    /// The same as a plain value.
    pub fn status(&self) -> OutputStatus {
        OutputStatus {
            kind: self.kind.into(),
            target: lock(&self.target).clone(),
            active: self.active.load(Ordering::Relaxed),
            frames: self.counts.frames.load(Ordering::Relaxed),
            dropped: self.counts.dropped.load(Ordering::Relaxed),
            error: lock(&self.error).clone(),
        }
    }
}
