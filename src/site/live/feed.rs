//! A camera's pictures, for whoever wants them: outputs, tiles, snapshots, pads of `vigilsite`.
//!
//! The camera's pipeline ends here. A consumer that is slow or broken costs itself its frames, never the camera or another
//! consumer.

use std::sync::{Arc, Mutex, MutexGuard, Weak};

use crate::gstutil::lock;

/// A picture with its caps, and when it is to be shown.
#[derive(Debug, Clone)]
pub struct Frame {
    /// Buffer and caps. The buffer carries the frame result; its times are the camera's own, and mean nothing here.
    pub sample: gst::Sample,
    /// When it is to be shown, not before it left the camera's pipeline: time of the system's monotonic clock. The times of
    /// pictures that the camera took evenly are even.
    pub at: gst::ClockTime,
    /// Whether it is the camera's: otherwise it says that there is no signal.
    pub live: bool,
}

/// Somebody who wants a camera's pictures.
pub trait Consumer: Send + Sync {
    /// A picture. It is called on the camera's streaming thread: it must neither wait nor do work.
    fn frame(&self, frame: &Frame);

    /// There will be no more: the camera has come to its end or was removed.
    fn ended(&self);
}

#[derive(Default)]
struct State {
    consumers: Arc<Vec<(u64, Arc<dyn Consumer>)>>,
    subscribed: u64,
    latest: Option<Frame>,
    ended: bool,
    wanted: Option<Arc<dyn Fn() + Send + Sync>>,
}

/// A camera's pictures. It lives as long as the camera is part of the site, through all its reconnections.
#[derive(Default)]
pub struct Feed(Mutex<State>);

impl Feed {
    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.0)
    }

    /// Hands a picture to all consumers.
    pub fn publish(&self, frame: Frame) {
        let consumers = {
            let mut state = self.lock();
            state.latest = Some(frame.clone());
            state.ended = false;
            Arc::clone(&state.consumers)
        };
        consumers.iter().for_each(|(_, consumer)| consumer.frame(&frame));
    }

    /// Tells all consumers that there will be no more pictures, until the next one.
    pub fn end(&self) {
        let consumers = {
            let mut state = self.lock();
            state.ended = true;
            Arc::clone(&state.consumers)
        };
        consumers.iter().for_each(|(_, consumer)| consumer.ended());
    }

    /// The last picture, the camera's or one that says that there is no signal.
    pub fn latest(&self) -> Option<Frame> {
        self.lock().latest.clone()
    }

    /// Has `consumer` get the pictures from now on, until the subscription is dropped. It is told at once if there will be none.
    pub fn subscribe(self: &Arc<Self>, consumer: Arc<dyn Consumer>) -> Subscription {
        let mut state = self.lock();
        state.subscribed += 1;
        let number = state.subscribed;
        Arc::make_mut(&mut state.consumers).push((number, Arc::clone(&consumer)));
        let (wanted, ended) = (state.wanted.clone(), state.ended);
        drop(state);
        if ended {
            consumer.ended();
        }
        let _ = wanted.map(|wanted| wanted());
        Subscription { feed: Arc::downgrade(self), number }
    }

    /// Whether somebody wants pictures: where making them is work, it is done only then.
    pub fn is_wanted(&self) -> bool {
        !self.lock().consumers.is_empty()
    }

    /// Has `tell` called with each new subscription; it must not wait.
    pub fn when_wanted(&self, tell: impl Fn() + Send + Sync + 'static) {
        self.lock().wanted = Some(Arc::new(tell));
    }
}

/// A consumer's place at a feed. After it is dropped at most one more call comes, which was under way.
pub struct Subscription {
    feed: Weak<Feed>,
    number: u64,
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let Some(feed) = self.feed.upgrade() else { return };
        let mut state = feed.lock();
        let gone = Arc::clone(&state.consumers);
        Arc::make_mut(&mut state.consumers).retain(|(number, _)| *number != self.number);
        drop(state);
        // A consumer's end may take its time.
        drop(gone);
    }
}
