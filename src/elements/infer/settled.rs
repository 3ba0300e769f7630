//! What an order makes of the element: the model that looks at frames, what it starts with next time, what the store is told.

use std::sync::Arc;

use gst::prelude::*;
use gst::subclass::prelude::*;

use super::imp::Infer;
use super::telling::{is_custom, is_of_the_model, latency_of, with_options};
use crate::gstutil::lock;
use crate::model::Model;
use crate::store::Store;
use crate::swap::{Cause, Order, Phase, Reason, Record};

impl Infer {
    /// Makes `model` the one of the next frame in place of `old`; `false` if that is not the one any more.
    pub(super) fn activate(&self, old: Option<&Arc<Model>>, model: Option<Arc<Model>>) -> bool {
        // A live sink must know before the first frame that takes longer.
        if let Some(model) = &model
            && lock(&self.latency).raise(latency_of(model))
        {
            let _ = self.obj().post_message(gst::message::Latency::builder().src(&*self.obj()).build());
        }
        let next = model.clone();
        self.analysis.exchange(old, model, || self.frame_settings(next.as_ref()))
    }

    /// How frames are to be analysed by `model`, by the properties as they are now.
    pub(super) fn frame_settings(&self, model: Option<&Arc<Model>>) -> crate::analysis::Settings {
        let lanes = model.map_or(1, |model| model.lanes().engine().at_once());
        lock(&self.settings).analysis(lanes)
    }

    /// Whether an event is the request for another model, and was meant for this element.
    pub(super) fn take_order(&self, event: &gst::EventRef) -> bool {
        let order = event.structure().filter(|_| is_custom(event.type_())).and_then(|s| self.read_order(s));
        order.map(|order| self.swaps.request(order)).is_some()
    }

    /// Takes over how an order ended: what the next start loads, what the store says, what is tried next.
    pub(super) fn settled(&self, order: &Order, record: &Record) {
        let confirmed = record.phase == Phase::Confirmed;
        let unwanted = matches!(record.reason, Some(Reason::Superseded | Reason::Stopped));
        if order.cause == Cause::Shadow && !unwanted {
            let mut active = lock(&self.swaps.active);
            (active.judged, active.itself) = (Some(order.model.clone()), record.reason == Some(Reason::Unchanged));
        }
        if confirmed && (order.cause != Cause::Shadow || record.reason.is_none()) {
            self.keep(order, record);
        } else if !confirmed {
            if order.cause == Cause::Property && record.reason != Some(Reason::Stopped) {
                self.take_back(order, record);
            }
            if order.cause == Cause::Fallback && unwanted {
                lock(&self.swaps.active).descent.untake(&order.model);
            }
            if order.cause != Cause::Store && record.reason != Some(Reason::Stopped) {
                self.swaps.hear_again(self);
            }
        }
        // Only what is the release's own fault is held against it for everybody; what happened on live frames, beside a
        // model that is worse, is not held against one that was good.
        let guilty = record.reason.is_some_and(is_of_the_model) && (!order.trusted || record.phase == Phase::Rejected);
        let release = record.new.as_ref().filter(|_| order.cause == Cause::Store);
        let stored = Store::default_place().zip(release);
        let written = match stored {
            Some((store, new)) if confirmed && record.reason.is_none() => {
                store.confirm_if_wanted(&new.name, &new.release).map(drop)
            }
            Some((store, new)) if guilty => store.reject(&new.name, &new.release, &record.text).map(drop),
            _ => Ok(()),
        };
        if let Err(error) = written {
            gst::element_imp_warning!(self, gst::ResourceError::Write, ("The store does not take note of it: {error}"));
        }
    }

    /// A model has proved itself: it is what the element starts with from now on, unless it is a makeshift or a release of
    /// a name that is followed.
    fn keep(&self, order: &Order, record: &Record) {
        let by_user;
        {
            let mut active = lock(&self.swaps.active);
            active.model.clone_from(&order.model);
            active.makeshift = order.cause == Cause::Fallback;
            if record.reason.is_none() && active.itself {
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
            by_user = active.latest;
        }
        let changed = by_user <= record.request && {
            let mut settings = lock(&self.settings);
            settings.model.replace(order.model.clone()).as_ref() != Some(&order.model)
        };
        if changed {
            self.obj().notify("model");
        }
        self.swaps.follow(self, &order.model);
    }

    /// A model has been refused: the property says again what was asked for when the one that looks at frames came, unless
    /// a later request is about to change that.
    fn take_back(&self, order: &Order, record: &Record) {
        let asked = {
            let active = lock(&self.swaps.active);
            active.asked.clone().filter(|_| active.latest <= record.request)
        };
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
