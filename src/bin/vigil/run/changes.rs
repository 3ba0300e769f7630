//! What was changed through the API: it lies over the description, camera by camera, until it is forgotten.
//!
//! The user's files are never written. What is to outlive the process is in a file of its own.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

use gstvigil::site::description::{Camera, Description, FORMAT, Properties, Scalar};
use gstvigil::site::problem::Problems;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What was changed of one camera.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Change {
    /// The camera was removed: the description's is not there.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub removed: bool,
    /// Whether it runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// The camera as it was added or replaced: it stands in for the description's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub camera: Option<Camera>,
    /// Models that were swapped, by stage.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub model: BTreeMap<String, String>,
}

impl Change {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Puts the change over what the description says of camera `id`.
    fn lay(&self, description: &mut Description, id: &str) {
        if self.removed {
            description.camera.remove(id);
        }
        if let Some(camera) = &self.camera {
            description.camera.insert(id.to_owned(), camera.clone());
        }
        let Some(camera) = description.camera.get_mut(id) else { return };
        if let Some(enabled) = self.enabled {
            camera.enabled = Some(enabled);
        }
        for (stage, model) in &self.model {
            let properties: &mut Properties = camera.stage.entry(stage.clone()).or_default();
            properties.insert("model".into(), Scalar::Text(model.clone()));
        }
    }
}

/// What was changed, by camera.
pub type ByCamera = BTreeMap<String, Change>;

/// The file of changes that outlive the process.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    format: u32,
    #[serde(default)]
    camera: ByCamera,
}

/// All changes.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Changes {
    /// Those that outlive the process.
    pub kept: ByCamera,
    /// Those that do not. What is here of a camera is all that is changed of it.
    pub passing: ByCamera,
    /// Those that outlive the process and with which the site did not check when it was started: they count for nothing, and stay in
    /// their file until they check or are forgotten.
    pub left_out: ByCamera,
}

impl Changes {
    /// What is changed of a camera.
    pub fn of(&self, id: &str) -> Change {
        self.passing.get(id).or_else(|| self.kept.get(id)).cloned().unwrap_or_default()
    }

    /// What is changed, by camera.
    pub fn all(&self) -> ByCamera {
        let mut all = self.kept.clone();
        all.extend(self.passing.iter().map(|(id, change)| (id.clone(), change.clone())));
        all
    }

    /// What is written for the next start.
    pub fn written(&self) -> ByCamera {
        let mut written = self.left_out.clone();
        written.extend(self.kept.iter().map(|(id, change)| (id.clone(), change.clone())));
        written
    }

    /// The same with an edit of what is changed of camera `id`, that outlives the process if `persist`: what was passing before stays so.
    pub fn with(&self, id: &str, persist: bool, edit: impl Fn(&mut Change)) -> Self {
        let mut changes = self.clone();
        if persist {
            changes.left_out.remove(id);
            edit(changes.kept.entry(id.to_owned()).or_default());
            changes.passing.get_mut(id).into_iter().for_each(edit);
        } else {
            let mut change = changes.of(id);
            edit(&mut change);
            changes.passing.insert(id.to_owned(), change);
        }
        changes.kept.retain(|_, change| !change.is_empty());
        // What says nothing has a meaning where it hides what is kept.
        let Self { kept, passing, .. } = &mut changes;
        passing.retain(|id, change| *change != kept.get(id).cloned().unwrap_or_default());
        changes
    }

    /// The same without the changes of camera `id`, or of all cameras.
    pub fn without(&self, id: Option<&str>) -> Self {
        let Some(id) = id else { return Self::default() };
        let mut changes = self.clone();
        for changes in [&mut changes.kept, &mut changes.passing, &mut changes.left_out] {
            changes.remove(id);
        }
        changes
    }

    /// The same with all that was left out.
    pub fn complete(&self) -> Self {
        Self { kept: self.written(), passing: self.passing.clone(), left_out: ByCamera::new() }
    }

    /// Leaves out the kept changes of the cameras that errors of the description are about; if that is none of them, all.
    pub fn leave_out(&mut self, problems: &Problems) {
        let is_bad = |id: &str| problems.wrong().any(|problem| is_of(&problem.key, id));
        let any = self.kept.keys().any(|id| is_bad(id));
        let bad = self.kept.extract_if(.., |id, _| !any || is_bad(id));
        self.left_out.extend(bad);
    }

    /// Puts all changes over a description.
    pub fn lay(&self, description: &mut Description) {
        self.all().iter().for_each(|(id, change)| change.lay(description, id));
    }

    /// Tells of a key of the description with the changes over it whether it stands in no file: it is of a camera that was added or
    /// replaced.
    pub fn unwritten(&self) -> impl Fn(&str) -> bool + use<> {
        let whole = self.all().into_iter().filter(|(_, change)| change.camera.is_some());
        let ids: Vec<String> = whole.map(|(id, _)| id).collect();
        move |key| ids.iter().any(|id| is_of(key, id))
    }
}

/// Whether a key of a description is the camera `id`, or of it.
fn is_of(key: &str, id: &str) -> bool {
    let rest = key.strip_prefix("camera.").and_then(|key| key.strip_prefix(id));
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// Where changes are kept that outlive the process.
#[derive(Debug, Clone)]
pub struct Shelf(PathBuf);

impl Shelf {
    /// In `file`; without one in the service's state folder, which the service manager names, or beside the description.
    pub fn new(file: Option<PathBuf>, description: &Path) -> Self {
        if let Some(file) = file {
            return Self(file);
        }
        let name = description.file_stem().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let state = std::env::var_os("STATE_DIRECTORY").map(PathBuf::from).filter(|folder| folder.is_absolute());
        let folder = state.unwrap_or_else(|| description.parent().map(Path::to_path_buf).unwrap_or_default());
        Self(folder.join(format!("{name}.changes")))
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// What is kept; nothing if there is no file.
    ///
    /// # Errors
    /// A text, if there is a file and it cannot be used.
    pub fn read(&self) -> Result<ByCamera, String> {
        let wrong = |error: String| format!("changes made through the API, {}: {error}", self.0.display());
        let text = match std::fs::read_to_string(&self.0) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(ByCamera::new()),
            Err(error) => return Err(wrong(error.to_string())),
        };
        let kept: Kept = toml::from_str(&text).map_err(|error| wrong(error.to_string()))?;
        if kept.format != FORMAT {
            return Err(wrong(format!("format {} is not the one of this version, {FORMAT}", kept.format)));
        }
        Ok(kept.camera)
    }

    /// Writes `kept`: after a power cut the file is the old one or the new one. Without changes there is no file.
    ///
    /// # Errors
    /// A text, if it cannot be written.
    pub fn write(&self, kept: &ByCamera) -> Result<(), String> {
        let wrong = |error: std::io::Error| {
            format!(
                "the change cannot be kept in {}: {error}; without persist it lasts until the end",
                self.0.display()
            )
        };
        let folder = self.0.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
        if kept.is_empty() {
            match std::fs::remove_file(&self.0) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(wrong(error)),
                _ => return sync(folder).map_err(wrong),
            }
        }
        let body =
            toml::to_string(&Kept { format: FORMAT, camera: kept.clone() }).map_err(|error| error.to_string())?;
        let text = format!("# Written by `vigil run`: what was changed through its API and persists.\n{body}");
        let write = || -> std::io::Result<()> {
            let mut name = self.0.clone().into_os_string();
            name.push(".new");
            let new = PathBuf::from(name);
            let mut file = std::fs::File::create(&new)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            std::fs::rename(&new, &self.0)?;
            sync(folder)
        };
        write().map_err(wrong)
    }
}

fn sync(folder: &Path) -> std::io::Result<()> {
    std::fs::File::open(folder)?.sync_all()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may")]
mod tests {
    use super::*;

    fn camera(uri: &str) -> Camera {
        Camera { uri: Some(uri.into()), ..Camera::default() }
    }

    fn described() -> Description {
        toml::from_str("format = 1\nname = \"s\"\ncamera.a.uri = \"test:ball\"\ncamera.b.uri = \"test:snow\"\n")
            .unwrap()
    }

    #[test]
    fn a_change_lies_over_what_the_description_says_of_its_camera_alone() {
        let changes = Changes::default()
            .with("a", true, |change| change.removed = true)
            .with("b", false, |change| {
                change.enabled = Some(false);
                change.model = [("infer".to_owned(), "other".to_owned())].into();
            })
            .with("c", false, |change| (change.camera, change.enabled) = (Some(camera("test:smpte")), Some(false)));
        let mut description = described();
        changes.lay(&mut description);
        assert_eq!(description.camera.keys().collect::<Vec<_>>(), ["b", "c"]);
        let b = &description.camera["b"];
        assert_eq!((b.uri.as_deref(), b.enabled), (Some("test:snow"), Some(false)));
        assert_eq!(b.stage["infer"]["model"], Scalar::Text("other".into()));
        assert_eq!(description.camera["c"].enabled, Some(false));

        let unwritten = changes.unwritten();
        assert!(unwritten("camera.c") && unwritten("camera.c.stage.infer"));
        assert!(!unwritten("camera.cc.uri") && !unwritten("camera.b.enabled"), "another one; a part only");

        let mut again = described();
        changes.without(Some("a")).without(Some("b")).without(Some("c")).lay(&mut again);
        assert_eq!(again, described());
        assert_eq!(changes.without(None), Changes::default());
    }

    fn off(change: &mut Change) {
        change.enabled = Some(false);
    }

    fn nothing(change: &mut Change) {
        *change = Change::default();
    }

    #[test]
    fn a_passing_change_hides_a_kept_one_until_it_is_forgotten() {
        let changes = Changes::default().with("a", true, off).with("a", false, nothing);
        assert_eq!((changes.of("a"), changes.kept["a"].enabled), (Change::default(), Some(false)));
        assert_eq!(changes.with("a", true, off).of("a").enabled, Some(false));
        let nothing = changes.with("a", true, nothing);
        assert!(nothing.all().is_empty() && nothing == Changes::default(), "nothing is left to say: {nothing:?}");
    }

    #[test]
    fn what_is_passing_stays_so_beside_what_is_kept() {
        let replaced = |change: &mut Change| change.camera = Some(camera("test:smpte"));
        let changes = Changes::default().with("a", false, replaced).with("a", true, off);
        assert_eq!(changes.kept["a"], Change { enabled: Some(false), ..Change::default() });
        assert_eq!((changes.of("a").camera, changes.of("a").enabled), (Some(camera("test:smpte")), Some(false)));
        // A model that is confirmed over a camera that was switched off for now.
        let swap = |change: &mut Change| _ = change.model.insert("infer".into(), "m".into());
        let changes = Changes::default().with("a", false, off).with("a", true, swap);
        assert_eq!((changes.kept["a"].enabled, changes.of("a").enabled), (None, Some(false)));
        assert_eq!(changes.of("a").model["infer"], "m");
    }

    #[test]
    fn what_does_not_check_is_left_out_and_written_all_the_same() {
        let added = |change: &mut Change| change.camera = Some(camera("test:smpte"));
        let mut changes = Changes::default();
        for id in ["a", "a.b", "c"] {
            changes = changes.with(id, true, added);
        }
        let all = changes.written();
        let mut problems = Problems::default();
        problems.error(&Default::default(), "camera.a.profile", "gone");
        problems.warn(&Default::default(), "camera.c", "odd");
        changes.leave_out(&problems);
        assert_eq!(changes.left_out.keys().collect::<Vec<_>>(), ["a"]);
        assert_eq!((changes.all().len(), changes.written(), changes.complete().kept), (2, all.clone(), all));
        assert!(!changes.with("a", false, off).left_out.is_empty(), "a passing change replaces nothing");
        let replaced = changes.with("a", true, off);
        assert!(replaced.left_out.is_empty() && replaced.written()["a"].camera.is_none());
        assert_eq!(changes.without(Some("a")).written().len(), 2);
        assert_eq!(changes.without(None), Changes::default());

        let mut elsewhere = Problems::default();
        elsewhere.error(&Default::default(), "tile.all", "wrong");
        changes.leave_out(&elsewhere);
        assert_eq!((changes.kept.len(), changes.left_out.len()), (0, 3), "whose it is, nobody knows");
    }

    #[test]
    fn kept_changes_are_read_as_they_were_written() {
        let folder = tempfile::tempdir().unwrap();
        let shelf = Shelf::new(None, &folder.path().join("site.toml"));
        assert_eq!(shelf.path(), folder.path().join("site.changes"));
        assert_eq!(shelf.read().unwrap(), ByCamera::new());
        let mut new = camera("test:smpte");
        new.stage.entry("infer".into()).or_default().insert("interval".into(), Scalar::Integer(3));
        let changes = Changes::default()
            .with("c.d", true, |change| (change.camera, change.enabled) = (Some(new.clone()), Some(true)));
        shelf.write(&changes.kept).unwrap();
        assert_eq!(shelf.read().unwrap(), changes.kept);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing else is left");
        shelf.write(&ByCamera::new()).unwrap();
        assert!(!shelf.path().exists());
        shelf.write(&ByCamera::new()).unwrap();

        std::fs::write(shelf.path(), "format = 1\ncamera.a.enabeld = true\n").unwrap();
        assert!(shelf.read().unwrap_err().contains("enabeld"));
        std::fs::write(shelf.path(), "format = 2\n").unwrap();
        assert!(shelf.read().unwrap_err().contains("format 2"));
    }

    #[test]
    fn a_change_that_cannot_be_kept_says_where() {
        let folder = tempfile::tempdir().unwrap();
        let shelf = Shelf::new(Some(folder.path().join("no/such/file")), Path::new("site.toml"));
        let kept = Changes::default().with("a", true, |change| change.removed = true).kept;
        assert!(shelf.write(&kept).unwrap_err().contains("no/such/file"));
    }
}
