//! Turns on an engine's lanes, for users that may let frames pass.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::{Lanes, User};
use crate::engine::turns::{Ask, Key, Number, Share, Turns};

/// The turns of an engine's users, and who locks them: never over a call.
#[derive(Clone)]
pub(super) struct SharedTurns(Arc<Mutex<Turns>>);

impl SharedTurns {
    pub(super) fn new(lanes: usize, least: usize) -> Self {
        Self(Arc::new(Mutex::new(Turns::new(lanes, least))))
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Turns> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Users are told apart by where they are.
pub(super) fn key(user: &Arc<dyn User>) -> Key {
    Arc::as_ptr(user).cast::<()>().addr()
}

/// A frame that may be looked at. It is to be [`taken`](Self::taken) when a lane begins with it; dropped before that, it
/// gives its place back.
#[must_use = "a turn that is dropped is given back"]
pub struct Turn {
    turns: SharedTurns,
    number: Option<Number>,
}

impl Turn {
    /// A lane has begun with the frame.
    pub fn taken(mut self) {
        if let Some(number) = self.number.take() {
            self.turns.lock().taken(number);
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if let Some(number) = self.number.take() {
            self.turns.lock().given_up(number);
        }
    }
}

impl Lanes {
    /// Whether `user` may have a frame looked at that takes `cost` runs, if it has a share of `weight` beside others'. `None`:
    /// others come first, or enough frames wait; ask again for the next frame. To be followed by a
    /// [`request`](Self::request). Who does not ask is not refused: its frames wait for their turn.
    pub fn ask(&self, user: &Arc<dyn User>, weight: u32, cost: u32) -> Option<Turn> {
        let ask = Ask { user: key(user), weight, cost };
        let number = self.shared.turns.lock().ask(ask, Instant::now())?;
        Some(Turn { turns: self.shared.turns.clone(), number: Some(number) })
    }

    /// What `user` gets of the engine.
    pub fn share(&self, user: &Arc<dyn User>) -> Share {
        self.shared.turns.lock().share(key(user), Instant::now())
    }
}
