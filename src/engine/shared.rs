//! One engine per weights, provider and options in a process, however many elements use it.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError, TryLockError, Weak};
use std::time::Instant;

use super::lanes::Lanes;
use super::options::{Background, Options};
use super::{Engine, EngineError};
use crate::cancel::LOOK;

/// What makes two requests ask for the same engine: SHA-256 of the weights, and how they are run.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Key {
    /// SHA-256 of the weights, hexadecimal.
    pub digest: String,
    /// Provider, threads and lanes.
    pub options: Options,
    /// How far the threads that run it stand back behind others.
    pub niceness: u8,
}

type Cell = Arc<Mutex<Weak<Lanes>>>;

static ENGINES: LazyLock<Mutex<HashMap<Key, Cell>>> = LazyLock::new(Mutex::default);

/// The engine for `key`: the one in use, if it has always answered, or what `load` makes. Others who ask for the same one
/// meanwhile wait for it.
///
/// # Errors
/// What `load` says, or [`EngineError::Runtime`] if the system gives no threads.
pub fn get(key: &Key, load: impl FnOnce() -> Result<Arc<dyn Engine>, EngineError>) -> Result<Arc<Lanes>, EngineError> {
    get_within(key, None, load)
}

/// As [`get`]; in the background it waits for another who loads it only as long as that says.
///
/// # Errors
/// As for [`get`], and [`EngineError::Late`] and [`EngineError::Cancelled`] while another one loads it.
pub fn get_within(
    key: &Key,
    background: Option<&Background>,
    load: impl FnOnce() -> Result<Arc<dyn Engine>, EngineError>,
) -> Result<Arc<Lanes>, EngineError> {
    let cell = {
        let mut engines = ENGINES.lock().unwrap_or_else(PoisonError::into_inner);
        engines.retain(|other, cell| other == key || Arc::strong_count(cell) > 1 || is_used(cell));
        Arc::clone(engines.entry(key.clone()).or_default())
    };
    // Held over the load, so that two users of one model do not both load it; other models have other cells.
    let mut slot = match background {
        None => cell.lock().unwrap_or_else(PoisonError::into_inner),
        Some(background) => enter(&cell, background)?,
    };
    // Those who use one that hung go on with it; what it computes from now on may be wrong, and its memory is not given
    // back, so nobody else begins to.
    if let Some(lanes) = slot.upgrade().filter(|lanes| lanes.is_sound()) {
        return Ok(lanes);
    }
    let lanes = unshared(key.niceness, load)?;
    *slot = Arc::downgrade(&lanes);
    Ok(lanes)
}

/// What `load` makes, for one user alone; with the niceness of the threads that run it.
///
/// # Errors
/// As for [`get`].
pub fn unshared(
    niceness: u8,
    load: impl FnOnce() -> Result<Arc<dyn Engine>, EngineError>,
) -> Result<Arc<Lanes>, EngineError> {
    let lanes = Lanes::start_nice(load()?, niceness)
        .map_err(|e| EngineError::Runtime(format!("no thread for the engine: {e}")))?;
    Ok(Arc::new(lanes))
}

/// Waits for the turn to load an engine, as long as `background` says.
fn enter<'a>(cell: &'a Cell, background: &Background) -> Result<MutexGuard<'a, Weak<Lanes>>, EngineError> {
    let begun = Instant::now();
    loop {
        match cell.try_lock() {
            Ok(slot) => return Ok(slot),
            Err(TryLockError::Poisoned(slot)) => return Ok(slot.into_inner()),
            Err(TryLockError::WouldBlock) if background.cancel.is_cancelled() => return Err(EngineError::Cancelled),
            Err(TryLockError::WouldBlock) if begun.elapsed() > background.limit => {
                return Err(EngineError::Late(background.limit));
            }
            Err(TryLockError::WouldBlock) => std::thread::sleep(LOOK),
        }
    }
}

/// Whether an engine is alive, or being loaded right now.
fn is_used(cell: &Cell) -> bool {
    cell.try_lock().map_or(true, |slot| slot.strong_count() > 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::fake::Fake;

    fn key(digest: &str) -> Key {
        Key { digest: digest.into(), options: Options::least("cpu"), niceness: 0 }
    }

    #[test]
    fn users_share_an_engine_until_the_last_one_goes() {
        let load = || -> Result<Arc<dyn Engine>, EngineError> { Ok(Arc::new(Fake::new(1))) };
        let a = get(&key("shared-a"), load).unwrap();
        let b = get(&key("shared-a"), || panic!("it is loaded")).unwrap();
        let other = get(&key("shared-b"), load).unwrap();
        assert!(Arc::ptr_eq(&a, &b) && !Arc::ptr_eq(&a, &other));
        let gone = Arc::downgrade(&a);
        drop((a, b));
        assert!(gone.upgrade().is_none(), "nobody uses it any more");
        assert!(get(&key("shared-a"), || Err(EngineError::Model("asked to load".into()))).is_err());
    }
}
