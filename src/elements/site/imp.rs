//! The skin of `vigilsite`: properties, actions, pads; the site itself is `site::live::Site`.
//!
//! Locks: `settings`, `running`, `outgoing` are held for a copy only, never two at once and never over a call.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, LazyLock, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use gst::glib;
use gst::prelude::*;
use gst::subclass::prelude::*;

use super::pads::Outgoing;
use crate::gstutil::lock;
use crate::site::again::Again;
use crate::site::live::load::{self, Loaded};
use crate::site::live::{Site as Live, SiteError, json};
use crate::site::problem::{Problems, Severity};
use crate::site::read::Document;
use crate::site::status::{Event, State};

static CAT: LazyLock<gst::DebugCategory> =
    LazyLock::new(|| gst::DebugCategory::new("vigilsite", gst::DebugColorFlags::empty(), Some("Vigil site")));

const SECOND: u64 = 1_000_000_000;
/// How request pads are named, before the camera's id.
const PAD: &str = "src_";
/// The kind of events about the site as a whole, and what the last one says.
const SITE: &str = "site";
const STOPPED: &str = "stopped";
/// Longest wait at the stop for what is still to be told.
const LAST_WORDS: Duration = Duration::from_secs(1);

#[derive(Clone)]
struct Settings {
    config: Option<String>,
    drain_ns: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self { config: None, drain_ns: 10 * SECOND }
    }
}

/// How often it is seen whether the machine is to be looked at again, while nothing happens.
const LOOK: Duration = Duration::from_secs(1);

/// A site that runs, from start to stop.
struct Running {
    live: Live,
    /// The description that it follows.
    document: Arc<Document>,
    /// What the machine lacks for it, and when it is looked at again.
    lacks: Problems,
    again: Again,
    /// Says nothing more once everything that happened was told.
    told: Receiver<()>,
}

/// See [`super::Site`].
#[derive(Default)]
pub struct Site {
    settings: Mutex<Settings>,
    running: Mutex<Option<Running>>,
    outgoing: Mutex<Vec<Arc<Outgoing>>>,
    /// Whether the end of the stream was told.
    ended: AtomicBool,
}

impl Site {
    fn running(&self) -> Option<Live> {
        lock(&self.running).as_ref().map(|running| running.live.clone())
    }

    /// Copies of the pads, in a function: a lock in the head of a loop is held over the whole loop.
    fn pads(&self) -> Vec<Arc<Outgoing>> {
        lock(&self.outgoing).clone()
    }

    /// The file of the description.
    fn config(&self) -> Result<PathBuf, String> {
        let config = lock(&self.settings).config.clone().filter(|path| !path.is_empty());
        config.map(PathBuf::from).ok_or("No site description is set: set the property config to its file".into())
    }

    /// Reads the description, for a start.
    ///
    /// # Errors
    /// All that is wrong with it, as a text for the user.
    fn load(&self) -> Result<Loaded, String> {
        let config = self.config()?;
        load::load(&config).map_err(|problems| unusable(&config, &problems))
    }

    fn start(&self, (document, plan, problems): Loaded) {
        let (live, document) = (Live::new(), Arc::new(document));
        self.ended.store(false, Ordering::SeqCst);
        let told = self.listen(&live);
        let (lacks, again) = (Problems::default(), Again::default());
        *lock(&self.running) =
            Some(Running { live: live.clone(), document: Arc::clone(&document), lacks, again, told });
        live.apply(plan);
        for outgoing in self.pads() {
            self.open(&live, &outgoing);
        }
        self.tell_problems(&document, &problems);
    }

    /// Logs what is odd about a description that the site follows from now on, and tells what the machine lacks for it.
    fn tell_problems(&self, document: &Arc<Document>, problems: &Problems) {
        for warning in problems.0.iter().filter(|problem| problem.severity == Severity::Warning) {
            gst::warning!(CAT, imp = self, "{warning}");
        }
        self.tell_lacks(document, problems);
    }

    /// Tells what the machine lacks, if that is something else than before.
    fn tell_lacks(&self, document: &Arc<Document>, problems: &Problems) {
        let lacks = Problems(problems.lacks().cloned().collect());
        {
            let mut running = lock(&self.running);
            // Another description may have come meanwhile.
            let Some(running) = running.as_mut().filter(|r| Arc::ptr_eq(&r.document, document)) else { return };
            running.again.looked(Instant::now(), problems.has_errors());
            if lacks == running.lacks {
                return;
            }
            running.lacks.clone_from(&lacks);
        }
        if lacks.has_errors() {
            let text = "Parts of the site do not work until this machine has what they need";
            gst::element_imp_warning!(self, gst::ResourceError::NotFound, ("{text}:\n{lacks}"));
        } else {
            gst::info!(CAT, imp = self, "the machine has all that the site needs");
        }
    }

    /// Looks, now and then, whether the machine has what it lacked.
    fn look_again(&self) {
        let due = {
            let running = lock(&self.running);
            let due = running.as_ref().filter(|running| running.again.is_due(Instant::now()));
            due.map(|running| (running.live.clone(), Arc::clone(&running.document)))
        };
        let Some((live, document)) = due else { return };
        let Some(before) = live.plan() else { return };
        let problems = match load::plan(&document, Problems::default()) {
            Ok((plan, problems)) => {
                live.renew(&before, plan);
                problems
            }
            // A bundle that came has not the classes that the description asks for.
            Err(problems) => {
                gst::warning!(CAT, imp = self, "the description does not check any more: {problems}");
                problems
            }
        };
        self.tell_lacks(&document, &problems);
    }

    /// Has a thread post what happens, until the site has stopped.
    fn listen(&self, live: &Live) -> Receiver<()> {
        let (_, events) = live.events().listen(0);
        let weak = self.obj().downgrade();
        let (ends, told) = channel();
        let posts = move || {
            let _ends = ends;
            loop {
                let event = events.recv_timeout(LOOK);
                let Some(element) = weak.upgrade() else { return };
                match event {
                    Ok(event) => {
                        element.imp().tell(&event);
                        if is_stop(&event) {
                            return;
                        }
                    }
                    Err(RecvTimeoutError::Timeout) => {}
                    Err(RecvTimeoutError::Disconnected) => return,
                }
                element.imp().look_again();
            }
        };
        if let Err(error) = thread::Builder::new().name("vigil-site".into()).spawn(posts) {
            gst::element_imp_warning!(
                self,
                gst::ResourceError::Failed,
                ("Nothing will be told of the cameras: {error}")
            );
        }
        told
    }

    fn tell(&self, event: &Event) {
        let name = if event.kind.starts_with("vigil-") { event.kind.clone() } else { format!("vigil-{}", event.kind) };
        let mut content = json::to_structure(&name, &event.data);
        if let Some(camera) = &event.camera {
            content.set("camera", camera);
        }
        content.set("utc", event.time_ns);
        let element = self.obj();
        let _ = element.post_message(gst::message::Element::builder(content).src(&*element).build());
        if event.kind == "camera" {
            self.end_if_all_have();
        }
    }

    fn end_if_all_have(&self) {
        let Some(live) = self.running() else { return };
        let states = live.states();
        let all = !states.is_empty() && states.iter().all(|state| *state == State::Ended);
        if all && !self.ended.swap(true, Ordering::SeqCst) {
            let element = self.obj();
            let _ = element.post_message(gst::message::Eos::builder().src(&*element).build());
        }
    }

    fn open(&self, live: &Live, outgoing: &Outgoing) {
        match live.feed(&outgoing.camera) {
            Ok(feed) => outgoing.open(&feed),
            Err(error) => {
                gst::element_imp_warning!(
                    self,
                    gst::ResourceError::NotFound,
                    ("Nothing comes from pad {}: {error} in the description", outgoing.pad.name())
                );
            }
        }
    }

    fn stop(&self) {
        for outgoing in self.pads() {
            outgoing.close();
        }
        let Some(Running { live, told, .. }) = lock(&self.running).take() else { return };
        let limit = Duration::from_nanos(lock(&self.settings).drain_ns);
        // For good: an action that is under way must not begin anew what nobody would end.
        if !live.close(limit) {
            gst::element_imp_warning!(
                self,
                gst::ResourceError::Close,
                ("Some cameras or outputs had not ended after {} ms and were left", limit.as_millis())
            );
        }
        live.events().tell(None, SITE, serde_json::json!({ "state": STOPPED }));
        let _ = told.recv_timeout(LAST_WORDS);
    }

    /// The action `reload`.
    fn reload(&self) -> bool {
        let running = lock(&self.running).as_ref().map(|running| (running.live.clone(), Arc::clone(&running.document)));
        let Some((live, document)) = running else { return false };
        let loaded = self
            .config()
            .and_then(|config| load::reload(&config, &document).map_err(|problems| unusable(&config, &problems)));
        match loaded {
            Ok((document, plan, problems)) => {
                let document = Arc::new(document);
                if let Some(running) = lock(&self.running).as_mut() {
                    (running.document, running.again) = (Arc::clone(&document), Again::default());
                }
                live.apply(plan);
                for outgoing in self.pads() {
                    self.open(&live, &outgoing);
                }
                self.tell_problems(&document, &problems);
                true
            }
            Err(text) => {
                gst::element_imp_warning!(self, gst::ResourceError::Settings, ("The site goes on as it is. {text}"));
                false
            }
        }
    }

    /// Does something with the site; tells why it is refused, and gives `None` then.
    fn act<T>(&self, what: impl FnOnce(&Live) -> Result<T, SiteError>) -> Option<T> {
        let done = self
            .running()
            .ok_or_else(|| SiteError::Refused("the site does not run".into()))
            .and_then(|live| what(&live));
        done.inspect_err(|error| gst::warning!(CAT, imp = self, "{error}")).ok()
    }

    fn stats(&self) -> gst::Structure {
        let cameras = self.running().map(|live| live.cameras()).unwrap_or_default();
        let mut stats = gst::Structure::new_empty("stats");
        for camera in cameras {
            let Ok(fields) = serde_json::to_value(&camera) else { continue };
            stats.set(camera.id.as_str(), json::to_structure("camera", &fields));
        }
        stats
    }
}

/// What is wrong with a description that cannot be used.
fn unusable(config: &Path, problems: &Problems) -> String {
    format!("The site description {} cannot be used:\n{problems}", config.display())
}

/// Whether this is the last thing to tell.
fn is_stop(event: &Event) -> bool {
    event.kind == SITE && event.data.get("state").is_some_and(|state| state == STOPPED)
}

/// The element that an action was asked of.
fn site_of(args: &[glib::Value]) -> Option<super::Site> {
    args.first().and_then(|value| value.get().ok())
}

fn text(args: &[glib::Value], at: usize) -> String {
    args.get(at).and_then(|value| value.get::<Option<String>>().ok().flatten()).unwrap_or_default()
}

fn flag(args: &[glib::Value], at: usize) -> bool {
    args.get(at).and_then(|value| value.get().ok()).unwrap_or(false)
}

fn signals() -> Vec<glib::subclass::Signal> {
    let action = glib::subclass::Signal::builder;
    let (string, boolean) = (String::static_type(), bool::static_type());
    vec![
        action("reload")
            .action()
            .return_type::<bool>()
            .class_handler(|args| Some(site_of(args).is_some_and(|site| site.imp().reload()).to_value()))
            .build(),
        action("swap-model")
            .param_types([string, string, gst::Structure::static_type()])
            .action()
            .return_type::<glib::StrV>()
            .class_handler(|args| {
                let options = args.get(3).and_then(|value| value.get::<Option<gst::Structure>>().ok().flatten());
                let options = options.map(|options| json::from_structure(&options));
                let options = options.as_ref().and_then(|options| options.as_object()).cloned().unwrap_or_default();
                let swap = |live: &Live| live.swap_model(&text(args, 1), "", &text(args, 2), &options);
                let ids = site_of(args).and_then(|site| site.imp().act(swap)).unwrap_or_default();
                Some(ids.iter().map(glib::GString::from).collect::<glib::StrV>().to_value())
            })
            .build(),
        action("force-bypass")
            .param_types([string, boolean])
            .action()
            .return_type::<bool>()
            .class_handler(|args| {
                let bypass = |live: &Live| live.force_bypass(&text(args, 1), flag(args, 2));
                Some(site_of(args).and_then(|site| site.imp().act(bypass)).is_some().to_value())
            })
            .build(),
        action("enable")
            .param_types([string, boolean])
            .action()
            .return_type::<bool>()
            .class_handler(|args| {
                let enable = |live: &Live| live.enable(&text(args, 1), flag(args, 2));
                Some(site_of(args).and_then(|site| site.imp().act(enable)).is_some().to_value())
            })
            .build(),
        action("snapshot")
            .param_types([string])
            .action()
            .return_type::<Option<gst::Sample>>()
            .class_handler(|args| {
                let limit = Duration::from_secs(5);
                let jpeg = site_of(args).and_then(|site| site.imp().act(|live| live.snapshot(&text(args, 1), limit)));
                let sample = jpeg.map(|bytes| {
                    let caps = gst::Caps::builder("image/jpeg").build();
                    gst::Sample::builder().buffer(&gst::Buffer::from_slice(bytes)).caps(&caps).build()
                });
                Some(sample.to_value())
            })
            .build(),
    ]
}

#[glib::object_subclass]
impl ObjectSubclass for Site {
    const NAME: &'static str = "VigilSite";
    type Type = super::Site;
    type ParentType = gst::Bin;
}

impl ObjectImpl for Site {
    fn constructed(&self) {
        self.parent_constructed();
        let element = self.obj();
        // It ends the stream itself; its sources do not speak for it.
        element.set_suppressed_flags(gst::ElementFlags::SINK | gst::ElementFlags::SOURCE);
        element.set_element_flags(gst::ElementFlags::SINK);
    }

    fn properties() -> &'static [glib::ParamSpec] {
        static SPECS: LazyLock<Vec<glib::ParamSpec>> = LazyLock::new(|| {
            vec![
                glib::ParamSpecString::builder("config")
                    .nick("Configuration")
                    .blurb("The site description: a file in TOML or JSON; read at the start and by the action reload")
                    .mutable_playing()
                    .build(),
                glib::ParamSpecUInt64::builder("drain-timeout")
                    .nick("Drain timeout")
                    .blurb("Time in nanoseconds that cameras and outputs are given at the stop to write what they have")
                    .default_value(Settings::default().drain_ns)
                    .mutable_playing()
                    .build(),
                glib::ParamSpecBoxed::builder::<gst::Structure>("stats")
                    .nick("Statistics")
                    .blurb("A structure for each camera, by its id: state, frames, fps, reconnects, stages, outputs; times in nanoseconds")
                    .read_only()
                    .build(),
            ]
        });
        SPECS.as_slice()
    }

    fn signals() -> &'static [glib::subclass::Signal] {
        static SIGNALS: LazyLock<Vec<glib::subclass::Signal>> = LazyLock::new(signals);
        SIGNALS.as_slice()
    }

    fn set_property(&self, _id: usize, value: &glib::Value, pspec: &glib::ParamSpec) {
        let mut settings = lock(&self.settings);
        match pspec.name() {
            "config" => settings.config = value.get().unwrap_or_default(),
            "drain-timeout" => settings.drain_ns = value.get().unwrap_or(settings.drain_ns),
            _ => {}
        }
    }

    fn property(&self, _id: usize, pspec: &glib::ParamSpec) -> glib::Value {
        let settings = lock(&self.settings).clone();
        match pspec.name() {
            "config" => settings.config.to_value(),
            "drain-timeout" => settings.drain_ns.to_value(),
            _ => self.stats().to_value(),
        }
    }
}

impl GstObjectImpl for Site {}

impl ElementImpl for Site {
    fn metadata() -> Option<&'static gst::subclass::ElementMetadata> {
        static METADATA: LazyLock<gst::subclass::ElementMetadata> = LazyLock::new(|| {
            gst::subclass::ElementMetadata::new(
                "Vigil site",
                "Source/Analyzer/Video/Bin",
                "Runs the cameras of a site description, each with its analysis and its outputs",
                env!("CARGO_PKG_AUTHORS"),
            )
        });
        Some(&METADATA)
    }

    fn pad_templates() -> &'static [gst::PadTemplate] {
        static TEMPLATES: LazyLock<Vec<gst::PadTemplate>> = LazyLock::new(|| {
            let caps = gst::Caps::new_empty_simple("video/x-raw");
            gst::PadTemplate::new("src_%s", gst::PadDirection::Src, gst::PadPresence::Request, &caps)
                .into_iter()
                .collect()
        });
        TEMPLATES.as_slice()
    }

    fn request_new_pad(
        &self,
        template: &gst::PadTemplate,
        name: Option<&str>,
        _caps: Option<&gst::Caps>,
    ) -> Option<gst::Pad> {
        let Some((name, camera)) =
            name.and_then(|name| Some((name, name.strip_prefix(PAD).filter(|id| !id.is_empty())?)))
        else {
            gst::element_imp_warning!(self, gst::CoreError::Pad, ("A pad is named after its camera: {PAD}ID"));
            return None;
        };
        let outgoing = match Outgoing::add(self.obj().upcast_ref(), camera, name, template) {
            Ok(outgoing) => Arc::new(outgoing),
            Err(error) => {
                gst::warning!(CAT, imp = self, "pad {name}: {error}");
                return None;
            }
        };
        lock(&self.outgoing).push(Arc::clone(&outgoing));
        if let Some(live) = self.running() {
            self.open(&live, &outgoing);
        }
        Some(outgoing.pad.clone().upcast())
    }

    fn release_pad(&self, pad: &gst::Pad) {
        let mut gone = None;
        lock(&self.outgoing).retain(|outgoing| {
            let is_it = outgoing.pad.upcast_ref::<gst::Pad>() == pad;
            if is_it {
                gone = Some(Arc::clone(outgoing));
            }
            !is_it
        });
        if let Some(gone) = gone {
            gone.remove(self.obj().upcast_ref());
        }
    }

    fn change_state(&self, transition: gst::StateChange) -> Result<gst::StateChangeSuccess, gst::StateChangeError> {
        match transition {
            gst::StateChange::ReadyToPaused => {
                let loaded = self.load().map_err(|text| {
                    gst::element_imp_error!(self, gst::ResourceError::Settings, ("{text}"));
                    gst::StateChangeError
                })?;
                self.parent_change_state(transition)?;
                self.start(loaded);
                // Cameras do not wait for anybody: there is nothing to preroll with.
                Ok(gst::StateChangeSuccess::NoPreroll)
            }
            gst::StateChange::PausedToReady => {
                self.stop();
                self.parent_change_state(transition)
            }
            gst::StateChange::PlayingToPaused => {
                self.parent_change_state(transition)?;
                Ok(gst::StateChangeSuccess::NoPreroll)
            }
            _ => self.parent_change_state(transition),
        }
    }
}

impl BinImpl for Site {}
