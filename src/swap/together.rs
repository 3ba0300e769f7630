//! One proof for all who want the same at the same time: a swap of sixteen cameras to one bundle loads and proves it once.
//!
//! The first who comes does the work, the others wait for its verdict. Only requests that overlap share one: nothing is remembered.
//! What is no verdict on the model (the request was cancelled, there was no memory, the load was late, its process died) is the
//! first one's own affair: then the next of those who wait does the work.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::phase::Reason;
use super::record::Identity;
use super::refusal::Refusal;
use crate::bundle::ModelSource;
use crate::cancel::{Cancel, LOOK};
use crate::model::Request;

/// All proofs of this process.
pub(super) static PROOFS: Together = Together(Mutex::new(Vec::new()));

/// What is added to a text that another request's proof has given.
const SHARED: &str = "; proven once for several requests";

/// What must be the same for a proof to be the same: the bundle's files, the reference set among them, and how it is loaded.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Wanted {
    identity: Identity,
    request: Request,
    load_limit: Duration,
}

impl Wanted {
    /// The proof of `source`, loaded as `request` says.
    pub(super) fn new(source: &ModelSource, request: &Request) -> Self {
        let (name, release, digest) = source.identity();
        let load_limit = request.background.as_ref().map_or(Duration::ZERO, |background| background.limit);
        let model = match source {
            // Its digest is that of all of its files, wherever they lie.
            ModelSource::Bundle(_) => String::new(),
            ModelSource::Bare { .. } => request.model.clone(),
        };
        let request = Request { model, background: None, ..request.clone() };
        Self { identity: Identity { name, release, digest }, request, load_limit }
    }
}

/// What a proof that went well says of its two phases.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Tried {
    pub(super) loaded: String,
    pub(super) proven: String,
}

type Outcome = Result<Tried, Refusal>;

/// Whether an outcome says something of the model, so that it counts for all.
fn is_verdict(outcome: &Outcome) -> bool {
    use Reason::{Contract, Format, LoadFailed, NonFinite, ReferenceLatency, ReferenceMismatch};
    match outcome {
        Ok(_) => true,
        Err(Refusal::Cancelled) => false,
        Err(Refusal::Bad(reason, _)) => {
            matches!(reason, Contract | Format | LoadFailed | NonFinite | ReferenceLatency | ReferenceMismatch)
        }
    }
}

/// A proof under way.
#[derive(Default)]
struct Flight {
    /// Whether it is over, with its verdict if there is one.
    over: Mutex<Option<Option<Outcome>>>,
    changed: Condvar,
}

impl Flight {
    fn lock(&self) -> MutexGuard<'_, Option<Option<Outcome>>> {
        self.over.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for its end; the verdict, if it has one.
    ///
    /// # Errors
    /// [`Refusal::Cancelled`], as soon as `cancel` says so.
    fn wait(&self, cancel: &Cancel) -> Result<Option<Outcome>, Refusal> {
        let mut over = self.lock();
        loop {
            if cancel.is_cancelled() {
                return Err(Refusal::Cancelled);
            }
            if let Some(verdict) = &*over {
                return Ok(verdict.clone());
            }
            over = self.changed.wait_timeout(over, LOOK).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

/// Proofs under way.
pub(super) struct Together(Mutex<Vec<(Wanted, Arc<Flight>)>>);

impl Together {
    /// Does `work`, or waits for the verdict of who does the same: what it says, in words that tell if it was shared.
    /// `cancel` ends the waiting; `work` looks at it by itself.
    ///
    /// # Errors
    /// Why the model is not taken, or that nobody wants it any more.
    pub(super) fn share(&self, wanted: &Wanted, cancel: &Cancel, work: impl FnOnce() -> Outcome) -> Outcome {
        loop {
            let (flight, leads) = self.join(wanted);
            if leads {
                let mut landing = Landing { together: self, flight, verdict: None };
                let outcome = work();
                landing.verdict = Some(outcome.clone()).filter(is_verdict);
                return outcome;
            }
            if let Some(verdict) = flight.wait(cancel)? {
                return match verdict {
                    Ok(Tried { loaded, proven }) => Ok(Tried { loaded, proven: proven + SHARED }),
                    Err(Refusal::Bad(reason, text)) => Err(Refusal::Bad(reason, text + SHARED)),
                    Err(Refusal::Cancelled) => Err(Refusal::Cancelled),
                };
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<(Wanted, Arc<Flight>)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The proof under way, or a new one and `true`.
    fn join(&self, wanted: &Wanted) -> (Arc<Flight>, bool) {
        let mut all = self.lock();
        if let Some((_, flight)) = all.iter().find(|(other, _)| other == wanted) {
            return (Arc::clone(flight), false);
        }
        let flight = Arc::default();
        all.push((wanted.clone(), Arc::clone(&flight)));
        (flight, true)
    }
}

/// Ends a proof, also where the work panics.
struct Landing<'a> {
    together: &'a Together,
    flight: Arc<Flight>,
    verdict: Option<Outcome>,
}

impl Drop for Landing<'_> {
    fn drop(&mut self) {
        // Who comes from now on begins anew.
        self.together.lock().retain(|(_, flight)| !Arc::ptr_eq(flight, &self.flight));
        *self.flight.lock() = Some(self.verdict.take());
        self.flight.changed.notify_all();
    }
}

#[cfg(test)]
#[path = "together_tests.rs"]
mod tests;
