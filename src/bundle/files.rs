//! The files of a bundle, wherever they lie, with their digests.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::archive::{self, Limits};
use super::error::BundleError;
use super::names::check_path;
use super::{digest, manifest};

/// Folders inside folders that are looked into.
const MAX_DEPTH: usize = 8;

/// Where the content lies.
#[derive(Debug, Clone)]
enum Content {
    Folder(PathBuf),
    Memory(Arc<BTreeMap<String, Vec<u8>>>),
}

/// What was found out about a file when the bundle was opened.
#[derive(Debug, Clone)]
struct Entry {
    size: u64,
    sha256: String,
}

/// The files of a bundle.
#[derive(Debug, Clone)]
pub(super) struct Files {
    origin: PathBuf,
    content: Content,
    entries: BTreeMap<String, Entry>,
}

impl Files {
    /// Those of a folder or an archive.
    pub fn open(path: &Path) -> Result<Self, BundleError> {
        let kind = fs::metadata(path).map_err(BundleError::io(path))?;
        let files = if kind.is_dir() {
            Self::folder(path)?
        } else if kind.is_file() {
            let file = File::open(path).map_err(BundleError::io(path))?;
            let content = archive::unpack(BufReader::new(file), &Limits::for_length(kind.len()))
                .map_err(|source| BundleError::Archive { path: path.into(), source })?;
            Self::memory(path, content)
        } else {
            return Err(BundleError::unusable(path, "neither a file nor a folder"));
        };
        if !files.entries.contains_key(manifest::FILE_NAME) {
            return Err(BundleError::unusable(path, files.why_no_manifest()));
        }
        Ok(files)
    }

    /// Files that are already in memory; `origin` is what errors call them.
    pub fn memory(origin: &Path, content: BTreeMap<String, Vec<u8>>) -> Self {
        let entry = |bytes: &Vec<u8>| Entry { size: bytes.len() as u64, sha256: digest::of_bytes(bytes) };
        let entries = content.iter().map(|(name, bytes)| (name.clone(), entry(bytes))).collect();
        Self { origin: origin.into(), content: Content::Memory(Arc::new(content)), entries }
    }

    /// One file that is no bundle.
    pub fn single(path: &Path, name: String, size: u64, sha256: String) -> Self {
        let folder = path.parent().unwrap_or(Path::new("")).to_path_buf();
        let entries = BTreeMap::from([(name, Entry { size, sha256 })]);
        Self { origin: path.into(), content: Content::Folder(folder), entries }
    }

    fn folder(path: &Path) -> Result<Self, BundleError> {
        let mut entries = BTreeMap::new();
        // Told from the files below, because it gives the clearer error when a user names the wrong folder.
        if path.join(manifest::FILE_NAME).exists() {
            let mut total = 0;
            walk(path, "", 1, &mut |name, file| {
                let (sha256, size) = File::open(file).and_then(digest::of_reader).map_err(BundleError::io(file))?;
                total += size;
                if entries.len() == Limits::default().entries || total > Limits::default().bytes {
                    let limits = Limits::default();
                    let why = format!("more than {} files or {} bytes in it", limits.entries, limits.bytes);
                    return Err(BundleError::unusable(path, why));
                }
                entries.insert(name, Entry { size, sha256 });
                Ok(())
            })?;
        }
        Ok(Self { origin: path.into(), content: Content::Folder(path.into()), entries })
    }

    fn why_no_manifest(&self) -> String {
        let nested = self.entries.keys().find_map(|n| n.strip_suffix(manifest::FILE_NAME)?.strip_suffix('/'));
        match nested {
            Some(folder) => {
                format!("not a bundle: bundle.toml lies in \"{folder}\" and not at the top; pack that folder")
            }
            None => {
                "not a bundle: there is no bundle.toml in it; make one with `vigil bundle new MODEL.onnx`, or name a \
                     .onnx file"
                    .into()
            }
        }
    }

    /// Paths inside the bundle, ascending.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.keys().map(String::as_str)
    }

    /// The length and SHA-256 of a file.
    pub fn entry(&self, name: &str) -> Option<(u64, &str)> {
        self.entries.get(name).map(|e| (e.size, e.sha256.as_str()))
    }

    /// The bundle's identity.
    pub fn digest(&self) -> String {
        digest::of_files(self.entries.iter().map(|(name, e)| (name.as_str(), e.sha256.as_str())))
    }

    /// The same files in memory, each checked against what it was when the bundle was opened.
    pub fn stage(&self) -> Result<Self, BundleError> {
        if matches!(self.content, Content::Memory(_)) {
            return Ok(self.clone());
        }
        let read = |name: &String| self.read(name).map(|bytes| (name.clone(), bytes.into_owned()));
        let content = self.entries.keys().map(read).collect::<Result<BTreeMap<_, _>, _>>()?;
        Ok(Self { content: Content::Memory(Arc::new(content)), ..self.clone() })
    }

    /// The path by which errors name a file.
    pub fn shown(&self, name: &str) -> String {
        self.origin.join(name).display().to_string()
    }

    /// The content of a file, which must still be what it was when the bundle was opened.
    pub fn read(&self, name: &str) -> Result<Cow<'_, [u8]>, BundleError> {
        let missing = || BundleError::Missing(self.origin.join(name));
        let entry = self.entries.get(name).ok_or_else(missing)?;
        let root = match &self.content {
            Content::Memory(files) => return files.get(name).map(|f| Cow::Borrowed(f.as_slice())).ok_or_else(missing),
            Content::Folder(root) => root,
        };
        let path = root.join(name);
        let mut bytes = Vec::new();
        // One byte more than expected tells a file that has grown, without reading all of it.
        File::open(&path)
            .and_then(|f| f.take(entry.size + 1).read_to_end(&mut bytes))
            .map_err(BundleError::io(&path))?;
        let found = digest::of_bytes(&bytes);
        if found != entry.sha256 {
            let (origin, expected) = (self.origin.clone(), entry.sha256.clone());
            return Err(BundleError::Digest { origin, file: name.into(), expected, found });
        }
        Ok(Cow::Owned(bytes))
    }
}

/// Calls `visit` with the path inside the bundle and the path on disk of every file below `dir`, hidden ones left out.
fn walk(
    dir: &Path,
    prefix: &str,
    depth: usize,
    visit: &mut dyn FnMut(String, &Path) -> Result<(), BundleError>,
) -> Result<(), BundleError> {
    if depth > MAX_DEPTH {
        return Err(BundleError::unusable(dir, format!("folders are nested more than {MAX_DEPTH} deep")));
    }
    for item in fs::read_dir(dir).map_err(BundleError::io(dir))? {
        let item = item.map_err(BundleError::io(dir))?;
        let path = item.path();
        let Some(name) = item.file_name().to_str().map(str::to_owned) else {
            return Err(BundleError::unusable(path, "the file name is not UTF-8"));
        };
        if name.starts_with('.') {
            continue;
        }
        let inside = if prefix.is_empty() { name } else { format!("{prefix}/{name}") };
        check_path(&inside).map_err(|why| BundleError::unusable(&path, format!("the name {why}")))?;
        let kind = item.file_type().map_err(BundleError::io(&path))?;
        if kind.is_dir() {
            walk(&path, &inside, depth + 1, visit)?;
        } else if kind.is_file() {
            visit(inside, &path)?;
        } else if kind.is_symlink() {
            return Err(BundleError::unusable(&path, "links are not allowed in a bundle; put the file itself there"));
        } else {
            return Err(BundleError::unusable(&path, "neither a file nor a folder"));
        }
    }
    Ok(())
}
