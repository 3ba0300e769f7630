//! What the machine says of itself, read now and then on a thread of its own: a sensor, a GPU or a network drive may be slow to answer.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use gstvigil::paths;
use gstvigil::site::output::Output;
use gstvigil::site::plan::{Plan, Value};
use gstvigil::telemetry::device::{Device, Reader, Roots};

use super::shared::Shared;

/// How often the machine is read.
const PERIOD: Duration = Duration::from_secs(10);
/// A reading that is older is none: the machine does not answer any more.
const STALE: Duration = Duration::from_secs(60);

/// The last reading.
#[derive(Default)]
pub struct Reading(Mutex<Option<(Instant, Arc<Device>)>>);

impl Reading {
    /// Keeps one that was made at `now`.
    pub fn set(&self, device: Device, now: Instant) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((now, Arc::new(device)));
    }

    /// The last one; `None` before the first, and if it is too old to say anything.
    pub fn get(&self, now: Instant) -> Option<Arc<Device>> {
        let last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (at, device) = last.as_ref()?;
        (now.saturating_duration_since(*at) <= STALE).then(|| Arc::clone(device))
    }
}

/// Reads the machine again and again. Ends when it is dropped; a reading that hangs is not waited for.
pub struct Watch(#[expect(dead_code, reason = "its end is the thread's end")] Sender<()>);

impl Watch {
    /// Starts.
    ///
    /// # Errors
    /// If the system gives no thread.
    pub fn start(shared: &Arc<Shared>) -> std::io::Result<Self> {
        let (end, ended) = channel();
        let shared = Arc::clone(shared);
        std::thread::Builder::new().name("vigil-device".into()).spawn(move || watch(&shared, &ended))?;
        Ok(Self(end))
    }
}

fn watch(shared: &Shared, ended: &Receiver<()>) {
    let mut of = BTreeSet::new();
    let mut reader: Option<Reader> = None;
    loop {
        let wanted = folders(shared.site.plan().as_deref());
        // Another reader knows nothing of the time since the last reading, so it is made only where it must be.
        if wanted != of {
            (reader, of) = (None, wanted);
        }
        let read = catch_unwind(AssertUnwindSafe(|| {
            reader.get_or_insert_with(|| Reader::new(Roots::default(), of.iter().cloned().collect())).read()
        }));
        match read {
            Ok(device) => shared.machine.set(device, Instant::now()),
            Err(_) => {
                reader = None;
                tracing::error!(
                    "the machine could not be read: its figures are missing in /metrics; please report this"
                );
            }
        }
        if !matches!(ended.recv_timeout(PERIOD), Err(RecvTimeoutError::Timeout)) {
            return;
        }
    }
}

/// Folders whose free space matters: of spools, of the store, and those that outputs write to.
fn folders(plan: Option<&Plan>) -> BTreeSet<PathBuf> {
    let mut folders: BTreeSet<PathBuf> = paths::store_dir().into_iter().collect();
    let Some(plan) = plan else { return folders };
    let stages = || plan.cameras.values().flat_map(|camera| camera.stages());
    let mut spools: BTreeSet<PathBuf> = stages()
        .filter(|stage| stage.factory == "vigilexport")
        .filter_map(|stage| match stage.properties.get("spool")? {
            Value::Text(folder) => Some(PathBuf::from(folder)),
            Value::Secret(_) | Value::Authority(_) => None,
        })
        .collect();
    spools.extend(plan.telemetry.spool.clone());
    if spools.is_empty() {
        spools.extend(paths::spool_dir());
    }
    folders.append(&mut spools);
    let of_cameras = plan.cameras.values().flat_map(|camera| &camera.outputs);
    let of_tiles = plan.tiles.values().flat_map(|tile| &tile.outputs);
    folders.extend(of_cameras.chain(of_tiles).filter_map(folder));
    folders
}

/// Where an output writes to, as far as that is the same for all cameras.
fn folder(output: &Output) -> Option<PathBuf> {
    let folder = match output {
        Output::File { path, .. } | Output::Snapshot { path, .. } => path.parent()?,
        Output::Hls { folder, .. } => folder.as_path(),
        Output::Rtsp { .. } | Output::Display {} => return None,
    };
    let common = folder.ancestors().filter(|folder| !folder.to_string_lossy().contains("{camera}"));
    common
        .map(|folder| if folder.as_os_str().is_empty() { Path::new(".") } else { folder })
        .next()
        .map(Path::to_path_buf)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may")]
mod tests {
    use super::*;

    #[test]
    fn an_old_reading_says_nothing() {
        let (reading, now) = (Reading::default(), Instant::now());
        assert_eq!(reading.get(now), None);
        reading.set(Device { uptime_ns: Some(7), ..Device::default() }, now);
        assert_eq!(reading.get(now + STALE).unwrap().uptime_ns, Some(7));
        assert_eq!(reading.get(now + STALE + Duration::from_secs(1)), None, "a machine that hangs is not what it was");
    }

    #[test]
    fn outputs_of_many_cameras_share_a_folder() {
        let output = |text: &str| folder(&serde_json::from_str(text).unwrap()).map(|path| path.display().to_string());
        assert_eq!(output(r#"{"kind":"file","path":"/srv/rec/{camera}/a.mp4"}"#).as_deref(), Some("/srv/rec"));
        assert_eq!(output(r#"{"kind":"file","path":"{camera}.mp4"}"#).as_deref(), Some("."));
        assert_eq!(output(r#"{"kind":"hls","folder":"/srv/hls"}"#).as_deref(), Some("/srv/hls"));
        assert_eq!(output(r#"{"kind":"rtsp","mount":"/gate"}"#), None);
    }
}
