//! A camera of a site, as the site has it: what it does is decided on its keeper's thread.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::feed::Feed;
use super::keeper::{Command, Keeper};
use super::outlet::Outlets;
use super::outputs::{Outputs, Owner};
use super::run::{Order, Statistics};
use crate::gstutil::lock;
use crate::site::events::Events;
use crate::site::plan::CameraPlan;
use crate::site::status::{CameraStatus, Reason, State};

/// Span over which frames a second are counted, nanoseconds.
const FPS_SPAN: u64 = 4_000_000_000;
/// Most frames whose times are kept for it.
const FPS_FRAMES: usize = 512;

/// What is counted over all pipelines of a camera.
#[derive(Default)]
pub struct Counts {
    frames: AtomicU64,
    last: AtomicU64,
    size: AtomicU64,
    times: Mutex<VecDeque<u64>>,
}

impl Counts {
    /// A picture has come.
    pub fn frame(&self, now: u64) {
        self.frames.fetch_add(1, Ordering::Relaxed);
        self.last.store(now, Ordering::Relaxed);
        let mut times = lock(&self.times);
        if times.len() == FPS_FRAMES {
            times.pop_front();
        }
        times.push_back(now);
    }

    /// Pictures are of this size from now on.
    pub fn set_size(&self, width: u32, height: u32) {
        self.size.store(u64::from(width) << 32 | u64::from(height), Ordering::Relaxed);
    }

    /// Width and height; zeros before the first picture.
    pub fn size(&self) -> [u32; 2] {
        let size = self.size.load(Ordering::Relaxed);
        [(size >> 32) as u32, size as u32]
    }

    /// All pictures so far.
    pub fn frames(&self) -> u64 {
        self.frames.load(Ordering::Relaxed)
    }

    /// Age of the last picture at `now`, nanoseconds.
    fn age(&self, now: u64) -> Option<u64> {
        Some(self.last.load(Ordering::Relaxed)).filter(|last| *last > 0).map(|last| now.saturating_sub(last))
    }

    /// Frames a second over the last few seconds.
    fn fps(&self, now: u64) -> f64 {
        let mut times = lock(&self.times);
        while times.front().is_some_and(|time| now.saturating_sub(*time) > FPS_SPAN) {
            times.pop_front();
        }
        // Of few frames, the time between them counts; a stream that stands still has fewer and fewer.
        let (Some(first), Some(last)) = (times.front(), times.back()) else { return 0.0 };
        let frames = times.len().saturating_sub(1) as f64;
        let between = last.saturating_sub(*first);
        let period = between as f64 / frames.max(1.0);
        let still = now.saturating_sub(*last);
        let span = if (still as f64) < 2.0 * period { between } else { between.saturating_add(still) };
        if span == 0 { 0.0 } else { frames * 1e9 / span as f64 }
    }
}

/// What is shown of a camera.
pub struct Shown {
    /// How it is doing, but for what is counted, the outputs, and the time until it is tried again.
    pub status: CameraStatus,
    /// When it is tried again.
    pub next_try: Option<u64>,
    /// The name of its watchdog, if it has one.
    pub watchdog: Option<String>,
}

impl Shown {
    /// For a camera that has not begun.
    fn new(id: &str) -> Self {
        let status = CameraStatus {
            id: id.to_owned(),
            state: State::Disabled,
            since_ns: crate::telemetry::utc_now_ns(),
            reason: None,
            text: String::new(),
            uri: String::new(),
            profile: String::new(),
            size: [0, 0],
            frames: 0,
            fps: 0.0,
            last_frame_age_ns: None,
            reconnects: 0,
            next_try_in_ns: None,
            stages: Statistics::new(),
            outputs: Vec::new(),
        };
        Self { status, next_try: None, watchdog: None }
    }

    /// Keeps what its stages have answered. Where they did not, they are as before; where there are none, nothing is left of them, or
    /// what they said last would count for ever.
    fn note(&mut self, answer: Option<Statistics>) {
        let status = &mut self.status;
        match (status.state, answer) {
            (State::Disabled | State::Ended | State::Failed, _) => status.stages.clear(),
            (State::Starting | State::Playing | State::Lost, Some(stages)) => status.stages = stages,
            (State::Starting | State::Playing | State::Lost, None) => {}
        }
    }
}

/// What a camera's keeper and its site share.
pub struct Shared {
    /// Its id.
    pub id: String,
    /// Its pictures.
    pub feed: Arc<Feed>,
    /// The site's events.
    pub events: Arc<Events>,
    /// What is counted.
    pub counts: Arc<Counts>,
    /// What is shown.
    pub shown: Mutex<Shown>,
    /// Its outputs at work; only its keeper changes them.
    pub outputs: Outputs,
    /// For orders to its pipeline, if there is one.
    pub orders: Mutex<Option<Sender<Order>>>,
}

/// A camera of a site.
pub struct Camera {
    shared: Arc<Shared>,
    commands: Sender<Command>,
}

/// An answer that is under way.
pub struct Asked(Option<Receiver<Statistics>>);

impl Camera {
    /// A camera as `plan` says; its keeper starts it, once `before` says that another one of the same id is over.
    pub fn new(
        id: &str,
        plan: CameraPlan,
        events: &Arc<Events>,
        outlets: &Arc<Outlets>,
        before: Option<Receiver<bool>>,
    ) -> Self {
        let feed = Arc::default();
        let shared = Arc::new(Shared {
            id: id.to_owned(),
            outputs: Outputs::new(Owner::Camera(id.to_owned()), &feed, outlets),
            feed,
            events: Arc::clone(events),
            counts: Arc::default(),
            shown: Mutex::new(Shown::new(id)),
            orders: Mutex::default(),
        });
        let (commands, receiver) = channel();
        let keeper = Keeper::new(Arc::clone(&shared), plan, commands.clone(), before);
        let spawned = std::thread::Builder::new().name(format!("keeper-{id}")).spawn(move || keeper.work(&receiver));
        if let Err(error) = spawned {
            let status = &mut lock(&shared.shown).status;
            (status.state, status.reason) = (State::Failed, Some(Reason::Error));
            status.text = format!("the system gives no thread: {error}");
        }
        Self { shared, commands }
    }

    /// Its pictures.
    pub fn feed(&self) -> &Arc<Feed> {
        &self.shared.feed
    }

    /// Tells its keeper what to do.
    pub fn command(&self, command: Command) {
        let _ = self.commands.send(command);
    }

    /// Ends it, with an end of stream, within `limit`; what is sent then says whether all was over by then.
    pub fn stop(&self, limit: Duration) -> Receiver<bool> {
        let (sender, receiver) = channel();
        self.command(Command::Stop(limit, sender));
        receiver
    }

    /// Gives its pipeline an order; `false` if it has none.
    pub fn order(&self, order: Order) -> bool {
        lock(&self.shared.orders).as_ref().is_some_and(|orders| orders.send(order).is_ok())
    }

    /// The name of its watchdog.
    pub fn watchdog(&self) -> Option<String> {
        lock(&self.shared.shown).watchdog.clone()
    }

    /// What it is doing.
    pub fn state(&self) -> State {
        lock(&self.shared.shown).status.state
    }

    /// Asks its stages for their statistics. What becomes of it is for [`Self::status`].
    pub fn ask(&self) -> Asked {
        let (sender, receiver) = channel();
        Asked(self.order(Order::Ask(sender)).then_some(receiver))
    }

    /// How it is doing. Statistics that do not come within `limit` are those from before.
    pub fn status(&self, asked: Asked, limit: Duration) -> CameraStatus {
        let answer = asked.0.and_then(|receiver| receiver.recv_timeout(limit).ok());
        let outputs = self.shared.outputs.status();
        let (now, counts) = (super::now(), &self.shared.counts);
        let mut shown = lock(&self.shared.shown);
        shown.note(answer);
        CameraStatus {
            size: counts.size(),
            frames: counts.frames(),
            fps: counts.fps(now),
            last_frame_age_ns: counts.age(now),
            next_try_in_ns: shown.next_try.map(|at| at.saturating_sub(now)),
            outputs,
            ..shown.status.clone()
        }
    }
}

impl Drop for Camera {
    fn drop(&mut self) {
        // Unless it was stopped before. Nobody waits for it.
        drop(self.stop(super::END_LIMIT));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn nothing_is_left_of_stages_that_do_not_run() {
        let stages = Statistics::from([("drift".to_owned(), serde_json::json!({ "state": "drifting" }))]);
        for (state, left) in [
            (State::Starting, 1),
            (State::Playing, 1),
            (State::Lost, 1),
            (State::Disabled, 0),
            (State::Ended, 0),
            (State::Failed, 0),
        ] {
            let mut shown = Shown::new("gate");
            shown.status.state = State::Playing;
            shown.note(Some(stages.clone()));
            assert_eq!(shown.status.stages, stages);
            shown.status.state = state;
            shown.note(None);
            assert_eq!(shown.status.stages.len(), left, "{state:?}");
            // An answer of its last moment comes too late.
            shown.note(Some(stages.clone()));
            assert_eq!(shown.status.stages.len(), left, "{state:?}");
        }
    }

    #[test]
    fn frames_a_second_are_those_of_the_last_seconds() {
        let counts = Counts::default();
        assert_eq!((counts.fps(SECOND), counts.age(SECOND), counts.size()), (0.0, None, [0, 0]));
        let mut now = SECOND;
        for _ in 0..250 {
            now += SECOND / 25;
            counts.frame(now);
        }
        assert!((counts.fps(now) - 25.0).abs() < 0.1, "{}", counts.fps(now));
        assert!((counts.fps(now + 20_000_000) - 25.0).abs() < 0.1);
        assert!((counts.fps(now + 2 * SECOND) - 12.5).abs() < 0.5, "{}", counts.fps(now + 2 * SECOND));
        assert_eq!((counts.fps(now + 5 * SECOND), counts.age(now + 5 * SECOND)), (0.0, Some(5 * SECOND)));
        counts.set_size(640, 360);
        assert_eq!((counts.frames(), counts.size()), (250, [640, 360]));
    }
}
