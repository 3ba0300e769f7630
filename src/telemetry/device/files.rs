//! Files of the kernel that are read again and again.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// More than this is not read of one file: a machine with very many processors or drives.
const LONGEST: usize = 1 << 20;

/// A file that is kept open and read from its start each time, into the same memory.
#[derive(Debug)]
pub(super) struct Rereader {
    path: PathBuf,
    file: Option<File>,
    bytes: Vec<u8>,
}

impl Rereader {
    /// Opens nothing yet.
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, file: None, bytes: Vec::new() }
    }

    /// Its text as it is now; `None` if it is not there, cannot be read, or is no text.
    pub(super) fn text(&mut self) -> Option<&str> {
        if self.file.is_none() {
            self.file = regular(&self.path);
        }
        let length = self.fill();
        if length.is_none() {
            // What was behind it is gone, and something else may come under the same name.
            self.file = None;
        }
        std::str::from_utf8(self.bytes.get(..length?)?).ok()
    }

    /// Reads it all, and says how much it was.
    fn fill(&mut self) -> Option<usize> {
        let file = self.file.as_ref()?;
        let mut length = 0;
        loop {
            if length == self.bytes.len() {
                if length >= LONGEST {
                    return None;
                }
                self.bytes.resize((length * 2).max(256), 0);
            }
            let got = file.read_at(self.bytes.get_mut(length..)?, length as u64).ok()?;
            if got == 0 {
                return Some(length);
            }
            length += got;
        }
    }

    /// Its first word as a number.
    pub(super) fn number<T: FromStr>(&mut self) -> Option<T> {
        self.text()?.split_ascii_whitespace().next()?.parse().ok()
    }
}

/// Opens a regular file: never a pipe, which would wait for its other end.
fn regular(path: &Path) -> Option<File> {
    path.metadata().ok()?.is_file().then(|| File::open(path).ok())?
}

/// The first line of a file that is read once, without spaces at its ends; `None` if it is empty.
pub(super) fn word(path: &Path) -> Option<String> {
    let mut file = Rereader::new(path.into());
    let line = file.text()?.lines().next()?.trim();
    (!line.is_empty()).then(|| line.to_owned())
}

/// The number in a file that is read once.
pub(super) fn number<T: FromStr>(path: &Path) -> Option<T> {
    Rereader::new(path.into()).number()
}

/// Entries of a folder whose names start with `start`, ordered as people count (`cpu2` before `cpu10`); none if there is no such folder.
pub(super) fn entries(folder: &Path, start: &str) -> Vec<PathBuf> {
    let Ok(found) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut found: Vec<(usize, String)> = found
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| name.starts_with(start))
        .map(|name| (name.len(), name))
        .collect();
    found.sort();
    found.into_iter().map(|(_, name)| folder.join(name)).collect()
}

/// The last part of a path as text.
pub(super) fn name(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}
