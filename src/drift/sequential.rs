//! A sequential test that says when a stream of scores has left its baseline, with a bound on false alarms.
//!
//! For each score there are *chains*, one for each direction and size of bet. A chain multiplies e-values
//! `exp(λ·z − λ²/2)`, and starts anew at 1 whenever it has fallen below (the e-CUSUM of Shin, Ramdas and Rinaldo,
//! "E-detectors", 2022). If each e-value has an expectation of at most 1 given the past while nothing has changed, then
//! the weighted mean of all chains is below the Shiryaev-Roberts sum, whose expectation grows by at most 1 a step, and
//! so the mean number of steps until the mean of the chains reaches A is at least A. That holds for any dependence
//! between scores. What it rests on is the bound of 1, which a scale that was made for it must provide: see `baseline`.

use serde::{Deserialize, Serialize};

/// The bets: large ones find a large change at once, small ones a small change at all.
pub(super) const BETS: [f64; 3] = [0.5, 1.0, 2.0];
/// A score counts as no further from the baseline than this, so that one odd window alone never raises the alarm.
const FURTHEST: f64 = 4.0;

/// The mean e-value of a bet over scores, by which a scale is chosen.
pub(super) fn mean_e_value(bet: f64, scores: impl ExactSizeIterator<Item = f64>) -> f64 {
    let n = scores.len().max(1) as f64;
    scores.map(|z| log_e_value(bet, bounded(z)).exp()).sum::<f64>() / n
}

fn log_e_value(bet: f64, z: f64) -> f64 {
    bet * z - bet * bet / 2.0
}

fn bounded(z: f64) -> f64 {
    if z.is_nan() { 0.0 } else { z.clamp(-FURTHEST, FURTHEST) }
}

/// The chains of one score in one direction.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Chains {
    /// Logarithms of the products.
    logs: [f64; BETS.len()],
    /// Wall clock at which each product last started from 1, nanoseconds since 1970 UTC.
    since_utc_ns: [u64; BETS.len()],
}

impl Chains {
    /// Chains that have seen nothing, at this time.
    pub fn new(utc_ns: u64) -> Self {
        Self { logs: [0.0; BETS.len()], since_utc_ns: [utc_ns; BETS.len()] }
    }

    /// Takes a score that is in standard deviations, positive in the chains' direction; `from_utc_ns` is when what it was
    /// made from begins. A product rises no further than to `ceiling` (a logarithm), so that it can come down again.
    pub fn step(&mut self, z: f64, from_utc_ns: u64, ceiling: f64) {
        let z = bounded(z);
        for ((log, since), bet) in self.logs.iter_mut().zip(&mut self.since_utc_ns).zip(BETS) {
            if *log <= 0.0 {
                (*log, *since) = (0.0, from_utc_ns);
            }
            *log = (*log + log_e_value(bet, z)).min(ceiling);
        }
    }

    /// Logarithm of the mean of the products.
    pub fn log(&self) -> f64 {
        log_mean(self.logs.iter().map(|&log| (log, 1.0)))
    }

    /// When the largest product started to grow.
    pub fn since_utc_ns(&self) -> u64 {
        let largest = self.logs.iter().zip(self.since_utc_ns).max_by(|a, b| a.0.total_cmp(b.0));
        largest.map_or(0, |(_, since)| since)
    }
}

/// Logarithm of the weighted mean of numbers whose logarithms are given; −∞ without any.
pub(super) fn log_mean(parts: impl Iterator<Item = (f64, f64)> + Clone) -> f64 {
    let largest = parts.clone().map(|(log, _)| log).fold(f64::NEG_INFINITY, f64::max);
    if !largest.is_finite() {
        return f64::NEG_INFINITY;
    }
    let (sum, weights) =
        parts.fold((0.0, 0.0), |(sum, weights), (log, w)| (sum + w * (log - largest).exp(), weights + w));
    largest + (sum / weights).ln()
}

#[cfg(test)]
#[path = "sequential_tests.rs"]
mod tests;
