//! How the element has its model replaced: what the swapper needs of it, and what it tells the application.

use std::sync::{Arc, Mutex, OnceLock};
use std::time::Instant;

use gst::glib;
use gst::prelude::*;
use gst::subclass::prelude::*;

use super::imp::{CAT, Infer};
use super::telling::{add_report, structure};
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
pub struct Active {
    /// What was loaded, as a user would write it.
    pub model: String,
    /// What the user had asked for then: the same, unless that was a makeshift or one release of a name.
    pub asked: Option<String>,
    /// It came down the ladder.
    pub makeshift: bool,
    /// Number of the last request of a user's.
    pub latest: u64,
    /// The element runs.
    running: bool,
    /// Ends when the name is no longer followed.
    following: Option<Following>,
    /// Counts what was followed: what an earlier one says late is not heard.
    followed: u64,
    pub descent: Descent,
    /// The next step down is to be found.
    falls: bool,
    /// It is found, and not under way yet.
    due: Option<Order>,
    /// The shadow model that has been refused, or has taken the active one's place.
    pub judged: Option<String>,
    /// It is not judged for good: it is the active model itself.
    pub itself: bool,
    shadow: Option<TrialReport>,
}

/// The element's side of swapping.
///
/// `active` is locked for a copy only, and before `settings` where both are.
#[derive(Default)]
pub struct Swaps {
    swapper: OnceLock<Swapper>,
    pub active: Mutex<Active>,
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
        {
            let mut active = lock(&self.active);
            let makeshift = asked.as_deref() != Some(model);
            let (model, asked, followed) = (model.into(), asked.clone(), active.followed);
            *active = Active { model, asked, makeshift, followed, running: true, ..Active::default() };
        }
        if let Some(swapper) = self.swapper.get() {
            swapper.open();
        }
        self.follow(imp, &asked.clone().unwrap_or_default());
        // Set while it was being loaded.
        let now = lock(&imp.settings).model.clone().filter(|model| !model.is_empty());
        if let Some(model) = now.filter(|now| Some(now) != asked.as_ref()) {
            self.request(Order::new(model, Cause::Property));
        }
    }

    /// `model` was set to a value; `changed`: to another one than before. The same value asks for something where another
    /// model is active or on its way.
    pub fn set(&self, model: String, changed: bool) {
        let another = {
            let active = lock(&self.active);
            active.makeshift || active.asked.as_ref() != Some(&model)
        };
        if changed || another || !self.is_idle() {
            // Before the element runs this does nothing: the start loads what is set.
            self.request(Order::new(model, Cause::Property));
        }
    }

    /// The element stops.
    pub fn stop(&self) {
        let following = {
            let mut active = lock(&self.active);
            active.running = false;
            active.followed += 1;
            active.following.take()
        };
        drop(following);
        if let Some(swapper) = self.swapper.get() {
            swapper.close();
        }
    }

    /// Takes a user's request; its number, 0 if the element does not run.
    pub fn request(&self, mut order: Order) -> u64 {
        order.anew = lock(&self.active).makeshift;
        let note = |number| {
            let mut active = lock(&self.active);
            active.latest = active.latest.max(number);
        };
        self.swapper.get().and_then(|swapper| swapper.request_with(order, false, note)).unwrap_or(0)
    }

    /// The store wants a release to be tried, or to be played again, while nobody asks for anything else; `false` while
    /// somebody does.
    fn offer(&self, name: &str, release: &str, trusted: bool, followed: u64) -> bool {
        if lock(&self.active).followed != followed {
            return true;
        }
        let order = Order { trusted, ..Order::new(format!("{name}@{release}"), Cause::Store) };
        self.swapper.get().is_some_and(|swapper| swapper.request_with(order, true, |_| ()).is_some())
    }

    /// A property about shadow runs was set.
    pub fn shadow_changed(&self) {
        lock(&self.active).judged = None;
        self.look_again();
    }

    /// Has another release of a name tried when the store says so; nothing for what is no name of the store's.
    pub fn follow(&self, imp: &Infer, name: &str) {
        let playing = playing(imp, name);
        let (followed, makeshift) = {
            let mut active = lock(&self.active);
            active.followed += 1;
            (active.followed, active.makeshift)
        };
        // A folder or file of that name may play instead of the store's.
        let other = playing.is_none() && !makeshift && imp.analysis.slot().get().is_some();
        let (weak, of) = (imp.obj().downgrade(), name.to_owned());
        let stored = Store::default_place().filter(|store| !other && store.knows(name));
        let following = stored.map(|store| {
            follow(store, name, playing.as_deref().unwrap_or_default(), move |wanted| {
                let offer = |element: super::Infer| {
                    element.imp().swaps.offer(&of, &wanted.release, !wanted.candidate, followed)
                };
                weak.upgrade().is_none_or(offer)
            })
        });
        let old = {
            let mut active = lock(&self.active);
            if active.running && active.followed == followed {
                std::mem::replace(&mut active.following, following)
            } else {
                following
            }
        };
        drop(old);
    }

    /// Another request is over, in which what the store wanted was not heard: it tells it again.
    pub fn hear_again(&self, imp: &Infer) {
        let asked = lock(&self.active).asked.clone().unwrap_or_default();
        let playing = playing(imp, &asked).unwrap_or_default();
        if let Some(following) = &lock(&self.active).following {
            following.again(&playing);
        }
    }

    /// The model has answered, or has failed, on a frame: one that fails for too long is replaced by what is below it.
    pub fn note(&self, imp: &Infer, failed: bool) {
        let mut active = lock(&self.active);
        if !failed {
            active.descent.works();
            if let Some(due) = active.due.take() {
                active.descent.untake(&due.model);
            }
            return;
        }
        let Some(limit) = lock(&imp.settings).trials.fallback_after() else { return };
        if active.descent.fails(Instant::now(), limit) && self.is_idle() {
            active.falls = true;
            drop(active);
            // What comes next is looked up by the swapper's thread, not by the one that pushes frames.
            if let Some(swapper) = self.swapper.get() {
                swapper.wake();
            }
        }
    }

    fn look_again(&self) {
        if let Some(swapper) = self.swapper.get() {
            swapper.look_again();
        }
    }

    /// Whether no swap is under way; a shadow run is none.
    fn is_idle(&self) -> bool {
        self.swapper.get().is_some_and(Swapper::is_idle)
    }

    /// What is below a model that fails on every frame, if the next step is due. It stays so until it begins.
    fn step_down(&self, imp: &Infer) -> Option<Order> {
        {
            let mut active = lock(&self.active);
            if !std::mem::take(&mut active.falls) {
                return active.due.clone();
            }
        }
        let model = imp.analysis.slot().get()?;
        let (asked, fallback, allowed) = {
            let settings = lock(&imp.settings);
            let asked = settings.model.clone().unwrap_or_default();
            (asked, settings.trials.fallback().map(str::to_owned), settings.provider.clone())
        };
        let previous = Store::default_place().and_then(|store| store.instead_of(&asked));
        let mut active = lock(&self.active);
        let name = active.model.clone();
        let failing = Failing {
            model: &name,
            bundle: model.bundle(),
            variant: &model.id().digest,
            provider: model.provider(),
            allowed: &allowed,
        };
        active.due =
            active.descent.next(failing, Below { previous: previous.as_deref(), fallback: fallback.as_deref() });
        if active.due.is_none() {
            gst::debug!(CAT, imp = imp, "nothing is left to fall back to");
        }
        active.due.clone()
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

/// The release of `name` that looks at frames, if it came from the store.
fn playing(imp: &Infer, name: &str) -> Option<String> {
    let model = imp.analysis.slot().get()?;
    model.bundle().stored().filter(|(of, _)| *of == name).map(|(_, release)| release.to_owned())
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
        if order.cause == Cause::Fallback {
            lock(&element.imp().swaps.active).due = None;
        }
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
        if let Some(down) = element.imp().swaps.step_down(element.imp()) {
            return Some(down);
        }
        let order = lock(&element.imp().settings).trials.shadow_order()?;
        let active = lock(&element.imp().swaps.active);
        (active.judged.as_ref() != Some(&order.model)).then_some(order)
    }
}
