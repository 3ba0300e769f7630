//! Records in a file, one line each, with rotation.
//!
//! Every line is handed to the system as it comes, so that the process can die at any time and lose nothing that was
//! written. A line that could be written only in part is taken out again.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::fs::{FileSystem, LogFile};
use super::record::timestamp;
use super::sink::{Now, Sink, SinkError};

/// How often the file's name is checked to still name the file.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// After a rotation that failed, how long the file is written on before the next try.
const ROTATION_RETRY: Duration = Duration::from_secs(60);

/// When content is forced onto the device, where it survives a power cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fsync {
    /// When the system sees fit.
    Never,
    /// When the file is finished: at rotation, at the end of the stream and at stop.
    Rotate,
    /// Before a record counts as written.
    EveryRecord,
    /// At least this often, and when the file is finished.
    Interval(Duration),
}

/// What a file sink is to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileOptions {
    /// The file that is written; its folder is made if it is missing.
    pub path: PathBuf,
    /// The file is rotated before it grows beyond this many bytes.
    pub rotate_size: Option<u64>,
    /// The file is rotated at the first record that comes this long after it was opened.
    pub rotate_time: Option<Duration>,
    /// When content is forced onto the device.
    pub fsync: Fsync,
    /// How many rotated files are kept, the newest; `None`: all.
    pub keep: Option<usize>,
}

impl FileOptions {
    /// One file without end, synchronised when it is finished.
    pub fn new(path: PathBuf) -> Self {
        Self { path, rotate_size: None, rotate_time: None, fsync: Fsync::Rotate, keep: None }
    }
}

/// A file of JSON lines.
///
/// `out.jsonl` is rotated to `out.20261123T101500Z-000001.jsonl`: the UTC time of the rotation and a number that tells
/// apart those of one second. An existing file is appended to; if its last line is torn, the next starts on its own.
pub struct FileSink {
    options: FileOptions,
    fs: Box<dyn FileSystem>,
    current: Option<Current>,
    /// The last rotation's stamp and number.
    last: Option<(String, u32)>,
    /// No rotation before this time.
    rotation_barred_until: Duration,
}

struct Current {
    file: Box<dyn LogFile>,
    /// A line begins with a newline to leave a torn one behind.
    torn: bool,
    opened: Duration,
    checked: Duration,
    synced: Duration,
    unsynced: bool,
}

impl FileSink {
    /// Opens the file.
    ///
    /// # Errors
    /// Any [`SinkError`] that a file can have.
    pub fn open(options: FileOptions, fs: Box<dyn FileSystem>, now: Now) -> Result<Self, SinkError> {
        let mut sink = Self { options, fs, current: None, last: None, rotation_barred_until: Duration::ZERO };
        sink.reopen(now)?;
        Ok(sink)
    }

    fn error(&self, action: &'static str, source: io::Error) -> SinkError {
        SinkError::from_io(action, &self.options.path, source)
    }

    fn folder(&self) -> &Path {
        match self.options.path.parent() {
            Some(folder) if folder != Path::new("") => folder,
            _ => Path::new("."),
        }
    }

    fn reopen(&mut self, now: Now) -> Result<(), SinkError> {
        let file = self.fs.open(&self.options.path).map_err(|e| self.error("open", e))?;
        let len = file.size().map_err(|e| self.error("read the size of", e))?;
        let torn = !file.ends_whole().map_err(|e| self.error("read the end of", e))?;
        if len == 0 && file.is_regular() {
            self.sync_folder()?;
        }
        let t = now.monotonic;
        self.current = Some(Current { file, torn, opened: t, checked: t, synced: t, unsynced: false });
        Ok(())
    }

    fn sync_folder(&mut self) -> Result<(), SinkError> {
        if self.options.fsync == Fsync::Never {
            return Ok(());
        }
        let folder = self.folder().to_path_buf();
        self.fs.sync_folder(&folder).map_err(|e| SinkError::from_io("synchronise", &folder, e))
    }

    /// What is due by time: finding out that the file is gone, and synchronising at intervals.
    fn upkeep(&mut self, now: Now) -> Result<(), SinkError> {
        let Some(current) = &mut self.current else { return Ok(()) };
        if now.monotonic.saturating_sub(current.checked) >= CHECK_INTERVAL {
            current.checked = now.monotonic;
            if current.file.is_regular() && !current.file.is_at(&self.options.path) {
                self.current = None;
                return Err(SinkError::Vanished { path: self.options.path.clone() });
            }
        }
        if let Fsync::Interval(interval) = self.options.fsync
            && now.monotonic.saturating_sub(current.synced) >= interval
        {
            return self.sync(now);
        }
        Ok(())
    }

    fn sync(&mut self, now: Now) -> Result<(), SinkError> {
        let Some(current) = &mut self.current else { return Ok(()) };
        current.synced = now.monotonic;
        // After a failure the system has given the content up: trying again would only seem to help.
        if std::mem::take(&mut current.unsynced) && current.file.is_regular() {
            current.file.sync().map_err(|e| self.error("synchronise", e))?;
        }
        Ok(())
    }

    fn is_rotation_due(&mut self, line: &[u8], now: Now) -> Result<bool, SinkError> {
        let Some(current) = &mut self.current else { return Ok(false) };
        if !current.file.is_regular() || now.monotonic < self.rotation_barred_until {
            return Ok(false);
        }
        let len = match current.file.size() {
            Ok(len) => len,
            Err(e) => return Err(self.error("read the size of", e)),
        };
        if len == 0 {
            current.opened = now.monotonic;
            return Ok(false);
        }
        let too_big = self.options.rotate_size.is_some_and(|most| len.saturating_add(line.len() as u64) > most);
        let too_old = self.options.rotate_time.is_some_and(|most| now.monotonic.saturating_sub(current.opened) >= most);
        Ok(too_big || too_old)
    }

    fn rotate(&mut self, now: Now) -> Result<(), SinkError> {
        // Lifted at the end: whatever fails, records go on into the file that there is.
        self.rotation_barred_until = now.monotonic.saturating_add(ROTATION_RETRY);
        if self.options.fsync != Fsync::Never {
            self.sync(now)?;
        }
        let folder = self.folder().to_path_buf();
        let names = self.fs.list(&folder).map_err(|e| SinkError::from_io("list", &folder, e))?;
        let pattern = RotatedName::of(&self.options.path);
        let mut rotated: Vec<(String, u32)> = names.iter().filter_map(|n| pattern.parse(n)).collect();
        let stamp = timestamp(now.utc_ns).strftime("%Y%m%dT%H%M%SZ").to_string();
        let used = rotated.iter().chain(&self.last).filter(|(s, _)| *s == stamp).map(|(_, n)| *n).max();
        let new = (stamp, used.unwrap_or(0).saturating_add(1));
        let to = folder.join(pattern.format(&new));
        self.fs.rename(&self.options.path, &to).map_err(|e| self.error("rotate", e))?;
        self.current = None;
        self.last = Some(new.clone());
        rotated.push(new);
        self.sync_folder()?;
        self.remove_oldest(&folder, &pattern, rotated)?;
        self.rotation_barred_until = Duration::ZERO;
        self.reopen(now)
    }

    fn remove_oldest(
        &mut self,
        folder: &Path,
        pattern: &RotatedName,
        mut rotated: Vec<(String, u32)>,
    ) -> Result<(), SinkError> {
        let Some(keep) = self.options.keep else { return Ok(()) };
        rotated.sort();
        let surplus = rotated.len().saturating_sub(keep);
        for old in rotated.iter().take(surplus) {
            let path = folder.join(pattern.format(old));
            match self.fs.remove(&path) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => {
                    return Err(SinkError::from_io("remove", &path, e));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Appends the whole line or nothing; closes the file on failure, so that the next try opens it afresh.
    fn append(&mut self, line: &[u8]) -> Result<(), SinkError> {
        let Some(mut current) = self.current.take() else { return Ok(()) };
        let start = current.file.size().map_err(|e| self.error("read the size of", e))?;
        let mut written = if current.torn { write_all(&mut *current.file, b"\n") } else { Ok(()) };
        written = written.and_then(|()| write_all(&mut *current.file, line));
        if written.is_ok() && self.options.fsync == Fsync::EveryRecord && current.file.is_regular() {
            written = current.file.sync();
        }
        if let Err(e) = written {
            // If cutting fails too, the torn line is seen when the file is opened again.
            let _ = current.file.truncate(start);
            return Err(self.error("write to", e));
        }
        current.torn = false;
        current.unsynced = self.options.fsync != Fsync::EveryRecord;
        self.current = Some(current);
        Ok(())
    }
}

impl Sink for FileSink {
    fn write(&mut self, line: &[u8], now: Now) -> Result<(), SinkError> {
        self.upkeep(now)?;
        if self.current.is_none() {
            self.reopen(now)?;
        }
        if self.is_rotation_due(line, now)? {
            self.rotate(now)?;
        }
        self.append(line)
    }

    fn tick(&mut self, now: Now) -> Result<(), SinkError> {
        self.upkeep(now)
    }

    fn finish(&mut self, now: Now) -> Result<(), SinkError> {
        if self.options.fsync == Fsync::Never { Ok(()) } else { self.sync(now) }
    }
}

fn write_all(file: &mut dyn LogFile, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match file.write(bytes) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(n) => bytes = bytes.get(n..).unwrap_or_default(),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

/// How the rotated files of one path are called.
struct RotatedName {
    prefix: String,
    suffix: String,
}

impl RotatedName {
    fn of(path: &Path) -> Self {
        let text = |part: Option<&std::ffi::OsStr>| part.unwrap_or_default().to_string_lossy().into_owned();
        let suffix = match path.extension() {
            Some(extension) => format!(".{}", extension.to_string_lossy()),
            None => String::new(),
        };
        Self { prefix: format!("{}.", text(path.file_stem())), suffix }
    }

    fn format(&self, (stamp, number): &(String, u32)) -> String {
        format!("{}{stamp}-{number:06}{}", self.prefix, self.suffix)
    }

    /// Stamp and number, if `name` is exactly such a name: others are never touched.
    fn parse(&self, name: &str) -> Option<(String, u32)> {
        let middle = name.strip_prefix(self.prefix.as_str())?.strip_suffix(self.suffix.as_str())?;
        let (stamp, number) = middle.split_once('-')?;
        let shape: String = stamp.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
        let is_number = number.len() >= 6 && number.bytes().all(|b| b.is_ascii_digit());
        (shape == "00000000T000000Z" && is_number).then(|| Some((stamp.to_string(), number.parse().ok()?)))?
    }
}

#[cfg(test)]
#[path = "file_tests.rs"]
mod tests;
