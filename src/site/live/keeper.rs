//! A camera's keeper: the thread that hears what its pipeline says, asks the [`Watch`] what is to be done, and has it done.

mod endings;
mod repeats;

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use super::bus::Heard;
use super::camera::{Shared, Shown};
use super::feed::Frame;
use super::outlets::over::GRACE;
use super::picture;
use super::run::{Order, Run};
use super::{END_LIMIT, now};
use crate::gstutil::lock;
use crate::site::description::NoSignal;
use crate::site::output::Output;
use crate::site::plan::{CameraPlan, Value};
use crate::site::show;
use crate::site::status::{Reason, State};
use crate::site::watch::{Action, Seen, Watch};
use endings::Endings;
use repeats::Repeats;

/// How often a keeper looks, when nothing happens.
const LOOK: Duration = Duration::from_secs(1);
/// How often it looks while its camera must soon be taken as silent, or tried again.
const LOOK_CLOSELY: Duration = Duration::from_millis(20);
/// How often outputs get the picture that says that there is no signal.
const NO_SIGNAL_EVERY: Duration = Duration::from_millis(250);
/// What a pipeline that is replaced or switched off has for its end of stream.
const DRAIN: Duration = Duration::from_secs(2);

/// What a camera's keeper is told.
pub enum Command {
    /// It is another camera now: all of its plan is new.
    Plan(Box<CameraPlan>),
    /// It is switched on or off.
    Enable(bool),
    /// Its outputs are these.
    Outputs(Vec<Output>),
    /// A property of a node is another one.
    Set(String, String, String),
    /// One of its pipelines, by its number, has said something.
    Heard(u64, Heard),
    /// It ends within this time; it is told whether it has.
    Stop(Duration, Sender<bool>),
}

/// See the module's description.
pub struct Keeper {
    shared: Arc<Shared>,
    plan: CameraPlan,
    watch: Watch,
    commands: Sender<Command>,
    run: Option<Run>,
    generations: u64,
    ending: Endings,
    /// One is to be started when they have.
    waiting: bool,
    repeats: Repeats,
    before: Option<Receiver<bool>>,
    /// The picture that stands in for the camera's, while it is away.
    no_signal: Option<gst::Sample>,
    /// When that was handed out last.
    shown_at: Option<Instant>,
}

impl Keeper {
    /// The keeper of a camera that is not yet started.
    /// `before` tells when another one of the same id, which still has its outputs, is over.
    pub fn new(
        shared: Arc<Shared>,
        plan: CameraPlan,
        commands: Sender<Command>,
        before: Option<Receiver<bool>>,
    ) -> Self {
        // Each hasher of the standard library has keys of its own.
        let seed = RandomState::new().build_hasher().finish();
        let watch = Watch::new(plan.policy.clone(), seed);
        Self {
            shared,
            plan,
            watch,
            commands,
            run: None,
            generations: 0,
            ending: Endings::default(),
            waiting: false,
            repeats: Repeats::default(),
            before,
            no_signal: None,
            shown_at: None,
        }
    }

    /// The thread.
    pub fn work(mut self, commands: &Receiver<Command>) {
        self.show_plan();
        if let Some(before) = self.before.take() {
            // Whether it is over or hangs, its place is taken now.
            let _ = before.recv_timeout(END_LIMIT);
        }
        self.shared.outputs.set(&self.plan.outputs);
        self.watch.enable(self.plan.enabled);
        self.act();
        loop {
            match commands.recv_timeout(self.pause()) {
                Ok(Command::Stop(limit, answer)) => {
                    let _ = answer.send(self.end(commands, limit));
                    return;
                }
                Ok(command) => self.take(command),
                Err(RecvTimeoutError::Timeout) => {}
                // It has a sender itself.
                Err(RecvTimeoutError::Disconnected) => return,
            }
            self.give_up_waiting();
            self.watch.tick(now(), self.seen());
            self.act();
            self.show_no_signal();
        }
    }

    fn seen(&self) -> Seen {
        self.run.as_ref().map(|run| run.link.seen()).unwrap_or_default()
    }

    /// How long nothing needs to be done.
    fn pause(&self) -> Duration {
        let due = self.watch.next_wake(self.seen());
        let due = due.map_or(LOOK, |at| Duration::from_nanos(at.saturating_sub(now())));
        let look = match (self.waiting, self.shows_no_signal()) {
            (true, _) => LOOK_CLOSELY,
            (false, true) => NO_SIGNAL_EVERY,
            (false, false) => LOOK,
        };
        due.max(LOOK_CLOSELY).min(look)
    }

    fn shows_no_signal(&self) -> bool {
        self.plan.policy.no_signal == NoSignal::Picture && self.watch.is_away()
    }

    /// Outputs get a picture that says that there is none.
    fn show_no_signal(&mut self) {
        if !self.shows_no_signal() {
            self.no_signal = None;
            self.shown_at = None;
            return;
        }
        if self.shown_at.is_some_and(|at| at.elapsed() < NO_SIGNAL_EVERY) {
            return;
        }
        self.shown_at = Some(Instant::now());
        let feed = &self.shared.feed;
        if self.no_signal.is_none() {
            let latest = feed.latest();
            let caps = latest.as_ref().and_then(|frame| frame.sample.caps());
            let since = lock(&self.shared.shown).status.since_ns;
            let made = picture::no_signal(
                self.shared.counts.size(),
                caps.map(gst::CapsRef::to_owned).as_ref(),
                &self.shared.id,
                since,
            );
            match made {
                Ok(sample) => self.no_signal = Some(sample),
                Err(text) => {
                    let text = format!("no picture can be made that says that there is no signal: {text}");
                    return self.tell_unless_again("warning", serde_json::json!({ "text": text }));
                }
            }
        }
        if let Some(sample) = self.no_signal.clone() {
            feed.publish(Frame { sample, at: gst::ClockTime::from_nseconds(now()), live: false });
        }
    }

    fn take(&mut self, command: Command) {
        match command {
            Command::Plan(plan) => {
                let policy = plan.policy.clone();
                self.plan = *plan;
                self.show_plan();
                self.watch.set_policy(policy);
                self.watch.rebuild();
                self.watch.enable(self.plan.enabled);
                self.shared.outputs.set(&self.plan.outputs);
            }
            Command::Enable(enabled) => {
                self.plan.enabled = enabled;
                self.watch.enable(enabled);
            }
            Command::Outputs(outputs) => {
                self.shared.outputs.set(&outputs);
                self.plan.outputs = outputs;
            }
            Command::Set(node, property, value) => self.set(&node, &property, value),
            Command::Heard(generation, heard) => self.hear(generation, heard),
            Command::Stop(..) => {}
        }
    }

    fn hear(&mut self, generation: u64, heard: Heard) {
        if let Heard::Gone = heard {
            self.ending.remove(generation);
            return self.start_if_waiting();
        }
        let Some(run) = self.run.as_ref().filter(|run| run.link.generation == generation) else { return };
        match heard {
            Heard::Started => self.watch.started(now()),
            Heard::Picture => self.watch.picture(now()),
            Heard::Jumped(by) => {
                self.watch.jumped(now());
                // Where two sources alternate, each picture jumps.
                if self.repeats.is_news("clock-jump", "", Instant::now()) {
                    let data = serde_json::json!({ "state": State::Playing, "reason": "clock-jump", "jump-ns": by,
                        "text": "its clock has jumped; pictures go on" });
                    self.tell("camera", data);
                }
            }
            Heard::Failed(reason, text) => self.watch.failed(now(), reason, text),
            Heard::Ended => {
                let seen = run.link.seen();
                self.watch.ended(now(), seen);
            }
            Heard::CannotRewind => self.watch.cannot_rewind(),
            Heard::Latency => run.order(Order::Latency),
            Heard::Relay(structure) => run.order(Order::Relay(structure)),
            Heard::Told(kind, data) => {
                self.note_swap(&kind, &data);
                self.tell_unless_again(&kind, data);
            }
            Heard::Gone => {}
        }
    }

    fn tell(&self, kind: &str, data: serde_json::Value) {
        self.shared.events.tell(Some(&self.shared.id), kind, data);
    }

    fn tell_unless_again(&mut self, kind: &str, data: serde_json::Value) {
        if kind != "warning" || self.repeats.is_news("warning", &data.to_string(), Instant::now()) {
            self.tell(kind, data);
        }
    }

    /// Does what the watch wants, and tells what has changed.
    fn act(&mut self) {
        for action in self.watch.take_actions() {
            match action {
                Action::Start => {
                    self.waiting = true;
                    self.start_if_waiting();
                }
                Action::Stop => self.stop_run(),
                Action::Rewind => {
                    if let Some(run) = &self.run {
                        run.order(Order::Rewind);
                    }
                }
            }
        }
        self.report();
    }

    fn start_if_waiting(&mut self) {
        if !self.waiting || self.ending.are_to_come(None) {
            return;
        }
        self.waiting = false;
        self.ending.silence();
        if self.ending.are_too_many() {
            let text = "no other pipeline of it is started before one of those that hang is over: a restart of the process may help";
            return self.watch.failed(now(), Reason::CannotBuild, text);
        }
        self.generations += 1;
        let Shared { id, feed, counts, .. } = &*self.shared;
        let run = Run::start(id, &self.plan, self.generations, feed, counts, &self.commands);
        *lock(&self.shared.orders) = Some(run.orders());
        self.run = Some(run);
    }

    /// A pipeline that does not end holds the next one up for a while only.
    fn give_up_waiting(&mut self) {
        if self.waiting {
            self.start_if_waiting();
        }
    }

    fn stop_run(&mut self) {
        self.waiting = false;
        let Some(run) = self.run.take() else { return };
        *lock(&self.shared.orders) = None;
        // One that has failed has nothing more to say; what is in the pipeline of one that plays is good.
        let good = self.watch.report().reason.is_none() && run.link.frames_of_run.load(Ordering::Relaxed) > 0;
        run.stop(if good { DRAIN } else { Duration::ZERO });
        self.ending.add(run.link);
    }

    fn report(&mut self) {
        let change = self.watch.take_change();
        let hanging = self.ending.hanging();
        let report = change.as_ref().unwrap_or(self.watch.report());
        let mut text = report.text.clone();
        if hanging > 0 {
            let comma = if text.is_empty() { "" } else { "; " };
            text = format!("{text}{comma}{hanging} of its pipelines hang, and are left to themselves");
        }
        let (state, reason) = (report.state, report.reason);
        {
            let Shown { status, next_try, .. } = &mut *lock(&self.shared.shown);
            if change.is_some() {
                status.since_ns = crate::telemetry::utc_now_ns();
            }
            (status.state, status.reason, status.text) = (state, reason, text.clone());
            (status.reconnects, *next_try) = (self.watch.retries(), self.watch.next_try());
        }
        if change.is_some() {
            let next = self.watch.next_try().map(|at| at.saturating_sub(now()));
            // Whoever runs the process may end it then, as when a watchdog says so.
            let exhausted = self.ending.are_too_many();
            let data = serde_json::json!({
                "state": state, "reason": reason, "text": text, "frames": self.shared.counts.frames(),
                "reconnects": self.watch.retries(), "next-try-in-ns": next, "exhausted": exhausted,
            });
            self.tell("camera", data);
            if state == State::Ended {
                self.shared.feed.end();
            }
        }
    }

    fn show_plan(&self) {
        let mut shown = lock(&self.shared.shown);
        shown.status.uri.clone_from(&self.plan.shown_uri);
        shown.status.profile.clone_from(&self.plan.profile);
        let guarded = self.plan.watchdog.as_ref().filter(|_| !self.plan.guarded.is_empty());
        shown.watchdog = guarded.map(|node| node.name.clone());
    }

    /// Changes a property while pictures flow. A chain that the watchdog makes later has it as well, and so has the next
    /// pipeline.
    fn set(&mut self, node: &str, property: &str, value: String) {
        self.note_property(node, property, value.clone());
        if let Some(run) = &self.run {
            run.order(Order::Set(node.to_owned(), property.to_owned(), value));
            self.keep_chain_in_step(node);
        }
    }

    fn note_property(&mut self, node: &str, property: &str, value: String) {
        if let Some(node) = self.plan.stage_mut(node) {
            node.properties.insert(property.to_owned(), Value::Text(value));
        }
    }

    fn keep_chain_in_step(&self, node: &str) {
        let (Some(run), Some(watchdog)) = (&self.run, &self.plan.watchdog) else { return };
        if self.plan.guarded.iter().any(|planned| planned.name == node) {
            run.order(Order::Set(watchdog.name.clone(), "chain".into(), show::chain_description(&self.plan)));
        }
    }

    /// A model that was confirmed is the one that the next chain, and the next pipeline, begin with.
    fn note_swap(&mut self, kind: &str, data: &serde_json::Value) {
        let text = |key: &str| data.get(key).and_then(serde_json::Value::as_str).map(str::to_owned);
        if kind == "vigil-model"
            && text("phase").as_deref() == Some("confirmed")
            && let (Some(node), Some(model)) = (text("element"), text("new-model"))
        {
            self.note_property(&node, "model", model);
            self.keep_chain_in_step(&node);
        }
    }

    /// Ends the camera; `false` if something of it is left.
    fn end(&mut self, commands: &Receiver<Command>, limit: Duration) -> bool {
        let (begun, until) = (Instant::now(), Instant::now() + limit);
        self.waiting = false;
        let last = self.run.take().map(|run| {
            *lock(&self.shared.orders) = None;
            let plays = self.watch.report().state == State::Playing;
            run.stop(if plays { endings::share(limit) } else { Duration::ZERO });
            let generation = run.link.generation;
            self.ending.add(run.link);
            generation
        });
        self.wait_for_the_end(commands, last, until.min(begun + endings::share(limit) + GRACE));
        self.ending.silence();
        self.shared.feed.end();
        let whole = self.shared.outputs.stop(until.saturating_duration_since(Instant::now()).max(GRACE));
        self.wait_for_the_end(commands, last, until);
        self.watch.enable(false);
        self.watch.take_actions();
        self.report();
        whole && self.ending.is_empty()
    }

    /// Waits for the pipeline of number `last`, and for others that are to end, but for those that have hung before.
    fn wait_for_the_end(&mut self, commands: &Receiver<Command>, last: Option<u64>, until: Instant) {
        while self.ending.are_to_come(last) {
            let left = until.saturating_duration_since(Instant::now());
            match commands.recv_timeout(left.min(LOOK)) {
                Ok(Command::Heard(generation, Heard::Gone)) => self.ending.remove(generation),
                Ok(Command::Heard(_, Heard::Told(kind, data))) => self.tell(&kind, data),
                Err(_) if left.is_zero() => break,
                _ => {}
            }
        }
    }
}
