//! The threads that run an engine for all its users, each in turn.
//!
//! An engine has a few lanes (runs that may be under way at once), however many cameras share it. A user with work
//! stands in the queue once; a lane takes the first in the queue, does one piece of its work and sends it to the end of
//! the queue. So a camera with many frames delays another one by one run at most, and a silent one costs nothing.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use super::Engine;

/// Someone who has work for an engine.
pub trait User: Send + Sync {
    /// Does one piece of work with `engine`; called once for every [`Lanes::request`].
    fn work(&self, engine: &dyn Engine);
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<(Arc<dyn User>, usize)>,
    stop: bool,
}

#[derive(Default)]
struct Shared {
    queue: Mutex<Queue>,
    changed: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the next user in turn; `None` when the lanes close.
    fn next(&self) -> Option<Arc<dyn User>> {
        let mut queue = self.lock();
        loop {
            if queue.stop {
                return None;
            }
            if let Some((user, pieces)) = queue.waiting.pop_front() {
                if pieces > 1 {
                    queue.waiting.push_back((Arc::clone(&user), pieces - 1));
                }
                return Some(user);
            }
            queue = self.changed.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// An engine with its threads.
pub struct Lanes {
    engine: Arc<dyn Engine>,
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

impl Lanes {
    /// Starts one thread per lane of `engine`.
    ///
    /// # Errors
    /// If the system gives no thread.
    pub fn start(engine: Arc<dyn Engine>) -> std::io::Result<Self> {
        let shared = Arc::<Shared>::default();
        let mut lanes = Self { engine, shared, threads: Vec::new() };
        for i in 0..lanes.engine.lanes().max(1) {
            let (engine, shared) = (Arc::clone(&lanes.engine), Arc::clone(&lanes.shared));
            let run = move || {
                while let Some(user) = shared.next() {
                    // A panic costs its user one answer, which the user notices; the lane serves the others.
                    let _ = catch_unwind(AssertUnwindSafe(|| user.work(engine.as_ref())));
                }
            };
            lanes.threads.push(thread::Builder::new().name(format!("vigil-lane-{i}")).spawn(run)?);
        }
        Ok(lanes)
    }

    /// The engine.
    pub fn engine(&self) -> &dyn Engine {
        self.engine.as_ref()
    }

    /// Asks for one call of `user.work`.
    pub fn request(&self, user: &Arc<dyn User>) {
        let mut queue = self.shared.lock();
        match queue.waiting.iter_mut().find(|(waiting, _)| Arc::ptr_eq(waiting, user)) {
            Some((_, pieces)) => *pieces += 1,
            None => queue.waiting.push_back((Arc::clone(user), 1)),
        }
        drop(queue);
        self.shared.changed.notify_one();
    }
}

impl Drop for Lanes {
    fn drop(&mut self) {
        self.shared.lock().stop = true;
        self.shared.changed.notify_all();
        let own = thread::current().id();
        for thread in self.threads.drain(..) {
            // The last owner may be a user whose work ends on a lane: that one ends by itself.
            if thread.thread().id() != own {
                let _ = thread.join();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Sender, channel};

    use super::*;
    use crate::engine::fake::Fake;

    struct Named(&'static str, Sender<&'static str>, Mutex<Option<std::sync::mpsc::Receiver<()>>>);

    impl User for Named {
        fn work(&self, _: &dyn Engine) {
            if let Some(gate) = self.2.lock().unwrap().take() {
                gate.recv().unwrap();
            }
            self.1.send(self.0).unwrap();
            assert_ne!(self.0, "panics", "a panic that the lane must survive");
        }
    }

    #[test]
    fn users_take_turns_and_a_panic_ends_no_lane() {
        let lanes = Lanes::start(Arc::new(Fake::new(1))).unwrap();
        let (sender, order) = channel();
        let (open, gate) = channel();
        let user = |name, gate| -> Arc<dyn User> { Arc::new(Named(name, sender.clone(), Mutex::new(gate))) };
        let first = user("first", Some(gate));
        let (busy, quiet, panics) = (user("busy", None), user("quiet", None), user("panics", None));
        // The gate holds the only lane until all requests are in.
        lanes.request(&first);
        for _ in 0..3 {
            lanes.request(&busy);
        }
        lanes.request(&panics);
        lanes.request(&quiet);
        open.send(()).unwrap();
        let seen: Vec<_> = (0..6).map(|_| order.recv().unwrap()).collect();
        assert_eq!(seen, ["first", "busy", "panics", "quiet", "busy", "busy"]);
    }
}
