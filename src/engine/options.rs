//! How an engine is made.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::cancel::Cancel;

/// How an engine is made, and where it runs.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Options {
    /// Execution provider: `cpu`, `cuda`, `tensorrt` or `openvino`.
    pub provider: String,
    /// CPU threads that all runs together may use; at least 1.
    pub threads: usize,
    /// Runs that may be under way at once; at least 1. Only the CPU provider takes more than one.
    pub lanes: usize,
    /// Whether threads without work wait for it in a loop, as is the runtime's default. A run on several threads is
    /// quicker then, but between runs, which is most of the time beside a camera, a processor is kept busy for nothing.
    pub spin: bool,
    /// Most pictures of several users that go into one run; 0: as many as pay, which is measured at load.
    pub max_batch: usize,
    /// Where it runs.
    pub isolation: Isolation,
}

impl Options {
    /// One run at a time on one thread, in this process.
    pub fn least(provider: &str) -> Self {
        let (provider, isolation) = (provider.to_owned(), Isolation::None);
        Self { provider, threads: 1, lanes: 1, spin: false, max_batch: 1, isolation }
    }

    /// Most threads that one run uses: a lane brings its own thread, and the rest of the budget is a pool that all lanes
    /// share.
    pub fn threads_per_run(&self) -> usize {
        self.threads.saturating_sub(self.lanes) + 1
    }
}

/// Where an engine runs.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub enum Isolation {
    /// In this process.
    #[default]
    None,
    /// In a process of its own, which may die.
    Process(Worker),
}

/// How an engine's own process is set up.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct Worker {
    /// Most bytes of memory of its own (`RLIMIT_DATA`); 0: no limit.
    pub memory_max: u64,
    /// Numbers of the processors that it may run on, in rising order; empty: all.
    pub cpus: Vec<usize>,
    /// How much it stands back behind other processes, 0..19.
    pub niceness: u8,
    /// ONNX Runtime's library; `None`: the first one found. Each process may have its own.
    pub ort_library: Option<PathBuf>,
}

/// A load beside running video: at low priority, given up after `limit` or when `cancel` says so.
///
/// A model that hangs while this process loads it cannot be given up: the runtime has no way to end that. Load a model
/// that is not known yet in a process of its own first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Background {
    /// Longest time to load one variant, and to run it for the first time.
    pub limit: Duration,
    /// Ends the load when its outcome is no longer wanted.
    pub cancel: Cancel,
}

/// Most processors that the system can name in a set.
pub const MAX_CPUS: usize = 1024;

/// Numbers of processors from a text such as `0-1,3`, in rising order; an empty text has none.
///
/// # Errors
/// A text that says what is wrong with which part.
pub fn parse_cpus(text: &str) -> Result<Vec<usize>, String> {
    let mut cpus = std::collections::BTreeSet::new();
    for part in text.split(',').map(str::trim).filter(|p| !p.is_empty() || text.contains(',')) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let number = |text: &str| text.trim().parse::<usize>().ok().filter(|n| *n < MAX_CPUS);
        match (number(first), number(last)) {
            (Some(first), Some(last)) if first <= last => cpus.extend(first..=last),
            _ => {
                return Err(format!(
                    "{part:?} in {text:?} names no processors: numbers from 0 to {} and ranges of them are separated by \
                     commas, such as 0-1,3",
                    MAX_CPUS - 1
                ));
            }
        }
    }
    Ok(cpus.into_iter().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processors_are_read_from_numbers_and_ranges() {
        assert_eq!(parse_cpus("").unwrap(), [0; 0]);
        assert_eq!(parse_cpus("  ").unwrap(), [0; 0]);
        assert_eq!(parse_cpus("3").unwrap(), [3]);
        assert_eq!(parse_cpus("3, 0-1,1-2").unwrap(), [0, 1, 2, 3]);
        for wrong in ["x", "1-", "-1", "2-1", "1,,2", "1,", "1024", "0-99999999999999999999"] {
            let text = parse_cpus(wrong).unwrap_err();
            assert!(text.contains("0-1,3"), "{text}");
        }
    }
}
