//! How the element has its model replaced: what the swapper needs of it, and what it tells the application.

use std::sync::{Arc, Mutex, OnceLock};
use std::time::Instant;

use gst::glib;
use gst::prelude::*;
use gst::subclass::prelude::*;

use super::imp::{CAT, Infer};
use crate::analysis::Companion;
use crate::bundle::sign;
use crate::gstutil::lock;
use crate::model::{Model, Request};
use crate::store::{Following, Store, follow};
use crate::swap::{
    Below, Cause, Descent, Failing, Host, Identity, Order, Phase, Reason, Record, Swapper, Terms, Trial, TrialReport,
};

/// What is known about the model that looks at frames.
#[derive(Default)]
struct Active {
    /// What was loaded, as a user would write it.
    model: String,
    /// What the user had asked for then: the same, unless that was a makeshift or one release of a name.
    asked: Option<String>,
    /// Ends when the name is no longer followed.
    following: Option<Following>,
    descent: Descent,
    /// The shadow model that has been refused, or has taken the active one's place.
    judged: Option<String>,
    /// It is not judged for good: it is the active model itself.
    itself: bool,
    shadow: Option<TrialReport>,
}

/// The element's side of swapping.
///
/// `active` is locked for a copy only, and before `settings` where both are.
#[derive(Default)]
pub struct Swaps {
    swapper: OnceLock<Swapper>,
    active: Mutex<Active>,
}

/// What the swapper needs of the element.
struct Desk(glib::WeakRef<super::Infer>);

impl Swaps {
    /// Of an element that has been made.
    pub fn attach(&self, element: &super::Infer) {
        let _ = self.swapper.set(Swapper::new(Arc::new(Desk(element.downgrade()))));
    }

    /// The element runs, as `asked` wanted, the model that a user would write as `model`; empty: it runs without one.
    pub fn start(&self, imp: &Infer, model: &str, asked: Option<String>) {
        *lock(&self.active) = Active { model: model.into(), asked: asked.clone(), ..Active::default() };
        if let Some(swapper) = self.swapper.get() {
            swapper.open();
        }
        self.follow(imp);
        // Set while it was being loaded.
        let now = lock(&imp.settings).model.clone().filter(|model| !model.is_empty());
        if let Some(model) = now.filter(|now| Some(now) != asked.as_ref()) {
            self.request(Order::new(model, Cause::Property));
        }
    }

    /// The element stops.
    pub fn stop(&self) {
        let following = lock(&self.active).following.take();
        drop(following);
        if let Some(swapper) = self.swapper.get() {
            swapper.close();
        }
    }

    /// Takes a request; its number, 0 if the element does not run.
    pub fn request(&self, order: Order) -> u64 {
        self.swapper.get().and_then(|swapper| swapper.request(order)).unwrap_or(0)
    }

    /// A property about shadow runs was set.
    pub fn shadow_changed(&self) {
        lock(&self.active).judged = None;
        if let Some(swapper) = self.swapper.get() {
            swapper.look_again();
        }
    }

    /// Has another release of a name tried when the store says so; nothing for what is no name of the store's.
    fn follow(&self, imp: &Infer) {
        let name = lock(&imp.settings).model.clone().unwrap_or_default();
        let stored = Store::default_place().filter(|store| store.knows(&name));
        let playing = imp.analysis.slot().get().map_or_else(String::new, |model| model.id().release.clone());
        let weak = imp.obj().downgrade();
        let following = stored.map(|store| {
            let of = name.clone();
            follow(store, &name, &playing, move |wanted| {
                if let Some(element) = weak.upgrade() {
                    element.imp().swaps.request(Order::new(format!("{of}@{}", wanted.release), Cause::Store));
                }
            })
        });
        let old = std::mem::replace(&mut lock(&self.active).following, following);
        drop(old);
    }

    /// The model has answered, or has failed, on a frame: one that fails for too long is replaced by what is below it.
    pub fn note(&self, imp: &Infer, failed: bool) {
        let mut active = lock(&self.active);
        if !failed {
            return active.descent.works();
        }
        let Some(limit) = lock(&imp.settings).trials.fallback_after() else { return };
        if active.descent.fails(Instant::now(), limit) && self.is_idle() {
            drop(active);
            self.step_down(imp);
        }
    }

    /// Whether no swap is under way; a shadow run is none.
    fn is_idle(&self) -> bool {
        self.swapper.get().is_some_and(Swapper::is_idle)
    }

    fn step_down(&self, imp: &Infer) {
        let Some(model) = imp.analysis.slot().get() else { return };
        let (asked, fallback, allowed) = {
            let settings = lock(&imp.settings);
            let asked = settings.model.clone().unwrap_or_default();
            (asked, settings.trials.fallback().map(str::to_owned), settings.provider.clone())
        };
        let previous = Store::default_place().and_then(|store| store.instead_of(&asked));
        let order = {
            let mut active = lock(&self.active);
            let name = active.model.clone();
            let failing = Failing {
                model: &name,
                bundle: model.bundle(),
                variant: &model.id().digest,
                provider: model.provider(),
                allowed: &allowed,
            };
            active.descent.next(failing, Below { previous: previous.as_deref(), fallback: fallback.as_deref() })
        };
        match order {
            Some(order) => drop(self.request(order)),
            None => gst::debug!(CAT, imp = imp, "nothing is left to fall back to"),
        }
    }

    /// The property `swap-history`.
    pub fn history(&self) -> gst::Array {
        let history = self.swapper.get().map(Swapper::history).unwrap_or_default();
        gst::Array::new(history.records().map(|record| structure("vigil-model", record).to_send_value()))
    }

    /// Adds what is known about swaps to the statistics.
    pub fn add_stats(&self, stats: &mut gst::Structure) {
        let Some(swapper) = self.swapper.get() else { return };
        let history = swapper.history();
        stats.set("swaps", history.requests);
        stats.set("swaps-confirmed", history.confirmed);
        stats.set("swaps-rejected", history.rejected);
        stats.set("swaps-rolled-back", history.rolled_back);
        if let Some(last) = history.records().last() {
            stats.set("swap-request-id", last.request);
            stats.set("swap-phase", last.phase.as_str());
        }
        if let Some(report) = lock(&self.active).shadow.as_ref() {
            add_report(stats, "shadow-", report);
        }
    }
}

impl Desk {
    fn post(&self, content: gst::Structure) {
        if let Some(element) = self.0.upgrade() {
            let _ = element.post_message(gst::message::Element::builder(content).src(&element).build());
        }
    }
}

impl Host for Desk {
    fn request(&self, order: &Order) -> Result<Request, (Reason, String)> {
        let gone = || (Reason::Stopped, "the element is gone".to_owned());
        let element = self.0.upgrade().ok_or_else(gone)?;
        let settings = lock(&element.imp().settings).clone();
        let keys = sign::configured_keys(settings.trials.public_keys.as_deref())
            .map_err(|error| (Reason::Signature, error.to_string()))?;
        let provider = order.provider.clone().unwrap_or_else(|| settings.provider.clone());
        let without = order.without.clone();
        Ok(Request { provider, keys, without, ..settings.request_for(order.model.clone()) })
    }

    fn terms(&self) -> Terms {
        self.0.upgrade().map_or_else(Terms::default, |element| {
            let settings = lock(&element.imp().settings);
            settings.trials.terms(settings.process.limits())
        })
    }

    fn current(&self) -> Option<Arc<Model>> {
        self.0.upgrade()?.imp().analysis.slot().get()
    }

    fn activate(&self, old: Option<&Arc<Model>>, model: Option<Arc<Model>>) -> bool {
        self.0.upgrade().is_some_and(|element| element.imp().activate(old, model))
    }

    fn accompany(&self, companion: Option<Companion>) {
        if let Some(element) = self.0.upgrade() {
            element.imp().analysis.accompany(companion);
        }
    }

    fn watch(&self, trial: Option<(Arc<Trial>, &Arc<Model>)>) {
        if let Some(element) = self.0.upgrade() {
            element.imp().analysis.watch(trial);
        }
    }

    fn tell(&self, record: &Record) {
        let Some(element) = self.0.upgrade() else { return };
        let what = record.new.as_ref().map_or_else(|| record.model.clone(), Identity::to_string);
        let (request, phase) = (record.request, record.phase.as_str());
        match record.phase {
            Phase::Rejected | Phase::RolledBack => {
                gst::warning!(CAT, obj = element, "swap {request}: {what} {phase}: {}", record.text);
            }
            _ => gst::info!(CAT, obj = element, "swap {request}: {what} {phase}: {}", record.text),
        }
        self.post(structure("vigil-model", record));
    }

    fn report(&self, request: u64, report: &TrialReport) {
        let Some(element) = self.0.upgrade() else { return };
        lock(&element.imp().swaps.active).shadow = Some(report.clone());
        let mut content = gst::Structure::builder("vigil-shadow").field("request-id", request).build();
        add_report(&mut content, "", report);
        self.post(content);
    }

    fn settled(&self, order: &Order, record: &Record) {
        if let Some(element) = self.0.upgrade() {
            element.imp().settled(order, record);
        }
    }

    fn standing(&self) -> Option<Order> {
        let element = self.0.upgrade()?;
        let order = lock(&element.imp().settings).trials.shadow_order()?;
        let active = lock(&element.imp().swaps.active);
        (active.judged.as_ref() != Some(&order.model)).then_some(order)
    }
}

impl Infer {
    /// Makes `model` the one of the next frame in place of `old`; `false` if that is not the one any more.
    fn activate(&self, old: Option<&Arc<Model>>, model: Option<Arc<Model>>) -> bool {
        let lanes = model.as_ref().map_or(1, |model| model.lanes().engine().lanes());
        let settings = lock(&self.settings).analysis(lanes);
        self.analysis.exchange(old, model, settings)
    }

    /// Whether an event is the request for another model, and was meant for this element.
    pub(super) fn take_order(&self, event: &gst::EventRef) -> bool {
        let order = event.structure().filter(|_| is_custom(event.type_())).and_then(|s| self.read_order(s));
        order.map(|order| self.swaps.request(order)).is_some()
    }

    /// Takes over how an order ended: what the next start loads, what the store says, what is tried next.
    fn settled(&self, order: &Order, record: &Record) {
        let confirmed = record.phase == Phase::Confirmed;
        let unwanted = matches!(record.reason, Some(Reason::Superseded | Reason::Stopped));
        if order.cause == Cause::Shadow && !unwanted {
            let mut active = lock(&self.swaps.active);
            (active.judged, active.itself) = (Some(order.model.clone()), record.reason == Some(Reason::Unchanged));
        }
        if confirmed && (order.cause != Cause::Shadow || record.reason.is_none()) {
            self.keep(order, record.reason.is_none());
        } else if !confirmed && order.cause == Cause::Property && record.reason != Some(Reason::Stopped) {
            self.take_back(order);
        }
        // What this machine lacks, or lacks now, says nothing against the release.
        let foreign = matches!(record.reason, Some(Reason::Provider | Reason::Memory));
        let release = record.new.as_ref().filter(|_| order.cause == Cause::Store);
        let stored = Store::default_place().zip(release);
        let written = match stored {
            Some((store, new)) if confirmed => store.confirm(&new.name, &new.release).map(drop),
            Some((store, new)) if !unwanted && !foreign => {
                store.reject(&new.name, &new.release, &record.text).map(drop)
            }
            _ => Ok(()),
        };
        if let Err(error) = written {
            gst::element_imp_warning!(self, gst::ResourceError::Write, ("The store does not take note of it: {error}"));
        }
    }

    /// A model has proved itself: it is what the element starts with from now on, unless it is a makeshift or a release of
    /// a name that is followed. Whether it is `another` one than before.
    fn keep(&self, order: &Order, another: bool) {
        {
            let mut active = lock(&self.swaps.active);
            active.model.clone_from(&order.model);
            if another && active.itself {
                active.judged = None;
            }
            if order.cause == Cause::Fallback {
                return;
            }
            active.descent.reset();
            if order.cause == Cause::Store {
                return;
            }
            active.asked = Some(order.model.clone());
        }
        let changed = {
            let mut settings = lock(&self.settings);
            settings.model.replace(order.model.clone()).as_ref() != Some(&order.model)
        };
        if changed {
            self.obj().notify("model");
        }
        self.swaps.follow(self);
    }

    /// A model has been refused: the property says again what was asked for when the one that looks at frames came.
    fn take_back(&self, order: &Order) {
        let asked = lock(&self.swaps.active).asked.clone();
        {
            let mut settings = lock(&self.settings);
            if settings.model.as_ref() != Some(&order.model) || asked.is_none() {
                return;
            }
            settings.model = asked;
        }
        self.obj().notify("model");
    }

    /// An order from a structure with the fields of the event `vigil-swap-model`; `None` if it names no model, or another
    /// element.
    fn read_order(&self, content: &gst::StructureRef) -> Option<Order> {
        let element = content.get::<String>("element").ok();
        if content.name() != "vigil-swap-model" || element.is_some_and(|name| name != self.obj().name()) {
            return None;
        }
        let model = content.get::<String>("model").ok()?;
        Some(with_options(Order::new(model, Cause::Event), Some(content)))
    }
}

/// An order with the options that a structure has.
fn with_options(mut order: Order, options: Option<&gst::StructureRef>) -> Order {
    let Some(options) = options else { return order };
    order.provider = options.get("provider").ok();
    order.shadow |= options.get("shadow").unwrap_or(false);
    order.probation.time = number(options, "probation-time").map(std::time::Duration::from_nanos);
    order.probation.frames = number(options, "probation-frames");
    order
}

/// A number of any integer type: one in a structure's text is an `int` unless it says otherwise.
fn number(options: &gst::StructureRef, name: &str) -> Option<u64> {
    let signed = || options.get::<i64>(name).or_else(|_| options.get::<i32>(name).map(i64::from)).ok();
    let unsigned = options.get::<u64>(name).or_else(|_| options.get::<u32>(name).map(u64::from)).ok();
    unsigned.or_else(|| signed().and_then(|value| u64::try_from(value).ok()))
}

/// Adds the figures of a shadow run, with `prefix` before their names.
fn add_report(to: &mut gst::Structure, prefix: &str, report: &TrialReport) {
    let (subject, peer, both) = (&report.subject, &report.peer, &report.agreement);
    let counts = [
        ("frames", subject.frames),
        ("errors", subject.failed),
        ("non-finite", subject.non_finite),
        ("run-median", subject.median_ns),
        ("run-p99", subject.p99_ns),
        ("active-run-median", peer.median_ns),
        ("active-run-p99", peer.p99_ns),
        ("samples", both.frames),
        ("matched", both.matched),
        ("class-changes", both.class_changes),
        ("missed", both.missed),
        ("extra", both.extra),
        ("foreign", both.foreign),
    ];
    for (name, count) in counts {
        to.set(format!("{prefix}{name}"), count);
    }
    to.set(format!("{prefix}agreement"), both.score());
    to.set(format!("{prefix}score-shift"), both.score_shift());
}

fn is_custom(kind: gst::EventType) -> bool {
    use gst::EventType::{CustomBoth, CustomBothOob, CustomDownstream, CustomDownstreamOob, CustomUpstream};
    matches!(kind, CustomBoth | CustomBothOob | CustomDownstream | CustomDownstreamOob | CustomUpstream)
}

/// The action signal: the number of the request, 0 if the element does not run; then the model is what it starts with.
pub fn swap_model(args: &[glib::Value]) -> u64 {
    let [element, model, options] = args else { return 0 };
    let (Ok(element), Ok(Some(model))) = (element.get::<super::Infer>(), model.get::<Option<String>>()) else {
        return 0;
    };
    let options = options.get::<Option<gst::Structure>>().ok().flatten();
    let order = with_options(Order::new(model.clone(), Cause::Signal), options.as_deref());
    let number = element.imp().swaps.request(order);
    if number == 0 {
        element.set_property("model", model);
    }
    number
}

/// A record as message and property have it.
fn structure(name: &str, record: &Record) -> gst::Structure {
    let nanos = |time: std::time::Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
    let mut s = gst::Structure::builder(name)
        .field("request-id", record.request)
        .field("phase", record.phase.as_str())
        .field("cause", record.cause.as_str())
        .field("text", &record.text)
        .field("new-model", &record.model)
        .field("elapsed", nanos(record.elapsed))
        .field("phase-time", nanos(record.took))
        .field("utc", record.utc_ns)
        .build();
    if let Some(reason) = record.reason {
        s.set("reason", reason.as_str());
    }
    for (side, identity) in [("old", &record.old), ("new", &record.new)] {
        if let Some(identity) = identity {
            s.set(format!("{side}-name"), &identity.name);
            s.set(format!("{side}-release"), &identity.release);
            s.set(format!("{side}-digest"), &identity.digest);
        }
    }
    s
}
