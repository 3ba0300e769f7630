//! Why the file cannot be used.

use rusqlite::{ErrorCode, ffi};

/// Why the file cannot be used now.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// No space, or the user's quota is used up.
    #[error("there is no space left on the disk")]
    Full,
    /// Its content is not what was written, or it is not a spool.
    #[error("the file is damaged: {0}")]
    Damaged(String),
    /// The system cannot read a part of it. It may be able to later.
    #[error("a part of the file cannot be read: {0}")]
    Unreadable(String),
    /// Anything else that SQLite or the system refuses.
    #[error("{0}")]
    Other(String),
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => Self::Full,
            // An error of the device (EIO) is DatabaseCorrupt too: SQLite does not tell them apart.
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Self::Damaged(error.to_string()),
            // A page that ends too early.
            Some(ErrorCode::SystemIoFailure) if extended(&error) == ffi::SQLITE_IOERR_SHORT_READ => {
                Self::Damaged(error.to_string())
            }
            Some(ErrorCode::SystemIoFailure)
                if [ffi::SQLITE_IOERR_READ, ffi::SQLITE_IOERR_CORRUPTFS].contains(&extended(&error)) =>
            {
                Self::Unreadable(error.to_string())
            }
            // A table or column that is not there, since all statements are fixed.
            Some(ErrorCode::Unknown | ErrorCode::TypeMismatch) => Self::Damaged(error.to_string()),
            Some(_) => Self::Other(error.to_string()),
            // No code: a column of another type, or a row that is not where it was.
            None => Self::Damaged(error.to_string()),
        }
    }
}

fn extended(error: &rusqlite::Error) -> i32 {
    error.sqlite_error().map_or(0, |e| e.extended_code)
}

impl From<std::io::Error> for StoreError {
    fn from(error: std::io::Error) -> Self {
        match error.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => Self::Full,
            _ => Self::Other(error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_told_apart() {
        let of = |code| StoreError::from(rusqlite::Error::SqliteFailure(ffi::Error::new(code), None));
        assert_eq!(of(ffi::SQLITE_FULL), StoreError::Full);
        for code in [ffi::SQLITE_IOERR_READ, ffi::SQLITE_IOERR_CORRUPTFS] {
            assert!(matches!(of(code), StoreError::Unreadable(_)));
        }
        for code in [ffi::SQLITE_CORRUPT, ffi::SQLITE_NOTADB, ffi::SQLITE_IOERR_SHORT_READ, ffi::SQLITE_ERROR] {
            assert!(matches!(of(code), StoreError::Damaged(_)));
        }
        for code in [ffi::SQLITE_IOERR_WRITE, ffi::SQLITE_BUSY, ffi::SQLITE_READONLY, ffi::SQLITE_CANTOPEN] {
            assert!(matches!(of(code), StoreError::Other(_)));
        }
        let quota = std::io::Error::from(std::io::ErrorKind::QuotaExceeded);
        assert_eq!(StoreError::from(quota), StoreError::Full);
    }
}
