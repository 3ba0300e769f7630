//! The skin of `vigilwatchdog`: properties, states, messages of the chain.
//!
//! Locks: `settings`, `home` and `recipe` are held for a copy only, never two at once and never over a call.

use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::Duration;

use gst::glib;
use gst::prelude::*;
use gst::subclass::prelude::*;

use super::CAT;
use super::branch::{Branch, Command};
use super::chain::{self, Blueprint, Recipe};
use super::core::Core;
use super::element;
use super::pads;
use super::properties::{SPECS, Settings, ShownMode, stats};
use super::shell;
use crate::gstutil::{lock, pad_templates};
use crate::watchdog::Cause;

/// Longest wait for a chain that does not seem to hang to stop.
const STOP_LIMIT: Duration = Duration::from_secs(3);

/// See [`super::Watchdog`].
pub struct Watchdog {
    settings: Mutex<Settings>,
    core: Arc<Core>,
    /// The elements that the application has put into the bin, while none of them has failed.
    home: Mutex<Option<gst::Bin>>,
    recipe: Mutex<Option<Recipe>>,
}

impl Watchdog {
    /// What the threads share.
    pub fn core(&self) -> &Arc<Core> {
        &self.core
    }

    fn apply_settings(&self) {
        self.core().set_settings(|| {
            let settings = lock(&self.settings);
            (settings.policy, settings.deadline_ns, settings.force_bypass)
        });
    }

    /// The elements of the application's own, or the next chain that is like them; in the bin.
    ///
    /// # Errors
    /// A text for the user.
    pub fn make_chain(&self, generation: u64) -> Result<gst::Bin, String> {
        let home = lock(&self.home).clone();
        if let Some(home) = home {
            chain::add_ends(&home)?;
            return Ok(home);
        }
        let recipe = lock(&self.recipe).clone().ok_or("There is nothing to make a chain from")?;
        let bin = recipe.make(&format!("chain-{generation}"))?;
        self.adopt(&bin)?;
        Ok(bin)
    }

    /// Puts a chain into the bin; its state is its keeper's business.
    fn adopt(&self, bin: &gst::Bin) -> Result<(), String> {
        bin.set_locked_state(true);
        self.parent_add_element(bin.upcast_ref()).map_err(|error| format!("The chain does not fit in: {error}"))
    }

    /// Does not use these elements again, if they are the application's own.
    pub fn forget(&self, bin: &gst::Bin) {
        let mut home = lock(&self.home);
        if home.as_ref() == Some(bin) {
            *home = None;
        }
    }

    /// Takes a chain out of the bin. Takes locks of its elements, so that this hangs where one of them does.
    pub fn remove_chain(&self, bin: &gst::Bin) {
        self.forget(bin);
        if bin.parent().as_ref() == Some(self.obj().upcast_ref()) {
            let _ = self.parent_remove_element(bin.upcast_ref());
        }
    }

    /// The elements that the application has put into the bin, if there are any left.
    fn elements(&self) -> Option<gst::Bin> {
        let home = lock(&self.home).clone()?;
        if home.iterate_elements().into_iter().next().is_none() {
            self.remove_chain(&home);
            *lock(&self.recipe) = None;
            return None;
        }
        Some(home)
    }

    /// In a launch line, `vigilwatchdog.( a ! b )` links its neighbours to `a` and `b` themselves, through pads that this makes
    /// on the way. They belong to the watchdog's own pads.
    fn take_links(&self, home: &gst::Bin) {
        let (element, core) = (self.obj(), self.core());
        for pad in element.pads() {
            let own = if pad.direction() == gst::PadDirection::Sink { &core.sink } else { &core.src };
            let Some(ghost) = pad.downcast_ref::<gst::GhostPad>() else { continue };
            let peer = pads::unlink(ghost.upcast_ref());
            let _ = element.remove_pad(ghost);
            let linked = match peer {
                Some(peer) if peer.direction() == gst::PadDirection::Src => peer.link(own).map(drop),
                Some(peer) => own.link(&peer).map(drop),
                None => Ok(()),
            };
            if let Err(error) = linked {
                gst::warning!(CAT, imp = self, "cannot be linked to its neighbour: {error}");
            }
        }
        chain::remove_ends(home);
    }

    /// Notes what chains are made from.
    fn prepare(&self) -> Result<(), String> {
        let description = lock(&self.settings).chain.clone().filter(|chain| !chain.trim().is_empty());
        let before = lock(&self.recipe).clone();
        let recipe = match (description, self.elements()) {
            (Some(_), Some(_)) => {
                return Err(
                    "There are elements in the bin, and the property chain is set as well: use one of them".into()
                );
            }
            (Some(text), None) => Recipe::Description(text),
            (None, Some(home)) => {
                self.take_links(&home);
                Recipe::Elements(Arc::new(Blueprint::of(&home)?))
            }
            (None, None) => match before {
                // The elements failed before the last stop: their likeness goes on.
                Some(recipe @ Recipe::Elements(_)) => recipe,
                _ => {
                    return Err(
                        "There is nothing to supervise: put elements into the bin, or set the property chain".into()
                    );
                }
            },
        };
        *lock(&self.recipe) = Some(recipe);
        Ok(())
    }

    /// A chain that is described now is the next one's description, where one by description is running.
    fn describe_next(&self) {
        let description = lock(&self.settings).chain.clone().filter(|chain| !chain.trim().is_empty());
        if let (Some(text), Some(recipe @ Recipe::Description(_))) = (description, lock(&self.recipe).as_mut()) {
            *recipe = Recipe::Description(text);
        }
    }

    /// Starts the first chain, and waits for it within bounds.
    fn start(&self) -> Result<(), String> {
        self.prepare()?;
        let core = self.core();
        let limit = Duration::from_nanos(lock(&self.settings).start_timeout_ns);
        {
            let _task = lock(&core.task);
            let mut state = core.lock();
            state.stopped = false;
            state.flushing = false;
            state.flow = None;
            state.unusable = None;
            state.carried.clear();
        }
        core.decide(|policy, now| policy.start(now));
        let state = core.lock();
        let waits = |state: &mut super::core::State| {
            state.unusable.is_none() && state.branch.as_ref().is_some_and(|branch| !branch.is_ready())
        };
        let (state, _) = core.started.wait_timeout_while(state, limit, waits).unwrap_or_else(PoisonError::into_inner);
        let unusable = state.unusable.clone();
        drop(state);
        match unusable {
            Some(text) => Err(text),
            None => Ok(()),
        }
    }

    /// Takes no more frames, and wakes everyone who waits.
    fn close(&self) -> Option<Arc<Branch>> {
        let core = self.core();
        let mut branch = None;
        core.close(|state| {
            state.stopped = true;
            state.playing = false;
            state.live = false;
            state.sticky = super::sticky::Sticky::default();
            // The next chain may take others.
            state.chain_caps = None;
            branch = state.branch.take();
        });
        core.disarm();
        core.decide(|policy, now| policy.stop(now));
        branch
    }

    /// Passes something on to the chain's keeper.
    fn tell_chain(&self, command: Command) {
        let branch = self.core().lock().branch.clone();
        if let Some(branch) = branch {
            branch.command(command);
        }
    }

    /// Ends the chain. One that hangs is left to itself.
    fn shut(&self, branch: &Branch) {
        let limit = if branch.is_pushing() || branch.is_flushing() {
            STOP_LIMIT.min(Duration::from_nanos(lock(&self.settings).deadline_ns))
        } else {
            STOP_LIMIT
        };
        let bin = branch.bin();
        if branch.stop(limit) {
            let home = lock(&self.home).clone();
            match bin {
                // The application may link its elements in another way before the next start.
                Some(bin) if Some(&bin) == home.as_ref() => chain::remove_ends(&bin),
                Some(bin) => self.remove_chain(&bin),
                None => {}
            }
            return;
        }
        gst::warning!(CAT, imp = self, "chain {} hangs, and is left to itself", branch.generation);
        self.core().leave_hanging(branch);
        branch.let_go(&self.obj());
    }

    /// The chain that something in the bin belongs to.
    fn chain_of(&self, inside: &gst::Object) -> Option<gst::Object> {
        let mut at = inside.clone();
        loop {
            let parent = at.parent()?;
            if parent == *self.obj().upcast_ref::<gst::Object>() {
                return Some(at);
            }
            at = parent;
        }
    }

    /// What a chain's element says of itself and should not reach the pipeline as if the watchdog said it.
    fn hear(&self, message: gst::Message) {
        let own = message.src().is_none_or(|src| src == self.obj().upcast_ref::<gst::Object>());
        if own {
            return self.parent_handle_message(message);
        }
        match message.view() {
            gst::MessageView::Error(error) => {
                let source = message.src().map_or_else(String::new, |src| src.name().to_string());
                let text = format!("{source}: {}", error.error());
                gst::info!(CAT, imp = self, "{text} {:?}", error.debug());
                let cause = if error.error().to_string().contains("Panicked") { Cause::Panic } else { Cause::Error };
                // One that was let go of, and is not out of the bin yet, says nothing about the one in charge.
                let branch = self.core().lock().branch.clone();
                let chain = message.src().and_then(|src| self.chain_of(src));
                if let Some(branch) = branch.filter(|branch| branch.bin().map(Cast::upcast) == chain) {
                    self.core().failed(branch.generation, cause, text);
                }
            }
            gst::MessageView::AsyncStart(_)
            | gst::MessageView::AsyncDone(_)
            | gst::MessageView::StateDirty(_)
            | gst::MessageView::Latency(_)
            | gst::MessageView::Eos(_)
            | gst::MessageView::RequestState(_)
            | gst::MessageView::ResetTime(_)
            | gst::MessageView::SegmentStart(_)
            | gst::MessageView::SegmentDone(_)
            | gst::MessageView::ClockProvide(_)
            | gst::MessageView::ClockLost(_)
            | gst::MessageView::Buffering(_)
            | gst::MessageView::StreamStart(_) => {}
            _ => self.parent_handle_message(message),
        }
    }
}

#[glib::object_subclass]
impl ObjectSubclass for Watchdog {
    const NAME: &'static str = "VigilWatchdog";
    type Type = super::Watchdog;
    type ParentType = gst::Bin;
    type Interfaces = (gst::ChildProxy,);

    fn with_class(class: &Self::Class) -> Self {
        let (sink, src) = (pads::sink(class.pad_template("sink")), pads::src(class.pad_template("src")));
        Self {
            settings: Mutex::default(),
            core: Arc::new(Core::new(sink, src)),
            home: Mutex::default(),
            recipe: Mutex::default(),
        }
    }
}

impl ObjectImpl for Watchdog {
    fn constructed(&self) {
        self.parent_constructed();
        let element = self.obj();
        self.core.element.set(Some(&*element));
        // What the chain is, the bin is not: nobody waits for its sinks to end, or takes their clock.
        element.set_suppressed_flags(
            gst::ElementFlags::SINK
                | gst::ElementFlags::SOURCE
                | gst::ElementFlags::PROVIDE_CLOCK
                | gst::ElementFlags::REQUIRE_CLOCK,
        );
        for pad in [&self.core.sink, &self.core.src] {
            if let Err(error) = element.add_pad(pad) {
                gst::error!(CAT, imp = self, "{error}");
            }
        }
        self.apply_settings();
    }

    fn properties() -> &'static [glib::ParamSpec] {
        SPECS.as_slice()
    }

    fn signals() -> &'static [glib::subclass::Signal] {
        static SIGNALS: LazyLock<Vec<glib::subclass::Signal>> = LazyLock::new(|| {
            let reset = glib::subclass::Signal::builder("reset").action().class_handler(|args| {
                if let Some(Ok(element)) = args.first().map(|v| v.get::<super::Watchdog>()) {
                    element.core().decide(|policy, now| policy.reset(now));
                }
                None
            });
            vec![reset.build()]
        });
        SIGNALS.as_slice()
    }

    fn set_property(&self, _id: usize, value: &glib::Value, pspec: &glib::ParamSpec) {
        if !lock(&self.settings).set(pspec.name(), value) {
            gst::warning!(CAT, imp = self, "property {} got a value of another type", pspec.name());
        }
        self.apply_settings();
        if pspec.name() == "chain" {
            self.describe_next();
        }
        if pspec.name() == "deadline" {
            let _ = self.obj().post_message(gst::message::Latency::builder().src(&*self.obj()).build());
        }
    }

    fn property(&self, _id: usize, pspec: &glib::ParamSpec) -> glib::Value {
        match pspec.name() {
            "mode" => ShownMode::from(self.core().lock().policy.mode()).to_value(),
            "stats" => {
                let snapshot = {
                    let mut state = self.core().lock();
                    let now = self.core().now();
                    state.policy.snapshot(now)
                };
                stats(&self.core().counters.snapshot(), &snapshot).to_value()
            }
            name => lock(&self.settings).get(name).unwrap_or_else(|| glib::Value::from_type(pspec.value_type())),
        }
    }
}

impl GstObjectImpl for Watchdog {}

impl ElementImpl for Watchdog {
    fn metadata() -> Option<&'static gst::subclass::ElementMetadata> {
        static METADATA: LazyLock<gst::subclass::ElementMetadata> = LazyLock::new(|| {
            gst::subclass::ElementMetadata::new(
                "Vigil watchdog",
                "Filter/Generic/Bin",
                "Supervises a chain of elements and lets the frames pass when it fails, hangs or is replaced",
                env!("CARGO_PKG_AUTHORS"),
            )
        });
        Some(&METADATA)
    }

    fn pad_templates() -> &'static [gst::PadTemplate] {
        static TEMPLATES: LazyLock<Vec<gst::PadTemplate>> = LazyLock::new(|| pad_templates(&gst::Caps::new_any()));
        TEMPLATES.as_slice()
    }

    fn set_clock(&self, clock: Option<&gst::Clock>) -> bool {
        self.core().set_clock(clock.cloned());
        self.tell_chain(Command::Clock(clock.cloned()));
        element::set_clock(self.obj().upcast_ref(), clock)
    }

    fn send_event(&self, event: gst::Event) -> bool {
        element::send_event(self.obj().upcast_ref(), event)
    }

    fn query(&self, query: &mut gst::QueryRef) -> bool {
        element::query(self.obj().upcast_ref(), query)
    }

    fn set_context(&self, context: &gst::Context) {
        element::set_context(self.obj().upcast_ref(), context);
        self.tell_chain(Command::Context(context.clone()));
    }

    fn change_state(&self, transition: gst::StateChange) -> Result<gst::StateChangeSuccess, gst::StateChangeError> {
        let failed = |text: String| {
            gst::element_imp_error!(self, gst::ResourceError::Settings, ("{text}"));
            gst::StateChangeError
        };
        let stop = || {
            if let Some(branch) = self.close() {
                self.shut(&branch);
            }
        };
        match transition {
            gst::StateChange::ReadyToPaused => {
                if let Err(text) = self.start() {
                    stop();
                    return Err(failed(text));
                }
                element::change_state(self.obj().upcast_ref(), transition).inspect_err(|_| stop())
            }
            gst::StateChange::PausedToReady => {
                let branch = self.close();
                let success = element::change_state(self.obj().upcast_ref(), transition);
                if let Some(branch) = branch {
                    self.shut(&branch);
                }
                success
            }
            gst::StateChange::PausedToPlaying | gst::StateChange::PlayingToPaused => {
                let success = element::change_state(self.obj().upcast_ref(), transition)?;
                let playing = transition == gst::StateChange::PausedToPlaying;
                // The pipeline's clock may stand still while it is paused; a chain may hang then as well.
                self.core().set_clock(self.obj().clock().filter(|_| playing));
                self.core().lock().playing = playing;
                self.tell_chain(Command::Play(playing));
                Ok(success)
            }
            _ => element::change_state(self.obj().upcast_ref(), transition),
        }
    }
}

impl ChildProxyImpl for Watchdog {
    fn child_by_name(&self, name: &str) -> Option<glib::Object> {
        // The elements of the chain, too: `element::property`.
        let element = self.obj().upcast_ref::<gst::Bin>().by_name(name);
        element.map(Cast::upcast).or_else(|| self.parent_child_by_name(name))
    }

    fn child_by_index(&self, index: u32) -> Option<glib::Object> {
        self.parent_child_by_index(index)
    }

    fn children_count(&self) -> u32 {
        self.parent_children_count()
    }
}

impl BinImpl for Watchdog {
    fn add_element(&self, element: &gst::Element) -> Result<(), gst::LoggableError> {
        let home = lock(&self.home).clone();
        let home = match home {
            Some(home) => home,
            None => {
                let home = shell::new("chain-0");
                self.adopt(&home).map_err(|text| gst::loggable_error!(CAT, "{text}"))?;
                *lock(&self.home) = Some(home.clone());
                home
            }
        };
        home.add(element).map_err(|error| gst::loggable_error!(CAT, "{error}"))
    }

    fn remove_element(&self, element: &gst::Element) -> Result<(), gst::LoggableError> {
        match element.parent().and_downcast::<gst::Bin>() {
            Some(bin) if bin.upcast_ref::<gst::Object>() != self.obj().upcast_ref::<gst::Object>() => {
                bin.remove(element).map_err(|error| gst::loggable_error!(CAT, "{error}"))
            }
            _ => self.parent_remove_element(element),
        }
    }

    fn handle_message(&self, message: gst::Message) {
        self.hear(message);
    }
}
