//! A host without an element, for tests of the swapper.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use super::order::{Host, Order, Terms};
use super::phase::{Phase, Reason};
use super::record::Record;
use super::swapper::Swapper;
use super::trial::{Trial, TrialReport};
use crate::analysis::Companion;
use crate::model::{Model, Request};

/// Longest that a test waits for another thread.
const GUARD: Duration = Duration::from_secs(60);

/// A call of the swapper.
pub enum Call<'a> {
    Request(&'a Order),
    Terms,
    Current,
    Activate,
    Accompany(bool),
    Watch(Option<Arc<Trial>>),
    Tell(&'a Record),
    Settled(&'a Record),
    Standing,
}

type Hook = Arc<dyn Fn(&FakeHost, &Call<'_>) + Send + Sync>;

#[derive(Default)]
pub struct Seen {
    pub records: Vec<Record>,
    pub settled: Vec<Record>,
    pub current: Option<Arc<Model>>,
    pub standing: Option<Order>,
    pub terms: Terms,
    pub stopped: bool,
    /// The last ones that the swapper set.
    pub accompanied: bool,
    pub watched: bool,
    /// Orders for a model called `hang…` wait for it.
    gate: bool,
    /// Orders that wait, and the most that did at once.
    pub inside: usize,
    pub most_inside: usize,
}

/// Refuses every order as not found, but those for a file: they are opened. Orders for `hang…` wait until the test lets
/// them go.
#[derive(Default)]
pub struct FakeHost {
    seen: Mutex<Seen>,
    changed: Condvar,
    hook: Mutex<Option<Hook>>,
    swapper: Mutex<Weak<Swapper>>,
}

impl FakeHost {
    /// A swapper that is open, and its host.
    pub fn open() -> (Arc<Self>, Arc<Swapper>) {
        let host = Arc::new(Self::default());
        let swapper = Arc::new(Swapper::new(Arc::clone(&host) as Arc<dyn Host>));
        *host.swapper.lock().unwrap() = Arc::downgrade(&swapper);
        swapper.open();
        (host, swapper)
    }

    /// Calls `hook` in every call of the swapper, with no lock held.
    pub fn hook(&self, hook: impl Fn(&Self, &Call<'_>) + Send + Sync + 'static) {
        *self.hook.lock().unwrap() = Some(Arc::new(hook));
    }

    pub fn swapper(&self) -> Option<Arc<Swapper>> {
        self.swapper.lock().unwrap().upgrade()
    }

    pub fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn change<T>(&self, how: impl FnOnce(&mut Seen) -> T) -> T {
        let value = how(&mut self.seen());
        self.changed.notify_all();
        value
    }

    /// Lets orders that hang go on, those to come too.
    pub fn let_go(&self) {
        self.change(|seen| seen.gate = true);
    }

    #[track_caller]
    pub fn until(&self, what: &str, holds: impl Fn(&Seen) -> bool) {
        let waited = self.changed.wait_timeout_while(self.seen(), GUARD, |seen| !holds(seen)).unwrap();
        assert!(!waited.1.timed_out(), "waited in vain for {what}: {:#?}", waited.0.records);
    }

    /// How request `number` ended, once it has.
    #[track_caller]
    pub fn outcome(&self, number: u64) -> (Phase, Option<Reason>) {
        let over = |r: &&Record| r.request == number && is_over(r.phase);
        self.until(&format!("the end of {number}"), |seen| seen.records.iter().any(|r| over(&r)));
        let seen = self.seen();
        seen.records.iter().find(over).map(|r| (r.phase, r.reason)).unwrap()
    }

    fn call(&self, call: &Call<'_>) {
        let hook = self.hook.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(hook) = hook {
            hook(self, call);
        }
    }
}

pub fn is_over(phase: Phase) -> bool {
    [Phase::Confirmed, Phase::Rejected, Phase::RolledBack].contains(&phase)
}

fn is(a: Option<&Arc<Model>>, b: Option<&Arc<Model>>) -> bool {
    a.map(Arc::as_ptr) == b.map(Arc::as_ptr)
}

impl Host for FakeHost {
    fn request(&self, order: &Order) -> Result<Request, (Reason, String)> {
        self.call(&Call::Request(order));
        if order.model.starts_with("hang") {
            self.change(|seen| {
                seen.inside += 1;
                seen.most_inside = seen.most_inside.max(seen.inside);
            });
            self.until("the gate", |seen| seen.gate);
            self.change(|seen| seen.inside -= 1);
        }
        if std::path::Path::new(&order.model).is_file() {
            return Ok(Request { model: order.model.clone(), ..Request::default() });
        }
        Err((Reason::NotFound, format!("{} is not there", order.model)))
    }

    fn terms(&self) -> Terms {
        self.call(&Call::Terms);
        self.seen().terms.clone()
    }

    fn current(&self) -> Option<Arc<Model>> {
        self.call(&Call::Current);
        self.seen().current.clone()
    }

    fn activate(&self, old: Option<&Arc<Model>>, model: Option<Arc<Model>>) -> bool {
        self.call(&Call::Activate);
        self.change(|seen| {
            let takes = !seen.stopped && is(seen.current.as_ref(), old);
            if takes {
                seen.current = model;
            }
            takes
        })
    }

    fn accompany(&self, companion: Option<Companion>) {
        self.call(&Call::Accompany(companion.is_some()));
        self.change(|seen| seen.accompanied = companion.is_some());
    }

    fn watch(&self, trial: Option<(Arc<Trial>, &Arc<Model>)>) {
        self.change(|seen| seen.watched = trial.is_some());
        self.call(&Call::Watch(trial.map(|(trial, _)| trial)));
    }

    fn tell(&self, record: &Record) {
        self.change(|seen| seen.records.push(record.clone()));
        self.call(&Call::Tell(record));
    }

    fn report(&self, _request: u64, _report: &TrialReport) {}

    fn settled(&self, _order: &Order, record: &Record) {
        self.change(|seen| seen.settled.push(record.clone()));
        self.call(&Call::Settled(record));
    }

    fn standing(&self) -> Option<Order> {
        self.call(&Call::Standing);
        self.seen().standing.clone()
    }
}
