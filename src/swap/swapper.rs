//! An element's requests: taken at once, carried out one after the other by a thread of their own.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use super::order::{Host, Order};
use super::phase::{Cause, Reason};
use super::record::{History, Record};
use super::steps::{Progress, carry_out};
use crate::cancel::Cancel;

/// A request that waits for the thread.
struct Pending {
    progress: Progress,
    order: Order,
}

/// The request that the thread is at.
struct Running {
    number: u64,
    cancel: Cancel,
    /// Nobody asked for it in particular: it is what the host wants to be done meanwhile.
    standing: bool,
}

#[derive(Default)]
struct State {
    /// Requests so far.
    requests: u64,
    /// The latest one that was put in line.
    latest: u64,
    pending: Option<Pending>,
    running: Option<Running>,
    /// There is a thread, and it looks for work before it ends.
    working: bool,
    /// A thread, maybe of an earlier epoch, has dealings with the host.
    busy: bool,
    /// What the host wants to be done may have changed.
    look: bool,
    open: bool,
    /// Closed so often: a thread of an earlier epoch has nothing to say any more.
    epoch: u64,
    history: History,
}

impl State {
    /// Whether a request waits or is under way, apart from one that gives way.
    fn is_taken(&self) -> bool {
        self.pending.is_some() || self.running.as_ref().is_some_and(|running| !running.standing)
    }
}

pub(super) struct Shared {
    host: Arc<dyn Host>,
    state: Mutex<State>,
    /// `busy` or `epoch` has changed.
    changed: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn host(&self) -> &dyn Host {
        self.host.as_ref()
    }

    /// Keeps a record and passes it on.
    pub(super) fn tell(&self, record: &Record) {
        {
            let mut state = self.lock();
            state.history.push(record);
        }
        // What a host does with the news must not harm what it is about.
        let _ = catch_unwind(AssertUnwindSafe(|| self.host.tell(record)));
    }

    /// Whether the element that a thread of that epoch works for has not been stopped since.
    pub(super) fn is_current(&self, epoch: u64) -> bool {
        let state = self.lock();
        state.open && state.epoch == epoch
    }

    /// The model of the request under way looks at frames for others: it is not what gives way any more.
    pub(super) fn placed(&self) {
        if let Some(running) = &mut self.lock().running {
            running.standing = false;
        }
    }

    /// Why a request of that epoch was cancelled.
    pub(super) fn why_cancelled(&self, epoch: u64) -> (Reason, &'static str) {
        if self.is_current(epoch) {
            (Reason::Superseded, "a later request took its place")
        } else {
            (Reason::Stopped, "the element was stopped")
        }
    }

    /// What a thread of that epoch does next; `None`: it ends.
    fn next(&self, epoch: u64) -> Option<(Pending, Cancel)> {
        let begin = |state: &mut State, pending: Pending, standing: bool| {
            let (cancel, number) = (Cancel::default(), pending.progress.request());
            state.running = Some(Running { number, cancel: cancel.clone(), standing });
            Some((pending, cancel))
        };
        loop {
            {
                let mut state = self.lock();
                if state.epoch != epoch {
                    return None;
                }
                state.running = None;
                state.look = false;
                if let Some(pending) = state.pending.take() {
                    return begin(&mut state, pending, false);
                }
            }
            // A host that panics wants nothing.
            let standing = catch_unwind(AssertUnwindSafe(|| self.host.standing())).unwrap_or_default();
            let mut state = self.lock();
            if state.epoch != epoch {
                return None;
            }
            if state.pending.is_some() || state.look {
                continue;
            }
            let Some(order) = standing else {
                state.working = false;
                return None;
            };
            state.requests += 1;
            let gives_way = order.cause == Cause::Shadow;
            let pending = Pending { progress: Progress::new(state.requests, &order), order };
            return begin(&mut state, pending, gives_way);
        }
    }

    /// Waits until a thread of an earlier epoch has let go of what it had in hand; `false` if that lasted beyond this
    /// epoch.
    fn take_turn(&self, epoch: u64) -> bool {
        let wait = |state: &mut State| state.busy && state.epoch == epoch;
        let mut state = self.changed.wait_while(self.lock(), wait).unwrap_or_else(PoisonError::into_inner);
        let ours = state.epoch == epoch;
        state.busy |= ours;
        ours
    }

    fn work(&self, epoch: u64) {
        if !self.take_turn(epoch) {
            return;
        }
        while let Some((Pending { mut progress, order }, cancel)) = self.next(epoch) {
            carry_out(self, &mut progress, &order, &cancel, epoch);
        }
        self.lock().busy = false;
        self.changed.notify_all();
    }
}

/// Takes an element's requests for another model and carries them out.
pub struct Swapper {
    shared: Arc<Shared>,
}

impl std::fmt::Debug for Swapper {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Swapper").finish_non_exhaustive()
    }
}

impl Swapper {
    /// One that takes nothing until [`open`](Self::open).
    pub fn new(host: Arc<dyn Host>) -> Self {
        Self { shared: Arc::new(Shared { host, state: Mutex::default(), changed: Condvar::new() }) }
    }

    /// Takes requests from now on.
    pub fn open(&self) {
        self.shared.lock().open = true;
        self.look_again();
    }

    /// Gives up what is under way, and takes nothing more. Does not wait: what a thread still has in hand it lets go.
    pub fn close(&self) {
        let (pending, running) = {
            let mut state = self.shared.lock();
            (state.open, state.working) = (false, false);
            state.epoch += 1;
            (state.pending.take(), state.running.take())
        };
        self.shared.changed.notify_all();
        if let Some(running) = running {
            running.cancel.cancel();
        }
        if let Some(Pending { mut progress, order }) = pending {
            progress.refuse(&self.shared, &order, Reason::Stopped, "the element was stopped".into());
        }
    }

    /// Takes a request, in place of one that waits or is under way; its number. `None` while the swapper is closed.
    pub fn request(&self, order: Order) -> Option<u64> {
        self.request_with(order, false, |_| ())
    }

    /// As [`request`](Self::request), with a word to the caller before anything comes of it; `None` too if `modest` and
    /// another request waits or is under way.
    pub fn request_with(&self, order: Order, modest: bool, noted: impl FnOnce(u64)) -> Option<u64> {
        let (number, epoch) = {
            let mut state = self.shared.lock();
            if !state.open || (modest && state.is_taken()) {
                return None;
            }
            state.requests += 1;
            (state.requests, state.epoch)
        };
        noted(number);
        let mut progress = Progress::new(number, &order);
        progress.begin(&self.shared, &order);
        let (replaced, cancel) = {
            let mut state = self.shared.lock();
            let own = Pending { progress, order };
            // Another one may have come between, which may be over by now, or the end of them all.
            if state.epoch != epoch || state.latest > number || (modest && state.is_taken()) {
                (Some(own), None)
            } else {
                state.latest = number;
                let replaced = state.pending.replace(own);
                // What nobody asked for gives way, also if it began in between and has a later number.
                let running = state.running.as_ref().filter(|r| r.standing || r.number < number);
                (replaced, running.map(|r| r.cancel.clone()))
            }
        };
        if let Some(cancel) = cancel {
            cancel.cancel();
        }
        if let Some(Pending { mut progress, order }) = replaced {
            let (reason, text) = self.shared.why_cancelled(epoch);
            progress.refuse(&self.shared, &order, reason, text.into());
        }
        self.start();
        Some(number)
    }

    /// Looks whether what the host wants to be done meanwhile has changed; what is under way for it begins anew.
    pub fn look_again(&self) {
        let (standing, idle) = {
            let mut state = self.shared.lock();
            state.look = true;
            let standing = state.running.as_ref().filter(|r| r.standing).map(|r| r.cancel.clone());
            (standing, !state.working)
        };
        if let Some(cancel) = standing {
            cancel.cancel();
        }
        // Most elements want nothing, and need no thread to find that out.
        if idle && self.shared.host.standing().is_some() {
            self.start();
        }
    }

    /// Has the thread ask what is to be done meanwhile, without asking here.
    pub fn wake(&self) {
        self.shared.lock().look = true;
        self.start();
    }

    /// The last records, and what became of all requests.
    pub fn history(&self) -> History {
        self.shared.lock().history.clone()
    }

    /// Whether no request is under way; what the host wants to be done meanwhile is none until its model looks at frames
    /// for others.
    pub fn is_idle(&self) -> bool {
        !self.shared.lock().is_taken()
    }

    #[cfg(test)]
    pub(super) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    fn start(&self) {
        let epoch = {
            let mut state = self.shared.lock();
            if state.working || !state.open {
                return;
            }
            state.working = true;
            state.epoch
        };
        let shared = Arc::clone(&self.shared);
        let thread = std::thread::Builder::new().name("vigil-swap".into()).spawn(move || shared.work(epoch));
        if let Err(error) = thread {
            let pending = {
                let mut state = self.shared.lock();
                state.working = false;
                state.pending.take()
            };
            if let Some(Pending { mut progress, order }) = pending {
                let text = format!("the system gives no thread to load it: {error}");
                progress.refuse(&self.shared, &order, Reason::Memory, text);
            }
        }
    }
}

impl Drop for Swapper {
    fn drop(&mut self) {
        self.close();
    }
}

#[cfg(test)]
#[path = "swapper_tests.rs"]
mod tests;
