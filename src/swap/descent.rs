//! The way down while video runs: what to try when the active model has failed on every frame for too long.

use std::time::{Duration, Instant};

use super::order::Order;
use super::phase::Cause;
use crate::bundle::Bundle;

/// What is known about the model that fails.
#[derive(Debug, Clone, Copy)]
pub struct Failing<'a> {
    /// What was loaded, as a user would write it.
    pub model: &'a str,
    /// Its bundle.
    pub bundle: &'a Bundle,
    /// SHA-256 of the variant in use.
    pub variant: &'a str,
    /// The execution provider in use.
    pub provider: &'a str,
    /// The provider that the user has asked for; `auto`: any that the bundle names.
    pub allowed: &'a str,
}

/// What there is below it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Below<'a> {
    /// The release before it, as a user would write it.
    pub previous: Option<&'a str>,
    /// The model for when nothing else works.
    pub fallback: Option<&'a str>,
}

/// Where an element is on its way down. Each step is taken once; what works ends the failing, not the way: a model that
/// fails again later goes on from where it was.
#[derive(Debug, Default)]
pub struct Descent {
    since: Option<Instant>,
    without: Vec<(String, String)>,
    tried: Vec<String>,
}

impl Descent {
    /// From the top again: a user has chosen another model.
    pub fn reset(&mut self) {
        *self = Self::default();
    }

    /// The model has answered.
    pub fn works(&mut self) {
        self.since = None;
    }

    /// The model has failed on a frame; whether it has failed for `limit` now. Then it is given as long again.
    pub fn fails(&mut self, now: Instant, limit: Duration) -> bool {
        let since = *self.since.get_or_insert(now);
        let over = now.saturating_duration_since(since) >= limit;
        if over {
            self.since = None;
        }
        over
    }

    /// The next thing to try; `None`: nothing is left, and frames pass without analysis.
    pub fn next(&mut self, failing: Failing<'_>, below: Below<'_>) -> Option<Order> {
        let pair = (failing.variant.to_owned(), failing.provider.to_owned());
        // Where it is known already, its bundle's other variants have been tried in vain.
        if !self.without.contains(&pair) {
            self.without.push(pair);
            if self.has_another(&failing) {
                let without = self.without.clone();
                return Some(Order { without, ..Order::new(failing.model, Cause::Fallback) });
            }
        }
        let candidates = below.previous.into_iter().chain(below.fallback);
        let next =
            candidates.filter(|model| *model != failing.model).find(|model| !self.tried.iter().any(|t| t == model))?;
        self.tried.push(next.to_owned());
        Some(Order::new(next, Cause::Fallback))
    }

    /// A step was not taken after all, for no fault of its model's.
    pub fn untake(&mut self, model: &str) {
        self.tried.retain(|tried| tried != model);
    }

    /// Whether the bundle has a variant with a provider that is allowed and has not failed.
    fn has_another(&self, failing: &Failing<'_>) -> bool {
        let any = failing.allowed == "auto";
        failing.bundle.variants.iter().any(|variant| {
            let unsaid = if any { "cpu" } else { failing.allowed };
            let mut providers = variant.providers.clone().unwrap_or_else(|| vec![unsaid.into()]).into_iter();
            let fresh = |provider: String| !self.without.contains(&(variant.sha256.clone(), provider));
            providers.any(|provider| (any || provider == failing.allowed) && fresh(provider))
        })
    }
}

#[cfg(test)]
#[path = "descent_tests.rs"]
mod tests;
