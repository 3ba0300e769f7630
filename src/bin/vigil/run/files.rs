//! Has the description read again when one of its files was written, or put in another's place.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use notify::event::{AccessKind, AccessMode};
use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher};

use super::shared::{Cause, Shared, Wish};

/// So long nothing more must happen before the files are read.
const QUIET: Duration = Duration::from_millis(300);
/// So long it is put off at most.
const LONGEST: Duration = Duration::from_secs(3);

/// Watches the folders of a description's files: a file may be replaced by another one, and new ones may come.
pub struct Files {
    watcher: RecommendedWatcher,
    folders: BTreeSet<PathBuf>,
    files: Arc<Mutex<BTreeSet<PathBuf>>>,
}

impl Files {
    /// Starts, with nothing to watch yet.
    ///
    /// # Errors
    /// A text, if the system cannot do it.
    pub fn start(shared: &Arc<Shared>) -> Result<Self, String> {
        let (written, writes) = channel();
        let files = Arc::new(Mutex::new(BTreeSet::new()));
        let watched = Arc::clone(&files);
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            if event.is_ok_and(|event| concerns(&event, &watched.lock().unwrap_or_else(PoisonError::into_inner))) {
                let _ = written.send(());
            }
        });
        let watcher = watcher.map_err(|error| error.to_string())?;
        let shared = Arc::clone(shared);
        let thread = std::thread::Builder::new().name("vigil-files".into());
        thread.spawn(move || gather(&writes, &shared)).map_err(|error| error.to_string())?;
        Ok(Self { watcher, folders: BTreeSet::new(), files })
    }

    /// Watches `files`, and folders in which patterns look for more, from now on.
    pub fn follow(&mut self, files: &[PathBuf], patterns: &[PathBuf]) {
        let folders = files.iter().chain(patterns).flat_map(|path| folders_of(path)).collect::<BTreeSet<_>>();
        for gone in self.folders.difference(&folders) {
            let _ = self.watcher.unwatch(gone);
        }
        let mut watched = BTreeSet::new();
        for folder in folders {
            let known = self.folders.contains(&folder);
            match if known { Ok(()) } else { self.watcher.watch(&folder, RecursiveMode::NonRecursive) } {
                Ok(()) => {
                    watched.insert(folder);
                }
                Err(error) => tracing::warn!("changes in {} are not seen: {error}", folder.display()),
            }
        }
        self.folders = watched;
        *self.files.lock().unwrap_or_else(PoisonError::into_inner) = files.iter().cloned().collect();
    }
}

/// The folders that tell of a file: its own, and the one of what it is a link to. None for a pattern in place of a folder.
fn folders_of(path: &Path) -> Vec<PathBuf> {
    let parent = |path: &Path| {
        let folder = path.parent()?;
        let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        folder.is_dir().then(|| folder.to_path_buf())
    };
    let target = std::fs::canonicalize(path).ok();
    parent(path).into_iter().chain(target.as_deref().and_then(parent)).collect()
}

/// Whether something that happened in a watched folder may have changed the description.
fn concerns(event: &notify::Event, files: &BTreeSet<PathBuf>) -> bool {
    let reads = matches!(event.kind, EventKind::Access(kind) if kind != AccessKind::Close(AccessMode::Write));
    if reads {
        return false;
    }
    let concerned = |path: &PathBuf| {
        let name = path.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
        // `..data` is the link that Kubernetes turns to another folder.
        let format = path.extension().is_some_and(|extension| extension == "toml" || extension == "json");
        format || files.contains(path) || name.starts_with("..")
    };
    event.need_rescan() || event.paths.iter().any(concerned)
}

/// Waits until writes are over, and has the description read.
fn gather(writes: &Receiver<()>, shared: &Shared) {
    while writes.recv().is_ok() {
        let first = Instant::now();
        loop {
            match writes.recv_timeout(QUIET) {
                Ok(()) if first.elapsed() < LONGEST => {}
                Err(RecvTimeoutError::Disconnected) => return,
                _ => break,
            }
        }
        if !shared.reload(Cause::File) {
            return;
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may")]
mod tests {
    use super::*;
    use notify::event::{CreateKind, DataChange, ModifyKind};

    #[test]
    fn only_what_is_written_to_descriptions_counts() {
        let files = BTreeSet::from([PathBuf::from("/etc/vigil/site")]);
        let seen = |kind, path: &str| concerns(&notify::Event::new(kind).add_path(path.into()), &files);
        let modified = EventKind::Modify(ModifyKind::Data(DataChange::Any));
        assert!(seen(modified, "/etc/vigil/site"));
        assert!(seen(modified, "/etc/vigil/cameras.d/new.toml"));
        assert!(seen(EventKind::Create(CreateKind::Any), "/etc/vigil/..data"));
        assert!(seen(EventKind::Access(AccessKind::Close(AccessMode::Write)), "/etc/vigil/a.json"));
        assert!(!seen(EventKind::Access(AccessKind::Open(AccessMode::Any)), "/etc/vigil/site"));
        assert!(!seen(EventKind::Access(AccessKind::Close(AccessMode::Read)), "/etc/vigil/a.toml"));
        assert!(!seen(modified, "/etc/vigil/gate.jpg"));
    }

    #[test]
    fn a_replaced_file_is_seen_as_one_change() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("site.toml");
        std::fs::write(&file, "a = 1").unwrap();
        let (wish, wishes) = channel();
        let shared = Arc::new(Shared::new("site.toml".into(), wish));
        let mut watched = Files::start(&shared).unwrap();
        watched.follow(std::slice::from_ref(&file), &[folder.path().join("*.toml")]);
        let new = folder.path().join("new.tmp");
        std::fs::write(&new, "a = 2").unwrap();
        std::fs::rename(&new, &file).unwrap();
        let wish = wishes.recv_timeout(Duration::from_secs(60)).unwrap();
        assert!(matches!(wish, Wish::Reload(Cause::File)));
        std::fs::write(folder.path().join("picture.jpg"), "x").unwrap();
        assert!(wishes.recv_timeout(QUIET * 3).is_err(), "one change, and no other");
    }
}
