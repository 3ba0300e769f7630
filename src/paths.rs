//! Where things are found on this machine.
use std::path::{Path, PathBuf};

/// Candidates.
pub fn runtime_candidates(explicit: Option<&Path>, plugin_dir: Option<&Path>) -> Vec<PathBuf> {
    let _ = plugin_dir;
    explicit.map(Path::to_path_buf).or_else(|| std::env::var_os("VIGIL_ORT_LIBRARY").map(Into::into)).into_iter().collect()
}
