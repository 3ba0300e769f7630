//! One chain: its elements, its pads and its two threads.
//!
//! The *keeper* builds the chain, changes its state, flushes it and ends it; the *feeder* pushes into it. Both may be stuck in an
//! element for ever, so nobody waits for them without a limit. A chain that was let go of is out of the bin at once; its
//! keeper goes on trying to end it.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use gst::prelude::*;
use gst::subclass::prelude::*;

use super::CAT;
use super::core::{Core, Feed};
use super::exit::{self, Fed};
use super::pads;
use super::shell;
use crate::gstutil::lock;
use crate::watchdog::Cause;

/// What the keeper is told to do.
pub enum Command {
    /// Go to PLAYING, or back to PAUSED.
    Play(bool),
    /// Count by another clock.
    Clock(Option<gst::Clock>),
    /// Share something with other elements.
    Context(gst::Context),
    /// Flush the chain.
    FlushStart(gst::Event),
    /// End the flush.
    FlushStop(gst::Event),
    /// End the chain.
    Stop,
}

/// See the module's description.
pub struct Branch {
    pub generation: u64,
    commands: Sender<Command>,
    bin: Mutex<Option<gst::Bin>>,
    ready: AtomicBool,
    /// Flushes that have begun and are not over for the chain.
    flushes: AtomicUsize,
    /// The feeder is in an element.
    pushing: AtomicBool,
    /// What the chain was told about the stream.
    pub fed: Mutex<Fed>,
    end: Mutex<End>,
    ended: Condvar,
}

#[derive(Default)]
struct End {
    over: bool,
    /// The element counts it among those that hang.
    hung: bool,
}

impl Branch {
    pub fn new(generation: u64) -> (Self, Receiver<Command>) {
        let (commands, receiver) = channel();
        let branch = Self {
            generation,
            commands,
            bin: Mutex::default(),
            ready: AtomicBool::new(false),
            flushes: AtomicUsize::new(0),
            pushing: AtomicBool::new(false),
            fed: Mutex::default(),
            end: Mutex::default(),
            ended: Condvar::new(),
        };
        (branch, receiver)
    }

    /// Whether it takes frames.
    pub fn is_ready(&self) -> bool {
        self.ready.load(Ordering::SeqCst)
    }

    /// Whether a flush is on its way through it.
    pub fn is_flushing(&self) -> bool {
        self.flushes.load(Ordering::SeqCst) > 0
    }

    /// Whether an element has the feeder right now.
    pub fn is_pushing(&self) -> bool {
        self.pushing.load(Ordering::SeqCst)
    }

    /// Notes it; under the core's lock.
    pub fn set_pushing(&self, pushing: bool) {
        self.pushing.store(pushing, Ordering::SeqCst);
    }

    /// Its elements, once they are made.
    pub fn bin(&self) -> Option<gst::Bin> {
        lock(&self.bin).clone()
    }

    /// Tells the keeper what to do.
    pub fn command(&self, command: Command) {
        if matches!(command, Command::FlushStart(_)) {
            self.flushes.fetch_add(1, Ordering::SeqCst);
        }
        // Without a keeper there is no chain.
        let _ = self.commands.send(command);
    }

    /// The element counts this chain until it is gone; `false` if it is gone already.
    pub fn count_as_hung(&self) -> bool {
        let mut end = lock(&self.end);
        end.hung = !end.over;
        end.hung
    }

    /// Takes the chain out of the bin, so that nobody meets it there any more, and has it ended. Waits for nothing.
    pub fn let_go(&self, element: &super::Watchdog) {
        let Some(bin) = self.bin() else { return self.command(Command::Stop) };
        element.imp().forget(&bin);
        // On a thread of its own: an element may hang with a lock that this needs. The keeper stops the chain after it, since it
        // may hang with the lock of a bin that is still a child here.
        let (element, commands) = (element.clone(), self.commands.clone());
        let remove = move || {
            element.imp().remove_chain(&bin);
            let _ = commands.send(Command::Stop);
        };
        let name = format!("vigil-remove-{}", self.generation);
        if let Err(error) = thread::Builder::new().name(name).spawn(remove) {
            gst::warning!(CAT, "a chain stays in its bin, since the system gives no thread: {error}");
            self.command(Command::Stop);
        }
    }

    /// Ends the chain and waits for it, `limit` at most; `false` if it goes on.
    pub fn stop(&self, limit: Duration) -> bool {
        self.command(Command::Stop);
        let end = lock(&self.end);
        let (end, _) =
            self.ended.wait_timeout_while(end, limit, |end| !end.over).unwrap_or_else(PoisonError::into_inner);
        end.over
    }
}

/// Starts the chain's keeper.
pub fn start(element: &super::Watchdog, branch: Arc<Branch>, commands: Receiver<Command>) {
    let (core, generation) = (Arc::clone(element.core()), branch.generation);
    let keep = {
        let core = Arc::clone(&core);
        move || Keeper { core, branch, pads: None }.run(&commands)
    };
    if let Err(error) = thread::Builder::new().name(format!("vigil-chain-{generation}")).spawn(keep) {
        core.failed(generation, Cause::Error, format!("the system gives no thread: {error}"));
    }
}

struct Keeper {
    core: Arc<Core>,
    branch: Arc<Branch>,
    /// Where frames go into the chain and come out of it.
    pads: Option<(gst::Pad, gst::Pad)>,
}

impl Keeper {
    fn run(mut self, commands: &Receiver<Command>) {
        let feeder = match self.set_up() {
            Ok(feeder) => feeder,
            Err(text) => {
                self.core.failed(self.branch.generation, Cause::Error, text);
                None
            }
        };
        while let Ok(command) = commands.recv() {
            match command {
                Command::Play(playing) => self.play(playing),
                Command::Clock(clock) => {
                    if let Some(bin) = self.branch.bin() {
                        shell::set_clock(&bin, clock.as_ref());
                    }
                }
                Command::Context(context) => {
                    if let Some(bin) = self.branch.bin() {
                        bin.set_context(&context);
                    }
                }
                Command::FlushStart(event) => {
                    self.send(event);
                }
                Command::FlushStop(event) => {
                    if self.feeder_is_back() {
                        self.send(event);
                        self.flushed();
                    }
                }
                Command::Stop => break,
            }
        }
        self.tear_down(feeder);
    }

    /// Makes the chain and starts it.
    fn set_up(&mut self) -> Result<Option<thread::JoinHandle<()>>, String> {
        let bin = {
            let Some(element) = self.core.element.upgrade() else { return Ok(None) };
            let bin = element.imp().make_chain(self.branch.generation).inspect_err(|text| {
                self.core.lock().unusable = Some(text.clone());
                self.core.started.notify_all();
            })?;
            *lock(&self.branch.bin) = Some(bin.clone());
            // It may have been let go of meanwhile, when there was nothing to take out of the bin.
            if !self.core.lock().is_current(self.branch.generation) {
                element.imp().remove_chain(&bin);
                return Ok(None);
            }
            bin
        };
        let (entry, exit) = exit::pads(&self.core, &self.branch);
        let ends = (bin.static_pad("sink"), bin.static_pad("src"));
        let (Some(sink), Some(src)) = ends else { return Err("the chain has no ends".into()) };
        let linked = entry
            .link_full(&sink, gst::PadLinkCheck::empty())
            .and_then(|_| src.link_full(&exit, gst::PadLinkCheck::empty()));
        linked.map_err(|error| format!("the chain cannot be linked: {error}"))?;
        let active = exit.set_active(true).and_then(|()| entry.set_active(true));
        active.map_err(|error| format!("the chain's pads cannot be used: {error}"))?;
        self.pads = Some((entry.clone(), exit));
        // The reason comes as a message, which has been heard by the time the state change returns.
        bin.set_state(gst::State::Paused).map_err(|_| "an element of the chain does not start".to_owned())?;
        let caps = entry.peer_query_caps(None);
        let feeder = {
            let (core, branch) = (Arc::clone(&self.core), Arc::clone(&self.branch));
            let feed = move || feed(&core, &branch, &entry);
            let name = format!("vigil-feed-{}", self.branch.generation);
            thread::Builder::new().name(name).spawn(feed).map_err(|e| format!("the system gives no thread: {e}"))?
        };
        let mut state = self.core.lock();
        let now = self.core.now();
        state.chain_caps = Some(caps);
        let playing = state.playing;
        if state.is_current(self.branch.generation) {
            let events: Vec<_> = state.sticky.all().map(Feed::Event).collect();
            state.feed.extend(events);
            self.branch.ready.store(true, Ordering::SeqCst);
            state.policy.ready(now);
        }
        self.core.settle(state);
        self.core.feed.notify_all();
        self.core.started.notify_all();
        if playing {
            self.play(true);
        }
        Ok(Some(feeder))
    }

    fn play(&self, playing: bool) {
        let Some(bin) = lock(&self.branch.bin).clone() else { return };
        {
            let Some(element) = self.core.element.upgrade() else { return };
            // The bin leaves the state of its chains alone, and with it their times.
            bin.set_base_time(element.base_time().unwrap_or_default());
            bin.set_start_time(element.start_time());
            shell::set_clock(&bin, element.clock().as_ref());
        }
        let state = if playing { gst::State::Playing } else { gst::State::Paused };
        if bin.set_state(state).is_err() {
            self.core.failed(self.branch.generation, Cause::Error, format!("the chain does not go to {state:?}"));
        }
    }

    fn send(&self, event: gst::Event) {
        if let Some((entry, _)) = &self.pads {
            entry.push_event(event);
        }
    }

    /// Waits for the feeder: what it took before the flush must not get into the chain after it. `false` if the chain is let
    /// go of before.
    fn feeder_is_back(&self) -> bool {
        let mut state = self.core.lock();
        while self.branch.is_pushing() && state.is_current(self.branch.generation) {
            state = Core::wait(&self.core.feed, state);
        }
        state.is_current(self.branch.generation)
    }

    fn flushed(&self) {
        {
            // Under the lock, so that the feeder cannot miss it between its look and its wait.
            let _state = self.core.lock();
            self.branch.flushes.fetch_sub(1, Ordering::SeqCst);
        }
        self.core.feed.notify_all();
    }

    /// Ends the chain; may take for ever.
    fn tear_down(self, feeder: Option<thread::JoinHandle<()>>) {
        if let Some((entry, exit)) = &self.pads {
            let _ = entry.set_active(false);
            let _ = exit.set_active(false);
        }
        let bin = self.branch.bin();
        if let Some(bin) = &bin
            && bin.set_state(gst::State::Null).is_err()
        {
            gst::warning!(CAT, obj = bin, "an element does not stop");
        }
        if let Some(feeder) = feeder {
            let _ = feeder.join();
        }
        if let Some((entry, exit)) = &self.pads {
            for pad in [entry, exit] {
                let _ = pads::unlink(pad);
            }
        }
        let hung = {
            let mut end = lock(&self.branch.end);
            end.over = true;
            end.hung
        };
        self.branch.ended.notify_all();
        if hung {
            self.core.gone();
        }
    }
}

/// Pushes into the chain until it is not in charge any more.
fn feed(core: &Core, branch: &Branch, entry: &gst::Pad) {
    while let Some(next) = core.next_feed(branch) {
        // What a chain says in a flush says nothing about it. The chain's flush is not over before this is.
        let flushed = || core.lock().flushing || branch.is_flushing();
        match next {
            Feed::Frame(_, buffer) => {
                if let Err(error) = entry.push(buffer)
                    && !flushed()
                    && !(error == gst::FlowError::Eos && lock(&branch.fed).eos)
                {
                    // An element that was refused its caps, by the next one or at the exit, says so with the next frame.
                    let cause = if error == gst::FlowError::NotNegotiated { Cause::Caps } else { Cause::Flow };
                    core.failed(branch.generation, cause, format!("it returned {error:?}"));
                }
            }
            Feed::Event(event) => {
                lock(&branch.fed).note(&event);
                let caps = event.type_() == gst::EventType::Caps;
                if !entry.push_event(event) && caps && !flushed() {
                    core.failed(branch.generation, Cause::Caps, "the chain cannot take the stream's caps");
                }
            }
        }
        {
            let _state = core.lock();
            branch.set_pushing(false);
        }
        core.feed.notify_all();
    }
}
