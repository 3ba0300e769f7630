//! What is done to the file now and then: records that are too old, a bound that was lowered, space that nothing needs.

use rusqlite::TransactionBehavior;

use super::super::kind::Kind;
use super::error::StoreError;
use super::rows;
use super::store::{Change, PAGE, Store};

/// Unused pages below which the file is not made smaller: 1 MiB.
const KEPT: u64 = (1 << 20) / PAGE;

/// What was given up.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Tidied {
    /// By kind: records with smaller numbers were given up to keep within the bound; 0 for none.
    pub dropped: [u64; 4],
    /// By kind: records with smaller numbers were given up for their age; 0 for none.
    pub expired: [u64; 4],
    /// There may be more of them: it is to be called again.
    pub more: bool,
}

impl Store {
    /// Gives up records that are too old at `now_ms` (wall clock, milliseconds since 1970 UTC), and those that are beyond the bound. Only
    /// a part of them at once, so that the log stays small.
    ///
    /// # Errors
    /// Any [`StoreError`]; then nothing is given up.
    pub fn tidy(&mut self, now_ms: u64) -> Result<Tidied, StoreError> {
        let mut tidied = Tidied::default();
        let mut budget = self.limits.rows();
        let most = self.limits.file_bytes();
        let work = self.db.transaction_with_behavior(TransactionBehavior::Immediate)?;
        if let Some(age) = self.limits.age {
            let limit = now_ms.saturating_sub(u64::try_from(age.as_millis()).unwrap_or(u64::MAX));
            for (kind, expired) in Kind::ALL.into_iter().zip(&mut tidied.expired) {
                *expired = rows::expire(&work, kind, limit, now_ms, &mut budget)?;
            }
        }
        rows::make_room(&work, &[], 0, most, &mut budget, &mut tidied.dropped)?;
        work.commit()?;
        tidied.more = budget == 0;
        Ok(tidied)
    }

    /// Gives a part of the unused space back to the file system if three quarters of the file are unused, or the file is larger than its
    /// bound; whether there is more to give back. `on` goes on with what was begun.
    ///
    /// # Errors
    /// Any [`StoreError`]; nothing is lost.
    pub fn shrink(&mut self, on: bool) -> Result<bool, StoreError> {
        let free = rows::free(&self.db)?;
        let used = rows::used(&self.db)?;
        let pages = used / PAGE + free;
        let begin = free * 4 > pages * 3 || pages * PAGE > self.limits.file_bytes();
        if free <= KEPT || !(on || begin) {
            return Ok(false);
        }
        let step = (self.limits.log_pages() / 4).min(free - KEPT / 2);
        if self.reserve(2 * step * PAGE, false).is_err() {
            self.relieve(&Change::default())?;
            self.reserve(2 * step * PAGE, true)?;
        }
        let incremental: i64 = self.db.pragma_query_value(None, "auto_vacuum", |row| row.get(0))?;
        let more = if incremental == 2 {
            // It answers with a row for each page.
            let mut statement = self.db.prepare(&format!("PRAGMA incremental_vacuum({step})"))?;
            let mut rows = statement.query([])?;
            while rows.next()?.is_some() {}
            free - step > KEPT
        } else if used <= self.limits.log_pages() * PAGE {
            // A file of an earlier version is written anew, all of it through the log, once it fits there.
            self.db.execute_batch("PRAGMA auto_vacuum=INCREMENTAL; VACUUM")?;
            false
        } else {
            return Ok(false);
        };
        if !more {
            self.db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
        }
        self.reserve.forget();
        Ok(more)
    }
}
