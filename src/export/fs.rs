//! The little of a file system that the file sink needs, so that tests can make it fail.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

/// What the file sink asks of a file system.
pub trait FileSystem: Send {
    /// Opens `path` to append, makes it and its folders if they are missing, and locks it against other exporters.
    ///
    /// # Errors
    /// As the system says; `ResourceBusy` if another exporter has it, `IsADirectory` if it is anything but a regular
    /// file or a character device.
    fn open(&mut self, path: &Path) -> io::Result<Box<dyn LogFile>>;

    /// Renames a file; fails with `AlreadyExists` rather than replace one.
    ///
    /// # Errors
    /// As the system says.
    fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file.
    ///
    /// # Errors
    /// As the system says.
    fn remove(&mut self, path: &Path) -> io::Result<()>;

    /// Names in a folder that are valid UTF-8, in any order.
    ///
    /// # Errors
    /// As the system says.
    fn list(&mut self, folder: &Path) -> io::Result<Vec<String>>;

    /// Makes renames in a folder durable.
    ///
    /// # Errors
    /// As the system says.
    fn sync_folder(&mut self, folder: &Path) -> io::Result<()>;
}

/// A file that is open to append.
pub trait LogFile: Send {
    /// Whether it has a length, and can be cut, renamed and made durable; a character device cannot.
    fn is_regular(&self) -> bool;

    /// Size in bytes; 0 for a device.
    ///
    /// # Errors
    /// As the system says.
    fn size(&self) -> io::Result<u64>;

    /// Whether the last byte is a newline, or there is none.
    ///
    /// # Errors
    /// As the system says.
    fn ends_whole(&self) -> io::Result<bool>;

    /// Whether `path` still names this file.
    fn is_at(&self, path: &Path) -> bool;

    /// Appends some of `bytes` and says how many.
    ///
    /// # Errors
    /// As the system says.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize>;

    /// Cuts the file to `len` bytes.
    ///
    /// # Errors
    /// As the system says.
    fn truncate(&mut self, len: u64) -> io::Result<()>;

    /// Returns once the content is on the device.
    ///
    /// # Errors
    /// As the system says.
    fn sync(&mut self) -> io::Result<()>;
}

/// The operating system's file system.
#[derive(Debug, Default)]
pub struct RealFs;

impl FileSystem for RealFs {
    fn open(&mut self, path: &Path) -> io::Result<Box<dyn LogFile>> {
        use std::os::unix::fs::FileTypeExt;
        let allowed = |m: &fs::Metadata| m.is_file() || m.file_type().is_char_device();
        // Checked before opening, because opening a pipe waits for its reader.
        if fs::metadata(path).is_ok_and(|m| !allowed(&m)) {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        let options = || OpenOptions::new().read(true).append(true).create(true).open(path);
        let file = match options() {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                if let Some(folder) = path.parent() {
                    fs::create_dir_all(folder)?;
                }
                options()?
            }
            other => other?,
        };
        let metadata = file.metadata()?;
        if metadata.is_file() {
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Err(io::ErrorKind::ResourceBusy.into()),
                // Some network file systems have no locks; writing there is still better than not.
                Err(TryLockError::Error(e)) if e.kind() == io::ErrorKind::Unsupported => {}
                Err(TryLockError::Error(e)) => return Err(e),
            }
        }
        let id = (metadata.dev(), metadata.ino());
        Ok(Box::new(RealFile { file, id, regular: metadata.is_file() }))
    }

    fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        // The lock on `from` keeps other exporters from choosing the same name in between.
        if fs::symlink_metadata(to).is_ok() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        fs::rename(from, to)
    }

    fn remove(&mut self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn list(&mut self, folder: &Path) -> io::Result<Vec<String>> {
        Ok(fs::read_dir(folder)?.flatten().filter_map(|e| e.file_name().into_string().ok()).collect())
    }

    fn sync_folder(&mut self, folder: &Path) -> io::Result<()> {
        File::open(folder)?.sync_all()
    }
}

struct RealFile {
    file: File,
    id: (u64, u64),
    regular: bool,
}

impl LogFile for RealFile {
    fn is_regular(&self) -> bool {
        self.regular
    }

    fn size(&self) -> io::Result<u64> {
        Ok(if self.regular { self.file.metadata()?.len() } else { 0 })
    }

    fn ends_whole(&self) -> io::Result<bool> {
        let len = self.size()?;
        if len == 0 {
            return Ok(true);
        }
        let mut last = [0];
        self.file.read_exact_at(&mut last, len - 1)?;
        Ok(last == *b"\n")
    }

    fn is_at(&self, path: &Path) -> bool {
        fs::metadata(path).is_ok_and(|m| (m.dev(), m.ino()) == self.id)
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn truncate(&mut self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.file.sync_data()
    }
}
