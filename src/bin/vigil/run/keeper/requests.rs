//! What the API asks the keeper for.

use gstvigil::site::convert::model_text;
use gstvigil::site::description::Camera;
use gstvigil::site::live::SiteError;
use gstvigil::site::plan::Plan;
use gstvigil::site::problem::Problems;
use serde_json::{Map, Value, json};

use super::{Keeper, one_line};
use crate::run::changes::{Change, Changes};
use crate::run::swaps::Swap;
use crate::run::trust;

/// Why something that the API asked for is not done.
#[derive(Debug)]
pub enum Refusal {
    /// There is no such camera.
    NoCamera(String),
    /// It is at odds with how things are.
    Conflict(String),
    /// It may not be done this way.
    Forbidden(String),
    /// The description would not check.
    Problems(Problems),
    /// The machine does not let it.
    Failed(String),
}

impl From<SiteError> for Refusal {
    fn from(error: SiteError) -> Self {
        match error {
            SiteError::NoCamera(id) => Self::NoCamera(id),
            SiteError::Refused(text) => Self::Conflict(text),
        }
    }
}

impl Keeper {
    /// Whether the description or a change has a camera of this id.
    fn has(&self, id: &str) -> bool {
        let change = self.changes.of(id);
        change.camera.is_some() || (!change.removed && self.described.document.description.camera.contains_key(id))
    }

    /// Edits what is changed of camera `id`, if the site checks with it.
    ///
    /// # Errors
    /// [`Refusal`]; nothing is changed then.
    pub fn change(&mut self, id: &str, persist: bool, edit: impl Fn(&mut Change)) -> Result<(), Refusal> {
        let changes = self.changes.with(id, persist, edit);
        let plan = self.planned(&changes)?;
        self.lay(changes, plan)?;
        self.tell_changed(id, persist);
        Ok(())
    }

    fn tell_changed(&self, id: &str, persist: bool) {
        let data = json!({ "action": "changed", "persist": persist, "text": "it was changed through the API" });
        self.shared.site.events().tell(Some(id), "site", data);
    }

    /// The plan with other changes.
    fn planned(&self, changes: &Changes) -> Result<Plan, Refusal> {
        let before = self.shared.site.plan();
        let running = (&self.described, &self.changes);
        let composed = self.composer.change((&self.described, changes), running, before.as_deref());
        composed.map(|(plan, _)| plan).map_err(|problems| {
            // What is wrong without the change as well is none of its doing.
            let known = match self.composer.compose(&self.described, &self.changes, before.as_deref()) {
                Ok((_, known)) | Err(known) => known,
            };
            let new = problems.0.into_iter().filter(|problem| !known.0.contains(problem)).collect::<Vec<_>>();
            if new.is_empty() {
                return Refusal::Conflict(format!("the description does not check: {}", one_line(&known)));
            }
            Refusal::Problems(Problems(new))
        })
    }

    /// Writes other changes down, and has their plan run.
    fn lay(&mut self, changes: Changes, plan: Plan) -> Result<(), Refusal> {
        let written = changes.written();
        if written != self.changes.written() {
            self.shelf.write(&written).map_err(Refusal::Failed)?;
        }
        self.changes = changes;
        self.apply(plan);
        Ok(())
    }

    /// Adds a camera, or puts it in place of the one of this id if `replace`; whether there was none.
    ///
    /// # Errors
    /// [`Refusal`]; nothing is changed then.
    pub fn put(&mut self, id: &str, camera: &Camera, replace: bool, persist: bool) -> Result<bool, Refusal> {
        let has = self.has(id);
        if has && !replace {
            return Err(Refusal::Conflict(format!("there is a camera \"{id}\" already; PUT replaces it")));
        }
        let whole = Change { camera: Some(camera.clone()), ..Change::default() };
        let changes = self.changes.with(id, persist, |change| *change = whole.clone());
        let trusted = self.shared.access().needs_token();
        let forbid = |objection: Option<String>| match objection.filter(|_| !trusted) {
            Some(text) => Err(Refusal::Forbidden(text)),
            None => Ok(()),
        };
        // Before it is checked: that makes elements of launch fragments.
        let mut description = self.described.document.description.clone();
        changes.lay(&mut description);
        forbid(trust::objection(id, camera, &description))?;
        let plan = self.planned(&changes)?;
        let planned = plan.cameras.get(id);
        forbid(planned.and_then(|camera| trust::objection_to_login(camera, self.shared.site.plan().as_deref())))?;
        self.lay(changes, plan)?;
        self.tell_changed(id, persist);
        Ok(!has)
    }

    /// Takes a camera away.
    ///
    /// # Errors
    /// [`Refusal`]; nothing is changed then.
    pub fn remove(&mut self, id: &str, persist: bool) -> Result<(), Refusal> {
        if !self.has(id) {
            return Err(Refusal::NoCamera(id.into()));
        }
        let removed = self.described.document.description.camera.contains_key(id);
        self.change(id, persist, |change| *change = Change { removed, ..Change::default() })
    }

    /// Switches a camera on or off.
    ///
    /// # Errors
    /// [`Refusal`]; nothing is changed then.
    pub fn enable(&mut self, id: &str, enabled: bool, persist: bool) -> Result<(), Refusal> {
        if !self.has(id) {
            return Err(Refusal::NoCamera(id.into()));
        }
        self.change(id, persist, |change| change.enabled = Some(enabled))
    }

    /// Forgets what was changed through the API, of one camera or of all.
    ///
    /// # Errors
    /// [`Refusal`]; nothing is changed then.
    pub fn forget(&mut self, id: Option<&str>) -> Result<(), Refusal> {
        let changes = self.changes.without(id);
        let plan = self.planned(&changes)?;
        self.lay(changes, plan)?;
        self.shared.site.events().tell(
            id,
            "site",
            json!({ "action": "forgotten", "text": "what was changed through the API is forgotten" }),
        );
        Ok(())
    }

    /// Has models of a camera swapped; the requests, by stage. What becomes part of the plan when it is confirmed.
    ///
    /// # Errors
    /// [`Refusal`], if no stage takes it.
    pub fn swap(
        &mut self,
        id: &str,
        stage: &str,
        model: &str,
        options: &Map<String, Value>,
        persist: bool,
    ) -> Result<Vec<(String, String)>, Refusal> {
        // By the same rule as in the description, and then the same in all places.
        let model = model_text(&self.described.document.folder, model);
        let requests = self.shared.site.swap_model(id, stage, &model, options)?;
        let of_stage = |request: String| {
            let stage = request.rsplit_once('/').map_or(stage, |(stage, _)| stage).to_owned();
            let swap = Swap { camera: id.into(), stage: stage.clone(), model: model.clone(), persist };
            self.swaps.asked(&request, swap);
            (stage, request)
        };
        Ok(requests.into_iter().map(of_stage).collect())
    }
}
