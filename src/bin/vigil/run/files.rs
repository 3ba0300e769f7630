//! Has the description read again when one of its files was written, or put in another's place.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use notify::event::{AccessKind, AccessMode, ModifyKind};
use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher};

use super::shared::{Cause, Shared};

/// So long nothing more must happen before the files are read.
const QUIET: Duration = Duration::from_millis(300);
/// So long it is put off at most.
const LONGEST: Duration = Duration::from_secs(3);

/// What is looked for.
#[derive(Default)]
struct Wanted {
    /// The description's files.
    files: BTreeSet<PathBuf>,
    /// The folders that they are in, and in which patterns look for more, whether they are there or not.
    folders: BTreeSet<PathBuf>,
}

/// Watches the folders of a description's files: a file may be replaced by another one, and new ones may come. The folders around those
/// are watched too, since a folder may be replaced as well.
pub struct Files {
    watcher: RecommendedWatcher,
    written: Sender<()>,
    /// What is watched; of a folder that is looked for, which one it was.
    watched: BTreeMap<PathBuf, Option<Identity>>,
    wanted: Arc<Mutex<Wanted>>,
}

/// Device and inode of a folder.
type Identity = (u64, u64);

impl Files {
    /// Starts, with nothing to watch yet.
    ///
    /// # Errors
    /// A text, if the system cannot do it.
    pub fn start(shared: &Arc<Shared>) -> Result<Self, String> {
        let (written, writes) = channel();
        let wanted = Arc::<Mutex<Wanted>>::default();
        let watcher = {
            let (wanted, written) = (Arc::clone(&wanted), written.clone());
            notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
                if event.is_ok_and(|event| wanted.lock().unwrap_or_else(PoisonError::into_inner).concerns(&event)) {
                    let _ = written.send(());
                }
            })
        };
        let watcher = watcher.map_err(|error| error.to_string())?;
        let shared = Arc::clone(shared);
        let thread = std::thread::Builder::new().name("vigil-files".into());
        thread.spawn(move || gather(&writes, &shared)).map_err(|error| error.to_string())?;
        Ok(Self { watcher, written, watched: BTreeMap::new(), wanted })
    }

    /// Watches `files`, and folders in which patterns look for more, from now on.
    pub fn follow(&mut self, files: &[PathBuf], patterns: &[PathBuf]) {
        let folders = files.iter().chain(patterns).flat_map(|path| folders_of(path)).collect::<BTreeSet<_>>();
        let around = folders.iter().filter_map(|folder| folder.parent()).filter(|folder| folder.is_dir());
        let all: BTreeSet<PathBuf> = folders.iter().cloned().chain(around.map(Path::to_path_buf)).collect();
        *self.wanted.lock().unwrap_or_else(PoisonError::into_inner) =
            Wanted { files: files.iter().cloned().collect(), folders: folders.clone() };
        let before = std::mem::take(&mut self.watched);
        for gone in before.keys().filter(|folder| !all.contains(*folder)) {
            let _ = self.watcher.unwatch(gone);
        }
        let mut replaced = false;
        for folder in all {
            let identity = folder.metadata().ok().filter(Metadata::is_dir).map(|is| (is.dev(), is.ino()));
            // Each time: another folder may be in its place, which the system does not watch.
            if identity.is_some()
                && let Err(error) = self.watcher.watch(&folder, RecursiveMode::NonRecursive)
            {
                tracing::warn!("changes in {} are not seen: {error}", folder.display());
                continue;
            }
            let new = before.get(&folder).is_some_and(|known| *known != identity);
            replaced |= new && folders.contains(&folder);
            self.watched.insert(folder, identity);
        }
        if replaced {
            // What was written to the new one before it was watched has been told by nobody.
            let _ = self.written.send(());
        }
    }
}

/// The folders that tell of a file: its own, and the one of what it is a link to. None for a pattern in place of a folder.
fn folders_of(path: &Path) -> Vec<PathBuf> {
    let parent = |path: &Path| {
        let folder = path.parent()?;
        let is_pattern = !folder.is_dir() && folder.to_string_lossy().contains(['*', '?', '[']);
        let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        (!is_pattern).then(|| folder.to_path_buf())
    };
    let target = std::fs::canonicalize(path).ok();
    parent(path).into_iter().chain(target.as_deref().and_then(parent)).collect()
}

impl Wanted {
    /// Whether something that happened in a watched folder may have changed the description.
    fn concerns(&self, event: &notify::Event) -> bool {
        let reads = matches!(event.kind, EventKind::Access(kind) if kind != AccessKind::Close(AccessMode::Write));
        if reads {
            return false;
        }
        // Times and rights of a folder say nothing of what is in it.
        let moves = matches!(
            event.kind,
            EventKind::Create(_) | EventKind::Remove(_) | EventKind::Modify(ModifyKind::Name(_)) | EventKind::Any
        );
        let concerned = |path: &PathBuf| {
            let name = path.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
            // `..data` is the link that Kubernetes turns to another folder.
            let named = path.extension().is_some_and(|extension| extension == "toml" || extension == "json")
                || name.starts_with("..");
            let inside = path.parent().is_some_and(|folder| self.folders.contains(folder));
            self.files.contains(path) || (named && inside) || (moves && self.folders.contains(path))
        };
        event.need_rescan() || event.paths.iter().any(concerned)
    }
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
    use crate::run::shared::Wish;
    use notify::event::{CreateKind, DataChange, MetadataKind, RemoveKind, RenameMode};

    #[test]
    fn only_what_is_written_to_descriptions_counts() {
        let folders = ["/etc/vigil", "/etc/vigil/cameras.d"].map(PathBuf::from);
        let wanted = Wanted { files: ["/etc/vigil/site".into()].into(), folders: folders.into() };
        let seen = |kind, path: &str| wanted.concerns(&notify::Event::new(kind).add_path(path.into()));
        let modified = EventKind::Modify(ModifyKind::Data(DataChange::Any));
        assert!(seen(modified, "/etc/vigil/site"));
        assert!(seen(modified, "/etc/vigil/cameras.d/new.toml"));
        assert!(seen(EventKind::Create(CreateKind::Any), "/etc/vigil/..data"));
        assert!(seen(EventKind::Access(AccessKind::Close(AccessMode::Write)), "/etc/vigil/a.json"));
        assert!(!seen(EventKind::Access(AccessKind::Open(AccessMode::Any)), "/etc/vigil/site"));
        assert!(!seen(EventKind::Access(AccessKind::Close(AccessMode::Read)), "/etc/vigil/a.toml"));
        assert!(!seen(modified, "/etc/vigil/gate.jpg"));
        assert!(!seen(modified, "/etc/other.toml"), "of the folder around it only the folder counts");
        assert!(seen(EventKind::Remove(RemoveKind::Folder), "/etc/vigil/cameras.d"));
        assert!(seen(EventKind::Modify(ModifyKind::Name(RenameMode::To)), "/etc/vigil/cameras.d"));
        assert!(!seen(EventKind::Modify(ModifyKind::Metadata(MetadataKind::Any)), "/etc/vigil/cameras.d"));
    }

    /// What follows `site.toml` and `more/*.toml` in a folder.
    fn followed() -> (tempfile::TempDir, Files, impl Fn(Duration) -> bool, impl Fn(&mut Files)) {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("site")).unwrap();
        let file = folder.path().join("site/site.toml");
        std::fs::write(&file, "a = 1").unwrap();
        let (wish, wishes) = channel();
        let shared = Arc::new(Shared::new("site.toml".into(), wish));
        let mut watched = Files::start(&shared).unwrap();
        let pattern = folder.path().join("site/more/*.toml");
        let follow =
            move |watched: &mut Files| watched.follow(std::slice::from_ref(&file), std::slice::from_ref(&pattern));
        follow(&mut watched);
        let wished = move |limit| {
            let wish = wishes.recv_timeout(limit);
            shared.reading(Cause::File);
            wish.is_ok_and(|wish| matches!(wish, Wish::Reload(Cause::File)))
        };
        (folder, watched, wished, follow)
    }

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn a_replaced_file_is_seen_as_one_change() {
        let (folder, _watched, wished, _) = followed();
        let new = folder.path().join("site/new.tmp");
        std::fs::write(&new, "a = 2").unwrap();
        std::fs::rename(&new, folder.path().join("site/site.toml")).unwrap();
        assert!(wished(LONG));
        std::fs::write(folder.path().join("site/picture.jpg"), "x").unwrap();
        assert!(!wished(QUIET * 3), "one change, and no other");
    }

    #[test]
    fn a_folder_that_comes_or_is_replaced_is_watched_again() {
        let (folder, mut watched, wished, follow) = followed();
        let more = folder.path().join("site/more");
        std::fs::create_dir(&more).unwrap();
        assert!(wished(LONG), "it was looked for");
        follow(&mut watched);
        while wished(QUIET * 3) {}
        std::fs::write(more.join("a.toml"), "x").unwrap();
        assert!(wished(LONG));

        std::fs::rename(&more, folder.path().join("old")).unwrap();
        std::fs::create_dir(&more).unwrap();
        assert!(wished(LONG), "another one is in its place");
        follow(&mut watched);
        while wished(QUIET * 3) {}
        std::fs::write(more.join("b.toml"), "x").unwrap();
        assert!(wished(LONG), "and is watched");
    }
}
