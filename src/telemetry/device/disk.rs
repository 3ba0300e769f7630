//! Free space, and what drives read and write.

use std::path::{Path, PathBuf};

use rustix::fs::{StatVfsMountFlags, statvfs};
use rustix::io::Errno;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Roots;
use super::files::{Rereader, entries, name};

/// Bytes in a sector of the kernel's counts, whatever the drive's own.
const SECTOR: u64 = 512;

/// The file system that a folder is on. One that is not there yet counts as its nearest parent.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Folder {
    /// The folder.
    pub path: String,
    /// Size of the file system, bytes.
    pub size_bytes: u64,
    /// What is free for programs without special rights, bytes.
    pub free_bytes: u64,
    /// Whether nothing can be written: how a worn-out memory card often shows.
    pub read_only: bool,
}

/// A drive, as a whole: disk, memory card.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Drive {
    /// Its name, such as `sda` or `mmcblk0`.
    pub name: String,
    /// Bytes that were read since the machine's start.
    pub read_bytes: u64,
    /// Bytes that were written since the machine's start.
    pub written_bytes: u64,
    /// Time in which the drive had something to do since the machine's start, nanoseconds.
    pub busy_ns: u64,
}

#[derive(Debug)]
pub(super) struct Source {
    stats: Rereader,
    drives: Vec<String>,
    folders: Vec<PathBuf>,
}

impl Source {
    pub(super) fn new(roots: &Roots, folders: Vec<PathBuf>) -> Self {
        let mut source = Self { stats: Rereader::new(roots.proc.join("diskstats")), drives: Vec::new(), folders };
        source.search(roots);
        source
    }

    pub(super) fn set_folders(&mut self, folders: Vec<PathBuf>) {
        self.folders = folders;
    }

    pub(super) fn search(&mut self, roots: &Roots) {
        // What has a device is a drive; the rest is made of files, memory or other drives. Boot parts of a card are no drives.
        let found = entries(&roots.sys.join("block"), "").into_iter().filter(|path| path.join("device").exists());
        let found = found.map(|path| name(&path)).filter(|name| !name.contains("boot") && !name.contains("rpmb"));
        self.drives = found.collect();
    }

    pub(super) fn drives(&mut self) -> Vec<Drive> {
        let known = &self.drives;
        let found = self.stats.text().unwrap_or_default().lines().filter_map(drive);
        found.filter(|drive| known.contains(&drive.name)).collect()
    }

    pub(super) fn folders(&self) -> Vec<Folder> {
        self.folders.iter().filter_map(|path| folder(path)).collect()
    }
}

/// `254 0 vda READS merged SECTORS ms WRITES merged SECTORS ms in-flight BUSY-MS …`
fn drive(line: &str) -> Option<Drive> {
    let mut words = line.split_ascii_whitespace().skip(2);
    let name = words.next()?.to_owned();
    let numbers: Vec<u64> = words.map_while(|word| word.parse().ok()).collect();
    let bytes = |index: usize| numbers.get(index)?.checked_mul(SECTOR);
    let busy_ns = numbers.get(9)?.checked_mul(1_000_000)?;
    Some(Drive { name, read_bytes: bytes(2)?, written_bytes: bytes(6)?, busy_ns })
}

fn folder(path: &Path) -> Option<Folder> {
    for there in path.ancestors() {
        let there = if there.as_os_str().is_empty() { Path::new(".") } else { there };
        match statvfs(there) {
            Ok(stat) => {
                let bytes = |blocks: u64| blocks.saturating_mul(stat.f_frsize);
                return Some(Folder {
                    path: path.to_string_lossy().into_owned(),
                    size_bytes: bytes(stat.f_blocks),
                    free_bytes: bytes(stat.f_bavail),
                    read_only: stat.f_flag.contains(StatVfsMountFlags::RDONLY),
                });
            }
            Err(Errno::NOENT) => {}
            Err(_) => return None,
        }
    }
    None
}
