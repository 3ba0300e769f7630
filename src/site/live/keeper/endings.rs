//! A camera's pipelines that were told to end and have not.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::site::live::END_LIMIT;
use crate::site::live::run::Link;

/// Most pipelines of a camera that may hang: each keeps a thread, memory and connections, until the process has none left for the other
/// cameras.
const MOST: usize = 4;

struct Ending {
    link: Arc<Link>,
    since: Instant,
}

impl Ending {
    fn hangs(&self) -> bool {
        self.since.elapsed() >= END_LIMIT
    }
}

/// See the module's description. One hangs if it has not ended in [`END_LIMIT`].
#[derive(Default)]
pub struct Endings(Vec<Ending>);

impl Endings {
    /// One more was told to end.
    pub fn add(&mut self, link: Arc<Link>) {
        self.0.push(Ending { link, since: Instant::now() });
    }

    /// The one of this number has ended.
    pub fn remove(&mut self, generation: u64) {
        self.0.retain(|ending| ending.link.generation != generation);
    }

    /// Whether all have ended.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many hang.
    pub fn hanging(&self) -> usize {
        self.0.iter().filter(|ending| ending.hangs()).count()
    }

    /// Whether so many hang that no other may be started.
    pub fn are_too_many(&self) -> bool {
        self.hanging() >= MOST
    }

    /// Whether one is to be waited for: it is the one of the number `last`, or it may still end in time.
    pub fn are_to_come(&self, last: Option<u64>) -> bool {
        self.0.iter().any(|ending| Some(ending.link.generation) == last || !ending.hangs())
    }

    /// Has none of them give another picture: one that wakes up later must not do so beside its successor.
    pub fn silence(&self) {
        for ending in &self.0 {
            ending.link.current.store(false, Ordering::SeqCst);
        }
    }
}

/// What of the time for its end a camera's pipeline has; the rest is for the outputs, which take its last pictures.
pub fn share(limit: Duration) -> Duration {
    limit.mul_f64(0.7)
}
