//! The runs of an engine that are under way, so that they can be cut.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::EngineError;

/// A list of runs, each with the handle that it is cut with. The lock is held for a look at the list, never over a run.
pub(super) struct Runs<T> {
    list: Mutex<Vec<Running<T>>>,
    ended: Condvar,
    /// One run at a time.
    alone: bool,
}

struct Running<T> {
    handle: Arc<T>,
    until: Option<Instant>,
    cut: bool,
}

impl<T> Runs<T> {
    pub(super) fn new(alone: bool) -> Self {
        Self { list: Mutex::default(), ended: Condvar::new(), alone }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Running<T>>> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a run on the list, once it may begin.
    ///
    /// # Errors
    /// [`EngineError::Deadline`] if it is late before: whoever cuts runs may have looked for it.
    /// [`EngineError::Run`] if it would have to wait for a run that was cut and goes on.
    pub(super) fn begin(&self, handle: &Arc<T>, until: Option<Instant>) -> Result<(), EngineError> {
        let start = Instant::now();
        let mut list = self.lock();
        loop {
            let now = Instant::now();
            if let Some(until) = until.filter(|until| *until <= now) {
                return Err(EngineError::Deadline(until.saturating_duration_since(start)));
            }
            if !self.alone || list.is_empty() {
                list.push(Running { handle: Arc::clone(handle), until, cut: false });
                return Ok(());
            }
            if list.iter().any(|run| run.cut) {
                return Err(EngineError::Run("an earlier run was cut and does not end".into()));
            }
            list = match until {
                Some(until) => {
                    let time = until.saturating_duration_since(now);
                    self.ended.wait_timeout(list, time).unwrap_or_else(PoisonError::into_inner).0
                }
                None => self.ended.wait(list).unwrap_or_else(PoisonError::into_inner),
            };
        }
    }

    /// Takes a run off the list; `true` if it was cut.
    pub(super) fn end(&self, handle: &Arc<T>) -> bool {
        let mut list = self.lock();
        let at = list.iter().position(|run| Arc::ptr_eq(&run.handle, handle));
        let cut = at.is_some_and(|at| list.swap_remove(at).cut);
        drop(list);
        self.ended.notify_all();
        cut
    }

    /// Calls `terminate` for the runs that must be over at `now`; it says whether they will end.
    pub(super) fn cut(&self, now: Instant, terminate: impl Fn(&T) -> bool) {
        let mut list = self.lock();
        for run in list.iter_mut().filter(|run| run.until.is_some_and(|until| until <= now)) {
            run.cut = terminate(&run.handle);
        }
        drop(list);
        // Those who wait for one that was cut need not any more.
        self.ended.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::thread;
    use std::time::Duration;

    use super::*;

    /// Far from now.
    fn later() -> Instant {
        Instant::now() + Duration::from_secs(3600)
    }

    fn cut(runs: &Runs<u32>, now: Instant) -> Vec<u32> {
        let seen = Mutex::new(Vec::new());
        runs.cut(now, |handle| {
            seen.lock().unwrap().push(*handle);
            true
        });
        seen.into_inner().unwrap()
    }

    #[test]
    fn those_that_are_due_are_cut() {
        let runs = Runs::new(false);
        let (first, second, third) = (Arc::new(1), Arc::new(2), Arc::new(3));
        let soon = later();
        runs.begin(&first, Some(soon)).unwrap();
        runs.begin(&second, Some(soon + Duration::from_secs(1))).unwrap();
        runs.begin(&third, None).unwrap();
        assert!(cut(&runs, Instant::now()).is_empty());
        assert_eq!(cut(&runs, soon), [1]);
        assert!(runs.end(&first) && !runs.end(&second) && !runs.end(&third));
        assert!(cut(&runs, soon).is_empty());
        assert!(matches!(runs.begin(&first, Some(Instant::now())), Err(EngineError::Deadline(_))));
        assert!(cut(&runs, later()).is_empty(), "what is late does not begin");
    }

    #[test]
    fn one_at_a_time_waits_for_its_turn_and_not_for_one_that_hangs() {
        let runs = Runs::new(true);
        let (first, second) = (Arc::new(1), Arc::new(2));
        runs.begin(&first, Some(later())).unwrap();
        let soon = Instant::now() + Duration::from_millis(10);
        assert!(matches!(runs.begin(&second, Some(soon)), Err(EngineError::Deadline(_))), "it is not its turn by then");
        thread::scope(|scope| {
            let waits = scope.spawn(|| runs.begin(&second, None));
            assert!(!runs.end(&first));
            waits.join().unwrap().unwrap();
        });
        assert!(!runs.end(&second));
        let until = later();
        runs.begin(&first, Some(until)).unwrap();
        thread::scope(|scope| {
            let waits = [None, Some(until)].map(|until| {
                let (runs, second) = (&runs, &second);
                scope.spawn(move || runs.begin(second, until))
            });
            assert_eq!(cut(&runs, until), [1]);
            assert!(waits.into_iter().all(|wait| matches!(wait.join().unwrap(), Err(EngineError::Run(_)))));
        });
        // It ends after all.
        assert!(runs.end(&first));
        runs.begin(&second, None).unwrap();
    }
}
