//! From what a user wrote for `model` to a bundle or a bare model.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use super::error::BundleError;
use super::names::check_name;
use super::place::nearest;
use super::sign::{self, PublicKey};
use super::{Bundle, ModelInfo, archive, digest, manifest, onnx_file};
use crate::paths;
use crate::store::Store;

/// Longest bare model, bytes: protobuf's own limit.
const MAX_MODEL: u64 = 2 << 30;

/// What `model` named.
#[derive(Debug, Clone)]
pub enum ModelSource {
    /// A folder with `bundle.toml` or a `.vigil` archive.
    Bundle(Box<Bundle>),
    /// A bare `.onnx` file.
    Bare {
        /// Where it lies.
        path: PathBuf,
        /// Its content.
        bytes: Vec<u8>,
        /// Its SHA-256, 64 lower-case hexadecimal digits.
        digest: String,
        /// The `.modelinfo` file beside it.
        info: Option<ModelInfo>,
        /// The operators of its graph.
        operators: BTreeSet<String>,
    },
}

impl ModelSource {
    /// Opens what `model` names: a path to a folder with `bundle.toml`, to a `.vigil` archive or to a bare `.onnx` file;
    /// or, where there is no such path, the name of a bundle: `<name>@<release>` is that release of the store, `<name>` the
    /// store's current one, or, where the store has none, the one in [`paths::bundle_dirs`] (as a folder or as
    /// `<name>.vigil`).
    ///
    /// So a word without a slash may lead to a file or folder of the working directory though the store knows the name:
    /// [`stored`](Self::stored) says what it led to. An order of the store is opened with
    /// [`open_stored`](Self::open_stored).
    ///
    /// # Errors
    /// [`BundleError`] for the first thing that is wrong.
    pub fn open(model: &str) -> Result<Self, BundleError> {
        Self::open_in(model, &paths::bundle_dirs(), Store::default_place().as_ref())
    }

    /// Opens a release of the store, and nothing else: no path of that name stands in for it.
    ///
    /// # Errors
    /// [`BundleError`] if it is not there or not whole.
    pub fn open_stored(name: &str, release: &str) -> Result<Self, BundleError> {
        let model = format!("{name}@{release}");
        let store = Store::default_place().ok_or_else(|| not_found(&model, &[], None))?;
        Self::open_stored_in(&store, name, release)
    }

    fn open_stored_in(store: &Store, name: &str, release: &str) -> Result<Self, BundleError> {
        Ok(Self::Bundle(Box::new(store.open_release(name, release)?)))
    }

    /// Name and release of what came from the store; `None` for what was opened by a path or found elsewhere.
    pub fn stored(&self) -> Option<(&str, &str)> {
        match self {
            Self::Bundle(bundle) => bundle.stored(),
            Self::Bare { .. } => None,
        }
    }

    fn open_in(model: &str, dirs: &[PathBuf], store: Option<&Store>) -> Result<Self, BundleError> {
        let (path, warnings) = match find(model, dirs, store)? {
            Found::Release(bundle) => return Ok(Self::Bundle(bundle)),
            Found::Path(path, warnings) => (path, warnings),
        };
        let path = &*path;
        let kind = fs::metadata(path).map_err(BundleError::io(path))?;
        if kind.is_dir() || path.extension().is_some_and(|e| e == archive::EXTENSION) {
            return Ok(Self::Bundle(Box::new(Bundle { warnings, ..Bundle::open(path)? })));
        }
        if !kind.is_file() {
            return Err(BundleError::unusable(path, "neither a file nor a folder"));
        }
        if kind.len() > MAX_MODEL {
            return Err(BundleError::unusable(path, format!("{} bytes are too many for an ONNX model", kind.len())));
        }
        let bytes = fs::read(path).map_err(BundleError::io(path))?;
        onnx_file::check(&bytes).map_err(|why| BundleError::NotAModel { path: path.into(), why })?;
        let info = ModelInfo::beside(path)?;
        let operators = onnx_file::operators(&bytes);
        Ok(Self::Bare { path: path.into(), digest: digest::of_bytes(&bytes), bytes, info, operators })
    }

    /// The same source with every file in memory, each checked against its digest, so that nothing changes under whoever
    /// loads it.
    ///
    /// # Errors
    /// [`BundleError`] if a file cannot be read or has changed since the source was opened.
    pub fn stage(self) -> Result<Self, BundleError> {
        Ok(match self {
            Self::Bundle(bundle) => Self::Bundle(Box::new(bundle.stage()?)),
            bare => bare,
        })
    }

    /// Name, release (empty for a bare model) and digest: of the bundle, or of the bare file.
    pub fn identity(&self) -> (String, String, String) {
        match self {
            Self::Bundle(bundle) => (bundle.name.clone(), bundle.release.clone(), bundle.digest.clone()),
            Self::Bare { path, digest, .. } => {
                let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
                (stem, String::new(), digest.clone())
            }
        }
    }

    /// Checks that one of `keys` has signed the bundle, and names it; without keys everything passes.
    ///
    /// # Errors
    /// [`BundleError::Signature`], also for a bare model, which cannot be signed.
    pub fn check_signature(&self, keys: &[PublicKey]) -> Result<Option<String>, BundleError> {
        match self {
            Self::Bundle(bundle) => sign::verify(bundle, keys),
            Self::Bare { .. } if keys.is_empty() => Ok(None),
            Self::Bare { path, .. } => Err(BundleError::Signature {
                origin: path.clone(),
                why: "a bare model has no signature, and keys are configured here; make a bundle of it with vigil bundle \
                      new, and sign that"
                    .into(),
            }),
        }
    }
}

/// Where `model` lies: the path itself, or the folder or archive of the installed bundle of that name, looked up as by
/// [`ModelSource::open`]. A path is given back unchecked.
///
/// # Errors
/// [`BundleError::NotFound`] for a name that is neither a path nor that of an installed bundle.
pub fn locate(model: &str) -> Result<PathBuf, BundleError> {
    Ok(match find(model, &paths::bundle_dirs(), Store::default_place().as_ref())? {
        Found::Release(bundle) => bundle.origin,
        Found::Path(path, _) => path,
    })
}

/// What a user's word led to.
enum Found {
    /// A release of the store.
    Release(Box<Bundle>),
    /// A path, and what the user should know about it.
    Path(PathBuf, Vec<String>),
}

fn find(model: &str, dirs: &[PathBuf], store: Option<&Store>) -> Result<Found, BundleError> {
    let path = Path::new(model);
    let Some((name, release)) = as_name(model) else { return Ok(Found::Path(path.into(), Vec::new())) };
    let in_store = match store.map_or(Ok(None), |store| store.resolve(name, release)) {
        Ok(Some(found)) => return Ok(Found::Release(Box::new(found.bundle))),
        Ok(None) => None,
        Err(error) => Some(error),
    };
    let places = dirs.iter().flat_map(|d| [d.join(model), d.join(format!("{model}.{}", archive::EXTENSION))]);
    match (places.into_iter().find(|p| p.exists()), in_store) {
        // A damaged store must not leave a camera without a model that there is.
        (Some(installed), error) => Ok(Found::Path(installed, error.iter().map(|e| e.to_string()).collect())),
        (None, Some(error)) => Err(error.into()),
        (None, None) if path.exists() => Ok(Found::Path(path.into(), Vec::new())),
        (None, None) => Err(not_found(model, dirs, store)),
    }
}

/// The name, and the release if there is one, if `model` is to be looked up rather than opened.
fn as_name(model: &str) -> Option<(&str, Option<&str>)> {
    let path = Path::new(model);
    if let Some((name, release)) = model.split_once('@') {
        let good = check_name(name).is_ok() && check_name(release).is_ok() && !path.exists();
        return good.then_some((name, Some(release)));
    }
    let is_name = check_name(model).is_ok() && path.extension().is_none_or(|e| e != "onnx" && e != archive::EXTENSION);
    // A folder that happens to have an installed bundle's name must not hide it.
    (is_name && !path.is_file() && !path.join(manifest::FILE_NAME).exists()).then_some((model, None))
}

fn not_found(model: &str, dirs: &[PathBuf], store: Option<&Store>) -> BundleError {
    let mut installed: Vec<String> = dirs.iter().flat_map(|d| installed_in(d)).collect();
    // What the store holds is a help only: that it cannot be read is not the error to report.
    installed.extend(store.and_then(|store| store.names().ok()).unwrap_or_default());
    let hint = match nearest(model, installed.iter().map(String::as_str)) {
        Some(near) => format!("; did you mean \"{near}\"?"),
        None => String::new(),
    };
    let places = store.map(Store::root).into_iter().chain(dirs.iter().map(PathBuf::as_path));
    let looked_in = places.map(|d| d.display().to_string()).collect::<Vec<_>>().join(", ");
    BundleError::NotFound { model: model.into(), looked_in, hint }
}

/// The names of the bundles in one folder of the search path.
fn installed_in(dir: &Path) -> Vec<String> {
    let name = |path: PathBuf| -> Option<String> {
        let is_archive = path.extension().is_some_and(|e| e == archive::EXTENSION);
        let name = if is_archive { path.file_stem() } else { path.file_name() };
        (is_archive || path.join(manifest::FILE_NAME).exists()).then(|| name?.to_str().map(str::to_owned)).flatten()
    };
    fs::read_dir(dir).into_iter().flatten().flatten().filter_map(|item| name(item.path())).collect()
}

#[cfg(test)]
mod tests {
    use super::super::tests::{small_bundle, write_folder};
    use super::*;
    use crate::store::InstallOptions;

    fn error(model: &Path) -> String {
        let text = ModelSource::open_in(model.to_str().unwrap(), &[], None).unwrap_err().to_string();
        text.strip_prefix(model.to_str().unwrap()).unwrap_or(&text).to_owned()
    }

    #[test]
    fn a_bare_model_is_read_and_digested() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("m.onnx");
        fs::write(&path, onnx_file::TINY).unwrap();
        let ModelSource::Bare { bytes, digest, .. } = ModelSource::open(path.to_str().unwrap()).unwrap() else {
            panic!("not bare")
        };
        assert_eq!(bytes, onnx_file::TINY);
        assert_eq!(digest, digest::of_bytes(onnx_file::TINY));
    }

    #[test]
    fn a_modelinfo_file_is_read_with_its_model() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("m.onnx");
        fs::write(&path, onnx_file::TINY).unwrap();
        let beside = dir.path().join("m.onnx.modelinfo");
        fs::write(&beside, "[modelinfo]\nversion=1.0\n[output0]\nid=yolo-v8-out\n").unwrap();
        let ModelSource::Bare { info, .. } = ModelSource::open(path.to_str().unwrap()).unwrap() else {
            panic!("not bare")
        };
        assert_eq!(info.unwrap().tensors[0].id.as_deref(), Some("yolo-v8-out"));
        fs::write(&beside, "[modelinfo]\nversion=1.0\nhello\n").unwrap();
        let text = ModelSource::open(path.to_str().unwrap()).unwrap_err().to_string();
        assert!(text.contains("m.onnx.modelinfo:3:1: "), "{text}");
    }

    #[test]
    fn bad_files_are_told_apart() {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str, content: &[u8]| {
            let path = dir.path().join(name);
            fs::write(&path, content).unwrap();
            path
        };
        assert_eq!(error(&dir.path().join("no.onnx")), ": no such file or folder");
        assert_eq!(error(&file("empty.onnx", b"")), ": not an ONNX model: the file is empty");
        assert_eq!(error(&file("pic.onnx", b"\xff\xd8\xff\xe0JFIF")), ": not an ONNX model: it is a JPEG picture");
        let cut = &onnx_file::TINY[..onnx_file::TINY.len() - 1];
        assert!(error(&file("cut.onnx", cut)).starts_with(": not an ONNX model: the file is truncated"));
        assert_eq!(
            error(&file("text.vigil", b"hello")),
            ": not a bundle archive: it is not compressed with zstd (make one with `vigil bundle pack`)"
        );
        assert_eq!(error(&file("empty.vigil", b"")), ": the archive is empty");
        assert_eq!(
            error(dir.path()),
            ": not a bundle: there is no bundle.toml in it; make one with `vigil bundle new MODEL.onnx`, or name a .onnx \
             file"
        );
    }

    #[test]
    fn names_are_looked_up_as_folder_and_archive() {
        let dir = tempfile::tempdir().unwrap();
        let dirs = [dir.path().join("absent"), dir.path().to_path_buf()];
        write_folder(&dir.path().join("people"), &small_bundle());
        fs::write(dir.path().join("cars.vigil"), "x").unwrap();
        let ModelSource::Bundle(bundle) = ModelSource::open_in("people", &dirs, None).unwrap() else { panic!("bare") };
        assert_eq!(bundle.origin, dir.path().join("people"));
        let locate = |model: &str| match find(model, &dirs, None).unwrap() {
            Found::Path(path, _) => path,
            Found::Release(_) => panic!("there is no store"),
        };
        assert_eq!(locate("cars"), dir.path().join("cars.vigil"));
        assert_eq!(locate("./cars"), Path::new("./cars"), "a path is not looked up");
        let cars = ModelSource::open_in("cars", &dirs, None).unwrap_err().to_string();
        assert!(cars.contains("not compressed with zstd"), "{cars}");

        let text = ModelSource::open_in("peeple", &dirs, None).unwrap_err().to_string();
        let looked_in = format!("{0}/absent, {0}", dir.path().display());
        assert_eq!(
            text,
            format!(
                "no model \"peeple\": there is no such file or folder, and no bundle of that name in {looked_in}; did you \
                 mean \"people\"?"
            )
        );
    }

    #[test]
    fn what_came_from_the_store_is_told_from_what_hides_it() {
        let dir = tempfile::tempdir().unwrap();
        let (folder, store) = (dir.path().join("people"), Store::at(&dir.path().join("store")));
        write_folder(&folder, &small_bundle());
        store.install(&folder, &InstallOptions::default()).unwrap();
        let open = |model: &str| ModelSource::open_in(model, &[], Some(&store)).unwrap();
        for model in ["people", "people@2026.11.1"] {
            let source = open(model);
            assert_eq!(source.stored(), Some(("people", "2026.11.1")), "{model}");
            assert_eq!(source.stage().unwrap().stored(), Some(("people", "2026.11.1")), "{model}, staged");
        }
        let by_path = open(folder.to_str().unwrap());
        assert_eq!((by_path.stored(), by_path.identity().0.as_str()), (None, "people"));

        // A file of the very name hides the store's release from who asks by a word, but not from the store's own orders.
        let word = format!("{}@2026.11.1", folder.display());
        fs::write(&word, "x").unwrap();
        assert!(ModelSource::open_in(&word, &[], Some(&store)).is_err());
        let stored = ModelSource::open_stored_in(&store, "people", "2026.11.1").unwrap();
        assert_eq!(stored.stored(), Some(("people", "2026.11.1")));
        for (name, release) in
            [("people", "9"), ("cars", "1"), (folder.to_str().unwrap(), "1"), ("people", "../people")]
        {
            assert!(ModelSource::open_stored_in(&store, name, release).is_err(), "{name}@{release}");
        }
    }
}
