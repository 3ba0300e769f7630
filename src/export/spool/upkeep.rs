//! The writer's file itself: opened, tidied, and replaced when it is damaged.

use std::time::Duration;

use super::error::StoreError;
use super::open::{self, Salvage};
use super::store::Store;
use super::writer::Writer;
use super::{Notice, SpoolError};

/// How often it is looked for records that are too old, at most and at least.
const TIDY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
/// How often something that cannot be read is tried until it is given up.
const TRIES: u32 = 3;
/// A file that is damaged again so soon after it was replaced waits until then: a device that damages all that is written must not be
/// filled with copies.
const PAUSE: Duration = Duration::from_secs(60);
const AGAIN: &str = "it was damaged again within a minute, and is replaced after that";

impl Writer<'_> {
    /// The file; opened anew if that failed before.
    pub(super) fn store(&mut self) -> Result<&mut Store, StoreError> {
        if self.store.is_none() {
            let now = self.shared.clock.now();
            if self.replaced.is_some_and(|at| now.monotonic.saturating_sub(at) < PAUSE) {
                return Err(StoreError::Other(AGAIN.into()));
            }
            let heads = self.shared.lock().state.heads();
            let opened = open::open(&self.shared.path, self.limits, now.utc_ns, &heads);
            let (store, salvage) = opened.map_err(|error| match error {
                SpoolError::Store { source, .. } => source,
                error => StoreError::Other(error.to_string()),
            })?;
            self.take_over(store, salvage)?;
        }
        self.store.as_mut().ok_or_else(|| StoreError::Other("the file is closed".into()))
    }

    /// Goes on with a file that was opened while the spool is in use: what is not in it is lost, and told.
    fn take_over(&mut self, store: Store, salvage: Option<Salvage>) -> Result<(), StoreError> {
        let now = self.shared.clock.now().monotonic;
        self.replaced = if salvage.is_some() { Some(now) } else { self.replaced };
        let present = store.present()?;
        self.store = Some(store);
        let mut inner = self.shared.lock();
        let lost = inner.state.reconcile(&present);
        if let Some(salvage) = salvage {
            let kept = present.iter().flatten().map(|range| range.end - range.start).sum();
            inner.notices.push(Notice::degraded(salvage.text(kept, lost)));
            self.news.told_of_loss(&inner.state.counters);
        }
        Ok(())
    }

    /// Gives up what is too old, or beyond the bound.
    pub(super) fn tidy(&mut self) {
        let now = self.shared.clock.now();
        let every = self.limits.age.map_or(TIDY.1, |age| (age / 8).clamp(TIDY.0, TIDY.1));
        match self.store().and_then(|store| store.tidy(now.utc_ns / 1_000_000)) {
            Ok(tidied) => {
                self.untidy = 0;
                self.shared.lock().state.gave_up(&tidied.dropped, &tidied.expired);
                self.tidy_at = if tidied.more { now.monotonic } else { now.monotonic + every };
                if !tidied.more {
                    self.look_at_file();
                }
            }
            Err(error) => {
                // Commits and reads go on.
                self.tidy_at = now.monotonic + every;
                self.untidy += 1;
                self.shared.lock().errors += 1;
                self.trouble(error, self.untidy);
            }
        }
        self.shared.done.notify_all();
        self.shared.ship.notify_all();
    }

    /// The file does not work; the same place cannot be read for the `tries`th time.
    pub(super) fn trouble(&mut self, error: StoreError, tries: u32) {
        let path = self.shared.path.display().to_string();
        match error {
            StoreError::Damaged(why) => self.replace(format!("it is damaged: {why}")),
            StoreError::Unreadable(why) if tries >= TRIES => {
                self.replace(format!("a part of it cannot be read: {why}"))
            }
            StoreError::Full => self.degrade(
                "full",
                format!("cannot write the spool {path}: there is no space left; records wait in memory; free some"),
            ),
            StoreError::Other(ref why) | StoreError::Unreadable(ref why) => self
                .degrade(why, format!("cannot use the spool {path}: {error}; records wait in memory; check the disk")),
        }
    }

    /// Sets the file aside, and goes on with what can be read of it.
    fn replace(&mut self, why: String) {
        // Closed before it is moved.
        self.store = None;
        let now = self.shared.clock.now();
        if self.replaced.is_some_and(|at| now.monotonic.saturating_sub(at) < PAUSE) {
            let path = self.shared.path.display();
            let text = format!("cannot use the spool {path}: {AGAIN} ({why}); records wait in memory; check the disk");
            return self.degrade(AGAIN, text);
        }
        let heads = self.shared.lock().state.heads();
        let replaced = open::replace(&self.shared.path, self.limits, now.utc_ns, why, &heads);
        let taken = replaced
            .map_err(|error| error.to_string())
            .and_then(|(store, salvage)| self.take_over(store, Some(salvage)).map_err(|error| error.to_string()));
        match taken {
            Ok(()) => {
                (self.unreadable, self.untidy) = (0, 0);
                self.backoff.succeeded();
                self.stuck.iter_mut().for_each(|stuck| stuck.backoff.succeeded());
            }
            Err(error) => {
                self.degrade("not replaced", format!("the spool is damaged and cannot be replaced: {error}"));
            }
        }
    }

    /// What is the oldest on the disk; whether the file should shrink.
    pub(super) fn look_at_file(&mut self) {
        let Some(store) = &self.store else { return };
        let oldest = store.oldest_ms().unwrap_or(None);
        self.shared.lock().oldest_on_disk = oldest;
        self.changed = false;
        self.shrink(self.shrinking);
    }

    /// Gives back space that is not needed.
    pub(super) fn shrink(&mut self, on: bool) {
        let Some(store) = &mut self.store else { return };
        // If it cannot shrink now, it may later; what waits is as safe as before.
        let shrunk = store.shrink(on);
        self.shrinking = *shrunk.as_ref().unwrap_or(&false);
        self.note_sizes();
        self.shared.lock().errors += u64::from(shrunk.is_err());
    }

    /// Takes the file's sizes down. They are asked for before the lock is taken, which whoever hands over a record waits for.
    pub(super) fn note_sizes(&self) {
        let Some(store) = &self.store else { return };
        let sizes = (store.disk_bytes(), store.used_bytes().unwrap_or(0));
        let mut inner = self.shared.lock();
        (inner.disk_bytes, inner.used_bytes) = sizes;
    }
}
