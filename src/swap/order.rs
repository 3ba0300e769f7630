//! What is asked for, and what the swapper needs of an element.

use std::sync::Arc;
use std::time::Duration;

use super::phase::{Cause, Reason};
use super::record::Record;
use super::trial::Trial;
use super::trial::TrialReport;
use crate::analysis::Companion;
use crate::bundle::TrialLimits;
use crate::model::{Isolated, Model, Request};

/// A request for another model.
#[derive(Debug, Clone, PartialEq)]
pub struct Order {
    /// Bundle folder, `.vigil` archive, `.onnx` file, or the name of an installed bundle.
    pub model: String,
    /// Who wants it.
    pub cause: Cause,
    /// Execution provider instead of the element's.
    pub provider: Option<String>,
    /// Whether it looks at live frames beside the active model first.
    pub shadow: bool,
    /// Rules of its probation instead of the element's.
    pub probation: TrialLimits,
    /// Pairs of variant digest and provider that have failed.
    pub without: Vec<(String, String)>,
}

impl Order {
    /// A plain one.
    pub fn new(model: impl Into<String>, cause: Cause) -> Self {
        let (model, shadow) = (model.into(), cause == Cause::Shadow);
        Self { model, cause, provider: None, shadow, probation: TrialLimits::default(), without: Vec::new() }
    }

    /// What is wanted, for people.
    pub fn describe(&self) -> String {
        let by = match self.cause {
            Cause::Property => "the property model",
            Cause::Signal => "the signal swap-model",
            Cause::Event => "the event vigil-swap-model",
            Cause::Store => "the store",
            Cause::Shadow => "the property shadow-model",
            Cause::Fallback => "the fallback ladder",
        };
        format!("{} is asked for by {by}", self.model)
    }
}

/// How an element wants its orders to be carried out.
#[derive(Debug, Clone, Default)]
pub struct Terms {
    /// Longest time for one load of a model.
    pub load_limit: Duration,
    /// Limits of the process that loads and proves a model first, wherever it runs later.
    pub apart: Isolated,
    /// Rules of the probation instead of the bundle's.
    pub probation: TrialLimits,
    /// Rules of a shadow run instead of the bundle's.
    pub shadow: TrialLimits,
    /// Most processors that a shadow run may keep busy.
    pub shadow_cpu: f32,
    /// Whether a model of `shadow-model` takes the active one's place where its rules allow.
    pub promote: bool,
    /// Time between two reports of a shadow run.
    pub report_every: Duration,
}

/// What the swapper needs of its element. All of it may be called from any thread.
pub trait Host: Send + Sync {
    /// What to load for an order, by the element's settings.
    ///
    /// # Errors
    /// A text about a setting that is wrong.
    fn request(&self, order: &Order) -> Result<Request, (Reason, String)>;

    /// How orders are carried out now.
    fn terms(&self) -> Terms;

    /// The model that looks at frames.
    fn current(&self) -> Option<Arc<Model>>;

    /// Makes `model` the one of the next frame in place of `old`; `false` if the element takes none, since it was stopped,
    /// or has another one, since it was also started again.
    fn activate(&self, old: Option<&Arc<Model>>, model: Option<Arc<Model>>) -> bool;

    /// Lets another model look at a sample of the frames too.
    fn accompany(&self, companion: Option<Companion>);

    /// Lets a trial see what a model does while it is active.
    fn watch(&self, trial: Option<(Arc<Trial>, &Arc<Model>)>);

    /// Is told of every phase.
    fn tell(&self, record: &Record);

    /// Is told now and then how a shadow run goes.
    fn report(&self, request: u64, report: &TrialReport);

    /// Is told how an order ended, before the record of it is: `Confirmed`, `Rejected` or `RolledBack`.
    fn settled(&self, order: &Order, record: &Record);

    /// What is to be done while nobody asks for anything: a shadow run.
    fn standing(&self) -> Option<Order>;
}
