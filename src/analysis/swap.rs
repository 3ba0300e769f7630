//! Another model for the next frame, and who watches it.

use std::sync::{Arc, PoisonError, Weak};

use super::beside::{Beside, observation};
use super::companion::{Companion, Role};
use super::job::{Job, Ran};
use super::queue::Jobs;
use super::{Analysis, Settings};
use crate::model::Model;
use crate::swap::trial::Trial;

/// The trial that watches a model.
pub(super) struct Watch {
    model: Weak<Model>,
    trial: Arc<Trial>,
}

/// The trials that are to be told of a run.
pub(super) struct Observers {
    /// Its model is the one that is tried.
    subject: Option<Arc<Trial>>,
    /// Its model is the one that a shadow is measured by.
    peer: Option<Arc<Trial>>,
}

impl Observers {
    pub(super) fn of(watch: Option<&Watch>, beside: Option<&Beside>, model: &Weak<Model>) -> Self {
        let subject = watch.filter(|watch| Weak::ptr_eq(&watch.model, model)).map(|watch| Arc::clone(&watch.trial));
        let shadow = beside.map(Beside::companion).filter(|companion| companion.role == Role::New);
        let peer = shadow.filter(|companion| !std::ptr::eq(model.as_ptr(), Arc::as_ptr(&companion.model)));
        Self { subject, peer: peer.map(|companion| Arc::clone(&companion.trial)) }
    }

    /// Tells them what the runs of a frame were like; `None` if they failed.
    pub(super) fn tell(&self, ran: Option<Ran>) {
        if let Some(trial) = &self.subject {
            trial.subject(observation(ran));
        }
        if let Some(trial) = &self.peer {
            trial.peer(observation(ran));
        }
    }
}

impl<T: Send + 'static> Analysis<T> {
    /// Makes `model` the one of the next frame, together with `settings`. Jobs for as many frames as may be under way are
    /// made here first, for frames as they were up to now, so that the streaming thread does no more on the next frame than on
    /// any other. Frames under way keep the old model. Returns it: whoever drops the last reference ends its engine.
    ///
    /// After [`Analysis::stop`] nothing changes, and `model` itself comes back.
    pub fn activate(&self, model: Arc<Model>, settings: Settings) -> Option<Arc<Model>> {
        self.put(Some(model), || settings.clone(), |_| true).unwrap_or_else(|refused| refused)
    }

    /// As [`activate`](Self::activate), but only if `old` is the model of the next frame until then; with `None` in place of
    /// `model` frames pass without analysis. Whether it was done.
    ///
    /// `settings` is asked before the jobs are made, and once more when the model changes, for what was set meanwhile; it may
    /// lock, but not call this analysis.
    ///
    /// Someone who has worked on this for long may find that the analysis was stopped and started again meanwhile.
    pub fn exchange(
        &self,
        old: Option<&Arc<Model>>,
        model: Option<Arc<Model>>,
        settings: impl Fn() -> Settings,
    ) -> bool {
        self.put(model, settings, |now| now.map(Arc::as_ptr) == old.map(Arc::as_ptr)).is_ok()
    }

    /// Puts a model in the place of the one for which `wanted` holds, which is returned; `Err` with the new one if nothing
    /// changed.
    #[allow(clippy::type_complexity, reason = "the old one or the new one")]
    fn put(
        &self,
        model: Option<Arc<Model>>,
        settings: impl Fn() -> Settings,
        wanted: impl FnOnce(Option<&Arc<Model>>) -> bool,
    ) -> Result<Option<Arc<Model>>, Option<Arc<Model>>> {
        let seen = self.shared.lock().seen;
        let expected = settings();
        let make = |model| (0..expected.max_in_flight.max(1)).map(|_| Box::new(Job::new(model))).collect();
        let mut jobs: Jobs = model.as_ref().map(make).unwrap_or_default();
        if let Some(seen) = seen {
            jobs.iter_mut().for_each(|job| job.warm(&seen, &expected));
        }
        let mut queue = self.shared.lock();
        let now = self.slot.get();
        if queue.stopped || !wanted(now.as_ref()) {
            drop(queue);
            drop((jobs, now));
            return Err(model);
        }
        *self.settings.lock().unwrap_or_else(PoisonError::into_inner) = settings();
        queue.model = model.as_ref().map_or_else(Weak::new, Arc::downgrade);
        queue.era += 1;
        let free = std::mem::replace(&mut queue.free, jobs);
        let old = self.slot.replace(model);
        drop(queue);
        self.shared.cascade().ask_anew();
        self.shared.changed.notify_all();
        drop((free, now));
        Ok(old)
    }

    /// Lets `companion` look at a sample of the frames too, in place of the one that does; `None` ends that. What it says
    /// reaches only its trial. It never delays, drops or changes a frame beyond the time in which the streaming thread
    /// pre-processes a sample for it; while its last sample is under way, and beyond its share of the processors, it takes none.
    pub fn accompany(&self, companion: Option<Companion>) {
        let seen = self.shared.lock().seen;
        let settings = self.settings.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let beside = companion.map(|companion| Arc::new(Beside::new(companion, seen.as_ref(), &settings)));
        let mut queue = self.shared.lock();
        let (old, refused) = if queue.stopped {
            (queue.beside.take(), beside)
        } else {
            (std::mem::replace(&mut queue.beside, beside), None)
        };
        drop(queue);
        drop(refused);
        if let Some(old) = old {
            old.end();
        }
    }

    /// The trial that watches a model, from its first frame on if it is not active yet; `None` ends that. Frames that began
    /// with another model do not count.
    pub fn watch(&self, trial: Option<(Arc<Trial>, &Arc<Model>)>) {
        let watch = trial.map(|(trial, model)| Watch { model: Arc::downgrade(model), trial });
        self.shared.lock().watch = watch;
    }
}
