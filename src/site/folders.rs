//! Folders that a site writes to.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::output::Output;
use super::plan::{Plan, Value};
use crate::paths;

/// Folders whose free space matters: of spools, of the store, and those that outputs write to.
pub fn written(plan: Option<&Plan>) -> BTreeSet<PathBuf> {
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
mod tests {
    use super::*;

    #[test]
    fn outputs_of_many_cameras_share_a_folder() {
        let output = |text: &str| folder(&serde_json::from_str(text).unwrap()).map(|path| path.display().to_string());
        assert_eq!(output(r#"{"kind":"file","path":"/srv/rec/{camera}/a.mp4"}"#).as_deref(), Some("/srv/rec"));
        assert_eq!(output(r#"{"kind":"file","path":"{camera}.mp4"}"#).as_deref(), Some("."));
        assert_eq!(output(r#"{"kind":"hls","folder":"/srv/hls"}"#).as_deref(), Some("/srv/hls"));
        assert_eq!(output(r#"{"kind":"rtsp","mount":"/gate"}"#), None);
    }
}
