//! What a model must keep to while it is tried on live frames, and who says so.
//!
//! Each rule is what the element was set up with, else what the model's bundle says, else a default. The defaults
//! forgive what happens on a healthy site and nothing that a site would regret:
//!
//! - *30 s and 50 answered frames*: long enough for a slow leak of errors to show and for the caches to be warm, short enough for
//!   the memory of two models. Frames count too, since a camera may send one in a minute.
//! - *2 % errors, 1 % answers with NaN*: a sound model has none of either; an isolated engine that is killed once for another's
//!   sake costs a few frames.
//! - *three times the old model's run*: a better model is often larger, and twice the time is nothing special; more is
//!   a mistake unless the bundle says that it is meant. A bundle that names a longest run has said so.
//! - *agreement of 0.3 in probation*: a better model finds more, and other borders of what it is sure of, which costs agreement;
//!   under a third it sees something else than the scene. A shadow has time to be stricter.

use std::time::Duration;

use crate::bundle::{Bundle, TrialLimits};

/// Runs under this median are never too slow in comparison: what such a run takes is noise of the machine.
pub const QUICK: Duration = Duration::from_millis(5);

/// Slowdown that is allowed where nobody says anything.
const SLOWDOWN: f32 = 3.0;

/// What a model on trial must keep to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rules {
    /// Fewest frames that it must have answered.
    pub frames: u64,
    /// Shortest time from its first answer on.
    pub time: Duration,
    /// Largest part of its runs that may fail, 0..1; 1: any.
    pub max_errors: f32,
    /// Longest median run.
    pub max_latency: Option<Duration>,
    /// Longest median run, as a multiple of the other model's in the same time; 0: any.
    pub max_slowdown: f32,
    /// Largest part of its answers that may hold numbers that are not finite, 0..1; 1: any.
    pub max_non_finite: f32,
    /// Lowest agreement with the other model, 0..1; 0: any.
    pub min_agreement: f32,
    /// Fewest frames on which both were compared before their agreement counts.
    pub samples: u64,
    /// Whether as many samples must have been compared before it passes: a shadow is there to be compared, a model on
    /// probation is not to stay on it for ever because the other one cannot keep up. It does for four times its time and its
    /// frames, if the other one answers at all.
    pub must_compare: bool,
}

impl Rules {
    /// For a model that was activated.
    pub fn probation(bundle: &Bundle, overrides: &TrialLimits) -> Self {
        let defaults = Self {
            frames: 50,
            time: Duration::from_secs(30),
            max_errors: 0.02,
            max_latency: None,
            max_slowdown: SLOWDOWN,
            max_non_finite: 0.01,
            min_agreement: 0.3,
            samples: 20,
            must_compare: false,
        };
        defaults.with(bundle, overrides.or(bundle.probation))
    }

    /// For a candidate beside the active model.
    pub fn shadow(bundle: &Bundle, overrides: &TrialLimits) -> Self {
        let defaults = Self {
            frames: 100,
            time: Duration::from_secs(60),
            max_errors: 0.02,
            max_latency: None,
            max_slowdown: SLOWDOWN,
            max_non_finite: 0.01,
            min_agreement: 0.5,
            samples: 100,
            must_compare: true,
        };
        defaults.with(bundle, overrides.or(bundle.shadow))
    }

    fn with(self, bundle: &Bundle, limits: TrialLimits) -> Self {
        let proven = bundle.reference.as_ref().and_then(|r| r.max_latency_ms).map(Duration::from_millis);
        let max_latency = limits.max_latency.or(proven);
        let slowdown = if max_latency.is_some() { 0.0 } else { self.max_slowdown };
        Self {
            frames: limits.frames.unwrap_or(self.frames),
            time: limits.time.unwrap_or(self.time),
            max_errors: limits.max_errors.unwrap_or(self.max_errors),
            max_latency,
            max_slowdown: limits.max_slowdown.unwrap_or(slowdown),
            max_non_finite: limits.max_non_finite.unwrap_or(self.max_non_finite),
            min_agreement: limits.min_agreement.unwrap_or(self.min_agreement),
            samples: limits.samples.unwrap_or(self.samples),
            must_compare: self.must_compare,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bundle::Reference;
    use crate::engine::fake::Fake;
    use crate::model::Model;

    #[test]
    fn the_element_comes_before_the_bundle_and_the_bundle_before_the_defaults() {
        let model = Model::fake(Fake::new(1));
        let input = model.bundle().input.clone();
        let mut bundle = Bundle::bare(
            std::path::Path::new("m.onnx"),
            (String::new(), 0),
            model.bundle().task,
            model.bundle().labels.clone(),
            input,
            model.bundle().output.clone(),
        );
        let none = TrialLimits::default();
        let plain = Rules::probation(&bundle, &none);
        assert_eq!((plain.frames, plain.time, plain.max_latency), (50, Duration::from_secs(30), None));
        assert_eq!((plain.max_slowdown, plain.must_compare), (3.0, false));
        bundle.probation = TrialLimits { frames: Some(7), max_errors: Some(0.5), ..none };
        bundle.shadow = TrialLimits { samples: Some(9), ..none };
        let element = TrialLimits { frames: Some(8), ..none };
        let rules = Rules::probation(&bundle, &element);
        assert_eq!(rules, Rules { frames: 8, max_errors: 0.5, ..plain });
        let shadow = Rules::shadow(&bundle, &element);
        assert_eq!((shadow.frames, shadow.samples, shadow.max_errors, shadow.must_compare), (8, 9, 0.02, true));
    }

    #[test]
    fn a_bundle_that_names_a_longest_run_is_not_held_to_the_old_models() {
        let model = Model::fake(Fake::new(1));
        let (task, labels) = (model.bundle().task, model.bundle().labels.clone());
        let (input, output) = (model.bundle().input.clone(), model.bundle().output.clone());
        let path = std::path::Path::new("m.onnx");
        let mut bundle = Bundle::bare(path, (String::new(), 0), task, labels, input, output);
        bundle.reference = Some(Reference {
            images: Vec::new(),
            expected: String::new(),
            min_iou: 0.9,
            score_tolerance: 0.05,
            max_latency_ms: Some(200),
        });
        let none = TrialLimits::default();
        let rules = Rules::probation(&bundle, &none);
        assert_eq!((rules.max_latency, rules.max_slowdown), (Some(Duration::from_millis(200)), 0.0));
        bundle.probation.max_latency = Some(Duration::from_millis(50));
        bundle.probation.max_slowdown = Some(2.0);
        let rules = Rules::probation(&bundle, &none);
        assert_eq!((rules.max_latency, rules.max_slowdown), (Some(Duration::from_millis(50)), 2.0));
        assert_eq!(Rules::shadow(&bundle, &none).max_latency, Some(Duration::from_millis(200)));
    }
}
