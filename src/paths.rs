//! Where things lie on disk: bundles and the ONNX Runtime library.
//!
//! Nothing here opens a file; folders are listed only when a function is called.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// The names a runtime library may have in a folder, before versioned ones.
const RUNTIME_NAMES: [&str; 2] = ["libonnxruntime.so", "libonnxruntime.so.1"];

/// Reads an environment variable; a closure so that tests need not touch the process's environment.
type Var<'a> = &'a dyn Fn(&str) -> Option<OsString>;

fn process_env(name: &str) -> Option<OsString> {
    std::env::var_os(name)
}

/// A variable's value, with an empty one counted as unset (XDG Base Directory Specification).
fn set(var: Var, name: &str) -> Option<PathBuf> {
    var(name).filter(|v| !v.is_empty()).map(PathBuf::from)
}

/// Vigil's own folder: `$VIGIL_HOME`, else `$XDG_DATA_HOME/vigil`, else `$HOME/.local/share/vigil`.
///
/// `None` if none of the three variables is set. The folder may not exist.
pub fn home() -> Option<PathBuf> {
    home_from(&process_env)
}

fn home_from(var: Var) -> Option<PathBuf> {
    set(var, "VIGIL_HOME")
        .or_else(|| set(var, "XDG_DATA_HOME").map(|d| d.join("vigil")))
        .or_else(|| set(var, "HOME").map(|d| d.join(".local/share/vigil")))
}

/// The folders in which a bundle is looked up by its name, first one first: those of `VIGIL_BUNDLE_PATH` (separated by
/// colons), `<home>/bundles`, and the system's. They may not exist.
pub fn bundle_dirs() -> Vec<PathBuf> {
    bundle_dirs_from(&process_env)
}

fn bundle_dirs_from(var: Var) -> Vec<PathBuf> {
    let listed = set(var, "VIGIL_BUNDLE_PATH").map(OsString::from).unwrap_or_default();
    let mut dirs: Vec<PathBuf> = std::env::split_paths(&listed).filter(|d| !d.as_os_str().is_empty()).collect();
    dirs.extend(home_from(var).map(|h| h.join("bundles")));
    dirs.extend(["/usr/local/share/vigil/bundles", "/usr/share/vigil/bundles"].map(PathBuf::from));
    dirs
}

/// The folder of the store of installed bundles: `$VIGIL_STORE`, else `<home>/store`. `None` if there is neither; it may
/// not exist.
pub fn store_dir() -> Option<PathBuf> {
    store_dir_from(&process_env)
}

fn store_dir_from(var: Var) -> Option<PathBuf> {
    set(var, "VIGIL_STORE").or_else(|| home_from(var).map(|h| h.join("store")))
}

/// The folder of spools: `$VIGIL_SPOOL`, else the folder `spool` in the service's state folder (`$STATE_DIRECTORY`, which systemd sets), in
/// `$XDG_STATE_HOME/vigil`, or in `$HOME/.local/state/vigil`. `None` if none of the four variables is set; it may not exist.
pub fn spool_dir() -> Option<PathBuf> {
    spool_dir_from(&process_env)
}

fn spool_dir_from(var: Var) -> Option<PathBuf> {
    set(var, "VIGIL_SPOOL").or_else(|| state_dir_from(var).map(|folder| folder.join("spool")))
}

/// The folder for what must outlive a restart: that of the service (`$STATE_DIRECTORY`, which systemd sets), else `$XDG_STATE_HOME/vigil`,
/// else `$HOME/.local/state/vigil`. `None` if none of the three variables is set; it may not exist.
pub fn state_dir() -> Option<PathBuf> {
    state_dir_from(&process_env)
}

fn state_dir_from(var: Var) -> Option<PathBuf> {
    // A service may have several folders, separated by colons.
    set(var, "STATE_DIRECTORY")
        .and_then(|listed| std::env::split_paths(&listed).next())
        .or_else(|| set(var, "XDG_STATE_HOME").map(|folder| folder.join("vigil")))
        .or_else(|| set(var, "HOME").map(|folder| folder.join(".local/state/vigil")))
}

/// The files of `VIGIL_PUBLIC_KEYS` (separated by colons): the keys of which one must have signed a bundle.
pub fn public_keys() -> Vec<PathBuf> {
    public_keys_from(&process_env)
}

fn public_keys_from(var: Var) -> Vec<PathBuf> {
    let listed = set(var, "VIGIL_PUBLIC_KEYS").map(OsString::from).unwrap_or_default();
    std::env::split_paths(&listed).filter(|file| !file.as_os_str().is_empty()).collect()
}

/// The folders whose `*.pub` are the keys where nobody names others: `<home>/keys` and `/etc/vigil/keys`. They may not
/// exist.
pub fn key_dirs() -> Vec<PathBuf> {
    key_dirs_from(&process_env)
}

fn key_dirs_from(var: Var) -> Vec<PathBuf> {
    home_from(var).map(|h| h.join("keys")).into_iter().chain([PathBuf::from("/etc/vigil/keys")]).collect()
}

/// The ONNX Runtime libraries to try, first one first.
///
/// A library that the user named (`explicit`, a property or flag; else the variable `VIGIL_ORT_LIBRARY`) is the only
/// candidate, whether it exists or not: another one must not silently take its place. Both may name the library or its
/// folder. Otherwise: those found beside the plugin (`plugin_dir`), in `<home>/lib`, in the system's folders, and last
/// the bare name `libonnxruntime.so.1`, which leaves the search to the dynamic linker.
pub fn runtime_candidates(explicit: Option<&Path>, plugin_dir: Option<&Path>) -> Vec<PathBuf> {
    runtime_candidates_from(explicit, plugin_dir, &process_env)
}

fn runtime_candidates_from(explicit: Option<&Path>, plugin_dir: Option<&Path>, var: Var) -> Vec<PathBuf> {
    if let Some(named) = explicit.map(Path::to_path_buf).or_else(|| set(var, "VIGIL_ORT_LIBRARY")) {
        let inside = if named.is_dir() { runtimes_in(&named) } else { Vec::new() };
        return if inside.is_empty() { vec![named] } else { inside };
    }
    let system = ["/usr/local/lib", "/usr/lib", TRIPLET_DIR].map(PathBuf::from);
    let dirs = plugin_dir.map(Path::to_path_buf).into_iter().chain(home_from(var).map(|h| h.join("lib"))).chain(system);
    let mut found: Vec<PathBuf> = dirs.flat_map(|d| runtimes_in(&d)).collect();
    found.push(PathBuf::from("libonnxruntime.so.1"));
    found
}

/// The commands to try as the process of an engine, first one first.
///
/// One that the user named (`VIGIL_WORKER`) is the only candidate. Otherwise: this process's own program if it is
/// `vigil`, `vigil` beside the file that this code was loaded from (`own_file`) and one folder above it (where Cargo puts
/// it), the folder `bin` of the prefix that the plugin is installed in, and last those of `PATH`.
pub fn worker_candidates(own_file: Option<&Path>) -> Vec<PathBuf> {
    worker_candidates_from(own_file, std::env::current_exe().ok().as_deref(), &process_env)
}

fn worker_candidates_from(own_file: Option<&Path>, program: Option<&Path>, var: Var) -> Vec<PathBuf> {
    const NAME: &str = "vigil";
    if let Some(named) = set(var, "VIGIL_WORKER") {
        return vec![named];
    }
    let mut found = Vec::new();
    // The file may have been replaced since: the link leads to what runs, which is of the right version.
    let name = program.and_then(Path::file_name).and_then(|name| name.to_str());
    if name.is_some_and(|name| name == NAME || name == "vigil (deleted)") {
        found.push(PathBuf::from("/proc/self/exe"));
    }
    let folders: Vec<&Path> = own_file.into_iter().flat_map(Path::ancestors).skip(1).collect();
    found.extend(folders.iter().take(2).map(|folder| folder.join(NAME)));
    // PREFIX/lib/gstreamer-1.0, or PREFIX/lib/TRIPLET/gstreamer-1.0.
    if folders.first().is_some_and(|folder| folder.ends_with("gstreamer-1.0")) {
        let lib = folders.iter().skip(1).take(2).find(|folder| folder.ends_with("lib"));
        found.extend(lib.and_then(|lib| lib.parent()).map(|prefix| prefix.join("bin").join(NAME)));
    }
    let path = var("PATH").unwrap_or_default();
    found.extend(std::env::split_paths(&path).filter(|d| d.is_absolute()).map(|folder| folder.join(NAME)));
    let mut seen = std::collections::HashSet::new();
    found.retain(|path| seen.insert(path.clone()));
    found
}

/// Whether a path leads to a file that may be run.
pub fn is_program(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    path.metadata().is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0)
}

/// Debian's library folder for this machine's architecture.
const TRIPLET_DIR: &str = if cfg!(target_arch = "aarch64") {
    "/usr/lib/aarch64-linux-gnu"
} else if cfg!(target_arch = "arm") {
    "/usr/lib/arm-linux-gnueabihf"
} else {
    "/usr/lib/x86_64-linux-gnu"
};

/// The runtime libraries in one folder: unversioned, major version, then full versions from the highest down.
fn runtimes_in(dir: &Path) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = RUNTIME_NAMES.iter().map(|n| dir.join(n)).filter(|p| p.is_file()).collect();
    let mut versioned: Vec<(Vec<u32>, PathBuf)> = std::fs::read_dir(dir)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let name = entry.file_name();
            let version = name.to_str()?.strip_prefix("libonnxruntime.so.1.")?;
            let version = version.split('.').map(|n| n.parse().ok()).collect::<Option<Vec<u32>>>()?;
            Some((version, entry.path()))
        })
        .filter(|(_, path)| path.is_file())
        .collect();
    versioned.sort_by(|a, b| b.0.cmp(&a.0));
    found.extend(versioned.into_iter().map(|(_, path)| path));
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(pairs: &'static [(&'static str, &'static str)]) -> impl Fn(&str) -> Option<OsString> {
        move |name| pairs.iter().find(|(n, _)| *n == name).map(|(_, v)| v.into())
    }

    #[test]
    fn home_follows_the_three_variables_in_order() {
        let all = env(&[("VIGIL_HOME", "/v"), ("XDG_DATA_HOME", "/x"), ("HOME", "/h")]);
        assert_eq!(home_from(&all), Some("/v".into()));
        assert_eq!(home_from(&env(&[("VIGIL_HOME", ""), ("XDG_DATA_HOME", "/x")])), Some("/x/vigil".into()));
        assert_eq!(home_from(&env(&[("HOME", "/h")])), Some("/h/.local/share/vigil".into()));
        assert_eq!(home_from(&env(&[])), None);
    }

    #[test]
    fn bundle_dirs_start_with_the_listed_ones() {
        let dirs = bundle_dirs_from(&env(&[("VIGIL_BUNDLE_PATH", "/a::/b"), ("VIGIL_HOME", "/v")]));
        let expected = ["/a", "/b", "/v/bundles", "/usr/local/share/vigil/bundles", "/usr/share/vigil/bundles"];
        assert_eq!(dirs, expected.map(PathBuf::from));
    }

    #[test]
    fn store_and_keys_lie_in_the_home_unless_named() {
        let home = env(&[("VIGIL_HOME", "/v")]);
        assert_eq!(store_dir_from(&home), Some("/v/store".into()));
        assert_eq!(key_dirs_from(&home), [PathBuf::from("/v/keys"), "/etc/vigil/keys".into()]);
        assert!(public_keys_from(&home).is_empty());
        let named = env(&[("VIGIL_STORE", "/s"), ("VIGIL_PUBLIC_KEYS", "/a.pub::/b.pub"), ("VIGIL_HOME", "/v")]);
        assert_eq!(store_dir_from(&named), Some("/s".into()));
        assert_eq!(public_keys_from(&named), [PathBuf::from("/a.pub"), "/b.pub".into()]);
        assert_eq!(store_dir_from(&env(&[])), None);
    }

    #[test]
    fn spools_lie_in_the_service_s_or_the_user_s_state_unless_named() {
        let user = env(&[("HOME", "/h")]);
        assert_eq!(spool_dir_from(&user), Some("/h/.local/state/vigil/spool".into()));
        let state = env(&[("XDG_STATE_HOME", "/x"), ("HOME", "/h")]);
        assert_eq!(state_dir_from(&state), Some("/x/vigil".into()));
        let service = env(&[("STATE_DIRECTORY", "/var/lib/vigil:/other"), ("HOME", "/h")]);
        assert_eq!(spool_dir_from(&service), Some("/var/lib/vigil/spool".into()));
        assert_eq!(spool_dir_from(&env(&[("VIGIL_SPOOL", "/s"), ("STATE_DIRECTORY", "/v")])), Some("/s".into()));
        assert_eq!(spool_dir_from(&env(&[])), None);
    }

    #[test]
    fn a_named_runtime_is_the_only_candidate() {
        let var = env(&[("VIGIL_ORT_LIBRARY", "/from/env.so"), ("HOME", "/h")]);
        let explicit = runtime_candidates_from(Some(Path::new("/no/such.so")), None, &var);
        assert_eq!(explicit, [PathBuf::from("/no/such.so")]);
        assert_eq!(runtime_candidates_from(None, None, &var), [PathBuf::from("/from/env.so")]);
    }

    #[test]
    fn the_worker_is_looked_for_around_the_plugin_and_then_in_the_path() {
        let var = env(&[("PATH", "/usr/bin:relative:/opt/bin:/usr/bin")]);
        let of = |own: &str, program: &str| -> Vec<String> {
            let found = worker_candidates_from(Some(Path::new(own)), Some(Path::new(program)), &var);
            found.iter().map(|path| path.display().to_string()).collect()
        };
        let own = of("/src/target/debug/vigil", "/src/target/debug/vigil");
        assert_eq!(own[..2], ["/proc/self/exe", "/src/target/debug/vigil"]);
        assert_eq!(of("/opt/vigil", "/opt/vigil (deleted)")[0], "/proc/self/exe");
        let test = of("/src/target/debug/deps/infer-1", "/src/target/debug/deps/infer-1");
        assert_eq!(
            test,
            ["/src/target/debug/deps/vigil", "/src/target/debug/vigil", "/usr/bin/vigil", "/opt/bin/vigil"]
        );
        for plugin in
            ["/opt/v/lib/gstreamer-1.0/libgstvigil.so", "/opt/v/lib/x86_64-linux-gnu/gstreamer-1.0/libgstvigil.so"]
        {
            assert!(of(plugin, "/usr/bin/gst-launch-1.0").contains(&"/opt/v/bin/vigil".to_owned()), "{plugin}");
        }
        let named = env(&[("VIGIL_WORKER", "/no/such"), ("PATH", "/usr/bin")]);
        assert_eq!(worker_candidates_from(None, None, &named), [PathBuf::from("/no/such")]);
    }

    #[test]
    fn runtimes_in_a_folder_are_ordered_by_version_number() {
        let dir = tempfile::tempdir().unwrap();
        for name in
            ["libonnxruntime.so.1.9.0", "libonnxruntime.so.1.31.1", "libonnxruntime.so.1", "libonnxruntime.so.1.x"]
        {
            std::fs::write(dir.path().join(name), b"").unwrap();
        }
        let names = ["libonnxruntime.so.1", "libonnxruntime.so.1.31.1", "libonnxruntime.so.1.9.0"];
        let expected: Vec<PathBuf> = names.iter().map(|n| dir.path().join(n)).collect();
        assert_eq!(runtime_candidates_from(Some(dir.path()), None, &env(&[])), expected);

        let beside_plugin = runtime_candidates_from(None, Some(dir.path()), &env(&[]));
        assert_eq!(beside_plugin[..3], expected);
        assert_eq!(beside_plugin.last(), Some(&PathBuf::from("libonnxruntime.so.1")));
    }
}
