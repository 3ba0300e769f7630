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
    /// Whether another provider may be used.
    pub any_provider: bool,
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
        if !self.without.contains(&pair) {
            self.without.push(pair);
        }
        if failing.any_provider && self.has_another(failing.bundle) {
            let without = self.without.clone();
            return Some(Order { without, ..Order::new(failing.model, Cause::Fallback) });
        }
        let candidates = below.previous.into_iter().chain(below.fallback);
        let next =
            candidates.filter(|model| *model != failing.model).find(|model| !self.tried.iter().any(|t| t == model))?;
        self.tried.push(next.to_owned());
        Some(Order::new(next, Cause::Fallback))
    }

    /// Whether the bundle has a variant with a provider that has not failed.
    fn has_another(&self, bundle: &Bundle) -> bool {
        bundle.variants.iter().any(|variant| {
            let providers = variant.providers.clone().unwrap_or_else(|| vec!["cpu".into()]);
            providers.into_iter().any(|provider| !self.without.contains(&(variant.sha256.clone(), provider)))
        })
    }
}
