//! What is told about a swap: one record for each phase.

use std::collections::VecDeque;
use std::time::Duration;

use super::phase::{Cause, Phase, Reason};
use crate::bundle::Bundle;

/// Records that are kept for who asks later.
const KEPT: usize = 32;

/// Which model, as its bundle says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Identity {
    /// The bundle's name; the file's stem for a bare model.
    pub name: String,
    /// The bundle's release; empty for a bare model.
    pub release: String,
    /// SHA-256 over all of the bundle's files; that of the file for a bare model.
    pub digest: String,
}

impl Identity {
    /// Of a bundle.
    pub fn of(bundle: &Bundle) -> Self {
        Self { name: bundle.name.clone(), release: bundle.release.clone(), digest: bundle.digest.clone() }
    }
}

impl std::fmt::Display for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.release.as_str() {
            "" => f.write_str(&self.name),
            release => write!(f, "{}@{release}", self.name),
        }
    }
}

/// A phase of a swap that is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Number of the request, from 1, in the order in which an element got them.
    pub request: u64,
    /// The phase.
    pub phase: Phase,
    /// Who wanted the swap.
    pub cause: Cause,
    /// Why it ended as it did, where it did not end well or there was nothing to do.
    pub reason: Option<Reason>,
    /// What happened, for people.
    pub text: String,
    /// What was asked for: a path, or a name.
    pub model: String,
    /// The model that looked at frames when the request came.
    pub old: Option<Identity>,
    /// The one to take its place, once its bundle has been read.
    pub new: Option<Identity>,
    /// Since the request.
    pub elapsed: Duration,
    /// Since the phase before.
    pub took: Duration,
    /// Wall clock, nanoseconds since 1970 UTC.
    pub utc_ns: u64,
}

/// The last records, and what became of all requests.
#[derive(Debug, Clone, Default)]
pub struct History {
    records: VecDeque<Record>,
    /// Requests so far.
    pub requests: u64,
    /// Those that were confirmed.
    pub confirmed: u64,
    /// Those that ended before the new model looked at a frame.
    pub rejected: u64,
    /// Those that ended with the old model in its place again.
    pub rolled_back: u64,
}

impl History {
    /// Adds a record.
    pub fn push(&mut self, record: &Record) {
        match record.phase {
            Phase::Requested => self.requests += 1,
            Phase::Confirmed => self.confirmed += 1,
            Phase::Rejected => self.rejected += 1,
            Phase::RolledBack => self.rolled_back += 1,
            _ => {}
        }
        if self.records.len() == KEPT {
            self.records.pop_front();
        }
        self.records.push_back(record.clone());
    }

    /// The last records, oldest first.
    pub fn records(&self) -> impl Iterator<Item = &Record> {
        self.records.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_records_stay_and_all_outcomes_count() {
        let record = |request: u64, phase| Record {
            request,
            phase,
            cause: Cause::Signal,
            reason: None,
            text: String::new(),
            model: "people".into(),
            old: None,
            new: None,
            elapsed: Duration::ZERO,
            took: Duration::ZERO,
            utc_ns: 0,
        };
        let mut history = History::default();
        for request in 1..=20 {
            history.push(&record(request, Phase::Requested));
            history.push(&record(request, if request % 4 == 0 { Phase::Rejected } else { Phase::Confirmed }));
        }
        history.push(&record(21, Phase::RolledBack));
        assert_eq!(history.records().count(), KEPT);
        assert_eq!(history.records().last().unwrap().request, 21);
        assert_eq!((history.requests, history.confirmed, history.rejected, history.rolled_back), (20, 15, 5, 1));
    }

    #[test]
    fn an_identity_reads_like_what_users_write() {
        let mut identity = Identity { name: "people".into(), release: "2".into(), digest: String::new() };
        assert_eq!(identity.to_string(), "people@2");
        identity.release.clear();
        assert_eq!(identity.to_string(), "people");
    }
}
