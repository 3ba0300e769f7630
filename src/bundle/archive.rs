//! `.vigil` archives: a bundle's folder as tar (POSIX ustar, GNU or pax names) in one zstd frame (RFC 8878).
//!
//! [`unpack`] expects the worst of its input: it unpacks into memory only, trusts no length, and refuses all that a
//! bundle does not need. [`Packer`] writes the same bytes for the same files, whoever owns them and however old they are.

use std::collections::BTreeMap;
use std::io::{self, BufRead, Read, Write};

use tar::EntryType;

use super::names::check_path;

/// The file name's extension.
pub const EXTENSION: &str = "vigil";
/// First bytes of a zstd frame.
const MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
/// zstd's level: beyond it, weights take much longer and hardly get smaller.
const LEVEL: i32 = 9;

/// What an archive may need to be unpacked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Most entries.
    pub entries: usize,
    /// Most bytes of the tar stream, headers and padding included.
    pub bytes: u64,
    /// Largest zstd window, as a power of two in bytes: the memory that the compressor may ask of the reader.
    pub window_log: u32,
}

impl Limits {
    /// The usual ones for an archive of `compressed` bytes: not more than 100 times its length and 64 MiB on top, since
    /// weights hardly compress, and a small file must not fill the memory.
    pub fn for_length(compressed: u64) -> Self {
        let usual = Self::default();
        Self { bytes: compressed.saturating_mul(100).saturating_add(64 << 20).min(usual.bytes), ..usual }
    }
}

impl Default for Limits {
    /// 4096 entries, 2 GiB, and the 128 MiB window that the zstd command allows too.
    fn default() -> Self {
        Self { entries: 4096, bytes: 2 << 30, window_log: 27 }
    }
}

/// Why an archive was refused.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// No bytes.
    #[error("the archive is empty")]
    Empty,
    /// Not a zstd frame.
    #[error("not a bundle archive: it is not compressed with zstd (make one with `vigil bundle pack`)")]
    WrongMagic,
    /// It ends too early.
    #[error("the archive is truncated: fetch or pack it again")]
    Truncated,
    /// zstd asks for too much memory.
    #[error("the archive asks for more memory to unpack than is allowed ({} MiB)", 1u64 << .0 >> 20)]
    Window(u32),
    /// It is longer than allowed.
    #[error("the archive unpacks to more than the allowed {} bytes", .0)]
    TooLarge(u64),
    /// It has more entries than allowed.
    #[error("the archive has more than the allowed {} entries", .0)]
    TooManyEntries(usize),
    /// An entry's name is not allowed.
    #[error("the archive is not safe: the entry \"{name}\" {why}")]
    Name {
        /// The name, with special characters escaped.
        name: String,
        /// What is wrong with it.
        why: String,
    },
    /// Two entries have one name.
    #[error("the archive is not safe: there are two entries \"{0}\"")]
    Duplicate(String),
    /// An entry is neither a file nor a folder.
    #[error("the archive is not safe: the entry \"{name}\" is {kind}; only files and folders are allowed")]
    Kind {
        /// The name, with special characters escaped.
        name: String,
        /// What it is.
        kind: &'static str,
    },
    /// Something follows the archive's end.
    #[error("there is something after the end of the archive: fetch or pack it again")]
    TrailingGarbage,
    /// The content is damaged.
    #[error("the archive is damaged: {0}")]
    Damaged(String),
    /// It cannot be read from where it lies.
    #[error("cannot be read: {0}")]
    Io(#[source] io::Error),
}

/// Reads an archive whole: the content of each file by its path.
///
/// # Errors
/// [`ArchiveError`] for anything but a well-formed archive of harmless files within `limits`.
pub fn unpack(mut reader: impl BufRead, limits: &Limits) -> Result<BTreeMap<String, Vec<u8>>, ArchiveError> {
    let start = reader.fill_buf().map_err(ArchiveError::Io)?;
    if start.is_empty() {
        return Err(ArchiveError::Empty);
    }
    let seen = start.len().min(MAGIC.len());
    if start.get(..seen) != MAGIC.get(..seen) {
        return Err(ArchiveError::WrongMagic);
    }
    let mut decoder = zstd::Decoder::with_buffer(reader).map_err(ArchiveError::Io)?.single_frame();
    decoder.window_log_max(limits.window_log).map_err(ArchiveError::Io)?;
    let files = untar(&mut decoder, limits)?;
    match decoder.finish().fill_buf() {
        Ok([]) => Ok(files),
        Ok(_) => Err(ArchiveError::TrailingGarbage),
        Err(e) => Err(ArchiveError::Io(e)),
    }
}

/// Reads the tar stream inside an archive; [`unpack`] for one that is not compressed.
///
/// # Errors
/// As [`unpack`].
pub fn untar(reader: impl Read, limits: &Limits) -> Result<BTreeMap<String, Vec<u8>>, ArchiveError> {
    let mut tar = tar::Archive::new(Capped { inner: reader, left: limits.bytes });
    let explain = |e: io::Error| explain(&e, limits);
    let mut files = BTreeMap::new();
    let mut entries = 0;
    for entry in tar.entries().map_err(explain)? {
        let mut entry = entry.map_err(explain)?;
        entries += 1;
        if entries > limits.entries {
            return Err(ArchiveError::TooManyEntries(limits.entries));
        }
        if let Some(name) = file_name(&entry)? {
            // The length in the header is not to be trusted with an allocation; `Capped` ends the reading.
            let mut content = Vec::new();
            entry.read_to_end(&mut content).map_err(explain)?;
            if content.len() as u64 != entry.size() {
                return Err(ArchiveError::Truncated);
            }
            if files.insert(name.clone(), content).is_some() {
                return Err(ArchiveError::Duplicate(name));
            }
        }
    }
    check_end(tar.into_inner(), limits)?;
    Ok(files)
}

/// The path of an entry that is a file, checked; `None` for a folder.
fn file_name<R: Read>(entry: &tar::Entry<R>) -> Result<Option<String>, ArchiveError> {
    let bytes = entry.path_bytes();
    let shown = || String::from_utf8_lossy(&bytes).escape_debug().to_string();
    let kind = match entry.header().entry_type() {
        EntryType::Regular | EntryType::Continuous => None,
        EntryType::Directory => return check_folder(&bytes).map(|()| None),
        EntryType::Symlink | EntryType::Link => Some("a link"),
        EntryType::Char | EntryType::Block => Some("a device"),
        EntryType::Fifo => Some("a pipe"),
        EntryType::GNUSparse => Some("a sparse file"),
        _ => Some("of an unknown kind"),
    };
    if let Some(kind) = kind {
        return Err(ArchiveError::Kind { name: shown(), kind });
    }
    checked_path(&bytes).map(Some)
}

/// A folder's name says nothing that the files' names do not, but it must be as harmless.
fn check_folder(bytes: &[u8]) -> Result<(), ArchiveError> {
    let trimmed = bytes.strip_suffix(b"/").unwrap_or(bytes);
    if trimmed == b"." { Ok(()) } else { checked_path(trimmed).map(drop) }
}

/// The path without the `./` that `tar -C folder .` writes.
fn checked_path(bytes: &[u8]) -> Result<String, ArchiveError> {
    let shown = || String::from_utf8_lossy(bytes).escape_debug().to_string();
    let relative = bytes.strip_prefix(b"./").unwrap_or(bytes);
    let name =
        std::str::from_utf8(relative).map_err(|_| ArchiveError::Name { name: shown(), why: "is not UTF-8".into() })?;
    check_path(name).map_err(|why| ArchiveError::Name { name: shown(), why })?;
    Ok(name.to_owned())
}

/// After tar's first block of zeros: at least one more, then nothing but zeros.
fn check_end(mut rest: impl Read, limits: &Limits) -> Result<(), ArchiveError> {
    let mut buffer = [0; 4096];
    let mut zeros = 0;
    loop {
        let n = rest.read(&mut buffer).map_err(|e| explain(&e, limits))?;
        if n == 0 {
            return if zeros == 0 { Err(ArchiveError::Truncated) } else { Ok(()) };
        }
        if buffer.iter().take(n).any(|b| *b != 0) {
            return Err(ArchiveError::TrailingGarbage);
        }
        zeros += n;
    }
}

/// A reader that fails, rather than ends, when more than `left` bytes come.
struct Capped<R> {
    inner: R,
    left: u64,
}

/// Marks the error by which [`Capped`] fails.
#[derive(Debug, thiserror::Error)]
#[error("too large")]
struct CapReached;

impl<R: Read> Read for Capped<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buffer)?;
        self.left = self.left.checked_sub(n as u64).ok_or_else(|| io::Error::other(CapReached))?;
        Ok(n)
    }
}

/// The meaning of an error that came up through tar and zstd.
fn explain(error: &io::Error, limits: &Limits) -> ArchiveError {
    if error.get_ref().is_some_and(|e| e.is::<CapReached>()) {
        return ArchiveError::TooLarge(limits.bytes);
    }
    let text = error.to_string();
    match error.kind() {
        io::ErrorKind::UnexpectedEof => ArchiveError::Truncated,
        // tar says so with an error of its own when the stream ends inside a header.
        _ if text.contains("failed to read entire block") => ArchiveError::Truncated,
        _ if text.contains("too much memory") => ArchiveError::Window(limits.window_log),
        _ => ArchiveError::Damaged(text),
    }
}

/// Writes an archive, file by file.
pub struct Packer<W: Write> {
    tar: tar::Builder<zstd::Encoder<'static, W>>,
}

impl<W: Write> Packer<W> {
    /// An archive that goes to `out`.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn new(out: W) -> io::Result<Self> {
        let mut encoder = zstd::Encoder::new(out, LEVEL)?;
        encoder.include_checksum(true)?;
        Ok(Self { tar: tar::Builder::new(encoder) })
    }

    /// Adds a file. For equal archives add files in equal order: ascending by `path`.
    ///
    /// # Errors
    /// Those of the output.
    pub fn add(&mut self, path: &str, content: &[u8]) -> io::Result<()> {
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(EntryType::Regular);
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        header.set_mtime(0);
        header.set_uid(0);
        header.set_gid(0);
        self.tar.append_data(&mut header, path, content)
    }

    /// Ends the archive and gives the output back.
    ///
    /// # Errors
    /// Those of the output.
    pub fn finish(self) -> io::Result<W> {
        self.tar.into_inner()?.finish()
    }
}

#[cfg(test)]
mod tests;
