//! Weights of models in files that workers map, one for all engines with the same weights.

use std::collections::HashMap;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, LazyLock, Mutex, PoisonError, Weak};

use crate::engine::memory;

static FILES: LazyLock<Mutex<HashMap<String, Weak<OwnedFd>>>> = LazyLock::new(Mutex::default);

/// A sealed file of `bytes`, whose digest is `digest`: the one that is in use, or a new one.
///
/// # Errors
/// If the system has no memory for it.
pub(super) fn file(bytes: &[u8], digest: &str) -> io::Result<Arc<OwnedFd>> {
    let known = || {
        let mut files = FILES.lock().unwrap_or_else(PoisonError::into_inner);
        files.retain(|_, file| file.strong_count() > 0);
        files.get(digest).and_then(Weak::upgrade)
    };
    if let Some(file) = known() {
        return Ok(file);
    }
    // Written without the lock: two may write the same weights at once, and the later one is found from then on.
    let file = Arc::new(memory::constant_file(bytes)?);
    FILES.lock().unwrap_or_else(PoisonError::into_inner).insert(digest.to_owned(), Arc::downgrade(&file));
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_weights_lie_in_one_file_while_they_are_used() {
        let first = file(b"weights", "digest of weights").unwrap();
        let second = file(b"weights", "digest of weights").unwrap();
        let other = file(b"others", "digest of others").unwrap();
        assert!(Arc::ptr_eq(&first, &second) && !Arc::ptr_eq(&first, &other));
        let gone = Arc::downgrade(&first);
        drop((first, second));
        assert!(gone.upgrade().is_none(), "nobody uses them any more");
        assert_eq!(Arc::strong_count(&file(b"weights", "digest of weights").unwrap()), 1);
    }
}
