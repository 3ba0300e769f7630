//! What the API asks the keeper for.

use gstvigil::site::description::Camera;
use gstvigil::site::live::SiteError;
use gstvigil::site::output::Output;
use gstvigil::site::problem::Problems;
use serde_json::{Map, Value, json};

use super::{Keeper, one_line};
use crate::run::changes::{Change, Changes};
use crate::run::swaps::Swap;

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
        change.camera.is_some() || (!change.removed && self.document.description.camera.contains_key(id))
    }

    /// Changes what is changed of camera `id`, if the site checks with it.
    ///
    /// # Errors
    /// [`Refusal`]; nothing is changed then.
    pub fn change(&mut self, id: &str, persist: bool, change: Change) -> Result<(), Refusal> {
        self.lay(self.changes.with(id, change, persist))?;
        let data = json!({ "action": "changed", "persist": persist, "text": "it was changed through the API" });
        self.shared.site.events().tell(Some(id), "site", data);
        Ok(())
    }

    fn lay(&mut self, changes: Changes) -> Result<(), Refusal> {
        let before = self.shared.site.plan();
        let (plan, _) = self.composer.compose(&self.document, &changes, before.as_deref()).map_err(|problems| {
            // What is wrong without the change as well is none of its doing.
            let known =
                self.composer.compose(&self.document, &self.changes, before.as_deref()).err().unwrap_or_default();
            let new = problems.0.into_iter().filter(|problem| !known.0.contains(problem)).collect::<Vec<_>>();
            if new.is_empty() {
                return Refusal::Conflict(format!("the description does not check: {}", one_line(&known)));
            }
            Refusal::Problems(Problems(new))
        })?;
        if changes.kept != self.changes.kept {
            self.shelf.write(&changes.kept).map_err(Refusal::Failed)?;
        }
        self.changes = changes;
        self.apply(plan);
        Ok(())
    }

    /// Adds a camera, or puts it in place of the one of this id if `replace`; whether there was none.
    ///
    /// # Errors
    /// [`Refusal`]; nothing is changed then.
    pub fn put(&mut self, id: &str, camera: Camera, replace: bool, persist: bool) -> Result<bool, Refusal> {
        let has = self.has(id);
        if has && !replace {
            return Err(Refusal::Conflict(format!("there is a camera \"{id}\" already; PUT replaces it")));
        }
        if !self.shared.access().needs_token() && runs_fragments(&camera) {
            let text =
                "launch fragments (`launch`, `encode.element`) are taken from callers only where the API has a token";
            return Err(Refusal::Forbidden(text.into()));
        }
        self.change(id, persist, Change { camera: Some(camera), ..Change::default() })?;
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
        let removed = self.document.description.camera.contains_key(id);
        self.change(id, persist, Change { removed, ..Change::default() })
    }

    /// Switches a camera on or off.
    ///
    /// # Errors
    /// [`Refusal`]; nothing is changed then.
    pub fn enable(&mut self, id: &str, enabled: bool, persist: bool) -> Result<(), Refusal> {
        if !self.has(id) {
            return Err(Refusal::NoCamera(id.into()));
        }
        self.change(id, persist, Change { enabled: Some(enabled), ..self.changes.of(id) })
    }

    /// Forgets what was changed through the API, of one camera or of all.
    ///
    /// # Errors
    /// [`Refusal`]; nothing is changed then.
    pub fn forget(&mut self, id: Option<&str>) -> Result<(), Refusal> {
        self.lay(self.changes.without(id))?;
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
        let plan = self.shared.site.plan();
        let camera = plan.as_ref().and_then(|plan| plan.cameras.get(id));
        let camera = camera.ok_or_else(|| Refusal::NoCamera(id.into()))?;
        let nodes = camera.guarded.iter().chain(&camera.open);
        let stages: Vec<&str> = nodes
            .filter(|node| node.factory == "vigilinfer" && (stage.is_empty() || node.name == stage))
            .map(|node| node.name.as_str())
            .collect();
        if stages.is_empty() {
            let which = if stage.is_empty() { "no stage".into() } else { format!("no stage \"{stage}\"") };
            return Err(Refusal::Conflict(format!("camera \"{id}\" has {which} with a model")));
        }
        let mut requests = Vec::new();
        for stage in stages {
            for request in self.shared.site.swap_model(id, stage, model, options)? {
                let swap = Swap { camera: id.into(), stage: stage.into(), model: model.into(), persist };
                self.swaps.asked(&request, swap);
                requests.push((stage.to_owned(), request));
            }
        }
        Ok(requests)
    }
}

/// Whether a camera of the API would have fragments of launch lines run.
fn runs_fragments(camera: &Camera) -> bool {
    camera.launch.is_some()
        || camera.output.iter().flatten().any(|output| match output {
            Output::File { encode, .. } | Output::Rtsp { encode, .. } | Output::Hls { encode, .. } => {
                encode.element.is_some()
            }
            Output::Snapshot { .. } | Output::Display {} => false,
        })
}
