//! What the machine lacks for the site: told, and looked for again.

use std::time::Instant;

use gstvigil::site::plan::Plan;
use gstvigil::site::problem::{About, Problems, Severity};
use serde_json::json;

use super::{Keeper, one_line};
use crate::run::compose::Described;
use crate::run::shared::Detail;

/// Adds that the API cannot listen.
pub(super) fn add_api(problems: &mut Problems, described: &Described, text: String) {
    problems.add((Severity::Error, About::Machine), &described.document.places, "api.listen", text);
}

impl Keeper {
    /// Has the API listen where the plan says. If it cannot, that is one more problem, and the cameras do without.
    pub(super) fn serve(&self, plan: &Plan, mut found: Problems) -> Problems {
        if let Err(text) = self.http.configure(&plan.api) {
            add_api(&mut found, &self.described, text);
        }
        found
    }

    /// Looks, now and then, whether the machine has what it lacked. Cameras and outputs try by themselves; this is for what they cannot: a
    /// plan that becomes another one by it, and the API's port.
    pub(super) fn look_again(&mut self) {
        if !self.again.is_due(Instant::now()) {
            return;
        }
        let running = self.shared.site.plan();
        let problems = match self.composer.compose(&self.described, &self.changes, running.as_deref()) {
            Ok((plan, problems)) => {
                let problems = self.serve(&plan, problems);
                if running.is_none_or(|running| *running != plan) {
                    self.apply(plan);
                }
                problems
            }
            // A bundle that came has not the classes that the description asks for.
            Err(problems) => {
                tracing::error!("the description does not check any more: {}", one_line(&problems));
                problems
            }
        };
        self.looked(&problems);
    }

    /// Notes what the machine lacks for what runs; an event tells if that is something else than before.
    pub(super) fn looked(&mut self, problems: &Problems) {
        self.again.looked(Instant::now(), problems.has_errors());
        let lacks: Vec<_> = problems.lacks().map(Detail::from).collect();
        let before = std::mem::replace(&mut self.shared.report().lacks, lacks.clone());
        let same = |a: &Detail, b: &Detail| (&a.key, &a.text) == (&b.key, &b.text);
        if before.len() == lacks.len() && before.iter().zip(&lacks).all(|(a, b)| same(a, b)) {
            return;
        }
        let text = match lacks.as_slice() {
            [] => "the machine has all that the site needs".to_owned(),
            [one] => format!("the machine lacks something that the site needs: {}", one.text),
            [one, more @ ..] => {
                format!("the machine lacks {} things that the site needs: {}; …", more.len() + 1, one.text)
            }
        };
        self.shared.site.events().tell(None, "site", json!({ "action": "lacks", "text": text, "problems": lacks }));
    }
}
